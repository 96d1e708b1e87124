//! The scripted API server itself: where its semantics matter, they are those of a real one.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::{Client, Error};
use serde_json::{Value, json};

use crate::support::apiserver::{ApiServer, Effect, Ending, Fault, Net, Outcome, Refusal};
use crate::support::tidegate::until_along;

fn deployment(name: &str, replicas: i32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template":
            {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}})
}

fn client(server: &ApiServer, name: &str) -> Client {
    Client::try_from(server.client(name).config()).unwrap()
}

fn deployments(client: &Client) -> Api<Deployment> {
    Api::namespaced(client.clone(), "default")
}

fn scale_to(replicas: i32, rv: Option<&str>) -> Patch<Value> {
    let mut patch = json!({"spec": {"replicas": replicas}});
    if let Some(rv) = rv {
        patch["metadata"] = json!({"resourceVersion": rv});
    }
    Patch::Merge(patch)
}

fn by(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() }
}

/// Who owns `spec.replicas`, and through which subresource.
fn owner(server: &ApiServer, name: &str) -> (String, String) {
    let object = server.get("deployments.apps", "default", name).unwrap();
    let entries = object["metadata"]["managedFields"].as_array().unwrap().clone();
    let of = |entry: &&Value| entry["fieldsV1"]["f:spec"].get("f:replicas").is_some();
    let owners: Vec<&Value> = entries.iter().filter(of).collect();
    assert_eq!(owners.len(), 1, "{entries:?}");
    let text = |name: &str| owners[0][name].as_str().unwrap_or_default().to_owned();
    (text("manager"), text("subresource"))
}

fn refused(error: Error) -> (u16, String) {
    match error {
        Error::Api(status) => (status.code, status.message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_change_through_scale_moves_the_ownership_of_replicas() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 2));
    let api = deployments(&client(&server, "test"));
    assert_eq!(owner(&server, "web"), ("kubectl-client-side-apply".into(), String::new()));
    let scaled = api.patch_scale("web", &by("tidegate"), &scale_to(3, None)).await.unwrap();
    assert_eq!(scaled.spec.unwrap().replicas, Some(3));
    assert_eq!(owner(&server, "web"), ("tidegate".into(), "scale".into()));
    // The same number again, from somebody else, is no change at all.
    let rv = server.revision();
    api.patch_scale("web", &by("someone"), &scale_to(3, None)).await.unwrap();
    assert_eq!((server.revision(), owner(&server, "web").0.as_str()), (rv, "tidegate"));
    api.patch("web", &by("editor"), &scale_to(9, None)).await.unwrap();
    assert_eq!(owner(&server, "web"), ("editor".into(), String::new()));
    let object = server.get("deployments.apps", "default", "web").unwrap();
    assert_eq!(object["metadata"]["generation"], 3);
}

#[tokio::test]
async fn what_went_through_zero_by_scale_has_no_owner_until_something_else_sets_it() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 2));
    let api = deployments(&client(&server, "test"));
    let owned = || {
        let object = server.get("deployments.apps", "default", "web").unwrap();
        let entries = object["metadata"]["managedFields"].as_array().unwrap().clone();
        let of = |entry: &&Value| entry["fieldsV1"]["f:spec"].get("f:replicas").is_some();
        let text =
            |entry: &Value| format!("{} {}", entry["manager"].as_str().unwrap(), entry["operation"].as_str().unwrap());
        entries.iter().find(of).map(text)
    };
    for (replicas, manager, owner) in
        [(5, "tidegate", Some("tidegate Update")), (0, "tidegate", None), (3, "tidegate", None), (4, "other", None)]
    {
        api.patch_scale("web", &by(manager), &scale_to(replicas, None)).await.unwrap();
        assert_eq!(owned().as_deref(), owner, "{manager} to {replicas}");
    }
    api.patch("web", &by("editor"), &scale_to(0, None)).await.unwrap();
    assert_eq!(owned().as_deref(), Some("editor Update"));
    api.patch_scale("web", &by("tidegate"), &scale_to(1, None)).await.unwrap();
    assert_eq!(owned().as_deref(), Some("tidegate Update"));
    api.patch_scale("web", &by("kubectl"), &scale_to(0, None)).await.unwrap();
    assert_eq!(owned(), None);
    let apply = |replicas: i32| {
        Patch::Apply(json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"},
            "spec": {"replicas": replicas}}))
    };
    for replicas in [4, 0] {
        api.patch_scale("web", &by("tidegate").force(), &apply(replicas)).await.unwrap();
        assert_eq!(owned().as_deref(), Some("tidegate Apply"), "applied {replicas}");
    }
}

#[tokio::test]
async fn an_old_resource_version_is_a_conflict_even_where_nothing_would_change() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 2));
    let api = deployments(&client(&server, "test"));
    let old = api.get_scale("web").await.unwrap().metadata.resource_version.unwrap();
    api.patch_scale("web", &by("tidegate"), &scale_to(3, Some(&old))).await.unwrap();
    for replicas in [4, 3] {
        let error = api.patch_scale("web", &by("tidegate"), &scale_to(replicas, Some(&old))).await.unwrap_err();
        let message = "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please \
            apply your changes to the latest version and try again";
        assert_eq!(refused(error), (409, message.to_owned()));
    }
    let patches = server.requests().verb("patch").resource("deployments/scale").named("default", "web");
    assert_eq!((patches.len(), patches.clone().applied().len(), patches.code(409).len()), (3, 1, 2));
}

#[tokio::test]
async fn negative_missing_and_unknown_are_refused_in_a_real_servers_words() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 2));
    let kube = client(&server, "test");
    let api = deployments(&kube);
    let error = api.patch_scale("web", &by("tidegate"), &scale_to(-1, None)).await.unwrap_err();
    let message =
        "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    assert_eq!(refused(error), (422, message.to_owned()));
    let error = api.get_scale("none").await.unwrap_err();
    assert_eq!(refused(error), (404, "deployments.apps \"none\" not found".to_owned()));
    // Nobody serves such a group: the answer is no Status, and kube says so.
    let request = http::Request::get("/apis/tidegate.dev/v1alpha1/queueautoscalers").body(kube::client::Body::empty());
    let answer = kube.send(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 404);
    assert_eq!(answer.into_body().collect_bytes().await.unwrap(), "404 page not found\n");
}

#[tokio::test]
async fn a_watch_tells_every_change_in_order_from_the_list_on() {
    let server = ApiServer::start();
    for index in 0..7 {
        server.insert(&deployment(&format!("d{index}"), 1));
    }
    let api = deployments(&client(&server, "test"));
    let mut seen = 0;
    let mut params = ListParams::default().limit(3);
    let rv = loop {
        let page = api.list(&params).await.unwrap();
        seen += page.items.len();
        match page.metadata.continue_.filter(|next| !next.is_empty()) {
            Some(next) => params = params.continue_token(&next),
            None => break page.metadata.resource_version.unwrap(),
        }
    };
    assert_eq!(seen, 7);
    let mut watch = api.watch(&WatchParams::default(), &rv).await.unwrap().boxed();
    api.patch_scale("d1", &by("t"), &scale_to(5, None)).await.unwrap();
    api.delete("d2", &DeleteParams::default()).await.unwrap();
    server.insert(&deployment("new", 1));
    let mut events = Vec::new();
    while events.len() < 3 {
        match watch.try_next().await.unwrap().unwrap() {
            WatchEvent::Added(object) => events.push(format!("added {}", object.metadata.name.unwrap())),
            WatchEvent::Modified(object) => events.push(format!("modified {}", object.metadata.name.unwrap())),
            WatchEvent::Deleted(object) => events.push(format!("deleted {}", object.metadata.name.unwrap())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(events, ["modified d1", "deleted d2", "added new"]);
}

#[tokio::test]
async fn a_watch_from_before_the_compaction_gets_410_in_its_stream() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 1));
    let api = deployments(&client(&server, "test"));
    let rv = api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut open = api.watch(&WatchParams::default(), &rv).await.unwrap().boxed();
    until_along("the watch is open", || !server.requests().verb("watch").code(200).is_empty()).await;
    server.expire();
    assert!(open.try_next().await.unwrap().is_none(), "the open watch ends");
    let mut again = api.watch(&WatchParams::default(), &rv).await.unwrap().boxed();
    match again.try_next().await.unwrap().unwrap() {
        WatchEvent::Error(status) => assert_eq!((status.code, status.reason.as_str()), (410, "Expired")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn finalizers_hold_what_is_deleted() {
    let server = ApiServer::start();
    let mut object = deployment("web", 1);
    object["metadata"]["finalizers"] = json!(["tidegate.dev/restore"]);
    server.insert(&object);
    let api = deployments(&client(&server, "test"));
    let held = api.delete("web", &DeleteParams::default()).await.unwrap().left().unwrap();
    assert!(held.metadata.deletion_timestamp.is_some());
    assert!(server.get("deployments.apps", "default", "web").is_some());
    let more = Patch::Merge(json!({"metadata": {"finalizers": ["tidegate.dev/restore", "tidegate.dev/more"]}}));
    assert_eq!(refused(api.patch("web", &by("t"), &more).await.unwrap_err()).0, 422);
    api.patch("web", &by("t"), &Patch::Merge(json!({"metadata": {"finalizers": null}}))).await.unwrap();
    assert!(server.get("deployments.apps", "default", "web").is_none());
}

#[tokio::test]
async fn a_dropped_connection_hides_whether_the_patch_was_applied() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 1));
    let api = deployments(&client(&server, "test"));
    let before = server.fault(Fault::on("patch", "deployments/scale").times(1).effect(Effect::Drop));
    assert!(api.patch_scale("web", &by("t"), &scale_to(2, None)).await.is_err());
    assert_eq!(before.hits(), 1);
    assert_eq!(server.get("deployments.apps", "default", "web").unwrap()["spec"]["replicas"], 1);
    server.fault(Fault::on("patch", "deployments/scale").times(1).effect(Effect::DropAfter));
    assert!(api.patch_scale("web", &by("t"), &scale_to(3, None)).await.is_err());
    assert_eq!(server.get("deployments.apps", "default", "web").unwrap()["spec"]["replicas"], 3);
    let patches = server.requests().verb("patch").0;
    assert_eq!(patches.iter().map(|patch| patch.outcome).collect::<Vec<_>>(), [Outcome::Dropped; 2]);
    assert_eq!(patches.iter().map(|patch| patch.applied).collect::<Vec<_>>(), [false, true]);
    server.fault(Fault::on("write", "*").times(1).answer(Refusal::timeout()));
    assert_eq!(refused(api.patch_scale("web", &by("t"), &scale_to(4, None)).await.unwrap_err()).0, 504);
}

#[tokio::test]
async fn one_clients_network_freezes_and_what_it_sent_arrives_late() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 1));
    let (frozen, free) = (client(&server, "a"), client(&server, "b"));
    deployments(&frozen).get("web").await.unwrap();
    server.client("a").net(Net::Frozen);
    let late = tokio::spawn({
        let api = deployments(&frozen);
        async move { api.patch_scale("web", &by("a"), &scale_to(7, None)).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(deployments(&free).get("web").await.unwrap().spec.unwrap().replicas, Some(1));
    server.client("a").net(Net::Open);
    late.await.unwrap();
    assert_eq!(server.requests().client("a").verb("patch").applied().len(), 1);
    server.client("a").net(Net::Cut);
    assert!(deployments(&frozen).get("web").await.is_err());
    server.client("a").net(Net::Open);
    deployments(&frozen).get("web").await.unwrap();
}

#[tokio::test]
async fn controllers_make_pods_ready_after_a_while() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 3));
    server.run_controllers(Duration::from_millis(20));
    let ready = || server.get("deployments.apps", "default", "web").unwrap()["status"]["readyReplicas"].clone();
    until_along("three are ready", || ready() == 3).await;
    let api = deployments(&client(&server, "test"));
    api.patch_scale("web", &by("t"), &scale_to(0, None)).await.unwrap();
    until_along("none is left", || ready().is_null()).await;
    // Its status is not to be written any other way.
    let status = Patch::Merge(json!({"status": {"replicas": 99}}));
    api.patch("web", &by("t"), &status).await.unwrap();
    assert!(server.get("deployments.apps", "default", "web").unwrap()["status"]["replicas"].is_null());
}

#[tokio::test]
async fn leases_are_compared_and_swapped() {
    use k8s_openapi::api::coordination::v1::Lease;
    let server = ApiServer::start();
    let api: Api<Lease> = Api::namespaced(client(&server, "test"), "default");
    let lease: Lease = serde_json::from_value(json!({"metadata": {"name": "tidegate"}, "spec":
        {"holderIdentity": "a", "renewTime": "2026-01-01T00:00:00.000000Z"}}))
    .unwrap();
    let made = api.create(&PostParams::default(), &lease).await.unwrap();
    let again = api.create(&PostParams::default(), &lease).await.unwrap_err();
    assert_eq!(refused(again), (409, "leases.coordination.k8s.io \"tidegate\" already exists".to_owned()));
    let mut taken = made.clone();
    taken.spec.as_mut().unwrap().holder_identity = Some("b".into());
    api.replace("tidegate", &PostParams::default(), &taken).await.unwrap();
    assert_eq!(refused(api.replace("tidegate", &PostParams::default(), &taken).await.unwrap_err()).0, 409);
    assert_eq!(refused(api.replace("tidegate", &PostParams::default(), &lease).await.unwrap_err()).0, 422);
}

#[tokio::test]
async fn watches_can_be_broken_off() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 1));
    let api = deployments(&client(&server, "test"));
    let mut watch = api.watch(&WatchParams::default(), "0").await.unwrap().boxed();
    assert!(matches!(watch.try_next().await.unwrap(), Some(WatchEvent::Added(_))));
    // From 0, the mark of the end of what stood there comes unasked.
    assert!(matches!(watch.try_next().await.unwrap(), Some(WatchEvent::Bookmark(_))));
    server.end_watches_of("statefulsets", Ending::Breaks);
    server.end_watches_of("deployments", Ending::Breaks);
    assert!(!matches!(watch.try_next().await, Ok(Some(_))));
}
