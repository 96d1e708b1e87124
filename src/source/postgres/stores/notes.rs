//! The positions that readers have noted, as a statement of `positions` brings them, and what they say about those who
//! are asked for.
//!
//! This is what is done two hundred times a round where two hundred projections are read. Each name that the server sends
//! is looked up once, and not even that where it comes after the same one as in the round before: a table is read in the
//! order in which its rows lie, and most of them lie where they lay.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_postgres::Row;

use super::{Trouble, checked, nobody};
use crate::model::{FailureKind, Measure, Observation, ReadFailure};
use crate::source::network::shown;

/// Between two names. Nobody types it; where it is in a name all the same, that is noticed and said.
pub(super) const BETWEEN: char = '\u{1f}';
const END: u8 = BETWEEN as u8;
/// In place of a name that is NULL.
pub(super) const NAMELESS: char = '\u{1e}';

/// The names that a batch's reads ask for, each with a number.
#[derive(Default)]
pub(in crate::source::postgres) struct Wanted {
    numbers: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    names: Vec<Arc<str>>,
    /// For each name the number of the one that came after it in the last round, and one more for the first of all. A
    /// guess, and no more: whatever is here, what it says is compared before it is believed.
    next: Vec<AtomicUsize>,
    /// Of each read, the numbers of its names in their order.
    of_reads: Vec<Box<[usize]>>,
    /// Some read asks for all readers there are.
    all: bool,
}

impl Wanted {
    /// Of each read its names; none where it asks for all readers there are.
    pub(super) fn of<'a>(reads: impl IntoIterator<Item = &'a [Arc<str>]>) -> Self {
        let mut wanted = Wanted::default();
        for names in reads {
            let numbers: Box<[usize]> = names.iter().map(|name| wanted.number(name)).collect();
            wanted.all |= numbers.is_empty();
            wanted.of_reads.push(numbers);
        }
        wanted.next.resize_with(wanted.names.len() + 1, AtomicUsize::default);
        wanted
    }

    fn number(&mut self, name: &Arc<str>) -> usize {
        let next = self.names.len();
        let number = *self.numbers.entry(name.as_bytes().into()).or_insert(next);
        if number == next {
            self.names.push(Arc::clone(name));
        }
        number
    }

    /// Takes the first of these names off, which comes after the one of the number `after`; and whose it is, if it is
    /// wanted. `None`: there is no more.
    fn take_off<'a>(&self, after: usize, names: &mut Option<&'a [u8]>) -> Option<(&'a [u8], Option<usize>)> {
        let text = (*names)?;
        let guess = self.next.get(after)?;
        let guessed = guess.load(Ordering::Relaxed);
        if let Some(name) = self.names.get(guessed)
            && let Some(rest) = text.strip_prefix(name.as_bytes())
            && matches!(rest.first(), None | Some(&END))
        {
            *names = rest.get(1..);
            return text.get(..name.len()).map(|name| (name, Some(guessed)));
        }
        // Byte by byte: names are short, and a search that is made for long texts takes longer to begin.
        let (name, rest) = text.split_at(text.iter().position(|byte| *byte == END).unwrap_or(text.len()));
        *names = rest.get(1..);
        let number = self.numbers.get(name).copied();
        if let Some(number) = number {
            guess.store(number, Ordering::Relaxed);
        }
        Some((name, number))
    }
}

/// How the readers of a store are spoken of, and judged.
#[derive(Clone, Copy)]
pub(super) struct Kind {
    pub(super) what: &'static str,
    /// Whether a position beyond the head is an ordinary thing (see the stores' documentation).
    pub(super) may_be_beyond: bool,
}

/// What one statement found.
#[derive(Default)]
pub(in crate::source::postgres) struct Found<'a> {
    head: Option<i64>,
    rows: usize,
    /// By the number of the name, see [`Wanted`].
    wanted: Vec<Note>,
    /// Whom nobody asks for by name, where somebody asks for all.
    others: HashMap<&'a [u8], Note, foldhash::fast::RandomState>,
    /// Names and positions cannot be told apart.
    torn: bool,
}

/// The position that a reader has noted.
#[derive(Clone, Copy, Default, Debug)]
enum Note {
    /// There is no such reader.
    #[default]
    Nowhere,
    /// NULL: it has begun, and not got anywhere yet.
    At(Option<i64>),
    /// Several rows have its name.
    Ambiguous,
}

impl Note {
    fn add(&mut self, position: Option<i64>) {
        *self = if let Note::Nowhere = self { Note::At(position) } else { Note::Ambiguous };
    }
}

impl<'a> Found<'a> {
    fn nothing(wanted: &Wanted, head: Option<i64>) -> Self {
        Found { head, wanted: vec![Note::Nowhere; wanted.names.len()], ..Found::default() }
    }

    /// The row: head, names, positions.
    pub(super) fn read(rows: &'a [Row], wanted: &Wanted) -> Result<Self, tokio_postgres::Error> {
        let Some(row) = rows.first() else { return Ok(Found::nothing(wanted, None)) };
        let mut found = Found::nothing(wanted, row.try_get(0)?);
        // NULL where there is no reader.
        if let (Some(names), Some(positions)) = (row.try_get(1)?, row.try_get(2)?) {
            found.take_all(wanted, names, positions);
        }
        Ok(found)
    }

    /// How many readers were read, wanted or not.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    fn take_all(&mut self, wanted: &Wanted, names: &'a str, positions: &str) {
        let mut names = Some(names.as_bytes());
        let mut positions = positions.as_bytes().split(|byte| *byte == b',');
        let mut after = wanted.names.len();
        loop {
            match (wanted.take_off(after, &mut names), positions.next()) {
                (Some((name, number)), Some(digits)) => {
                    after = number.unwrap_or(after);
                    match position(digits) {
                        Some(position) => self.take(wanted, name, number, position),
                        None => self.torn = true,
                    }
                }
                (None, None) => break,
                _ => {
                    self.torn = true;
                    break;
                }
            }
            self.rows += 1;
        }
    }

    fn take(&mut self, wanted: &Wanted, name: &'a [u8], number: Option<usize>, position: Option<i64>) {
        // A reader without a name is nobody's.
        if name.first() == Some(&(NAMELESS as u8)) {
            return;
        }
        if let Some(note) = number.and_then(|number| self.wanted.get_mut(number)) {
            note.add(position);
        } else if wanted.all {
            self.others.entry(name).or_default().add(position);
        }
    }

    /// `number`: which of all that asked it is.
    pub(super) fn answer(&self, number: usize, kind: Kind, wanted: &Wanted) -> Result<Observation, Trouble> {
        if self.torn {
            return Err(torn(kind.what));
        }
        let (mut backlog, mut readers) = (0.0, 0_u32);
        let mut add = |name: &str, note: Note| -> Result<(), Trouble> {
            backlog += self.lag(kind, name, note)?;
            readers += 1;
            Ok(())
        };
        let named = |number: usize| {
            let name = wanted.names.get(number).map_or("", |name| name);
            (name, self.wanted.get(number).copied().unwrap_or_default())
        };
        match wanted.of_reads.get(number).map_or(&[][..], |numbers| numbers) {
            [] => {
                for (name, note) in (0..wanted.names.len()).map(named) {
                    // Whoever is missing is missed by whoever named it.
                    if !matches!(note, Note::Nowhere) {
                        add(name, note)?;
                    }
                }
                for (name, note) in &self.others {
                    add(&String::from_utf8_lossy(name), *note)?;
                }
            }
            numbers => {
                for (name, note) in numbers.iter().copied().map(named) {
                    add(name, note)?;
                }
            }
        }
        if readers == 0 {
            return Err(nobody(kind.what));
        }
        Ok(Observation { backlog, partitions: Measure::new(f64::from(readers)), ..Observation::default() })
    }

    /// How many events a reader has to go.
    #[inline]
    fn lag(&self, kind: Kind, name: &str, note: Note) -> Result<f64, Trouble> {
        let position = match note {
            Note::At(position) => position.unwrap_or(0),
            Note::Nowhere => return Err(Trouble::Unknown { what: kind.what, name: name.to_owned() }),
            Note::Ambiguous => return Err(ambiguous(name)),
        };
        let head = self.head.unwrap_or(0);
        let lag = match head.checked_sub(position) {
            Some(lag) => lag as f64,
            // Positions have 64 bits, and the difference of two of them 65.
            None => (i128::from(head) - i128::from(position)) as f64,
        };
        Ok(checked(kind.what, name, if kind.may_be_beyond { lag.max(0.0) } else { lag })?)
    }
}

/// A position in hexadecimal digits, which are two's complement; nothing is NULL. `None` if that is no position.
fn position(digits: &[u8]) -> Option<Option<i64>> {
    if digits.is_empty() {
        return Some(None);
    }
    if digits.len() > 16 {
        return None;
    }
    let digit = |bits: u64, digit: &u8| Some(bits << 4 | u64::from(char::from(*digit).to_digit(16)?));
    digits.iter().try_fold(0, digit).map(|bits| Some(bits.cast_signed()))
}

#[cold]
fn torn(what: &str) -> Trouble {
    let sentence = format!("a {what}'s name has the control character U+001F in it; a `query` can read it");
    ReadFailure::new(FailureKind::Configuration, sentence).into()
}

#[cold]
fn ambiguous(name: &str) -> Trouble {
    let sentence = format!("several rows are named {}; a `query` can say how they count", shown(name));
    ReadFailure::new(FailureKind::Configuration, sentence).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRICT: Kind = Kind { what: "subscription", may_be_beyond: false };
    const LENIENT: Kind = Kind { what: "projection", may_be_beyond: true };

    /// What comes of a store with this head and these readers for whoever asks for these (or all).
    fn answer(
        head: Option<i64>,
        readers: &[(&'static str, Option<i64>)],
        kind: Kind,
        names: &[&str],
    ) -> Result<Observation, Trouble> {
        let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
        let wanted = Wanted::of([names.as_slice()]);
        let mut found = Found::nothing(&wanted, head);
        for (name, position) in readers {
            let number = wanted.numbers.get(name.as_bytes()).copied();
            found.take(&wanted, name.as_bytes(), number, *position);
        }
        found.answer(0, kind, &wanted)
    }

    fn backlog(answer: Result<Observation, Trouble>) -> f64 {
        answer.unwrap_or_else(|trouble| panic!("{trouble:?}")).backlog
    }

    fn sentence(answer: Result<Observation, Trouble>) -> String {
        match answer {
            Err(Trouble::Failed(failure)) => failure.message.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lags_of_several_readers_add_up() {
        let of = |names| answer(Some(100), &[("a", Some(40)), ("b", None), ("c", Some(100))], STRICT, names);
        assert_eq!(backlog(of(&["a"])), 60.0);
        assert_eq!(backlog(of(&["a", "b"])), 160.0);
        let all = of(&[]).unwrap();
        assert_eq!((all.backlog, all.partitions.get()), (160.0, Some(3.0)));
        assert_eq!(backlog(of(&["c"])), 0.0);
    }

    #[test]
    fn what_is_not_there_is_never_zero() {
        let trip = answer(Some(100), &[("Trip:All", Some(40))], LENIENT, &["Trip"]);
        assert!(matches!(trip, Err(Trouble::Unknown { name, .. }) if name == "Trip"));
        assert!(sentence(answer(Some(1), &[], LENIENT, &[])).contains("no projection yet"));
        let twice = answer(Some(9), &[("a", Some(1)), ("a", Some(2))], STRICT, &["a"]);
        assert!(sentence(twice).contains("several rows"));
    }

    #[test]
    fn beyond_the_head_is_nothing_to_do_only_where_that_is_ordinary() {
        let beyond = |kind| answer(Some(10), &[("a", Some(12))], kind, &["a"]);
        assert_eq!(backlog(beyond(LENIENT)), 0.0);
        assert!(sentence(beyond(STRICT)).contains("2 events beyond"));
        let removed = answer(None, &[("a", Some(12))], STRICT, &["a"]);
        assert!(sentence(removed).contains("12 events beyond"));
        let absurd = answer(Some(i64::MAX), &[("a", Some(i64::MIN))], STRICT, &["a"]);
        assert!(sentence(absurd).contains("2^53"));
    }

    #[test]
    fn names_and_positions_come_in_one_text_each() {
        let read = |reads: &[&[&str]], names: &str, positions: &str| {
            let names_of = |names: &&[&str]| names.iter().map(|name| Arc::from(*name)).collect::<Vec<Arc<str>>>();
            let reads: Vec<Vec<Arc<str>>> = reads.iter().map(names_of).collect();
            let wanted = Wanted::of(reads.iter().map(Vec::as_slice));
            let mut found = Found::nothing(&wanted, Some(10));
            found.take_all(&wanted, names, positions);
            let backlog = |number: usize| match found.answer(number, STRICT, &wanted) {
                Ok(facts) => Ok(facts.backlog),
                Err(Trouble::Unknown { .. }) => Err("unknown".to_owned()),
                Err(Trouble::Failed(failure)) => Err(failure.message.to_string()),
            };
            ((0..reads.len()).map(backlog).collect::<Vec<_>>(), found.rows())
        };
        let names = "a\u{1f}b \u{fc}\u{1f}\u{1e}\u{1f}c";
        let positions = "3,,7,ffffffffffffffff";
        let unknown = || Err("unknown".to_owned());
        let (a, b): (&[&str], &[&str]) = (&["a"], &["b \u{fc}"]);
        let answers = read(&[a, b, &["c"], &["\u{1e}"], b], names, positions);
        assert_eq!(answers, (vec![Ok(7.0), Ok(10.0), Ok(11.0), unknown(), Ok(10.0)], 4));
        // Who asks for all gets those too that somebody else asks for by name.
        assert_eq!(read(&[b, &[], &["d"]], names, positions).0, [Ok(10.0), Ok(28.0), unknown()]);
        assert_eq!(read(&[&[]], names, positions).0, [Ok(28.0)]);
        let (answers, _) = read(&[a, &[]], "a\u{1f}x\u{1f}x", "3,4,5");
        let [Ok(7.0), Err(words)] = answers.as_slice() else { panic!("{answers:?}") };
        assert!(words.contains("several rows"), "{words}");
        for (names, positions) in [("a\u{1f}b\u{1f}c", "1,2"), ("a", "1,2"), ("a", "x"), ("a", "-1")] {
            let (answers, _) = read(&[a], names, positions);
            let [Err(words)] = answers.as_slice() else { panic!("{names:?} {positions}: {answers:?}") };
            assert!(words.contains("U+001F"), "{words}");
        }
    }

    #[test]
    fn names_are_told_apart_in_whatever_order_they_come() {
        let names: Vec<Arc<str>> = ["a", "ab", "abc", "b", ""].map(Arc::from).to_vec();
        let wanted = Wanted::of(names.iter().map(std::slice::from_ref));
        let between = BETWEEN.to_string();
        let orders: [&[usize]; 6] =
            [&[0, 1, 2, 3, 4], &[0, 1, 2, 3, 4], &[4, 3, 2, 1, 0], &[2, 0, 4, 3, 1], &[1, 1], &[4]];
        for order in orders {
            for stranger in [None, Some("abcd"), Some("x")] {
                let mut rows: Vec<(&str, usize)> =
                    order.iter().map(|number| (&**names.get(*number).unwrap(), *number + 1)).collect();
                rows.splice(1..1, stranger.map(|name| (name, 99)));
                let texts: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
                let positions: Vec<String> = rows.iter().map(|(_, position)| format!("{position:x}")).collect();
                let mut found = Found::nothing(&wanted, Some(10));
                let texts = texts.join(&between);
                found.take_all(&wanted, &texts, &positions.join(","));
                assert!(!found.torn && found.rows() == rows.len(), "{rows:?}");
                for (number, note) in found.wanted.iter().enumerate() {
                    let times = order.iter().filter(|there| **there == number).count();
                    let right = match (times, note) {
                        (0, Note::Nowhere) | (2.., Note::Ambiguous) => true,
                        (1, Note::At(Some(position))) => *position == number as i64 + 1,
                        _ => false,
                    };
                    assert!(right, "{rows:?}: {number} {note:?}");
                }
            }
        }
    }

    #[test]
    fn a_position_is_read_as_the_server_writes_it() {
        for number in [0, 1, 255, i64::MAX, -1, i64::MIN] {
            assert_eq!(position(format!("{number:x}").as_bytes()), Some(Some(number)));
        }
        assert_eq!(position(b""), Some(None));
        for wrong in ["g", "-1", " 1", "12345678901234567", "\u{b2}"] {
            assert_eq!(position(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
