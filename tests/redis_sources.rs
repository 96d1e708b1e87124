//! Every source block against a real redis-server, with keys laid out by hand as the frameworks lay them out: what is
//! observed in whole, and what becomes of it when a key is of another type, may not be read, or is not there.
//!
//! `blocks` is the table of layouts, `losses` takes the keys of each away one after another; `streams` has the lags that
//! Redis does not know or gets wrong, `patterns` the walks through a database. The real libraries are elsewhere
//! (`frameworks`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may break, and reads the clock that it tests against"
)]

#[path = "redis_sources/blocks.rs"]
mod blocks;
#[path = "redis_sources/layouts.rs"]
mod layouts;
#[path = "redis_sources/losses.rs"]
mod losses;
#[path = "redis_sources/patterns.rs"]
mod patterns;
#[path = "redis_sources/rig.rs"]
mod rig;
#[path = "redis_sources/streams.rs"]
mod streams;
mod support;
