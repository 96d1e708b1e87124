//! Composition root of `run` and `demo`: bind, build, spawn, wait, drain.
//!
//! Two threads, each with a runtime of its own. The engine's thread polls and decides and does nothing else; the
//! main thread serves gRPC and HTTP and, in a rehearsal, holds the workloads. (Measured: one runtime over two
//! threads costs twice the CPU a request, and serving would jitter the rounds.) Sockets are bound before anything is
//! spawned, so that a taken port is an error at the start; a background task that ends takes the process with it.

mod cluster;
mod deciding;
mod lifetime;
mod rehearsal;
mod reload;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::cluster::{Checkpoints, ClusterSettings, Election};
use self::cluster::{Controller, Files, Wires};
use self::deciding::{Deciding, may_write, remember};
use self::lifetime::{announce_readiness, drain};
use self::rehearsal::Workloads;
pub use self::rehearsal::{ByKeda, KedaSettings, Rehearsal};
use self::reload::{Reload, Start};
use crate::board::{Board, Intake};
use crate::checkpoint::Memories;
use crate::checkpoint::folder::Folder;
use crate::clock::Clock;
use crate::files::watch::{Watched, Watcher};
use crate::model::TargetReport;
use crate::poller::Poller;
use crate::record::{Recorder, Writing};
use crate::rehearse::http::HeldBy;
use crate::runtime::{Inputs, Outputs, Roles, Runtime};
use crate::serve::http::HttpState;
use crate::serve::keda::{KedaScaler, Parts};
use crate::serve::listen::{self, Door, Listener};
use crate::serve::ready::Readiness;
use crate::serve::tls;
use crate::serve::tls::reload::Tls;
use crate::serve::{grpc, http, limits, log_level};
use crate::source::memory::MemoryQueues;
use crate::spec::limits::Limits;
use crate::spec::load::Loaded;
use crate::target::actuator::{self, Actuator};
use crate::target::memory::MemoryTarget;
use crate::telemetry::logs::LogFilter;
use crate::telemetry::names::Detail;
use crate::telemetry::prometheus::Prometheus;

/// Rounds that may wait for the engine. It takes one in well under the time in which the next arrives; more would
/// only be older.
const ROUNDS_WAITING: usize = 64;
/// Scale requests that may wait for the actuator, which keeps the latest of each workload: ten thousand at once.
const SCALES_WAITING: usize = 16_384;
/// Changes of who may act that may wait for the engine.
const MANDATES_WAITING: usize = 1_024;
/// Reports and registrations that may wait for the engine.
const REPORTS_WAITING: usize = 1_024;

const ENGINE: &str = "engine";
const GRPC_SERVER: &str = "gRPC server";
const HTTP_SERVER: &str = "HTTP server";
const ACTUATOR: &str = "actuator";
const CHECKPOINTS: &str = "writing of checkpoints";
const ELECTION: &str = "election";

/// The parts of the process, each with its name for people. One that ends before it is told to ends the process.
type Tasks = JoinSet<(&'static str, anyhow::Result<()>)>;

/// What to run.
pub struct Config {
    pub grpc_address: SocketAddr,
    pub http_address: SocketAddr,
    pub tls: TlsFiles,
    pub loaded: Loaded,
    /// The files behind it, if they are to be followed as they change.
    pub watched: Option<Watched>,
    pub rehearsal: Option<Rehearsal>,
    /// The cluster to control, if any.
    pub cluster: Option<ClusterSettings>,
    pub checkpoints: Checkpoints,
    /// Where what the engine is given is written down, if anywhere.
    pub record: Option<RecordTo>,
    /// What `memory` sources read.
    pub queues: MemoryQueues,
    pub metrics_detail: Detail,
    /// What is logged, for whoever may change it.
    pub logs: LogFilter,
    pub limits: Limits,
}

/// A recording to be made.
#[derive(Clone, Debug)]
pub struct RecordTo {
    pub path: PathBuf,
    /// Bytes of all its files together.
    pub most: u64,
}

/// The doors that speak TLS, and from which files.
#[derive(Clone, Debug, Default)]
pub struct TlsFiles {
    pub grpc: Option<tls::Files>,
    pub http: Option<tls::Files>,
}

/// Everything bound and nothing running yet.
pub struct Bound {
    clock: Clock,
    grpc: TcpListener,
    http: TcpListener,
    grpc_tls: Option<Tls>,
    http_tls: Option<Tls>,
    loaded: Loaded,
    watched: Option<Watched>,
    rehearsal: Option<(Rehearsal, Arc<MemoryTarget>)>,
    cluster: Option<Controller>,
    checkpoints: Checkpoints,
    recording: Option<(Recorder, Writing)>,
    board: Arc<Board>,
    queues: MemoryQueues,
    limits: Limits,
    intake: mpsc::Receiver<Intake>,
    reports: (mpsc::Sender<TargetReport>, mpsc::Receiver<TargetReport>),
    metrics: Prometheus,
    metrics_detail: Detail,
    logs: LogFilter,
}

impl Bound {
    /// Binds both doors and installs the metrics recorder.
    ///
    /// # Errors
    /// An address is taken or not ours, TLS files cannot be used, or a recorder is installed already.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let Config {
            grpc_address,
            http_address,
            tls,
            loaded,
            watched,
            rehearsal,
            cluster,
            checkpoints,
            record,
            queues,
            metrics_detail,
            logs,
            limits,
        } = config;
        let clock = Clock::start();
        let metrics = Prometheus::install()?;
        let load = |door: Door, files: Option<tls::Files>| {
            let flags = || format!("TLS of the {} door (--{0}-tls-cert, ..)", door.as_str());
            files.map(|files| Tls::load(door, files).with_context(flags)).transpose()
        };
        let (grpc_tls, http_tls) = (load(Door::Grpc, tls.grpc)?, load(Door::Http, tls.http)?);
        let bind = async |address: SocketAddr, flag: &str| {
            let advice = || format!("cannot listen on {address}; choose another with {flag}");
            TcpListener::bind(address).await.with_context(advice)
        };
        let grpc = bind(grpc_address, "--grpc-address").await?;
        let http = bind(http_address, "--http-address").await?;
        let (asks, intake) = mpsc::channel(REPORTS_WAITING);
        let reports = mpsc::channel(REPORTS_WAITING);
        let cluster = match cluster {
            Some(settings) => Some(Controller::connect(settings, clock).await?),
            None => None,
        };
        let rehearsal = rehearsal.map(|rehearsal| {
            let target = MemoryTarget::new(clock, reports.0.clone());
            (rehearsal, Arc::new(target))
        });
        // Last, so that a start that fails for another reason leaves the recording of before where it is.
        let recording = record.map(|to| deciding::record(&to, clock)).transpose()?;
        let board = Arc::new(Board::new(asks));
        Ok(Bound {
            clock,
            grpc,
            http,
            grpc_tls,
            http_tls,
            loaded,
            watched,
            rehearsal,
            cluster,
            checkpoints,
            recording,
            board,
            queues,
            limits,
            intake,
            reports,
            metrics,
            metrics_detail,
            logs,
        })
    }

    /// Where gRPC and HTTP really listen (port 0 chooses one).
    ///
    /// # Errors
    /// The sockets are gone.
    pub fn addresses(&self) -> std::io::Result<(SocketAddr, SocketAddr)> {
        Ok((self.grpc.local_addr()?, self.http.local_addr()?))
    }

    #[must_use]
    pub fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board)
    }

    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The workloads of the rehearsal, if it is one.
    #[must_use]
    pub fn workloads(&self) -> Option<Arc<MemoryTarget>> {
        self.rehearsal.as_ref().map(|(_, target)| Arc::clone(target))
    }

    /// Runs until `shutdown`, then drains.
    ///
    /// # Errors
    /// A part ended that should not have.
    pub async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let (grpc_address, http_address) = self.addresses()?;
        let Bound { clock, grpc, http, grpc_tls, http_tls, loaded, watched, rehearsal, cluster, board, .. } = self;
        let (recorder, writing) = self.recording.unzip();
        let Bound { checkpoints, queues, limits, intake, reports, metrics, metrics_detail, logs, .. } = self;
        let Loaded { autoscalers, grants, warnings } = loaded;
        let fence = grants.fence().clone();
        let grants = Arc::new(ArcSwap::from_pointee(grants));
        let readiness = Arc::new(Readiness::new());
        // Serving goes on until streams have been told; deciding ends last.
        let stop_serving = CancellationToken::new();
        let stop_deciding = CancellationToken::new();
        // A Lease is given back when nothing writes any more.
        let resign = CancellationToken::new();
        let caps = limits;
        let mut running = HashSet::from([ENGINE, GRPC_SERVER, HTTP_SERVER]);
        running.extend((rehearsal.is_some() || cluster.is_some()).then_some(ACTUATOR));
        running.extend(cluster.as_ref().is_some_and(Controller::elects).then_some(ELECTION));
        running.extend((checkpoints != Checkpoints::Nowhere).then_some(CHECKPOINTS));
        let mut parts = Tasks::new();

        // === the engine's thread ===
        let (scales, requests) = mpsc::channel(SCALES_WAITING);
        let (specs, specs_in) = mpsc::channel(1);
        let by_keda = rehearsal.as_ref().map(|(rehearsal, _)| rehearsal.by_keda.clone());
        let roles = match by_keda {
            _ if cluster.is_some() => Roles::cluster(),
            Some(by_keda) => Roles::these(move |spec| !by_keda.scales(&spec.id)),
            None => Roles::nobody(),
        };
        let (resources, resources_in) = mpsc::channel(1);
        let (mandates, mandates_in) = mpsc::channel(MANDATES_WAITING);
        let (asks, asks_in) = mpsc::channel(1);
        let (polls, changes) = mpsc::unbounded_channel();
        let (samples, samples_in) = mpsc::channel(ROUNDS_WAITING);
        let outputs = Outputs { board: Arc::clone(&board), polls, scales, roles };
        let inputs = Inputs {
            specs: specs_in,
            resources: resources_in,
            samples: samples_in,
            reports: reports.1,
            intake,
            mandates: mandates_in,
            asks: asks_in,
        };
        let secrets = cluster.as_ref().map(Controller::secrets).unwrap_or_default();
        let endpoints = cluster.as_ref().map(Controller::endpoints).unwrap_or_default();
        let may_write = may_write(clock, cluster.as_ref());
        let before = match checkpoints {
            Checkpoints::Nowhere => Memories::new(),
            Checkpoints::Folder(path) => {
                let flag = || format!("--state-dir {} cannot be used", path.display());
                let folder = Folder::open(&path).with_context(flag)?;
                remember(folder, clock, asks, || true, &stop_serving, &mut parts).await
            }
            Checkpoints::ConfigMaps => match &cluster {
                Some(cluster) => {
                    remember(cluster.config_maps(), clock, asks, may_write, &stop_serving, &mut parts).await
                }
                None => Memories::new(),
            },
        };
        let runtime = Runtime::new(clock, outputs).within(limits).remembering(before).recorded(recorder);
        let engine = Deciding { runtime, inputs, stop: stop_deciding.clone() };
        let poller = Poller::new(clock, samples, queues)
            .with_secrets(secrets)
            .with_endpoints(endpoints)
            .behind(fence)
            .within(&limits, Arc::clone(board.shares()));
        let decided = engine.spawn(poller, changes)?;
        parts.spawn(async move { (ENGINE, decided.await.unwrap_or_else(|_| bail!("its thread broke down"))) });
        specs.send(autoscalers.clone()).await.context("the engine is gone")?;

        // === the doors ===
        let scaler = KedaScaler::new(Parts {
            board: Arc::clone(&board),
            grants: Arc::clone(&grants),
            readiness: Arc::clone(&readiness),
            clock,
            shutdown: stop_serving.clone(),
        });
        let mut upkeep = JoinSet::new();
        let mut listen = |door: Door, socket: TcpListener, tls: Option<Tls>| {
            let limits = listen::Limits::of(door).at_most(listen::share_of_files(door));
            let listener = Listener::new(door, socket).with_limits(limits).with_tls(tls.as_ref().map(Tls::secured));
            if let Some(tls) = tls {
                upkeep.spawn(tls.keep_current());
            }
            listener
        };
        let (grpc, http) = (listen(Door::Grpc, grpc, grpc_tls), listen(Door::Http, http, http_tls));
        let limits = limits::Limits::default();
        let (shown, stop) = (Arc::clone(&readiness), stop_serving.clone());
        let served = grpc::serve_incoming(grpc.incoming(), scaler, shown, stop, limits);
        parts.spawn(async move { (GRPC_SERVER, served.await.map_err(anyhow::Error::from)) });

        // === the workloads, in a rehearsal ===
        let mut workloads = None;
        let mut workloads_router = axum::Router::new();
        let mut requests = Some(requests);
        if let (Some((rehearsal, target)), Some(requests)) = (rehearsal, requests.take_if(|_| cluster.is_none())) {
            let held_by = if rehearsal.by_keda == ByKeda::Nobody { HeldBy::Memory } else { HeldBy::KedaBox };
            workloads_router = crate::rehearse::http::router(held_by, clock, Arc::clone(&target));
            let actuator = Actuator::new(Arc::clone(&target), actuator::Config::default());
            let applied = reports.0.clone();
            parts.spawn(async move {
                (ACTUATOR, {
                    actuator.run(requests, applied).await;
                    Ok(())
                })
            });
            let holder = Arc::clone(&target);
            parts.spawn(async move {
                ("workloads", {
                    holder.run().await;
                    Ok(())
                })
            });
            workloads.insert(Workloads::new(rehearsal, target, clock, grpc_address)?).follow(&autoscalers);
        }

        // === the cluster ===
        let mut files = None;
        let mut listed = None;
        if let (Some(controller), Some(requests)) = (cluster, requests.take()) {
            let standing = Files::new(&autoscalers, &grants.load());
            let wires = Wires {
                board: Arc::clone(&board),
                grants: Arc::clone(&grants),
                limits: caps,
                specs: resources,
                mandates,
                reports: reports.0.clone(),
                requests,
                stop: stop_deciding.clone(),
                resign: resign.clone(),
            };
            listed = Some(controller.spawn(&mut parts, &standing, wires));
            files = Some(standing);
        }

        // === the manifests, as they change ===
        let (news, heard) = mpsc::channel(1);
        let set = watched.as_ref().map(|watched| watched.set.clone()).unwrap_or_default();
        let start = Start {
            clock,
            board: Arc::clone(&board),
            specs,
            grants,
            autoscalers: autoscalers.clone(),
            warnings,
            set,
            workloads,
            cluster: files,
        };
        let reload = Reload::new(start);
        let manifests = reload.manifests();
        let followed = reload.run(heard, Arc::clone(&readiness));
        let stop = stop_deciding.clone();
        parts.spawn(async move { ("reload", stop.run_until_cancelled(followed).await.unwrap_or(Ok(()))) });
        if let Some(watched) = watched {
            let look = Arc::new(Notify::new());
            let watcher = Watcher::new(clock, watched, Arc::clone(&look), news);
            let stop = stop_deciding.clone();
            parts.spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => ("watcher of manifests", Ok(())),
                    () = watcher.run() => ("watcher of manifests", Ok(())),
                    heard = reload::on_hangup(look) => ("listening for SIGHUP", heard.map_err(anyhow::Error::from)),
                }
            });
        }

        let router = http::router(HttpState {
            board: Arc::clone(&board),
            readiness: Arc::clone(&readiness),
            manifests,
            clock,
            metrics: Some(metrics.clone()),
            metrics_detail,
        });
        let router = router.merge(log_level::router(logs, clock)).merge(workloads_router);
        let served = http::serve_on(http, router, stop_serving.clone());
        parts.spawn(async move { (HTTP_SERVER, served.await.map_err(anyhow::Error::from)) });
        upkeep.spawn(async move { metrics.keep_up().await });
        upkeep.spawn(announce_readiness(Arc::clone(&board), autoscalers, listed, Arc::clone(&readiness)));
        tracing::info!(%grpc_address, %http_address, version = env!("CARGO_PKG_VERSION"), "serving");

        // === until told to stop ===
        let failed = tokio::select! {
            () = shutdown.cancelled() => None,
            Some(ended) = parts.join_next() => Some(ended),
        };
        readiness.shutting_down();
        stop_serving.cancel();
        if let Some(ended) = failed {
            stop_deciding.cancel();
            let (name, outcome) = ended.context("a part of the process broke down")?;
            outcome.with_context(|| format!("the {name} failed"))?;
            bail!("the {name} ended, though nobody told it to");
        }
        drain(&mut parts, running, &stop_deciding, &resign).await?;
        if let Some(writing) = writing {
            lifetime::finish(writing).await;
        }
        Ok(())
    }
}
