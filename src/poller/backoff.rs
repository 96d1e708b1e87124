//! How long to leave a server alone that could not be asked.
//!
//! Exponential, so that a dead server costs next to nothing; jittered, so that the connections of a fleet do not come
//! back in step; capped low, because an autoscaler that misses a recovery by a minute has missed the point.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// Before the first reconnect, at most. A Redis that was restarted by its supervisor is back within a few of these.
const FIRST: Duration = Duration::from_millis(100);

/// Between two attempts, at most: the longest that a server which is back goes unnoticed. One attempt in two seconds
/// is nothing to a server, even from a hundred replicas of us.
pub const BACKOFF_CAP: Duration = Duration::from_secs(2);

/// The backoff of one connection. Deterministic: its jitter is drawn from a generator seeded by the connection.
#[derive(Debug)]
pub(super) struct Backoff {
    failures: u32,
    random: u64,
}

impl Backoff {
    /// `seed` is whatever tells this connection (of this process) from the others.
    pub(super) fn new(seed: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        seed.hash(&mut hasher);
        // Zero is the one seed that xorshift never leaves.
        Backoff { failures: 0, random: hasher.finish() | 1 }
    }

    /// The server answered a round. (A mere connect proves nothing: one at its limit of clients accepts, too.)
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Time to wait before the next attempt: between half and all of 100 ms, 200 ms, 400 ms ... [`BACKOFF_CAP`].
    pub(super) fn next(&mut self) -> Duration {
        // 2^5 * 100 ms is beyond the cap: no shift can overflow.
        let full = FIRST.saturating_mul(1 << self.failures.min(5)).min(BACKOFF_CAP);
        self.failures = self.failures.saturating_add(1);
        let half = full / 2;
        half + half.mul_f64(self.fraction())
    }

    /// Uniform in [0, 1). Marsaglia's xorshift64, shifts 13, 7, 17.
    fn fraction(&mut self) -> f64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_the_cap_and_starts_over() {
        let mut backoff = Backoff::new("redis-main");
        let mut full = FIRST;
        for _ in 0..12 {
            let wait = backoff.next();
            assert!(wait >= full / 2 && wait <= full, "{wait:?} of {full:?}");
            full = (full * 2).min(BACKOFF_CAP);
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }

    #[test]
    fn connections_do_not_come_back_in_step() {
        let waits: Vec<Duration> = (0..100).map(|number| Backoff::new(number).next()).collect();
        let early = waits.iter().filter(|wait| **wait < FIRST * 3 / 4).count();
        assert!((30..=70).contains(&early), "{early} of 100 in the first half");
    }
}
