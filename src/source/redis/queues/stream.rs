//! Redis Streams: what a consumer group has not been given yet, and what it was given and has not acknowledged.
//!
//! `XLEN` is what the stream *holds*; the backlog is the group's `lag`, which Redis derives and does not always know: it
//! is null for a group that was made in the middle, or after entries were deleted; and it is too high for ever after
//! some deletions and trims. So a group that was given the last entry has a lag of none, the lag is never more than what
//! the stream holds, and where it is null the entries behind the group are counted, up to [`COUNTED`], and beyond that
//! reckoned from the counters of entries ever added and read, or else from the times in the ids. A stream that does not
//! exist yet has no backlog. One whose group does not exist yet has all of its entries waiting, as KEDA counts them:
//! workers make their group when they start, and at zero there are none. Before Redis 7.0 there is no lag at all, and
//! it is counted likewise.

use std::sync::Arc;

use redis::Value;

use super::super::reply::{Asked, field};
use super::super::survey::{Command, Progress, Survey};
use super::{age_seconds, count};
use crate::model::{Observation, ReadFailure};
use crate::source::{Count, Moment, Wanted};
use crate::spec::{RedisStream, StreamBacklog};

/// Entries that are counted one by one at most, where nothing else is known: what one reply may weigh.
const COUNTED: usize = 1_000;

pub(in super::super) fn wanted_by(stream: &RedisStream) -> Vec<Wanted> {
    match &stream.group {
        Some(group) if stream.backlog != StreamBacklog::Length => {
            let survey = Group { key: Arc::clone(&stream.key), group: Arc::clone(group), backlog: stream.backlog };
            vec![Wanted::facts(Survey::Stream(survey), false)]
        }
        _ => vec![Wanted::ready(count(Count::Stream, &stream.key))],
    }
}

/// A consumer group of a stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Group {
    key: Arc<str>,
    group: Arc<str>,
    backlog: StreamBacklog,
}

/// What `XINFO` says of the stream and the group.
struct Seen {
    length: f64,
    /// When the first entry that the stream holds was added, milliseconds.
    first_millis: Option<f64>,
    last_generated: Vec<u8>,
    last_delivered: Vec<u8>,
    added: Option<f64>,
    taken: Option<f64>,
    pending: f64,
    lag: Option<f64>,
}

impl Group {
    pub(in super::super) fn begin(&self, at: Moment) -> Progress {
        let commands = vec![Command::of(&["XINFO", "STREAM"], &self.key), Command::of(&["XINFO", "GROUPS"], &self.key)];
        let this = self.clone();
        Progress::ask(commands, move |replies| match this.seen(replies) {
            Ok(None) => Progress::Done(Ok(Observation {
                in_flight: if this.backlog == StreamBacklog::Lag { 0.0.into() } else { Default::default() },
                ..Observation::default()
            })),
            Ok(Some(seen)) => this.after(seen, at),
            Err(failure) => Progress::Done(Err(failure)),
        })
    }

    /// `None`: there is no such stream.
    fn seen(&self, replies: &[Value]) -> Result<Option<Seen>, ReadFailure> {
        let asked = |command| Asked { command, key: &self.key };
        let stream = asked("XINFO STREAM");
        let about = match replies.first() {
            Some(Value::ServerError(error)) if error.details().is_some_and(|text| text.contains("no such key")) => {
                return Ok(None);
            }
            Some(about @ (Value::Array(_) | Value::Map(_))) => about,
            other => return Err(stream.odd(other)),
        };
        let groups = asked("XINFO GROUPS");
        let name = |group: &&Value| matches!(field(group, "name"), Some(Value::BulkString(bytes)) if bytes == self.group.as_bytes());
        let listed = match replies.get(1) {
            // It went between the two.
            Some(Value::ServerError(error)) if error.details().is_some_and(|text| text.contains("no such key")) => {
                return Ok(None);
            }
            other => groups.list(other)?,
        };
        let number = |value: Option<&Value>| match value {
            Some(Value::Int(number)) => Some((*number as f64).max(0.0)),
            _ => None,
        };
        let bytes = |asked: Asked<'_>, value| asked.bytes(value).map(|bytes| bytes.unwrap_or_default().to_vec());
        let length = stream.count(field(about, "length"))?;
        let first_millis = field(about, "first-entry").and_then(entry_millis);
        let last_generated = bytes(stream, field(about, "last-generated-id"))?;
        let added = number(field(about, "entries-added"));
        let Some(group) = listed.iter().find(name) else {
            // As if it had been given nothing of what there is.
            let (last_delivered, lag) = (b"0-0".to_vec(), Some(length));
            let (taken, pending) = (None, 0.0);
            let seen = Seen { length, first_millis, last_generated, last_delivered, added, taken, pending, lag };
            return Ok(Some(seen));
        };
        Ok(Some(Seen {
            length,
            first_millis,
            last_generated,
            last_delivered: bytes(groups, field(group, "last-delivered-id"))?,
            added,
            taken: number(field(group, "entries-read")),
            pending: groups.count(field(group, "pending"))?,
            lag: number(field(group, "lag")),
        }))
    }

    fn after(self, seen: Seen, at: Moment) -> Progress {
        if self.backlog == StreamBacklog::Pending {
            return Progress::Done(Ok(self.facts(&seen, seen.pending, None)));
        }
        let all_given = seen.last_delivered == seen.last_generated || seen.length == 0.0;
        if all_given {
            return Progress::Done(Ok(self.facts(&seen, 0.0, None)));
        }
        // The first entry behind the group tells the age; all of them the lag, where that is not known.
        let how_many = if seen.lag.is_some() { 1 } else { COUNTED };
        let after = [b"(", seen.last_delivered.as_slice()].concat();
        let next = Command::of(&["XRANGE"], &self.key).arg(after).arg("+").arg("COUNT").arg(how_many);
        Progress::ask(vec![next], move |replies| {
            Progress::conclude(|| {
                let asked = Asked { command: "XRANGE", key: &self.key };
                let behind = asked.list(replies.first())?;
                let lag = match seen.lag {
                    // Nothing is behind it, whatever Redis derives.
                    Some(_) if behind.is_empty() => 0.0,
                    Some(lag) => lag,
                    None if behind.len() < COUNTED => behind.len() as f64,
                    None => seen.reckoned().max(behind.len() as f64),
                };
                let oldest = behind.first().and_then(entry_millis).map(|then| age_seconds(at.unix_millis, then));
                Ok(self.facts(&seen, lag.min(seen.length), oldest))
            })
        })
    }

    fn facts(&self, seen: &Seen, backlog: f64, oldest_age: Option<f64>) -> Observation {
        let mut facts = Observation::of_backlog(backlog);
        if self.backlog == StreamBacklog::Lag {
            facts.in_flight = seen.pending.into();
        }
        facts.oldest_age = oldest_age.map(Into::into).unwrap_or_default();
        facts.added = seen.added.map(Into::into).unwrap_or_default();
        facts.taken = seen.taken.map(Into::into).unwrap_or_default();
        facts
    }
}

impl Seen {
    /// The lag where Redis does not know it and counting would take too long: more than what it really is rather than
    /// less, because an entry that was deleted is among those that were added.
    fn reckoned(&self) -> f64 {
        if let (Some(added), Some(taken)) = (self.added, self.taken) {
            return (added - taken).max(0.0);
        }
        let times = (self.first_millis, id_millis(&self.last_delivered), id_millis(&self.last_generated));
        match times {
            // As if entries had come evenly.
            (Some(first), Some(delivered), Some(last)) if last > first => {
                self.length * ((last - delivered) / (last - first)).clamp(0.0, 1.0)
            }
            _ => self.length,
        }
    }
}

/// When an entry was added: the first half of its id, unless its author chose another.
fn entry_millis(entry: &Value) -> Option<f64> {
    let Value::Array(parts) = entry else { return None };
    let Some(Value::BulkString(id)) = parts.first() else { return None };
    id_millis(id)
}

fn id_millis(id: &[u8]) -> Option<f64> {
    let (millis, _) = str::from_utf8(id).ok()?.split_once('-')?;
    millis.parse::<u64>().ok().map(|millis| millis as f64)
}
