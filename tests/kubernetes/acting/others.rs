//! Workloads that become others under the same autoscaler: made anew under their name, or named anew by
//! `scaleTargetRef`.

use std::sync::Arc;
use std::time::Duration;

use tidegate::cluster::standing::Workload;
use tidegate::model::{Replicas, SetBy, TargetReport};
use tidegate::target::{ScaleError, Target};

use super::rig::{Rig, deployment, id, replicas, rig, to};
use crate::support::apiserver::{ApiServer, Fault};
use crate::support::tidegate::until_along;

const SCALE: &str = "deployments/scale";

/// The next report that says something new: how many, whose, and whether it is of another object.
async fn next(rig: &mut Rig, last: Option<(Replicas, SetBy, bool)>) -> (Replicas, SetBy, bool) {
    loop {
        let report = tokio::time::timeout(Duration::from_secs(20), rig.reports.recv()).await.unwrap();
        if let Some(TargetReport::Current { replicas, set_by, another, .. }) = report
            && last != Some((replicas, set_by, another))
        {
            return (replicas, set_by, another);
        }
    }
}

#[tokio::test]
async fn an_object_made_anew_and_one_of_another_name_are_told_as_such_once() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 2));
    server.insert(&deployment("api", 2));
    let mut rig = rig(&server, "a");
    rig.follow_deployment("web").await;
    assert_eq!(next(&mut rig, None).await, (2, SetBy::Other, false));
    assert!(server.delete("deployments.apps", "default", "web"));
    server.insert(&deployment("web", 0));
    assert_eq!(next(&mut rig, None).await, (0, SetBy::Other, true));
    server.insert(&deployment("web", 3));
    assert_eq!(next(&mut rig, Some((0, SetBy::Other, true))).await, (3, SetBy::Other, false));
    rig.workloads.follow(vec![(id("web"), to("apps/v1", "Deployment", "api"))], vec![]);
    assert_eq!(next(&mut rig, None).await, (2, SetBy::Other, true));
    // Named again as it was: whoever decides may have begun anew, and hears of a workload that rests.
    rig.workloads.follow(vec![(id("web"), to("apps/v1", "Deployment", "api"))], vec![]);
    assert_eq!(next(&mut rig, None).await, (2, SetBy::Other, false));
}

#[tokio::test]
async fn what_became_of_another_workload_is_no_news_of_this_one() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 2));
    server.insert(&deployment("api", 2));
    let rig = rig(&server, "a");
    rig.follow_deployment("web").await;
    let slow = server.fault(Fault::on("patch", SCALE).delay(Duration::from_millis(500)));
    let target = Arc::clone(&rig.target);
    let scaling = tokio::spawn(async move { target.scale(&id("web"), 2, 9).await });
    until_along("it is on its way", || slow.hits() == 1).await;
    rig.workloads.follow(vec![(id("web"), to("apps/v1", "Deployment", "api"))], vec![]);
    let outcome = scaling.await.unwrap();
    assert!(matches!(outcome, Err(ScaleError::Failed(_))), "{outcome:?}");
    assert_eq!((replicas(&server, "web"), replicas(&server, "api")), (9, 2));
    rig.scale("web", 2, 9).await.unwrap();
    assert_eq!(replicas(&server, "api"), 9);
}

/// A decision and the restoring of what is deleted: the one that is on its way must not land after the other has found
/// nothing to do.
#[tokio::test]
async fn one_request_for_an_autoscaler_is_under_way_and_another_comes_back_later() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 3));
    let rig = rig(&server, "a");
    rig.follow_deployment("web").await;
    let slow = server.fault(Fault::on("patch", SCALE).times(1).delay(Duration::from_millis(300)));
    let target = Arc::clone(&rig.target);
    let deciding = tokio::spawn(async move { target.scale(&id("web"), 3, 9).await });
    until_along("it is on its way", || slow.hits() == 1).await;
    let refused = rig.scale("web", 3, 3).await.unwrap_err();
    assert!(refused.may_pass(), "{refused}");
    deciding.await.unwrap().unwrap();
    rig.scale("web", 9, 3).await.unwrap();
    assert_eq!(replicas(&server, "web"), 3);
}

#[tokio::test]
async fn of_who_is_gone_nothing_is_known_any_more() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 3));
    let rig = rig(&server, "a");
    rig.follow_deployment("web").await;
    rig.scale("web", 3, 4).await.unwrap();
    until_along("it is told", || rig.standings.get(&id("web")).workload != Workload::Unknown).await;
    rig.workloads.follow(vec![], vec![id("web")]);
    until_along("nothing is left of it", || rig.standings.is_empty()).await;
    assert!(rig.scale("web", 4, 5).await.is_err(), "a late request");
    assert!(rig.standings.is_empty());
}
