//! Connections to a Redis as users type them, and how its servers are found where there are several.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationText, Login};

/// A Redis, reached in exactly one way: `address` (or `host` and `port`), `sentinel`, `cluster` or `unixSocket`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisConnection {
    /// host:port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Instead of address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Together with host. Default 6379.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Instead of address: sentinels, which know the address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sentinel: Option<SentinelConnection>,
    /// Instead of address: a Redis Cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterNodes>,
    /// Instead of address: path of a Unix socket. Only in manifest files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix_socket: Option<String>,
    /// primary (the default), or replica: a replica that is in step with its primary, as long as there is one. With
    /// address, that server may be a replica, and is read only while it is in step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_from: Option<ReadFrom>,
    /// Number of the database. Default 0. A Redis Cluster has no other.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub database: Option<i32>,
    #[serde(flatten)]
    pub login: Login,
    /// Bound on connecting and authenticating. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<DurationText>,
    /// Bound on the answer to one batch of reads. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<DurationText>,
    /// Commands that this server is sent in a second, at most. What does not fit is read later than pollingInterval says.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_commands_per_second: Option<i32>,
}

/// Sentinels, and what they call the master. They are asked for it at every connect, and watched for changes.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SentinelConnection {
    /// host:port of the sentinels; one that answers is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub addresses: Option<Vec<String>>,
    /// Name that the sentinels have for the master, e.g. mymaster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    #[serde(flatten)]
    pub login: Login,
}

/// Nodes of a Redis Cluster. They tell of all others.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNodes {
    /// host:port of some nodes; one that answers is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub addresses: Option<Vec<String>>,
}

/// Whom to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReadFrom {
    Primary,
    Replica,
}
