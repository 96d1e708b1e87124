//! Whether this process is fit to be asked: one answer for `/readyz`, for `grpc.health.v1` and for RPCs that come early.
//!
//! Behind a Service, an unready replica is not asked at all. That matters most at the start: before the specs are in,
//! `GetMetricSpec` for a known autoscaler would have to say "unknown", and KEDA would take the trigger out of its HPA.

use tokio::sync::watch;

/// The conditions, each of which must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checks {
    /// Manifests are read, and the first list of custom resources has arrived.
    pub specs: bool,
    /// Every connection has been asked once, successfully or not.
    pub first_round: bool,
    /// The process has been told to stop.
    pub shutting_down: bool,
}

impl Checks {
    #[must_use]
    pub fn ready(self) -> bool {
        self.specs && self.first_round && !self.shutting_down
    }

    /// Name and state of each check, for `/readyz?verbose`.
    #[must_use]
    pub fn list(self) -> [(&'static str, bool); 3] {
        [("specs", self.specs), ("first-round", self.first_round), ("not-shutting-down", !self.shutting_down)]
    }
}

/// Shared by whoever knows (the composition root) and whoever answers.
#[derive(Debug)]
pub struct Readiness(watch::Sender<Checks>);

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Nothing holds yet.
    #[must_use]
    pub fn new() -> Self {
        Readiness(watch::Sender::new(Checks::default()))
    }

    /// Manifests are read, and the first list of custom resources has arrived.
    pub fn specs_loaded(&self) {
        self.0.send_modify(|checks| checks.specs = true);
    }

    /// Every connection has been asked once, successfully or not.
    pub fn first_round_done(&self) {
        self.0.send_modify(|checks| checks.first_round = true);
    }

    /// Unready from now on, for good.
    pub fn shutting_down(&self) {
        self.0.send_modify(|checks| checks.shutting_down = true);
    }

    #[must_use]
    pub fn checks(&self) -> Checks {
        *self.0.borrow()
    }

    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.checks().ready()
    }

    /// The checks, and every later state of them.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Checks> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_between_the_first_round_and_the_shutdown() {
        let readiness = Readiness::new();
        assert!(!readiness.is_ready());
        readiness.specs_loaded();
        assert!(!readiness.is_ready());
        readiness.first_round_done();
        assert!(readiness.is_ready());
        readiness.shutting_down();
        assert!(!readiness.is_ready());
    }
}
