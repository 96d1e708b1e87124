//! Connections: what each leads to. How a Redis is reached is read in `topology`, where its secrets are in `secrets`.

use std::sync::Arc;
use std::time::Duration;

use super::{secrets, servers, topology, values};
use crate::spec::manifest::{
    ClusterConnectionBody, ConnectionBody, DurationText, MemoryConnection, PostgresConnection, PrometheusConnection,
    RedisConnection, ScrapeConnection,
};
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
    let written = Written {
        redis: body.redis.as_ref(),
        postgres: body.postgres.as_ref(),
        prometheus: body.prometheus.as_ref(),
        scrape: body.scrape.as_ref(),
        memory: body.memory.as_ref(),
    };
    let server = server(declarer, &written, report)?;
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
    let written = Written {
        redis: body.redis.as_ref(),
        postgres: body.postgres.as_ref(),
        prometheus: body.prometheus.as_ref(),
        scrape: body.scrape.as_ref(),
        memory: body.memory.as_ref(),
    };
    let server = server(Declarer { namespace: None, origin }, &written, report)?;
    Some((allowed, ConnectionSpec { name: Arc::from(name), server }))
}

/// The server blocks of either kind.
struct Written<'a> {
    redis: Option<&'a RedisConnection>,
    postgres: Option<&'a PostgresConnection>,
    prometheus: Option<&'a PrometheusConnection>,
    scrape: Option<&'a ScrapeConnection>,
    memory: Option<&'a MemoryConnection>,
}

fn server(declarer: Declarer<'_>, written: &Written<'_>, report: &mut Report<'_>) -> Option<Server> {
    report.exactly_one(
        "spec",
        "server block",
        &[
            ("redis", written.redis.is_some()),
            ("postgres", written.postgres.is_some()),
            ("prometheus", written.prometheus.is_some()),
            ("scrape", written.scrape.is_some()),
            ("memory", written.memory.is_some()),
        ],
        "redis: { address: redis-service:6379 }",
    );
    // The first counts.
    if let Some(redis) = written.redis {
        return Some(Server::Redis(redis_server(declarer, redis, report)));
    }
    if let Some(postgres) = written.postgres {
        return Some(Server::Postgres(servers::postgres(declarer, postgres, report)));
    }
    if let Some(prometheus) = written.prometheus {
        return Some(Server::Prometheus(servers::prometheus(declarer, prometheus, report)));
    }
    if let Some(scrape) = written.scrape {
        return Some(Server::Scrape(servers::scrape(declarer, scrape, report)));
    }
    written.memory.map(|MemoryConnection {}| Server::Memory)
}

/// A timeout as it is written, or its default.
pub(super) fn timeout(
    written: &Option<DurationText>,
    path: &str,
    default: Duration,
    report: &mut Report<'_>,
) -> Duration {
    values::duration(written.as_ref(), path, TIMEOUTS, default, report)
}

fn redis_server(declarer: Declarer<'_>, redis: &RedisConnection, report: &mut Report<'_>) -> RedisServer {
    let secrets::Login { username, password, tls } = secrets::login(declarer, "spec.redis", &redis.login, report);
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
        connect_timeout: timeout(&redis.connect_timeout, "spec.redis.connectTimeout", DEFAULT_TIMEOUT, report),
        response_timeout: timeout(&redis.response_timeout, "spec.redis.responseTimeout", DEFAULT_TIMEOUT, report),
        max_commands_per_second: redis.max_commands_per_second.and_then(|cap| u32::try_from(cap).ok()),
    }
}
