//! The actuator against a target that does as a script says, in paused time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::model::{Key, Replicas};

/// Answers each request with the next of `script` (success once it is used up) after `delay`.
#[derive(Default)]
struct Scripted {
    script: Mutex<VecDeque<Result<(), ScaleError>>>,
    delay: Duration,
    calls: Mutex<Vec<(AutoscalerId, Replicas, Replicas)>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Target for Scripted {
    async fn scale(&self, id: &AutoscalerId, from: Replicas, to: Replicas) -> Result<(), ScaleError> {
        self.calls.lock().unwrap().push((id.clone(), from, to));
        self.most.fetch_max(self.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(self.delay).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.script.lock().unwrap().pop_front().unwrap_or(Ok(()))
    }
}

impl Scripted {
    fn calls(&self) -> Vec<(Replicas, Replicas)> {
        self.calls.lock().unwrap().iter().map(|(_, from, to)| (*from, *to)).collect()
    }
}

struct Rig {
    target: Arc<Scripted>,
    requests: mpsc::Sender<ScaleOrder>,
    reports: mpsc::Receiver<TargetReport>,
}

fn rig(delay: Duration, script: impl IntoIterator<Item = Result<(), ScaleError>>) -> Rig {
    let script = Mutex::new(script.into_iter().collect());
    let target = Arc::new(Scripted { script, delay, ..Scripted::default() });
    let (requests, incoming) = mpsc::channel(1);
    let (outgoing, reports) = mpsc::channel(1);
    tokio::spawn(Actuator::new(Arc::clone(&target), Config::default()).run(incoming, outgoing));
    Rig { target, requests, reports }
}

fn request(workload: u32, from: Replicas, to: Replicas) -> ScaleOrder {
    ScaleOrder::Ask(asks(workload, from, to))
}

fn asks(workload: u32, from: Replicas, to: Replicas) -> ScaleRequest {
    ScaleRequest { key: Key(workload), id: id(workload), from, to }
}

fn id(workload: u32) -> AutoscalerId {
    AutoscalerId::new("test", format!("w{workload}"))
}

fn done(workload: u32, from: Replicas, to: Replicas) -> Option<TargetReport> {
    Some(TargetReport::Applied { id: id(workload), from, to, outcome: Ok(()) })
}

fn failed(kind: FailureKind) -> ScaleError {
    ScaleError::Failed(ReadFailure::new(kind, "scripted"))
}

const SLOW: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn one_in_flight_and_the_latest_wins() {
    let mut rig = rig(SLOW, []);
    rig.requests.send(request(0, 1, 2)).await.unwrap();
    tokio::time::sleep(SLOW / 2).await;
    for to in 3..=9 {
        rig.requests.send(request(0, 1, to)).await.unwrap();
    }
    assert_eq!(rig.reports.recv().await, done(0, 1, 2));
    // Decided while the workload still stood at 1; what moved it was our own request.
    assert_eq!(rig.reports.recv().await, done(0, 2, 9));
    assert_eq!(rig.target.calls(), [(1, 2), (2, 9)]);
    assert_eq!(rig.target.most.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_tried_until_it_does() {
    let script = [FailureKind::Unreachable, FailureKind::TooManyClients, FailureKind::NotServing];
    let mut rig = rig(Duration::ZERO, script.map(|kind| Err(failed(kind))));
    rig.requests.send(request(0, 1, 2)).await.unwrap();
    assert_eq!(rig.reports.recv().await, done(0, 1, 2));
    assert_eq!(rig.target.calls(), [(1, 2); 4]);
}

#[tokio::test(start_paused = true)]
async fn a_newer_decision_takes_the_place_of_one_that_is_being_retried() {
    let mut rig = rig(Duration::ZERO, vec![Err(failed(FailureKind::NotServing)); 3]);
    rig.requests.send(request(0, 1, 2)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    rig.requests.send(request(0, 1, 5)).await.unwrap();
    assert_eq!(rig.reports.recv().await, done(0, 1, 5));
    assert_eq!(rig.target.calls(), [(1, 2), (1, 5), (1, 5), (1, 5)]);
}

#[tokio::test(start_paused = true)]
async fn what_will_not_pass_is_reported_at_once() {
    let conflict = ScaleError::Conflict { expected: 1, found: 7 };
    let mut rig = rig(Duration::ZERO, [Err(conflict), Err(failed(FailureKind::PermissionDenied))]);
    for (to, word) in [(2, "stands at 7"), (3, "scripted")] {
        rig.requests.send(request(0, 1, to)).await.unwrap();
        match rig.reports.recv().await {
            Some(TargetReport::Applied { to: reported, outcome: Err(failure), .. }) => {
                assert_eq!(reported, to);
                assert!(failure.message.contains(word), "{failure}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(rig.target.calls(), [(1, 2), (1, 3)]);
}

/// An engine that evaluates on every report and wants what it wanted before.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_asked_again_at_once_is_no_storm() {
    let mut rig = rig(Duration::ZERO, vec![Err(failed(FailureKind::PermissionDenied)); 1000]);
    let stubborn = async {
        loop {
            rig.requests.send(request(0, 1, 2)).await.unwrap();
            rig.reports.recv().await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), stubborn).await.unwrap_err();
    let calls = rig.target.calls().len();
    assert!((10..=16).contains(&calls), "0.1 s, doubling to 10 s: {calls}");
}

#[tokio::test(start_paused = true)]
async fn a_hung_request_costs_its_timeout_and_nobody_else_anything() {
    struct Hangs;
    impl Target for Hangs {
        async fn scale(&self, id: &AutoscalerId, _: Replicas, _: Replicas) -> Result<(), ScaleError> {
            match &*id.name {
                "w0" => std::future::pending().await,
                _ => Ok(()),
            }
        }
    }
    let (requests, incoming) = mpsc::channel(8);
    let (outgoing, mut reports) = mpsc::channel(8);
    let actuator = tokio::spawn(Actuator::new(Arc::new(Hangs), Config::default()).run(incoming, outgoing));
    requests.send(request(0, 0, 1)).await.unwrap();
    requests.send(request(1, 0, 1)).await.unwrap();
    assert_eq!(reports.recv().await, done(1, 0, 1));
    drop(requests);
    match reports.recv().await {
        Some(TargetReport::Applied { id: which, outcome: Err(failure), .. }) => {
            assert_eq!(which, id(0));
            assert_eq!(failure.kind, FailureKind::Timeout);
        }
        other => panic!("{other:?}"),
    }
    actuator.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn many_workloads_share_a_bounded_number_of_requests() {
    let Rig { target, requests, mut reports } = rig(SLOW, []);
    let sender = tokio::spawn(async move {
        for workload in 0..100 {
            requests.send(request(workload, 0, 1)).await.unwrap();
        }
    });
    let mut count = 0;
    while reports.recv().await.is_some() {
        count += 1;
    }
    sender.await.unwrap();
    assert_eq!((count, target.most.load(Ordering::SeqCst)), (100, Config::default().concurrency));
}

/// A runtime that sends requests and receives reports in one task, with channels of one place each.
#[tokio::test(start_paused = true)]
async fn nobody_waits_in_a_circle() {
    let mut rig = rig(Duration::ZERO, []);
    for workload in 0..20 {
        rig.requests.send(request(workload, 0, 1)).await.unwrap();
    }
    for _ in 0..20 {
        assert!(matches!(rig.reports.recv().await, Some(TargetReport::Applied { outcome: Ok(()), .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn when_requests_end_what_was_asked_gets_its_last_attempt() {
    let Rig { target, requests, mut reports } = rig(Duration::ZERO, vec![Err(failed(FailureKind::NotServing)); 2]);
    requests.send(request(0, 1, 2)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    requests.send(request(0, 1, 5)).await.unwrap();
    drop(requests);
    match reports.recv().await {
        Some(TargetReport::Applied { to: 5, outcome: Err(failure), .. }) => {
            assert_eq!(failure.kind, FailureKind::NotServing);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(reports.recv().await, None);
    assert_eq!(target.calls(), [(1, 2), (1, 5)]);
}

#[test]
fn pauses_grow_to_a_bound_and_differ_between_workloads() {
    let config = Config::default();
    let of = |workload, failures| pause(&config, &asks(workload, 0, 1), failures, false);
    assert!((75..=100).contains(&of(0, 1).as_millis()));
    assert!((150..=200).contains(&of(0, 2).as_millis()));
    for failures in [20, 33, u32::MAX] {
        assert!((7500..=10_000).contains(&of(0, failures).as_millis()));
    }
    assert_ne!(of(0, 5), of(1, 5));
}

fn rig_with(config: Config, delay: Duration, script: impl IntoIterator<Item = Result<(), ScaleError>>) -> Rig {
    let script = Mutex::new(script.into_iter().collect());
    let target = Arc::new(Scripted { script, delay, ..Scripted::default() });
    let (requests, incoming) = mpsc::channel(20_000);
    let (outgoing, reports) = mpsc::channel(20_000);
    tokio::spawn(Actuator::new(Arc::clone(&target), config).run(incoming, outgoing));
    Rig { target, requests, reports }
}

#[tokio::test(start_paused = true)]
async fn the_most_urgent_goes_first_and_a_newer_decision_keeps_its_place() {
    let config = Config { concurrency: 1, ..Config::default() };
    let mut rig = rig_with(config, SLOW, []);
    rig.requests.send(request(0, 5, 6)).await.unwrap();
    tokio::time::sleep(SLOW / 2).await;
    for (workload, from, to) in [(1, 9, 1), (2, 10, 20), (3, 10, 40), (4, 0, 1), (5, 0, 90), (6, 10, 40), (2, 10, 41)] {
        rig.requests.send(request(workload, from, to)).await.unwrap();
    }
    let mut order = Vec::new();
    for _ in 0..7 {
        let Some(TargetReport::Applied { id, outcome: Ok(()), .. }) = rig.reports.recv().await else { panic!() };
        order.push(id.name.to_string());
    }
    assert_eq!(order, ["w0", "w4", "w5", "w2", "w3", "w6", "w1"]);
}

#[tokio::test(start_paused = true)]
async fn all_together_keep_to_a_rate_and_nobody_is_forgotten() {
    let config = Config { rate: Rate { per_second: 100.0, burst: 200 }, ..Config::default() };
    let mut rig = rig_with(config, Duration::from_millis(10), []);
    let began = Clock::start();
    for workload in 0..10_000 {
        rig.requests.send(request(workload, 0, 1)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!((245..=251).contains(&rig.target.calls().len()), "{}", rig.target.calls().len());
    for _ in 0..10_000 {
        rig.reports.recv().await.unwrap();
    }
    let took = began.uptime().as_secs_f64();
    assert!((97.5..=98.5).contains(&took), "{took}");
}

#[tokio::test(start_paused = true)]
async fn one_workload_keeps_to_its_own_rate_and_its_latest_decision_is_not_lost() {
    let mut rig = rig_with(Config::default(), Duration::from_millis(1), []);
    for to in 2..=2_001 {
        rig.requests.send(request(0, to - 1, to)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let calls = rig.target.calls();
    assert!((14..=16).contains(&calls.len()), "5, then 1 a second for 10 s: {}", calls.len());
    assert_eq!(calls.last().unwrap().1, 2_001);
    // Another is not held back by it.
    rig.requests.send(request(1, 0, 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(rig.target.calls().len(), calls.len() + 1);
    let mut reports = 0;
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_secs(1), rig.reports.recv()).await {
        reports += 1;
    }
    assert_eq!(reports, calls.len() + 1);
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_asks_for_silence_gets_it_from_everybody() {
    let throttled = ScaleError::Throttled { retry_after: Duration::from_secs(7) };
    let mut rig = rig_with(Config::default(), Duration::ZERO, [Err(throttled)]);
    let began = Clock::start();
    rig.requests.send(request(0, 5, 6)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.requests.send(request(1, 0, 1)).await.unwrap();
    rig.requests.send(request(0, 5, 9)).await.unwrap();
    // Nothing of it is reported as a failure, and the most urgent goes first.
    assert_eq!(rig.reports.recv().await, done(1, 0, 1));
    assert_eq!(rig.reports.recv().await, done(0, 5, 9));
    assert!((7.0..7.1).contains(&began.uptime().as_secs_f64()), "{:?}", began.uptime());
    assert_eq!(rig.target.calls(), [(5, 6), (0, 1), (5, 9)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_seldom_repeated_and_another_decision_goes_at_once() {
    for refusal in [ScaleError::Forbidden("no".into()), ScaleError::Invalid("no".into())] {
        let mut rig = rig_with(Config::default(), Duration::ZERO, vec![Err(refusal); 40]);
        let stubborn = async {
            loop {
                rig.requests.send(request(0, 1, 2)).await.unwrap();
                rig.reports.recv().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(600), stubborn).await.unwrap_err();
        let calls = rig.target.calls().len();
        assert!((14..=20).contains(&calls), "1 s, doubling to 60 s: {calls}");
        let began = Clock::start();
        rig.requests.send(request(0, 1, 3)).await.unwrap();
        rig.reports.recv().await.unwrap();
        assert_eq!((began.uptime(), rig.target.calls().last()), (Duration::ZERO, Some(&(1, 3))));
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_and_is_withdrawn_is_not_done() {
    // It pauses after a failure that may pass.
    let mut rig = rig(Duration::from_millis(10), [Err(unreachable_now())]);
    rig.requests.send(request(1, 2, 9)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(rig.target.calls(), [(2, 9)]);
    rig.requests.send(ScaleOrder::Withdraw(id(1))).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.target.calls(), [(2, 9)]);
    // Another one is done as ever.
    rig.requests.send(request(1, 2, 4)).await.unwrap();
    assert_eq!(rig.reports.recv().await, done(1, 2, 4));
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_and_withdrawn_ends_and_is_not_repeated_if_it_fails() {
    for failure in [unreachable_now(), ScaleError::Throttled { retry_after: Duration::from_secs(20) }] {
        let mut rig = rig(Duration::from_millis(100), [Err(failure)]);
        rig.requests.send(request(1, 2, 9)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        rig.requests.send(ScaleOrder::Withdraw(id(1))).await.unwrap();
        let report = rig.reports.recv().await;
        assert!(matches!(report, Some(TargetReport::Applied { from: 2, to: 9, outcome: Err(_), .. })), "{report:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(rig.target.calls(), [(2, 9)]);
    }
    // What succeeds has happened, and what waited behind it does not turn it around.
    let mut rig = rig(Duration::from_millis(100), []);
    rig.requests.send(request(1, 2, 9)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    rig.requests.send(request(1, 2, 2)).await.unwrap();
    rig.requests.send(ScaleOrder::Withdraw(id(1))).await.unwrap();
    assert_eq!(rig.reports.recv().await, done(1, 2, 9));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.target.calls(), [(2, 9)]);
}

fn unreachable_now() -> ScaleError {
    ScaleError::Failed(ReadFailure::new(FailureKind::Unreachable, "no route"))
}
