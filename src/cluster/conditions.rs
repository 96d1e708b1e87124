//! What stands around one autoscaler, as the conditions that people and programs wait for: Ready, Active, Fallback,
//! Paused, ScalingLimited.
//!
//! Pure: what is known in, conditions out. Reasons are the engine's own wherever it has one. Messages are read by
//! somebody who was woken up by them, so each says what is wrong and what helps; and they hold nothing that changes by
//! itself (ages, backlogs), because every change is a write for each autoscaler.

mod ready;

use std::borrow::Cow;
use std::time::Duration;

use crate::board::Published;
use crate::cluster::resources::Resource;
use crate::cluster::standing::Standing;
use crate::model::{Decision, Health, Reason, Stage, TriggerReport};
use crate::spec::manifest::status::Condition;
use crate::spec::problem::shortened;
use crate::spec::{AutoscalerSpec, FallbackBehavior, Pause};

pub use self::ready::restores;

pub const READY: &str = "Ready";
pub const ACTIVE: &str = "Active";
pub const FALLBACK: &str = "Fallback";
pub const PAUSED: &str = "Paused";
pub const SCALING_LIMITED: &str = "ScalingLimited";

/// In the order in which they are written.
pub const KINDS: [&str; 5] = [READY, ACTIVE, FALLBACK, PAUSED, SCALING_LIMITED];

pub const TRUE: &str = "True";
pub const FALSE: &str = "False";
pub const UNKNOWN: &str = "Unknown";

/// Reasons of the cluster's side, where the engine has none.
pub mod reason {
    pub const READY: &str = "Ready";
    pub const INVALID_SPEC: &str = "InvalidSpec";
    pub const TARGET_NOT_FOUND: &str = "TargetNotFound";
    pub const TARGET_UNREADABLE: &str = "TargetUnreadable";
    pub const ALREADY_SCALED: &str = "AlreadyScaled";
    pub const DRY_RUN: &str = "DryRun";
    pub const SHADOW: &str = "Shadow";
    pub const RESTORING: &str = "RestoringOriginalReplicas";
    pub const FORCE_ACTIVATION: &str = "ForceActivation";
    pub const NOT_PAUSED: &str = "NotPaused";
    /// The engine's, as it is compared with.
    pub const MANUALLY_STOPPED: &str = crate::model::Reason::ManuallyStopped.as_str();
}

/// Bytes of a message. Kubernetes allows 32,768 of them; an Event's note, which repeats it, has room for 1,024, and
/// `kubectl describe` becomes unreadable long before that.
const LONGEST: usize = 900;

/// A source whose reads fail counts as failing once this has passed since its last good value, and three polls: one
/// reset connection among a million reads is no reason to write to ten thousand objects.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is known of one autoscaler.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// `None` before the runtime has it.
    pub published: Option<&'a Published>,
    pub standing: &'a Standing,
    pub resource: &'a Resource,
}

impl<'a> View<'a> {
    /// In force; the board's, which decisions were made under, before the catalog's.
    pub(super) fn spec(&self) -> Option<&'a AutoscalerSpec> {
        self.published.map(|published| &*published.spec).or(self.resource.spec.as_deref())
    }

    pub(super) fn decision(&self) -> Option<&'a Decision> {
        self.published.and_then(|published| published.decision.as_ref())
    }

    /// The spec that decisions are made under is the one of the resource's generation.
    pub(super) fn is_current(&self) -> bool {
        match (self.published, &self.resource.spec) {
            (Some(published), Some(spec)) => published.spec == *spec,
            // Nothing is decided, and nothing will be.
            (None, None) => true,
            _ => false,
        }
    }
}

/// One condition without its times.
pub(super) struct Said {
    status: &'static str,
    reason: Cow<'static, str>,
    message: String,
}

impl Said {
    fn new(status: &'static str, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Said { status, reason: reason.into(), message: message.into() }
    }

    fn unread(view: View<'_>) -> Self {
        if view.spec().is_none() && !view.resource.problems.is_empty() {
            return Said::new(UNKNOWN, reason::INVALID_SPEC, "Nothing is known of it before its spec is valid.");
        }
        Said::new(UNKNOWN, Reason::NoSampleYet.as_str(), "Waiting for the first reading of every queue.")
    }
}

/// The conditions that should stand. `previous` are those that do; `now` is RFC 3339, for those whose status changes.
/// Conditions that somebody else put there stay.
#[must_use]
pub fn conditions(view: View<'_>, previous: &[Condition], now: &str, observed: Option<i64>) -> Vec<Condition> {
    let said = [ready::ready(view), active(view), fallback(view), paused(view), scaling_limited(view)];
    let ours = KINDS.into_iter().zip(said).map(|(kind, said)| {
        let before = previous.iter().find(|condition| condition.kind == kind);
        let since = before.filter(|before| before.status == said.status && !before.last_transition_time.is_empty());
        Condition {
            kind: kind.to_owned(),
            status: said.status.to_owned(),
            last_transition_time: since.map_or(now, |before| &before.last_transition_time).to_owned(),
            reason: said.reason.into_owned(),
            message: shortened(said.message, LONGEST),
            observed_generation: observed,
        }
    });
    let others = previous.iter().filter(|condition| !KINDS.contains(&condition.kind.as_str()));
    ours.chain(others.cloned()).collect()
}

fn active(view: View<'_>) -> Said {
    let Some(decision) = view.decision() else { return Said::unread(view) };
    if view.spec().is_some_and(|spec| spec.force_activation) {
        let message = "Annotation tidegate.dev/force-activation keeps it active, whatever the queues say.";
        return Said::new(TRUE, reason::FORCE_ACTIVATION, message);
    }
    if decision.active {
        return Said::new(TRUE, Reason::Active.as_str(), "At least one queue is above its activation threshold.");
    }
    if decision.triggers.iter().any(|report| report.health == Health::Pending) {
        return Said::unread(view);
    }
    let step = decision.steps.iter().find(|step| step.stage == Stage::Activation);
    let (reason, message) = match step.map(|step| step.reason) {
        Some(Reason::Cooldown) => (Reason::Cooldown, "No queue has work; cooldownPeriod has not passed yet."),
        Some(Reason::InitialCooldown) => {
            (Reason::InitialCooldown, "No queue has had work yet; initialCooldownPeriod has not passed.")
        }
        Some(Reason::SourceFailing) => {
            (Reason::SourceFailing, "No queue that can be read has work, but not all of them can be read.")
        }
        _ => (Reason::Idle, "No queue is above its activation threshold."),
    };
    Said::new(FALSE, reason.as_str(), message)
}

fn fallback(view: View<'_>) -> Said {
    let (Some(published), Some(decision)) = (view.published, view.decision()) else { return Said::unread(view) };
    if decision.fallback {
        let effect = match published.spec.fallback.behavior {
            FallbackBehavior::Hold => "the replicas are held".to_owned(),
            FallbackBehavior::Static { replicas } => format!("it stands at {replicas} replicas"),
            FallbackBehavior::CurrentReplicas => "the replicas are kept as they were".to_owned(),
            FallbackBehavior::CurrentReplicasIfHigher { replicas } => {
                format!("the replicas are kept as they were, but at least {replicas}")
            }
            FallbackBehavior::CurrentReplicasIfLower { replicas } => {
                format!("the replicas are kept as they were, but at most {replicas}")
            }
        };
        let spoken_for = decision.triggers.iter().zip(&published.spec.triggers);
        let names: Vec<&str> = spoken_for
            .filter(|(report, _)| report.reason == Reason::Fallback)
            .map(|(_, trigger)| &*trigger.name)
            .collect();
        let message = format!("Trigger {} has failed for longer than fallback.after: {effect}.", listed(&names));
        return Said::new(TRUE, Reason::Fallback.as_str(), message);
    }
    if decision.triggers.iter().any(|report| failing(published, report)) {
        let message = "A source is failing; the replicas are not lowered. No fallback is engaged.";
        return Said::new(FALSE, Reason::SourceFailing.as_str(), message);
    }
    if decision.triggers.iter().any(|report| report.health == Health::Pending) {
        return Said::new(FALSE, Reason::NoSampleYet.as_str(), "Waiting for the first reading of every queue.");
    }
    Said::new(FALSE, Reason::Fresh.as_str(), "Every queue can be read.")
}

fn paused(view: View<'_>) -> Said {
    let Some(spec) = view.spec() else { return Said::unread(view) };
    let (reason, message) = match spec.pause {
        Pause { at_replicas: Some(replicas), .. } => (
            Reason::PausedReplicas,
            format!("Annotation tidegate.dev/paused-replicas keeps the workload at {replicas} replicas; remove it to go on."),
        ),
        Pause { frozen: true, .. } => (
            Reason::Paused,
            "Annotation tidegate.dev/paused keeps the replicas as they are; remove it to go on.".to_owned(),
        ),
        Pause { scale_in: true, scale_out: true, .. } => (
            Reason::Paused,
            "Annotations tidegate.dev/paused-scale-in and tidegate.dev/paused-scale-out keep the replicas as they are; \
             remove them to go on."
                .to_owned(),
        ),
        Pause { scale_in: true, .. } => (
            Reason::PausedScaleIn,
            "Annotation tidegate.dev/paused-scale-in allows no fewer replicas; remove it to go on.".to_owned(),
        ),
        Pause { scale_out: true, .. } => (
            Reason::PausedScaleOut,
            "Annotation tidegate.dev/paused-scale-out allows no more replicas; remove it to go on.".to_owned(),
        ),
        _ => return Said::new(FALSE, reason::NOT_PAUSED, "No annotation pauses it."),
    };
    Said::new(TRUE, reason.as_str(), message)
}

fn scaling_limited(view: View<'_>) -> Said {
    let (Some(spec), Some(decision)) = (view.spec(), view.decision()) else { return Said::unread(view) };
    let bounds = spec.bounds;
    let limits = decision.steps.iter().filter_map(|step| match step.reason {
        reason @ (Reason::TooManyReplicas
        | Reason::TooFewReplicas
        | Reason::ScaleUpLimit
        | Reason::ScaleDownLimit
        | Reason::MemoryLost) => Some(reason),
        // As the HPA names it.
        Reason::OutOfBounds if step.after < step.before => Some(Reason::TooManyReplicas),
        Reason::OutOfBounds => Some(Reason::TooFewReplicas),
        _ => None,
    });
    let (reason, message) = match limits.last() {
        Some(Reason::TooManyReplicas) => {
            (Reason::TooManyReplicas, format!("More than maxReplicas ({}) would be needed.", bounds.max))
        }
        Some(Reason::TooFewReplicas) => {
            (Reason::TooFewReplicas, format!("Fewer than minReplicas ({}) would do.", bounds.min))
        }
        Some(Reason::ScaleUpLimit) => {
            (Reason::ScaleUpLimit, "behavior.scaleUp limits how fast replicas are added.".to_owned())
        }
        Some(Reason::ScaleDownLimit) => {
            (Reason::ScaleDownLimit, "behavior.scaleDown limits how fast replicas are removed.".to_owned())
        }
        Some(limit) => {
            (limit, "What was scaled before a restart is not known: one period of behavior is waited for.".to_owned())
        }
        None => {
            let message = "The replicas wanted are within bounds and rate limits.";
            return Said::new(FALSE, Reason::DesiredWithinRange.as_str(), message);
        }
    };
    Said::new(TRUE, reason.as_str(), message)
}

/// Whether a trigger's reads have failed for long enough to say so.
#[must_use]
pub fn failing(published: &Published, report: &TriggerReport) -> bool {
    match report.health {
        Health::Stale => true,
        Health::Failing => {
            let interval = published.spec.polling_interval.max(published.pace.unwrap_or_default());
            let decided = published.decision.as_ref().map(|decision| decision.at);
            let silent = decided.zip(report.taken).map(|(at, taken)| at.since(taken));
            silent.is_none_or(|silent| silent > PATIENCE.max(interval.saturating_mul(3)))
        }
        Health::Fresh | Health::Pending => false,
    }
}

/// `a`, `a and 1 more`: short, whatever there is.
fn listed(names: &[&str]) -> String {
    match names {
        [] => "?".to_owned(),
        [one] => (*one).to_owned(),
        [first, others @ ..] => format!("{first} (and {} more)", others.len()),
    }
}
