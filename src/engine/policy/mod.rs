//! From what one trigger shows to the replicas it asks for: one file a policy.
//!
//! The set is closed on purpose: an exhaustive `match` here keeps every policy in front of the tests, the benchmark
//! and the simulator.

mod backlog_per_replica;
mod fixed;
mod load;

use std::time::Duration;

use crate::model::{Measure, Observation, Reason, Replicas};
use crate::spec::Policy;

/// The dead band around the target ratio, one width for each direction; 0.1 = 10 %.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tolerance {
    pub up: f64,
    pub down: f64,
}

/// What `policy` wants for what was seen while `current` replicas work on it, and `usual` is what has been in flight for
/// some time (see [`follow`]). `None`: it goes by something that was not seen.
#[must_use]
pub fn want(
    policy: &Policy,
    seen: &Observation,
    usual: Measure,
    current: Replicas,
    tolerance: Tolerance,
) -> Option<(Replicas, Reason)> {
    let (wants, reason) = match policy {
        Policy::BacklogPerReplica { target } => backlog_per_replica::want(*target, seen.backlog, current, tolerance),
        Policy::Fixed { replicas } => fixed::want(*replicas),
        Policy::Load(load) => {
            let in_flight = seen.in_flight.get()?;
            load::want(load, seen.backlog, in_flight, usual.get().unwrap_or(in_flight), current, tolerance)
        }
    };
    // Replicas beyond a queue's own limit of jobs at once would idle. Where more than that are running, the limit was
    // lowered under them, and it is not for us to stop what it let begin.
    let Some(limit) = seen.limit.get() else { return Some((wants, reason)) };
    let limit = limit.max(seen.in_flight.get().unwrap_or(0.0));
    let most = match policy {
        Policy::Load(load) => rounded_up(limit / load.slots_per_replica.as_f64()),
        Policy::BacklogPerReplica { .. } | Policy::Fixed { .. } => rounded_up(limit),
    };
    Some(if wants > most { (most, Reason::ConcurrencyLimit) } else { (wants, reason) })
}

/// How much has been in flight for some time, where a policy goes by that, after it was seen again `since` the last time.
#[must_use]
pub fn follow(policy: &Policy, usual: Measure, seen: Measure, since: Duration) -> Measure {
    match (policy, usual.get(), seen.get()) {
        (Policy::Load(load), Some(usual), Some(seen)) => load::follow(load, usual, seen, since).into(),
        (Policy::Load(_), _, _) => seen,
        (Policy::BacklogPerReplica { .. } | Policy::Fixed { .. }, ..) => Measure::UNKNOWN,
    }
}

/// What binary fractions add to a number that is whole on paper (three jobs of 0.1 s in 0.1 s come to a bit more than
/// three) is no work for another replica. Counts are far below what this part of them could hide a job in.
const ROUNDING: f64 = 1e-12;

#[expect(clippy::cast_possible_truncation, reason = "`as` saturates at the largest count, as the HPA caps")]
pub(super) fn rounded_up(replicas: f64) -> Replicas {
    (replicas - replicas * ROUNDING).ceil() as Replicas
}

/// Replicas that it takes for what is in flight to have its slots. `None`: the policy does not know of slots, or nobody
/// of work in flight.
pub(super) fn least(policy: &Policy, seen: &Observation) -> Option<Replicas> {
    match policy {
        Policy::Load(load) => Some(rounded_up(seen.in_flight.get()? / load.slots_per_replica.as_f64())),
        Policy::BacklogPerReplica { .. } | Policy::Fixed { .. } => None,
    }
}
