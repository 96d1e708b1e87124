//! Who wants what from one server: the triggers on one connection, the reads that they share, and when they are due.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::groups::Groups;
use super::plan::{Building, Plan, Term};
use super::readers::Readers;
use super::schedule::Schedule;
use crate::model::{Key, Tick, stretched};
use crate::source::{Backend, Read, ReadId, Wanted};
use crate::spec::AutoscalerSpec;

/// What one autoscaler wants from one connection.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) spec: Arc<AutoscalerSpec>,
    /// The triggers of the spec that use this connection, and what each is made of.
    pub(super) triggers: Vec<(u16, Vec<Wanted>)>,
    /// By how much the polling interval is stretched; 1 where nobody is held back.
    pub(super) stretch: f64,
}

impl Subscription {
    fn reads(&self) -> usize {
        self.triggers.iter().map(|(_, wanted)| wanted.len()).sum()
    }
}

/// The subscriptions of one connection, with their reads tracked by its backend.
#[derive(Debug)]
pub(super) struct Subscribers {
    schedule: Schedule,
    /// Of those who are held back.
    groups: Groups,
    entries: HashMap<Key, Entry>,
    reads: HashMap<Read, ReadId>,
    readers: Readers,
    /// Members of each cadence, by the schedule's positions.
    members: Vec<BTreeSet<Key>>,
}

#[derive(Debug)]
struct Entry {
    spec: Arc<AutoscalerSpec>,
    /// Since when.
    asked: Tick,
    triggers: Vec<(u16, Vec<Term>)>,
    /// The same triggers' reads, to find them again when they are dropped.
    reads: Vec<Read>,
    stretch: f64,
    cadence: usize,
    /// Its cadence is shared with nobody but its own namespace: it is held back, or asks for much.
    apart: bool,
}

impl Entry {
    /// How often it is read.
    fn interval(&self) -> Duration {
        stretched(self.spec.polling_interval, self.stretch)
    }
}

impl Subscribers {
    pub(super) fn new(schedule: Schedule) -> Self {
        Subscribers {
            schedule,
            groups: Groups::default(),
            entries: HashMap::new(),
            reads: HashMap::new(),
            readers: Readers::default(),
            members: Vec::new(),
        }
    }

    pub(super) fn schedule(&mut self) -> &mut Schedule {
        &mut self.schedule
    }

    /// Adds or replaces what `key` wants.
    pub(super) fn set<B: Backend>(&mut self, key: Key, wanted: Subscription, now: Tick, backend: &mut B) {
        let count = wanted.reads();
        // The new reads are tracked before the old ones are dropped: what is known about a shared key survives.
        let mut reads = Vec::with_capacity(count);
        let triggers = wanted.triggers.into_iter().map(|(trigger, wants)| {
            let term = |wanted: &Wanted| Term {
                read: self.track(key, &wanted.read, backend),
                role: wanted.role,
                optional: wanted.optional,
            };
            let terms = wants.iter().map(term).collect();
            reads.extend(wants.into_iter().map(|wanted| wanted.read));
            (trigger, terms)
        });
        let triggers: Vec<(u16, Vec<Term>)> = triggers.collect();
        self.remove(key, backend);

        self.entries.insert(
            key,
            Entry { spec: wanted.spec, asked: now, triggers, reads, stretch: wanted.stretch, cadence: 0, apart: false },
        );
        self.enter(key, now);
    }

    /// Another pace for `key`: the next moment of its new cadence is its next, and nothing else about it changes.
    pub(super) fn pace(&mut self, key: Key, stretch: f64, now: Tick) {
        if self.entries.get(&key).is_none_or(|entry| entry.stretch == stretch) {
            return;
        }
        self.depart(key);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.stretch = stretch;
        }
        self.enter(key, now);
    }

    /// Takes its place in the schedule.
    fn enter(&mut self, key: Key, now: Tick) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        let (interval, reads, held_back) = (entry.interval(), entry.reads.len(), entry.stretch > 1.0);
        (entry.cadence, entry.apart) =
            self.groups.join(&entry.spec.id.namespace, interval, reads, held_back, &mut self.schedule, now);
        let cadence = entry.cadence;
        if self.members.len() <= cadence {
            self.members.resize_with(cadence + 1, BTreeSet::new);
        }
        if let Some(members) = self.members.get_mut(cadence) {
            members.insert(key);
        }
    }

    /// Leaves its place in the schedule.
    fn depart(&mut self, key: Key) {
        let Some(entry) = self.entries.get(&key) else { return };
        let place = (entry.cadence, entry.apart);
        self.groups.leave(&entry.spec.id.namespace, entry.interval(), entry.reads.len(), place);
        self.schedule.leave(entry.cadence);
        if let Some(members) = self.members.get_mut(entry.cadence) {
            members.remove(&key);
        }
    }

    /// Drops what `key` wanted, if anything.
    pub(super) fn remove<B: Backend>(&mut self, key: Key, backend: &mut B) {
        self.depart(key);
        let Some(entry) = self.entries.remove(&key) else { return };
        for read in entry.reads {
            if let Some(id) = self.reads.get(&read)
                && !self.readers.remove(*id, key)
            {
                backend.untrack(*id);
                self.reads.remove(&read);
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

    /// How many reads `key` wants.
    pub(super) fn reads(&self, key: Key) -> usize {
        self.entries.get(&key).map_or(0, |entry| entry.reads.len())
    }

    /// Everybody's reads, and how often they are asked for.
    pub(super) fn asks(&self) -> Vec<(usize, Duration)> {
        self.entries.values().map(|entry| (entry.reads.len(), entry.interval())).collect()
    }

    /// The position of the cadence of `key`.
    pub(super) fn cadence(&self, key: Key) -> Option<usize> {
        self.entries.get(&key).map(|entry| entry.cadence)
    }

    /// Whether `key` is served in rounds of its namespace's own.
    pub(super) fn is_apart(&self, key: Key) -> bool {
        self.entries.get(&key).is_some_and(|entry| entry.apart)
    }

    /// Who is to be served as soon as the server says that `read` has changed. Nobody who is held back: its budget is
    /// used up by its own pace.
    pub(super) fn woken_by(&self, read: ReadId) -> impl Iterator<Item = Key> {
        let may_wake = |key: &Key| self.entries.get(key).is_some_and(|entry| entry.stretch <= 1.0);
        self.readers.of(read).iter().copied().filter(may_wake)
    }

    /// Takes the first of `keys` with about `reads` reads together.
    pub(super) fn some_of(&self, keys: &mut BTreeSet<Key>, reads: usize) -> BTreeSet<Key> {
        let mut some = BTreeSet::new();
        let mut count = 0;
        while count < reads
            && let Some(key) = keys.pop_first()
        {
            count += self.entries.get(&key).map_or(0, |entry| entry.reads.len());
            some.insert(key);
        }
        some
    }

    /// The round of all members of `cadences`, and of `others`.
    pub(super) fn plan<B: Backend>(&self, cadences: &[usize], others: &BTreeSet<Key>, backend: &mut B) -> Plan<B> {
        let mut building = Building::default();
        let members = cadences.iter().filter_map(|cadence| self.members.get(*cadence)).flatten();
        for key in members {
            if let Some(entry) = self.entries.get(key) {
                building.add(*key, entry.asked, &entry.triggers);
            }
        }
        for key in others {
            if let Some(entry) = self.entries.get(key)
                && !cadences.contains(&entry.cadence)
            {
                building.add(*key, entry.asked, &entry.triggers);
            }
        }
        building.finish(backend)
    }

    fn track<B: Backend>(&mut self, key: Key, read: &Read, backend: &mut B) -> ReadId {
        let id = match self.reads.get(read) {
            Some(id) => *id,
            None => {
                let id = backend.track(read);
                self.reads.insert(read.clone(), id);
                id
            }
        };
        self.readers.add(id, key);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FailureKind, ReadFailure, Round, Sample};
    use crate::poller::plan::PORTION;
    use crate::source::memory::{MemoryBackend, MemoryQueues};
    use crate::source::{Answers, Moment};

    const NOW: Moment = Moment { tick: Tick::ZERO, unix_millis: 0 };

    fn wants(triggers: &[&[&str]]) -> Subscription {
        let spec = AutoscalerSpec { polling_interval: Duration::from_millis(100), ..crate::poller::tests::spec() };
        let reads = |names: &[&str]| names.iter().map(|name| Wanted::ready(Read::Queue((*name).into()))).collect();
        let triggers = (0..).zip(triggers).map(|(position, names)| (position, reads(names))).collect();
        Subscription { spec: Arc::new(spec), triggers, stretch: 1.0 }
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
            runtime.block_on(self.backend.fetch(&mut (), &mut plan.batch, NOW, &mut answers)).unwrap();
            let samples: Vec<Sample> = plan.samples(Round(1), Tick::ZERO, &answers).flatten().collect();
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
    fn large_rounds_are_handed_on_in_portions_that_split_nobody() {
        let mut world = World::new();
        // Three triggers each, which no portion of a thousand is a multiple of.
        (0..1_000).for_each(|key| world.set(key, &[&["a"], &["b"], &["c"]]));
        let plan = world.subscribers.plan(&[0], &BTreeSet::new(), &mut world.backend);
        let failure = ReadFailure::new(FailureKind::Timeout, "late");
        let portions: Vec<Vec<Sample>> = plan.failures(Round(1), Tick::ZERO, &failure).collect();
        assert_eq!(portions.iter().map(Vec::len).sum::<usize>(), plan.len());
        assert!(portions.len() >= 3 && portions.iter().all(|portion| portion.len() < PORTION + 3));
        for (one, next) in portions.iter().zip(portions.iter().skip(1)) {
            assert_ne!(one.last().unwrap().key, next.first().unwrap().key);
        }
    }

    #[test]
    fn who_is_held_back_leaves_the_shared_rounds_and_comes_back() {
        let mut world = World::new();
        world.set(0, &[&["a"]]);
        world.set(1, &[&["a"], &["b"]]);
        let shared = world.subscribers.cadence(Key(0)).unwrap();
        world.subscribers.pace(Key(1), 4.0, Tick::ZERO);
        let own = world.subscribers.cadence(Key(1)).unwrap();
        assert_ne!(shared, own);
        assert!(world.subscribers.is_apart(Key(1)) && !world.subscribers.is_apart(Key(0)));
        assert_eq!(world.round(), (1, vec![0.0]), "the other one's round has only its own");
        let plan = world.subscribers.plan(&[own], &BTreeSet::new(), &mut world.backend);
        assert_eq!(plan.len(), 2);
        world.subscribers.pace(Key(1), 1.0, Tick::ZERO);
        assert_eq!(world.subscribers.cadence(Key(1)), Some(shared));
        assert_eq!(world.round(), (2, vec![0.0, 0.0, 0.0]));
    }

    #[test]
    fn samples_say_since_when_they_are_asked_for() {
        let mut world = World::new();
        world.set(0, &[&["a"]]);
        world.set(1, &[&["a"]]);
        let later = Tick::from_millis(7);
        world.subscribers.set(Key(1), wants(&[&["b"]]), later, &mut world.backend);
        let plan = world.subscribers.plan(&[0], &BTreeSet::new(), &mut world.backend);
        let failure = ReadFailure::new(FailureKind::Timeout, "late");
        let samples = plan.failures(Round(1), Tick::from_millis(9), &failure).flatten();
        let asked: Vec<(Key, Tick)> = samples.map(|sample| (sample.key, sample.asked)).collect();
        assert_eq!(asked, [(Key(0), Tick::ZERO), (Key(1), later)]);
    }

    #[test]
    fn newcomers_are_served_some_at_a_time() {
        let mut world = World::new();
        (0..10).for_each(|key| world.set(key, &[&["a", "b", "c"]]));
        let mut keys: BTreeSet<Key> = (0..10).map(Key).collect();
        assert_eq!(world.subscribers.some_of(&mut keys, 7).len(), 3);
        assert_eq!(world.subscribers.some_of(&mut keys, 100).len(), 7);
        assert!(world.subscribers.some_of(&mut keys, 100).is_empty());
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
