//! The custom resource definitions: what is committed is what is printed, what files may say an object may say, and
//! what the server refuses is what validation refuses.
//!
//! The server's own validation stands in `crds/walker.rs`, its rules in CEL included; the definitions themselves are
//! accepted by a real one (its estimate of what the rules cost is nothing that could be imitated here).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "crds/walker.rs"]
mod walker;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidegate::cluster::crd::{self, Kind};
use tidegate::cluster::rbac::{self, Names, ROWS, Request, ScaleKind, Scaling, SecretName};
use tidegate::spec::load::{Loaded, SourceText, Terms, load};
use tidegate::spec::manifest;
use tidegate::spec::problem::Problems;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn folder(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(root().join(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// Every object of ours in a file, Lists unpacked; `None` for one that is no YAML.
fn objects(path: &Path) -> Option<Vec<(Kind, Value)>> {
    fn unpack(value: Value, into: &mut Vec<Value>) {
        match value {
            Value::Array(items) => items.into_iter().for_each(|item| unpack(item, into)),
            Value::Object(ref object) if object.get("kind") == Some(&json!("List")) => {
                unpack(object["items"].clone(), into);
            }
            other => into.push(other),
        }
    }
    let text = fs::read_to_string(path).unwrap();
    let documents: Vec<Value> = serde_saphyr::from_multiple(&text).ok()?;
    let mut all = Vec::new();
    documents.into_iter().for_each(|document| unpack(document, &mut all));
    let kind = |object: &Value| Kind::ALL.into_iter().find(|kind| object["kind"] == kind.as_str());
    Some(all.into_iter().filter_map(|object| kind(&object).map(|kind| (kind, object))).collect())
}

/// What the server would say, after its defaults.
fn refusals(kind: Kind, object: &Value) -> Vec<String> {
    let schema = crd::schema_of(kind);
    let mut object = object.clone();
    walker::fill_defaults(&schema, &mut object);
    walker::misfits(&schema, &object, "")
}

fn load_json(objects: &[Value]) -> Result<Loaded, Problems> {
    load(&[SourceText { file: "test.json".to_owned(), text: json!(objects).to_string() }], &Terms::default())
}

#[test]
fn the_committed_definitions_are_those_that_are_printed() {
    for kind in Kind::ALL {
        let path = format!("deploy/crds/{}.yaml", kind.plural());
        let committed = fs::read_to_string(root().join(&path)).unwrap_or_default();
        let name = kind.as_str();
        assert!(committed == crd::yaml(&[kind]).unwrap(), "{path} is old; run: cargo run -- crd {name} > {path}");
    }
}

#[test]
fn schemas_are_structural_bounded_and_explained() {
    fn check(schema: &Value, path: &str) {
        let node = schema.as_object().unwrap();
        for word in ["$ref", "const", "nullable", "oneOf", "anyOf", "allOf", "title"] {
            assert!(!node.contains_key(word), "{path}: {word}");
        }
        let kind = schema["type"].as_str();
        assert!(kind.is_some() || schema["x-kubernetes-preserve-unknown-fields"] == true, "{path} has no type");
        let name = path.rsplit('.').next().unwrap();
        let ours = path.starts_with(".spec.");
        // What is behind `type: string` of Kubernetes' own conditions explains itself.
        assert!(
            schema["description"].is_string() || path.ends_with("[]") || path.starts_with(".status") || path.is_empty(),
            "{path} has no description: {name}"
        );
        if ours && matches!(kind, Some("string") | None) {
            assert!(node.contains_key("maxLength") || node.contains_key("enum"), "{path} has no end");
        }
        if ours && kind == Some("array") {
            assert!(node.contains_key("maxItems"), "{path} has no end");
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            check(property, &format!("{path}.{name}"));
        }
        if let Some(items) = node.get("items") {
            check(items, &format!("{path}[]"));
        }
        if let Some(values) = node.get("additionalProperties") {
            assert!(node.contains_key("maxProperties"), "{path} has no end");
            check(values, &format!("{path}[]"));
        }
    }
    for kind in Kind::ALL {
        check(&crd::schema_of(kind), "");
    }
}

#[test]
fn what_kubectl_shows_is_there() {
    let definition = crd::definition(Kind::QueueAutoscaler);
    assert_eq!(definition["spec"]["names"]["shortNames"], json!(["qas"]));
    assert_eq!(definition["spec"]["names"]["categories"], json!(["tidegate"]));
    let version = &definition["spec"]["versions"][0];
    assert_eq!(version["subresources"], json!({ "status": {} }), "a status, and no /scale");
    let mut columns = Vec::new();
    for column in version["additionalPrinterColumns"].as_array().unwrap() {
        let path = column["jsonPath"].as_str().unwrap();
        if column.get("priority").is_none() {
            columns.push(column["name"].as_str().unwrap().to_owned());
        }
        // Every column shows a field that exists.
        let mut schema = &version["schema"]["openAPIV3Schema"];
        for step in path.trim_start_matches('.').split('.').filter(|_| !path.starts_with(".metadata")) {
            let name = step.split('[').next().unwrap();
            if name.starts_with('@') || name.starts_with("type==") {
                continue;
            }
            schema = schema["properties"].get(name).unwrap_or_else(|| panic!("{path}: no {name}"));
            if step.contains('[') {
                schema = &schema["items"];
            }
        }
    }
    let wanted = ["Target", "Min", "Max", "Current", "Desired", "Backlog", "Active", "Ready", "Reason", "Age"];
    assert_eq!(columns, wanted);
}

/// What a custom resource may not say although a file may: (file, what is refused).
const ONLY_IN_FILES: [(&str, &str); 15] = [
    ("02-everything", ".spec.redis.passwordFrom.env"),
    ("02-everything", ".spec.redis.passwordFrom.file"),
    ("02-everything", ".spec.redis.passwordFrom.file"),
    ("02-everything", ".spec.redis.tls.caFile"),
    ("02-everything", ".spec.redis.tls.caFile"),
    ("02-everything", ".spec.redis.tls.certFile"),
    ("02-everything", ".spec.redis.tls.keyFile"),
    ("02-everything", ".spec.redis.usernameFrom.file"),
    ("04-worth-a-word", ".spec.redis.password"),
    ("05-topologies", ".spec.redis.passwordFrom.file"),
    ("05-topologies", ".spec.redis.sentinel.tls.caFile"),
    ("05-topologies", ".spec.redis.unixSocket"),
    ("08-lag", ".spec.prometheus.bearerTokenFrom.file"),
    ("08-lag", ".spec.prometheus.passwordFrom.env"),
    ("08-lag", ".spec.prometheus.tls.caFile"),
];

#[test]
fn good_manifests_fit_but_for_what_only_files_may_say() {
    let mut refused = Vec::new();
    for path in folder("tests/manifests/good") {
        for (kind, object) in objects(&path).unwrap() {
            for refusal in refusals(kind, &object) {
                let at = refusal.split(": ").next().unwrap().to_owned();
                assert!(refusal.contains("a custom resource "), "{}: {refusal}", path.display());
                refused.push((stem(&path), at));
            }
        }
    }
    refused.sort();
    assert_eq!(refused, ONLY_IN_FILES.map(|(file, at)| (file.to_owned(), at.to_owned())));
}

#[test]
fn an_object_reads_back_as_it_was_stored() {
    for path in folder("tests/manifests/good") {
        for (kind, mut object) in objects(&path).unwrap() {
            object["metadata"].as_object_mut().unwrap().remove("labels");
            walker::fill_defaults(&crd::schema_of(kind), &mut object);
            let read = match kind {
                Kind::QueueAutoscaler => serde_json::from_value(object.clone())
                    .map(|read: manifest::QueueAutoscaler| serde_json::to_value(read).unwrap()),
                Kind::Connection => serde_json::from_value(object.clone())
                    .map(|read: manifest::Connection| serde_json::to_value(read).unwrap()),
                Kind::ClusterConnection => serde_json::from_value(object.clone())
                    .map(|read: manifest::ClusterConnection| serde_json::to_value(read).unwrap()),
            };
            let mut read = read.unwrap();
            if object.pointer("/spec/redis/password").is_some() {
                object["spec"]["redis"]["password"] = json!("[redacted]");
            }
            // A quantity may be written as a text and come back as the number that it is.
            for trigger in object.pointer_mut("/spec/triggers").and_then(Value::as_array_mut).into_iter().flatten() {
                if trigger["activationThreshold"] == "5" {
                    trigger["activationThreshold"] = json!(5);
                }
            }
            read["metadata"].as_object_mut().unwrap().retain(|_, value| !value.is_null());
            assert_eq!(read["spec"], object["spec"], "{}", path.display());
        }
    }
}

#[test]
fn a_default_is_what_validation_would_have_filled_in() {
    let connection = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "Connection", "metadata": { "name": "redis" },
        "spec": { "redis": { "host": "redis", "tls": { "caFile": "/ca.crt" } } },
    });
    let memory = |name: &str, spec: Value| {
        let trigger = json!([{ "memory": { "queue": "jobs" }, "policy": { "backlogPerReplica": { "target": 1 } } }]);
        let mut spec = spec;
        spec["triggers"] = trigger;
        spec["scaleTargetRef"] = json!({ "name": name });
        json!({
            "apiVersion": "tidegate.dev/v1alpha1", "kind": "QueueAutoscaler", "metadata": { "name": name }, "spec": spec,
        })
    };
    let rate = json!([{ "type": "Pods", "value": 1, "periodSeconds": 60 }]);
    let written = [
        (Kind::Connection, connection),
        (Kind::QueueAutoscaler, memory("plain", json!({}))),
        (
            Kind::QueueAutoscaler,
            memory("full", json!({ "behavior": { "scaleUp": { "policies": rate }, "scaleDown": {} }, "fallback": {} })),
        ),
    ];
    let mut filled = written.clone();
    for (kind, object) in &mut filled {
        walker::fill_defaults(&crd::schema_of(*kind), object);
    }
    assert_ne!(written, filled, "there are defaults");
    let [written, filled] = [written, filled].map(|objects| {
        let objects: Vec<Value> = objects.into_iter().map(|(_, object)| object).collect();
        load_json(&objects).unwrap_or_else(|problems| panic!("{problems}"))
    });
    assert_eq!(written.autoscalers, filled.autoscalers);
    assert_eq!(written.grants, filled.grants);
}

/// Broken manifests of which the server takes every object: another object, the namespace, an annotation or the text
/// itself is what is wrong with them, and only tidegate says so (in the status of the object, where it is one).
const ONLY_VALIDATION_KNOWS: [&str; 7] = [
    // The connection is not there, not allowed, or of another kind.
    "18-connection-of-another-namespace",
    // Names: the cluster has each but once.
    "19-duplicate-names",
    "20-one-workload-twice",
    // Kinds, versions and names are none of the schema's business.
    "30-kinds-and-versions",
    "31-names",
    "32-annotations",
    // A quantity has a sign in the schema, and no size.
    "59-shares",
];

#[test]
fn the_server_refuses_what_validation_refuses() {
    let mut accepted = Vec::new();
    let mut unread = Vec::new();
    for path in folder("tests/manifests/broken") {
        match objects(&path) {
            None => unread.push(stem(&path)),
            Some(objects) => {
                if objects.iter().all(|(kind, object)| refusals(*kind, object).is_empty()) {
                    accepted.push(stem(&path));
                }
            }
        }
    }
    let not_yaml = ["21-syntax", "22-tab", "34-written-twice", "39-everything-at-once", "40-alias-bomb"];
    assert_eq!(unread, not_yaml, "the rest is read");
    assert_eq!(accepted, ONLY_VALIDATION_KNOWS);
}

/// A whole autoscaler with `spec` merged into it.
fn autoscaler(spec: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "QueueAutoscaler", "metadata": { "name": "worker" },
        "spec": {
            "scaleTargetRef": { "name": "worker" },
            "triggers": [{ "memory": { "queue": "jobs" }, "policy": { "backlogPerReplica": { "target": 1 } } }],
        },
    });
    for (name, value) in spec.as_object().unwrap() {
        object["spec"][name] = value.clone();
    }
    object
}

#[test]
fn numbers_and_texts_that_files_take_are_taken() {
    let target = |target: Value| {
        autoscaler(&json!({ "triggers": [
            { "memory": { "queue": "jobs" }, "policy": { "backlogPerReplica": { "target": target } } }
        ] }))
    };
    for good in [
        json!(5),
        json!("5"),
        json!(0.1),
        json!("0.1"),
        json!("500m"),
        json!("1.5k"),
        json!("1e3"),
        json!("2Gi"),
        json!(".5"),
    ] {
        let object = target(good.clone());
        assert_eq!(refusals(Kind::QueueAutoscaler, &object), [""; 0], "{good}");
        assert!(load_json(&[object]).is_ok(), "{good}");
    }
    for bad in [
        json!(0),
        json!("0"),
        json!("0.00"),
        json!("-1"),
        json!(-0.5),
        json!("ten"),
        json!("1.5q"),
        json!(true),
        json!({}),
        json!([]),
        json!({ "a": 1 }),
        json!(["1"]),
    ] {
        let object = target(bad.clone());
        assert!(!refusals(Kind::QueueAutoscaler, &object).is_empty(), "{bad}");
        assert!(load_json(&[object]).is_err(), "{bad}");
    }
    for (good, text) in [
        (true, "250ms"),
        (true, "1.5s"),
        (true, "1m30s"),
        (false, "30"),
        (false, "10ms"),
        (false, "11m"),
        (false, "soon"),
        (false, ""),
    ] {
        let object = autoscaler(&json!({ "pollingInterval": text }));
        assert_eq!(refusals(Kind::QueueAutoscaler, &object).is_empty(), good, "{text}");
        assert_eq!(load_json(&[object]).is_ok(), good, "{text}");
    }
}

#[test]
fn rules_speak_as_validation_does() {
    let two = json!([{ "memory": { "queue": "a" }, "redisList": { "keys": ["a"] }, "connection": "x",
        "policy": { "fixed": { "replicas": 1 }, "backlogPerReplica": { "target": 1 } } }]);
    for (spec, words) in [
        (json!({ "minReplicas": 101 }), "is above maxReplicas, which is 100 when left out"),
        (json!({ "idleReplicaCount": 0 }), "must be below minReplicas, which is 0 when left out"),
        (json!({ "pollingInterval": "10s", "maxSampleAge": "5s" }), "every reading would be stale before the next"),
        (json!({ "fallback": { "behavior": "static" } }), "needs it; e.g. replicas: 5"),
        (json!({ "fallback": { "replicas": 3 } }), "does not use replicas; take replicas out"),
        (json!({ "scaleTargetRef": { "name": "a", "kind": "Rollout" } }), "is none whose apiVersion is known"),
        (json!({ "triggers": two }), "exactly one source block is needed, found"),
        (json!({ "triggers": two }), "exactly one policy block is needed, found"),
    ] {
        let object = autoscaler(&spec);
        let refusals = refusals(Kind::QueueAutoscaler, &object);
        assert!(refusals.iter().any(|refusal| refusal.contains(words)), "{spec}: {refusals:?}");
        let problems = load_json(&[object]).expect_err("validation refuses it too").to_string();
        assert!(problems.contains(words), "{spec}: {problems}");
    }
}

#[test]
fn what_the_status_writer_writes_fits() {
    use tidegate::spec::manifest::status::{Condition, QueueAutoscalerStatus, TriggerStatus};
    let time = "2026-01-01T00:00:00Z".to_owned();
    let condition = |kind: &str| Condition {
        kind: kind.to_owned(),
        status: "True".to_owned(),
        last_transition_time: time.clone(),
        reason: "AboveTarget".to_owned(),
        ..Condition::default()
    };
    let status = QueueAutoscalerStatus {
        last_scale_time: Some(time.clone()),
        triggers: vec![TriggerStatus { name: "trigger-0".to_owned(), ..TriggerStatus::default() }],
        conditions: ["Ready", "Active", "Fallback", "Paused", "ScalingLimited"].map(condition).to_vec(),
        ..QueueAutoscalerStatus::default()
    };
    let mut object = autoscaler(&json!({}));
    object["status"] = serde_json::to_value(&status).unwrap();
    assert_eq!(refusals(Kind::QueueAutoscaler, &object), [""; 0]);
    object["status"]["conditions"][1] = object["status"]["conditions"][0].clone();
    assert_eq!(refusals(Kind::QueueAutoscaler, &object).len(), 1, "each type once");
}

// === permissions ===

#[test]
fn the_committed_permissions_are_those_that_are_printed() {
    let with = |scaling| Request { scaling, ..Request::default() };
    let own = Request { namespaces: vec![rbac::OWN_NAMESPACE.to_owned()], ..Request::default() };
    let variants = [
        ("deploy/tidegate/rbac.yaml", " --scaling without", with(Scaling::Without)),
        ("deploy/components/standalone/rbac.yaml", " --scaling only", with(Scaling::Only)),
        ("deploy/overlays/namespaced/rbac.yaml", " --namespace tidegate", own),
    ];
    for (path, flags, request) in variants {
        let committed = fs::read_to_string(root().join(path)).unwrap_or_default();
        assert!(committed == rbac::yaml(&request), "{path} is old; run: cargo run -- crd --rbac{flags} > {path}");
    }
}

#[test]
fn without_scaling_nothing_may_change_a_workload_and_only_scaling_is_the_rest() {
    let granted = |scaling| {
        rbac::grants(&Request {
            scaling,
            scale_kinds: vec![ScaleKind { group: "argoproj.io".to_owned(), resource: "rollouts".to_owned() }],
            ..Request::default()
        })
    };
    let calls = |grants: &[rbac::Grant]| -> BTreeSet<String> {
        let each = |grant: &rbac::Grant| {
            let verbs = grant.verbs.clone();
            let of = move |resource: &String| verbs.iter().map(|verb| format!("{verb} {resource}")).collect::<Vec<_>>();
            grant.resources.iter().flat_map(of).collect::<Vec<_>>()
        };
        grants.iter().flat_map(each).collect()
    };
    let (all, without, only) =
        (calls(&granted(Scaling::With)), calls(&granted(Scaling::Without)), calls(&granted(Scaling::Only)));
    let writes = |call: &&String| !["get ", "list ", "watch "].iter().any(|verb| call.starts_with(verb));
    let written: Vec<&str> = without.iter().filter(writes).map(String::as_str).collect();
    assert_eq!(
        written,
        [
            "create configmaps",
            "create events",
            "create leases",
            "patch queueautoscalers/status",
            "update configmaps",
            "update leases"
        ]
    );
    assert!(without.contains("watch rollouts"), "they are still looked at");
    assert!(only.contains("patch rollouts/scale") && only.contains("patch deployments/scale"));
    assert_eq!(&without | &only, all);
    assert!(without.is_disjoint(&only));
}

#[test]
fn what_is_printed_grants_what_the_rows_say_and_nothing_more() {
    let request = Request {
        namespaces: vec!["shop".to_owned(), "123".to_owned()],
        own_namespace: "no".to_owned(),
        scale_kinds: vec![ScaleKind { group: "argoproj.io".to_owned(), resource: "rollouts".to_owned() }],
        secrets: vec![
            SecretName { namespace: None, name: "redis".to_owned() },
            SecretName { namespace: Some("pulse".to_owned()), name: "shared".to_owned() },
        ],
        ..Request::default()
    };
    for request in [Request::default(), request] {
        // As (namespace, group, resource, verb, name).
        let mut granted = Vec::new();
        for grant in rbac::grants(&request) {
            assert!(!grant.why.is_empty() && !grant.part.is_empty(), "{grant:?}");
            for (resource, verb) in grant.resources.iter().flat_map(|r| grant.verbs.iter().map(move |v| (r, v))) {
                let names = if grant.names.is_empty() { vec![None] } else { grant.names.iter().map(Some).collect() };
                for name in names {
                    let call = (&grant.namespace, &grant.group, resource, verb, name);
                    granted.push(format!("{call:?}"));
                }
            }
        }
        let mut printed = Vec::new();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&rbac::yaml(&request)).unwrap();
        for role in documents.iter().filter(|document| document["rules"].is_array()) {
            let texts = |value: &Value| -> Vec<String> {
                value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
            };
            let namespace = role["metadata"]["namespace"].as_str().map(str::to_owned);
            let bound = documents
                .iter()
                .find(|other| other["roleRef"]["kind"] == role["kind"] && other["metadata"] == role["metadata"]);
            assert_eq!(bound.unwrap()["subjects"][0]["namespace"], request.own_namespace);
            for rule in role["rules"].as_array().unwrap() {
                let names = texts(&rule["resourceNames"]);
                let names = if names.is_empty() { vec![None] } else { names.iter().map(Some).collect() };
                for group in texts(&rule["apiGroups"]) {
                    for (resource, verb) in texts(&rule["resources"])
                        .iter()
                        .flat_map(|r| texts(&rule["verbs"]).into_iter().map(move |v| (r, v)))
                    {
                        for name in &names {
                            let call = (&namespace, &group, resource, verb.as_str(), *name);
                            printed.push(format!("{call:?}"));
                        }
                    }
                }
            }
        }
        granted.sort();
        printed.sort();
        assert_eq!(granted, printed);
        assert!(!granted.iter().any(|call| call.contains('*')), "no wildcard");
        let anybodys = granted.iter().any(|call| call.contains("secrets") && call.contains("None)"));
        assert_eq!(anybodys, request.secrets.is_empty(), "Secrets by name, where names are known");
    }
}

#[test]
fn a_call_is_allowed_where_its_row_is_granted_only() {
    let request = Request { namespaces: vec!["shop".to_owned()], ..Request::default() };
    let grants = rbac::grants(&request);
    let allowed = |namespace: Option<&str>, group: &str, resource: &str, verb: &str, name: Option<&str>| {
        grants.iter().any(|grant| grant.allows(namespace, group, resource, verb, name))
    };
    assert!(allowed(Some("shop"), "apps", "deployments", "watch", None));
    assert!(allowed(Some("shop"), "apps", "deployments/scale", "patch", Some("worker")));
    assert!(!allowed(Some("shop"), "apps", "deployments", "patch", Some("worker")), "only its scale");
    assert!(!allowed(None, "apps", "deployments", "watch", None), "only in the namespace");
    assert!(!allowed(Some("billing"), "apps", "deployments/scale", "get", Some("worker")));
    assert!(allowed(Some("tidegate"), "coordination.k8s.io", "leases", "update", Some("tidegate")));
    assert!(!allowed(Some("tidegate"), "coordination.k8s.io", "leases", "update", Some("other")));
    assert!(!allowed(Some("tidegate"), "", "secrets", "list", None), "not even in its own namespace");
    for row in &ROWS {
        let named = matches!(row.names, Names::Lease | Names::Checkpoints);
        assert!(!(named && row.verbs.contains(&"create")), "nobody can be allowed to create by name: {row:?}");
    }
}
