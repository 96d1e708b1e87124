//! Dramatiq (read at 2.2): lists of message ids under `<namespace>:<queue>`, oldest first; their bodies in the hash
//! `<namespace>:<queue>.msgs`, until they are acknowledged.
//!
//! So what is in the hash and not in the list was taken: in flight.
//!
//! Delayed messages wait in the queue `<queue>.DQ`, from which running workers take them into their own memory long before
//! they are due (and put them back when they end); without a worker they stay there. When one is due stands inside it, so
//! the [`HEAD`] oldest are looked at, at a slow pace, beyond which their proportion counts for all. To count all of them
//! would be a cycle: a worker that is woken takes them, and then there is nothing to stay awake for.

use std::sync::Arc;

use redis::Value;

use super::super::reply::Asked;
use super::super::survey::{Command, Progress, Survey};
use super::{age_seconds, count};
use crate::model::{Observation, ReadFailure};
use crate::source::{Count, Moment, Wanted};
use crate::spec::Dramatiq;

pub(in super::super) fn wanted_by(dramatiq: &Dramatiq) -> Vec<Wanted> {
    let mut wanted = Vec::with_capacity(4 * dramatiq.queues.len());
    for queue in &dramatiq.queues {
        let list: Arc<str> = format!("{}:{queue}", dramatiq.namespace).into();
        let delayed: Arc<str> = format!("{list}.DQ").into();
        wanted.push(Wanted::ready(count(Count::List, &list)));
        wanted.push(Wanted::facts(Survey::DramatiqDelayed(Delayed { list: delayed }), false));
        wanted.push(Wanted::facts(Survey::DramatiqInFlight(InFlight { list: Arc::clone(&list) }), false));
        if dramatiq.oldest_age {
            wanted.push(Wanted::facts(Survey::DramatiqOldest(Oldest { list }), true));
        }
    }
    wanted
}

/// Messages that were taken and not acknowledged.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct InFlight {
    list: Arc<str>,
}

impl InFlight {
    pub(in super::super) fn begin(&self, _at: Moment) -> Progress {
        let bodies: Arc<str> = format!("{}.msgs", self.list).into();
        let list = Arc::clone(&self.list);
        // In this order: what is enqueued between the two is not taken for work in flight.
        let commands = vec![Command::of(&["HLEN"], &bodies), Command::of(&["LLEN"], &list)];
        Progress::ask(commands, move |replies| {
            Progress::conclude(|| {
                let bodies = (Asked { command: "HLEN", key: &bodies }).count(replies.first())?;
                let waiting = (Asked { command: "LLEN", key: &list }).count(replies.get(1))?;
                Ok(Observation { in_flight: (bodies - waiting).max(0.0).into(), ..Observation::default() })
            })
        })
    }
}

/// Delayed messages to look at. Bodies weigh some hundred bytes to some KiB each; and more than these waiting means that
/// one due among them is reason enough to wake.
const HEAD: usize = 100;

/// Delayed messages that are due.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Delayed {
    list: Arc<str>,
}

impl Delayed {
    pub(in super::super) fn begin(&self, at: Moment) -> Progress {
        let list = Arc::clone(&self.list);
        let head = Command::of(&["LRANGE"], &list).arg(0).arg(HEAD - 1);
        Progress::ask(vec![Command::of(&["LLEN"], &list), head], move |replies| {
            let (all, ids) = match waiting(&list, replies) {
                Ok((_, ids)) if ids.is_empty() => return Progress::Done(Ok(due(0.0))),
                Ok(found) => found,
                Err(failure) => return Progress::Done(Err(failure)),
            };
            let bodies: Arc<str> = format!("{list}.msgs").into();
            let read = Command::of(&["HMGET"], &bodies).arg(ids);
            Progress::ask(vec![read], move |replies| {
                Progress::conclude(|| {
                    let bodies = (Asked { command: "HMGET", key: &bodies }).list(replies.first())?;
                    let etas: Vec<f64> = bodies.iter().filter_map(eta).collect();
                    let now = at.unix_millis as f64;
                    let ours = etas.iter().filter(|eta| **eta <= now).count() as f64;
                    let beyond = (all - bodies.len() as f64).max(0.0);
                    let share = if etas.is_empty() { 0.0 } else { ours / etas.len() as f64 };
                    Ok(due((ours + beyond * share).round()))
                })
            })
        })
    }
}

fn waiting(list: &str, replies: &[Value]) -> Result<(f64, Vec<Vec<u8>>), ReadFailure> {
    let all = (Asked { command: "LLEN", key: list }).count(replies.first())?;
    let asked = Asked { command: "LRANGE", key: list };
    let ids = asked.list(replies.get(1))?.iter().take(HEAD);
    let ids = ids.map(|id| Ok(asked.bytes(Some(id))?.unwrap_or_default().to_vec()));
    Ok((all, ids.collect::<Result<_, ReadFailure>>()?))
}

/// When a delayed message is due, milliseconds.
fn eta(body: &Value) -> Option<f64> {
    #[derive(serde::Deserialize)]
    struct Message {
        options: Options,
    }
    #[derive(serde::Deserialize)]
    struct Options {
        eta: f64,
    }
    let Value::BulkString(body) = body else { return None };
    serde_json::from_slice::<Message>(body).ok().map(|message| message.options.eta)
}

fn due(items: f64) -> Observation {
    Observation { due: items.into(), ..Observation::of_backlog(items) }
}

/// The age of the oldest message.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Oldest {
    list: Arc<str>,
}

impl Oldest {
    pub(in super::super) fn begin(&self, at: Moment) -> Progress {
        let first = Command::of(&["LINDEX"], &self.list).arg(0);
        let list = Arc::clone(&self.list);
        Progress::ask(vec![first], move |replies| {
            let id = match (Asked { command: "LINDEX", key: &list }).text(replies.first()) {
                Ok(Some(id)) => id,
                Ok(None) => return Progress::Done(Ok(Observation::default())),
                Err(failure) => return Progress::Done(Err(failure)),
            };
            let bodies: Arc<str> = format!("{list}.msgs").into();
            let body = Command::of(&["HGET"], &bodies).arg(id);
            Progress::ask(vec![body], move |replies| {
                Progress::conclude(|| {
                    let body = (Asked { command: "HGET", key: &bodies }).bytes(replies.first())?;
                    let age = body.and_then(timestamp).map(|then| age_seconds(at.unix_millis, then));
                    let facts = Observation::default();
                    Ok::<_, ReadFailure>(Observation { oldest_age: age.map(Into::into).unwrap_or_default(), ..facts })
                })
            })
        })
    }
}

/// When a message was made, milliseconds.
fn timestamp(body: &[u8]) -> Option<f64> {
    #[derive(serde::Deserialize)]
    struct Message {
        message_timestamp: f64,
    }
    serde_json::from_slice::<Message>(body).ok().map(|message| message.message_timestamp)
}
