//! The standalone controller put together: election, custom resources, workloads, patches, status, and the order in
//! which they begin and end.

use std::path::PathBuf;
use std::time::Duration;

use crate::cluster::client::Scope;

/// What to control and how.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    pub scope: Scope,
    /// Of the Lease and the checkpoints; `None`: the one that the configuration of the cluster says.
    pub namespace: Option<String>,
    /// `None`: this process is alone.
    pub election: Option<Election>,
    pub patches_per_second: u32,
    pub patches_at_once: u32,
}

/// How the leader is found.
#[derive(Clone, Debug)]
pub struct Election {
    pub name: String,
    /// `None`: the host's name.
    pub identity: Option<String>,
    pub lease_duration: Duration,
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

/// Where memory is kept over a restart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Checkpoints {
    #[default]
    Nowhere,
    Folder(PathBuf),
    ConfigMaps,
}
