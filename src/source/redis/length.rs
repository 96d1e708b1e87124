//! How to ask for the number of items under a key, whatever the key holds.
//!
//! Queues are lists nearly always, so `LLEN` is asked first. A key that answers WRONGTYPE is asked for its `TYPE`,
//! once, and from then on with that type's own command; if that one day answers WRONGTYPE, the type is learnt again.
//! Every command here is O(1) on the server.

use std::sync::Arc;

use redis::{Pipeline, Value};

use super::classify;
use crate::model::{FailureKind, ReadFailure};
use crate::source::Answers;

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

/// One key that somebody wants counted, and what is known about it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: Arc<str>,
    pub(super) counter: Counter,
}

impl Slot {
    pub(super) fn new(key: Arc<str>) -> Self {
        Slot { key, counter: Counter::List }
    }

    /// Appends the command that counts this key.
    pub(super) fn ask(&self, pipeline: &mut Pipeline) {
        pipeline.cmd(self.counter.command()).arg(&*self.key);
    }

    /// Appends the question for this key's type.
    pub(super) fn ask_type(&self, pipeline: &mut Pipeline) {
        pipeline.cmd(Counter::Unsupported.command()).arg(&*self.key);
    }

    /// Takes the answer to [`Slot::ask_type`]. `Ok(true)`: another command than before counts this key now.
    pub(super) fn learn(&mut self, reply: &Value) -> Result<bool, ReadFailure> {
        match reply {
            Value::SimpleString(kind) => {
                let before = std::mem::replace(&mut self.counter, Counter::of_type(kind));
                if self.counter == Counter::Unsupported {
                    return Err(classify::wrong_type(&self.key, kind));
                }
                Ok(self.counter != before)
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

/// Takes the reply to [`Slot::ask`] of `slot`. Everything but a number has moved out of the way of the hot path.
#[inline]
pub(super) fn take(address: &str, slot: Option<&Slot>, reply: &Value, answers: &mut Answers) -> Verdict {
    match reply {
        // Exact up to 2^53 items, which is beyond any Redis' memory.
        Value::Int(items) => {
            answers.push(*items as f64);
            Verdict::Settled
        }
        other => take_exception(address, slot, other, answers),
    }
}

#[cold]
fn take_exception(address: &str, slot: Option<&Slot>, reply: &Value, answers: &mut Answers) -> Verdict {
    let (key, counter) = slot.map_or(("", Counter::List), |slot| (&*slot.key, slot.counter));
    match reply {
        Value::ServerError(error) if classify::concerns_server(error) => {
            return Verdict::Server(classify::server_failure(address, error));
        }
        Value::ServerError(error) => {
            answers.push_failure(classify::read_failure(key, counter.command(), error));
            if error.code() == "WRONGTYPE" {
                return Verdict::Relearn;
            }
        }
        Value::SimpleString(kind) if counter == Counter::Unsupported => {
            answers.push_failure(classify::wrong_type(key, kind));
            if Counter::of_type(kind) != Counter::Unsupported {
                return Verdict::Relearn;
            }
        }
        other => answers.push_failure(unexpected(key, counter.command(), other)),
    }
    Verdict::Settled
}

fn unexpected(key: &str, command: &str, reply: &Value) -> ReadFailure {
    let kind = match reply {
        Value::Nil => "nothing",
        Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "a text",
        Value::Array(_) => "an array",
        _ => "something else",
    };
    ReadFailure::new(
        FailureKind::Protocol,
        format!("key {key:?}: {command} was answered by {kind} where a number belongs; is a proxy in between?"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_learnt_once_and_again() {
        let mut slot = Slot::new("jobs".into());
        assert_eq!(slot.counter.command(), "LLEN");
        assert_eq!(slot.learn(&Value::SimpleString("zset".into())), Ok(true));
        assert_eq!(slot.counter.command(), "ZCARD");
        assert_eq!(slot.learn(&Value::SimpleString("zset".into())), Ok(false));
        let failure = slot.learn(&Value::SimpleString("stream".into())).unwrap_err();
        assert_eq!(failure.kind, FailureKind::WrongType);
        assert_eq!(slot.counter.command(), "TYPE");
        assert_eq!(slot.learn(&Value::SimpleString("none".into())), Ok(true));
        assert_eq!(slot.counter.command(), "LLEN");
    }

    #[test]
    fn an_unsupported_key_that_became_a_list_is_asked_again() {
        let slot = Slot { key: "jobs".into(), counter: Counter::Unsupported };
        let mut answers = Answers::default();
        let again = take("redis:6379", Some(&slot), &Value::SimpleString("list".into()), &mut answers);
        assert!(matches!(again, Verdict::Relearn));
        let still = take("redis:6379", Some(&slot), &Value::SimpleString("string".into()), &mut answers);
        assert!(matches!(still, Verdict::Settled));
        assert_eq!(answers.len(), 2);
    }
}
