//! From a `PostgresServer` to a session that is ready to be asked: secrets read anew (see `source/material.rs`), the
//! fence, the socket, TLS, the login, and the session's settings; all of it within `connectTimeout`.
//!
//! TLS is our own (`source/tls.rs`): we ask the server for it as the protocol has it, encrypt the socket, and hand the
//! library a stream that it takes for a plain one. So there is one floor of versions and ciphers in the house. The login
//! is not bound to the channel (SCRAM-PLUS): the certificate is verified, which is what that would stand in for.
//!
//! The settings travel with the login and not as statements after it. A session that cannot have them is never opened:
//! a pooler that shares sessions among clients refuses them, where a `set` would have changed somebody else's session.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio_postgres::{Config, NoTls};

use super::classify;
use super::counted::{Counted, Socket};
use super::link::Link;
use super::url::{Mode, Url};
use crate::model::{FailureKind, ReadFailure};
use crate::source::Material;
use crate::source::material::{Credentials, Reader};
use crate::source::network::{io_failure, timeout};
use crate::source::secrets::Secrets;
use crate::source::tls;
use crate::spec::grants::Fence;
use crate::spec::{ClientTls, PostgresServer, Secret, address};

/// How the session shows in `pg_stat_activity`, so that an operator can tell who asks.
const APPLICATION: &str = "tidegate";

/// The client's question for TLS: its length, and the number that stands for it.
const WANTS_TLS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Of `responseTimeout`, how long a statement may wait for somebody's lock: less than the whole, so that the failure says
/// that it was a lock.
const FOR_A_LOCK: f64 = 0.75;

/// Holds what a connect needs, so that its future borrows nothing.
#[derive(Clone)]
pub(super) struct Connector {
    server: Arc<PostgresServer>,
    reader: Reader,
    fence: Fence,
}

/// Where to go, and as whom.
struct Place<'a> {
    /// For messages and for the fence.
    address: String,
    host: String,
    port: u16,
    user: String,
    password: Option<Secret>,
    database: Option<String>,
    options: Option<String>,
    tls: Option<&'a ClientTls>,
}

impl Connector {
    pub(super) fn new(server: PostgresServer, secrets: Secrets) -> Self {
        let reader = Reader::new(server.login(), server.connect_timeout, secrets);
        Connector { server: Arc::new(server), reader, fence: Fence::default() }
    }

    pub(super) fn behind(self, fence: Fence) -> Self {
        Connector { fence, ..self }
    }

    pub(super) fn response_timeout(&self) -> Duration {
        self.server.response_timeout
    }

    /// What a link opened now would be made of.
    pub(super) async fn look(self) -> Option<Material> {
        self.reader.look().await
    }

    /// Tells of changed Secrets; `None` where there are none to wait for.
    pub(super) fn changes(&self) -> Option<watch::Receiver<u64>> {
        self.reader.changes()
    }

    /// Opens a session that listens on `channels`, which are the version `version` of that list.
    pub(super) async fn connect(self, version: u64, channels: Vec<Arc<str>>) -> Result<Link, ReadFailure> {
        let bound = self.server.connect_timeout;
        let late = |_| Err(timeout(self.name(), "connectTimeout", bound));
        let opening = async {
            let mut link = self.open().await?;
            link.listen(version, &channels).await?;
            link.assume_news();
            Ok(link)
        };
        tokio::time::timeout(bound, opening).await.unwrap_or_else(late)
    }

    /// As far as it is known without the URL.
    fn name(&self) -> &str {
        if self.server.address.is_empty() { "the server of urlFrom" } else { &self.server.address }
    }

    async fn open(&self) -> Result<Link, ReadFailure> {
        let credentials = self.read_credentials().await?;
        let place = self.place(&credentials)?;
        let address = place.address.as_str();
        if !self.fence.permits(address) {
            return Err(configuration(format!(
                "no connection may lead to {address}: it is not in --only-addresses; add it, or name another server"
            )));
        }
        let socket = place.socket(&credentials).await?;
        let (stream, bytes) = Counted::new(socket);
        let config = self.session(&place);
        let opened = config.connect_raw(stream, NoTls).await;
        let (client, connection) = opened.map_err(|error| classify::refusal(address, &error))?;
        let bound = self.server.response_timeout;
        Ok(Link::new(address, client, connection, bytes, bound, credentials.material))
    }

    /// Reads secrets and certificates. A mount that hangs has a sentence of its own, a little before connecting as a
    /// whole has taken too long.
    async fn read_credentials(&self) -> Result<Credentials, ReadFailure> {
        let bound = self.server.connect_timeout;
        tokio::time::timeout(bound * 15 / 16, self.reader.read()).await.unwrap_or_else(|_| {
            Err(configuration(format!(
                "{}: its secrets and certificates could not be read within connectTimeout ({} ms): does the mount of \
                 their files hang?",
                self.name(),
                bound.as_millis()
            )))
        })
    }

    fn place(&self, credentials: &Credentials) -> Result<Place<'_>, ReadFailure> {
        let server = &self.server;
        let place = if server.url.is_some() {
            // It stands in the password's place.
            let url = Url::parse(credentials.password.as_ref().map_or("", Secret::reveal))?;
            let tls = encryption(&url, server.tls.as_ref())?;
            let user = url.user.or_else(|| credentials.username.clone());
            Place {
                address: address::join(&url.host, url.port),
                host: url.host,
                port: url.port,
                user: user.unwrap_or_default(),
                password: url.password,
                database: url.database.or_else(|| said(&server.database)),
                options: url.options,
                tls,
            }
        } else {
            let (host, port) = parts(&server.address)?;
            Place {
                address: server.address.clone(),
                host,
                port,
                user: credentials.username.clone().unwrap_or_default(),
                password: credentials.password.clone(),
                database: said(&server.database),
                options: None,
                tls: server.tls.as_ref(),
            }
        };
        if place.user.is_empty() {
            return Err(configuration(format!("{}: no user is named; add `username`", place.address)));
        }
        if place.is_local() && place.tls.is_some() {
            return Err(configuration(format!(
                "{}: a Unix socket cannot be encrypted, and need not be; take `tls` out",
                place.address
            )));
        }
        Ok(place)
    }

    fn session(&self, place: &Place<'_>) -> Config {
        let mut config = Config::new();
        config.user(&place.user).application_name(APPLICATION);
        if let Some(password) = &place.password {
            config.password(password.reveal());
        }
        if let Some(database) = &place.database {
            config.dbname(database);
        }
        let statement = self.server.response_timeout;
        let millis = |time: Duration| time.as_millis().max(1);
        // The last one counts where the URL has the same.
        config.options(format!(
            "{} -c default_transaction_read_only=on -c statement_timeout={} -c lock_timeout={}",
            place.options.as_deref().unwrap_or(""),
            millis(statement),
            millis(statement.mul_f64(FOR_A_LOCK)),
        ));
        config
    }
}

impl Place<'_> {
    /// Whether the host is the folder of a Unix socket.
    fn is_local(&self) -> bool {
        self.host.starts_with('/')
    }

    async fn socket(&self, credentials: &Credentials) -> Result<Box<dyn Socket>, ReadFailure> {
        let failed = |error: std::io::Error| io_failure(&self.address, &error);
        if self.is_local() {
            let path = format!("{}/.s.PGSQL.{}", self.host.trim_end_matches('/'), self.port);
            return Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?));
        }
        let mut stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let Some(tls) = self.tls else { return Ok(Box::new(stream)) };
        stream.write_all(&WANTS_TLS).await.map_err(failed)?;
        match stream.read_u8().await.map_err(failed)? {
            b'S' => Ok(Box::new(tls::encrypt(stream, &self.address, &self.host, tls, credentials).await?)),
            b'N' => Err(configuration(format!(
                "{} offers no TLS; set `ssl = on` there, or take `tls` out of the Connection",
                self.address
            ))),
            _ => Err(classify::not_postgres(&self.address, "no answer to the question for TLS")),
        }
    }
}

/// How a URL's `sslmode` and the Connection's `tls` go together: `tls` says whom to trust, and who says that wants to be
/// sure. So nothing is encrypted for nobody in particular, and nothing that asks for TLS goes without.
fn encryption<'a>(url: &Url, tls: Option<&'a ClientTls>) -> Result<Option<&'a ClientTls>, ReadFailure> {
    match (url.mode, tls) {
        (Some(Mode::Disable), Some(_)) => Err(configuration(
            "the URL says sslmode=disable and the Connection has `tls`; take one of them out".to_owned(),
        )),
        (Some(Mode::Require), None) => Err(configuration(
            "the URL wants TLS (sslmode), and the Connection does not say whom to trust; add `tls` with `caFile` or \
             `caFrom`, or with `insecureSkipVerify: true`"
                .to_owned(),
        )),
        (_, Some(tls)) if url.binds_channel && tls.insecure_skip_verify => Err(configuration(
            "the URL says channel_binding=require, for which the server's certificate has to be verified; name its \
             authorities in `tls`"
                .to_owned(),
        )),
        (_, tls) => Ok(tls),
    }
}

/// Host and port of `host:port`, or folder and port of `/folder:port`.
fn parts(address: &str) -> Result<(String, u16), ReadFailure> {
    let local = || {
        let (folder, port) = address.strip_prefix('/').and_then(|rest| rest.rsplit_once(':'))?;
        Some((format!("/{folder}"), port.parse().ok()?))
    };
    let remote = || address::split(address).map(|(host, port)| (host.to_owned(), port));
    remote().or_else(local).ok_or_else(|| {
        configuration(format!("{address:?} is not `host:port`, e.g. postgres-service:5432, nor `/folder:5432`"))
    })
}

fn said(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

fn configuration(sentence: String) -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        assert_eq!(parts("db.shop.svc:5432").unwrap(), ("db.shop.svc".to_owned(), 5432));
        assert_eq!(parts("[::1]:5433").unwrap(), ("::1".to_owned(), 5433));
        assert_eq!(parts("/run/postgresql:5432").unwrap(), ("/run/postgresql".to_owned(), 5432));
        for bad in ["db", "db:", "/run/postgresql", ""] {
            assert_eq!(parts(bad).unwrap_err().kind, FailureKind::Configuration, "{bad}");
        }
    }

    #[test]
    fn a_url_that_wants_tls_needs_somebody_to_trust_and_nothing_else_goes_encrypted() {
        let tls = ClientTls { insecure_skip_verify: true, ..ClientTls::default() };
        let of = |url: &str, tls| encryption(&Url::parse(url).unwrap(), tls).map(|tls| tls.is_some());
        for mode in ["require", "verify-ca", "verify-full"] {
            let url = format!("postgres://db/x?sslmode={mode}");
            assert!(of(&url, None).unwrap_err().message.contains("whom to trust"), "{mode}");
            assert!(of(&url, Some(&tls)).unwrap());
        }
        assert!(!of("postgres://db/x", None).unwrap() && !of("postgres://db/x?sslmode=prefer", None).unwrap());
        assert!(of("postgres://db/x?sslmode=prefer", Some(&tls)).unwrap(), "no way back to plain text");
        assert!(of("postgres://db/x?sslmode=disable", Some(&tls)).is_err());
        assert!(of("postgres://db/x?channel_binding=require", Some(&tls)).is_err());
    }
}
