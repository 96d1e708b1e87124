//! Source blocks: which of them is written, and what it means.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{events, series, values};
use crate::spec::limits::KEYS_PER_TRIGGER;
use crate::spec::manifest::{self, InFlight, Trigger};
use crate::spec::report::Report;
use crate::spec::{
    Arq, BullMq, Celery, CeleryInFlight, Dramatiq, Partitioning, Postgres, PostgresRead, RedisList, RedisStream,
    Resque, Rq, ScoreUnit, Sidekiq, Source, StreamBacklog,
};

/// Patterns of keys in one trigger: each is a walk through the whole database.
const PATTERNS: usize = 16;

/// Kombu's own defaults (its Redis transport, 5.6).
const PRIORITY_STEPS: [u8; 4] = [0, 3, 6, 9];
const SEPARATOR: &str = "\u{6}\u{16}";
const VISIBILITY_TIMEOUT: Duration = Duration::from_secs(3600);

/// An entry of a list of names.
pub(super) struct Noun {
    pub(super) one: &'static str,
    pub(super) example: &'static str,
}

const KEY: Noun = Noun { one: "key", example: "keys: [jobs]" };
const QUEUE: Noun = Noun { one: "queue", example: "queues: [default]" };

/// The one source of `trigger`. `None`: none can be made out.
pub(super) fn source(trigger: &Trigger, path: &str, report: &mut Report<'_>) -> Option<Source> {
    let written = [
        ("redisList", trigger.redis_list.is_some()),
        ("redisSet", trigger.redis_set.is_some()),
        ("redisHash", trigger.redis_hash.is_some()),
        ("redisSortedSet", trigger.redis_sorted_set.is_some()),
        ("redisStream", trigger.redis_stream.is_some()),
        ("celery", trigger.celery.is_some()),
        ("sidekiq", trigger.sidekiq.is_some()),
        ("bullmq", trigger.bullmq.is_some()),
        ("rq", trigger.rq.is_some()),
        ("resque", trigger.resque.is_some()),
        ("dramatiq", trigger.dramatiq.is_some()),
        ("arq", trigger.arq.is_some()),
        ("postgres", trigger.postgres.is_some()),
        ("prometheusQuery", trigger.prometheus_query.is_some()),
        ("prometheusScrape", trigger.prometheus_scrape.is_some()),
        ("memory", trigger.memory.is_some()),
    ];
    report.exactly_one(path, "source block", &written, "redisList: { keys: [jobs] }");
    if let Some(list) = &trigger.redis_list {
        return Some(Source::RedisList(redis_list(list, &format!("{path}.redisList"), report)));
    }
    if let Some(set) = &trigger.redis_set {
        let keys = names(set.keys.as_deref(), &format!("{path}.redisSet.keys"), &KEY, report);
        return Some(Source::RedisSet { keys });
    }
    if let Some(hash) = &trigger.redis_hash {
        let keys = names(hash.keys.as_deref(), &format!("{path}.redisHash.keys"), &KEY, report);
        return Some(Source::RedisHash { keys });
    }
    if let Some(set) = &trigger.redis_sorted_set {
        let keys = names(set.keys.as_deref(), &format!("{path}.redisSortedSet.keys"), &KEY, report);
        let unit = match set.score_unit {
            None | Some(manifest::ScoreUnit::Seconds) => ScoreUnit::Seconds,
            Some(manifest::ScoreUnit::Milliseconds) => ScoreUnit::Millis,
        };
        return Some(Source::RedisSortedSet { keys, unit });
    }
    if let Some(written) = &trigger.redis_stream {
        return Some(Source::RedisStream(stream(written, &format!("{path}.redisStream"), report)));
    }
    if let Some(written) = &trigger.postgres {
        return events::postgres(written, &format!("{path}.postgres"), report).map(Source::Postgres);
    }
    if let Some(written) = &trigger.prometheus_query {
        return Some(Source::PrometheusQuery(series::query(written, &format!("{path}.prometheusQuery"), report)));
    }
    if let Some(written) = &trigger.prometheus_scrape {
        return Some(Source::PrometheusScrape(series::scrape(written, &format!("{path}.prometheusScrape"), report)));
    }
    framework(trigger, path, report)
}

/// What is made of how its workers divide the work.
pub(super) fn partitioning(trigger: &Trigger, source: &Source, path: &str, report: &mut Report<'_>) -> Partitioning {
    match (&trigger.postgres, source) {
        (Some(written), Source::Postgres(source)) => {
            events::partitioning(written, source, &format!("{path}.postgres"), report)
        }
        _ => Partitioning::default(),
    }
}

fn framework(trigger: &Trigger, path: &str, report: &mut Report<'_>) -> Option<Source> {
    let queues = |written: &Option<Vec<String>>, block: &str, report: &mut Report<'_>| {
        names(written.as_deref(), &format!("{path}.{block}.queues"), &QUEUE, report)
    };
    if let Some(written) = &trigger.celery {
        return Some(Source::Celery(celery(written, &format!("{path}.celery"), report)));
    }
    if let Some(written) = &trigger.sidekiq {
        let queues = queues(&written.queues, "sidekiq", report);
        return Some(Source::Sidekiq(Sidekiq { queues, oldest_age: written.oldest_age.unwrap_or(true) }));
    }
    if let Some(written) = &trigger.bullmq {
        let queues = queues(&written.queues, "bullmq", report);
        let prefix = prefix(written.prefix.as_deref(), "bull", &format!("{path}.bullmq.prefix"), report);
        return Some(Source::BullMq(BullMq { queues, prefix, oldest_age: written.oldest_age.unwrap_or(true) }));
    }
    if let Some(written) = &trigger.rq {
        let queues = queues(&written.queues, "rq", report);
        return Some(Source::Rq(Rq { queues, oldest_age: written.oldest_age.unwrap_or(true) }));
    }
    if let Some(written) = &trigger.resque {
        let queues = queues(&written.queues, "resque", report);
        let namespace = prefix(written.namespace.as_deref(), "resque", &format!("{path}.resque.namespace"), report);
        return Some(Source::Resque(Resque { queues, namespace }));
    }
    if let Some(written) = &trigger.dramatiq {
        let queues = queues(&written.queues, "dramatiq", report);
        let path = format!("{path}.dramatiq.namespace");
        let namespace = prefix(written.namespace.as_deref(), "dramatiq", &path, report);
        return Some(Source::Dramatiq(Dramatiq { queues, namespace, oldest_age: written.oldest_age.unwrap_or(true) }));
    }
    if let Some(written) = &trigger.arq {
        let queues = queues(&written.queues, "arq", report);
        return Some(Source::Arq(Arq { queues, oldest_age: written.oldest_age.unwrap_or(true) }));
    }
    let memory = trigger.memory.as_ref()?;
    let queue = values::text(memory.queue.as_deref(), &format!("{path}.memory.queue"), "queue: jobs", report);
    Some(Source::Memory { queue: queue.into() })
}

/// Where in-flight work shows, if written.
pub(super) fn in_flight(
    written: Option<&InFlight>,
    source: Option<&Source>,
    path: &str,
    report: &mut Report<'_>,
) -> Option<Source> {
    let written = written?;
    let path = format!("{path}.inFlight");
    if let Some(source) = source.filter(|source| source.shows_in_flight()) {
        let message = format!("{} shows work in flight by itself, and this would count it twice", source.block());
        report.problem(&path, message, "take inFlight out");
    }
    report.exactly_one(
        &path,
        "source block",
        &[
            ("redisList", written.redis_list.is_some()),
            ("redisSet", written.redis_set.is_some()),
            ("redisHash", written.redis_hash.is_some()),
            ("postgres", written.postgres.is_some()),
            ("prometheusQuery", written.prometheus_query.is_some()),
            ("prometheusScrape", written.prometheus_scrape.is_some()),
        ],
        "redisList: { keys: [jobs:processing] }",
    );
    if let Some(list) = &written.redis_list {
        let path = format!("{path}.redisList");
        if list.processing.is_some() {
            report.problem(&format!("{path}.processing"), "has no meaning here", "write these lists as keys");
        }
        return Some(Source::RedisList(redis_list(list, &path, report)));
    }
    if let Some(set) = &written.redis_set {
        let keys = names(set.keys.as_deref(), &format!("{path}.redisSet.keys"), &KEY, report);
        return Some(Source::RedisSet { keys });
    }
    if let Some(written) = &written.postgres {
        let path = format!("{path}.postgres.query");
        let example = "query: \"select count(*) from jobs where started_at is not null\"";
        let query = values::text(written.query.as_deref(), &path, example, report);
        return Some(Source::Postgres(Postgres { read: PostgresRead::Query(query.into()), listen: None }));
    }
    if let Some(written) = &written.prometheus_query {
        return Some(Source::PrometheusQuery(series::query(written, &format!("{path}.prometheusQuery"), report)));
    }
    if let Some(written) = &written.prometheus_scrape {
        return Some(Source::PrometheusScrape(series::scrape(written, &format!("{path}.prometheusScrape"), report)));
    }
    let hash = written.redis_hash.as_ref()?;
    Some(Source::RedisHash { keys: names(hash.keys.as_deref(), &format!("{path}.redisHash.keys"), &KEY, report) })
}

fn redis_list(written: &manifest::RedisList, path: &str, report: &mut Report<'_>) -> RedisList {
    let mut matching = Vec::new();
    if let Some(patterns) = &written.keys_matching {
        let path = format!("{path}.keysMatching");
        matching =
            names(Some(patterns), &path, &Noun { one: "pattern", example: "keysMatching: [\"jobs:*\"]" }, report);
        if matching.len() > PATTERNS {
            let message = format!("{} patterns are more than {PATTERNS}", matching.len());
            report.problem(&path, message, "write patterns that match more keys, or spread them over several triggers");
            matching.truncate(PATTERNS);
        }
    }
    // Patterns alone will do.
    let keys = match &written.keys {
        None if written.keys_matching.is_some() => Vec::new(),
        keys => names(keys.as_deref(), &format!("{path}.keys"), &KEY, report),
    };
    let processing = match &written.processing {
        None => Vec::new(),
        lists => names(lists.as_deref(), &format!("{path}.processing"), &KEY, report),
    };
    if let Some(both) = processing.iter().find(|key| keys.contains(key)) {
        report.problem(
            &format!("{path}.processing"),
            format!("key `{both}` stands under keys as well, and would count as waiting and as in flight"),
            "take one out",
        );
    }
    RedisList { keys, matching, processing }
}

fn stream(written: &manifest::RedisStream, path: &str, report: &mut Report<'_>) -> RedisStream {
    let key = values::text(written.key.as_deref(), &format!("{path}.key"), "key: orders", report);
    let backlog = match written.backlog {
        None | Some(manifest::StreamBacklog::Lag) => StreamBacklog::Lag,
        Some(manifest::StreamBacklog::Pending) => StreamBacklog::Pending,
        Some(manifest::StreamBacklog::Length) => StreamBacklog::Length,
    };
    let group_path = format!("{path}.group");
    let group = match (&written.group, backlog) {
        (None, StreamBacklog::Length) => None,
        (Some(_), StreamBacklog::Length) => {
            report.warn(&group_path, "has no meaning where the backlog is the stream's length", "take it out");
            None
        }
        (group, _) => Some(values::text(group.as_deref(), &group_path, "group: workers", report)),
    };
    RedisStream { key: key.into(), group: group.map(Into::into), backlog }
}

fn celery(written: &manifest::Celery, path: &str, report: &mut Report<'_>) -> Celery {
    // An exchange alone will do.
    let queues = match &written.queues {
        None if written.bound_to.is_some() => Vec::new(),
        queues => names(queues.as_deref(), &format!("{path}.queues"), &QUEUE, report),
    };
    let bound_to = written
        .bound_to
        .as_deref()
        .map(|exchange| values::text(Some(exchange), &format!("{path}.boundTo"), "boundTo: celery", report).into());
    let mut priority_steps = PRIORITY_STEPS.to_vec();
    if let Some(steps) = &written.priority_steps {
        let path = format!("{path}.prioritySteps");
        priority_steps = steps.iter().filter_map(|step| u8::try_from(*step).ok().filter(|step| *step <= 9)).collect();
        if priority_steps.is_empty() || priority_steps.len() < steps.len() {
            report.problem(&path, "steps are numbers from 0 to 9, at least one", "e.g. [0, 3, 6, 9]");
        } else if !priority_steps.is_sorted_by(|a, b| a < b) {
            report.problem(&path, "steps must ascend", "write them as the transport option has them: [0, 3, 6, 9]");
        }
    }
    Celery {
        queues,
        bound_to,
        priority_steps,
        separator: written.separator.as_deref().unwrap_or(SEPARATOR).into(),
        global_keyprefix: written.global_keyprefix.as_deref().unwrap_or_default().into(),
        in_flight: match written.in_flight {
            None | Some(manifest::CeleryInFlight::ByQueue) => CeleryInFlight::ByQueue,
            Some(manifest::CeleryInFlight::All) => CeleryInFlight::All,
            Some(manifest::CeleryInFlight::None) => CeleryInFlight::None,
        },
        visibility_timeout: values::duration(
            written.visibility_timeout.as_ref(),
            &format!("{path}.visibilityTimeout"),
            values::Limits { min: Duration::from_secs(1), ..values::ANY },
            VISIBILITY_TIMEOUT,
            report,
        ),
    }
}

/// A prefix of keys: its default where it is not written.
fn prefix(written: Option<&str>, default: &str, path: &str, report: &mut Report<'_>) -> Arc<str> {
    match written {
        None => default.into(),
        Some(written) => values::text(Some(written), path, default, report).into(),
    }
}

/// Names of keys or queues: at least one, none empty, none twice.
pub(super) fn names(written: Option<&[String]>, path: &str, noun: &Noun, report: &mut Report<'_>) -> Vec<Arc<str>> {
    let written = written.unwrap_or_default();
    let Noun { one, example } = noun;
    if written.is_empty() {
        report.problem(path, format!("at least one {one} is needed, found none"), format!("e.g. {example}"));
    }
    if written.len() > KEYS_PER_TRIGGER {
        let message = format!("{} {one}s are more than {KEYS_PER_TRIGGER}", written.len());
        report.problem(path, message, "spread them over several autoscalers: so long a sum tells nobody anything");
    }
    let mut known = HashSet::new();
    let mut names: Vec<Arc<str>> = Vec::with_capacity(written.len().min(KEYS_PER_TRIGGER));
    for (i, name) in written.iter().take(KEYS_PER_TRIGGER).enumerate() {
        let path = format!("{path}[{i}]");
        if name.is_empty() {
            let cure = format!("write the {one}'s name, or take the entry out");
            report.problem(&path, format!("an empty {one}"), cure);
        } else if !known.insert(name.as_str()) {
            report.problem(&path, format!("{one} `{name}` stands here twice and would count twice"), "take one out");
        }
        names.push(Arc::from(name.as_str()));
    }
    names
}
