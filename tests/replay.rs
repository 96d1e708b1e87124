//! Recordings: whatever the engine is given is replayed to the same decisions, byte for byte, from any segment; what was
//! cut off, changed or foreign is recognised; and what other manifests would have decided can fail a pull request.
//!
//! * `random`: random events of several autoscalers, in segments.
//! * `format`: sizes and speed, torn tails, damage, disks that fail, specs and their secrets.
//! * `change`: `tidegate replay -f`, its numbers, exit codes and messages.
//! * `live`: the real binary, killed, on embedded queues and on a real redis-server.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test may break, and reads the clock that it tests against"
)]

#[path = "replay/change.rs"]
mod change;
#[path = "replay/format.rs"]
mod format;
#[path = "replay/live.rs"]
mod live;
#[path = "replay/random.rs"]
mod random;
#[path = "replay/rig.rs"]
mod rig;
mod support;
#[path = "engine_properties/world.rs"]
mod world;
