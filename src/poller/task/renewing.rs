//! What the task does about changed secrets and certificates: the half of `renewal` that touches the link in use.
//!
//! That a new link is open does not yet mean that it may read: a new user may lack a right that the old one has. So it
//! is on trial in its first round, and the old one is kept until that has ended. Should the new one be denied more than
//! the old one, the round is the old one's answer, and so are the rounds after it.

use tracing::{info, warn};

use super::{Plan, State, Task};
use crate::model::{FailureKind, ReadFailure};
use crate::poller::renewal::{Failed, Outcome};
use crate::source::{Answers, Backend, Material, Moment};

impl<B: Backend> Task<B> {
    /// A look at the secrets and certificates of the link in use has ended.
    pub(super) fn looked(&mut self, outcome: Outcome<B::Link>) {
        match outcome {
            Outcome::AsBefore => {}
            Outcome::Restored => {
                info!(connection = %self.name, "secrets and certificates are again what the connection was made with");
                self.renewal.restored();
            }
            Outcome::Opened(link) => {
                if let State::Up(used) = &mut self.state {
                    let material = B::made_of(&link);
                    self.renewal.begin_trial(std::mem::replace(used, link), material);
                }
            }
            Outcome::Failed(material, failure) => self.refused(material, &failure),
        }
        self.renewal.rest(self.clock.now());
    }

    /// Some Secret has changed; perhaps one of this connection's.
    pub(super) fn secrets_changed(&mut self) {
        match &self.state {
            State::Up(_) => self.renewal.hasten(),
            // What kept us out may have been just that. Whoever is down for another reason is left alone as long as ever.
            State::Down(_) => {
                let kind = self.failure.as_ref().map(|failure| failure.kind);
                if matches!(kind, Some(FailureKind::Configuration | FailureKind::Authentication)) {
                    self.state = State::Connecting(Box::pin(self.backend.connect()));
                }
            }
            State::Connecting(_) => {}
        }
    }

    fn refused(&mut self, material: Material, failure: &ReadFailure) {
        if self.renewal.failed(material, &failure.message, self.clock.now()) == Failed::New {
            warn!(
                connection = %self.name,
                kind = failure.kind.as_str(),
                reason = %failure.message,
                "secrets or certificates changed, but no usable connection can be made with them; the old one stays",
            );
        }
    }

    /// The first round over a link that is to take the place of `previous`.
    pub(super) async fn fetch_on_trial(
        &mut self,
        mut previous: B::Link,
        plan: &mut Plan<B>,
        at: Moment,
    ) -> Result<(), ReadFailure> {
        // Only called with a link.
        let State::Up(link) = &mut self.state else { return Ok(()) };
        let fetched = self.backend.fetch(link, &mut plan.batch, at, &mut self.answers).await;
        let refusal = match &fetched {
            Ok(()) => first_denied(&self.answers),
            Err(failure) => Some(failure.clone()),
        };
        let Some(refusal) = refusal else {
            self.taken_over();
            return Ok(());
        };

        let of_new = std::mem::take(&mut self.answers);
        let by_previous = self.backend.fetch(&mut previous, &mut plan.batch, at, &mut self.answers).await;
        // What was denied before is no fault of the new ones. And a link that gets no answer at all is no help.
        let previous_is_better = by_previous.is_ok() && (fetched.is_err() || denied(&self.answers) < denied(&of_new));
        if !previous_is_better {
            self.answers = of_new;
            if fetched.is_ok() {
                self.taken_over();
            }
            return fetched;
        }
        let State::Up(link) = &mut self.state else { return by_previous };
        let material = B::made_of(link);
        *link = previous;
        self.renewal.went_back(B::made_of(link));
        if let Some(material) = material {
            self.refused(material, &refusal);
        }
        by_previous
    }

    fn taken_over(&mut self) {
        self.renewal.succeeded();
        info!(connection = %self.name, "secrets or certificates changed: a new connection took over");
    }
}

fn denied(answers: &Answers) -> usize {
    answers.failures().filter(|failure| failure.kind == FailureKind::PermissionDenied).count()
}

fn first_denied(answers: &Answers) -> Option<ReadFailure> {
    answers.failures().find(|failure| failure.kind == FailureKind::PermissionDenied).cloned()
}
