//! `restoreToOriginalReplicaCount: true`: a workload gets back the replicas that it had before tidegate came, once its
//! QueueAutoscaler is deleted.
//!
//! Two halves. [`Noting`] stands before the target: before the first scaling of such a workload it writes down how many
//! replicas there are (`status.originalReplicaCount`) and adds a finalizer, so that the object cannot go before its
//! workload was scaled back. [`Restorer`] scales back what is deleted and lets it go. Where nobody asked for it, or
//! nothing was ever scaled, there is no finalizer: tidegate uninstalled in the wrong order must not leave objects that
//! cannot be deleted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use metrics::counter;
use serde_json::{Value, json};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::client::{CallError, FIELD_MANAGER, Kube};
use super::conditions::{READY, reason};
use super::events::{Events, Notice};
use super::lease::Leadership;
use super::resources::{Resource, Resources};
use super::standing::{Failed, Standings, Workload};
use super::status::difference::find;
use crate::model::{AutoscalerId, FailureKind, ReadFailure, Replicas, Tick};
use crate::spec::manifest::QueueAutoscaler;
use crate::target::{ScaleError, Target};
use crate::telemetry::names;

/// What keeps an object until its workload was scaled back.
pub const FINALIZER: &str = "tidegate.dev/restore-replicas";

/// How often deleted objects are looked for: somebody waits for `kubectl delete`.
const LOOK: Duration = Duration::from_millis(500);

/// After a failure, doubled with each that follows. A workload that cannot be scaled back holds its object, so the
/// longest pause is what somebody waits after having repaired it.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Objects that are settled at once: somebody may delete a namespace full of them.
const CONCURRENCY: usize = 8;

/// Bound on one scaling, its own few calls and repetitions included.
const PATIENCE: Duration = Duration::from_secs(15);

/// The object's version may change under a patch: the status is written, somebody edits it.
const ATTEMPTS: usize = 4;

/// The count may change under a restoring: the last pods of the autoscaler's own decision.
const SCALE_ATTEMPTS: usize = 4;

/// The custom resources, as far as their finalizers and that one count go.
#[derive(Clone)]
struct Objects {
    kube: Kube,
    leadership: Leadership,
    kind: ApiResource,
}

#[derive(Debug, thiserror::Error)]
enum PatchError {
    #[error("{0}")]
    Call(#[from] CallError),
    #[error("it changes faster than it can be patched")]
    Contended,
    #[error("it is being deleted")]
    Deleting,
    #[error("it was deleted and made anew")]
    Another,
    #[error("this process does not lead")]
    NotLeading,
}

impl Objects {
    fn new(kube: Kube, leadership: Leadership) -> Self {
        Objects { kube, leadership, kind: ApiResource::erase::<QueueAutoscaler>(&()) }
    }

    fn api(&self, id: &AutoscalerId) -> Api<DynamicObject> {
        Api::namespaced_with(self.kube.client.clone(), &id.namespace, &self.kind)
    }

    /// Reads it and patches what `change` says of it, under the version that was read; again, where somebody was
    /// faster. `None`: nothing to change.
    async fn patch(
        &self,
        resource: &Resource,
        status: bool,
        change: impl Fn(&DynamicObject) -> Result<Option<Value>, PatchError>,
    ) -> Result<(), PatchError> {
        let (api, name) = (self.api(&resource.id), &*resource.id.name);
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        for _ in 0..ATTEMPTS {
            let object = self.kube.bounded(api.get(name)).await?;
            if object.metadata.uid.as_deref() != Some(&*resource.uid) {
                return Err(PatchError::Another);
            }
            let Some(mut patch) = change(&object)? else { return Ok(()) };
            if let Some(metadata) = patch.as_object_mut() {
                let version = json!(object.metadata.resource_version);
                let place = metadata.entry("metadata").or_insert_with(|| json!({}));
                if let Some(place) = place.as_object_mut() {
                    place.insert("resourceVersion".to_owned(), version);
                }
            }
            if self.leadership.term(self.kube.clock.now()).is_none() {
                return Err(PatchError::NotLeading);
            }
            let patch = Patch::Merge(&patch);
            let outcome = match status {
                true => self.kube.bounded(api.patch_status(name, &params, &patch)).await,
                false => self.kube.bounded(api.patch(name, &params, &patch)).await,
            };
            match outcome {
                Ok(_) => return Ok(()),
                Err(error) if error.code() == Some(409) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(PatchError::Contended)
    }

    async fn add_finalizer(&self, resource: &Resource) -> Result<(), PatchError> {
        self.patch(resource, false, |object| {
            if object.metadata.deletion_timestamp.is_some() {
                return Err(PatchError::Deleting);
            }
            let mut finalizers = object.metadata.finalizers.clone().unwrap_or_default();
            if finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
                return Ok(None);
            }
            finalizers.push(FINALIZER.to_owned());
            Ok(Some(json!({ "metadata": { "finalizers": finalizers } })))
        })
        .await
    }

    /// What is gone has none.
    async fn remove_finalizer(&self, resource: &Resource) -> Result<(), PatchError> {
        let outcome = self
            .patch(resource, false, |object| {
                let before = object.metadata.finalizers.clone().unwrap_or_default();
                let after: Vec<&String> = before.iter().filter(|finalizer| *finalizer != FINALIZER).collect();
                Ok((after.len() != before.len()).then(|| json!({ "metadata": { "finalizers": after } })))
            })
            .await;
        match outcome {
            Err(PatchError::Call(error)) if error.code() == Some(404) => Ok(()),
            Err(PatchError::Another) => Ok(()),
            outcome => outcome,
        }
    }

    async fn note_original(&self, resource: &Resource, replicas: Replicas) -> Result<(), PatchError> {
        self.patch(resource, true, |object| {
            let noted = object.data.pointer("/status/originalReplicaCount").is_some_and(Value::is_i64);
            Ok((!noted).then(|| json!({ "status": { "originalReplicaCount": replicas } })))
        })
        .await
    }
}

// === before the first scaling ===

/// A target before whose first scaling the original count is noted, where the spec asks for it.
pub struct Noting<T> {
    target: T,
    objects: Objects,
    resources: Arc<Resources>,
}

impl<T> Noting<T> {
    #[must_use]
    pub fn new(target: T, kube: Kube, leadership: Leadership, resources: Arc<Resources>) -> Self {
        Noting { target, objects: Objects::new(kube, leadership), resources }
    }

    async fn note(&self, resource: &Resource, replicas: Replicas) -> Result<(), PatchError> {
        // The count first: an object with a finalizer and no count would be let go without being restored.
        self.objects.note_original(resource, replicas).await?;
        self.objects.add_finalizer(resource).await
    }
}

impl<T: Target> Target for Noting<T> {
    async fn scale(&self, id: &AutoscalerId, from: Replicas, to: Replicas) -> Result<(), ScaleError> {
        if let Some(resource) = self.resources.get(id) {
            may_scale(&resource, from != to)?;
            let wanted = resource.spec.as_ref().is_some_and(|spec| spec.restore_on_delete);
            let noted = resource.status.as_ref().is_some_and(|status| status.original_replica_count.is_some());
            if wanted && from != to && !(noted && has_finalizer(&resource)) {
                self.note(&resource, from).await.map_err(|error| not_noted(&error))?;
                // That took its time.
                if let Some(resource) = self.resources.get(id) {
                    may_scale(&resource, true)?;
                }
            }
        }
        self.target.scale(id, from, to).await
    }
}

/// Whether what was decided may still be carried out: it may have waited for a while. `changes`: it is not only taken
/// back.
fn may_scale(resource: &Resource, changes: bool) -> Result<(), ScaleError> {
    let refused = |why: &str| Err(ScaleError::Failed(ReadFailure::new(FailureKind::Configuration, why)));
    if resource.deleting && resource.in_force().is_none() {
        // The last wish of who is gone already must not undo what is being restored.
        return refused("its QueueAutoscaler is being deleted");
    }
    if changes && resource.spec.as_ref().is_some_and(|spec| spec.dry_run) {
        return refused("spec.dryRun: nothing is scaled");
    }
    Ok(())
}

fn not_noted(error: &PatchError) -> ScaleError {
    let message = format!("the original replicas could not be noted before the first scaling: {error}");
    let failed = |kind| ScaleError::Failed(ReadFailure::new(kind, message.clone()));
    match error {
        PatchError::NotLeading => ScaleError::NotLeading,
        PatchError::Contended => failed(FailureKind::NotServing),
        PatchError::Deleting | PatchError::Another => failed(FailureKind::Configuration),
        PatchError::Call(CallError::TooLate) => failed(FailureKind::Timeout),
        PatchError::Call(error) => match error.code() {
            Some(401) => failed(FailureKind::Authentication),
            Some(403) => ScaleError::Forbidden(
                format!("{message}; grant get and patch on queueautoscalers and queueautoscalers/status").into(),
            ),
            Some(404) => failed(FailureKind::Configuration),
            Some(400 | 422) => ScaleError::Invalid(message.into()),
            Some(429) => ScaleError::Throttled { retry_after: Duration::from_secs(1) },
            Some(_) => failed(FailureKind::NotServing),
            None => failed(FailureKind::Unreachable),
        },
    }
}

fn has_finalizer(resource: &Resource) -> bool {
    resource.finalizers.iter().any(|finalizer| finalizer == FINALIZER)
}

// === when it is deleted ===

/// Scales back what is deleted. `target` is the bare one, not [`Noting`].
pub struct Restorer<T> {
    target: Arc<T>,
    objects: Objects,
    resources: Arc<Resources>,
    standings: Arc<Standings>,
    events: Events,
    /// What failed: when to try again, and how often it has failed.
    pauses: HashMap<AutoscalerId, (Tick, u32)>,
}

/// What is to be done about one object.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Duty {
    /// Scale back to this, then let it go.
    Restore(Replicas),
    /// Let it go as it is. With the reason, for an Event.
    Release(&'static str),
    /// Nobody asks for it any more.
    Remove,
    /// It is asked for since, and the workload was scaled already.
    Add,
}

/// What is to be done about `resource`, if anything.
#[must_use]
pub fn duty(resource: &Resource, refused: bool) -> Option<Duty> {
    let wanted = resource.spec.as_ref().map(|spec| spec.restore_on_delete);
    let original = resource.status.as_ref().and_then(|status| status.original_replica_count);
    if !(resource.deleting && has_finalizer(resource)) {
        return match (wanted, has_finalizer(resource)) {
            (Some(false), true) => Some(Duty::Remove),
            (Some(true), false) if original.is_some() && !resource.deleting => Some(Duty::Add),
            _ => None,
        };
    }
    let ready = resource.status.as_ref().and_then(|status| find(status, READY));
    let stood = |reason: &str| ready.is_some_and(|ready| ready.reason == reason);
    Some(match original {
        _ if wanted == Some(false) => Duty::Remove,
        None => Duty::Release("It was never scaled, so nothing is to be restored."),
        // Nobody follows a workload for it.
        _ if wanted.is_none() => Duty::Release("Nothing of its spec is in force, so the workload is left as it is."),
        _ if resource.spec.as_ref().is_some_and(|spec| spec.dry_run) => {
            Duty::Release("spec.dryRun: the workload is left as it is.")
        }
        _ if refused || stood(reason::ALREADY_SCALED) => {
            Duty::Release("Somebody else scales the workload, so it is left as it is.")
        }
        _ if stood(reason::MANUALLY_STOPPED) => {
            Duty::Release("Somebody set the workload to 0 replicas by hand, so it is left there.")
        }
        Some(replicas) => Duty::Restore(replicas),
    })
}

impl<T: Target> Restorer<T> {
    #[must_use]
    pub fn new(
        target: Arc<T>,
        kube: Kube,
        leadership: Leadership,
        resources: Arc<Resources>,
        standings: Arc<Standings>,
        events: Events,
    ) -> Self {
        let objects = Objects::new(kube, leadership);
        Restorer { target, objects, resources, standings, events, pauses: HashMap::new() }
    }

    /// Looks after finalizers until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = looks.tick() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.look() => {}
            }
        }
    }

    async fn look(&mut self) {
        let (kube, resources) = (&self.objects.kube, self.resources.all());
        self.pauses.retain(|id, _| resources.contains_key(id));
        let now = kube.clock.now();
        if self.objects.leadership.term(now).is_none() || now < kube.throttled_until() {
            return;
        }
        let mut ours = Vec::new();
        for resource in resources.values() {
            let refused = self.standings.get(&resource.id).refused.is_some();
            let waits = self.pauses.get(&resource.id).is_some_and(|(until, _)| now < *until);
            if let Some(duty) = duty(resource, refused).filter(|_| !waits) {
                ours.push(self.fulfil(Arc::clone(resource), duty));
            }
        }
        let outcomes: Vec<_> = stream::iter(ours).buffer_unordered(CONCURRENCY).collect().await;
        let now = kube.clock.now();
        for (resource, outcome) in outcomes {
            let id = &resource.id;
            // Done: the watch shows it in a moment, until then it looks the same.
            let Err(failed) = outcome else {
                self.pauses.insert(id.clone(), (now.after(PAUSE.0), 0));
                continue;
            };
            counter!(names::RESTORES, "outcome" => "error").increment(1);
            let failures = self.pauses.get(id).map_or(0, |(_, failures)| *failures);
            let pause = PAUSE.0.saturating_mul(1 << failures.min(8)).min(PAUSE.1);
            tracing::warn!(autoscaler = %id, error = %failed.message, again_in = ?pause, "finalizer not settled");
            self.pauses.insert(id.clone(), (now.after(pause), failures.saturating_add(1)));
            if resource.deleting {
                self.standings.update(id, |standing| standing.failed = Some(failed));
            }
        }
    }

    async fn fulfil(&self, resource: Arc<Resource>, duty: Duty) -> (Arc<Resource>, Result<(), Failed>) {
        let outcome = self.settle(&resource, duty).await;
        (resource, outcome)
    }

    async fn settle(&self, resource: &Arc<Resource>, duty: Duty) -> Result<(), Failed> {
        let id = &resource.id;
        let failed = |error: PatchError| {
            let label = not_noted(&error).label();
            Failed { label, message: format!("the finalizer {FINALIZER} could not be changed: {error}").into() }
        };
        match duty {
            Duty::Add => return self.objects.add_finalizer(resource).await.map_err(failed),
            Duty::Remove => {}
            Duty::Release(why) => {
                counter!(names::RESTORES, "outcome" => "left").increment(1);
                tracing::info!(autoscaler = %id, why, "deleted without restoring");
                self.events.offer(resource, Notice::normal("NotRestored", why));
            }
            Duty::Restore(original) => match self.restore(id, original).await {
                Ok(()) => {
                    counter!(names::RESTORES, "outcome" => "ok").increment(1);
                    tracing::info!(autoscaler = %id, replicas = original, "deleted, and its workload scaled back");
                    let note = format!("Scaled back to the original {original} replicas before it goes.");
                    self.events.offer(resource, Notice::normal("Restored", note));
                }
                Err(ScaleError::Unknown(_)) => {
                    counter!(names::RESTORES, "outcome" => "gone").increment(1);
                    tracing::info!(autoscaler = %id, "deleted; its workload is gone, too");
                }
                Err(ScaleError::Owned(owner)) => {
                    counter!(names::RESTORES, "outcome" => "left").increment(1);
                    tracing::info!(autoscaler = %id, %owner, "deleted; somebody else scales its workload");
                }
                Err(error) => return Err(Failed { label: error.label(), message: error.to_string().into() }),
            },
        }
        self.objects.remove_finalizer(resource).await.map_err(failed)
    }

    async fn restore(&self, id: &AutoscalerId, original: Replicas) -> Result<(), ScaleError> {
        let mut from = match self.standings.get(id).workload {
            Workload::Seen { replicas, .. } => replicas,
            _ => original,
        };
        for _ in 1..SCALE_ATTEMPTS {
            match self.scale(id, from, original).await {
                Err(ScaleError::Conflict { found, .. }) => from = found,
                outcome => return outcome,
            }
        }
        self.scale(id, from, original).await
    }

    /// A target does not bound its own waiting.
    async fn scale(&self, id: &AutoscalerId, from: Replicas, to: Replicas) -> Result<(), ScaleError> {
        let late = || ScaleError::Failed(ReadFailure::new(FailureKind::Timeout, format!("no answer in {PATIENCE:?}")));
        tokio::time::timeout(PATIENCE, self.target.scale(id, from, to)).await.unwrap_or_else(|_| Err(late()))
    }
}
