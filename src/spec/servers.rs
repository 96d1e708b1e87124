//! Servers other than Redis: a PostgreSQL, a Prometheus, and pods that expose metrics.

use std::time::Duration;

use super::{ClientTls, Login, SecretRef, UserRef};

/// A database of a PostgreSQL.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PostgresServer {
    /// `host:port`, or the path of the folder with the Unix socket, with `:port` behind it. Empty where `url` says it.
    pub address: String,
    pub database: String,
    pub username: Option<UserRef>,
    pub password: Option<SecretRef>,
    /// Where a whole URL is (`postgres://user:password@host/database`), instead of address, database and user.
    pub url: Option<SecretRef>,
    pub tls: Option<ClientTls>,
    /// Bound on connecting, authenticating included.
    pub connect_timeout: Duration,
    /// Bound on one statement, which the server keeps too.
    pub response_timeout: Duration,
}

impl PostgresServer {
    /// The login; where there is a URL, it stands in the password's place.
    #[must_use]
    pub fn login(&self) -> Login<'_> {
        Login {
            username: self.username.as_ref(),
            password: self.url.as_ref().or(self.password.as_ref()),
            tls: self.tls.as_ref(),
        }
    }
}

/// Something that answers over HTTP.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HttpServer {
    /// `http://` or `https://`, host and port, and perhaps a path.
    pub url: HttpUrl,
    pub username: Option<UserRef>,
    /// Of the user; without one, a bearer token.
    pub password: Option<SecretRef>,
    /// Further headers of every request.
    pub headers: Vec<(String, String)>,
    pub tls: Option<ClientTls>,
    /// Bound on connecting.
    pub connect_timeout: Duration,
    /// Bound on the whole of one answer.
    pub response_timeout: Duration,
}

impl HttpServer {
    #[must_use]
    pub fn login(&self) -> Login<'_> {
        Login { username: self.username.as_ref(), password: self.password.as_ref(), tls: self.tls.as_ref() }
    }
}

/// Where something answers over HTTP; https where there is `tls`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HttpUrl {
    pub encrypted: bool,
    /// `host:port`, the port always written out. Of pods: empty.
    pub address: String,
    /// Empty, or with a slash in front and none at its end.
    pub path: String,
}

impl HttpUrl {
    /// As people write it.
    #[must_use]
    pub fn text(&self) -> String {
        self.at(&self.address)
    }

    /// The same of another host.
    #[must_use]
    pub fn at(&self, address: &str) -> String {
        let scheme = if self.encrypted { "https" } else { "http" };
        format!("{scheme}://{address}{}", self.path)
    }

    /// Reads what people write; a port that is not written is the scheme's. `None`: not such a URL, or one with a user
    /// or a query in it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (encrypted, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return None,
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = path.trim_end_matches('/');
        let odd = |c: char| c.is_whitespace() || c.is_control() || "?#\"<>\\^`{|}".contains(c);
        if path.contains(odd) || !path.is_ascii() {
            return None;
        }
        let port = if encrypted { 443 } else { 80 };
        let with_port = format!("{authority}:{port}");
        let (host, port) = super::address::split(authority).or_else(|| super::address::split(&with_port))?;
        Some(HttpUrl { encrypted, address: super::address::join(host, port), path: path.to_owned() })
    }
}

/// Pages of metrics.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ScrapeServer {
    pub http: HttpServer,
    /// Whose pages; `None`: the one at the URL.
    pub pods: Option<Pods>,
}

/// The ready pods behind a Service, or that a selector selects.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Pods {
    pub namespace: String,
    pub which: Which,
    pub port: PodPort,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Which {
    Service(String),
    /// A label selector, as `kubectl -l` has it.
    Selector(String),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PodPort {
    Number(u16),
    /// A port's name: of the Service, or of the pods' containers.
    Name(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_with_their_port_and_without_anything_secret() {
        let read = |text: &str| HttpUrl::parse(text).map(|url| (url.encrypted, url.address, url.path));
        let some = |encrypted, address: &str, path: &str| Some((encrypted, address.to_owned(), path.to_owned()));
        assert_eq!(read("http://prometheus:9090"), some(false, "prometheus:9090", ""));
        assert_eq!(read("https://mimir.example.com/prometheus/"), some(true, "mimir.example.com:443", "/prometheus"));
        assert_eq!(read("http://[::1]:9090/a/b"), some(false, "[::1]:9090", "/a/b"));
        assert_eq!(read("http://thanos"), some(false, "thanos:80", ""));
        for wrong in
            ["prometheus:9090", "ftp://a", "http://u:p@a:1", "http://a:1?x=y", "http://", "http://a b/", "http://a/ b"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(HttpUrl::parse("https://a/x").unwrap().text(), "https://a:443/x");
    }
}
