//! From what is published to what KEDA is told. Pure: a snapshot and a moment in, an answer or a refusal out.
//!
//! The rules behind it, each learnt from KEDA's source or measured against it:
//! * KEDA's `fallback` counts failures of `GetMetrics` and `IsActive`; so a value too old to act on is an error there,
//!   with its cause, and never a number.
//! * `GetMetricSpec` must not fail: KEDA then drops the trigger from its HPA.
//! * The HPA takes a negative value for infinite load, and one of 1e16 or more for none at all.

use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};

use crate::board::Published;
use crate::model::{AutoscalerId, Health, Replicas, Tick, TriggerReport};
use crate::proto::externalscaler::{MetricSpec, MetricValue};
use crate::spec::limits::Full;
use crate::spec::problem::shortened;
use crate::spec::{AutoscalerSpec, Policy, TriggerSpec};

/// The one metric of `serve: replicas`.
pub const REPLICAS_METRIC: &str = "tidegate-replicas";

/// The greatest value handed out. Milli-units overflow a signed 64-bit integer at 9.2e15, and an HPA reads an
/// overflow as zero load.
const MAX_VALUE: f64 = 9e15;

/// Why KEDA gets an error instead of an answer. The text is what an operator reads in KEDA's events, so it names the
/// cure.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refusal {
    #[error("the request names no ScaledObject")]
    NoObject,
    /// Not even name and target can be read.
    #[error("the trigger's metadata cannot be used: {0}")]
    BadMetadata(String),
    /// Name and target are fine, but nothing may be polled on their behalf.
    #[error("tidegate will not poll this trigger: {0}")]
    NotPermitted(String),
    #[error(
        "no QueueAutoscaler {0} is known here: create one of that name in the ScaledObject's namespace, or correct \
         `autoscaler` in the trigger's metadata"
    )]
    UnknownAutoscaler(AutoscalerId),
    #[error("no metric {asked:?} here: this trigger yields {yields}")]
    UnknownMetric { asked: String, yields: String },
    #[error("tidegate is starting: QueueAutoscaler {0} may not have been read yet")]
    Starting(AutoscalerId),
    /// A cap is reached. KEDA asks again, and finds room when there is some.
    #[error("tidegate cannot watch another trigger: {0}")]
    NoRoom(Full),
    #[error("tidegate is shutting down")]
    ShuttingDown,
    #[error("the registration was not taken up in time; tidegate is overloaded")]
    Overloaded,
    #[error("{0} has not been read yet")]
    NotReadYet(String),
    #[error("no trustworthy value: {0}")]
    NoValue(String),
    #[error(
        "tidegate cannot read the scale of {0}'s workload, so it has no replicas to serve: check `scaleTargetRef` and \
         tidegate's permission to get its scale, or use `serve: backlog`"
    )]
    ScaleUnknown(AutoscalerId),
}

impl Refusal {
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Refusal::NoObject | Refusal::BadMetadata(_) => Code::InvalidArgument,
            Refusal::NotPermitted(_) | Refusal::ScaleUnknown(_) => Code::FailedPrecondition,
            Refusal::NoRoom(_) => Code::ResourceExhausted,
            Refusal::UnknownAutoscaler(_) | Refusal::UnknownMetric { .. } => Code::NotFound,
            Refusal::Starting(_)
            | Refusal::ShuttingDown
            | Refusal::Overloaded
            | Refusal::NotReadYet(_)
            | Refusal::NoValue(_) => Code::Unavailable,
        }
    }
}

/// A refusal's text in bytes: it travels as a header, in which whatever is not plain ASCII takes three bytes for one,
/// and clients take 16 KiB of headers by default. Our own longest, with every problem of a map, is shorter.
const LONGEST_REFUSAL: usize = 4 * 1024;

impl Refusal {
    /// As the caller and the log are told: what the caller made up comes back shortened.
    #[must_use]
    pub fn told(&self) -> String {
        shortened(self.to_string(), LONGEST_REFUSAL)
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Status::new(refusal.code(), refusal.told())
    }
}

// === specs: names and targets ===

/// One per trigger, for `serve: backlog`.
pub(super) fn backlog_specs(spec: &AutoscalerSpec) -> Vec<MetricSpec> {
    spec.triggers.iter().map(|trigger| metric_spec(&trigger.metric_name, target(&trigger.policy))).collect()
}

pub(super) fn replicas_specs() -> Vec<MetricSpec> {
    vec![metric_spec(REPLICAS_METRIC, 1.0)]
}

pub(super) fn metric_spec(name: &str, target: f64) -> MetricSpec {
    let target = clamp(target);
    // A whole target of zero is refused by the HPA, so that a fraction becomes one for a KEDA that knows no better.
    MetricSpec { metric_name: name.to_owned(), target_size: whole(target).max(1), target_size_float: target }
}

/// Items a replica, for KEDA's AverageValue.
fn target(policy: &Policy) -> f64 {
    match policy {
        Policy::BacklogPerReplica { target } => target.as_f64(),
        // Replicas are served as they are.
        Policy::Fixed { .. } | Policy::Load(_) => 1.0,
    }
}

// === values ===

/// The value of the metric called `asked` (the first if empty), for `serve: backlog`.
pub(super) fn backlog(published: &Published, asked: &str, now: Tick) -> Result<MetricValue, Refusal> {
    let spec = &published.spec;
    let position = match asked {
        "" => 0,
        _ => spec.triggers.iter().position(|trigger| same_metric(asked, &trigger.metric_name)).ok_or_else(|| {
            let names: Vec<&str> = spec.triggers.iter().map(|trigger| &*trigger.metric_name).collect();
            Refusal::UnknownMetric { asked: asked.to_owned(), yields: names.join(", ") }
        })?,
    };
    let Some(trigger) = spec.triggers.get(position) else {
        return Err(Refusal::NotReadYet(spec.id.to_string()));
    };
    let (value, active) = trusted(published, position, trigger, now)?;
    let value = match trigger.policy {
        Policy::BacklogPerReplica { .. } => value,
        Policy::Fixed { replicas } if active => f64::from(replicas),
        Policy::Fixed { .. } => 0.0,
        // What it goes by is not known: a number made of less would scale the workload down.
        Policy::Load(_) => match wants(published, position) {
            Some(replicas) => f64::from(replicas),
            None => return Err(Refusal::NoValue(format!("trigger {} does not see work in flight", trigger.name))),
        },
    };
    Ok(metric_value(&trigger.metric_name, value))
}

/// The decision itself, for `serve: replicas`.
pub(super) fn replicas(published: &Published, asked: &str, now: Tick) -> Result<MetricValue, Refusal> {
    if !asked.is_empty() && !same_metric(asked, REPLICAS_METRIC) {
        return Err(Refusal::UnknownMetric { asked: asked.to_owned(), yields: REPLICAS_METRIC.to_owned() });
    }
    let Some(decision) = &published.decision else {
        return Err(Refusal::NotReadYet(published.spec.id.to_string()));
    };
    // Every trigger has a say in a decision, so every one must be trusted.
    for (position, trigger) in published.spec.triggers.iter().enumerate() {
        trusted(published, position, trigger, now)?;
    }
    if !decision.current_known {
        return Err(Refusal::ScaleUnknown(published.spec.id.clone()));
    }
    Ok(metric_value(REPLICAS_METRIC, f64::from(decision.desired)))
}

/// Whether there is work. "Yes" needs one trigger that can be trusted, "no" needs all of them.
pub(super) fn active(published: &Published, now: Tick) -> Result<bool, Refusal> {
    let Some(decision) = &published.decision else {
        return Err(Refusal::NotReadYet(published.spec.id.to_string()));
    };
    if published.spec.force_activation {
        return Ok(true);
    }
    let mut doubt = None;
    for (position, trigger) in published.spec.triggers.iter().enumerate() {
        match trusted(published, position, trigger, now) {
            Ok((_, true)) => return Ok(true),
            Ok((_, false)) => {}
            Err(refusal) => doubt = doubt.or(Some(refusal)),
        }
    }
    match doubt {
        Some(refusal) => Err(refusal),
        None => Ok(decision.active),
    }
}

/// As [`active`], for `serve: replicas`. What is told "inactive" KEDA takes to zero once its own `cooldownPeriod` has
/// passed since it was last told otherwise, past every window of ours; so it is active for as long as the decision is
/// above where the workload rests.
pub(super) fn replicas_active(published: &Published, now: Tick) -> Result<bool, Refusal> {
    let rests = published.spec.bounds.idle.unwrap_or(0);
    let above = published.decision.as_ref().is_some_and(|decision| decision.desired > rests);
    Ok(active(published, now)? || above)
}

/// What a trigger asks for by its own policy.
fn wants(published: &Published, position: usize) -> Option<Replicas> {
    published.decision.as_ref()?.triggers.get(position)?.wants
}

/// Value and activity of one trigger, if they are young enough to act on.
fn trusted(published: &Published, position: usize, trigger: &TriggerSpec, now: Tick) -> Result<(f64, bool), Refusal> {
    let report = published.decision.as_ref().and_then(|decision| decision.triggers.get(position));
    let max = published.max_sample_age_of(trigger);
    match report {
        Some(TriggerReport { value: Some(value), taken: Some(taken), health, active, .. })
            if *health != Health::Stale && now.since(*taken) <= max =>
        {
            Ok((*value, *active))
        }
        Some(report) if report.taken.is_some() || report.failure.is_some() => {
            Err(Refusal::NoValue(Doubt { report, trigger, max, now }.to_string()))
        }
        _ => Err(Refusal::NotReadYet(format!("trigger {} of {}", trigger.name, published.spec.id))),
    }
}

/// The sentence that says why a trigger is not trusted: cause, and age of the last good value.
struct Doubt<'a> {
    report: &'a TriggerReport,
    trigger: &'a TriggerSpec,
    max: Duration,
    now: Tick,
}

impl fmt::Display for Doubt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trigger {}", self.trigger.name)?;
        match self.report.taken {
            Some(taken) => {
                let age = self.now.since(taken).as_secs_f64();
                write!(f, " was last read {age:.1} s ago, at most {:.1} s are allowed", self.max.as_secs_f64())?;
            }
            None => f.write_str(" has never been read")?,
        }
        match &self.report.failure {
            Some(failure) => write!(f, " ({failure})"),
            None => Ok(()),
        }
    }
}

fn metric_value(name: &str, value: f64) -> MetricValue {
    let value = clamp(value);
    MetricValue { metric_name: name.to_owned(), metric_value: whole(value), metric_value_float: value }
}

/// KEDA before 2.7 left its `sN-` prefix on.
fn same_metric(asked: &str, ours: &str) -> bool {
    asked == ours
        || asked
            .strip_suffix(ours)
            .and_then(|prefix| prefix.strip_prefix('s'))
            .and_then(|p| p.strip_suffix('-'))
            .is_some_and(|index| !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Into the range that survives KEDA and the HPA. Not a number is nothing.
fn clamp(value: f64) -> f64 {
    if value > 0.0 { value.min(MAX_VALUE) } else { 0.0 }
}

/// Rounded up: a KEDA that reads whole numbers only shall not take 0.4 for nothing.
#[expect(clippy::cast_possible_truncation, reason = "clamped to 9e15 before")]
fn whole(value: f64) -> i64 {
    value.ceil() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_fields_survive_keda_and_the_hpa() {
        let cases = [
            (0.0, 0, 0.0),
            (0.4, 1, 0.4),
            (3.7, 4, 3.7),
            (-2.0, 0, 0.0),
            (f64::NAN, 0, 0.0),
            (f64::INFINITY, 9_000_000_000_000_000, 9e15),
            (1e16, 9_000_000_000_000_000, 9e15),
        ];
        for (value, int, float) in cases {
            let metric = metric_value("m", value);
            assert_eq!((metric.metric_value, metric.metric_value_float), (int, float), "{value}");
        }
    }

    #[test]
    fn a_fractional_target_is_never_a_whole_zero() {
        let spec = metric_spec("m", 0.5);
        assert_eq!((spec.target_size, spec.target_size_float), (1, 0.5));
    }

    #[test]
    fn the_old_prefix_is_understood_and_nothing_else() {
        assert!(same_metric("redis-jobs", "redis-jobs"));
        assert!(same_metric("s0-redis-jobs", "redis-jobs"));
        assert!(same_metric("s12-redis-jobs", "redis-jobs"));
        assert!(!same_metric("s-redis-jobs", "redis-jobs"));
        assert!(!same_metric("sx-redis-jobs", "redis-jobs"));
        assert!(!same_metric("jobs", "redis-jobs"));
    }
}
