//! How much one namespace may ask for, and everybody together: caps that keep one team's mistake from being all
//! teams' outage.
//!
//! Two kinds. What is *stored* (autoscalers, registrations, connections, keys) has a hard cap, and whoever is beyond it
//! is told so with the flag that raises it. What is *done again and again* (reads) has a budget: nobody is refused,
//! but who asks for more than a fair share is read more seldom (`poller/budget.rs`).

use std::time::Duration;

/// The caps. Pure data; every default argues for its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// QueueAutoscalers of one namespace. The whole process is made for ten thousand: a namespace that has them all
    /// is odd, but may be somebody's only one.
    pub autoscalers_per_namespace: usize,
    /// Triggers of one namespace that KEDA's calls registered. Ten times the triggers of a namespace that people look
    /// after by hand, and small enough that a caller who makes names up fills a twentieth of the process.
    pub registrations_per_namespace: usize,
    /// Registrations of the whole process, manifests not counted: twice the autoscalers that it is made for, at a few
    /// KiB each.
    pub registrations: usize,
    /// Distinct connections (server, database, user) that one namespace's registrations keep open. A Redis takes
    /// 10,000 clients by default; one namespace shall never use up a hundredth of them.
    pub connections_per_namespace: usize,
    /// Reads a second of one namespace: half of what the process does, so that ten thousand keys at 10 Hz fit into one
    /// namespace, and some 5 % of a Redis' own thread.
    pub reads_per_second_per_namespace: u32,
    /// Reads a second of the whole process. One costs about 1 µs of the engine's thread with everything around it, so
    /// that these are a fifth of a core; and a tenth of what one Redis could answer.
    pub reads_per_second: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}

impl Limits {
    /// The default caps, and as many reads as anybody asks for.
    pub const NO_BUDGET: Limits =
        Limits { reads_per_second_per_namespace: u32::MAX, reads_per_second: u32::MAX, ..Limits::DEFAULT };

    const DEFAULT: Limits = Limits {
        autoscalers_per_namespace: 10_000,
        registrations_per_namespace: 1_000,
        registrations: 20_000,
        connections_per_namespace: 64,
        reads_per_second_per_namespace: 100_000,
        reads_per_second: 200_000,
    };
}

/// How often everybody is read where `asks` (commands, and the interval that was asked for) are more than `cap` commands a
/// second allow, and whoever waits longest comes first: nobody more often than this, and whoever asked for longer as
/// asked. Zero where the cap is no matter.
#[must_use]
pub fn interval_under(cap: u32, asks: &[(usize, Duration)]) -> Duration {
    let demand = |interval: f64| -> f64 {
        asks.iter().map(|(commands, every)| *commands as f64 / every.as_secs_f64().max(interval).max(1e-9)).sum()
    };
    let cap = f64::from(cap.max(1));
    if demand(0.0) <= cap {
        return Duration::ZERO;
    }
    // Demand falls as the interval grows, and at this one it fits: all commands at the cap's pace.
    let mut above = asks.iter().map(|(commands, _)| *commands as f64).sum::<f64>() / cap;
    let mut below = 0.0;
    for _ in 0..50 {
        let middle = f64::midpoint(below, above);
        if demand(middle) > cap { below = middle } else { above = middle }
    }
    Duration::try_from_secs_f64(above).unwrap_or(Duration::MAX)
}

/// Keys of one trigger. They are added up, and a sum of more queues than these tells nobody anything.
pub const KEYS_PER_TRIGGER: usize = 1_000;

/// Keys of one autoscaler, all triggers together. They are read in one round, because they are decided on together,
/// and a round of these keeps a shared connection for some 10 ms.
pub const KEYS_PER_AUTOSCALER: usize = 10_000;

/// Bytes of one value of KEDA's metadata. It is kept as long as its trigger, and written by whoever may create a
/// ScaledObject; no list, host or user has a name this long.
pub const METADATA_VALUE_BYTES: usize = 1_024;

/// A cap on registrations that was reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cap {
    RegistrationsPerNamespace,
    Registrations,
    ConnectionsPerNamespace,
}

impl Cap {
    pub const ALL: [Cap; 3] = [Cap::RegistrationsPerNamespace, Cap::Registrations, Cap::ConnectionsPerNamespace];

    /// As a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Cap::RegistrationsPerNamespace => "namespace_registrations",
            Cap::Registrations => "registrations",
            Cap::ConnectionsPerNamespace => "namespace_connections",
        }
    }

    /// What raises it.
    #[must_use]
    pub const fn flag(self) -> &'static str {
        match self {
            Cap::RegistrationsPerNamespace => "--max-registrations-per-namespace",
            Cap::Registrations => "--max-registrations",
            Cap::ConnectionsPerNamespace => "--max-connections-per-namespace",
        }
    }
}

/// Why a registration was refused: which cap, and how many there are. What is registered goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full {
    pub cap: Cap,
    pub there: usize,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Full { cap, there } = self;
        match cap {
            Cap::RegistrationsPerNamespace => {
                write!(f, "the ScaledObjects of this namespace have {there} triggers registered already")?;
            }
            Cap::Registrations => write!(f, "{there} triggers are registered already, of all namespaces")?,
            Cap::ConnectionsPerNamespace => {
                write!(f, "the ScaledObjects of this namespace use {there} different connections already")?;
            }
        }
        write!(f, "; delete some (what is not asked for expires within minutes), or raise {}", cap.flag())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_a_cap_nobody_is_read_more_often_than_fits_and_who_asks_for_less_is_not_held_back() {
        let second = Duration::from_secs(1);
        let near = |found: Duration, expected: f64| (found.as_secs_f64() - expected).abs() < 1e-6;
        assert_eq!(interval_under(100, &[(60, second), (40, second)]), Duration::ZERO);
        assert_eq!(interval_under(100, &[]), Duration::ZERO);
        assert!(near(interval_under(100, &[(200, second)]), 2.0));
        // Ten a second are for who asks every ten; the other's 200 share the 90 that are left.
        assert!(near(interval_under(100, &[(200, second), (100, second * 10)]), 200.0 / 90.0));
        assert!(near(interval_under(1, &[(7, Duration::from_millis(50))]), 7.0));
    }
}
