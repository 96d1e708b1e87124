//! From metric values to a proposal: External metrics with an AverageValue target, which is what queues are.

use crate::engine::hpa::spec::{HpaRules, HpaSpec};
use crate::engine::hpa::{ControllerOptions, Inputs, MetricReading};
use crate::model::Replicas;
use crate::spec::MilliValue;

/// The highest count that any metric asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Proposal {
    pub(super) replicas: Replicas,
    /// Position of the metric that asked for it.
    pub(super) metric: usize,
    /// Some metric failed, and the rest were enough because they do not ask for fewer than there are.
    pub(super) some_failed: bool,
}

/// `None` when there is no metric to go by: all failed, or some failed and the rest would scale down (a partial view
/// never does).
pub(super) fn propose(options: &ControllerOptions, spec: &HpaSpec, inputs: &Inputs<'_>) -> Option<Proposal> {
    let band = Band::new(options, spec);
    let mut best = Proposal { replicas: 0, metric: 0, some_failed: false };
    let mut succeeded = 0;
    for (metric, target) in spec.targets.iter().enumerate() {
        let series = match inputs.metrics.get(metric) {
            Some(MetricReading::Series(series)) if !series.is_empty() => *series,
            _ => {
                best.some_failed = true;
                continue;
            }
        };
        succeeded += 1;
        let replicas = band.replicas_for(usage(series), *target, inputs.status_replicas);
        // A tie keeps the earlier name; zero is nobody's.
        if best.replicas == 0 || replicas > best.replicas {
            best = Proposal { replicas, metric, ..best };
        }
    }
    let partial_scale_down = best.some_failed && best.replicas < inputs.replicas;
    (succeeded > 0 && !partial_scale_down).then_some(best)
}

/// Sum of the series, in milli-units. A partial sum below zero is taken for an overflow and means endless load, so one
/// negative value at the front asks for the maximum.
fn usage(series: &[i64]) -> i64 {
    let mut sum = 0_i64;
    for value in series {
        sum = sum.wrapping_add(*value);
        if sum < 0 {
            return i64::MAX;
        }
    }
    sum
}

/// The dead band on the ratio, both ends inside.
struct Band {
    lowest: f64,
    highest: f64,
}

impl Band {
    fn new(options: &ControllerOptions, spec: &HpaSpec) -> Self {
        let behavior = spec.behavior.as_ref().filter(|_| options.configurable_tolerance);
        let of = |rules: Option<&HpaRules>| rules.and_then(|rules| rules.tolerance).unwrap_or(options.tolerance);
        Band {
            lowest: 1.0 - of(behavior.map(|behavior| &behavior.down)),
            highest: 1.0 + of(behavior.map(|behavior| &behavior.up)),
        }
    }

    /// The ratio is taken against the replicas in status, and within the band those are the proposal; outside it the
    /// proposal does not depend on them.
    fn replicas_for(&self, usage: i64, target: MilliValue, status_replicas: Replicas) -> Replicas {
        let (usage, target) = (usage as f64, target.0 as f64);
        // Without replicas this is infinite, or NaN: neither is within any band.
        let ratio = usage / (target * f64::from(status_replicas));
        if self.lowest <= ratio && ratio <= self.highest { status_replicas } else { ceil_to_int32(usage / target) }
    }
}

/// Rounds up and stops at the highest int32. (Before Kubernetes 1.34 it wrapped.)
#[expect(clippy::cast_possible_truncation, reason = "`as` stops at the ends of int32, which is the rule")]
fn ceil_to_int32(x: f64) -> Replicas {
    x.ceil() as Replicas
}
