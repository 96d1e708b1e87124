//! Everybody's view of every workload, shared: watches and calls write, the target of scale requests reads, and the
//! driver in [`super`] is woken by what is to be told or read.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::runtime::watcher;
use tokio::sync::Notify;

use super::entry::{Answer, Entry, Heard, News};
use super::{Problem, View, WorkloadRef, watch};
use crate::clock::Clock;
use crate::cluster::discovery::Kind;
use crate::model::{AutoscalerId, Tick};

/// After a scaling the view is told once more, this much later: the answer and the view travel apart, and whoever hears
/// the answer last might believe a count that somebody else has changed since.
const ECHO: Duration = Duration::from_secs(2);

/// See the module.
pub struct Views {
    clock: Clock,
    state: Mutex<State>,
    pub(super) wake: Notify,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) workloads: HashMap<WorkloadRef, Entry>,
    pub(super) ids: HashMap<AutoscalerId, WorkloadRef>,
    /// By group and kind, once it is known.
    pub(super) kinds: HashMap<(Arc<str>, Arc<str>), Served>,
    /// The object that was told of last, by its uid, of whoever is followed.
    pub(super) told: HashMap<AutoscalerId, Arc<str>>,
    /// To be told, by name so that nobody is in it twice, and the next to be told.
    pub(super) untold: BTreeSet<AutoscalerId>,
    /// To be read now, in order.
    pub(super) wanted: VecDeque<WorkloadRef>,
    /// To be read when there is time.
    pub(super) later: VecDeque<(Tick, WorkloadRef)>,
    /// Whose view is ahead of the watch, since when.
    pub(super) ahead: VecDeque<(Tick, WorkloadRef)>,
    pub(super) echoes: VecDeque<(Tick, AutoscalerId)>,
    rounds: u64,
}

/// What is known of a kind.
pub(super) struct Served {
    pub(super) kind: Arc<Kind>,
    /// Of each namespace watched, or of all under "".
    pub(super) watches: HashMap<Arc<str>, Watched>,
}

#[derive(Default)]
pub(super) struct Watched {
    /// A first list is complete: what is not there does not exist.
    pub(super) complete: bool,
    /// Nothing is shown any more.
    pub(super) failing: Option<Arc<str>>,
    /// We may not watch: workloads are read in turn.
    pub(super) forbidden: bool,
    /// The kind is not served any more.
    pub(super) not_served: bool,
}

impl Served {
    pub(super) fn watch_of(&self, namespace: &str) -> Option<&Watched> {
        self.watches.get(namespace).or_else(|| self.watches.get(""))
    }

    pub(super) fn shows(&self, namespace: &str) -> bool {
        self.watch_of(namespace).is_some_and(|watched| !watched.forbidden)
    }
}

/// What a scale request needs to know.
pub(crate) struct Look {
    pub(crate) workload: WorkloadRef,
    /// `None` while the kind is not known.
    pub(crate) kind: Option<Arc<Kind>>,
    pub(crate) view: Option<View>,
    pub(crate) problem: Option<Problem>,
    pub(crate) uncertain: bool,
    /// A watch would show it if it were there.
    pub(crate) watched: bool,
}

impl Views {
    pub(super) fn new(clock: Clock) -> Self {
        Views { clock, state: Mutex::default(), wake: Notify::new() }
    }

    /// The view of a workload that `id` follows.
    #[must_use]
    pub fn of(&self, id: &AutoscalerId) -> Option<View> {
        let state = self.lock();
        state.workloads.get(state.ids.get(id)?)?.view.clone()
    }

    /// Whether `id` follows this very workload.
    pub(crate) fn follows(&self, id: &AutoscalerId, workload: &WorkloadRef) -> bool {
        self.lock().ids.get(id) == Some(workload)
    }

    pub(crate) fn look(&self, id: &AutoscalerId) -> Option<Look> {
        let state = self.lock();
        let workload = state.ids.get(id)?.clone();
        let entry = state.workloads.get(&workload)?;
        let served = state.served(&workload);
        Some(Look {
            kind: served.map(|served| Arc::clone(&served.kind)),
            view: entry.view.clone(),
            problem: entry.problem.clone(),
            uncertain: entry.uncertain,
            watched: served.and_then(|served| served.watch_of(&workload.namespace)).is_some_and(|w| w.complete),
            workload,
        })
    }

    /// Something is asked of its /scale from now on; tell [`Call`] what became of it.
    pub(crate) fn call(&self, workload: &WorkloadRef, writes: bool) -> Call<'_> {
        let sent = self.clock.now();
        self.change(workload, |entry| {
            entry.begin_call();
            entry.uncertain |= writes;
        });
        Call { views: self, workload: workload.clone(), sent, writes }
    }

    /// A read had no answer: another, later.
    pub(super) fn read_fails(&self, workload: &WorkloadRef) {
        let now = self.clock.now();
        self.lock().news(workload, News::ReadLater, now);
    }

    fn change(&self, workload: &WorkloadRef, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().workloads.get_mut(workload) {
            change(entry);
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // === what watches show ===

    /// A list is about to be asked for. Returns its number.
    pub(super) fn list_begins(&self) -> u64 {
        let mut state = self.lock();
        state.rounds += 1;
        state.rounds
    }

    /// `list`: its number, and when it was asked for.
    pub(super) fn heard(&self, workload: &WorkloadRef, heard: Heard, list: Option<(u64, Tick)>) {
        let now = self.clock.now();
        let mut state = self.lock();
        let full = heard.counts.is_some();
        let entry = match state.workloads.get_mut(workload) {
            Some(entry) => entry,
            // Somebody may follow it later. Of other kinds there is nothing worth keeping before a read.
            None if full => state.workloads.entry(workload.clone()).or_default(),
            None => return,
        };
        if let Some((round, _)) = list {
            entry.round = round;
        }
        let news = entry.hear(heard, now, list.map(|(_, asked)| asked));
        state.news(workload, news, now);
        drop(state);
        if news != News::Nothing {
            self.wake.notify_one();
        }
    }

    pub(super) fn gone(&self, workload: &WorkloadRef, uid: Option<&str>) {
        let mut state = self.lock();
        state.gone(workload, uid);
        drop(state);
        self.wake.notify_one();
    }

    /// What the list did not show does not exist, unless a call was answered since it was asked for.
    pub(super) fn list_done(&self, group: &str, kind: &str, namespace: &Arc<str>, round: u64, asked: Tick) {
        let mut state = self.lock();
        let missing: Vec<WorkloadRef> = state
            .workloads
            .iter()
            .filter(|(workload, entry)| {
                &*workload.group == group
                    && &*workload.kind == kind
                    && (namespace.is_empty() || workload.namespace == *namespace)
                    && entry.round != round
                    && entry.ahead.is_none_or(|ahead| ahead <= asked)
            })
            .map(|(workload, _)| workload.clone())
            .collect();
        for workload in missing {
            state.gone(&workload, None);
        }
        if let Some(watched) = state.watched(group, kind, namespace) {
            *watched = Watched { complete: true, ..Watched::default() };
        }
        drop(state);
        self.wake.notify_one();
    }

    /// The watch does not work. Where it will not by itself, whoever was never seen is read.
    pub(super) fn watch_fails(&self, group: &str, kind: &str, namespace: &Arc<str>, error: &watcher::Error) {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(watched) = state.watched(group, kind, namespace) else { return };
        watched.failing = Some(watch::said(error).into());
        watched.not_served = watch::is_not_served(error);
        let newly_forbidden = watch::is_forbidden(error) && !std::mem::replace(&mut watched.forbidden, true);
        watched.forbidden = watch::is_forbidden(error);
        if newly_forbidden {
            tracing::warn!(
                kind,
                reason = watch::said(error),
                "workloads must not be watched: reading them in turn; `tidegate crd --rbac` grants it"
            );
            let unseen = |workload: &&WorkloadRef| {
                &*workload.group == group
                    && &*workload.kind == kind
                    && (namespace.is_empty() || workload.namespace == *namespace)
            };
            let unseen: Vec<WorkloadRef> = state.ids.values().filter(unseen).cloned().collect();
            for workload in unseen {
                if state.workloads.get(&workload).is_some_and(|entry| entry.view.is_none()) {
                    state.news(&workload, News::Read, now);
                }
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    pub(super) fn watch_works(&self, group: &str, kind: &str, namespace: &Arc<str>) {
        if let Some(watched) = self.lock().watched(group, kind, namespace) {
            (watched.failing, watched.forbidden, watched.not_served) = (None, false, false);
        }
    }
}

impl State {
    pub(super) fn served(&self, workload: &WorkloadRef) -> Option<&Served> {
        self.kinds.get(&(Arc::clone(&workload.group), Arc::clone(&workload.kind)))
    }

    fn watched(&mut self, group: &str, kind: &str, namespace: &Arc<str>) -> Option<&mut Watched> {
        self.kinds.get_mut(&(group.into(), kind.into()))?.watches.get_mut(namespace)
    }

    pub(super) fn news(&mut self, workload: &WorkloadRef, news: News, now: Tick) {
        let Some(entry) = self.workloads.get_mut(workload) else { return };
        if entry.followers.is_empty() {
            return;
        }
        match news {
            News::Nothing => {}
            News::Tell => self.untold.extend(entry.followers.iter().cloned()),
            News::Read => {
                if !std::mem::replace(&mut entry.wanted, true) {
                    self.wanted.push_back(workload.clone());
                }
            }
            News::ReadLater => {
                if !entry.wanted && !std::mem::replace(&mut entry.wanted_later, true) {
                    self.later.push_back((now, workload.clone()));
                }
            }
        }
    }

    fn gone(&mut self, workload: &WorkloadRef, uid: Option<&str>) {
        let Some(entry) = self.workloads.get_mut(workload) else { return };
        if !entry.gone(uid) {
            return;
        }
        if entry.followers.is_empty() {
            self.workloads.remove(workload);
        } else {
            entry.problem = Some(Problem::missing(workload));
            self.untold.extend(entry.followers.iter().cloned());
        }
    }
}

/// A call that is under way. Dropped without a word, it may have had any effect.
pub(crate) struct Call<'a> {
    views: &'a Views,
    workload: WorkloadRef,
    pub(crate) sent: Tick,
    writes: bool,
}

impl Call<'_> {
    /// It was answered with what stands now.
    pub(crate) fn answered(self, answer: &Answer) {
        let now = self.views.clock.now();
        let mut state = self.views.lock();
        let watched = state.served(&self.workload).is_some_and(|served| served.shows(&self.workload.namespace));
        let Some(entry) = state.workloads.get_mut(&self.workload) else { return };
        // A read that was made after a lost patch tells what became of it.
        entry.uncertain = false;
        entry.read_at = now;
        let news = entry.answered(answer, now, watched);
        let ahead = entry.ahead == Some(now);
        let followers = if self.writes { entry.followers.clone() } else { Vec::new() };
        if ahead {
            state.ahead.push_back((now, self.workload.clone()));
        }
        state.echoes.extend(followers.into_iter().map(|id| (now.after(ECHO), id)));
        state.news(&self.workload, news, now);
        drop(state);
        self.views.wake.notify_one();
    }

    /// It had no effect.
    pub(crate) fn refused(self) {
        if self.writes {
            self.views.change(&self.workload, |entry| entry.uncertain = false);
        }
    }

    /// There is no such object, or it cannot be scaled.
    pub(crate) fn fails(self, problem: Problem) {
        let mut state = self.views.lock();
        if let Some(entry) = state.workloads.get_mut(&self.workload) {
            entry.uncertain = false;
            if matches!(problem, Problem::Missing(_)) {
                entry.gone(None);
            }
            let new = entry.problem.as_ref() != Some(&problem);
            entry.problem = Some(problem);
            if new {
                let followers = entry.followers.clone();
                state.untold.extend(followers);
            }
        }
        drop(state);
        self.views.wake.notify_one();
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.views.change(&self.workload, Entry::end_call);
    }
}
