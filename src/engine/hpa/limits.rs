//! How far one step of the HPA may go: rate limits and bounds, in the controller's own float and int32 arithmetic.
//!
//! The float artefacts are part of the contract: 10 % up from 100 allows 111, because 100 x 1.1 is a little more than
//! 110; 90 % down from 10 allows 0.

use crate::engine::hpa::memory::Memory;
use crate::engine::hpa::spec::{HpaBehavior, HpaRules, HpaSpec};
use crate::model::{Reason, Replicas, Tick};
use crate::spec::{RateKind, SelectPolicy};

/// A count and what held it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Limited {
    pub(super) replicas: Replicas,
    pub(super) reason: Reason,
}

/// `behavior` absent: four or double a sync, no history. The minimum is looked at first, and wins.
pub(super) fn without_behavior(spec: &HpaSpec, current: Replicas, stabilized: Replicas) -> Limited {
    let four_or_double = go_int32((2.0 * f64::from(current)).max(4.0));
    let (ceiling, reason) = if spec.max > four_or_double {
        (four_or_double, Reason::ScaleUpLimit)
    } else {
        (spec.max, Reason::TooManyReplicas)
    };
    if stabilized < spec.min {
        Limited { replicas: spec.min, reason: Reason::TooFewReplicas }
    } else if stabilized > ceiling {
        Limited { replicas: ceiling, reason }
    } else {
        Limited { replicas: stabilized, reason: Reason::DesiredWithinRange }
    }
}

/// `behavior` present: on the way up the rate limit and the maximum, on the way down the rate limit and the minimum,
/// never the other bound (a current count outside the bounds has been dealt with before).
pub(super) fn with_behavior(
    spec: &HpaSpec,
    behavior: &HpaBehavior,
    memory: &Memory,
    now: Tick,
    current: Replicas,
    stabilized: Replicas,
) -> Limited {
    if stabilized > current {
        let limit = up_limit(&behavior.up, memory, now, current).max(current);
        let (ceiling, reason) =
            if spec.max > limit { (limit, Reason::ScaleUpLimit) } else { (spec.max, Reason::TooManyReplicas) };
        if stabilized > ceiling {
            return Limited { replicas: ceiling, reason };
        }
    } else if stabilized < current {
        let limit = down_limit(&behavior.down, memory, now, current).min(current);
        let (floor, reason) =
            if spec.min < limit { (limit, Reason::ScaleDownLimit) } else { (spec.min, Reason::TooFewReplicas) };
        if stabilized < floor {
            return Limited { replicas: floor, reason };
        }
    }
    Limited { replicas: stabilized, reason: Reason::DesiredWithinRange }
}

/// The highest count that the scale-up rules allow now.
fn up_limit(rules: &HpaRules, memory: &Memory, now: Tick, current: Replicas) -> Replicas {
    let limits = rules.policies.iter().map(|policy| {
        let start = memory.start_of_period(now, policy.period, current);
        match policy.kind {
            RateKind::Pods => start.wrapping_add(policy.value),
            RateKind::Percent => go_int32((f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil()),
        }
    });
    match rules.select_policy {
        SelectPolicy::Max => limits.max(),
        SelectPolicy::Min => limits.min(),
        SelectPolicy::Disabled => None,
    }
    .unwrap_or(current)
}

/// The lowest count that the scale-down rules allow now. `Max` means the largest change, so the lowest limit.
fn down_limit(rules: &HpaRules, memory: &Memory, now: Tick, current: Replicas) -> Replicas {
    let limits = rules.policies.iter().map(|policy| {
        let start = memory.start_of_period(now, policy.period, current);
        match policy.kind {
            RateKind::Pods => start.wrapping_sub(policy.value),
            // No rounding up here: the conversion itself cuts the fraction off.
            RateKind::Percent => go_int32(f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)),
        }
    });
    match rules.select_policy {
        SelectPolicy::Max => limits.min(),
        SelectPolicy::Min => limits.max(),
        SelectPolicy::Disabled => None,
    }
    .unwrap_or(current)
}

/// Go's `int32(x)` on amd64: cuts the fraction off, and gives the lowest int32 for everything that does not fit, NaN
/// and infinities included. (Go leaves this open; arm64 saturates, and so does every platform from Kubernetes 1.38.)
#[expect(clippy::cast_possible_truncation, reason = "cutting the fraction off is what is wanted; the range is checked")]
fn go_int32(x: f64) -> i32 {
    let whole = x.trunc();
    if whole >= f64::from(i32::MIN) && whole <= f64::from(i32::MAX) { whole as i32 } else { i32::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversion_to_int32_is_that_of_amd64() {
        let cases = [
            (0.999_999_999, 0),
            (-0.5, 0),
            (2_147_483_647.9, i32::MAX),
            (2_147_483_648.0, i32::MIN),
            (-2_147_483_648.5, i32::MIN),
            (f64::INFINITY, i32::MIN),
            (f64::NAN, i32::MIN),
        ];
        for (x, wanted) in cases {
            assert_eq!(go_int32(x), wanted, "{x}");
        }
    }
}
