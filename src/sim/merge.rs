//! The shards of a sweep, put together again: equal to the report of one process that did it all.

use crate::sim::report::{Report, SCHEMA, Sweep};
use crate::sim::sweep::{Shard, mark_front};

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
            None => wrong.push(format!("{name}: no shard; make it with --shard INDEX/COUNT")),
            Some(shard) => shards.push((shard, name, report)),
        }
    }
    shards.sort_by_key(|(shard, ..)| shard.index);
    let Some((first, first_name, whole)) = shards.first() else {
        wrong.push("no shard to merge".to_owned());
        return Err(wrong.join("\n"));
    };
    for index in 0..first.of {
        let names: Vec<&str> =
            shards.iter().filter(|(shard, ..)| shard.index == index).map(|(_, name, _)| name.as_str()).collect();
        match names.as_slice() {
            [] => wrong.push(format!("shard {index}/{} is missing; run it, or give its file", first.of)),
            [_] => {}
            several => wrong.push(format!("shard {index}/{} is there twice: {}", first.of, several.join(", "))),
        }
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
