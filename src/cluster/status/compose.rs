//! The status that should stand: a projection of the decision, of what stands around it, and of what stood before.

use crate::clock::Clock;
use crate::cluster::conditions::{self, View};
use crate::cluster::standing::Workload;
use crate::model::{Health, Tick, TriggerReport};
use crate::spec::TriggerSpec;
use crate::spec::manifest::status::{QueueAutoscalerStatus, TriggerStatus};
use crate::spec::problem::shortened;

/// Triggers that are shown. More than this nobody reads, and an object has a limit.
const MOST_TRIGGERS: usize = 50;

/// Bytes of a trigger's failure.
const LONGEST_FAILURE: usize = 300;

/// `before` is what the API server has: what is not known to be otherwise stays.
pub(super) fn compose(
    view: View<'_>,
    clock: &Clock,
    now: Tick,
    before: &QueueAutoscalerStatus,
) -> QueueAutoscalerStatus {
    let observed = if view.is_current() || !view.resource.problems.is_empty() {
        Some(view.resource.generation)
    } else {
        before.observed_generation
    };
    let mut status = QueueAutoscalerStatus {
        observed_generation: observed,
        original_replica_count: before.original_replica_count,
        last_scale_time: before.last_scale_time.clone(),
        conditions: conditions::conditions(view, &before.conditions, &written(clock, now), observed),
        ..QueueAutoscalerStatus::default()
    };
    if let Some(scaled) = &view.standing.scaled {
        status.last_scale_time = Some(written(clock, scaled.at));
        if !view.spec().is_some_and(|spec| spec.restore_on_delete) {
            // Where it matters, it was noted before: see `restore`.
            status.original_replica_count = status.original_replica_count.or(Some(scaled.from));
        }
    }
    match view.standing.workload {
        Workload::Seen { replicas, ready } => {
            (status.current_replicas, status.ready_replicas) = (Some(replicas), Some(ready));
        }
        Workload::Unknown => {
            (status.current_replicas, status.ready_replicas) = (before.current_replicas, before.ready_replicas);
        }
        Workload::Missing(_) | Workload::Unreadable(_) => {}
    }
    let (Some(published), Some(decision)) = (view.published, view.decision()) else {
        // What was decided last is still the best that is known.
        status.desired_replicas = before.desired_replicas;
        status.reason.clone_from(&before.reason);
        status.backlog = before.backlog;
        status.triggers.clone_from(&before.triggers);
        return status;
    };
    if status.current_replicas.is_none() && decision.current_known {
        status.current_replicas = Some(decision.current);
    }
    let read = decision.triggers.iter().any(|report| report.health != Health::Pending);
    if read || decision.current_known {
        status.desired_replicas = Some(decision.desired);
        status.reason = Some(decision.reason.as_str().to_owned());
    }
    let winner = decision.winner.map_or(0, usize::from);
    status.backlog = decision.triggers.get(winner).and_then(items);
    let triggers = decision.triggers.iter().zip(&published.spec.triggers).take(MOST_TRIGGERS);
    status.triggers = triggers.map(|(report, trigger)| trigger_status(clock, report, trigger)).collect();
    status
}

fn trigger_status(clock: &Clock, report: &TriggerReport, trigger: &TriggerSpec) -> TriggerStatus {
    TriggerStatus {
        name: trigger.name.to_string(),
        backlog: items(report),
        in_flight: report.facts.in_flight.get().map(rounded),
        sampled_at: report.taken.map(|taken| written(clock, taken)),
        active: report.active,
        wants: report.wants,
        health: report.health.as_str().to_owned(),
        failure: report.failure.as_ref().map(|failure| shortened(failure.message.to_string(), LONGEST_FAILURE)),
    }
}

/// The last good value as a count.
fn items(report: &TriggerReport) -> Option<i64> {
    report.value.map(rounded)
}

#[expect(clippy::cast_possible_truncation, reason = "saturates, beyond what any queue holds")]
fn rounded(items: f64) -> i64 {
    items.round() as i64
}

/// RFC 3339 in whole seconds, as Kubernetes writes times.
pub(in crate::cluster) fn written(clock: &Clock, at: Tick) -> String {
    // Out of range only for a clock some ten thousand years off.
    jiff::Timestamp::try_from(clock.wall(at)).map(|time| format!("{time:.0}")).unwrap_or_default()
}
