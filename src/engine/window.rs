//! Highest and lowest of the last while, in constant time however long the while is and however often it is fed.
//!
//! A stabilization window of an hour sampled ten times a second holds 36,000 recommendations; walking them at every
//! evaluation is what the HPA can afford at one sync in 15 s and we cannot. The classic monotonic queue keeps only
//! the recommendations that could still become the extreme: each is pushed and popped once, and because replicas are
//! small integers there are never more of them than distinct values in the window.

use std::collections::VecDeque;
use std::time::Duration;

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

/// A sliding extreme over `length`. Moments must not go backwards.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// Oldest first; values strictly falling (Highest) or rising (Lowest) from front to back.
    entries: VecDeque<(Tick, Replicas)>,
    length: Duration,
    extreme: Extreme,
    edge: Edge,
}

impl Window {
    #[must_use]
    pub fn new(extreme: Extreme, length: Duration, edge: Edge) -> Self {
        Window { entries: VecDeque::new(), length, extreme, edge }
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
        self.entries.push_back((now, value));
    }

    /// The extreme of what was pushed within the window, if anything was.
    pub fn get(&mut self, now: Tick) -> Option<Replicas> {
        while let Some(&(taken, value)) = self.entries.front() {
            if self.counts(now.since(taken)) {
                return Some(value);
            }
            self.entries.pop_front();
        }
        None
    }

    /// When the present extreme will have left the window.
    pub fn next_change(&mut self, now: Tick) -> Tick {
        self.get(now);
        self.entries.front().map_or(Tick::NEVER, |&(taken, _)| match self.edge {
            Edge::Exclusive => taken.after(self.length),
            Edge::Inclusive => taken.after(self.length).after(Duration::from_nanos(1)),
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
        self.entries.iter().copied()
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
}
