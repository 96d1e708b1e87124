//! The hog: what a tenant gets that asks for 100,000 keys every 50 ms, and what its neighbours lose.
//!
//! The real binary and one real redis-server. A hundred namespaces with a few keys each are polled ten times a second
//! over a shared ClusterConnection, first alone (the yardstick), then beside the hog: on a Connection of its own to the
//! same server, and on the shared one; then beside somebody who asks for no
//! more than a namespace may have, but for all of it at once; last, the hog without any budget, to see what that is for. What counts
//! is how old the neighbours' values are, as `/metrics` says it, looked at some thirty times a second at odd moments.
//!
//! `cargo bench --bench tenants` (two minutes), `-- --quick` for a smoke run that judges nothing.

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

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use support::redis::RedisProcess;
use support::tidegate::Tidegate;

const NEIGHBOURS: usize = 100;
const NEIGHBOURS_KEYS: usize = 3;
/// The hog's autoscalers, and the keys of each.
const HOG: (usize, usize) = (1_000, 100);
/// Another one's, who asks for all that one namespace may have, and all of it at once: every key once a second.
const GREEDY: (usize, usize) = (500, 100);
/// The neighbours' p99 age may be this many times what it is without the hog.
const GOAL: f64 = 1.2;

/// What the hog does in one turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scene {
    Alone,
    OwnConnection,
    SharedConnection,
    Greedy,
    NoBudget,
}

impl Scene {
    const ALL: [Scene; 5] =
        [Scene::Alone, Scene::OwnConnection, Scene::SharedConnection, Scene::Greedy, Scene::NoBudget];

    fn name(self) -> &'static str {
        match self {
            Scene::Alone => "no hog",
            Scene::OwnConnection => "hog on a Connection of its own",
            Scene::SharedConnection => "hog on the shared ClusterConnection",
            Scene::Greedy => "50,000 keys at 1 Hz, shared",
            Scene::NoBudget => "the hog, shared, without a budget",
        }
    }
}

/// Ages in milliseconds, and rates by the second.
#[derive(Default)]
struct Turn {
    neighbours: Vec<f64>,
    hog: Vec<f64>,
    hog_reads: Vec<f64>,
    cpu: Vec<f64>,
}

fn main() {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let quick = given("--quick") || !given("--bench");
    let (turns, span) = if quick { (1, Duration::from_secs(1)) } else { (3, Duration::from_secs(8)) };
    let redis = RedisProcess::start();

    // In turns, so that what else the machine does falls on all of them.
    let mut measured: Vec<(Scene, Turn)> = Scene::ALL.into_iter().map(|scene| (scene, Turn::default())).collect();
    for _ in 0..turns {
        for (scene, turn) in &mut measured {
            measure(*scene, &redis, span, turn);
        }
    }

    println!(
        "{NEIGHBOURS} neighbours with {NEIGHBOURS_KEYS} keys at 10 Hz; a hog that asks for {} keys at 20 Hz\n",
        HOG.0 * HOG.1
    );
    println!("{:<38}{:>22}{:>10}{:>22}{:>14}{:>8}", "", "neighbours' age, ms", "p99", "hog's age, s", "hog's", "CPU");
    println!("{:<38}{:>22}{:>10}{:>22}{:>14}{:>8}", "", "p50 / p99 / max", "ratio", "p50 / p99", "reads/s", "%");
    let yardstick = quantile(&measured[0].1.neighbours, 0.99);
    let mut worst: f64 = 0.0;
    for (scene, turn) in &measured {
        let at = |q: f64| quantile(&turn.neighbours, q);
        let ratio = at(0.99) / yardstick;
        if !matches!(scene, Scene::Alone | Scene::NoBudget) {
            worst = worst.max(ratio);
        }
        let hog = match turn.hog.as_slice() {
            [] => "-".to_owned(),
            ages => format!("{:.2} / {:.2}", quantile(ages, 0.5) / 1e3, quantile(ages, 0.99) / 1e3),
        };
        println!(
            "{:<38}{:>22}{ratio:>10.2}{hog:>22}{:>14.0}{:>8.1}",
            scene.name(),
            format!("{:.1} / {:.1} / {:.0}", at(0.5), at(0.99), at(1.0)),
            mean(&turn.hog_reads),
            mean(&turn.cpu) * 100.0,
        );
    }
    println!("\nneighbours' p99 age, with the hog / without: {worst:.2} at worst (goal: at most {GOAL})");
    if !quick && worst > GOAL {
        std::process::exit(1);
    }
}

fn measure(scene: Scene, redis: &RedisProcess, span: Duration, turn: &mut Turn) {
    let unbounded = ["--max-reads-per-second", "4000000000", "--max-reads-per-second-per-namespace", "4000000000"];
    let arguments: &[&str] = if scene == Scene::NoBudget { &unbounded } else { &[] };
    let tidegate = Tidegate::start(
        &manifests(scene, &redis.address()),
        &[arguments, &["--log", "warn,tidegate::app=info"]].concat(),
    );
    tidegate.until_ready();
    std::thread::sleep(Duration::from_secs(1));

    let before = reads(&tidegate.get("/metrics").body);
    let (began, cpu) = (Instant::now(), cpu_seconds(tidegate.pid()));
    let mut odd = 1_u64;
    while began.elapsed() < span {
        for line in tidegate.get("/metrics").body.lines() {
            let Some(rest) = line.strip_prefix("tidegate_trigger_sample_age_seconds{namespace=\"") else { continue };
            let Some(age) = line.rsplit(' ').next().and_then(|age| age.parse::<f64>().ok()) else { continue };
            let ages = if rest.starts_with("hog\"") { &mut turn.hog } else { &mut turn.neighbours };
            ages.push(age * 1e3);
        }
        odd = odd.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis(20 + (odd >> 33) % 23));
    }
    let seconds = began.elapsed().as_secs_f64();
    let all = (reads(&tidegate.get("/metrics").body) - before) / seconds;
    turn.cpu.push((cpu_seconds(tidegate.pid()) - cpu) / seconds);
    // The neighbours' own, which no budget touches.
    turn.hog_reads.push((all - (NEIGHBOURS * NEIGHBOURS_KEYS * 10) as f64).max(0.0));
}

/// Reads answered so far, over all connections.
fn reads(metrics: &str) -> f64 {
    let lines = metrics.lines().filter(|line| line.starts_with("tidegate_poll_reads_total{"));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn manifests(scene: Scene, address: &str) -> String {
    let mut text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: ClusterConnection\nmetadata: {{ name: shared }}\n\
         spec: {{ allowedNamespaces: [\"*\"], redis: {{ address: \"{address}\" }} }}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: own, namespace: hog }}\n\
         spec: {{ redis: {{ address: \"{address}\" }} }}\n"
    );
    for n in 0..NEIGHBOURS {
        autoscaler(&mut text, &format!("n{n:03}"), "jobs", "100ms", "shared", &format!("n{n}"), NEIGHBOURS_KEYS);
    }
    let (connection, interval, (autoscalers, keys)) = match scene {
        Scene::Alone => return text,
        Scene::OwnConnection => ("own", "50ms", HOG),
        Scene::SharedConnection | Scene::NoBudget => ("shared", "50ms", HOG),
        Scene::Greedy => ("shared", "1s", GREEDY),
    };
    for n in 0..autoscalers {
        autoscaler(&mut text, "hog", &format!("hog-{n}"), interval, connection, &format!("hog:{n}"), keys);
    }
    text
}

fn autoscaler(
    text: &mut String,
    namespace: &str,
    name: &str,
    interval: &str,
    connection: &str,
    keys: &str,
    count: usize,
) {
    let keys: Vec<String> = (0..count).map(|key| format!("\"{keys}:{key}\"")).collect();
    write!(
        text,
        "---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\n\
         metadata: {{ name: {name}, namespace: {namespace} }}\nspec:\n  scaleTargetRef: {{ name: {name} }}\n  \
         pollingInterval: {interval}\n  triggers:\n    - connection: {connection}\n      \
         redisList: {{ keys: [{}] }}\n      policy: {{ backlogPerReplica: {{ target: 10 }} }}\n",
        keys.join(", ")
    )
    .unwrap();
}

/// User and system time of a process: fields 14 and 15 of its `stat`, in hundredths of a second.
fn cpu_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = text.rsplit(')').next().unwrap();
    rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let position = ((sorted.len().saturating_sub(1)) as f64 * at).round() as usize;
    sorted.get(position).copied().unwrap_or(f64::NAN)
}
