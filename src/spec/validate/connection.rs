//! Connections: what each leads to. How a Redis is reached is read in `topology`, where its secrets are in `secrets`.

use std::sync::Arc;
use std::time::Duration;

use super::{secrets, topology, values};
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
    let secrets::Login { username, password, tls } = secrets::login(declarer, &redis.into(), report);
    let topology::Reached { address, topology, read_from } = topology::reached(declarer, redis, report);
    let database = redis.database.and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
    RedisServer {
        address,
        topology,
        read_from,
        database,
        username,
        password,
        tls,
        connect_timeout: timeout(&redis.connect_timeout, "connectTimeout", report),
        response_timeout: timeout(&redis.response_timeout, "responseTimeout", report),
        max_commands_per_second: redis.max_commands_per_second.and_then(|cap| u32::try_from(cap).ok()),
    }
}
