//! Queues that never rest, on a real redis-server: whoever leads has something to patch all the time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::cluster::crd::{self, Kind};

use crate::rig::{NAMESPACE, WORKLOADS};
use crate::support::apiserver::ApiServer;
use crate::support::redis::RedisProcess;

/// Between two changes of every queue. Longer than the polling interval, so that each is seen.
const CHANGE_EVERY: Duration = Duration::from_millis(80);

/// Ends when dropped.
pub struct Backlog {
    server: Arc<RedisProcess>,
    stop: Arc<AtomicBool>,
    pushing: Option<JoinHandle<()>>,
}

impl Backlog {
    pub fn start() -> Self {
        let server = Arc::new(RedisProcess::start());
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, pushed) = (Arc::clone(&stop), Arc::clone(&server));
        let pushing = std::thread::spawn(move || {
            let mut connection = pushed.connect().unwrap();
            let mut length = 0;
            while !stopped.load(Ordering::Relaxed) {
                // Any two lengths in a row differ, and differ from the one before a poll that was missed.
                length = (length + 7) % 40;
                for number in 0..WORKLOADS {
                    let mut change = redis::pipe();
                    change.atomic().cmd("DEL").arg(queue(number)).ignore();
                    change.cmd("RPUSH").arg(queue(number)).arg(vec!["item"; 1 + length]).ignore();
                    change.query::<()>(&mut connection).unwrap();
                }
                std::thread::sleep(CHANGE_EVERY);
            }
        });
        Backlog { server, stop, pushing: Some(pushing) }
    }

    /// The definitions, a Connection, and an autoscaler for each workload.
    pub fn declare(&self, server: &ApiServer) {
        for kind in [Kind::QueueAutoscaler, Kind::Connection, Kind::ClusterConnection] {
            server.insert(&crd::definition(kind));
        }
        server.insert(&self.object("Connection", "redis", &json!({"redis": {"address": self.server.address()}})));
        for number in 0..WORKLOADS {
            let spec = json!({
                "scaleTargetRef": {"name": format!("work-{number}")},
                "minReplicas": 1,
                "pollingInterval": "50ms",
                "behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}},
                "triggers": [{
                    "connection": "redis",
                    "redisList": {"keys": [queue(number)]},
                    "policy": {"backlogPerReplica": {"target": 1}},
                }],
            });
            server.insert(&self.object("QueueAutoscaler", &format!("work-{number}"), &spec));
        }
    }

    fn object(&self, kind: &str, name: &str, spec: &Value) -> Value {
        let metadata = json!({"namespace": NAMESPACE, "name": name});
        json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(pushing) = self.pushing.take() {
            let _ = pushing.join();
        }
    }
}

fn queue(number: usize) -> String {
    format!("queue-{number}")
}
