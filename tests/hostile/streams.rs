//! Ten thousand streams: honest ones in what they say, as many as nobody has.

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tidegate::proto::externalscaler::{IsActiveResponse, ScaledObjectRef};
use tokio::time::timeout;
use tonic::Streaming;
use tonic::transport::Channel;

use super::neighbour::{House, autoscaler, in_the_long_run};
use super::support::tidegate::{PATIENCE, until_along};
use super::wire::{channel_from, stranger};

const STREAMS: usize = 10_000;

/// Being opened at once.
const AT_ONCE: usize = 256;

/// KiB for each, HTTP/2's own and the connection's buffers included: a hundred thousand of them would fit into a GiB.
const EACH: f64 = 10.0;

const GAUGE: &str = "tidegate_grpc_streams{method=\"StreamIsActive\"}";

#[tokio::test]
async fn ten_thousand_streams_over_one_connection() {
    streams_over(1).await;
}

#[tokio::test]
async fn ten_thousand_streams_over_twenty_connections() {
    streams_over(20).await;
}

async fn streams_over(connections: usize) {
    let streams = in_the_long_run(STREAMS);
    let mut house = House::with(&["rush-0", "rush-1", "rush-2"].map(autoscaler).concat(), |_| Vec::new()).await;
    house.tidegate.until_ready();
    let mut clients = Vec::new();
    for number in 0..connections {
        let from = stranger((number % 4) as u8);
        clients.push(ExternalScalerClient::new(channel_from(from, house.tidegate.grpc_address()).await));
    }
    let mut resident = Vec::new();
    let story = house
        .endure(async {
            for list in ["rush-0", "rush-1"] {
                let before = house.tidegate.rss_mib();
                let mut open = open(&clients, list, streams).await;
                assert_eq!(house.tidegate.metric(GAUGE), Some(streams as f64));
                let with_them = house.tidegate.rss_mib();
                let each = (with_them - before) * 1024.0 / streams as f64;
                println!("{streams} streams over {connections} connections: {each:.2} KiB each");
                resident.push(with_them);

                house.redis.command::<i64>(&["RPUSH", list, "first"]);
                let edges = join_all(open.iter_mut().map(|stream| timeout(PATIENCE, stream.message()))).await;
                let told =
                    edges.into_iter().filter(|edge| matches!(edge, Ok(Ok(Some(IsActiveResponse { result: true })))));
                assert_eq!(told.count(), streams, "the edge is told to each");
                drop(open);
                until_along("all streams are closed", || house.tidegate.metric(GAUGE) == Some(0.0)).await;
            }
        })
        .await;
    assert_eq!(house.tidegate.metric("tidegate_grpc_calls_in_flight"), Some(0.0));
    let what = format!("{streams} streams over {connections} connections, twice");
    story.bounded(&what, 8.0 + EACH * streams as f64 / 1024.0);
    let [first, second] = resident[..] else { panic!("{resident:?}") };
    assert!(second < first * 1.25, "what the first streams had is used again: {first:.1}, then {second:.1} MiB");

    // And the end of the process ends them well: KEDA would back off after anything else.
    let mut open = open(&clients, "rush-2", streams).await;
    house.tidegate.signal("-TERM");
    let ends = join_all(open.iter_mut().map(|stream| timeout(PATIENCE, stream.message()))).await;
    assert_eq!(ends.into_iter().filter(|end| matches!(end, Ok(Ok(None)))).count(), streams);
    drop(clients);
    assert!(house.tidegate.wait_along().await.success());
}

/// Streams about `list`, each of another ScaledObject.
async fn open(
    clients: &[ExternalScalerClient<Channel>],
    list: &str,
    streams: usize,
) -> Vec<Streaming<IsActiveResponse>> {
    let open = |number: usize| {
        let mut client = clients[number % clients.len()].clone();
        let object = ScaledObjectRef {
            name: format!("worker-{number}"),
            namespace: "pulse".to_owned(),
            scaler_metadata: [("autoscaler".to_owned(), list.to_owned())].into(),
        };
        async move { timeout(PATIENCE, client.stream_is_active(object)).await.unwrap().unwrap().into_inner() }
    };
    stream::iter((0..streams).map(open)).buffer_unordered(AT_ONCE).collect().await
}
