//! Connections: one server each, and where its password is.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::values;
use crate::spec::address;
use crate::spec::manifest::{
    ClusterConnectionBody, ConnectionBody, DurationText, MemoryConnection, PasswordFrom, RedisConnection, SecretKeyRef,
    Tls, UsernameFrom,
};
use crate::spec::report::Report;
use crate::spec::{ClientCertificate, ConnectionSpec, RedisServer, RedisTls, Secret, SecretRef, Server, UserRef};

const DEFAULT_PORT: u16 = 6379;
/// Two round trips in a healthy cluster take milliseconds; a second is an outage.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUTS: values::Limits = values::Limits { min: Duration::from_millis(10), max: Duration::from_secs(60) };

/// Reads a Connection of `namespace`. The result counts only if `report` has no problem.
pub(crate) fn connection(
    namespace: &str,
    name: &str,
    body: &ConnectionBody,
    report: &mut Report<'_>,
) -> Option<ConnectionSpec> {
    let server = server(Some(namespace), body.redis.as_ref(), body.memory.as_ref(), report)?;
    Some(ConnectionSpec { name: Arc::from(format!("{namespace}/{name}")), server })
}

/// Reads a ClusterConnection: the connection, and the patterns of namespaces that may use it.
pub(crate) fn cluster_connection(
    name: &str,
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
    let server = server(None, body.redis.as_ref(), body.memory.as_ref(), report)?;
    Some((allowed, ConnectionSpec { name: Arc::from(name), server }))
}

fn server(
    namespace: Option<&str>,
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
        (Some(redis), _) => Some(Server::Redis(redis_server(namespace, redis, report))),
        (None, Some(MemoryConnection {})) => Some(Server::Memory),
        (None, None) => None,
    }
}

fn redis_server(namespace: Option<&str>, redis: &RedisConnection, report: &mut Report<'_>) -> RedisServer {
    let timeout = |written: &Option<DurationText>, name: &str, report: &mut Report<'_>| {
        values::duration(written.as_ref(), &format!("spec.redis.{name}"), TIMEOUTS, DEFAULT_TIMEOUT, report)
    };
    RedisServer {
        address: server_address(redis, report),
        database: redis.database.and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
        username: username(redis, report),
        password: password(namespace, redis, report),
        tls: redis.tls.as_ref().map(|written| tls(written, report)),
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

fn username(redis: &RedisConnection, report: &mut Report<'_>) -> Option<UserRef> {
    const USERNAME: &str = "spec.redis.username";
    match (&redis.username, &redis.username_from) {
        (Some(_), Some(_)) => {
            report.problem(USERNAME, "both username and usernameFrom are written", "keep one of the two");
            None
        }
        (Some(name), None) => {
            if name.trim().is_empty() {
                report.problem(USERNAME, "empty", "write the user's name, or take the line out");
            }
            Some(UserRef::Inline(name.clone()))
        }
        (None, Some(from)) => username_from(from, report),
        (None, None) => None,
    }
}

fn username_from(from: &UsernameFrom, report: &mut Report<'_>) -> Option<UserRef> {
    const PATH: &str = "spec.redis.usernameFrom";
    report.exactly_one(
        PATH,
        "place of the user's name",
        &[("env", from.env.is_some()), ("file", from.file.is_some())],
        "file: /run/secrets/redis-username",
    );
    if let Some(env) = &from.env {
        return Some(UserRef::Env(values::text(Some(env), &format!("{PATH}.env"), "env: REDIS_USERNAME", report)));
    }
    let file = from.file.as_ref()?;
    let file = values::text(Some(file), &format!("{PATH}.file"), "file: /run/secrets/redis-username", report);
    Some(UserRef::File(PathBuf::from(file)))
}

fn password(namespace: Option<&str>, redis: &RedisConnection, report: &mut Report<'_>) -> Option<SecretRef> {
    const PASSWORD: &str = "spec.redis.password";
    match (&redis.password, &redis.password_from) {
        (Some(_), Some(_)) => {
            report.problem(PASSWORD, "both password and passwordFrom are written", "keep passwordFrom");
            None
        }
        (Some(password), None) if password.0.is_empty() => {
            report.problem(PASSWORD, "empty", "write the password in quotes, or take the line out");
            None
        }
        (Some(password), None) => {
            report.warn(
                PASSWORD,
                "the password itself is in this file",
                "e.g. passwordFrom: { env: REDIS_PASSWORD }, or { file: /path }, or { secretKeyRef: { name: redis, key: password } }",
            );
            Some(SecretRef::Inline(Secret::new(password.0.clone())))
        }
        (None, Some(from)) => password_from(namespace, from, report),
        (None, None) => None,
    }
}

fn password_from(namespace: Option<&str>, from: &PasswordFrom, report: &mut Report<'_>) -> Option<SecretRef> {
    const PATH: &str = "spec.redis.passwordFrom";
    report.exactly_one(
        PATH,
        "place of the password",
        &[("secretKeyRef", from.secret_key_ref.is_some()), ("env", from.env.is_some()), ("file", from.file.is_some())],
        "secretKeyRef: { name: redis, key: password }",
    );
    if let Some(reference) = &from.secret_key_ref {
        return Some(secret_key_ref(namespace, reference, report));
    }
    if let Some(env) = &from.env {
        let env = values::text(Some(env), &format!("{PATH}.env"), "env: REDIS_PASSWORD", report);
        return Some(SecretRef::Env(env));
    }
    from.file.as_ref().map(|file| {
        let file = values::text(Some(file), &format!("{PATH}.file"), "file: /run/secrets/redis-password", report);
        SecretRef::File(PathBuf::from(file))
    })
}

fn secret_key_ref(namespace: Option<&str>, reference: &SecretKeyRef, report: &mut Report<'_>) -> SecretRef {
    const PATH: &str = "spec.redis.passwordFrom.secretKeyRef";
    let namespace_path = format!("{PATH}.namespace");
    let namespace = match (namespace, reference.namespace.as_deref()) {
        (Some(own), None) => own.to_owned(),
        (Some(own), Some(written)) => {
            if own != written {
                let message = format!("a Connection reads Secrets of its own namespace, `{own}`, only");
                report.problem(&namespace_path, message, "take namespace out, or declare a ClusterConnection");
            }
            own.to_owned()
        }
        (None, written) => values::text(written, &namespace_path, "namespace: redis, the Secret's own", report),
    };
    SecretRef::Kubernetes {
        namespace,
        name: values::text(reference.name.as_deref(), &format!("{PATH}.name"), "name: redis", report),
        key: values::text(reference.key.as_deref(), &format!("{PATH}.key"), "key: password", report),
    }
}

fn tls(written: &Tls, report: &mut Report<'_>) -> RedisTls {
    let insecure_skip_verify = written.insecure_skip_verify.unwrap_or(false);
    match written.ca_file.as_deref() {
        None if !insecure_skip_verify => report.problem(
            "spec.redis.tls.caFile",
            "missing: the authority whose certificates are to be trusted",
            "e.g. caFile: /etc/redis-tls/ca.crt",
        ),
        Some("") => report.problem("spec.redis.tls.caFile", "empty", "e.g. caFile: /etc/redis-tls/ca.crt"),
        _ => {}
    }
    if insecure_skip_verify {
        report.warn(
            "spec.redis.tls.insecureSkipVerify",
            "the server's certificate is not checked: anybody in between can read the password",
            "write caFile instead",
        );
    }
    RedisTls {
        ca_file: written.ca_file.as_ref().map(PathBuf::from),
        client: client_certificate(written, report),
        server_name: server_name(written, insecure_skip_verify, report),
        insecure_skip_verify,
    }
}

fn client_certificate(written: &Tls, report: &mut Report<'_>) -> Option<ClientCertificate> {
    const CERTIFICATE: (&str, &str) = ("spec.redis.tls.certFile", "certFile: /etc/redis-tls/tls.crt");
    const KEY: (&str, &str) = ("spec.redis.tls.keyFile", "keyFile: /etc/redis-tls/tls.key");
    let mut file = |written: &Option<String>, (path, example): (&str, &str), other: &str| match written {
        Some(file) => PathBuf::from(values::text(Some(file), path, example, report)),
        None => {
            let message = format!("missing: {other} is written, and a certificate goes with its key");
            report.problem(path, message, format!("e.g. {example}, or take {other} out"));
            PathBuf::new()
        }
    };
    if written.cert_file.is_none() && written.key_file.is_none() {
        return None;
    }
    Some(ClientCertificate {
        cert_file: file(&written.cert_file, CERTIFICATE, "keyFile"),
        key_file: file(&written.key_file, KEY, "certFile"),
    })
}

fn server_name(written: &Tls, insecure_skip_verify: bool, report: &mut Report<'_>) -> Option<String> {
    const PATH: &str = "spec.redis.tls.serverName";
    let name = written.server_name.as_ref()?;
    if address::split(&address::join(name, DEFAULT_PORT)).is_none() {
        // Not repeated: where a whole URL was pasted, its password would be.
        let message = if name.is_empty() { "empty" } else { "not a name of a host" };
        report.problem(PATH, message, "write what stands in the server's certificate, such as redis.example.com");
    } else if insecure_skip_verify {
        report.warn(PATH, "nobody compares it: insecureSkipVerify is written", "take insecureSkipVerify out");
    }
    Some(name.clone())
}
