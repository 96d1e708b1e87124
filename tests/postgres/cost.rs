//! What a reading costs the server does not depend on how many events there are: the statements that are sent, explained
//! with the buffers that they touch, for a thousand events and for very many.

use tidegate::spec::PostgresRead;

use crate::layouts;
use crate::rig::{checkpoint, eventuous, marten, message_db, orchestrator, pupsourcing};
use crate::support::postgres::{PostgresProcess, Session};

const FEW: u64 = 1_000;

fn many() -> u64 {
    if std::env::var_os("TIDEGATE_LONG").is_some() { 10_000_000 } else { 1_000_000 }
}

/// A statement as it is sent, with its arguments.
struct Statement {
    name: &'static str,
    sql: String,
    arguments: String,
}

impl Statement {
    fn of(name: &'static str, read: &PostgresRead) -> Self {
        let (sql, arguments) = tidegate::source::postgres::statement(read).unwrap();
        let array = |values: &Vec<String>| {
            let values: Vec<String> = values.iter().map(|value| format!("'{value}'")).collect();
            format!("array[{}]::text[]", values.join(", "))
        };
        let arguments: Vec<String> = arguments.iter().map(array).collect();
        Statement { name, sql, arguments: format!("({})", arguments.join(", ")).replace("()", "") }
    }

    /// Buffers that it touches, and milliseconds that it takes, as the server itself says once it is warm and has settled
    /// on a plan.
    fn explained(&self, db: &mut Session, events: u64) -> (i64, f64) {
        let kinds = self.arguments.matches("array[").map(|_| "text[]").collect::<Vec<_>>().join(", ");
        let kinds = if kinds.is_empty() { kinds } else { format!("({kinds})") };
        db.run(&format!("deallocate all; prepare {}{kinds} as {}", self.name, self.sql));
        let mut last = (0, 0.0);
        for _ in 0..8 {
            let rows = db.rows(&format!("explain (analyze, buffers) execute {}{}", self.name, self.arguments));
            let lines: Vec<String> = rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
            let all = lines.join("\n");
            // A handful of pages is best read as a whole; a million events are not.
            let whole =
                ["events", "mt_events", "messages"].iter().any(|table| all.contains(&format!("Seq Scan on {table} ")));
            assert!(!whole || events == FEW, "{all}");
            // The first line of buffers is the whole plan's.
            let buffers = lines.iter().find(|line| line.contains("Buffers:")).unwrap_or_else(|| panic!("{all}"));
            let of = |what: &str| buffers.split(' ').find_map(|word| word.strip_prefix(what)?.parse::<i64>().ok());
            let time = lines.iter().find_map(|line| line.trim().strip_prefix("Execution Time: ")?.strip_suffix(" ms"));
            last = (of("hit=").unwrap_or(0) + of("read=").unwrap_or(0), time.unwrap().parse().unwrap());
        }
        last
    }
}

#[test]
fn a_reading_costs_the_same_for_a_thousand_events_and_for_very_many() {
    let server = PostgresProcess::with(&["shared_buffers = 256MB", "max_wal_size = 4GB", "work_mem = 16MB"]);
    let mut db = server.database("shop");
    layouts::orchestrator(&mut db);
    db.run("create index on events (aggregate_type, global_position)");
    db.run("create table consumer_segments (consumer_name text, segment_id int, total_segments int, owner_id text, checkpoint bigint not null default 0, primary key (consumer_name, segment_id)); create table consumer_workers (consumer_name text, worker_id text, last_heartbeat timestamptz, primary key (consumer_name, worker_id))");
    layouts::segments(&mut db, "orders", 16);
    layouts::generation(&mut db, "main", 8);
    layouts::checkpoint(&mut db, "orders", 5);
    layouts::marten(&mut db, "trips");
    layouts::progression(&mut db, "trips", "Trip:All", 1);
    layouts::message_db(&mut db);
    layouts::record_position(&mut db, "account:position", 0);
    layouts::eventuous(&mut db, "booking");
    db.run("insert into booking.checkpoints values ('a', 1)");

    let statements = [
        Statement::of("orchestrator", &orchestrator("main", &["orders"])),
        Statement::of("pupsourcing", &pupsourcing(&["orders"], &[])),
        Statement::of("scoped", &pupsourcing(&["orders"], &["Order", "Rare", "Never"])),
        Statement::of("checkpoint", &checkpoint(&["orders"], None)),
        Statement::of("scoped_checkpoint", &checkpoint(&["orders"], Some(&["Order", "Rare", "Never"]))),
        Statement::of("marten", &marten(&["Trip:All"], "trips")),
        Statement::of("message_db", &message_db("account", &["account:position"])),
        Statement::of("eventuous", &eventuous(&["a"], "booking")),
    ];
    let mut fill = |from: u64, to: u64| {
        // One rare event in front, so that a walk backwards from the newest would be a long one.
        if from == 0 {
            layouts::append(&mut db, "Rare", 1);
        }
        layouts::append(&mut db, "Order", to - from);
        layouts::append_to_marten(&mut db, "trips", to - from);
        layouts::append_to_eventuous(&mut db, "booking", to - from);
        // Writing these calls a function each: a tenth of the others.
        layouts::append_to_category(&mut db, "account", (to - from) / 20);
        layouts::append_to_category(&mut db, "zebra", (to - from) / 20);
        db.run("vacuum analyze");
        statements.iter().map(|statement| statement.explained(&mut db, to)).collect::<Vec<_>>()
    };
    let few = fill(0, FEW);
    let lots = fill(FEW, many());
    println!("{:<20} {:>24} {:>24}", "", format!("{FEW} events"), format!("{} events", many()));
    for ((Statement { name, .. }, few), lots) in statements.iter().zip(&few).zip(&lots) {
        println!("{name:<20} {:>8} buffers {:>5.3} ms {:>8} buffers {:>5.3} ms", few.0, few.1, lots.0, lots.1);
        // The index of a million entries is a level or two higher than that of a thousand, in each of up to three scans.
        assert!(lots.0 <= few.0 + 6, "{name}: {} buffers, and {} with few events", lots.0, few.0);
    }
}
