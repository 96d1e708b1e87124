//! Where a trigger's Redis is and who logs in, as its parameters have it. One Connection for each server.

use std::collections::BTreeSet;

use serde_json::Value;

use super::parameters::{Found, Parameters, authentication, environment};
use super::{Draft, Object, Work};
use crate::spec::manifest::{
    ClusterConnectionBody, ClusterNodes, ConnectionBody, Login, PasswordFrom, PemFrom, RedisConnection, SecretKeyRef,
    SentinelConnection, Tls, UsernameFrom,
};
use crate::spec::render;

/// Leads nowhere, whoever resolves it (RFC 2606).
const UNKNOWN: &str = "write-the-address.invalid:6379";
/// Where KEDA looks for the Secrets of a ClusterTriggerAuthentication.
const KEDA_NAMESPACE: &str = "keda";

/// The servers that were found.
#[derive(Default)]
pub(super) struct Servers(Vec<Server>);

struct Server {
    scope: Scope,
    name: String,
    redis: RedisConnection,
    /// Of a ClusterConnection.
    allowed: BTreeSet<String>,
    notes: Vec<String>,
}

/// Who may use it.
#[derive(Clone, PartialEq, Eq)]
enum Scope {
    /// Its own namespace, if one is written: a Connection.
    Namespace(Option<String>),
    /// Those who ask: a ClusterConnection.
    Cluster,
}

impl Servers {
    /// The name of the Connection for `redis`: a new one, unless there is one.
    fn name(&mut self, scope: Scope, wanted: &str, redis: RedisConnection, notes: Vec<String>, user: &str) -> String {
        if let Some(server) = self.0.iter_mut().find(|server| server.scope == scope && server.redis == redis) {
            server.allowed.insert(user.to_owned());
            return server.name.clone();
        }
        let taken = |name: &str| self.0.iter().any(|server| server.scope == scope && server.name == name);
        let mut name = wanted.to_owned();
        let mut next = 2;
        while taken(&name) {
            name = format!("{wanted}-{next}");
            next += 1;
        }
        let allowed = BTreeSet::from([user.to_owned()]);
        self.0.push(Server { scope, name: name.clone(), redis, allowed, notes });
        name
    }

    pub(super) fn into_drafts(self) -> Vec<Draft> {
        self.0.into_iter().map(Server::into_draft).collect()
    }
}

impl Server {
    fn into_draft(self) -> Draft {
        let Server { scope, name, redis, allowed, notes } = self;
        let document = match scope {
            Scope::Cluster => {
                let allowed_namespaces = Some(allowed.into_iter().collect());
                let body = ClusterConnectionBody {
                    allowed_namespaces,
                    redis: Some(redis),
                    ..ClusterConnectionBody::default()
                };
                render::cluster_connection_document(&name, body)
            }
            Scope::Namespace(namespace) => {
                let body = ConnectionBody { redis: Some(redis), ..ConnectionBody::default() };
                render::connection_document(namespace.as_deref(), &name, body)
            }
        };
        Draft { document, notes }
    }
}

/// A Connection whose address nobody knows.
pub(super) fn unknown(work: &mut Work, object: &Object, notes: &mut Vec<String>) -> String {
    let message = format!("which server holds the list is not said: write its address instead of {UNKNOWN}");
    notes.push(work.note(object, message.clone()));
    let redis = RedisConnection { address: Some(UNKNOWN.to_owned()), ..RedisConnection::default() };
    work.servers.name(Scope::Namespace(object.namespace.clone()), "redis", redis, vec![message], user(object))
}

fn user(object: &Object) -> &str {
    object.namespace.as_deref().unwrap_or("default")
}

/// How the servers of a trigger are laid out: its type says so.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Single,
    Cluster,
    Sentinel,
}

/// The name of the Connection for the server of a trigger.
pub(super) fn of_trigger(
    work: &mut Work,
    object: &Object,
    i: usize,
    trigger: &Value,
    layout: Layout,
    notes: &mut Vec<String>,
) -> String {
    let reference = trigger.pointer("/authenticationRef/name").and_then(Value::as_str);
    let cluster = trigger.pointer("/authenticationRef/kind").is_some_and(|kind| kind == "ClusterTriggerAuthentication");
    let environment = environment(work, object);
    let mut said = Vec::new();
    let authentication = reference.map_or(Vec::new(), |name| {
        let (found, complaints) = authentication(work, object, name, cluster, &environment);
        said.extend(complaints);
        found
    });
    let parameters =
        Parameters { metadata: trigger.get("metadata").unwrap_or(&Value::Null), authentication, environment };
    let secret_namespace = cluster.then(|| KEDA_NAMESPACE.to_owned());
    if cluster {
        said.push(format!(
            "a ClusterTriggerAuthentication's Secrets are KEDA's own: namespace {KEDA_NAMESPACE} is written, where it usually runs"
        ));
    }
    let (redis, first) = connection(&parameters, layout, secret_namespace.as_deref(), &mut said);
    let wanted = reference.map_or_else(|| name_of(&first), str::to_owned);
    let mut of_server = Vec::new();
    for message in said {
        of_server.push(work.note(object, format!("trigger {i}: {message}")));
    }
    notes.extend(of_server.iter().cloned());
    let scope = if cluster { Scope::Cluster } else { Scope::Namespace(object.namespace.clone()) };
    work.servers.name(scope, &wanted, redis, of_server, user(object))
}

/// A Connection is called what its host is called.
fn name_of(address: &str) -> String {
    let host = address.split(['.', ':']).next().unwrap_or_default().to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let digits = host.chars().all(|c| c.is_ascii_digit());
    let fine = host.starts_with(plain) && host.ends_with(plain) && host.chars().all(|c| plain(c) || c == '-');
    if address == UNKNOWN || digits || !fine { "redis".to_owned() } else { host }
}

/// The connection, and the first of its addresses.
fn connection(
    parameters: &Parameters<'_>,
    layout: Layout,
    secret_namespace: Option<&str>,
    said: &mut Vec<String>,
) -> (RedisConnection, String) {
    let tls = tls(parameters, secret_namespace, said);
    let own = login(parameters, ["username", "password"], "", secret_namespace, said);
    let database = parameters.text("databaseIndex").and_then(|text| text.parse::<i32>().ok()).filter(|n| *n != 0);
    let addresses = addresses(parameters, layout, said);
    let first = addresses.first().cloned().unwrap_or_else(|| UNKNOWN.to_owned());
    let mut redis = RedisConnection {
        // KEDA does not look at it for a cluster, which has no other.
        database: database.filter(|_| layout != Layout::Cluster),
        login: Login { tls: tls.clone(), ..own },
        ..RedisConnection::default()
    };
    match layout {
        Layout::Single => redis.address = Some(first.clone()),
        Layout::Cluster => redis.cluster = Some(ClusterNodes { addresses: Some(addresses) }),
        Layout::Sentinel => {
            let sentinels = ["sentinelUsername", "sentinelPassword"];
            let login = login(parameters, sentinels, "sentinels' ", secret_namespace, said);
            let master = match parameters.find(&["sentinelMaster"]) {
                Some(Found::Text(master)) => master,
                _ => {
                    said.push(
                        "what the sentinels call the master is not in the object: mymaster is written".to_owned(),
                    );
                    "mymaster".to_owned()
                }
            };
            redis.sentinel = Some(SentinelConnection {
                addresses: Some(addresses),
                master: Some(master),
                // KEDA has one setting for both.
                login: Login { tls, ..login },
            });
        }
    }
    (redis, first)
}

/// `names`: of the user's parameter and of the password's. `whose` stands before them in notes.
fn login(
    parameters: &Parameters<'_>,
    names: [&str; 2],
    whose: &str,
    secret_namespace: Option<&str>,
    said: &mut Vec<String>,
) -> Login {
    let [user, password] = names;
    let mut login = Login::default();
    match parameters.find(&[user]) {
        None => {}
        Some(Found::Text(name)) => login.username = Some(name),
        Some(Found::Secret { name, key }) => {
            let secret_key_ref = Some(secret(secret_namespace, name, key));
            login.username_from = Some(UsernameFrom { secret_key_ref, ..UsernameFrom::default() });
        }
        Some(Found::Variable(variable)) => {
            said.push(format!(
                "the {whose}user's name is in {variable} of the container: write username, or usernameFrom"
            ));
        }
    }
    let key_of_ours = if whose.is_empty() { "password" } else { "sentinel-password" };
    let mut from = |name: String, key: String| {
        let secret_key_ref = Some(secret(secret_namespace, name, key));
        login.password_from = Some(PasswordFrom { secret_key_ref, ..PasswordFrom::default() });
    };
    let mut ours = |why: String| {
        from("redis".to_owned(), key_of_ours.to_owned());
        said.push(format!("the {whose}password {why}: put it into key {key_of_ours} of a Secret redis"));
    };
    match parameters.find(&[password]) {
        None => {}
        Some(Found::Secret { name, key }) => from(name, key),
        // Never repeated.
        Some(Found::Text(_)) => ours("itself is in the object".to_owned()),
        Some(Found::Variable(variable)) => ours(format!("is in {variable} of the container")),
    }
    login
}

fn secret(namespace: Option<&str>, name: String, key: String) -> SecretKeyRef {
    SecretKeyRef { namespace: namespace.map(str::to_owned), name: Some(name), key: Some(key) }
}

fn tls(parameters: &Parameters<'_>, secret_namespace: Option<&str>, said: &mut Vec<String>) -> Option<Tls> {
    let pem = |names: &[&str]| match parameters.find(names)? {
        Found::Secret { name, key } => Some(PemFrom { secret_key_ref: Some(secret(secret_namespace, name, key)) }),
        Found::Text(_) | Found::Variable(_) => None,
    };
    let encrypted = parameters.flag("enableTLS")
        || matches!(parameters.find(&["tls"]), Some(Found::Text(text)) if text == "enable")
        || parameters.authentication.iter().any(|(name, _)| name == "tls");
    if matches!(parameters.find(&["tls"]), Some(Found::Secret { .. } | Found::Variable(_))) {
        said.push("whether it is encrypted is not in the object: taken for yes; take tls out if it is not".to_owned());
    }
    encrypted.then(|| {
        let insecure = parameters.flag("unsafeSsl");
        let mut ca_from = pem(&["ca"]);
        if ca_from.is_none() && !insecure {
            let ours = secret(secret_namespace, "redis-tls".to_owned(), "ca.crt".to_owned());
            ca_from = Some(PemFrom { secret_key_ref: Some(ours) });
            said.push(
                "KEDA trusts the system's authorities, tidegate those that are named: put them into key ca.crt of a Secret redis-tls"
                    .to_owned(),
            );
        }
        let (cert_from, key_from) = match (pem(&["cert", "Cert"]), pem(&["key"])) {
            (Some(cert), Some(key)) => (Some(cert), Some(key)),
            _ => (None, None),
        };
        if parameters.find(&["keyPassword"]).is_some() {
            said.push("a key with a password of its own cannot be read: store it without".to_owned());
        }
        Tls { ca_from, cert_from, key_from, insecure_skip_verify: insecure.then_some(true), ..Tls::default() }
    })
}

/// At least one; of one server only the first.
fn addresses(parameters: &Parameters<'_>, layout: Layout, said: &mut Vec<String>) -> Vec<String> {
    let split = |text: String| -> Vec<String> {
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let mut elsewhere = |found: Option<Found>, what: &str| match found? {
        Found::Text(text) => Some(split(text)),
        Found::Secret { name, key } => {
            said.push(format!("its {what} is in key {key} of Secret {name}: write it, an address is no secret here"));
            None
        }
        Found::Variable(variable) => {
            said.push(format!("its {what} is in {variable} of the container: write it"));
            None
        }
    };
    let mut found = elsewhere(parameters.find(&["address", "addresses"]), "address").unwrap_or_default();
    let hosts = parameters.find(&["host", "hosts"]);
    if (found.is_empty() || layout != Layout::Single) && hosts.is_some() {
        let hosts = elsewhere(hosts, "host").unwrap_or_default();
        let ports = elsewhere(parameters.find(&["port", "ports"]), "port").unwrap_or_default();
        let usual = if layout == Layout::Sentinel { "26379" } else { "6379" };
        let port = |i: usize| ports.get(i).map_or(usual, String::as_str);
        found.extend(hosts.iter().enumerate().map(|(i, host)| format!("{host}:{}", port(i))));
    }
    if layout == Layout::Single {
        found.truncate(1);
    }
    if found.is_empty() {
        said.push(format!("its address is not known: write it instead of {UNKNOWN}"));
        return vec![UNKNOWN.to_owned()];
    }
    let short =
        |address: &&String| !address.contains('.') && !address.starts_with('[') && !address.starts_with("localhost:");
    if let Some(address) = found.iter().find(short) {
        said.push(format!(
            "{address} was a Service of KEDA's own namespace, and is one of the object's here: write the namespace, \
             e.g. redis.other.svc:6379, if that is another"
        ));
    }
    found.dedup();
    found
}
