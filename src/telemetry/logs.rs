//! Logs go to standard error, for people or as one JSON object a line; standard output belongs to data. What is logged
//! can be changed while the process runs.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

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
    #[error("the log filter is empty; e.g. `info` or `info,tidegate::poller=debug`")]
    Empty,
    #[error(
        "{word:?} in the log filter is no level (off, error, warn, info, debug, trace); if it is a target, write \
         {word}=trace; e.g. `info` or `info,tidegate::poller=debug`"
    )]
    NoLevel { word: String },
    #[error("logging is set up already")]
    Twice(#[from] TryInitError),
    #[error("the log filter cannot be changed")]
    Reload(#[from] reload::Error),
}

/// What is logged, for whoever may change it. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct LogFilter(Arc<Shared>);

struct Shared {
    handle: reload::Handle<EnvFilter, Registry>,
    state: Mutex<State>,
}

struct State {
    current: String,
    /// What counts again when a filter that was set for a while has had its time.
    lasting: String,
    /// Changes so far: tells whoever wants to go back whether somebody else came since.
    turn: u64,
}

/// How long a filter is to stay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Term {
    Lasting,
    /// Until [`LogFilter::go_back`].
    ForAWhile,
}

/// Begins to log. `filter` in the syntax of `RUST_LOG`, which counts where `filter` is `None`.
///
/// # Errors
/// The filter cannot be read, or this was called before.
pub fn init(format: Format, filter: Option<&str>) -> Result<LogFilter, LogError> {
    let from_environment = std::env::var(EnvFilter::DEFAULT_ENV).ok();
    let given = filter.filter(|text| !text.is_empty());
    let text = given.or(from_environment.as_deref()).filter(|text| !text.is_empty()).unwrap_or(DEFAULT_FILTER);
    // RUST_LOG may be meant for other programs, whose targets stand in it as bare words.
    let parsed = if given.is_some() { read(text)? } else { parse(text)? };
    let (filter, control) = changeable(parsed, text);

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
    Ok(control)
}

fn changeable(filter: EnvFilter, text: &str) -> (reload::Layer<EnvFilter, Registry>, LogFilter) {
    let (layer, handle) = reload::Layer::new(filter);
    let state = Mutex::new(State { current: text.to_owned(), lasting: text.to_owned(), turn: 0 });
    (layer, LogFilter(Arc::new(Shared { handle, state })))
}

fn parse(text: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::try_new(text).map_err(|source| LogError::Filter { filter: text.to_owned(), source })
}

/// As [`parse`], and stricter: a bare word that is no level would be taken for a target, so that `wran` would turn off
/// everything but the target `wran`.
fn read(text: &str) -> Result<EnvFilter, LogError> {
    if text.is_empty() {
        return Err(LogError::Empty);
    }
    // A filter by spans has its own syntax, and no word of it is a level misspelt.
    if !text.contains(['[', '{']) {
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty() && !word.contains('=')) {
            if word.parse::<LevelFilter>().is_err() {
                return Err(LogError::NoLevel { word: word.to_owned() });
            }
        }
    }
    parse(text)
}

impl LogFilter {
    /// The filter in force, and what follows it where it was set for a while.
    #[must_use]
    pub fn current(&self) -> (String, Option<String>) {
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        let back_to = (state.current != state.lasting).then(|| state.lasting.clone());
        (state.current.clone(), back_to)
    }

    /// Changes what is logged, and logs who did. Returns the turn, for [`LogFilter::go_back`].
    ///
    /// # Errors
    /// The filter cannot be read; nothing has changed.
    pub fn set(&self, filter: &str, term: Term, by: &str) -> Result<u64, LogError> {
        let parsed = read(filter)?;
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.put(&mut state, parsed, filter, by)?;
        if term == Term::Lasting {
            filter.clone_into(&mut state.lasting);
        }
        Ok(state.turn)
    }

    /// Returns to the last lasting filter, unless somebody has set another one since `turn`.
    ///
    /// # Errors
    /// The subscriber is gone.
    pub fn go_back(&self, turn: u64) -> Result<(), LogError> {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.turn != turn {
            return Ok(());
        }
        let lasting = state.lasting.clone();
        // The first one may have come from the environment, so that it was not read strictly.
        let parsed = parse(&lasting)?;
        self.put(&mut state, parsed, &lasting, "the end of its time")
    }

    /// Said under the old filter or, where that hides it, under the new one.
    fn put(&self, state: &mut State, parsed: EnvFilter, filter: &str, by: &str) -> Result<(), LogError> {
        let said = tracing::enabled!(tracing::Level::WARN);
        let say = || tracing::warn!(by, from = state.current, to = filter, "log filter changed");
        if said {
            say();
        }
        self.0.handle.reload(parsed)?;
        if !said {
            say();
        }
        filter.clone_into(&mut state.current);
        state.turn += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the subscriber that it filters: changes fail when that is gone.
    fn changing() -> (impl tracing::Subscriber, LogFilter) {
        let (layer, control) = changeable(read("info").unwrap(), "info");
        (tracing_subscriber::registry().with(layer), control)
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_quoted() {
        let error = init(Format::Human, Some("tidegate=loud")).err().unwrap();
        assert!(error.to_string().contains("tidegate=loud"), "{error}");
    }

    #[test]
    fn a_misspelt_level_is_no_target() {
        let error = read("wran,tidegate::poller=debug").unwrap_err().to_string();
        assert!(error.contains("\"wran\"") && error.contains("wran=trace"), "{error}");
        for good in ["info", "WARN", "off", "info,tidegate::poller=debug", "hyper=trace", "[span]", "[span{a=1}]=debug"]
        {
            assert!(read(good).is_ok(), "{good}");
        }
        assert!(matches!(read(""), Err(LogError::Empty)));
    }

    #[test]
    fn what_is_logged_changes_at_once() {
        let (subscriber, control) = changing();
        tracing::subscriber::with_default(subscriber, || {
            assert!(!tracing::enabled!(tracing::Level::DEBUG));
            control.set("debug", Term::Lasting, "a test").unwrap();
            assert!(tracing::enabled!(tracing::Level::DEBUG));
            control.set("off", Term::Lasting, "a test").unwrap();
            assert!(!tracing::enabled!(tracing::Level::ERROR));
        });
        assert_eq!(control.current(), ("off".to_owned(), None));
    }

    #[test]
    fn a_while_ends_at_the_last_lasting_filter_unless_somebody_came_since() {
        let (_subscriber, control) = changing();
        let first = control.set("debug", Term::ForAWhile, "a").unwrap();
        let second = control.set("trace", Term::ForAWhile, "b").unwrap();
        control.go_back(first).unwrap();
        assert_eq!(control.current(), ("trace".to_owned(), Some("info".to_owned())), "b's time has not passed");
        control.go_back(second).unwrap();
        assert_eq!(control.current(), ("info".to_owned(), None));

        let third = control.set("debug", Term::ForAWhile, "c").unwrap();
        control.set("warn", Term::Lasting, "d").unwrap();
        control.go_back(third).unwrap();
        assert_eq!(control.current(), ("warn".to_owned(), None), "what lasts stays");
    }

    #[test]
    fn a_bad_filter_changes_nothing() {
        let (_subscriber, control) = changing();
        assert!(control.set("tidegate=loud", Term::Lasting, "a").is_err());
        assert!(control.set("loud", Term::Lasting, "a").is_err());
        assert_eq!(control.current(), ("info".to_owned(), None));
    }
}
