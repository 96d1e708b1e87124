//! From a `RedisServer` to a connection that is ready to be asked.
//!
//! Without TLS the connection comes from a `deadpool-redis` pool of one. It is taken once and held: a checkout a round
//! would cost a round trip, and half of the CPU of a small fleet. On an error it is thrown away, not returned. With
//! TLS we open and encrypt the stream (see `tls`) and hand it to the same library.
//!
//! We shake hands ourselves instead of letting the library do it, for two reasons. Secrets are read anew at every
//! connect (see `material`), so that a rotated password needs no restart. And a server at its limit of clients says so
//! in place of the first reply, then closes; the library sends several commands at once and reports only the closing.

use std::sync::Arc;

use deadpool_redis::{Connection, Manager, Pool, PoolError};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Cmd, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, Value};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::material::{Credentials, Reader};
use super::{classify, tls};
use crate::model::{FailureKind, ReadFailure};
use crate::source::Material;
use crate::source::secrets::Secrets;
use crate::spec::{RedisServer, RedisTls, Secret};

/// How the connection shows in `CLIENT LIST`, so that an operator can tell who asks.
const CLIENT_NAME: &str = "tidegate";

/// A connection that is logged in and has its database selected.
pub struct Link {
    connection: MultiplexedConnection,
    /// What moves its bytes, where that is ours to keep. The library's own end waits for answers that are still due,
    /// which a frozen server never sends.
    _driver: Option<AbortOnDropHandle<()>>,
    material: Option<Material>,
}

impl Link {
    /// The connection to send on; its copies share the socket.
    pub(super) fn connection(&self) -> MultiplexedConnection {
        self.connection.clone()
    }

    pub(super) fn material(&self) -> Option<Material> {
        self.material
    }
}

/// Holds what a connect needs, so that its future borrows nothing.
#[derive(Clone)]
pub(super) struct Connector {
    server: Arc<RedisServer>,
    reader: Reader,
    pool: Option<Pool>,
}

impl Connector {
    pub(super) fn new(server: RedisServer, secrets: Secrets) -> Self {
        // One that cannot be built is tried again at every connect, so that the reason is reported where connecting is.
        let pool = if server.tls.is_none() { pool(&server).ok() } else { None };
        let server = Arc::new(server);
        Connector { reader: Reader::new(Arc::clone(&server), secrets), server, pool }
    }

    pub(super) fn server(&self) -> &RedisServer {
        &self.server
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Connects, authenticates, selects the database; all of it within `connect_timeout`.
    pub(super) async fn connect(self) -> Result<Link, ReadFailure> {
        let address = &self.server.address;
        let bound = self.server.connect_timeout;
        let end = tokio::time::sleep(bound);
        tokio::pin!(end);
        let credentials = tokio::select! {
            biased;
            credentials = self.reader.read() => credentials?,
            () = &mut end => return Err(ReadFailure::new(
                FailureKind::Configuration,
                format!(
                    "{address}: its secrets and certificates could not be read within connectTimeout ({} ms): does \
                     the mount of their files hang?",
                    bound.as_millis()
                ),
            )),
        };
        tokio::select! {
            biased;
            link = self.open(&credentials) => link,
            () = end => Err(classify::timeout(address, "connectTimeout", bound)),
        }
    }

    async fn open(&self, credentials: &Credentials) -> Result<Link, ReadFailure> {
        let (mut connection, driver) = match &self.server.tls {
            None => (self.plain().await?, None),
            Some(tls) => {
                self.encrypted(tls, credentials).await.map(|(connection, driver)| (connection, Some(driver)))?
            }
        };
        shake_hands(&mut connection, &self.server, credentials).await?;
        Ok(Link { connection, _driver: driver, material: credentials.material })
    }

    async fn plain(&self) -> Result<MultiplexedConnection, ReadFailure> {
        let address = &self.server.address;
        let pool = match &self.pool {
            Some(pool) => pool.clone(),
            None => pool(&self.server)?,
        };
        let connection = pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => classify::connection_failure(address, &error),
            other => ReadFailure::new(FailureKind::Unreachable, format!("{address}: {other}")),
        })?;
        // Out of the pool for good: a connection that failed must not come back, and a healthy one is held.
        Ok(Connection::take(connection))
    }

    async fn encrypted(
        &self,
        tls: &RedisTls,
        credentials: &Credentials,
    ) -> Result<(MultiplexedConnection, AbortOnDropHandle<()>), ReadFailure> {
        let address = &self.server.address;
        let (host, port) = host_and_port(address)?;
        let stream = TcpStream::connect((host.as_str(), port)).await;
        // As for the plain connection: a round of several segments does not wait for acknowledgements (Nagle).
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        let stream = stream.map_err(|error| classify::io_failure(address, &error))?;
        let stream = tls::encrypt(stream, address, &host, tls, credentials).await?;
        let (connection, driver) = MultiplexedConnection::new_with_config(&settings(), stream, limits(&self.server))
            .await
            .map_err(|error| classify::connection_failure(address, &error))?;
        Ok((connection, AbortOnDropHandle::new(tokio::spawn(driver))))
    }
}

/// Neither password nor database: the handshake is ours.
fn settings() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

fn limits(server: &RedisServer) -> AsyncConnectionConfig {
    // The whole of connecting has one bound, above; the library's own would only say the same less well.
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(Some(server.response_timeout))
}

fn pool(server: &RedisServer) -> Result<Pool, ReadFailure> {
    let (host, port) = host_and_port(&server.address)?;
    let refused = |error: redis::RedisError| classify::connection_failure(&server.address, &error);
    let info = ConnectionAddr::Tcp(host, port)
        .into_connection_info()
        .map_err(refused)?
        .set_redis_settings(settings())
        // Without it a round of several segments waits for acknowledgements (Nagle).
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let manager = Manager::new_with_config(info, limits(server)).map_err(refused)?;
    Pool::builder(manager)
        .max_size(1)
        .build()
        .map_err(|error| ReadFailure::new(FailureKind::Configuration, format!("{}: {error}", server.address)))
}

async fn shake_hands(
    connection: &mut MultiplexedConnection,
    server: &RedisServer,
    credentials: &Credentials,
) -> Result<(), ReadFailure> {
    let address = &server.address;
    let (username, password) = (&credentials.username, &credentials.password);
    if username.is_some() || password.is_some() {
        let mut auth = redis::cmd("AUTH");
        if let Some(username) = username {
            auth.arg(username);
        }
        // A user without a password (`nopass`) accepts any.
        auth.arg(password.as_ref().map_or("", Secret::reveal));
        ask(connection, address, &auth).await.map_err(|failure| without_quotes(address, failure))?;
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

/// A server that does not know AUTH (`rename-command`) quotes what it was sent, and that is the password.
fn without_quotes(address: &str, failure: ReadFailure) -> ReadFailure {
    if failure.kind != FailureKind::Protocol {
        return failure;
    }
    let sentence = format!("{address} does not understand AUTH; is it renamed there (`rename-command`), or no Redis?");
    ReadFailure::new(FailureKind::Authentication, sentence)
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
}
