//! Custom resources as they come from an API server: in bursts, malformed, forbidden, not installed, after a gap.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may break"
)]

use serde_json::json;
use tidegate::cluster::client::Scope;
use tidegate::cluster::resources::Listing;
use tidegate::spec::catalog::Base;
use tidegate::spec::load::{SourceText, Terms, load};

use super::watched::{Follower, NAME, autoscaler, connection, install_kinds};
use crate::support::apiserver::{ApiServer, Ending, Fault, Net, Refusal};

fn redis() -> serde_json::Value {
    connection(json!({ "address": "redis:6379" }))
}

#[tokio::test]
async fn objects_come_change_and_go_and_a_write_of_status_is_sent_to_nobody() {
    let server = ApiServer::start();
    install_kinds(&server);
    server.insert(&redis());
    server.insert(&autoscaler("orders", 10));
    let mut follower = Follower::start(&server, Scope::Cluster);
    follower.complete().await;
    assert_eq!(follower.spec("orders").unwrap().bounds.max, 10);
    assert!(follower.grants.load().find_by_name("shop", "main").is_some());

    server.insert(&autoscaler("orders", 20));
    server.insert(&autoscaler("refunds", 5));
    follower.until("the changes", |now| now.runtime.len() == 2 && now.spec("orders").unwrap().bounds.max == 20).await;
    let sent = follower.sent;
    let mut with_status = server.get("queueautoscalers.tidegate.dev", "shop", "orders").unwrap();
    let version = with_status["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    with_status["status"] = json!({ "currentReplicas": 3 });
    with_status["metadata"]["labels"] = json!({ "seen": "yes" });
    server.insert(&with_status);
    let id = follower.spec("orders").unwrap().id.clone();
    follower.until("the snapshot", |now| *now.resources.get(&id).unwrap().resource_version != *version).await;
    assert_eq!(follower.sent, sent);

    server.delete("queueautoscalers.tidegate.dev", "shop", "orders");
    follower.until("the deletion", |now| now.spec("orders").is_none()).await;
    assert!(follower.resources.get(&id).is_none());
}

#[tokio::test]
async fn an_object_that_is_malformed_is_reported_and_takes_nobody_down() {
    let server = ApiServer::start();
    install_kinds(&server);
    server.insert(&redis());
    server.insert(&autoscaler("orders", 10));
    for (name, spec) in [("text", json!("x")), ("list", json!([1])), ("numbers", json!({ "triggers": [7] }))] {
        let mut odd = autoscaler(name, 1);
        odd["spec"] = spec;
        odd["metadata"]["annotations"] = json!({ "tidegate.dev/paused": 7 });
        server.insert(&odd);
    }
    let mut follower = Follower::start(&server, Scope::Cluster);
    follower.complete().await;
    assert_eq!(follower.runtime.len(), 1);
    for name in ["text", "list", "numbers"] {
        assert!(!follower.problems(name).is_empty(), "{name}");
    }
    server.insert(&autoscaler("text", 3));
    follower.until("the correction", |now| now.spec("text").is_some() && now.problems("text").is_empty()).await;
}

#[tokio::test]
async fn what_was_deleted_while_nobody_watched_is_found_by_the_new_list() {
    let server = ApiServer::start();
    install_kinds(&server);
    server.insert(&redis());
    for name in ["orders", "refunds", "letters"] {
        server.insert(&autoscaler(name, 10));
    }
    let mut follower = Follower::start(&server, Scope::Cluster);
    follower.complete().await;
    assert_eq!(follower.runtime.len(), 3);

    let network = server.client(NAME);
    network.net(Net::Cut);
    server.delete("queueautoscalers.tidegate.dev", "shop", "refunds");
    server.insert(&autoscaler("letters", 20));
    server.compact();
    let mark = server.mark();
    network.net(Net::Open);
    follower.until("the deletion", |now| now.spec("refunds").is_none()).await;
    assert_eq!(follower.spec("letters").unwrap().bounds.max, 20);
    assert_eq!(follower.runtime.len(), 2);
    let listed = server.since(mark).verb("list").resource("queueautoscalers").code(200);
    assert!(!listed.is_empty(), "{}", server.since(mark).lines());

    // And when the stream itself says so.
    server.compact();
    server.end_watches(Ending::Expires);
    server.delete("connections.tidegate.dev", "shop", "main");
    follower.until("the missing Connection", |now| !now.problems("orders").is_empty()).await;
    assert_eq!(follower.runtime.len(), 2, "the last good state stays");
}

#[tokio::test]
async fn kinds_that_are_not_installed_are_waited_for_and_the_cure_is_said() {
    let server = ApiServer::start();
    let mut follower = Follower::start(&server, Scope::Cluster);
    let waits = |follower: &Follower| match &*follower.listing.borrow() {
        Listing::Waiting(reason) => reason.as_deref().unwrap_or_default().to_owned(),
        Listing::Complete => panic!("complete"),
    };
    follower.until("the reason", |now| waits(now).contains("tidegate crd | kubectl apply -f -")).await;

    // Files do not wait for that.
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: file, namespace: shop }\n\
        spec: { redis: { address: \"redis:6379\", passwordFrom: { secretKeyRef: { name: of-file, key: password } } } }\n";
    let loaded = load(&[SourceText { file: "a.yaml".into(), text: text.into() }], &Terms::default()).unwrap();
    follower.base.send_replace(Base { grants: loaded.grants, ..Base::default() });
    follower.until("the file's grant", |now| now.grants.load().find_by_name("shop", "file").is_some()).await;
    let watched = || !server.requests().verb("watch").resource("secrets").is_empty();
    follower.until("the file's Secret", |_| watched()).await;

    install_kinds(&server);
    server.insert(&redis());
    server.insert(&autoscaler("orders", 10));
    follower.complete().await;
    follower.until("the object", |now| now.spec("orders").is_some()).await;
    assert!(follower.grants.load().find_by_name("shop", "file").is_some());
}

#[tokio::test]
async fn what_is_forbidden_is_named_and_the_clusters_objects_are_not_needed_in_a_namespace() {
    let server = ApiServer::start();
    install_kinds(&server);
    server.insert(&redis());
    server.insert(&autoscaler("orders", 10));
    let mut elsewhere = autoscaler("elsewhere", 10);
    elsewhere["metadata"]["namespace"] = json!("mail");
    server.insert(&elsewhere);
    let refusal = |resource: &str| Refusal::forbidden(NAME, "list", resource, "", "tidegate.dev", "", "");
    let fault = |resource: &str| server.fault(Fault::on("list", resource).answer(refusal(resource)));
    let (_clusters, autoscalers) = (fault("clusterconnections"), fault("queueautoscalers"));

    let mut follower = Follower::start(&server, Scope::Namespaces(vec!["shop".to_owned()]));
    let expected = "tidegate may not list and watch queueautoscalers.tidegate.dev in namespace shop";
    follower
        .until("the reason", |now| {
            let Listing::Waiting(Some(reason)) = &*now.listing.borrow() else { return false };
            reason.contains(expected) && reason.contains("tidegate crd --rbac")
        })
        .await;
    autoscalers.lift();
    follower.complete().await;
    follower.until("the object", |now| now.spec("orders").is_some()).await;
    assert_eq!(follower.runtime.len(), 1, "of its own namespace only");
}

#[tokio::test]
async fn thousands_come_in_a_few_bursts() {
    let server = ApiServer::start();
    install_kinds(&server);
    server.insert(&redis());
    for i in 0..2000 {
        server.insert(&autoscaler(&format!("queue-{i}"), 10));
    }
    let mut follower = Follower::start(&server, Scope::Cluster);
    follower.complete().await;
    assert_eq!(follower.runtime.len(), 2000);
    assert!(follower.sent <= 2, "{} changes", follower.sent);
    let lists = server.requests().verb("list").resource("queueautoscalers").code(200);
    assert_eq!(lists.len(), 4, "pages of 500\n{}", lists.lines());

    server.insert(&connection(json!({ "address": "redis:6380" })));
    let moved =
        |now: &Follower| now.runtime.values().all(|spec| format!("{:?}", spec.triggers[0].connection).contains("6380"));
    follower.until("all moved", moved).await;
}
