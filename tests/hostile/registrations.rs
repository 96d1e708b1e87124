//! Floods of registrations: triggers of KEDA's metadata, each another list of an allowed server.

use std::collections::HashMap;

use futures_util::{StreamExt, stream};
use tidegate::proto::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use tonic::Code;

use super::neighbour::{House, in_the_long_run};
use super::support::tidegate::until_along;

const AT_ONCE: usize = 64;

/// KiB that a registration may cost with its decisions.
const EACH: f64 = 16.0;

/// KiB for what is remembered of a trigger's metadata, refused or not; of 32,768 at most.
const REMEMBERED: f64 = 3.0;

/// Series for each autoscaler, with room for its namespace's.
const SERIES: usize = 8;

fn object(number: usize, namespaces: usize, address: &str) -> ScaledObjectRef {
    let metadata = [("listName", format!("flood-{number}")), ("address", address.to_owned())];
    ScaledObjectRef {
        name: format!("worker-{number}"),
        namespace: format!("flood-{}", number % namespaces),
        scaler_metadata: metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
    }
}

#[tokio::test]
async fn triggers_of_one_namespace() {
    // The caps are the defaults in the long run.
    flood(in_the_long_run(20_000), 1, in_the_long_run(1000), in_the_long_run(20_000)).await;
}

#[tokio::test]
async fn triggers_of_a_hundred_namespaces() {
    flood(in_the_long_run(22_000), 100, in_the_long_run(1000), in_the_long_run(20_000)).await;
}

async fn flood(triggers: usize, namespaces: usize, per_namespace: usize, in_all: usize) {
    let house = House::with("", |address| {
        let words = ["--allow-address", address, "--max-registrations-per-namespace", &per_namespace.to_string()];
        let mut words: Vec<String> = words.iter().map(ToString::to_string).collect();
        words.extend(["--max-registrations".to_owned(), in_all.to_string()]);
        words
    })
    .await;
    let room = in_all.min(per_namespace * namespaces);
    let address = house.redis.address();
    let client = house.tidegate.client().await;
    let story = house
        .endure(async {
            let ask = |number: usize| {
                let mut client = client.clone();
                let object = Some(object(number, namespaces, &address));
                async move {
                    let answer =
                        client.get_metrics(GetMetricsRequest { scaled_object_ref: object, metric_name: String::new() });
                    answer.await.map_or_else(|status| status.code(), |_| Code::Ok)
                }
            };
            let mut codes: HashMap<Code, usize> = HashMap::new();
            let mut ends = stream::iter((0..triggers).map(ask)).buffer_unordered(AT_ONCE);
            while let Some(code) = ends.next().await {
                *codes.entry(code).or_default() += 1;
            }
            println!("{triggers} triggers over {namespaces} namespaces: {codes:?}");
            assert_eq!(codes.get(&Code::ResourceExhausted), Some(&(triggers - room)), "{codes:?}");
        })
        .await;
    let growth = 16.0 + (EACH * room as f64 + REMEMBERED * triggers as f64) / 1024.0;
    let what = format!("{triggers} triggers over {namespaces} namespaces, room for {room}");
    story.bounded_with_series(&what, growth, SERIES * room + 100);

    // It is said what was refused and why.
    let reason = if room < in_all { "namespace_registrations" } else { "registrations" };
    let refused = house.tidegate.metric(&format!("tidegate_registrations_refused_total{{reason=\"{reason}\"}}"));
    assert_eq!(refused, Some((triggers - room) as f64));
    let listed = house.tidegate.get("/api/v1/namespaces").json();
    let there: u64 = listed["items"].as_array().unwrap().iter().filter_map(|item| item["registrations"].as_u64()).sum();
    assert_eq!(there, room as u64);
    let lines = house.tidegate.log().lines().filter(|line| line.contains("registration refused")).count();
    assert!((1..300).contains(&lines), "{lines} lines of the log");

    // What was registered is read on and on.
    let metadata = [("listName", "flood-0"), ("address", address.as_str())];
    let mut first = house.tidegate.keda("flood-0", &metadata).await;
    first.object.name = "worker-0".to_owned();
    house.redis.command::<i64>(&["RPUSH", "flood-0", "1", "2", "3"]);
    first.until_value(3.0).await;
    until_along("all of them are fresh", || {
        let list = house.tidegate.get("/api/v1/autoscalers").json();
        let items = list["items"].as_array().unwrap();
        items.len() == room + 1 && items.iter().all(|item| item["health"] == "fresh")
    })
    .await;
}
