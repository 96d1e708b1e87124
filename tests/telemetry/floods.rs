//! Metadata that nobody has written: a thousand different ones cost the log a hundred lines and a count.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::tidegate::{Keda, Tidegate, until_along};

const CALLS: usize = 1_000;

/// What the log says of metadata that is wrong, whatever it says.
fn lines(tidegate: &Tidegate) -> Vec<Value> {
    let log = tidegate.log();
    let about = ["trigger metadata", "trigger refused"];
    log.lines()
        .filter(|line| about.iter().any(|text| line.contains(text)))
        .map(|l| serde_json::from_str(l).unwrap())
        .collect()
}

#[tokio::test]
async fn a_flood_of_bad_metadata_is_a_few_lines_and_a_count() {
    let tidegate = Tidegate::start("", &["--allow-address", "127.0.0.1:1"]);
    until_along("ready", || tidegate.is_ready()).await;
    let began = Instant::now();
    let client = tidegate.client().await;
    for number in 0..CALLS {
        let colour = format!("blue-{number}");
        let mut keda = Keda::new(client.clone(), "shop", &[("colour", &colour)]);
        keda.specs().await.unwrap_err();
    }
    // Long enough for one more line, which says how many were left out.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let huge = "x".repeat(14 << 10);
    let mut keda = tidegate.keda("shop", &[("shade", &huge), (&huge, "y")]).await;
    keda.specs().await.unwrap_err();
    until_along("the last line", || lines(&tidegate).iter().any(|line| line["left_out"].as_u64() > Some(0))).await;

    let lines = lines(&tidegate);
    let allowed = 100 + began.elapsed().as_secs() as usize + 1;
    assert!((100..=allowed).contains(&lines.len()), "{} lines, {allowed} allowed", lines.len());
    let told: u64 = lines.iter().filter_map(|line| line["left_out"].as_u64()).sum();
    let counted = tidegate.metric("tidegate_log_lines_left_out_total{about=\"keda_metadata\"}").unwrap();
    assert_eq!(lines.len() + counted as usize, CALLS + 1, "each is written or counted");
    assert_eq!(told, counted as u64, "the log says as many as the metric");
    let longest = tidegate.log().lines().map(str::len).max().unwrap();
    assert!(longest < 8 * 1024, "a line of {longest} bytes");
}
