//! What the parts of the Kubernetes' door know of each autoscaler, in one place: who refuses it, whether its workload is
//! there, how its last scaling went. `workloads`, `owners` and `scale` write; `status` and `events` read.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::model::{AutoscalerId, Replicas, Tick};

/// What stands around one autoscaler in the cluster.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Why its decisions are not carried out although they could be.
    pub refused: Option<Refused>,
    pub workload: Workload,
    /// The last scaling of ours that succeeded.
    pub scaled: Option<Scaled>,
    /// The last attempt at scaling, if it failed and none has succeeded since.
    pub failed: Option<Failed>,
}

/// Somebody else's workload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// The owner, as a person would name it: `HorizontalPodAutoscaler shop/orders`.
    pub by: Arc<str>,
}

/// What is known of the workload.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Workload {
    /// Not looked at yet.
    #[default]
    Unknown,
    /// No such object. With the sentence that says so.
    Missing(Arc<str>),
    /// It cannot be read or has no /scale. With the sentence that says so, and the cure.
    Unreadable(Arc<str>),
    Seen {
        replicas: Replicas,
        ready: Replicas,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scaled {
    pub at: Tick,
    pub from: Replicas,
    pub to: Replicas,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failed {
    /// As the metric has it (`conflict`, `forbidden`, ...).
    pub label: &'static str,
    /// What happened and what helps.
    pub message: Arc<str>,
}

/// Everybody's. Whoever changes something wakes whoever waits for [`Standings::changed`].
#[derive(Default)]
pub struct Standings {
    all: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    standings: HashMap<AutoscalerId, Standing>,
    changed: HashSet<AutoscalerId>,
}

impl Standings {
    #[must_use]
    pub fn get(&self, id: &AutoscalerId) -> Standing {
        self.lock().standings.get(id).cloned().unwrap_or_default()
    }

    /// Changes one; says so to who waits if it differs afterwards.
    pub fn update(&self, id: &AutoscalerId, change: impl FnOnce(&mut Standing)) {
        let mut state = self.lock();
        let standing = state.standings.entry(id.clone()).or_default();
        let before = standing.clone();
        change(standing);
        if *standing != before {
            state.changed.insert(id.clone());
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Changes one that is there, and forgets it once nothing is known of it any more: each part takes away what it
    /// wrote of an autoscaler that is gone.
    pub fn clear(&self, id: &AutoscalerId, change: impl FnOnce(&mut Standing)) {
        let mut state = self.lock();
        let Some(standing) = state.standings.get_mut(id) else { return };
        change(standing);
        if *standing == Standing::default() {
            state.standings.remove(id);
        }
    }

    /// No scaling of anybody's counts as failed any more.
    pub fn forget_failures(&self) {
        let mut state = self.lock();
        let State { standings, changed } = &mut *state;
        for (id, standing) in standings.iter_mut().filter(|(_, standing)| standing.failed.is_some()) {
            standing.failed = None;
            changed.insert(id.clone());
        }
        drop(state);
        self.wake.notify_one();
    }

    /// How many there are of whom anything is known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().standings.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until something has changed, and takes what has. For one reader.
    pub async fn changed(&self) -> HashSet<AutoscalerId> {
        loop {
            let changed = std::mem::take(&mut self.lock().changed);
            if !changed.is_empty() {
                return changed;
            }
            self.wake.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
