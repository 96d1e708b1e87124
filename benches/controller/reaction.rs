//! From LPUSH to the patch: 0 -> 10 in one step, polled every 100 ms.

use std::time::Duration;

use serde_json::json;

use crate::figures::{millis, odd, quantile, wall, within};
use crate::server::{Server, condition, connection};
use crate::support::cluster::deployment;
use crate::support::redis::RedisProcess;

/// Autoscalers that take turns, so that each is long back at rest when its turn comes.
const QUEUES: usize = 20;
const ITEMS: usize = 50;
const WANTED: i64 = 10;
/// Seconds.
const GOAL_P99: f64 = 0.250;

/// Returns the goals that were missed.
pub fn measure(server: &Server, runs: usize) -> Vec<String> {
    let redis = RedisProcess::start();
    let names: Vec<String> = (0..QUEUES).map(|number| format!("reaction-{number:02}")).collect();
    let deployments: Vec<_> = names.iter().map(|name| deployment(name, 0)).collect();
    server.create_all(&deployments);
    server.cluster.create(&connection("redis", &redis.address()));
    let autoscalers: Vec<_> = names
        .iter()
        .map(|name| {
            json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "QueueAutoscaler", "metadata": {"name": name},
                "spec": {"scaleTargetRef": {"name": name}, "pollingInterval": "100ms", "cooldownPeriod": "0s",
                    "triggers": [{"connection": "redis", "redisList": {"keys": [name]},
                        "policy": {"backlogPerReplica": {"target": 5}}}],
                    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}})
        })
        .collect();
    server.create_all(&autoscalers);
    let watched =
        server.watch(("apps", "v1", "deployments"), |object| object["spec"]["replicas"].as_i64().unwrap_or(0));
    let tidegate = server.tidegate(&[]);
    let ready = within(Duration::from_secs(30), || {
        let all = server.cluster.list("queueautoscalers.tidegate.dev");
        all.iter().filter(|object| condition(object, "Ready") == Some("True")).count() == QUEUES
    });
    assert!(ready, "not all are ready:\n{}", tidegate.log());

    let mut connection = redis.connect().unwrap();
    let (mut arrived, mut seen) = (Vec::new(), Vec::new());
    let (mut chance, mut stairs) = (1, 0);
    for run in 0..runs {
        let name = &names[run % QUEUES];
        // At any phase of the interval.
        std::thread::sleep(Duration::from_micros(100_000 + odd(&mut chance) % 100_000));
        let pushed = wall();
        let mark = watched.seen().len();
        redis::cmd("LPUSH").arg(name).arg(vec!["x"; ITEMS]).exec(&mut connection).unwrap();
        let steps = || -> Vec<(f64, i64)> {
            let all = watched.seen();
            all[mark..].iter().filter(|(_, of, _)| of == name).map(|(at, _, replicas)| (*at, *replicas)).collect()
        };
        let there = within(Duration::from_secs(30), || steps().iter().any(|(_, replicas)| *replicas == WANTED));
        assert!(there, "{name} never had {WANTED} replicas: {:?}\n{}", steps(), tidegate.detail("default", name));
        let steps = steps();
        stairs += usize::from(steps.len() != 1);
        seen.push(steps.iter().find(|(_, replicas)| *replicas == WANTED).map_or(f64::NAN, |(at, _)| at - pushed));
        arrived.push((name.clone(), pushed));
        redis::cmd("DEL").arg(name).exec(&mut connection).unwrap();
        let emptied = within(Duration::from_secs(30), || {
            let next = &names[(run + 1) % QUEUES];
            watched.seen().iter().rev().find(|(_, of, _)| of == next).is_none_or(|(_, _, replicas)| *replicas == 0)
        });
        assert!(emptied, "{name} is not back at zero");
    }
    let asked = server.asked(arrived[0].1);
    let patches = |name: &str, since: f64| {
        asked.iter().find(|asked| asked.at >= since && asked.name == name && asked.resource == "deployments/scale")
    };
    let arrived: Vec<f64> = arrived
        .iter()
        .map(|(name, pushed)| patches(name, *pushed).map_or(f64::NAN, |asked| asked.at - pushed))
        .collect();

    println!(
        "\n=== {}: from LPUSH of {ITEMS} items to the patch 0 -> {WANTED}, polled every 100 ms, {runs} runs",
        server.name
    );
    println!("  arrived at the API server       {}   (goal: p99 below {:.0} ms)", millis(&arrived), GOAL_P99 * 1e3);
    println!("  seen by a watch of our own      {}", millis(&seen));
    println!("  not in one step                 {stairs}");
    println!("  KEDA with the real HPA          median 52 s at its defaults, 40 s polled every second");
    let mut missed = Vec::new();
    let p99 = quantile(&arrived, 0.99);
    if p99.is_nan() || p99 > GOAL_P99 {
        missed.push(format!("{}: reaction p99 {:.0} ms", server.name, p99 * 1e3));
    }
    if stairs > 0 {
        missed.push(format!("{}: {stairs} of {runs} not in one step", server.name));
    }
    missed
}
