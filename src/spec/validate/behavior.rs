//! `behavior` and `fallback`: how fast replicas may change, and what happens while a source is silent.

use std::time::Duration;

use super::{may_scale_down, values};
use crate::spec::manifest;
use crate::spec::report::Report;
use crate::spec::{Behavior, Bounds, Fallback, FallbackBehavior, RateKind, RatePolicy, ScalingRules, SelectPolicy};

/// The HPA's own default for the way down: a queue that is empty for a moment is not an empty queue.
const DEFAULT_DOWN_WINDOW: Duration = Duration::from_secs(300);
/// Longer than the restart of a Redis, shorter than a queue can be left alone.
const DEFAULT_FALLBACK_AFTER: Duration = Duration::from_secs(30);

pub(super) fn behavior(written: Option<&manifest::Behavior>, report: &mut Report<'_>) -> Behavior {
    let up = written.and_then(|behavior| behavior.scale_up.as_ref());
    let down = written.and_then(|behavior| behavior.scale_down.as_ref());
    Behavior::Rules {
        up: rules(up, "spec.behavior.scaleUp", Duration::ZERO, report),
        down: rules(down, "spec.behavior.scaleDown", DEFAULT_DOWN_WINDOW, report),
    }
}

fn rules(
    written: Option<&manifest::ScalingRules>,
    path: &str,
    default_window: Duration,
    report: &mut Report<'_>,
) -> ScalingRules {
    let nothing = manifest::ScalingRules::default();
    let written = written.unwrap_or(&nothing);
    let window = written.stabilization_window_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let policies = written.policies.as_deref().unwrap_or_default();
    let tolerance =
        written.tolerance.as_ref().map_or(0.0, |text| tolerance(text, &format!("{path}.tolerance"), report));
    ScalingRules {
        stabilization_window: window.map_or(default_window, Duration::from_secs),
        select_policy: match written.select_policy {
            None | Some(manifest::SelectPolicy::Max) => SelectPolicy::Max,
            Some(manifest::SelectPolicy::Min) => SelectPolicy::Min,
            Some(manifest::SelectPolicy::Disabled) => SelectPolicy::Disabled,
        },
        policies: policies
            .iter()
            .enumerate()
            .filter_map(|(i, policy)| rate_policy(policy, &format!("{path}.policies[{i}]"), report))
            .collect(),
        tolerance,
    }
}

fn rate_policy(written: &manifest::RatePolicy, path: &str, report: &mut Report<'_>) -> Option<RatePolicy> {
    if written.kind.is_none() {
        report.problem(&format!("{path}.type"), "missing", "write type: Pods or type: Percent");
    }
    if written.value.is_none() {
        report.problem(&format!("{path}.value"), "missing", "e.g. value: 4, the pods or percent of one period");
    }
    if written.period_seconds.is_none() {
        report.problem(&format!("{path}.periodSeconds"), "missing", "e.g. periodSeconds: 15");
    }
    Some(RatePolicy {
        kind: match written.kind? {
            manifest::RateKind::Pods => RateKind::Pods,
            manifest::RateKind::Percent => RateKind::Percent,
        },
        value: written.value?,
        period: Duration::from_secs(u64::try_from(written.period_seconds?).ok()?),
    })
}

fn tolerance(written: &manifest::QuantityText, path: &str, report: &mut Report<'_>) -> f64 {
    match values::parse_quantity(written).map(|quantity| quantity.to_f64()) {
        Ok(tolerance) if tolerance < 0.0 => {
            report.problem(path, format!("must not be negative, found {}", written.0), "e.g. 0.1 for 10 %");
            0.0
        }
        Ok(tolerance) => {
            if tolerance >= 1.0 {
                report.warn(
                    path,
                    format!("a tolerance of {} ignores every change below {:.0} %", written.0, tolerance * 100.0),
                    "write 0.1 if you mean 10 %",
                );
            }
            tolerance
        }
        Err(error) => {
            let (message, cure) = values::halves(&error);
            report.problem(path, message, cure);
            0.0
        }
    }
}

pub(super) fn fallback(written: Option<&manifest::Fallback>, bounds: Bounds, report: &mut Report<'_>) -> Fallback {
    let Some(written) = written else {
        return Fallback { after: DEFAULT_FALLBACK_AFTER, behavior: FallbackBehavior::Hold };
    };
    let after =
        values::duration(written.after.as_ref(), "spec.fallback.after", values::ANY, DEFAULT_FALLBACK_AFTER, report);
    let fallback = Fallback { after, behavior: fallback_behavior(written, report) };
    if may_scale_down(&fallback) {
        report.warn(
            "spec.fallback.behavior",
            "this fallback may scale down although nobody knows the backlog",
            "write behavior: hold, or currentReplicasIfHigher, if a silent source must never cost replicas",
        );
    }
    if let Some(replicas) = written.replicas
        && (replicas > bounds.max || replicas < bounds.min)
    {
        let Bounds { min, max, .. } = bounds;
        report.warn(
            "spec.fallback.replicas",
            format!("{replicas} is outside minReplicas {min} to maxReplicas {max}, which hold for the fallback too"),
            format!("write a number from {min} to {max}"),
        );
    }
    fallback
}

fn fallback_behavior(written: &manifest::Fallback, report: &mut Report<'_>) -> FallbackBehavior {
    const REPLICAS: &str = "spec.fallback.replicas";
    use manifest::FallbackBehavior as Written;
    let unused = |name: &str, report: &mut Report<'_>| {
        if written.replicas.is_some() {
            report.problem(
                REPLICAS,
                format!("behavior {name} does not use replicas"),
                "take replicas out, or write behavior: static, currentReplicasIfHigher or currentReplicasIfLower",
            );
        }
    };
    let needed = |name: &str, report: &mut Report<'_>| {
        if written.replicas.is_none() {
            report.problem(REPLICAS, format!("missing: behavior {name} needs it"), "e.g. replicas: 5");
        }
        written.replicas.unwrap_or(0)
    };
    match written.behavior {
        None => {
            if !report.is_explained("spec.fallback.behavior") {
                unused("hold (the default)", report);
            }
            FallbackBehavior::Hold
        }
        Some(Written::Hold) => {
            unused("hold", report);
            FallbackBehavior::Hold
        }
        Some(Written::CurrentReplicas) => {
            unused("currentReplicas", report);
            FallbackBehavior::CurrentReplicas
        }
        Some(Written::Static) => FallbackBehavior::Static { replicas: needed("static", report) },
        Some(Written::CurrentReplicasIfHigher) => {
            FallbackBehavior::CurrentReplicasIfHigher { replicas: needed("currentReplicasIfHigher", report) }
        }
        Some(Written::CurrentReplicasIfLower) => {
            FallbackBehavior::CurrentReplicasIfLower { replicas: needed("currentReplicasIfLower", report) }
        }
    }
}
