//! `tidegate demo`: the main job on an embedded default.
//!
//! The same poller, engine, doors and actuator as `run`; only the queues and the workloads are in memory. Two
//! workloads get the same bursts: one is scaled directly, one by KEDA and an HPA in a box that ask us over gRPC at
//! their real pace, so that the difference is seen and not claimed.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::replay::RecordArgs;
use super::run::{self, LogArgs, LogFormat};
use crate::app::{Bound, ByKeda, Checkpoints, Config, Rehearsal, TlsFiles};
use crate::board::Board;
use crate::clock::Clock;
use crate::model::{AutoscalerId, Decision, Replicas, Tick};
use crate::rehearse::load::{Bursts, Queue, Workers};
use crate::source::memory::MemoryQueues;
use crate::spec::limits::Limits;
use crate::spec::load::{SourceText, Terms, load};
use crate::target::memory::MemoryTarget;
use crate::telemetry::logs::LogFilter;
use crate::telemetry::names::Detail;

/// The manifests of the demo: what a user would write.
const MANIFESTS: &str = include_str!("demo.yaml");
/// The workload of the two that KEDA scales.
const KEDA: &str = "keda";
/// From being asked for to working.
const START_UP: Duration = Duration::from_secs(2);
/// What one item takes a worker.
const SERVICE_TIME: Duration = Duration::from_millis(250);
/// How often the books are looked at for something to tell.
const LOOK: Duration = Duration::from_millis(50);

/// Show it at work: an in-memory queue, workers, KEDA in a box; no Redis and no cluster needed.
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Where KEDA could ask (gRPC). Port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", env = "TIDEGATE_GRPC_ADDRESS", default_value = "127.0.0.1:6000")]
    pub grpc_address: SocketAddr,
    /// Status page, API and metrics (HTTP). Port 0 takes a free one.
    #[arg(long, value_name = "IP:PORT", env = "TIDEGATE_HTTP_ADDRESS", default_value = "127.0.0.1:8080")]
    pub http_address: SocketAddr,
    /// Stop after this long instead of at Ctrl-C, e.g. 2m.
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub duration: Option<Duration>,
    /// Which bursts: the same seed, the same bursts.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    #[command(flatten)]
    pub record: RecordArgs,
}

/// Runs the command.
///
/// # Errors
/// An address that is taken, or a part that failed.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    // What happens is told on standard output; the log only speaks when something is wrong.
    let quiet = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into());
    let logs = run::start_logging(&LogArgs { log_format: LogFormat::Human, log: Some(quiet) })?;
    run::serving(show(args, logs))
}

async fn show(args: &DemoArgs, logs: LogFilter) -> anyhow::Result<()> {
    let text = SourceText { file: "demo.yaml".into(), text: MANIFESTS.into() };
    let loaded = match load(&[text], &Terms::default()) {
        Ok(loaded) => loaded,
        Err(problems) => bail!("the demo's own manifests are broken:\n{problems}"),
    };
    let ids: Vec<AutoscalerId> = loaded.autoscalers.iter().map(|spec| spec.id.clone()).collect();
    let queues = MemoryQueues::new();
    let config = Config {
        grpc_address: args.grpc_address,
        http_address: args.http_address,
        tls: TlsFiles::default(),
        loaded,
        watched: None,
        cluster: None,
        checkpoints: Checkpoints::Nowhere,
        record: args.record.clone().to(),
        rehearsal: Some(Rehearsal {
            by_keda: ByKeda::Only(ids.iter().filter(|id| &*id.name == KEDA).cloned().collect()),
            replicas: None,
            start_up: START_UP,
            keda: run::keda_at_its_defaults(true),
        }),
        queues: queues.clone(),
        metrics_detail: Detail::default(),
        logs,
        limits: Limits::default(),
    };
    let bound = Bound::bind(config).await?;
    let workloads = bound.workloads().context("a demo is a rehearsal")?;
    let (grpc, http) = bound.addresses()?;
    let (board, clock) = (bound.board(), bound.clock());

    let shutdown = CancellationToken::new();
    run::end_on_signal(&shutdown)?;
    if let Some(duration) = args.duration {
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(duration).await;
            shutdown.cancel();
        });
    }
    welcome(grpc, http)?;
    for id in ids {
        tokio::spawn(work(id, args.seed, queues.clone(), Arc::clone(&workloads)));
    }
    let told = tokio::spawn(tell(board, workloads, clock, shutdown.clone()));
    bound.run(shutdown).await?;
    Ok(told.await??)
}

fn welcome(grpc: SocketAddr, http: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "tidegate demo: two workloads, the same bursts of jobs, one replica for every 10 waiting.")?;
    writeln!(out, "  direct  scaled by tidegate itself")?;
    writeln!(out, "  keda    scaled by KEDA and an HPA in a box at their real pace, asking tidegate over gRPC")?;
    writeln!(out)?;
    writeln!(out, "  status page   http://{http}/")?;
    writeln!(out, "  API           http://{http}/api/v1/autoscalers/demo/direct")?;
    writeln!(out, "  metrics       http://{http}/metrics")?;
    writeln!(out, "  gRPC          {grpc}  (externalscaler.ExternalScaler, with reflection)")?;
    writeln!(out)?;
    writeln!(out, "The first burst comes within 20 seconds. Ctrl-C ends it.")?;
    writeln!(out)?;
    writeln!(out, "    time  workload  replicas  backlog  why")
}

/// Producers and workers of one workload.
async fn work(id: AutoscalerId, seed: u64, queues: MemoryQueues, workloads: Arc<MemoryTarget>) {
    let queue = NamedQueue { queues, name: id.name.to_string() };
    let bursts = Bursts { seed, ..Bursts::default() };
    let workers = Workers::new(SERVICE_TIME);
    let ready = || workloads.scale_of(&id).map_or(0, |scale| scale.ready);
    tokio::join!(bursts.produce(&queue), workers.work(&queue, ready));
}

struct NamedQueue {
    queues: MemoryQueues,
    name: String,
}

impl Queue for NamedQueue {
    fn push(&self, items: u64) {
        self.queues.push(&self.name, items);
    }

    fn pop(&self, items: u64) -> u64 {
        self.queues.pop(&self.name, items)
    }
}

/// What one workload has cost and delivered so far.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Last change told, and the count after it.
    told: (Tick, Replicas),
    /// Integral of the backlog over time: by Little's law the sum of everybody's waits.
    waited: f64,
    replica_seconds: f64,
}

/// One line whenever replicas change, and why; at the end, what each way of scaling has cost and delivered.
async fn tell(
    board: Arc<Board>,
    workloads: Arc<MemoryTarget>,
    clock: Clock,
    stop: CancellationToken,
) -> io::Result<()> {
    // Nobody listens any more (`demo | head`): nothing is left to show.
    let _end = stop.clone().drop_guard();
    let started = clock.now();
    let mut last = started;
    let mut tallies: BTreeMap<AutoscalerId, Tally> = BTreeMap::new();
    while !stop.is_cancelled() {
        tokio::time::sleep(LOOK).await;
        let now = clock.now();
        let elapsed = now.since(last).as_secs_f64();
        last = now;
        for (id, view) in workloads.views() {
            let tally = tallies.entry(id.clone()).or_default();
            tally.waited += backlog(&board, &id) * elapsed;
            tally.replica_seconds += f64::from(view.scale.replicas) * elapsed;
            let (told, _) = tally.told;
            for change in view.history.iter().filter(|change| change.at > told) {
                let (_, from) = std::mem::replace(&mut tally.told, (change.at, change.replicas));
                if change.replicas != from {
                    let at = change.at.since(started).as_secs_f64();
                    let moved = format!("{from} -> {}", change.replicas);
                    let why = explain(&board, &id, from, change.replicas).unwrap_or_else(|| change.why.to_string());
                    let mut out = io::stdout().lock();
                    writeln!(out, "{at:7.1}s  {:<8}  {moved:<8}  {:>7}  {why}", id.name, backlog(&board, &id))?;
                }
            }
        }
    }
    let mut out = io::stdout().lock();
    writeln!(out)?;
    for (id, tally) in &tallies {
        let Tally { waited, replica_seconds, .. } = tally;
        writeln!(
            out,
            "{:<8}  all jobs together waited {waited:6.0} s, for {replica_seconds:6.0} replica-seconds",
            id.name
        )?;
    }
    Ok(())
}

/// Items waiting, as last seen.
fn backlog(board: &Board, id: &AutoscalerId) -> f64 {
    let Some(cell) = board.get(id) else { return 0.0 };
    let values = |decision: &Decision| decision.triggers.iter().filter_map(|trigger| trigger.value).fold(0.0, f64::max);
    cell.peek(|published| published.decision.as_ref().map_or(0.0, values))
}

/// The decision that asked for this step, in its own words; `None` where it was not ours.
fn explain(board: &Board, id: &AutoscalerId, from: Replicas, to: Replicas) -> Option<String> {
    let history = board.get(id)?.history();
    let asked = |decision: &&Decision| decision.current == from && decision.desired == to;
    let decision = history.iter().rev().filter(|_| &*id.name != KEDA).find(asked)?;
    Some(decision.reason.as_str().to_owned())
}
