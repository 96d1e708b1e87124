//! Everything under `deploy/`: what people apply is built, judged and tried.
//!
//! * `rendered`: every kustomization, built by kubectl as its users do; every component is in one of them.
//! * `schemas`: each object against Kubernetes' schemas, those of KEDA, cert-manager and the Prometheus Operator, and ours.
//! * `lint`: what every workload must have, and the exceptions with their reasons.
//! * `chart`: the Helm chart yields the objects that kustomize does.
//! * `tables`: the tables of the stacks, which say what stands where, tell the truth.
//! * `scaling`: each autoscaler and each ScaledObject of a stack, checked, simulated, and run against a real server that is
//!   laid out as the stack's queues are.
//! * `monitoring`: rules and dashboard against promtool, against the reference of metrics, and against a real Prometheus.
//! * `image`: what the container image has in it runs there.
//!
//! They need what `tests/run` installs; where it is missing they say so and pass only if nobody requires them
//! (`TIDEGATE_FRAMEWORKS=required`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may break, and reads the clock that it tests against"
)]

#[path = "crds/walker.rs"]
mod walker;

mod support;

mod deploy {
    pub mod chart;
    pub mod image;
    pub mod lint;
    pub mod monitoring;
    pub mod objects;
    pub mod rendered;
    pub mod scaling;
    pub mod schemas;
    pub mod tables;
    pub mod tools;
}
