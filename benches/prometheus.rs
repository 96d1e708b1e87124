//! What numbers of Prometheus' cost: pages read, a thousand autoscalers on one server, a hundred pods at 1 Hz.
//!
//! * `exposition`: reading pages that real exporters wrote, and a large one, for one metric and for everything, beside a
//!   grammar's reader (`openmetrics-parser`): MB/s and ns a series.
//! * `queries`: 1,000 autoscalers with distinct queries on a real Prometheus at 1 Hz. Its yardstick is a bare hyper client
//!   that posts the very same forms at the same pace and throws the answers away.
//! * `pages`: 100 pods of an exporter's page (57 KB) at 1 Hz, plain and packed, ten metrics wanted of each. Its yardstick
//!   is a bare hyper client that gets the same pages, unpacks them where need be, and throws them away.
//!
//! CPU is that of the thread that asks. `cargo bench --bench prometheus` takes a minute and a half; `-- --quick` is a smoke
//! run that judges nothing; parts can be named.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "a measurement may break, prints, and reads the clock"
)]

#[path = "prometheus/asking.rs"]
mod asking;
#[path = "prometheus/reading.rs"]
mod reading;
#[path = "../tests/support/mod.rs"]
mod support;

use std::process::ExitCode;
use std::time::Duration;

/// How long everything takes.
#[derive(Clone, Copy)]
pub struct Pace {
    /// Of each measurement of reading.
    pub reading: Duration,
    /// Of each contestant that asks.
    pub asking: Duration,
    pub autoscalers: usize,
    pub pods: usize,
}

const FULL: Pace =
    Pace { reading: Duration::from_secs(1), asking: Duration::from_secs(10), autoscalers: 1_000, pods: 100 };
const QUICK: Pace =
    Pace { reading: Duration::from_millis(20), asking: Duration::from_secs(2), autoscalers: 120, pods: 10 };

type Part = fn(&Pace, &mut Goals);

fn main() -> ExitCode {
    let given = |flag: &str| std::env::args().any(|argument| argument == flag);
    // `cargo bench` says `--bench`; whoever runs us without it wants to see that it works.
    let quick = given("--quick") || !given("--bench");
    let pace = if quick { QUICK } else { FULL };
    let mut goals = Goals::default();
    let parts: [(&str, Part); 3] =
        [("exposition", reading::run), ("queries", asking::queries), ("pages", asking::pages)];
    let all = !parts.iter().any(|(name, _)| given(name));
    for (name, part) in parts.iter().filter(|(name, _)| all || given(name)) {
        println!("\n=== {name}");
        part(&pace, &mut goals);
    }
    goals.print();
    if goals.missed() && !quick { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Each figure that is judged, beside what it may be at most.
#[derive(Default)]
pub struct Goals(Vec<(String, f64, f64)>);

impl Goals {
    pub fn add(&mut self, what: &str, figure: f64, most: f64) {
        self.0.push((what.to_owned(), figure, most));
    }

    fn missed(&self) -> bool {
        self.0.iter().any(|(_, figure, most)| figure > most)
    }

    fn print(&self) {
        println!("\n=== goals");
        for (what, figure, most) in &self.0 {
            let verdict = if figure > most { "MISSED" } else { "met" };
            println!("{what:<78} {figure:>8.2}   at most {most:<8} {verdict}");
        }
    }
}
