//! Logs and metrics: how the process tells an operator what it does.

pub mod flood;
pub mod hush;
pub mod logs;
pub mod names;
pub mod prometheus;
