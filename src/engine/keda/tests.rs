//! One table for each of KEDA's rules.

use super::*;

const QUIET: TriggerPoll = TriggerPoll { spec: Ok(()), metric: Ok(0.0), active: Ok(false) };
const BUSY: TriggerPoll = TriggerPoll { spec: Ok(()), metric: Ok(7.0), active: Ok(true) };

fn at(seconds: u64) -> Tick {
    Tick::from_millis(seconds * 1000)
}

fn workload(replicas: Replicas) -> Workload {
    Workload { replicas, ready: replicas }
}

fn spec() -> KedaSpec {
    KedaSpec::new(vec![KedaTrigger { target: 5.0, metric_type: MetricType::AverageValue }; 2])
}

fn fallback(replicas: Replicas) -> Option<KedaFallback> {
    Some(KedaFallback { failure_threshold: 3, replicas, behavior: KedaFallbackBehavior::Static })
}

#[test]
fn an_active_trigger_wakes_to_the_minimum_and_never_beyond() {
    // (min, idle, current) -> what is set
    let cases = [
        ((0, None, 0), Some(1)),
        ((3, None, 0), Some(3)),
        ((0, None, 1), None),
        ((3, None, 1), None),
        ((3, Some(0), 0), Some(3)),
        ((3, Some(1), 1), Some(3)),
        ((3, Some(1), 3), None),
    ];
    for ((min, idle, current), wanted) in cases {
        let mut keda = KedaExecutor::new(KedaSpec { min, idle, ..spec() }, at(0));
        assert_eq!(keda.on_poll(at(10), workload(current), &[QUIET, BUSY]), wanted, "{min} {idle:?} {current}");
        assert_eq!(keda.last_active(), Some(at(10)));
    }
}

#[test]
fn nothing_active_goes_straight_to_rest_after_the_cooldown() {
    // (min, idle, current, seconds since the last activity) -> what is set
    let cases = [
        ((0, None, 20, 299), None),
        ((0, None, 20, 300), None),
        ((0, None, 20, 301), Some(0)),
        ((0, None, 0, 301), None),
        ((2, None, 20, 301), None),
        ((2, None, 1, 1), Some(2)),
        ((2, Some(0), 20, 301), Some(0)),
        ((2, Some(1), 20, 301), Some(1)),
        ((2, Some(1), 20, 299), None),
        ((2, Some(1), 1, 301), None),
        ((2, Some(1), 0, 301), None),
    ];
    for ((min, idle, current, quiet), wanted) in cases {
        let mut keda = KedaExecutor::new(KedaSpec { min, idle, ..spec() }, at(0));
        keda.on_poll(at(10), workload(5), &[BUSY, QUIET]);
        let set = keda.on_poll(at(10 + quiet), workload(current), &[QUIET, QUIET]);
        assert_eq!(set, wanted, "{min} {idle:?} {current} {quiet}");
    }
}

#[test]
fn what_was_never_active_rests_after_the_initial_cooldown() {
    let mut keda = KedaExecutor::new(spec(), at(100));
    assert_eq!(keda.on_poll(at(100), workload(4), &[QUIET, QUIET]), None);
    assert_eq!(keda.on_poll(at(101), workload(4), &[QUIET, QUIET]), Some(0));

    let patient = KedaSpec { initial_cooldown: Duration::from_secs(60), ..spec() };
    let mut keda = KedaExecutor::new(patient, at(100));
    assert_eq!(keda.on_poll(at(160), workload(4), &[QUIET, QUIET]), None);
    assert_eq!(keda.on_poll(at(161), workload(4), &[QUIET, QUIET]), Some(0));
}

#[test]
fn a_push_wakes_at_once_and_restarts_the_cooldown() {
    let mut keda = KedaExecutor::new(KedaSpec { cooldown: Duration::from_secs(20), ..spec() }, at(0));
    assert_eq!(keda.on_push(at(5), workload(0)), Some(1));
    assert_eq!(keda.on_push(at(10), workload(1)), None);
    assert_eq!(keda.on_poll(at(30), workload(2), &[QUIET, QUIET]), None);
    assert_eq!(keda.on_poll(at(31), workload(2), &[QUIET, QUIET]), Some(0));
}

#[test]
fn forced_activation_is_activity() {
    let mut keda = KedaExecutor::new(KedaSpec { force_activation: true, ..spec() }, at(0));
    assert_eq!(keda.on_poll(at(1), workload(0), &[QUIET, QUIET]), Some(1));
    assert_eq!(keda.on_poll(at(1000), workload(1), &[QUIET, QUIET]), None);
}

#[test]
fn an_error_without_activity_changes_nothing_unless_the_fallback_is_zero() {
    let failed = TriggerPoll::metric_failed();
    let down = TriggerPoll::spec_failed();
    // (fallback, poll) -> what is set, long after any cooldown
    let cases = [
        ((None, failed), None),
        ((None, down), None),
        ((fallback(6), failed), None),
        ((fallback(6), down), None),
        ((fallback(0), failed), Some(0)),
        ((fallback(0), down), Some(0)),
    ];
    for ((fallback, poll), wanted) in cases {
        let mut keda = KedaExecutor::new(KedaSpec { fallback, ..spec() }, at(0));
        assert_eq!(keda.on_poll(at(1000), workload(2), &[QUIET, poll]), wanted, "{fallback:?} {poll:?}");
    }
}

#[test]
fn an_error_beside_activity_is_not_activity_while_replicas_run() {
    let mut keda = KedaExecutor::new(spec(), at(0));
    keda.on_poll(at(10), workload(1), &[BUSY, QUIET]);
    assert_eq!(keda.on_poll(at(20), workload(1), &[BUSY, TriggerPoll::metric_failed()]), None);
    assert_eq!(keda.last_active(), Some(at(10)));
    assert_eq!(keda.on_poll(at(30), workload(0), &[BUSY, TriggerPoll::metric_failed()]), Some(1));
    assert_eq!(keda.last_active(), Some(at(30)));
}

#[test]
fn polls_and_hpa_queries_both_count_and_one_success_forgets() {
    let mut keda = KedaExecutor::new(KedaSpec { fallback: fallback(6), ..spec() }, at(0));
    let failed = TriggerPoll::metric_failed();
    keda.on_poll(at(0), workload(2), &[failed, QUIET]);
    keda.on_poll(at(5), workload(2), &[failed, QUIET]);
    assert_eq!(keda.metric_for_hpa(0, workload(2), &failed), None);
    assert_eq!((keda.failures(0), keda.failures(1), keda.fallback_engaged()), (3, 0, false));
    assert_eq!(keda.metric_for_hpa(0, workload(2), &failed), Some(30.0));
    assert!(keda.fallback_engaged());
    assert_eq!(keda.metric_for_hpa(0, workload(2), &BUSY), Some(7.0));
    assert_eq!((keda.failures(0), keda.fallback_engaged()), (0, false));
}

#[test]
fn a_lost_is_active_counts_as_a_lost_metric_and_a_lost_spec_never_counts() {
    let mut keda = KedaExecutor::new(KedaSpec { fallback: fallback(6), ..spec() }, at(0));
    let no_activity = TriggerPoll { active: Err(CallFailed), ..BUSY };
    assert_eq!(keda.metric_for_hpa(0, workload(2), &no_activity), None);
    assert_eq!(keda.failures(0), 1);
    for _ in 0..9 {
        assert_eq!(keda.metric_for_hpa(0, workload(2), &TriggerPoll::spec_failed()), None);
    }
    assert_eq!(keda.failures(0), 1);
}

#[test]
fn the_fallback_is_activity_and_wakes_from_zero() {
    let mut keda = KedaExecutor::new(KedaSpec { fallback: fallback(6), ..spec() }, at(0));
    let failed = TriggerPoll::metric_failed();
    for second in 0..3 {
        assert_eq!(keda.on_poll(at(second), workload(0), &[failed, QUIET]), None);
    }
    assert_eq!(keda.on_poll(at(3), workload(0), &[failed, QUIET]), Some(1));
    assert_eq!(keda.on_poll(at(4), workload(1), &[failed, QUIET]), None);
    assert_eq!(keda.last_active(), Some(at(4)));
}

#[test]
fn the_injected_metric_asks_for_the_replicas_of_the_fallback() {
    use KedaFallbackBehavior::{CurrentReplicas, CurrentReplicasIfHigher, CurrentReplicasIfLower, Static};
    // (behavior, metric type, current, ready) -> value for target 5 and 6 fallback replicas
    let cases = [
        ((Static, MetricType::AverageValue, 2, 2), Some(30.0)),
        ((Static, MetricType::Value, 10, 10), Some(3.0)),
        ((Static, MetricType::Value, 10, 0), None),
        ((CurrentReplicas, MetricType::AverageValue, 2, 2), Some(10.0)),
        ((CurrentReplicasIfHigher, MetricType::AverageValue, 2, 2), Some(30.0)),
        ((CurrentReplicasIfHigher, MetricType::AverageValue, 8, 8), Some(40.0)),
        ((CurrentReplicasIfLower, MetricType::AverageValue, 2, 2), Some(10.0)),
        ((CurrentReplicasIfLower, MetricType::AverageValue, 8, 8), Some(30.0)),
    ];
    for ((behavior, metric_type, replicas, ready), wanted) in cases {
        let fallback = Some(KedaFallback { failure_threshold: 0, replicas: 6, behavior });
        let triggers = vec![KedaTrigger { target: 5.0, metric_type }];
        let mut keda = KedaExecutor::new(KedaSpec { fallback, ..KedaSpec::new(triggers) }, at(0));
        let value = keda.metric_for_hpa(0, Workload { replicas, ready }, &TriggerPoll::metric_failed());
        assert_eq!(value, wanted, "{behavior:?} {metric_type:?} {replicas} {ready}");
    }
}

#[test]
fn values_keep_three_decimals_on_their_way_to_the_hpa() {
    let cases = [
        (0.0, 0),
        (-2.0, 0),
        (f64::NAN, 0),
        (f64::INFINITY, 0),
        (0.0004, 0),
        (3.7, 3_700),
        (0.1236, 124),
        (1e15, 1_000_000_000_000_000_000),
        (1e16, 0),
    ];
    for (value, milli) in cases {
        assert_eq!(metric_milli(value), milli, "{value}");
    }
}

#[test]
fn the_hpa_of_a_scaled_object_never_has_a_minimum_of_zero() {
    let hpa = spec().hpa_spec(None);
    assert_eq!((hpa.min, hpa.max, hpa.targets), (1, 100, vec![MilliValue(5_000); 2]));
}
