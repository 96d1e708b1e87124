//! An external scaler that answers as it is told and writes down every call, served over a pipe in memory, so that
//! KEDA's minutes pass in paused time.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use hyper_util::rt::TokioIo;
use tidegate::clock::Clock;
use tidegate::engine::hpa::HpaBehavior;
use tidegate::engine::keda::KedaFallback;
use tidegate::model::{AutoscalerId, Replicas, TargetReport};
use tidegate::proto::externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use tidegate::proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef,
};
use tidegate::rehearse::keda_box::{KedaBox, ScaledObject, Trigger};
use tidegate::target::memory::MemoryTarget;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::codegen::{Service, http};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

/// One call as it arrived: milliseconds since the rig began, which, of which trigger, with a deadline or without.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Call {
    pub(crate) at: u64,
    pub(crate) method: &'static str,
    pub(crate) trigger: String,
    pub(crate) deadline: bool,
}

/// What the scaler answers.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) target: f64,
    pub(crate) value: f64,
    pub(crate) active: bool,
    pub(crate) fail_spec: bool,
    pub(crate) fail_metrics: bool,
    pub(crate) fail_active: bool,
    /// GetMetrics never answers.
    pub(crate) hang: bool,
    /// How many more streams are ended as soon as they are opened, and how.
    pub(crate) end_streams: VecDeque<Result<(), Status>>,
}

/// The sending end of one open stream.
type Push = mpsc::UnboundedSender<Result<bool, Status>>;

#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) script: Arc<Mutex<Script>>,
    pub(crate) calls: Arc<Mutex<Vec<Call>>>,
    streams: Arc<Mutex<Vec<Push>>>,
    clock: Clock,
}

impl Scripted {
    fn note<M>(&self, method: &'static str, request: &Request<M>, reference: &ScaledObjectRef) {
        let at = u64::try_from(self.clock.uptime().as_millis()).unwrap();
        let trigger = reference.scaler_metadata.get("trigger").cloned().unwrap_or_default();
        let deadline = request.metadata().contains_key("grpc-timeout");
        self.calls.lock().unwrap().push(Call { at, method, trigger, deadline });
    }

    fn script(&self) -> Script {
        self.script.lock().unwrap().clone()
    }

    /// Sends to every open stream; an error ends it.
    pub(crate) fn push(&self, message: &Result<bool, Status>) {
        self.streams.lock().unwrap().retain(|stream| stream.send(message.clone()).is_ok());
    }

    /// Ends every open stream with OK.
    pub(crate) fn end_streams(&self) {
        self.streams.lock().unwrap().clear();
    }

    pub(crate) fn open_streams(&self) -> usize {
        self.streams.lock().unwrap().iter().filter(|stream| !stream.is_closed()).count()
    }
}

fn or_fail<T>(fails: bool, answer: T) -> Result<Response<T>, Status> {
    if fails { Err(Status::unavailable("scripted")) } else { Ok(Response::new(answer)) }
}

#[tonic::async_trait]
impl ExternalScaler for Scripted {
    type StreamIsActiveStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;
    type StreamMetricSpecStream = tokio_stream::Empty<Result<GetMetricSpecResponse, Status>>;

    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        self.note("IsActive", &request, request.get_ref());
        let script = self.script();
        or_fail(script.fail_active, IsActiveResponse { result: script.active })
    }

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        self.note("StreamIsActive", &request, request.get_ref());
        let (sender, receiver) = mpsc::unbounded_channel();
        match self.script.lock().unwrap().end_streams.pop_front() {
            Some(Ok(())) => {}
            Some(Err(status)) => return Err(status),
            None => self.streams.lock().unwrap().push(sender),
        }
        let stream = UnboundedReceiverStream::new(receiver)
            .map(|m: Result<bool, Status>| m.map(|result| IsActiveResponse { result }));
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        self.note("GetMetricSpec", &request, request.get_ref());
        let script = self.script();
        let spec = MetricSpec { metric_name: "backlog".into(), target_size: 0, target_size_float: script.target };
        or_fail(script.fail_spec, GetMetricSpecResponse { metric_specs: vec![spec] })
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let asked = request.get_ref();
        assert_eq!(asked.metric_name, "backlog", "without the prefix");
        self.note("GetMetrics", &request, asked.scaled_object_ref.as_ref().unwrap());
        let script = self.script();
        if script.hang {
            std::future::pending::<()>().await;
        }
        let value = MetricValue { metric_name: "backlog".into(), metric_value: 0, metric_value_float: script.value };
        or_fail(script.fail_metrics, GetMetricsResponse { metric_values: vec![value] })
    }

    async fn stream_metric_spec(
        &self,
        _: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        panic!("KEDA 2.20 does not know this call")
    }
}

/// The box, the scaler and one ScaledObject.
pub(crate) struct Rig {
    pub(crate) scaler: Scripted,
    pub(crate) target: Arc<MemoryTarget>,
    pub(crate) id: AutoscalerId,
    pub(crate) object: tokio::task::JoinHandle<()>,
    pub(crate) clock: Clock,
}

/// KEDA's defaults, with the polling interval of the measurements and bounds that most tests share.
pub(crate) fn object(triggers: usize, push: bool) -> ScaledObject {
    let trigger = |index: usize| Trigger { metadata: HashMap::from([("trigger".into(), index.to_string())]), push };
    ScaledObject {
        max: 10,
        polling_interval: Duration::from_secs(5),
        ..ScaledObject::new(AutoscalerId::new("pulse", "mail"), (0..triggers).map(trigger).collect())
    }
}

pub(crate) fn start(config: ScaledObject) -> Rig {
    let clock = Clock::start();
    let script = Script {
        target: 5.0,
        value: 0.0,
        active: false,
        fail_spec: false,
        fail_metrics: false,
        fail_active: false,
        hang: false,
        end_streams: VecDeque::new(),
    };
    let scaler =
        Scripted { script: Arc::new(Mutex::new(script)), calls: Arc::default(), streams: Arc::default(), clock };
    let channel = serve(scaler.clone());

    // Nobody reads the reports in these tests; the channel is large enough never to fill.
    let (sender, mut reports) = mpsc::channel::<TargetReport>(16);
    tokio::spawn(async move { while reports.recv().await.is_some() {} });
    let target = Arc::new(MemoryTarget::new(clock, sender));
    let driven = Arc::clone(&target);
    tokio::spawn(async move { driven.run().await });

    let id = config.id.clone();
    let keda = KedaBox::new(clock, Arc::clone(&target), channel);
    let object = tokio::spawn(keda.create(config));
    Rig { scaler, target, id, object, clock }
}

impl Rig {
    pub(crate) fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.scaler.script.lock().unwrap());
    }

    pub(crate) fn replicas(&self) -> Replicas {
        self.target.scale_of(&self.id).unwrap().replicas
    }

    /// Counts that stood, in order.
    pub(crate) fn counts(&self) -> Vec<Replicas> {
        self.target.view(&self.id).unwrap().history.iter().map(|change| change.replicas).collect()
    }

    /// Every change after the first: milliseconds since `since`, count, reason.
    pub(crate) fn changes(&self, since: tidegate::model::Tick) -> Vec<(u64, Replicas, String)> {
        let history = self.target.view(&self.id).unwrap().history;
        let after = history.into_iter().skip(1).filter(|change| change.at >= since);
        after
            .map(|change| {
                let at = u64::try_from(change.at.since(since).as_millis()).unwrap();
                (at, change.replicas, change.why.into_owned())
            })
            .collect()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.scaler.calls.lock().unwrap().clone()
    }

    pub(crate) fn forget_calls(&self) {
        self.scaler.calls.lock().unwrap().clear();
    }

    pub(crate) fn count(&self, method: &str) -> usize {
        self.calls().iter().filter(|call| call.method == method).count()
    }
}

pub(crate) async fn seconds(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

pub(crate) fn fallback(failure_threshold: u32, replicas: Replicas) -> Option<KedaFallback> {
    Some(KedaFallback { failure_threshold, replicas, behavior: tidegate::engine::keda::KedaFallbackBehavior::Static })
}

pub(crate) fn following() -> Option<HpaBehavior> {
    Some(tidegate::rehearse::keda_box::behavior_that_follows())
}

/// A server for `scaler`, and a channel to it.
fn serve(scaler: Scripted) -> Channel {
    let (sender, incoming) = mpsc::unbounded_channel::<Result<DuplexStream, std::io::Error>>();
    let server = Server::builder()
        .add_service(ExternalScalerServer::new(scaler))
        .serve_with_incoming(UnboundedReceiverStream::new(incoming));
    tokio::spawn(async move { server.await.unwrap() });
    Endpoint::from_static("http://scaler").connect_with_connector_lazy(Pipe(sender))
}

#[derive(Clone)]
struct Pipe(mpsc::UnboundedSender<Result<DuplexStream, std::io::Error>>);

impl Service<http::Uri> for Pipe {
    type Response = TokioIo<DuplexStream>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Uri) -> Self::Future {
        let (client, server) = tokio::io::duplex(64 * 1024);
        let sent = self.0.send(Ok(server)).map_err(|_| std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        Box::pin(std::future::ready(sent.map(|()| TokioIo::new(client))))
    }
}
