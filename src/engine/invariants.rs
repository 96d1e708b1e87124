//! What must be true of every decision, as plain functions: asserted in debug builds, by the property tests over
//! random inputs, and by the simulator after every step.

use super::policy;
use crate::model::{Decision, Reason};
use crate::spec::{Bounds, Pause, Policy};

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

/// Checks what a decision and the policies of its triggers tell together: whoever goes by the work in flight is never
/// scaled down below it.
///
/// # Errors
/// The first invariant that does not hold, in words.
pub fn check_load(
    decision: &Decision,
    policies: impl IntoIterator<Item = Policy>,
    bounds: Bounds,
    pause: Pause,
) -> Result<(), &'static str> {
    let stopped = decision.steps.iter().any(|step| step.reason == Reason::ManuallyStopped);
    if pause != Pause::default() || stopped {
        return Ok(());
    }
    for (policy, report) in policies.into_iter().zip(&decision.triggers) {
        // Nothing to go by, or a fallback that the manifest chose over the last value.
        let Some(wants) = report.wants.filter(|_| report.reason != Reason::Fallback) else { continue };
        let Some(least) = policy::least(&policy, &report.facts) else { continue };
        // A paused queue wants no more than there are.
        if wants < least.min(decision.current) {
            return Err("load never asks for fewer slots than what is in flight");
        }
        if decision.desired < least.min(decision.current).min(bounds.max) {
            return Err("load never scales down below what is in flight");
        }
    }
    Ok(())
}
