//! Replicas over HTTP, in rehearsals only: a test in another process, or a person with `curl`, asserts on what stands
//! (and what stood) instead of on what a scaler says it meant, and plays the colleague who runs `kubectl scale`.
//!
//! | request | answer |
//! |---|---|
//! | `GET /api/v1/workloads` | `{"workloads": [..]}`, ordered by namespace and name |
//! | `GET /api/v1/workloads/{namespace}/{name}` | one of them |
//! | `PUT /api/v1/workloads/{namespace}/{name}/replicas` with `{"replicas": 3}` | the workload, changed |
//! | `POST /api/v1/workloads/{namespace}/{name}/mark` | the workload; `lowest` and `highest` begin anew |
//!
//! The app merges these routes only where a rehearsal target holds the workloads. They change things, so whoever can
//! reach them is trusted.

use std::borrow::Cow;
use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::model::{AutoscalerId, Replicas, Tick};
use crate::target::ScaleError;
use crate::target::memory::MemoryTarget;
use crate::target::workload::View;

/// Who acts on the workloads that are shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeldBy {
    /// tidegate itself, through its actuator.
    Memory,
    /// KEDA and the HPA in a box, which ask tidegate over gRPC.
    KedaBox,
}

/// What the handlers need. Cheap to clone.
#[derive(Clone)]
struct Workloads {
    held_by: HeldBy,
    clock: Clock,
    target: Arc<MemoryTarget>,
}

/// One workload as shown. Times are RFC 3339, by this machine's clock.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    namespace: String,
    name: String,
    held_by: HeldBy,
    /// Asked for.
    replicas: Replicas,
    /// Started up, out of those.
    ready: Replicas,
    /// Fewest and most asked for since `since`.
    lowest: Replicas,
    highest: Replicas,
    since: String,
    /// Oldest first.
    history: Vec<ShownChange>,
    /// Changes too old for `history`.
    forgotten: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownChange {
    at: String,
    /// Seconds on the process's own clock, for differences: they are exact, whatever the wall clock did.
    tick: f64,
    replicas: Replicas,
    why: Cow<'static, str>,
}

#[derive(Serialize)]
struct List {
    workloads: Vec<Shown>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    replicas: Replicas,
}

/// The routes, to be merged into the app's.
pub fn router(held_by: HeldBy, clock: Clock, target: Arc<MemoryTarget>) -> Router {
    Router::new()
        .route("/api/v1/workloads", get(list))
        .route("/api/v1/workloads/{namespace}/{name}", get(one))
        .route("/api/v1/workloads/{namespace}/{name}/replicas", put(scale))
        .route("/api/v1/workloads/{namespace}/{name}/mark", post(mark))
        .with_state(Workloads { held_by, clock, target })
}

async fn list(State(workloads): State<Workloads>) -> Json<List> {
    let views = workloads.target.views();
    Json(List { workloads: views.into_iter().map(|(id, view)| workloads.shown(&id, view)).collect() })
}

async fn one(State(workloads): State<Workloads>, Path(path): Path<(String, String)>) -> Response {
    workloads.answer(id(path))
}

async fn scale(
    State(workloads): State<Workloads>,
    Path(path): Path<(String, String)>,
    Json(wanted): Json<Wanted>,
) -> Response {
    let id = id(path);
    match workloads.target.set(&id, wanted.replicas, "set by hand over HTTP") {
        Ok(()) => workloads.answer(id),
        Err(error) => refusal(&error),
    }
}

async fn mark(State(workloads): State<Workloads>, Path(path): Path<(String, String)>) -> Response {
    let id = id(path);
    workloads.target.mark(&id);
    workloads.answer(id)
}

impl Workloads {
    fn answer(&self, id: AutoscalerId) -> Response {
        match self.target.view(&id) {
            Some(view) => Json(self.shown(&id, view)).into_response(),
            None => refusal(&ScaleError::Unknown(id)),
        }
    }

    fn shown(&self, id: &AutoscalerId, view: View) -> Shown {
        let View { scale, lowest, highest, marked, history, forgotten } = view;
        Shown {
            namespace: id.namespace.to_string(),
            name: id.name.to_string(),
            held_by: self.held_by,
            replicas: scale.replicas,
            ready: scale.ready,
            lowest,
            highest,
            since: self.time(marked),
            history: history
                .into_iter()
                .map(|change| ShownChange {
                    at: self.time(change.at),
                    tick: change.at.since(Tick::ZERO).as_secs_f64(),
                    replicas: change.replicas,
                    why: change.why,
                })
                .collect(),
            forgotten,
        }
    }

    fn time(&self, tick: Tick) -> String {
        // Only a clock thousands of years off has no RFC 3339 form.
        jiff::Timestamp::try_from(self.clock.wall(tick)).map_or_else(|_| String::new(), |time| time.to_string())
    }
}

fn id((namespace, name): (String, String)) -> AutoscalerId {
    AutoscalerId::new(namespace, name)
}

fn refusal(error: &ScaleError) -> Response {
    let status = match error {
        ScaleError::Unknown(_) => StatusCode::NOT_FOUND,
        ScaleError::OutOfRange(_) => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::CONFLICT,
    };
    (status, Json(serde_json::json!({ "error": error.to_string() }))).into_response()
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "of JSON, in a test")]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Request;
    use serde_json::{Value, json};
    use tonic::codegen::Service;

    use super::*;

    async fn ask(router: &Router, method: &str, path: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let response = router.clone().call(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let status = response.status();
        let bytes = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
    }

    #[tokio::test]
    async fn replicas_are_shown_set_and_marked() {
        let (sender, _reports) = tokio::sync::mpsc::channel(1);
        let clock = Clock::start();
        let target = Arc::new(MemoryTarget::new(clock, sender));
        target.register(&AutoscalerId::new("pulse", "mail"), 2, Duration::from_secs(60));
        let router = router(HeldBy::KedaBox, clock, target);

        let (status, all) = ask(&router, "GET", "/api/v1/workloads", "").await;
        assert_eq!((status, all["workloads"].as_array().unwrap().len()), (StatusCode::OK, 1));
        assert_eq!(all["workloads"][0]["heldBy"], json!("keda-box"));

        let path = "/api/v1/workloads/pulse/mail";
        let (status, shown) = ask(&router, "PUT", &format!("{path}/replicas"), r#"{"replicas":5}"#).await;
        assert_eq!(status, StatusCode::OK);
        for (field, value) in [("replicas", 5), ("ready", 2), ("lowest", 2), ("highest", 5), ("forgotten", 0)] {
            assert_eq!(shown[field], json!(value), "{field}");
        }
        let history: Vec<_> = shown["history"].as_array().unwrap().iter().collect();
        assert_eq!((&history[1]["replicas"], &history[1]["why"]), (&json!(5), &json!("set by hand over HTTP")));
        assert!(history[0]["at"].as_str().unwrap().ends_with('Z') && history[0]["tick"].as_f64().unwrap() > 0.0);

        let (_, marked) = ask(&router, "POST", &format!("{path}/mark"), "").await;
        assert_eq!((&marked["lowest"], &marked["highest"]), (&json!(5), &json!(5)));
        assert_eq!(ask(&router, "GET", path, "").await.1, marked);

        let missing = ask(&router, "GET", "/api/v1/workloads/pulse/nobody", "").await;
        assert_eq!(missing.0, StatusCode::NOT_FOUND);
        assert_eq!(missing.1["error"], json!("no workload stands behind pulse/nobody"));
        assert_eq!(ask(&router, "POST", "/api/v1/workloads/pulse/nobody/mark", "").await.0, StatusCode::NOT_FOUND);
        for body in [r#"{"replicas":-1}"#, r#"{"replica":1}"#] {
            let (status, _) = ask(&router, "PUT", &format!("{path}/replicas"), body).await;
            assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        }
    }
}
