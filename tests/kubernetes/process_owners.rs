//! Who may scale what, as the whole process has it: annotations, dry runs, other owners, files, and KEDA's door.

use serde_json::{Value, json};

use super::process_rig::{DEPLOYMENTS, KIND, World, autoscaler};
use crate::support::cluster::deployment;
use crate::support::tidegate::until_along;

fn hpa(name: &str, workload: &str) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": name},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload}, "maxReplicas": 3}})
}

const HPAS: &str = "horizontalpodautoscalers.autoscaling";

#[test]
fn annotations_hold_it_and_let_it_go() {
    let world = World::start();
    let _tidegate = world.tidegate(&[]);
    world.workload("orders", 0, &json!({}));
    world.push("orders", 20);
    world.until_replicas("orders", 4);

    world.annotate("orders", "paused", Some("true"));
    world.until_condition("orders", "Paused", "True", "Paused");
    world.until_event("orders", "Paused");
    world.push("orders", 20);
    world.stays("orders", 4);
    world.annotate("orders", "paused", None);
    world.until_replicas("orders", 8);
    world.until_condition("orders", "Paused", "False", "NotPaused");
    world.until_event("orders", "Resumed");

    world.annotate("orders", "paused-replicas", Some("3"));
    world.until_replicas("orders", 3);
    world.until_condition("orders", "Paused", "True", "PausedReplicas");
    world.push("orders", 5);
    world.stays("orders", 3);
    world.annotate("orders", "paused-replicas", None);
    world.until_replicas("orders", 9);

    world.annotate("orders", "paused-scale-in", Some("true"));
    world.until_condition("orders", "Paused", "True", "PausedScaleIn");
    world.redis.command::<()>(&["LTRIM", "orders", "0", "9"]);
    world.stays("orders", 9);
    world.push("orders", 40);
    world.until_replicas("orders", 10);

    world.annotate("orders", "paused-scale-in", None);
    world.annotate("orders", "paused-scale-out", Some("true"));
    world.until_condition("orders", "Paused", "True", "PausedScaleOut");
    world.push("orders", 25);
    world.stays("orders", 10);
    world.drain("orders");
    world.until_replicas("orders", 0);
    world.annotate("orders", "paused-scale-out", None);
    world.until_condition("orders", "Paused", "False", "NotPaused");

    world.annotate("orders", "force-activation", Some("true"));
    world.until_replicas("orders", 1);
    world.until_condition("orders", "Active", "True", "ForceActivation");
    world.annotate("orders", "force-activation", None);
    world.until_replicas("orders", 0);
}

#[test]
fn a_dry_run_beside_an_hpa_shows_what_it_would_do_and_touches_nothing() {
    let world = World::start();
    let tidegate = world.tidegate(&[]);
    world.cluster.create(&hpa("theirs", "orders"));
    world.workload("orders", 1, &json!({"dryRun": true}));
    world.push("orders", 30);
    let status = world.until_status("orders", "six wanted", |status| status["desiredReplicas"] == 6);
    assert_eq!(status["currentReplicas"], 1, "{status:#}");
    let message = world.until_condition("orders", "Ready", "True", "Shadow");
    assert!(message.contains("theirs"), "{message}");
    tidegate.until_ready();
    world.stays("orders", 1);
    assert!(world.events("orders").iter().all(|(reason, _)| reason != "Scaled"), "{:?}", world.events("orders"));
    // Taken seriously, it is refused, for the other is still there.
    world.edit("orders", &json!({"dryRun": false}));
    world.until_condition("orders", "Ready", "False", "AlreadyScaled");
    world.stays("orders", 1);
}

#[test]
fn a_workload_that_an_hpa_scales_is_left_to_it_until_the_hpa_goes() {
    let world = World::start();
    let _tidegate = world.tidegate(&[]);
    world.workload("orders", 1, &json!({}));
    world.push("orders", 10);
    world.until_replicas("orders", 2);
    world.cluster.create(&hpa("theirs", "orders"));
    let message = world.until_condition("orders", "Ready", "False", "AlreadyScaled");
    assert!(message.contains("HorizontalPodAutoscaler") && message.contains("theirs"), "{message}");
    world.push("orders", 20);
    world.stays("orders", 2);
    assert!(world.cluster.delete(HPAS, "theirs"));
    world.until_replicas("orders", 6);
    world.until_condition("orders", "Ready", "True", "Ready");
}

#[test]
fn the_second_autoscaler_of_a_workload_is_refused_until_the_first_goes() {
    let world = World::start();
    let _tidegate = world.tidegate(&[]);
    world.workload("orders", 0, &json!({}));
    world.push("orders", 10);
    world.until_replicas("orders", 2);
    // Times of creation are whole seconds; the name decides among equals, so this one is the later in either case.
    world.cluster.create(&autoscaler("second", &json!({"scaleTargetRef": {"name": "orders"}})));
    let message = world.until_condition("second", "Ready", "False", "AlreadyScaled");
    assert!(message.contains("QueueAutoscaler") && message.contains("orders"), "{message}");
    world.push("second", 40);
    world.stays("orders", 2);
    world.cluster.delete(KIND, "orders");
    world.until_replicas("orders", 8);
    world.until_condition("second", "Ready", "True", "Ready");
}

#[test]
fn a_file_scales_its_workload_and_stands_above_a_custom_resource_of_its_name() {
    let world = World::start();
    let own = world.cluster.namespace().to_owned();
    let within = |mut object: Value| {
        object["metadata"]["namespace"] = own.clone().into();
        object.to_string()
    };
    let mut connection = world.connection();
    connection["metadata"]["name"] = "of-a-file".into();
    let connected = json!([{"connection": "of-a-file", "redisList": {"keys": ["orders"]},
        "policy": {"backlogPerReplica": {"target": 5}}}]);
    let documents = [within(connection), within(autoscaler("orders", &json!({ "triggers": connected })))];
    world.cluster.create(&deployment("orders", 0));
    let tidegate = world.tidegate_with(&world.access(), &documents.join("\n---\n"), &[]);
    tidegate.until_ready();
    world.push("orders", 15);
    world.until_replicas("orders", 3);
    // Of the same name, and it would have another bound.
    world.cluster.create(&autoscaler("orders", &json!({"maxReplicas": 1})));
    let message = world.until_condition("orders", "Ready", "False", "InvalidSpec");
    assert!(message.contains("a file of tidegate's"), "{message}");
    world.push("orders", 15);
    world.until_replicas("orders", 6);
    world.cluster.delete(KIND, "orders");
    world.drain("orders");
    world.until_replicas("orders", 0);
}

#[tokio::test]
async fn keda_is_served_the_decision_on_a_workload_whose_scale_the_cluster_shows() {
    let world = World::start();
    let tidegate = world.tidegate(&[]);
    world.workload("orders", 3, &json!({"dryRun": true, "minReplicas": 1}));
    let namespace = world.cluster.namespace().to_owned();
    let known = || tidegate.get(&format!("/api/v1/autoscalers/{namespace}/orders")).status == 200;
    until_along("it is known", known).await;
    let mut keda = tidegate.keda(&namespace, &[("autoscaler", "orders"), ("serve", "replicas")]).await;
    world.push("orders", 35);
    keda.until_value(7.0).await;
    assert_eq!(keda.specs().await.unwrap(), [("tidegate-replicas".to_owned(), 1, 1.0)]);
    assert!(keda.active().await.unwrap());
    // What KEDA's HPA does is what is decided on from then on.
    world.cluster.scale(DEPLOYMENTS, "orders", 7);
    world.drain("orders");
    keda.until_value(1.0).await;
    assert_eq!(world.replicas("orders"), 7, "KEDA acts, not this process");
}
