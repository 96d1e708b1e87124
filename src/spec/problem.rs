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

/// Longest message or cure, in bytes as printed. Our own longest sentences take some 350; what users wrote is quoted in
/// them, and a megabyte of it must not come back in an event, a header or a line of a log.
const LONGEST: usize = 480;

/// Longest path: keys of users stand in it, too.
const LONGEST_PATH: usize = 160;

impl Problem {
    /// A problem without a place in a file. This is the one way to make one: what is too long is shortened in its
    /// middle here, and what stands before an `@` is left out, because that is where URLs have their passwords.
    pub fn new(path: impl Into<String>, message: impl Into<String>, cure: impl Into<String>) -> Self {
        Problem {
            place: None,
            path: presentable(path.into(), LONGEST_PATH),
            message: presentable(message.into(), LONGEST),
            cure: presentable(cure.into(), LONGEST),
        }
    }

    /// The same, found at `place`.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        Problem { place: Some(place), ..self }
    }
}

/// A text of a stranger's, fit to be quoted.
pub(crate) fn presentable(text: String, longest: usize) -> String {
    let text = if text.contains('@') { without_userinfo(&text) } else { text };
    shortened(text, longest)
}

/// Quoted texts, and values behind a colon, lose everything before their last `@`, wherever that is: a password may
/// have blanks, quotes and an `@` of its own in it.
fn without_userinfo(text: &str) -> String {
    let Some((before, _)) = text.split_once('@') else { return text.to_owned() };
    let quoted = before.find(['`', '"']).map(|quote| quote + 1);
    let start = quoted.or_else(|| before.rfind(": ").map(|colon| colon + 2)).unwrap_or(0);
    let (kept, rest) = text.split_at_checked(start).unwrap_or(("", text));
    let after = rest.rsplit_once('@').map_or("", |(_, after)| after);
    format!("{kept}...@{after}")
}

/// At most `longest` bytes as printed: two thirds from its beginning, where the user's text begins, and one from its
/// end, where ours stands.
pub(crate) fn shortened(text: String, longest: usize) -> String {
    if text.len() <= longest && !text.contains(char::is_control) {
        return text;
    }
    // A control character is printed as its escape, at most `\\u{10ffff}`.
    let printed = |c: char| if c.is_control() { c.escape_default().count() } else { c.len_utf8() };
    if text.chars().map(printed).sum::<usize>() <= longest {
        return text;
    }
    let take = |chars: &mut dyn Iterator<Item = char>, mut room: usize| -> usize {
        let fits = chars.take_while(|c| room.checked_sub(printed(*c)).map(|left| room = left).is_some());
        fits.map(char::len_utf8).sum()
    };
    const GAP: &str = " ... ";
    let tail = take(&mut text.chars().rev(), longest / 3);
    let head = take(&mut text.chars(), longest.saturating_sub(longest / 3 + GAP.len()));
    let head = text.get(..head).unwrap_or_default();
    let tail = text.len().checked_sub(tail).and_then(|start| text.get(start..)).unwrap_or_default();
    format!("{head}{GAP}{tail}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_shortened_and_the_sentence_around_it_stays() {
        for long in ["x".repeat(1 << 20), "\u{1b}".repeat(5000), "🚦".repeat(5000)] {
            let problem = Problem::new(format!("metadata.{long}"), format!("`{long}` is not a number"), long.clone());
            let line = problem.to_string();
            assert!(line.len() < 2 * LONGEST + LONGEST_PATH + 10, "{} bytes", line.len());
            assert!(line.starts_with("metadata.") && line.contains("` is not a number; "), "{line}");
        }
        let sentence = "e".repeat(LONGEST);
        assert_eq!(Problem::new("", sentence.clone(), "").message, sentence, "what fits is left alone");
    }

    #[test]
    fn nothing_before_an_at_sign_is_repeated() {
        for (text, shown) in [
            ("`redis://me:secret@redis:6379` is not a name", "`...@redis:6379` is not a name"),
            ("`me:se`cr et@x@redis` is not a name", "`...@redis` is not a name"),
            ("\":secret@1s\" is no duration (at \":secret@1s\")", "\"...@1s\")"),
            ("declare it: { name: me:sec ret@redis, namespace: a }", "declare it: { name: ...@redis, namespace: a }"),
            ("me:secret@redis", "...@redis"),
        ] {
            let problem = Problem::new(text, text, text);
            assert_eq!([&*problem.path, &*problem.message, &*problem.cure], [shown; 3]);
        }
    }
}
