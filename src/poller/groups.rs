//! Who asks for much comes in small portions: the rounds of one namespace's autoscalers of one interval.
//!
//! A namespace that asks for a hundred thousand keys would, at any interval, come as one round of a hundred thousand
//! and keep its connection (which others may share) and the poller's thread for as long. So only the first [`SHARED`]
//! of them go into the rounds that everybody shares, and of who is held back none; the rest come in rounds of their
//! own of some [`ROUND`] reads, evenly spread over the interval.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::schedule::Schedule;
use crate::model::Tick;

/// Reads in one such round. Two chunks of the Redis backend: such a round takes about a millisecond,
/// which is what somebody else's round may wait for it; and fewer would cost more in wake-ups than they spread.
pub(super) const ROUND: usize = 1_000;

/// Reads of one group in the shared rounds. They are the cheapest way to read, and this many keep the others waiting
/// for some milliseconds: a tenth of what is thought fast polling.
const SHARED: usize = 10_000;

/// Rounds of one group. Beyond (a million keys) rounds grow instead: each has a place in the schedule, which is walked.
const ROUNDS: usize = 1_024;

/// The groups of one connection.
#[derive(Default, Debug)]
pub(super) struct Groups {
    groups: HashMap<(Arc<str>, Duration), Group>,
}

#[derive(Default, Debug)]
struct Group {
    /// Reads in the shared rounds.
    shared: usize,
    /// Rounds by their place in the interval; `None` is a place that became free.
    rounds: Vec<Option<Round>>,
}

#[derive(Clone, Copy, Debug)]
struct Round {
    cadence: usize,
    reads: usize,
    members: usize,
}

impl Groups {
    /// Finds room for somebody with `reads` reads every `interval`; returns the position of its cadence, and whether
    /// that is one of its own.
    pub(super) fn join(
        &mut self,
        namespace: &Arc<str>,
        interval: Duration,
        reads: usize,
        held_back: bool,
        schedule: &mut Schedule,
        now: Tick,
    ) -> (usize, bool) {
        let group = self.groups.entry((Arc::clone(namespace), interval)).or_default();
        if !held_back && group.shared + reads <= SHARED {
            group.shared += reads;
            return (schedule.join(interval, now), false);
        }
        let full = group.rounds.len() >= ROUNDS && group.rounds.iter().all(Option::is_some);
        let mut rounds = group.rounds.iter_mut().flatten();
        let found = if full {
            rounds.min_by_key(|round| round.reads)
        } else {
            rounds.find(|round| round.reads + reads <= ROUND)
        };
        if let Some(round) = found {
            round.reads += reads;
            round.members += 1;
            schedule.join_own(round.cadence);
            return (round.cadence, true);
        }
        let place = group.rounds.iter().position(Option::is_none).unwrap_or(group.rounds.len());
        let cadence = schedule.open(interval, phase(namespace, interval, place), now);
        let round = Some(Round { cadence, reads, members: 1 });
        match group.rounds.get_mut(place) {
            Some(free) => *free = round,
            None => group.rounds.push(round),
        }
        (cadence, true)
    }

    /// Somebody with `reads` reads leaves `cadence`, which is one of its `own` or shared; the caller tells the schedule.
    pub(super) fn leave(
        &mut self,
        namespace: &Arc<str>,
        interval: Duration,
        reads: usize,
        (cadence, own): (usize, bool),
    ) {
        let Entry::Occupied(mut group) = self.groups.entry((Arc::clone(namespace), interval)) else { return };
        let Group { shared, rounds } = group.get_mut();
        if !own {
            *shared = shared.saturating_sub(reads);
        }
        let left = |round: Round| Round {
            reads: round.reads.saturating_sub(reads),
            members: round.members.saturating_sub(1),
            ..round
        };
        let is_there = |place: &&mut Option<Round>| place.is_some_and(|round| own && round.cadence == cadence);
        if let Some(place) = rounds.iter_mut().find(is_there) {
            *place = place.map(left).filter(|round| round.members > 0);
        }
        if *shared == 0 && rounds.iter().all(Option::is_none) {
            group.remove();
        }
    }
}

/// Where in the interval a round lies. Places fill it like the digits of a binary fraction read backwards (0, 1/2,
/// 1/4, 3/4, 1/8 ...): evenly however many there are, and nobody moves when one comes or goes. Namespaces begin at
/// different points, so that two of them do not fall on the same moments.
fn phase(namespace: &str, interval: Duration, place: usize) -> Duration {
    let mut hasher = DefaultHasher::new();
    namespace.hash(&mut hasher);
    let place = u32::try_from(place).unwrap_or(u32::MAX).reverse_bits();
    #[expect(clippy::cast_possible_truncation, reason = "half of a hash")]
    let begin = hasher.finish() as u32;
    let fraction = f64::from(begin.wrapping_add(place)) / (f64::from(u32::MAX) + 1.0);
    interval.mul_f64(fraction)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const SECOND: Duration = Duration::from_secs(1);

    struct World {
        groups: Groups,
        schedule: Schedule,
        hog: Arc<str>,
        /// Reads in each cadence, and whether it is one of their own.
        loads: BTreeMap<(usize, bool), usize>,
    }

    /// After `members` of `reads` each have joined.
    fn joined(members: usize, reads: usize, held_back: bool) -> World {
        let (groups, schedule) = (Groups::default(), Schedule::new(Tick::ZERO));
        let mut world = World { groups, schedule, hog: "hog".into(), loads: BTreeMap::new() };
        (0..members).for_each(|_| world.join(reads, held_back));
        world
    }

    impl World {
        fn join(&mut self, reads: usize, held_back: bool) {
            let World { groups, schedule, hog, loads } = self;
            *loads.entry(groups.join(hog, SECOND, reads, held_back, schedule, Tick::ZERO)).or_default() += reads;
        }

        fn leave(&mut self, reads: usize, cadence: (usize, bool)) {
            self.groups.leave(&self.hog, SECOND, reads, cadence);
            self.schedule.leave(cadence.0);
            self.loads.entry(cadence).and_modify(|load| *load -= reads);
            self.loads.retain(|_, load| *load > 0);
        }
    }

    #[test]
    fn rounds_are_full_but_never_giant() {
        let world = joined(1_000, 100, true);
        assert_eq!(world.loads.len(), 100);
        assert!(world.loads.iter().all(|((_, own), reads)| *own && *reads == ROUND));
        assert_eq!(joined(3, 5_000, true).loads.len(), 3, "who is larger than a round has one alone");
        assert_eq!(joined(4_000, ROUND, true).loads.len(), ROUNDS, "places are bounded");
    }

    #[test]
    fn who_is_not_held_back_shares_rounds_as_far_as_that_is_bearable() {
        let world = joined(SHARED / 100, 100, false);
        assert_eq!(world.loads.into_iter().collect::<Vec<_>>(), [((0, false), SHARED)]);
        let world = joined(SHARED / 100 + 30, 100, false);
        let own: Vec<usize> = world.loads.iter().filter(|((_, own), _)| *own).map(|(_, reads)| *reads).collect();
        assert_eq!((own.len(), own.iter().sum::<usize>()), (3, 3_000));
    }

    #[test]
    fn rounds_lie_evenly_in_the_interval() {
        let mut places: Vec<Duration> = (0..100).map(|place| phase("hog", SECOND, place)).collect();
        places.sort();
        let next_turn: Vec<Duration> = places.iter().map(|place| SECOND + *place).collect();
        let gaps = places.iter().zip(places.iter().chain(&next_turn).skip(1)).map(|(a, b)| *b - *a);
        let longest = gaps.max().unwrap();
        assert!(longest <= SECOND / 50, "{longest:?}");
        assert!(places.iter().all(|place| *place < SECOND));
    }

    #[test]
    fn places_become_free_and_are_taken_again() {
        let mut world = joined(SHARED / 100 + 30, 100, false);
        let before = world.loads.clone();
        let cadences: Vec<(usize, bool)> = world.loads.keys().copied().collect();
        for cadence in &cadences {
            world.leave(100, *cadence);
            world.join(100, false);
        }
        assert_eq!(world.loads, before);
        for cadence in cadences {
            while world.loads.contains_key(&cadence) {
                world.leave(100, cadence);
            }
        }
        assert!(world.groups.groups.is_empty());
        assert_eq!(world.schedule.next(), Tick::NEVER);
    }
}
