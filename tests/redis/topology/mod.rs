//! Sentinels, Clusters, replicas and Unix sockets, with real processes that fail over, move slots and die; and servers
//! that lie about where others are.
//!
//! `TIDEGATE_LONG=1` does more of it: more failovers under load, and ten thousand keys moved slot by slot.

mod cluster;
mod liar;
mod lying;
mod moving;
mod sentinel;
mod single;
mod specs;
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
