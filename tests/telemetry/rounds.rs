//! From a poll over a decision to an answer: one number in all of their lines, and the caller's own in the last.

use serde_json::Value;

use crate::support::redis::RedisProcess;
use crate::support::tidegate::{Tidegate, until_along};

/// Lines with this message.
fn lines(tidegate: &Tidegate, message: &str) -> Vec<Value> {
    let log = tidegate.log();
    let parsed = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    parsed.filter(|line| line["message"] == message).collect()
}

fn has_round(lines: &[Value], round: u64) -> bool {
    lines.iter().any(|line| line["round"].as_u64() == Some(round))
}

#[tokio::test]
async fn one_number_leads_from_the_poll_over_the_decision_to_the_answer() {
    let redis = RedisProcess::start();
    let manifests = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: main, namespace: pulse }}\n\
         spec: {{ redis: {{ address: '{}' }} }}\n---\napiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\n\
         metadata: {{ name: mail, namespace: pulse }}\nspec:\n  scaleTargetRef: {{ name: mail }}\n  pollingInterval: 100ms\n  \
         triggers: [{{ connection: main, redisList: {{ keys: [mail] }}, policy: {{ backlogPerReplica: {{ target: 5 }} }} }}]\n",
        redis.address()
    );
    let tidegate = Tidegate::start(&manifests, &["--log", "info,tidegate::poller=debug,tidegate::serve=debug"]);
    until_along("ready", || tidegate.is_ready()).await;
    let _: i64 = redis.command(&["RPUSH", "mail", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"]);
    until_along("the decision", || tidegate.detail("pulse", "mail")["desired"] == 3).await;

    // The decision: its line names the round that saw the items, and the poller has a line about that round.
    until_along("its line", || lines(&tidegate, "decided").iter().any(|line| line["desired"] == 3)).await;
    let decided = lines(&tidegate, "decided").into_iter().find(|line| line["desired"] == 3).unwrap();
    let round = decided["round"].as_u64().expect("a round");
    assert!(has_round(&lines(&tidegate, "round answered"), round), "the poll of round {round}");

    // The API names the rounds of the decision and of each trigger's value.
    let detail = tidegate.detail("pulse", "mail");
    let (latest, read) = (detail["round"].as_u64().unwrap(), detail["triggers"][0]["round"].as_u64().unwrap());
    assert!(latest >= round && read >= round, "{detail}");
    assert!(detail["history"].as_array().unwrap().iter().any(|past| past["round"].as_u64() == Some(round)));

    // An answer: the caller's number is kept, and its line names the round that it rests on.
    let mut keda = tidegate.keda("pulse", &[("autoscaler", "mail")]).await;
    let mut request = tonic::Request::new(keda.object.clone());
    request.metadata_mut().insert("x-request-id", "ticket-4711".parse().unwrap());
    let answer = keda.client.is_active(request).await.unwrap();
    assert_eq!(answer.metadata().get("x-request-id").unwrap(), "ticket-4711");
    let of_ours = || lines(&tidegate, "answered").into_iter().find(|line| line["request_id"] == "ticket-4711");
    until_along("its line", || of_ours().is_some()).await;
    let answered = of_ours().unwrap();
    assert_eq!((&answered["method"], &answered["namespace"]), (&"IsActive".into(), &"pulse".into()), "{answered}");
    let rests_on = answered["round"].as_u64().expect("a round");
    assert!(rests_on >= round && has_round(&lines(&tidegate, "round answered"), rests_on), "{answered}");

    // A refusal has its line, too, and who brings no number gets one.
    let mut stranger = tidegate.keda("pulse", &[("autoscaler", "nobody")]).await;
    let refused = stranger.active().await.unwrap_err();
    let given = refused.metadata().get("x-request-id").expect("one of ours").to_str().unwrap().to_owned();
    until_along("the refusal's line", || {
        lines(&tidegate, "refused").iter().any(|line| line["request_id"] == given.as_str())
    })
    .await;
}
