//! What a custom resource must be, beyond its types: defaults, bounds, and rules with their messages.
//!
//! Paths are those of a manifest, `[]` for the entries of a list. Everything here is also said by validation, in the
//! same words: the server only says it sooner. What a rule cannot see (another object, an annotation, the namespace) is
//! left to validation, which reports it in the status.

mod cel;
mod choices;
mod refused;

use serde_json::{Value, json};

pub(super) use cel::{RULES, Rule};
pub(super) use choices::EXACTLY_ONE;
pub(super) use refused::{REFUSED, Refused};

use super::Kind;

/// A default. It must be what validation would have filled in; what depends on another field has none here.
#[derive(Clone, Copy)]
pub(super) enum Default {
    Number(i32),
    Text(&'static str),
    Flag(bool),
}

impl Default {
    pub(super) fn json(self) -> Value {
        match self {
            Default::Number(number) => json!(number),
            Default::Text(text) => json!(text),
            Default::Flag(flag) => json!(flag),
        }
    }
}

pub(super) const DEFAULTS: [(&str, Default); 36] = [
    ("spec.scaleTargetRef.kind", Default::Text("Deployment")),
    ("spec.minReplicas", Default::Number(0)),
    ("spec.maxReplicas", Default::Number(100)),
    ("spec.dryRun", Default::Flag(false)),
    ("spec.restoreToOriginalReplicaCount", Default::Flag(false)),
    ("spec.pollingInterval", Default::Text("1s")),
    ("spec.cooldownPeriod", Default::Text("300s")),
    ("spec.initialCooldownPeriod", Default::Text("0s")),
    ("spec.triggers[].activationThreshold", Default::Number(0)),
    ("spec.triggers[].share", Default::Number(1)),
    ("spec.behavior.scaleUp.stabilizationWindowSeconds", Default::Number(0)),
    ("spec.behavior.scaleUp.selectPolicy", Default::Text("Max")),
    ("spec.behavior.scaleUp.tolerance", Default::Number(0)),
    ("spec.behavior.scaleDown.stabilizationWindowSeconds", Default::Number(300)),
    ("spec.behavior.scaleDown.selectPolicy", Default::Text("Max")),
    ("spec.behavior.scaleDown.tolerance", Default::Number(0)),
    ("spec.fallback.after", Default::Text("30s")),
    ("spec.fallback.behavior", Default::Text("hold")),
    ("spec.redis.database", Default::Number(0)),
    ("spec.redis.connectTimeout", Default::Text("1s")),
    ("spec.redis.responseTimeout", Default::Text("1s")),
    ("spec.redis.readFrom", Default::Text("primary")),
    ("spec.redis.tls.insecureSkipVerify", Default::Flag(false)),
    ("spec.redis.sentinel.tls.insecureSkipVerify", Default::Flag(false)),
    ("spec.triggers[].prometheusQuery.ignoreNullValues", Default::Flag(false)),
    ("spec.triggers[].prometheusScrape.combine", Default::Text("sum")),
    ("spec.postgres.connectTimeout", Default::Text("1s")),
    ("spec.postgres.responseTimeout", Default::Text("1s")),
    ("spec.postgres.tls.insecureSkipVerify", Default::Flag(false)),
    ("spec.prometheus.connectTimeout", Default::Text("1s")),
    ("spec.prometheus.responseTimeout", Default::Text("3s")),
    ("spec.prometheus.tls.insecureSkipVerify", Default::Flag(false)),
    ("spec.scrape.connectTimeout", Default::Text("1s")),
    ("spec.scrape.responseTimeout", Default::Text("1s")),
    ("spec.scrape.tls.insecureSkipVerify", Default::Flag(false)),
    ("spec.scrape.pods.path", Default::Text("/metrics")),
];

/// Fields without which a block means nothing. The server says so by itself.
pub(super) const REQUIRED: [(&str, &[&str]); 42] = [
    ("spec.scaleTargetRef", &["name"]),
    ("spec.triggers[]", &["policy"]),
    ("spec.triggers[].redisSet", &["keys"]),
    ("spec.triggers[].redisHash", &["keys"]),
    ("spec.triggers[].redisSortedSet", &["keys"]),
    ("spec.triggers[].redisStream", &["key"]),
    ("spec.triggers[].sidekiq", &["queues"]),
    ("spec.triggers[].bullmq", &["queues"]),
    ("spec.triggers[].rq", &["queues"]),
    ("spec.triggers[].resque", &["queues"]),
    ("spec.triggers[].dramatiq", &["queues"]),
    ("spec.triggers[].arq", &["queues"]),
    ("spec.triggers[].policy.load", &["jobDuration"]),
    ("spec.triggers[].memory", &["queue"]),
    ("spec.triggers[].policy.backlogPerReplica", &["target"]),
    ("spec.triggers[].policy.fixed", &["replicas"]),
    ("spec.redis.tls.caFrom", &["secretKeyRef"]),
    ("spec.redis.tls.certFrom", &["secretKeyRef"]),
    ("spec.redis.tls.keyFrom", &["secretKeyRef"]),
    ("spec.redis.sentinel", &["addresses", "master"]),
    ("spec.redis.sentinel.tls.caFrom", &["secretKeyRef"]),
    ("spec.redis.sentinel.tls.certFrom", &["secretKeyRef"]),
    ("spec.redis.sentinel.tls.keyFrom", &["secretKeyRef"]),
    ("spec.redis.cluster", &["addresses"]),
    ("spec.triggers[].prometheusQuery", &["query"]),
    ("spec.triggers[].prometheusScrape", &["metric"]),
    ("spec.triggers[].postgres.pupsourcingOrchestrator", &["projections", "replicaSet"]),
    ("spec.triggers[].postgres.messageDb", &["category", "positionStreams"]),
    (
        "spec.triggers[].postgres.checkpoint",
        &["checkpointsName", "checkpointsPosition", "checkpointsTable", "eventsPosition", "eventsTable"],
    ),
    ("spec.triggers[].postgres.checkpoint.scope", &["column", "values"]),
    ("spec.prometheus", &["url"]),
    ("spec.postgres.tls.caFrom", &["secretKeyRef"]),
    ("spec.postgres.tls.certFrom", &["secretKeyRef"]),
    ("spec.postgres.tls.keyFrom", &["secretKeyRef"]),
    ("spec.prometheus.tls.caFrom", &["secretKeyRef"]),
    ("spec.prometheus.tls.certFrom", &["secretKeyRef"]),
    ("spec.prometheus.tls.keyFrom", &["secretKeyRef"]),
    ("spec.scrape.tls.caFrom", &["secretKeyRef"]),
    ("spec.scrape.tls.certFrom", &["secretKeyRef"]),
    ("spec.scrape.tls.keyFrom", &["secretKeyRef"]),
    ("spec.behavior.scaleUp.policies[]", &["periodSeconds", "type", "value"]),
    ("spec.behavior.scaleDown.policies[]", &["periodSeconds", "type", "value"]),
];

/// The same for whole bodies.
pub(super) const REQUIRED_OF_KIND: [(Kind, &[&str]); 2] =
    [(Kind::QueueAutoscaler, &["scaleTargetRef", "triggers"]), (Kind::ClusterConnection, &["allowedNamespaces"])];

/// Most entries of a list.
pub(super) const LISTS: [(&str, usize); 2] = [
    ("spec.triggers", crate::spec::validate::MAX_TRIGGERS),
    ("spec.triggers[].redisList.keys", crate::spec::limits::KEYS_PER_TRIGGER),
];

/// Limits of durations.
pub(super) const DURATIONS: [(&str, &str, &str); 19] = [
    ("spec.pollingInterval", "50ms", "10m"),
    ("spec.cooldownPeriod", "0s", "8760h"),
    ("spec.initialCooldownPeriod", "0s", "8760h"),
    ("spec.maxSampleAge", "0s", "8760h"),
    ("spec.fallback.after", "0s", "8760h"),
    ("spec.triggers[].celery.visibilityTimeout", "1s", "8760h"),
    ("spec.triggers[].policy.load.jobDuration", "1ms", "24h"),
    ("spec.triggers[].policy.load.drainWithin", "10ms", "24h"),
    ("spec.redis.connectTimeout", "10ms", "1m"),
    ("spec.redis.responseTimeout", "10ms", "1m"),
    ("spec.triggers[].postgres.rebalanceTimeout", "0s", "8760h"),
    ("spec.triggers[].postgres.pupsourcingOrchestrator.staleAfter", "1s", "8760h"),
    ("spec.triggers[].postgres.pupsourcing.staleAfter", "1s", "8760h"),
    ("spec.postgres.connectTimeout", "10ms", "1m"),
    ("spec.postgres.responseTimeout", "10ms", "1m"),
    ("spec.prometheus.connectTimeout", "10ms", "1m"),
    ("spec.prometheus.responseTimeout", "10ms", "1m"),
    ("spec.scrape.connectTimeout", "10ms", "1m"),
    ("spec.scrape.responseTimeout", "10ms", "1m"),
];

/// What a quantity may be.
#[derive(Clone, Copy)]
pub(super) enum Sign {
    Any,
    NotNegative,
    Positive,
}

pub(super) const QUANTITIES: [(&str, Sign); 6] = [
    ("spec.triggers[].share", Sign::Positive),
    ("spec.triggers[].policy.backlogPerReplica.target", Sign::Positive),
    ("spec.triggers[].policy.load.slotsPerReplica", Sign::Positive),
    ("spec.triggers[].policy.load.utilization", Sign::Positive),
    ("spec.behavior.scaleUp.tolerance", Sign::NotNegative),
    ("spec.behavior.scaleDown.tolerance", Sign::NotNegative),
];

/// Kubernetes' own grammar of quantities.
pub(super) const QUANTITY: &str = "^[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";
pub(super) const QUANTITY_NOT_NEGATIVE: &str =
    "^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";
/// With a digit that is not zero.
pub(super) const QUANTITY_POSITIVE: &str =
    "^[+]?([0-9]*[1-9][0-9]*([.][0-9]*)?|[0-9]*[.][0-9]*[1-9][0-9]*)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?$";

/// Times in the status.
pub(super) const TIMES: [&str; 3] =
    ["status.lastScaleTime", "status.triggers[].sampledAt", "status.conditions[].lastTransitionTime"];

/// Lists of the status whose entries have a key, and what every entry has.
pub(super) const KEYED: [(&str, &str, &[&str]); 2] = [
    ("status.triggers", "name", &["name"]),
    ("status.conditions", "type", &["lastTransitionTime", "message", "reason", "status", "type"]),
];
