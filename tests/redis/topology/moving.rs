//! Slots that move while they are read: no read is lost, and no item is missed.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use redis::Value;
use tidegate::model::{FailureKind, Sample};
use tidegate::spec::{RedisServer, Secret, SecretRef};

use super::cluster::poll;
use super::specs::{cluster_server, of_cluster};
use super::{FAST, is_long};
use crate::support::polling::{Polling, autoscaler, backlog_of, connection, list};
use crate::support::redis_cluster::{RedisCluster, slot};

/// Every sample is the number that there is, whichever node has it.
fn all_right(samples: &[Sample], keys: usize, items: f64) {
    let wrong: Vec<_> = samples.iter().filter(|sample| backlog_of(sample) != Some(items)).take(5).collect();
    assert!(wrong.is_empty(), "of {} samples of {keys} keys: {wrong:?}", samples.len());
}

#[test]
fn a_slot_that_moves_is_read_all_the_way() {
    let mut cluster = RedisCluster::start();
    // Six keys of one slot, and a few of others.
    let mut keys: Vec<String> = (0..6).map(|i| format!("{{tag}}:{i}")).collect();
    keys.extend((0..30).map(|i| format!("queue:{i}")));
    cluster.fill(&keys, |_| 2);
    let polling = Polling::start();
    poll(&polling, &of_cluster(&cluster), &keys, FAST);
    polling.until_backlog(35, 2.0);
    polling.drain();
    let from = cluster.home("{tag}");
    let to = (from + 1) % 3;
    // To a node that has slots already, and from there to one that is new and has none.
    let mut samples = Vec::new();
    cluster.move_slot(slot("{tag}"), from, to, || samples.extend(polling.collect(6 * FAST)));
    samples.extend(polling.collect(6 * FAST));
    let asked: u64 = cluster.nodes.iter().map(|node| node.calls("asking")).sum();
    assert!(asked > 0, "half of the keys had gone, and nobody asked");
    let new = cluster.add();
    cluster.move_slot(slot("{tag}"), to, new, || samples.extend(polling.collect(6 * FAST)));
    samples.extend(polling.collect(10 * FAST));
    assert!(samples.len() > 36 * 15, "{} samples", samples.len());
    all_right(&samples, keys.len(), 2.0);
    assert!(cluster.nodes[new].calls("llen") > 0);

    // An item pushed to the new home is seen.
    let _: i64 = cluster.nodes[new].command(&["RPUSH", "{tag}:0", "x"]);
    polling.until_backlog(0, 3.0);
    // And a key of another type is learnt where it is now.
    let _: Value = cluster.nodes[new].command(&["DEL", "{tag}:1"]);
    let _: Value = cluster.nodes[new].command(&["SADD", "{tag}:1", "a", "b", "c", "d"]);
    polling.until_backlog(1, 4.0);
}

#[test]
fn ten_thousand_keys_move_slot_by_slot_and_none_is_lost() {
    let cluster = RedisCluster::start();
    let keys: Vec<String> = (0..10_000).map(|i| format!("queue:{i}")).collect();
    cluster.fill(&keys, |_| 1);
    let polling = Polling::start();
    poll(&polling, &of_cluster(&cluster), &keys, Duration::from_millis(100));
    polling.until_backlog(9_999, 1.0);
    // Everything has been seen once.
    polling.collect(Duration::from_millis(500));
    let slots = if is_long() { 2_000 } else { 60 };
    let (first, _) = cluster.range(0);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| {
            for slot in first..first + slots {
                cluster.move_slot(slot, 0, 1 + usize::from(slot % 2), || {});
            }
        });
        let mut samples: HashMap<u32, usize> = HashMap::new();
        let mut wrong = Vec::new();
        while !moving.is_finished() || began.elapsed() < Duration::from_secs(2) {
            for sample in polling.collect(Duration::from_millis(100)) {
                *samples.entry(sample.key.0).or_default() += 1;
                if backlog_of(&sample) != Some(1.0) {
                    wrong.push(sample);
                }
            }
        }
        let all: usize = samples.values().sum();
        println!("{slots} slots moved in {:?}, {all} samples, {} of them wrong", began.elapsed(), wrong.len());
        assert!(samples.len() == 10_000, "{} keys were read", samples.len());
        assert!(wrong.is_empty(), "{:?}", &wrong[..wrong.len().min(5)]);
    });
    let asked: u64 = cluster.nodes.iter().map(|node| node.calls("asking")).sum();
    println!("{asked} reads were answered by ASK");
}

#[test]
fn to_ask_on_the_way_is_a_right_of_its_own() {
    let lines = [
        "user full on >outer ~{tag}* +llen +cluster|slots +asking",
        "user bare on >outer ~{tag}* +llen +cluster|slots",
    ];
    let cluster = RedisCluster::with(3, 0, &lines);
    let keys: Vec<String> = (0..4).map(|i| format!("{{tag}}:{i}")).collect();
    cluster.fill(&keys, |_| 2);
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let polling = Polling::start();
    for (i, user) in ["full", "bare"].iter().enumerate() {
        let password = Some(SecretRef::Inline(Secret::new("outer")));
        let server = RedisServer { username: Some((*user).into()), password, ..cluster_server(cluster.addresses()) };
        polling.set(i as u32, &autoscaler(user, FAST, &[(&connection(server), list(&names))]));
        polling.until_backlog(i as u32, 8.0);
    }
    let from = cluster.home("{tag}");
    cluster.move_slot(slot("{tag}"), from, (from + 1) % 3, || {
        polling.drain();
        polling.until_backlog(0, 8.0);
        let sentence = polling.until_failure(1, FailureKind::PermissionDenied);
        assert!(sentence.contains("+asking"), "{sentence}");
    });
    polling.until_backlog(1, 8.0);
}

#[test]
fn several_keys_of_one_trigger_may_lie_anywhere() {
    let cluster = RedisCluster::start();
    let keys: Vec<String> = (0..90).map(|i| format!("queue:{i}")).collect();
    cluster.fill(&keys, |i| i % 3);
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let polling = Polling::start();
    polling.set(0, &autoscaler("sum", FAST, &[(&of_cluster(&cluster), list(&names))]));
    polling.until_backlog(0, 90.0);
}
