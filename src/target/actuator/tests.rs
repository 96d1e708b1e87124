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
    requests: mpsc::Sender<ScaleRequest>,
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

fn request(workload: u32, from: Replicas, to: Replicas) -> ScaleRequest {
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
    let of = |workload, failures| pause(&config, &request(workload, 0, 1), failures);
    assert!((75..=100).contains(&of(0, 1).as_millis()));
    assert!((150..=200).contains(&of(0, 2).as_millis()));
    for failures in [20, 33, u32::MAX] {
        assert!((7500..=10_000).contains(&of(0, failures).as_millis()));
    }
    assert_ne!(of(0, 5), of(1, 5));
}
