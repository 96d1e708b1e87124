//! Settings that cost least and meet the objective, found by trying: everything with one seed, then what looks best with
//! all of them.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::sim::contestant;
use crate::sim::experiment::Experiment;
use crate::sim::report::{Estimate, Field, Point, Sweep};
use crate::sim::sweep;
use crate::sim::vary::{Documents, combinations};
use crate::spec::units::format_duration;
use crate::spec::{AutoscalerSpec, Policy};

/// Variants that are tried with all seeds.
const FINALISTS: usize = 16;

/// What to try where nobody says: the target (or the time to drain within) from a quarter to four times what is written,
/// the window of going down, and the floor.
#[must_use]
pub fn usual_fields(spec: &AutoscalerSpec) -> Vec<Field> {
    let mut fields = Vec::new();
    for (i, trigger) in spec.triggers.iter().enumerate() {
        let path = |field: &str| format!("spec.triggers[{i}].policy.{field}");
        match trigger.policy {
            Policy::BacklogPerReplica { target } => {
                let values = [0.25, 0.5, 1.0, 2.0, 4.0].map(|by| ((target.as_f64() * by).ceil().max(1.0)).to_string());
                fields.push(field(path("backlogPerReplica.target"), values.to_vec()));
            }
            Policy::Load(load) => {
                let values = [0.25, 0.5, 1.0, 2.0].map(|by| {
                    let seconds = (load.drain_within.as_secs_f64() * by).ceil().max(1.0);
                    std::time::Duration::try_from_secs_f64(seconds).map_or_else(|_| "30s".to_owned(), format_duration)
                });
                fields.push(field(path("load.drainWithin"), values.to_vec()));
            }
            Policy::Fixed { .. } => {}
        }
    }
    let windows = ["0", "30", "60", "120", "300"].map(str::to_owned);
    fields.push(field("spec.behavior.scaleDown.stabilizationWindowSeconds".to_owned(), windows.to_vec()));
    let (min, max) = (spec.bounds.min, spec.bounds.max);
    let floors = [min, min + 1, min + 2, min + 4, min + 8].into_iter().filter(|floor| *floor <= max);
    fields.push(field("spec.minReplicas".to_owned(), floors.map(|floor| floor.to_string()).collect()));
    fields
}

fn field(path: String, mut values: Vec<String>) -> Field {
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
    let slots = contestant::slots(&experiment.scenario, &tuned.spec);
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
