//! One ScaledObject at work: its reconcile, its scale loop, its streams, and the HPA that KEDA made for it.
//!
//! The loops are futures of one task and end with it. They meet in two places, as in KEDA: the per-object lock that
//! the scale loop holds during its calls (a scaler that hangs keeps pushes out as well, but not the HPA), and the
//! failure counters, which both the loop and the HPA's queries bump.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;

use crate::clock::Clock;
use crate::engine::hpa::{ControllerOptions, Hpa, HpaSpec, Inputs, MetricReading};
use crate::engine::keda::{KedaExecutor, KedaTrigger, MetricType, TriggerPoll, Workload, metric_milli};
use crate::model::Replicas;
use crate::rehearse::keda_box::ScaledObject;
use crate::rehearse::keda_box::push::follow;
use crate::rehearse::keda_box::scaler::{Metric, Patience, Reading, Scaler};
use crate::target::Scale;
use crate::target::memory::MemoryTarget;

/// What the API server grants a query of the metrics API; KEDA hands it on to the scaler.
const HPA_QUERY_DEADLINE: Duration = Duration::from_secs(60);

/// A failed reconcile is tried again after this long, doubling up to the other: controller-runtime's own figures.
const FIRST_RECONCILE_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_RECONCILE_PAUSE: Duration = Duration::from_secs(1000);

/// A ScaledObject and whom it asks.
pub(super) struct Object {
    config: ScaledObject,
    scalers: Vec<Scaler>,
    clock: Clock,
    target: Arc<MemoryTarget>,
}

/// What the reconcile of a ScaledObject set in motion.
struct Running<'a> {
    object: &'a Object,
    /// One for each metric; one for a trigger that had none to name, so that its errors are heard.
    slots: Vec<Slot>,
    /// One decision of KEDA at a time, its calls included.
    scaling: tokio::sync::Mutex<()>,
    /// Its triggers are the slots. Never locked across an await.
    executor: Mutex<KedaExecutor>,
}

/// One metric of one trigger: what KEDA counts failures of.
#[derive(Clone)]
struct Slot {
    /// Position in `scalers`.
    trigger: usize,
    /// As the reconcile found it. `None` if GetMetricSpec failed then: not in the HPA, and pushes are dropped.
    metric: Option<Metric>,
}

impl Object {
    pub(super) fn new(config: ScaledObject, scalers: Vec<Scaler>, clock: Clock, target: Arc<MemoryTarget>) -> Self {
        Object { config, scalers, clock, target }
    }

    /// From creation until the future is dropped, which is deletion.
    pub(super) async fn live(&self) {
        let created = self.clock.now();
        let slots = self.reconcile_until_it_succeeds().await;
        let targets = slots.iter().map(|slot| slot.metric.as_ref().map_or(0.0, |metric| metric.target.as_f64()));
        let triggers = targets.map(|target| KedaTrigger { target, metric_type: MetricType::AverageValue }).collect();
        let executor = Mutex::new(KedaExecutor::new(self.config.keda_spec(triggers), created));
        let running = Running { object: self, slots, scaling: tokio::sync::Mutex::new(()), executor };
        tokio::join!(running.scale_loop(), running.streams(), running.hpa_loop());
    }

    // === reconcile ===

    async fn reconcile_until_it_succeeds(&self) -> Vec<Slot> {
        let mut pause = FIRST_RECONCILE_PAUSE;
        loop {
            match self.reconcile().await {
                Ok(slots) => return slots,
                Err(why) => tracing::warn!(object = %self.config.id, ?pause, why, "scaled object check failed"),
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(LONGEST_RECONCILE_PAUSE);
        }
    }

    /// GetMetricSpec of every trigger, one after the other. A trigger that fails is left out of the HPA without a word
    /// if another one answers.
    async fn reconcile(&self) -> Result<Vec<Slot>, &'static str> {
        let mut slots = Vec::new();
        for (trigger, scaler) in self.scalers.iter().enumerate() {
            let metrics = scaler.specs_once(Patience::Endless).await.unwrap_or_else(|status| {
                tracing::warn!(object = %self.config.id, trigger, %status, "GetMetricSpec failed");
                Vec::new()
            });
            if metrics.is_empty() {
                slots.push(Slot { trigger, metric: None });
            }
            slots.extend(metrics.into_iter().map(|metric| Slot { trigger, metric: Some(metric) }));
        }
        let metrics = || slots.iter().filter_map(|slot| Some((slot.trigger, slot.metric.as_ref()?)));
        let mut names = HashSet::new();
        if metrics().next().is_none() {
            Err("no metric specs returned")
        } else if metrics().any(|(_, metric)| metric.target.0 <= 0) {
            Err("averageValue: must be positive")
        } else if !metrics().all(|(trigger, metric)| names.insert((trigger, metric.name.as_str()))) {
            Err("metric names must be unique")
        } else {
            Ok(slots)
        }
    }

    fn scale(&self) -> Option<Scale> {
        self.target.scale_of(&self.config.id)
    }

    fn write(&self, from: Replicas, to: Replicas, why: String) {
        tracing::info!(object = %self.config.id, from, to, why, "scaling");
        if let Err(error) = self.target.set_from(&self.config.id, from, to, why) {
            tracing::warn!(object = %self.config.id, from, to, %error, "not scaled");
        }
    }
}

impl Running<'_> {
    // === KEDA: 0 <-> 1 ===

    /// At once and then every polling interval, measured from the beginning of a poll; a poll that takes longer delays
    /// the next one, and none is caught up.
    async fn scale_loop(&self) {
        loop {
            let next = tokio::time::sleep(self.object.config.polling_interval);
            self.poll().await;
            next.await;
        }
    }

    /// All triggers side by side, always all of them.
    async fn poll(&self) {
        let _alone = self.scaling.lock().await;
        let Object { scalers, clock, .. } = self.object;
        let answers = join_all(scalers.iter().enumerate().map(|(trigger, scaler)| self.poll_trigger(trigger, scaler)));
        let polls: Vec<_> = answers.await.into_iter().flatten().collect();
        let Some(scale) = self.object.scale() else { return };
        let to = self.executor().on_poll(clock.now(), workload(scale), &polls);
        self.set(scale, to, "poll");
    }

    /// One entry a slot of the trigger.
    async fn poll_trigger(&self, trigger: usize, scaler: &Scaler) -> Vec<TriggerPoll> {
        let slots = self.slots.iter().filter(|slot| slot.trigger == trigger);
        let metrics = match scaler.specs(Patience::Endless).await {
            Ok(metrics) => metrics,
            Err(status) => {
                // It ends here: nothing is read, no failure is counted, and no fallback ever engages.
                tracing::warn!(object = %self.object.config.id, trigger, %status, "GetMetricSpec failed");
                return slots.map(|_| TriggerPoll::spec_failed()).collect();
            }
        };
        let mut polls = Vec::new();
        for slot in slots {
            polls.push(match slot.find(&metrics) {
                Some(metric) => as_poll(self.read(trigger, scaler, metric, Patience::Endless).await.as_ref()),
                None => TriggerPoll::spec_failed(),
            });
        }
        polls
    }

    async fn read(&self, trigger: usize, scaler: &Scaler, metric: &Metric, patience: Patience) -> Option<Reading> {
        match scaler.read(metric, patience).await {
            Ok(reading) => Some(reading),
            Err(status) => {
                tracing::warn!(object = %self.object.config.id, trigger, metric = metric.name, %status, "trigger error");
                None
            }
        }
    }

    fn set(&self, scale: Scale, to: Option<Replicas>, cause: &'static str) {
        let Some(to) = to.filter(|to| *to != scale.replicas) else { return };
        let verb = if to > scale.replicas { "activated" } else { "deactivated" };
        self.object.write(scale.replicas, to, format!("keda: {verb} by {cause}"));
    }

    // === external-push ===

    async fn streams(&self) {
        let Object { config, scalers, .. } = self.object;
        let pushing = scalers.iter().zip(&config.triggers).enumerate().filter(|(_, (_, trigger))| trigger.push);
        let mut streams: FuturesUnordered<_> = pushing
            .map(|(trigger, (scaler, _))| follow(scaler, config.push_backoff, move || self.pushed(trigger)))
            .collect();
        while streams.next().await.is_some() {}
    }

    async fn pushed(&self, trigger: usize) {
        // Without a metric name in the status KEDA drops what the trigger pushes.
        if !self.slots.iter().any(|slot| slot.trigger == trigger && slot.metric.is_some()) {
            return;
        }
        let _alone = self.scaling.lock().await;
        let Some(scale) = self.object.scale() else { return };
        let to = self.executor().on_push(self.object.clock.now(), workload(scale));
        self.set(scale, to, "push");
    }

    // === the HPA: 1 <-> N ===

    /// The first sync comes one period after creation (or after the configured phase), each next one a period after
    /// the end of the one before.
    async fn hpa_loop(&self) {
        let config = &self.object.config;
        let asked: Vec<_> = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(slot, Slot { trigger, metric })| {
                Some(HpaMetric { slot, trigger: *trigger, metric: metric.clone()? })
            })
            .collect();
        let spec = HpaSpec {
            min: config.min.max(1),
            max: config.max,
            targets: asked.iter().map(|asked| asked.metric.target).collect(),
            behavior: config.behavior.clone(),
        };
        let mut hpa = Hpa::new(ControllerOptions::default(), spec);
        tokio::time::sleep(config.hpa_phase.unwrap_or(config.hpa_sync_period)).await;
        loop {
            self.hpa_sync(&mut hpa, &asked).await;
            tokio::time::sleep(config.hpa_sync_period).await;
        }
    }

    async fn hpa_sync(&self, hpa: &mut Hpa, asked: &[HpaMetric]) {
        let Some(Scale { replicas, .. }) = self.object.scale() else { return };
        let mut series = Vec::new();
        // At zero it is switched off, and out of bounds it goes to the bound unasked.
        if replicas != 0 && (hpa.spec().min..=hpa.spec().max).contains(&replicas) {
            for metric in asked {
                series.push(self.hpa_query(metric).await);
            }
        }
        let metrics: Vec<_> =
            series.iter().map(|s| s.as_deref().map_or(MetricReading::Failed, MetricReading::Series)).collect();
        // Somebody who changed the scale while the metrics were fetched makes the update a conflict.
        let update_fails = self.object.scale().is_none_or(|now| now.replicas != replicas);
        let inputs = Inputs { replicas, status_replicas: replicas, metrics: &metrics, update_fails };
        let outcome = hpa.sync(self.object.clock.now(), &inputs);
        if outcome.desired != replicas {
            let name = |at: usize| asked.get(at).map_or_else(String::new, HpaMetric::name);
            let why = outcome.why.map_or_else(|| outcome.able.as_str().to_owned(), |why| why.message(name));
            self.object.write(replicas, outcome.desired, format!("hpa: {why}"));
        }
    }

    /// GetMetricSpec of all triggers, one after the other, then the one metric that was asked for. An answer of the
    /// scaler counts towards the fallback here as it does in a poll.
    async fn hpa_query(&self, asked: &HpaMetric) -> Option<Vec<i64>> {
        let patience = Patience::Until(self.object.clock.now().after(HPA_QUERY_DEADLINE));
        let mut found = None;
        for (trigger, scaler) in self.object.scalers.iter().enumerate() {
            match scaler.specs(patience).await {
                Ok(metrics) if trigger == asked.trigger => {
                    found = metrics.into_iter().find(|metric| metric.name == asked.metric.name).map(|m| (scaler, m));
                }
                Ok(_) => {}
                Err(status) => {
                    tracing::warn!(object = %self.object.config.id, trigger, %status, "GetMetricSpec failed for the HPA");
                }
            }
        }
        let (scaler, metric) = found?;
        let reading = self.read(asked.trigger, scaler, &metric, patience).await;
        let workload = workload(self.object.scale()?);
        let heard = self.executor().metric_for_hpa(asked.slot, workload, &as_poll(reading.as_ref()))?;
        // A reading goes on as it came, one value for each series; only the fallback's word is the executor's own.
        Some(reading.map_or_else(|| vec![metric_milli(heard)], |reading| reading.series))
    }

    /// A panic elsewhere leaves nothing half done in here.
    fn executor(&self) -> MutexGuard<'_, KedaExecutor> {
        self.executor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A metric of the HPA's spec.
struct HpaMetric {
    /// Position in `slots`.
    slot: usize,
    trigger: usize,
    metric: Metric,
}

impl HpaMetric {
    fn name(&self) -> String {
        format!("s{}-{}", self.trigger, self.metric.name)
    }
}

impl Slot {
    /// The metric to read: the one that the reconcile saw, or whatever comes first if it saw none.
    fn find<'m>(&self, metrics: &'m [Metric]) -> Option<&'m Metric> {
        match &self.metric {
            Some(known) => metrics.iter().find(|metric| metric.name == known.name),
            None => metrics.first(),
        }
    }
}

fn workload(scale: Scale) -> Workload {
    Workload { replicas: scale.replicas, ready: scale.ready }
}

/// Only called where GetMetricSpec succeeded.
fn as_poll(reading: Option<&Reading>) -> TriggerPoll {
    match reading {
        Some(Reading { series, active }) => {
            TriggerPoll::answered(series.iter().map(|milli| *milli as f64 / 1000.0).sum(), *active)
        }
        None => TriggerPoll::metric_failed(),
    }
}
