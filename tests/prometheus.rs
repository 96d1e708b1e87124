//! Backlogs that are numbers of Prometheus': queries to a real one, pages of real and of scripted exporters, and what
//! becomes of the samples when either misbehaves.
//!
//! `queries` and `ages` have a real Prometheus that scrapes an exporter of ours once a second; `doors` one with TLS and
//! a login; `pages` scrapes pods; `faults` has servers that answer with everything but what was asked for.
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
    reason = "a test may break, and reads the clock that it tests against"
)]

#[path = "prometheus/ages.rs"]
mod ages;
#[path = "prometheus/doors.rs"]
mod doors;
#[path = "prometheus/faults.rs"]
mod faults;
#[path = "prometheus/pages.rs"]
mod pages;
#[path = "prometheus/queries.rs"]
mod queries;
#[path = "prometheus/rig.rs"]
mod rig;
mod support;
