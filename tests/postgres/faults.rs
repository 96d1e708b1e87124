//! A server that is restarted, frozen, full, or that ends our session: its triggers fail within bounds and say why, come
//! back by themselves, and nobody else notices.

use std::time::{Duration, Instant};

use tidegate::model::{FailureKind, Key, Sample};
use tidegate::spec::Source;

use crate::layouts;
use crate::rig::{FAST, Rig, checkpoint, query};
use crate::support::polling::{autoscaler, kind_of, memory};
use crate::support::postgres::{PostgresProcess, READER, READER_PASSWORD, Session};

/// What a busy machine may add to anything.
const SCHEDULING: Duration = Duration::from_secs(1);
/// The longest pause between two attempts, and one attempt.
const COMES_BACK: Duration = Duration::from_secs(12);

struct Ours {
    rig: Rig,
}

impl Ours {
    /// A checkpoint that lags by 4, a query, and somebody else's queue in memory.
    fn on(server: &PostgresProcess) -> (Session, Self) {
        let mut db = server.database("shop");
        layouts::orchestrator(&mut db);
        layouts::append(&mut db, "Order", 10);
        layouts::checkpoint(&mut db, "orders", 6);
        let rig = Rig::on(server.server("shop"));
        rig.set(0, checkpoint(&["orders"], None));
        rig.set(1, query("select 5"));
        rig.polling.memory.push("jobs", 3);
        rig.polling.set(2, &autoscaler("bystander", FAST, &[(&memory(), Source::Memory { queue: "jobs".into() })]));
        let ours = Ours { rig };
        ours.healthy();
        (db, ours)
    }

    fn healthy(&self) {
        self.rig.polling.until_backlog(0, 4.0);
        self.rig.polling.until_backlog(1, 5.0);
    }

    /// The fault shows as one of these kinds within `bound`, and never as a number; meanwhile the bystander goes on.
    fn fails(&self, kinds: &[FailureKind], bound: Duration) -> String {
        let began = Instant::now();
        let is = |sample: &Sample| sample.key == Key(0) && kind_of(sample).is_some();
        let sample = self.rig.polling.until("failing", is);
        assert!(began.elapsed() < bound + SCHEDULING, "after {:?}", began.elapsed());
        let failure = sample.value.unwrap_err();
        assert!(kinds.contains(&failure.kind), "{failure}");
        let bystander = |samples: &[Sample]| samples.iter().filter(|sample| sample.key == Key(2)).count();
        let seen = self.rig.polling.collect(Duration::from_secs(1));
        assert!(bystander(&seen) >= 12, "the bystander was read {} times in a second", bystander(&seen));
        assert!(seen.iter().all(|sample| sample.key == Key(2) || sample.value.is_err()), "{seen:?}");
        failure.message.to_string()
    }

    fn comes_back(&self) {
        let began = Instant::now();
        self.healthy();
        assert!(began.elapsed() < COMES_BACK + SCHEDULING, "after {:?}", began.elapsed());
    }
}

#[test]
fn restarted() {
    let mut server = PostgresProcess::start();
    let (db, ours) = Ours::on(&server);
    drop(db);
    server.kill();
    let sentence = ours.fails(&[FailureKind::NotServing, FailureKind::Unreachable], Duration::from_millis(100));
    println!("{sentence}");
    server.restart();
    ours.comes_back();
}

#[test]
fn frozen() {
    let server = PostgresProcess::start();
    let (_db, ours) = Ours::on(&server);
    server.freeze();
    // responseTimeout, and a little more.
    let sentence = ours.fails(&[FailureKind::Timeout], Duration::from_millis(1300));
    assert!(sentence.contains("did not answer within responseTimeout (1000 ms)"), "{sentence}");
    server.thaw();
    ours.comes_back();
}

#[test]
fn out_of_connections() {
    let server = PostgresProcess::with(&["max_connections = 8", "superuser_reserved_connections = 3"]);
    let (mut db, ours) = Ours::on(&server);
    let mut others = Vec::new();
    while let Ok(other) = server.try_session("shop", READER, READER_PASSWORD) {
        others.push(other);
    }
    // Who is in stays in.
    ours.healthy();
    // Whoever is faster gets the place; once it is the others, we are told why there is none.
    let give_up = Instant::now() + COMES_BACK;
    let full = |sample: &Sample| sample.key == Key(0) && kind_of(sample) == Some(FailureKind::TooManyClients);
    let sample = loop {
        assert!(Instant::now() < give_up, "{}", ours.rig.polling.log());
        db.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tidegate'");
        for _ in 0..20 {
            others.extend(server.try_session("shop", READER, READER_PASSWORD));
            std::thread::sleep(Duration::from_millis(2));
        }
        if let Some(sample) = ours.rig.polling.collect(Duration::from_millis(700)).into_iter().find(full) {
            break sample;
        }
    };
    let failure = sample.value.unwrap_err();
    assert!(failure.message.contains("raise max_connections there"), "{failure}");
    others.clear();
    ours.comes_back();
    // A role's own limit is told the same way.
    db.run(&format!("alter role {READER} connection limit 0; select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tidegate'"));
    let sample = ours.rig.polling.until("told that it is full", full);
    assert!(sample.value.unwrap_err().message.contains("too many connections for role"));
    db.run(&format!("alter role {READER} connection limit -1"));
    ours.comes_back();
}

#[test]
fn our_session_is_ended_and_a_process_crashes() {
    let server = PostgresProcess::start();
    let (mut db, ours) = Ours::on(&server);
    for _ in 0..3 {
        db.run("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tidegate'");
        let failed = ours.rig.polling.until("failing", |sample| sample.key == Key(0) && kind_of(sample).is_some());
        let failure = failed.value.unwrap_err();
        assert_eq!(failure.kind, FailureKind::NotServing, "{failure}");
        assert!(failure.message.contains("somebody ended it"), "{failure}");
        ours.comes_back();
    }
    // One process dies of a signal: the server ends all sessions, and recovers.
    let pid = db.number("select pid from pg_stat_activity where application_name = 'tidegate'");
    let killed = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap();
    assert!(killed.success());
    ours.rig.polling.until("failing", |sample| sample.key == Key(0) && kind_of(sample).is_some());
    ours.comes_back();
}

#[test]
fn not_there_yet() {
    let mut server = PostgresProcess::start();
    let (db, ours) = Ours::on(&server);
    drop(db);
    drop(ours);
    server.kill();
    let rig = Rig::on(server.server("shop"));
    rig.set(0, checkpoint(&["orders"], None));
    let sentence = rig.failure(0, FailureKind::Unreachable);
    assert!(sentence.contains("refused the connection: nothing listens there"), "{sentence}");
    server.restart();
    rig.assert_lag(0, 4);
}
