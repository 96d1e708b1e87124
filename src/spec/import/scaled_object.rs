//! A ScaledObject: KEDA's half (intervals, cooldowns, triggers) and the HPA's half (behavior) of one autoscaler.

use std::time::Duration;

use serde_json::Value;

use super::server::Layout;
use super::{Draft, Object, Work, annotations, behavior, hpa, server, text_at, text_of};
use crate::spec::manifest::{
    BacklogPerReplica, DurationText, Fallback, FallbackBehavior, Policy, QuantityText, QueueAutoscalerBody, RedisList,
    RedisStream, StreamBacklog, Trigger,
};
use crate::spec::render;
use crate::spec::units::format_duration;

/// KEDA's own default.
const POLLING_INTERVAL: i32 = 30;
/// KEDA's own default for every target.
const DEFAULT_TARGET: &str = "5";

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
        work.note(object, "not carried over: no trigger of Redis lists or streams");
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
    way_to_zero(work, object, &mut notes);
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

/// KEDA's types of trigger that have a counterpart: what is counted, and how the servers are laid out.
fn known(kind: &str) -> Option<(Counted, Layout)> {
    Some(match kind {
        "redis" => (Counted::List, Layout::Single),
        "redis-cluster" => (Counted::List, Layout::Cluster),
        "redis-sentinel" => (Counted::List, Layout::Sentinel),
        "redis-streams" => (Counted::Stream, Layout::Single),
        "redis-cluster-streams" => (Counted::Stream, Layout::Cluster),
        "redis-sentinel-streams" => (Counted::Stream, Layout::Sentinel),
        _ => return None,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Counted {
    List,
    Stream,
}

fn trigger(work: &mut Work, object: &Object, i: usize, written: &Value, notes: &mut Vec<String>) -> Option<Trigger> {
    let kind = text_at(written, "type").unwrap_or_default();
    let Some((counted, layout)) = known(kind) else {
        let message = format!("trigger {i} ({kind}) is not carried over: only triggers of Redis lists and streams are");
        notes.push(work.note(object, message));
        return None;
    };
    // Trimmed, and an empty one is none, as KEDA has it.
    let key = |name: &str| {
        let text = written.get("metadata").and_then(|metadata| metadata.get(name)).and_then(text_of)?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    let (named, activation_key) = match counted {
        Counted::List => ("listName", "activationListLength"),
        Counted::Stream => ("stream", "activationLagCount"),
    };
    let Some(name) = key(named) else {
        notes.push(work.note(object, format!("trigger {i} is not carried over: it has no {named}")));
        return None;
    };
    let group = key("consumerGroup");
    // As KEDA chooses.
    let (backlog, target_key) =
        match (counted, &group, key("lagCount").map_or_else(|| key("lagCountFromEnv").is_some(), |count| count != "0"))
        {
            (Counted::List, ..) => (None, "listLength"),
            (Counted::Stream, None, _) => (Some(StreamBacklog::Length), "streamLength"),
            (Counted::Stream, Some(_), true) => (Some(StreamBacklog::Lag), "lagCount"),
            (Counted::Stream, Some(_), false) => (Some(StreamBacklog::Pending), "pendingEntriesCount"),
        };
    for name in [target_key, activation_key] {
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
    let connection = server::of_trigger(work, object, i, written, layout, notes);
    let mut source = Trigger::default();
    match backlog {
        None => source.redis_list = Some(RedisList { keys: Some(vec![name]), ..RedisList::default() }),
        Some(backlog) => {
            source.redis_stream = Some(RedisStream { key: Some(name), group, backlog: Some(backlog) });
        }
    }
    Some(Trigger {
        name: text_at(written, "name").map(str::to_owned),
        connection: Some(connection),
        policy: Some(Policy {
            backlog_per_replica: Some(BacklogPerReplica {
                target: Some(QuantityText(key(target_key).unwrap_or_else(|| DEFAULT_TARGET.to_owned()))),
            }),
            ..Policy::default()
        }),
        activation_threshold: key(activation_key).map(QuantityText),
        ..source
    })
}

/// KEDA goes to its lowest in one step once the cooldown is over, whatever the HPA's `scaleDown` says.
fn way_to_zero(work: &mut Work, object: &Object, notes: &mut Vec<String>) {
    let rests =
        object.number("/spec/minReplicaCount").unwrap_or(0) == 0 || object.get("/spec/idleReplicaCount").is_some();
    let rules = "/spec/advanced/horizontalPodAutoscalerConfig/behavior/scaleDown";
    let disabled = object.text(&format!("{rules}/selectPolicy")).as_deref() == Some("Disabled");
    let limited = object.get(&format!("{rules}/policies")).is_some();
    let message = match (rests, disabled, limited) {
        (true, true, _) => {
            "scaleDown is Disabled: KEDA goes to its lowest past it, here nothing ever goes down; take selectPolicy out, or \
             write policies"
        }
        (true, false, true) => {
            "the policies of scaleDown hold for the way to the lowest, too, which KEDA takes in one step after its cooldown"
        }
        _ => return,
    };
    notes.push(work.note(object, message));
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
