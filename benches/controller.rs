//! How soon the standalone controller acts, and what it costs the API server: from a push on a real redis-server to the
//! patch, and requests by the second for fleets that rest, work and change, that are new, and that wake all at once.
//!
//! The real binary and real redis-servers. The API server is the scripted one (`tests/support/apiserver`) and, where
//! `KUBEBUILDER_ASSETS` names a folder with `etcd` and `kube-apiserver`, a real one after it; every figure stands below
//! the name of the server that it came from. No kubelet and no controllers run: what a Deployment's own status costs is
//! not in here.
//!
//! When something arrived at the API server is what the server says: the scripted one by its record, the real one by its
//! audit log (`requestReceivedTimestamp`). What a watch of our own sees, and when, is said beside it.
//!
//! The yardstick cannot run in the same process: it is KEDA itself with a control plane. Its figures were measured with
//! the real one (v2.20.0, default settings, 2 cores).
//!
//! `cargo bench --bench controller` (some 35 minutes with both servers, most of them for ten thousand), `-- --quick` for
//! a smoke run of 40 seconds each that judges nothing; `--scripted` or `--real`, `--reaction`, `--fleet 1000`, `--fleet 10000` for a part of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a measurement may break, prints, and reads the clock"
)]

#[path = "../tests/support/mod.rs"]
mod support;

#[path = "controller/figures.rs"]
mod figures;
#[path = "controller/fleet.rs"]
mod fleet;
#[path = "controller/reaction.rs"]
mod reaction;
#[path = "controller/server.rs"]
mod server;

use std::path::PathBuf;
use std::process::ExitCode;

use server::Server;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let quick = given("--quick") || !given("--bench");
    let fleets: Vec<usize> = match arguments.iter().position(|argument| argument == "--fleet") {
        Some(place) => vec![arguments.get(place + 1).and_then(|count| count.parse().ok()).expect("--fleet COUNT")],
        None if given("--reaction") => Vec::new(),
        None if quick => vec![100],
        None => vec![1_000, 10_000],
    };
    let reaction = given("--reaction") || !given("--fleet");
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let mut servers: Vec<Option<PathBuf>> = Vec::new();
    if !given("--real") {
        servers.push(None);
    }
    match assets {
        _ if given("--scripted") => {}
        Some(assets) => servers.push(Some(assets)),
        None => println!("no KUBEBUILDER_ASSETS: nothing here comes from a real API server"),
    }

    let mut missed = Vec::new();
    for assets in servers {
        let name = Server::name(assets.as_deref());
        if reaction {
            let server = Server::start(assets.as_deref());
            missed.extend(reaction::measure(&server, if quick { 20 } else { 200 }));
        }
        for count in &fleets {
            let server = Server::start(assets.as_deref());
            missed.extend(fleet::measure(&server, *count, quick));
        }
        println!("\n=== {name}: done");
    }
    for line in &missed {
        println!("a goal was missed: {line}");
    }
    if quick || missed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
