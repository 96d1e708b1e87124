//! How old values are, while what is scraped comes, goes, hangs and begins anew.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate::model::{FailureKind, Key, Sample};
use tidegate::spec::{Freshness, PrometheusQuery, Source};

use crate::rig::{Exporter, FAST, asking, fails, prometheus, query};
use crate::support::polling::{Polling, autoscaler, backlog_of};
use crate::support::prometheus::PrometheusProcess;
use crate::support::web::Reply;

fn age(sample: &Sample) -> Option<f64> {
    sample.value.as_ref().ok()?.age.get()
}

fn unix_millis() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()
}

#[test]
fn ages_follow_what_is_scraped_through_gaps_and_a_dead_target() {
    let (exporter, web) = Exporter::start(&[("jobs", 5.0)]);
    let server = PrometheusProcess::scraping(&[web.address()]);
    let connection = prometheus(&server.address());
    let polling = Polling::start();
    polling.set(0, &autoscaler("plain", FAST, &[(&connection, asking("jobs"))]));
    let fresh = PrometheusQuery { freshness: Freshness::Query("min(timestamp(jobs))".into()), ..query("sum(jobs)") };
    polling.set(1, &autoscaler("fresh", FAST, &[(&connection, Source::PrometheusQuery(fresh))]));

    // A sample is a second old at most when it is replaced, and seen ever anew until then.
    polling.until_backlog(0, 5.0);
    polling.until_backlog(1, 5.0);
    polling.drain();
    let samples = polling.collect(Duration::from_secs(3));
    let ages: Vec<f64> = samples.iter().filter_map(age).collect();
    assert!(ages.len() > 30, "{samples:?}");
    let (least, most) = ages.iter().fold((f64::MAX, 0.0_f64), |(least, most), age| (least.min(*age), most.max(*age)));
    assert!(least < 0.6 && (0.5..6.0).contains(&most), "from {least} to {most} s");
    exporter.set("jobs", 6.0);
    polling.until_backlog(0, 6.0);

    // A gap: Prometheus itself says that there is nothing, and nothing is not zero.
    web.say(Reply::status(500, "no"));
    fails(&polling, 0, FailureKind::Protocol, &["\"jobs\"", "found nothing, which is not zero"]);
    fails(&polling, 1, FailureKind::Protocol, &["found nothing"]);
    let own = exporter.clone();
    web.script(move |_| own.reply());
    polling.until_backlog(0, 6.0);
    polling.until_backlog(1, 6.0);

    // Samples that bring their own time are not marked as gone: they only grow old.
    exporter.write("stamped", &format!("8 {}", unix_millis()));
    polling.set(2, &autoscaler("stamped", FAST, &[(&connection, asking("stamped"))]));
    let fresh =
        PrometheusQuery { freshness: Freshness::Query("min(timestamp(stamped))".into()), ..query("sum(stamped)") };
    polling.set(3, &autoscaler("their sum", FAST, &[(&connection, Source::PrometheusQuery(fresh))]));
    polling.until_backlog(2, 8.0);
    polling.until_backlog(3, 8.0);
    drop(web);
    for key in [2, 3] {
        let old = polling.until("old", |sample| sample.key == Key(key) && age(sample).is_some_and(|age| age > 4.0));
        assert_eq!(backlog_of(&old), Some(8.0));
    }
    fails(&polling, 0, FailureKind::Protocol, &["found nothing"]);
}

#[test]
fn a_restart_of_prometheus_is_an_outage_and_what_it_then_says_is_old() {
    let (_exporter, web) = Exporter::start(&[("jobs", 5.0)]);
    let mut server = PrometheusProcess::scraping(&[web.address()]);
    let connection = prometheus(&server.address());
    let polling = Polling::start();
    polling.set(0, &autoscaler("plain", FAST, &[(&connection, asking("jobs"))]));
    polling.until_backlog(0, 5.0);
    server.kill();
    fails(&polling, 0, FailureKind::Unreachable, &["refused the connection"]);
    // What it scraped is gone meanwhile, and nobody has marked it as that.
    drop(web);
    std::thread::sleep(Duration::from_secs(2));
    server.restart();
    let sample = polling.until_backlog(0, 5.0);
    assert!(age(&sample).is_some_and(|age| age > 1.5), "{sample:?}");
}

#[test]
fn a_counter_that_begins_anew_makes_no_rate_negative() {
    let (exporter, web) = Exporter::start(&[("done_total", 1_000.0)]);
    let server = PrometheusProcess::scraping(&[web.address()]);
    let connection = prometheus(&server.address());
    let polling = Polling::start();
    polling.set(0, &autoscaler("rate", FAST, &[(&connection, asking("sum(rate(done_total[10s]))"))]));
    polling.set(1, &autoscaler("count", FAST, &[(&connection, asking("done_total"))]));
    polling.until_backlog(1, 1_000.0);
    exporter.set("done_total", 1_010.0);
    polling.until("a rate", |sample| sample.key == Key(0) && backlog_of(sample).is_some_and(|rate| rate > 0.0));
    exporter.set("done_total", 3.0);
    polling.until_backlog(1, 3.0);
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        for sample in polling.batch(Duration::from_secs(1)).unwrap_or_default() {
            let found = sample.value.unwrap_or_else(|failure| panic!("{failure}"));
            assert!((0.0..2_000.0).contains(&found.backlog), "{found:?}");
        }
    }
}
