//! What other manifests would have decided, had they been in force.
//!
//! The loop is open: the queues and the workloads of the recording did not hear of the other decisions. A backlog that a
//! wider bound would have worked off is still there, and `Current` is the count that really stood. What is shown is
//! therefore what would have been decided in that situation, moment for moment, and not what would have come of it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::codec::{Entry, Outcome, Said};
use super::reader::Header;
use super::replay::{Given, into_event};
use crate::engine::{Effect, Engine, Event, Role};
use crate::model::{AutoscalerId, Decision, Key, Replicas, Sample, Tick};
use crate::spec::AutoscalerSpec;

/// An engine under other manifests, beside the one that replays.
pub struct Changes {
    specs: HashMap<AutoscalerId, Arc<AutoscalerSpec>>,
    engine: Engine,
    effects: Vec<Effect>,
    watched: HashMap<Key, Watched>,
    changed: BTreeMap<AutoscalerId, Changed>,
}

/// One autoscaler as long as it has its key.
struct Watched {
    id: AutoscalerId,
    /// Where each trigger of the recorded spec stands in the changed one.
    triggers: Vec<Option<u16>>,
    /// The last moment, and what was wanted from then on: recorded and changed.
    last: Option<(Tick, Replicas, Replicas)>,
}

/// What became of one autoscaler's decisions.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    pub decisions: u64,
    /// Decisions that want another number of replicas.
    pub differing: u64,
    pub first: Option<FirstDifference>,
    /// Replicas wanted, times how long, in seconds.
    pub recorded_replica_seconds: f64,
    pub changed_replica_seconds: f64,
    /// The lowest and the highest that were wanted.
    pub recorded_range: Option<(Replicas, Replicas)>,
    pub changed_range: Option<(Replicas, Replicas)>,
    /// What the recording cannot tell.
    pub notes: BTreeSet<String>,
}

/// The first decision that wants another number.
#[derive(Clone, Debug)]
pub struct FirstDifference {
    /// Since the epoch.
    pub at: Duration,
    pub recorded: Arc<Said>,
    pub changed: Decision,
}

impl Changed {
    /// Of its decisions, those that differ: 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        if self.decisions == 0 { 0.0 } else { self.differing as f64 / self.decisions as f64 }
    }
}

impl Changes {
    /// Those in `specs` stand in for the recorded ones of their names; all others stay as they were.
    #[must_use]
    pub fn new(specs: &[Arc<AutoscalerSpec>]) -> Self {
        Changes {
            specs: specs.iter().map(|spec| (spec.id.clone(), Arc::clone(spec))).collect(),
            engine: Engine::new(),
            effects: Vec::new(),
            watched: HashMap::new(),
            changed: BTreeMap::new(),
        }
    }

    /// By name, as far as they were in the recording.
    #[must_use]
    pub fn changed(&self) -> &BTreeMap<AutoscalerId, Changed> {
        &self.changed
    }

    /// Manifests whose name the recording does not have.
    #[must_use]
    pub fn not_recorded(&self) -> BTreeSet<&AutoscalerId> {
        self.specs.keys().filter(|id| !self.changed.contains_key(id)).collect()
    }

    pub(super) fn begin_anew(&mut self) {
        self.engine = Engine::new();
        self.watched.clear();
    }

    pub(super) fn take(
        &mut self,
        header: &Header,
        now: Tick,
        key: Key,
        entry: &Entry,
        spec: Option<&Arc<AutoscalerSpec>>,
        outcome: Option<&Outcome>,
    ) -> Result<(), String> {
        if let Some(recorded) = spec {
            let Some(changed) = self.specs.get(&recorded.id).cloned() else {
                self.watched.remove(&key);
                return Ok(());
            };
            self.watch(key, recorded, &changed);
            match entry {
                // It goes on from how it stood, under the manifests of now.
                Entry::Snapshot { state, .. } if self.engine.spec(key).is_none() => {
                    let unreadable = |_| "a snapshot cannot be read".to_owned();
                    self.engine.reinstate(key, recorded, state).map_err(unreadable)?;
                    let role = self.engine.role(key).unwrap_or(Role::Advises);
                    self.handle(now, key, Event::Spec { role: role_under(&changed, role), spec: changed });
                }
                Entry::Spec { role, .. } => {
                    self.handle(now, key, Event::Spec { role: role_under(&changed, *role), spec: changed });
                }
                _ => {}
            }
        } else if let Some(watched) = self.watched.get(&key) {
            let place = |trigger: u16| watched.triggers.get(usize::from(trigger)).copied().flatten();
            match into_event(entry.clone(), None) {
                Given::Event(Event::Sample { trigger, round, taken, value }) => {
                    let event = place(trigger).map_or(Event::Evaluate, |trigger| Event::Sample {
                        trigger,
                        round,
                        taken,
                        value,
                    });
                    self.handle(now, key, event);
                }
                Given::Observed { trigger, round, taken, value } => {
                    if let Some(trigger) = place(trigger) {
                        self.engine.observe(Sample { key, trigger, asked: taken, round, taken, value });
                    }
                }
                Given::Event(Event::Role { role }) => {
                    let role = self.engine.spec(key).map_or(role, |spec| role_under(spec, role));
                    self.handle(now, key, Event::Role { role });
                }
                Given::Event(event) => self.handle(now, key, event),
                Given::Restored { memory, elapsed, complete } => {
                    self.engine.restore(now, key, &memory, elapsed, complete);
                }
                Given::Nothing => {}
            }
        }
        if let Some(outcome) = outcome {
            self.compare(header, now, key, outcome);
        }
        if matches!(entry, Entry::Gone) {
            self.watched.remove(&key);
        }
        Ok(())
    }

    fn watch(&mut self, key: Key, recorded: &AutoscalerSpec, changed: &AutoscalerSpec) {
        let place = |name: &str| changed.triggers.iter().position(|trigger| *trigger.name == *name);
        let triggers = recorded.triggers.iter().map(|trigger| {
            let place = place(&trigger.name)?;
            u16::try_from(place).ok()
        });
        let triggers = triggers.collect();
        let notes = &mut self.changed.entry(recorded.id.clone()).or_default().notes;
        for trigger in &changed.triggers {
            let name = &trigger.name;
            let note = match recorded.triggers.iter().find(|recorded| recorded.name == *name) {
                None => "is not in the recording: it counts as never read, and nothing is scaled down on that",
                Some(recorded) if recorded.source != trigger.source || recorded.in_flight != trigger.in_flight => {
                    "reads something else than in the recording: what was read then stands in for it"
                }
                Some(_) => continue,
            };
            notes.insert(format!("trigger {name} {note}"));
        }
        let last = self.watched.remove(&key).filter(|watched| watched.id == recorded.id).and_then(|w| w.last);
        self.watched.insert(key, Watched { id: recorded.id.clone(), triggers, last });
    }

    fn handle(&mut self, now: Tick, key: Key, event: Event) {
        self.effects.clear();
        self.engine.handle(now, key, event, &mut self.effects);
    }

    fn compare(&mut self, header: &Header, now: Tick, key: Key, outcome: &Outcome) {
        let Some(watched) = self.watched.get_mut(&key) else { return };
        let (Some(decision), Some(changed)) = (self.engine.decision(key), self.changed.get_mut(&watched.id)) else {
            return;
        };
        let (before, after) = (outcome.said.desired, decision.desired);
        if let Some((since, before, after)) = watched.last.replace((now, before, after)) {
            let seconds = now.since(since).as_secs_f64();
            changed.recorded_replica_seconds += f64::from(before) * seconds;
            changed.changed_replica_seconds += f64::from(after) * seconds;
        }
        changed.decisions += 1;
        let wider = |range: Option<(Replicas, Replicas)>, desired: Replicas| {
            Some(range.map_or((desired, desired), |(low, high)| (low.min(desired), high.max(desired))))
        };
        changed.recorded_range = wider(changed.recorded_range, before);
        changed.changed_range = wider(changed.changed_range, after);
        if before != after {
            changed.differing += 1;
            changed.first.get_or_insert_with(|| FirstDifference {
                at: header.wall(now),
                recorded: Arc::clone(&outcome.said),
                changed: decision.clone(),
            });
        }
    }
}

/// Who is not to be acted on, or names no workload, gets advice. Who acted otherwise is not for a manifest to say.
fn role_under(spec: &AutoscalerSpec, recorded: Role) -> Role {
    if spec.dry_run || spec.target.is_none() { Role::Advises } else { recorded }
}
