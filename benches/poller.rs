//! What a sample costs: lists on one real Redis, up to a hundred thousand of them, once and ten times a second.
//!
//! Ours is the whole way (`poller/ours.rs`). Its yardsticks (`poller/yardsticks.rs`) run in the same process against the
//! same server in turn, each on a single-threaded runtime on a thread of its own: a bare socket that speaks the protocol
//! from a prepared request, pipelines of the `redis` library built once, redis-benchmark, and one script a key over one
//! connection a key, as KEDA does. They are judged by CPU time of their thread and of the server, by allocations, by
//! how late rounds begin and how long they take, and by what a bystander on the same server waits
//! (`poller/company.rs`). Goals are the project's; each stands beside its figure.
//!
//! `cargo bench --bench poller` (some six minutes), `-- --quick` for a smoke run that judges nothing; parts can be named
//! (`-- idle company`).

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

#[path = "poller/company.rs"]
mod company;
#[path = "poller/ours.rs"]
mod ours;
#[path = "../tests/support/mod.rs"]
mod support;
#[path = "poller/turn.rs"]
mod turn;
#[path = "poller/yardsticks.rs"]
mod yardsticks;

use std::process::ExitCode;
use std::time::Duration;

use company::{Producers, pushes, with_bystander};
use support::redis::RedisProcess;
use turn::{Load, Turn, median, quantile};

/// Counts allocations, the library's and ours alike.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

const FAST: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_secs(1);
/// Keys of the comparison of all yardsticks.
const KEYS: usize = 10_000;
/// Long enough for queues to be found idle, and for the probes after that to have spread.
const IDLE: Duration = Duration::from_secs(8);

/// How long everything takes.
struct Pace {
    span: Duration,
    /// The same for [`KEYS`] keys, several times in turn.
    turns: usize,
    sizes: &'static [usize],
    intervals: &'static [Duration],
    /// Keys that have a script and a connection each.
    scripts: usize,
    benchmark: usize,
    /// The long one, and of how many keys.
    endurance: (usize, Duration),
    idle: Duration,
}

const FULL: Pace = Pace {
    span: Duration::from_secs(4),
    turns: 5,
    sizes: &[100, 1_000, 10_000, 100_000],
    intervals: &[FAST, SLOW],
    scripts: 200,
    benchmark: 5_000_000,
    endurance: (100_000, Duration::from_secs(60)),
    idle: IDLE,
};

const QUICK: Pace = Pace {
    span: Duration::from_millis(400),
    turns: 1,
    sizes: &[100, 1_000],
    intervals: &[FAST],
    scripts: 20,
    benchmark: 100_000,
    endurance: (1_000, Duration::from_millis(400)),
    idle: Duration::ZERO,
};

/// What is measured together, and its name.
type Part = (&'static str, fn(&Pace, &mut Goals));

fn main() -> ExitCode {
    // `cargo bench` says `--bench`; whoever runs us without it (`cargo test --all-targets`) wants to see that it works.
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let quick = given("--quick") || !given("--bench");
    let pace = if quick { QUICK } else { FULL };
    let mut goals = Goals::default();
    let parts: [Part; 5] =
        [("sizes", sizes), ("contest", contest), ("idle", idle), ("company", company), ("endurance", endurance)];
    let all = !parts.iter().any(|(name, _)| given(name));
    for (_, part) in parts.iter().filter(|(name, _)| all || given(name)) {
        part(&pace, &mut goals);
    }
    goals.print();
    if goals.missed() && !quick { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Each figure that is judged, beside what it may be at most.
#[derive(Default)]
struct Goals(Vec<(String, f64, f64)>);

impl Goals {
    fn add(&mut self, what: &str, figure: f64, most: f64) {
        self.0.push((what.to_owned(), figure, most));
    }

    fn missed(&self) -> bool {
        self.0.iter().any(|(_, figure, most)| figure > most)
    }

    fn print(&self) {
        heading("goals");
        for (what, figure, most) in &self.0 {
            let verdict = if figure > most { "MISSED" } else { "met" };
            println!("{what:<78} {figure:>8.2}   at most {most:<8} {verdict}");
        }
    }
}

// === servers ===

fn all_have_items(key: usize) -> u64 {
    key as u64 % 7 + 1
}

fn a_tenth_has_items(key: usize) -> u64 {
    u64::from(key.is_multiple_of(10))
}

/// A server with so many lists.
fn filled(count: usize, expected: fn(usize) -> u64) -> (RedisProcess, Vec<String>) {
    let server = RedisProcess::with(&["latency-tracking-info-percentiles 50 99 99.9 100"]);
    // As redis-benchmark has them when it is told to vary a number.
    let names: Vec<String> = (0..count).map(|key| format!("q:jobs:{key:012}")).collect();
    let mut connection = server.connect().unwrap();
    let numbered: Vec<(usize, &String)> = names.iter().enumerate().filter(|(key, _)| expected(*key) > 0).collect();
    for part in numbered.chunks(10_000) {
        let mut pipeline = redis::pipe();
        for (key, name) in part {
            pipeline.cmd("RPUSH").arg(name).arg(vec!["x"; expected(*key) as usize]).ignore();
        }
        pipeline.exec(&mut connection).unwrap();
    }
    let _: String = server.command(&["CONFIG", "RESETSTAT"]);
    (server, names)
}

// === what is measured ===

fn sizes(pace: &Pace, _: &mut Goals) {
    heading("by size and pace");
    head();
    for count in pace.sizes {
        let (server, names) = filled(*count, all_have_items);
        for interval in pace.intervals.iter().copied() {
            let span = pace.span.max(4 * interval);
            let load = Load { server: &server, names: &names, interval, span, expected: all_have_items };
            let name = |what: &str| format!("{count:>6} keys, {:>2} Hz: {what}", 1.0 / interval.as_secs_f64());
            row(&name("bare socket"), &[yardsticks::bare(load, usize::MAX)]);
            row(&name("tidegate"), &[ours::run(load, Duration::ZERO)]);
        }
    }
}

fn contest(pace: &Pace, goals: &mut Goals) {
    let keys = if pace.sizes.contains(&KEYS) { KEYS } else { 1_000 };
    heading(&format!("{keys} keys, 10 Hz, {} turns of {:?} each, medians", pace.turns, pace.span));
    head();
    let (server, names) = filled(keys, all_have_items);
    let load = Load { server: &server, names: &names, interval: FAST, span: pace.span, expected: all_have_items };
    let (mut bare, mut chunks, mut library, mut ours) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..pace.turns {
        bare.push(yardsticks::bare(load, usize::MAX));
        ours.push(ours::run(load, Duration::ZERO));
        chunks.push(yardsticks::bare(load, 450));
        library.push(yardsticks::pipelines(load));
    }
    row("bare socket, one burst", &bare);
    row("bare socket, chunks of 450", &chunks);
    row("redis library, pipelines built once", &library);
    row("tidegate", &ours);
    let few = Load { names: &names[..pace.scripts], ..load };
    row(&format!("one script and connection a key, {} keys", pace.scripts), &[yardsticks::scripts(few)]);
    let (rate, _) = yardsticks::redis_benchmark(&server, keys, 4, pace.benchmark);
    let (_, per_command) = yardsticks::redis_benchmark(&server, keys, 1, pace.benchmark);
    println!(
        "redis-benchmark -P 1024: {:.2} M/s over 4 connections; over one, {per_command:.3} µs of the server a command",
        rate / 1e6
    );

    let of = |turns: &[Turn], what: fn(&Turn) -> f64| median(turns.iter().map(what));
    let late =
        |turns: &[Turn]| quantile(&turns.iter().flat_map(|turn| turn.lateness.clone()).collect::<Vec<_>>(), 0.99);
    goals.add(
        "client CPU a sample, times the bare socket's",
        of(&ours, Turn::client_micros) / of(&bare, Turn::client_micros),
        2.0,
    );
    goals.add("allocations a round", of(&ours, Turn::allocations_a_round), 16.0);
    goals.add("p99 lateness, times the bare socket's", late(&ours) / late(&bare), 1.5);
    goals.add("server CPU a sample, times redis-benchmark's", of(&ours, Turn::server_micros) / per_command, 1.15);
    longest(&server, goals);
}

/// What the server says of its own commands.
fn longest(server: &RedisProcess, goals: &mut Goals) {
    let info: String = server.command(&["INFO", "latencystats"]);
    for command in ["llen", "exists"] {
        let prefix = format!("latency_percentiles_usec_{command}:");
        let Some(line) = info.lines().find_map(|line| line.strip_prefix(&prefix)) else { continue };
        println!("{command} on the server, µs: {line}");
        let at =
            |percentile: &str| line.split(',').find_map(|field| field.strip_prefix(percentile)?.parse::<f64>().ok());
        goals.add(&format!("{command} on the server, p99.9, µs"), at("p99.9=").unwrap_or(f64::NAN), 100.0);
    }
}

fn idle(pace: &Pace, goals: &mut Goals) {
    let keys = if pace.sizes.contains(&KEYS) { KEYS } else { 1_000 };
    heading(&format!("{keys} keys of which 90 % are idle, 10 Hz"));
    head();
    let (server, names) = filled(keys, a_tenth_has_items);
    let load = Load { server: &server, names: &names, interval: FAST, span: pace.span, expected: a_tenth_has_items };
    let (mut flat, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..pace.turns.min(3) {
        flat.push(yardsticks::bare(load, usize::MAX));
        ours.push(ours::run(load, pace.idle));
    }
    row("bare socket: all of them, always", &flat);
    row("tidegate", &ours);
    for turn in &ours {
        let a_round = |(name, count): (&str, u64)| format!("{:.1} {name}", count as f64 / turn.rounds as f64);
        println!("tidegate, commands a round: {}", turn.commands.map(a_round).join(", "));
    }
    let of = |turns: &[Turn]| median(turns.iter().map(Turn::server_micros));
    goals.add("90 % idle: server CPU, times polling them all", of(&ours) / of(&flat), 0.3);
    longest(&server, goals);
}

fn company(pace: &Pace, goals: &mut Goals) {
    let keys = if pace.sizes.contains(&KEYS) { KEYS } else { 1_000 };
    let (server, names) = filled(keys, all_have_items);
    let load = Load { server: &server, names: &names, interval: FAST, span: pace.span, expected: all_have_items };
    heading(&format!("a bystander's commands beside {keys} keys at 10 Hz: µs from when each should have been sent"));
    let show = |what: &str, waited: &[f64]| {
        let [p50, p90, p95, p99] = [0.5, 0.9, 0.95, 0.99].map(|at| quantile(waited, at));
        println!("{what:<44} p50 {p50:>6.0}   p90 {p90:>6.0}   p95 {p95:>6.0}   p99 {p99:>6.0}");
        p95
    };
    let ((), alone) = with_bystander(&server, || std::thread::sleep(pace.span));
    let alone = show("alone", &alone);
    show("bare socket, one burst", &with_bystander(&server, || yardsticks::bare(load, usize::MAX)).1);
    show("bare socket, chunks of 450", &with_bystander(&server, || yardsticks::bare(load, 450)).1);
    let beside = show("tidegate", &with_bystander(&server, || ours::run(load, Duration::ZERO)).1);
    goals.add("a bystander's p95, times alone", beside / alone, 2.5);

    heading(&format!("{keys} keys at 10 Hz, and producers who take all of the server"));
    head();
    let quiet = ours::run(load, Duration::ZERO);
    row("tidegate, no producers", std::slice::from_ref(&quiet));
    let _producers = Producers::start(&server);
    let ((), alone) = pushes(&server, || std::thread::sleep(pace.span));
    let (flooded, beside) = pushes(&server, || ours::run(load, Duration::ZERO));
    let bare = yardsticks::bare(load, usize::MAX);
    row("bare socket, flooded", std::slice::from_ref(&bare));
    row("tidegate, flooded", std::slice::from_ref(&flooded));
    println!("pushes a second: {:.0} k alone, {:.0} k beside tidegate", alone / 1e3, beside / 1e3);
    let rounds = |turn: &Turn, at| quantile(&turn.latency, at);
    goals.add("flooded: p50 of a round, times without", rounds(&flooded, 0.5) / rounds(&quiet, 0.5), 2.0);
    goals.add("flooded: p99 of a round, times the bare socket's", rounds(&flooded, 0.99) / rounds(&bare, 0.99), 1.5);
}

fn endurance(pace: &Pace, goals: &mut Goals) {
    let (keys, span) = pace.endurance;
    heading(&format!("{keys} keys at 10 Hz for {span:?}"));
    head();
    let (server, names) = filled(keys, all_have_items);
    let load = Load { server: &server, names: &names, interval: FAST, span, expected: all_have_items };
    let waits = |waited: &[f64]| {
        let at = |quantile_of| quantile(waited, quantile_of);
        println!("a bystander's commands, µs: p50 {:.0}, p95 {:.0}, p99 {:.0}", at(0.5), at(0.95), at(0.99));
    };
    // What the server and this machine are able to do today.
    let (bare, waited) = with_bystander(&server, || yardsticks::bare(Load { span: span / 3, ..load }, 450));
    row(&format!("bare socket, chunks of 450, for {:?}", span / 3), &[bare]);
    waits(&waited);
    let (turn, waited) = with_bystander(&server, || ours::run(load, Duration::ZERO));
    row("tidegate", std::slice::from_ref(&turn));
    waits(&waited);
    println!("{:.2} M samples a second", turn.samples as f64 / span.as_secs_f64() / 1e6);
    goals.add(&format!("{keys} keys at 10 Hz: rounds skipped"), turn.skipped as f64, 0.0);
    goals.add(&format!("{keys} keys at 10 Hz: p99 of a round, ms"), quantile(&turn.latency, 0.99), 100.0);
}

// === how it is shown ===

fn heading(text: &str) {
    println!("\n{text}\n");
}

fn head() {
    let [client, server] = ["client µs", "server µs"];
    println!(
        "{:<44} {client:>9} {server:>9} {:>11} {:>9} {:>15} {:>17} {:>7}",
        "", "allocations", "bytes", "lateness ms", "round ms", "rounds"
    );
    println!(
        "{:<44} {:>9} {:>9} {:>11} {:>9} {:>15} {:>17} {:>7}",
        "", "a sample", "a sample", "a round", "a sample", "p50 / p99", "p50 / p99", "skipped"
    );
}

/// A contestant's line: medians over its turns, quantiles over all rounds.
fn row(name: &str, turns: &[Turn]) {
    let all = |of: fn(&Turn) -> &Vec<f64>| -> Vec<f64> { turns.iter().flat_map(|turn| of(turn).clone()).collect() };
    let (lateness, latency) = (all(|turn| &turn.lateness), all(|turn| &turn.latency));
    let both = |values: &[f64]| format!("{:.2} / {:.2}", quantile(values, 0.5), quantile(values, 0.99));
    println!(
        "{name:<44} {:>9.3} {:>9.3} {:>11.0} {:>9.0} {:>15} {:>17} {:>7}",
        median(turns.iter().map(Turn::client_micros)),
        median(turns.iter().map(Turn::server_micros)),
        median(turns.iter().map(Turn::allocations_a_round)),
        median(turns.iter().map(|turn| turn.bytes as f64 / turn.samples as f64)),
        both(&lateness),
        both(&latency),
        turns.iter().map(|turn| turn.skipped).sum::<u64>(),
    );
}
