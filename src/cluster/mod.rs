//! Kubernetes' door: custom resources and workloads in, replicas and status out.
//!
//! Everything that talks to the Kubernetes API is here, and nothing of it decides anything. Resources become specs
//! (`resources`, by way of [`crate::spec::catalog`]; what they need of Secrets comes by `secrets`, and pods whose metrics
//! are read by `endpoints`), workloads become reports (`workloads`), requests become patches (`scale`) unless somebody
//! else owns the workload (`owners`), decisions become status and Events (`status`, `events`), and a Lease says which of
//! several processes may write at all (`lease`). What the parts learn of one autoscaler meets in [`standing`].
//!
//! Every call goes through [`client::Kube`], which bounds it, counts it and hears when the server wants less.

pub mod checkpoints;
pub mod client;
pub mod conditions;
pub mod crd;
pub mod discovery;
pub mod endpoints;
pub mod events;
pub mod lease;
pub mod owners;
pub mod rbac;
pub mod resources;
pub mod restore;
pub mod scale;
pub mod secrets;
pub mod standing;
pub mod status;
pub mod workloads;
