//! What holds of every answer, whatever was asked: problems are short and come with a cure, secrets stay where they
//! are, and what was validated keeps its ranges.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tidegate::spec::problem::Problem;
use tidegate::spec::{
    AutoscalerSpec, Behavior, ConnectionSpec, MilliValue, Origin, Policy, ScalingRules, Server, Source, StreamBacklog,
    unix_socket,
};

/// Stands for a password. Nothing in any dictionary or corpus contains it by chance.
pub const SECRET: &str = "pL4nt3dS3cr3t";

/// A problem on its line: two or three sentences with what was found quoted in part.
const LONGEST_PROBLEM: usize = 2000;

/// Everything that one answer may say. A gRPC error travels as a header, of which clients take 16 KiB by default; three
/// bytes for each that has to be escaped.
pub const LONGEST_STATUS: usize = 5 << 10;

pub fn problem(problem: &Problem) -> Result<(), String> {
    let line = problem.to_string();
    if line.len() > LONGEST_PROBLEM {
        return Err(format!("a problem of {} bytes: {line}", line.len()));
    }
    if line.contains(char::is_control) {
        return Err(format!("a control character in {line:?}"));
    }
    if problem.message.is_empty() || problem.cure.is_empty() {
        return Err(format!("no message or no cure: {problem:?}"));
    }
    Ok(())
}

/// Whether every `SECRET` in `text` stands before an `@`, as in URLs.
pub fn only_as_userinfo(text: &str) -> bool {
    text.rfind(SECRET).is_none_or(|at| text[at..].contains('@'))
}

/// What validation promises of a spec; `spec/mod.rs` and `spec/manifest.rs` have the words.
pub fn spec(spec: &AutoscalerSpec) -> Result<(), String> {
    let holds = |what: &str, holds: bool| if holds { Ok(()) } else { Err(format!("not so: {what}: {spec:?}")) };
    let bounds = spec.bounds;
    holds("0 <= min <= max, 1 <= max", 0 <= bounds.min && bounds.min <= bounds.max && bounds.max >= 1)?;
    holds("0 <= idle < min", bounds.idle.is_none_or(|idle| 0 <= idle && idle < bounds.min))?;
    let interval = spec.polling_interval;
    holds(
        "50ms <= pollingInterval <= 10m",
        (Duration::from_millis(50)..=Duration::from_secs(600)).contains(&interval),
    )?;
    holds("maxSampleAge >= pollingInterval", spec.max_sample_age >= interval)?;
    let year = Duration::from_secs(365 * 24 * 3600);
    let ages = [spec.max_sample_age, spec.cooldown, spec.initial_cooldown, spec.fallback.after];
    holds("durations of at most a year", ages.iter().all(|age| *age <= year))?;
    holds("1 to 1000 triggers", (1..=1000).contains(&spec.triggers.len()))?;
    holds("a target in manifests only", spec.target.is_some() == (spec.origin == Origin::Manifest))?;
    holds("names", is_name(&spec.id.namespace) && is_name(&spec.id.name))?;
    let names: HashSet<_> = spec.triggers.iter().map(|trigger| &trigger.name).collect();
    let metrics: HashSet<_> = spec.triggers.iter().map(|trigger| &trigger.metric_name).collect();
    holds("unique names", names.len() == spec.triggers.len() && metrics.len() == spec.triggers.len())?;
    for trigger in &spec.triggers {
        holds("a metric's name", is_metric_name(&trigger.metric_name))?;
        holds("a finite threshold", trigger.activation_threshold.is_finite())?;
        holds(
            "a policy in range",
            match trigger.policy {
                Policy::BacklogPerReplica { target } => target >= MilliValue(1),
                Policy::Fixed { replicas } => replicas >= 1,
                Policy::Load(load) => {
                    load.slots_per_replica >= MilliValue(1)
                        && (MilliValue(1)..=MilliValue(1000)).contains(&load.utilization)
                        && !load.job_duration.is_zero()
                        && !load.drain_within.is_zero()
                        && trigger.shows_in_flight()
                }
            },
        )?;
        holds(
            "a source that its connection has",
            match (&trigger.source, &trigger.connection.server) {
                (source @ Source::Memory { .. }, Server::Memory)
                | (source @ Source::Postgres(_), Server::Postgres(_))
                | (source @ Source::PrometheusQuery(_), Server::Prometheus(_))
                | (source @ Source::PrometheusScrape(_), Server::Scrape(_)) => {
                    let alike = |other: &Source| other.block() == source.block() && source_in_range(other);
                    source_in_range(source) && trigger.in_flight.as_ref().is_none_or(alike)
                }
                (source, Server::Redis(_)) if source.is_on_redis() => {
                    let on_redis = |other: &Source| other.is_on_redis() && source_in_range(other);
                    source_in_range(source) && trigger.in_flight.as_ref().is_none_or(on_redis)
                }
                _ => false,
            },
        )?;
        connection(&trigger.connection)?;
    }
    match &spec.behavior {
        Behavior::Rules { up, down } => holds("rules in range", rules_in_range(up) && rules_in_range(down))?,
        Behavior::HpaWithoutBehavior { .. } => holds("no behavior", false)?,
    }
    Ok(())
}

/// Names are there, none is empty, none counts twice; and of lists there are no more than a round can bear.
fn source_in_range(source: &Source) -> bool {
    let distinct = |names: &[Arc<str>]| {
        let unique: HashSet<_> = names.iter().collect();
        unique.len() == names.len() && names.len() <= 1000 && names.iter().all(|name| !name.is_empty())
    };
    let some = |names: &[Arc<str>]| !names.is_empty() && distinct(names);
    match source {
        Source::RedisList(list) => {
            let apart = list.processing.iter().all(|key| !list.keys.contains(key));
            let lists = [&list.keys, &list.matching, &list.processing];
            apart
                && lists.into_iter().all(|names| distinct(names))
                && list.matching.len() <= 16
                && !(list.keys.is_empty() && list.matching.is_empty())
        }
        Source::RedisSet { keys } | Source::RedisHash { keys } | Source::RedisSortedSet { keys, .. } => some(keys),
        Source::RedisStream(stream) => {
            let group = stream.group.as_ref().is_some_and(|group| !group.is_empty());
            !stream.key.is_empty() && group == (stream.backlog != StreamBacklog::Length)
        }
        Source::Celery(celery) => {
            let steps = &celery.priority_steps;
            (some(&celery.queues) || (celery.queues.is_empty() && celery.bound_to.is_some()))
                && celery.bound_to.as_ref().is_none_or(|exchange| !exchange.is_empty())
                && (1..=10).contains(&steps.len())
                && steps.is_sorted_by(|a, b| a < b)
                && steps.iter().all(|step| *step <= 9)
                && (Duration::from_secs(1)..=Duration::from_secs(365 * 24 * 3600)).contains(&celery.visibility_timeout)
        }
        Source::BullMq(bull) => some(&bull.queues) && !bull.prefix.is_empty(),
        Source::Resque(resque) => some(&resque.queues) && !resque.namespace.is_empty(),
        Source::Dramatiq(dramatiq) => some(&dramatiq.queues) && !dramatiq.namespace.is_empty(),
        Source::Sidekiq(sidekiq) => some(&sidekiq.queues),
        Source::Rq(rq) => some(&rq.queues),
        Source::Arq(arq) => some(&arq.queues),
        Source::Postgres(postgres) => {
            let names = postgres.names();
            names.iter().all(|name| !name.is_empty())
                && postgres.listen.as_ref().is_none_or(|channel| (1..=63).contains(&channel.len()))
        }
        Source::PrometheusQuery(query) => !query.query.is_empty(),
        Source::PrometheusScrape(scrape) => !scrape.metric.is_empty(),
        Source::Memory { queue } => !queue.is_empty(),
    }
}

pub fn connection(connection: &ConnectionSpec) -> Result<(), String> {
    let (connect, response) = match &connection.server {
        Server::Redis(redis) => (redis.connect_timeout, redis.response_timeout),
        Server::Postgres(postgres) => (postgres.connect_timeout, postgres.response_timeout),
        Server::Prometheus(http) => (http.connect_timeout, http.response_timeout),
        Server::Scrape(scrape) => (scrape.http.connect_timeout, scrape.http.response_timeout),
        Server::Memory => return Ok(()),
    };
    let timeouts = Duration::from_millis(10)..=Duration::from_secs(60);
    let in_range = timeouts.contains(&connect) && timeouts.contains(&response);
    let is_address = |address: &str| {
        let of_port = address.rsplit_once(':').is_some_and(|(host, port)| {
            let strange = |c: char| c.is_whitespace() || c.is_control() || "/@?#\\\"',*".contains(c);
            !host.is_empty() && !host.contains(strange) && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        of_port || unix_socket(address).is_some()
    };
    let elsewhere = match &connection.server {
        Server::Postgres(postgres) => postgres.url.is_some(),
        Server::Scrape(scrape) => scrape.pods.is_some(),
        _ => false,
    };
    let known = connection.server.addresses();
    let addresses = known.is_empty() == elsewhere && known.into_iter().all(is_address);
    if in_range && addresses {
        Ok(())
    } else {
        Err(format!("not so: an address and timeouts in range: {connection:?}"))
    }
}

fn rules_in_range(rules: &ScalingRules) -> bool {
    let seconds = |duration: Duration, least: u64, most: u64| {
        duration.subsec_nanos() == 0 && (least..=most).contains(&duration.as_secs())
    };
    seconds(rules.stabilization_window, 0, 3600)
        && rules.tolerance.is_finite()
        && rules.tolerance >= 0.0
        && rules.policies.iter().all(|policy| policy.value >= 1 && seconds(policy.period, 1, 1800))
}

/// Of a Kubernetes object; what a registration puts behind it included.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    !name.is_empty() && name.len() <= 253 + 9 && name.chars().all(plain)
}

pub fn is_metric_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}
