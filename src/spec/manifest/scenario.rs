//! `kind: Scenario`: the world that `tidegate simulate` puts an autoscaler into. Never a custom resource.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationText, QuantityText};

/// A workload and the place it runs in.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScenarioBody {
    /// What it is for.
    pub about: Option<String>,
    /// Name of the QueueAutoscaler, where the files have several.
    pub autoscaler: Option<String>,
    /// How long jobs arrive. The run goes on until all of them are done. Default 1h, or as long as its traces.
    pub duration: Option<DurationText>,
    /// How soon jobs should be started. Default 99 percent within 30s.
    pub slo: Option<Slo>,
    /// What arrives, one entry for each trigger, in its order or by its name.
    pub jobs: Option<Vec<JobStream>>,
    /// The pods that do the work.
    pub workers: Option<Workers>,
    /// How the queue is seen.
    pub sampling: Option<Sampling>,
    /// How a wish becomes a change.
    pub actuation: Option<Actuation>,
    /// Replicas that are ready at the beginning. Default: idleReplicaCount, or minReplicas.
    #[schemars(range(min = 0, max = 100_000))]
    pub initial_replicas: Option<i32>,
    /// Runs with other luck, each. Default 5.
    #[schemars(range(min = 1, max = 1000))]
    pub seeds: Option<i32>,
}

/// How soon jobs should be started.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Slo {
    /// From arrival to start. Default 30s.
    pub wait: Option<DurationText>,
    /// Percent of the jobs for which that must hold. Default 99.
    pub percent: Option<QuantityText>,
}

/// The jobs behind one trigger.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobStream {
    /// Name of the trigger that reads their queue.
    pub trigger: Option<String>,
    /// When they come; several add up.
    pub arrivals: Option<Vec<ArrivalsBody>>,
    /// How long one takes.
    pub service: Option<DrawBody>,
}

/// One way of arriving. Exactly one block.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ArrivalsBody {
    /// The same rate all the time.
    pub constant: Option<Constant>,
    /// A rate that goes up and down.
    pub sine: Option<Sine>,
    /// Days and nights, and quieter weekends.
    pub weekly: Option<Weekly>,
    /// One rate after another, and again from the first.
    pub steps: Option<Steps>,
    /// From one rate to another over the whole duration.
    pub ramp: Option<Ramp>,
    /// Another rate for a while.
    pub spike: Option<Spike>,
    /// A Markov-modulated Poisson process: rates that take turns by chance.
    pub mmpp: Option<Mmpp>,
    /// Many at once, now and then.
    pub batches: Option<Batches>,
    /// Many at once, on time.
    pub cron: Option<Cron>,
    /// Jobs that fail for a while and come again.
    pub retry_storm: Option<RetryStorm>,
    /// Producers that are cut off for a while, and then deliver everything.
    pub outage: Option<OutageThenFlood>,
    /// What was recorded.
    pub trace: Option<TraceFile>,
}

/// The same rate all the time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Constant {
    /// Jobs a second.
    pub per_second: Option<QuantityText>,
    /// At equal distances instead of by chance (a Poisson process).
    pub even: Option<bool>,
}

/// A rate that goes up and down.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sine {
    /// Jobs a second on average.
    pub mean: Option<QuantityText>,
    /// Jobs a second more at the top, and fewer at the bottom.
    pub amplitude: Option<QuantityText>,
    /// From top to top.
    pub period: Option<DurationText>,
}

/// Days and nights, and quieter weekends. Begins on a Monday at midnight.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Weekly {
    /// Jobs a second at noon of a weekday.
    pub peak: Option<QuantityText>,
    /// Jobs a second at midnight.
    pub night: Option<QuantityText>,
    /// Weekends have this percentage of it. Default 30.
    pub weekend_percent: Option<QuantityText>,
}

/// One rate after another, and again from the first.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Steps {
    /// Jobs a second.
    pub per_second: Option<Vec<QuantityText>>,
    /// How long each lasts.
    pub every: Option<DurationText>,
}

/// From one rate to another over the whole duration.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ramp {
    /// Jobs a second at the beginning.
    pub from: Option<QuantityText>,
    /// Jobs a second at the end.
    pub to: Option<QuantityText>,
}

/// Another rate for a while.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spike {
    /// Jobs a second while it lasts.
    pub per_second: Option<QuantityText>,
    /// When it begins.
    pub at: Option<DurationText>,
    /// How long it lasts.
    pub lasts: Option<DurationText>,
}

/// Rates that take turns by chance.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mmpp {
    /// Jobs a second in each state.
    pub per_second: Option<Vec<QuantityText>>,
    /// How long each state lasts on average (exponentially distributed).
    pub dwell: Option<Vec<DurationText>>,
}

/// Many at once, now and then.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Batches {
    /// Jobs at once.
    #[schemars(range(min = 1))]
    pub size: Option<i32>,
    /// From one to the next on average (exponentially distributed).
    pub every: Option<DurationText>,
}

/// Many at once, on time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cron {
    /// Jobs each time.
    #[schemars(range(min = 1))]
    pub size: Option<i32>,
    /// From one to the next. Default 1m.
    pub every: Option<DurationText>,
    /// When it happens first. Default 0s.
    pub at: Option<DurationText>,
    /// They come within this time, evenly. Default 0s: all at once.
    pub within: Option<DurationText>,
}

/// Jobs that fail for a while and come again.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetryStorm {
    /// New jobs a second, all the time.
    pub per_second: Option<QuantityText>,
    /// When what they need goes down.
    pub at: Option<DurationText>,
    /// How long it is down.
    pub lasts: Option<DurationText>,
    /// A job that arrives meanwhile comes again after this, then after twice this, and so on. Default 10s.
    pub backoff: Option<DurationText>,
    /// How often at most. Default 5.
    #[schemars(range(min = 1, max = 20))]
    pub retries: Option<i32>,
}

/// Producers that are cut off for a while, and then deliver everything.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutageThenFlood {
    /// Jobs a second, all the time.
    pub per_second: Option<QuantityText>,
    /// When they are cut off.
    pub at: Option<DurationText>,
    /// For how long.
    pub lasts: Option<DurationText>,
    /// How long it takes them to deliver what they kept. Default 10s.
    pub flood: Option<DurationText>,
}

/// A recorded trace; see `tidegate simulate --help` for the formats.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TraceFile {
    /// Path of the file; a relative one begins at the scenario's folder.
    pub file: Option<String>,
    /// csv, ndjson, prometheus, cloudwatch, counts or swf. Default: what it looks like.
    pub format: Option<String>,
    /// Which column or series is what, by role: time, service, arrivals, rate, enqueued, completed, depth ...
    pub columns: Option<BTreeMap<String, String>>,
    /// Seconds of service for each token, where the trace has tokens.
    pub seconds_per_token: Option<QuantityText>,
    /// For each token that is written, where that takes another time.
    pub seconds_per_output_token: Option<QuantityText>,
    /// Width of a bin. Default 1s for bare counts, else the usual interval of the rows.
    pub bin: Option<DurationText>,
    /// Workers that there were, where the trace has depths only: what came is then reconstructed.
    pub replicas: Option<QuantityText>,
    /// Where the trace has depths only: low, likely (the default) or high, of what may have come.
    pub band: Option<Guess>,
    /// This many times as many jobs in the same time. Default 1.
    pub scale: Option<QuantityText>,
}

/// Which of the arrivals that depths allow for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Guess {
    Low,
    #[default]
    Likely,
    High,
}

/// A random duration. Exactly one block.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DrawBody {
    /// Always the same.
    pub fixed: Option<DurationText>,
    /// Exponential, with this mean.
    pub exponential: Option<DurationText>,
    /// Lognormal.
    pub lognormal: Option<MeanAndCv>,
    /// Gamma.
    pub gamma: Option<MeanAndCv>,
    /// A Pareto distribution, cut off.
    pub pareto: Option<Pareto>,
    /// Each of these is as likely.
    pub empirical: Option<Vec<DurationText>>,
}

/// Mean and coefficient of variation.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeanAndCv {
    pub mean: Option<DurationText>,
    /// Standard deviation over mean. Default 1.
    pub cv: Option<QuantityText>,
}

/// A Pareto distribution, cut off.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pareto {
    /// The shortest.
    pub min: Option<DurationText>,
    /// The longest.
    pub max: Option<DurationText>,
    /// Shape: the smaller, the heavier the tail.
    pub alpha: Option<QuantityText>,
}

/// The pods that do the work.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workers {
    /// Jobs that one pod works on at once. Default 1, or the policy's slotsPerReplica.
    #[schemars(range(min = 1, max = 10_000))]
    pub slots: Option<i32>,
    /// Jobs that a pod takes in advance, beyond those. Default 0.
    #[schemars(range(min = 0, max = 10_000))]
    pub prefetch: Option<i32>,
    /// Slower at first.
    pub warm_up: Option<WarmUp>,
    /// From being asked for to taking work. Default 30s.
    pub start_up: Option<StartUp>,
    /// How pods end.
    pub termination: Option<Termination>,
    /// Nobody takes work for this long after each change of the ready pods. Default 0s.
    pub rebalance_pause: Option<DurationText>,
    /// Pods that the cluster has room for. Default: no limit.
    #[schemars(range(min = 1))]
    pub capacity: Option<i32>,
}

/// Slower at first.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WarmUp {
    /// How long.
    pub lasts: Option<DurationText>,
    /// How many times as long a job takes.
    pub slowdown: Option<QuantityText>,
}

/// From being asked for to taking work: the sum of its parts.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StartUp {
    /// Until a node is found.
    pub schedule: Option<DrawBody>,
    /// Until the image is there.
    pub pull: Option<DrawBody>,
    /// Until the worker takes work.
    pub init: Option<DrawBody>,
    /// Percent of the starts that fail at their end, and are made again. Default 0.
    pub failing_percent: Option<QuantityText>,
}

/// How pods end.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Termination {
    /// terminationGracePeriodSeconds: what is not done by then is cut off. Default 30s.
    pub grace: Option<DurationText>,
    /// What becomes of a job that is cut off. Default redelivered.
    pub unfinished: Option<Unfinished>,
    /// When a job that was cut off is delivered again, after it was taken. Default 60s.
    pub visibility_timeout: Option<DurationText>,
    /// Which of the ready pods goes first. Default newest, as with a ReplicaSet.
    pub victim: Option<Victim>,
}

/// What becomes of a job that is cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unfinished {
    // No documentation comments here: the schema would become one that lists no words to choose from.
    // It is gone.
    Lost,
    // It goes back to the queue after its visibility timeout, and is done from the beginning.
    Redelivered,
}

/// Which of the ready pods goes first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Victim {
    // The one that became ready last.
    Newest,
    // The one that became ready first.
    Oldest,
    // Any.
    Random,
    // The one with the least to do (pod-deletion-cost).
    IdleFirst,
}

/// How the queue is seen.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sampling {
    /// From the truth to whoever decides. Default 1ms.
    pub delay: Option<DurationText>,
    /// Percent of the readings that fail. Default 0.
    pub loss_percent: Option<QuantityText>,
    /// When every reading fails.
    pub outages: Option<Vec<Outage>>,
}

/// When every reading fails.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    pub at: Option<DurationText>,
    pub lasts: Option<DurationText>,
}

/// How a wish becomes a change.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Actuation {
    /// From the decision to the changed scale. Default 20ms.
    pub delay: Option<DurationText>,
    /// Percent of the changes that fail, because somebody else changed the object, and are made again. Default 0.
    pub conflict_percent: Option<QuantityText>,
}
