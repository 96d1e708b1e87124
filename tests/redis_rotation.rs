//! Secrets and certificates that change while a Redis is polled, against real redis-servers: no round fails, the old
//! connection lives until the new one is proven, and no secret is told to anybody.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    dead_code,
    unreachable_pub,
    reason = "a test may break, and reads the clock that it tests against"
)]

mod support;

#[path = "redis_rotation/certificates.rs"]
mod certificates;
#[path = "redis_rotation/process.rs"]
mod process;
#[path = "redis_rotation/rig.rs"]
mod rig;
#[path = "redis_rotation/secrets.rs"]
mod secrets;
