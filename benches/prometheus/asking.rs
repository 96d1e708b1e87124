//! Asking: ours, the whole way from the schedule to the samples, and a bare client beside it.

use std::fmt::Write as _;
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tidegate::clock::Clock;
use tidegate::model::{FoundPods, Key, Pod, Sample};
use tidegate::poller::Poller;
use tidegate::source::endpoints::Endpoints;
use tidegate::source::memory::MemoryQueues;
use tidegate::source::prometheus::forms;
use tidegate::spec::{
    AutoscalerSpec, Change, Combine, ConnectionSpec, Freshness, HttpServer, HttpUrl, PodPort, Pods, PrometheusQuery,
    PrometheusScrape, ScrapeServer, Server, Source, Which,
};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use crate::support::polling::autoscaler;
use crate::support::prometheus::PrometheusProcess;
use crate::support::web::{Reply, Web, wait_until};
use crate::{Goals, Pace};

const SECOND: Duration = Duration::from_secs(1);
/// What goes before measuring: first rounds are others than those after them.
const WARM: Duration = Duration::from_secs(4);
/// How much of the bare client's CPU ours may take, for each answer or page.
const QUERIES: f64 = 4.0;
const PAGES: f64 = 2.5;
/// Metrics wanted of each page.
const METRICS: [&str; 10] = [
    "node_load1",
    "node_load5",
    "node_load15",
    "node_procs_running",
    "node_procs_blocked",
    "node_memory_MemFree_bytes",
    "node_memory_Cached_bytes",
    "node_context_switches_total",
    "node_forks_total",
    "node_entropy_available_bits",
];

fn http(address: &str, path: &str) -> HttpServer {
    HttpServer {
        url: HttpUrl { encrypted: false, address: address.to_owned(), path: path.to_owned() },
        username: None,
        password: None,
        headers: Vec::new(),
        tls: None,
        connect_timeout: SECOND * 5,
        response_timeout: SECOND * 5,
    }
}

pub fn queries(pace: &Pace, goals: &mut Goals) {
    let mut page = String::new();
    for number in 0..pace.autoscalers {
        let _ = writeln!(page, "jobs{{queue=\"q{number}\",team=\"t{}\"}} {number}", number % 50);
    }
    let exporter = Web::saying(Reply::page(&page));
    let server = PrometheusProcess::scraping(&[exporter.address()]);
    // It looks at what there is to scrape only some seconds after its start.
    wait_until("scraped", SECOND * 30, || exporter.asked().iter().any(|asked| asked.method == "GET"));
    std::thread::sleep(SECOND * 2);
    let query = |number: usize| PrometheusQuery {
        query: format!("sum(jobs{{queue=\"q{number}\"}})").into(),
        labels: Vec::new(),
        freshness: Freshness::Unknown,
        ignore_null_values: false,
    };
    let wanted: Vec<PrometheusQuery> = (0..pace.autoscalers).map(query).collect();
    let spec = ConnectionSpec { name: "prometheus".into(), server: Server::Prometheus(http(&server.address(), "")) };
    let connection = Arc::new(spec);
    let specs: Vec<Arc<AutoscalerSpec>> = wanted
        .iter()
        .enumerate()
        .map(|(number, query)| {
            autoscaler(&format!("a{number}"), SECOND, &[(&connection, Source::PrometheusQuery(query.clone()))])
        })
        .collect();
    let before = server_cpu(server.pid());
    let ours = ours(pace, &specs, Endpoints::default());
    let during = server_cpu(server.pid());
    let forms = forms(&wanted, SECOND * 5);
    let bare = bare(pace, &[server.address()], &forms, "/api/v1/query");
    let after = server_cpu(server.pid());
    let seconds = (pace.asking + WARM).as_secs_f64();
    println!("{} queries in {} requests a second", wanted.len(), forms.len());
    let each = ours.cpu * 1e6 / ours.answers;
    let bare_each = bare.cpu * 1e6 / (bare.answers / forms.len() as f64 * wanted.len() as f64);
    println!(
        "ours  {each:>7.2} us of CPU a sample   {:>5.1} ms a second   server {:>5.1} ms a second",
        ours.cpu * 1e3 / ours.seconds,
        (during - before) * 1e3 / seconds
    );
    println!(
        "bare  {bare_each:>7.2} us of CPU a sample   {:>5.1} ms a second   server {:>5.1} ms a second",
        bare.cpu * 1e3 / bare.seconds,
        (after - during) * 1e3 / seconds
    );
    goals.add("1,000 queries at 1 Hz: CPU a sample beside a bare client's", each / bare_each, QUERIES);
    goals.add(
        "the same, in ms of CPU a second for each 1,000 queries",
        ours.cpu * 1e3 / ours.seconds * 1e3 / wanted.len() as f64,
        20.0,
    );
}

pub fn pages(pace: &Pace, goals: &mut Goals) {
    let page = include_str!("../../tests/corpus/exposition/node.txt");
    for (kind, reply) in [("plain", Reply::page(page)), ("packed", Reply::page(page).packed())] {
        let size = reply.body.len();
        let webs: Vec<Web> = (0..pace.pods).map(|_| Web::saying(reply.clone())).collect();
        let endpoints = Endpoints::of_cluster();
        let pods = Pods { namespace: "n".into(), which: Which::Service("workers".into()), port: PodPort::Number(1) };
        let _need = endpoints.watch(&pods);
        let ready: Vec<Pod> = webs
            .iter()
            .enumerate()
            .map(|(number, web)| Pod { name: format!("w-{number}").into(), address: web.address().into() })
            .collect();
        endpoints.set(&pods, FoundPods::Ready(ready.into()));
        let server = Server::Scrape(ScrapeServer { http: http("", "/metrics"), pods: Some(pods) });
        let connection = Arc::new(ConnectionSpec { name: "pods".into(), server });
        let specs: Vec<Arc<AutoscalerSpec>> = METRICS
            .iter()
            .map(|metric| {
                let scrape = PrometheusScrape { metric: (*metric).into(), matchers: Vec::new(), combine: Combine::Sum };
                autoscaler(metric, SECOND, &[(&connection, Source::PrometheusScrape(scrape))])
            })
            .collect();
        let ours = ours(pace, &specs, endpoints);
        let addresses: Vec<String> = webs.iter().map(Web::address).collect();
        let bare = bare(pace, &addresses, &[Bytes::new()], "/metrics");
        // Each round of ours reads all pods, for all metrics.
        let each = ours.cpu * 1e6 / (ours.answers / METRICS.len() as f64 * webs.len() as f64);
        let bare_each = bare.cpu * 1e6 / bare.answers;
        println!("{kind}: {} pods, {size} bytes, {} metrics of each", webs.len(), METRICS.len());
        println!("ours  {each:>7.1} us of CPU a page   {:>5.1} ms a second", ours.cpu * 1e3 / ours.seconds);
        println!("bare  {bare_each:>7.1} us of CPU a page   {:>5.1} ms a second", bare.cpu * 1e3 / bare.seconds);
        goals.add(&format!("100 pods at 1 Hz, {kind}: CPU a page beside a bare client's"), each / bare_each, PAGES);
    }
}

struct Turn {
    /// Of the thread, seconds.
    cpu: f64,
    seconds: f64,
    answers: f64,
}

/// The poller on a thread of its own.
fn ours(pace: &Pace, specs: &[Arc<AutoscalerSpec>], endpoints: Endpoints) -> Turn {
    let clock = Clock::start();
    let work = async {
        let (changes, inbox) = mpsc::unbounded_channel();
        let (samples, mut outbox) = mpsc::channel::<Vec<Sample>>(64);
        let poller = Poller::new(clock, samples, MemoryQueues::new()).with_endpoints(endpoints);
        let poller = tokio::spawn(poller.run(inbox));
        for (key, spec) in (0..).zip(specs) {
            changes.send(Change::Set(Key(key), Arc::clone(spec))).unwrap();
        }
        let mut count = async |span: Duration| {
            let (end, mut answers) = (clock.now().after(span), 0_usize);
            while clock.now() < end {
                let patience = end.since(clock.now());
                let Ok(batch) = tokio::time::timeout(patience, outbox.recv()).await else { break };
                // A scrape that a busy machine missed is a failed sample, and no less work.
                answers += batch.unwrap().len();
            }
            answers
        };
        count(WARM).await;
        let (cpu, began) = (thread_cpu(), clock.now());
        let answers = count(pace.asking).await;
        let turn =
            Turn { cpu: thread_cpu() - cpu, seconds: clock.now().since(began).as_secs_f64(), answers: answers as f64 };
        poller.abort();
        turn
    };
    on_own_thread(work)
}

/// An address, the connection to it, and what came packed.
type Asked<'a> = (&'a str, SendRequest<Full<Bytes>>, Vec<u8>);

/// hyper alone: asks every address for everything once a second, over a connection each, unpacks what comes packed, and
/// throws it away.
fn bare(pace: &Pace, addresses: &[String], forms: &[Bytes], path: &str) -> Turn {
    let clock = Clock::start();
    let work = async {
        let mut connections: Vec<Asked<'_>> = Vec::new();
        for address in addresses {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            connections.push((address, sender, Vec::new()));
        }
        let mut ticks = tokio::time::interval(SECOND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut answers, mut cpu, mut began) = (0_usize, 0.0, clock.now());
        let end = clock.now().after(WARM + pace.asking);
        let mut measuring = false;
        while clock.now() < end {
            ticks.tick().await;
            if !measuring && clock.now() > end.before(pace.asking) {
                (measuring, answers, cpu, began) = (true, 0, thread_cpu(), clock.now());
            }
            let round = connections.iter_mut().map(|(address, sender, unpacked)| async move {
                for form in forms {
                    sender.ready().await.unwrap();
                    let mut request = Request::new(Full::new(form.clone()));
                    *request.uri_mut() = path.parse().unwrap();
                    request.headers_mut().insert("host", address.parse().unwrap());
                    if form.is_empty() {
                        request.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
                    } else {
                        *request.method_mut() = hyper::Method::POST;
                        let kind = "application/x-www-form-urlencoded".parse().unwrap();
                        request.headers_mut().insert("content-type", kind);
                    }
                    let response = sender.send_request(request).await.unwrap();
                    assert_eq!(response.status(), 200);
                    let packed = response.headers().contains_key("content-encoding");
                    let mut body = response.into_body();
                    let mut whole = Vec::new();
                    while let Some(frame) = body.frame().await {
                        whole.extend_from_slice(frame.unwrap().data_ref().unwrap());
                    }
                    if packed {
                        unpacked.clear();
                        flate2::bufread::GzDecoder::new(whole.as_slice()).read_to_end(unpacked).unwrap();
                    }
                }
            });
            futures_util::future::join_all(round).await;
            answers += addresses.len() * forms.len();
        }
        Turn { cpu: thread_cpu() - cpu, seconds: clock.now().since(began).as_secs_f64(), answers: answers as f64 }
    };
    on_own_thread(work)
}

fn on_own_thread<T: Send>(work: impl Future<Output = T> + Send) -> T {
    std::thread::scope(|scope| {
        let run = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
        scope.spawn(run).join().unwrap()
    })
}

/// CPU time of this thread: the first field of `schedstat`, nanoseconds.
fn thread_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

/// CPU time of a process, seconds: user and system, in ticks of a hundredth.
fn server_cpu(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<f64>().unwrap() / 100.0).sum()
}
