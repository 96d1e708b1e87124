//! Answers of monitoring systems, and plain counts.

use super::super::{Format, Options, Role, Spread};
use super::{S, has_note, imported, mapped, refused, tenths};

pub(super) const KEDA: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[
  {"metric":{"__name__":"keda_scaler_metrics_value","scaledObject":"a"},
   "values":[[1700000000,"4"],[1700000010,"6"],[1700000020,"NaN"],[1700000030,"0"],[1700000040,"0"]]},
  {"metric":{"__name__":"kube_deployment_status_replicas_ready","deployment":"a"},
   "values":[[1700000000,"1"],[1700000010,"1"],[1700000020,"2"],[1700000030,"2"],[1700000040,"2"]]},
  {"metric":{"__name__":"kube_horizontalpodautoscaler_status_desired_replicas"},
   "values":[[1700000000,"1"],[1700000010,"2"]]},
  {"metric":{"__name__":"jobs_enqueued_total","pod":"p1"},
   "values":[[1700000000,"10"],[1700000010,"12"],[1700000030,"15"],[1700000040,"16"]]}]}}"#;

pub(super) const SQS: &str = r#"{"MetricDataResults":[
  {"Id":"m1","Label":"NumberOfMessagesSent","Timestamps":["2026-01-31T12:10:00+00:00","2026-01-31T12:05:00+00:00","2026-01-31T12:00:00+00:00"],"Values":[1.0,0.0,2.0],"StatusCode":"Complete"},
  {"Id":"m2","Label":"q ApproximateNumberOfMessagesVisible","Timestamps":["2026-01-31T12:00:00+00:00"],"Values":[3.0],"StatusCode":"PartialData"},
  {"Id":"m3","Label":"ApproximateAgeOfOldestMessage","Timestamps":[],"Values":[],"StatusCode":"Complete"}],"Messages":[]}"#;

#[test]
fn prometheus_by_well_known_names() {
    let trace = imported(KEDA, &Options::default());
    assert_eq!(trace.origin, Format::Prometheus);
    assert_eq!(trace.arrivals, tenths(&[25, 75, 350]));
    assert_eq!(trace.gaps, [10 * S..30 * S], "a step that is missing is a gap, whatever the counter says after it");
    assert_eq!(trace.span, 40 * S);
    assert_eq!(trace.depth, Some(vec![(0, 4.0), (10 * S, 6.0), (30 * S, 0.0), (40 * S, 0.0)]));
    assert_eq!(trace.replicas.as_ref().map(Vec::len), Some(5));
    has_note(&trace, "series left out: `kube_horizontalpodautoscaler_status_desired_replicas`");
    has_note(&trace, "grew by 3 in gaps");
}

#[test]
fn prometheus_by_mapping() {
    let text = r#"[{"metric":{},"values":[[1700000010,"0.2"],[1700000020,"0.1"]]},
                   {"metric":{"__name__":"x","pod":"a"},"values":[[1700000000,"5"],[1700000010,"7"],[1700000020,"1"]]},
                   {"metric":{"__name__":"x","pod":"b"},"values":[[1700000010,"70"],[1700000020,"71"]]}]"#;
    for nameless in ["#1", "{}"] {
        let trace = imported(text, &mapped(&[(Role::Rate, nameless)]));
        assert_eq!(trace.arrivals, tenths(&[25, 75, 150]), "the range of rate() ends at its time");
    }
    let one = imported(text, &mapped(&[(Role::Enqueued, "x{pod=\"a\"}")]));
    assert_eq!(one.arrivals, tenths(&[25, 75, 150]));
    let all = imported(text, &mapped(&[(Role::Enqueued, "x")]));
    assert_eq!(all.arrivals, tenths(&[25, 75, 125, 175]), "a pod that appears does not bring its past");
    has_note(&all, "2 series are added up to enqueued");
    let errors = refused(text, &mapped(&[(Role::Enqueued, "y")])).to_string();
    assert!(errors.contains("there is no series `y`") && errors.contains("`x{pod=\"b\"}`"), "{errors}");
    let errors = refused(text, &Options::default()).to_string();
    assert!(errors.contains("what its 3 series are is not told by their names"), "{errors}");
}

#[test]
fn prometheus_answers_after_each_other() {
    let answer = |name: &str, values: &str| {
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"{name}"}},"values":{values}}}]}}}}"#
        )
    };
    let text = answer("celery_queue_length", r#"[[1700000000,"0"],[1700000010,"1"]]"#)
        + "\n"
        + &answer("tasks_processed_total", r#"[[1700000000,"0"],[1700000010,"1"]]"#);
    assert_eq!(imported(&text, &Options::default()).arrivals, tenths(&[25, 75]));
}

#[test]
fn prometheus_without_samples() {
    let error = r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\""}"#;
    assert_eq!(
        refused(error, &Options::default()).to_string(),
        "t: the answer is an error (bad_data): invalid parameter \"query\"; correct the query and export again"
    );
    for (text, part) in [
        (r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#, "`vector`, one moment"),
        (r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#, "the answer has no series"),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,2"#,
            "no answer of query_range: EOF",
        ),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1700000000,"x"]]}]}}"#,
            "`x` is no number",
        ),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"llen"},"values":[[17,"1"],[18,"-1"]]}]}}"#,
            "(llen): the time 17 is outside",
        ),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"llen","q":"a"},"values":[]},{"metric":{"__name__":"llen","q":"b"},"values":[]}]}}"#,
            "2 series could each be the depth: `llen{q=\"a\"}`",
        ),
    ] {
        let errors = refused(text, &Options::default()).to_string();
        assert!(errors.contains(part), "{errors}");
    }
}

#[test]
fn cloudwatch() {
    let trace = imported(SQS, &Options::default());
    assert_eq!(trace.origin, Format::CloudWatch);
    assert_eq!(trace.arrivals, [75 * S, 225 * S, 750 * S]);
    assert_eq!(trace.span, 900 * S);
    assert_eq!(trace.depth, Some(vec![(0, 3.0)]));
    has_note(&trace, "`q ApproximateNumberOfMessagesVisible` is not complete (StatusCode PartialData)");
}

#[test]
fn cloudwatch_from_what_was_deleted() {
    let metric = |label: &str, values: &str| {
        format!(r#"{{"Id":"x","Label":"{label}","Timestamps":[1769860800,1769860860,1769860920],"Values":{values}}}"#)
    };
    let metrics = [
        metric("NumberOfMessagesDeleted", "[1,0,0]"),
        metric("ApproximateNumberOfMessagesVisible", "[0,1,1]"),
        metric("ApproximateNumberOfMessagesNotVisible", "[0,0,1]"),
    ];
    let text = format!(r#"{{"MetricDataResults":[{}]}}"#, metrics.join(","));
    let trace = imported(&text, &Options::default());
    assert_eq!(trace.arrivals, [15 * S, 45 * S, 90 * S]);
    has_note(&trace, "completions, and the changes of `ApproximateNumberOfMessagesVisible`");
    let errors = refused(
        r#"{"MetricDataResults":[{"Id":"a","Label":"sent","Timestamps":[1],"Values":[]}]}"#,
        &Options::default(),
    );
    assert!(errors.to_string().starts_with("t (sent): it has 1 timestamps and 0 values"), "{errors}");
}

#[test]
fn counts() {
    let trace = imported("# arrivals per second\n2 0\n1.0\t4\n", &Options::default());
    assert_eq!(trace.origin, Format::Counts);
    assert_eq!(
        trace.arrivals,
        [S / 4, 3 * S / 4, 5 * S / 2, 3_125_000_000, 3_375_000_000, 3_625_000_000, 3_875_000_000]
    );
    assert_eq!(trace.span, 4 * S);
    let minutes = imported("1\n3\n", &Options { bin: Some(60 * S), ..Options::default() });
    assert_eq!(minutes.arrivals, [30 * S, 70 * S, 90 * S, 110 * S]);
    let random = imported("3\n", &Options { spread: Spread::Random { seed: 7 }, ..Options::default() });
    assert_eq!(random.arrivals.len(), 3);
    let thirds = imported("3\n", &Options { bin: Some(10), ..Options::default() });
    assert_eq!(thirds.arrivals, [1, 5, 8], "10/6, 30/6 and 50/6, rounded down");
    assert_eq!(
        refused("1 -2\n3 x\n2.5\n", &Options { format: Some(Format::Counts), ..Options::default() }).to_string(),
        "t:1: `-2` is a negative count; nothing that came is 0\n\
         t:2: `x` is no whole number; write the number of arrivals in each bin, between blanks or line ends\n\
         t:3: `2.5` is no whole number; write the number of arrivals in each bin, between blanks or line ends"
    );
}
