//! Who may read how often when everybody together asks for too much: the fair share of each namespace.
//!
//! The share is max-min fair: nobody gets more than asked for, what the modest leave goes to the others in equal
//! parts, and a namespace that asks for more takes nothing from one that asks for less than an equal part. Besides,
//! each has a cap of its own. Pure: no clock, no channel. Rates are whole millionths of a read per second, because
//! sums of whole numbers come back to zero exactly when everything that was added has been taken away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Share, Shares};
use crate::spec::limits::Limits;

/// Millionths of a read per second.
pub(super) type Rate = u64;

const MILLION: u64 = 1_000_000;

/// Stretches are rounded up to this fraction. A demand that changes by little then changes nobody's schedule, and who
/// is held back loses at most 1.6 % of what was allowed.
const STEP: f64 = 1.0 / 64.0;

/// The demands of all namespaces, and the budget that they share.
#[derive(Debug)]
pub(super) struct Budget {
    per_namespace: Rate,
    total: Rate,
    demands: BTreeMap<Arc<str>, Demand>,
}

/// Of one namespace. It is forgotten with its last autoscaler.
#[derive(Default, Debug)]
struct Demand {
    rate: Rate,
    autoscalers: usize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        // A budget of nothing would be a stretch without end.
        let rate = |reads: u32| u64::from(reads.max(1)) * MILLION;
        Budget {
            per_namespace: rate(limits.reads_per_second_per_namespace),
            total: rate(limits.reads_per_second),
            demands: BTreeMap::new(),
        }
    }

    pub(super) fn add(&mut self, namespace: &Arc<str>, rate: Rate) {
        if !self.demands.contains_key(namespace) {
            self.demands.insert(Arc::clone(namespace), Demand::default());
        }
        if let Some(demand) = self.demands.get_mut(namespace) {
            demand.rate = demand.rate.saturating_add(rate);
            demand.autoscalers += 1;
        }
    }

    pub(super) fn remove(&mut self, namespace: &Arc<str>, rate: Rate) {
        if let Some(demand) = self.demands.get_mut(namespace) {
            demand.rate = demand.rate.saturating_sub(rate);
            demand.autoscalers = demand.autoscalers.saturating_sub(1);
            if demand.autoscalers == 0 {
                self.demands.remove(namespace);
            }
        }
    }

    /// What everybody gets.
    pub(super) fn shares(&self) -> Shares {
        let capped = |demand: &Demand| demand.rate.min(self.per_namespace);
        let level = level(self.demands.values().map(capped).collect(), self.total);
        let share = |demand: &Demand| share(demand.rate, capped(demand).min(level));
        self.demands.iter().map(|(namespace, demand)| (Arc::clone(namespace), share(demand))).collect()
    }
}

/// Reads that come once in every `interval`, as a rate.
pub(super) fn rate(reads: usize, interval: Duration) -> Rate {
    let millionths = (reads as u128).saturating_mul(1_000_000_000 * u128::from(MILLION));
    // At a thousandth of what could overflow the sum of all namespaces: more reads than there is memory for.
    u64::try_from(millionths / interval.as_nanos().max(1)).unwrap_or(u64::MAX).min(u64::MAX / 1_000)
}

/// The height to which water rises if `total` is poured over these demands: who asks for less has it all, everybody
/// else has the level. All of them, if there is enough.
fn level(mut demands: Vec<Rate>, total: Rate) -> Rate {
    demands.sort_unstable();
    let mut left = total;
    let mut others = demands.len() as u64;
    for demand in demands {
        let equal = left / others.max(1);
        if demand > equal {
            return equal;
        }
        left -= demand;
        others -= 1;
    }
    Rate::MAX
}

fn share(demand: Rate, allowed: Rate) -> Share {
    let reads = |rate: Rate| rate as f64 / MILLION as f64;
    // More namespaces than millionths: the level is zero, and a stretch still a number.
    let ratio = reads(demand) / reads(allowed.max(1));
    let stretch = if demand <= allowed { 1.0 } else { ((ratio / STEP).ceil() * STEP).max(1.0 + STEP) };
    Share { demand: reads(demand), allowed: reads(allowed), stretch }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn budget(per_namespace: u32, total: u32, demands: &[u64]) -> (Budget, Vec<Share>) {
        let limits =
            Limits { reads_per_second_per_namespace: per_namespace, reads_per_second: total, ..Limits::default() };
        let mut budget = Budget::new(&limits);
        for (index, demand) in demands.iter().enumerate() {
            budget.add(&Arc::from(format!("n{index:04}")), demand * MILLION);
        }
        let shares = budget.shares().into_values().collect();
        (budget, shares)
    }

    fn allowed(per_namespace: u32, total: u32, demands: &[u64]) -> Vec<f64> {
        budget(per_namespace, total, demands).1.iter().map(|share| share.allowed).collect()
    }

    #[test]
    fn who_asks_for_little_gets_it_all_and_the_rest_is_shared_equally() {
        assert_eq!(allowed(1_000, 1_000, &[10, 20, 30]), [10.0, 20.0, 30.0]);
        assert_eq!(allowed(1_000, 100, &[10, 500, 20, 900]), [10.0, 35.0, 20.0, 35.0]);
        assert_eq!(allowed(1_000, 100, &[50, 50, 50, 50]), [25.0; 4]);
        assert_eq!(allowed(30, 100, &[10, 500, 20, 900]), [10.0, 30.0, 20.0, 30.0]);
        assert_eq!(allowed(30, 100, &[]), [0.0; 0]);
    }

    #[test]
    fn a_stretch_brings_the_demand_below_what_is_allowed() {
        let (_, shares) = budget(50_000, 200_000, &[2_000_000, 100]);
        let [hog, modest] = shares.as_slice() else { panic!("{shares:?}") };
        assert_eq!((hog.allowed, hog.stretch), (50_000.0, 40.0));
        assert!(hog.is_held_back() && !modest.is_held_back());
        assert_eq!((modest.allowed, modest.stretch), (100.0, 1.0));
        // A hair too much is held back by a whole step.
        let (_, shares) = budget(1_000_000, 1_000_000, &[1_000_001]);
        assert_eq!(shares.first().unwrap().stretch, 1.0 + STEP);
    }

    #[test]
    fn rates_are_reads_by_interval() {
        assert_eq!(rate(100, Duration::from_millis(50)), 2_000 * MILLION);
        assert_eq!(rate(1, Duration::from_secs(600)), 1_666);
        assert!(rate(usize::MAX, Duration::ZERO) > 0);
    }

    #[test]
    fn what_was_added_and_taken_away_leaves_nothing() {
        let limits = Limits::default();
        let mut budget = Budget::new(&limits);
        let (a, b): (Arc<str>, Arc<str>) = (Arc::from("a"), Arc::from("b"));
        for interval in 1..1_000 {
            budget.add(&a, rate(7, Duration::from_millis(interval)));
            budget.add(&b, rate(3, Duration::from_millis(interval)));
        }
        for interval in 1..1_000 {
            budget.remove(&a, rate(7, Duration::from_millis(interval)));
        }
        assert_eq!(budget.shares().len(), 1);
        for interval in (1..1_000).rev() {
            budget.remove(&b, rate(3, Duration::from_millis(interval)));
        }
        assert!(budget.shares().is_empty());
        budget.remove(&b, 1);
    }

    proptest! {
        #[test]
        fn shares_are_max_min_fair(
            demands in prop::collection::vec(0_u64..3_000_000, 1..60),
            per_namespace in 1_u32..2_000_000,
            total in 1_u32..5_000_000,
        ) {
            let (_, shares) = budget(per_namespace, total, &demands);
            let sum: f64 = shares.iter().map(|share| share.allowed).sum();
            prop_assert!(sum <= f64::from(total) + 1e-6, "{sum} of {total}");
            let highest = shares.iter().map(|share| share.allowed).fold(0.0, f64::max);
            for share in &shares {
                let wanted = share.demand.min(f64::from(per_namespace));
                prop_assert!(share.allowed <= wanted);
                prop_assert!(share.demand / share.stretch <= share.allowed + 1e-6, "{share:?}");
                prop_assert_eq!(share.stretch > 1.0, share.demand > share.allowed);
                if share.allowed < wanted {
                    // Held below its wish by the others: nobody has more, and nothing is left over.
                    prop_assert!((share.allowed - highest).abs() < 1e-6);
                    prop_assert!(sum > f64::from(total) - 1e-3, "{sum} of {total}");
                }
            }
        }

        #[test]
        fn a_hog_takes_nothing_from_who_asks_for_less_than_an_equal_part(
            mut demands in prop::collection::vec(0_u64..10_000, 1..50),
            hog in 0_u64..50_000_000,
        ) {
            let total = 200_000_u32;
            let equal = f64::from(total) / (demands.len() + 1) as f64;
            let before = allowed(50_000, total, &demands);
            demands.push(hog);
            let after = allowed(50_000, total, &demands);
            for (before, after) in before.iter().zip(&after) {
                if *before <= equal {
                    prop_assert_eq!(before, after);
                }
            }
        }
    }
}
