//! Pages of metrics, read by us and by somebody else: `openmetrics-parser`, a grammar of both formats.
//!
//! `corpus` has pages that real exporters wrote (`tests/corpus/exposition`: Prometheus, node, redis and nginx exporters
//! of Debian 12, Python's client library, tidegate itself), recorded as they came but for the names of the machine;
//! `generated` makes pages, 20,000 of them, a million in a release build with `TIDEGATE_LONG=1`; `disputed` is a table
//! of where the two of us differ, and who is right by the specifications
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>, OpenMetrics 1.0.0).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test may break, and prints"
)]

#[path = "exposition/corpus.rs"]
mod corpus;
#[path = "exposition/disputed.rs"]
mod disputed;
#[path = "exposition/generated.rs"]
mod generated;
#[path = "exposition/readings.rs"]
mod readings;
