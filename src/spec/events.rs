//! Lag of projections, after validation: how far the readers of an event store in a PostgreSQL are behind its head.
//!
//! Each store has its own tables; what is asked of them is known in `source/postgres/`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What to read in a PostgreSQL.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Postgres {
    pub read: PostgresRead,
    /// A channel on which the database tells of new work (`NOTIFY`): then it is read at once.
    pub listen: Option<Arc<str>>,
}

/// Where the number comes from.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PostgresRead {
    /// A query of the user's: one row, one column, one number.
    Query(Arc<str>),
    Orchestrator(Orchestrator),
    Pupsourcing(Pupsourcing),
    Marten(Marten),
    MessageDb(MessageDb),
    Eventuous(Eventuous),
    Checkpoint(Checkpoint),
}

/// The projections of a replica set of pupsourcing-orchestrator: each worker has a partition, and all pause while they
/// divide the work anew.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Orchestrator {
    pub replica_set: Arc<str>,
    pub projections: Vec<Arc<str>>,
    pub events: Table,
    pub checkpoints: Table,
    pub generations: Table,
    pub workers: Table,
    /// A worker whose last heartbeat is older than this is gone.
    pub stale_after: Duration,
}

/// Consumers of pupsourcing (core): workers share a fixed number of segments.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pupsourcing {
    /// Empty: all that the store knows.
    pub consumers: Vec<Arc<str>>,
    pub events: Table,
    pub segments: Table,
    pub workers: Table,
    /// What the consumers read of the store; empty: everything.
    pub aggregate_types: Vec<Arc<str>>,
    pub stale_after: Duration,
}

/// Projections of Marten's asynchronous daemon.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Marten {
    /// As `mt_event_progression` names them, such as `Trip:All`; empty: all that the store knows.
    pub projections: Vec<Arc<str>>,
    pub schema: Arc<str>,
}

/// Consumers of a category of message-db, who keep their positions in streams.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MessageDb {
    pub category: Arc<str>,
    /// One for each member of the consumer group.
    pub position_streams: Vec<Arc<str>>,
    pub schema: Arc<str>,
}

/// Subscriptions of Eventuous.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Eventuous {
    /// Empty: all that the store knows.
    pub subscriptions: Vec<Arc<str>>,
    pub schema: Arc<str>,
}

/// Any store that numbers its events, and notes for each reader how far it got.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Checkpoint {
    /// Empty: all that the store knows.
    pub names: Vec<Arc<str>>,
    pub events: Table,
    /// The events' number, a column with an index.
    pub position: Arc<str>,
    pub checkpoints: Table,
    pub name_column: Arc<str>,
    pub position_column: Arc<str>,
    /// What the readers read of the store, where that is not everything.
    pub scope: Option<Scope>,
}

/// Events whose `column` has one of these values.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scope {
    pub column: Arc<str>,
    pub values: Vec<Arc<str>>,
}

/// The name of a table, with or without its schema, as it is called in the catalog: no quotes, and its case counts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Table(Arc<str>);

impl Table {
    /// `None`: not a name, or more than a schema and a name.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let parts = name.split('.').collect::<Vec<_>>();
        // PostgreSQL cuts longer names off, without a word.
        let is_name = |part: &&str| !part.is_empty() && part.len() <= 63 && !part.contains(['"', '\0']);
        (parts.len() <= 2 && parts.iter().all(is_name)).then(|| Table(name.into()))
    }

    /// What stands in for one that cannot be read.
    pub(crate) fn unnamed() -> Self {
        Table(Arc::from("events"))
    }

    /// As it is written.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }

    /// As it stands in SQL: each part quoted.
    #[must_use]
    pub fn quoted(&self) -> String {
        self.0.split('.').map(|part| format!("\"{part}\"")).collect::<Vec<_>>().join(".")
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Postgres {
    /// The name of the block below `postgres`.
    #[must_use]
    pub const fn preset(&self) -> &'static str {
        match self.read {
            PostgresRead::Query(_) => "query",
            PostgresRead::Orchestrator(_) => "pupsourcingOrchestrator",
            PostgresRead::Pupsourcing(_) => "pupsourcing",
            PostgresRead::Marten(_) => "marten",
            PostgresRead::MessageDb(_) => "messageDb",
            PostgresRead::Eventuous(_) => "eventuous",
            PostgresRead::Checkpoint(_) => "checkpoint",
        }
    }

    /// What people call it: the projections' names.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        match &self.read {
            PostgresRead::Query(_) => Vec::new(),
            PostgresRead::Orchestrator(store) => {
                std::iter::once(&*store.replica_set).chain(store.projections.iter().map(AsRef::as_ref)).collect()
            }
            PostgresRead::MessageDb(store) => vec![&*store.category],
            PostgresRead::Pupsourcing(Pupsourcing { consumers: names, .. })
            | PostgresRead::Marten(Marten { projections: names, .. })
            | PostgresRead::Eventuous(Eventuous { subscriptions: names, .. })
            | PostgresRead::Checkpoint(Checkpoint { names, .. }) => names.iter().map(AsRef::as_ref).collect(),
        }
    }

    /// Whether its store reports how many replicas can have work, and that number is not made of the replicas' own.
    #[must_use]
    pub const fn has_partitions(&self) -> bool {
        match self.read {
            PostgresRead::Query(_) | PostgresRead::Orchestrator(_) => false,
            PostgresRead::Pupsourcing(_)
            | PostgresRead::Marten(_)
            | PostgresRead::MessageDb(_)
            | PostgresRead::Eventuous(_)
            | PostgresRead::Checkpoint(_) => true,
        }
    }

    /// Whether its workers may be seen dividing the work anew.
    #[must_use]
    pub const fn shows_rebalancing(&self) -> bool {
        matches!(self.read, PostgresRead::Orchestrator(_) | PostgresRead::Pupsourcing(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_tables_are_quoted_part_by_part() {
        assert_eq!(Table::new("events").unwrap().quoted(), "\"events\"");
        assert_eq!(Table::new("Store.mt_events").unwrap().quoted(), "\"Store\".\"mt_events\"");
        for wrong in ["", ".", "a.", "a.b.c", "a\"b", "a\0b", &"a".repeat(64)] {
            assert_eq!(Table::new(wrong), None, "{wrong}");
        }
    }
}
