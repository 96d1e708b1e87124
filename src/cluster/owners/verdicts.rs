//! Who may act: what the task that looks at owners has found, for those who are about to patch.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::cluster::workloads::WorkloadRef;
use crate::model::AutoscalerId;

/// Whether an autoscaler may act.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    Free,
    /// Nobody knows yet.
    Pending,
    /// Somebody else has it, who is named.
    Owned(Arc<str>),
}

/// The verdicts of now, each with the workload that it is about, for whoever acts: to be asked at the moment of use.
pub struct Verdicts(RwLock<Option<HashMap<AutoscalerId, (WorkloadRef, Verdict)>>>);

impl Verdicts {
    /// Of a process that looks at no owners: everybody may act.
    #[must_use]
    pub fn all_free() -> Arc<Self> {
        Arc::new(Verdicts(RwLock::new(None)))
    }

    /// Of a process that looks at them, before it has.
    pub(super) fn pending() -> Arc<Self> {
        Arc::new(Verdicts(RwLock::new(Some(HashMap::new()))))
    }

    #[must_use]
    pub fn of(&self, id: &AutoscalerId) -> Verdict {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(verdicts) => verdicts.get(id).map_or(Verdict::Pending, |(_, verdict)| verdict.clone()),
            None => Verdict::Free,
        }
    }

    /// Whether `id` may act on `workload`. A verdict about the workload that it had before is none about this one.
    #[must_use]
    pub fn about(&self, id: &AutoscalerId, workload: &WorkloadRef) -> Verdict {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(verdicts) => match verdicts.get(id) {
                Some((about, verdict)) if about == workload => verdict.clone(),
                _ => Verdict::Pending,
            },
            None => Verdict::Free,
        }
    }

    pub(super) fn set(&self, id: &AutoscalerId, verdict: Option<(WorkloadRef, Verdict)>) {
        if let Some(verdicts) = &mut *self.0.write().unwrap_or_else(PoisonError::into_inner) {
            match verdict {
                Some(verdict) => drop(verdicts.insert(id.clone(), verdict)),
                None => drop(verdicts.remove(id)),
            }
        }
    }
}
