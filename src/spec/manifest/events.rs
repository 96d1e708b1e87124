//! The block `postgres` of a trigger as users type it: a query, or one of the event stores that are known.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DurationText;

/// A number in a PostgreSQL: exactly one of query and the blocks that are named after event stores.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Postgres {
    /// A query of your own that returns one row with one number. It runs read-only, and within responseTimeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Lag of the projections that pupsourcing-orchestrator runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pupsourcing_orchestrator: Option<Orchestrator>,
    /// Lag of consumers of pupsourcing (core), with segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pupsourcing: Option<Pupsourcing>,
    /// Lag of projections of Marten's daemon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marten: Option<Marten>,
    /// Lag of consumers of a category of message-db.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_db: Option<MessageDb>,
    /// Lag of subscriptions of Eventuous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eventuous: Option<Eventuous>,
    /// Lag of the readers of any store that numbers its events, and notes for each reader how far it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
    /// A channel on which the database tells of new events (NOTIFY): then they are counted at once, not only every
    /// pollingInterval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// No more replicas than the store has partitions (segments, shards): more would idle. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_by_partitions: Option<bool>,
    /// How long nothing is scaled while the workers divide the work anew. 0s: it is scaled all the same. Default 90s for
    /// pupsourcingOrchestrator, whose workers are all at rest meanwhile, and 30s for pupsourcing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebalance_timeout: Option<DurationText>,
}

/// A query of your own.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresQuery {
    /// Returns one row with one number. It runs read-only, and within responseTimeout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
}

/// Lag of the projections that pupsourcing-orchestrator runs: of each, what its partitions have left to do.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Orchestrator {
    /// Name of the replica set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replica_set: Option<String>,
    /// Names of its projections, without the partitions' suffixes; their lags are added up. At most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub projections: Option<Vec<String>>,
    /// Default events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_table: Option<String>,
    /// Default projection_checkpoints.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints_table: Option<String>,
    /// Default orchestrator_generations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generations_table: Option<String>,
    /// Default orchestrator_workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers_table: Option<String>,
    /// A worker that was not heard of for longer is gone. Default 30s, as the orchestrator has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<DurationText>,
}

/// Lag of consumers of pupsourcing (core): of each, what its segments have left to do.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pupsourcing {
    /// Names of the consumers; their lags are added up. Default: all that the store knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub consumers: Option<Vec<String>>,
    /// The aggregate types that the consumers read, where they do not read all: what they do not read is no lag. Needs an
    /// index on (aggregate_type, global_position).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub aggregate_types: Option<Vec<String>>,
    /// Default events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_table: Option<String>,
    /// Default consumer_segments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segments_table: Option<String>,
    /// Default consumer_workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workers_table: Option<String>,
    /// A worker that was not heard of for longer is gone. Default 30s, as pupsourcing has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<DurationText>,
}

/// Lag of projections of Marten's daemon.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Marten {
    /// As mt_event_progression names them, such as Trip:All; their lags are added up. Default: all that the store knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub projections: Option<Vec<String>>,
    /// Schema of the event tables. Default public.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

/// Lag of consumers of a category of message-db, in positions of the whole store.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MessageDb {
    /// The category.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Streams in which the consumers note how far they got: one for each member of a consumer group. At most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub position_streams: Option<Vec<String>>,
    /// Default message_store.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

/// Lag of subscriptions of Eventuous to all events.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Eventuous {
    /// Ids of the subscriptions; their lags are added up. Default: all that the store knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub subscriptions: Option<Vec<String>>,
    /// Default eventuous.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
}

/// Lag of the readers of any store: the highest position among the events, minus the reader's own.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// Names of the readers; their lags are added up. Default: all that the store knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub names: Option<Vec<String>>,
    /// Table of the events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_table: Option<String>,
    /// Column of the events' numbers; it must have an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_position: Option<String>,
    /// Table of the readers' positions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints_table: Option<String>,
    /// Column of the readers' names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints_name: Option<String>,
    /// Column of the number of the last event that a reader has dealt with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints_position: Option<String>,
    /// What the readers read of the events, where that is not everything: what they do not read is no lag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
}

/// Events with one of these values. Needs an index on (column, eventsPosition).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scope {
    /// Column of the events' table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// Its values, at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub values: Option<Vec<String>>,
}
