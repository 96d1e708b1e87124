//! Secrets and certificates that change under a link: a second link is opened with the new ones beside the one in use,
//! and takes its place between two rounds. No round waits for that, none fails, none is skipped. (What the task has to
//! do with links is in `task/renewing.rs`.)
//!
//! Every few seconds, while a link is up, somebody looks whether it would be made of something else now; and at once
//! when a Secret of the cluster changes, because of those we are told. If so, a new one is opened. Should that fail (half of a rotation is written; the server does not know the new password yet; the
//! new user has no rights), the old one stays in use for as long as it lives, a warning says why, and it is tried again:
//! at once when what is there changes again, else with growing pauses. What was written back as it was needs no new
//! link.
//!
//! There is at most one look or attempt under way for each connection, however long it takes: a mount that hangs holds
//! up nobody but itself. A link that is lost ends them, because the connect that follows reads everything anyway.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::meters::RenewalMeters;
use super::task::sleep_until;
use crate::clock::Clock;
use crate::model::{ReadFailure, Tick};
use crate::source::{Backend, Material};

/// Between two looks, at most. A kubelet brings a changed Secret within a minute or two, whoever rotates leaves at
/// least that long until the old one is void, and a look costs a few file reads in another thread.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Between two attempts with the same material, at most, in looks: a minute. Each may be a failed login in somebody's
/// audit log.
const LONGEST_PAUSE: u32 = 12;

/// Looks after the material of one link at a time.
pub(super) struct Renewal<L> {
    every: Duration,
    /// Of [`Renewal::every`], which share is left out before the first look: connections that were opened together do
    /// not all look at the same moment.
    spread: f64,
    next: Tick,
    /// Something changed while a look was under way, which may have been too early to see it.
    again: bool,
    work: Option<Work<L>>,
    /// The link in use before, while the one in use now is on trial.
    previous: Option<L>,
    /// What the link in use was made of.
    used: Option<Material>,
    refused: Option<Refused>,
    meters: RenewalMeters,
}

type Work<L> = Pin<Box<dyn Future<Output = Outcome<L>> + Send>>;

/// New material with which no link could be opened.
struct Refused {
    material: Material,
    reason: Arc<str>,
    attempts: u32,
    again: Tick,
}

/// What became of a look.
pub(super) enum Outcome<L> {
    /// Nothing has changed, or nothing that has not been tried already.
    AsBefore,
    /// What was refused is gone, and what is there is what the link in use was made of.
    Restored,
    Opened(L),
    Failed(Material, ReadFailure),
}

/// What happens next.
pub(super) enum Due<L> {
    Look,
    Outcome(Outcome<L>),
}

/// What the task has to say about a failure.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Failed {
    New,
    /// It has been said.
    Again,
}

impl<L> Renewal<L> {
    /// `spread`: from 0 to 1, another for each connection.
    pub(super) fn new(connection: &Arc<str>, every: Duration, spread: f64) -> Self {
        Renewal {
            every,
            spread: spread.clamp(0.0, 1.0),
            next: Tick::NEVER,
            again: false,
            work: None,
            previous: None,
            used: None,
            refused: None,
            meters: RenewalMeters::new(connection),
        }
    }

    /// A link is in use from now on.
    pub(super) fn watch(&mut self, used: Option<Material>, now: Tick) {
        self.work = None;
        self.again = false;
        self.previous = None;
        self.refused = None;
        self.used = used;
        if used.is_some() {
            self.meters.begin();
        }
        self.next = if used.is_some() { now.after(self.every.mul_f64(1.0 - self.spread / 2.0)) } else { Tick::NEVER };
    }

    /// No link is in use.
    pub(super) fn stop(&mut self) {
        self.watch(None, Tick::ZERO);
    }

    /// Waits for what happens next. May be dropped and called again.
    pub(super) async fn due(&mut self, clock: Clock) -> Due<L> {
        match &mut self.work {
            Some(work) => {
                let outcome = work.await;
                self.work = None;
                Due::Outcome(outcome)
            }
            None => {
                sleep_until(clock, self.next).await;
                Due::Look
            }
        }
    }

    /// Begins a look, and an attempt should there be something new.
    pub(super) fn look<B: Backend<Link = L>>(&mut self, backend: &B, now: Tick)
    where
        L: 'static,
    {
        let (look, connect) = (backend.look(), backend.connect());
        let used = self.used;
        let refused = self.refused.as_ref().map(|refused| refused.material).filter(|refused| Some(*refused) != used);
        let known = self.refused.as_ref().filter(|refused| now < refused.again).map(|refused| refused.material);
        self.next = Tick::NEVER;
        self.work = Some(Box::pin(async move {
            let Some(material) = look.await else { return Outcome::AsBefore };
            if Some(material) == used {
                return if refused.is_some() { Outcome::Restored } else { Outcome::AsBefore };
            }
            if Some(material) == known {
                return Outcome::AsBefore;
            }
            match connect.await {
                Ok(link) => Outcome::Opened(link),
                Err(failure) => Outcome::Failed(material, failure),
            }
        }));
    }

    /// A look has ended.
    pub(super) fn rest(&mut self, now: Tick) {
        self.next = if std::mem::take(&mut self.again) { now } else { now.after(self.every) };
    }

    /// There may be something to see: looks now instead of at the next time.
    pub(super) fn hasten(&mut self) {
        match (&self.work, self.used) {
            (Some(_), _) => self.again = true,
            (None, Some(_)) => self.next = Tick::ZERO,
            (None, None) => {}
        }
    }

    /// What was refused is gone.
    pub(super) fn restored(&mut self) {
        self.refused = None;
    }

    /// A link made of `material` is in use instead of `previous`, until its first round has shown what it can do.
    pub(super) fn begin_trial(&mut self, previous: L, material: Option<Material>) {
        // Two changes before a round: the one between has never served.
        self.previous.get_or_insert(previous);
        self.used = material;
    }

    /// The link to go back to, if the one in use is on trial.
    pub(super) fn take_previous(&mut self) -> Option<L> {
        self.previous.take()
    }

    /// The new link has stood its trial.
    pub(super) fn succeeded(&mut self) {
        self.refused = None;
        self.meters.renewed(true);
    }

    /// The link before, made of `material`, is in use again.
    pub(super) fn went_back(&mut self, material: Option<Material>) {
        self.used = material;
    }

    /// No link could be opened with `material`, or one that is worth less than the one in use.
    pub(super) fn failed(&mut self, material: Material, reason: &Arc<str>, now: Tick) -> Failed {
        self.meters.renewed(false);
        let before = self.refused.take();
        let known = before.as_ref().is_some_and(|before| before.reason == *reason);
        let attempts = before.filter(|before| before.material == material).map_or(0, |before| before.attempts) + 1;
        // 2^4 is beyond the longest pause: no shift can overflow.
        let pause = (1 << attempts.min(4)).min(LONGEST_PAUSE) - 1;
        self.refused =
            Some(Refused { material, reason: Arc::clone(reason), attempts, again: now.after(self.every * pause) });
        if known { Failed::Again } else { Failed::New }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_with_the_same_material_become_rare_and_are_said_once() {
        let mut renewal: Renewal<()> = Renewal::new(&"test".into(), LOOK_EVERY, 0.0);
        let (one, other) = (Material::from_hash(1), Material::from_hash(2));
        let (refused, gone): (Arc<str>, Arc<str>) = ("refused".into(), "gone".into());
        let now = Tick::from_millis(1000);
        renewal.watch(Some(Material::from_hash(0)), now);
        assert_eq!(renewal.failed(one, &refused, now), Failed::New);
        let mut pauses = Vec::new();
        for _ in 0..6 {
            pauses.push(renewal.refused.as_ref().unwrap().again.since(now).as_secs());
            assert_eq!(renewal.failed(one, &refused, now), Failed::Again);
        }
        assert_eq!(pauses, [5, 15, 35, 55, 55, 55]);
        assert_eq!(renewal.failed(one, &gone, now), Failed::New);
        assert_eq!(renewal.failed(other, &gone, now), Failed::Again);
        assert_eq!(renewal.refused.as_ref().unwrap().attempts, 1);
    }
}
