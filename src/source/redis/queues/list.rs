//! Plain lists: keys by name, keys by pattern, and the lists that workers move their work to.
//!
//! `BRPOP` takes an item out of Redis for good, so that work in flight shows only where workers use `LMOVE` (or
//! `RPOPLPUSH`) to a processing list.
//!
//! Patterns: a walk through the key space (`SCAN`, lists only) goes on beside the rounds, [`STRIDE`] bounded steps each,
//! and is begun again [`REST`] after its end; what it has found is counted in every round. Until the first walk has come
//! to its end nobody knows what is missing, and that is a failure, which holds the replicas. So is what a walk finds and
//! cannot count: a sum that leaves keys out would look like less work. What is named besides, as waiting or as in flight,
//! or matches several patterns, counts once.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use super::super::classify;
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

/// Steps of a walk in one round, each of which costs the round a round trip. A database of a million keys is walked in
/// a minute at 10 Hz, and in ten at 1 Hz.
const STRIDE: usize = 4;

/// Keys that a trigger's patterns may find together. They are counted in every round.
const MOST: usize = 10_000;

/// Bytes of a key that a pattern may find; with [`MOST`] what a database full of strange keys can make us keep.
const LONGEST: usize = 4_096;

pub(in super::super) fn wanted_by(list: &RedisList) -> Vec<Wanted> {
    let ready = list.keys.iter().map(|key| Wanted::ready(Read::Length(Arc::clone(key))));
    let matching = (!list.matching.is_empty()).then(|| {
        let except = list.keys.iter().chain(&list.processing).cloned().collect();
        Wanted::facts(Survey::Matching(Matching { patterns: list.matching.as_slice().into(), except }), false)
    });
    let processing = list.processing.iter().map(|key| Wanted::in_flight(Read::Length(Arc::clone(key))));
    ready.chain(matching).chain(processing).collect()
}

/// The lists whose keys match one of several patterns, except for some.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Matching {
    patterns: Arc<[Arc<str>]>,
    except: Arc<[Arc<str>]>,
}

impl Matching {
    pub(in super::super) fn begin(&self, at: Moment, kept: &Kept) -> Progress {
        let walks = kept.is_walking() || kept.walked.is_none_or(|walked| at.tick.since(walked) >= REST);
        let walk = Walk { matching: self.clone(), at, left: STRIDE };
        let mut commands = Vec::with_capacity(kept.keys.len() + 1);
        if walks {
            commands.push(walk.scan(kept));
        }
        commands.extend(kept.keys.iter().map(|key| Command::of(&["LLEN"], key)));
        let kept = kept.clone();
        Progress::ask(commands, move |replies| {
            let (scan, lengths) =
                if walks { replies.split_at_checked(1).unwrap_or_default() } else { (&[][..], replies) };
            let facts = match (&kept.walked, &kept.failed) {
                (None, _) => None,
                (Some(_), Some(failure)) => Some(Err(failure.clone())),
                (Some(_), None) => Some(sum(&kept.keys, lengths)),
            };
            if walks { walk.on(kept, facts, scan.first()) } else { walk.rest(kept, facts) }
        })
    }
}

/// A walk through the key space, one round of it.
struct Walk {
    matching: Matching,
    at: Moment,
    /// Steps that it may still take.
    left: usize,
}

/// What the keys of the last walk hold; `None` before there was one.
type Counted = Option<Result<Observation, ReadFailure>>;

impl Walk {
    fn pattern(&self, kept: &Kept) -> &str {
        self.matching.patterns.get(kept.pattern).map_or("", AsRef::as_ref)
    }

    fn scan(&self, kept: &Kept) -> Command {
        let scan = Command::without_key(&["SCAN"]).arg(kept.cursor).arg("MATCH").arg(self.pattern(kept));
        scan.arg("COUNT").arg(STEP).arg("TYPE").arg("list")
    }

    /// Takes the reply to one step, and the next step.
    fn on(mut self, kept: Kept, facts: Counted, reply: Option<&Value>) -> Progress {
        let kept = match self.found(kept, reply) {
            Ok(kept) => kept,
            Err(failure) => return Progress::Done(Err(failure)),
        };
        self.left = self.left.saturating_sub(1);
        match (kept.is_walking(), facts) {
            // The first walk is over: what it found is counted at once.
            (false, None) => match kept.failed.clone() {
                Some(failure) => Progress::Keep(Err(failure), kept),
                None => count(kept),
            },
            (true, facts) if self.left > 0 => {
                let scan = self.scan(&kept);
                Progress::ask(vec![scan], move |replies| self.on(kept, facts, replies.first()))
            }
            (_, facts) => self.rest(kept, facts),
        }
    }

    /// Goes on in the next round.
    fn rest(&self, kept: Kept, facts: Counted) -> Progress {
        Progress::Keep(facts.unwrap_or_else(|| Err(still_looking(self.pattern(&kept), kept.found.len()))), kept)
    }

    /// After one step.
    fn found(&self, mut kept: Kept, reply: Option<&Value>) -> Result<Kept, ReadFailure> {
        let pattern = self.pattern(&kept).to_owned();
        let asked = Asked { command: "SCAN", key: &pattern };
        let [cursor, keys] = asked.list(reply)? else { return Err(asked.odd(reply)) };
        let cursor = asked.text(Some(cursor))?.and_then(|text| text.parse::<u64>().ok());
        let Some(cursor) = cursor else { return Err(asked.odd(reply)) };
        let mut failed = None;
        for key in asked.list(Some(keys))? {
            let Some(bytes) = asked.bytes(Some(key))? else { continue };
            match str::from_utf8(bytes) {
                Ok(key) if self.matching.except.iter().any(|other| **other == *key) => {}
                Ok(key) if key.len() <= LONGEST => kept.found.push(Arc::from(key)),
                _ => failed = Some(no_key_of_ours(&pattern, bytes.len())),
            }
            if kept.found.len() > MOST {
                // SCAN may find a key more than once.
                kept.found.sort_unstable();
                kept.found.dedup();
            }
            if kept.found.len() > MOST {
                failed = Some(too_many(&pattern));
            }
            if failed.is_some() {
                break;
            }
        }
        kept.cursor = cursor;
        if cursor == 0 {
            kept.pattern += 1;
        }
        if failed.is_some() || kept.pattern >= self.matching.patterns.len() {
            (kept.cursor, kept.pattern) = (0, 0);
            kept.found.sort_unstable();
            kept.found.dedup();
            kept.keys = std::mem::take(&mut kept.found);
            if failed.is_some() {
                kept.keys.clear();
            }
            kept.failed = failed;
            kept.walked = Some(self.at.tick);
        }
        Ok(kept)
    }
}

fn count(kept: Kept) -> Progress {
    let commands = kept.keys.iter().map(|key| Command::of(&["LLEN"], key)).collect();
    Progress::ask(commands, move |replies| Progress::Keep(sum(&kept.keys, replies), kept))
}

fn sum(keys: &[Arc<str>], lengths: &[Value]) -> Result<Observation, ReadFailure> {
    let sum = keys
        .iter()
        .enumerate()
        .try_fold(0.0, |sum, (i, key)| Asked { command: "LLEN", key }.count(lengths.get(i)).map(|length| sum + length));
    sum.map(Observation::of_backlog)
}

fn still_looking(pattern: &str, found: usize) -> ReadFailure {
    ReadFailure::new(
        FailureKind::NotServing,
        format!(
            "still looking for keys that match {}, {found} so far; nothing to do but wait",
            classify::shown(pattern)
        ),
    )
}

fn too_many(pattern: &str) -> ReadFailure {
    ReadFailure::new(
        FailureKind::Configuration,
        format!(
            "more than {MOST} lists match {} and the patterns before it; write narrower ones, or several triggers",
            classify::shown(pattern)
        ),
    )
}

fn no_key_of_ours(pattern: &str, length: usize) -> ReadFailure {
    ReadFailure::new(
        FailureKind::Configuration,
        format!(
            "a list that matches {} has a key of {length} bytes that is no UTF-8 or longer than {LONGEST}, and \
             cannot be counted; write a pattern that leaves it out",
            classify::shown(pattern)
        ),
    )
}
