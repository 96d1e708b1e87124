//! How long it takes from LPUSH to an answer and to replicas. Printed, and bounded only where something must be broken.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::support::redis::RedisProcess;
use super::support::tidegate::{PATIENCE, Tidegate};
use super::{autoscaler, connection};

const PUSHES: usize = 200;
const TRIALS: usize = 60;
/// Autoscalers that KEDA in a box scales at once.
const IN_THE_BOX: usize = 20;
/// No performance is asserted; what takes as long as this is not slow but stuck.
const STUCK: Duration = Duration::from_secs(5);

fn table(title: &str, mut latencies: Vec<Duration>) -> [Duration; 2] {
    latencies.sort_unstable();
    let at = |quantile: f64| latencies[((latencies.len() - 1) as f64 * quantile).round() as usize];
    let mut lines = format!("\n{title}\n");
    let _ = writeln!(lines, "{:>6} {:>10} {:>10} {:>10} {:>10}", "n", "min", "median", "p99", "max");
    let ms = |latency: Duration| format!("{:.1} ms", latency.as_secs_f64() * 1e3);
    let [min, median, p99, max] = [0.0, 0.5, 0.99, 1.0].map(at);
    let (n, min, max) = (latencies.len(), ms(min), ms(max));
    let _ = writeln!(lines, "{n:>6} {min:>10} {:>10} {:>10} {max:>10}", ms(median), ms(p99));
    println!("{lines}");
    [median, p99]
}

/// Pauses that come at every phase of a polling interval of 100 ms alike, without luck.
fn pause(turn: usize) -> Duration {
    Duration::from_millis((turn as u64 * 37) % 100)
}

fn items(list: &str, count: usize) -> Vec<&str> {
    [vec!["LPUSH", list], vec!["item"; count]].concat()
}

#[tokio::test]
async fn from_a_push_to_the_value_that_keda_is_told() {
    let redis = RedisProcess::start();
    let tidegate = Tidegate::start(&(connection(&redis.address()) + &autoscaler("mail")), &[]);
    tidegate.until_ready();
    let mut keda = tidegate.keda("pulse", &[("autoscaler", "mail")]).await;
    keda.until_value(0.0).await;
    let mut pushing = redis.connect().unwrap();
    let mut latencies = Vec::new();
    for turn in 0..PUSHES {
        tokio::time::sleep(pause(turn)).await;
        let began = Instant::now();
        let length: i64 = redis.command_on(&mut pushing, &["LPUSH", "mail", "item"]);
        while keda.value("redis-mail").await.unwrap().0 != length {
            assert!(began.elapsed() < PATIENCE, "the value never came");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        latencies.push(began.elapsed());
    }
    let [_, p99] = table("LPUSH -> new value served by GetMetrics; polled every 100 ms", latencies);
    assert!(p99 < STUCK, "{p99:?}");
}

fn fleet(redis: &RedisProcess, size: usize) -> (String, Vec<String>) {
    let names: Vec<String> = (0..size).map(|number| format!("queue-{number}")).collect();
    let autoscalers: String = names.iter().map(|name| autoscaler(name)).collect();
    (connection(&redis.address()) + &autoscalers, names)
}

#[test]
fn from_a_burst_to_ten_replicas_in_memory() {
    let redis = RedisProcess::start();
    let (manifests, names) = fleet(&redis, TRIALS);
    let tidegate = Tidegate::start(&manifests, &["--target", "memory"]);
    tidegate.until_ready();
    let mut pushing = redis.connect().unwrap();
    let mut latencies = Vec::new();
    for (turn, name) in names.iter().enumerate() {
        std::thread::sleep(pause(turn));
        let began = Instant::now();
        redis.command_on::<i64>(&mut pushing, &items(name, 50));
        while tidegate.replicas("pulse", name) != 10 {
            assert!(began.elapsed() < PATIENCE, "{}", tidegate.detail("pulse", name));
            std::thread::sleep(Duration::from_millis(1));
        }
        latencies.push(began.elapsed());
        let history = tidegate.workload("pulse", name)["history"].clone();
        let steps: Vec<i64> =
            history.as_array().unwrap().iter().map(|change| change["replicas"].as_i64().unwrap()).collect();
        assert_eq!(steps, [0, 10], "in one step");
    }
    let [_, p99] =
        table("LPUSH of 50 items -> 10 replicas, target 5; polled every 100 ms, scaled by tidegate", latencies);
    assert!(p99 < STUCK, "{p99:?}");
}

#[test]
fn from_a_burst_to_ten_replicas_behind_keda() {
    if std::env::var_os("TIDEGATE_LONG").is_none_or(|value| value.is_empty() || value == "0") {
        println!("skipped: the KEDA box takes a minute, as an HPA does; TIDEGATE_LONG=1 runs it");
        return;
    }
    let redis = RedisProcess::start();
    let (manifests, names) = fleet(&redis, IN_THE_BOX);
    let tidegate = Tidegate::start(&manifests, &["--target", "keda-box", "--keda-polling-interval", "1s"]);
    tidegate.until_ready();
    let mut pushing = redis.connect().unwrap();
    let mut began = Vec::new();
    let mut latencies = vec![None; names.len()];
    let stuck = Instant::now() + 4 * PATIENCE;
    while latencies.iter().any(Option::is_none) {
        assert!(Instant::now() < stuck, "{latencies:?}");
        // The bursts come at every phase of the HPA's period alike.
        if let Some(name) = names.get(began.len())
            && began.last().is_none_or(|last: &Instant| last.elapsed() >= Duration::from_secs(15) / IN_THE_BOX as u32)
        {
            began.push(Instant::now());
            redis.command_on::<i64>(&mut pushing, &items(name, 50));
        }
        for ((name, began), latency) in names.iter().zip(&began).zip(&mut latencies) {
            if latency.is_none() && tidegate.replicas("pulse", name) == 10 {
                *latency = Some(began.elapsed());
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    for name in &names {
        let workload = tidegate.workload("pulse", name);
        assert_eq!(workload["heldBy"], "keda-box", "{workload}");
    }
    let steps = tidegate.workload("pulse", &names[0])["history"].clone();
    let steps: Vec<i64> = steps.as_array().unwrap().iter().map(|change| change["replicas"].as_i64().unwrap()).collect();
    let latencies = latencies.into_iter().flatten().collect();
    table("LPUSH of 50 items -> 10 replicas, target 5; KEDA every 1 s, HPA every 15 s, both in the box", latencies);
    println!(
        "Why so long: KEDA only takes the first step, 0 -> 1, at its next poll; from there the HPA looks every 15 s and goes \
         to four, or to twice as many, whichever is more: {steps:?} takes {} looks, the first after up to 15 s.",
        steps.len() - 2
    );
}
