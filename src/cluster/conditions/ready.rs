//! Ready: does it do what its author wanted? The first thing that stands in the way is what is said.

use std::borrow::Cow;

use super::{FALSE, Said, TRUE, UNKNOWN, View, failing, reason};
use crate::cluster::restore::{self, Duty};
use crate::cluster::standing::{Failed, Workload};
use crate::model::{Health, Reason};
use crate::spec::TargetRef;

/// Problems that are told; the others are counted.
const TOLD: usize = 3;

/// Whether this object is only still there because its workload is to be scaled back.
#[must_use]
pub fn restores(view: View<'_>) -> bool {
    let refused = view.standing.refused.is_some();
    view.resource.deleting && matches!(restore::duty(view.resource, refused), Some(Duty::Restore(_)))
}

pub(super) fn ready(view: View<'_>) -> Said {
    restoring(view)
        .or_else(|| invalid(view))
        .or_else(|| refused(view))
        .or_else(|| lost(view))
        .or_else(|| not_scaled(view))
        .or_else(|| unread(view))
        .or_else(|| stopped(view))
        .unwrap_or_else(|| well(view))
}

fn restoring(view: View<'_>) -> Option<Said> {
    if !restores(view) {
        return None;
    }
    let original = view.resource.status.as_ref().and_then(|status| status.original_replica_count);
    let aim = original.map_or("its original replicas".to_owned(), |count| format!("{count} replicas"));
    let message = match &view.standing.failed {
        Some(failed) => format!(
            "Deleted, but its workload could not be scaled back to {aim}: {}. Tried again; to give up, remove the \
             finalizer {}.",
            sentence(&failed.message),
            restore::FINALIZER
        ),
        None => format!("Deleted: the workload is being scaled back to {aim}."),
    };
    Some(Said::new(FALSE, reason::RESTORING, message))
}

fn invalid(view: View<'_>) -> Option<Said> {
    let problems = &view.resource.problems;
    if problems.is_empty() {
        return None;
    }
    let told: Vec<String> = problems.iter().take(TOLD).map(ToString::to_string).collect();
    let mut message = told.join(" | ");
    if problems.len() > TOLD {
        message.push_str(&format!(" | and {} more", problems.len() - TOLD));
    }
    if view.spec().is_some() {
        message.push_str(" | Until then the last spec that was valid stays in force.");
    }
    Some(Said::new(FALSE, reason::INVALID_SPEC, message))
}

/// Somebody else's workload; watching beside them is allowed.
fn refused(view: View<'_>) -> Option<Said> {
    let refused = view.standing.refused.as_ref()?;
    if view.spec().is_some_and(|spec| spec.dry_run) {
        return None;
    }
    let message = format!(
        "{} scales this workload already, so nothing is carried out. Delete one of the two, or set spec.dryRun: true \
         to watch beside it.",
        refused.by
    );
    Some(Said::new(FALSE, reason::ALREADY_SCALED, message))
}

fn lost(view: View<'_>) -> Option<Said> {
    match &view.standing.workload {
        Workload::Missing(said) => Some(Said::new(FALSE, reason::TARGET_NOT_FOUND, &**said)),
        Workload::Unreadable(said) => Some(Said::new(FALSE, reason::TARGET_UNREADABLE, &**said)),
        Workload::Unknown | Workload::Seen { .. } => None,
    }
}

fn not_scaled(view: View<'_>) -> Option<Said> {
    // Another process leads: this one will write nothing anyway, and the next leader's attempt says more.
    let failed = view.standing.failed.as_ref().filter(|failed| failed.label != "not_leading")?;
    if view.spec().is_some_and(|spec| spec.dry_run) {
        return None;
    }
    let message = format!("The workload could not be scaled: {}.", sentence(&failed.message));
    Some(Said::new(FALSE, of_failure(failed), message))
}

/// The metric's label as a reason: `conflict` is Conflict.
fn of_failure(failed: &Failed) -> Cow<'static, str> {
    match failed.label {
        "permission_denied" | "authentication" => Cow::Borrowed("Forbidden"),
        "owned" => Cow::Borrowed(reason::ALREADY_SCALED),
        "unknown_workload" => Cow::Borrowed(reason::TARGET_NOT_FOUND),
        label => {
            let words = label.split('_').filter_map(|word| {
                let mut letters = word.chars();
                letters.next().map(|first| format!("{}{}", first.to_ascii_uppercase(), letters.as_str()))
            });
            Cow::Owned(words.collect())
        }
    }
}

fn unread(view: View<'_>) -> Option<Said> {
    let (Some(published), Some(decision)) = (view.published, view.decision()) else { return Some(Said::unread(view)) };
    let reports = || decision.triggers.iter().zip(&published.spec.triggers);
    let mut silent = reports().filter(|(report, _)| failing(published, report));
    if let Some((report, trigger)) = silent.next() {
        let others = match silent.count() {
            0 => String::new(),
            others => format!(" (and {others} more)"),
        };
        let why = match &report.failure {
            Some(failure) => sentence(&failure.message).to_owned(),
            None => "it has not been read for longer than maxSampleAge".to_owned(),
        };
        let effect = if decision.fallback { "its fallback applies" } else { "the replicas are not lowered" };
        let message = format!(
            "Trigger {}{others}, connection {}: {why}. Until it answers, {effect}.",
            trigger.name, trigger.connection.name
        );
        return Some(Said::new(FALSE, Reason::SourceFailing.as_str(), message));
    }
    decision.triggers.iter().any(|report| report.health == Health::Pending).then(|| Said::unread(view))
}

fn stopped(view: View<'_>) -> Option<Said> {
    let decision = view.decision()?;
    if decision.reason != Reason::ManuallyStopped {
        return None;
    }
    let target = view.spec().and_then(|spec| spec.target.as_ref()).map_or("the workload".to_owned(), named);
    let message = format!(
        "Somebody set {target} to 0 replicas, and it is left there. To go on, scale it to 1 or more by hand, or set the \
         annotation tidegate.dev/force-activation: \"true\"."
    );
    Some(Said::new(FALSE, reason::MANUALLY_STOPPED, message))
}

fn well(view: View<'_>) -> Said {
    if !view.spec().is_some_and(|spec| spec.dry_run) {
        // Nothing has been decided on what stands there.
        return match view.standing.workload {
            Workload::Unknown => Said::new(UNKNOWN, reason::READY, "The workload has not been looked at yet."),
            _ => Said::new(TRUE, reason::READY, "Every queue can be read, and what is decided is carried out."),
        };
    }
    match &view.standing.refused {
        Some(refused) => Said::new(
            TRUE,
            reason::SHADOW,
            format!(
                "spec.dryRun: nothing is carried out beside {}. status.desiredReplicas is what tidegate would have done.",
                refused.by
            ),
        ),
        None => Said::new(
            TRUE,
            reason::DRY_RUN,
            "spec.dryRun: nothing is carried out. status.desiredReplicas is what would be.",
        ),
    }
}

fn named(target: &TargetRef) -> String {
    format!("{} {}", target.kind, target.name)
}

/// Without the full stop, for the middle of a sentence.
fn sentence(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}
