//! Plain lists: keys by name, keys by pattern, and the lists that workers move their work to.
//!
//! `BRPOP` takes an item out of Redis for good, so that work in flight shows only where workers use `LMOVE` (or
//! `RPOPLPUSH`) to a processing list.
//!
//! Patterns: a walk through the key space (`SCAN`, lists only) goes on in the background of the rounds, a bounded step
//! each, and is begun again [`REST`] after its end; what it has found is counted in every round. Until the first walk has
//! come to its end nobody knows what is missing, and that is a failure, which holds the replicas.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::super::reply::Asked;
use super::super::survey::{Command, Kept, Progress, Survey};
use crate::model::{FailureKind, Observation, ReadFailure};
use crate::source::{Moment, Read, Wanted};
use crate::spec::RedisList;

/// Between two walks. New queues are found within this and the length of a walk.
const REST: Duration = Duration::from_secs(10);

/// Keys that one step looks at, about. Redis looks at some ten million a second, so that a step keeps it for less than
/// the 100 µs that a pipeline of reads takes.
const STEP: usize = 500;

/// Keys that one pattern may find. They are counted in every round.
const MOST: usize = 10_000;

pub(in super::super) fn wanted_by(list: &RedisList) -> Vec<Wanted> {
    let ready = list.keys.iter().map(|key| Wanted::ready(Read::Length(Arc::clone(key))));
    let matching = list
        .matching
        .iter()
        .map(|pattern| Wanted::facts(Survey::Matching(Matching { pattern: Arc::clone(pattern) }), false));
    let processing = list.processing.iter().map(|key| Wanted::in_flight(Read::Length(Arc::clone(key))));
    ready.chain(matching).chain(processing).collect()
}

/// The lists whose keys match a pattern.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Matching {
    pattern: Arc<str>,
}

impl Matching {
    pub(in super::super) fn begin(&self, at: Moment, kept: &Kept) -> Progress {
        let walks = kept.cursor != 0 || kept.walked.is_none_or(|walked| at.tick.since(walked) >= REST);
        let mut commands = Vec::with_capacity(kept.keys.len() + 1);
        if walks {
            let scan = Command::without_key(&["SCAN"]).arg(kept.cursor).arg("MATCH").arg(&*self.pattern);
            commands.push(scan.arg("COUNT").arg(STEP).arg("TYPE").arg("list"));
        }
        commands.extend(kept.keys.iter().map(|key| Command::of(&["LLEN"], key)));
        let (pattern, kept) = (Arc::clone(&self.pattern), kept.clone());
        Progress::ask(commands, move |replies| {
            let (scan, lengths) =
                if walks { replies.split_at_checked(1).unwrap_or_default() } else { (&[][..], replies) };
            let backlog = lengths.iter().zip(&kept.keys).try_fold(0.0, |sum, (reply, key)| {
                Asked { command: "LLEN", key }.count(Some(reply)).map(|length| sum + length)
            });
            let kept = match scan.first() {
                None => kept,
                Some(reply) => match walked_on(kept, reply, &pattern, at) {
                    Ok(kept) => kept,
                    Err(failure) => return Progress::Done(Err(failure)),
                },
            };
            let facts = match (&kept.walked, backlog) {
                (None, _) => Err(still_looking(&pattern, kept.found.len())),
                // What the first walk found is counted from the next round on.
                (Some(walked), _) if *walked == at.tick && lengths.is_empty() && !kept.keys.is_empty() => {
                    Err(still_looking(&pattern, kept.keys.len()))
                }
                (Some(_), backlog) => backlog.map(Observation::of_backlog),
            };
            Progress::Keep(facts, kept)
        })
    }
}

/// After one step of the walk.
fn walked_on(mut kept: Kept, reply: &Value, pattern: &str, at: Moment) -> Result<Kept, ReadFailure> {
    let asked = Asked { command: "SCAN", key: pattern };
    let [cursor, keys] = asked.list(Some(reply))? else { return Err(asked.odd(Some(reply))) };
    let cursor = asked.text(Some(cursor))?.and_then(|text| text.parse::<u64>().ok());
    let Some(cursor) = cursor else { return Err(asked.odd(Some(reply))) };
    for key in asked.list(Some(keys))? {
        if let Value::BulkString(bytes) = key
            && let Ok(key) = str::from_utf8(bytes)
            && kept.found.len() < MOST
        {
            kept.found.push(Arc::from(key));
        }
    }
    kept.cursor = cursor;
    if cursor == 0 {
        // SCAN may find a key more than once.
        kept.found.sort_unstable();
        kept.found.dedup();
        kept.keys = std::mem::take(&mut kept.found);
        kept.walked = Some(at.tick);
    }
    Ok(kept)
}

fn still_looking(pattern: &str, found: usize) -> ReadFailure {
    ReadFailure::new(
        FailureKind::NotServing,
        format!("still looking for keys that match {pattern:?}, {found} so far; nothing to do but wait"),
    )
}
