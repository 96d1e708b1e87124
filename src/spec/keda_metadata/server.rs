//! Which server a trigger's metadata means, and whether it may be connected to.
//!
//! By name, or by an address that a declared Connection has, or by one that the operator's allow list covers; in this
//! order, and never otherwise.

use std::sync::Arc;
use std::time::Duration;

use super::ScaledObject;
use super::keys::{self, Found, Keys, path};
use crate::spec::address;
use crate::spec::grants::{Grants, Lookup, with_database};
use crate::spec::problem::Problem;
use crate::spec::{ConnectionSpec, RedisServer, RedisTls, Server, UserRef};

/// Timeouts of a server that only an allow list knows; a Connection's default.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The connection, or `None` and at least one problem.
pub(super) fn connection(
    object: &ScaledObject<'_>,
    grants: &Grants,
    keys: &mut Keys<'_>,
) -> Option<Arc<ConnectionSpec>> {
    check_trigger_type(keys);
    if keys.text("serve").is_some_and(|serve| serve != "backlog") {
        let cure = "declare a QueueAutoscaler and write autoscaler: with its name, or take serve out";
        keys.problem("serve", "replicas can only be served of a named QueueAutoscaler", cure);
    }
    let database = database(keys);
    let (tls, unsafe_ssl) = (keys.boolean("enableTLS"), keys.boolean("unsafeSsl"));
    if let Some(found) = keys.find(&["connection"]) {
        return by_name(object, found, database, grants, keys);
    }
    let (key, asked) = asked_address(keys)?;
    let number = database.unwrap_or(0);
    if let Some(connection) = grants.find_by_address(object.namespace, &asked, number) {
        return Some(connection);
    }
    let address = address::expand_service(&asked, object.namespace);
    if !grants.permits(&address) {
        let message = format!("no connection may lead to {address}: it is not in --only-addresses");
        keys.problem(key, message, format!("name another server, or start tidegate with --only-addresses {address}"));
        return None;
    }
    if !grants.allows(&address) && !grants.allows(&asked) {
        let message = format!("no Connection of namespace `{}` has the address {address}", object.namespace);
        let cure = format!("declare a Connection for it, or start tidegate with --allow-address {address}");
        keys.problem(key, message, cure);
        return None;
    }
    if tls && !unsafe_ssl {
        keys.problem(
            "enableTLS",
            format!("no authority is known whose certificates could be trusted at {address}"),
            "declare a Connection for it with tls: { caFile: ... }",
        );
    }
    let tls = tls.then_some(RedisTls { insecure_skip_verify: unsafe_ssl, ..RedisTls::default() });
    Some(bare_connection(address, number, keys.text("username").map(str::to_owned), tls))
}

/// Where there is no server: the problem that says so keeps it from being polled.
pub(super) fn stand_in() -> Arc<ConnectionSpec> {
    bare_connection(String::new(), 0, None, None)
}

fn bare_connection(
    address: String,
    database: u32,
    username: Option<String>,
    tls: Option<RedisTls>,
) -> Arc<ConnectionSpec> {
    Arc::new(ConnectionSpec {
        name: Arc::from(address.as_str()),
        server: Server::Redis(RedisServer {
            address,
            database,
            username: username.map(UserRef::Inline),
            password: None,
            tls,
            connect_timeout: TIMEOUT,
            response_timeout: TIMEOUT,
        }),
    })
}

/// KEDA forwards everything but a trigger's type, and the same keys mean another thing to a sentinel or a cluster.
fn check_trigger_type(keys: &mut Keys<'_>) {
    match keys.find(&["triggerType"]).map(|found| (found.key, found.value)) {
        Some((_, "redis")) => {}
        None => {
            if let Some(master) = keys::OF_SENTINEL.iter().find_map(|name| keys.find(&[name])) {
                keys.problem(
                    master.key,
                    "Redis Sentinel is not supported yet",
                    "declare a Connection with the address of the master's Service, and name it: connection: redis-main",
                );
            }
        }
        Some((
            key,
            known @ ("redis-cluster"
            | "redis-sentinel"
            | "redis-streams"
            | "redis-cluster-streams"
            | "redis-sentinel-streams"),
        )) => keys.problem(
            key,
            format!("`{known}` is not supported yet"),
            "only triggerType: redis is; keep KEDA's own trigger for this one",
        ),
        Some((key, other)) => keys.problem(key, format!("unknown trigger type `{other}`"), "write triggerType: redis"),
    }
}

/// `None`: not written, or not to be read.
fn database(keys: &mut Keys<'_>) -> Option<u32> {
    let Found { key, value } = keys.find(&["databaseIndex"])?;
    let number = keys.integer("databaseIndex", 0)?;
    let database = u32::try_from(number).ok();
    if database.is_none() {
        keys.problem(key, format!("`{value}` is not the number of a database"), "e.g. databaseIndex: \"0\"");
    }
    database
}

fn by_name(
    object: &ScaledObject<'_>,
    Found { key, value: name }: Found<'_>,
    database: Option<u32>,
    grants: &Grants,
    keys: &mut Keys<'_>,
) -> Option<Arc<ConnectionSpec>> {
    let namespace = object.namespace;
    match grants.look_up(namespace, name) {
        Lookup::Found(connection) => {
            if connection.server == Server::Memory {
                keys.problem(
                    key,
                    format!("Connection `{name}` is of kind memory and has no lists"),
                    "name one of kind redis",
                );
                return None;
            }
            return Some(database.map_or_else(|| Arc::clone(&connection), |number| with_database(&connection, number)));
        }
        Lookup::Forbidden => keys.problem(
            key,
            format!("ClusterConnection `{name}` does not allow namespace `{namespace}`"),
            format!("add {namespace} to its spec.allowedNamespaces"),
        ),
        // What other namespaces' owners declared is not told to whoever may create a ScaledObject.
        Lookup::Broken | Lookup::Unknown => keys.problem(
            key,
            format!("no Connection `{name}` that namespace `{namespace}` may use"),
            format!("declare it: kind: Connection, metadata: {{ name: {name}, namespace: {namespace} }}"),
        ),
    }
    None
}

/// The address that KEDA's `redis` trigger would use: the first of `addresses`, to which hosts and ports, joined
/// pairwise, are appended.
fn asked_address<'a>(keys: &mut Keys<'a>) -> Option<(&'a str, String)> {
    let addresses = keys.list(&["address", "addresses"]);
    let (hosts, ports) = (keys.list(&["host", "hosts"]), keys.list(&["port", "ports"]));
    let host_key = keys.find(&["host", "hosts"]).map_or("host", |found| found.key);
    if hosts.len() != ports.len() {
        let message = format!("the numbers of hosts ({}) and of ports ({}) differ", hosts.len(), ports.len());
        keys.problem(host_key, message, "write as many ports as hosts, e.g. host: redis and port: \"6379\"");
        return None;
    }
    let key = keys.find(&["address", "addresses"]).map_or(host_key, |found| found.key);
    let joined = hosts.iter().zip(&ports).map(|(host, port)| format!("{host}:{port}"));
    let Some(value) = addresses.iter().map(|address| (*address).to_owned()).chain(joined).next() else {
        keys.problem(
            "address",
            "missing: the server that holds the list",
            "e.g. address: redis-service:6379, or connection: redis-main",
        );
        return None;
    };
    if address::split(&value).is_none() {
        let (message, cure) = address::complaint(&value);
        keys.problem(key, message, cure);
        return None;
    }
    Some((key, value))
}

/// What of the metadata a declared Connection overrules, and addresses beyond the first.
pub(super) fn warnings(
    object: &ScaledObject<'_>,
    keys: &Keys<'_>,
    connection: Option<&ConnectionSpec>,
) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let addresses = keys.find(&["address", "addresses"]);
    if let Some(found) = addresses.filter(|found| found.value.contains(',')) {
        let cure = "clusters and sentinels are not supported yet; write the one address that is meant";
        warnings.push(Problem::new(
            path(found.key),
            "only the first address is used, as by KEDA's redis trigger",
            cure,
        ));
    }
    let Some(ConnectionSpec { name, server: Server::Redis(redis) }) = connection else { return warnings };
    let declared = redis.username.as_ref().and_then(UserRef::name);
    if let Some(found) = keys.find(&["username"]).filter(|found| declared != Some(found.value)) {
        let cure = "take it out, or write it into the Connection";
        let message = format!("ignored: Connection `{name}` says who logs in");
        warnings.push(Problem::new(path(found.key), message, cure));
    }
    let declared_in = name.split_once('/').map(|(namespace, _)| namespace);
    let other = |address: &str| !address::same_server(&redis.address, declared_in, address, object.namespace);
    if let (Some(_), Some(found)) = (keys.find(&["connection"]), addresses)
        && found.value.split(',').next().is_some_and(|first| other(first.trim()))
    {
        let message = format!("ignored: Connection `{name}` is at {}", redis.address);
        warnings.push(Problem::new(path(found.key), message, "take it out, or take connection out"));
    }
    warnings
}
