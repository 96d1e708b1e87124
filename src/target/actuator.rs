//! From a decision to a change: the path that every target shares.
//!
//! One task owns all of it. For each workload at most one request is in flight and at most one waits, the latest; many
//! workloads are asked at once, up to a bound. A failure that may pass is tried again, with growing pauses, until it
//! succeeds or a newer decision takes its place: a decision is never lost. One that will not pass by itself (somebody
//! else changed the workload, a permission is missing) is reported, and the engine decides anew on what it then knows;
//! its next request for that workload waits out a pause as well.
//!
//! For each request that was not replaced by a newer one there is exactly one [`TargetReport::Applied`].

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use metrics::counter;
use tokio::sync::mpsc;

use crate::model::{AutoscalerId, FailureKind, ReadFailure, ScaleRequest, TargetReport};
use crate::target::{ScaleError, Target};
use crate::telemetry::names;

/// How hard to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Bound on one request.
    pub timeout: Duration,
    /// Requests in flight over all workloads.
    pub concurrency: usize,
    /// Pause after a first failure; doubles with every further one.
    pub first_pause: Duration,
    pub longest_pause: Duration,
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
            first_pause: Duration::from_millis(100),
            // Long enough to leave a server that comes up again alone, short against the 30 s after which people ask.
            longest_pause: Duration::from_secs(10),
        }
    }
}

/// Carries out scale requests on one target.
pub struct Actuator<T> {
    target: Arc<T>,
    config: Config,
    slots: HashMap<AutoscalerId, Slot>,
    /// Workloads whose turn has come, in order, waiting for room.
    ready: VecDeque<AutoscalerId>,
    running: FuturesUnordered<Pin<Box<dyn Future<Output = Step> + Send>>>,
    in_flight: usize,
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
    /// Failures in a row.
    failures: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// In `ready`.
    Ready,
    /// A request is in flight.
    Flying,
    /// Between two attempts.
    Pausing,
}

/// What the actuator waited for.
enum Step {
    Answered { request: ScaleRequest, outcome: Result<(), ScaleError> },
    PauseOver(AutoscalerId),
}

impl<T: Target> Actuator<T> {
    #[must_use]
    pub fn new(target: Arc<T>, config: Config) -> Self {
        Actuator {
            target,
            config,
            slots: HashMap::new(),
            ready: VecDeque::new(),
            running: FuturesUnordered::new(),
            in_flight: 0,
            outbox: VecDeque::new(),
            draining: false,
        }
    }

    /// Works until `requests` is closed and what had been asked is done (one attempt each, so at most about one
    /// timeout for every [`Config::concurrency`] workloads), whether or not anybody still receives `reports`.
    ///
    /// Never blocks the sender of requests on the receiver of reports: both may be one task.
    pub async fn run(mut self, mut requests: mpsc::Receiver<ScaleRequest>, reports: mpsc::Sender<TargetReport>) {
        loop {
            self.start_what_may();
            if self.draining && self.slots.is_empty() && self.outbox.is_empty() {
                return;
            }
            tokio::select! {
                permit = reports.reserve(), if !self.outbox.is_empty() => match permit {
                    Ok(permit) => if let Some(report) = self.outbox.pop_front() { permit.send(report) },
                    // Nobody wants to know any more; what was asked is done all the same.
                    Err(_) => self.outbox.clear(),
                },
                Some(step) = self.running.next(), if !self.running.is_empty() => match step {
                    Step::Answered { request, outcome } => self.answered(request, outcome),
                    Step::PauseOver(id) => self.pause_over(&id),
                },
                request = requests.recv(), if !self.draining => match request {
                    Some(request) => self.accept(request),
                    None => self.drain(),
                },
            }
        }
    }

    /// The latest wins: a request that still waits is replaced, one in flight is left to end.
    fn accept(&mut self, request: ScaleRequest) {
        match self.slots.get_mut(&request.id) {
            Some(slot) => {
                if slot.waiting.replace(request).is_some() {
                    counter!(names::SCALES, "outcome" => "superseded").increment(1);
                }
            }
            None => {
                let id = request.id.clone();
                self.ready.push_back(id.clone());
                self.slots.insert(id, Slot { phase: Phase::Ready, waiting: Some(request), failures: 0 });
            }
        }
    }

    fn start_what_may(&mut self) {
        while self.in_flight < self.config.concurrency && self.outbox.len() < self.config.concurrency {
            let Some(id) = self.ready.pop_front() else { return };
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            let Some(request) = slot.waiting.take() else { continue };
            slot.phase = Phase::Flying;
            self.in_flight += 1;
            let (target, timeout) = (Arc::clone(&self.target), self.config.timeout);
            self.running.push(Box::pin(async move {
                let attempt = target.scale(&request.id, request.from, request.to);
                let outcome = tokio::time::timeout(timeout, attempt).await.unwrap_or_else(|_| Err(too_late(timeout)));
                Step::Answered { request, outcome }
            }));
        }
    }

    fn answered(&mut self, request: ScaleRequest, outcome: Result<(), ScaleError>) {
        self.in_flight -= 1;
        counter!(names::SCALES, "outcome" => outcome.as_ref().map_or_else(ScaleError::label, |()| "ok")).increment(1);
        let Some(slot) = self.slots.get_mut(&request.id) else { return };
        let id = request.id.clone();
        match &outcome {
            Ok(()) => {
                tracing::info!(autoscaler = %id, from = request.from, to = request.to, "scaled");
                slot.failures = 0;
                // What waits was decided before this success could be known. The change was ours and the engine asked
                // for it, so it is no conflict; a stranger's change after it still is one.
                if let Some(next) = &mut slot.waiting
                    && next.from == request.from
                {
                    next.from = request.to;
                }
            }
            Err(error) => {
                slot.failures = slot.failures.saturating_add(1);
                tracing::warn!(autoscaler = %id, from = request.from, to = request.to, failures = slot.failures, %error,
                    "scaling failed");
            }
        }
        if outcome.is_err() && !self.draining {
            // Whoever comes next waits, a newer decision included: it is the holder that must recover, and an engine
            // that asks again the moment it hears of a refusal must not become a storm.
            let pause = pause(&self.config, &request, slot.failures);
            slot.phase = Phase::Pausing;
            self.running.push(Box::pin(async move {
                tokio::time::sleep(pause).await;
                Step::PauseOver(id)
            }));
            if outcome.as_ref().is_err_and(ScaleError::may_pass) {
                slot.waiting.get_or_insert(request);
                return;
            }
        } else if slot.waiting.is_some() {
            slot.phase = Phase::Ready;
            self.ready.push_back(id);
        } else {
            self.slots.remove(&id);
        }
        self.outbox.push_back(applied(&request, outcome));
    }

    fn pause_over(&mut self, id: &AutoscalerId) {
        match self.slots.get_mut(id) {
            Some(Slot { phase: Phase::Pausing, waiting: None, .. }) => drop(self.slots.remove(id)),
            Some(slot) if slot.phase == Phase::Pausing => {
                slot.phase = Phase::Ready;
                self.ready.push_back(id.clone());
            }
            _ => {}
        }
    }

    /// What pauses has had its attempt at least once, but maybe not with its latest decision: one more, at once.
    fn drain(&mut self) {
        self.draining = true;
        self.slots.retain(|_, slot| slot.phase != Phase::Pausing || slot.waiting.is_some());
        for (id, slot) in &mut self.slots {
            if slot.phase == Phase::Pausing {
                slot.phase = Phase::Ready;
                self.ready.push_back(id.clone());
            }
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
fn pause(config: &Config, request: &ScaleRequest, failures: u32) -> Duration {
    let doubled = config.first_pause.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
    // Knuth's multiplicative hash: spreads consecutive keys over the whole range.
    let share = request.key.0.wrapping_add(failures).wrapping_mul(2_654_435_761);
    doubled.min(config.longest_pause).mul_f64(1.0 - 0.25 * f64::from(share) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
