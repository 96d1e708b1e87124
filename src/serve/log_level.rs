//! `GET` and `PUT /log-level`: what is logged, seen and changed while the process runs.
//!
//! ```text
//! curl localhost:8080/log-level
//! curl -X PUT -d info,tidegate::poller=debug 'localhost:8080/log-level?for=10m'
//! ```
//!
//! Nobody logs in here, so that only somebody who is on this machine already may do it: `kubectl port-forward` and
//! `kubectl exec` arrive from loopback, and the right to those is Kubernetes' to give.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::routing::get;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::model::Tick;
use crate::spec::units::parse_duration;
use crate::telemetry::logs::{LogError, LogFilter, Term};

/// A filter that a person typed is some fifty bytes.
const LONGEST_FILTER: usize = 1_024;

/// For the body of a request: it comes in one segment with its head.
const PATIENCE: Duration = Duration::from_secs(5);

/// Beyond a day nobody remembers that it was meant for a while.
const LONGEST_WHILE: Duration = Duration::from_secs(24 * 3600);

const EXAMPLE: &str = "curl -X PUT -d info,tidegate::poller=debug 'localhost:8080/log-level?for=10m'";

#[derive(Clone)]
struct Door {
    filter: LogFilter,
    clock: Clock,
    /// Who goes back, and when.
    going_back: Arc<Mutex<Option<(AbortHandle, Tick)>>>,
}

/// The route, to be merged into the app's. Needs [`ConnectInfo`] of each connection; without it, everybody is refused.
pub fn router(filter: LogFilter, clock: Clock) -> Router {
    let door = Door { filter, clock, going_back: Arc::default() };
    Router::new().route("/log-level", get(show).put(change)).with_state(door)
}

type Answer = (StatusCode, String);

async fn show(State(door): State<Door>, request: Request) -> Result<String, Answer> {
    peer_that_may(&request)?;
    Ok(door.shown())
}

async fn change(State(door): State<Door>, request: Request) -> Result<String, Answer> {
    let peer = peer_that_may(&request)?;
    let term = term(request.uri().query()).map_err(bad_request)?;
    let filter = text(request.into_body()).await?;
    door.change(filter.trim(), term, peer).map_err(|error| match error {
        LogError::Reload(_) | LogError::Twice(_) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        LogError::Filter { .. } | LogError::Empty | LogError::NoLevel { .. } => bad_request(error.to_string()),
    })?;
    Ok(door.shown())
}

/// Whoever asks, if that is somebody on this machine who speaks for nobody else.
fn peer_that_may(request: &Request) -> Result<SocketAddr, Answer> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
    let forwarded = ["forwarded", "x-forwarded-for"].iter().any(|name| request.headers().contains_key(*name));
    match peer {
        Some(peer) if is_here(peer.ip()) && !forwarded => Ok(peer),
        _ => {
            let from = peer.map_or_else(|| "an unknown address".to_owned(), |peer| peer.ip().to_string());
            let via = if forwarded { " through a proxy" } else { "" };
            let why = "the log level is only for those on this machine (127.0.0.1 or ::1)";
            let cure = "use kubectl port-forward, or kubectl exec";
            Err((StatusCode::FORBIDDEN, format!("{why}, and you come from {from}{via}; {cure}\n")))
        }
    }
}

/// Exactly these two: a service mesh's proxy passes strangers' requests on from other addresses of 127.0.0.0/8.
fn is_here(address: IpAddr) -> bool {
    matches!(address.to_canonical(), IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST))
}

/// `for=10m`, or nothing. A word that is not known is refused: what was meant for a while must not last.
fn term(query: Option<&str>) -> Result<Option<Duration>, String> {
    let mut term = None;
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let Some(text) = part.strip_prefix("for=") else {
            return Err(format!("{part:?} is not known; there is for=, with a duration"));
        };
        let span = parse_duration(text).map_err(|error| format!("for: {error}"))?;
        if span.is_zero() || span > LONGEST_WHILE {
            return Err(format!("for={text} is out of range; more than nothing, and at most 24h"));
        }
        term = Some(span);
    }
    Ok(term)
}

async fn text(body: Body) -> Result<String, Answer> {
    let read = axum::body::to_bytes(body, LONGEST_FILTER);
    let Ok(read) = tokio::time::timeout(PATIENCE, read).await else {
        return Err((StatusCode::REQUEST_TIMEOUT, "the filter did not arrive within 5 s\n".to_owned()));
    };
    let bytes = read.map_err(|_| bad_request(format!("a filter has at most {LONGEST_FILTER} bytes")))?;
    String::from_utf8(bytes.into()).map_err(|_| bad_request("the filter is not text".to_owned()))
}

fn bad_request(problem: impl Into<String>) -> Answer {
    (StatusCode::BAD_REQUEST, format!("{}\ne.g. {EXAMPLE}\n", problem.into()))
}

impl Door {
    /// The filter in a line; in a second one, what follows it and when.
    fn shown(&self) -> String {
        let (current, back_to) = self.filter.current();
        let planned = self.going_back.lock().unwrap_or_else(PoisonError::into_inner);
        match (back_to, &*planned) {
            (Some(lasting), Some((_, at))) => {
                let left = at.since(self.clock.now()).as_secs();
                format!("{current}\nback to {lasting} in {left}s\n")
            }
            _ => format!("{current}\n"),
        }
    }

    fn change(&self, filter: &str, span: Option<Duration>, peer: SocketAddr) -> Result<(), LogError> {
        let term = if span.is_some() { Term::ForAWhile } else { Term::Lasting };
        let by = match span {
            Some(span) => format!("{peer}, for {span:?}"),
            None => peer.to_string(),
        };
        let mut planned = self.going_back.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.filter.set(filter, term, &by)?;
        let next = span.map(|span| {
            let filter = self.filter.clone();
            let waiting = tokio::spawn(async move {
                tokio::time::sleep(span).await;
                if let Err(error) = filter.go_back(turn) {
                    tracing::error!(%error, "the log filter cannot go back");
                }
            });
            (waiting.abort_handle(), self.clock.now().after(span))
        });
        // At most one waits, however often somebody asks.
        if let Some((old, _)) = std::mem::replace(&mut *planned, next) {
            old.abort();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn here_is_two_addresses() {
        for here in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert!(is_here(here.parse().unwrap()), "{here}");
        }
        for elsewhere in ["127.0.0.6", "10.0.0.1", "0.0.0.0", "fe80::1", "::ffff:10.0.0.1", "::"] {
            assert!(!is_here(elsewhere.parse().unwrap()), "{elsewhere}");
        }
    }

    #[test]
    fn a_while_is_a_duration_within_a_day() {
        assert_eq!(term(None), Ok(None));
        assert_eq!(term(Some("")), Ok(None));
        assert_eq!(term(Some("for=10m")), Ok(Some(Duration::from_secs(600))));
        for bad in ["for=", "for=10", "for=0s", "for=25h", "four=10m", "for=10m&x"] {
            assert!(term(Some(bad)).is_err(), "{bad}");
        }
    }
}
