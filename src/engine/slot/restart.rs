//! What an autoscaler's state writes down for another process, and how it takes over what one wrote.

use std::time::Duration;

use super::Slot;
use super::zero::Zero;
use crate::engine::Role;
use crate::engine::behavior::Governor;
use crate::engine::envelope::Envelope;
use crate::engine::memory::Memory;
use crate::model::Tick;
use crate::spec::Behavior;

impl Slot {
    pub(in crate::engine) fn memory(&self, now: Tick) -> Memory {
        Memory {
            governor: self.governor.memory(now),
            active: self.wakefulness.active,
            last_active: self.wakefulness.last_active.map(|last| now.since(last)),
            hold_for: self.wakefulness.hold_until.since(now),
            zero_is_ours: self.zero.ours,
            stopped: self.zero.stopped,
            blind: self.blind,
            current: self.current,
            values: self
                .decision
                .triggers
                .iter()
                .zip(&self.rules)
                .map(|(t, rule)| Some((now.since(t.taken?), t.value.map(|_| t.facts)?, rule.usual)))
                .collect(),
        }
    }

    /// For a checkpoint. `None` before the workload was seen: there is nothing yet that a restart could lower.
    pub(in crate::engine) fn envelope(&self, now: Tick) -> Option<Envelope> {
        Some(Envelope {
            wishes: self.governor.wishes(now),
            hold_until: self.wakefulness.hold_until,
            zero_is_ours: self.zero.ours,
            stopped: self.zero.stopped,
            current: self.current?,
        })
    }

    pub(in crate::engine) fn restore(&mut self, now: Tick, memory: &Memory, elapsed: Duration, complete: bool) {
        let then = memory.aged(elapsed);
        self.governor = Governor::new(&self.spec.behavior);
        self.governor.restore(now, &then.governor);
        let before = then.current.filter(|_| !complete);
        let zero = Zero::remembered(then.zero_is_ours, then.stopped, before);
        self.zero.restore(zero, self.current, self.rests_at_zero());
        self.zero.stopped &= self.role != Role::Advises;
        if complete {
            // What was seen here is newer.
            self.current = self.current.or(then.current);
        }
        self.blind = then.blind || !complete;
        self.wakefulness.active = then.active;
        self.wakefulness.hold_until = now.after(then.hold_for);
        self.wakefulness.last_active = then.last_active.map(|age| now.before(age));
        if complete {
            let here = self.decision.triggers.iter_mut().zip(&mut self.rules);
            for ((report, rule), seen) in here.zip(&then.values) {
                if let (None, Some((age, seen, usual))) = (report.taken, seen) {
                    rule.usual = *usual;
                    report.value = Some(seen.backlog);
                    report.facts = *seen;
                    report.taken = Some(now.before(*age));
                    rule.rebalancing_since = seen.rebalancing.then_some(now);
                }
            }
        } else {
            // It may have been active until a moment ago, and it may have scaled in ways that nobody wrote down. Old
            // values stay unknown: whatever was read since may have been more.
            self.wakefulness.active = true;
            self.wakefulness.last_active = Some(now);
            self.unheard = true;
            self.settles = now.after(match &self.spec.behavior {
                Behavior::Rules { down, .. } => down.stabilization_window,
                Behavior::HpaWithoutBehavior { downscale_stabilization } => *downscale_stabilization,
            });
            self.governor.forget_changes(now);
            if let Some(current) = self.current {
                self.governor.hold_down(now, current);
            }
        }
    }
}
