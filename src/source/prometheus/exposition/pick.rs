//! What is wanted of a page: metrics by name, and of these the series whose labels match.

use std::collections::BTreeMap;

use regex::bytes::{Regex, RegexBuilder};

use super::line::{self, Fault, Label};
use super::text::Raw;
use crate::spec::{LabelMatcher, MatchOp};

/// What a compiled expression may take. Prometheus' own has no bound; whoever writes one that takes more than this does
/// not mean a label.
const EXPRESSION: usize = 1 << 20;

/// Names that begin alike and are compared with a line one after the other; where there are more, the line's own name is
/// looked up among them.
const COMPARED: usize = 3;

/// A metric, and which of its series.
pub(in crate::source::prometheus) struct Pick {
    name: String,
    matchers: Vec<Matcher>,
}

struct Matcher {
    label: String,
    test: Test,
}

enum Test {
    Equal(String),
    NotEqual(String),
    Regex(Regex),
    NotRegex(Regex),
}

impl Pick {
    /// # Errors
    /// An expression that is none, in words.
    pub(in crate::source::prometheus) fn new(metric: &str, matchers: &[LabelMatcher]) -> Result<Self, String> {
        let matchers = matchers.iter().map(|matcher| {
            let value = matcher.value.to_string();
            let test = match matcher.op {
                MatchOp::Equal => Test::Equal(value),
                MatchOp::NotEqual => Test::NotEqual(value),
                MatchOp::Regex => Test::Regex(expression(&value)?),
                MatchOp::NotRegex => Test::NotRegex(expression(&value)?),
            };
            Ok(Matcher { label: matcher.name.to_string(), test })
        });
        Ok(Pick { name: metric.to_owned(), matchers: matchers.collect::<Result<_, String>>()? })
    }
}

/// As Prometheus has them: the whole value is matched, and a dot is any character.
fn expression(text: &str) -> Result<Regex, String> {
    let compiled = |text: &str| RegexBuilder::new(text).size_limit(EXPRESSION).build();
    let broken = |error: regex::Error| {
        let reason = match error {
            regex::Error::CompiledTooBig(_) => "it is too large".to_owned(),
            // The library draws an arrow below the place; its last line is the sentence.
            other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        };
        format!("{text:?} is no regular expression: {reason}")
    };
    // By itself first: `a)|(b` is none, whatever it is between two parentheses.
    compiled(text).map_err(broken)?;
    compiled(&format!("^(?s:{text})$")).map_err(broken)
}

impl Matcher {
    fn accepts(&self, labels: &[Label<'_>], scratch: &mut Vec<u8>) -> bool {
        let found = labels.iter().find(|(name, _)| name.is(self.label.as_bytes()));
        // A label that is not there is one that is empty.
        let value = found.map_or(Raw::plain(b""), |(_, value)| *value);
        match &self.test {
            Test::Equal(wanted) => value.is(wanted.as_bytes()),
            Test::NotEqual(other) => !value.is(other.as_bytes()),
            Test::Regex(expression) => value.matches(expression, scratch),
            Test::NotRegex(expression) => !value.matches(expression, scratch),
        }
    }
}

/// All that is wanted of the pages of one round.
pub(in crate::source::prometheus) struct Picks {
    picks: Vec<Pick>,
    /// By name, the picks of it. Names that begin alike stand together.
    names: Vec<(String, Vec<usize>)>,
    /// Where the names that begin with each byte are among `names`.
    beginnings: Box<[(usize, usize)]>,
}

impl Picks {
    pub(in crate::source::prometheus) fn new(picks: Vec<Pick>) -> Self {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (position, pick) in picks.iter().enumerate() {
            by_name.entry(&pick.name).or_default().push(position);
        }
        let names: Vec<(String, Vec<usize>)> =
            by_name.into_iter().map(|(name, positions)| (name.to_owned(), positions)).collect();
        let begins = |byte: u8| {
            let first = |(name, _): &(String, Vec<usize>)| name.as_bytes().first().copied().unwrap_or_default();
            let from = names.partition_point(|name| first(name) < byte);
            (from, names.partition_point(|name| first(name) <= byte))
        };
        let beginnings = (0..=u8::MAX).map(begins).collect();
        Picks { names, beginnings, picks }
    }

    pub(in crate::source::prometheus) fn len(&self) -> usize {
        self.picks.len()
    }

    /// The metric that a pick wants.
    pub(in crate::source::prometheus) fn wanted(&self, pick: usize) -> &str {
        self.picks.get(pick).map_or("", |pick| &pick.name)
    }

    /// Which name the line is of, if anybody wants it; its labels are read then. Also what follows these.
    #[inline]
    pub(super) fn named<'p>(
        &self,
        line: &'p [u8],
        labels: &mut Vec<Label<'p>>,
    ) -> Result<Option<(usize, &'p [u8])>, Fault> {
        let Some(first) = line.first() else { return Ok(None) };
        if *first == b'{' {
            return self.named_within(line, labels);
        }
        let (from, to) = self.beginnings.get(usize::from(*first)).copied().unwrap_or_default();
        let candidates = self.names.get(from..to).unwrap_or_default();
        if candidates.len() > COMPARED {
            let Some((name, rest)) = line::name(line) else { return Ok(None) };
            let found = candidates.binary_search_by(|(wanted, _)| wanted.as_bytes().cmp(name));
            return found.map_or(Ok(None), |at| Picks::behind(from + at, rest, labels));
        }
        for (position, (name, _)) in (from..).zip(candidates) {
            if let Some(rest) = line.strip_prefix(name.as_bytes())
                && !rest.first().is_some_and(|byte| line::is_in_name(*byte))
            {
                return Picks::behind(position, rest, labels);
            }
        }
        Ok(None)
    }

    /// What follows a name that somebody wants.
    fn behind<'p>(
        position: usize,
        rest: &'p [u8],
        labels: &mut Vec<Label<'p>>,
    ) -> Result<Option<(usize, &'p [u8])>, Fault> {
        if !matches!(rest.first(), Some(b' ' | b'\t' | b'{')) {
            return Err("neither labels nor a value follow the name");
        }
        labels.clear();
        Ok(Some((position, line::labels(rest, labels)?)))
    }

    #[cold]
    fn named_within<'p>(
        &self,
        line: &'p [u8],
        labels: &mut Vec<Label<'p>>,
    ) -> Result<Option<(usize, &'p [u8])>, Fault> {
        labels.clear();
        let (name, rest) = line::named(line.get(1..).unwrap_or_default(), labels)?;
        Ok(self.names.iter().position(|(wanted, _)| name.is(wanted.as_bytes())).map(|position| (position, rest)))
    }

    /// Whoever wants series of a name.
    #[inline]
    pub(super) fn of(&self, name: usize) -> impl Iterator<Item = usize> {
        self.names.get(name).into_iter().flat_map(|(_, picks)| picks.iter().copied())
    }

    pub(super) fn name(&self, name: usize) -> &str {
        self.names.get(name).map_or("", |(name, _)| name)
    }

    #[inline]
    pub(super) fn matches(&self, pick: usize, labels: &[Label<'_>], scratch: &mut Vec<u8>) -> bool {
        self.picks.get(pick).is_some_and(|pick| pick.matchers.iter().all(|matcher| matcher.accepts(labels, scratch)))
    }
}

/// How far a name is from another; `None`: nobody could mean it. Parts in common count, because people remember these
/// and not their order, and a few letters more, fewer or others.
pub(super) fn distance(name: &str, wanted: &str) -> Option<usize> {
    /// A name of a metric has some thirty letters; nobody mistypes more than a few of them.
    const LETTERS: usize = 3;
    if name.len().abs_diff(wanted.len()) <= LETTERS {
        let edits = edits(name.as_bytes(), wanted.as_bytes());
        if edits <= LETTERS {
            return Some(edits);
        }
    }
    if name.contains(wanted) || wanted.contains(name) {
        return Some(LETTERS + 1);
    }
    let parts: Vec<&str> = wanted.split(['_', ':', '.']).filter(|part| part.len() > 2).collect();
    let shared = parts.iter().filter(|part| name.contains(**part)).count();
    (shared * 2 > parts.len()).then_some(LETTERS + 2 + parts.len() - shared)
}

/// Levenshtein's distance.
fn edits(one: &[u8], two: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=two.len()).collect();
    for (above, byte) in one.iter().enumerate() {
        let mut diagonal = above;
        let mut left = above + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(two) {
            let changed = diagonal + usize::from(byte != other);
            diagonal = *cell;
            left = changed.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = above + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}
