//! The outside looks in: KEDA over gRPC, people and probes over HTTP.
//!
//! Everything answered here is a projection of the [board](crate::board); no request reaches a backend, so a slow
//! Redis is an old sample and never a slow answer.

mod exposition;
pub mod grpc;
pub mod http;
pub mod keda;
pub mod limits;
mod list;
pub mod listen;
pub mod log_level;
pub mod manifests;
mod page;
mod pieces;
pub mod ready;
pub mod request_id;
pub mod tls;
mod view;
mod words;
