//! Workloads as they stand: how many replicas are asked for, how many are ready, and who said so.
//!
//! Of the kinds that every cluster has, one watch tells all of it, for a kind and not for an autoscaler. Of other kinds
//! nobody knows in advance where they keep their count: a watch of metadata says that something changed, and one read
//! of /scale says what. Reads are bounded, whatever happens: ten thousand autoscalers at rest cost none. Where we may
//! not watch, workloads are read in turn.
//!
//! Nothing here is fatal. What cannot be seen is said in [`Standings`], with what helps, and is looked at again.

mod driver;
mod entry;
pub(in crate::cluster) mod reads;
mod slim;
mod views;
pub(in crate::cluster) mod watch;

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;

pub use self::driver::Driver;
pub(crate) use self::entry::Answer;
pub use self::views::Views;
use crate::cluster::client::Kube;
use crate::cluster::discovery::Discovery;
use crate::cluster::standing::Standings;
use crate::model::{AutoscalerId, Replicas, SetBy, TargetReport, Tick};
use crate::spec::TargetRef;

/// A scalable object. Its version does not matter: all versions show the same object.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WorkloadRef {
    pub group: Arc<str>,
    pub kind: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
}

impl WorkloadRef {
    #[must_use]
    pub fn new(namespace: &Arc<str>, target: &TargetRef) -> Self {
        let group = target.api_version.split_once('/').map_or("", |(group, _)| group);
        WorkloadRef {
            group: group.into(),
            kind: target.kind.as_str().into(),
            namespace: Arc::clone(namespace),
            name: target.name.as_str().into(),
        }
    }
}

impl fmt::Display for WorkloadRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What stands, as far as is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// The version at which it stood so. Good for "the same" and "not the same" only.
    pub resource_version: Arc<str>,
    pub uid: Arc<str>,
    pub generation: Option<i64>,
    /// Asked for.
    pub replicas: Replicas,
    /// Ready; of kinds that are not built in: there.
    pub ready: Replicas,
    pub set_by: SetBy,
    /// When it was shown, or when the read of it was sent.
    pub seen: Tick,
    /// A watch tells all of it.
    pub(crate) watched: bool,
}

impl View {
    fn told(&self) -> (Replicas, Replicas, SetBy) {
        (self.replicas, self.ready, self.set_by)
    }
}

/// Why there is no view. With the sentence for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Problem {
    Missing(Arc<str>),
    Unreadable(Arc<str>),
}

impl Problem {
    pub(crate) fn missing(workload: &WorkloadRef) -> Self {
        let WorkloadRef { kind, namespace, name, .. } = workload;
        Problem::Missing(
            format!("there is no {kind} {name} in namespace {namespace}; create it, or correct spec.scaleTargetRef")
                .into(),
        )
    }

    pub(crate) fn no_scale(workload: &WorkloadRef) -> Self {
        let kind = &workload.kind;
        Problem::Unreadable(
            format!("a {kind} has no /scale, so its replicas cannot be set; scale what it belongs to").into(),
        )
    }

    pub(crate) fn forbidden(workload: &WorkloadRef, said: &str) -> Self {
        let text = format!("{workload} cannot be read: {said}; grant it with `tidegate crd --rbac`");
        Problem::Unreadable(text.into())
    }

    pub(crate) fn sentence(&self) -> &Arc<str> {
        match self {
            Problem::Missing(text) | Problem::Unreadable(text) => text,
        }
    }
}

/// What the parts of this module and the target of scale requests share, and who hears of it.
pub struct Parts {
    pub kube: Kube,
    pub discovery: Arc<Discovery>,
    pub standings: Arc<Standings>,
    /// The runtime's.
    pub reports: mpsc::Sender<TargetReport>,
}

/// The front: whom to follow. Cheap to clone.
#[derive(Clone)]
pub struct Workloads {
    orders: mpsc::UnboundedSender<Order>,
    views: Arc<Views>,
}

struct Order {
    set: Vec<(AutoscalerId, TargetRef)>,
    gone: Vec<AutoscalerId>,
}

impl Workloads {
    /// Nothing is watched or told unless somebody runs the [`Driver`].
    #[must_use]
    pub fn new(parts: Parts) -> (Self, Driver) {
        let (orders, taken) = mpsc::unbounded_channel();
        let views = Arc::new(Views::new(parts.kube.clock));
        let driver = Driver::new(parts, taken, Arc::clone(&views));
        (Workloads { orders, views }, driver)
    }

    /// Follows the workloads of `set` (new, or with another target) and no longer those of `gone`. Never waits.
    pub fn follow(&self, set: Vec<(AutoscalerId, TargetRef)>, gone: Vec<AutoscalerId>) {
        // The driver is gone only when the process ends.
        drop(self.orders.send(Order { set, gone }));
    }

    #[must_use]
    pub fn views(&self) -> Arc<Views> {
        Arc::clone(&self.views)
    }
}
