//! Today's answer: the HPA by itself, or KEDA with the HPA behind it, at their own pace.
//!
//! The HPA syncs every 15 s from a moment of its own; KEDA polls every `pollingInterval`, wakes the workload and sends it
//! to sleep, and whatever lies between is the HPA's. What they read takes its time to come, as the engine's readings do; what
//! there is of the workload they see as it is by then. Both as in [`crate::engine::hpa`] and [`crate::engine::keda`], which
//! agree with decisions of the real ones.

use std::collections::VecDeque;

use super::{Order, Sight, View, phase};
use crate::engine::hpa::{ControllerOptions, Hpa, HpaBehavior, HpaSpec, Inputs, MetricReading, RescaleReason};
use crate::engine::keda::{
    KedaExecutor, KedaFallback, KedaSpec, KedaTrigger, MetricType, TriggerPoll, Workload, metric_milli,
};
use crate::model::{Replicas, Tick};
use crate::sim::nanos;
use crate::sim::world::{NEVER, Queue};
use crate::spec::MilliValue;

/// Which phases are whose.
const POLL: u64 = 0;
const SYNC: u64 = 1;

/// A baseline's settings.
#[derive(Clone, PartialEq, Debug)]
pub struct Baseline {
    /// Jobs a replica, for each stream.
    pub targets: Vec<f64>,
    /// Above this many a stream wakes the workload.
    pub activation: Vec<f64>,
    /// Whether work in flight counts.
    pub in_flight: bool,
    pub min: Replicas,
    pub max: Replicas,
    /// KEDA's `idleReplicaCount`.
    pub idle: Option<Replicas>,
    /// `None`: an HPA without the block.
    pub behavior: Option<HpaBehavior>,
    /// KEDA's.
    pub fallback: Option<KedaFallback>,
    /// `None`: no KEDA, an HPA alone.
    pub keda: Option<KedaPace>,
}

/// How often KEDA looks, and how long it waits before zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KedaPace {
    pub polling_interval: std::time::Duration,
    pub cooldown: std::time::Duration,
}

/// Who asked for what is on its way.
enum Asker {
    Keda,
    Hpa,
}

/// Readings on their way.
struct Coming {
    /// When they arrive.
    at: u64,
    asker: Asker,
    /// One for each stream.
    polls: Vec<TriggerPoll>,
}

/// The HPA, and KEDA before it.
pub struct Cluster {
    hpa: Hpa,
    keda: Option<KedaExecutor>,
    activation: Vec<f64>,
    in_flight: bool,
    sight: Sight,
    polling_interval: u64,
    next_poll: u64,
    next_sync: u64,
    coming: VecDeque<Coming>,
    wanted: Option<Replicas>,
}

impl Cluster {
    #[must_use]
    pub fn new(baseline: &Baseline, sight: Sight, seed: u64) -> Self {
        let triggers = baseline
            .targets
            .iter()
            .map(|target| KedaTrigger { target: *target, metric_type: MetricType::AverageValue })
            .collect();
        let pace = baseline.keda;
        let spec = KedaSpec {
            min: baseline.min,
            max: baseline.max,
            cooldown: pace.map_or(std::time::Duration::ZERO, |pace| pace.cooldown),
            fallback: baseline.fallback,
            idle: baseline.idle,
            ..KedaSpec::new(triggers)
        };
        let polling_interval = pace.map_or(0, |pace| nanos(pace.polling_interval));
        let hpa = HpaSpec {
            min: baseline.min.max(1),
            max: baseline.max,
            targets: baseline.targets.iter().map(|target| MilliValue(metric_milli(*target))).collect(),
            behavior: baseline.behavior.clone(),
        };
        Cluster {
            hpa: Hpa::new(ControllerOptions::default(), hpa),
            keda: pace.map(|_| KedaExecutor::new(spec, Tick::ZERO)),
            activation: baseline.activation.clone(),
            in_flight: baseline.in_flight,
            sight,
            polling_interval,
            next_poll: if pace.is_some() { phase(seed, POLL, polling_interval) } else { NEVER },
            next_sync: phase(seed, SYNC, nanos(ControllerOptions::SYNC_PERIOD)),
            coming: VecDeque::new(),
            wanted: None,
        }
    }

    pub(super) fn next(&self) -> u64 {
        let coming = self.coming.front().map_or(NEVER, |coming| coming.at);
        self.next_poll.min(self.next_sync).min(coming)
    }

    pub(super) fn wanted(&self) -> Option<Replicas> {
        self.wanted
    }

    pub(super) fn wake(&mut self, view: &View, queue: &Queue, orders: &mut Vec<Order>) {
        if view.now >= self.next_poll {
            self.next_poll = self.next_poll.saturating_add(self.polling_interval);
            self.ask_all(Asker::Keda, view.now, queue);
        } else if view.now >= self.next_sync {
            self.next_sync = self.next_sync.saturating_add(nanos(ControllerOptions::SYNC_PERIOD));
            self.ask_all(Asker::Hpa, view.now, queue);
        }
        while let Some(Coming { asker, polls, .. }) = self.coming.pop_front_if(|coming| coming.at <= view.now) {
            match asker {
                Asker::Keda => self.poll(view, &polls, orders),
                Asker::Hpa => self.sync(view, &polls, orders),
            }
        }
    }

    fn ask_all(&mut self, asker: Asker, now: u64, queue: &Queue) {
        let polls = (0..self.activation.len()).map(|stream| self.ask(stream, now, queue)).collect();
        self.coming.push_back(Coming { at: now.saturating_add(self.sight.delay), asker, polls });
    }

    /// What the scaler answers for a stream.
    fn ask(&mut self, stream: usize, now: u64, queue: &Queue) -> TriggerPoll {
        if self.sight.fails(now) {
            return TriggerPoll::metric_failed();
        }
        let in_flight = if self.in_flight { queue.in_flight(stream) } else { 0 };
        let value = (queue.depth(stream) + in_flight) as f64;
        TriggerPoll::answered(value, value > self.activation.get(stream).copied().unwrap_or(0.0))
    }

    fn poll(&mut self, view: &View, polls: &[TriggerPoll], orders: &mut Vec<Order>) {
        let Some(keda) = &mut self.keda else { return };
        let workload = Workload { replicas: view.replicas, ready: view.ready };
        if let Some(to) = keda.on_poll(Tick::from_nanos(view.now), workload, polls) {
            let why = if to > view.replicas { "KEDAScaleTargetActivated" } else { "KEDAScaleTargetDeactivated" };
            orders.push(Order { to, why });
        }
    }

    fn sync(&mut self, view: &View, polls: &[TriggerPoll], orders: &mut Vec<Order>) {
        let workload = Workload { replicas: view.replicas, ready: view.ready };
        let mut values: Vec<Option<[i64; 1]>> = Vec::with_capacity(polls.len());
        for (stream, poll) in polls.iter().enumerate() {
            let value = match &mut self.keda {
                // KEDA asks nobody about a workload at zero: its HPA is switched off.
                Some(_) if view.replicas == 0 => None,
                Some(keda) => keda.metric_for_hpa(stream, workload, poll),
                None => poll.metric.ok(),
            };
            values.push(value.map(|value| [metric_milli(value)]));
        }
        let metrics: Vec<MetricReading<'_>> = values
            .iter()
            .map(|value| value.as_ref().map_or(MetricReading::Failed, |value| MetricReading::Series(value)))
            .collect();
        let inputs =
            Inputs { replicas: view.replicas, status_replicas: view.replicas, metrics: &metrics, update_fails: false };
        let outcome = self.hpa.sync(Tick::from_nanos(view.now), &inputs);
        self.wanted = outcome.raw.or(self.wanted);
        if outcome.desired != view.replicas {
            let why = match outcome.why {
                Some(RescaleReason::MetricAboveTarget(_)) => "MetricAboveTarget",
                Some(RescaleReason::AllMetricsBelowTarget) => "AllMetricsBelowTarget",
                Some(RescaleReason::AboveMaxReplicas) => "AboveMaxReplicas",
                Some(RescaleReason::BelowMinReplicas) => "BelowMinReplicas",
                None => "",
            };
            orders.push(Order { to: outcome.desired, why });
        }
    }
}
