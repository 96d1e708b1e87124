//! Failovers under load, seen from the whole process: how long samples are stale, that nothing goes down because of it,
//! and that everything comes back without a restart.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::is_long;
use crate::support::redis::RedisProcess;
use crate::support::redis_cluster::{NODE_TIMEOUT, RedisCluster};
use crate::support::sentinels::{DOWN_AFTER, MASTER, Sentinels, until};
use crate::support::tidegate::Tidegate;

const QUEUES: usize = 12;
/// Items of each queue, one for each replica.
const ITEMS: usize = 5;

fn manifests(redis: &str) -> String {
    let mut text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: main, namespace: pulse }}\n\
         spec: {{ redis: {{ {redis}, connectTimeout: 500ms, responseTimeout: 300ms }} }}\n"
    );
    for i in 0..QUEUES {
        text += &format!(
            "---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\n\
             metadata: {{ name: q-{i}, namespace: pulse }}\nspec:\n  scaleTargetRef: {{ name: q-{i} }}\n  \
             pollingInterval: 100ms\n  maxSampleAge: 500ms\n  minReplicas: 0\n  maxReplicas: 100\n  \
             cooldownPeriod: 1s\n  triggers:\n    - connection: main\n      redisList: {{ keys: [\"queue:{i}\"] }}\n      \
             policy: {{ backlogPerReplica: {{ target: 1 }} }}\n  behavior:\n    \
             scaleDown: {{ stabilizationWindowSeconds: 0 }}\n"
        );
    }
    text
}

/// What is seen of all autoscalers while something happens.
struct Watched {
    /// How long the oldest value that counted was, at most, and how long values were stale.
    oldest: Duration,
    stale: Duration,
    lowest: i64,
}

/// Looks at all autoscalers until `done`, and then until all are fresh again.
fn watch(tidegate: &Tidegate, done: &AtomicBool) -> Watched {
    let mut watched = Watched { oldest: Duration::ZERO, stale: Duration::ZERO, lowest: i64::MAX };
    let mut stale_since: Option<Instant> = None;
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let list = tidegate.get("/api/v1/autoscalers").json();
        let items = list["items"].as_array().unwrap();
        assert_eq!(items.len(), QUEUES);
        let fresh = items.iter().all(|item| item["health"] == "fresh");
        for item in items {
            let desired = item["desired"].as_i64().unwrap();
            watched.lowest = watched.lowest.min(desired);
            if let Some(age) = item["valueAgeSeconds"].as_f64() {
                watched.oldest = watched.oldest.max(Duration::from_secs_f64(age));
            }
        }
        match (fresh, stale_since) {
            (false, None) => stale_since = Some(Instant::now()),
            (true, Some(since)) => {
                watched.stale += since.elapsed();
                stale_since = None;
            }
            _ => {}
        }
        if fresh && done.load(Ordering::Relaxed) {
            return watched;
        }
        assert!(Instant::now() < give_up, "never fresh again: {list}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Somebody pushes and takes as fast as one client can, on the same servers, until told to stop.
fn load(address: &str, keys: &[String], stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        let Ok(mut connection) = client.get_connection_with_timeout(Duration::from_millis(200)) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        let _ = connection.set_read_timeout(Some(Duration::from_millis(500)));
        while !stop.load(Ordering::Relaxed) {
            let mut pipe = redis::pipe();
            for key in keys {
                for _ in 0..20 {
                    pipe.cmd("RPUSH").arg(key).arg("x").ignore();
                    pipe.cmd("LPOP").arg(key).ignore();
                }
            }
            if pipe.exec(&mut connection).is_err() {
                break;
            }
        }
    }
}

fn all_stand(tidegate: &Tidegate) {
    until("all stand", || {
        let list = tidegate.get("/api/v1/autoscalers").json();
        list["items"].as_array().unwrap().iter().all(|item| item["desired"] == ITEMS && item["health"] == "fresh")
    });
}

#[test]
fn a_master_is_lost_under_load_and_nothing_goes_down() {
    let mut rig = Sentinels::start();
    rig.settle();
    for i in 0..QUEUES {
        let key = format!("queue:{i}");
        let _: i64 = rig.servers[0].command(&[&["RPUSH", key.as_str()], vec!["x"; ITEMS].as_slice()].concat());
    }
    let addresses = rig.addresses().iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
    let redis = format!("sentinel: {{ addresses: [{addresses}], master: {MASTER} }}");
    let tidegate = Tidegate::start(&manifests(&redis), &["--target", "memory"]);
    all_stand(&tidegate);
    for round in 0..if is_long() { 5 } else { 1 } {
        let old = rig.master();
        let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let position = rig.servers.iter().position(|server| server.address() == old).unwrap();
        let noise: Vec<String> = (0..50).map(|i| format!("noise:{i}")).collect();
        std::thread::scope(|scope| {
            let address = old.clone();
            let stop = &stop;
            scope.spawn(move || load(&address, &noise, stop));
            std::thread::sleep(Duration::from_millis(500));
            // The queues' own items have reached the replicas by then; what the noise made of the lag does not count.
            let watching = scope.spawn(|| watch(&tidegate, &done));
            rig.servers[position].kill();
            let killed = Instant::now();
            let new = rig.await_master_other_than(&old);
            println!("sentinel, round {round}: {old} killed, {new} the master after {:?}", killed.elapsed());
            stop.store(true, Ordering::Relaxed);
            done.store(true, Ordering::Relaxed);
            report("sentinel", &watching.join().unwrap(), DOWN_AFTER);
        });
        rig.servers[position].restart();
        rig.settle();
        all_stand(&tidegate);
    }
}

#[test]
fn a_node_is_lost_under_load_and_nothing_goes_down() {
    let mut cluster = RedisCluster::with(3, 1, &[]);
    let keys: Vec<String> = (0..QUEUES).map(|i| format!("queue:{i}")).collect();
    cluster.fill(&keys, |_| ITEMS);
    let addresses = cluster.addresses().iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ");
    let tidegate =
        Tidegate::start(&manifests(&format!("cluster: {{ addresses: [{addresses}] }}")), &["--target", "memory"]);
    all_stand(&tidegate);
    for round in 0..if is_long() { 5 } else { 1 } {
        let (stop, done) = (AtomicBool::new(false), AtomicBool::new(false));
        let victim = primary(&cluster, round % 3);
        std::thread::scope(|scope| {
            for (i, node) in cluster.nodes.iter().take(3).enumerate() {
                let noise: Vec<String> =
                    (0..).map(|n| format!("noise:{n}")).filter(|key| cluster.home(key) == i).take(30).collect();
                let (address, stop) = (node.address(), &stop);
                scope.spawn(move || load(&address, &noise, stop));
            }
            std::thread::sleep(Duration::from_millis(500));
            let watching = scope.spawn(|| watch(&tidegate, &done));
            let killed = Instant::now();
            // SIGSTOP would leave its connections open, and the load's threads with them.
            signal(&cluster.nodes[victim], "-KILL");
            until("a replica leads", || {
                let others = cluster.nodes.iter().enumerate().filter(|(i, _)| *i != victim);
                others
                    .filter_map(|(_, node)| crate::support::sentinels::role(node))
                    .filter(|role| role == "master")
                    .count()
                    == 3
            });
            println!("cluster, round {round}: node {victim} killed, replaced after {:?}", killed.elapsed());
            stop.store(true, Ordering::Relaxed);
            done.store(true, Ordering::Relaxed);
            report("cluster", &watching.join().unwrap(), NODE_TIMEOUT);
        });
        cluster.nodes[victim].restart();
        cluster.settle();
        all_stand(&tidegate);
    }
}

/// The node that leads the slots that the primary `i` had to begin with.
fn primary(cluster: &RedisCluster, i: usize) -> usize {
    [i, i + 3]
        .into_iter()
        .find(|node| crate::support::sentinels::role(&cluster.nodes[*node]).is_some_and(|role| role == "master"))
        .unwrap()
}

fn signal(server: &RedisProcess, signal: &str) {
    let status = std::process::Command::new("kill").args([signal, &server.pid().to_string()]).status().unwrap();
    assert!(status.success());
}

fn report(what: &str, watched: &Watched, theirs: Duration) {
    let Watched { oldest, stale, lowest } = watched;
    println!(
        "{what}: samples were stale for {stale:?} (the oldest value: {oldest:?}); their own time to notice: {theirs:?}"
    );
    assert_eq!(*lowest, ITEMS as i64, "{what}: somebody went down");
    assert!(*stale > Duration::ZERO, "{what}: nothing was seen of it at all");
}
