//! Readers that ask for the longest documents, again and again, and never read one.

use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::neighbour::{House, autoscaler, is_long};
use super::support::tidegate::until_along;
use super::wire::{self, NOW_AND_THEN, connect_from, stranger};

/// Each document has a megabyte.
const AUTOSCALERS: usize = 2000;

/// From each of five addresses: below its cap, and together more than may have a turn.
const READERS: usize = 40;
const ADDRESSES: usize = 5;

/// MiB. The pieces of the 133 answers that have a turn, and the buffers of all.
const GROWTH: f64 = 64.0;

#[tokio::test]
async fn readers_that_never_read() {
    if !wire::may_open(8192) {
        return;
    }
    let more: String = (0..AUTOSCALERS).map(|number| autoscaler(&format!("idle-{number}"))).collect();
    let house = House::with(&more, |_| Vec::new()).await;
    house.tidegate.until_ready();
    let to = house.tidegate.http_address();
    let story = house
        .endure(async {
            let mut held = Vec::new();
            for number in 0..ADDRESSES * READERS {
                let mut stream = connect_from(stranger((number % ADDRESSES) as u8), to).await;
                let path = ["/metrics", "/api/v1/autoscalers"][number / ADDRESSES % 2];
                // More of them than the kernel's buffers take.
                stream
                    .write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(20).as_bytes())
                    .await
                    .unwrap();
                held.push(stream);
            }
            // Whoever does read is served meanwhile.
            let mut longest = Duration::ZERO;
            for _ in 0..5 {
                longest = longest.max(scrape(&house));
                sleep(NOW_AND_THEN).await;
            }
            println!("readers that never read: an honest scrape took at most {longest:.1?}");
            // Twice what a slow machine takes. Who is starved waits for a turn to run out, a minute.
            assert!(longest < Duration::from_secs(30));
            if is_long() {
                let stalled = "tidegate_connections_abandoned_total{door=\"http\",reason=\"stalled\"}";
                let began = Instant::now();
                while house.tidegate.metric(stalled).is_none_or(|count| count < 64.0) {
                    assert!(began.elapsed() < Duration::from_secs(70), "they are not let go");
                    sleep(NOW_AND_THEN).await;
                }
                println!("readers that never read: 64 were let go after {:.1?}", began.elapsed());
            }
            drop(held);
            let open = "tidegate_connections{door=\"http\"}";
            until_along("they are gone", || house.tidegate.metric(open).unwrap() < 20.0).await;
        })
        .await;
    story.bounded(&format!("{} readers that never read", ADDRESSES * READERS), GROWTH);
}

/// How long a whole page of metrics takes.
fn scrape(house: &House) -> Duration {
    let began = Instant::now();
    let scraped = house.tidegate.get("/metrics");
    assert!(scraped.status == 200 && scraped.body.contains("idle-1999"));
    began.elapsed()
}
