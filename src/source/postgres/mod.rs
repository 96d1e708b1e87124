//! PostgreSQL: how far projections are behind the events that they are made of, or any number that a query gives.
//!
//! One link is one session on one database, and everything that is asked of that database goes over it. There is no pool:
//! the poller's task is the only one who asks, one round at a time, and it owns the session's life. Several sessions
//! would be several processes on the server that wait for one client.
//!
//! All projections of one kind of store (with the same tables) are one prepared statement, however many autoscalers
//! they belong to; a query of the user's is one of its own. The statements of a round are on their way together. One
//! that fails fails its reads alone; one that took too long twice in a row rests for a while ([`Rest`]), because
//! those behind it wait for it. The server keeps the bound on a statement (`statement_timeout`) and forbids it to write.
//!
//! The parts: `connect` logs in, `url` takes a whole URL apart, `link` is the session, `stores` knows what event stores
//! keep where, `query` wraps what users write, `wake` hears `NOTIFY`, `classify` puts refusals into words.

mod classify;
mod connect;
mod counted;
mod link;
mod query;
mod stores;
mod url;
mod wake;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_postgres::Row;

use self::connect::Connector;
pub use self::link::Link;
use self::link::{Failed, Ready};
use self::stores::{Ask, Trouble};
use super::kept::Kept;
use super::secrets::Secrets;
use super::{Answers, Backend, Load, Material, Moment, Read, ReadId};
use crate::model::{FailureKind, ReadFailure, Tick};
use crate::spec::grants::Fence;
use crate::spec::report::closest;
use crate::spec::{Postgres, PostgresRead, PostgresServer};

/// One database of a PostgreSQL.
pub struct PostgresBackend {
    connector: Connector,
    /// `None`: nobody's, or on no PostgreSQL.
    tracked: Kept<Option<Arc<Postgres>>>,
    /// Who wants to hear which channel.
    channels: BTreeMap<Arc<str>, usize>,
    /// Which list of channels that is.
    version: u64,
    resting: HashMap<Arc<str>, Rest, foldhash::fast::RandomState>,
    /// What was said about the server last, so that it is said once.
    said: Option<String>,
}

/// A statement that took too long. Asked again and again it would take up most of every round, and everybody else's
/// projections would be read that much more seldom; so it is left alone twice as long each time, from one
/// `responseTimeout` on. The first time counts for nothing: a server has its moments.
struct Rest {
    times: u32,
    until: Tick,
    failure: ReadFailure,
}

/// Statements of which it is known that they took too long: many more than a database can have and still answer others.
/// What manifests do not ask any more goes with the rest.
const KEPT: usize = 256;

/// Up to so many doublings: sixteen times `responseTimeout`.
const DOUBLINGS: u32 = 4;

/// One set of reads, prepared.
pub struct Batch {
    asks: Vec<Asked>,
    /// What cannot be asked.
    failed: Vec<(usize, ReadFailure)>,
    reads: usize,
}

/// One statement, and whom it answers.
struct Asked {
    family: PostgresRead,
    sql: Arc<str>,
    /// A cheaper statement that answers them as well, and the number of rows with which it does not; it goes when it has not.
    whole: Option<(Arc<str>, usize)>,
    ask: Ask,
    readers: Vec<(usize, Arc<Postgres>)>,
}

impl Asked {
    fn sql(&self) -> &Arc<str> {
        self.whole.as_ref().map_or(&self.sql, |(sql, _)| sql)
    }
}

/// A name that a store does not have.
struct Missing {
    position: usize,
    what: &'static str,
    name: String,
    listing: Option<String>,
}

impl PostgresBackend {
    #[must_use]
    pub fn new(server: PostgresServer, secrets: Secrets) -> Self {
        PostgresBackend {
            connector: Connector::new(server, secrets),
            tracked: Kept::default(),
            channels: BTreeMap::new(),
            version: 0,
            resting: HashMap::default(),
            said: None,
        }
    }

    /// Connects to nothing beyond `fence`, whatever a URL says.
    #[must_use]
    pub fn behind(self, fence: Fence) -> Self {
        PostgresBackend { connector: self.connector.behind(fence), ..self }
    }

    /// What came of one statement, for all whom it answers; false if it has to be another one.
    fn conclude(
        &mut self,
        asked: &Asked,
        outcome: &Result<Vec<Row>, Failed>,
        at: Tick,
        answers: &mut Answers,
        missing: &mut Vec<Missing>,
    ) -> bool {
        let found = match outcome {
            Ok(rows) => {
                self.resting.remove(asked.sql());
                stores::find(&asked.family, &asked.ask.wanted, rows).map_err(|_| {
                    let what = stores::subject(&asked.family);
                    let sentence =
                        format!("{what} gives other types than were asked for; is that the store that it is called?");
                    ReadFailure::new(FailureKind::WrongType, sentence)
                })
            }
            Err(Failed { failure, took_too_long }) => {
                if *took_too_long {
                    self.rest(asked.sql(), failure, at);
                }
                Err(failure.clone())
            }
        };
        if let (Ok(found), Some((_, limit))) = (&found, &asked.whole)
            && found.rows() >= *limit
        {
            return false;
        }
        for (number, (position, read)) in asked.readers.iter().enumerate() {
            let answer = found.as_ref().map_err(|failure| Trouble::Failed(failure.clone()));
            match answer.and_then(|found| found.answer(number, &read.read, &asked.ask.wanted)) {
                Ok(facts) => answers.set_facts(*position, facts),
                Err(Trouble::Failed(failure)) => answers.fail(*position, failure),
                Err(Trouble::Unknown { what, name }) => {
                    let listing = stores::listing(&asked.family);
                    missing.push(Missing { position: *position, what, name, listing });
                }
            }
        }
        true
    }

    /// Asks these statements of a batch; the numbers of those that have to be asked by name after all.
    async fn trip(
        &mut self,
        link: &mut Link,
        batch: &Batch,
        numbers: &[usize],
        at: Moment,
        answers: &mut Answers,
        missing: &mut Vec<Missing>,
    ) -> Result<Vec<usize>, ReadFailure> {
        let mut too_many = Vec::new();
        let mut ready = Vec::with_capacity(numbers.len());
        for (number, asked) in numbers.iter().filter_map(|number| Some((*number, batch.asks.get(*number)?))) {
            let what = stores::subject(&asked.family);
            let resting = self.resting.get(asked.sql()).filter(|rest| at.tick < rest.until);
            let failure = match resting {
                Some(rest) => Err(rest.failure.clone()),
                None => link.prepare(what, asked.sql(), &asked.ask, at.tick).await?,
            };
            match failure {
                Ok(()) => ready.push(Ready { number, what, sql: asked.sql(), arguments: &asked.ask.arguments }),
                Err(failure) => {
                    let outcome = Err(Failed { failure, took_too_long: false });
                    self.conclude(asked, &outcome, at.tick, answers, missing);
                }
            }
        }
        link.ask(&ready, |number, outcome| {
            if let Some(asked) = batch.asks.get(number)
                && !self.conclude(asked, &outcome, at.tick, answers, missing)
            {
                too_many.push(number);
            }
        })
        .await?;
        Ok(too_many)
    }

    fn rest(&mut self, sql: &Arc<str>, failure: &ReadFailure, at: Tick) {
        if self.resting.len() >= KEPT {
            self.resting.clear();
        }
        let times = self.resting.get(sql).map_or(0, |rest| rest.times);
        let bound = self.connector.response_timeout();
        let pause = if times == 0 { std::time::Duration::ZERO } else { bound * (1 << (times - 1).min(DOUBLINGS)) };
        let failure = failure.clone();
        self.resting.insert(Arc::clone(sql), Rest { times: times + 1, until: at.after(pause), failure });
    }
}

impl Backend for PostgresBackend {
    type Link = Link;
    type Batch = Batch;

    fn track(&mut self, read: &Read) -> ReadId {
        let read = if let Read::Lag(read) = read { Some(Arc::clone(read)) } else { None };
        if let Some(channel) = read.as_ref().and_then(|read| read.listen.as_ref()) {
            *self.channels.entry(Arc::clone(channel)).or_default() += 1;
            self.version += 1;
        }
        self.tracked.add(read)
    }

    fn untrack(&mut self, id: ReadId) {
        let read = self.tracked.take(id).flatten();
        if let Some(channel) = read.as_ref().and_then(|read| read.listen.as_ref())
            && let Some(listeners) = self.channels.get_mut(channel)
        {
            *listeners -= 1;
            if *listeners == 0 {
                self.channels.remove(channel);
            }
            self.version += 1;
        }
    }

    fn prepare(&mut self, reads: &[ReadId]) -> Batch {
        let mut families: HashMap<PostgresRead, Vec<(usize, Arc<Postgres>)>> = HashMap::new();
        let mut batch = Batch { asks: Vec::new(), failed: Vec::new(), reads: reads.len() };
        // In the order in which they come, so that rounds are alike.
        let mut order = Vec::new();
        for (position, id) in reads.iter().enumerate() {
            let Some(Some(read)) = self.tracked.get(*id) else {
                batch.failed.push((position, on_no_postgres()));
                continue;
            };
            if stores::has_zero_byte(&read.read) {
                let sentence = "a zero byte is in no text of a PostgreSQL; take it out of the query or the name";
                batch.failed.push((position, ReadFailure::new(FailureKind::Configuration, sentence)));
                continue;
            }
            let family = stores::family(&read.read);
            let readers = families.entry(family.clone()).or_insert_with(|| {
                order.push(family);
                Vec::new()
            });
            readers.push((position, Arc::clone(read)));
        }
        // Users' queries last: whoever waits for one of them that takes its time waits for his own.
        order.sort_by_key(|family| matches!(family, PostgresRead::Query(_)));
        for family in order {
            let readers = families.remove(&family).unwrap_or_default();
            let reads: Vec<&PostgresRead> = readers.iter().map(|(_, read)| &read.read).collect();
            match stores::ask(&family, &reads) {
                Ok(ask) => {
                    let whole = ask.whole.as_ref().map(|whole| (whole.sql.as_str().into(), whole.limit));
                    batch.asks.push(Asked { sql: ask.sql.as_str().into(), whole, family, ask, readers });
                }
                Err(failure) => {
                    batch.failed.extend(readers.iter().map(|(position, _)| (*position, failure.clone())));
                }
            }
        }
        batch
    }

    fn commands(&self, batch: &Batch, _reads: usize, now: Tick) -> usize {
        let rests = |asked: &&Asked| self.resting.get(asked.sql()).is_some_and(|rest| now < rest.until);
        batch.asks.iter().filter(|asked| !rests(asked)).count()
    }

    fn connect(&self) -> impl Future<Output = Result<Link, ReadFailure>> + Send + 'static {
        self.connector.clone().connect(self.version, self.channels.keys().cloned().collect())
    }

    fn made_of(link: &Link) -> Option<Material> {
        link.material()
    }

    fn look(&self) -> impl Future<Output = Option<Material>> + Send + 'static {
        self.connector.clone().look()
    }

    fn take_load(link: &mut Link) -> Load {
        link.take_load()
    }

    fn grievance(&mut self, link: &Link) -> Option<String> {
        let grievance = link.deaf()?;
        if self.said.as_deref() == Some(grievance) {
            return None;
        }
        self.said = Some(grievance.to_owned());
        self.said.clone()
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
        answers.begin(batch.reads);
        for (position, failure) in &batch.failed {
            answers.fail(*position, failure.clone());
        }
        // Whoever has come or gone since the link was opened; before anything is read, so that nothing is written unheard
        // after it was read.
        if link.listens_to() != self.version {
            let channels: Vec<Arc<str>> = self.channels.keys().cloned().collect();
            link.listen(self.version, &channels).await?;
        }

        let mut missing = Vec::new();
        let all: Vec<usize> = (0..batch.asks.len()).collect();
        let too_many = self.trip(link, batch, &all, at, answers, &mut missing).await?;
        if !too_many.is_empty() {
            for number in &too_many {
                batch.asks.get_mut(*number).and_then(|asked| asked.whole.take());
            }
            self.trip(link, batch, &too_many, at, answers, &mut missing).await?;
        }

        for Missing { position, what, name, listing } in missing {
            let known = match &listing {
                Some(listing) => link.names(listing, &name).await?.unwrap_or(&[]),
                None => &[],
            };
            let near = closest(&name, known.iter().map(String::as_str));
            answers.fail(position, stores::unknown(what, &name, near, known));
        }
        Ok(())
    }

    async fn woken(&mut self, link: &mut Link, reads: &mut Vec<ReadId>) -> Result<(), ReadFailure> {
        let channels = link.woken().await?;
        let of_these = |read: &Option<Arc<Postgres>>| {
            read.as_ref().and_then(|read| read.listen.as_ref()).is_some_and(|channel| channels.contains(channel))
        };
        reads.extend(self.tracked.iter().filter(|(_, read)| of_these(read)).map(|(id, _)| id));
        Ok(())
    }
}

#[cold]
fn on_no_postgres() -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, "what is asked for is in no PostgreSQL: name another Connection")
}

/// The statement of a read alone, and its arguments (each a `text[]`). For tests of what it costs.
#[doc(hidden)]
#[must_use]
pub fn statement(read: &PostgresRead) -> Option<(String, Vec<Vec<String>>)> {
    let ask = stores::ask(&stores::family(read), &[read]).ok()?;
    Some((ask.sql, ask.arguments))
}
