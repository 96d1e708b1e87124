//! A master behind sentinels: found, followed, and never taken for what it is not.

use std::time::Instant;

use redis::Value;
use tidegate::model::{FailureKind, Key};
use tidegate::spec::{ReadFrom, RedisServer, Secret, SecretRef, Topology};

use super::specs::{of_sentinels, sentinel_server};
use super::{FAST, SCHEDULING, is_long};
use crate::support::polling::{Polling, autoscaler, backlog_of, connection, list};
use crate::support::redis::{CONNECTIONS, RedisProcess};
use crate::support::sentinels::{DOWN_AFTER, Sentinels, until};

fn push(server: &RedisProcess, items: usize) {
    let _: i64 = server.command(&[&["RPUSH", "jobs"], vec!["x"; items].as_slice()].concat());
}

#[test]
fn a_failover_is_followed_and_a_deposed_master_is_never_read() {
    let mut rig = Sentinels::start();
    rig.settle();
    push(&rig.servers[0], 3);
    let polling = Polling::start();
    polling.set(0, &autoscaler("jobs", FAST, &[(&of_sentinels(&rig), list(&["jobs"]))]));
    polling.until_backlog(0, 3.0);
    let old = rig.servers[0].address();
    until("the replicas have them", || {
        rig.servers[1..].iter().all(|replica| replica.command::<i64>(&["LLEN", "jobs"]) == 3)
    });

    rig.servers[0].kill();
    let killed = Instant::now();
    polling.until_failure(0, FailureKind::Unreachable);
    let new = rig.await_master_other_than(&old);
    let promoted = killed.elapsed();
    push(rig.server(&new), 4);
    polling.until_backlog(0, 7.0);
    let took = killed.elapsed();
    println!("killed: another master after {promoted:?}, read after {took:?} (down-after {DOWN_AFTER:?})");
    assert!(took - promoted < tidegate::poller::BACKOFF_CAP + SCHEDULING, "{took:?} of which {promoted:?} were theirs");

    // The old one comes back, empty, and answers whoever asks: first as a master, then as a replica.
    rig.servers[0].restart();
    polling.drain();
    let restarted = Instant::now();
    let mut samples = polling.collect(20 * FAST);
    if is_long() {
        until("the old master follows", || {
            crate::support::sentinels::role(&rig.servers[0]).is_some_and(|role| role.starts_with("slave"))
        });
        println!("the old master was brought into line after {:?}", restarted.elapsed());
        samples.extend(polling.collect(4 * FAST));
    }
    assert!(samples.len() > 2 && samples.iter().all(|sample| backlog_of(sample) == Some(7.0)), "{samples:?}");
}

#[test]
fn who_was_deposed_by_hand_and_still_answers_is_found_out_within_the_round() {
    let rig = Sentinels::start();
    rig.settle();
    push(&rig.servers[0], 3);
    let polling = Polling::start();
    polling.set(0, &autoscaler("jobs", FAST, &[(&of_sentinels(&rig), list(&["jobs"]))]));
    polling.until_backlog(0, 3.0);

    // It follows an empty server from now on. Clients stay connected, and nobody tells the sentinels.
    let empty = RedisProcess::start();
    let _: Value = rig.servers[0].command(&["REPLICAOF", "127.0.0.1", &empty.port().to_string()]);
    polling.drain();
    until("it has forgotten its items", || rig.servers[0].command::<i64>(&["LLEN", "jobs"]) == 0);
    let samples = polling.collect(10 * FAST);
    let zeros = samples.iter().filter(|sample| backlog_of(sample) == Some(0.0)).count();
    assert_eq!(zeros, 0, "a replica of somebody else's was read as the master: {samples:?}");
    // The sentinels set it right in the end: either it is the master again, or another one is.
    let _: Value = rig.servers[0].command(&["REPLICAOF", "NO", "ONE"]);
    until("there is a master", || {
        let master = rig.master();
        crate::support::sentinels::role(rig.server(&master)).is_some_and(|role| role == "master")
    });
    polling.until("an answer", |sample| sample.key == Key(0) && sample.value.is_ok());
}

#[test]
fn a_planned_failover_costs_hardly_a_round() {
    let rig = Sentinels::start();
    rig.settle();
    push(&rig.servers[0], 3);
    let polling = Polling::start();
    polling.set(0, &autoscaler("jobs", FAST, &[(&of_sentinels(&rig), list(&["jobs"]))]));
    polling.until_backlog(0, 3.0);
    until("the replicas have them", || {
        rig.servers[1..].iter().all(|replica| replica.command::<i64>(&["LLEN", "jobs"]) == 3)
    });
    let old = rig.master();
    polling.drain();
    let _: Value = rig.sentinels[0].command(&["SENTINEL", "FAILOVER", crate::support::sentinels::MASTER]);
    let new = rig.await_master_other_than(&old);
    push(rig.server(&new), 1);
    let samples = {
        let mut samples = Vec::new();
        let give_up = Instant::now() + crate::support::polling::PATIENCE;
        while samples.last().and_then(backlog_of) != Some(4.0) {
            assert!(Instant::now() < give_up, "never followed: {:?}", samples.last());
            samples.extend(polling.collect(2 * FAST));
        }
        samples
    };
    let failed = samples.iter().filter(|sample| sample.value.is_err()).count();
    println!("planned: {failed} of {} rounds failed", samples.len());
    let wrong: Vec<_> = samples.iter().filter_map(backlog_of).filter(|backlog| ![3.0, 4.0].contains(backlog)).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn silent_and_dead_sentinels_are_passed_over() {
    let mut rig = Sentinels::with(0, &[], &[]);
    push(&rig.servers[0], 2);
    rig.sentinels[0].freeze();
    rig.sentinels[1].kill();
    let polling = Polling::start();
    polling.set(0, &autoscaler("jobs", FAST, &[(&of_sentinels(&rig), list(&["jobs"]))]));
    polling.until_backlog(0, 2.0);
    // Without any of them the link stays what it is.
    rig.sentinels[2].kill();
    polling.drain();
    let samples = polling.collect(20 * FAST);
    assert!(samples.iter().all(|sample| backlog_of(sample) == Some(2.0)), "{samples:?}");
    rig.sentinels[0].thaw();
}

#[test]
fn a_replica_is_read_where_that_is_wanted_and_the_master_where_there_is_none() {
    let mut rig = Sentinels::with(1, &[], &[]);
    rig.settle();
    push(&rig.servers[0], 5);
    let server = RedisServer { read_from: ReadFrom::Replica, ..sentinel_server(rig.addresses()) };
    let polling = Polling::start();
    polling.set(0, &autoscaler("jobs", FAST, &[(&connection(server), list(&["jobs"]))]));
    polling.until_backlog(0, 5.0);
    assert_eq!((rig.servers[0].clients("tidegate"), rig.servers[1].clients("tidegate")), (0, CONNECTIONS));

    // The replica dies, and sentinels notice: the master it is, until there is a replica again.
    rig.servers[1].kill();
    polling.until("a failure", |sample| sample.value.is_err());
    polling.until_backlog(0, 5.0);
    assert_eq!(rig.servers[0].clients("tidegate"), CONNECTIONS);
    rig.servers[1].restart();
    until("the replica is read again", || rig.servers[1].clients("tidegate") == CONNECTIONS);
    polling.drain();
    assert_eq!(polling.until_backlog(0, 5.0).value.map(|found| found.backlog), Ok(5.0));
}

#[test]
fn sentinels_have_logins_of_their_own_and_least_rights_are_enough() {
    let of_servers =
        ["user default on >inner ~* &* +@all", "masterauth inner", "user reader on >outer ~jobs +llen +role"];
    let of_sentinels = [
        "user default on nopass ~* &* +@all",
        "user watcher on >eyes +sentinel|get-master-addr-by-name",
        &format!("sentinel auth-pass {} inner", crate::support::sentinels::MASTER),
    ];
    // The rig's own client logs in as the default user.
    let servers = [&["requirepass inner"], &of_servers[1..]].concat();
    let rig = Sentinels::with(0, &servers, &of_sentinels);
    push(&rig.servers[0], 6);
    let secret = |text: &str| Some(SecretRef::Inline(Secret::new(text)));
    let server = |watcher: Option<&str>| {
        let mut server = sentinel_server(rig.addresses());
        server.username = Some("reader".into());
        server.password = secret("outer");
        if let Topology::Sentinel(sentinel) = &mut server.topology {
            sentinel.username = Some("watcher".into());
            sentinel.password = watcher.and_then(secret);
        }
        server
    };
    let polling = Polling::start();
    polling.set(0, &autoscaler("right", FAST, &[(&connection(server(Some("eyes"))), list(&["jobs"]))]));
    polling.until_backlog(0, 6.0);
    polling.set(1, &autoscaler("wrong", FAST, &[(&connection(server(Some("ears"))), list(&["jobs"]))]));
    let sentence = polling.until_failure(1, FailureKind::Authentication);
    assert!(sentence.starts_with("(sentinel) ") && !sentence.contains("ears"), "{sentence}");
    let replicas = RedisServer { read_from: ReadFrom::Replica, ..server(Some("eyes")) };
    polling.set(2, &autoscaler("replicas", FAST, &[(&connection(replicas), list(&["jobs"]))]));
    let sentence = polling.until_failure(2, FailureKind::PermissionDenied);
    assert!(sentence.contains("+sentinel|replicas"), "{sentence}");
}

#[test]
fn who_is_no_sentinel_and_who_knows_no_such_master_say_so() {
    let rig = Sentinels::with(0, &[], &[]);
    let polling = Polling::start();
    let mut unknown = sentinel_server(rig.addresses());
    if let Topology::Sentinel(sentinel) = &mut unknown.topology {
        sentinel.master = "another".into();
    }
    polling.set(0, &autoscaler("unknown", FAST, &[(&connection(unknown), list(&["jobs"]))]));
    let sentence = polling.until_failure(0, FailureKind::Configuration);
    assert!(sentence.contains("sentinel.master") && sentence.contains("another"), "{sentence}");
    let server = connection(sentinel_server(vec![rig.servers[0].address()]));
    polling.set(1, &autoscaler("server", FAST, &[(&server, list(&["jobs"]))]));
    let sentence = polling.until_failure(1, FailureKind::Configuration);
    assert!(sentence.contains("is no sentinel"), "{sentence}");
    // And the other way round.
    let reversed = crate::support::polling::redis(rig.sentinels[0].address());
    polling.set(2, &autoscaler("reversed", FAST, &[(&reversed, list(&["jobs"]))]));
    polling.until("a failure", |sample| sample.key == Key(2) && sample.value.is_err());
}
