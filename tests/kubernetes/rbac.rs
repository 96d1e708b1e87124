//! Least privilege, both ways: a process with exactly what `tidegate crd --rbac` prints can do all of its work, and no
//! part of what is printed goes unused.
//!
//! A real server shows that the permissions are enough for the calls as it understands them (a list by name, for one);
//! the scripted one also shows that none is idle.

use serde_json::{Value, json};

use super::process_rig::{KIND, World, autoscaler};
use crate::support::cluster::{Cluster, rollouts, scaled_objects, workload, yaml};
use crate::support::redis::RedisProcess;
use crate::support::tidegate::{Tidegate, command, until};

const PASSWORD: &str = "open-sesame";
/// The same in base64.
const ENCODED: &str = "b3Blbi1zZXNhbWU=";

/// Resource, kind and group of everything that is scaled.
const KINDS: [(&str, &str, &str); 4] = [
    ("deployments.apps", "Deployment", "apps/v1"),
    ("statefulsets.apps", "StatefulSet", "apps/v1"),
    ("replicasets.apps", "ReplicaSet", "apps/v1"),
    ("rollouts.argoproj.io", "Rollout", "argoproj.io/v1alpha1"),
];

struct Case {
    world: World,
    /// Of the process, which is none that it watches.
    own: String,
    arguments: Vec<String>,
}

impl Case {
    fn start(own: &str) -> Self {
        let cluster = Cluster::start();
        cluster.run_controllers(std::time::Duration::from_millis(50));
        let redis = RedisProcess::with(&[&format!("requirepass {PASSWORD}")]);
        let own = format!("{}-{own}", cluster.namespace());
        cluster.ensure_namespace(&own);
        let world = World { cluster, redis };
        world.cluster.install_crds();
        world.cluster.install(&rollouts());
        world.cluster.install(&scaled_objects());
        Case { world, own, arguments: Vec::new() }
    }

    /// With the permissions that these arguments of `tidegate crd --rbac` print.
    fn run(&self, rbac: &[&str]) {
        let mut arguments = vec!["crd", "--rbac", "--own-namespace", &self.own, "--scale-kind", "argoproj.io/rollouts"];
        arguments.extend(rbac);
        let printed = command(&arguments);
        assert!(printed.status.success(), "{printed:?}");
        let rights = yaml(&String::from_utf8(printed.stdout).unwrap());
        let access = self.world.cluster.access("tidegate", Some(&rights));
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let start = || self.world.tidegate_in(&access, &self.own, "", &arguments);

        let world = &self.world;
        self.declare();
        let first = start();
        first.until_ready();
        self.up_and_down("");
        // A second one follows, and takes over.
        let second = start();
        second.until_ready();
        stop(first);
        self.up_and_down("after a take-over");
        for (_, kind, _) in KINDS {
            world.until_event(&name(kind), "Scaled");
        }
        // Restored by its finalizer.
        world.cluster.delete(KIND, &name("Deployment"));
        world.cluster.until_gone(KIND, &name("Deployment"));
        stop(second);
        // And from what was remembered.
        let third = start();
        third.until_ready();
        world.push(&name("StatefulSet"), 35);
        self.until_replicas("statefulsets.apps", "StatefulSet", 7);
        world.until_status(&name("StatefulSet"), "seven", |status| status["currentReplicas"] == 7);
        stop(third);

        if world.cluster.is_scripted() {
            let server = world.cluster.server();
            let refused = server.requests().client("tidegate").code(403);
            assert!(refused.is_empty(), "refused:\n{}", refused.lines());
            let unused = server.client("tidegate").unused_grants();
            assert!(unused.is_empty(), "granted and not used: {unused:#?}");
        }
    }

    fn declare(&self) {
        let cluster = &self.world.cluster;
        cluster.create(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "redis"},
            "data": {"password": ENCODED}}));
        let mut connection = self.world.connection();
        connection["spec"]["redis"]["passwordFrom"] = json!({"secretKeyRef": {"name": "redis", "key": "password"}});
        cluster.create(&connection);
        self.declare_pods();
        for (_, kind, api_version) in KINDS {
            let name = name(kind);
            let object = match kind {
                "Rollout" => json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name},
                    "spec": {"replicas": 1}}),
                _ => workload(kind, &name, 1),
            };
            cluster.create(&object);
            let target = json!({"apiVersion": api_version, "kind": kind, "name": name});
            let restore = kind == "Deployment";
            let spec = json!({"scaleTargetRef": target, "restoreToOriginalReplicaCount": restore, "minReplicas": 1});
            cluster.create(&autoscaler(&name, &spec));
        }
    }

    /// Pods whose metrics are read, of a Service and of a selector; there are none.
    fn declare_pods(&self) {
        let cluster = &self.world.cluster;
        let finds = [
            ("behind", json!({"service": "workers", "portName": "metrics"})),
            ("selected", json!({"selector": "app=worker", "port": 9102})),
        ];
        let triggers: Vec<Value> = finds
            .iter()
            .map(|(name, pods)| {
                cluster.create(&json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Connection",
                    "metadata": {"name": name}, "spec": {"scrape": {"pods": pods}}}));
                json!({"connection": name, "prometheusScrape": {"metric": "jobs_waiting"},
                    "policy": {"fixed": {"replicas": 1}}})
            })
            .collect();
        cluster.create(&workload("Deployment", "watcher", 1));
        cluster.create(&autoscaler("watcher", &json!({"scaleTargetRef": {"name": "watcher"}, "triggers": triggers})));
    }

    fn until_replicas(&self, resource: &str, kind: &str, replicas: i64) {
        let what = format!("{replicas} replicas");
        self.world.cluster.until(resource, &name(kind), &what, |found| found["spec"]["replicas"] == replicas);
    }

    fn up_and_down(&self, when: &str) {
        for (_, kind, _) in KINDS {
            self.world.push(&name(kind), 25);
        }
        for (resource, kind, _) in KINDS {
            self.until_replicas(resource, kind, 5);
        }
        for (_, kind, _) in KINDS {
            self.world.drain(&name(kind));
        }
        for (resource, kind, _) in KINDS {
            self.until_replicas(resource, kind, 1);
            let what = format!("one replica {when}");
            self.world.until_status(&name(kind), &what, |status| status["currentReplicas"] == 1);
        }
    }
}

fn name(kind: &str) -> String {
    format!("a-{}", kind.to_ascii_lowercase())
}

/// Ends it, and looks through what it complained of.
fn stop(mut tidegate: Tidegate) {
    tidegate.signal("-TERM");
    let status = tidegate.wait();
    let log = tidegate.log();
    assert!(status.success(), "{status}:\n{log}");
    let refused: Vec<&str> = log.lines().filter(|line| line.to_lowercase().contains("forbidden")).collect();
    assert!(refused.is_empty(), "refused:\n{}", refused.join("\n"));
}

#[test]
fn what_is_printed_for_a_cluster_is_enough_and_nothing_more() {
    let case = Case::start("own");
    case.run(&[]);
    // It was kept in its own namespace.
    let kept = format!("/api/v1/namespaces/{}/configmaps", case.own);
    let kept = case.world.cluster.request("GET", &kept, "", &Value::Null).json;
    let kept = kept["items"]
        .as_array()
        .unwrap()
        .iter()
        .any(|map| map["metadata"]["name"].as_str().unwrap_or_default().starts_with("tidegate-checkpoint-"));
    assert!(kept, "no checkpoint was written");
}

#[test]
fn what_is_printed_for_a_namespace_and_a_secret_is_enough_and_nothing_more() {
    let mut case = Case::start("home");
    let watched = case.world.cluster.namespace().to_owned();
    case.arguments = vec!["--watch-namespace".to_owned(), watched.clone()];
    case.run(&["--namespace", &watched, "--secret", "redis"]);
}

#[test]
fn without_its_permissions_it_names_the_command_that_prints_them() {
    let world = World::start();
    let own = world.cluster.namespace().to_owned();
    let rights = [
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "little", "namespace": own},
            "rules": [{"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["*"]}]}),
        json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": {"name": "little", "namespace": own},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "little"}}),
    ];
    let access = world.cluster.access("a", Some(&rights));
    let tidegate = world.tidegate_with(&access, "", &[]);
    tidegate.until_log("tidegate crd --rbac | kubectl apply -f -");
    until("it goes on living", || tidegate.get("/livez").status == 200);
    assert!(!tidegate.is_ready());
}
