//! KEDA v2.20's half of the work: zero or not, the cooldown, and the fallback. The baseline that sits before [`hpa`].
//!
//! KEDA never chooses between one replica and many: it takes the workload from zero to its minimum when a trigger
//! becomes active, back to zero when none has been for `cooldownPeriod`, and in between hands metric values to an HPA
//! that it made. This file is that, pure: the caller polls every `pollingInterval`, carries out what
//! [`KedaExecutor::on_poll`] asks for, and passes every HPA query through [`KedaExecutor::metric_for_hpa`].
//!
//! [`hpa`]: crate::engine::hpa

use std::time::Duration;

use crate::engine::hpa::{HpaBehavior, HpaSpec};
use crate::model::{Replicas, Tick};
use crate::spec::MilliValue;
use crate::spec::units::Quantity;

/// A ScaledObject, as far as decisions depend on it.
#[derive(Clone, PartialEq, Debug)]
pub struct KedaSpec {
    /// `minReplicaCount`.
    pub min: Replicas,
    /// `maxReplicaCount`.
    pub max: Replicas,
    /// `idleReplicaCount`: where to rest instead of zero.
    pub idle: Option<Replicas>,
    /// `cooldownPeriod`, from the last activity to rest.
    pub cooldown: Duration,
    /// `initialCooldownPeriod`, from creation to rest, while nothing was ever active.
    pub initial_cooldown: Duration,
    pub fallback: Option<KedaFallback>,
    /// Annotation `autoscaling.keda.sh/force-activation`.
    pub force_activation: bool,
    pub triggers: Vec<KedaTrigger>,
}

impl KedaSpec {
    /// `pollingInterval` where none is written: how often the caller should call [`KedaExecutor::on_poll`].
    pub const POLLING_INTERVAL: Duration = Duration::from_secs(30);

    /// The defaults of a ScaledObject around the given triggers.
    #[must_use]
    pub fn new(triggers: Vec<KedaTrigger>) -> Self {
        KedaSpec {
            min: 0,
            max: 100,
            idle: None,
            cooldown: Duration::from_secs(300),
            initial_cooldown: Duration::ZERO,
            fallback: None,
            force_activation: false,
            triggers,
        }
    }

    /// The HPA that KEDA makes of it, with `behavior` passed on untouched. Its minimum is never zero.
    #[must_use]
    pub fn hpa_spec(&self, behavior: Option<HpaBehavior>) -> HpaSpec {
        HpaSpec {
            min: self.min.max(1),
            max: self.max,
            targets: self.triggers.iter().map(|trigger| MilliValue(metric_milli(trigger.target))).collect(),
            behavior,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct KedaTrigger {
    /// What `GetMetricSpec` answers: items a replica, or items in all.
    pub target: f64,
    pub metric_type: MetricType,
}

/// `metricType` of a trigger.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum MetricType {
    #[default]
    AverageValue,
    Value,
}

/// `fallback` of a ScaledObject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KedaFallback {
    /// Engaged by one failure more than this. Polls and HPA queries both count.
    pub failure_threshold: u32,
    pub replicas: Replicas,
    pub behavior: KedaFallbackBehavior,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum KedaFallbackBehavior {
    #[default]
    Static,
    CurrentReplicas,
    CurrentReplicasIfHigher,
    CurrentReplicasIfLower,
}

/// The scaled workload as KEDA sees it at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Workload {
    /// `spec.replicas`.
    pub replicas: Replicas,
    /// Ready pods; only the fallback of a `Value` metric looks at them.
    pub ready: Replicas,
}

/// A call to the scaler failed. Which way does not matter to KEDA.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CallFailed;

/// What one trigger's scaler answered to the three calls that KEDA makes, in their order. A call that was not made
/// because an earlier one failed is given as failed too.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TriggerPoll {
    /// `GetMetricSpec`.
    pub spec: Result<(), CallFailed>,
    /// `GetMetrics`, summed.
    pub metric: Result<f64, CallFailed>,
    /// `IsActive`.
    pub active: Result<bool, CallFailed>,
}

impl TriggerPoll {
    /// All three calls succeeded.
    #[must_use]
    pub fn answered(value: f64, active: bool) -> Self {
        TriggerPoll { spec: Ok(()), metric: Ok(value), active: Ok(active) }
    }

    /// `GetMetricSpec` succeeded and `GetMetrics` failed.
    #[must_use]
    pub fn metric_failed() -> Self {
        TriggerPoll { spec: Ok(()), metric: Err(CallFailed), active: Err(CallFailed) }
    }

    /// `GetMetricSpec` failed already: the scaler is down.
    #[must_use]
    pub fn spec_failed() -> Self {
        TriggerPoll { spec: Err(CallFailed), metric: Err(CallFailed), active: Err(CallFailed) }
    }

    /// A good value is thrown away where `IsActive` failed.
    fn answer(&self) -> Answer {
        match (self.spec, self.metric, self.active) {
            (Err(CallFailed), _, _) => Answer::NoSpec,
            (Ok(()), Ok(value), Ok(active)) => Answer::Good { value, active },
            (Ok(()), _, _) => Answer::Failed,
        }
    }
}

/// What three calls amount to.
#[derive(Clone, Copy)]
enum Answer {
    Good { value: f64, active: bool },
    Failed,
    NoSpec,
}

/// What the fallback makes of an answer.
#[derive(Clone, Copy)]
enum Heard {
    Value {
        value: f64,
        active: bool,
    },
    /// The fallback speaks for the trigger: that counts as active, and no longer as an error.
    Fallback {
        value: f64,
    },
    Error,
}

/// One ScaledObject's executor, with what its status remembers.
#[derive(Clone, PartialEq, Debug)]
pub struct KedaExecutor {
    spec: KedaSpec,
    created: Tick,
    last_active: Option<Tick>,
    /// Consecutive failures of each trigger.
    failures: Vec<u32>,
}

impl KedaExecutor {
    /// A ScaledObject created at `created`.
    #[must_use]
    pub fn new(spec: KedaSpec, created: Tick) -> Self {
        let failures = vec![0; spec.triggers.len()];
        KedaExecutor { spec, created, last_active: None, failures }
    }

    #[must_use]
    pub fn spec(&self) -> &KedaSpec {
        &self.spec
    }

    /// `status.lastActiveTime`.
    #[must_use]
    pub fn last_active(&self) -> Option<Tick> {
        self.last_active
    }

    /// Consecutive failures of a trigger, as in `status.health`.
    #[must_use]
    pub fn failures(&self, trigger: usize) -> u32 {
        self.failures.get(trigger).copied().unwrap_or(0)
    }

    /// Some trigger's fallback is engaged: the condition `Fallback`.
    #[must_use]
    pub fn fallback_engaged(&self) -> bool {
        self.spec
            .fallback
            .is_some_and(|fallback| self.failures.iter().any(|failures| *failures > fallback.failure_threshold))
    }

    /// One round of the scale loop. `polls` has one entry a trigger, in the order of the spec. Returns what to set the
    /// scale to, if anything; the caller is taken to succeed with it (a workload still at zero is woken again).
    pub fn on_poll(&mut self, now: Tick, workload: Workload, polls: &[TriggerPoll]) -> Option<Replicas> {
        let mut active = self.spec.force_activation;
        let mut error = false;
        for (trigger, poll) in polls.iter().enumerate() {
            match self.hear(trigger, workload, poll) {
                Heard::Value { active: this_one, .. } => active |= this_one,
                Heard::Fallback { .. } => active = true,
                Heard::Error => error = true,
            }
        }
        if active { self.when_active(now, workload.replicas, error) } else { self.when_inactive(now, workload, error) }
    }

    /// `true` on the stream of an external-push trigger: active now, whatever polling says. (`false` is ignored by
    /// KEDA, so there is no call for it.)
    pub fn on_push(&mut self, now: Tick, workload: Workload) -> Option<Replicas> {
        self.when_active(now, workload.replicas, false)
    }

    /// The value that the HPA gets for one trigger's metric, or `None` if its query fails. To be asked with what the
    /// scaler answers to this very query: it counts as a success or a failure of its own. See [`metric_milli`].
    pub fn metric_for_hpa(&mut self, trigger: usize, workload: Workload, poll: &TriggerPoll) -> Option<f64> {
        match self.hear(trigger, workload, poll) {
            Heard::Value { value, .. } | Heard::Fallback { value } => Some(value),
            Heard::Error => None,
        }
    }

    /// Counts the answer, and lets the fallback speak where it may. A failing `GetMetricSpec` is not counted, so that
    /// a scaler that is down altogether never gets there.
    fn hear(&mut self, trigger: usize, workload: Workload, poll: &TriggerPoll) -> Heard {
        let Some(failures) = self.failures.get_mut(trigger) else { return Heard::Error };
        match poll.answer() {
            Answer::Good { value, active } => {
                *failures = 0;
                Heard::Value { value, active }
            }
            Answer::NoSpec => Heard::Error,
            Answer::Failed => {
                *failures = failures.saturating_add(1);
                let engaged = self.spec.fallback.filter(|fallback| *failures > fallback.failure_threshold);
                let value = engaged.zip(self.spec.triggers.get(trigger)).and_then(|(fallback, trigger)| {
                    let replicas = f64::from(fallback.replicas(workload.replicas));
                    match trigger.metric_type {
                        MetricType::AverageValue => Some(trigger.target * replicas),
                        // The HPA multiplies a Value by the ready pods again; without any there is no such value.
                        MetricType::Value if workload.ready <= 0 => None,
                        MetricType::Value => Some(trigger.target * replicas / f64::from(workload.ready)),
                    }
                });
                value.map_or(Heard::Error, |value| Heard::Fallback { value })
            }
        }
    }

    fn when_active(&mut self, now: Tick, current: Replicas, error: bool) -> Option<Replicas> {
        let wakes = current == 0 || (self.spec.idle.is_some() && current < self.spec.min);
        // A round with an error on some other trigger does not count as activity, unless it wakes the workload.
        if wakes || !error {
            self.last_active = Some(now);
        }
        // Never the count that the metric asks for: the HPA takes it from here.
        wakes.then(|| self.spec.min.max(1))
    }

    fn when_inactive(&self, now: Tick, workload: Workload, error: bool) -> Option<Replicas> {
        let current = workload.replicas;
        // Hands off after an error, fallback or none. Only a fallback to zero replicas reads as no reason to wait: an
        // error then counts as plain inactivity.
        if error && self.spec.fallback.is_none_or(|fallback| fallback.replicas != 0) {
            return None;
        }
        let too_many = self.spec.idle.is_some_and(|idle| current > idle) || (current > 0 && self.spec.min == 0);
        if too_many {
            let (since, period) = match self.last_active {
                Some(last_active) => (last_active, self.spec.cooldown),
                None => (self.created, self.spec.initial_cooldown),
            };
            // From any count in one step, past every policy of the HPA.
            return (now.since(since) > period).then(|| self.spec.idle.unwrap_or(self.spec.min));
        }
        (self.spec.idle.is_none() && current < self.spec.min).then_some(self.spec.min)
    }
}

impl KedaFallback {
    fn replicas(&self, current: Replicas) -> Replicas {
        match self.behavior {
            KedaFallbackBehavior::Static => self.replicas,
            KedaFallbackBehavior::CurrentReplicas => current,
            KedaFallbackBehavior::CurrentReplicasIfHigher => current.max(self.replicas),
            KedaFallbackBehavior::CurrentReplicasIfLower => current.min(self.replicas),
        }
    }
}

/// What is left of a value on its way through KEDA's metrics API to the HPA, in milli-units: three decimals, no
/// negatives, and zero for what milli-units cannot hold (from 1e16 on).
#[must_use]
pub fn metric_milli(value: f64) -> i64 {
    if !value.is_finite() || value <= 0.0 {
        return 0;
    }
    format!("{value:.3}").parse::<Quantity>().map_or(0, |quantity| quantity.wrapping_milli())
}

#[cfg(test)]
mod tests;
