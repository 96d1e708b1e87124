//! A round from what is due to samples that are handed on, or to the reason why there are none.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::{NEWCOMERS, Plan, State, Task};
use crate::model::{FailureKind, ReadFailure, Round, Sample, Tick};
use crate::poller::groups::ROUND;
use crate::poller::schedule::Due;
use crate::source::{Backend, Moment};

/// Kinds of round that are kept. There is one for each set of intervals that fall due together: a handful for
/// sensible intervals. Beyond this many the oldest guess is no better than a new one, and all are dropped.
const PLANS_KEPT: usize = 64;

/// First readings of who is served apart come in rounds of [`ROUND`] this far apart: by themselves as much as a whole
/// process may read, and over quickly all the same.
const NEWCOMERS_APART: Duration = Duration::from_millis(5);

/// A link that has not been used for this long may have been closed for that alone (Redis' `timeout`, a load balancer
/// in between), which is no failure of the server: it is opened again at once, and only a failing connect is reported.
/// Whoever polls faster than this keeps a link awake, and a lost one is news.
const IDLE: Duration = Duration::from_secs(1);

impl<B: Backend> Task<B> {
    /// Serves what is due, and then one round of those apart. `Err`: nobody takes samples any more.
    pub(super) async fn round(&mut self) -> Result<(), ()> {
        let now = self.clock.now();
        self.due.clear();
        let before = self.waiting.len();
        let Due { lateness, skipped } = self.subscribers.schedule().take_due(now, &mut self.due, &mut self.waiting);
        if self.due.is_empty() && self.waiting.len() == before {
            self.meters.skipped(skipped);
        } else {
            self.meters.began(lateness, skipped);
        }

        self.serve_woken().await?;
        if !self.due.is_empty() || !self.eager.is_empty() {
            let (kind, mut plan) = self.take_plan();
            if self.can_report() {
                self.serve(&mut plan).await?;
            } else {
                // Whoever was woken has found the link asleep: these are read once it is open again, as they are.
                self.hurry_all(plan.keys().collect());
            }
            if let Some(kind) = kind {
                self.plans.insert(kind, plan);
            }
        }
        // The round before may have found the link asleep, and a new one takes its time.
        if !self.can_report() {
            return Ok(());
        }
        if let Some(cadence) = self.waiting.pop_front() {
            let known = self.apart_plans.remove(&cadence);
            let mut plan =
                known.unwrap_or_else(|| self.subscribers.plan(&[cadence], &BTreeSet::new(), &mut self.backend));
            self.serve(&mut plan).await?;
            self.apart_plans.insert(cadence, plan);
        } else if !self.eager_apart.is_empty() && self.next_apart <= now {
            let some = self.subscribers.some_of(&mut self.eager_apart, ROUND);
            let mut plan = self.subscribers.plan(&[], &some, &mut self.backend);
            self.next_apart = now.after(NEWCOMERS_APART);
            self.serve(&mut plan).await?;
        }
        if !self.can_report() {
            return Ok(());
        }
        self.serve_put_off().await
    }

    /// Asks for what is planned and hands it on, now or when there is room. `Err`: nobody takes samples any more.
    pub(super) async fn serve(&mut self, plan: &mut Plan<B>) -> Result<(), ()> {
        if plan.is_empty() || !self.has_room(plan) {
            return Ok(());
        }
        self.serve_now(plan).await
    }

    pub(super) async fn serve_now(&mut self, plan: &mut Plan<B>) -> Result<(), ()> {
        let round = Round(self.rounds.fetch_add(1, Ordering::Relaxed) + 1);
        match self.fetch(plan, round).await {
            Ok(taken) => hand_on(&self.samples, plan.samples(round, taken, &self.answers)).await,
            Err((taken, failure)) if self.fell_asleep(taken, &failure) => {
                debug!(connection = %self.name, "idle connection was closed, opening it again");
                self.renewal.stop();
                self.state = State::Connecting(Box::pin(self.backend.connect()));
                self.hurry_all(plan.keys().collect());
                Ok(())
            }
            Err((taken, failure)) => {
                if matches!(self.state, State::Up(_)) {
                    self.lost(failure.clone());
                }
                debug!(connection = %self.name, round = round.0, kind = failure.kind.as_str(), "round failed");
                self.meters.round_failed();
                self.meters.failed(&failure, plan.len());
                hand_on(&self.samples, plan.failures(round, taken, &failure)).await
            }
        }
    }

    /// Asks the server, if there is a link to it. The tick is when the request was sent.
    async fn fetch(&mut self, plan: &mut Plan<B>, round: Round) -> Result<Tick, (Tick, ReadFailure)> {
        let taken = self.clock.now();
        let State::Up(link) = &mut self.state else {
            let failure = self.failure.clone().unwrap_or_else(never_connected);
            return Err((taken, failure));
        };
        let at = Moment { tick: taken, unix_millis: self.clock.unix_millis() };
        let fetched = match self.renewal.take_previous() {
            None => self.backend.fetch(link, &mut plan.batch, at, &mut self.answers).await,
            Some(previous) => self.fetch_on_trial(previous, plan, at).await,
        };
        if let State::Up(link) = &mut self.state {
            self.meters.cost(B::take_load(link));
            if let Some(grievance) = self.backend.grievance(link) {
                info!(connection = %self.name, "{grievance}");
            }
        }
        match fetched {
            Ok(()) => {
                self.answered(taken);
                self.note_failures(plan, round);
                debug!(connection = %self.name, round = round.0, reads = self.answers.len(), "round answered");
                Ok(taken)
            }
            Err(failure) => Err((taken, failure)),
        }
    }

    /// Whether this failure only says that a link was closed while nobody used it. True once between two answers.
    pub(super) fn fell_asleep(&mut self, taken: Tick, failure: &ReadFailure) -> bool {
        let up = matches!(self.state, State::Up(_));
        up && failure.kind == FailureKind::Unreachable
            && self.last_answer.take().is_some_and(|last| taken.since(last) >= IDLE)
    }

    pub(super) fn answered(&mut self, taken: Tick) {
        self.backoff.reset();
        self.last_answer = Some(taken);
        self.meters.answered(self.clock.now().since(taken), self.answers.len());
        self.meters.up(true);
        if self.failure.take().is_some() {
            info!(connection = %self.name, "connection regained");
        }
    }

    /// Counts reads that failed alone, and logs triggers that begin or cease to fail.
    fn note_failures(&mut self, plan: &Plan<B>, round: Round) {
        let mut any = false;
        for failure in self.answers.failures() {
            any = true;
            self.meters.failed(failure, 1);
        }
        if !any && self.failing.is_empty() {
            return;
        }
        for (key, trigger, value) in plan.outcomes(&self.answers) {
            let edge = match &value {
                Err(_) => self.failing.insert((key, trigger)),
                Ok(_) => !self.failing.is_empty() && self.failing.remove(&(key, trigger)),
            };
            if !edge {
                continue;
            }
            let spec = self.subscribers.spec(key);
            let autoscaler = spec.map(|spec| spec.id.to_string()).unwrap_or_default();
            let trigger = spec.and_then(|spec| spec.triggers.get(usize::from(trigger))).map_or("", |t| &*t.name);
            match value {
                Err(failure) => warn!(
                    connection = %self.name,
                    autoscaler,
                    trigger,
                    round = round.0,
                    kind = failure.kind.as_str(),
                    reason = %failure.message,
                    "trigger cannot be read",
                ),
                Ok(_) => info!(connection = %self.name, autoscaler, trigger, "trigger can be read again"),
            }
        }
    }

    /// The plan for what is due, and under which name to keep it. A round for newcomers happens once: it is not kept.
    fn take_plan(&mut self) -> (Option<Box<[usize]>>, Plan<B>) {
        if !self.eager.is_empty() {
            let eager = self.subscribers.some_of(&mut self.eager, NEWCOMERS);
            return (None, self.subscribers.plan(&self.due, &eager, &mut self.backend));
        }
        if let Some((kind, plan)) = self.plans.remove_entry(self.due.as_slice()) {
            return (Some(kind), plan);
        }
        if self.plans.len() >= PLANS_KEPT {
            self.plans.clear();
        }
        let plan = self.subscribers.plan(&self.due, &BTreeSet::new(), &mut self.backend);
        (Some(self.due.as_slice().into()), plan)
    }
}

/// A round is only served before the first connect has ended if a caller forgot [`Task::next_round`].
#[cold]
fn never_connected() -> ReadFailure {
    ReadFailure::new(FailureKind::Unreachable, "not connected yet")
}

/// Sends a round, and lets the others of this thread have their turn between its portions. `Err`: nobody takes samples
/// any more.
async fn hand_on(samples: &mpsc::Sender<Vec<Sample>>, portions: impl Iterator<Item = Vec<Sample>>) -> Result<(), ()> {
    let mut first = true;
    for portion in portions {
        if !std::mem::take(&mut first) {
            tokio::task::yield_now().await;
        }
        samples.send(portion).await.map_err(|_| ())?;
    }
    Ok(())
}
