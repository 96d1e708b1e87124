//! How to reach a server, and where what it takes to log in is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{HttpServer, Login, PostgresServer, ReadFrom, ScrapeServer, Secret, SecretKey, Topology};

/// How to reach a server. Two equal specs share one poller task and its connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionSpec {
    /// Name of the Connection (`namespace/name`, or `name` of a ClusterConnection), or the address where metadata
    /// named one that an allow list covers. For people and labels; never part of a secret.
    pub name: Arc<str>,
    pub server: Server,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Server {
    Redis(RedisServer),
    Postgres(PostgresServer),
    Prometheus(HttpServer),
    Scrape(ScrapeServer),
    /// The embedded queues of `demo` and of tests.
    Memory,
}

impl ConnectionSpec {
    /// The keys of Secrets that connecting takes.
    #[must_use]
    pub fn secret_keys(&self) -> Vec<&SecretKey> {
        let mut keys = Vec::new();
        for login in self.server.logins() {
            if let Some(UserRef::Kubernetes(key)) = login.username {
                keys.push(key);
            }
            if let Some(SecretRef::Kubernetes(key)) = login.password {
                keys.push(key);
            }
            let client = login.tls.and_then(|tls| tls.client.as_ref());
            let pems = [
                login.tls.and_then(|tls| tls.authorities.as_ref()),
                client.map(|client| &client.certificate),
                client.map(|client| &client.key),
            ];
            keys.extend(pems.into_iter().flatten().filter_map(|pem| match pem {
                PemRef::Kubernetes(key) => Some(key),
                PemRef::File(_) => None,
            }));
        }
        keys
    }
}

impl Server {
    /// What it takes to log in: once, or with sentinels twice.
    #[must_use]
    pub fn logins(&self) -> Vec<Login<'_>> {
        match self {
            Server::Redis(redis) => redis.logins().collect(),
            Server::Postgres(postgres) => vec![postgres.login()],
            Server::Prometheus(http) => vec![http.login()],
            Server::Scrape(scrape) => vec![scrape.http.login()],
            Server::Memory => Vec::new(),
        }
    }

    /// The addresses that are connected to before anybody has told of others.
    #[must_use]
    pub fn addresses(&self) -> Vec<&str> {
        match self {
            Server::Redis(redis) => redis.addresses().collect(),
            Server::Postgres(postgres) => some(&postgres.address),
            Server::Prometheus(http) => some(&http.url.address),
            Server::Scrape(scrape) => some(&scrape.http.url.address),
            Server::Memory => Vec::new(),
        }
    }

    /// The block's name in a manifest.
    #[must_use]
    pub const fn block(&self) -> &'static str {
        match self {
            Server::Redis(_) => "redis",
            Server::Postgres(_) => "postgres",
            Server::Prometheus(_) => "prometheus",
            Server::Scrape(_) => "scrape",
            Server::Memory => "memory",
        }
    }
}

/// An address that may not be known.
fn some(address: &str) -> Vec<&str> {
    if address.is_empty() { Vec::new() } else { vec![address] }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RedisServer {
    /// `host:port`, or the path of a Unix socket. What the server is called in messages: where there are several, the
    /// first that is written.
    pub address: String,
    pub topology: Topology,
    pub read_from: ReadFrom,
    pub database: u32,
    pub username: Option<UserRef>,
    pub password: Option<SecretRef>,
    pub tls: Option<ClientTls>,
    /// Bound on connecting, authenticating included.
    pub connect_timeout: Duration,
    /// Bound on the answer to one pipeline.
    pub response_timeout: Duration,
    /// What does not fit is asked later. `None`: as many as the polling intervals ask for.
    pub max_commands_per_second: Option<u32>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct ClientTls {
    /// The authorities to trust, in PEM. The system's are never consulted: without these, nobody is trusted.
    pub authorities: Option<PemRef>,
    /// How we show who we are, where the server asks for it.
    pub client: Option<ClientCertificate>,
    /// The name that the server's certificate must have (and that it is asked for, SNI); without it, the address' host.
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
}

/// A certificate, its intermediates after it, and its key, in PEM. One without the other is of no use.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ClientCertificate {
    pub certificate: PemRef,
    pub key: PemRef,
}

/// Where certificates or a key are.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PemRef {
    File(PathBuf),
    Kubernetes(SecretKey),
}

impl From<PathBuf> for PemRef {
    fn from(path: PathBuf) -> Self {
        PemRef::File(path)
    }
}

/// A user's name, or where it is: users rotate together with their passwords.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum UserRef {
    Inline(String),
    Env(String),
    File(PathBuf),
    Kubernetes(SecretKey),
}

impl UserRef {
    /// The name, where it is known without asking anybody.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            UserRef::Inline(name) => Some(name),
            UserRef::Env(_) | UserRef::File(_) | UserRef::Kubernetes(_) => None,
        }
    }
}

impl<T: Into<String>> From<T> for UserRef {
    fn from(name: T) -> Self {
        UserRef::Inline(name.into())
    }
}

/// Where a secret is, not the secret. Resolved by the source at every connect; a file or a Secret that changes under a
/// connection leads to a new one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum SecretRef {
    /// Written in a manifest file.
    Inline(Secret),
    Env(String),
    File(PathBuf),
    Kubernetes(SecretKey),
}
