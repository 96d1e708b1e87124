//! The states of the search, step by step, and the way back through them.

use std::ops::Add;

use super::{Grid, Step};

/// The least `fan` of which `levels · fan` remembered steps fit into `room`, for as few levels as that takes.
pub(super) fn fan(steps: usize, room: usize) -> usize {
    let root = |levels: u32| (2usize..).find(|fan| fan.saturating_pow(levels) >= steps).unwrap_or(steps);
    (2..usize::BITS)
        .map(|levels| (levels, root(levels)))
        .find(|(levels, fan)| *levels as usize * fan <= room)
        .map_or(2, |(_, fan)| fan)
}

/// A whole number that costs are counted in. What is impossible costs `NEVER`, and a grid is priced so that no way
/// through it adds as much again: additions need no check, and whatever costs less than `NEVER` is possible.
pub(super) trait Price: Copy + Ord + Default + Add<Output = Self> + TryFrom<i64> + Into<i64> {
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
pub(super) struct Slab<V> {
    pub(super) width: usize,
    pub(super) values: Vec<V>,
}

impl<V: Price> Slab<V> {
    pub(super) fn first(initial: usize) -> Self {
        let mut values = vec![V::NEVER; initial + 1];
        if let Some(last) = values.last_mut() {
            *last = V::default();
        }
        Self { width: 1, values }
    }

    /// The values after one more step, in `next`. Spoils those before.
    pub(super) fn advance(&mut self, step: &Step, (hold, start): (V, V), next: &mut Self, lane: &mut Vec<V>) {
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
pub(super) struct Trace<'a, V> {
    pub(super) grid: &'a Grid,
    pub(super) fan: usize,
    /// The state at the end of what is still to be traced.
    pub(super) end: Option<(usize, usize)>,
    /// Replicas, the last step first.
    pub(super) schedule: Vec<usize>,
    /// Slabs for the next that is to be remembered: to get that much memory anew took longer than to fill it.
    pub(super) spare: Vec<Slab<V>>,
}

impl<V: Price> Trace<'_, V> {
    pub(super) fn back(&mut self, steps: &[Step], first: Slab<V>) {
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
