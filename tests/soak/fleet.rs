//! Servers, their proxies, the house that reads through them, and the producers who know what is in there.

use std::time::{Duration, Instant, SystemTime};

use redis::Connection;
use serde_json::Value;

use crate::faults::Fault;
use crate::luck::Luck;
use crate::proxy::{Mode, Proxy};
use crate::support::redis::RedisProcess;
use crate::support::tidegate::Tidegate;
use crate::truth::{Truth, wants};
use crate::{patiently, seconds};

pub const SERVERS: usize = 4;
/// Four keys each.
const AUTOSCALERS: usize = 500;
const KEYS: usize = 4;
/// Between two turns of the producers.
const TURN: Duration = Duration::from_millis(200);
/// Queues that become longer or shorter in one turn.
const CHANGES: usize = 10;
/// A key holds fewer than these.
const LONGEST: usize = 50;

struct Server {
    process: RedisProcess,
    proxy: Proxy,
    own: Option<Connection>,
}

/// What the process takes of the machine, at one moment.
#[derive(Clone, Copy, Debug)]
struct Footprint {
    mib: f64,
    files: usize,
    threads: usize,
}

/// What the metrics of a connection told of trouble.
#[derive(Clone, Debug)]
pub struct Trouble {
    failures: f64,
    attempts: f64,
    seconds: f64,
}

pub struct Fleet {
    servers: Vec<Server>,
    tidegate: Tidegate,
    luck: Luck,
    lengths: Vec<[usize; KEYS]>,
    truths: Vec<Truth>,
    footprints: Vec<Footprint>,
    looked: Instant,
    settled: Option<Footprint>,
}

/// Every tenth reads a queue of BullMQ, whose facts come the careful way; the others plain lists.
fn is_bull(autoscaler: usize) -> bool {
    autoscaler % 10 == 3
}

fn key(autoscaler: usize, number: usize) -> String {
    if is_bull(autoscaler) {
        let part = ["wait", "prioritized", "paused", "active"][number];
        format!("bull:b{autoscaler}:{part}")
    } else {
        format!("q{autoscaler}:{number}")
    }
}

fn server_of(autoscaler: usize) -> usize {
    autoscaler % SERVERS
}

impl Server {
    /// Puts into an empty server what is in its queues.
    fn fill(&mut self, number: usize, lengths: &[[usize; KEYS]]) {
        let mut pipeline = redis::pipe();
        for (autoscaler, lengths) in lengths.iter().enumerate().filter(|(n, _)| server_of(*n) == number) {
            for (number, length) in lengths.iter().enumerate().filter(|(_, length)| **length > 0) {
                pipeline.cmd("RPUSH").arg(key(autoscaler, number)).arg(vec!["x"; *length]).ignore();
            }
        }
        self.own = self.process.connect().ok();
        pipeline.exec(self.own.as_mut().expect("a server that was just started")).unwrap();
    }
}

impl Fleet {
    pub fn start(seed: u64) -> Self {
        let mut luck = Luck::new(seed ^ 0xabcd);
        let mut servers: Vec<Server> = (0..SERVERS)
            .map(|number| {
                let process = RedisProcess::start();
                let proxy = Proxy::before(process.address(), seed + number as u64);
                let own = process.connect().ok();
                Server { process, proxy, own }
            })
            .collect();
        let lengths: Vec<[usize; KEYS]> = (0..AUTOSCALERS)
            .map(|n| std::array::from_fn(|k| if is_bull(n) && k > 0 { 0 } else { luck.below(LONGEST) }))
            .collect();
        let mut truths: Vec<Truth> = (0..AUTOSCALERS).map(|_| Truth::default()).collect();
        for (truth, lengths) in truths.iter_mut().zip(&lengths) {
            truth.becomes(lengths.iter().sum(), SystemTime::now());
        }
        for (number, server) in servers.iter_mut().enumerate() {
            server.fill(number, &lengths);
        }
        let arguments = ["--target", "memory", "--rehearsal-start-up", "10ms"];
        let tidegate = Tidegate::start(&manifests(&servers), &arguments);
        tidegate.until_ready();
        let looked = Instant::now();
        Fleet { servers, tidegate, luck, lengths, truths, footprints: Vec::new(), looked, settled: None }
    }

    pub fn commit(&mut self, fault: Fault, server: usize) {
        let server = &mut self.servers[server];
        match fault {
            Fault::Killed => {
                server.own = None;
                // Nobody is to find the next one before it is filled.
                server.proxy.set(Mode::Shut);
                server.process.kill();
            }
            Fault::Frozen => {
                server.own = None;
                server.process.freeze();
            }
            Fault::Reset => server.proxy.reset(),
            Fault::Proxied(mode) => server.proxy.set(mode),
        }
    }

    pub fn undo(&mut self, fault: Fault, number: usize) {
        match fault {
            Fault::Killed => {
                self.servers[number].process.restart();
                self.servers[number].fill(number, &self.lengths);
            }
            Fault::Frozen => {
                self.servers[number].process.thaw();
                self.servers[number].own = self.servers[number].process.connect().ok();
            }
            Fault::Reset | Fault::Proxied(_) => {}
        }
        self.servers[number].proxy.set(Mode::Pass);
    }

    /// Producers and consumers do their work, and the footprint is taken.
    pub fn work_for(&mut self, span: Duration) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            for _ in 0..CHANGES {
                let (autoscaler, length) = (self.luck.below(AUTOSCALERS), self.luck.below(LONGEST));
                let number = if is_bull(autoscaler) { 0 } else { self.luck.below(KEYS) };
                self.change(autoscaler, number, length);
            }
            if self.looked.elapsed() > Duration::from_secs(1) {
                self.looked = Instant::now();
                let footprint = self.footprint();
                self.footprints.push(footprint);
            }
            std::thread::sleep(TURN.min(end.saturating_duration_since(Instant::now())));
        }
    }

    fn change(&mut self, autoscaler: usize, number: usize, length: usize) {
        let Some(own) = &mut self.servers[server_of(autoscaler)].own else { return };
        let before = self.lengths[autoscaler][number];
        self.lengths[autoscaler][number] = length;
        self.truths[autoscaler].becomes(self.lengths[autoscaler].iter().sum(), SystemTime::now());
        let key = key(autoscaler, number);
        // In one step, so that nobody sees what lies between.
        if length > before {
            redis::cmd("RPUSH").arg(key).arg(vec!["x"; length - before]).exec(own).unwrap();
        } else if length < before {
            redis::cmd("LTRIM").arg(key).arg(before - length).arg(-1).exec(own).unwrap();
        }
    }

    /// Waits until everything is fresh, and stands where its backlog wants it.
    pub fn settle(&mut self, patience: Duration) {
        patiently("everything fresh, and at the replicas of its backlog", patience, || {
            let list = self.tidegate.get("/api/v1/autoscalers").json();
            let items = list["items"].as_array().unwrap();
            assert_eq!(items.len(), AUTOSCALERS);
            let stale = items.iter().filter(|item| item["health"] != "fresh").count();
            if stale > 0 {
                return Some(format!("{stale} are not fresh"));
            }
            let standing = self.workloads();
            let wrong =
                standing.iter().zip(&self.truths).filter(|(book, truth)| book["replicas"] != wants(truth.now()));
            let wrong = wrong.count();
            (wrong > 0).then(|| format!("{wrong} stand elsewhere"))
        });
        // Connections that were given up are closed by then, too.
        std::thread::sleep(Duration::from_secs(1));
        if self.settled.is_none() {
            self.settled = Some(self.footprint());
        }
    }

    /// In the order of their numbers.
    fn workloads(&self) -> Vec<Value> {
        let list = self.tidegate.get("/api/v1/workloads").json();
        let mut all: Vec<Value> = list["workloads"].as_array().unwrap().clone();
        all.sort_by_key(|workload| workload["name"].as_str().unwrap()[1..].parse::<usize>().unwrap());
        assert_eq!(all.len(), AUTOSCALERS);
        all
    }

    pub fn trouble(&self, server: usize) -> Trouble {
        let metrics = self.tidegate.get("/metrics").body;
        let connection = format!("connection=\"soak/server-{server}\"");
        let sum = |name: &str| -> f64 {
            let of = |line: &&str| {
                line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{')) && line.contains(&connection)
            };
            metrics.lines().filter(of).filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        };
        Trouble {
            failures: sum("tidegate_poll_failures_total"),
            attempts: sum("tidegate_connection_attempts_total"),
            seconds: sum("tidegate_poll_round_duration_seconds_sum"),
        }
    }

    /// Whether the metrics tell of a fault that has been.
    pub fn assert_told(&self, fault: Fault, server: usize, before: &Trouble) {
        let after = self.trouble(server);
        let told = if fault.only_delays() {
            after.seconds > before.seconds + 0.15
        } else {
            after.failures > before.failures || (fault == Fault::Reset && after.attempts > before.attempts)
        };
        assert!(told, "{} of server {server} shows in no metric: {before:?}, then {after:?}", fault.name());
    }

    fn footprint(&self) -> Footprint {
        let pid = self.tidegate.pid();
        let count = |what: &str| std::fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
        Footprint { mib: self.tidegate.rss_mib(), files: count("fd"), threads: count("task") }
    }

    /// Memory, file descriptors, threads and connections are what they were.
    pub fn assert_nothing_grew(&self) {
        let (before, after) = (self.settled.unwrap(), self.footprint());
        let third = self.footprints.len() / 3;
        let most = |part: &[Footprint]| part.iter().map(|footprint| footprint.mib).fold(0.0, f64::max);
        let (first, last) = (most(&self.footprints[..third]), most(&self.footprints[2 * third..]));
        let files = self.footprints.iter().map(|footprint| footprint.files).max().unwrap();
        let threads = self.footprints.iter().map(|footprint| footprint.threads).max().unwrap();
        println!(
            "before {before:?}, after {after:?}; most memory {first:.1} MiB in the first third, {last:.1} in the last; most \
             files {files}, most threads {threads}"
        );
        assert!(last <= first * 1.15 + 8.0, "memory grows: {:?}", self.footprints);
        assert!(after.files <= before.files + 4 && files <= before.files + 4 * SERVERS, "files: {:?}", self.footprints);
        assert!(threads <= before.threads + 4, "threads: {:?}", self.footprints);
        for (number, server) in self.servers.iter().enumerate() {
            let (open, accepted) = (server.proxy.open(), server.proxy.accepted());
            println!("server {number}: {accepted} connections were made, {open} is open");
            assert!((1..=2).contains(&open), "server {number} has {open} connections");
        }
    }

    /// Each scale-down is what a true backlog of its last seconds asks for.
    pub fn assert_drops_explained(&self) {
        let (mut drops, mut rises) = (0, 0);
        for (number, (book, truth)) in self.workloads().iter().zip(&self.truths).enumerate() {
            let changes: Vec<(f64, i64)> = book["history"]
                .as_array()
                .unwrap()
                .iter()
                .map(|change| {
                    let at: jiff::Timestamp = change["at"].as_str().unwrap().parse().unwrap();
                    (seconds(SystemTime::from(at)), change["replicas"].as_i64().unwrap())
                })
                .collect();
            assert!(book["forgotten"].as_u64().unwrap_or(0) == 0, "the books are complete");
            for pair in changes.windows(2) {
                let (at, replicas) = pair[1];
                if replicas >= pair[0].1 {
                    rises += 1;
                    continue;
                }
                drops += 1;
                assert!(
                    truth.explains(at, replicas),
                    "q{number} went from {} to {replicas}, which no backlog of that time explains: {:?}; books {changes:?}",
                    pair[0].1,
                    truth.tail(at)
                );
            }
        }
        println!("{drops} scale-downs and {rises} scale-ups, each scale-down explained by what was in the queues");
        assert!(drops > AUTOSCALERS, "the queues moved: {drops} scale-downs");
    }
}

fn manifests(servers: &[Server]) -> String {
    let mut text = String::new();
    for (number, server) in servers.iter().enumerate() {
        text += &format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: server-{number}, namespace: soak }}\n\
             spec: {{ redis: {{ address: \"{}\", connectTimeout: 500ms, responseTimeout: 300ms }} }}\n",
            server.proxy.address
        );
    }
    for autoscaler in 0..AUTOSCALERS {
        let keys: Vec<String> = (0..KEYS).map(|number| format!("\"{}\"", key(autoscaler, number))).collect();
        let source = if is_bull(autoscaler) {
            format!("bullmq: {{ queues: [b{autoscaler}] }}")
        } else {
            format!("redisList: {{ keys: [{}] }}", keys.join(", "))
        };
        text += &format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: q{autoscaler}, namespace: soak }}\n\
             spec: {{ scaleTargetRef: {{ name: q{autoscaler} }}, pollingInterval: 500ms, maxSampleAge: 3s, minReplicas: 1, \
             maxReplicas: 40, cooldownPeriod: 300s, behavior: {{ scaleDown: {{ stabilizationWindowSeconds: 0 }} }}, \
             triggers: [{{ connection: server-{}, {source}, policy: {{ backlogPerReplica: {{ target: 5 }} }} }}] }}\n",
            server_of(autoscaler)
        );
    }
    text
}
