//! One process' view of the scripted server: workloads followed, a target, and a lease that the test holds.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::cluster::client::{Kube, Scope};
use tidegate::cluster::discovery::Discovery;
use tidegate::cluster::lease::{Leadership, Term};
use tidegate::cluster::owners::Verdicts;
use tidegate::cluster::scale::KubeTarget;
use tidegate::cluster::standing::{Standings, Workload};
use tidegate::cluster::workloads::{Parts, View, Workloads};
use tidegate::model::{AutoscalerId, Replicas, SetBy, TargetReport, Tick};
use tidegate::spec::TargetRef;
use tidegate::target::{ScaleError, Target};
use tokio::sync::{mpsc, watch};

use crate::support::apiserver::{ApiServer, Requests};
use crate::support::tidegate::until_along;

pub(super) struct Rig {
    pub(super) kube: Kube,
    pub(super) workloads: Workloads,
    pub(super) target: Arc<KubeTarget>,
    pub(super) reports: mpsc::Receiver<TargetReport>,
    pub(super) standings: Arc<Standings>,
    pub(super) terms: watch::Sender<Option<Term>>,
    name: String,
}

pub(super) const FIRST: Term = Term { number: 1, until: Tick::NEVER };

pub(super) fn rig(server: &ApiServer, name: &str) -> Rig {
    rig_with(server, name, 1024)
}

pub(super) fn rig_with(server: &ApiServer, name: &str, room: usize) -> Rig {
    rig_of(server.client(name).config(), name, room)
}

pub(super) fn rig_of(config: kube::Config, name: &str, room: usize) -> Rig {
    let kube = Kube::new(config, Clock::start(), Scope::Cluster).unwrap();
    let standings = Arc::new(Standings::default());
    let (sender, reports) = mpsc::channel(room);
    let (workloads, driver) = Workloads::new(Parts {
        kube: kube.clone(),
        discovery: Arc::new(Discovery::new(kube.clone())),
        standings: Arc::clone(&standings),
        reports: sender,
    });
    tokio::spawn(driver.run());
    let (terms, held) = watch::channel(Some(FIRST));
    let target = KubeTarget::new(
        kube.clone(),
        workloads.views(),
        Arc::clone(&standings),
        Verdicts::all_free(),
        Leadership::new(held),
    );
    Rig { kube, workloads, target: Arc::new(target), reports, standings, terms, name: name.to_owned() }
}

pub(super) fn id(name: &str) -> AutoscalerId {
    AutoscalerId::new("default", name)
}

pub(super) fn to(api_version: &str, kind: &str, name: &str) -> TargetRef {
    TargetRef { api_version: api_version.into(), kind: kind.into(), name: name.into() }
}

pub(super) fn deployment(name: &str, replicas: Replicas) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template":
            {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}}})
}

pub(super) fn replicas(server: &ApiServer, name: &str) -> i64 {
    server.get("deployments.apps", "default", name).unwrap()["spec"]["replicas"].as_i64().unwrap()
}

impl Rig {
    pub(super) fn follow(&self, name: &str, api_version: &str, kind: &str) {
        self.workloads.follow(vec![(id(name), to(api_version, kind, name))], vec![]);
    }

    pub(super) fn view(&self, name: &str) -> Option<View> {
        self.workloads.views().of(&id(name))
    }

    pub(super) async fn sees(&self, name: &str, replicas: Replicas) {
        let what = format!("{name} is seen at {replicas}");
        until_along(&what, || self.view(name).is_some_and(|view| view.replicas == replicas)).await;
    }

    /// Follows a Deployment and waits until the watch has shown it.
    pub(super) async fn follow_deployment(&self, name: &str) {
        self.follow(name, "apps/v1", "Deployment");
        until_along("it is seen", || self.view(name).is_some()).await;
    }

    pub(super) async fn scale(&self, name: &str, from: Replicas, to: Replicas) -> Result<(), ScaleError> {
        self.target.scale(&id(name), from, to).await
    }

    /// The last report so far.
    pub(super) async fn last_report(&mut self) -> Option<(Replicas, SetBy)> {
        let mut last = None;
        while let Ok(report) = tokio::time::timeout(Duration::from_millis(300), self.reports.recv()).await {
            if let Some(TargetReport::Current { replicas, set_by, .. }) = report {
                last = Some((replicas, set_by));
            }
        }
        last
    }

    pub(super) async fn stands_as(&self, name: &str, holds: impl Fn(&Workload) -> bool) -> Workload {
        let now = || self.standings.get(&id(name)).workload;
        until_along("it stands so", || holds(&now())).await;
        now()
    }

    pub(super) fn failed(&self, name: &str) -> Option<&'static str> {
        self.standings.get(&id(name)).failed.map(|failed| failed.label)
    }

    pub(super) fn requests(&self, server: &ApiServer) -> Requests {
        server.requests().client(&self.name)
    }

    /// Patches and reads of /scale of any kind.
    pub(super) fn calls(&self, server: &ApiServer) -> (usize, usize) {
        let scale = |verb| self.requests(server).verb(verb).that(|entry| entry.resource.ends_with("/scale")).len();
        (scale("get"), scale("patch"))
    }
}
