//! Hostile callers at KEDA's door, and what the process and its other callers notice of them: the real binary, its
//! resident memory read from the kernel, and a neighbour who asks for its value all the time.
//!
//! Each test prints a line of a table and holds it against bounds that a busy machine keeps: what is promised is that
//! memory stays bounded and that others are served, not how fast. The columns, times and memory each before / during /
//! after:
//!
//! | what | neighbour's calls + probes during it | p99 of GetMetrics | p99 of /livez | most MiB resident | series |
//! |---|---|---|---|---|---|
//!
//! A fifth of the numbers; `TIDEGATE_LONG=1` has them all, and waits for the timeouts that take half a minute.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test, which reads the clock and prints what it measured"
)]

mod support;

#[path = "hostile/bodies.rs"]
mod bodies;
#[path = "hostile/floods.rs"]
mod floods;
#[path = "hostile/names.rs"]
mod names;
#[path = "hostile/neighbour.rs"]
mod neighbour;
#[path = "hostile/readers.rs"]
mod readers;
#[path = "hostile/registrations.rs"]
mod registrations;
#[path = "hostile/slow.rs"]
mod slow;
#[path = "hostile/streams.rs"]
mod streams;
#[path = "hostile/wire.rs"]
mod wire;
