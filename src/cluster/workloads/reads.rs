//! Reads of /scale: as few as will do, and never more than a bound, however many workloads there are.
//!
//! First what changed, or what must be settled; then in turn who cannot be watched or could not be read; last, what only makes
//! the picture prettier. A workload is in each queue once.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use k8s_openapi::api::autoscaling::v1::Scale;
use kube::api::{Api, DynamicObject};

use super::views::{State, Views};
use super::{Answer, Problem, WorkloadRef};
use crate::cluster::client::{CALL, CallError, Kube};
use crate::cluster::discovery::Kind;
use crate::model::Tick;
use crate::target::bucket::{Bucket, Rate};

/// All reads together. An API server answers some thousand a second; a burst of 40 is a rollout of as many workloads.
const RATE: Rate = Rate { per_second: 20.0, burst: 40 };
/// Those in turn: of what may be read at all, half is left for what changed.
const TURNS: Rate = Rate { per_second: 10.0, burst: 10 };
/// How old what is read in turn gets, while there are not more than [`TURNS`] allows.
const TURN: Duration = Duration::from_secs(30);
/// How old what only concerns readiness gets.
const LATER: Duration = Duration::from_secs(10);
/// At once.
const CONCURRENCY: usize = 16;

pub(super) struct Reads {
    kube: Kube,
    views: Arc<Views>,
    pace: Bucket,
    turns: Bucket,
    /// Those that nobody watches, the next first; made anew when it has been gone through.
    round: VecDeque<WorkloadRef>,
    round_began: Tick,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = WorkloadRef> + Send>>>,
    in_flight: HashSet<WorkloadRef>,
}

impl Reads {
    pub(super) fn new(kube: Kube, views: Arc<Views>) -> Self {
        Reads {
            kube,
            views,
            pace: Bucket::default(),
            turns: Bucket::default(),
            round: VecDeque::new(),
            round_began: Tick::ZERO,
            running: FuturesUnordered::new(),
            in_flight: HashSet::new(),
        }
    }

    /// Waits for the end of a read; for ever while there is none.
    pub(super) async fn done(&mut self) {
        match self.running.next().await {
            Some(workload) => drop(self.in_flight.remove(&workload)),
            None => std::future::pending().await,
        }
    }

    pub(super) fn start_what_may(&mut self) {
        let now = self.kube.clock.now();
        if self.kube.throttled_until() > now {
            return;
        }
        while self.running.len() < CONCURRENCY && self.pace.next(RATE, now) <= now {
            let Some((workload, kind)) = self.next(now) else { return };
            self.pace.take(RATE, now);
            self.start(workload, &kind);
        }
    }

    fn next(&mut self, now: Tick) -> Option<(WorkloadRef, Arc<Kind>)> {
        let views = Arc::clone(&self.views);
        let mut state = views.lock();
        // One that is being read just now waits for that to end.
        for _ in 0..state.wanted.len() {
            let workload = state.wanted.pop_front()?;
            if self.in_flight.contains(&workload) {
                state.wanted.push_back(workload);
                continue;
            }
            let Some(entry) = state.workloads.get_mut(&workload) else { continue };
            (entry.wanted, entry.wanted_later) = (false, false);
            if let Some(kind) = state.readable(&workload) {
                return Some((workload, kind));
            }
        }
        if let Some(found) = self.next_in_turn(&state, now) {
            return Some(found);
        }
        while state.later.front().is_some_and(|(since, _)| since.after(LATER) <= now) {
            let (_, workload) = state.later.pop_front()?;
            let Some(entry) = state.workloads.get_mut(&workload) else { continue };
            if std::mem::take(&mut entry.wanted_later)
                && !self.in_flight.contains(&workload)
                && let Some(kind) = state.readable(&workload)
            {
                return Some((workload, kind));
            }
        }
        None
    }

    fn next_in_turn(&mut self, state: &State, now: Tick) -> Option<(WorkloadRef, Arc<Kind>)> {
        if self.round.is_empty() && now.since(self.round_began) >= TURN {
            let unseen = |workload: &&WorkloadRef| {
                state.served(workload).is_some_and(|served| !served.shows(&workload.namespace))
                    // A right may have been granted meanwhile, which no watch tells.
                    || state.workloads.get(*workload).is_some_and(|entry| matches!(entry.problem, Some(Problem::Unreadable(_))))
            };
            self.round = state.ids.values().filter(unseen).cloned().collect();
            self.round_began = now;
        }
        while let Some(workload) = self.round.front() {
            let due = state.workloads.get(workload).is_some_and(|entry| now.since(entry.read_at) >= TURN / 2);
            let Some(kind) = state.readable(workload).filter(|_| due && !self.in_flight.contains(workload)) else {
                self.round.pop_front();
                continue;
            };
            if !self.turns.take(TURNS, now) {
                return None;
            }
            return self.round.pop_front().map(|workload| (workload, kind));
        }
        None
    }

    fn start(&mut self, workload: WorkloadRef, kind: &Kind) {
        self.in_flight.insert(workload.clone());
        let api: Api<DynamicObject> = Api::namespaced_with(self.kube.client.clone(), &workload.namespace, &kind.api);
        let (kube, views) = (self.kube.clone(), Arc::clone(&self.views));
        self.running.push(Box::pin(async move {
            // What went wrong stands in the views, or is tried again when its turn comes.
            drop(read(&kube, &views, &api, &workload).await);
            workload
        }));
    }
}

impl State {
    fn readable(&self, workload: &WorkloadRef) -> Option<Arc<Kind>> {
        self.served(workload).map(|served| Arc::clone(&served.kind))
    }
}

/// One bounded read, told to the views.
///
/// # Errors
/// As the call. That there is no such object, or no right to read it, the views know by then.
pub(in crate::cluster) async fn read(
    kube: &Kube,
    views: &Views,
    api: &Api<DynamicObject>,
    workload: &WorkloadRef,
) -> Result<Answer, CallError> {
    let call = views.call(workload, false);
    let error = match kube.bounded(api.get_scale(&workload.name)).await {
        Ok(scale) => {
            let answer = Answer::of(&scale, false, call.sent);
            call.answered(&answer);
            return Ok(answer);
        }
        Err(error) => error,
    };
    match &error {
        CallError::Refused(status) if status.code == 404 => call.fails(not_found(workload, status)),
        CallError::Refused(status) if status.code == 403 => {
            call.fails(Problem::forbidden(workload, &status.message));
        }
        _ => {
            tracing::debug!(%workload, %error, within = ?CALL, "scale could not be read");
            views.read_fails(workload);
        }
    }
    Err(error)
}

/// A 404 that names the object is about the object; another is about its kind.
pub(in crate::cluster) fn not_found(workload: &WorkloadRef, status: &kube::core::Status) -> Problem {
    let named = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
    if named { Problem::missing(workload) } else { Problem::no_scale(workload) }
}

impl Answer {
    pub(in crate::cluster) fn of(scale: &Scale, ours: bool, sent: Tick) -> Self {
        Answer {
            resource_version: scale.metadata.resource_version.as_deref().unwrap_or_default().into(),
            uid: scale.metadata.uid.as_deref().unwrap_or_default().into(),
            // A Scale leaves out zeros.
            replicas: scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0),
            there: scale.status.as_ref().map_or(0, |status| status.replicas),
            ours,
            sent,
        }
    }
}
