//! From an event that is appended to the number that KEDA is told: the real binary, over the whole way.

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::layouts;
use crate::support::postgres::{PostgresProcess, READER_PASSWORD, Session};
use crate::support::tidegate::{Keda, Tidegate};

const CHANNEL: &str = "pupsourcing_events";

fn manifest(server: &PostgresProcess, interval: &str, listen: &str) -> String {
    let server = server.server("shop");
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: events, namespace: shop }}\n\
         spec: {{ postgres: {{ address: \"{}\", database: shop, username: \"{}\", passwordFrom: {{ env: EVENTS }} }} }}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: lag, namespace: shop }}\n\
         spec:\n  scaleTargetRef: {{ name: projections }}\n  pollingInterval: {interval}\n  triggers:\n    \
         - connection: events\n      postgres: {{ pupsourcing: {{ consumers: [orders] }}{listen} }}\n      \
         policy: {{ backlogPerReplica: {{ target: 10 }} }}\n",
        server.address,
        server.username.as_ref().and_then(|user| user.name()).unwrap(),
    )
}

/// A store with one consumer that has read all of it, and the running program.
fn start(interval: &str, listen: &str) -> (PostgresProcess, Session, Tidegate) {
    let server = PostgresProcess::start();
    let mut db = server.database("shop");
    layouts::pupsourcing(&mut db, false);
    layouts::segments(&mut db, "orders", 1);
    let manifest = manifest(&server, interval, listen);
    let tidegate = Tidegate::start_within(&[("EVENTS", READER_PASSWORD)], &manifest, &[]);
    tidegate.until_ready();
    (server, db, tidegate)
}

/// KEDA, asked from where sessions of the database are used as well.
struct Asked {
    runtime: Runtime,
    keda: Keda,
}

impl Asked {
    fn of(tidegate: &Tidegate) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let keda = runtime.block_on(tidegate.keda("shop", &[("autoscaler", "lag")]));
        Asked { runtime, keda }
    }

    fn value(&mut self) -> f64 {
        self.runtime.block_on(self.keda.value("")).unwrap().1
    }

    fn active(&mut self) -> bool {
        self.runtime.block_on(self.keda.active()).unwrap()
    }
}

/// Appends, and waits until KEDA is told, so many times; how long each took, milliseconds, in order.
fn waits(asked: &mut Asked, db: &mut Session, times: u64, pause: Duration) -> Vec<f64> {
    let mut waited = Vec::new();
    asked.runtime.block_on(asked.keda.until_value(0.0));
    for number in 1..=times {
        // Not in step with the polling.
        std::thread::sleep(pause + Duration::from_millis(number * 37 % 100));
        db.run("begin");
        layouts::append(db, "Order", 1);
        db.run(&format!("select pg_notify('{CHANNEL}', '')"));
        let began = Instant::now();
        db.run("commit");
        while asked.value() < number as f64 {
            assert!(began.elapsed() < Duration::from_secs(20), "event {number} is never told of");
        }
        waited.push(began.elapsed().as_secs_f64() * 1e3);
    }
    waited.sort_by(f64::total_cmp);
    waited
}

fn at(waited: &[f64], part: f64) -> f64 {
    waited[((waited.len() - 1) as f64 * part) as usize]
}

#[test]
fn a_projection_that_falls_behind_shows_at_kedas_door_within_a_polling_interval() {
    let (_server, mut db, tidegate) = start("500ms", "");
    let mut asked = Asked::of(&tidegate);
    assert!(!asked.active());
    let waited = waits(&mut asked, &mut db, 20, Duration::from_millis(10));
    assert!(asked.active());
    println!(
        "polled every 500 ms, ms: p50 {:.0}, p90 {:.0}, max {:.0}",
        at(&waited, 0.5),
        at(&waited, 0.9),
        at(&waited, 1.0)
    );
    // An interval, and what a busy machine adds.
    assert!(at(&waited, 0.9) < 600.0, "{waited:?}");
}

#[test]
fn with_notify_it_shows_at_once_however_seldom_it_is_polled() {
    let (_server, mut db, tidegate) = start("10m", &format!(", listen: {CHANNEL}"));
    let mut asked = Asked::of(&tidegate);
    let times = if std::env::var_os("TIDEGATE_LONG").is_some() { 1000 } else { 100 };
    let waited = waits(&mut asked, &mut db, times, Duration::from_millis(60));
    println!(
        "told by NOTIFY, ms: p50 {:.1}, p90 {:.1}, p99 {:.1}, max {:.1}",
        at(&waited, 0.5),
        at(&waited, 0.9),
        at(&waited, 0.99),
        at(&waited, 1.0)
    );
    assert!(at(&waited, 0.9) < 50.0, "{waited:?}");
}
