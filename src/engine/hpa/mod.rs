//! The Kubernetes HorizontalPodAutoscaler controller itself, v1.36 `podautoscaler`, quirks and all: the baseline that
//! every policy of ours is measured against, and the referee of what `behavior` means.
//!
//! This file is the order of one sync and what comes out of it; [`spec`] is what the API server makes of a manifest,
//! [`metrics`] turns values into a proposal, [`memory`] remembers and stabilizes, [`limits`] bounds. Nothing here is
//! an improvement: where the controller wraps an integer, so do we. The live path is `engine/behavior.rs`.

mod limits;
mod memory;
mod metrics;
mod spec;

use std::time::Duration;

use crate::model::{Reason, Replicas, Tick};

pub use memory::{Memory, Recommendation, ScaleEvent};
pub use spec::{BehaviorAsWritten, HpaBehavior, HpaRules, HpaSpec, ResolveError, RulesAsWritten, SpecAsWritten};

/// Flags and feature gates of kube-controller-manager that a decision depends on.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ControllerOptions {
    /// `--horizontal-pod-autoscaler-tolerance`.
    pub tolerance: f64,
    /// `--horizontal-pod-autoscaler-downscale-stabilization`.
    pub downscale_stabilization: Duration,
    /// Feature gate `HPAScaleToZero`.
    pub scale_to_zero: bool,
    /// Feature gate `HPAConfigurableTolerance`.
    pub configurable_tolerance: bool,
}

impl ControllerOptions {
    /// `--horizontal-pod-autoscaler-sync-period`: how often the caller should call [`Hpa::sync`].
    pub const SYNC_PERIOD: Duration = Duration::from_secs(15);
}

/// What v1.36 runs with when nobody says otherwise.
impl Default for ControllerOptions {
    fn default() -> Self {
        ControllerOptions {
            tolerance: 0.1,
            downscale_stabilization: Duration::from_secs(300),
            scale_to_zero: false,
            configurable_tolerance: true,
        }
    }
}

/// What one sync sees of the world.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Inputs<'a> {
    /// `spec.replicas` of the scale subresource: "current" in every rule.
    pub replicas: Replicas,
    /// `status.replicas`: what the ratio is taken against.
    pub status_replicas: Replicas,
    /// One entry a metric of the spec, in its order; a missing entry is a failed query.
    pub metrics: &'a [MetricReading<'a>],
    /// The scale update, should this sync attempt one, will be refused. (A negative count is refused regardless.)
    pub update_fails: bool,
}

/// The answer to one external metric query.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MetricReading<'a> {
    /// The query failed.
    Failed,
    /// Milli-values of the series, in the order in which they came. None at all counts as a failure.
    Series(&'a [i64]),
}

/// Which way through the controller a sync took.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mode {
    /// A recommendation was computed.
    Metrics,
    /// Not enough metrics for a recommendation: nothing changes.
    MetricsError,
    /// Somebody else set the workload to zero: hands off.
    Disabled,
    /// Above `maxReplicas`: straight to it.
    AboveMax,
    /// Below `minReplicas`: straight to it.
    BelowMin,
}

impl Mode {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Metrics => "metrics",
            Mode::MetricsError => "metricsError",
            Mode::Disabled => "disabled",
            Mode::AboveMax => "aboveMax",
            Mode::BelowMin => "belowMin",
        }
    }
}

/// Reason of the condition `AbleToScale` after the sync.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AbleToScale {
    SucceededGetScale,
    ReadyForNewScale,
    ScaleUpStabilized,
    ScaleDownStabilized,
    SucceededRescale,
    FailedUpdateScale,
}

impl AbleToScale {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            AbleToScale::SucceededGetScale => "SucceededGetScale",
            AbleToScale::ReadyForNewScale => "ReadyForNewScale",
            AbleToScale::ScaleUpStabilized => "ScaleUpStabilized",
            AbleToScale::ScaleDownStabilized => "ScaleDownStabilized",
            AbleToScale::SucceededRescale => "SucceededRescale",
            AbleToScale::FailedUpdateScale => "FailedUpdateScale",
        }
    }
}

/// What the rescale event gives as its reason.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum RescaleReason {
    /// The metric at this position of the spec.
    MetricAboveTarget(usize),
    AllMetricsBelowTarget,
    AboveMaxReplicas,
    BelowMinReplicas,
}

impl RescaleReason {
    /// The controller's own sentence; `metric` names the external metric at a position of the spec.
    #[must_use]
    pub fn message(self, metric: impl Fn(usize) -> String) -> String {
        match self {
            // "(nil)" is the selector: the controller prints the pointer it was not given.
            RescaleReason::MetricAboveTarget(at) => format!("external metric {}(nil) above target", metric(at)),
            RescaleReason::AllMetricsBelowTarget => "All metrics below target".to_owned(),
            RescaleReason::AboveMaxReplicas => "Current number of replicas above Spec.MaxReplicas".to_owned(),
            RescaleReason::BelowMinReplicas => "Current number of replicas below Spec.MinReplicas".to_owned(),
        }
    }
}

/// Everything a sync says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// `spec.replicas` after the sync.
    pub desired: Replicas,
    pub mode: Mode,
    /// The recommendation before stabilization ([`Mode::Metrics`] only).
    pub raw: Option<Replicas>,
    /// The recommendation after stabilization ([`Mode::Metrics`] only).
    pub stabilized: Option<Replicas>,
    /// What the sync tried to set when the update was refused.
    pub wanted: Option<Replicas>,
    /// Reason of the condition `ScalingLimited` ([`Mode::Metrics`] only).
    pub limit: Option<Reason>,
    pub able: AbleToScale,
    /// Reason of the rescale, where one was attempted and the controller had one to give.
    pub why: Option<RescaleReason>,
    /// The sync returned an error: no usable metric, some failed metric, or a refused update.
    pub failed: bool,
    /// The status condition `ScaledToZero` after the sync; `None` while there is no such condition.
    pub scaled_to_zero: Option<bool>,
}

/// One HPA object as the controller knows it: spec, memory, and the one status condition that decisions read.
#[derive(Clone, PartialEq, Debug)]
pub struct Hpa {
    options: ControllerOptions,
    spec: HpaSpec,
    memory: Memory,
    scaled_to_zero: Option<bool>,
}

impl Hpa {
    /// A freshly created object under a controller that has never seen it.
    #[must_use]
    pub fn new(options: ControllerOptions, spec: HpaSpec) -> Self {
        Hpa { options, spec, memory: Memory::default(), scaled_to_zero: None }
    }

    /// With the condition `ScaledToZero` already in its status.
    #[must_use]
    pub fn with_scaled_to_zero(mut self, condition: Option<bool>) -> Self {
        self.scaled_to_zero = condition;
        self
    }

    /// With the controller's memory as given, instead of none.
    #[must_use]
    pub fn with_memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    #[must_use]
    pub fn spec(&self) -> &HpaSpec {
        &self.spec
    }

    #[must_use]
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The object was edited. Memory and status stay, and the next sync is not hastened.
    pub fn set_spec(&mut self, spec: HpaSpec) {
        self.spec = spec;
    }

    /// The controller restarted, or another one took the lease: memory is lost, status is not.
    pub fn restart(&mut self) {
        self.memory = Memory::default();
    }

    /// The object was deleted and created again: memory and status are lost.
    pub fn recreate(&mut self) {
        self.memory = Memory::default();
        self.scaled_to_zero = None;
    }

    /// One sync at `now`: decides, and updates memory as if the scale update ended as `inputs.update_fails` says.
    pub fn sync(&mut self, now: Tick, inputs: &Inputs<'_>) -> Outcome {
        let current = inputs.replicas;
        // Seeded with what is there on the first sync, whatever else this sync does, so that nothing is scaled
        // below it (or above it, with a scale-up window) for one window after a restart.
        self.memory.seed(now, current);

        let we_stopped_it = self.options.scale_to_zero && self.scaled_to_zero == Some(true);
        if current == 0 {
            // A workload at zero is scaled only if this controller took it there; minReplicas 0 alone is no leave.
            let wakes = we_stopped_it && (self.spec.min != 0 || !self.spec.targets.is_empty());
            if !wakes {
                if !self.options.scale_to_zero {
                    self.scaled_to_zero = None;
                }
                return self.idle(current, Mode::Disabled, false);
            }
        } else if current > self.spec.max {
            let bound = self.spec.max;
            let outcome = self.idle(current, Mode::AboveMax, false);
            return self.rescale(now, inputs, bound, Some(RescaleReason::AboveMaxReplicas), outcome);
        } else if current < self.spec.min {
            let bound = self.spec.min;
            let outcome = self.idle(current, Mode::BelowMin, false);
            return self.rescale(now, inputs, bound, Some(RescaleReason::BelowMinReplicas), outcome);
        }

        let Some(proposal) = metrics::propose(&self.options, &self.spec, inputs) else {
            return self.idle(current, Mode::MetricsError, true);
        };
        let raw = proposal.replicas.max(0);
        let mut why = match raw.cmp(&current) {
            std::cmp::Ordering::Greater => Some(RescaleReason::MetricAboveTarget(proposal.metric)),
            std::cmp::Ordering::Less => Some(RescaleReason::AllMetricsBelowTarget),
            std::cmp::Ordering::Equal => None,
        };

        let (stabilized, limited) = self.normalize(now, current, raw);
        let mut desired = limited.replicas;
        // Waking from zero skips the ramp up to the minimum.
        if current == 0 && self.spec.min != 0 && we_stopped_it && desired < self.spec.min {
            desired = self.spec.min;
            why = why.or(Some(RescaleReason::BelowMinReplicas));
        }

        let able = if stabilized == raw {
            AbleToScale::ReadyForNewScale
        } else if self.spec.behavior.is_some() && raw >= current {
            AbleToScale::ScaleUpStabilized
        } else {
            AbleToScale::ScaleDownStabilized
        };
        let outcome = Outcome {
            raw: Some(raw),
            stabilized: Some(stabilized),
            limit: Some(limited.reason),
            able,
            ..self.idle(current, Mode::Metrics, proposal.some_failed)
        };
        self.rescale(now, inputs, desired, why, outcome)
    }

    /// Stabilization, then the limits; one pair of rules with `behavior`, another without.
    fn normalize(&mut self, now: Tick, current: Replicas, raw: Replicas) -> (Replicas, limits::Limited) {
        match &self.spec.behavior {
            None => {
                let window = self.options.downscale_stabilization;
                let stabilized = self.memory.stabilize_without_behavior(now, raw, window);
                (stabilized, limits::without_behavior(&self.spec, current, stabilized))
            }
            Some(behavior) => {
                let up = behavior.up.window.unwrap_or(Duration::ZERO);
                // An absent scale-down window is the flag, in whole seconds.
                let flag = Duration::from_secs(self.options.downscale_stabilization.as_secs());
                let down = behavior.down.window.unwrap_or(flag);
                let stabilized = self.memory.stabilize(now, raw, current, up, down);
                (stabilized, limits::with_behavior(&self.spec, behavior, &self.memory, now, current, stabilized))
            }
        }
    }

    /// The outcome of a sync that leaves the scale alone.
    fn idle(&self, current: Replicas, mode: Mode, failed: bool) -> Outcome {
        Outcome {
            desired: current,
            mode,
            raw: None,
            stabilized: None,
            wanted: None,
            limit: None,
            able: AbleToScale::SucceededGetScale,
            why: None,
            failed,
            scaled_to_zero: self.scaled_to_zero,
        }
    }

    /// Carries `desired` out, if it differs from what is there, and remembers it if that succeeded.
    fn rescale(
        &mut self,
        now: Tick,
        inputs: &Inputs<'_>,
        desired: Replicas,
        why: Option<RescaleReason>,
        outcome: Outcome,
    ) -> Outcome {
        let current = inputs.replicas;
        if desired == current {
            return outcome;
        }
        if inputs.update_fails || desired < 0 {
            // The recommendation stays recorded; the event is not, and ScaledToZero is not touched.
            return Outcome {
                wanted: Some(desired),
                able: AbleToScale::FailedUpdateScale,
                why,
                failed: true,
                ..outcome
            };
        }
        if let Some(behavior) = &self.spec.behavior {
            self.memory.record_rescale(now, current, desired, behavior);
        }
        let stopped_by_us = current > 0 && desired == 0 && self.spec.min == 0 && !self.spec.targets.is_empty();
        self.scaled_to_zero = self.options.scale_to_zero.then_some(stopped_by_us);
        Outcome { desired, able: AbleToScale::SucceededRescale, why, scaled_to_zero: self.scaled_to_zero, ..outcome }
    }
}
