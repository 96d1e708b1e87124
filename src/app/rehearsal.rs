//! The workloads of a rehearsal: one for each autoscaler that has a target, and a ScaledObject in the box for those that
//! KEDA scales. They follow the manifests as these change.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::task::{AbortHandle, JoinSet};

use crate::clock::Clock;
use crate::engine::keda::KedaFallback;
use crate::model::{AutoscalerId, Replicas};
use crate::rehearse::keda_box::{self, KedaBox, ScaledObject, Trigger};
use crate::spec::AutoscalerSpec;
use crate::spec::keda_metadata::Serve;
use crate::target::memory::MemoryTarget;

/// Workloads that exist only in this process, instead of a cluster's.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    /// Scaled by KEDA and an HPA in a box, which ask this process over gRPC; all others are scaled directly.
    pub by_keda: ByKeda,
    /// Replicas that stand there at the beginning; where it would rest if `None`.
    pub replicas: Option<Replicas>,
    /// From being asked for to being ready.
    pub start_up: Duration,
    pub keda: KedaSettings,
}

/// Whom KEDA scales.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ByKeda {
    Nobody,
    Everybody,
    Only(HashSet<AutoscalerId>),
}

impl ByKeda {
    #[must_use]
    pub fn scales(&self, id: &AutoscalerId) -> bool {
        match self {
            ByKeda::Nobody => false,
            ByKeda::Everybody => true,
            ByKeda::Only(ids) => ids.contains(id),
        }
    }
}

/// What the ScaledObjects in the box say, apart from what the manifests do.
#[derive(Clone, Debug)]
pub struct KedaSettings {
    pub serve: Serve,
    /// `external-push` instead of `external`.
    pub push: bool,
    pub polling_interval: Duration,
    pub hpa_sync_period: Duration,
    pub fallback: Option<KedaFallback>,
}

/// The workloads, and the box for those that KEDA scales.
pub(super) struct Workloads {
    rehearsal: Rehearsal,
    target: Arc<MemoryTarget>,
    keda: KedaBox,
    /// ScaledObjects in the box.
    objects: HashMap<AutoscalerId, AbortHandle>,
    tasks: JoinSet<()>,
}

impl Workloads {
    pub(super) fn new(
        rehearsal: Rehearsal,
        target: Arc<MemoryTarget>,
        clock: Clock,
        grpc_address: SocketAddr,
    ) -> anyhow::Result<Self> {
        let own = format!("http://127.0.0.1:{}", grpc_address.port());
        let keda =
            KedaBox::new(clock, Arc::clone(&target), tonic::transport::Endpoint::from_shared(own)?.connect_lazy());
        Ok(Workloads { rehearsal, target, keda, objects: HashMap::new(), tasks: JoinSet::new() })
    }

    /// Makes what is missing for these. Workloads of autoscalers that are gone stay as they stand, as a Deployment
    /// would; nobody asks about them any more. A ScaledObject stays as it was made: in a cluster, it is its own file.
    pub(super) fn follow(&mut self, autoscalers: &[Arc<AutoscalerSpec>]) {
        let wanted: HashSet<&AutoscalerId> = autoscalers.iter().map(|spec| &spec.id).collect();
        self.objects.retain(|id, object| {
            let stays = wanted.contains(id);
            if !stays {
                object.abort();
            }
            stays
        });
        for spec in autoscalers.iter().filter(|spec| spec.target.is_some()) {
            let replicas = self.rehearsal.replicas.unwrap_or(spec.bounds.idle.unwrap_or(spec.bounds.min));
            if !self.rehearsal.by_keda.scales(&spec.id) {
                self.target.register(&spec.id, replicas, self.rehearsal.start_up);
            } else if !self.objects.contains_key(&spec.id) {
                let object = self.keda.create(self.scaled_object(spec, replicas));
                self.objects.insert(spec.id.clone(), self.tasks.spawn(object));
            }
        }
    }

    /// Waits for a part of `workloads` that ends by itself, which none should.
    pub(super) async fn ended(workloads: Option<&mut Self>) -> anyhow::Result<()> {
        let Some(workloads) = workloads else { return std::future::pending().await };
        while let Some(ended) = workloads.tasks.join_next().await {
            match ended {
                Err(error) if error.is_cancelled() => {}
                ended => return ended.context("a ScaledObject in the box broke down"),
            }
        }
        std::future::pending().await
    }

    fn scaled_object(&self, spec: &AutoscalerSpec, replicas: Replicas) -> ScaledObject {
        let settings = &self.rehearsal.keda;
        let serve = match settings.serve {
            Serve::Backlog => "backlog",
            Serve::Replicas => "replicas",
        };
        let metadata = [("autoscaler", &*spec.id.name), ("serve", serve)];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        ScaledObject {
            min: spec.bounds.min,
            max: spec.bounds.max,
            idle: spec.bounds.idle,
            polling_interval: settings.polling_interval,
            cooldown: spec.cooldown,
            initial_cooldown: spec.initial_cooldown,
            fallback: settings.fallback,
            behavior: matches!(settings.serve, Serve::Replicas).then(keda_box::behavior_that_follows),
            hpa_sync_period: settings.hpa_sync_period,
            replicas,
            start_up: self.rehearsal.start_up,
            ..ScaledObject::new(spec.id.clone(), vec![Trigger { metadata, push: settings.push }])
        }
    }
}
