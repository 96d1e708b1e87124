//! What an API server does, in the same words and numbers whether it is the scripted one or a real one: these tests are
//! what lets the others trust the scripted one. Against a real one they run where the environment offers it.

use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DynamicObject, ListParams, WatchEvent, WatchParams};
use kube::discovery::{ApiCapabilities, Discovery, Scope};
use serde_json::{Value, json};

use crate::support::cluster::{APPLY, Answer, Cluster, JSON, MERGE, deployment, rollouts, workload};

fn ask(cluster: &Cluster, method: &str, path: &str, body: &Value) -> Answer {
    let content_type = if method == "PATCH" { MERGE } else { JSON };
    cluster.request(method, path, content_type, body)
}

/// Code, reason and message.
fn words(answer: &Answer) -> (u16, &str, &str) {
    let text = |name: &str| answer.json[name].as_str().unwrap_or_default();
    (answer.code, text("reason"), if answer.json.is_null() { &answer.text } else { text("message") })
}

/// Who owns `spec.replicas`: manager, operation, subresource.
fn owner(object: &Value) -> Option<String> {
    let entries = object["metadata"]["managedFields"].as_array()?;
    let entry = entries.iter().find(|entry| entry["fieldsV1"]["f:spec"].get("f:replicas").is_some())?;
    let text = |name: &str| entry[name].as_str().unwrap_or("-");
    assert_eq!(entry["time"].is_null(), text("subresource") == "scale", "entries of /scale have no time: {entry}");
    Some(format!("{} {} {}", text("manager"), text("operation"), text("subresource")))
}

fn revision(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[test]
fn scale_moves_ownership_refuses_and_conflicts() {
    let cluster = Cluster::start();
    let web = cluster.create(&deployment("web", 2));
    assert_eq!(owner(&web).as_deref(), Some("kubectl-create Update -"));
    let path = cluster.path("deployments.apps", "web");
    let scale =
        |manager: &str, body: Value| ask(&cluster, "PATCH", &format!("{path}/scale?fieldManager={manager}"), &body);
    let to = |replicas: i64| json!({"spec": {"replicas": replicas}});
    let read = || cluster.get("deployments.apps", "web").unwrap();

    let answer = scale("tidegate", json!({"metadata": {"resourceVersion": revision(&web)}, "spec": {"replicas": 3}}));
    assert_eq!((answer.code, answer.json["spec"].clone()), (200, json!({"replicas": 3})));
    assert_eq!(answer.json["status"], json!({"replicas": 0, "selector": "app=web"}));
    let after = read();
    assert_eq!(revision(&answer.json), revision(&after));
    assert_eq!(
        (owner(&after).as_deref(), &after["metadata"]["generation"]),
        (Some("tidegate Update scale"), &json!(2))
    );

    // No change: no revision, no change of hands.
    assert_eq!(scale("someone", to(3)).code, 200);
    assert_eq!(read(), after);

    let modified = "Operation cannot be fulfilled on deployments.apps \"web\": the object has been modified; please apply \
        your changes to the latest version and try again";
    for replicas in [4, 3] {
        let stale = json!({"metadata": {"resourceVersion": revision(&web)}, "spec": {"replicas": replicas}});
        let answer = scale("tidegate", stale);
        assert_eq!(words(&answer), (409, "Conflict", modified));
        assert_eq!(answer.json["details"], json!({"name": "web", "group": "apps", "kind": "deployments"}));
    }
    let stranger = json!({"metadata": {"uid": "00000000-0000-0000-0000-000000000000"}, "spec": {"replicas": 4}});
    let answer = scale("tidegate", stranger);
    assert_eq!((answer.code, &answer.json["details"]["kind"]), (409, &json!("deployments/scale")));
    let negative =
        "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0";
    assert_eq!(words(&scale("tidegate", to(-1))), (422, "Invalid", negative));
    for odd in [json!("three"), json!(3_000_000_000_i64)] {
        let answer = scale("tidegate", json!({"spec": {"replicas": odd}}));
        assert_eq!((answer.code, &answer.json["details"]["causes"][0]["field"]), (422, &json!("patch")));
    }
    let garbage = json!({"metadata": {"resourceVersion": "abc"}, "spec": {"replicas": 4}});
    assert_eq!(words(&scale("tidegate", garbage)), (500, "", "strconv.ParseUint: parsing \"abc\": invalid syntax"));
    assert_eq!(ask(&cluster, "DELETE", &format!("{path}/scale"), &Value::Null).code, 405);
    let media = cluster.request("PATCH", &format!("{path}/scale"), JSON, &to(3));
    assert_eq!(words(&media), (415, "UnsupportedMediaType", "415: Unsupported Media Type"));
    assert_eq!(read(), after, "nothing of it changed anything");

    // Through zero, the owner is lost, and no /scale brings one back.
    for (manager, replicas, owned) in [("tidegate", 0, None), ("tidegate", 3, None), ("other", 4, None)] {
        let answer = scale(manager, to(replicas));
        assert_eq!(answer.json["spec"]["replicas"].as_i64().unwrap_or(0), replicas);
        assert_eq!(answer.json["spec"].get("replicas").is_some(), replicas != 0, "zero is left out");
        assert_eq!(owner(&read()).as_deref(), owned, "{manager} to {replicas}");
    }
    ask(&cluster, "PATCH", &format!("{path}?fieldManager=editor"), &to(0));
    assert_eq!(owner(&read()).as_deref(), Some("editor Update -"));
    scale("tidegate", to(1));
    assert_eq!(owner(&read()).as_deref(), Some("tidegate Update scale"));
    // Server-side apply: refused where somebody else holds another number, unless forced; then held at zero, too.
    let wish = |replicas: i64| json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": replicas}});
    let apply = |replicas: i64, force: &str| {
        cluster.request("PATCH", &format!("{path}/scale?fieldManager=gitops{force}"), APPLY, &wish(replicas))
    };
    assert_eq!((words(&apply(4, "")).0, words(&apply(4, "")).1), (409, "Conflict"));
    for replicas in [4, 0] {
        assert_eq!(apply(replicas, "&force=true").code, 200);
        assert_eq!(owner(&read()).as_deref(), Some("gitops Apply scale"), "applied {replicas}");
    }
}

#[test]
fn what_was_applied_is_fenced_and_keeps_its_owner_at_zero() {
    let cluster = Cluster::start();
    let web = cluster.create(&deployment("web", 2));
    let path = format!("{}/scale", cluster.path("deployments.apps", "web"));
    let read = || cluster.get("deployments.apps", "web").unwrap();
    let apply = |replicas: i64, version: &str| {
        let body = json!({"apiVersion": "autoscaling/v1", "kind": "Scale",
            "metadata": {"name": "web", "resourceVersion": version}, "spec": {"replicas": replicas}});
        cluster.request("PATCH", &format!("{path}?fieldManager=tidegate&force=true"), APPLY, &body)
    };
    assert_eq!(apply(3, &revision(&web)).code, 200);
    assert_eq!(owner(&read()).as_deref(), Some("tidegate Apply scale"));
    // From before: refused, also where nothing would change.
    for replicas in [4, 3] {
        let late = apply(replicas, &revision(&web));
        assert_eq!((late.code, words(&late).1), (409, "Conflict"), "{late:?}");
    }
    // The same again, at the right version, is no change.
    let now = read();
    assert_eq!(apply(3, &revision(&now)).code, 200);
    assert_eq!(read(), now);
    // A person stops it: nobody owns that zero, and applying it anew takes it.
    cluster.scale("deployments.apps", "web", 5);
    assert_eq!(owner(&read()).as_deref(), Some("kubectl Update scale"));
    cluster.scale("deployments.apps", "web", 0);
    assert_eq!(owner(&read()), None);
    let zero = read();
    assert_eq!(apply(0, &revision(&zero)).code, 200);
    assert_eq!(owner(&read()).as_deref(), Some("tidegate Apply scale"));
    assert_ne!(revision(&read()), revision(&zero), "the owner is a change");
    assert_eq!(apply(2, &revision(&read())).code, 200);
    assert_eq!(owner(&read()).as_deref(), Some("tidegate Apply scale"));
    // What is not there is not created by it.
    let none = path.replace("/web/", "/none/");
    let body =
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "none"}, "spec": {"replicas": 1}});
    let answer = cluster.request("PATCH", &format!("{none}?fieldManager=tidegate&force=true"), APPLY, &body);
    assert_eq!(words(&answer), (404, "NotFound", "deployments.apps \"none\" not found"));
}

#[test]
fn pods_follow_the_count_and_are_ready_later() {
    let cluster = Cluster::start();
    for kind in ["Deployment", "StatefulSet"] {
        cluster.create(&workload(kind, "web", 3));
    }
    cluster.run_controllers(Duration::from_millis(200));
    for resource in ["deployments.apps", "statefulsets.apps"] {
        cluster.until(resource, "web", "three ready", |web| web["status"]["readyReplicas"] == 3);
        cluster.scale(resource, "web", 0);
        let none = |web: &Value| web["status"]["readyReplicas"].as_i64().unwrap_or(0) == 0;
        let after = cluster.until(resource, "web", "none left", none);
        assert_eq!(after["spec"]["replicas"], 0);
    }
}

#[test]
fn what_is_not_there_is_said_in_three_ways() {
    let cluster = Cluster::start();
    let none = cluster.path("deployments.apps", "none");
    for (method, path) in [("GET", format!("{none}/scale")), ("PATCH", format!("{none}/scale")), ("DELETE", none)] {
        let body = if method == "PATCH" { json!({"spec": {"replicas": 1}}) } else { Value::Null };
        let answer = ask(&cluster, method, &path, &body);
        assert_eq!(words(&answer), (404, "NotFound", "deployments.apps \"none\" not found"), "{method} {path}");
        assert_eq!(answer.json["details"], json!({"name": "none", "group": "apps", "kind": "deployments"}));
    }
    let gadgets = ask(&cluster, "GET", "/apis/apps/v1/gadgets", &Value::Null);
    assert_eq!(words(&gadgets), (404, "NotFound", "the server could not find the requested resource"));
    for path in ["/apis/nobody.example.com/v1/things", "/apis/nobody.example.com/v1", "/nothing"] {
        assert_eq!(words(&ask(&cluster, "GET", path, &Value::Null)), (404, "", "404 page not found\n"), "{path}");
    }
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}, "spec": {}});
    let answer = ask(&cluster, "POST", "/apis/coordination.k8s.io/v1/namespaces/nowhere/leases", &lease);
    assert_eq!(words(&answer), (404, "NotFound", "namespaces \"nowhere\" not found"));
}

#[test]
fn leases_are_compared_and_swapped() {
    let cluster = Cluster::start();
    let collection = cluster.path("leases.coordination.k8s.io", "");
    let path = format!("{collection}/tidegate");
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "tidegate"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15, "leaseTransitions": 0,
            "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": "2026-01-01T00:00:00.000000Z"}});
    let made = ask(&cluster, "POST", &collection, &lease);
    assert_eq!(made.code, 201);
    let again = ask(&cluster, "POST", &collection, &lease);
    assert_eq!(words(&again), (409, "AlreadyExists", "leases.coordination.k8s.io \"tidegate\" already exists"));
    let mut taken = made.json.clone();
    taken["spec"]["holderIdentity"] = "b".into();
    assert_eq!(ask(&cluster, "PUT", &path, &taken).code, 200);
    let late = ask(&cluster, "PUT", &path, &taken);
    let message = "Operation cannot be fulfilled on leases.coordination.k8s.io \"tidegate\": the object has been modified; \
        please apply your changes to the latest version and try again";
    assert_eq!(words(&late), (409, "Conflict", message));
    let blind = ask(&cluster, "PUT", &path, &lease);
    assert_eq!((blind.code, &blind.json["details"]["causes"][0]["field"]), (422, &json!("metadata.resourceVersion")));
    let mut sloppy = cluster.get("leases.coordination.k8s.io", "tidegate").unwrap();
    sloppy["spec"]["renewTime"] = "2026-01-01T00:00:00Z".into();
    assert_eq!(ask(&cluster, "PUT", &path, &sloppy).code, 400);
    let mut other = lease.clone();
    other["metadata"]["name"] = "other".into();
    assert_eq!(ask(&cluster, "PUT", &format!("{collection}/other"), &other).code, 201, "a PUT creates it");
    let first = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": "1"}});
    assert_eq!(ask(&cluster, "DELETE", &path, &first).code, 409);
    assert!(cluster.delete("leases.coordination.k8s.io", "tidegate"));
    cluster.until_gone("leases.coordination.k8s.io", "tidegate");
}

#[test]
fn custom_resources_have_a_status_a_scale_and_finalizers() {
    let cluster = Cluster::start();
    cluster.install(&rollouts());
    let kind = "rollouts.argoproj.io";
    let made = cluster.create(&json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout",
        "metadata": {"name": "canary", "finalizers": ["tidegate.dev/restore"]},
        "spec": {"replicas": 2}, "status": {"replicas": 99}}));
    assert!(made["status"].is_null(), "a creation sets no status");
    let path = cluster.path(kind, "canary");
    let status = json!({"metadata": {"resourceVersion": revision(&made)}, "spec": {"replicas": 50},
        "status": {"replicas": 2, "selector": "app=canary"}});
    let written = ask(&cluster, "PATCH", &format!("{path}/status?fieldManager=t"), &status);
    assert_eq!((written.code, &written.json["spec"]["replicas"]), (200, &json!(2)), "/status leaves the spec alone");
    assert_eq!(written.json["metadata"]["generation"], 1);
    let stale = ask(&cluster, "PATCH", &format!("{path}/status?fieldManager=t"), &status);
    assert_eq!((stale.code, words(&stale).1), (409, "Conflict"));
    let touched = ask(&cluster, "PATCH", &format!("{path}?fieldManager=t"), &json!({"status": {"replicas": 7}}));
    assert_eq!(revision(&touched.json), revision(&written.json), "the main resource leaves the status alone");

    let scale = ask(&cluster, "GET", &format!("{path}/scale"), &Value::Null).json;
    assert_eq!(
        (&scale["spec"], &scale["status"]),
        (&json!({"replicas": 2}), &json!({"replicas": 2, "selector": "app=canary"}))
    );
    let scaled =
        ask(&cluster, "PATCH", &format!("{path}/scale?fieldManager=tidegate"), &json!({"spec": {"replicas": 6}}));
    assert_eq!(scaled.code, 200);
    let read = || cluster.get(kind, "canary").unwrap();
    assert_eq!(
        (owner(&read()).as_deref(), &read()["metadata"]["generation"]),
        (Some("tidegate Update scale"), &json!(2))
    );
    assert_eq!(ask(&cluster, "PATCH", &format!("{path}/scale"), &json!({"spec": {"replicas": 0}})).code, 200);
    assert_eq!((read()["spec"]["replicas"].as_i64(), owner(&read())), (Some(0), None));

    // Held by its finalizer, and by nothing else.
    assert!(cluster.delete(kind, "canary"));
    assert!(!read()["metadata"]["deletionTimestamp"].is_null());
    let more = json!({"metadata": {"finalizers": ["tidegate.dev/restore", "tidegate.dev/more"]}});
    let answer = ask(&cluster, "PATCH", &path, &more);
    assert_eq!((answer.code, &answer.json["details"]["causes"][0]["field"]), (422, &json!("metadata.finalizers")));
    let held = revision(&read());
    let freed = ask(&cluster, "PATCH", &path, &json!({"metadata": {"resourceVersion": held, "finalizers": null}}));
    assert_eq!((freed.code, revision(&freed.json)), (200, held), "it is answered as it was");
    assert_eq!(ask(&cluster, "PATCH", &path, &json!({"metadata": {"finalizers": null}})).code, 404);
}

#[test]
fn rights_are_refused_in_a_real_servers_words() {
    let cluster = Cluster::start();
    cluster.create(&deployment("web", 1));
    let namespace = cluster.namespace().to_owned();
    let metadata = json!({"name": "tidegate", "namespace": namespace});
    let access = cluster.access(
        "a",
        Some(&[
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": [
            {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["mine"], "verbs": ["list", "watch"]}]}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tidegate"}}),
        ]),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = kube::Client::try_from(access.config().await).unwrap();
        let ask = async |method: &str, path: &str, body: &str| {
            let request = http::Request::builder().method(method).uri(path).header("Content-Type", MERGE);
            let request = request.body(kube::client::Body::from(body.as_bytes().to_vec())).unwrap();
            let answer = client.send(request).await.unwrap();
            let code = answer.status().as_u16();
            let json: Value = serde_json::from_slice(&answer.into_body().collect_bytes().await.unwrap()).unwrap();
            (code, json["message"].as_str().unwrap_or_default().to_owned())
        };
        let web = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web");
        // A role takes a moment to count.
        for _ in 0..100 {
            if ask("PATCH", &format!("{web}/scale"), r#"{"spec":{"replicas":2}}"#).await.0 == 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(
            ask("PATCH", &format!("{web}/scale"), r#"{"spec":{"replicas":3}}"#).await.0,
            200,
            "no get is needed"
        );
        let group = "in API group \"apps\"";
        let message = format!(
            "deployments.apps \"web\" is forbidden: User \"a\" cannot get resource \"deployments/scale\" \
            {group} in the namespace \"{namespace}\""
        );
        assert_eq!(ask("GET", &format!("{web}/scale"), "").await, (403, message));
        let message = format!(
            "deployments.apps is forbidden: User \"a\" cannot list resource \"deployments\" {group} at \
            the cluster scope"
        );
        assert_eq!(ask("GET", "/apis/apps/v1/deployments", "").await, (403, message));
        let secrets = format!("/api/v1/namespaces/{namespace}/secrets");
        for (query, code) in [
            ("?fieldSelector=metadata.name%3Dmine", 200),
            ("?fieldSelector=metadata.name%3Dyours", 403),
            ("", 403),
            ("/mine", 403),
        ] {
            assert_eq!(ask("GET", &format!("{secrets}{query}"), "").await.0, code, "{query}");
        }
    });
}

#[test]
fn discovery_lists_and_watches_serve_kube() {
    let cluster = Cluster::start();
    cluster.install(&rollouts());
    for name in ["one", "two", "three"] {
        cluster.create(&deployment(name, 1));
    }
    let access = cluster.access("tidegate", None);
    let namespace = cluster.namespace().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = kube::Client::try_from(access.config().await).unwrap();
        let gvk = kube::api::GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
        let old = Discovery::new(client.clone()).filter(&["argoproj.io", "apps"]).run().await.unwrap();
        let new = Discovery::new(client.clone()).filter(&["argoproj.io", "apps"]).run_aggregated().await.unwrap();
        let one = kube::discovery::pinned_kind(&client, &gvk).await.unwrap();
        for (resource, capabilities) in [old.resolve_gvk(&gvk).unwrap(), new.resolve_gvk(&gvk).unwrap(), one] {
            let ApiCapabilities { scope, subresources, .. } = capabilities;
            assert_eq!((resource.plural.as_str(), scope), ("rollouts", Scope::Namespaced));
            assert!(subresources.iter().any(|(part, _)| part.plural == "scale"), "{subresources:?}");
        }
        let api: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        let page = api.list_metadata(&ListParams::default().limit(2)).await.unwrap();
        assert_eq!((page.items.len(), page.metadata.remaining_item_count), (2, Some(1)));
        let next = page.metadata.continue_.unwrap();
        let rest = api.list_metadata(&ListParams::default().limit(2).continue_token(&next)).await.unwrap();
        assert_eq!(rest.items.len(), 1);
        let rv = rest.metadata.resource_version.unwrap();
        assert_eq!(rv, page.metadata.resource_version.unwrap(), "pages are of one revision");

        // Labels let objects in and out of a watch.
        let params = WatchParams::default().labels("watched=yes").timeout(20);
        let mut watch = api.watch_metadata(&params, &rv).await.unwrap().boxed();
        let objects: Api<DynamicObject> =
            Api::namespaced_with(client.clone(), &namespace, &kube::api::ApiResource::erase::<Deployment>(&()));
        let label = |value: Value| kube::api::Patch::Merge(json!({"metadata": {"labels": {"watched": value}}}));
        for value in [json!("yes"), Value::Null] {
            objects.patch("two", &Default::default(), &label(value)).await.unwrap();
        }
        let mut seen = Vec::new();
        while seen.len() < 2 {
            match watch.try_next().await.unwrap().expect("the watch goes on") {
                WatchEvent::Added(object) => seen.push(("added", object)),
                WatchEvent::Deleted(object) => seen.push(("deleted", object)),
                WatchEvent::Bookmark(_) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!([seen[0].0, seen[1].0], ["added", "deleted"]);
        let [first, second] = [&seen[0].1.metadata, &seen[1].1.metadata];
        assert_eq!(second.labels, first.labels, "as it last matched");
        assert_ne!(second.resource_version, first.resource_version, "but at the later revision");
    });
}
