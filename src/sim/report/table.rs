//! The report for a terminal.

use std::fmt::Write as _;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::{Estimate, Policy, Report, Sweep};

/// All of it, as text. `width`: of the terminal, if it is one.
#[must_use]
pub fn text(report: &Report, width: Option<u16>) -> String {
    let about = &report.scenario;
    let mut out = String::new();
    // A shard other than the first has its part of the sweep, and nothing else.
    let whole = !report.policies.is_empty();
    if whole {
        let _ = writeln!(out, "{}\n{}\n", report.verdict, report.feasibility);
    }
    let _ = writeln!(
        out,
        "{}: {} jobs in {}, {} slots busy on average ({} a replica), start-up {}, objective {} % within {}, {} seed{}",
        about.name,
        count(about.jobs),
        duration(about.seconds),
        short(about.load),
        about.slots_per_replica,
        duration(about.start_up_seconds),
        about.slo_percent,
        duration(about.slo_wait_seconds),
        about.seeds.len(),
        if about.seeds.len() == 1 { "" } else { "s" },
    );
    if whole {
        let _ = writeln!(out, "\n{}\n", league(report, width));
        out.push_str(
        "cost: replica-seconds over what the jobs need. regret: cost above the best of hindsight with the same longest\n\
         wait (of which nobody could save who has to see a job first). rev: changes of direction within 10 minutes.\n\n",
    );
        for policy in &report.policies {
            let _ = writeln!(out, "{}: {}", policy.name, policy.setting);
        }
    }
    if let Some(sweep) = &report.sweep {
        let _ = writeln!(out, "\n{}", swept(sweep, width));
    }
    for note in &report.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn league(report: &Report, width: Option<u16>) -> Table {
    let mut table = table(width);
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
        |regret| format!("{} ({})", short(regret.percent), short(regret.unavoidable_percent)),
    );
    [
        if policy.meets_slo { "✓".to_owned() } else { "✗".to_owned() },
        policy.name.clone(),
        interval(policy.on_time_percent, 2),
        interval(policy.cost_over_work, 2),
        duration(waits.p50),
        duration(waits.p95),
        duration(waits.p99),
        duration(waits.max),
        short(policy.actions_per_hour.mean),
        short(policy.reversals_per_hour),
        short(policy.lost),
        short(policy.redelivered),
        regret,
    ]
    .into_iter()
    .map(Cell::new)
    .collect()
}

fn swept(sweep: &Sweep, width: Option<u16>) -> Table {
    let mut table = table(width);
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
            duration(point.p99_wait_seconds),
            short(point.actions_per_hour),
            if point.on_front { "on the front".to_owned() } else { String::new() },
        ]);
        table.add_row(cells);
    }
    right(&mut table, figures);
    table
}

fn table(width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    }
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

/// Three digits, more or less.
fn short(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 {
        "0".to_owned()
    } else if size >= 100.0 {
        count(number)
    } else if size >= 10.0 {
        format!("{number:.1}")
    } else {
        format!("{number:.2}")
    }
}

fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut out = String::from(sign);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Seconds, with the unit that suits them.
fn duration(seconds: f64) -> String {
    let whole = |number: f64| format!("{:.0}", number.floor());
    if seconds < 0.000_5 {
        "0".to_owned()
    } else if seconds < 1.0 {
        format!("{:.0}ms", seconds * 1000.0)
    } else if seconds < 60.0 {
        format!("{seconds:.1}s")
    } else if seconds < 3600.0 {
        format!("{}m{:02.0}s", whole(seconds / 60.0), (seconds % 60.0).floor())
    } else {
        format!("{}h{:02.0}m", whole(seconds / 3600.0), (seconds % 3600.0 / 60.0).floor())
    }
}
