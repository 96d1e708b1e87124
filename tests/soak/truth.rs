//! What really was in the queues of each autoscaler, and when: the judge of every scale-down.

use std::time::SystemTime;

use crate::seconds;

/// Items a replica.
pub const TARGET: usize = 5;
pub const MOST: i64 = 40;

/// Older than this no sample may be acted on.
pub const MAX_AGE: f64 = 3.0;

/// What a busy machine may add between a decision and its entry in the books.
const SCHEDULING: f64 = 1.5;

#[derive(Default)]
pub struct Truth {
    /// From when on so many items, seconds since the epoch. Each ends a little after the next has begun.
    backlogs: Vec<(f64, usize)>,
}

/// What so many items ask for.
pub fn wants(items: usize) -> i64 {
    (items.div_ceil(TARGET) as i64).clamp(1, MOST)
}

impl Truth {
    /// So many items, about to be written at `before`.
    pub fn becomes(&mut self, items: usize, before: SystemTime) {
        self.backlogs.push((seconds(before), items));
    }

    pub fn now(&self) -> usize {
        self.backlogs.last().map_or(0, |(_, items)| *items)
    }

    /// Whether at `at` somebody who had looked at most [`MAX_AGE`] ago could have wanted just these replicas.
    pub fn explains(&self, at: f64, replicas: i64) -> bool {
        let (from, to) = (at - MAX_AGE - SCHEDULING, at + 0.1);
        let ends = self.backlogs.iter().skip(1).map(|(next, _)| next + SCHEDULING).chain([f64::INFINITY]);
        let valid = self.backlogs.iter().zip(ends).filter(|((began, _), end)| *began <= to && *end >= from);
        valid.into_iter().any(|((_, items), _)| wants(*items) == replicas)
    }

    /// The last of it, for messages.
    pub fn tail(&self, at: f64) -> Vec<(f64, usize)> {
        self.backlogs
            .iter()
            .filter(|(began, _)| (began - at).abs() < 20.0)
            .map(|(began, items)| (began - at, *items))
            .collect()
    }
}
