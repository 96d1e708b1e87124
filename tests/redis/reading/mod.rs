//! The Redis source and the poller against real redis-servers: what is counted, what fails and how, what comes back.

mod acl;
mod cap;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::polling::{self, Polling, autoscaler, backlog_of, connection, kind_of, list, redis_server};
use crate::support::redis::{CONNECTIONS, Certificates, RedisProcess, free_port};
use tidegate::model::{FailureKind, Key, Sample, Tick};
use tidegate::poller::BACKOFF_CAP;
use tidegate::spec::{ClientTls, ConnectionSpec, RedisServer, Secret, SecretRef};

const FAST: Duration = Duration::from_millis(50);
/// What a busy machine may add to anything.
const SCHEDULING: Duration = Duration::from_secs(1);

/// A server whose keys are of every type.
fn every_type() -> RedisProcess {
    let server = RedisProcess::start();
    for words in [
        "RPUSH list a b c",
        "SADD set a b",
        "ZADD zset 1 a 2 b 3 c 4 d",
        "HSET hash a 1 b 2 c 3 d 4 e 5",
        "XADD stream * a 1",
        "SET string hello",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let _: redis::Value = server.command(&words);
    }
    server
}

fn of(server: &RedisProcess) -> Arc<ConnectionSpec> {
    polling::redis(server.address())
}

fn push(server: &RedisProcess, key: &str, items: usize) {
    let items = vec!["x"; items];
    let _: i64 = server.command(&[&["RPUSH", key], items.as_slice()].concat());
}

// === what is counted ===

#[test]
fn lists_sets_sorted_sets_and_hashes_are_counted_and_the_rest_says_why_not() {
    let server = every_type();
    let redis = of(&server);
    let polling = Polling::start();
    let sources = ["list", "set", "zset", "hash", "missing", "stream", "string"];
    let triggers: Vec<_> = sources.iter().map(|key| (&redis, list(&[key]))).collect();
    polling.set(0, &autoscaler("all", FAST, &triggers));

    let mut batch = polling.batch(polling::PATIENCE).unwrap();
    batch.sort_by_key(|sample| sample.trigger);
    let backlogs: Vec<_> = batch.iter().map(backlog_of).collect();
    assert_eq!(backlogs, [Some(3.0), Some(2.0), Some(4.0), Some(5.0), Some(0.0), None, None]);
    let sentence = |at: usize| batch[at].value.as_ref().unwrap_err().to_string();
    assert!(sentence(5).contains("wrong_type") && sentence(5).contains("redisStream"), "{}", sentence(5));
    assert!(sentence(6).contains("holds a string"), "{}", sentence(6));
}

#[test]
fn a_type_is_learnt_once_and_learnt_again_when_it_changes() {
    let server = every_type();
    let polling = Polling::start();
    polling.set(0, &autoscaler("set", FAST, &[(&of(&server), list(&["set"]))]));
    for _ in 0..5 {
        polling.until_backlog(0, 2.0);
    }
    assert_eq!(server.calls("type"), 1);
    assert_eq!(server.calls("llen"), 1);

    let _: redis::Value = server.command(&["DEL", "set"]);
    polling.until_backlog(0, 0.0);
    push(&server, "set", 7);
    polling.until_backlog(0, 7.0);
    for _ in 0..3 {
        polling.until_backlog(0, 7.0);
    }
    assert_eq!(server.calls("type"), 2);
}

#[test]
fn a_key_that_could_not_be_counted_is_counted_once_it_can() {
    let server = every_type();
    let polling = Polling::start();
    polling.set(0, &autoscaler("stream", FAST, &[(&of(&server), list(&["stream"]))]));
    polling.until_failure(0, FailureKind::WrongType);
    polling.until_failure(0, FailureKind::WrongType);
    let _: redis::Value = server.command(&["DEL", "stream"]);
    let _: redis::Value = server.command(&["SADD", "stream", "a", "b"]);
    polling.until_backlog(0, 2.0);
}

#[test]
fn several_keys_are_added_up_and_one_bad_key_fails_their_trigger() {
    let server = every_type();
    let redis = of(&server);
    let polling = Polling::start();
    let good = list(&["list", "set", "missing", "hash"]);
    let bad = list(&["list", "string", "set"]);
    polling.set(0, &autoscaler("sums", FAST, &[(&redis, good), (&redis, bad)]));
    let batch = polling.batch(polling::PATIENCE).unwrap();
    assert_eq!(batch.len(), 2);
    assert_eq!(backlog_of(&batch[0]), Some(10.0));
    assert_eq!(kind_of(&batch[1]), Some(FailureKind::WrongType));
}

#[test]
fn the_database_is_selected() {
    let server = RedisProcess::start();
    let mut own = server.connect().unwrap();
    let _: redis::Value = server.command_on(&mut own, &["SELECT", "3"]);
    let _: i64 = server.command_on(&mut own, &["RPUSH", "jobs", "a"]);
    let polling = Polling::start();
    let third = connection(RedisServer { database: 3, ..redis_server(server.address()) });
    let none = connection(RedisServer { database: 99, ..redis_server(server.address()) });
    polling.set(0, &autoscaler("third", FAST, &[(&third, list(&["jobs"]))]));
    polling.set(1, &autoscaler("none", FAST, &[(&none, list(&["jobs"]))]));
    polling.until_backlog(0, 1.0);
    let sentence = polling.until_failure(1, FailureKind::Configuration);
    assert!(sentence.contains("`database`"), "{sentence}");
}

// === who may ===

#[test]
fn a_key_that_is_denied_fails_alone() {
    let server = RedisProcess::with(&["user reader on >open-sesame +llen +client|setname ~allowed:*"]);
    push(&server, "allowed:a", 3);
    push(&server, "denied:b", 4);
    let login = RedisServer {
        username: Some("reader".into()),
        password: Some(SecretRef::Inline(Secret::new("open-sesame"))),
        ..redis_server(server.address())
    };
    let redis = connection(login);
    let polling = Polling::start();
    polling.set(0, &autoscaler("acl", FAST, &[(&redis, list(&["allowed:a"])), (&redis, list(&["denied:b"]))]));
    let batch = polling.batch(polling::PATIENCE).unwrap();
    assert_eq!(backlog_of(&batch[0]), Some(3.0));
    let failure = batch[1].value.as_ref().unwrap_err();
    assert_eq!(failure.kind, FailureKind::PermissionDenied);
    assert!(failure.message.contains("denied:b") && failure.message.contains("+llen"), "{failure}");
}

#[test]
fn a_server_that_quotes_what_it_was_sent_is_not_repeated() {
    let server = RedisProcess::with(&["rename-command AUTH \"\""]);
    let password = Some(SecretRef::Inline(Secret::new("open-sesame")));
    let (username, address) = (Some("ali-baba".into()), server.address());
    let wants = connection(RedisServer { username, password, ..redis_server(address) });
    let polling = Polling::start();
    polling.set(0, &autoscaler("renamed", FAST, &[(&wants, list(&["jobs"]))]));
    let sentence = polling.until_failure(0, FailureKind::Authentication);
    assert!(sentence.contains("rename-command"), "{sentence}");
    assert!(!sentence.contains("sesame") && !sentence.contains("ali-baba"), "{sentence}");
}

#[test]
fn passwords_are_asked_for_checked_and_never_told() {
    let server = RedisProcess::with(&["requirepass correct-horse"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "battery-staple\n").unwrap();
    let with = |password| connection(RedisServer { password, ..redis_server(server.address()) });
    let polling = Polling::start();
    let jobs = || list(&["jobs"]);
    polling.set(0, &autoscaler("none", FAST, &[(&with(None), jobs())]));
    polling.set(1, &autoscaler("file", FAST, &[(&with(Some(SecretRef::File(file.path().into()))), jobs())]));

    let sentence = polling.until_failure(0, FailureKind::Authentication);
    assert!(sentence.contains("passwordFrom"), "{sentence}");
    let sentence = polling.until_failure(1, FailureKind::Authentication);
    assert!(!sentence.contains("battery"), "{sentence}");

    // A file that changes takes effect without a restart.
    std::fs::write(file.path(), "correct-horse\n").unwrap();
    polling.until_backlog(1, 0.0);

    let open = RedisProcess::start();
    let needless =
        RedisServer { password: Some(SecretRef::Inline(Secret::new("needless"))), ..redis_server(open.address()) };
    polling.set(2, &autoscaler("needless", FAST, &[(&connection(needless), jobs())]));
    let sentence = polling.until_failure(2, FailureKind::Authentication);
    assert!(sentence.contains("has no password") && !sentence.contains("needless"), "{sentence}");
}

#[test]
fn a_server_at_its_limit_of_clients_is_told_from_a_dead_one() {
    let server = RedisProcess::with(&["maxclients 2"]);
    let mut held: Vec<redis::Connection> = (0..2).map(|_| server.connect().unwrap()).collect();
    let ping: String = server.command_on(&mut held[0], &["PING"]);
    assert_eq!(ping, "PONG");
    let polling = Polling::start();
    polling.set(0, &autoscaler("late", FAST, &[(&of(&server), list(&["jobs"]))]));
    let sentence = polling.until_failure(0, FailureKind::TooManyClients);
    assert!(sentence.contains("maxclients"), "{sentence}");
    drop(held);
    polling.until_backlog(0, 0.0);
}

#[test]
fn tls_is_spoken_and_certificates_are_checked() {
    let folder = tempfile::TempDir::new().unwrap();
    let trusted = Certificates::make(folder.path());
    let elsewhere = tempfile::TempDir::new().unwrap();
    let foreign = Certificates::make(elsewhere.path());
    let port = free_port();
    let server = RedisProcess::with(&[
        &format!("tls-port {port}"),
        &format!("tls-cert-file {}", trusted.certificate.display()),
        &format!("tls-key-file {}", trusted.key.display()),
        &format!("tls-ca-cert-file {}", trusted.authority.display()),
        "tls-auth-clients no",
    ]);
    push(&server, "jobs", 3);

    let with = |tls| connection(RedisServer { tls, ..redis_server(format!("localhost:{port}")) });
    let tls = |authorities, insecure_skip_verify| {
        with(Some(ClientTls { authorities, insecure_skip_verify, ..ClientTls::default() }))
    };
    let polling = Polling::start();
    let jobs = || list(&["jobs"]);
    polling.set(0, &autoscaler("trusted", FAST, &[(&tls(Some(trusted.authority.into()), false), jobs())]));
    polling.until_backlog(0, 3.0);
    polling.set(1, &autoscaler("unchecked", FAST, &[(&tls(None, true), jobs())]));
    polling.until_backlog(1, 3.0);
    polling.set(2, &autoscaler("foreign", FAST, &[(&tls(Some(foreign.authority.into()), false), jobs())]));
    let sentence = polling.until_failure(2, FailureKind::Configuration);
    assert!(sentence.contains("not trusted") && sentence.contains("caFile"), "{sentence}");
    polling.set(3, &autoscaler("no-authority", FAST, &[(&tls(None, false), jobs())]));
    let sentence = polling.until_failure(3, FailureKind::Configuration);
    assert!(sentence.contains("needs `caFile`"), "{sentence}");
    // Plain words to a port that wants TLS.
    polling.set(4, &autoscaler("plain", FAST, &[(&with(None), jobs())]));
    let plain = polling.until("a failure", |sample| sample.key == Key(4) && sample.value.is_err());
    assert!(plain.value.unwrap_err().message.contains("`tls`"));
}

// === what breaks and comes back ===

#[test]
fn nobody_listening_and_no_such_host_are_unreachable() {
    let polling = Polling::start();
    let mut gone = RedisProcess::start();
    gone.kill();
    let host = polling::redis("no-such-host.invalid:6379".into());
    polling.set(0, &autoscaler("refused", FAST, &[(&of(&gone), list(&["jobs"]))]));
    polling.set(1, &autoscaler("unknown", FAST, &[(&host, list(&["jobs"]))]));
    let sentence = polling.until_failure(0, FailureKind::Unreachable);
    assert!(sentence.contains("refused"), "{sentence}");
    let sentence = polling.until("a failure", |sample| {
        sample.key == Key(1) && matches!(kind_of(sample), Some(FailureKind::Unreachable | FailureKind::Timeout))
    });
    assert!(sentence.value.unwrap_err().message.contains("no-such-host.invalid"));
}

#[test]
fn a_killed_server_is_noticed_and_its_return_too() {
    let mut server = RedisProcess::start();
    push(&server, "jobs", 2);
    let polling = Polling::start();
    polling.set(0, &autoscaler("jobs", FAST, &[(&of(&server), list(&["jobs"]))]));
    polling.until_backlog(0, 2.0);

    server.kill();
    polling.until_failure(0, FailureKind::Unreachable);
    // Failures come at the trigger's own pace, whatever the backoff does.
    polling.drain();
    let during = polling.collect(Duration::from_secs(1));
    assert!((8..=24).contains(&during.len()), "{} failures in a second at 50 ms", during.len());
    assert!(during.iter().all(|sample| sample.value.is_err()));

    server.restart();
    let back = Instant::now();
    polling.drain();
    polling.until_backlog(0, 0.0);
    let took = back.elapsed();
    assert!(took <= BACKOFF_CAP + 2 * FAST + SCHEDULING, "recovered after {took:?}");
}

#[test]
fn a_link_that_was_closed_for_idleness_is_no_failure() {
    let server = RedisProcess::start();
    let polling = Polling::start();
    polling.set(0, &autoscaler("slow", Duration::from_millis(1500), &[(&of(&server), list(&["jobs"]))]));
    for closed in 0..2 {
        polling.until_backlog(0, 0.0);
        // The first sample comes at once, the second on the grid: only from there on has the link been idle.
        let next = polling.batch(polling::PATIENCE).unwrap();
        assert!(next.iter().all(|sample| sample.value.is_ok()), "{next:?}");
        let _: i64 = server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
        let next = polling.batch(polling::PATIENCE).unwrap();
        assert!(next.iter().all(|sample| sample.value.is_ok()), "{next:?}");
        assert_eq!(server.calls("client|setname"), CONNECTIONS as u64 * (closed + 2));
    }
}

#[test]
fn a_frozen_server_times_out_and_is_read_again_when_it_goes_on() {
    let server = RedisProcess::start();
    push(&server, "jobs", 2);
    let polling = Polling::start();
    polling.set(0, &autoscaler("jobs", FAST, &[(&of(&server), list(&["jobs"]))]));
    polling.until_backlog(0, 2.0);

    server.freeze();
    let sentence = polling.until_failure(0, FailureKind::Timeout);
    assert!(sentence.contains("did not answer"), "{sentence}");
    server.thaw();
    let back = Instant::now();
    polling.until_backlog(0, 2.0);
    let took = back.elapsed();
    // A connect that hung through the freeze has its own timeout to run out before the next one.
    assert!(took <= BACKOFF_CAP + Duration::from_millis(500) + 2 * FAST + SCHEDULING, "recovered after {took:?}");
}

#[test]
fn a_server_that_is_up_but_does_not_serve_says_why() {
    let lost = RedisProcess::with(&["replicaof 127.0.0.1 1", "replica-serve-stale-data no"]);
    let cluster = RedisProcess::with(&["cluster-enabled yes", &format!("cluster-port {}", free_port())]);
    let busy = RedisProcess::with(&["lua-time-limit 20"]);
    let polling = Polling::start();
    for (key, server) in [&lost, &cluster, &busy].into_iter().enumerate() {
        polling.set(key as u32, &autoscaler(&key.to_string(), FAST, &[(&of(server), list(&["jobs"]))]));
    }
    let sentence = polling.until_failure(0, FailureKind::NotServing);
    assert!(sentence.contains("lost its master"), "{sentence}");
    let sentence = polling.until_failure(1, FailureKind::NotServing);
    assert!(sentence.contains("CLUSTER INFO"), "{sentence}");

    polling.until_backlog(2, 0.0);
    let mut scripting = busy.connect().unwrap();
    let script = std::thread::spawn(move || {
        redis::cmd("EVAL").arg("while true do end").arg(0).query::<redis::Value>(&mut scripting)
    });
    let sentence = polling.until_failure(2, FailureKind::NotServing);
    assert!(sentence.contains("SCRIPT KILL"), "{sentence}");
    let _: redis::Value = busy.command(&["SCRIPT", "KILL"]);
    assert!(script.join().unwrap().is_err());
    polling.until_backlog(2, 0.0);
}

#[test]
fn a_dead_server_does_not_touch_a_healthy_ones_ages() {
    let frozen = RedisProcess::start();
    let mut dead = RedisProcess::start();
    let healthy = RedisProcess::start();
    let polling = Polling::start();
    for (key, server) in [&frozen, &dead, &healthy].into_iter().enumerate() {
        polling.set(key as u32, &autoscaler(&key.to_string(), FAST, &[(&of(server), list(&["jobs"]))]));
    }
    polling.until_backlog(2, 0.0);
    frozen.freeze();
    dead.kill();
    polling.until_failure(1, FailureKind::Unreachable);
    polling.drain();
    let samples: Vec<Sample> =
        polling.collect(Duration::from_secs(3)).into_iter().filter(|sample| sample.key == Key(2)).collect();
    assert!(samples.iter().all(|sample| sample.value.is_ok()));
    let worst = samples.windows(2).map(|two| two[1].taken.since(two[0].taken)).max().unwrap();
    // A frozen neighbour takes a whole response timeout (1 s) to answer: whoever waited for it would show that much.
    // (How little it really costs is measured, against the same run without it, in tests/faults.)
    assert!(worst < Duration::from_millis(500), "{worst:?} between two samples");
    assert!(samples.len() >= 40, "{} of 60 samples", samples.len());
    frozen.thaw();
}

// === what is shared, and when ===

#[test]
fn two_autoscalers_that_name_one_key_share_one_read() {
    let server = RedisProcess::start();
    push(&server, "jobs", 5);
    let redis = of(&server);
    let polling = Polling::start();
    let both = [(&redis, list(&["jobs"])), (&redis, list(&["jobs", "jobs"]))];
    polling.set(0, &autoscaler("a", FAST, &both));
    polling.set(1, &autoscaler("b", FAST, &both));
    polling.set(2, &autoscaler("slow", 4 * FAST, &both));
    polling.until_backlog(2, 5.0);

    // Between two looks at the server no more commands have run than rounds.
    let before = server.calls("llen");
    polling.drain();
    let mut rounds = 0;
    let end = Instant::now() + Duration::from_secs(1);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        let Some(batch) = polling.batch(left) else { break };
        assert!(batch.len() == 4 || batch.len() == 6, "{}", batch.len());
        for sample in &batch {
            let expected = if sample.trigger == 0 { 5.0 } else { 10.0 };
            assert_eq!(backlog_of(sample), Some(expected));
        }
        rounds += 1;
    }
    let calls = server.calls("llen") - before;
    assert!(calls.abs_diff(rounds) <= 2, "{calls} commands in {rounds} rounds");
}

#[test]
fn polling_at_fifty_milliseconds_does_not_drift() {
    let server = RedisProcess::start();
    let polling = Polling::start();
    polling.set(0, &autoscaler("jobs", FAST, &[(&of(&server), list(&["jobs"]))]));
    polling.batch(polling::PATIENCE).unwrap();
    let taken: Vec<_> = polling.collect(Duration::from_secs(3)).iter().map(|sample| sample.taken).collect();
    assert!((40..=61).contains(&taken.len()), "{} samples in 3 s", taken.len());
    // Each lies on the grid of the first but for its own lateness, which does not add up: the last ones are no later
    // than the first ones. A millisecond of drift a round would make them differ by some forty.
    let median_phase = |ticks: &[Tick]| {
        let from_first = |tick: &Tick| (tick.as_nanos() - taken[0].as_nanos() + 25_000_000) % 50_000_000;
        let mut phases: Vec<Duration> = ticks.iter().map(from_first).map(Duration::from_nanos).collect();
        phases.sort();
        phases[phases.len() / 2]
    };
    let third = taken.len() / 3;
    let (first, last) = (median_phase(&taken[..third]), median_phase(&taken[2 * third..]));
    assert!(first.abs_diff(last) < Duration::from_millis(10), "median phases {first:?} and {last:?}");
}

#[test]
fn a_new_autoscaler_is_sampled_at_once_and_a_removed_one_no_more() {
    let server = RedisProcess::start();
    let redis = of(&server);
    let polling = Polling::start();
    let hourly = Duration::from_secs(3600);
    polling.set(0, &autoscaler("hourly", hourly, &[(&redis, list(&["jobs"]))]));
    polling.until_backlog(0, 0.0);
    push(&server, "more", 4);
    let asked = polling.clock.now();
    polling.set(1, &autoscaler("later", hourly, &[(&redis, list(&["more"]))]));
    let first = polling.until_backlog(1, 4.0);
    assert!(first.taken.since(asked) < SCHEDULING, "{:?}", first.taken.since(asked));

    // Replaced under the same key: another source, sampled at once as well.
    polling.set(1, &autoscaler("later", FAST, &[(&redis, list(&["more", "more"]))]));
    polling.until_backlog(1, 8.0);
    polling.remove(1);
    std::thread::sleep(2 * FAST);
    polling.drain();
    assert!(polling.collect(4 * FAST).is_empty());
}

#[test]
fn one_link_serves_thousands_of_keys_and_ends_with_its_last_subscriber() {
    let server = RedisProcess::start();
    let redis = of(&server);
    let mut fill = redis::pipe();
    for key in 0..3000 {
        fill.cmd("RPUSH").arg(format!("q:{key}")).arg(vec!["x"; key % 5 + 1]).ignore();
    }
    fill.exec(&mut server.connect().unwrap()).unwrap();

    let polling = Polling::start();
    for key in 0..3000_u32 {
        let name = format!("q:{key}");
        polling.set(key, &autoscaler(&name, Duration::from_millis(100), &[(&redis, list(&[&name]))]));
    }
    polling.until_backlog(2999, 5.0);
    polling.drain();
    // A round comes in portions, all taken at one moment.
    let mut rounds: HashMap<_, usize> = HashMap::new();
    while rounds.values().filter(|samples| **samples == 3000).count() < 5 {
        let portion = polling.batch(polling::PATIENCE).unwrap();
        assert!(portion.len() <= 1000, "{}", portion.len());
        *rounds.entry(portion[0].taken).or_default() += portion.len();
        for sample in portion {
            assert_eq!(backlog_of(&sample), Some(f64::from(sample.key.0 % 5 + 1)));
        }
        assert!(rounds.len() < 200, "never a full round: {rounds:?}");
    }
    assert_eq!(server.clients("tidegate"), CONNECTIONS);
    assert_eq!(server.calls("client|setname"), CONNECTIONS as u64);

    for key in 0..3000 {
        polling.remove(key);
    }
    let end = Instant::now() + polling::PATIENCE;
    while server.clients("tidegate") > 0 {
        assert!(Instant::now() < end, "the connection outlives its subscribers");
        std::thread::sleep(FAST);
    }
    polling.stop();
}
