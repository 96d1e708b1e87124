//! What others cost a healthy server's rounds: bad servers beside it, a walk through a big database, a producer's flood.

use std::fmt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::model::Key;
use tidegate::spec::{ConnectionSpec, RedisList, Source};

use crate::alone;
use crate::proxy::{Mode, Proxy};
use crate::support::polling::{Polling, autoscaler, list, redis};
use crate::support::redis::RedisProcess;

const EVERY: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_secs(4);
/// Autoscalers of each server, and keys of each.
const AUTOSCALERS: u32 = 20;
const KEYS: usize = 25;
/// A machine that was busy throughout gets this many chances.
const TRIES: usize = 3;

/// What was seen of the healthy server's rounds for a while.
#[derive(Clone, Copy, Debug)]
struct Rounds {
    served: usize,
    /// How much later than its turn, by the times of the samples, milliseconds.
    p50: f64,
    p99: f64,
    skipped: f64,
}

impl fmt::Display for Rounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Rounds { served, p50, p99, skipped } = self;
        write!(f, "{served} rounds, late by {p50:.2} ms (p50) and {p99:.2} ms (p99), {skipped} skipped")
    }
}

fn fleet(polling: &Polling, from: u32, connection: &Arc<ConnectionSpec>) {
    for number in 0..AUTOSCALERS {
        let keys: Vec<String> = (0..KEYS).map(|key| format!("q{number}:{key}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let name = format!("a{}", from + number);
        polling.set(from + number, &autoscaler(&name, EVERY, &[(connection, list(&keys))]));
    }
}

fn pattern(polling: &Polling, key: u32, connection: &Arc<ConnectionSpec>) {
    let source = Source::RedisList(RedisList { matching: vec!["nothing:*".into()], ..RedisList::default() });
    polling.set(key, &autoscaler("walker", EVERY, &[(connection, source)]));
}

/// The rounds of autoscaler 0, after the first have gone by.
fn look(polling: &Polling, server: &RedisProcess) -> Rounds {
    polling.collect(Duration::from_millis(700));
    let address = server.address();
    let skips = || polling.metric(&["tidegate_poll_rounds_skipped_total", &address]);
    let before = skips();
    let samples = polling.collect(LOOK);
    let own: Vec<_> = samples.iter().filter(|sample| sample.key == Key(0)).collect();
    assert!(own.iter().all(|sample| sample.value.is_ok()), "the healthy one is well: {own:?}");
    let first = own.first().map(|sample| sample.taken).unwrap();
    // On a grid of the interval, which begins with whoever was the most punctual.
    let every = EVERY.as_secs_f64() * 1e3;
    let times = own.iter().map(|sample| sample.taken.since(first).as_secs_f64() * 1e3);
    let offsets: Vec<f64> = times.map(|time| time - (time / every).round() * every).collect();
    let earliest = offsets.iter().copied().fold(f64::INFINITY, f64::min);
    let mut late: Vec<f64> = offsets.into_iter().map(|offset| offset - earliest).collect();
    late.sort_by(f64::total_cmp);
    let skipped = skips() - before;
    Rounds { served: own.len(), p50: late[late.len() / 2], p99: late[late.len() * 99 / 100], skipped }
}

/// Bounds are for busy machines: what is looked for is somebody who waits for somebody else's timeout.
fn compare(what: &str, mut alone: impl FnMut() -> Rounds, mut beside: impl FnMut() -> Rounds) {
    let mut tries = Vec::new();
    for _ in 0..TRIES {
        let (alone, beside) = (alone(), beside());
        println!("{what}: alone {alone}; beside {beside}");
        if beside.p99 <= (3.0 * alone.p99).max(alone.p99 + 25.0) && beside.served * 10 >= alone.served * 8 {
            return;
        }
        tries.push((alone, beside));
    }
    panic!("{what}: {tries:?}");
}

#[test]
fn a_slow_a_dead_and_a_lying_server_cost_a_healthy_one_nothing() {
    let _alone = alone();
    let healthy = RedisProcess::start();
    let others = [RedisProcess::start(), RedisProcess::start()];
    let slow = Proxy::before(others[0].address(), 1);
    slow.set(Mode::Slow(Duration::from_millis(200)));
    let lying = Proxy::before(others[1].address(), 2);
    lying.set(Mode::Wrong);
    let mut dead = RedisProcess::start();
    dead.kill();
    let run = |with_others: bool| {
        let polling = Polling::start();
        fleet(&polling, 0, &redis(healthy.address()));
        if with_others {
            let bad = [slow.address.to_string(), lying.address.to_string(), dead.address()];
            for (number, address) in (1..).zip(bad) {
                fleet(&polling, number * AUTOSCALERS, &redis(address));
            }
        }
        let rounds = look(&polling, &healthy);
        if with_others {
            assert!(polling.metric(&["tidegate_poll_failures_total"]) > 0.0, "the bad ones are bad");
        }
        rounds
    };
    compare("beside a slow, a dead and a lying server", || run(false), || run(true));
}

#[test]
fn a_walk_through_a_big_database_delays_nobody() {
    let _alone = alone();
    let (healthy, big) = (RedisProcess::start(), RedisProcess::start());
    let fill = "for i = 1, 200000 do redis.call('SET', 'noise:' .. i, 'x') end";
    let _: redis::Value = big.command(&["EVAL", fill, "0"]);
    let run = |server: &RedisProcess, walks: bool| {
        let polling = Polling::start();
        fleet(&polling, 0, &redis(server.address()));
        if walks {
            pattern(&polling, AUTOSCALERS, &redis(big.address()));
        }
        let calls = if walks { big.calls("scan") } else { 0 };
        let rounds = look(&polling, server);
        if walks {
            assert!(big.calls("scan") > calls + 100, "it walked");
        }
        rounds
    };
    compare("beside a walk elsewhere", || run(&healthy, false), || run(&healthy, true));
    compare("beside a walk on the same server", || run(&big, false), || run(&big, true));
}

#[test]
fn rounds_are_served_beside_a_flood_of_producers() {
    let _alone = alone();
    let server = RedisProcess::start();
    let run = |flooded: bool| {
        let polling = Polling::start();
        fleet(&polling, 0, &redis(server.address()));
        let port = server.address().rsplit_once(':').unwrap().1.to_owned();
        let flood = flooded.then(|| {
            // More than fit into the time; it is ended with the look.
            let arguments = ["-p", &port, "-t", "lpush", "-n", "20000000", "-c", "4", "-P", "16", "-q"];
            Command::new("redis-benchmark").args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        });
        let (began, before) = (Instant::now(), server.calls("lpush"));
        let rounds = look(&polling, &server);
        if let Some(mut flood) = flood {
            let rate = (server.calls("lpush") - before) as f64 / began.elapsed().as_secs_f64();
            flood.kill().unwrap();
            flood.wait().unwrap();
            let _: redis::Value = server.command(&["UNLINK", "mylist"]);
            println!("a flood of {rate:.0} LPUSH/s: {rounds}");
            assert!(rate > 1_000.0, "no flood: {rate}");
        }
        rounds
    };
    let (alone, flooded) = (run(false), run(true));
    println!("alone {alone}; flooded {flooded}");
    assert!(flooded.served * 2 >= alone.served, "rounds are served: {alone:?}, {flooded:?}");
}
