//! Status over a real connection: what only a server can show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::CustomResourceExt;
use serde_json::json;
use tidegate::board::{Board, Cell};
use tidegate::clock::Clock;
use tidegate::cluster::client::{Kube, Scope};
use tidegate::cluster::events;
use tidegate::cluster::lease::Leadership;
use tidegate::cluster::resources::{Resource, Resources};
use tidegate::cluster::standing::Standings;
use tidegate::cluster::status::StatusWriter;
use tidegate::spec::manifest::QueueAutoscaler;
use tidegate::spec::manifest::status::QueueAutoscalerStatus;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::status_rig::{id, resource, spec, unreadable};
use crate::support::apiserver::{ApiServer, Fault, Refusal};
use crate::support::tidegate::until_along;

#[tokio::test]
async fn a_server_that_is_throttling_is_left_alone_until_it_said() {
    let server = ApiServer::start();
    server.insert(&serde_json::to_value(QueueAutoscaler::crd()).unwrap());
    server.insert(&json!({
        "apiVersion": "tidegate.dev/v1alpha1", "kind": "QueueAutoscaler",
        "metadata": {"name": "web", "namespace": "shop"}, "spec": {},
    }));
    let kube = Kube::new(server.client("tidegate").config(), Clock::start(), Scope::Cluster).unwrap();
    let standing = || server.get("queueautoscalers.tidegate.dev", "shop", "web").unwrap();
    let metadata = standing()["metadata"].clone();
    let known = Arc::new(spec("web"));
    let resources = Arc::new(Resources::default());
    resources.set(BTreeMap::from([(
        id("web"),
        Arc::new(Resource {
            uid: metadata["uid"].as_str().unwrap().into(),
            resource_version: metadata["resourceVersion"].as_str().unwrap().into(),
            ..resource(&known)
        }),
    )]));
    let board = Arc::new(Board::new(mpsc::channel(1).0));
    let cell = Arc::new(Cell::new(known, kube.clock.now()));
    cell.publish(&unreadable(kube.clock.now(), 4), &mut None);
    board.insert([cell]);

    let refusal = Refusal::too_many_requests(2);
    server.fault(Fault::on("patch", "queueautoscalers/status").times(1).answer(refusal));
    let stop = CancellationToken::new();
    let leadership = Leadership::always();
    let (events, sender) = events::channel(kube.clone(), leadership.clone(), "tidegate-0");
    let writer = StatusWriter::new(kube, leadership, board, resources, Arc::new(Standings::default()), events);
    tokio::spawn(writer.run(stop.clone()));
    tokio::spawn(sender.run(stop.clone()));
    until_along("the status", || standing()["status"].is_object()).await;
    until_along("an Event", || server.all("events.events.k8s.io").len() == 1).await;
    stop.cancel();

    let writes = server.requests().resource("queueautoscalers/status");
    assert_eq!(writes.len(), 2, "{}", writes.lines());
    assert!(writes.0[1].at - writes.0[0].at >= Duration::from_secs(2), "{}", writes.lines());
    let status: QueueAutoscalerStatus = serde_json::from_value(standing()["status"].clone()).unwrap();
    assert_eq!((status.desired_replicas, status.observed_generation), (Some(4), Some(1)));
    assert_eq!((&*status.conditions[0].kind, &*status.conditions[0].reason), ("Ready", "SourceFailing"));
    let event = &server.all("events.events.k8s.io")[0];
    let said = [&event["type"], &event["reason"], &event["regarding"]["kind"], &event["related"]["name"]];
    assert_eq!(said, ["Warning", "SourceFailing", "QueueAutoscaler", "web"]);
    assert_eq!(event["note"], status.conditions[0].message);
}
