//! Which of several processes may write: a Lease of coordination.k8s.io.
//!
//! The protocol is that of client-go's leader election, so that `kubectl get lease` shows what people know; three things
//! are stricter:
//!
//! * **Whether this process leads is asked at the moment of use** ([`Leadership::term`]), by the monotonic clock. A
//!   process that was stopped for a minute finds its term over with the first question it asks, before any timer of
//!   its own has run.
//! * **A term ends before the Lease does.** It is counted from before the renewal was sent, and ends at the renew
//!   deadline; another process counts the whole lease from when it saw that renewal, which is later. What lies between
//!   (5 s of 15 by default) is for requests that are still on their way, and for clocks that run unevenly.
//! * **Every taking is a new term with a number of its own**, also where the holder was this process itself, and a
//!   process that was started again under the same name is another holder.
//!
//! No wall clock is ever compared: the times in a Lease are for people. Not even monotonic clocks are right where a whole
//! machine is suspended (Linux' CLOCK_MONOTONIC stands still meanwhile): a process in it may believe for some seconds
//! that it still leads. That, and requests that a network held back, is why every patch also carries the
//! resourceVersion that was read in its term (`scale`).

mod election;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::election::Election;
use self::store::KubeStore;
use crate::cluster::client::{CALL, Kube};
use crate::model::Tick;

/// A time in which this process is the leader, as far as it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Term {
    /// `leaseTransitions` of the Lease: grows with every change of leader. (It begins anew where somebody deletes the
    /// Lease; within one process it grows all the same.)
    pub number: u64,
    /// Nothing may be sent from then on: the renew deadline, counted from before the renewal was sent. Nobody else can
    /// have the Lease before [`Settings::lease_duration`] after that moment, so what is sent before `until` has the
    /// difference of the two to arrive.
    pub until: Tick,
}

/// Whether this process leads. Ask at the moment of use.
#[derive(Clone, Debug)]
pub struct Leadership(watch::Receiver<Option<Term>>);

impl Leadership {
    /// Of a process that is alone.
    #[must_use]
    pub fn always() -> Self {
        let (sender, receiver) = watch::channel(Some(Term { number: 0, until: Tick::NEVER }));
        drop(sender);
        Leadership(receiver)
    }

    #[must_use]
    pub fn new(terms: watch::Receiver<Option<Term>>) -> Self {
        Leadership(terms)
    }

    /// The term that holds at `now`.
    #[must_use]
    pub fn term(&self, now: Tick) -> Option<Term> {
        self.0.borrow().filter(|term| now < term.until)
    }

    /// Waits until something has changed (a renewal changes `until`); for ever where nothing can.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Which Lease, who asks for it, and how fast. The defaults are client-go's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub namespace: String,
    pub name: String,
    /// The pod's name, say. What tells this process from the one before it in the same pod is added to it.
    pub identity: String,
    /// How long nobody else may take the Lease after a renewal. In the Lease it stands in whole seconds, rounded up.
    pub lease_duration: Duration,
    /// How long after a renewal was sent its term ends.
    pub renew_deadline: Duration,
    /// Between two renewals; between two looks of somebody who waits.
    pub retry_period: Duration,
}

impl Settings {
    pub const LEASE_DURATION: Duration = Duration::from_secs(15);
    pub const RENEW_DEADLINE: Duration = Duration::from_secs(10);
    pub const RETRY_PERIOD: Duration = Duration::from_secs(2);

    /// With the times of client-go.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, identity: impl Into<String>) -> Self {
        Settings {
            namespace: namespace.into(),
            name: name.into(),
            identity: identity.into(),
            lease_duration: Settings::LEASE_DURATION,
            renew_deadline: Settings::RENEW_DEADLINE,
            retry_period: Settings::RETRY_PERIOD,
        }
    }

    /// Whether these times can work together.
    ///
    /// # Errors
    /// They cannot; the sentence names the flag to change.
    pub fn check(&self) -> Result<(), LeaseError> {
        let Settings { lease_duration: lease, renew_deadline: deadline, retry_period: retry, .. } = *self;
        if self.namespace.is_empty() || self.name.is_empty() || self.identity.is_empty() {
            return Err(LeaseError::Nameless);
        }
        if lease < Duration::from_secs(1) {
            return Err(LeaseError::ShortLease { lease });
        }
        if deadline >= lease {
            return Err(LeaseError::LateDeadline { lease, deadline });
        }
        if retry.is_zero() || retry * 2 > deadline {
            return Err(LeaseError::RareRetries { deadline, retry });
        }
        Ok(())
    }

    /// What one call may take: a quarter of the deadline. A write whose answer is lost is found out about by a read and
    /// made again, which are three calls with the first; and of an outage some seconds long none of that is lost. (2.5 s
    /// is a hundred times what a healthy API server needs.)
    fn call(&self) -> Duration {
        CALL.min(self.renew_deadline / 4)
    }
}

/// Times that cannot work together, or no name.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LeaseError {
    #[error("a Lease needs a namespace, a name and an identity of its holder: --lease-namespace, --lease-name")]
    Nameless,
    #[error("--lease-duration {lease:?} is too short: a Lease counts in whole seconds, so at least 1s")]
    ShortLease { lease: Duration },
    #[error(
        "--renew-deadline {deadline:?} must be shorter than --lease-duration {lease:?}: who could not renew must have \
         stopped before another may begin"
    )]
    LateDeadline { lease: Duration, deadline: Duration },
    #[error(
        "--retry-period {retry:?} must be above zero and at most half of --renew-deadline {deadline:?}: one lost answer \
         must not cost the leadership"
    )]
    RareRetries { deadline: Duration, retry: Duration },
}

/// Asks for the Lease, holds it, gives it back.
pub struct Elector(Election<KubeStore>);

impl Elector {
    /// Nothing is asked before [`Elector::run`].
    #[must_use]
    pub fn new(kube: &Kube, settings: Settings) -> (Self, Leadership) {
        let store = KubeStore::new(kube, &settings);
        let (election, leadership) = Election::new(store, kube.clock, settings);
        (Elector(election), leadership)
    }

    /// Who this process is in the Lease: [`Settings::identity`] and what makes it unique.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.0.identity()
    }

    /// Works until `shutdown`, which may come only when nothing writes any more; then the Lease is released (one call's
    /// time at most), so that another process need not wait for its end.
    ///
    /// Nothing that the API server says ends it: without a Lease there is no leader, and it is asked for again.
    ///
    /// # Errors
    /// The settings cannot work: see [`Settings::check`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), LeaseError> {
        self.0.run(shutdown).await
    }
}
