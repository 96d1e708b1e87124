//! Redis: the length of ten thousand keys in one round, cheaply.
//!
//! Whatever one command answers with one number goes over a socket of our own (`hot`): requests that are built once for
//! a set of reads, replies that are read where they belong, and idle queues that are hardly asked at all. Replies that
//! are no numbers come back one by one, so that a key which cannot be counted fails alone; these, and whatever takes
//! several steps or is not asked often, go over the library's connection. No script and no command that costs more
//! than O(1): a queue's own traffic never waits for us.
//!
//! The parts: `connect` opens and logs in, `wire` is what comes of that, `topology` finds the servers behind a connection and follows them (Sentinels, Clusters, replicas),
//! `length` knows which command counts a key, `queues` what frameworks keep where, `survey` asks what one command
//! cannot answer, `classify` puts refusals into words.

pub mod acl;
mod classify;
mod connect;
mod hot;
mod length;
mod queues;
mod reply;
mod survey;
mod topology;
mod wire;

use std::future::Future;
use std::sync::Arc;

use redis::{Pipeline, Value};
use tokio::sync::watch;

use self::connect::Connector;
use self::hot::{Part, Reads, Round, Shared};
use self::length::{Slot, Verdict};
pub use self::survey::Survey;
use self::survey::{Progress, Standing};
pub use self::topology::Link;
use self::topology::{Answering, Careful, Servers, Spread};
use self::wire::Wire;
use super::kept::Kept;
use super::secrets::Secrets;
use super::{Answers, Backend, Load, Material, Moment, Read, ReadId, Wanted};
use crate::model::{FailureKind, ReadFailure, Tick};
use crate::spec::grants::Fence;
use crate::spec::{RedisServer, Source, Topology};

/// Commands in one pipeline of the library's. Redis takes 16 KiB of requests from a client in one turn (some 400 to 500
/// reads), so that other clients get theirs between two chunks.
const CHUNK: usize = 500;

/// One Redis server, or several that belong together.
pub struct RedisBackend {
    connector: Connector,
    tracked: Kept<Tracked>,
    /// What is known of the numbers among what is tracked.
    reads: Reads,
    /// What was said about a server last, so that it is said once.
    said: Option<String>,
    /// Who answered the walks that are under way.
    walked_on: Answering,
}

/// What somebody wants to know.
enum Tracked {
    /// A number, of one command.
    Number(Slot),
    Survey(Standing),
    /// What is on no Redis: a defect of whoever asks, and said so.
    Stranger,
}

/// One set of reads, prepared.
pub struct Batch {
    /// The numbers, as one server is asked for them.
    part: Part,
    /// The same of a Cluster, whose parts follow from where slots lie: numbers and where their answers belong.
    numbers: Vec<(usize, ReadId)>,
    spread: Spread,
    surveys: Vec<(usize, ReadId)>,
    reads: usize,
}

impl RedisBackend {
    #[must_use]
    pub fn new(server: RedisServer, secrets: Secrets) -> Self {
        let connector = Connector::new(server, secrets);
        RedisBackend {
            connector,
            tracked: Kept::default(),
            reads: Reads::default(),
            said: None,
            walked_on: Answering::default(),
        }
    }

    /// Connects to nothing beyond `fence`, whoever leads there.
    #[must_use]
    pub fn behind(self, fence: Fence) -> Self {
        RedisBackend { connector: self.connector.behind(fence), ..self }
    }

    fn number(&self, read: ReadId) -> Option<&Slot> {
        match self.tracked.get(read) {
            Some(Tracked::Number(slot)) => Some(slot),
            _ => None,
        }
    }

    fn pipeline(&self, reads: &[(usize, ReadId)], ask: impl Fn(&Slot, &mut Pipeline)) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(reads.len());
        for slot in reads.iter().filter_map(|(_, read)| self.number(*read)) {
            ask(slot, &mut pipeline);
        }
        pipeline
    }

    /// Asks one server for the numbers of a batch.
    async fn ask_one(
        &mut self,
        wire: &mut Wire,
        part: &mut Part,
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        let round = Shared::new(Round { reads: &mut self.reads, values: answers.values_mut() });
        wire.hot()?.round(part, at, &round).await?;
        let mut surprises = Vec::new();
        for odd in part.take_oddities() {
            let Some(slot) = self.number(odd.read) else { continue };
            match length::take(wire.address(), slot, odd.position, &odd.reply, answers) {
                Verdict::Settled => {}
                Verdict::Relearn => surprises.push((odd.position, odd.read)),
                Verdict::Server(failure) => return Err(failure),
            }
        }
        if surprises.is_empty() { Ok(()) } else { self.relearn(wire, &surprises, at, answers).await }
    }

    /// Learns the types of keys that surprised us, and asks them again the right way, within the same round.
    async fn relearn(
        &mut self,
        wire: &Wire,
        surprises: &[(usize, ReadId)],
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        for part in surprises.chunks(CHUNK) {
            let kinds = wire.ask_all(&self.pipeline(part, Slot::ask_type)).await?;
            let mut learnt = Vec::with_capacity(part.len());
            for ((position, read), kind) in part.iter().zip(&kinds) {
                match self.learn(*read, kind) {
                    Some(Ok(())) => learnt.push((*position, *read)),
                    Some(Err(failure)) => answers.fail(*position, failure),
                    None => {}
                }
            }
            if learnt.is_empty() {
                continue;
            }
            let counts = wire.ask_all(&self.pipeline(&learnt, |slot, p| slot.ask(at.unix_millis, p))).await?;
            for ((position, _), count) in learnt.iter().zip(&counts) {
                // Anything but a number leaves the failure that is there: the key changes its type as we look.
                if let Value::Int(items) = count {
                    answers.set(*position, *items as f64);
                }
            }
        }
        Ok(())
    }

    /// Takes the answer to the question for the type of a key. `Err`: it is of none that is counted.
    fn learn(&mut self, read: ReadId, kind: &Value) -> Option<Result<(), ReadFailure>> {
        let Some(Tracked::Number(slot)) = self.tracked.get_mut(read) else { return None };
        let learnt = slot.learn(kind);
        self.reads.learn(read, slot.question);
        Some(learnt.map(|_| ()))
    }

    /// Takes forward the surveys that are due, and answers all.
    async fn look_around(
        &mut self,
        servers: &mut Servers,
        surveys: &[(usize, ReadId)],
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        // Once more, should the server turn out not to be the one to be asked.
        for _ in 0..2 {
            // A link that was lost between two rounds, a failover: nobody has told of it.
            let answering = servers.answering();
            if self.walked_on != answering {
                self.walked_on = answering;
                self.interrupt();
            }
            let is_due = |read: &ReadId| match self.tracked.get(*read) {
                Some(Tracked::Survey(standing)) => standing.is_due(at.tick).then(|| standing.begin(at)),
                _ => None,
            };
            let (due, begun): (Vec<ReadId>, Vec<Progress>) =
                surveys.iter().filter_map(|(_, read)| Some((*read, is_due(read)?))).unzip();
            if begun.is_empty() {
                break;
            }
            let address = &self.connector.server().address;
            let ended = survey::conduct(address, &mut Careful { address, servers }, begun).await?;
            if !servers.vouch().await? {
                continue;
            }
            for (read, (facts, kept)) in due.into_iter().zip(ended) {
                if let Some(Tracked::Survey(standing)) = self.tracked.get_mut(read) {
                    standing.conclude(at, spread(read), facts, kept);
                }
            }
        }
        for (position, read) in surveys {
            match self.tracked.get(*read) {
                Some(Tracked::Survey(standing)) => match standing.facts(at.tick) {
                    Some(Ok(facts)) => answers.set_facts(*position, facts),
                    Some(Err(failure)) => answers.fail(*position, failure),
                    None => {}
                },
                _ => answers.fail(*position, on_no_redis()),
            }
        }
        Ok(())
    }
}

/// From 0 to 1, another for each read.
fn spread(read: ReadId) -> f64 {
    // The golden ratio's fractions lie evenly however many there are.
    (f64::from(read.0) * 0.618_033_988_749_895).fract()
}

#[cold]
fn on_no_redis() -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, "what is asked for is on no Redis: name another Connection")
}

impl Backend for RedisBackend {
    type Link = Link;
    type Batch = Batch;

    fn track(&mut self, read: &Read) -> ReadId {
        let slot = Slot::new(read);
        let number = slot.as_ref().map(|slot| (Arc::clone(&slot.key), slot.question));
        let tracked = match (slot, read) {
            (Some(slot), _) => Tracked::Number(slot),
            (None, Read::Survey(survey)) => Tracked::Survey(Standing::new(Arc::clone(survey))),
            (None, _) => Tracked::Stranger,
        };
        let id = self.tracked.add(tracked);
        if let Some((key, question)) = number {
            self.reads.insert(id, key, question);
        }
        id
    }

    fn untrack(&mut self, id: ReadId) {
        self.reads.remove(id);
        self.tracked.take(id);
    }

    fn prepare(&mut self, reads: &[ReadId]) -> Batch {
        let placed = reads.iter().copied().enumerate();
        let (numbers, surveys): (Vec<_>, Vec<_>) = placed.partition(|(_, read)| self.number(*read).is_some());
        let in_cluster = matches!(self.connector.server().topology, Topology::Cluster { .. });
        let (numbers, alone) = if in_cluster { (numbers, Vec::new()) } else { (Vec::new(), numbers) };
        let part = Part::new(alone.into_iter());
        Batch { part, numbers, spread: Spread::default(), surveys, reads: reads.len() }
    }

    fn commands(&self, batch: &Batch, _reads: usize, now: Tick) -> usize {
        let survey = |(_, read): &(usize, ReadId)| match self.tracked.get(*read) {
            Some(Tracked::Survey(standing)) => standing.commands(now),
            _ => 0,
        };
        let numbers = batch.part.commands() + batch.spread.commands().unwrap_or(batch.numbers.len());
        numbers + batch.surveys.iter().map(survey).sum::<usize>()
    }

    fn connect(&self) -> impl Future<Output = Result<Link, ReadFailure>> + Send + 'static {
        self.connector.clone().connect()
    }

    fn made_of(link: &Link) -> Option<Material> {
        link.material()
    }

    fn take_load(link: &mut Link) -> Load {
        link.take_load()
    }

    fn grievance(&mut self, link: &Link) -> Option<String> {
        let grievance = link.grievance()?;
        if self.said.as_ref() == Some(&grievance) {
            return None;
        }
        self.said = Some(grievance.clone());
        Some(grievance)
    }

    fn look(&self) -> impl Future<Output = Option<Material>> + Send + 'static {
        self.connector.clone().look()
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        self.connector.changes()
    }

    async fn fetch(
        &mut self,
        link: &mut Link,
        batch: &mut Batch,
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        let outcome = self.round(link, batch, at, answers).await;
        if outcome.is_err() {
            self.interrupt();
        }
        outcome
    }

    async fn woken(&mut self, link: &mut Link, reads: &mut Vec<ReadId>) -> Result<(), ReadFailure> {
        link.woken(&mut self.reads, reads).await
    }
}

impl RedisBackend {
    /// Somebody else may answer from now on.
    fn interrupt(&mut self) {
        for tracked in self.tracked.values_mut() {
            if let Tracked::Survey(standing) = tracked {
                standing.interrupted();
            }
        }
    }

    /// Asks for everything in `batch`.
    async fn round(
        &mut self,
        link: &mut Link,
        batch: &mut Batch,
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        answers.begin(batch.reads);
        match &mut link.servers {
            Servers::One(one) => {
                one.settle().await?;
                self.ask_one(one.wire_mut(), &mut batch.part, at, answers).await?;
                if !one.vouch().await? {
                    // By another server now, which has just been found to be the right one.
                    answers.begin(batch.reads);
                    self.ask_one(one.wire_mut(), &mut batch.part, at, answers).await?;
                }
            }
            Servers::Cluster(cluster) => {
                self.ask_cluster(cluster, &batch.numbers, &mut batch.spread, at, answers).await?;
            }
        }
        if batch.surveys.is_empty() {
            return Ok(());
        }
        self.look_around(&mut link.servers, &batch.surveys, at, answers).await
    }
}

/// The reads of a source on a Redis.
#[must_use]
pub(super) fn wanted_by(source: &Source) -> Vec<Wanted> {
    queues::wanted_by(source)
}

/// The survey of a read, taken to its end in each of these rounds with made-up replies; nothing for other reads. For
/// fuzzers.
#[doc(hidden)]
#[must_use]
pub fn rehearse(
    read: &Read,
    rounds: &[Moment],
    reply: &mut dyn FnMut(&redis::Cmd) -> Value,
) -> Vec<Result<crate::model::Observation, ReadFailure>> {
    survey::rehearse(read, rounds, reply)
}
