//! The runtime's promises that the engine cannot keep alone.

use std::sync::Arc;
use std::time::Duration;

use tidegate::board::Board;
use tidegate::clock::Clock;
use tidegate::model::*;
use tidegate::runtime::{Inputs, Outputs, Roles, Runtime};
use tidegate::spec::*;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn spec(name: &str) -> Arc<AutoscalerSpec> {
    let rules = || ScalingRules {
        stabilization_window: Duration::ZERO,
        select_policy: SelectPolicy::Max,
        policies: Vec::new(),
        tolerance: 0.0,
    };
    Arc::new(AutoscalerSpec {
        id: AutoscalerId::new("ns", name),
        origin: Origin::Manifest,
        target: Some(TargetRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: name.into() }),
        bounds: Bounds { min: 0, max: 10, idle: None },
        polling_interval: Duration::from_secs(1),
        max_sample_age: Duration::from_secs(10),
        cooldown: Duration::ZERO,
        initial_cooldown: Duration::ZERO,
        triggers: vec![TriggerSpec {
            name: "trigger-0".into(),
            metric_name: "jobs".into(),
            connection: Arc::new(ConnectionSpec { name: "embedded".into(), server: Server::Memory }),
            source: Source::Memory { queue: "jobs".into() },
            policy: Policy::BacklogPerReplica { target: MilliValue(1000) },
            activation_threshold: 0.0,
        }],
        behavior: Behavior::Rules { up: rules(), down: rules() },
        fallback: Fallback { after: Duration::from_secs(30), behavior: FallbackBehavior::Hold },
        pause: Pause::default(),
        dry_run: false,
        restore_on_delete: false,
        force_activation: false,
    })
}

#[tokio::test(start_paused = true)]
async fn a_scale_request_that_finds_no_room_is_sent_later_and_not_lost() {
    let clock = Clock::start();
    let (asks, intake) = mpsc::channel(1);
    let (polls, mut changes) = mpsc::unbounded_channel();
    // Room for one, and nobody takes it for a while.
    let (scales, mut requests) = mpsc::channel(1);
    let (specs, specs_in) = mpsc::channel(1);
    let (samples, samples_in) = mpsc::channel(8);
    let (reports, reports_in) = mpsc::channel(8);
    let outputs = Outputs { board: Arc::new(Board::new(asks)), polls, scales, roles: Roles::these(|_| true) };
    let inputs = Inputs::without_cluster(specs_in, samples_in, reports_in, intake);
    let running = tokio::spawn(Runtime::new(clock, outputs).run(inputs, CancellationToken::new()));

    let names = ["a", "b", "c"];
    specs.send(names.map(spec).to_vec()).await.expect("it runs");
    let mut keys = Vec::new();
    for _ in names {
        let Some(Change::Set(key, _)) = changes.recv().await else { panic!("three are polled") };
        keys.push(key);
    }
    for name in names {
        let id = AutoscalerId::new("ns", name);
        reports
            .send(TargetReport::Current { id, replicas: 0, ready: 0, set_by: SetBy::Unknown })
            .await
            .expect("it runs");
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    let sample = |key| Sample {
        key,
        trigger: 0,
        asked: clock.now(),
        round: Round(1),
        taken: clock.now(),
        value: Ok(Observation { backlog: 5.0 }),
    };
    samples.send(keys.into_iter().map(sample).collect()).await.expect("it runs");
    tokio::time::sleep(Duration::from_secs(1)).await;

    for _ in names {
        let request = tokio::time::timeout(Duration::from_secs(5), requests.recv()).await.expect("lost").expect("open");
        assert_eq!((request.from, request.to), (0, 5));
    }
    running.abort();
}

/// Changed manifests overtake the answers of a round that was sent before.
#[tokio::test(start_paused = true)]
async fn an_answer_to_an_earlier_question_is_not_taken_for_one_to_the_new() {
    let clock = Clock::start();
    let (asks, intake) = mpsc::channel(1);
    let (polls, mut changes) = mpsc::unbounded_channel();
    let (scales, _requests) = mpsc::channel(1);
    let (specs, specs_in) = mpsc::channel(1);
    let (samples, samples_in) = mpsc::channel(8);
    let (_reports, reports_in) = mpsc::channel(8);
    let board = Arc::new(Board::new(asks));
    let outputs = Outputs { board: Arc::clone(&board), polls, scales, roles: Roles::nobody() };
    let inputs = Inputs::without_cluster(specs_in, samples_in, reports_in, intake);
    let running = tokio::spawn(Runtime::new(clock, outputs).run(inputs, CancellationToken::new()));
    let mut put = async |spec: Arc<AutoscalerSpec>| {
        specs.send(vec![spec]).await.expect("it runs");
        loop {
            // Others are told to go.
            if let Change::Set(key, _) = changes.recv().await.expect("it runs") {
                return key;
            }
        }
    };
    // Asked for since then, and read now.
    let sampled = async |key, asked, backlog| {
        let taken = clock.now();
        let sample = Sample { key, trigger: 0, asked, round: Round(1), taken, value: Ok(Observation { backlog }) };
        samples.send(vec![sample]).await.expect("it runs");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let value = |name: &str| {
        let published = board.get(&AutoscalerId::new("ns", name))?.latest();
        published.decision.as_ref()?.triggers.first()?.value
    };
    let pause = || tokio::time::sleep(Duration::from_millis(10));

    let key = put(spec("a")).await;
    pause().await;
    sampled(key, clock.now(), 5.0).await;
    assert_eq!(value("a"), Some(5.0));

    // Another question.
    let before = clock.now();
    pause().await;
    let mut elsewhere = (*spec("a")).clone();
    elsewhere.triggers.first_mut().expect("one").source = Source::Memory { queue: "others".into() };
    assert_eq!(put(Arc::new(elsewhere)).await, key);
    sampled(key, before, 7.0).await;
    assert_eq!(value("a"), None, "nobody knows yet");
    sampled(key, clock.now(), 8.0).await;
    assert_eq!(value("a"), Some(8.0));

    // Gone, and another has come, which may have its key: it has not been read.
    let before = clock.now();
    pause().await;
    let new = put(spec("b")).await;
    sampled(key, before, 9.0).await;
    sampled(new, before, 9.0).await;
    assert_eq!((value("a"), value("b")), (None, None));
    running.abort();
}
