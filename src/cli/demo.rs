//! `tidegate demo`: the main job on an embedded default.
//!
//! The same poller, engine, doors and actuator as `run`; only the queues and the workloads are in memory. Two
//! workloads get the same bursts: one is scaled directly, one by KEDA and an HPA in a box that ask us over gRPC at
//! their real pace, so that the difference is seen and not claimed.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::run::{self, LogArgs, LogFormat};
use crate::app::{Bound, Config, Rehearsal};
use crate::board::Board;
use crate::clock::Clock;
use crate::model::{AutoscalerId, Tick};
use crate::rehearse::load::{Bursts, Queue, Workers};
use crate::source::memory::MemoryQueues;
use crate::spec::load::{SourceText, load};
use crate::target::memory::MemoryTarget;

/// The manifests of the demo: what a user would write.
const MANIFESTS: &str = include_str!("demo.yaml");
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
    #[arg(long, value_name = "DURATION", value_parser = run::duration)]
    pub duration: Option<Duration>,
    /// Which bursts: the same seed, the same bursts.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
}

/// Runs the command.
///
/// # Errors
/// An address that is taken, or a part that failed.
pub fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    // What happens is told on standard output; the log only speaks when something is wrong.
    let quiet = std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into());
    run::start_logging(&LogArgs { log_format: LogFormat::Human, log: Some(quiet) })?;
    run::serving(show(args))
}

async fn show(args: &DemoArgs) -> anyhow::Result<()> {
    let text = SourceText { file: "demo.yaml".into(), text: MANIFESTS.into() };
    let loaded = match load(&[text], &[]) {
        Ok(loaded) => loaded,
        Err(problems) => bail!("the demo's own manifests are broken:\n{problems}"),
    };
    let ids: Vec<AutoscalerId> = loaded.autoscalers.iter().map(|spec| spec.id.clone()).collect();
    let queues = MemoryQueues::new();
    let config = Config {
        grpc_address: args.grpc_address,
        http_address: args.http_address,
        loaded,
        rehearsal: Some(Rehearsal {
            by_keda: ids.iter().filter(|id| &*id.name == "keda").cloned().collect(),
            replicas: 0,
            start_up: START_UP,
            keda: run::keda_at_its_defaults(true),
        }),
        queues: queues.clone(),
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
    tokio::spawn(tell(board, workloads, clock));
    bound.run(shutdown).await
}

fn welcome(grpc: SocketAddr, http: SocketAddr) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
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

/// One line whenever replicas change, and why.
async fn tell(board: Arc<Board>, workloads: Arc<MemoryTarget>, clock: Clock) -> std::io::Result<()> {
    let started = clock.now();
    let mut told: HashMap<AutoscalerId, (Tick, i32)> = HashMap::new();
    loop {
        tokio::time::sleep(LOOK).await;
        for (id, view) in workloads.views() {
            let (last, mut replicas) = told.get(&id).copied().unwrap_or((Tick::ZERO, 0));
            for change in view.history.iter().filter(|change| change.at > last) {
                if change.replicas != replicas {
                    let at = change.at.since(started).as_secs_f64();
                    let moved = format!("{replicas} -> {}", change.replicas);
                    let (backlog, reason) = explain(&board, &id, &change.why);
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "{at:7.1}s  {:<8}  {moved:<8}  {backlog:>7}  {reason}", id.name)?;
                }
                replicas = change.replicas;
                told.insert(id.clone(), (change.at, replicas));
            }
        }
    }
}

/// The backlog as last seen, and why: in the decision's words where tidegate scaled, in the box's where that did.
fn explain(board: &Board, id: &AutoscalerId, why: &str) -> (String, String) {
    let Some(decision) = board.get(id).and_then(|cell| cell.latest().decision.clone()) else {
        return ("?".into(), why.into());
    };
    let backlog = decision.triggers.iter().filter_map(|trigger| trigger.value).fold(0.0, |sum, value| sum + value);
    let reason = if &*id.name == "keda" { why.to_owned() } else { decision.reason.as_str().to_owned() };
    (format!("{backlog}"), reason)
}
