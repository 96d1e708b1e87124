//! Source blocks, written back.

use std::sync::Arc;

use super::{duration, events, series};
use crate::spec::manifest::{
    self, Arq, BullMq, Celery, Dramatiq, InFlight, MemoryQueue, PostgresQuery, RedisKeys, RedisList, RedisSortedSet,
    RedisStream, Resque, Rq, Sidekiq, Trigger,
};
use crate::spec::{self, CeleryInFlight, Partitioning, PostgresRead, ScoreUnit, Source, StreamBacklog};

/// A trigger of which only the source is written.
#[must_use]
pub fn source(source: &Source) -> Trigger {
    let mut trigger = Trigger::default();
    match source {
        Source::RedisList(list) => trigger.redis_list = Some(redis_list(list)),
        Source::RedisSet { keys } => trigger.redis_set = Some(RedisKeys { keys: names(keys) }),
        Source::RedisHash { keys } => trigger.redis_hash = Some(RedisKeys { keys: names(keys) }),
        Source::RedisSortedSet { keys, unit } => {
            let unit = match unit {
                ScoreUnit::Seconds => manifest::ScoreUnit::Seconds,
                ScoreUnit::Millis => manifest::ScoreUnit::Milliseconds,
            };
            trigger.redis_sorted_set = Some(RedisSortedSet { keys: names(keys), score_unit: Some(unit) });
        }
        Source::RedisStream(stream) => trigger.redis_stream = Some(redis_stream(stream)),
        Source::Celery(written) => trigger.celery = Some(celery(written)),
        Source::Sidekiq(spec::Sidekiq { queues, oldest_age }) => {
            trigger.sidekiq = Some(Sidekiq { queues: names(queues), oldest_age: Some(*oldest_age) });
        }
        Source::BullMq(spec::BullMq { queues, prefix, oldest_age }) => {
            let prefix = Some(prefix.to_string());
            trigger.bullmq = Some(BullMq { queues: names(queues), prefix, oldest_age: Some(*oldest_age) });
        }
        Source::Rq(spec::Rq { queues, oldest_age }) => {
            trigger.rq = Some(Rq { queues: names(queues), oldest_age: Some(*oldest_age) });
        }
        Source::Resque(spec::Resque { queues, namespace }) => {
            trigger.resque = Some(Resque { queues: names(queues), namespace: Some(namespace.to_string()) });
        }
        Source::Dramatiq(spec::Dramatiq { queues, namespace, oldest_age }) => {
            let namespace = Some(namespace.to_string());
            trigger.dramatiq = Some(Dramatiq { queues: names(queues), namespace, oldest_age: Some(*oldest_age) });
        }
        Source::Arq(spec::Arq { queues, oldest_age }) => {
            trigger.arq = Some(Arq { queues: names(queues), oldest_age: Some(*oldest_age) });
        }
        Source::Postgres(written) => trigger.postgres = Some(events::postgres(written, Partitioning::default())),
        Source::PrometheusQuery(written) => trigger.prometheus_query = Some(series::query(written)),
        Source::PrometheusScrape(written) => trigger.prometheus_scrape = Some(series::scrape(written)),
        Source::Memory { queue } => trigger.memory = Some(MemoryQueue { queue: Some(queue.to_string()) }),
    }
    trigger
}

/// What `validate` takes for a place where in-flight work shows. `None`: no manifest means this one.
pub(super) fn in_flight(source: &Source) -> Option<InFlight> {
    let mut written = InFlight::default();
    match source {
        Source::RedisList(list) => written.redis_list = Some(redis_list(list)),
        Source::RedisSet { keys } => written.redis_set = Some(RedisKeys { keys: names(keys) }),
        Source::RedisHash { keys } => written.redis_hash = Some(RedisKeys { keys: names(keys) }),
        Source::Postgres(spec::Postgres { read: PostgresRead::Query(query), .. }) => {
            written.postgres = Some(PostgresQuery { query: Some(query.to_string()) });
        }
        Source::PrometheusQuery(query) => written.prometheus_query = Some(series::query(query)),
        Source::PrometheusScrape(scrape) => written.prometheus_scrape = Some(series::scrape(scrape)),
        _ => return None,
    }
    Some(written)
}

fn redis_list(list: &spec::RedisList) -> RedisList {
    RedisList { keys: some(&list.keys), keys_matching: some(&list.matching), processing: some(&list.processing) }
}

fn redis_stream(stream: &spec::RedisStream) -> RedisStream {
    RedisStream {
        key: Some(stream.key.to_string()),
        group: stream.group.as_ref().map(ToString::to_string),
        backlog: Some(match stream.backlog {
            StreamBacklog::Lag => manifest::StreamBacklog::Lag,
            StreamBacklog::Pending => manifest::StreamBacklog::Pending,
            StreamBacklog::Length => manifest::StreamBacklog::Length,
        }),
    }
}

fn celery(celery: &spec::Celery) -> Celery {
    Celery {
        queues: some(&celery.queues),
        bound_to: celery.bound_to.as_ref().map(ToString::to_string),
        priority_steps: Some(celery.priority_steps.iter().map(|step| i32::from(*step)).collect()),
        separator: Some(celery.separator.to_string()),
        global_keyprefix: Some(celery.global_keyprefix.to_string()),
        in_flight: Some(match celery.in_flight {
            CeleryInFlight::ByQueue => manifest::CeleryInFlight::ByQueue,
            CeleryInFlight::All => manifest::CeleryInFlight::All,
            CeleryInFlight::None => manifest::CeleryInFlight::None,
        }),
        visibility_timeout: duration(celery.visibility_timeout),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "fields of a manifest are optional")]
pub(super) fn names(names: &[Arc<str>]) -> Option<Vec<String>> {
    Some(names.iter().map(ToString::to_string).collect())
}

/// Names, unless there are none.
pub(super) fn some(written: &[Arc<str>]) -> Option<Vec<String>> {
    if written.is_empty() { None } else { names(written) }
}
