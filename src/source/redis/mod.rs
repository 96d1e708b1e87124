//! Redis: the length of ten thousand keys in one round, cheaply.
//!
//! Requests are pipelines that are built once for a set of reads and sent again and again. A long round goes out in
//! chunks of [`CHUNK`], all on their way at once; replies are taken one by one, so that a key which cannot be counted
//! fails alone. No script and no command that costs more than O(1): a queue's own traffic never waits for us.
//!
//! The parts: `material` reads secrets and certificates, `tls` encrypts, `connect` opens and logs in, `topology` finds the
//! servers behind a connection and follows them (Sentinels, Clusters, replicas), `length` knows
//! which command counts a key, `queues` what frameworks keep where, `survey` asks what one command cannot answer,
//! `classify` puts refusals into words. A faster hot path (own socket, replies parsed in
//! place) would replace [`RedisBackend::ask`] and nothing else: [`Answers`] has no type of the library's in it.

pub mod acl;
mod classify;
mod connect;
mod length;
mod material;
mod queues;
mod reply;
mod survey;
mod tls;
mod topology;

use std::future::Future;
use std::sync::Arc;

use futures_util::stream::{FuturesOrdered, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::watch;

use self::connect::Connector;
use self::length::{Slot, Verdict};
pub use self::survey::Survey;
use self::survey::{Progress, Standing};
pub use self::topology::Link;
use self::topology::{Careful, Servers, Spread};
use super::secrets::Secrets;
use super::{Answers, Backend, Material, Moment, Read, ReadId, Wanted};
use crate::model::{FailureKind, ReadFailure, Tick};
use crate::spec::grants::Fence;
use crate::spec::{RedisServer, Source, Topology};

/// Reads in one pipeline. Measured with this library on one core: below 500 every chunk's own cost shows in the CPU
/// per sample, above it nothing is gained; and Redis takes 16 KiB of requests from a client in one turn (some 400 to
/// 500 reads), so that other clients get theirs between two chunks.
const CHUNK: usize = 500;

/// Pipelines of one round on their way at the same time. One after another they cost a round trip each; more than
/// these keep the server no busier, but hold more replies in memory.
const IN_FLIGHT: usize = 16;

/// One Redis server, read over one connection.
pub struct RedisBackend {
    connector: Connector,
    tracked: Vec<Tracked>,
    free: Vec<ReadId>,
    /// Grows with everything that is learnt about a key: a batch prepared under an older number is prepared again.
    learnt: u64,
}

/// What somebody wants to know.
enum Tracked {
    /// A number, of one command.
    Number(Slot),
    Survey(Standing),
    /// What is on no Redis: a defect of whoever asks, and said so.
    Stranger,
}

/// Pipelines for one set of reads.
pub struct Batch {
    chunks: Vec<Chunk>,
    /// The same of a Cluster, whose chunks follow from where slots lie: numbers and where their answers belong.
    numbers: Vec<(usize, ReadId)>,
    spread: Spread,
    surveys: Vec<(usize, ReadId)>,
    reads: usize,
    learnt: u64,
}

struct Chunk {
    /// Where its answers belong.
    reads: Vec<(usize, ReadId)>,
    pipeline: Pipeline,
    /// It is put together anew for every round, because now stands in it.
    goes_by_time: bool,
}

impl RedisBackend {
    #[must_use]
    pub fn new(server: RedisServer, secrets: Secrets) -> Self {
        RedisBackend { connector: Connector::new(server, secrets), tracked: Vec::new(), free: Vec::new(), learnt: 0 }
    }

    /// Connects to nothing beyond `fence`, whoever leads there.
    #[must_use]
    pub fn behind(self, fence: Fence) -> Self {
        RedisBackend { connector: self.connector.behind(fence), ..self }
    }

    fn number(&self, read: ReadId) -> Option<&Slot> {
        match self.tracked.get(read.index()) {
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

    fn chunk(&self, reads: &[(usize, ReadId)], at: u64) -> Chunk {
        let goes_by_time = reads.iter().any(|(_, read)| self.number(*read).is_some_and(Slot::goes_by_time));
        Chunk { reads: reads.to_vec(), pipeline: self.pipeline(reads, |slot, p| slot.ask(at, p)), goes_by_time }
    }

    /// Asks one server for the numbers of a batch.
    async fn ask_one(
        &mut self,
        connection: &MultiplexedConnection,
        chunks: &[Chunk],
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        let mut surprises = Vec::new();
        self.ask(connection, chunks, answers, &mut surprises).await?;
        if surprises.is_empty() { Ok(()) } else { self.relearn(connection, &surprises, at, answers).await }
    }

    /// Sends all chunks and takes their replies in order.
    async fn ask(
        &self,
        connection: &MultiplexedConnection,
        chunks: &[Chunk],
        answers: &mut Answers,
        surprises: &mut Vec<(usize, ReadId)>,
    ) -> Result<(), ReadFailure> {
        let mut waiting = chunks.iter();
        let mut flying: FuturesOrdered<_> =
            waiting.by_ref().take(IN_FLIGHT).map(|chunk| send(connection.clone(), chunk)).collect();
        while let Some((chunk, replies)) = flying.next().await {
            let replies = replies.map_err(|error| self.failed(&error))?;
            if let Some(next) = waiting.next() {
                flying.push_back(send(connection.clone(), next));
            }
            self.take(&chunk.reads, &replies, answers, surprises)?;
        }
        Ok(())
    }

    fn take(
        &self,
        reads: &[(usize, ReadId)],
        replies: &[Value],
        answers: &mut Answers,
        surprises: &mut Vec<(usize, ReadId)>,
    ) -> Result<(), ReadFailure> {
        let address = &self.connector.server().address;
        for ((position, read), reply) in reads.iter().zip(replies) {
            let Some(slot) = self.number(*read) else { continue };
            match length::take(address, slot, *position, reply, answers) {
                Verdict::Settled => {}
                Verdict::Relearn => surprises.push((*position, *read)),
                Verdict::Server(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Learns the types of keys that surprised us, and asks them again the right way, within the same round.
    async fn relearn(
        &mut self,
        connection: &MultiplexedConnection,
        surprises: &[(usize, ReadId)],
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        for part in surprises.chunks(CHUNK) {
            let pipeline = self.pipeline(part, Slot::ask_type);
            let types = Chunk { pipeline, reads: part.to_vec(), goes_by_time: false };
            let (_, kinds) = send(connection.clone(), &types).await;
            let kinds = kinds.map_err(|error| self.failed(&error))?;

            let mut learnt = Vec::with_capacity(part.len());
            for ((position, read), kind) in part.iter().zip(&kinds) {
                let Some(Tracked::Number(slot)) = self.tracked.get_mut(read.index()) else { continue };
                match slot.learn(kind) {
                    Ok(_) => learnt.push((*position, *read)),
                    Err(failure) => answers.fail(*position, failure),
                }
            }
            self.learnt += 1;

            let again = self.chunk(&learnt, at.unix_millis);
            if again.reads.is_empty() {
                continue;
            }
            let (_, counts) = send(connection.clone(), &again).await;
            let counts = counts.map_err(|error| self.failed(&error))?;
            for ((position, _), count) in learnt.iter().zip(&counts) {
                // Anything but a number leaves the failure that is there: the key changes its type as we look.
                if let Value::Int(items) = count {
                    answers.set(*position, *items as f64);
                }
            }
        }
        Ok(())
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
            let is_due = |read: &ReadId| match self.tracked.get(read.index()) {
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
                if let Some(Tracked::Survey(standing)) = self.tracked.get_mut(read.index()) {
                    standing.conclude(at, spread(read), facts, kept);
                }
            }
        }
        for (position, read) in surveys {
            match self.tracked.get(read.index()) {
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

    fn failed(&self, error: &redis::RedisError) -> ReadFailure {
        classify::connection_failure(&self.connector.server().address, error)
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

async fn send(mut connection: MultiplexedConnection, chunk: &Chunk) -> (&Chunk, redis::RedisResult<Vec<Value>>) {
    // Unlike `query_async` this gives every reply as it came, errors among them.
    let replies = connection.send_packed_commands(&chunk.pipeline, 0, chunk.reads.len()).await;
    (chunk, replies)
}

impl Backend for RedisBackend {
    type Link = Link;
    type Batch = Batch;

    fn track(&mut self, read: &Read) -> ReadId {
        let tracked = match (Slot::new(read), read) {
            (Some(slot), _) => Tracked::Number(slot),
            (None, Read::Survey(survey)) => Tracked::Survey(Standing::new(Arc::clone(survey))),
            (None, _) => Tracked::Stranger,
        };
        if let Some(id) = self.free.pop() {
            if let Some(old) = self.tracked.get_mut(id.index()) {
                *old = tracked;
            }
            return id;
        }
        self.tracked.push(tracked);
        ReadId(u32::try_from(self.tracked.len() - 1).unwrap_or(u32::MAX))
    }

    fn untrack(&mut self, id: ReadId) {
        self.free.push(id);
    }

    fn prepare(&mut self, reads: &[ReadId]) -> Batch {
        let placed = reads.iter().copied().enumerate();
        let (numbers, surveys): (Vec<_>, Vec<_>) = placed.partition(|(_, read)| self.number(*read).is_some());
        let in_cluster = matches!(self.connector.server().topology, Topology::Cluster { .. });
        let (numbers, alone) = if in_cluster { (numbers, Vec::new()) } else { (Vec::new(), numbers) };
        let chunks = alone.chunks(CHUNK).map(|reads| self.chunk(reads, 0)).collect();
        Batch { chunks, numbers, spread: Spread::default(), surveys, reads: reads.len(), learnt: self.learnt }
    }

    fn commands(&self, batch: &Batch, reads: usize, now: Tick) -> usize {
        let survey = |(_, read): &(usize, ReadId)| match self.tracked.get(read.index()) {
            Some(Tracked::Survey(standing)) => standing.commands(now),
            _ => 0,
        };
        reads - batch.surveys.len().min(reads) + batch.surveys.iter().map(survey).sum::<usize>()
    }

    fn connect(&self) -> impl Future<Output = Result<Link, ReadFailure>> + Send + 'static {
        self.connector.clone().connect()
    }

    fn made_of(link: &Link) -> Option<Material> {
        link.material()
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
            for tracked in &mut self.tracked {
                if let Tracked::Survey(standing) = tracked {
                    standing.interrupted();
                }
            }
        }
        outcome
    }
}

impl RedisBackend {
    /// Asks for everything in `batch`.
    async fn round(
        &mut self,
        link: &mut Link,
        batch: &mut Batch,
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        answers.begin(batch.reads);
        let learnt = batch.learnt != self.learnt;
        let chunks = batch.chunks.iter_mut().chain(batch.spread.chunks());
        for chunk in chunks.filter(|chunk| learnt || chunk.goes_by_time) {
            chunk.pipeline = self.pipeline(&chunk.reads, |slot, pipeline| slot.ask(at.unix_millis, pipeline));
        }
        batch.learnt = self.learnt;
        match &mut link.servers {
            Servers::One(one) => {
                one.settle().await?;
                self.ask_one(&one.wire().connection(), &batch.chunks, at, answers).await?;
                if !one.vouch().await? {
                    // By another server now, which has just been found to be the right one.
                    answers.begin(batch.reads);
                    self.ask_one(&one.wire().connection(), &batch.chunks, at, answers).await?;
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
