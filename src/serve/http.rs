//! HTTP for probes, Prometheus, people and scripts: `/livez`, `/readyz`, `/metrics`, `/api/v1`, and the status page.
//!
//! Read-only, and nothing secret in it: what may be shown is listed in the views, field by field. What grows with the
//! autoscalers is answered in [pieces](super::pieces). Connections and the bounds on them are in [`door`].

mod door;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::list::List;
use super::listen::{Door, Listener};
use super::manifests::Manifests;
use super::pieces::Writer;
use super::ready::Readiness;
use super::view::Moment;
use super::{exposition, page};
use crate::board::Board;
use crate::clock::Clock;
use crate::model::AutoscalerId;
use crate::telemetry::names::Detail;
use crate::telemetry::prometheus::Prometheus;

/// From the signal to closing what is still open: a scrape takes far less.
const DRAIN: Duration = Duration::from_secs(5);

/// What the handlers need.
#[derive(Clone)]
pub struct HttpState {
    pub board: Arc<Board>,
    pub readiness: Arc<Readiness>,
    pub manifests: Arc<Manifests>,
    pub clock: Clock,
    /// `None`: only what the board knows is exported.
    pub metrics: Option<Prometheus>,
    /// How finely `/metrics` tells autoscalers apart.
    pub metrics_detail: Detail,
}

/// The routes, ready to be merged with others.
pub fn router(state: HttpState) -> Router {
    let writer = Writer::new();
    let metrics = get({
        let writer = writer.clone();
        async move |State(state)| metrics(state, &writer)
    });
    let list = get(async move |State(state)| list(state, &writer));
    Router::new()
        .route("/", get(page::page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", metrics)
        .route("/api/v1/autoscalers", list)
        .route("/api/v1/autoscalers/{namespace}/{name}", get(detail))
        .route("/api/v1/manifests", get(manifests))
        .route("/api/v1/namespaces", get(namespaces))
        .with_state(state)
}

/// Serves until `shutdown`, then until open requests are answered, at most five seconds more.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    serve_on(Listener::new(Door::Http, listener), router, shutdown).await
}

/// As [`serve`], on a listener with TLS or limits of its own.
///
/// Handlers find the peer as `ConnectInfo<SocketAddr>` and as [`super::listen::Peer`], and the
/// [`super::request_id::RequestId`], in the request's extensions.
///
/// # Errors
/// As [`serve`].
pub async fn serve_on(listener: Listener, router: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    door::serve(listener, router, shutdown).await
}

/// Alive is whoever answers: a restart cures no unreachable Redis.
async fn livez() -> &'static str {
    "ok\n"
}

/// `?verbose` lists the checks, as the Kubernetes API server does.
async fn readyz(State(state): State<HttpState>, RawQuery(query): RawQuery) -> Response {
    let checks = state.readiness.checks();
    let status = if checks.ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let verbose =
        query.is_some_and(|query| query.split('&').any(|part| part == "verbose" || part.starts_with("verbose=")));
    let mut body = String::new();
    if verbose || !checks.ready() {
        for (name, holds) in checks.list() {
            body.push_str(if holds { "[+]" } else { "[-]" });
            body.push_str(name);
            body.push_str(if holds { " ok\n" } else { " not yet\n" });
        }
        // For people only: it does not count.
        body.push_str(&state.manifests.get().line());
    }
    body.push_str(if checks.ready() { "ok\n" } else { "not ready\n" });
    (status, body).into_response()
}

/// What the recorder holds comes first and in one piece: it grows with the connections, not with the autoscalers.
fn metrics(state: HttpState, writer: &Writer) -> ([(HeaderName, &'static str); 1], Body) {
    let recorded = state.metrics.as_ref().map(Prometheus::render).filter(|text| !text.is_empty());
    let read = exposition::pieces(state.metrics_detail, state.board, state.clock);
    let body = writer.body(recorded.map(String::into_bytes).into_iter().chain(read));
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], body)
}

fn list(state: HttpState, writer: &Writer) -> impl IntoResponse + use<> {
    let list = List::new(state.board, state.clock, state.readiness.is_ready(), state.manifests.get().problems.count);
    ([(CACHE_CONTROL, "no-store"), (CONTENT_TYPE, "application/json")], writer.body(list))
}

async fn manifests(State(state): State<HttpState>) -> impl IntoResponse {
    fresh(Json(state.manifests.get().view(Moment::new(state.clock))))
}

async fn detail(State(state): State<HttpState>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let id = AutoscalerId::new(namespace, name);
    match state.board.get(&id) {
        Some(cell) => fresh(Json(Moment::new(state.clock).detail(&cell, &state.board.shares().load()))).into_response(),
        None => {
            let message = format!("no autoscaler {id} is known here");
            (StatusCode::NOT_FOUND, Json(Problem { error: message })).into_response()
        }
    }
}

/// Who asks for how much, and who is held back.
async fn namespaces(State(state): State<HttpState>) -> impl IntoResponse {
    let (cells, shares) = (state.board.all(), state.board.shares().load_full());
    fresh(Json(Moment::new(state.clock).namespaces(cells.values().map(|cell| &**cell), &shares)))
}

#[derive(Serialize)]
struct Problem {
    error: String,
}

/// Ages are only true now.
fn fresh<T>(body: T) -> ([(HeaderName, &'static str); 1], T) {
    ([(CACHE_CONTROL, "no-store")], body)
}
