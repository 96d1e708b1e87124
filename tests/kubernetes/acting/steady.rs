//! What it costs when nothing happens, and what it costs when much does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tidegate::model::{Key, ScaleOrder, ScaleRequest, TargetReport};
use tidegate::target::actuator::{Actuator, Config};
use tokio::sync::mpsc;

use super::rig::{deployment, id, replicas, rig, to};
use crate::support::apiserver::ApiServer;
use crate::support::tidegate::until_along;

#[tokio::test]
async fn a_thousand_steady_workloads_cost_no_request_and_waking_them_one_patch_each() {
    let server = ApiServer::start();
    let names: Vec<String> = (0..1_000).map(|number| format!("d{number}")).collect();
    for name in &names {
        server.insert(&deployment(name, 0));
    }
    let mut rig = rig(&server, "a");
    let targets = names.iter().map(|name| (id(name), to("apps/v1", "Deployment", name))).collect();
    rig.workloads.follow(targets, vec![]);
    until_along("all are seen", || names.iter().all(|name| rig.view(name).is_some())).await;
    let watch = ("watch", "deployments".into());
    // It begins where the list ended, a moment after the last page was seen.
    until_along("they are watched", || rig.requests(&server).counts().contains_key(&watch)).await;
    let counts = rig.requests(&server).counts();
    assert_eq!(counts.get(&("list", "deployments".into())), Some(&2), "two pages: {counts:?}");
    assert_eq!(counts.get(&watch), Some(&1), "{counts:?}");
    let mark = server.mark();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(server.since(mark).len(), 0, "{}", server.since(mark).lines());
    while rig.reports.try_recv().is_ok() {}

    let (requests, incoming) = mpsc::channel(1_000);
    let (applied, mut answers) = mpsc::channel(1_000);
    tokio::spawn(Actuator::new(Arc::clone(&rig.target), Config::default()).run(incoming, applied));
    let began = Instant::now();
    for (key, name) in (0..).zip(&names) {
        requests.send(ScaleOrder::Ask(ScaleRequest { key: Key(key), id: id(name), from: 0, to: 3 })).await.unwrap();
    }
    for _ in &names {
        assert!(matches!(answers.recv().await, Some(TargetReport::Applied { outcome: Ok(()), .. })));
    }
    println!("1,000 woken at once are patched after {:?} (scripted server)", began.elapsed());
    let calls = server.since(mark).counts();
    assert_eq!(calls.get(&("patch", "deployments/scale".into())), Some(&1_000), "{calls:?}");
    assert_eq!(calls.len(), 1, "nothing else: {calls:?}");
    assert!(names.iter().all(|name| replicas(&server, name) == 3));
    until_along("the watch has shown it", || names.iter().all(|name| rig.view(name).is_some_and(|v| v.replicas == 3)))
        .await;
}
