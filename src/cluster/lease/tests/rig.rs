//! An API server in memory that knows one Lease, and processes that can be harmed.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::SignedDuration;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::super::election::Election;
use super::super::store::{News, Store, StoreError};
use super::super::{Leadership, Settings};
use crate::clock::Clock;
use crate::model::Tick;

pub(super) fn settings(name: &str) -> Settings {
    Settings::new("tidegate", "tidegate", name)
}

/// A write that was accepted.
#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) at: Tick,
    pub(super) who: String,
    pub(super) spec: LeaseSpec,
}

#[derive(Clone)]
pub(super) struct Server {
    state: Arc<Mutex<State>>,
    pub(super) clock: Clock,
}

struct State {
    lease: Option<Lease>,
    version: u64,
    writes: Vec<Write>,
    /// `None`: deleted.
    changes: broadcast::Sender<(u64, Option<Lease>)>,
    clients: HashMap<String, Arc<Mutex<Faults>>>,
}

/// What goes wrong for one process.
pub(super) struct Faults {
    /// Nothing goes out and nothing comes in: calls hang.
    pub(super) cut: bool,
    pub(super) forbidden: bool,
    pub(super) no_watch: bool,
    /// So many next writes are carried out and never answered.
    pub(super) lose_answers: u32,
    /// Of each way.
    delay: Duration,
    calls: usize,
}

impl Server {
    pub(super) fn new() -> Self {
        let state = State {
            lease: None,
            version: 100,
            writes: Vec::new(),
            changes: broadcast::channel(1024).0,
            clients: HashMap::new(),
        };
        Server { state: Arc::new(Mutex::new(state)), clock: Clock::start() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn client(&self, name: &str) -> Client {
        let faults = Arc::new(Mutex::new(Faults {
            cut: false,
            forbidden: false,
            no_watch: false,
            lose_answers: 0,
            delay: Duration::from_millis(5),
            calls: 0,
        }));
        self.lock().clients.insert(name.to_owned(), Arc::clone(&faults));
        Client { server: self.clone(), faults, name: name.to_owned(), shift: SignedDuration::ZERO }
    }

    pub(super) fn spec(&self) -> LeaseSpec {
        self.lock().lease.clone().unwrap().spec.unwrap()
    }

    pub(super) fn all_writes(&self) -> Vec<Write> {
        self.lock().writes.clone()
    }

    pub(super) fn writes(&self) -> usize {
        self.lock().writes.len()
    }

    pub(super) fn writes_of(&self, who: &str) -> usize {
        self.lock().writes.iter().filter(|write| write.who == who).count()
    }

    pub(super) fn last_write(&self) -> Tick {
        self.lock().writes.last().unwrap().at
    }

    /// Somebody with kubectl.
    pub(super) fn label(&self, text: &str) {
        let mut lease = self.lock().lease.clone().unwrap();
        lease.metadata.labels.get_or_insert_default().insert("note".into(), text.into());
        self.put(lease, None).unwrap();
    }

    pub(super) fn seize(&self, holder: &str) {
        let mut lease = self.lock().lease.clone().unwrap();
        let spec = lease.spec.as_mut().unwrap();
        spec.holder_identity = Some(holder.into());
        spec.lease_transitions = spec.lease_transitions.map(|count| count + 1);
        self.put(lease, None).unwrap();
    }

    pub(super) fn delete(&self) {
        let mut state = self.lock();
        state.version += 1;
        state.lease = None;
        let change = (state.version, None);
        drop(state.changes.send(change));
    }

    /// Whoever writes with a name is recorded.
    fn put(&self, mut lease: Lease, who: Option<&str>) -> Result<Lease, StoreError> {
        let mut state = self.lock();
        let standing = state.lease.as_ref().map(|lease| lease.metadata.resource_version.clone());
        if standing.is_some_and(|version| version != lease.metadata.resource_version) {
            return Err(StoreError::Conflict("the object has been modified".into()));
        }
        state.version += 1;
        lease.metadata.resource_version = Some(state.version.to_string());
        state.lease = Some(lease.clone());
        if let Some(who) = who {
            let write = Write { at: self.clock.now(), who: who.into(), spec: lease.spec.clone().unwrap() };
            state.writes.push(write);
        }
        let change = (state.version, Some(lease.clone()));
        drop(state.changes.send(change));
        Ok(lease)
    }
}

/// One process' way to the server.
pub(super) struct Client {
    server: Server,
    faults: Arc<Mutex<Faults>>,
    name: String,
    /// How far its wall clock is off.
    shift: SignedDuration,
}

impl Client {
    async fn way(&self) -> Result<(), StoreError> {
        let (cut, forbidden, delay) = {
            let faults = self.faults.lock().unwrap();
            (faults.cut, faults.forbidden, faults.delay)
        };
        if cut {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(delay).await;
        if forbidden {
            return Err(StoreError::Forbidden("403 no".into()));
        }
        Ok(())
    }

    async fn call<T>(&self, act: impl FnOnce() -> Result<T, StoreError> + Send) -> Result<T, StoreError> {
        self.faults.lock().unwrap().calls += 1;
        self.way().await?;
        let outcome = act();
        self.way().await?;
        outcome
    }

    async fn write(&self, lease: &Lease, exists: bool) -> Result<Lease, StoreError> {
        let mut lease = lease.clone();
        let spec = lease.spec.as_mut().unwrap();
        for time in [&mut spec.acquire_time, &mut spec.renew_time] {
            *time = time.as_ref().map(|MicroTime(time)| MicroTime(*time + self.shift));
        }
        let lost = {
            let mut faults = self.faults.lock().unwrap();
            let lost = faults.lose_answers > 0;
            faults.lose_answers = faults.lose_answers.saturating_sub(1);
            lost
        };
        let outcome = self
            .call(|| {
                let there = self.server.lock().lease.is_some();
                match (exists, there) {
                    (true, false) => Err(StoreError::Missing("not found".into())),
                    (false, true) => Err(StoreError::Conflict("already exists".into())),
                    _ => self.server.put(lease, Some(&self.name)),
                }
            })
            .await;
        if lost { Err(StoreError::Unknown("connection reset".into())) } else { outcome.map(|lease| self.seen(lease)) }
    }

    /// With its own clock's times, as they were sent.
    fn seen(&self, mut lease: Lease) -> Lease {
        let spec = lease.spec.as_mut().unwrap();
        for time in [&mut spec.acquire_time, &mut spec.renew_time] {
            *time = time.as_ref().map(|MicroTime(time)| MicroTime(*time - self.shift));
        }
        lease
    }
}

impl Store for Client {
    async fn read(&self) -> Result<Option<Lease>, StoreError> {
        self.call(|| Ok(self.server.lock().lease.clone())).await.map(|lease| lease.map(|lease| self.seen(lease)))
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, StoreError> {
        self.write(lease, false).await
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, StoreError> {
        self.write(lease, true).await
    }

    async fn watch(&self, version: &str) -> Result<BoxStream<'static, News>, StoreError> {
        if self.faults.lock().unwrap().no_watch {
            return Err(StoreError::Forbidden("403 no watches".into()));
        }
        self.way().await?;
        let from: u64 = version.parse().unwrap();
        let (mut changes, standing) = {
            let state = self.server.lock();
            (state.changes.subscribe(), (state.version, state.lease.clone()))
        };
        let faults = Arc::clone(&self.faults);
        let shift = self.shift;
        let stream = async_stream(move |events| async move {
            let mut next = Some(standing).filter(|(version, _)| *version > from);
            loop {
                let (_, lease) = match next.take() {
                    Some(change) => change,
                    None => changes.recv().await.unwrap(),
                };
                let (cut, delay) = {
                    let faults = faults.lock().unwrap();
                    (faults.cut, faults.delay)
                };
                if cut {
                    // A broken network tells a watch nothing, not even that.
                    std::future::pending::<()>().await;
                }
                tokio::time::sleep(delay).await;
                let news = lease.map_or(News::Deleted, |mut lease| {
                    let spec = lease.spec.as_mut().unwrap();
                    for time in [&mut spec.acquire_time, &mut spec.renew_time] {
                        *time = time.as_ref().map(|MicroTime(time)| MicroTime(*time - shift));
                    }
                    News::Lease(Box::new(lease))
                });
                if events.send(news).is_err() {
                    return;
                }
            }
        });
        Ok(stream)
    }
}

/// A stream of what a task sends.
fn async_stream<F>(task: impl FnOnce(tokio::sync::mpsc::UnboundedSender<News>) -> F) -> BoxStream<'static, News>
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(task(sender));
    tokio_stream::wrappers::UnboundedReceiverStream::new(receiver).boxed()
}

/// A process in the race.
pub(super) struct Process {
    pub(super) leadership: Leadership,
    clock: Clock,
    faults: Arc<Mutex<Faults>>,
    shutdown: CancellationToken,
    ice: Arc<Mutex<Ice>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Ice {
    frozen: bool,
    waker: Option<Waker>,
}

impl Process {
    pub(super) fn start(server: &Server, name: &str) -> Self {
        Process::start_shifted(server, name, SignedDuration::ZERO)
    }

    /// With a wall clock that is off.
    pub(super) fn start_shifted(server: &Server, name: &str, shift: SignedDuration) -> Self {
        let client = Client { shift, ..server.client(name) };
        let faults = Arc::clone(&client.faults);
        let (election, leadership) = Election::new(client, server.clock, settings(name));
        let shutdown = CancellationToken::new();
        let ice = Arc::new(Mutex::new(Ice::default()));
        let run = election.run(shutdown.clone());
        let task = tokio::spawn(freezable(Arc::clone(&ice), async move { run.await.unwrap() }));
        Process { leadership, clock: server.clock, faults, shutdown, ice, task: Mutex::new(Some(task)) }
    }

    pub(super) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap()
    }

    pub(super) fn slow(&self, each_way: Duration) {
        self.faults().delay = each_way;
    }

    pub(super) fn calls(&self) -> usize {
        self.faults().calls
    }

    /// Of the term that it would find now.
    pub(super) fn number(&self) -> Option<u64> {
        self.leadership.term(self.clock.now()).map(|term| term.number)
    }

    pub(super) async fn until_leads(&self) {
        let mut leadership = self.leadership.clone();
        let leads = async {
            while self.number().is_none() {
                leadership.changed().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(3_600), leads).await.expect("it leads within an hour");
    }

    /// When whoever waits for changes was told that it leads no more.
    pub(super) async fn until_told_otherwise(&self) -> Tick {
        let mut leadership = self.leadership.clone();
        loop {
            leadership.changed().await;
            if self.number().is_none() {
                return self.clock.now();
            }
        }
    }

    pub(super) fn freeze(&self) {
        self.ice.lock().unwrap().frozen = true;
    }

    pub(super) fn thaw(&self) {
        let mut ice = self.ice.lock().unwrap();
        ice.frozen = false;
        if let Some(waker) = ice.waker.take() {
            waker.wake();
        }
    }

    pub(super) fn kill(&self) {
        if let Some(task) = self.task.lock().unwrap().take() {
            task.abort();
        }
    }

    /// Returns at its end.
    pub(super) async fn shut_down(&self) {
        self.shutdown.cancel();
        let task = self.task.lock().unwrap().take().expect("it runs");
        task.await.unwrap();
    }
}

/// Does nothing while it is frozen, and then finds what has become of the time.
async fn freezable(ice: Arc<Mutex<Ice>>, inner: impl Future<Output = ()>) {
    let mut inner: Pin<Box<_>> = Box::pin(inner);
    std::future::poll_fn(move |context| {
        {
            let mut ice = ice.lock().unwrap();
            if ice.frozen {
                ice.waker = Some(context.waker().clone());
                return Poll::Pending;
            }
        }
        inner.as_mut().poll(context)
    })
    .await;
}
