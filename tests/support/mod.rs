//! What several test binaries share. Each of them compiles this folder and uses a part of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "a test may break, and reads the clock that it tests against"
)]

pub mod apiserver;
pub mod cluster;
pub mod cores;
pub mod frameworks;
pub mod polling;
pub mod postgres;
pub mod prometheus;
pub mod redis;
pub mod redis_cluster;
pub mod sentinels;
pub mod tidegate;
pub mod web;
