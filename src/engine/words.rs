//! The words of the house as bytes: decisions, observations, failures, roles, exactly as they are.
//!
//! Closed sets are written as positions in their list. Whoever changes the order of one raises the version of what is
//! written with it: `record/frame.rs` has a test that notices.

use super::Role;
use super::bytes::{Reader, Writer};
use crate::model::{
    Decision, FailureKind, Health, Measure, Observation, ReadFailure, Reason, Round, SetBy, Stage, Steps, TriggerReport,
};

const ROLES: [Role; 3] = [Role::Controls, Role::Advises, Role::Follows];
const SETTERS: [SetBy; 3] = [SetBy::Unknown, SetBy::Tidegate, SetBy::Other];

impl Writer {
    fn one_of<T: PartialEq>(&mut self, all: &[T], word: &T) {
        let at = all.iter().position(|known| known == word).and_then(|at| u8::try_from(at).ok());
        self.byte(at.unwrap_or(u8::MAX));
    }

    pub fn role(&mut self, role: Role) {
        self.one_of(&ROLES, &role);
    }

    pub fn set_by(&mut self, by: SetBy) {
        self.one_of(&SETTERS, &by);
    }

    pub fn reason(&mut self, reason: Reason) {
        // In the order of their declaration.
        self.byte(reason as u8);
    }

    pub fn failure_kind(&mut self, kind: FailureKind) {
        self.one_of(&FailureKind::ALL, &kind);
    }

    fn failure(&mut self, failure: &ReadFailure) {
        self.failure_kind(failure.kind);
        self.bytes(failure.message.as_bytes());
    }

    /// Which measures are known, then those: most samples know only a backlog.
    pub fn observation(&mut self, seen: &Observation) {
        let Observation { backlog, rebalancing, paused, .. } = *seen;
        let measures = measures(seen);
        let known = measures.iter().rev().fold(0, |bits, measure| bits << 1 | u64::from(measure.get().is_some()));
        self.number(known << 2 | u64::from(rebalancing) << 1 | u64::from(paused));
        self.count(backlog);
        for measure in measures.iter().filter_map(|measure| measure.get()) {
            self.count(measure);
        }
    }

    /// A float that mostly is a whole number, and a small one.
    pub fn count(&mut self, value: f64) {
        match whole(value) {
            Some(number) => self.number(number << 1),
            None => {
                self.number(1);
                self.float(value);
            }
        }
    }

    pub fn steps(&mut self, steps: &Steps) {
        self.signed(steps.start());
        self.number(steps.iter().count() as u64);
        for step in steps.iter() {
            self.byte(step.stage as u8);
            self.signed(step.after);
            self.reason(step.reason);
        }
    }

    pub fn decision(&mut self, decision: &Decision) {
        let Decision { at, round, current, current_known, desired, active, .. } = decision;
        let Decision { degraded, fallback, paused, winner, reason, steps, triggers, .. } = decision;
        self.tick(*at);
        self.optional(round.map(|round| round.0), Writer::number);
        self.signed(*current);
        self.signed(*desired);
        self.flags([*current_known, *active, *degraded, *fallback, *paused]);
        self.optional(winner.map(u64::from), Writer::number);
        self.reason(*reason);
        self.steps(steps);
        self.number(triggers.len() as u64);
        for trigger in triggers {
            self.trigger_report(trigger);
        }
    }

    fn trigger_report(&mut self, report: &TriggerReport) {
        let TriggerReport { health, value, taken, facts, round, active, wants, reason, failure } = report;
        self.one_of(&Health::ALL, health);
        self.optional(*value, Writer::count);
        self.optional(*taken, Writer::tick);
        self.observation(facts);
        self.optional(round.map(|round| round.0), Writer::number);
        self.flags([*active]);
        self.optional(*wants, Writer::signed);
        self.reason(*reason);
        self.optional(failure.as_ref(), Writer::failure);
    }
}

/// The measures of an observation, in the order in which they are written.
#[must_use]
pub fn measures(seen: &Observation) -> [Measure; 9] {
    let Observation { backlog: _, rebalancing: _, paused: _, .. } = seen;
    let Observation { due, in_flight, oldest_age, limit, added, taken, age, partitions, unowned, .. } = *seen;
    [in_flight, due, oldest_age, limit, added, taken, age, partitions, unowned]
}

/// Whole numbers that lose nothing on the way there and back. The negative zero is none: its sign would be lost.
fn whole(value: f64) -> Option<u64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let fits = (0.0..EXACT).contains(&value) && value.fract() == 0.0 && value.is_sign_positive();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
    fits.then_some(value as u64)
}

impl Reader<'_> {
    fn one_of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(usize::from(self.byte()?)).copied()
    }

    pub fn role(&mut self) -> Option<Role> {
        self.one_of(&ROLES)
    }

    pub fn set_by(&mut self) -> Option<SetBy> {
        self.one_of(&SETTERS)
    }

    pub fn reason(&mut self) -> Option<Reason> {
        self.one_of(&Reason::ALL)
    }

    pub fn failure_kind(&mut self) -> Option<FailureKind> {
        self.one_of(&FailureKind::ALL)
    }

    fn failure(&mut self) -> Option<ReadFailure> {
        Some(ReadFailure { kind: self.failure_kind()?, message: self.text()?.into() })
    }

    pub fn observation(&mut self) -> Option<Observation> {
        let bits = self.number().filter(|bits| *bits < 1 << 11)?;
        let backlog = self.count()?;
        let mut known = bits >> 2;
        let mut measure = || {
            let is_known = known & 1 != 0;
            known >>= 1;
            if is_known { self.count().map(Measure::new) } else { Some(Measure::UNKNOWN) }
        };
        Some(Observation {
            backlog,
            in_flight: measure()?,
            due: measure()?,
            oldest_age: measure()?,
            limit: measure()?,
            added: measure()?,
            taken: measure()?,
            age: measure()?,
            partitions: measure()?,
            unowned: measure()?,
            rebalancing: bits & 2 != 0,
            paused: bits & 1 != 0,
        })
    }

    pub fn count(&mut self) -> Option<f64> {
        match self.number()? {
            1 => self.any_float(),
            number if number & 1 == 0 => Some((number >> 1) as f64),
            _ => None,
        }
    }

    pub fn steps(&mut self) -> Option<Steps> {
        let mut steps = Steps::starting_at(self.signed()?);
        for _ in 0..self.number().filter(|count| *count <= Steps::MAX as u64)? {
            let (stage, after, reason) = (self.one_of(&Stage::ALL)?, self.signed()?, self.reason()?);
            steps.push(stage, after, reason);
        }
        Some(steps)
    }

    pub fn decision(&mut self) -> Option<Decision> {
        let at = self.tick()?;
        let round = self.optional(Reader::number)?.map(Round);
        let (current, desired) = (self.signed()?, self.signed()?);
        let [current_known, active, degraded, fallback, paused] = self.flags()?;
        let winner = self.winner()?;
        let (reason, steps) = (self.reason()?, self.steps()?);
        let triggers = self.many(Reader::trigger_report)?;
        Some(Decision {
            at,
            round,
            current,
            current_known,
            desired,
            active,
            degraded,
            fallback,
            paused,
            winner,
            reason,
            steps,
            triggers,
        })
    }

    /// Position of a trigger, if any.
    pub fn winner(&mut self) -> Option<Option<u16>> {
        match self.optional(Reader::number)? {
            Some(winner) => u16::try_from(winner).ok().map(Some),
            None => Some(None),
        }
    }

    fn trigger_report(&mut self) -> Option<TriggerReport> {
        Some(TriggerReport {
            health: self.one_of(&Health::ALL)?,
            value: self.optional(Reader::count)?,
            taken: self.optional(Reader::tick)?,
            facts: self.observation()?,
            round: self.optional(Reader::number)?.map(Round),
            active: self.flags().map(|[active]| active)?,
            wants: self.optional(Reader::signed)?,
            reason: self.reason()?,
            failure: self.optional(Reader::failure)?,
        })
    }
}
