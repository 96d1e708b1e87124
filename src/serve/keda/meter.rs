//! What the external scaler counts about itself. Every handle is made once: an RPC costs a few atomic operations here
//! and no look-up of a label.

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tonic::Code;

use crate::telemetry::names;

/// One RPC's counters.
pub(super) struct Meter {
    method: &'static str,
    /// By status code; made when first needed, so that what never happens is not exported.
    codes: [OnceLock<Counter>; 17],
    duration: Histogram,
    streams: Gauge,
}

impl Meter {
    pub(super) fn unary(method: &'static str) -> Self {
        let duration = histogram!(names::GRPC_DURATION, "method" => method);
        Meter { method, codes: Default::default(), duration, streams: Gauge::noop() }
    }

    pub(super) fn stream(method: &'static str) -> Self {
        let streams = gauge!(names::GRPC_STREAMS, "method" => method);
        Meter { method, codes: Default::default(), duration: Histogram::noop(), streams }
    }

    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    pub(super) fn answered(&self, code: Code, took: Duration) {
        self.count(code);
        self.duration.record(took.as_secs_f64());
    }

    pub(super) fn count(&self, code: Code) {
        if let Some(slot) = usize::try_from(i32::from(code)).ok().and_then(|index| self.codes.get(index)) {
            slot.get_or_init(|| counter!(names::GRPC_REQUESTS, "method" => self.method, "code" => label(code)))
                .increment(1);
        }
    }

    /// Counts an open stream until the guard goes.
    pub(super) fn open(&self) -> OpenStream {
        self.streams.increment(1.0);
        OpenStream(self.streams.clone())
    }
}

pub(super) struct OpenStream(Gauge);

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// The code as gRPC writes it.
fn label(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
