//! From a decision to a change: the path that every target shares.
//!
//! One task owns all of it. For each workload at most one request is in flight and at most one waits, the latest; many
//! workloads are asked at once, up to a bound, and no faster than two rates allow: one for all of them, so that the
//! holder stays usable for others, and one for each, so that no two scalers fight at our speed. What must wait, waits
//! in order of urgency ([`rank`]).
//!
//! A failure that may pass is tried again, with growing pauses, until it succeeds or a newer decision takes its place: a
//! decision is never lost. One that will not pass by itself (somebody else changed the workload, a permission is
//! missing) is reported, and the engine decides anew on what it then knows; the same request again waits out a pause,
//! another one does not. A holder that asks for silence gets it from everybody.
//!
//! For each request that was neither replaced by a newer one nor withdrawn there is exactly one
//! [`TargetReport::Applied`].

mod rank;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use metrics::{counter, gauge};
use tokio::sync::mpsc;

use self::rank::Rank;
use crate::clock::Clock;
use crate::model::{AutoscalerId, FailureKind, ReadFailure, Replicas, ScaleOrder, ScaleRequest, TargetReport, Tick};
use crate::target::bucket::{Bucket, Rate};
use crate::target::{ScaleError, Target};
use crate::telemetry::names;

/// How hard to try.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Config {
    /// Bound on one request.
    pub timeout: Duration,
    /// Requests in flight over all workloads.
    pub concurrency: usize,
    /// Requests over all workloads.
    pub rate: Rate,
    /// Requests for one workload.
    pub rate_each: Rate,
    /// Pause after a first failure; doubles with every further one.
    pub first_pause: Duration,
    pub longest_pause: Duration,
    /// The same before a request is repeated that the holder looked at and refused.
    pub first_refused_pause: Duration,
    pub longest_refused_pause: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            // A healthy API server patches a scale in some 10 ms and gives up by itself after a minute; 5 s is late
            // enough for one that is busy, and early enough that one dead connection does not cost a burst.
            timeout: Duration::from_secs(5),
            // At 10 ms each, 32 at once wake a thousand workloads in a third of a second. KEDA, at 20 a second, takes
            // 100 s for that. More would only queue up in the API server's priority levels.
            concurrency: 32,
            // A thousand at once are done in 8 s. An API server handles some thousand writes a second; a tenth of that
            // leaves it to its other clients.
            rate: Rate { per_second: 100.0, burst: 200 },
            // Several quick steps are a queue that grows; more than one a second for long is somebody who undoes them.
            rate_each: Rate { per_second: 1.0, burst: 5 },
            first_pause: Duration::from_millis(100),
            // Long enough to leave a server that comes up again alone, short against the 30 s after which people ask.
            longest_pause: Duration::from_secs(10),
            // Somebody must grant a right or change a quota first: minutes, seldom seconds.
            first_refused_pause: Duration::from_secs(1),
            longest_refused_pause: Duration::from_secs(60),
        }
    }
}

/// The least that a holder is left alone when it asks for silence: "now" is no answer to "too many".
const SHORTEST_SILENCE: Duration = Duration::from_millis(100);

/// Workloads whose pace is remembered before those are forgotten that rested long enough.
const PACES: usize = 1024;

/// Carries out scale requests on one target.
pub struct Actuator<T> {
    target: Arc<T>,
    config: Config,
    /// Its own: only differences matter here.
    clock: Clock,
    slots: HashMap<AutoscalerId, Slot>,
    /// Workloads whose turn has come, waiting for room, the most urgent first.
    ready: BTreeSet<(Rank, AutoscalerId)>,
    /// Those that pause, by the end of the pause.
    pausing: BTreeSet<(Tick, AutoscalerId)>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    in_flight: usize,
    pace: Bucket,
    paces: HashMap<AutoscalerId, Bucket>,
    /// When `paces` is looked through again.
    paces_bound: usize,
    /// The holder wants to hear nothing until then.
    silent_until: Tick,
    /// Grows with each workload that gets ready: who came first among equals.
    arrivals: u64,
    /// Reports that nobody has taken yet. Attempts pause while there are too many, so that it stays small.
    outbox: VecDeque<TargetReport>,
    /// No more requests will come: what is left gets one attempt each.
    draining: bool,
}

/// One workload with something to do. There is none for a workload at rest.
struct Slot {
    phase: Phase,
    /// What to do next. `None` while nothing else is known: in `Flying`, and in `Pausing` after a reported failure.
    waiting: Option<ScaleRequest>,
    /// What is in flight is not wished any more: if it fails, it stays undone.
    withdrawn: bool,
    /// Failures in a row.
    failures: u32,
    /// `from` and `to` of the last request, if it failed and will not pass by itself: another one need not wait.
    refused: Option<(Replicas, Replicas)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In `ready`.
    Ready(Rank),
    /// A request is in flight.
    Flying,
    /// Between two attempts: in `pausing`.
    Pausing(Tick),
}

/// What became of a request.
struct Answer {
    request: ScaleRequest,
    outcome: Result<(), ScaleError>,
}

impl<T: Target> Actuator<T> {
    #[must_use]
    pub fn new(target: Arc<T>, config: Config) -> Self {
        Actuator {
            target,
            config,
            clock: Clock::start(),
            slots: HashMap::new(),
            ready: BTreeSet::new(),
            pausing: BTreeSet::new(),
            running: FuturesUnordered::new(),
            in_flight: 0,
            pace: Bucket::default(),
            paces: HashMap::new(),
            paces_bound: PACES,
            silent_until: Tick::ZERO,
            arrivals: 0,
            outbox: VecDeque::new(),
            draining: false,
        }
    }

    /// Works until `orders` is closed and what had been asked is done (one attempt each, so at most about one
    /// timeout for every [`Config::concurrency`] workloads), whether or not anybody still receives `reports`.
    ///
    /// Never blocks the sender of requests on the receiver of reports: both may be one task.
    pub async fn run(mut self, mut orders: mpsc::Receiver<ScaleOrder>, reports: mpsc::Sender<TargetReport>) {
        loop {
            let wake = self.start_what_may();
            gauge!(names::SCALES_WAITING).set(self.slots.len().saturating_sub(self.in_flight) as f64);
            if self.draining && self.slots.is_empty() && self.outbox.is_empty() {
                return;
            }
            let alarm = wake.unwrap_or(Tick::ZERO);
            tokio::select! {
                permit = reports.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => if let Some(report) = self.outbox.pop_front() { permit.send(report) },
                    // Nobody wants to know any more; what was asked is done all the same.
                    Err(_) => self.outbox.clear(),
                },
                Some(answer) = self.running.next(), if !self.running.is_empty() => self.answered(answer),
                order = orders.recv(), if !self.draining => match order {
                    Some(ScaleOrder::Ask(request)) => self.accept(request),
                    Some(ScaleOrder::Withdraw(id)) => self.withdraw(&id),
                    None => self.drain(),
                },
                () = tokio::time::sleep_until(self.clock.instant(alarm)), if wake.is_some() => {}
            }
        }
    }

    /// The latest wins: a request that still waits is replaced, one in flight is left to end.
    fn accept(&mut self, request: ScaleRequest) {
        let id = request.id.clone();
        let Some(slot) = self.slots.get_mut(&id) else {
            let slot =
                Slot { phase: Phase::Flying, waiting: Some(request), withdrawn: false, failures: 0, refused: None };
            self.slots.insert(id.clone(), slot);
            self.make_ready(&id);
            return;
        };
        let news = slot.refused.is_some_and(|refused| refused != (request.from, request.to));
        let phase = slot.phase;
        slot.withdrawn = false;
        if slot.waiting.replace(request).is_some() {
            counter!(names::SCALES, "outcome" => "superseded").increment(1);
        }
        match phase {
            // It may be more urgent now, or less; its place among equals stays.
            Phase::Ready(rank) => {
                self.ready.remove(&(rank, id.clone()));
                self.put(&id, rank.arrival());
            }
            Phase::Pausing(until) if news => {
                self.pausing.remove(&(until, id.clone()));
                self.make_ready(&id);
            }
            Phase::Pausing(_) | Phase::Flying => {}
        }
    }

    /// Nothing of it is to be done any more. What is in flight is left to end.
    fn withdraw(&mut self, id: &AutoscalerId) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        if slot.waiting.take().is_some() {
            counter!(names::SCALES, "outcome" => "superseded").increment(1);
        }
        match slot.phase {
            Phase::Ready(rank) => {
                self.ready.remove(&(rank, id.clone()));
                self.slots.remove(id);
            }
            Phase::Flying => slot.withdrawn = true,
            // Its end finds nothing to do.
            Phase::Pausing(_) => {}
        }
    }

    /// Behind its equals.
    fn make_ready(&mut self, id: &AutoscalerId) {
        self.arrivals += 1;
        self.put(id, self.arrivals);
    }

    fn put(&mut self, id: &AutoscalerId, arrival: u64) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let Some(request) = &slot.waiting else { return };
        let rank = Rank::of(request, arrival);
        slot.phase = Phase::Ready(rank);
        self.ready.insert((rank, id.clone()));
    }

    fn pause_until(&mut self, id: AutoscalerId, until: Tick) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.phase = Phase::Pausing(until);
            self.pausing.insert((until, id));
        }
    }

    /// Returns when to look again, if not only at the next event.
    fn start_what_may(&mut self) -> Option<Tick> {
        let now = self.clock.now();
        while self.pausing.first().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, id)) = self.pausing.pop_first() {
                self.go_on(&id);
            }
        }
        let mut wake = None;
        while self.in_flight < self.config.concurrency
            && self.outbox.len() < self.config.concurrency
            && !self.ready.is_empty()
        {
            let silent = if self.draining { now } else { self.silent_until };
            let next = self.pace.next(self.config.rate, now).max(silent);
            if next > now {
                wake = Some(next);
                break;
            }
            let Some((_, id)) = self.ready.pop_first() else { break };
            if !self.draining && !self.take_pace(&id, now) {
                let until = self.paces.get(&id).copied().unwrap_or_default().next(self.config.rate_each, now);
                self.pause_until(id, until);
                continue;
            }
            self.start(&id, now);
        }
        let resumed = self.pausing.first().map(|(until, _)| *until);
        wake.into_iter().chain(resumed).min()
    }

    fn take_pace(&mut self, id: &AutoscalerId, now: Tick) -> bool {
        if self.paces.len() >= self.paces_bound {
            self.paces.retain(|_, pace| !pace.is_full(now));
            self.paces_bound = (2 * self.paces.len()).max(PACES);
        }
        self.paces.entry(id.clone()).or_default().take(self.config.rate_each, now)
    }

    fn start(&mut self, id: &AutoscalerId, now: Tick) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let Some(request) = slot.waiting.take() else { return };
        slot.phase = Phase::Flying;
        self.pace.take(self.config.rate, now);
        self.in_flight += 1;
        let (target, timeout) = (Arc::clone(&self.target), self.config.timeout);
        self.running.push(Box::pin(async move {
            let attempt = target.scale(&request.id, request.from, request.to);
            let outcome = tokio::time::timeout(timeout, attempt).await.unwrap_or_else(|_| Err(too_late(timeout)));
            Answer { request, outcome }
        }));
    }

    fn answered(&mut self, Answer { request, outcome }: Answer) {
        self.in_flight -= 1;
        counter!(names::SCALES, "outcome" => outcome.as_ref().map_or_else(ScaleError::label, |()| "ok")).increment(1);
        let now = self.clock.now();
        let Some(slot) = self.slots.get_mut(&request.id) else { return };
        let id = request.id.clone();
        let error = match outcome {
            Ok(()) => {
                tracing::info!(autoscaler = %id, from = request.from, to = request.to, "scaled");
                slot.failures = 0;
                slot.refused = None;
                // What waits was decided before this success could be known. The change was ours and the engine asked
                // for it, so it is no conflict; a stranger's change after it still is one.
                if let Some(next) = &mut slot.waiting
                    && next.from == request.from
                {
                    next.from = request.to;
                }
                self.go_on(&id);
                self.outbox.push_back(applied(&request, Ok(())));
                return;
            }
            Err(error) => error,
        };
        if self.draining {
            tracing::warn!(autoscaler = %id, from = request.from, to = request.to, %error, "scaling failed");
            self.go_on(&id);
            self.outbox.push_back(applied(&request, Err(error)));
            return;
        }
        if let ScaleError::Throttled { retry_after } = error {
            // It was not looked at, so nothing failed; everybody waits, and whoever is most urgent then goes first.
            let until = now.after(retry_after.max(SHORTEST_SILENCE));
            if until > self.silent_until {
                tracing::warn!(autoscaler = %id, ?retry_after, "scaling throttled: everybody waits");
                self.silent_until = until;
            }
            if slot.withdrawn {
                self.go_on(&id);
                self.outbox.push_back(applied(&request, Err(error)));
                return;
            }
            slot.waiting.get_or_insert(request);
            self.make_ready(&id);
            return;
        }
        if slot.withdrawn {
            tracing::warn!(autoscaler = %id, from = request.from, to = request.to, %error, "scaling failed, and is not wished any more");
            self.go_on(&id);
            self.outbox.push_back(applied(&request, Err(error)));
            return;
        }
        slot.failures = slot.failures.saturating_add(1);
        let failures = slot.failures;
        tracing::warn!(autoscaler = %id, from = request.from, to = request.to, failures, %error, "scaling failed");
        let may_pass = error.may_pass();
        slot.refused = (!may_pass).then_some((request.from, request.to));
        let news = slot.waiting.as_ref().is_some_and(|next| slot.refused.is_some_and(|r| r != (next.from, next.to)));
        let until = now.after(pause(&self.config, &request, failures, error.is_refusal()));
        if may_pass {
            // Whoever comes next waits, a newer decision included: it is the holder that must recover.
            slot.waiting.get_or_insert(request);
            self.pause_until(id, until);
            return;
        }
        if news {
            self.make_ready(&id);
        } else {
            // An engine that asks again the moment it hears of a refusal must not become a storm.
            self.pause_until(id, until);
        }
        self.outbox.push_back(applied(&request, Err(error)));
    }

    /// After an attempt that ended well, or was the last.
    fn go_on(&mut self, id: &AutoscalerId) {
        if self.slots.get(id).is_some_and(|slot| slot.waiting.is_some()) {
            self.make_ready(id);
        } else {
            self.slots.remove(id);
        }
    }

    /// What pauses has had its attempt at least once, but maybe not with its latest decision: one more, at once.
    fn drain(&mut self) {
        self.draining = true;
        for (_, id) in std::mem::take(&mut self.pausing) {
            self.go_on(&id);
        }
    }
}

fn applied(request: &ScaleRequest, outcome: Result<(), ScaleError>) -> TargetReport {
    let ScaleRequest { id, from, to, .. } = request;
    TargetReport::Applied { id: id.clone(), from: *from, to: *to, outcome: outcome.map_err(ReadFailure::from) }
}

fn too_late(timeout: Duration) -> ScaleError {
    ScaleError::Failed(ReadFailure::new(FailureKind::Timeout, format!("no answer to a scale request in {timeout:?}")))
}

/// Doubling, with up to a quarter taken off: a thousand workloads that failed together do not come back together. The
/// share depends on the workload and the attempt alone, so that a run can be repeated.
fn pause(config: &Config, request: &ScaleRequest, failures: u32, refused: bool) -> Duration {
    let (first, longest) = match refused {
        true => (config.first_refused_pause, config.longest_refused_pause),
        false => (config.first_pause, config.longest_pause),
    };
    let doubled = first.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    // Knuth's multiplicative hash: spreads consecutive keys over the whole range.
    let share = request.key.0.wrapping_add(failures).wrapping_mul(2_654_435_761);
    doubled.min(longest).mul_f64(1.0 - 0.25 * f64::from(share) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
