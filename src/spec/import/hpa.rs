//! An HPA of autoscaling/v2: bounds and behavior, and of its metrics those that count a queue.

use serde_json::Value;

use super::{Draft, Object, Work, annotations, behavior, server, text_at, text_of};
use crate::spec::manifest::{
    BacklogPerReplica, Policy, QuantityText, QueueAutoscalerBody, RedisList, ScaleTargetRef, Trigger,
};
use crate::spec::render;

pub(super) fn import(work: &mut Work, object: &Object) {
    if let Some(owner) = scaled_object_of(object) {
        work.note(object, format!("left alone: KEDA made it of ScaledObject {owner}; import that one"));
        return;
    }
    let mut notes = Vec::new();
    let mut triggers = Vec::new();
    for (i, metric) in object.get("/spec/metrics").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if let Some(trigger) = trigger(work, object, i, metric, &mut notes) {
            triggers.push(trigger);
        }
    }
    if triggers.is_empty() {
        work.note(object, "not carried over: none of its metrics is the length of a queue");
        return;
    }
    let body = QueueAutoscalerBody {
        scale_target_ref: target(object),
        // The HPA's own default; ours is 0.
        min_replicas: Some(object.number("/spec/minReplicas").unwrap_or(1)),
        max_replicas: object.number("/spec/maxReplicas"),
        triggers: Some(triggers),
        behavior: behavior::import(work, object, "/spec/behavior", &mut notes),
        ..QueueAutoscalerBody::default()
    };
    let annotations = annotations(work, object, &mut notes);
    notes.push(work.note(object, "delete the HPA before this takes over: a workload that an HPA owns is refused"));
    let document = render::autoscaler_document(object.namespace.as_deref(), &object.name, annotations, body);
    work.autoscalers.push(Draft { document, notes });
}

pub(super) fn target(object: &Object) -> Option<ScaleTargetRef> {
    let field = |name: &str| object.text(&format!("/spec/scaleTargetRef/{name}"));
    object.get("/spec/scaleTargetRef").map(|_| ScaleTargetRef {
        api_version: field("apiVersion"),
        kind: field("kind"),
        name: field("name"),
    })
}

fn scaled_object_of(object: &Object) -> Option<String> {
    let owners = object.get("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten();
    let owner = owners.into_iter().find(|owner| text_at(owner, "kind") == Some("ScaledObject"));
    let named = owner.and_then(|owner| text_at(owner, "name")).map(str::to_owned);
    named.or_else(|| object.name.strip_prefix("keda-hpa-").map(str::to_owned))
}

fn trigger(work: &mut Work, object: &Object, i: usize, metric: &Value, notes: &mut Vec<String>) -> Option<Trigger> {
    let kind = text_at(metric, "type").unwrap_or_default();
    if kind != "External" {
        let message = format!("metric {i} ({kind}) is not carried over: tidegate counts queues only");
        notes.push(work.note(object, message));
        return None;
    }
    let name = metric.pointer("/external/metric/name").and_then(Value::as_str).unwrap_or_default();
    let Some(target) = metric.pointer("/external/target/averageValue").and_then(text_of) else {
        let message =
            format!("metric {i} ({name}) is not carried over: only a target of type AverageValue means the same here");
        notes.push(work.note(object, message));
        return None;
    };
    // As KEDA names them: s0-redis-celery.
    let number =
        |text: &str| text.strip_prefix('s').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()));
    let list =
        name.split_once('-').filter(|(prefix, _)| number(prefix)).and_then(|(_, rest)| rest.strip_prefix("redis-"));
    let message = match list {
        Some(list) => format!(
            "metric {i}: its list is taken to be `{list}`, from the metric's name, where KEDA writes `-` for some letters; compare it"
        ),
        None => format!("metric {i} ({name}) does not say which list it counts; write its keys"),
    };
    notes.push(work.note(object, message));
    let connection = server::unknown(work, object, notes);
    Some(Trigger {
        connection: Some(connection),
        redis_list: Some(RedisList { keys: Some(vec![list.unwrap_or(name).to_owned()]), ..RedisList::default() }),
        policy: Some(Policy {
            backlog_per_replica: Some(BacklogPerReplica { target: Some(QuantityText(target)) }),
            ..Policy::default()
        }),
        ..Trigger::default()
    })
}
