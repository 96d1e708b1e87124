//! What a reload must not touch: windows, cooldowns and replicas of whoever did not change.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::folder::{Folder, autoscaler, autoscaler_with, push, reloads, until_reloads, until_replicas};
use crate::support::redis::RedisProcess;
use crate::support::tidegate::until;

#[test]
fn windows_and_cooldowns_go_on_through_reloads() {
    let redis = RedisProcess::start();
    let folder = Folder::new(&redis);
    let patient = autoscaler_with(
        "mail",
        "10",
        "cooldownPeriod: 2s\n  behavior: { scaleDown: { stabilizationWindowSeconds: 3 } }",
    );
    folder.write("mail.yaml", &patient);
    let tidegate = folder.start(&["--target", "memory"]);
    push(&redis, "mail", 28);
    until_replicas(&tidegate, "mail", 6);

    // An equal spec in another text, and somebody else's: no replica moves.
    tidegate.mark("pulse", "mail");
    for turn in 1..=3_u8 {
        folder.write("mail.yaml", &format!("{patient}# {turn}\n"));
        folder.write("sms.yaml", &autoscaler("sms", &turn.to_string()));
        until_reloads(&tidegate, "ok", f64::from(turn));
    }
    let workload = tidegate.workload("pulse", "mail");
    assert_eq!((&workload["lowest"], &workload["highest"]), (&6.into(), &6.into()), "{workload}");

    // The work is done, and somebody changes manifests all the time: the window runs out all the same, and the
    // cooldown too. Had a reload begun either anew, they would not end before the changes do.
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for turn in (4_u32..).take_while(|_| !done.load(Ordering::Relaxed)) {
                folder.write("mail.yaml", &format!("{patient}# {turn}\n"));
                folder.write("sms.yaml", &autoscaler("sms", &turn.to_string()));
                thread::sleep(Duration::from_millis(700));
            }
        });
        redis.command::<i64>(&["DEL", "mail"]);
        let before = reloads(&tidegate, "ok");
        until("the window's end", || tidegate.replicas("pulse", "mail") < 6);
        assert!(reloads(&tidegate, "ok") >= before + 2.0, "hardly any reload fell into the window");
        until("the cooldown's end", || tidegate.replicas("pulse", "mail") == 0);
        done.store(true, Ordering::Relaxed);
    });
}
