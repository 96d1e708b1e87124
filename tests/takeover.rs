//! Two real processes and one Lease: the leader is killed, stopped, cut off, shifted in time, told to end, and whatever
//! it does after that changes nothing where its successor has acted. The API server's own record is the witness.
//!
//! Some take-overs are made each time; at least two hundred with `TIDEGATE_LONG=1`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    reason = "a test may break, reads the clock that it tests against, and prints the figures that it is for"
)]

mod support;

#[path = "takeover/backlog.rs"]
mod backlog;
#[path = "takeover/judge.rs"]
mod judge;
#[path = "takeover/rig.rs"]
mod rig;
#[path = "takeover/rounds.rs"]
mod rounds;
#[path = "takeover/stand_in.rs"]
mod stand_in;
