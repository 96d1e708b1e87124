//! When what is due: a fixed grid for each polling interval.
//!
//! Due times are multiples of the interval from one origin, whatever happens: a round that begins late does not move
//! the next one, so nothing drifts, and intervals that divide each other meet in the same rounds. A moment that has
//! passed is never made up for: of several only the last may still be served, and the rest are counted as skipped.
//!
//! Besides the shared cadences there are those of their own, for who is held back (`groups`): each has a phase, so that
//! what would be one giant round is spread over its interval, and is served by itself. Pure: time is an argument.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::Tick;

/// What is due this soon goes along with what is due now. Wide enough for the timer's millisecond and for grids that
/// nearly meet, narrow beside the shortest interval of 50 ms.
const SLACK: Duration = Duration::from_millis(2);

/// Shortest interval that is kept. Validation allows no less than 50 ms; this only keeps a mistake from spinning.
const SHORTEST: Duration = Duration::from_millis(1);

/// The grids in use. Positions are stable while a cadence has members.
#[derive(Debug)]
pub(super) struct Schedule {
    origin: Tick,
    cadences: Vec<Cadence>,
}

#[derive(Debug)]
struct Cadence {
    interval: Duration,
    /// Where its grid begins.
    origin: Tick,
    /// Of its own: joined by nobody who does not know its position, and served by itself.
    own: bool,
    next: Tick,
    members: usize,
}

impl Schedule {
    /// All shared grids contain `origin`.
    pub(super) fn new(origin: Tick) -> Self {
        Schedule { origin, cadences: Vec::new() }
    }

    /// One more member polls every `interval`; returns its cadence's position.
    pub(super) fn join(&mut self, interval: Duration, now: Tick) -> usize {
        let interval = interval.max(SHORTEST);
        if let Some(position) = self.cadences.iter().position(|c| c.members > 0 && !c.own && c.interval == interval)
            && let Some(cadence) = self.cadences.get_mut(position)
        {
            cadence.members += 1;
            return position;
        }
        let next = first_after(self.origin, interval, now);
        self.add(Cadence { interval, origin: self.origin, own: false, next, members: 1 })
    }

    /// A first member polls every `interval` on a grid that lies `phase` behind the shared ones; returns its cadence's
    /// position, with which others may [`Schedule::join_own`].
    pub(super) fn open(&mut self, interval: Duration, phase: Duration, now: Tick) -> usize {
        let interval = interval.max(SHORTEST);
        let origin = self.origin.after(phase);
        let next = first_after(origin, interval, now);
        self.add(Cadence { interval, origin, own: true, next, members: 1 })
    }

    /// One more member of a cadence that has some.
    pub(super) fn join_own(&mut self, position: usize) {
        if let Some(cadence) = self.cadences.get_mut(position) {
            cadence.members += 1;
        }
    }

    fn add(&mut self, cadence: Cadence) -> usize {
        match self.cadences.iter().position(|cadence| cadence.members == 0) {
            Some(free) => {
                if let Some(slot) = self.cadences.get_mut(free) {
                    *slot = cadence;
                }
                free
            }
            None => {
                self.cadences.push(cadence);
                self.cadences.len() - 1
            }
        }
    }

    /// One member less.
    pub(super) fn leave(&mut self, position: usize) {
        if let Some(cadence) = self.cadences.get_mut(position) {
            cadence.members = cadence.members.saturating_sub(1);
        }
    }

    /// When the next round is due; [`Tick::NEVER`] without members.
    pub(super) fn next(&self) -> Tick {
        self.active().map(|(_, cadence)| cadence.next).min().unwrap_or(Tick::NEVER)
    }

    /// Takes what is due at `now` (and what is due so soon that it goes along): appends the positions of shared
    /// cadences to `due`, ascending, and those of their own to `own`, and moves each on to its next moment. One of its
    /// own that still stands in `own` from before is skipped.
    pub(super) fn take_due(&mut self, now: Tick, due: &mut Vec<usize>, own: &mut VecDeque<usize>) -> Due {
        let horizon = now.after(SLACK);
        let mut taken = Due { lateness: Duration::ZERO, skipped: 0 };
        for (position, cadence) in self.cadences.iter_mut().enumerate().filter(|(_, cadence)| cadence.members > 0) {
            if cadence.next > horizon {
                continue;
            }
            // Everything but the last moment that has passed is gone.
            let passed = whole(now.since(cadence.next), cadence.interval);
            let last = cadence.next.after(times(cadence.interval, passed));
            taken.skipped += passed;
            let lateness = now.since(last);
            // Beyond half an interval the next moment is nearer than the one that was missed.
            if lateness > cadence.interval / 2 || (cadence.own && own.contains(&position)) {
                taken.skipped += 1;
            } else {
                taken.lateness = taken.lateness.max(lateness);
                if cadence.own {
                    own.push_back(position);
                } else {
                    due.push(position);
                }
            }
            cadence.next = first_after(cadence.origin, cadence.interval, last.max(now));
        }
        taken
    }

    fn active(&self) -> impl Iterator<Item = (usize, &Cadence)> {
        self.cadences.iter().enumerate().filter(|(_, cadence)| cadence.members > 0)
    }
}

/// What came of [`Schedule::take_due`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Due {
    /// How long ago the latest of the moments that are served was.
    pub(super) lateness: Duration,
    /// Moments that will never be served.
    pub(super) skipped: u64,
}

/// The first point of the grid strictly after `now`.
fn first_after(origin: Tick, interval: Duration, now: Tick) -> Tick {
    let steps = whole(now.since(origin), interval).saturating_add(u64::from(now >= origin));
    origin.after(times(interval, steps))
}

/// How often `interval` fits into `span`.
fn whole(span: Duration, interval: Duration) -> u64 {
    u64::try_from(span.as_nanos() / interval.as_nanos().max(1)).unwrap_or(u64::MAX)
}

fn times(interval: Duration, count: u64) -> Duration {
    let nanos = interval.as_nanos().saturating_mul(u128::from(count));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn take(schedule: &mut Schedule, now: Tick) -> (Vec<usize>, Due) {
        let mut due = Vec::new();
        let taken = schedule.take_due(now, &mut due, &mut VecDeque::new());
        (due, taken)
    }

    #[test]
    fn late_rounds_do_not_move_the_grid() {
        let mut schedule = Schedule::new(Tick::ZERO);
        schedule.join(ms(100), Tick::ZERO);
        assert_eq!(schedule.next(), Tick::from_millis(100));
        let (due, taken) = take(&mut schedule, Tick::from_millis(130));
        assert_eq!((due, taken), (vec![0], Due { lateness: ms(30), skipped: 0 }));
        assert_eq!(schedule.next(), Tick::from_millis(200));
    }

    #[test]
    fn missed_rounds_are_counted_and_skipped() {
        let mut schedule = Schedule::new(Tick::ZERO);
        schedule.join(ms(100), Tick::ZERO);
        // 100 and 200 have gone by, 300 is ten late.
        let (due, taken) = take(&mut schedule, Tick::from_millis(310));
        assert_eq!((due, taken), (vec![0], Due { lateness: ms(10), skipped: 2 }));
        // 400 is nearer to 500 than to its own time.
        let (due, taken) = take(&mut schedule, Tick::from_millis(460));
        assert_eq!((due, taken.skipped), (vec![], 1));
        assert_eq!(schedule.next(), Tick::from_millis(500));
    }

    #[test]
    fn intervals_share_rounds() {
        let mut schedule = Schedule::new(Tick::from_millis(7));
        let fast = schedule.join(ms(50), Tick::from_millis(10));
        let slow = schedule.join(ms(250), Tick::from_millis(10));
        assert_eq!(schedule.join(ms(50), Tick::from_millis(20)), fast);
        let mut rounds = Vec::new();
        for _ in 0..10 {
            let now = schedule.next();
            rounds.push((now, take(&mut schedule, now).0));
        }
        let both: Vec<Tick> = rounds.iter().filter(|(_, due)| *due == [fast, slow]).map(|(now, _)| *now).collect();
        assert_eq!(both, [Tick::from_millis(257), Tick::from_millis(507)]);
        assert_eq!(rounds.first(), Some(&(Tick::from_millis(57), vec![fast])));
    }

    #[test]
    fn what_is_due_in_a_moment_goes_along_once() {
        let mut schedule = Schedule::new(Tick::ZERO);
        let a = schedule.join(ms(99), Tick::ZERO);
        let b = schedule.join(ms(100), Tick::ZERO);
        let (due, _) = take(&mut schedule, Tick::from_millis(99));
        assert_eq!(due, vec![a, b]);
        assert_eq!(schedule.next(), Tick::from_millis(198));
        let (due, _) = take(&mut schedule, Tick::from_millis(198));
        assert_eq!(due, vec![a, b]);
        assert_eq!(schedule.next(), Tick::from_millis(297));
    }

    #[test]
    fn a_cadence_without_members_is_never_due() {
        let mut schedule = Schedule::new(Tick::ZERO);
        let only = schedule.join(ms(100), Tick::ZERO);
        schedule.leave(only);
        assert_eq!(schedule.next(), Tick::NEVER);
        assert_eq!(schedule.join(ms(200), Tick::from_millis(150)), only);
        assert_eq!(schedule.next(), Tick::from_millis(200));
    }

    #[test]
    fn a_cadence_of_its_own_has_a_phase_and_shares_nothing() {
        let mut schedule = Schedule::new(Tick::ZERO);
        let shared = schedule.join(ms(100), Tick::ZERO);
        let own = schedule.open(ms(100), ms(30), Tick::ZERO);
        assert_ne!(schedule.join(ms(100), Tick::ZERO), own);
        let mut rounds = Vec::new();
        for _ in 0..4 {
            let now = schedule.next();
            let (mut due, mut alone) = (Vec::new(), VecDeque::new());
            schedule.take_due(now, &mut due, &mut alone);
            rounds.push((now, due, alone.into_iter().collect::<Vec<_>>()));
        }
        let at = Tick::from_millis;
        let expected = [
            (at(30), vec![], vec![own]),
            (at(100), vec![shared], vec![]),
            (at(130), vec![], vec![own]),
            (at(200), vec![shared], vec![]),
        ];
        assert_eq!(rounds, expected);
    }

    #[test]
    fn a_cadence_that_still_waits_is_skipped_and_not_queued_twice() {
        let mut schedule = Schedule::new(Tick::ZERO);
        let own = schedule.open(ms(100), ms(0), Tick::ZERO);
        let (mut due, mut waiting) = (Vec::new(), VecDeque::new());
        assert_eq!(schedule.take_due(Tick::from_millis(100), &mut due, &mut waiting).skipped, 0);
        assert_eq!(schedule.take_due(Tick::from_millis(200), &mut due, &mut waiting).skipped, 1);
        assert_eq!(waiting, [own]);
    }

    #[test]
    fn the_origin_may_lie_ahead() {
        assert_eq!(first_after(Tick::from_millis(40), ms(50), Tick::from_millis(10)), Tick::from_millis(40));
        assert_eq!(first_after(Tick::from_millis(40), ms(50), Tick::from_millis(40)), Tick::from_millis(90));
    }
}
