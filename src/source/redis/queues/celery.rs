//! Celery on Kombu's Redis transport (read at Kombu 5.6, watched at 5.7): a list for each queue and priority step. The
//! first step has the queue's own name, the others `<queue><separator><step>`.
//!
//! What was delivered and not acknowledged is in the hash `unacked` and, with the time of delivery, in the sorted set
//! `unacked_index`; both are of the whole database, not of a queue. What is in there longer than the visibility timeout is
//! about to be put back, and nobody works on it. With early acknowledgement (Celery's default) a *running* task is not in
//! there, only what workers have prefetched, and tasks with an eta or countdown.
//!
//! Whose an entry is stands in its value: `[message, exchange, routing key]`, the message with its delivery info. Reading
//! values is paid with bandwidth, so that is done at a slow pace and for [`SAMPLED`] entries at most, beyond which their
//! proportion counts for all.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::super::classify;
use super::super::reply::Asked;
use super::super::survey::{Command, Kept, Progress, Survey};
use super::count;
use crate::model::{FailureKind, Observation, ReadFailure};
use crate::source::{Count, Moment, Wanted};
use crate::spec::{Celery, CeleryInFlight};

/// Deliveries that are read for their queue: at a few hundred bytes to some KiB each, what one reply may weigh.
const SAMPLED: usize = 500;

/// Bindings of one exchange. Their queues' lists are counted in every round.
const BOUND: usize = 1_000;

/// Between two looks at what is bound to an exchange. Bindings change with deployments.
const BINDINGS: Duration = Duration::from_secs(10);

pub(in super::super) fn wanted_by(celery: &Celery) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for queue in &celery.queues {
        wanted.extend(lists_of(celery, queue).map(|key| Wanted::ready(count(Count::List, &key))));
    }
    if let Some(exchange) = &celery.bound_to {
        let survey = Bound { celery: celery.clone(), exchange: Arc::clone(exchange) };
        wanted.push(Wanted::facts(Survey::CeleryBound(survey), false));
    }
    if celery.in_flight != CeleryInFlight::None {
        wanted.push(Wanted::facts(Survey::CeleryUnacked(Unacked { celery: celery.clone() }), false));
    }
    wanted
}

/// The keys of a queue's lists.
fn lists_of<'a>(celery: &'a Celery, queue: &'a str) -> impl Iterator<Item = Arc<str>> + 'a {
    let Celery { global_keyprefix, separator, priority_steps, .. } = celery;
    priority_steps.iter().enumerate().map(move |(position, step)| match position {
        0 => format!("{global_keyprefix}{queue}").into(),
        _ => format!("{global_keyprefix}{queue}{separator}{step}").into(),
    })
}

/// The queues that are bound to an exchange and not named besides.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Bound {
    celery: Celery,
    exchange: Arc<str>,
}

impl Bound {
    pub(in super::super) fn begin(&self, at: Moment, kept: &Kept) -> Progress {
        let binding = binding_table(&self.celery, &self.exchange);
        if kept.walked.is_some_and(|walked| at.tick.since(walked) < BINDINGS) {
            return count_lists(kept.clone());
        }
        let this = self.clone();
        Progress::ask(vec![Command::of(&["SMEMBERS"], &binding)], move |replies| {
            let asked = Asked { command: "SMEMBERS", key: &binding };
            match bound(&this.celery, asked, replies.first()).map(|queues| this.lists(&queues)) {
                Ok(keys) => count_lists(Kept { keys, walked: Some(at.tick), ..Kept::default() }),
                Err(failure) => Progress::Done(Err(failure)),
            }
        })
    }

    fn lists(&self, queues: &[String]) -> Vec<Arc<str>> {
        let named = |queue: &&String| self.celery.queues.iter().any(|named| **named == **queue);
        let others = queues.iter().filter(|queue| !named(queue));
        let mut keys: Vec<Arc<str>> = others.flat_map(|queue| lists_of(&self.celery, queue)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

/// The queues of a binding table, whose members are `routing key SEP pattern SEP queue`, with the separator of the steps.
fn bound(celery: &Celery, asked: Asked<'_>, reply: Option<&Value>) -> Result<Vec<String>, ReadFailure> {
    let mut queues = Vec::new();
    let members = asked.list(reply)?;
    if members.len() > BOUND {
        return Err(ReadFailure::new(
            FailureKind::Configuration,
            format!("more than {BOUND} bindings in {}; name the queues instead", classify::shown(asked.key)),
        ));
    }
    for member in members {
        let member = asked.text(Some(member))?.unwrap_or_default();
        queues.extend(member.rsplit(&*celery.separator).next().filter(|queue| !queue.is_empty()).map(str::to_owned));
    }
    Ok(queues)
}

fn binding_table(celery: &Celery, exchange: &str) -> Arc<str> {
    format!("{}_kombu.binding.{exchange}", celery.global_keyprefix).into()
}

fn count_lists(kept: Kept) -> Progress {
    let commands = kept.keys.iter().map(|key| Command::of(&["LLEN"], key)).collect();
    Progress::ask(commands, move |replies| {
        let sum = kept.keys.iter().enumerate().try_fold(0.0, |sum, (i, key)| {
            (Asked { command: "LLEN", key }).count(replies.get(i)).map(|length| sum + length)
        });
        Progress::Keep(sum.map(Observation::of_backlog), kept)
    })
}

/// What was delivered within the visibility timeout and not acknowledged.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Unacked {
    celery: Celery,
}

impl Unacked {
    pub(in super::super) fn begin(&self, at: Moment) -> Progress {
        let index: Arc<str> = format!("{}unacked_index", self.celery.global_keyprefix).into();
        let since = at.unix_millis as f64 / 1000.0 - self.celery.visibility_timeout.as_secs_f64();
        let count = Command::of(&["ZCOUNT"], &index).arg(format!("{since:.3}")).arg("+inf");
        if self.celery.in_flight == CeleryInFlight::All {
            return Progress::ask(vec![count], move |replies| {
                Progress::conclude(|| (Asked { command: "ZCOUNT", key: &index }).count(replies.first()).map(in_flight))
            });
        }
        // The latest: the oldest are the likeliest to be somebody's who died.
        let tags = Command::of(&["ZRANGE"], &index).arg("+inf").arg(format!("{since:.3}"));
        let tags = tags.arg("BYSCORE").arg("REV").arg("LIMIT").arg(0).arg(SAMPLED);
        let mut this = self.clone();
        let table = self.celery.bound_to.as_deref().map(|exchange| binding_table(&self.celery, exchange));
        let bindings = table.iter().map(|table| Command::of(&["SMEMBERS"], table));
        Progress::ask([count, tags].into_iter().chain(bindings).collect(), move |replies| {
            // What goes through the default exchange, as tasks do that name nothing but a queue, names the queue alone.
            if let Some(table) = &table {
                match bound(&this.celery, Asked { command: "SMEMBERS", key: table }, replies.get(2)) {
                    Ok(queues) => this.celery.queues.extend(queues.into_iter().map(Into::into)),
                    Err(failure) => return Progress::Done(Err(failure)),
                }
            }
            match tagged(&index, replies) {
                Ok((_, tags)) if tags.is_empty() => Progress::Done(Ok(in_flight(0.0))),
                Ok((all, tags)) => this.attribute(all, &tags),
                Err(failure) => Progress::Done(Err(failure)),
            }
        })
    }

    fn attribute(self, all: f64, tags: &[Vec<u8>]) -> Progress {
        let hash: Arc<str> = format!("{}unacked", self.celery.global_keyprefix).into();
        let read = Command::of(&["HMGET"], &hash).arg(tags);
        Progress::ask(vec![read], move |replies| {
            Progress::conclude(|| {
                let values = (Asked { command: "HMGET", key: &hash }).list(replies.first())?;
                let read: Vec<&[u8]> = values
                    .iter()
                    .filter_map(
                        |value| if let Value::BulkString(bytes) = value { Some(bytes.as_slice()) } else { None },
                    )
                    .collect();
                let ours = read.iter().filter(|value| self.is_ours(value)).count() as f64;
                // Those that were acknowledged between the two steps are nobody's.
                let looked_at = values.len() as f64;
                let beyond = (all - looked_at).max(0.0);
                let share = if read.is_empty() { 0.0 } else { ours / read.len() as f64 };
                Ok(in_flight((ours + beyond * share).round()))
            })
        })
    }

    /// Whether a delivery is of one of these queues. With an exchange the routing key decides as well: which queue it
    /// led to is not written down.
    fn is_ours(&self, value: &[u8]) -> bool {
        let Ok(Delivery(message, exchange, routing_key)) = serde_json::from_slice(value) else { return false };
        let from_info = || message.properties?.delivery_info?.routing_key;
        let Some(key) = routing_key.or_else(from_info) else { return false };
        let bound = self.celery.bound_to.as_deref().is_some_and(|bound| exchange.as_deref() == Some(bound));
        bound || self.celery.queues.iter().any(|queue| **queue == *key)
    }
}

/// What `unacked` holds, as far as it says whose it is. Nothing else of it is kept: a task may be as large as its author
/// likes.
#[derive(serde::Deserialize)]
struct Delivery(Message, Option<String>, Option<String>);

#[derive(serde::Deserialize)]
struct Message {
    properties: Option<Properties>,
}

#[derive(serde::Deserialize)]
struct Properties {
    delivery_info: Option<DeliveryInfo>,
}

#[derive(serde::Deserialize)]
struct DeliveryInfo {
    routing_key: Option<String>,
}

fn tagged(index: &str, replies: &[Value]) -> Result<(f64, Vec<Vec<u8>>), ReadFailure> {
    let all = (Asked { command: "ZCOUNT", key: index }).count(replies.first())?;
    let asked = Asked { command: "ZRANGE", key: index };
    let tags = asked.list(replies.get(1))?.iter().take(SAMPLED);
    let tags = tags.map(|tag| Ok(asked.bytes(Some(tag))?.unwrap_or_default().to_vec()));
    Ok((all, tags.collect::<Result<_, ReadFailure>>()?))
}

fn in_flight(items: f64) -> Observation {
    Observation { in_flight: items.into(), ..Observation::default() }
}
