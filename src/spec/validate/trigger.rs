//! Triggers: one source, one policy, one connection each.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Given, Head, source, values};
use crate::spec::grants::{Grants, Lookup};
use crate::spec::limits::KEYS_PER_AUTOSCALER;
use crate::spec::manifest::{Load as LoadBody, Policy as PolicyBody, QuantityText, Trigger};
use crate::spec::report::Report;
use crate::spec::{ConnectionSpec, Load, MilliValue, Policy, Server, Source, TriggerSpec};

/// The position of a trigger travels in 16 bits.
pub(crate) const MAX_TRIGGERS: usize = 1000;

/// How soon a backlog is to be gone where nobody says: about what starting a pod takes, below which more replicas
/// come too late to help.
const DRAIN_WITHIN: Duration = Duration::from_secs(30);

/// Longer than any job or patience that scaling is for; keeps arithmetic far from its ends.
const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn triggers(
    written: &[Trigger],
    polling_interval: Duration,
    head: &Head,
    grants: &Grants,
    report: &mut Report<'_>,
) -> Vec<TriggerSpec> {
    if written.is_empty() {
        report.problem(
            "spec.triggers",
            "at least one trigger is needed, found none",
            "e.g. triggers: [{ connection: redis-main, redisList: { keys: [jobs] }, policy: { backlogPerReplica: { target: 10 } } }]",
        );
    }
    if written.len() > MAX_TRIGGERS {
        let message = format!("{} triggers are more than {MAX_TRIGGERS}", written.len());
        report.problem("spec.triggers", message, "write one trigger with several keys");
    }
    let mut names = HashSet::new();
    let mut metric_names = HashSet::new();
    let mut triggers = Vec::new();
    for (i, trigger) in written.iter().take(MAX_TRIGGERS).enumerate() {
        let path = format!("spec.triggers[{i}]");
        let name = name(trigger, i, &path, &mut names, report);
        let age = trigger.max_sample_age.as_ref();
        let max_sample_age = values::sample_age(age, &format!("{path}.maxSampleAge"), polling_interval, report);
        if let Some(spec) = one(trigger, name, &path, head, grants, &mut metric_names, report) {
            triggers.push(TriggerSpec { max_sample_age, ..spec });
        }
    }
    let keys: usize = triggers.iter().map(TriggerSpec::reads).sum();
    if keys > KEYS_PER_AUTOSCALER {
        let message = format!("{keys} keys in all triggers together are more than {KEYS_PER_AUTOSCALER}");
        report.problem("spec.triggers", message, "spread them over several autoscalers: each is read in one round");
    }
    triggers
}

fn name(trigger: &Trigger, i: usize, path: &str, taken: &mut HashSet<String>, report: &mut Report<'_>) -> String {
    let path = format!("{path}.name");
    let name = match trigger.name.as_deref() {
        Some("") => {
            report.problem(&path, "empty", format!("write a name, or take the line out for `trigger-{i}`"));
            format!("trigger-{i}")
        }
        Some(written) => written.to_owned(),
        None => format!("trigger-{i}"),
    };
    if !taken.insert(name.clone()) {
        report.problem(&path, format!("two triggers have the name `{name}`"), "give each its own, or leave name out");
    }
    name
}

fn one(
    trigger: &Trigger,
    name: String,
    path: &str,
    head: &Head,
    grants: &Grants,
    metric_names: &mut HashSet<String>,
    report: &mut Report<'_>,
) -> Option<TriggerSpec> {
    let source = source::source(trigger, path, report);
    let in_flight = source::in_flight(trigger.in_flight.as_ref(), source.as_ref(), path, report);
    let policy = policy(trigger.policy.as_ref(), &format!("{path}.policy"), report);
    let connection = connection(trigger, source.as_ref(), path, head, grants, report);
    let activation_threshold = activation_threshold(trigger, path, report);
    let share = share(trigger, path, report);
    if let (Some(in_flight), Some(connection)) = (&in_flight, &connection)
        && !fits(in_flight, &connection.server)
    {
        let (name, kind) = (&connection.name, connection.server.block());
        report.problem(
            &format!("{path}.inFlight"),
            format!(
                "is read on the trigger's own connection, and `{name}` is of kind {kind}: it has no {}",
                in_flight.block()
            ),
            "write a block that this server can be asked for",
        );
    }
    let source = source?;
    let partitioning = source::partitioning(trigger, &source, path, report);
    let metric_name = unique(&metric_name(&source), metric_names);
    let spec = TriggerSpec {
        name: name.into(),
        metric_name: metric_name.into(),
        connection: connection?,
        source,
        in_flight,
        policy: policy?,
        activation_threshold,
        max_sample_age: None,
        partitioning,
        share,
    };
    if matches!(spec.policy, Policy::Load(_)) && !spec.shows_in_flight() {
        report.problem(
            &format!("{path}.policy.load"),
            format!("load goes by the work in flight, and {} does not show any", spec.source.block()),
            "say where it shows with inFlight, or write backlogPerReplica: { target: 10 }",
        );
    }
    Some(spec)
}

fn policy(written: Option<&PolicyBody>, path: &str, report: &mut Report<'_>) -> Option<Policy> {
    let nothing = PolicyBody::default();
    let written = written.unwrap_or(&nothing);
    report.exactly_one(
        path,
        "policy block",
        &[
            ("backlogPerReplica", written.backlog_per_replica.is_some()),
            ("fixed", written.fixed.is_some()),
            ("load", written.load.is_some()),
        ],
        "backlogPerReplica: { target: 10 }",
    );
    if let Some(rule) = &written.backlog_per_replica {
        let path = format!("{path}.backlogPerReplica.target");
        let Some(text) = &rule.target else {
            report.problem(&path, "missing: how many items may wait for each replica", "e.g. target: 10");
            return None;
        };
        let target = values::quantity(text, &path, report)?;
        if target < MilliValue(1) {
            report.problem(&path, format!("must be above zero, found {}", text.0), "e.g. target: 10");
        }
        return Some(Policy::BacklogPerReplica { target });
    }
    if let Some(written) = &written.load {
        return load(written, &format!("{path}.load"), report).map(Policy::Load);
    }
    let fixed = written.fixed.as_ref()?;
    if fixed.replicas.is_none() {
        report.problem(&format!("{path}.fixed.replicas"), "missing: how many replicas", "e.g. replicas: 5");
    }
    Some(Policy::Fixed { replicas: fixed.replicas? })
}

fn load(written: &LoadBody, path: &str, report: &mut Report<'_>) -> Option<Load> {
    const ONE: MilliValue = MilliValue(1000);
    let positive = |written: Option<&QuantityText>, name: &str, most: MilliValue, report: &mut Report<'_>| {
        let Some(text) = written else { return ONE };
        let path = format!("{path}.{name}");
        match values::quantity(text, &path, report) {
            Some(value) if value < MilliValue(1) || value > most => {
                let upper = if most == ONE { " and at most 1" } else { "" };
                report.problem(
                    &path,
                    format!("must be above zero{upper}, found {}", text.0),
                    format!("e.g. {name}: 1"),
                );
                ONE
            }
            Some(value) => value,
            None => ONE,
        }
    };
    let slots_per_replica =
        positive(written.slots_per_replica.as_ref(), "slotsPerReplica", MilliValue(i64::MAX), report);
    let utilization = positive(written.utilization.as_ref(), "utilization", ONE, report);
    let drain_within = values::duration(
        written.drain_within.as_ref(),
        &format!("{path}.drainWithin"),
        values::Limits { min: Duration::from_millis(10), max: DAY },
        DRAIN_WITHIN,
        report,
    );
    let path = format!("{path}.jobDuration");
    let Some(job_duration) = &written.job_duration else {
        report.problem(&path, "missing: how long one job takes, about", "e.g. jobDuration: 2s");
        return None;
    };
    let limits = values::Limits { min: Duration::from_millis(1), max: DAY };
    let job_duration = values::duration(Some(job_duration), &path, limits, Duration::from_secs(1), report);
    Some(Load { slots_per_replica, job_duration, drain_within, utilization })
}

fn activation_threshold(trigger: &Trigger, path: &str, report: &mut Report<'_>) -> f64 {
    let Some(text) = &trigger.activation_threshold else { return 0.0 };
    let path = format!("{path}.activationThreshold");
    let threshold = values::quantity(text, &path, report);
    if threshold.is_some_and(|threshold| threshold < MilliValue(0)) {
        report.warn(
            &path,
            format!("a backlog is always above {}: the trigger is always active", text.0),
            "if the workload is never to rest, minReplicas: 1 says so better",
        );
    }
    threshold.unwrap_or(MilliValue(0)).as_f64()
}

/// Whether what is written was rounded up: of a share that would be more work than anybody said.
fn is_finer(text: &QuantityText, share: MilliValue) -> bool {
    values::parse_quantity(text).is_ok_and(|written| (written.to_f64() - share.as_f64()).abs() > 1e-9)
}

fn share(trigger: &Trigger, path: &str, report: &mut Report<'_>) -> MilliValue {
    let Some(text) = &trigger.share else { return TriggerSpec::WHOLE };
    let path = format!("{path}.share");
    match values::quantity(text, &path, report) {
        Some(share) if share < MilliValue(1) || share > TriggerSpec::WHOLE => {
            report.problem(
                &path,
                format!("must be above zero and at most 1, found {}", text.0),
                "e.g. share: 0.1 here and 0.9 for the other workload",
            );
            TriggerSpec::WHOLE
        }
        Some(share) if is_finer(text, share) => {
            report.problem(
                &path,
                format!("finer than a thousandth: {}", text.0),
                "write thousandths, e.g. share: 0.001",
            );
            TriggerSpec::WHOLE
        }
        Some(share) => share,
        None => TriggerSpec::WHOLE,
    }
}

fn connection(
    trigger: &Trigger,
    source: Option<&Source>,
    path: &str,
    head: &Head,
    grants: &Grants,
    report: &mut Report<'_>,
) -> Option<Arc<ConnectionSpec>> {
    let connection = match (&head.connection, trigger.connection.as_deref()) {
        (Given::Missing, _) => return None,
        (Given::Found(given), _) => Arc::clone(given),
        (Given::ByName, Some(name)) => by_name(name, path, &head.id.namespace, grants, report)?,
        // The embedded queues are there anyway.
        (Given::ByName, None) if matches!(source, Some(Source::Memory { .. })) => {
            Arc::new(ConnectionSpec { name: Arc::from("memory"), server: Server::Memory })
        }
        (Given::ByName, None) => {
            report.problem(
                &format!("{path}.connection"),
                "missing: the server that holds the queue",
                "name a Connection of this namespace, e.g. connection: redis-main",
            );
            return None;
        }
    };
    if !source.is_none_or(|source| fits(source, &connection.server)) {
        let kind = connection.server.block();
        let block = match &connection.server {
            Server::Redis(_) => "redisList: { keys: [jobs] }",
            Server::Postgres(_) => "postgres: { query: \"select ...\" }",
            Server::Prometheus(_) => "prometheusQuery: { query: sum(jobs_waiting) }",
            Server::Scrape(_) => "prometheusScrape: { metric: jobs_waiting }",
            Server::Memory => "memory: { queue: jobs }",
        };
        report.problem(
            &format!("{path}.connection"),
            format!("Connection `{}` is of kind {kind} and cannot read this source", connection.name),
            format!("name another Connection, or write {block}"),
        );
    }
    Some(connection)
}

/// Whether a server of this kind can be asked for it.
fn fits(source: &Source, server: &Server) -> bool {
    match (source, server) {
        (Source::Memory { .. }, Server::Memory)
        | (Source::Postgres(_), Server::Postgres(_))
        | (Source::PrometheusQuery(_), Server::Prometheus(_))
        | (Source::PrometheusScrape(_), Server::Scrape(_)) => true,
        (source, Server::Redis(_)) => source.is_on_redis(),
        _ => false,
    }
}

fn by_name(
    name: &str,
    path: &str,
    namespace: &str,
    grants: &Grants,
    report: &mut Report<'_>,
) -> Option<Arc<ConnectionSpec>> {
    let path = format!("{path}.connection");
    match grants.look_up(namespace, name) {
        Lookup::Found(connection) => return Some(connection),
        Lookup::Broken => {}
        Lookup::Forbidden => report.problem(
            &path,
            format!("ClusterConnection `{name}` does not allow namespace `{namespace}`"),
            format!("add {namespace} to its spec.allowedNamespaces"),
        ),
        Lookup::Unknown => {
            let cure = match grants.suggest(namespace, name) {
                (Some(meant), _) => format!("did you mean `{meant}`?"),
                (None, usable) if usable.is_empty() => {
                    format!("declare it: kind: Connection, metadata: {{ name: {name}, namespace: {namespace} }}")
                }
                (None, usable) => format!("declare it, or use one of {}", usable.join(", ")),
            };
            report.problem(&path, format!("no Connection `{name}` that namespace `{namespace}` may use"), cure);
        }
    }
    None
}

/// The metric's name towards KEDA: its own scaler's, `redis-` and the list's name, for lists; `redis-streams-` and the
/// stream's for streams; `postgresql` and `prometheus`, with names where there are some, for what is read of these.
///
/// The name becomes a segment of a URL path, so everything but letters, digits, `-` and `_` turns into `-`. Different
/// keys may therefore have equal metric names (`a.b` and `a:b`, as with KEDA's own scaler); inside one autoscaler
/// [`unique`] tells them apart, and between ScaledObjects it does not matter.
pub(crate) fn metric_name(source: &Source) -> String {
    let prefix = match source {
        Source::RedisList(_) | Source::RedisSet { .. } | Source::RedisHash { .. } | Source::RedisSortedSet { .. } => {
            "redis"
        }
        Source::RedisStream(_) => "redis-streams",
        // KEDA's names of these two scalers' metrics.
        Source::Postgres(_) => "postgresql",
        Source::PrometheusQuery(_) | Source::PrometheusScrape(_) => "prometheus",
        framework => framework.block(),
    };
    let names = match source {
        // KEDA's leaves the group out.
        Source::RedisStream(stream) => stream.key.to_string(),
        source => source.names().join("-"),
    };
    let safe = names.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' });
    let safe = safe.collect::<String>();
    if safe.is_empty() { prefix.to_owned() } else { format!("{prefix}-{safe}") }
}

/// `name`, with a number behind it if it is taken.
fn unique(name: &str, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.to_owned();
    let mut next = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}-{next}");
        next += 1;
    }
    candidate
}
