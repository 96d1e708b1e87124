//! The vocabulary of the house: the few words that every room speaks, as plain data.
//!
//! Nothing here computes a decision, does I/O, or knows a library; whoever reads this file knows what flows through
//! the program. (The engine's `Event` and `Effect` live in [`crate::engine`], because an event may carry a spec and
//! this room imports nothing.)

mod decision;
mod fnv;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub use self::decision::{Decision, Health, Reason, Stage, Step, Steps, TriggerReport};
pub use self::fnv::fnv1a;

// === time ===

/// A moment: nanoseconds since an epoch that the process (or the simulation) chose. Monotonic; never wall-clock time.
/// Only differences mean anything, and a `Tick` of one process means nothing in another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    pub const ZERO: Tick = Tick(0);
    /// Later than every moment: "never" as a deadline.
    pub const NEVER: Tick = Tick(u64::MAX);

    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Tick(nanos)
    }

    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Tick(millis.saturating_mul(1_000_000))
    }

    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// This moment plus `by`, stopping at [`Tick::NEVER`].
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Tick(self.0.saturating_add(saturating_nanos(by)))
    }

    /// This moment minus `by`, stopping at the epoch.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Tick(self.0.saturating_sub(saturating_nanos(by)))
    }

    /// Time from `earlier` to this moment; zero if `earlier` is in fact later.
    #[must_use]
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Debug for Tick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Tick::NEVER { f.write_str("never") } else { write!(f, "{:.6}s", self.0 as f64 / 1e9) }
    }
}

fn saturating_nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

// === names ===

/// Which autoscaler: namespace and name, as in Kubernetes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AutoscalerId {
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl AutoscalerId {
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        AutoscalerId { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for AutoscalerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for AutoscalerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Dense handle of an autoscaler inside one process: an index that the runtime hands out, so that the hot path never
/// hashes a name. Reused after removal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key(pub u32);

impl Key {
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A count of replicas. Signed 32-bit because Kubernetes has it so, and because the HPA's arithmetic wraps in it.
pub type Replicas = i32;

// === tenants ===

/// What a namespace asks of the poller, and what it gets.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Share {
    /// Reads a second that its autoscalers ask for.
    pub demand: f64,
    /// Reads a second that it may have.
    pub allowed: f64,
    /// By how much its polling intervals are stretched: 1 where it is not held back, else at least demand / allowed.
    pub stretch: f64,
}

impl Share {
    #[must_use]
    pub fn is_held_back(&self) -> bool {
        self.stretch > 1.0
    }
}

/// A polling interval, held back.
#[must_use]
pub fn stretched(interval: Duration, stretch: f64) -> Duration {
    if stretch <= 1.0 {
        return interval;
    }
    // Beyond what a duration holds: for ever.
    Duration::try_from_secs_f64(interval.as_secs_f64() * stretch).unwrap_or(Duration::MAX)
}

/// Everybody's share, by namespace.
pub type Shares = BTreeMap<Arc<str>, Share>;

// === what sources say ===

/// A number that may not be known. Eight bytes, where an `Option` takes sixteen: samples come by the ten thousand.
#[derive(Clone, Copy)]
pub struct Measure(f64);

impl Measure {
    pub const UNKNOWN: Measure = Measure(f64::NAN);

    /// A negative, infinite or unordered number, which no count, age or limit is, is not known.
    #[must_use]
    pub fn new(value: f64) -> Self {
        if (0.0..f64::INFINITY).contains(&value) { Measure(value) } else { Measure::UNKNOWN }
    }

    #[must_use]
    pub fn get(self) -> Option<f64> {
        if self.0.is_nan() { None } else { Some(self.0) }
    }

    /// Both together, by `join`; one of them where the other is not known.
    #[must_use]
    pub fn with(self, other: Measure, join: impl FnOnce(f64, f64) -> f64) -> Self {
        match (self.get(), other.get()) {
            (Some(one), Some(two)) => Measure::new(join(one, two)),
            (None, _) => other,
            (_, None) => self,
        }
    }
}

impl Default for Measure {
    fn default() -> Self {
        Measure::UNKNOWN
    }
}

impl From<f64> for Measure {
    fn from(value: f64) -> Self {
        Measure::new(value)
    }
}

/// Two that are not known are alike.
impl PartialEq for Measure {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.get(), f)
    }
}

/// What one reading of one trigger's source found. Counts are items.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Observation {
    /// Waiting to be taken: what is ready, and delayed items that are due (the workers promote those by themselves, so
    /// with none of them nobody would). Never negative, never NaN.
    pub backlog: f64,
    /// Delayed items that are due, as part of `backlog`.
    pub due: Measure,
    /// Being worked on, as far as the source can see.
    pub in_flight: Measure,
    /// Age of the oldest waiting item, seconds.
    pub oldest_age: Measure,
    /// At most this many are worked on at once, however many replicas there are.
    pub limit: Measure,
    /// Ever added, by the source's own counter: with [`Observation::taken`] the flow through the queue.
    pub added: Measure,
    /// Ever taken by the workers, by the source's own counter.
    pub taken: Measure,
    /// How old this was already when it was read, seconds: a Prometheus' last sample. Not known: new.
    pub age: Measure,
    /// Partitions, segments or shards that the work is divided into: more replicas than that find nothing to do.
    pub partitions: Measure,
    /// Of the partitions, those that no living worker works on, while some worker lives.
    pub unowned: Measure,
    /// The workers are dividing the work anew, and are at rest meanwhile.
    pub rebalancing: bool,
    /// Nobody takes items until somebody resumes the queue.
    pub paused: bool,
}

impl Observation {
    /// Of which only the backlog is known.
    #[must_use]
    pub fn of_backlog(backlog: f64) -> Self {
        Observation { backlog, ..Observation::default() }
    }

    /// What of it one of several workloads is to see to that drain the same queue: a part of the work, and of the room to
    /// work in it. Ages stay, and so do the source's own counters and what is nobody's.
    #[must_use]
    pub fn part(self, share: f64) -> Self {
        // The usual case must not depend on what a multiplication by one does.
        if share >= 1.0 {
            return self;
        }
        let of = |whole: Measure| whole.get().map_or(Measure::UNKNOWN, |whole| Measure::new(whole * share));
        Observation {
            backlog: self.backlog * share,
            due: of(self.due),
            in_flight: of(self.in_flight),
            limit: of(self.limit),
            partitions: of(self.partitions),
            ..self
        }
    }

    /// Takes in another part of the same trigger's source.
    pub fn add(&mut self, part: &Observation) {
        let sum = |one: f64, two: f64| one + two;
        self.backlog += part.backlog;
        self.due = self.due.with(part.due, sum);
        self.in_flight = self.in_flight.with(part.in_flight, sum);
        self.oldest_age = self.oldest_age.with(part.oldest_age, f64::max);
        self.limit = self.limit.with(part.limit, sum);
        self.added = self.added.with(part.added, sum);
        self.taken = self.taken.with(part.taken, sum);
        self.age = self.age.with(part.age, f64::max);
        self.partitions = self.partitions.with(part.partitions, f64::max);
        self.unowned = self.unowned.with(part.unowned, f64::max);
        self.rebalancing |= part.rebalancing;
        self.paused |= part.paused;
    }
}

/// Number of a polling round, unique in one process: what ties the lines of a log together, from the poll to the
/// decision that was made of it and the answers that were given from that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Round(pub u64);

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// One reading of one trigger of one autoscaler. A failed read is data, not an exception.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    pub key: Key,
    /// Position of the trigger in the spec.
    pub trigger: u16,
    /// Since when whoever reads has been asking for it: what was asked before the spec changed is no answer to what it
    /// asks now.
    pub asked: Tick,
    pub round: Round,
    /// When the value was true at the latest known moment: the sending of the request that it answers.
    pub taken: Tick,
    pub value: Result<Observation, ReadFailure>,
}

/// Why a read failed: a kind for machines and a sentence for people, naming the cure where one is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadFailure {
    pub kind: FailureKind,
    pub message: Arc<str>,
}

impl ReadFailure {
    pub fn new(kind: FailureKind, message: impl Into<Arc<str>>) -> Self {
        ReadFailure { kind, message: message.into() }
    }
}

impl fmt::Display for ReadFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.as_str(), self.message)
    }
}

/// Closed set of causes, so that it can be a metric label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FailureKind {
    /// No connection: refused, reset, no route, unknown host.
    Unreachable,
    /// Connected, but no answer in time (a frozen server looks like this).
    Timeout,
    /// Wrong or missing password or user.
    Authentication,
    /// Known user, but not allowed this command or key.
    PermissionDenied,
    /// The key holds a type that the source cannot count.
    WrongType,
    /// The server has reached its limit of clients.
    TooManyClients,
    /// The server is up but not serving: loading, master down, read-only, cluster down.
    NotServing,
    /// Anything else that the server said.
    Protocol,
    /// The configuration cannot be used (a secret that does not exist, say).
    Configuration,
}

impl FailureKind {
    pub const ALL: [FailureKind; 9] = [
        FailureKind::Unreachable,
        FailureKind::Timeout,
        FailureKind::Authentication,
        FailureKind::PermissionDenied,
        FailureKind::WrongType,
        FailureKind::TooManyClients,
        FailureKind::NotServing,
        FailureKind::Protocol,
        FailureKind::Configuration,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            FailureKind::Unreachable => "unreachable",
            FailureKind::Timeout => "timeout",
            FailureKind::Authentication => "authentication",
            FailureKind::PermissionDenied => "permission_denied",
            FailureKind::WrongType => "wrong_type",
            FailureKind::TooManyClients => "too_many_clients",
            FailureKind::NotServing => "not_serving",
            FailureKind::Protocol => "protocol",
            FailureKind::Configuration => "configuration",
        }
    }
}

/// What is known of the pods that somebody wants to ask.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum FoundPods {
    /// Asked for, and not answered yet.
    #[default]
    NotRead,
    /// The ready ones; none, perhaps.
    Ready(Arc<[Pod]>),
    /// They cannot be read: the sentence, with its cure.
    Missing(Arc<str>),
}

/// One pod that is ready.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pod {
    pub name: Arc<str>,
    /// `host:port`, with brackets around an IPv6 address.
    pub address: Arc<str>,
}

// === what targets say and are told ===

/// Ask a target for `to` replicas. `from` is what the decision was based on, so that a change by somebody else in
/// between is noticed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScaleRequest {
    pub key: Key,
    pub id: AutoscalerId,
    pub from: Replicas,
    pub to: Replicas,
}

/// What a target is told about one workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScaleOrder {
    Ask(ScaleRequest),
    /// Nobody wishes any more what was asked for last: what still waits is dropped, and what fails is not repeated.
    Withdraw(AutoscalerId),
}

/// Who last set a workload's replicas, as far as the target knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetBy {
    /// The target cannot tell.
    Unknown,
    /// tidegate, in this process or another.
    Tidegate,
    /// Somebody else: a person, another controller, whoever created it.
    Other,
}

/// Who may act on workloads, as it changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mandate {
    /// This process is the one that acts, or is not any more.
    Leading(bool),
    /// Whether somebody else owns this workload is not known yet: as long as that is so, nobody acts on it, and it is
    /// decided on as if one did. Ends with [`Mandate::Refused`].
    Waits { id: AutoscalerId },
    /// Somebody else owns this workload, or does not any more.
    Refused { id: AutoscalerId, refused: bool },
}

/// What a target reports back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetReport {
    /// The target as seen: asked-for and ready replicas. `another`: it is not the object that was seen before, but one
    /// made anew under its name, or one of another name.
    Current { id: AutoscalerId, replicas: Replicas, ready: Replicas, set_by: SetBy, another: bool },
    /// A scale request came to an end.
    Applied { id: AutoscalerId, from: Replicas, to: Replicas, outcome: Result<(), ReadFailure> },
}
