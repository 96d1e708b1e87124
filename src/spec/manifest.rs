//! The kinds as users type them. One set of types for manifest files, for custom resources and for the CRDs.
//!
//! Every field is optional and every number is as wide as what Kubernetes accepts: these types only say what *can* be
//! written. What must be written, and what contradicts what, is [`super::validate`]'s business, so that a user learns
//! of every mistake at once instead of the first one that a parser trips over. The comments on the fields are what
//! `kubectl explain` prints; ranges and enumerations in the attributes are enforced by [`super::schema`] in files and
//! by the API server in a cluster.

mod events;
mod login;
mod redis;
mod scenario;
mod series;
mod servers;
mod sources;
pub mod status;
mod text;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use events::{Checkpoint, Eventuous, Marten, MessageDb, Orchestrator, Postgres, PostgresQuery, Pupsourcing, Scope};
pub use login::{Login, PasswordFrom, PemFrom, SecretKeyRef, Tls, UsernameFrom};
pub use redis::{ClusterNodes, ReadFrom, RedisConnection, SentinelConnection};
pub use scenario::{
    Actuation, ArrivalsBody, Batches, Constant, Cron, DrawBody, Guess, JobStream, MeanAndCv, Mmpp, Outage,
    OutageThenFlood, Pareto, Ramp, RetryStorm, Sampling, ScenarioBody, Sine, Slo, Spike, StartUp, Steps, Termination,
    TraceFile, Unfinished, Victim, WarmUp, Weekly, Workers,
};
pub use series::{Combine, PrometheusQuery, PrometheusScrape};
pub use servers::{PostgresConnection, PrometheusConnection, ScrapeConnection, ScrapePods};
pub use sources::{
    Arq, BullMq, Celery, CeleryInFlight, Dramatiq, InFlight, MemoryQueue, RedisKeys, RedisList, RedisSortedSet,
    RedisStream, Resque, Rq, ScoreUnit, Sidekiq, StreamBacklog,
};
pub use text::{DurationText, PasswordText, QuantityText};

/// Group and version of all kinds, as written in `apiVersion`.
pub const API_VERSION: &str = "tidegate.dev/v1alpha1";
/// The group alone; annotations use it as their prefix.
pub const GROUP: &str = "tidegate.dev";

/// Scales a workload by the length of its queues.
#[derive(CustomResource, Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "QueueAutoscaler",
    shortname = "qas",
    category = "tidegate",
    namespaced,
    status = "status::QueueAutoscalerStatus",
    doc = "Scales a workload by the length of its queues."
)]
#[serde(rename_all = "camelCase")]
pub struct QueueAutoscalerBody {
    /// The workload to scale: anything with a /scale subresource. Without kind, a Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<ScaleTargetRef>,
    /// Never fewer replicas than this, unless idleReplicaCount says so. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_replicas: Option<i32>,
    /// Never more replicas than this. Default 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub max_replicas: Option<i32>,
    /// Where to rest while nothing is active; must be below minReplicas. Without it, minReplicas.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub idle_replica_count: Option<i32>,
    /// Decide and publish, but never scale the workload. Beside an HPA or a ScaledObject that owns the workload, it
    /// shows what tidegate would have done. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// When this object is deleted, scale the workload back to what it was before. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_to_original_replica_count: Option<bool>,
    /// How often the queues are read: 50ms to 10m. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub polling_interval: Option<DurationText>,
    /// How long after the last activity the last step, to zero or to idleReplicaCount, may be taken. Default 300s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cooldown_period: Option<DurationText>,
    /// The same, counted from creation, while nothing was ever active. Default 0s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_cooldown_period: Option<DurationText>,
    /// A reading older than this no longer counts: no scale-down, and KEDA is told that the source is unavailable.
    /// Default: the greater of 10s and three polling intervals. Where the operator's poll budget holds the namespace
    /// back, a reading counts for at least three of the longer intervals, whatever is written here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sample_age: Option<DurationText>,
    /// What to count. The workload gets the highest number of replicas that any trigger asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub triggers: Option<Vec<Trigger>>,
    /// How fast replicas may change: the HorizontalPodAutoscaler's own block (autoscaling/v2), word for word. Without
    /// it, up at once, and down to the highest wish of the last 300 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Behavior>,
    /// What to do when a source has failed for some time. Without it, the replicas are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<Fallback>,
}

/// The workload to scale.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTargetRef {
    /// Default apps/v1, where kind is one of that group's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Default Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Name of the workload, in this object's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// One queue (or several, added up) and what its backlog means. Exactly one source block (redisList, celery, sidekiq
/// and so on) and exactly one policy block.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trigger {
    /// For logs, metrics and messages. Default trigger-0, trigger-1, and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Name of a Connection of this namespace, or of a ClusterConnection that allows this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<String>,
    /// Source: the length of Redis lists (or sets, sorted sets, hashes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_list: Option<RedisList>,
    /// Source: members of Redis sets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_set: Option<RedisKeys>,
    /// Source: fields of Redis hashes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_hash: Option<RedisKeys>,
    /// Source: members of Redis sorted sets that are due, their scores being times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_sorted_set: Option<RedisSortedSet>,
    /// Source: a Redis stream, as its consumer group has read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis_stream: Option<RedisStream>,
    /// Source: queues of Celery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub celery: Option<Celery>,
    /// Source: queues of Sidekiq.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sidekiq: Option<Sidekiq>,
    /// Source: queues of BullMQ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bullmq: Option<BullMq>,
    /// Source: queues of RQ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rq: Option<Rq>,
    /// Source: queues of Resque.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resque: Option<Resque>,
    /// Source: queues of Dramatiq.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dramatiq: Option<Dramatiq>,
    /// Source: queues of arq.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arq: Option<Arq>,
    /// Source: a number in a PostgreSQL, such as the lag of projections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<Postgres>,
    /// Source: what a query finds at a Prometheus.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_query: Option<PrometheusQuery>,
    /// Source: a metric, read where it is exposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus_scrape: Option<PrometheusScrape>,
    /// Source: a queue embedded in tidegate itself, for demonstrations and tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryQueue>,
    /// Where work that is being done shows, if the source itself does not show it. It keeps the workload from zero, and
    /// the policy load needs it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
    /// From backlog to replicas: exactly one block.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// The trigger is active while the backlog is above (not at) this many items. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation_threshold: Option<QuantityText>,
    /// Which part of what is read counts here, above 0 and at most 1: for a queue that several workloads drain, such as a
    /// stable and a canary Deployment, each with an autoscaler and its share. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<QuantityText>,
    /// A reading of this trigger older than this no longer counts. Default: the autoscaler's maxSampleAge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sample_age: Option<DurationText>,
}

/// From backlog to replicas. Exactly one block.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Policy {
    /// As many replicas as the backlog divided by the target, rounded up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backlog_per_replica: Option<BacklogPerReplica>,
    /// Always the same number while active.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed: Option<Fixed>,
    /// Slots for the work in flight, and for the backlog to be worked off in time. Needs a source that shows work in
    /// flight, or inFlight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load: Option<Load>,
}

/// The HPA's AverageValue rule.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BacklogPerReplica {
    /// Items that one replica may have waiting: a number or a quantity such as 500m.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<QuantityText>,
}

/// Always the same number while active.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fixed {
    /// Replicas while active.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub replicas: Option<i32>,
}

/// Slots for the work in flight, and for the backlog to be worked off in time: in flight / (slotsPerReplica x
/// utilization) + backlog x jobDuration / (slotsPerReplica x drainWithin), rounded up.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Jobs that one replica works on at once: the worker's concurrency. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slots_per_replica: Option<QuantityText>,
    /// How long one job takes, about. 1ms to 24h.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_duration: Option<DurationText>,
    /// How soon the backlog is to be worked off. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_within: Option<DurationText>,
    /// Which part of the slots is to be busy: above 0, at most 1. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<QuantityText>,
}

/// How fast replicas may change.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Behavior {
    /// Upwards. What is left out: no window, no rate limit, tolerance 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_up: Option<ScalingRules>,
    /// Downwards, the way to zero included. What is left out: a window of 300 seconds, no rate limit, tolerance 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_down: Option<ScalingRules>,
}

/// One direction.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScalingRules {
    /// Upwards the lowest, downwards the highest wish of this many seconds counts: 0 to 3600.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 3600))]
    pub stabilization_window_seconds: Option<i32>,
    /// Which of several policies counts: Max (the default) the one that allows the most change, Min the least;
    /// Disabled forbids this direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select_policy: Option<SelectPolicy>,
    /// Rate limits. Not empty when given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub policies: Option<Vec<RatePolicy>>,
    /// Changes of the wished ratio by less than this are ignored: a quantity, such as 0.1 for 10 %. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<QuantityText>,
}

/// Which of several rate limits counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum SelectPolicy {
    Max,
    Min,
    Disabled,
}

/// A rate limit: this much change in this time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RatePolicy {
    /// Pods or Percent.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<RateKind>,
    /// Pods, or percent of the replicas at the beginning of the period: at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub value: Option<i32>,
    /// 1 to 1800 seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1800))]
    pub period_seconds: Option<i32>,
}

/// What a rate limit counts in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub enum RateKind {
    Pods,
    Percent,
}

/// What to do when a source has failed for some time.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fallback {
    /// How long a source must have failed. Default 30s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<DurationText>,
    /// hold (the default): never below the current replicas. static: exactly `replicas`. currentReplicas: stay.
    /// currentReplicasIfHigher, currentReplicasIfLower: stay if that is higher (lower) than `replicas`, else
    /// `replicas`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub behavior: Option<FallbackBehavior>,
    /// For static, currentReplicasIfHigher and currentReplicasIfLower.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
}

/// KEDA's names, and `hold`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FallbackBehavior {
    Hold,
    Static,
    CurrentReplicas,
    CurrentReplicasIfHigher,
    CurrentReplicasIfLower,
}

/// A server that triggers of this namespace may read. Exactly one block.
#[derive(CustomResource, Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "Connection",
    category = "tidegate",
    namespaced,
    doc = "A server that triggers of this namespace may read."
)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionBody {
    /// A Redis server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisConnection>,
    /// A database of a PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresConnection>,
    /// A server that speaks Prometheus' HTTP API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusConnection>,
    /// Pages of metrics: of one URL, or of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape: Option<ScrapeConnection>,
    /// The queues embedded in tidegate itself, for demonstrations and tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryConnection>,
}

/// A server that triggers of several namespaces may read. Exactly one server block.
#[derive(CustomResource, Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "tidegate.dev",
    version = "v1alpha1",
    kind = "ClusterConnection",
    category = "tidegate",
    doc = "A server that triggers of several namespaces may read."
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterConnectionBody {
    /// Who may use it: names of namespaces, where `*` stands for any run of characters. Must be written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<Vec<String>>,
    /// A Redis server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<RedisConnection>,
    /// A database of a PostgreSQL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresConnection>,
    /// A server that speaks Prometheus' HTTP API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<PrometheusConnection>,
    /// Pages of metrics: of one URL, or of pods.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scrape: Option<ScrapeConnection>,
    /// The queues embedded in tidegate itself, for demonstrations and tests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<MemoryConnection>,
}

/// The embedded queues: nothing to configure.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct MemoryConnection {}
