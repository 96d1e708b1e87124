//! Redis servers of which there are several: the fields of a connection that say how they are found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Login;

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
