//! pupsourcing (core): a consumer is divided into a fixed number of segments, each with a checkpoint, which workers claim.
//!
//! Workers note a heartbeat; a fair share of segments is claimed and given back every ten seconds, without anybody else
//! stopping. A segment that nobody who lives owns, while somebody lives, is on its way to an owner. With nobody alive all
//! segments rest where they are: that is no rebalance, it is a consumer to be started.
//!
//! Consumers that read some types of aggregate only do not move their checkpoint past others' events, and would seem to
//! lag for ever behind events that they never read. So their head is the newest event of these types.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Row;

use super::index::Head;
use super::{Ask, Sum, Trouble, Wanted, checked, names};
use crate::model::{Measure, Observation};
use crate::spec::{PostgresRead, Pupsourcing};

fn wanted(read: &PostgresRead) -> &[Arc<str>] {
    match read {
        PostgresRead::Pupsourcing(store) => &store.consumers,
        _ => &[],
    }
}

fn head(store: &Pupsourcing) -> Head<'_> {
    let types = store.aggregate_types.as_slice();
    Head {
        events: &store.events,
        position: "global_position",
        scope: (!types.is_empty()).then_some(("aggregate_type", types)),
    }
}

/// One row a consumer.
pub(super) fn ask(store: &Pupsourcing, reads: &[&PostgresRead]) -> Ask {
    let (segments, workers, stale) = (store.segments.quoted(), store.workers.quoted(), store.stale_after.as_secs_f64());
    let mut arguments = Vec::new();
    let which = match names(reads, wanted) {
        Some(names) => {
            arguments.push(names);
            format!("unnest($1::text[]) as asked(name) join {segments} s on s.consumer_name = asked.name")
        }
        None => format!("{segments} s"),
    };
    let head_of = head(store);
    let head = head_of.sql(arguments.len() + 1);
    arguments.extend(head_of.argument());
    let sql = format!(
        "with head as materialized (select coalesce({head}, 0) as position), \
         alive as materialized (select w.consumer_name, w.worker_id from {workers} w \
         where w.last_heartbeat >= now() - make_interval(secs => {stale})), \
         crew as (select consumer_name, count(*) as size from alive group by consumer_name) \
         select s.consumer_name::text, count(*)::int8, max(s.total_segments)::int8, \
         sum(greatest((select position from head) - s.checkpoint, 0))::float8, \
         min((select position from head) - s.checkpoint)::int8, \
         count(*) filter (where a.worker_id is null)::int8, coalesce(max(c.size), 0)::int8 \
         from {which} left join alive a on a.consumer_name = s.consumer_name and a.worker_id = s.owner_id \
         left join crew c on c.consumer_name = s.consumer_name group by s.consumer_name"
    );
    Ask { sql, whole: None, arguments, wanted: Wanted::default(), index: Some(head_of.index()), examination: None }
}

pub(super) fn listing(store: &Pupsourcing) -> String {
    let segments = store.segments.quoted();
    format!("select distinct consumer_name::text from {segments} where $1::text is not null order by 1 limit 1000")
}

/// A consumer's segments.
struct Consumer {
    segments: i64,
    total: i64,
    /// Distances to the head, added up; those of segments beyond it count as none.
    distances: f64,
    /// The shortest of them, below zero where a segment is beyond the head.
    shortest: i64,
    /// Segments that nobody who lives owns.
    ownerless: i64,
    workers: i64,
}

#[derive(Default)]
pub(in crate::source::postgres) struct Found(HashMap<String, Consumer>);

impl Found {
    pub(super) fn read(rows: &[Row]) -> Result<Self, tokio_postgres::Error> {
        let consumer = |row: &Row| {
            let consumer = Consumer {
                segments: row.try_get(1)?,
                total: row.try_get(2)?,
                distances: row.try_get(3)?,
                shortest: row.try_get(4)?,
                ownerless: row.try_get(5)?,
                workers: row.try_get(6)?,
            };
            Ok((row.try_get(0)?, consumer))
        };
        rows.iter().map(consumer).collect::<Result<_, _>>().map(Found)
    }

    pub(super) fn answer(&self, store: &Pupsourcing) -> Result<Observation, Trouble> {
        const WHAT: &str = "consumer";
        let scoped = !store.aggregate_types.is_empty();
        let mut sum = Sum::default();
        let mut add = |name: &str, consumer: &Consumer| {
            if !scoped {
                checked(WHAT, name, consumer.shortest.min(0) as f64)?;
            }
            // Part of an event is work for somebody.
            let lag = (consumer.distances / consumer.segments as f64).ceil();
            sum.add(WHAT, name, lag)?;
            let now = &mut sum.observation;
            now.partitions = now.partitions.with(Measure::new(consumer.total as f64), f64::max);
            if consumer.workers > 0 {
                now.unowned = now.unowned.with(Measure::new(consumer.ownerless as f64), f64::max);
                now.rebalancing |= consumer.ownerless > 0;
            }
            Ok::<(), Trouble>(())
        };
        match store.consumers.as_slice() {
            [] => {
                for (name, consumer) in &self.0 {
                    add(name, consumer)?;
                }
            }
            names => {
                for name in names {
                    match self.0.get(&**name) {
                        Some(consumer) => add(name, consumer)?,
                        None => return Err(Trouble::Unknown { what: WHAT, name: name.to_string() }),
                    }
                }
            }
        }
        sum.or_nobody(WHAT)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::spec::Table;

    fn store(consumers: &[&str], types: &[&str]) -> Pupsourcing {
        let texts = |texts: &[&str]| texts.iter().map(|text| Arc::from(*text)).collect();
        Pupsourcing {
            consumers: texts(consumers),
            events: Table::new("events").unwrap(),
            segments: Table::new("consumer_segments").unwrap(),
            workers: Table::new("consumer_workers").unwrap(),
            aggregate_types: texts(types),
            stale_after: Duration::from_secs(30),
        }
    }

    fn consumer(distances: f64, shortest: i64, ownerless: i64, workers: i64) -> Consumer {
        Consumer { segments: 4, total: 4, distances, shortest, ownerless, workers }
    }

    fn found(consumers: Vec<(&str, Consumer)>) -> Found {
        Found(consumers.into_iter().map(|(name, consumer)| (name.to_owned(), consumer)).collect())
    }

    #[test]
    fn segments_share_the_way_and_consumers_do_not() {
        let found = found(vec![("a", consumer(40.0, 0, 0, 2)), ("b", consumer(1.0, 0, 0, 1))]);
        let of = |names: &[&str]| found.answer(&store(names, &[])).unwrap();
        assert_eq!((of(&["a"]).backlog, of(&["a"]).partitions.get()), (10.0, Some(4.0)));
        assert_eq!(of(&["b"]).backlog, 1.0, "a quarter of an event");
        assert_eq!(of(&[]).backlog, 11.0);
        assert!(!of(&[]).rebalancing);
        assert!(matches!(found.answer(&store(&["c"], &[])), Err(Trouble::Unknown { .. })));
    }

    #[test]
    fn segments_without_an_owner_are_on_their_way_only_where_somebody_lives() {
        for (ownerless, workers, rebalancing) in [(1, 1, true), (4, 0, false), (0, 3, false)] {
            let found = found(vec![("a", consumer(8.0, 2, ownerless, workers))]);
            assert_eq!(found.answer(&store(&["a"], &[])).unwrap().rebalancing, rebalancing);
        }
    }

    #[test]
    fn a_segment_beyond_the_head_is_ordinary_in_a_scope_and_nowhere_else() {
        let found = found(vec![("a", consumer(8.0, -3, 0, 1))]);
        assert_eq!(found.answer(&store(&["a"], &["Order"])).unwrap().backlog, 2.0);
        let Err(Trouble::Failed(failure)) = found.answer(&store(&["a"], &[])) else { panic!("no failure") };
        assert!(failure.message.contains("3 events beyond"), "{failure}");
    }
}
