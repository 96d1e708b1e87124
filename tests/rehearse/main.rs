//! KEDA and the HPA in a box against a scripted external scaler: does it call, and act, as the real pair was measured
//! to do? (KEDA 2.20.0 under Kubernetes 1.36; polling interval 5 s, HPA sync 15 s unless a test says otherwise.)

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod scripted;

use std::collections::VecDeque;
use std::time::Duration;

use scripted::{Call, fallback, following, object, seconds, start};
use tidegate::rehearse::keda_box::ScaledObject;
use tonic::Status;

// === which calls, when ===

/// Calls in two minutes of the steady state, after the measurements' 60 s.
async fn counted(config: ScaledObject, active: bool) -> [usize; 4] {
    let rig = start(config);
    rig.set(|script| (script.active, script.value) = (active, 3.0));
    seconds(61.0).await;
    let streams = rig.count("StreamIsActive");
    rig.forget_calls();
    seconds(120.0).await;
    assert_eq!(rig.count("StreamIsActive"), 0, "a stream stays open");
    assert_eq!(rig.scaler.open_streams(), streams);
    [rig.count("GetMetricSpec"), rig.count("GetMetrics"), rig.count("IsActive"), streams]
}

#[tokio::test(start_paused = true)]
async fn calls_per_minute_are_as_measured() {
    // Measured per minute, at a loop that was some 2 % late: 15.7, 11.8, and 70.8 / 47.2 for three triggers.
    assert_eq!(counted(object(1, false), true).await, [2 * 16, 2 * 16, 2 * 16, 0]);
    assert_eq!(counted(object(1, false), false).await, [2 * 12, 2 * 12, 2 * 12, 0]);
    assert_eq!(counted(object(3, false), true).await, [2 * 72, 2 * 48, 2 * 48, 0]);
    assert_eq!(counted(object(1, true), true).await, [2 * 16, 2 * 16, 2 * 16, 1]);
    assert_eq!(counted(object(1, true), false).await, [2 * 12, 2 * 12, 2 * 12, 1]);
    assert_eq!(counted(object(3, true), true).await, [2 * 72, 2 * 48, 2 * 48, 3]);
}

#[tokio::test(start_paused = true)]
async fn creation_asks_for_the_specs_once_and_the_loop_begins_at_once() {
    let rig = start(object(2, false));
    seconds(1.0).await;
    let calls = rig.calls();
    let reconcile: Vec<_> = calls.iter().take(2).map(|call| (call.method, call.trigger.as_str())).collect();
    assert_eq!(reconcile, [("GetMetricSpec", "0"), ("GetMetricSpec", "1")]);
    assert!(calls.iter().all(|call| call.at < 100 && !call.deadline), "{calls:?}");
    for trigger in ["0", "1"] {
        let poll: Vec<_> =
            calls.iter().skip(2).filter(|call| call.trigger == trigger).map(|call| call.method).collect();
        assert_eq!(poll, ["GetMetricSpec", "GetMetrics", "IsActive"]);
    }
    assert_eq!(calls.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn the_hpa_asks_all_specs_for_each_metric_and_sets_a_deadline() {
    let rig =
        start(ScaledObject { replicas: 1, min: 1, polling_interval: Duration::from_secs(3600), ..object(3, false) });
    seconds(14.0).await;
    rig.forget_calls();
    seconds(2.0).await;
    let calls: Vec<_> =
        rig.calls().into_iter().map(|Call { method, trigger, .. }| format!("{method} {trigger}")).collect();
    let expected = ["0", "1", "2"].map(|asked| {
        let specs = ["0", "1", "2"].map(|trigger| format!("GetMetricSpec {trigger}"));
        [specs.to_vec(), vec![format!("GetMetrics {asked}"), format!("IsActive {asked}")]].concat()
    });
    assert_eq!(calls, expected.concat());
    assert!(rig.calls().iter().all(|call| call.deadline));
}

// === up and down ===

#[tokio::test(start_paused = true)]
async fn fifty_items_at_the_default_intervals() {
    let rig = start(ScaledObject { polling_interval: Duration::from_secs(30), ..object(1, false) });
    seconds(40.0).await;
    assert_eq!(rig.counts(), [0]);
    let pushed = rig.clock.now();
    rig.set(|script| (script.active, script.value) = (true, 50.0));
    seconds(90.0).await;
    let changes = rig.changes(pushed);
    let [(woken, 1, why), (first, 4, hpa), (_, 8, _), (last, 10, _)] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(
        (why.as_str(), hpa.as_str()),
        ("keda: activated by poll", "hpa: external metric s0-backlog(nil) above target")
    );
    assert!(*woken <= 30_000 && first - woken <= 15_000, "{changes:?}");
    // 30.0 to 30.2 s in all 58 measured trials.
    assert!((30_000..30_200).contains(&(last - first)), "{changes:?}");
}

#[tokio::test(start_paused = true)]
async fn a_push_wakes_at_once_and_false_means_nothing() {
    let rig = start(ScaledObject { polling_interval: Duration::from_secs(3600), ..object(1, true) });
    seconds(10.0).await;
    rig.scaler.push(&Ok(false));
    seconds(1.0).await;
    assert_eq!(rig.counts(), [0]);
    let pushed = rig.clock.now();
    rig.scaler.push(&Ok(true));
    seconds(1.0).await;
    let changes = rig.changes(pushed);
    assert!(matches!(&changes[..], [(..100, 1, why)] if why == "keda: activated by push"), "{changes:?}");
    rig.scaler.push(&Ok(false));
    seconds(100.0).await;
    assert_eq!(rig.replicas(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_contradicts_is_active() {
    let rig = start(ScaledObject { cooldown: Duration::from_secs(20), ..object(1, true) });
    rig.set(|script| script.value = 7.0);
    seconds(12.0).await;
    let pushed = rig.clock.now();
    rig.scaler.push(&Ok(true));
    seconds(40.0).await;
    let changes = rig.changes(pushed);
    let [(_, 1, _), (follows, 2, _), (rests, 0, _)] = &changes[..] else { panic!("{changes:?}") };
    assert!(*follows <= 15_000 && (20_000..=25_100).contains(rests), "{changes:?}");
}

#[tokio::test(start_paused = true)]
async fn after_the_cooldown_it_falls_from_any_count_to_zero_in_one_step() {
    let rig = start(ScaledObject { cooldown: Duration::from_secs(60), ..object(1, false) });
    rig.set(|script| (script.active, script.value) = (true, 500.0));
    seconds(120.0).await;
    assert_eq!(rig.replicas(), 10);
    let emptied = rig.clock.now();
    rig.set(|script| (script.active, script.value) = (false, 0.0));
    seconds(100.0).await;
    let changes = rig.changes(emptied);
    let [(at, 0, why)] = &changes[..] else { panic!("{changes:?}") };
    assert!((55_000..=66_000).contains(at) && why == "keda: deactivated by poll", "{changes:?}");
}

#[tokio::test(start_paused = true)]
async fn an_hpa_that_is_set_to_follow_takes_each_step_at_once() {
    let rig = start(ScaledObject { max: 100, behavior: following(), ..object(1, false) });
    rig.set(|script| (script.active, script.target, script.value) = (true, 1.0, 37.0));
    seconds(20.0).await;
    rig.set(|script| script.value = 38.0);
    seconds(15.0).await;
    rig.set(|script| script.value = 2.0);
    seconds(15.0).await;
    assert_eq!(rig.counts(), [0, 1, 37, 38, 2]);
}

#[tokio::test(start_paused = true)]
async fn replicas_start_up_and_somebody_else_may_scale() {
    let rig = start(ScaledObject { replicas: 3, start_up: Duration::from_secs(20), ..object(1, false) });
    rig.set(|script| (script.active, script.value) = (true, 15.0));
    seconds(11.0).await;
    rig.target.set(&rig.id, 0, "kubectl scale").unwrap();
    seconds(5.0).await;
    // A zero that KEDA did not make is not respected by it while a trigger is active.
    assert_eq!((rig.counts(), rig.target.scale_of(&rig.id).unwrap().ready), (vec![3, 0, 1], 0));
    seconds(60.0).await;
    let scale = rig.target.scale_of(&rig.id).unwrap();
    assert_eq!((scale.replicas, scale.ready), (3, 3));
}

// === errors ===

#[tokio::test(start_paused = true)]
async fn fallback_engages_when_only_get_metrics_or_only_is_active_fails() {
    for fail_metrics in [true, false] {
        let rig = start(ScaledObject { fallback: fallback(3, 6), ..object(1, false) });
        seconds(51.0).await;
        let broken = rig.clock.now();
        rig.forget_calls();
        rig.set(|script| (script.fail_metrics, script.fail_active) = (fail_metrics, !fail_metrics));
        seconds(10.0).await;
        // Each failure is asked again, once.
        let failing = if fail_metrics { "GetMetrics" } else { "IsActive" };
        assert_eq!((rig.count(failing), rig.count("GetMetricSpec"), rig.replicas()), (4, 2, 0));
        seconds(70.0).await;
        let changes = rig.changes(broken);
        let [(woken, 1, _), (_, 4, _), (last, 6, _)] = &changes[..] else { panic!("{changes:?}") };
        // Measured: engaged after 11-20 s, 6 replicas after 42-47 s.
        assert!((11_000..=20_000).contains(woken) && *last <= 50_000, "{changes:?}");
        rig.set(|script| (script.fail_metrics, script.fail_active) = (false, false));
        seconds(60.0).await;
        assert_eq!(rig.replicas(), 6, "until the HPA's window or the cooldown lets them go");
    }
}

#[tokio::test(start_paused = true)]
async fn fallback_never_engages_when_the_scaler_is_down_altogether() {
    for replicas in [0, 2] {
        let rig = start(ScaledObject { fallback: fallback(3, 6), ..object(1, false) });
        rig.set(|script| (script.active, script.value) = (replicas > 0, 10.0));
        seconds(40.0).await;
        assert_eq!(rig.replicas(), replicas);
        rig.forget_calls();
        rig.set(|script| (script.fail_spec, script.fail_metrics, script.fail_active) = (true, true, true));
        seconds(600.0).await;
        assert_eq!((rig.replicas(), rig.count("GetMetrics"), rig.count("IsActive")), (replicas, 0, 0));
        assert!(rig.count("GetMetricSpec") >= 240);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_fallback_errors_freeze_the_replicas() {
    let rig = start(object(1, false));
    rig.set(|script| (script.active, script.value) = (true, 10.0));
    seconds(40.0).await;
    rig.set(|script| script.fail_metrics = true);
    seconds(1200.0).await;
    assert_eq!(rig.counts(), [0, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn nothing_begins_before_a_reconcile_has_succeeded() {
    let rig = start(object(1, true));
    rig.set(|script| (script.active, script.fail_spec) = (true, true));
    seconds(60.0).await;
    assert!(rig.calls().iter().all(|call| call.method == "GetMetricSpec"));
    let before = rig.calls().len();
    assert!((10..=16).contains(&before), "5 ms, doubling: {before}");
    rig.set(|script| script.fail_spec = false);
    seconds(60.0).await;
    assert_eq!((rig.replicas(), rig.scaler.open_streams()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_scaler_that_hangs_stops_the_loop_and_pushes_but_not_the_hpa() {
    let rig = start(object(1, true));
    rig.set(|script| (script.active, script.value) = (true, 5.0));
    seconds(31.0).await;
    rig.set(|script| script.hang = true);
    rig.forget_calls();
    seconds(600.0).await;
    let hanging: Vec<_> = rig.calls().into_iter().filter(|call| call.method == "GetMetrics").collect();
    assert_eq!(hanging.iter().filter(|call| !call.deadline).count(), 1, "the loop's only one");
    assert!(hanging.iter().filter(|call| call.deadline).count() >= 7, "a minute each, and the HPA's period");
    rig.target.set(&rig.id, 0, "kubectl scale").unwrap();
    rig.scaler.push(&Ok(true));
    seconds(60.0).await;
    assert_eq!(rig.replicas(), 0, "the push waits for the loop's lock");
}

// === streams ===

/// Seconds between the openings of streams, rounded.
fn gaps(calls: &[Call]) -> Vec<u64> {
    let opened: Vec<_> = calls.iter().filter(|call| call.method == "StreamIsActive").map(|call| call.at).collect();
    opened.windows(2).map(|pair| (pair[1] - pair[0] + 500) / 1000).collect()
}

#[tokio::test(start_paused = true)]
async fn errors_ratchet_the_wait_up_and_only_a_clean_end_sets_it_back() {
    let rig = start(object(1, true));
    let broken = || Err(Status::unavailable("scripted"));
    let mut ends: VecDeque<_> = (0..7).map(|_| broken()).collect();
    ends.extend([Ok(()), Ok(()), broken()]);
    rig.set(|script| script.end_streams = ends);
    seconds(600.0).await;
    assert_eq!(gaps(&rig.calls()), [2, 4, 8, 16, 32, 60, 60, 2, 2, 4]);
    // A stream that lived for minutes does not count in its own favour: only how it ends does.
    rig.scaler.push(&Err(Status::unavailable("the pod was killed")));
    seconds(60.0).await;
    assert_eq!(rig.scaler.open_streams(), 1);
    rig.forget_calls();
    rig.scaler.push(&Err(Status::unavailable("again")));
    let ended = rig.clock.uptime();
    seconds(60.0).await;
    let reopened = rig.calls().iter().find(|call| call.method == "StreamIsActive").unwrap().at;
    let ended = u64::try_from(ended.as_millis()).unwrap();
    assert_eq!((reopened - ended + 500) / 1000, 16);
    rig.forget_calls();
    rig.scaler.end_streams();
    seconds(5.0).await;
    assert_eq!(rig.count("StreamIsActive"), 1, "2 s after an end with OK");
}

#[tokio::test(start_paused = true)]
async fn deleting_the_object_closes_its_streams_and_stops_the_calls() {
    let rig = start(object(2, true));
    seconds(20.0).await;
    assert_eq!(rig.scaler.open_streams(), 2);
    rig.object.abort();
    seconds(1.0).await;
    rig.forget_calls();
    seconds(120.0).await;
    assert_eq!((rig.calls(), rig.scaler.open_streams()), (vec![], 0));
}
