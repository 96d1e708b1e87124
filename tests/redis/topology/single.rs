//! One server that is not simply an address: behind a Unix socket, or a replica.

use redis::Value;
use tidegate::model::FailureKind;
use tidegate::spec::{ReadFrom, RedisServer};

use super::FAST;
use crate::support::polling::{Polling, autoscaler, connection, list, redis, redis_server};
use crate::support::redis::RedisProcess;

#[test]
fn a_unix_socket_is_a_server_like_any_other() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("redis.sock");
    let path = path.to_str().unwrap();
    let mut server = RedisProcess::with(&[&format!("unixsocket {path}")]);
    let _: i64 = server.command(&["RPUSH", "jobs", "a", "b", "c"]);
    let polling = Polling::start();
    let by_path = redis(path.to_owned());
    polling.set(0, &autoscaler("socket", FAST, &[(&by_path, list(&["jobs"]))]));
    polling.until_backlog(0, 3.0);
    server.kill();
    let sentence = polling.until_failure(0, FailureKind::Unreachable);
    assert!(sentence.contains(path), "{sentence}");
    let _ = std::fs::remove_file(path);
    server.restart();
    polling.until_backlog(0, 0.0);
}

#[test]
fn a_replica_is_read_only_while_it_is_in_step() {
    let mut primary = RedisProcess::start();
    let _: i64 = primary.command(&["RPUSH", "jobs", "a", "b"]);
    let replica = RedisProcess::with(&[&format!("replicaof 127.0.0.1 {}", primary.port())]);
    let polling = Polling::start();
    let read_from = ReadFrom::Replica;
    let careful = connection(RedisServer { read_from, ..redis_server(replica.address()) });
    polling.set(0, &autoscaler("replica", FAST, &[(&careful, list(&["jobs"]))]));
    polling.until_backlog(0, 2.0);

    // Its primary goes, and the two items may long have been taken: what it still says is no answer.
    primary.kill();
    let sentence = polling.until_failure(0, FailureKind::NotServing);
    assert!(sentence.contains("not in step"), "{sentence}");
    polling.drain();
    let after = polling.collect(8 * FAST);
    assert!(after.iter().all(|sample| sample.value.is_err()), "{after:?}");
    primary.restart();
    let _: i64 = primary.command(&["RPUSH", "jobs", "a", "b", "c"]);
    polling.until_backlog(0, 3.0);

    // Whoever names it without a word about replicas is given what it has, as ever.
    let trusting = connection(redis_server(replica.address()));
    polling.set(1, &autoscaler("trusting", FAST, &[(&trusting, list(&["jobs"]))]));
    polling.until_backlog(1, 3.0);
    let denied = RedisProcess::with(&["user default on nopass ~* +llen +client|setname +info"]);
    let careful = connection(RedisServer { read_from, ..redis_server(denied.address()) });
    polling.set(2, &autoscaler("denied", FAST, &[(&careful, list(&["jobs"]))]));
    let sentence = polling.until_failure(2, FailureKind::PermissionDenied);
    assert!(sentence.contains("+role"), "{sentence}");
    let _: Value = primary.command(&["PING"]);
}
