//! What a status means that is not 200, in words.

use hyper::StatusCode;

use super::Answer;
use crate::model::{FailureKind, ReadFailure};
use crate::source::network::plain;

/// Why `name` did not answer what it was asked; `cure` is about the path.
pub(in crate::source::prometheus) fn refused(name: &str, answer: &Answer<'_>, cure: &str) -> ReadFailure {
    let status = answer.status;
    let said = match first_line(answer) {
        Some(line) => format!("{status}: {line}"),
        None => status.to_string(),
    };
    let (kind, sentence) = match status {
        StatusCode::UNAUTHORIZED => (
            FailureKind::Authentication,
            format!(
                "{name} does not accept our login, or wants one ({status}); check `username`, `passwordFrom` and \
                 `bearerTokenFrom`"
            ),
        ),
        StatusCode::FORBIDDEN => {
            (FailureKind::PermissionDenied, format!("{name} knows us and does not allow this ({said})"))
        }
        StatusCode::NOT_FOUND => {
            (FailureKind::Configuration, format!("{name} has nothing at this path ({said}); {cure}"))
        }
        StatusCode::METHOD_NOT_ALLOWED => {
            (FailureKind::Configuration, format!("{name} does not take this question ({said}); {cure}"))
        }
        StatusCode::TOO_MANY_REQUESTS => (
            FailureKind::NotServing,
            format!("{name} is asked more often than it allows ({said}); raise `pollingInterval`, or its limit"),
        ),
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            (FailureKind::NotServing, format!("{name} is up and not serving, or what stands behind it is not ({said})"))
        }
        _ if status.is_redirection() => (
            FailureKind::Configuration,
            format!(
                "{name} sends us elsewhere ({status}, to {}), which we do not follow; write where it leads as `url`",
                answer.location.as_deref().map_or_else(|| "nowhere".to_owned(), without_secrets)
            ),
        ),
        _ if status.is_server_error() => (FailureKind::NotServing, format!("{name} failed ({said})")),
        _ => (FailureKind::Protocol, format!("{name} did not answer what was asked ({said}); {cure}")),
    };
    ReadFailure::new(kind, sentence)
}

/// The first words of a body that are text and no page.
fn first_line(answer: &Answer<'_>) -> Option<String> {
    let text = String::from_utf8_lossy(answer.body.get(..answer.body.len().min(1_000))?);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    if line.starts_with(['<', '{']) {
        return None;
    }
    Some(plain(line))
}

/// A redirect to a login page has tokens behind its question mark.
fn without_secrets(location: &str) -> String {
    let path = location.split(['?', '#']).next().unwrap_or_default();
    let path = match (path.split_once("://"), path.split_once('@')) {
        (Some((scheme, _)), Some((_, behind))) => format!("{scheme}://{behind}"),
        _ => path.to_owned(),
    };
    plain(&path)
}
