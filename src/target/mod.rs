//! Effects -> reality: whoever holds a workload's count of replicas.
//!
//! The second I/O seam of the house. `memory` holds replicas in this process (demo, tests, rehearsals against a real
//! Redis), with `workload` as its bookkeeping; `actuator` is the path every target shares: one request in flight for
//! each workload, the latest wins, the most urgent first, no faster than `bucket` lets it.

pub mod actuator;
pub mod bucket;
pub mod memory;
pub mod workload;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{AutoscalerId, FailureKind, ReadFailure, Replicas};

/// What a target says of one workload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// Asked for (`spec.replicas`).
    pub replicas: Replicas,
    /// Ready to work (`status.readyReplicas`).
    pub ready: Replicas,
}

/// Holder of workloads.
pub trait Target: Send + Sync + 'static {
    /// Asks for `to` replicas, provided the workload still stands at `from`.
    ///
    /// A workload that already stands at `to` is a success, whatever `from` says: the caller repeats a request whose
    /// answer was lost, and the first one may have arrived.
    ///
    /// An implementation need not bound its own waiting (the actuator does), and must be safe to drop at any await.
    ///
    /// # Errors
    /// The workload was not changed, as far as is known: see [`ScaleError`].
    fn scale(
        &self,
        id: &AutoscalerId,
        from: Replicas,
        to: Replicas,
    ) -> impl Future<Output = Result<(), ScaleError>> + Send;
}

impl<T: Target> Target for Arc<T> {
    fn scale(
        &self,
        id: &AutoscalerId,
        from: Replicas,
        to: Replicas,
    ) -> impl Future<Output = Result<(), ScaleError>> + Send {
        T::scale(self, id, from, to)
    }
}

/// Why a workload was not scaled. One variant for each thing that the caller does about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScaleError {
    /// Somebody else changed it in between. Where the count is another one, the decision rests on what is no longer
    /// true: decide anew. Where it is the same, something else of the object keeps changing: the request may be
    /// repeated.
    #[error("{}", conflict(*.expected, *.found))]
    Conflict { expected: Replicas, found: Replicas },
    /// No such workload. Asking again does not help until somebody creates it.
    #[error("no workload stands behind {0}")]
    Unknown(AutoscalerId),
    /// Asked for something that no workload can be: fewer than zero replicas.
    #[error("{0} is not a count of replicas")]
    OutOfRange(Replicas),
    /// The holder does not let us. With what it said, and the cure.
    #[error("{0}")]
    Forbidden(Arc<str>),
    /// The holder does not accept this count, or this request. With what it said.
    #[error("{0}")]
    Invalid(Arc<str>),
    /// The holder wants to hear nothing for so long.
    #[error("throttled: asked to wait for {retry_after:?}")]
    Throttled { retry_after: Duration },
    /// This process is not the one that acts, or will not be for much longer.
    #[error("not sent: this process does not hold the lease")]
    NotLeading,
    /// Somebody else is its master, who is named.
    #[error("not sent: {0} owns the workload")]
    Owned(Arc<str>),
    /// The holder could not be asked, or refused.
    #[error("{0}")]
    Failed(ReadFailure),
}

fn conflict(expected: Replicas, found: Replicas) -> String {
    if expected == found {
        format!("something else of it was changed at each attempt; it still stands at {found} replicas")
    } else {
        format!("it stands at {found} replicas, the decision was based on {expected}")
    }
}

impl ScaleError {
    /// Whether the very same request may succeed later, without anybody deciding or repairing anything.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            ScaleError::Throttled { .. } => true,
            ScaleError::Conflict { expected, found } => *expected == *found,
            ScaleError::Unknown(_)
            | ScaleError::OutOfRange(_)
            | ScaleError::Forbidden(_)
            | ScaleError::Invalid(_)
            | ScaleError::NotLeading
            | ScaleError::Owned(_) => false,
            ScaleError::Failed(failure) => match failure.kind {
                FailureKind::Unreachable
                | FailureKind::Timeout
                | FailureKind::TooManyClients
                | FailureKind::NotServing => true,
                // An operator must act first; the engine hears of it and asks again at its own pace.
                FailureKind::Authentication
                | FailureKind::PermissionDenied
                | FailureKind::WrongType
                | FailureKind::Protocol
                | FailureKind::Configuration => false,
            },
        }
    }

    /// Whether the holder looked at this very request and refused it: repeating it soon is of no use, another one may
    /// well succeed.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, ScaleError::Forbidden(_) | ScaleError::Invalid(_))
    }

    /// The metric label: a closed set.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            ScaleError::Conflict { .. } => "conflict",
            ScaleError::Unknown(_) => "unknown_workload",
            ScaleError::OutOfRange(_) => "out_of_range",
            ScaleError::Forbidden(_) => "forbidden",
            ScaleError::Invalid(_) => "invalid",
            ScaleError::Throttled { .. } => "throttled",
            ScaleError::NotLeading => "not_leading",
            ScaleError::Owned(_) => "owned",
            ScaleError::Failed(failure) => failure.kind.as_str(),
        }
    }
}

impl From<ScaleError> for ReadFailure {
    fn from(error: ScaleError) -> Self {
        let kind = match &error {
            ScaleError::Conflict { .. } => FailureKind::Protocol,
            ScaleError::Unknown(_) | ScaleError::OutOfRange(_) | ScaleError::Invalid(_) => FailureKind::Configuration,
            ScaleError::Forbidden(_) | ScaleError::Owned(_) => FailureKind::PermissionDenied,
            ScaleError::Throttled { .. } => FailureKind::TooManyClients,
            ScaleError::NotLeading => FailureKind::NotServing,
            ScaleError::Failed(failure) => return failure.clone(),
        };
        ReadFailure::new(kind, error.to_string())
    }
}
