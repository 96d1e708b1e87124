//! WHAT to scale and how, after validation: immutable, every default filled in, every reference resolved.
//!
//! Three doors lead here (files, custom resources, KEDA's metadata) and all of them pass `validate`; nothing else
//! makes an [`AutoscalerSpec`]. Whoever holds one need not check anything again. This room is pure: no I/O, no clock.

pub(crate) mod address;
pub mod advice;
pub mod catalog;
mod connection;
mod events;
pub mod grants;
pub mod import;
pub mod keda_metadata;
pub mod limits;
pub mod load;
pub mod manifest;
pub mod problem;
pub mod recorded;
pub mod render;
pub(crate) mod report;
pub mod scenario;
pub(crate) mod schema;
mod secret;
pub mod selector;
mod series;
mod servers;
mod source;
mod topology;
pub(crate) mod tree;
pub mod units;
pub(crate) mod validate;

use std::sync::Arc;
use std::time::Duration;

pub use connection::{ClientCertificate, ClientTls, ConnectionSpec, PemRef, RedisServer, SecretRef, Server, UserRef};
pub use events::{
    Checkpoint, Eventuous, Marten, MessageDb, Orchestrator, Postgres, PostgresRead, Pupsourcing, Scope, Table,
};
pub use secret::{Secret, SecretContent, SecretKey};
pub use series::{Combine, Freshness, LabelMatcher, MatchOp, PrometheusQuery, PrometheusScrape};
pub use servers::{HttpServer, HttpUrl, PodPort, Pods, PostgresServer, ScrapeServer, Which};
pub use source::{
    Arq, BullMq, Celery, CeleryInFlight, Dramatiq, RedisList, RedisStream, Resque, Rq, ScoreUnit, Sidekiq, Source,
    StreamBacklog,
};
pub use topology::{Login, ReadFrom, Sentinel, Topology, unix_socket};

use crate::model::{AutoscalerId, Key, Replicas};

/// One autoscaler: the unit that is polled, decided, served and explained.
#[derive(Clone, PartialEq, Debug)]
pub struct AutoscalerSpec {
    pub id: AutoscalerId,
    pub origin: Origin,
    /// What to scale. `None` for what KEDA's metadata registers: KEDA never says.
    pub target: Option<TargetRef>,
    pub bounds: Bounds,
    pub polling_interval: Duration,
    /// A value older than this is stale: no scale-down, and KEDA is told UNAVAILABLE.
    pub max_sample_age: Duration,
    /// From the last activity to zero (or to idle).
    pub cooldown: Duration,
    /// From creation to zero (or to idle), while nothing was ever active.
    pub initial_cooldown: Duration,
    /// At least one.
    pub triggers: Vec<TriggerSpec>,
    pub behavior: Behavior,
    pub fallback: Fallback,
    pub pause: Pause,
    /// Decided and published, never carried out.
    pub dry_run: bool,
    /// Scaled back to what it was before, when the object is deleted.
    pub restore_on_delete: bool,
    /// Treated as active whatever the triggers say; also raises a workload that somebody stopped by hand.
    pub force_activation: bool,
}

/// How many readings may be missed before a value counts for nothing, where the operator's poll budget sets the pace:
/// the same three intervals as by default.
const READINGS_MISSED: u32 = 3;

impl AutoscalerSpec {
    /// How old a value may be where it is read only every `pace` because its namespace is held back (`None`: it is
    /// not): at least three readings, whatever `maxSampleAge` says.
    ///
    /// Stale values would be safe as long as nobody scales down on them. But KEDA would be told UNAVAILABLE, and its
    /// `fallback` (ours as well) may scale down: an operator's budget must not look like an outage of the queue.
    #[must_use]
    pub fn max_sample_age_at(&self, pace: Option<Duration>) -> Duration {
        at_least(self.max_sample_age, pace)
    }

    /// The same for a value of `trigger`, which may have an age of its own.
    #[must_use]
    pub fn max_sample_age_of(&self, trigger: &TriggerSpec, pace: Option<Duration>) -> Duration {
        at_least(trigger.max_sample_age.unwrap_or(self.max_sample_age), pace)
    }
}

fn at_least(age: Duration, pace: Option<Duration>) -> Duration {
    pace.map_or(age, |pace| age.max(pace.saturating_mul(READINGS_MISSED)))
}

/// Through which door a spec came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// A manifest file.
    Manifest,
    /// A custom resource.
    Resource,
    /// A KEDA call's metadata: triggers only.
    KedaMetadata,
}

/// The scaled workload, as in `scaleTargetRef`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TargetRef {
    pub api_version: String,
    pub kind: String,
    pub name: String,
}

/// `0 <= idle < min <= max`, `max >= 1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    pub min: Replicas,
    pub max: Replicas,
    /// Where to rest when nothing is active; without it, `min`.
    pub idle: Option<Replicas>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct TriggerSpec {
    /// `name` of the manifest, or `trigger-0`, `trigger-1` ...
    pub name: Arc<str>,
    /// The metric's name towards KEDA, without its `sN-` prefix: `[a-zA-Z0-9_.-]`, unique in the autoscaler.
    pub metric_name: Arc<str>,
    pub connection: Arc<ConnectionSpec>,
    pub source: Source,
    /// Where work that is being done shows, if the source itself does not: its backlog is in-flight work.
    pub in_flight: Option<Source>,
    pub policy: Policy,
    /// Active iff the backlog is strictly above this many items, or something is in flight.
    pub activation_threshold: f64,
    /// Instead of the autoscaler's own.
    pub max_sample_age: Option<Duration>,
    pub partitioning: Partitioning,
    /// Which part of what is read counts here: above 0, at most [`TriggerSpec::WHOLE`].
    pub share: MilliValue,
}

/// What is made of how the workers have divided the work among them, where the source shows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Partitioning {
    /// No more replicas than there are partitions (segments, shards).
    pub bounds_replicas: bool,
    /// How long nothing is decided while the work is divided anew; zero: it is decided all the same.
    pub hold_for: Duration,
}

/// From backlog to wanted replicas. Closed: an exhaustive `match` keeps every policy in the benchmark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// The HPA's AverageValue rule: `ceil(backlog / target)`.
    BacklogPerReplica {
        target: MilliValue,
    },
    /// This many while the trigger is active, none otherwise.
    Fixed {
        replicas: Replicas,
    },
    Load(Load),
}

/// Slots for what is in flight, and for what must start soon: `ceil(F / (c u) + Q s / (c T))`, and never fewer than
/// `ceil(F / c)`, with F in flight and Q waiting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// c: jobs that one replica works on at once.
    pub slots_per_replica: MilliValue,
    /// s: how long one job takes, about.
    pub job_duration: Duration,
    /// T: how soon the backlog is to be worked off.
    pub drain_within: Duration,
    /// u: which part of the slots is to be busy; above 0, at most 1.
    pub utilization: MilliValue,
}

impl TriggerSpec {
    /// The share of who drains a queue alone.
    pub const WHOLE: MilliValue = MilliValue(1000);

    /// Whether work that is being done can be seen.
    #[must_use]
    pub fn shows_in_flight(&self) -> bool {
        self.in_flight.is_some() || self.source.shows_in_flight()
    }

    /// As [`Source::reads`], of both sources.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.source.reads() + self.in_flight.as_ref().map_or(0, Source::reads)
    }
}

/// Thousandths, as the HPA counts: a quantity rounded up to the next thousandth. At least 1 where it is a target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MilliValue(pub i64);

impl MilliValue {
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }
}

// === behavior: HPA v2, resolved ===

/// How a wish becomes a step. HPA v2 `behavior`, defaults filled in; facts: Kubernetes v1.36 `podautoscaler`.
#[derive(Clone, PartialEq, Debug)]
pub enum Behavior {
    /// A behavior block, or tidegate's defaults for one that is absent.
    Rules { up: ScalingRules, down: ScalingRules },
    /// What the HPA does when `behavior` is absent: a plain maximum over `downscale_stabilization`, and
    /// four-or-double. No manifest of ours means this; imported HPAs and the simulator's baselines do.
    HpaWithoutBehavior { downscale_stabilization: Duration },
}

/// One direction.
#[derive(Clone, PartialEq, Debug)]
pub struct ScalingRules {
    /// Whole seconds, 0..=3600.
    pub stabilization_window: Duration,
    pub select_policy: SelectPolicy,
    /// Empty: no rate limit (never written by a user: a list that is given must not be empty).
    pub policies: Vec<RatePolicy>,
    /// Dead band on the unrounded ratio, 0.1 = 10 %.
    pub tolerance: f64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SelectPolicy {
    Max,
    Min,
    Disabled,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RatePolicy {
    pub kind: RateKind,
    /// At least 1.
    pub value: i32,
    /// Whole seconds, 1..=1800.
    pub period: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RateKind {
    Pods,
    Percent,
}

/// What to do when a trigger has failed for longer than `after`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fallback {
    pub after: Duration,
    pub behavior: FallbackBehavior,
}

/// KEDA's names; `Hold` (never below current) is ours and the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FallbackBehavior {
    Hold,
    /// May scale down: `check` warns.
    Static {
        replicas: Replicas,
    },
    CurrentReplicas,
    CurrentReplicasIfHigher {
        replicas: Replicas,
    },
    /// May scale down: `check` warns.
    CurrentReplicasIfLower {
        replicas: Replicas,
    },
}

/// From the annotations `tidegate.dev/paused`, `/paused-replicas`, `/paused-scale-in`, `/paused-scale-out`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pause {
    pub frozen: bool,
    pub at_replicas: Option<Replicas>,
    pub scale_in: bool,
    pub scale_out: bool,
}

/// A change of what is to be polled, decided and served; the runtime tells the poller in these words.
#[derive(Clone, PartialEq, Debug)]
pub enum Change {
    /// New, or replaced under the same key.
    Set(Key, Arc<AutoscalerSpec>),
    Removed(Key),
}

/// Autoscalers of custom resources that are new or others now, and those that are gone.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SpecsChange {
    pub set: Vec<Arc<AutoscalerSpec>>,
    pub gone: Vec<AutoscalerId>,
}
