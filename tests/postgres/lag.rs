//! The lag that is served beside the lag computed by hand, in plain SQL and another way, while events come in and
//! projections advance at their own pace.

use tidegate::model::Observation;

use crate::layouts;
use crate::rig::{Rig, checkpoint, eventuous, marten, message_db, orchestrator, pupsourcing, query};
use crate::support::postgres::{PostgresProcess, Session};

/// Of an orchestrator's projection with n partitions: the sum of what each partition has left, shared among n.
fn by_hand(session: &mut Session, projection: &str, partitions: u32) -> i64 {
    let rows: Vec<String> = (0..partitions)
        .map(|k| if partitions == 1 { format!("'{projection}'") } else { format!("'{projection}_p{k}'") })
        .collect();
    let sum = rows.iter().map(|row| {
        session.number(&format!(
            "select (select count(*) + (select coalesce(max(global_position), 0) - count(*) from events) from events)
             - coalesce((select last_global_position from projection_checkpoints where projection_name = {row}), 0)"
        ))
    });
    let sum: i64 = sum.sum();
    sum.div_ceil_by(i64::from(partitions))
}

trait DivCeil {
    fn div_ceil_by(self, by: i64) -> i64;
}

impl DivCeil for i64 {
    fn div_ceil_by(self, by: i64) -> i64 {
        (self + by - 1).div_euclid(by)
    }
}

#[test]
fn orchestrator_through_growth_catch_up_repartition_a_stuck_worker_and_zero() {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    layouts::orchestrator(&mut db);
    let first = layouts::generation(&mut db, "main", 1);
    layouts::worker(&mut db, "main", &first, "running");
    let rig = Rig::on(server.server("shop"));
    rig.set(0, orchestrator("main", &["orders"]));
    rig.set(1, orchestrator("main", &["orders", "mails"]));

    // Nobody has written anything, and a note that is missing is the beginning.
    let start = rig.assert_lag(0, 0);
    assert_eq!((start.partitions.get(), start.rebalancing), (Some(1.0), false));

    // Growth, with gaps.
    layouts::append(&mut db, "Order", 500);
    layouts::gap(&mut db, 100);
    layouts::append(&mut db, "Mail", 400);
    assert_eq!(by_hand(&mut db, "orders", 1), 1000);
    rig.assert_lag(0, 1000);
    rig.assert_lag(1, 2000);

    // Catch-up, each at its own pace.
    for (orders, mails) in [(200, 0), (600, 1), (1000, 999)] {
        layouts::checkpoint(&mut db, "orders", orders);
        layouts::checkpoint(&mut db, "mails", mails);
        let (of_orders, of_mails) = (by_hand(&mut db, "orders", 1), by_hand(&mut db, "mails", 1));
        rig.assert_lag(0, of_orders);
        rig.assert_lag(1, of_orders + of_mails);
    }

    // Three partitions: notes of other names, so history is replayed; the plain ones mean nothing any more.
    let second = layouts::generation(&mut db, "main", 3);
    db.run("delete from orchestrator_workers");
    for _ in 0..3 {
        layouts::worker(&mut db, "main", &second, "running");
    }
    assert_eq!(by_hand(&mut db, "orders", 3), 1000);
    let settled = |seen: &Observation| seen.partitions.get() == Some(3.0) && !seen.rebalancing;
    assert_eq!(rig.until(0, "of three partitions", settled).backlog, 1000.0);
    for (k, position) in [(0, 1000), (1, 999), (2, 500)] {
        layouts::checkpoint(&mut db, &format!("orders_p{k}"), position);
    }
    assert_eq!(by_hand(&mut db, "orders", 3), 167);
    rig.assert_lag(0, 167);

    // One of three is stuck: dead, and nobody takes over. Its lag grows, and that is no rebalance.
    db.run("update orchestrator_workers set last_heartbeat = now() - interval '1 minute' where ctid = (select min(ctid) from orchestrator_workers)");
    layouts::append(&mut db, "Order", 900);
    for k in 0..2 {
        layouts::checkpoint(&mut db, &format!("orders_p{k}"), 1900);
    }
    let stuck = rig.assert_lag(0, by_hand(&mut db, "orders", 3));
    assert_eq!((stuck.backlog, stuck.rebalancing, stuck.unowned.get()), (467.0, false, Some(1.0)));

    // Two again: the third partition's note is of an older, larger generation.
    let third = layouts::generation(&mut db, "main", 2);
    db.run("delete from orchestrator_workers");
    for _ in 0..2 {
        layouts::worker(&mut db, "main", &third, "running");
    }
    rig.assert_lag(0, 0);

    // Scaled to zero: nobody lives, the lag goes on growing, and that is no rebalance either.
    db.run("update orchestrator_workers set last_heartbeat = now() - interval '1 hour'");
    layouts::append(&mut db, "Order", 70);
    let asleep = rig.assert_lag(0, by_hand(&mut db, "orders", 2));
    assert_eq!((asleep.backlog, asleep.rebalancing), (70.0, false));
}

#[test]
fn pupsourcing_by_segments_and_within_a_scope() {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    layouts::pupsourcing(&mut db, true);
    layouts::segments(&mut db, "orders", 4);
    layouts::segments(&mut db, "mails", 2);
    let rig = Rig::on(server.server("shop"));
    rig.set(0, pupsourcing(&["orders"], &[]));
    rig.set(1, pupsourcing(&[], &[]));
    rig.set(2, pupsourcing(&["mails"], &["Mail"]));
    rig.set(3, pupsourcing(&["mails"], &["Mail", "Never"]));
    assert_eq!(rig.assert_lag(0, 0).partitions.get(), Some(4.0));

    layouts::append(&mut db, "Order", 1000);
    layouts::append(&mut db, "Mail", 10);
    layouts::append(&mut db, "Order", 990);
    rig.assert_lag(0, 2000);
    let all = rig.assert_lag(1, 4000);
    assert_eq!(all.partitions.get(), Some(4.0), "of the consumer that has most");
    // The newest mail is the 1010th event.
    rig.assert_lag(2, 1010);
    rig.assert_lag(3, 1010);

    let mut by_hand = |consumer: &str, head: &str| {
        db.number(&format!(
            "select ceil(sum(greatest(head - checkpoint, 0))::numeric / count(*))::int8
             from consumer_segments, (select max(global_position) as head from events where {head}) h
             where consumer_name = '{consumer}'"
        ))
    };
    assert_eq!((by_hand("orders", "true"), by_hand("mails", "aggregate_type = 'Mail'")), (2000, 1010));
    let mut db = server.session("shop");
    for (segment, position) in [(0, 2000), (1, 1500), (2, 1999), (3, 7)] {
        db.run(&format!("update consumer_segments set checkpoint = {position} where consumer_name = 'orders' and segment_id = {segment}"));
    }
    rig.assert_lag(0, by_hand("orders", "true"));

    // The phantom: a consumer of mails has seen the last of them, and orders go on.
    db.run("update consumer_segments set checkpoint = 1010 where consumer_name = 'mails'");
    layouts::append(&mut db, "Order", 5000);
    rig.assert_lag(2, 0);
    rig.assert_lag(3, 0);
    rig.assert_lag(1, by_hand("orders", "true") + by_hand("mails", "true"));
}

#[test]
fn marten_by_what_was_written_and_not_by_its_high_water_mark() {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    layouts::marten(&mut db, "trips");
    layouts::marten(&mut db, "other");
    let schema = "trips";
    layouts::append_to_marten(&mut db, schema, 300);
    layouts::progression(&mut db, schema, "HighWaterMark", 300);
    layouts::progression(&mut db, schema, "Trip:All", 300);
    layouts::progression(&mut db, schema, "Day:All", 120);
    let rig = Rig::on(server.server("shop"));
    rig.set(0, marten(&["Trip:All"], schema));
    rig.set(1, marten(&["Trip:All", "Day:All"], schema));
    rig.set(2, marten(&[], schema));
    rig.assert_lag(0, 0);
    rig.assert_lag(1, 180);
    assert_eq!(rig.assert_lag(2, 180).partitions.get(), Some(2.0));

    // No daemon runs, so the mark stands still while events come in.
    layouts::append_to_marten(&mut db, schema, 200);
    let by_hand = db.number("select sum((select max(seq_id) from trips.mt_events) - last_seq_id) from trips.mt_event_progression where name <> 'HighWaterMark'");
    assert_eq!(by_hand, 580);
    rig.assert_lag(0, 200);
    rig.assert_lag(2, by_hand);

    // The daemon passes over numbers that no event got.
    layouts::progression(&mut db, schema, "Trip:All", 510);
    rig.assert_lag(0, 0);
    db.run("update trips.mt_event_progression set last_seq_id = null where name = 'Trip:All'");
    rig.assert_lag(0, 500);
}

#[test]
fn message_db_by_category_and_position_streams() {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    layouts::message_db(&mut db);
    db.run("grant usage on schema message_store to reader");
    layouts::append_to_category(&mut db, "account", 50);
    layouts::append_to_category(&mut db, "accountant", 500);
    layouts::append_to_category(&mut db, "withdrawal", 30);
    layouts::record_position(&mut db, "account:position", 20);
    let rig = Rig::on(server.server("shop"));
    rig.set(0, message_db("account", &[]));
    rig.set(1, message_db("account", &["account:position-1", "account:position-2"]));
    rig.set(2, message_db("empty", &["account:position"]));
    let by_hand = |db: &mut Session, stream: &str| {
        db.number(&format!(
            "select (select max(global_position) from message_store.messages where stream_name like 'account-%')
             - (select (data->>'position')::int8 from message_store.messages where stream_name = '{stream}' order by position desc limit 1)"
        ))
    };
    rig.assert_lag(0, by_hand(&mut db, "account:position"));
    layouts::append_to_category(&mut db, "account", 5);
    for position in [21, 40, 585] {
        layouts::record_position(&mut db, "account:position", position);
        rig.assert_lag(0, by_hand(&mut db, "account:position"));
    }
    assert_eq!(by_hand(&mut db, "account:position"), 1);

    // Two members of a group share the way.
    layouts::record_position(&mut db, "account:position-1", 580);
    layouts::record_position(&mut db, "account:position-2", 501);
    let both = by_hand(&mut db, "account:position-1") + by_hand(&mut db, "account:position-2");
    assert_eq!(rig.assert_lag(1, (both + 1) / 2).partitions.get(), Some(2.0));
}

#[test]
fn eventuous_and_any_checkpoints() {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    layouts::eventuous(&mut db, "booking");
    layouts::append_to_eventuous(&mut db, "booking", 90);
    db.run("insert into booking.checkpoints values ('new', null), ('old', 89)");
    layouts::orchestrator(&mut db);
    db.run("create index on events (aggregate_type, global_position)");
    layouts::append(&mut db, "Order", 100);
    layouts::append(&mut db, "Mail", 1);
    layouts::append(&mut db, "Order", 100);
    layouts::checkpoint(&mut db, "orders", 151);
    layouts::checkpoint(&mut db, "mails", 101);
    let rig = Rig::on(server.server("shop"));
    rig.set(0, eventuous(&["new", "old"], "booking"));
    rig.set(1, eventuous(&["old"], "booking"));
    rig.set(2, checkpoint(&["orders"], None));
    rig.set(3, checkpoint(&["orders"], Some(&["Order"])));
    rig.set(4, checkpoint(&["mails"], Some(&["Mail"])));
    rig.set(5, checkpoint(&["orders", "mails"], Some(&["Mail", "Order", "Nothing"])));
    rig.set(6, query("select count(*) from events where aggregate_type = 'Mail'; -- how many"));
    for (key, lag) in [(0, 91), (1, 1), (2, 50), (3, 50), (4, 0), (5, 150), (6, 1)] {
        rig.assert_lag(key, lag);
    }
    // A position beyond the head of a scope is ordinary: its events are behind.
    layouts::checkpoint(&mut db, "mails", 150);
    rig.assert_lag(4, 0);
}

/// Many names are looked for among all rows while these are hardly more, and by name when they have become more; no round
/// between says anything else than what is so.
#[test]
fn many_names_in_a_table_that_outgrows_them() {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    layouts::orchestrator(&mut db);
    layouts::append(&mut db, "Order", 100);
    let names: Vec<String> = (0..20).map(|number| format!("reader-{number}")).collect();
    for (number, name) in (0..).zip(&names) {
        layouts::checkpoint(&mut db, name, number);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let rig = Rig::on(server.server("shop"));
    rig.set(0, checkpoint(&names, None));
    let lag = 20 * 100 - (0..20).sum::<i64>();
    rig.assert_lag(0, lag);
    // Five rows more than names are read with them.
    for number in 0..40 {
        layouts::checkpoint(&mut db, &format!("another-{number}"), 7);
        if number % 4 == 0 {
            rig.assert_lag(0, lag);
        }
    }
    layouts::checkpoint(&mut db, "reader-19", 100);
    rig.assert_lag(0, lag - 81);
    db.run("delete from projection_checkpoints where projection_name = 'reader-3'");
    let sentence = rig.failure(0, tidegate::model::FailureKind::Configuration);
    assert!(sentence.contains("reader-3"), "{sentence}");
}
