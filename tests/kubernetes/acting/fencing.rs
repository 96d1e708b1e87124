//! Who may send: the term is asked for last, and a version from before a freeze is worth nothing after it.

use std::time::Duration;

use tidegate::cluster::lease::Term;
use tidegate::model::Tick;
use tidegate::target::ScaleError;

use super::rig::{FIRST, deployment, replicas, rig};
use crate::support::apiserver::{ApiServer, Fault};
use crate::support::tidegate::until_along;

const SCALE: &str = "deployments/scale";

#[tokio::test]
async fn who_does_not_lead_sends_nothing() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 2));
    let rig = rig(&server, "a");
    rig.follow_deployment("web").await;
    let over = Term { number: 1, until: Tick::ZERO };
    let nearly = Term { number: 1, until: rig.kube.clock.now().after(Duration::from_millis(100)) };
    for term in [None, Some(over), Some(nearly)] {
        rig.terms.send_replace(term);
        assert_eq!(rig.scale("web", 2, 3).await, Err(ScaleError::NotLeading), "{term:?}");
    }
    assert_eq!(rig.requests(&server).writes().len(), 0);
    assert_eq!(rig.failed("web"), None, "no failure of the workload");
}

#[tokio::test]
async fn a_term_that_ends_between_the_read_and_the_patch_is_noticed() {
    for next in [None, Some(Term { number: 2, until: Tick::NEVER })] {
        let server = ApiServer::start();
        server.insert(&deployment("web", 5));
        let rig = rig(&server, "a");
        rig.follow_deployment("web").await;
        let slow = server.fault(Fault::on("get", SCALE).delay(Duration::from_millis(300)));
        let (target, web) = (std::sync::Arc::clone(&rig.target), super::rig::id("web"));
        let scaling = tokio::spawn(async move { tidegate::target::Target::scale(&*target, &web, 5, 1).await });
        until_along("it reads", || slow.hits() == 1).await;
        rig.terms.send_replace(next);
        assert_eq!(scaling.await.unwrap(), Err(ScaleError::NotLeading));
        assert_eq!((rig.requests(&server).writes().len(), replicas(&server, "web")), (0, 5));
    }
}

#[tokio::test]
async fn the_first_patch_of_a_term_rests_on_nothing_from_before_it() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 2));
    let rig = rig(&server, "a");
    rig.follow_deployment("web").await;
    rig.terms.send_replace(Some(Term { number: 7, ..FIRST }));
    rig.scale("web", 2, 3).await.unwrap();
    assert_eq!(rig.calls(&server), (1, 1), "read first");
    rig.scale("web", 3, 4).await.unwrap();
    assert_eq!(rig.calls(&server), (1, 2));
}

/// As a process does that is stopped with SIGSTOP after it decided to send, and wakes when another one leads.
#[tokio::test]
async fn a_patch_that_was_frozen_on_its_way_does_not_undo_what_the_next_leader_did() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 2));
    let (old, new) = (rig(&server, "old"), rig(&server, "new"));
    old.follow_deployment("web").await;
    new.follow_deployment("web").await;
    new.terms.send_replace(None);
    let frozen = server.fault(Fault::on("patch", SCALE).of("old").delay(Duration::from_secs(1)));
    let target = std::sync::Arc::clone(&old.target);
    let late =
        tokio::spawn(async move { tidegate::target::Target::scale(&*target, &super::rig::id("web"), 2, 9).await });
    until_along("it is on its way", || frozen.hits() == 1).await;
    old.terms.send_replace(None);
    new.terms.send_replace(Some(Term { number: 2, until: Tick::NEVER }));
    new.scale("web", 2, 4).await.unwrap();
    // Back at the very count that the old one had seen.
    new.scale("web", 4, 2).await.unwrap();
    assert!(late.await.unwrap().is_err());
    let sent = old.requests(&server).verb("patch");
    assert_eq!((sent.len(), sent.clone().code(409).len(), sent.applied().len()), (1, 1, 0));
    assert_eq!(replicas(&server, "web"), 2);
}
