//! What a sample costs: ten thousand lists on one real Redis, ten times a second.
//!
//! Ours is the whole way: poller, schedule, backend, decode, channel, a store of the last value. Its yardstick is a
//! bare `redis` pipeline of the same commands, built once, in chunks of the same size that are on their way at the
//! same time, decoded into integers and stored: what a careful user of the library would write. Both take turns in
//! one process against one server, each on a single-threaded runtime on a thread of its own, and are judged by that
//! thread's CPU time and by how late their rounds begin.
//!
//! `cargo bench --bench poller` (about a minute), `-- --quick` for a smoke run that judges nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a measurement may break, prints, and reads the clock"
)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use support::polling::{autoscaler, list, redis as redis_connection};
use support::redis::RedisProcess;
use tidegate::clock::Clock;
use tidegate::model::{Key, Sample, Tick};
use tidegate::poller::Poller;
use tidegate::source::memory::MemoryQueues;
use tidegate::spec::{AutoscalerSpec, Change};
use tokio::sync::mpsc;

const KEYS: usize = 10_000;
const INTERVAL: Duration = Duration::from_millis(100);
const CHUNK: usize = 500;
/// Samples of a round that come together.
const PORTION: usize = 1_000;
/// Full rounds before measuring begins.
const WARM: usize = 3;
/// Ours may cost this many times the yardstick's CPU for each sample.
const GOAL: f64 = 1.5;

/// Counts allocations, the library's and ours alike.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// One turn of one contestant.
#[derive(Default)]
struct Turn {
    rounds: u64,
    samples: u64,
    cpu: Duration,
    server: Duration,
    allocations: usize,
    bytes: usize,
    /// Between a round's due time and its request, milliseconds.
    lateness: Vec<f64>,
    /// Between the request and the last value stored, milliseconds.
    latency: Vec<f64>,
}

fn main() {
    // `cargo bench` says `--bench`; whoever runs us without it (`cargo test --all-targets`) wants to see that it works.
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let quick = given("--quick") || !given("--bench");
    let (turns, span) = if quick { (1, Duration::from_millis(700)) } else { (5, Duration::from_secs(3)) };

    let server = RedisProcess::start();
    let names = fill(&server);
    let mut ours = Vec::new();
    let mut bare = Vec::new();
    for _ in 0..turns {
        ours.push(run_ours(&server, &names, span));
        bare.push(run_bare(&server, &names, span));
    }
    println!("{KEYS} lists at {} Hz, {turns} turns of {span:?} each, medians\n", 1.0 / INTERVAL.as_secs_f64());
    println!(
        "{:<16} {:>12} {:>12} {:>14} {:>12} {:>18} {:>18}",
        "", "client", "server", "allocations", "bytes", "lateness ms", "round ms"
    );
    println!(
        "{:<16} {:>12} {:>12} {:>14} {:>12} {:>18} {:>18}",
        "", "µs/sample", "µs/sample", "per round", "per sample", "p50 / p99", "p50 / p99"
    );
    let ours_cpu = print("tidegate", &ours);
    let bare_cpu = print("bare pipeline", &bare);
    let ratio = ours_cpu / bare_cpu;
    println!("\nCPU per sample, tidegate / bare pipeline: {ratio:.2} (goal: at most {GOAL})");
    if !quick && ratio > GOAL {
        std::process::exit(1);
    }
}

/// Lists of 0 to 7 items, an eighth of them empty.
fn fill(server: &RedisProcess) -> Vec<String> {
    let names: Vec<String> = (0..KEYS).map(|key| format!("q:tenant-{:03}:jobs:{key:06}", key % 97)).collect();
    let mut pipeline = redis::pipe();
    for (key, name) in names.iter().enumerate().filter(|(key, _)| expected(*key) > 0) {
        pipeline.cmd("RPUSH").arg(name).arg(vec!["x"; expected(key) as usize]).ignore();
    }
    pipeline.exec(&mut server.connect().unwrap()).unwrap();
    names
}

fn expected(key: usize) -> u64 {
    key as u64 % 8
}

// === the contestants ===

fn run_ours(server: &RedisProcess, names: &[String], span: Duration) -> Turn {
    let connection = redis_connection(server.address());
    let specs: Vec<Arc<AutoscalerSpec>> =
        names.iter().map(|name| autoscaler(name, INTERVAL, &[(&connection, list(&[name]))])).collect();
    let clock = Clock::start();
    on_own_runtime(server, span, async move |measure| {
        let (changes, inbox) = mpsc::unbounded_channel();
        let (samples, mut outbox) = mpsc::channel::<Vec<Sample>>(4);
        let poller = tokio::spawn(Poller::new(clock, samples, MemoryQueues::new()).run(inbox));
        for (key, spec) in specs.iter().enumerate() {
            changes.send(Change::Set(Key(key as u32), Arc::clone(spec))).unwrap();
        }
        let mut store = vec![f64::NAN; KEYS];
        // The first rounds register, connect and prepare; then all keys share one round.
        let mut warm = 0;
        while warm < WARM {
            let (_, samples) = next_round(&mut outbox, &mut store).await;
            warm += usize::from(samples == KEYS);
        }
        measure.begin();
        let mut origin = None;
        while measure.running() {
            let (taken, samples) = next_round(&mut outbox, &mut store).await;
            measure.round(samples, clock.now().since(taken));
            // The grid's origin is the poller's own affair: lateness is counted from the earliest phase seen.
            let origin = *origin.get_or_insert(taken);
            measure.phase(taken.since(origin));
        }
        measure.end();
        for (key, value) in store.iter().enumerate() {
            assert_eq!(*value, expected(key) as f64, "key {key}");
        }
        drop(changes);
        poller.await.unwrap();
    })
}

/// The portions of one round, kept; when it was taken and how many samples it had.
async fn next_round(outbox: &mut mpsc::Receiver<Vec<Sample>>, store: &mut [f64]) -> (Tick, usize) {
    let mut samples = 0;
    loop {
        let portion = outbox.recv().await.unwrap();
        keep(store, &portion);
        samples += portion.len();
        // The first rounds, of those who came first, are smaller; nothing depends on how they are counted.
        if samples >= KEYS || portion.len() < PORTION {
            return (portion[0].taken, samples);
        }
    }
}

fn keep(store: &mut [f64], batch: &[Sample]) {
    for sample in batch {
        if let (Some(slot), Ok(observation)) = (store.get_mut(sample.key.index()), &sample.value) {
            *slot = observation.backlog;
        }
    }
}

fn run_bare(server: &RedisProcess, names: &[String], span: Duration) -> Turn {
    let client = redis::Client::open(format!("redis://{}", server.address())).unwrap();
    let pipelines: Vec<redis::Pipeline> = names
        .chunks(CHUNK)
        .map(|names| {
            let mut pipeline = redis::pipe();
            for name in names {
                pipeline.cmd("LLEN").arg(name);
            }
            pipeline
        })
        .collect();
    on_own_runtime(server, span, async move |measure| {
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut store = vec![0_i64; KEYS];
        let mut timer = tokio::time::interval(INTERVAL);
        let mut origin = None;
        let mut warm = 0;
        while !measure.begun() || measure.running() {
            timer.tick().await;
            if warm == WARM && !measure.begun() {
                measure.begin();
            }
            let sent = Instant::now();
            let asking = pipelines.iter().map(|pipeline| {
                let mut connection = connection.clone();
                async move { pipeline.query_async::<Vec<i64>>(&mut connection).await }
            });
            let replies = try_join_all(asking).await.unwrap();
            for (slot, value) in store.iter_mut().zip(replies.iter().flatten()) {
                *slot = *value;
            }
            if warm < WARM {
                warm += 1;
                continue;
            }
            measure.round(KEYS, sent.elapsed());
            let origin = *origin.get_or_insert(sent);
            measure.phase(sent - origin);
        }
        measure.end();
        for (key, value) in store.iter().enumerate() {
            assert_eq!(*value, expected(key) as i64, "key {key}");
        }
    })
}

// === measuring ===

/// The instruments of one turn.
struct Measure<'a> {
    server: &'a RedisProcess,
    span: Duration,
    began: Option<Instant>,
    cpu: Duration,
    server_cpu: f64,
    heap: stats_alloc::Stats,
    phases: Vec<Duration>,
    turn: Turn,
}

fn on_own_runtime(server: &RedisProcess, span: Duration, body: impl AsyncFnOnce(&mut Measure<'_>) + Send) -> Turn {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut measure = Measure {
                server,
                span,
                began: None,
                cpu: Duration::ZERO,
                server_cpu: 0.0,
                heap: stats_alloc::Stats::default(),
                phases: Vec::new(),
                turn: Turn::default(),
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(body(&mut measure));
            measure.turn
        });
        thread.join().unwrap()
    })
}

impl Measure<'_> {
    fn begun(&self) -> bool {
        self.began.is_some()
    }

    fn begin(&mut self) {
        self.server_cpu = self.server.cpu_seconds();
        self.heap = ALLOCATOR.stats();
        self.cpu = thread_cpu();
        self.began = Some(Instant::now());
    }

    fn running(&self) -> bool {
        self.began.is_some_and(|began| began.elapsed() < self.span)
    }

    fn round(&mut self, samples: usize, latency: Duration) {
        self.turn.rounds += 1;
        self.turn.samples += samples as u64;
        self.turn.latency.push(latency.as_secs_f64() * 1e3);
    }

    fn phase(&mut self, since_first: Duration) {
        self.phases.push(since_first);
    }

    fn end(&mut self) {
        self.turn.cpu = thread_cpu() - self.cpu;
        let heap = ALLOCATOR.stats() - self.heap;
        self.turn.allocations = heap.allocations + heap.reallocations;
        self.turn.bytes = heap.bytes_allocated;
        self.turn.server = Duration::from_secs_f64(self.server.cpu_seconds() - self.server_cpu);
        // A round's distance from the nearest grid point, counted from the earliest.
        let interval = INTERVAL.as_secs_f64();
        let offsets: Vec<f64> = self
            .phases
            .iter()
            .map(|phase| (phase.as_secs_f64() + interval / 2.0).rem_euclid(interval) - interval / 2.0)
            .collect();
        let earliest = offsets.iter().copied().fold(f64::INFINITY, f64::min);
        self.turn.lateness = offsets.iter().map(|offset| (offset - earliest) * 1e3).collect();
    }
}

/// CPU time of this thread: `se.sum_exec_runtime`, the first field of `schedstat`, nanoseconds.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanos: u64 = text.split_whitespace().next().unwrap().parse().unwrap();
    Duration::from_nanos(nanos)
}

/// Prints a contestant's line and returns its CPU for each sample, microseconds.
fn print(name: &str, turns: &[Turn]) -> f64 {
    let per_sample =
        |of: fn(&Turn) -> f64| median(&turns.iter().map(|turn| of(turn) / turn.samples as f64).collect::<Vec<_>>());
    let all = |of: fn(&Turn) -> &Vec<f64>| -> Vec<f64> { turns.iter().flat_map(|turn| of(turn).clone()).collect() };
    let (lateness, latency) = (all(|turn| &turn.lateness), all(|turn| &turn.latency));
    let cpu = per_sample(|turn| turn.cpu.as_secs_f64() * 1e6);
    println!(
        "{name:<16} {cpu:>12.3} {:>12.3} {:>14.0} {:>12.0} {:>18} {:>18}",
        per_sample(|turn| turn.server.as_secs_f64() * 1e6),
        median(&turns.iter().map(|turn| turn.allocations as f64 / turn.rounds as f64).collect::<Vec<_>>()),
        per_sample(|turn| turn.bytes as f64),
        format!("{:.2} / {:.2}", quantile(&lateness, 0.5), quantile(&lateness, 0.99)),
        format!("{:.2} / {:.2}", quantile(&latency, 0.5), quantile(&latency, 0.99)),
    );
    cpu
}

fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = ((sorted.len().saturating_sub(1)) as f64 * at).round() as usize;
    sorted.get(position).copied().unwrap_or(f64::NAN)
}
