//! The doors: TLS, its files as they change, and the bounds on connections and calls.
//!
//! * `floor`: what the real binary speaks, to whom, and what it says about files that it cannot use.
//! * `rotation`: files that change while it runs; `load` is the same with a thousand calls a second
//!   (`TIDEGATE_LONG=1`: for a minute).
//! * `bounds`: caps and timeouts of both doors, in this process, with limits low enough to be met.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test, which reads the clock and prints what it measured"
)]

mod support;

#[path = "tls/authority.rs"]
mod authority;
#[path = "tls/bounds.rs"]
mod bounds;
#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/floor.rs"]
mod floor;
#[path = "tls/load.rs"]
mod load;
#[path = "tls/rotation.rs"]
mod rotation;

/// A connection `redis-main` to this address and an autoscaler `mail`, in namespace `pulse`: one item, one replica.
fn manifests(redis: &str) -> String {
    format!(
        r#"
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: {{ name: redis-main, namespace: pulse }}
spec: {{ redis: {{ address: "{redis}" }} }}
---
apiVersion: tidegate.dev/v1alpha1
kind: QueueAutoscaler
metadata: {{ name: mail, namespace: pulse }}
spec:
  scaleTargetRef: {{ name: mail }}
  pollingInterval: 100ms
  triggers:
    - connection: redis-main
      redisList: {{ keys: [mail] }}
      policy: {{ backlogPerReplica: {{ target: 1 }} }}
"#
    )
}
