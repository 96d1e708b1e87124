//! `backlogPerReplica`: the HPA's AverageValue rule.
//!
//! `ceil(backlog / target)`, in thousandths as the HPA counts, unless the ratio of backlog to what the present
//! replicas should have is within the tolerance: then the present count stays (Kubernetes v1.36 `podautoscaler`).

use super::Tolerance;
use crate::model::{Reason, Replicas};
use crate::spec::MilliValue;

pub(super) fn want(target: MilliValue, backlog: f64, current: Replicas, tolerance: Tolerance) -> (Replicas, Reason) {
    let usage = (backlog * 1000.0).ceil();
    let target = target.0 as f64;
    if tolerance.up > 0.0 || tolerance.down > 0.0 {
        // At zero replicas the ratio is infinite or not a number, and neither is within anything.
        let ratio = usage / (target * f64::from(current));
        if 1.0 - tolerance.down <= ratio && ratio <= 1.0 + tolerance.up {
            return (current, Reason::WithinTolerance);
        }
    }
    #[expect(clippy::cast_possible_truncation, reason = "`as` saturates at the largest count, as the HPA caps")]
    let replicas = (usage / target).ceil() as Replicas;
    (replicas, super::super::direction(replicas, current))
}
