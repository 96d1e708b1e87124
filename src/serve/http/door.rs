//! The HTTP/1.1 server: connections in, requests to the routes, and the bounds on both.
//!
//! What the routes answer can be megabytes (the metrics of ten thousand autoscalers). The routes write it a piece at a time
//! (`serve/pieces.rs`), but a peer that asks often and reads slowly would still have us hold many pieces. So answers take
//! turns, per address and in all, a turn lasts until the answer has been handed on, and the rest wait without holding
//! anything. Probes never wait.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, Response, StatusCode};
use axum::response::IntoResponse as _;
use http_body::{Frame, SizeHint};
use http_body_util::Limited;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tonic::codegen::Service as _;

use super::DRAIN;
use crate::serve::listen::{Connection, Listener, Peer, Shared};
use crate::serve::request_id::{HEADER, RequestId};

/// For a request's head to arrive, and for a kept connection to be used again.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A browser sends twenty headers, Prometheus seven.
const MAX_HEADERS: usize = 64;
/// What hyper may hold of a connection in either direction; its own minimum is half of it.
const MAX_BUFFER: usize = 16 * 1024;
const MAX_HEAD: usize = 8 * 1024;
/// Bodies are `{"replicas": 3}` or a log filter.
const MAX_BODY: usize = 64 * 1024;
/// From a request's head to its answer, waiting for a turn included. A scrape of ten thousand autoscalers takes tenths
/// of a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers at a time. The long ones are made a piece at a time, so that each costs some hundred kilobytes. What is made whole is
/// the recorder's part of `/metrics`: some 60 lines for each connection, six kilobytes.
const TURNS: usize = 128;
/// And for addresses that have no answer under way, besides those. Four addresses whose readers do not read take every
/// turn, and a scrape would wait for theirs to run out; as many addresses as these fill the door itself long before.
const FIRST_TURNS: usize = 64;
/// From being given a turn to having handed the answer on. Without it, a few who read as slowly as a connection may
/// would keep every turn for hours.
const TURN_TIMEOUT: Duration = Duration::from_secs(60);
/// An answer is handed on in pieces of this size, so that no more of it is held than is being written.
const PIECE: usize = 16 * 1024;

/// What all connections share.
struct Room {
    router: Router,
    turns: Turns,
    /// Who shows no certificate is told no, except by the probes.
    certificates: bool,
}

pub(super) async fn serve(listener: Listener, router: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    let room = Arc::new(Room { router, turns: Turns::new(), certificates: listener.wants_certificates() });
    let mut connections = listener.open();
    let (open, cut) = (TaskTracker::new(), CancellationToken::new());
    loop {
        tokio::select! {
            connection = connections.recv() => match connection {
                Some(connection) => {
                    open.spawn(Arc::clone(&room).converse(connection, shutdown.clone(), cut.clone()));
                }
                None => return Err(std::io::Error::other("nobody accepts connections any more")),
            },
            () = shutdown.cancelled() => break,
        }
    }
    drop(connections);
    open.close();
    // Whoever is not done by then is cut off.
    drop(timeout(DRAIN, open.wait()).await);
    cut.cancel();
    Ok(())
}

impl Room {
    async fn converse(self: Arc<Self>, connection: Connection, shutdown: CancellationToken, cut: CancellationToken) {
        let peer = connection.peer().clone();
        let overdue = cut.child_token();
        let cut = overdue.clone();
        let answer = move |request| {
            let (room, peer, overdue) = (Arc::clone(&self), peer.clone(), overdue.clone());
            async move { Ok::<_, Infallible>(room.answer(peer, request, overdue).await) }
        };
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_headers(MAX_HEADERS)
            .max_header_size(MAX_HEAD)
            .max_buf_size(MAX_BUFFER);
        let mut served = pin!(http.serve_connection(TokioIo::new(connection), service_fn(answer)));
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            () = shutdown.cancelled() => {
                served.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = served => ended,
                    () = cut.cancelled() => Ok(()),
                }
            }
            () = cut.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "HTTP connection ended");
        }
    }

    async fn answer(&self, peer: Peer, mut request: Request<Incoming>, overdue: CancellationToken) -> Response<Pieces> {
        let id = RequestId::of(request.headers());
        let probe = matches!(request.uri().path(), "/livez" | "/readyz");
        let mut turn = None;
        let mut response = if self.certificates && !peer.certified && !probe {
            let message = "a client certificate is needed here; without one there are only /livez and /readyz\n";
            (StatusCode::FORBIDDEN, message).into_response()
        } else {
            request.extensions_mut().insert(ConnectInfo(peer.address));
            request.extensions_mut().insert(id.clone());
            let shared = Arc::clone(&peer.shared);
            request.extensions_mut().insert(peer);
            let work = async {
                if !probe {
                    turn = Some(self.turns.wait(&shared, overdue).await);
                }
                // A router is always ready, and its error cannot happen.
                let Ok(response) = self.router.clone().call(request.map(|body| Limited::new(body, MAX_BODY))).await;
                response
            };
            let busy = || (StatusCode::SERVICE_UNAVAILABLE, "not answered within 30 s; try again later\n");
            timeout(REQUEST_TIMEOUT, work).await.unwrap_or_else(|_| busy().into_response())
        };
        response.headers_mut().insert(HEADER, id.value());
        response.map(|body| Pieces::new(body, turn))
    }
}

/// The turns that there are for all addresses together.
struct Turns {
    all: Arc<Semaphore>,
    first: Arc<Semaphore>,
}

/// The right to make one large answer.
struct Turn {
    /// Of the address, of all, and where it is the address' first, that one; in any order.
    _permits: [Option<OwnedSemaphorePermit>; 3],
    _until: AbortOnDropHandle<()>,
}

impl Turns {
    fn new() -> Self {
        Turns { all: Arc::new(Semaphore::new(TURNS)), first: Arc::new(Semaphore::new(FIRST_TURNS)) }
    }

    /// First among those of the same address, so that one with many connections keeps only itself waiting. `overdue`
    /// is told when the turn has lasted too long.
    async fn wait(&self, peer: &Shared, overdue: CancellationToken) -> Turn {
        // None of them is ever closed.
        let own = Arc::clone(&peer.turns).acquire_owned().await.ok();
        let first = Arc::clone(&peer.first_turn).try_acquire_owned().ok();
        let among_all = Arc::clone(&self.all).acquire_owned();
        let place = match &first {
            None => among_all.await,
            Some(_) => tokio::select! {
                biased;
                place = Arc::clone(&self.first).acquire_owned() => place,
                place = among_all => place,
            },
        };
        let until = tokio::spawn(async move {
            sleep(TURN_TIMEOUT).await;
            overdue.cancel();
        });
        Turn { _permits: [own, place.ok(), first], _until: AbortOnDropHandle::new(until) }
    }
}

/// A body in small copies, so that the large original can go before the last of it is written.
struct Pieces {
    body: Body,
    pending: VecDeque<Bytes>,
    turn: Option<Turn>,
}

impl Pieces {
    fn new(body: Body, turn: Option<Turn>) -> Self {
        Pieces { body, pending: VecDeque::new(), turn }
    }

    fn next_piece(&mut self) -> Option<Bytes> {
        let front = self.pending.front_mut()?;
        if front.len() <= PIECE {
            return self.pending.pop_front().map(|last| Bytes::copy_from_slice(&last));
        }
        Some(Bytes::copy_from_slice(&front.split_to(PIECE)))
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Some(piece) = this.next_piece() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                Ok(data) if data.len() > PIECE => {
                    this.pending.push_back(data);
                    let piece = this.next_piece().unwrap_or_default();
                    Poll::Ready(Some(Ok(Frame::data(piece))))
                }
                Ok(data) => Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(other) => Poll::Ready(Some(Ok(other))),
            },
            end @ Poll::Ready(None) => {
                this.turn = None;
                end
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.pending.is_empty() && self.body.is_end_stream()
    }

    /// Exact where the original was: that becomes the content-length.
    fn size_hint(&self) -> SizeHint {
        let pending: usize = self.pending.iter().map(Bytes::len).sum();
        let pending = u64::try_from(pending).unwrap_or(u64::MAX);
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(pending));
        }
        hint.set_lower(rest.lower().saturating_add(pending).min(hint.upper().unwrap_or(u64::MAX)));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_has_no_turn_gets_one_while_others_have_all() {
        let turns = Turns::new();
        let peer = Shared::new;
        let wait = async |peer: &Shared| {
            timeout(Duration::from_secs(1), turns.wait(peer, CancellationToken::new())).await.ok()
        };
        let greedy = [peer(), peer(), peer(), peer(), peer()];
        let mut held = Vec::new();
        for peer in &greedy {
            while let Some(turn) = wait(peer).await {
                held.push(turn);
            }
        }
        assert_eq!(held.len(), TURNS + greedy.len(), "all, and the first of each");
        let honest = peer();
        let first = wait(&honest).await;
        assert!(first.is_some());
        assert!(wait(&honest).await.is_none(), "the second is one of all");
        drop(first);
        assert!(wait(&honest).await.is_some(), "again its first");
        held.truncate(1);
        assert!(wait(&greedy[4]).await.is_some(), "and theirs come back");
    }
}
