//! What strangers may send: metadata maps, manifests and gRPC bodies, mutated by the hundred thousand.
//!
//! Each target makes an input from a seed and the number of a case, gives it to the house in-process, and holds what
//! comes back against what is promised: an answer within a bounded time, whose length does not follow the input's,
//! that says what is wrong and how to cure it, that shows no planted secret, and that keeps its own documented ranges.
//!
//! * `metadata`: maps of a KEDA trigger, read under several sets of grants.
//! * `manifests`: texts, loaded; what loads is printed and loaded again.
//! * `sources`: source blocks of every framework, right and wrong, in manifests of one autoscaler.
//! * `replies`: what a server may answer to the questions of several steps, up to any tree of values; `payloads`: jobs and
//!   times in right replies, which whoever enqueues them writes.
//! * `pages`: pages of metrics, as exporters may write them; `queries`: what a Prometheus may answer.
//! * `grpc`: bodies, posted into the external scaler as tonic would after HTTP/2.
//!
//! A failure prints its case: `TIDEGATE_FUZZ_CASES=4711..4712 cargo test --test fuzz metadata` runs that one again.
//! 20,000 cases each in a debug build, 100,000 in a release build, a million there with `TIDEGATE_LONG=1`;
//! `TIDEGATE_FUZZ_CASES` (a number, or a range) and `TIDEGATE_FUZZ_SEED` say otherwise. A stack that overflows ends
//! the process without a word of its case; halving the range finds it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "a test, which measures the time that cases take and prints it"
)]

#[path = "fuzz/drive.rs"]
mod drive;
#[path = "fuzz/grpc.rs"]
mod grpc;
#[path = "fuzz/manifests.rs"]
mod manifests;
#[path = "fuzz/metadata.rs"]
mod metadata;
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "fuzz/pages.rs"]
mod pages;
#[path = "fuzz/promises.rs"]
mod promises;
#[path = "fuzz/replies.rs"]
mod replies;
#[path = "fuzz/sources.rs"]
mod sources;
#[path = "fuzz/wire.rs"]
mod wire;
