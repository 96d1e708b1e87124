//! HPA v2 `behavior` on the live path: a wish goes in, the next count comes out.
//!
//! It decides what Kubernetes v1.36's `podautoscaler` decides from the same wish, current count, bounds and resolved
//! behavior (the recorded decisions of the real controller are the test), but costs O(1) amortised however long the
//! windows and however fast the sampling. What the controller does around it (reading metrics, conditions, its ways
//! at zero replicas) is in `hpa.rs`, the baseline.

use std::time::Duration;

use super::bytes::{Reader, Writer};
use super::envelope::Wishes;
use super::ratelimit::{RateLimits, RememberedChange};
use super::window::{Edge, Extreme, Window};
use crate::model::{Reason, Replicas, Tick};
use crate::spec::Behavior;

/// The memory and the rules of one workload's steps.
#[derive(Clone, Debug)]
pub struct Governor {
    /// Lowest recommendation of the scale-up window: going up needs all of them to agree.
    lowest: Window,
    /// Highest recommendation of the scale-down window: going down needs all of them to agree.
    highest: Window,
    limits: Limits,
    seeded: bool,
    /// Until then changes of before a restart may be missing from the rate limits' memory: going up is not limited
    /// by them and going down waits, so that the answer is never below that of a process that remembers.
    memory_lost_until: Tick,
}

#[derive(Clone, Debug)]
enum Limits {
    /// Policies were given.
    Rated(Box<RateLimits>),
    /// None were: one step may go anywhere.
    Unlimited,
    /// The HPA without a behavior block: four or double, and stabilization that ignores the current count.
    FourOrDouble,
}

/// What the governor made of a wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// After the windows.
    pub stabilized: Replicas,
    pub stabilized_because: Reason,
    /// After the rate limits and the bounds: the decision.
    pub desired: Replicas,
    pub limited_because: Reason,
}

/// A governor's memory in ages, as it crosses from one process to the next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GovernorMemory {
    pub lowest: Vec<(Duration, Replicas)>,
    pub highest: Vec<(Duration, Replicas)>,
    /// Highest recommendation that counts as made until whoever reads this looks at it.
    pub open: Option<Replicas>,
    pub ups: Vec<RememberedChange>,
    pub downs: Vec<RememberedChange>,
}

impl Governor {
    #[must_use]
    pub fn new(behavior: &Behavior) -> Self {
        let (up_window, down_window, edge, limits) = match behavior {
            Behavior::Rules { up, down } => {
                let limits =
                    RateLimits::new(up, down).map_or(Limits::Unlimited, |rated| Limits::Rated(Box::new(rated)));
                (up.stabilization_window, down.stabilization_window, Edge::Exclusive, limits)
            }
            Behavior::HpaWithoutBehavior { downscale_stabilization } => {
                (Duration::ZERO, *downscale_stabilization, Edge::Inclusive, Limits::FourOrDouble)
            }
        };
        Governor {
            lowest: Window::new(Extreme::Lowest, up_window, Edge::Exclusive),
            highest: Window::new(Extreme::Highest, down_window, edge),
            limits,
            seeded: false,
            memory_lost_until: Tick::ZERO,
        }
    }

    /// The first look at the workload: its count is the first recommendation, so that a fresh process neither scales
    /// down nor (with a scale-up window) up at once. Only the first call counts.
    pub fn seed(&mut self, now: Tick, current: Replicas) {
        if !self.seeded {
            self.seeded = true;
            self.remember(now, current);
        }
    }

    /// One sync of the HPA: judges `raw`, and remembers it as a recommendation unless the count was out of bounds.
    pub fn decide(&mut self, now: Tick, raw: Replicas, current: Replicas, min: Replicas, max: Replicas) -> Verdict {
        let verdict = self.judge(now, raw, current, min, max);
        if verdict.limited_because != Reason::OutOfBounds {
            self.remember(now, raw);
        }
        verdict
    }

    /// Outside [min, max] straight to the bound, else windows and rate limits. A count of zero is not "below min"
    /// (whether it may wake is not this room's question); if it wakes, it wakes to at least `min`. Remembers nothing.
    pub fn judge(&mut self, now: Tick, raw: Replicas, current: Replicas, min: Replicas, max: Replicas) -> Verdict {
        let outside = |desired| Verdict {
            stabilized: desired,
            stabilized_because: Reason::Unchanged,
            desired,
            limited_because: Reason::OutOfBounds,
        };
        if current > max {
            return outside(max);
        }
        if current != 0 && current < min {
            return outside(min);
        }
        let mut verdict = self.step(now, raw, current, min, max);
        if current == 0 && verdict.desired < min {
            verdict.desired = min;
            verdict.limited_because = Reason::TooFewReplicas;
        }
        verdict
    }

    /// Remembers `raw` as a recommendation without deciding anything.
    pub fn remember(&mut self, now: Tick, raw: Replicas) {
        self.lowest.push(now, raw);
        self.highest.push(now, raw);
    }

    /// Remembers a change that succeeded; a change by somebody else is not told.
    pub fn record(&mut self, now: Tick, from: Replicas, to: Replicas) {
        if let Limits::Rated(limits) = &mut self.limits {
            limits.record(now, from, to);
        }
    }

    /// When, after `now`, a decision may change though its inputs do not.
    pub fn next_change(&mut self, now: Tick) -> Tick {
        let windows = self.lowest.next_change(now).min(self.highest.next_change(now));
        match &mut self.limits {
            Limits::Rated(_) if now < self.memory_lost_until => windows.min(self.memory_lost_until),
            Limits::Rated(limits) => windows.min(limits.next_change(now)),
            Limits::Unlimited | Limits::FourOrDouble => windows,
        }
    }

    #[must_use]
    pub fn memory(&self, now: Tick) -> GovernorMemory {
        let ages = |window: &Window| window.entries().map(|(t, v)| (now.since(t), v)).collect();
        let [ups, downs] = match &self.limits {
            Limits::Rated(limits) => limits.memory(now),
            Limits::Unlimited | Limits::FourOrDouble => Default::default(),
        };
        GovernorMemory { lowest: ages(&self.lowest), highest: ages(&self.highest), open: None, ups, downs }
    }

    /// The scale-down window, for a checkpoint.
    pub(super) fn wishes(&self, now: Tick) -> Wishes {
        self.highest.coalesced(now)
    }

    /// Takes over a memory, under whatever behavior this governor has; it counts as seeded then.
    pub fn restore(&mut self, now: Tick, memory: &GovernorMemory) {
        self.seeded = true;
        for &(age, value) in &memory.lowest {
            self.lowest.push(now.before(age), value);
        }
        for &(age, value) in &memory.highest {
            self.highest.push(now.before(age), value);
        }
        if let Some(open) = memory.open {
            self.highest.push(now, open);
        }
        if let Limits::Rated(limits) = &mut self.limits {
            limits.restore(now, &memory.ups, &memory.downs);
        }
    }

    /// All that it remembers, exactly.
    pub(super) fn save(&self, out: &mut Writer) {
        let Governor { lowest, highest, limits, seeded, memory_lost_until } = self;
        lowest.save(out);
        highest.save(out);
        match limits {
            Limits::Rated(limits) => limits.save(out),
            Limits::Unlimited | Limits::FourOrDouble => {}
        }
        out.flags([*seeded]);
        out.tick(*memory_lost_until);
    }

    /// Becomes what was saved of a governor of the same behavior.
    pub(super) fn load(&mut self, input: &mut Reader<'_>) -> Option<()> {
        self.lowest.load(input)?;
        self.highest.load(input)?;
        match &mut self.limits {
            Limits::Rated(limits) => limits.load(input)?,
            Limits::Unlimited | Limits::FourOrDouble => {}
        }
        [self.seeded] = input.flags()?;
        self.memory_lost_until = input.tick()?;
        Some(())
    }

    /// The same memory under another behavior.
    #[must_use]
    pub fn under(&self, now: Tick, behavior: &Behavior) -> Governor {
        let mut governor = Governor::new(behavior);
        governor.restore(now, &self.memory(now));
        governor.seeded = self.seeded;
        governor.memory_lost_until = self.memory_lost_until;
        governor
    }

    /// Nothing goes below `floor` for one scale-down window from `now`; the scale-up window is not told.
    pub fn hold_down(&mut self, now: Tick, floor: Replicas) {
        self.highest.push(now, floor);
    }

    /// Some decisions since the memory was written are lost: stays on the safe side until they could not matter.
    pub fn forget_changes(&mut self, now: Tick) {
        if let Limits::Rated(limits) = &self.limits {
            self.memory_lost_until = now.after(limits.longest_period());
        }
        self.lowest.clear();
    }

    /// Windows, then rate limits, then the bound of the direction taken; min never matters on the way up, nor max on
    /// the way down. Remembers nothing.
    pub fn step(&mut self, now: Tick, raw: Replicas, current: Replicas, min: Replicas, max: Replicas) -> Verdict {
        let high = self.highest.get(now).map_or(raw, |highest| highest.max(raw));
        let stabilized = if let Limits::FourOrDouble = self.limits {
            high
        } else {
            let low = self.lowest.get(now).map_or(raw, |lowest| lowest.min(raw));
            current.max(low).min(high)
        };
        let stabilized_because = match stabilized == raw {
            true => Reason::Unchanged,
            false if raw >= current && !matches!(self.limits, Limits::FourOrDouble) => Reason::ScaleUpStabilized,
            false => Reason::ScaleDownStabilized,
        };
        let memory_lost = now < self.memory_lost_until;
        let (desired, limited_because) = match &mut self.limits {
            Limits::FourOrDouble => four_or_double(stabilized, current, min, max),
            limits => {
                let (up, down) = match limits {
                    Limits::Rated(_) if memory_lost => (None, Some(current)),
                    Limits::Rated(rated) if stabilized > current => (rated.up(now, current), None),
                    Limits::Rated(rated) if stabilized < current => (None, rated.down(now, current)),
                    _ => (None, None),
                };
                match bounded(stabilized, current, up, down, min, max) {
                    (desired, Reason::ScaleDownLimit) if memory_lost => (desired, Reason::MemoryLost),
                    other => other,
                }
            }
        };
        Verdict { stabilized, stabilized_because, desired, limited_because }
    }
}

/// The limits of the direction taken. A rate limit never turns a step around.
fn bounded(
    stabilized: Replicas,
    current: Replicas,
    up: Option<Replicas>,
    down: Option<Replicas>,
    min: Replicas,
    max: Replicas,
) -> (Replicas, Reason) {
    if stabilized > current {
        let (cap, reason) = match up.map(|limit| limit.max(current)) {
            Some(limit) if max > limit => (limit, Reason::ScaleUpLimit),
            _ => (max, Reason::TooManyReplicas),
        };
        if stabilized > cap { (cap, reason) } else { (stabilized, Reason::DesiredWithinRange) }
    } else if stabilized < current {
        let (floor, reason) = match down.map(|limit| limit.min(current)) {
            Some(limit) if min < limit => (limit, Reason::ScaleDownLimit),
            _ => (min, Reason::TooFewReplicas),
        };
        if stabilized < floor { (floor, reason) } else { (stabilized, Reason::DesiredWithinRange) }
    } else {
        (stabilized, Reason::DesiredWithinRange)
    }
}

/// The HPA without a behavior block. The check of `min` comes first and wins.
fn four_or_double(stabilized: Replicas, current: Replicas, min: Replicas, max: Replicas) -> (Replicas, Reason) {
    // Doubling beyond int32 wraps to the smallest number on amd64: nothing is allowed then.
    let limit = if current > i32::MAX / 2 { i32::MIN } else { (current * 2).max(4) };
    let (cap, reason) = if max > limit { (limit, Reason::ScaleUpLimit) } else { (max, Reason::TooManyReplicas) };
    if stabilized < min {
        (min, Reason::TooFewReplicas)
    } else if stabilized > cap {
        (cap, reason)
    } else {
        (stabilized, Reason::DesiredWithinRange)
    }
}
