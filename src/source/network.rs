//! What sockets, and TLS on them, say when they say no: a kind for machines, and a sentence with its cure for people.
//! And how much of what servers say is passed on.

use std::io;
use std::time::Duration;

use crate::model::{FailureKind, ReadFailure};

/// Longest server text that is passed on, bytes. Enough for every sentence of Redis' own; a module that answers with
/// a page does not fill logs and labels.
const LONGEST_DETAIL: usize = 200;

/// Why no answer came in `what` of a connection's timeouts.
#[must_use]
pub(crate) fn timeout(address: &str, what: &str, bound: Duration) -> ReadFailure {
    ReadFailure::new(
        FailureKind::Timeout,
        format!("{address} did not answer within {what} ({} ms): frozen, overloaded, or cut off", bound.as_millis()),
    )
}

/// Why the socket to `address` failed.
pub(crate) fn io_failure(address: &str, error: &io::Error) -> ReadFailure {
    if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return tls_failure(address, tls);
    }
    let text = error.to_string();
    let (kind, sentence) = match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => (
            FailureKind::Timeout,
            format!("{address} did not answer within the connection's timeout: frozen, overloaded, or cut off"),
        ),
        io::ErrorKind::ConnectionRefused => (
            FailureKind::Unreachable,
            format!(
                "{address} refused the connection: nothing listens there; check the address, and that the server runs"
            ),
        ),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => {
            (FailureKind::Unreachable, format!("no route to {address}; check the address and the network policy"))
        }
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::NotConnected => (
            FailureKind::Unreachable,
            format!(
                "{address} closed the connection: stopped, at its limit of clients, or it wants `tls` (or wants none)"
            ),
        ),
        _ if text.contains("lookup") => (
            FailureKind::Unreachable,
            format!("{address}: unknown host ({}); check its spelling and its namespace", plain(&text)),
        ),
        _ => (FailureKind::Unreachable, format!("{address} cannot be reached: {}", plain(&text))),
    };
    ReadFailure::new(kind, sentence)
}

/// Why the two of us did not agree on an encrypted connection.
fn tls_failure(address: &str, error: &rustls::Error) -> ReadFailure {
    use rustls::{AlertDescription as Alert, CertificateError, Error};
    let text = error.to_string();
    let detail = plain(&text);
    ReadFailure::new(
        FailureKind::Configuration,
        match error {
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => {
                format!("{address}: the server's certificate is for another name ({detail}); check `tls.serverName`")
            }
            Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                format!("{address}: the server's certificate has expired ({detail}); renew it there")
            }
            Error::InvalidCertificate(_) => {
                format!(
                    "{address}: the server's certificate is not trusted ({detail}); check `tls.caFile` or `tls.caFrom`"
                )
            }
            Error::AlertReceived(
                Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied,
            ) => format!(
                "{address} does not accept our certificate, or wants one ({detail}); check `tls.certFile`, `tls.keyFile`"
            ),
            Error::AlertReceived(Alert::ProtocolVersion | Alert::InsufficientSecurity | Alert::HandshakeFailure)
            | Error::PeerIncompatible(_) => format!(
                "{address} offers no TLS that we accept ({detail}): TLS 1.2 with ECDHE and AEAD, or TLS 1.3; check \
                 `tls-protocols` and `tls-ciphers` there"
            ),
            Error::InvalidMessage(_) => {
                format!("{address} answered something that is not TLS ({detail}); take `tls` out, or check the port")
            }
            _ => format!("{address}: no encrypted connection could be agreed on: {detail}"),
        },
    )
}

/// A key as messages have it: quoted, printable, and no longer than any text that is passed on. Ids of jobs are part of
/// keys, and whoever may enqueue chooses those.
pub(crate) fn shown(key: &str) -> String {
    let end = if key.len() > LONGEST_DETAIL { "..." } else { "" };
    format!("{:?}{end}", clipped(key))
}

/// What a server says, as messages have it: no longer than any text that is passed on, and nothing in it that a terminal
/// obeys.
pub(crate) fn plain(text: &str) -> String {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    clipped(text).chars().map(plain).collect()
}

/// `text` cut at a character boundary within [`LONGEST_DETAIL`] bytes.
pub(crate) fn clipped(text: &str) -> &str {
    text.get(..text.floor_char_boundary(LONGEST_DETAIL)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "ü".repeat(LONGEST_DETAIL);
        assert_eq!(clipped(&text).len(), LONGEST_DETAIL);
        assert_eq!(clipped("short"), "short");
    }
}
