//! Logs go to standard error, for people or as one JSON object a line; standard output belongs to data.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

/// Without a filter: what an operator wants to see of a process that is well.
const DEFAULT_FILTER: &str = "info";

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// For eyes; coloured on a terminal, unless `NO_COLOR` is set.
    #[default]
    Human,
    /// One JSON object a line, fields at the top level.
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log filter {filter:?} cannot be read; e.g. `info` or `info,tidegate::poller=debug`")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
}

/// Begins to log. `filter` in the syntax of `RUST_LOG`, which counts where `filter` is `None`.
///
/// # Errors
/// The filter cannot be read, or this was called before.
pub fn init(format: Format, filter: Option<&str>) -> Result<(), LogError> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let text = filter.or(from_environment.as_deref()).filter(|text| !text.is_empty()).unwrap_or(DEFAULT_FILTER);
    let filter = EnvFilter::try_new(text).map_err(|source| LogError::Filter { filter: text.to_owned(), source })?;

    let registry = tracing_subscriber::registry().with(filter);
    match format {
        Format::Human => {
            let colour = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            registry.with(fmt::layer().with_writer(std::io::stderr).with_ansi(colour)).try_init()?;
        }
        Format::Json => {
            let layer = fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(std::io::stderr);
            registry.with(layer).try_init()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_quoted() {
        let error = init(Format::Human, Some("tidegate=loud")).unwrap_err();
        assert!(error.to_string().contains("tidegate=loud"), "{error}");
    }
}
