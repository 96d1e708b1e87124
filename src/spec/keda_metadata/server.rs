//! Which server a trigger's metadata means, and whether it may be connected to.
//!
//! By name, or by an address that a declared Connection has, or by one that the operator's allow list covers; in this
//! order, and never otherwise.

use std::sync::Arc;
use std::time::Duration;

use super::ScaledObject;
use super::keys::{Found, Keys, path};
use crate::spec::address;
use crate::spec::grants::{Asked, Grants, Layout, Lookup, with_database};
use crate::spec::problem::Problem;
use crate::spec::{ClientTls, ConnectionSpec, ReadFrom, RedisServer, Sentinel, Server, Topology, UserRef};

/// Timeouts of a server that only an allow list knows; a Connection's default.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Addresses of one trigger: as many as a Connection may have.
const MOST_ADDRESSES: usize = 100;

/// How KEDA's trigger types differ, apart from what they count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Single,
    Cluster,
    Sentinel,
}

/// The connection, or `None` and at least one problem.
pub(super) fn connection(
    object: &ScaledObject<'_>,
    grants: &Grants,
    keys: &mut Keys<'_>,
) -> Option<Arc<ConnectionSpec>> {
    let said = said_kind(keys);
    let database = database(keys);
    let (tls, unsafe_ssl) = (keys.boolean("enableTLS"), keys.boolean("unsafeSsl"));
    if let Some(found) = keys.find(&["connection"]) {
        return by_name(object, found, database, grants, keys);
    }
    let (key, mut asked) = asked_addresses(keys)?;
    let master = keys.text("sentinelMaster");
    let kind = said.or_else(|| inferred_kind(master, &asked));
    let layout = match kind {
        None => Layout::Any,
        Some(Kind::Single) => Layout::Single,
        Some(Kind::Cluster) => Layout::Cluster,
        Some(Kind::Sentinel) => {
            let Some(master) = master else {
                let cure = "e.g. sentinelMaster: mymaster";
                keys.problem("sentinelMaster", "missing: what the sentinels call the master", cure);
                return None;
            };
            // A URL that was meant for something else: what stands before the `@` is a password, and names are shown.
            if master.contains('@') {
                let cure = "write what the sentinels call the master, e.g. sentinelMaster: mymaster";
                keys.problem("sentinelMaster", "a master's name has no user or password in it", cure);
                return None;
            }
            Layout::Sentinel { master }
        }
    };
    // A declared Connection knows what it is: KEDA's `redis` trigger may have several addresses, and uses the first.
    if said.is_none()
        && master.is_none()
        && let Some(first) = asked.get(..1)
        && let Some(connection) =
            grants.find(object.namespace, &Asked { addresses: first, layout: Layout::Any }, database.unwrap_or(0))
    {
        return Some(connection);
    }
    if matches!(layout, Layout::Any | Layout::Single) {
        asked.truncate(1);
    }
    // KEDA's clusters have no databases, whatever is written.
    let number = if layout == Layout::Cluster { 0 } else { database.unwrap_or(0) };
    if let Some(connection) = grants.find(object.namespace, &Asked { addresses: &asked, layout }, number) {
        return Some(connection);
    }
    let addresses = listed(object, &Asked { addresses: &asked, layout }, key, grants, keys)?;
    let first = addresses.first()?.clone();
    if tls && !unsafe_ssl {
        keys.problem(
            "enableTLS",
            format!("no authority is known whose certificates could be trusted at {first}"),
            "declare a Connection for it with tls: { caFile: ... }",
        );
    }
    let tls = tls.then_some(ClientTls { insecure_skip_verify: unsafe_ssl, ..ClientTls::default() });
    let topology = match layout {
        Layout::Any | Layout::Single => Topology::Single,
        Layout::Cluster => Topology::Cluster { addresses },
        Layout::Sentinel { master } => Topology::Sentinel(Box::new(Sentinel {
            addresses,
            master: master.to_owned(),
            username: None,
            password: None,
            // KEDA has one setting for both.
            tls: tls.clone(),
        })),
    };
    Some(bare_connection(first, topology, number, keys.text("username").map(str::to_owned), tls))
}

pub(super) fn check_serve(keys: &mut Keys<'_>) {
    if keys.text("serve").is_some_and(|serve| serve != "backlog") {
        let cure = "declare a QueueAutoscaler and write autoscaler: with its name, or take serve out";
        keys.problem("serve", "replicas can only be served of a named QueueAutoscaler", cure);
    }
}

/// The addresses as they would be connected to, if the fence and the allow list have all of them.
fn listed(
    object: &ScaledObject<'_>,
    asked: &Asked<'_>,
    key: &str,
    grants: &Grants,
    keys: &mut Keys<'_>,
) -> Option<Vec<String>> {
    let what = match asked.layout {
        Layout::Any | Layout::Single => "has the address",
        Layout::Sentinel { .. } => "has this master and the sentinel",
        Layout::Cluster => "is a Redis Cluster with the address",
    };
    let mut addresses = Vec::with_capacity(asked.addresses.len());
    let before = keys.problems.len();
    for asked in asked.addresses {
        addresses.extend(permitted(object, asked, key, what, grants, keys));
    }
    (keys.problems.len() == before).then_some(addresses)
}

/// One address as it would be connected to, if the fence and the allow list have it; `what` is what nobody has declared.
pub(super) fn permitted(
    object: &ScaledObject<'_>,
    asked: &str,
    key: &str,
    what: &str,
    grants: &Grants,
    keys: &mut Keys<'_>,
) -> Option<String> {
    let address = address::expand_service(asked, object.namespace);
    if !grants.permits(&address) {
        let message = format!("no connection may lead to {address}: it is not in --only-addresses");
        let cure = format!("name another server, or start tidegate with --only-addresses {address}");
        keys.problem(key, message, cure);
        return None;
    }
    if !grants.allows(&address) && !grants.allows(asked) {
        let message = format!("no Connection of namespace `{}` {what} {address}", object.namespace);
        let cure = format!("declare a Connection for it, or start tidegate with --allow-address {address}");
        keys.problem(key, message, cure);
        return None;
    }
    Some(address)
}

fn bare_connection(
    address: String,
    topology: Topology,
    database: u32,
    username: Option<String>,
    tls: Option<ClientTls>,
) -> Arc<ConnectionSpec> {
    let name = match &topology {
        Topology::Single | Topology::Cluster { .. } => address.clone(),
        Topology::Sentinel(sentinel) => format!("{address} ({})", sentinel.master.replace('/', "_")),
    };
    Arc::new(ConnectionSpec {
        name: name.into(),
        server: Server::Redis(RedisServer {
            address,
            topology,
            read_from: ReadFrom::Primary,
            database,
            username: username.map(UserRef::Inline),
            password: None,
            tls,
            connect_timeout: TIMEOUT,
            response_timeout: TIMEOUT,
            max_commands_per_second: None,
        }),
    })
}

/// KEDA forwards everything but a trigger's type; `triggerType` is where it can be repeated.
fn said_kind(keys: &mut Keys<'_>) -> Option<Kind> {
    let found = keys.find(&["triggerType"])?;
    let kind = match found.value {
        "redis" | "redis-streams" => Kind::Single,
        "redis-cluster" | "redis-cluster-streams" => Kind::Cluster,
        "redis-sentinel" | "redis-sentinel-streams" => Kind::Sentinel,
        other => {
            let message = format!("unknown trigger type `{other}`");
            let cure =
                "write redis, redis-cluster or redis-sentinel, or one of these with -streams behind it, or postgresql";
            keys.problem(found.key, message, cure);
            return None;
        }
    };
    Some(kind)
}

/// What can be told from the other keys: only a sentinel's trigger has a master's name, and of KEDA's other triggers only
/// a cluster's has a use for several addresses. One address alone may be either.
fn inferred_kind(master: Option<&str>, addresses: &[String]) -> Option<Kind> {
    if master.is_some() {
        return Some(Kind::Sentinel);
    }
    (addresses.len() > 1).then_some(Kind::Cluster)
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
    let connection = declared(object, Found { key, value: name }, Wanted::REDIS, grants, keys)?;
    Some(database.map_or_else(|| Arc::clone(&connection), |number| with_database(&connection, number)))
}

/// The kind of Connection that a scaler can use, and what others lack.
#[derive(Clone, Copy)]
pub(super) struct Wanted {
    kind: &'static str,
    lacks: &'static str,
}

impl Wanted {
    pub(super) const REDIS: Wanted = Wanted { kind: "redis", lacks: "has no lists" };
    pub(super) const PROMETHEUS: Wanted = Wanted { kind: "prometheus", lacks: "answers no PromQL" };
    pub(super) const POSTGRES: Wanted = Wanted { kind: "postgres", lacks: "answers no SQL" };
}

/// The Connection of this name, of the kind that is wanted; or `None` and a problem.
pub(super) fn declared(
    object: &ScaledObject<'_>,
    Found { key, value: name }: Found<'_>,
    wanted: Wanted,
    grants: &Grants,
    keys: &mut Keys<'_>,
) -> Option<Arc<ConnectionSpec>> {
    let namespace = object.namespace;
    match grants.look_up(namespace, name) {
        Lookup::Found(connection) if connection.server.block() == wanted.kind => return Some(connection),
        Lookup::Found(connection) => {
            let (kind, Wanted { kind: wanted, lacks }) = (connection.server.block(), wanted);
            let message = format!("Connection `{name}` is of kind {kind} and {lacks}");
            keys.problem(key, message, format!("name one of kind {wanted}"));
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

/// The addresses that KEDA's triggers would use, and the key that they come from: `addresses`, to which hosts and
/// ports, joined pairwise, are appended. At least one, and each of them is one.
fn asked_addresses<'a>(keys: &mut Keys<'a>) -> Option<(&'a str, Vec<String>)> {
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
    let mut asked: Vec<String> = Vec::new();
    for address in addresses.iter().map(|address| (*address).to_owned()).chain(joined) {
        if !asked.contains(&address) {
            asked.push(address);
        }
    }
    if asked.is_empty() {
        keys.problem(
            "address",
            "missing: the server that holds the list",
            "e.g. address: redis-service:6379, or connection: redis-main",
        );
        return None;
    }
    if asked.len() > MOST_ADDRESSES {
        let message = format!("{} addresses are more than {MOST_ADDRESSES}", asked.len());
        keys.problem(key, message, "a few are enough: each knows all others");
        return None;
    }
    let wrong = asked.iter().find(|address| address::split(address).is_none());
    if let Some((message, cure)) = wrong.map(|wrong| address::complaint(wrong)) {
        keys.problem(key, message, cure);
        return None;
    }
    Some((key, asked))
}

/// What of the metadata has no effect, or an effect that may surprise: what a declared Connection overrules, addresses
/// beyond the first, a database of a cluster.
pub(super) fn warnings(
    object: &ScaledObject<'_>,
    keys: &Keys<'_>,
    connection: Option<&ConnectionSpec>,
) -> Vec<Problem> {
    let mut warnings = Vec::new();
    let mut warn = |key: &str, message: &str, cure: &str| warnings.push(Problem::new(path(key), message, cure));
    let addresses = keys.find(&["address", "addresses"]).or_else(|| keys.find(&["host", "hosts"]));
    let several = addresses.filter(|found| found.value.contains(','));
    let said = keys.text("triggerType");
    let master = keys.find(&["sentinelMaster"]);
    let topology = connection.and_then(|connection| match &connection.server {
        Server::Redis(redis) => Some((&redis.topology, connection.name.contains(':'))),
        Server::Postgres(_) | Server::Prometheus(_) | Server::Scrape(_) | Server::Memory => None,
    });
    match (several, topology) {
        (Some(found), Some((Topology::Single, _))) => {
            let cure = "write triggerType: redis-cluster or redis-sentinel, or the one address that is meant";
            warn(found.key, "only the first address is used, as by KEDA's redis trigger", cure);
        }
        // Nobody declared what it is.
        (Some(found), Some((Topology::Cluster { .. }, true))) if said.is_none() => {
            let cure = "write triggerType: redis-cluster to say so, or the one address that is meant";
            warn(found.key, "several addresses, so a Redis Cluster is taken to be meant", cure);
        }
        _ => {}
    }
    if let Some(found) = master.filter(|_| said.is_some_and(|said| !said.contains("sentinel"))) {
        let cure = "take it out, or write triggerType: redis-sentinel";
        warn(found.key, "has no effect: the trigger's type is none of a sentinel", cure);
    }
    let Some(ConnectionSpec { name, server: Server::Redis(redis) }) = connection else { return warnings };
    let in_cluster = matches!(redis.topology, Topology::Cluster { .. });
    if let Some(found) = keys.find(&["databaseIndex"]).filter(|found| in_cluster && found.value != "0") {
        warn(found.key, "has no effect: a Redis Cluster has database 0 only", "take it out");
    }
    let declared = redis.username.as_ref().and_then(UserRef::name);
    if let Some(found) = keys.find(&["username"]).filter(|found| declared != Some(found.value)) {
        let cure = "take it out, or write it into the Connection";
        warn(found.key, &format!("ignored: Connection `{name}` says who logs in"), cure);
    }
    let declared_in = name.split_once('/').map(|(namespace, _)| namespace);
    let is_there =
        |asked: &str| redis.addresses().any(|known| address::same_server(known, declared_in, asked, object.namespace));
    if let (Some(_), Some(found)) = (keys.find(&["connection"]), keys.find(&["address", "addresses"]))
        && !found.value.split(',').any(|asked| is_there(asked.trim()))
    {
        let message = format!("ignored: Connection `{name}` is at {}", redis.address);
        warn(found.key, &message, "take it out, or take connection out");
    }
    warnings
}
