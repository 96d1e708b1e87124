//! What must be so with a real API server as well as with the scripted one: see `support::cluster`.

use serde_json::{Value, json};
use tidegate::cluster::standing::Workload;
use tidegate::model::{AutoscalerId, SetBy};
use tidegate::target::{ScaleError, Target};

use super::rig::{Rig, deployment, rig_of, to};
use crate::support::cluster::Cluster;
use crate::support::tidegate::until_along;

async fn rig(cluster: &Cluster) -> Rig {
    rig_of(cluster.access("tidegate", None).config().await, "tidegate", 1024)
}

fn here(cluster: &Cluster, name: &str) -> AutoscalerId {
    AutoscalerId::new(cluster.namespace(), name)
}

impl Rig {
    async fn sees_set(&self, id: &AutoscalerId, replicas: i32, set_by: SetBy) {
        let seen = || self.workloads.views().of(id).map(|view| (view.replicas, view.set_by));
        until_along(&format!("{replicas} by {set_by:?}"), || seen() == Some((replicas, set_by))).await;
    }
}

fn placed(cluster: &Cluster, mut object: Value) -> Value {
    object["metadata"]["namespace"] = cluster.namespace().into();
    object
}

#[tokio::test]
async fn our_zero_stays_ours_and_anybody_elses_is_theirs() {
    let cluster = Cluster::start();
    cluster.create(&placed(&cluster, deployment("web", 2)));
    let rig = rig(&cluster).await;
    let web = here(&cluster, "web");
    rig.workloads.follow(vec![(web.clone(), to("apps/v1", "Deployment", "web"))], vec![]);
    rig.sees_set(&web, 2, SetBy::Other).await;
    for (from, to) in [(2, 5), (5, 0), (0, 3), (3, 0)] {
        rig.target.scale(&web, from, to).await.unwrap();
        // By the answer at once, and by what the watch shows of it in the end.
        rig.sees_set(&web, to, SetBy::Tidegate).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    rig.sees_set(&web, 0, SetBy::Tidegate).await;
    rig.target.scale(&web, 0, 4).await.unwrap();
    cluster.scale("deployments.apps", "web", 0);
    rig.sees_set(&web, 0, SetBy::Other).await;
    // Raised by us when told to, it is ours again, which a plain patch would not bring about.
    rig.target.scale(&web, 0, 1).await.unwrap();
    rig.target.scale(&web, 1, 0).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    rig.sees_set(&web, 0, SetBy::Tidegate).await;
    let error = rig.target.scale(&web, 5, 6).await.unwrap_err();
    assert_eq!(error, ScaleError::Conflict { expected: 5, found: 0 });
}

#[tokio::test]
async fn a_custom_kind_is_scaled_wherever_it_keeps_its_count() {
    let cluster = Cluster::start();
    cluster.create(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "fleets.acting.example.com"},
        "spec": {"group": "acting.example.com", "scope": "Namespaced",
            "names": {"plural": "fleets", "singular": "fleet", "kind": "Fleet", "listKind": "FleetList"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale":
                    {"specReplicasPath": ".spec.ships", "statusReplicasPath": ".status.ships"}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {"ships": {"type": "integer"}}},
                    "status": {"type": "object", "properties": {"ships": {"type": "integer"}}}}}}}]}}));
    let rig = rig(&cluster).await;
    let (fleet, none) = (here(&cluster, "fleet"), here(&cluster, "none"));
    let target = |name| to("acting.example.com/v1", "Fleet", name);
    rig.workloads.follow(vec![(fleet.clone(), target("fleet")), (none.clone(), target("none"))], vec![]);
    until_along("it is missed", || matches!(rig.standings.get(&none).workload, Workload::Missing(_))).await;
    cluster.create(&placed(
        &cluster,
        json!({"apiVersion": "acting.example.com/v1", "kind": "Fleet", "metadata": {"name": "fleet"},
            "spec": {"ships": 2}}),
    ));
    // Its count is not where others keep theirs.
    rig.sees_set(&fleet, 2, SetBy::Unknown).await;
    for (from, to) in [(2, 6), (6, 0), (0, 1)] {
        rig.target.scale(&fleet, from, to).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        rig.sees_set(&fleet, to, SetBy::Tidegate).await;
    }
    cluster.scale("fleets.acting.example.com", "fleet", 9);
    let seen = || rig.workloads.views().of(&fleet).map(|view| (view.replicas, view.set_by));
    until_along("it is no longer ours", || seen().is_some_and(|(count, by)| count == 9 && by != SetBy::Tidegate)).await;
}
