//! Ten thousand autoscalers in one file, all of them changed. Optimised: `TIDEGATE_LONG=1 cargo test --release --test
//! reload -- ten_thousand --nocapture`.

use std::fmt::Write as _;

use crate::folder::{Folder, autoscaler, until_max, until_reloads};
use crate::support::redis::RedisProcess;

#[test]
fn ten_thousand_autoscalers_are_reloaded() {
    const COUNT: usize = 10_000;
    if std::env::var_os("TIDEGATE_LONG").is_none() {
        println!("not run: ten thousand autoscalers; TIDEGATE_LONG=1 runs them");
        return;
    }
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    let file = |max: usize| {
        let mut text = String::new();
        for i in 0..COUNT {
            let one = autoscaler(&format!("queue-{i:05}"), &max.to_string()).replace("100ms", "1s");
            let _ = write!(text, "---\n{one}");
        }
        text
    };
    folder.write("all.yaml", &file(10));
    let tidegate = folder.start(&[]);
    for turn in 1..=5_u8 {
        let max = 10 + usize::from(turn);
        folder.write("all.yaml", &file(max));
        until_reloads(&tidegate, "ok", f64::from(turn));
        until_max(&tidegate, &format!("queue-{:05}", COUNT - 1), i64::try_from(max).unwrap());
    }
    let log = tidegate.log();
    let took: Vec<&str> = log.lines().filter(|line| line.contains("manifests reloaded")).collect();
    println!("{}", took.join("\n"));
    println!(
        "{}",
        std::fs::read_to_string(format!("/proc/{}/status", tidegate.pid())).map_or_else(
            |_| String::new(),
            |status| status
                .lines()
                .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    );
}
