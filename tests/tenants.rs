//! Many teams in one process, some of them hostile: caps, the fence, and the poll budget, with the real binary and real
//! redis-servers.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    reason = "a test"
)]

mod support;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::polling;
use support::redis::{CONNECTIONS, RedisProcess};
use support::tidegate::{Tidegate, command, until, until_along};
use tempfile::TempDir;
use tidegate::clock::Clock;
use tidegate::model::{AutoscalerId, Key, Sample, Shares};
use tidegate::poller::Poller;
use tidegate::source::memory::MemoryQueues;
use tidegate::spec::limits::Limits;
use tidegate::spec::{AutoscalerSpec, Change, Source};
use tokio::sync::mpsc;
use tonic::Code;

/// A password that stands where nobody but its server may see it.
const PLANTED: &str = "planted-secret";

fn connection(namespace: &str, name: &str, address: &str) -> String {
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: Connection\n\
         metadata: {{ name: {name}, namespace: {namespace} }}\nspec: {{ redis: {{ address: \"{address}\" }} }}\n"
    )
}

/// One trigger of these keys.
fn autoscaler(namespace: &str, name: &str, more: &str, connection: &str, keys: &[String]) -> String {
    format!(
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\n\
         metadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n  scaleTargetRef: {{ name: {name} }}\n{more}  \
         triggers:\n    - connection: {connection}\n      redisList: {{ keys: [{}] }}\n      \
         policy: {{ backlogPerReplica: {{ target: 10 }} }}\n",
        keys.join(", ")
    )
}

fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("\"{prefix}:{n}\"")).collect()
}

fn check(manifests: &str, arguments: &[&str]) -> (bool, String) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("m.yaml");
    std::fs::write(&file, manifests).unwrap();
    let output = command(&[&["check", "-f", file.to_str().unwrap()], arguments].concat());
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

// === caps on what files declare ===

#[test]
fn autoscalers_beyond_the_cap_of_their_namespace_are_a_problem_of_the_first_beyond() {
    let mut text = connection("shop", "main", "redis:6379") + &connection("mail", "main", "redis:6379");
    for n in 0..4 {
        text += &autoscaler("shop", &format!("shop-{n}"), "", "main", &keys("q", 1));
    }
    text += &autoscaler("mail", "mail-0", "", "main", &keys("q", 1));
    let line = 1 + text.lines().position(|line| line.contains("shop-2")).unwrap();
    let (fine, said) = check(&text, &["--max-autoscalers-per-namespace", "2"]);
    assert!(!fine);
    assert_eq!(said.lines().filter(|line| line.starts_with("error")).count(), 1, "{said}");
    assert!(said.contains(&format!("m.yaml:{line}: metadata.name: namespace `shop` has 4 QueueAutoscalers")), "{said}");
    assert!(said.contains("--max-autoscalers-per-namespace 4"), "the cure: {said}");
    assert!(check(&text, &["--max-autoscalers-per-namespace", "4"]).0);
    let output = command(&["run", "--max-reads-per-second", "0"]);
    assert!(!output.status.success(), "a budget of nothing is no budget");
}

#[test]
fn keys_beyond_the_cap_of_a_trigger_and_of_an_autoscaler_are_problems() {
    let declared = connection("shop", "main", "redis:6379");
    assert!(check(&(declared.clone() + &autoscaler("shop", "a", "", "main", &keys("q", 1_000))), &[]).0);
    let (fine, said) = check(&(declared.clone() + &autoscaler("shop", "a", "", "main", &keys("q", 1_001))), &[]);
    assert!(!fine && said.contains("spec.triggers[0].redisList.keys: 1001 keys are more than 1000"), "{said}");

    let mut many = autoscaler("shop", "a", "", "main", &keys("q0", 1_000));
    for trigger in 1..=10 {
        let keys = keys(&format!("q{trigger}"), 1_000).join(", ");
        let _ = write!(
            many,
            "    - connection: main\n      redisList: {{ keys: [{keys}] }}\n      policy: {{ fixed: {{ replicas: 1 }} }}\n"
        );
    }
    let (fine, said) = check(&(declared + &many), &[]);
    assert!(!fine && said.contains("spec.triggers: 11000 keys in all triggers together are more than 10000"), "{said}");
}

// === the fence ===

#[test]
fn no_connection_in_a_file_leads_beyond_the_fence() {
    let mut text =
        connection("shop", "inside", "redis.shop.svc:6379") + &connection("shop", "out", "redis.evil.example:6379");
    text += "---\napiVersion: tidegate.dev/v1alpha1\nkind: ClusterConnection\nmetadata: { name: far }\n\
             spec: { allowedNamespaces: [\"*\"], redis: { host: 10.0.evil.example } }\n";
    let (fine, said) = check(&text, &["--only-addresses", "*.svc:6379,10.0.*:6379"]);
    assert!(!fine);
    let errors: Vec<&str> = said.lines().filter(|line| line.starts_with("error")).collect();
    assert_eq!(errors.len(), 2, "{said}");
    assert!(errors[0].contains(":10: spec.redis.address: no connection may lead to redis.evil.example:6379"), "{said}");
    assert!(errors[1].contains("spec.redis.host: no connection may lead to 10.0.evil.example:6379"), "{said}");
    assert!(said.contains("--only-addresses"), "{said}");
    assert!(check(&text, &[]).0, "without a fence there is none");
    let output = command(&["run", "--only-addresses", "", "--max-registrations", "x"]);
    assert!(!output.status.success());
}

#[tokio::test]
async fn metadata_leads_nowhere_beyond_the_fence_whatever_the_allow_list_says() {
    let (inside, outside) = (RedisProcess::start(), RedisProcess::start());
    let fence = inside.address();
    let tidegate = Tidegate::start("", &["--allow-address", "*", "--only-addresses", &fence]);
    let mut fine = tidegate.keda("shop", &[("listName", "jobs"), ("address", &inside.address())]).await;
    fine.until_value(0.0).await;
    let mut refused = tidegate.keda("shop", &[("listName", "jobs"), ("address", &outside.address())]).await;
    let status = refused.value("").await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("--only-addresses"), "{status:?}");
    assert_eq!(refused.specs().await.unwrap().len(), 1, "names and targets need nobody's leave");
    // As a Service's short name it is another server, and that counts.
    let short = tidegate.keda("shop", &[("listName", "jobs"), ("address", "redis:6379")]).await.value("").await;
    assert!(short.unwrap_err().message().contains("redis.shop.svc:6379"));
    assert_eq!(outside.clients("tidegate"), 0);
}

// === between namespaces ===

/// Everything that somebody in namespace `thief` could write to get at the server of namespace `rich`.
fn attempts(port: &str) -> Vec<Vec<(&'static str, String)>> {
    let mut attempts: Vec<Vec<(&'static str, String)>> = Vec::new();
    for name in
        ["main", "rich/main", "/main", "../rich/main", "Main", "MAIN", "main.", "rich.main", "vault", "VAULT", "*"]
    {
        attempts.push(vec![("connection", name.to_owned())]);
        attempts.push(vec![("connection", name.to_owned()), ("databaseIndex", "3".to_owned())]);
        attempts.push(vec![("connectionFromEnv", name.to_owned())]);
    }
    let hosts = [
        "127.0.0.1",
        "localhost",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1.",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7F00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::1]",
        "[::1%lo]",
        "user:password@127.0.0.1",
        "127.0.0.1#",
        "127.0.0.1?",
        "127.0.0.1/",
        "redis://127.0.0.1",
        "rediss://127.0.0.1",
        "unix:///tmp/redis.sock",
        " 127.0.0.1",
        "127.0.0.1\t",
        "127.0.0.1\n",
        "127.0.0.1,allowed.example",
        "１２７.0.0.1",
        "redis.rich.svc",
        "redis.rich.svc.cluster.local",
        "redis.rich",
    ];
    for host in hosts {
        attempts.push(vec![("address", format!("{host}:{port}"))]);
        attempts.push(vec![("addressFromEnv", format!("{host}:{port}"))]);
        attempts.push(vec![("addresses", format!("{host}:{port}"))]);
        attempts.push(vec![("host", host.to_owned()), ("port", port.to_owned())]);
        attempts.push(vec![("hosts", host.to_owned()), ("ports", port.to_owned())]);
        attempts.push(vec![("address", format!("{host}:{port}/0")), ("databaseIndex", "1".to_owned())]);
    }
    attempts
}

#[tokio::test]
async fn nothing_that_metadata_says_reaches_the_connection_of_another_namespace() {
    let rich = RedisProcess::with(&[&format!("requirepass {PLANTED}")]);
    let port = rich.address().rsplit_once(':').unwrap().1.to_owned();
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, PLANTED).unwrap();
    let secret = format!("passwordFrom: {{ file: \"{}\" }}", file.display());
    let manifests = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: main, namespace: rich }}\n\
         spec: {{ redis: {{ address: \"127.0.0.1:{port}\", {secret} }} }}\n\
         ---\napiVersion: tidegate.dev/v1alpha1\nkind: ClusterConnection\nmetadata: {{ name: vault }}\n\
         spec: {{ allowedNamespaces: [rich, \"rich-*\"], redis: {{ address: \"localhost:{port}\", {secret} }} }}\n"
    );
    // An allow list that has nothing to do with it.
    let tidegate = Tidegate::start(&manifests, &["--allow-address", "allowed.example:1,10.0.*:*"]);
    tidegate.until_ready();
    let mut keda = tidegate.keda("thief", &[]).await;
    let path = file.to_str().unwrap().to_owned();
    let mut said = String::new();
    let extras = [
        vec![],
        vec![("password", PLANTED.to_owned()), ("username", "default".to_owned())],
        vec![("passwordFromEnv", "PATH".to_owned()), ("passwordFile", path.clone()), ("passwordFrom", path.clone())],
        vec![
            ("enableTLS", "true".to_owned()),
            ("unsafeSsl", "true".to_owned()),
            ("ca", path.clone()),
            ("tls", path.clone()),
        ],
    ];
    let mut count = 0;
    for attempt in attempts(&port) {
        for extra in &extras {
            keda.object.scaler_metadata = HashMap::from([("listName".to_owned(), "gold".to_owned())]);
            keda.object.scaler_metadata.extend(attempt.iter().chain(extra).map(|(k, v)| ((*k).to_owned(), v.clone())));
            let status = keda.value("").await.expect_err(&format!("{attempt:?} {extra:?}"));
            let refused = matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument);
            assert!(refused, "{attempt:?} {extra:?}: {status:?}");
            said += status.message();
            count += 1;
        }
    }
    assert!(count > 500);
    // Names of namespaces that no cluster has, for whoever can call without being KEDA.
    let long = "n".repeat(300);
    for namespace in
        ["RICH", "Rich", "rich ", " rich", "rich/", "rich/main", "rich.", "rich-", "rich-\u{e9}", "*", "", &long]
    {
        for metadata in [vec![("connection", "main")], vec![("connection", "vault")], vec![("autoscaler", "gold")]] {
            keda.object.namespace = namespace.to_owned();
            keda.object.scaler_metadata = metadata.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            keda.object.scaler_metadata.insert("listName".into(), "gold".into());
            let status = keda.value("").await.expect_err(namespace);
            assert!(
                matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument),
                "{namespace}: {status:?}"
            );
            assert!(status.message().len() < 2_000, "{status:?}");
            said += status.message();
        }
    }
    assert_eq!(rich.clients("tidegate"), 0, "nobody has a right to it, so nobody may open it");

    // Whoever has a right to it gets there, as the counter-check.
    let mut owner = tidegate.keda("rich", &[("listName", "gold"), ("address", &format!("127.0.0.1:{port}"))]).await;
    owner.until_value(0.0).await;
    assert_eq!(rich.clients("tidegate"), CONNECTIONS);
    for text in [said, tidegate.log(), tidegate.get("/metrics").body, tidegate.get("/api/v1/autoscalers").body] {
        assert!(!text.contains(PLANTED));
        assert!(!text.contains(&std::env::var("PATH").unwrap()), "an environment variable was read");
    }
}

#[tokio::test]
async fn long_names_and_values_are_refused_and_not_kept() {
    let redis = RedisProcess::start();
    let tidegate = Tidegate::start("", &["--allow-address", &redis.address()]);
    let address = redis.address();
    let long = "x".repeat(5_000);
    let mut keda = tidegate.keda("shop", &[("listName", "jobs"), ("address", &address)]).await;
    keda.object.name.clone_from(&long);
    let status = keda.value("").await.unwrap_err();
    assert!(status.message().contains("not a name that Kubernetes takes"), "{status:?}");
    assert!(status.message().len() < 1_000, "{status:?}");
    assert!(keda.specs().await.is_err(), "nobody has such a name: no HPA needs its metric");
    let status =
        tidegate.keda("shop", &[("listName", &long), ("address", &address)]).await.value("").await.unwrap_err();
    assert!(status.message().contains("metadata.listName: 5000 bytes long"), "{status:?}");
    assert_eq!(tidegate.get("/api/v1/autoscalers").json()["items"].as_array().unwrap().len(), 0);
}

// === caps on what KEDA's calls register ===

#[tokio::test]
async fn registrations_beyond_a_cap_are_refused_and_those_before_go_on() {
    let redis = RedisProcess::start();
    let address = redis.address();
    let caps =
        ["--max-registrations-per-namespace", "3", "--max-registrations", "5", "--max-connections-per-namespace", "2"];
    let tidegate = Tidegate::start("", &[&["--allow-address", address.as_str()][..], &caps].concat());
    let trigger = async |namespace: &str, list: &str, database: &str| {
        let metadata =
            [("listName", list), ("address", &address), ("databaseIndex", database), ("pollingInterval", "50ms")];
        tidegate.keda(namespace, &metadata).await
    };
    for (list, database) in [("a", "0"), ("b", "1")] {
        trigger("shop", list, database).await.until_value(0.0).await;
    }
    let mut third = trigger("shop", "c", "2").await;
    let status = third.value("").await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(
        status.message().contains("--max-connections-per-namespace") && status.message().contains('2'),
        "{status:?}"
    );
    assert_eq!(third.specs().await.unwrap()[0].0, "redis-c", "GetMetricSpec never fails for want of room");

    trigger("shop", "c", "1").await.until_value(0.0).await;
    let status = trigger("shop", "d", "1").await.active().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("3 triggers") && status.message().contains("--max-registrations-per-namespace"));
    for list in ["a", "b"] {
        trigger("mail", list, "0").await.until_value(0.0).await;
    }
    let status = trigger("rest", "a", "0").await.value("").await.unwrap_err();
    assert!(status.message().contains("raise --max-registrations"), "{status:?}");
    // A stream of a refused trigger is silent, not broken: KEDA would back off for good.
    let mut silent = trigger("rest", "a", "0").await;
    let stream = silent.client.stream_is_active(silent.object.clone()).await;
    assert!(stream.is_ok(), "{stream:?}");
    drop(stream);

    let refused = |reason: &str| {
        tidegate.metric(&format!("tidegate_registrations_refused_total{{reason=\"{reason}\"}}")).unwrap_or(0.0)
    };
    assert!(refused("namespace_connections") >= 1.0);
    assert!(refused("namespace_registrations") >= 1.0);
    assert!(refused("registrations") >= 2.0);
    for _ in 0..20 {
        assert!(trigger("shop", "e", "1").await.value("").await.is_err());
    }
    let lines = tidegate.log().lines().filter(|line| line.contains("registration refused")).count();
    assert_eq!(lines, 2, "one a minute for each of two namespaces:\n{}", tidegate.log());

    // What was registered before still follows its list.
    let _: i64 = redis.command(&["RPUSH", "a", "1", "2", "3"]);
    trigger("shop", "a", "0").await.until_value(3.0).await;
    let namespaces = tidegate.get("/api/v1/namespaces").json();
    let shop = namespaces["items"].as_array().unwrap().iter().find(|item| item["namespace"] == "shop").unwrap();
    assert_eq!((&shop["registrations"], &shop["autoscalers"]), (&3.into(), &3.into()));
}

// === the poll budget ===

/// 2,000 keys at 10 Hz from one namespace, two from another; 1,000 reads a second for each.
fn hog_and_neighbour(redis: &RedisProcess) -> String {
    let mut text = connection("hog", "main", &redis.address()) + &connection("small", "main", &redis.address());
    for n in 0..40 {
        let more = "  pollingInterval: 100ms\n  maxSampleAge: 1s\n";
        text += &autoscaler("hog", &format!("hog-{n}"), more, "main", &keys(&format!("hog:{n}"), 50));
    }
    text + &autoscaler("small", "small", "  pollingInterval: 100ms\n", "main", &keys("small", 2))
}

#[test]
fn who_asks_for_too_much_is_read_more_seldom_and_everybody_hears_of_it() {
    let redis = RedisProcess::start();
    let tidegate = Tidegate::start(&hog_and_neighbour(&redis), &["--max-reads-per-second-per-namespace", "1000"]);
    tidegate.until_ready();
    let line = tidegate.until_log("held back");
    assert!(line.contains("\"namespace\":\"hog\"") && line.contains("--max-reads-per-second-per-namespace"), "{line}");

    let namespaces = tidegate.get("/api/v1/namespaces").json();
    let [hog, small] = namespaces["items"].as_array().unwrap().as_slice() else { panic!("{namespaces}") };
    assert_eq!((hog["namespace"].as_str(), hog["heldBack"].as_bool()), (Some("hog"), Some(true)));
    assert_eq!(
        (hog["demandReadsPerSecond"].as_f64(), hog["allowedReadsPerSecond"].as_f64()),
        (Some(20_000.0), Some(1_000.0))
    );
    assert_eq!((hog["stretch"].as_f64(), hog["autoscalers"].as_u64()), (Some(20.0), Some(40)));
    assert_eq!((small["heldBack"].as_bool(), small["stretch"].as_f64()), (Some(false), Some(1.0)));
    let detail = tidegate.detail("hog", "hog-0");
    assert_eq!(detail["effectivePollingIntervalSeconds"].as_f64(), Some(2.0));
    assert_eq!(detail["pollingIntervalSeconds"].as_f64(), Some(0.1));
    assert_eq!(detail["maxSampleAgeSeconds"].as_f64(), Some(6.0), "three effective intervals");
    assert!(tidegate.detail("small", "small").get("effectivePollingIntervalSeconds").is_none());
    assert_eq!(tidegate.metric("tidegate_poll_demand_reads_per_second{namespace=\"hog\"}"), Some(20_000.0));
    assert_eq!(tidegate.metric("tidegate_poll_allowed_reads_per_second{namespace=\"hog\"}"), Some(1_000.0));
    assert_eq!(tidegate.metric("tidegate_poll_demand_reads_per_second{namespace=\"small\"}"), None);

    // What it gets, by the server's own count; and nobody is taken for stale meanwhile.
    let reads =
        |namespace: &str| tidegate.metric(&format!("tidegate_poll_reads_total{{connection=\"{namespace}/main\"}}"));
    let (began, hog_before, small_before) = (Instant::now(), reads("hog").unwrap(), reads("small").unwrap());
    let calls = redis.calls("llen");
    while began.elapsed() < Duration::from_secs(5) {
        let list = tidegate.get("/api/v1/autoscalers").json();
        for item in list["items"].as_array().unwrap() {
            assert_eq!(item["health"], "fresh", "{item}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let calls = redis.calls("llen") - calls;
    let seconds = began.elapsed().as_secs_f64();
    let hog = (reads("hog").unwrap() - hog_before) / seconds;
    let small = (reads("small").unwrap() - small_before) / seconds;
    assert!((200.0..1_300.0).contains(&hog), "the hog gets {hog} reads a second");
    assert!(small > 10.0, "the neighbour gets {small} of its 20 reads a second");
    assert!((calls as f64) < 1_500.0 * seconds, "{calls} calls in {seconds} s");

    // Late, but not lost.
    let _: i64 = redis.command(&["RPUSH", "hog:7:49", "x", "y"]);
    until("the hog's backlog", || tidegate.detail("hog", "hog-7")["backlog"].as_f64() == Some(2.0));
}

#[tokio::test]
async fn the_whole_process_has_a_budget_that_the_modest_do_not_notice() {
    let redis = RedisProcess::start();
    let mut text = String::new();
    for namespace in ["one", "two", "three"] {
        text += &connection(namespace, "main", &redis.address());
    }
    text += &autoscaler("one", "one", "  pollingInterval: 100ms\n", "main", &keys("one", 100));
    text += &autoscaler("two", "two", "  pollingInterval: 100ms\n", "main", &keys("two", 500));
    text += &autoscaler("three", "three", "  pollingInterval: 100ms\n", "main", &keys("three", 2));
    let tidegate = Tidegate::start(&text, &["--max-reads-per-second", "820"]);
    until_along("two held back", || {
        tidegate.metric("tidegate_poll_allowed_reads_per_second{namespace=\"two\"}").is_some()
    })
    .await;
    let namespaces = tidegate.get("/api/v1/namespaces").json();
    let allowed: Vec<f64> = namespaces["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["allowedReadsPerSecond"].as_f64().unwrap())
        .collect();
    assert_eq!(allowed, [400.0, 20.0, 400.0], "{namespaces}");
    // A trigger that a KEDA call names is demand like any other.
    let address = redis.address();
    let metadata = [("listName", "x"), ("connection", "main"), ("pollingInterval", "50ms"), ("address", &address)];
    tidegate.keda("three", &metadata).await.until_value(0.0).await;
    until_along("its demand counted", || {
        let namespaces = tidegate.get("/api/v1/namespaces").json();
        namespaces["items"][1]["demandReadsPerSecond"].as_f64() == Some(40.0)
    })
    .await;
}

// === held back and released, on the poller itself ===

struct Budgeted {
    changes: Option<mpsc::UnboundedSender<Change>>,
    samples: std::sync::mpsc::Receiver<Vec<Sample>>,
    shares: Arc<arc_swap::ArcSwap<Shares>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Budgeted {
    fn start(per_namespace: u32) -> Self {
        let limits = Limits { reads_per_second_per_namespace: per_namespace, ..Limits::default() };
        let (changes, inbox) = mpsc::unbounded_channel();
        let (samples, mut outbox) = mpsc::channel(64);
        let (forward, batches) = std::sync::mpsc::channel();
        let shares = Arc::new(arc_swap::ArcSwap::default());
        let poller = Poller::new(Clock::start(), samples, MemoryQueues::new()).within(&limits, Arc::clone(&shares));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let forwarding = async {
                    while let Some(batch) = outbox.recv().await {
                        let _ = forward.send(batch);
                    }
                };
                tokio::join!(poller.run(inbox), forwarding);
            });
        });
        Budgeted { changes: Some(changes), samples: batches, shares, thread: Some(thread) }
    }

    /// An autoscaler of as many embedded queues, one trigger each.
    fn set(&self, key: u32, namespace: &str, queues: usize, interval: Duration) {
        let memory = polling::memory();
        let sources = (0..queues).map(|queue| (&memory, Source::Memory { queue: format!("q{queue}").into() }));
        let spec = polling::autoscaler(&format!("a{key}"), interval, &sources.collect::<Vec<_>>());
        let spec = AutoscalerSpec { id: AutoscalerId::new(namespace, format!("a{key}")), ..(*spec).clone() };
        self.changes.as_ref().unwrap().send(Change::Set(Key(key), Arc::new(spec))).unwrap();
    }

    fn remove(&self, key: u32) {
        self.changes.as_ref().unwrap().send(Change::Removed(Key(key))).unwrap();
    }

    /// Samples of each key within `span`, and the largest batch.
    fn count(&self, span: Duration) -> (HashMap<u32, usize>, usize) {
        let end = Instant::now() + span;
        let (mut counts, mut largest) = (HashMap::new(), 0);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let Ok(batch) = self.samples.recv_timeout(left) else { break };
            largest = largest.max(batch.len());
            for sample in batch {
                *counts.entry(sample.key.0).or_default() += 1;
            }
        }
        (counts, largest)
    }

    fn stretch(&self, namespace: &str) -> f64 {
        self.shares.load().get(namespace).map_or(1.0, |share| share.stretch)
    }
}

impl Drop for Budgeted {
    fn drop(&mut self) {
        drop(self.changes.take());
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking());
        }
    }
}

#[test]
fn who_was_held_back_is_released_when_others_leave_and_nobody_is_forgotten() {
    const EVERY: Duration = Duration::from_millis(50);
    let poller = Budgeted::start(200);
    // 2,000 reads a second asked for, so that every 50 ms become every 500.
    (0..100).for_each(|key| poller.set(key, "hog", 1, EVERY));
    poller.set(100, "small", 1, EVERY);
    until("the budget", || poller.stretch("hog") == 10.0);
    assert_eq!(poller.stretch("small"), 1.0);
    let (first, _) = poller.count(Duration::from_secs(1));
    assert_eq!(first.len(), 101, "everybody has a first reading");
    let (counts, _) = poller.count(Duration::from_secs(3));
    let hog: usize = (0..100).map(|key| counts.get(&key).copied().unwrap_or(0)).sum();
    assert!((150..900).contains(&hog), "{hog} instead of 600");
    assert!((0..100).all(|key| counts.contains_key(&key)), "everybody has a turn");
    assert!(counts[&100] > 15, "the neighbour: {}", counts[&100]);

    // Somebody who changes something all the time gets no more for it, but for the first reading of each change.
    for round in 0..20 {
        poller.set(99, "hog", 1 + round % 2, EVERY);
        std::thread::sleep(Duration::from_millis(20));
    }
    poller.samples.try_iter().for_each(drop);
    let (counts, _) = poller.count(Duration::from_secs(1));
    let hog: usize = (0..100).map(|key| counts.get(&key).copied().unwrap_or(0)).sum();
    assert!(hog < 400, "{hog} instead of 200");

    (5..100).for_each(|key| poller.remove(key));
    until("release", || poller.stretch("hog") == 1.0);
    // 20 times a second on a machine that has time for it, where it was twice.
    until("reads as frequent as asked for", || {
        poller.samples.try_iter().for_each(drop);
        let (counts, _) = poller.count(Duration::from_secs(1));
        assert!(!counts.contains_key(&50), "who is gone is not read");
        (0..5).all(|key| counts.get(&key).is_some_and(|count| *count >= 8))
    });
}

#[test]
fn a_giant_comes_in_small_rounds_and_everything_in_small_batches() {
    let poller = Budgeted::start(2_000);
    (0..500).for_each(|key| poller.set(key, "hog", 10, Duration::from_millis(100)));
    // Within its share, but of more samples than one batch should have.
    (500..600).for_each(|key| poller.set(key, "quiet", 15, Duration::from_secs(1)));
    until("the budget", || poller.stretch("hog") == 25.0);
    let (counts, largest) = poller.count(Duration::from_secs(4));
    assert_eq!(counts.len(), 600);
    assert!(largest <= 1_015, "a batch of {largest}");
    assert!((500..600).all(|key| counts[&key] % 15 == 0), "triggers of one autoscaler come together");
}
