//! The report for a terminal.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};

use super::text::{number, plural, seconds};
use super::{Estimate, Policy, Report, Sweep};

/// What stands below the table.
const LEGEND: &str = "\
cost: replica-seconds over what the jobs need. regret: cost above the best of hindsight with the same longest
wait (in brackets what only reacting costs of it, an estimate). rev: changes of direction within 10 minutes.

";

/// All of it, as text.
#[must_use]
pub fn text(report: &Report) -> String {
    let about = &report.scenario;
    let mut out = String::new();
    // A shard other than the first has its part of the sweep, and nothing else.
    let whole = !report.policies.is_empty();
    if whole {
        let _ = writeln!(out, "{}\n{}\n", report.verdict, report.feasibility);
    }
    let _ = writeln!(
        out,
        "{}: {} jobs in {}, {} slots busy on average ({} a replica), start-up {}, objective {} % within {}, {}",
        about.name,
        number(about.jobs),
        seconds(about.seconds),
        number(about.load),
        about.slots_per_replica,
        seconds(about.start_up_seconds),
        about.slo_percent,
        seconds(about.slo_wait_seconds),
        plural(about.seeds.len(), "seed", "seeds"),
    );
    if whole {
        let _ = writeln!(out, "\n{}\n", league(report));
        out.push_str(LEGEND);
        for policy in &report.policies {
            let _ = writeln!(out, "{}: {}", policy.name, policy.setting);
        }
    }
    if let Some(sweep) = &report.sweep {
        let _ = writeln!(out, "\n{}", swept(sweep));
    }
    for note in &report.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn league(report: &Report) -> Table {
    let mut table = table();
    table.set_header(vec![
        "",
        "policy",
        "in time %",
        "cost",
        "p50",
        "p95",
        "p99",
        "max wait",
        "acts/h",
        "rev/h",
        "lost",
        "again",
        "regret %",
    ]);
    for policy in &report.policies {
        table.add_row(row(policy));
    }
    right(&mut table, 2);
    table
}

fn row(policy: &Policy) -> Vec<Cell> {
    let waits = &policy.waits;
    let regret = policy.regret.map_or_else(
        || "-".to_owned(),
        |regret| format!("{} ({})", number(regret.percent), number(regret.unavoidable_percent)),
    );
    [
        if policy.meets_slo { "✓".to_owned() } else { "✗".to_owned() },
        policy.name.clone(),
        interval(policy.on_time_percent, 2),
        interval(policy.cost_over_work, 2),
        seconds(waits.p50),
        seconds(waits.p95),
        seconds(waits.p99),
        seconds(waits.max),
        number(policy.actions_per_hour.mean),
        number(policy.reversals_per_hour),
        number(policy.lost),
        number(policy.redelivered),
        regret,
    ]
    .into_iter()
    .map(Cell::new)
    .collect()
}

fn swept(sweep: &Sweep) -> Table {
    let mut table = table();
    let mut header = vec![String::new()];
    header.extend(sweep.fields.iter().map(|field| field.path.trim_start_matches("spec.").to_owned()));
    header.extend(["in time %", "cost", "p99", "acts/h", ""].map(str::to_owned));
    let figures = 1 + sweep.fields.len();
    table.set_header(header);
    for point in &sweep.points {
        let mut cells = vec![if point.meets_slo { "✓".to_owned() } else { "✗".to_owned() }];
        cells.extend(point.values.iter().cloned());
        cells.extend([
            interval(point.on_time_percent, 2),
            interval(point.cost_over_work, 2),
            seconds(point.p99_wait_seconds),
            number(point.actions_per_hour),
            if point.on_front { "on the front".to_owned() } else { String::new() },
        ]);
        table.add_row(cells);
    }
    right(&mut table, figures);
    table
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    table
}

fn right(table: &mut Table, from: usize) {
    for column in table.column_iter_mut().skip(from) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn interval(estimate: Estimate, digits: usize) -> String {
    let half = (estimate.high - estimate.low) / 2.0;
    if half == 0.0 {
        return format!("{:.digits$}", estimate.mean);
    }
    format!("{:.digits$} ±{half:.digits$}", estimate.mean)
}
