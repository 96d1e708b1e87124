//! A decision in eight bytes, to tell whether another one is the same in every field.
//!
//! Sixty-four bits, mixed a word at a time: the engine's thread makes one after each evaluation, and a hash of bytes would
//! cost it more than the evaluation does. Not against people who mean ill; whoever may write a recording may write another.

use crate::engine::words::measures;
use crate::model::{Decision, Observation, ReadFailure, Tick, TriggerReport};

/// Of all fields of a decision, those of its triggers included.
#[must_use]
pub fn of(decision: &Decision) -> u64 {
    let Decision { at, round, current, current_known, desired, active, degraded, fallback, .. } = decision;
    let Decision { paused, winner, reason, steps, triggers, .. } = decision;
    let mut mix = Mix(0x51_7c_c1_b7_27_22_0a_95);
    mix.tick(Some(*at));
    mix.maybe(round.map(|round| round.0));
    mix.pair(*current, *desired);
    let flags = [*current_known, *active, *degraded, *fallback, *paused];
    mix.word(flags.iter().fold(0, |bits, flag| bits << 1 | u64::from(*flag)) << 8 | *reason as u64);
    mix.maybe(winner.map(u64::from));
    mix.pair(steps.start(), 0);
    for step in steps.iter() {
        mix.pair(step.after, (step.stage as i32) << 8 | step.reason as i32);
    }
    mix.word(triggers.len() as u64);
    for trigger in triggers {
        mix.trigger(trigger);
    }
    mix.0
}

struct Mix(u64);

impl Mix {
    /// One to one for each word, so that two decisions that differ in one word only never share a fingerprint.
    fn word(&mut self, word: u64) {
        let mixed = (self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = (mixed ^ (mixed >> 32)).rotate_left(17);
    }

    fn pair(&mut self, one: i32, other: i32) {
        self.word(u64::from(one.cast_unsigned()) << 32 | u64::from(other.cast_unsigned()));
    }

    fn maybe(&mut self, word: Option<u64>) {
        self.word(u64::from(word.is_some()));
        self.word(word.unwrap_or_default());
    }

    fn tick(&mut self, tick: Option<Tick>) {
        self.maybe(tick.map(Tick::as_nanos));
    }

    fn text(&mut self, text: &str) {
        self.word(text.len() as u64);
        for chunk in text.as_bytes().chunks(8) {
            self.word(chunk.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)));
        }
    }

    fn trigger(&mut self, report: &TriggerReport) {
        let TriggerReport { health, value, taken, facts, round, active, wants, reason, failure } = report;
        self.word((*health as u64) << 16 | (*reason as u64) << 8 | u64::from(*active));
        self.maybe(value.map(f64::to_bits));
        self.tick(*taken);
        self.observation(facts);
        self.maybe(round.map(|round| round.0));
        self.maybe(wants.map(|wants| u64::from(wants.cast_unsigned())));
        self.word(u64::from(failure.is_some()));
        if let Some(ReadFailure { kind, message }) = failure {
            self.word(*kind as u64);
            self.text(message);
        }
    }

    fn observation(&mut self, seen: &Observation) {
        let known = measures(seen);
        let bits = known.iter().fold(0, |bits, measure| bits << 1 | u64::from(measure.get().is_some()));
        self.word(bits << 2 | u64::from(seen.rebalancing) << 1 | u64::from(seen.paused));
        self.word(seen.backlog.to_bits());
        for measure in known.iter().filter_map(|measure| measure.get()) {
            self.word(measure.to_bits());
        }
    }
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may break")]
mod tests {
    use super::*;
    use crate::model::{FailureKind, Health, Measure, Reason, Replicas, Round, Stage, Steps};

    fn decision() -> Decision {
        let mut steps = Steps::starting_at(3);
        steps.push(Stage::Want, 5, Reason::AboveTarget);
        let trigger = TriggerReport { value: Some(1.0), taken: Some(Tick::from_millis(1)), ..TriggerReport::pending() };
        Decision {
            at: Tick::from_millis(7),
            round: Some(Round(1)),
            current: 3,
            current_known: true,
            desired: 5,
            active: true,
            degraded: false,
            fallback: false,
            paused: false,
            winner: Some(0),
            reason: Reason::AboveTarget,
            steps,
            triggers: vec![trigger],
        }
    }

    /// One change of each field.
    fn changes() -> Vec<fn(&mut Decision)> {
        fn first(decision: &mut Decision) -> &mut TriggerReport {
            &mut decision.triggers[0]
        }
        vec![
            |d| d.at = Tick::from_millis(8),
            |d| d.round = None,
            |d| d.round = Some(Round(0)),
            |d| d.current = -3,
            |d| d.current_known = false,
            |d| d.desired = Replicas::MAX,
            |d| d.active = false,
            |d| d.degraded = true,
            |d| d.fallback = true,
            |d| d.paused = true,
            |d| d.winner = None,
            |d| d.winner = Some(1),
            |d| d.reason = Reason::Fresh,
            |d| d.steps = Steps::starting_at(3),
            |d| d.steps.push(Stage::Bounds, 5, Reason::DesiredWithinRange),
            |d| d.triggers.clear(),
            |d| d.triggers.push(TriggerReport::pending()),
            |d| first(d).health = Health::Fresh,
            |d| first(d).value = None,
            |d| first(d).taken = None,
            |d| first(d).facts.backlog = -0.0,
            |d| first(d).facts.paused = true,
            |d| first(d).facts.rebalancing = true,
            |d| first(d).facts.due = Measure::new(0.0),
            |d| first(d).facts.unowned = Measure::new(0.0),
            |d| first(d).round = Some(Round(1)),
            |d| first(d).active = true,
            |d| first(d).wants = Some(0),
            |d| first(d).reason = Reason::Fixed,
            |d| first(d).failure = Some(ReadFailure::new(FailureKind::Timeout, "")),
            |d| first(d).failure = Some(ReadFailure::new(FailureKind::Timeout, "x")),
            |d| first(d).failure = Some(ReadFailure::new(FailureKind::Unreachable, "x")),
        ]
    }

    #[test]
    fn every_field_shows() {
        let mut seen = vec![of(&decision())];
        for change in changes() {
            let mut changed = decision();
            change(&mut changed);
            seen.push(of(&changed));
        }
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count, "two of them are the same");
        assert_eq!(of(&decision()), of(&decision()));
    }
}
