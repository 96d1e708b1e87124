//! From what is wanted to what is desired: activation, stabilization, rate limits, bounds, and what is not known.

use super::{Slot, observed};
use crate::engine::activation::Heard;
use crate::engine::behavior::Verdict;
use crate::engine::observe::Chorus;
use crate::engine::trail::Trail;
use crate::model::{Reason, Replicas, Stage, Tick};

impl Slot {
    /// Want, activation, stabilization, rate limit, bounds.
    pub(super) fn decide(
        &mut self,
        now: Tick,
        current: Replicas,
        active: bool,
        chorus: &Chorus,
        steps: &mut Trail,
        until: &mut Tick,
    ) -> Replicas {
        // Nothing to go by at all: hold.
        let wants = chorus.wants.map_or(current, |(wants, _)| wants);
        // A value that nobody knows counts as "as many as there are", and until the moment it is known again: scaling
        // down takes a whole window of evidence.
        let blind = chorus.blind && chorus.blocked;
        let wants = if blind { wants.max(current) } else { wants };
        if std::mem::replace(&mut self.blind, blind) && !blind {
            self.governor.hold_down(now, current);
        }
        if self.unheard && !blind {
            // Another process may have seen it active until this very sample.
            self.unheard = false;
            self.stay_awake(now);
        }
        let because = match chorus.wants {
            Some((highest, winner)) if highest == wants => {
                self.decision.triggers.get(usize::from(winner)).map_or(Reason::Unchanged, |report| report.reason)
            }
            _ => observed(chorus),
        };
        steps.to(Stage::Want, wants, because);

        let heard = if active {
            Heard::Active
        } else if chorus.blocked {
            Heard::Nothing
        } else {
            Heard::Inactive
        };
        let call = self.wakefulness.call(now, heard, wants, current, self.bounds, self.cooldown);
        steps.to(Stage::Activation, call.raw, call.reason);
        *until = (*until).min(call.until);

        let max = self.bounds.max;
        let verdict = if call.waking {
            // From zero (or idle) to the wish in one step, as far as windows and limits allow, and in any case awake.
            let verdict = self.governor.step(now, call.raw, current, call.floor, max);
            Verdict { desired: verdict.desired.max(call.floor), ..verdict }
        } else {
            self.governor.judge(now, call.raw, current, call.floor, max)
        };
        // Out of bounds the HPA remembers nothing; with many samples a second that would forget what the next step
        // rests on.
        let (sampled, failed) = (std::mem::take(&mut self.sampled), std::mem::take(&mut self.failed));
        if sampled && !blind {
            self.governor.remember(now, call.raw);
        } else if sampled || (failed && !blind) {
            // What is not known speaks against going down, and not against going up. A read that failed leaves the
            // last value in force: an outage that ends before that is too old is no evidence that the work is gone.
            self.governor.hold_down(now, call.raw);
        }
        if verdict.limited_because == Reason::OutOfBounds {
            steps.to(Stage::Bounds, verdict.desired, Reason::OutOfBounds);
            return verdict.desired;
        }
        steps.to(Stage::Stabilization, verdict.stabilized, verdict.stabilized_because);
        let mut desired = verdict.desired;
        match verdict.limited_because {
            _ if call.waking && desired == call.floor && verdict.stabilized < desired => {
                steps.to(Stage::RateLimit, desired, Reason::Waking);
            }
            limit @ (Reason::ScaleUpLimit | Reason::ScaleDownLimit | Reason::MemoryLost) => {
                steps.to(Stage::RateLimit, desired, limit);
            }
            // Below one but not below `minReplicas`: it is the cooldown that keeps the last one.
            Reason::TooFewReplicas if self.bounds.min < call.floor => steps.to(Stage::Bounds, desired, call.reason),
            limit => steps.to(Stage::Bounds, desired, limit),
        }
        if chorus.blocked && desired < current {
            desired = current;
            steps.to(Stage::Bounds, desired, observed(chorus));
        } else if chorus.rebalancing && desired != current && current > 0 {
            // Another worker, or one fewer, has them all begin again.
            desired = current;
            steps.to(Stage::Bounds, desired, Reason::Rebalancing);
        } else if now < self.settles && desired < current {
            desired = current;
            steps.to(Stage::Bounds, desired, Reason::MemoryLost);
            *until = (*until).min(self.settles);
        }
        if desired != call.raw || call.raw != wants {
            *until = (*until).min(self.governor.next_change(now));
        }
        desired
    }
}
