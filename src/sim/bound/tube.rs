//! The tube of work curves: the most that can have been done, and the least that must be, at each point of the grid.

use std::collections::VecDeque;

use super::Jobs;

/// Work in units at each point of the grid, beginning with 0, of jobs that may not be touched before `shift` after
/// their arrival. O(jobs + steps): a job that is long is a slope from here to there.
pub(super) fn curve(jobs: Jobs<'_>, shift: u64, step: u64, steps: usize, units: impl Fn(u128) -> u64) -> Vec<u64> {
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
pub(super) fn most_of_late(values: impl Iterator<Item = u64>, reach: usize) -> Vec<u64> {
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
pub(super) fn index(value: u128) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The most that can have been done at each point by `max` replicas that never rest, or the first point that comes too
/// early for what is due there.
pub(super) fn reach(most: &[u64], least: &[u64], max: u64) -> Result<Vec<u64>, u64> {
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
pub(super) fn needed(most: &[u64], least: &[u64]) -> u64 {
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
