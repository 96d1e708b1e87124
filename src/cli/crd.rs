//! `tidegate crd`: what a cluster must have before tidegate can work in it.
//!
//! Copies of what it prints are kept in `deploy/`, for people who install without a binary; a test compares them.

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::anyhow;

use crate::cluster::crd::{self, Kind};

/// Prints custom resource definitions.
#[derive(Clone, Debug, clap::Args)]
pub struct CrdArgs {
    /// Only these kinds: QueueAutoscaler, Connection, ClusterConnection.
    #[arg(value_name = "KIND", value_parser = kind)]
    pub kinds: Vec<Kind>,
}

fn kind(name: &str) -> anyhow::Result<Kind> {
    let known = Kind::ALL.map(Kind::as_str).join(", ");
    Kind::named(name).ok_or_else(|| anyhow!("no kind of ours; write one of {known}"))
}

/// Runs the command.
///
/// # Errors
/// Standard output is closed.
pub fn run(args: &CrdArgs) -> anyhow::Result<ExitCode> {
    let kinds = if args.kinds.is_empty() { Kind::ALL.as_slice() } else { &args.kinds };
    io::stdout().lock().write_all(crd::yaml(kinds)?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
