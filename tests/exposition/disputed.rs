//! Where the two readers differ, and who is right.
//!
//! Ours takes what cannot be misunderstood, and Prometheus' own reader takes most of it too; theirs is a grammar, which in
//! places is narrower than the specification and in places wider.

use tidegate::source::prometheus::exposition::Format::{self, OpenMetrics, Text};

use super::readings::{ours, theirs};

/// Who takes a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Takes {
    Ours,
    Theirs,
}

/// A page, who takes it, and what the specification says.
const DISPUTED: [(Format, &str, Takes, &str); 14] = [
    (Text, "a .5\n", Takes::Ours, "right: a value is what Go's ParseFloat takes"),
    (Text, "a Inf\n", Takes::Ours, "right: likewise, a sign is not needed"),
    (Text, "\ta\t1\n", Takes::Ours, "right: tokens are separated by any number of blanks and tabs"),
    (Text, "a 1  1000\n", Takes::Ours, "right: likewise before the time"),
    (Text, "a{b=\"\\x\"} 1\n", Takes::Ours, "undecided: only three escapes are named; Prometheus keeps the backslash"),
    (Text, "a 1 1.5\n", Takes::Theirs, "ours is right: a time is a whole number of milliseconds"),
    (Text, "a{b=\"1\"} 1\na{c=\"1\"} 1\n", Takes::Ours, "right: labels of one metric may differ"),
    (Text, "# TYPE a counter\na -1\n", Takes::Ours, "right: the type says nothing about the syntax of values"),
    (Text, "", Takes::Ours, "right: a page may be empty"),
    (OpenMetrics, "a{b=\"1\",} 1\n# EOF\n", Takes::Ours, "theirs is right: no comma after the last label; harmless"),
    (OpenMetrics, "a  1\n# EOF\n", Takes::Ours, "theirs is right: one space; harmless"),
    (OpenMetrics, "\na 1\n# EOF\n", Takes::Ours, "theirs is right: no empty lines; harmless"),
    (
        OpenMetrics,
        "# TYPE a gauge\na 1\n# TYPE a gauge\na{b=\"1\"} 2\n# EOF\n",
        Takes::Ours,
        "theirs is right: a family is in one place; harmless",
    ),
    (OpenMetrics, "# EOF\n", Takes::Ours, "right: a page may have no metrics"),
];

#[test]
fn disputed_pages_are_taken_by_whom_the_table_says() {
    let mut wrong = Vec::new();
    for (format, text, takes, why) in DISPUTED {
        let (ours, theirs) = (ours(text, format), theirs(text, format));
        let as_said = match takes {
            Takes::Ours => ours.is_ok() && theirs.is_err(),
            Takes::Theirs => ours.is_err() && theirs.is_ok(),
        };
        if !as_said {
            wrong.push(format!("{format:?} {text:?} ({why}):\nours: {ours:?}\ntheirs: {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
