//! A link to one server that has to be of a kind: the primary of its name, or a replica in step with its primary.
//!
//! What it is, it was asked for when the link was opened (`ROLE`), and is asked for after the reads of every round: a
//! server that was deposed, and still answers, is found out by that, and what it said in that round counts for nothing.
//! Beside the rounds somebody looks whether another server has taken its place. In both cases the link goes over to the
//! right one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::Value;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::slots::text;
use crate::model::{FailureKind, ReadFailure};
use crate::source::redis::classify;
use crate::source::redis::connect::Connector;
use crate::source::redis::wire::Wire;

/// Between two looks. A primary that was replaced, and knows nothing of it, is read for this long; asking costs it and a
/// sentinel a few microseconds.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A link to one server.
pub(in crate::source::redis) struct One {
    wire: Wire,
    guard: Option<Guard>,
}

/// Says why the server is not the right one any more, and then looks for the right one.
struct Guard {
    wanted: Wanted,
    unfit: watch::Receiver<Option<ReadFailure>>,
    /// What rounds have found out.
    found: Arc<Found>,
    successor: AbortOnDropHandle<Result<One, ReadFailure>>,
}

#[derive(Default)]
struct Found {
    reason: Mutex<Option<Unfit>>,
    told: Notify,
}

/// What a server has to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    Primary,
    /// A replica that is in step; or the primary itself, which is always.
    InStep,
}

/// Why a server is not the one to be read.
pub(super) type Unfit = ReadFailure;

impl One {
    pub(super) fn unguarded(wire: Wire) -> Self {
        One { wire, guard: None }
    }

    /// Watched by `look`, which returns once another server is the right one; `find` then finds it.
    pub(super) fn guarded(
        wire: Wire,
        wanted: Wanted,
        look: impl Future<Output = Unfit> + Send + 'static,
        find: impl Future<Output = Result<One, ReadFailure>> + Send + 'static,
    ) -> Self {
        let (say, unfit) = watch::channel(None);
        let found: Arc<Found> = Arc::default();
        let heard = Arc::clone(&found);
        let work = async move {
            let reason = tokio::select! {
                reason = look => Some(reason),
                () = heard.told.notified() => heard.reason.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            };
            // The link may be gone.
            let _ = say.send(reason);
            find.await
        };
        let successor = AbortOnDropHandle::new(tokio::spawn(work));
        One { wire, guard: Some(Guard { wanted, unfit, found, successor }) }
    }

    pub(in crate::source::redis) fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(in crate::source::redis) fn wire_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }

    /// Makes sure that the server is still the right one as far as is known, or goes over to the one that is.
    ///
    /// # Errors
    /// There is none for the time being.
    pub(in crate::source::redis) async fn settle(&mut self) -> Result<(), ReadFailure> {
        let Some(guard) = &mut self.guard else { return Ok(()) };
        let Some(reason) = guard.unfit.borrow().clone() else { return Ok(()) };
        // It has a bound of its own, that of every connect.
        *self = (&mut guard.successor).await.unwrap_or(Err(reason))?;
        Ok(())
    }

    /// After the reads of a round: whether the server was the right one all along. `false`: what it said counts for
    /// nothing, and the link has gone over to another.
    ///
    /// # Errors
    /// It was not, and there is no other; or it does not answer any more.
    pub(in crate::source::redis) async fn vouch(&mut self) -> Result<bool, ReadFailure> {
        let Some(guard) = &mut self.guard else { return Ok(true) };
        let Err(unfit) = guard.wanted.check(&self.wire).await else { return Ok(true) };
        if speaks_of_the_wire(unfit.kind) {
            return Err(unfit);
        }
        *guard.found.reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(unfit.clone());
        guard.found.told.notify_one();
        *self = (&mut guard.successor).await.unwrap_or(Err(unfit))?;
        Ok(false)
    }
}

impl Wanted {
    /// Asks a server whether it is what is wanted.
    pub(super) async fn check(self, wire: &Wire) -> Result<(), Unfit> {
        match (self, role(wire).await?) {
            (_, Role::Primary) | (Wanted::InStep, Role::Replica { in_step: true }) => Ok(()),
            (Wanted::Primary, Role::Replica { .. }) => Err(deposed(wire.address())),
            (Wanted::InStep, Role::Replica { in_step: false }) => Err(out_of_step(wire)),
            (_, Role::Other) => Err(no_server_for_keys(wire.address())),
        }
    }
}

/// What a server says that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Role {
    Primary,
    /// A replica, and whether it is in step with its primary.
    Replica {
        in_step: bool,
    },
    Other,
}

/// Asks a server what it is.
pub(super) async fn role(wire: &Wire) -> Result<Role, ReadFailure> {
    let address = wire.address();
    let reply = wire.ask(&redis::cmd("ROLE")).await?;
    match &reply {
        Value::ServerError(error) if error.code() == "NOPERM" => Err(ReadFailure::new(
            FailureKind::PermissionDenied,
            format!(
                "{address}: this user may not run ROLE, and so nobody knows whether it is the primary; grant `+role`"
            ),
        )),
        Value::ServerError(error) => Err(classify::server_failure(address, error)),
        Value::Array(fields) => Ok(match fields.first().and_then(text) {
            Some("master") => Role::Primary,
            Some("slave") => Role::Replica { in_step: fields.get(3).and_then(text) == Some("connected") },
            _ => Role::Other,
        }),
        _ => Ok(Role::Other),
    }
}

/// Why a server that is to be a replica must not be read.
fn out_of_step(wire: &Wire) -> Unfit {
    let address = wire.address();
    ReadFailure::new(
        FailureKind::NotServing,
        format!("{address} is a replica that is not in step with its primary: what it has may be old"),
    )
}

pub(super) fn deposed(address: &str) -> Unfit {
    let sentence = format!("{address} is not the primary (any more), but a replica; a failover may be under way");
    ReadFailure::new(FailureKind::NotServing, sentence)
}

pub(super) fn no_server_for_keys(address: &str) -> ReadFailure {
    ReadFailure::new(
        FailureKind::Configuration,
        format!("{address} is neither a primary nor a replica; is it a sentinel? Write it into `sentinel.addresses`"),
    )
}

/// Waits until `wire` is not what is wanted. That it does not answer is for the rounds to find out.
pub(super) async fn until_unfit(wire: &Wire, wanted: Wanted) -> Unfit {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if let Err(unfit) = wanted.check(wire).await
            && !speaks_of_the_wire(unfit.kind)
        {
            return unfit;
        }
    }
}

pub(super) fn speaks_of_the_wire(kind: FailureKind) -> bool {
    matches!(kind, FailureKind::Timeout | FailureKind::Unreachable)
}

/// One server that is named as a replica.
pub(super) async fn of_replica(connector: &Connector, wire: Wire) -> Result<One, ReadFailure> {
    Wanted::InStep.check(&wire).await?;
    Ok(guarded_replica(connector.clone(), wire))
}

fn guarded_replica(connector: Connector, wire: Wire) -> One {
    let watched = wire.twin();
    let look = async move { until_unfit(&watched, Wanted::InStep).await };
    // Nobody knows of another: that it comes into step again is waited for, connect by connect.
    let find = async move {
        let wire = connector.connect_to(&connector.server().address, false).await?;
        Wanted::InStep.check(&wire).await?;
        Ok(guarded_replica(connector, wire))
    };
    One::guarded(wire, Wanted::InStep, look, find)
}
