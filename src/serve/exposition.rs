//! The per-autoscaler gauges, written from the board at the moment of a scrape.
//!
//! Not through the recorder: ten thousand autoscalers deciding four times a second would set gauges a hundred
//! thousand times a second for a scrape every fifteen, and a gauge of an autoscaler that is gone would have to be
//! taken back.

use std::fmt::{self, Write};

use crate::board::{Board, Published};
use crate::model::Tick;
use crate::telemetry::names;

/// Appends every autoscaler's gauges to `out`, in the text exposition format.
pub(super) fn autoscalers(out: &mut String, board: &Board, now: Tick) {
    let cells = board.all();
    let snapshots: Vec<_> = cells.values().map(|cell| cell.latest()).collect();
    family(out, names::BACKLOG, &snapshots, |line, published| each_trigger(line, published, |trigger| trigger.value));
    family(out, names::SAMPLE_AGE, &snapshots, |line, published| {
        each_trigger(line, published, |trigger| Some(now.since(trigger.taken?).as_secs_f64()))
    });
    family(out, names::TRIGGER_FAILING, &snapshots, |line, published| {
        triggers(published).try_for_each(|(name, report)| match &report.failure {
            Some(failure) => line.write(&[("trigger", name), ("kind", failure.kind.as_str())], 1.0),
            None => Ok(()),
        })
    });
    family(out, names::CURRENT_REPLICAS, &snapshots, |line, published| match &published.decision {
        Some(decision) if decision.current_known => line.write(&[], f64::from(decision.current)),
        _ => Ok(()),
    });
    family(out, names::DESIRED_REPLICAS, &snapshots, |line, published| match &published.decision {
        Some(decision) => line.write(&[], f64::from(decision.desired)),
        None => Ok(()),
    });
    family(out, names::ACTIVE, &snapshots, |line, published| match &published.decision {
        Some(decision) => line.write(&[], f64::from(u8::from(decision.active))),
        None => Ok(()),
    });
}

/// Heading and lines of one metric. Writing to a `String` cannot fail, so that the results mean nothing.
fn family(
    out: &mut String,
    name: &'static str,
    snapshots: &[std::sync::Arc<Published>],
    lines: impl Fn(&mut Line<'_>, &Published) -> fmt::Result,
) {
    if let Some(metric) = names::describe(name) {
        let _ = writeln!(out, "# HELP {name} {}\n# TYPE {name} {}", metric.help, metric.kind.as_str());
    }
    for published in snapshots {
        let id = &published.spec.id;
        let _ = lines(&mut Line { out, name, namespace: &id.namespace, autoscaler: &id.name }, published);
    }
}

fn triggers(published: &Published) -> impl Iterator<Item = (&str, &crate::model::TriggerReport)> {
    let reports = published.decision.iter().flat_map(|decision| &decision.triggers);
    published.spec.triggers.iter().map(|trigger| &*trigger.name).zip(reports)
}

fn each_trigger(
    line: &mut Line<'_>,
    published: &Published,
    value: impl Fn(&crate::model::TriggerReport) -> Option<f64>,
) -> fmt::Result {
    triggers(published).try_for_each(|(name, report)| match value(report) {
        Some(value) => line.write(&[("trigger", name)], value),
        None => Ok(()),
    })
}

/// One sample about one autoscaler.
struct Line<'a> {
    out: &'a mut String,
    name: &'static str,
    namespace: &'a str,
    autoscaler: &'a str,
}

impl Line<'_> {
    fn write(&mut self, more: &[(&str, &str)], value: f64) -> fmt::Result {
        let out = &mut *self.out;
        write!(
            out,
            "{}{{namespace=\"{}\",autoscaler=\"{}\"",
            self.name,
            Escaped(self.namespace),
            Escaped(self.autoscaler)
        )?;
        for (key, text) in more {
            write!(out, ",{key}=\"{}\"", Escaped(text))?;
        }
        writeln!(out, "}} {value}")
    }
}

/// A label's value, as the format wants it.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            _ => f.write_char(c),
        })
    }
}
