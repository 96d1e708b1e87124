//! A cap on the commands that one server is sent in a second, and who waits for room.
//!
//! A bucket: it fills at the cap's pace, holds one second's worth, and a round is sent when the bucket holds as much as
//! the round takes (or is full: a round may be larger than that, and the bucket then owes). What does not fit is put off
//! autoscaler by autoscaler, first come, first served, and nobody waits twice: who falls due again while it waits keeps
//! its place. So under a cap everybody is read equally often, whatever interval was asked for, except who asked for less.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

use crate::model::{Key, Tick};

/// What is put off is read in rounds of this much of a second: a tenth is ten rounds, which cost nothing, and nobody
/// else on the server waits for a whole second's commands.
const SLICE: f64 = 0.1;

#[derive(Debug)]
pub(super) struct Throttle {
    /// Commands a second, and what the bucket holds at most.
    cap: u32,
    /// Below zero: owed.
    room: f64,
    filled: Tick,
    waiting: VecDeque<Key>,
    queued: HashSet<Key>,
    /// The interval that the log was last told of.
    said: Option<Duration>,
}

impl Throttle {
    pub(super) fn new(cap: u32, now: Tick) -> Self {
        let cap = cap.max(1);
        let room = f64::from(cap);
        Throttle { cap, room, filled: now, waiting: VecDeque::new(), queued: HashSet::new(), said: None }
    }

    pub(super) fn cap(&self) -> u32 {
        self.cap
    }

    /// Whether a round of so many commands may be sent now: there is room for it, and nobody has waited for longer.
    pub(super) fn admits(&mut self, commands: usize, now: Tick) -> bool {
        self.fill(now);
        self.waiting.is_empty() && self.room >= (commands as f64).min(f64::from(self.cap))
    }

    pub(super) fn spend(&mut self, commands: usize) {
        self.room -= commands as f64;
    }

    /// Lets these wait; how many did not already.
    pub(super) fn put_off(&mut self, keys: impl Iterator<Item = Key>) -> usize {
        let before = self.waiting.len();
        for key in keys {
            if self.queued.insert(key) {
                self.waiting.push_back(key);
            }
        }
        self.waiting.len() - before
    }

    pub(super) fn forget(&mut self, key: Key) {
        if self.queued.remove(&key) {
            self.waiting.retain(|waiting| *waiting != key);
        }
    }

    pub(super) fn forget_all(&mut self) {
        self.waiting.clear();
        self.queued.clear();
    }

    /// When there is room for the next of those that wait.
    pub(super) fn next(&self) -> Tick {
        if self.waiting.is_empty() {
            return Tick::NEVER;
        }
        let missing = (self.slice() - self.room).max(0.0);
        self.filled.after(Duration::from_secs_f64(missing / f64::from(self.cap)))
    }

    /// Those whose turn it is, if there is room: at least one, and no more than a slice's worth.
    pub(super) fn take(&mut self, now: Tick, commands: impl Fn(Key) -> usize) -> BTreeSet<Key> {
        self.fill(now);
        let mut some = BTreeSet::new();
        // A clock of whole nanoseconds may come a hair too early.
        if self.room + 1e-6 < self.slice() {
            return some;
        }
        let mut room = self.slice();
        while let Some(key) = self.waiting.front().copied() {
            room -= commands(key) as f64;
            if room < 0.0 && !some.is_empty() {
                break;
            }
            self.waiting.pop_front();
            self.queued.remove(&key);
            some.insert(key);
        }
        some
    }

    /// Whether the log has not been told of an interval like this one.
    pub(super) fn is_news(&mut self, interval: Duration) -> bool {
        let near = |said: Duration| interval.abs_diff(said) <= said / 5;
        if interval.is_zero() || self.said.is_some_and(near) {
            return false;
        }
        self.said = Some(interval);
        true
    }

    fn slice(&self) -> f64 {
        (f64::from(self.cap) * SLICE).max(1.0)
    }

    fn fill(&mut self, now: Tick) {
        let cap = f64::from(self.cap);
        self.room = (self.room + now.since(self.filled).as_secs_f64() * cap).min(cap);
        self.filled = self.filled.max(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Tick = Tick::from_millis(1_000);

    fn keys(range: std::ops::Range<u32>) -> impl Iterator<Item = Key> {
        range.map(Key)
    }

    #[test]
    fn a_second_holds_no_more_than_two_buckets_and_in_the_long_run_one() {
        let mut throttle = Throttle::new(100, Tick::ZERO);
        let mut sent = Vec::new();
        for millis in 0..10_000 {
            let now = Tick::from_millis(millis);
            if throttle.admits(7, now) {
                throttle.spend(7);
                sent.push(millis);
            }
        }
        assert!((1_085..=1_100).contains(&(sent.len() * 7)), "{}", sent.len() * 7);
        for from in 0..9_000 {
            let within = sent.iter().filter(|at| (from..from + 1_000).contains(*at)).count() * 7;
            assert!(within <= 200, "{within} from {from}");
        }
    }

    #[test]
    fn a_round_larger_than_the_bucket_goes_when_it_is_full_and_is_paid_for_afterwards() {
        let mut throttle = Throttle::new(100, Tick::ZERO);
        assert!(throttle.admits(250, Tick::ZERO));
        throttle.spend(250);
        assert!(!throttle.admits(1, SECOND));
        assert!(!throttle.admits(250, SECOND.after(Duration::from_millis(1_499))));
        assert!(throttle.admits(250, SECOND.after(Duration::from_millis(1_500))));
    }

    #[test]
    fn who_waits_keeps_its_place_and_waits_once() {
        let mut throttle = Throttle::new(100, Tick::ZERO);
        throttle.spend(100);
        assert_eq!(throttle.put_off(keys(0..25)), 25);
        assert_eq!(throttle.put_off(keys(5..30)), 5);
        assert!(!throttle.admits(0, Tick::ZERO), "nobody overtakes");
        let mut order = Vec::new();
        let mut now = Tick::ZERO;
        while throttle.next() != Tick::NEVER {
            now = throttle.next().max(now);
            let some = throttle.take(now, |_| 1);
            assert!((1..=10).contains(&some.len()), "{some:?}");
            throttle.spend(some.len());
            order.extend(some);
        }
        assert_eq!(order, keys(0..30).collect::<Vec<_>>());
        assert!(now >= Tick::from_millis(300) && now < Tick::from_millis(400), "{now:?}");
        assert!(throttle.admits(1, SECOND));
    }

    #[test]
    fn everybody_has_a_turn_however_often_they_fall_due() {
        let mut throttle = Throttle::new(50, Tick::ZERO);
        let mut served = vec![0u32; 200];
        let mut now = Tick::ZERO;
        for _ in 0..400 {
            // All 200 fall due every 100 ms, forty times what the cap allows.
            throttle.put_off(keys(0..200));
            let some = throttle.take(now, |_| 1);
            throttle.spend(some.len());
            some.into_iter().for_each(|key| *served.get_mut(key.index()).unwrap() += 1);
            now = now.after(Duration::from_millis(100));
        }
        let (least, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        assert!(most - least <= 1 && *least >= 9, "{served:?}");
    }

    #[test]
    fn one_autoscaler_that_takes_more_than_a_slice_has_its_turn_too() {
        let mut throttle = Throttle::new(100, Tick::ZERO);
        throttle.put_off(keys(0..2));
        assert_eq!(throttle.take(Tick::ZERO, |_| 60), keys(0..1).collect());
        throttle.spend(60);
        assert_eq!(throttle.take(Tick::ZERO, |_| 60), keys(1..2).collect());
        throttle.spend(60);
        throttle.put_off(keys(2..4));
        throttle.forget(Key(2));
        assert_eq!(throttle.next(), Tick::from_millis(300), "twenty owed, and ten for a slice");
        assert!(throttle.take(Tick::from_millis(299), |_| 1).is_empty());
        assert_eq!(throttle.take(Tick::from_millis(300), |_| 1), keys(3..4).collect());
    }

    #[test]
    fn the_log_is_told_once_and_again_when_it_is_another_matter() {
        let mut throttle = Throttle::new(100, Tick::ZERO);
        let told = [0, 1_000, 1_100, 900, 2_000].map(|millis| throttle.is_news(Duration::from_millis(millis)));
        assert_eq!(told, [false, true, false, false, true]);
    }
}
