//! The original replicas: noted before the first scaling, given back when the autoscaler goes; and no finalizer where
//! nobody asked for one. Against the scripted API server, because finalizers are its business.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kube::CustomResourceExt;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::cluster::client::{Kube, Scope};
use tidegate::cluster::events;
use tidegate::cluster::lease::Leadership;
use tidegate::cluster::resources::{Resource, Resources};
use tidegate::cluster::restore::{FINALIZER, Noting, Restorer};
use tidegate::cluster::standing::{Standings, Workload};
use tidegate::model::*;
use tidegate::spec::AutoscalerSpec;
use tidegate::spec::manifest::QueueAutoscaler;
use tidegate::target::{ScaleError, Target};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::status_rig::{id, spec};
use crate::support::apiserver::{ApiServer, Fault, Refusal};
use crate::support::tidegate::until_along;

const KIND: &str = "queueautoscalers.tidegate.dev";

/// A workload at the end of the wire.
#[derive(Clone, Default)]
struct Workloads(Arc<Mutex<Desk>>);

#[derive(Default)]
struct Desk {
    replicas: BTreeMap<AutoscalerId, Replicas>,
    asked: Vec<(Replicas, Replicas)>,
    refusals: Vec<ScaleError>,
}

impl Target for Workloads {
    async fn scale(&self, id: &AutoscalerId, from: Replicas, to: Replicas) -> Result<(), ScaleError> {
        let mut desk = self.0.lock().unwrap();
        desk.asked.push((from, to));
        if let Some(refusal) = desk.refusals.pop() {
            return Err(refusal);
        }
        let Some(found) = desk.replicas.get_mut(id) else { return Err(ScaleError::Unknown(id.clone())) };
        if *found != from && *found != to {
            return Err(ScaleError::Conflict { expected: from, found: *found });
        }
        *found = to;
        Ok(())
    }
}

struct World {
    server: ApiServer,
    kube: Kube,
    resources: Arc<Resources>,
    standings: Arc<Standings>,
    workloads: Workloads,
    spec: Mutex<AutoscalerSpec>,
    in_force: AtomicBool,
    stop: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl World {
    /// One autoscaler, `web`, whose workload stands at 3.
    fn new(restore: bool, finalizers: &[&str]) -> Arc<Self> {
        let server = ApiServer::start();
        server.insert(&serde_json::to_value(QueueAutoscaler::crd()).unwrap());
        server.insert(&json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "QueueAutoscaler",
            "metadata": {"name": "web", "namespace": "shop", "finalizers": finalizers},
            "spec": {"restoreToOriginalReplicaCount": restore},
        }));
        let kube = Kube::new(server.client("tidegate").config(), Clock::start(), Scope::Cluster).unwrap();
        let workloads = Workloads::default();
        workloads.0.lock().unwrap().replicas.insert(id("web"), 3);
        let world = Arc::new(World {
            server,
            kube,
            resources: Arc::default(),
            standings: Arc::default(),
            workloads,
            spec: Mutex::new(AutoscalerSpec { restore_on_delete: restore, ..spec("web") }),
            in_force: AtomicBool::new(true),
            stop: CancellationToken::new(),
        });
        world.show();
        world
    }

    /// What the watch does.
    fn show(&self) {
        let all = self.server.all(KIND).into_iter().map(|object| {
            let metadata = &object["metadata"];
            let text = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
            let resource = Resource {
                id: id(&text("name")),
                uid: text("uid").into(),
                resource_version: text("resourceVersion").into(),
                generation: 1,
                created: 0,
                deleting: metadata["deletionTimestamp"].is_string(),
                finalizers: serde_json::from_value(metadata["finalizers"].clone()).unwrap_or_default(),
                status: serde_json::from_value(object["status"].clone()).ok(),
                spec: self.in_force.load(Ordering::Relaxed).then(|| Arc::new(self.spec.lock().unwrap().clone())),
                problems: Arc::default(),
                warnings: Arc::default(),
            };
            (resource.id.clone(), Arc::new(resource))
        });
        self.resources.set(all.collect());
    }

    fn noting(&self) -> Noting<Workloads> {
        Noting::new(self.workloads.clone(), self.kube.clone(), Leadership::always(), Arc::clone(&self.resources))
    }

    /// Runs the restorer, with a watch that is always up to date.
    fn run(self: &Arc<Self>, leadership: Leadership) {
        let (events, sender) = events::channel(self.kube.clone(), leadership.clone(), "tidegate-0");
        let target = Arc::new(self.workloads.clone());
        let (resources, standings) = (Arc::clone(&self.resources), Arc::clone(&self.standings));
        let restorer = Restorer::new(target, self.kube.clone(), leadership, resources, standings, events);
        tokio::spawn(restorer.run(self.stop.clone()));
        tokio::spawn(sender.run(self.stop.clone()));
        let world = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(world) = world.upgrade() {
                world.show();
                drop(world);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }

    fn object(&self) -> Option<Value> {
        self.server.get(KIND, "shop", "web")
    }

    fn finalizers(&self) -> Vec<String> {
        let object = self.object().unwrap();
        serde_json::from_value(object["metadata"]["finalizers"].clone()).unwrap_or_default()
    }

    fn replicas(&self) -> Replicas {
        self.workloads.0.lock().unwrap().replicas[&id("web")]
    }

    fn asked(&self) -> Vec<(Replicas, Replicas)> {
        self.workloads.0.lock().unwrap().asked.clone()
    }

    fn events(&self) -> Vec<String> {
        let all = self.server.all("events.events.k8s.io");
        all.iter().map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

#[tokio::test]
async fn the_count_is_noted_before_the_first_scaling_and_given_back_at_the_end() {
    let world = World::new(true, &["others.example/keep"]);
    let target = world.noting();
    target.scale(&id("web"), 3, 8).await.unwrap();
    assert_eq!(world.object().unwrap()["status"]["originalReplicaCount"], 3);
    assert_eq!(world.finalizers(), ["others.example/keep", FINALIZER]);
    world.show();
    let mark = world.server.mark();
    target.scale(&id("web"), 8, 5).await.unwrap();
    assert_eq!(world.object().unwrap()["status"]["originalReplicaCount"], 3, "the first is the original");
    assert!(world.server.since(mark).is_empty(), "noted once: {}", world.server.since(mark).lines());

    world.run(Leadership::always());
    world.server.delete(KIND, "shop", "web");
    until_along("scaled back and let go", || world.finalizers() == ["others.example/keep"]).await;
    assert_eq!(world.replicas(), 3);
    until_along("an Event", || world.events() == ["Restored"]).await;
    let refused = target.scale(&id("web"), 3, 9).await.unwrap_err();
    assert!(!refused.may_pass() && world.replicas() == 3, "who is gone decides nothing any more: {refused}");
}

#[tokio::test]
async fn where_nobody_asked_for_it_there_is_no_finalizer_and_no_request() {
    let world = World::new(false, &[]);
    let mark = world.server.mark();
    world.run(Leadership::always());
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(world.server.since(mark).is_empty(), "{}", world.server.since(mark).lines());
    world.server.delete(KIND, "shop", "web");
    assert!(world.object().is_none());
    assert_eq!(world.replicas(), 8);
}

#[tokio::test]
async fn what_cannot_be_noted_is_not_scaled() {
    let world = World::new(true, &[]);
    let fault = world.server.fault(Fault::on("patch", "queueautoscalers/status").answer(Refusal::unavailable()));
    let error = world.noting().scale(&id("web"), 3, 8).await.unwrap_err();
    assert!(error.may_pass(), "{error}");
    assert_eq!((world.replicas(), world.finalizers()), (3, vec![]));
    fault.lift();
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    assert_eq!((world.replicas(), world.finalizers()), (8, vec![FINALIZER.to_owned()]));
}

#[tokio::test]
async fn a_conflict_with_another_writer_is_read_anew_and_repeated() {
    let world = World::new(true, &[]);
    let conflict = Refusal::modified("queueautoscalers", "tidegate.dev", "web");
    let fault = world.server.fault(Fault::on("patch", "queueautoscalers").times(2).answer(conflict));
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    assert_eq!((fault.hits(), world.finalizers()), (2, vec![FINALIZER.to_owned()]));
}

#[tokio::test]
async fn a_workload_that_cannot_be_reached_is_tried_again_and_one_that_is_gone_holds_nothing() {
    let world = World::new(true, &[]);
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    let down = || ScaleError::Failed(ReadFailure::new(FailureKind::Unreachable, "no route"));
    world.workloads.0.lock().unwrap().refusals.push(down());
    world.server.delete(KIND, "shop", "web");
    world.run(Leadership::always());
    until_along("it says so", || world.standings.get(&id("web")).failed.is_some()).await;
    assert_eq!(world.finalizers(), [FINALIZER]);
    until_along("gone", || world.object().is_none()).await;
    assert_eq!(world.replicas(), 3);

    let world = World::new(true, &[]);
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    world.workloads.0.lock().unwrap().replicas.clear();
    world.server.delete(KIND, "shop", "web");
    world.run(Leadership::always());
    until_along("gone", || world.object().is_none()).await;
}

#[tokio::test]
async fn a_count_that_changed_in_between_is_taken_as_it_is_found() {
    let world = World::new(true, &[]);
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    let seen = Workload::Seen { replicas: 7, ready: 7 };
    world.standings.update(&id("web"), |standing| standing.workload = seen);
    world.server.delete(KIND, "shop", "web");
    world.run(Leadership::always());
    until_along("gone", || world.object().is_none()).await;
    assert_eq!(world.asked(), [(3, 8), (7, 3), (8, 3)]);
}

#[tokio::test]
async fn a_wish_that_is_taken_back_takes_the_finalizer_along() {
    let world = World::new(true, &[]);
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    world.spec.lock().unwrap().restore_on_delete = false;
    world.run(Leadership::always());
    until_along("no finalizer", || world.finalizers().is_empty()).await;
    world.spec.lock().unwrap().restore_on_delete = true;
    until_along("asked for again", || world.finalizers() == [FINALIZER]).await;
    assert_eq!(world.replicas(), 8);
}

#[tokio::test]
async fn a_zero_that_somebody_made_by_hand_is_left() {
    let world = World::new(true, &[]);
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    world.workloads.0.lock().unwrap().replicas.insert(id("web"), 0);
    let stopped = json!({"status": {"conditions": [
        {"type": "Ready", "status": "False", "reason": "ManuallyStopped", "message": "", "lastTransitionTime": ""}
    ]}});
    let api: Api<DynamicObject> =
        Api::namespaced_with(world.kube.client.clone(), "shop", &ApiResource::erase::<QueueAutoscaler>(&()));
    api.patch_status("web", &PatchParams::default(), &Patch::Merge(&stopped)).await.unwrap();
    world.server.delete(KIND, "shop", "web");
    world.run(Leadership::always());
    until_along("gone", || world.object().is_none()).await;
    assert_eq!(world.replicas(), 0);
    until_along("an Event", || world.events() == ["NotRestored"]).await;
}

#[tokio::test]
async fn who_does_not_lead_does_nothing() {
    let world = World::new(true, &[]);
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    let terms = watch::Sender::new(None);
    world.server.delete(KIND, "shop", "web");
    let mark = world.server.mark();
    world.run(Leadership::new(terms.subscribe()));
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(world.server.since(mark).is_empty(), "{}", world.server.since(mark).lines());
    assert_eq!((world.replicas(), world.finalizers()), (8, vec![FINALIZER.to_owned()]));
}

/// A request may have waited since before `dryRun` was written.
#[tokio::test]
async fn who_only_advises_scales_nothing_and_notes_nothing() {
    let world = World::new(true, &[]);
    world.spec.lock().unwrap().dry_run = true;
    world.show();
    let refused = world.noting().scale(&id("web"), 3, 8).await.unwrap_err();
    assert!(!refused.may_pass(), "{refused}");
    assert_eq!((world.replicas(), world.finalizers()), (3, vec![]));
    world.noting().scale(&id("web"), 3, 3).await.unwrap();
}

/// What others hold back goes on being scaled, where nothing is to be restored.
#[tokio::test]
async fn who_is_being_deleted_and_has_nothing_to_restore_is_still_scaled() {
    let world = World::new(false, &["others.example/keep"]);
    world.server.delete(KIND, "shop", "web");
    world.show();
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    assert_eq!(world.replicas(), 8);
}

#[tokio::test]
async fn whose_spec_is_not_in_force_any_more_is_let_go_and_that_is_said() {
    let world = World::new(true, &[]);
    world.noting().scale(&id("web"), 3, 8).await.unwrap();
    world.in_force.store(false, Ordering::Relaxed);
    world.server.delete(KIND, "shop", "web");
    world.run(Leadership::always());
    until_along("gone", || world.object().is_none()).await;
    until_along("an Event", || world.events() == ["NotRestored"]).await;
    assert_eq!((world.replicas(), world.asked()), (8, vec![(3, 8)]), "nobody follows a workload for it");
}
