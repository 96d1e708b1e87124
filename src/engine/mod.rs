//! WHEN and HOW MANY: events in, decisions and effects out.
//!
//! Pure, synchronous and deterministic: time is an argument, there is no I/O, no randomness, no logging, and no
//! allocation on the steady path. The same engine runs live and in the simulator, and the same events give the same
//! decisions, byte for byte.
//!
//! One evaluation goes through the stages of [`crate::model::Stage`] in order, and leaves a line for each in the
//! decision: **observe** what each trigger's last word is worth, **want** the highest that any trigger asks for,
//! **activation** (zero or not), **stabilization**, **rate limit**, **bounds**, **pause**. Two baselines live next
//! to it and share nothing with it: [`hpa`], the HPA controller itself, and [`keda`], KEDA's executor.

mod activation;
pub mod behavior;
pub mod bytes;
mod envelope;
pub mod hpa;
pub mod invariants;
pub mod keda;
mod memory;
mod observe;
pub mod policy;
pub mod ratelimit;
mod slot;
mod trail;
pub mod window;
pub mod words;

use std::sync::Arc;
use std::time::Duration;

use self::bytes::{Reader, Writer};
pub use self::envelope::Envelope;
pub use self::memory::{Memory, MemoryError};
use self::slot::Slot;
use crate::model::{Decision, Key, Observation, ReadFailure, Reason, Replicas, Round, Sample, SetBy, Tick};
use crate::spec::AutoscalerSpec;

/// Something that happened to one autoscaler.
#[derive(Clone, Debug)]
pub enum Event {
    /// It exists now, or has a new spec. Memory is kept over a change of spec.
    Spec { spec: Arc<AutoscalerSpec>, role: Role },
    /// It is read only this often, because its namespace is held back; `None`: as often as its spec says.
    Pace { interval: Option<Duration> },
    /// It is gone.
    Gone,
    /// A trigger was read. A failed read is data.
    Sample { trigger: u16, round: Round, taken: Tick, value: Result<Observation, ReadFailure> },
    /// The workload's scale as seen. `another`: of another object than before.
    Current { replicas: Replicas, set_by: SetBy, another: bool },
    /// Who carries its decisions out, from now on.
    Role { role: Role },
    /// A scale effect came to its end.
    Applied { from: Replicas, to: Replicas, succeeded: bool },
    /// Nothing but time.
    Evaluate,
}

/// Whether this engine's decisions are carried out by its own effects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Effects scale the workload; a zero that tidegate did not make is somebody's wish and respected.
    Controls,
    /// Nobody carries decisions out, or somebody with ways of its own does (KEDA and the HPA), and makes zeros of its own.
    Advises,
    /// Another process, which decides as this one does, carries them out; this one may have to take over at any time.
    /// It decides as if it controlled, and takes what it sees happen to the workload (unless it is known to be somebody
    /// else's doing) for what its own decisions did.
    Follows,
}

/// What the outside is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Scale the workload. A later effect for the same key replaces this one.
    Scale { key: Key, from: Replicas, to: Replicas },
    /// Who asked for a scaling does not act any more, or is gone: what still waits is not to be done.
    Withdraw { key: Key },
    /// [`Engine::decision`] has something new.
    Publish { key: Key },
}

/// Everybody's state. Owned by one task.
#[derive(Default)]
pub struct Engine {
    slots: Vec<Option<Slot>>,
}

impl Engine {
    #[must_use]
    pub fn new() -> Self {
        Engine::default()
    }

    /// Takes in one event at `now` (which never goes backwards), appends what follows to `effects`, and says when
    /// to come back with [`Event::Evaluate`] if nothing else happens before.
    pub fn handle(&mut self, now: Tick, key: Key, event: Event, effects: &mut Vec<Effect>) -> Tick {
        if let Event::Spec { spec, role } = event {
            if self.slots.len() <= key.index() {
                self.slots.resize_with(key.index() + 1, || None);
            }
            let Some(place) = self.slots.get_mut(key.index()) else { return Tick::NEVER };
            if let Some(slot) = place {
                slot.respec(now, spec, role);
                return slot.evaluate(now, key, effects);
            }
            return place.insert(Slot::new(now, spec, role)).evaluate(now, key, effects);
        }
        let Some(place) = self.slots.get_mut(key.index()) else { return Tick::NEVER };
        let Some(slot) = place else { return Tick::NEVER };
        match event {
            Event::Gone => {
                slot.gone(key, effects);
                *place = None;
                return Tick::NEVER;
            }
            Event::Sample { trigger, round, taken, value } => slot.sampled(trigger, round, taken, value),
            Event::Current { replicas, set_by, another } => {
                if another {
                    slot.leaves();
                }
                slot.seen(now, replicas, set_by);
            }
            Event::Role { role } => slot.takes(role),
            Event::Applied { from, to, succeeded } => slot.applied(now, from, to, succeeded),
            Event::Pace { interval } => slot.paced(interval),
            Event::Evaluate | Event::Spec { .. } => {}
        }
        slot.evaluate(now, key, effects)
    }

    /// Takes in a sample without deciding anything: one of several that were read together, the last of which goes
    /// through [`Engine::handle`].
    pub fn observe(&mut self, sample: Sample) {
        let Sample { key, trigger, round, taken, value, .. } = sample;
        if let Some(Some(slot)) = self.slots.get_mut(key.index()) {
            slot.sampled(trigger, round, taken, value);
        }
    }

    /// The last decision.
    #[must_use]
    pub fn decision(&self, key: Key) -> Option<&Decision> {
        self.slot(key).map(Slot::decision)
    }

    /// What to write down so that another process can go on.
    #[must_use]
    pub fn memory(&self, now: Tick, key: Key) -> Option<Memory> {
        self.slot(key).map(|slot| slot.memory(now))
    }

    /// What to write down into a checkpoint, which others will have to take for incomplete. `None` for who has not seen
    /// its workload yet.
    #[must_use]
    pub fn envelope(&self, now: Tick, key: Key) -> Option<Envelope> {
        self.slot(key).and_then(|slot| slot.envelope(now))
    }

    /// Takes over what was written down `elapsed` ago. `complete`: nothing was decided since (a hand-over); the
    /// answer is then what the other process's would have been. Otherwise the memory is an envelope: never lower,
    /// and equal once everything that may be missing would have been forgotten anyway. After [`Event::Spec`] (what
    /// has no spec remembers nothing) and best before the first [`Event::Current`], which then tells what is newer.
    pub fn restore(&mut self, now: Tick, key: Key, memory: &Memory, elapsed: Duration, complete: bool) {
        if let Some(Some(slot)) = self.slots.get_mut(key.index()) {
            slot.restore(now, memory, elapsed, complete);
        }
    }

    /// The spec in force.
    #[must_use]
    pub fn spec(&self, key: Key) -> Option<&Arc<AutoscalerSpec>> {
        self.slot(key).map(Slot::spec)
    }

    /// Who carries its decisions out.
    #[must_use]
    pub fn role(&self, key: Key) -> Option<Role> {
        self.slot(key).map(Slot::role)
    }

    /// Appends one autoscaler's whole state, exactly, as long as it is there; see [`Engine::reinstate`].
    pub fn snapshot(&self, key: Key, out: &mut Writer) {
        if let Some(slot) = self.slot(key) {
            slot.save(out);
        }
    }

    /// Puts an autoscaler where it stood when [`Engine::snapshot`] was taken, in place of whoever is there: it then decides
    /// as that one did. `spec` is the one that was in force.
    ///
    /// # Errors
    /// Bytes that are no snapshot, or of another spec; nothing has changed then.
    pub fn reinstate(&mut self, key: Key, spec: &Arc<AutoscalerSpec>, snapshot: &[u8]) -> Result<(), MemoryError> {
        let mut input = Reader(snapshot);
        let slot = Slot::load(spec, &mut input).filter(|_| input.0.is_empty()).ok_or(MemoryError::Malformed)?;
        if self.slots.len() <= key.index() {
            self.slots.resize_with(key.index() + 1, || None);
        }
        if let Some(place) = self.slots.get_mut(key.index()) {
            *place = Some(slot);
        }
        Ok(())
    }

    fn slot(&self, key: Key) -> Option<&Slot> {
        self.slots.get(key.index()).and_then(Option::as_ref)
    }
}

/// The reason for wanting `to` when standing at `from`.
fn direction(to: Replicas, from: Replicas) -> Reason {
    match to.cmp(&from) {
        std::cmp::Ordering::Greater => Reason::AboveTarget,
        std::cmp::Ordering::Less => Reason::BelowTarget,
        std::cmp::Ordering::Equal => Reason::DesiredWithinRange,
    }
}
