//! The task that follows workloads: which kinds there are, what watches them, what is due, and who is told.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::entry::News;
use super::reads::Reads;
use super::views::{Served, State, Views, Watched};
use super::{Order, Parts, Problem, View, WorkloadRef, watch};
use crate::cluster::client::Kube;
use crate::cluster::discovery::{Kind, NotServed};
use crate::cluster::standing::{Standing, Standings, Workload};
use crate::model::{AutoscalerId, TargetReport, Tick};
use crate::spec::TargetRef;

/// How soon a kind is asked for again that is not served, or about which nobody answered; doubles up to the longest.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// A CustomResourceDefinition that is installed later is found so much later at worst. One request a minute for each
/// kind that does not exist is nothing.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How often what is due is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// How long the watch may take to show what a call was answered, before a read settles it. A healthy watch is some 10 ms
/// behind.
const CATCH_UP: Duration = Duration::from_secs(5);

/// `apiVersion` and `kind`, as users write them.
type ApiKind = (String, String);

/// What discovery says of a kind.
type Found = (ApiKind, Result<Arc<Kind>, NotServed>);

/// The task behind [`Workloads`](super::Workloads).
pub struct Driver {
    parts: Parts,
    orders: mpsc::UnboundedReceiver<Order>,
    views: Arc<Views>,
    reads: Reads,
    targets: HashMap<AutoscalerId, TargetRef>,
    /// By `apiVersion` and `kind`, as long as somebody targets it.
    kinds: HashMap<ApiKind, Known>,
    asking: JoinSet<Found>,
    watches: JoinSet<()>,
}

/// A kind that somebody targets.
#[derive(Default)]
struct Known {
    followers: usize,
    failures: u32,
    /// When to ask for it (again); `None` while that is under way, and once it is known.
    ask_at: Option<Tick>,
    found: Option<Arc<Kind>>,
    problem: Option<Problem>,
    watches: Vec<AbortHandle>,
}

impl Driver {
    pub(super) fn new(parts: Parts, orders: mpsc::UnboundedReceiver<Order>, views: Arc<Views>) -> Self {
        Driver {
            reads: Reads::new(parts.kube.clone(), Arc::clone(&views)),
            parts,
            orders,
            views,
            targets: HashMap::new(),
            kinds: HashMap::new(),
            asking: JoinSet::new(),
            watches: JoinSet::new(),
        }
    }

    /// Runs until every [`Workloads`](super::Workloads) is dropped.
    pub async fn run(mut self) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let reports = self.parts.reports.clone();
        loop {
            let told = !self.views.lock().untold.is_empty();
            let views = Arc::clone(&self.views);
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.take(order),
                    None => return,
                },
                permit = reports.reserve(), if told => match permit {
                    Ok(permit) => {
                        if let Some(report) = tell(&self.views, &self.parts.standings) {
                            permit.send(report);
                        }
                    }
                    // The runtime is gone: the process is ending.
                    Err(_) => return,
                },
                () = views.wake.notified() => self.reads.start_what_may(),
                () = self.reads.done() => self.reads.start_what_may(),
                Some(found) = self.asking.join_next(), if !self.asking.is_empty() => {
                    if let Ok((name, found)) = found {
                        self.found(&name, found);
                    }
                }
                _ = look.tick() => self.look(),
            }
        }
    }

    fn take(&mut self, Order { set, gone }: Order) {
        for id in gone {
            self.leave(&id);
            self.views.lock().told.remove(&id);
            self.parts.standings.clear(&id, |standing| {
                *standing = Standing { refused: standing.refused.take(), ..Standing::default() };
            });
        }
        for (id, target) in set {
            if self.targets.get(&id) != Some(&target) {
                self.leave(&id);
                self.come(id, target);
            } else {
                // Whoever decides may have begun anew, and would hear nothing of a workload that rests.
                self.views.lock().untold.insert(id);
            }
        }
        self.ask();
    }

    fn leave(&mut self, id: &AutoscalerId) {
        let Some(target) = self.targets.remove(id) else { return };
        let mut state = self.views.lock();
        if let Some(workload) = state.ids.remove(id)
            && let Some(entry) = state.workloads.get_mut(&workload)
        {
            entry.followers.retain(|follower| follower != id);
            // What a watch shows of it is kept; see `Views::heard`.
            if entry.followers.is_empty() && entry.view.as_ref().is_none_or(|view| !view.watched) {
                state.workloads.remove(&workload);
            }
        }
        state.untold.remove(id);
        let name = (target.api_version, target.kind);
        let Some(known) = self.kinds.get_mut(&name) else { return };
        known.followers -= 1;
        if known.followers > 0 {
            return;
        }
        if let Some(known) = self.kinds.remove(&name) {
            known.watches.iter().for_each(AbortHandle::abort);
            let same = |kind: &Kind, other: &Kind| kind.api.group == other.api.group && kind.api.kind == other.api.kind;
            let other =
                |kind: &Kind| self.kinds.values().filter_map(|known| known.found.as_deref()).any(|o| same(kind, o));
            // Of another version it may still be targeted.
            if let Some(kind) = known.found.filter(|kind| !other(kind)) {
                state.forget_kind(&kind);
            }
        }
    }

    fn come(&mut self, id: AutoscalerId, target: TargetRef) {
        let workload = WorkloadRef::new(&id.namespace, &target);
        let known = self.kinds.entry((target.api_version.clone(), target.kind.clone())).or_default();
        known.followers += 1;
        if known.followers == 1 {
            known.ask_at = Some(Tick::ZERO);
        }
        let problem = known.problem.clone();
        self.targets.insert(id.clone(), target);
        let mut state = self.views.lock();
        state.ids.insert(id.clone(), workload.clone());
        let entry = state.workloads.entry(workload.clone()).or_default();
        entry.followers.push(id.clone());
        if entry.view.is_none() && entry.problem.is_none() {
            entry.problem = problem;
        }
        state.untold.insert(id);
        state.find(&workload, &self.parts.kube);
    }

    /// Asks for kinds that are due.
    fn ask(&mut self) {
        let now = self.parts.kube.clock.now();
        for (name, known) in &mut self.kinds {
            if known.ask_at.is_none_or(|at| at > now) {
                continue;
            }
            known.ask_at = None;
            let (discovery, name) = (Arc::clone(&self.parts.discovery), name.clone());
            self.asking.spawn(async move {
                let found = discovery.kind(&name.0, &name.1).await;
                (name, found)
            });
        }
    }

    fn found(&mut self, name: &ApiKind, found: Result<Arc<Kind>, NotServed>) {
        // Nobody targets it any more.
        let Some(known) = self.kinds.get_mut(name) else { return };
        if known.found.is_some() {
            return;
        }
        let now = self.parts.kube.clock.now();
        let kind = match found {
            Ok(kind) if kind.scalable => kind,
            Ok(_) => {
                self.parts.discovery.forget(&name.0, &name.1);
                let workload = WorkloadRef::new(
                    &"".into(),
                    &TargetRef { api_version: name.0.clone(), kind: name.1.clone(), name: String::new() },
                );
                return self.not_found(name, &Problem::no_scale(&workload), now);
            }
            Err(error) => {
                let text = match &error {
                    NotServed::Failed { error: cause, .. } => format!("{error}: {cause}"),
                    other => other.to_string(),
                };
                return self.not_found(name, &Problem::Unreadable(text.into()), now);
            }
        };
        known.failures = 0;
        known.problem = None;
        known.found = Some(Arc::clone(&kind));
        let namespaces: Vec<Arc<str>> =
            self.parts.kube.scope.namespaces().into_iter().map(|namespace| namespace.unwrap_or("").into()).collect();
        let mut state = self.views.lock();
        // Who watches nothing must read.
        let watches = namespaces.iter().map(|namespace| {
            let watched = Watched { forbidden: !kind.watchable, ..Watched::default() };
            (Arc::clone(namespace), watched)
        });
        let served = Served { kind: Arc::clone(&kind), watches: watches.collect() };
        let key = (Arc::from(kind.api.group.as_str()), Arc::from(kind.api.kind.as_str()));
        state.kinds.insert(key.clone(), served);
        let followed: Vec<WorkloadRef> =
            state.ids.values().filter(|workload| workload.group == key.0 && workload.kind == key.1).cloned().collect();
        for workload in followed {
            if let Some(entry) = state.workloads.get_mut(&workload) {
                entry.problem = None;
            }
            state.find(&workload, &self.parts.kube);
        }
        drop(state);
        for namespace in namespaces.into_iter().filter(|_| kind.watchable) {
            let (kube, kind, views) = (self.parts.kube.clone(), Arc::clone(&kind), Arc::clone(&self.views));
            let handle = if kind.built_in {
                self.watches.spawn(watch::watch::<false>(kube, kind, namespace, views))
            } else {
                self.watches.spawn(watch::watch::<true>(kube, kind, namespace, views))
            };
            known.watches.push(handle);
        }
        self.reads.start_what_may();
    }

    fn not_found(&mut self, name: &ApiKind, problem: &Problem, now: Tick) {
        let Some(known) = self.kinds.get_mut(name) else { return };
        let pause = FIRST_RETRY.saturating_mul(1_u32.checked_shl(known.failures).unwrap_or(u32::MAX));
        known.failures = known.failures.saturating_add(1);
        known.ask_at = Some(now.after(pause.min(LONGEST_RETRY)));
        if known.problem.as_ref() == Some(problem) {
            return;
        }
        tracing::warn!(api_version = %name.0, kind = %name.1, reason = %problem.sentence(), "workloads cannot be seen");
        known.problem = Some(problem.clone());
        let mut state = self.views.lock();
        let followers = self.targets.iter().filter(|(_, target)| target.api_version == name.0 && target.kind == name.1);
        for (id, _) in followers {
            let Some(workload) = state.ids.get(id).cloned() else { continue };
            if let Some(entry) = state.workloads.get_mut(&workload) {
                entry.view = None;
                entry.problem = Some(problem.clone());
            }
            state.untold.insert(id.clone());
        }
    }

    /// What is due by the clock.
    fn look(&mut self) {
        let now = self.parts.kube.clock.now();
        while let Some(ended) = self.watches.try_join_next() {
            if ended.is_err_and(|error| error.is_panic()) {
                tracing::error!("a watch of workloads broke down");
            }
        }
        let mut state = self.views.lock();
        let vanished: Vec<_> = state
            .kinds
            .iter()
            .filter(|(_, served)| !served.kind.built_in && served.watches.values().any(|watched| watched.not_served))
            .map(|(_, served)| Arc::clone(&served.kind))
            .collect();
        for kind in &vanished {
            state.forget_kind(kind);
        }
        state.due(now);
        drop(state);
        for kind in vanished {
            let name = (kind.api.api_version.clone(), kind.api.kind.clone());
            self.parts.discovery.forget(&name.0, &name.1);
            if let Some(known) = self.kinds.get_mut(&name) {
                known.watches.drain(..).for_each(|watch| watch.abort());
                known.found = None;
                known.ask_at = Some(now);
            }
        }
        self.ask();
        self.reads.start_what_may();
    }
}

/// The next one that is to be told something: to the runtime what is returned, to the standings what stands.
fn tell(views: &Views, standings: &Standings) -> Option<TargetReport> {
    let mut guard = views.lock();
    let state = &mut *guard;
    let id = state.untold.pop_first()?;
    let entry = state.workloads.get(state.ids.get(&id)?)?;
    let (workload, report) = match (&entry.view, &entry.problem) {
        (_, Some(Problem::Missing(text))) => (Workload::Missing(Arc::clone(text)), None),
        (None, Some(Problem::Unreadable(text))) => (Workload::Unreadable(Arc::clone(text)), None),
        // What was seen before it could no longer be read is still the best that is known.
        (Some(view), problem) => {
            let View { replicas, ready, set_by, .. } = *view;
            // A server that tells no uid tells no difference.
            let another = !view.uid.is_empty()
                && state.told.insert(id.clone(), Arc::clone(&view.uid)).is_some_and(|told| told != view.uid);
            let workload = match problem {
                Some(problem) => Workload::Unreadable(Arc::clone(problem.sentence())),
                None => Workload::Seen { replicas, ready },
            };
            (workload, Some(TargetReport::Current { id: id.clone(), replicas, ready, set_by, another }))
        }
        (None, None) => (Workload::Unknown, None),
    };
    drop(guard);
    standings.update(&id, |standing| standing.workload = workload);
    report
}

impl State {
    /// Somebody follows it from now on, or its kind is known now: where nobody will show it, it is read.
    fn find(&mut self, workload: &WorkloadRef, kube: &Kube) {
        let Some(served) = self.served(workload) else { return };
        let watch = served.watch_of(&workload.namespace);
        let built_in = served.kind.built_in;
        let shown = served.shows(&workload.namespace);
        let complete = watch.is_some_and(|watched| watched.complete);
        let Some(entry) = self.workloads.get_mut(workload) else { return };
        if entry.view.is_some() {
            return;
        }
        if !kube.scope.covers(&workload.namespace) {
            let text = format!("namespace {} is not among those that this process serves", workload.namespace);
            entry.problem = Some(Problem::Unreadable(text.into()));
        } else if built_in && complete {
            entry.problem = Some(Problem::missing(workload));
        } else if !built_in || !shown {
            self.news(workload, News::Read, Tick::ZERO);
        }
    }

    /// Nobody targets it any more, or it is served no more.
    fn forget_kind(&mut self, kind: &Kind) {
        let is_of = |workload: &WorkloadRef| *workload.group == *kind.api.group && *workload.kind == *kind.api.kind;
        self.kinds.retain(|(group, name), _| **group != *kind.api.group || **name != *kind.api.kind);
        self.workloads.retain(|workload, entry| {
            if is_of(workload) {
                entry.view = None;
            }
            !is_of(workload) || !entry.followers.is_empty()
        });
    }

    /// Reads and reports whose time has come.
    fn due(&mut self, now: Tick) {
        while self.echoes.front().is_some_and(|(at, _)| *at <= now) {
            if let Some((_, id)) = self.echoes.pop_front()
                && self.ids.contains_key(&id)
            {
                self.untold.insert(id);
            }
        }
        while self.ahead.front().is_some_and(|(since, _)| since.after(CATCH_UP) <= now) {
            if let Some((since, workload)) = self.ahead.pop_front()
                && self.workloads.get(&workload).is_some_and(|entry| entry.ahead == Some(since))
            {
                self.news(&workload, News::Tell, now);
                self.news(&workload, News::Read, now);
            }
        }
    }
}
