//! Reasons and stages in words, for people who have not read the source.

use crate::model::{Reason, Stage};

/// What a reason means, as the end of the sentence "this many replicas, because ...".
pub(super) const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Unchanged => "nothing here changed the number",
        Reason::NoSampleYet => "nothing has been read yet",
        Reason::Fresh => "every trigger has a fresh value",
        Reason::SourceFailing => "a source is failing, so nothing is scaled down",
        Reason::Fallback => "a source has failed for long, so the fallback speaks for it",
        Reason::AboveTarget => "the backlog asks for more replicas",
        Reason::BelowTarget => "the backlog asks for fewer replicas",
        Reason::WithinTolerance => "the backlog is within the tolerance",
        Reason::Fixed => "the policy is a fixed number",
        Reason::WorkInFlight => "work in flight keeps its slots",
        Reason::ConcurrencyLimit => "the queue lets no more jobs run at once",
        Reason::QueuePaused => "the queue is paused: nobody takes what waits",
        Reason::PartitionLimit => "the work is divided into no more parts than this",
        Reason::Rebalancing => "the workers divide the work anew, and nothing changes until they have",
        Reason::Active => "there is work",
        Reason::Cooldown => "there is no work, but the cooldown has not passed",
        Reason::InitialCooldown => "there was no work yet, but the initial cooldown has not passed",
        Reason::Idle => "there is no work",
        Reason::Waking => "work has arrived, so it wakes from zero",
        Reason::ScaleUpStabilized => "a lower wish within the scale-up window counts",
        Reason::ScaleDownStabilized => "a higher wish within the scale-down window counts",
        Reason::ScaleUpLimit => "scaling up is limited to this rate",
        Reason::ScaleDownLimit => "scaling down is limited to this rate",
        Reason::TooFewReplicas => "it may not go below the minimum",
        Reason::TooManyReplicas => "it may not go above the maximum",
        Reason::DesiredWithinRange => "the number is within its bounds",
        Reason::OutOfBounds => "it was outside its bounds and goes straight to the nearest",
        Reason::MemoryLost => "recent steps were forgotten in a restart, so one period is waited for",
        Reason::Paused => "it is paused",
        Reason::PausedReplicas => "it is paused at a number",
        Reason::PausedScaleIn => "scaling in is paused",
        Reason::PausedScaleOut => "scaling out is paused",
        Reason::ManuallyStopped => "somebody set the workload to zero by hand",
    }
}

/// A stage's name for a heading.
pub(super) const fn stage(stage: Stage) -> &'static str {
    match stage {
        Stage::Observe => "Observe",
        Stage::Want => "Want",
        Stage::Activation => "Activation",
        Stage::Stabilization => "Stabilization",
        Stage::RateLimit => "Rate limit",
        Stage::Bounds => "Bounds",
        Stage::Pause => "Pause",
    }
}
