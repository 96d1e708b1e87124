//! KEDA's `prometheus` trigger: `serverAddress`, `query`, `threshold` and their company.
//!
//! One default differs, on purpose: KEDA takes an empty answer for zero unless `ignoreNullValues: "false"` is written, and
//! so scales to zero whenever an exporter or a rule breaks. Here it is an error unless `"true"` is written out; a warning
//! says so where it is not.
//!
//! What logs in, and what goes along with every request, belongs to a Connection. So it does not come from here, and
//! is warned of.

use std::sync::Arc;
use std::time::Duration;

use super::keys::{Found, Keys, path};
use super::{ScaledObject, TriggerAsk, polling_interval};
use crate::spec::address;
use crate::spec::grants::{Grants, Lookup};
use crate::spec::manifest::{self, BacklogPerReplica, Policy, QuantityText, QueueAutoscalerBody, Trigger};
use crate::spec::problem::{Problem, Problems};
use crate::spec::report::Report;
use crate::spec::{ClientTls, ConnectionSpec, HttpServer, HttpUrl, Origin, Server, validate};
use crate::spec::{Freshness, PrometheusQuery, Source};

/// What a metric can hold, in thousandths as the HPA counts.
const TARGETS: std::ops::RangeInclusive<f64> = 0.001..=9e15;
/// KEDA's own bound on an answer.
const TIMEOUT: Duration = Duration::from_secs(3);
/// A Connection's bound on connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The keys that belong to this trigger alone, and what becomes of those that have no effect here.
pub(super) const KEYS: [&str; 15] = [
    "serverAddress",
    "query",
    "threshold",
    "activationThreshold",
    "ignoreNullValues",
    "unsafeSsl",
    "timeout",
    "queryParameters",
    "namespace",
    "customHeaders",
    "authModes",
    "cortexOrgID",
    "awsRegion",
    "identityOwner",
    "metricName",
];

const NOT_CARRIED: [(&str, &str); 8] = [
    ("queryParameters", "write what it narrows into the query"),
    ("namespace", "write it into the query: {namespace=\"...\"}"),
    ("customHeaders", "declare a Connection with headers"),
    ("cortexOrgID", "declare a Connection with headers: { X-Scope-OrgID: ... }"),
    ("authModes", "declare a Connection with username, passwordFrom, bearerTokenFrom or tls"),
    ("awsRegion", "declare a Connection to something that signs requests"),
    ("identityOwner", "declare a Connection with what logs in"),
    ("metricName", "take it out, as KEDA has"),
];

/// Whether the keys are those of this trigger.
pub(super) fn is_meant(keys: &Keys<'_>) -> bool {
    match keys.text("triggerType") {
        Some(kind) => kind == "prometheus",
        None => {
            keys.find(&["serverAddress"]).is_some()
                || (keys.find(&["query", "threshold"]).is_some() && !has_others(keys))
        }
    }
}

/// A query may be SQL as well: then its target has another name.
fn has_others(keys: &Keys<'_>) -> bool {
    keys.find(&["targetQueryValue", "listName", "stream", "dbName"]).is_some()
}

pub(super) fn trigger(
    object: &ScaledObject<'_>,
    grants: &Grants,
    keys: &mut Keys<'_>,
    most_warnings: usize,
) -> Result<TriggerAsk, Problems> {
    let query = keys.text("query");
    if query.is_none() {
        keys.problem("query", "missing: the PromQL that finds the backlog", "e.g. query: sum(jobs_waiting)");
    }
    let target = number(keys, "threshold", None).filter(|target| {
        let right = TARGETS.contains(target);
        if !right {
            let key = keys.spelling("threshold");
            keys.problem(key, format!("must be from 0.001 to 9e15, found {target}"), "e.g. threshold: \"100\"");
        }
        right
    });
    let activation = number(keys, "activationThreshold", Some(0.0));
    let ignore = keys.boolean("ignoreNullValues");
    let connection = connection(object, grants, keys);
    let polling_interval = polling_interval(keys);
    let mut warnings = keys.without_effect(most_warnings);
    warnings.extend(own_warnings(keys, connection.as_deref()));
    let (Some(query), Some(target)) = (query, target) else {
        return Err(Problems(std::mem::take(&mut keys.problems)));
    };
    let body = QueueAutoscalerBody {
        polling_interval,
        triggers: Some(vec![Trigger {
            prometheus_query: Some(manifest::PrometheusQuery {
                query: Some(query.to_owned()),
                ignore_null_values: Some(ignore),
                ..manifest::PrometheusQuery::default()
            }),
            policy: Some(Policy {
                backlog_per_replica: Some(BacklogPerReplica { target: Some(QuantityText(target.to_string())) }),
                ..Policy::default()
            }),
            activation_threshold: activation.map(|activation| QuantityText(activation.to_string())),
            ..Trigger::default()
        }]),
        ..QueueAutoscalerBody::default()
    };
    let renamed = [
        ("spec.triggers[0].prometheusQuery", path(keys.spelling("query"))),
        ("spec.triggers[0].policy", path(keys.spelling("threshold"))),
        ("spec.triggers[0].activationThreshold", path(keys.spelling("activationThreshold"))),
        ("spec.triggers[0].connection", path(keys.spelling("connection"))),
        ("spec.pollingInterval", path(keys.spelling("pollingInterval"))),
    ];
    let mut report = Report::of_metadata(&renamed);
    let head = validate::Head {
        id: crate::model::AutoscalerId::new(object.namespace, format!("{}-{}", object.name, keys.fingerprint())),
        origin: Origin::KedaMetadata,
        annotations: validate::Annotations::default(),
        // A stand-in where there is none: the problem that says so keeps it from being registered.
        connection: Some(connection.unwrap_or_else(|| {
            bare(HttpUrl { encrypted: false, address: String::new(), path: String::new() }, false, TIMEOUT)
        })),
    };
    let spec = validate::autoscaler(head, &body, grants, &mut report);
    warnings.append(&mut report.warnings);
    let mut problems = std::mem::take(&mut keys.problems);
    problems.append(&mut report.problems);
    let source = Source::PrometheusQuery(PrometheusQuery {
        query: query.into(),
        labels: Vec::new(),
        freshness: Freshness::Unknown,
        ignore_null_values: ignore,
    });
    Ok(TriggerAsk {
        metric_name: validate::metric_name(&source).into(),
        target,
        registration: if problems.is_empty() { Ok(Arc::new(spec)) } else { Err(Problems(problems)) },
        warnings,
    })
}

/// A number as Go reads it. What is none is reported.
fn number(keys: &mut Keys<'_>, name: &'static str, default: Option<f64>) -> Option<f64> {
    let Some(Found { key, value }) = keys.find(&[name]) else {
        if default.is_none() {
            keys.problem(
                name,
                "missing: how much of the query's value a replica may have",
                format!("e.g. {name}: \"100\""),
            );
        }
        return default;
    };
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite());
    if number.is_none() {
        keys.problem(key, format!("`{value}` is not a number"), format!("e.g. {name}: \"100\""));
    }
    number
}

/// The Connection that is named, or one to the address, or the address itself where the operator allows it.
fn connection(object: &ScaledObject<'_>, grants: &Grants, keys: &mut Keys<'_>) -> Option<Arc<ConnectionSpec>> {
    if keys.text("serve").is_some_and(|serve| serve != "backlog") {
        let cure = "declare a QueueAutoscaler and write autoscaler: with its name, or take serve out";
        keys.problem("serve", "replicas can only be served of a named QueueAutoscaler", cure);
    }
    let unsafe_ssl = keys.boolean("unsafeSsl");
    let timeout = timeout(keys);
    let namespace = object.namespace;
    if let Some(Found { key, value: name }) = keys.find(&["connection"]) {
        return match grants.look_up(namespace, name) {
            Lookup::Found(connection) if matches!(connection.server, Server::Prometheus(_)) => Some(connection),
            Lookup::Found(connection) => {
                let message =
                    format!("Connection `{name}` is of kind {} and answers no PromQL", connection.server.block());
                keys.problem(key, message, "name one of kind prometheus");
                None
            }
            Lookup::Forbidden => {
                let message = format!("ClusterConnection `{name}` does not allow namespace `{namespace}`");
                keys.problem(key, message, format!("add {namespace} to its spec.allowedNamespaces"));
                None
            }
            // What other namespaces' owners declared is not told to whoever may create a ScaledObject.
            Lookup::Broken | Lookup::Unknown => {
                let message = format!("no Connection `{name}` that namespace `{namespace}` may use");
                let cure =
                    format!("declare it: kind: Connection, metadata: {{ name: {name}, namespace: {namespace} }}");
                keys.problem(key, message, cure);
                None
            }
        };
    }
    let Some(Found { key, value }) = keys.find(&["serverAddress"]) else {
        let cure = "e.g. serverAddress: http://prometheus.monitoring:9090, or connection: prometheus";
        keys.problem("serverAddress", "missing: the Prometheus to ask", cure);
        return None;
    };
    // What is written may have a password in it: it is not repeated.
    let Some(mut url) = HttpUrl::parse(value) else {
        let cure = "e.g. serverAddress: http://prometheus.monitoring:9090; a login belongs into a Connection";
        keys.problem(key, "not a URL with a host, and perhaps a port and a path", cure);
        return None;
    };
    let asked = std::mem::take(&mut url.address);
    url.address = address::expand_service(&asked, namespace);
    if let Some(connection) = grants.prometheus(namespace, &url) {
        return Some(connection);
    }
    let address = &url.address;
    if !grants.permits(address) {
        let message = format!("no connection may lead to {address}: it is not in --only-addresses");
        keys.problem(key, message, format!("name another server, or start tidegate with --only-addresses {address}"));
        return None;
    }
    if !grants.allows(address) && !grants.allows(&asked) {
        let message = format!("no Connection of namespace `{namespace}` has the URL {}", url.text());
        keys.problem(
            key,
            message,
            format!("declare a Connection for it, or start tidegate with --allow-address {address}"),
        );
        return None;
    }
    if url.encrypted && !unsafe_ssl {
        let message = format!("no authority is known whose certificates could be trusted at {address}");
        keys.problem(key, message, "declare a Connection for it with tls: { caFile: ... }");
        return None;
    }
    Some(bare(url, unsafe_ssl, timeout.unwrap_or(TIMEOUT)))
}

fn bare(url: HttpUrl, unsafe_ssl: bool, response_timeout: Duration) -> Arc<ConnectionSpec> {
    let tls = url.encrypted.then(|| ClientTls { insecure_skip_verify: unsafe_ssl, ..ClientTls::default() });
    Arc::new(ConnectionSpec {
        name: url.address.as_str().into(),
        server: Server::Prometheus(HttpServer {
            url,
            username: None,
            password: None,
            headers: Vec::new(),
            tls,
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout,
        }),
    })
}

/// Milliseconds, or a duration as Go has it.
fn timeout(keys: &mut Keys<'_>) -> Option<Duration> {
    let Found { key, value } = keys.find(&["timeout"])?;
    let millis = value.parse::<u64>().ok().map(Duration::from_millis);
    let timeout = millis.or_else(|| crate::spec::units::parse_seconds_or_duration(value).ok());
    let timeout = timeout.filter(|timeout| (Duration::from_millis(1)..=Duration::from_secs(60)).contains(timeout));
    if timeout.is_none() {
        keys.problem(key, format!("`{value}` is no duration from 1 ms to 60 s"), "e.g. timeout: 3s");
    }
    timeout
}

fn own_warnings(keys: &Keys<'_>, connection: Option<&ConnectionSpec>) -> Vec<Problem> {
    let mut warnings = Vec::new();
    for (name, cure) in NOT_CARRIED {
        if let Some(found) = keys.find(&[name]) {
            warnings.push(Problem::new(path(found.key), "has no effect here", cure));
        }
    }
    if keys.find(&["ignoreNullValues"]).is_none() {
        let message = "not written, and no value is an error here, where KEDA takes it for zero";
        let cure = "write ignoreNullValues: \"true\" if it is to be zero, or \"false\" if you agree";
        warnings.push(Problem::new(path("ignoreNullValues"), message, cure));
    }
    // The address of a bare connection is its name.
    let declared = connection.filter(|connection| !connection.name.contains(':'));
    for name in ["unsafeSsl", "timeout"] {
        if let (Some(declared), Some(found)) = (declared, keys.find(&[name])) {
            let message = format!("ignored: Connection `{}` says it", declared.name);
            warnings.push(Problem::new(path(found.key), message, "take it out, or write it into the Connection"));
        }
    }
    warnings
}
