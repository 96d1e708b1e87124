//! Idle queues of real redis-servers through the whole poller: what they cost, and how soon their first item is seen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::polling::{self, Polling, autoscaler, backlog_of, connection, list, redis_server};
use crate::support::redis::RedisProcess;
use crate::support::redis_cluster::RedisCluster;
use tidegate::model::Key;
use tidegate::spec::{ConnectionSpec, RedisServer, Secret, SecretRef, Topology};
use tidegate::telemetry::names::{POLL_COMMANDS, POLL_READS, POLL_WAKES};

const FAST: Duration = Duration::from_millis(50);
/// So seldom that whoever is read in between was woken.
const SELDOM: Duration = Duration::from_secs(3);
/// What a wake-up may take on a busy machine; on an idle one it takes a quarter of a millisecond.
const WOKEN: Duration = Duration::from_millis(500);

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let give_up = Instant::now() + polling::PATIENCE;
    while !holds() {
        assert!(Instant::now() < give_up, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn push(server: &RedisProcess, key: &str) {
    let _: i64 = server.command(&["RPUSH", key, "x"]);
}

/// Keys of whose changes a server will tell.
fn armed(server: &RedisProcess) -> usize {
    let info: String = server.command(&["INFO", "stats"]);
    let field = info.lines().find_map(|line| line.strip_prefix("tracking_total_keys:"));
    field.and_then(|keys| keys.parse().ok()).expect("a server of version 6 or younger")
}

/// Autoscalers of one queue each.
fn watch(polling: &Polling, redis: &Arc<ConnectionSpec>, first: u32, names: &[String], interval: Duration) {
    for (key, name) in (first..).zip(names) {
        polling.set(key, &autoscaler(name, interval, &[(redis, list(&[name]))]));
    }
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{prefix}:{at}")).collect()
}

/// Pushes to one queue after the other, and says how long it took until each was seen; all before their time.
fn wake_all(polling: &Polling, first: u32, push: impl Fn(&str), names: &[String]) {
    polling.drain();
    let mut took = Vec::new();
    for (key, name) in (first..).map(Key).zip(names) {
        let pushed = Instant::now();
        push(name);
        polling.until(name, |sample| sample.key == key && backlog_of(sample) == Some(1.0));
        took.push(pushed.elapsed());
    }
    took.sort();
    println!("from before a push until its sample: {took:?}");
    // One or two may just have been due.
    let late = took.iter().filter(|took| **took > WOKEN).count();
    assert!(late <= 1, "{took:?}");
}

#[test]
fn the_first_item_of_an_idle_queue_is_seen_at_once_however_seldom_it_is_polled() {
    let server = RedisProcess::start();
    let polling = Polling::start();
    let names = names("idle", 20);
    watch(&polling, &polling::redis(server.address()), 0, &names, SELDOM);
    until("all to be armed", || armed(&server) == names.len());
    wake_all(&polling, 0, |name| push(&server, name), &names);
    assert!(polling.metric(&[POLL_WAKES]) >= 18.0);
    assert_eq!(armed(&server), 0, "who is at work is polled, and not armed");
}

#[test]
fn idle_queues_cost_their_server_next_to_nothing_and_busy_ones_what_they_did() {
    let server = RedisProcess::start();
    let polling = Polling::start();
    let redis = polling::redis(server.address());
    let (busy, idle) = (names("busy", 10), names("idle", 290));
    busy.iter().for_each(|name| push(&server, name));
    watch(&polling, &redis, 0, &busy, FAST);
    watch(&polling, &redis, 10, &idle, FAST);
    until("all that are idle to be armed", || armed(&server) == idle.len());
    std::thread::sleep(Duration::from_secs(1));
    let calls = || ["llen", "exists", "client|caching"].map(|name| server.calls(name));
    let counted = || polling.metric(&[POLL_COMMANDS]);
    let (before, began, commands) = (calls(), Instant::now(), counted());
    std::thread::sleep(Duration::from_secs(3));
    let (after, seconds, commands) = (calls(), began.elapsed().as_secs_f64(), counted() - commands);
    let [llen, exists, caching] = [0, 1, 2].map(|at| (after[at] - before[at]) as f64 / seconds);
    println!("a second, of 6,000 reads: {llen:.0} LLEN, {exists:.1} EXISTS, {caching:.1} CACHING");
    assert!((150.0..=210.0).contains(&llen), "{llen} LLEN a second of ten busy queues at 20 Hz");
    assert!((1.0..=10.0).contains(&exists) && caching <= exists + 1.0, "{exists} probes a second of three groups");
    let told = commands / seconds;
    assert!((told - llen - exists - caching).abs() < 0.2 * told, "{told} commands a second are counted");
    let reads = polling.metric(&[POLL_READS]);
    assert!(reads > 10_000.0, "{reads}");
}

#[test]
fn what_a_server_does_not_grant_is_said_once_and_done_without() {
    let server = RedisProcess::with(&["user reader on >open-sesame ~* -@all +llen +exists +client|setname"]);
    let login = RedisServer {
        username: Some("reader".into()),
        password: Some(SecretRef::Inline(Secret::new("open-sesame"))),
        ..redis_server(server.address())
    };
    let polling = Polling::start();
    let names = names("idle", 5);
    watch(&polling, &connection(login), 0, &names, FAST);
    until("groups", || server.calls("exists") > 20);
    for (key, name) in (0..).zip(&names) {
        push(&server, name);
        polling.until_backlog(key, 1.0);
    }
    let said = || polling.log().matches("does not tell of changes").count();
    assert_eq!(said(), 1, "{}", polling.log());
    let _: i64 = server.command(&["CLIENT", "KILL", "USER", "reader"]);
    polling.drain();
    for key in 0..5 {
        polling.until_backlog(key, 1.0);
    }
    assert_eq!(said(), 1);
}

#[test]
fn a_lost_connection_and_an_emptied_server_are_armed_anew() {
    let server = RedisProcess::start();
    let polling = Polling::start();
    let names = names("idle", 10);
    watch(&polling, &polling::redis(server.address()), 0, &names, SELDOM);
    until("all to be armed", || armed(&server) == names.len());
    // The server keeps no count of whom it has to tell: that they are armed anew shows in what arms them.
    let arming = || server.calls("client|caching");
    let before = arming();
    let _: i64 = server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
    until("all to be armed anew", || arming() > before);
    let (one, rest) = names.split_at(5);
    wake_all(&polling, 0, |name| push(&server, name), one);
    let before = arming();
    let _: String = server.command(&["FLUSHALL"]);
    until("the rest to be armed after the flush", || arming() > before && armed(&server) == rest.len());
    wake_all(&polling, 5, |name| push(&server, name), rest);
}

#[test]
fn idle_queues_all_over_a_cluster_are_armed_on_their_nodes() {
    let cluster = RedisCluster::start();
    let server = RedisServer {
        topology: Topology::Cluster { addresses: cluster.addresses() },
        ..redis_server(cluster.addresses()[0].clone())
    };
    let polling = Polling::start();
    let names = names("idle", 12);
    watch(&polling, &connection(server), 0, &names, SELDOM);
    let all = || cluster.nodes.iter().map(armed).sum::<usize>();
    until("all to be armed", || all() == names.len());
    wake_all(&polling, 0, |name| push(&cluster.nodes[cluster.home(name)], name), &names);
}
