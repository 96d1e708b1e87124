//! KEDA and the HPA in a box: real calls to an external scaler over gRPC, in the order and at the pace of KEDA 2.20,
//! and real replicas (held in this process) as the result.
//!
//! What decides is the baseline that the simulator uses too (`engine/keda.rs`, `engine/hpa.rs`); what is here is when
//! which call is made, and what becomes of errors:
//!
//! * creation: GetMetricSpec once for each trigger, then everything else begins; without an answer, nothing does;
//! * each polling interval, for all triggers side by side: GetMetricSpec, GetMetrics, IsActive, without a deadline;
//! * each HPA sync while there are replicas, for each metric: GetMetricSpec of all triggers, then GetMetrics and
//!   IsActive of that one, within a minute;
//! * `external-push`, besides: one StreamIsActive for each trigger. `true` wakes, `false` means nothing.
//!
//! Left out: metric type `Value`, `useCachedMetrics`, `scalingModifiers`, the second reconcile's GetMetricSpec,
//! KEDA 2.21's StreamMetricSpec, and the client-side rate limits of KEDA and of the controller manager, which bind
//! only with many objects (they make the real pair slower than this).

mod object;
mod push;
mod scaler;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Channel;

pub use self::push::Backoff;
use crate::clock::Clock;
use crate::engine::hpa::{ControllerOptions, HpaBehavior, HpaRules};
use crate::engine::keda::{KedaFallback, KedaSpec, KedaTrigger};
use crate::model::{AutoscalerId, Replicas};
use crate::rehearse::keda_box::object::Object;
use crate::rehearse::keda_box::scaler::Scaler;
use crate::spec::{RateKind, RatePolicy, SelectPolicy};
use crate::target::memory::MemoryTarget;

/// One ScaledObject with triggers of type `external` or `external-push`, and the workload behind it.
#[derive(Clone, PartialEq, Debug)]
pub struct ScaledObject {
    pub id: AutoscalerId,
    pub triggers: Vec<Trigger>,
    pub min: Replicas,
    pub max: Replicas,
    pub idle: Option<Replicas>,
    pub polling_interval: Duration,
    pub cooldown: Duration,
    pub initial_cooldown: Duration,
    pub fallback: Option<KedaFallback>,
    /// `advanced.horizontalPodAutoscalerConfig.behavior`. `None` is an HPA without one: four more or twice as many
    /// each 15 s on the way up, 300 s on the way down.
    pub behavior: Option<HpaBehavior>,
    /// Period of the HPA controller (one flag for a whole cluster, outside of rehearsals).
    pub hpa_sync_period: Duration,
    /// From creation to the HPA's first sync; a period if `None`, as in the controller's queue.
    pub hpa_phase: Option<Duration>,
    /// From the start of the box to the creation of the object, so that many do not march in step.
    pub phase: Duration,
    pub push_backoff: Backoff,
    /// Replicas that stand there when the object is created.
    pub replicas: Replicas,
    /// From being asked for to being ready.
    pub start_up: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trigger {
    /// Sent whole with every call.
    pub metadata: HashMap<String, String>,
    /// `external-push` instead of `external`.
    pub push: bool,
}

impl ScaledObject {
    /// KEDA's own defaults; a workload at zero whose replicas start at once.
    #[must_use]
    pub fn new(id: AutoscalerId, triggers: Vec<Trigger>) -> Self {
        let keda = KedaSpec::new(Vec::new());
        ScaledObject {
            id,
            triggers,
            min: keda.min,
            max: keda.max,
            idle: keda.idle,
            polling_interval: KedaSpec::POLLING_INTERVAL,
            cooldown: keda.cooldown,
            initial_cooldown: keda.initial_cooldown,
            fallback: keda.fallback,
            behavior: None,
            hpa_sync_period: ControllerOptions::SYNC_PERIOD,
            hpa_phase: None,
            phase: Duration::ZERO,
            push_backoff: Backoff::default(),
            replicas: 0,
            start_up: Duration::ZERO,
        }
    }

    fn keda_spec(&self, triggers: Vec<KedaTrigger>) -> KedaSpec {
        KedaSpec {
            min: self.min,
            max: self.max,
            idle: self.idle,
            cooldown: self.cooldown,
            initial_cooldown: self.initial_cooldown,
            fallback: self.fallback,
            ..KedaSpec::new(triggers)
        }
    }
}

/// The behavior of an HPA that is to follow a scaler which serves replicas: no window, no dead band, and a rate limit
/// too wide to be met. What we ask the users of `serve: replicas` to write.
#[must_use]
pub fn behavior_that_follows() -> HpaBehavior {
    // A policy must be there (none means the defaults, which ramp), so: more than any workload has, each second.
    let unlimited = RatePolicy { kind: RateKind::Pods, value: 10_000, period: Duration::from_secs(1) };
    let rules = HpaRules {
        window: Some(Duration::ZERO),
        select_policy: SelectPolicy::Max,
        policies: vec![unlimited],
        tolerance: Some(0.0),
    };
    HpaBehavior { up: rules.clone(), down: rules }
}

/// A cluster's KEDA and HPA controller.
#[derive(Clone)]
pub struct KedaBox {
    clock: Clock,
    target: Arc<MemoryTarget>,
    channel: Channel,
}

impl KedaBox {
    /// `channel` leads to the scaler and is shared by all objects, as in KEDA; give it no timeout, for KEDA sets none.
    /// `target` holds the replicas and reports them; somebody must drive its `run`.
    #[must_use]
    pub fn new(clock: Clock, target: Arc<MemoryTarget>, channel: Channel) -> Self {
        KedaBox { clock, target, channel }
    }

    /// Makes the workload at once, and the object when the future is polled. The future never ends; dropping it
    /// deletes the object (its streams end, the workload stays as it is).
    pub fn create(&self, config: ScaledObject) -> impl Future<Output = ()> + Send + use<> {
        self.target.register(&config.id, config.replicas, config.start_up);
        let scalers = config
            .triggers
            .iter()
            .map(|trigger| Scaler::new(&config.id, &trigger.metadata, self.channel.clone(), self.clock))
            .collect();
        let phase = config.phase;
        let object = Object::new(config, scalers, self.clock, Arc::clone(&self.target));
        async move {
            tokio::time::sleep(phase).await;
            object.live().await;
        }
    }
}
