//! The offline world against what is known: queueing theory, the real KEDA's reaction times, exact identities.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test may break"
)]

mod simulate {
    pub mod keda;
    pub mod suite;
    pub mod theory;
    pub mod worlds;
}
