//! The Lease is given back at the end, so that nobody has to wait until it runs out.

use metrics::{counter, gauge};

use super::Election;
use crate::cluster::lease::record::{micro_time, released};
use crate::cluster::lease::store::{Store, StoreError};
use crate::telemetry::names;

impl<S: Store> Election<S> {
    /// Leaves the Lease without a holder, if it is ours.
    pub(in crate::cluster::lease) async fn release(&mut self) {
        let held = self.held.take();
        self.terms.send_replace(None);
        gauge!(names::LEADER).set(0.0);
        if held.is_none() && self.unanswered.is_none() && !self.in_doubt {
            return;
        }
        match tokio::time::timeout(self.settings.call(), self.let_go()).await {
            Ok(Ok(true)) => {
                counter!(names::LEADERSHIP_CHANGES, "change" => "released").increment(1);
                tracing::info!(lease = self.lease(), "the Lease is released");
            }
            Ok(Ok(false)) => {}
            Ok(Err(error)) => self.not_released(&error),
            Err(_) => self.not_released(&"no answer"),
        }
    }

    fn not_released(&self, error: &dyn std::fmt::Display) {
        tracing::warn!(lease = self.lease(), %error, "the Lease could not be released; another process waits until it ends");
    }

    /// Whether there was anything to release.
    async fn let_go(&mut self) -> Result<bool, StoreError> {
        loop {
            if self.in_doubt {
                self.unanswered = None;
                let lease = self.store.read().await?;
                self.observe(lease);
            }
            let Some(seen) = self.seen.as_ref().filter(|seen| !seen.deleted) else { return Ok(false) };
            if seen.holder() != Some(&self.identity) {
                return Ok(false);
            }
            let mut lease = seen.lease.clone();
            lease.spec = Some(released(seen.spec(), micro_time(&self.clock, self.clock.now())));
            match self.store.replace(&lease).await {
                Ok(_) => return Ok(true),
                Err(StoreError::Conflict(_)) => self.in_doubt = true,
                Err(error) => return Err(error),
            }
        }
    }
}
