//! A folder of manifests to be changed under the process's feet, and what the process says of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::redis::RedisProcess;
use crate::support::tidegate::{Tidegate, until};

/// Manifests of namespace `pulse`.
pub struct Folder(TempDir);

impl Folder {
    /// With Connection `main` to `redis` in `main.yaml`.
    pub fn new(redis: &RedisProcess) -> Self {
        let folder = Folder(TempDir::new().unwrap());
        folder.write("main.yaml", &connection("main", &redis.address()));
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn at(&self, file: &str) -> PathBuf {
        self.path().join(file)
    }

    /// In place, as an editor without manners does.
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.at(file), text).unwrap();
    }

    pub fn remove(&self, file: &str) {
        fs::remove_file(self.at(file)).unwrap();
    }

    pub fn start(&self, arguments: &[&str]) -> Tidegate {
        let path = self.path().to_str().unwrap();
        let tidegate = Tidegate::start("", &[&["-f", path], arguments].concat());
        tidegate.until_ready();
        tidegate
    }
}

pub fn connection(name: &str, address: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: {name}, namespace: pulse }}\n\
         spec: {{ redis: {{ address: \"{address}\" }} }}\n"
    )
}

/// Reads the list of its own name on `main`, ten times a second: five items a replica, down as quickly as up.
pub fn autoscaler(name: &str, max: &str) -> String {
    autoscaler_with(name, max, "behavior: { scaleDown: { stabilizationWindowSeconds: 0 } }")
}

pub fn autoscaler_with(name: &str, max: &str, more: &str) -> String {
    format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: {name}, namespace: pulse }}\n\
         spec:\n  scaleTargetRef: {{ name: {name} }}\n  maxReplicas: {max}\n  pollingInterval: 100ms\n  triggers:\n    \
         - connection: main\n      redisList: {{ keys: [{name}] }}\n      \
         policy: {{ backlogPerReplica: {{ target: 5 }} }}\n  {more}\n"
    )
}

pub fn push(redis: &RedisProcess, list: &str, items: usize) {
    let mut words = vec!["LPUSH", list];
    words.extend(std::iter::repeat_n("item", items));
    redis.command::<i64>(&words);
}

/// Changes read so far, by what came of them.
pub fn reloads(tidegate: &Tidegate, outcome: &str) -> f64 {
    let series = format!("tidegate_manifest_reloads_total{{outcome=\"{outcome}\"}}");
    tidegate.metric(&series).unwrap_or_else(|| panic!("no {series}"))
}

pub fn until_reloads(tidegate: &Tidegate, outcome: &str, wanted: f64) {
    until(&format!("{wanted} reloads {outcome}"), || reloads(tidegate, outcome) >= wanted);
}

pub fn failing(tidegate: &Tidegate) -> f64 {
    tidegate.metric("tidegate_manifest_reload_failing").unwrap()
}

pub fn manifests(tidegate: &Tidegate) -> Value {
    tidegate.get("/api/v1/manifests").json()
}

/// The state of each file, by its name in the folder.
pub fn states(tidegate: &Tidegate) -> Vec<(String, String)> {
    let manifests = manifests(tidegate);
    let files = manifests["files"].as_array().unwrap().iter();
    let name =
        |file: &Value| Path::new(file["file"].as_str().unwrap()).file_name().unwrap().to_str().unwrap().to_owned();
    files.map(|file| (name(file), file["state"].as_str().unwrap().to_owned())).collect()
}

pub fn knows(tidegate: &Tidegate, name: &str) -> bool {
    tidegate.get(&format!("/api/v1/autoscalers/pulse/{name}")).status == 200
}

pub fn max_of(tidegate: &Tidegate, name: &str) -> i64 {
    tidegate.detail("pulse", name)["maxReplicas"].as_i64().unwrap_or(-1)
}

pub fn until_max(tidegate: &Tidegate, name: &str, max: i64) {
    until(&format!("{name} may have {max}"), || max_of(tidegate, name) == max);
}

pub fn until_replicas(tidegate: &Tidegate, name: &str, replicas: i64) {
    until(&format!("{replicas} replicas of {name}"), || tidegate.replicas("pulse", name) == replicas);
}
