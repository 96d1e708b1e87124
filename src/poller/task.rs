//! The task of one connection: connect, ask what is due, hand on samples, and survive the server.
//!
//! Whatever the server does, every trigger gets a sample at its own pace: a number, or the reason why there is none.
//! While a connect is on its way or being waited for, that reason is the last one; the very first connect has none
//! yet, and rounds wait for it (it has a timeout).

mod renewing;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::meters::Meters;
use super::plan::{Plan, Subscribers, Subscription};
use super::renewal::{self, Renewal};
use super::schedule::Due;
use crate::clock::Clock;
use crate::model::{FailureKind, Key, ReadFailure, Round, Sample, Tick};
use crate::source::{Answers, Backend};

/// Kinds of round that are kept. There is one for each set of intervals that fall due together: a handful for
/// sensible intervals. Beyond this many the oldest guess is no better than a new one, and all are dropped.
const PLANS_KEPT: usize = 64;

/// A link that has not been used for this long may have been closed for that alone (Redis' `timeout`, a load balancer
/// in between), which is no failure of the server: it is opened again at once, and only a failing connect is reported.
/// Whoever polls faster than this keeps a link awake, and a lost one is news.
const IDLE: Duration = Duration::from_secs(1);

/// What the poller tells the task of a connection.
#[derive(Debug)]
pub(super) enum Message {
    Set(Key, Subscription),
    Removed(Key),
}

/// One connection's task, to be run by [`Task::run`].
pub(super) struct Task<B: Backend> {
    name: Arc<str>,
    clock: Clock,
    backend: B,
    subscribers: Subscribers,
    /// Autoscalers that want a sample now, not at their next moment.
    eager: BTreeSet<Key>,
    plans: HashMap<Box<[usize]>, Plan<B>>,
    state: State<B>,
    /// Why the server could not be asked the last time; `None` while it can, and before the first try.
    failure: Option<ReadFailure>,
    backoff: Backoff,
    renewal: Renewal<B::Link>,
    /// When the server last answered a round; `None` once an idle link has been given its second chance since.
    last_answer: Option<Tick>,
    answers: Answers,
    /// Triggers whose read failed alone in its last round, so that only edges are logged.
    failing: HashSet<(Key, u16)>,
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
    Retry,
    Round,
}

/// The outside of a task: what it needs beyond its backend.
pub(super) struct Surroundings {
    pub(super) name: Arc<str>,
    pub(super) clock: Clock,
    pub(super) origin: Tick,
    pub(super) backoff: Backoff,
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
            meters: Meters::new(&around.name),
            renewal: Renewal::new(&around.name, around.look_every, around.spread),
            name: around.name,
            clock: around.clock,
            backend,
            subscribers: Subscribers::new(super::schedule::Schedule::new(around.origin)),
            eager: BTreeSet::new(),
            plans: HashMap::new(),
            state: State::Connecting(connecting),
            failure: None,
            backoff: around.backoff,
            last_answer: None,
            answers: Answers::default(),
            failing: HashSet::new(),
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
                Wake::Retry => self.state = State::Connecting(Box::pin(self.backend.connect())),
                Wake::Round => {
                    if self.round().await.is_err() {
                        break;
                    }
                }
            }
        }
        self.meters.abandoned();
    }

    async fn wait(&mut self, messages: &mut mpsc::UnboundedReceiver<Message>) -> Wake<B::Link> {
        let round = self.next_round();
        let retry = if let State::Down(until) = self.state { until } else { Tick::NEVER };
        let connecting = match &mut self.state {
            State::Connecting(connecting) => Some(connecting),
            State::Up(_) | State::Down(_) => None,
        };
        tokio::select! {
            biased;
            message = messages.recv() => Wake::Message(message),
            result = async { match connecting { Some(connecting) => connecting.await, None => std::future::pending().await } } =>
                Wake::Connected(result),
            due = self.renewal.due(self.clock) => Wake::Renewal(due),
            () = sleep_until(self.clock, retry) => Wake::Retry,
            () = sleep_until(self.clock, round) => Wake::Round,
        }
    }

    /// When the next round begins. Before the first connect has come to an end there is nothing to report.
    fn next_round(&mut self) -> Tick {
        if !matches!(self.state, State::Up(_)) && self.failure.is_none() {
            return Tick::NEVER;
        }
        if self.eager.is_empty() { self.subscribers.schedule().next() } else { Tick::ZERO }
    }

    fn hear(&mut self, message: Message) {
        // Whoever comes or goes changes who shares what: prepared rounds may name reads that are gone.
        self.plans.clear();
        match message {
            Message::Set(key, wanted) => {
                self.forget(key);
                self.subscribers.set(key, wanted, self.clock.now(), &mut self.backend);
                self.eager.insert(key);
            }
            Message::Removed(key) => {
                self.forget(key);
                self.subscribers.remove(key, &mut self.backend);
            }
        }
    }

    fn forget(&mut self, key: Key) {
        self.eager.remove(&key);
        self.failing.retain(|(failing, _)| *failing != key);
    }

    fn connected(&mut self, link: B::Link) {
        self.meters.connected(true);
        debug!(connection = %self.name, "connected");
        self.renewal.watch(B::made_of(&link), self.clock.now());
        self.state = State::Up(link);
        if self.failure.is_some() {
            // Everybody has heard failures for a while: news now, not at the next moment.
            self.eager.extend(self.subscribers.keys());
        }
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
        self.renewal.stop();
        self.failure = Some(failure);
        self.state = State::Down(self.clock.now().after(wait));
    }

    /// Serves what is due. `Err`: nobody takes samples any more.
    async fn round(&mut self) -> Result<(), ()> {
        let now = self.clock.now();
        self.due.clear();
        let Due { lateness, skipped } = self.subscribers.schedule().take_due(now, &mut self.due);

        let (kind, mut plan) = self.take_plan();
        if plan.is_empty() {
            self.meters.skipped(skipped);
            return Ok(());
        }
        if self.due.is_empty() {
            self.meters.skipped(skipped);
        } else {
            self.meters.began(lateness, skipped);
        }

        let round = Round(self.rounds.fetch_add(1, Ordering::Relaxed) + 1);
        let samples = match self.fetch(&mut plan, round).await {
            Ok(taken) => plan.samples(round, taken, &self.answers),
            Err((taken, failure)) if self.fell_asleep(taken, &failure) => {
                debug!(connection = %self.name, "idle connection was closed, opening it again");
                self.renewal.stop();
                self.state = State::Connecting(Box::pin(self.backend.connect()));
                self.eager.extend(plan.keys());
                return Ok(());
            }
            Err((taken, failure)) => {
                if matches!(self.state, State::Up(_)) {
                    self.lost(failure.clone());
                }
                debug!(connection = %self.name, %round, kind = failure.kind.as_str(), "round failed");
                let samples = plan.failures(round, taken, &failure);
                self.meters.round_failed();
                self.meters.failed(&failure, samples.len());
                samples
            }
        };
        if let Some(kind) = kind {
            self.plans.insert(kind, plan);
        }
        self.samples.send(samples).await.map_err(|_| ())
    }

    /// Asks the server, if there is a link to it. The tick is when the request was sent.
    async fn fetch(&mut self, plan: &mut Plan<B>, round: Round) -> Result<Tick, (Tick, ReadFailure)> {
        let taken = self.clock.now();
        let State::Up(link) = &mut self.state else {
            let failure = self.failure.clone().unwrap_or_else(never_connected);
            return Err((taken, failure));
        };
        self.answers.clear();
        let fetched = match self.renewal.take_previous() {
            None => self.backend.fetch(link, &mut plan.batch, &mut self.answers).await,
            Some(previous) => self.fetch_on_trial(previous, plan).await,
        };
        match fetched {
            Ok(()) => {
                self.answered(taken);
                self.note_failures(plan, round);
                debug!(connection = %self.name, %round, reads = self.answers.len(), "round answered");
                Ok(taken)
            }
            Err(failure) => Err((taken, failure)),
        }
    }

    /// Whether this failure only says that a link was closed while nobody used it. True once between two answers.
    fn fell_asleep(&mut self, taken: Tick, failure: &ReadFailure) -> bool {
        let up = matches!(self.state, State::Up(_));
        up && failure.kind == FailureKind::Unreachable
            && self.last_answer.take().is_some_and(|last| taken.since(last) >= IDLE)
    }

    fn answered(&mut self, taken: Tick) {
        self.backoff.reset();
        self.last_answer = Some(taken);
        self.meters.answered(self.clock.now().since(taken), self.answers.len());
        self.meters.up(true);
        if self.failure.take().is_some() {
            info!(connection = %self.name, "connection regained");
        }
    }

    /// Counts reads that failed alone, and logs triggers that begin or cease to fail.
    fn note_failures(&mut self, plan: &Plan<B>, round: Round) {
        let mut any = false;
        for failure in self.answers.failures() {
            any = true;
            self.meters.failed(failure, 1);
        }
        if !any && self.failing.is_empty() {
            return;
        }
        for (key, trigger, value) in plan.outcomes(&self.answers) {
            let edge = match &value {
                Err(_) => self.failing.insert((key, trigger)),
                Ok(_) => !self.failing.is_empty() && self.failing.remove(&(key, trigger)),
            };
            if !edge {
                continue;
            }
            let spec = self.subscribers.spec(key);
            let autoscaler = spec.map(|spec| spec.id.to_string()).unwrap_or_default();
            let trigger = spec.and_then(|spec| spec.triggers.get(usize::from(trigger))).map_or("", |t| &*t.name);
            match value {
                Err(failure) => warn!(
                    connection = %self.name,
                    autoscaler,
                    trigger,
                    %round,
                    kind = failure.kind.as_str(),
                    reason = %failure.message,
                    "trigger cannot be read",
                ),
                Ok(_) => info!(connection = %self.name, autoscaler, trigger, "trigger can be read again"),
            }
        }
    }

    /// The plan for what is due, and under which name to keep it. A round for newcomers happens once: it is not kept.
    fn take_plan(&mut self) -> (Option<Box<[usize]>>, Plan<B>) {
        if !self.eager.is_empty() {
            let eager = std::mem::take(&mut self.eager);
            return (None, self.subscribers.plan(&self.due, &eager, &mut self.backend));
        }
        if let Some((kind, plan)) = self.plans.remove_entry(self.due.as_slice()) {
            return (Some(kind), plan);
        }
        if self.plans.len() >= PLANS_KEPT {
            self.plans.clear();
        }
        let plan = self.subscribers.plan(&self.due, &BTreeSet::new(), &mut self.backend);
        (Some(self.due.as_slice().into()), plan)
    }
}

/// A round is only served before the first connect has ended if a caller forgot [`Task::next_round`].
#[cold]
fn never_connected() -> ReadFailure {
    ReadFailure::new(FailureKind::Unreachable, "not connected yet")
}

pub(super) async fn sleep_until(clock: Clock, tick: Tick) {
    if tick == Tick::NEVER {
        std::future::pending::<()>().await;
    } else {
        tokio::time::sleep_until(clock.instant(tick)).await;
    }
}
