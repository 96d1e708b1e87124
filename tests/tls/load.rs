//! Certificates that are replaced every second, in every way, while a thousand calls a second and scrapes go on, from
//! clients that stay and clients that come anew for each call: nobody may notice.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::authority::{Authority, Mount, Style};
use super::clients::{Seen, channel, get};
use super::manifests;
use super::support::redis::RedisProcess;
use super::support::tidegate::{Keda, Tidegate};

const CALLS_A_SECOND: u64 = 1_000;
/// Clients that keep their connection, and share the calls.
const STEADY: u64 = 4;
/// Clients that connect anew for each call, and how often each of them does.
const RESTLESS: u64 = 3;
const CONNECTS_A_SECOND: u64 = 10;

#[derive(Default)]
struct Books {
    stop: AtomicBool,
    connects: AtomicU64,
    scrapes: AtomicU64,
    failures: Mutex<Vec<String>>,
    latencies: Mutex<Vec<Duration>>,
}

impl Books {
    fn going(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn failed(&self, what: impl Into<String>) {
        self.failures.lock().unwrap().push(what.into());
    }

    async fn ask(&self, keda: &mut Keda) {
        let began = Instant::now();
        match keda.value("").await {
            Ok(_) => self.latencies.lock().unwrap().push(began.elapsed()),
            Err(status) => self.failed(format!("GetMetrics: {status}")),
        }
    }
}

fn every(a_second: u64) -> tokio::time::Interval {
    let mut ticks = interval(Duration::from_secs(1) / a_second as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    ticks
}

#[test]
fn rotation_every_second_under_load_fails_no_call() {
    let seconds = if std::env::var_os("TIDEGATE_LONG").is_some() { 60 } else { 6 };
    let (ca, clients, redis) = (Authority::new("ours"), Authority::new("clients"), RedisProcess::start());
    let mut mount = Mount::new(&ca.server());
    let paths = [mount.certificate(), mount.key(), mount.write("clients.pem", &clients.pem())];
    let [certificate, key, client_ca] = paths.map(|path| path.display().to_string());
    let grpc = ["--grpc-tls-cert", &certificate, "--grpc-tls-key", &key, "--grpc-client-ca", &client_ca];
    let http = ["--http-tls-cert", &certificate, "--http-tls-key", &key, "--http-client-ca", &client_ca];
    let tidegate = Tidegate::start(&manifests(&redis.address()), &[&grpc[..], &http[..]].concat());
    tidegate.until_log("ready: everything was asked once");

    let own = clients.client();
    let both = [&TLS13, &TLS12];
    let (h2, h1) = (ca.trusting(Some(&own), "h2", &both), ca.trusting(Some(&own), "http/1.1", &both));
    let (books, seen) = (Arc::new(Books::default()), Seen::default());
    let (grpc, http) = (tidegate.grpc_address(), tidegate.http_address());
    let load = std::thread::spawn({
        let (books, seen) = (Arc::clone(&books), Arc::clone(&seen));
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                let connect = move |config: Arc<ClientConfig>, books: Arc<Books>, seen: Seen| async move {
                    books.connects.fetch_add(1, Ordering::Relaxed);
                    match channel(grpc, &config, &seen).await {
                        Ok(channel) => {
                            Some(Keda::new(ExternalScalerClient::new(channel), "pulse", &[("autoscaler", "mail")]))
                        }
                        Err(error) => {
                            books.failed(format!("connect: {error:?}"));
                            None
                        }
                    }
                };
                for _ in 0..STEADY {
                    let (h2, books, seen) = (Arc::clone(&h2), Arc::clone(&books), Arc::clone(&seen));
                    tasks.spawn(async move {
                        let Some(keda) = connect(h2, Arc::clone(&books), seen).await else { return };
                        let mut calls = JoinSet::new();
                        let mut ticks = every((CALLS_A_SECOND - RESTLESS * CONNECTS_A_SECOND) / STEADY);
                        while books.going() {
                            ticks.tick().await;
                            let (mut keda, books) = (keda.clone(), Arc::clone(&books));
                            calls.spawn(async move { books.ask(&mut keda).await });
                            while calls.try_join_next().is_some() {}
                        }
                        calls.join_all().await;
                    });
                }
                for _ in 0..RESTLESS {
                    let (h2, books, seen) = (Arc::clone(&h2), Arc::clone(&books), Arc::clone(&seen));
                    tasks.spawn(async move {
                        let mut ticks = every(CONNECTS_A_SECOND);
                        while books.going() {
                            ticks.tick().await;
                            if let Some(mut keda) =
                                connect(Arc::clone(&h2), Arc::clone(&books), Arc::clone(&seen)).await
                            {
                                books.ask(&mut keda).await;
                            }
                        }
                    });
                }
                let scraper = Arc::clone(&books);
                tasks.spawn(async move {
                    let mut ticks = every(4);
                    while scraper.going() {
                        ticks.tick().await;
                        match get(http, &h1, "/metrics").await {
                            Ok((200, text)) if text.contains("tidegate_trigger_backlog") => {
                                scraper.scrapes.fetch_add(1, Ordering::Relaxed);
                            }
                            other => scraper.failed(format!("scrape: {other:?}")),
                        }
                    }
                });
                tasks.join_all().await;
            });
        }
    });

    let began = Instant::now();
    let mut rotations = 0;
    for turn in 1..=seconds {
        let due = began + Duration::from_secs(turn);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let style = [Style::Swap, Style::Rewrite, Style::Rename][turn as usize % 3];
        mount.replace(&ca.server(), style);
        rotations += 1;
    }
    // The last one is to be seen, too.
    std::thread::sleep(Duration::from_secs(1));
    books.stop.store(true, Ordering::Relaxed);
    load.join().unwrap();

    let took = began.elapsed().as_secs_f64();
    let mut latencies = std::mem::take(&mut *books.latencies.lock().unwrap());
    latencies.sort_unstable();
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
    let (calls, distinct) = (latencies.len(), seen.lock().unwrap().len() as u64);
    let failures = books.failures.lock().unwrap();
    println!(
        "rotation under load: {calls} calls in {took:.1} s ({:.0}/s), {} connects, {} scrapes, {rotations} rotations, \
         {distinct} certificates seen, p50 {:?}, p99 {:?}, failed {}",
        calls as f64 / took,
        books.connects.load(Ordering::Relaxed),
        books.scrapes.load(Ordering::Relaxed),
        at(50),
        at(99),
        failures.len(),
    );
    assert!(failures.is_empty(), "{} failed: {:?}", failures.len(), &failures[..failures.len().min(5)]);
    // The first one is not a rotation.
    assert!(distinct > 1 && distinct - 1 > rotations / 2, "{distinct} certificates were seen in {rotations} rotations");
    assert!(calls as u64 > seconds * CALLS_A_SECOND / 4, "{calls} calls are no load");
    assert!(books.scrapes.load(Ordering::Relaxed) > seconds);
}
