//! How cheap hindsight could have been: a lower bound on what any scaler must pay to serve given jobs in time.
//!
//! A policy's bill says little by itself. Against the least that *anybody* would have paid who knew every job, every
//! service time and every start-up beforehand, and who is as late as the policy was, it says how much is left to gain
//! and that nothing beyond it ever can be. So this must be a true bound: every rounding below errs downwards.
//!
//! # What is bounded
//!
//! Job `j` arrives at `a_j` and is `s_j` of work for one slot; a pod has `c` slots, and a job is in one slot at a time,
//! done there at no more than one second of work a second. Let `n(t)` be the pods at time `t` that are past their
//! start-up and not gone, working or not, draining ones included. Bounded is
//!
//! ```text
//!   ∫ n(t) dt  +  D · (how often a pod joined n after the first `initial` ones)
//! ```
//!
//! from time 0 until the last job is done, over every policy that keeps `n(t) ≤ N` and gives every job an *effective
//! wait* `finish − s_j − a_j` of at most `W`. That is no more than the bill of a policy whose pods each cost at least
//! `D` before they serve (`D` is the *shortest* start-up, not the mean), whose draining pods are paid for, and whose
//! meter runs until everything is done. `N` must be the most pods that ever served *and drained* at once: with
//! graceful termination that may be more than the largest wish. Jobs may be preempted, moved and done in any order; a
//! job that was lost and redone counts once, and its lost work is waste. Jobs that a policy never finished have no
//! wait: leave them out on both sides. For a policy with `W` its own worst wait, `bill / bound − 1` is its regret.
//!
//! # Why it is a bound
//!
//! **Tube.** By `t` at most `U(t) = Σ min(s_j, (t − a_j)⁺)` of work can be done. At least
//! `L(t) = Σ min(s_j, (t − a_j − W)⁺)` must be: what is left of job `j` takes that long, and `a_j + W + s_j` is the
//! latest that it may finish. With `S(t)` the work done, `L ≤ S ≤ U`, and `S` gains at most `∫ c·n` in any interval.
//! All else about the jobs is forgotten; forgetting only makes it cheaper.
//!
//! **Grid.** Let `Δ` be the step, `t_k = kΔ`, and measure work in units of `cΔ`, what one pod does in a step. With
//! `K_k = (1/Δ) ∫₀^{t_k} n dt`, for all `j ≤ k` (and `U(0) = 0`):
//!
//! ```text
//!   L_k ≤ S(t_k) ≤ U_j + K_k − K_j                                                            (1)
//! ```
//!
//! To any policy, its changes on the grid or off it, belong the integers `u_k = ⌊K_k⌋ − ⌊K_{k−1}⌋`. They are a schedule
//! for the grid, and not a dearer one:
//!
//! * *Within N, and no more started.* `n` is an integer, so with `m` and `M` its least and most within the step,
//!   `⌊K_{k−1}⌋ + m ≤ ⌊K_k⌋ ≤ ⌊K_{k−1}⌋ + M`: `u_k` lies in `m..=M`. The ups of `u`, from `initial` on, are a sum of
//!   `u_peak − u_valley` over alternating valleys and peaks, and each is at most the same difference of `n` at moments
//!   inside those steps, which lie in the same order. So `Σ (u_k − u_{k−1})⁺` is at most the upward variation of `n`,
//!   which is at most the number of pods that joined.
//! * *No dearer to hold.* `Δ · Σ u_k = Δ · ⌊K_end⌋ ≤ ∫ n`. A policy that ends off the grid has `n = 0` after its end.
//! * *In time.* Round the tube outwards: `U'_k = ⌈U_k⌉`, `L'_k = ⌊L_k⌋`. By (1), and as `⌊K_k⌋ > K_k − 1`,
//!   `U'_j + Σ_{i=j+1..k} u_i = U'_j + ⌊K_k⌋ − ⌊K_j⌋ > U_j + K_k − K_j − 1 ≥ L_k − 1`. The left side is an integer, and an
//!   integer above `L_k − 1` is at least `⌊L_k⌋ = L'_k`. So with `S'_0 = 0`, `S'_k = min(S'_{k−1} + u_k, U'_k)`, which is
//!   the least of those left sides over `j ≤ k`, never is below `L'_k`.
//!
//! Hence the cheapest integers `u_k` in `0..=N` with `S'_k ≥ L'_k`, at a cost of `Δ Σ u_k + D Σ (u_k − u_{k−1})⁺`, cost no
//! more than any policy. From the first `k` on at which `L'` is complete nothing more is owed: the grid ends there.
//! Jobs of no service are no work, and ask for nothing. What is due after the end of the clock (2⁶⁴ ns) is never due.
//!
//! # How it is found
//!
//! By dynamic programming over states (replicas `n`, backlog `b = U'_k − S'_k`). Going down is free and each replica up
//! costs `D`, so that for each `b` the cheapest way into every `n` is a suffix minimum and then a prefix minimum:
//! O(T·N·B) in all, in integers, the same on every machine. Three things keep N and B small and change no optimum:
//!
//! * No schedule within `N` has done more than `Ũ_k = min(U'_k, Ũ_{k−1} + N)`, or survives with less than
//!   `L''_k = max(L'_k, L''_{k+1} − N)`: the tube narrows to that. If `Ũ_k < L'_k`, then `N` was too few.
//! * In step `k` a replica above `m_k = Ũ_k − L''_{k−1}` finds nothing to do, whatever `b`. Split a schedule by levels:
//!   level `l` is held where `u_k ≥ l`, in intervals that each cost their length and `D` (but for an `initial` one that
//!   starts at 0). A run of `g` steps of such an interval with `m_k < l` may be cut out: at its end for nothing, at its
//!   start for nothing (or `D`, if it is initial), within it for `D`. Cutting is no loss if `gΔ ≥ D`. So some optimum
//!   holds, in every step, no more than the most of `m` within the last `w = ⌈D/Δ⌉ − 1` steps and this one (with
//!   `m_0 = initial`), and no more than the most within this one and the next `w`.
//! * Costs are counted in the common divisor of `Δ` and `D`, which lets them nearly always fit 32 bits.
//!
//! Cumulative work curves are those of network calculus (Le Boudec and Thiran, 2001), holding costs with a price on
//! going up are the right-sizing problem of Lin, Wierman, Andrew and Thereska (2011).

use std::fmt;

use self::states::{Price, Slab, Trace, fan};
use self::tube::{curve, index, most_of_late, needed, reach};

mod states;
mod tube;

#[cfg(test)]
mod tests;

/// More steps than these are refused before there is an array of them.
const MOST_STEPS: u128 = 1 << 22;
/// States over all steps: about a second, and several for a schedule. A coarser step is a bound as well.
const MOST_STATES: u128 = 1_000_000_000;
/// States of a single step, of which several are in memory at once.
const MOST_STATES_IN_STEP: u128 = 1 << 24;
/// Bytes that remembered steps may take while a schedule is traced back. With less than √T of them it takes longer.
const MEMORY: usize = 256 << 20;

/// What is to be served: the arrival and the service time of each job in nanoseconds, in the same order in both.
#[derive(Clone, Copy, Debug)]
pub struct Jobs<'a> {
    pub arrivals: &'a [u64],
    pub services: &'a [u64],
}

/// What is to be bounded. All times are in nanoseconds, and zero is when the meter starts.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    pub jobs: Jobs<'a>,
    /// Jobs that a pod works on at once; none count as one.
    pub slots: u32,
    /// The shortest time that a new pod costs before it serves.
    pub start_up: u64,
    /// The longest effective wait that any job may have.
    pub wait: u64,
    /// The most pods that serve and drain at once.
    pub max: u32,
    /// Pods that serve from the beginning and whose start-up is not on the bill.
    pub initial: u32,
    /// Of the grid. A smaller one makes the bound tighter and takes longer; each is a bound. None counts as one.
    pub step: u64,
}

/// The bound, and how to come by it on the grid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// In replica-nanoseconds.
    pub cost: u128,
    /// Replicas in each step; after the last of them nobody is needed. It is what makes the bound, and need not be a
    /// plan that serves real jobs: those do not come in fractions.
    pub schedule: Vec<u32>,
}

/// Why there is no bound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Nobody can: with `max` replicas all the time, what is due by `at` (nanoseconds) cannot be done by then.
    Infeasible { at: u64, max: u32, needed: u64 },
    /// It would take too long, or too much memory. A `step` of this many nanoseconds should do.
    TooLarge { states: u128, step: u64 },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ns: u64| ns as f64 / 1e9;
        match *self {
            Refusal::Infeasible { at, max, needed } => write!(
                f,
                "{max} replicas cannot do by {} s what is due by then, even from the start: it takes at least {needed}",
                seconds(at)
            ),
            Refusal::TooLarge { states, step } => {
                write!(f, "the bound would take {states} states; try a step of {} s", seconds(step))
            }
        }
    }
}

impl std::error::Error for Refusal {}

/// The bound in replica-nanoseconds.
pub fn cost(problem: &Problem<'_>) -> Result<u128, Refusal> {
    let grid = Grid::new(problem)?;
    match grid.width {
        Width::Narrow => Ok(grid.cost::<i32>()),
        Width::Wide => Ok(grid.cost::<i64>()),
    }
}

/// The bound, and a schedule that attains it on the grid. Takes two to four times as long.
pub fn schedule(problem: &Problem<'_>) -> Result<Bound, Refusal> {
    let grid = Grid::new(problem)?;
    Ok(grid.bound(MEMORY))
}

/// A step of the grid, as the states see it.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// By how much the most that can be done grows, in units.
    grow: usize,
    /// The largest backlog at its end.
    depth: usize,
    /// The most replicas worth holding in it.
    cap: usize,
}

impl Step {
    fn states(&self) -> u128 {
        (self.cap as u128 + 1) * (self.depth as u128 + 1)
    }
}

/// What costs are counted in: see [`Price`].
#[derive(Clone, Copy, Debug)]
enum Width {
    Narrow,
    Wide,
}

/// The quantised problem.
#[derive(Debug)]
struct Grid {
    steps: Vec<Step>,
    initial: usize,
    /// Of a replica for a step, and of a replica more, in `quantum` replica-nanoseconds.
    hold: i64,
    start: i64,
    quantum: u64,
    width: Width,
}

impl Grid {
    fn new(problem: &Problem<'_>) -> Result<Self, Refusal> {
        let Problem { jobs, start_up, wait, max, .. } = *problem;
        let step = problem.step.max(1);
        let unit = u128::from(problem.slots.max(1)) * u128::from(step);
        // Where the last job that can be due is due.
        let horizon = jobs.arrivals.iter().zip(jobs.services).filter(|(_, service)| **service > 0);
        let horizon = horizon.filter_map(|(a, s)| Some(u128::from(a.checked_add(wait)?) + u128::from(*s))).max();
        let Some(horizon) = horizon else { return Self::priced(Vec::new(), problem) };
        let steps = horizon / u128::from(step) + 1;
        if steps > MOST_STEPS {
            return Err(too_large(steps, steps.div_ceil(MOST_STEPS), step));
        }
        let most = curve(jobs, 0, step, index(steps), |work| u64::try_from(work.div_ceil(unit)).unwrap_or(u64::MAX));
        let mut least = curve(jobs, wait, step, index(steps), |work| u64::try_from(work / unit).unwrap_or(u64::MAX));
        let complete = least.last().copied().unwrap_or(0);
        least.truncate(least.partition_point(|done| *done < complete) + 1);

        let most = reach(&most, &least, u64::from(max)).map_err(|at| Refusal::Infeasible {
            at: step.saturating_mul(at),
            max,
            needed: needed(&most, &least),
        })?;
        let mut later = 0u64;
        for done in least.iter_mut().rev() {
            later = later.saturating_sub(u64::from(max)).max(*done);
            *done = later;
        }

        let initial = u64::from(problem.initial.min(max));
        let useful = most.iter().skip(1).zip(&least).map(|(most, least)| most - least);
        let useful: Vec<u64> = std::iter::once(initial).chain(useful).collect();
        let window = index(u128::from(start_up.saturating_sub(1) / step));
        let before = most_of_late(useful.iter().copied(), window);
        let after = most_of_late(useful.iter().rev().copied(), window);
        let caps = before.iter().zip(after.iter().rev()).map(|(before, after)| *before.min(after).min(&u64::from(max)));
        let growth = most.iter().zip(most.iter().skip(1)).map(|(before, now)| now - before);
        let depths = most.iter().zip(&least).map(|(most, least)| most - least);
        let steps = growth.zip(depths.skip(1)).zip(caps.skip(1)).map(|((grow, depth), cap)| Step {
            grow: index(grow.into()),
            depth: index(depth.into()),
            cap: index(cap.into()),
        });
        Self::priced(steps.collect(), problem)
    }

    /// Settles what costs are counted in, and refuses what would take too long.
    fn priced(steps: Vec<Step>, problem: &Problem<'_>) -> Result<Self, Refusal> {
        let step = problem.step.max(1);
        let states: u128 = steps.iter().map(Step::states).sum();
        let largest = steps.iter().map(Step::states).max().unwrap_or(0);
        if states > MOST_STATES || largest > MOST_STATES_IN_STEP {
            // All states become fewer with the square of the step or faster, those of a single step with the step.
            let factor = (states / MOST_STATES).isqrt() + 1;
            return Err(too_large(states, factor.max(largest.div_ceil(MOST_STATES_IN_STEP)), step));
        }
        let quantum = gcd(step, problem.start_up);
        let (hold, start) = (step / quantum, problem.start_up / quantum);
        // No way through the states can cost more, nor add more to what is impossible from the outset.
        let dearest: u128 = steps.iter().map(|step| step.cap as u128 * (u128::from(hold) + u128::from(start))).sum();
        let width = match dearest {
            dearest if dearest < i32::NEVER as u128 => Width::Narrow,
            dearest if dearest < i64::NEVER as u128 => Width::Wide,
            _ => return Err(too_large(states, 2, step)),
        };
        // What does not fit belongs to a grid on which there never is a replica to pay for.
        let [hold, start] = [hold, start].map(|cost| i64::try_from(cost).unwrap_or(i64::MAX));
        // Those beyond every cap go at once.
        let highest = steps.iter().map(|step| step.cap).max().unwrap_or(0);
        let initial = index(problem.initial.into()).min(highest);
        Ok(Self { steps, initial, hold, start, quantum, width })
    }

    fn cost<V: Price>(&self) -> u128 {
        let mut slab = Slab::<V>::first(self.initial);
        let (mut next, mut lane) = (Slab::default(), Vec::new());
        let prices = self.prices();
        for step in &self.steps {
            slab.advance(step, prices, &mut next, &mut lane);
            std::mem::swap(&mut slab, &mut next);
        }
        self.bill(slab.values.iter().min().map_or(0, |least| (*least).into()))
    }

    fn bound(&self, memory: usize) -> Bound {
        match self.width {
            Width::Narrow => self.traced::<i32>(memory),
            Width::Wide => self.traced::<i64>(memory),
        }
    }

    fn traced<V: Price>(&self, memory: usize) -> Bound {
        let largest = self.steps.iter().map(Step::states).max().unwrap_or(1);
        let room = memory / index(largest).saturating_mul(size_of::<V>()).max(1);
        let fan = fan(self.steps.len(), room);
        let mut trace = Trace { grid: self, fan, end: None, schedule: Vec::new(), spare: Vec::new() };
        trace.back(&self.steps, Slab::<V>::first(self.initial));
        let mut schedule = trace.schedule;
        schedule.reverse();
        let mut cost = 0i64;
        let mut before = self.initial;
        for replicas in &schedule {
            cost += self.step_cost(before, *replicas);
            before = *replicas;
        }
        let schedule = schedule.into_iter().map(|replicas| u32::try_from(replicas).unwrap_or(u32::MAX)).collect();
        Bound { cost: self.bill(cost), schedule }
    }

    /// Of holding so many for a step after a step with `before`.
    fn step_cost(&self, before: usize, replicas: usize) -> i64 {
        let times = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        times(replicas) * self.hold + times(replicas.saturating_sub(before)) * self.start
    }

    fn bill(&self, cost: i64) -> u128 {
        u128::from(cost.unsigned_abs()) * u128::from(self.quantum)
    }

    fn prices<V: Price>(&self) -> (V, V) {
        let price = |cost: i64| V::try_from(cost).unwrap_or(V::NEVER);
        (price(self.hold), price(self.start))
    }
}

fn too_large(states: u128, factor: u128, step: u64) -> Refusal {
    Refusal::TooLarge { states, step: u64::try_from(u128::from(step).saturating_mul(factor)).unwrap_or(u64::MAX) }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
