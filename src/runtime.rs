//! The task that owns the engine: events in, effects and decisions out, and the next deadline.
//!
//! Everything that changes comes through one loop on one thread, so that the engine needs no lock and a recorded log
//! replays in the same order. Samples arrive a round at a time; deadlines (a value that turns stale, a cooldown that
//! ends, a window that opens) are kept in one flat array and swept, because with ten thousand autoscalers sampled ten
//! times a second a heap would be rewritten all day for the few deadlines that are ever reached.

mod memories;
mod roles;
mod slowed;
mod specs;
mod tenants;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::memories::Remembering;
pub use self::roles::Roles;
use self::slowed::Slowed;
use self::tenants::Tenants;
use crate::board::{Board, Cell, Intake, Published};
use crate::checkpoint::{Ask, Memories};
use crate::clock::Clock;
use crate::engine::{Effect, Engine, Event};
use crate::model::{
    AutoscalerId, Decision, Health, Key, Mandate, Sample, ScaleOrder, ScaleRequest, TargetReport, Tick,
};
use crate::record::Recorder;
use crate::spec::limits::Limits;
use crate::spec::{AutoscalerSpec, Change, Origin, SpecsChange};
use crate::telemetry::flood::Flood;
use crate::telemetry::names;

/// How often deadlines are looked at. A cooldown that ends this much late is nobody's loss; looking at ten thousand
/// of them costs some ten microseconds.
const SWEEP: Duration = Duration::from_millis(20);

/// How long a KEDA call's registration outlives the last call that named it. Several polls at KEDA's default of 30 s.
const REGISTRATION_LIFETIME: Duration = Duration::from_secs(300);

/// Rounds taken in one go before other inputs get a turn.
const ROUNDS_AT_ONCE: usize = 16;

/// Registrations taken in one go: the board's map is copied once for all of them, so that ten thousand ScaledObjects
/// at the start are ten copies and not ten thousand.
const ASKS_AT_ONCE: usize = 1024;

/// Samples taken in one go before the poller, on the same thread, gets a turn: about a millisecond.
const SAMPLES_AT_ONCE: usize = 2_000;

/// What the runtime hears.
pub struct Inputs {
    /// Manifests as loaded: the whole set, each time it changes.
    pub specs: mpsc::Receiver<Vec<Arc<AutoscalerSpec>>>,
    /// Custom resources: what changed. A manifest of the same name stands above one.
    pub resources: mpsc::Receiver<SpecsChange>,
    pub samples: mpsc::Receiver<Vec<Sample>>,
    pub reports: mpsc::Receiver<TargetReport>,
    pub intake: mpsc::Receiver<Intake>,
    /// Who may act, as it changes.
    pub mandates: mpsc::Receiver<Mandate>,
    /// Whoever writes checkpoints.
    pub asks: mpsc::Receiver<Ask>,
}

impl Inputs {
    /// Of a process that has no cluster and writes nothing down.
    #[must_use]
    pub fn without_cluster(
        specs: mpsc::Receiver<Vec<Arc<AutoscalerSpec>>>,
        samples: mpsc::Receiver<Vec<Sample>>,
        reports: mpsc::Receiver<TargetReport>,
        intake: mpsc::Receiver<Intake>,
    ) -> Self {
        let ((_, resources), (_, mandates), (_, asks)) = (mpsc::channel(1), mpsc::channel(1), mpsc::channel(1));
        Inputs { specs, resources, samples, reports, intake, mandates, asks }
    }
}

/// What the runtime tells.
pub struct Outputs {
    pub board: Arc<Board>,
    pub polls: mpsc::UnboundedSender<Change>,
    pub scales: mpsc::Sender<ScaleOrder>,
    /// Who carries out the decisions about an autoscaler.
    pub roles: Roles,
}

/// Owner of the engine.
pub struct Runtime {
    clock: Clock,
    engine: Engine,
    outputs: Outputs,
    keys: HashMap<AutoscalerId, Key>,
    entries: Vec<Option<Entry>>,
    /// Keys of entries that are gone. Rounds may still be sent for them: see [`Sample::asked`].
    free: Vec<Key>,
    /// Next deadline of each entry, apart from them so that a sweep walks nothing else.
    deadlines: Vec<Tick>,
    /// Since when each asks what its spec asks now; [`Tick::NEVER`] for who is gone.
    asking: Vec<Tick>,
    effects: Vec<Effect>,
    /// What found no room: the latest of each workload, tried again at the next sweep.
    unsent: BTreeMap<AutoscalerId, ScaleOrder>,
    /// Custom resources that have the name of a manifest's autoscaler, and so are not in force.
    overshadowed: HashMap<AutoscalerId, Arc<AutoscalerSpec>>,
    remembering: Remembering,
    tenants: Tenants,
    slowed: Slowed,
    /// Writes down what the engine is given, if anybody wants that.
    recorder: Option<Box<Recorder>>,
    evaluations: metrics::Counter,
    /// Lines that KEDA calls cause.
    flood: Flood,
}

struct Entry {
    cell: Arc<Cell>,
    spare: Option<Arc<Published>>,
    origin: Origin,
    last_desired: Option<i32>,
}

impl Runtime {
    #[must_use]
    pub fn new(clock: Clock, outputs: Outputs) -> Self {
        Runtime {
            clock,
            engine: Engine::new(),
            outputs,
            keys: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
            deadlines: Vec::new(),
            asking: Vec::new(),
            effects: Vec::new(),
            unsent: BTreeMap::new(),
            overshadowed: HashMap::new(),
            remembering: Remembering::default(),
            tenants: Tenants::new(Limits::default()),
            slowed: Slowed::default(),
            recorder: None,
            evaluations: metrics::counter!(names::EVALUATIONS),
            flood: Flood::new(names::FLOOD_REGISTRATIONS),
        }
    }

    /// With these caps instead of the default ones.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Runtime { tenants: Tenants::new(limits), ..self }
    }

    /// With memories of before, each given to its autoscaler when that comes.
    #[must_use]
    pub fn remembering(self, before: Memories) -> Self {
        Runtime { remembering: Remembering::of(before), ..self }
    }

    /// With somebody who writes down all that the engine is given.
    #[must_use]
    pub fn recorded(self, recorder: Option<Recorder>) -> Self {
        Runtime { recorder: recorder.map(Box::new), ..self }
    }

    /// Runs until `shutdown`.
    pub async fn run(mut self, mut inputs: Inputs, shutdown: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut rounds = Vec::with_capacity(ROUNDS_AT_ONCE);
        let mut asks = Vec::with_capacity(ASKS_AT_ONCE);
        let mut last_expiry = self.clock.now();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                // First, so that nobody acts any longer than he may.
                Some(mandate) = inputs.mandates.recv() => self.mandated(mandate),
                Some(specs) = inputs.specs.recv() => self.replace_manifests(&specs),
                Some(change) = inputs.resources.recv() => self.change_resources(change),
                Some(report) = inputs.reports.recv() => self.reported(report),
                // Before the samples, which may never run out when the thread is too slow for them; it comes 50 times a
                // second at most.
                _ = sweep.tick() => {
                    let now = self.clock.now();
                    self.send_unsent();
                    self.follow_paces(now);
                    self.sweep(now);
                    self.remember_some(now);
                    if now.since(last_expiry) > REGISTRATION_LIFETIME / 10 {
                        last_expiry = now;
                        self.expire_registrations(now);
                        self.remembering.expire(now);
                    }
                }
                Some(ask) = inputs.asks.recv() => self.remembering.asked(ask),
                count = inputs.intake.recv_many(&mut asks, ASKS_AT_ONCE), if !inputs.intake.is_closed() => {
                    if count > 0 {
                        self.registered(asks.drain(..));
                    }
                }
                count = inputs.samples.recv_many(&mut rounds, ROUNDS_AT_ONCE), if !inputs.samples.is_closed() => {
                    let mut taken = 0;
                    for round in rounds.drain(..count) {
                        if taken >= SAMPLES_AT_ONCE {
                            taken = 0;
                            tokio::task::yield_now().await;
                        }
                        taken += round.len();
                        self.sampled(round);
                        self.hand_over();
                    }
                }
            }
            self.hand_over();
        }
    }

    /// What happened since the last time becomes one record.
    fn hand_over(&mut self) {
        if let Some(recorder) = &mut self.recorder {
            recorder.hand_over(self.clock.now());
        }
    }

    // === what comes in ===

    fn sampled(&mut self, mut round: Vec<Sample>) {
        let now = self.clock.now();
        // A round may have begun after a spec changed and before the poller had heard of that.
        round.retain(|sample| self.asking.get(sample.key.index()).is_some_and(|since| sample.asked >= *since));
        self.evaluations.increment(round.len() as u64);
        let mut round = round.into_iter().peekable();
        while let Some(sample) = round.next() {
            // The triggers of one autoscaler that were read together are decided on together: between them is a
            // state of things that never was.
            if round.peek().is_some_and(|next| next.key == sample.key) {
                if let Some(recorder) = &mut self.recorder {
                    recorder.observing(&self.engine, now, &sample);
                }
                self.engine.observe(sample);
            } else {
                let Sample { key, trigger, round, taken, value, .. } = sample;
                self.handle(now, key, Event::Sample { trigger, round, taken, value });
            }
        }
    }

    fn reported(&mut self, report: TargetReport) {
        let now = self.clock.now();
        match report {
            TargetReport::Current { id, replicas, set_by, another, .. } => {
                if let Some(&key) = self.keys.get(&id) {
                    self.handle(now, key, Event::Current { replicas, set_by, another });
                }
            }
            TargetReport::Applied { id, from, to, outcome } => {
                // By name: the key may be another's by now.
                let Some(&key) = self.keys.get(&id) else { return };
                if let Err(failure) = &outcome {
                    tracing::warn!(autoscaler = %id, from, to, %failure, "scaling failed; deciding anew");
                }
                self.handle(now, key, Event::Applied { from, to, succeeded: outcome.is_ok() });
            }
        }
    }

    /// Values of who is read more seldom may be older.
    fn follow_paces(&mut self, now: Tick) {
        let shares = self.outputs.board.shares().load_full();
        let keys = match self.slowed.follow(shares) {
            true => self.keys.values().copied().collect(),
            false => self.slowed.due(now),
        };
        for key in keys {
            self.pace(now, key);
        }
    }

    fn pace(&mut self, now: Tick, key: Key) {
        let Some(Some(entry)) = self.entries.get(key.index()) else { return };
        let cell = Arc::clone(&entry.cell);
        let interval = cell.peek(|published| published.spec.polling_interval);
        if let Some(interval) = self.slowed.pace(key, &cell.id.namespace, interval, now) {
            // Before the decision that follows from it is published.
            cell.repace(interval);
            self.handle(now, key, Event::Pace { interval });
        }
    }

    fn sweep(&mut self, now: Tick) {
        for index in 0..self.deadlines.len() {
            if self.deadlines.get(index).is_some_and(|deadline| *deadline <= now)
                && let Ok(index) = u32::try_from(index)
            {
                self.handle(now, Key(index), Event::Evaluate);
            }
        }
    }

    // === what goes out ===

    fn handle(&mut self, now: Tick, key: Key, event: Event) {
        if let Some(recorder) = &mut self.recorder {
            recorder.before(&self.engine, now, key, &event);
        }
        let deadline = self.engine.handle(now, key, event, &mut self.effects);
        if let Some(recorder) = &mut self.recorder {
            recorder.after(&self.engine, key);
        }
        if let Some(place) = self.deadlines.get_mut(key.index()) {
            *place = deadline;
        }
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Publish { key } => self.publish(key),
                Effect::Scale { key, from, to } => {
                    self.order(key, |id| ScaleOrder::Ask(ScaleRequest { key, id, from, to }));
                }
                Effect::Withdraw { key } => self.order(key, ScaleOrder::Withdraw),
            }
        }
        self.effects = effects;
    }

    fn publish(&mut self, key: Key) {
        let Some(decision) = self.engine.decision(key) else { return };
        let Some(Some(entry)) = self.entries.get_mut(key.index()) else { return };
        entry.cell.publish(decision, &mut entry.spare);
        let known = decision.triggers.iter().any(|trigger| trigger.health != Health::Pending);
        if known
            && entry.origin != Origin::KedaMetadata
            && entry.last_desired.replace(decision.desired) != Some(decision.desired)
        {
            announce(&entry.cell.id, decision);
        }
    }

    fn order(&mut self, key: Key, order: impl FnOnce(AutoscalerId) -> ScaleOrder) {
        let Some(Some(entry)) = self.entries.get(key.index()) else { return };
        let id = entry.cell.id.clone();
        self.unsent.remove(&id);
        if let Err(TrySendError::Full(order)) = self.outputs.scales.try_send(order(id.clone())) {
            self.unsent.insert(id, order);
        }
    }

    fn send_unsent(&mut self) {
        while let Some((id, order)) = self.unsent.pop_first() {
            if let Err(TrySendError::Full(order)) = self.outputs.scales.try_send(order) {
                self.unsent.insert(id, order);
                return;
            }
        }
    }
}

/// One line a change, with its reason: the decision log.
fn announce(id: &AutoscalerId, decision: &Decision) {
    let reason = decision.reason.as_str();
    metrics::counter!(names::DECISIONS, "reason" => reason).increment(1);
    // What is not known is left out.
    let known = decision.triggers.iter().filter_map(|trigger| trigger.value);
    let backlog = known.reduce(|sum, value| sum + value);
    tracing::info!(
        autoscaler = %id,
        current = decision.current_known.then_some(decision.current),
        desired = decision.desired,
        reason,
        round = decision.round.map(|round| round.0),
        backlog,
        active = decision.active,
        "decided"
    );
}
