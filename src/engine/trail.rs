//! The explanation of one evaluation, written down as the stages are passed: what turned which number into which, and why.

use crate::model::{Reason, Replicas, Stage, Steps};

/// The steps of an evaluation, as they are taken.
pub(super) struct Trail {
    pub(super) steps: Steps,
}

impl Trail {
    pub(super) fn new(current: Replicas) -> Self {
        Trail { steps: Steps::starting_at(current) }
    }

    pub(super) fn to(&mut self, stage: Stage, after: Replicas, reason: Reason) {
        self.steps.push(stage, after, reason);
    }

    /// The reason of the last stage that changed the number; where none did, why it is wanted.
    pub(super) fn last_word(&self) -> Reason {
        let changed = self.steps.iter().filter(|step| step.before != step.after).last();
        let said = || self.steps.iter().find(|step| step.stage != Stage::Observe);
        changed.or_else(said).map_or(Reason::Unchanged, |step| step.reason)
    }
}
