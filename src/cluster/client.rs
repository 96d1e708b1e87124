//! The connection to the API server: who we are, how long a call may take, how often we call, and what the server says
//! about that.
//!
//! The library would try again by itself where a server says 429 or 503. It may not: only whoever made a call knows
//! whether it still means anything, and a patch that is sent again after a leader has changed means harm.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use kube::client::{Body, ClientBuilder};
use metrics::{counter, histogram};
use tower_layer::Layer;
use tower_service::Service;

use crate::clock::Clock;
use crate::model::Tick;
use crate::telemetry::names;

/// What a call that is no watch may take. A healthy API server answers in some 10 ms and gives up by itself after a
/// minute; 5 s is late enough for one that is busy, and early enough that one dead connection costs no burst.
pub const CALL: Duration = Duration::from_secs(5);

/// How long a watch may be silent before its connection is given up. The server is asked to end watches after less than
/// five minutes, and sends bookmarks every minute; see `kube::runtime::watcher`.
const SILENT_WATCH: Duration = Duration::from_secs(330);

/// Who writes, as `managedFields` shows it. Changing it would make every zero of an earlier release somebody else's.
pub const FIELD_MANAGER: &str = "tidegate";

/// The API server, as far as this process may use it.
#[derive(Clone)]
pub struct Kube {
    pub client: kube::Client,
    pub clock: Clock,
    pub scope: Scope,
    throttle: Arc<Throttle>,
}

/// Where custom resources and workloads are looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    Cluster,
    /// At least one.
    Namespaces(Vec<String>),
}

impl Scope {
    /// What to watch: once for everything, or once in each namespace.
    pub fn namespaces(&self) -> Vec<Option<&str>> {
        match self {
            Scope::Cluster => vec![None],
            Scope::Namespaces(names) => names.iter().map(|name| Some(name.as_str())).collect(),
        }
    }

    #[must_use]
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Scope::Cluster => true,
            Scope::Namespaces(names) => names.iter().any(|name| name == namespace),
        }
    }
}

/// Why the API server cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no cluster is configured: neither a service account in this pod nor a kubeconfig")]
    NoConfiguration(#[source] Box<kube::config::InferConfigError>),
    #[error("the cluster's configuration cannot be used")]
    Unusable(#[source] Box<kube::Error>),
}

impl Kube {
    /// From the pod's service account, or `KUBECONFIG`, or `~/.kube/config`. Nothing is asked yet.
    ///
    /// # Errors
    /// There is no configuration, or none that can be used.
    pub async fn infer(clock: Clock, scope: Scope) -> Result<Self, ClientError> {
        let config = kube::Config::infer().await.map_err(|error| ClientError::NoConfiguration(Box::new(error)))?;
        Kube::new(config, clock, scope)
    }

    /// # Errors
    /// `config` cannot be used.
    pub fn new(mut config: kube::Config, clock: Clock, scope: Scope) -> Result<Self, ClientError> {
        config.default_retry = false;
        config.connect_timeout = Some(CALL);
        config.read_timeout = Some(SILENT_WATCH);
        config.write_timeout = Some(CALL);
        let throttle = Arc::new(Throttle { clock, until: AtomicU64::new(0) });
        let builder = ClientBuilder::try_from(config).map_err(|error| ClientError::Unusable(Box::new(error)))?;
        let client = builder.with_layer(&Counted { throttle: Arc::clone(&throttle) }).build();
        Ok(Kube { client, clock, scope, throttle })
    }

    /// Until when the server wants to hear nothing (429 with Retry-After); in the past where it never said so.
    #[must_use]
    pub fn throttled_until(&self) -> Tick {
        Tick::from_nanos(self.throttle.until.load(Ordering::Relaxed))
    }

    /// Bounds a call. Not for watches.
    ///
    /// # Errors
    /// As the call, or [`CallError::TooLate`].
    pub async fn bounded<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        match tokio::time::timeout(CALL, call).await {
            Ok(outcome) => outcome.map_err(CallError::from),
            Err(_) => Err(CallError::TooLate),
        }
    }
}

/// How a call failed, in terms of what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server refused, and said why.
    #[error("{}", said(.0))]
    Refused(Box<kube::core::Status>),
    /// Whether the call took effect is not known.
    #[error("no answer in {CALL:?}")]
    TooLate,
    /// No connection, or it broke: whether the call took effect is not known.
    #[error("the API server cannot be reached: {0}")]
    Unreachable(#[source] Box<kube::Error>),
}

impl CallError {
    /// The HTTP status, where there was an answer.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        match self {
            CallError::Refused(status) => Some(status.code),
            CallError::TooLate | CallError::Unreachable(_) => None,
        }
    }
}

impl From<kube::Error> for CallError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => CallError::Refused(status),
            other => CallError::Unreachable(Box::new(other)),
        }
    }
}

/// The server's sentence, bounded: an admission webhook's may be as long as it likes.
fn said(status: &kube::core::Status) -> String {
    const LONGEST: usize = 512;
    let message = if status.message.is_empty() { &status.reason } else { &status.message };
    let clipped: String = message.trim().chars().take(LONGEST).collect();
    format!("{} {clipped}", status.code)
}

// === every request, counted ===

struct Throttle {
    clock: Clock,
    /// Nanoseconds of a tick.
    until: AtomicU64,
}

struct Counted {
    throttle: Arc<Throttle>,
}

#[derive(Clone)]
struct Counting<S> {
    inner: S,
    throttle: Arc<Throttle>,
}

impl<S> Layer<S> for Counted {
    type Service = Counting<S>;

    fn layer(&self, inner: S) -> Counting<S> {
        Counting { inner, throttle: Arc::clone(&self.throttle) }
    }
}

impl<S, B> Service<Request<Body>> for Counting<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let (verb, resource) = (verb(&request), resource(request.uri().path()));
        let throttle = Arc::clone(&self.throttle);
        let sent = throttle.clock.now();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let now = throttle.clock.now();
            let code = answer.as_ref().map_or("none", |answer| class(answer.status()));
            counter!(names::KUBE_REQUESTS, "verb" => verb, "resource" => resource, "code" => code).increment(1);
            if verb != "watch" {
                histogram!(names::KUBE_REQUEST_DURATION, "verb" => verb).record(now.since(sent).as_secs_f64());
            }
            if let Ok(answer) = &answer
                && answer.status() == StatusCode::TOO_MANY_REQUESTS
            {
                let header = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
                let seconds = header.and_then(|text| text.trim().parse().ok()).unwrap_or(1).min(60);
                let until = now.after(Duration::from_secs(seconds));
                throttle.until.fetch_max(until.as_nanos(), Ordering::Relaxed);
            }
            answer
        })
    }
}

fn verb(request: &Request<Body>) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    match request.method().as_str() {
        "GET" if query.split('&').any(|pair| pair == "watch=true" || pair == "watch=1") => "watch",
        "GET" => "get",
        "POST" => "create",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "other",
    }
}

/// What a path is about: a closed set, so that it can be a label.
fn resource(path: &str) -> &'static str {
    const SUBRESOURCES: [&str; 2] = ["scale", "status"];
    const KNOWN: [&str; 14] = [
        "queueautoscalers",
        "connections",
        "clusterconnections",
        "deployments",
        "statefulsets",
        "replicasets",
        "horizontalpodautoscalers",
        "scaledobjects",
        "leases",
        "secrets",
        "configmaps",
        "endpointslices",
        "pods",
        "events",
    ];
    let last = path.rsplit('/').next().unwrap_or_default();
    let found = |set: &[&'static str], text: &str| set.iter().copied().find(|known| *known == text);
    found(&SUBRESOURCES, last).or_else(|| path.split('/').find_map(|part| found(&KNOWN, part))).unwrap_or("other")
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200..=299 => "2xx",
        401 => "401",
        403 => "403",
        404 => "404",
        409 => "409",
        410 => "410",
        422 => "422",
        429 => "429",
        400..=499 => "4xx",
        _ => "5xx",
    }
}
