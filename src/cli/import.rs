//! `tidegate import`: ScaledObjects and HPAs in, QueueAutoscalers and Connections out, and a word on whatever is not the
//! same.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::files;
use crate::spec::import::{Options, import};

/// Turns ScaledObjects (with their TriggerAuthentications) and HPAs into QueueAutoscalers and Connections.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// A manifest, a folder of them, or - for standard input. May be repeated.
    #[arg(short = 'f', long = "file", value_name = "PATH", required = true, num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Write out the ramp and the dead band that an HPA has by itself; without it, up at once.
    #[arg(long)]
    pub hpa_ramp: bool,
}

/// Runs the command. What was made of them goes to stdout; to stderr, one a line, what could not be carried over or
/// means something else here. Fails where nothing was understood.
///
/// # Errors
/// Standard output is closed.
pub fn run(args: &ImportArgs) -> anyhow::Result<ExitCode> {
    // A closed stderr is no reason to fail.
    let say = |line: &dyn std::fmt::Display| drop(writeln!(io::stderr().lock(), "{line}"));
    let set = match files::read(&args.files) {
        Ok(set) => set,
        Err(errors) => {
            errors.iter().for_each(|error| say(&format_args!("error: {error}")));
            return Ok(ExitCode::FAILURE);
        }
    };
    let imported = import(&files::texts(&set), Options { hpa_ramp: args.hpa_ramp });
    imported.notes.iter().for_each(|note| say(&format_args!("note: {note}")));
    if imported.drafts.is_empty() {
        say(
            &"error: nothing to import: no ScaledObject with a redis trigger, and no HorizontalPodAutoscaler of a queue",
        );
        return Ok(ExitCode::FAILURE);
    }
    io::stdout().lock().write_all(imported.yaml()?.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
