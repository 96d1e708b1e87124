//! tidegate: a queue-depth autoscaler for Kubernetes.

pub mod app;
pub mod board;
pub mod cli;
pub mod clock;
pub mod engine;
pub mod model;
pub mod poller;
pub mod proto;
pub mod rehearse;
pub mod runtime;
pub mod serve;
pub mod source;
pub mod spec;
pub mod target;
pub mod telemetry;
