//! What queries to a real Prometheus are found to be, alone and together, and what it says to those that are none.

use std::sync::Arc;

use tidegate::model::{FailureKind, Key};
use tidegate::spec::{ConnectionSpec, Freshness, PrometheusQuery, Source};

use crate::rig::{Exporter, FAST, asking, found, prometheus, query};
use crate::support::polling::{PATIENCE, Polling, autoscaler, backlog_of};
use crate::support::prometheus::PrometheusProcess;
use crate::support::web::{Web, wait_until};

/// A Prometheus that has these series.
fn serving(series: &[(&str, f64)]) -> (PrometheusProcess, Arc<ConnectionSpec>, Exporter, Web) {
    let (exporter, web) = Exporter::start(series);
    let server = PrometheusProcess::scraping(&[web.address()]);
    let connection = prometheus(&server.address());
    wait_until("scraped", PATIENCE, || web.asked().iter().any(|asked| asked.method == "GET"));
    // The first samples are there a moment after they were asked for.
    let polling = Polling::start();
    polling.set(
        0,
        &autoscaler("first", FAST, &[(&connection, asking("count({job=\"tests\",__name__!~\"up|scrape_.*\"})"))]),
    );
    polling.until("a first scrape", |sample| backlog_of(sample) == Some(series.len() as f64));
    (server, connection, exporter, web)
}

fn labelled(text: &str, labels: &[(&str, &str)]) -> PrometheusQuery {
    let labels = labels.iter().map(|(name, value)| (Arc::from(*name), Arc::from(*value))).collect();
    PrometheusQuery { labels, ..query(text) }
}

const JOBS: [(&str, f64); 4] =
    [("jobs{queue=\"a\"}", 7.0), ("jobs{queue=\"b\"}", 9.0), ("jobs{queue=\"c\",zone=\"x\"}", 11.0), ("below", -3.0)];

#[test]
fn values_are_what_prometheus_says() {
    let (_server, connection, _exporter, _web) = serving(&JOBS);
    let ignoring = |text: &str| PrometheusQuery { ignore_null_values: true, ..query(text) };
    let cases = [
        (query("jobs{queue=\"a\"}"), 7.0),
        (query("sum(jobs)"), 27.0),
        (query("sum(jobs) # in all"), 27.0),
        (query("scalar(jobs{queue=\"b\"})"), 9.0),
        (query("3 * 14"), 42.0),
        (query("vector(5)"), 5.0),
        (query("max_over_time(jobs{queue=\"a\"}[1m])"), 7.0),
        (query("-below"), 3.0),
        (labelled("jobs", &[("queue", "b")]), 9.0),
        (labelled("jobs", &[("queue", "c"), ("zone", "x")]), 11.0),
        (labelled("jobs", &[("zone", "x")]), 11.0),
        (labelled("sum by (queue) (jobs)", &[("queue", "a")]), 7.0),
        (ignoring("nothing_of_the_kind"), 0.0),
        (ignoring("vector(0) / 0"), 0.0),
        (ignoring("vector(1) / 0"), 0.0),
        (ignoring("jobs{queue=\"a\"}"), 7.0),
    ];
    let queries: Vec<PrometheusQuery> = cases.iter().map(|(query, _)| query.clone()).collect();
    for (found, (query, expected)) in found(&connection, &queries).into_iter().zip(&cases) {
        let found = found.unwrap_or_else(|failure| panic!("{}: {failure}", query.query));
        assert_eq!(found.backlog, *expected, "{}", query.query);
        let knows_age = query.freshness == Freshness::OfSamples && *expected != 0.0;
        assert_eq!(found.age.get().is_some(), knows_age, "{}: {found:?}", query.query);
        assert!(found.age.get().is_none_or(|age| age < 10.0), "{}: {found:?}", query.query);
    }
}

#[test]
fn what_is_no_number_fails_with_its_cure_and_harms_nobody_else() {
    let (_server, connection, _exporter, _web) = serving(&JOBS);
    use FailureKind::{Configuration, Protocol, WrongType};
    let fresh =
        |freshness: &str| PrometheusQuery { freshness: Freshness::Query(freshness.into()), ..query("sum(jobs)") };
    let cases = [
        (query("sum(jobs"), Configuration, "does not understand"),
        (query("sum(jobs)) or (vector(99)"), Configuration, "does not understand"),
        (query("no_such_function(jobs)"), Configuration, "unknown function"),
        (query("jobs{queue=\"a\"}[5m]"), WrongType, "matrix"),
        (query("\"text\""), WrongType, "string"),
        (query("jobs"), WrongType, "3 series where one is wanted"),
        (labelled("jobs", &[("job", "tests")]), WrongType, "3 series"),
        (labelled("jobs", &[("queue", "d")]), Protocol, "found nothing, which is not zero"),
        (query("nothing_of_the_kind"), Protocol, "found nothing, which is not zero"),
        (query("below"), WrongType, "negative"),
        (query("vector(0) / 0"), WrongType, "NaN"),
        (query("1 / 0"), WrongType, "infinite"),
        (query("vector(9007199254740992)"), WrongType, "2^53"),
        (query("sum(jobs) / on() jobs"), Protocol, "could not work"),
        (query("label_replace(jobs, \"queue\", \"x\", \"\", \"\")"), Protocol, "could not work"),
        (fresh("nothing_of_the_kind"), Protocol, "freshnessQuery"),
        (fresh("max(timestamp(jobs)) * 1000"), WrongType, "no time in seconds"),
        (fresh("timestamp(jobs)"), WrongType, "3 series"),
        (fresh("sum("), Configuration, "does not understand"),
    ];
    let right =
        [query("jobs{queue=\"a\"}"), query("sum(jobs)"), fresh("min(timestamp(jobs))"), query("time() * 0 + 4")];
    let mut queries: Vec<PrometheusQuery> = cases.iter().map(|(query, ..)| query.clone()).collect();
    queries.extend(right);
    let found = found(&connection, &queries);
    for ((query, kind, words), found) in cases.iter().zip(&found) {
        let failure = found.as_ref().expect_err(&query.query);
        assert_eq!(failure.kind, *kind, "{}: {failure}", query.query);
        assert!(failure.message.contains(words), "{}: {failure}", query.query);
        assert!(!failure.message.contains("tidegate_query"), "{}: {failure}", query.query);
    }
    let values: Vec<f64> = found[cases.len()..].iter().map(|found| found.as_ref().unwrap().backlog).collect();
    assert_eq!(values, [7.0, 27.0, 27.0, 4.0]);
    assert!(found[cases.len() + 2].as_ref().unwrap().age.get().is_some_and(|age| age < 10.0));
}

/// Whoever shares a server with others must not be able to answer for them.
#[test]
fn nobody_can_answer_for_somebody_else() {
    let (_server, connection, _exporter, _web) = serving(&JOBS);
    let queries = [
        query("jobs{queue=\"a\"}"),
        query("label_replace(vector(99), \"tidegate_query\", \"0000000000000000-0\", \"\", \"\")"),
        query("vector(98)), \"tidegate_query\", \"0000000000000000-0\", \"\", \"\") or ((vector(97)"),
        query("vector(96) # ), \"a\", \"b\", \"\", \"\")"),
    ];
    let found = found(&connection, &queries);
    let values: Vec<Option<f64>> = found.iter().map(|found| found.as_ref().ok().map(|found| found.backlog)).collect();
    assert_eq!(values, [Some(7.0), Some(99.0), None, Some(96.0)]);
}

#[test]
fn hundreds_of_queries_take_a_handful_of_requests() {
    const MANY: usize = 300;
    let series: Vec<String> = (0..MANY).map(|number| format!("jobs{{queue=\"q{number}\"}}")).collect();
    let series: Vec<(&str, f64)> =
        series.iter().enumerate().map(|(number, name)| (name.as_str(), number as f64)).collect();
    let (_server, connection, _exporter, _web) = serving(&series);
    let polling = Polling::start();
    for number in 0..MANY {
        let source = asking(&format!("jobs{{queue=\"q{number}\"}}"));
        polling.set(number as u32, &autoscaler(&format!("a{number}"), FAST * 5, &[(&connection, source)]));
        // And a second autoscaler of the same query, which costs nothing.
        let source = asking(&format!("jobs{{queue=\"q{number}\"}}"));
        polling.set((MANY + number) as u32, &autoscaler(&format!("b{number}"), FAST * 5, &[(&connection, source)]));
    }
    let mut seen = vec![0_usize; 2 * MANY];
    let end = std::time::Instant::now() + PATIENCE;
    while seen.iter().any(|seen| *seen < 3) {
        assert!(std::time::Instant::now() < end, "{:?}", seen.iter().min());
        for sample in polling.batch(PATIENCE).unwrap() {
            let Key(key) = sample.key;
            let found = sample.value.unwrap_or_else(|failure| panic!("{failure}"));
            assert_eq!(found.backlog, f64::from(key % MANY as u32));
            assert!(found.age.get().is_some());
            seen[key as usize] += 1;
        }
    }
    // Each was asked alone at first, for its value and its time; from then on fifty go together.
    let before = polling.metric(&["tidegate_poll_commands_total"]);
    let rounds_before = polling.metric(&["tidegate_poll_rounds_total"]);
    polling.collect(FAST * 20);
    let commands = polling.metric(&["tidegate_poll_commands_total"]) - before;
    let rounds = polling.metric(&["tidegate_poll_rounds_total"]) - rounds_before;
    assert!(rounds >= 2.0 && commands <= 13.0 * rounds, "{commands} requests in {rounds} rounds");
}

#[test]
fn one_answer_serves_many_by_label() {
    let (_server, connection, _exporter, web) = serving(&JOBS);
    let polling = Polling::start();
    for (key, (queue, expected)) in [("a", 7.0), ("b", 9.0), ("c", 11.0)].into_iter().enumerate() {
        let source = Source::PrometheusQuery(labelled("sum by (queue) (jobs)", &[("queue", queue)]));
        polling.set(key as u32, &autoscaler(queue, FAST, &[(&connection, source)]));
        polling.until_backlog(key as u32, expected);
    }
    drop(web);
}
