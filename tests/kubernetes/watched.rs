//! The watches of custom resources and of Secrets, put together as the program does it, with what they say kept.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    unreachable_pub,
    reason = "a test may break"
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::cluster::client::{Kube, Scope};
use tidegate::cluster::crd;
use tidegate::cluster::resources::{self, Listing, Output, Resources};
use tidegate::cluster::secrets;
use tidegate::model::AutoscalerId;
use tidegate::source::secrets::Secrets;
use tidegate::spec::catalog::Base;
use tidegate::spec::grants::Grants;
use tidegate::spec::limits::Limits;
use tidegate::spec::{AutoscalerSpec, SpecsChange};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::support::apiserver::ApiServer;
use crate::support::tidegate::until_along;

pub const NAME: &str = "tidegate";

/// What follows custom resources, and a runtime that takes what it says.
pub struct Follower {
    pub resources: Arc<Resources>,
    pub grants: Arc<ArcSwap<Grants>>,
    pub secrets: Secrets,
    pub listing: watch::Receiver<Listing>,
    /// Whoever holds it may change what files say.
    pub base: watch::Sender<Base>,
    specs: mpsc::Receiver<SpecsChange>,
    pub runtime: BTreeMap<AutoscalerId, Arc<AutoscalerSpec>>,
    /// Changes that were sent.
    pub sent: usize,
    _tasks: [AbortOnDropHandle<()>; 2],
}

impl Follower {
    pub fn start(server: &ApiServer, scope: Scope) -> Self {
        let kube = Kube::new(server.client(NAME).config(), Clock::start(), scope).unwrap();
        let resources: Arc<Resources> = Arc::default();
        let grants: Arc<ArcSwap<Grants>> = Arc::default();
        let (sender, specs) = mpsc::channel(64);
        let (wanted, wants) = watch::channel(BTreeMap::new());
        let (told, listing) = watch::channel(Listing::Waiting(None));
        let (base, of_base) = watch::channel(Base::default());
        let output = Output {
            resources: Arc::clone(&resources),
            specs: sender,
            grants: Arc::clone(&grants),
            secrets: wanted,
            listing: told,
        };
        let store = Secrets::of_cluster();
        let keep = store.clone();
        let following = tokio::spawn(secrets::follow(kube.clone(), wants, move |namespace, name, content| {
            keep.set(namespace, name, content);
        }));
        let watching = tokio::spawn(async move { resources::watch(kube, &Limits::default(), of_base, output).await });
        Follower {
            resources,
            grants,
            secrets: store,
            listing,
            base,
            specs,
            runtime: BTreeMap::new(),
            sent: 0,
            _tasks: [AbortOnDropHandle::new(following), AbortOnDropHandle::new(watching)],
        }
    }

    pub async fn complete(&mut self) {
        let complete = self.listing.wait_for(|listing| *listing == Listing::Complete);
        tokio::time::timeout(Duration::from_secs(30), complete).await.expect("listed in time").unwrap();
        self.take();
    }

    /// Takes what was sent.
    pub fn take(&mut self) {
        while let Ok(change) = self.specs.try_recv() {
            self.sent += 1;
            for id in change.gone {
                self.runtime.remove(&id);
            }
            self.runtime.extend(change.set.into_iter().map(|spec| (spec.id.clone(), spec)));
        }
    }

    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        until_along(what, || {
            self.take();
            holds(self)
        })
        .await;
    }

    pub fn spec(&self, name: &str) -> Option<&Arc<AutoscalerSpec>> {
        self.runtime.get(&AutoscalerId::new("shop", name))
    }

    pub fn problems(&self, name: &str) -> Vec<String> {
        let resource = self.resources.get(&AutoscalerId::new("shop", name));
        resource.map_or_else(Vec::new, |resource| resource.problems.iter().map(ToString::to_string).collect())
    }
}

pub fn install_kinds(server: &ApiServer) {
    for kind in crd::Kind::ALL {
        server.insert(&crd::definition(kind));
    }
}

/// A Connection `main` of namespace shop, with the block `redis`.
pub fn connection(redis: Value) -> Value {
    json!({ "apiVersion": "tidegate.dev/v1alpha1", "kind": "Connection",
        "metadata": { "name": "main", "namespace": "shop" }, "spec": { "redis": redis } })
}

pub fn autoscaler(name: &str, most: i32) -> Value {
    json!({ "apiVersion": "tidegate.dev/v1alpha1", "kind": "QueueAutoscaler",
        "metadata": { "name": name, "namespace": "shop" },
        "spec": {
            "scaleTargetRef": { "name": name }, "maxReplicas": most, "pollingInterval": "50ms",
            "triggers": [{ "connection": "main", "redisList": { "keys": [format!("queue:{name}")] },
                "policy": { "backlogPerReplica": { "target": 5 } } }],
        } })
}
