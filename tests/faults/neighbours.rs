//! What a dead server costs the healthy one beside it: the ages of the healthy one's samples, with and without.

use std::time::{Duration, Instant};

use crate::fleet::{NAMESPACE, connection, queue_autoscaler};
use crate::support::redis::RedisProcess;
use crate::support::tidegate::Tidegate;

const AUTOSCALERS: usize = 20;
const POLLING: Duration = Duration::from_millis(100);
/// One stretch of looking at one process, then at the other.
const STRETCH: Duration = Duration::from_millis(1200);
const PAIRS: usize = 5;
/// A machine that was busy throughout gets this many chances.
const TRIES: usize = 3;

pub fn run() {
    let healthy = RedisProcess::start();
    let (mut dead, frozen) = (RedisProcess::start(), RedisProcess::start());
    let alone = fleet("healthy", &healthy);
    let beside = format!("{alone}{}{}", fleet("dead", &dead), fleet("frozen", &frozen));
    let [alone, beside] = [alone, beside].map(|manifests| Tidegate::start(&manifests, &["--target", "memory"]));
    alone.until_ready();
    beside.until_ready();
    dead.kill();
    frozen.freeze();
    for name in ["dead-0", "frozen-0"] {
        crate::support::tidegate::until(name, || beside.detail(NAMESPACE, name)["health"] != "fresh");
    }

    let mut tries = Vec::new();
    for _ in 0..TRIES {
        let pairs: Vec<(f64, f64)> = (0..PAIRS).map(|_| (p99(&alone), p99(&beside))).collect();
        let without = median(pairs.iter().map(|pair| pair.0).collect());
        let with = median(pairs.iter().map(|pair| pair.1).collect());
        println!(
            "age of samples of a healthy Redis, p99, median of {PAIRS}: {:.1} ms alone, {:.1} ms beside a dead one and \
             a frozen one",
            without * 1e3,
            with * 1e3
        );
        tries.push((without, with));
        if with <= (without * 1.2).max(without + 0.005) {
            frozen.thaw();
            return;
        }
    }
    panic!("a dead Redis costs the healthy one its freshness: seconds without and with {tries:?}");
}

fn fleet(name: &str, server: &RedisProcess) -> String {
    let mut manifests = connection(name, &server.address(), "");
    for number in 0..AUTOSCALERS {
        manifests += &queue_autoscaler(&format!("{name}-{number}"), &[name], POLLING, "maxSampleAge: 2s");
    }
    manifests
}

/// Of the ages of all of the healthy one's samples, looked at for a while.
fn p99(tidegate: &Tidegate) -> f64 {
    let mut ages = Vec::new();
    let end = Instant::now() + STRETCH;
    while Instant::now() < end {
        let list = tidegate.get("/api/v1/autoscalers").json();
        let items = list["items"].as_array().unwrap().iter();
        let healthy = items.filter(|item| item["name"].as_str().unwrap().starts_with("healthy-"));
        ages.extend(healthy.map(|item| item["valueAgeSeconds"].as_f64().unwrap()));
        std::thread::sleep(Duration::from_millis(3));
    }
    ages.sort_by(f64::total_cmp);
    assert!(ages.len() >= 20 * AUTOSCALERS, "{} looks", ages.len());
    ages[ages.len() * 99 / 100]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
