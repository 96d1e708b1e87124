//! Zero or not: who may sleep, how deep, and what waking grants.
//!
//! KEDA drops from N to 0 past every policy once `cooldownPeriod` has passed. Here the wish of an inactive workload
//! goes through the same windows and rate limits as any other, and the cooldown is a floor underneath: the last step
//! to zero (or to `idleReplicaCount`) waits for both, and they run at the same time.

use std::time::Duration;

use crate::model::{Reason, Replicas, Tick};
use crate::spec::Bounds;

/// When something was last active, and so how long nobody may sleep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wakefulness {
    pub(super) last_active: Option<Tick>,
    /// It was active at the last evaluation, and so until this one: the cooldown runs from when it was seen to end,
    /// whenever somebody happened to look in between.
    pub(super) active: bool,
    /// No sleep before this, whatever the cooldown says: the initial cooldown of what was never active.
    pub(super) hold_until: Tick,
}

/// What the triggers say together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    Active,
    Inactive,
    /// Nothing is active as far as is known, but not everything is known: nobody falls asleep on that.
    Nothing,
}

/// What activation makes of the wish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Call {
    pub(super) raw: Replicas,
    /// The lowest count allowed now.
    pub(super) floor: Replicas,
    /// Asleep until now, and something is active.
    pub(super) waking: bool,
    pub(super) reason: Reason,
    /// When the cooldown ends, if that is what holds.
    pub(super) until: Tick,
}

impl Wakefulness {
    pub(super) fn new(now: Tick, initial_cooldown: Duration) -> Self {
        Wakefulness { last_active: None, active: false, hold_until: now.after(initial_cooldown) }
    }

    pub(super) fn call(
        &mut self,
        now: Tick,
        heard: Heard,
        wants: Replicas,
        current: Replicas,
        bounds: Bounds,
        cooldown: Duration,
    ) -> Call {
        let asleep = bounds.idle.unwrap_or(0);
        let awake = bounds.min.max(1);
        let sleeps_at_zero = bounds.min == 0 || bounds.idle.is_some();
        let was_active = std::mem::replace(&mut self.active, heard == Heard::Active);
        if was_active || heard == Heard::Active {
            self.last_active = Some(now);
        }
        if heard == Heard::Active {
            self.hold_until = Tick::ZERO;
            let waking = current <= asleep && current < awake;
            let raw = wants.max(if sleeps_at_zero { 1 } else { 0 });
            return Call { raw, floor: awake, waking, reason: Reason::Active, until: Tick::NEVER };
        }
        if !sleeps_at_zero {
            // Activation is about zero and idle only: with replicas at any time it changes nothing.
            let call = Call { raw: wants, floor: awake, waking: false, reason: Reason::Unchanged, until: Tick::NEVER };
            return Call { waking: current == 0, ..call };
        }
        if current <= asleep {
            return Call { raw: asleep, floor: asleep, waking: false, reason: Reason::Idle, until: Tick::NEVER };
        }
        if heard == Heard::Nothing {
            let reason = Reason::SourceFailing;
            return Call { raw: wants, floor: awake, waking: false, reason, until: Tick::NEVER };
        }
        let cooled = self.last_active.map_or(Tick::ZERO, |last| last.after(cooldown)).max(self.hold_until);
        if now < cooled {
            let reason = if self.last_active.is_some() { Reason::Cooldown } else { Reason::InitialCooldown };
            return Call { raw: wants, floor: awake, waking: false, reason, until: cooled };
        }
        Call { raw: asleep, floor: asleep, waking: false, reason: Reason::Idle, until: Tick::NEVER }
    }
}
