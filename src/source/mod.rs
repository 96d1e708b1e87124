//! Reality -> samples: one backend a server, each of which answers a whole batch of reads at once.
//!
//! The poller owns the schedule, the connection's life (when to connect, how long to back off) and the samples; a
//! backend knows how to connect, how to ask cheapest, and what an answer means. A read that fails alone (wrong type,
//! no permission) is one failed answer; a server that fails as a whole makes `fetch` return `Err`, and every read of
//! the batch has failed with it.

pub mod endpoints;
mod kept;
pub(crate) mod material;
pub mod memory;
pub(crate) mod network;
pub mod postgres;
pub mod prometheus;
pub mod redis;
pub mod secrets;
pub(crate) mod tls;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use self::redis::Survey;
use crate::model::{Observation, ReadFailure, Tick};
use crate::spec::{Postgres, PrometheusQuery, PrometheusScrape, Source};

/// One thing to ask a server, the unit that autoscalers share: two triggers that name one key are one read.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Read {
    /// Number of items under a Redis key, whatever countable type it is of.
    Length(Arc<str>),
    /// Number of items under a Redis key of a known type: one command, one number.
    Count { command: Count, key: Arc<str> },
    /// Number of members of a sorted set of times on one side of now: one command, one number.
    Scored { key: Arc<str>, side: Side, unit: TimeUnit },
    /// A question of several steps, or whose answer is more than a number.
    Survey(Arc<Survey>),
    /// What a query to a Prometheus finds.
    Query(Arc<PrometheusQuery>),
    /// What exporters expose.
    Scrape(Arc<PrometheusScrape>),
    /// How far projections are behind, or what a query to a PostgreSQL finds.
    Lag(Arc<Postgres>),
    /// Number of items in an embedded queue.
    Queue(Arc<str>),
}

/// The command that counts a key of a known type. Each is O(1) on the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Count {
    List,
    Set,
    SortedSet,
    Hash,
    Stream,
}

/// Which members of a sorted set of times count.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    /// Up to now: what is due.
    Due,
    /// From now on: what has not run out yet.
    Ahead,
}

/// What a framework counts time in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TimeUnit {
    /// Seconds since the epoch, with a fraction.
    Seconds,
    Millis,
    /// BullMQ's: milliseconds times 4096, and a sequence number in what that leaves free.
    BullMillis,
}

/// One read of a trigger, and what its answer counts as.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub read: Read,
    pub role: Role,
    /// Without it the observation is poorer, but right: should it fail alone, its fact is not known, and the others stand.
    pub optional: bool,
}

impl Wanted {
    pub(crate) fn ready(read: Read) -> Self {
        Wanted { read, role: Role::Ready, optional: false }
    }

    pub(crate) fn due(read: Read) -> Self {
        Wanted { read, role: Role::Due, optional: false }
    }

    pub(crate) fn in_flight(read: Read) -> Self {
        Wanted { read, role: Role::InFlight, optional: false }
    }

    /// All that there is to know.
    pub(crate) fn whole(read: Read) -> Self {
        Wanted { read, role: Role::Facts, optional: false }
    }

    pub(crate) fn facts(survey: Survey, optional: bool) -> Self {
        Wanted { read: Read::Survey(Arc::new(survey)), role: Role::Facts, optional }
    }
}

/// What an answer counts as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Ready,
    /// Delayed work that is due.
    Due,
    InFlight,
    /// What it is for itself: a survey's partial observation.
    Facts,
}

/// When something is asked: both clocks, because queues know only one of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moment {
    pub tick: Tick,
    /// Milliseconds since the epoch, as the machine's clock has it.
    pub unix_millis: u64,
}

/// The reads of a source.
#[must_use]
pub fn wanted_by(source: &Source) -> Vec<Wanted> {
    match source {
        Source::Memory { queue } => vec![Wanted::ready(Read::Queue(Arc::clone(queue)))],
        Source::Postgres(postgres) => vec![Wanted::whole(Read::Lag(Arc::new(postgres.clone())))],
        Source::PrometheusQuery(query) => vec![Wanted::whole(Read::Query(Arc::new(query.clone())))],
        Source::PrometheusScrape(scrape) => vec![Wanted::whole(Read::Scrape(Arc::new(scrape.clone())))],
        on_redis => redis::wanted_by(on_redis),
    }
}

/// Handle of a read inside one backend: dense, given out by [`Backend::track`], reused after [`Backend::untrack`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(pub u32);

impl ReadId {
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One server, owned by one poller task.
///
/// What is expensive to work out is worked out once: `prepare` turns a set of reads into a [`Backend::Batch`] that
/// `fetch` sends again and again.
pub trait Backend: Send + 'static {
    /// An open connection. Dropping it closes it.
    type Link: Send;
    /// What it takes to ask for one set of reads.
    type Batch: Send;

    /// Begins to know a read. The caller tracks a read once, however many triggers share it.
    fn track(&mut self, read: &Read) -> ReadId;

    /// Forgets a read. Batches that contain it must not be used again.
    fn untrack(&mut self, id: ReadId);

    /// Prepares to ask for `reads`, each of them tracked.
    fn prepare(&mut self, reads: &[ReadId]) -> Self::Batch;

    /// How many commands it takes, about, to answer `batch`, which is of so many reads. A cap goes by it.
    fn commands(&self, _batch: &Self::Batch, reads: usize, _now: Tick) -> usize {
        reads
    }

    /// Opens a connection, ready to be asked; bounded by the connection's own timeout. The future borrows nothing, so
    /// that the poller stays responsive while a server takes its time.
    fn connect(&self) -> impl Future<Output = Result<Self::Link, ReadFailure>> + Send + 'static;

    /// What `link` was made of. `None` where none of it can change under a link, and nobody needs to look.
    fn made_of(_link: &Self::Link) -> Option<Material> {
        None
    }

    /// What a link opened now would be made of. May take as long as a hanging mount takes; borrows nothing.
    fn look(&self) -> impl Future<Output = Option<Material>> + Send + 'static {
        std::future::ready(None)
    }

    /// What `link` has cost its server since the last call.
    fn take_load(_link: &mut Self::Link) -> Load {
        Load::default()
    }

    /// What a server does not grant us, what that costs, and the cure; each only once.
    fn grievance(&mut self, _link: &Self::Link) -> Option<String> {
        None
    }

    /// Says when a look is worth it before its time; `None` where nobody can say.
    fn changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Answers the reads of `batch` as of `at`, each at its position in what was given to [`Backend::prepare`]; bounded
    /// by the connection's own timeout.
    ///
    /// # Errors
    /// The server as a whole could not be asked; `answers` means nothing then, and `link` must not be used again.
    fn fetch(
        &mut self,
        link: &mut Self::Link,
        batch: &mut Self::Batch,
        at: Moment,
        answers: &mut Answers,
    ) -> impl Future<Output = Result<(), ReadFailure>> + Send;

    /// Waits until the server says that something changed under reads that were empty, and appends those. May be
    /// dropped at any time and called again; a backend whose server says no such thing waits for ever.
    ///
    /// # Errors
    /// As for [`Backend::fetch`].
    fn woken(
        &mut self,
        _link: &mut Self::Link,
        _reads: &mut Vec<ReadId>,
    ) -> impl Future<Output = Result<(), ReadFailure>> + Send {
        std::future::pending()
    }
}

/// What reading costs a server.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Load {
    pub commands: u64,
    /// Bytes to the server.
    pub sent: u64,
    /// Bytes from it.
    pub received: u64,
}

impl Load {
    #[must_use]
    pub fn and(self, other: Load) -> Load {
        Load {
            commands: self.commands + other.commands,
            sent: self.sent + other.sent,
            received: self.received + other.received,
        }
    }
}

/// What the secrets and certificates of a link were when it was opened, as far as files and the cluster's Secrets hold them: enough to tell
/// whether they are others now, and nothing else. A hash under a key that only this process has, kept in memory only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Material(u64);

impl Material {
    #[must_use]
    pub const fn from_hash(hash: u64) -> Self {
        Material(hash)
    }

    /// What is made of two things that may change. `None`: neither of them does.
    #[must_use]
    pub fn of_both(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        match (one, other) {
            (one, None) => one,
            (None, other) => other,
            // They are hashes under different keys: that they outweigh each other is as likely as that two are the same.
            (Some(one), Some(other)) => Some(Material(one.0.rotate_left(32) ^ other.0)),
        }
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The answers to one batch, by position in it.
///
/// Numbers, facts and failures lie apart: a round of ten thousand numbers is then eight bytes each in one block that is
/// reused for ever, and the rarer cases cost only themselves. Positions may be answered in any order.
#[derive(Default, Debug)]
pub struct Answers {
    /// Items; NaN where the answer is elsewhere, or there is none.
    values: Vec<f64>,
    facts: Vec<Observation>,
    /// Where in `facts` that of each position is, [`NO_FACTS`] where there is none; empty while there are no facts at all.
    places: Vec<u32>,
    failures: BTreeMap<u32, ReadFailure>,
}

impl Answers {
    /// Forgets everything, keeps the memory, and makes room for the answers to `reads` reads.
    pub fn begin(&mut self, reads: usize) {
        self.values.clear();
        self.values.resize(reads, f64::NAN);
        self.facts.clear();
        self.places.clear();
        self.failures.clear();
    }

    /// Where numbers may be written in place: NaN means no number.
    pub fn values_mut(&mut self) -> &mut [f64] {
        &mut self.values
    }

    /// The read at `position` found `items`, which also replaces a failure there. Negative numbers, which no server
    /// should send, count as none.
    #[inline]
    pub fn set(&mut self, position: usize, items: f64) {
        if let Some(value) = self.values.get_mut(position) {
            // `max` of NaN and 0.0 is 0.0: NaN stays ours as the mark of no number.
            *value = items.max(0.0);
        }
    }

    /// The survey at `position` found this.
    pub fn set_facts(&mut self, position: usize, facts: Observation) {
        if self.places.is_empty() {
            self.places.resize(self.values.len(), NO_FACTS);
        }
        let Some(place) = self.places.get_mut(position) else { return };
        if let Some(there) = self.facts.get_mut(*place as usize) {
            *there = facts;
        } else {
            *place = narrow(self.facts.len());
            self.facts.push(facts);
        }
    }

    /// The read at `position` failed.
    pub fn fail(&mut self, position: usize, failure: ReadFailure) {
        if let Some(value) = self.values.get_mut(position) {
            *value = f64::NAN;
            self.failures.insert(narrow(position), failure);
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Why reads failed, one for each that did.
    pub fn failures(&self) -> impl Iterator<Item = &ReadFailure> {
        let failed = |position: usize| self.values.get(position).is_some_and(|value| value.is_nan());
        self.failures.iter().filter(move |(position, _)| failed(**position as usize)).map(|(_, failure)| failure)
    }

    /// The answer at `position`; `None` if there is none.
    #[inline]
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Answer<'_>> {
        let items = *self.values.get(position)?;
        if items.is_nan() { self.elsewhere(position) } else { Some(Answer::Items(items)) }
    }

    #[cold]
    fn elsewhere(&self, position: usize) -> Option<Answer<'_>> {
        let failure = || self.failures.get(&narrow(position)).map(Answer::Failed);
        let place = self.places.get(position).copied().unwrap_or(NO_FACTS);
        self.facts.get(place as usize).map(Answer::Facts).or_else(failure)
    }
}

/// No batch has so many.
const NO_FACTS: u32 = u32::MAX;

/// A batch holds at most `u32::MAX` reads because their handles are `u32`.
fn narrow(position: usize) -> u32 {
    u32::try_from(position).unwrap_or(u32::MAX)
}

/// The answer to one read.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Answer<'a> {
    Items(f64),
    Facts(&'a Observation),
    Failed(&'a ReadFailure),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FailureKind;

    #[test]
    fn answers_have_their_place_in_whatever_order_they_come() {
        let mut answers = Answers::default();
        answers.begin(6);
        answers.fail(4, ReadFailure::new(FailureKind::Timeout, "second"));
        answers.fail(1, ReadFailure::new(FailureKind::WrongType, "first"));
        answers.set(0, 3.0);
        answers.set(2, -1.0);
        answers.set_facts(3, Observation::of_backlog(7.0));

        assert_eq!(answers.get(0), Some(Answer::Items(3.0)));
        assert!(matches!(answers.get(1), Some(Answer::Failed(failure)) if &*failure.message == "first"));
        assert_eq!(answers.get(2), Some(Answer::Items(0.0)));
        assert_eq!(answers.get(3), Some(Answer::Facts(&Observation::of_backlog(7.0))));
        assert!(matches!(answers.get(4), Some(Answer::Failed(failure)) if &*failure.message == "second"));
        assert_eq!(answers.get(5), None);
        assert_eq!(answers.get(6), None);

        answers.set(1, 1.0);
        assert_eq!(answers.get(1), Some(Answer::Items(1.0)));
        assert_eq!(answers.failures().count(), 1);
        answers.begin(2);
        assert_eq!((answers.get(0), answers.get(1)), (None, None));
    }
}
