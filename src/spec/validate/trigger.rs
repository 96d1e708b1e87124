//! Triggers: one source, one policy, one connection each.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Head, values};
use crate::spec::grants::{Grants, Lookup};
use crate::spec::limits::{KEYS_PER_AUTOSCALER, KEYS_PER_TRIGGER};
use crate::spec::manifest::{Policy as PolicyBody, Trigger};
use crate::spec::report::Report;
use crate::spec::{ConnectionSpec, MilliValue, Policy, Server, Source, TriggerSpec};

/// The position of a trigger travels in 16 bits.
pub(crate) const MAX_TRIGGERS: usize = 1000;

pub(super) fn triggers(written: &[Trigger], head: &Head, grants: &Grants, report: &mut Report<'_>) -> Vec<TriggerSpec> {
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
        if let Some(spec) = one(trigger, name, &path, head, grants, &mut metric_names, report) {
            triggers.push(spec);
        }
    }
    let keys: usize = triggers.iter().map(|trigger| trigger.source.reads()).sum();
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
    let source = source(trigger, path, report);
    let policy = policy(trigger.policy.as_ref(), &format!("{path}.policy"), report);
    let connection = connection(trigger, source.as_ref(), path, head, grants, report);
    let activation_threshold = activation_threshold(trigger, path, report);
    let source = source?;
    let metric_name = unique(&metric_name(&source), metric_names);
    Some(TriggerSpec {
        name: name.into(),
        metric_name: metric_name.into(),
        connection: connection?,
        source,
        policy: policy?,
        activation_threshold,
    })
}

fn source(trigger: &Trigger, path: &str, report: &mut Report<'_>) -> Option<Source> {
    report.exactly_one(
        path,
        "source block",
        &[("redisList", trigger.redis_list.is_some()), ("memory", trigger.memory.is_some())],
        "redisList: { keys: [jobs] }",
    );
    if let Some(list) = &trigger.redis_list {
        let path = format!("{path}.redisList.keys");
        let written = list.keys.as_deref().unwrap_or_default();
        if written.is_empty() {
            report.problem(&path, "at least one key is needed, found none", "e.g. keys: [jobs]");
        }
        if written.len() > KEYS_PER_TRIGGER {
            let message = format!("{} keys are more than {KEYS_PER_TRIGGER}", written.len());
            report.problem(&path, message, "spread them over several autoscalers: so long a sum tells nobody anything");
        }
        let mut known = HashSet::new();
        let mut keys: Vec<Arc<str>> = Vec::with_capacity(written.len());
        for (i, key) in written.iter().take(KEYS_PER_TRIGGER).enumerate() {
            let path = format!("{path}[{i}]");
            if key.is_empty() {
                report.problem(&path, "an empty key", "write the key's name, or take the entry out");
            } else if !known.insert(key.as_str()) {
                report.problem(&path, format!("key `{key}` stands here twice and would count twice"), "take one out");
            }
            keys.push(Arc::from(key.as_str()));
        }
        return Some(Source::RedisList { keys });
    }
    let memory = trigger.memory.as_ref()?;
    let queue = values::text(memory.queue.as_deref(), &format!("{path}.memory.queue"), "queue: jobs", report);
    Some(Source::Memory { queue: queue.into() })
}

fn policy(written: Option<&PolicyBody>, path: &str, report: &mut Report<'_>) -> Option<Policy> {
    let nothing = PolicyBody::default();
    let written = written.unwrap_or(&nothing);
    report.exactly_one(
        path,
        "policy block",
        &[("backlogPerReplica", written.backlog_per_replica.is_some()), ("fixed", written.fixed.is_some())],
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
    let fixed = written.fixed.as_ref()?;
    if fixed.replicas.is_none() {
        report.problem(&format!("{path}.fixed.replicas"), "missing: how many replicas", "e.g. replicas: 5");
    }
    Some(Policy::Fixed { replicas: fixed.replicas? })
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

fn connection(
    trigger: &Trigger,
    source: Option<&Source>,
    path: &str,
    head: &Head,
    grants: &Grants,
    report: &mut Report<'_>,
) -> Option<Arc<ConnectionSpec>> {
    let connection = match (&head.connection, trigger.connection.as_deref()) {
        (Some(given), _) => Arc::clone(given),
        (None, Some(name)) => by_name(name, path, &head.id.namespace, grants, report)?,
        // The embedded queues are there anyway.
        (None, None) if matches!(source, Some(Source::Memory { .. })) => {
            Arc::new(ConnectionSpec { name: Arc::from("memory"), server: Server::Memory })
        }
        (None, None) => {
            report.problem(
                &format!("{path}.connection"),
                "missing: the server that holds the queue",
                "name a Connection of this namespace, e.g. connection: redis-main",
            );
            return None;
        }
    };
    let (fits, kind, block) = match (source, &connection.server) {
        (Some(Source::RedisList { .. }), Server::Memory) => (false, "memory", "memory: { queue: jobs }"),
        (Some(Source::Memory { .. }), Server::Redis(_)) => (false, "redis", "redisList: { keys: [jobs] }"),
        _ => (true, "", ""),
    };
    if !fits {
        report.problem(
            &format!("{path}.connection"),
            format!("Connection `{}` is of kind {kind} and cannot read this source", connection.name),
            format!("name another Connection, or write {block}"),
        );
    }
    Some(connection)
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

/// The metric's name towards KEDA: its own scaler's, `redis-` and the list's name, for lists.
///
/// The name becomes a segment of a URL path, so everything but letters, digits, `-` and `_` turns into `-`. Different
/// keys may therefore have equal metric names (`a.b` and `a:b`, as with KEDA's own scaler); inside one autoscaler
/// [`unique`] tells them apart, and between ScaledObjects it does not matter.
pub(crate) fn metric_name(source: &Source) -> String {
    let (prefix, names) = match source {
        Source::RedisList { keys } => ("redis", keys.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join("-")),
        Source::Memory { queue } => ("memory", queue.to_string()),
    };
    let safe = names.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' });
    format!("{prefix}-{}", safe.collect::<String>())
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
