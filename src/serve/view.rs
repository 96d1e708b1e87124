//! What is published, as JSON: the shapes of the HTTP API.
//!
//! Shapes of their own, because the vocabulary knows no serde and because what is not listed here cannot leak: of a
//! connection, only its name is shown. Times are RFC 3339 with the age in seconds beside them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::words;
use crate::board::{Cell, Published};
use crate::clock::Clock;
use crate::model::{Decision, Health, Replicas, Share, Shares, Step, Tick, TriggerReport, stretched};
use crate::spec::{Origin, Policy, TriggerSpec, manifest, render};

/// `GET /api/v1/autoscalers`, but for its `items`: one [`Summary`] each.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Head {
    time: String,
    ready: bool,
    /// Above 0, the last change of the manifests is not in force, or not all of it: see `/api/v1/manifests`.
    manifest_problems: usize,
}

/// One row.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    namespace: String,
    name: String,
    origin: &'static str,
    target: Option<String>,
    min_replicas: Replicas,
    max_replicas: Replicas,
    /// Items waiting, all triggers together; `null` until one has been read.
    backlog: Option<f64>,
    /// The worst of the triggers'.
    health: &'static str,
    /// Of the oldest value that the decision rests on.
    value_age_seconds: Option<f64>,
    #[serde(flatten)]
    verdict: Option<Verdict>,
}

/// `GET /api/v1/namespaces`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Namespaces {
    time: String,
    items: Vec<NamespaceView>,
}

/// What one namespace has, asks for and gets.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NamespaceView {
    namespace: String,
    /// Registrations included.
    autoscalers: usize,
    /// Those that KEDA's calls made.
    registrations: usize,
    demand_reads_per_second: f64,
    allowed_reads_per_second: f64,
    held_back: bool,
    /// By how much polling intervals are stretched: 1 where nobody is held back.
    stretch: f64,
}

/// A decision's outcome.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    /// The latest polling round that was known; the log's `round`.
    round: Option<u64>,
    decided_at: String,
    decided_age_seconds: f64,
    /// `null` while nobody has reported the workload's scale.
    current: Option<Replicas>,
    desired: Replicas,
    active: bool,
    degraded: bool,
    fallback: bool,
    paused: bool,
    reason: &'static str,
    reason_words: &'static str,
}

/// `GET /api/v1/autoscalers/{namespace}/{name}`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Detail {
    time: String,
    #[serde(flatten)]
    summary: Summary,
    polling_interval_seconds: f64,
    /// Where it is longer, because the namespace is held back.
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_polling_interval_seconds: Option<f64>,
    max_sample_age_seconds: f64,
    cooldown_seconds: f64,
    idle_replicas: Option<Replicas>,
    steps: Vec<StepView>,
    /// Position of the trigger with the highest wish.
    winner: Option<u16>,
    triggers: Vec<TriggerView>,
    /// The last decisions that differed from the one before, newest first.
    history: Vec<Past>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct StepView {
    stage: &'static str,
    title: &'static str,
    before: Replicas,
    after: Replicas,
    reason: &'static str,
    reason_words: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TriggerView {
    name: String,
    metric_name: String,
    connection: String,
    /// The source's block, as in a manifest.
    source: manifest::Trigger,
    /// Where in-flight work shows, as in a manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight_source: Option<manifest::Trigger>,
    policy: PolicyView,
    activation_threshold: f64,
    /// Where only a part of what was read counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    share: Option<f64>,
    /// Where it is not the autoscaler's.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_sample_age_seconds: Option<f64>,
    #[serde(flatten)]
    report: Option<ReportView>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
enum PolicyView {
    BacklogPerReplica { target: f64 },
    Fixed { replicas: Replicas },
    Load { slots_per_replica: f64, job_duration_seconds: f64, drain_within_seconds: f64, utilization: f64 },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportView {
    health: &'static str,
    value: Option<f64>,
    /// Of the value, delayed items that are due; this and what follows where the source shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_flight: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_age_seconds: Option<f64>,
    /// The most jobs that the queue lets run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<f64>,
    /// Ever added to the queue and ever taken from it, by its own counters.
    #[serde(skip_serializing_if = "Option::is_none")]
    added: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    taken: Option<f64>,
    /// Parts that the work is divided into.
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<f64>,
    /// Of these, the ones that no living worker works on.
    #[serde(skip_serializing_if = "Option::is_none")]
    unowned: Option<f64>,
    /// The workers divide it anew.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    rebalancing: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    paused: bool,
    /// The polling round that last spoke of it.
    round: Option<u64>,
    taken_at: Option<String>,
    age_seconds: Option<f64>,
    active: bool,
    wants: Option<Replicas>,
    reason: &'static str,
    reason_words: &'static str,
    failure: Option<FailureView>,
}

#[derive(Serialize)]
struct FailureView {
    kind: &'static str,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Past {
    #[serde(flatten)]
    verdict: Verdict,
    steps: Vec<StepView>,
}

/// The moment of one answer, and how to write it.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    clock: Clock,
    now: Tick,
}

// === impl Moment ===

impl Moment {
    pub(super) fn new(clock: Clock) -> Self {
        Moment { clock, now: clock.now() }
    }

    pub(super) fn age(self, at: Tick) -> f64 {
        self.now.since(at).as_secs_f64()
    }

    pub(super) fn written(self, at: Tick) -> String {
        rfc3339(self.clock.wall(at))
    }

    pub(super) fn now_written(self) -> String {
        self.written(self.now)
    }

    pub(super) fn head(self, ready: bool, manifest_problems: usize) -> Head {
        Head { time: self.written(self.now), ready, manifest_problems }
    }

    pub(super) fn namespaces<'a>(self, cells: impl Iterator<Item = &'a Cell>, shares: &Shares) -> Namespaces {
        let mut counts: BTreeMap<Arc<str>, (usize, usize)> = BTreeMap::new();
        for cell in cells {
            let (autoscalers, registrations) = counts.entry(Arc::clone(&cell.id.namespace)).or_default();
            *autoscalers += 1;
            *registrations += cell.peek(|published| usize::from(published.spec.origin == Origin::KedaMetadata));
        }
        let view = |(namespace, (autoscalers, registrations)): (Arc<str>, _)| {
            // The poller has not heard of it yet.
            let unknown = Share { demand: 0.0, allowed: 0.0, stretch: 1.0 };
            let share = shares.get(&namespace).copied().unwrap_or(unknown);
            NamespaceView {
                namespace: namespace.to_string(),
                autoscalers,
                registrations,
                demand_reads_per_second: share.demand,
                allowed_reads_per_second: share.allowed,
                held_back: share.is_held_back(),
                stretch: share.stretch,
            }
        };
        Namespaces { time: self.written(self.now), items: counts.into_iter().map(view).collect() }
    }

    pub(super) fn detail(self, cell: &Cell, shares: &Shares) -> Detail {
        let published = cell.latest();
        let spec = &published.spec;
        let decision = published.decision.as_ref();
        let report = |position: usize| decision.and_then(|decision| decision.triggers.get(position));
        Detail {
            time: self.written(self.now),
            summary: self.summary(&published),
            polling_interval_seconds: spec.polling_interval.as_secs_f64(),
            effective_polling_interval_seconds: shares
                .get(&spec.id.namespace)
                .filter(|share| share.is_held_back())
                .map(|share| stretched(spec.polling_interval, share.stretch).as_secs_f64()),
            max_sample_age_seconds: published.max_sample_age().as_secs_f64(),
            cooldown_seconds: spec.cooldown.as_secs_f64(),
            idle_replicas: spec.bounds.idle,
            steps: decision.map(steps).unwrap_or_default(),
            winner: decision.and_then(|decision| decision.winner),
            triggers: spec.triggers.iter().enumerate().map(|(i, t)| self.trigger(&published, t, report(i))).collect(),
            history: cell.history().iter().rev().map(|past| self.past(past)).collect(),
        }
    }

    pub(super) fn summary(self, published: &Published) -> Summary {
        let spec = &published.spec;
        let reports = || published.decision.iter().flat_map(|decision| &decision.triggers);
        let healths =
            spec.triggers.iter().zip(reports()).map(|(trigger, report)| self.health(published, trigger, report));
        Summary {
            namespace: spec.id.namespace.to_string(),
            name: spec.id.name.to_string(),
            origin: match spec.origin {
                Origin::Manifest => "manifest",
                Origin::Resource => "resource",
                Origin::KedaMetadata => "keda",
            },
            target: spec.target.as_ref().map(|target| format!("{}/{}", target.kind, target.name)),
            min_replicas: spec.bounds.min,
            max_replicas: spec.bounds.max,
            backlog: reports().filter_map(|report| report.value).reduce(|sum, value| sum + value),
            health: healths.max().unwrap_or(Health::Pending).as_str(),
            value_age_seconds: reports().filter_map(|report| report.taken).min().map(|taken| self.age(taken)),
            verdict: published.decision.as_ref().map(|decision| self.verdict(decision)),
        }
    }

    /// As decided, unless the value has grown too old since: a runtime that hangs must not look well.
    fn health(self, published: &Published, trigger: &TriggerSpec, report: &TriggerReport) -> Health {
        match report.taken {
            Some(taken) if self.now.since(taken) > published.max_sample_age_of(trigger) => Health::Stale,
            _ => report.health,
        }
    }

    fn verdict(self, decision: &Decision) -> Verdict {
        Verdict {
            round: decision.round.map(|round| round.0),
            decided_at: self.written(decision.at),
            decided_age_seconds: self.age(decision.at),
            current: decision.current_known.then_some(decision.current),
            desired: decision.desired,
            active: decision.active,
            degraded: decision.degraded,
            fallback: decision.fallback,
            paused: decision.paused,
            reason: decision.reason.as_str(),
            reason_words: words::reason(decision.reason),
        }
    }

    fn past(self, decision: &Decision) -> Past {
        Past { verdict: self.verdict(decision), steps: steps(decision) }
    }

    fn trigger(self, published: &Published, trigger: &TriggerSpec, report: Option<&TriggerReport>) -> TriggerView {
        TriggerView {
            name: trigger.name.to_string(),
            metric_name: trigger.metric_name.to_string(),
            connection: trigger.connection.name.to_string(),
            source: render::source(&trigger.source),
            in_flight_source: trigger.in_flight.as_ref().map(render::source),
            policy: match trigger.policy {
                Policy::BacklogPerReplica { target } => PolicyView::BacklogPerReplica { target: target.as_f64() },
                Policy::Fixed { replicas } => PolicyView::Fixed { replicas },
                Policy::Load(load) => PolicyView::Load {
                    slots_per_replica: load.slots_per_replica.as_f64(),
                    job_duration_seconds: load.job_duration.as_secs_f64(),
                    drain_within_seconds: load.drain_within.as_secs_f64(),
                    utilization: load.utilization.as_f64(),
                },
            },
            activation_threshold: trigger.activation_threshold,
            share: (trigger.share != TriggerSpec::WHOLE).then(|| trigger.share.as_f64()),
            max_sample_age_seconds: trigger.max_sample_age.map(|_| published.max_sample_age_of(trigger).as_secs_f64()),
            report: report.map(|report| ReportView {
                health: self.health(published, trigger, report).as_str(),
                value: report.value,
                due: report.facts.due.get(),
                in_flight: report.facts.in_flight.get(),
                oldest_age_seconds: report.facts.oldest_age.get(),
                limit: report.facts.limit.get(),
                added: report.facts.added.get(),
                taken: report.facts.taken.get(),
                partitions: report.facts.partitions.get(),
                unowned: report.facts.unowned.get(),
                rebalancing: report.facts.rebalancing,
                paused: report.facts.paused,
                round: report.round.map(|round| round.0),
                taken_at: report.taken.map(|taken| self.written(taken)),
                age_seconds: report.taken.map(|taken| self.age(taken)),
                active: report.active,
                wants: report.wants,
                reason: report.reason.as_str(),
                reason_words: words::reason(report.reason),
                failure: report
                    .failure
                    .as_ref()
                    .map(|failure| FailureView { kind: failure.kind.as_str(), message: failure.message.to_string() }),
            }),
        }
    }
}

fn steps(decision: &Decision) -> Vec<StepView> {
    let view = |step: Step| StepView {
        stage: step.stage.as_str(),
        title: words::stage(step.stage),
        before: step.before,
        after: step.after,
        reason: step.reason.as_str(),
        reason_words: words::reason(step.reason),
    };
    decision.steps.iter().map(view).collect()
}

fn rfc3339(time: SystemTime) -> String {
    // Out of range only for a clock some ten thousand years off.
    jiff::Timestamp::try_from(time).map(|time| format!("{time:.3}")).unwrap_or_default()
}
