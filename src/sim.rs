//! The offline world: what a policy would cost and how long jobs would wait, before production learns it.
//!
//! Synchronous and deterministic: no clock, no hash map's order, no thread decides anything. The engine that is driven is
//! the one that is shipped. What an experiment is made of:
//!
//! ```text
//!  trace ────────────────┐
//!  spec::scenario ───────┴► workload: jobs ───────────────┐             ┌─► bound: the least it could have cost
//!                     luck, draw                    ▼             │
//!  spec (manifests) ─► scaler: engine, HPA, KEDA ◄─► world ─► score ─► experiment ─► report ─► table, JSON, page
//! ```

use std::time::Duration;

pub mod bound;
pub mod contestant;
pub mod draw;
pub mod experiment;
pub mod luck;
pub mod merge;
pub mod report;
pub mod scaler;
pub mod score;
pub mod stats;
pub mod sweep;
pub mod trace;
pub mod tune;
pub mod vary;
pub mod workload;
pub mod world;

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// A duration as runs count it.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whole nanoseconds, never below none.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` stops at the ends")]
fn whole(nanos: f64) -> u64 {
    nanos as u64
}
