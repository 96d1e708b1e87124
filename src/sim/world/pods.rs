//! Pods: asked for, scheduled, starting, ready, ending, gone; and who has room for a job.
//!
//! Jobs are dealt out in turn, as Redis serves blocked clients: whoever has waited longest is next, and whoever has room for
//! more queues again. A pod that takes work in advance has room for more jobs than it has slots.

use std::collections::VecDeque;

use super::Setup;
use crate::model::Replicas;
use crate::sim::luck::{Luck, Stream};
use crate::sim::score::Score;
use crate::spec::scenario::Victim;

/// As the kubelet does after a crash: twice as long after each, up to five minutes.
pub(super) const CRASH_BACKOFF: u64 = 10_000_000_000;
const LONGEST_BACKOFF: u64 = 300_000_000_000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// There is no room in the cluster.
    Pending,
    Starting,
    Ready,
    /// Takes nothing any more, and ends what it has.
    Ending,
    Gone,
}

#[derive(Debug)]
struct Pod {
    state: State,
    scheduled: u64,
    ready: u64,
    attempts: u64,
    /// Jobs that it could take.
    room: u32,
    /// Jobs in slots.
    running: u32,
    /// Jobs that were taken in advance.
    at_hand: VecDeque<u32>,
    /// Time of its slots that was worked in.
    busy: u128,
}

/// What comes after a job's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum After {
    /// The pod has room for another.
    Takes,
    /// That was the last of a pod that was to end.
    Goes,
    /// It still has others to end.
    Ends,
}

/// What comes of a start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Start {
    Ready,
    Failed {
        again_in: u64,
    },
    /// It was not wanted any more.
    Nobody,
}

/// All pods of a run, by the order in which they were asked for.
#[derive(Debug)]
pub(super) struct Pods {
    pods: Vec<Pod>,
    /// Those that are wanted.
    wanted: Vec<u32>,
    /// Pods that could take a job, each once.
    room: VecDeque<u32>,
    /// Scheduled and not gone.
    present: u32,
    ready: Replicas,
    /// Slots with a job in them.
    busy: u64,
    slots: u32,
    prefetch: u32,
    /// Nanoseconds of pods, from being scheduled to being gone.
    cost: u128,
    starting: u128,
    ready_time: u128,
    busy_time: u128,
    wasted: u64,
    started: u64,
    shortest_start: Option<u64>,
    peak: u32,
}

impl Pods {
    pub(super) fn new(setup: &Setup) -> Self {
        Pods {
            pods: Vec::new(),
            wanted: Vec::new(),
            room: VecDeque::new(),
            present: 0,
            ready: 0,
            busy: 0,
            slots: setup.slots,
            prefetch: setup.prefetch,
            cost: 0,
            starting: 0,
            ready_time: 0,
            busy_time: 0,
            wasted: 0,
            started: 0,
            shortest_start: None,
            peak: 0,
        }
    }

    fn get(&self, pod: u32) -> Option<&Pod> {
        self.pods.get(pod as usize)
    }

    fn state(&self, pod: u32) -> State {
        self.get(pod).map_or(State::Gone, |pod| pod.state)
    }

    pub(super) fn wanted(&self) -> Replicas {
        Replicas::try_from(self.wanted.len()).unwrap_or(Replicas::MAX)
    }

    pub(super) fn ready(&self) -> Replicas {
        self.ready
    }

    pub(super) fn busy(&self) -> u64 {
        self.busy
    }

    pub(super) fn busy_time(&self) -> u128 {
        self.busy_time
    }

    pub(super) fn is_ready(&self, pod: u32) -> bool {
        self.state(pod) == State::Ready
    }

    pub(super) fn is_ending(&self, pod: u32) -> bool {
        self.state(pod) == State::Ending
    }

    pub(super) fn ready_since(&self, pod: u32) -> u64 {
        self.get(pod).map_or(0, |pod| pod.ready)
    }

    // === coming ===

    /// One more is wanted.
    pub(super) fn create(&mut self, now: u64) -> u32 {
        let pod = u32::try_from(self.pods.len()).unwrap_or(u32::MAX);
        self.pods.push(Pod {
            state: State::Pending,
            scheduled: now,
            ready: 0,
            attempts: 0,
            room: 0,
            running: 0,
            at_hand: VecDeque::new(),
            busy: 0,
        });
        self.wanted.push(pod);
        pod
    }

    /// Without a start-up, where the cluster has room for it.
    pub(super) fn ready_from_the_beginning(&mut self, pod: u32, setup: &Setup) {
        if setup.capacity.is_none_or(|capacity| self.present < capacity) {
            self.is_present();
            self.becomes_ready(pod, 0);
        }
    }

    fn is_present(&mut self) {
        self.present += 1;
        self.peak = self.peak.max(self.present);
    }

    /// How long the start takes. `None`: the cluster has no room for it.
    pub(super) fn schedule(&mut self, pod: u32, now: u64, setup: &Setup) -> Option<u64> {
        if setup.capacity.is_some_and(|capacity| self.present >= capacity) {
            return None;
        }
        let takes = start_up(u64::from(pod), 0, setup);
        let place = self.pods.get_mut(pod as usize)?;
        (place.state, place.scheduled) = (State::Starting, now);
        self.is_present();
        Some(takes)
    }

    pub(super) fn started(&mut self, pod: u32, now: u64, setup: &Setup) -> Start {
        let Some(place) = self.pods.get_mut(pod as usize).filter(|place| place.state == State::Starting) else {
            return Start::Nobody;
        };
        let ordinal = u64::from(pod) << 16 | place.attempts;
        if Luck::new(setup.seed, Stream::StartFails).happens(ordinal, setup.failing) {
            place.attempts += 1;
            let doublings = u32::try_from(place.attempts - 1).unwrap_or(u32::MAX).min(5);
            let backoff = (CRASH_BACKOFF << doublings).min(LONGEST_BACKOFF);
            // The node and the image are there already.
            let [_, _, init] = &setup.start_up;
            let luck = Luck::new(setup.seed, Stream::StartUp(2));
            let again = u64::from(pod) << 16 | place.attempts;
            return Start::Failed { again_in: backoff.saturating_add(init.draw(luck, again)) };
        }
        let took = now - place.scheduled;
        self.started += 1;
        self.shortest_start = Some(self.shortest_start.map_or(took, |shortest| shortest.min(took)));
        self.becomes_ready(pod, now);
        Start::Ready
    }

    fn becomes_ready(&mut self, pod: u32, now: u64) {
        let Some(place) = self.pods.get_mut(pod as usize) else { return };
        (place.state, place.ready) = (State::Ready, now);
        self.ready += 1;
        place.room = self.slots + self.prefetch;
        self.room.push_back(pod);
    }

    /// The one that has waited longest for a place in the cluster, if there is room again.
    pub(super) fn next_pending(&self, setup: &Setup) -> Option<u32> {
        if setup.capacity.is_none_or(|capacity| self.present >= capacity) {
            return None;
        }
        self.wanted.iter().copied().find(|pod| self.state(*pod) == State::Pending)
    }

    // === working ===

    /// Who takes the next job.
    pub(super) fn room(&mut self) -> Option<u32> {
        loop {
            let pod = self.room.pop_front()?;
            let Some(place) = self.pods.get_mut(pod as usize).filter(|place| place.state == State::Ready) else {
                continue;
            };
            place.room -= 1;
            if place.room > 0 {
                self.room.push_back(pod);
            }
            return Some(pod);
        }
    }

    /// Whether there is a slot for it; else the pod has it at hand.
    pub(super) fn takes_into_slot(&mut self, pod: u32, job: u32) -> bool {
        let slots = self.slots;
        let Some(place) = self.pods.get_mut(pod as usize) else { return false };
        if place.running < slots {
            place.running += 1;
            self.busy += 1;
            return true;
        }
        place.at_hand.push_back(job);
        false
    }

    /// A job in a slot ended, after `busy`. The job at hand that takes its slot, if there is one.
    pub(super) fn finishes(&mut self, pod: u32, busy: u64) -> Option<u32> {
        self.loses(pod, busy);
        let place = self.pods.get_mut(pod as usize)?;
        let next = place.at_hand.pop_front()?;
        place.running += 1;
        self.busy += 1;
        Some(next)
    }

    /// A slot is empty again, after `busy`.
    pub(super) fn loses(&mut self, pod: u32, busy: u64) {
        self.busy_time += u128::from(busy);
        if let Some(place) = self.pods.get_mut(pod as usize) {
            place.running -= 1;
            place.busy += u128::from(busy);
            self.busy -= 1;
        }
    }

    pub(super) fn after_finish(&self, pod: u32) -> After {
        match self.get(pod) {
            Some(Pod { state: State::Ready, .. }) => After::Takes,
            Some(Pod { state: State::Ending, running: 0, .. }) => After::Goes,
            _ => After::Ends,
        }
    }

    /// The pod waits for another job.
    pub(super) fn offers(&mut self, pod: u32) {
        if let Some(place) = self.pods.get_mut(pod as usize) {
            place.room += 1;
            if place.room == 1 {
                self.room.push_back(pod);
            }
        }
    }

    // === going ===

    /// Who goes when there is one too many: as a ReplicaSet chooses, who is not ready first.
    pub(super) fn victim(&mut self, setup: &Setup) -> Option<u32> {
        let newest = |state: State| self.wanted.iter().copied().rfind(|pod| self.state(*pod) == state);
        let unready = newest(State::Pending).or_else(|| newest(State::Starting));
        let victim = unready.or_else(|| {
            // By when they became ready, which need not be the order in which they were asked for.
            let ready = self.wanted.iter().copied();
            let by_age = |pod: &u32| (self.ready_since(*pod), *pod);
            match setup.victim {
                Victim::Newest => ready.max_by_key(by_age),
                Victim::Oldest => ready.min_by_key(by_age),
                Victim::IdleFirst => ready.min_by_key(|pod| {
                    let (running, at_hand) = self.get(*pod).map_or((0, 0), |pod| (pod.running, pod.at_hand.len()));
                    (running as usize + at_hand, std::cmp::Reverse(by_age(pod)))
                }),
                Victim::Random => {
                    let luck = Luck::new(setup.seed, Stream::Victim);
                    ready.min_by_key(|pod| luck.bits(u64::from(*pod)))
                }
            }
        })?;
        self.wanted.retain(|pod| *pod != victim);
        Some(victim)
    }

    /// What it had at hand and has not begun.
    pub(super) fn returns(&mut self, pod: u32) -> Vec<u32> {
        let place = self.pods.get_mut(pod as usize);
        place.map(|place| place.at_hand.drain(..).rev().collect()).unwrap_or_default()
    }

    /// Takes nothing any more. Whether it still has something to end.
    pub(super) fn begins_to_end(&mut self, pod: u32) -> bool {
        let Some(place) = self.pods.get_mut(pod as usize) else { return false };
        if place.state == State::Ready {
            self.ready -= 1;
            place.state = State::Ending;
            return place.running > 0;
        }
        false
    }

    pub(super) fn gone(&mut self, pod: u32, now: u64) {
        let Some(place) = self.pods.get_mut(pod as usize) else { return };
        let state = std::mem::replace(&mut place.state, State::Gone);
        if matches!(state, State::Pending | State::Gone) {
            return;
        }
        self.present -= 1;
        let (lived, busy) = (now - place.scheduled, place.busy);
        self.cost += u128::from(lived);
        if state == State::Starting {
            self.starting += u128::from(lived);
            self.wasted += 1;
            return;
        }
        let starting = place.ready - place.scheduled;
        self.starting += u128::from(starting);
        self.ready_time += u128::from(now - place.ready);
        if busy < u128::from(starting) {
            self.wasted += 1;
        }
    }

    /// The run is over for those that are still there. What they have started is not wasted: nobody knows.
    pub(super) fn close(&mut self, now: u64) {
        let wasted = self.wasted;
        for pod in 0..self.pods.len() {
            self.gone(u32::try_from(pod).unwrap_or(u32::MAX), now);
        }
        self.wasted = wasted;
    }

    pub(super) fn tell(&self, score: &mut Score) {
        score.cost = self.cost;
        score.starting = self.starting;
        score.idle =
            (self.ready_time * u128::from(self.slots)).saturating_sub(self.busy_time) / u128::from(self.slots.max(1));
        score.wasted_starts = self.wasted;
        score.starts = self.started;
        score.shortest_start = self.shortest_start;
        score.peak = self.peak;
    }
}

fn start_up(ordinal: u64, attempt: u64, setup: &Setup) -> u64 {
    let parts = (0_u8..).zip(&setup.start_up);
    parts
        .map(|(part, draw)| draw.draw(Luck::new(setup.seed, Stream::StartUp(part)), ordinal << 16 | attempt))
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::load::{SourceText, scenarios};

    #[test]
    fn a_start_that_failed_takes_another_time_when_it_is_tried_again() {
        let text = "apiVersion: tidegate.dev/v1alpha1\nkind: Scenario\nmetadata: { name: test }\nspec:\n  duration: 1m\n  \
             jobs: [{ arrivals: [{ constant: { perSecond: 1 } }], service: { fixed: 1s } }]\n  \
             workers: { startUp: { init: { exponential: 60s }, failingPercent: 50 } }\n";
        let texts = [SourceText { file: "scenario.yaml".to_owned(), text: text.to_owned() }];
        let found = scenarios(&texts).unwrap_or_else(|problems| panic!("{problems}"));
        let setup = Setup::of(found.first().expect("one"), 1, 1, 0);
        let mut pods = Pods::new(&setup);
        let mut failed = 0;
        for _ in 0..100 {
            let pod = pods.create(0);
            let takes = pods.schedule(pod, 0, &setup).expect("room");
            if let Start::Failed { again_in } = pods.started(pod, takes, &setup) {
                assert_ne!(again_in, CRASH_BACKOFF + takes, "pod {pod}");
                failed += 1;
            }
        }
        assert!((30..70).contains(&failed), "{failed}");
    }
}
