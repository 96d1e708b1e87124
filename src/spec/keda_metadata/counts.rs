//! What a trigger counts, and how much of it a replica may have; of Redis, a list or a stream in one of KEDA's three
//! ways.

use std::sync::Arc;

use super::keys::Keys;
use crate::spec::manifest::{self, RedisList, Trigger};
use crate::spec::{Postgres, PostgresRead, PrometheusQuery, RedisStream, Source, StreamBacklog};

/// KEDA's own default for every target.
const DEFAULT_TARGET: i64 = 5;

/// What is counted, and the keys that say so.
pub(super) struct Counts {
    pub(super) source: Source,
    /// Items per replica.
    pub(super) target: f64,
    /// Active above this many.
    pub(super) activation: f64,
    pub(super) name_key: &'static str,
    pub(super) target_key: &'static str,
    pub(super) activation_key: &'static str,
}

impl Counts {
    /// The source block that means the same.
    pub(super) fn block(&self) -> Trigger {
        match &self.source {
            Source::RedisStream(stream) => Trigger {
                redis_stream: Some(manifest::RedisStream {
                    key: Some(stream.key.to_string()),
                    group: stream.group.as_ref().map(ToString::to_string),
                    backlog: Some(match stream.backlog {
                        StreamBacklog::Lag => manifest::StreamBacklog::Lag,
                        StreamBacklog::Pending => manifest::StreamBacklog::Pending,
                        StreamBacklog::Length => manifest::StreamBacklog::Length,
                    }),
                }),
                ..Trigger::default()
            },
            Source::RedisList(list) => Trigger {
                redis_list: Some(RedisList {
                    keys: Some(list.keys.iter().map(ToString::to_string).collect()),
                    ..RedisList::default()
                }),
                ..Trigger::default()
            },
            Source::Postgres(Postgres { read: PostgresRead::Query(query), .. }) => Trigger {
                postgres: Some(manifest::Postgres { query: Some(query.to_string()), ..manifest::Postgres::default() }),
                ..Trigger::default()
            },
            Source::PrometheusQuery(PrometheusQuery { query, ignore_null_values, .. }) => Trigger {
                prometheus_query: Some(manifest::PrometheusQuery {
                    query: Some(query.to_string()),
                    ignore_null_values: Some(*ignore_null_values),
                    ..manifest::PrometheusQuery::default()
                }),
                ..Trigger::default()
            },
            // No scaler of KEDA's that is read here counts anything else.
            _ => Trigger::default(),
        }
    }
}

/// What the keys say of a list or stream. `None`, and at least one problem, where not even a name and a target can be told; a wrong
/// activation threshold is a problem that leaves both.
pub(super) fn counts(keys: &mut Keys<'_>) -> Option<Counts> {
    let said = keys.text("triggerType").map(|kind| kind.ends_with("-streams"));
    let (list, stream) = (keys.find(&["listName"]), keys.find(&["stream"]));
    let of_streams = match (said, list, stream) {
        (Some(said), ..) => said,
        (None, Some(_), Some(stream)) => {
            let cure = "take one of the two out, or write triggerType, e.g. triggerType: redis-streams";
            keys.problem(stream.key, "both listName and stream are written, and one trigger counts one of them", cure);
            return None;
        }
        (None, None, Some(_)) => true,
        (None, _, None) => false,
    };
    if of_streams { of_stream(keys) } else { of_list(keys) }
}

fn of_list(keys: &mut Keys<'_>) -> Option<Counts> {
    let list = keys.text("listName");
    if list.is_none() {
        let cure = "e.g. listName: celery, stream: orders, or autoscaler: celery-high";
        keys.problem("listName", "missing: the list that is to be counted", cure);
    }
    let target = target(keys, "listLength");
    let activation = keys.integer("activationListLength", 0);
    Some(Counts {
        source: Source::lists(vec![Arc::from(list?)]),
        target: target? as f64,
        activation: activation.unwrap_or(0) as f64,
        name_key: "listName",
        target_key: "listLength",
        activation_key: "activationListLength",
    })
}

/// As KEDA chooses: without a group the stream's length, with a `lagCount` the group's lag, else what it has pending.
fn of_stream(keys: &mut Keys<'_>) -> Option<Counts> {
    let stream = keys.text("stream");
    if stream.is_none() {
        keys.problem("stream", "missing: the stream that is to be counted", "e.g. stream: orders");
    }
    let group = keys.text("consumerGroup");
    let lag = keys.integer("lagCount", 0);
    let (backlog, target_key) = match (group, lag) {
        (None, _) => (StreamBacklog::Length, "streamLength"),
        (Some(_), Some(0)) => (StreamBacklog::Pending, "pendingEntriesCount"),
        (Some(_), _) => (StreamBacklog::Lag, "lagCount"),
    };
    let target = target(keys, target_key);
    let activation = keys.integer("activationLagCount", 0);
    Some(Counts {
        source: Source::RedisStream(RedisStream { key: Arc::from(stream?), group: group.map(Arc::from), backlog }),
        target: target? as f64,
        activation: activation.unwrap_or(0) as f64,
        name_key: "stream",
        target_key,
        activation_key: "activationLagCount",
    })
}

fn target(keys: &mut Keys<'_>, name: &'static str) -> Option<i64> {
    let before = keys.problems.len();
    let count = keys.integer(name, DEFAULT_TARGET)?;
    if (1..=i64::MAX / 1000).contains(&count) {
        return Some(count);
    }
    let wrong = if count < 1 { "must be at least 1" } else { "is more than a metric can hold" };
    if keys.problems.len() == before {
        let key = keys.find(&[name]).map_or(name, |found| found.key);
        keys.problem(key, format!("{wrong}, found {count}"), format!("e.g. {name}: \"5\""));
    }
    None
}
