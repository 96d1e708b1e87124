//! The binary as a person meets it: from `kubectl apply` to replicas, edits, hands that interfere, and its end.

use std::time::{Duration, Instant};

use serde_json::json;

use super::process_rig::{DEPLOYMENTS, KIND, World, autoscaler};
use crate::support::cluster::{Cluster, deployment};
use crate::support::tidegate::until;

#[test]
fn without_definitions_the_process_waits_and_says_which_command_installs_them() {
    let world = World::bare(Cluster::start());
    let tidegate = world.tidegate(&[]);
    tidegate.until_log("tidegate crd | kubectl apply -f -");
    assert!(!tidegate.is_ready(), "nothing is known of what there is to do");
    assert_eq!(tidegate.get("/livez").status, 200, "but it lives");
    world.cluster.install_crds();
    tidegate.until_ready();
    world.cluster.create(&world.connection());
    world.workload("orders", 0, &json!({}));
    world.push("orders", 50);
    world.until_replicas("orders", 10);
}

#[test]
fn what_is_applied_follows_its_queue_in_one_step_and_back_to_zero() {
    let world = World::start();
    let tidegate = world.tidegate(&[]);
    tidegate.until_ready();
    world.workload("orders", 0, &json!({}));
    world.until_condition("orders", "Ready", "True", "Ready");
    world.until_condition("orders", "Active", "False", "Idle");
    let before = world.scale_version("orders");
    world.push("orders", 50);
    world.until_replicas("orders", 10);
    assert_eq!(world.scale_version("orders"), before + 1, "in one step");
    let status = world.until_status("orders", "ten ready", |status| status["readyReplicas"] == 10);
    assert_eq!((&status["currentReplicas"], &status["desiredReplicas"]), (&json!(10), &json!(10)), "{status:#}");
    assert_eq!((&status["backlog"], &status["triggers"][0]["wants"]), (&json!(50), &json!(10)), "{status:#}");
    assert_eq!(status["observedGeneration"], 1);
    assert!(status["lastScaleTime"].is_string(), "{status:#}");
    world.until_condition("orders", "Active", "True", "Active");
    world.until_condition("orders", "Fallback", "False", "Fresh");
    world.until_condition("orders", "Paused", "False", "NotPaused");
    world.until_condition("orders", "ScalingLimited", "False", "DesiredWithinRange");
    let note = world.until_event("orders", "Scaled");
    assert!(note.contains("10"), "{note}");

    world.edit("orders", &json!({"maxReplicas": 4}));
    world.until_replicas("orders", 4);
    world.until_condition("orders", "ScalingLimited", "True", "TooManyReplicas");

    // The schema takes it, the rules of the source do not: the last good spec stays.
    world.edit(
        "orders",
        &json!({"triggers": [{"connection": "none-such", "redisList": {"keys": ["orders"]},
        "policy": {"backlogPerReplica": {"target": 1}}}]}),
    );
    let message = world.until_condition("orders", "Ready", "False", "InvalidSpec");
    assert!(message.contains("none-such") && message.contains("stays in force"), "{message}");
    world.stays("orders", 4);
    world.redis.command::<()>(&["LTRIM", "orders", "0", "9"]);
    world.until_replicas("orders", 2);
    world.edit("orders", &autoscaler("orders", &json!({}))["spec"]);
    world.until_condition("orders", "Ready", "True", "Ready");

    world.drain("orders");
    world.until_replicas("orders", 0);
    let status = world.until_status("orders", "zero", |status| status["currentReplicas"] == 0);
    assert_eq!((&status["desiredReplicas"], &status["backlog"]), (&json!(0), &json!(0)), "{status:#}");
    world.push("orders", 5);
    world.until_replicas("orders", 1);
}

#[test]
fn what_somebody_set_to_zero_stays_there_until_it_is_raised_by_hand() {
    let world = World::start();
    let tidegate = world.tidegate(&[]);
    world.workload("orders", 1, &json!({}));
    world.push("orders", 20);
    world.until_replicas("orders", 4);
    tidegate.until_ready();
    world.cluster.scale(DEPLOYMENTS, "orders", 0);
    let message = world.until_condition("orders", "Ready", "False", "ManuallyStopped");
    assert!(message.contains("force-activation"), "{message}");
    world.push("orders", 20);
    world.stays("orders", 0);
    world.until_event("orders", "ManuallyStopped");
    world.cluster.scale(DEPLOYMENTS, "orders", 1);
    world.until_replicas("orders", 8);
    world.until_condition("orders", "Ready", "True", "Ready");

    world.cluster.scale(DEPLOYMENTS, "orders", 0);
    world.until_condition("orders", "Ready", "False", "ManuallyStopped");
    world.annotate("orders", "force-activation", Some("true"));
    world.until_replicas("orders", 8);
    world.until_condition("orders", "Active", "True", "ForceActivation");
}

#[test]
fn after_it_is_deleted_nothing_more_is_patched() {
    let world = World::start();
    let tidegate = world.tidegate(&[]);
    world.workload("orders", 0, &json!({}));
    world.push("orders", 15);
    world.until_replicas("orders", 3);
    world.until_condition("orders", "Ready", "True", "Ready");
    assert!(world.cluster.delete(KIND, "orders"));
    world.cluster.until_gone(KIND, "orders");
    let own = world.cluster.namespace();
    until("it is forgotten", || tidegate.get(&format!("/api/v1/autoscalers/{own}/orders")).status == 404);
    world.push("orders", 50);
    world.stays("orders", 3);
}

#[test]
fn after_a_restart_no_event_is_repeated_and_its_own_zero_wakes_again() {
    let world = World::start();
    let mut first = world.tidegate(&[]);
    world.workload("orders", 0, &json!({}));
    world.workload("bills", 1, &json!({}));
    // One that is in trouble, and has said so.
    world.cluster.create(&autoscaler("lost", &json!({"scaleTargetRef": {"name": "nobody"}})));
    world.push("orders", 15);
    world.push("bills", 15);
    world.until_replicas("orders", 3);
    world.until_replicas("bills", 3);
    // Told before the way back begins: of two scalings in one breath the later is news.
    for name in ["orders", "bills"] {
        world.until_event(name, "Scaled");
    }
    world.cluster.scale(DEPLOYMENTS, "bills", 0);
    world.drain("orders");
    world.until_replicas("orders", 0);
    world.until_condition("bills", "Ready", "False", "ManuallyStopped");
    world.until_condition("lost", "Ready", "False", "TargetNotFound");
    world.until_event("bills", "ManuallyStopped");
    world.until_event("lost", "TargetNotFound");
    world.until_status("orders", "zero", |status| status["currentReplicas"] == 0);
    until("Events about both ways", || {
        world.events("orders").iter().filter(|(reason, _)| reason == "Scaled").count() >= 2
    });
    let events = |name: &str| {
        let mut events = world.events(name);
        events.sort();
        events
    };
    let before = ["orders", "bills", "lost"].map(events);
    first.signal("-TERM");
    assert!(first.wait().success(), "{}", first.log());

    let second = world.tidegate(&[]);
    second.until_ready();
    until("it leads", || !world.holder().is_empty());
    world.stays("orders", 0);
    world.stays("bills", 0);
    assert_eq!(["orders", "bills", "lost"].map(events), before, "nothing has happened, so nothing is said");
    world.push("orders", 15);
    world.until_replicas("orders", 3);
    assert_eq!(world.replicas("bills"), 0, "somebody else's zero stays, whoever runs");
    world.until_condition("bills", "Ready", "False", "ManuallyStopped");
}

#[test]
fn told_to_stop_it_gives_the_lease_back_after_its_last_write_and_another_takes_over_at_once() {
    let world = World::start();
    let a = world.cluster.access("a", None);
    let b = world.cluster.access("b", None);
    // A lease that lasts far longer than the test may take: whoever waited for its end would be seen.
    let long = ["--lease-duration", "10m", "--renew-deadline", "9m", "--retry-period", "250ms"];
    let own = world.cluster.namespace();
    let start = |access: &crate::support::cluster::Access, name: &str| {
        let mut arguments = vec!["--target", "kubernetes", "--lease-namespace", own, "--identity", name];
        arguments.extend(long);
        crate::support::tidegate::Tidegate::start_within(&[("KUBECONFIG", access.path())], "", &arguments)
    };
    let mut first = start(&a, "first");
    until("the first leads", || world.holder().starts_with("first"));
    let second = start(&b, "second");
    second.until_ready();
    world.workload("orders", 0, &json!({}));
    world.push("orders", 15);
    world.until_replicas("orders", 3);
    assert!(world.holder().starts_with("first"));
    let began = Instant::now();
    first.signal("-TERM");
    world.push("orders", 10);
    let status = first.wait();
    let took = began.elapsed();
    assert!(status.success(), "{status}: {}", first.log());
    assert!(took < Duration::from_secs(15), "it ended after {took:?}");
    until("the second leads", || world.holder().starts_with("second"));
    println!("SIGTERM to exit: {took:?}; to the other's lease: {:?}", began.elapsed());
    world.until_replicas("orders", 5);
    world.push("orders", 10);
    world.until_replicas("orders", 7);
    if world.cluster.is_scripted() {
        let writes = world.cluster.server().requests().client("a").writes();
        let last = writes.0.last().unwrap();
        assert_eq!(
            (last.resource.as_str(), last.body["spec"]["holderIdentity"].as_str().unwrap_or_default()),
            ("leases", "")
        );
    }
}

#[test]
fn the_original_count_is_given_back_when_the_autoscaler_is_deleted() {
    let world = World::start();
    let _tidegate = world.tidegate(&[]);
    world.workload("orders", 2, &json!({"restoreToOriginalReplicaCount": true}));
    world.push("orders", 35);
    world.until_replicas("orders", 7);
    let object =
        world.cluster.until(KIND, "orders", "the original", |object| object["status"]["originalReplicaCount"] == 2);
    assert_eq!(object["metadata"]["finalizers"].as_array().map(Vec::len), Some(1), "{object:#}");
    world.cluster.delete(KIND, "orders");
    world.cluster.until_gone(KIND, "orders");
    assert_eq!(world.replicas("orders"), 2);
    world.stays("orders", 2);
    world.until_event("orders", "Restored");
}

#[test]
fn confined_to_namespaces_it_leaves_the_others_alone() {
    let world = World::bare(Cluster::start());
    world.cluster.install_crds();
    let own = world.cluster.namespace().to_owned();
    let other = format!("{own}-other");
    let elsewhere = |mut object: serde_json::Value| {
        object["metadata"]["namespace"] = other.clone().into();
        object
    };
    for object in [world.connection(), deployment("orders", 1), autoscaler("orders", &json!({}))] {
        world.cluster.create(&object);
        world.cluster.create(&elsewhere(object));
    }
    let tidegate = world.tidegate(&["--watch-namespace", &own]);
    tidegate.until_ready();
    world.push("orders", 25);
    world.until_replicas("orders", 5);
    assert_eq!(tidegate.get(&format!("/api/v1/autoscalers/{other}/orders")).status, 404);
    let path = format!("/apis/apps/v1/namespaces/{other}/deployments/orders");
    assert_eq!(world.cluster.request("GET", &path, "", &serde_json::Value::Null).json["spec"]["replicas"], 1);
}
