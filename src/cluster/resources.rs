//! Custom resources as they stand in the cluster, and the specs that were made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::model::AutoscalerId;
use crate::spec::AutoscalerSpec;
use crate::spec::manifest::status::QueueAutoscalerStatus;
use crate::spec::problem::Problem;

/// One QueueAutoscaler of the cluster.
#[derive(Clone, PartialEq, Debug)]
pub struct Resource {
    pub id: AutoscalerId,
    pub uid: Arc<str>,
    /// For optimistic concurrency of what is written to it.
    pub resource_version: Arc<str>,
    pub generation: i64,
    /// Seconds since the epoch.
    pub created: i64,
    /// Somebody deleted it, and a finalizer still holds it.
    pub deleting: bool,
    pub finalizers: Vec<String>,
    /// As the API server has it.
    pub status: Option<QueueAutoscalerStatus>,
    /// In force: what it says, or what it last said that could be used.
    pub spec: Option<Arc<AutoscalerSpec>>,
    /// What is wrong with what it says now.
    pub problems: Arc<[Problem]>,
    pub warnings: Arc<[Problem]>,
}

/// All of them, as a snapshot that readers take without waiting.
#[derive(Default)]
pub struct Resources(ArcSwap<BTreeMap<AutoscalerId, Arc<Resource>>>);

impl Resources {
    #[must_use]
    pub fn all(&self) -> Arc<BTreeMap<AutoscalerId, Arc<Resource>>> {
        self.0.load_full()
    }

    #[must_use]
    pub fn get(&self, id: &AutoscalerId) -> Option<Arc<Resource>> {
        self.0.load().get(id).cloned()
    }

    /// Writer only.
    pub fn set(&self, all: BTreeMap<AutoscalerId, Arc<Resource>>) {
        self.0.store(Arc::new(all));
    }
}
