//! The binary: parse arguments, run one command, print what went wrong, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use tidegate::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stderr, reason = "the one place that prints an error to the user")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
