//! What a custom resource must be, beyond its types: defaults, bounds, and rules with their messages.
//!
//! Paths are those of a manifest, `[]` for the entries of a list. Everything here is also said by validation, in the
//! same words: the server only says it sooner. What a rule cannot see (another object, an annotation, the namespace) is
//! left to validation, which reports it in the status.

use serde_json::{Value, json};

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

/// A block of which exactly one must be written. No blocks: every field of the block.
pub(super) struct One {
    pub(super) at: &'static str,
    pub(super) what: &'static str,
    pub(super) blocks: &'static [&'static str],
    pub(super) example: &'static str,
}

pub(super) const EXACTLY_ONE: [One; 21] = [
    One {
        at: "spec",
        what: "server block",
        blocks: &["redis", "postgres", "prometheus", "scrape", "memory"],
        example: "redis: { address: redis-service:6379 }",
    },
    One {
        at: "spec.triggers[]",
        what: "source block",
        blocks: &[
            "redisList",
            "redisSet",
            "redisHash",
            "redisSortedSet",
            "redisStream",
            "celery",
            "sidekiq",
            "bullmq",
            "rq",
            "resque",
            "dramatiq",
            "arq",
            "postgres",
            "prometheusQuery",
            "prometheusScrape",
            "memory",
        ],
        example: "redisList: { keys: [jobs] }",
    },
    One {
        at: "spec.triggers[].inFlight",
        what: "source block",
        blocks: &[],
        example: "redisList: { keys: [jobs:processing] }",
    },
    One {
        at: "spec.triggers[].policy",
        what: "policy block",
        blocks: &[],
        example: "backlogPerReplica: { target: 10 }",
    },
    One {
        at: "spec.redis.usernameFrom",
        what: "place of the user's name",
        blocks: &[],
        example: "secretKeyRef: { name: redis, key: username }",
    },
    One {
        at: "spec.redis.passwordFrom",
        what: "place of the password",
        blocks: &[],
        example: "secretKeyRef: { name: redis, key: password }",
    },
    One {
        at: "spec.redis.sentinel.usernameFrom",
        what: "place of the user's name",
        blocks: &[],
        example: "secretKeyRef: { name: redis, key: username }",
    },
    One {
        at: "spec.redis.sentinel.passwordFrom",
        what: "place of the password",
        blocks: &[],
        example: "secretKeyRef: { name: redis, key: password }",
    },
    One {
        at: "spec.triggers[].postgres",
        what: "of query and the event stores",
        blocks: &["query", "pupsourcingOrchestrator", "pupsourcing", "marten", "messageDb", "eventuous", "checkpoint"],
        example: "pupsourcing: {}",
    },
    One {
        at: "spec.postgres.usernameFrom",
        what: "place of the user's name",
        blocks: &[],
        example: "secretKeyRef: { name: redis, key: username }",
    },
    One {
        at: "spec.postgres.passwordFrom",
        what: "place of the password",
        blocks: &[],
        example: "secretKeyRef: { name: redis, key: password }",
    },
    One {
        at: "spec.prometheus.usernameFrom",
        what: "place of the user's name",
        blocks: &[],
        example: "secretKeyRef: { name: redis, key: username }",
    },
    One {
        at: "spec.prometheus.passwordFrom",
        what: "place of the password",
        blocks: &[],
        example: "secretKeyRef: { name: redis, key: password }",
    },
    One {
        at: "spec.scrape.usernameFrom",
        what: "place of the user's name",
        blocks: &[],
        example: "secretKeyRef: { name: redis, key: username }",
    },
    One {
        at: "spec.scrape.passwordFrom",
        what: "place of the password",
        blocks: &[],
        example: "secretKeyRef: { name: redis, key: password }",
    },
    One {
        at: "spec.postgres.urlFrom",
        what: "place of the URL",
        blocks: &[],
        example: "secretKeyRef: { name: credentials, key: url }",
    },
    One {
        at: "spec.prometheus.bearerTokenFrom",
        what: "place of the token",
        blocks: &[],
        example: "secretKeyRef: { name: credentials, key: token }",
    },
    One {
        at: "spec.scrape.bearerTokenFrom",
        what: "place of the token",
        blocks: &[],
        example: "secretKeyRef: { name: credentials, key: token }",
    },
    One {
        at: "spec.scrape",
        what: "place of the pages",
        blocks: &["url", "pods"],
        example: "url: http://exporter:9121/metrics",
    },
    One {
        at: "spec.scrape.pods",
        what: "way to find pods",
        blocks: &["service", "selector"],
        example: "service: workers",
    },
    One { at: "spec.scrape.pods", what: "port", blocks: &["port", "portName"], example: "port: 9090" },
];

/// What only files may say: a custom resource is written by whoever may, and tidegate's files and variables are none
/// of theirs. The fields stay in the schema, because what is not in it the server drops without a word.
pub(super) struct Refused {
    /// The end of the block's path.
    pub(super) block: &'static str,
    pub(super) field: &'static str,
    pub(super) message: &'static str,
}

pub(super) const REFUSED: [Refused; 17] = [
    Refused {
        block: ".redis",
        field: "password",
        message: "a custom resource is no place for a password: too many may read it; put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
    },
    Refused {
        block: ".redis.sentinel",
        field: "password",
        message: "a custom resource is no place for a password: too many may read it; put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
    },
    Refused {
        block: ".redis",
        field: "unixSocket",
        message: "a custom resource may not name a socket of the machine that tidegate runs on; write the server's address",
    },
    Refused {
        block: ".usernameFrom",
        field: "env",
        message: "a custom resource may not name an environment variable of tidegate's; put the value into a Secret and write secretKeyRef: { name: redis, key: username }",
    },
    Refused {
        block: ".usernameFrom",
        field: "file",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write secretKeyRef: { name: redis, key: username }",
    },
    Refused {
        block: ".passwordFrom",
        field: "env",
        message: "a custom resource may not name an environment variable of tidegate's; put the value into a Secret and write secretKeyRef: { name: redis, key: password }",
    },
    Refused {
        block: ".passwordFrom",
        field: "file",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write secretKeyRef: { name: redis, key: password }",
    },
    Refused {
        block: ".tls",
        field: "caFile",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write caFrom: { secretKeyRef: { name: redis-tls, key: ca.crt } }",
    },
    Refused {
        block: ".tls",
        field: "certFile",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write certFrom: { secretKeyRef: { name: redis-tls, key: tls.crt } }",
    },
    Refused {
        block: ".tls",
        field: "keyFile",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write keyFrom: { secretKeyRef: { name: redis-tls, key: tls.key } }",
    },
    Refused {
        block: ".postgres",
        field: "password",
        message: "a custom resource is no place for a password: too many may read it; put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
    },
    Refused {
        block: ".prometheus",
        field: "password",
        message: "a custom resource is no place for a password: too many may read it; put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
    },
    Refused {
        block: ".scrape",
        field: "password",
        message: "a custom resource is no place for a password: too many may read it; put it into a Secret and write passwordFrom: { secretKeyRef: { name: redis, key: password } }",
    },
    Refused {
        block: ".urlFrom",
        field: "env",
        message: "a custom resource may not name an environment variable of tidegate's; put the value into a Secret and write secretKeyRef: { name: credentials, key: url }",
    },
    Refused {
        block: ".urlFrom",
        field: "file",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write secretKeyRef: { name: credentials, key: url }",
    },
    Refused {
        block: ".bearerTokenFrom",
        field: "env",
        message: "a custom resource may not name an environment variable of tidegate's; put the value into a Secret and write secretKeyRef: { name: credentials, key: token }",
    },
    Refused {
        block: ".bearerTokenFrom",
        field: "file",
        message: "a custom resource may not name a file of tidegate's; put the value into a Secret and write secretKeyRef: { name: credentials, key: token }",
    },
];

/// A rule in CEL. Its message is fixed: the server's estimate of one that repeats a number has no bound.
pub(super) struct Rule {
    /// `None`: of every kind that has the path.
    pub(super) kind: Option<Kind>,
    pub(super) at: &'static str,
    pub(super) rule: &'static str,
    pub(super) message: &'static str,
    /// Where the cure belongs, below `at`; empty: there.
    pub(super) field: &'static str,
}

const AUTOSCALER: Option<Kind> = Some(Kind::QueueAutoscaler);

pub(super) const RULES: [Rule; 23] = [
    Rule {
        kind: AUTOSCALER,
        at: "spec",
        rule: "self.minReplicas <= self.maxReplicas",
        message: "minReplicas is above maxReplicas, which is 100 when left out; raise maxReplicas",
        field: ".minReplicas",
    },
    Rule {
        kind: AUTOSCALER,
        at: "spec",
        rule: "!has(self.idleReplicaCount) || self.idleReplicaCount < self.minReplicas",
        message: "idleReplicaCount must be below minReplicas, which is 0 when left out; raise minReplicas, or take idleReplicaCount out",
        field: ".idleReplicaCount",
    },
    Rule {
        kind: AUTOSCALER,
        at: "spec",
        rule: "!has(self.maxSampleAge) || !self.maxSampleAge.matches('DURATION') || !self.pollingInterval.matches('DURATION') || duration(self.maxSampleAge) >= duration(self.pollingInterval)",
        message: "maxSampleAge is below pollingInterval: every reading would be stale before the next; write three pollingIntervals, or take maxSampleAge out",
        field: ".maxSampleAge",
    },
    Rule {
        kind: AUTOSCALER,
        at: "spec.scaleTargetRef",
        rule: "has(self.apiVersion) || self.kind in ['Deployment', 'StatefulSet', 'ReplicaSet', 'ReplicationController']",
        message: "missing: the kind is none whose apiVersion is known; write the apiVersion that the workload's own manifest has, e.g. argoproj.io/v1alpha1",
        field: ".apiVersion",
    },
    Rule {
        kind: AUTOSCALER,
        at: "spec.triggers[]",
        rule: "has(self.connection) || has(self.memory)",
        message: "missing: the server that holds the queue; name a Connection of this namespace, e.g. connection: redis-main",
        field: ".connection",
    },
    Rule {
        kind: AUTOSCALER,
        at: "spec.fallback",
        rule: "has(self.replicas) || !(self.behavior in ['static', 'currentReplicasIfHigher', 'currentReplicasIfLower'])",
        message: "missing: this behavior needs it; e.g. replicas: 5",
        field: ".replicas",
    },
    Rule {
        kind: AUTOSCALER,
        at: "spec.fallback",
        rule: "!has(self.replicas) || self.behavior in ['static', 'currentReplicasIfHigher', 'currentReplicasIfLower']",
        message: "this behavior does not use replicas; take replicas out, or write behavior: static, currentReplicasIfHigher or currentReplicasIfLower",
        field: ".replicas",
    },
    Rule {
        kind: None,
        at: "spec.redis",
        rule: "has(self.address) || has(self.host) || has(self.sentinel) || has(self.cluster) || has(self.unixSocket)",
        message: "missing; e.g. address: redis-service:6379",
        field: ".address",
    },
    Rule {
        kind: None,
        at: "spec.redis",
        rule: "(has(self.address) || has(self.host) ? 1 : 0) + (has(self.sentinel) ? 1 : 0) + (has(self.cluster) ? 1 : 0) + (has(self.unixSocket) ? 1 : 0) <= 1",
        message: "exactly one way to the server is needed, found more than one of address, sentinel, cluster, unixSocket; keep one and take the others out",
        field: "",
    },
    Rule {
        kind: None,
        at: "spec.redis",
        rule: "!has(self.cluster) || self.database == 0",
        message: "a Redis Cluster has database 0 only; take database out",
        field: ".database",
    },
    Rule {
        kind: None,
        at: "spec.redis",
        rule: "!(has(self.address) && has(self.host))",
        message: "both address and host are written; keep one of the two",
        field: ".address",
    },
    Rule {
        kind: None,
        at: "spec.redis",
        rule: "!has(self.port) || has(self.host)",
        message: "port goes with host; an address has its port in it; take port out",
        field: ".port",
    },
    // The value is not repeated: where a whole URL was pasted, its password would be.
    Rule {
        kind: None,
        at: "spec.redis",
        rule: "!has(self.address) || self.address.matches('^([^/@?#*,: ]+|.[0-9A-Fa-f:.]+.):[0-9]+$')",
        message: "not an address; write host:port, such as redis-service:6379",
        field: ".address",
    },
    Rule {
        kind: None,
        at: "spec.redis.sentinel.addresses[]",
        rule: "self.matches('^([^/@?#*,: ]+|.[0-9A-Fa-f:.]+.):[0-9]+$')",
        message: "not an address; write host:port, such as redis-sentinel:26379",
        field: "",
    },
    Rule {
        kind: None,
        at: "spec.redis.cluster.addresses[]",
        rule: "self.matches('^([^/@?#*,: ]+|.[0-9A-Fa-f:.]+.):[0-9]+$')",
        message: "not an address; write host:port, such as redis-cluster:6379",
        field: "",
    },
    Rule {
        kind: None,
        at: "spec.redis",
        rule: "!(has(self.username) && has(self.usernameFrom))",
        message: "both username and usernameFrom are written; keep one of the two",
        field: ".username",
    },
    Rule {
        kind: None,
        at: "spec.redis.tls",
        rule: "has(self.caFrom) || has(self.caFile) || self.insecureSkipVerify",
        message: "missing: the authority whose certificates are to be trusted; e.g. caFrom: { secretKeyRef: { name: redis-tls, key: ca.crt } }",
        field: ".caFrom",
    },
    Rule {
        kind: None,
        at: "spec.redis.tls",
        rule: "!has(self.certFrom) || has(self.keyFrom) || has(self.keyFile)",
        message: "missing: certFrom is written, and a certificate goes with its key; e.g. keyFrom: { secretKeyRef: { name: redis-tls, key: tls.key } }, or take certFrom out",
        field: ".keyFrom",
    },
    Rule {
        kind: None,
        at: "spec.redis.tls",
        rule: "!has(self.keyFrom) || has(self.certFrom) || has(self.certFile)",
        message: "missing: keyFrom is written, and a certificate goes with its key; e.g. certFrom: { secretKeyRef: { name: redis-tls, key: tls.crt } }, or take keyFrom out",
        field: ".certFrom",
    },
    Rule {
        kind: None,
        at: "spec.redis.sentinel",
        rule: "!(has(self.username) && has(self.usernameFrom))",
        message: "both username and usernameFrom are written; keep one of the two",
        field: ".username",
    },
    Rule {
        kind: None,
        at: "spec.redis.sentinel.tls",
        rule: "has(self.caFrom) || has(self.caFile) || self.insecureSkipVerify",
        message: "missing: the authority whose certificates are to be trusted; e.g. caFrom: { secretKeyRef: { name: redis-tls, key: ca.crt } }",
        field: ".caFrom",
    },
    Rule {
        kind: None,
        at: "spec.redis.sentinel.tls",
        rule: "!has(self.certFrom) || has(self.keyFrom) || has(self.keyFile)",
        message: "missing: certFrom is written, and a certificate goes with its key; e.g. keyFrom: { secretKeyRef: { name: redis-tls, key: tls.key } }, or take certFrom out",
        field: ".keyFrom",
    },
    Rule {
        kind: None,
        at: "spec.redis.sentinel.tls",
        rule: "!has(self.keyFrom) || has(self.certFrom) || has(self.certFile)",
        message: "missing: keyFrom is written, and a certificate goes with its key; e.g. certFrom: { secretKeyRef: { name: redis-tls, key: tls.crt } }, or take keyFrom out",
        field: ".certFrom",
    },
];

/// Times in the status.
pub(super) const TIMES: [&str; 3] =
    ["status.lastScaleTime", "status.triggers[].sampledAt", "status.conditions[].lastTransitionTime"];

/// Lists of the status whose entries have a key, and what every entry has.
pub(super) const KEYED: [(&str, &str, &[&str]); 2] = [
    ("status.triggers", "name", &["name"]),
    ("status.conditions", "type", &["lastTransitionTime", "message", "reason", "status", "type"]),
];
