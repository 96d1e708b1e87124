//! Jobs at work: taken from the queue, started in a slot, ended, or cut off with their pod.

use std::cmp::Reverse;

use super::{Due, World, pods};
use crate::sim::whole;
use crate::spec::scenario::Unfinished;

/// A job in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    job: u32,
    pub(super) pod: u32,
    pub(super) started: u64,
    /// Its pod was killed.
    pub(super) cut_off: bool,
}

impl World<'_> {
    pub(super) fn stream(&self, job: u32) -> usize {
        self.jobs.streams.get(job as usize).map_or(0, |stream| usize::from(*stream))
    }

    pub(super) fn arrival(&self, job: u32) -> u64 {
        self.jobs.arrivals.get(job as usize).copied().unwrap_or(0)
    }

    fn service(&self, job: u32) -> u64 {
        self.jobs.services.get(job as usize).copied().unwrap_or(0)
    }

    pub(super) fn arrive(&mut self) {
        let Ok(job) = u32::try_from(self.next) else { return };
        self.next += 1;
        self.open += 1;
        self.score.arrived += 1;
        self.enter(job);
    }

    /// A job waits, or is taken at once by whoever has waited longest for one.
    pub(super) fn enter(&mut self, job: u32) {
        let stream = self.stream(job);
        if self.queue.waiting == 0
            && self.now >= self.paused_until
            && let Some(pod) = self.pods.room()
        {
            self.queue.take_at_once(stream);
            self.hold(pod, job);
        } else {
            self.queue.push(self.now, stream, job);
        }
    }

    /// A pod takes a job: into a slot, or to have it at hand.
    fn hold(&mut self, pod: u32, job: u32) {
        if self.pods.takes_into_slot(pod, job) {
            self.start(pod, job);
        }
    }

    fn start(&mut self, pod: u32, job: u32) {
        let service = self.service(job);
        let took = match self.setup.warm_up {
            Some((lasts, slowdown)) if self.now < self.pods.ready_since(pod).saturating_add(lasts) => {
                whole(service as f64 * slowdown)
            }
            _ => service,
        };
        let running = Running { job, pod, started: self.now, cut_off: false };
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.slots.get_mut(slot as usize) {
                    *place = running;
                }
                slot
            }
            None => {
                self.slots.push(running);
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.score.starts(self.arrival(job), self.now);
        self.ends.push(Reverse((self.now.saturating_add(took), slot)));
    }

    pub(super) fn end(&mut self) {
        let Some(Reverse((_, slot))) = self.ends.pop() else { return };
        self.free.push(slot);
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        // Nobody's any more, whoever's it was.
        let ended = Running { cut_off: true, ..*place };
        let Running { job, pod, started, cut_off } = std::mem::replace(place, ended);
        if cut_off {
            return;
        }
        self.open -= 1;
        self.queue.let_go(self.stream(job));
        self.score.ends(self.arrival(job), started, self.now, self.service(job));
        let busy = self.now - started;
        if let Some(next) = self.pods.finishes(pod, busy) {
            self.start(pod, next);
        }
        match self.pods.after_finish(pod) {
            pods::After::Takes if self.queue.waiting > 0 && self.now >= self.paused_until => {
                if let Some(job) = self.queue.pop(self.now) {
                    self.hold(pod, job);
                }
            }
            pods::After::Takes => self.pods.offers(pod),
            pods::After::Goes => self.gone(pod),
            pods::After::Ends => {}
        }
    }

    /// Gives waiting jobs to whoever has room.
    pub(super) fn dispatch(&mut self) {
        while self.now >= self.paused_until && self.queue.waiting > 0 {
            let Some(pod) = self.pods.room() else { return };
            let Some(job) = self.queue.pop(self.now) else { return };
            self.hold(pod, job);
        }
    }

    pub(super) fn kill(&mut self, pod: u32) {
        if !self.pods.is_ending(pod) {
            return;
        }
        let mut cut_off = Vec::new();
        for running in self.slots.iter_mut().filter(|running| running.pod == pod && !running.cut_off) {
            running.cut_off = true;
            cut_off.push(*running);
        }
        for Running { job, started, .. } in cut_off {
            self.score.cut_off(self.now - started);
            match self.setup.unfinished {
                Unfinished::Lost => {
                    self.open -= 1;
                    self.queue.let_go(self.stream(job));
                    self.score.lost += 1;
                }
                Unfinished::Redelivered => {
                    self.score.redelivered += 1;
                    let at = started.saturating_add(self.setup.visibility_timeout).max(self.now);
                    self.at(at, Due::Redeliver(job));
                }
            }
            self.pods.loses(pod, self.now - started);
        }
        self.gone(pod);
    }
}
