//! Secrets and certificates that change while a Redis is polled, against real redis-servers: no round fails, the old
//! connection lives until the new one is proven, and no secret is told to anybody.

mod certificates;
mod process;
mod rig;
mod secrets;
