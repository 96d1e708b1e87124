//! Stores that note one position for each reader in a table: Marten, Eventuous, and any other that says which table and
//! which columns (`checkpoint`).
//!
//! Marten's own `HighWaterMark` is no head: the daemon writes it, and with no daemon running it stands still while events
//! come in. Its readers' names are shards', such as `Trip:All`, each worked on by one daemon at a time.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_postgres::Row;

use super::index::{Head, quoted};
use super::{Ask, Sum, Trouble, Whole, checked, names};
use crate::model::{FailureKind, Observation, ReadFailure};
use crate::source::network::shown;
use crate::spec::{PostgresRead, Table};

/// Where a store has what.
struct Layout<'a> {
    head: Head<'a>,
    readers: &'a Table,
    name: &'a str,
    position: &'a str,
    /// Rows that are no readers', as a condition.
    other_rows: &'a str,
}

/// Tables of a store that lies in a schema of its own.
struct Tables {
    events: Table,
    readers: Table,
}

impl Tables {
    fn of(read: &PostgresRead) -> Option<Self> {
        let within = |schema: &str, table: &str| Table::new(&format!("{schema}.{table}"));
        match read {
            PostgresRead::Marten(store) => Some(Tables {
                events: within(&store.schema, "mt_events")?,
                readers: within(&store.schema, "mt_event_progression")?,
            }),
            PostgresRead::Eventuous(store) => Some(Tables {
                events: within(&store.schema, "messages")?,
                readers: within(&store.schema, "checkpoints")?,
            }),
            PostgresRead::Checkpoint(store) => {
                Some(Tables { events: store.events.clone(), readers: store.checkpoints.clone() })
            }
            _ => None,
        }
    }

    fn layout<'a>(&'a self, read: &'a PostgresRead) -> Option<Layout<'a>> {
        let layout =
            |head, name, position, other_rows| Layout { head, readers: &self.readers, name, position, other_rows };
        Some(match read {
            PostgresRead::Marten(_) => {
                let other_rows = "name like 'HighWaterMark%'";
                layout(Head::new(&self.events, "seq_id"), "name", "last_seq_id", other_rows)
            }
            PostgresRead::Eventuous(_) => layout(Head::new(&self.events, "global_position"), "id", "position", "false"),
            PostgresRead::Checkpoint(store) => {
                let head = Head::new(&self.events, &store.position).within(store.scope.as_ref());
                layout(head, &store.name_column, &store.position_column, "false")
            }
            _ => return None,
        })
    }
}

fn wanted(read: &PostgresRead) -> &[Arc<str>] {
    match read {
        PostgresRead::Marten(store) => &store.projections,
        PostgresRead::Eventuous(store) => &store.subscriptions,
        PostgresRead::Checkpoint(store) => &store.names,
        _ => &[],
    }
}

/// One row: the head, how many readers, and their names and positions, each in one text. A row for each reader would cost
/// both sides three times as much, and arrays, whose every entry the server writes into a buffer of its own, half as much
/// again.
///
/// The names stand in the statement and are no argument of it. So they are sent and taken apart once and not in each
/// round, and the plan, which is kept, compares each row's name with all of them by one look into a hash table. Where
/// nearly all readers of the table are wanted, even that costs more than reading them all ([`Whole`]).
pub(super) fn ask(family: &PostgresRead, reads: &[&PostgresRead]) -> Result<Ask, ReadFailure> {
    let tables = Tables::of(family);
    let Some(layout) = tables.as_ref().and_then(|tables| tables.layout(family)) else {
        // It was refused when it was read.
        return Err(ReadFailure::new(FailureKind::Configuration, "the schema's name is not the name of a schema"));
    };
    let (readers, name, position) = (layout.readers.quoted(), quoted(layout.name), quoted(layout.position));
    let mut arguments = Vec::new();
    let named = names(reads, wanted);
    let which = match &named {
        Some(names) => {
            let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
            format!("r.{name} in ({})", names.join(", "))
        }
        None => format!("not ({})", layout.other_rows),
    };
    let wanted = Wanted::of(reads);
    let head = layout.head.sql(arguments.len() + 1);
    arguments.extend(layout.head.argument());
    let select = |from: &str| {
        format!(
            "select {head}, count(*), string_agg(coalesce(r.{name}::text, '{NAMELESS}'), '{BETWEEN}'), \
             string_agg(coalesce(r.{position}::int8::text, ''), ',') from {from}"
        )
    };
    let sql = select(&format!("{readers} r where {which}"));
    let whole = named.and_then(|names| enough_for(names.len())).map(|limit| Whole {
        sql: select(&format!("(select r.{name}, r.{position} from {readers} r limit {limit}) r")),
        limit,
    });
    Ok(Ask { sql, whole, arguments, wanted, index: Some(layout.head.index()), examination: None })
}

/// How many rows to read so that these names are probably all among them, if that is cheaper than to ask for each by name.
/// To compare a row's name costs the server a third of what it costs to read and send a row, most of it for a hash table
/// of the names that is built anew each time; so a quarter more rows than names are read at most.
fn enough_for(names: usize) -> Option<usize> {
    /// Up to so many names the server compares one after the other, and builds nothing.
    const FEW: usize = 8;
    (names > FEW).then_some(names + names / 4 + 1)
}

/// Between two names. Nobody types it; where it is in a name all the same, that is noticed and said.
const BETWEEN: char = '\u{1f}';
/// In place of a name that is NULL.
const NAMELESS: char = '\u{1e}';

/// The names that a batch's reads ask for, each with a number: a name that the server sends is looked up once, whoever
/// wants it, and nothing is put into a map in a round.
#[derive(Default)]
pub(in crate::source::postgres) struct Wanted {
    numbers: HashMap<Box<[u8]>, usize, foldhash::fast::RandomState>,
    names: Vec<Arc<str>>,
    /// Of each read, the numbers of its names in their order.
    of_reads: Vec<Box<[usize]>>,
    /// Some read asks for all readers there are.
    all: bool,
}

impl Wanted {
    fn of(reads: &[&PostgresRead]) -> Self {
        let mut wanted = Wanted::default();
        for read in reads {
            let numbers: Box<[usize]> = self::wanted(read).iter().map(|name| wanted.number(name)).collect();
            wanted.all |= numbers.is_empty();
            wanted.of_reads.push(numbers);
        }
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
}

/// A text as it stands in SQL.
fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    // With the E it means the same whatever `standard_conforming_strings` says.
    if doubled.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

pub(super) fn listing(family: &PostgresRead) -> Option<String> {
    let tables = Tables::of(family)?;
    let layout = tables.layout(family)?;
    let (readers, name) = (layout.readers.quoted(), quoted(layout.name));
    let other_rows = layout.other_rows;
    Some(format!(
        "select {name}::text from {readers} where not ({other_rows}) and $1::text is not null order by 1 limit 1000"
    ))
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
#[derive(Clone, Copy, Default)]
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
    fn nothing(wanted: &Wanted) -> Self {
        Found { wanted: vec![Note::Nowhere; wanted.names.len()], ..Found::default() }
    }

    pub(super) fn read(rows: &'a [Row], wanted: &Wanted) -> Result<Self, tokio_postgres::Error> {
        let mut found = Found::nothing(wanted);
        let Some(row) = rows.first() else { return Ok(found) };
        found.head = row.try_get(0)?;
        found.rows = usize::try_from(row.try_get::<_, i64>(1)?).unwrap_or_default();
        // NULL where there is no reader.
        if let (Some(names), Some(positions)) = (row.try_get(2)?, row.try_get(3)?) {
            found.take_all(wanted, found.rows, names, positions);
        }
        Ok(found)
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    fn take_all(&mut self, wanted: &Wanted, count: usize, names: &'a str, positions: &str) {
        // Byte by byte: names are short, and a search that is made for long texts takes longer to begin.
        let mut names = names.as_bytes().split(|byte| *byte == BETWEEN as u8);
        let mut positions = positions.as_bytes().split(|byte| *byte == b',');
        for (name, position) in names.by_ref().take(count).zip(positions.by_ref()) {
            let position = std::str::from_utf8(position).unwrap_or_default();
            match position.parse() {
                Ok(position) => self.take(wanted, name, Some(position)),
                Err(_) if position.is_empty() => self.take(wanted, name, None),
                Err(_) => self.torn = true,
            }
        }
        self.torn |= names.next().is_some() || positions.next().is_some();
    }

    fn take(&mut self, wanted: &Wanted, name: &'a [u8], position: Option<i64>) {
        // A reader without a name is nobody's.
        if name.first() == Some(&(NAMELESS as u8)) {
            return;
        }
        if let Some(note) = wanted.numbers.get(name).and_then(|number| self.wanted.get_mut(*number)) {
            note.add(position);
        } else if wanted.all {
            self.others.entry(name).or_default().add(position);
        }
    }

    /// `number`: which of all that asked it is.
    pub(super) fn answer(&self, number: usize, read: &PostgresRead, wanted: &Wanted) -> Result<Observation, Trouble> {
        let (what, may_be_beyond) = match read {
            PostgresRead::Eventuous(_) => ("subscription", false),
            PostgresRead::Checkpoint(store) => ("checkpoint", store.scope.is_some()),
            // The daemon also notes numbers that no event got.
            _ => ("projection", true),
        };
        if self.torn {
            let sentence = format!("a {what}'s name has the control character U+001F in it; a `query` can read it");
            return Err(ReadFailure::new(FailureKind::Configuration, sentence).into());
        }
        let mut sum = Sum::default();
        let mut add = |name: &str, note: Note| -> Result<(), Trouble> {
            let position = match note {
                Note::At(position) => position,
                Note::Nowhere => return Err(Trouble::Unknown { what, name: name.to_owned() }),
                Note::Ambiguous => {
                    let sentence = format!("several rows are named {}; a `query` can say how they count", shown(name));
                    return Err(ReadFailure::new(FailureKind::Configuration, sentence).into());
                }
            };
            // Positions of 64 bits, whose difference has 65.
            let lag = i128::from(self.head.unwrap_or(0)) - i128::from(position.unwrap_or(0));
            let lag = if may_be_beyond { lag.max(0) } else { lag };
            Ok(sum.add(what, name, checked(what, name, lag as f64)?)?)
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
        sum.by_readers().or_nobody(what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Checkpoint, Eventuous, Marten, Scope};

    /// What a store says.
    struct Told {
        head: Option<i64>,
        readers: Vec<(&'static str, Option<i64>)>,
    }

    impl Told {
        fn answer(&self, read: &PostgresRead) -> Result<Observation, Trouble> {
            let wanted = Wanted::of(&[read]);
            let mut found = Found { head: self.head, ..Found::nothing(&wanted) };
            for (name, position) in &self.readers {
                found.take(&wanted, name.as_bytes(), *position);
            }
            found.answer(0, read, &wanted)
        }
    }

    fn found(head: Option<i64>, readers: &[(&'static str, Option<i64>)]) -> Told {
        Told { head, readers: readers.to_vec() }
    }

    fn eventuous(names: &[&str]) -> PostgresRead {
        let subscriptions = names.iter().map(|name| Arc::from(*name)).collect();
        PostgresRead::Eventuous(Eventuous { subscriptions, schema: "eventuous".into() })
    }

    fn marten(names: &[&str]) -> PostgresRead {
        let projections = names.iter().map(|name| Arc::from(*name)).collect();
        PostgresRead::Marten(Marten { projections, schema: "public".into() })
    }

    fn scoped(names: &[&str]) -> PostgresRead {
        PostgresRead::Checkpoint(Checkpoint {
            names: names.iter().map(|name| Arc::from(*name)).collect(),
            events: Table::new("events").unwrap(),
            position: "id".into(),
            checkpoints: Table::new("marks").unwrap(),
            name_column: "reader".into(),
            position_column: "at".into(),
            scope: Some(Scope { column: "kind".into(), values: vec!["a".into()] }),
        })
    }

    fn backlog(found: &Told, read: &PostgresRead) -> f64 {
        found.answer(read).unwrap_or_else(|trouble| panic!("{trouble:?}")).backlog
    }

    fn sentence(found: &Told, read: &PostgresRead) -> String {
        match found.answer(read) {
            Err(Trouble::Failed(failure)) => failure.message.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn lags_of_several_readers_add_up() {
        let found = found(Some(100), &[("a", Some(40)), ("b", None), ("c", Some(100))]);
        assert_eq!(backlog(&found, &eventuous(&["a"])), 60.0);
        assert_eq!(backlog(&found, &eventuous(&["a", "b"])), 160.0);
        let all = found.answer(&eventuous(&[])).unwrap();
        assert_eq!((all.backlog, all.partitions.get()), (160.0, Some(3.0)));
        assert_eq!(backlog(&found, &eventuous(&["c"])), 0.0);
    }

    #[test]
    fn what_is_not_there_is_never_zero() {
        let found = found(Some(100), &[("Trip:All", Some(40))]);
        assert!(matches!(found.answer(&marten(&["Trip"])), Err(Trouble::Unknown { name, .. }) if name == "Trip"));
        assert!(sentence(&self::found(Some(1), &[]), &marten(&[])).contains("no projection yet"));
        let twice = self::found(Some(9), &[("a", Some(1)), ("a", Some(2))]);
        assert!(sentence(&twice, &eventuous(&["a"])).contains("several rows"));
    }

    #[test]
    fn beyond_the_head_is_nothing_to_do_only_where_that_is_ordinary() {
        let found = found(Some(10), &[("a", Some(12))]);
        assert_eq!(backlog(&found, &marten(&["a"])), 0.0);
        assert_eq!(backlog(&found, &scoped(&["a"])), 0.0);
        assert!(sentence(&found, &eventuous(&["a"])).contains("2 events beyond"));
        let removed = self::found(None, &[("a", Some(12))]);
        assert!(sentence(&removed, &eventuous(&["a"])).contains("12 events beyond"));
        let absurd = self::found(Some(i64::MAX), &[("a", Some(i64::MIN))]);
        assert!(sentence(&absurd, &eventuous(&["a"])).contains("2^53"));
    }

    #[test]
    fn names_and_positions_come_in_one_text_each() {
        let read = |reads: &[&PostgresRead], count: usize, names: &str, positions: &str| {
            let wanted = Wanted::of(reads);
            let mut found = Found { head: Some(10), ..Found::nothing(&wanted) };
            found.take_all(&wanted, count, names, positions);
            let backlog = |(number, read): (usize, &&PostgresRead)| match found.answer(number, read, &wanted) {
                Ok(facts) => Ok(facts.backlog),
                Err(Trouble::Unknown { .. }) => Err("unknown".to_owned()),
                Err(Trouble::Failed(failure)) => Err(failure.message.to_string()),
            };
            reads.iter().enumerate().map(backlog).collect::<Vec<_>>()
        };
        let names = "a\u{1f}b \u{fc}\u{1f}\u{1e}\u{1f}c";
        let one = |name: &str| eventuous(&[name]);
        let unknown = || Err("unknown".to_owned());
        let (a, b, c, nameless) = (one("a"), one("b \u{fc}"), one("c"), one("\u{1e}"));
        let answers = read(&[&a, &b, &c, &nameless, &b], 4, names, "3,,7,-1");
        assert_eq!(answers, [Ok(7.0), Ok(10.0), Ok(11.0), unknown(), Ok(10.0)]);
        // Who asks for all gets those too that somebody else asks for by name.
        let all = eventuous(&[]);
        assert_eq!(read(&[&b, &all, &one("d")], 4, names, "3,,7,-1"), [Ok(10.0), Ok(28.0), unknown()]);
        assert_eq!(read(&[&all], 4, names, "3,,7,-1"), [Ok(28.0)]);
        let twice = "a\u{1f}x\u{1f}x";
        let answers = read(&[&a, &all], 3, twice, "3,4,5");
        let [Ok(7.0), Err(words)] = answers.as_slice() else { panic!("{answers:?}") };
        assert!(words.contains("several rows"), "{words}");
        for (count, names, positions) in [(2, "a\u{1f}b\u{1f}c", "1,2"), (1, "a", "1,2"), (1, "a", "x")] {
            let answers = read(&[&a], count, names, positions);
            let [Err(words)] = answers.as_slice() else { panic!("{names:?} {positions}: {answers:?}") };
            assert!(words.contains("U+001F"), "{words}");
        }
    }

    #[test]
    fn a_name_is_a_text_whatever_is_in_it() {
        assert_eq!(literal("Trip:All"), "'Trip:All'");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\') or true --"), r"E'a\\'') or true --'");
    }

    #[test]
    fn many_names_are_read_with_a_few_rows_more_and_few_are_asked_for() {
        let asked = |count: usize| {
            let names: Vec<String> = (0..count).map(|number| format!("reader-{number}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let read = eventuous(&names);
            ask(&super::super::family(&read), &[&read]).unwrap().whole
        };
        assert!(asked(0).is_none() && asked(8).is_none());
        let whole = asked(200).unwrap();
        assert_eq!(whole.limit, 251);
        assert!(whole.sql.contains("limit 251") && !whole.sql.contains("reader-"), "{}", whole.sql);
    }

    #[test]
    fn reads_of_one_family_share_a_statement() {
        let some = ask(&super::super::family(&marten(&[])), &[&marten(&["b", "a"]), &marten(&["a"])]).unwrap();
        assert!(some.arguments.is_empty() && some.sql.ends_with("in ('a', 'b')"), "{}", some.sql);
        assert!(some.sql.contains("\"public\".\"mt_event_progression\""), "{}", some.sql);
        let all = ask(&super::super::family(&marten(&[])), &[&marten(&["b", "a"]), &marten(&[])]).unwrap();
        assert!(all.arguments.is_empty() && all.sql.contains("HighWaterMark"), "{}", all.sql);
        let scoped = ask(&super::super::family(&scoped(&[])), &[&scoped(&["x"])]).unwrap();
        assert_eq!(scoped.arguments, [["a"]]);
    }
}
