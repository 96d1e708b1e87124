//! `tidegate simulate`: what a policy would cost, and how long jobs would wait, before production learns it.

mod inputs;

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};

use self::inputs::Inputs;
use super::duration;
use crate::sim::merge::merge;
use crate::sim::report::{Field, Report, SCHEMA, page, table};
use crate::sim::sweep::{self, Shard};
use crate::sim::{tune, vary};
use crate::spec::AutoscalerSpec;

/// Compares scaling policies offline: the manifests' own, the HPA, KEDA, and the best of hindsight.
#[derive(Clone, Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct SimulateArgs {
    #[command(subcommand)]
    pub command: Option<SimulateCommand>,
    /// Manifests and a Scenario: files, folders, or - for standard input. May be repeated. Several QueueAutoscalers are
    /// compared side by side.
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Which Scenario, where the files have several.
    #[arg(long, value_name = "NAME")]
    pub scenario: Option<String>,
    /// First seed; the others follow it.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// How many seeds, instead of the Scenario's own number.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub seeds: Option<u32>,
    /// Runs side by side; as many as there are processors if not said. The report is the same.
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    #[command(flatten)]
    pub delivery: Delivery,

    /// Try other values of a field of the manifest, in every combination with other --vary:
    /// spec.behavior.scaleDown.stabilizationWindowSeconds=0,60,300.
    #[arg(long, value_name = "PATH=VALUE,...", help_heading = "Sweeps", value_parser = vary::field)]
    pub vary: Vec<Field>,
    /// Look for the cheapest settings that meet the objective, among those of --vary or the usual ones; print the
    /// manifest, and the ScaledObject for it.
    #[arg(long, help_heading = "Sweeps", conflicts_with_all = ["shard", "output"])]
    pub tune: bool,
    /// Do only a part of the sweep, counted from 0; the parts go together with tidegate simulate merge.
    #[arg(long, value_name = "INDEX/COUNT", help_heading = "Sweeps", requires = "vary", value_parser = Shard::parse)]
    pub shard: Option<Shard>,

    /// Replay this instead of a Scenario: CSV or NDJSON of events or of gauges and counters, Prometheus' query_range,
    /// CloudWatch's get-metric-data, counts per bin, or SWF.
    #[arg(long, value_name = "FILE", help_heading = "Without a Scenario", conflicts_with = "scenario")]
    pub trace: Option<String>,
    /// How long a job takes, on average (exponentially distributed), where the trace does not say.
    #[arg(long, value_name = "DURATION", help_heading = "Without a Scenario", requires = "trace", value_parser = duration)]
    pub service: Option<Duration>,
    /// Jobs that one replica works on at once.
    #[arg(long, value_name = "N", help_heading = "Without a Scenario", requires = "trace")]
    pub slots: Option<u32>,
    /// How long a pod takes from being asked for to taking work.
    #[arg(long, value_name = "DURATION", help_heading = "Without a Scenario", default_value = "30s", requires = "trace", value_parser = duration)]
    pub start_up: Duration,
    /// How long 99 % of the jobs may wait.
    #[arg(long, value_name = "DURATION", help_heading = "Without a Scenario", default_value = "30s", requires = "trace", value_parser = duration)]
    pub slo: Duration,
    /// Which column or series is what, e.g. arrivals=value; roles: time, service, arrivals, rate, enqueued, completed,
    /// depth, in_flight, replicas.
    #[arg(long = "column", value_name = "ROLE=NAME", help_heading = "Without a Scenario", requires = "trace", value_parser = inputs::column)]
    pub columns: Vec<String>,
    /// Width of a bin, where the trace has bare counts.
    #[arg(long, value_name = "DURATION", help_heading = "Without a Scenario", requires = "trace", value_parser = duration)]
    pub bin: Option<Duration>,
    /// Workers that there were, where the trace has depths only.
    #[arg(long, value_name = "N", help_heading = "Without a Scenario", requires_all = ["trace", "service"])]
    pub replicas: Option<u32>,
    /// Of what depths allow for: the least that can have come, what is likely, or the most.
    #[arg(long, value_name = "END", help_heading = "Without a Scenario", requires = "trace", value_parser = ["low", "likely", "high"])]
    pub band: Option<String>,
    /// Seconds that a token takes, where the trace has tokens.
    #[arg(long, value_name = "SECONDS", help_heading = "Without a Scenario", requires = "trace")]
    pub seconds_per_token: Option<f64>,
}

/// Where the report goes.
#[derive(Clone, Debug, clap::Args)]
pub struct Delivery {
    /// What to print on standard output.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Write the whole report as JSON, too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the report as one page for a browser, with its plots.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

/// What else there is to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum SimulateCommand {
    /// Put the shards of a sweep together: the report is the one of a single process.
    Merge(MergeArgs),
}

/// Puts shards together.
#[derive(Clone, Debug, clap::Args)]
pub struct MergeArgs {
    /// What --json wrote, one file a shard.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub delivery: Delivery,
}

/// What to print.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Output {
    /// A table for people.
    Table,
    /// The whole report.
    Json,
}

/// Runs the command.
///
/// # Errors
/// Whatever keeps it from being simulated, with the place and the cure.
pub fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    if let Some(SimulateCommand::Merge(args)) = &args.command {
        return merged(args);
    }
    if let Some(threads) = args.threads {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().context("cannot start threads")?;
    }
    let inputs = inputs::read(args)?;
    let progress = progress();
    let result = simulate(args, &inputs, &|runs| progress.inc(runs as u64));
    progress.finish_and_clear();
    let (report, manifests) = result?;
    args.delivery.write(&report)?;
    match manifests {
        Some(manifests) => {
            // What is to be applied goes to standard output, what people look at beside it.
            std::io::stderr().lock().write_all(table::text(&report).as_bytes()).context("cannot print")?;
            std::io::stdout().lock().write_all(manifests.as_bytes()).context("cannot print")?;
        }
        None => args.delivery.print(&report)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn simulate(
    args: &SimulateArgs,
    inputs: &Inputs,
    tick: &(dyn Fn(usize) + Sync),
) -> anyhow::Result<(Report, Option<String>)> {
    let Inputs { experiment, documents } = inputs;
    let sentence = |error: String| anyhow!(error);
    let Some(spec) = experiment.autoscalers.first() else { bail!("no QueueAutoscaler in these files") };
    if (args.tune || !args.vary.is_empty()) && experiment.autoscalers.len() > 1 {
        bail!("several QueueAutoscalers, and one is varied; name it in the Scenario: autoscaler: {}", spec.id.name);
    }
    let shard = args.shard.unwrap_or(Shard { index: 0, of: 1 });
    let name = &spec.id.name;
    let sweep = if args.tune || args.vary.is_empty() {
        None
    } else {
        let mine = |(at, _): &(usize, Vec<String>)| at % shard.of == shard.index;
        let points = vary::combinations(&args.vary).map_err(sentence)?;
        let variants: Vec<(Vec<String>, Arc<AutoscalerSpec>)> = points
            .into_iter()
            .enumerate()
            .filter(mine)
            .map(|(_, values)| documents.with(name, &args.vary, &values).map(|spec| (values, spec)))
            .collect::<Result<_, _>>()
            .map_err(sentence)?;
        Some(sweep::run(experiment, &args.vary, &variants, tick).map_err(sentence)?)
    };
    let mut report = experiment.run(shard.index == 0, tick).map_err(sentence)?;
    report.sweep = sweep;
    report.shard = args.shard;
    if !args.tune {
        return Ok((report, None));
    }
    let fields = if args.vary.is_empty() { tune::usual_fields(spec) } else { args.vary.clone() };
    let tuned = tune::tune(experiment, documents, spec, &fields, tick).map_err(sentence)?;
    let manifests = tune::manifests(experiment, documents, &tuned).map_err(sentence)?;
    report.sweep = Some(tuned.sweep);
    Ok((report, Some(manifests)))
}

fn merged(args: &MergeArgs) -> anyhow::Result<ExitCode> {
    let (mut reports, mut wrong) = (Vec::new(), Vec::new());
    for path in &args.files {
        let name = path.display().to_string();
        match std::fs::read(path) {
            Ok(text) => match read_report(&text) {
                Ok(report) => reports.push((name, report)),
                Err(error) => wrong.push(format!("{name}: {error}")),
            },
            Err(error) => wrong.push(format!("{name}: cannot be read: {error}")),
        }
    }
    // What cannot be read is missing besides; both are said.
    let report = match (merge(reports), wrong.is_empty()) {
        (Ok(report), true) => report,
        (merged, _) => {
            wrong.extend(merged.err());
            bail!(wrong.join("\n"));
        }
    };
    args.delivery.write(&report)?;
    args.delivery.print(&report)?;
    Ok(ExitCode::SUCCESS)
}

fn read_report(text: &[u8]) -> Result<Report, String> {
    /// What all versions of it have.
    #[derive(serde::Deserialize)]
    struct Any {
        schema: String,
    }
    serde_json::from_slice(text).map_err(|error| match serde_json::from_slice::<Any>(text) {
        Ok(Any { schema }) if schema != SCHEMA => format!("schema {schema}, and this version reads {SCHEMA}"),
        _ => format!("not a report ({error}); make one with tidegate simulate --shard INDEX/COUNT --json FILE"),
    })
}

fn json(report: &Report) -> anyhow::Result<String> {
    Ok(serde_json::to_string_pretty(report)? + "\n")
}

impl Delivery {
    /// What goes into files.
    fn write(&self, report: &Report) -> anyhow::Result<()> {
        let write = |path: &Path, text: String| {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        if let Some(path) = &self.json {
            write(path, json(report)?)?;
        }
        if let Some(path) = &self.html {
            write(path, page::page(report))?;
        }
        Ok(())
    }

    fn print(&self, report: &Report) -> anyhow::Result<()> {
        let text = match self.output {
            Output::Table => table::text(report),
            Output::Json => json(report)?,
        };
        std::io::stdout().lock().write_all(text.as_bytes()).context("cannot print")
    }
}

/// On stderr, and only for people.
fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {pos} runs, {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
