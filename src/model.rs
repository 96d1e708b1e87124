//! The vocabulary of the house: the few words that every room speaks, as plain data.
//!
//! Nothing here computes a decision, does I/O, or knows a library; whoever reads this file knows what flows through
//! the program. (The engine's `Event` and `Effect` live in [`crate::engine`], because an event may carry a spec and
//! this room imports nothing.)

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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

/// What one read of one trigger's source found.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Observation {
    /// Items waiting. Never negative, never NaN.
    pub backlog: f64,
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

/// What a target reports back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TargetReport {
    /// The target as seen: asked-for and ready replicas.
    Current { id: AutoscalerId, replicas: Replicas, ready: Replicas },
    /// A scale request came to an end.
    Applied { id: AutoscalerId, from: Replicas, to: Replicas, outcome: Result<(), ReadFailure> },
}

// === decisions ===

/// The stages of one evaluation, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Stage {
    Observe,
    Want,
    Activation,
    Stabilization,
    RateLimit,
    Bounds,
    Pause,
}

impl Stage {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Observe => "observe",
            Stage::Want => "want",
            Stage::Activation => "activation",
            Stage::Stabilization => "stabilization",
            Stage::RateLimit => "rateLimit",
            Stage::Bounds => "bounds",
            Stage::Pause => "pause",
        }
    }
}

/// Why a stage did what it did. The `&'static str` is the metric label and the Kubernetes Event reason; HPA's own
/// words where the HPA has one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Reason {
    /// Nothing to say: the stage let the number pass.
    Unchanged,
    /// No sample yet.
    NoSampleYet,
    /// Every trigger has a fresh sample.
    Fresh,
    /// At least one trigger failed or is stale; no scale-down until it is back.
    SourceFailing,
    /// Failing for longer than `fallback.after`: the manifest's fallback speaks for it.
    Fallback,
    /// The backlog asks for this many.
    AboveTarget,
    BelowTarget,
    /// The ratio is within the tolerance: current replicas are kept.
    WithinTolerance,
    /// A `fixed` policy.
    Fixed,
    /// Something is above its activation threshold.
    Active,
    /// Nothing is active, but `cooldownPeriod` has not passed.
    Cooldown,
    /// Nothing is active, and the object is younger than `initialCooldownPeriod`.
    InitialCooldown,
    /// Nothing is active: zero, or `idleReplicaCount`.
    Idle,
    /// Waking from zero grants at least one replica, whatever windows and rate limits say.
    Waking,
    ScaleUpStabilized,
    ScaleDownStabilized,
    ScaleUpLimit,
    ScaleDownLimit,
    TooFewReplicas,
    TooManyReplicas,
    DesiredWithinRange,
    /// Current replicas were outside [min, max]: straight to the bound.
    OutOfBounds,
    /// Rate-limit memory was lost in a restart: held until one period has passed.
    MemoryLost,
    Paused,
    PausedReplicas,
    PausedScaleIn,
    PausedScaleOut,
    /// Somebody else set the workload to zero.
    ManuallyStopped,
}

impl Reason {
    /// In the order of their declaration; whoever adds one adds it here.
    pub const ALL: [Reason; 28] = [
        Reason::Unchanged,
        Reason::NoSampleYet,
        Reason::Fresh,
        Reason::SourceFailing,
        Reason::Fallback,
        Reason::AboveTarget,
        Reason::BelowTarget,
        Reason::WithinTolerance,
        Reason::Fixed,
        Reason::Active,
        Reason::Cooldown,
        Reason::InitialCooldown,
        Reason::Idle,
        Reason::Waking,
        Reason::ScaleUpStabilized,
        Reason::ScaleDownStabilized,
        Reason::ScaleUpLimit,
        Reason::ScaleDownLimit,
        Reason::TooFewReplicas,
        Reason::TooManyReplicas,
        Reason::DesiredWithinRange,
        Reason::OutOfBounds,
        Reason::MemoryLost,
        Reason::Paused,
        Reason::PausedReplicas,
        Reason::PausedScaleIn,
        Reason::PausedScaleOut,
        Reason::ManuallyStopped,
    ];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Unchanged => "Unchanged",
            Reason::NoSampleYet => "NoSampleYet",
            Reason::Fresh => "Fresh",
            Reason::SourceFailing => "SourceFailing",
            Reason::Fallback => "Fallback",
            Reason::AboveTarget => "AboveTarget",
            Reason::BelowTarget => "BelowTarget",
            Reason::WithinTolerance => "WithinTolerance",
            Reason::Fixed => "Fixed",
            Reason::Active => "Active",
            Reason::Cooldown => "Cooldown",
            Reason::InitialCooldown => "InitialCooldown",
            Reason::Idle => "Idle",
            Reason::Waking => "Waking",
            Reason::ScaleUpStabilized => "ScaleUpStabilized",
            Reason::ScaleDownStabilized => "ScaleDownStabilized",
            Reason::ScaleUpLimit => "ScaleUpLimit",
            Reason::ScaleDownLimit => "ScaleDownLimit",
            Reason::TooFewReplicas => "TooFewReplicas",
            Reason::TooManyReplicas => "TooManyReplicas",
            Reason::DesiredWithinRange => "DesiredWithinRange",
            Reason::OutOfBounds => "OutOfBounds",
            Reason::MemoryLost => "MemoryLost",
            Reason::Paused => "Paused",
            Reason::PausedReplicas => "PausedReplicas",
            Reason::PausedScaleIn => "PausedScaleIn",
            Reason::PausedScaleOut => "PausedScaleOut",
            Reason::ManuallyStopped => "ManuallyStopped",
        }
    }
}

/// One line of the explanation: this stage turned `before` into `after` because of `reason`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    pub stage: Stage,
    pub before: Replicas,
    pub after: Replicas,
    pub reason: Reason,
}

/// The steps of one evaluation, in the order in which they were taken, without an allocation; each begins where the one
/// before ended. Most stages leave one; bounds may leave two, where a failing source takes a step back.
///
/// Packed, because every autoscaler keeps some twenty of these (its history).
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Steps {
    from: Replicas,
    after: [Replicas; Steps::MAX],
    why: [Option<(Stage, Reason)>; Steps::MAX],
}

impl Steps {
    pub const MAX: usize = 8;

    /// None taken yet.
    #[must_use]
    pub fn starting_at(from: Replicas) -> Self {
        Steps { from, ..Steps::default() }
    }

    /// Appends a step to `after`; one more than [`Steps::MAX`] is dropped (the engine has fewer stages than that).
    pub fn push(&mut self, stage: Stage, after: Replicas, reason: Reason) {
        if let Some((place, why)) = self.after.iter_mut().zip(&mut self.why).find(|(_, why)| why.is_none()) {
            (*place, *why) = (after, Some((stage, reason)));
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = Step> + '_ {
        let mut before = self.from;
        self.after.iter().zip(&self.why).map_while(move |(&after, why)| {
            let (stage, reason) = (*why)?;
            Some(Step { stage, before: std::mem::replace(&mut before, after), after, reason })
        })
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// How much a trigger's last word is worth now.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Health {
    /// Never read yet.
    Pending,
    /// The last read succeeded and is younger than `maxSampleAge`.
    Fresh,
    /// The last read failed; an earlier value may still be young enough to be served.
    Failing,
    /// No good value within `maxSampleAge`.
    Stale,
}

impl Health {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Health::Pending => "pending",
            Health::Fresh => "fresh",
            Health::Failing => "failing",
            Health::Stale => "stale",
        }
    }
}

/// What one trigger contributed to a decision.
#[derive(Clone, PartialEq, Debug)]
pub struct TriggerReport {
    pub health: Health,
    /// Last good value, items, and when it was taken.
    pub value: Option<f64>,
    pub taken: Option<Tick>,
    /// The round that last said anything of it, value or failure.
    pub round: Option<Round>,
    /// Above its activation threshold.
    pub active: bool,
    /// Replicas this trigger asks for; `None` when it has nothing trustworthy to say.
    pub wants: Option<Replicas>,
    pub reason: Reason,
    /// The last failure while it lasts.
    pub failure: Option<ReadFailure>,
}

impl TriggerReport {
    /// Of a trigger that was never read.
    #[must_use]
    pub fn pending() -> Self {
        TriggerReport {
            health: Health::Pending,
            value: None,
            taken: None,
            round: None,
            active: false,
            wants: None,
            reason: Reason::NoSampleYet,
            failure: None,
        }
    }
}

/// The product of this program. The gRPC answer, the patch, the API, the status page's row and the log line are all
/// projections of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Decision {
    pub at: Tick,
    /// The latest round that it knew of.
    pub round: Option<Round>,
    /// Replicas the decision started from.
    pub current: Replicas,
    /// `false` while nobody has reported the workload's scale: `current` is then the last decision's own wish.
    pub current_known: bool,
    pub desired: Replicas,
    /// Some trigger is active, or activation is forced.
    pub active: bool,
    /// Some trigger is failing, stale or not read yet: scale-down is blocked.
    pub degraded: bool,
    /// Some trigger's fallback is engaged.
    pub fallback: bool,
    pub paused: bool,
    /// Position of the trigger with the highest wish, if any.
    pub winner: Option<u16>,
    /// The reason of the stage that had the last word.
    pub reason: Reason,
    pub steps: Steps,
    pub triggers: Vec<TriggerReport>,
}

impl Decision {
    /// Becomes `other`, in the memory that this one already has: the derived `clone_from` would allocate anew.
    pub fn assign(&mut self, other: &Decision) {
        let mut triggers = std::mem::take(&mut self.triggers);
        triggers.clone_from(&other.triggers);
        *self = Decision { triggers, ..*other };
    }
}
