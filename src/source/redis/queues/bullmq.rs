//! BullMQ (read at 5.81 and 6.2): keys `<prefix>:<queue>:<what>`.
//!
//! * Waiting: the list `wait` and the sorted set `prioritized`. A paused queue of version 5 and before keeps its jobs in
//!   the list `paused` instead; since version 6 they stay in `wait`, and only the field `paused` of the hash `meta` says
//!   so. Adding up all three is right for both.
//! * In flight: the list `active`.
//! * Delayed: the sorted set `delayed`, whose scores are due times in milliseconds times 4096. Workers move what is due.
//! * `meta` may hold `concurrency`, the most jobs that run at once in all workers together.
//! * Age: the field `timestamp` of the job at the end of `wait`, and of `paused`, milliseconds.

use std::sync::Arc;

use redis::Value;

use super::super::reply::Asked;
use super::super::survey::{Command, Progress, Survey};
use super::{age_seconds, count};
use crate::model::{Observation, ReadFailure};
use crate::source::{Count, Moment, Read, Side, TimeUnit, Wanted};
use crate::spec::BullMq;

pub(in super::super) fn wanted_by(bull: &BullMq) -> Vec<Wanted> {
    let mut wanted = Vec::with_capacity(7 * bull.queues.len());
    for queue in &bull.queues {
        let base: Arc<str> = format!("{}:{queue}", bull.prefix).into();
        let key = |what: &str| -> Arc<str> { format!("{base}:{what}").into() };
        wanted.push(Wanted::ready(count(Count::List, &key("wait"))));
        wanted.push(Wanted::ready(count(Count::List, &key("paused"))));
        wanted.push(Wanted::ready(count(Count::SortedSet, &key("prioritized"))));
        let due = Read::Scored { key: key("delayed"), side: Side::Due, unit: TimeUnit::BullMillis };
        wanted.push(Wanted::due(due));
        wanted.push(Wanted::in_flight(count(Count::List, &key("active"))));
        // What holds for one of several queues holds for none of the workers that serve them all.
        if bull.queues.len() == 1 {
            wanted.push(Wanted::facts(Survey::BullMeta(Meta { key: key("meta") }), false));
        }
        if bull.oldest_age {
            wanted.push(Wanted::facts(Survey::BullOldest(Oldest { base }), true));
        }
    }
    wanted
}

/// Whether the queue is paused, and how many jobs may run at once.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Meta {
    key: Arc<str>,
}

impl Meta {
    pub(in super::super) fn begin(&self, _at: Moment) -> Progress {
        let read = Command::of(&["HMGET"], &self.key).arg("paused").arg("concurrency");
        let key = Arc::clone(&self.key);
        Progress::ask(vec![read], move |replies| Progress::conclude(|| settings(&key, replies)))
    }
}

fn settings(key: &str, replies: &[Value]) -> Result<Observation, ReadFailure> {
    let asked = Asked { command: "HMGET", key };
    let fields = asked.list(replies.first())?;
    let paused = asked.text(fields.first())?.is_some();
    let limit = asked.text(fields.get(1))?.and_then(|text| text.parse::<f64>().ok()).filter(|limit| *limit > 0.0);
    Ok(Observation { paused, limit: limit.map(Into::into).unwrap_or_default(), ..Observation::default() })
}

/// The age of the oldest job.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Oldest {
    base: Arc<str>,
}

impl Oldest {
    pub(in super::super) fn begin(&self, at: Moment) -> Progress {
        let lists: [Arc<str>; 2] = ["wait", "paused"].map(|list| format!("{}:{list}", self.base).into());
        let last = lists.iter().map(|list| Command::of(&["LINDEX"], list).arg(-1)).collect();
        let base = Arc::clone(&self.base);
        Progress::ask(last, move |replies| {
            let mut jobs: Vec<Arc<str>> = Vec::new();
            for (list, reply) in lists.iter().zip(replies) {
                match (Asked { command: "LINDEX", key: list }).text(Some(reply)) {
                    // Versions before 5 could leave a marker among the ids.
                    Ok(Some(id)) if !id.starts_with("0:") => jobs.push(format!("{base}:{id}").into()),
                    Ok(_) => {}
                    Err(failure) => return Progress::Done(Err(failure)),
                }
            }
            let times = jobs.iter().map(|job| Command::of(&["HGET"], job).arg("timestamp")).collect();
            Progress::ask(times, move |replies| Progress::conclude(|| oldest(&jobs, replies, at)))
        })
    }
}

/// The greatest of the jobs' ages.
fn oldest(jobs: &[Arc<str>], replies: &[Value], at: Moment) -> Result<Observation, ReadFailure> {
    let mut facts = Observation::default();
    for (job, reply) in jobs.iter().zip(replies) {
        let text = (Asked { command: "HGET", key: job }).text(Some(reply))?;
        if let Some(then) = text.and_then(|text| text.parse::<u64>().ok()) {
            let age = age_seconds(at.unix_millis, then as f64).into();
            facts.add(&Observation { oldest_age: age, ..Observation::default() });
        }
    }
    Ok(facts)
}
