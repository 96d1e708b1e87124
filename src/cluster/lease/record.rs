//! What a Lease says, and what is written into it.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;

use crate::clock::Clock;
use crate::model::Tick;

/// The Lease as it was last heard of.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) lease: Lease,
    /// Since when its spec stands, by our own clock: when it was first heard of. The one thing that another's expiry is
    /// counted from. Its renewal was before that, so we count too long rather than too short.
    pub(super) since: Tick,
    /// Somebody deleted it since. Its holder cannot know that yet.
    pub(super) deleted: bool,
}

impl Seen {
    pub(super) fn spec(&self) -> LeaseSpec {
        self.lease.spec.clone().unwrap_or_default()
    }

    pub(super) fn version(&self) -> Option<&str> {
        self.lease.metadata.resource_version.as_deref()
    }

    pub(super) fn holder(&self) -> Option<&str> {
        let holder = self.lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        holder.filter(|holder| !holder.is_empty())
    }
}

/// A write that makes us the holder, or keeps us it.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    /// Of the term.
    pub(super) number: u64,
    /// Before it was sent.
    pub(super) sent: Tick,
    pub(super) spec: LeaseSpec,
}

impl Claim {
    /// Whether `spec` is what this very write left behind. The time of renewal tells it from every other write of this
    /// process: it comes from a clock that only goes forward.
    pub(super) fn made(&self, spec: &LeaseSpec) -> bool {
        spec.holder_identity == self.spec.holder_identity
            && spec.lease_transitions == self.spec.lease_transitions
            && spec.renew_time == self.spec.renew_time
    }
}

/// `leaseTransitions`.
pub(super) fn transitions(spec: &LeaseSpec) -> u64 {
    spec.lease_transitions.and_then(|count| u64::try_from(count).ok()).unwrap_or(0)
}

/// As the Lease has it, where a number beyond its 32 bits cannot be told from the last.
pub(super) fn as_transitions(number: u64) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// `leaseDurationSeconds`, by which every other process has to wait. `ours` where there is none.
pub(super) fn duration(spec: &LeaseSpec, ours: Duration) -> Duration {
    let seconds = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok()).filter(|s| *s > 0);
    seconds.map_or(ours, Duration::from_secs)
}

/// Rounded up: others must not wait for less than we count on.
pub(super) fn whole_seconds(duration: Duration) -> i32 {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    i32::try_from(seconds).unwrap_or(i32::MAX)
}

/// The wall clock, for people; to the microsecond, which is all that a Lease holds.
pub(super) fn micro_time(clock: &Clock, now: Tick) -> Option<MicroTime> {
    let wall = Timestamp::try_from(clock.wall(now)).ok()?;
    Timestamp::from_microsecond(wall.as_microsecond()).ok().map(MicroTime)
}

/// A Lease without a holder, as client-go leaves it behind.
pub(super) fn released(spec: LeaseSpec, now: Option<MicroTime>) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(String::new()),
        lease_duration_seconds: Some(1),
        acquire_time: now.clone(),
        renew_time: now,
        ..spec
    }
}
