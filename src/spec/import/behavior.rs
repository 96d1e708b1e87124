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
    let limited =
        written.as_ref().and_then(|behavior| behavior.scale_up.as_ref()).is_some_and(|up| up.policies.is_some());
    if !limited {
        notes.push(work.note(
            object,
            "upwards there is no limit here, and no dead band: the HPA's own ramp (4 pods or 100 % every 15 s) and its \
             10 % are left out; --hpa-ramp writes them out",
        ));
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
