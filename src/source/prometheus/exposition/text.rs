//! Text as a page has it: between quotes, perhaps with escapes, and not copied.

use std::borrow::Cow;

use memchr::memchr2;
use regex::bytes::Regex;

/// A name or a value as it stands on the page.
#[derive(Clone, Copy, Debug)]
pub(in crate::source::prometheus) struct Raw<'p> {
    bytes: &'p [u8],
    /// Whether there is a backslash in it: hardly ever.
    escaped: bool,
}

impl<'p> Raw<'p> {
    /// Text that needs no quotes.
    pub(super) const fn plain(bytes: &'p [u8]) -> Self {
        Raw { bytes, escaped: false }
    }

    /// Takes what stands before the next quote that is not escaped; returns what is behind that quote.
    pub(super) fn quoted(rest: &'p [u8]) -> Option<(Self, &'p [u8])> {
        let mut at = 0;
        let mut escaped = false;
        loop {
            at += memchr2(b'"', b'\\', rest.get(at..)?)?;
            if rest.get(at) == Some(&b'"') {
                let (bytes, behind) = rest.split_at_checked(at)?;
                return Some((Raw { bytes, escaped }, behind.get(1..)?));
            }
            // Whatever follows a backslash ends nothing.
            escaped = true;
            at += 2;
        }
    }

    /// Whether it says `text`.
    #[inline]
    pub(super) fn is(self, text: &[u8]) -> bool {
        if self.escaped { unescaped(self.bytes).eq(text.iter().copied()) } else { self.bytes == text }
    }

    /// Whether the whole of it matches; `scratch` is for what has to be copied.
    pub(super) fn matches(self, expression: &Regex, scratch: &mut Vec<u8>) -> bool {
        if !self.escaped {
            return expression.is_match(self.bytes);
        }
        scratch.clear();
        scratch.extend(unescaped(self.bytes));
        expression.is_match(scratch)
    }

    /// What it says, where that is text as it stands.
    pub(super) fn borrowed(self) -> Option<&'p str> {
        if self.escaped { None } else { std::str::from_utf8(self.bytes).ok() }
    }

    /// What it says. Copied only where there is an escape.
    #[must_use]
    pub(in crate::source::prometheus) fn said(self) -> Cow<'p, [u8]> {
        if self.escaped { Cow::Owned(unescaped(self.bytes).collect()) } else { Cow::Borrowed(self.bytes) }
    }

    /// What it says, for people and for tests.
    #[must_use]
    pub(in crate::source::prometheus) fn text(self) -> String {
        String::from_utf8_lossy(&self.said()).into_owned()
    }
}

/// `\\`, `\"` and `\n` are escapes. A backslash before anything else is one, as OpenMetrics' grammar and Prometheus' own
/// reader have it; the older format does not say.
fn unescaped(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (byte, behind) = match rest {
            [b'\\', b'n', behind @ ..] => (b'\n', behind),
            [b'\\', escaped @ (b'\\' | b'"'), behind @ ..] => (*escaped, behind),
            [byte, behind @ ..] => (*byte, behind),
            [] => return None,
        };
        rest = behind;
        Some(byte)
    })
}

/// The same of a line of `# HELP`: there, 0.0.4 leaves quotes alone. `\"` says a quote in OpenMetrics only.
pub(super) fn help(bytes: &[u8], quotes: bool) -> String {
    let mut said = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((byte, behind)) = match rest {
        [b'\\', b'n', behind @ ..] => Some((b'\n', behind)),
        [b'\\', b'\\', behind @ ..] => Some((b'\\', behind)),
        [b'\\', b'"', behind @ ..] if quotes => Some((b'"', behind)),
        [byte, behind @ ..] => Some((*byte, behind)),
        [] => None,
    } {
        said.push(byte);
        rest = behind;
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<(String, String)> {
        let (raw, behind) = Raw::quoted(text.as_bytes())?;
        let plain = raw.text();
        assert!(raw.is(plain.as_bytes()) && !raw.is(b"something else"));
        Some((plain, String::from_utf8_lossy(behind).into_owned()))
    }

    #[test]
    fn escapes_are_three_and_other_backslashes_stay() {
        let cases = [
            ("plain\" rest", "plain", " rest"),
            (r#"a\"b","#, "a\"b", ","),
            (r#"a\\","#, "a\\", ","),
            (r#"line\nline"}"#, "line\nline", "}"),
            (r#"C:\dir\x" 1"#, r"C:\dir\x", " 1"),
            (r#"\\n""#, r"\n", ""),
            ("\"", "", ""),
        ];
        for (text, plain, rest) in cases {
            assert_eq!(said(text), Some((plain.to_owned(), rest.to_owned())), "{text}");
        }
        for open in ["", "abc", r#"a\""#, "a\\"] {
            assert_eq!(said(open), None, "{open}");
        }
    }
}
