//! What crosses from one process to the next: compact, versioned, in ages instead of moments.
//!
//! A tick means nothing in another process, so everything is an age, and the reader says how long ago it was
//! written. The format is a version byte and then variable-length integers; a version that is not known is an error
//! and not a guess.

use std::time::Duration;

use super::behavior::GovernorMemory;
use super::bytes::{Reader, Writer};
use super::ratelimit::RememberedChange;
use crate::model::{Measure, Observation, Replicas};

/// First byte of every memory. Raise it when the layout changes, and keep reading the old ones: 2 has `open`, 3 has more
/// of an observation than its backlog, 4 has partitions.
const VERSION: u8 = 4;
const WITHOUT_PARTITIONS: u8 = 3;
const BACKLOG_ONLY: u8 = 2;
const WITHOUT_OPEN: u8 = 1;

/// Everything that one autoscaler remembers.
#[derive(Clone, PartialEq, Debug)]
pub struct Memory {
    pub(super) governor: GovernorMemory,
    /// Active when this was written.
    pub(super) active: bool,
    /// Age of the last activity.
    pub(super) last_active: Option<Duration>,
    /// What is left of the initial cooldown.
    pub(super) hold_for: Duration,
    pub(super) zero_is_ours: bool,
    pub(super) stopped: bool,
    pub(super) blind: bool,
    pub(super) current: Option<Replicas>,
    /// Each trigger's last good value with its age, as far as decisions go by it, and how much
    /// has been in flight for some time.
    pub(super) values: Vec<Option<(Duration, Observation, Measure)>>,
}

/// Bytes that are not a memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("memory version {0} is not one this release reads (it reads up to {VERSION}); start without it")]
    Version(u8),
    #[error("memory ends in the middle of a value, or holds one out of range; start without it")]
    Malformed,
}

impl Memory {
    /// A few bytes for each thing remembered.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(vec![VERSION]);
        for window in [&self.governor.lowest, &self.governor.highest] {
            out.number(window.len() as u64);
            for &(age, value) in window {
                out.duration(age);
                out.signed(value);
            }
        }
        for changes in [&self.governor.ups, &self.governor.downs] {
            out.number(changes.len() as u64);
            for change in changes {
                out.duration(change.age);
                out.signed(change.change);
                out.number(u64::from(change.slot));
            }
        }
        out.optional(self.governor.open, Writer::signed);
        out.optional(self.last_active, Writer::duration);
        out.duration(self.hold_for);
        let flags = [self.zero_is_ours, self.stopped, self.blind, self.active];
        out.number(flags.iter().rev().fold(0, |bits, &flag| bits << 1 | u64::from(flag)));
        out.optional(self.current, Writer::signed);
        out.number(self.values.len() as u64);
        for &value in &self.values {
            out.optional(value, |out, (age, seen, usual)| {
                out.duration(age);
                out.float(seen.backlog);
                out.optional(seen.in_flight.get(), Writer::float);
                out.optional(seen.limit.get(), Writer::float);
                out.number(u64::from(seen.paused) | u64::from(seen.rebalancing) << 1);
                out.optional(seen.partitions.get(), Writer::float);
                out.optional(usual.get(), Writer::float);
            });
        }
        out.0
    }

    /// Reads what [`Memory::to_bytes`] wrote.
    ///
    /// # Errors
    /// An unknown version, or bytes that are not a memory.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MemoryError> {
        let (&version, rest) = bytes.split_first().ok_or(MemoryError::Malformed)?;
        if !(WITHOUT_OPEN..=VERSION).contains(&version) {
            return Err(MemoryError::Version(version));
        }
        let mut input = Reader(rest);
        let memory = input.memory(version).ok_or(MemoryError::Malformed)?;
        if input.0.is_empty() { Ok(memory) } else { Err(MemoryError::Malformed) }
    }

    /// The same memory, `elapsed` later.
    #[must_use]
    pub fn aged(&self, elapsed: Duration) -> Memory {
        let mut aged = self.clone();
        let windows = aged.governor.lowest.iter_mut().chain(&mut aged.governor.highest);
        windows.for_each(|(age, _)| *age = age.saturating_add(elapsed));
        let changes = aged.governor.ups.iter_mut().chain(&mut aged.governor.downs);
        changes.for_each(|change| change.age = change.age.saturating_add(elapsed));
        aged.last_active = aged.last_active.map(|age| age.saturating_add(elapsed));
        aged.hold_for = aged.hold_for.saturating_sub(elapsed);
        aged.values.iter_mut().flatten().for_each(|(age, ..)| *age = age.saturating_add(elapsed));
        aged
    }
}

impl Reader<'_> {
    fn memory(&mut self, version: u8) -> Option<Memory> {
        let window = |input: &mut Self| Some((input.duration()?, input.signed()?));
        let change = |input: &mut Self| {
            Some(RememberedChange { age: input.duration()?, change: input.signed()?, slot: input.slot()? })
        };
        let governor = GovernorMemory {
            lowest: self.many(window)?,
            highest: self.many(window)?,
            ups: self.many(change)?,
            downs: self.many(change)?,
            open: if version == WITHOUT_OPEN { None } else { self.optional(Self::signed)? },
        };
        let last_active = self.optional(Self::duration)?;
        let hold_for = self.duration()?;
        let flags = self.number().filter(|flags| *flags < 1 << 4)?;
        let current = self.optional(Self::signed)?;
        let value = |input: &mut Self| {
            let (age, seen) = (input.duration()?, input.remembered(version)?);
            let usual = if version <= BACKLOG_ONLY { Measure::UNKNOWN } else { input.measure()? };
            Some((age, seen, usual))
        };
        let values = self.many(|input| input.optional(value))?;
        let [zero_is_ours, stopped, blind, active] = [1, 2, 4, 8].map(|flag| flags & flag != 0);
        Some(Memory { governor, active, last_active, hold_for, zero_is_ours, stopped, blind, current, values })
    }

    fn remembered(&mut self, version: u8) -> Option<Observation> {
        let seen = Observation::of_backlog(self.float()?);
        if version <= BACKLOG_ONLY {
            return Some(seen);
        }
        let (in_flight, limit) = (self.measure()?, self.measure()?);
        let old = version <= WITHOUT_PARTITIONS;
        let flags = self.number().filter(|flags| *flags <= if old { 1 } else { 3 })?;
        let partitions = if old { Measure::UNKNOWN } else { self.measure()? };
        let (paused, rebalancing) = (flags & 1 != 0, flags & 2 != 0);
        Some(Observation { in_flight, limit, paused, rebalancing, partitions, ..seen })
    }
}
