//! Small worlds, their optimum by trying every schedule, and what a bound must say of them.

use std::collections::BTreeMap;

use super::super::*;

/// SplitMix64: enough luck for tests.
pub(super) struct Luck(pub(super) u64);

impl Luck {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    pub(super) fn among(&mut self, range: std::ops::RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }
}

/// What a problem is made of, owned.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) arrivals: Vec<u64>,
    pub(super) services: Vec<u64>,
    pub(super) slots: u32,
    pub(super) start_up: u64,
    pub(super) wait: u64,
    pub(super) max: u32,
    pub(super) initial: u32,
    pub(super) step: u64,
}

impl World {
    pub(super) fn problem(&self) -> Problem<'_> {
        Problem {
            jobs: Jobs { arrivals: &self.arrivals, services: &self.services },
            slots: self.slots,
            start_up: self.start_up,
            wait: self.wait,
            max: self.max,
            initial: self.initial,
            step: self.step,
        }
    }

    pub(super) fn cost(&self) -> Result<u128, Refusal> {
        cost(&self.problem())
    }

    pub(super) fn jobs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.arrivals.iter().copied().zip(self.services.iter().copied())
    }

    /// The tube at every point of the grid up to the first after all that is due: straight from the definition.
    pub(super) fn tube(&self) -> Vec<(u64, u64)> {
        let horizon = self.jobs().map(|(a, s)| a + s + self.wait).max().unwrap_or(0);
        let unit = u64::from(self.slots) * self.step;
        let work = |at: u64, shift: u64| -> u64 {
            self.jobs().map(|(arrival, service)| service.min(at.saturating_sub(arrival + shift))).sum()
        };
        let points = (0..=horizon / self.step + 1).map(|k| k * self.step);
        points.map(|t| (work(t, 0).div_ceil(unit), work(t, self.wait) / unit)).collect()
    }

    /// The cost of a schedule on the grid, if it is in time.
    pub(super) fn bill(&self, schedule: &[u32]) -> Option<u128> {
        let (mut done, mut before, mut cost) = (0u64, self.initial, 0u128);
        for (k, (most, least)) in self.tube().into_iter().enumerate().skip(1) {
            let replicas = schedule.get(k - 1).copied().unwrap_or(0);
            assert!(replicas <= self.max);
            done = (done + u64::from(replicas)).min(most);
            if done < least {
                return None;
            }
            cost += u128::from(self.step) * u128::from(replicas);
            cost += u128::from(self.start_up) * u128::from(replicas.saturating_sub(before));
            before = replicas;
        }
        Some(cost)
    }

    /// Every schedule there is.
    pub(super) fn brute(&self) -> Option<u128> {
        fn rest(world: &World, tube: &[(u64, u64)], done: u64, before: u32, cost: u128, best: &mut Option<u128>) {
            if best.is_some_and(|best| best <= cost) {
                return;
            }
            let Some(((most, least), tube)) = tube.split_first() else {
                *best = Some(cost);
                return;
            };
            for replicas in 0..=world.max {
                let done = (done + u64::from(replicas)).min(*most);
                if done >= *least {
                    let cost = cost
                        + u128::from(world.step) * u128::from(replicas)
                        + u128::from(world.start_up) * u128::from(replicas.saturating_sub(before));
                    rest(world, tube, done, replicas, cost, best);
                }
            }
        }
        let mut best = None;
        rest(self, &self.tube()[1..], 0, self.initial, 0, &mut best);
        best
    }

    /// The same by states, without any of what makes it fast.
    pub(super) fn plain(&self) -> Option<u128> {
        let mut states = BTreeMap::from([((self.initial, 0u64), 0u128)]);
        for (most, least) in self.tube().into_iter().skip(1) {
            let mut next = BTreeMap::new();
            for ((before, done), cost) in states {
                for replicas in 0..=self.max {
                    let done = (done + u64::from(replicas)).min(most);
                    if done >= least {
                        let cost = cost
                            + u128::from(self.step) * u128::from(replicas)
                            + u128::from(self.start_up) * u128::from(replicas.saturating_sub(before));
                        let known = next.entry((replicas, done)).or_insert(cost);
                        *known = cost.min(*known);
                    }
                }
            }
            states = next;
        }
        states.into_values().min()
    }

    /// A few jobs within a few steps. One in four has steps and times of hours in odd nanoseconds, which need 64 bits.
    pub(super) fn random(luck: &mut Luck, jobs: u64, steps: u64, max: u64) -> World {
        let step = if luck.below(4) == 0 { 10_000_000_000_000 + luck.below(1_000_000_000) } else { luck.among(1..=20) };
        let slots = luck.among(1..=3);
        let longest = step * luck.among(1..=4) * slots;
        let jobs = luck.below(jobs + 1);
        let mut world = World {
            arrivals: (0..jobs).map(|_| luck.below(steps * step)).collect(),
            services: (0..jobs).map(|_| luck.below(longest + 1)).collect(),
            slots: slots as u32,
            start_up: if luck.below(3) == 0 { luck.below(6) * step } else { luck.below(6 * step) },
            wait: luck.below(4 * step),
            max: luck.among(0..=max) as u32,
            initial: luck.among(0..=max + 1) as u32,
            step,
        };
        if luck.below(8) > 0 {
            world.arrivals.sort_unstable();
        }
        world
    }

    /// The bound, its schedule and its refusals are right, given the optimum.
    pub(super) fn check(&self, optimum: Option<u128>) {
        let Some(optimum) = optimum else {
            let Err(Refusal::Infeasible { at, max, needed }) = self.cost() else { panic!("{self:?}") };
            assert_eq!(schedule(&self.problem()), Err(Refusal::Infeasible { at, max, needed }));
            assert_eq!(max, self.max);
            let enough = World { max: needed as u32, ..self.clone() };
            assert!(enough.bill(&vec![enough.max; enough.tube().len()]).is_some(), "{self:?}");
            let too_few = World { max: needed as u32 - 1, ..self.clone() };
            assert!(too_few.bill(&vec![too_few.max; too_few.tube().len()]).is_none(), "{self:?}");
            // Until then all the replicas there may be are in time.
            let mut until = 0;
            let mut done = 0;
            for (k, (most, least)) in self.tube().into_iter().enumerate() {
                done = (done + if k == 0 { 0 } else { u64::from(self.max) }).min(most);
                if done < least {
                    until = k as u64 * self.step;
                    break;
                }
            }
            assert_eq!(at, until, "{self:?}");
            return;
        };
        assert_eq!(self.cost(), Ok(optimum), "{self:?}");
        let grid = Grid::new(&self.problem()).unwrap();
        for memory in [MEMORY, 0, grid.steps.len() * 64] {
            let bound = grid.bound(memory);
            assert_eq!(bound.cost, optimum, "{self:?}");
            assert_eq!(self.bill(&bound.schedule), Some(optimum), "{self:?} {bound:?}");
        }
    }
}
