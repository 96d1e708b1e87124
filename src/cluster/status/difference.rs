//! What differs between the status that stands and the one that should: how much it matters, and how to write it.

use serde_json::{Map, Value, json};

use crate::cluster::conditions::{FALSE, READY};
use crate::model::Health;
use crate::spec::manifest::status::{Condition, QueueAutoscalerStatus, TriggerStatus};

/// Why a status is to be written, most important first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Urgency {
    /// It is not ready any more, or wakes up.
    Alarm,
    /// Replicas, a new generation, a scaling.
    Replicas,
    /// A condition.
    Condition,
    /// Replicas become ready.
    Rollout,
    /// Backlogs and the words about them.
    Values,
}

/// `None` where nothing differs that is worth a request; what does goes along with the next one.
pub(super) fn urgency(before: &QueueAutoscalerStatus, after: &QueueAutoscalerStatus) -> Option<Urgency> {
    let pairs = || after.conditions.iter().map(|now| (find(before, &now.kind), now));
    let turned = |kind: &str| {
        let changed = |(was, now): (Option<&Condition>, &Condition)| {
            now.kind == kind && was.is_none_or(|was| was.status != now.status)
        };
        pairs().any(changed)
    };
    let not_ready = find(after, READY).is_some_and(|ready| ready.status == FALSE);
    if turned(READY) && not_ready || wakes(before, after) {
        return Some(Urgency::Alarm);
    }
    if before.desired_replicas != after.desired_replicas
        || before.current_replicas != after.current_replicas
        || before.observed_generation != after.observed_generation
        || before.last_scale_time != after.last_scale_time
        || before.original_replica_count != after.original_replica_count
    {
        return Some(Urgency::Replicas);
    }
    let notable = |(was, now): (Option<&Condition>, &Condition)| {
        was.is_none_or(|was| was.status != now.status || was.reason != now.reason)
    };
    let health = triggers(before, after).any(|(was, now)| was.health != now.health && lasting(was, now));
    if pairs().any(notable) || health || before.triggers.len() != after.triggers.len() {
        return Some(Urgency::Condition);
    }
    if before.ready_replicas != after.ready_replicas {
        let settled = after.ready_replicas == after.current_replicas;
        return Some(if settled { Urgency::Condition } else { Urgency::Rollout });
    }
    let words = pairs().any(|(was, now)| was.is_none_or(|was| was.message != now.message));
    let values = triggers(before, after).any(|(was, now)| {
        was.health != now.health || was.active != now.active || much(was.backlog, now.backlog) || was.name != now.name
    });
    (words || values || before.reason != after.reason || much(before.backlog, after.backlog)).then_some(Urgency::Values)
}

/// Whether a condition that flaps caused it: such writes become rarer.
pub(super) fn flaps(urgency: Urgency, before: &QueueAutoscalerStatus, after: &QueueAutoscalerStatus) -> bool {
    match urgency {
        Urgency::Alarm => !wakes(before, after),
        Urgency::Condition => true,
        Urgency::Replicas | Urgency::Rollout | Urgency::Values => false,
    }
}

fn wakes(before: &QueueAutoscalerStatus, after: &QueueAutoscalerStatus) -> bool {
    before.desired_replicas == Some(0) && after.desired_replicas.is_some_and(|desired| desired > 0)
}

/// The condition of that kind.
pub(in crate::cluster) fn find<'a>(status: &'a QueueAutoscalerStatus, kind: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|condition| condition.kind == kind)
}

fn triggers<'a>(
    before: &'a QueueAutoscalerStatus,
    after: &'a QueueAutoscalerStatus,
) -> impl Iterator<Item = (&'a TriggerStatus, &'a TriggerStatus)> {
    before.triggers.iter().zip(&after.triggers)
}

/// One read that failed is not; a source without a usable value is.
fn lasting(was: &TriggerStatus, now: &TriggerStatus) -> bool {
    let passing = [Health::Fresh.as_str(), Health::Failing.as_str()];
    !(passing.contains(&was.health.as_str()) && passing.contains(&now.health.as_str()))
}

/// From or to zero, or by half of the greater.
fn much(was: Option<i64>, now: Option<i64>) -> bool {
    let (Some(was), Some(now)) = (was, now) else { return was != now };
    (was == 0) != (now == 0) || was.abs_diff(now) >= was.unsigned_abs().max(now.unsigned_abs()).div_ceil(2).max(1)
}

/// The merge patch that turns `before` into `after`: the fields that differ, under the version they were read in.
pub(super) fn patch(before: &QueueAutoscalerStatus, after: &QueueAutoscalerStatus, resource_version: &str) -> Value {
    let (before, after) = (fields(before), fields(after));
    let mut changed: Map<String, Value> =
        before.keys().filter(|key| !after.contains_key(*key)).map(|key| (key.clone(), Value::Null)).collect();
    changed.extend(after.into_iter().filter(|(key, value)| before.get(key) != Some(value)));
    json!({ "metadata": { "resourceVersion": resource_version }, "status": changed })
}

fn fields(status: &QueueAutoscalerStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(fields)) => fields,
        // Strings, integers and lists of them: they can always be written.
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::conditions::SCALING_LIMITED;

    fn condition(kind: &str, status: &str, reason: &str) -> Condition {
        Condition { kind: kind.into(), status: status.into(), reason: reason.into(), ..Condition::default() }
    }

    fn standing() -> QueueAutoscalerStatus {
        QueueAutoscalerStatus {
            observed_generation: Some(1),
            current_replicas: Some(4),
            desired_replicas: Some(4),
            ready_replicas: Some(4),
            backlog: Some(100),
            reason: Some("AboveTarget".into()),
            triggers: vec![TriggerStatus {
                name: "orders".into(),
                backlog: Some(100),
                health: "fresh".into(),
                ..TriggerStatus::default()
            }],
            conditions: vec![
                condition(READY, "True", "Ready"),
                condition(SCALING_LIMITED, "False", "DesiredWithinRange"),
            ],
            ..QueueAutoscalerStatus::default()
        }
    }

    #[test]
    #[expect(clippy::indexing_slicing, reason = "a test may break")]
    fn what_is_worth_a_request_and_how_much() {
        type Change = fn(&mut QueueAutoscalerStatus);
        let cases: [(&str, Change, Option<Urgency>); 16] = [
            ("nothing", |_| {}, None),
            ("a later reading", |s| s.triggers[0].sampled_at = Some("later".into()), None),
            ("a little more work", |s| s.backlog = Some(149), None),
            ("another wish, the same replicas", |s| s.triggers[0].wants = Some(5), None),
            ("half as much again and more", |s| s.backlog = Some(201), Some(Urgency::Values)),
            ("no work", |s| s.triggers[0].backlog = Some(0), Some(Urgency::Values)),
            ("one failed read", |s| s.triggers[0].health = "failing".into(), Some(Urgency::Values)),
            ("no value any more", |s| s.triggers[0].health = "stale".into(), Some(Urgency::Condition)),
            ("a reason", |s| s.reason = Some("WithinTolerance".into()), Some(Urgency::Values)),
            ("a message", |s| s.conditions[0].message = "?".into(), Some(Urgency::Values)),
            ("a condition", |s| s.conditions[1].status = "True".into(), Some(Urgency::Condition)),
            ("a condition's reason", |s| s.conditions[0].reason = "DryRun".into(), Some(Urgency::Condition)),
            ("replicas", |s| s.desired_replicas = Some(5), Some(Urgency::Replicas)),
            ("a rollout", |s| s.ready_replicas = Some(3), Some(Urgency::Rollout)),
            ("a generation", |s| s.observed_generation = Some(2), Some(Urgency::Replicas)),
            ("not ready", |s| s.conditions[0].status = "False".into(), Some(Urgency::Alarm)),
        ];
        for (name, change, expected) in cases {
            let mut after = standing();
            change(&mut after);
            assert_eq!(urgency(&standing(), &after), expected, "{name}");
        }
        let asleep = QueueAutoscalerStatus { desired_replicas: Some(0), ..standing() };
        assert_eq!(urgency(&asleep, &standing()), Some(Urgency::Alarm), "waking");
        assert_eq!(urgency(&standing(), &asleep), Some(Urgency::Replicas), "falling asleep");
        let halfway = QueueAutoscalerStatus { ready_replicas: Some(1), ..standing() };
        assert_eq!(urgency(&halfway, &standing()), Some(Urgency::Condition), "a rollout that is over");
    }

    #[test]
    fn a_patch_holds_what_differs_and_nothing_else() {
        let after = QueueAutoscalerStatus { desired_replicas: Some(9), backlog: None, ..standing() };
        let expected =
            json!({ "metadata": { "resourceVersion": "7" }, "status": { "desiredReplicas": 9, "backlog": null } });
        assert_eq!(patch(&standing(), &after, "7"), expected);
    }
}
