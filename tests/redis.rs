//! Redis, from the outside: real servers, and the real poller that reads them.
//!
//! `reading` is what is read, how, and what becomes of it when it fails; `sources` the source blocks one by one, `hot` what
//! the hot path promises about idle queues, `rotation` credentials that change, and `topology` Sentinels and Clusters.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may break, and reads the clock that it tests against"
)]

#[path = "redis/hot.rs"]
mod hot;
#[path = "redis/reading/mod.rs"]
mod reading;
#[path = "redis/rotation/mod.rs"]
mod rotation;
#[path = "redis/sources/mod.rs"]
mod sources;
mod support;
#[path = "redis/topology/mod.rs"]
mod topology;
