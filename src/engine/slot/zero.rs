//! Whose zero it is: asleep, or stopped by somebody who means it.
//!
//! A workload at zero is woken by work, unless somebody else has put it there: then it stays, with
//! [`crate::model::Reason::ManuallyStopped`], until it is raised by hand or `force-activation` says so. The rule, where
//! the target knows who set the count (Kubernetes does, together with the count):
//!
//! * A zero that tidegate set (this process, another, or an earlier run) is sleep, always.
//! * A zero of somebody else that comes while it is watched is a stop. That includes the one that comes while a request
//!   of ours for zero is under way (whoever was first is named), and our own zero that turns out to be somebody else's:
//!   it was raised and stopped again between two looks.
//! * A zero of somebody else at first sight has no history: whoever created the workload with no replicas and whoever
//!   stopped it look the same. Where it may rest at zero (`minReplicas` or `idleReplicaCount` of 0, or paused there) it
//!   sleeps, elsewhere it was stopped. A memory of before a restart is a history: what was stopped then still is, and
//!   what stood above zero, or at a zero of ours, has been stopped since. What slept at somebody's zero sleeps on.
//! * Whoever has only given advice saw an owner's zeros, which are nobody's wish. As soon as it is to act, it judges the
//!   zero that it then finds as at first sight.
//!
//! Where the target does not know, a zero is ours if it was asked for and nothing else has been applied since. A process
//! that follows takes it for the leader's: it would rather wake a workload than leave one asleep for ever.

use crate::engine::Role;
use crate::engine::bytes::{Reader, Writer};
use crate::model::{Replicas, SetBy};

#[derive(Clone, Copy, Debug)]
pub(super) struct Zero {
    /// It stands at zero, and we made it so.
    pub(super) ours: bool,
    /// It stands at zero, and somebody else means it.
    pub(super) stopped: bool,
    /// Zero was asked for and nothing else has been applied since: a zero that is seen now may be that one.
    asked: bool,
    /// Who set the count that stands, by the last news of it.
    by: SetBy,
    /// What a memory says of the count before this process saw it.
    before: Option<Replicas>,
}

impl Zero {
    pub(super) fn new() -> Self {
        Zero { ours: false, stopped: false, asked: false, by: SetBy::Unknown, before: None }
    }

    /// The first sight of the workload. `rests`: zero is where it may rest.
    pub(super) fn found(&mut self, replicas: Replicas, set_by: SetBy, rests: bool) {
        let before = self.before.take();
        self.by = set_by;
        match set_by {
            _ if replicas != 0 => (self.ours, self.stopped) = (false, false),
            SetBy::Tidegate => (self.ours, self.stopped) = (true, false),
            SetBy::Other => {
                self.stopped |= !rests || self.ours || before.is_some_and(|before| before > 0);
                self.ours = false;
            }
            SetBy::Unknown => self.stopped |= !rests && !self.ours,
        }
    }

    /// Seen again.
    pub(super) fn seen(&mut self, before: Replicas, replicas: Replicas, set_by: SetBy, role: Role) {
        self.by = set_by;
        let moved = before != replicas;
        match set_by {
            SetBy::Unknown if !moved => {}
            _ if replicas != 0 => (self.ours, self.stopped) = (false, false),
            SetBy::Tidegate => (self.ours, self.stopped) = (true, false),
            SetBy::Other => {
                self.stopped |= moved || self.ours;
                self.ours = false;
            }
            SetBy::Unknown => {
                self.ours |= role == Role::Follows;
                self.stopped = !self.ours && !self.asked;
            }
        }
    }

    pub(super) fn asked(&mut self) {
        self.asked = true;
    }

    /// What was asked for was refused: a zero that comes now is not this one.
    pub(super) fn refused(&mut self, to: Replicas) {
        self.asked &= to != 0;
    }

    /// What was asked for was done, whether or not it still stands.
    pub(super) fn done(&mut self, to: Replicas) {
        self.asked &= to == 0;
    }

    /// What was asked for was done and stands. `told`: the count was seen first.
    pub(super) fn stands(&mut self, to: Replicas, told: bool) {
        // The target says "done" also where somebody else had done it already, and only the news says who.
        if !told || self.by == SetBy::Unknown {
            *self = Zero { ours: to == 0, stopped: false, by: SetBy::Tidegate, ..*self };
        }
    }

    /// Another role.
    pub(super) fn takes(&mut self, before: Role, role: Role, current: Option<Replicas>, rests: bool) {
        if before == role {
            return;
        }
        self.asked = false;
        if role == Role::Advises {
            self.stopped = false;
        } else if before == Role::Advises {
            self.stopped = current == Some(0) && !self.ours && !rests;
        }
    }

    /// All of it.
    pub(super) fn save(self, out: &mut Writer) {
        let Zero { ours, stopped, asked, by, before } = self;
        out.flags([ours, stopped, asked]);
        out.set_by(by);
        out.optional(before, Writer::signed);
    }

    pub(super) fn load(input: &mut Reader<'_>) -> Option<Self> {
        let [ours, stopped, asked] = input.flags()?;
        Some(Zero { ours, stopped, asked, by: input.set_by()?, before: input.optional(Reader::signed)? })
    }

    /// Takes over what a memory says. `current`: as seen by this process; `before`: as the memory has it.
    pub(super) fn restore(&mut self, memory: Zero, current: Option<Replicas>, rests: bool) {
        let Zero { ours, stopped, before, .. } = memory;
        *self = Zero { ours, stopped, before, ..*self };
        if let Some(current) = current {
            self.found(current, self.by, rests);
        }
    }

    /// What a memory says.
    pub(super) fn remembered(ours: bool, stopped: bool, before: Option<Replicas>) -> Self {
        Zero { ours, stopped, before, ..Zero::new() }
    }
}
