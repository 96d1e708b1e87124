//! Who wants what from one server, and the rounds that follow from it.
//!
//! [`Subscribers`] knows the triggers on one connection and which reads they share. [`Plan`] is one kind of round,
//! worked out once: which reads to send (each once), and which trigger's sample is made of which answers. While
//! nobody comes or goes, a round costs no hashing and no lookup by name.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::schedule::Schedule;
use crate::model::{FailureKind, Key, Observation, ReadFailure, Round, Sample, Tick};
use crate::source::{Answers, Backend, Read, ReadId};
use crate::spec::{AutoscalerSpec, Source};

/// What one autoscaler wants from one connection.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) spec: Arc<AutoscalerSpec>,
    /// The triggers of the spec that use this connection, and what each adds up.
    pub(super) triggers: Vec<(u16, Vec<Read>)>,
}

/// The subscriptions of one connection, with their reads tracked by its backend.
#[derive(Debug)]
pub(super) struct Subscribers {
    schedule: Schedule,
    entries: HashMap<Key, Entry>,
    reads: HashMap<Read, (ReadId, u32)>,
    /// Members of each cadence, by the schedule's positions.
    members: Vec<BTreeSet<Key>>,
}

#[derive(Debug)]
struct Entry {
    spec: Arc<AutoscalerSpec>,
    triggers: Vec<(u16, Vec<ReadId>)>,
    /// The same triggers' reads, to find them again when they are dropped.
    reads: Vec<Read>,
    cadence: usize,
}

impl Subscribers {
    pub(super) fn new(schedule: Schedule) -> Self {
        Subscribers { schedule, entries: HashMap::new(), reads: HashMap::new(), members: Vec::new() }
    }

    pub(super) fn schedule(&mut self) -> &mut Schedule {
        &mut self.schedule
    }

    /// Adds or replaces what `key` wants.
    pub(super) fn set<B: Backend>(&mut self, key: Key, wanted: Subscription, now: Tick, backend: &mut B) {
        // The new reads are tracked before the old ones are dropped: what is known about a shared key survives.
        let mut reads = Vec::new();
        let triggers = wanted.triggers.into_iter().map(|(trigger, wants)| {
            let ids = wants.iter().map(|read| self.track(read, backend)).collect();
            reads.extend(wants);
            (trigger, ids)
        });
        let triggers: Vec<(u16, Vec<ReadId>)> = triggers.collect();
        self.remove(key, backend);

        let cadence = self.schedule.join(wanted.spec.polling_interval, now);
        if self.members.len() <= cadence {
            self.members.resize_with(cadence + 1, BTreeSet::new);
        }
        if let Some(members) = self.members.get_mut(cadence) {
            members.insert(key);
        }
        self.entries.insert(key, Entry { spec: wanted.spec, triggers, reads, cadence });
    }

    /// Drops what `key` wanted, if anything.
    pub(super) fn remove<B: Backend>(&mut self, key: Key, backend: &mut B) {
        let Some(entry) = self.entries.remove(&key) else { return };
        self.schedule.leave(entry.cadence);
        if let Some(members) = self.members.get_mut(entry.cadence) {
            members.remove(&key);
        }
        for read in entry.reads {
            if let Some((id, users)) = self.reads.get_mut(&read) {
                *users -= 1;
                if *users == 0 {
                    backend.untrack(*id);
                    self.reads.remove(&read);
                }
            }
        }
    }

    /// The spec of `key`, for messages.
    pub(super) fn spec(&self, key: Key) -> Option<&AutoscalerSpec> {
        self.entries.get(&key).map(|entry| &*entry.spec)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = Key> {
        self.entries.keys().copied()
    }

    /// The round of all members of `cadences`, and of `others`.
    pub(super) fn plan<B: Backend>(&self, cadences: &[usize], others: &BTreeSet<Key>, backend: &mut B) -> Plan<B> {
        let mut building = Building::default();
        let members = cadences.iter().filter_map(|cadence| self.members.get(*cadence)).flatten();
        for key in members {
            if let Some(entry) = self.entries.get(key) {
                building.add(*key, entry);
            }
        }
        for key in others {
            if let Some(entry) = self.entries.get(key)
                && !cadences.contains(&entry.cadence)
            {
                building.add(*key, entry);
            }
        }
        Plan { batch: backend.prepare(&building.reads), outputs: building.outputs, sums: building.sums }
    }

    fn track<B: Backend>(&mut self, read: &Read, backend: &mut B) -> ReadId {
        if let Some((id, users)) = self.reads.get_mut(read) {
            *users += 1;
            return *id;
        }
        let id = backend.track(read);
        self.reads.insert(read.clone(), (id, 1));
        id
    }
}

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

    /// Samples of a round that was answered. A trigger of several reads is their sum, or its first failure.
    pub(super) fn samples(&self, round: Round, taken: Tick, answers: &Answers) -> Vec<Sample> {
        let sample = |output: &Output| {
            let value = self.outcome(output, answers);
            Sample { key: output.key, trigger: output.trigger, round, taken, value }
        };
        self.outputs.iter().map(sample).collect()
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

    /// Samples of a round that failed as a whole.
    pub(super) fn failures(&self, round: Round, taken: Tick, failure: &ReadFailure) -> Vec<Sample> {
        let sample = |output: &Output| {
            let value = Err(failure.clone());
            Sample { key: output.key, trigger: output.trigger, round, taken, value }
        };
        self.outputs.iter().map(sample).collect()
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
struct Building {
    reads: Vec<ReadId>,
    /// Where a read's answer will be.
    positions: HashMap<ReadId, u32>,
    outputs: Vec<Output>,
    sums: Vec<u32>,
}

impl Building {
    fn add(&mut self, key: Key, entry: &Entry) {
        for (trigger, reads) in &entry.triggers {
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
            self.outputs.push(Output { key, trigger: *trigger, terms });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::memory::{MemoryBackend, MemoryQueues};
    use std::time::Duration;

    fn wants(triggers: &[&[&str]]) -> Subscription {
        let spec = AutoscalerSpec { polling_interval: Duration::from_millis(100), ..crate::poller::tests::spec() };
        let reads = |names: &[&str]| names.iter().map(|name| Read::Queue((*name).into())).collect();
        let triggers = (0..).zip(triggers).map(|(position, names)| (position, reads(names))).collect();
        Subscription { spec: Arc::new(spec), triggers }
    }

    struct World {
        queues: MemoryQueues,
        backend: MemoryBackend,
        subscribers: Subscribers,
    }

    impl World {
        fn new() -> Self {
            let queues = MemoryQueues::new();
            let backend = MemoryBackend::new(queues.clone());
            World { queues, backend, subscribers: Subscribers::new(Schedule::new(Tick::ZERO)) }
        }

        fn set(&mut self, key: u32, triggers: &[&[&str]]) {
            self.subscribers.set(Key(key), wants(triggers), Tick::ZERO, &mut self.backend);
        }

        /// Reads asked, and backlogs by trigger.
        fn round(&mut self) -> (usize, Vec<f64>) {
            let mut plan = self.subscribers.plan(&[0], &BTreeSet::new(), &mut self.backend);
            let mut answers = Answers::default();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(self.backend.fetch(&mut (), &mut plan.batch, &mut answers)).unwrap();
            let samples = plan.samples(Round(1), Tick::ZERO, &answers);
            (answers.len(), samples.into_iter().map(|sample| sample.value.unwrap().backlog).collect())
        }
    }

    #[test]
    fn each_read_is_asked_once_and_added_up_as_often_as_it_is_named() {
        let mut world = World::new();
        world.queues.push("a", 1);
        world.queues.push("b", 10);
        world.set(0, &[&["a"], &["a", "b"]]);
        world.set(1, &[&["b", "b", "a"], &["none"], &[]]);
        assert_eq!(world.round(), (3, vec![1.0, 11.0, 21.0, 0.0, 0.0]));
    }

    #[test]
    fn reads_live_as_long_as_somebody_wants_them() {
        let mut world = World::new();
        world.queues.push("a", 1);
        world.queues.push("b", 2);
        world.set(0, &[&["a"]]);
        world.set(1, &[&["a"], &["b"]]);
        world.subscribers.remove(Key(1), &mut world.backend);
        assert_eq!(world.round(), (1, vec![1.0]));
        // The handle that became free serves another queue; replacing keeps what stays.
        world.set(0, &[&["b"], &["a"]]);
        assert_eq!(world.round(), (2, vec![2.0, 1.0]));
        world.subscribers.remove(Key(0), &mut world.backend);
        world.subscribers.remove(Key(0), &mut world.backend);
        assert_eq!(world.round(), (0, vec![]));
        assert_eq!(world.subscribers.schedule().next(), Tick::NEVER);
    }
}
