//! KEDA's external scaler over the board.
//!
//! The order of business of every RPC: read what the metadata asks for (remembered, [`asks`]), find the autoscaler on
//! the board (registering it if KEDA is the first to name it), answer from what is published there ([`answer`]). No
//! RPC waits for a backend; only the very first one for a trigger may wait, a bounded moment, for its first sample.
//!
//! The steady path takes no lock that a writer holds for long, parses nothing and arms no timer: KEDA's scale loop
//! calls without a deadline and holds its object's mutex meanwhile, so that time here is time KEDA stands still.

mod answer;
mod asks;
mod call;
mod meter;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status};

pub use self::answer::{REPLICAS_METRIC, Refusal};
use self::asks::{Asks, Known, one_line};
use self::call::{Answered, Call};
use self::meter::Meter;
use crate::board::{Activity, Board, Cell, Published};
use crate::clock::Clock;
use crate::model::{AutoscalerId, Tick};
use crate::proto::externalscaler::external_scaler_server::ExternalScaler;
use crate::proto::externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, ScaledObjectRef,
};
use crate::serve::ready::Readiness;
use crate::spec::AutoscalerSpec;
use crate::spec::grants::Grants;
use crate::spec::keda_metadata::{Ask, Serve};

/// How long the first question about a trigger waits for its first sample: enough for a connection, a login and one
/// read of a Redis nearby, and far below the 60 s that KEDA's metrics server allows.
const FIRST_SAMPLE_WAIT: Duration = Duration::from_secs(1);

/// Bound on everything that a unary RPC may wait for. KEDA sets none of its own in its scale loop.
const UNARY_DEADLINE: Duration = Duration::from_secs(2);

/// The service. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct KedaScaler {
    desk: Arc<Desk>,
}

/// What the service is made of.
pub struct Parts {
    pub board: Arc<Board>,
    /// What metadata may name; replaced as a whole when manifests change.
    pub grants: Arc<ArcSwap<Grants>>,
    pub readiness: Arc<Readiness>,
    pub clock: Clock,
    /// Ends every stream with OK. KEDA's reconnect backoff is reset by a clean end and by nothing else.
    pub shutdown: CancellationToken,
}

/// The state behind all five RPCs.
struct Desk {
    board: Arc<Board>,
    readiness: Arc<Readiness>,
    clock: Clock,
    shutdown: CancellationToken,
    asks: Asks,
    is_active: Meter,
    metric_spec: Meter,
    metrics: Meter,
    stream_is_active: Meter,
    stream_metric_spec: Meter,
}

impl KedaScaler {
    /// Makes its metric handles here: install the recorder first.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { board, grants, readiness, clock, shutdown } = parts;
        KedaScaler {
            desk: Arc::new(Desk {
                board,
                readiness,
                clock,
                shutdown,
                asks: Asks::new(grants),
                is_active: Meter::unary("IsActive"),
                metric_spec: Meter::unary("GetMetricSpec"),
                metrics: Meter::unary("GetMetrics"),
                stream_is_active: Meter::stream("StreamIsActive"),
                stream_metric_spec: Meter::stream("StreamMetricSpec"),
            }),
        }
    }
}

#[tonic::async_trait]
impl ExternalScaler for KedaScaler {
    async fn is_active(&self, request: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        let call = Call::of(&request, self.desk.clock.now());
        let object = request.get_ref();
        let answer = self.desk.is_active(object, call.began).await;
        let answer = answer.map(|active| active.map(|result| IsActiveResponse { result }));
        self.desk.settle(&self.desk.is_active, &call, Some(object), answer)
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        let call = Call::of(&request, self.desk.clock.now());
        let object = request.get_ref();
        let answer = self.desk.metric_specs(object, call.began);
        let answer = answer.map(|metric_specs| Answered::without_round(GetMetricSpecResponse { metric_specs }));
        self.desk.settle(&self.desk.metric_spec, &call, Some(object), answer)
    }

    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let call = Call::of(&request, self.desk.clock.now());
        let answer = self.desk.metrics(request.get_ref(), call.began).await;
        self.desk.settle(&self.desk.metrics, &call, request.get_ref().scaled_object_ref.as_ref(), answer)
    }

    type StreamIsActiveStream = streams::Active;

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let call = Call::of(&request, self.desk.clock.now());
        let opened = streams::active(&self.desk, request.get_ref()).await;
        self.desk.opened(&self.desk.stream_is_active, &call, request.get_ref(), opened)
    }

    type StreamMetricSpecStream = streams::Specs;

    async fn stream_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        let call = Call::of(&request, self.desk.clock.now());
        let opened = streams::specs(&self.desk, request.get_ref()).await;
        self.desk.opened(&self.desk.stream_metric_spec, &call, request.get_ref(), opened)
    }
}

// === impl Desk ===

impl Desk {
    async fn is_active(&self, object: &ScaledObjectRef, now: Tick) -> Result<Answered<bool>, Refusal> {
        let known = self.asks.read(object, now);
        let ask = asked(&known)?;
        let read = match ask {
            Ask::Named { serve: Serve::Replicas, .. } => answer::replicas_active,
            Ask::Named { serve: Serve::Backlog, .. } | Ask::Trigger(_) => answer::active,
        };
        self.ask_board(ask, now, read).await
    }

    async fn metrics(&self, request: &GetMetricsRequest, now: Tick) -> Result<Answered<GetMetricsResponse>, Refusal> {
        let GetMetricsRequest { scaled_object_ref, metric_name } = request;
        let known = self.asks.read(scaled_object_ref.as_ref().ok_or(Refusal::NoObject)?, now);
        let ask = asked(&known)?;
        let read = |published: &Published, now| match ask {
            Ask::Named { serve: Serve::Replicas, .. } => answer::replicas(published, metric_name, now),
            Ask::Named { serve: Serve::Backlog, .. } | Ask::Trigger(_) => answer::backlog(published, metric_name, now),
        };
        let answered = self.ask_board(ask, now, read).await?;
        Ok(answered.map(|value| GetMetricsResponse { metric_values: vec![value] }))
    }

    /// Needs the metadata, and for `serve: backlog` the autoscaler's spec; never a sample, a server or a permission.
    fn metric_specs(self: &Arc<Self>, object: &ScaledObjectRef, now: Tick) -> Result<Vec<MetricSpec>, Refusal> {
        let known = self.asks.read(object, now);
        let ask = asked(&known)?;
        let found = self.find(ask, now);
        match ask {
            Ask::Named { serve: Serve::Replicas, .. } => Ok(answer::replicas_specs()),
            Ask::Named { serve: Serve::Backlog, .. } => {
                let cell = found?.ok_or(Refusal::ShuttingDown)?;
                Ok(cell.peek(|published| answer::backlog_specs(&published.spec)))
            }
            Ask::Trigger(trigger) => {
                // Nobody waits for this: KEDA asks for the value a millisecond later and will find it under way.
                if let (Ok(None), Ok(spec)) = (found, &trigger.registration) {
                    let (desk, spec) = (Arc::clone(self), Arc::clone(spec));
                    tokio::spawn(async move { desk.register(&spec).await });
                }
                Ok(vec![answer::metric_spec(&trigger.metric_name, trigger.target)])
            }
        }
    }

    /// Answers from what is published, waiting (for a registration, for a first sample) only where that is missing.
    async fn ask_board<T>(
        &self,
        ask: &Ask,
        now: Tick,
        read: impl Fn(&Published, Tick) -> Result<T, Refusal>,
    ) -> Result<Answered<T>, Refusal> {
        let read = |published: &Published, now| {
            let round = published.decision.as_ref().and_then(|decision| decision.round);
            read(published, now).map(|value| Answered { value, round })
        };
        if let Some(cell) = self.find(ask, now)? {
            match cell.peek(|published| read(published, now)) {
                Err(Refusal::NotReadYet(_)) => {}
                answer => return answer,
            }
        }
        let patient = async {
            let cell = self.obtain(ask).await?;
            // When this runs out, or the cell goes, what stands there by then says so itself.
            let _ =
                timeout(FIRST_SAMPLE_WAIT, cell.activity().wait_for(|activity| *activity != Activity::Pending)).await;
            cell.peek(|published| read(published, self.clock.now()))
        };
        timeout(UNARY_DEADLINE, patient).await.unwrap_or(Err(Refusal::Overloaded))
    }

    /// The cell that `ask` is about, noting that it was asked for. `None`: a trigger that nobody has registered yet,
    /// or that is registered with another spec.
    fn find(&self, ask: &Ask, now: Tick) -> Result<Option<Arc<Cell>>, Refusal> {
        let cell = match ask {
            Ask::Named { id, .. } => Some(self.board.get(id).ok_or_else(|| self.unknown(id))?),
            Ask::Trigger(trigger) => {
                let spec =
                    trigger.registration.as_ref().map_err(|problems| Refusal::NotPermitted(one_line(problems)))?;
                self.board.get(&spec.id).filter(|cell| cell.peek(|published| same(&published.spec, spec)))
            }
        };
        if let Some(cell) = &cell {
            cell.touch(now);
        }
        Ok(cell)
    }

    /// As [`Desk::find`], registering what is not there.
    async fn obtain(&self, ask: &Ask) -> Result<Arc<Cell>, Refusal> {
        if let Some(cell) = self.find(ask, self.clock.now())? {
            return Ok(cell);
        }
        match ask {
            Ask::Named { id, .. } => Err(self.unknown(id)),
            Ask::Trigger(trigger) => {
                let spec =
                    trigger.registration.as_ref().map_err(|problems| Refusal::NotPermitted(one_line(problems)))?;
                self.register(spec).await
            }
        }
    }

    async fn register(&self, spec: &Arc<AutoscalerSpec>) -> Result<Arc<Cell>, Refusal> {
        match timeout(UNARY_DEADLINE, self.board.register(Arc::clone(spec))).await {
            Ok(Some(answer)) => answer.map_err(Refusal::NoRoom),
            Ok(None) => Err(Refusal::ShuttingDown),
            Err(_) => Err(Refusal::Overloaded),
        }
    }

    fn unknown(&self, id: &AutoscalerId) -> Refusal {
        match self.readiness.checks().specs {
            true => Refusal::UnknownAutoscaler(id.clone()),
            false => Refusal::Starting(id.clone()),
        }
    }

    fn settle<T>(
        &self,
        meter: &Meter,
        call: &Call,
        object: Option<&ScaledObjectRef>,
        answer: Result<Answered<T>, Refusal>,
    ) -> Result<Response<T>, Status> {
        call.log(meter.method(), object, &answer);
        let code = answer.as_ref().map_or_else(Refusal::code, |_| Code::Ok);
        meter.answered(code, self.clock.now().since(call.began));
        answer.map(|answered| Response::new(answered.value)).map_err(Status::from)
    }

    fn opened<T>(
        &self,
        meter: &Meter,
        call: &Call,
        object: &ScaledObjectRef,
        opened: Result<T, Refusal>,
    ) -> Result<Response<T>, Status> {
        let opened = opened.map(Answered::without_round);
        call.log(meter.method(), Some(object), &opened);
        meter.count(opened.as_ref().map_or_else(Refusal::code, |_| Code::Ok));
        opened.map(|opened| Response::new(opened.value)).map_err(Status::from)
    }
}

fn asked(known: &Known) -> Result<&Ask, Refusal> {
    known.ask.as_ref().map_err(|problems| Refusal::BadMetadata(problems.clone()))
}

/// The runtime may have kept an equal spec that came earlier.
fn same(a: &Arc<AutoscalerSpec>, b: &Arc<AutoscalerSpec>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}
