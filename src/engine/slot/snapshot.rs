//! One autoscaler's state exactly, so that an engine elsewhere goes on from it and decides the same, byte for byte.
//!
//! A [`crate::engine::Memory`] is what is worth knowing in another process, in ages, and never below what it was made of;
//! a snapshot is for replaying, keeps the moments as they are, and forgets nothing. What follows from the spec is not in
//! it, so that it goes with the spec that was in force.

use std::sync::Arc;

use super::Slot;
use super::zero::Zero;
use crate::engine::Role;
use crate::engine::activation::Wakefulness;
use crate::engine::bytes::{Reader, Writer};
use crate::engine::observe::Rule;
use crate::model::Tick;
use crate::spec::AutoscalerSpec;

impl Slot {
    /// Every field is named, so that a new one is either written or said to follow from the spec.
    pub(in crate::engine) fn save(&self, out: &mut Writer) {
        let Slot {
            bounds: _,
            tolerance: _,
            pace,
            cooldown: _,
            fallback: _,
            pause: _,
            force_activation: _,
            role,
            rules,
            asking_since,
            current,
            requested,
            withdraws,
            inherits,
            counted,
            zero,
            sampled,
            failed,
            blind,
            unheard,
            settles,
            wakefulness: Wakefulness { last_active, active, hold_until },
            governor,
            decision,
            spec: _,
        } = self;
        out.role(*role);
        out.optional(*pace, Writer::whole_duration);
        for rule in rules {
            let Rule { policy: _, activation_threshold: _, share: _, max_sample_age: _, partitioning: _, .. } = rule;
            let Rule { since, failing_since, usual, rebalancing_since, .. } = rule;
            out.tick(*since);
            out.optional(*failing_since, Writer::tick);
            out.measure(*usual);
            out.optional(*rebalancing_since, Writer::tick);
        }
        out.tick(*asking_since);
        out.optional(*current, Writer::signed);
        out.optional(*requested, Writer::signed);
        out.optional(counted.map(|(from, _)| from), Writer::signed);
        out.optional(counted.map(|(_, to)| to), Writer::signed);
        out.flags([*withdraws, *inherits, *sampled, *failed, *blind, *unheard, *active]);
        zero.save(out);
        out.tick(*settles);
        out.optional(*last_active, Writer::tick);
        out.tick(*hold_until);
        governor.save(out);
        out.decision(decision);
    }

    /// What was saved under `spec`. `None`: bytes that are no snapshot, or one under another spec.
    pub(in crate::engine) fn load(spec: &Arc<AutoscalerSpec>, input: &mut Reader<'_>) -> Option<Self> {
        let role: Role = input.role()?;
        let mut slot = Slot::new(Tick::ZERO, Arc::clone(spec), role);
        let pace = input.optional(Reader::whole_duration)?;
        slot.paced(pace);
        for rule in &mut slot.rules {
            rule.since = input.tick()?;
            rule.failing_since = input.optional(Reader::tick)?;
            rule.usual = input.measure()?;
            rule.rebalancing_since = input.optional(Reader::tick)?;
        }
        slot.asking_since = input.tick()?;
        slot.current = input.optional(Reader::signed)?;
        slot.requested = input.optional(Reader::signed)?;
        slot.counted = input.optional(Reader::signed)?.zip(input.optional(Reader::signed)?);
        let active;
        [slot.withdraws, slot.inherits, slot.sampled, slot.failed, slot.blind, slot.unheard, active] = input.flags()?;
        slot.zero = Zero::load(input)?;
        slot.settles = input.tick()?;
        let last_active = input.optional(Reader::tick)?;
        slot.wakefulness = Wakefulness { last_active, active, hold_until: input.tick()? };
        slot.governor.load(input)?;
        let decision = input.decision()?;
        if decision.triggers.len() != slot.rules.len() {
            return None;
        }
        slot.decision = decision;
        Some(slot)
    }
}
