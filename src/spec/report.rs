//! Where problems are gathered while one object is read, and given their lines.
//!
//! Two readers report here: first [`super::schema`], which knows types and names of fields, then [`super::validate`],
//! which knows what they mean. What the first has said and taken out, the second must not complain about again; that
//! is settled here, so that neither needs to know of the other.

use std::sync::Arc;

use crate::spec::problem::{Place, Problem};
use crate::spec::tree::Node;

/// The problems and warnings of one object.
pub(crate) struct Report<'a> {
    origin: Origin<'a>,
    /// Paths that `schema` has reported, and those that an unknown field was probably meant to be.
    explained: Vec<String>,
    /// Objects that hold an unknown field nobody can guess.
    with_stranger: Vec<String>,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
    /// Problems beyond [`MOST`].
    unsaid: usize,
}

/// Problems of one object, and as many warnings: nobody reads more, and a short text full of aliases can be wrong in
/// hundreds of thousands of places.
const MOST: usize = 100;

enum Origin<'a> {
    /// A document of a file, or a custom resource, which has no lines that anybody wrote.
    Document { file: Option<Arc<str>>, tree: &'a Node },
    /// KEDA's metadata: paths of the manifest that it was turned into, and the keys that they came from. The first
    /// that is a prefix counts.
    Metadata(&'a [(&'a str, String)]),
}

impl<'a> Report<'a> {
    pub(crate) fn of_document(file: Option<Arc<str>>, tree: &'a Node) -> Self {
        Report::new(Origin::Document { file, tree })
    }

    pub(crate) fn of_metadata(renamed: &'a [(&'a str, String)]) -> Self {
        Report::new(Origin::Metadata(renamed))
    }

    fn new(origin: Origin<'a>) -> Self {
        Report {
            origin,
            explained: Vec::new(),
            with_stranger: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            unsaid: 0,
        }
    }

    /// A problem, unless `schema` has already said what is wrong there.
    pub(crate) fn problem(&mut self, path: &str, message: impl Into<String>, cure: impl Into<String>) {
        if !self.is_explained(path) {
            self.say(path, message.into(), cure.into());
        }
    }

    /// Something that will work, but perhaps not as its author thinks.
    pub(crate) fn warn(&mut self, path: &str, message: impl Into<String>, cure: impl Into<String>) {
        if self.warnings.len() < MOST {
            let warning = self.locate(path, message.into(), cure.into());
            self.warnings.push(warning);
        }
    }

    /// For `schema`: a problem that explains everything that is missing at `path` and below.
    pub(crate) fn explain(&mut self, path: &str, message: impl Into<String>, cure: impl Into<String>) {
        if !self.is_full() {
            self.explained.push(path.to_owned());
        }
        self.say(path, message.into(), cure.into());
    }

    /// Whether more problems are only counted.
    pub(crate) fn is_full(&self) -> bool {
        self.problems.len() >= MOST
    }

    /// The problems and the warnings; what was only counted, as one problem more.
    pub(crate) fn into_findings(mut self) -> (Vec<Problem>, Vec<Problem>) {
        if self.unsaid > 0 {
            let message = format!("{} more problems in this object", self.unsaid);
            let more = Problem::new("", message, "correct those that are named; many have one cause");
            // Behind the last that is named.
            let place = self.problems.last().and_then(|problem| problem.place.clone());
            self.problems.push(Problem { place, ..more });
        }
        (self.problems, self.warnings)
    }

    fn say(&mut self, path: &str, message: String, cure: String) {
        if self.is_full() {
            self.unsaid += 1;
        } else {
            let problem = self.locate(path, message, cure);
            self.problems.push(problem);
        }
    }

    /// For `schema`: a field of `parent` that nobody knows, and the known one that was probably meant.
    pub(crate) fn stranger(&mut self, parent: &str, meant: Option<&str>) {
        if self.is_full() {
            return;
        }
        match meant {
            Some(meant) => self.explained.push(join(parent, meant)),
            None => self.with_stranger.push(parent.to_owned()),
        }
    }

    /// Whether a missing field at `path` has been explained: it, or what contains it, was reported and taken out.
    pub(crate) fn is_explained(&self, path: &str) -> bool {
        self.explained.iter().any(|said| {
            path.strip_prefix(said.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// Exactly one of `candidates` (name, written or not) at `path`. `what` is the noun, `example` the cure.
    pub(crate) fn exactly_one(&mut self, path: &str, what: &str, candidates: &[(&str, bool)], example: &str) {
        let found: Vec<&str> = candidates.iter().filter(|(_, written)| *written).map(|(name, _)| *name).collect();
        match found.as_slice() {
            [_] => {}
            [] => {
                let explained = candidates.iter().any(|(name, _)| self.is_explained(&join(path, name)))
                    || self.with_stranger.iter().any(|parent| parent == path);
                if !explained {
                    self.problem(path, format!("exactly one {what} is needed, found none"), format!("e.g. {example}"));
                }
            }
            several => {
                let message = format!("exactly one {what} is needed, found {}", several.join(" and "));
                self.problem(path, message, "keep one and take the others out");
            }
        }
    }

    fn locate(&self, path: &str, message: String, cure: String) -> Problem {
        match &self.origin {
            Origin::Document { file: Some(file), tree } => {
                let (line, column) = tree.place_of(path);
                Problem::new(path, message, cure).at(Place { file: Arc::clone(file), line, column })
            }
            Origin::Document { file: None, .. } => Problem::new(path, message, cure),
            Origin::Metadata(renamed) => {
                let key = renamed.iter().find(|(from, _)| path.starts_with(from)).map(|(_, key)| key.clone());
                Problem::new(key.unwrap_or_else(|| path.to_owned()), message, cure)
            }
        }
    }
}

/// `parent.key`, or `parent[key]` for a key with dots or slashes.
pub(crate) fn join(parent: &str, key: &str) -> String {
    if key.contains(['.', '/']) {
        format!("{parent}[{key}]")
    } else if parent.is_empty() {
        key.to_owned()
    } else {
        format!("{parent}.{key}")
    }
}

/// Nobody mistypes a name into one that is longer than any that Kubernetes allows. Comparing takes the product of two
/// lengths, and this word may be a stranger's megabyte.
const LONGEST_WORD: usize = 253;

/// The candidate that `word` was probably meant to be: at most a third of it mistyped, or the beginning of exactly one.
pub(crate) fn closest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str> + Clone) -> Option<&'c str> {
    if word.len() > LONGEST_WORD {
        return None;
    }
    let word = word.to_lowercase();
    let length = word.chars().count();
    let allowed = (length / 3).max(1);
    // Texts whose lengths differ by more cannot be nearer: a word of a megabyte is never compared with anything.
    let mistyped = candidates
        .clone()
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= allowed)
        .map(|candidate| (edits(&word, &candidate.to_lowercase()), candidate))
        .filter(|(edits, _)| *edits <= allowed)
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate);
    mistyped.or_else(|| {
        let mut longer = candidates.into_iter().filter(|candidate| candidate.to_lowercase().starts_with(&word));
        longer.next().filter(|_| word.len() >= 4 && longer.next().is_none())
    })
}

/// Levenshtein distance in characters.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        let mut next = vec![left];
        for (b, &above) in b.iter().zip(row.iter().skip(1)) {
            left = (diagonal + usize::from(a != *b)).min(above + 1).min(left + 1);
            diagonal = above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_taken_for_the_nearest_and_a_huge_one_for_none() {
        let candidates = ["listName", "listLength", "databaseIndex"];
        assert_eq!(closest("listLenght", candidates), Some("listLength"));
        assert_eq!(closest("LISTNAME", candidates), Some("listName"));
        assert_eq!(closest("database", candidates), Some("databaseIndex"));
        assert_eq!(closest("colour", candidates), None);
        // Compared letter by letter with a candidate of its own length, this one would take an hour.
        assert_eq!(closest(&"listName".repeat(1 << 17), candidates), None);
    }
}
