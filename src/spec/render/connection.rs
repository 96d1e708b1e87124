//! A connection as a user could have written it.

use super::duration;
use crate::spec::manifest::{
    self, ClusterNodes, PasswordFrom, PasswordText, PemFrom, ReadFrom as ReadFromText, RedisConnection, SecretKeyRef,
    SentinelConnection, Tls, UsernameFrom,
};
use crate::spec::{
    ClientTls, Login, PemRef, ReadFrom, RedisServer, SecretKey, SecretRef, Sentinel, Topology, UserRef, unix_socket,
};

/// `own_namespace`: `None` for a ClusterConnection, which has none.
pub(super) fn redis(redis: &RedisServer, own_namespace: Option<&str>) -> RedisConnection {
    let [own, sentinels] = {
        let mut logins = redis.logins().map(|login| written(login, own_namespace));
        [logins.next().unwrap_or_default(), logins.next().unwrap_or_default()]
    };
    let mut out = RedisConnection {
        database: i32::try_from(redis.database).ok(),
        login: own,
        read_from: Some(match redis.read_from {
            ReadFrom::Primary => ReadFromText::Primary,
            ReadFrom::Replica => ReadFromText::Replica,
        }),
        connect_timeout: duration(redis.connect_timeout),
        response_timeout: duration(redis.response_timeout),
        max_commands_per_second: redis.max_commands_per_second.and_then(|cap| i32::try_from(cap).ok()),
        ..RedisConnection::default()
    };
    match &redis.topology {
        Topology::Single if unix_socket(&redis.address).is_some() => out.unix_socket = Some(redis.address.clone()),
        Topology::Single => out.address = Some(redis.address.clone()),
        Topology::Cluster { addresses } => out.cluster = Some(ClusterNodes { addresses: Some(addresses.clone()) }),
        Topology::Sentinel(sentinel) => out.sentinel = Some(with_login(sentinel, sentinels)),
    }
    out
}

fn with_login(sentinel: &Sentinel, login: manifest::Login) -> SentinelConnection {
    SentinelConnection { addresses: Some(sentinel.addresses.clone()), master: Some(sentinel.master.clone()), login }
}

/// Where a secret is. `None`: it stood in a file, and stands nowhere else.
pub(super) fn secret_from(place: &SecretRef, own_namespace: Option<&str>) -> Option<PasswordFrom> {
    let nowhere = PasswordFrom::default();
    Some(match place {
        SecretRef::Inline(_) => return None,
        SecretRef::Env(name) => PasswordFrom { env: Some(name.clone()), ..nowhere },
        SecretRef::File(file) => PasswordFrom { file: Some(path(file)), ..nowhere },
        SecretRef::Kubernetes(key) => PasswordFrom { secret_key_ref: Some(secret(key, own_namespace)), ..nowhere },
    })
}

pub(super) fn written(login: Login<'_>, own_namespace: Option<&str>) -> manifest::Login {
    let secret = |key: &SecretKey| secret(key, own_namespace);
    let mut out =
        manifest::Login { tls: login.tls.map(|written| tls(written, own_namespace)), ..manifest::Login::default() };
    match login.password {
        None => {}
        Some(SecretRef::Inline(_)) => out.password = Some(PasswordText::default()),
        Some(place) => out.password_from = secret_from(place, own_namespace),
    }
    match login.username {
        None => {}
        Some(UserRef::Inline(name)) => out.username = Some(name.clone()),
        Some(UserRef::Env(name)) => {
            out.username_from = Some(UsernameFrom { env: Some(name.clone()), ..UsernameFrom::default() });
        }
        Some(UserRef::File(file)) => {
            out.username_from = Some(UsernameFrom { file: Some(path(file)), ..UsernameFrom::default() });
        }
        Some(UserRef::Kubernetes(key)) => {
            out.username_from = Some(UsernameFrom { secret_key_ref: Some(secret(key)), ..UsernameFrom::default() });
        }
    }
    out
}

fn tls(tls: &ClientTls, own_namespace: Option<&str>) -> Tls {
    let pem = |place: Option<&PemRef>| match place {
        None => (None, None),
        Some(PemRef::File(file)) => (Some(path(file)), None),
        Some(PemRef::Kubernetes(key)) => (None, Some(PemFrom { secret_key_ref: Some(secret(key, own_namespace)) })),
    };
    let (ca_file, ca_from) = pem(tls.authorities.as_ref());
    let (cert_file, cert_from) = pem(tls.client.as_ref().map(|client| &client.certificate));
    let (key_file, key_from) = pem(tls.client.as_ref().map(|client| &client.key));
    Tls {
        ca_file,
        ca_from,
        cert_file,
        cert_from,
        key_file,
        key_from,
        server_name: tls.server_name.clone(),
        insecure_skip_verify: Some(tls.insecure_skip_verify),
    }
}

fn path(path: &std::path::Path) -> String {
    path.to_string_lossy().into_owned()
}

fn secret(key: &SecretKey, own_namespace: Option<&str>) -> SecretKeyRef {
    SecretKeyRef {
        namespace: own_namespace.is_none().then(|| key.namespace.clone()),
        name: Some(key.name.clone()),
        key: Some(key.key.clone()),
    }
}
