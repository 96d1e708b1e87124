//! Decisions: how many replicas, and every step of the way there with its reason.

use std::fmt;

use super::{Observation, ReadFailure, Replicas, Round, Tick};

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
    pub const ALL: [Stage; 7] = [
        Stage::Observe,
        Stage::Want,
        Stage::Activation,
        Stage::Stabilization,
        Stage::RateLimit,
        Stage::Bounds,
        Stage::Pause,
    ];

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
    /// What is in flight keeps its slots.
    WorkInFlight,
    /// The queue lets no more jobs run at once.
    ConcurrencyLimit,
    /// Nobody takes items from the queue until it is resumed: no scale-up.
    QueuePaused,
    /// The work is divided into no more parts than this.
    PartitionLimit,
    /// The workers divide the work anew: until they have, nothing changes.
    Rebalancing,
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
    pub const ALL: [Reason; 33] = [
        Reason::Unchanged,
        Reason::NoSampleYet,
        Reason::Fresh,
        Reason::SourceFailing,
        Reason::Fallback,
        Reason::AboveTarget,
        Reason::BelowTarget,
        Reason::WithinTolerance,
        Reason::Fixed,
        Reason::WorkInFlight,
        Reason::ConcurrencyLimit,
        Reason::QueuePaused,
        Reason::PartitionLimit,
        Reason::Rebalancing,
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
            Reason::WorkInFlight => "WorkInFlight",
            Reason::ConcurrencyLimit => "ConcurrencyLimit",
            Reason::QueuePaused => "QueuePaused",
            Reason::PartitionLimit => "PartitionLimit",
            Reason::Rebalancing => "Rebalancing",
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

    /// Where the first one began.
    #[must_use]
    pub fn start(&self) -> Replicas {
        self.from
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
    pub const ALL: [Health; 4] = [Health::Pending, Health::Fresh, Health::Failing, Health::Stale];

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
    /// What else was found with that value.
    pub facts: Observation,
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
            facts: Observation::default(),
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
