//! What was measured at times, made into arrivals. Whatever the format, the recorded series meet here.
//!
//! A flow is known from the best that was recorded: counts or rates of arrivals; a counter of them; completions with
//! the depth (what came is what was done and what there is more of); or, least, the depth alone with what is known of
//! the workers (`depth.rs`). Where nothing was recorded, nothing is made up: that time is a gap.

use std::collections::BTreeMap;
use std::ops::Range;

use super::flow::{self, Flow};
use super::spread::spread;
use super::time::{length, shown};
use super::wrong::Wrong;
use super::{Band, Format, Job, Role, Stamp, Trace, depth};

/// Gaps that a trace lists in its notes.
const LISTED_GAPS: usize = 5;

/// Samples in order of time; NaN where it is known that nothing is known.
#[derive(Default, Clone, PartialEq, Debug)]
pub(super) struct Series {
    /// As the export calls it.
    pub(super) name: String,
    pub(super) samples: Vec<(i64, f64)>,
}

/// How the series of a format are to be taken.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) origin: Format,
    /// Whether times are of the calendar.
    pub(super) absolute: bool,
    /// Intervals of gauges and counters longer than this many usual ones are gaps. Where a step is promised
    /// (Prometheus), one that is missing is a gap already.
    pub(super) patience: f64,
    /// Which end of its bin a timestamp marks, unless told.
    pub(super) stamp: Stamp,
}

pub(super) type Recorded = BTreeMap<Role, Series>;

pub(super) fn assemble(job: &Job<'_>, mut recorded: Recorded, setting: Setting, wrong: &mut Wrong) -> Option<Trace> {
    let mut trace = Trace::new(job.name, setting.origin);
    for (role, series) in &mut recorded {
        tidy(*role, series, &mut trace.notes, wrong);
    }
    recorded.retain(|_, series| !series.samples.is_empty());
    if !wrong.is_empty() {
        return None;
    }
    let flow = find(job, &recorded, setting, &mut trace.notes, wrong)?;
    let ends = |gaps: &[Range<i64>]| (gaps.first().map(|gap| gap.start), gaps.last().map(|gap| gap.end));
    let (gap_start, gap_end) = ends(&flow.gaps);
    let start = flow.bins.first().map(|bin| bin.start).into_iter().chain(gap_start).min();
    let end = flow.bins.last().map(|bin| bin.end).into_iter().chain(gap_end).max();
    let (Some(origin), Some(end)) = (start, end) else {
        wrong.file("no arrivals can be told from it", "export a longer time, with at least two samples");
        return None;
    };

    let mut arrivals = |bins| match spread(bins, origin, job.options.spread, job.options.max_arrivals) {
        Ok(arrivals) => Some(arrivals),
        Err(_) => {
            too_many(job, wrong);
            None
        }
    };
    trace.arrivals = arrivals(&flow.bins)?;
    if let Some((low, high)) = &flow.band {
        trace.uncertainty = Some(Band { low: arrivals(low)?, high: arrivals(high)? });
    }
    if flow.bins.iter().any(|bin| bin.count.fract() != 0.0) {
        trace.notes.push("counts are not whole numbers: rounded in sum".to_owned());
    }
    trace.span = end.abs_diff(origin);
    trace.gaps = flow.gaps.iter().map(|gap| gap.start.abs_diff(origin)..gap.end.abs_diff(origin)).collect();
    note_gaps(&flow.gaps, setting.absolute, &mut trace.notes);
    let shown = |role| shown_series(recorded.get(&role)?, origin, end);
    trace.depth = shown(Role::Depth);
    trace.replicas = shown(Role::Replicas);
    Some(trace)
}

pub(super) fn too_many(job: &Job<'_>, wrong: &mut Wrong) {
    wrong.file(
        format!("it has more than {} arrivals or rows", job.options.max_arrivals),
        "import a shorter time (8 bytes of memory each)",
    );
}

/// In order, one sample for each time, and at least one that is known.
fn tidy(role: Role, series: &mut Series, notes: &mut Vec<String>, wrong: &mut Wrong) {
    let Series { name, samples } = series;
    if samples.iter().all(|(_, value)| value.is_nan()) {
        notes.push(format!("`{name}` ({}) has no values: left out", role.name()));
        samples.clear();
        return;
    }
    if !samples.is_sorted_by_key(|sample| sample.0) {
        samples.sort_by_key(|sample| sample.0);
        notes.push(format!("`{name}` was not in order of time: sorted"));
    }
    let before = samples.len();
    samples.dedup_by(|later, kept| {
        let same = later.0 == kept.0;
        if same && !later.1.is_nan() {
            kept.1 = if role.adds_up() && !kept.1.is_nan() { kept.1 + later.1 } else { later.1 };
        }
        same
    });
    let twice = before - samples.len();
    // A clock that is set back repeats an hour a year; more than a tenth are several things in one table.
    if !role.adds_up() && twice * 10 > before {
        wrong.column(
            name,
            format!("{twice} of {before} rows have the time of another row: several queues or pods in one export?"),
            "export one of them, or one sum of all",
        );
    } else if twice > 0 {
        let cure = if role.adds_up() { "added up" } else { "the last one counts" };
        notes.push(format!("`{name}` has {twice} samples at the time of another one: {cure}"));
    }
}

fn find(
    job: &Job<'_>,
    recorded: &Recorded,
    setting: Setting,
    notes: &mut Vec<String>,
    wrong: &mut Wrong,
) -> Option<Flow> {
    let get = |role| recorded.get(&role);
    let taken = |series: &Series, what: &str, notes: &mut Vec<String>| {
        notes.push(format!("arrivals are from `{}`, {what}", series.name));
    };
    let stamp = job.options.stamp.unwrap_or(setting.stamp);
    if let Some(arrivals) = get(Role::Arrivals) {
        taken(arrivals, "a count per bin", notes);
        return flow::of_counts(arrivals, job.options, stamp, false, notes, wrong);
    }
    if let Some(rate) = get(Role::Rate) {
        taken(rate, "a rate per second", notes);
        return flow::of_counts(rate, job.options, stamp, true, notes, wrong);
    }
    if let Some(counter) = get(Role::Enqueued) {
        taken(counter, "a counter", notes);
        return flow::of_counter(counter, setting, notes, wrong);
    }
    let completions = match (get(Role::Completions), get(Role::Completed)) {
        (Some(counts), _) => {
            // Its gaps and repairs are told with the flow.
            Some((flow::of_counts(counts, job.options, stamp, false, &mut Vec::new(), wrong)?, counts))
        }
        (None, Some(counter)) => Some((flow::of_counter(counter, setting, notes, wrong)?, counter)),
        (None, None) => None,
    };
    match (completions, get(Role::Depth)) {
        (Some((done, name)), Some(depth)) => {
            taken(name, &format!("completions, and the changes of `{}`", depth.name), notes);
            flow::of_completions(&done, depth, get(Role::InFlight), setting, notes, wrong)
        }
        (None, Some(_)) => depth::reconstruct(job, recorded, setting, notes, wrong),
        (Some((_, done)), None) => {
            wrong.column(
                &done.name,
                "completions tell when work ended, not when it came",
                "add the depth of the queue, a counter of what was enqueued, or arrivals per bin",
            );
            None
        }
        (None, None) => {
            wrong.file(
                "nothing in it tells arrivals",
                "it needs arrivals per bin, a counter of what was enqueued, or completions with the depth; the option \
                 map tells which column or series is what",
            );
            None
        }
    }
}

fn note_gaps(gaps: &[Range<i64>], absolute: bool, notes: &mut Vec<String>) {
    let mut longest: Vec<&Range<i64>> = gaps.iter().collect();
    longest.sort_by_key(|gap| (std::cmp::Reverse(gap.end.abs_diff(gap.start)), gap.start));
    longest.truncate(LISTED_GAPS);
    longest.sort_by_key(|gap| gap.start);
    for gap in &longest {
        notes.push(format!(
            "nothing is known from {} to {} ({}): no arrivals are made up there",
            shown(gap.start, absolute),
            shown(gap.end, absolute),
            length(gap.end.abs_diff(gap.start))
        ));
    }
    if gaps.len() > longest.len() {
        let all = gaps.iter().fold(0u64, |sum, gap| sum.saturating_add(gap.end.abs_diff(gap.start)));
        notes.push(format!("and {} more gaps; all together are {}", gaps.len() - longest.len(), length(all)));
    }
}

/// The samples within the trace, for display.
fn shown_series(series: &Series, origin: i64, end: i64) -> Option<Vec<(u64, f64)>> {
    let within = series.samples.iter().filter(|(at, value)| (origin..=end).contains(at) && !value.is_nan());
    let samples: Vec<(u64, f64)> = within.map(|(at, value)| (at.abs_diff(origin), *value)).collect();
    (!samples.is_empty()).then_some(samples)
}
