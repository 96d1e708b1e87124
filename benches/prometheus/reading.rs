//! Reading pages.

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

use tidegate::source::prometheus::exposition::{Format, Page, everything, picked};
use tidegate::spec::{LabelMatcher, MatchOp};

use crate::{Goals, Pace};

/// Of real pages two lines of three are comments, and hardly any series is the one: this is the search for the ends of
/// lines, at some gigabytes a second.
const ONE_METRIC: f64 = 50.0;
/// Where every series has the name, and all its labels are looked at.
const ALL_OF_IT: f64 = 200.0;
/// How much of a grammar's time our reading of one metric may take.
const PART_OF_THEIRS: f64 = 0.02;

pub fn run(pace: &Pace, goals: &mut Goals) {
    let node = include_str!("../../tests/corpus/exposition/node.txt");
    let prometheus = include_str!("../../tests/corpus/exposition/prometheus.txt");
    let mut large = String::from("# HELP jobs Waiting.\n# TYPE jobs gauge\n");
    for number in 0..10_000 {
        let _ = writeln!(
            large,
            "jobs{{queue=\"queue-{number}\",namespace=\"team-{}\",pod=\"worker-0\"}} {number}",
            number % 50
        );
    }
    println!(
        "{:<12} {:>8} {:>7} | {:>22} | {:>22} | {:>22} | {:>22}",
        "page", "bytes", "series", "one metric", "by its labels", "everything", "openmetrics-parser"
    );
    let mut sums = [0.0; 4];
    for (name, text, metric) in
        [("node", node, "node_load1"), ("prometheus", prometheus, "go_goroutines"), ("large", large.as_str(), "jobs")]
    {
        let page = Page { body: text.as_bytes(), format: Format::Text, whole: false };
        let series = text.lines().filter(|line| !line.starts_with('#')).count() as f64;
        let matcher = LabelMatcher { name: "queue".into(), op: MatchOp::Equal, value: "queue-77".into() };
        let figures = [
            time(pace, || drop(black_box(picked(page, metric, &[])))),
            time(pace, || drop(black_box(picked(page, metric, std::slice::from_ref(&matcher))))),
            time(pace, || drop(black_box(everything(page)))),
            time(pace, || drop(black_box(openmetrics_parser::prometheus::parse_prometheus(text)))),
        ];
        let shown = figures.map(|seconds| {
            format!("{:>7.0} MB/s {:>6.1} ns", text.len() as f64 / seconds / 1e6, seconds * 1e9 / series)
        });
        println!("{name:<12} {:>8} {series:>7} | {}", text.len(), shown.join(" | "));
        let most = if name == "large" { ALL_OF_IT } else { ONE_METRIC };
        goals.add(
            &format!("one metric of the {name} page, ns for each series of the page"),
            figures[0] * 1e9 / series,
            most,
        );
        for (sum, seconds) in sums.iter_mut().zip(figures) {
            *sum += seconds;
        }
    }
    goals.add("one metric of all three pages beside the grammar's reader", sums[0] / sums[3], PART_OF_THEIRS);
}

/// Seconds that one call takes: the best of several bursts.
fn time(pace: &Pace, work: impl Fn()) -> f64 {
    const BURSTS: u32 = 8;
    let mut best = f64::MAX;
    for _ in 0..BURSTS {
        let (began, mut calls) = (Instant::now(), 0_u32);
        while began.elapsed() < pace.reading / BURSTS {
            work();
            calls += 1;
        }
        best = best.min(began.elapsed().as_secs_f64() / f64::from(calls));
    }
    best
}
