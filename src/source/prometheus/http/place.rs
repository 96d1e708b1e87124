//! Where to ask: a URL, taken apart.

use hyper::header::HeaderValue;

use super::configuration;
use crate::model::ReadFailure;
use crate::spec::HttpUrl;

/// One server's address, and the path that everything on it begins with.
#[derive(Clone, Debug)]
pub(in crate::source::prometheus) struct Place {
    /// What it is called in messages.
    pub(in crate::source::prometheus) name: String,
    /// `host:port`, for the fence.
    pub(super) address: String,
    /// Without brackets, for the certificate.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) encrypted: bool,
    /// As the `Host` header has it.
    pub(super) authority: HeaderValue,
    /// Empty, or without a slash at its end.
    pub(super) path: String,
}

impl Place {
    /// `url` at `address` (`host:port`), which is its own or one that others name.
    ///
    /// # Errors
    /// `address` is none.
    pub(in crate::source::prometheus) fn at(url: &HttpUrl, address: &str) -> Result<Self, ReadFailure> {
        let parts = address.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parts
            .filter(|(host, _)| !host.is_empty())
            .ok_or_else(|| configuration(format!("{address:?} is not `host:port`")))?;
        // The port that everybody knows is not written.
        let usual = if url.encrypted { 443 } else { 80 };
        let authority = HeaderValue::from_str(if port == usual { host } else { address })
            .map_err(|_| configuration(format!("{address:?} is no host")))?;
        Ok(Place {
            name: address.to_owned(),
            address: address.to_owned(),
            host: host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned(),
            port,
            encrypted: url.encrypted,
            authority,
            path: url.path.clone(),
        })
    }

    /// Called so in messages.
    pub(in crate::source::prometheus) fn called(self, name: String) -> Self {
        Place { name, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = |text: &str| HttpUrl::parse(text).unwrap();
        let of = |text: &str| Place::at(&url(text), &url(text).address).unwrap();
        let place = of("http://prometheus.monitoring:9090");
        assert_eq!((place.host.as_str(), place.port, place.path.as_str()), ("prometheus.monitoring", 9090, ""));
        assert_eq!(place.authority.to_str().unwrap(), "prometheus.monitoring:9090");
        let place = of("https://[::1]/select/0/prometheus/");
        assert_eq!((place.host.as_str(), place.port, place.path.as_str()), ("::1", 443, "/select/0/prometheus"));
        assert_eq!(place.authority.to_str().unwrap(), "[::1]");
        let pods = HttpUrl { encrypted: false, address: String::new(), path: "/metrics".to_owned() };
        let pod = Place::at(&pods, "10.1.2.3:8080").unwrap();
        assert_eq!((pod.address.as_str(), pod.path.as_str()), ("10.1.2.3:8080", "/metrics"));
        for bad in ["10.1.2.3", ":80", "a:x", ""] {
            assert!(Place::at(&pods, bad).is_err(), "{bad}");
        }
    }
}
