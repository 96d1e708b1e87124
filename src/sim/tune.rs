//! Settings that cost least and meet the objective, found by trying: everything with one seed, then what looks best with
//! all of them.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use crate::sim::contestant;
use crate::sim::experiment::Experiment;
use crate::sim::report::{Estimate, Field, Point, Sweep};
use crate::sim::sweep;
use crate::sim::vary::{Documents, combinations};
use crate::spec::units::format_duration;
use crate::spec::{AutoscalerSpec, Behavior, Policy};

/// Variants that are tried with all seeds.
const FINALISTS: usize = 16;

/// What to try where nobody says: the target (or the time to drain within) from a quarter to four times what is written,
/// the window of going down, and the floor. What is written is always among it.
#[must_use]
pub fn usual_fields(spec: &AutoscalerSpec) -> Vec<Field> {
    let mut fields = Vec::new();
    for (i, trigger) in spec.triggers.iter().enumerate() {
        let path = |field: &str| format!("spec.triggers[{i}].policy.{field}");
        match trigger.policy {
            Policy::BacklogPerReplica { target } => {
                let near = [0.25, 0.5, 2.0, 4.0].map(|by| (target.as_f64() * by).ceil().max(1.0));
                fields.push(field(path("backlogPerReplica.target"), &near, target.as_f64(), |value| value.to_string()));
            }
            Policy::Load(load) => {
                let written = load.drain_within.as_secs_f64();
                let near = [0.25, 0.5, 2.0].map(|by| (written * by).ceil().max(1.0));
                fields.push(field(path("load.drainWithin"), &near, written, |seconds| {
                    Duration::try_from_secs_f64(seconds).map_or_else(|_| "30s".to_owned(), format_duration)
                }));
            }
            Policy::Fixed { .. } => {}
        }
    }
    let window = match &spec.behavior {
        Behavior::Rules { down, .. } => down.stabilization_window,
        Behavior::HpaWithoutBehavior { downscale_stabilization } => *downscale_stabilization,
    };
    let path = "spec.behavior.scaleDown.stabilizationWindowSeconds".to_owned();
    let windows = [0.0, 30.0, 60.0, 120.0, 300.0];
    fields.push(field(path, &windows, window.as_secs_f64(), |seconds| seconds.to_string()));
    let (min, max) = (spec.bounds.min, spec.bounds.max);
    let floors = [min, min + 1, min + 2, min + 4, min + 8].into_iter().filter(|floor| *floor <= max);
    let floors: Vec<f64> = floors.map(f64::from).collect();
    fields.push(field("spec.minReplicas".to_owned(), &floors, f64::from(min), |floor| floor.to_string()));
    fields
}

/// What is near, and what is written, each once.
fn field(path: String, near: &[f64], written: f64, say: impl Fn(f64) -> String) -> Field {
    let mut values = near.to_vec();
    values.push(written);
    values.sort_by(f64::total_cmp);
    let mut values: Vec<String> = values.into_iter().map(say).collect();
    values.dedup();
    Field { path, values }
}

/// What was found.
pub struct Tuned {
    /// The finalists, with all seeds.
    pub sweep: Sweep,
    /// Place of the best in it.
    pub best: usize,
    pub spec: Arc<AutoscalerSpec>,
}

/// Looks for the cheapest variant that meets the objective; where none does, the most punctual.
///
/// # Errors
/// What cannot be simulated, or a field or a value that cannot be written.
pub fn tune(
    experiment: &Experiment,
    documents: &Documents,
    spec: &AutoscalerSpec,
    fields: &[Field],
    tick: &(dyn Fn(usize) + Sync),
) -> Result<Tuned, String> {
    let variants: Vec<(Vec<String>, Arc<AutoscalerSpec>)> = combinations(fields)?
        .into_iter()
        .map(|values| documents.with(&spec.id.name, fields, &values).map(|spec| (values, spec)))
        .collect::<Result<_, _>>()?;
    let mut screening = experiment.clone();
    screening.scenario.seeds = 1;
    let screened = sweep::run(&screening, fields, &variants, tick)?;
    let mut order: Vec<usize> = (0..variants.len()).collect();
    order.sort_by(|one, other| match (screened.points.get(*one), screened.points.get(*other)) {
        (Some(one), Some(other)) => better(one, other),
        _ => std::cmp::Ordering::Equal,
    });
    let finalists: Vec<_> = order.iter().take(FINALISTS).filter_map(|at| variants.get(*at).cloned()).collect();
    let sweep = sweep::run(experiment, fields, &finalists, tick)?;
    let best = sweep.points.iter().enumerate().min_by(|(_, one), (_, other)| better(one, other)).map(|(at, _)| at);
    let best = best.ok_or_else(|| "nothing to try; write --vary PATH=VALUE,VALUE".to_owned())?;
    let spec = finalists.get(best).map(|(_, spec)| Arc::clone(spec)).ok_or("nothing to try")?;
    Ok(Tuned { sweep, best, spec })
}

/// Who meets the objective first, then who costs less; of those who do not, who misses it by less.
fn better(one: &Point, other: &Point) -> std::cmp::Ordering {
    let by_cost = one.cost.mean.total_cmp(&other.cost.mean);
    let by_punctuality = other.on_time_percent.mean.total_cmp(&one.on_time_percent.mean);
    let within = if one.meets_slo { by_cost } else { by_punctuality.then(by_cost) };
    other.meets_slo.cmp(&one.meets_slo).then(within)
}

/// The manifest, ready to be applied, and the ScaledObject for it.
///
/// # Errors
/// What cannot be written as YAML; nothing of ours.
pub fn manifests(experiment: &Experiment, documents: &Documents, tuned: &Tuned) -> Result<String, String> {
    let Some(point) = tuned.sweep.points.get(tuned.best) else { return Err("nothing was found".to_owned()) };
    let slo = experiment.scenario.slo;
    let mut out = String::new();
    let within = format_duration(slo.wait);
    let _ = writeln!(out, "# Found by: {}", experiment.command);
    let _ = writeln!(
        out,
        "# Expected in Scenario {} ({} seeds, 95 % intervals): {} % started within {within} (objective {} %{}),",
        experiment.scenario.name,
        experiment.scenario.seeds,
        interval(point.on_time_percent),
        slo.share * 100.0,
        if point.meets_slo { "" } else { ", MISSED: nothing that was tried meets it" },
    );
    let _ = writeln!(
        out,
        "# cost {} times the work, 99 % of the waits below {:.1} s, {:.1} changes an hour.",
        interval(point.cost_over_work),
        point.p99_wait_seconds,
        point.actions_per_hour
    );
    let document = documents.text(&tuned.spec.id.name, &tuned.sweep.fields, &point.values)?;
    out.push_str(&document);
    // As was simulated, whatever the winner takes its pods for.
    let simulated = experiment.autoscalers.first().unwrap_or(&tuned.spec);
    let slots = contestant::slots(&experiment.scenario, simulated);
    out.push_str(&scaled_object(&tuned.spec, slots));
    Ok(out)
}

fn interval(estimate: Estimate) -> String {
    format!("{:.2} ({:.2} to {:.2})", estimate.mean, estimate.low, estimate.high)
}

/// For who keeps KEDA: it asks tidegate for the decision, and an HPA that follows carries it out.
fn scaled_object(spec: &AutoscalerSpec, slots: u32) -> String {
    let name = &spec.id.name;
    let target = spec.target.as_ref();
    let api_version = target.map_or("apps/v1", |target| &target.api_version);
    let kind = target.map_or("Deployment", |target| &target.kind);
    let workload = target.map_or(&**name, |target| &target.name);
    let follow = "{ stabilizationWindowSeconds: 0, policies: [{ type: Pods, value: 10000, periodSeconds: 1 }], tolerance: \"0\" }";
    format!(
        "---\n\
         # For KEDA instead: then write dryRun: true above, because it is KEDA and the HPA that act, every 15 s.\n\
         # ({slots} slots a replica were supposed.)\n\
         apiVersion: keda.sh/v1alpha1\n\
         kind: ScaledObject\n\
         metadata: {{ name: {name}, namespace: {namespace} }}\n\
         spec:\n\
         \x20 scaleTargetRef: {{ apiVersion: {api_version}, kind: {kind}, name: {workload} }}\n\
         \x20 minReplicaCount: {min}\n\
         \x20 maxReplicaCount: {max}\n{idle}\
         \x20 cooldownPeriod: 30\n\
         \x20 advanced:\n\
         \x20   horizontalPodAutoscalerConfig:\n\
         \x20     behavior:\n\
         \x20       scaleUp: {follow}\n\
         \x20       scaleDown: {follow}\n\
         \x20 triggers:\n\
         \x20   - type: external-push\n\
         \x20     metadata: {{ scalerAddress: tidegate.tidegate.svc:6000, autoscaler: {name}, serve: replicas }}\n",
        namespace = spec.id.namespace,
        idle = spec.bounds.idle.map_or(String::new(), |idle| format!("  idleReplicaCount: {idle}\n")),
        min = spec.bounds.min,
        max = spec.bounds.max,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::load::{SourceText, Terms, load};

    #[test]
    fn what_is_written_is_always_tried() {
        let text = "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: c, namespace: n }\n\
             spec: { redis: { address: \"redis:6379\" } }\n---\n\
             apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: { name: a, namespace: n }\nspec:\n  \
             scaleTargetRef: { name: a }\n  minReplicas: 1\n  maxReplicas: 4\n  triggers:\n    \
             - { name: one, memory: { queue: one }, policy: { backlogPerReplica: { target: \"2.5\" } } }\n    \
             - { name: two, connection: c, celery: { queues: [two] }, policy: { load: { jobDuration: 1s, drainWithin: 1500ms } } }\n  \
             behavior: { scaleDown: { stabilizationWindowSeconds: 45 } }\n";
        let texts = [SourceText { file: "a.yaml".to_owned(), text: text.to_owned() }];
        let loaded = load(&texts, &Terms::default()).unwrap_or_else(|problems| panic!("{problems}"));
        let fields = usual_fields(loaded.autoscalers.first().expect("one"));
        let said: Vec<String> =
            fields.iter().map(|field| format!("{}={}", field.path, field.values.join(","))).collect();
        assert_eq!(
            said,
            [
                "spec.triggers[0].policy.backlogPerReplica.target=1,2,2.5,5,10",
                "spec.triggers[1].policy.load.drainWithin=1s,1.5s,3s",
                "spec.behavior.scaleDown.stabilizationWindowSeconds=0,30,45,60,120,300",
                "spec.minReplicas=1,2,3",
            ]
        );
    }
}
