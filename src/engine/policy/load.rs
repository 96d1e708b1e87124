//! `load`: slots for the work in flight, and for the backlog to be worked off in time.
//!
//! `ceil(F / (c u) + Q s / (c T))`: F jobs in flight, Q waiting, c slots a replica of which the part u is to be busy, s
//! how long a job takes, T how soon the backlog is to be gone. Both terms are seen and not estimated, so there is no rate
//! to get wrong and no limit cycle: at saturation F is what the replicas hold, and the backlog adds what is missing.
//! Never fewer slots than F.
//!
//! F in the first term follows what is in flight upwards with T for its time constant, as a moving average does. Without
//! that, every job of a burst that was begun would be counted twice (it runs, and the drain term had its share of slots for
//! it already), and many readings a second would carry replicas far beyond what draining within T takes; with it, they stay
//! at what the drain term asked for first. Downwards it follows at once: being slow there is the scale-down window's, as
//! with every policy. So it is never above what is in flight, and whoever starts anew, with what is in flight then, never
//! asks for less than who has followed all along.

use std::time::Duration;

use super::{Tolerance, rounded_up};
use crate::model::{Reason, Replicas};
use crate::spec::Load;

/// `usual` up to now, and `in_flight` seen `since` then.
pub(super) fn follow(load: &Load, usual: f64, in_flight: f64, since: Duration) -> f64 {
    let (since, constant) = (since.as_secs_f64(), load.drain_within.as_secs_f64());
    if in_flight <= usual { in_flight } else { usual + (in_flight - usual) * since / (since + constant) }
}

pub(super) fn want(
    load: &Load,
    backlog: f64,
    in_flight: f64,
    usual: f64,
    current: Replicas,
    tolerance: Tolerance,
) -> (Replicas, Reason) {
    let slots = load.slots_per_replica.as_f64();
    let busy = usual / (slots * load.utilization.as_f64());
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
