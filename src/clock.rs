//! The one place that reads the clock.
//!
//! Time is a parameter everywhere else: rooms that decide get a [`Tick`], rooms that serve hold a [`Clock`]. A lint
//! (clippy.toml) keeps `Instant::now` and `SystemTime::now` out of the rest of the house.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::model::Tick;

/// The process begins this long after the epoch of its ticks, so that memory of before a restart (windows, periods and
/// cooldowns, in ages) has moments to lie at. Longer than any of them.
const LEAD: Duration = Duration::from_secs(30 * 24 * 3600);

/// Monotonic time since the process began, and where that lies on the wall. Copies agree with each other.
///
/// It is the runtime's time, which is the system's except in a test that pauses it: ticks and timers cannot disagree.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    started_wall: SystemTime,
}

impl Clock {
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn start() -> Self {
        Clock { started: Instant::now(), started_wall: SystemTime::now() }
    }

    #[must_use]
    pub fn now(&self) -> Tick {
        Tick::ZERO.after(LEAD + self.started.elapsed())
    }

    /// Time since [`Clock::start`].
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The wall-clock time of a tick, for people.
    #[must_use]
    pub fn wall(&self, tick: Tick) -> SystemTime {
        self.started_wall + tick.since(Tick::ZERO) - LEAD
    }

    /// Milliseconds since the epoch by the machine's clock as it is set now, for what others wrote down by theirs: the
    /// due times of delayed jobs. A clock that was corrected since the start is taken at its word.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn unix_millis(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// [`Clock::wall`] in seconds since the epoch, for Prometheus.
    #[must_use]
    pub fn unix_seconds(&self, tick: Tick) -> f64 {
        self.wall(tick).duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
    }

    /// The tick as the runtime's timers count.
    #[must_use]
    pub fn instant(&self, tick: Tick) -> Instant {
        self.started + tick.since(Tick::ZERO).saturating_sub(LEAD)
    }
}
