//! A process that is killed in the middle of a scale-down window, and one that was not, side by side: what the next
//! process remembers is enough never to be below the other, and both are equal after one window.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::process_rig::{World, autoscaler};
use crate::support::cluster::{Access, deployment};
use crate::support::tidegate::{Tidegate, until};

const WINDOW: Duration = Duration::from_secs(10);
/// How far two processes that are both right may be apart: polls, patches, and a busy machine.
const SLACK: Duration = Duration::from_secs(2);

/// Where the killed one keeps its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Folder,
    ConfigMaps,
}

fn replicas(world: &World, namespace: &str) -> i64 {
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/orders");
    world.cluster.request("GET", &path, "", &Value::Null).json["spec"]["replicas"].as_i64().unwrap()
}

fn start(access: &Access, namespace: &str, arguments: &[&str]) -> Tidegate {
    let mut all = vec!["--target", "kubernetes", "--lease-namespace", namespace, "--watch-namespace", namespace];
    all.push("--no-leader-election");
    all.extend(arguments);
    Tidegate::start_within(&[("KUBECONFIG", access.path())], "", &all)
}

fn killed_in_a_window(kept: Kept) {
    let world = World::start();
    let own = world.cluster.namespace().to_owned();
    let twin = format!("{own}-twin");
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": WINDOW.as_secs()}});
    let objects = [world.connection(), deployment("orders", 0), autoscaler("orders", &json!({ "behavior": behavior }))];
    for (namespace, skip) in [(&own, 1), (&twin, 0)] {
        for object in objects.iter().skip(skip) {
            let mut object = object.clone();
            object["metadata"]["namespace"] = namespace.clone().into();
            world.cluster.create(&object);
        }
    }
    let access = world.access();
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().to_str().unwrap().to_owned();
    let memory: Vec<&str> = if kept == Kept::Folder { vec!["--state-dir", &path] } else { Vec::new() };
    let other = world.cluster.access("b", None);
    let _uninterrupted = start(&other, &twin, &["--no-checkpoints"]);
    let first = start(&access, &own, &memory);

    world.push("orders", 50);
    until("both are at ten", || [&own, &twin].iter().all(|namespace| replicas(&world, namespace) == 10));
    until("a checkpoint is kept", || match kept {
        Kept::Folder => std::fs::read_dir(folder.path())
            .unwrap()
            .any(|file| file.unwrap().metadata().is_ok_and(|about| about.len() > 0)),
        Kept::ConfigMaps => world
            .cluster
            .list("configmaps")
            .iter()
            .any(|map| map["metadata"]["name"].as_str().unwrap_or_default().starts_with("tidegate-checkpoint-")),
    });
    world.redis.command::<()>(&["LTRIM", "orders", "0", "9"]);
    std::thread::sleep(WINDOW * 3 / 10);
    first.signal("-KILL");
    drop(first);
    let restarted = start(&access, &own, &memory);
    restarted.until_ready();
    let began = Instant::now();
    let mut seen: Vec<(Duration, i64, i64)> = Vec::new();
    loop {
        let (other, ours, at) = (replicas(&world, &twin), replicas(&world, &own), began.elapsed());
        seen.push((at, ours, other));
        let level = ours == 2 && other == 2;
        let over = level && seen.iter().any(|(then, ours, other)| (*ours, *other) == (2, 2) && at - *then > SLACK);
        if over {
            break;
        }
        assert!(at < WINDOW + SLACK * 3, "not equal a window after the restart: {ours} and {other}");
        std::thread::sleep(Duration::from_millis(100));
    }
    for (at, ours, _) in &seen {
        let later = seen.iter().filter(|(then, ..)| *then >= *at && *then <= *at + SLACK);
        let least = later.map(|(_, _, other)| *other).min().unwrap();
        assert!(*ours >= least, "{ours} where the uninterrupted one had {least}, {at:?} after the restart: {seen:?}");
    }
    let when = |which: fn(&(Duration, i64, i64)) -> i64| seen.iter().find(|one| which(one) == 2).unwrap().0;
    println!("uninterrupted: two after {:?}; restarted: after {:?}", when(|one| one.2), when(|one| one.1));
}

#[test]
fn killed_in_a_window_it_remembers_by_its_folder() {
    killed_in_a_window(Kept::Folder);
}

#[test]
fn killed_in_a_window_it_remembers_by_config_maps() {
    killed_in_a_window(Kept::ConfigMaps);
}
