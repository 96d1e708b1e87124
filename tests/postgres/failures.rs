//! What is no plain number of items is a failure that says what to write, and fails nobody else.

use tidegate::model::{FailureKind, Key};
use tidegate::spec::PostgresRead;

use crate::layouts;
use crate::rig::{Rig, checkpoint, eventuous, marten, message_db, orchestrator, pupsourcing, query};
use crate::support::postgres::{PostgresProcess, Session};

/// A key that is read all the time beside what fails.
const HEALTHY: u32 = 1000;

/// A rig on a server with a database `shop` that `prepared` has filled.
fn rig(prepared: impl FnOnce(&mut Session)) -> (PostgresProcess, Session, Rig) {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    prepared(&mut db);
    let rig = Rig::on(server.server("shop"));
    rig.set(HEALTHY, query("select 7"));
    rig.polling.until_backlog(HEALTHY, 7.0);
    (server, db, rig)
}

/// Each fails so, with these words; and not one round has failed with it.
fn assert_fail(rig: &Rig, cases: &[(PostgresRead, FailureKind, &str)]) {
    rig.polling.drain();
    for (key, (read, ..)) in (0_u32..).zip(cases) {
        rig.set(key, read.clone());
    }
    for (key, (read, kind, words)) in (0_u32..).zip(cases) {
        let sentence = rig.failure(key, *kind);
        println!("{sentence}");
        assert!(sentence.contains(words), "{read:?}\n  said: {sentence}\n  not: {words}");
    }
    for key in 0..cases.len() {
        rig.polling.remove(key as u32);
    }
    assert_healthy(rig);
}

fn assert_healthy(rig: &Rig) {
    let failed = rig.polling.metric(&["tidegate_poll_rounds_total", "outcome=\"error\""]);
    assert_eq!(failed, 0.0, "{}", rig.polling.log());
    rig.until(HEALTHY, "the healthy one", |seen| seen.backlog == 7.0);
}

#[test]
fn a_query_that_gives_no_plain_number_says_what_to_write() {
    use FailureKind::{Configuration, PermissionDenied, Timeout, WrongType};
    let (_server, _db, rig) = rig(|db| {
        db.run("create table jobs (id int, amount numeric(10, 2), kind text); insert into jobs values (1, 2.50, 'a'), (2, -1, 'b')");
        db.run("create table hidden (id int); revoke all on hidden from reader; create sequence counter; grant all on sequence counter to reader");
    });
    let cases = [
        ("select null::int", Configuration, "gives NULL; if that means zero, write `coalesce(..., 0)`"),
        ("select id from jobs where id > 5", Configuration, "gives no row; aggregate"),
        ("select id from jobs", Configuration, "gives several rows; aggregate"),
        ("select id, kind from jobs limit 1", Configuration, "gives 2 columns (\"id\", \"kind\"); select one"),
        ("select kind from jobs limit 1", WrongType, "column \"kind\" is of type text; cast it: \"kind\"::float8"),
        ("select true as done", WrongType, "\"done\" is of type bool"),
        ("select now()", WrongType, "of type timestamptz"),
        ("select 'NaN'::float8", WrongType, "gives NaN"),
        ("select 'NaN'::numeric", WrongType, "gives NaN"),
        ("select 'infinity'::float8", WrongType, "gives infinity"),
        ("select min(amount) from jobs", WrongType, "gives -1, and there cannot be fewer than no items"),
        ("select 9007199254740992", WrongType, "beyond 2^53"),
        ("select power(10::numeric, 400)", WrongType, "whole number"),
        ("select 1; select 2", Configuration, "several statements"),
        (" ; ", Configuration, "the query is empty"),
        ("selekt 1", Configuration, "is not understood (syntax error"),
        ("select $1::int", Configuration, "has placeholders such as $1"),
        ("update jobs set id = 1", Configuration, "must be one `select`"),
        ("select nextval('counter')", Configuration, "writes (cannot execute nextval() in a read-only transaction)"),
        ("select count(*) from nowhere", Configuration, "(relation \"nowhere\" does not exist); check the names"),
        ("select count(nothing) from jobs", Configuration, "(column \"nothing\" does not exist)"),
        ("select nothing(1)", Configuration, "needs a function or an operator that is not there"),
        (
            "select count(*) from hidden",
            PermissionDenied,
            "is denied to this user (permission denied for table hidden)",
        ),
        ("select pg_sleep(10), 1 as x", Configuration, "gives 2 columns"),
        ("select 1 from pg_sleep(10)", Timeout, "took longer than responseTimeout, and was cancelled"),
        ("select '\0'", Configuration, "a zero byte is in no text of a PostgreSQL"),
        ("select 1 / 0", FailureKind::Protocol, "division by zero (22012)"),
    ];
    assert_fail(&rig, &cases.map(|(text, kind, words)| (query(text), kind, words)));

    for (text, value) in [
        ("select amount from jobs where id = 1 -- a half", 2.5),
        ("values (3::smallint);", 3.0),
        ("with x as (select 4::real as y) select y from x", 4.0),
        ("select count(*) from jobs where kind <> ';' /* no; */", 2.0),
    ] {
        rig.set(1, query(text));
        rig.polling.until_backlog(1, value);
    }
    assert_healthy(&rig);
}

#[test]
fn a_query_that_takes_too_long_again_and_again_is_left_alone_for_a_while() {
    let (_server, mut db, rig) = rig(|_| {});
    rig.set(0, query("select 1 from pg_sleep(100)"));
    rig.failure(0, FailureKind::Timeout);
    rig.failure(0, FailureKind::Timeout);
    std::thread::sleep(std::time::Duration::from_secs(4));
    rig.polling.drain();
    // After the second and the third time it rests for one and for two seconds, and the others have these to themselves.
    let samples = rig.polling.collect(std::time::Duration::from_secs(2));
    let healthy = samples.iter().filter(|sample| sample.key == Key(HEALTHY)).count();
    assert!(healthy >= 15, "{healthy} samples in two seconds");
    assert!(db.number("select count(*) from pg_stat_activity where application_name = 'tidegate'") == 1);
    assert_healthy(&rig);
}

#[test]
fn a_locked_table_is_a_lock_and_not_a_dead_server() {
    let (server, mut db, rig) = rig(|db| db.run("create table jobs (id int)"));
    rig.set(0, query("select count(*) from jobs"));
    rig.polling.until_backlog(0, 0.0);
    db.run("begin; lock table jobs in access exclusive mode");
    let sentence = rig.failure(0, FailureKind::Timeout);
    assert!(sentence.contains("had to wait for somebody's lock"), "{sentence}");
    db.run("insert into jobs values (1); commit");
    rig.polling.until_backlog(0, 1.0);
    assert_healthy(&rig);
    drop(server);
}

#[test]
fn a_store_that_is_not_there_or_not_ours_to_read() {
    use FailureKind::{Configuration, PermissionDenied};
    let (_server, mut db, rig) = rig(|db| {
        layouts::eventuous(db, "booking");
        db.run("create schema closed; revoke all on schema closed from reader; create table closed.messages (global_position bigint primary key); create table closed.checkpoints (id text primary key, position bigint)");
        db.run("create schema bare; grant usage on schema bare to reader; create table bare.messages (global_position bigint primary key); create table bare.checkpoints (name text primary key)");
        db.run("create table consumer_segments (consumer_name text)");
    });
    assert_fail(
        &rig,
        &[
            (orchestrator("main", &["a"]), Configuration, "relation \"events\" does not exist"),
            (pupsourcing(&["a"], &[]), Configuration, "does not exist"),
            (marten(&["Trip:All"], "trips"), Configuration, "relation \"trips.mt_event_progression\" does not exist"),
            (message_db("account", &[]), Configuration, "does not exist"),
            (
                eventuous(&["a"], "Booking"),
                Configuration,
                "(relation \"Booking.checkpoints\" does not exist); check the names (case counts)",
            ),
            (
                eventuous(&["a"], "closed"),
                PermissionDenied,
                "is denied to this user (permission denied for schema closed)",
            ),
            (eventuous(&["a"], "bare"), Configuration, "needs a column that is not there (column r.id does not exist)"),
            (eventuous(&[], "booking"), Configuration, "the store has no subscription yet"),
            (
                eventuous(&["a"], "booking"),
                Configuration,
                "the store has no subscription \"a\", and none is not the same as no lag; it has none yet",
            ),
        ],
    );
    db.run("alter table booking.checkpoints alter position type text using 'nothing'; insert into booking.checkpoints values ('a', 'x')");
    assert_fail(&rig, &[(eventuous(&["a"], "booking"), FailureKind::WrongType, "no whole number where positions are")]);
}

#[test]
fn a_name_that_is_not_known_is_neither_all_nor_nothing() {
    use FailureKind::{Configuration, WrongType};
    let (_server, mut db, rig) = rig(|db| {
        layouts::orchestrator(db);
        layouts::append(db, "Order", 100);
        let generation = layouts::generation(db, "main-projections", 2);
        layouts::worker(db, "main-projections", &generation, "running");
        layouts::checkpoint(db, "orders", 50);
        layouts::checkpoint(db, "beyond", 101);
        layouts::marten(db, "trips");
        layouts::append_to_marten(db, "trips", 10);
        layouts::progression(db, "trips", "Trip:All", 3);
        layouts::message_db(db);
        db.run("grant usage on schema message_store to reader");
        layouts::append_to_category(db, "account", 10);
        layouts::record_position(db, "account:position", 3);
        layouts::record_position(db, "account:position-far", 1000);
        db.run("insert into message_store.messages (position, stream_name, type, data) values (0, 'account:position-odd', 'Recorded', '{\"position\": \"x\"}')");
    });
    assert_fail(
        &rig,
        &[
            (
                orchestrator("main-projection", &["orders"]),
                Configuration,
                "no replica set \"main-projection\", and none is not the same as no lag; did you mean \"main-projections\"?",
            ),
            (
                orchestrator("other", &["orders"]),
                Configuration,
                "it has \"main-projections\"; check the name, or start it once",
            ),
            (
                checkpoint(&["order"], None),
                Configuration,
                "no checkpoint \"order\", and none is not the same as no lag; did you mean \"orders\"?",
            ),
            (
                checkpoint(&["orders", "beyond"], None),
                WrongType,
                "checkpoint \"beyond\" is 1 events beyond the newest event",
            ),
            (
                marten(&["Trip"], "trips"),
                Configuration,
                "no projection \"Trip\", and none is not the same as no lag; did you mean \"Trip:All\"?",
            ),
            (marten(&["HighWater"], "trips"), Configuration, "it has \"Trip:All\""),
            (message_db("account", &["account:positions"]), Configuration, "did you mean \"account:position\"?"),
            (message_db("account", &["account:position-far"]), WrongType, "events beyond the newest event"),
            (message_db("account", &["account:position-odd"]), WrongType, "no whole number in data->'position'"),
        ],
    );
    // What was mistaken is put right while everything runs.
    rig.set(0, checkpoint(&["mails"], None));
    rig.failure(0, Configuration);
    layouts::checkpoint(&mut db, "mails", 90);
    rig.assert_lag(0, 10);
    db.run("alter table projection_checkpoints drop constraint projection_checkpoints_pkey; insert into projection_checkpoints values ('mails', 3)");
    assert!(rig.failure(0, Configuration).contains("several rows are named \"mails\""));
}

#[test]
fn without_the_index_nothing_is_asked_and_with_it_all_is_well() {
    use FailureKind::{Configuration, WrongType};
    let (_server, mut db, rig) = rig(|db| {
        layouts::pupsourcing(db, false);
        layouts::segments(db, "mails", 2);
        layouts::append(db, "Order", 10);
        db.run("create table projection_checkpoints (projection_name text primary key, last_global_position bigint); insert into projection_checkpoints values ('a', 4)");
        db.run("create index on events (aggregate_type, global_position) where aggregate_type = 'Order'");
        db.run("create index on events (aggregate_type, global_position desc)");
        layouts::message_db(db);
        db.run("grant usage on schema message_store to reader; drop index message_store.messages_category");
        layouts::record_position(db, "account:position", 0);
    });
    let line = "create index concurrently on \"events\" (\"aggregate_type\", \"global_position\");";
    assert_fail(
        &rig,
        &[
            (pupsourcing(&["mails"], &["Mail"]), Configuration, line),
            (checkpoint(&["a"], Some(&["Mail"])), Configuration, line),
            (message_db("account", &[]), Configuration, "(\"message_store\".category(stream_name), global_position);"),
        ],
    );
    rig.set(0, pupsourcing(&["mails"], &["Order"]));
    rig.failure(0, Configuration);
    db.run("create index concurrently on \"events\" (\"aggregate_type\", \"global_position\")");
    rig.assert_lag(0, 10);

    db.run("alter table events drop constraint events_pkey");
    rig.set(1, checkpoint(&["a"], None));
    let sentence = rig.failure(1, Configuration);
    assert!(sentence.contains("create index concurrently on \"events\" (\"global_position\");"), "{sentence}");
    // A view answers for its own cost.
    db.run("alter table events rename to stored_events; create view events as select * from stored_events; grant select on events to reader");
    rig.assert_lag(1, 6);
    db.run("drop view events; alter table stored_events rename to events; alter table events alter aggregate_type type char(20)");
    rig.set(2, checkpoint(&["a"], Some(&["Mail"])));
    let sentence = rig.failure(2, WrongType);
    assert!(sentence.contains("is not of type text or varchar"), "{sentence}");
}

#[test]
fn a_table_that_changes_under_a_prepared_statement_is_read_again() {
    let (_server, mut db, rig) = rig(|db| {
        layouts::eventuous(db, "booking");
        layouts::append_to_eventuous(db, "booking", 5);
        db.run("insert into booking.checkpoints values ('a', 1)");
    });
    rig.set(0, eventuous(&["a"], "booking"));
    rig.assert_lag(0, 4);
    db.run("begin; drop table booking.checkpoints; create table booking.checkpoints (position bigint, id text primary key); grant select on booking.checkpoints to reader; insert into booking.checkpoints values (2, 'a'); commit");
    rig.assert_lag(0, 3);
    db.run("drop table booking.checkpoints");
    rig.failure(0, FailureKind::Configuration);
    db.run("create table booking.checkpoints (position bigint, id text primary key); insert into booking.checkpoints values (5, 'a')");
    rig.assert_lag(0, 0);
    assert_healthy(&rig);
}
