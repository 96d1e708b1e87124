//! Redis: the length of ten thousand keys in one round, cheaply.
//!
//! Requests are pipelines that are built once for a set of reads and sent again and again. A long round goes out in
//! chunks of [`CHUNK`], all on their way at once; replies are taken one by one, so that a key which cannot be counted
//! fails alone. No script and no command that costs more than O(1): a queue's own traffic never waits for us.
//!
//! The parts: `material` reads secrets and certificates, `tls` encrypts, `connect` opens and logs in, `length` knows
//! which command counts a key, `classify` puts refusals into words. A faster hot path (own socket, replies parsed in
//! place) would replace [`RedisBackend::ask`] and nothing else: [`Answers`] has no type of the library's in it.

mod classify;
mod connect;
mod length;
mod material;
mod tls;

use std::future::Future;

use futures_util::stream::{FuturesOrdered, StreamExt};
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};
use tokio::sync::watch;

use self::connect::Connector;
pub use self::connect::Link;
use self::length::{Slot, Verdict};
use super::secrets::Secrets;
use super::{Answers, Backend, Material, Read, ReadId};
use crate::model::ReadFailure;
use crate::spec::RedisServer;

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
    slots: Vec<Slot>,
    free: Vec<ReadId>,
    /// Grows with everything that is learnt about a key: a batch prepared under an older number is prepared again.
    learnt: u64,
}

/// Pipelines for one set of reads.
pub struct Batch {
    chunks: Vec<Chunk>,
    learnt: u64,
}

struct Chunk {
    reads: Vec<ReadId>,
    pipeline: Pipeline,
}

/// A read whose key turned out to be of another type, and where its answer lies.
struct Surprise {
    position: usize,
    read: ReadId,
}

impl RedisBackend {
    #[must_use]
    pub fn new(server: RedisServer, secrets: Secrets) -> Self {
        RedisBackend { connector: Connector::new(server, secrets), slots: Vec::new(), free: Vec::new(), learnt: 0 }
    }

    fn slot(&self, read: ReadId) -> Option<&Slot> {
        self.slots.get(read.index())
    }

    fn pipeline(&self, reads: &[ReadId], ask: impl Fn(&Slot, &mut Pipeline)) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(reads.len());
        for slot in reads.iter().filter_map(|read| self.slot(*read)) {
            ask(slot, &mut pipeline);
        }
        pipeline
    }

    fn chunk(&self, reads: &[ReadId]) -> Chunk {
        Chunk { reads: reads.to_vec(), pipeline: self.pipeline(reads, Slot::ask) }
    }

    /// Sends all chunks and takes their replies in order.
    async fn ask(
        &self,
        link: &Link,
        chunks: &[Chunk],
        answers: &mut Answers,
        surprises: &mut Vec<Surprise>,
    ) -> Result<(), ReadFailure> {
        let mut waiting = chunks.iter();
        let mut flying: FuturesOrdered<_> =
            waiting.by_ref().take(IN_FLIGHT).map(|chunk| send(link.connection(), chunk)).collect();
        while let Some((chunk, replies)) = flying.next().await {
            let replies = replies.map_err(|error| self.failed(&error))?;
            if let Some(next) = waiting.next() {
                flying.push_back(send(link.connection(), next));
            }
            self.take(&chunk.reads, &replies, answers, surprises)?;
        }
        Ok(())
    }

    fn take(
        &self,
        reads: &[ReadId],
        replies: &[Value],
        answers: &mut Answers,
        surprises: &mut Vec<Surprise>,
    ) -> Result<(), ReadFailure> {
        let address = &self.connector.server().address;
        for (read, reply) in reads.iter().zip(replies) {
            match length::take(address, self.slot(*read), reply, answers) {
                Verdict::Settled => {}
                Verdict::Relearn => surprises.push(Surprise { position: answers.len() - 1, read: *read }),
                Verdict::Server(failure) => return Err(failure),
            }
        }
        Ok(())
    }

    /// Learns the types of keys that surprised us, and asks them again the right way, within the same round.
    async fn relearn(&mut self, link: &Link, surprises: &[Surprise], answers: &mut Answers) -> Result<(), ReadFailure> {
        for part in surprises.chunks(CHUNK) {
            let reads: Vec<ReadId> = part.iter().map(|surprise| surprise.read).collect();
            let types = Chunk { pipeline: self.pipeline(&reads, Slot::ask_type), reads };
            let (_, kinds) = send(link.connection(), &types).await;
            let kinds = kinds.map_err(|error| self.failed(&error))?;

            let mut learnt = Vec::with_capacity(part.len());
            for (surprise, kind) in part.iter().zip(&kinds) {
                let Some(slot) = self.slots.get_mut(surprise.read.index()) else { continue };
                match slot.learn(kind) {
                    Ok(_) => learnt.push(surprise),
                    Err(failure) => answers.replace_failure(surprise.position, failure),
                }
            }
            self.learnt += 1;

            let again = self.chunk(&learnt.iter().map(|surprise| surprise.read).collect::<Vec<_>>());
            if again.reads.is_empty() {
                continue;
            }
            let (_, counts) = send(link.connection(), &again).await;
            let counts = counts.map_err(|error| self.failed(&error))?;
            for (surprise, count) in learnt.iter().zip(&counts) {
                // Anything but a number leaves the failure that is there: the key changes its type as we look.
                if let Value::Int(items) = count {
                    answers.replace(surprise.position, *items as f64);
                }
            }
        }
        Ok(())
    }

    fn failed(&self, error: &redis::RedisError) -> ReadFailure {
        classify::connection_failure(&self.connector.server().address, error)
    }
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
        let (Read::Length(key) | Read::Queue(key)) = read;
        let slot = Slot::new(key.clone());
        if let Some(id) = self.free.pop() {
            if let Some(old) = self.slots.get_mut(id.index()) {
                *old = slot;
            }
            return id;
        }
        self.slots.push(slot);
        ReadId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
    }

    fn untrack(&mut self, id: ReadId) {
        self.free.push(id);
    }

    fn prepare(&mut self, reads: &[ReadId]) -> Batch {
        Batch { chunks: reads.chunks(CHUNK).map(|reads| self.chunk(reads)).collect(), learnt: self.learnt }
    }

    fn connect(&self) -> impl Future<Output = Result<Link, ReadFailure>> + Send + 'static {
        self.connector.clone().connect()
    }

    fn made_of(link: &Link) -> Option<Material> {
        link.material()
    }

    fn look(&self) -> impl Future<Output = Option<Material>> + Send + 'static {
        self.connector.reader().clone().look()
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        self.connector.reader().changes()
    }

    async fn fetch(&mut self, link: &mut Link, batch: &mut Batch, answers: &mut Answers) -> Result<(), ReadFailure> {
        if batch.learnt != self.learnt {
            for chunk in &mut batch.chunks {
                chunk.pipeline = self.pipeline(&chunk.reads, Slot::ask);
            }
            batch.learnt = self.learnt;
        }
        let mut surprises = Vec::new();
        self.ask(link, &batch.chunks, answers, &mut surprises).await?;
        if surprises.is_empty() { Ok(()) } else { self.relearn(link, &surprises, answers).await }
    }
}
