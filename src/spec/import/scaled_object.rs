//! A ScaledObject: KEDA's half (intervals, cooldowns, triggers) and the HPA's half (behavior) of one autoscaler.

use std::time::Duration;

use serde_json::Value;

use super::{Draft, Object, Work, annotations, behavior, hpa, server, text_at, text_of};
use crate::spec::manifest::{
    BacklogPerReplica, DurationText, Fallback, FallbackBehavior, Policy, QuantityText, QueueAutoscalerBody, RedisList,
    Trigger,
};
use crate::spec::render;
use crate::spec::units::format_duration;

/// KEDA's own default.
const POLLING_INTERVAL: i32 = 30;
/// KEDA's own default for `listLength`.
const LIST_LENGTH: &str = "5";

pub(super) fn import(work: &mut Work, object: &Object) {
    let mut notes = Vec::new();
    let written = object.get("/spec/triggers").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut triggers = Vec::new();
    for (i, one) in written.iter().enumerate() {
        if let Some(trigger) = trigger(work, object, i, one, &mut notes) {
            triggers.push(trigger);
        }
    }
    if triggers.is_empty() {
        work.note(object, "not carried over: no trigger of type redis");
        return;
    }
    let seconds = |field: &str| {
        let seconds = object.number(&format!("/spec/{field}")).and_then(|seconds| u64::try_from(seconds).ok());
        seconds.map(|seconds| DurationText(format_duration(Duration::from_secs(seconds))))
    };
    if object.number("/spec/pollingInterval").is_some() {
        notes.push(work.note(
            object,
            "pollingInterval is carried over, but is all there is here: no HPA asks every 15 s in between; without the \
             line it is 1s",
        ));
    } else {
        notes.push(work.note(object, "pollingInterval is left to tidegate: every second, not every 30"));
    }
    for (field, message) in [
        (
            "/spec/advanced/scalingModifiers",
            "scalingModifiers has no counterpart: the highest wish of any trigger counts",
        ),
        ("/spec/advanced/horizontalPodAutoscalerConfig/name", "the HPA's name is left out: there is no HPA"),
    ] {
        if object.get(field).is_some() {
            notes.push(work.note(object, message));
        }
    }
    let body = QueueAutoscalerBody {
        scale_target_ref: hpa::target(object),
        min_replicas: object.number("/spec/minReplicaCount"),
        max_replicas: object.number("/spec/maxReplicaCount"),
        idle_replica_count: object.number("/spec/idleReplicaCount"),
        restore_to_original_replica_count: object
            .get("/spec/advanced/restoreToOriginalReplicaCount")
            .and_then(Value::as_bool),
        polling_interval: seconds("pollingInterval"),
        cooldown_period: seconds("cooldownPeriod"),
        initial_cooldown_period: seconds("initialCooldownPeriod"),
        triggers: Some(triggers),
        behavior: behavior::import(work, object, "/spec/advanced/horizontalPodAutoscalerConfig/behavior", &mut notes),
        fallback: fallback(work, object, &mut notes),
        ..QueueAutoscalerBody::default()
    };
    let annotations = annotations(work, object, &mut notes);
    notes.push(work.note(
        object,
        "delete the ScaledObject before this takes over: a workload that it owns is refused (dryRun: true shows \
         beforehand what would be done)",
    ));
    let document = render::autoscaler_document(object.namespace.as_deref(), &object.name, annotations, body);
    work.autoscalers.push(Draft { document, notes });
}

fn trigger(work: &mut Work, object: &Object, i: usize, written: &Value, notes: &mut Vec<String>) -> Option<Trigger> {
    let kind = text_at(written, "type").unwrap_or_default();
    if kind != "redis" {
        let message = format!("trigger {i} ({kind}) is not carried over: only type redis is supported yet");
        notes.push(work.note(object, message));
        return None;
    }
    // Trimmed, and an empty one is none, as KEDA has it.
    let key = |name: &str| {
        let text = written.get("metadata").and_then(|metadata| metadata.get(name)).and_then(text_of)?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let Some(list) = key("listName") else {
        notes.push(work.note(object, format!("trigger {i} is not carried over: it has no listName")));
        return None;
    };
    for name in ["listLength", "activationListLength"] {
        if let Some(variable) = key(&format!("{name}FromEnv")).filter(|_| key(name).is_none()) {
            let message = format!(
                "trigger {i}: its {name} is in {variable} of the container: write it, it has KEDA's default here"
            );
            notes.push(work.note(object, message));
        }
    }
    if text_at(written, "metricType").is_some_and(|kind| kind != "AverageValue") {
        let message =
            format!("trigger {i}: metricType Value has no counterpart: its target is taken for a target per replica");
        notes.push(work.note(object, message));
    }
    let connection = server::of_trigger(work, object, i, written, notes);
    Some(Trigger {
        name: text_at(written, "name").map(str::to_owned),
        connection: Some(connection),
        redis_list: Some(RedisList { keys: Some(vec![list]), ..RedisList::default() }),
        policy: Some(Policy {
            backlog_per_replica: Some(BacklogPerReplica {
                target: Some(QuantityText(key("listLength").unwrap_or_else(|| LIST_LENGTH.to_owned()))),
            }),
            ..Policy::default()
        }),
        activation_threshold: key("activationListLength").map(QuantityText),
        ..Trigger::default()
    })
}

fn fallback(work: &mut Work, object: &Object, notes: &mut Vec<String>) -> Option<Fallback> {
    object.get("/spec/fallback")?;
    let behavior = match object.text("/spec/fallback/behavior").as_deref() {
        None | Some("static") => FallbackBehavior::Static,
        Some("currentReplicas") => FallbackBehavior::CurrentReplicas,
        Some("currentReplicasIfHigher") => FallbackBehavior::CurrentReplicasIfHigher,
        Some("currentReplicasIfLower") => FallbackBehavior::CurrentReplicasIfLower,
        Some(other) => {
            notes.push(work.note(object, format!("fallback with behavior {other} is left out: the replicas are held")));
            return None;
        }
    };
    // So many failures in a row, one a poll: KEDA counts, and here it is time that counts.
    let failures = object.number("/spec/fallback/failureThreshold").unwrap_or(3).max(1);
    let interval = object.number("/spec/pollingInterval").unwrap_or(POLLING_INTERVAL).max(1);
    let after = u64::from(failures.unsigned_abs()) * u64::from(interval.unsigned_abs());
    let after = format_duration(Duration::from_secs(after));
    notes.push(work.note(
        object,
        format!(
            "fallback: {failures} failures in a row become a time, {after}: as long as they took with KEDA's polling"
        ),
    ));
    let replicas = object.number("/spec/fallback/replicas");
    Some(Fallback {
        after: Some(DurationText(after)),
        replicas: replicas.filter(|_| behavior != FallbackBehavior::CurrentReplicas),
        behavior: Some(behavior),
    })
}
