//! Rules and dashboard: right by promtool, about metrics that there are, and tried on a real Prometheus that scrapes a
//! real tidegate.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::objects::{documents, kind, name};
use super::{rendered, tools};
use crate::support::prometheus::PrometheusProcess;
use crate::support::redis::RedisProcess;
use crate::support::tidegate::{Tidegate, until};

fn folder() -> PathBuf {
    tools::deploy().join("monitoring")
}

fn read(path: &Path) -> Value {
    documents(&fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).remove(0)
}

fn rules() -> Vec<PathBuf> {
    ["recording", "alerts", "pulse"].map(|name| folder().join(format!("rules/{name}.yaml"))).to_vec()
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new("promtool").args(arguments).args(files).output().unwrap();
    assert!(output.status.success(), "promtool {arguments:?}: {}", tools::text(&output));
}

fn tests() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder().join("rules/tests")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn rules_pass_promtool_and_their_tests() {
    promtool(&["check", "rules"], &rules());
    promtool(&["test", "rules"], &tests());
}

/// A rule that no test has seen fire may never fire; one that no test has seen silent may always.
#[test]
fn every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not() {
    let (mut fires, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for file in tests() {
        for test in read(&file)["tests"].as_array().unwrap() {
            for case in test["alert_rule_test"].as_array().into_iter().flatten() {
                let alert = case["alertname"].as_str().unwrap().to_owned();
                let expected = case["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
                if expected { &mut fires } else { &mut silent }.insert(alert);
            }
        }
    }
    let alerts: BTreeSet<String> = rules()
        .iter()
        .flat_map(|file| read(file)["groups"].as_array().unwrap().clone())
        .flat_map(|group| group["rules"].as_array().unwrap().clone())
        .filter_map(|rule| Some(rule["alert"].as_str()?.to_owned()))
        .collect();
    assert!(alerts.len() >= 12, "{alerts:?}");
    assert_eq!(alerts.difference(&fires).collect::<Vec<_>>(), Vec::<&String>::new(), "never seen to fire");
    assert_eq!(alerts.difference(&silent).collect::<Vec<_>>(), Vec::<&String>::new(), "never seen silent");
}

#[test]
fn the_operator_s_objects_have_the_same_rules() {
    let groups = |file: &str| read(&folder().join("rules").join(file))["groups"].as_array().unwrap().clone();
    let ours = read(&tools::deploy().join("components/prometheus-operator/rules.yaml"));
    assert_eq!(json!([groups("recording.yaml"), groups("alerts.yaml")].concat()), ours["spec"]["groups"]);
    let Some(pulse) = rendered::one("stacks/pulse/overlays/standalone") else { return };
    let theirs = pulse.iter().find(|object| kind(object) == "PrometheusRule").unwrap();
    let theirs = theirs["spec"]["groups"].as_array().unwrap();
    let document = &groups("pulse.yaml")[0];
    let group = theirs.iter().find(|group| group["name"] == document["name"]).unwrap();
    assert_eq!(group["rules"], document["rules"]);
}

#[test]
fn the_stacks_rules_pass_promtool_too() {
    let Some(all) = rendered::all() else { return };
    let folder = TempDir::new().unwrap();
    let mut files = Vec::new();
    for rendered in all {
        for object in rendered.objects.iter().filter(|object| kind(object) == "PrometheusRule") {
            let file = folder.path().join(format!("{}-{}.yaml", files.len(), name(object)));
            fs::write(&file, json!({ "groups": object["spec"]["groups"] }).to_string()).unwrap();
            files.push(file);
        }
    }
    if !files.is_empty() {
        promtool(&["check", "rules"], &files);
    }
}

/// Each panel's title with each of its queries; rows have panels of their own.
fn panels(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().into_iter().flatten() {
        let title = panel["title"].as_str().unwrap_or_default();
        for target in panel["targets"].as_array().into_iter().flatten() {
            found.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
        found.extend(panels(panel));
    }
    found
}

fn dashboard() -> Value {
    serde_json::from_str(&fs::read_to_string(folder().join("dashboard.json")).unwrap()).unwrap()
}

/// Names of ours in an expression.
fn metrics(expression: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c| !part(c));
    words.filter(|word| word.starts_with("tidegate_") || word.contains(":tidegate_")).map(str::to_owned).collect()
}

#[test]
fn rules_and_dashboard_are_about_metrics_that_there_are() {
    let reference = fs::read_to_string(folder().join("metrics.md")).unwrap();
    let recorded: BTreeSet<String> = read(&folder().join("rules/recording.yaml"))["groups"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap())
        .map(|rule| rule["record"].as_str().unwrap().to_owned())
        .collect();
    let mut expressions: Vec<String> = panels(&dashboard()).into_iter().map(|(_, expression)| expression).collect();
    assert!(expressions.len() > 20, "{}", expressions.len());
    for file in &rules()[..2] {
        for group in read(file)["groups"].as_array().unwrap() {
            let rules = group["rules"].as_array().unwrap();
            expressions.extend(rules.iter().map(|rule| rule["expr"].as_str().unwrap().to_owned()));
        }
    }
    let mut unknown = BTreeSet::new();
    for metric in expressions.iter().flat_map(|expression| metrics(expression)) {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| metric.strip_suffix(suffix));
        let known = |name: &str| reference.contains(&format!("`{name}`")) || recorded.contains(name);
        if !known(&metric) && !base.is_some_and(known) {
            unknown.insert(metric);
        }
    }
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn the_dashboard_can_be_imported_anywhere() {
    let dashboard = dashboard();
    assert_eq!(dashboard["uid"], "tidegate");
    assert!(dashboard["id"].is_null(), "an id of somebody's Grafana");
    assert_eq!(dashboard["__inputs"][0]["pluginId"], "prometheus");
    let text = dashboard.to_string();
    let fixed = text.match_indices("\"datasource\":{").filter(|(at, _)| {
        let here = &text[*at..text.len().min(at + 120)];
        !here.contains("${DS_PROMETHEUS}") && !here.contains("${datasource}") && !here.contains("-- Grafana --")
    });
    assert_eq!(fixed.count(), 0, "a data source of somebody's Grafana");
    fn ids(panels: &Value, found: &mut Vec<u64>) {
        for panel in panels.as_array().into_iter().flatten() {
            found.push(panel["id"].as_u64().unwrap());
            if panel["type"] != "row" {
                assert!(!panel["description"].as_str().unwrap_or_default().is_empty(), "{}", panel["title"]);
            }
            ids(&panel["panels"], found);
        }
    }
    let mut found = Vec::new();
    ids(&dashboard["panels"], &mut found);
    let all = found.len();
    found.sort_unstable();
    found.dedup();
    assert_eq!(found.len(), all, "two panels have the same id");
}

// === on a real Prometheus ===

fn ask(server: &PrometheusProcess, path: &str, query: &str) -> Value {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {path}{encoded} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// With Grafana's variables filled in as a person would who has chosen everything.
fn filled_in(expression: &str) -> String {
    let all = [
        ("$__rate_interval", "10s"),
        ("$__interval", "5s"),
        ("$__range", "1m"),
        ("${__range}", "1m"),
        ("$namespace", ".*"),
        ("${namespace:regex}", ".*"),
        ("$autoscaler", ".*"),
        ("${autoscaler:regex}", ".*"),
        ("$job", ".*"),
        ("$instance", ".*"),
    ];
    let filled = all.iter().fold(expression.to_owned(), |text, (variable, value)| text.replace(variable, value));
    assert!(!filled.contains('$'), "a variable that this test does not know: {filled}");
    filled
}

#[test]
fn every_panel_and_rule_works_on_a_real_prometheus_that_scrapes_a_real_tidegate() {
    let redis = RedisProcess::start();
    let manifests = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: r, namespace: shop }}\n\
         spec: {{ redis: {{ address: \"{}\" }} }}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: w, namespace: shop }}\n\
         spec:\n  scaleTargetRef: {{ name: w }}\n  maxReplicas: 3\n  triggers:\n\
         \x20 - connection: r\n    redisList: {{ keys: [jobs], processing: [busy] }}\n\
         \x20   policy: {{ backlogPerReplica: {{ target: 10 }} }}\n",
        redis.address()
    );
    let tidegate = Tidegate::start(&manifests, &["--target", "memory"]);
    let folder = TempDir::new().unwrap();
    // Every second and not at the rules' own pace: a test has less time than an operator.
    let files: Vec<PathBuf> = rules()
        .iter()
        .enumerate()
        .map(|(i, file)| {
            let mut rules = read(file);
            for group in rules["groups"].as_array_mut().unwrap() {
                group["interval"] = json!("1s");
            }
            let copy = folder.path().join(format!("{i}.yaml"));
            fs::write(&copy, rules.to_string()).unwrap();
            copy
        })
        .collect();
    let server = PrometheusProcess::evaluating(&[tidegate.http_address().to_string()], &files);
    let words: Vec<String> = (0..100).map(|job| format!("job-{job}")).collect();
    let words: Vec<&str> = ["RPUSH", "jobs"].into_iter().chain(words.iter().map(String::as_str)).collect();
    let _: i64 = redis.command(&words);
    let series = |query: &str| {
        let answer = ask(&server, "/api/v1/query?query=", query);
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        let result = &answer["data"]["result"];
        if answer["data"]["resultType"] == "scalar" { 1 } else { result.as_array().unwrap().len() }
    };
    until("scraped, with the backlog in it", || series("tidegate_trigger_backlog == 100") == 1);
    // Rates need a few samples.
    thread::sleep(Duration::from_secs(6));
    let (mut with_data, mut without) = (0, Vec::new());
    for (title, expression) in panels(&dashboard()) {
        match series(&filled_in(&expression)) {
            0 => without.push(format!("{title}: {expression}")),
            _ => with_data += 1,
        }
    }
    // What has happened to nobody here has no series: conflicts, reloads, KEDA's calls, a Lease.
    assert!(
        with_data * 2 > without.len() * 2 && with_data >= 20,
        "{with_data} with data, none:\n{}",
        without.join("\n")
    );
    // Prometheus has evaluated every rule, and none of them is in trouble.
    let health = ask(&server, "/api/v1/rules", "");
    let mut evaluated = 0;
    for group in health["data"]["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            assert_eq!(rule["health"], "ok", "{rule}");
            evaluated += 1;
        }
    }
    assert!(evaluated > 20, "{evaluated}");
    // The workload stands at its maximum with more to do. That is no alert yet, nor is anything else.
    let firing = ask(&server, "/api/v1/alerts", "");
    let firing: Vec<&Value> =
        firing["data"]["alerts"].as_array().unwrap().iter().filter(|alert| alert["state"] == "firing").collect();
    assert!(firing.is_empty(), "{firing:?}");
    // And one that must come: the page is gone.
    drop(tidegate);
    until("an alert that tidegate is away, pending at least", || {
        let alerts = ask(&server, "/api/v1/alerts", "");
        let list = alerts["data"]["alerts"].as_array().unwrap().clone();
        list.iter().any(|alert| alert["labels"]["alertname"].as_str().unwrap().contains("Down"))
    });
}
