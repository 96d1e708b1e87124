//! The shards of a sweep, put together again: equal to the report of one process that did it all.

use crate::sim::report::{Report, SCHEMA, Sweep};
use crate::sim::sweep::{Shard, mark_front};
use crate::sim::vary::MOST_POINTS;

/// Puts shards together, in whatever order they come; each with its name, for messages.
///
/// # Errors
/// All that speaks against their belonging together.
pub fn merge(reports: Vec<(String, Report)>) -> Result<Report, String> {
    let mut shards: Vec<(Shard, String, Report)> = Vec::new();
    let mut wrong = Vec::new();
    for (name, mut report) in reports {
        match report.shard.take() {
            _ if report.schema != SCHEMA => {
                wrong.push(format!("{name}: schema {}, and this version reads {SCHEMA}", report.schema));
            }
            Some(shard) if shard.index < shard.of && shard.of <= MOST_POINTS => shards.push((shard, name, report)),
            _ => wrong.push(format!("{name}: no shard; make it with --shard INDEX/COUNT")),
        }
    }
    shards.sort_by_key(|(shard, ..)| shard.index);
    let Some((first, first_name, whole)) = shards.first() else {
        wrong.push("no shard to merge".to_owned());
        return Err(wrong.join("\n"));
    };
    let mut missing = Vec::new();
    for index in 0..first.of {
        let names: Vec<&str> =
            shards.iter().filter(|(shard, ..)| shard.index == index).map(|(_, name, _)| name.as_str()).collect();
        match names.as_slice() {
            [] => missing.push(format!("{index}/{}", first.of)),
            [_] => {}
            several => wrong.push(format!("shard {index}/{} is there twice: {}", first.of, several.join(", "))),
        }
    }
    if !missing.is_empty() {
        let are = if missing.len() == 1 { "is" } else { "are" };
        wrong.push(format!("shard {} {are} missing; run it, or give its file", listed(&missing)));
    }
    let same = |report: &Report| {
        // Averages over seeds are those of the shard that has the table.
        let about = |report: &Report| {
            (report.scenario.name.clone(), report.scenario.seeds.clone(), report.scenario.inputs.clone())
        };
        let fields = report.sweep.as_ref().map(|sweep| &sweep.fields);
        report.tidegate == whole.tidegate
            && report.command == whole.command
            && about(report) == about(whole)
            && fields == whole.sweep.as_ref().map(|sweep| &sweep.fields)
    };
    for (shard, name, report) in &shards {
        if shard.of != first.of || !same(report) {
            wrong.push(format!("{name}: of another sweep than {first_name}; both say what they are in `command`"));
        }
    }
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    let of = first.of;
    let mut parts = Vec::new();
    let mut whole = None;
    for (_, _, mut report) in shards {
        let Some(Sweep { points, .. }) = report.sweep.as_mut() else { continue };
        parts.push(std::mem::take(points).into_iter());
        whole.get_or_insert(report);
    }
    let Some(mut whole) = whole else { return Err("no sweep in these files".to_owned()) };
    let mut points = Vec::new();
    // Every `of`th point is of the same shard.
    while let Some(point) = parts.get_mut(points.len() % of).and_then(Iterator::next) {
        points.push(point);
    }
    mark_front(&mut points);
    if let Some(sweep) = &mut whole.sweep {
        sweep.points = points;
    }
    Ok(whole)
}

/// The first few, and how many more.
fn listed(names: &[String]) -> String {
    match names.split_at_checked(10) {
        Some((first, more)) if !more.is_empty() => format!("{} and {} more", first.join(", "), more.len()),
        _ => names.join(", "),
    }
}
