//! arq (read at 0.26): one sorted set a queue, whose scores are due times in milliseconds.
//!
//! A job stays in it while it runs, and has a key `arq:in-progress:<id>` meanwhile; so what is due is ready work and
//! work in flight together, and only asking for those keys tells them apart. Jobs that run were due first, so they stand
//! at the head: [`HEAD`] jobs are looked at. Beyond, all that are due count as waiting. (Those keys lie on any node of a
//! cluster, which arq itself does not support.)

use std::sync::Arc;

use redis::Value;

use super::super::reply::Asked;
use super::super::survey::{Command, Progress, Survey};
use super::age_seconds;
use crate::model::{Observation, ReadFailure};
use crate::source::{Moment, Wanted};
use crate::spec::Arq;

/// Jobs at the head that are asked whether they run: as many as some hundred workers of arq's default ten slots have.
const HEAD: usize = 1_000;

pub(in super::super) fn wanted_by(arq: &Arq) -> Vec<Wanted> {
    let survey = |queue: &Arc<str>| Survey::ArqJobs(Jobs { queue: Arc::clone(queue), oldest_age: arq.oldest_age });
    arq.queues.iter().map(|queue| Wanted::facts(survey(queue), false)).collect()
}

/// What is due, and what of it runs.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Jobs {
    queue: Arc<str>,
    oldest_age: bool,
}

impl Jobs {
    pub(in super::super) fn begin(&self, at: Moment) -> Progress {
        let now = at.unix_millis;
        let count = Command::of(&["ZCOUNT"], &self.queue).arg("-inf").arg(now);
        let head = Command::of(&["ZRANGE"], &self.queue).arg("-inf").arg(now).arg("BYSCORE").arg("LIMIT").arg(0);
        let head = head.arg(HEAD).arg("WITHSCORES");
        let this = self.clone();
        Progress::ask(vec![count, head], move |replies| match this.due(replies) {
            Ok((due, jobs)) if jobs.is_empty() => Progress::Done(Ok(this.facts(due, 0.0, None))),
            Ok((due, jobs)) => this.running(due, jobs, at),
            Err(failure) => Progress::Done(Err(failure)),
        })
    }

    fn due(&self, replies: &[Value]) -> Result<(f64, Vec<(String, f64)>), ReadFailure> {
        let due = (Asked { command: "ZCOUNT", key: &self.queue }).count(replies.first())?;
        let asked = Asked { command: "ZRANGE", key: &self.queue };
        let mut jobs = members(asked, asked.list(replies.get(1))?)?;
        jobs.truncate(HEAD);
        Ok((due, jobs))
    }

    fn running(self, due: f64, jobs: Vec<(String, f64)>, at: Moment) -> Progress {
        let keys = jobs.iter().map(|(id, _)| format!("arq:in-progress:{id}"));
        let exists = keys.fold(Command::without_key(&["EXISTS"]), Command::arg);
        Progress::ask(vec![exists], move |replies| {
            Progress::conclude(|| {
                let running = (Asked { command: "EXISTS", key: &self.queue }).count(replies.first())?;
                // Workers take the oldest first, so the first that waits stands behind those that run.
                let mut places = (0..).map(f64::from).zip(&jobs);
                let waiting = places.find(|(place, _)| *place >= running);
                let oldest = waiting.map(|(_, (_, then))| age_seconds(at.unix_millis, *then));
                Ok(self.facts(due, running, oldest))
            })
        })
    }

    fn facts(&self, due: f64, running: f64, oldest_age: Option<f64>) -> Observation {
        let facts = Observation { in_flight: running.into(), ..Observation::of_backlog((due - running).max(0.0)) };
        Observation { oldest_age: oldest_age.filter(|_| self.oldest_age).map(Into::into).unwrap_or_default(), ..facts }
    }
}

/// Members and scores, as RESP2 (flat) or RESP3 (in pairs) has them.
fn members(asked: Asked<'_>, reply: &[Value]) -> Result<Vec<(String, f64)>, ReadFailure> {
    let score = |value: Option<&Value>| -> Result<f64, ReadFailure> {
        match value {
            Some(Value::Double(score)) => Ok(*score),
            Some(Value::Int(score)) => Ok(*score as f64),
            other => Ok(asked.text(other)?.and_then(|text| text.parse().ok()).unwrap_or(f64::NAN)),
        }
    };
    let pair = |id: Option<&Value>, value: Option<&Value>| -> Result<(String, f64), ReadFailure> {
        Ok((asked.text(id)?.unwrap_or_default(), score(value)?))
    };
    match reply {
        [Value::Array(_), ..] => reply
            .iter()
            .map(|both| {
                let both = asked.list(Some(both))?;
                pair(both.first(), both.get(1))
            })
            .collect(),
        flat => flat.chunks(2).map(|both| pair(both.first(), both.get(1))).collect(),
    }
}
