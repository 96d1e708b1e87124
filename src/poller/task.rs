//! The task of one connection: connect, ask what is due, hand on samples, and survive the server.
//!
//! Whatever the server does, every trigger gets a sample at its own pace: a number, or the reason why there is none.
//! While a connect is on its way or being waited for, that reason is the last one; the very first connect has none
//! yet, and rounds wait for it (it has a timeout).
//!
//! Nobody keeps the others waiting for long: who is held back, or asks for much (`groups`), is served in small rounds
//! apart, each of them after whatever else is due by then; newcomers come some at a time; and what was read is handed on in portions.

mod renewing;
mod rounds;
mod throttled;
mod waking;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, warn};

use super::backoff::Backoff;
use super::meters::Meters;
use super::plan::Plan;
use super::renewal::{self, Renewal};
use super::subscribers::{Subscribers, Subscription};
use super::throttle::Throttle;
use crate::clock::Clock;
use crate::model::{Key, ReadFailure, Sample, Tick};
use crate::source::{Answers, Backend, ReadId};

/// Reads of newcomers in one round: a fleet of thousands is there after one, and the next moment of everybody else is
/// some milliseconds away and not a second.
const NEWCOMERS: usize = 10_000;

/// What the poller tells the task of a connection.
#[derive(Debug)]
pub(super) enum Message {
    Set(Key, Subscription),
    Removed(Key),
    /// From now on its polling interval is stretched by this much.
    Pace(Key, f64),
}

/// One connection's task, to be run by [`Task::run`].
pub(super) struct Task<B: Backend> {
    name: Arc<str>,
    clock: Clock,
    backend: B,
    subscribers: Subscribers,
    /// Autoscalers that want a sample now, not at their next moment.
    eager: BTreeSet<Key>,
    /// The same, of those who are served apart, and when the next of them may come.
    eager_apart: BTreeSet<Key>,
    next_apart: Tick,
    /// Those whose queues were empty and are not any more, says the server.
    woken: BTreeSet<Key>,
    woken_reads: Vec<ReadId>,
    /// Cadences of those who are served apart that are due.
    waiting: VecDeque<usize>,
    plans: HashMap<Box<[usize]>, Plan<B>>,
    /// Their rounds, by cadence.
    apart_plans: HashMap<usize, Plan<B>>,
    state: State<B>,
    /// Why the server could not be asked the last time; `None` while it can, and before the first try.
    failure: Option<ReadFailure>,
    backoff: Backoff,
    renewal: Renewal<B::Link>,
    throttle: Option<Throttle>,
    /// Tells that secrets may have changed, where somebody can tell.
    secrets: Option<watch::Receiver<u64>>,
    /// When the server last answered a round; `None` once an idle link has been given its second chance since.
    last_answer: Option<Tick>,
    answers: Answers,
    /// Triggers whose read failed alone in its last round, so that only edges are logged.
    failing: BTreeSet<(Key, u16)>,
    due: Vec<usize>,
    samples: mpsc::Sender<Vec<Sample>>,
    rounds: Arc<AtomicU64>,
    meters: Meters,
}

enum State<B: Backend> {
    Up(B::Link),
    Connecting(Connecting<B::Link>),
    /// Left alone until then.
    Down(Tick),
}

type Connecting<L> = Pin<Box<dyn Future<Output = Result<L, ReadFailure>> + Send>>;

/// What woke the task.
enum Wake<L> {
    Message(Option<Message>),
    Connected(Result<L, ReadFailure>),
    Renewal(renewal::Due<L>),
    Secrets,
    Retry,
    Round,
    /// The server has said something by itself, or nothing any more.
    Told(Result<(), ReadFailure>),
}

/// The outside of a task: what it needs beyond its backend.
pub(super) struct Surroundings {
    pub(super) name: Arc<str>,
    pub(super) meters: Meters,
    pub(super) clock: Clock,
    pub(super) origin: Tick,
    pub(super) backoff: Backoff,
    /// Commands a second that this server may be sent.
    pub(super) cap: Option<u32>,
    /// How often to look for changed secrets and certificates.
    pub(super) look_every: Duration,
    /// From 0 to 1, another for each connection: what they all do every so often, they do not do all at once.
    pub(super) spread: f64,
    pub(super) samples: mpsc::Sender<Vec<Sample>>,
    /// Rounds begun in this process, by all tasks.
    pub(super) rounds: Arc<AtomicU64>,
}

impl<B: Backend> Task<B> {
    pub(super) fn new(backend: B, around: Surroundings) -> Self {
        let connecting: Connecting<B::Link> = Box::pin(backend.connect());
        Task {
            meters: if around.cap.is_some() { around.meters.capped(&around.name) } else { around.meters },
            renewal: Renewal::new(&around.name, around.look_every, around.spread),
            name: around.name,
            clock: around.clock,
            throttle: around.cap.map(|cap| Throttle::new(cap, around.clock.now())),
            secrets: backend.changes(),
            backend,
            subscribers: Subscribers::new(super::schedule::Schedule::new(around.origin)),
            eager: BTreeSet::new(),
            eager_apart: BTreeSet::new(),
            next_apart: Tick::ZERO,
            woken: BTreeSet::new(),
            woken_reads: Vec::new(),
            waiting: VecDeque::new(),
            plans: HashMap::new(),
            apart_plans: HashMap::new(),
            state: State::Connecting(connecting),
            failure: None,
            backoff: around.backoff,
            last_answer: None,
            answers: Answers::default(),
            failing: BTreeSet::new(),
            due: Vec::new(),
            samples: around.samples,
            rounds: around.rounds,
        }
    }

    /// Runs until the last subscriber has left (`messages` closes), or nobody takes samples any more.
    pub(super) async fn run(mut self, mut messages: mpsc::UnboundedReceiver<Message>) {
        loop {
            match self.wait(&mut messages).await {
                Wake::Message(None) => break,
                Wake::Message(Some(message)) => {
                    self.hear(message);
                    // A fleet arrives as one burst of messages: one first round for all of them.
                    while let Ok(message) = messages.try_recv() {
                        self.hear(message);
                    }
                }
                Wake::Connected(Ok(link)) => self.connected(link),
                Wake::Connected(Err(failure)) => {
                    self.meters.connected(false);
                    self.lost(failure);
                }
                Wake::Renewal(renewal::Due::Look) => self.renewal.look(&self.backend, self.clock.now()),
                Wake::Renewal(renewal::Due::Outcome(outcome)) => self.looked(outcome),
                Wake::Secrets => self.secrets_changed(),
                Wake::Retry => self.state = State::Connecting(Box::pin(self.backend.connect())),
                Wake::Round => {
                    if self.round().await.is_err() {
                        break;
                    }
                }
                Wake::Told(Ok(())) => self.woken(),
                Wake::Told(Err(failure)) => self.ended(failure),
            }
        }
        self.meters.abandoned();
    }

    async fn wait(&mut self, messages: &mut mpsc::UnboundedReceiver<Message>) -> Wake<B::Link> {
        let round = self.next_round();
        let retry = if let State::Down(until) = self.state { until } else { Tick::NEVER };
        let (connecting, link) = match &mut self.state {
            State::Connecting(connecting) => (Some(connecting), None),
            State::Up(link) => (None, Some(link)),
            State::Down(_) => (None, None),
        };
        tokio::select! {
            biased;
            message = messages.recv() => Wake::Message(message),
            result = async { match connecting { Some(connecting) => connecting.await, None => std::future::pending().await } } =>
                Wake::Connected(result),
            due = self.renewal.due(self.clock) => Wake::Renewal(due),
            () = changed(&mut self.secrets) => Wake::Secrets,
            () = sleep_until(self.clock, retry) => Wake::Retry,
            () = sleep_until(self.clock, round) => Wake::Round,
            told = told(&mut self.backend, link, &mut self.woken_reads) => Wake::Told(told),
        }
    }

    /// When the next round begins. Before the first connect has come to an end there is nothing to report.
    fn next_round(&mut self) -> Tick {
        if !self.can_report() {
            return Tick::NEVER;
        }
        if !self.eager.is_empty() || !self.woken.is_empty() || !self.waiting.is_empty() {
            return Tick::ZERO;
        }
        let newcomers = if self.eager_apart.is_empty() { Tick::NEVER } else { self.next_apart };
        let put_off = self.throttle.as_ref().map_or(Tick::NEVER, Throttle::next);
        self.subscribers.schedule().next().min(newcomers).min(put_off)
    }

    /// Whether there is an answer, or a reason for none.
    fn can_report(&self) -> bool {
        matches!(self.state, State::Up(_)) || self.failure.is_some()
    }

    fn hear(&mut self, message: Message) {
        // Whoever comes or goes changes who shares what: prepared rounds may name reads that are gone.
        self.plans.clear();
        match message {
            Message::Set(key, wanted) => {
                self.forget(key);
                self.subscribers.set(key, wanted, self.clock.now(), &mut self.backend);
                self.drop_plan_with(key);
                self.hurry(key);
            }
            Message::Removed(key) => {
                self.forget(key);
                self.subscribers.remove(key, &mut self.backend);
            }
            Message::Pace(key, stretch) => {
                self.drop_plan_with(key);
                self.subscribers.pace(key, stretch, self.clock.now());
                self.drop_plan_with(key);
                if self.eager.remove(&key) | self.eager_apart.remove(&key) {
                    self.hurry(key);
                }
            }
        }
    }

    fn forget(&mut self, key: Key) {
        self.eager.remove(&key);
        self.eager_apart.remove(&key);
        if let Some(throttle) = &mut self.throttle {
            throttle.forget(key);
        }
        self.woken.remove(&key);
        self.drop_plan_with(key);
        let failing: Vec<(Key, u16)> = self.failing.range((key, 0)..=(key, u16::MAX)).copied().collect();
        for trigger in failing {
            self.failing.remove(&trigger);
        }
    }

    /// `key` wants a sample now.
    fn hurry(&mut self, key: Key) {
        let eager = if self.subscribers.is_apart(key) { &mut self.eager_apart } else { &mut self.eager };
        eager.insert(key);
    }

    /// The round that `key` is part of will not be what was prepared, if it is one apart.
    fn drop_plan_with(&mut self, key: Key) {
        if let Some(cadence) = self.subscribers.cadence(key) {
            self.apart_plans.remove(&cadence);
        }
    }

    fn connected(&mut self, link: B::Link) {
        self.meters.connected(true);
        debug!(connection = %self.name, "connected");
        self.renewal.watch(B::made_of(&link), self.clock.now());
        self.state = State::Up(link);
        if self.failure.is_some() {
            // Everybody has heard failures for a while: news now, not at the next moment.
            self.hurry_all(self.subscribers.keys().collect());
        }
    }

    fn hurry_all(&mut self, keys: Vec<Key>) {
        keys.into_iter().for_each(|key| self.hurry(key));
    }

    /// The server as a whole could not be connected to, or asked.
    fn lost(&mut self, failure: ReadFailure) {
        let wait = self.backoff.next();
        if self.failure.as_ref().map(|known| known.kind) != Some(failure.kind) {
            warn!(
                connection = %self.name,
                kind = failure.kind.as_str(),
                reason = %failure.message,
                "connection lost",
            );
        }
        self.meters.up(false);
        if let Some(throttle) = &mut self.throttle {
            // They hear of it at their next moment, and of the server when it is back, as everybody does.
            throttle.forget_all();
        }
        self.renewal.stop();
        self.failure = Some(failure);
        self.state = State::Down(self.clock.now().after(wait));
    }
}

/// Waits until the server says something by itself; for ever where there is no link.
async fn told<B: Backend>(
    backend: &mut B,
    link: Option<&mut B::Link>,
    reads: &mut Vec<ReadId>,
) -> Result<(), ReadFailure> {
    match link {
        Some(link) => backend.woken(link, reads).await,
        None => std::future::pending().await,
    }
}

/// Waits for the next change; for ever where there can be none.
async fn changed(secrets: &mut Option<watch::Receiver<u64>>) {
    let gone = match secrets {
        Some(changes) => changes.changed().await.is_err(),
        None => return std::future::pending().await,
    };
    if gone {
        *secrets = None;
    }
}

pub(super) async fn sleep_until(clock: Clock, tick: Tick) {
    if tick == Tick::NEVER {
        std::future::pending::<()>().await;
    } else {
        tokio::time::sleep_until(clock.instant(tick)).await;
    }
}
