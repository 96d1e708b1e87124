//! The books of one workload that exists only in this process: how many replicas are asked for, how many of them work
//! already, and what was seen since when.
//!
//! Synchronous, time as an argument. Safety is asserted on what stands here ("never fewer than three during the
//! outage"), not on what some scaler meant to do, so every change passes through [`Workload::set`].

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use crate::model::{Replicas, Tick};
use crate::target::Scale;

/// Changes remembered for each workload. A scaler that acts on every sample at the default 250 ms fills it in four
/// minutes, an HPA at its fastest in four hours; at some 50 bytes each, a thousand workloads cost 50 MB at worst.
/// The lowest and highest counts do not depend on it.
pub const HISTORY: usize = 1024;

/// One change of the asked-for count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub at: Tick,
    /// Asked for, from this moment on.
    pub replicas: Replicas,
    /// Who did it and why, for people.
    pub why: Cow<'static, str>,
}

/// A copy of the books at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    pub scale: Scale,
    /// Fewest and most replicas asked for since `marked`.
    pub lowest: Replicas,
    pub highest: Replicas,
    pub marked: Tick,
    /// Oldest first, at most [`HISTORY`].
    pub history: Vec<Change>,
    /// Changes older than the oldest in `history`.
    pub forgotten: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Workload {
    replicas: Replicas,
    ready: Replicas,
    /// From being asked for to working: image pull, process start, first fetch.
    start_up: Duration,
    /// Replicas on their way, by the moment they become ready; ascending.
    starting: VecDeque<(Tick, Replicas)>,
    lowest: Replicas,
    highest: Replicas,
    marked: Tick,
    history: VecDeque<Change>,
    forgotten: u64,
}

impl Workload {
    /// A workload that has been standing at `replicas`, all of them ready.
    #[must_use]
    pub fn new(now: Tick, replicas: Replicas, start_up: Duration) -> Self {
        let replicas = replicas.max(0);
        Workload {
            replicas,
            ready: replicas,
            start_up,
            starting: VecDeque::new(),
            lowest: replicas,
            highest: replicas,
            marked: now,
            history: VecDeque::from([Change { at: now, replicas, why: Cow::Borrowed("registered") }]),
            forgotten: 0,
        }
    }

    #[must_use]
    pub fn scale(&self) -> Scale {
        Scale { replicas: self.replicas, ready: self.ready }
    }

    /// For replicas asked for from now on; those on their way keep their moment.
    pub fn set_start_up(&mut self, start_up: Duration) {
        self.start_up = start_up;
    }

    /// Asks for `replicas` (a negative count is none). More become ready after the start-up delay; fewer are gone at
    /// once, those that are not ready first, as a ReplicaSet does. Returns whether anything changed.
    pub fn set(&mut self, now: Tick, replicas: Replicas, why: Cow<'static, str>) -> bool {
        self.settle(now);
        let replicas = replicas.max(0);
        if replicas == self.replicas {
            return false;
        }
        if replicas > self.replicas {
            let at = now.after(self.start_up);
            // A start-up delay that was shortened meanwhile may put newcomers before those that already wait.
            let place = self.starting.partition_point(|(ready_at, _)| *ready_at <= at);
            self.starting.insert(place, (at, replicas - self.replicas));
        } else {
            let mut surplus = self.replicas - replicas;
            while let Some((_, batch)) = self.starting.back_mut() {
                let taken = surplus.min(*batch);
                *batch -= taken;
                surplus -= taken;
                if *batch > 0 {
                    break;
                }
                self.starting.pop_back();
            }
            self.ready -= surplus;
        }
        self.replicas = replicas;
        self.lowest = self.lowest.min(replicas);
        self.highest = self.highest.max(replicas);
        if self.history.len() == HISTORY {
            self.history.pop_front();
            self.forgotten += 1;
        }
        self.history.push_back(Change { at: now, replicas, why });
        self.settle(now);
        true
    }

    /// Lets those become ready whose moment has come. Returns whether any did.
    pub fn settle(&mut self, now: Tick) -> bool {
        let before = self.ready;
        while let Some((_, batch)) = self.starting.pop_front_if(|(at, _)| *at <= now) {
            self.ready += batch;
        }
        self.ready != before
    }

    /// When the next replica becomes ready; [`Tick::NEVER`] if none is on its way.
    #[must_use]
    pub fn next_ready(&self) -> Tick {
        self.starting.front().map_or(Tick::NEVER, |(at, _)| *at)
    }

    /// Begins a new stretch for `lowest` and `highest`.
    pub fn mark(&mut self, now: Tick) {
        self.lowest = self.replicas;
        self.highest = self.replicas;
        self.marked = now;
    }

    #[must_use]
    pub fn view(&self) -> View {
        View {
            scale: self.scale(),
            lowest: self.lowest,
            highest: self.highest,
            marked: self.marked,
            history: self.history.iter().cloned().collect(),
            forgotten: self.forgotten,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START_UP: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Tick {
        Tick::from_millis(seconds * 1000)
    }

    fn test() -> Cow<'static, str> {
        Cow::Borrowed("test")
    }

    fn counts(workload: &Workload) -> (Replicas, Replicas) {
        (workload.scale().replicas, workload.scale().ready)
    }

    #[test]
    fn replicas_work_only_after_their_start_up() {
        let mut workload = Workload::new(at(0), 1, START_UP);
        assert!(workload.set(at(5), 3, test()));
        assert_eq!((counts(&workload), workload.next_ready()), ((3, 1), at(15)));
        assert!(!workload.settle(at(14)));
        assert!(workload.settle(at(15)));
        assert_eq!((counts(&workload), workload.next_ready()), ((3, 3), Tick::NEVER));
    }

    #[test]
    fn going_down_takes_those_that_are_not_ready_first_and_the_youngest_of_them() {
        let mut workload = Workload::new(at(0), 2, START_UP);
        workload.set(at(1), 4, test());
        workload.set(at(2), 7, test());
        workload.set(at(3), 5, test());
        assert_eq!(counts(&workload), (5, 2));
        assert!(workload.settle(at(11)));
        assert_eq!((counts(&workload), workload.next_ready()), ((5, 4), at(12)));
        workload.set(at(11), 1, test());
        assert_eq!((counts(&workload), workload.next_ready()), ((1, 1), Tick::NEVER));
        workload.set(at(12), -5, test());
        assert_eq!(counts(&workload), (0, 0));
    }

    #[test]
    fn without_a_delay_everybody_is_ready_at_once() {
        let mut workload = Workload::new(at(0), 0, Duration::ZERO);
        workload.set(at(1), 9, test());
        assert_eq!(counts(&workload), (9, 9));
    }

    #[test]
    fn extremes_count_from_the_mark_and_survive_what_the_history_forgets() {
        let mut workload = Workload::new(at(0), 5, Duration::ZERO);
        workload.set(at(1), 0, test());
        workload.set(at(2), 6, test());
        assert_eq!((workload.view().lowest, workload.view().highest), (0, 6));
        workload.mark(at(3));
        assert_eq!((workload.view().lowest, workload.view().highest, workload.view().marked), (6, 6, at(3)));
        workload.set(at(4), 99, test());
        for round in 0..2 * HISTORY as u64 {
            workload.set(at(5 + round), 10 + (round % 2) as Replicas, test());
        }
        let view = workload.view();
        assert_eq!((view.lowest, view.highest, view.history.len()), (6, 99, HISTORY));
        // Registered, three by hand, then the loop.
        assert_eq!(view.forgotten, 4 + HISTORY as u64);
        assert!(view.history.is_sorted_by_key(|change| change.at));
    }

    #[test]
    fn a_request_for_what_stands_already_is_no_change() {
        let mut workload = Workload::new(at(0), 5, START_UP);
        assert!(!workload.set(at(1), 5, test()));
        assert_eq!(workload.view().history.len(), 1);
    }

    #[test]
    fn a_shorter_start_up_lets_newcomers_overtake() {
        let mut workload = Workload::new(at(0), 0, START_UP);
        workload.set(at(1), 1, test());
        workload.set_start_up(Duration::from_secs(2));
        workload.set(at(2), 3, test());
        assert_eq!(workload.next_ready(), at(4));
        workload.settle(at(4));
        assert_eq!(counts(&workload), (3, 2));
    }
}
