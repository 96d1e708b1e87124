//! Where the backlog is, after validation: one variant a source block, every default filled in.
//!
//! What a queue framework keeps under which keys is not known here: `source/redis/` has a file for each.

use std::sync::Arc;
use std::time::Duration;

use super::{Postgres, PrometheusQuery, PrometheusScrape};

/// Where the backlog is. One variant a source block.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Source {
    RedisList(RedisList),
    /// Members of sets, added up.
    RedisSet {
        keys: Vec<Arc<str>>,
    },
    /// Fields of hashes, added up.
    RedisHash {
        keys: Vec<Arc<str>>,
    },
    /// Members of sorted sets whose score, a time, has come; added up.
    RedisSortedSet {
        keys: Vec<Arc<str>>,
        unit: ScoreUnit,
    },
    RedisStream(RedisStream),
    Celery(Celery),
    Sidekiq(Sidekiq),
    BullMq(BullMq),
    Rq(Rq),
    Resque(Resque),
    Dramatiq(Dramatiq),
    Arq(Arq),
    Postgres(Postgres),
    PrometheusQuery(PrometheusQuery),
    PrometheusScrape(PrometheusScrape),
    /// The embedded queue of `demo` and of tests.
    Memory {
        queue: Arc<str>,
    },
}

/// Length of lists (of sets, sorted sets and hashes too, as KEDA counts them); several keys are added up.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct RedisList {
    pub keys: Vec<Arc<str>>,
    /// Patterns of further keys, as Redis' `SCAN` has them, looked for away from the polling.
    pub matching: Vec<Arc<str>>,
    /// Lists to which workers move what they work on (`LMOVE`): in-flight work.
    pub processing: Vec<Arc<str>>,
}

/// What the scores of a sorted set are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ScoreUnit {
    /// Seconds since the epoch.
    Seconds,
    /// Milliseconds since the epoch.
    Millis,
}

/// A stream, and the consumer group that reads it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct RedisStream {
    pub key: Arc<str>,
    /// `None` for [`StreamBacklog::Length`] only.
    pub group: Option<Arc<str>>,
    pub backlog: StreamBacklog,
}

/// What counts as a stream's backlog. All but the first are KEDA's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum StreamBacklog {
    /// Entries that the group was not given yet; those it was given and has not acknowledged are in flight.
    Lag,
    /// Entries that the group was given and has not acknowledged.
    Pending,
    /// Entries that the stream holds, read or not.
    Length,
}

/// Queues of Celery (Kombu's Redis transport).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Celery {
    pub queues: Vec<Arc<str>>,
    /// An exchange whose bound queues count as well.
    pub bound_to: Option<Arc<str>>,
    /// The first is kept under the queue's own name.
    pub priority_steps: Vec<u8>,
    /// Between a queue's name and its step.
    pub separator: Arc<str>,
    pub global_keyprefix: Arc<str>,
    pub in_flight: CeleryInFlight,
    /// What was delivered longer ago than this is about to be delivered again: nobody works on it.
    pub visibility_timeout: Duration,
}

/// What counts as in-flight work of Celery: deliveries without an acknowledgement, which all queues of a database share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CeleryInFlight {
    /// Those of these queues, which takes reading them.
    ByQueue,
    /// All: right where the database has no other queues.
    All,
    None,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sidekiq {
    pub queues: Vec<Arc<str>>,
    /// Whether to look at the oldest item for its age.
    pub oldest_age: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BullMq {
    pub queues: Vec<Arc<str>>,
    pub prefix: Arc<str>,
    pub oldest_age: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Rq {
    pub queues: Vec<Arc<str>>,
    pub oldest_age: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Resque {
    pub queues: Vec<Arc<str>>,
    pub namespace: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Dramatiq {
    pub queues: Vec<Arc<str>>,
    pub namespace: Arc<str>,
    pub oldest_age: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Arq {
    pub queues: Vec<Arc<str>>,
    pub oldest_age: bool,
}

impl Source {
    /// Lists of these keys and nothing else.
    #[must_use]
    pub fn lists(keys: Vec<Arc<str>>) -> Self {
        Source::RedisList(RedisList { keys, ..RedisList::default() })
    }

    /// How many commands a reading takes, about: what namespaces' shares are reckoned in.
    #[must_use]
    pub fn reads(&self) -> usize {
        match self {
            Source::RedisList(list) => list.keys.len() + list.matching.len() + list.processing.len(),
            Source::RedisSet { keys } | Source::RedisHash { keys } | Source::RedisSortedSet { keys, .. } => keys.len(),
            Source::RedisStream(_) => 2,
            Source::Celery(celery) => celery.queues.len() * celery.priority_steps.len().max(1) + 1,
            Source::Sidekiq(sidekiq) => sidekiq.queues.len() + 2,
            Source::BullMq(bull) => 5 * bull.queues.len(),
            Source::Rq(rq) => 4 * rq.queues.len(),
            Source::Resque(resque) => resque.queues.len() + 1,
            Source::Dramatiq(dramatiq) => 3 * dramatiq.queues.len(),
            Source::Arq(arq) => 2 * arq.queues.len(),
            // All of a database's projections are one statement, but each is a part of it.
            Source::Postgres(postgres) => postgres.names().len().max(1),
            Source::PrometheusQuery(_) | Source::PrometheusScrape(_) | Source::Memory { .. } => 1,
        }
    }

    /// The block's name in a manifest.
    #[must_use]
    pub const fn block(&self) -> &'static str {
        match self {
            Source::RedisList(_) => "redisList",
            Source::RedisSet { .. } => "redisSet",
            Source::RedisHash { .. } => "redisHash",
            Source::RedisSortedSet { .. } => "redisSortedSet",
            Source::RedisStream(_) => "redisStream",
            Source::Celery(_) => "celery",
            Source::Sidekiq(_) => "sidekiq",
            Source::BullMq(_) => "bullmq",
            Source::Rq(_) => "rq",
            Source::Resque(_) => "resque",
            Source::Dramatiq(_) => "dramatiq",
            Source::Arq(_) => "arq",
            Source::Postgres(_) => "postgres",
            Source::PrometheusQuery(_) => "prometheusQuery",
            Source::PrometheusScrape(_) => "prometheusScrape",
            Source::Memory { .. } => "memory",
        }
    }

    /// Whether a Redis holds it.
    #[must_use]
    pub const fn is_on_redis(&self) -> bool {
        !matches!(
            self,
            Source::Postgres(_) | Source::PrometheusQuery(_) | Source::PrometheusScrape(_) | Source::Memory { .. }
        )
    }

    /// Whether it shows work that is being done.
    #[must_use]
    pub fn shows_in_flight(&self) -> bool {
        match self {
            Source::RedisList(list) => !list.processing.is_empty(),
            Source::RedisStream(stream) => stream.backlog == StreamBacklog::Lag,
            Source::Celery(celery) => celery.in_flight != CeleryInFlight::None,
            Source::Sidekiq(_)
            | Source::BullMq(_)
            | Source::Rq(_)
            | Source::Resque(_)
            | Source::Dramatiq(_)
            | Source::Arq(_) => true,
            Source::RedisSet { .. }
            | Source::RedisHash { .. }
            | Source::RedisSortedSet { .. }
            | Source::Postgres(_)
            | Source::PrometheusQuery(_)
            | Source::PrometheusScrape(_)
            | Source::Memory { .. } => false,
        }
    }

    /// What people call the queues: keys, or queues' names.
    #[must_use]
    pub fn names(&self) -> Vec<&str> {
        match self {
            Source::RedisList(list) => list.keys.iter().chain(&list.matching).map(AsRef::as_ref).collect(),
            Source::RedisStream(stream) => {
                std::iter::once(&stream.key).chain(&stream.group).map(AsRef::as_ref).collect()
            }
            Source::Celery(celery) => celery.queues.iter().chain(&celery.bound_to).map(AsRef::as_ref).collect(),
            Source::Postgres(postgres) => postgres.names(),
            Source::PrometheusQuery(written) => written.labels.iter().map(|(_, value)| &**value).collect(),
            Source::PrometheusScrape(written) => vec![&written.metric],
            Source::Memory { queue } => vec![queue],
            Source::RedisSet { keys: names }
            | Source::RedisHash { keys: names }
            | Source::RedisSortedSet { keys: names, .. }
            | Source::Sidekiq(Sidekiq { queues: names, .. })
            | Source::BullMq(BullMq { queues: names, .. })
            | Source::Rq(Rq { queues: names, .. })
            | Source::Resque(Resque { queues: names, .. })
            | Source::Dramatiq(Dramatiq { queues: names, .. })
            | Source::Arq(Arq { queues: names, .. }) => names.iter().map(AsRef::as_ref).collect(),
        }
    }
}
