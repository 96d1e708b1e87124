//! From one trigger's backlog to the replicas it asks for: one file a policy.
//!
//! The set is closed on purpose: an exhaustive `match` here keeps every policy in front of the tests, the benchmark
//! and the simulator.

mod backlog_per_replica;
mod fixed;

use crate::model::{Reason, Replicas};
use crate::spec::Policy;

/// The dead band around the target ratio, one width for each direction; 0.1 = 10 %.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tolerance {
    pub up: f64,
    pub down: f64,
}

/// What `policy` wants for `backlog` items while `current` replicas work on them.
#[must_use]
pub fn want(policy: &Policy, backlog: f64, current: Replicas, tolerance: Tolerance) -> (Replicas, Reason) {
    match *policy {
        Policy::BacklogPerReplica { target } => backlog_per_replica::want(target, backlog, current, tolerance),
        Policy::Fixed { replicas } => fixed::want(replicas),
    }
}
