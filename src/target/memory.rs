//! Workloads held in this process: what `demo`, rehearsals and tests scale instead of a cluster.
//!
//! It keeps the promises of a real holder that scalers stumble over: replicas take time to start, somebody else may
//! change the count, a request that rests on an outdated count is refused, and the scaler learns what stands only
//! through reports. [`crate::target::workload`] keeps the books.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use crate::clock::Clock;
use crate::model::{AutoscalerId, Replicas, SetBy, TargetReport, Tick};
use crate::target::workload::{View, Workload};
use crate::target::{Scale, ScaleError, Target};

/// Any number of workloads by the name of their autoscaler. Shared behind an `Arc`; nothing is reported and nobody
/// becomes ready unless somebody drives [`MemoryTarget::run`].
pub struct MemoryTarget {
    clock: Clock,
    reports: mpsc::Sender<TargetReport>,
    state: Mutex<State>,
    /// Something changed: there is something to report, or a start-up to wait for.
    changed: Notify,
}

#[derive(Default)]
struct State {
    workloads: BTreeMap<AutoscalerId, Workload>,
    /// To be reported. Level-triggered, as a watch is: a reader that is slow sees the latest state, never a stale one
    /// after a newer one, and cannot make this grow.
    unreported: BTreeSet<AutoscalerId>,
}

impl MemoryTarget {
    /// Reports go to `reports` as [`TargetReport::Current`].
    #[must_use]
    pub fn new(clock: Clock, reports: mpsc::Sender<TargetReport>) -> Self {
        MemoryTarget { clock, reports, state: Mutex::default(), changed: Notify::new() }
    }

    /// Makes a workload that stands at `replicas`, all ready, and reports it. One that is known keeps its replicas and
    /// its books, as a Deployment does when its autoscaler is edited, takes the new delay, and is reported again.
    pub fn register(&self, id: &AutoscalerId, replicas: Replicas, start_up: Duration) {
        let now = self.clock.now();
        let mut state = self.lock();
        state
            .workloads
            .entry(id.clone())
            .and_modify(|workload| workload.set_start_up(start_up))
            .or_insert_with(|| Workload::new(now, replicas, start_up));
        self.report(&mut state, id);
    }

    /// Forgets a workload. Returns whether there was one.
    pub fn remove(&self, id: &AutoscalerId) -> bool {
        let mut state = self.lock();
        state.unreported.remove(id);
        state.workloads.remove(id).is_some()
    }

    /// Sets the count whatever it is now: somebody else's `kubectl scale`. `why` goes into the history.
    ///
    /// # Errors
    /// [`ScaleError::Unknown`], [`ScaleError::OutOfRange`].
    pub fn set(
        &self,
        id: &AutoscalerId,
        replicas: Replicas,
        why: impl Into<Cow<'static, str>>,
    ) -> Result<(), ScaleError> {
        self.change(id, None, replicas, why.into())
    }

    /// As [`MemoryTarget::set`], provided the workload stands at `from`.
    ///
    /// # Errors
    /// [`ScaleError::Conflict`], [`ScaleError::Unknown`], [`ScaleError::OutOfRange`].
    pub fn set_from(
        &self,
        id: &AutoscalerId,
        from: Replicas,
        replicas: Replicas,
        why: impl Into<Cow<'static, str>>,
    ) -> Result<(), ScaleError> {
        self.change(id, Some(from), replicas, why.into())
    }

    /// Begins a new stretch for the lowest and highest counts of `id`, if it is known.
    pub fn mark(&self, id: &AutoscalerId) {
        let now = self.clock.now();
        if let Some(workload) = self.lock().workloads.get_mut(id) {
            workload.mark(now);
        }
    }

    #[must_use]
    pub fn scale_of(&self, id: &AutoscalerId) -> Option<Scale> {
        self.lock().workloads.get(id).map(Workload::scale)
    }

    #[must_use]
    pub fn view(&self, id: &AutoscalerId) -> Option<View> {
        self.lock().workloads.get(id).map(Workload::view)
    }

    /// Everybody, ordered by namespace and name.
    #[must_use]
    pub fn views(&self) -> Vec<(AutoscalerId, View)> {
        self.lock().workloads.iter().map(|(id, workload)| (id.clone(), workload.view())).collect()
    }

    /// Reports changes and lets replicas become ready. Ends when nobody receives reports any more. One at a time.
    pub async fn run(&self) {
        let mut now = self.clock.now();
        loop {
            let (reports, next_ready) = self.settle(now);
            for report in reports {
                if self.reports.send(report).await.is_err() {
                    return;
                }
            }
            tokio::select! {
                () = self.changed.notified() => now = self.clock.now(),
                // A timer that fired is proof that its moment has come, whatever granularity the clock has.
                () = sleep_until(&self.clock, next_ready) => now = self.clock.now().max(next_ready),
                () = self.reports.closed() => return,
            }
        }
    }

    /// Everything that is due at `now`: what to report, and when somebody becomes ready next.
    fn settle(&self, now: Tick) -> (Vec<TargetReport>, Tick) {
        let mut state = self.lock();
        let State { workloads, unreported } = &mut *state;
        let mut next_ready = Tick::NEVER;
        for (id, workload) in workloads.iter_mut() {
            if workload.settle(now) {
                unreported.insert(id.clone());
            }
            next_ready = next_ready.min(workload.next_ready());
        }
        let reports = std::mem::take(unreported)
            .into_iter()
            .filter_map(|id| {
                let Scale { replicas, ready } = workloads.get(&id)?.scale();
                Some(TargetReport::Current { id, replicas, ready, set_by: SetBy::Unknown, another: false })
            })
            .collect();
        (reports, next_ready)
    }

    fn change(
        &self,
        id: &AutoscalerId,
        from: Option<Replicas>,
        to: Replicas,
        why: Cow<'static, str>,
    ) -> Result<(), ScaleError> {
        if to < 0 {
            return Err(ScaleError::OutOfRange(to));
        }
        let now = self.clock.now();
        let mut state = self.lock();
        let workload = state.workloads.get_mut(id).ok_or_else(|| ScaleError::Unknown(id.clone()))?;
        let found = workload.scale().replicas;
        if let Some(expected) = from
            && found != expected
            && found != to
        {
            return Err(ScaleError::Conflict { expected, found });
        }
        if workload.set(now, to, why) {
            self.report(&mut state, id);
        }
        Ok(())
    }

    fn report(&self, state: &mut State, id: &AutoscalerId) {
        state.unreported.insert(id.clone());
        self.changed.notify_one();
    }

    /// A panic elsewhere leaves nothing half done in here.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target for MemoryTarget {
    async fn scale(&self, id: &AutoscalerId, from: Replicas, to: Replicas) -> Result<(), ScaleError> {
        self.set_from(id, from, to, "scaled by tidegate")
    }
}

async fn sleep_until(clock: &Clock, at: Tick) {
    match at {
        Tick::NEVER => std::future::pending().await,
        at => tokio::time::sleep_until(clock.instant(at)).await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const START_UP: Duration = Duration::from_secs(30);

    fn id() -> AutoscalerId {
        AutoscalerId::new("pulse", "celery-high")
    }

    fn current(replicas: Replicas, ready: Replicas) -> Option<TargetReport> {
        Some(TargetReport::Current { id: id(), replicas, ready, set_by: SetBy::Unknown, another: false })
    }

    fn start() -> (Arc<MemoryTarget>, mpsc::Receiver<TargetReport>) {
        let (sender, receiver) = mpsc::channel(1);
        let target = Arc::new(MemoryTarget::new(Clock::start(), sender));
        let driven = Arc::clone(&target);
        tokio::spawn(async move { driven.run().await });
        (target, receiver)
    }

    #[tokio::test(start_paused = true)]
    async fn registration_and_every_change_are_reported() {
        let (target, mut reports) = start();
        target.register(&id(), 2, START_UP);
        assert_eq!(reports.recv().await, current(2, 2));
        target.scale(&id(), 2, 5).await.unwrap();
        assert_eq!(reports.recv().await, current(5, 2));
        // Time is paused: it leaps to the next timer once everybody waits.
        assert_eq!(reports.recv().await, current(5, 5));
        target.set(&id(), 0, "kubectl scale").unwrap();
        assert_eq!(reports.recv().await, current(0, 0));
        target.register(&id(), 7, START_UP);
        assert_eq!(reports.recv().await, current(0, 0), "a known workload keeps its replicas");
        let why: Vec<_> = target.view(&id()).unwrap().history.iter().map(|c| (c.replicas, c.why.clone())).collect();
        assert_eq!(why, [(2, "registered".into()), (5, "scaled by tidegate".into()), (0, "kubectl scale".into())]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_rests_on_an_old_count_is_refused_unless_it_is_fulfilled_already() {
        let (target, _reports) = start();
        target.register(&id(), 2, START_UP);
        let conflict = ScaleError::Conflict { expected: 3, found: 2 };
        assert_eq!(target.scale(&id(), 3, 4).await, Err(conflict));
        assert_eq!(target.scale(&id(), 3, 2).await, Ok(()), "an answer that was lost and asked for again");
        assert_eq!(target.scale(&id(), 2, -1).await, Err(ScaleError::OutOfRange(-1)));
        assert_eq!(target.scale_of(&id()), Some(Scale { replicas: 2, ready: 2 }));
        let stranger = AutoscalerId::new("pulse", "nobody");
        assert_eq!(target.scale(&stranger, 0, 1).await, Err(ScaleError::Unknown(stranger)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_sees_the_latest_state_last() {
        let (target, mut reports) = start();
        target.register(&id(), 0, Duration::ZERO);
        tokio::task::yield_now().await;
        for replicas in 1..=100 {
            target.set(&id(), replicas, "test").unwrap();
        }
        let mut seen = Vec::new();
        while let Ok(report) = tokio::time::timeout(Duration::from_secs(1), reports.recv()).await {
            seen.push(report);
        }
        assert_eq!(seen.pop(), Some(current(100, 100)));
        assert!(seen.len() < 5, "{seen:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn removal_ends_a_workload_and_a_lost_reader_ends_the_driver() {
        let (sender, mut reports) = mpsc::channel(4);
        let target = Arc::new(MemoryTarget::new(Clock::start(), sender));
        let driven = Arc::clone(&target);
        let driver = tokio::spawn(async move { driven.run().await });
        target.register(&id(), 1, START_UP);
        assert_eq!(reports.recv().await, current(1, 1));
        assert!(target.remove(&id()));
        assert!(!target.remove(&id()));
        assert_eq!(target.views(), []);
        drop(reports);
        driver.await.unwrap();
    }
}
