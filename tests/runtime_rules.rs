//! The runtime's promises that the engine cannot keep alone.

#![expect(clippy::expect_used, reason = "a test may end on its own mistakes")]

use std::sync::Arc;
use std::time::Duration;

use tidegate::board::Board;
use tidegate::checkpoint::{Ask, Memories, Note, Restored};
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
            in_flight: None,
            policy: Policy::BacklogPerReplica { target: MilliValue(1000) },
            activation_threshold: 0.0,
            max_sample_age: None,
            partitioning: Partitioning::default(),
            share: TriggerSpec::WHOLE,
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
            .send(TargetReport::Current { id, replicas: 0, ready: 0, set_by: SetBy::Unknown, another: false })
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
        value: Ok(Observation::of_backlog(5.0)),
    };
    samples.send(keys.into_iter().map(sample).collect()).await.expect("it runs");
    tokio::time::sleep(Duration::from_secs(1)).await;

    for _ in names {
        let request = tokio::time::timeout(Duration::from_secs(5), requests.recv()).await.expect("lost").expect("open");
        assert!(matches!(request, ScaleOrder::Ask(ScaleRequest { from: 0, to: 5, .. })), "{request:?}");
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
        let sample =
            Sample { key, trigger: 0, asked, round: Round(1), taken, value: Ok(Observation::of_backlog(backlog)) };
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

// === a cluster ===

/// A runtime among several processes, and everything that it talks to.
struct Cluster {
    clock: Clock,
    board: Arc<Board>,
    specs: mpsc::Sender<Vec<Arc<AutoscalerSpec>>>,
    resources: mpsc::Sender<SpecsChange>,
    samples: mpsc::Sender<Vec<Sample>>,
    reports: mpsc::Sender<TargetReport>,
    mandates: mpsc::Sender<Mandate>,
    asks: mpsc::Sender<Ask>,
    changes: mpsc::UnboundedReceiver<Change>,
    requests: mpsc::Receiver<ScaleOrder>,
    running: tokio::task::JoinHandle<()>,
}

impl Cluster {
    fn start(before: impl FnOnce(&Clock) -> Memories) -> Self {
        let clock = Clock::start();
        let (intake_sender, intake) = mpsc::channel(1);
        let (polls, changes) = mpsc::unbounded_channel();
        let (scales, requests) = mpsc::channel(16_384);
        let (specs, specs_in) = mpsc::channel(1);
        let (resources, resources_in) = mpsc::channel(1);
        let (samples, samples_in) = mpsc::channel(8);
        let (reports, reports_in) = mpsc::channel(8);
        let (mandates, mandates_in) = mpsc::channel(8);
        let (asks, asks_in) = mpsc::channel(1);
        let board = Arc::new(Board::new(intake_sender));
        let outputs = Outputs { board: Arc::clone(&board), polls, scales, roles: Roles::cluster() };
        let inputs = Inputs {
            specs: specs_in,
            resources: resources_in,
            samples: samples_in,
            reports: reports_in,
            intake,
            mandates: mandates_in,
            asks: asks_in,
        };
        let runtime = Runtime::new(clock, outputs).remembering(before(&clock));
        let running = tokio::spawn(runtime.run(inputs, CancellationToken::new()));
        Cluster { clock, board, specs, resources, samples, reports, mandates, asks, changes, requests, running }
    }

    async fn settle(&self) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    async fn set(&mut self, specs: Vec<Arc<AutoscalerSpec>>) -> Vec<Key> {
        let count = specs.len();
        self.resources.send(SpecsChange { set: specs, gone: Vec::new() }).await.expect("it runs");
        let mut keys = Vec::new();
        while keys.len() < count {
            if let Change::Set(key, _) = self.changes.recv().await.expect("it runs") {
                keys.push(key);
            }
        }
        keys
    }

    async fn see(&self, name: &str, replicas: Replicas, set_by: SetBy) {
        let id = AutoscalerId::new("ns", name);
        self.reports
            .send(TargetReport::Current { id, replicas, ready: replicas, set_by, another: false })
            .await
            .expect("it runs");
        self.settle().await;
    }

    async fn read(&self, keys: &[Key], backlog: f64) {
        let (asked, taken) = (self.clock.now(), self.clock.now());
        let value = || Ok(Observation::of_backlog(backlog));
        let sample = |&key| Sample { key, trigger: 0, asked, round: Round(1), taken, value: value() };
        self.samples.send(keys.iter().map(sample).collect()).await.expect("it runs");
        self.settle().await;
    }

    async fn mandate(&self, mandate: Mandate) {
        self.mandates.send(mandate).await.expect("it runs");
        self.settle().await;
    }

    /// What is asked for by now, or withdrawn.
    fn asked(&mut self) -> Vec<(String, Replicas, Replicas)> {
        let mut asked = Vec::new();
        while let Ok(order) = self.requests.try_recv() {
            match order {
                ScaleOrder::Ask(ScaleRequest { id, from, to, .. }) => asked.push((id.name.to_string(), from, to)),
                ScaleOrder::Withdraw(id) => asked.push((id.name.to_string(), WITHDRAWN, WITHDRAWN)),
            }
        }
        asked
    }

    async fn notes(&self, everything: bool) -> Vec<Note> {
        let (reply, answer) = tokio::sync::oneshot::channel();
        self.asks.send(Ask { everything, reply }).await.expect("it runs");
        answer.await.expect("it answers")
    }

    fn desired(&self, name: &str) -> Option<(Replicas, Reason)> {
        let published = self.board.get(&AutoscalerId::new("ns", name))?.latest();
        published.decision.as_ref().map(|decision| (decision.desired, decision.reason))
    }
}

/// In place of the counts.
const WITHDRAWN: Replicas = -1;

fn withdrawn(name: &str) -> (String, Replicas, Replicas) {
    (name.to_owned(), WITHDRAWN, WITHDRAWN)
}

fn resource(name: &str) -> Arc<AutoscalerSpec> {
    Arc::new(AutoscalerSpec { origin: Origin::Resource, ..(*spec(name)).clone() })
}

#[tokio::test(start_paused = true)]
async fn nobody_acts_before_it_leads_and_then_everybody_at_once_who_may() {
    let mut cluster = Cluster::start(|_| Memories::new());
    // Refused before anybody has heard of it.
    let refused = |refused| Mandate::Refused { id: AutoscalerId::new("ns", "owned"), refused };
    cluster.mandate(refused(true)).await;
    let dry = Arc::new(AutoscalerSpec { dry_run: true, ..(*resource("dry")).clone() });
    let keys = cluster.set(vec![resource("a"), resource("owned"), dry]).await;
    for name in ["a", "owned", "dry"] {
        cluster.see(name, 2, SetBy::Other).await;
    }
    cluster.read(&keys, 5.0).await;
    assert_eq!(cluster.asked(), [], "it follows");
    assert_eq!(cluster.desired("a").map(|(desired, _)| desired), Some(5), "and has decided");

    let a = || ("a".to_owned(), 2, 5);
    cluster.mandate(Mandate::Leading(true)).await;
    assert_eq!(cluster.asked(), [a()]);
    cluster.mandate(Mandate::Leading(true)).await;
    assert_eq!(cluster.asked(), [], "said twice");
    cluster.mandate(refused(false)).await;
    assert_eq!(cluster.asked(), [("owned".to_owned(), 2, 5)]);
    cluster.mandate(Mandate::Leading(false)).await;
    assert_eq!(cluster.asked(), [withdrawn("a"), withdrawn("owned")]);
    cluster.read(&keys, 7.0).await;
    assert_eq!(cluster.asked(), []);
    cluster.mandate(Mandate::Leading(true)).await;
    assert_eq!(cluster.asked(), [("a".to_owned(), 2, 7), ("owned".to_owned(), 2, 7)]);
    // An owner's zero is nobody's stop.
    cluster.mandate(refused(true)).await;
    assert_eq!(cluster.asked(), [withdrawn("owned")]);
    cluster.see("owned", 0, SetBy::Other).await;
    assert_eq!(cluster.desired("owned"), Some((7, Reason::AboveTarget)));
    assert_eq!(cluster.asked(), []);
    cluster.running.abort();
}

/// A request may wait for a minute: for its turn, for a server that is away, for the end of a Retry-After.
#[tokio::test(start_paused = true)]
async fn what_was_asked_for_and_may_still_wait_is_taken_back_by_whoever_may_not_act_any_more() {
    for how in ["deposed", "refused", "dry run", "gone"] {
        let mut cluster = Cluster::start(|_| Memories::new());
        let keys = cluster.set(vec![resource("a")]).await;
        cluster.see("a", 2, SetBy::Other).await;
        cluster.mandate(Mandate::Leading(true)).await;
        cluster.read(&keys, 5.0).await;
        assert_eq!(cluster.asked(), [("a".to_owned(), 2, 5)]);
        let id = || AutoscalerId::new("ns", "a");
        match how {
            "deposed" => cluster.mandate(Mandate::Leading(false)).await,
            "refused" => cluster.mandate(Mandate::Refused { id: id(), refused: true }).await,
            "dry run" => {
                let dry = AutoscalerSpec { dry_run: true, ..(*resource("a")).clone() };
                drop(cluster.set(vec![Arc::new(dry)]).await);
            }
            _ => {
                let gone = SpecsChange { set: Vec::new(), gone: vec![id()] };
                cluster.resources.send(gone).await.expect("it runs");
            }
        }
        cluster.settle().await;
        assert_eq!(cluster.asked(), [withdrawn("a")], "{how}");
        // Once.
        cluster.read(&keys, 6.0).await;
        assert_eq!(cluster.asked(), [], "{how}");
        cluster.running.abort();
    }
}

/// After a start it may take a moment to learn who owns what, and that must not wake what somebody has stopped.
#[tokio::test(start_paused = true)]
async fn a_stop_is_not_forgotten_while_nobody_knows_yet_who_owns_the_workload() {
    let mut cluster = Cluster::start(|_| Memories::new());
    let id = || AutoscalerId::new("ns", "a");
    let keys = cluster.set(vec![resource("a")]).await;
    cluster.see("a", 2, SetBy::Other).await;
    cluster.see("a", 0, SetBy::Other).await;
    cluster.read(&keys, 5.0).await;
    assert_eq!(cluster.desired("a"), Some((0, Reason::ManuallyStopped)));
    cluster.mandate(Mandate::Leading(true)).await;
    cluster.mandate(Mandate::Waits { id: id() }).await;
    assert_eq!(cluster.desired("a"), Some((0, Reason::ManuallyStopped)));
    cluster.mandate(Mandate::Refused { id: id(), refused: false }).await;
    assert_eq!(cluster.desired("a"), Some((0, Reason::ManuallyStopped)));
    assert_eq!(cluster.asked(), []);
    // And nobody acts meanwhile.
    let keys = cluster.set(vec![resource("b")]).await;
    let other = || AutoscalerId::new("ns", "b");
    cluster.mandate(Mandate::Waits { id: other() }).await;
    cluster.see("b", 2, SetBy::Other).await;
    cluster.read(&keys, 5.0).await;
    assert_eq!(cluster.asked(), []);
    cluster.mandate(Mandate::Refused { id: other(), refused: false }).await;
    assert_eq!(cluster.asked(), [("b".to_owned(), 2, 5)]);
    cluster.running.abort();
}

/// Between two terms of this process the count may have stayed as it was, so that there is nothing to ask for anew.
#[tokio::test(start_paused = true)]
async fn a_request_of_an_earlier_term_does_not_wait_for_the_next_one() {
    let mut cluster = Cluster::start(|_| Memories::new());
    let keys = cluster.set(vec![resource("a")]).await;
    cluster.see("a", 2, SetBy::Other).await;
    cluster.mandate(Mandate::Leading(true)).await;
    cluster.read(&keys, 5.0).await;
    cluster.mandate(Mandate::Leading(false)).await;
    cluster.read(&keys, 2.0).await;
    cluster.mandate(Mandate::Leading(true)).await;
    assert_eq!(cluster.asked(), [("a".to_owned(), 2, 5), withdrawn("a")]);
    cluster.running.abort();
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_take_over_in_one_pass() {
    let mut cluster = Cluster::start(|_| Memories::new());
    let specs = (0..10_000).map(|index| resource(&format!("n{index}"))).collect();
    let keys = cluster.set(specs).await;
    for index in 0..10_000 {
        let id = AutoscalerId::new("ns", format!("n{index}"));
        let report = TargetReport::Current { id, replicas: 1, ready: 1, set_by: SetBy::Other, another: false };
        cluster.reports.send(report).await.expect("it runs");
    }
    cluster.read(&keys, 5.0).await;
    assert_eq!(cluster.asked(), []);
    cluster.mandates.send(Mandate::Leading(true)).await.expect("it runs");
    cluster.settle().await;
    assert_eq!(cluster.asked().len(), 10_000);
    cluster.running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_manifest_file_stands_above_a_resource_of_its_name_for_as_long_as_it_is_there() {
    let mut cluster = Cluster::start(|_| Memories::new());
    let origin = |cluster: &Cluster, name: &str| {
        let cell = cluster.board.get(&AutoscalerId::new("ns", name))?;
        Some(cell.peek(|published| published.spec.origin))
    };
    let gone = |name: &str| SpecsChange { set: Vec::new(), gone: vec![AutoscalerId::new("ns", name)] };
    cluster.set(vec![resource("a"), resource("b"), resource("c")]).await;
    cluster.specs.send(vec![spec("a"), spec("d")]).await.expect("it runs");
    cluster.settle().await;
    let origins = |cluster: &Cluster| ["a", "b", "c", "d"].map(|name| origin(cluster, name));
    let (file, object) = (Some(Origin::Manifest), Some(Origin::Resource));
    assert_eq!(origins(&cluster), [file, object, object, file]);

    // What changes or goes below a file changes nothing.
    cluster.resources.send(SpecsChange { set: vec![resource("d")], gone: Vec::new() }).await.expect("it runs");
    cluster.resources.send(gone("a")).await.expect("it runs");
    cluster.resources.send(gone("c")).await.expect("it runs");
    cluster.settle().await;
    assert_eq!(origins(&cluster), [file, object, None, file]);

    // Without files the resources that are still there are in force.
    cluster.specs.send(Vec::new()).await.expect("it runs");
    cluster.settle().await;
    assert_eq!(origins(&cluster), [None, object, None, object]);
    cluster.running.abort();
}

#[tokio::test(start_paused = true)]
async fn what_is_new_is_told_once_and_what_comes_back_remembers() {
    let mut cluster = Cluster::start(|_| Memories::new());
    let names = ["a", "b"];
    let keys = cluster.set(names.map(resource).to_vec()).await;
    cluster.mandate(Mandate::Leading(true)).await;
    assert_eq!(cluster.notes(true).await, [], "nobody has seen a workload");
    for name in names {
        cluster.see(name, 4, SetBy::Other).await;
    }
    cluster.read(&keys, 4.0).await;
    assert_eq!(cluster.notes(false).await.len(), 2);
    cluster.read(&keys, 4.0).await;
    assert_eq!(cluster.notes(false).await, [], "nothing is new");
    assert_eq!(cluster.notes(true).await.len(), 2, "to another who asks it is");

    // One is stopped by hand, the other goes.
    cluster.see("a", 0, SetBy::Other).await;
    assert_eq!(cluster.desired("a"), Some((0, Reason::ManuallyStopped)));
    let b = AutoscalerId::new("ns", "b");
    cluster.resources.send(SpecsChange { set: Vec::new(), gone: vec![b.clone()] }).await.expect("it runs");
    cluster.settle().await;
    let notes = cluster.notes(false).await;
    let [Note::Forget(forgotten), Note::Remember(id, envelope)] = notes.as_slice() else { panic!("{notes:?}") };
    assert_eq!((forgotten, &*id.name), (&b, "a"));
    let memory = envelope.memory(cluster.clock.now());
    cluster.running.abort();

    let a = id.clone();
    let mut next = Cluster::start(|clock| {
        let restored = Restored { memory, elapsed: Duration::from_secs(5), read: clock.now() };
        Memories::from([(a, restored)])
    });
    let keys = next.set(names.map(resource).to_vec()).await;
    next.mandate(Mandate::Leading(true)).await;
    for name in names {
        next.see(name, 0, SetBy::Other).await;
    }
    next.read(&keys, 4.0).await;
    assert_eq!(next.desired("a"), Some((0, Reason::ManuallyStopped)), "it is remembered");
    assert_eq!(next.asked(), [("b".to_owned(), 0, 4)], "of the other nothing is known");
    next.running.abort();
}
