//! The published view: the last decision of everybody, as snapshots that readers take without waiting for anyone.
//!
//! One writer (the runtime), many readers (KEDA's RPCs, the API, the status page). An RPC never touches a backend:
//! what it answers stands here, with its age. The way back in, for readers that want somebody new to be watched, is
//! [`Intake`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use crate::model::{AutoscalerId, Decision, Shares, Tick};
use crate::spec::limits::Full;
use crate::spec::{AutoscalerSpec, TriggerSpec};

/// Decisions kept for each autoscaler: enough to see the last ramp up and down, small enough for ten thousand.
const HISTORY: usize = 16;

/// Everybody's cell, by name.
pub struct Board {
    cells: ArcSwap<BTreeMap<AutoscalerId, Arc<Cell>>>,
    intake: mpsc::Sender<Intake>,
    shares: Arc<ArcSwap<Shares>>,
}

/// What a reader asks of the runtime.
pub enum Intake {
    /// Watch this from now on (or go on, if it is known). Answered with its cell, or with the cap that is reached.
    Register { spec: Arc<AutoscalerSpec>, reply: oneshot::Sender<Result<Arc<Cell>, Full>> },
}

/// One autoscaler, as published.
pub struct Cell {
    pub id: AutoscalerId,
    latest: ArcSwap<Published>,
    /// Without their triggers, which would be as much again.
    history: Mutex<VecDeque<Decision>>,
    activity: watch::Sender<Activity>,
    spec: watch::Sender<Arc<AutoscalerSpec>>,
    /// When a KEDA call last named it; a registration that nobody asks for ends.
    asked: AtomicU64,
}

/// A decision with the spec that it was made under. `decision` is `None` before the first evaluation.
#[derive(Clone, Debug)]
pub struct Published {
    pub spec: Arc<AutoscalerSpec>,
    pub decision: Option<Decision>,
    /// How often it is read, where that is more seldom than the spec says because its namespace is held back.
    pub pace: Option<Duration>,
}

impl Published {
    /// How old a value may be.
    #[must_use]
    pub fn max_sample_age(&self) -> Duration {
        self.spec.max_sample_age_at(self.pace)
    }

    /// How old a value of this trigger may be.
    #[must_use]
    pub fn max_sample_age_of(&self, trigger: &TriggerSpec) -> Duration {
        self.spec.max_sample_age_of(trigger, self.pace)
    }
}

/// What streams wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activity {
    /// Not every trigger has been read yet.
    Pending,
    Inactive,
    Active,
    /// Removed from the board.
    Gone,
}

// === impl Board ===

impl Board {
    #[must_use]
    pub fn new(intake: mpsc::Sender<Intake>) -> Self {
        Board { cells: ArcSwap::default(), intake, shares: Arc::default() }
    }

    /// What each namespace asks of the poller and gets; the poller writes it.
    #[must_use]
    pub fn shares(&self) -> &Arc<ArcSwap<Shares>> {
        &self.shares
    }

    #[must_use]
    pub fn get(&self, id: &AutoscalerId) -> Option<Arc<Cell>> {
        self.cells.load().get(id).cloned()
    }

    /// Everybody, ordered by namespace and name: a snapshot.
    #[must_use]
    pub fn all(&self) -> Arc<BTreeMap<AutoscalerId, Arc<Cell>>> {
        self.cells.load_full()
    }

    /// Asks the runtime to watch `spec`; `None` when the process is shutting down.
    ///
    /// # Errors
    /// There is no room for it.
    pub async fn register(&self, spec: Arc<AutoscalerSpec>) -> Option<Result<Arc<Cell>, Full>> {
        let (reply, answer) = oneshot::channel();
        self.intake.send(Intake::Register { spec, reply }).await.ok()?;
        answer.await.ok()
    }

    /// Writer only: adds or replaces many at once (one copy of the map, however many).
    pub fn insert(&self, cells: impl IntoIterator<Item = Arc<Cell>>) {
        let mut map = BTreeMap::clone(&self.cells.load());
        for cell in cells {
            if let Some(old) = map.insert(cell.id.clone(), Arc::clone(&cell))
                && !Arc::ptr_eq(&old, &cell)
            {
                old.activity.send_replace(Activity::Gone);
            }
        }
        self.cells.store(Arc::new(map));
    }

    /// Writer only: removes many at once and ends what waits for them.
    pub fn remove<'a>(&self, ids: impl IntoIterator<Item = &'a AutoscalerId>) {
        let mut map = BTreeMap::clone(&self.cells.load());
        for id in ids {
            if let Some(cell) = map.remove(id) {
                cell.activity.send_replace(Activity::Gone);
            }
        }
        self.cells.store(Arc::new(map));
    }
}

// === impl Cell ===

impl Cell {
    #[must_use]
    pub fn new(spec: Arc<AutoscalerSpec>, now: Tick) -> Self {
        Cell {
            id: spec.id.clone(),
            latest: ArcSwap::from_pointee(Published { spec: Arc::clone(&spec), decision: None, pace: None }),
            history: Mutex::default(),
            activity: watch::Sender::new(Activity::Pending),
            spec: watch::Sender::new(spec),
            asked: AtomicU64::new(now.as_nanos()),
        }
    }

    /// The last published decision and its spec.
    #[must_use]
    pub fn latest(&self) -> Arc<Published> {
        self.latest.load_full()
    }

    /// As [`Cell::latest`], without touching a reference count: for the hot path; do not hold it across an await.
    pub fn peek<T>(&self, read: impl FnOnce(&Published) -> T) -> T {
        read(&self.latest.load())
    }

    /// The last decisions that differed from the one before, oldest first, without what each trigger said.
    #[must_use]
    pub fn history(&self) -> Vec<Decision> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    #[must_use]
    pub fn activity(&self) -> watch::Receiver<Activity> {
        self.activity.subscribe()
    }

    /// The spec, and every later one.
    #[must_use]
    pub fn spec(&self) -> watch::Receiver<Arc<AutoscalerSpec>> {
        self.spec.subscribe()
    }

    /// Notes that somebody asked for this at `now`.
    pub fn touch(&self, now: Tick) {
        self.asked.fetch_max(now.as_nanos(), Ordering::Relaxed);
    }

    #[must_use]
    pub fn last_asked(&self) -> Tick {
        Tick::from_nanos(self.asked.load(Ordering::Relaxed))
    }

    /// Writer only: a new spec; the old decision stands until the next one, unless it speaks of other triggers.
    pub fn respec(&self, spec: Arc<AutoscalerSpec>) {
        let old = self.latest.load();
        let decision = old.decision.clone().filter(|_| old.spec.triggers == spec.triggers);
        self.latest.store(Arc::new(Published { spec: Arc::clone(&spec), decision, pace: old.pace }));
        self.spec.send_replace(spec);
    }

    /// Writer only: how often it is read from now on.
    pub fn repace(&self, pace: Option<Duration>) {
        self.latest.store(Arc::new(Published { pace, ..Published::clone(&self.latest.load()) }));
    }

    /// Writer only. `spare` is the writer's own: the snapshot that this one replaces, written over next time if no
    /// reader holds it any more, so that the steady state allocates nothing.
    pub fn publish(&self, decision: &Decision, spare: &mut Option<Arc<Published>>) {
        let current = self.latest.load();
        let notable = current.decision.as_ref().is_none_or(|last| differs(last, decision));
        let (spec, pace) = (Arc::clone(&current.spec), current.pace);
        drop(current);
        let empty = || Arc::new(Published { spec: Arc::clone(&spec), decision: None, pace });
        let mut next = spare.take().unwrap_or_else(empty);
        match Arc::get_mut(&mut next) {
            Some(reused) => {
                reused.spec = spec;
                reused.pace = pace;
                match &mut reused.decision {
                    Some(old) => old.assign(decision),
                    none => *none = Some(decision.clone()),
                }
            }
            None => next = Arc::new(Published { spec, decision: Some(decision.clone()), pace }),
        }
        if notable {
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            if history.len() == HISTORY {
                history.pop_front();
            }
            history.push_back(Decision { triggers: Vec::new(), ..*decision });
        }
        *spare = Some(self.latest.swap(next));

        let activity = match decision.triggers.iter().any(|t| t.taken.is_none() && t.failure.is_none()) {
            true => Activity::Pending,
            false if decision.active => Activity::Active,
            false => Activity::Inactive,
        };
        self.activity.send_if_modified(|last| std::mem::replace(last, activity) != activity);
    }
}

/// Whether a decision says anything that the one before did not, its time and the raw values aside.
fn differs(a: &Decision, b: &Decision) -> bool {
    // That it arrived where it was sent is no news; that it went anywhere else is.
    let moved = a.current != b.current && b.current != a.desired;
    a.desired != b.desired
        || moved
        || a.reason != b.reason
        || a.active != b.active
        || a.degraded != b.degraded
        || a.fallback != b.fallback
        || a.paused != b.paused
}
