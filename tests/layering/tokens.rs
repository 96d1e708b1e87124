//! Rust's tokens, as far as paths need them: words, `::` and single signs, each with its line.
//!
//! Comments are gone; strings, characters, numbers and lifetimes are one opaque token each.

/// One token and the line, from 1, that it begins on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token<'a> {
    pub(crate) text: &'a str,
    pub(crate) line: usize,
}

impl Token<'_> {
    /// An identifier or a keyword.
    pub(crate) fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c == '_' || c.is_alphabetic())
    }
}

/// What stands for a literal or a lifetime: nothing that a path could be made of.
const OPAQUE: &str = "\"";

/// The tokens of one file.
pub(crate) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut at, mut line) = (0, 1);
    while let Some(first) = source[at..].chars().next() {
        let rest = &source[at..];
        let (length, text) = if first.is_whitespace() {
            (first.len_utf8(), None)
        } else if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), None)
        } else if rest.starts_with("/*") {
            (block_comment(rest), None)
        } else if let Some(length) = string(rest) {
            (length, Some(OPAQUE))
        } else if first == '\'' {
            (quote(rest), Some(OPAQUE))
        } else if first.is_ascii_digit() {
            (word(rest), Some(OPAQUE))
        } else if let Some(raw) = rest.strip_prefix("r#") {
            (2 + word(raw), Some(&raw[..word(raw)]))
        } else if first == '_' || first.is_alphabetic() {
            (word(rest), Some(&rest[..word(rest)]))
        } else if rest.starts_with("::") {
            (2, Some("::"))
        } else {
            (first.len_utf8(), Some(&rest[..first.len_utf8()]))
        };
        found.extend(text.map(|text| Token { text, line }));
        line += rest[..length].matches('\n').count();
        at += length;
    }
    found
}

fn word(text: &str) -> usize {
    text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len())
}

/// They nest.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += rest.chars().next().map_or(0, char::len_utf8);
        }
        if depth == 0 || at == text.len() {
            return at;
        }
    }
}

/// The length of a string of any kind that begins here: `"…"`, `b"…"`, `c"…"`, `r#"…"#`, `br"…"`.
fn string(text: &str) -> Option<usize> {
    let raw = ["br", "cr", "r"].iter().find_map(|prefix| text.strip_prefix(prefix));
    if let Some(raw) = raw {
        let hashes = raw.bytes().take_while(|byte| *byte == b'#').count();
        if let Some(inner) = raw[hashes..].strip_prefix('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let end = inner.find(&close).map_or(inner.len(), |end| end + close.len());
            return Some(text.len() - inner.len() + end);
        }
    }
    let inner = ["b\"", "c\"", "\""].iter().find_map(|prefix| text.strip_prefix(prefix))?;
    Some(text.len() - inner.len() + until(inner, '"'))
}

/// The length of a character or of a lifetime.
fn quote(text: &str) -> usize {
    let mut inner = text[1..].chars();
    match (inner.next(), inner.next()) {
        (Some('\\'), _) => 1 + until(&text[1..], '\''),
        (Some(only), Some('\'')) => 2 + only.len_utf8(),
        _ => 1 + word(&text[1..]),
    }
}

/// Up to and with the next `end` that no backslash precedes.
fn until(text: &str, end: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if !escaped && c == end {
            return at + c.len_utf8();
        }
        escaped = !escaped && c == '\\';
    }
    text.len()
}
