//! KEDA's metadata from the outside: maps as people have them in their ScaledObjects, and what becomes of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "keda_metadata/prometheus.rs"]
mod prometheus;

use std::collections::HashMap;
use std::fmt::Write as _;

use tidegate::spec::grants::Grants;
use tidegate::spec::keda_metadata::{Ask, ScaledObject, Serve, TriggerAsk, read};
use tidegate::spec::load::{SourceText, Terms, load};
use tidegate::spec::problem::Problems;
use tidegate::spec::{AutoscalerSpec, Server, Topology, UserRef};

/// What an operator declared: one Redis of the namespace, one shared, one embedded, and two patterns of addresses.
fn grants() -> Grants {
    let text = r#"
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: redis-main, namespace: pulse }
spec: { redis: { address: "redis:6379", username: tidegate, password: planted-secret } }
---
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: embedded, namespace: pulse }
spec: { memory: {} }
---
apiVersion: tidegate.dev/v1alpha1
kind: ClusterConnection
metadata: { name: shared }
spec: { allowedNamespaces: [pulse], redis: { address: "redis.shared.svc:6379", database: 1 } }
---
apiVersion: tidegate.dev/v1alpha1
kind: ClusterConnection
metadata: { name: billing-only }
spec: { allowedNamespaces: [billing], redis: { address: "redis.billing.svc:6379" } }
---
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: cluster, namespace: pulse }
spec: { redis: { cluster: { addresses: ["node-0.pulse.svc:6379", "node-1.pulse.svc:6379"] } } }
---
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: watched, namespace: pulse }
spec:
  redis:
    sentinel: { addresses: ["sentinel:26379"], master: mymaster, username: watcher, password: planted-secret }
    username: tidegate
    password: planted-secret
---
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: orders-db, namespace: pulse }
spec: { postgres: { address: "db:5432", database: orders, username: tidegate, password: planted-secret } }
"#;
    let text = SourceText { file: "grants.yaml".to_owned(), text: text.to_owned() };
    let allow_addresses = vec!["*.allowed.svc:6379".to_owned(), "10.0.0.1:*".to_owned()];
    load(&[text], &Terms { allow_addresses, ..Terms::default() }).unwrap_or_else(|problems| panic!("{problems}")).grants
}

fn ask(pairs: &[(&str, &str)]) -> Result<Ask, Problems> {
    let metadata: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    read(&ScaledObject { namespace: "pulse", name: "worker", metadata: &metadata }, &grants())
}

fn ask_trigger(pairs: &[(&str, &str)]) -> TriggerAsk {
    match ask(pairs) {
        Ok(Ask::Trigger(ask)) => ask,
        other => panic!("{other:?}"),
    }
}

fn registered(pairs: &[(&str, &str)]) -> std::sync::Arc<AutoscalerSpec> {
    ask_trigger(pairs).registration.unwrap_or_else(|problems| panic!("{problems}"))
}

/// One line of what matters, and the problems and warnings below it.
fn describe(pairs: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        let _ = writeln!(out, "  {key}: {value:?}");
    }
    match ask(pairs) {
        Err(problems) => {
            let _ = writeln!(out, "refused:\n{problems}");
        }
        Ok(Ask::Named { id, serve }) => {
            let _ = writeln!(out, "named {id}, serve {serve:?}");
        }
        Ok(Ask::Trigger(ask)) => {
            let _ = writeln!(out, "metric {} target {}", ask.metric_name, ask.target);
            match &ask.registration {
                Ok(spec) => out.push_str(&registration(spec)),
                Err(problems) => {
                    let _ = writeln!(out, "not registered:\n{problems}");
                }
            }
            for warning in &ask.warnings {
                let _ = writeln!(out, "warning: {warning}");
            }
        }
    }
    out
}

fn registration(spec: &AutoscalerSpec) -> String {
    let trigger = &spec.triggers[0];
    let Server::Redis(redis) = &trigger.connection.server else { panic!("no Redis") };
    let reached = match &redis.topology {
        Topology::Single => redis.address.clone(),
        Topology::Cluster { addresses } => format!("cluster {addresses:?}"),
        Topology::Sentinel(sentinel) => format!("{} of {:?}", sentinel.master, sentinel.addresses),
    };
    format!(
        "{} via {}: {} db {} user {:?} tls {:?}, {:?} {:?} active above {}, every {:?}\n",
        spec.id,
        trigger.connection.name,
        reached,
        redis.database,
        redis.username.as_ref().and_then(UserRef::name),
        redis.tls,
        trigger.source,
        trigger.policy,
        trigger.activation_threshold,
        spec.polling_interval,
    )
}

/// The list's name and one server, which most of these need.
const LIST: (&str, &str) = ("listName", "celery");
const HERE: (&str, &str) = ("address", "redis:6379");
const SCALER: (&str, &str) = ("scalerAddress", "tidegate.tidegate:9090");

#[test]
fn maps_of_keda_s_own_redis_trigger_are_understood() {
    let maps: [&[(&str, &str)]; 28] = [
        &[SCALER, HERE, LIST],
        &[SCALER, HERE, LIST, ("listLength", "100"), ("activationListLength", "10"), ("databaseIndex", "2")],
        &[SCALER, ("addresses", "redis:6379, redis-2:6379"), LIST],
        &[SCALER, ("host", "redis"), ("port", "6379"), LIST],
        &[SCALER, ("hosts", "redis,redis-2"), ("ports", "6379,6380"), LIST],
        &[SCALER, ("addressFromEnv", "redis:6379"), LIST],
        &[SCALER, ("hostFromEnv", "redis"), ("portFromEnv", "6379"), LIST],
        &[SCALER, ("host", "redis"), ("hostFromEnv", "elsewhere"), ("port", "6379"), LIST],
        &[SCALER, ("address", "redis.allowed.svc:6379"), ("addressFromEnv", "redis:6379"), LIST],
        &[SCALER, ("address", "   "), ("addressFromEnv", " redis:6379 "), ("listName", " celery ")],
        &[SCALER, HERE, ("host", "redis-2"), ("port", "6379"), LIST],
        &[SCALER, ("address", "redis.pulse.svc.cluster.local:6379"), LIST],
        &[SCALER, ("address", "Redis.pulse.svc:6379"), LIST],
        &[SCALER, ("address", "redis.shared.svc:6379"), ("databaseIndex", "1"), LIST],
        &[SCALER, ("connection", "shared"), LIST],
        &[SCALER, ("connection", "shared"), ("databaseIndex", "0"), HERE, LIST],
        &[SCALER, ("address", "redis.allowed.svc:6379"), ("username", "reader"), ("databaseIndex", "3"), LIST],
        &[SCALER, ("address", "10.0.0.1:7000"), ("enableTLS", "T"), ("unsafeSsl", "1"), LIST],
        &[SCALER, HERE, ("enableTLS", "TRUE"), ("unsafeSsl", "f"), LIST],
        &[SCALER, HERE, ("username", "tidegate"), LIST],
        &[SCALER, HERE, ("usernameFromEnv", "somebody"), ("passwordFromEnv", "planted-secret"), LIST],
        &[SCALER, HERE, ("listName", "a/b.c:d%e(f)g"), ("listLength", "7")],
        &[SCALER, HERE, ("listName", "celery\u{6}\u{16}3")],
        &[SCALER, HERE, ("listName", "queue_1-Übersicht")],
        &[SCALER, HERE, LIST, ("activationListLength", "-1"), ("triggerType", "redis"), ("pollingInterval", "250ms")],
        &[SCALER, HERE, LIST, ("share", "0.1")],
        &[
            SCALER,
            HERE,
            LIST,
            ("pollingInterval", "30"),
            ("metricType", "Value"),
            ("listLenght", "10"),
            ("color", "red"),
        ],
        &[
            SCALER,
            HERE,
            LIST,
            ("password", "planted-secret"),
            ("sentinelPassword", "planted-secret"),
            ("ca", "planted-secret"),
        ],
    ];
    let text: Vec<String> = maps.iter().map(|map| describe(map)).collect();
    insta::assert_snapshot!("understood", text.join("\n"));
    for (map, text) in maps.iter().zip(&text) {
        assert!(!text.contains("refused") && !text.contains("not registered"), "{map:?}");
    }
}

#[test]
fn maps_of_keda_s_other_redis_triggers_are_understood() {
    let nodes = ("addresses", "node-1:6379, node-2.elsewhere:6379");
    let two = ("addresses", "a.allowed.svc:6379,b.allowed.svc:6379");
    let sentinels = ("addresses", "sentinel:26379,sentinel-2:26379");
    let master = ("sentinelMaster", "mymaster");
    let stream = ("stream", "orders");
    let group = ("consumerGroup", "workers");
    let maps: [&[(&str, &str)]; 19] = [
        // redis-cluster: by a declared Connection, by several addresses, by our own key.
        &[SCALER, nodes, LIST],
        &[SCALER, ("address", "node-0.pulse.svc:6379"), LIST],
        &[SCALER, ("hosts", "node-0,node-9"), ("ports", "6379,6379"), LIST, ("databaseIndex", "3")],
        &[SCALER, two, LIST, ("listLength", "10")],
        &[SCALER, two, LIST, ("triggerType", "redis-cluster"), ("databaseIndex", "0")],
        &[SCALER, ("address", "a.allowed.svc:6379"), LIST, ("triggerType", "redis-cluster")],
        &[SCALER, two, LIST, ("triggerType", "redis")],
        &[SCALER, two, LIST, ("enableTLS", "true"), ("unsafeSsl", "true"), ("username", "reader")],
        // redis-sentinel.
        &[SCALER, sentinels, master, LIST],
        &[SCALER, sentinels, master, LIST, ("databaseIndex", "2"), ("sentinelUsername", "me")],
        &[SCALER, two, master, LIST, ("triggerType", "redis-sentinel"), ("enableTLS", "1"), ("unsafeSsl", "1")],
        &[SCALER, HERE, master, LIST, ("triggerType", "redis")],
        // The three redis*-streams.
        &[SCALER, HERE, stream, ("streamLength", "50")],
        &[SCALER, HERE, stream, group, ("pendingEntriesCount", "7"), ("activationLagCount", "2")],
        &[SCALER, HERE, stream, group, ("lagCount", "20"), ("activationLagCount", "3")],
        &[SCALER, HERE, stream, group, ("lagCount", "0"), ("triggerType", "redis-streams")],
        &[SCALER, nodes, stream, group, ("lagCount", "5"), ("triggerType", "redis-cluster-streams")],
        &[SCALER, sentinels, master, ("streamFromEnv", "orders"), group],
        &[SCALER, sentinels, master, stream, group, LIST, ("triggerType", "redis-sentinel-streams")],
    ];
    let text: Vec<String> = maps.iter().map(|map| describe(map)).collect();
    insta::assert_snapshot!("understood_topologies", text.join("\n"));
    for (map, text) in maps.iter().zip(&text) {
        assert!(!text.contains("refused") && !text.contains("not registered"), "{map:?}");
    }
}

#[test]
fn what_cannot_be_registered_still_has_a_name_and_a_target() {
    let maps: [&[(&str, &str)]; 25] = [
        &[SCALER, ("addresses", "a.allowed.svc:6379,b.elsewhere.svc:6379"), LIST],
        &[SCALER, ("addresses", "node-0:6379"), LIST, ("triggerType", "redis")],
        &[SCALER, ("addresses", "sentinel:26379"), LIST, ("sentinelMaster", "another")],
        &[SCALER, ("addresses", "sentinel:26379"), LIST, ("triggerType", "redis-sentinel")],
        &[SCALER, LIST],
        &[SCALER, ("address", "elsewhere:6379"), LIST, ("listLength", "3")],
        &[SCALER, ("address", "redis.billing.svc:6379"), LIST],
        &[SCALER, ("address", "redis"), LIST],
        &[SCALER, ("address", "redis://user:planted-secret@redis:6379"), LIST],
        &[SCALER, ("hosts", "redis,redis-2"), ("port", "6379"), LIST],
        &[SCALER, ("host", "redis"), LIST],
        &[SCALER, HERE, LIST, ("databaseIndex", "-1")],
        &[SCALER, HERE, LIST, ("databaseIndex", "one"), ("activationListLength", "5.5"), ("enableTLS", "yes")],
        &[SCALER, HERE, LIST, ("pollingInterval", "10ms")],
        &[SCALER, HERE, LIST, ("pollingInterval", "often")],
        &[SCALER, HERE, LIST, ("share", "1.5")],
        &[SCALER, ("connection", "redis-mian"), LIST],
        &[SCALER, ("connection", "billing-only"), LIST],
        &[SCALER, ("connection", "embedded"), LIST],
        &[SCALER, ("address", "10.0.0.1:6379"), LIST, ("enableTLS", "true")],
        &[SCALER, HERE, LIST, ("triggerType", "redis-cluster")],
        &[SCALER, HERE, LIST, ("triggerType", "rabbitmq")],
        &[SCALER, HERE, LIST, ("sentinelMaster", "mymaster")],
        &[SCALER, HERE, LIST, ("serve", "replicas")],
        &[SCALER, ("address", "localhost:6379"), LIST],
    ];
    let text: Vec<String> = maps.iter().map(|map| describe(map)).collect();
    insta::assert_snapshot!("not_registered", text.join("\n"));
    for (map, text) in maps.iter().zip(&text) {
        assert!(text.contains("not registered") && text.contains("metric redis-celery target"), "{map:?}");
    }
}

#[test]
fn what_has_no_name_or_target_is_refused_with_all_its_problems() {
    let maps: [&[(&str, &str)]; 17] = [
        &[SCALER],
        &[SCALER, HERE, ("listName", "  ")],
        &[SCALER, HERE, LIST, ("stream", "events")],
        &[SCALER, HERE, LIST, ("triggerType", "redis-streams")],
        &[SCALER, HERE, ("stream", "events"), ("streamLength", "0")],
        &[SCALER, HERE, ("stream", "events"), ("consumerGroup", "g"), ("lagCount", "-1")],
        &[SCALER, HERE, ("stream", "events"), ("consumerGroup", "g"), ("pendingEntriesCount", "few")],
        &[SCALER, HERE, LIST, ("listLength", "5.5")],
        &[SCALER, HERE, LIST, ("listLength", "05")],
        &[SCALER, HERE, LIST, ("listLength", "+5")],
        &[SCALER, HERE, LIST, ("listLength", "0")],
        &[SCALER, HERE, LIST, ("listLengthFromEnv", "many")],
        &[SCALER, HERE, LIST, ("listLength", "9223372036854775807")],
        &[SCALER, ("autoscaler", "Celery High")],
        &[SCALER, ("autoscaler", "celery-high"), ("serve", "everything")],
        &[SCALER, ("autoscaler", "celery-high"), LIST, HERE],
        &[SCALER, ("listLength", "none"), ("databaseIndex", "none"), ("triggerType", "none")],
    ];
    let text: Vec<String> = maps.iter().map(|map| describe(map)).collect();
    insta::assert_snapshot!("refused", text.join("\n"));
    for (map, text) in maps.iter().zip(&text) {
        assert!(text.contains("refused"), "{map:?}");
    }
}

#[test]
fn an_autoscaler_may_be_named() {
    let named = |pairs: &[(&str, &str)]| match ask(pairs) {
        Ok(Ask::Named { id, serve }) => (id.to_string(), serve),
        other => panic!("{other:?}"),
    };
    assert_eq!(named(&[SCALER, ("autoscaler", "celery-high")]), ("pulse/celery-high".to_owned(), Serve::Backlog));
    let pairs = [SCALER, ("autoscaler", " celery-high "), ("serve", "replicas")];
    assert_eq!(named(&pairs), ("pulse/celery-high".to_owned(), Serve::Replicas));
}

#[test]
fn equal_metadata_is_the_same_autoscaler_and_other_metadata_another() {
    let id = |pairs: &[(&str, &str)]| registered(pairs).id.clone();
    let one = id(&[SCALER, HERE, LIST]);
    assert_eq!(one, id(&[LIST, HERE, ("scalerAddress", "elsewhere:1"), ("password", "x")]));
    assert_eq!(one, id(&[LIST, HERE, ("address", " redis:6379 ")]));
    assert_ne!(one, id(&[SCALER, HERE, ("listName", "other")]));
    assert_ne!(one, id(&[SCALER, HERE, LIST, ("listLength", "6")]));
    // Part of a name that outlives releases: it must never change.
    assert_eq!(one.to_string(), "pulse/worker-739ca8a1");
}

#[test]
fn a_credential_is_printed_nowhere() {
    let pairs = [
        HERE,
        LIST,
        ("password", "planted-secret"),
        ("passwordFromEnv", "planted-secret"),
        ("sentinelPasswordFromEnv", "planted-secret"),
        ("accessToken", "planted-secret"),
    ];
    let ask = ask_trigger(&pairs);
    let metadata: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let object = ScaledObject { namespace: "pulse", name: "worker", metadata: &metadata };
    assert_eq!(ask.warnings.len(), 4);
    let printed = format!("{ask:?} {object:?} {:?} {}", grants(), Problems(ask.warnings.clone()));
    assert!(!printed.contains("planted-secret"), "{printed}");
}

fn read_of(namespace: &str, name: &str, pairs: &[(String, String)]) -> Result<Ask, Problems> {
    let metadata: HashMap<String, String> = pairs.iter().cloned().collect();
    let anywhere = Grants::new(&["*".to_owned()]);
    read(&ScaledObject { namespace, name, metadata: &metadata }, &anywhere)
}

#[test]
fn an_object_that_no_cluster_can_hold_is_refused() {
    let map: Vec<(String, String)> = [HERE, LIST].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert!(read_of("pulse", "worker.v1", &map).is_ok());
    let long = "n".repeat(1 << 20);
    for (namespace, name, wrong) in [
        ("", "worker", "namespace: `` is not"),
        ("pulse/../billing", "worker", "namespace: `pulse/"),
        ("evil.example:6379 ", "worker", "namespace: `evil"),
        ("pulse", "", "name: `` is not"),
        ("pulse", "wor\nker", "name: `wor\\nker` is not"),
        ("pulse", &long, "name: `nnn"),
    ] {
        let problems = read_of(namespace, name, &map).unwrap_err().to_string();
        assert!(problems.starts_with(&format!("scaledObjectRef.{wrong}")) && problems.len() < 1000, "{problems}");
        let named = [("autoscaler".to_owned(), "celery-high".to_owned())];
        assert!(read_of(namespace, name, &named).is_err());
    }
}

#[test]
fn huge_maps_are_refused_and_many_strangers_are_counted() {
    let pairs = |count: usize, value: &str| -> Vec<(String, String)> {
        let known = [HERE, LIST].map(|(key, value)| (key.to_owned(), value.to_owned()));
        known.into_iter().chain((0..count).map(|i| (format!("key{i}"), value.to_owned()))).collect()
    };
    let Ok(Ask::Trigger(ask)) = read_of("pulse", "worker", &pairs(100, "x")) else { panic!("no trigger") };
    assert!(ask.registration.is_ok());
    assert_eq!(ask.warnings.len(), 17);
    assert!(ask.warnings[16].to_string().contains("84 more keys have no effect"), "{}", ask.warnings[16]);
    for map in [pairs(300, "x"), pairs(1, &"x".repeat(40_000)), pairs(50_000, "x")] {
        let problems = read_of("pulse", "worker", &map).unwrap_err().to_string();
        assert!(problems.contains("more than a trigger can mean; at most 256 keys"), "{problems}");
    }
}

// === KEDA's postgresql trigger ===

const QUERY: (&str, &str) = ("query", "select count(*) from jobs");
const TARGET: (&str, &str) = ("targetQueryValue", "2.5");

fn postgres(pairs: &[(&str, &str)]) -> (TriggerAsk, tidegate::spec::PostgresServer) {
    let ask = ask_trigger(&[&[QUERY, TARGET], pairs].concat());
    let spec = ask.registration.as_ref().unwrap_or_else(|problems| panic!("{pairs:?}: {problems}"));
    let Server::Postgres(server) = &spec.triggers[0].connection.server else { panic!("no PostgreSQL") };
    (ask.clone(), server.clone())
}

fn warned(ask: &TriggerAsk) -> String {
    ask.warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

#[test]
fn a_postgresql_trigger_keeps_its_keys() {
    let (ask, server) =
        postgres(&[("connection", "orders-db"), ("activationTargetQueryValue", "7.5"), ("scalerAddress", "t:9090")]);
    assert_eq!((&*ask.metric_name, ask.target, warned(&ask).as_str()), ("postgresql", 2.5, ""));
    assert_eq!((server.address.as_str(), server.database.as_str()), ("db:5432", "orders"));
    let spec = ask.registration.unwrap();
    assert_eq!(spec.triggers[0].activation_threshold, 7.5);
    assert!(matches!(&spec.triggers[0].source, tidegate::spec::Source::Postgres(postgres)
        if postgres.read == tidegate::spec::PostgresRead::Query("select count(*) from jobs".into())));

    // By what KEDA's own scaler goes by.
    for pairs in [
        &[("host", "db"), ("port", "5432"), ("dbName", "orders"), ("userName", "tidegate"), ("sslmode", "disable")][..],
        &[("host", "db.pulse.svc.cluster.local"), ("dbName", "orders")],
        &[("host", "db"), ("triggerType", "postgresql")],
    ] {
        let (ask, server) = postgres(pairs);
        assert_eq!((server.address.as_str(), warned(&ask).as_str()), ("db:5432", ""), "{pairs:?}");
    }
    // Nobody declared it, and the operator allows it.
    let allowed = [("host", "10.0.0.1"), ("port", "6543"), ("dbName", "x"), ("userName", "me"), ("sslmode", "prefer")];
    let (_, server) = postgres(&allowed);
    assert_eq!((server.address.as_str(), server.database.as_str(), server.tls), ("10.0.0.1:6543", "x", None));
}

#[test]
fn a_postgresql_trigger_brings_no_secrets() {
    let string = "postgres://me:planted-secret@db:5432/orders";
    for key in ["connection", "connectionFromEnv"] {
        let (ask, _) = postgres(&[(key, string), ("host", "db"), ("password", "planted-secret")]);
        assert!(warned(&ask).contains("a connection string in metadata is ignored"), "{}", warned(&ask));
        assert!(warned(&ask).contains("credentials in metadata are ignored"), "{}", warned(&ask));
        assert!(!format!("{ask:?}").contains("planted"), "{ask:?}");
        // Nor is it part of a name.
        let without = postgres(&[("host", "db"), ("password", "another")]).0;
        assert_eq!(ask.registration.unwrap().id, without.registration.unwrap().id);
    }
    let (ask, _) = postgres(&[
        ("connection", "orders-db"),
        ("userName", "other"),
        ("dbName", "other"),
        ("host", "other"),
        ("sslmode", "require"),
    ]);
    for words in ["says who logs in", "says which database", "is at db:5432, not at other:5432", "nothing is encrypted"]
    {
        assert!(warned(&ask).contains(words), "{words}: {}", warned(&ask));
    }
}

#[test]
fn a_postgresql_trigger_says_what_is_missing() {
    let refused = |pairs: &[(&str, &str)]| match ask(pairs) {
        Err(problems) => problems.to_string(),
        Ok(Ask::Trigger(ask)) => ask.registration.map(|_| ()).unwrap_err().to_string(),
        other => panic!("{other:?}"),
    };
    let with = |more: &[(&str, &str)]| refused(&[&[QUERY, TARGET], more].concat());
    for (sentence, words) in [
        (refused(&[("triggerType", "postgresql"), QUERY]), "metadata.targetQueryValue: missing"),
        (refused(&[("triggerType", "postgresql"), TARGET]), "metadata.query: missing"),
        (
            refused(&[QUERY, ("targetQueryValue", "0"), ("connection", "orders-db")]),
            "must be from 0.001 to 9e15, found 0",
        ),
        (refused(&[QUERY, ("targetQueryValue", "2.1e-9"), ("connection", "orders-db")]), "must be from 0.001 to 9e15"),
        (refused(&[QUERY, ("targetQueryValue", "1.7e38"), ("connection", "orders-db")]), "must be from 0.001 to 9e15"),
        (
            refused(&[QUERY, ("targetQueryValue", "many"), ("connection", "orders-db")]),
            "`many` is not a number of zero or more",
        ),
        (with(&[]), "metadata.host: missing: the server that is to be asked"),
        (with(&[("connection", "redis-main")]), "is of kind redis and answers no SQL; name one of kind postgres"),
        (with(&[("connection", "orders")]), "no Connection `orders` that namespace `pulse` may use"),
        (with(&[("host", "db"), ("dbName", "other")]), "has the database `other` at db.pulse.svc:5432"),
        (with(&[("host", "10.0.0.1")]), "metadata.userName: missing"),
        (
            with(&[("host", "10.0.0.1"), ("dbName", "x"), ("userName", "me"), ("sslmode", "verify-full")]),
            "no authority is known",
        ),
        (with(&[("autoscaler", "x")]), "names a QueueAutoscaler, which has its own source"),
    ] {
        assert!(sentence.contains(words), "said: {sentence}\n not: {words}");
    }
}
