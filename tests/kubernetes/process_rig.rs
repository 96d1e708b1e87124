//! The whole binary between a cluster and a real redis-server: what the tests of the process share.
#![allow(unreachable_pub, reason = "what several tests share")]

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::cluster::{Access, Cluster, deployment};
use crate::support::redis::RedisProcess;
use crate::support::tidegate::{Tidegate, until};

pub const KIND: &str = "queueautoscalers.tidegate.dev";
pub const DEPLOYMENTS: &str = "deployments.apps";
pub const LEASES: &str = "leases.coordination.k8s.io";

/// A lease short enough that a test does not wait for it, and long enough for a busy machine.
pub const SHORT_LEASE: [&str; 6] = ["--lease-duration", "4s", "--renew-deadline", "3s", "--retry-period", "250ms"];

/// How long something is watched that must not happen: dozens of polls.
const QUIET: Duration = Duration::from_millis(1_500);

pub struct World {
    pub cluster: Cluster,
    pub redis: RedisProcess,
}

impl World {
    /// With the definitions, controllers, and Connection `redis`.
    pub fn start() -> Self {
        let world = World::bare(Cluster::start());
        world.cluster.install_crds();
        world.cluster.create(&world.connection());
        world
    }

    /// Without the definitions.
    pub fn bare(cluster: Cluster) -> Self {
        cluster.run_controllers(Duration::from_millis(50));
        World { cluster, redis: RedisProcess::start() }
    }

    pub fn connection(&self) -> Value {
        json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "redis"},
            "spec": {"redis": {"address": self.redis.address()}}})
    }

    /// Somebody who may do everything.
    pub fn access(&self) -> Access {
        self.cluster.access("tidegate", None)
    }

    pub fn tidegate(&self, arguments: &[&str]) -> Tidegate {
        self.tidegate_with(&self.access(), "", arguments)
    }

    pub fn tidegate_with(&self, access: &Access, manifests: &str, arguments: &[&str]) -> Tidegate {
        self.tidegate_in(access, self.cluster.namespace(), manifests, arguments)
    }

    /// With its Lease and its checkpoints in another namespace.
    pub fn tidegate_in(&self, access: &Access, namespace: &str, manifests: &str, arguments: &[&str]) -> Tidegate {
        let mut all = vec!["--target", "kubernetes", "--lease-namespace", namespace];
        all.extend(SHORT_LEASE);
        all.extend(arguments);
        Tidegate::start_within(&[("KUBECONFIG", access.path())], manifests, &all)
    }

    /// A Deployment and a QueueAutoscaler of one name, for the list of that name.
    pub fn workload(&self, name: &str, replicas: i64, spec: &Value) {
        self.cluster.create(&deployment(name, replicas));
        self.cluster.create(&autoscaler(name, spec));
    }

    pub fn push(&self, queue: &str, items: usize) {
        let mut words = vec!["LPUSH", queue];
        words.extend(std::iter::repeat_n("item", items));
        self.redis.command::<i64>(&words);
    }

    pub fn drain(&self, queue: &str) {
        self.redis.command::<i64>(&["DEL", queue]);
    }

    pub fn replicas(&self, name: &str) -> i64 {
        self.cluster.replicas(DEPLOYMENTS, name)
    }

    pub fn until_replicas(&self, name: &str, replicas: i64) {
        let what = format!("{replicas} replicas");
        self.cluster.until(DEPLOYMENTS, name, &what, |found| found["spec"]["replicas"] == replicas);
    }

    /// Nothing and nobody changes the count for a while.
    pub fn stays(&self, name: &str, replicas: i64) {
        let version = self.scale_version(name);
        std::thread::sleep(QUIET);
        assert_eq!(self.replicas(name), replicas, "{name} was left alone");
        assert_eq!(self.scale_version(name), version, "and nobody set it and set it back");
    }

    /// Grows with every change of the spec.
    pub fn scale_version(&self, name: &str) -> i64 {
        self.cluster.get(DEPLOYMENTS, name).unwrap()["metadata"]["generation"].as_i64().unwrap()
    }

    /// Waits for a condition of this status and reason; returns its message.
    pub fn until_condition(&self, name: &str, kind: &str, status: &str, reason: &str) -> String {
        let found = self.cluster.until(KIND, name, &format!("{kind} {status} {reason}"), |object| {
            let condition = condition(object, kind);
            condition["status"] == status && condition["reason"] == reason
        });
        condition(&found, kind)["message"].as_str().unwrap_or_default().to_owned()
    }

    pub fn until_status(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.cluster.until(KIND, name, what, |object| holds(&object["status"]))["status"].clone()
    }

    /// Reason and note of the Events about a QueueAutoscaler.
    pub fn events(&self, name: &str) -> Vec<(String, String)> {
        let all = self.cluster.list("events.events.k8s.io");
        let about = all.iter().filter(|event| event["regarding"]["name"] == name);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        about.map(|event| (text(&event["reason"]), text(&event["note"]))).collect()
    }

    pub fn until_event(&self, name: &str, reason: &str) -> String {
        let mut note = String::new();
        until(&format!("an Event {reason} about {name}"), || {
            let found = self.events(name).into_iter().find(|(known, _)| known == reason);
            note = found.clone().unwrap_or_default().1;
            found.is_some()
        });
        note
    }

    pub fn edit(&self, name: &str, spec: &Value) {
        self.cluster.patch(KIND, name, &json!({ "spec": spec }));
    }

    pub fn annotate(&self, name: &str, annotation: &str, value: Option<&str>) {
        let annotation = format!("tidegate.dev/{annotation}");
        self.cluster.patch(KIND, name, &json!({"metadata": {"annotations": {annotation: value}}}));
    }

    /// Who holds the Lease; empty for nobody.
    pub fn holder(&self) -> String {
        let lease = self.cluster.get(LEASES, "tidegate").unwrap_or_default();
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }
}

pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

/// Five items a replica, at most 20 of them, ten looks a second, down as quickly as up; `spec` is laid over it.
pub fn autoscaler(name: &str, spec: &Value) -> Value {
    let mut object = json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "QueueAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"name": name}, "minReplicas": 0, "maxReplicas": 20,
            "pollingInterval": "100ms", "cooldownPeriod": "0s",
            "triggers": [{"connection": "redis", "redisList": {"keys": [name]},
                "policy": {"backlogPerReplica": {"target": 5}}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    object
}
