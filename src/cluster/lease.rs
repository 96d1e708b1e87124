//! Which of several processes may write: a Lease of coordination.k8s.io.

use tokio::sync::watch;

use crate::model::Tick;

/// A time in which this process is the leader, as far as it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Term {
    /// `leaseTransitions` of the Lease: grows with every change of leader.
    pub number: u64,
    /// Nothing may be sent from then on. Counted from before the renewal was sent.
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
