//! What reading projection lag costs: 200 projections of one database, as one statement, beside a bare client that asks
//! for `select max(global_position)`, in the same run, over the same kind of connection, in turns.
//!
//! Ours is a whole reading: the batch of 200 reads, the statement, its rows, and an answer for each read. The goal is the
//! project's: at most three times the bare client's time. Client and server sit on one core, and then on two: the first
//! is the work alone, the second has the cores' waking each other in it, several times the work of `select max()`. Left to
//! themselves they may not sit alike: a server's process that was put on the client's core answers in half the time of
//! one on the other core, whatever it is asked. Stores whose readers are divided into partitions or segments
//! have four rows to read for each projection, and stand below for comparison.
//!
//! `cargo bench --bench projections`, `-- --quick` for a smoke run that judges nothing; stores can be named
//! (`-- checkpoint marten`).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    reason = "a measurement may break, prints, and reads the clock"
)]

#[path = "../tests/postgres/layouts.rs"]
mod layouts;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::cores::{Cores, keep_on};
use support::postgres::{PostgresProcess, READER, READER_PASSWORD, Session};
use tidegate::model::Tick;
use tidegate::source::postgres::PostgresBackend;
use tidegate::source::secrets::Secrets;
use tidegate::source::{Answer, Answers, Backend, Moment, Read};
use tidegate::spec::{Checkpoint, Marten, Orchestrator, Postgres, PostgresRead, Pupsourcing, Table};
use tokio::net::TcpStream;
use tokio_postgres::{Client, Config, NoTls};

const PROJECTIONS: usize = 200;
const SEGMENTS: u32 = 4;
/// Times the bare client's.
const GOAL: f64 = 3.0;

fn main() -> ExitCode {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    let quick = given("--quick") || !given("--bench");
    let (events, turns, asks) = if quick { (10_000, 3, 20) } else { (1_000_000, 15, 400) };

    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    fill(&mut db, events);
    println!("{PROJECTIONS} projections, {events} events; microseconds a reading, medians of {}\n", turns * asks);
    println!("{:<62} {:>8} {:>7} {:>10} {:>10}   goal", "", "time", "ratio", "our CPU", "server's");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Before anything is kept anywhere.
    let places = Cores::available();
    let mut missed = false;
    let stores: [(&str, OfReader, Option<f64>); 4] = [
        ("checkpoint", checkpoint, Some(GOAL)),
        ("marten", marten, Some(GOAL)),
        ("pupsourcing", pupsourcing, None),
        ("pupsourcingOrchestrator", orchestrator, None),
    ];
    let all = !stores.iter().any(|(name, ..)| given(name));
    for (name, read, goal) in stores.into_iter().filter(|(name, ..)| all || given(name)) {
        for cores in places.iter().copied() {
            let (bare, ours) = runtime.block_on(compare(&server, &mut db, read, cores, turns, asks));
            let row = |what: &str, turn: &Turn, ratio: f64, goal: String| {
                println!(
                    "{:<62} {:>8.0} {ratio:>7.2} {:>10.0} {:>10.0}   {goal}",
                    format!("{}: {what}", cores.name),
                    turn.micros,
                    turn.client,
                    turn.server
                );
            };
            let ratio = ours.micros / bare.micros;
            row("bare client: select max(global_position)", &bare, 1.0, String::new());
            row(&format!("tidegate: {name}"), &ours, ratio, goal.map_or(String::new(), |goal| format!("<= {goal}")));
            missed |= goal.is_some_and(|goal| ratio > goal);
        }
    }
    if missed && !quick {
        println!("\na goal was missed");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What to read for the reader of a name.
type OfReader = fn(Arc<str>) -> PostgresRead;

/// Microseconds a reading.
struct Turn {
    micros: f64,
    client: f64,
    server: f64,
}

/// The bare client and ours.
async fn compare(
    server: &PostgresProcess,
    db: &mut Session,
    read: OfReader,
    cores: Cores,
    turns: usize,
    asks: usize,
) -> (Turn, Turn) {
    let (bare, statement) = bare(server).await;
    let mut backend = PostgresBackend::new(server.server("shop"), Secrets::default());
    let reads: Vec<_> = (0..PROJECTIONS)
        .map(|number| {
            let read = read(format!("projection-{number}").into());
            backend.track(&Read::Lag(Arc::new(Postgres { read, listen: None })))
        })
        .collect();
    let mut batch = backend.prepare(&reads);
    let mut link = backend.connect().await.unwrap();
    let mut answers = Answers::default();
    let at = Moment { tick: Tick::from_millis(1000), unix_millis: 0 };
    // Both settle on a plan first.
    for _ in 0..20 {
        bare.query_one(&statement, &[]).await.unwrap();
        backend.fetch(&mut link, &mut batch, at, &mut answers).await.unwrap();
    }
    for position in 0..PROJECTIONS {
        assert!(matches!(answers.get(position), Some(Answer::Facts(_))), "{:?}", answers.get(position));
    }
    let pid = |application: &str| format!("select pid from pg_stat_activity where application_name = '{application}'");
    let pids = [db_number(db, &pid("bare")), db_number(db, &pid("tidegate"))];

    keep_on(cores.client, std::process::id());
    pids.iter().for_each(|pid| keep_on(cores.server, u32::try_from(*pid).unwrap()));

    // In turns, one reading each, so that both have the same neighbours.
    let (mut of_bare, mut of_ours) = (Vec::new(), Vec::new());
    for _ in 0..turns * asks {
        let began = Instant::now();
        let row = bare.query_one(&statement, &[]).await.unwrap();
        std::hint::black_box(row.get::<_, i64>(0));
        of_bare.push(began.elapsed().as_secs_f64() * 1e6);
        let began = Instant::now();
        backend.fetch(&mut link, &mut batch, at, &mut answers).await.unwrap();
        std::hint::black_box(&answers);
        of_ours.push(began.elapsed().as_secs_f64() * 1e6);
    }
    // And many of one kind, for the CPU.
    let asks = turns * asks;
    let begun = Instruments::begin(server, pids[0]);
    for _ in 0..asks {
        std::hint::black_box(bare.query_one(&statement, &[]).await.unwrap());
    }
    let of_bare = begun.end(server, asks, &mut of_bare);
    let begun = Instruments::begin(server, pids[1]);
    for _ in 0..asks {
        backend.fetch(&mut link, &mut batch, at, &mut answers).await.unwrap();
    }
    let of_ours = begun.end(server, asks, &mut of_ours);
    (of_bare, of_ours)
}

/// On a thread of its own: the session blocks, and has a runtime of its own.
fn db_number(db: &mut Session, sql: &str) -> i64 {
    std::thread::scope(|scope| scope.spawn(|| db.number(sql)).join().unwrap())
}

async fn bare(server: &PostgresProcess) -> (Client, tokio_postgres::Statement) {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut config = Config::new();
    config.user(READER).password(READER_PASSWORD).dbname("shop").application_name("bare");
    let (client, connection) = config.connect_raw(stream, NoTls).await.unwrap();
    tokio::spawn(connection);
    let statement = client.prepare("select max(global_position) from events").await.unwrap();
    (client, statement)
}

struct Instruments {
    client: Duration,
    server: f64,
    pid: i64,
}

impl Instruments {
    fn begin(server: &PostgresProcess, pid: i64) -> Self {
        Instruments { server: server.cpu_seconds(&[pid]), client: own_cpu(), pid }
    }

    fn end(self, server: &PostgresProcess, asks: usize, micros: &mut [f64]) -> Turn {
        micros.sort_by(f64::total_cmp);
        let each = |seconds: f64| seconds * 1e6 / asks as f64;
        Turn {
            micros: micros[micros.len() / 2],
            client: each((own_cpu() - self.client).as_secs_f64()),
            server: each(server.cpu_seconds(&[self.pid]) - self.server),
        }
    }
}

/// CPU of this thread, where everything of ours runs.
fn own_cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

// === the stores ===

fn fill(db: &mut Session, events: u64) {
    layouts::orchestrator(db);
    layouts::append(db, "Order", events);
    let generation = layouts::generation(db, "main", SEGMENTS);
    for _ in 0..SEGMENTS {
        layouts::worker(db, "main", &generation, "running");
    }
    layouts::marten(db, "trips");
    layouts::append_to_marten(db, "trips", events);
    db.run("create table consumer_segments (consumer_name text, segment_id int, total_segments int, owner_id text, checkpoint bigint, primary key (consumer_name, segment_id))");
    db.run("create table consumer_workers (consumer_name text, worker_id text, last_heartbeat timestamptz, primary key (consumer_name, worker_id))");
    let all = format!("generate_series(0, {PROJECTIONS} - 1) n");
    db.run("create table readers (name text primary key, position bigint not null)");
    db.run(&format!("insert into readers select 'projection-' || n, n from {all}"));
    db.run(&format!("insert into projection_checkpoints (projection_name, last_global_position) select 'projection-' || n || '_p' || k, n from {all}, generate_series(0, {SEGMENTS} - 1) k"));
    db.run(&format!(
        "insert into trips.mt_event_progression (name, last_seq_id) select 'projection-' || n, n from {all}"
    ));
    db.run(&format!("insert into consumer_segments select 'projection-' || n, k, {SEGMENTS}, 'w', n from {all}, generate_series(0, {SEGMENTS} - 1) k"));
    db.run(&format!("insert into consumer_workers select 'projection-' || n, 'w', now() from {all}"));
    db.run("vacuum analyze");
}

fn table(name: &str) -> Table {
    Table::new(name).unwrap()
}

fn checkpoint(name: Arc<str>) -> PostgresRead {
    PostgresRead::Checkpoint(Checkpoint {
        names: vec![name],
        events: table("events"),
        position: "global_position".into(),
        checkpoints: table("readers"),
        name_column: "name".into(),
        position_column: "position".into(),
        scope: None,
    })
}

fn marten(name: Arc<str>) -> PostgresRead {
    PostgresRead::Marten(Marten { projections: vec![name], schema: "trips".into() })
}

fn pupsourcing(name: Arc<str>) -> PostgresRead {
    PostgresRead::Pupsourcing(Pupsourcing {
        consumers: vec![name],
        events: table("events"),
        segments: table("consumer_segments"),
        workers: table("consumer_workers"),
        aggregate_types: Vec::new(),
        stale_after: Duration::from_secs(3600),
    })
}

fn orchestrator(name: Arc<str>) -> PostgresRead {
    PostgresRead::Orchestrator(Orchestrator {
        replica_set: "main".into(),
        projections: vec![name],
        events: table("events"),
        checkpoints: table("projection_checkpoints"),
        generations: table("orchestrator_generations"),
        workers: table("orchestrator_workers"),
        stale_after: Duration::from_secs(3600),
    })
}
