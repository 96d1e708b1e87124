//! Resque (read at 3.0): a list `<namespace>:queue:<name>` each, oldest first. Jobs carry no time of their own.
//!
//! In flight: a working worker has a key `<namespace>:worker:<id>` with what it does, as JSON; the set
//! `<namespace>:workers` names the workers. What resque-scheduler delays is the business of its own process, not of a
//! worker, and does not count here.

use std::sync::Arc;

use redis::Value;

use super::super::reply::Asked;
use super::super::survey::{Command, Progress, Survey};
use super::count;
use crate::model::{Observation, ReadFailure};
use crate::source::{Count, Moment, Wanted};
use crate::spec::Resque;

/// Workers that are asked what they do. More are counted at the proportion of these.
const WORKERS: usize = 1_000;

pub(in super::super) fn wanted_by(resque: &Resque) -> Vec<Wanted> {
    let key = |queue: &Arc<str>| -> Arc<str> { format!("{}:queue:{queue}", resque.namespace).into() };
    let mut wanted: Vec<Wanted> =
        resque.queues.iter().map(|queue| Wanted::ready(count(Count::List, &key(queue)))).collect();
    let working = Working { namespace: Arc::clone(&resque.namespace), queues: resque.queues.clone() };
    wanted.push(Wanted::facts(Survey::ResqueWorking(working), false));
    wanted
}

/// What the workers do.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Working {
    namespace: Arc<str>,
    queues: Vec<Arc<str>>,
}

impl Working {
    pub(in super::super) fn begin(&self, _at: Moment) -> Progress {
        let workers: Arc<str> = format!("{}:workers", self.namespace).into();
        let this = self.clone();
        let some = Command::of(&["SRANDMEMBER"], &workers).arg(WORKERS);
        Progress::ask(vec![Command::of(&["SCARD"], &workers), some], move |replies| match named(&workers, replies) {
            Ok((_, ids)) if ids.is_empty() => Progress::Done(Ok(in_flight(0.0))),
            Ok((all, ids)) => this.working(all, &ids),
            Err(failure) => Progress::Done(Err(failure)),
        })
    }

    fn working(self, all: f64, ids: &[String]) -> Progress {
        let keys: Vec<Arc<str>> = ids.iter().map(|id| format!("{}:worker:{id}", self.namespace).into()).collect();
        let commands = keys.iter().map(|key| Command::of(&["GET"], key)).collect();
        Progress::ask(commands, move |replies| {
            Progress::conclude(|| {
                let mut working = 0.0;
                for (key, reply) in keys.iter().zip(replies) {
                    let work = (Asked { command: "GET", key }).bytes(Some(reply))?;
                    let work = work.and_then(|work| serde_json::from_slice::<Work>(work).ok());
                    if work.is_some_and(|work| self.queues.iter().any(|ours| **ours == *work.queue)) {
                        working += 1.0;
                    }
                }
                let looked_at = (keys.len() as f64).max(1.0);
                Ok(in_flight((working * (all / looked_at).max(1.0)).round()))
            })
        })
    }
}

/// What a worker says that it does. Nothing else of it is kept: a job may be as large as its author likes.
#[derive(serde::Deserialize)]
struct Work {
    queue: String,
}

fn named(key: &str, replies: &[Value]) -> Result<(f64, Vec<String>), ReadFailure> {
    let all = (Asked { command: "SCARD", key }).count(replies.first())?;
    let asked = Asked { command: "SRANDMEMBER", key };
    let texts =
        asked.list(replies.get(1))?.iter().take(WORKERS).map(|id| Ok(asked.text(Some(id))?.unwrap_or_default()));
    Ok((all, texts.collect::<Result<_, ReadFailure>>()?))
}

fn in_flight(items: f64) -> Observation {
    Observation { in_flight: items.into(), ..Observation::default() }
}
