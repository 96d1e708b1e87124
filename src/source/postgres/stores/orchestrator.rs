//! pupsourcing-orchestrator: the workers of a replica set form generations, and each takes one of a generation's
//! partitions with all projections.
//!
//! Only the newest generation counts. Notes of positions are named `<projection>`, or `<projection>_p<k>` where there are
//! several partitions; those of older and larger generations stay behind and mean nothing. A note that is missing means
//! the beginning: that is how the library reads it, and what it does then.
//!
//! # A rebalance
//!
//! Whoever joins makes a new generation; all others see it within a second, stop, register anew and wait for each other,
//! and nobody works meanwhile. It shows in the workers that live (whose heartbeat is fresh): one that is not running, or
//! runs for another generation, has yet to find its place. There is a moment when all have stopped and none has registered
//! again; it shows in stopped workers of an older generation while the newest has none. What is no rebalance: nobody lives
//! (the set was scaled to zero, or its pods are gone), and a worker that died. Nobody takes over the partition of a dead
//! one until somebody joins, so its lag grows, and waiting for it to settle would be waiting for ever.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use super::index::Head;
use super::{Ask, Sum, Trouble, Wanted, checked};
use crate::model::{FailureKind, Measure, Observation, ReadFailure};
use crate::source::network::shown;
use crate::spec::{Orchestrator, PostgresRead};

/// One row for each projection of each replica set.
pub(super) fn ask(store: &Orchestrator, reads: &[&PostgresRead]) -> Ask {
    let mut asked = Vec::new();
    for read in reads {
        if let PostgresRead::Orchestrator(store) = read {
            let set = &store.replica_set;
            asked.extend(store.projections.iter().map(|projection| (set.to_string(), projection.to_string())));
        }
    }
    asked.sort_unstable();
    asked.dedup();
    let (sets, projections) = asked.into_iter().unzip();
    let head_of = Head::new(&store.events, "global_position");
    let (head, generations) = (head_of.sql(0), store.generations.quoted());
    let (workers, checkpoints) = (store.workers.quoted(), store.checkpoints.quoted());
    let stale = store.stale_after.as_secs_f64();
    let sql = format!(
        "with asked as (select a.replica_set, a.projection from unnest($1::text[], $2::text[]) as a(replica_set, projection)), \
         head as materialized (select coalesce({head}, 0) as position), \
         sets as materialized (select s.replica_set, g.id, g.total_partitions \
         from (select distinct replica_set from asked) s \
         cross join lateral (select g.id, g.total_partitions from {generations} g \
         where g.replica_set = s.replica_set order by g.created_at desc limit 1) g), \
         crew as materialized (select s.replica_set, \
         count(*) filter (where w.state = 'running' and w.generation_id = s.id) as settled, \
         count(*) filter (where w.state <> 'stopped' \
         and not (w.state = 'running' and w.generation_id = s.id)) as moving, \
         count(*) filter (where w.state = 'stopped' and w.generation_id <> s.id) as stopped \
         from sets s join {workers} w on w.replica_set = s.replica_set \
         where w.last_heartbeat >= now() - make_interval(secs => {stale}) group by s.replica_set), \
         ways as (select a.replica_set, a.projection, s.total_partitions, \
         (select position from head) - coalesce(c.last_global_position, 0) as way \
         from asked a join sets s using (replica_set) \
         cross join lateral generate_series(0, s.total_partitions - 1) as p(k) \
         left join {checkpoints} c on c.projection_name = \
         case when s.total_partitions > 1 then a.projection || '_p' || p.k else a.projection end) \
         select w.replica_set, w.projection, max(w.total_partitions)::int8, avg(w.way)::float8, min(w.way)::int8, \
         coalesce(max(c.settled), 0)::int8, coalesce(max(c.moving), 0)::int8, coalesce(max(c.stopped), 0)::int8 \
         from ways w left join crew c using (replica_set) group by w.replica_set, w.projection"
    );
    Ask {
        sql,
        whole: None,
        arguments: vec![sets, projections],
        wanted: Wanted::default(),
        index: Some(head_of.index()),
        examination: None,
    }
}

pub(super) fn listing(store: &Orchestrator) -> String {
    let generations = store.generations.quoted();
    format!("select distinct replica_set::text from {generations} where $1::text is not null order by 1 limit 1000")
}

/// A projection of a replica set, and how the set's workers stand.
struct Projection {
    partitions: i64,
    /// Of its partitions' distances to the head: the average, and the shortest.
    average: f64,
    shortest: i64,
    /// Living workers that run in the newest generation; that do not yet; that have stopped in an older one.
    settled: i64,
    moving: i64,
    stopped: i64,
}

#[derive(Default)]
pub(in crate::source::postgres) struct Found {
    projections: HashMap<(String, String), Projection>,
    sets: HashSet<String>,
}

impl Found {
    pub(super) fn read(rows: &[Row]) -> Result<Self, tokio_postgres::Error> {
        let mut found = Found::default();
        for row in rows {
            let projection = Projection {
                partitions: row.try_get(2)?,
                average: row.try_get(3)?,
                shortest: row.try_get(4)?,
                settled: row.try_get(5)?,
                moving: row.try_get(6)?,
                stopped: row.try_get(7)?,
            };
            found.take(row.try_get(0)?, row.try_get(1)?, projection);
        }
        Ok(found)
    }

    fn take(&mut self, set: String, name: String, projection: Projection) {
        self.sets.insert(set.clone());
        self.projections.insert((set, name), projection);
    }

    pub(super) fn answer(&self, store: &Orchestrator) -> Result<Observation, Trouble> {
        const WHAT: &str = "projection";
        let set = store.replica_set.to_string();
        if store.projections.is_empty() {
            return Err(ReadFailure::new(
                FailureKind::Configuration,
                "the projections have to be named: the store's checkpoints do not say which replica set they belong to",
            )
            .into());
        }
        if !self.sets.contains(&set) {
            return Err(Trouble::Unknown { what: "replica set", name: set });
        }
        let mut sum = Sum::default();
        for name in &store.projections {
            let Some(projection) = self.projections.get(&(set.clone(), name.to_string())) else {
                // A generation of no partitions, which no worker makes.
                return Err(ReadFailure::new(
                    FailureKind::Protocol,
                    format!("the newest generation of the replica set {} has no partitions", shown(&set)),
                )
                .into());
            };
            checked(WHAT, name, projection.shortest.min(0) as f64)?;
            // Part of an event is work for somebody.
            sum.add(WHAT, name, projection.average.ceil())?;
            let now = &mut sum.observation;
            now.partitions = now.partitions.with(Measure::new(projection.partitions as f64), f64::max);
            if projection.settled + projection.moving > 0 {
                let unowned = Measure::new((projection.partitions - projection.settled).max(0) as f64);
                now.unowned = now.unowned.with(unowned, f64::max);
            }
            now.rebalancing |= projection.moving > 0 || (projection.settled == 0 && projection.stopped > 0);
        }
        sum.or_nobody(WHAT)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::spec::Table;

    fn store(set: &str, projections: &[&str]) -> Orchestrator {
        Orchestrator {
            replica_set: set.into(),
            projections: projections.iter().map(|name| Arc::from(*name)).collect(),
            events: Table::new("events").unwrap(),
            checkpoints: Table::new("projection_checkpoints").unwrap(),
            generations: Table::new("orchestrator_generations").unwrap(),
            workers: Table::new("orchestrator_workers").unwrap(),
            stale_after: Duration::from_secs(30),
        }
    }

    fn found(settled: i64, moving: i64, stopped: i64, average: f64, shortest: i64) -> Found {
        let mut found = Found::default();
        let projection = Projection { partitions: 3, average, shortest, settled, moving, stopped };
        found.take("main".to_owned(), "orders".to_owned(), projection);
        found
    }

    #[test]
    fn a_rebalance_is_of_the_living() {
        for (settled, moving, stopped, rebalancing) in [
            (3, 0, 0, false),
            (2, 0, 0, false),
            (0, 0, 0, false),
            (3, 0, 3, false),
            (0, 0, 3, true),
            (2, 1, 0, true),
            (0, 3, 3, true),
        ] {
            let answer = found(settled, moving, stopped, 10.0, 1).answer(&store("main", &["orders"])).unwrap();
            assert_eq!(answer.rebalancing, rebalancing, "{settled} {moving} {stopped}");
            assert_eq!((answer.backlog, answer.partitions.get()), (10.0, Some(3.0)));
            let unowned = (settled + moving > 0).then_some((3 - settled) as f64);
            assert_eq!(answer.unowned.get(), unowned, "{settled} {moving} {stopped}");
        }
    }

    #[test]
    fn what_is_not_known_is_no_lag() {
        let found = found(3, 0, 0, 0.2, 0);
        assert_eq!(found.answer(&store("main", &["orders"])).unwrap().backlog, 1.0);
        assert!(matches!(
            found.answer(&store("other", &["orders"])),
            Err(Trouble::Unknown { what: "replica set", .. })
        ));
        assert!(matches!(found.answer(&store("main", &[])), Err(Trouble::Failed(_))));
        let beyond = self::found(3, 0, 0, 5.0, -2).answer(&store("main", &["orders"]));
        assert!(matches!(beyond, Err(Trouble::Failed(failure)) if failure.message.contains("2 events beyond")));
    }

    #[test]
    fn every_pair_is_asked_once() {
        let read = |set, names: &[&str]| PostgresRead::Orchestrator(store(set, names));
        let reads = [read("a", &["x", "y"]), read("b", &["x"]), read("a", &["y"])];
        let ask = ask(&store("", &[]), &reads.iter().collect::<Vec<_>>());
        assert_eq!(ask.arguments, [["a", "a", "b"], ["x", "y", "x"]]);
    }
}
