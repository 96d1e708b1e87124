//! A token bucket: so many at once, then so many a second. Pure; time is an argument.

use std::time::Duration;

use crate::model::Tick;

/// How much may be done.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Rate {
    /// A second, in the long run. Above zero.
    pub per_second: f64,
    /// At once, after a rest. At least one.
    pub burst: u32,
}

impl Rate {
    /// From one token to the next.
    fn step(self) -> f64 {
        1e9 / self.per_second.max(1e-3)
    }
}

/// See the module. Kept as the moment at which it will be full again: one number, and nothing to tick.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Bucket {
    full_at: Tick,
}

impl Bucket {
    /// When a token can be had: `now` if there is one.
    #[must_use]
    pub fn next(self, rate: Rate, now: Tick) -> Tick {
        // Full again in more than this means that not one whole token is left.
        let room = Duration::from_nanos(nanos(rate.step() * f64::from(rate.burst.max(1) - 1)));
        now.max(self.full_at.before(room))
    }

    /// Takes one if there is one.
    pub fn take(&mut self, rate: Rate, now: Tick) -> bool {
        let there = self.next(rate, now) <= now;
        if there {
            self.full_at = self.full_at.max(now).after(Duration::from_nanos(nanos(rate.step())));
        }
        there
    }

    /// Whether it is as good as new, and so need not be remembered.
    #[must_use]
    pub fn is_full(self, now: Tick) -> bool {
        self.full_at <= now
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative, and saturating")]
fn nanos(nanos: f64) -> u64 {
    nanos as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 10.0, burst: 3 };

    #[test]
    fn a_burst_and_then_its_pace() {
        let mut bucket = Bucket::default();
        let at = |millis: u64| Tick::from_millis(1_000 + millis);
        for _ in 0..3 {
            assert!(bucket.take(RATE, at(0)));
        }
        assert!(!bucket.take(RATE, at(0)));
        assert_eq!(bucket.next(RATE, at(0)), at(100));
        assert!(!bucket.take(RATE, at(99)));
        assert!(bucket.take(RATE, at(100)));
        assert!(!bucket.take(RATE, at(100)));
        assert!(!bucket.is_full(at(399)));
        assert!(bucket.is_full(at(400)));
        assert_eq!((0..9).filter(|_| bucket.take(RATE, at(60_000))).count(), 3, "rest is not saved up");
    }

    #[test]
    fn in_the_long_run_its_rate() {
        let mut bucket = Bucket::default();
        let taken = (0..10_000).filter(|millis| bucket.take(RATE, Tick::from_millis(5_000 + millis))).count();
        assert_eq!(taken, 102);
    }
}
