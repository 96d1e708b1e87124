//! The newest position of a store, asked for so that the answer costs the same however many events there are; and the
//! index that this takes.
//!
//! `max(position)` reads the last leaf of the index on the position. Of events of one type it would too, if the planner
//! could be trusted to take the index on type and position: where it believes the type to be common it walks the
//! position's index backwards until it meets one, and where it is wrong (there is none) that is the whole table. So the
//! question is put in a way that only the right index can answer in order: the last event whose type is at most this
//! one, which is then of this type or there is none. Without that index the question is not put at all.

use std::sync::Arc;

use crate::model::{FailureKind, ReadFailure};
use crate::spec::{Scope, Table};

/// A column's name as it stands in SQL.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Where a store has its events, and which of them count.
pub(super) struct Head<'a> {
    pub(super) events: &'a Table,
    pub(super) position: &'a str,
    /// A column, and the values of it that are read.
    pub(super) scope: Option<(&'a str, &'a [Arc<str>])>,
}

impl<'a> Head<'a> {
    pub(super) fn new(events: &'a Table, position: &'a str) -> Self {
        Head { events, position, scope: None }
    }

    pub(super) fn within(self, scope: Option<&'a Scope>) -> Self {
        Head { scope: scope.map(|scope| (&*scope.column, scope.values.as_slice())), ..self }
    }

    /// The newest position as a scalar, NULL where there is none; the scope's values are the argument of this number.
    pub(super) fn sql(&self, argument: usize) -> String {
        let (events, position) = (self.events.quoted(), quoted(self.position));
        match self.scope {
            None => format!("(select max(e.{position})::int8 from {events} e)"),
            Some((column, _)) => {
                let column = quoted(column);
                format!(
                    "(select max(newest.position)::int8 from unnest(${argument}::text[]) as asked(value) \
                     cross join lateral (select e.{column} as value, e.{position} as position from {events} e \
                     where e.{column} <= asked.value order by e.{column} desc, e.{position} desc limit 1) newest \
                     where newest.value = asked.value)"
                )
            }
        }
    }

    /// The scope's values.
    pub(super) fn argument(&self) -> Option<Vec<String>> {
        self.scope.map(|(_, values)| values.iter().map(ToString::to_string).collect())
    }

    pub(super) fn index(&self) -> Index {
        let position = self.position.to_owned();
        Index {
            table: self.events.clone(),
            keys: match self.scope {
                None => Keys::Position(position),
                Some((column, _)) => Keys::Scoped { column: column.to_owned(), position },
            },
        }
    }
}

/// An index without which a statement would read a whole table.
pub(in crate::source::postgres) struct Index {
    pub(super) table: Table,
    pub(super) keys: Keys,
}

/// What it begins with.
pub(super) enum Keys {
    Position(String),
    Scoped {
        column: String,
        position: String,
    },
    /// message-db's: the category of a stream, computed, and the global position.
    Category {
        function: String,
    },
}

/// What the catalog says.
pub(in crate::source::postgres) struct Seen {
    /// Views and foreign tables have no indexes of their own: who puts one there answers for its cost.
    pub(in crate::source::postgres) is_table: bool,
    pub(in crate::source::postgres) has_index: bool,
    /// Whether the scope's column is text.
    pub(in crate::source::postgres) is_text: bool,
}

impl Index {
    /// Asks for a [`Seen`] in three columns; no row where there is no such table. Arguments: the table's name as it stands
    /// in SQL, the first column, the second.
    pub(in crate::source::postgres) fn question(&self) -> String {
        let part = |number: u8| format!("pg_catalog.pg_get_indexdef(i.indexrelid, {number}, true)");
        let (first, second) = (part(1), part(2));
        // Both in one direction, with NULL at the same end: as they are asked for.
        let in_order = "i.indoption[0] = i.indoption[1] and i.indoption[0] in (0, 3)";
        let begins = match self.keys {
            Keys::Position(_) => format!("{first} = pg_catalog.quote_ident($2) and $3::text is not null"),
            Keys::Scoped { .. } => {
                format!("{first} = pg_catalog.quote_ident($2) and {second} = pg_catalog.quote_ident($3) and {in_order}")
            }
            Keys::Category { .. } => format!(
                "pg_catalog.strpos({first}, $2) > 0 and pg_catalog.strpos({first}, 'stream_name') > 0 and {second} = \
                 pg_catalog.quote_ident($3) and {in_order}"
            ),
        };
        format!(
            "select c.relkind in ('r', 'p', 'm'), exists (select from pg_catalog.pg_index i \
             join pg_catalog.pg_class x on x.oid = i.indexrelid join pg_catalog.pg_am m on m.oid = x.relam \
             where i.indrelid = c.oid and i.indisvalid and i.indpred is null and m.amname = 'btree' and {begins}), \
             coalesce((select a.atttypid in ('text'::regtype, 'varchar'::regtype) from pg_catalog.pg_attribute a \
             where a.attrelid = c.oid and a.attname = $2), true) \
             from pg_catalog.pg_class c where c.oid = pg_catalog.to_regclass($1)"
        )
    }

    pub(in crate::source::postgres) fn arguments(&self) -> [String; 3] {
        let table = self.table.quoted();
        match &self.keys {
            Keys::Position(position) => [table, position.clone(), String::new()],
            Keys::Scoped { column, position } => [table, column.clone(), position.clone()],
            Keys::Category { .. } => [table, "category(".to_owned(), "global_position".to_owned()],
        }
    }

    /// What is missing, if anything is.
    pub(in crate::source::postgres) fn judge(&self, seen: &Seen) -> Result<(), ReadFailure> {
        let table = &self.table;
        let columns = match &self.keys {
            Keys::Scoped { column, .. } if !seen.is_text => {
                return Err(ReadFailure::new(
                    FailureKind::WrongType,
                    format!(
                        "the column {column:?} of {table} is not of type text or varchar, so it cannot be a scope; use a `query`"
                    ),
                ));
            }
            _ if !seen.is_table || seen.has_index => return Ok(()),
            Keys::Position(position) => quoted(position),
            Keys::Scoped { column, position } => format!("{}, {}", quoted(column), quoted(position)),
            Keys::Category { function } => format!("{function}(stream_name), global_position"),
        };
        Err(ReadFailure::new(
            FailureKind::Configuration,
            format!(
                "{table} has no index to find its newest event by, and without one each reading would read all of it; \
                 create index concurrently on {} ({columns});",
                table.quoted()
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_index_names_the_line_that_makes_it() {
        let events = Table::new("Shop.events").unwrap();
        let scope = Scope { column: "aggregate_type".into(), values: vec!["Order".into()] };
        let index = Head::new(&events, "global_position").within(Some(&scope)).index();
        let seen = |is_table, has_index, is_text| Seen { is_table, has_index, is_text };
        assert!(index.judge(&seen(true, true, true)).is_ok());
        assert!(index.judge(&seen(false, false, true)).is_ok(), "a view");
        let failure = index.judge(&seen(true, false, true)).unwrap_err();
        let line = "create index concurrently on \"Shop\".\"events\" (\"aggregate_type\", \"global_position\");";
        assert!(failure.message.contains(line), "{failure}");
        let failure = index.judge(&seen(true, true, false)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::WrongType);
    }
}
