//! How a Redis is laid out: one server, a primary that a Sentinel watches over, or a Cluster.

use std::path::Path;
use std::time::Duration;

use super::{ClientTls, RedisServer, SecretRef, UserRef};

/// What stands behind a connection.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Topology {
    /// One server, at the connection's address.
    #[default]
    Single,
    /// Whichever server these sentinels call the master.
    Sentinel(Box<Sentinel>),
    /// Several primaries that share the keys. These are asked where they are; one that answers is enough.
    Cluster { addresses: Vec<String> },
}

/// The sentinels, and what they are asked for. They have users and certificates of their own.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sentinel {
    /// `host:port`; one that answers is enough.
    pub addresses: Vec<String>,
    /// What they call the master.
    pub master: String,
    pub username: Option<UserRef>,
    pub password: Option<SecretRef>,
    pub tls: Option<ClientTls>,
}

/// Whom to read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ReadFrom {
    #[default]
    Primary,
    /// A replica that is in step with its primary; the primary itself where there is none.
    Replica,
}

/// Who logs in and whom to trust: of the servers that hold the keys, or of the sentinels.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    pub username: Option<&'a UserRef>,
    pub password: Option<&'a SecretRef>,
    pub tls: Option<&'a ClientTls>,
}

impl RedisServer {
    /// One server, without a login, with one bound for everything.
    #[must_use]
    pub fn at(address: impl Into<String>, timeout: Duration) -> Self {
        RedisServer {
            address: address.into(),
            topology: Topology::Single,
            read_from: ReadFrom::Primary,
            database: 0,
            username: None,
            password: None,
            tls: None,
            connect_timeout: timeout,
            response_timeout: timeout,
            max_commands_per_second: None,
        }
    }

    /// Every address that is connected to before anybody has told of others.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let (own, several) = match &self.topology {
            Topology::Single => (Some(self.address.as_str()), &[][..]),
            Topology::Sentinel(sentinel) => (None, sentinel.addresses.as_slice()),
            Topology::Cluster { addresses } => (None, addresses.as_slice()),
        };
        own.into_iter().chain(several.iter().map(String::as_str))
    }

    /// The login of the servers that hold the keys.
    #[must_use]
    pub fn login(&self) -> Login<'_> {
        Login { username: self.username.as_ref(), password: self.password.as_ref(), tls: self.tls.as_ref() }
    }

    /// The logins that the connection has: one, or with sentinels two.
    pub fn logins(&self) -> impl Iterator<Item = Login<'_>> {
        let own = self.login();
        let sentinels = match &self.topology {
            Topology::Sentinel(sentinel) => Some(sentinel.login()),
            Topology::Single | Topology::Cluster { .. } => None,
        };
        std::iter::once(own).chain(sentinels)
    }
}

impl Sentinel {
    #[must_use]
    pub fn login(&self) -> Login<'_> {
        Login { username: self.username.as_ref(), password: self.password.as_ref(), tls: self.tls.as_ref() }
    }
}

/// The path of the Unix socket that an address is, if it is one: no host begins with a slash.
#[must_use]
pub fn unix_socket(address: &str) -> Option<&Path> {
    address.starts_with('/').then(|| Path::new(address))
}
