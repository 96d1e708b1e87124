//! Floods of calls that are small and well-formed to HTTP/2, and wrong in every other way.

use std::collections::HashMap;

use futures_util::{StreamExt, stream};
use prost::bytes::BufMut;
use tidegate::proto::externalscaler::external_scaler_client::ExternalScalerClient;
use tidegate::proto::externalscaler::{GetMetricsRequest, ScaledObjectRef};
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::neighbour::{House, in_the_long_run};

/// Calls of a flood.
const CALLS: usize = 20_000;

/// How many of them are under way at once.
const AT_ONCE: usize = 64;

/// MiB. The memory of what metadata says is bounded in entries; those of 20,000 short asks are some 20 MiB.
const SOME: f64 = 48.0;

/// MiB. Nothing that stays; what is under way, and what the allocator keeps of it.
const NEXT_TO_NOTHING: f64 = 16.0;

fn object(metadata: &[(&str, String)]) -> ScaledObjectRef {
    let scaler_metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
    ScaledObjectRef { name: "worker".to_owned(), namespace: "pulse".to_owned(), scaler_metadata }
}

/// Runs all calls, a bounded number at once, and counts the codes that they end with.
async fn flood<T>(calls: impl Iterator<Item = T>) -> HashMap<Code, usize>
where
    T: Future<Output = Result<(), Status>>,
{
    let mut codes = HashMap::new();
    let mut answers = std::pin::pin!(all(calls));
    while let Some(answer) = answers.next().await {
        *codes.entry(answer.map_or_else(|status| status.code(), |()| Code::Ok)).or_default() += 1;
    }
    codes
}

fn all<T: Future>(calls: impl Iterator<Item = T>) -> impl Stream<Item = T::Output> {
    stream::iter(calls).buffer_unordered(AT_ONCE)
}

async fn value(
    mut client: ExternalScalerClient<Channel>,
    object: ScaledObjectRef,
    metric: String,
) -> Result<(), Status> {
    let request = GetMetricsRequest { scaled_object_ref: Some(object), metric_name: metric };
    client.get_metrics(request).await.map(drop)
}

#[tokio::test]
async fn names_that_nobody_declared() {
    let calls = in_the_long_run(CALLS);
    let house = House::open().await;
    let client = house.tidegate.client().await;
    let story = house
        .endure(async {
            let ask = |i: usize| value(client.clone(), object(&[("autoscaler", format!("nobody-{i}"))]), String::new());
            let codes = flood((0..calls).map(ask)).await;
            assert_eq!(codes, HashMap::from([(Code::NotFound, calls)]));
        })
        .await;
    story.bounded("names that nobody declared", SOME);
    let listed = house.tidegate.get("/api/v1/autoscalers").json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1, "none of them is remembered as an autoscaler");
}

#[tokio::test]
async fn metrics_that_are_not_ours() {
    let calls = in_the_long_run(CALLS);
    let house = House::open().await;
    let client = house.tidegate.client().await;
    let story = house
        .endure(async {
            let mail = object(&[("autoscaler", "mail".to_owned())]);
            let ask = |i: usize| value(client.clone(), mail.clone(), format!("s{i}-redis-{i}"));
            let codes = flood((0..calls).map(ask)).await;
            assert_eq!(codes, HashMap::from([(Code::NotFound, calls)]));
        })
        .await;
    story.bounded("metrics that are not ours", NEXT_TO_NOTHING);
}

#[tokio::test]
async fn maps_that_mean_nothing() {
    let calls = in_the_long_run(CALLS);
    let house = House::open().await;
    let client = house.tidegate.client().await;
    let story = house
        .endure(async {
            let ask = |i: usize| {
                let map =
                    [("listName", format!("jobs-{i}")), ("listLength", "many".to_owned()), ("colour", i.to_string())];
                value(client.clone(), object(&map), String::new())
            };
            let codes = flood((0..calls).map(ask)).await;
            assert_eq!(codes, HashMap::from([(Code::InvalidArgument, calls)]));
        })
        .await;
    story.bounded("maps that mean nothing", SOME);
}

#[tokio::test]
async fn huge_maps() {
    let calls = in_the_long_run(1000);
    let house = House::open().await;
    let client = house.tidegate.client().await;
    let story = house
        .endure(async {
            // The first is more than a message may be, the second more than a trigger's metadata.
            for (length, code) in [(1 << 20, Code::OutOfRange), (48 << 10, Code::InvalidArgument)] {
                let ask = |i: usize| {
                    let map = [("listName", format!("jobs-{i}")), ("comment", "x".repeat(length))];
                    value(client.clone(), object(&map), String::new())
                };
                let codes = flood((0..calls).map(ask)).await;
                assert_eq!(codes, HashMap::from([(code, calls)]));
            }
        })
        .await;
    // As many as are under way are there at once, in pieces and in one.
    story.bounded("huge maps", 4.0 * AT_ONCE as f64);
}

#[tokio::test]
async fn messages_that_are_none() {
    let calls = in_the_long_run(CALLS);
    let house = House::open().await;
    let channel = house.tidegate.channel().await;
    let methods = ["IsActive", "StreamIsActive", "GetMetricSpec", "GetMetrics", "StreamMetricSpec"];
    // Of a length that never comes; of a type that there is not; no UTF-8; a group that does not end.
    let broken: [&[u8]; 4] = [b"\x0a\xff\xff\xff\xff\x0fx", b"\x0e", b"\x0a\x02\xc0\x80", b"\x1b\x1b\x1b\x1b"];
    let story = house
        .endure(async {
            let ask = |i: usize| raw(channel.clone(), methods[i % methods.len()], broken[i % broken.len()]);
            let codes = flood((0..calls).map(ask)).await;
            assert_eq!(codes, HashMap::from([(Code::Internal, calls)]));
        })
        .await;
    story.bounded("messages that are none", NEXT_TO_NOTHING);
}

/// Sends these bytes as a message.
async fn raw(channel: Channel, method: &str, bytes: &'static [u8]) -> Result<(), Status> {
    let mut client = Grpc::new(channel);
    client.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
    let path: PathAndQuery = format!("/externalscaler.ExternalScaler/{method}").parse().unwrap();
    let mut answers = client.server_streaming(Request::new(bytes), path, Raw).await?.into_inner();
    answers.message().await.map(drop)
}

/// Bytes as they are.
struct Raw;

impl Codec for Raw {
    type Encode = &'static [u8];
    type Decode = ();
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = &'static [u8];
    type Error = Status;

    fn encode(&mut self, bytes: &'static [u8], to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(bytes);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, _: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        Ok(Some(()))
    }
}
