//! Many autoscalers: made at once, at rest, woken at once, at work, and with queues that never rest; what each of these
//! costs the API server.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use redis::Connection;
use serde_json::{Value, json};

use crate::figures::{odd, quantile, rank_correlation, seconds, sum, wall, within};
use crate::server::{Asked, DISCOVERY, Server, condition, connection};
use crate::support::cluster::deployment;
use crate::support::redis::RedisProcess;
use crate::support::tidegate::Tidegate;

/// Seconds. For a thousand.
const GOAL_NEW: f64 = 15.0;
const GOAL_WOKEN: f64 = 10.0;
const GOALS_ARE_FOR: usize = 1_000;
/// A backlog of one item is one replica, so that a thousand backlogs are made fast.
const TARGET: i64 = 1;
/// New ones that have something to do at once: half of them, but no more than this.
const NEW_WITH_WORK: usize = 500;
/// Whether everything is said that there was to say.
const REST: f64 = 4.0;
/// Where the rate limit is not to be what is measured.
const GENEROUS: [&str; 4] = ["--kube-qps", "5000", "--kube-burst", "5000"];

struct Fleet<'a> {
    server: &'a Server,
    count: usize,
}

/// Returns the goals that were missed.
pub fn measure(server: &Server, count: usize, quick: bool) -> Vec<String> {
    let span = Duration::from_secs(if quick { 5 } else { 60 });
    let redis = RedisProcess::start();
    let mut pipe = redis.connect().unwrap();
    let fleet = Fleet { server, count };
    println!(
        "\n=== {}: {count} autoscalers, each with a Deployment and a list of its own, polled every second",
        server.name
    );
    println!("  half of them rest at 0 replicas, half at 1; no windows and no cooldown, so that busy ones are busy");
    let deployments: Vec<Value> = (0..count).map(|number| deployment(&name(number), rest(number))).collect();
    server.create_all(&deployments);
    server.cluster.create(&connection("redis", &redis.address()));

    let mut missed = Vec::new();
    // More than a thousand are set up without waiting for the rate limit; what is measured of them is what they cost.
    let own: &[&str] = if count > GOALS_ARE_FOR { &GENEROUS } else { &[] };
    let tidegate = server.tidegate(own);
    missed.extend(fleet.new_ones(&mut pipe));
    fleet.fill(&mut pipe, |_| 0);
    fleet.settle(&tidegate);
    fleet.window("idle: lists empty", &tidegate, span, || {});
    let limits = if own.is_empty() {
        "--kube-qps 100 --kube-burst 200, the defaults"
    } else {
        "--kube-qps 5000 --kube-burst 5000"
    };
    missed.extend(fleet.woken(&mut pipe, limits));
    fleet.settle(&tidegate);
    missed.extend(fleet.window("active and steady: lists filled", &tidegate, span, || {}));
    let mut backlogs: Vec<i64> = (0..count).map(wanted).collect();
    let mut chance = 7;
    fleet.window(&format!("busy: every backlog walks by up to 3 a second, {limits}"), &tidegate, span, || {
        fleet.walk(&mut pipe, &mut backlogs, &mut chance);
    });
    if !quick && own.is_empty() {
        fleet.fill(&mut pipe, |_| 0);
        fleet.settle(&tidegate);
        // It gives the Lease back.
        let mut tidegate = tidegate;
        tidegate.signal("-TERM");
        tidegate.wait();
        let tidegate = server.tidegate(&GENEROUS);
        fleet.settle(&tidegate);
        missed.extend(fleet.woken(&mut pipe, "--kube-qps 5000 --kube-burst 5000"));
    }
    missed
}

fn name(number: usize) -> String {
    format!("queue-{number:05}")
}

/// Replicas of one that has nothing to do.
fn rest(number: usize) -> i64 {
    (number % 2) as i64
}

/// Backlogs that differ, and stand in no order: 3 to 99.
fn wanted(number: usize) -> i64 {
    3 + (number * 7_919 % 97) as i64
}

fn has_work(number: usize, count: usize) -> bool {
    number % 4 < 2 && number / 2 < NEW_WITH_WORK.min(count / 2)
}

impl Fleet<'_> {
    fn autoscaler(&self, number: usize) -> Value {
        let name = name(number);
        json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "QueueAutoscaler", "metadata": {"name": name},
            "spec": {"scaleTargetRef": {"name": name}, "minReplicas": rest(number), "maxReplicas": 1_000,
                "pollingInterval": "1s", "cooldownPeriod": "0s",
                "triggers": [{"connection": "redis", "redisList": {"keys": [name]},
                    "policy": {"backlogPerReplica": {"target": TARGET}}}],
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}})
    }

    /// Makes every list as long as `length` says, all of them in one moment.
    fn fill(&self, pipe: &mut Connection, length: impl Fn(usize) -> i64) {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for number in 0..self.count {
            pipeline.cmd("DEL").arg(name(number)).ignore();
            let length = usize::try_from(length(number)).unwrap();
            if length > 0 {
                pipeline.cmd("RPUSH").arg(name(number)).arg(vec!["x"; length]).ignore();
            }
        }
        pipeline.exec(pipe).unwrap();
    }

    fn walk(&self, pipe: &mut Connection, backlogs: &mut [i64], chance: &mut u64) {
        let mut pipeline = redis::pipe();
        for (number, backlog) in backlogs.iter_mut().enumerate() {
            let step = (odd(chance) % 7) as i64 - 3;
            let next = (*backlog + step).max(0);
            match usize::try_from(next - *backlog) {
                Ok(0) => {}
                Ok(more) => drop(pipeline.cmd("RPUSH").arg(name(number)).arg(vec!["x"; more]).ignore()),
                Err(_) => drop(pipeline.cmd("LPOP").arg(name(number)).arg(*backlog - next).ignore()),
            }
            *backlog = next;
        }
        pipeline.exec(pipe).unwrap();
    }

    /// From the first POST until all say Ready, and all with work are patched.
    fn new_ones(&self, pipe: &mut Connection) -> Option<String> {
        let with_work: HashSet<String> = (0..self.count).filter(|n| has_work(*n, self.count)).map(name).collect();
        self.fill(pipe, |number| if has_work(number, self.count) { wanted(number) } else { 0 });
        let ready = self.server.watch(("tidegate.dev", "v1alpha1", "queueautoscalers"), |object| {
            condition(object, "Ready") == Some("True")
        });
        let objects: Vec<Value> = (0..self.count).map(|number| self.autoscaler(number)).collect();
        let began = wall();
        self.server.create_all(&objects);
        let posted = wall() - began;
        let mut first: HashMap<String, f64> = HashMap::new();
        let mut read = 0;
        let in_time = within(Duration::from_secs(1_200), || {
            let seen = ready.seen();
            for (at, name, _) in seen[read..].iter().filter(|(_, _, ready)| *ready) {
                first.entry(name.clone()).or_insert(*at - began);
            }
            read = seen.len();
            first.len() == self.count
        });
        assert!(in_time, "{} of {} are ready", first.len(), self.count);
        let mut patched = HashMap::new();
        let all = within(Duration::from_secs(600), || {
            std::thread::sleep(Duration::from_millis(200));
            patched = self.server.patched(began);
            with_work.iter().all(|name| patched.contains_key(name))
        });
        assert!(all, "{} of {} are patched", patched.len(), with_work.len());
        let ready: Vec<f64> = first.into_values().collect();
        let patched: Vec<f64> =
            patched.into_iter().filter(|(name, _)| with_work.contains(name)).map(|(_, at)| at - began).collect();
        println!("  new: {} POSTs took {posted:.1} s; since the first of them", self.count);
        println!("    Ready=True in the status      {}   (KEDA, 1,000: 456 s until all work)", seconds(&ready));
        println!("    the {} with work, patched    {}", with_work.len(), seconds(&patched));
        let last = quantile(&ready, 1.0).max(quantile(&patched, 1.0));
        let goal = self.count <= GOALS_ARE_FOR && last > GOAL_NEW;
        goal.then(|| format!("{}: {} new ones took {last:.1} s", self.server.name, self.count))
    }

    /// From the moment that all lists are filled until all are patched.
    fn woken(&self, pipe: &mut Connection, limits: &str) -> Option<String> {
        let began = wall();
        self.fill(pipe, wanted);
        let filled = wall() - began;
        let mut patched = HashMap::new();
        let all = within(Duration::from_secs(600), || {
            std::thread::sleep(Duration::from_millis(200));
            patched = self.server.patched(began);
            patched.len() == self.count
        });
        assert!(all, "{} of {} are patched", patched.len(), self.count);
        // Who is at zero comes before who is not; of the others, who lacks most (`target/actuator/rank.rs`).
        let urgency = |number: usize| if rest(number) == 0 { -1e9 } else { -(wanted(number) as f64) };
        let of = |which: fn(usize) -> bool, key: &dyn Fn(usize) -> f64| -> f64 {
            let numbers = (0..self.count).filter(|number| which(*number));
            rank_correlation(&numbers.map(|number| (key(number), patched[&name(number)])).collect::<Vec<_>>())
        };
        let times = |which: fn(usize) -> bool| -> Vec<f64> {
            (0..self.count).filter(|number| which(*number)).map(|number| patched[&name(number)] - began).collect()
        };
        println!("  woken: {} lists filled in one transaction ({:.0} ms of it), {limits}", self.count, filled * 1e3);
        println!(
            "    all patched                   {}   (KEDA, 1,000: 99 s until all have a replica)",
            seconds(&times(|_| true))
        );
        println!("    those at 0                    {}", seconds(&times(|number| rest(number) == 0)));
        println!("    those at 1                    {}", seconds(&times(|number| rest(number) == 1)));
        println!(
            "    order of patches and urgency  rank correlation {:.2} (all), {:.2} (those at 1); with the backlog of those at 0 {:.2}",
            of(|_| true, &urgency),
            of(|number| rest(number) == 1, &urgency),
            of(|number| rest(number) == 0, &|number| -(wanted(number) as f64)),
        );
        let last = quantile(&times(|_| true), 1.0);
        let goal = self.count <= GOALS_ARE_FOR && last > GOAL_WOKEN;
        goal.then(|| format!("{}: {} woken took {last:.1} s ({limits})", self.server.name, self.count))
    }

    /// Waits until nothing is written any more but the Lease and checkpoints.
    fn settle(&self, tidegate: &Tidegate) {
        let began = Instant::now();
        let quiet = within(Duration::from_secs(900), || {
            std::thread::sleep(Duration::from_secs(1));
            let waits = tidegate.metric("tidegate_status_writes_waiting").unwrap_or(0.0);
            let asked = self.server.asked(wall() - REST);
            waits == 0.0 && began.elapsed().as_secs_f64() > REST && asked.iter().all(is_housekeeping)
        });
        let asked = self.server.asked(wall() - REST);
        assert!(quiet, "it never rests: {:?}", counts(&asked));
    }

    fn window(&self, what: &str, tidegate: &Tidegate, span: Duration, mut each_second: impl FnMut()) -> Option<String> {
        let (metrics, cpu, server_cpu) = (tidegate.get("/metrics").body, tidegate.cpu_seconds(), self.server.cpu());
        let (began, from) = (Instant::now(), wall());
        let mut beat = began;
        while beat < began + span {
            each_second();
            beat += Duration::from_secs(1);
            std::thread::sleep(beat.saturating_duration_since(Instant::now()));
        }
        let took = began.elapsed().as_secs_f64();
        let cpu = (tidegate.cpu_seconds() - cpu) / took;
        let asked = self.server.asked(from);
        let after = tidegate.get("/metrics").body;
        let rate = |name: &str| (sum(&after, name) - sum(&metrics, name)) / took;
        println!("  {what}, over {took:.0} s");
        println!(
            "    decisions that changed {:.1}/s; requests {:.2}/s, of them writes {:.2}/s",
            rate("tidegate_decisions_total"),
            asked.len() as f64 / took,
            asked.iter().filter(|asked| !matches!(&*asked.verb, "get" | "list" | "watch")).count() as f64 / took,
        );
        for ((verb, resource), (number, bytes)) in counts(&asked) {
            let sent =
                if bytes > 0 { format!(", {:.0} bytes each", bytes as f64 / number as f64) } else { String::new() };
            println!("      {verb:<7}{resource:<26}{number:>7} in all {:>9.2}/s{sent}", number as f64 / took);
        }
        let server = self.server.cpu().into_iter().map(|(name, used)| {
            format!("; {name} {:.3} cores", (used - server_cpu.get(name).copied().unwrap_or(0.0)) / took)
        });
        println!("    tidegate {cpu:.3} cores, {:.1} MiB{}", tidegate.rss_mib(), server.collect::<String>());
        let stray: Vec<_> = asked.iter().filter(|asked| !is_housekeeping(asked)).collect();
        (!stray.is_empty())
            .then(|| format!("{}: {} requests by {} that are {what}", self.server.name, stray.len(), self.count))
    }
}

/// The Lease, watches that are opened anew, whether KEDA was installed meanwhile, and memory for the next process.
fn is_housekeeping(asked: &Asked) -> bool {
    matches!(&*asked.resource, "leases" | "configmaps" | DISCOVERY) || asked.verb == "watch"
}

fn counts(asked: &[Asked]) -> BTreeMap<(String, String), (usize, usize)> {
    let mut counts: BTreeMap<(String, String), (usize, usize)> = BTreeMap::new();
    for asked in asked {
        let entry = counts.entry((asked.verb.clone(), asked.resource.clone())).or_default();
        *entry = (entry.0 + 1, entry.1 + asked.bytes);
    }
    counts
}
