//! KEDA's door with everything real: the binary as its own process, a redis-server, somebody else's LPUSH and RPOP,
//! and calls over loopback as KEDA makes them.
//!
//! * `life`: what all five RPCs answer while a queue fills and drains, before Redis is up, and when the process ends.
//! * `maps`: metadata maps as people have them, and what KEDA's own scaler would have answered; and wrong ones.
//! * `operation`: signals, ports, exit codes, help, secrets.
//! * `latency`: how long it takes, printed and not judged. `TIDEGATE_LONG=1` adds the part that waits for an HPA.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "a test, which reads the clock and prints what it measured"
)]

mod support;

#[path = "keda/latency.rs"]
mod latency;
#[path = "keda/life.rs"]
mod life;
#[path = "keda/maps.rs"]
mod maps;
#[path = "keda/operation.rs"]
mod operation;

use std::time::Duration;

use tokio::time::timeout;
use tonic::{Status, Streaming};

use support::tidegate::PATIENCE;

/// Connection `redis-main` of namespace `pulse` to this address.
fn connection(address: &str) -> String {
    format!(
        r#"
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: {{ name: redis-main, namespace: pulse }}
spec: {{ redis: {{ address: "{address}" }} }}
---"#
    )
}

/// A QueueAutoscaler of namespace `pulse` for the list of its own name: five items a replica, ten looks a second, down
/// as quickly as up.
fn autoscaler(name: &str) -> String {
    format!(
        r"
apiVersion: tidegate.dev/v1alpha1
kind: QueueAutoscaler
metadata: {{ name: {name}, namespace: pulse }}
spec:
  scaleTargetRef: {{ name: {name} }}
  pollingInterval: 100ms
  triggers:
    - connection: redis-main
      redisList: {{ keys: [{name}] }}
      policy: {{ backlogPerReplica: {{ target: 5 }} }}
  behavior: {{ scaleDown: {{ stabilizationWindowSeconds: 0 }} }}
---"
    )
}

/// The next message of a stream, however long it takes; `None` at its end with OK.
async fn next<T>(stream: &mut Streaming<T>) -> Result<Option<T>, Status> {
    timeout(PATIENCE, stream.message()).await.expect("a stream says something in time")
}

/// Whether a stream says nothing for a while in which the queue is looked at several times.
async fn is_silent<T>(stream: &mut Streaming<T>) -> bool {
    timeout(Duration::from_millis(500), stream.message()).await.is_err()
}
