//! One session on a server: its prepared statements, the channels that it listens on, and who drives it.
//!
//! The library's connection has to be driven by somebody; that is a task of its own, which ends with the link, so that a
//! notification is heard and an end is noticed while nobody asks anything.
//!
//! Statements are prepared the first time they are asked; whatever has to be looked at before (an index, a query's columns)
//! is looked at then. What fails so is looked at again the next time: tables and indexes come and go. And whatever is well
//! is prepared anew once a minute ([`FRESH`]).

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio_postgres::error::DbError;
use tokio_postgres::tls::NoTlsStream;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Connection, Error, Row, Statement};
use tokio_util::task::AbortOnDropHandle;

use super::classify;
use super::counted::{Bytes, Counted};
use super::query;
use super::stores::{Ask, Index, Seen};
use super::wake::{Channels, Told};
use crate::model::{ReadFailure, Tick};
use crate::source::network::{plain, timeout};
use crate::source::{Load, Material};

/// How much longer than the server's own bound on a statement its answer may take. What is slower than that is no slow
/// statement but a server, or a way to it, that does not answer.
const GRACE: Duration = Duration::from_millis(250);

/// How long a prepared statement is taken for what it was. The server keeps the plan that it has made; one made of a table
/// with a handful of events, which it is right to read as a whole, is kept until somebody analyses the table, and that may
/// be a million events later. And an index that is dropped shows nowhere else.
const FRESH: Duration = Duration::from_secs(60);

/// Prepared statements and lists of names that are kept. There are a few for each kind of store, and one for each query;
/// beyond this many they are of manifests that are gone, and all are dropped.
const KEPT: usize = 256;

/// A session.
pub struct Link {
    address: Arc<str>,
    client: Client,
    told: Arc<Told>,
    /// Ends with it.
    _driver: AbortOnDropHandle<()>,
    material: Option<Material>,
    /// Bound on the answer to one statement.
    patience: Duration,
    /// With the moment when each was prepared.
    statements: HashMap<Arc<str>, (Statement, Tick), foldhash::fast::RandomState>,
    /// Names that stores have, by what was looked for, for messages only.
    names: HashMap<String, Vec<String>>,
    channels: Channels,
    /// Why the server does not tell of news.
    deaf: Option<String>,
    /// Of the backend's list of channels, the version that is listened to.
    listens_to: u64,
    bytes: Arc<Bytes>,
    load: Load,
    commands: u64,
}

/// An answer, or why a statement alone has none. Around it: whether the link is of use any more.
type Answered<T> = Result<Result<T, ReadFailure>, ReadFailure>;

/// A statement to be asked.
pub(super) struct Ready<'a> {
    /// Whose it is, for whoever is told of the outcome.
    pub(super) number: usize,
    /// What is asked, for messages.
    pub(super) what: &'a str,
    pub(super) sql: &'a Arc<str>,
    pub(super) arguments: &'a [Vec<String>],
}

/// What came of one statement that the server answered.
pub(super) struct Failed {
    pub(super) failure: ReadFailure,
    pub(super) took_too_long: bool,
}

impl Link {
    pub(super) fn new(
        address: &str,
        client: Client,
        connection: Connection<Counted, NoTlsStream>,
        bytes: Arc<Bytes>,
        response_timeout: Duration,
        material: Option<Material>,
    ) -> Self {
        let address: Arc<str> = address.into();
        let told = Arc::new(Told::default());
        let driver = AbortOnDropHandle::new(tokio::spawn(drive(connection, Arc::clone(&address), Arc::clone(&told))));
        Link {
            address,
            client,
            told,
            _driver: driver,
            material,
            patience: response_timeout + GRACE,
            statements: HashMap::default(),
            names: HashMap::new(),
            channels: Channels::default(),
            deaf: None,
            listens_to: 0,
            bytes,
            load: Load::default(),
            commands: 0,
        }
    }

    pub(super) fn material(&self) -> Option<Material> {
        self.material
    }

    /// Why new work is only seen by polling, where somebody wanted it otherwise.
    pub(super) fn deaf(&self) -> Option<&str> {
        self.deaf.as_deref()
    }

    pub(super) fn take_load(&mut self) -> Load {
        let now = Load {
            commands: self.commands,
            sent: self.bytes.sent.load(Ordering::Relaxed),
            received: self.bytes.received.load(Ordering::Relaxed),
        };
        let before = std::mem::replace(&mut self.load, now);
        Load {
            commands: now.commands - before.commands,
            sent: now.sent - before.sent,
            received: now.received - before.received,
        }
    }

    /// Has a statement ready to be asked.
    pub(super) async fn prepare(&mut self, what: &str, sql: &Arc<str>, ask: &Ask, now: Tick) -> Answered<()> {
        if self.statements.get(sql).is_some_and(|(_, since)| now.since(*since) < FRESH) {
            return Ok(Ok(()));
        }
        self.statements.remove(sql);
        if self.statements.len() >= KEPT {
            self.statements.clear();
        }
        if let Some(index) = &ask.index
            && let Err(failure) = self.look_for(what, index).await?
        {
            return Ok(Err(failure));
        }
        if let Some(examination) = &ask.examination {
            let examined = self.client.prepare(examination);
            let examined = match self.answer(examined).await? {
                Ok(examined) => query::examine(examined.params().len(), examined.columns()),
                Err(error) => Err(classify::statement(what, &error)),
            };
            if let Err(failure) = examined {
                return Ok(Err(failure));
            }
        }
        let types = vec![Type::TEXT_ARRAY; ask.arguments.len()];
        let prepared = self.client.prepare_typed(sql, &types);
        match self.answer(prepared).await? {
            Ok(statement) => drop(self.statements.insert(Arc::clone(sql), (statement, now))),
            Err(error) => return Ok(Err(classify::statement(what, &error))),
        }
        Ok(Ok(()))
    }

    /// Looks into the catalog whether a statement would have to read a whole table.
    async fn look_for(&mut self, what: &str, index: &Index) -> Answered<()> {
        let (question, arguments) = (index.question(), index.arguments());
        let arguments: Vec<(&(dyn ToSql + Sync), Type)> =
            arguments.iter().map(|argument| (argument as &(dyn ToSql + Sync), Type::TEXT)).collect();
        let asking = self.client.query_typed(&question, &arguments);
        let rows = match self.answer(asking).await? {
            Ok(rows) => rows,
            Err(error) => return Ok(Err(classify::statement(what, &error))),
        };
        // No such table: the statement itself says so better.
        let Some(row) = rows.first() else { return Ok(Ok(())) };
        let seen = || Ok(Seen { is_table: row.try_get(0)?, has_index: row.try_get(1)?, is_text: row.try_get(2)? });
        let seen = seen().map_err(|error: Error| classify::broken(&self.address, &error))?;
        Ok(index.judge(&seen))
    }

    /// Asks statements that are ready, all at once: the server answers one after the other, and none waits for us in
    /// between. `done` is called for each. One that the server has forgotten is to be prepared again.
    ///
    /// # Errors
    /// The link is of no use any more.
    pub(super) async fn ask(
        &mut self,
        asks: &[Ready<'_>],
        mut done: impl FnMut(usize, Result<Vec<Row>, Failed>),
    ) -> Result<(), ReadFailure> {
        let mut forgotten = Vec::new();
        {
            let client = &self.client;
            let mut asking: FuturesUnordered<_> = asks
                .iter()
                .filter_map(|ready| {
                    let (statement, _) = self.statements.get(ready.sql)?;
                    Some(async move {
                        let arguments: Vec<&(dyn ToSql + Sync)> =
                            ready.arguments.iter().map(|argument| argument as &(dyn ToSql + Sync)).collect();
                        (ready, client.query(statement, &arguments).await)
                    })
                })
                .collect();
            self.commands += asking.len() as u64;
            // The bound is on each answer, counted from the one before: each statement has its own on the server.
            while let Some((ready, outcome)) =
                tokio::time::timeout(self.patience, asking.next()).await.map_err(|_| self.late())?
            {
                let outcome = match outcome {
                    Ok(rows) => Ok(rows),
                    Err(error) => {
                        let error = self.alone(&error)?;
                        if classify::wants_preparing(error) {
                            forgotten.push(Arc::clone(ready.sql));
                        }
                        let took_too_long = classify::took_too_long(error);
                        Err(Failed { failure: classify::statement(ready.what, error), took_too_long })
                    }
                };
                done(ready.number, outcome);
            }
        }
        for sql in forgotten {
            self.statements.remove(&sql);
        }
        Ok(())
    }

    /// The names that a store has, for a message about one that it has not; `None` if it does not say.
    pub(super) async fn names(&mut self, listing: &str, looked_for: &str) -> Result<Option<&[String]>, ReadFailure> {
        let key = format!("{looked_for}\0{listing}");
        if !self.names.contains_key(&key) {
            if self.names.len() >= KEPT {
                self.names.clear();
            }
            let argument: [(&(dyn ToSql + Sync), Type); 1] = [(&looked_for, Type::TEXT)];
            let asking = self.client.query_typed(listing, &argument);
            let Ok(rows) = self.answer(asking).await? else { return Ok(None) };
            let names = rows.iter().filter_map(|row| row.try_get::<_, Option<String>>(0).ok().flatten()).collect();
            self.names.insert(key.clone(), names);
        }
        Ok(self.names.get(&key).map(Vec::as_slice))
    }

    /// Which list of channels it listens on.
    pub(super) fn listens_to(&self) -> u64 {
        self.listens_to
    }

    /// Listens on these channels and no others; `version` tells lists apart. Where the server does not grant that, new
    /// work is seen by polling, and [`Link::deaf`] says why.
    pub(super) async fn listen(&mut self, version: u64, wanted: &[Arc<str>]) -> Result<(), ReadFailure> {
        for channel in wanted {
            if self.channels.contains(channel) {
                continue;
            }
            match self.execute(&format!("listen {}", quoted(channel))).await? {
                Ok(()) => self.channels.insert(channel),
                Err(error) => {
                    self.deaf = Some(format!(
                        "{}: `listen` is not granted on {channel:?} ({}); its projections are read at their polling \
                         interval only (a replica cannot listen: name the primary)",
                        self.address,
                        plain(error.message())
                    ));
                }
            }
        }
        while let Some(channel) =
            self.channels.take_other_than(|channel| wanted.iter().any(|wanted| **wanted == *channel))
        {
            // What comes of it does not matter: nobody hears that channel any more.
            let _ = self.execute(&format!("unlisten {}", quoted(&channel))).await?;
        }
        self.listens_to = version;
        Ok(())
    }

    /// Takes all channels for having spoken: nobody has heard them before, and perhaps since the session before was lost.
    pub(super) fn assume_news(&self) {
        for channel in self.channels.names() {
            self.told.spoke(channel);
        }
    }

    /// Waits for channels that have news. May be dropped and called again.
    ///
    /// # Errors
    /// The link has ended.
    pub(super) async fn woken(&mut self) -> Result<Vec<Arc<str>>, ReadFailure> {
        self.channels.woken(&self.told).await
    }

    async fn execute(&mut self, sql: &str) -> Result<Result<(), Box<DbError>>, ReadFailure> {
        self.commands += 1;
        self.answer(self.client.batch_execute(sql)).await
    }

    /// An answer within its bound, or what the server said instead.
    async fn answer<T>(
        &self,
        answering: impl Future<Output = Result<T, Error>>,
    ) -> Result<Result<T, Box<DbError>>, ReadFailure> {
        match tokio::time::timeout(self.patience, answering).await.map_err(|_| self.late())? {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) => Ok(Err(Box::new(self.alone(&error)?.clone()))),
        }
    }

    /// What the server says of one statement, if it goes on answering others.
    fn alone<'e>(&self, error: &'e Error) -> Result<&'e DbError, ReadFailure> {
        match error.as_db_error() {
            Some(error) if !classify::ends_session(error) => Ok(error),
            Some(_) => Err(classify::broken(&self.address, error)),
            // Whoever drives the connection may know more than that it is closed.
            None => Err(self.told.ended().unwrap_or_else(|| classify::broken(&self.address, error))),
        }
    }

    #[cold]
    fn late(&self) -> ReadFailure {
        timeout(&self.address, "responseTimeout", self.patience - GRACE)
    }
}

/// Drives a connection to its end, and notes what the server says by itself.
async fn drive(mut connection: Connection<Counted, NoTlsStream>, address: Arc<str>, told: Arc<Told>) {
    let why = loop {
        match poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => told.spoke(notification.channel()),
            Some(Ok(_)) => {}
            Some(Err(error)) => break classify::broken(&address, &error),
            None => break classify::closed(&address),
        }
    };
    told.end(why);
}

/// A channel's name as it stands in SQL.
fn quoted(channel: &str) -> String {
    format!("\"{}\"", channel.replace('"', "\"\""))
}
