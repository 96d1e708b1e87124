//! Effects -> reality: whoever holds a workload's count of replicas.
//!
//! The second I/O seam of the house. `memory` holds replicas in this process (demo, tests, rehearsals against a real
//! Redis), with `workload` as its bookkeeping; `actuator` is the path every target shares: one request in flight for
//! each workload, the latest wins.

pub mod actuator;
pub mod memory;
pub mod workload;

use std::future::Future;

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

/// Why a workload was not scaled. One variant for each thing that the caller does about it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ScaleError {
    /// Somebody else changed it in between: the decision rests on a count that is no longer true. Decide anew.
    #[error("it stands at {found} replicas, the decision was based on {expected}")]
    Conflict { expected: Replicas, found: Replicas },
    /// No such workload. Asking again does not help until somebody creates it.
    #[error("no workload stands behind {0}")]
    Unknown(AutoscalerId),
    /// Asked for something that no workload can be: fewer than zero replicas.
    #[error("{0} is not a count of replicas")]
    OutOfRange(Replicas),
    /// The holder could not be asked, or refused.
    #[error("{0}")]
    Failed(ReadFailure),
}

impl ScaleError {
    /// Whether the very same request may succeed later.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        match self {
            ScaleError::Conflict { .. } | ScaleError::Unknown(_) | ScaleError::OutOfRange(_) => false,
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

    /// The metric label: a closed set.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            ScaleError::Conflict { .. } => "conflict",
            ScaleError::Unknown(_) => "unknown_workload",
            ScaleError::OutOfRange(_) => "out_of_range",
            ScaleError::Failed(failure) => failure.kind.as_str(),
        }
    }
}

impl From<ScaleError> for ReadFailure {
    fn from(error: ScaleError) -> Self {
        let kind = match &error {
            ScaleError::Conflict { .. } => FailureKind::Protocol,
            ScaleError::Unknown(_) | ScaleError::OutOfRange(_) => FailureKind::Configuration,
            ScaleError::Failed(failure) => return failure.clone(),
        };
        ReadFailure::new(kind, error.to_string())
    }
}
