//! How to ask for the number of items under a key, whatever the key holds.
//!
//! Queues are lists nearly always, so `LLEN` is asked first. A key that answers WRONGTYPE is asked for its `TYPE`,
//! once, and from then on with that type's own command; if that one day answers WRONGTYPE, the type is learnt again.
//! Every command here is O(1) on the server, or O(log N) where times are counted.

use std::sync::Arc;

use redis::{Pipeline, Value};

use super::classify;
use super::reply::Asked;
use crate::model::ReadFailure;
use crate::source::{Answers, Count, Read, Side, TimeUnit};

/// The command that counts a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Counter {
    List,
    Set,
    SortedSet,
    Hash,
    /// A type that has no count for us. Its `TYPE` is asked every round, so that a key which becomes a list is seen.
    Unsupported,
}

impl Counter {
    pub(super) const fn command(self) -> &'static str {
        match self {
            Counter::List => "LLEN",
            Counter::Set => "SCARD",
            Counter::SortedSet => "ZCARD",
            Counter::Hash => "HLEN",
            Counter::Unsupported => "TYPE",
        }
    }

    /// From what `TYPE` answers. A key that has gone meanwhile counts as a list: none, until it is there again.
    fn of_type(kind: &str) -> Counter {
        match kind {
            "list" | "none" => Counter::List,
            "set" => Counter::Set,
            "zset" => Counter::SortedSet,
            "hash" => Counter::Hash,
            _ => Counter::Unsupported,
        }
    }
}

/// One number that somebody wants, and what is known about its key.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: Arc<str>,
    pub(super) question: Question,
}

/// How a number is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Question {
    /// The size of whatever is there: by the command of the type that it turned out to be of.
    Any(Counter),
    /// The size of a key of a known type.
    Known(Count),
    /// Members of a sorted set of times on one side of now.
    Scored(Side, TimeUnit),
}

impl Question {
    pub(super) const fn command(self) -> &'static str {
        match self {
            Question::Any(counter) => counter.command(),
            Question::Known(Count::List) => "LLEN",
            Question::Known(Count::Set) => "SCARD",
            Question::Known(Count::SortedSet) => "ZCARD",
            Question::Known(Count::Hash) => "HLEN",
            Question::Known(Count::Stream) => "XLEN",
            Question::Scored(..) => "ZCOUNT",
        }
    }
}

/// Now as a score. For what is due up to now in BullMQ's unit, the last score of this millisecond.
pub(super) fn score(unit: TimeUnit, unix_millis: u64) -> String {
    match unit {
        TimeUnit::Seconds => format!("{}.{:03}", unix_millis / 1000, unix_millis % 1000),
        TimeUnit::Millis => unix_millis.to_string(),
        TimeUnit::BullMillis => (unix_millis.saturating_add(1).saturating_mul(4096) - 1).to_string(),
    }
}

impl Slot {
    pub(super) fn new(read: &Read) -> Option<Self> {
        let (key, question) = match read {
            Read::Length(key) => (key, Question::Any(Counter::List)),
            Read::Count { command, key } => (key, Question::Known(*command)),
            Read::Scored { key, side, unit } => (key, Question::Scored(*side, *unit)),
            Read::Survey(_) | Read::Query(_) | Read::Scrape(_) | Read::Lag(_) | Read::Queue(_) => return None,
        };
        Some(Slot { key: Arc::clone(key), question })
    }

    /// Appends the command that counts this key at that moment.
    pub(super) fn ask(&self, at: u64, pipeline: &mut Pipeline) {
        let command = pipeline.cmd(self.question.command()).arg(&*self.key);
        match self.question {
            Question::Scored(Side::Due, unit) => drop(command.arg("-inf").arg(score(unit, at))),
            Question::Scored(Side::Ahead, unit) => drop(command.arg(score(unit, at)).arg("+inf")),
            Question::Any(_) | Question::Known(_) => {}
        }
    }

    /// Appends the question for this key's type.
    pub(super) fn ask_type(&self, pipeline: &mut Pipeline) {
        pipeline.cmd(Counter::Unsupported.command()).arg(&*self.key);
    }

    /// Takes the answer to [`Slot::ask_type`]. `Ok(true)`: another command than before counts this key now.
    pub(super) fn learn(&mut self, reply: &Value) -> Result<bool, ReadFailure> {
        match reply {
            Value::SimpleString(kind) => {
                let found = Question::Any(Counter::of_type(kind));
                let before = std::mem::replace(&mut self.question, found);
                if found == Question::Any(Counter::Unsupported) {
                    return Err(classify::wrong_type(&self.key, kind));
                }
                Ok(found != before)
            }
            Value::ServerError(error) => Err(classify::read_failure(&self.key, "TYPE", error)),
            other => Err(unexpected(&self.key, "TYPE", other)),
        }
    }
}

/// What to do about one reply.
pub(super) enum Verdict {
    /// The answer is in.
    Settled,
    /// The key is not of the type we took it for: an answer is in (a failure), and its type is to be learnt.
    Relearn,
    /// The reply speaks of the server, not of the key: the round has failed.
    Server(ReadFailure),
}

/// Takes the reply to [`Slot::ask`] of `slot`, the answer at `position`. Everything but a number has moved out of the way
/// of the hot path.
#[inline]
pub(super) fn take(address: &str, slot: &Slot, position: usize, reply: &Value, answers: &mut Answers) -> Verdict {
    match reply {
        // Exact up to 2^53 items, which is beyond any Redis' memory.
        Value::Int(items) => {
            answers.set(position, *items as f64);
            Verdict::Settled
        }
        other => take_exception(address, slot, position, other, answers),
    }
}

#[cold]
fn take_exception(address: &str, slot: &Slot, position: usize, reply: &Value, answers: &mut Answers) -> Verdict {
    let Slot { key, question } = slot;
    match (reply, question) {
        (Value::ServerError(error), _) if classify::concerns_server(error) => {
            return Verdict::Server(classify::server_failure(address, error));
        }
        (Value::ServerError(error), _) => {
            answers.fail(position, classify::read_failure(key, question.command(), error));
            if error.code() == "WRONGTYPE" && matches!(question, Question::Any(_)) {
                return Verdict::Relearn;
            }
        }
        (Value::SimpleString(kind), Question::Any(Counter::Unsupported)) => {
            answers.fail(position, classify::wrong_type(key, kind));
            if Counter::of_type(kind) != Counter::Unsupported {
                return Verdict::Relearn;
            }
        }
        (other, _) => answers.fail(position, unexpected(key, question.command(), other)),
    }
    Verdict::Settled
}

fn unexpected(key: &str, command: &'static str, reply: &Value) -> ReadFailure {
    Asked { command, key }.odd(Some(reply))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FailureKind;

    #[test]
    fn a_type_is_learnt_once_and_again() {
        let mut slot = Slot::new(&Read::Length("jobs".into())).unwrap();
        assert_eq!(slot.question.command(), "LLEN");
        assert_eq!(slot.learn(&Value::SimpleString("zset".into())), Ok(true));
        assert_eq!(slot.question.command(), "ZCARD");
        assert_eq!(slot.learn(&Value::SimpleString("zset".into())), Ok(false));
        let failure = slot.learn(&Value::SimpleString("stream".into())).unwrap_err();
        assert_eq!(failure.kind, FailureKind::WrongType);
        assert_eq!(slot.question.command(), "TYPE");
        assert_eq!(slot.learn(&Value::SimpleString("none".into())), Ok(true));
        assert_eq!(slot.question.command(), "LLEN");
    }

    #[test]
    fn an_unsupported_key_that_became_a_list_is_asked_again() {
        let slot = Slot { key: "jobs".into(), question: Question::Any(Counter::Unsupported) };
        let mut answers = Answers::default();
        answers.begin(2);
        let again = take("redis:6379", &slot, 0, &Value::SimpleString("list".into()), &mut answers);
        assert!(matches!(again, Verdict::Relearn));
        let still = take("redis:6379", &slot, 1, &Value::SimpleString("string".into()), &mut answers);
        assert!(matches!(still, Verdict::Settled));
        assert_eq!(answers.failures().count(), 2);
    }

    #[test]
    fn now_is_written_in_each_frameworks_unit() {
        assert_eq!(score(TimeUnit::Seconds, 1_764_166_000_007), "1764166000.007");
        assert_eq!(score(TimeUnit::Millis, 1_764_166_000_007), "1764166000007");
        assert_eq!(score(TimeUnit::BullMillis, 1), "8191");
    }
}
