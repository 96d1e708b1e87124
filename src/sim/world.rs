//! One run: jobs, a queue, pods that take time to come and to go, and somebody who scales them.
//!
//! A discrete-event simulation in whole nanoseconds. At one moment things happen in a fixed order: jobs end, jobs
//! arrive, the timeline gets its row, then what was due by the clock (pods, deliveries, changes of the scale; in the order
//! of their making), and at last whoever scales looks. So a run is the same every time, on every machine.
//!
//! It goes on until every job is done, however long that takes, and pods cost something until then: a meter that stopped
//! with the last arrival would make lateness look cheap.
//!
//! Two identities hold exactly in every run: the time that jobs spent in line is the area under the queue (Little's law),
//! and the time that slots were busy is the work that was done in them. [`Score::identities`] says so, and the tests of
//! ten thousand worlds look at it; debug builds stop where they do not hold.

mod pods;
mod queue;
mod work;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use self::pods::Pods;
pub use self::queue::Queue;
use self::work::Running;
use crate::model::Replicas;
use crate::sim::draw::Distribution;
use crate::sim::luck::{Luck, Stream};
use crate::sim::nanos;
use crate::sim::scaler::{Order, Scaler, View};
use crate::sim::score::{Row, Score};
use crate::sim::workload::Jobs;
use crate::spec::scenario::{Scenario, Unfinished, Victim};

/// Never.
pub(crate) const NEVER: u64 = u64::MAX;

/// After a conflict the scale is read and changed again after this; twice as long after the next.
const CONFLICT_BACKOFF: u64 = 100_000_000;
const LONGEST_CONFLICT_BACKOFF: u64 = 10_000_000_000;

/// A run that takes much longer than its arrivals has every second row of its timeline taken out, and so on.
const MOST_ROWS: usize = 1500;

/// What a run needs to know besides its jobs, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Setup {
    pub seed: u64,
    pub slots: u32,
    pub prefetch: u32,
    pub warm_up: Option<(u64, f64)>,
    pub start_up: [Distribution; 3],
    pub failing: f64,
    pub grace: u64,
    pub unfinished: Unfinished,
    pub visibility_timeout: u64,
    pub victim: Victim,
    pub rebalance_pause: u64,
    pub capacity: Option<u32>,
    pub actuation_delay: u64,
    pub conflicts: f64,
    /// Ready at the beginning.
    pub initial: Replicas,
    /// A wait longer than this is late.
    pub slo_wait: u64,
    /// Rows of the timeline are this far apart; `None`: no timeline.
    pub resolution: Option<u64>,
    /// Nobody needs to know more once so many jobs were late.
    pub give_up_when_late: Option<u64>,
}

impl Setup {
    #[must_use]
    pub fn of(scenario: &Scenario, seed: u64, slots: u32, initial: Replicas) -> Self {
        let workers = &scenario.workers;
        let [schedule, pull, init] = &workers.start_up;
        Setup {
            seed,
            slots,
            prefetch: workers.prefetch,
            warm_up: workers.warm_up.map(|(lasts, slowdown)| (nanos(lasts), slowdown)),
            start_up: [Distribution::of(schedule), Distribution::of(pull), Distribution::of(init)],
            failing: workers.failing,
            grace: nanos(workers.grace),
            unfinished: workers.unfinished,
            visibility_timeout: nanos(workers.visibility_timeout),
            victim: workers.victim,
            rebalance_pause: nanos(workers.rebalance_pause),
            capacity: workers.capacity,
            actuation_delay: nanos(scenario.actuation.delay),
            conflicts: scenario.actuation.conflicts,
            initial,
            slo_wait: nanos(scenario.slo.wait),
            resolution: None,
            give_up_when_late: None,
        }
    }

    /// About how long a start takes on average: what fails is begun anew, but for its node and its image, after the first
    /// of the kubelet's pauses.
    #[must_use]
    pub fn mean_start_up(&self) -> f64 {
        let [schedule, pull, init] = &self.start_up;
        let again = self.failing / (1.0 - self.failing);
        schedule.mean() + pull.mean() + init.mean() + again * (init.mean() + pods::CRASH_BACKOFF as f64)
    }
}

/// What is due by the clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    /// A pod has started.
    Started(u32),
    /// A pod's grace is over.
    Kill(u32),
    /// A job that was cut off comes back.
    Redeliver(u32),
    /// Everybody may take work again.
    Resume,
    /// The scale changes, unless a later order has come before this one.
    Scale { order: u64, to: Replicas, why: &'static str },
}

/// One run in progress.
pub struct World<'a> {
    setup: &'a Setup,
    jobs: &'a Jobs,
    now: u64,
    /// The next job to arrive.
    next: usize,
    /// Jobs that have arrived and are not done with.
    open: u64,
    queue: Queue,
    pods: Pods,
    slots: Vec<Running>,
    free: Vec<u32>,
    ends: BinaryHeap<Reverse<(u64, u32)>>,
    /// In the order of their making where they are due together.
    due: BinaryHeap<Reverse<(u64, u64, Due)>>,
    made: u64,
    paused_until: u64,
    next_row: u64,
    /// Changes of the scale that were asked for, the latest that was made, and attempts at them.
    orders: u64,
    landed: u64,
    attempts: u64,
    resolution: u64,
    score: Score,
}

impl<'a> World<'a> {
    #[must_use]
    pub fn new(setup: &'a Setup, jobs: &'a Jobs) -> Self {
        let streams = jobs.streams.iter().copied().max().map_or(1, |most| usize::from(most) + 1);
        let mut world = World {
            setup,
            jobs,
            now: 0,
            next: 0,
            open: 0,
            queue: Queue::new(streams),
            pods: Pods::new(setup),
            slots: Vec::new(),
            free: Vec::new(),
            ends: BinaryHeap::new(),
            due: BinaryHeap::new(),
            made: 0,
            paused_until: 0,
            next_row: if setup.resolution.is_some() { 0 } else { NEVER },
            orders: 0,
            landed: 0,
            attempts: 0,
            resolution: setup.resolution.unwrap_or(NEVER),
            score: Score::new(setup.slo_wait),
        };
        for _ in 0..setup.initial {
            let pod = world.pods.create(0);
            world.pods.ready_from_the_beginning(pod, setup);
        }
        world
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(mut self, scaler: &mut Scaler) -> Score {
        let span = self.jobs.span;
        // Nobody waits for a workload that takes ten times as long to be done as to come.
        let patience = span.saturating_mul(10).saturating_add(86_400 * 1_000_000_000);
        loop {
            let timer = self.due.peek().map_or(NEVER, |Reverse((at, ..))| *at);
            // Where it may be given up, somebody has to look up from the work now and then.
            let pause = self.setup.give_up_when_late.map_or(NEVER, |_| self.now.saturating_add(span / 64 + 1));
            let control = timer.min(scaler.next()).min(self.next_row).min(pause);
            if self.work_until(control) {
                let end = self.now.max(span);
                if control > end {
                    self.now = end;
                    break;
                }
            } else if control == NEVER && self.ends.is_empty() && self.next >= self.jobs.len() {
                // Nobody will ever do what is left.
                self.score.drained = false;
                break;
            }
            let late = self.score.late;
            if control > patience || self.setup.give_up_when_late.is_some_and(|most| late > most) {
                self.score.drained = false;
                break;
            }
            self.now = control;
            if control == self.next_row {
                self.row(scaler);
            } else if control == timer {
                if let Some(Reverse((_, _, due))) = self.due.pop() {
                    self.carry_out(due, scaler);
                }
            } else if control == scaler.next() {
                self.look(scaler);
            }
        }
        self.close()
    }

    /// Lets jobs arrive and end up to `until`, inclusive. Whether all of them are done with.
    fn work_until(&mut self, until: u64) -> bool {
        loop {
            let arrival = self.jobs.arrivals.get(self.next).copied().unwrap_or(NEVER);
            if self.open == 0 && arrival == NEVER {
                return true;
            }
            let end = self.ends.peek().map_or(NEVER, |Reverse((at, _))| *at);
            let at = arrival.min(end);
            if at > until || at == NEVER {
                return false;
            }
            self.now = at;
            if end <= arrival { self.end() } else { self.arrive() }
        }
    }

    // === what is due ===

    fn at(&mut self, at: u64, due: Due) {
        self.made += 1;
        self.due.push(Reverse((at, self.made, due)));
    }

    fn carry_out(&mut self, due: Due, scaler: &mut Scaler) {
        match due {
            Due::Started(pod) => self.started(pod),
            Due::Kill(pod) => self.kill(pod),
            Due::Redeliver(job) => {
                self.queue.let_go(self.stream(job));
                self.enter(job);
            }
            Due::Resume => self.dispatch(),
            // The latest wish wins, as with the actuator: what was overtaken on its way is not done any more.
            Due::Scale { order, .. } if order < self.landed => {}
            Due::Scale { order, to, why } => {
                self.landed = order;
                let from = self.pods.wanted();
                self.score.scaled(self.now, from, to, why, self.setup.resolution.is_some());
                self.scale(to);
                let mut orders = Vec::new();
                scaler.applied(&self.view(), from, to, &mut orders);
                self.order(&orders);
            }
        }
    }

    fn view(&self) -> View {
        View {
            now: self.now,
            replicas: self.pods.wanted(),
            ready: self.pods.ready(),
            rebalancing: self.now < self.paused_until,
        }
    }

    fn look(&mut self, scaler: &mut Scaler) {
        let mut orders = Vec::new();
        scaler.wake(&self.view(), &self.queue, &mut orders);
        self.order(&orders);
    }

    fn order(&mut self, orders: &[Order]) {
        for order in orders {
            let luck = Luck::new(self.setup.seed, Stream::Conflict);
            let mut at = self.now.saturating_add(self.setup.actuation_delay);
            let mut backoff = CONFLICT_BACKOFF;
            while luck.happens(self.attempts, self.setup.conflicts) {
                self.attempts += 1;
                self.score.conflicts += 1;
                at = at.saturating_add(backoff).saturating_add(self.setup.actuation_delay);
                backoff = (backoff * 2).min(LONGEST_CONFLICT_BACKOFF);
            }
            self.attempts += 1;
            self.orders += 1;
            self.at(at, Due::Scale { order: self.orders, to: order.to, why: order.why });
        }
    }

    // === pods ===

    fn scale(&mut self, to: Replicas) {
        while self.pods.wanted() < to {
            let pod = self.pods.create(self.now);
            self.schedule(pod);
        }
        while self.pods.wanted() > to.max(0) {
            let Some(pod) = self.pods.victim(self.setup) else { return };
            self.terminate(pod);
        }
    }

    /// A pod begins to start, if the cluster has room for it.
    fn schedule(&mut self, pod: u32) {
        if let Some(takes) = self.pods.schedule(pod, self.now, self.setup) {
            self.at(self.now.saturating_add(takes), Due::Started(pod));
        }
    }

    fn started(&mut self, pod: u32) {
        match self.pods.started(pod, self.now, self.setup) {
            pods::Start::Failed { again_in } => self.at(self.now.saturating_add(again_in), Due::Started(pod)),
            pods::Start::Ready => {
                self.pause();
                self.dispatch();
            }
            pods::Start::Nobody => {}
        }
    }

    fn terminate(&mut self, pod: u32) {
        let was_ready = self.pods.is_ready(pod);
        for job in self.pods.returns(pod) {
            let stream = self.stream(job);
            self.queue.put_back(self.now, stream, job);
        }
        if self.pods.begins_to_end(pod) {
            self.at(self.now.saturating_add(self.setup.grace), Due::Kill(pod));
        } else {
            self.gone(pod);
        }
        if was_ready {
            self.pause();
        }
        self.dispatch();
    }

    /// Whoever is left divides the work anew.
    fn pause(&mut self) {
        if self.setup.rebalance_pause > 0 {
            self.paused_until = self.now.saturating_add(self.setup.rebalance_pause);
            self.at(self.paused_until, Due::Resume);
        }
    }

    fn gone(&mut self, pod: u32) {
        self.pods.gone(pod, self.now);
        if let Some(next) = self.pods.next_pending(self.setup) {
            self.schedule(next);
        }
    }

    // === the end ===

    fn row(&mut self, scaler: &Scaler) {
        let oldest = self.queue.oldest().map_or(0, |job| self.now - self.arrival(job));
        self.score.row(Row {
            at: self.now,
            arrived: 0,
            waiting: self.queue.waiting,
            oldest,
            wanted: scaler.wanted(),
            asked: self.pods.wanted(),
            ready: self.pods.ready(),
            busy: self.pods.busy(),
        });
        if self.score.timeline.len() >= MOST_ROWS {
            self.score.thin_out();
            self.resolution = self.resolution.saturating_mul(2);
        }
        self.next_row = self.now.saturating_add(self.resolution);
    }

    fn close(mut self) -> Score {
        // Who still waits shows in no wait, but somebody has been waiting all that time.
        for job in self.queue.jobs() {
            self.score.starts(self.jobs.arrivals.get(job as usize).copied().unwrap_or(self.now), self.now);
        }
        self.queue.close(self.now);
        self.pods.close(self.now);
        // Whoever still runs, ran until now.
        for Reverse((_, slot)) in std::mem::take(&mut self.ends).into_vec() {
            if let Some(running) = self.slots.get(slot as usize).filter(|running| !running.cut_off) {
                self.score.cut_off(self.now - running.started);
                self.pods.loses(running.pod, self.now - running.started);
            }
        }
        self.score.left = self.open + (self.jobs.len() - self.next) as u64;
        self.score.end = self.now;
        self.pods.tell(&mut self.score);
        debug_assert_eq!(self.queue.area(), self.queue.waited(), "Little's law");
        debug_assert_eq!(self.score.busy, self.pods.busy_time(), "work done is time in slots");
        self.score.identities = self.queue.area() == self.queue.waited() && self.score.busy == self.pods.busy_time();
        self.score
    }
}
