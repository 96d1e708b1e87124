//! What a run came to: how long jobs waited, what it cost, how much it moved.

use hdrhistogram::Histogram;

use crate::model::Replicas;

/// Changes of direction within this time count as reversals.
const REVERSAL: u64 = 600 * 1_000_000_000;

/// Waits are kept to three digits, in microseconds, up to this: eleven days.
const LONGEST_WAIT: u64 = 1_000_000_000_000;

/// A moment of the timeline. Times are nanoseconds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Row {
    pub at: u64,
    /// Arrived since the row before.
    pub arrived: u64,
    pub waiting: u64,
    /// Age of the oldest of those at the front of their lines.
    pub oldest: u64,
    /// What the policy would like, before anything holds it back.
    pub wanted: Option<Replicas>,
    pub asked: Replicas,
    pub ready: Replicas,
    /// Jobs in slots.
    pub busy: u64,
}

/// A change of the scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Action {
    pub at: u64,
    pub from: Replicas,
    pub to: Replicas,
    pub why: &'static str,
}

/// What a run came to. Times are nanoseconds, of replicas where they are costs.
#[derive(Clone, Debug)]
pub struct Score {
    slo_wait: u64,
    /// Microseconds from arrival to the start that ended well.
    pub waits: Histogram<u64>,
    /// Sum of them, nanoseconds.
    pub waited: u128,
    pub arrived: u64,
    pub done: u64,
    pub late: u64,
    /// By how much, in all.
    pub late_by: u128,
    pub lost: u64,
    pub redelivered: u64,
    /// Neither done nor lost when the run ended.
    pub left: u64,
    /// Longest time, more or less, in which somebody was waiting too long: stretches are joined as their jobs start.
    pub longest_breach: u64,
    breach: Option<(u64, u64)>,
    /// Longest wait, and the longest of finish - service - arrival, which counts every detour as waiting.
    pub longest_wait: u64,
    pub longest_detour: u64,
    /// Time in slots.
    pub busy: u128,
    /// What the jobs took by themselves.
    pub work: u128,
    pub cost: u128,
    pub starting: u128,
    pub idle: u128,
    pub starts: u64,
    pub wasted_starts: u64,
    pub shortest_start: Option<u64>,
    /// Most pods at once, those that start and end included.
    pub peak: u32,
    pub actions: u64,
    pub reversals: u64,
    pub conflicts: u64,
    /// When the last job was done, or the arrivals ended.
    pub end: u64,
    /// All jobs were done with.
    pub drained: bool,
    /// The identities held.
    pub identities: bool,
    pub timeline: Vec<Row>,
    pub log: Vec<Action>,
    arrived_before: u64,
    last_move: Option<(u64, bool)>,
}

/// Where waits are counted. The bounds are in order and the digits allowed, so there is nothing that could go wrong.
#[expect(clippy::unwrap_used, reason = "of constants")]
#[must_use]
pub fn waits() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_WAIT, 3).unwrap()
}

impl Score {
    pub(super) fn new(slo_wait: u64) -> Self {
        Score {
            slo_wait,
            waits: waits(),
            waited: 0,
            arrived: 0,
            done: 0,
            late: 0,
            late_by: 0,
            lost: 0,
            redelivered: 0,
            left: 0,
            longest_breach: 0,
            breach: None,
            longest_wait: 0,
            longest_detour: 0,
            busy: 0,
            work: 0,
            cost: 0,
            starting: 0,
            idle: 0,
            starts: 0,
            wasted_starts: 0,
            shortest_start: None,
            peak: 0,
            actions: 0,
            reversals: 0,
            conflicts: 0,
            end: 0,
            drained: true,
            identities: false,
            timeline: Vec::new(),
            log: Vec::new(),
            arrived_before: 0,
            last_move: None,
        }
    }

    pub(super) fn starts(&mut self, arrival: u64, now: u64) {
        let due = arrival.saturating_add(self.slo_wait);
        if now > due {
            // Somebody has been waiting too long from `due` until now.
            self.breach = match self.breach {
                Some((from, until)) if due <= until => Some((from.min(due), now)),
                _ => Some((due, now)),
            };
            if let Some((from, until)) = self.breach {
                self.longest_breach = self.longest_breach.max(until - from);
            }
        }
    }

    pub(super) fn ends(&mut self, arrival: u64, started: u64, now: u64, service: u64) {
        let wait = started - arrival;
        self.done += 1;
        self.waits.saturating_record(wait / 1000);
        self.waited += u128::from(wait);
        self.longest_wait = self.longest_wait.max(wait);
        self.longest_detour = self.longest_detour.max((now - arrival).saturating_sub(service));
        if wait > self.slo_wait {
            self.late += 1;
            self.late_by += u128::from(wait - self.slo_wait);
        }
        self.busy += u128::from(now - started);
        self.work += u128::from(service);
    }

    pub(super) fn cut_off(&mut self, after: u64) {
        self.busy += u128::from(after);
    }

    pub(super) fn scaled(&mut self, now: u64, from: Replicas, to: Replicas, why: &'static str, logs: bool) {
        if from == to {
            return;
        }
        self.actions += 1;
        let up = to > from;
        if self.last_move.is_some_and(|(at, was_up)| was_up != up && now - at <= REVERSAL) {
            self.reversals += 1;
        }
        self.last_move = Some((now, up));
        if logs {
            self.log.push(Action { at: now, from, to, why });
        }
    }

    pub(super) fn row(&mut self, row: Row) {
        let arrived = self.arrived - self.arrived_before;
        self.arrived_before = self.arrived;
        self.timeline.push(Row { arrived, ..row });
    }

    /// Takes out every second row; their arrivals go to the rows behind them.
    pub(super) fn thin_out(&mut self) {
        let mut arrived = 0;
        let mut at = 0;
        self.timeline.retain_mut(|row| {
            arrived += row.arrived;
            at += 1;
            let stays = at % 2 == 1;
            if stays {
                row.arrived = std::mem::take(&mut arrived);
            }
            stays
        });
        self.arrived_before -= arrived;
    }

    // === what is made of it ===

    /// Share of all jobs that were started in time, and done.
    #[must_use]
    pub fn on_time(&self) -> f64 {
        let all = self.done + self.lost + self.left;
        if all == 0 { 1.0 } else { (self.done - self.late) as f64 / all as f64 }
    }

    /// Replica-seconds.
    #[must_use]
    pub fn replica_seconds(&self) -> f64 {
        self.cost as f64 / 1e9
    }

    #[must_use]
    pub fn mean_wait(&self) -> f64 {
        if self.done == 0 { 0.0 } else { self.waited as f64 / self.done as f64 / 1e9 }
    }
}
