//! What a whole company costs: ten thousand autoscalers over four real Redis servers, once a second, in one process.
//!
//! The real binary, its memory, CPU, lateness, the time from its start to its first full round, and the time that a
//! change of all manifests takes. Memory is measured where it is highest: every wish was lower than the one before it
//! for a whole scale-down window, so that each window holds one entry a second, and the history of decisions is full.
//!
//! Its yardstick cannot run in the same process: it is KEDA itself, which needs a control plane. The figures beside
//! ours were measured with the real one (v2.20.0, default settings, the operator alone, 2 cores), and say so.
//!
//! `cargo bench --bench fleet` (some six minutes: a window is five), `-- --quick` for a smoke run that judges nothing.

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

#[path = "fleet/scrape.rs"]
mod scrape;

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use scrape::{Lateness, sum};
use support::redis::RedisProcess;
use support::tidegate::Tidegate;

const AUTOSCALERS: usize = 10_000;
const SERVERS: usize = 4;
/// A hundred teams with a hundred queues each.
const TEAM: usize = 100;
/// The scale-down window that is in force where none is written.
const WINDOW: Duration = Duration::from_secs(300);
/// As many decisions as an autoscaler's history keeps, and some.
const RISES: usize = 20;

/// Goals of the project.
const GOAL_RSS: f64 = 120.0;
const GOAL_FIRST_ROUND: f64 = 3.0;
const GOAL_RELOAD: f64 = 1.0;

/// KEDA v2.20.0's operator with 1,000 ScaledObjects at 1 s (lists empty, minReplicaCount 0: its cheapest case).
const KEDA_OBJECTS: f64 = 1_000.0;
const KEDA_RSS: f64 = 369.0;
const KEDA_CPU: f64 = 0.216;
const KEDA_CONNECTIONS: f64 = 1_010.0;
/// From the first POST to all ready, seconds.
const KEDA_START: f64 = 457.5;

fn main() -> ExitCode {
    // `cargo bench` says `--bench`; whoever runs us without it (`cargo test --all-targets`) wants to see that it works.
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let quick = given("--quick") || !given("--bench");
    let (count, window) = if quick { (400, Duration::from_secs(3)) } else { (AUTOSCALERS, WINDOW) };

    let servers: Vec<RedisProcess> = (0..SERVERS).map(|_| RedisProcess::start()).collect();
    let depth = window.as_secs() as usize + RISES;
    for (server, redis) in servers.iter().enumerate() {
        each_list(redis, server, count, |pipeline, list| {
            pipeline.cmd("RPUSH").arg(list).arg(vec!["x"; depth]).ignore();
        });
    }

    let manifests = manifests(&servers, count, 300);
    let began = Instant::now();
    // Ten thousand decisions a second are ten thousand lines: a fleet that all moves at once is logged at `warn`, but
    // for the line that says where it serves.
    let fleet = Tidegate::start(&manifests, &["--log", "warn,tidegate::app=info"]);
    fleet.until_ready();
    let first_round = began.elapsed().as_secs_f64();
    let started_rss = fleet.rss_mib();

    // Up, a step a second, until every history is full ...
    let mut beat = Beat::start();
    for _ in 0..if quick { 2 } else { RISES } {
        beat.wait();
        for (server, redis) in servers.iter().enumerate() {
            each_list(redis, server, count, |pipeline, list| {
                pipeline.cmd("RPUSH").arg(list).arg("x").ignore();
            });
        }
    }
    // ... and down, a step a second, until every window is.
    let cpu = fleet.cpu_seconds();
    let before = fleet.get("/metrics").body;
    let falling = Instant::now();
    let mut skipped = 0;
    while falling.elapsed() < window {
        skipped += beat.wait();
        for (server, redis) in servers.iter().enumerate() {
            each_list(redis, server, count, |pipeline, list| {
                pipeline.cmd("LPOP").arg(list).ignore();
            });
        }
    }
    let cpu = (fleet.cpu_seconds() - cpu) / falling.elapsed().as_secs_f64();
    let after = fleet.get("/metrics").body;
    let rss = fleet.rss_mib();
    let late = Lateness::between(&before, &after);
    let skipped_rounds =
        sum(&after, "tidegate_poll_rounds_skipped_total") - sum(&before, "tidegate_poll_rounds_skipped_total");
    let connections: usize = servers.iter().map(|redis| redis.clients("tidegate")).sum();

    let reload = reload_all(&fleet, &servers, count);
    let reloaded_rss = fleet.rss_mib();

    println!(
        "{count} autoscalers over {SERVERS} Redis servers at 1 Hz, falling for {window:?} ({skipped} of our own steps late)\n"
    );
    let objects = count as f64;
    let row =
        |what: &str, ours: String, goal: String, keda: String| println!("{what:<44} {ours:>16} {goal:>12}   {keda}");
    row("", "tidegate".into(), "goal".into(), "KEDA's operator, 1,000 ScaledObjects".into());
    row("RSS at the start, MiB", format!("{started_rss:.1}"), String::new(), String::new());
    row(
        "RSS with full windows and histories, MiB",
        format!("{rss:.1}"),
        format!("< {GOAL_RSS:.0}"),
        format!("{KEDA_RSS} ({:.0} times as much an object)", KEDA_RSS / KEDA_OBJECTS / (rss / objects)),
    );
    row("RSS after a reload of all, MiB", format!("{reloaded_rss:.1}"), String::new(), String::new());
    row(
        "CPU, cores",
        format!("{cpu:.3}"),
        String::new(),
        format!("{KEDA_CPU} ({:.0} times as much an object)", KEDA_CPU / KEDA_OBJECTS / (cpu / objects)),
    );
    row("connections to Redis", connections.to_string(), String::new(), format!("{KEDA_CONNECTIONS}"));
    row("lateness of rounds p50, ms, at most", format!("{:.2}", late.quantile(0.5)), String::new(), String::new());
    row(
        "lateness of rounds p99, ms, at most",
        format!("{:.2}", late.quantile(0.99)),
        String::new(),
        "20.9 (of a loop), 3.6 worst of 0.5".into(),
    );
    row("rounds skipped", format!("{skipped_rounds}"), "0".into(), String::new());
    row(
        "start to first full round, s",
        format!("{first_round:.2}"),
        format!("< {GOAL_FIRST_ROUND}"),
        format!("{KEDA_START} (created until ready)"),
    );
    row(
        "reload of all, s",
        format!("{reload:.2}"),
        format!("< {GOAL_RELOAD}"),
        "275 (minReplicaCount of 1,010 objects)".into(),
    );
    if !quick && (rss > GOAL_RSS || first_round > GOAL_FIRST_ROUND || reload > GOAL_RELOAD) {
        println!("\na goal was missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// One step a second, counted from the start, however long each takes.
struct Beat {
    next: Instant,
}

impl Beat {
    fn start() -> Self {
        Beat { next: Instant::now() + Duration::from_secs(1) }
    }

    /// Waits for the next step; 1 if it was over already.
    fn wait(&mut self) -> u32 {
        let left = self.next.saturating_duration_since(Instant::now());
        std::thread::sleep(left);
        self.next += Duration::from_secs(1);
        u32::from(left.is_zero())
    }
}

/// Replaces the manifests by ones in which every autoscaler differs, and waits until the last of them is in force.
fn reload_all(fleet: &Tidegate, servers: &[RedisProcess], count: usize) -> f64 {
    let file = fleet.folder().join("manifests.yaml");
    let fresh = fleet.folder().join("manifests.new");
    std::fs::write(&fresh, manifests(servers, count, 301)).unwrap();
    let series = "tidegate_manifest_reloads_total{outcome=\"ok\"}";
    let reloads = || fleet.metric(series).unwrap_or(0.0);
    let before = reloads();
    let began = Instant::now();
    std::fs::rename(&fresh, &file).unwrap();
    let last = count - 1;
    let (namespace, name) = (format!("team-{:03}", last / TEAM), format!("queue-{last:05}"));
    while fleet.detail(&namespace, &name)["cooldownSeconds"].as_f64() != Some(301.0) {
        assert!(began.elapsed() < Duration::from_secs(60), "the manifests were not reloaded");
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = began.elapsed().as_secs_f64();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(reloads() - before, 1.0, "one change, one reload");
    took
}

/// `cooldown` is what a reload changes.
fn manifests(servers: &[RedisProcess], count: usize, cooldown: u32) -> String {
    let mut text = String::new();
    for (server, redis) in servers.iter().enumerate() {
        writeln!(
            text,
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: ClusterConnection\nmetadata: {{ name: redis-{server} }}\n\
             spec: {{ allowedNamespaces: ['*'], redis: {{ address: '{}' }} }}",
            redis.address()
        )
        .unwrap();
    }
    for number in 0..count {
        writeln!(
            text,
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\n\
             metadata: {{ name: queue-{number:05}, namespace: team-{:03} }}\n\
             spec:\n  scaleTargetRef: {{ name: worker-{number:05} }}\n  maxReplicas: 1000\n  pollingInterval: 1s\n  \
             cooldownPeriod: {cooldown}s\n  triggers:\n    - connection: redis-{}\n      redisList: {{ keys: ['{}'] }}\n      \
             policy: {{ backlogPerReplica: {{ target: 1 }} }}",
            number / TEAM,
            number % SERVERS,
            list(number)
        )
        .unwrap();
    }
    text
}

fn list(number: usize) -> String {
    format!("q:team-{:03}:jobs:{number:05}", number / TEAM)
}

/// One command for each list of a server, in one pipeline.
fn each_list(redis: &RedisProcess, server: usize, count: usize, mut command: impl FnMut(&mut redis::Pipeline, String)) {
    let mut pipeline = redis::pipe();
    for number in (0..count).filter(|number| number % SERVERS == server) {
        command(&mut pipeline, list(number));
    }
    pipeline.exec(&mut redis.connect().unwrap()).unwrap();
}
