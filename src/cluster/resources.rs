//! Custom resources as they stand in the cluster, and the specs that were made of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::model::AutoscalerId;

pub use crate::spec::catalog::Resource;

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
