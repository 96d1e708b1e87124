//! Hostile callers at KEDA's door, and what the process and its other callers notice of them: the real binary, its
//! resident memory read from the kernel, and a neighbour who asks for its value all the time.
//!
//! Each test prints memory and the neighbour's latency before, during and after, and holds them against bounds that a
//! busy machine keeps: what is promised is that memory stays bounded and that others are served, not how fast.
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

#[path = "hostile/floods.rs"]
mod floods;
#[path = "hostile/neighbour.rs"]
mod neighbour;
