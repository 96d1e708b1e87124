//! The source blocks of a trigger as users type them: one struct a block.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationText, PostgresQuery, PrometheusQuery, PrometheusScrape};

/// Lengths of Redis keys.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisList {
    /// One or more keys, at most 1000; their lengths are added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub keys: Option<Vec<String>>,
    /// Patterns of further keys, as Redis' SCAN has them (such as jobs:*), at most 16. They are looked for every few
    /// seconds; lists only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub keys_matching: Option<Vec<String>>,
    /// Lists to which workers move what they work on (LMOVE, RPOPLPUSH): in-flight work.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub processing: Option<Vec<String>>,
}

/// Sets or hashes, counted.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisKeys {
    /// One or more keys, at most 1000; their sizes are added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub keys: Option<Vec<String>>,
}

/// Sorted sets whose scores are times: what is due.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisSortedSet {
    /// One or more keys, at most 1000; what is due under them is added up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub keys: Option<Vec<String>>,
    /// What the scores are: times since 1970 in seconds (the default) or milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_unit: Option<ScoreUnit>,
}

/// What scores count.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ScoreUnit {
    Seconds,
    Milliseconds,
}

/// A stream and its consumer group.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisStream {
    /// The stream's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The consumer group. Not needed where backlog is length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// lag (the default): what the group was not given yet; what it was given and has not acknowledged is in flight.
    /// pending: what it was given and has not acknowledged. length: what the stream holds, read or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<StreamBacklog>,
}

/// What counts as the backlog of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StreamBacklog {
    Lag,
    Pending,
    Length,
}

/// Queues of Celery (Kombu's Redis transport).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Celery {
    /// Names of queues, such as celery; at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub queues: Option<Vec<String>>,
    /// An exchange: the queues that are bound to it count as well. They are looked for every few seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_to: Option<String>,
    /// The transport option priority_steps. Default [0, 3, 6, 9].
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 10))]
    pub priority_steps: Option<Vec<i32>>,
    /// The transport option sep. Default "\x06\x16".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub separator: Option<String>,
    /// The transport option global_keyprefix. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_keyprefix: Option<String>,
    /// Deliveries without an acknowledgement: byQueue (the default) counts those of these queues, all counts those of
    /// every queue of this database (cheaper; right where there are no others), none counts nothing. With Celery's
    /// default of early acknowledgement only prefetched and delayed tasks show, not running ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<CeleryInFlight>,
    /// The transport option visibility_timeout: what was delivered longer ago is not counted as in flight. Default 1h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visibility_timeout: Option<DurationText>,
}

/// What counts as in flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CeleryInFlight {
    ByQueue,
    All,
    None,
}

/// Queues of Sidekiq: waiting, scheduled and to be retried now, busy.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sidekiq {
    /// Names of queues, such as default; at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub queues: Option<Vec<String>>,
    /// Whether the oldest job is read, about once a second, for its age. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age: Option<bool>,
}

/// Queues of BullMQ, version 4 to 6.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BullMq {
    /// Names of queues; at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub queues: Option<Vec<String>>,
    /// Default bull. In a Redis Cluster with the braces of its hash tag, such as "{bull}".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Whether the oldest job is read, about once a second, for its age. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age: Option<bool>,
}

/// Queues of RQ (Redis Queue for Python).
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rq {
    /// Names of queues, such as default; at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub queues: Option<Vec<String>>,
    /// Whether the oldest job is read, about once a second, for its age. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age: Option<bool>,
}

/// Queues of Resque.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resque {
    /// Names of queues; at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub queues: Option<Vec<String>>,
    /// Default resque.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// Queues of Dramatiq.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dramatiq {
    /// Names of queues, such as default; at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub queues: Option<Vec<String>>,
    /// Default dramatiq.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Whether the oldest message is read, about once a second, for its age. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age: Option<bool>,
}

/// Queues of arq.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Arq {
    /// Names of queues as arq has them, such as "arq:queue"; at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub queues: Option<Vec<String>>,
    /// Whether the oldest job is read, about once a second, for its age. Default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_age: Option<bool>,
}

/// Where work that is being done shows, if the source itself does not show it. Exactly one block, on the trigger's own
/// connection; its count is the work in flight.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// Lengths of lists (or sets, sorted sets, hashes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_list: Option<RedisList>,
    /// Members of sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_set: Option<RedisKeys>,
    /// Fields of hashes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_hash: Option<RedisKeys>,
    /// What a query of your own finds in a PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresQuery>,
    /// What a query finds at a Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_query: Option<PrometheusQuery>,
    /// A metric, read where it is exposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_scrape: Option<PrometheusScrape>,
}

/// An embedded queue.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemoryQueue {
    /// Name of the queue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
}
