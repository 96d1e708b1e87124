//! What calls may take of this process, as a layer around all gRPC services: how many at a time, how long and how much
//! memory while their requests arrive. And each call's [`RequestId`].
//!
//! HTTP/2's own flow control bounds what one connection may send ahead (see `grpc.rs`); this bounds what all of them
//! together make us hold. The steady path costs two atomic additions and one allocation; no timer is armed for a request
//! that has arrived with its headers.

mod receive;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::Frame;
use metrics::{Counter, Gauge, counter, gauge};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{Bytes, Service};
use tower_layer::Layer;

use self::receive::Receiving;
use super::listen::{Peer, Shared};
use super::request_id::{HEADER, RequestId};
use crate::telemetry::names;

/// A request of ours is a metadata map, a few hundred bytes; the longest that makes sense (hundreds of Redis addresses)
/// has some ten thousand.
pub const LARGEST_REQUEST: usize = 64 * 1024;

/// What all callers together may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Calls at a time, open streams included.
    pub calls: usize,
    /// The same from one address.
    pub calls_per_peer: usize,
    /// Those of them in which the caller goes on asking (reflection).
    pub conversations: usize,
    /// Bytes of requests that are announced or received and not yet read as a message.
    pub bytes: usize,
    /// Who holds no more than this of those passes, whatever the others hold.
    pub modest: usize,
    /// From a call's headers to the end of its request.
    pub receiving: Duration,
    /// The same in a conversation.
    pub conversing: Duration,
}

impl Default for Limits {
    /// * Ten thousand objects of KEDA's have at most two streams each, and a unary call now and then: 50,000 is twice
    ///   that. Half of it from one address: KEDA's operator is one, and must find room whatever another does.
    /// * People ask for reflection, at `grpcurl`: 64 at a time are more than there are. Whoever asks there without
    ///   reading the answers leaves a window of requests with us, 64 KiB.
    /// * 32 MiB is 512 requests of the largest size, or a hundred thousand usual ones.
    /// * 4 KiB is ten times a usual request.
    /// * A request is one or two segments: five seconds are a lost one, sent again and again.
    /// * A person at `grpcurl` or `grpcui` asks within a minute, and those tools connect anew.
    fn default() -> Self {
        Limits {
            calls: 50_000,
            calls_per_peer: 25_000,
            conversations: 64,
            bytes: 32 * 1024 * 1024,
            modest: 4 * 1024,
            receiving: Duration::from_secs(5),
            conversing: Duration::from_secs(60),
        }
    }
}

/// The layer; its clones share one account.
#[derive(Clone)]
pub struct Admission(Arc<Account>);

struct Account {
    limits: Limits,
    calls: AtomicUsize,
    conversations: AtomicUsize,
    bytes: AtomicUsize,
    in_flight: Gauge,
    too_many: Counter,
    too_large: Counter,
    too_slow: Counter,
}

impl Admission {
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let refused = |reason: &'static str| counter!(names::GRPC_REFUSED, "reason" => reason);
        Admission(Arc::new(Account {
            limits,
            calls: AtomicUsize::new(0),
            conversations: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            in_flight: gauge!(names::GRPC_IN_FLIGHT),
            too_many: refused("calls"),
            too_large: refused("bytes"),
            too_slow: refused("slow"),
        }))
    }
}

impl<S> Layer<S> for Admission {
    type Service = Admitting<S>;

    fn layer(&self, inner: S) -> Admitting<S> {
        Admitting { inner, account: Arc::clone(&self.0) }
    }
}

/// A service behind the layer.
#[derive(Clone)]
pub struct Admitting<S> {
    inner: S,
    account: Arc<Account>,
}

impl<S> Service<Request<Body>> for Admitting<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Future: Unpin,
{
    type Response = Response<Answer>;
    type Error = S::Error;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let id = RequestId::of(request.headers());
        let converses = request.uri().path().starts_with("/grpc.reflection.");
        let call = match Call::begin(&self.account, request.extensions().get::<Peer>(), converses) {
            Ok(call) => call,
            Err(refusal) => return Answering { id, state: State::Refused(Some(refusal)) },
        };
        request.extensions_mut().insert(id.clone());
        let request = request.map(|body| Receiving::watch(body, &self.account, converses));
        Answering { id, state: State::Called { answer: self.inner.call(request), call: Some(call) } }
    }
}

/// One call's place, until its answer has gone or its caller has.
struct Call {
    account: Arc<Account>,
    peer: Option<Arc<Shared>>,
    converses: bool,
}

impl Call {
    /// `peer` is `None` over connections that are not our listener's.
    fn begin(account: &Arc<Account>, peer: Option<&Peer>, converses: bool) -> Result<Self, Status> {
        let Limits { calls, calls_per_peer, conversations, .. } = account.limits;
        // Counted even where it is refused, for a moment: the guard takes it back.
        let call = Call { account: Arc::clone(account), peer: peer.map(|peer| Arc::clone(&peer.shared)), converses };
        account.in_flight.increment(1.0);
        let mut refusal = None;
        if account.calls.fetch_add(1, Ordering::Relaxed) >= calls {
            refusal = Some((calls, "calls and streams"));
        }
        if call.peer.as_ref().is_some_and(|peer| peer.calls.fetch_add(1, Ordering::Relaxed) >= calls_per_peer) {
            refusal = Some((calls_per_peer, "calls and streams of one address"));
        }
        if converses && account.conversations.fetch_add(1, Ordering::Relaxed) >= conversations {
            refusal = Some((conversations, "conversations with reflection"));
        }
        let Some((limit, what)) = refusal else { return Ok(call) };
        account.too_many.increment(1);
        Err(Status::resource_exhausted(format!("more than {limit} {what} are open; try again later")))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.account.calls.fetch_sub(1, Ordering::Relaxed);
        if let Some(peer) = &self.peer {
            peer.calls.fetch_sub(1, Ordering::Relaxed);
        }
        if self.converses {
            self.account.conversations.fetch_sub(1, Ordering::Relaxed);
        }
        self.account.in_flight.decrement(1.0);
    }
}

/// The future of an answer.
pub struct Answering<F> {
    id: RequestId,
    state: State<F>,
}

enum State<F> {
    Refused(Option<Status>),
    Called { answer: F, call: Option<Call> },
}

impl<F, E> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, E>> + Unpin,
{
    type Output = Result<Response<Answer>, E>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut response = match &mut this.state {
            State::Refused(status) => {
                let status = status.take().unwrap_or_else(|| Status::resource_exhausted("refused"));
                status.into_http::<Body>().map(|body| Answer { body, _call: None })
            }
            State::Called { answer, call } => match Pin::new(answer).poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(response)) => response.map(|body| Answer { body, _call: call.take() }),
            },
        };
        response.headers_mut().insert(HEADER, this.id.value());
        Poll::Ready(Ok(response))
    }
}

/// An answer's body, which holds the call's place as long as it lives.
pub struct Answer {
    body: Body,
    _call: Option<Call>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
