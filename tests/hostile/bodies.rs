//! Requests that announce more than they send, or more than a request may have.

use std::collections::HashMap;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use tonic::Code;
use tonic::body::Body;
use tonic::codegen::Bytes;

use super::neighbour::{House, in_the_long_run};
use super::wire::{self, GET_METRICS, call, channel_from, stranger};

/// A message's prefix and what is there of it.
fn message(compressed: u8, announced: u32, there: usize) -> Bytes {
    let mut bytes = vec![compressed];
    bytes.extend_from_slice(&announced.to_be_bytes());
    bytes.resize(bytes.len() + there, b'x');
    Bytes::from(bytes)
}

/// These bytes, and no end of the body.
fn open_ended(bytes: Bytes) -> Body {
    wire::pieces(stream::iter([bytes]).chain(stream::pending()))
}

fn ended(bytes: Bytes) -> Body {
    wire::pieces(stream::iter([bytes]))
}

fn codes(ends: impl IntoIterator<Item = Code>) -> HashMap<Code, usize> {
    ends.into_iter().fold(HashMap::new(), |mut codes, code| {
        *codes.entry(code).or_default() += 1;
        codes
    })
}

/// A body, headers, and what the call ends with.
type Kind<'a> = (fn() -> Body, &'a [(&'static str, &'static str)], Code);

#[tokio::test]
async fn messages_larger_than_any_may_be() {
    let calls = in_the_long_run(1000);
    let house = House::open().await;
    let channel = channel_from(stranger(1), house.tidegate.grpc_address()).await;
    let gzip = &[("grpc-encoding", "gzip")][..];
    let story = house
        .endure(async {
            // What is announced is refused by its prefix: nobody waits for the rest, nor sets memory aside for it.
            let kinds: [Kind<'_>; 5] = [
                (|| ended(message(0, 1 << 20, 1 << 20)), &[], Code::OutOfRange),
                (|| open_ended(message(0, u32::MAX, 0)), &[], Code::OutOfRange),
                (|| ended(message(0, u32::MAX, 0)), &[], Code::OutOfRange),
                // A flag without an encoding, and an encoding that we do not speak.
                (|| ended(message(1, 1000, 1000)), &[], Code::Internal),
                (|| open_ended(message(1, u32::MAX, 1000)), gzip, Code::Unimplemented),
            ];
            for (body, headers, code) in kinds {
                let ends = (0..calls).map(|_| call(channel.clone(), GET_METRICS, headers, body()));
                let ends = stream::iter(ends).buffer_unordered(64).collect::<Vec<_>>().await;
                assert_eq!(codes(ends), HashMap::from([(code, calls)]));
            }
        })
        .await;
    story.bounded(&format!("5 x {calls} messages too large, or compressed"), 64.0);
    assert_eq!(house.tidegate.metric("tidegate_grpc_calls_in_flight"), Some(0.0));
}

/// 60 KiB announced, half of it sent, and never an end: 546 of them fill the 32 MiB that are for all.
#[tokio::test]
async fn many_large_requests_at_once() {
    const CALLS: usize = 1500;
    const ROOM: usize = (32 << 20) / (60 << 10);
    let house = House::open().await;
    let mut channels = Vec::new();
    for number in 0..4 {
        channels.push(channel_from(stranger(number), house.tidegate.grpc_address()).await);
    }
    let story = house
        .endure(async {
            let ends = (0..CALLS).map(|number| {
                let body = open_ended(message(0, 60 << 10, 30 << 10));
                call(channels[number % channels.len()].clone(), GET_METRICS, &[], body)
            });
            let codes = codes(join_all(ends).await);
            let (late, refused) = (codes[&Code::DeadlineExceeded], codes[&Code::ResourceExhausted]);
            println!("many large requests at once: {late} had room and ended late, {refused} were refused");
            assert_eq!(late + refused, CALLS, "{codes:?}");
            // Those that were given up make room for others, on a machine that takes seconds to read them all.
            assert!(late >= ROOM.min(CALLS) - 10 && refused > 0, "{codes:?}");
        })
        .await;
    // The 32 MiB, and as much again for what the refused had sent when they were told and the allocator keeps.
    story.bounded("1500 requests of 60 KiB, half sent", 96.0);
    let refused = house.tidegate.metric("tidegate_grpc_calls_refused_total{reason=\"bytes\"}");
    assert!(refused.is_some_and(|refused| refused > 0.0));
    assert_eq!(house.tidegate.metric("tidegate_grpc_calls_in_flight"), Some(0.0));
}
