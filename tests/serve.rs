//! KEDA's door and the HTTP door, from outside: a board filled by hand, a real gRPC client over loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tidegate::board::{Board, Cell, Intake};
use tidegate::clock::Clock;
use tidegate::model::{
    AutoscalerId, Decision, FailureKind, Health, Observation, ReadFailure, Reason, Round, Stage, Steps, Tick,
    TriggerReport,
};
use tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tidegate::proto::externalscaler::{GetMetricsRequest, MetricValue, ScaledObjectRef};
use tidegate::serve::http::{self, HttpState};
use tidegate::serve::keda::{KedaScaler, Parts};
use tidegate::serve::{grpc, ready::Readiness};
use tidegate::spec::grants::Grants;
use tidegate::spec::{
    AutoscalerSpec, Behavior, Bounds, ConnectionSpec, Fallback, FallbackBehavior, Load, MilliValue, Origin,
    Partitioning, Pause, Policy, ScalingRules, SelectPolicy, Server, Source, TargetRef, TriggerSpec,
};
use tidegate::telemetry::prometheus::Prometheus;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

const MAX_AGE: Duration = Duration::from_secs(10);
const SOON: Duration = Duration::from_secs(5);

// === the rig ===

struct Rig {
    board: Arc<Board>,
    grants: Arc<ArcSwap<Grants>>,
    readiness: Arc<Readiness>,
    clock: Clock,
    shutdown: CancellationToken,
    client: ExternalScalerClient<Channel>,
    channel: Channel,
    server: JoinHandle<Result<(), grpc::GrpcError>>,
    registered: mpsc::UnboundedReceiver<Arc<Cell>>,
}

/// A server with an empty board, and in the runtime's place a task that registers whatever it is asked to.
async fn rig() -> Rig {
    let (intake, mut asked) = mpsc::channel(64);
    let board = Arc::new(Board::new(intake));
    let clock = Clock::start();
    let (tell, registered) = mpsc::unbounded_channel();
    tokio::spawn({
        let board = Arc::clone(&board);
        async move {
            while let Some(Intake::Register { spec, reply }) = asked.recv().await {
                let cell = board.get(&spec.id).unwrap_or_else(|| {
                    let cell = Arc::new(Cell::new(Arc::clone(&spec), clock.now()));
                    board.insert([Arc::clone(&cell)]);
                    tell.send(Arc::clone(&cell)).ok();
                    cell
                });
                reply.send(Ok(cell)).ok();
            }
        }
    });

    let readiness = Arc::new(Readiness::new());
    let shutdown = CancellationToken::new();
    let grants = Arc::new(ArcSwap::from_pointee(Grants::new(&["*".to_owned()])));
    let scaler = KedaScaler::new(Parts {
        board: Arc::clone(&board),
        grants: Arc::clone(&grants),
        readiness: Arc::clone(&readiness),
        clock,
        shutdown: shutdown.clone(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(grpc::serve(listener, scaler, Arc::clone(&readiness), shutdown.clone()));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    readiness.specs_loaded();
    readiness.first_round_done();
    let client = ExternalScalerClient::new(channel.clone());
    Rig { board, grants, readiness, clock, shutdown, client, channel, server, registered }
}

impl Rig {
    fn add(&self, spec: AutoscalerSpec) -> Arc<Cell> {
        let cell = Arc::new(Cell::new(Arc::new(spec), self.clock.now()));
        self.board.insert([Arc::clone(&cell)]);
        cell
    }

    async fn value(&mut self, object: &ScaledObjectRef, metric: &str) -> Result<MetricValue, tonic::Status> {
        let request = GetMetricsRequest { scaled_object_ref: Some(object.clone()), metric_name: metric.to_owned() };
        Ok(self.client.get_metrics(request).await?.into_inner().metric_values.remove(0))
    }

    async fn active(&mut self, object: &ScaledObjectRef) -> Result<bool, tonic::Status> {
        Ok(self.client.is_active(object.clone()).await?.into_inner().result)
    }

    async fn specs(&mut self, object: &ScaledObjectRef) -> Result<Vec<(String, i64, f64)>, tonic::Status> {
        let specs = self.client.get_metric_spec(object.clone()).await?.into_inner().metric_specs;
        Ok(specs.into_iter().map(|spec| (spec.metric_name, spec.target_size, spec.target_size_float)).collect())
    }
}

fn object(metadata: &[(&str, &str)]) -> ScaledObjectRef {
    let scaler_metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ScaledObjectRef { name: "worker".into(), namespace: "shop".into(), scaler_metadata }
}

fn named(serve: &str) -> ScaledObjectRef {
    object(&[("autoscaler", "orders"), ("serve", serve), ("scalerAddress", "tidegate:9090")])
}

fn metadata_trigger() -> ScaledObjectRef {
    object(&[("address", "redis.shop:6379"), ("listName", "jobs"), ("listLength", "5")])
}

fn trigger(name: &str, policy: Policy) -> TriggerSpec {
    TriggerSpec {
        name: name.into(),
        metric_name: format!("{name}-backlog").into(),
        connection: Arc::new(ConnectionSpec { name: "embedded".into(), server: Server::Memory }),
        source: Source::Memory { queue: name.into() },
        in_flight: None,
        policy,
        activation_threshold: 0.0,
        max_sample_age: None,
        partitioning: Partitioning::default(),
        share: TriggerSpec::WHOLE,
    }
}

fn spec(triggers: Vec<TriggerSpec>) -> AutoscalerSpec {
    let rules = || ScalingRules {
        stabilization_window: Duration::ZERO,
        select_policy: SelectPolicy::Max,
        policies: Vec::new(),
        tolerance: 0.0,
    };
    AutoscalerSpec {
        id: AutoscalerId::new("shop", "orders"),
        origin: Origin::Manifest,
        target: Some(TargetRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "orders".into() }),
        bounds: Bounds { min: 0, max: 50, idle: None },
        polling_interval: Duration::from_millis(250),
        max_sample_age: MAX_AGE,
        cooldown: Duration::from_secs(300),
        initial_cooldown: Duration::ZERO,
        triggers,
        behavior: Behavior::Rules { up: rules(), down: rules() },
        fallback: Fallback { after: Duration::from_secs(30), behavior: FallbackBehavior::Hold },
        pause: Pause::default(),
        dry_run: false,
        restore_on_delete: false,
        force_activation: false,
    }
}

fn ten_each() -> Policy {
    Policy::BacklogPerReplica { target: MilliValue(10_000) }
}

fn read(value: f64, taken: Tick) -> TriggerReport {
    TriggerReport {
        health: Health::Fresh,
        value: Some(value),
        facts: Observation::default(),
        taken: Some(taken),
        round: Some(Round(7)),
        active: value > 0.0,
        wants: Some(1),
        reason: Reason::AboveTarget,
        failure: None,
    }
}

fn failed(mut report: TriggerReport) -> TriggerReport {
    report.health = Health::Failing;
    report.failure = Some(ReadFailure::new(FailureKind::Timeout, "redis did not answer within 1 s"));
    report
}

fn decision(at: Tick, triggers: Vec<TriggerReport>) -> Decision {
    let mut steps = Steps::starting_at(2);
    steps.push(Stage::Want, 7, Reason::AboveTarget);
    Decision {
        at,
        round: Some(Round(7)),
        current: 2,
        current_known: true,
        desired: 7,
        active: triggers.iter().any(|report| report.active),
        degraded: triggers.iter().any(|report| report.health != Health::Fresh),
        fallback: false,
        paused: false,
        winner: Some(0),
        reason: Reason::AboveTarget,
        steps,
        triggers,
    }
}

fn publish(cell: &Cell, decision: &Decision) {
    cell.publish(decision, &mut None);
}

#[test]
fn that_a_workload_arrives_where_it_was_sent_is_no_news() {
    let now = Clock::start().now();
    let cell = Cell::new(Arc::new(spec(vec![trigger("a", ten_each())])), now);
    let sent = decision(now, vec![read(70.0, now)]);
    let stands = |current| Decision { current, ..sent.clone() };
    for (decision, recorded) in [(sent.clone(), 1), (stands(7), 1), (stands(7), 1), (stands(5), 2), (stands(7), 2)] {
        publish(&cell, &decision);
        assert_eq!(cell.history().len(), recorded, "{decision:?}");
    }
}

// === values ===

#[tokio::test]
async fn the_backlog_of_a_named_autoscaler_is_served_in_both_fields() {
    let mut rig = rig().await;
    let cell = rig.add(spec(vec![trigger("a", ten_each()), trigger("b", Policy::Fixed { replicas: 4 })]));
    let now = rig.clock.now();
    publish(&cell, &decision(now, vec![read(3.4, now), read(1.0, now)]));

    let asked = named("backlog");
    assert_eq!(
        rig.specs(&asked).await.unwrap(),
        [("a-backlog".to_owned(), 10, 10.0), ("b-backlog".to_owned(), 1, 1.0)]
    );
    let a = rig.value(&asked, "a-backlog").await.unwrap();
    assert_eq!((a.metric_value, a.metric_value_float), (4, 3.4), "the whole number is rounded up");
    let b = rig.value(&asked, "b-backlog").await.unwrap();
    assert_eq!((b.metric_value, b.metric_value_float), (4, 4.0), "a fixed policy serves its number");
    let first = rig.value(&asked, "").await.unwrap();
    assert_eq!(first.metric_name, "a-backlog");
    assert!(rig.active(&asked).await.unwrap());

    let wrong = rig.value(&asked, "c-backlog").await.unwrap_err();
    assert_eq!(wrong.code(), Code::NotFound);
    assert!(wrong.message().contains("a-backlog, b-backlog"), "{}", wrong.message());
}

#[tokio::test]
async fn load_serves_the_replicas_that_it_wants_and_nothing_where_it_is_blind() {
    let mut rig = rig().await;
    let rule = Load {
        slots_per_replica: MilliValue(4_000),
        job_duration: Duration::from_secs(2),
        drain_within: Duration::from_secs(30),
        utilization: MilliValue(1_000),
    };
    let cell = rig.add(spec(vec![trigger("a", Policy::Load(rule))]));
    let now = rig.clock.now();
    let facts = Observation { in_flight: 20.0.into(), ..Observation::of_backlog(0.0) };
    publish(&cell, &decision(now, vec![TriggerReport { facts, active: true, wants: Some(5), ..read(0.0, now) }]));

    let asked = named("backlog");
    assert_eq!(rig.specs(&asked).await.unwrap(), [("a-backlog".to_owned(), 1, 1.0)], "the HPA divides by one");
    let value = rig.value(&asked, "a-backlog").await.unwrap();
    assert_eq!((value.metric_value, value.metric_value_float), (5, 5.0));
    assert!(rig.active(&asked).await.unwrap(), "nothing waits, but five replicas work");

    publish(&cell, &decision(now, vec![TriggerReport { wants: None, ..read(40.0, now) }]));
    let refused = rig.value(&asked, "a-backlog").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("trigger a does not see work in flight"), "{}", refused.message());
}

#[tokio::test]
async fn the_decision_is_served_as_replicas() {
    let mut rig = rig().await;
    let cell = rig.add(spec(vec![trigger("a", ten_each())]));
    let now = rig.clock.now();
    publish(&cell, &decision(now, vec![read(70.0, now)]));

    let asked = named("replicas");
    assert_eq!(rig.specs(&asked).await.unwrap(), [("tidegate-replicas".to_owned(), 1, 1.0)]);
    let value = rig.value(&asked, "tidegate-replicas").await.unwrap();
    assert_eq!((value.metric_value, value.metric_value_float), (7, 7.0));
    assert_eq!(rig.value(&asked, "a-backlog").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn replicas_are_refused_while_the_scale_cannot_be_read() {
    let mut rig = rig().await;
    let cell = rig.add(spec(vec![trigger("a", ten_each())]));
    let now = rig.clock.now();
    publish(&cell, &Decision { current_known: false, ..decision(now, vec![read(70.0, now)]) });

    let refused = rig.value(&named("replicas"), "tidegate-replicas").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("cannot read the scale of shop/orders"), "{}", refused.message());
    assert!(rig.active(&named("replicas")).await.unwrap(), "activity needs no scale");
    assert!(rig.specs(&named("replicas")).await.is_ok());
}

#[tokio::test]
async fn a_stale_value_is_unavailable_with_its_cause() {
    let mut rig = rig().await;
    let mut short = spec(vec![trigger("a", ten_each())]);
    short.max_sample_age = Duration::from_millis(50);
    let cell = rig.add(short);
    let now = rig.clock.now();
    publish(&cell, &decision(now, vec![failed(read(70.0, now))]));

    let young = rig.value(&named("backlog"), "a-backlog").await;
    assert_eq!(young.unwrap().metric_value, 70, "a failing trigger's last value is served while it is young");

    tokio::time::sleep(Duration::from_millis(80)).await;
    for serve in ["backlog", "replicas"] {
        let errors = [rig.value(&named(serve), "").await.err(), rig.active(&named(serve)).await.err()];
        for error in errors {
            let error = error.expect("too old to act on");
            assert_eq!(error.code(), Code::Unavailable, "{serve}");
            assert!(error.message().contains("timeout: redis did not answer within 1 s"), "{}", error.message());
            assert!(error.message().contains("s ago"), "{}", error.message());
        }
        assert!(rig.specs(&named(serve)).await.is_ok(), "names and targets are served all the same");
    }
}

#[tokio::test]
async fn a_trigger_with_an_age_of_its_own_goes_stale_by_that() {
    let mut rig = rig().await;
    let short = TriggerSpec { max_sample_age: Some(Duration::from_millis(50)), ..trigger("a", ten_each()) };
    let cell = rig.add(spec(vec![short, trigger("b", ten_each())]));
    let now = rig.clock.now();
    publish(&cell, &decision(now, vec![read(70.0, now), read(1.0, now)]));
    tokio::time::sleep(Duration::from_millis(80)).await;

    let refused = rig.value(&named("backlog"), "a-backlog").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("at most 0.1 s are allowed"), "{}", refused.message());
    assert_eq!(rig.value(&named("backlog"), "b-backlog").await.unwrap().metric_value, 1);
}

#[tokio::test]
async fn yes_needs_one_trusted_trigger_and_no_needs_all() {
    let mut rig = rig().await;
    let cell = rig.add(spec(vec![trigger("a", ten_each()), trigger("b", ten_each())]));
    let now = rig.clock.now();
    publish(&cell, &decision(now, vec![read(1.0, now), failed(TriggerReport::pending())]));
    assert!(rig.active(&named("backlog")).await.unwrap());
    assert_eq!(rig.value(&named("backlog"), "a-backlog").await.unwrap().metric_value, 1);
    assert_eq!(rig.value(&named("backlog"), "b-backlog").await.unwrap_err().code(), Code::Unavailable);

    publish(&cell, &decision(now, vec![read(0.0, now), failed(TriggerReport::pending())]));
    let doubt = rig.active(&named("backlog")).await.unwrap_err();
    assert_eq!(doubt.code(), Code::Unavailable);
    assert!(doubt.message().contains("trigger b has never been read"), "{}", doubt.message());

    publish(&cell, &decision(now, vec![read(0.0, now), read(0.0, now)]));
    assert!(!rig.active(&named("backlog")).await.unwrap());
}

// === names ===

#[tokio::test]
async fn an_unknown_autoscaler_is_not_found_and_the_cure_is_named() {
    let mut rig = rig().await;
    let specs = rig.specs(&named("backlog")).await.unwrap_err();
    assert_eq!(specs.code(), Code::NotFound);
    assert!(specs.message().contains("no QueueAutoscaler shop/orders"), "{}", specs.message());
    assert_eq!(rig.value(&named("replicas"), "").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(
        rig.specs(&named("replicas")).await.unwrap(),
        [("tidegate-replicas".to_owned(), 1, 1.0)],
        "a constant needs no autoscaler"
    );
}

#[tokio::test]
async fn what_a_caller_made_up_comes_back_shortened() {
    let mut rig = rig().await;
    rig.add(spec(vec![trigger("a", ten_each())]));
    let long = "m\u{1b}".repeat(10_000);
    let unknown = rig.value(&named("backlog"), &long).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut nowhere = named("backlog");
    nowhere.namespace = long;
    let refused = rig.specs(&nowhere).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    for (status, end) in [(unknown, "this trigger yields a-backlog"), (refused, "at most 63")] {
        let message = status.message();
        assert!(message.len() <= 4096 && message.contains(" ... ") && message.ends_with(end), "{message}");
    }
}

#[tokio::test]
async fn metadata_that_says_nothing_is_invalid() {
    let mut rig = rig().await;
    assert_eq!(rig.specs(&object(&[("colour", "blue")])).await.unwrap_err().code(), Code::InvalidArgument);
    let request = GetMetricsRequest { scaled_object_ref: None, metric_name: String::new() };
    assert_eq!(rig.client.get_metrics(request).await.unwrap_err().code(), Code::InvalidArgument);
}

// === metadata triggers ===

#[tokio::test]
async fn the_first_question_registers_and_waits_for_the_first_sample() {
    let mut rig = rig().await;
    let (clock, mut registered) = (rig.clock, std::mem::replace(&mut rig.registered, mpsc::unbounded_channel().1));
    tokio::spawn(async move {
        let cell = registered.recv().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = clock.now();
        publish(&cell, &decision(now, vec![read(12.0, now)]));
    });
    let specs = rig.specs(&metadata_trigger()).await.unwrap();
    assert_eq!((specs[0].1, specs[0].2), (5, 5.0));
    let value = rig.value(&metadata_trigger(), &specs[0].0).await.unwrap();
    assert_eq!((value.metric_value, &value.metric_name), (12, &specs[0].0));
    assert!(rig.active(&metadata_trigger()).await.unwrap());
}

#[tokio::test]
async fn without_a_first_sample_the_answer_is_unavailable_in_bounded_time() {
    let mut rig = rig().await;
    let error = timeout(Duration::from_secs(2), rig.value(&metadata_trigger(), "")).await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("has not been read yet"), "{}", error.message());
    assert!(rig.registered.try_recv().is_ok());
}

#[tokio::test]
async fn get_metric_spec_registers_without_waiting() {
    let mut rig = rig().await;
    rig.specs(&metadata_trigger()).await.unwrap();
    timeout(SOON, rig.registered.recv()).await.unwrap().expect("registered in the background");
}

#[tokio::test]
async fn a_refusal_concerns_values_and_never_names() {
    let mut rig = rig().await;
    rig.grants.store(Arc::new(Grants::default()));
    assert!(rig.specs(&metadata_trigger()).await.is_ok());
    for error in [rig.value(&metadata_trigger(), "").await.err(), rig.active(&metadata_trigger()).await.err()] {
        let error = error.expect("no permission");
        assert_eq!(error.code(), Code::FailedPrecondition);
        assert!(error.message().contains("will not poll"), "{}", error.message());
    }
    assert!(rig.registered.try_recv().is_err());

    rig.grants.store(Arc::new(Grants::new(&["*".to_owned()])));
    rig.specs(&metadata_trigger()).await.unwrap();
    timeout(SOON, rig.registered.recv()).await.unwrap().expect("new grants count at once");
}

#[tokio::test]
async fn every_question_is_noted() {
    let mut rig = rig().await;
    let cell = rig.add(spec(vec![trigger("a", ten_each())]));
    let now = rig.clock.now();
    publish(&cell, &decision(now, vec![read(1.0, now)]));
    let mut last = cell.last_asked();
    rig.specs(&named("backlog")).await.unwrap();
    assert!(cell.last_asked() > last);
    last = cell.last_asked();
    rig.active(&named("backlog")).await.unwrap();
    assert!(cell.last_asked() > last);
}

// === streams ===

#[tokio::test]
async fn a_stream_tells_true_at_opening_and_then_only_edges() {
    let mut rig = rig().await;
    let cell = rig.add(spec(vec![trigger("a", ten_each())]));
    let tell = |value: f64| {
        let now = rig.clock.now();
        publish(&cell, &decision(now, vec![read(value, now)]));
    };
    tell(1.0);
    let mut stream = rig.client.stream_is_active(named("backlog")).await.unwrap().into_inner();
    let first = timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
    assert!(first.result);

    tell(2.0);
    assert!(timeout(Duration::from_millis(100), stream.message()).await.is_err(), "still active is no news");
    tell(0.0);
    assert!(timeout(Duration::from_millis(100), stream.message()).await.is_err(), "`false` is never sent");
    tell(3.0);
    let edge = timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
    assert!(edge.result);

    rig.board.remove([&cell.id]);
    let end = timeout(SOON, stream.message()).await.unwrap();
    assert!(end.unwrap().is_none(), "a stream about somebody who is gone ends with OK");
}

#[tokio::test]
async fn streams_end_with_ok_at_shutdown_and_the_server_with_them() {
    let mut rig = rig().await;
    let cell = rig.add(spec(vec![trigger("a", ten_each())]));
    let now = rig.clock.now();
    publish(&cell, &decision(now, vec![read(0.0, now)]));
    let mut activity = rig.client.stream_is_active(named("backlog")).await.unwrap().into_inner();
    let mut specs = rig.client.stream_metric_spec(metadata_trigger()).await.unwrap().into_inner();
    assert!(timeout(SOON, specs.message()).await.unwrap().unwrap().is_some());

    rig.shutdown.cancel();
    assert!(timeout(SOON, activity.message()).await.unwrap().unwrap().is_none());
    assert!(timeout(SOON, specs.message()).await.unwrap().unwrap().is_none());
    timeout(Duration::from_secs(2), rig.server).await.expect("nothing keeps the server").unwrap().unwrap();
}

#[tokio::test]
async fn changed_specs_are_streamed_and_equal_ones_are_not() {
    let mut rig = rig().await;
    let cell = rig.add(spec(vec![trigger("a", ten_each())]));
    let mut stream = rig.client.stream_metric_spec(named("backlog")).await.unwrap().into_inner();
    let first = timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.metric_specs[0].target_size, 10);

    let mut slower = spec(vec![trigger("a", ten_each())]);
    slower.polling_interval = Duration::from_secs(1);
    cell.respec(Arc::new(slower));
    assert!(timeout(Duration::from_millis(100), stream.message()).await.is_err(), "names and targets are the same");

    cell.respec(Arc::new(spec(vec![trigger("a", Policy::BacklogPerReplica { target: MilliValue(2_500) })])));
    let second = timeout(SOON, stream.message()).await.unwrap().unwrap().unwrap();
    assert_eq!((second.metric_specs[0].target_size, second.metric_specs[0].target_size_float), (3, 2.5));
    assert_eq!(rig.specs(&named("backlog")).await.unwrap()[0].2, 2.5, "what was streamed is what is served");
}

#[tokio::test]
async fn a_refused_trigger_gets_a_silent_stream_and_no_error() {
    let mut rig = rig().await;
    rig.grants.store(Arc::new(Grants::default()));
    let mut stream = rig.client.stream_is_active(metadata_trigger()).await.unwrap().into_inner();
    assert!(timeout(Duration::from_millis(100), stream.message()).await.is_err());
}

#[tokio::test]
async fn a_thousand_streams_leave_room_for_calls() {
    let mut rig = rig().await;
    let cell = rig.add(spec(vec![trigger("a", ten_each())]));
    let now = rig.clock.now();
    publish(&cell, &decision(now, vec![read(0.0, now)]));
    let mut open = Vec::new();
    for _ in 0..1_000 {
        open.push(rig.client.stream_is_active(named("backlog")).await.unwrap());
    }
    timeout(SOON, rig.value(&named("backlog"), "")).await.unwrap().unwrap();
}

// === health and reflection ===

#[tokio::test]
async fn health_follows_readiness() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;

    let rig = rig().await;
    let mut health = HealthClient::new(rig.channel.clone());
    for service in ["", "externalscaler.ExternalScaler"] {
        let mut watch = health.watch(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
        let mut wait_for = async |wanted: ServingStatus| {
            while timeout(SOON, watch.message()).await.unwrap().unwrap().unwrap().status() != wanted {}
        };
        wait_for(ServingStatus::Serving).await;
    }
    rig.readiness.shutting_down();
    for service in ["", "externalscaler.ExternalScaler"] {
        let mut status = ServingStatus::Serving;
        for _ in 0..100 {
            status = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().get_ref().status();
            if status == ServingStatus::NotServing {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(status, ServingStatus::NotServing, "{service:?}");
    }
}

#[tokio::test]
async fn reflection_lists_the_service() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let rig = rig().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(rig.channel.clone())
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    assert!(list.service.iter().any(|service| service.name == "externalscaler.ExternalScaler"), "{list:?}");
}

// === http ===

async fn get_page(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // 1.0, which has no chunks: the body is what there is until the end.
    let request = format!("GET {path} HTTP/1.0\r\nhost: tidegate\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn http_tells_probes_scrapers_and_people() {
    let rig = rig().await;
    let readiness = Arc::new(Readiness::new());
    let state = HttpState {
        board: Arc::clone(&rig.board),
        readiness: Arc::clone(&readiness),
        manifests: Arc::default(),
        clock: rig.clock,
        metrics: None,
        metrics_detail: tidegate::telemetry::names::Detail::Autoscaler,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(http::serve(listener, http::router(state), rig.shutdown.clone()));

    let mut with_secret = spec(vec![trigger("a", ten_each())]);
    with_secret.triggers[0].connection = Arc::new(redis_with_password());
    with_secret.triggers.push(trigger("b", ten_each()));
    let cell = rig.add(with_secret);
    let now = rig.clock.now();
    let shows_all = Observation {
        due: 2.0.into(),
        in_flight: 3.0.into(),
        oldest_age: 4.5.into(),
        limit: 8.0.into(),
        partitions: 6.0.into(),
        unowned: 1.0.into(),
        rebalancing: true,
        paused: true,
        ..Observation::of_backlog(2.0)
    };
    let b = TriggerReport { facts: shows_all, ..read(2.0, now) };
    publish(&cell, &decision(now, vec![failed(read(12.5, now)), b]));

    assert_eq!(get_page(address, "/livez").await.0, 200);
    let (status, body) = get_page(address, "/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("[-]specs not yet"), "{body}");
    readiness.specs_loaded();
    readiness.first_round_done();
    assert_eq!(get_page(address, "/readyz").await, (200, "ok\n".to_owned()));
    assert!(get_page(address, "/readyz?verbose").await.1.contains("[+]first-round ok"));

    let (_, metrics) = get_page(address, "/metrics").await;
    assert!(
        metrics.contains(
            "# TYPE tidegate_trigger_backlog gauge\n\
             tidegate_trigger_backlog{namespace=\"shop\",autoscaler=\"orders\",trigger=\"a\"} 12.5\n"
        ),
        "{metrics}"
    );
    assert!(metrics.contains("trigger=\"a\",kind=\"timeout\"} 1\n"), "{metrics}");
    for (family, value) in [
        ("due", "2"),
        ("in_flight", "3"),
        ("oldest_item_age_seconds", "4.5"),
        ("partitions", "6"),
        ("unowned_partitions", "1"),
        ("rebalancing", "1"),
    ] {
        let of = |trigger: &str| {
            format!("tidegate_trigger_{family}{{namespace=\"shop\",autoscaler=\"orders\",trigger=\"{trigger}\"}}")
        };
        assert!(metrics.contains(&format!("{} {value}\n", of("b"))), "{metrics}");
        assert!(!metrics.contains(&of("a")), "nothing where nothing is known: {metrics}");
    }

    let (status, list) = get_page(address, "/api/v1/autoscalers").await;
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    assert_eq!(status, 200);
    assert_eq!(list["items"][0]["backlog"], 14.5);
    assert_eq!(list["items"][0]["reasonWords"], "the backlog asks for more replicas");

    let (_, text) = get_page(address, "/api/v1/autoscalers/shop/orders").await;
    assert!(!text.contains("hunter2") && !text.contains("redis.internal"), "{text}");
    let detail: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(detail["desired"], 7);
    assert_eq!(detail["steps"][0]["stage"], "want");
    assert_eq!((&detail["steps"][0]["before"], &detail["steps"][0]["after"]), (&2.into(), &7.into()));
    assert_eq!(detail["triggers"][0]["failure"]["kind"], "timeout");
    assert_eq!(detail["triggers"][0]["health"], "failing");
    for unknown in ["due", "inFlight", "oldestAgeSeconds", "limit", "partitions", "unowned", "rebalancing", "paused"] {
        assert!(detail["triggers"][0].get(unknown).is_none(), "{unknown}: {text}");
    }
    let b = &detail["triggers"][1];
    assert_eq!((&b["due"], &b["inFlight"], &b["oldestAgeSeconds"]), (&2.0.into(), &3.0.into(), &4.5.into()));
    assert_eq!((&b["limit"], &b["paused"]), (&8.0.into(), &true.into()));
    assert!(detail["triggers"][0]["takenAt"].as_str().unwrap().ends_with('Z'));
    assert_eq!(detail["history"].as_array().unwrap().len(), 1);

    assert_eq!(get_page(address, "/api/v1/autoscalers/shop/nobody").await.0, 404);
    let (status, page) = get_page(address, "/").await;
    assert!(status == 200 && page.contains("<!doctype html>") && !page.contains("innerHTML"));
}

#[tokio::test]
async fn what_is_answered_is_counted() {
    let prometheus = Prometheus::install().unwrap();
    assert!(Prometheus::install().is_err(), "one recorder a process");
    let mut rig = rig().await;
    let cell = rig.add(spec(vec![trigger("a", ten_each())]));
    let now = rig.clock.now();
    publish(&cell, &decision(now, vec![read(1.0, now)]));
    rig.value(&named("backlog"), "").await.unwrap();
    rig.value(&named("backlog"), "nonsense").await.unwrap_err();
    let stream = rig.client.stream_is_active(named("backlog")).await.unwrap();

    // Other tests of this process count as well, so that only presence is sure.
    let text = prometheus.render();
    for line in [
        "# TYPE tidegate_grpc_requests_total counter",
        "tidegate_grpc_requests_total{method=\"GetMetrics\",code=\"OK\"} ",
        "tidegate_grpc_requests_total{method=\"GetMetrics\",code=\"NOT_FOUND\"} ",
        "tidegate_grpc_request_duration_seconds_bucket{method=\"GetMetrics\",le=\"0.00025\"} ",
        "tidegate_grpc_streams{method=\"StreamIsActive\"} ",
        "tidegate_build_info{version=",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    drop(stream);
}

fn redis_with_password() -> ConnectionSpec {
    use tidegate::spec::{RedisServer, Secret, SecretRef};
    ConnectionSpec {
        name: "shop/redis-main".into(),
        server: Server::Redis(RedisServer {
            password: Some(SecretRef::Inline(Secret::new("hunter2"))),
            ..RedisServer::at("redis.internal:6379", Duration::from_secs(1))
        }),
    }
}
