//! Names that strangers make up reach no label of `/metrics`: there they would stay.

use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use super::neighbour::{House, in_the_long_run};
use super::wire::{self, call, channel_from, connect_from, stranger};

/// Occurs in every name that is made up here.
const MARK: &str = "stranger";

#[tokio::test]
async fn names_that_nobody_has() {
    let calls = in_the_long_run(5000);
    let house = House::open().await;
    let channel = channel_from(stranger(1), house.tidegate.grpc_address()).await;
    let http = house.tidegate.http_address();
    let story = house
        .endure(async {
            let ask = |number: usize| {
                let path = match number % 3 {
                    0 => format!("/externalscaler.ExternalScaler/{MARK}{number}"),
                    1 => format!("/{MARK}{number}.ExternalScaler/GetMetrics"),
                    _ => format!("/{MARK}{number}"),
                };
                let channel = channel.clone();
                async move { call(channel, &path, &[], wire::pieces(stream::empty())).await }
            };
            let ends: Vec<Code> = stream::iter((0..calls).map(ask)).buffer_unordered(64).collect().await;
            assert!(ends.iter().all(|code| *code == Code::Unimplemented));
            for number in 0..calls / 10 {
                let mut stream = connect_from(stranger(1), http).await;
                let method = if number % 2 == 0 { "GET".to_owned() } else { format!("X{MARK}{number}") };
                let path = format!("/api/v1/autoscalers/{MARK}{number}/{MARK}{number}?{MARK}{number}");
                let head = format!("{method} {path} HTTP/1.1\r\nHost: {MARK}{number}\r\nConnection: close\r\n");
                let more = format!("X-Request-Id: {MARK}{number}\r\nUser-Agent: {MARK}{number}\r\n\r\n");
                stream.write_all((head + &more).as_bytes()).await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
            }
        })
        .await;
    story.bounded(&format!("{calls} names that nobody has"), 16.0);
    let metrics = house.tidegate.get("/metrics").body;
    assert!(!metrics.contains(MARK), "{metrics}");
}
