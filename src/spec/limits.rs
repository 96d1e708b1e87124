//! How much one namespace may ask for, and everybody together: caps that keep one team's mistake from being all
//! teams' outage.
//!
//! Two kinds. What is *stored* (autoscalers, registrations, connections, keys) has a hard cap, and whoever is beyond it
//! is told so with the flag that raises it. What is *done again and again* (reads) has a budget: nobody is refused,
//! but who asks for more than a fair share is read more seldom (`poller/budget.rs`).

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
