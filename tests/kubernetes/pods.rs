//! Pods whose metrics are read, as they come, get ready and go: behind a Service, and by a selector.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may break")]

use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::cluster::client::{Kube, Scope};
use tidegate::cluster::endpoints;
use tidegate::model::FoundPods;
use tidegate::source::endpoints::{Endpoints, Watching};
use tidegate::spec::{PodPort, Pods, Which};
use tokio_util::task::AbortOnDropHandle;

use super::watched::NAME;
use crate::support::apiserver::{ApiServer, Fault, Refusal};
use crate::support::tidegate::until_along;

/// Follows as the program does, for as long as it lives.
fn follow(server: &ApiServer) -> (Endpoints, AbortOnDropHandle<()>) {
    let kube = Kube::new(server.client(NAME).config(), Clock::start(), Scope::Cluster).unwrap();
    let store = Endpoints::of_cluster();
    let (wanted, keep) = (store.clone(), store.clone());
    let keep = move |pods: &Pods, found| keep.set(pods, found);
    let task = endpoints::follow(kube, store.changes().unwrap(), move || wanted.wanted(), keep);
    (store, AbortOnDropHandle::new(tokio::spawn(task)))
}

fn slice(name: &str, service: &str, endpoints: &[(&str, bool)]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|(address, ready)| json!({ "addresses": [address], "conditions": { "ready": ready } }))
        .collect();
    json!({ "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": { "name": name, "namespace": "shop", "labels": { "kubernetes.io/service-name": service } },
        "ports": [{ "name": "metrics", "port": 9102 }], "endpoints": endpoints })
}

fn pod(name: &str, app: &str, address: &str, ready: bool) -> Value {
    let status = if ready { "True" } else { "False" };
    json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": "shop", "labels": { "app": app } },
        "spec": { "containers": [{ "name": "worker" }] },
        "status": { "podIP": address, "conditions": [{ "type": "Ready", "status": status }] } })
}

fn addresses(watching: &Watching) -> Option<Vec<String>> {
    match watching.found() {
        FoundPods::Ready(pods) => Some(pods.iter().map(|pod| pod.address.to_string()).collect()),
        FoundPods::NotRead | FoundPods::Missing(_) => None,
    }
}

async fn until(watching: &Watching, expected: &[&str]) {
    let expected: Vec<String> = expected.iter().map(ToString::to_string).collect();
    until_along(&format!("{expected:?}"), || addresses(watching).as_ref() == Some(&expected)).await;
}

#[tokio::test]
async fn the_ready_pods_behind_a_service_are_followed_while_somebody_wants_them() {
    let server = ApiServer::start();
    server.insert(&slice("workers-a", "workers", &[("10.0.0.1", true), ("10.0.0.2", false)]));
    server.insert(&slice("others-a", "others", &[("10.0.0.9", true)]));
    let (store, _task) = follow(&server);
    let named = PodPort::Name("metrics".into());
    let pods = Pods { namespace: "shop".into(), which: Which::Service("workers".into()), port: named };
    let watching = store.watch(&pods).unwrap();
    until(&watching, &["10.0.0.1:9102"]).await;
    server.insert(&slice("workers-b", "workers", &[("10.0.0.2", true), ("10.0.0.1", true)]));
    until(&watching, &["10.0.0.1:9102", "10.0.0.2:9102"]).await;
    server.delete("endpointslices.discovery.k8s.io", "shop", "workers-a");
    server.delete("endpointslices.discovery.k8s.io", "shop", "workers-b");
    until(&watching, &[]).await;

    let asked = server.requests().resource("endpointslices");
    assert!(asked.0.iter().all(|request| request.path.contains("labelSelector=")), "{}", asked.lines());
    assert!(server.requests().resource("pods").is_empty());
}

#[tokio::test]
async fn the_ready_pods_of_a_selector_are_followed() {
    let server = ApiServer::start();
    server.insert(&pod("w-1", "worker", "10.0.0.1", true));
    server.insert(&pod("w-2", "worker", "10.0.0.2", false));
    server.insert(&pod("web", "web", "10.0.0.3", true));
    let (store, _task) = follow(&server);
    let selector = Which::Selector("app=worker".into());
    let watching = store.watch(&Pods { namespace: "shop".into(), which: selector, port: PodPort::Number(7) }).unwrap();
    until(&watching, &["10.0.0.1:7"]).await;
    server.insert(&pod("w-2", "worker", "10.0.0.2", true));
    until(&watching, &["10.0.0.1:7", "10.0.0.2:7"]).await;
    server.delete("pods", "shop", "w-1");
    until(&watching, &["10.0.0.2:7"]).await;
}

#[tokio::test]
async fn a_refusal_says_what_is_missing_and_ends() {
    let server = ApiServer::start();
    server.insert(&pod("w-1", "worker", "10.0.0.1", true));
    let forbidden = Refusal::forbidden(NAME, "list", "pods", "", "", "", "shop");
    let fault = server.fault(Fault::on("list", "pods").answer(forbidden));
    let (store, _task) = follow(&server);
    let selector = Which::Selector("app=worker".into());
    let watching = store.watch(&Pods { namespace: "shop".into(), which: selector, port: PodPort::Number(7) }).unwrap();
    let refused =
        || matches!(watching.found(), FoundPods::Missing(why) if why.contains("list and watch pods in namespace shop"));
    until_along("the refusal", refused).await;
    fault.lift();
    until(&watching, &["10.0.0.1:7"]).await;
}

#[tokio::test]
async fn who_wants_them_again_at_once_is_answered_too() {
    let server = ApiServer::start();
    server.insert(&slice("workers-a", "workers", &[("10.0.0.1", true)]));
    let (store, _task) = follow(&server);
    let pods = Pods { namespace: "shop".into(), which: Which::Service("workers".into()), port: PodPort::Number(9102) };
    let watching = store.watch(&pods).unwrap();
    until(&watching, &["10.0.0.1:9102"]).await;
    // Before the follower has heard of either.
    drop(watching);
    let watching = store.watch(&pods).unwrap();
    assert_eq!(watching.found(), FoundPods::NotRead);
    until(&watching, &["10.0.0.1:9102"]).await;
}
