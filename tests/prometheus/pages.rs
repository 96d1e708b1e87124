//! Pages of one URL, and of pods that come, go and hang.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use tidegate::model::{FailureKind, FoundPods, Measure, Observation, Pod, ReadFailure, Tick};
use tidegate::source::endpoints::Endpoints;
use tidegate::source::prometheus::ScrapeBackend;
use tidegate::source::secrets::Secrets;
use tidegate::source::{Answer, Answers, Backend, Moment, Read};
use tidegate::spec::grants::Fence;
use tidegate::spec::{Combine, MatchOp, PodPort, Pods, PrometheusScrape, Source, Which};

use crate::rig::{Exporter, FAST, fails, metric, page_at, pages_of, scrape};
use crate::support::polling::{Polling, autoscaler};
use crate::support::redis::free_port;
use crate::support::web::{Framing, Reply, Web};

type Observed = Result<Observation, ReadFailure>;

fn pods() -> Pods {
    Pods { namespace: "shop".into(), which: Which::Service("workers".into()), port: PodPort::Number(8080) }
}

fn pod(name: &str, address: &str) -> Pod {
    Pod { name: name.into(), address: address.into() }
}

/// A backend that is asked by hand, so that time is the test's.
struct ByHand {
    backend: ScrapeBackend,
    link: <ScrapeBackend as Backend>::Link,
    batch: <ScrapeBackend as Backend>::Batch,
    reads: usize,
}

impl ByHand {
    async fn new(endpoints: &Endpoints, wanted: &[PrometheusScrape]) -> Self {
        let mut backend = ScrapeBackend::new(pages_of(pods()), Secrets::default(), endpoints.clone());
        let reads: Vec<_> =
            wanted.iter().map(|wanted| backend.track(&Read::Scrape(Arc::new(wanted.clone())))).collect();
        let batch = backend.prepare(&reads);
        let link = backend.connect().await.unwrap();
        ByHand { backend, link, batch, reads: reads.len() }
    }

    /// What all find, so many seconds after the beginning.
    async fn at(&mut self, seconds: u64) -> Vec<Observed> {
        let at = Moment {
            tick: Tick::from_millis(1_000 * (1_000 + seconds)),
            unix_millis: 1_795_705_000_000 + 1_000 * seconds,
        };
        let mut answers = Answers::default();
        self.backend.fetch(&mut self.link, &mut self.batch, at, &mut answers).await.unwrap();
        let answer = |position| match answers.get(position) {
            Some(Answer::Facts(facts)) => Ok(*facts),
            Some(Answer::Failed(failure)) => Err(failure.clone()),
            other => panic!("{other:?}"),
        };
        (0..self.reads).map(answer).collect()
    }
}

fn backlogs(observed: &[Observed]) -> Vec<f64> {
    observed.iter().map(|one| one.as_ref().unwrap_or_else(|failure| panic!("{failure}")).backlog).collect()
}

fn all_combined() -> Vec<PrometheusScrape> {
    [Combine::Sum, Combine::Max, Combine::Avg, Combine::Min].map(|combine| metric("jobs", &[], combine)).into()
}

#[tokio::test]
async fn all_series_of_all_pods_become_one_number() {
    let (_, one) = Exporter::start(&[("jobs{queue=\"a\"}", 1.0), ("jobs{queue=\"b\"}", 2.0)]);
    let (_, two) = Exporter::start(&[("jobs{queue=\"a\"}", 9.0), ("others", 5.0)]);
    let (_, idle) = Exporter::start(&[("others", 3.0)]);
    let endpoints = Endpoints::of_cluster();
    let mut wanted = all_combined();
    wanted.push(metric("jobs", &[("queue", MatchOp::NotEqual, "b")], Combine::Sum));
    wanted.push(metric("others", &[], Combine::Sum));
    wanted.push(metric("jobs", &[("queue", MatchOp::Regex, "c|d")], Combine::Sum));
    wanted.push(metric("job", &[], Combine::Sum));
    let keep = endpoints.watch(&pods());
    let ready = [pod("w-0", &one.address()), pod("w-1", &two.address()), pod("w-2", &idle.address())];
    endpoints.set(&pods(), FoundPods::Ready(ready.into()));
    let mut hand = ByHand::new(&endpoints, &wanted).await;
    let found = hand.at(0).await;
    assert_eq!(backlogs(&found[..6]), [12.0, 9.0, 4.0, 1.0, 10.0, 8.0]);
    let none = found[6].as_ref().unwrap_err();
    assert!(none.message.contains("jobs is there with 3 series, and none of them matches"), "{none}");
    let unknown = found[7].as_ref().unwrap_err();
    assert!(unknown.message.contains("there is no metric job; did you mean jobs"), "{unknown}");
    assert!(unknown.message.contains("the Service shop/workers"), "{unknown}");
    // All reads share one request for each pod, which is kept connected.
    for _ in 0..3 {
        hand.at(1).await;
    }
    for web in [&one, &two, &idle] {
        assert_eq!((web.asked().len(), web.connections()), (4, 1));
    }
    drop(keep);
}

#[tokio::test]
async fn a_pod_that_does_not_answer_is_missing_and_not_zero() {
    let (jobs, one) = Exporter::start(&[("jobs", 4.0)]);
    let (_, two) = Exporter::start(&[("jobs", 10.0)]);
    let endpoints = Endpoints::of_cluster();
    let keep = endpoints.watch(&pods());
    let ready = [pod("w-0", &one.address()), pod("w-1", &two.address())];
    endpoints.set(&pods(), FoundPods::Ready(ready.clone().into()));
    let mut hand = ByHand::new(&endpoints, &all_combined()).await;
    assert_eq!(backlogs(&hand.at(0).await), [14.0, 10.0, 7.0, 4.0]);
    two.say(Reply::status(500, "overloaded"));
    jobs.set("jobs", 6.0);
    let found = hand.at(20).await;
    // What it said last counts, and everything is as old as that.
    assert_eq!(backlogs(&found), [16.0, 10.0, 8.0, 6.0]);
    assert!(found.iter().all(|one| one.as_ref().unwrap().age == Measure::new(20.0)), "{found:?}");
    let found = hand.at(31).await;
    for one in found {
        let failure = one.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotServing);
        assert!(failure.message.contains("the part of pod w-1") && failure.message.contains("overloaded"), "{failure}");
    }
    // Nor does what was no number when it was last seen count as if it had not been there.
    two.say(Reply::page("jobs 10\njobs{queue=\"b\"} NaN\n"));
    let failure = hand.at(50).await.swap_remove(0).unwrap_err();
    assert!(failure.message.contains("pod w-1") && failure.message.contains("NaN"), "{failure}");
    two.say(Reply::status(500, "overloaded"));
    let failure = hand.at(55).await.swap_remove(0).unwrap_err();
    assert!(failure.message.contains("the part of pod w-1"), "{failure}");
    // Who is gone is not missing; who is new and has said nothing is.
    endpoints.set(&pods(), FoundPods::Ready(ready[..1].into()));
    assert_eq!(backlogs(&hand.at(60).await), [6.0; 4]);
    let nobody = pod("w-2", &format!("127.0.0.1:{}", free_port()));
    endpoints.set(&pods(), FoundPods::Ready([ready[0].clone(), nobody].into()));
    let failure = hand.at(61).await.swap_remove(0).unwrap_err();
    assert!(failure.message.contains("the part of pod w-2") && failure.kind == FailureKind::Unreachable, "{failure}");
    one.say(Reply::status(503, "no"));
    let failure = hand.at(80).await.swap_remove(0).unwrap_err();
    assert!(failure.message.contains("none of the 2 pods behind the Service shop/workers answers"), "{failure}");
    endpoints.set(&pods(), FoundPods::Ready([].into()));
    let failure = hand.at(90).await.swap_remove(0).unwrap_err();
    assert!(failure.message.contains("no ready pod") && failure.message.contains("not zero"), "{failure}");
    endpoints.set(&pods(), FoundPods::Missing("there is no Service shop/workers".into()));
    assert_eq!(&*hand.at(91).await.swap_remove(0).unwrap_err().message, "there is no Service shop/workers");
    drop(keep);
}

#[tokio::test]
async fn values_that_nothing_can_be_scaled_by_name_the_pod_and_the_series() {
    let (jobs, one) = Exporter::start(&[("jobs{queue=\"a\"}", 4.0), ("fine", 1.0)]);
    let endpoints = Endpoints::of_cluster();
    let keep = endpoints.watch(&pods());
    endpoints.set(&pods(), FoundPods::Ready([pod("w-0", &one.address())].into()));
    let wanted = [metric("jobs", &[], Combine::Sum), metric("fine", &[], Combine::Sum)];
    let mut hand = ByHand::new(&endpoints, &wanted).await;
    for (text, words) in [("NaN", "NaN"), ("+Inf", "infinite"), ("-1", "negative"), ("1e16", "2^53")] {
        jobs.write("jobs{queue=\"a\"}", text);
        let found = hand.at(0).await;
        let failure = found[0].as_ref().unwrap_err();
        assert!(failure.message.contains("pod w-0") && failure.message.contains("jobs{queue=\"a\"}"), "{failure}");
        assert!(failure.message.contains(words), "{failure}");
        assert_eq!(backlogs(&found[1..]), [1.0]);
    }
    // A time of its own is an age; a broken line of the metric makes the pod one that says nothing.
    jobs.write("jobs{queue=\"a\"}", "3 1795704995000");
    assert_eq!(hand.at(0).await[0].as_ref().unwrap().age, Measure::new(5.0));
    jobs.write("jobs{queue=\"a\"}", "three");
    let failure = hand.at(60).await.swap_remove(1).unwrap_err();
    assert!(failure.message.contains("line 2 of the page is broken: the value is no number"), "{failure}");
    drop(keep);
}

#[tokio::test]
async fn pods_beyond_the_fence_are_not_asked_and_outside_a_cluster_there_are_none() {
    let (_, one) = Exporter::start(&[("jobs", 4.0)]);
    let failure = ScrapeBackend::new(pages_of(pods()), Secrets::default(), Endpoints::default()).connect().await;
    let failure = failure.map(|_| ()).unwrap_err();
    assert!(failure.message.contains("--target kubernetes"), "{failure}");
    let endpoints = Endpoints::of_cluster();
    let keep = endpoints.watch(&pods());
    endpoints.set(&pods(), FoundPods::Ready([pod("w-0", &one.address())].into()));
    let mut hand = ByHand::new(&endpoints, &all_combined()).await;
    hand.backend = ScrapeBackend::new(pages_of(pods()), Secrets::default(), endpoints.clone())
        .behind(Fence::new(Some(&["10.0.0.1:80".to_owned()])));
    let read = hand.backend.track(&Read::Scrape(Arc::new(metric("jobs", &[], Combine::Sum))));
    hand.batch = hand.backend.prepare(&[read]);
    hand.link = hand.backend.connect().await.unwrap();
    hand.reads = 1;
    let failure = hand.at(0).await.swap_remove(0).unwrap_err();
    assert!(failure.message.contains("--only-addresses"), "{failure}");
    assert_eq!(one.connections(), 0);
    drop(keep);
}

#[tokio::test]
async fn many_pods_are_asked_at_once() {
    const MANY: usize = 100;
    let slow = |_: &_| {
        std::thread::sleep(Duration::from_millis(100));
        Reply::page("jobs 1\n")
    };
    let webs: Vec<Web> = (0..MANY).map(|_| Web::start(slow)).collect();
    let endpoints = Endpoints::of_cluster();
    let keep = endpoints.watch(&pods());
    let ready = webs.iter().enumerate().map(|(number, web)| pod(&format!("w-{number}"), &web.address()));
    endpoints.set(&pods(), FoundPods::Ready(ready.collect()));
    let mut hand = ByHand::new(&endpoints, &all_combined()).await;
    let began = std::time::Instant::now();
    assert_eq!(backlogs(&hand.at(0).await), [MANY as f64, 1.0, 1.0, 1.0]);
    // Two turns of 64; one after the other they would take ten seconds.
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    poll_fn(|_| std::task::Poll::Ready(())).await;
    drop(keep);
}

#[test]
fn one_page_is_read_in_either_format_and_packed() {
    let openmetrics = "# TYPE jobs gauge\njobs{queue=\"a\"} 3 1795705000.5 # {trace_id=\"x\"} 1\njobs 4\n# EOF\n";
    let openmetrics = Reply::of("application/openmetrics-text; version=1.0.0; charset=utf-8", openmetrics);
    let text = Reply::page("# TYPE jobs gauge\njobs{queue=\"a\"} 3\njobs 4\n");
    let web = Web::saying(text.clone());
    let polling = Polling::start();
    let jobs = Source::PrometheusScrape(metric("jobs", &[], Combine::Sum));
    polling.set(0, &autoscaler("a", FAST, &[(&page_at(&web.address()), jobs)]));
    polling.until_backlog(0, 7.0);
    let asked = web.asked();
    let first = asked.first().unwrap();
    assert_eq!((first.method.as_str(), first.path.as_str()), ("GET", "/metrics"));
    assert_eq!(first.header("accept-encoding"), Some("gzip"));
    assert!(first.header("accept").unwrap().contains("application/openmetrics-text"));
    for (number, reply) in [
        openmetrics.clone(),
        openmetrics.clone().packed(),
        text.clone().packed(),
        text.clone().framed(Framing::Chunked),
        text.packed().framed(Framing::Chunked),
        openmetrics.framed(Framing::Close),
    ]
    .into_iter()
    .enumerate()
    {
        web.say(Reply::status(500, "between"));
        fails(&polling, 0, FailureKind::NotServing, &["between"]);
        web.say(reply);
        let sample = polling.until_backlog(0, 7.0);
        assert!(sample.value.is_ok(), "{number}");
    }
}

#[test]
fn pods_come_and_go_while_they_are_polled() {
    let (_, one) = Exporter::start(&[("jobs", 1.0)]);
    let (_, two) = Exporter::start(&[("jobs", 2.0)]);
    let endpoints = Endpoints::of_cluster();
    let polling = Polling::start_with(|poller| poller.with_endpoints(endpoints.clone()));
    let connection = scrape(pages_of(pods()));
    let jobs = Source::PrometheusScrape(metric("jobs", &[], Combine::Sum));
    polling.set(0, &autoscaler("a", FAST, &[(&connection, jobs)]));
    fails(&polling, 0, FailureKind::NotServing, &["not yet said which pods"]);
    assert_eq!(endpoints.wanted().into_iter().map(|(pods, _)| pods).collect::<Vec<_>>(), [pods()]);
    for (ready, sum) in [
        (vec![pod("w-0", &one.address())], 1.0),
        (vec![pod("w-0", &one.address()), pod("w-1", &two.address())], 3.0),
        (vec![pod("w-1", &two.address())], 2.0),
    ] {
        endpoints.set(&pods(), FoundPods::Ready(ready.into()));
        polling.until_backlog(0, sum);
    }
    assert_eq!((one.connections(), two.connections()), (1, 1));
    polling.remove(0);
    crate::support::web::wait_until("nobody wants them", Duration::from_secs(10), || endpoints.wanted().is_empty());
}
