//! Who is compared in every table: the manifests' own policies, what the engine could do besides, and today's answers.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::hpa::{HpaBehavior, HpaRules};
use crate::engine::keda::{KedaFallback, KedaFallbackBehavior, KedaSpec};
use crate::model::Replicas;
use crate::sim::draw::Distribution;
use crate::sim::report::Kind;
use crate::sim::scaler::{Baseline, Cluster, KedaPace, Ours, Scaler, Sight};
use crate::spec::scenario::{Arrivals, Scenario, TraceFile};
use crate::spec::units::format_duration;
use crate::spec::{
    AutoscalerSpec, Behavior, FallbackBehavior, Load, MilliValue, Policy, RateKind, RatePolicy, ScalingRules,
    TriggerSpec,
};

/// Without digits that nobody could have measured: milliseconds, of short jobs microseconds.
fn readable(mean: Duration) -> Duration {
    if mean < Duration::from_millis(100) {
        Duration::from_micros(u64::try_from(mean.as_micros()).unwrap_or(u64::MAX))
    } else {
        Duration::from_millis(u64::try_from(mean.as_millis()).unwrap_or(u64::MAX))
    }
}

/// Somebody who scales, and what to call them.
#[derive(Clone, Debug)]
pub struct Contestant {
    pub name: String,
    pub kind: Kind,
    pub setting: String,
    pub who: Who,
    /// Replicas at the beginning.
    pub initial: Replicas,
}

/// How they do it.
#[derive(Clone, Debug)]
pub enum Who {
    Ours { spec: Arc<AutoscalerSpec>, streams: Vec<Option<usize>> },
    Cluster(Box<Baseline>),
    Static,
}

impl Contestant {
    /// For one run.
    #[must_use]
    pub fn scaler(&self, scenario: &Scenario, seed: u64) -> Scaler {
        let sight = Sight::of(&scenario.sampling, seed);
        match &self.who {
            Who::Ours { spec, streams } => {
                Scaler::Ours(Box::new(Ours::new(Arc::clone(spec), streams.clone(), sight, self.initial, seed)))
            }
            Who::Cluster(baseline) => Scaler::Cluster(Box::new(Cluster::new(baseline, sight, seed))),
            Who::Static => Scaler::Fixed,
        }
    }

    /// An autoscaler as its manifest has it.
    ///
    /// # Errors
    /// A stream that names a trigger which it does not have.
    pub fn ours(spec: &Arc<AutoscalerSpec>, scenario: &Scenario, name: String) -> Result<Self, String> {
        let streams = matched(spec, scenario)?;
        Ok(Contestant {
            name,
            kind: Kind::Tidegate,
            setting: setting(spec),
            initial: scenario.initial_replicas.unwrap_or_else(|| resting(spec)),
            who: Who::Ours { spec: alone(spec), streams },
        })
    }

    /// The same with policy `load`, if it has another, as if work in flight showed. `services`: how long a job of each
    /// stream takes on average.
    #[must_use]
    pub fn with_load(&self, scenario: &Scenario, services: &[Duration], slots: u32) -> Option<Self> {
        let Who::Ours { spec, streams } = &self.who else { return None };
        if spec.triggers.iter().all(|trigger| matches!(trigger.policy, Policy::Load(_))) {
            return None;
        }
        let mut spec = AutoscalerSpec::clone(spec);
        for (trigger, stream) in spec.triggers.iter_mut().zip(streams) {
            let service = stream.and_then(|stream| services.get(stream).copied())?;
            trigger.policy = Policy::Load(Load {
                slots_per_replica: MilliValue(i64::from(slots) * 1000),
                job_duration: readable(service).max(Duration::from_millis(1)),
                drain_within: patience(scenario),
                utilization: MilliValue(1000),
            });
            if !trigger.shows_in_flight() {
                trigger.in_flight = Some(trigger.source.clone());
            }
        }
        let setting = setting(&spec);
        Some(Contestant {
            name: format!("{} with load", self.name),
            setting,
            who: Who::Ours { spec: Arc::new(spec), streams: streams.clone() },
            ..self.clone()
        })
    }

    /// Today's answers to the same workload.
    #[must_use]
    pub fn baselines(spec: &AutoscalerSpec, scenario: &Scenario, services: &[Duration], slots: u32) -> Vec<Self> {
        let depth = depth_targets(spec, scenario, services, slots);
        let per_slot = vec![f64::from(slots); scenario.streams.len()];
        let activation = activation(spec, scenario);
        let base = Baseline {
            targets: depth.clone(),
            activation,
            in_flight: false,
            min: spec.bounds.min,
            max: spec.bounds.max,
            idle: spec.bounds.idle,
            behavior: None,
            fallback: None,
            keda: None,
        };
        let pace = |polling_interval, cooldown| Some(KedaPace { polling_interval, cooldown });
        let keda = Baseline { keda: pace(KedaSpec::POLLING_INTERVAL, Duration::from_secs(300)), ..base.clone() };
        let tuned = Baseline {
            keda: pace(Duration::from_secs(1), spec.cooldown),
            behavior: behavior(spec),
            fallback: fallback(spec),
            ..base.clone()
        };
        let in_flight = Baseline { targets: per_slot.clone(), in_flight: true, ..base.clone() };
        let row = |name: &str, kind, setting: String, baseline: Baseline| {
            // An HPA alone knows neither zero nor where to rest.
            let usual = if baseline.keda.is_some() { resting(spec) } else { spec.bounds.min.max(1) };
            Contestant {
                name: name.to_owned(),
                kind,
                setting,
                initial: scenario.initial_replicas.unwrap_or(usual),
                who: Who::Cluster(Box::new(baseline)),
            }
        };
        let shown = shown(&depth);
        vec![
            row("KEDA + HPA", Kind::Keda, format!("{shown} a replica, defaults (polls every 30s)"), keda),
            row(
                "KEDA + HPA, tuned",
                Kind::Keda,
                format!(
                    "{shown} a replica, polls every 1s; cooldown {}, behavior and fallback of the manifest",
                    format_duration(spec.cooldown)
                ),
                tuned,
            ),
            row("HPA on depth", Kind::Hpa, format!("{shown} a replica, defaults"), base),
            row(
                "HPA on depth + in flight",
                Kind::Hpa,
                format!("{} a replica, defaults", self::shown(&per_slot)),
                in_flight,
            ),
        ]
    }

    /// So many from beginning to end.
    #[must_use]
    pub fn fixed(replicas: Replicas) -> Self {
        Contestant {
            name: "best static size".to_owned(),
            kind: Kind::Static,
            setting: format!("{replicas} replicas, known in hindsight"),
            who: Who::Static,
            initial: replicas,
        }
    }
}

/// Where nothing is to do.
fn resting(spec: &AutoscalerSpec) -> Replicas {
    spec.bounds.idle.unwrap_or(spec.bounds.min)
}

/// For each trigger, the stream that it reads.
fn matched(spec: &AutoscalerSpec, scenario: &Scenario) -> Result<Vec<Option<usize>>, String> {
    for stream in &scenario.streams {
        if let Some(name) = &stream.trigger
            && !spec.triggers.iter().any(|trigger| *trigger.name == **name)
        {
            let known: Vec<&str> = spec.triggers.iter().map(|trigger| &*trigger.name).collect();
            return Err(format!(
                "Scenario {} has jobs for trigger `{name}`, which {} does not have; it has {}",
                scenario.name,
                spec.id,
                known.join(", ")
            ));
        }
    }
    let of = |(at, trigger): (usize, &TriggerSpec)| {
        let named = scenario.streams.iter().position(|stream| stream.trigger.as_deref() == Some(&*trigger.name));
        let unnamed = scenario.streams.get(at).filter(|stream| stream.trigger.is_none()).map(|_| at);
        named.or(unnamed)
    };
    let streams: Vec<Option<usize>> = spec.triggers.iter().enumerate().map(of).collect();
    match (0..scenario.streams.len()).find(|stream| !streams.contains(&Some(*stream))) {
        Some(nobodys) => Err(format!(
            "nobody reads spec.jobs[{nobodys}] of Scenario {}: {} has {} triggers; name one with trigger:",
            scenario.name,
            spec.id,
            spec.triggers.len()
        )),
        None => Ok(streams),
    }
}

/// How long a job of a stream takes on average, where the scenario says it.
#[must_use]
pub fn mean_service(scenario: &Scenario, stream: usize) -> Option<Duration> {
    let service = scenario.streams.get(stream)?.service.as_ref()?;
    Duration::try_from_secs_f64(Distribution::of(service).mean() / 1e9).ok()
}

/// What a replica may have waiting, for an autoscaler that goes by depth: the manifest's target, or what a replica works
/// off within the objective. (With depth alone the wish settles where each job waits about that long.)
fn depth_targets(spec: &AutoscalerSpec, scenario: &Scenario, services: &[Duration], slots: u32) -> Vec<f64> {
    let of = |stream: usize| {
        if let Some(Policy::BacklogPerReplica { target }) =
            trigger(spec, scenario, stream).map(|trigger| trigger.policy)
        {
            return target.as_f64();
        }
        let service = services.get(stream).map_or(1.0, Duration::as_secs_f64).max(1e-9);
        (f64::from(slots) / service * patience(scenario).as_secs_f64()).round().max(1.0)
    };
    (0..scenario.streams.len()).map(of).collect()
}

/// Above how many jobs each stream wakes the workload.
fn activation(spec: &AutoscalerSpec, scenario: &Scenario) -> Vec<f64> {
    let of = |stream: usize| trigger(spec, scenario, stream).map_or(0.0, |trigger| trigger.activation_threshold);
    (0..scenario.streams.len()).map(of).collect()
}

/// The trigger that reads a stream.
fn trigger<'s>(spec: &'s AutoscalerSpec, scenario: &Scenario, stream: usize) -> Option<&'s TriggerSpec> {
    match &scenario.streams.get(stream)?.trigger {
        Some(name) => spec.triggers.iter().find(|trigger| *trigger.name == **name),
        None => spec.triggers.get(stream),
    }
}

/// What of the time that jobs may wait is left once a pod that they need takes work; a quarter at least, so that there is
/// something to size by.
fn patience(scenario: &Scenario) -> Duration {
    let start_up: f64 = scenario.workers.start_up.iter().map(|part| Distribution::of(part).mean()).sum();
    let start_up = Duration::try_from_secs_f64(start_up / 1e9).unwrap_or(Duration::MAX);
    let wait = scenario.slo.wait;
    let left = wait.saturating_sub(start_up).max(wait / 4);
    Duration::from_millis(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(10))
}

/// A manifest's behavior as an HPA would have to be told of it. Where ours has no limit, one too wide to be met: an HPA
/// without policies has its own.
fn behavior(spec: &AutoscalerSpec) -> Option<HpaBehavior> {
    let Behavior::Rules { up, down } = &spec.behavior else { return None };
    let rules = |rules: &ScalingRules| {
        let unlimited = RatePolicy { kind: RateKind::Pods, value: 10_000, period: Duration::from_secs(1) };
        HpaRules {
            window: Some(rules.stabilization_window),
            select_policy: rules.select_policy,
            policies: if rules.policies.is_empty() { vec![unlimited] } else { rules.policies.clone() },
            tolerance: Some(rules.tolerance),
        }
    };
    Some(HpaBehavior { up: rules(up), down: rules(down) })
}

/// A manifest's fallback in KEDA's terms. To hold is what KEDA does without one.
fn fallback(spec: &AutoscalerSpec) -> Option<KedaFallback> {
    let (behavior, replicas) = match spec.fallback.behavior {
        FallbackBehavior::Hold => return None,
        FallbackBehavior::Static { replicas } => (KedaFallbackBehavior::Static, replicas),
        FallbackBehavior::CurrentReplicas => (KedaFallbackBehavior::CurrentReplicas, 0),
        FallbackBehavior::CurrentReplicasIfHigher { replicas } => {
            (KedaFallbackBehavior::CurrentReplicasIfHigher, replicas)
        }
        FallbackBehavior::CurrentReplicasIfLower { replicas } => {
            (KedaFallbackBehavior::CurrentReplicasIfLower, replicas)
        }
    };
    Some(KedaFallback { failure_threshold: 3, replicas, behavior })
}

fn shown(targets: &[f64]) -> String {
    let targets: Vec<String> = targets.iter().map(ToString::to_string).collect();
    targets.join(", ")
}

/// The settings that make the difference, in a few words.
/// As who drains its queues alone: what a scenario says of arrivals is of this one's share of them.
fn alone(spec: &Arc<AutoscalerSpec>) -> Arc<AutoscalerSpec> {
    if spec.triggers.iter().all(|trigger| trigger.share == TriggerSpec::WHOLE) {
        return Arc::clone(spec);
    }
    let mut spec = AutoscalerSpec::clone(spec);
    for trigger in &mut spec.triggers {
        trigger.share = TriggerSpec::WHOLE;
    }
    Arc::new(spec)
}

fn setting(spec: &AutoscalerSpec) -> String {
    let mut policies: Vec<String> = spec.triggers.iter().map(|trigger| policy(&trigger.policy)).collect();
    policies.dedup();
    let window = match &spec.behavior {
        Behavior::Rules { down, .. } => down.stabilization_window,
        Behavior::HpaWithoutBehavior { downscale_stabilization } => *downscale_stabilization,
    };
    format!(
        "{}, polls every {}, down after {}, {} to {} replicas",
        policies.join(" + "),
        format_duration(spec.polling_interval),
        format_duration(window),
        spec.bounds.min,
        spec.bounds.max
    )
}

fn policy(policy: &Policy) -> String {
    match policy {
        Policy::BacklogPerReplica { target } => format!("backlogPerReplica {}", target.as_f64()),
        Policy::Fixed { replicas } => format!("fixed {replicas}"),
        Policy::Load(load) => format!(
            "load ({} slots, {} a job, drained within {})",
            load.slots_per_replica.as_f64(),
            format_duration(load.job_duration),
            format_duration(load.drain_within)
        ),
    }
}

/// Slots of a pod: what the scenario says, else what the policy does.
#[must_use]
pub fn slots(scenario: &Scenario, spec: &AutoscalerSpec) -> u32 {
    let said = spec.triggers.iter().find_map(|trigger| match trigger.policy {
        Policy::Load(load) => u32::try_from(load.slots_per_replica.0 / 1000).ok(),
        Policy::BacklogPerReplica { .. } | Policy::Fixed { .. } => None,
    });
    scenario.workers.slots.or(said).unwrap_or(1).max(1)
}

/// Files that the scenario replays and whose stream they are, in the order in which [`crate::sim::workload::Jobs::make`] wants them.
#[must_use]
pub fn traces(scenario: &Scenario) -> Vec<(usize, &TraceFile)> {
    let streams = scenario.streams.iter().enumerate();
    let all = streams.flat_map(|(at, stream)| stream.arrivals.iter().map(move |arrivals| (at, arrivals)));
    all.filter_map(|(at, arrivals)| match arrivals {
        Arrivals::Trace(file) => Some((at, file)),
        _ => None,
    })
    .collect()
}
