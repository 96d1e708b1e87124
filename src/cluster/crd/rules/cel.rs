//! What fields must be together, in the language that the API server evaluates.

use crate::cluster::crd::Kind;

/// A rule in CEL. Its message is fixed: the server's estimate of one that repeats a number has no bound.
pub(in crate::cluster::crd) struct Rule {
    /// `None`: of every kind that has the path.
    pub(in crate::cluster::crd) kind: Option<Kind>,
    pub(in crate::cluster::crd) at: &'static str,
    pub(in crate::cluster::crd) rule: &'static str,
    pub(in crate::cluster::crd) message: &'static str,
    /// Where the cure belongs, below `at`; empty: there.
    pub(in crate::cluster::crd) field: &'static str,
}

const AUTOSCALER: Option<Kind> = Some(Kind::QueueAutoscaler);

pub(in crate::cluster::crd) const RULES: [Rule; 23] = [
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
