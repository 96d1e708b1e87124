//! From a request to a patch: [`Target`] for workloads of the cluster.
//!
//! What keeps two processes from undoing each other's work is one order of things ([`KubeTarget::attempt`]): first the
//! count and the version at which it stood, from the view or a read; then whether that is what the decision was based
//! on; only then whether this process leads, and still does for as long as a healthy call takes; then the patch, with that
//! version. A process that is frozen anywhere in between sends, when it wakes, a version from before: where a new
//! leader has acted since, the server refuses it.
//!
//! It is written by server-side apply on /scale. A plain patch would do for the count, but the server forgets whose a
//! count is once it was zero, and whose a zero is decides whether it may be raised; only what was applied keeps its
//! owner. Custom resources know no apply on /scale (Kubernetes 1.36 answers 500); they get a merge patch with the same
//! version in it, and whose their zero is nobody may be able to say.
//!
//! An answer that was lost is found by reading: until something is known again, each attempt begins with a read, and one
//! that finds what it was to do does nothing.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use serde_json::json;

use crate::cluster::client::{CallError, FIELD_MANAGER, Kube};
use crate::cluster::discovery::Kind;
use crate::cluster::lease::{Leadership, Term};
use crate::cluster::owners::{Verdict, Verdicts};
use crate::cluster::standing::{Failed, Scaled, Standings};
use crate::cluster::workloads::{Answer, Problem, Views, WorkloadRef, reads};
use crate::model::{AutoscalerId, FailureKind, ReadFailure, Replicas, Tick};
use crate::target::{ScaleError, Target};

/// Left of a term when a patch is sent, at least. A healthy server has decided on it by then; a slower one decides on
/// its version.
const MARGIN: Duration = Duration::from_millis(250);

/// A whole attempt, reads and repetitions included: a little less than the actuator gives it, so that what became of it
/// can be said.
const ATTEMPT: Duration = Duration::from_millis(4_500);

/// Tries at a version that others keep changing. Some 2 ms lie between a read and the patch that follows it; at 200
/// changes a second two of three tries succeed, and one in some ten thousand requests needs another turn.
const TRIES: u32 = 8;

/// Workloads of the cluster.
pub struct KubeTarget {
    kube: Kube,
    views: Arc<Views>,
    standings: Arc<Standings>,
    verdicts: Arc<Verdicts>,
    leadership: Leadership,
    /// The last term that was seen, and since when.
    term: Mutex<Option<(u64, Tick)>>,
    /// Whose requests are under way. Decisions and the restoring of what is deleted come from two sides.
    busy: Mutex<HashSet<AutoscalerId>>,
}

/// The one request for an autoscaler that is under way.
struct Turn<'a> {
    busy: &'a Mutex<HashSet<AutoscalerId>>,
    id: AutoscalerId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// What a request rests on.
struct Basis {
    replicas: Replicas,
    resource_version: Arc<str>,
    /// Read just now, not shown by a watch some time ago.
    fresh: bool,
}

impl KubeTarget {
    #[must_use]
    pub fn new(
        kube: Kube,
        views: Arc<Views>,
        standings: Arc<Standings>,
        verdicts: Arc<Verdicts>,
        leadership: Leadership,
    ) -> Self {
        let target =
            KubeTarget { kube, views, standings, verdicts, leadership, term: Mutex::default(), busy: Mutex::default() };
        // From now on, if it leads already.
        target.term();
        target
    }

    /// The term that holds, and since when this process knows of it.
    fn term(&self) -> Option<(Term, Tick)> {
        let now = self.kube.clock.now();
        let term = self.leadership.term(now)?;
        let mut last = self.term.lock().unwrap_or_else(PoisonError::into_inner);
        let since = match *last {
            Some((number, since)) if number == term.number => since,
            _ => now,
        };
        *last = Some((term.number, since));
        Some((term, since))
    }

    /// `None` while another request for it is under way: that one may still change what this one is about to find.
    fn turn(&self, id: &AutoscalerId) -> Option<Turn<'_>> {
        let free = self.busy.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        free.then(|| Turn { busy: &self.busy, id: id.clone() })
    }

    /// Whether `term` holds, and will for [`MARGIN`]. What takes longer is decided by its version.
    fn may_send(&self, term: Term) -> bool {
        let now = self.kube.clock.now();
        self.leadership.term(now).is_some_and(|held| held.number == term.number && now.after(MARGIN) < held.until)
    }

    async fn attempt(&self, id: &AutoscalerId, from: Replicas, to: Replicas) -> Result<(), ScaleError> {
        if to < 0 {
            return Err(ScaleError::OutOfRange(to));
        }
        let Some(look) = self.views.look(id) else {
            // That says nothing of whether there is one.
            let why = "its workload is not followed (yet)";
            return Err(ScaleError::Failed(ReadFailure::new(FailureKind::NotServing, why)));
        };
        let (term, since) = self.term().ok_or(ScaleError::NotLeading)?;
        match self.verdicts.about(id, &look.workload) {
            Verdict::Free => {}
            Verdict::Owned(by) => return Err(ScaleError::Owned(by)),
            Verdict::Pending => {
                let why = "whether another scaler owns the workload is not known yet";
                return Err(ScaleError::Failed(ReadFailure::new(FailureKind::NotServing, why)));
            }
        }
        let (workload, Some(kind)) = (look.workload, look.kind) else {
            let why = look.problem.map_or_else(|| "its kind is not known yet".into(), |p| Arc::clone(p.sentence()));
            return Err(ScaleError::Failed(ReadFailure::new(FailureKind::Configuration, why)));
        };
        if let (None, Some(Problem::Missing(_)), true) = (&look.view, &look.problem, look.watched && kind.built_in) {
            // The watch will show it when somebody creates it.
            return Err(ScaleError::Unknown(id.clone()));
        }
        self.not_throttled()?;
        let api: Api<DynamicObject> = Api::namespaced_with(self.kube.client.clone(), &workload.namespace, &kind.api);
        // Up is urgent, and safe on what the watch showed in this term; everything else waits for a fresh view.
        let view = look.view.filter(|view| {
            !look.uncertain
                && view.replicas == from
                && to > from
                && view.seen >= since
                && !view.resource_version.is_empty()
        });
        let mut basis = match view {
            Some(view) => Basis { replicas: view.replicas, resource_version: view.resource_version, fresh: false },
            None => self.read(&api, &workload, id).await?,
        };
        for _ in 0..TRIES {
            if basis.replicas == to {
                return self.done(id, &workload);
            }
            if basis.replicas != from {
                return Err(ScaleError::Conflict { expected: from, found: basis.replicas });
            }
            if basis.resource_version.is_empty() {
                // Without one the server would take it whatever has happened since.
                let why = format!("the /scale of {workload} tells no resourceVersion");
                return Err(ScaleError::Failed(ReadFailure::new(FailureKind::Protocol, why)));
            }
            if !self.may_send(term) {
                return Err(ScaleError::NotLeading);
            }
            if self.patch(&api, &workload, &kind, id, &basis, to).await? {
                return self.done(id, &workload);
            }
            basis = self.read(&api, &workload, id).await?;
        }
        Err(ScaleError::Conflict { expected: from, found: basis.replicas })
    }

    /// It stands at the count, if it is still the workload that was asked for: what became of another one would be
    /// taken for news of this one.
    fn done(&self, id: &AutoscalerId, workload: &WorkloadRef) -> Result<(), ScaleError> {
        if self.views.follows(id, workload) {
            return Ok(());
        }
        let why = format!("{workload} was scaled, which is not the workload of {id} any more");
        Err(ScaleError::Failed(ReadFailure::new(FailureKind::Configuration, why)))
    }

    async fn read(
        &self,
        api: &Api<DynamicObject>,
        workload: &WorkloadRef,
        id: &AutoscalerId,
    ) -> Result<Basis, ScaleError> {
        match reads::read(&self.kube, &self.views, api, workload).await {
            Ok(Answer { replicas, resource_version, .. }) => Ok(Basis { replicas, resource_version, fresh: true }),
            Err(error) => Err(self.refusal(&error, id, workload, "read")),
        }
    }

    /// Returns whether it was written; `false` where the version is no longer the one.
    async fn patch(
        &self,
        api: &Api<DynamicObject>,
        workload: &WorkloadRef,
        kind: &Kind,
        id: &AutoscalerId,
        basis: &Basis,
        to: Replicas,
    ) -> Result<bool, ScaleError> {
        let scale = json!({
            "apiVersion": "autoscaling/v1",
            "kind": "Scale",
            "metadata": {
                "name": &*workload.name,
                "namespace": &*workload.namespace,
                "resourceVersion": &*basis.resource_version,
            },
            "spec": { "replicas": to },
        });
        // By force: the count is another manager's until we have set it once, and after anybody else's change.
        let params = PatchParams { force: true, field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
        let (params, patch) = match kind.built_in {
            true => (params, Patch::Apply(&scale)),
            false => (PatchParams { force: false, ..params }, Patch::Merge(&scale)),
        };
        let call = self.views.call(workload, true);
        let error = match self.kube.bounded(api.patch_scale(&workload.name, &params, &patch)).await {
            Ok(scale) => {
                let answer = Answer::of(&scale, true, call.sent);
                call.answered(&answer);
                return Ok(true);
            }
            Err(error) => error,
        };
        match error.code() {
            Some(409) => {
                call.refused();
                tracing::debug!(%workload, fresh = basis.fresh, kind = %kind.api.kind, "changed since it was seen");
                return Ok(false);
            }
            Some(404) => {
                if let CallError::Refused(status) = &error {
                    call.fails(reads::not_found(workload, status));
                }
            }
            // The server looked at it and said no, or did not look at it at all.
            Some(400..=499) => call.refused(),
            // It may have arrived; the next attempt reads first.
            _ => drop(call),
        }
        Err(self.refusal(&error, id, workload, "scaled"))
    }

    fn not_throttled(&self) -> Result<(), ScaleError> {
        let (now, until) = (self.kube.clock.now(), self.kube.throttled_until());
        if until > now { Err(ScaleError::Throttled { retry_after: until.since(now) }) } else { Ok(()) }
    }

    fn refusal(&self, error: &CallError, id: &AutoscalerId, workload: &WorkloadRef, what: &str) -> ScaleError {
        let failed = |kind| ScaleError::Failed(ReadFailure::new(kind, error.to_string()));
        match error {
            CallError::TooLate => failed(FailureKind::Timeout),
            CallError::Unreachable(_) => failed(FailureKind::Unreachable),
            CallError::Refused(status) => match status.code {
                401 => failed(FailureKind::Authentication),
                403 => {
                    // Roles speak so; quotas and admission webhooks, who say 403 as well, do not.
                    let roles = status.message.contains(" cannot ") && status.message.contains(" resource ");
                    let cure = if roles { "; grant it with `tidegate crd --rbac`" } else { "" };
                    let text = format!("{workload} must not be {what}: {error}{cure}");
                    ScaleError::Forbidden(text.into())
                }
                404 => ScaleError::Unknown(id.clone()),
                // Somebody else's lock that is not about the version: a quota that was just charged, say.
                409 => failed(FailureKind::NotServing),
                429 => {
                    let (now, until) = (self.kube.clock.now(), self.kube.throttled_until());
                    ScaleError::Throttled { retry_after: until.since(now) }
                }
                400..=499 => ScaleError::Invalid(format!("{workload} was not {what}: {error}").into()),
                504 => failed(FailureKind::Timeout),
                _ => failed(FailureKind::NotServing),
            },
        }
    }
}

impl Target for KubeTarget {
    async fn scale(&self, id: &AutoscalerId, from: Replicas, to: Replicas) -> Result<(), ScaleError> {
        let Some(_turn) = self.turn(id) else {
            let why = "another request for its workload is under way";
            return Err(ScaleError::Failed(ReadFailure::new(FailureKind::NotServing, why)));
        };
        let outcome = tokio::time::timeout(ATTEMPT, self.attempt(id, from, to)).await.unwrap_or_else(|_| {
            let text = format!("no answer to a scale request in {ATTEMPT:?}");
            Err(ScaleError::Failed(ReadFailure::new(FailureKind::Timeout, text)))
        });
        let at = self.kube.clock.now();
        if self.views.look(id).is_none() {
            // Nobody follows it any more: there is nothing left to say it of.
            return outcome;
        }
        match &outcome {
            Ok(()) => self.standings.update(id, |standing| {
                standing.failed = None;
                if from != to {
                    standing.scaled = Some(Scaled { at, from, to });
                }
            }),
            // Neither is a failure of the workload: others act, or say why nobody does.
            Err(ScaleError::NotLeading | ScaleError::Owned(_)) => {}
            Err(error) => {
                let failed = Failed { label: error.label(), message: error.to_string().into() };
                self.standings.update(id, |standing| standing.failed = Some(failed));
            }
        }
        outcome
    }
}
