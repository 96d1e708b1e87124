//! A whole `postgres://` URL, as programs are given it in one Secret, taken apart.
//!
//! Nothing of it is ever in a message: a password with a stray `/` or `?` in it ends up in any of its parts. What other
//! drivers' URLs say besides (pools, schemas, caches) is passed over, so that a program's own Secret can be used as it is.

use std::net::Ipv6Addr;

use crate::model::{FailureKind, ReadFailure};
use crate::spec::Secret;

/// Where PostgreSQL listens if nobody says otherwise.
const PORT: u16 = 5432;

/// What a URL says; what it does not say is `None`.
pub(super) struct Url {
    /// A host without brackets, or the folder of a Unix socket.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) database: Option<String>,
    pub(super) mode: Option<Mode>,
    /// `options`: settings of the session, as command line arguments.
    pub(super) options: Option<String>,
    pub(super) binds_channel: bool,
}

/// `sslmode`, as far as it makes a difference to us: who verifies at all verifies the name too.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Disable,
    /// `allow`, `prefer`.
    Prefer,
    /// `require`, `verify-ca`, `verify-full`.
    Require,
}

impl Url {
    /// # Errors
    /// It is none, or names no server, or several.
    pub(super) fn parse(text: &str) -> Result<Self, ReadFailure> {
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(not_a_url)?;
        // SQLAlchemy and others name their driver behind a plus sign.
        if !matches!(scheme.split('+').next(), Some("postgres" | "postgresql")) {
            return Err(not_a_url());
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (login, None),
        };
        let (host, port) = place_of(place)?;
        let mut url = Url {
            host,
            port,
            user: said(user)?,
            password: password.map(said).transpose()?.flatten().map(Secret::new),
            database: said(path.strip_prefix('/').unwrap_or(path))?,
            mode: None,
            options: None,
            binds_channel: false,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            url.set(name, decoded(value)?)?;
        }
        if url.host.is_empty() {
            return Err(refused("names no host; write it as postgres://user:password@host:5432/database"));
        }
        Ok(url)
    }

    fn set(&mut self, name: &str, value: String) -> Result<(), ReadFailure> {
        match name {
            "sslmode" => {
                self.mode = Some(Mode::parse(&value).ok_or_else(|| {
                    refused("has an sslmode that is none of disable, prefer, require, verify-ca and verify-full")
                })?);
            }
            "host" if value.contains(',') => return Err(several()),
            "host" => self.host = value,
            "hostaddr" => return Err(refused("has a hostaddr, which is not supported; name the host alone")),
            "port" => self.port = value.parse().map_err(|_| refused("has a port that is not a number"))?,
            "user" => self.user = Some(value),
            "password" => self.password = Some(Secret::new(value)),
            "dbname" => self.database = Some(value),
            "options" => self.options = Some(value),
            "channel_binding" => self.binds_channel = value == "require",
            _ => {}
        }
        Ok(())
    }
}

impl Mode {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "disable" => Mode::Disable,
            "allow" | "prefer" => Mode::Prefer,
            "require" | "verify-ca" | "verify-full" => Mode::Require,
            _ => return None,
        })
    }
}

/// Host and port.
fn place_of(place: &str) -> Result<(String, u16), ReadFailure> {
    if place.contains(',') {
        return Err(several());
    }
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => {
            host.parse::<Ipv6Addr>().map_err(|_| refused("has brackets around what is no IPv6 address"))?;
            (host, rest.strip_prefix(':').unwrap_or(rest))
        }
        None => place.rsplit_once(':').unwrap_or((place, "")),
    };
    let port = if port.is_empty() { Some(PORT) } else { port.parse().ok().filter(|port| *port != 0) };
    let port = port.ok_or_else(|| refused("has a port that is not a number; is a `:`, `/` or `@` in its password?"))?;
    Ok((decoded(host)?, port))
}

/// `None` where nothing is said.
fn said(text: &str) -> Result<Option<String>, ReadFailure> {
    Ok(Some(decoded(text)?).filter(|text| !text.is_empty()))
}

/// Percent-encoding undone.
fn decoded(text: &str) -> Result<String, ReadFailure> {
    let broken = || refused("has a `%` that begins no character; a `%` itself is written %25");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        let (high, low) = digit(rest.next()).zip(digit(rest.next())).ok_or_else(broken)?;
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| broken())?);
    }
    String::from_utf8(bytes).map_err(|_| broken())
}

fn not_a_url() -> ReadFailure {
    refused("does not begin with postgres:// or postgresql://")
}

fn several() -> ReadFailure {
    refused("names several hosts; name one, such as the Service of the primary or of the replicas")
}

fn refused(what: &str) -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, format!("the URL that the Connection's urlFrom holds {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|failure| panic!("{text}: {failure}"))
    }

    #[test]
    fn urls_are_taken_apart_as_libpq_does() {
        let url = parsed("postgres://me:s%40fe%2F@db.shop.svc:6432/or%20ders?sslmode=verify-full&pool_max_conns=5");
        assert_eq!((url.host.as_str(), url.port), ("db.shop.svc", 6432));
        assert_eq!((url.user.as_deref(), url.database.as_deref()), (Some("me"), Some("or ders")));
        assert_eq!(url.password.as_ref().unwrap().reveal(), "s@fe/");
        assert_eq!((url.mode, url.options.as_deref(), url.binds_channel), (Some(Mode::Require), None, false));

        let url = parsed("postgresql+asyncpg://me@[::1]/x?channel_binding=require&options=-c%20search_path%3Dshop");
        assert_eq!((url.host.as_str(), url.port, url.mode), ("::1", PORT, None));
        assert!(url.password.is_none() && url.binds_channel);
        assert_eq!(url.options.as_deref(), Some("-c search_path=shop"));

        let url = parsed("postgres:///orders?host=/run/postgresql&user=me&password=p&port=5433&sslmode=prefer\n");
        assert_eq!((url.host.as_str(), url.port, url.mode), ("/run/postgresql", 5433, Some(Mode::Prefer)));
        assert_eq!(parsed("postgres://me@%2Frun%2Fpostgresql/x").host, "/run/postgresql");
        assert_eq!(parsed("postgres://me:a@b@db/x").password.unwrap().reveal(), "a@b");
        assert_eq!(parsed("postgres://db").database, None);
    }

    #[test]
    fn what_cannot_be_used_says_why_and_quotes_nothing() {
        for (text, why) in [
            ("host=planted user=planted", "begin with"),
            ("mysql://planted:planted@planted/x", "begin with"),
            ("postgres://planted:planted@a,b/x", "several hosts"),
            ("postgres:///x?host=a,b", "several hosts"),
            ("postgres://planted:planted/x@db/x", "is not a number"),
            ("postgres://planted@db:0/x", "is not a number"),
            ("postgres://planted@/x", "no host"),
            ("postgres://planted%zz@db/x", "`%`"),
            ("postgres://planted%ff@db/x", "`%`"),
            ("postgres://db/x?sslmode=planted", "sslmode"),
            ("postgres://db/x?hostaddr=1.2.3.4", "hostaddr"),
            ("postgres://[planted]/x", "brackets"),
        ] {
            let failure = Url::parse(text).map(|_| ()).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Configuration, "{text}");
            assert!(failure.message.contains(why), "{text}: {failure}");
            assert!(!failure.message.contains("planted"), "{failure}");
        }
    }
}
