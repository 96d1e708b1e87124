//! A poller on a thread of its own, as the program runs it, and specs to give to it.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tidegate::clock::Clock;
use tidegate::model::{AutoscalerId, FailureKind, Key, Sample};
use tidegate::poller::Poller;
use tidegate::source::memory::MemoryQueues;
use tidegate::spec::{
    AutoscalerSpec, Behavior, Bounds, Change, ConnectionSpec, Fallback, FallbackBehavior, MilliValue, Origin,
    Partitioning, Pause, Policy, RedisServer, ScalingRules, SelectPolicy, Server, Source, TriggerSpec,
};
use tokio::sync::mpsc;

/// How long anything may take that has no bound of its own to be tested.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Polling {
    pub clock: Clock,
    pub memory: MemoryQueues,
    changes: Option<mpsc::UnboundedSender<Change>>,
    batches: Receiver<Vec<Sample>>,
    thread: Option<JoinHandle<()>>,
    metrics: PrometheusHandle,
    log: Arc<Log>,
}

/// What a subscriber writes.
#[derive(Default)]
struct Log(Mutex<Vec<u8>>);

impl std::io::Write for &Log {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Polling {
    pub fn start() -> Self {
        Polling::start_with(|poller| poller)
    }

    /// With a poller that was told more than the usual.
    pub fn start_with(told: impl FnOnce(Poller) -> Poller) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let metrics = recorder.handle();
        let log: Arc<Log> = Arc::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(Arc::clone(&log))
            .finish();
        let clock = Clock::start();
        let memory = MemoryQueues::new();
        let (changes, inbox) = mpsc::unbounded_channel();
        let (samples, mut outbox) = mpsc::channel(64);
        let (forward, batches) = std::sync::mpsc::channel();
        let poller = told(Poller::new(clock, samples, memory.clone()));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let work = async {
                let forwarding = async {
                    while let Some(batch) = outbox.recv().await {
                        let _ = forward.send(batch);
                    }
                };
                tokio::join!(poller.run(inbox), forwarding);
            };
            metrics::with_local_recorder(&recorder, || {
                tracing::subscriber::with_default(subscriber, || runtime.block_on(work));
            });
        });
        Polling { clock, memory, changes: Some(changes), batches, thread: Some(thread), metrics, log }
    }

    /// The sum of all series whose name and labels contain each of `words`; the first word is the metric's whole name.
    pub fn metric(&self, words: &[&str]) -> f64 {
        let (name, labels) = words.split_first().unwrap();
        let text = self.metrics.render();
        let series = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        });
        series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// All metrics, as they are scraped.
    pub fn metrics(&self) -> String {
        self.metrics.render()
    }

    /// What the poller's thread has logged, down to `TRACE`.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&self.log.0.lock().unwrap()).into_owned()
    }

    pub fn set(&self, key: u32, spec: &Arc<AutoscalerSpec>) {
        self.changes.as_ref().unwrap().send(Change::Set(Key(key), Arc::clone(spec))).unwrap();
    }

    pub fn remove(&self, key: u32) {
        self.changes.as_ref().unwrap().send(Change::Removed(Key(key))).unwrap();
    }

    /// The next batch, if it comes in time.
    pub fn batch(&self, patience: Duration) -> Option<Vec<Sample>> {
        match self.batches.recv_timeout(patience) {
            Ok(batch) => Some(batch),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the poller has ended"),
        }
    }

    /// Everything that arrives within `span`.
    pub fn collect(&self, span: Duration) -> Vec<Sample> {
        let end = Instant::now() + span;
        let mut samples = Vec::new();
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            samples.extend(self.batch(left).unwrap_or_default());
        }
        samples
    }

    /// Throws away what has arrived.
    pub fn drain(&self) {
        while self.batches.try_recv().is_ok() {}
    }

    /// The first sample from now on that `wanted` accepts.
    pub fn until(&self, what: &str, wanted: impl Fn(&Sample) -> bool) -> Sample {
        let end = Instant::now() + PATIENCE;
        let mut last = None;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            for sample in self.batch(left).unwrap_or_default() {
                if wanted(&sample) {
                    return sample;
                }
                last = Some(sample);
            }
        }
        panic!("no sample that is {what}; the last one: {last:?}");
    }

    /// Waits until `key` reads exactly `backlog`.
    pub fn until_backlog(&self, key: u32, backlog: f64) -> Sample {
        self.until(&format!("{key} = {backlog}"), |s| s.key == Key(key) && backlog_of(s) == Some(backlog))
    }

    /// Waits until `key` fails for this reason; returns the sentence.
    pub fn until_failure(&self, key: u32, kind: FailureKind) -> String {
        let sample = self.until(&format!("{key} failing as {kind:?}"), |s| {
            s.key == Key(key) && s.value.as_ref().is_err_and(|failure| failure.kind == kind)
        });
        sample.value.unwrap_err().message.to_string()
    }

    /// Ends the poller and waits for it.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.changes.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the poller panicked");
        }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.end();
    }
}

pub fn backlog_of(sample: &Sample) -> Option<f64> {
    sample.value.as_ref().ok().map(|observation| observation.backlog)
}

pub fn kind_of(sample: &Sample) -> Option<FailureKind> {
    sample.value.as_ref().err().map(|failure| failure.kind)
}

/// A Redis at `address` without a password, with timeouts short enough for tests.
pub fn redis_server(address: String) -> RedisServer {
    RedisServer { connect_timeout: Duration::from_millis(500), ..RedisServer::at(address, Duration::from_millis(300)) }
}

pub fn redis(address: String) -> Arc<ConnectionSpec> {
    connection(redis_server(address))
}

pub fn connection(server: RedisServer) -> Arc<ConnectionSpec> {
    Arc::new(ConnectionSpec { name: server.address.as_str().into(), server: Server::Redis(server) })
}

pub fn memory() -> Arc<ConnectionSpec> {
    Arc::new(ConnectionSpec { name: "memory".into(), server: Server::Memory })
}

pub fn list(keys: &[&str]) -> Source {
    Source::lists(keys.iter().map(|key| Arc::from(*key)).collect())
}

/// An autoscaler with these triggers, polled every `interval`.
pub fn autoscaler(name: &str, interval: Duration, triggers: &[(&Arc<ConnectionSpec>, Source)]) -> Arc<AutoscalerSpec> {
    let rules = ScalingRules {
        stabilization_window: Duration::ZERO,
        select_policy: SelectPolicy::Max,
        policies: Vec::new(),
        tolerance: 0.0,
    };
    let trigger = |(position, (connection, source)): (usize, &(&Arc<ConnectionSpec>, Source))| TriggerSpec {
        name: format!("trigger-{position}").into(),
        metric_name: format!("trigger-{position}").into(),
        connection: Arc::clone(connection),
        source: source.clone(),
        in_flight: None,
        policy: Policy::BacklogPerReplica { target: MilliValue(1000) },
        activation_threshold: 0.0,
        max_sample_age: None,
        partitioning: Partitioning::default(),
        share: TriggerSpec::WHOLE,
    };
    Arc::new(AutoscalerSpec {
        id: AutoscalerId::new("tests", name),
        origin: Origin::Manifest,
        target: None,
        bounds: Bounds { min: 0, max: 10, idle: None },
        polling_interval: interval,
        max_sample_age: Duration::from_secs(10),
        cooldown: Duration::from_secs(300),
        initial_cooldown: Duration::ZERO,
        triggers: triggers.iter().enumerate().map(trigger).collect(),
        behavior: Behavior::Rules { up: rules.clone(), down: rules },
        fallback: Fallback { after: Duration::from_secs(30), behavior: FallbackBehavior::Hold },
        pause: Pause::default(),
        dry_run: false,
        restore_on_delete: false,
        force_activation: false,
    })
}
