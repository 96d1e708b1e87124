//! The HPA's `behavior`: the block is the same, what is left out of it is not.

use super::{Object, Work};
use crate::spec::manifest::{Behavior, QuantityText, RateKind, RatePolicy, ScalingRules};

/// What an HPA does by itself, each within 15 s. Kubernetes' own defaults (autoscaling/v2).
const UP: [(RateKind, i32); 2] = [(RateKind::Pods, 4), (RateKind::Percent, 100)];
const DOWN: [(RateKind, i32); 1] = [(RateKind::Percent, 100)];
/// Its dead band.
const TOLERANCE: &str = "0.1";

/// The block at `pointer`, or what an HPA does without one, if that is wanted.
pub(super) fn import(work: &mut Work, object: &Object, pointer: &str, notes: &mut Vec<String>) -> Option<Behavior> {
    let written = object.get(pointer).and_then(|block| match serde_json::from_value::<Behavior>(block.clone()) {
        Ok(behavior) => Some(behavior),
        Err(error) => {
            notes.push(work.note(object, format!("behavior cannot be read and is left out: {error}")));
            None
        }
    });
    if work.options.hpa_ramp {
        let mut behavior = written.unwrap_or_default();
        fill(behavior.scale_up.get_or_insert_default(), &UP);
        fill(behavior.scale_down.get_or_insert_default(), &DOWN);
        let message = "the ramp and the 10 % dead band that the HPA has by itself are written out";
        notes.push(work.note(object, message));
        return Some(behavior);
    }
    let up = written.as_ref().and_then(|behavior| behavior.scale_up.as_ref());
    let down = written.as_ref().and_then(|behavior| behavior.scale_down.as_ref());
    let [no_band_up, no_band_down] = [up, down].map(|rules| rules.is_none_or(|rules| rules.tolerance.is_none()));
    let mut left_out = Vec::new();
    if up.is_none_or(|up| up.policies.is_none()) {
        left_out.push("its ramp upwards (4 pods or 100 % every 15 s)");
    }
    match (no_band_up, no_band_down) {
        (true, true) => left_out.push("its dead band of 10 %"),
        (true, false) => left_out.push("its dead band of 10 % upwards"),
        (false, true) => left_out.push("its dead band of 10 % downwards"),
        (false, false) => {}
    }
    if !left_out.is_empty() {
        let message =
            format!("what an HPA does by itself is left out: {}; --hpa-ramp writes it out", left_out.join(" and "));
        notes.push(work.note(object, message));
    }
    written
}

fn fill(rules: &mut ScalingRules, policies: &[(RateKind, i32)]) {
    let rate = |(kind, value): &(RateKind, i32)| RatePolicy {
        kind: Some(*kind),
        value: Some(*value),
        period_seconds: Some(15),
    };
    rules.policies.get_or_insert_with(|| policies.iter().map(rate).collect());
    rules.tolerance.get_or_insert_with(|| QuantityText(TOLERANCE.to_owned()));
}
