//! What a cluster's controllers do to a workload, as far as its status shows it: pods appear at once, and are ready
//! some time later.

use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Shared;
use super::fields::Writer;
use super::store::{Key, TableKey, now};

/// Follows every change of a workload for as long as the server lives.
pub async fn run(shared: Weak<Shared>, mut changed: mpsc::UnboundedReceiver<(TableKey, Key)>, delay: Duration) {
    while let Some((table, key)) = changed.recv().await {
        let Some(server) = shared.upgrade() else { return };
        if reconcile(&server, &table, &key, false) {
            let shared = Weak::clone(&shared);
            tokio::spawn(async move {
                tokio::time::sleep(delay).await;
                if let Some(shared) = shared.upgrade() {
                    reconcile(&shared, &table, &key, true);
                }
            });
        }
    }
}

/// Writes the status that belongs to the spec; says whether pods are not ready yet.
fn reconcile(shared: &Arc<Shared>, table: &TableKey, key: &Key, ready: bool) -> bool {
    let mut store = shared.store();
    let Some(kind) = store.kind(&table.0, &table.1) else { return false };
    let Some(scale) = kind.scale.clone().filter(|_| kind.status) else { return false };
    let Ok(object) = store.find(&kind, key) else { return false };
    let wanted = object.value.pointer(&scale.spec).and_then(Value::as_i64).unwrap_or(1);
    let status = |name: &str| object.value["status"][name].as_i64().unwrap_or(0);
    let ready = if ready { wanted } else { status("readyReplicas").min(wanted) };
    let generation = object.value["metadata"]["generation"].clone();
    let done = status("replicas") == wanted && status("readyReplicas") == ready;
    if !(done && object.value["status"]["observedGeneration"] == generation) {
        let mut value = object.value.clone();
        let mut new = value["status"].as_object().cloned().unwrap_or_default();
        new.insert("observedGeneration".into(), generation);
        let counts =
            [("replicas", wanted), ("updatedReplicas", wanted), ("readyReplicas", ready), ("availableReplicas", ready)];
        for (name, count) in counts {
            // Zero is left out, as Go does.
            if count == 0 {
                new.remove(name)
            } else {
                new.insert(name.into(), json!(count))
            };
        }
        value["status"] = new.into();
        let writer = Writer {
            manager: "kube-controller-manager".into(),
            operation: "Update",
            subresource: "status".into(),
            api_version: kind.api_version(&kind.versions[0]),
            time: now(),
        };
        let _ = store.update(&kind, key, value, &writer, None, false);
    }
    ready < wanted
}
