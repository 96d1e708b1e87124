//! What is worth writing down between two checkpoints, so that whoever starts from it is never below the process that
//! wrote it, had that gone on; and what need not be written because it says nothing new.
//!
//! A checkpoint is always incomplete: something may have happened after it. Whoever restores from one
//! ([`crate::engine::Engine::restore`]) therefore holds the count that it finds for one scale-down window, takes the
//! workload for active until it has heard every trigger, lets nothing but the wish limit a way up and allows no way down
//! until every change that it cannot know of has left its rate limit's period. What remains to be written is what that
//! does not cover:
//!
//! * **Wishes above the count that will be found**, in the scale-down window: they matter once somebody raises the count.
//!   Moments are rounded up to a thirty-second of the window (at least a second), and what falls between two keeps the
//!   highest wish: it may hold longer and higher, never shorter or lower. The last wish, and whatever was wished in the
//!   last [`YOUNG`], counts as wished until the moment of the restart, whenever that is. So a window of an hour, sampled
//!   every 50 ms, is at most 33 entries, and an autoscaler that wishes the same again and again, or swings within the
//!   same few, writes the same again and again.
//! * **Whose zero it is**, and the count, which tells a zero that came since from one that was there.
//! * **What is left of a cooldown that began with the autoscaler** or with the process, as a moment.
//!
//! The scale-up window is left out (what is missing from it could only have held a way up back), and so are the changes
//! that rate limits count: one that is not known to be the last is worth nothing, and none is looked at before all that
//! could be in here have left their periods. Samples are left out because later ones may have been higher.
//!
//! Everything is a moment here, rounded the same way each time. An autoscaler whose present envelope is the one that was
//! written, less what has expired since, needs no write: what was written still is what would be written.

use std::time::Duration;

use super::behavior::GovernorMemory;
use super::memory::Memory;
use crate::model::{Replicas, Tick};

/// Wishes younger than this count as still wished. As long as the longest pause between two checkpoints: what comes back
/// more often than that is there at every checkpoint, and is written once.
pub(super) const YOUNG: Duration = Duration::from_secs(30);

/// Parts of a window that moments are rounded up to.
const PARTS: u32 = 32;

/// One autoscaler's memory as it would be written into a checkpoint. Its moments are this process's.
#[derive(Clone, PartialEq, Debug)]
pub struct Envelope {
    pub(super) wishes: Wishes,
    pub(super) hold_until: Tick,
    pub(super) zero_is_ours: bool,
    pub(super) stopped: bool,
    pub(super) current: Replicas,
}

/// A scale-down window, coalesced.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Wishes {
    /// Wished until whoever restores from this looks at it.
    pub(super) open: Option<Replicas>,
    /// What was higher before, with the moment of it, rounded up; oldest first.
    pub(super) closed: Vec<(Tick, Replicas)>,
    /// Of the window.
    pub(super) length: Duration,
}

impl Envelope {
    /// In ages, as it crosses into another process.
    #[must_use]
    pub fn memory(&self, now: Tick) -> Memory {
        let closed = self.wishes.closed.iter().filter(|(at, _)| self.counts(*at, now));
        Memory {
            governor: GovernorMemory {
                highest: closed.map(|&(at, value)| (now.since(at), value)).collect(),
                open: self.wishes.open,
                ..GovernorMemory::default()
            },
            active: true,
            last_active: None,
            hold_for: self.hold_until.since(now),
            zero_is_ours: self.zero_is_ours,
            stopped: self.stopped,
            blind: true,
            current: Some(self.current),
            values: Vec::new(),
        }
    }

    /// Whether this one, written before, says at `now` what `present` says.
    #[must_use]
    pub fn still_says(&self, present: &Envelope, now: Tick) -> bool {
        let (written, seen) = (&self.wishes, &present.wishes);
        let counts = |(at, _): &&(Tick, Replicas)| now.since(*at) < written.length;
        // Rounded up it outlives what it was made of by up to one part.
        let counts_long = |(at, _): &&(Tick, Replicas)| now.since(*at) + self.wishes.part() < written.length;
        self.current == present.current
            && self.zero_is_ours == present.zero_is_ours
            && self.stopped == present.stopped
            && written.open == seen.open
            && self.hold_until.max(now) == present.hold_until.max(now)
            && seen.closed.iter().filter(counts).all(|wish| written.closed.contains(wish))
            && written.closed.iter().filter(counts_long).all(|wish| seen.closed.contains(wish))
    }

    fn counts(&self, at: Tick, now: Tick) -> bool {
        now.since(at) <= self.wishes.length
    }
}

impl Wishes {
    /// What moments are rounded up to.
    pub(super) fn part(&self) -> Duration {
        (self.length / PARTS).max(Duration::from_secs(1))
    }
}
