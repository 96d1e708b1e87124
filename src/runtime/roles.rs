//! Who carries decisions out: nobody here, the rehearsal's own actuator, or whichever process leads in the cluster.

use std::collections::HashSet;

use super::Runtime;
use crate::engine::{Event, Role};
use crate::model::{AutoscalerId, Key, Mandate, ScaleOrder};
use crate::spec::AutoscalerSpec;

/// Gives every autoscaler its role, and takes it away again.
pub struct Roles {
    acts: Acts,
    /// This process may write. Nobody may before it is said so.
    leading: bool,
    /// Owned by somebody else. What is refused may be named before its spec has come.
    refused: HashSet<AutoscalerId>,
    /// Nobody knows yet whether somebody else owns them. They follow: advice forgets whose a zero is.
    waiting: HashSet<AutoscalerId>,
}

enum Acts {
    /// KEDA and the HPA do, or nobody does.
    Nobody,
    /// This process does for these, whoever leads.
    These(Box<dyn Fn(&AutoscalerSpec) -> bool + Send>),
    /// The leader does.
    Leader,
}

impl Roles {
    /// Decisions are advice.
    #[must_use]
    pub fn nobody() -> Self {
        Roles::new(Acts::Nobody)
    }

    /// This process acts for whom `these` names, and nobody has to allow it.
    pub fn these(these: impl Fn(&AutoscalerSpec) -> bool + Send + 'static) -> Self {
        Roles::new(Acts::These(Box::new(these)))
    }

    /// Of several processes the leader acts, for everybody who has a workload and is not refused.
    #[must_use]
    pub fn cluster() -> Self {
        Roles::new(Acts::Leader)
    }

    fn new(acts: Acts) -> Self {
        Roles { acts, leading: false, refused: HashSet::new(), waiting: HashSet::new() }
    }

    #[must_use]
    pub fn of(&self, spec: &AutoscalerSpec) -> Role {
        if spec.target.is_none() || spec.dry_run || self.refused.contains(&spec.id) {
            return Role::Advises;
        }
        match &self.acts {
            Acts::Nobody => Role::Advises,
            Acts::These(these) if these(spec) => Role::Controls,
            Acts::These(_) => Role::Advises,
            Acts::Leader if self.leading && !self.waiting.contains(&spec.id) => Role::Controls,
            Acts::Leader => Role::Follows,
        }
    }
}

impl Runtime {
    pub(super) fn mandated(&mut self, mandate: Mandate) {
        match mandate {
            Mandate::Leading(leading) => {
                if std::mem::replace(&mut self.outputs.roles.leading, leading) == leading {
                    return;
                }
                if !leading {
                    // Who does not act asks for nothing; what was asked for is still to be taken back.
                    self.unsent.retain(|_, order| matches!(order, ScaleOrder::Withdraw(_)));
                }
                // In the order of their keys, which is the order of memory.
                for index in 0..self.entries.len() {
                    if let Ok(index) = u32::try_from(index) {
                        self.take_role(Key(index));
                    }
                }
                tracing::info!(leading, autoscalers = self.keys.len(), "roles changed");
            }
            Mandate::Waits { id } => {
                let key = self.keys.get(&id).copied();
                self.outputs.roles.waiting.insert(id);
                if let Some(key) = key {
                    self.take_role(key);
                }
            }
            Mandate::Refused { id, refused } => {
                self.outputs.roles.waiting.remove(&id);
                let key = self.keys.get(&id).copied();
                self.unsent.retain(|of, order| *of != id || matches!(order, ScaleOrder::Withdraw(_)));
                match refused {
                    true => self.outputs.roles.refused.insert(id),
                    false => self.outputs.roles.refused.remove(&id),
                };
                if let Some(key) = key {
                    self.take_role(key);
                }
            }
        }
    }

    /// Decides at once: whoever takes over asks for what is wanted now.
    fn take_role(&mut self, key: Key) {
        let Some(Some(entry)) = self.entries.get(key.index()) else { return };
        let role = entry.cell.peek(|published| self.outputs.roles.of(&published.spec));
        let now = self.clock.now();
        self.handle(now, key, Event::Role { role });
    }
}
