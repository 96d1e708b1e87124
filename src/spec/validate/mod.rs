//! Manifest types -> [`AutoscalerSpec`], or every problem. The only way from any door to a spec.
//!
//! Each function reads one block, reports what is wrong with it under its path, and goes on with a stand-in, so that
//! one run finds every mistake. Whether the result may be used is decided at the end, by whether anything was
//! reported; a stand-in never leaves this room.

mod behavior;
mod connection;
mod events;
mod meta;
mod scenario;
mod secrets;
mod series;
mod servers;
mod source;
mod topology;
mod trigger;
mod values;

use std::sync::Arc;
use std::time::Duration;

use crate::model::{AutoscalerId, Replicas};
use crate::spec::grants::Grants;
use crate::spec::manifest::{QueueAutoscalerBody, ScaleTargetRef};
use crate::spec::report::Report;
use crate::spec::{AutoscalerSpec, Bounds, ConnectionSpec, Fallback, FallbackBehavior, Origin, TargetRef};

pub(crate) use connection::{cluster_connection, connection};
pub(crate) use meta::{Annotations, annotations, check_name, check_namespace};
pub(crate) use scenario::scenario;
pub(crate) use trigger::{MAX_TRIGGERS, metric_name};

/// What a workload gets that says nothing else; KEDA's own default.
const DEFAULT_MAX_REPLICAS: Replicas = 100;
/// KEDA's own default.
const DEFAULT_COOLDOWN: Duration = Duration::from_secs(300);
/// A queue that fills is seen within a second; ten thousand such reads a second cost one Redis a few percent.
const DEFAULT_POLLING_INTERVAL: Duration = Duration::from_secs(1);
/// Below this, reads crowd each other out on the way rather than tell anything new.
const MIN_POLLING_INTERVAL: Duration = Duration::from_millis(50);
const MAX_POLLING_INTERVAL: Duration = Duration::from_secs(600);
/// Polling faster than this is allowed, but worth a word.
const BRISK_POLLING_INTERVAL: Duration = Duration::from_millis(100);
/// A reading is never stale before this, however fast the polling: one slow answer is no outage.
const LEAST_DEFAULT_SAMPLE_AGE: Duration = Duration::from_secs(10);

/// What stands around the body of a QueueAutoscaler.
pub(crate) struct Head {
    pub(crate) id: AutoscalerId,
    pub(crate) origin: Origin,
    pub(crate) annotations: Annotations,
    pub(crate) connection: Given,
}

/// Where a trigger's connection comes from.
pub(crate) enum Given {
    /// Each trigger names its own.
    ByName,
    /// KEDA's metadata found it, by address perhaps; it stands in for every `connection` by name.
    Found(Arc<ConnectionSpec>),
    /// It was looked for in vain, and that has been reported.
    Missing,
}

/// Reads the body of a QueueAutoscaler; paths begin with `spec`. The result counts only if `report` has no problem.
pub(crate) fn autoscaler(
    head: Head,
    body: &QueueAutoscalerBody,
    grants: &Grants,
    report: &mut Report<'_>,
) -> AutoscalerSpec {
    let bounds = match head.origin {
        Origin::Manifest | Origin::Resource => bounds(body, report),
        // The ScaledObject has them, and the HPA enforces them.
        Origin::KedaMetadata => Bounds { min: 0, max: Replicas::MAX, idle: None },
    };
    let target = match head.origin {
        Origin::Manifest | Origin::Resource => Some(target(body.scale_target_ref.as_ref(), report)),
        Origin::KedaMetadata => None,
    };
    let polling_interval = polling_interval(body, report);
    let default = LEAST_DEFAULT_SAMPLE_AGE.max(polling_interval.saturating_mul(3));
    let max_sample_age =
        values::sample_age(body.max_sample_age.as_ref(), "spec.maxSampleAge", polling_interval, report)
            .unwrap_or(default);
    let cooldown =
        values::duration(body.cooldown_period.as_ref(), "spec.cooldownPeriod", values::ANY, DEFAULT_COOLDOWN, report);
    let initial_cooldown = values::duration(
        body.initial_cooldown_period.as_ref(),
        "spec.initialCooldownPeriod",
        values::ANY,
        Duration::ZERO,
        report,
    );
    let written = body.triggers.as_deref().unwrap_or_default();
    let triggers = trigger::triggers(written, polling_interval, &head, grants, report);
    let fallback = behavior::fallback(body.fallback.as_ref(), bounds, report);
    AutoscalerSpec {
        target,
        bounds,
        polling_interval,
        max_sample_age,
        cooldown,
        initial_cooldown,
        triggers,
        behavior: behavior::behavior(body.behavior.as_ref(), report),
        fallback,
        pause: head.annotations.pause,
        dry_run: body.dry_run.unwrap_or(false),
        restore_on_delete: body.restore_to_original_replica_count.unwrap_or(false),
        force_activation: head.annotations.force_activation,
        id: head.id,
        origin: head.origin,
    }
}

fn target(target: Option<&ScaleTargetRef>, report: &mut Report<'_>) -> TargetRef {
    const PATH: &str = "spec.scaleTargetRef";
    let Some(target) = target else {
        report.problem(
            PATH,
            "missing: the workload that is to be scaled",
            "e.g. scaleTargetRef: { name: my-deployment }",
        );
        return TargetRef { api_version: String::new(), kind: String::new(), name: String::new() };
    };
    let name = values::text(target.name.as_deref(), "spec.scaleTargetRef.name", "name: my-deployment", report);
    if !name.is_empty() {
        // It becomes part of a path at the API server, where `web?` or `../x` would mean something else than a name.
        check_name(&name, "spec.scaleTargetRef.name", report);
    }
    let kind = target.kind.clone().unwrap_or_else(|| "Deployment".to_owned());
    let usual = match kind.as_str() {
        "Deployment" | "StatefulSet" | "ReplicaSet" => Some("apps/v1"),
        "ReplicationController" => Some("v1"),
        _ => None,
    };
    let api_version = match (&target.api_version, usual) {
        (Some(written), _) => written.clone(),
        (None, Some(usual)) => usual.to_owned(),
        (None, None) => {
            report.problem(
                "spec.scaleTargetRef.apiVersion",
                format!("missing: kind `{kind}` is none whose apiVersion is known"),
                "write the apiVersion that the workload's own manifest has, e.g. argoproj.io/v1alpha1",
            );
            String::new()
        }
    };
    if kind.is_empty() || target.api_version.as_deref() == Some("") {
        let empty = if kind.is_empty() { "kind" } else { "apiVersion" };
        report.problem(&format!("{PATH}.{empty}"), "empty", "write it as the workload's own manifest has it");
    }
    TargetRef { api_version, kind, name }
}

fn bounds(body: &QueueAutoscalerBody, report: &mut Report<'_>) -> Bounds {
    let min = body.min_replicas.unwrap_or(0);
    let max = body.max_replicas.unwrap_or(DEFAULT_MAX_REPLICAS);
    if min > max && !report.is_explained("spec.maxReplicas") {
        let (found, cure) = match body.max_replicas {
            Some(_) => {
                (format!("minReplicas {min} is above maxReplicas {max}"), format!("raise maxReplicas to {min} or more"))
            }
            None => (
                format!("minReplicas {min} is above maxReplicas, which is {max} when left out"),
                format!("write maxReplicas: {min} or more"),
            ),
        };
        report.problem("spec.minReplicas", found, cure);
    }
    if let Some(idle) = body.idle_replica_count {
        if min == 0 && body.min_replicas.is_none() {
            report.problem(
                "spec.idleReplicaCount",
                format!("idleReplicaCount {idle} must be below minReplicas, which is 0 when left out"),
                format!("write minReplicas: {} or more, or take idleReplicaCount out", idle.saturating_add(1)),
            );
        } else if idle >= min {
            report.problem(
                "spec.idleReplicaCount",
                format!("idleReplicaCount {idle} must be below minReplicas {min}"),
                if min == 0 {
                    "take idleReplicaCount out: minReplicas 0 already rests at zero".to_owned()
                } else {
                    format!("write a number below {min}, or take idleReplicaCount out")
                },
            );
        }
    }
    Bounds { min, max, idle: body.idle_replica_count }
}

fn polling_interval(body: &QueueAutoscalerBody, report: &mut Report<'_>) -> Duration {
    const PATH: &str = "spec.pollingInterval";
    let limits = values::Limits { min: MIN_POLLING_INTERVAL, max: MAX_POLLING_INTERVAL };
    let interval = values::duration(body.polling_interval.as_ref(), PATH, limits, DEFAULT_POLLING_INTERVAL, report);
    if interval < BRISK_POLLING_INTERVAL {
        let reads = 1000 / interval.as_millis().max(1);
        report.warn(
            PATH,
            format!("every key of this autoscaler is read {reads} times a second"),
            "100ms is already faster than any pod starts; raise it unless you measured that you need it",
        );
    }
    interval
}

/// What a fallback may do to a workload, for the warning of `check`.
fn may_scale_down(fallback: &Fallback) -> bool {
    match fallback.behavior {
        FallbackBehavior::Static { .. } | FallbackBehavior::CurrentReplicasIfLower { .. } => true,
        FallbackBehavior::Hold
        | FallbackBehavior::CurrentReplicas
        | FallbackBehavior::CurrentReplicasIfHigher { .. } => false,
    }
}
