//! Sentinels, Clusters, replicas and Unix sockets, with real processes that fail over, move slots and die; and servers
//! that lie about where others are.
//!
//! `TIDEGATE_LONG=1` does more of it: more failovers under load, and ten thousand keys moved slot by slot.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may break, and reads the clock that it tests against"
)]

mod support;

#[path = "redis_topology/cluster.rs"]
mod cluster;
#[path = "redis_topology/liar.rs"]
mod liar;
#[path = "redis_topology/lying.rs"]
mod lying;
#[path = "redis_topology/moving.rs"]
mod moving;
#[path = "redis_topology/sentinel.rs"]
mod sentinel;
#[path = "redis_topology/single.rs"]
mod single;
#[path = "redis_topology/specs.rs"]
mod specs;
#[path = "redis_topology/under_load.rs"]
mod under_load;

use std::time::Duration;

/// Between two rounds.
const FAST: Duration = Duration::from_millis(50);

/// What a busy machine may add to anything.
const SCHEDULING: Duration = Duration::from_secs(1);

/// Whether there is time for more.
fn is_long() -> bool {
    std::env::var("TIDEGATE_LONG").is_ok_and(|long| long == "1")
}
