//! Connections: one server each, and how it is reached. Where its secrets are is read in `secrets`.

use std::sync::Arc;
use std::time::Duration;

use super::{secrets, values};
use crate::spec::address;
use crate::spec::manifest::{ClusterConnectionBody, ConnectionBody, DurationText, MemoryConnection, RedisConnection};
use crate::spec::report::Report;
use crate::spec::{ConnectionSpec, Origin, RedisServer, Server};

pub(super) const DEFAULT_PORT: u16 = 6379;
/// Two round trips in a healthy cluster take milliseconds; a second is an outage.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUTS: values::Limits = values::Limits { min: Duration::from_millis(10), max: Duration::from_secs(60) };

/// Who declares a connection.
#[derive(Clone, Copy)]
pub(super) struct Declarer<'a> {
    /// `None`: a ClusterConnection.
    pub(super) namespace: Option<&'a str>,
    pub(super) origin: Origin,
}

/// Reads a Connection of `namespace`. The result counts only if `report` has no problem.
pub(crate) fn connection(
    namespace: &str,
    name: &str,
    origin: Origin,
    body: &ConnectionBody,
    report: &mut Report<'_>,
) -> Option<ConnectionSpec> {
    let declarer = Declarer { namespace: Some(namespace), origin };
    let server = server(declarer, body.redis.as_ref(), body.memory.as_ref(), report)?;
    Some(ConnectionSpec { name: Arc::from(format!("{namespace}/{name}")), server })
}

/// Reads a ClusterConnection: the connection, and the patterns of namespaces that may use it.
pub(crate) fn cluster_connection(
    name: &str,
    origin: Origin,
    body: &ClusterConnectionBody,
    report: &mut Report<'_>,
) -> Option<(Vec<String>, ConnectionSpec)> {
    const PATH: &str = "spec.allowedNamespaces";
    let allowed = body.allowed_namespaces.clone().unwrap_or_default();
    if allowed.is_empty() {
        report.problem(
            PATH,
            "no namespace is allowed to use this connection",
            "e.g. allowedNamespaces: [pulse], or [\"*\"] for all",
        );
    }
    for (i, pattern) in allowed.iter().enumerate() {
        if pattern.is_empty() {
            report.problem(&format!("{PATH}[{i}]"), "an empty entry", "write a namespace, or take the entry out");
        }
    }
    let server = server(Declarer { namespace: None, origin }, body.redis.as_ref(), body.memory.as_ref(), report)?;
    Some((allowed, ConnectionSpec { name: Arc::from(name), server }))
}

fn server(
    declarer: Declarer<'_>,
    redis: Option<&RedisConnection>,
    memory: Option<&MemoryConnection>,
    report: &mut Report<'_>,
) -> Option<Server> {
    report.exactly_one(
        "spec",
        "server block",
        &[("redis", redis.is_some()), ("memory", memory.is_some())],
        "redis: { address: redis-service:6379 }",
    );
    match (redis, memory) {
        (Some(redis), _) => Some(Server::Redis(redis_server(declarer, redis, report))),
        (None, Some(MemoryConnection {})) => Some(Server::Memory),
        (None, None) => None,
    }
}

fn redis_server(declarer: Declarer<'_>, redis: &RedisConnection, report: &mut Report<'_>) -> RedisServer {
    let timeout = |written: &Option<DurationText>, name: &str, report: &mut Report<'_>| {
        values::duration(written.as_ref(), &format!("spec.redis.{name}"), TIMEOUTS, DEFAULT_TIMEOUT, report)
    };
    RedisServer {
        address: reached_from(declarer, redis, server_address(redis, report), report),
        database: redis.database.and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
        username: secrets::username(declarer, redis, report),
        password: secrets::password(declarer, redis, report),
        tls: redis.tls.as_ref().map(|written| secrets::tls(declarer, written, report)),
        connect_timeout: timeout(&redis.connect_timeout, "connectTimeout", report),
        response_timeout: timeout(&redis.response_timeout, "responseTimeout", report),
    }
}

fn server_address(redis: &RedisConnection, report: &mut Report<'_>) -> String {
    const ADDRESS: &str = "spec.redis.address";
    let address = match (&redis.address, &redis.host) {
        (Some(_), Some(_)) => {
            report.problem(ADDRESS, "both address and host are written", "keep one of the two");
            return String::new();
        }
        (Some(address), None) => {
            if redis.port.is_some() {
                report.problem(
                    "spec.redis.port",
                    "port goes with host; an address has its port in it",
                    "take port out",
                );
            }
            address.clone()
        }
        (None, Some(host)) => {
            let port = redis.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(DEFAULT_PORT);
            let joined = address::join(host, port);
            if address::split(&joined).is_none() {
                let (message, cure) = host_complaint(host);
                report.problem("spec.redis.host", message, cure);
            }
            return joined;
        }
        (None, None) => {
            if !report.is_explained("spec.redis.host") {
                report.problem(ADDRESS, "missing", "e.g. address: redis-service:6379");
            }
            return String::new();
        }
    };
    if address::split(&address).is_none() {
        let (message, cure) = address::complaint(&address);
        report.problem(ADDRESS, message, cure);
    }
    address
}

/// The address as it will be connected to. Whoever writes a file means names as tidegate's own machine resolves them;
/// whoever writes a custom resource means a Service of its namespace, whichever namespace tidegate runs in.
fn reached_from(declarer: Declarer<'_>, redis: &RedisConnection, address: String, report: &mut Report<'_>) -> String {
    match declarer {
        Declarer { origin: Origin::Resource, namespace: Some(own) } => address::expand_service(&address, own),
        Declarer { origin: Origin::Resource, namespace: None } if address::names_a_service(&address) => {
            let path = if redis.host.is_some() { "spec.redis.host" } else { "spec.redis.address" };
            report.warn(
                path,
                "a host without a dot, and no namespace that it belongs to: it is looked for where tidegate runs",
                "write the namespace as well, such as redis-service.redis.svc",
            );
            address
        }
        Declarer { .. } => address,
    }
}

fn host_complaint(host: &str) -> (String, String) {
    match address::split(host) {
        Some((name, port)) => {
            (format!("`{host}` has a port in it"), format!("write address: {host}, or host: {name} and port: {port}"))
        }
        None => {
            let (message, _) = address::complaint(host);
            let message = if host.contains('@') { message } else { format!("`{host}` is not a host") };
            (message, "write a name or an IP address, such as redis-service".to_owned())
        }
    }
}
