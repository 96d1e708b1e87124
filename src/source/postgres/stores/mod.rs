//! What the known event stores keep in which tables, and how far their readers are behind: one file a kind of store.
//!
//! Reads that differ only in the projections they name are answered by one statement ([`family`], [`ask`]); [`find`]
//! takes its rows, and [`Found::answer`] makes of them what one read wants to know.
//!
//! # What lag is
//!
//! Positions are the numbers of events in the whole store, so a difference of two of them is how many events lie
//! between (with gaps, where transactions were rolled back: an upper bound). A projection that is divided among n
//! partitions has each partition pass over every event, and its own share is an n-th of them: what remains for all
//! together is the head minus the partitions' average position, not the sum of n distances. Several projections each
//! have their own way to go: these add up.
//!
//! # A checkpoint beyond the head
//!
//! A statement sees one snapshot, so head and checkpoints are of one moment, and a reader can only have noted the
//! position of an event that was committed before its note: there is no race to be explained away. Where a checkpoint
//! is beyond the head all the same, there are two kinds of reasons. Ordinary ones: the head is that of a scope, and the
//! reader's note moved on past events out of it; or the store's own daemon notes numbers that no event got (Marten's,
//! past rolled-back appends). Nothing is left to do then, and the lag is zero. In all other stores it means that events
//! were removed or that these tables do not belong together, and that is a failure.

mod index;
mod message_db;
mod notes;
mod orchestrator;
mod positions;
mod pupsourcing;

use std::fmt::Display;
use std::sync::Arc;

use tokio_postgres::Row;

pub(super) use self::index::{Index, Seen};
pub(super) use self::notes::Wanted;
use super::query;
use crate::model::{FailureKind, Observation, ReadFailure};
use crate::source::network::shown;
use crate::spec::PostgresRead;

/// From here on floating-point numbers skip whole numbers: 2^53.
pub(super) const EXACT: f64 = 9_007_199_254_740_992.0;

/// One statement, and what it takes.
pub(super) struct Ask {
    pub(super) sql: String,
    /// A cheaper one, as long as it is enough.
    pub(super) whole: Option<Whole>,
    /// Each a `text[]`.
    pub(super) arguments: Vec<Vec<String>>,
    /// Who is asked for by name, of stores that are read by name.
    pub(super) wanted: Wanted,
    pub(super) index: Option<Index>,
    /// What to prepare and look at before, where the statement is the user's.
    pub(super) examination: Option<String>,
}

/// A statement that reads a whole table, up to a bound: where nearly all of it is wanted anyway, that costs the server less
/// than to look for what is wanted.
pub(super) struct Whole {
    pub(super) sql: String,
    /// With so many rows there may be more, and the answer is none.
    pub(super) limit: usize,
}

/// Why one read has no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The store has nothing of this name. Whoever can, says which it has.
    Unknown {
        what: &'static str,
        name: String,
    },
    Failed(ReadFailure),
}

impl From<ReadFailure> for Trouble {
    fn from(failure: ReadFailure) -> Self {
        Trouble::Failed(failure)
    }
}

/// What the rows of one statement say.
pub(super) enum Found<'a> {
    Number(Result<f64, ReadFailure>),
    Notes(notes::Found<'a>),
    Orchestrator(orchestrator::Found),
    Pupsourcing(pupsourcing::Found),
    MessageDb(message_db::Found),
}

/// The read without the names of what it reads: what reads have in common that share a statement.
pub(super) fn family(read: &PostgresRead) -> PostgresRead {
    let mut family = read.clone();
    match &mut family {
        PostgresRead::Query(_) => {}
        PostgresRead::Orchestrator(store) => {
            store.replica_set = Arc::default();
            store.projections.clear();
        }
        PostgresRead::Pupsourcing(store) => store.consumers.clear(),
        PostgresRead::Marten(store) => store.projections.clear(),
        PostgresRead::MessageDb(store) => {
            store.category = Arc::default();
            store.position_streams.clear();
        }
        PostgresRead::Eventuous(store) => store.subscriptions.clear(),
        PostgresRead::Checkpoint(store) => store.names.clear(),
    }
    family
}

/// The statement that answers `reads`, all of one family.
///
/// # Errors
/// The text of a query is no single statement.
pub(super) fn ask(family: &PostgresRead, reads: &[&PostgresRead]) -> Result<Ask, ReadFailure> {
    Ok(match family {
        PostgresRead::Query(text) => {
            let statement = query::alone(text)?;
            Ask {
                sql: query::wrapped(statement),
                whole: None,
                arguments: Vec::new(),
                wanted: Wanted::default(),
                index: None,
                examination: Some(query::examination(statement)),
            }
        }
        PostgresRead::Orchestrator(store) => orchestrator::ask(store, reads),
        PostgresRead::Pupsourcing(store) => pupsourcing::ask(store, reads),
        PostgresRead::MessageDb(store) => message_db::ask(store, reads),
        PostgresRead::Marten(_) | PostgresRead::Eventuous(_) | PostgresRead::Checkpoint(_) => {
            positions::ask(family, reads)?
        }
    })
}

/// What the rows of a family's statement say; `wanted` as it was asked.
///
/// # Errors
/// A column is of another type than it was asked for.
pub(super) fn find<'a>(
    family: &PostgresRead,
    wanted: &Wanted,
    rows: &'a [Row],
) -> Result<Found<'a>, tokio_postgres::Error> {
    Ok(match family {
        PostgresRead::Query(_) => {
            let numbers = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Option<f64>>, _>>()?;
            Found::Number(query::number(&numbers))
        }
        PostgresRead::Orchestrator(_) => Found::Orchestrator(orchestrator::Found::read(rows)?),
        PostgresRead::Pupsourcing(_) => Found::Pupsourcing(pupsourcing::Found::read(rows)?),
        PostgresRead::MessageDb(_) => Found::MessageDb(message_db::Found::read(rows)?),
        PostgresRead::Marten(_) | PostgresRead::Eventuous(_) | PostgresRead::Checkpoint(_) => {
            Found::Notes(notes::Found::read(rows, wanted)?)
        }
    })
}

impl Found<'_> {
    /// How many rows of a table were read by a [`Whole`].
    pub(super) fn rows(&self) -> usize {
        if let Found::Notes(found) = self { found.rows() } else { 0 }
    }

    /// What `read`, the one of this number of all that were asked, wants to know.
    pub(super) fn answer(&self, number: usize, read: &PostgresRead, wanted: &Wanted) -> Result<Observation, Trouble> {
        match (self, read) {
            (Found::Number(number), PostgresRead::Query(_)) => Ok(Observation::of_backlog(number.clone()?)),
            (Found::Orchestrator(found), PostgresRead::Orchestrator(store)) => found.answer(store),
            (Found::Pupsourcing(found), PostgresRead::Pupsourcing(store)) => found.answer(store),
            (Found::MessageDb(found), PostgresRead::MessageDb(store)) => found.answer(store),
            (Found::Notes(found), read) => found.answer(number, positions::kind(read), wanted),
            _ => Err(ReadFailure::new(FailureKind::Protocol, "the answer to another statement").into()),
        }
    }
}

/// A statement of one column that lists the names which the store has; `$1` is what was looked for. `None` where there
/// is nothing to list.
pub(super) fn listing(family: &PostgresRead) -> Option<String> {
    match family {
        PostgresRead::Query(_) => None,
        PostgresRead::Orchestrator(store) => Some(orchestrator::listing(store)),
        PostgresRead::Pupsourcing(store) => Some(pupsourcing::listing(store)),
        PostgresRead::MessageDb(store) => Some(message_db::listing(store)),
        PostgresRead::Marten(_) | PostgresRead::Eventuous(_) | PostgresRead::Checkpoint(_) => {
            positions::listing(family)
        }
    }
}

/// What is asked, as messages have it: the beginning of a sentence.
pub(super) fn subject(family: &PostgresRead) -> &'static str {
    match family {
        PostgresRead::Query(_) => "the query",
        PostgresRead::Orchestrator(_) => "reading a pupsourcingOrchestrator store",
        PostgresRead::Pupsourcing(_) => "reading a pupsourcing store",
        PostgresRead::Marten(_) => "reading a marten store",
        PostgresRead::MessageDb(_) => "reading a messageDb store",
        PostgresRead::Eventuous(_) => "reading an eventuous store",
        PostgresRead::Checkpoint(_) => "reading a checkpoint store",
    }
}

/// Whether a text of the read has a zero byte in it, which no text of a PostgreSQL has, and which the protocol cannot say.
pub(super) fn has_zero_byte(read: &PostgresRead) -> bool {
    let any = |texts: &[Arc<str>]| texts.iter().any(|text| text.contains('\0'));
    match read {
        PostgresRead::Query(text) => text.contains('\0'),
        PostgresRead::Orchestrator(store) => store.replica_set.contains('\0') || any(&store.projections),
        PostgresRead::Pupsourcing(store) => any(&store.consumers) || any(&store.aggregate_types),
        PostgresRead::Marten(store) => any(&store.projections),
        PostgresRead::MessageDb(store) => store.category.contains('\0') || any(&store.position_streams),
        PostgresRead::Eventuous(store) => any(&store.subscriptions),
        PostgresRead::Checkpoint(store) => {
            any(&store.names) || store.scope.as_ref().is_some_and(|scope| any(&scope.values))
        }
    }
}

/// The names that all reads together ask for, each once and in order; `None` if one of them asks for all there are.
fn names<'a>(reads: &[&'a PostgresRead], of: impl Fn(&'a PostgresRead) -> &'a [Arc<str>]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for read in reads {
        match of(read) {
            [] => return None,
            some => names.extend(some.iter().map(ToString::to_string)),
        }
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// What the readers of a store add up to.
#[derive(Default)]
struct Sum {
    observation: Observation,
    readers: usize,
}

impl Sum {
    /// One more, which has so many events to go.
    #[inline]
    fn add(&mut self, what: &str, name: &str, lag: f64) -> Result<(), ReadFailure> {
        self.observation.backlog += checked(what, name, lag)?;
        self.readers += 1;
        Ok(())
    }

    /// `Err`: there is no reader at all.
    #[inline]
    fn or_nobody(self, what: &str) -> Result<Observation, Trouble> {
        if self.readers == 0 { Err(nobody(what)) } else { Ok(self.observation) }
    }
}

#[cold]
fn nobody(what: &str) -> Trouble {
    let sentence =
        format!("the store has no {what} yet, so there is no lag to read; start one once, or name the ones that count");
    ReadFailure::new(FailureKind::Configuration, sentence).into()
}

/// How many events to go, if that is a number of events.
#[inline]
fn checked(what: &str, name: &str, lag: f64) -> Result<f64, ReadFailure> {
    if (0.0..EXACT).contains(&lag) { Ok(lag) } else { Err(no_number_of_events(what, name, lag)) }
}

#[cold]
fn no_number_of_events(what: &str, name: &str, lag: f64) -> ReadFailure {
    let sentence = if lag < 0.0 {
        format!(
            "{what} {} is {} events beyond the newest event: events were removed, or the tables do not belong together",
            shown(name),
            -lag
        )
    } else {
        format!("{what} {} is {lag} events behind, beyond 2^53: its position is none of this table's", shown(name))
    };
    ReadFailure::new(FailureKind::WrongType, sentence)
}

/// The sentence about a name that the store does not have.
pub(super) fn unknown(what: &str, name: impl Display, closest: Option<&str>, known: &[String]) -> ReadFailure {
    /// Names in one message.
    const SHOWN: usize = 5;
    let has = match (closest, known) {
        (Some(closest), _) => format!("did you mean {}?", shown(closest)),
        (None, []) => "it has none yet: start it once, so that it leaves a note of its position".to_owned(),
        (None, known) => {
            let some: Vec<String> = known.iter().take(SHOWN).map(|name| shown(name)).collect();
            let more = if known.len() > SHOWN { ", ..." } else { "" };
            format!(
                "it has {}{more}; check the name, or start it once, so that it leaves a note of its position",
                some.join(", ")
            )
        }
    };
    ReadFailure::new(
        FailureKind::Configuration,
        format!("the store has no {what} {}, and none is not the same as no lag; {has}", shown(&name.to_string())),
    )
}
