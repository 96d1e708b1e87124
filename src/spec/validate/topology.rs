//! How a connection's Redis is reached: an address, sentinels, the nodes of a Cluster, or a Unix socket.

use std::path::Path;

use super::connection::{DEFAULT_PORT, Declarer};
use super::{secrets, values};
use crate::spec::address;
use crate::spec::manifest::{ClusterNodes, ReadFrom as ReadFromText, RedisConnection, SentinelConnection};
use crate::spec::report::{Report, join};
use crate::spec::{Origin, ReadFrom, Sentinel, Topology};

/// How it is reached.
pub(super) struct Reached {
    pub(super) address: String,
    pub(super) topology: Topology,
    pub(super) read_from: ReadFrom,
}

const AT: &str = "spec.redis";

pub(super) fn reached(declarer: Declarer<'_>, redis: &RedisConnection, report: &mut Report<'_>) -> Reached {
    let read_from = match redis.read_from {
        None | Some(ReadFromText::Primary) => ReadFrom::Primary,
        Some(ReadFromText::Replica) => ReadFrom::Replica,
    };
    let with = |address: String, topology: Topology| Reached { address, topology, read_from };
    let ways = [
        ("address", redis.address.is_some() || redis.host.is_some()),
        ("sentinel", redis.sentinel.is_some()),
        ("cluster", redis.cluster.is_some()),
        ("unixSocket", redis.unix_socket.is_some()),
    ];
    if ways.iter().filter(|(_, written)| *written).count() > 1 {
        report.exactly_one(AT, "way to the server", &ways, "address: redis-service:6379");
    }
    if redis.port.is_some() && redis.host.is_none() && ways.iter().any(|(_, written)| *written) {
        report.problem("spec.redis.port", "port goes with host; an address has its port in it", "take port out");
    }
    // Everything that is written is read, so that all its problems are told at once; the first counts.
    let sentinel = redis.sentinel.as_ref().map(|written| sentinel(declarer, written, report));
    let cluster = redis.cluster.as_ref().map(|written| cluster(declarer, written, redis, report));
    let socket = redis.unix_socket.as_ref().map(|path| socket(declarer, path, redis, report));
    let first = |addresses: &[String]| addresses.first().cloned().unwrap_or_default();
    if let Some(sentinel) = sentinel {
        return with(first(&sentinel.addresses), Topology::Sentinel(Box::new(sentinel)));
    }
    if let Some(addresses) = cluster {
        return with(first(&addresses), Topology::Cluster { addresses });
    }
    let address = socket.unwrap_or_else(|| single(declarer, redis, report));
    with(address, Topology::Single)
}

fn sentinel(declarer: Declarer<'_>, written: &SentinelConnection, report: &mut Report<'_>) -> Sentinel {
    const SENTINEL: &str = "spec.redis.sentinel";
    let example = "addresses: [redis-sentinel:26379]";
    let addresses = several(declarer, written.addresses.as_deref(), SENTINEL, example, report);
    let path = join(SENTINEL, "master");
    let mut master = values::text(written.master.as_deref(), &path, "master: mymaster", report);
    if master.contains('@') {
        let cure = "write what the sentinels call the master, such as mymaster; passwords go into passwordFrom";
        report.problem(&path, "a master's name has no user or password in it", cure);
        master.clear();
    }
    let secrets::Login { username, password, tls } = secrets::login(declarer, SENTINEL, &written.login, report);
    Sentinel { addresses, master, username, password, tls }
}

fn cluster(
    declarer: Declarer<'_>,
    written: &ClusterNodes,
    redis: &RedisConnection,
    report: &mut Report<'_>,
) -> Vec<String> {
    if redis.database.is_some_and(|number| number != 0) {
        report.problem("spec.redis.database", "a Redis Cluster has database 0 only", "take database out");
    }
    let example = "addresses: [redis-cluster:6379]";
    several(declarer, written.addresses.as_deref(), "spec.redis.cluster", example, report)
}

/// The addresses in the block at `at`.
fn several(
    declarer: Declarer<'_>,
    written: Option<&[String]>,
    at: &str,
    example: &str,
    report: &mut Report<'_>,
) -> Vec<String> {
    let path = join(at, "addresses");
    let written = written.unwrap_or_default();
    if written.is_empty() && !report.is_explained(&path) {
        report.problem(&path, "missing", format!("e.g. {example}"));
    }
    let mut addresses: Vec<String> = Vec::with_capacity(written.len());
    for (i, one) in written.iter().enumerate() {
        let here = format!("{path}[{i}]");
        if address::split(one).is_none() {
            let (message, cure) = address::complaint(one);
            report.problem(&here, message, cure);
        }
        let address = reached_from(declarer, one, &here, report);
        if addresses.contains(&address) {
            report.problem(&here, format!("`{one}` is written twice"), "take one of the two out");
        }
        addresses.push(address);
    }
    addresses
}

fn socket(declarer: Declarer<'_>, path: &str, redis: &RedisConnection, report: &mut Report<'_>) -> String {
    const SOCKET: &str = "spec.redis.unixSocket";
    if declarer.origin == Origin::Resource {
        let message = "a custom resource may not name a socket of the machine that tidegate runs on";
        report.problem(SOCKET, message, "write the server's address");
    } else if !Path::new(path).is_absolute() || path.ends_with('/') || path.contains(char::is_control) {
        let cure = "write the whole path, such as /run/redis/redis.sock";
        report.problem(SOCKET, format!("`{path}` is not the path of a socket"), cure);
    }
    if redis.login.tls.is_some() {
        report.problem("spec.redis.tls", "nothing is encrypted on a Unix socket", "take tls out");
    }
    path.to_owned()
}

fn single(declarer: Declarer<'_>, redis: &RedisConnection, report: &mut Report<'_>) -> String {
    const ADDRESS: &str = "spec.redis.address";
    const HOST: &str = "spec.redis.host";
    match (&redis.address, &redis.host) {
        (Some(_), Some(_)) => {
            report.problem(ADDRESS, "both address and host are written", "keep one of the two");
            String::new()
        }
        (Some(address), None) => {
            if address::split(address).is_none() {
                let (message, cure) = address::complaint(address);
                report.problem(ADDRESS, message, cure);
            }
            reached_from(declarer, address, ADDRESS, report)
        }
        (None, Some(host)) => {
            let port = redis.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(DEFAULT_PORT);
            let joined = address::join(host, port);
            if address::split(&joined).is_none() {
                let (message, cure) = host_complaint(host);
                report.problem(HOST, message, cure);
            }
            reached_from(declarer, &joined, HOST, report)
        }
        (None, None) => {
            let others = ["spec.redis.host", "spec.redis.sentinel", "spec.redis.cluster", "spec.redis.unixSocket"];
            if !others.iter().any(|other| report.is_explained(other)) {
                report.problem(ADDRESS, "missing", "e.g. address: redis-service:6379");
            }
            String::new()
        }
    }
}

/// The address as it will be connected to. Whoever writes a file means names as tidegate's own machine resolves them;
/// whoever writes a custom resource means a Service of its namespace, whichever namespace tidegate runs in.
pub(super) fn reached_from(declarer: Declarer<'_>, address: &str, path: &str, report: &mut Report<'_>) -> String {
    match declarer {
        Declarer { origin: Origin::Resource, namespace: Some(own) } => address::expand_service(address, own),
        Declarer { origin: Origin::Resource, namespace: None } if address::names_a_service(address) => {
            report.warn(
                path,
                "a host without a dot, and no namespace that it belongs to: it is looked for where tidegate runs",
                "write the namespace as well, such as redis-service.redis.svc",
            );
            address.to_owned()
        }
        Declarer { .. } => address.to_owned(),
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
