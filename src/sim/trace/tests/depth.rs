//! Reconstructions: what a depth and the workers allow.

use super::super::{Options, Trace};
use super::formats::KEDA;
use super::{S, has_note, imported, refused};

fn counts(trace: &Trace) -> [usize; 3] {
    let band = trace.uncertainty.as_ref().unwrap();
    [band.low.len(), trace.arrivals.len(), band.high.len()]
}

#[test]
fn a_depth_alone_is_refused_with_the_reason() {
    let text = "timestamp,depth\n0,5\n10,5\n";
    let errors = refused(text, &Options::default()).to_string();
    assert!(
        errors.starts_with("t (depth): it is taken for a depth, and a depth alone does not tell arrivals"),
        "{errors}"
    );
    assert!(errors.contains("--replicas and --service"), "{errors}");
    let half = Options { service: Some(1.0), ..Options::default() };
    assert!(refused(text, &half).to_string().contains("with --replicas;"));
    let errors = refused("timestamp,value\n0,5\n10,5\n", &Options::default()).to_string();
    assert!(errors.contains("if it counts arrivals per row, use --column: arrivals=value"), "{errors}");
}

#[test]
fn saturated_workers_tell_what_was_done() {
    // Two replicas, 2 s each: 10 done in 10 s, 8.33 to 12.5 within 20 %.
    let options = Options { replicas: Some(2.0), service: Some(2.0), ..Options::default() };
    let trace = imported("timestamp,depth\n0,5\n10,5\n20,8\n", &options);
    assert_eq!(counts(&trace), [20, 23, 28]);
    assert_eq!(trace.span, 20 * S);
    has_note(&trace, "a service of 2 s, give or take 20 %");
    let sure = Options { service_error: 0.0, slots: 3, ..options };
    assert_eq!(counts(&imported("timestamp,depth\n0,5\n10,5\n", &sure)), [30, 30, 30]);
}

#[test]
fn an_empty_queue_is_told_on_one_side_only() {
    let options = Options { replicas: Some(1.0), service: Some(1.0), service_error: 0.0, ..Options::default() };
    let trace = imported("timestamp,depth\n0,0\n10,0\n20,4\n30,0\n", &options);
    // Nothing to ten; four to fourteen; nothing (all drained what stood there) to six.
    assert_eq!(counts(&trace), [4, 4, 30]);
    has_note(&trace, "for 30 s of 30 s the queue was empty");
}

#[test]
fn recorded_workers_and_gaps() {
    let options = Options { service: Some(1.0), service_error: 0.0, ..Options::default() };
    let text = "timestamp,depth,replicas\n0,9,\n10,9,1\n20,9,2\n30,9,0\n40,9,0\n100,9,1\n110,9,1\n";
    let trace = imported(text, &options);
    // From the second row, 10 and 20, then none; a gap; then 10.
    assert_eq!(counts(&trace), [40, 40, 40]);
    assert_eq!(trace.gaps, [0..10 * S, 40 * S..100 * S]);
    let trace = imported("timestamp,depth,in_flight\n0,0,1\n10,0,1\n20,0,3\n", &options);
    assert_eq!(counts(&trace), [32, 32, 32], "one at work for 10 s, then two for 10 s and two more at work");
}

#[test]
fn what_cannot_have_been_is_told() {
    let options = Options { replicas: Some(1.0), service: Some(10.0), ..Options::default() };
    let trace = imported("timestamp,depth\n0,100\n10,10\n20,10\n", &options);
    has_note(&trace, "fell faster than the workers can have worked in 1 intervals");
    let wrong =
        Options { replicas: Some(-1.0), service: Some(0.0), service_error: 1.0, slots: 0, ..Options::default() };
    assert_eq!(refused("timestamp,depth\n0,1\n10,1\n", &wrong).problems.len(), 4);
}

#[test]
fn what_keda_and_the_deployment_say_is_enough_with_a_service() {
    let only = KEDA.replace("jobs_enqueued_total", "something_else");
    let options = Options { service: Some(1.0), service_error: 0.0, ..Options::default() };
    let trace = imported(&only, &options);
    // 2 more and 10 done; a gap where the depth is NaN; then empty, with two replicas: nothing to twenty.
    assert_eq!(counts(&trace), [12, 12, 32]);
    assert_eq!(trace.gaps, [10 * S..30 * S]);
    has_note(&trace, "`kube_deployment_status_replicas_ready{deployment=\"a\"}` of 1 slots");
}
