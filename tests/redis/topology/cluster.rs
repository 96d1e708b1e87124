//! A Cluster of real processes: ten thousand keys across all slots, nodes that die, freeze and are replaced.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::Value;
use tidegate::model::{FailureKind, Key, Sample};
use tidegate::spec::{
    ClientTls, ConnectionSpec, ReadFrom, RedisList, RedisServer, RedisStream, Secret, SecretRef, Source, StreamBacklog,
};

use super::specs::{cluster_server, of_cluster, replicas_of_cluster};
use super::{FAST, SCHEDULING};
use crate::support::polling::{Polling, autoscaler, backlog_of, connection, kind_of, list};
use crate::support::redis::{CONNECTIONS, Certificates};
use crate::support::redis_cluster::{NODE_TIMEOUT, RedisCluster, SLOTS, slot};
use crate::support::sentinels::until;

/// One autoscaler for each key, all polled every `interval`.
pub fn poll(polling: &Polling, redis: &Arc<ConnectionSpec>, keys: &[String], interval: Duration) {
    for (i, key) in keys.iter().enumerate() {
        polling.set(i as u32, &autoscaler(&format!("q-{i}"), interval, &[(redis, list(&[key]))]));
    }
}

/// Whole rounds out of what arrives within `span`, by the moment at which they were taken.
pub fn rounds(polling: &Polling, span: Duration, of: usize) -> Vec<Vec<Sample>> {
    let mut rounds: HashMap<_, Vec<Sample>> = HashMap::new();
    for sample in polling.collect(span) {
        rounds.entry(sample.taken).or_default().push(sample);
    }
    let mut whole: Vec<_> = rounds.into_iter().filter(|(_, samples)| samples.len() == of).collect();
    whole.sort_by_key(|(taken, _)| *taken);
    whole.into_iter().map(|(_, samples)| samples).collect()
}

#[test]
fn ten_thousand_keys_across_the_slots_are_read_from_their_nodes() {
    let cluster = RedisCluster::start();
    let keys: Vec<String> = (0..10_000).map(|i| format!("queue:{i}")).collect();
    let slots: HashSet<u16> = keys.iter().map(|key| slot(key)).collect();
    assert!(slots.len() > usize::from(SLOTS) / 3, "{} slots", slots.len());
    cluster.fill(&keys, |i| i % 4);
    // Sets, hashes and keys of other types are learnt where they are.
    let odd = [("SADD", "{odd}:set"), ("HSET", "{odd}:hash"), ("SET", "{odd}:text")];
    let home = &cluster.nodes[cluster.home("{odd}")];
    let _: Value = home.command(&[odd[0].0, odd[0].1, "a", "b"]);
    let _: Value = home.command(&[odd[1].0, odd[1].1, "a", "b"]);
    let _: Value = home.command(&[odd[2].0, odd[2].1, "a"]);

    let polling = Polling::start();
    let redis = of_cluster(&cluster);
    let interval = Duration::from_millis(100);
    poll(&polling, &redis, &keys, interval);
    let more: Vec<String> = odd.iter().map(|(_, key)| (*key).to_owned()).collect();
    for (i, key) in more.iter().enumerate() {
        polling.set(10_000 + i as u32, &autoscaler(key, interval, &[(&redis, list(&[key]))]));
    }
    polling.until_backlog(9_999, 3.0);
    polling.until_backlog(10_000, 2.0);
    polling.until_backlog(10_001, 1.0);
    polling.until_failure(10_002, FailureKind::WrongType);
    polling.drain();
    let samples = polling.collect(Duration::from_secs(3));
    let mut seen: HashMap<u32, usize> = HashMap::new();
    for sample in samples.iter().filter(|sample| sample.key.0 < 10_000) {
        assert_eq!(backlog_of(sample), Some(f64::from(sample.key.0 % 4)), "{sample:?}");
        *seen.entry(sample.key.0).or_default() += 1;
    }
    let least = seen.values().min().copied().unwrap_or(0);
    println!("{} keys, each read at least {least} times in 3 s", seen.len());
    assert!(seen.len() == 10_000 && least >= 10, "{} keys, {least}", seen.len());
    for node in &cluster.nodes {
        assert_eq!(node.clients("tidegate"), CONNECTIONS);
    }
    let types: u64 = cluster.nodes.iter().map(|node| node.calls("type")).sum();
    assert!(types >= 3, "{types}");
}

#[test]
fn a_dead_node_fails_its_own_reads_and_nobody_elses() {
    let mut cluster = RedisCluster::with(3, 0, &["cluster-require-full-coverage no"]);
    let keys: Vec<String> = (0..600).map(|i| format!("queue:{i}")).collect();
    cluster.fill(&keys, |_| 2);
    let polling = Polling::start();
    poll(&polling, &of_cluster(&cluster), &keys, FAST);
    polling.until_backlog(599, 2.0);

    let dead = 1;
    let of_dead: HashSet<u32> = (0..600).filter(|i| cluster.home(&keys[*i as usize]) == dead).collect();
    assert!((150..250).contains(&of_dead.len()));
    cluster.nodes[dead].kill();
    polling.until("a failure", |sample| of_dead.contains(&sample.key.0) && sample.value.is_err());
    polling.drain();
    let rounds = rounds(&polling, Duration::from_secs(2), 600);
    assert!(rounds.len() >= 24, "{} of 40 rounds in 2 s", rounds.len());
    for sample in rounds.iter().flatten() {
        let expected = if of_dead.contains(&sample.key.0) { None } else { Some(2.0) };
        assert_eq!(backlog_of(sample), expected, "{sample:?}");
    }
    let failures = rounds.iter().flatten().filter_map(kind_of);
    assert!(failures.clone().all(|kind| matches!(kind, FailureKind::Unreachable | FailureKind::NotServing)));

    // It comes back, empty: zeros, because that is what there is.
    cluster.nodes[dead].restart();
    let first = *of_dead.iter().min().unwrap();
    polling.until_backlog(first, 0.0);
}

#[test]
fn a_frozen_node_is_waited_for_once_and_then_no_more() {
    let cluster = RedisCluster::with(3, 0, &["cluster-require-full-coverage no"]);
    let keys: Vec<String> = (0..300).map(|i| format!("queue:{i}")).collect();
    cluster.fill(&keys, |_| 1);
    let polling = Polling::start();
    poll(&polling, &of_cluster(&cluster), &keys, FAST);
    polling.until_backlog(299, 1.0);
    let frozen = 0;
    let is_of_frozen = |sample: &Sample| cluster.home(&keys[sample.key.0 as usize]) == frozen;
    cluster.nodes[frozen].freeze();
    let began = Instant::now();
    let sample = polling.until("a failure", |sample| sample.value.is_err());
    assert_eq!(kind_of(&sample), Some(FailureKind::Timeout));
    assert!(is_of_frozen(&sample));
    // Its own timeout is 300 ms.
    assert!(began.elapsed() < Duration::from_millis(300) + 2 * FAST + SCHEDULING, "{:?}", began.elapsed());

    polling.drain();
    let samples = polling.collect(Duration::from_secs(3));
    let healthy: Vec<&Sample> = samples.iter().filter(|sample| !is_of_frozen(sample)).collect();
    assert!(healthy.iter().all(|sample| backlog_of(sample) == Some(1.0)));
    let mut taken: Vec<_> = healthy.iter().map(|sample| sample.taken).collect();
    taken.sort_unstable();
    taken.dedup();
    let mut gaps: Vec<Duration> = taken.windows(2).map(|two| two[1].since(two[0])).collect();
    gaps.sort_unstable();
    let (median, worst) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
    println!("beside a frozen node: rounds every {median:?} at the median, {worst:?} at most");
    assert!(median < 2 * FAST, "{median:?}");
    // Whoever waited for it again would show its whole timeout, every time.
    assert!(worst < Duration::from_millis(280), "{worst:?}");
    assert!(samples.iter().filter(|sample| is_of_frozen(sample)).all(|sample| sample.value.is_err()));

    cluster.nodes[frozen].thaw();
    let first = (0..300).find(|i| cluster.home(&keys[*i as usize]) == frozen).unwrap();
    polling.until_backlog(first, 1.0);
}

#[test]
fn a_replica_takes_over_and_is_read_without_a_restart() {
    let mut cluster = RedisCluster::with(3, 1, &[]);
    let keys: Vec<String> = (0..300).map(|i| format!("queue:{i}")).collect();
    cluster.fill(&keys, |_| 3);
    let polling = Polling::start();
    poll(&polling, &of_cluster(&cluster), &keys, FAST);
    polling.until_backlog(299, 3.0);
    until("the replicas have the items", || {
        (0..3).all(|i| {
            let of = |node: usize| cluster.nodes[node].command::<usize>(&["DBSIZE"]);
            of(i) == of(i + 3)
        })
    });
    let dead = 2;
    let key = (0..300).find(|i| cluster.home(&keys[*i as usize]) == dead).unwrap();
    cluster.nodes[dead].kill();
    let killed = Instant::now();
    polling.until("a failure", |sample| sample.key == Key(key) && sample.value.is_err());
    let sample = polling.until("an answer", |sample| sample.key == Key(key) && sample.value.is_ok());
    assert_eq!(backlog_of(&sample), Some(3.0));
    println!(
        "a primary was killed: its keys are read again after {:?} (node timeout {NODE_TIMEOUT:?})",
        killed.elapsed()
    );

    // It comes back and follows. Nobody asks it any more.
    cluster.nodes[dead].restart();
    until("it follows", || {
        crate::support::sentinels::role(&cluster.nodes[dead]).is_some_and(|role| role == "slave connected")
    });
    polling.drain();
    let samples = polling.collect(6 * FAST);
    assert!(samples.iter().all(|sample| backlog_of(sample) == Some(3.0)));
    assert_eq!(cluster.nodes[dead].clients("tidegate"), 0);

    // Planned, this time: the two change places again.
    let mut asked = None;
    until("it leads again", || {
        // Who is busy may let a failover lapse, and has to be asked again.
        if asked.is_none_or(|asked: Instant| asked.elapsed() > Duration::from_secs(6)) {
            let _: Value = cluster.nodes[dead].command(&["CLUSTER", "FAILOVER"]);
            asked = Some(Instant::now());
        }
        crate::support::sentinels::role(&cluster.nodes[dead]).is_some_and(|role| role == "master")
    });
    let samples = polling.collect(20 * FAST);
    let wrong: Vec<_> = samples.iter().filter_map(backlog_of).filter(|backlog| *backlog != 3.0).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    let failed = samples.iter().filter(|sample| sample.value.is_err()).count();
    println!("planned: {failed} of {} samples failed", samples.len());
    assert!(samples.iter().rev().take(300).all(|sample| sample.value.is_ok()));
}

#[test]
fn replicas_are_read_where_that_is_wanted_and_primaries_where_there_are_none() {
    let mut cluster = RedisCluster::with(3, 1, &["cluster-require-full-coverage no"]);
    let keys: Vec<String> = (0..300).map(|i| format!("queue:{i}")).collect();
    cluster.fill(&keys, |_| 1);
    let polling = Polling::start();
    poll(&polling, &replicas_of_cluster(&cluster), &keys, FAST);
    polling.until_backlog(299, 1.0);
    // Right after the cluster was put together not every node knows of the replicas.
    until("the replicas are read", || cluster.nodes[3..].iter().all(|node| node.calls("llen") > 0));
    let before: Vec<u64> = cluster.nodes.iter().map(|node| node.calls("llen")).collect();
    polling.collect(4 * FAST);
    let after: Vec<u64> = cluster.nodes.iter().map(|node| node.calls("llen")).collect();
    let read: Vec<bool> = before.iter().zip(&after).map(|(before, after)| after > before).collect();
    assert_eq!(read, [false, false, false, true, true, true]);

    // A replica dies: its primary is read.
    let dead = 4;
    let key = (0..300).find(|i| cluster.home(&keys[*i as usize]) == dead - 3).unwrap();
    cluster.nodes[dead].kill();
    let began = Instant::now();
    until("the primary is read", || cluster.nodes[dead - 3].calls("llen") > after[dead - 3]);
    polling.until("an answer", |sample| sample.key == Key(key) && sample.value.is_ok());
    println!("a replica was killed: its keys are read from the primary after {:?}", began.elapsed());
    cluster.nodes[dead].restart();
    until("the replica is read again", || cluster.nodes[dead].calls("llen") > 0);
    polling.until("an answer", |sample| sample.key == Key(key) && sample.value.is_ok());
    polling.drain();
    assert!(polling.collect(4 * FAST).iter().all(|sample| backlog_of(sample) == Some(1.0)));
}

#[test]
fn least_rights_are_enough_and_tls_is_spoken_to_every_node() {
    let folder = tempfile::TempDir::new().unwrap();
    let trusted = Certificates::make(folder.path());
    // Each node has a plain port, and one for TLS, which it tells those of who come over TLS.
    let lines = [
        "user reader on >outer ~queue:* +llen +cluster|slots".to_owned(),
        "user shards on >outer ~queue:* +llen +cluster|shards".to_owned(),
        "user replicas on >outer ~queue:* +llen +cluster|slots +readonly +role".to_owned(),
        "user nobody on >outer ~queue:* +llen".to_owned(),
        format!("tls-cert-file {}", trusted.certificate.display()),
        format!("tls-key-file {}", trusted.key.display()),
        format!("tls-ca-cert-file {}", trusted.authority.display()),
        "tls-auth-clients no".to_owned(),
    ];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let cluster = RedisCluster::with_tls(3, &lines);
    let keys: Vec<String> = (0..60).map(|i| format!("queue:{i}")).collect();
    cluster.fill(&keys, |_| 5);
    let names: Vec<&str> = keys.iter().map(String::as_str).collect();
    let server = |user: &str| RedisServer {
        username: Some(user.into()),
        password: Some(SecretRef::Inline(Secret::new("outer"))),
        ..cluster_server(cluster.addresses())
    };
    let polling = Polling::start();
    for (i, user) in ["reader", "shards"].iter().enumerate() {
        polling.set(i as u32, &autoscaler(user, FAST, &[(&connection(server(user)), list(&names))]));
        polling.until_backlog(i as u32, 300.0);
    }
    let replicas = RedisServer { read_from: ReadFrom::Replica, ..server("replicas") };
    polling.set(2, &autoscaler("replicas", FAST, &[(&connection(replicas), list(&names))]));
    polling.until_backlog(2, 300.0);
    polling.set(3, &autoscaler("nobody", FAST, &[(&connection(server("nobody")), list(&names))]));
    let sentence = polling.until_failure(3, FailureKind::PermissionDenied);
    assert!(sentence.contains("+cluster|slots"), "{sentence}");

    // The nodes know themselves as 127.0.0.1, for which there is no certificate: `serverName` says what it is for.
    let tls = ClientTls {
        authorities: Some(trusted.authority.into()),
        server_name: Some("localhost".into()),
        ..ClientTls::default()
    };
    let encrypted = RedisServer {
        tls: Some(tls),
        connect_timeout: Duration::from_secs(3),
        ..cluster_server(vec![format!("localhost:{}", cluster.tls_ports[0])])
    };
    polling.set(4, &autoscaler("encrypted", FAST, &[(&connection(encrypted), list(&names))]));
    polling.until_backlog(4, 300.0);
}

#[test]
fn surveys_find_their_nodes_and_walks_go_through_all_of_them() {
    let mut cluster = RedisCluster::with(3, 0, &["cluster-require-full-coverage no"]);
    let lists: Vec<String> = (0..40).map(|i| format!("mail:{i}")).collect();
    cluster.fill(&lists, |_| 2);
    let streams: Vec<String> = (0..6).map(|i| format!("events:{i}")).collect();
    assert_eq!(streams.iter().map(|key| cluster.home(key)).collect::<HashSet<_>>().len(), 3);
    for key in &streams {
        let node = &cluster.nodes[cluster.home(key)];
        let _: Value = node.command(&["XGROUP", "CREATE", key, "workers", "0", "MKSTREAM"]);
        for _ in 0..4 {
            let _: Value = node.command(&["XADD", key, "*", "a", "1"]);
        }
    }
    let polling = Polling::start();
    let redis = of_cluster(&cluster);
    let matching = Source::RedisList(RedisList { matching: vec!["mail:*".into()], ..RedisList::default() });
    polling.set(0, &autoscaler("walk", FAST, &[(&redis, matching)]));
    let lag = |key: &String| {
        let (key, group) = (Arc::from(key.as_str()), Some("workers".into()));
        Source::RedisStream(RedisStream { key, group, backlog: StreamBacklog::Lag })
    };
    for (i, key) in streams.iter().enumerate() {
        polling.set(1 + i as u32, &autoscaler(key, FAST, &[(&redis, lag(key))]));
    }
    polling.until_backlog(0, 80.0);
    for i in 0..streams.len() {
        polling.until_backlog(1 + i as u32, 4.0);
    }
    let walked = |cluster: &RedisCluster| cluster.nodes.iter().filter(|node| node.calls("scan") > 0).count();
    assert_eq!(walked(&cluster), 3);

    // Their node dies: its streams fail, and so does what needs all nodes. The other streams are read.
    let dead = 2;
    cluster.nodes[dead].kill();
    polling.until("a failure", |sample| sample.key == Key(0) && sample.value.is_err());
    polling.collect(10 * FAST);
    for sample in polling.collect(10 * FAST).iter().filter(|sample| sample.key != Key(0)) {
        let is_dead = cluster.home(&streams[sample.key.0 as usize - 1]) == dead;
        assert_eq!(backlog_of(sample), (!is_dead).then_some(4.0), "{sample:?}");
    }
}
