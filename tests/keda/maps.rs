//! Metadata maps written out in full, over real gRPC and from a real Redis: what KEDA's own `redis` scaler would have
//! answered; and wrong ones, with code and message.
//!
//! In a map, `{main}` stands for a Redis without a password that the operator's allow list covers (`{host}` and
//! `{port}` are its halves), `{tls}` for one that speaks TLS, `{secured}` for one with a password, declared as
//! Connection `redis-secured`, and `{acl}` for one with a user of its own, declared as Connection `redis-acl`.

use std::collections::HashMap;

use tempfile::TempDir;
use tonic::{Code, Status};

use super::next;
use super::support::redis::{Certificates, RedisProcess, free_port};
use super::support::tidegate::{Keda, PATIENCE, Tidegate};

type Map = [(&'static str, &'static str)];

/// A map, and what it is answered: metric name, target, value, activity.
type Right = (&'static Map, (&'static str, i64, i64, bool));

const SCALER: (&str, &str) = ("scalerAddress", "tidegate.tidegate:6000");
const SECRET: &str = "planted-secret";

/// `jobs` has 7 items in database 0 and 11 in database 2; everything else is named after its number of items.
const RIGHT: [Right; 38] = [
    // The address, in each of its spellings.
    (&[SCALER, ("address", "{main}"), ("listName", "jobs")], ("redis-jobs", 5, 7, true)),
    (&[SCALER, ("addresses", "{main}"), ("listName", "jobs")], ("redis-jobs", 5, 7, true)),
    // Several: what it was says which of them count.
    (
        &[SCALER, ("triggerType", "redis"), ("addresses", "{main}, 127.0.0.1:1"), ("listName", "jobs")],
        ("redis-jobs", 5, 7, true),
    ),
    (&[SCALER, ("host", "{host}"), ("port", "{port}"), ("listName", "jobs")], ("redis-jobs", 5, 7, true)),
    (
        &[
            SCALER,
            ("triggerType", "redis"),
            ("hosts", "{host} , elsewhere"),
            ("ports", "{port},6379"),
            ("listName", "jobs"),
        ],
        ("redis-jobs", 5, 7, true),
    ),
    // Hosts are appended to addresses, and the first of all counts.
    (
        &[
            SCALER,
            ("triggerType", "redis"),
            ("address", "{main}"),
            ("host", "elsewhere"),
            ("port", "6379"),
            ("listName", "jobs"),
        ],
        ("redis-jobs", 5, 7, true),
    ),
    // `FromEnv`: KEDA has replaced the variable's name by its value and left the key as it is.
    (&[SCALER, ("addressFromEnv", "{main}"), ("listName", "jobs")], ("redis-jobs", 5, 7, true)),
    (
        &[SCALER, ("triggerType", "redis"), ("addressesFromEnv", "{main},elsewhere:1"), ("listName", "jobs")],
        ("redis-jobs", 5, 7, true),
    ),
    (&[SCALER, ("hostFromEnv", "{host}"), ("portFromEnv", "{port}"), ("listName", "jobs")], ("redis-jobs", 5, 7, true)),
    (
        &[SCALER, ("hostsFromEnv", "{host}"), ("portsFromEnv", "{port}"), ("listName", "jobs")],
        ("redis-jobs", 5, 7, true),
    ),
    (&[SCALER, ("host", "{host}"), ("portFromEnv", "{port}"), ("listName", "jobs")], ("redis-jobs", 5, 7, true)),
    (
        &[SCALER, ("host", "{host}"), ("hostFromEnv", "elsewhere"), ("port", "{port}"), ("listName", "jobs")],
        ("redis-jobs", 5, 7, true),
    ),
    (
        &[
            SCALER,
            ("address", "{main}"),
            ("listNameFromEnv", "jobs"),
            ("listLengthFromEnv", "20"),
            ("activationListLengthFromEnv", "11"),
            ("databaseIndexFromEnv", "2"),
        ],
        ("redis-jobs", 20, 11, false),
    ),
    // Blanks around values do not count, and what is blank is not there.
    (
        &[SCALER, ("address", "   "), ("addressFromEnv", "  {main} "), ("listName", " jobs\n"), ("listLength", " 3 ")],
        ("redis-jobs", 3, 7, true),
    ),
    (&[SCALER, ("address", "{main}"), ("listName", "jobs"), ("listLength", "")], ("redis-jobs", 5, 7, true)),
    // Length and activation: above the threshold, not at it.
    (&[SCALER, ("address", "{main}"), ("listName", "jobs"), ("listLength", "100")], ("redis-jobs", 100, 7, true)),
    (&[SCALER, ("address", "{main}"), ("listName", "jobs"), ("listLength", "1")], ("redis-jobs", 1, 7, true)),
    (&[SCALER, ("address", "{main}"), ("listName", "jobs"), ("activationListLength", "6")], ("redis-jobs", 5, 7, true)),
    (
        &[SCALER, ("address", "{main}"), ("listName", "jobs"), ("activationListLength", "7")],
        ("redis-jobs", 5, 7, false),
    ),
    (
        &[SCALER, ("address", "{main}"), ("listName", "missing"), ("activationListLength", "-1")],
        ("redis-missing", 5, 0, true),
    ),
    // Another database.
    (&[SCALER, ("address", "{main}"), ("listName", "jobs"), ("databaseIndex", "0")], ("redis-jobs", 5, 7, true)),
    (&[SCALER, ("address", "{main}"), ("listName", "jobs"), ("databaseIndex", "2")], ("redis-jobs", 5, 11, true)),
    // Names with characters that a metric's name cannot have.
    (&[SCALER, ("address", "{main}"), ("listName", "three/a.b:c%d(e)f")], ("redis-three-a-b-c-d-e-f", 5, 3, true)),
    (&[SCALER, ("address", "{main}"), ("listName", "two\u{6}\u{16}3")], ("redis-two--3", 5, 2, true)),
    (&[SCALER, ("address", "{main}"), ("listName", "four_1-Über sicht")], ("redis-four_1--ber-sicht", 5, 4, true)),
    // Other types that can be counted, and none at all.
    (&[SCALER, ("address", "{main}"), ("listName", "set-of-2")], ("redis-set-of-2", 5, 2, true)),
    (&[SCALER, ("address", "{main}"), ("listName", "zset-of-3")], ("redis-zset-of-3", 5, 3, true)),
    (&[SCALER, ("address", "{main}"), ("listName", "hash-of-1")], ("redis-hash-of-1", 5, 1, true)),
    (&[SCALER, ("address", "{main}"), ("listName", "missing")], ("redis-missing", 5, 0, false)),
    // Booleans as Go spells them.
    (&[SCALER, ("address", "{main}"), ("listName", "jobs"), ("enableTLS", "false")], ("redis-jobs", 5, 7, true)),
    (
        &[SCALER, ("address", "{main}"), ("listName", "jobs"), ("enableTLS", "F"), ("unsafeSsl", "TRUE")],
        ("redis-jobs", 5, 7, true),
    ),
    (
        &[SCALER, ("address", "{tls}"), ("listName", "jobs"), ("enableTLS", "T"), ("unsafeSsl", "1")],
        ("redis-jobs", 5, 4, true),
    ),
    // Passwords: never from metadata, but from the Connection that is named, or that has the address.
    (&[SCALER, ("connection", "redis-secured"), ("listName", "jobs")], ("redis-jobs", 5, 9, true)),
    (
        &[SCALER, ("address", "{secured}"), ("listName", "jobs"), ("passwordFromEnv", "wrong-and-ignored")],
        ("redis-jobs", 5, 9, true),
    ),
    (&[SCALER, ("connection", "redis-acl"), ("username", "reader"), ("listName", "jobs")], ("redis-jobs", 5, 6, true)),
    // What KEDA and others keep in the same map.
    (
        &[
            SCALER,
            ("address", "{main}"),
            ("listName", "jobs"),
            ("triggerType", "redis"),
            ("metricType", "Value"),
            ("pollingInterval", "100ms"),
            ("colour", "red"),
        ],
        ("redis-jobs", 5, 7, true),
    ),
    // An autoscaler by its name, which brings everything else along.
    (&[SCALER, ("autoscaler", "declared")], ("redis-jobs", 2, 7, true)),
    (&[SCALER, ("autoscaler", " declared "), ("serve", "backlog")], ("redis-jobs", 2, 7, true)),
];

/// A map, whether GetMetricSpec can still name and size it, and what GetMetrics and IsActive are refused with.
type Wrong = (&'static Map, Option<(&'static str, i64)>, Code, &'static str);

const WRONG: [Wrong; 22] = [
    (
        &[SCALER, ("address", "{main}")],
        None,
        Code::InvalidArgument,
        "the trigger's metadata cannot be used: metadata.listName: missing: the list that is to be counted; e.g. \
         listName: celery, stream: orders, or autoscaler: celery-high",
    ),
    (
        &[SCALER, ("address", "{main}"), ("listName", "jobs"), ("listLength", "5.0")],
        None,
        Code::InvalidArgument,
        "the trigger's metadata cannot be used: metadata.listLength: `5.0` is not a whole number; e.g. listLength: \
         \"5\"",
    ),
    (
        &[SCALER, ("address", "{main}"), ("listName", "jobs"), ("listLength", "0")],
        None,
        Code::InvalidArgument,
        "the trigger's metadata cannot be used: metadata.listLength: must be at least 1, found 0; e.g. listLength: \
         \"5\"",
    ),
    // Every problem at once.
    (
        &[SCALER, ("listLength", "many"), ("databaseIndex", "one"), ("enableTLS", "yes")],
        None,
        Code::InvalidArgument,
        "the trigger's metadata cannot be used: metadata.listName: missing: the list that is to be counted; \
         e.g. listName: celery, stream: orders, or autoscaler: celery-high; metadata.listLength: `many` is not a whole number; \
         e.g. listLength: \"5\"; metadata.databaseIndex: `one` is not a whole number; e.g. databaseIndex: \
         \"0\"; metadata.enableTLS: `yes` is neither true nor false; write enableTLS: \"true\"; \
         metadata.address: missing: the server that holds the list; e.g. address: redis-service:6379, or \
         connection: redis-main",
    ),
    (
        &[SCALER, ("autoscaler", "declared"), ("listName", "jobs")],
        None,
        Code::InvalidArgument,
        "the trigger's metadata cannot be used: metadata.listName: `autoscaler` names a QueueAutoscaler, which has \
         its own source; take out listName or autoscaler",
    ),
    (
        &[SCALER, ("autoscaler", "declared"), ("serve", "everything")],
        None,
        Code::InvalidArgument,
        "the trigger's metadata cannot be used: metadata.serve: `everything` cannot be served; write serve: \
         backlog or serve: replicas",
    ),
    (
        &[SCALER, ("autoscaler", "nobody")],
        None,
        Code::NotFound,
        "no QueueAutoscaler pulse/nobody is known here: create one of that name in the ScaledObject's \
         namespace, or correct `autoscaler` in the trigger's metadata",
    ),
    // From here on, name and target are known, and KEDA keeps the trigger in its HPA.
    (
        &[SCALER, ("listName", "jobs")],
        Some(("redis-jobs", 5)),
        Code::FailedPrecondition,
        "tidegate will not poll this trigger: metadata.address: missing: the server that holds the list; e.g. \
         address: redis-service:6379, or connection: redis-main",
    ),
    (
        &[SCALER, ("address", "10.1.2.3:6379"), ("listName", "jobs"), ("listLength", "3")],
        Some(("redis-jobs", 3)),
        Code::FailedPrecondition,
        "tidegate will not poll this trigger: metadata.address: no Connection of namespace `pulse` has the \
         address 10.1.2.3:6379; declare a Connection for it, or start tidegate with --allow-address \
         10.1.2.3:6379",
    ),
    (
        &[SCALER, ("address", "redis"), ("listName", "jobs")],
        Some(("redis-jobs", 5)),
        Code::FailedPrecondition,
        "tidegate will not poll this trigger: metadata.address: `redis` has no port; write redis:6379",
    ),
    (
        &[SCALER, ("address", "redis://me:planted-secret@{main}"), ("listName", "jobs")],
        Some(("redis-jobs", 5)),
        Code::FailedPrecondition,
        "tidegate will not poll this trigger: metadata.address: an address has no user or password in it; write \
         host:port, such as redis-service:6379; the password belongs into a Connection's passwordFrom",
    ),
    (
        &[SCALER, ("hosts", "{host},elsewhere"), ("port", "{port}"), ("listName", "jobs")],
        Some(("redis-jobs", 5)),
        Code::FailedPrecondition,
        "tidegate will not poll this trigger: metadata.hosts: the numbers of hosts (2) and of ports (1) differ; \
         write as many ports as hosts, e.g. host: redis and port: \"6379\"",
    ),
    (
        &[SCALER, ("connection", "redis-mian"), ("listName", "jobs")],
        Some(("redis-jobs", 5)),
        Code::FailedPrecondition,
        "tidegate will not poll this trigger: metadata.connection: no Connection `redis-mian` that namespace \
         `pulse` may use; declare it: kind: Connection, metadata: { name: redis-mian, namespace: pulse }",
    ),
    (
        &[SCALER, ("connection", "billing-only"), ("listName", "jobs")],
        Some(("redis-jobs", 5)),
        Code::FailedPrecondition,
        "tidegate will not poll this trigger: metadata.connection: ClusterConnection `billing-only` does not \
         allow namespace `pulse`; add pulse to its spec.allowedNamespaces",
    ),
    (
        &[SCALER, ("address", "{main}"), ("listName", "jobs"), ("triggerType", "redis-sentinel")],
        Some(("redis-jobs", 5)),
        Code::FailedPrecondition,
        "tidegate will not poll this trigger: metadata.sentinelMaster: missing: what the sentinels call the master; \
         e.g. sentinelMaster: mymaster",
    ),
    (
        &[SCALER, ("address", "{main}"), ("listName", "jobs"), ("activationListLength", "5.5")],
        Some(("redis-jobs", 5)),
        Code::FailedPrecondition,
        "tidegate will not poll this trigger: metadata.activationListLength: `5.5` is not a whole number; e.g. \
         activationListLength: \"0\"",
    ),
    (
        &[SCALER, ("address", "{tls}"), ("listName", "jobs"), ("enableTLS", "true")],
        Some(("redis-jobs", 5)),
        Code::FailedPrecondition,
        "tidegate will not poll this trigger: metadata.enableTLS: no authority is known whose certificates \
         could be trusted at {tls}; declare a Connection for it with tls: { caFile: ... }",
    ),
    // From here on it is Redis that says no, and its cause is passed on.
    (
        &[SCALER, ("address", "{main}"), ("listName", "text")],
        Some(("redis-text", 5)),
        Code::Unavailable,
        "no trustworthy value: trigger trigger-0 has never been read (wrong_type: key \"text\" holds a string; \
         a `redisList` source counts lists, sets, sorted sets and hashes: check the key's name and the \
         database)",
    ),
    (
        &[SCALER, ("address", "{main}"), ("listName", "jobs"), ("databaseIndex", "99")],
        Some(("redis-jobs", 5)),
        Code::Unavailable,
        "no trustworthy value: trigger trigger-0 has never been read (configuration: {main} does not have this \
         database; lower `database`, or raise `databases` there)",
    ),
    (
        &[SCALER, ("address", "{acl}"), ("listName", "jobs")],
        Some(("redis-jobs", 5)),
        Code::Unavailable,
        "no trustworthy value: trigger trigger-0 has never been read (authentication: {acl} wants a password \
         and the Connection names none; add `passwordFrom`)",
    ),
    (
        &[SCALER, ("connection", "wrong-password"), ("listName", "jobs")],
        Some(("redis-jobs", 5)),
        Code::Unavailable,
        "no trustworthy value: trigger trigger-0 has never been read (authentication: {secured-by-name} \
         rejected the user or the password; check `username` and `passwordFrom`)",
    ),
    (
        &[SCALER, ("address", "127.0.0.1:1"), ("listName", "jobs")],
        Some(("redis-jobs", 5)),
        Code::Unavailable,
        "no trustworthy value: trigger trigger-0 has never been read (unreachable: 127.0.0.1:1 refused the \
         connection: nothing listens there; check the address, and that the server runs)",
    ),
];

/// Four Redis servers with data, and a tidegate that may ask them.
struct Rig {
    tidegate: Tidegate,
    places: HashMap<&'static str, String>,
    _servers: Vec<RedisProcess>,
    _folder: TempDir,
}

impl Rig {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let certificates = Certificates::make(folder.path());
        let tls_port = free_port();
        let tls = RedisProcess::with(&[
            &format!("tls-port {tls_port}"),
            &format!("tls-cert-file {}", certificates.certificate.display()),
            &format!("tls-key-file {}", certificates.key.display()),
            &format!("tls-ca-cert-file {}", certificates.authority.display()),
            "tls-auth-clients no",
        ]);
        let main = RedisProcess::start();
        let secured = RedisProcess::with(&[&format!("requirepass {SECRET}")]);
        let needed = "+select +llen +scard +zcard +hlen +type +client|setname";
        let acl = RedisProcess::with(&[
            &format!("requirepass another-{SECRET}"),
            &format!("user reader on >{SECRET} ~* {needed}"),
        ]);
        for (server, key, items) in [(&main, "jobs", 7), (&secured, "jobs", 9), (&acl, "jobs", 6), (&tls, "jobs", 4)] {
            fill(server, "0", key, items);
        }
        fill(&main, "2", "jobs", 11);
        fill(&main, "0", "two\u{6}\u{16}3", 2);
        fill(&main, "0", "three/a.b:c%d(e)f", 3);
        fill(&main, "0", "four_1-Über sicht", 4);
        main.command::<i64>(&["SADD", "set-of-2", "a", "b"]);
        main.command::<i64>(&["ZADD", "zset-of-3", "1", "a", "2", "b", "3", "c"]);
        main.command::<i64>(&["HSET", "hash-of-1", "a", "b"]);
        main.command::<()>(&["SET", "text", "not a queue"]);

        let (host, port) = ("127.0.0.1".to_owned(), main.address().rsplit_once(':').unwrap().1.to_owned());
        let places = HashMap::from([
            ("{main}", main.address()),
            ("{host}", host),
            ("{port}", port),
            ("{tls}", format!("127.0.0.1:{tls_port}")),
            ("{secured}", secured.address()),
            ("{acl}", acl.address()),
            ("{secured-by-name}", secured.address().replace("127.0.0.1", "localhost")),
        ]);
        let declare = |name: &str, redis: String| {
            format!(
                "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: {name}, namespace: pulse }}\n\
                 spec: {{ redis: {{ {redis} }} }}\n---\n"
            )
        };
        let manifests = [
            declare("redis-secured", format!("address: \"{}\", password: {SECRET}", secured.address())),
            // By another name of the same host, so that the bare address is nobody's.
            declare("redis-acl", {
                let address = acl.address().replace("127.0.0.1", "localhost");
                format!("address: \"{address}\", username: reader, password: {SECRET}")
            }),
            declare("wrong-password", {
                let address = secured.address().replace("127.0.0.1", "localhost");
                format!("address: \"{address}\", password: not-{SECRET}")
            }),
            declare("redis-main", format!("address: \"{}\"", main.address().replace("127.0.0.1", "localhost"))),
            "apiVersion: tidegate.dev/v1alpha1\nkind: ClusterConnection\nmetadata: { name: billing-only }\nspec: { \
             allowedNamespaces: [billing], redis: { address: \"redis.billing.svc:6379\" } }\n---\n"
                .to_owned(),
            "apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: { name: declared, namespace: pulse }\n\
             spec:\n  scaleTargetRef: { name: declared }\n  pollingInterval: 100ms\n  triggers:\n    - connection: redis-main\n      redisList: { keys: \
             [jobs] }\n      policy: { backlogPerReplica: { target: 2 } }\n"
                .to_owned(),
        ];
        let tidegate = Tidegate::start(&manifests.concat(), &["--allow-address", "127.0.0.1:*"]);
        tidegate.until_ready();
        Rig { tidegate, places, _servers: vec![main, secured, acl, tls], _folder: folder }
    }

    fn fill_in(&self, text: &str) -> String {
        self.places.iter().fold(text.to_owned(), |text, (place, value)| text.replace(place, value))
    }

    async fn keda(&self, map: &Map) -> Keda {
        let filled: Vec<(&str, String)> = map.iter().map(|(key, value)| (*key, self.fill_in(value))).collect();
        let filled: Vec<(&str, &str)> = filled.iter().map(|(key, value)| (*key, value.as_str())).collect();
        self.tidegate.keda("pulse", &filled).await
    }
}

fn fill(server: &RedisProcess, database: &str, key: &str, items: usize) {
    let mut connection = server.connect().unwrap();
    server.command_on::<()>(&mut connection, &["SELECT", database]);
    let mut words = vec!["RPUSH", key];
    words.extend(std::iter::repeat_n("item", items));
    server.command_on::<i64>(&mut connection, &words);
}

/// What GetMetrics says once it has had a first reading, of whatever kind.
async fn settled(keda: &mut Keda, metric: &str) -> Result<(i64, f64), Status> {
    let give_up = tokio::time::sleep(PATIENCE);
    tokio::pin!(give_up);
    loop {
        let answer = keda.value(metric).await;
        let early = answer.as_ref().is_err_and(|status| status.message().ends_with("has not been read yet"));
        if !early || give_up.is_elapsed() {
            return answer;
        }
        tokio::select! {
            () = &mut give_up => {}
            () = tokio::time::sleep(std::time::Duration::from_millis(10)) => {}
        }
    }
}

#[tokio::test]
async fn right_maps_are_answered_as_by_keda_s_own_scaler() {
    let rig = Rig::start();
    for (map, (metric, target, value, active)) in RIGHT {
        let mut keda = rig.keda(map).await;
        let specs = vec![(metric.to_owned(), target, target as f64)];
        assert_eq!(keda.specs().await.unwrap(), specs, "{map:?}");
        let answer = settled(&mut keda, metric).await.unwrap_or_else(|status| panic!("{map:?}: {status}"));
        assert_eq!(answer, (value, value as f64), "{map:?}");
        assert_eq!(keda.active().await.unwrap(), active, "{map:?}");
        let mut stream = keda.client.stream_metric_spec(keda.object.clone()).await.unwrap().into_inner();
        let streamed = next(&mut stream).await.unwrap().expect("specs at once").metric_specs;
        assert_eq!((streamed[0].metric_name.as_str(), streamed[0].target_size), (metric, target), "{map:?}");
        let mut stream = keda.client.stream_is_active(keda.object.clone()).await.unwrap().into_inner();
        if active {
            assert!(next(&mut stream).await.unwrap().expect("active at once").result, "{map:?}");
        }
    }
    let log = rig.tidegate.log();
    assert!(log.contains("credentials in metadata are ignored"), "{log}");
    assert!(!log.contains("wrong-and-ignored"), "{log}");
}

#[tokio::test]
async fn wrong_maps_are_refused_with_the_cause_and_the_cure() {
    let rig = Rig::start();
    let mut differing = Vec::new();
    for (map, named, code, message) in WRONG {
        let mut keda = rig.keda(map).await;
        match (keda.specs().await, named) {
            (Ok(specs), Some((metric, target))) => {
                assert_eq!(specs, [(metric.to_owned(), target, target as f64)], "{map:?}");
            }
            (Err(status), None) => assert_eq!(status.code(), code, "{map:?}"),
            (other, _) => panic!("{map:?}: {other:?}"),
        }
        let refused = settled(&mut keda, "").await.expect_err(&format!("{map:?}"));
        let inactive = keda.active().await.expect_err(&format!("{map:?}"));
        assert_eq!((inactive.code(), inactive.message()), (refused.code(), refused.message()), "{map:?}");
        assert!(!refused.message().contains(SECRET), "{refused}");
        if (refused.code(), refused.message()) != (code, rig.fill_in(message).as_str()) {
            differing.push(format!("{map:?}\n  {:?}\n  {}", refused.code(), refused.message()));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}
