//! `tidegate simulate` as its users meet it: the real binary, its exit status, what it prints and what it writes.
//!
//! * `report`: the table, the JSON, the page; the same again from the command that the report names.
//! * `wrong`: what is said of wrong scenarios, manifests, fields and flags.
//! * `traces`: recordings in the forms in which they are exported.
//! * `sweeps`: `--vary`, shards and `simulate merge`, `--tune`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may break"
)]

mod simulate_cli {
    pub mod report;
    pub mod rig;
    pub mod sweeps;
    pub mod traces;
    pub mod wrong;
}
