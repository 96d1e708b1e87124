//! The task that owns the engine: events in, effects and decisions out, and the next deadline.
//!
//! Everything that changes comes through one loop on one thread, so that the engine needs no lock and a recorded log
//! replays in the same order. Samples arrive a round at a time; deadlines (a value that turns stale, a cooldown that
//! ends, a window that opens) are kept in one flat array and swept, because with ten thousand autoscalers sampled ten
//! times a second a heap would be rewritten all day for the few deadlines that are ever reached.

mod slowed;
mod tenants;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::slowed::Slowed;
use self::tenants::Tenants;
use crate::board::{Board, Cell, Intake, Published};
use crate::clock::Clock;
use crate::engine::{Effect, Engine, Event, Role};
use crate::model::{AutoscalerId, Decision, Health, Key, Sample, ScaleRequest, TargetReport, Tick};
use crate::spec::limits::Limits;
use crate::spec::{AutoscalerSpec, Change, Origin};
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
    pub samples: mpsc::Receiver<Vec<Sample>>,
    pub reports: mpsc::Receiver<TargetReport>,
    pub intake: mpsc::Receiver<Intake>,
}

/// What the runtime tells.
pub struct Outputs {
    pub board: Arc<Board>,
    pub polls: mpsc::UnboundedSender<Change>,
    pub scales: mpsc::Sender<ScaleRequest>,
    /// Who carries out the decisions about an autoscaler.
    pub role: Box<dyn Fn(&AutoscalerSpec) -> Role + Send>,
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
    /// Requests that found no room: the latest of each workload, tried again at the next sweep.
    unsent: BTreeMap<Key, ScaleRequest>,
    tenants: Tenants,
    slowed: Slowed,
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
            tenants: Tenants::new(Limits::default()),
            slowed: Slowed::default(),
            evaluations: metrics::counter!(names::EVALUATIONS),
            flood: Flood::new(names::FLOOD_REGISTRATIONS),
        }
    }

    /// With these caps instead of the default ones.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Runtime { tenants: Tenants::new(limits), ..self }
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
                Some(specs) = inputs.specs.recv() => self.replace_manifests(&specs),
                Some(report) = inputs.reports.recv() => self.reported(report),
                // Before the samples, which may never run out when the thread is too slow for them; it comes 50 times a
                // second at most.
                _ = sweep.tick() => {
                    let now = self.clock.now();
                    self.send_unsent();
                    self.follow_paces(now);
                    self.sweep(now);
                    if now.since(last_expiry) > REGISTRATION_LIFETIME / 10 {
                        last_expiry = now;
                        self.expire_registrations(now);
                    }
                }
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
                    }
                }
            }
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
            TargetReport::Current { id, replicas, set_by, .. } => {
                if let Some(&key) = self.keys.get(&id) {
                    self.handle(now, key, Event::Current { replicas, set_by });
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

    fn registered(&mut self, asks: impl Iterator<Item = Intake>) {
        let now = self.clock.now();
        let mut new = Vec::new();
        let mut replies = Vec::new();
        for Intake::Register { spec, reply } in asks {
            let known = self.entry(&spec.id).map(|entry| (Arc::clone(&entry.cell), entry.origin));
            let cell = match known {
                // A manifest of this very name stands above what a call says.
                Some((cell, Origin::Manifest | Origin::Resource)) => cell,
                // The same metadata may mean another server after the connections changed.
                Some((cell, Origin::KedaMetadata)) if cell.peek(|published| published.spec == spec) => cell,
                Some((cell, Origin::KedaMetadata)) => {
                    let before = cell.peek(|published| Arc::clone(&published.spec));
                    if let Err(full) = self.tenants.admit_instead(&before, &spec, now) {
                        replies.push((reply, Err(full)));
                        continue;
                    }
                    self.set(now, spec)
                }
                None => {
                    if let Err(full) = self.tenants.admit(&spec, now) {
                        replies.push((reply, Err(full)));
                        continue;
                    }
                    if let Some(left_out) = self.flood.admit(now) {
                        tracing::info!(autoscaler = %spec.id, left_out, "registered by a KEDA call");
                    }
                    let cell = self.set(now, spec);
                    new.push(Arc::clone(&cell));
                    cell
                }
            };
            cell.touch(now);
            replies.push((reply, Ok(cell)));
        }
        if !new.is_empty() {
            self.outputs.board.insert(new);
            self.count();
        }
        for (reply, answer) in replies {
            // Nobody listens any more: the caller gave up, and the next call finds it registered.
            drop(reply.send(answer));
        }
    }

    /// Makes the set of manifest autoscalers what was loaded; what did not change is not touched.
    fn replace_manifests(&mut self, specs: &[Arc<AutoscalerSpec>]) {
        let now = self.clock.now();
        let wanted: HashMap<&AutoscalerId, &Arc<AutoscalerSpec>> = specs.iter().map(|spec| (&spec.id, spec)).collect();
        let gone: Vec<AutoscalerId> = self
            .entries
            .iter()
            .flatten()
            .filter(|entry| entry.origin == Origin::Manifest && !wanted.contains_key(&entry.cell.id))
            .map(|entry| entry.cell.id.clone())
            .collect();
        self.remove(now, &gone);
        let mut cells = Vec::new();
        for spec in specs {
            if self.entry(&spec.id).is_none_or(|entry| entry.cell.peek(|published| published.spec != *spec)) {
                cells.push(self.set(now, Arc::clone(spec)));
            }
        }
        tracing::info!(autoscalers = specs.len(), changed = cells.len(), removed = gone.len(), "manifests in force");
        self.outputs.board.insert(cells);
        self.count();
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

    fn expire_registrations(&mut self, now: Tick) {
        let expired: Vec<AutoscalerId> = self
            .entries
            .iter()
            .flatten()
            .filter(|entry| entry.origin == Origin::KedaMetadata)
            .filter(|entry| now.since(entry.cell.last_asked()) > REGISTRATION_LIFETIME)
            .map(|entry| entry.cell.id.clone())
            .collect();
        for id in &expired {
            if let Some(left_out) = self.flood.admit(now) {
                tracing::info!(autoscaler = %id, left_out, "registration expired: no KEDA call named it for a while");
            }
        }
        self.remove(now, &expired);
        self.count();
    }

    // === keys ===

    /// Adds or replaces one; its cell is not on the board yet if it is new.
    fn set(&mut self, now: Tick, spec: Arc<AutoscalerSpec>) -> Arc<Cell> {
        let role = (self.outputs.role)(&spec);
        let key = self.keys.get(&spec.id).copied().unwrap_or_else(|| self.free_key());
        self.keys.insert(spec.id.clone(), key);
        if spec.origin == Origin::KedaMetadata {
            self.tenants.came(&spec);
        }
        let cell = match self.entries.get_mut(key.index()) {
            Some(Some(entry)) => {
                if entry.origin == Origin::KedaMetadata {
                    entry.cell.peek(|published| self.tenants.left(&published.spec));
                }
                entry.cell.respec(Arc::clone(&spec));
                entry.origin = spec.origin;
                Arc::clone(&entry.cell)
            }
            place => {
                let cell = Arc::new(Cell::new(Arc::clone(&spec), now));
                let entry = Entry { cell: Arc::clone(&cell), spare: None, origin: spec.origin, last_desired: None };
                place.map(|place| place.insert(entry));
                cell
            }
        };
        if let Some(since) = self.asking.get_mut(key.index()) {
            *since = now;
        }
        self.handle(now, key, Event::Spec { spec: Arc::clone(&spec), role });
        self.pace(now, key);
        // The poller gone means the process is going down.
        drop(self.outputs.polls.send(Change::Set(key, spec)));
        cell
    }

    fn remove(&mut self, now: Tick, ids: &[AutoscalerId]) {
        if ids.is_empty() {
            return;
        }
        for id in ids {
            let Some(key) = self.keys.remove(id) else { continue };
            self.handle(now, key, Event::Gone);
            self.unsent.remove(&key);
            self.slowed.forget(key);
            if let Some(since) = self.asking.get_mut(key.index()) {
                *since = Tick::NEVER;
            }
            if let Some(place) = self.entries.get_mut(key.index()) {
                if let Some(entry) = place.take_if(|entry| entry.origin == Origin::KedaMetadata) {
                    entry.cell.peek(|published| self.tenants.left(&published.spec));
                }
                *place = None;
                self.free.push(key);
            }
            drop(self.outputs.polls.send(Change::Removed(key)));
        }
        self.outputs.board.remove(ids);
    }

    fn free_key(&mut self) -> Key {
        if let Some(key) = self.free.pop() {
            return key;
        }
        self.entries.push(None);
        self.deadlines.push(Tick::NEVER);
        self.asking.push(Tick::NEVER);
        // Four thousand million autoscalers do not fit into memory.
        Key(u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX))
    }

    fn entry(&self, id: &AutoscalerId) -> Option<&Entry> {
        self.entries.get(self.keys.get(id)?.index())?.as_ref()
    }

    fn count(&self) {
        for (origin, label) in
            [(Origin::Manifest, "manifest"), (Origin::Resource, "resource"), (Origin::KedaMetadata, "keda")]
        {
            let count = self.entries.iter().flatten().filter(|entry| entry.origin == origin).count();
            metrics::gauge!(names::AUTOSCALERS, "origin" => label).set(count as f64);
        }
    }

    // === what goes out ===

    fn handle(&mut self, now: Tick, key: Key, event: Event) {
        let deadline = self.engine.handle(now, key, event, &mut self.effects);
        if let Some(place) = self.deadlines.get_mut(key.index()) {
            *place = deadline;
        }
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Publish { key } => self.publish(key),
                Effect::Scale { key, from, to } => self.scale(key, from, to),
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

    fn scale(&mut self, key: Key, from: i32, to: i32) {
        let Some(Some(entry)) = self.entries.get(key.index()) else { return };
        let request = ScaleRequest { key, id: entry.cell.id.clone(), from, to };
        self.unsent.remove(&key);
        if let Err(TrySendError::Full(request)) = self.outputs.scales.try_send(request) {
            self.unsent.insert(key, request);
        }
    }

    fn send_unsent(&mut self) {
        while let Some((key, request)) = self.unsent.pop_first() {
            if let Err(TrySendError::Full(request)) = self.outputs.scales.try_send(request) {
                self.unsent.insert(key, request);
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
