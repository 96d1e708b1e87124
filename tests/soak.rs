//! A long day in short: four real servers behind proxies of the test's own, two thousand keys whose backlogs are known,
//! and a fault every few seconds, chosen by a seed. Nothing scales down that the true backlogs do not explain, nothing
//! grows, every fault is told, and in the end everything is as it should be.
//!
//! 30 seconds; ten minutes with `TIDEGATE_LONG=1`. `TIDEGATE_SOAK_SEED` repeats the faults of another run.
//!
//! * `proxy` stands between tidegate and a server, and does what networks and broken servers do.
//! * `faults` chooses and commits them, `fleet` is the house and its workloads, `truth` what really was in the queues.
//! * `isolation`: what bad servers, walks and floods of others cost a healthy server's rounds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may break, and reads the clock that it tests against"
)]

#[path = "soak/faults.rs"]
mod faults;
#[path = "soak/fleet.rs"]
mod fleet;
#[path = "soak/isolation.rs"]
mod isolation;
#[path = "soak/luck.rs"]
mod luck;
#[path = "soak/proxy.rs"]
mod proxy;
mod support;
#[path = "soak/truth.rs"]
mod truth;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::faults::Fault;
use crate::fleet::{Fleet, SERVERS};
use crate::luck::Luck;

const DEFAULT_SEED: u64 = 20_261_126;

/// Beyond the greatest age of a sample, the longest back-off, and a busy machine.
const RECOVERY: Duration = Duration::from_secs(30);

/// Both tests of this file want the machine for themselves.
pub fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn faults_by_the_dozen_cost_no_replica_and_nothing_grows() {
    let _alone = alone();
    let length = if std::env::var_os("TIDEGATE_LONG").is_some() { 600 } else { 30 };
    let seed = std::env::var("TIDEGATE_SOAK_SEED").map_or(DEFAULT_SEED, |text| text.parse().expect("a number"));
    println!("soak of {length} s, TIDEGATE_SOAK_SEED={seed}");
    let mut luck = Luck::new(seed);
    let mut fleet = Fleet::start(seed);
    fleet.settle(RECOVERY);

    let (began, end) = (Instant::now(), Instant::now() + Duration::from_secs(length));
    let mut committed = 0;
    let mut kinds = std::collections::BTreeMap::new();
    while Instant::now() < end {
        let (fault, server) = (Fault::chosen(&mut luck), luck.below(SERVERS));
        let lasts = Duration::from_millis(1_500 + luck.below(2_000) as u64);
        let pause = Duration::from_millis(500 + luck.below(1_500) as u64);
        let before = fleet.trouble(server);
        fleet.commit(fault, server);
        fleet.work_for(lasts);
        fleet.undo(fault, server);
        fleet.work_for(pause);
        fleet.assert_told(fault, server, &before);
        committed += 1;
        *kinds.entry(fault.name()).or_insert(0) += 1;
    }
    println!("{committed} faults in {:.0?}: {kinds:?}", began.elapsed());
    assert!(committed >= length / 10, "{committed} faults in {length} s");

    let recovering = Instant::now();
    fleet.settle(RECOVERY);
    println!("all fresh and at the replicas of their backlogs {:.1?} after the last fault", recovering.elapsed());
    fleet.assert_nothing_grew();
    fleet.assert_drops_explained();
}

/// Waits for a condition, and says what is missing if it does not come.
pub fn patiently(what: &str, patience: Duration, mut missing: impl FnMut() -> Option<String>) {
    let give_up = Instant::now() + patience;
    while let Some(left) = missing() {
        assert!(Instant::now() < give_up, "{what}: after {patience:?} still {left}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Seconds since the epoch.
pub fn seconds(at: SystemTime) -> f64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}
