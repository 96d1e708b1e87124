//! Kubernetes' door: what is said to an API server, and what is made of its answers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test may break, and prints its figures"
)]

mod support;

mod kubernetes {
    mod acting;
    mod objects;
    mod pods;
    mod process;
    mod process_memory;
    mod process_owners;
    mod process_rig;
    mod rbac;
    mod resources;
    mod restore;
    mod secrets;
    mod semantics;
    mod server;
    mod status;
    mod status_conditions;
    mod status_rig;
    mod status_server;
    mod watched;
}
