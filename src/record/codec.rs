//! Events as bytes, each with the decision that it led to.
//!
//! Most of what happens is a sample with a small whole number that changes nothing about the decision, read in the same
//! round and taken in the same moment as the one before: so what was said last is remembered on both sides, and only
//! differences are written. Everything that is remembered begins anew with each segment.
//!
//! A decision is written as its fingerprint, and in words only where the words are others than the last time; what its
//! triggers report follows from the samples, and is in the fingerprint.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::fingerprint;
use crate::engine::bytes::{Reader, Writer};
use crate::engine::{Event, Memory, Role};
use crate::model::{
    Decision, FailureKind, Key, Observation, ReadFailure, Reason, Replicas, Round, Sample, SetBy, Steps, Tick,
};

/// What the engine was given.
#[derive(Clone, PartialEq, Debug)]
pub enum Entry {
    /// How an autoscaler stood before its first event in this segment; `spec` is the number of its spec.
    Snapshot {
        spec: u64,
        state: Vec<u8>,
    },
    Spec {
        spec: u64,
        role: Role,
    },
    Pace {
        interval: Option<Duration>,
    },
    Gone,
    Sample {
        trigger: u16,
        round: Round,
        taken: Tick,
        value: Result<Observation, ReadFailure>,
    },
    Current {
        replicas: Replicas,
        set_by: SetBy,
        another: bool,
    },
    Role {
        role: Role,
    },
    Applied {
        from: Replicas,
        to: Replicas,
        succeeded: bool,
    },
    Evaluate,
    /// A sample that nothing was decided on.
    Observed {
        trigger: u16,
        round: Round,
        taken: Tick,
        value: Result<Observation, ReadFailure>,
    },
    Restored {
        memory: Memory,
        elapsed: Duration,
        complete: bool,
    },
}

/// What the engine made of it, where it was asked for a decision.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    pub fingerprint: u64,
    pub said: Arc<Said>,
}

/// A decision, without what its triggers report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Said {
    pub current: Replicas,
    pub current_known: bool,
    pub desired: Replicas,
    pub active: bool,
    pub degraded: bool,
    pub fallback: bool,
    pub paused: bool,
    pub winner: Option<u16>,
    pub reason: Reason,
    pub steps: Steps,
}

impl From<&Decision> for Said {
    fn from(decision: &Decision) -> Self {
        let Decision { at: _, round: _, triggers: _, current, current_known, desired, .. } = *decision;
        let Decision { active, degraded, fallback, paused, winner, reason, steps, .. } = *decision;
        Said { current, current_known, desired, active, degraded, fallback, paused, winner, reason, steps }
    }
}

// The kinds of entries, in the lower half of the first byte.
const SPEC: u8 = 0;
const PACE: u8 = 1;
const GONE: u8 = 2;
const SAMPLE: u8 = 3;
const CURRENT: u8 = 4;
const ROLE: u8 = 5;
const APPLIED: u8 = 6;
const EVALUATE: u8 = 7;
const OBSERVED: u8 = 8;
const RESTORED: u8 = 9;
const SNAPSHOT: u8 = 10;
// In its upper half: time has passed since the last entry; and three that mean something to their kind.
const LATER: u8 = 0x10;
const A: u8 = 0x20;
const B: u8 = 0x40;
const C: u8 = 0x80;

// What stands before a decision.
const NO_DECISION: u8 = 0;
const SAME_WORDS: u8 = 1;
const OTHER_WORDS: u8 = 2;

/// Sentences of failures that are remembered. Those of one kind repeat; those with numbers in them do not.
const SENTENCES: usize = 1024;

/// What either side remembers of what was said last.
#[derive(Default)]
struct Last {
    now: Tick,
    round: u64,
    taken: Tick,
}

/// Writes entries, one after another. A new one for each segment.
#[derive(Default)]
pub struct Encoder {
    out: Writer,
    last: Last,
    sentences: HashMap<Arc<str>, u64>,
    said: Vec<Option<Said>>,
}

impl Encoder {
    /// What has been written since the last time.
    pub fn take(&mut self) -> Vec<u8> {
        let room = self.out.0.len();
        std::mem::replace(&mut self.out.0, Vec::with_capacity(room))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.out.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.0.is_empty()
    }

    /// `spec`: the number that an [`Event::Spec`]'s spec was given.
    pub fn event(&mut self, now: Tick, key: Key, event: &Event, spec: u64) {
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        match event {
            Event::Spec { role, .. } => {
                self.head(SPEC, now, key);
                self.out.number(spec);
                self.out.role(*role);
            }
            Event::Pace { interval } => {
                self.head(PACE | flag(interval.is_some(), A), now, key);
                if let Some(interval) = interval {
                    self.out.whole_duration(*interval);
                }
            }
            Event::Gone => self.head(GONE, now, key),
            Event::Sample { trigger, round, taken, value } => {
                self.sample(SAMPLE, now, key, *trigger, *round, *taken, value);
            }
            Event::Current { replicas, set_by, another } => {
                self.head(CURRENT | flag(*another, A), now, key);
                self.out.signed(*replicas);
                self.out.set_by(*set_by);
            }
            Event::Role { role } => {
                self.head(ROLE, now, key);
                self.out.role(*role);
            }
            Event::Applied { from, to, succeeded } => {
                self.head(APPLIED | flag(*succeeded, A), now, key);
                self.out.signed(*from);
                self.out.signed(*to);
            }
            Event::Evaluate => self.head(EVALUATE, now, key),
        }
    }

    pub fn observed(&mut self, now: Tick, sample: &Sample) {
        self.sample(OBSERVED, now, sample.key, sample.trigger, sample.round, sample.taken, &sample.value);
    }

    pub fn restored(&mut self, now: Tick, key: Key, memory: &Memory, elapsed: Duration, complete: bool) {
        self.head(RESTORED | if complete { A } else { 0 }, now, key);
        self.out.whole_duration(elapsed);
        self.out.bytes(&memory.to_bytes());
    }

    pub fn snapshot(&mut self, now: Tick, key: Key, spec: u64, state: &[u8]) {
        self.head(SNAPSHOT, now, key);
        self.out.number(spec);
        self.out.bytes(state);
    }

    /// After each event that was handled. `None`: nobody of that key is there.
    pub fn outcome(&mut self, key: Key, decision: Option<&Decision>) {
        let Some(decision) = decision else { return self.out.byte(NO_DECISION) };
        if self.said.len() <= key.index() {
            self.said.resize(key.index() + 1, None);
        }
        let Some(said) = self.said.get_mut(key.index()) else { return };
        let new = Said::from(decision);
        let same = said.as_ref() == Some(&new);
        self.out.byte(if same { SAME_WORDS } else { OTHER_WORDS });
        self.out.0.extend_from_slice(&fingerprint::of(decision).to_le_bytes());
        if !same {
            let Said { current, current_known, desired, active, degraded, fallback, paused, winner, reason, steps } =
                &new;
            self.out.flags([*current_known, *active, *degraded, *fallback, *paused]);
            self.out.signed(*current);
            self.out.signed(*desired);
            self.out.optional(winner.map(u64::from), Writer::number);
            self.out.reason(*reason);
            self.out.steps(steps);
            *said = Some(new);
        }
    }

    fn head(&mut self, kind: u8, now: Tick, key: Key) {
        let later = now != self.last.now;
        self.out.byte(kind | if later { LATER } else { 0 });
        if later {
            self.out.difference(now.as_nanos(), self.last.now.as_nanos());
            self.last.now = now;
        }
        self.out.number(u64::from(key.0));
    }

    #[expect(clippy::too_many_arguments, reason = "an event and a sample have the same parts, under different types")]
    fn sample(
        &mut self,
        kind: u8,
        now: Tick,
        key: Key,
        trigger: u16,
        round: Round,
        taken: Tick,
        value: &Result<Observation, ReadFailure>,
    ) {
        let other_moment = taken != self.last.taken;
        let flags = [(trigger != 0, A), (value.is_err(), B), (other_moment, C)];
        let kind = flags.iter().filter(|(set, _)| *set).fold(kind, |bits, (_, flag)| bits | flag);
        self.head(kind, now, key);
        if trigger != 0 {
            self.out.number(u64::from(trigger));
        }
        self.out.difference(round.0, self.last.round);
        self.last.round = round.0;
        if other_moment {
            self.out.difference(taken.as_nanos(), self.last.taken.as_nanos());
            self.last.taken = taken;
        }
        match value {
            Ok(seen) => self.out.observation(seen),
            Err(ReadFailure { kind, message }) => {
                self.out.failure_kind(*kind);
                self.sentence(message);
            }
        }
    }

    /// Its number, or zero and the sentence itself.
    fn sentence(&mut self, sentence: &Arc<str>) {
        if let Some(number) = self.sentences.get(sentence) {
            return self.out.number(*number);
        }
        self.out.number(0);
        self.out.bytes(sentence.as_bytes());
        if self.sentences.len() < SENTENCES {
            self.sentences.insert(Arc::clone(sentence), self.sentences.len() as u64 + 1);
        }
    }
}

/// An entry as it was read, with its moment, whose it is, and what became of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Happened {
    pub now: Tick,
    pub key: Key,
    pub entry: Entry,
    /// `None` where nothing was decided, or nobody was there.
    pub outcome: Option<Outcome>,
}

/// Reads what an [`Encoder`] wrote, in the same order. A new one for each segment.
#[derive(Default)]
pub struct Decoder {
    last: Last,
    sentences: Vec<Arc<str>>,
    said: HashMap<Key, Arc<Said>>,
}

impl Decoder {
    /// The next entry of `input`. `None`: bytes that no encoder writes.
    pub fn next(&mut self, input: &mut Reader<'_>) -> Option<Happened> {
        let head = input.byte()?;
        if head & LATER != 0 {
            self.last.now = Tick::from_nanos(input.difference(self.last.now.as_nanos())?);
        }
        let key = Key(u32::try_from(input.number()?).ok()?);
        let [a, b, c] = [A, B, C].map(|flag| head & flag != 0);
        let entry = match head & 0x0f {
            SPEC => Entry::Spec { spec: input.number()?, role: input.role()? },
            PACE => Entry::Pace { interval: if a { Some(input.whole_duration()?) } else { None } },
            GONE => Entry::Gone,
            kind @ (SAMPLE | OBSERVED) => {
                let trigger = if a { u16::try_from(input.number()?).ok()? } else { 0 };
                self.last.round = input.difference(self.last.round)?;
                if c {
                    self.last.taken = Tick::from_nanos(input.difference(self.last.taken.as_nanos())?);
                }
                let value = if b { Err(self.failure(input)?) } else { Ok(input.observation()?) };
                let (round, taken) = (Round(self.last.round), self.last.taken);
                match kind {
                    SAMPLE => Entry::Sample { trigger, round, taken, value },
                    _ => Entry::Observed { trigger, round, taken, value },
                }
            }
            CURRENT => Entry::Current { replicas: input.signed()?, set_by: input.set_by()?, another: a },
            ROLE => Entry::Role { role: input.role()? },
            APPLIED => Entry::Applied { from: input.signed()?, to: input.signed()?, succeeded: a },
            EVALUATE => Entry::Evaluate,
            RESTORED => {
                let elapsed = input.whole_duration()?;
                Entry::Restored { memory: Memory::from_bytes(input.bytes()?).ok()?, elapsed, complete: a }
            }
            SNAPSHOT => Entry::Snapshot { spec: input.number()?, state: input.bytes()?.to_vec() },
            _ => return None,
        };
        let decided = !matches!(entry, Entry::Snapshot { .. } | Entry::Observed { .. } | Entry::Restored { .. });
        let outcome = if decided { self.outcome(key, input)? } else { None };
        Some(Happened { now: self.last.now, key, entry, outcome })
    }

    fn failure(&mut self, input: &mut Reader<'_>) -> Option<ReadFailure> {
        let kind: FailureKind = input.failure_kind()?;
        let message = match input.number()? {
            0 => {
                let sentence: Arc<str> = input.text()?.into();
                if self.sentences.len() < SENTENCES {
                    self.sentences.push(Arc::clone(&sentence));
                }
                sentence
            }
            number => Arc::clone(self.sentences.get(usize::try_from(number - 1).ok()?)?),
        };
        Some(ReadFailure { kind, message })
    }

    #[expect(clippy::option_option, reason = "what cannot be read is not what is not there")]
    fn outcome(&mut self, key: Key, input: &mut Reader<'_>) -> Option<Option<Outcome>> {
        let words = input.byte()?;
        if words == NO_DECISION {
            return Some(None);
        }
        let (fingerprint, rest) = input.0.split_first_chunk::<8>()?;
        let fingerprint = u64::from_le_bytes(*fingerprint);
        input.0 = rest;
        let said = match words {
            SAME_WORDS => Arc::clone(self.said.get(&key)?),
            OTHER_WORDS => {
                let [current_known, active, degraded, fallback, paused] = input.flags()?;
                let (current, desired) = (input.signed()?, input.signed()?);
                let (winner, reason, steps) = (input.winner()?, input.reason()?, input.steps()?);
                let said =
                    Said { current, current_known, desired, active, degraded, fallback, paused, winner, reason, steps };
                let said = Arc::new(said);
                self.said.insert(key, Arc::clone(&said));
                said
            }
            _ => return None,
        };
        Some(Some(Outcome { fingerprint, said }))
    }
}
