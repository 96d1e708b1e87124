//! `/metrics` of the real binary, with autoscalers that work, fail, were registered by a KEDA call, and are scaled in a
//! rehearsal: promtool finds nothing to say, and what is exported is what the reference lists.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::process::{Command, Stdio};

use tidegate::telemetry::names::{self, Detail, Kind, Metric};

use crate::support::redis::{RedisProcess, free_port};
use crate::support::tidegate::{Tidegate, until_along};

/// Metrics that this test gives no cause to appear, each with the reason.
const NOT_HERE: &[(&str, &str)] = &[
    (names::CREDENTIAL_RENEWALS, "no connection here has files"),
    (names::PARTITIONS, "no database here; tests/serve.rs has them"),
    (names::UNOWNED, "no database here; tests/serve.rs has them"),
    (names::REBALANCING, "no database here; tests/serve.rs has them"),
    (names::POLL_DEMAND, "nobody is held back"),
    (names::POLL_ALLOWED, "nobody is held back"),
    (names::CONNECTIONS_ABANDONED, "everybody talks"),
    (names::CHECKPOINT_WRITES, "nothing is written down"),
    (names::CHECKPOINT_BYTES, "nothing is written down"),
    (names::RECORDING, "nothing is recorded"),
    (names::RECORDED_BYTES, "nothing is recorded"),
    (names::KUBE_REQUESTS, "no cluster"),
    (names::KUBE_REQUEST_DURATION, "no cluster"),
    (names::LEADER, "no cluster"),
    (names::LEADERSHIP_CHANGES, "no cluster"),
    (names::LEASE_RENEWAL_GAP, "no cluster"),
    (names::STATUS_WRITES, "no cluster"),
    (names::STATUS_WAITING, "no cluster"),
    (names::EVENTS, "no cluster"),
    (names::RESTORES, "no cluster"),
    (names::TLS_RELOADS, "no TLS"),
    (names::TLS_RELOAD_FAILING, "no TLS"),
    (names::TLS_HANDSHAKES, "no TLS"),
];

/// Everything of one scrape: the type of each family, and the label sets of its series.
#[derive(Debug, Default)]
struct Scrape {
    types: BTreeMap<String, String>,
    series: BTreeMap<String, Vec<BTreeMap<String, String>>>,
}

impl Scrape {
    fn read(text: &str) -> Self {
        let mut scrape = Scrape::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert!(scrape.types.insert(name.into(), kind.into()).is_none(), "{name} is there in two places");
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let family = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end).filter(|stem| scrape.types.contains_key(*stem)))
                    .unwrap_or(name);
                assert!(scrape.types.contains_key(family), "{line} has no type");
                // No value of this test has a comma in it.
                let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
                let pair = |label: &str| {
                    let (name, value) = label.split_once('=').unwrap();
                    (name.to_owned(), value.trim_matches('"').to_owned())
                };
                scrape.series.entry(family.into()).or_default().push(labels.map(pair).collect());
            }
        }
        scrape
    }
}

fn promtool(metrics: &str, detail: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!("promtool does not start ({error}); install it: apt-get install prometheus, or let tests/run do it")
    });
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "promtool at {detail}: {said}\n{metrics}");
}

fn manifests(working: &str, dead: &str) -> String {
    let connection = |name: &str, address: &str| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: {name}, namespace: pulse }}\n\
             spec: {{ redis: {{ address: \"{address}\" }} }}\n---\n"
        )
    };
    let autoscaler = |name: &str, connection: &str| {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: {name}, namespace: pulse }}\n\
             spec:\n  scaleTargetRef: {{ name: {name} }}\n  pollingInterval: 100ms\n  triggers:\n    \
             - connection: {connection}\n      redisList: {{ keys: [{name}] }}\n      \
             policy: {{ backlogPerReplica: {{ target: 5 }} }}\n---\n"
        )
    };
    [
        connection("works", working),
        connection("dead", dead),
        autoscaler("mail", "works"),
        autoscaler("lost", "dead"),
        // What it reads is nothing that can be counted.
        autoscaler("text", "works"),
        // Another namespace's, whose source shows all there is to see, and whose server is spared.
        connection("works", working).replace("pulse", "bank").replace("\" }", "\", maxCommandsPerSecond: 1000 }"),
        autoscaler("books", "works").replace("pulse", "bank").replace("redisList: { keys", "rq: { queues"),
    ]
    .concat()
}

fn name(detail: Detail) -> &'static str {
    detail.as_str()
}

/// Starts one, gives everything that is measured a cause, and scrapes it.
async fn scraped(detail: Detail, redis: &RedisProcess) -> String {
    let address = redis.address();
    let manifests = manifests(&address, &format!("127.0.0.1:{}", free_port()));
    let arguments = ["--target", "memory", "--allow-address", &address, "--metrics-detail", name(detail)];
    let tidegate = Tidegate::start(&manifests, &arguments);
    until_along("ready", || tidegate.is_ready()).await;
    let mut keda = tidegate.keda("shop", &[("address", &address), ("listName", "mail"), ("listLength", "5")]).await;
    keda.until_value(12.0).await;
    keda.specs().await.unwrap();
    keda.active().await.unwrap();
    let stream = keda.client.stream_is_active(keda.object.clone()).await.unwrap();
    until_along("three replicas", || tidegate.replicas("pulse", "mail") == 3).await;
    until_along("the rehearsal seen", || {
        tidegate.detail("pulse", "mail")["current"] == 3
            && tidegate.detail("pulse", "lost")["health"] != "pending"
            && tidegate.detail("bank", "books")["triggers"][0]["oldestAgeSeconds"].is_number()
    })
    .await;
    let metrics = tidegate.get("/metrics").body;
    drop(stream);
    metrics
}

#[tokio::test]
async fn promtool_and_the_reference_agree_with_what_is_exported_at_every_detail() {
    let redis = RedisProcess::start();
    let _: i64 = redis.command(&["RPUSH", "mail", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"]);
    let _: String = redis.command(&["SET", "text", "no list"]);
    let _: i64 = redis.command(&["RPUSH", "rq:queue:books", "one"]);
    let _: i64 = redis.command(&["HSET", "rq:job:one", "enqueued_at", "2026-01-01T00:00:00.000001Z"]);
    for detail in Detail::ALL {
        let text = scraped(detail, &redis).await;
        promtool(&text, name(detail));
        let scrape = Scrape::read(&text);
        for (family, series) in &scrape.series {
            let metric = names::describe(family).unwrap_or_else(|| panic!("{family} is not in names::ALL"));
            matches_its_line(metric, &scrape.types[family], series);
        }
        for (family, kind) in &scrape.types {
            let metric = names::describe(family).unwrap_or_else(|| panic!("{family} is not in names::ALL"));
            assert_eq!(metric.kind.as_str(), kind, "{family}");
        }
        for metric in names::ALL {
            let expected = metric.only_at().is_none_or(|only| only == detail);
            let excused = NOT_HERE.iter().any(|(name, _)| *name == metric.name);
            let there = scrape.series.contains_key(metric.name);
            assert!(
                there == expected || excused && !there,
                "{} at {}: exported {there}, expected {expected}; if this test gives it no cause, say so in NOT_HERE",
                metric.name,
                name(detail)
            );
        }
        if detail == Detail::Namespace {
            let value = |series: &str| {
                let line =
                    text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("{series}"));
                line.trim().parse::<f64>().unwrap()
            };
            assert_eq!(value("tidegate_namespace_autoscalers{namespace=\"pulse\"}"), 3.0);
            assert_eq!(value("tidegate_namespace_backlog{namespace=\"pulse\"}"), 12.0);
            assert_eq!(value("tidegate_namespace_backlog{namespace=\"shop\"}"), 12.0);
            assert_eq!(value("tidegate_namespace_current_replicas{namespace=\"pulse\"}"), 3.0);
            assert_eq!(value("tidegate_namespace_desired_replicas{namespace=\"pulse\"}"), 3.0);
            assert_eq!(value("tidegate_namespace_active_autoscalers{namespace=\"pulse\"}"), 1.0);
            assert_eq!(value("tidegate_namespace_failing_triggers{namespace=\"pulse\"}"), 2.0);
            assert!(value("tidegate_namespace_oldest_sample_age_seconds{namespace=\"pulse\"}") < 60.0);
        }
    }
}

/// Exactly the declared labels, and of closed sets only their values.
fn matches_its_line(metric: &Metric, kind: &str, series: &[BTreeMap<String, String>]) {
    let declared: BTreeSet<&str> = metric.labels.iter().map(|label| label.name).collect();
    assert_eq!(kind, metric.kind.as_str(), "{}", metric.name);
    for labels in series {
        let mut found: BTreeSet<&str> = labels.keys().map(String::as_str).collect();
        if metric.kind == Kind::Histogram {
            found.remove("le");
        }
        assert_eq!(found, declared, "{}", metric.name);
        for label in metric.labels {
            let value = labels[label.name].as_str();
            if let Some(values) = label.closed_values() {
                assert!(values.contains(&value), "{}: {}={value} is not one of {values:?}", metric.name, label.name);
            }
        }
    }
}
