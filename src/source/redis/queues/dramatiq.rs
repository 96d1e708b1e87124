//! Dramatiq (read at 2.2): lists of message ids under `<namespace>:<queue>`, oldest first; their bodies in the hash
//! `<namespace>:<queue>.msgs`, until they are acknowledged.
//!
//! So what is in the hash and not in the list was taken: in flight. Delayed messages wait in `<queue>.DQ`, from which
//! running workers take them into their own memory long before they are due; without a worker they stay in its list.
//! Redis does not say when they are due (it is inside the message), so all that wait there count as due: else a workload
//! at zero would never wake for them.

use std::sync::Arc;

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
        wanted.push(Wanted::due(count(Count::List, &delayed)));
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
