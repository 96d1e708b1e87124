//! Maps of KEDA's `prometheus` trigger.

use std::collections::HashMap;
use std::time::Duration;

use tidegate::spec::grants::Grants;
use tidegate::spec::keda_metadata::{Ask, ScaledObject, TriggerAsk, read};
use tidegate::spec::load::{SourceText, Terms, load};
use tidegate::spec::problem::Problems;
use tidegate::spec::{Freshness, HttpServer, PrometheusQuery, Server, Source};

fn grants() -> Grants {
    let text = r#"
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: prometheus, namespace: pulse }
spec: { prometheus: { url: "http://prometheus:9090/prom", username: me, password: planted-secret } }
---
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: redis, namespace: pulse }
spec: { redis: { address: "redis:6379" } }
"#;
    let text = SourceText { file: "grants.yaml".to_owned(), text: text.to_owned() };
    let allow_addresses = vec!["*.allowed.svc:*".to_owned()];
    load(&[text], &Terms { allow_addresses, ..Terms::default() }).unwrap_or_else(|problems| panic!("{problems}")).grants
}

fn ask(pairs: &[(&str, &str)]) -> Result<TriggerAsk, Problems> {
    let metadata: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let ask = read(&ScaledObject { namespace: "pulse", name: "worker", metadata: &metadata }, &grants())?;
    match ask {
        Ask::Trigger(ask) => Ok(ask),
        Ask::Named { .. } => panic!("{ask:?}"),
    }
}

fn registered(pairs: &[(&str, &str)]) -> (PrometheusQuery, HttpServer, TriggerAsk) {
    let ask = ask(pairs).unwrap_or_else(|problems| panic!("{problems}"));
    let spec = ask.registration.as_ref().unwrap_or_else(|problems| panic!("{problems}"));
    let trigger = &spec.triggers[0];
    let (Source::PrometheusQuery(query), Server::Prometheus(server)) = (&trigger.source, &trigger.connection.server)
    else {
        panic!("{trigger:?}")
    };
    (query.clone(), server.clone(), ask)
}

fn warnings(ask: &TriggerAsk) -> String {
    ask.warnings.iter().map(|warning| format!("{warning}\n")).collect()
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    match ask(pairs) {
        Err(problems) => problems.to_string(),
        Ok(ask) => ask.registration.unwrap_err().to_string(),
    }
}

#[test]
fn a_trigger_of_kedas_is_understood() {
    let pairs = [
        ("scalerAddress", "tidegate:6000"),
        ("serverAddress", "http://prometheus.pulse.svc:9090/prom"),
        ("query", "sum(jobs_waiting)"),
        ("threshold", "12.5"),
        ("activationThreshold", "3"),
        ("ignoreNullValues", "false"),
    ];
    let (query, server, ask) = registered(&pairs);
    assert_eq!(
        (&*query.query, query.ignore_null_values, query.freshness),
        ("sum(jobs_waiting)", false, Freshness::Unknown)
    );
    // The declared Connection, with what logs in.
    assert!(server.password.is_some());
    assert_eq!(ask.target, 12.5);
    let spec = ask.registration.as_ref().unwrap();
    assert_eq!((spec.triggers[0].activation_threshold, &*spec.triggers[0].connection.name), (3.0, "pulse/prometheus"));
    assert_eq!(warnings(&ask), "");
}

#[test]
fn what_is_allowed_needs_no_connection() {
    let (query, server, ask) = registered(&[
        ("serverAddress", "https://prom.allowed.svc"),
        ("query", "jobs_waiting{queue=\"a\"}"),
        ("threshold", "1"),
        ("unsafeSsl", "true"),
        ("timeout", "1500"),
        ("ignoreNullValues", "true"),
    ]);
    assert_eq!((query.freshness, query.ignore_null_values), (Freshness::OfSamples, true));
    assert_eq!(server.url.text(), "https://prom.allowed.svc:443");
    assert!(server.tls.unwrap().insecure_skip_verify && server.response_timeout == Duration::from_millis(1_500));
    assert_eq!(warnings(&ask), "");
}

#[test]
fn what_cannot_be_carried_is_warned_of_and_what_is_no_value_is_an_error_unless_written_out() {
    let (query, _, ask) = registered(&[
        ("connection", "prometheus"),
        ("query", "sum(jobs_waiting)"),
        ("threshold", "1"),
        ("queryParameters", "a=b"),
        ("namespace", "x"),
        ("customHeaders", "X-Scope-OrgID=planted"),
        ("authModes", "bearer"),
        ("bearerToken", "planted-secret"),
        ("timeout", "3s"),
        ("treshold", "2"),
    ]);
    assert!(!query.ignore_null_values);
    let said = warnings(&ask);
    for word in [
        "metadata.queryParameters",
        "metadata.namespace",
        "metadata.customHeaders",
        "metadata.authModes",
        "metadata.bearerToken",
        "metadata.timeout",
        "did you mean `threshold`",
        "ignoreNullValues: \"true\" if it is to be zero",
    ] {
        assert!(said.contains(word), "{word} in:\n{said}");
    }
    assert!(!said.contains("planted"), "{said}");
}

#[test]
fn what_is_wrong_is_said_with_its_cure() {
    let right = [("serverAddress", "http://prometheus:9090/prom"), ("query", "sum(a)"), ("threshold", "1")];
    let with = |key: &'static str, value: &'static str| {
        let mut pairs: Vec<(&str, &str)> = right.iter().copied().filter(|(name, _)| *name != key).collect();
        pairs.push((key, value));
        refusal(&pairs)
    };
    for (key, value, words) in [
        ("query", "", "metadata.query: missing"),
        ("threshold", "", "metadata.threshold: missing"),
        ("threshold", "many", "`many` is not a number"),
        ("threshold", "0", "must be from 0.001"),
        ("threshold", "NaN", "not a number"),
        ("activationThreshold", "x", "metadata.activationThreshold"),
        ("serverAddress", "prometheus:9090", "not a URL"),
        ("serverAddress", "http://me:planted-secret@prometheus:9090", "not a URL"),
        ("serverAddress", "http://others:9090", "--allow-address others.pulse.svc:9090"),
        ("serverAddress", "https://x.allowed.svc", "declare a Connection for it with tls"),
        ("connection", "redis", "is of kind redis and answers no PromQL"),
        ("connection", "nowhere", "no Connection `nowhere`"),
        ("timeout", "soon", "no duration"),
        ("ignoreNullValues", "perhaps", "neither true nor false"),
    ] {
        let said = with(key, value);
        assert!(said.contains(words) && !said.contains("planted"), "{key}: {value}: {said}");
    }
    // Name and target are known all the same, where they can be.
    let ask = ask(&[("serverAddress", "http://others:9090"), ("query", "sum(a)"), ("threshold", "7")]).unwrap();
    assert_eq!((&*ask.metric_name, ask.target, ask.registration.is_err()), ("prometheus", 7.0, true));
}
