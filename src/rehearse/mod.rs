//! Rehearsal without a cluster: a workload to hold to account, and everybody who would act on it.
//!
//! `tidegate demo` and `tidegate run --target memory|keda` live here, and so do tests in other processes: they assert
//! on replicas, in `http`, not on intentions. `keda_box` is KEDA and the HPA as callers of our own gRPC door; `load`
//! makes work and does it. The workloads themselves are `target/memory.rs`.
//!
//! May import engine, spec, model, proto, clock, telemetry and target; never serve, source, board or runtime: it meets
//! the rest of the house over the wire and through channels, as the real ones would.

pub mod http;
pub mod keda_box;
pub mod load;
