//! One node of a Cluster: a connection, or the attempts to get one.
//!
//! The first attempt is waited for, because nobody knows better; once it has failed, or the connection is lost, the node
//! is known to be down. Its reads fail at once with the reason, and it is tried again beside the rounds.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::guard::{self, Unfit, Wanted};
use crate::model::{FailureKind, ReadFailure};
use crate::source::redis::connect::Connector;
use crate::source::redis::hot;
use crate::source::redis::wire::Wire;

/// Before the second attempt, at most; as long as for servers that stand alone.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Between two attempts, at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

pub(super) struct Node {
    address: Arc<str>,
    /// A replica, to be read as one.
    replica: bool,
    state: State,
    /// Connections in a row that did not answer a round, so that one which connects and then is silent is left alone
    /// for longer and longer.
    failures: u32,
}

enum State {
    Up(Wire, Option<AbortOnDropHandle<Unfit>>),
    Away(Revival),
}

/// The attempts to connect.
struct Revival {
    wire: AbortOnDropHandle<Wire>,
    /// Why the last one failed.
    failure: watch::Receiver<Option<ReadFailure>>,
}

impl Node {
    /// Begins to connect.
    pub(super) fn new(connector: &Connector, address: &Arc<str>, replica: bool) -> Self {
        let state = State::Away(Revival::begin(connector, address, replica, 0, None));
        Node { address: Arc::clone(address), replica, state, failures: 0 }
    }

    pub(super) fn is_replica(&self) -> bool {
        self.replica
    }

    /// Takes over a connection that has come about since. `true`: something has changed.
    pub(super) fn settle(&mut self, connector: &Connector) -> bool {
        match &mut self.state {
            State::Up(_, guard) => {
                let Some(unfit) = guard.as_mut().and_then(FutureExt::now_or_never) else { return false };
                self.lost(connector, unfit.unwrap_or_else(|_| ended(&self.address)));
                true
            }
            State::Away(revival) => {
                let Some(wire) = (&mut revival.wire).now_or_never() else { return false };
                self.arrived(connector, wire.ok());
                true
            }
        }
    }

    fn arrived(&mut self, connector: &Connector, wire: Option<Wire>) {
        match wire {
            Some(wire) => {
                let guard = self.replica.then(|| {
                    let watched = wire.twin();
                    let look = async move { guard::until_unfit(&watched, Wanted::InStep).await };
                    AbortOnDropHandle::new(tokio::spawn(look))
                });
                self.state = State::Up(wire, guard);
            }
            // Attempts end only with a connection; this one broke down.
            None => self.lost(connector, ended(&self.address)),
        }
    }

    /// The connection. Waits for the first attempt to make one, and for no other.
    pub(super) async fn ready(&mut self, connector: &Connector) -> Result<&mut Wire, ReadFailure> {
        if let State::Away(revival) = &mut self.state {
            let wire = revival.first().await?;
            self.arrived(connector, wire);
        }
        match &mut self.state {
            State::Up(wire, _) => Ok(wire),
            State::Away(_) => Err(ended(&self.address)),
        }
    }

    /// It did not answer, and must not be asked again over this connection.
    pub(super) fn lost(&mut self, connector: &Connector, failure: ReadFailure) {
        if matches!(self.state, State::Up(..)) {
            self.failures = self.failures.saturating_add(1);
            let revival = Revival::begin(connector, &self.address, self.replica, self.failures, Some(failure));
            self.state = State::Away(revival);
        }
    }

    /// It has answered a round.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    pub(super) fn wire(&self) -> Option<&Wire> {
        match &self.state {
            State::Up(wire, _) => Some(wire),
            State::Away(_) => None,
        }
    }

    pub(super) fn wire_mut(&mut self) -> Option<&mut Wire> {
        match &mut self.state {
            State::Up(wire, _) => Some(wire),
            State::Away(_) => None,
        }
    }

    pub(super) fn hot(&mut self) -> Option<&mut hot::Node> {
        self.wire_mut()?.hot().ok()
    }

    /// Whether asking it is of no use.
    pub(super) fn is_down(&self) -> bool {
        matches!(&self.state, State::Away(revival) if revival.failure.borrow().is_some())
    }
}

impl Revival {
    fn begin(
        connector: &Connector,
        address: &Arc<str>,
        replica: bool,
        failures: u32,
        failure: Option<ReadFailure>,
    ) -> Self {
        let (say, failure) = watch::channel(failure);
        let (connector, address) = (connector.clone(), Arc::clone(address));
        let attempts = async move {
            let mut failures = failures;
            loop {
                if failures > 0 {
                    tokio::time::sleep(pause(&address, failures)).await;
                }
                match attempt(&connector, &address, replica).await {
                    Ok(wire) => return wire,
                    // Nobody may want to know any more.
                    Err(failure) => drop(say.send(Some(failure))),
                }
                failures = failures.saturating_add(1);
            }
        };
        Revival { wire: AbortOnDropHandle::new(tokio::spawn(attempts)), failure }
    }

    /// The connection, if the first attempt makes one. `Ok(None)`: the task broke down.
    async fn first(&mut self) -> Result<Option<Wire>, ReadFailure> {
        tokio::select! {
            biased;
            wire = &mut self.wire => Ok(wire.ok()),
            failed = self.failure.wait_for(Option::is_some) => match failed.ok().and_then(|failure| failure.clone()) {
                Some(failure) => Err(failure),
                None => Ok(None),
            },
        }
    }
}

async fn attempt(connector: &Connector, address: &str, replica: bool) -> Result<Wire, ReadFailure> {
    let wire = connector.connect_to(address, replica).await?;
    if replica {
        Wanted::InStep.check(&wire).await?;
    }
    Ok(wire)
}

/// Between half and all of 100 ms, 200 ms, 400 ms ... 2 s: the nodes of a cluster that went down together do not all
/// come back in step.
fn pause(address: &str, failures: u32) -> Duration {
    let full = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(5)).min(LONGEST_PAUSE);
    let mut hasher = DefaultHasher::new();
    (address, failures).hash(&mut hasher);
    let share = u32::try_from(hasher.finish() % 1024).unwrap_or(0);
    full / 2 + full / 2 * share / 1024
}

#[cold]
fn ended(address: &str) -> ReadFailure {
    ReadFailure::new(FailureKind::Unreachable, format!("{address}: the attempts to connect have ended"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut full = FIRST_PAUSE;
        for failures in 1..40 {
            let pause = pause("redis:6379", failures);
            assert!(pause >= full / 2 && pause <= full, "{pause:?} of {full:?}");
            full = (full * 2).min(LONGEST_PAUSE);
        }
    }
}
