//! Kinds of somebody else's: found by discovery, watched by their metadata, read when something changed.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate::cluster::standing::Workload;
use tidegate::model::SetBy;

use super::rig::{Rig, deployment, id, rig};
use crate::support::apiserver::{ApiServer, Fault, Refusal};
use crate::support::tidegate::until_along;

const ROLLOUTS: &str = "example.com/v1alpha1";

fn definition(scale: bool) -> Value {
    let mut subresources = json!({"status": {}});
    if scale {
        subresources["scale"] = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
    }
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "rollouts.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced",
            "names": {"plural": "rollouts", "singular": "rollout", "kind": "Rollout", "listKind": "RolloutList"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true, "subresources": subresources,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}})
}

fn rollout(name: &str, replicas: i32) -> Value {
    json!({"apiVersion": ROLLOUTS, "kind": "Rollout", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas}})
}

fn stands(server: &ApiServer, name: &str) -> i64 {
    server.get("rollouts.example.com", "default", name).unwrap()["spec"]["replicas"].as_i64().unwrap()
}

fn unreadable(rig: &Rig, name: &str) -> Option<String> {
    match rig.standings.get(&id(name)).workload {
        Workload::Unreadable(text) => Some(text.to_string()),
        _ => None,
    }
}

#[tokio::test]
async fn a_custom_kind_is_seen_scaled_and_left_to_whoever_changes_it() {
    let server = ApiServer::start();
    server.insert(&definition(true));
    server.insert(&rollout("web", 2));
    let mut rig = rig(&server, "a");
    rig.follow("web", ROLLOUTS, "Rollout");
    rig.sees("web", 2).await;
    assert_eq!(rig.last_report().await, Some((2, SetBy::Other)));
    rig.scale("web", 2, 5).await.unwrap();
    assert_eq!((stands(&server, "web"), rig.last_report().await), (5, Some((5, SetBy::Tidegate))));
    // A person, through the main resource.
    server.insert_as("kubectl", &rollout("web", 0));
    rig.sees("web", 0).await;
    assert_eq!(rig.last_report().await, Some((0, SetBy::Other)));
    rig.scale("web", 0, 3).await.unwrap();
    assert_eq!(stands(&server, "web"), 3);
    server.delete("rollouts.example.com", "default", "web");
    rig.stands_as("web", |workload| matches!(workload, Workload::Missing(_))).await;
    server.insert(&rollout("web", 4));
    rig.sees("web", 4).await;
}

#[tokio::test]
async fn changes_that_leave_the_specification_alone_cost_no_read_each() {
    let server = ApiServer::start();
    server.insert(&definition(true));
    server.insert(&rollout("web", 2));
    let rig = rig(&server, "a");
    rig.follow("web", ROLLOUTS, "Rollout");
    rig.sees("web", 2).await;
    let before = rig.calls(&server).0;
    for number in 0..100 {
        let mut changed = rollout("web", 2);
        changed["metadata"]["annotations"] = json!({"n": number.to_string()});
        server.insert_as("controller", &changed);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(rig.calls(&server).0, before);
    // The version went along: scaling up is one patch and no conflict.
    rig.scale("web", 2, 3).await.unwrap();
    assert_eq!(rig.calls(&server), (before, 1));
}

#[tokio::test]
async fn reads_are_bounded_however_many_change() {
    let server = ApiServer::start();
    server.insert(&definition(true));
    let rig = rig(&server, "a");
    let names: Vec<String> = (0..120).map(|number| format!("r{number}")).collect();
    for name in &names {
        server.insert(&rollout(name, 1));
        rig.follow(name, ROLLOUTS, "Rollout");
    }
    until_along("all are seen", || names.iter().all(|name| rig.view(name).is_some())).await;
    let reads = rig.requests(&server).verb("get").resource("rollouts/scale");
    assert!(reads.len() <= 125, "{}", reads.len());
    let first = reads.0.first().unwrap().at;
    let soon = reads.that(|read| read.at < first + Duration::from_secs(1)).len();
    assert!((40..=62).contains(&soon), "40 at once, then 20 a second: {soon}");
}

#[tokio::test]
async fn what_cannot_be_scaled_is_said_with_its_cure_and_heals_by_itself() {
    let server = ApiServer::start();
    let rig = rig(&server, "a");
    rig.follow("web", ROLLOUTS, "Rollout");
    until_along("it is unknown", || unreadable(&rig, "web").is_some_and(|text| text.contains("serves no Rollout")))
        .await;
    assert_eq!(rig.scale("web", 1, 2).await.unwrap_err().label(), "configuration");
    server.insert(&definition(false));
    server.insert(&rollout("web", 2));
    until_along("it has no scale", || unreadable(&rig, "web").is_some_and(|text| text.contains("no /scale"))).await;
    server.insert(&definition(true));
    rig.sees("web", 2).await;
    assert!(matches!(
        rig.stands_as("web", |w| matches!(w, Workload::Seen { .. })).await,
        Workload::Seen { replicas: 2, .. }
    ));
}

#[tokio::test]
async fn who_may_not_watch_reads_in_turn() {
    let server = ApiServer::start();
    let forbidden = || Refusal::forbidden("a", "list", "deployments", "", "apps", "", "");
    let fault = server.fault(Fault::on("list", "deployments").of("a").answer(forbidden()));
    for number in 0..30 {
        server.insert(&deployment(&format!("d{number}"), 2));
    }
    let rig = rig(&server, "a");
    for number in 0..30 {
        rig.follow(&format!("d{number}"), "apps/v1", "Deployment");
    }
    until_along("all are seen", || (0..30).all(|number| rig.view(&format!("d{number}")).is_some())).await;
    assert!(fault.hits() >= 1);
    assert_eq!(rig.calls(&server).0, 30);
    rig.scale("d3", 2, 3).await.unwrap();
    let text = {
        server.fault(Fault::on("get", "deployments/scale").of("a").answer(Refusal::forbidden(
            "a",
            "get",
            "deployments",
            "scale",
            "apps",
            "none",
            "default",
        )));
        rig.follow("none", "apps/v1", "Deployment");
        until_along("it is said", || unreadable(&rig, "none").is_some()).await;
        unreadable(&rig, "none").unwrap()
    };
    assert!(text.contains("--rbac"), "{text}");
}
