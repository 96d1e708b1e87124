//! One file a command, and what they share.
//!
//! Data goes to standard output, everything else to standard error; only `main` prints an error that ended a command.

pub mod check;
pub mod demo;
pub mod files;
pub mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Queue-depth autoscaler for Kubernetes.
///
/// Samples queues many times a second, decides how many replicas every workload needs, explains each decision, and
/// answers KEDA's external-scaler calls from memory.
///
/// Try it without anything:   tidegate demo
/// Check your manifests:      tidegate check -f manifests/
/// Run it behind KEDA:        tidegate run -f manifests/
/// Rehearse without cluster:  tidegate run -f manifests/ --target memory
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100, verbatim_doc_comment)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Poll, decide and serve until told to stop.
    Run(run::RunArgs),
    /// Show it at work: an in-memory queue, workers, KEDA in a box; no Redis and no cluster needed.
    Demo(demo::DemoArgs),
    /// Read manifests: print every problem, or what was understood of them.
    Check(check::CheckArgs),
}

impl Cli {
    /// Runs the command that was chosen.
    ///
    /// # Errors
    /// What ended it, for `main` to print.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Run(args) => run::run(args),
            Command::Demo(args) => demo::run(&args),
            Command::Check(args) => Ok(check::run(args)),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
