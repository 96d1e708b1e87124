//! `GetMetrics` a second, CPU a request and p99 latency, beside a tonic service of the same protocol that answers a
//! constant: what the board, the metadata and the metrics cost on top of gRPC itself.
//!
//! Each server has a thread and a single-threaded runtime of its own; one client, on one connection as KEDA has it,
//! loads them in turn. Medians over the repetitions, which alternate so that a slow moment of the machine meets both.
//! Goal: at least 0.8 times the yardstick's throughput. Since the client is as busy as the server, the fairer figure
//! is the CPU time of the server's thread, and it is printed too.
//!
//! `cargo bench --bench grpc`, or with `-- --quick` for a look.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "a benchmark")]

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc as channel;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tidegate::board::{Board, Cell, Intake};
use tidegate::clock::Clock;
use tidegate::model::{Decision, Health, Observation, Reason, Round, Steps, TriggerReport};
use tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tidegate::proto::externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use tidegate::proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricValue, ScaledObjectRef,
};
use tidegate::serve::keda::{KedaScaler, Parts};
use tidegate::serve::{grpc, ready::Readiness};
use tidegate::spec::grants::Grants;
use tidegate::telemetry::prometheus::Prometheus;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

/// As many as KEDA's own performance suite creates.
const OBJECTS: usize = 1_000;
/// Requests in flight: enough to keep a server busy, as after a restart of KEDA, when every loop starts at once.
const IN_FLIGHT: usize = 64;
const GOAL: f64 = 0.8;

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let (repetitions, length) = if quick { (3, Duration::from_millis(300)) } else { (9, Duration::from_millis(2_000)) };

    let clock = Clock::start();
    let prometheus = Prometheus::install().expect("the first recorder");
    let ours = start("ours", move |ready| ours(clock, prometheus, ready));
    let bare = start("bare", bare);
    let client = Load::new(clock);
    let (ours_channel, bare_channel) = (client.connect(ours.address), client.connect(bare.address));

    // Registers every object and warms both paths.
    client.run(&ours_channel, Duration::from_millis(200));
    client.run(&bare_channel, Duration::from_millis(200));

    let (mut of_ours, mut of_bare) = (Vec::new(), Vec::new());
    for _ in 0..repetitions {
        of_bare.push(client.measure(&bare, &bare_channel, length));
        of_ours.push(client.measure(&ours, &ours_channel, length));
    }

    println!("GetMetrics, {OBJECTS} ScaledObjects, {IN_FLIGHT} in flight on one connection, {repetitions} repetitions");
    println!("{:<22} {:>12} {:>12} {:>8}", "", "tidegate", "bare tonic", "ratio");
    let row = |title: &str, pick: fn(&Figures) -> f64| {
        let (ours, bare) = (median(&of_ours, pick), median(&of_bare, pick));
        println!("{title:<22} {ours:>12.1} {bare:>12.1} {:>8.2}", ours / bare);
        ours / bare
    };
    let throughput = row("requests a second", |figures| figures.rate);
    let cpu = row("server CPU, us/request", |figures| figures.cpu_micros);
    row("p99, us", |figures| figures.p99_micros);
    println!("goal: throughput ratio >= {GOAL} ({})", if throughput >= GOAL { "met" } else { "MISSED" });
    println!("per CPU second of the server alone: {:.2} of bare tonic", 1.0 / cpu);
}

fn median(figures: &[Figures], pick: fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(pick).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

// === servers ===

struct Running {
    address: SocketAddr,
    /// Where the kernel says how long its thread has run.
    schedstat: PathBuf,
}

impl Running {
    fn cpu(&self) -> Duration {
        let text = fs::read_to_string(&self.schedstat).expect("Linux");
        Duration::from_nanos(text.split(' ').next().and_then(|nanos| nanos.parse().ok()).expect("nanoseconds on CPU"))
    }
}

fn start<F>(name: &str, serve: impl FnOnce(channel::Sender<SocketAddr>) -> F + Send + 'static) -> Running
where
    F: Future<Output = ()>,
{
    let (tell_thread, thread) = channel::channel();
    let (tell_address, address) = channel::channel();
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            let task = fs::read_link("/proc/thread-self").expect("Linux");
            tell_thread.send(PathBuf::from("/proc").join(task).join("schedstat")).unwrap();
            runtime().block_on(serve(tell_address));
        })
        .unwrap();
    Running { schedstat: thread.recv().unwrap(), address: address.recv().unwrap() }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// The shipped service; in the runtime's place, somebody who registers whatever is asked for and keeps it fresh.
async fn ours(clock: Clock, prometheus: Prometheus, ready: channel::Sender<SocketAddr>) {
    let (intake, mut asked) = mpsc::channel(1024);
    let board = Arc::new(Board::new(intake));
    let registering = Arc::clone(&board);
    tokio::spawn(async move {
        while let Some(Intake::Register { spec, reply }) = asked.recv().await {
            let cell = registering.get(&spec.id).unwrap_or_else(|| {
                let cell = Arc::new(Cell::new(spec, clock.now()));
                cell.publish(&decision(clock), &mut None);
                registering.insert([Arc::clone(&cell)]);
                cell
            });
            reply.send(Ok(cell)).ok();
        }
    });
    let publishing = Arc::clone(&board);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let decision = decision(clock);
            for cell in publishing.all().values() {
                cell.publish(&decision, &mut None);
            }
        }
    });
    tokio::spawn(async move { prometheus.keep_up().await });

    let readiness = Arc::new(Readiness::new());
    readiness.specs_loaded();
    readiness.first_round_done();
    let shutdown = CancellationToken::new();
    let scaler = KedaScaler::new(Parts {
        board,
        grants: Arc::new(ArcSwap::from_pointee(Grants::new(&["*".to_owned()]))),
        readiness: Arc::clone(&readiness),
        clock,
        shutdown: shutdown.clone(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ready.send(listener.local_addr().unwrap()).unwrap();
    grpc::serve(listener, scaler, readiness, shutdown).await.unwrap();
}

fn decision(clock: Clock) -> Decision {
    let now = clock.now();
    Decision {
        at: now,
        round: Some(Round(7)),
        current: 3,
        current_known: false,
        desired: 3,
        active: true,
        degraded: false,
        fallback: false,
        paused: false,
        winner: Some(0),
        reason: Reason::AboveTarget,
        steps: Steps::default(),
        triggers: vec![TriggerReport {
            health: Health::Fresh,
            value: Some(123.0),
            facts: Observation::default(),
            taken: Some(now),
            round: Some(Round(7)),
            active: true,
            wants: Some(3),
            reason: Reason::AboveTarget,
            failure: None,
        }],
    }
}

/// The yardstick: the same protocol, no thought.
struct Constant;

type NoStream<T> = tokio_stream::Empty<Result<T, Status>>;

#[tonic::async_trait]
impl ExternalScaler for Constant {
    async fn is_active(&self, _: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        Ok(Response::new(IsActiveResponse { result: true }))
    }

    async fn get_metric_spec(&self, _: Request<ScaledObjectRef>) -> Result<Response<GetMetricSpecResponse>, Status> {
        Ok(Response::new(GetMetricSpecResponse::default()))
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let value =
            MetricValue { metric_name: request.into_inner().metric_name, metric_value: 123, metric_value_float: 123.0 };
        Ok(Response::new(GetMetricsResponse { metric_values: vec![value] }))
    }

    type StreamIsActiveStream = NoStream<IsActiveResponse>;

    async fn stream_is_active(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<NoStream<IsActiveResponse>>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }

    type StreamMetricSpecStream = NoStream<GetMetricSpecResponse>;

    async fn stream_metric_spec(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<NoStream<GetMetricSpecResponse>>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}

async fn bare(ready: channel::Sender<SocketAddr>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ready.send(listener.local_addr().unwrap()).unwrap();
    Server::builder()
        .add_service(ExternalScalerServer::new(Constant))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .unwrap();
}

// === the client ===

struct Figures {
    rate: f64,
    cpu_micros: f64,
    p99_micros: f64,
}

struct Load {
    runtime: Runtime,
    clock: Clock,
    requests: Vec<GetMetricsRequest>,
}

impl Load {
    /// Requests as KEDA forwards them for its own redis trigger, moved here.
    fn new(clock: Clock) -> Self {
        let requests = (0..OBJECTS)
            .map(|number| {
                let metadata = [
                    ("scalerAddress", "tidegate.tidegate:9090".to_owned()),
                    ("triggerType", "redis".to_owned()),
                    ("address", "redis-service.shop.svc.cluster.local:6379".to_owned()),
                    ("listName", format!("queue-{number}")),
                    ("listLength", "10".to_owned()),
                    ("activationListLength", "0".to_owned()),
                    ("databaseIndex", "0".to_owned()),
                    ("enableTLS", "false".to_owned()),
                ];
                let scaler_metadata: HashMap<String, String> =
                    metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                let object =
                    ScaledObjectRef { name: format!("worker-{number}"), namespace: "shop".into(), scaler_metadata };
                GetMetricsRequest { scaled_object_ref: Some(object), metric_name: format!("redis-queue-{number}") }
            })
            .collect();
        Load { runtime: runtime(), clock, requests }
    }

    fn connect(&self, address: SocketAddr) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap().tcp_nodelay(true);
        self.runtime.block_on(endpoint.connect()).unwrap()
    }

    fn measure(&self, server: &Running, channel: &Channel, length: Duration) -> Figures {
        let (cpu, began) = (server.cpu(), self.clock.now());
        let mut latencies = self.run(channel, length);
        let (cpu, took) = (server.cpu().saturating_sub(cpu), self.clock.now().since(began));
        latencies.sort_unstable();
        let requests = latencies.len() as f64;
        let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default();
        Figures {
            rate: requests / took.as_secs_f64(),
            cpu_micros: cpu.as_secs_f64() * 1e6 / requests,
            p99_micros: p99.as_secs_f64() * 1e6,
        }
    }

    /// Keeps requests in flight for `length`; every object is asked about at least once.
    fn run(&self, channel: &Channel, length: Duration) -> Vec<Duration> {
        let until = self.clock.now().after(length);
        let lane = async |lane: usize| {
            let mut client = ExternalScalerClient::new(channel.clone());
            let mut latencies = Vec::new();
            for (turn, request) in self.requests.iter().skip(lane).step_by(IN_FLIGHT).cycle().enumerate() {
                let began = self.clock.now();
                if turn > OBJECTS / IN_FLIGHT && began > until {
                    break;
                }
                let answer = client.get_metrics(request.clone()).await.expect("an answer").into_inner();
                assert_eq!(answer.metric_values.first().map(|value| value.metric_value), Some(123));
                latencies.push(self.clock.now().since(began));
            }
            latencies
        };
        self.runtime.block_on(join_all((0..IN_FLIGHT).map(lane))).concat()
    }
}
