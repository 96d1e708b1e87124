//! The HPA's rate limits: how far `policies` let one step go, from what was changed within their periods.
//!
//! The rules are those of Kubernetes v1.36's `podautoscaler`, float artefacts, wrapping arithmetic and the reuse of
//! outdated events included. The HPA walks its event lists at every sync; here every (list, policy) pair keeps a
//! running sum and a cursor, so that a read costs O(1) amortised. Only storing an event may cost the logarithm of
//! the number of outdated events, for the HPA's habit of overwriting the outdated event with the highest position.

use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use super::bytes::{Reader, Writer};
use crate::model::{Replicas, Tick};
use crate::spec::{RateKind, ScalingRules, SelectPolicy};

/// Changes made, and the limits that follow.
#[derive(Clone, Debug)]
pub struct RateLimits {
    up: Direction,
    down: Direction,
    ups: Changes,
    downs: Changes,
}

#[derive(Clone, Debug)]
struct Direction {
    select: SelectPolicy,
    policies: Vec<Policy>,
}

#[derive(Clone, Copy, Debug)]
struct Policy {
    kind: RateKind,
    value: i32,
    /// Position of its period's sums in both [`Changes`].
    sums: usize,
}

impl RateLimits {
    /// `None` where neither direction has a policy nor is disabled: there is then nothing to remember.
    #[must_use]
    pub fn new(up: &ScalingRules, down: &ScalingRules) -> Option<Self> {
        let unlimited =
            |rules: &ScalingRules| rules.policies.is_empty() && rules.select_policy != SelectPolicy::Disabled;
        if unlimited(up) && unlimited(down) {
            return None;
        }
        let mut periods: Vec<Duration> = Vec::new();
        let mut direction = |rules: &ScalingRules| Direction {
            select: rules.select_policy,
            policies: rules
                .policies
                .iter()
                .map(|policy| Policy {
                    kind: policy.kind,
                    value: policy.value,
                    sums: periods.iter().position(|p| *p == policy.period).unwrap_or_else(|| {
                        periods.push(policy.period);
                        periods.len() - 1
                    }),
                })
                .collect(),
        };
        let (up_direction, down_direction) = (direction(up), direction(down));
        // A direction of ours without policies has no period of its own; its events matter to the other's.
        let longest = |rules: &ScalingRules, other: &ScalingRules| {
            let own = rules.policies.iter().map(|p| p.period).max();
            own.or_else(|| other.policies.iter().map(|p| p.period).max()).unwrap_or_default()
        };
        Some(RateLimits {
            up: up_direction,
            down: down_direction,
            ups: Changes::new(longest(up, down), &periods),
            downs: Changes::new(longest(down, up), &periods),
        })
    }

    /// The highest count that the scale-up policies allow; `None` where they allow any.
    pub fn up(&mut self, now: Tick, current: Replicas) -> Option<Replicas> {
        self.expire(now);
        if self.up.select == SelectPolicy::Disabled {
            return Some(current);
        }
        let limits = self.up.policies.iter().map(|policy| {
            let start = self.start(current, policy);
            match policy.kind {
                RateKind::Pods => start.wrapping_add(policy.value),
                RateKind::Percent => go_i32((f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil()),
            }
        });
        if self.up.select == SelectPolicy::Min { limits.min() } else { limits.max() }
    }

    /// The lowest count that the scale-down policies allow; `None` where they allow any.
    pub fn down(&mut self, now: Tick, current: Replicas) -> Option<Replicas> {
        self.expire(now);
        if self.down.select == SelectPolicy::Disabled {
            return Some(current);
        }
        let limits = self.down.policies.iter().map(|policy| {
            let start = self.start(current, policy);
            match policy.kind {
                RateKind::Pods => start.wrapping_sub(policy.value),
                RateKind::Percent => go_i32((f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)).trunc()),
            }
        });
        // "Max" is the largest change, so for scaling down the lowest limit.
        if self.down.select == SelectPolicy::Min { limits.max() } else { limits.min() }
    }

    /// Remembers a change that succeeded.
    pub fn record(&mut self, now: Tick, from: Replicas, to: Replicas) {
        if to > from {
            self.ups.record(now, to.wrapping_sub(from));
        } else if to < from {
            self.downs.record(now, from.wrapping_sub(to));
        }
    }

    /// When the next remembered change leaves some policy's period.
    pub fn next_change(&mut self, now: Tick) -> Tick {
        self.expire(now);
        self.ups.next_change().min(self.downs.next_change())
    }

    /// The longest period of any policy.
    #[must_use]
    pub fn longest_period(&self) -> Duration {
        self.ups.sums.iter().map(|s| s.period).max().unwrap_or_default()
    }

    #[must_use]
    pub fn memory(&self, now: Tick) -> [Vec<RememberedChange>; 2] {
        [self.ups.memory(now), self.downs.memory(now)]
    }

    /// All that it remembers, exactly. Which policies there are follows from the behavior.
    pub(super) fn save(&self, out: &mut Writer) {
        self.ups.save(out);
        self.downs.save(out);
    }

    pub(super) fn load(&mut self, input: &mut Reader<'_>) -> Option<()> {
        self.ups.load(input)?;
        self.downs.load(input)
    }

    /// Takes over what another instance remembered, oldest first in each list.
    pub fn restore(&mut self, now: Tick, ups: &[RememberedChange], downs: &[RememberedChange]) {
        self.ups.restore(now, ups);
        self.downs.restore(now, downs);
    }

    fn expire(&mut self, now: Tick) {
        self.ups.expire(now);
        self.downs.expire(now);
    }

    /// Replicas at the start of the policy's period, as far as our own changes explain it: both lists count.
    fn start(&self, current: Replicas, policy: &Policy) -> Replicas {
        current.wrapping_sub(self.ups.sum(policy.sums)).wrapping_add(self.downs.sum(policy.sums))
    }
}

/// One change as written to memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RememberedChange {
    pub age: Duration,
    pub change: Replicas,
    /// Position in the HPA's list; decides which outdated change is overwritten first.
    pub slot: u32,
}

/// The changes of one direction.
#[derive(Clone, Debug)]
struct Changes {
    /// Oldest first; the first has the sequence number `first`.
    log: VecDeque<Change>,
    first: u64,
    sums: Vec<Sum>,
    /// Older than this (the longest period of this direction's own policies) is outdated: its slot may be reused.
    longest: Duration,
    /// Sequence number of the oldest change that is not known to be outdated.
    fresh_from: u64,
    /// Slots of outdated changes, highest first, with the sequence number of the change in them.
    outdated: BinaryHeap<(u32, u64)>,
    slots: u32,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    at: Tick,
    change: Replicas,
    slot: u32,
    /// Its slot was reused: the HPA has forgotten it, though some policy's period may still cover it.
    forgotten: bool,
}

/// Sum of the changes younger than `period`.
#[derive(Clone, Copy, Debug)]
struct Sum {
    period: Duration,
    /// Wraps, as the HPA's does.
    total: Replicas,
    /// Sequence number of the oldest change that it contains.
    from: u64,
}

impl Changes {
    fn new(longest: Duration, periods: &[Duration]) -> Self {
        Changes {
            log: VecDeque::new(),
            first: 0,
            sums: periods.iter().map(|&period| Sum { period, total: 0, from: 0 }).collect(),
            longest,
            fresh_from: 0,
            outdated: BinaryHeap::new(),
            slots: 0,
        }
    }

    fn get(log: &VecDeque<Change>, first: u64, sequence: u64) -> Option<&Change> {
        log.get(usize::try_from(sequence.checked_sub(first)?).ok()?)
    }

    fn sum(&self, index: usize) -> Replicas {
        self.sums.get(index).map_or(0, |sum| sum.total)
    }

    /// Takes what has left its period out of the sums, and drops what nobody needs any more.
    fn expire(&mut self, now: Tick) {
        if self.log.is_empty() {
            return;
        }
        let (log, first) = (&self.log, self.first);
        let mut needed = self.fresh_from;
        for sum in &mut self.sums {
            while let Some(change) = Self::get(log, first, sum.from) {
                // Exactly one period old does not count.
                if now.since(change.at) < sum.period {
                    break;
                }
                if !change.forgotten {
                    sum.total = sum.total.wrapping_sub(change.change);
                }
                sum.from += 1;
            }
            needed = needed.min(sum.from);
        }
        while self.first < needed && self.log.pop_front().is_some() {
            self.first += 1;
        }
    }

    fn record(&mut self, now: Tick, change: Replicas) {
        self.expire(now);
        while let Some(old) = Self::get(&self.log, self.first, self.fresh_from) {
            // Exactly the longest period old is not outdated yet.
            if now.since(old.at) <= self.longest {
                break;
            }
            self.outdated.push((old.slot, self.fresh_from));
            self.fresh_from += 1;
        }
        let slot = match self.outdated.pop() {
            Some((slot, sequence)) => {
                self.forget(sequence);
                slot
            }
            None => {
                self.slots += 1;
                self.slots - 1
            }
        };
        self.append(Change { at: now, change, slot, forgotten: false });
    }

    fn append(&mut self, change: Change) {
        self.log.push_back(change);
        for sum in &mut self.sums {
            sum.total = sum.total.wrapping_add(change.change);
        }
    }

    fn forget(&mut self, sequence: u64) {
        let Some(index) = sequence.checked_sub(self.first).and_then(|i| usize::try_from(i).ok()) else { return };
        let Some(change) = self.log.get_mut(index) else { return };
        change.forgotten = true;
        for sum in self.sums.iter_mut().filter(|sum| sum.from <= sequence) {
            sum.total = sum.total.wrapping_sub(change.change);
        }
    }

    fn next_change(&self) -> Tick {
        let expiries = self
            .sums
            .iter()
            .filter_map(|sum| Self::get(&self.log, self.first, sum.from).map(|change| change.at.after(sum.period)));
        expiries.min().unwrap_or(Tick::NEVER)
    }

    /// Oldest first. An outdated change that no policy counts any more is gone, but its place in the HPA's list is
    /// still the one to be overwritten: a change of nothing keeps it.
    fn memory(&self, now: Tick) -> Vec<RememberedChange> {
        let oldest = self.log.front().map_or(Duration::ZERO, |change| now.since(change.at));
        let age = oldest.max(self.longest + Duration::from_nanos(1));
        let places = self.outdated.iter().filter(|(_, sequence)| *sequence < self.first);
        let places = places.map(|&(slot, _)| RememberedChange { age, change: 0, slot });
        let live = self.log.iter().filter(|change| !change.forgotten);
        let live = live.map(|c| RememberedChange { age: now.since(c.at), change: c.change, slot: c.slot });
        places.chain(live).collect()
    }

    fn save(&self, out: &mut Writer) {
        let Changes { log, first, sums, longest: _, fresh_from, outdated, slots } = self;
        out.number(log.len() as u64);
        for &Change { at, change, slot, forgotten } in log {
            out.tick(at);
            out.signed(change);
            out.number(u64::from(slot) << 1 | u64::from(forgotten));
        }
        out.number(*first);
        for &Sum { period: _, total, from } in sums {
            out.signed(total);
            out.number(from);
        }
        out.number(*fresh_from);
        // In the order of their slots, and not of the heap, which is another after other pushes.
        let mut outdated: Vec<(u32, u64)> = outdated.iter().copied().collect();
        outdated.sort_unstable();
        out.number(outdated.len() as u64);
        for (slot, sequence) in outdated {
            out.number(u64::from(slot));
            out.number(sequence);
        }
        out.number(u64::from(*slots));
    }

    fn load(&mut self, input: &mut Reader<'_>) -> Option<()> {
        let change = |input: &mut Reader<'_>| {
            let (at, change, slot) = (input.tick()?, input.signed()?, input.number()?);
            Some(Change { at, change, slot: u32::try_from(slot >> 1).ok()?, forgotten: slot & 1 != 0 })
        };
        self.log = input.many(change)?.into();
        self.first = input.number()?;
        for sum in &mut self.sums {
            (sum.total, sum.from) = (input.signed()?, input.number()?);
        }
        self.fresh_from = input.number()?;
        self.outdated = input.many(|input| Some((input.slot()?, input.number()?)))?.into();
        self.slots = input.slot()?;
        Some(())
    }

    fn restore(&mut self, now: Tick, changes: &[RememberedChange]) {
        for remembered in changes {
            self.slots = self.slots.max(remembered.slot + 1);
            self.append(Change {
                at: now.before(remembered.age),
                change: remembered.change,
                slot: remembered.slot,
                forgotten: false,
            });
        }
    }
}

/// Go's float64 -> int32 on amd64, as the vectors record it: out of range and NaN give the smallest number, which
/// makes an absurdly large percentage freeze a scale-up.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn go_i32(value: f64) -> i32 {
    if (-2_147_483_648.0..2_147_483_648.0).contains(&value) { value as i32 } else { i32::MIN }
}
