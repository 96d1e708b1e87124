//! Custom resources as a cluster has them, and what the process makes of them: created, changed, deleted, malformed,
//! listed anew, many.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate::clock::Clock;
use tidegate::cluster::client::{Kube, Scope};
use tidegate::cluster::resources::{Listing, Output, Resources, watch as follow};
use tidegate::model::AutoscalerId;
use tidegate::spec::SpecsChange;
use tidegate::spec::catalog::Base;
use tidegate::spec::limits::Limits;
use tokio::sync::{mpsc, watch};

use crate::support::apiserver::{Ending, Fault, Refusal};
use crate::support::cluster::Cluster;
use crate::support::tidegate::until_along;

const AUTOSCALERS: &str = "queueautoscalers.tidegate.dev";

fn connection() -> Value {
    json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "Connection", "metadata": {"name": "redis"},
        "spec": {"redis": {"address": "127.0.0.1:6379"}}})
}

fn autoscaler(name: &str, most: i32) -> Value {
    json!({"apiVersion": "tidegate.dev/v1alpha1", "kind": "QueueAutoscaler", "metadata": {"name": name},
        "spec": {"scaleTargetRef": {"name": name}, "maxReplicas": most,
            "triggers": [{"connection": "redis", "redisList": {"keys": [format!("queue:{name}")]},
                "policy": {"backlogPerReplica": {"target": 5}}}]}})
}

/// The part of the process that follows custom resources, within the test.
struct Rig {
    resources: Arc<Resources>,
    specs: mpsc::Receiver<SpecsChange>,
    listing: watch::Receiver<Listing>,
    namespace: String,
    _base: watch::Sender<Base>,
}

impl Rig {
    async fn start(cluster: &Cluster) -> Self {
        let config = cluster.access("tidegate", None).config().await;
        let kube = Kube::new(config, Clock::start(), Scope::Namespaces(vec![cluster.namespace().to_owned()])).unwrap();
        let resources = Arc::new(Resources::default());
        let (specs, receiver) = mpsc::channel(64);
        let (base, of_base) = watch::channel(Base::default());
        let (listing, listed) = watch::channel(Listing::Waiting(None));
        let (grants, secrets) = (Arc::default(), watch::Sender::default());
        let output = Output { resources: Arc::clone(&resources), specs, grants, secrets, listing };
        tokio::spawn(async move { follow(kube, &Limits::default(), of_base, output).await });
        let namespace = cluster.namespace().to_owned();
        Rig { resources, specs: receiver, listing: listed, namespace, _base: base }
    }

    async fn listed(&self) {
        until_along("everything is listed", || *self.listing.borrow() == Listing::Complete).await;
    }

    /// What came since the last time: names set and names gone.
    fn changes(&mut self) -> (Vec<String>, Vec<String>) {
        let (mut set, mut gone) = (Vec::new(), Vec::new());
        while let Ok(change) = self.specs.try_recv() {
            set.extend(change.set.iter().map(|spec| spec.id.name.to_string()));
            gone.extend(change.gone.iter().map(|id| id.name.to_string()));
        }
        (set, gone)
    }

    fn most(&self, name: &str) -> Option<i32> {
        let resource = self.resources.get(&AutoscalerId::new(&*self.namespace, name))?;
        resource.spec.as_ref().map(|spec| spec.bounds.max)
    }

    fn count(&self) -> usize {
        self.resources.all().len()
    }
}

#[tokio::test]
async fn what_is_created_changed_and_deleted_is_followed() {
    let cluster = Cluster::start();
    cluster.install_crds();
    let mut rig = Rig::start(&cluster).await;
    rig.listed().await;
    cluster.create(&connection());
    cluster.create(&autoscaler("mail", 5));
    until_along("it is created", || rig.most("mail") == Some(5)).await;
    cluster.patch(AUTOSCALERS, "mail", &json!({"spec": {"maxReplicas": 8}}));
    until_along("it is changed", || rig.most("mail") == Some(8)).await;
    let (set, gone) = rig.changes();
    assert_eq!((set, gone), (vec!["mail".to_owned(); 2], vec![]));
    // Its status is nobody's spec.
    cluster.set_status(AUTOSCALERS, "mail", &json!({"desiredReplicas": 3}));
    let shown = || rig.resources.get(&AutoscalerId::new(cluster.namespace(), "mail")).unwrap();
    until_along("its status is seen", || shown().status.is_some()).await;
    assert!(cluster.delete(AUTOSCALERS, "mail"));
    until_along("it is deleted", || rig.count() == 0).await;
    assert_eq!(rig.changes(), (vec![], vec!["mail".to_owned()]));
}

#[tokio::test]
async fn definitions_that_are_missing_at_the_start_are_waited_for() {
    let cluster = Cluster::scripted("a moment without definitions, and no cache of what was served");
    let rig = Rig::start(&cluster).await;
    let why = || match &*rig.listing.borrow() {
        Listing::Waiting(Some(why)) => why.to_string(),
        _ => String::new(),
    };
    until_along("it says what it waits for", || why().contains("tidegate crd")).await;
    cluster.install_crds();
    cluster.create(&connection());
    cluster.create(&autoscaler("mail", 5));
    rig.listed().await;
    until_along("it is there", || rig.most("mail") == Some(5)).await;
}

#[tokio::test]
async fn what_happened_while_watches_could_not_be_had_is_found_by_listing_anew() {
    let cluster = Cluster::scripted("watches that end, and a past that is forgotten");
    cluster.install_crds();
    let server = cluster.server();
    server.insert(&connection());
    for name in ["changed", "deleted", "same"] {
        server.insert(&autoscaler(name, 5));
    }
    let mut rig = Rig::start(&cluster).await;
    rig.listed().await;
    until_along("all three are there", || rig.count() == 3).await;
    rig.changes();
    let down = server.fault(Fault::on("watch", "*").answer(Refusal::unavailable()));
    server.end_watches(Ending::Breaks);
    until_along("watches are refused", || down.hits() > 0).await;
    server.insert(&autoscaler("changed", 9));
    assert!(server.delete(AUTOSCALERS, "default", "deleted"));
    server.insert(&autoscaler("new", 5));
    server.compact();
    let mark = server.mark();
    down.lift();
    until_along("all of it is found", || rig.most("changed") == Some(9) && rig.most("deleted").is_none()).await;
    until_along("and the new one", || rig.most("new") == Some(5)).await;
    let (mut set, gone) = rig.changes();
    set.sort();
    assert_eq!((set, gone), (vec!["changed".to_owned(), "new".to_owned()], vec!["deleted".to_owned()]));
    let lists = server.since(mark).verb("list").resource("queueautoscalers");
    assert!(!lists.is_empty(), "the watch from before the compaction got 410");
}

#[tokio::test]
async fn five_thousand_objects_come_in_pages_and_a_relist_changes_nothing() {
    let long = std::env::var_os("TIDEGATE_LONG").is_some();
    let count = if long { 5_000 } else { 1_000 };
    let cluster = Cluster::scripted("that the past be forgotten");
    cluster.install_crds();
    let server = cluster.server();
    server.insert(&connection());
    for number in 0..count {
        server.insert(&autoscaler(&format!("queue-{number:05}"), 5));
    }
    let began = Instant::now();
    let mut rig = Rig::start(&cluster).await;
    rig.listed().await;
    assert_eq!(rig.count(), count);
    println!("scripted: {count} objects listed and validated in {:?}", began.elapsed());
    let lists = server.requests().client("tidegate").verb("list").resource("queueautoscalers");
    assert_eq!(lists.len(), count.div_ceil(500), "{}", lists.lines());
    assert_eq!(rig.changes().0.len(), count);

    let mark = server.mark();
    server.expire();
    let again = || server.since(mark).verb("list").resource("queueautoscalers").code(200).len() == count.div_ceil(500);
    until_along("all of it is listed again", again).await;
    // A change behind it, so that its end is seen.
    server.insert(&autoscaler("queue-00007", 9));
    until_along("the change behind it", || rig.most("queue-00007") == Some(9)).await;
    assert_eq!(rig.changes(), (vec!["queue-00007".to_owned()], vec![]), "the same objects are no news");
    assert_eq!(rig.count(), count);
}

/// Figures of the scripted server itself: whatever is measured against it includes them.
#[tokio::test]
async fn the_scripted_server_keeps_ten_thousand_objects() {
    use crate::support::cluster::deployment;
    let long = std::env::var_os("TIDEGATE_LONG").is_some();
    let count = if long { 10_000 } else { 1_000 };
    let cluster = Cluster::scripted("figures of its own");
    let server = cluster.server();
    let began = Instant::now();
    for number in 0..count {
        server.insert(&deployment(&format!("d{number:05}"), 1));
    }
    let inserted = began.elapsed();
    let client = kube::Client::try_from(server.client("test").config()).unwrap();
    let api: kube::Api<k8s_openapi::api::apps::v1::Deployment> = kube::Api::namespaced(client, "default");
    let began = Instant::now();
    let all = api.list(&kube::api::ListParams::default()).await.unwrap();
    assert_eq!(all.items.len(), count);
    let listed = began.elapsed();
    let began = Instant::now();
    let patches = (0..500).map(|number| {
        let api = api.clone();
        async move {
            let patch = kube::api::Patch::Merge(json!({"spec": {"replicas": 2}}));
            api.patch_scale(&format!("d{number:05}"), &kube::api::PatchParams::apply("t"), &patch).await.unwrap();
        }
    });
    futures_util::future::join_all(patches).await;
    let patched = began.elapsed();
    assert_eq!(server.requests().verb("patch").applied().len(), 500);
    let rate = 500.0 / patched.max(Duration::from_millis(1)).as_secs_f64();
    println!("scripted: {count} inserted in {inserted:?}, listed in {listed:?}; {rate:.0} patches a second");
}
