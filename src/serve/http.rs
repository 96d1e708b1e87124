//! HTTP for probes, Prometheus, people and scripts: `/livez`, `/readyz`, `/metrics`, `/api/v1`, and the status page.
//!
//! Read-only, and nothing secret in it: what may be shown is listed in the views, field by field.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, RawQuery, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::page;
use super::ready::Readiness;
use super::view::Moment;
use super::{exposition, view};
use crate::board::Board;
use crate::clock::Clock;
use crate::model::AutoscalerId;
use crate::telemetry::prometheus::Prometheus;

/// From the signal to closing what is still open: a scrape takes far less.
const DRAIN: Duration = Duration::from_secs(5);

/// What the handlers need.
#[derive(Clone)]
pub struct HttpState {
    pub board: Arc<Board>,
    pub readiness: Arc<Readiness>,
    pub clock: Clock,
    /// `None`: only what the board knows is exported.
    pub metrics: Option<Prometheus>,
    /// Whether `/metrics` shows gauges of each autoscaler. Off keeps the number of series constant.
    pub per_autoscaler_metrics: bool,
}

/// The routes, ready to be merged with others.
pub fn router(state: HttpState) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/api/v1/autoscalers", get(list))
        .route("/api/v1/autoscalers/{namespace}/{name}", get(detail))
        .with_state(state)
}

/// Serves until `shutdown`, then until open requests are answered, at most five seconds more.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> std::io::Result<()> {
    let stop = shutdown.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    let too_long = async {
        shutdown.cancelled().await;
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        ended = server.into_future() => ended,
        () = too_long => Ok(()),
    }
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
    }
    body.push_str(if checks.ready() { "ok\n" } else { "not ready\n" });
    (status, body).into_response()
}

async fn metrics(State(state): State<HttpState>) -> ([(HeaderName, &'static str); 1], String) {
    let mut text = state.metrics.as_ref().map(Prometheus::render).unwrap_or_default();
    if state.per_autoscaler_metrics {
        exposition::autoscalers(&mut text, &state.board, state.clock.now());
    }
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

async fn list(State(state): State<HttpState>) -> impl IntoResponse {
    let cells = state.board.all();
    let list: view::List =
        Moment::new(state.clock).list(state.readiness.is_ready(), cells.values().map(|cell| &**cell));
    fresh(Json(list))
}

async fn detail(State(state): State<HttpState>, Path((namespace, name)): Path<(String, String)>) -> Response {
    let id = AutoscalerId::new(namespace, name);
    match state.board.get(&id) {
        Some(cell) => fresh(Json(Moment::new(state.clock).detail(&cell))).into_response(),
        None => {
            let message = format!("no autoscaler {id} is known here");
            (StatusCode::NOT_FOUND, Json(Problem { error: message })).into_response()
        }
    }
}

#[derive(Serialize)]
struct Problem {
    error: String,
}

/// Ages are only true now.
fn fresh<T>(body: T) -> ([(HeaderName, &'static str); 1], T) {
    ([(CACHE_CONTROL, "no-store")], body)
}
