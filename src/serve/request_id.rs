//! One name for one request, in its answer and in whatever is logged on its way.
//!
//! A caller's own `x-request-id` is kept where it is harmless in a log; everybody else gets one that is unique to this
//! process (a prefix chosen at its start) and to the request (a counter).

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Where it is read from, and written to.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A UUID has 36; more is not for reading.
const LONGEST: usize = 64;

/// An extension of every request. Spelled out only where it is needed: most calls are never looked at.
#[derive(Clone, PartialEq, Eq)]
pub struct RequestId(Kind);

#[derive(Clone, PartialEq, Eq)]
enum Kind {
    Given(HeaderValue),
    Own(u64),
}

impl RequestId {
    /// The caller's, if it is 1 to 64 visible ASCII characters; else a new one.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let fit = |value: &&HeaderValue| {
            (1..=LONGEST).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        let given = headers.get(HEADER).filter(fit).map(|value| Kind::Given(value.clone()));
        RequestId(given.unwrap_or_else(|| Kind::Own(COUNT.fetch_add(1, Ordering::Relaxed))))
    }

    /// For an answer's headers.
    #[must_use]
    pub fn value(&self) -> HeaderValue {
        let mut value = match &self.0 {
            Kind::Given(value) => value.clone(),
            // Hexadecimal digits and a dash are a header's value.
            Kind::Own(_) => {
                HeaderValue::try_from(self.to_string()).unwrap_or_else(|_| HeaderValue::from_static("none"))
            }
        };
        // No secret: so that HTTP/2 does not put what never comes again into the table of what has been said, where it
        // would push out what does.
        value.set_sensitive(true);
        value
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys of a hasher are the standard library's only dice.
        static PREFIX: OnceLock<u64> = OnceLock::new();
        match &self.0 {
            Kind::Given(value) => f.write_str(value.to_str().unwrap_or_default()),
            Kind::Own(number) => {
                let prefix = PREFIX.get_or_init(|| RandomState::new().build_hasher().finish() >> 32);
                write!(f, "{prefix:08x}-{number:x}")
            }
        }
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(value).unwrap());
        RequestId::of(&headers).to_string()
    }

    #[test]
    fn a_harmless_one_is_kept_and_any_other_replaced() {
        assert_eq!(of(b"7b1c-42"), "7b1c-42");
        assert_eq!(of(&[b'x'; 64]), "x".repeat(64));
        for strange in [&b""[..], &[b'x'; 65], b"two words", b"tab\tbed", "caf\u{e9}".as_bytes()] {
            let own = of(strange);
            assert!(own.len() >= 10 && own.find('-') == Some(8), "{strange:?} became {own:?}");
        }
        let (one, two) = (RequestId::of(&HeaderMap::new()), RequestId::of(&HeaderMap::new()));
        assert_ne!(one.to_string(), two.to_string());
        assert_eq!(one.to_string()[..9], two.to_string()[..9]);
        assert_eq!(one.value().to_str().unwrap(), one.to_string());
    }
}
