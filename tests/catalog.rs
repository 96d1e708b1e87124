//! Custom resources to specs, without any server: what one change costs, what stays in force, who is refused.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "a test"
)]

use std::alloc::System;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidegate::model::AutoscalerId;
use tidegate::spec::catalog::{Base, Catalog, Kind, Settled};
use tidegate::spec::grants::Grants;
use tidegate::spec::limits::Limits;
use tidegate::spec::load::{SourceText, Terms, load};
use tidegate::spec::problem::Problem;
use tidegate::spec::{AutoscalerSpec, Origin, SecretRef, Server};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn object(kind: Kind, namespace: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "tidegate.dev/v1alpha1",
        "kind": kind.as_str(),
        "metadata": {
            "namespace": namespace, "name": name, "uid": format!("uid-{namespace}-{name}"), "resourceVersion": "1",
            "generation": 1, "creationTimestamp": "2026-11-21T08:30:00Z",
            "managedFields": [{ "manager": "kubectl", "fieldsV1": { "f:spec": {} } }],
        },
        "spec": spec,
    })
}

fn connection(namespace: &str, name: &str, address: &str) -> Value {
    object(Kind::Connection, namespace, name, json!({ "redis": { "address": address } }))
}

fn shared(name: &str, allowed: &[&str], address: &str) -> Value {
    let spec = json!({ "allowedNamespaces": allowed, "redis": { "address": address } });
    let mut object = object(Kind::ClusterConnection, "", name, spec);
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    object
}

fn autoscaler(namespace: &str, name: &str, connection: &str, most: i32) -> Value {
    object(
        Kind::QueueAutoscaler,
        namespace,
        name,
        json!({
            "scaleTargetRef": { "name": name },
            "maxReplicas": most,
            "triggers": [{
                "connection": connection,
                "redisList": { "keys": [format!("queue:{name}")] },
                "policy": { "backlogPerReplica": { "target": 5 } },
            }],
        }),
    )
}

/// A catalog, and what a runtime that hears its changes would have in force.
struct Rig {
    catalog: Catalog,
    runtime: BTreeMap<AutoscalerId, Arc<AutoscalerSpec>>,
    grants: Grants,
}

impl Rig {
    fn new() -> Self {
        Rig::with(&Limits::default())
    }

    fn with(limits: &Limits) -> Self {
        Rig { catalog: Catalog::new(limits), runtime: BTreeMap::new(), grants: Grants::default() }
    }

    fn apply(&mut self, kind: Kind, object: &Value) -> &mut Self {
        self.catalog.apply(kind, object).unwrap();
        self
    }

    fn connection(&mut self, object: &Value) -> &mut Self {
        self.apply(Kind::Connection, object)
    }

    fn autoscaler(&mut self, object: &Value) -> &mut Self {
        self.apply(Kind::QueueAutoscaler, object)
    }

    fn settle(&mut self) -> Settled {
        let settled = self.catalog.settle();
        for id in &settled.specs.gone {
            assert!(self.runtime.remove(id).is_some(), "{id} was never in force");
        }
        for spec in &settled.specs.set {
            assert_eq!(spec.origin, Origin::Resource);
            self.runtime.insert(spec.id.clone(), Arc::clone(spec));
        }
        if let Some(grants) = &settled.grants {
            self.grants = grants.clone();
        }
        settled
    }

    fn problems(&self, id: &str) -> Vec<String> {
        let id = id_of(id);
        let resources = self.catalog.resources();
        resources.get(&id).unwrap().problems.iter().map(Problem::to_string).collect()
    }

    fn spec(&self, id: &str) -> Option<&AutoscalerSpec> {
        self.runtime.get(&id_of(id)).map(|spec| &**spec)
    }
}

fn id_of(id: &str) -> AutoscalerId {
    let (namespace, name) = id.split_once('/').unwrap();
    AutoscalerId::new(namespace, name)
}

fn ids(settled: &Settled) -> (Vec<String>, Vec<String>) {
    let set = settled.specs.set.iter().map(|spec| spec.id.to_string()).collect();
    (set, settled.specs.gone.iter().map(ToString::to_string).collect())
}

fn address(spec: &AutoscalerSpec) -> &str {
    match &spec.triggers[0].connection.server {
        Server::Redis(redis) => &redis.address,
        _ => panic!("no address"),
    }
}

#[test]
fn an_object_becomes_a_spec_and_its_deletion_ends_it() {
    let mut rig = Rig::new();
    rig.autoscaler(&autoscaler("shop", "orders", "main", 10)).connection(&connection("shop", "main", "redis:6379"));
    let settled = rig.settle();
    assert_eq!(ids(&settled), (vec!["shop/orders".to_owned()], vec![]));
    assert!(settled.grants.is_some() && settled.resources && settled.findings.is_empty());
    assert_eq!(address(rig.spec("shop/orders").unwrap()), "redis.shop.svc:6379", "a Service of its own namespace");
    assert!(rig.grants.find_by_name("shop", "main").is_some());
    assert_eq!(rig.settle(), Settled::default(), "nothing follows from nothing");

    rig.catalog.delete(Kind::QueueAutoscaler, "shop", "orders");
    assert_eq!(ids(&rig.settle()), (vec![], vec!["shop/orders".to_owned()]));
    assert!(rig.catalog.resources().is_empty());
}

#[test]
fn a_write_of_status_changes_the_snapshot_and_nothing_else() {
    let mut rig = Rig::new();
    let mut orders = autoscaler("shop", "orders", "main", 10);
    rig.autoscaler(&orders).connection(&connection("shop", "main", "redis:6379")).settle();
    let before = Arc::clone(&rig.runtime[&id_of("shop/orders")]);
    orders["status"] = json!({ "currentReplicas": 3 });
    orders["metadata"]["resourceVersion"] = json!("2");
    orders["metadata"]["finalizers"] = json!(["tidegate.dev/restore"]);
    let settled = rig.autoscaler(&orders).settle();
    assert!(settled.resources && settled.specs.set.is_empty() && settled.grants.is_none());
    let resource = Arc::clone(&rig.catalog.resources()[&id_of("shop/orders")]);
    assert_eq!(resource.status.as_ref().unwrap().current_replicas, Some(3));
    assert_eq!((&*resource.resource_version, resource.finalizers.len(), resource.created), ("2", 1, 1_795_249_800));
    assert!(Arc::ptr_eq(resource.spec.as_ref().unwrap(), &before));
}

#[test]
fn a_changed_connection_touches_those_who_name_it_and_nobody_else() {
    let mut rig = Rig::new();
    for namespace in ["shop", "mail"] {
        rig.connection(&connection(namespace, "main", "redis:6379"));
        rig.connection(&connection(namespace, "other", "other:6379"));
        rig.autoscaler(&autoscaler(namespace, "by-main", "main", 10));
        rig.autoscaler(&autoscaler(namespace, "by-other", "other", 10));
    }
    rig.apply(Kind::ClusterConnection, &shared("everybodys", &["*"], "redis.shared.svc:6379"));
    rig.autoscaler(&autoscaler("shop", "by-shared", "everybodys", 10));
    rig.autoscaler(&autoscaler("mail", "by-shared", "everybodys", 10));
    assert_eq!(rig.settle().specs.set.len(), 6);

    let settled = rig.connection(&connection("shop", "main", "redis:6380")).settle();
    assert_eq!(ids(&settled).0, ["shop/by-main"]);
    let moved = shared("everybodys", &["*"], "redis.shared.svc:6380");
    let settled = rig.apply(Kind::ClusterConnection, &moved).settle();
    assert_eq!(ids(&settled).0, ["mail/by-shared", "shop/by-shared"]);
}

#[test]
fn the_last_good_state_stays_in_force() {
    let mut rig = Rig::new();
    rig.connection(&connection("shop", "main", "redis:6379"));
    rig.autoscaler(&autoscaler("shop", "orders", "main", 10)).settle();

    // Edited into something that cannot be used.
    let mut broken = autoscaler("shop", "orders", "main", 20);
    broken["spec"]["triggers"][0]["policy"] = json!({});
    let settled = rig.autoscaler(&broken).settle();
    assert!(settled.specs.set.is_empty() && settled.specs.gone.is_empty());
    assert_eq!(rig.spec("shop/orders").unwrap().bounds.max, 10);
    assert_eq!(
        rig.problems("shop/orders"),
        [
            "spec.triggers[0].policy: exactly one policy block is needed, found none; e.g. backlogPerReplica: { target: 10 }"
        ]
    );
    assert!(settled.findings[0].in_force);

    // Its connection moves meanwhile: what stays in force moves along.
    let settled = rig.connection(&connection("shop", "main", "elsewhere:6379")).settle();
    assert_eq!(ids(&settled).0, ["shop/orders"]);
    let spec = rig.spec("shop/orders").unwrap();
    assert_eq!((spec.bounds.max, address(spec)), (10, "elsewhere.shop.svc:6379"));

    // And the connection is broken as well.
    let settled = rig.connection(&connection("shop", "main", "redis://elsewhere")).settle();
    assert!(settled.specs.set.is_empty() && rig.grants.find_by_name("shop", "main").is_some());

    // Both are corrected.
    rig.connection(&connection("shop", "main", "redis:6379")).autoscaler(&autoscaler("shop", "orders", "main", 30));
    let settled = rig.settle();
    assert_eq!(rig.spec("shop/orders").unwrap().bounds.max, 30);
    assert!(
        rig.problems("shop/orders").is_empty() && settled.findings.iter().all(|finding| finding.problems.is_empty())
    );
}

#[test]
fn what_is_broken_from_the_beginning_has_no_spec_and_says_so() {
    let mut rig = Rig::new();
    rig.connection(&connection("shop", "main", "redis://secret@redis:6379"));
    let settled = rig.autoscaler(&autoscaler("shop", "orders", "main", 10)).settle();
    assert!(settled.specs.set.is_empty());
    let [problem] = &rig.problems("shop/orders")[..] else { panic!("{:?}", rig.problems("shop/orders")) };
    assert!(
        problem.starts_with("spec.triggers[0].connection: Connection `main` cannot be used: spec.redis.address:"),
        "{problem}"
    );
    assert!(!format!("{settled:?}").contains("secret@"));
    assert_eq!(rig.catalog.troubled(), (1, 1));
    rig.connection(&connection("shop", "main", "redis:6379")).settle();
    assert!(rig.spec("shop/orders").is_some());
    assert_eq!(rig.catalog.troubled(), (0, 0));
}

#[test]
fn a_deleted_connection_is_missed_and_nobody_stops_because_of_it() {
    let mut rig = Rig::new();
    let secret = json!({ "redis": { "address": "redis:6379", "passwordFrom": { "secretKeyRef": { "name": "redis", "key": "password" } } } });
    rig.connection(&object(Kind::Connection, "shop", "main", secret));
    let settled = rig.autoscaler(&autoscaler("shop", "orders", "main", 10)).settle();
    let wanted = BTreeMap::from([(("shop".to_owned(), "redis".to_owned()), BTreeSet::from(["password".to_owned()]))]);
    assert_eq!(settled.secrets.as_ref(), Some(&wanted));

    rig.catalog.delete(Kind::Connection, "shop", "main");
    let settled = rig.settle();
    assert!(settled.specs.gone.is_empty() && rig.grants.find_by_name("shop", "main").is_none());
    assert!(rig.problems("shop/orders")[0].contains("no Connection `main`"));
    assert_eq!(settled.secrets, None, "whoever goes on needs the password still");
    rig.catalog.delete(Kind::QueueAutoscaler, "shop", "orders");
    assert_eq!(rig.settle().secrets, Some(BTreeMap::new()));
}

#[test]
fn a_cluster_connection_that_no_longer_allows_a_namespace_ends_what_used_it() {
    let mut rig = Rig::new();
    rig.apply(Kind::ClusterConnection, &shared("everybodys", &["shop", "mail"], "redis.shared.svc:6379"));
    rig.autoscaler(&autoscaler("shop", "orders", "everybodys", 10));
    rig.autoscaler(&autoscaler("mail", "letters", "everybodys", 10)).settle();
    rig.apply(Kind::ClusterConnection, &shared("everybodys", &["mail"], "redis.shared.svc:6379"));
    assert_eq!(ids(&rig.settle()), (vec![], vec!["shop/orders".to_owned()]));
    assert!(rig.problems("shop/orders")[0].contains("does not allow namespace `shop`"));
    assert!(rig.spec("mail/letters").is_some());
}

#[test]
fn nothing_of_tidegates_own_is_reached_through_a_custom_resource() {
    for (redis, path) in [
        (json!({ "passwordFrom": { "env": "REDIS_PASSWORD" } }), "spec.redis.passwordFrom.env"),
        (json!({ "passwordFrom": { "file": "/run/secrets/redis" } }), "spec.redis.passwordFrom.file"),
        (json!({ "usernameFrom": { "env": "REDIS_USERNAME" } }), "spec.redis.usernameFrom.env"),
        (json!({ "usernameFrom": { "file": "/run/secrets/user" } }), "spec.redis.usernameFrom.file"),
        (json!({ "password": "planted" }), "spec.redis.password"),
        (json!({ "tls": { "caFile": "/etc/passwd" } }), "spec.redis.tls.caFile"),
        (json!({ "tls": {} }), "spec.redis.tls.caFrom"),
        (
            json!({ "tls": { "caFrom": { "secretKeyRef": { "name": "tls", "key": "ca.crt" } }, "certFile": "/a", "keyFile": "/b" } }),
            "spec.redis.tls.certFile",
        ),
        (
            json!({ "passwordFrom": { "secretKeyRef": { "namespace": "kube-system", "name": "a", "key": "b" } } }),
            "spec.redis.passwordFrom.secretKeyRef.namespace",
        ),
    ] {
        let mut rig = Rig::new();
        let mut spec = json!({ "redis": redis });
        spec["redis"]["address"] = json!("redis:6379");
        let settled = rig.connection(&object(Kind::Connection, "shop", "main", spec)).settle();
        let problems: Vec<String> = settled.findings[0].problems.iter().map(ToString::to_string).collect();
        assert!(problems.iter().any(|problem| problem.starts_with(path)), "{path} in {problems:?}");
        assert!(!problems.concat().contains("planted") && !problems.concat().contains("kube-system"), "{problems:?}");
        assert!(rig.grants.find_by_name("shop", "main").is_none());
    }

    let mut rig = Rig::new();
    rig.connection(&object(
        Kind::Connection,
        "shop",
        "main",
        json!({ "redis": {
        "host": "redis",
        "usernameFrom": { "secretKeyRef": { "name": "redis", "key": "username" } },
        "passwordFrom": { "secretKeyRef": { "name": "redis", "key": "password" } },
        "tls": { "caFrom": { "secretKeyRef": { "name": "tls", "key": "ca.crt" } } },
    } }),
    ));
    let settled = rig.settle();
    assert!(settled.findings.is_empty(), "{:?}", settled.findings);
    assert_eq!(settled.secrets.unwrap().len(), 2);
    let found = rig.grants.find_by_name("shop", "main").unwrap();
    let Server::Redis(redis) = &found.server else { panic!() };
    assert_eq!(redis.address, "redis.shop.svc:6379");
    assert!(matches!(&redis.password, Some(SecretRef::Kubernetes(key)) if key.namespace == "shop"));
    let settled = rig.apply(Kind::ClusterConnection, &shared("bare", &["*"], "redis:6379")).settle();
    assert!(settled.findings[0].warnings[0].message.contains("a host without a dot"));
}

#[test]
fn the_fence_holds_at_this_door_for_the_address_that_is_connected_to() {
    let mut rig = Rig::new();
    let fence = ["*.shop.svc:6379".to_owned()];
    rig.catalog.set_base(Base { grants: Grants::new(&[]).fenced(Some(&fence)), ..Base::default() });
    rig.connection(&connection("shop", "inside", "redis:6379"));
    rig.connection(&connection("mail", "outside", "redis:6379"));
    let settled = rig.settle();
    let [finding] = &settled.findings[..] else { panic!("{:?}", settled.findings) };
    assert_eq!(finding.name, "mail/outside");
    assert!(finding.problems[0].message.contains("redis.mail.svc:6379"), "{:?}", finding.problems);
    assert!(rig.grants.find_by_name("shop", "inside").is_some());
}

#[test]
fn what_stands_in_a_file_stands_above() {
    let text = "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: main, namespace: shop }\n\
        spec: { redis: { address: \"file:6379\" } }\n---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\n\
        metadata: { name: orders, namespace: shop }\nspec: { scaleTargetRef: { name: orders }, triggers: [ { connection: \
        main, redisList: { keys: [a] }, policy: { fixed: { replicas: 1 } } } ] }\n";
    let loaded = load(&[SourceText { file: "a.yaml".into(), text: text.into() }], &Terms::default()).unwrap();
    let base = Base {
        grants: loaded.grants.clone(),
        autoscalers: loaded.autoscalers.iter().map(|spec| spec.id.clone()).collect(),
    };
    let mut rig = Rig::new();
    rig.connection(&connection("shop", "main", "resource:6379"));
    rig.autoscaler(&autoscaler("shop", "orders", "main", 10)).autoscaler(&autoscaler("shop", "refunds", "main", 10));
    rig.settle();
    assert_eq!(rig.runtime.len(), 2);

    rig.catalog.set_base(base);
    let settled = rig.settle();
    assert_eq!(ids(&settled), (vec!["shop/refunds".to_owned()], vec!["shop/orders".to_owned()]));
    assert_eq!(address(rig.spec("shop/refunds").unwrap()), "file:6379", "as the file means it");
    assert!(rig.problems("shop/orders")[0].contains("stands in a file"));
    assert_eq!(settled.findings.len(), 2);

    rig.catalog.set_base(Base::default());
    let settled = rig.settle();
    assert_eq!(ids(&settled).0, ["shop/orders", "shop/refunds"]);
    assert_eq!(address(rig.spec("shop/refunds").unwrap()), "resource.shop.svc:6379");
}

#[test]
fn a_namespace_has_as_many_as_it_may_and_the_older_ones_stay() {
    let mut rig = Rig::with(&Limits { autoscalers_per_namespace: 2, ..Limits::default() });
    rig.connection(&connection("shop", "main", "redis:6379"));
    for (name, created) in [("c", "2026-01-03T00:00:00Z"), ("a", "2026-01-04T00:00:00Z"), ("b", "2026-01-01T00:00:00Z")]
    {
        let mut object = autoscaler("shop", name, "main", 10);
        object["metadata"]["creationTimestamp"] = json!(created);
        rig.autoscaler(&object);
    }
    assert_eq!(ids(&rig.settle()).0, ["shop/b", "shop/c"]);
    assert!(rig.problems("shop/a")[0].contains("2 QueueAutoscalers are allowed"), "{:?}", rig.problems("shop/a"));
    rig.catalog.delete(Kind::QueueAutoscaler, "shop", "b");
    assert_eq!(ids(&rig.settle()), (vec!["shop/a".to_owned()], vec!["shop/b".to_owned()]));
    assert!(rig.problems("shop/a").is_empty());
}

#[test]
fn an_object_that_is_being_deleted_is_in_force_until_it_is_gone_or_restored() {
    let mut rig = Rig::new();
    rig.connection(&connection("shop", "main", "redis:6379"));
    let mut plain = autoscaler("shop", "plain", "main", 10);
    let mut restored = autoscaler("shop", "restored", "main", 10);
    restored["spec"]["restoreToOriginalReplicaCount"] = json!(true);
    rig.autoscaler(&plain).autoscaler(&restored).settle();
    for object in [&mut plain, &mut restored] {
        object["metadata"]["deletionTimestamp"] = json!("2026-11-21T09:00:00Z");
        rig.autoscaler(object);
    }
    assert_eq!(ids(&rig.settle()), (vec![], vec!["shop/restored".to_owned()]));
    let resources = rig.catalog.resources();
    assert!(resources.values().all(|resource| resource.deleting && resource.spec.is_some()));
}

#[test]
fn a_new_list_says_who_is_gone_and_a_name_that_comes_back_is_another_object() {
    let mut rig = Rig::new();
    for namespace in ["shop", "mail"] {
        rig.connection(&connection(namespace, "main", "redis:6379"));
        rig.autoscaler(&autoscaler(namespace, "a", "main", 10)).autoscaler(&autoscaler(namespace, "b", "main", 10));
    }
    rig.settle();
    let listed = HashSet::from([("shop".to_owned(), "a".to_owned())]);
    rig.catalog.keep_only(Kind::QueueAutoscaler, Some("shop"), &listed);
    rig.catalog.keep_only(Kind::ClusterConnection, None, &HashSet::new());
    assert_eq!(ids(&rig.settle()).1, ["shop/b"]);
    rig.catalog.keep_only(Kind::QueueAutoscaler, None, &listed);
    assert_eq!(ids(&rig.settle()).1, ["mail/a", "mail/b"]);

    let mut other = autoscaler("shop", "a", "nowhere", 10);
    other["metadata"]["uid"] = json!("another");
    rig.autoscaler(&other);
    assert_eq!(
        ids(&rig.settle()),
        (vec![], vec!["shop/a".to_owned()]),
        "what the former said is not its last good state"
    );
}

#[test]
fn what_is_no_object_at_all_is_refused_and_takes_nothing_down() {
    let mut rig = Rig::new();
    for (object, message) in [
        (json!(null), "no name"),
        (json!([1, 2]), "no name"),
        (json!({ "metadata": 7 }), "no name"),
        (json!({ "metadata": { "name": "" } }), "no name"),
        (json!({ "metadata": { "name": "a", "namespace": 3 } }), "no namespace"),
    ] {
        let malformed = rig.catalog.apply(Kind::QueueAutoscaler, &object).unwrap_err();
        assert!(malformed.to_string().contains(message), "{malformed}");
    }
    for spec in
        [json!(null), json!(7), json!([]), json!({ "triggers": { "a": 1 } }), json!({ "triggers": [[], null, 3] })]
    {
        rig.autoscaler(&object(Kind::QueueAutoscaler, "shop", "odd", spec));
        assert!(rig.settle().specs.set.is_empty());
        assert!(!rig.problems("shop/odd").is_empty());
    }
}

#[test]
fn ten_thousand_objects_are_small() {
    let region = Region::new(ALLOCATOR);
    let mut rig = Rig::new();
    for i in 0..10_000 {
        let namespace = format!("team-{}", i % 100);
        rig.connection(&connection(&namespace, "main", "redis:6379"));
        rig.autoscaler(&autoscaler(&namespace, &format!("queue-{i}"), "main", 10));
    }
    assert_eq!(rig.settle().specs.set.len(), 10_000);
    let change = region.change();
    let kept = (change.bytes_allocated - change.bytes_deallocated) / 10_000;
    eprintln!("{kept} bytes an object, the runtime's map of this test included");
    assert!(kept < 4096, "{kept} bytes an object");
}

// === any order of events ===

#[derive(Clone, Debug)]
enum Step {
    Apply(Kind, Value),
    Delete(Kind, &'static str, &'static str),
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let namespace = prop::sample::select(vec!["a", "b"]);
    let name = prop::sample::select(vec!["x", "y", "z"]);
    let server = prop::sample::select(vec!["one:6379", "two:6379", "no address", "[::1]:6379"]);
    let allowed = prop::sample::select(vec![vec!["*"], vec!["a"], vec!["b", "c"], vec![]]);
    let kind = prop::sample::select(Kind::ALL.to_vec());
    let step = prop_oneof![
        4 => (namespace.clone(), name.clone(), name.clone(), -1..3).prop_map(|(namespace, name, connection, most)| {
            Step::Apply(Kind::QueueAutoscaler, autoscaler(namespace, name, connection, most))
        }),
        3 => (namespace.clone(), name.clone(), server.clone())
            .prop_map(|(namespace, name, server)| Step::Apply(Kind::Connection, connection(namespace, name, server))),
        2 => (name.clone(), allowed, server)
            .prop_map(|(name, allowed, server)| Step::Apply(Kind::ClusterConnection, shared(name, &allowed, server))),
        3 => (kind, namespace, name).prop_map(|(kind, namespace, name)| Step::Delete(kind, namespace, name)),
        4 => Just(Step::Settle),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_order_of_events_ends_where_a_fresh_start_would(steps in steps()) {
        let mut rig = Rig::with(&Limits { autoscalers_per_namespace: 2, ..Limits::default() });
        let mut state: BTreeMap<(Kind, String, String), Value> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Apply(kind, object) => {
                    rig.apply(kind, &object);
                    let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                    state.insert((kind, text("namespace"), text("name")), object);
                }
                Step::Delete(kind, namespace, name) => {
                    rig.catalog.delete(kind, namespace, name);
                    let namespace = if kind == Kind::ClusterConnection { "" } else { namespace };
                    state.remove(&(kind, namespace.to_owned(), name.to_owned()));
                }
                Step::Settle => drop(rig.settle()),
            }
        }
        rig.settle();
        let mut fresh = Rig::with(&Limits { autoscalers_per_namespace: 2, ..Limits::default() });
        for ((kind, ..), object) in &state {
            fresh.apply(*kind, object);
        }
        fresh.settle();

        let (lived, anew) = (rig.catalog.resources(), fresh.catalog.resources());
        prop_assert_eq!(lived.keys().collect::<Vec<_>>(), anew.keys().collect::<Vec<_>>());
        for (id, resource) in &lived {
            // What the runtime was told is what stands here.
            prop_assert_eq!(rig.runtime.get(id), resource.in_force());
            let anew = &anew[id];
            // A connection may live by its last good state here and have none there.
            if anew.problems.is_empty() && fresh.catalog.troubled().1 == 0 {
                prop_assert_eq!(&resource.spec, &anew.spec);
                prop_assert!(resource.problems.is_empty(), "{:?}", resource.problems);
            }
            if resource.spec.is_none() {
                prop_assert!(!resource.problems.is_empty());
            }
        }
        prop_assert_eq!(rig.runtime.len(), lived.values().filter(|resource| resource.in_force().is_some()).count());
        if fresh.catalog.troubled().1 == 0 {
            prop_assert_eq!(&rig.grants, &fresh.grants);
        }
    }
}

/// The name becomes part of a path at the API server: `web?` is the workload itself and not its /scale, `web/scale?` is
/// /scale under a name that no owner is known by.
#[test]
fn a_workload_is_named_by_nothing_but_a_name() {
    for name in ["web?", "web/scale?", "../../b/deployments/web", "web%3f", "web#", "Web", "web "] {
        let mut rig = Rig::new();
        let mut object = autoscaler("shop", "orders", "main", 5);
        object["spec"]["scaleTargetRef"]["name"] = json!(name);
        rig.connection(&connection("shop", "main", "redis:6379")).autoscaler(&object).settle();
        let problems = rig.problems("shop/orders");
        assert!(problems.iter().any(|problem| problem.contains("spec.scaleTargetRef.name")), "{name}: {problems:?}");
        assert!(rig.runtime.is_empty(), "{name}");
    }
}
