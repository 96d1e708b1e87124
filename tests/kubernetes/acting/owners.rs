//! Whose a workload is.

use std::sync::Arc;

use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::cluster::client::{Kube, Scope};
use tidegate::cluster::discovery::Discovery;
use tidegate::cluster::owners::{Claim, Owners, Parts, Verdict};
use tidegate::cluster::standing::Standings;
use tidegate::cluster::workloads::WorkloadRef;
use tidegate::model::{AutoscalerId, Mandate};
use tokio::sync::mpsc;

use super::rig::{id, to};
use crate::support::apiserver::{ApiServer, Fault, Refusal};
use crate::support::tidegate::until_along;

struct Rig {
    owners: Owners,
    standings: Arc<Standings>,
    mandates: mpsc::Receiver<Mandate>,
}

fn rig(server: &ApiServer) -> Rig {
    let kube = Kube::new(server.client("a").config(), Clock::start(), Scope::Cluster).unwrap();
    let standings = Arc::new(Standings::default());
    let (sender, mandates) = mpsc::channel(1);
    let (owners, driver) = Owners::new(Parts {
        kube: kube.clone(),
        discovery: Arc::new(Discovery::new(kube)),
        standings: Arc::clone(&standings),
        mandates: sender,
    });
    tokio::spawn(driver.run());
    Rig { owners, standings, mandates }
}

fn claim(name: &str, workload: &str, created: i64) -> Claim {
    Claim { id: id(name), target: to("apps/v1", "Deployment", workload), created, dry_run: false }
}

fn hpa(name: &str, workload: &str) -> Value {
    json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload}}})
}

impl Rig {
    async fn until(&self, name: &str, verdict: Verdict) {
        let verdicts = self.owners.verdicts();
        until_along(&format!("{name}: {verdict:?}"), || verdicts.of(&id(name)) == verdict).await;
    }

    /// Until the runtime was told that nobody knows yet.
    async fn waits(&mut self, name: &str) -> Option<Arc<str>> {
        let told = tokio::time::timeout(std::time::Duration::from_secs(20), self.mandates.recv()).await.unwrap();
        assert_eq!(told, Some(Mandate::Waits { id: id(name) }));
        self.standings.get(&id(name)).refused.map(|refused| refused.by)
    }

    /// Until the runtime was told so, and the standing says why.
    async fn told(&mut self, name: &str, refused: bool) -> Option<Arc<str>> {
        let id: AutoscalerId = id(name);
        loop {
            match tokio::time::timeout(std::time::Duration::from_secs(20), self.mandates.recv()).await.unwrap() {
                Some(Mandate::Refused { id: of, refused: said }) if of == id && said == refused => break,
                Some(_) => {}
                None => panic!("the driver ended"),
            }
        }
        self.standings.get(&id).refused.map(|refused| refused.by)
    }
}

fn owned(by: &str) -> Verdict {
    Verdict::Owned(by.into())
}

#[tokio::test]
async fn an_hpa_that_comes_and_goes() {
    let server = ApiServer::start();
    server.insert(&hpa("orders", "web"));
    let mut rig = rig(&server);
    let mut shadow = claim("shadow", "web", 1);
    shadow.dry_run = true;
    rig.owners.follow(vec![claim("web", "web", 1), claim("api", "api", 1), shadow], vec![]);
    rig.until("web", owned("HorizontalPodAutoscaler default/orders")).await;
    rig.until("api", Verdict::Free).await;
    // It runs beside it, and must not act at once when it is told to act.
    rig.until("shadow", owned("HorizontalPodAutoscaler default/orders")).await;
    assert_eq!(rig.told("web", true).await.as_deref(), Some("HorizontalPodAutoscaler default/orders"));
    server.delete("horizontalpodautoscalers.autoscaling", "default", "orders");
    rig.until("web", Verdict::Free).await;
    assert_eq!(rig.told("web", false).await, None);
    server.insert(&hpa("orders", "api"));
    rig.until("api", owned("HorizontalPodAutoscaler default/orders")).await;
    // It turns to another workload while nobody watches.
    server.expire();
    server.insert(&hpa("orders", "web"));
    rig.until("web", owned("HorizontalPodAutoscaler default/orders")).await;
    rig.until("api", Verdict::Free).await;
}

#[tokio::test]
async fn of_two_autoscalers_the_older_has_it_and_then_the_name_decides() {
    let server = ApiServer::start();
    let rig = rig(&server);
    rig.owners.follow(vec![claim("b", "web", 5), claim("c", "web", 5), claim("a", "web", 9)], vec![]);
    rig.until("b", Verdict::Free).await;
    rig.until("c", owned("QueueAutoscaler default/b")).await;
    rig.until("a", owned("QueueAutoscaler default/b")).await;
    let mut other = claim("b", "web", 5);
    other.dry_run = true;
    rig.owners.follow(vec![other], vec![]);
    rig.until("c", Verdict::Free).await;
    rig.until("b", owned("QueueAutoscaler default/c")).await;
    rig.owners.follow(vec![], vec![id("c")]);
    rig.until("a", Verdict::Free).await;
    rig.until("c", Verdict::Pending).await;
}

#[tokio::test]
async fn kedas_objects_count_and_its_hpa_is_the_same_owner() {
    let server = ApiServer::start();
    server.insert(&json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "scaledobjects.keda.sh"},
        "spec": {"group": "keda.sh", "scope": "Namespaced",
            "names": {"plural": "scaledobjects", "singular": "scaledobject", "kind": "ScaledObject"},
            "versions": [{"name": "v1alpha1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}]}}));
    server.insert(&json!({"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": "so", "namespace": "default"}, "spec": {"scaleTargetRef": {"name": "web"}}}));
    let mut made = hpa("keda-hpa-so", "web");
    made["metadata"]["labels"] = json!({"scaledobject.keda.sh/name": "so"});
    server.insert(&made);
    let rig = rig(&server);
    rig.owners.follow(vec![claim("web", "web", 1)], vec![]);
    rig.until("web", owned("ScaledObject default/so")).await;
    server.delete("horizontalpodautoscalers.autoscaling", "default", "keda-hpa-so");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    rig.until("web", owned("ScaledObject default/so")).await;
    server.delete("scaledobjects.keda.sh", "default", "so");
    rig.until("web", Verdict::Free).await;
}

#[tokio::test]
async fn nothing_is_acted_on_before_owners_are_known_unless_nobody_may_know() {
    let server = ApiServer::start();
    let down = server.fault(Fault::on("list", "horizontalpodautoscalers").answer(Refusal::unavailable()));
    let mut rig = rig(&server);
    rig.owners.follow(vec![claim("web", "web", 1)], vec![]);
    until_along("it was asked for", || down.hits() >= 1).await;
    assert_eq!(rig.waits("web").await, None);
    rig.until("web", Verdict::Pending).await;
    down.lift();
    let forbidden = Refusal::forbidden("a", "list", "horizontalpodautoscalers", "", "autoscaling", "", "");
    server.fault(Fault::on("list", "horizontalpodautoscalers").answer(forbidden));
    assert_eq!(rig.told("web", false).await, None);
    rig.until("web", Verdict::Free).await;
}

/// Workloads and owners are followed by two tasks, of which either may hear first that `scaleTargetRef` has changed.
#[tokio::test]
async fn a_verdict_is_about_one_workload_and_no_other() {
    let server = ApiServer::start();
    server.insert(&hpa("orders", "api"));
    let rig = rig(&server);
    rig.owners.follow(vec![claim("a", "web", 1)], vec![]);
    rig.until("a", Verdict::Free).await;
    let on = |name: &str| WorkloadRef::new(&"default".into(), &to("apps/v1", "Deployment", name));
    let verdicts = rig.owners.verdicts();
    assert_eq!(verdicts.about(&id("a"), &on("web")), Verdict::Free);
    assert_eq!(verdicts.about(&id("a"), &on("api")), Verdict::Pending, "nobody has looked");
    rig.owners.follow(vec![claim("a", "api", 1)], vec![]);
    rig.until("a", owned("HorizontalPodAutoscaler default/orders")).await;
    assert_eq!(verdicts.about(&id("a"), &on("web")), Verdict::Pending);
}

#[tokio::test]
async fn who_was_refused_and_is_gone_is_not_remembered() {
    let server = ApiServer::start();
    server.insert(&hpa("orders", "web"));
    let mut rig = rig(&server);
    rig.owners.follow(vec![claim("a", "web", 1)], vec![]);
    rig.told("a", true).await;
    rig.until("a", owned("HorizontalPodAutoscaler default/orders")).await;
    until_along("it is said", || !rig.standings.is_empty()).await;
    rig.owners.follow(vec![], vec![id("a")]);
    assert_eq!(rig.told("a", false).await, None);
    assert!(rig.standings.is_empty());
    // And another of the name is told of after that.
    rig.owners.follow(vec![claim("a", "web", 2)], vec![]);
    rig.told("a", true).await;
    rig.owners.follow(vec![claim("a", "web", 3)], vec![id("a")]);
    assert_eq!(rig.told("a", false).await, None);
    rig.told("a", true).await;
}
