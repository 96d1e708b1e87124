//! How many came (or were done) between two times, from counts, counters, and from completions with depths.

use std::ops::Range;

use super::series::{Series, Setting};
use super::spread::Bin;
use super::wrong::Wrong;
use super::{Options, Stamp};

/// A bin whose neighbour comes later than this many widths is followed by a missing one.
const MISSING: f64 = 1.5;

/// Of the steps of a counter, the share that may go down: pods restart, but not at every tenth scrape.
const MOST_RESETS: usize = 10;

/// Bins in order, and the times of which nothing is known.
#[derive(Default, Debug)]
pub(super) struct Flow {
    pub(super) bins: Vec<Bin>,
    pub(super) gaps: Vec<Range<i64>>,
    /// Least and most, of a reconstruction.
    pub(super) band: Option<(Vec<Bin>, Vec<Bin>)>,
}

/// The usual interval of samples: the median, which a few missing rows do not move.
pub(super) fn usual(samples: &[(i64, f64)]) -> Option<u64> {
    let steps = samples.windows(2).filter_map(|pair| match pair {
        [a, b] => Some(b.0.abs_diff(a.0)),
        _ => None,
    });
    let mut steps: Vec<u64> = steps.filter(|step| *step > 0).collect();
    let middle = steps.len() / 2;
    if steps.is_empty() { None } else { Some(*steps.select_nth_unstable(middle).1) }
}

/// Whether `step` is more than `times` of `usual`.
fn longer(step: u64, times: f64, usual: u64) -> bool {
    step as f64 > times * usual as f64
}

/// Pairs of samples that are known, and whether what lies between them is.
pub(super) fn steps(samples: &[(i64, f64)], patience: f64) -> impl Iterator<Item = ((i64, f64), (i64, f64), bool)> {
    let usual = usual(samples).unwrap_or(u64::MAX);
    let known = || samples.iter().copied().filter(|(_, value)| !value.is_nan());
    known().zip(known().skip(1)).map(move |(a, b)| (a, b, !longer(b.0.abs_diff(a.0), patience, usual)))
}

/// Counts of bins, or rates that hold for a bin.
pub(super) fn of_counts(
    series: &Series,
    options: &Options,
    stamp: Stamp,
    rate: bool,
    notes: &mut Vec<String>,
    wrong: &mut Wrong,
) -> Option<Flow> {
    let width = options.bin.or_else(|| usual(&series.samples)).filter(|width| (1..1 << 60).contains(width));
    let Some(width) = width else {
        wrong.column(&series.name, "one row does not tell how long its bin is", "tell it with --bin");
        return None;
    };
    let step = i64::try_from(width).unwrap_or(i64::MAX);
    let known: Vec<(i64, f64)> = series.samples.iter().copied().filter(|(_, value)| !value.is_nan()).collect();
    let mut flow = Flow::default();
    let neighbours = known.iter().skip(1).map(|sample| Some(sample.0)).chain([None]);
    let mut before: Option<i64> = None;
    for ((at, value), next) in known.iter().copied().zip(neighbours) {
        let near = |other: i64| !longer(other.abs_diff(at), MISSING, width);
        let (start, end) = match stamp {
            Stamp::Start => (at, next.filter(|next| near(*next)).unwrap_or(at.saturating_add(step))),
            Stamp::End => (before.filter(|before| near(*before)).unwrap_or(at.saturating_sub(step)), at),
        };
        before = Some(at);
        let count = if rate { value * end.abs_diff(start) as f64 / 1e9 } else { value };
        if let Some(last) = flow.bins.last().filter(|last| last.end < start) {
            flow.gaps.push(last.end..start);
        }
        flow.bins.push(Bin { start, end, count });
    }
    let mark = if stamp == Stamp::Start { "start" } else { "end" };
    notes.push(format!("a timestamp is taken for the {mark} of its bin of {}", super::time::length(width)));
    Some(flow)
}

/// Differences of a counter. Where it goes down it began again at zero, so all that it shows came since.
pub(super) fn of_counter(
    series: &Series,
    setting: Setting,
    notes: &mut Vec<String>,
    wrong: &mut Wrong,
) -> Option<Flow> {
    let mut flow = Flow::default();
    let (mut resets, mut all, mut lost) = (0, 0, 0.0);
    for ((from, before), (to, now), known) in steps(&series.samples, setting.patience) {
        let reset = now < before;
        let count = if reset { now } else { now - before };
        resets += usize::from(reset);
        all += 1;
        if known {
            flow.bins.push(Bin { start: from, end: to, count });
        } else {
            flow.gaps.push(from..to);
            lost += count;
        }
    }
    if all == 0 {
        wrong.column(&series.name, "a counter of one sample tells no flow", "export at least two samples");
        return None;
    }
    // Three in a short export may be bad luck, unless they are most of it.
    if resets > 1 && resets * MOST_RESETS > all && (resets > 3 || resets * 2 > all) {
        wrong.column(
            &series.name,
            format!("it goes down in {resets} of {all} steps, which a counter does not"),
            format!("if it counts per row, use --column: arrivals={0} (a depth: depth={0})", series.name),
        );
        return None;
    }
    if resets > 0 {
        notes.push(format!("`{}` was reset {resets} times: counted on from zero", series.name));
    }
    if lost > 0.0 {
        notes.push(format!("`{}` grew by {lost} in gaps, nobody knows when: left out", series.name));
    }
    Some(flow)
}

/// What came is what was done, and what waits or is worked on more than before.
pub(super) fn of_completions(
    done: &Flow,
    depth: &Series,
    in_flight: Option<&Series>,
    setting: Setting,
    notes: &mut Vec<String>,
    wrong: &mut Wrong,
) -> Option<Flow> {
    let done = Cumulated::of(done);
    let mut flow = Flow::default();
    let (mut debt, mut owed) = (0.0, 0.0);
    for ((from, before), (to, now), known) in steps(&depth.samples, setting.patience) {
        let count = done.between(from, to).filter(|_| known);
        let Some(count) = count else {
            add_gap(&mut flow.gaps, from..to);
            continue;
        };
        let busy = in_flight.map_or(0.0, |series| at(series, to).unwrap_or(0.0) - at(series, from).unwrap_or(0.0));
        let came = count + now - before + busy - debt;
        // Samples that were not taken at one moment: what is too little here was too much in a bin before.
        debt = (-came).max(0.0);
        owed += debt;
        flow.bins.push(Bin { start: from, end: to, count: came.max(0.0) });
    }
    if flow.bins.is_empty() {
        wrong.column(&depth.name, "depths and completions were never known at one time", "export them together");
        return None;
    }
    if in_flight.is_none() {
        notes.push("in_flight is not recorded: arrivals are late by what was taken and not yet done".to_owned());
    }
    if owed > 0.0 {
        notes.push("depths fell by more than was done in some bins: the bins after them got less".to_owned());
    }
    Some(flow)
}

/// A gap, joined with the one it continues.
pub(super) fn add_gap(gaps: &mut Vec<Range<i64>>, gap: Range<i64>) {
    match gaps.last_mut() {
        Some(last) if last.end == gap.start => last.end = gap.end,
        _ => gaps.push(gap),
    }
}

/// The value that held at a time: the last one before it.
pub(super) fn at(series: &Series, time: i64) -> Option<f64> {
    let after = series.samples.partition_point(|sample| sample.0 <= time);
    let mut before = series.samples.get(..after).unwrap_or_default().iter().rev().map(|sample| sample.1);
    before.find(|value| !value.is_nan())
}

/// A flow that can be asked for any time; within a bin it is even.
struct Cumulated {
    /// Start, end, sum before, count.
    bins: Vec<(i64, i64, f64, f64)>,
    gaps: Vec<Range<i64>>,
}

impl Cumulated {
    fn of(flow: &Flow) -> Self {
        let mut sum = 0.0;
        let bins = flow.bins.iter().map(|bin| {
            let before = sum;
            sum += bin.count;
            (bin.start, bin.end, before, bin.count)
        });
        Cumulated { bins: bins.collect(), gaps: flow.gaps.clone() }
    }

    fn between(&self, from: i64, to: i64) -> Option<f64> {
        let gap = self.gaps.partition_point(|gap| gap.end <= from);
        if self.gaps.get(gap).is_some_and(|gap| gap.start < to) {
            return None;
        }
        Some(self.until(to)? - self.until(from)?)
    }

    /// None outside of what is known.
    fn until(&self, time: i64) -> Option<f64> {
        let bin = self.bins.partition_point(|bin| bin.1 < time);
        let (start, end, before, count) = *self.bins.get(bin)?;
        if time < start {
            return None;
        }
        let width = end.abs_diff(start).max(1);
        let share = time.abs_diff(start) as f64 / width as f64;
        Some(before + count * share)
    }
}
