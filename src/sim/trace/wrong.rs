//! What is wrong with an export, in words that say where it is and how to cure it: `file:line (column): what is wrong;
//! cure`. All at once, because nobody should have to correct one row to learn of the next; but not a million times the
//! same, because a column in the wrong unit is one mistake.

use std::fmt::{self, Write as _};

/// Problems that are listed.
const MOST: usize = 20;

/// Of these, problems of one kind in one column.
const MOST_OF_A_KIND: usize = 5;

/// Longest cell that is quoted, in characters.
const LONGEST_QUOTE: usize = 60;

/// Longest message or cure, in characters: names of a thousand columns may stand in them.
const LONGEST: usize = 600;

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    pub file: String,
    /// From 1. None for what is about the file, and in JSON, which has no lines to speak of.
    pub line: Option<u64>,
    /// Name of the column or the series; empty if it is about the row.
    pub column: String,
    pub message: String,
    pub cure: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        on_one_line(f, &self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.column.is_empty() {
            f.write_str(" (")?;
            on_one_line(f, &self.column)?;
            f.write_char(')')?;
        }
        f.write_str(": ")?;
        on_one_line(f, &self.message)?;
        if !self.cure.is_empty() {
            f.write_str("; ")?;
            on_one_line(f, &self.cure)?;
        }
        Ok(())
    }
}

/// What others wrote is repeated with its control characters escaped, so that nobody can forge a line.
fn on_one_line(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    for c in text.chars() {
        if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
    }
    Ok(())
}

/// Why there is no trace: never empty.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct TraceErrors {
    /// The first of each kind, at most 20.
    pub problems: Vec<Problem>,
    /// How many more there are.
    pub more: u64,
}

/// One a line, no newline at the end.
impl fmt::Display for TraceErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_char('\n')?;
            }
            fmt::Display::fmt(problem, f)?;
        }
        if self.more > 0 {
            write!(f, "\n... and {} more like these", self.more)?;
        }
        Ok(())
    }
}

/// Collects problems while a file is read.
pub(super) struct Wrong {
    file: String,
    kinds: Vec<(&'static str, String, usize)>,
    problems: Vec<Problem>,
    more: u64,
}

impl Wrong {
    pub(super) fn new(file: &str) -> Self {
        Wrong { file: file.to_owned(), kinds: Vec::new(), problems: Vec::new(), more: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// A problem of the file.
    pub(super) fn file(&mut self, message: impl Into<String>, cure: impl Into<String>) {
        self.push(None, "", &message.into(), &cure.into());
    }

    /// A problem of a column or a series.
    pub(super) fn column(&mut self, column: &str, message: impl Into<String>, cure: impl Into<String>) {
        self.push(None, column, &message.into(), &cure.into());
    }

    /// A problem of a row. The words are made only for those that will be listed: a file may have millions.
    pub(super) fn row(
        &mut self,
        kind: &'static str,
        line: Option<u64>,
        column: &str,
        words: impl FnOnce() -> (String, String),
    ) {
        let full = self.kinds.len() >= MOST;
        match self.kinds.iter_mut().find(|(of, at, _)| *of == kind && at == column) {
            Some((_, _, count)) if *count >= MOST_OF_A_KIND => return self.more += 1,
            Some((_, _, count)) => *count += 1,
            None if full => return self.more += 1,
            None => self.kinds.push((kind, column.to_owned(), 1)),
        }
        let (message, cure) = words();
        self.push(line, column, &message, &cure);
    }

    fn push(&mut self, line: Option<u64>, column: &str, message: &str, cure: &str) {
        if self.problems.len() >= MOST {
            self.more += 1;
            return;
        }
        let (column, message, cure) = (short(column, LONGEST_QUOTE), short(message, LONGEST), short(cure, LONGEST));
        self.problems.push(Problem { file: self.file.clone(), line, column, message, cure });
    }

    pub(super) fn finish(self) -> Result<(), TraceErrors> {
        if self.problems.is_empty() {
            return Ok(());
        }
        Err(TraceErrors { problems: self.problems, more: self.more })
    }
}

fn short(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A cell as it is quoted: `like this`.
pub(super) fn quoted(cell: &[u8]) -> String {
    let start = cell.get(..LONGEST_QUOTE * 4).unwrap_or(cell);
    format!("`{}`", short(&String::from_utf8_lossy(start), LONGEST_QUOTE))
}

/// Names as they are listed: `a`, `b`, `c`.
pub(super) fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.take(12).map(|name| quoted(name.as_bytes())).collect();
    names.join(", ")
}
