//! `tidegate run`: poll, decide, serve, until a signal.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use tokio_util::sync::CancellationToken;

use super::cluster::{ClusterArgs, MemoryArgs};
use super::duration;
use super::replay::RecordArgs;
use super::tenants::TenantArgs;
use super::tls::TlsArgs;
use crate::app::{Bound, ByKeda, Config, KedaSettings, Rehearsal};
use crate::engine::hpa::ControllerOptions;
use crate::engine::keda::{KedaFallback, KedaFallbackBehavior, KedaSpec};
use crate::files;
use crate::files::resolve::Load;
use crate::files::watch::Watched;
use crate::model::Replicas;
use crate::source::memory::MemoryQueues;

use crate::spec::keda_metadata::Serve;
use crate::spec::load::{Loaded, Terms, load};
use crate::telemetry::logs::{self, LogFilter};
use crate::telemetry::names::Detail;

/// Poll, decide and serve until told to stop (SIGTERM or Ctrl-C; a second one ends at once).
///
/// Every option has an environment form, named with it.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// A manifest, a folder of them, or - for standard input. May be repeated. Changes are followed; SIGHUP asks for a
    /// look at once. Without it, only what KEDA's own metadata names is polled, as far as --allow-address goes.
    #[arg(short = 'f', long = "file", value_name = "PATH", env = "TIDEGATE_FILES", value_delimiter = ',')]
    pub files: Vec<PathBuf>,
    /// Where KEDA asks (gRPC). Port 0 takes a free one; the log says which.
    #[arg(long, value_name = "IP:PORT", env = "TIDEGATE_GRPC_ADDRESS", default_value = "0.0.0.0:6000")]
    pub grpc_address: SocketAddr,
    /// Health, metrics, API and status page (HTTP).
    #[arg(long, value_name = "IP:PORT", env = "TIDEGATE_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// Addresses that KEDA's metadata may name without a Connection: host:port, where * stands for anything.
    #[arg(long = "allow-address", value_name = "HOST:PORT", env = "TIDEGATE_ALLOW_ADDRESSES", value_delimiter = ',')]
    pub allow_addresses: Vec<String>,
    /// How finely /metrics tells autoscalers apart: eight and more series for each autoscaler, seven for each namespace,
    /// or neither.
    #[arg(long, value_name = "DETAIL", env = "TIDEGATE_METRICS_DETAIL", default_value = "autoscaler",
        value_parser = PossibleValuesParser::new(Detail::ALL.map(Detail::as_str)).map(|text| detail(&text)))]
    pub metrics_detail: Detail,
    #[command(flatten)]
    pub tls: TlsArgs,
    /// Who scales the workloads. none: KEDA does, in your cluster. kubernetes: this process does, in your cluster, for
    /// custom resources and manifests. memory: this process does, to workloads that exist only in it (a rehearsal).
    /// keda-box: KEDA and an HPA in a box do, which ask this process over gRPC at the real ones' pace (a rehearsal).
    #[arg(long, value_enum, value_name = "WHO", env = "TIDEGATE_TARGET", default_value_t = TargetKind::None)]
    pub target: TargetKind,
    #[command(flatten)]
    pub cluster: ClusterArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    #[command(flatten)]
    pub record: RecordArgs,
    #[command(flatten)]
    pub tenants: TenantArgs,
    #[command(flatten)]
    pub log: LogArgs,
    #[command(flatten)]
    pub rehearsal: RehearsalArgs,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Logs")]
pub struct LogArgs {
    /// For people, or one JSON object a line; on standard error.
    #[arg(long, value_enum, value_name = "FORMAT", env = "TIDEGATE_LOG_FORMAT", default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
    /// What to log, e.g. info, or info,tidegate::poller=debug.
    #[arg(long, value_name = "FILTER", env = "TIDEGATE_LOG")]
    pub log: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum LogFormat {
    Human,
    Json,
}

/// A rehearsal: the manifests' workloads exist only in this process, so that scaling can be watched without a cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Rehearsal, without a cluster")]
pub struct RehearsalArgs {
    /// Replicas that stand there at the beginning; idleReplicaCount or minReplicas if left out.
    #[arg(long, value_name = "N", env = "TIDEGATE_REHEARSAL_REPLICAS")]
    pub rehearsal_replicas: Option<Replicas>,
    /// From being asked for to being ready.
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_REHEARSAL_START_UP", default_value = "2s", value_parser = duration)]
    pub rehearsal_start_up: Duration,
    /// What the box's ScaledObjects ask for: the backlog (the HPA divides), or the replicas we decided.
    #[arg(long, value_enum, value_name = "WHAT", env = "TIDEGATE_KEDA_SERVE", default_value_t = ServeKind::Backlog)]
    pub keda_serve: ServeKind,
    /// The box's triggers are external-push: it keeps a stream open and is woken at once.
    #[arg(long, env = "TIDEGATE_KEDA_PUSH")]
    pub keda_push: bool,
    /// The box's pollingInterval.
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_KEDA_POLLING_INTERVAL", default_value = "30s", value_parser = duration)]
    pub keda_polling_interval: Duration,
    /// The box's HPA sync period.
    #[arg(long, value_name = "DURATION", env = "TIDEGATE_HPA_SYNC_PERIOD", default_value = "15s", value_parser = duration)]
    pub hpa_sync_period: Duration,
    /// The box's fallback.replicas, after fallback.failureThreshold 3; without it, no fallback.
    #[arg(long, value_name = "N", env = "TIDEGATE_KEDA_FALLBACK_REPLICAS")]
    pub keda_fallback_replicas: Option<Replicas>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TargetKind {
    None,
    Kubernetes,
    Memory,
    KedaBox,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum ServeKind {
    Backlog,
    Replicas,
}

/// What KEDA's documentation shows, and what the box's fallback uses.
const FAILURE_THRESHOLD: u32 = 3;

/// Runs the command.
///
/// # Errors
/// Manifests that cannot be used, an address that is taken, or a part that failed.
pub fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let RunArgs { files, grpc_address, http_address, allow_addresses, metrics_detail, tls, .. } = args;
    let RunArgs { target, cluster, memory, record, tenants, log, rehearsal, .. } = args;
    let logs = start_logging(&log)?;
    let tls = tls.files()?;
    if target == TargetKind::KedaBox && tls.grpc.is_some() {
        bail!("KEDA in a box asks over plain gRPC: leave out --grpc-tls-cert, or choose another --target");
    }
    let in_cluster = target == TargetKind::Kubernetes;
    if files.is_empty() && allow_addresses.is_empty() && !in_cluster {
        tracing::warn!("neither -f nor --allow-address: no server may be asked, and every KEDA call will be refused");
    }
    let limits = tenants.limits();
    let (loaded, watched) =
        read(&files, Terms { allow_addresses, only_addresses: tenants.only_addresses, limits, alternatives: false })?;
    let rehearsal = rehearse(target, &rehearsal);
    let cluster = in_cluster.then(|| cluster.settings()).transpose()?;
    let config = Config {
        grpc_address,
        http_address,
        tls,
        loaded,
        watched: Some(watched),
        rehearsal,
        cluster,
        checkpoints: memory.checkpoints(in_cluster),
        record: record.to(),
        queues: MemoryQueues::new(),
        metrics_detail,
        logs,
        limits,
    };
    serving(async {
        let bound = Bound::bind(config).await?;
        let shutdown = CancellationToken::new();
        end_on_signal(&shutdown)?;
        bound.run(shutdown).await
    })
}

pub(super) fn start_logging(args: &LogArgs) -> anyhow::Result<LogFilter> {
    let LogArgs { log_format, log } = args;
    let format = match log_format {
        LogFormat::Human => logs::Format::Human,
        LogFormat::Json => logs::Format::Json,
    };
    Ok(logs::init(format, log.as_deref())?)
}

/// The thread that serves is this one.
pub(super) fn serving(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(work);
    // A look at the manifests may hang on a mount for good; the end does not wait for it.
    runtime.shutdown_background();
    outcome.map(|()| ExitCode::SUCCESS)
}

fn read(files: &[PathBuf], terms: Terms) -> anyhow::Result<(Loaded, Watched)> {
    let set = files::read(files).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("{}", lines.join("\n"))
    })?;
    let load: Arc<Load> = Arc::new(move |texts| load(texts, &terms));
    let loaded = match load(&files::texts(&set)) {
        Ok(loaded) => loaded,
        Err(problems) => bail!("the manifests cannot be used:\n{problems}"),
    };
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    Ok((loaded, Watched { paths: files.to_vec(), set, load }))
}

fn rehearse(target: TargetKind, args: &RehearsalArgs) -> Option<Rehearsal> {
    let by_keda = match target {
        TargetKind::None | TargetKind::Kubernetes => return None,
        TargetKind::Memory => ByKeda::Nobody,
        TargetKind::KedaBox => ByKeda::Everybody,
    };
    let fallback = args.keda_fallback_replicas.map(|replicas| KedaFallback {
        failure_threshold: FAILURE_THRESHOLD,
        replicas,
        behavior: KedaFallbackBehavior::Static,
    });
    Some(Rehearsal {
        by_keda,
        replicas: args.rehearsal_replicas,
        start_up: args.rehearsal_start_up,
        keda: KedaSettings {
            serve: match args.keda_serve {
                ServeKind::Backlog => Serve::Backlog,
                ServeKind::Replicas => Serve::Replicas,
            },
            push: args.keda_push,
            polling_interval: args.keda_polling_interval,
            hpa_sync_period: args.hpa_sync_period,
            fallback,
        },
    })
}

pub(super) fn keda_at_its_defaults(push: bool) -> KedaSettings {
    KedaSettings {
        serve: Serve::Backlog,
        push,
        polling_interval: KedaSpec::POLLING_INTERVAL,
        hpa_sync_period: ControllerOptions::SYNC_PERIOD,
        fallback: None,
    }
}

/// The first SIGTERM or SIGINT begins to drain, the second ends at once.
#[expect(clippy::exit, reason = "the second signal says: now")]
pub(super) fn end_on_signal(shutdown: &CancellationToken) -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        for again in [false, true] {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if again {
                tracing::warn!(signal = name, "told twice to stop: ending at once");
                // 128 + SIGTERM, what a shell would report of a process that the signal had ended.
                std::process::exit(143);
            }
            tracing::info!(signal = name, "stopping");
            shutdown.cancel();
        }
    });
    Ok(())
}

/// What the parser has let through is one of them.
fn detail(text: &str) -> Detail {
    Detail::ALL.into_iter().find(|detail| detail.as_str() == text).unwrap_or_default()
}
