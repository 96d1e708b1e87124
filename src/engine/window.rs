//! Highest and lowest of the last while, in constant time however long the while is and however often it is fed.
//!
//! A stabilization window of an hour sampled ten times a second holds 36,000 recommendations; walking them at every
//! evaluation is what the HPA can afford at one sync in 15 s and we cannot. The classic monotonic queue keeps only
//! the recommendations that could still become the extreme: each is pushed and popped once, and because replicas are
//! small integers there are never more of them than distinct values in the window.
//!
//! Ten thousand autoscalers whose wishes fall by one each second hold three million of them, so that an entry is eight
//! bytes: its moment is kept in milliseconds since the first. What falls between two counts for up to a millisecond
//! longer, never shorter.

use std::collections::VecDeque;
use std::time::Duration;

use super::bytes::{Reader, Writer};
use super::envelope::{Wishes, YOUNG};
use crate::model::{Replicas, Tick};

/// Which extreme.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Extreme {
    Highest,
    Lowest,
}

/// Whether something exactly one window old still counts. The HPA has one of each: with `behavior` it does not,
/// without it does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Edge {
    Exclusive,
    Inclusive,
}

/// A recommendation: milliseconds since the window's base, rounded up, and the value.
type Entry = (u32, Replicas);

/// Room for entries grows by a quarter, and not by doubling: of ten thousand full windows most of the memory is theirs.
const LEAST_ROOM: usize = 4;

/// A sliding extreme over `length`. Moments must not go backwards.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// Oldest first; values strictly falling (Highest) or rising (Lowest) from front to back.
    entries: VecDeque<Entry>,
    /// What the entries' moments are counted from.
    base: Tick,
    length: Duration,
    extreme: Extreme,
    edge: Edge,
}

impl Window {
    #[must_use]
    pub fn new(extreme: Extreme, length: Duration, edge: Edge) -> Self {
        Window { entries: VecDeque::new(), base: Tick::ZERO, length, extreme, edge }
    }

    /// Remembers `value` at `now`.
    pub fn push(&mut self, now: Tick, value: Replicas) {
        if self.is_blind() {
            return;
        }
        while let Some(&(_, last)) = self.entries.back() {
            let outshone = match self.extreme {
                Extreme::Highest => last <= value,
                Extreme::Lowest => last >= value,
            };
            if !outshone {
                break;
            }
            self.entries.pop_back();
        }
        let at = self.offset(now);
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact((self.entries.len() / 4).max(LEAST_ROOM));
        }
        self.entries.push_back((at, value));
    }

    /// `now` as the entries write it.
    fn offset(&mut self, now: Tick) -> u32 {
        if self.entries.is_empty() {
            self.base = now;
            return 0;
        }
        if let Some(offset) = millis_up(now.since(self.base)) {
            return offset;
        }
        // A window that was never empty for 49 days: what is in it is far younger than its base.
        self.get(now);
        let moments: Vec<(Tick, Replicas)> = self.entries().collect();
        self.base = moments.first().map_or(now, |(first, _)| *first);
        self.entries.clear();
        for (at, value) in moments {
            self.entries.push_back((millis_up(at.since(self.base)).unwrap_or(u32::MAX), value));
        }
        millis_up(now.since(self.base)).unwrap_or(u32::MAX)
    }

    fn moment(&self, offset: u32) -> Tick {
        self.base.after(Duration::from_millis(u64::from(offset)))
    }

    /// The extreme of what was pushed within the window, if anything was.
    pub fn get(&mut self, now: Tick) -> Option<Replicas> {
        while let Some(&(taken, value)) = self.entries.front() {
            if self.counts(now.since(self.moment(taken))) {
                return Some(value);
            }
            self.entries.pop_front();
        }
        None
    }

    /// What is in the window, in fewer words that last longer: see [`super::envelope`]. Of a window of highest values.
    pub(super) fn coalesced(&self, now: Tick) -> Wishes {
        let mut wishes = Wishes { length: self.length, ..Wishes::default() };
        let part = wishes.part();
        let live = self.entries().filter(|(at, _)| self.counts(now.since(*at)));
        let newest = self.entries.back().map(|(at, _)| self.moment(*at));
        for (at, value) in live {
            if now.since(at) < YOUNG || Some(at) == newest {
                // Whatever came later is lower.
                wishes.open = Some(value);
                break;
            }
            let rounded = rounded_up(at, part);
            if wishes.closed.last().is_none_or(|(last, _)| *last != rounded) {
                wishes.closed.push((rounded, value));
            }
        }
        wishes
    }

    /// When the present extreme will have left the window.
    pub fn next_change(&mut self, now: Tick) -> Tick {
        self.get(now);
        self.entries.front().map_or(Tick::NEVER, |&(taken, _)| match self.edge {
            Edge::Exclusive => self.moment(taken).after(self.length),
            Edge::Inclusive => self.moment(taken).after(self.length).after(Duration::from_nanos(1)),
        })
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// What is remembered, oldest first: enough to make the same window again.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (Tick, Replicas)> + '_ {
        self.entries.iter().map(|&(taken, value)| (self.moment(taken), value))
    }

    /// All that it holds, what has expired and was not looked at since included.
    pub(super) fn save(&self, out: &mut Writer) {
        out.tick(self.base);
        out.number(self.entries.len() as u64);
        let mut before = 0;
        for &(at, value) in &self.entries {
            out.difference(u64::from(at), u64::from(before));
            out.signed(value);
            before = at;
        }
    }

    /// Becomes what was saved of a window of the same length, extreme and edge.
    pub(super) fn load(&mut self, input: &mut Reader<'_>) -> Option<()> {
        self.base = input.tick()?;
        let count = usize::try_from(input.number()?).ok().filter(|count| *count <= input.0.len())?;
        let mut before = 0;
        self.entries = VecDeque::with_capacity(count);
        for _ in 0..count {
            before = u32::try_from(input.difference(u64::from(before))?).ok()?;
            self.entries.push_back((before, input.signed()?));
        }
        Some(())
    }

    /// A window that never holds anything, so that nothing need be stored.
    fn is_blind(&self) -> bool {
        self.length.is_zero() && self.edge == Edge::Exclusive
    }

    fn counts(&self, age: Duration) -> bool {
        match self.edge {
            Edge::Exclusive => age < self.length,
            Edge::Inclusive => age <= self.length,
        }
    }
}

/// Whole milliseconds, rounded up; `None` beyond 49 days.
fn millis_up(span: Duration) -> Option<u32> {
    u32::try_from(span.as_nanos().div_ceil(1_000_000)).ok()
}

/// The next moment that is a whole number of parts away from the epoch.
fn rounded_up(at: Tick, part: Duration) -> Tick {
    let part = u64::try_from(part.as_nanos()).unwrap_or(u64::MAX).max(1);
    Tick::from_nanos(at.as_nanos().div_ceil(part).saturating_mul(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same question answered by walking everything.
    fn brute(all: &[(u64, Replicas)], now: u64, length: u64, extreme: Extreme, edge: Edge) -> Option<Replicas> {
        let live = all.iter().filter(|(t, _)| match edge {
            Edge::Exclusive => now - t < length,
            Edge::Inclusive => now - t <= length,
        });
        match extreme {
            Extreme::Highest => live.map(|&(_, v)| v).max(),
            Extreme::Lowest => live.map(|&(_, v)| v).min(),
        }
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_walking_everything(steps in proptest::collection::vec((0u64..4, -3i32..6), 1..60), length in 0u64..12) {
            for extreme in [Extreme::Highest, Extreme::Lowest] {
                for edge in [Edge::Exclusive, Edge::Inclusive] {
                    let mut window = Window::new(extreme, Duration::from_millis(length), edge);
                    let (mut now, mut all) = (0, Vec::new());
                    for &(pause, value) in &steps {
                        now += pause;
                        proptest::prop_assert_eq!(window.get(Tick::from_millis(now)), brute(&all, now, length, extreme, edge));
                        window.push(Tick::from_millis(now), value);
                        all.push((now, value));
                        proptest::prop_assert!(window.entries().len() <= 9, "no more entries than distinct values");
                    }
                }
            }
        }
    }

    #[test]
    fn a_window_that_is_never_empty_outlives_its_base() {
        const STEP: u64 = 1_800_000;
        let mut window = Window::new(Extreme::Highest, Duration::from_millis(2 * STEP), Edge::Inclusive);
        let mut all = Vec::new();
        // A hundred days, half an hour each: twice beyond what the entries' milliseconds can count.
        for step in 0..100 * 48_u64 {
            let (now, value) = (step * STEP, 3 - Replicas::try_from(step % 4).unwrap());
            window.push(Tick::from_millis(now), value);
            all.push((now, value));
            let recent: Vec<_> = all.iter().rev().take(4).copied().collect();
            let expected = brute(&recent, now, 2 * STEP, Extreme::Highest, Edge::Inclusive);
            assert_eq!(window.get(Tick::from_millis(now)), expected, "step {step}");
        }
    }

    #[test]
    fn between_two_milliseconds_it_remembers_longer_and_never_shorter() {
        let mut window = Window::new(Extreme::Highest, Duration::from_millis(10), Edge::Exclusive);
        window.push(Tick::from_nanos(0), 9);
        window.push(Tick::from_nanos(1_500_000), 5);
        assert_eq!(window.get(Tick::from_millis(10)), Some(5));
        assert_eq!(window.get(Tick::from_nanos(11_600_000)), Some(5));
        assert_eq!(window.get(Tick::from_nanos(12_000_000)), None);
    }
}
