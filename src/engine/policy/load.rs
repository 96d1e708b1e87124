//! `load`: slots for the work in flight, and for the backlog to be worked off in time.
//!
//! `ceil(F / (c u) + Q s / (c T))`: F jobs in flight, Q waiting, c slots a replica of which the part u is to be busy, s
//! how long a job takes, T how soon the backlog is to be gone. Both terms are seen and not estimated, so there is no rate
//! to get wrong and no limit cycle: at saturation F is what the replicas hold, and the backlog adds what is missing.
//! Never fewer slots than F. What was begun of a burst counts again while it runs, so that a burst gets more replicas than
//! the drain term alone asks for, and is over sooner than T; whoever minds limits the rate upwards.
//!
//! The rule as published takes a moving average of F. Here it is F as it was seen, and smoothing downwards is the
//! scale-down window's, which every policy has: the highest wish of a window is on the safe side of an average, and needs
//! no memory of its own.

use super::{Tolerance, rounded_up};
use crate::model::{Reason, Replicas};
use crate::spec::Load;

pub(super) fn want(
    load: &Load,
    backlog: f64,
    in_flight: f64,
    current: Replicas,
    tolerance: Tolerance,
) -> (Replicas, Reason) {
    let slots = load.slots_per_replica.as_f64();
    let busy = in_flight / (slots * load.utilization.as_f64());
    let drain = backlog * load.job_duration.as_secs_f64() / (slots * load.drain_within.as_secs_f64());
    // What is in flight keeps its slots, whatever rounding says.
    let least = rounded_up(in_flight / slots);
    if tolerance.up > 0.0 || tolerance.down > 0.0 {
        // At zero replicas the ratio is infinite or not a number, and neither is within anything.
        let ratio = (busy + drain) / f64::from(current);
        if 1.0 - tolerance.down <= ratio && ratio <= 1.0 + tolerance.up && current >= least {
            return (current, Reason::WithinTolerance);
        }
    }
    let replicas = rounded_up(busy + drain).max(least);
    let reason = super::super::direction(replicas, current);
    (replicas, if replicas == least && replicas < current { Reason::WorkInFlight } else { reason })
}
