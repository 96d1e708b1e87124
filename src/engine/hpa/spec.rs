//! An HPA v2 spec as a user writes it, and as the controller sees it after the API server filled in the defaults.

use std::time::Duration;

use crate::model::Replicas;
use crate::spec::units::{Quantity, QuantityError};
use crate::spec::{MilliValue, RateKind, RatePolicy, SelectPolicy};

/// What the controller decides by.
#[derive(Clone, PartialEq, Debug)]
pub struct HpaSpec {
    pub min: Replicas,
    pub max: Replicas,
    /// AverageValue target of each external metric.
    pub targets: Vec<MilliValue>,
    /// `None` is not a behavior full of defaults but a different set of rules.
    pub behavior: Option<HpaBehavior>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct HpaBehavior {
    pub up: HpaRules,
    pub down: HpaRules,
}

/// One direction of a behavior that is present.
#[derive(Clone, PartialEq, Debug)]
pub struct HpaRules {
    /// Whole seconds. `None` (scale-down only) is the controller's downscale-stabilization flag, in whole seconds.
    pub window: Option<Duration>,
    pub select_policy: SelectPolicy,
    pub policies: Vec<RatePolicy>,
    /// `None` is the controller's tolerance flag.
    pub tolerance: Option<f64>,
}

/// `spec` of a HorizontalPodAutoscaler as written, as far as decisions depend on it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SpecAsWritten {
    pub min_replicas: Option<Replicas>,
    pub max_replicas: Replicas,
    /// `averageValue` of each external metric.
    pub average_values: Vec<String>,
    pub behavior: Option<BehaviorAsWritten>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct BehaviorAsWritten {
    pub scale_up: Option<RulesAsWritten>,
    pub scale_down: Option<RulesAsWritten>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RulesAsWritten {
    pub stabilization_window_seconds: Option<u32>,
    pub select_policy: Option<SelectPolicy>,
    pub policies: Option<Vec<RatePolicy>>,
    pub tolerance: Option<String>,
}

/// A quantity in the spec that the API server would not have taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("metrics[{metric}].external.target.averageValue: {source}")]
    AverageValue { metric: usize, source: QuantityError },
    #[error("behavior.{direction}.tolerance: {source}")]
    Tolerance { direction: &'static str, source: QuantityError },
}

impl SpecAsWritten {
    /// Fills in what the API server fills in, field by field; a behavior that is absent stays so.
    ///
    /// # Errors
    /// A quantity that cannot be read.
    pub fn resolve(&self) -> Result<HpaSpec, ResolveError> {
        let targets = self.average_values.iter().enumerate().map(|(metric, text)| {
            let quantity: Quantity = text.parse().map_err(|source| ResolveError::AverageValue { metric, source })?;
            Ok(MilliValue(quantity.wrapping_milli()))
        });
        Ok(HpaSpec {
            min: self.min_replicas.unwrap_or(1),
            max: self.max_replicas,
            targets: targets.collect::<Result<_, _>>()?,
            behavior: self.behavior.as_ref().map(BehaviorAsWritten::resolve).transpose()?,
        })
    }
}

impl BehaviorAsWritten {
    fn resolve(&self) -> Result<HpaBehavior, ResolveError> {
        let untouched = RulesAsWritten::default();
        let up = self.scale_up.as_ref().unwrap_or(&untouched);
        let down = self.scale_down.as_ref().unwrap_or(&untouched);
        let every_15s = |kind, value| RatePolicy { kind, value, period: Duration::from_secs(15) };
        let four_or_double = [every_15s(RateKind::Pods, 4), every_15s(RateKind::Percent, 100)];
        let all = [every_15s(RateKind::Percent, 100)];
        Ok(HpaBehavior {
            up: up.resolve("scaleUp", Some(Duration::ZERO), &four_or_double)?,
            down: down.resolve("scaleDown", None, &all)?,
        })
    }
}

impl RulesAsWritten {
    /// Given policies replace the default ones as a whole.
    fn resolve(
        &self,
        direction: &'static str,
        window: Option<Duration>,
        policies: &[RatePolicy],
    ) -> Result<HpaRules, ResolveError> {
        let tolerance = self.tolerance.as_deref().map(|text| {
            let quantity: Quantity = text.parse().map_err(|source| ResolveError::Tolerance { direction, source })?;
            Ok(quantity.to_f64())
        });
        Ok(HpaRules {
            window: self.stabilization_window_seconds.map(|seconds| Duration::from_secs(u64::from(seconds))).or(window),
            select_policy: self.select_policy.unwrap_or(SelectPolicy::Max),
            policies: self.policies.clone().unwrap_or_else(|| policies.to_vec()),
            tolerance: tolerance.transpose()?,
        })
    }
}
