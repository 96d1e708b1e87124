//! PromQL's plain selectors: a metric's name, and matchers of its labels. `name`, `name{a="b",c=~"d"}`, `{__name__="x"}`.
//!
//! Whatever is more than that (a range, an offset, an operator, a function) is no plain selector: its answer is not a
//! sample, and has no time of its own.

use std::sync::Arc;

use super::{LabelMatcher, MatchOp};

/// What a selector selects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selector {
    /// `None`: of any name that the matchers allow.
    pub name: Option<Arc<str>>,
    pub matchers: Vec<LabelMatcher>,
}

/// Reads a plain selector.
///
/// # Errors
/// What is wrong, as the end of a sentence that begins with where it stands.
pub fn parse(text: &str) -> Result<Selector, String> {
    let mut input = Input { rest: text.trim() };
    let name = input.word(is_name)?;
    let mut selector = Selector { name: name.map(Arc::from), matchers: Vec::new() };
    if input.takes('{') {
        input.matchers(&mut selector)?;
    }
    match input.rest {
        // PromQL reads these two, in any case, as numbers.
        "" if ["inf", "nan"].iter().any(|number| text.trim().eq_ignore_ascii_case(number)) => {
            Err("is a number".to_owned())
        }
        "" if selector.name.is_none() && selector.matchers.is_empty() => Err("selects nothing".to_owned()),
        "" => Ok(selector),
        rest => Err(format!("is more than a plain selector: `{}`", clipped(rest))),
    }
}

struct Input<'a> {
    rest: &'a str,
}

impl<'a> Input<'a> {
    fn skip(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn takes(&mut self, c: char) -> bool {
        self.skip();
        self.rest.strip_prefix(c).inspect(|rest| self.rest = rest).is_some()
    }

    /// A name, whose first character is no digit. `None`: there is none.
    fn word(&mut self, part: fn(char) -> bool) -> Result<Option<&'a str>, String> {
        self.skip();
        let end = self.rest.find(|c| !part(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("`{}` begins with a digit and is no name", clipped(word)));
        }
        self.rest = rest;
        Ok((!word.is_empty()).then_some(word))
    }

    fn matchers(&mut self, selector: &mut Selector) -> Result<(), String> {
        loop {
            if self.takes('}') {
                return Ok(());
            }
            self.skip();
            let quoted = self.rest.starts_with(['"', '\'', '`']);
            let name = if quoted { Some(self.text()?) } else { self.word(is_label)?.map(str::to_owned) };
            let name = name.ok_or_else(|| format!("a label's name is expected at `{}`", clipped(self.rest)))?;
            self.skip();
            if quoted && (self.rest.starts_with([',', '}'])) {
                // Names of metrics beyond ASCII stand in quotes among the labels.
                if selector.name.replace(name.into()).is_some() {
                    return Err("names the metric twice".to_owned());
                }
            } else {
                let op = self.op()?;
                let value = self.text()?;
                if name == "__name__" && op == MatchOp::Equal && selector.name.is_none() {
                    selector.name = Some(value.into());
                } else {
                    selector.matchers.push(LabelMatcher { name: name.into(), op, value: value.into() });
                }
            }
            if !self.takes(',') {
                return if self.takes('}') {
                    Ok(())
                } else {
                    Err(format!("`,` or `}}` is expected at `{}`", clipped(self.rest)))
                };
            }
        }
    }

    fn op(&mut self) -> Result<MatchOp, String> {
        self.skip();
        for op in [MatchOp::Regex, MatchOp::NotRegex, MatchOp::NotEqual, MatchOp::Equal] {
            if let Some(rest) = self.rest.strip_prefix(op.as_str()) {
                self.rest = rest;
                return Ok(op);
            }
        }
        Err(format!("one of = != =~ !~ is expected at `{}`", clipped(self.rest)))
    }

    /// A text in quotes: with escapes in `"` and `'`, as it stands in backticks.
    fn text(&mut self) -> Result<String, String> {
        self.skip();
        let mut chars = self.rest.char_indices();
        let Some((_, quote @ ('"' | '\'' | '`'))) = chars.next() else {
            return Err(format!("a text in quotes is expected at `{}`", clipped(self.rest)));
        };
        let mut text = String::new();
        while let Some((at, c)) = chars.next() {
            match c {
                c if c == quote => {
                    self.rest = self.rest.get(at + c.len_utf8()..).unwrap_or("");
                    return Ok(text);
                }
                '\\' if quote != '`' => match chars.next() {
                    Some((_, 'n')) => text.push('\n'),
                    Some((_, 't')) => text.push('\t'),
                    Some((_, c @ ('\\' | '"' | '\''))) => text.push(c),
                    other => {
                        let escape = other.map(|(_, c)| c).unwrap_or_default();
                        return Err(format!("`\\{escape}` is no escape; write \\\\ for a backslash"));
                    }
                },
                c => text.push(c),
            }
        }
        Err("has a text whose end is missing".to_owned())
    }
}

fn is_name(c: char) -> bool {
    is_label(c) || c == ':'
}

fn is_label(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The beginning of `text`, for messages.
fn clipped(text: &str) -> &str {
    text.get(..text.floor_char_boundary(40)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(name: &str, op: MatchOp, value: &str) -> LabelMatcher {
        LabelMatcher { name: name.into(), op, value: value.into() }
    }

    #[test]
    fn plain_selectors_are_read() {
        let read = |text: &str| parse(text).map(|selector| (selector.name.map(|n| n.to_string()), selector.matchers));
        let named = |name: &str, matchers: Vec<LabelMatcher>| Ok((Some(name.to_owned()), matchers));
        assert_eq!(read(" jobs:waiting_1 "), named("jobs:waiting_1", vec![]));
        assert_eq!(read("jobs{}"), named("jobs", vec![]));
        assert_eq!(
            read(r#"jobs { queue = "a\"b" , state!='x',zone=~"e.*", q!~`\d` , }"#),
            named(
                "jobs",
                vec![
                    matcher("queue", MatchOp::Equal, "a\"b"),
                    matcher("state", MatchOp::NotEqual, "x"),
                    matcher("zone", MatchOp::Regex, "e.*"),
                    matcher("q", MatchOp::NotRegex, "\\d"),
                ]
            )
        );
        assert_eq!(read(r#"{__name__="jobs"}"#), named("jobs", vec![]));
        assert_eq!(
            read(r#"{"jobs.waiting",queue="a"}"#),
            named("jobs.waiting", vec![matcher("queue", MatchOp::Equal, "a")])
        );
        assert_eq!(read(r#"{a="b"}"#), Ok((None, vec![matcher("a", MatchOp::Equal, "b")])));
    }

    #[test]
    fn what_is_more_or_less_than_a_selector_is_refused() {
        for wrong in [
            "",
            "{}",
            "sum(jobs)",
            "jobs[5m]",
            "jobs offset 5m",
            "jobs @ 0",
            "jobs + 1",
            "jobs{",
            "jobs{a}",
            "jobs{a=b}",
            "jobs{a=\"b}",
            "jobs{a=\"b\" c=\"d\"}",
            "1jobs",
            "jobs{a=\"\\x\"}",
            "-jobs",
            "jobs{a=\"b\"}[1m]",
            "jobs jobs",
            "{\"a\",\"b\"}",
            "jobs{\"a\"}",
            "NaN",
            "inf",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}: {:?}", parse(wrong));
        }
    }
}
