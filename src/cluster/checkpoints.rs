//! Checkpoints in ConfigMaps: one a shard, in the namespace that tidegate runs in.
//!
//! They are memory and no configuration: nobody need look at them, and who deletes them costs the next start its memory
//! and nothing else. Only the leader writes; a ConfigMap that has another resourceVersion than the one that was read or
//! written last is another leader's, and is left to it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::checkpoint::{SHARDS, Saved, Store, StoreError, Stored};
use crate::cluster::client::{CallError, FIELD_MANAGER, Kube};

/// Half of what the API server takes (1 MiB a ConfigMap, the other fields included).
const ROOM: usize = 512 << 10;

/// How long an API server that does not answer is asked again for what was written before. It often comes up together
/// with us; where it does not, nothing can be scaled either, and serving what files say must not wait any longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two attempts.
const AGAIN: Duration = Duration::from_millis(500);

const KEY: &str = "checkpoint";
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// The ConfigMaps of one tidegate.
pub struct ConfigMaps {
    kube: Kube,
    api: Api<ConfigMap>,
    namespace: String,
    /// Of each shard as last read or written; `None` where there is no such ConfigMap.
    versions: [Option<String>; SHARDS],
}

impl ConfigMaps {
    /// In `namespace`, the process's own.
    #[must_use]
    pub fn new(kube: Kube, namespace: impl Into<String>) -> Self {
        let namespace = namespace.into();
        let api = Api::namespaced(kube.client.clone(), &namespace);
        ConfigMaps { kube, api, namespace, versions: Default::default() }
    }

    fn place(&self, shard: usize) -> String {
        format!("ConfigMap {}/{}", self.namespace, name(shard))
    }

    fn version(&mut self, shard: usize, version: Option<String>) {
        if let Some(place) = self.versions.get_mut(shard) {
            *place = version;
        }
    }

    fn failed(&self, shard: usize, error: &CallError) -> StoreError {
        let cure = match error.code() {
            Some(403) => "; `tidegate crd --rbac` prints the Role that allows it",
            Some(404) => "; is the namespace right?",
            _ => "",
        };
        StoreError(format!("{}: {error}{cure}", self.place(shard)))
    }
}

impl Store for ConfigMaps {
    const LABEL: &'static str = "configmaps";

    fn room(&self) -> usize {
        ROOM
    }

    async fn load(&mut self) -> Vec<Stored> {
        let mut stored = Vec::new();
        let give_up = self.kube.clock.now().after(PATIENCE);
        for shard in 0..SHARDS {
            let place = self.place(shard);
            let mut found = self.kube.bounded(self.api.get_opt(&name(shard))).await;
            while found.as_ref().is_err_and(may_pass) && self.kube.clock.now() < give_up {
                tokio::time::sleep(AGAIN).await;
                found = self.kube.bounded(self.api.get_opt(&name(shard))).await;
            }
            match found {
                Ok(None) => self.version(shard, None),
                Ok(Some(found)) => {
                    self.version(shard, found.metadata.resource_version);
                    let bytes = found.binary_data.unwrap_or_default().remove(KEY);
                    let bytes = bytes.map(|ByteString(bytes)| bytes);
                    let nothing = || StoreError(format!("binaryData has no {KEY:?}"));
                    stored.push(Stored { shard, place, bytes: bytes.ok_or_else(nothing) });
                }
                Err(error) => {
                    let failed = self.failed(shard, &error);
                    stored.push(Stored { shard, place, bytes: Err(failed) });
                    if error.code().is_none() {
                        // Nobody answers: the others would only wait for as long.
                        return stored;
                    }
                }
            }
        }
        stored
    }

    async fn save(&mut self, shard: usize, bytes: Vec<u8>) -> Result<Saved, StoreError> {
        if self.kube.throttled_until() > self.kube.clock.now() {
            return Err(StoreError(format!("{}: the API server asks for a pause", self.place(shard))));
        }
        let version = self.versions.get(shard).cloned().flatten();
        let map = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name(shard)),
                namespace: Some(self.namespace.clone()),
                resource_version: version.clone(),
                labels: Some(BTreeMap::from([(MANAGED_BY.to_owned(), FIELD_MANAGER.to_owned())])),
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([(KEY.to_owned(), ByteString(bytes))])),
            ..ConfigMap::default()
        };
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let outcome = match version {
            Some(_) => self.kube.bounded(self.api.replace(&name(shard), &params, &map)).await,
            None => self.kube.bounded(self.api.create(&params, &map)).await,
        };
        match outcome {
            Ok(written) => {
                self.version(shard, written.metadata.resource_version);
                Ok(Saved::Written)
            }
            Err(error) if error.code() == Some(409) => Ok(Saved::Overtaken),
            Err(error) => {
                if error.code() == Some(404) {
                    // Somebody deleted it: the next round makes it anew.
                    self.version(shard, None);
                }
                Err(self.failed(shard, &error))
            }
        }
    }
}

/// Whether the same call may succeed in a moment.
fn may_pass(error: &CallError) -> bool {
    error.code().is_none_or(|code| code == 429 || code >= 500)
}

pub(super) fn name(shard: usize) -> String {
    format!("tidegate-checkpoint-{shard}")
}
