//! The barest leader there can be, as a process: elects itself by `cluster::lease`, and writes to every workload all the
//! time while it leads, with the version that it read in its term. It shows what the Lease is worth, whatever the rest
//! of the house does.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tidegate::clock::Clock;
use tidegate::cluster::client::{FIELD_MANAGER, Kube, Scope};
use tidegate::cluster::lease::{Elector, Leadership, Settings};
use tokio_util::sync::CancellationToken;

use crate::rig::{LEASE, NAMESPACE, SHORT, WORKLOADS};

/// Who to be; set for the child only.
pub const NAME: &str = "TAKEOVER_STAND_IN";

/// Set where it is to leave out the versions: what the test must see to be worth anything.
pub const UNFENCED: &str = "TAKEOVER_UNFENCED";

/// Between two writes to one workload.
const PACE: Duration = Duration::from_millis(20);

#[test]
#[ignore = "a process of its own, which the other tests start"]
fn contender() {
    let Ok(name) = std::env::var(NAME) else {
        println!("nothing to do: not started by a test");
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(contend(name));
}

async fn contend(name: String) {
    let kube = Kube::infer(Clock::start(), Scope::Cluster).await.unwrap();
    let mut settings = Settings::new(NAMESPACE, LEASE, name);
    (settings.lease_duration, settings.renew_deadline, settings.retry_period) = SHORT;
    let (elector, leadership) = Elector::new(&kube, settings);
    let stop = CancellationToken::new();
    let writers: Vec<_> =
        (0..WORKLOADS).map(|number| tokio::spawn(write(kube.clone(), leadership.clone(), number))).collect();
    let election = tokio::spawn(elector.run(stop.clone()));
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    terminated.recv().await;
    for writer in &writers {
        writer.abort();
    }
    stop.cancel();
    election.await.unwrap().unwrap();
}

async fn write(kube: Kube, leadership: Leadership, number: usize) {
    let workloads: Api<Deployment> = Api::namespaced(kube.client.clone(), NAMESPACE);
    let name = format!("work-{number}");
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    // What was read, and in which term.
    let mut view: Option<(u64, String)> = None;
    let mut replicas = 0;
    let unfenced = std::env::var_os(UNFENCED).is_some();
    loop {
        tokio::time::sleep(PACE).await;
        let Some(term) = leadership.term(kube.clock.now()) else { continue };
        let version = match view.take() {
            Some((number, version)) if number == term.number => version,
            _ => match kube.bounded(workloads.get_scale(&name)).await {
                Ok(scale) => scale.metadata.resource_version.unwrap(),
                Err(_) => continue,
            },
        };
        replicas = (replicas + 1) % 50;
        let metadata = if unfenced { json!({}) } else { json!({"resourceVersion": version}) };
        let patch = json!({"metadata": metadata, "spec": {"replicas": replicas}});
        if leadership.term(kube.clock.now()).is_none_or(|now| now.number != term.number) {
            continue;
        }
        if let Ok(scale) = kube.bounded(workloads.patch_scale(&name, &params, &Patch::Merge(patch))).await {
            view = Some((term.number, scale.metadata.resource_version.unwrap()));
        }
    }
}
