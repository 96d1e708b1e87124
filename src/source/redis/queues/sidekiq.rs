//! Sidekiq (read at 8.1, and watched at 6.4): a list `queue:<name>` each, the oldest job at its end.
//!
//! * In flight: every process writes what its threads do into the hash `<identity>:work` (before version 7
//!   `<identity>:workers`) with each heartbeat, so that this is up to ten seconds behind (five in 6.4). The set
//!   `processes` names the identities.
//! * Delayed: the sorted sets `schedule` and `retry` of all queues together, scores are due times in seconds. Whose a job
//!   is stands inside it; [`PEEKED`] due jobs are looked at, beyond which their proportion counts for all.
//! * Age: the job's `enqueued_at` or `created_at`: milliseconds since version 8, seconds before.

use std::sync::Arc;

use redis::Value;

use super::super::reply::Asked;
use super::super::survey::{Command, Progress, Survey};
use super::{age_seconds, count};
use crate::model::{Observation, ReadFailure};
use crate::source::{Count, Moment, Wanted};
use crate::spec::Sidekiq;

/// Due jobs that are read for their queue. Sidekiq's own poller moves them within seconds: more than these means that
/// no process runs, and then one is reason enough to wake.
const PEEKED: usize = 100;

/// Processes whose work is asked for. More are counted at the proportion of these.
const PROCESSES: usize = 1_000;

/// Times above this are milliseconds: as seconds it would be the year 5138.
const MILLIS_FROM: f64 = 1e11;

pub(in super::super) fn wanted_by(sidekiq: &Sidekiq) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    for queue in &sidekiq.queues {
        let key: Arc<str> = format!("queue:{queue}").into();
        wanted.push(Wanted::ready(count(Count::List, &key)));
        if sidekiq.oldest_age {
            wanted.push(Wanted::facts(Survey::SidekiqOldest(Oldest { key }), true));
        }
    }
    for set in ["schedule", "retry"] {
        let due = Due { set: set.into(), queues: sidekiq.queues.clone() };
        wanted.push(Wanted::facts(Survey::SidekiqDue(due), false));
    }
    wanted.push(Wanted::facts(Survey::SidekiqBusy(Busy { queues: sidekiq.queues.clone() }), false));
    wanted
}

/// What the processes do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Busy {
    queues: Vec<Arc<str>>,
}

impl Busy {
    pub(in super::super) fn begin(&self, _at: Moment) -> Progress {
        let processes: Arc<str> = "processes".into();
        let this = self.clone();
        let some = Command::of(&["SRANDMEMBER"], &processes).arg(PROCESSES);
        Progress::ask(vec![Command::of(&["SCARD"], &processes), some], move |replies| match identities(replies) {
            Ok((_, identities)) if identities.is_empty() => Progress::Done(Ok(in_flight(0.0))),
            Ok((all, identities)) => this.working(all, &identities),
            Err(failure) => Progress::Done(Err(failure)),
        })
    }

    fn working(self, all: f64, identities: &[String]) -> Progress {
        // A process has one of the two, whichever its version writes, and none while it is idle.
        let both = |identity: &String| ["work", "workers"].map(|hash| format!("{identity}:{hash}").into());
        let keys: Vec<Arc<str>> = identities.iter().flat_map(both).collect();
        let commands = keys.iter().map(|key| Command::of(&["HVALS"], key)).collect();
        let processes = identities.len();
        Progress::ask(commands, move |replies| {
            Progress::conclude(|| {
                let mut working = 0.0;
                for (key, reply) in keys.iter().zip(replies) {
                    let works = (Asked { command: "HVALS", key }).list(Some(reply))?;
                    working += works.iter().filter(|work| is_of(work, &self.queues)).count() as f64;
                }
                let looked_at = (processes as f64).max(1.0);
                Ok(in_flight((working * (all / looked_at).max(1.0)).round()))
            })
        })
    }
}

fn identities(replies: &[Value]) -> Result<(f64, Vec<String>), ReadFailure> {
    let all = (Asked { command: "SCARD", key: "processes" }).count(replies.first())?;
    let asked = Asked { command: "SRANDMEMBER", key: "processes" };
    let members = asked.list(replies.get(1))?.iter().take(PROCESSES);
    let texts = members.map(|member| Ok(asked.text(Some(member))?.unwrap_or_default()));
    Ok((all, texts.collect::<Result<_, ReadFailure>>()?))
}

/// Delayed jobs of these queues that are due, in one of the two sets.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Due {
    set: Arc<str>,
    queues: Vec<Arc<str>>,
}

impl Due {
    pub(in super::super) fn begin(&self, at: Moment) -> Progress {
        let now = format!("{:.3}", at.unix_millis as f64 / 1000.0);
        let count = Command::of(&["ZCOUNT"], &self.set).arg("-inf").arg(&now);
        let first = Command::of(&["ZRANGE"], &self.set).arg("-inf").arg(&now);
        let first = first.arg("BYSCORE").arg("LIMIT").arg(0).arg(PEEKED);
        let Due { set, queues } = self.clone();
        Progress::ask(vec![count, first], move |replies| {
            Progress::conclude(|| {
                let due = (Asked { command: "ZCOUNT", key: &set }).count(replies.first())?;
                let peeked = (Asked { command: "ZRANGE", key: &set }).list(replies.get(1))?;
                let ours = peeked.iter().filter(|job| is_of(job, &queues)).count() as f64;
                let beyond = (due - peeked.len() as f64).max(0.0);
                let share = if peeked.is_empty() { 0.0 } else { ours / peeked.len() as f64 };
                let due = (ours + beyond * share).round();
                Ok(Observation { due: due.into(), ..Observation::of_backlog(due) })
            })
        })
    }
}

/// Whether a job, or what a thread says that it does, is of one of `queues`.
fn is_of(text: &Value, queues: &[Arc<str>]) -> bool {
    /// Nothing else of it is kept: a job may be as large as its author likes.
    #[derive(serde::Deserialize)]
    struct Job {
        queue: String,
    }
    let Value::BulkString(bytes) = text else { return false };
    let Ok(Job { queue }) = serde_json::from_slice(bytes) else { return false };
    queues.iter().any(|ours| **ours == *queue)
}

/// The age of the oldest job.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Oldest {
    key: Arc<str>,
}

impl Oldest {
    pub(in super::super) fn begin(&self, at: Moment) -> Progress {
        let last = Command::of(&["LINDEX"], &self.key).arg(-1);
        let key = Arc::clone(&self.key);
        Progress::ask(vec![last], move |replies| {
            Progress::conclude(|| {
                let job = (Asked { command: "LINDEX", key: &key }).bytes(replies.first())?;
                let then = job.and_then(enqueued);
                let age = then.map(|then| age_seconds(at.unix_millis, then).into()).unwrap_or_default();
                Ok(Observation { oldest_age: age, ..Observation::default() })
            })
        })
    }
}

/// When a job was enqueued, milliseconds.
fn enqueued(job: &[u8]) -> Option<f64> {
    #[derive(serde::Deserialize)]
    struct Job {
        enqueued_at: Option<f64>,
        created_at: Option<f64>,
    }
    let job: Job = serde_json::from_slice(job).ok()?;
    let time = job.enqueued_at.or(job.created_at)?;
    Some(if time > MILLIS_FROM { time } else { time * 1000.0 })
}

fn in_flight(items: f64) -> Observation {
    Observation { in_flight: items.into(), ..Observation::default() }
}
