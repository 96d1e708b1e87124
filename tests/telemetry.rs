//! What an operator sees and turns: metrics that keep their word, documents that cost a piece of memory however large
//! they are, a log whose level changes while it runs and that nobody can flood.
//!
//! * `reference`: `tidegate metrics`, and its copy in `deploy/monitoring/metrics.md`.
//! * `scrape`: `/metrics` of the real binary against promtool and against the reference, at every `--metrics-detail`.
//! * `slow_readers`: 64 readers that take their time over ten thousand autoscalers.
//! * `log_level`: `/log-level`, and who may use it.
//! * `floods`: log lines that callers cause at will.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test, which reads the clock and prints what it measured"
)]

#[path = "telemetry/floods.rs"]
mod floods;
#[path = "telemetry/log_level.rs"]
mod log_level;
#[path = "telemetry/reference.rs"]
mod reference;
#[path = "telemetry/rounds.rs"]
mod rounds;
#[path = "telemetry/scrape.rs"]
mod scrape;
#[path = "telemetry/slow_readers.rs"]
mod slow_readers;
mod support;

use std::alloc::System;

use stats_alloc::StatsAlloc;

/// `slow_readers` counts the bytes that its server holds. What the others allocate meanwhile is small beside that.
#[global_allocator]
static MEMORY: StatsAlloc<System> = StatsAlloc::system();
