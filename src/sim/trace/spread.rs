//! Counts made into moments. A count says how many came in a bin, not when; where in it they are put is an assumption,
//! so it is one that anybody can state, and the same at every import.

use std::ops::Range;

use super::Spread;
use crate::sim::luck::{Luck, Stream};

/// How many came in a time, ns. Bins are in order and do not overlap.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Bin {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) count: f64,
}

/// More arrivals than are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TooMany;

/// The arrivals of all bins, relative to `origin`. Counts that are no integers (averages, rates, reconstructions) are
/// rounded in sum: what a bin loses by it, the next one gets.
pub(super) fn spread(bins: &[Bin], origin: i64, how: Spread, most: u64) -> Result<Vec<u64>, TooMany> {
    let total: f64 = bins.iter().map(|bin| bin.count).sum();
    let total = rounded(total);
    if total > most {
        return Err(TooMany);
    }
    let mut arrivals = Vec::with_capacity(usize::try_from(total).unwrap_or_default());
    let (mut sum, mut given) = (0.0, 0);
    for (number, bin) in (0u64..).zip(bins) {
        sum += bin.count;
        let upto = rounded(sum).max(given);
        let start = bin.start.abs_diff(origin.min(bin.start));
        fill(&mut arrivals, number, start..start + bin.end.abs_diff(bin.start), upto - given, how);
        given = upto;
    }
    Ok(arrivals)
}

/// `count` arrivals in one bin, in order. `number` is the bin's place among the bins.
pub(super) fn fill(arrivals: &mut Vec<u64>, number: u64, bin: Range<u64>, count: u64, how: Spread) {
    let width = bin.end - bin.start;
    if count == 0 {
        return;
    }
    match how {
        // The middles of `count` equal parts, rounded down: start + (2i+1) * width / 2count, without dividing for each.
        Spread::Even => {
            let parts = 2 * count;
            let (step, rest) = (width / count, 2 * (width % count));
            let (mut at, mut error) = (bin.start + width / parts, width % parts);
            for _ in 0..count {
                arrivals.push(at);
                at += step;
                error += rest;
                if error >= parts {
                    error -= parts;
                    at += 1;
                }
            }
        }
        Spread::Random { seed } => {
            let first = arrivals.len();
            let luck = Luck::new(seed, Stream::Spread);
            for i in 0..count {
                let within = (u128::from(luck.at(number).bits(i)) * u128::from(width)) >> 64;
                arrivals.push(bin.start + u64::try_from(within).unwrap_or_default());
            }
            arrivals.get_mut(first..).unwrap_or_default().sort_unstable();
        }
    }
}

/// Sums that are off an integer by a rounding error of theirs are the integer.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are not negative, and `as` saturates"
)]
pub(super) fn rounded(sum: f64) -> u64 {
    sum.round() as u64
}
