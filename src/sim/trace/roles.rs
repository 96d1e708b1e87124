//! Which of several series, each with samples of its own, is what: told by the options, else by names. Two that could be
//! the same are a question; two that the options name are added up, because somebody said so.

use std::collections::BTreeMap;

use super::series::{Recorded, Series};
use super::wrong::{Wrong, listed};
use super::{Options, Role};

/// A series as it was found.
pub(super) struct Found {
    /// As the export calls it.
    pub(super) name: String,
    /// What its name says, and how much: less is better.
    pub(super) guess: Option<(Role, u8)>,
    pub(super) samples: Vec<(i64, f64)>,
}

/// `matches` says whether a selector of the options means a series, which is also given by its place.
pub(super) fn choose(
    mut found: Vec<Found>,
    options: &Options,
    matches: impl Fn(&str, usize, &Found) -> bool,
    notes: &mut Vec<String>,
    wrong: &mut Wrong,
) -> Recorded {
    for series in &mut found {
        check(series, notes, wrong);
    }
    let mut chosen: BTreeMap<Role, Vec<usize>> = BTreeMap::new();
    for (role, selector) in &options.map {
        let of: Vec<usize> =
            (0..).zip(&found).filter(|(at, series)| matches(selector, *at, series)).map(|(at, _)| at).collect();
        if of.is_empty() {
            wrong.file(
                format!("there is no series `{selector}`, which --column names for {}", role.name()),
                format!("its series are {}", listed(found.iter().map(|series| series.name.as_str()))),
            );
        }
        let chosen = chosen.entry(*role).or_default();
        chosen.extend(of);
        chosen.sort_unstable();
        chosen.dedup();
    }
    for role in Role::ALL {
        if options.mapped(role).is_none() {
            guessed(role, &found, &mut chosen, wrong);
        }
    }
    let used = |at: usize| chosen.values().any(|of| of.contains(&at));
    let rest: Vec<&str> =
        (0..).zip(&found).filter(|(at, _)| !used(*at)).map(|(_, found)| found.name.as_str()).collect();
    if chosen.is_empty() && wrong.is_empty() {
        wrong.file(
            format!("what its {} series are is not told by their names: {}", found.len(), listed(rest.iter().copied())),
            "use --column: depth=, arrivals= (per step), rate= (per second), enqueued= or completed= (counters), \
             replicas=; each a name, name{label=\"value\"}, or #1",
        );
    } else if !rest.is_empty() {
        notes.push(format!("series left out: {}", listed(rest.into_iter())));
    }
    let mut recorded = Recorded::new();
    for (role, of) in chosen {
        let parts: Vec<&Found> = of.iter().filter_map(|at| found.get(*at)).collect();
        recorded.insert(role, joined(role, &parts, notes));
    }
    recorded
}

fn guessed(role: Role, found: &[Found], chosen: &mut BTreeMap<Role, Vec<usize>>, wrong: &mut Wrong) {
    let free = |at: &usize| chosen.values().all(|of| !of.contains(at));
    let rank = |series: &Found| series.guess.filter(|(of, _)| *of == role).map(|(_, rank)| rank);
    let Some(best) = (0..).zip(found).filter(|(at, _)| free(at)).filter_map(|(_, series)| rank(series)).min() else {
        return;
    };
    let of: Vec<usize> =
        (0..).zip(found).filter(|(at, series)| free(at) && rank(series) == Some(best)).map(|(at, _)| at).collect();
    let names = || of.iter().filter_map(|at| found.get(*at)).map(|series| series.name.as_str());
    if of.len() > 1 {
        wrong.file(
            format!("{} series could each be the {}: {}", of.len(), role.name(), listed(names())),
            format!(
                "choose with --column, e.g. {}={}; a selector that fits several adds them up",
                role.name(),
                names().next().unwrap_or_default()
            ),
        );
    }
    chosen.insert(role, of);
}

/// What is infinite is not known; what is negative is wrong.
fn check(series: &mut Found, notes: &mut Vec<String>, wrong: &mut Wrong) {
    let mut infinite = 0;
    for (_, value) in &mut series.samples {
        if *value < 0.0 && value.is_finite() {
            let found = *value;
            wrong.row("negative", None, &series.name, || {
                (format!("{found} is negative"), "counts and depths never are; is this the right series?".to_owned())
            });
        }
        if !value.is_finite() {
            infinite += usize::from(!value.is_nan());
            *value = f64::NAN;
        }
    }
    if infinite > 0 {
        notes.push(format!("`{}` is infinite {infinite} times: taken for unknown", series.name));
    }
}

fn joined(role: Role, parts: &[&Found], notes: &mut Vec<String>) -> Series {
    if let [one] = parts {
        return Series { name: one.name.clone(), samples: one.samples.clone() };
    }
    let name = parts.first().map_or_else(String::new, |first| format!("{} + {} more", first.name, parts.len() - 1));
    notes.push(format!("{} series are added up to {}", parts.len(), role.name()));
    let mut sums: BTreeMap<i64, f64> = BTreeMap::new();
    let counter = matches!(role, Role::Enqueued | Role::Completed);
    for part in parts {
        let mut before: Option<f64> = None;
        for (at, value) in &part.samples {
            let step = match before {
                _ if value.is_nan() || !counter => *value,
                // A counter of a pod that comes or goes must not make the sum jump: the steps are added, not the values.
                None => 0.0,
                Some(before) if *value < before => *value,
                Some(before) => value - before,
            };
            before = if value.is_nan() { before } else { Some(*value) };
            let sum = sums.entry(*at).or_insert(f64::NAN);
            *sum = if sum.is_nan() {
                step
            } else if step.is_nan() {
                *sum
            } else {
                *sum + step
            };
        }
    }
    let mut total = 0.0;
    let running = |(at, step): (i64, f64)| {
        total += if step.is_nan() { 0.0 } else { step };
        (at, if step.is_nan() { step } else { total })
    };
    let samples = if counter { sums.into_iter().map(running).collect() } else { sums.into_iter().collect() };
    Series { name, samples }
}
