//! From a `RedisServer` to connections that are ready to be asked: two to each server that `topology` finds behind it, one
//! of the library's, for whatever is asked with care, and a socket of our own for numbers (`hot`).
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
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::classify;
use super::hot::{GROUP, Login, Node, Socket};
use super::topology::{self, Link};
use super::wire::Wire;
use crate::model::{FailureKind, ReadFailure};
use crate::source::material::{Credentials, Reader};
use crate::source::secrets::Secrets;
use crate::source::{Material, tls};
use crate::spec::grants::Fence;
use crate::spec::{ClientTls, RedisServer, Secret, Sentinel, Topology, unix_socket};

/// How the connection shows in `CLIENT LIST`, so that an operator can tell who asks.
pub(super) const CLIENT_NAME: &str = "tidegate";

/// Holds what a connect needs, so that its future borrows nothing.
#[derive(Clone)]
pub(super) struct Connector {
    server: Arc<RedisServer>,
    reader: Reader,
    /// Reads the sentinels' own login.
    sentinels: Option<Reader>,
    fence: Fence,
}

/// What it takes to log in, as it was read for one connect.
pub(super) struct Logins {
    pub(super) own: Credentials,
    pub(super) sentinels: Option<Credentials>,
}

impl Logins {
    pub(super) fn material(&self) -> Option<Material> {
        Material::of_both(self.own.material, self.sentinels.as_ref().and_then(|login| login.material))
    }
}

impl Connector {
    pub(super) fn new(server: RedisServer, secrets: Secrets) -> Self {
        let sentinels = match &server.topology {
            Topology::Sentinel(sentinel) => {
                Some(Reader::new(sentinel.login(), server.connect_timeout, secrets.clone()))
            }
            Topology::Single | Topology::Cluster { .. } => None,
        };
        let reader = Reader::new(server.login(), server.connect_timeout, secrets);
        Connector { reader, sentinels, server: Arc::new(server), fence: Fence::default() }
    }

    pub(super) fn behind(self, fence: Fence) -> Self {
        Connector { fence, ..self }
    }

    pub(super) fn server(&self) -> &RedisServer {
        &self.server
    }

    /// What a link opened now would be made of.
    pub(super) async fn look(self) -> Option<Material> {
        let own = self.reader.look().await;
        let sentinels = match self.sentinels {
            Some(reader) => reader.look().await,
            None => None,
        };
        Material::of_both(own, sentinels)
    }

    /// Tells of changed Secrets; `None` where there are none to wait for.
    pub(super) fn changes(&self) -> Option<watch::Receiver<u64>> {
        self.reader.changes().or_else(|| self.sentinels.as_ref()?.changes())
    }

    /// Connects, authenticates, selects the database, and whatever else the topology wants; all of it within
    /// `connect_timeout`.
    pub(super) async fn connect(self) -> Result<Link, ReadFailure> {
        let opening = async { topology::open(&self, self.read_logins().await?).await };
        self.within(opening).await
    }

    /// One more wire, to a node that others have told of; within `connect_timeout`, too.
    pub(super) async fn connect_to(&self, address: &str, readonly: bool) -> Result<Wire, ReadFailure> {
        self.bounded(address, async {
            let logins = self.read_logins().await?;
            self.open(address, &logins.own, readonly).await
        })
        .await
    }

    /// The same for somebody who is asked about others, and not about keys.
    pub(super) async fn connect_to_ask(&self, address: &str) -> Result<Wire, ReadFailure> {
        self.bounded(address, async {
            let logins = self.read_logins().await?;
            self.open_to_ask(address, &logins.own).await
        })
        .await
    }

    async fn bounded(
        &self,
        address: &str,
        opening: impl Future<Output = Result<Wire, ReadFailure>>,
    ) -> Result<Wire, ReadFailure> {
        let bound = self.server.connect_timeout;
        let late = || classify::timeout(address, "connectTimeout", bound);
        tokio::time::timeout(bound, opening).await.unwrap_or_else(|_| Err(late()))
    }

    async fn within<T>(&self, work: impl Future<Output = Result<T, ReadFailure>>) -> Result<T, ReadFailure> {
        let bound = self.server.connect_timeout;
        let late = || classify::timeout(&self.server.address, "connectTimeout", bound);
        tokio::time::timeout(bound, work).await.unwrap_or_else(|_| Err(late()))
    }

    /// Reads secrets and certificates. A mount that hangs has a sentence of its own, a little before connecting as a
    /// whole has taken too long.
    pub(super) async fn read_logins(&self) -> Result<Logins, ReadFailure> {
        let reading = async {
            let own = self.reader.read().await?;
            let sentinels = match &self.sentinels {
                Some(reader) => Some(reader.read().await?),
                None => None,
            };
            Ok(Logins { own, sentinels })
        };
        let bound = self.server.connect_timeout;
        tokio::time::timeout(bound * 15 / 16, reading).await.unwrap_or_else(|_| {
            Err(ReadFailure::new(
                FailureKind::Configuration,
                format!(
                    "{}: its secrets and certificates could not be read within connectTimeout ({} ms): does the mount \
                     of their files hang?",
                    self.server.address,
                    bound.as_millis()
                ),
            ))
        })
    }

    /// Opens both connections to a server that holds keys; `readonly` to a replica of a Cluster.
    pub(super) async fn open(
        &self,
        address: &str,
        credentials: &Credentials,
        readonly: bool,
    ) -> Result<Wire, ReadFailure> {
        let own = &self.server;
        let careful = async {
            let (connection, driver) = self.careful(address, own.tls.as_ref(), credentials, own.database).await?;
            let wire = Wire::new(address, connection, driver);
            if readonly && let Value::ServerError(error) = wire.ask(&redis::cmd("READONLY")).await? {
                return Err(classify::server_failure(address, &error));
            }
            Ok(wire)
        };
        let (wire, hot) = tokio::try_join!(careful, self.hot(address, credentials, readonly))?;
        Ok(wire.with(hot))
    }

    /// Opens a connection to a server that is not asked about keys.
    pub(super) async fn open_to_ask(&self, address: &str, credentials: &Credentials) -> Result<Wire, ReadFailure> {
        let own = &self.server;
        let (connection, driver) = self.careful(address, own.tls.as_ref(), credentials, own.database).await?;
        Ok(Wire::new(address, connection, driver))
    }

    /// Opens a connection to a sentinel.
    pub(super) async fn open_sentinel(
        &self,
        address: &str,
        sentinel: &Sentinel,
        credentials: &Credentials,
    ) -> Result<Wire, ReadFailure> {
        let (connection, driver) = self.careful(address, sentinel.tls.as_ref(), credentials, 0).await?;
        Ok(Wire::new(address, connection, driver))
    }

    /// The library's connection. Nobody gets past the fence, here as with [`Connector::hot`].
    async fn careful(
        &self,
        address: &str,
        tls: Option<&ClientTls>,
        credentials: &Credentials,
        database: u32,
    ) -> Result<(MultiplexedConnection, Option<AbortOnDropHandle<()>>), ReadFailure> {
        if !self.fence.permits(address) {
            return Err(beyond_the_fence(address));
        }
        let (mut connection, driver) = match tls {
            None => (self.plain(address).await?, None),
            Some(tls) => {
                let (connection, driver) = self.encrypted(address, tls, credentials).await?;
                (connection, Some(driver))
            }
        };
        shake_hands(&mut connection, address, database, credentials).await?;
        Ok((connection, driver))
    }

    /// Our own.
    async fn hot(&self, address: &str, credentials: &Credentials, readonly: bool) -> Result<Node, ReadFailure> {
        if !self.fence.permits(address) {
            return Err(beyond_the_fence(address));
        }
        let login = Login {
            address,
            username: credentials.username.as_deref(),
            password: credentials.password.as_ref(),
            database: self.server.database,
            readonly,
        };
        // Keys of one command have to be of one slot there.
        let group = if matches!(self.server.topology, Topology::Cluster { .. }) { 1 } else { GROUP };
        let socket: Box<dyn Socket> = match (unix_socket(address), &self.server.tls) {
            (Some(path), _) => {
                let stream = UnixStream::connect(path).await;
                Box::new(stream.map_err(|error| classify::io_failure(address, &error))?)
            }
            (None, None) => Box::new(tcp(address).await?.0),
            (None, Some(tls)) => {
                let (stream, host) = tcp(address).await?;
                Box::new(tls::encrypt(stream, address, &host, tls, credentials).await?)
            }
        };
        Node::open(socket, &login, group, self.server.response_timeout).await
    }

    async fn plain(&self, address: &str) -> Result<MultiplexedConnection, ReadFailure> {
        let connection = pool(address, &self.server)?.get().await.map_err(|error| match error {
            PoolError::Backend(error) => classify::connection_failure(address, &error),
            other => ReadFailure::new(FailureKind::Unreachable, format!("{address}: {other}")),
        })?;
        // Out of the pool for good: a connection that failed must not come back, and a healthy one is held.
        Ok(Connection::take(connection))
    }

    async fn encrypted(
        &self,
        address: &str,
        tls: &ClientTls,
        credentials: &Credentials,
    ) -> Result<(MultiplexedConnection, AbortOnDropHandle<()>), ReadFailure> {
        let (stream, host) = tcp(address).await?;
        let stream = tls::encrypt(stream, address, &host, tls, credentials).await?;
        let (connection, driver) = MultiplexedConnection::new_with_config(&settings(), stream, limits(&self.server))
            .await
            .map_err(|error| classify::connection_failure(address, &error))?;
        Ok((connection, AbortOnDropHandle::new(tokio::spawn(driver))))
    }
}

/// A stream to a server, and the name of its host.
async fn tcp(address: &str) -> Result<(TcpStream, String), ReadFailure> {
    let (host, port) = host_and_port(address)?;
    let stream = TcpStream::connect((host.as_str(), port)).await;
    // As for the plain connection: a round of several segments does not wait for acknowledgements (Nagle).
    let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    Ok((stream.map_err(|error| classify::io_failure(address, &error))?, host))
}

/// Only servers that others name get here: what is declared was held against the fence when it was read.
fn beyond_the_fence(address: &str) -> ReadFailure {
    ReadFailure::new(
        FailureKind::Configuration,
        format!(
            "no connection may lead to {address}: it is not in --only-addresses; add it, or have the servers announce \
             names that are"
        ),
    )
}

/// Neither password nor database: the handshake is ours.
fn settings() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

fn limits(server: &RedisServer) -> AsyncConnectionConfig {
    // The whole of connecting has one bound, above; the library's own would only say the same less well.
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(Some(server.response_timeout))
}

fn pool(address: &str, server: &RedisServer) -> Result<Pool, ReadFailure> {
    let place = match unix_socket(address) {
        Some(path) => ConnectionAddr::Unix(path.to_owned()),
        None => {
            let (host, port) = host_and_port(address)?;
            ConnectionAddr::Tcp(host, port)
        }
    };
    let refused = |error: redis::RedisError| classify::connection_failure(address, &error);
    let info = place
        .into_connection_info()
        .map_err(refused)?
        .set_redis_settings(settings())
        // Without it a round of several segments waits for acknowledgements (Nagle).
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let manager = Manager::new_with_config(info, limits(server)).map_err(refused)?;
    Pool::builder(manager)
        .max_size(1)
        .build()
        .map_err(|error| ReadFailure::new(FailureKind::Configuration, format!("{address}: {error}")))
}

async fn shake_hands(
    connection: &mut MultiplexedConnection,
    address: &str,
    database: u32,
    credentials: &Credentials,
) -> Result<(), ReadFailure> {
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
    if database != 0 {
        let mut select = redis::cmd("SELECT");
        select.arg(database);
        ask(connection, address, &select).await?;
    }
    Ok(())
}

/// A server that does not know AUTH (`rename-command`) quotes what it was sent, and that is the password.
pub(super) fn without_quotes(address: &str, failure: ReadFailure) -> ReadFailure {
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
