//! What must be true of every decision, as plain functions: asserted in debug builds, by the property tests over
//! random inputs, and by the simulator after every step.

use crate::model::{Decision, Reason};
use crate::spec::{Bounds, Pause};

/// Checks what one decision alone can tell.
///
/// # Errors
/// The first invariant that does not hold, in words.
pub fn check(decision: &Decision, bounds: Bounds, pause: Pause) -> Result<(), &'static str> {
    let Decision { desired, current, .. } = *decision;
    if desired < 0 {
        return Err("replicas are never negative");
    }
    if pause != Pause::default() {
        return Ok(());
    }
    if desired > bounds.max {
        return Err("never above max");
    }
    let stopped = decision.steps.iter().any(|step| step.reason == Reason::ManuallyStopped);
    if desired < bounds.idle.unwrap_or(bounds.min) && !stopped && decision.current_known {
        return Err("never below min (or idle)");
    }
    if decision.degraded && desired < current && current <= bounds.max {
        return Err("a stale or failed source never scales down");
    }
    if decision.active && desired == 0 && !stopped && !decision.degraded && decision.current_known {
        return Err("what is active is never at zero");
    }
    Ok(())
}
