//! What becomes of a request, by what the server says.

use std::time::Duration;

use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::json;
use tidegate::cluster::standing::Workload;
use tidegate::model::{FailureKind, SetBy};
use tidegate::target::ScaleError;

use super::rig::{Rig, deployment, replicas, rig};
use crate::support::apiserver::{ApiServer, Effect, Fault, Refusal};
use crate::support::tidegate::until_along;

const SCALE: &str = "deployments/scale";

async fn standing_at(server: &ApiServer, count: i32) -> Rig {
    server.insert(&deployment("web", count));
    let rig = rig(server, "a");
    rig.follow_deployment("web").await;
    rig
}

/// Somebody else's client.
fn deployments(server: &ApiServer) -> Api<DynamicObject> {
    let client = kube::Client::try_from(server.client("person").config()).unwrap();
    let api = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
    Api::namespaced_with(client, "default", &api)
}

fn by(manager: &str) -> PatchParams {
    PatchParams { field_manager: Some(manager.into()), ..PatchParams::default() }
}

#[tokio::test]
async fn up_costs_one_patch_and_down_a_read_before_it() {
    let server = ApiServer::start();
    let mut rig = standing_at(&server, 2).await;
    assert_eq!(rig.last_report().await, Some((2, SetBy::Other)));
    rig.scale("web", 2, 5).await.unwrap();
    assert_eq!((replicas(&server, "web"), rig.calls(&server)), (5, (0, 1)));
    assert_eq!(rig.last_report().await, Some((5, SetBy::Tidegate)));
    rig.scale("web", 5, 0).await.unwrap();
    assert_eq!((replicas(&server, "web"), rig.calls(&server)), (0, (1, 2)));
    rig.scale("web", 0, 3).await.unwrap();
    assert_eq!((replicas(&server, "web"), rig.calls(&server)), (3, (1, 3)));
    let patches = rig.requests(&server).verb("patch");
    assert!(patches.0.iter().all(|patch| patch.given_rv.is_some() && patch.manager == "tidegate"), "{patches:?}");
    // What stands already is a success, and nothing is sent.
    rig.scale("web", 0, 3).await.unwrap();
    assert_eq!(rig.calls(&server).1, 3);
    let standing = rig.standings.get(&super::rig::id("web"));
    assert_eq!(standing.scaled.map(|scaled| scaled.to), Some(3));
    assert_eq!(standing.failed, None);
}

#[tokio::test]
async fn each_refusal_has_its_outcome_and_its_word() {
    let server = ApiServer::start();
    let rig = standing_at(&server, 2).await;
    let forbidden = Refusal::forbidden("a", "patch", "deployments", "scale", "apps", "web", "default");
    let invalid = Refusal::invalid("Scale", "autoscaling", "web", "FieldValueInvalid", "spec.replicas", "too many");
    type Is = fn(&ScaleError) -> bool;
    let cases: [(Refusal, &str, bool, Is); 7] = [
        (forbidden, "forbidden", false, |e| matches!(e, ScaleError::Forbidden(said) if said.contains("--rbac"))),
        (invalid, "invalid", false, |e| matches!(e, ScaleError::Invalid(said) if said.contains("too many"))),
        (Refusal::bad_request("odd"), "invalid", false, |e| matches!(e, ScaleError::Invalid(_))),
        (Refusal::unauthorized(), "authentication", false, |e| matches!(e, ScaleError::Failed(_))),
        (Refusal::unavailable(), "not_serving", true, |e| matches!(e, ScaleError::Failed(_))),
        (Refusal::timeout(), "timeout", true, |e| matches!(e, ScaleError::Failed(_))),
        (Refusal::internal("odd"), "not_serving", true, |e| matches!(e, ScaleError::Failed(_))),
    ];
    for (refusal, label, may_pass, is) in cases {
        let fault = server.fault(Fault::on("patch", SCALE).times(1).answer(refusal));
        let error = rig.scale("web", 2, 3).await.unwrap_err();
        assert!(is(&error) && error.label() == label && error.may_pass() == may_pass, "{label}: {error:?}");
        assert_eq!((fault.hits(), rig.failed("web")), (1, Some(label)));
    }
    assert_eq!(replicas(&server, "web"), 2);
    rig.scale("web", 2, 3).await.unwrap();
    assert_eq!((replicas(&server, "web"), rig.failed("web")), (3, None));
}

#[tokio::test]
async fn a_server_that_throttles_is_left_alone_for_as_long_as_it_says() {
    let server = ApiServer::start();
    let rig = standing_at(&server, 2).await;
    let fault = server.fault(Fault::on("patch", SCALE).times(1).answer(Refusal::too_many_requests(2)));
    for _ in 0..5 {
        let error = rig.scale("web", 2, 3).await.unwrap_err();
        let ScaleError::Throttled { retry_after } = error else { panic!("{error:?}") };
        assert!(retry_after > Duration::from_secs(1) && retry_after <= Duration::from_secs(2), "{retry_after:?}");
    }
    assert_eq!((fault.hits(), rig.calls(&server)), (1, (0, 1)));
}

#[tokio::test]
async fn a_lost_answer_is_found_by_reading_and_nothing_is_applied_twice() {
    for (effect, patches) in [(Effect::DropAfter, 1), (Effect::Drop, 2)] {
        let server = ApiServer::start();
        let rig = standing_at(&server, 2).await;
        server.fault(Fault::on("patch", SCALE).times(1).effect(effect.clone()));
        let error = rig.scale("web", 2, 6).await.unwrap_err();
        assert!(matches!(&error, ScaleError::Failed(f) if f.kind == FailureKind::Unreachable), "{error:?}");
        rig.scale("web", 2, 6).await.unwrap();
        let sent = rig.requests(&server).verb("patch");
        assert_eq!((replicas(&server, "web"), sent.len(), sent.clone().applied().len()), (6, patches, 1), "{sent:?}");
        assert_eq!(rig.calls(&server).0, 1, "read before the second attempt");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_a_bounded_time_and_the_next_attempt_reads() {
    let server = ApiServer::start();
    let rig = standing_at(&server, 2).await;
    server.fault(Fault::on("patch", SCALE).times(1).effect(Effect::HangAfter));
    let began = std::time::Instant::now();
    let error = rig.scale("web", 2, 6).await.unwrap_err();
    assert!(matches!(&error, ScaleError::Failed(f) if f.kind == FailureKind::Timeout), "{error:?}");
    assert!(began.elapsed() < Duration::from_secs(10));
    rig.scale("web", 2, 6).await.unwrap();
    assert_eq!(rig.calls(&server), (1, 1));
}

#[tokio::test]
async fn a_person_who_changes_the_count_is_respected() {
    let server = ApiServer::start();
    let mut rig = standing_at(&server, 2).await;
    let person = Patch::Merge(json!({"spec": {"replicas": 7}}));
    deployments(&server).patch("web", &by("kubectl"), &person).await.unwrap();
    // Decided on what was true a moment ago.
    let error = rig.scale("web", 2, 3).await.unwrap_err();
    assert_eq!(error, ScaleError::Conflict { expected: 2, found: 7 });
    assert!(!error.may_pass());
    assert_eq!(rig.failed("web"), Some("conflict"));
    assert_eq!((replicas(&server, "web"), rig.requests(&server).verb("patch").applied().len()), (7, 0));
    assert_eq!(rig.last_report().await, Some((7, SetBy::Other)));
    rig.scale("web", 7, 3).await.unwrap();
    assert_eq!(replicas(&server, "web"), 3);
}

#[tokio::test]
async fn an_old_version_is_a_reason_to_look_again_and_not_to_give_up() {
    let server = ApiServer::start();
    let rig = standing_at(&server, 2).await;
    let fault = server.fault(Fault::on("patch", SCALE).times(3).effect(Effect::Modified));
    rig.scale("web", 2, 4).await.unwrap();
    assert_eq!((fault.hits(), replicas(&server, "web"), rig.calls(&server)), (3, 4, (3, 4)));
    // For ever: the decision stays, and may be repeated.
    server.fault(Fault::on("patch", SCALE).effect(Effect::Modified));
    let error = rig.scale("web", 4, 5).await.unwrap_err();
    assert_eq!(error, ScaleError::Conflict { expected: 4, found: 4 });
    assert!(error.may_pass());
}

#[tokio::test]
async fn two_hundred_changes_a_second_of_something_else_do_not_stop_it() {
    let server = ApiServer::start();
    let rig = standing_at(&server, 1).await;
    let api = deployments(&server);
    let storm = tokio::spawn(async move {
        let mut every = tokio::time::interval(Duration::from_millis(5));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        for number in 0_u64.. {
            every.tick().await;
            let status = json!({"status": {"observedGeneration": number}});
            api.patch_status("web", &by("deployment-controller"), &Patch::Merge(status)).await.unwrap();
        }
    });
    let began = std::time::Instant::now();
    // As the actuator does: what may pass is asked again. On a busy machine several reads in a row may come too late.
    let mut repeated = 0;
    for (from, to) in (1..=30).map(|count| (count, count + 1)).chain((2..=31).rev().map(|count| (count, count - 1))) {
        while let Err(error) = rig.scale("web", from, to).await {
            repeated += 1;
            assert!(error.may_pass() && repeated < 60, "{error:?}");
        }
    }
    let took = began.elapsed();
    storm.abort();
    let patches = rig.requests(&server).verb("patch");
    let (applied, conflicts) = (patches.clone().applied().len(), patches.clone().code(409).len());
    println!("60 scalings in {took:?}: {applied} applied, {conflicts} conflicts, {repeated} repeated");
    assert_eq!((replicas(&server, "web"), applied), (1, 60));
    let steps: Vec<i64> =
        patches.applied().0.iter().filter_map(crate::support::apiserver::record::Entry::replicas).collect();
    assert_eq!(steps, (2..=31).chain((1..=30).rev()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_missing_workload_is_said_and_found_when_it_comes() {
    let server = ApiServer::start();
    let mut rig = rig(&server, "a");
    // Not followed is not missing: whoever restores it must not take it for gone.
    let early = rig.scale("web", 0, 1).await.unwrap_err();
    assert!(early.may_pass() && early.to_string().contains("not followed"), "{early}");
    rig.follow("web", "apps/v1", "Deployment");
    let said = rig.stands_as("web", |workload| matches!(workload, Workload::Missing(_))).await;
    let Workload::Missing(text) = said else { unreachable!() };
    assert!(text.contains("no Deployment web in namespace default") && text.contains("scaleTargetRef"), "{text}");
    assert!(matches!(rig.scale("web", 0, 1).await, Err(ScaleError::Unknown(_))));
    assert_eq!(rig.calls(&server), (0, 0), "the watch knows");
    server.insert(&deployment("web", 3));
    rig.sees("web", 3).await;
    assert_eq!(rig.last_report().await, Some((3, SetBy::Other)));
    rig.scale("web", 3, 4).await.unwrap();
    // It goes, and an attempt that did not know is told.
    assert!(server.delete("deployments.apps", "default", "web"));
    rig.stands_as("web", |workload| matches!(workload, Workload::Missing(_))).await;
    server.insert(&deployment("web", 1));
    rig.sees("web", 1).await;
    assert!(matches!(
        rig.stands_as("web", |w| matches!(w, Workload::Seen { .. })).await,
        Workload::Seen { replicas: 1, .. }
    ));
}

#[tokio::test]
async fn a_report_channel_that_is_full_loses_nothing_that_is_last() {
    let server = ApiServer::start();
    server.insert(&deployment("web", 1));
    server.insert(&deployment("api", 1));
    let mut rig = super::rig::rig_with(&server, "a", 1);
    rig.follow_deployment("web").await;
    rig.follow_deployment("api").await;
    for count in 2..=40 {
        server.insert_as("kubectl", &deployment("web", count));
        server.insert_as("kubectl", &deployment("api", count));
    }
    rig.sees("web", 40).await;
    rig.sees("api", 40).await;
    let (mut last, mut reports) = (std::collections::HashMap::new(), 0);
    while let Ok(Some(report)) = tokio::time::timeout(Duration::from_millis(300), rig.reports.recv()).await {
        if let tidegate::model::TargetReport::Current { id, replicas, .. } = report {
            last.insert(id.name.to_string(), replicas);
            reports += 1;
        }
    }
    assert_eq!(last, [("web".to_owned(), 40), ("api".to_owned(), 40)].into());
    assert!(reports < 10, "{reports}");
}

#[tokio::test]
async fn a_watch_that_breaks_or_expires_goes_on() {
    let server = ApiServer::start();
    let rig = standing_at(&server, 1).await;
    server.expire();
    server.insert_as("kubectl", &deployment("web", 5));
    rig.sees("web", 5).await;
    server.delete("deployments.apps", "default", "web");
    server.expire();
    until_along("it is missed", || matches!(rig.standings.get(&super::rig::id("web")).workload, Workload::Missing(_)))
        .await;
}
