//! An engine that is given what was recorded, and whether it decides what was decided.
//!
//! Segments are taken in the order in which they are given. One that goes on where the one before ended goes on with the
//! same engine, and what it says of how everybody stood is compared, too; any other begins with an engine of its own.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::change::Changes;
use super::codec::{Entry, Happened, Outcome, Said};
use super::fingerprint;
use super::reader::{Ending, Header, RecordError, Segment};
use crate::engine::bytes::Writer;
use crate::engine::{Effect, Engine, Event};
use crate::model::{AutoscalerId, Decision, Key, Sample, Tick};
use crate::spec::AutoscalerSpec;

/// What was found in all segments so far.
#[derive(Default)]
pub struct Found {
    pub autoscalers: BTreeSet<AutoscalerId>,
    pub events: u64,
    pub samples: u64,
    pub decisions: u64,
    pub identical: u64,
    /// Snapshots of an autoscaler that was there already, and how many of them are its state exactly.
    pub snapshots: u64,
    pub exact: u64,
    pub first_difference: Option<Difference>,
}

impl Found {
    #[must_use]
    pub fn is_identical(&self) -> bool {
        self.identical == self.decisions && self.exact == self.snapshots && self.first_difference.is_none()
    }
}

/// Where a replay is not what was recorded.
#[derive(Clone, Debug)]
pub struct Difference {
    pub path: PathBuf,
    /// Since the epoch.
    pub at: Duration,
    pub id: Option<AutoscalerId>,
    /// `None`: there was no decision. Then, and where what is said is the same, the difference is in what the triggers
    /// reported, or in the state that a segment begins with.
    pub recorded: Option<Arc<Said>>,
    pub replayed: Option<Decision>,
}

/// One segment that was replayed.
#[derive(Clone, Debug)]
pub struct Part {
    pub path: PathBuf,
    pub bytes: usize,
    pub header: Header,
    /// The first moment and the last, since the epoch; the same where nothing happened.
    pub from: Duration,
    pub to: Duration,
    pub events: u64,
    pub decisions: u64,
    pub ending: Ending,
    /// It goes on where the one before ended.
    pub continues: bool,
}

/// Replays segments.
#[derive(Default)]
pub struct Replay {
    engine: Engine,
    effects: Vec<Effect>,
    names: HashMap<Key, AutoscalerId>,
    /// Recording and number of the segment that may follow.
    next: Option<(u64, u64)>,
    found: Found,
    changes: Option<Changes>,
    state: Writer,
}

impl Replay {
    #[must_use]
    pub fn new() -> Self {
        Replay::default()
    }

    /// Beside it, what `changes` would have decided.
    #[must_use]
    pub fn under(changes: Changes) -> Self {
        Replay { changes: Some(changes), ..Replay::default() }
    }

    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    #[must_use]
    pub fn changes(&self) -> Option<&Changes> {
        self.changes.as_ref()
    }

    /// Replays one segment.
    ///
    /// # Errors
    /// It is damaged; what comes before that counts.
    pub fn segment(&mut self, segment: &Segment) -> Result<Part, RecordError> {
        let header = segment.header();
        let continues = self.next == Some((header.recording, header.segment));
        if !continues {
            self.engine = Engine::new();
            self.names.clear();
            if let Some(changes) = &mut self.changes {
                changes.begin_anew();
            }
        }
        let (events, decisions) = (self.found.events, self.found.decisions);
        let (mut first, mut last) = (None, header.began);
        let ending = segment.each(|happened, spec| {
            first.get_or_insert(happened.now);
            last = happened.now;
            self.take(segment, happened, spec)
        })?;
        self.next = (ending == Ending::Complete).then_some((header.recording, header.segment + 1));
        Ok(Part {
            path: segment.path().to_owned(),
            bytes: segment.bytes(),
            header: header.clone(),
            from: header.wall(first.unwrap_or(header.began)),
            to: header.wall(last),
            events: self.found.events - events,
            decisions: self.found.decisions - decisions,
            ending,
            continues,
        })
    }

    fn take(
        &mut self,
        segment: &Segment,
        happened: Happened,
        spec: Option<&Arc<AutoscalerSpec>>,
    ) -> Result<(), String> {
        let Happened { now, key, entry, outcome } = happened;
        if let Some(spec) = spec {
            self.names.insert(key, spec.id.clone());
            if !self.found.autoscalers.contains(&spec.id) {
                self.found.autoscalers.insert(spec.id.clone());
            }
        }
        if let Some(changes) = &mut self.changes {
            changes.take(segment.header(), now, key, &entry, spec, outcome.as_ref())?;
        }
        match &entry {
            Entry::Snapshot { state, .. } => {
                if let Some(spec) = spec {
                    self.stand(segment, now, key, spec, state)?;
                }
                return Ok(());
            }
            Entry::Sample { .. } | Entry::Observed { .. } => self.found.samples += 1,
            _ => {}
        }
        self.found.events += 1;
        match into_event(entry, spec) {
            Given::Event(event) => {
                self.effects.clear();
                self.engine.handle(now, key, event, &mut self.effects);
                self.compare(segment, now, key, outcome);
            }
            Given::Observed { trigger, round, taken, value } => {
                self.engine.observe(Sample { key, trigger, asked: taken, round, taken, value });
            }
            Given::Restored { memory, elapsed, complete } => {
                self.engine.restore(now, key, &memory, elapsed, complete);
            }
            Given::Nothing => {}
        }
        Ok(())
    }

    /// How `key` stood before what comes next.
    fn stand(
        &mut self,
        segment: &Segment,
        now: Tick,
        key: Key,
        spec: &Arc<AutoscalerSpec>,
        state: &[u8],
    ) -> Result<(), String> {
        if let Some(known) = self.engine.spec(key) {
            self.found.snapshots += 1;
            self.state.0.clear();
            self.engine.snapshot(key, &mut self.state);
            if known == spec && self.state.0 == state {
                self.found.exact += 1;
                return Ok(());
            }
            self.differs(segment, now, key, None);
        }
        self.engine.reinstate(key, spec, state).map_err(|_| "a snapshot cannot be read".to_owned())
    }

    fn compare(&mut self, segment: &Segment, now: Tick, key: Key, outcome: Option<Outcome>) {
        let replayed = self.engine.decision(key);
        if outcome.is_none() && replayed.is_none() {
            return;
        }
        self.found.decisions += 1;
        let same = match (&outcome, replayed) {
            (Some(outcome), Some(replayed)) => fingerprint::of(replayed) == outcome.fingerprint,
            _ => false,
        };
        if same {
            self.found.identical += 1;
        } else {
            self.differs(segment, now, key, outcome.map(|outcome| outcome.said));
        }
    }

    fn differs(&mut self, segment: &Segment, now: Tick, key: Key, recorded: Option<Arc<Said>>) {
        let (engine, names) = (&self.engine, &self.names);
        self.found.first_difference.get_or_insert_with(|| Difference {
            path: segment.path().to_owned(),
            at: segment.header().wall(now),
            id: names.get(&key).cloned(),
            recorded,
            replayed: engine.decision(key).cloned(),
        });
    }
}

/// An entry in the engine's own words.
pub(super) enum Given {
    Event(Event),
    Observed {
        trigger: u16,
        round: crate::model::Round,
        taken: Tick,
        value: Result<crate::model::Observation, crate::model::ReadFailure>,
    },
    Restored {
        memory: crate::engine::Memory,
        elapsed: Duration,
        complete: bool,
    },
    Nothing,
}

/// `spec`: what the entry's number means, where it has one.
pub(super) fn into_event(entry: Entry, spec: Option<&Arc<AutoscalerSpec>>) -> Given {
    Given::Event(match entry {
        Entry::Snapshot { .. } => return Given::Nothing,
        Entry::Spec { role, .. } => match spec {
            Some(spec) => Event::Spec { spec: Arc::clone(spec), role },
            None => return Given::Nothing,
        },
        Entry::Pace { interval } => Event::Pace { interval },
        Entry::Gone => Event::Gone,
        Entry::Sample { trigger, round, taken, value } => Event::Sample { trigger, round, taken, value },
        Entry::Current { replicas, set_by, another } => Event::Current { replicas, set_by, another },
        Entry::Role { role } => Event::Role { role },
        Entry::Applied { from, to, succeeded } => Event::Applied { from, to, succeeded },
        Entry::Evaluate => Event::Evaluate,
        Entry::Observed { trigger, round, taken, value } => return Given::Observed { trigger, round, taken, value },
        Entry::Restored { memory, elapsed, complete } => return Given::Restored { memory, elapsed, complete },
    })
}
