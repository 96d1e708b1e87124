//! The queue: a line for each stream, the first streams first; and how much of it is in whose hands.

use std::collections::VecDeque;

/// Lines, and the area under them.
#[derive(Debug)]
pub struct Queue {
    lines: Vec<VecDeque<(u32, u64)>>,
    /// Taken and not done, by stream.
    held: Vec<u64>,
    /// In all lines.
    pub(crate) waiting: u64,
    /// Nanoseconds times jobs.
    area: u128,
    waited: u128,
    since: u64,
}

impl Queue {
    pub(super) fn new(streams: usize) -> Self {
        Queue {
            lines: vec![VecDeque::new(); streams],
            held: vec![0; streams],
            waiting: 0,
            area: 0,
            waited: 0,
            since: 0,
        }
    }

    /// Jobs that wait in a stream.
    #[must_use]
    pub fn depth(&self, stream: usize) -> u64 {
        self.lines.get(stream).map_or(0, |line| line.len() as u64)
    }

    /// Jobs of a stream in somebody's hands.
    #[must_use]
    pub fn in_flight(&self, stream: usize) -> u64 {
        self.held.get(stream).copied().unwrap_or(0)
    }

    fn pass(&mut self, now: u64) {
        self.area += u128::from(self.waiting) * u128::from(now - self.since);
        self.since = now;
    }

    pub(super) fn push(&mut self, now: u64, stream: usize, job: u32) {
        self.pass(now);
        self.waiting += 1;
        if let Some(line) = self.lines.get_mut(stream) {
            line.push_back((job, now));
        }
    }

    /// To the front: it was there already.
    pub(super) fn put_back(&mut self, now: u64, stream: usize, job: u32) {
        self.pass(now);
        self.waiting += 1;
        if let (Some(line), Some(held)) = (self.lines.get_mut(stream), self.held.get_mut(stream)) {
            line.push_front((job, now));
            *held -= 1;
        }
    }

    pub(super) fn take_at_once(&mut self, stream: usize) {
        if let Some(held) = self.held.get_mut(stream) {
            *held += 1;
        }
    }

    pub(super) fn pop(&mut self, now: u64) -> Option<u32> {
        for (line, held) in self.lines.iter_mut().zip(&mut self.held) {
            if let Some((job, since)) = line.pop_front() {
                *held += 1;
                self.waited += u128::from(now - since);
                self.pass(now);
                self.waiting -= 1;
                return Some(job);
            }
        }
        None
    }

    /// A job is nobody's any more.
    pub(super) fn let_go(&mut self, stream: usize) {
        if let Some(held) = self.held.get_mut(stream) {
            *held -= 1;
        }
    }

    /// The job at the front that came first.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.lines.iter().filter_map(|line| line.front()).map(|(job, _)| *job).min()
    }

    /// All that wait.
    pub(super) fn jobs(&self) -> impl Iterator<Item = u32> + '_ {
        self.lines.iter().flatten().map(|(job, _)| *job)
    }

    pub(super) fn close(&mut self, now: u64) {
        self.pass(now);
        self.waited += self.lines.iter().flatten().map(|(_, since)| u128::from(now - since)).sum::<u128>();
    }

    pub(super) fn area(&self) -> u128 {
        self.area
    }

    pub(super) fn waited(&self) -> u128 {
        self.waited
    }
}
