//! From a `RedisServer` to a connection that is ready to be asked.
//!
//! The connection comes from a `deadpool-redis` pool of one. It is taken once and held: a checkout a round would cost
//! a round trip, and half of the CPU of a small fleet. On an error it is thrown away, not returned.
//!
//! We shake hands ourselves instead of letting the library do it, for two reasons. Secrets are resolved anew at every
//! connect, so that a rotated password needs no restart. And a server at its limit of clients says so in place of the
//! first reply, then closes; the library sends several commands at once and reports only the closing.

use std::sync::Arc;

use deadpool_redis::{Connection, Manager, Pool, PoolError};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, TlsCertificates, Value,
};

use super::classify;
use crate::model::{FailureKind, ReadFailure};
use crate::spec::{RedisServer, RedisTls, SecretRef};

/// How the connection shows in `CLIENT LIST`, so that an operator can tell who asks.
const CLIENT_NAME: &str = "tidegate";

/// A connection that is logged in and has its database selected.
pub struct Link {
    connection: MultiplexedConnection,
}

impl Link {
    /// The connection to send on; its copies share the socket.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }
}

/// Holds what a connect needs, so that its future borrows nothing.
#[derive(Clone)]
pub(super) struct Connector {
    server: Arc<RedisServer>,
    pool: Option<Pool>,
}

impl Connector {
    pub(super) fn new(server: RedisServer) -> Self {
        // A TLS pool is built at every connect, so that a replaced CA file takes effect; so is one that cannot be
        // built, so that the reason is reported where connecting is.
        let pool = if server.tls.is_none() { pool(&server, None).ok() } else { None };
        Connector { server: Arc::new(server), pool }
    }

    pub(super) fn server(&self) -> &RedisServer {
        &self.server
    }

    /// Connects, authenticates, selects the database; all of it within `connect_timeout`.
    pub(super) async fn connect(self) -> Result<Link, ReadFailure> {
        let bound = self.server.connect_timeout;
        match tokio::time::timeout(bound, self.connect_unbounded()).await {
            Ok(result) => result,
            Err(_) => Err(classify::timeout(&self.server.address, "connectTimeout", bound)),
        }
    }

    async fn connect_unbounded(&self) -> Result<Link, ReadFailure> {
        let server = &*self.server;
        let password = match &server.password {
            Some(reference) => Some(resolve(reference).await?),
            None => None,
        };
        let pool = match &self.pool {
            Some(pool) => pool.clone(),
            None => {
                let ca = match &server.tls {
                    Some(RedisTls { ca_file: Some(path), .. }) => Some(read_file(path.clone(), "tls.caFile").await?),
                    _ => None,
                };
                pool(server, ca)?
            }
        };
        let connection = pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => classify::connection_failure(&server.address, &error),
            other => ReadFailure::new(FailureKind::Unreachable, format!("{}: {other}", server.address)),
        })?;
        // Out of the pool for good: a connection that failed must not come back, and a healthy one is held.
        let mut connection = Connection::take(connection);
        shake_hands(&mut connection, server, password.as_deref()).await?;
        Ok(Link { connection })
    }
}

fn pool(server: &RedisServer, ca: Option<Vec<u8>>) -> Result<Pool, ReadFailure> {
    let (host, port) = host_and_port(&server.address)?;
    let refused = |error: redis::RedisError| classify::connection_failure(&server.address, &error);

    // Neither password nor database: the handshake is ours.
    let info = match &server.tls {
        None => ConnectionAddr::Tcp(host, port).into_connection_info().map_err(refused)?,
        Some(tls) => {
            if ca.is_none() && !tls.insecure_skip_verify {
                return Err(ReadFailure::new(
                    FailureKind::Configuration,
                    format!("{}: `tls` needs `caFile`, the authorities to trust", server.address),
                ));
            }
            // Another crate of this process may bring a second implementation of the ciphers, and rustls then refuses
            // to choose. Whoever comes first chooses for all; that it was chosen already is no error.
            let _ = rustls::crypto::ring::default_provider().install_default();
            let address = ConnectionAddr::TcpTls { host, port, insecure: tls.insecure_skip_verify, tls_params: None };
            let info = address.into_connection_info().map_err(refused)?;
            let certificates = TlsCertificates { client_tls: None, root_cert: ca };
            Client::build_with_tls(info, certificates).map_err(refused)?.get_connection_info().clone()
        }
    };
    let info = info
        .set_redis_settings(RedisConnectionInfo::default().set_skip_set_lib_name())
        // Without it a round of several segments waits for acknowledgements (Nagle).
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    // The whole of connecting has one bound, above; the library's own would only say the same less well.
    let config =
        AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(Some(server.response_timeout));
    let manager = Manager::new_with_config(info, config).map_err(refused)?;
    Pool::builder(manager)
        .max_size(1)
        .build()
        .map_err(|error| ReadFailure::new(FailureKind::Configuration, format!("{}: {error}", server.address)))
}

async fn shake_hands(
    connection: &mut MultiplexedConnection,
    server: &RedisServer,
    password: Option<&str>,
) -> Result<(), ReadFailure> {
    let address = &server.address;
    if server.username.is_some() || password.is_some() {
        let mut auth = redis::cmd("AUTH");
        if let Some(username) = &server.username {
            auth.arg(username);
        }
        // A user without a password (`nopass`) accepts any.
        auth.arg(password.unwrap_or(""));
        ask(connection, address, &auth).await?;
    }
    let mut name = redis::cmd("CLIENT");
    name.arg("SETNAME").arg(CLIENT_NAME);
    match ask(connection, address, &name).await {
        // A user with `+llen` alone is a good user: the name is a courtesy.
        Err(failure) if failure.kind == FailureKind::PermissionDenied => {}
        other => other?,
    }
    if server.database != 0 {
        let mut select = redis::cmd("SELECT");
        select.arg(server.database);
        ask(connection, address, &select).await?;
    }
    Ok(())
}

async fn ask(connection: &mut MultiplexedConnection, address: &str, command: &Cmd) -> Result<(), ReadFailure> {
    match connection.send_packed_command(command).await {
        Ok(Value::ServerError(error)) => Err(classify::server_failure(address, &error)),
        Ok(_) => Ok(()),
        Err(error) => Err(classify::connection_failure(address, &error)),
    }
}

/// `host:port`, with brackets around an IPv6 address.
fn host_and_port(address: &str) -> Result<(String, u16), ReadFailure> {
    let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parts {
        Some((host, port)) if !host.is_empty() => {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            Ok((host.to_owned(), port))
        }
        _ => Err(ReadFailure::new(
            FailureKind::Configuration,
            format!("{address:?} is not `host:port`, e.g. redis-service:6379"),
        )),
    }
}

/// The secret's text. Never in a message, whatever goes wrong.
async fn resolve(reference: &SecretRef) -> Result<String, ReadFailure> {
    let configuration = |sentence: String| Err(ReadFailure::new(FailureKind::Configuration, sentence));
    match reference {
        SecretRef::Inline(secret) => Ok(secret.reveal().to_owned()),
        SecretRef::Env(name) => match std::env::var(name) {
            Ok(text) => Ok(text),
            Err(_) => configuration(format!("the environment variable {name} that holds the password is not set")),
        },
        SecretRef::File(path) => {
            let bytes = read_file(path.clone(), "the file that holds the password").await?;
            match String::from_utf8(bytes) {
                // An editor's newline at the end is not part of the password.
                Ok(text) => Ok(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(_) => configuration(format!("{} holds a password that is not text", path.display())),
            }
        }
        SecretRef::Kubernetes { namespace, name, key } => configuration(format!(
            "the password is key {key:?} of the Secret {namespace}/{name}, which only the Kubernetes door can read; \
             without it, name an environment variable or a file"
        )),
    }
}

/// Reads a small file beside the runtime's thread: the file may lie on a mount that hangs.
async fn read_file(path: std::path::PathBuf, what: &'static str) -> Result<Vec<u8>, ReadFailure> {
    let shown = path.display().to_string();
    let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
    let error = match read {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(ReadFailure::new(FailureKind::Configuration, format!("{what}, {shown}, cannot be read: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(host_and_port("redis:6379").unwrap(), ("redis".to_owned(), 6379));
        assert_eq!(host_and_port("[::1]:6380").unwrap(), ("::1".to_owned(), 6380));
        for bad in ["redis", ":6379", "redis:", "redis:99999", ""] {
            assert_eq!(host_and_port(bad).unwrap_err().kind, FailureKind::Configuration, "{bad}");
        }
    }

    #[test]
    fn secrets_are_resolved_or_say_how() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from file\n").unwrap();
        assert_eq!(runtime.block_on(resolve(&SecretRef::File(file.path().to_owned()))).unwrap(), "from file");

        let missing = runtime.block_on(resolve(&SecretRef::Env("TIDEGATE_NO_SUCH_VARIABLE".into()))).unwrap_err();
        assert_eq!(missing.kind, FailureKind::Configuration);
        let door = SecretRef::Kubernetes { namespace: "a".into(), name: "b".into(), key: "c".into() };
        let failure = runtime.block_on(resolve(&door)).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Configuration);
        assert!(failure.message.contains("environment variable or a file"), "{failure}");
    }
}
