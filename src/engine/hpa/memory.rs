//! What the HPA controller remembers between syncs, in memory only: recommendations and scale events.
//!
//! The lists never shrink. A stale entry is overwritten in place, and only one a sync, so their order is not the order
//! of time; which entry is overwritten is part of what the controller does, because an entry left behind counts again
//! when a window is made longer.

use std::time::Duration;

use crate::engine::hpa::spec::{HpaBehavior, HpaRules};
use crate::model::{Replicas, Tick};

/// An unstabilized wish and when it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Recommendation {
    pub replicas: Replicas,
    pub at: Tick,
}

/// A rescale by the controller; what others do to the scale is never recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScaleEvent {
    /// Size of the step; the list says the direction.
    pub change: Replicas,
    pub at: Tick,
    /// Free to be overwritten. Once set it stays, even if a longer period would make the event count again.
    pub outdated: bool,
}

/// The controller's memory of one HPA.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// `None` until the first sync.
    recommendations: Option<Vec<Recommendation>>,
    up: Vec<ScaleEvent>,
    down: Vec<ScaleEvent>,
}

impl Memory {
    /// A memory with a list of recommendations that exists and is empty, so that the first sync seeds nothing.
    #[must_use]
    pub fn without_seed() -> Self {
        Memory { recommendations: Some(Vec::new()), ..Memory::default() }
    }

    #[must_use]
    pub fn recommendations(&self) -> &[Recommendation] {
        self.recommendations.as_deref().unwrap_or(&[])
    }

    #[must_use]
    pub fn up(&self) -> &[ScaleEvent] {
        &self.up
    }

    #[must_use]
    pub fn down(&self) -> &[ScaleEvent] {
        &self.down
    }

    /// The first sync after creation or a restart counts what it finds as a recommendation.
    pub(super) fn seed(&mut self, now: Tick, current: Replicas) {
        self.recommendations.get_or_insert_with(|| vec![Recommendation { replicas: current, at: now }]);
    }

    /// `behavior` absent: the highest recommendation of the window, which counts to its very end. Not held to the
    /// current count: after somebody scaled down by hand it scales up again.
    pub(super) fn stabilize_without_behavior(&mut self, now: Tick, raw: Replicas, window: Duration) -> Replicas {
        let mut stale = None;
        let mut highest = raw;
        for (index, entry) in self.recommendations().iter().enumerate() {
            if now.since(entry.at) > window {
                stale = Some(index);
            } else {
                highest = highest.max(entry.replicas);
            }
        }
        self.recommend(now, raw, stale);
        highest
    }

    /// `behavior` present: moves away from `current` only as far as every recommendation in the window of that
    /// direction agrees. An entry exactly one window old neither counts nor is stale.
    pub(super) fn stabilize(
        &mut self,
        now: Tick,
        raw: Replicas,
        current: Replicas,
        up_window: Duration,
        down_window: Duration,
    ) -> Replicas {
        let mut stale = None;
        let (mut lowest, mut highest) = (raw, raw);
        for (index, entry) in self.recommendations().iter().enumerate() {
            let age = now.since(entry.at);
            if age < up_window {
                lowest = lowest.min(entry.replicas);
            }
            if age < down_window {
                highest = highest.max(entry.replicas);
            }
            if age > up_window && age > down_window {
                stale = Some(index);
            }
        }
        self.recommend(now, raw, stale);
        current.max(lowest).min(highest)
    }

    fn recommend(&mut self, now: Tick, replicas: Replicas, stale: Option<usize>) {
        let fresh = Recommendation { replicas, at: now };
        let list = self.recommendations.get_or_insert_default();
        match stale.and_then(|index| list.get_mut(index)) {
            Some(slot) => *slot = fresh,
            None => list.push(fresh),
        }
    }

    /// Remembers a rescale that succeeded, in the list of its direction.
    pub(super) fn record_rescale(&mut self, now: Tick, from: Replicas, to: Replicas, behavior: &HpaBehavior) {
        if to > from {
            store(&mut self.up, now, to.wrapping_sub(from), behavior.up.longest_period());
        } else {
            store(&mut self.down, now, from.wrapping_sub(to), behavior.down.longest_period());
        }
    }

    /// Where the policy's period began, in replicas: the current count without the steps of the last `period`. Both
    /// directions count, with this policy's own period, and the arithmetic wraps as Go's int32 does.
    pub(super) fn start_of_period(&self, now: Tick, period: Duration, current: Replicas) -> Replicas {
        current.wrapping_sub(change_within(&self.up, now, period)).wrapping_add(change_within(&self.down, now, period))
    }
}

/// Sum of the steps younger than `period`; one that is exactly that old does not count, an outdated one may.
fn change_within(events: &[ScaleEvent], now: Tick, period: Duration) -> Replicas {
    events
        .iter()
        .filter(|event| now.since(event.at) < period)
        .fold(0, |sum: Replicas, event| sum.wrapping_add(event.change))
}

/// Marks what is older than the direction's longest period, then overwrites the last marked event or appends.
fn store(events: &mut Vec<ScaleEvent>, now: Tick, change: Replicas, longest: Duration) {
    let mut reusable = None;
    for (index, event) in events.iter_mut().enumerate() {
        if now.since(event.at) > longest {
            event.outdated = true;
        }
        if event.outdated {
            reusable = Some(index);
        }
    }
    let fresh = ScaleEvent { change, at: now, outdated: false };
    match reusable.and_then(|index| events.get_mut(index)) {
        Some(slot) => *slot = fresh,
        None => events.push(fresh),
    }
}

impl HpaRules {
    fn longest_period(&self) -> Duration {
        self.policies.iter().map(|policy| policy.period).max().unwrap_or(Duration::ZERO)
    }
}
