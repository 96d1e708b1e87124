//! Servers that answer with everything but what was asked for: what their own autoscalers are told, that nobody else
//! notices, and that they are back as soon as the server is.

use std::time::{Duration, Instant};

use tidegate::model::{FailureKind, Key};
use tidegate::spec::{Combine, Source};

use crate::rig::{Exporter, FAST, asking, fails, metric, page_at, prometheus};
use crate::support::polling::{Polling, autoscaler};
use crate::support::web::{Asked, Framing, Reply, Web};

const ANSWER: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1795705000,"4"]}]}}"#;
const PAGE: &str = "jobs 4\n";

/// A fault, and what is said of it.
type Fault = (&'static str, Reply, FailureKind, &'static [&'static str]);

/// What breaks either kind of answer; `good` is a right one.
fn faults(good: &Reply) -> Vec<Fault> {
    use FailureKind::{Authentication, Configuration, NotServing, PermissionDenied, Protocol, Timeout, Unreachable};
    let html = "<!DOCTYPE html>\n<html><body>Please log in</body></html>";
    let nine = vec![b'#'; 9 << 20];
    let bomb = Reply { body: vec![b' '; 65 << 20], ..good.clone() }.packed();
    let wrong = good.clone().with("Content-Encoding", "gzip");
    let cut = good.clone().packed();
    let cut = Reply { body: cut.body[..cut.body.len() - 6].to_vec(), ..cut };
    vec![
        ("500", Reply::status(500, "out of memory"), NotServing, &["500", "out of memory"]),
        ("503", Reply::status(503, ""), NotServing, &["503"]),
        ("401", Reply::status(401, "token planted-x expired"), Authentication, &["does not accept our login"]),
        ("403", Reply::status(403, "no"), PermissionDenied, &["does not allow"]),
        ("404", Reply::status(404, "404 page not found"), Configuration, &["nothing at this path"]),
        ("429", Reply::status(429, "slow down"), NotServing, &["more often than it allows"]),
        (
            "redirect",
            Reply::status(302, "").with("Location", "https://login.example.com/?token=planted-x"),
            Configuration,
            &["sends us elsewhere", "https://login.example.com/"],
        ),
        ("html", Reply::of("text/html", html), Protocol, &["web page (HTML)"]),
        ("html that says it is not", Reply { body: html.into(), ..good.clone() }, Protocol, &["web page (HTML)"]),
        ("half a body", good.clone().cut(good.body.len() / 2), Unreachable, &["in the middle of its answer"]),
        (
            "half a body in chunks",
            good.clone().framed(Framing::Chunked).cut(good.body.len() / 2),
            Unreachable,
            &["in the middle of its answer"],
        ),
        ("nine megabytes", Reply { body: nine.clone(), ..good.clone() }, Protocol, &["more than 8 MiB"]),
        (
            "nine megabytes in chunks",
            Reply { body: nine, ..good.clone() }.framed(Framing::Chunked),
            Protocol,
            &["more than 8 MiB"],
        ),
        ("a bomb", bomb, Protocol, &["more than 64 MiB", "unpacked"]),
        ("wrong gzip", wrong, Protocol, &["says that its answer is gzip"]),
        ("half of a gzip", cut, Protocol, &["says that its answer is gzip"]),
        ("other packing", good.clone().with("Content-Encoding", "br"), Protocol, &["not asked for", "br"]),
        ("not HTTP", Reply::raw(b"-ERR unknown command 'GET'\r\n"), Protocol, &["not HTTP"]),
        ("no answer", Reply::silent(), Timeout, &["responseTimeout"]),
        ("a closed door", Reply::raw(b""), Unreachable, &["closed the connection"]),
    ]
}

/// Goes through all faults of `broken`, with the right answer between any two of them, while a neighbour on another server
/// is polled.
fn suffer(source: &Source, connect: fn(&str) -> std::sync::Arc<tidegate::spec::ConnectionSpec>, good: &Reply) {
    let broken = Web::saying(good.clone());
    let (_, sound) = Exporter::start(&[("jobs", 9.0)]);
    let polling = Polling::start();
    let jobs = Source::PrometheusScrape(metric("jobs", &[], Combine::Sum));
    polling.set(0, &autoscaler("broken", FAST, &[(&connect(&broken.address()), source.clone())]));
    polling.set(1, &autoscaler("neighbour", FAST, &[(&page_at(&sound.address()), jobs)]));
    polling.until_backlog(0, 4.0);
    polling.until_backlog(1, 9.0);
    for (name, reply, kind, words) in faults(good) {
        println!("{name}");
        polling.drain();
        let began = Instant::now();
        broken.say(reply);
        let sentence = fails(&polling, 0, kind, words);
        assert!(!sentence.contains("planted"), "{name}: {sentence}");
        assert!(sentence.contains(&broken.address()), "{name}: {sentence}");
        // As long as it lasts, and it is a failure every time.
        let samples = polling.collect(Duration::from_millis(600));
        let own = samples.iter().filter(|sample| sample.key == Key(0));
        assert!(own.clone().all(|sample| sample.value.is_err()), "{name}: {samples:?}");
        let neighbours: Vec<_> = samples.iter().filter(|sample| sample.key == Key(1)).collect();
        assert!(neighbours.len() >= 3 && neighbours.iter().all(|sample| sample.value.is_ok()), "{name}: {samples:?}");
        broken.say(good.clone());
        let healed = Instant::now();
        polling.until_backlog(0, 4.0);
        // Whoever took too long rests for a while, and a lost connection is tried again ever more seldom.
        assert!(
            healed.elapsed() < Duration::from_secs(10),
            "{name}: {:?} after {:?}",
            healed.elapsed(),
            began.elapsed()
        );
    }
    assert!(!polling.log().contains("planted"));
}

#[test]
fn a_prometheus_that_misbehaves_costs_its_own_their_freshness_and_nobody_else_anything() {
    suffer(&asking("sum(jobs)"), prometheus, &Reply::json(ANSWER));
}

#[test]
fn an_exporter_that_misbehaves_costs_its_own_their_freshness_and_nobody_else_anything() {
    let jobs = Source::PrometheusScrape(metric("jobs", &[], Combine::Sum));
    suffer(&jobs, page_at, &Reply::page(PAGE));
}

#[test]
fn connections_that_are_closed_while_idle_are_no_failure() {
    let web = Web::saying(Reply::page(PAGE).closing());
    let polling = Polling::start();
    let jobs = Source::PrometheusScrape(metric("jobs", &[], Combine::Sum));
    polling.set(0, &autoscaler("a", FAST, &[(&page_at(&web.address()), jobs)]));
    polling.until_backlog(0, 4.0);
    let samples = polling.collect(Duration::from_secs(2));
    assert!(samples.len() >= 10 && samples.iter().all(|sample| sample.value.is_ok()), "{samples:?}");
    assert!(web.connections() >= 10);
    // Once only: who closes without answering anything is a failure.
    web.say(Reply::raw(b""));
    fails(&polling, 0, FailureKind::Unreachable, &["closed the connection"]);
}

#[test]
fn a_query_that_takes_too_long_keeps_the_others_waiting_once() {
    let slow = |asked: &Asked| {
        if asked.body.contains("slow") {
            return Reply::silent();
        }
        Reply::json(ANSWER)
    };
    let web = Web::start(slow);
    let connection = prometheus(&web.address());
    let polling = Polling::start();
    polling.set(0, &autoscaler("slow", FAST, &[(&connection, asking("sum(slow)"))]));
    polling.set(1, &autoscaler("fast", FAST, &[(&connection, asking("sum(jobs)"))]));
    fails(&polling, 0, FailureKind::Timeout, &["responseTimeout", "not asked again for 2 s"]);
    polling.until_backlog(1, 4.0);
    polling.drain();
    let samples = polling.collect(Duration::from_millis(1_500));
    let fast = samples.iter().filter(|sample| sample.key == Key(1) && sample.value.is_ok()).count();
    let told = samples.iter().filter(|sample| sample.key == Key(0) && sample.value.is_err()).count();
    assert!(fast >= 8 && told >= 8, "{samples:?}");
}
