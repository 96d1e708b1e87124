//! Stores that note one position for each reader in a table: Marten, Eventuous, and any other that says which table and
//! which columns (`checkpoint`).
//!
//! Marten's own `HighWaterMark` is no head: the daemon writes it, and with no daemon running it stands still while events
//! come in. Its readers' names are shards', such as `Trip:All`, each worked on by one daemon at a time.

use std::sync::Arc;

use super::index::{Head, quoted};
use super::notes::{BETWEEN, Kind, NAMELESS, Wanted};
use super::{Ask, Whole, names};
use crate::model::{FailureKind, ReadFailure};
use crate::spec::{PostgresRead, Table};

/// Where a store has what.
struct Layout<'a> {
    head: Head<'a>,
    readers: &'a Table,
    name: &'a str,
    position: &'a str,
    /// Rows that are no readers', as a condition.
    other_rows: &'a str,
}

/// Tables of a store that lies in a schema of its own.
struct Tables {
    events: Table,
    readers: Table,
}

impl Tables {
    fn of(read: &PostgresRead) -> Option<Self> {
        let within = |schema: &str, table: &str| Table::new(&format!("{schema}.{table}"));
        match read {
            PostgresRead::Marten(store) => Some(Tables {
                events: within(&store.schema, "mt_events")?,
                readers: within(&store.schema, "mt_event_progression")?,
            }),
            PostgresRead::Eventuous(store) => Some(Tables {
                events: within(&store.schema, "messages")?,
                readers: within(&store.schema, "checkpoints")?,
            }),
            PostgresRead::Checkpoint(store) => {
                Some(Tables { events: store.events.clone(), readers: store.checkpoints.clone() })
            }
            _ => None,
        }
    }

    fn layout<'a>(&'a self, read: &'a PostgresRead) -> Option<Layout<'a>> {
        let layout =
            |head, name, position, other_rows| Layout { head, readers: &self.readers, name, position, other_rows };
        Some(match read {
            PostgresRead::Marten(_) => {
                let other_rows = "name like 'HighWaterMark%'";
                layout(Head::new(&self.events, "seq_id"), "name", "last_seq_id", other_rows)
            }
            PostgresRead::Eventuous(_) => layout(Head::new(&self.events, "global_position"), "id", "position", "false"),
            PostgresRead::Checkpoint(store) => {
                let head = Head::new(&self.events, &store.position).within(store.scope.as_ref());
                layout(head, &store.name_column, &store.position_column, "false")
            }
            _ => return None,
        })
    }
}

/// How this store's readers are spoken of, and judged.
pub(super) fn kind(read: &PostgresRead) -> Kind {
    match read {
        PostgresRead::Eventuous(_) => Kind { what: "subscription", may_be_beyond: false },
        PostgresRead::Checkpoint(store) => Kind { what: "checkpoint", may_be_beyond: store.scope.is_some() },
        // The daemon also notes numbers that no event got.
        _ => Kind { what: "projection", may_be_beyond: true },
    }
}

fn wanted(read: &PostgresRead) -> &[Arc<str>] {
    match read {
        PostgresRead::Marten(store) => &store.projections,
        PostgresRead::Eventuous(store) => &store.subscriptions,
        PostgresRead::Checkpoint(store) => &store.names,
        _ => &[],
    }
}

/// One row: the head, and the readers' names and positions, each in one text. A row for each reader would cost both sides
/// three times as much, and arrays, whose every entry the server writes into a buffer of its own, half as much again.
/// Positions are hexadecimal because the server writes that straight into a text; decimal digits it copies once more.
///
/// The names stand in the statement and are no argument of it. So they are sent and taken apart once and not in each
/// round, and the plan, which is kept, compares each row's name with all of them by one look into a hash table. Where
/// nearly all readers of the table are wanted, even that costs more than reading them all ([`Whole`]).
pub(super) fn ask(family: &PostgresRead, reads: &[&PostgresRead]) -> Result<Ask, ReadFailure> {
    let tables = Tables::of(family);
    let Some(layout) = tables.as_ref().and_then(|tables| tables.layout(family)) else {
        // It was refused when it was read.
        return Err(ReadFailure::new(FailureKind::Configuration, "the schema's name is not the name of a schema"));
    };
    let (readers, name, position) = (layout.readers.quoted(), quoted(layout.name), quoted(layout.position));
    let mut arguments = Vec::new();
    let named = names(reads, wanted);
    let which = match &named {
        Some(names) => {
            let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
            format!("r.{name} in ({})", names.join(", "))
        }
        None => format!("not ({})", layout.other_rows),
    };
    let wanted = Wanted::of(reads.iter().map(|read| wanted(read)));
    let head = layout.head.sql(arguments.len() + 1);
    arguments.extend(layout.head.argument());
    let select = |from: &str| {
        format!(
            "select {head}, string_agg(coalesce(r.{name}::text, '{NAMELESS}'), '{BETWEEN}'), \
             string_agg(coalesce(to_hex(r.{position}::int8), ''), ',') from {from}"
        )
    };
    let sql = select(&format!("{readers} r where {which}"));
    let whole = named.and_then(|names| enough_for(names.len())).map(|limit| Whole {
        sql: select(&format!("(select r.{name}, r.{position} from {readers} r limit {limit}) r")),
        limit,
    });
    Ok(Ask { sql, whole, arguments, wanted, index: Some(layout.head.index()), examination: None })
}

/// How many rows to read so that these names are probably all among them, if that is cheaper than to ask for each by name.
/// To compare a row's name costs the server a third of what it costs to read and send a row, most of it for a hash table
/// of the names that is built anew each time; so a quarter more rows than names are read at most.
fn enough_for(names: usize) -> Option<usize> {
    /// Up to so many names the server compares one after the other, and builds nothing.
    const FEW: usize = 8;
    (names > FEW).then_some(names + names / 4 + 1)
}

/// A text as it stands in SQL.
fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    // With the E it means the same whatever `standard_conforming_strings` says.
    if doubled.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

pub(super) fn listing(family: &PostgresRead) -> Option<String> {
    let tables = Tables::of(family)?;
    let layout = tables.layout(family)?;
    let (readers, name) = (layout.readers.quoted(), quoted(layout.name));
    let other_rows = layout.other_rows;
    Some(format!(
        "select {name}::text from {readers} where not ({other_rows}) and $1::text is not null order by 1 limit 1000"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Checkpoint, Eventuous, Marten, Scope};

    fn eventuous(names: &[&str]) -> PostgresRead {
        let subscriptions = names.iter().map(|name| Arc::from(*name)).collect();
        PostgresRead::Eventuous(Eventuous { subscriptions, schema: "eventuous".into() })
    }

    fn marten(names: &[&str]) -> PostgresRead {
        let projections = names.iter().map(|name| Arc::from(*name)).collect();
        PostgresRead::Marten(Marten { projections, schema: "public".into() })
    }

    fn scoped(names: &[&str]) -> PostgresRead {
        PostgresRead::Checkpoint(Checkpoint {
            names: names.iter().map(|name| Arc::from(*name)).collect(),
            events: Table::new("events").unwrap(),
            position: "id".into(),
            checkpoints: Table::new("marks").unwrap(),
            name_column: "reader".into(),
            position_column: "at".into(),
            scope: Some(Scope { column: "kind".into(), values: vec!["a".into()] }),
        })
    }

    #[test]
    fn a_position_beyond_the_head_is_ordinary_where_the_head_is_a_scopes_or_a_daemon_counts_on() {
        let beyond = |read: &PostgresRead| kind(read).may_be_beyond;
        let mut unscoped = scoped(&["a"]);
        if let PostgresRead::Checkpoint(store) = &mut unscoped {
            store.scope = None;
        }
        assert!(beyond(&marten(&["a"])) && beyond(&scoped(&["a"])));
        assert!(!beyond(&eventuous(&["a"])) && !beyond(&unscoped));
    }

    #[test]
    fn a_name_is_a_text_whatever_is_in_it() {
        assert_eq!(literal("Trip:All"), "'Trip:All'");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\') or true --"), r"E'a\\'') or true --'");
    }

    #[test]
    fn many_names_are_read_with_a_few_rows_more_and_few_are_asked_for() {
        let asked = |count: usize| {
            let names: Vec<String> = (0..count).map(|number| format!("reader-{number}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let read = eventuous(&names);
            ask(&super::super::family(&read), &[&read]).unwrap().whole
        };
        assert!(asked(0).is_none() && asked(8).is_none());
        let whole = asked(200).unwrap();
        assert_eq!(whole.limit, 251);
        assert!(whole.sql.contains("limit 251") && !whole.sql.contains("reader-"), "{}", whole.sql);
    }

    #[test]
    fn reads_of_one_family_share_a_statement() {
        let some = ask(&super::super::family(&marten(&[])), &[&marten(&["b", "a"]), &marten(&["a"])]).unwrap();
        assert!(some.arguments.is_empty() && some.sql.ends_with("in ('a', 'b')"), "{}", some.sql);
        assert!(some.sql.contains("\"public\".\"mt_event_progression\""), "{}", some.sql);
        let all = ask(&super::super::family(&marten(&[])), &[&marten(&["b", "a"]), &marten(&[])]).unwrap();
        assert!(all.arguments.is_empty() && all.sql.contains("HighWaterMark"), "{}", all.sql);
        let scoped = ask(&super::super::family(&scoped(&[])), &[&scoped(&["x"])]).unwrap();
        assert_eq!(scoped.arguments, [["a"]]);
    }
}
