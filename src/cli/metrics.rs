//! `tidegate metrics`: the reference of every metric, from the same lines that export them.
//!
//! A copy is kept in `deploy/monitoring/metrics.md`, where people read it without a binary; a test compares the two.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use serde::Serialize;

use crate::telemetry::names::{self, Detail, Metric, Values};

/// Prints every metric with its labels and their values, what it says, and what for.
#[derive(Clone, Debug, clap::Args)]
pub struct MetricsArgs {
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Markdown)]
    pub output: Output,
}

/// How to print it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Output {
    /// A table for people.
    Markdown,
    /// One JSON array.
    Json,
}

/// One metric, for scripts.
#[derive(Serialize)]
struct Entry {
    name: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    unit: &'static str,
    labels: Vec<LabelEntry>,
    help: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    /// The one value of --metrics-detail under which it is exported; `null` for any.
    detail: Option<&'static str>,
}

#[derive(Serialize)]
struct LabelEntry {
    name: &'static str,
    /// What it names, where its values are names that somebody gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    names: Option<&'static str>,
    /// All there are, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<Vec<&'static str>>,
}

/// Runs the command.
///
/// # Errors
/// Standard output is closed.
pub fn run(args: &MetricsArgs) -> anyhow::Result<ExitCode> {
    let text = match args.output {
        Output::Markdown => markdown(),
        Output::Json => serde_json::to_string_pretty(&names::ALL.iter().map(entry).collect::<Vec<_>>())? + "\n",
    };
    io::stdout().lock().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn entry(metric: &Metric) -> Entry {
    let label = |label: &names::Label| LabelEntry {
        name: label.name,
        names: match label.values {
            Values::Named(what) => Some(what),
            Values::Closed(_) => None,
        },
        values: label.closed_values(),
    };
    Entry {
        name: metric.name,
        kind: metric.kind.as_str(),
        unit: metric.unit.as_str(),
        labels: metric.labels.iter().map(label).collect(),
        help: metric.help,
        usage: metric.usage,
        detail: metric.only_at().map(Detail::as_str),
    }
}

const INTRODUCTION: &str = "\
<!-- Printed by `tidegate metrics`. Not written by hand: a test compares the two. -->

# Metrics

What `GET /metrics` exports. `--metrics-detail` (or `TIDEGATE_METRICS_DETAIL`) says how finely autoscalers are told apart:
`autoscaler` (the default), `namespace`, or `process`. A metric with one of these in the second column is there under that
setting only; the others always are. What has never happened may be absent: write `rate(...) or vector(0)` in an alert that
must see a zero.
";

/// The reference for people.
#[must_use]
pub fn markdown() -> String {
    let mut out = INTRODUCTION.to_owned();
    out.push_str("\n| metric | only at | type | unit | labels | what it says | use |\n|---|---|---|---|---|---|---|\n");
    for metric in names::ALL {
        let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{}`", label.name)).collect();
        let only = metric.only_at().map_or(String::new(), |detail| format!("`{}`", detail.as_str()));
        let Metric { name, help, usage, .. } = metric;
        let (kind, unit, labels) = (metric.kind.as_str(), metric.unit.as_str(), labels.join(", "));
        // Writing to a `String` cannot fail.
        let _ = writeln!(out, "| `{name}` | {only} | {kind} | {unit} | {labels} | {help} | {usage} |");
    }
    out.push_str("\n## Labels\n\n| label | of | values |\n|---|---|---|\n");
    for (label, values, metrics) in labels() {
        let _ = writeln!(out, "| `{label}` | {metrics} | {values} |");
    }
    out
}

/// Name, values and metrics of each label. One name may stand for several sets: outcomes differ.
fn labels() -> Vec<(&'static str, String, String)> {
    let mut known: Vec<(&'static str, String, Vec<&'static str>)> = Vec::new();
    for metric in names::ALL {
        for label in metric.labels {
            let values = match label.values {
                Values::Named(what) => what.to_owned(),
                Values::Closed(values) => {
                    values().iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ")
                }
            };
            match known.iter_mut().find(|(name, of, _)| *name == label.name && *of == values) {
                Some((.., metrics)) => metrics.push(metric.name),
                None => known.push((label.name, values, vec![metric.name])),
            }
        }
    }
    let of = |metrics: Vec<&str>| match metrics.as_slice() {
        [_, _, _, _, ..] => format!("{} metrics", metrics.len()),
        few => few.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    };
    known.into_iter().map(|(name, values, metrics)| (name, values, of(metrics))).collect()
}
