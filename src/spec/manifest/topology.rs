//! Redis servers of which there are several: the fields of a connection that say how they are found.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{PasswordFrom, PasswordText, Tls, UsernameFrom};

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
    /// User of the sentinels' own access control lists. The servers that hold the queues have theirs, beside this block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Where the user's name is, instead of username.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username_from: Option<UsernameFrom>,
    /// The password itself. Only in manifest files, and only in those that nobody else reads; better is passwordFrom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordText>,
    /// Where the sentinels' password is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_from: Option<PasswordFrom>,
    /// Encrypt the connections to the sentinels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
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
