//! Manifests that change while the real binary runs: what comes into force, what a broken change leaves in force and who
//! says so, and what a reload must not touch.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test may break, and prints what it measured"
)]

#[path = "reload/broken.rs"]
mod broken;
#[path = "reload/change.rs"]
mod change;
#[path = "reload/folder.rs"]
mod folder;
#[path = "reload/load.rs"]
mod load;
#[path = "reload/memory.rs"]
mod memory;
mod support;
