//! When the workers of a store are seen dividing the work anew, and when they are not.

use crate::layouts;
use crate::rig::{Rig, orchestrator, pupsourcing};
use crate::support::postgres::PostgresProcess;

#[test]
fn an_orchestrator_rebalances_from_the_new_generation_until_all_run_in_it() {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    layouts::orchestrator(&mut db);
    let first = layouts::generation(&mut db, "main", 1);
    let old = layouts::worker(&mut db, "main", &first, "running");
    layouts::generation(&mut db, "other", 7);
    let rig = Rig::on(server.server("shop"));
    rig.set(0, orchestrator("main", &["orders"]));
    let is = |rebalancing: bool, partitions: f64| {
        rig.until(0, &format!("rebalancing {rebalancing}"), |seen| {
            seen.rebalancing == rebalancing && seen.partitions.get() == Some(partitions)
        });
    };
    is(false, 1.0);
    // A newcomer makes a generation, which the other has not seen yet.
    let second = layouts::generation(&mut db, "main", 2);
    is(true, 2.0);
    let newcomer = layouts::worker(&mut db, "main", &second, "pending");
    is(true, 2.0);
    // The other stops, and has not registered again: only the newcomer is left, and it is not running.
    let set = |db: &mut crate::support::postgres::Session, id: &str, state: &str| {
        db.run(&format!("update orchestrator_workers set state = '{state}', last_heartbeat = now() where id = '{id}'"));
    };
    set(&mut db, &old, "stopped");
    is(true, 2.0);
    let again = layouts::worker(&mut db, "main", &second, "pending");
    for state in ["ready", "running"] {
        set(&mut db, &newcomer, state);
        is(true, 2.0);
    }
    set(&mut db, &again, "ready");
    is(true, 2.0);
    // What has stopped lies about for a while.
    set(&mut db, &again, "running");
    is(false, 2.0);

    // All have stopped for a third generation, and nobody has registered in it.
    layouts::generation(&mut db, "main", 3);
    set(&mut db, &newcomer, "stopped");
    set(&mut db, &again, "stopped");
    is(true, 3.0);
    // Long ago: they are gone, and nobody is dividing anything.
    db.run("update orchestrator_workers set last_heartbeat = now() - interval '31 seconds'");
    is(false, 3.0);
}

#[test]
fn pupsourcing_settles_while_a_segment_looks_for_an_owner() {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    layouts::pupsourcing(&mut db, false);
    layouts::segments(&mut db, "orders", 2);
    let rig = Rig::on(server.server("shop"));
    rig.set(0, pupsourcing(&["orders"], &[]));
    let is = |rebalancing: bool| {
        rig.until(0, &format!("rebalancing {rebalancing}"), |seen| seen.rebalancing == rebalancing);
    };
    // Nobody lives.
    is(false);
    db.run("insert into consumer_workers values ('orders', 'w1')");
    is(true);
    db.run("update consumer_segments set owner_id = 'w1'");
    is(false);
    db.run("update consumer_segments set owner_id = null where segment_id = 1; insert into consumer_workers values ('orders', 'w2')");
    is(true);
    db.run("update consumer_segments set owner_id = 'w2' where segment_id = 1");
    is(false);
    // One has died: the others take over what it had, at their next look.
    db.run("update consumer_workers set last_heartbeat = now() - interval '31 seconds' where worker_id = 'w2'");
    is(true);
    db.run("update consumer_workers set last_heartbeat = now() - interval '31 seconds'");
    is(false);
}
