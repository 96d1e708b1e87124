//! The PostgreSQL source and the poller against real servers, with stores laid out as event-sourcing libraries lay theirs
//! out: the lag that is served beside the lag computed by hand, what it costs, what fails and how, and what comes back.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    reason = "a test may break, prints figures, and reads the clock that it tests against"
)]

mod support;

#[path = "postgres/cost.rs"]
mod cost;
#[path = "postgres/doors.rs"]
mod doors;
#[path = "postgres/failures.rs"]
mod failures;
#[path = "postgres/faults.rs"]
mod faults;
#[path = "postgres/lag.rs"]
mod lag;
#[path = "postgres/layouts.rs"]
mod layouts;
#[path = "postgres/login.rs"]
mod login;
#[path = "postgres/rebalance.rs"]
mod rebalance;
#[path = "postgres/rig.rs"]
mod rig;
#[path = "postgres/wake.rs"]
mod wake;
