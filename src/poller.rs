//! The schedule of everything that is read: one task for each server, never one for each queue.
//!
//! Autoscalers come and go as [`Change`]s; samples leave as batches, one a round. Each distinct `ConnectionSpec` has a
//! task and a connection of its own, so that a server that is slow, frozen or gone costs nobody else anything. Within
//! a task, autoscalers share reads (`subscribers`, `plan`), rounds (`schedule`) and one connection (`task`); when that
//! breaks, it is tried again with growing, jittered pauses (`backoff`). When its secrets change, another
//! connection takes its place (`renewal`).
//!
//! Namespaces share a budget of reads (`budget`): whoever asks for more than a fair part of it is held back, in that all
//! its polling intervals are stretched (`pace`). Whoever asks for much is served in small rounds (`groups`). The
//! others do not notice.
//!
//! The poller wants a single-threaded runtime on a thread of its own, where it costs half of what it would on a
//! shared one.

mod backoff;
mod budget;
mod groups;
mod meters;
mod pace;
mod plan;
mod readers;
mod renewal;
mod schedule;
mod subscribers;
mod task;
mod throttle;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::error;

pub use self::backoff::BACKOFF_CAP;
use self::backoff::Backoff;
use self::meters::Labels;
use self::pace::Paces;
use self::plan::wanted_by;
pub use self::renewal::LOOK_EVERY;
use self::subscribers::Subscription;
use self::task::{Message, Surroundings, Task};
use crate::clock::Clock;
use crate::model::{Key, Sample, Shares, Tick};
use crate::source::endpoints::Endpoints;
use crate::source::memory::{MemoryBackend, MemoryQueues};
use crate::source::postgres::PostgresBackend;
use crate::source::prometheus::{QueryBackend, ScrapeBackend};
use crate::source::redis::RedisBackend;
use crate::source::secrets::Secrets;
use crate::spec::grants::Fence;
use crate::spec::limits::Limits;
use crate::spec::{AutoscalerSpec, Change, ConnectionSpec, Server, TriggerSpec};

/// The grids of different connections are shifted against each other within this span, so that rounds do not all fall
/// on one instant: the shortest interval that validation allows, beyond which a shift would only repeat itself.
const GRID_SPREAD: Duration = Duration::from_millis(50);

/// Changes taken as one burst: everything that a reload of a full house brings, several times over.
const BURST: usize = 65_536;

/// Room for changes that is kept between two bursts.
const BURST_KEPT: usize = 1_024;

/// Polls what it is told to, until it is told no more.
pub struct Poller {
    clock: Clock,
    samples: mpsc::Sender<Vec<Sample>>,
    memory: MemoryQueues,
    secrets: Secrets,
    endpoints: Endpoints,
    fence: Fence,
    connections: HashMap<Arc<ConnectionSpec>, Connection>,
    /// Which connections an autoscaler uses, to find them again.
    uses: HashMap<Key, Vec<Arc<ConnectionSpec>>>,
    paces: Paces,
    labels: Labels,
    tasks: JoinSet<()>,
    /// Rounds begun, by all tasks: they are numbered through.
    rounds: Arc<AtomicU64>,
    look_every: Duration,
}

/// The near end of a connection's task. Dropping it ends the task.
struct Connection {
    messages: mpsc::UnboundedSender<Message>,
    users: usize,
}

impl Poller {
    /// Samples go to `samples`, one batch a round; when it is full, rounds wait and are skipped, never queued up.
    /// Connections to `Server::Memory` read `memory`. Nobody is held back: see [`Poller::within`].
    #[must_use]
    pub fn new(clock: Clock, samples: mpsc::Sender<Vec<Sample>>, memory: MemoryQueues) -> Self {
        Poller {
            clock,
            samples,
            memory,
            secrets: Secrets::default(),
            endpoints: Endpoints::default(),
            fence: Fence::default(),
            connections: HashMap::new(),
            uses: HashMap::new(),
            paces: Paces::new(&Limits::NO_BUDGET, Arc::default()),
            labels: Labels::default(),
            tasks: JoinSet::new(),
            rounds: Arc::default(),
            look_every: LOOK_EVERY,
        }
    }

    /// How often to look for changed secrets and certificates, if not [`LOOK_EVERY`].
    #[must_use]
    pub fn looking_every(mut self, interval: Duration) -> Self {
        self.look_every = interval;
        self
    }

    /// Connections whose passwords and certificates are in Secrets of the cluster find them in `secrets`.
    #[must_use]
    pub fn with_secrets(self, secrets: Secrets) -> Self {
        Poller { secrets, ..self }
    }

    /// Connections to pods find these in `endpoints`.
    #[must_use]
    pub fn with_endpoints(self, endpoints: Endpoints) -> Self {
        Poller { endpoints, ..self }
    }

    /// Servers that are told of by others while they are polled (by a Sentinel, by a Cluster) are connected to only
    /// within `fence`.
    #[must_use]
    pub fn behind(self, fence: Fence) -> Self {
        Poller { fence, ..self }
    }

    /// Within `limits`; who gets what is published in `shares`.
    #[must_use]
    pub fn within(self, limits: &Limits, shares: Arc<ArcSwap<Shares>>) -> Self {
        Poller { paces: Paces::new(limits, shares), ..self }
    }

    /// Runs until `changes` closes or nobody takes samples any more; all tasks have ended then.
    pub async fn run(mut self, mut changes: mpsc::UnboundedReceiver<Change>) {
        let mut burst = Vec::new();
        loop {
            let settle = self.paces.next();
            tokio::select! {
                count = changes.recv_many(&mut burst, BURST) => match count {
                    0 => break,
                    _ => self.changed(&mut burst),
                },
                () = task::sleep_until(self.clock, settle) => self.changed(&mut burst),
                () = self.samples.closed() => break,
                Some(ended) = self.tasks.join_next() => {
                    if let Err(reason) = ended {
                        // A defect, and its autoscalers would stay blind for good: better a new process.
                        error!(%reason, "a connection's task broke down");
                        break;
                    }
                }
            }
        }
        self.tasks.shutdown().await;
    }

    /// Takes in a burst of changes, perhaps of none, and works the budget out if that is due.
    fn changed(&mut self, burst: &mut Vec<Change>) {
        // The demand first, so that newcomers have the right pace from the beginning.
        for change in burst.iter() {
            match change {
                Change::Set(key, spec) => {
                    let reads = spec.triggers.iter().map(TriggerSpec::reads).sum();
                    self.paces.set(*key, spec, reads);
                }
                Change::Removed(key) => self.paces.removed(*key),
            }
        }
        let other_pace = self.paces.settle(self.clock.now());
        for change in burst.drain(..) {
            match change {
                Change::Set(key, spec) => self.set(key, &spec),
                Change::Removed(key) => self.removed(key),
            }
        }
        burst.shrink_to(BURST_KEPT);
        if other_pace.is_empty() {
            return;
        }
        for (key, stretch) in self.paces.of(&other_pace) {
            for connection in self.uses.get(&key).into_iter().flatten() {
                if let Some(task) = self.connections.get(connection) {
                    // A task that broke down hears nothing.
                    let _ = task.messages.send(Message::Pace(key, stretch));
                }
            }
        }
    }

    fn set(&mut self, key: Key, spec: &Arc<AutoscalerSpec>) {
        let stretch = self.paces.stretch(&spec.id.namespace);
        let before = self.uses.remove(&key).unwrap_or_default();
        let mut wanted: HashMap<Arc<ConnectionSpec>, Subscription> = HashMap::new();
        for (position, trigger) in spec.triggers.iter().enumerate() {
            let Ok(position) = u16::try_from(position) else { break };
            wanted
                .entry(Arc::clone(&trigger.connection))
                .or_insert_with(|| Subscription { spec: Arc::clone(spec), triggers: Vec::new(), stretch })
                .triggers
                .push((position, wanted_by(trigger)));
        }
        // New uses first: a connection that stays in use stays open.
        let mut uses = Vec::with_capacity(wanted.len());
        for (connection, subscription) in wanted {
            let known = before.contains(&connection);
            let task = self.connection(&connection);
            task.users += usize::from(!known);
            // A task that broke down hears nothing.
            let _ = task.messages.send(Message::Set(key, subscription));
            uses.push(connection);
        }
        for connection in before {
            if !uses.contains(&connection) {
                self.leave(key, &connection);
            }
        }
        self.uses.insert(key, uses);
    }

    fn removed(&mut self, key: Key) {
        for connection in self.uses.remove(&key).unwrap_or_default() {
            self.leave(key, &connection);
        }
    }

    fn leave(&mut self, key: Key, connection: &Arc<ConnectionSpec>) {
        let Entry::Occupied(mut entry) = self.connections.entry(Arc::clone(connection)) else { return };
        let task = entry.get_mut();
        task.users = task.users.saturating_sub(1);
        if task.users == 0 {
            entry.remove();
        } else {
            let _ = task.messages.send(Message::Removed(key));
        }
    }

    fn connection(&mut self, spec: &Arc<ConnectionSpec>) -> &mut Connection {
        match self.connections.entry(Arc::clone(spec)) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => {
                let (messages, inbox) = mpsc::unbounded_channel();
                let origin = origin(spec);
                let around = Surroundings {
                    name: Arc::clone(&spec.name),
                    meters: self.labels.meters(spec),
                    clock: self.clock,
                    origin,
                    spread: origin.since(Tick::ZERO).div_duration_f64(GRID_SPREAD),
                    // Two processes must not come back in step either.
                    backoff: Backoff::new((spec, std::process::id())),
                    look_every: self.look_every,
                    cap: match &spec.server {
                        Server::Redis(server) => server.max_commands_per_second,
                        Server::Postgres(_) | Server::Prometheus(_) | Server::Scrape(_) | Server::Memory => None,
                    },
                    samples: self.samples.clone(),
                    rounds: Arc::clone(&self.rounds),
                };
                match &spec.server {
                    Server::Redis(server) => {
                        let backend = RedisBackend::new(server.clone(), self.secrets.clone());
                        let backend = backend.behind(self.fence.clone());
                        self.tasks.spawn(Task::new(backend, around).run(inbox));
                    }
                    Server::Postgres(server) => {
                        let backend = PostgresBackend::new(server.clone(), self.secrets.clone());
                        let backend = backend.behind(self.fence.clone());
                        self.tasks.spawn(Task::new(backend, around).run(inbox));
                    }
                    Server::Prometheus(server) => {
                        let backend = QueryBackend::new(server.clone(), self.secrets.clone());
                        self.tasks.spawn(Task::new(backend.behind(self.fence.clone()), around).run(inbox));
                    }
                    Server::Scrape(server) => {
                        let (secrets, endpoints) = (self.secrets.clone(), self.endpoints.clone());
                        let backend = ScrapeBackend::new(server.clone(), secrets, endpoints);
                        self.tasks.spawn(Task::new(backend.behind(self.fence.clone()), around).run(inbox));
                    }
                    Server::Memory => {
                        self.tasks.spawn(Task::new(MemoryBackend::new(self.memory.clone()), around).run(inbox));
                    }
                }
                entry.insert(Connection { messages, users: 0 })
            }
        }
    }
}

/// Where the grids of a connection begin.
fn origin(spec: &ConnectionSpec) -> Tick {
    let mut hasher = DefaultHasher::new();
    spec.hash(&mut hasher);
    // The remainder is below fifty million nanoseconds.
    Tick::from_nanos(hasher.finish() % u64::try_from(GRID_SPREAD.as_nanos()).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AutoscalerId, FailureKind, ReadFailure};
    use crate::spec::{
        Behavior, Bounds, Fallback, FallbackBehavior, MilliValue, Origin, Partitioning, Pause, Policy, Source,
        TriggerSpec,
    };
    use crate::telemetry::names;
    use metrics_exporter_prometheus::PrometheusBuilder;

    const FAST: Duration = Duration::from_millis(20);

    /// An autoscaler of the embedded queue `jobs`.
    pub(super) fn spec() -> AutoscalerSpec {
        AutoscalerSpec {
            id: AutoscalerId::new("tests", "jobs"),
            origin: Origin::Manifest,
            target: None,
            bounds: Bounds { min: 0, max: 10, idle: None },
            polling_interval: FAST,
            max_sample_age: Duration::from_secs(10),
            cooldown: Duration::ZERO,
            initial_cooldown: Duration::ZERO,
            triggers: vec![TriggerSpec {
                name: "trigger-0".into(),
                metric_name: "trigger-0".into(),
                connection: Arc::new(ConnectionSpec { name: "embedded".into(), server: Server::Memory }),
                source: Source::Memory { queue: "jobs".into() },
                in_flight: None,
                policy: Policy::BacklogPerReplica { target: MilliValue(1000) },
                activation_threshold: 0.0,
                max_sample_age: None,
                partitioning: Partitioning::default(),
                share: TriggerSpec::WHOLE,
            }],
            behavior: Behavior::HpaWithoutBehavior { downscale_stabilization: Duration::ZERO },
            fallback: Fallback { after: Duration::ZERO, behavior: FallbackBehavior::Hold },
            pause: Pause::default(),
            dry_run: false,
            restore_on_delete: false,
            force_activation: false,
        }
    }

    /// Runs a poller beside `body`, which gets the queues and both ends of it; returns the metrics.
    fn with_poller(
        body: impl AsyncFnOnce(MemoryQueues, mpsc::UnboundedSender<Change>, mpsc::Receiver<Vec<Sample>>),
    ) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        let rendered = recorder.handle();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        metrics::with_local_recorder(&recorder, || {
            runtime.block_on(async {
                let queues = MemoryQueues::new();
                let (changes, inbox) = mpsc::unbounded_channel();
                let (samples, outbox) = mpsc::channel(8);
                let poller = Poller::new(Clock::start(), samples, queues.clone());
                tokio::join!(poller.run(inbox), body(queues, changes, outbox));
            });
        });
        rendered.render()
    }

    fn value(metrics: &str, series: &str) -> f64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series} in:\n{metrics}")).parse().unwrap()
    }

    #[test]
    fn an_outage_is_sampled_counted_and_survived() {
        let metrics = with_poller(async |queues, changes, mut samples| {
            queues.push("jobs", 3);
            changes.send(Change::Set(Key(7), Arc::new(spec()))).unwrap();
            let first = samples.recv().await.unwrap();
            assert_eq!(first.first().unwrap().value.as_ref().unwrap().backlog, 3.0);

            queues.set_outage(Some(ReadFailure::new(FailureKind::NotServing, "pulled the plug")));
            while samples.recv().await.unwrap().first().unwrap().value.is_ok() {}
            for _ in 0..5 {
                let failed = samples.recv().await.unwrap();
                assert_eq!(failed.first().unwrap().value.as_ref().unwrap_err().kind, FailureKind::NotServing);
            }
            queues.set_outage(None);
            while samples.recv().await.unwrap().first().unwrap().value.is_err() {}
        });
        let of = |name: &str, rest: &str| value(&metrics, &format!("{name}{{connection=\"embedded\"{rest}}}"));
        assert!(of(names::POLL_ROUNDS, ",outcome=\"error\"") >= 6.0);
        assert!(of(names::POLL_ROUNDS, ",outcome=\"ok\"") >= 2.0);
        assert!(of(names::POLL_FAILURES, ",kind=\"not_serving\"") >= 6.0);
        assert_eq!(of(names::POLL_FAILURES, ",kind=\"timeout\""), 0.0);
        assert!(of(names::CONNECTS, ",outcome=\"ok\"") == 2.0, "{metrics}");
    }

    #[test]
    fn a_poller_ends_when_nobody_takes_its_samples() {
        with_poller(async |_, changes, samples| {
            changes.send(Change::Set(Key(0), Arc::new(spec()))).unwrap();
            drop(samples);
            // The other end is dropped with the poller.
            changes.closed().await;
        });
    }

    #[test]
    fn a_slow_taker_makes_rounds_skipped_and_not_queued() {
        let metrics = with_poller(async |_, changes, mut samples| {
            changes.send(Change::Set(Key(0), Arc::new(spec()))).unwrap();
            tokio::time::sleep(FAST * 40).await;
            // What the channel holds, and the one round that waited for a place in it.
            for _ in 0..10 {
                samples.recv().await.unwrap();
            }
        });
        let skipped = value(&metrics, &format!("{}{{connection=\"embedded\"}}", names::POLL_ROUNDS_SKIPPED));
        assert!(skipped >= 20.0, "{skipped}");
    }
}
