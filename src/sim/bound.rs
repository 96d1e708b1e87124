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

use std::collections::VecDeque;
use std::fmt;
use std::ops::Add;

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

/// Work in units at each point of the grid, beginning with 0, of jobs that may not be touched before `shift` after
/// their arrival. O(jobs + steps): a job that is long is a slope from here to there.
fn curve(jobs: Jobs<'_>, shift: u64, step: u64, steps: usize, units: impl Fn(u128) -> u64) -> Vec<u64> {
    // By cell of the grid: work of jobs that begin or end within it, and how many more jobs fill it than the one before.
    let mut parts = vec![0u128; steps];
    let mut fills = vec![0i64; steps + 1];
    let mut add = |cell: usize, work: u64| {
        if let Some(part) = parts.get_mut(cell) {
            *part += u128::from(work);
        }
    };
    let mut fill = |cell: usize, by: i64| {
        if let Some(fill) = fills.get_mut(cell) {
            *fill += by;
        }
    };
    // Arrivals are nearly always in order, and a division for each was most of the time that this took.
    let (mut cell, mut from) = (0u64, 0u64);
    for (&arrival, &service) in jobs.arrivals.iter().zip(jobs.services) {
        let Some(start) = arrival.checked_add(shift) else { continue };
        if start < from || start - from >= step {
            cell = start / step;
            from = cell * step;
        }
        let first = index(u128::from(cell));
        let within = start - from;
        match within.checked_add(service) {
            Some(end) if end < step => add(first, service),
            _ => {
                let end = u128::from(within) + u128::from(service);
                let last = index(u128::from(cell) + end / u128::from(step));
                add(first, step - within);
                fill(first.saturating_add(1), 1);
                fill(last, -1);
                add(last, u64::try_from(end % u128::from(step)).unwrap_or(0));
            }
        }
    }
    let mut work = 0u128;
    let mut filling = 0u64;
    let mut points = vec![0];
    for (part, fill) in parts.iter().zip(&fills) {
        filling = filling.saturating_add_signed(*fill);
        work += part + u128::from(filling) * u128::from(step);
        points.push(units(work));
    }
    points
}

/// For each value, the most among it and the `reach` values before it.
fn most_of_late(values: impl Iterator<Item = u64>, reach: usize) -> Vec<u64> {
    let mut candidates: VecDeque<(usize, u64)> = VecDeque::new();
    values
        .enumerate()
        .map(|(at, value)| {
            while candidates.back().is_some_and(|(_, other)| *other <= value) {
                candidates.pop_back();
            }
            candidates.push_back((at, value));
            while candidates.front().is_some_and(|(other, _)| at - other > reach) {
                candidates.pop_front();
            }
            candidates.front().map_or(value, |(_, most)| *most)
        })
        .collect()
}

/// Saturating: what is beyond the machine is beyond every limit here.
fn index(value: u128) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
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

/// The least `fan` of which `levels · fan` remembered steps fit into `room`, for as few levels as that takes.
fn fan(steps: usize, room: usize) -> usize {
    let root = |levels: u32| (2usize..).find(|fan| fan.saturating_pow(levels) >= steps).unwrap_or(steps);
    (2..usize::BITS)
        .map(|levels| (levels, root(levels)))
        .find(|(levels, fan)| *levels as usize * fan <= room)
        .map_or(2, |(_, fan)| fan)
}

/// A whole number that costs are counted in. What is impossible costs `NEVER`, and a grid is priced so that no way
/// through it adds as much again: additions need no check, and whatever costs less than `NEVER` is possible.
trait Price: Copy + Ord + Default + Add<Output = Self> + TryFrom<i64> + Into<i64> {
    const NEVER: Self;
}

impl Price for i32 {
    const NEVER: i32 = 1 << 30;
}

impl Price for i64 {
    const NEVER: i64 = 1 << 62;
}

/// The least that it costs to be in each state at the end of a step: a row for each number of replicas, and in it a
/// value for each backlog, so that loops over backlogs are over neighbours and become vector instructions.
#[derive(Default)]
struct Slab<V> {
    width: usize,
    values: Vec<V>,
}

impl<V: Price> Slab<V> {
    fn first(initial: usize) -> Self {
        let mut values = vec![V::NEVER; initial + 1];
        if let Some(last) = values.last_mut() {
            *last = V::default();
        }
        Self { width: 1, values }
    }

    /// The values after one more step, in `next`. Spoils those before.
    fn advance(&mut self, step: &Step, (hold, start): (V, V), next: &mut Self, lane: &mut Vec<V>) {
        // Going down is free: each row is the best of itself and those above.
        let mut rows = self.values.chunks_exact_mut(self.width).rev();
        if let Some(mut above) = rows.next() {
            for row in rows {
                for (value, above) in row.iter_mut().zip(above.iter()) {
                    *value = (*value).min(*above);
                }
                above = row;
            }
        }
        next.width = step.depth + 1;
        next.values.resize((step.cap + 1) * next.width, V::NEVER);
        lane.clear();
        lane.resize(self.width, V::NEVER);
        let mut rows = self.values.chunks_exact(self.width);
        let mut held = V::default();
        for (replicas, out) in next.values.chunks_exact_mut(next.width).enumerate() {
            // Going up costs `start` for each row. `lane` is the best way into `replicas`, for each backlog.
            match rows.next() {
                Some(row) => {
                    for (best, value) in lane.iter_mut().zip(row) {
                        *best = (*best + start).min(*value);
                    }
                }
                None => {
                    for best in lane.iter_mut() {
                        *best = *best + start;
                    }
                }
            }
            // A backlog `b` becomes `b + grow − replicas`, or 0 if that is less.
            let (gap, from) = match replicas.checked_sub(step.grow) {
                Some(done) => {
                    let cleared = lane.iter().take(done.saturating_add(1)).min();
                    if let (Some(first), Some(cleared)) = (out.first_mut(), cleared) {
                        *first = *cleared + held;
                    }
                    (1, done.saturating_add(1))
                }
                None => {
                    let gap = (step.grow - replicas).min(out.len());
                    out.iter_mut().take(gap).for_each(|value| *value = V::NEVER);
                    (gap, 0)
                }
            };
            let (_, out) = out.split_at_mut(gap);
            let (_, from) = lane.split_at(from.min(lane.len()));
            let (reached, beyond) = out.split_at_mut(from.len().min(out.len()));
            for (value, best) in reached.iter_mut().zip(from) {
                *value = *best + held;
            }
            beyond.fill(V::NEVER);
            held = held + hold;
        }
    }
}

/// The way back from the end. It needs the values of every step, from the last to the first, which there is no memory
/// for: `fan` of them are remembered, and what lies between two is done over with `fan` of its own.
struct Trace<'a, V> {
    grid: &'a Grid,
    fan: usize,
    /// The state at the end of what is still to be traced.
    end: Option<(usize, usize)>,
    /// Replicas, the last step first.
    schedule: Vec<usize>,
    /// Slabs for the next that is to be remembered: to get that much memory anew took longer than to fill it.
    spare: Vec<Slab<V>>,
}

impl<V: Price> Trace<'_, V> {
    fn back(&mut self, steps: &[Step], first: Slab<V>) {
        let stride = steps.len().div_ceil(self.fan).max(1);
        let prices = self.grid.prices();
        let (mut slab, mut next, mut lane) = (first, self.spare(), Vec::new());
        let mut remembered = Vec::new();
        let mut parts = steps.chunks(stride).peekable();
        while let Some(part) = parts.next() {
            let mut copy = self.spare();
            copy.width = slab.width;
            copy.values.clear();
            copy.values.extend_from_slice(&slab.values);
            remembered.push((part, copy));
            // Beyond its beginning the last part is of use only for the end of everything.
            if parts.peek().is_none() && self.end.is_some() {
                break;
            }
            for step in part {
                slab.advance(step, prices, &mut next, &mut lane);
                std::mem::swap(&mut slab, &mut next);
            }
        }
        let mut end = self.end.unwrap_or_else(|| {
            let least = slab.values.iter().enumerate().min_by_key(|(_, value)| **value);
            least.map_or((0, 0), |(at, _)| (at / slab.width, at % slab.width))
        });
        self.spare.extend([slab, next]);
        while let Some((part, slab)) = remembered.pop() {
            self.end = Some(end);
            if let [step] = part {
                self.schedule.push(end.0);
                end = self.before(step, &slab, end);
                self.spare.push(slab);
            } else {
                self.back(part, slab);
                end = self.end.unwrap_or(end);
            }
        }
        self.end = Some(end);
    }

    fn spare(&mut self) -> Slab<V> {
        self.spare.pop().unwrap_or_default()
    }

    /// The state from which the cheapest way leads into `end`; of equals that with the fewest replicas.
    fn before(&self, step: &Step, slab: &Slab<V>, (replicas, backlog): (usize, usize)) -> (usize, usize) {
        // Those backlogs `b` for which `b + grow − replicas`, or 0 if that is less, is `backlog`.
        let last = (backlog + replicas).checked_sub(step.grow);
        let first = if backlog == 0 { Some(0) } else { last };
        let (first, count) = match (first, last) {
            (Some(first), Some(last)) => (first, last - first + 1),
            _ => (0, 0),
        };
        let rows = slab.values.chunks_exact(slab.width).enumerate();
        let states = rows.flat_map(|(before, row)| {
            let change = self.grid.step_cost(before, replicas);
            let values = row.iter().enumerate().skip(first).take(count);
            values.map(move |(backlog, value)| ((*value).into() + change, (before, backlog)))
        });
        states.min_by_key(|(cost, _)| *cost).map_or((0, 0), |(_, state)| state)
    }
}

/// The most that can have been done at each point by `max` replicas that never rest, or the first point that comes too
/// early for what is due there.
fn reach(most: &[u64], least: &[u64], max: u64) -> Result<Vec<u64>, u64> {
    let mut done = 0u64;
    (0u64..)
        .zip(most.iter().zip(least))
        .map(|(at, (most, least))| {
            done = if at == 0 { *most } else { done.saturating_add(max).min(*most) };
            if done < *least { Err(at) } else { Ok(done) }
        })
        .collect()
}

/// The fewest replicas that are in time if they never rest.
fn needed(most: &[u64], least: &[u64]) -> u64 {
    // As many as there are units of work do everything within the step in which it comes.
    let (mut low, mut high) = (0, most.last().copied().unwrap_or(0));
    while low < high {
        let middle = low + (high - low) / 2;
        match reach(most, least, middle) {
            Ok(_) => high = middle,
            Err(_) => low = middle + 1,
        }
    }
    low
}

fn too_large(states: u128, factor: u128, step: u64) -> Refusal {
    Refusal::TooLarge { states, step: u64::try_from(u128::from(step).saturating_mul(factor)).unwrap_or(u64::MAX) }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
