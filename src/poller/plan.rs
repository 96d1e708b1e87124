//! One kind of round, worked out once: which reads to send (each once), and which trigger's sample is made of which
//! answers. While nobody comes or goes, a round costs no hashing and no lookup by name.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::{FailureKind, Key, Observation, ReadFailure, Round, Sample, Tick};
use crate::source::{Answers, Backend, Read, ReadId};
use crate::spec::Source;

/// Samples in one batch, unless one autoscaler alone has more. What takes a batch does so in one go, on a thread that
/// it shares with everybody's rounds: these cost it about half a millisecond.
pub(super) const PORTION: usize = 1_000;

/// One kind of round.
pub(super) struct Plan<B: Backend> {
    pub(super) batch: B::Batch,
    outputs: Vec<Output>,
    /// Positions of answers, for outputs that add several up.
    sums: Vec<u32>,
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
    /// The answer at this position.
    One(u32),
    /// The answers at the positions in this part of [`Plan::sums`].
    Sum { from: u32, to: u32 },
}

impl<B: Backend> Plan<B> {
    pub(super) fn is_empty(&self) -> bool {
        self.outputs.is_empty()
    }

    /// The autoscalers that it serves; some of them several times.
    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.outputs.iter().map(|output| output.key)
    }

    /// Samples of a round that was answered, in portions. A trigger of several reads is their sum, or its first failure.
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
            Terms::One(position) => answer(answers, position),
            Terms::Sum { from, to } => {
                let positions = self.sums.get(from as usize..to as usize).unwrap_or(&[]);
                let mut backlog = 0.0;
                for position in positions {
                    backlog += answer(answers, *position)?.backlog;
                }
                Ok(Observation { backlog })
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

fn answer(answers: &Answers, position: u32) -> Result<Observation, ReadFailure> {
    match answers.get(position as usize) {
        Some(Ok(observation)) => Ok(observation),
        Some(Err(failure)) => Err(failure.clone()),
        None => Err(unanswered()),
    }
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
    sums: Vec<u32>,
}

impl Building {
    pub(super) fn finish<B: Backend>(self, backend: &mut B) -> Plan<B> {
        Plan { batch: backend.prepare(&self.reads), outputs: self.outputs, sums: self.sums }
    }

    /// One more autoscaler, with its triggers' reads, asked for since then.
    pub(super) fn add(&mut self, key: Key, asked: Tick, triggers: &[(u16, Vec<ReadId>)]) {
        for (trigger, reads) in triggers {
            let terms = match reads.as_slice() {
                [only] => Terms::One(self.position(*only)),
                several => {
                    let from = count(&self.sums);
                    for read in several {
                        let position = self.position(*read);
                        self.sums.push(position);
                    }
                    Terms::Sum { from, to: count(&self.sums) }
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

/// The reads of a trigger.
pub(super) fn reads_of(source: &Source) -> Vec<Read> {
    match source {
        Source::RedisList { keys } => keys.iter().map(|key| Read::Length(Arc::clone(key))).collect(),
        Source::Memory { queue } => vec![Read::Queue(Arc::clone(queue))],
    }
}
