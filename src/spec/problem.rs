//! What is wrong with what a user wrote, in words that say where it is and how to cure it.
//!
//! One type for every door: `check` prints it, a status condition shows it, a gRPC error carries it. A problem never
//! repeats a value that could be a secret.

use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Where in a file: lines and columns count from 1, as editors do.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place {
    pub file: Arc<str>,
    pub line: u32,
    pub column: u32,
}

/// One thing that is wrong, or that a warning is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Known when a file was read; never for KEDA's metadata.
    pub place: Option<Place>,
    /// Where in the object: `spec.triggers[0].policy`, or `metadata.listLength` of a KEDA trigger. Empty: the object itself.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead, or what to do.
    pub cure: String,
}

impl Problem {
    /// A problem without a place in a file.
    pub fn new(path: impl Into<String>, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Problem { place: None, path: path.into(), message: message.into(), cure: cure.into() }
    }
}

/// `file.yaml:12: spec.triggers[0].policy: exactly one policy block is needed, found none; e.g. ...`, on one line: what
/// users wrote is repeated with its control characters escaped, so that nobody can forge a line of a log.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write_on_one_line(f, &place.file)?;
            write!(f, ":{}: ", place.line)?;
        }
        if !self.path.is_empty() {
            write_on_one_line(f, &self.path)?;
            f.write_str(": ")?;
        }
        write_on_one_line(f, &self.message)?;
        if !self.cure.is_empty() {
            f.write_str("; ")?;
            write_on_one_line(f, &self.cure)?;
        }
        Ok(())
    }
}

fn write_on_one_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
    }
    Ok(())
}

/// Everything that is wrong, at once: nobody should have to correct one mistake to learn of the next.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problems(pub Vec<Problem>);

/// One a line, no newline at the end.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
