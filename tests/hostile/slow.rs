//! Slow clients: they connect, say little or nothing, and stay.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use futures_util::stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic::codegen::Bytes;

use super::neighbour::{House, in_the_long_run, is_long};
use super::support::tidegate::{PATIENCE, until_along};
use super::wire::{self, GET_METRICS, NOW_AND_THEN, call, channel_from, connect_from, stranger};

/// MiB.
const GROWTH: f64 = 24.0;

/// KiB. What a connection over gRPC costs before any call, HTTP/2's buffers included; the door's 4096 have 200 MiB.
const CONNECTION: f64 = 48.0;

/// Connections over HTTP from one address, as `serve/listen.rs` caps them.
const HTTP_PER_PEER: usize = 128;

/// The same over gRPC.
const GRPC_PER_PEER: usize = 512;

/// A byte of a head now and then, from five addresses below the cap and from one beyond it.
#[tokio::test]
async fn heads_that_never_end() {
    if !wire::may_open(8192) {
        return;
    }
    let house = House::open().await;
    let to = house.tidegate.http_address();
    let count = |series: &str| house.tidegate.metric(series).unwrap_or(0.0) as usize;
    let story = house
        .endure(async {
            let mut slow = Vec::new();
            for number in 0..200 {
                slow.push(connect_from(stranger(number % 5), to).await);
            }
            let beyond = 72;
            for _ in 0..HTTP_PER_PEER + beyond {
                slow.push(connect_from(stranger(5), to).await);
            }
            let began = Instant::now();
            // The question itself is a connection, too.
            until_along("all of them are there", || {
                count("tidegate_connections{door=\"http\"}") > 200 + HTTP_PER_PEER
                    && count("tidegate_connections_refused_total{door=\"http\",reason=\"peer\"}") == beyond
            })
            .await;
            let ended = join_all(slow.into_iter().map(|stream| drip(stream, began))).await;
            let at_once = ended.iter().filter(|lived| **lived < Duration::from_secs(5)).count();
            assert!((beyond..beyond + 10).contains(&at_once), "{at_once} were closed at once");
            let longest = ended.iter().max().unwrap();
            println!("heads that never end: {at_once} closed at once, the others after at most {longest:.1?}");
            until_along("they are gone", || count("tidegate_connections{door=\"http\"}") < 20).await;
        })
        .await;
    story.bounded("400 heads that never end (72 beyond the cap)", GROWTH);
}

/// Begins a head and goes on with it until the other side has had enough; how long that took.
async fn drip(mut stream: TcpStream, began: Instant) -> Duration {
    let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
    let mut answer = [0; 256];
    let closed = async {
        loop {
            match timeout(NOW_AND_THEN, stream.read(&mut answer)).await {
                // It may say why before it closes.
                Ok(Ok(1..)) => {}
                Ok(_) => return,
                Err(_) if stream.write_all(b"x").await.is_err() => return,
                Err(_) => {}
            }
        }
    };
    timeout(PATIENCE, closed).await.expect("it is let go");
    began.elapsed()
}

/// HTTP/2's preface and empty SETTINGS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

#[tokio::test]
async fn callers_that_say_nothing() {
    if !wire::may_open(8192) {
        return;
    }
    let silent = in_the_long_run(500);
    let house = House::open().await;
    let to = house.tidegate.grpc_address();
    let abandoned = || house.tidegate.metric("tidegate_connections_abandoned_total{door=\"grpc\",reason=\"silent\"}");
    let open = || house.tidegate.metric("tidegate_connections{door=\"grpc\"}").unwrap() as usize;
    let refused = || house.tidegate.metric("tidegate_connections_refused_total{door=\"grpc\",reason=\"peer\"}");
    let story = house
        .endure(async {
            let mut held = Vec::new();
            for number in 0..silent {
                held.push(connect_from(stranger((number % 5) as u8), to).await);
            }
            until_along("the silent are there", || open() > silent).await;
            println!("{silent} silent callers: {:.1} MiB resident", house.tidegate.rss_mib());
            // From one address, as many as it may have and some more; these say the preface and nothing after it.
            let beyond = 50;
            for _ in 0..GRPC_PER_PEER + beyond {
                let mut stream = connect_from(stranger(9), to).await;
                let _ = stream.write_all(PREFACE).await;
                held.push(stream);
            }
            until_along("those beyond the cap are refused", || refused() == Some(beyond as f64)).await;
            assert!(open() >= silent + GRPC_PER_PEER, "{} are open", open());
            println!("and {GRPC_PER_PEER} that said the preface: {:.1} MiB resident", house.tidegate.rss_mib());
            until_along("the silent are let go", || abandoned() == Some(silent as f64)).await;
            // They have said the preface. The keep-alive finds that nobody answers its ping, in 40 s.
            if is_long() {
                let began = Instant::now();
                while open() > 20 {
                    assert!(began.elapsed() < Duration::from_secs(60), "{} are still open", open());
                    sleep(NOW_AND_THEN).await;
                }
                println!("callers that said the preface alone were let go after {:.1?} more", began.elapsed());
            }
            drop(held);
            until_along("all are gone", || open() < 20).await;
        })
        .await;
    let what = format!("{silent} silent callers, {GRPC_PER_PEER} with a preface (50 beyond the cap)");
    story.bounded(&what, 8.0 + CONNECTION * (silent + GRPC_PER_PEER) as f64 / 1024.0);
}

/// A message of a thousand bytes, of which one comes each tenth of a second.
#[tokio::test]
async fn requests_that_never_end() {
    let calls = in_the_long_run(1000);
    let house = House::open().await;
    // Of so few bytes over one connection, h2 would take a thousand for an attack and end it at once.
    let mut channels = Vec::new();
    for _ in 0..10 {
        channels.push(channel_from(stranger(1), house.tidegate.grpc_address()).await);
    }
    let story = house
        .endure(async {
            let ends = (0..calls).map(|number| {
                let body = stream::unfold(0, |sent| async move {
                    if sent == 0 {
                        return Some((Bytes::from_static(b"\0\0\0\x03\xe8"), 1));
                    }
                    sleep(Duration::from_millis(100)).await;
                    Some((Bytes::from_static(b"x"), sent + 1))
                });
                let channel = channels[number % channels.len()].clone();
                async move {
                    let began = Instant::now();
                    (call(channel, GET_METRICS, &[], wire::pieces(body)).await, began.elapsed())
                }
            });
            let ends = join_all(ends).await;
            let (shortest, longest) =
                (ends.iter().map(|end| end.1).min().unwrap(), ends.iter().map(|end| end.1).max().unwrap());
            println!("requests that never end: ended after {shortest:.1?} to {longest:.1?}");
            let other = ends.iter().find(|(code, _)| *code != Code::DeadlineExceeded);
            assert!(other.is_none(), "{other:?}");
            assert!(shortest >= Duration::from_secs(4) && longest < Duration::from_secs(15));
        })
        .await;
    story.bounded(&format!("{calls} requests that never end"), GROWTH);
    let slow = house.tidegate.metric("tidegate_grpc_calls_refused_total{reason=\"slow\"}");
    assert_eq!(slow, Some(calls as f64));
    assert_eq!(house.tidegate.metric("tidegate_grpc_calls_in_flight"), Some(0.0));
}
