//! message-db: all messages in one table, streams told apart by name, and categories by what stands before a name's `-`.
//!
//! A consumer notes its position as a message in a stream of its own; Eventide calls that of the category `account`
//! `account:position`, or `account:position-x` where the consumer has the identifier `x`, as each member of a group must
//! have. Members share a category by a hash of the stream's name: each passes over all messages, and does its part of
//! them. So what remains for all is the category's newest position minus their average.
//!
//! A consumer notes its position only after so many messages. One that has none yet is not known, which is a failure and
//! not the whole store's length: a wrong name would look the same.

use std::collections::HashMap;

use tokio_postgres::Row;

use super::index::{Index, Keys, quoted};
use super::{Ask, Sum, Trouble, Wanted, checked};
use crate::model::{FailureKind, Measure, Observation, ReadFailure};
use crate::source::network::shown;
use crate::spec::{MessageDb, PostgresRead, Table};

/// The streams with positions: those that are named, or Eventide's for the whole category.
fn streams(store: &MessageDb) -> Vec<String> {
    if !store.position_streams.is_empty() {
        return store.position_streams.iter().map(ToString::to_string).collect();
    }
    // Types of a category follow its first colon, with plus signs between them.
    let joint = if store.category.contains(':') { '+' } else { ':' };
    vec![format!("{}{joint}position", store.category)]
}

/// One row for each category, and one for each stream.
pub(super) fn ask(store: &MessageDb, reads: &[&PostgresRead]) -> Ask {
    let (mut categories, mut positions) = (Vec::new(), Vec::new());
    for read in reads {
        if let PostgresRead::MessageDb(store) = read {
            categories.push(store.category.to_string());
            positions.extend(streams(store));
        }
    }
    for names in [&mut categories, &mut positions] {
        names.sort_unstable();
        names.dedup();
    }
    let schema = quoted(&store.schema);
    let category = format!("{schema}.category(m.stream_name)");
    // As in `index`: only the index on category and position can answer in this order.
    let sql = format!(
        "select true, asked.value, newest.position is not null, newest.position::text \
         from unnest($1::text[]) as asked(value) \
         left join lateral (select m.global_position as position, {category} as category \
         from {schema}.messages m where {category} <= asked.value \
         order by {category} desc, m.global_position desc limit 1) newest on newest.category = asked.value \
         union all \
         select false, asked.value, note.global_position is not null, note.position \
         from unnest($2::text[]) as asked(value) \
         left join lateral (select m.global_position, m.data->>'position' as position \
         from {schema}.messages m where m.stream_name = asked.value order by m.position desc limit 1) note on true"
    );
    let index = Table::new(&format!("{}.messages", store.schema))
        .map(|table| Index { table, keys: Keys::Category { function: format!("{schema}.category") } });
    Ask {
        sql,
        whole: None,
        arguments: vec![categories, positions],
        wanted: Wanted::default(),
        index,
        examination: None,
    }
}

/// Names of streams from the one that was looked for on, and from its category's first on: each found by the index, one
/// after the other, and not many.
pub(super) fn listing(store: &MessageDb) -> String {
    let messages = format!("{}.messages", quoted(&store.schema));
    format!(
        "with recursive stream(name, number) as (\
         (select m.stream_name, 1 from {messages} m where m.stream_name >= split_part($1, 'position', 1) \
         order by m.stream_name limit 1) \
         union all \
         select (select m.stream_name from {messages} m where m.stream_name > stream.name \
         order by m.stream_name limit 1), number + 1 from stream where stream.name is not null and number < 50) \
         select name from stream where starts_with(name, split_part($1, 'position', 1))"
    )
}

/// What was found at one place.
enum Place {
    Nothing,
    /// As it is written, for streams of notes: anybody may write anything there.
    At(Option<String>),
}

#[derive(Default)]
pub(in crate::source::postgres) struct Found {
    categories: HashMap<String, Place>,
    notes: HashMap<String, Place>,
}

impl Found {
    pub(super) fn read(rows: &[Row]) -> Result<Self, tokio_postgres::Error> {
        let mut found = Found::default();
        for row in rows {
            found.take(row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?);
        }
        Ok(found)
    }

    fn take(&mut self, is_category: bool, name: String, is_there: bool, position: Option<String>) {
        let place = if is_there { Place::At(position) } else { Place::Nothing };
        let places = if is_category { &mut self.categories } else { &mut self.notes };
        places.insert(name, place);
    }

    pub(super) fn answer(&self, store: &MessageDb) -> Result<Observation, Trouble> {
        const WHAT: &str = "position stream";
        let head = match self.categories.get(&*store.category) {
            Some(Place::At(position)) => number(&store.category, position.as_deref())?,
            Some(Place::Nothing) | None => 0,
        };
        let streams = streams(store);
        let mut way = 0_i128;
        for name in &streams {
            let position = match self.notes.get(name) {
                Some(Place::At(position)) => number(name, position.as_deref())?,
                Some(Place::Nothing) | None => return Err(Trouble::Unknown { what: WHAT, name: name.clone() }),
            };
            let lag = i128::from(head) - i128::from(position);
            checked(WHAT, name, lag.min(0) as f64)?;
            way += lag;
        }
        let mut sum = Sum::default();
        // Part of a message is work for somebody.
        sum.add("category", &store.category, (way as f64 / streams.len() as f64).ceil())?;
        sum.observation.partitions = Measure::new(streams.len() as f64);
        sum.or_nobody(WHAT)
    }
}

fn number(stream: &str, text: Option<&str>) -> Result<i64, ReadFailure> {
    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        ReadFailure::new(
            FailureKind::WrongType,
            format!(
                "the newest message of {} has no whole number in data->'position'; is it a stream of a consumer's positions?",
                shown(stream)
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn store(category: &str, streams: &[&str]) -> MessageDb {
        MessageDb {
            category: category.into(),
            position_streams: streams.iter().map(|name| Arc::from(*name)).collect(),
            schema: "message_store".into(),
        }
    }

    fn found(head: Option<&str>, notes: &[(&str, Option<&str>)]) -> Found {
        let mut found = Found::default();
        found.take(true, "account".to_owned(), head.is_some(), head.map(str::to_owned));
        for (name, position) in notes {
            found.take(false, (*name).to_owned(), true, position.map(str::to_owned));
        }
        found
    }

    #[test]
    fn members_of_a_group_share_the_way() {
        let found = found(Some("100"), &[("account:position", Some("40")), ("p-1", Some("99")), ("p-2", Some("0"))]);
        assert_eq!(found.answer(&store("account", &[])).unwrap().backlog, 60.0);
        let both = found.answer(&store("account", &["p-1", "p-2"])).unwrap();
        assert_eq!((both.backlog, both.partitions.get()), (51.0, Some(2.0)));
    }

    #[test]
    fn what_is_no_position_is_a_failure() {
        let found =
            found(Some("100"), &[("null", None), ("text", Some("x")), ("half", Some("1.5")), ("far", Some("101"))]);
        for name in ["null", "text", "half", "far"] {
            assert!(matches!(found.answer(&store("account", &[name])), Err(Trouble::Failed(_))), "{name}");
        }
        assert!(
            matches!(found.answer(&store("account", &[])), Err(Trouble::Unknown { name, .. }) if name == "account:position")
        );
        assert_eq!(streams(&store("account:command", &[])), ["account:command+position"]);
        assert_eq!(self::found(None, &[("p", Some("0"))]).answer(&store("account", &["p"])).unwrap().backlog, 0.0);
    }
}
