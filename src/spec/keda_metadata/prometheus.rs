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

use super::ScaledObject;
use super::counts::Counts;
use super::keys::{Found, Keys, path};
use super::server::{Wanted, declared, permitted};
use crate::spec::address;
use crate::spec::grants::Grants;
use crate::spec::problem::Problem;
use crate::spec::{ClientTls, ConnectionSpec, HttpServer, HttpUrl, Server};
use crate::spec::{Freshness, PrometheusQuery, Source};

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

pub(super) fn counts(keys: &mut Keys<'_>) -> Option<Counts> {
    let query = keys.text("query");
    if query.is_none() {
        keys.problem("query", "missing: the PromQL that finds the backlog", "e.g. query: sum(jobs_waiting)");
    }
    let target = keys.target("threshold", "the query's value");
    let activation = keys.number("activationThreshold").unwrap_or(0.0);
    let ignore_null_values = keys.boolean("ignoreNullValues");
    Some(Counts {
        source: Source::PrometheusQuery(PrometheusQuery {
            query: Arc::from(query?),
            labels: Vec::new(),
            freshness: Freshness::Unknown,
            ignore_null_values,
        }),
        target: target?,
        activation,
        name_key: "query",
        target_key: "threshold",
        activation_key: "activationThreshold",
    })
}

/// The Connection that is named, or one to the address, or the address itself where the operator allows it.
pub(super) fn connection(
    object: &ScaledObject<'_>,
    grants: &Grants,
    keys: &mut Keys<'_>,
) -> Option<Arc<ConnectionSpec>> {
    let unsafe_ssl = keys.boolean("unsafeSsl");
    let timeout = timeout(keys);
    if let Some(found) = keys.find(&["connection"]) {
        return declared(object, found, Wanted::PROMETHEUS, grants, keys);
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
    let asked = url.address.clone();
    url.address = address::expand_service(&asked, object.namespace);
    if let Some(connection) = grants.prometheus(object.namespace, &url) {
        return Some(connection);
    }
    let what = format!("has the URL {} at", url.text());
    let address = permitted(object, &asked, key, &what, grants, keys)?;
    if url.encrypted && !unsafe_ssl {
        let message = format!("no authority is known whose certificates could be trusted at {address}");
        keys.problem(key, message, "declare a Connection for it with tls: { caFile: ... }");
        return None;
    }
    let tls = url.encrypted.then(|| ClientTls { insecure_skip_verify: unsafe_ssl, ..ClientTls::default() });
    Some(Arc::new(ConnectionSpec {
        name: url.address.as_str().into(),
        server: Server::Prometheus(HttpServer {
            url,
            username: None,
            password: None,
            headers: Vec::new(),
            tls,
            connect_timeout: CONNECT_TIMEOUT,
            response_timeout: timeout.unwrap_or(TIMEOUT),
        }),
    }))
}

/// Milliseconds, or a duration as Go has it.
fn timeout(keys: &mut Keys<'_>) -> Option<Duration> {
    let Found { key, value } = keys.find(&["timeout"])?;
    let millis = value.parse::<u64>().ok().map(Duration::from_millis);
    let timeout = millis.or_else(|| crate::spec::units::parse_seconds_or_duration(value).ok());
    // As a Connection's timeouts.
    let timeout = timeout.filter(|timeout| (Duration::from_millis(10)..=Duration::from_secs(60)).contains(timeout));
    if timeout.is_none() {
        keys.problem(key, format!("`{value}` is no duration from 10 ms to 60 s"), "e.g. timeout: 3s");
    }
    timeout
}

pub(super) fn warnings(keys: &Keys<'_>, connection: Option<&ConnectionSpec>) -> Vec<Problem> {
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
