//! What an experiment came to, as one document: the JSON is this, and the table and the page are drawn from it.

pub mod page;
pub mod table;
mod text;

use serde::{Deserialize, Serialize};

use crate::sim::sweep::Shard;

/// Name and version of the document's form. Another number means that a field changed its meaning or is gone.
pub const SCHEMA: &str = "tidegate.dev/simulation/v1";

/// An experiment: a scenario, everybody who scaled it, and what that cost.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Version of tidegate.
    pub tidegate: String,
    /// What to run to get the same again.
    pub command: String,
    pub scenario: About,
    /// One sentence: who is best, and by how much.
    pub verdict: String,
    /// One sentence: whether anybody who only reacts can meet the objective, and what it takes if not.
    pub feasibility: String,
    /// What was assumed or left out.
    pub notes: Vec<String>,
    /// Those that meet the objective first, and the cheaper ones before the dearer.
    pub policies: Vec<Policy>,
    /// The least that it could have cost, by how long jobs may wait at most. Of the first seed.
    pub frontier: Vec<Least>,
    /// What hindsight would have done under the objective: replicas from a moment on. Of the first seed.
    pub hindsight: Vec<Step>,
    /// What was tried with `--vary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sweep: Option<Sweep>,
    /// Which part of the sweep this is; with `policies` only in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// What was simulated.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct About {
    pub name: String,
    /// What it is for; may be empty.
    pub about: String,
    /// `namespace/name`.
    pub autoscaler: String,
    /// How long jobs arrive.
    pub seconds: f64,
    /// Jobs of a seed, on average.
    pub jobs: f64,
    /// What they take, of a seed, on average: slot-seconds.
    pub work_seconds: f64,
    /// Slots that are busy on average: work over time.
    pub load: f64,
    pub slots_per_replica: u32,
    /// From being asked for to taking work, on average.
    pub start_up_seconds: f64,
    pub slo_wait_seconds: f64,
    pub slo_percent: f64,
    pub seeds: Vec<u64>,
    /// Files that it was made of.
    pub inputs: Vec<Input>,
}

/// A file, so that its reader knows which one it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    pub name: String,
    pub bytes: u64,
    /// 64-bit FNV-1a, hexadecimal.
    pub hash: String,
}

/// A mean over seeds with its 95 % confidence interval; with one seed there is none, and all three are the same.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Estimate {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
}

/// Who scaled.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    Tidegate,
    Hpa,
    Keda,
    Static,
}

/// What came of one of them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    pub name: String,
    pub kind: Kind,
    /// Its settings, in a few words.
    pub setting: String,
    /// Percent of the jobs that were started in time, and done.
    pub on_time_percent: Estimate,
    /// The objective is met, on average.
    pub meets_slo: bool,
    /// Replica-seconds.
    pub cost: Estimate,
    /// The same over what the jobs need by themselves: 1 is perfect.
    pub cost_over_work: Estimate,
    /// Percent by which it costs more than the reference, seed by seed; `None`: it is the reference, the policy of the first
    /// manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_difference_percent: Option<Estimate>,
    /// Seconds, of all seeds together.
    pub waits: Waits,
    /// By how much jobs were late, in all: job-seconds.
    pub late_job_seconds: Estimate,
    /// Percent of the cost for replicas that had nothing to do.
    pub idle_percent: f64,
    /// Percent of the cost for replicas that were starting.
    pub start_up_percent: f64,
    pub actions_per_hour: Estimate,
    /// Changes of direction within ten minutes.
    pub reversals_per_hour: f64,
    /// Of a seed: pods that worked for less time than they took to start.
    pub wasted_starts: f64,
    /// Jobs of a seed that were cut off and never done.
    pub lost: f64,
    /// Jobs of a seed that were cut off and done again.
    pub redelivered: f64,
    /// Jobs of a seed that nobody had done when the run was given up.
    pub left: f64,
    /// Longest time in which somebody had been waiting too long: what a burst takes to recover from.
    pub longest_breach_seconds: f64,
    /// Longest time by which a job was done later than it could have been, of all seeds: its wait, and every detour. This is
    /// what the frontier bounds.
    pub longest_detour_seconds: f64,
    pub peak_replicas: u32,
    /// Its distance from the best that hindsight could have done with the same longest wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regret: Option<Regret>,
    /// Seconds, and the share of jobs that waited longer. Of all seeds together.
    pub longer_than: Vec<(f64, f64)>,
    /// Of the first seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Timeline>,
}

/// Quantiles of the waits, seconds.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waits {
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// How far from the best. Percent of that best.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Regret {
    /// The longest wait, which the best was allowed as well.
    pub wait_seconds: f64,
    /// Replica-seconds of the best.
    pub bound: f64,
    pub percent: f64,
    /// Of which, by an estimate, nobody could have saved who learns of each job only when it is seen and has to start pods
    /// then: what the best would have cost more with so much less time for every job. Whoever keeps pods running in advance
    /// serves some jobs without, so it is never more than what another policy of the table shows that it takes.
    pub unavoidable_percent: f64,
    /// What is left: the policy's own.
    pub own_percent: f64,
}

/// A point of the frontier.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Least {
    pub wait_seconds: f64,
    /// Replica-seconds, of the first seed; `None`: not even with `maxReplicas`.
    pub cost: Option<f64>,
    /// The same over what that seed's jobs need by themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_over_work: Option<f64>,
}

/// Replicas from a moment on.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    pub at: f64,
    pub replicas: u32,
}

/// A run, moment by moment. Columns of the same length; seconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeline {
    pub at: Vec<f64>,
    /// Jobs since the moment before.
    pub arrived: Vec<u64>,
    pub waiting: Vec<u64>,
    /// Age of the oldest that waits.
    pub oldest: Vec<f64>,
    /// Replicas that the policy would like, before windows, limits and bounds; `None` before it has looked.
    pub wanted: Vec<Option<i32>>,
    pub asked: Vec<i32>,
    pub ready: Vec<i32>,
    /// Replicas' worth of slots with a job in them.
    pub busy: Vec<f64>,
    /// The first thousand changes.
    pub actions: Vec<Action>,
}

/// A change of the scale.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    pub at: f64,
    pub from: i32,
    pub to: i32,
    pub why: String,
}

/// Variants of the manifest, and what became of them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sweep {
    pub fields: Vec<Field>,
    /// Every combination: the last field changes first. Of a shard, its own.
    pub points: Vec<Point>,
}

/// A field of the manifest, and what was written there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    pub path: String,
    pub values: Vec<String>,
}

/// One combination.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// A value for each field.
    pub values: Vec<String>,
    pub on_time_percent: Estimate,
    pub meets_slo: bool,
    pub cost: Estimate,
    pub cost_over_work: Estimate,
    pub p99_wait_seconds: f64,
    pub actions_per_hour: f64,
    /// No other is cheaper and at least as punctual.
    pub on_front: bool,
}
