//! Seeing workloads and scaling them, against the scripted API server: what each of its answers leads to, and that
//! nothing is lost, applied twice, or sent by somebody who may not.

mod alike;
mod errors;
mod fencing;
mod kinds;
mod others;
mod owners;
mod rig;
mod steady;
