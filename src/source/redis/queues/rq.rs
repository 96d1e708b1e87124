//! RQ (read at 2.10, watched at 2.12 and 3.0): lists of job ids under `rq:queue:<name>`, oldest first.
//!
//! In flight: the sorted set `rq:wip:<name>`, whose scores are when a job's claim runs out; those that have are abandoned
//! and do not count. Delayed: `rq:scheduled:<name>`, scores are due times in seconds; a worker's own scheduler moves them.
//! While the string `rq:suspended` is there, workers take nothing, of no queue.
//!
//! Since 3.0 jobs may be held back by a rate limit, in sorted sets of the limit's and not of the queue; more workers
//! would not run them, and they do not count.

use std::sync::Arc;

use redis::Value;

use super::super::reply::Asked;
use super::super::survey::{Command, Progress, Survey};
use super::{age_seconds, count};
use crate::model::Observation;
use crate::source::{Count, Moment, Read, Side, TimeUnit, Wanted};
use crate::spec::Rq;

pub(in super::super) fn wanted_by(rq: &Rq) -> Vec<Wanted> {
    let mut wanted = Vec::with_capacity(4 * rq.queues.len());
    for queue in &rq.queues {
        let key = |kind: &str| -> Arc<str> { format!("rq:{kind}:{queue}").into() };
        let scored = |kind, side| Read::Scored { key: key(kind), side, unit: TimeUnit::Seconds };
        wanted.push(Wanted::ready(count(Count::List, &key("queue"))));
        wanted.push(Wanted::due(scored("scheduled", Side::Due)));
        wanted.push(Wanted::in_flight(scored("wip", Side::Ahead)));
        if rq.oldest_age {
            wanted.push(Wanted::facts(Survey::RqOldest(Oldest { key: key("queue") }), true));
        }
    }
    wanted.push(Wanted::facts(Survey::RqSuspended(Suspended), false));
    wanted
}

/// Whether all workers have been told to take nothing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Suspended;

impl Suspended {
    pub(in super::super) fn begin(&self, _at: Moment) -> Progress {
        let key: Arc<str> = "rq:suspended".into();
        Progress::ask(vec![Command::of(&["EXISTS"], &key)], move |replies| {
            Progress::conclude(|| {
                let there = (Asked { command: "EXISTS", key: &key }).count(replies.first())?;
                Ok(Observation { paused: there > 0.0, ..Observation::default() })
            })
        })
    }
}

/// The age of the oldest job.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Oldest {
    key: Arc<str>,
}

impl Oldest {
    pub(in super::super) fn begin(&self, at: Moment) -> Progress {
        let first = Command::of(&["LINDEX"], &self.key).arg(0);
        let key = Arc::clone(&self.key);
        Progress::ask(vec![first], move |replies| {
            let id = match (Asked { command: "LINDEX", key: &key }).text(replies.first()) {
                Ok(Some(id)) => id,
                Ok(None) => return Progress::Done(Ok(Observation::default())),
                Err(failure) => return Progress::Done(Err(failure)),
            };
            let job: Arc<str> = format!("rq:job:{id}").into();
            let when = Command::of(&["HGET"], &job).arg("enqueued_at");
            Progress::ask(vec![when], move |replies| Progress::conclude(|| enqueued(&job, replies, at)))
        })
    }
}

fn enqueued(job: &str, replies: &[Value], at: Moment) -> Result<Observation, crate::model::ReadFailure> {
    let text = (Asked { command: "HGET", key: job }).text(replies.first())?;
    let millis = text.and_then(|text| text.parse::<jiff::Timestamp>().ok()).map(jiff::Timestamp::as_millisecond);
    let age = millis.map(|millis| age_seconds(at.unix_millis, millis as f64));
    Ok(Observation { oldest_age: age.map(Into::into).unwrap_or_default(), ..Observation::default() })
}
