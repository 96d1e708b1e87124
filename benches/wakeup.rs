//! How soon an empty queue's first item is seen without polling for it, and what that costs.
//!
//! Queues are polled every five seconds only; that their first item is seen at once is client tracking's doing. Three
//! measurements against a real Redis, each beside its yardstick in the same run:
//!
//! * from `LPUSH` to the engine's decision, in one process, beside a bare tracking client that reads the key again;
//! * from `LPUSH` to `true` on an open `StreamIsActive` of the real binary;
//! * CPU of the poller's thread and of the server at 1,000 and 10,000 changes a second over ten thousand queues, above
//!   what the changes themselves cost the server.
//!
//! The first two once with all processes on one core, which is the work alone, and once with Redis on a core of its own,
//! as it is in life, where a wake-up across cores is part of everybody's time.
//!
//! `cargo bench --bench wakeup` (about two minutes), `-- --quick` for a smoke run that judges nothing.

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

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use support::cores::{Cores, keep_on};
use support::polling::{autoscaler, list, redis as redis_connection};
use support::redis::RedisProcess;
use support::tidegate::Tidegate;
use tidegate::clock::Clock;
use tidegate::engine::{Engine, Event, Role};
use tidegate::model::{Key, Sample};
use tidegate::poller::Poller;
use tidegate::source::memory::MemoryQueues;
use tidegate::spec::{AutoscalerSpec, Change};
use tokio::sync::mpsc;

const INTERVAL: Duration = Duration::from_secs(5);
/// Two readings five seconds apart find a queue idle; the probe after that arms it.
const SETTLED: Duration = Duration::from_secs(13);
/// Nothing here takes as long; where something does not come, what waits for it ends all the same.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two pushes: each finds both ends asleep, as in life.
const PAUSE: Duration = Duration::from_millis(25);

/// Goals: times the bare client's median.
const GOAL_DECISION: f64 = 1.5;
const GOAL_STREAM: f64 = 2.0;

fn main() -> ExitCode {
    // `cargo bench` says `--bench`; whoever runs us without it (`cargo test --all-targets`) wants to see that it works.
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let quick = given("--quick") || !given("--bench");
    let trials = if quick { 20 } else { 300 };

    // Before anything is kept on a core.
    let places = Cores::available();
    let rates = if quick { &[200][..] } else { &[1_000, 10_000][..] };
    let costs: Vec<_> = rates.iter().map(|rate| (rate, cost(*rate, if quick { 1 } else { 5 }))).collect();

    println!("LPUSH to an empty queue polled every {INTERVAL:?}, {trials} pushes each in turns, microseconds\n");
    println!("{:<54} {:>9} {:>9} {:>9} {:>8}   goal", "", "median", "p99", "max", "ratio");
    let mut missed = false;
    for cores in places {
        let [bare, decision, stream] = latencies(*cores, trials);
        let base = quantile(&bare, 0.5);
        let row = |what: &str, micros: &[f64], goal: Option<f64>| {
            let ratio = quantile(micros, 0.5) / base;
            println!(
                "{:<54} {:>9.0} {:>9.0} {:>9.0} {ratio:>8.2}   {}",
                format!("{}: {what}", cores.name),
                quantile(micros, 0.5),
                quantile(micros, 0.99),
                quantile(micros, 1.0),
                goal.map_or(String::new(), |goal| format!("<= {goal}")),
            );
            goal.is_some_and(|goal| ratio > goal)
        };
        row("bare tracking client: the key read again", &bare, None);
        missed |= row("tidegate: the engine's decision", &decision, Some(GOAL_DECISION));
        missed |= row("tidegate: true on an open StreamIsActive", &stream, Some(GOAL_STREAM));
    }

    println!("\n10,000 queues polled every {INTERVAL:?}, pushed to and emptied; microseconds a change\n");
    println!(
        "{:>10} {:>12} {:>14} {:>22} {:>12} {:>14}",
        "changes/s", "reached", "poller's CPU", "server's, above bare", "woken", "samples a s"
    );
    for (rate, cost) in costs {
        println!(
            "{rate:>10} {:>12.0} {:>14.1} {:>22.1} {:>12.0} {:>14.0}",
            cost.reached, cost.poller, cost.server, cost.woken, cost.samples
        );
    }
    if missed && !quick {
        println!("\na goal was missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * at).round() as usize]
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}:jobs:{number:05}")).collect()
}

/// Waits until it is known that a push has come, the one of this number, and says when that was.
type Seen<'a> = Box<dyn FnMut(usize) -> Instant + 'a>;

/// Microseconds from a push until the bare client has read the key, the engine has decided, and the stream has said so.
///
/// All three stand open on one server from beginning to end, each with queues of its own, and are pushed to in turns: what
/// the machine's mood costs one, it costs all.
fn latencies(cores: Cores, trials: usize) -> [Vec<f64>; 3] {
    let redis = RedisProcess::start();
    keep_on(cores.server, redis.pid());
    let [of_bare, of_house, of_program] = ["bare", "decision", "stream"].map(|prefix| names(prefix, trials));
    let tidegate = program(&redis, &of_program);
    keep_on(cores.client, tidegate.pid());
    // With all threads that there will be.
    keep_on(cores.client, std::process::id());
    let (of_streams, heard) = channel();
    let (of_socket, read) = channel();
    std::thread::scope(|scope| {
        scope.spawn(|| follow(&tidegate, trials, &of_streams));
        let house = House::open(specs(&redis, &of_house));
        std::thread::sleep(SETTLED);
        scope.spawn(|| bare(&redis, &of_bare, &of_socket));
        // It begins to listen.
        std::thread::sleep(Duration::from_secs(1));
        let bare: Seen<'_> = Box::new(|turn| at(&read, turn));
        let decided: Seen<'_> = Box::new(|turn| {
            let (key, at) = house.news.recv_timeout(INTERVAL * 2).expect("the push was never seen");
            assert_eq!(key.index(), turn);
            at
        });
        let streamed: Seen<'_> = Box::new(|turn| at(&heard, turn));
        let mut sides = [(&of_bare, bare), (&of_house, decided), (&of_program, streamed)];
        let mut pushing = redis.connect().unwrap();
        let mut micros = [(); 3].map(|()| Vec::with_capacity(trials));
        for turn in 0..trials {
            for ((names, seen), micros) in sides.iter_mut().zip(&mut micros) {
                std::thread::sleep(PAUSE);
                let began = Instant::now();
                redis.command_on::<i64>(&mut pushing, &["LPUSH", &names[turn], "item"]);
                micros.push(seen(turn).duration_since(began).as_secs_f64() * 1e6);
            }
        }
        micros
    })
}

/// When `news` says that the push of this number has come, which is the next that it speaks of.
fn at(news: &Receiver<(usize, Instant)>, turn: usize) -> Instant {
    let (number, at) = news.recv_timeout(INTERVAL * 2).expect("the push was never told of");
    assert_eq!(number, turn);
    at
}

// === the bare client ===

/// A socket with tracking on: reads every key once, and each again when it is told that it has changed.
fn bare(redis: &RedisProcess, names: &[String], told: &Sender<(usize, Instant)>) {
    let mut socket = TcpStream::connect(redis.address()).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(b"HELLO 3\r\nCLIENT TRACKING ON\r\n").unwrap();
    let mut buffer = vec![0; 64 * 1024];
    let mut text = String::new();
    let mut until = move |socket: &mut TcpStream, text: &mut String, mark: &str| {
        while !text.contains(mark) {
            let count = socket.read(&mut buffer).unwrap();
            assert!(count > 0, "the server closed");
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
        }
    };
    until(&mut socket, &mut text, "+OK\r\n");
    for name in names {
        text.clear();
        socket.write_all(format!("LLEN {name}\r\n").as_bytes()).unwrap();
        until(&mut socket, &mut text, ":0\r\n");
    }
    for (turn, name) in names.iter().enumerate() {
        text.clear();
        until(&mut socket, &mut text, &format!("{name}\r\n"));
        text.clear();
        socket.write_all(format!("LLEN {name}\r\n").as_bytes()).unwrap();
        until(&mut socket, &mut text, ":1\r\n");
        told.send((turn, Instant::now())).unwrap();
    }
}

// === in one process ===

/// The poller and the engine on a thread of their own, as the program has them; hears of every key that becomes active.
struct House {
    changes: Option<mpsc::UnboundedSender<Change>>,
    news: Receiver<(Key, Instant)>,
    thread: Option<std::thread::JoinHandle<()>>,
    samples: Arc<AtomicU64>,
    cpu: Arc<AtomicU64>,
}

impl House {
    fn open(specs: Vec<Arc<AutoscalerSpec>>) -> Self {
        let clock = Clock::start();
        let (changes, inbox) = mpsc::unbounded_channel();
        let (sender, mut batches) = mpsc::channel::<Vec<Sample>>(64);
        let (tell, news) = channel();
        let (samples, cpu): (Arc<AtomicU64>, Arc<AtomicU64>) = Default::default();
        let mut engine = Engine::new();
        let mut effects = Vec::new();
        for (key, spec) in (0..).zip(&specs) {
            let spec = Event::Spec { spec: Arc::clone(spec), role: Role::Advises };
            engine.handle(clock.now(), Key(key), spec, &mut effects);
        }
        for (key, spec) in (0..).zip(specs) {
            changes.send(Change::Set(Key(key), spec)).unwrap();
        }
        let (counted, spent) = (Arc::clone(&samples), Arc::clone(&cpu));
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let poller = Poller::new(clock, sender, MemoryQueues::new());
            let deciding = async {
                while let Some(batch) = batches.recv().await {
                    counted.fetch_add(batch.len() as u64, Relaxed);
                    for sample in batch {
                        let Sample { key, trigger, round, taken, value, .. } = sample;
                        let before = engine.decision(key).is_some_and(|decision| decision.active);
                        let event = Event::Sample { trigger, round, taken, value };
                        engine.handle(clock.now(), key, event, &mut effects);
                        effects.clear();
                        if !before && engine.decision(key).is_some_and(|decision| decision.active) {
                            let _ = tell.send((key, Instant::now()));
                        }
                    }
                    spent.store(thread_cpu().as_nanos() as u64, Relaxed);
                }
            };
            runtime.block_on(async { tokio::join!(poller.run(inbox), deciding) });
        });
        House { changes: Some(changes), news, thread: Some(thread), samples, cpu }
    }

    /// Samples so far, and CPU of the thread as of the last of them.
    fn books(&self) -> (u64, Duration) {
        (self.samples.load(Relaxed), Duration::from_nanos(self.cpu.load(Relaxed)))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.changes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn specs(redis: &RedisProcess, names: &[String]) -> Vec<Arc<AutoscalerSpec>> {
    let connection = redis_connection(redis.address());
    names.iter().map(|name| autoscaler(name, INTERVAL, &[(&connection, list(&[name]))])).collect()
}

/// CPU of this thread: `se.sum_exec_runtime`, the first field of `schedstat`, nanoseconds.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

// === the real binary ===

fn program(redis: &RedisProcess, names: &[String]) -> Tidegate {
    let mut manifests = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: redis, namespace: load }}\n\
         spec: {{ redis: {{ address: '{}' }} }}\n",
        redis.address()
    );
    for (number, name) in names.iter().enumerate() {
        manifests += &format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\n\
             metadata: {{ name: queue-{number:05}, namespace: load }}\nspec:\n  scaleTargetRef: {{ name: w{number:05} }}\n  \
             pollingInterval: {}s\n  triggers:\n    - connection: redis\n      redisList: {{ keys: ['{name}'] }}\n      \
             policy: {{ backlogPerReplica: {{ target: 5 }} }}\n",
            INTERVAL.as_secs()
        );
    }
    let tidegate = Tidegate::start(&manifests, &["--log", "warn,tidegate::app=info"]);
    tidegate.until_ready();
    tidegate
}

/// Has a stream open for each autoscaler, and tells which has said `true`.
fn follow(tidegate: &Tidegate, count: usize, told: &Sender<(usize, Instant)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut open = tokio::task::JoinSet::new();
        let keda = tidegate.keda("load", &[]).await;
        for number in 0..count {
            let mut keda = keda.clone();
            keda.object.scaler_metadata.insert("autoscaler".into(), format!("queue-{number:05}"));
            let told = told.clone();
            open.spawn(async move {
                let mut stream = keda.client.stream_is_active(keda.object).await.unwrap().into_inner();
                while let Some(Ok(answer)) = stream.next().await {
                    if answer.result {
                        let _ = told.send((number, Instant::now()));
                        break;
                    }
                }
            });
        }
        let _ = tokio::time::timeout(PATIENCE, open.join_all()).await;
    });
}

// === what it costs ===

struct Cost {
    /// Changes a second.
    reached: f64,
    /// Microseconds a change.
    poller: f64,
    server: f64,
    /// Queues that were seen to become active.
    woken: f64,
    samples: f64,
}

fn cost(rate: usize, seconds: u64) -> Cost {
    const QUEUES: usize = 10_000;
    let alone = RedisProcess::start();
    let names = names("cost", QUEUES);
    let (changes, server_alone) = toggle(&alone, &names, rate, seconds);
    let alone = server_alone / changes;

    let redis = RedisProcess::start();
    let house = House::open(specs(&redis, &names));
    std::thread::sleep(SETTLED);
    let before = house.books();
    let (changes, server) = toggle(&redis, &names, rate, seconds);
    let after = house.books();
    let woken = house.news.try_iter().count();
    Cost {
        reached: changes / seconds as f64,
        poller: (after.1 - before.1).as_secs_f64() * 1e6 / changes,
        server: server / changes - alone,
        woken: woken as f64,
        samples: (after.0 - before.0) as f64 / seconds as f64,
    }
}

/// Pushes to the lists and empties them, each in turn, so many changes a second; how many there were, and the server's
/// CPU in microseconds.
fn toggle(redis: &RedisProcess, names: &[String], rate: usize, seconds: u64) -> (f64, f64) {
    let mut connection = redis.connect().unwrap();
    let cpu = redis.cpu_seconds();
    let began = Instant::now();
    let mut changes = 0_usize;
    while began.elapsed() < Duration::from_secs(seconds) {
        let name = &names[changes / 2 % names.len()];
        let words = if changes.is_multiple_of(2) { vec!["LPUSH", name, "item"] } else { vec!["DEL", name] };
        redis.command_on::<i64>(&mut connection, &words);
        changes += 1;
        let due = began + Duration::from_secs_f64(changes as f64 / rate as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    (changes as f64, (redis.cpu_seconds() - cpu) * 1e6)
}
