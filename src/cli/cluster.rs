//! The flags of the standalone controller, as one group.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use clap::Args;

use super::duration;
use crate::app::{Checkpoints, ClusterSettings, Election};
use crate::cluster::client::Scope;

/// The scale controller of a cluster: what `--target kubernetes` does and how much of it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Scale controller, with --target kubernetes")]
pub struct ClusterArgs {
    /// Follow custom resources and workloads of these namespaces only; without it, of the whole cluster.
    #[arg(
        long = "watch-namespace",
        value_name = "NAMESPACE",
        env = "TIDEGATE_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub watch_namespaces: Vec<String>,
    /// Act without holding the Lease: for one process that is sure to be alone.
    #[arg(long, env = "TIDEGATE_NO_LEADER_ELECTION")]
    pub no_leader_election: bool,
    /// Name of the Lease.
    #[arg(long, value_name = "NAME", env = "TIDEGATE_LEASE_NAME", default_value = "tidegate")]
    pub lease_name: String,
    /// Namespace of the Lease and of the checkpoints: this process's own.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Who this process is in the Lease; a part that is its own is added. Default: the host's name, which is the pod's.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    pub identity: Option<String>,
    /// For how long others leave a leader alone that has fallen silent: how long a take-over may take.
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_LEASE_DURATION", default_value = "15s", value_parser = duration)]
    pub lease_duration: Duration,
    /// How long a leader goes on trying to renew before it steps down: less than the lease's duration.
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_RENEW_DEADLINE", default_value = "10s", value_parser = duration)]
    pub renew_deadline: Duration,
    /// Between two attempts to get or to renew the Lease.
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_RETRY_PERIOD", default_value = "2s", value_parser = duration)]
    pub retry_period: Duration,
    /// Patches of scale a second, over all workloads; the most urgent go first.
    #[arg(long, value_name = "PATCHES", env = "TIDEGATE_KUBE_QPS", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub kube_qps: u32,
    /// Patches of scale at once, after a rest.
    #[arg(long, value_name = "PATCHES", env = "TIDEGATE_KUBE_BURST", default_value_t = 200,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub kube_burst: u32,
}

/// Where windows, cooldowns and rate limits survive a restart.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Memory over restarts")]
pub struct MemoryArgs {
    /// Keep it in this folder (created if missing). Without it: in ConfigMaps of the Lease's namespace where
    /// --target kubernetes is, and nowhere else otherwise.
    #[arg(long, value_name = "FOLDER", env = "TIDEGATE_STATE_DIR")]
    pub state_dir: Option<PathBuf>,
    /// Keep it nowhere: after a restart of all processes, every count is held for a window and a cooldown instead.
    #[arg(long, env = "TIDEGATE_NO_CHECKPOINTS", conflicts_with = "state_dir")]
    pub no_checkpoints: bool,
}

impl ClusterArgs {
    pub(super) fn settings(self) -> anyhow::Result<ClusterSettings> {
        if self.renew_deadline >= self.lease_duration || self.retry_period >= self.renew_deadline {
            bail!(
                "--retry-period ({:?}) must be shorter than --renew-deadline ({:?}), and that than --lease-duration ({:?})",
                self.retry_period,
                self.renew_deadline,
                self.lease_duration
            );
        }
        let scope = match self.watch_namespaces {
            namespaces if namespaces.is_empty() => Scope::Cluster,
            namespaces => Scope::Namespaces(namespaces),
        };
        Ok(ClusterSettings {
            scope,
            namespace: self.lease_namespace,
            election: (!self.no_leader_election).then_some(Election {
                name: self.lease_name,
                lease_duration: self.lease_duration,
                renew_deadline: self.renew_deadline,
                retry_period: self.retry_period,
            }),
            identity: self.identity,
            patches_per_second: self.kube_qps,
            patches_at_once: self.kube_burst,
        })
    }
}

impl MemoryArgs {
    pub(super) fn checkpoints(self, in_cluster: bool) -> Checkpoints {
        match self.state_dir {
            Some(folder) => Checkpoints::Folder(folder),
            None if in_cluster && !self.no_checkpoints => Checkpoints::ConfigMaps,
            None => Checkpoints::Nowhere,
        }
    }
}
