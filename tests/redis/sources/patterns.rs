//! Walks through a database: everything that matches is counted, or the trigger says why it is not.

use std::time::{Duration, Instant};

use tidegate::model::{FailureKind, Observation};

use super::rig::{assert_fails, observe, observe_one, run, spec};
use crate::support::polling::{PATIENCE, Polling, backlog_of};
use crate::support::redis::RedisProcess;

const BLOCK: &str = "redisList: { keysMatching: [\"q:*\"] }";

fn lists(server: &RedisProcess, prefix: &str, count: usize) {
    let script = "for i = 1, ARGV[2] do redis.call('RPUSH', ARGV[1] .. i, 'a') end";
    run(server, &["EVAL", script, "0", prefix, &count.to_string()]);
}

#[test]
fn a_walk_that_takes_rounds_is_no_low_number_meanwhile_and_new_queues_are_found() {
    let server = RedisProcess::start();
    lists(&server, "noise:", 20_000);
    lists(&server, "q:", 300);
    let polling = Polling::start();
    polling.set(0, &spec(&server, "", &[BLOCK]));
    let first = polling.batch(PATIENCE).unwrap().remove(0);
    assert_fails("the first round", &first.value, FailureKind::NotServing);
    let began = Instant::now();
    loop {
        let sample = polling.batch(PATIENCE).unwrap().remove(0);
        match sample.value {
            Ok(observation) => {
                assert_eq!(observation, Observation::of_backlog(300.0));
                break;
            }
            failed => assert_fails("a walk that is under way", &failed, FailureKind::NotServing),
        }
    }
    println!("20,300 keys were walked in {:.1?} at 10 Hz", began.elapsed());
    // Some two thousand keys a round.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());

    run(&server, &["RPUSH", "q:new", "a", "b"]);
    let began = Instant::now();
    polling.until("the new queue", |sample| backlog_of(sample) == Some(302.0));
    println!("a new queue was found after {:.1?}", began.elapsed());
    // One that is emptied is gone, and counts nothing.
    run(&server, &["DEL", "q:new"]);
    polling.until("without it", |sample| backlog_of(sample) == Some(300.0));
}

#[test]
fn more_keys_than_can_be_counted_are_no_sum_of_some() {
    let server = RedisProcess::start();
    lists(&server, "q:", 10_001);
    let polling = Polling::start();
    polling.set(0, &spec(&server, "", &[BLOCK]));
    let sentence = polling.until_failure(0, FailureKind::Configuration);
    assert!(sentence.contains("more than 10000 lists"), "{sentence}");
    // It stays so.
    for _ in 0..5 {
        let sample = polling.batch(PATIENCE).unwrap().remove(0);
        assert_fails("too many", &sample.value, FailureKind::Configuration);
    }
}

#[test]
fn a_key_that_is_no_text_is_not_passed_over_in_silence() {
    let server = RedisProcess::start();
    run(&server, &["RPUSH", "q:1", "a"]);
    let mut connection = server.connect().unwrap();
    redis::cmd("RPUSH").arg(b"q:\xff\xfe").arg("a").exec(&mut connection).unwrap();
    let found = observe(&server, &[BLOCK]).remove(0);
    assert_fails("a key of bytes", &found, FailureKind::Configuration);
    redis::cmd("DEL").arg(b"q:\xff\xfe").exec(&mut connection).unwrap();
    assert_eq!(observe_one(&server, BLOCK), Observation::of_backlog(1.0));
}

/// Cursors of the `SCAN`s that a server was sent, in order, each with who sent it.
fn scans(server: &RedisProcess) -> Vec<(String, String)> {
    let entries: Vec<redis::Value> = server.command(&["SLOWLOG", "GET", "-1"]);
    let mut scans = Vec::new();
    // The newest comes first.
    for entry in entries.into_iter().rev() {
        let (_, _, _, words, client, _): (u64, u64, u64, Vec<String>, String, String) =
            redis::from_redis_value(entry).unwrap();
        if let [command, cursor, ..] = words.as_slice()
            && command == "SCAN"
        {
            scans.push((client, cursor.clone()));
        }
    }
    scans
}

#[test]
fn a_walk_whose_connection_was_lost_between_two_rounds_begins_anew() {
    let server = RedisProcess::with(&["slowlog-log-slower-than 0", "slowlog-max-len 100000"]);
    lists(&server, "noise:", 60_000);
    lists(&server, "q:", 300);
    let polling = Polling::start();
    polling.set(0, &spec(&server, "", &[BLOCK]));
    // In the middle of it: whoever answers next may have its keys in another order.
    for _ in 0..5 {
        let sample = polling.batch(PATIENCE).unwrap().remove(0);
        assert_fails("a walk that is under way", &sample.value, FailureKind::NotServing);
    }
    run(&server, &["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    polling.until("all of them", |sample| backlog_of(sample) == Some(300.0));

    let scans = scans(&server);
    let (first, _) = scans.first().unwrap();
    let before = scans.iter().filter(|(client, _)| client == first).count();
    let (second, cursor) = scans.iter().find(|(client, _)| client != first).expect("another connection");
    println!("{before} steps over {first}, then over {second} from cursor {cursor}");
    assert!(before > 1 && scans[before - 1].1 != "0", "killed in the middle");
    assert_eq!(cursor, "0");
}
