//! What tidegate writes into `status` of a QueueAutoscaler. The comments are what `kubectl explain` prints.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of it. Values are those of the last write; what is of the moment is in tidegate's API and metrics.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueAutoscalerStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Replicas that the workload's scale asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_replicas: Option<i32>,
    /// Replicas that are decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// Replicas that are ready to work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ready_replicas: Option<i32>,
    /// Replicas that stood there before tidegate scaled the workload for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_replica_count: Option<i32>,
    /// When tidegate last scaled the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<String>,
    /// Items waiting, of the trigger that decided; rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<i64>,
    /// Why the replicas are what they are: the reason of the stage that had the last word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<TriggerStatus>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// What one trigger contributed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TriggerStatus {
    pub name: String,
    /// Items waiting at `sampledAt`; rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog: Option<i64>,
    /// Items that were being worked on at `sampledAt`, where the source shows them; rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampled_at: Option<String>,
    pub active: bool,
    /// Replicas that it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wants: Option<i32>,
    /// fresh, failing, stale or pending.
    pub health: String,
    /// The last failure while it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// One condition, as Kubernetes has them everywhere (metav1.Condition).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// Ready, Active, Fallback, Paused or ScalingLimited.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// When status last changed.
    pub last_transition_time: String,
    /// One word, for programs.
    pub reason: String,
    /// For people.
    pub message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
