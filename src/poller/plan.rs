//! One kind of round, worked out once: which reads to send (each once), and which trigger's sample is made of which
//! answers. While nobody comes or goes, a round costs no hashing and no lookup by name.
//!
//! A trigger whose source is one plain count is the common case and the cheapest; all others are parts that are added
//! up ([`Observation::add`]).

use std::collections::HashMap;

use crate::model::{FailureKind, Key, Observation, ReadFailure, Round, Sample, Tick};
use crate::source::{self, Answer, Answers, Backend, ReadId, Role, Wanted};
use crate::spec::TriggerSpec;

/// Samples in one batch, unless one autoscaler alone has more. What takes a batch does so in one go, on a thread that
/// it shares with everybody's rounds: these cost it about half a millisecond.
pub(super) const PORTION: usize = 1_000;

/// One kind of round.
pub(super) struct Plan<B: Backend> {
    pub(super) batch: B::Batch,
    reads: usize,
    outputs: Vec<Output>,
    /// For outputs that are made of several answers.
    parts: Vec<Part>,
}

/// One answer of several, and what it counts as.
#[derive(Clone, Copy, Debug)]
struct Part {
    position: u32,
    role: Role,
    optional: bool,
}

/// One sample to be made.
#[derive(Clone, Copy, Debug)]
struct Output {
    key: Key,
    trigger: u16,
    asked: Tick,
    terms: Terms,
}

#[derive(Clone, Copy, Debug)]
enum Terms {
    /// The number at this position is the backlog.
    Backlog(u32),
    /// The answers that this stretch of [`Plan::parts`] names.
    Parts { from: u32, to: u32 },
}

impl<B: Backend> Plan<B> {
    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// How much is read; what two triggers share once.
    pub(super) fn reads(&self) -> usize {
        self.reads
    }

    /// The autoscalers that it serves; some of them several times.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.outputs.iter().map(|output| output.key)
    }

    /// Samples of a round that was answered, in portions. A trigger of several reads is what they add up to, or
    /// its first failure.
    pub(super) fn samples(&self, round: Round, taken: Tick, answers: &Answers) -> impl Iterator<Item = Vec<Sample>> {
        let sample = move |output: &Output| {
            let value = self.outcome(output, answers);
            Sample { key: output.key, trigger: output.trigger, asked: output.asked, round, taken, value }
        };
        self.portions().map(move |outputs| outputs.iter().map(sample).collect())
    }

    /// How many samples a round is made of.
    pub(super) fn len(&self) -> usize {
        self.outputs.len()
    }

    /// The outputs, some [`PORTION`] at a time. The triggers of one autoscaler stay together: they are decided on
    /// together.
    fn portions(&self) -> impl Iterator<Item = &[Output]> {
        let mut rest = self.outputs.as_slice();
        std::iter::from_fn(move || {
            let all = rest.len();
            let last = rest.get(PORTION - 1).map(|output| output.key);
            let mut end = PORTION.min(all);
            while rest.get(end).is_some_and(|output| Some(output.key) == last) {
                end += 1;
            }
            let (portion, left) = rest.split_at_checked(end)?;
            rest = left;
            (!portion.is_empty()).then_some(portion)
        })
    }

    /// The same as `(autoscaler, position of the trigger, outcome)`.
    pub(super) fn outcomes<'a>(
        &'a self,
        answers: &'a Answers,
    ) -> impl Iterator<Item = (Key, u16, Result<Observation, ReadFailure>)> + 'a {
        self.outputs.iter().map(|output| (output.key, output.trigger, self.outcome(output, answers)))
    }

    #[inline]
    fn outcome(&self, output: &Output, answers: &Answers) -> Result<Observation, ReadFailure> {
        match output.terms {
            Terms::Backlog(position) => match answers.get(position as usize) {
                Some(Answer::Items(items)) => Ok(Observation::of_backlog(items)),
                other => part(other, Role::Ready),
            },
            Terms::Parts { from, to } => {
                let parts = self.parts.get(from as usize..to as usize).unwrap_or(&[]);
                let mut whole = Observation::default();
                for Part { position, role, optional } in parts {
                    match part(answers.get(*position as usize), *role) {
                        Ok(observation) => whole.add(&observation),
                        Err(_) if *optional => {}
                        Err(failure) => return Err(failure),
                    }
                }
                Ok(whole)
            }
        }
    }

    /// Samples of a round that failed as a whole, in portions.
    pub(super) fn failures(
        &self,
        round: Round,
        taken: Tick,
        failure: &ReadFailure,
    ) -> impl Iterator<Item = Vec<Sample>> {
        let sample = move |output: &Output| {
            let value = Err(failure.clone());
            Sample { key: output.key, trigger: output.trigger, asked: output.asked, round, taken, value }
        };
        self.portions().map(move |outputs| outputs.iter().map(sample).collect())
    }
}

/// What one answer contributes.
fn part(answer: Option<Answer<'_>>, role: Role) -> Result<Observation, ReadFailure> {
    let items = match answer {
        Some(Answer::Items(items)) => items,
        // What another source finds waiting where work in flight shows.
        Some(Answer::Facts(facts)) if role == Role::InFlight => {
            return Ok(Observation { in_flight: facts.backlog.into(), age: facts.age, ..Observation::default() });
        }
        Some(Answer::Facts(facts)) => return Ok(*facts),
        Some(Answer::Failed(failure)) => return Err(failure.clone()),
        None => return Err(unanswered()),
    };
    let nothing = Observation::default();
    Ok(match role {
        Role::Ready | Role::Facts => Observation::of_backlog(items),
        Role::Due => Observation { backlog: items, due: items.into(), ..nothing },
        Role::InFlight => Observation { in_flight: items.into(), ..nothing },
    })
}

/// A server that sends fewer replies than it was asked for has lost count; the library has not let that pass so far.
#[cold]
fn unanswered() -> ReadFailure {
    ReadFailure::new(FailureKind::Protocol, "the server left this read unanswered")
}

/// A plan in the making.
#[derive(Default)]
pub(super) struct Building {
    reads: Vec<ReadId>,
    /// Where a read's answer will be.
    positions: HashMap<ReadId, u32>,
    outputs: Vec<Output>,
    parts: Vec<Part>,
}

/// What a trigger is made of, with its reads tracked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    pub(super) read: ReadId,
    pub(super) role: Role,
    pub(super) optional: bool,
}

impl Building {
    pub(super) fn finish<B: Backend>(self, backend: &mut B) -> Plan<B> {
        Plan { batch: backend.prepare(&self.reads), reads: self.reads.len(), outputs: self.outputs, parts: self.parts }
    }

    /// One more autoscaler, with its triggers' terms, asked for since then.
    pub(super) fn add(&mut self, key: Key, asked: Tick, triggers: &[(u16, Vec<Term>)]) {
        for (trigger, terms) in triggers {
            let terms = match terms.as_slice() {
                [Term { read, role: Role::Ready, optional: false }] => Terms::Backlog(self.position(*read)),
                several => {
                    let from = count(&self.parts);
                    for term in several {
                        let position = self.position(term.read);
                        self.parts.push(Part { position, role: term.role, optional: term.optional });
                    }
                    Terms::Parts { from, to: count(&self.parts) }
                }
            };
            self.outputs.push(Output { key, trigger: *trigger, asked, terms });
        }
    }

    fn position(&mut self, read: ReadId) -> u32 {
        let next = count(&self.reads);
        *self.positions.entry(read).or_insert_with(|| {
            self.reads.push(read);
            next
        })
    }
}

/// Length as the `u32` that reads are counted in.
fn count<T>(items: &[T]) -> u32 {
    u32::try_from(items.len()).unwrap_or(u32::MAX)
}

/// What a trigger wants read: its source, and what shows work in flight where that is another.
pub(super) fn wanted_by(trigger: &TriggerSpec) -> Vec<Wanted> {
    let mut wanted = source::wanted_by(&trigger.source);
    if let Some(in_flight) = &trigger.in_flight {
        wanted.extend(source::wanted_by(in_flight).into_iter().map(|wanted| Wanted { role: Role::InFlight, ..wanted }));
    }
    wanted
}
