//! Memory that survives the end of all processes: who asks the engine's owner for it, writes it down, and reads it at the
//! start.
//!
//! Every 15 to 30 seconds whoever leads asks the runtime what is new since the last time
//! ([`crate::engine::Envelope`] says why a steady autoscaler has nothing new), and writes the shards that it belongs to.
//! Which shard an autoscaler belongs to follows from its name. Where a write fails the shard stays to be written, and the
//! next round tries again: a failure costs the freshness of a memory and never a decision.
//!
//! What is read at the start goes to the runtime, which gives it to the engine when the spec of the autoscaler comes, as
//! an incomplete memory. Until the runtime has said something newer of an autoscaler, what was read of it is written
//! again with every write of its shard: a process that is ended before it has seen a workload loses nothing.
//!
//! Time between two processes is wall-clock time. A clock that went back counts as no time at all, so that everything
//! is held longer; what a clock that jumped ahead shortens is held by the rules for incomplete memories.

pub mod codec;
pub mod folder;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::engine::{Envelope, Memory};
use crate::model::{AutoscalerId, Key, Tick, fnv1a};
use crate::telemetry::names;

/// Shards of a checkpoint. Ten thousand autoscalers are one to two megabytes, and a ConfigMap holds one: so each of eight
/// has several times the room it needs, and a burst of changes is eight requests.
pub const SHARDS: usize = 8;

/// The pause between two checkpoints is this and up to as much again, by lot: processes that were started together do not
/// write together. (The engine counts on at most twice this; see `YOUNG` in `engine/envelope.rs`.)
const PAUSE: Duration = Duration::from_secs(15);

/// How long what was read at the start waits for its autoscaler. Specs are there within seconds where the API server is;
/// an hour is a long outage of it.
pub const CLAIMED_WITHIN: Duration = Duration::from_secs(3600);

/// The longest that a memory is taken to have lain. Every window, period and cooldown has ended long before.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long the runtime may take to answer. Ten thousand autoscalers take it half a second.
const ANSWER: Duration = Duration::from_secs(10);

/// Asks the runtime for what changed since the last time.
#[derive(Debug)]
pub struct Ask {
    /// Whoever asks knows nothing yet.
    pub everything: bool,
    pub reply: oneshot::Sender<Vec<Note>>,
}

/// What is new of one autoscaler.
#[derive(Clone, PartialEq, Debug)]
pub enum Note {
    Remember(AutoscalerId, Envelope),
    Forget(AutoscalerId),
}

/// What was told of each autoscaler last, so that only what is new is told.
#[derive(Default)]
pub struct Told(Vec<Option<Envelope>>);

impl Told {
    /// What is new of the autoscaler `key`, if anything is; it counts as told then.
    pub fn note(&mut self, key: Key, id: &AutoscalerId, envelope: Envelope, now: Tick) -> Option<Note> {
        if self.0.len() <= key.index() {
            self.0.resize(key.index() + 1, None);
        }
        let told = self.0.get_mut(key.index())?;
        if told.as_ref().is_some_and(|told| told.still_says(&envelope, now)) {
            return None;
        }
        *told = Some(envelope.clone());
        Some(Note::Remember(id.clone(), envelope))
    }

    #[must_use]
    pub fn is_told(&self, key: Key) -> bool {
        self.0.get(key.index()).is_some_and(Option::is_some)
    }

    /// It is gone. Returns whether it was told of.
    pub fn forget(&mut self, key: Key) -> bool {
        self.0.get_mut(key.index()).and_then(Option::take).is_some()
    }

    /// Whoever asks next knows nothing.
    pub fn forget_all(&mut self) {
        self.0.clear();
    }
}

/// A memory of before this process.
#[derive(Clone, PartialEq, Debug)]
pub struct Restored {
    pub memory: Memory,
    /// Between its writing and `read`.
    pub elapsed: Duration,
    pub read: Tick,
}

impl Restored {
    /// How long ago it was written.
    #[must_use]
    pub fn age(&self, now: Tick) -> Duration {
        self.elapsed.saturating_add(now.since(self.read))
    }
}

/// Where shards lie.
pub trait Store: Send {
    /// For metrics and logs.
    const LABEL: &'static str;

    /// Bytes that one shard may have.
    fn room(&self) -> usize;

    /// Every shard that is there, or why it cannot be had.
    fn load(&mut self) -> impl Future<Output = Vec<Stored>> + Send;

    /// Replaces one.
    fn save(&mut self, shard: usize, bytes: Vec<u8>) -> impl Future<Output = Result<Saved, StoreError>> + Send;
}

/// A shard as found.
#[derive(Debug)]
pub struct Stored {
    pub shard: usize,
    /// Where it was found, for people.
    pub place: String,
    pub bytes: Result<Vec<u8>, StoreError>,
}

/// What became of a shard that was to be saved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Saved {
    Written,
    /// Somebody else wrote it since it was read: another leader, whose memory is as good.
    Overtaken,
}

/// Place, what happened, and what helps where that is known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Memories of before, by the autoscaler they are of.
pub type Memories = HashMap<AutoscalerId, Restored>;

/// Reads what was written down before. What cannot be read is said and left out: starting without is what a first start
/// does as well.
pub async fn load(store: &mut impl Store, clock: Clock) -> Memories {
    let stored = store.load().await;
    let read = clock.now();
    let mut memories = Memories::new();
    for Stored { place, bytes, .. } in stored {
        let shard = match bytes.map_err(|error| error.to_string()) {
            Ok(bytes) => codec::read(&bytes).map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        match shard {
            Ok(shard) => {
                if shard.unreadable > 0 {
                    tracing::warn!(place, memories = shard.unreadable, "memories of another release are not read");
                }
                let elapsed = elapsed(shard.written, clock.wall(read));
                let restored = |memory| Restored { memory, elapsed, read };
                memories.extend(shard.memories.into_iter().map(|(id, memory)| (id, restored(memory))));
            }
            Err(error) => {
                tracing::warn!(place, error, "this part of the checkpoint cannot be read; starting without it");
            }
        }
    }
    if !memories.is_empty() {
        tracing::info!(store = store_label(store), autoscalers = memories.len(), "checkpoint read");
    }
    memories
}

fn store_label<S: Store>(_: &S) -> &'static str {
    S::LABEL
}

fn elapsed(written: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(written).unwrap_or_default().min(LONGEST)
}

/// Writes checkpoints for as long as the process runs.
pub struct Checkpointer<S> {
    clock: Clock,
    store: S,
    asks: mpsc::Sender<Ask>,
    /// As read at the start, until the runtime knows better.
    before: Memories,
    /// As told by the runtime, by shard.
    told: [BTreeMap<AutoscalerId, Envelope>; SHARDS],
    /// What is told is not what is stored.
    due: [bool; SHARDS],
    /// The store has something in it.
    there: [bool; SHARDS],
    /// Nothing was told since this process may write.
    fresh: bool,
    /// The last round failed, and that was said.
    failing: bool,
}

impl<S: Store> Checkpointer<S> {
    /// `before`: as [`load`] gave it, for what is not seen again before the first write.
    #[must_use]
    pub fn new(clock: Clock, store: S, asks: mpsc::Sender<Ask>, before: Memories) -> Self {
        for outcome in ["ok", "error"] {
            metrics::counter!(names::CHECKPOINT_WRITES, "store" => S::LABEL, "outcome" => outcome).increment(0);
        }
        Checkpointer {
            clock,
            store,
            asks,
            before,
            told: Default::default(),
            due: [false; SHARDS],
            there: [false; SHARDS],
            fresh: true,
            failing: false,
        }
    }

    /// Writes while `may_write` says so, and once more when it is told to stop, as long as the runtime still answers.
    pub async fn run(mut self, may_write: impl Fn() -> bool + Send, stop: CancellationToken) {
        let lots = RandomState::new();
        let mut round = 0_u64;
        loop {
            round += 1;
            let pause = PAUSE + PAUSE.mul_f64(lots.hash_one(round) as f64 / u64::MAX as f64);
            let stopping = tokio::select! {
                () = stop.cancelled() => true,
                () = tokio::time::sleep(pause) => false,
            };
            if !may_write() {
                // Whoever writes now has other memories than ours.
                self.fresh = true;
            } else if self.checkpoint().await.is_none() || stopping {
                return;
            }
            if stopping {
                return;
            }
        }
    }

    /// One round. Returns how many shards were written; `None` where the runtime is gone.
    pub async fn checkpoint(&mut self) -> Option<usize> {
        if self.fresh {
            self.told = Default::default();
            self.due = [false; SHARDS];
            self.there = [false; SHARDS];
            for stored in self.store.load().await {
                if let Some(there) = self.there.get_mut(stored.shard) {
                    *there = true;
                }
            }
        }
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask { everything: self.fresh, reply }).await.ok()?;
        let Ok(notes) = tokio::time::timeout(ANSWER, answer).await else {
            // What it was about to say is lost.
            self.fresh = true;
            return Some(0);
        };
        let notes = notes.ok()?;
        if std::mem::take(&mut self.fresh) {
            // What a former leader left of autoscalers that are no more.
            self.due = self.there;
        }
        for note in notes {
            self.take(note);
        }
        Some(self.write().await)
    }

    fn take(&mut self, note: Note) {
        let (Note::Remember(id, _) | Note::Forget(id)) = &note;
        self.before.remove(id);
        let shard = shard_of(id);
        let (Some(told), Some(due)) = (self.told.get_mut(shard), self.due.get_mut(shard)) else { return };
        *due = true;
        match note {
            Note::Remember(id, envelope) => drop(told.insert(id, envelope)),
            Note::Forget(id) => drop(told.remove(&id)),
        }
    }

    async fn write(&mut self) -> usize {
        let now = self.clock.now();
        self.before.retain(|_, restored| now.since(restored.read) < CLAIMED_WITHIN);
        let (mut written, mut left_out, mut failed) = (0, 0, None);
        for shard in 0..SHARDS {
            if !self.due.get(shard).is_some_and(|due| *due) {
                continue;
            }
            let mut writer = codec::Writer::new(self.clock.wall(now), self.store.room());
            for (id, envelope) in self.told.get(shard).into_iter().flatten() {
                writer.push(id, &envelope.memory(now));
            }
            for (id, restored) in self.before.iter().filter(|(id, _)| shard_of(id) == shard) {
                writer.push(id, &restored.memory.aged(restored.age(now)));
            }
            let (bytes, without) = writer.finish();
            left_out += without;
            metrics::counter!(names::CHECKPOINT_BYTES, "store" => S::LABEL).increment(bytes.len() as u64);
            let outcome = self.store.save(shard, bytes).await;
            let label = if outcome.is_ok() { "ok" } else { "error" };
            metrics::counter!(names::CHECKPOINT_WRITES, "store" => S::LABEL, "outcome" => label).increment(1);
            match outcome {
                Ok(Saved::Written) => {
                    written += 1;
                    if let (Some(due), Some(there)) = (self.due.get_mut(shard), self.there.get_mut(shard)) {
                        (*due, *there) = (false, true);
                    }
                }
                // Whoever that was leads, or did a moment ago: should it still be us, everything is compared anew.
                Ok(Saved::Overtaken) => self.fresh = true,
                Err(error) => failed = Some(error),
            }
        }
        self.say(failed, left_out);
        written
    }

    /// Once when it begins to fail, and once when it is over.
    fn say(&mut self, failed: Option<StoreError>, left_out: usize) {
        let problem = failed.map(|error| error.to_string()).or_else(|| {
            (left_out > 0).then(|| format!("{left_out} autoscalers find no room in it and will start without memory"))
        });
        match (&problem, self.failing) {
            (Some(problem), false) => {
                tracing::warn!(store = S::LABEL, problem, "checkpoint not written, or not all of it; trying again");
            }
            (None, true) => tracing::info!(store = S::LABEL, "checkpoints are written again"),
            _ => {}
        }
        self.failing = problem.is_some();
    }
}

/// Which shard an autoscaler belongs to: the same in every process and release.
#[must_use]
pub fn shard_of(id: &AutoscalerId) -> usize {
    let hash = fnv1a(id.namespace.bytes()).rotate_left(32) ^ fnv1a(id.name.bytes());
    // FNV alone hardly spreads what differs in its last letter: the mixing step of MurmurHash3.
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    usize::try_from((hash >> 40) % SHARDS as u64).unwrap_or(0)
}
