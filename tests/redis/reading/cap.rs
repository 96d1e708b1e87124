//! `maxCommandsPerSecond`: what a server is sent, who waits, and what is said of it.

use super::*;

fn capped(server: &RedisProcess, cap: u32) -> Arc<ConnectionSpec> {
    connection(RedisServer { max_commands_per_second: Some(cap), ..redis_server(server.address()) })
}

#[test]
fn a_capped_server_is_sent_no_more_and_everybody_is_read_as_often() {
    let server = RedisProcess::start();
    let redis = capped(&server, 100);
    let polling = Polling::start();
    // Fifty lists every 50 ms: ten times the cap.
    for key in 0..50 {
        push(&server, &format!("jobs{key}"), key as usize % 3 + 1);
        polling.set(key, &autoscaler(&format!("a{key}"), FAST, &[(&redis, list(&[&format!("jobs{key}")]))]));
    }
    polling.until_backlog(49, 2.0);
    let before = server.calls("llen");
    let began = Instant::now();
    polling.drain();
    let samples = polling.collect(Duration::from_secs(4));
    let (sent, took) = ((server.calls("llen") - before) as f64, began.elapsed().as_secs_f64());
    assert!(sent <= 100.0 * (took + 1.1), "{sent} commands in {took} s");
    assert!(sent >= 100.0 * (took - 1.5), "{sent} commands in {took} s: the room is used");
    let mut counts = vec![0usize; 50];
    for sample in &samples {
        assert_eq!(backlog_of(sample), Some(f64::from(sample.key.0 % 3 + 1)));
        counts[sample.key.index()] += 1;
    }
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(*least >= 4 && most - least <= 2, "{counts:?}");
    assert!(polling.metric(&["tidegate_poll_put_off_total"]) >= 100.0);
    let log = polling.log();
    let said: Vec<&str> = log.lines().filter(|line| line.contains("maxCommandsPerSecond")).collect();
    let every: Vec<u32> = said.iter().filter_map(|line| line.rsplit_once("every_ms=")?.1.parse().ok()).collect();
    assert!(every.last().is_some_and(|every| (400..=500).contains(every)), "{said:?}");
    assert!(said.len() <= 5, "as the fifty came, not in every round: {said:?}");
}

#[test]
fn below_its_cap_a_server_is_read_as_without_one() {
    let server = RedisProcess::start();
    push(&server, "jobs", 3);
    let polling = Polling::start();
    polling.set(0, &autoscaler("a", FAST, &[(&capped(&server, 1_000), list(&["jobs"]))]));
    polling.until_backlog(0, 3.0);
    polling.drain();
    let samples = polling.collect(Duration::from_secs(2)).len();
    assert!(samples >= 20, "{samples} of some 40");
    assert_eq!(polling.metric(&["tidegate_poll_put_off_total"]), 0.0);
    assert!(!polling.log().contains("maxCommandsPerSecond"));
}

#[test]
fn who_waits_for_room_hears_of_an_outage_and_of_its_end() {
    let mut server = RedisProcess::start();
    let redis = capped(&server, 20);
    let polling = Polling::start();
    for key in 0..20 {
        polling.set(key, &autoscaler(&format!("a{key}"), FAST, &[(&redis, list(&[&format!("jobs{key}")]))]));
    }
    polling.until_backlog(19, 0.0);
    server.kill();
    for key in [0, 19] {
        polling.until_failure(key, FailureKind::Unreachable);
    }
    server.restart();
    for key in [0, 19] {
        polling.until_backlog(key, 0.0);
    }
}
