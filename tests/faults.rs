//! Faults of real servers, seen by the real binary, and held to account by the replicas that stand: no fault costs a
//! replica, everybody is told why, fallbacks engage, and what is repaired scales again.
//!
//! The faults are in `inject`, what is asserted of them in `matrix`; `neighbours` is about the servers that are well.
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

#[path = "faults/fleet.rs"]
mod fleet;
#[path = "faults/inject.rs"]
mod inject;
#[path = "faults/matrix.rs"]
mod matrix;
#[path = "faults/neighbours.rs"]
mod neighbours;
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::fleet::{Mode, NAMESPACE, Pace, connection, queue_autoscaler};
use crate::support::redis::RedisProcess;
use crate::support::tidegate::{Tidegate, until};

const QUICK: Pace =
    Pace { keda_polling: "1s", hpa_sync: "2s", hold: Duration::from_secs(9), patience: Duration::from_secs(60) };

/// Those of KEDA and of Kubernetes.
const REAL: Pace =
    Pace { keda_polling: "30s", hpa_sync: "15s", hold: Duration::from_secs(60), patience: Duration::from_secs(300) };

/// The tests measure times: one after the other.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn no_fault_costs_a_replica_and_what_is_repaired_scales_again() {
    let _alone = alone();
    matrix::run(&QUICK);
}

#[test]
fn the_same_at_the_periods_of_a_real_cluster() {
    if std::env::var_os("TIDEGATE_LONG").is_none() {
        println!("not run: faults at KEDA's 30 s and the HPA's 15 s; TIDEGATE_LONG=1 runs them (3 minutes)");
        return;
    }
    let _alone = alone();
    matrix::run(&REAL);
}

#[test]
fn a_dead_redis_costs_a_healthy_one_nothing() {
    let _alone = alone();
    neighbours::run();
}

/// One server refuses, one is frozen since before it was ever read, one since after, and one is well.
#[test]
fn told_to_stop_during_a_fault_it_stops() {
    let _alone = alone();
    let servers: Vec<RedisProcess> = (0..4).map(|_| RedisProcess::start()).collect();
    let [mut refusing, frozen, freezing, well]: [RedisProcess; 4] = servers.try_into().ok().unwrap();
    for server in [&frozen, &freezing, &well] {
        let _: i64 = server.command(&["RPUSH", inject::KEY, "a", "b", "c", "d", "e", "f"]);
    }
    refusing.kill();
    frozen.freeze();
    let mut manifests = String::new();
    for (name, server) in [("refusing", &refusing), ("frozen", &frozen), ("freezing", &freezing), ("well", &well)] {
        manifests += &connection(name, &server.address(), "");
        manifests += &queue_autoscaler(name, &[name], fleet::POLLING, "maxSampleAge: 1s");
    }
    let modes = [Mode::Memory, Mode::Backlog { fallback: true }, Mode::Replicas { fallback: false }];
    let mut fleet = modes.map(|mode| {
        let mut arguments = mode.arguments(&QUICK);
        arguments.extend((mode != Mode::Memory).then_some("--keda-push"));
        Tidegate::start(&manifests, &arguments)
    });
    for tidegate in &fleet {
        for name in ["freezing", "well"] {
            until("a sample", || tidegate.detail(NAMESPACE, name)["health"] == "fresh");
        }
    }
    freezing.freeze();
    for tidegate in &fleet {
        until("stale", || tidegate.detail(NAMESPACE, "freezing")["health"] == "stale");
    }
    let told = Instant::now();
    fleet.iter().for_each(|tidegate| tidegate.signal("-TERM"));
    thread::scope(|scope| {
        for (mode, tidegate) in modes.iter().zip(&mut fleet) {
            scope.spawn(move || {
                let status = tidegate.wait();
                let took = told.elapsed();
                println!("{}: ended {took:.2?} after SIGTERM", mode.name());
                assert_eq!(status.code(), Some(0), "{}", tidegate.log());
                assert!(took < Duration::from_secs(5), "{took:?}");
                assert!(tidegate.log().contains("\"stopped\""), "{}", tidegate.log());
            });
        }
    });
    frozen.thaw();
    freezing.thaw();
}
