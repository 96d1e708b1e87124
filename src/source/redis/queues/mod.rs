//! One file a queue framework: which keys it keeps, and what they say of waiting work, delayed work that is due, work in
//! flight, and the age of the oldest item.
//!
//! Each turns its block of the manifest into reads ([`Wanted`]). What one number answers is a plain read, and cheap;
//! what takes several steps is a [`Survey`](super::Survey). Keys and types are the frameworks' own as of the versions
//! that each file names; nothing here writes, and no command costs more than a bounded number of items.

pub(super) mod arq;
pub(super) mod bullmq;
pub(super) mod celery;
pub(super) mod dramatiq;
pub(super) mod list;
pub(super) mod resque;
pub(super) mod rq;
pub(super) mod sidekiq;
pub(super) mod stream;

use std::sync::Arc;

use crate::source::{Count, Read, Side, TimeUnit, Wanted};
use crate::spec::{ScoreUnit, Source};

/// The reads of a source on a Redis; none for one that is elsewhere.
pub(super) fn wanted_by(source: &Source) -> Vec<Wanted> {
    let each = |keys: &[Arc<str>], command| keys.iter().map(|key| Wanted::ready(count(command, key))).collect();
    match source {
        Source::RedisList(list) => list::wanted_by(list),
        Source::RedisSet { keys } => each(keys, Count::Set),
        Source::RedisHash { keys } => each(keys, Count::Hash),
        Source::RedisSortedSet { keys, unit } => {
            let unit = match unit {
                ScoreUnit::Seconds => TimeUnit::Seconds,
                ScoreUnit::Millis => TimeUnit::Millis,
            };
            let due = |key: &Arc<str>| Wanted::due(Read::Scored { key: Arc::clone(key), side: Side::Due, unit });
            keys.iter().map(due).collect()
        }
        Source::RedisStream(stream) => stream::wanted_by(stream),
        Source::Celery(celery) => celery::wanted_by(celery),
        Source::Sidekiq(sidekiq) => sidekiq::wanted_by(sidekiq),
        Source::BullMq(bull) => bullmq::wanted_by(bull),
        Source::Rq(rq) => rq::wanted_by(rq),
        Source::Resque(resque) => resque::wanted_by(resque),
        Source::Dramatiq(dramatiq) => dramatiq::wanted_by(dramatiq),
        Source::Arq(arq) => arq::wanted_by(arq),
        Source::Postgres(_) | Source::PrometheusQuery(_) | Source::PrometheusScrape(_) | Source::Memory { .. } => {
            Vec::new()
        }
    }
}

fn count(command: Count, key: &Arc<str>) -> Read {
    Read::Count { command, key: Arc::clone(key) }
}

/// Seconds from `then` to `now`, both milliseconds since the epoch; none where a clock is behind. What is no time (a
/// score of infinity) gives no number, and [`Measure`](crate::model::Measure) does not know it.
fn age_seconds(now: u64, then: f64) -> f64 {
    let age = (now as f64 - then) / 1000.0;
    if age < 0.0 && age.is_finite() { 0.0 } else { age }
}
