//! The standalone controller put together: election, custom resources, workloads, patches, status, and the order in
//! which they begin and end.
//!
//! All of it runs beside serving, not beside deciding: the API server's answers must not make the rounds late. A part
//! that ends by itself takes the process with it, the election above all: whoever does not know whether he leads must
//! not go on as if he did.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Tasks;
use crate::board::Board;
use crate::clock::Clock;
use crate::cluster::checkpoints::ConfigMaps;
use crate::cluster::client::{Kube, Scope};
use crate::cluster::discovery::Discovery;
use crate::cluster::events::{self, Events};
use crate::cluster::lease::{self, Elector, Leadership};
use crate::cluster::owners::{self, Claim, Owners};
use crate::cluster::resources::{self, Listing, Resource, Resources};
use crate::cluster::restore::{Noting, Restorer};
use crate::cluster::scale::KubeTarget;
use crate::cluster::standing::Standings;
use crate::cluster::status::StatusWriter;
use crate::cluster::workloads::{self, Workloads};
use crate::cluster::{endpoints, secrets};
use crate::model::{AutoscalerId, Mandate, ScaleOrder, TargetReport};
use crate::source::endpoints::Endpoints;
use crate::source::secrets::Secrets;
use crate::spec::Pods;
use crate::spec::catalog::{Base, WantedSecrets};
use crate::spec::grants::Grants;
use crate::spec::limits::Limits;
use crate::spec::{AutoscalerSpec, SpecsChange};
use crate::target::actuator::{self, Actuator};
use crate::target::bucket::Rate;

/// What to control and how.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    pub scope: Scope,
    /// Of the Lease and the checkpoints; `None`: the one that the configuration of the cluster says.
    pub namespace: Option<String>,
    /// `None`: this process is alone.
    pub election: Option<Election>,
    /// Who this process is in the Lease and in Events; `None`: the host's name.
    pub identity: Option<String>,
    pub patches_per_second: u32,
    pub patches_at_once: u32,
}

/// How the leader is found.
#[derive(Clone, Debug)]
pub struct Election {
    /// Of the Lease.
    pub name: String,
    pub lease_duration: Duration,
    pub renew_deadline: Duration,
    pub retry_period: Duration,
}

/// Where memory is kept over a restart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Checkpoints {
    #[default]
    Nowhere,
    Folder(PathBuf),
    ConfigMaps,
}

/// How long the follower of custom resources leaves a burst of snapshots alone.
const SETTLE: Duration = Duration::from_millis(20);

/// Files that are in force, for whoever follows workloads and for custom resources, which stand below them.
pub(super) struct Files {
    pub(super) base: watch::Sender<Base>,
    pub(super) autoscalers: watch::Sender<Vec<Arc<AutoscalerSpec>>>,
}

impl Files {
    pub(super) fn new(autoscalers: &[Arc<AutoscalerSpec>], grants: &Grants) -> Self {
        let base = watch::Sender::new(base(autoscalers, grants));
        Files { base, autoscalers: watch::Sender::new(autoscalers.to_vec()) }
    }

    /// Before the runtime hears of them: connections first.
    pub(super) fn grant(&self, autoscalers: &[Arc<AutoscalerSpec>], grants: &Grants) {
        self.base.send_replace(base(autoscalers, grants));
    }

    /// After the runtime has heard of them: it does not listen to reports about strangers.
    pub(super) fn follow(&self, autoscalers: &[Arc<AutoscalerSpec>]) {
        self.autoscalers.send_replace(autoscalers.to_vec());
    }
}

fn base(autoscalers: &[Arc<AutoscalerSpec>], grants: &Grants) -> Base {
    Base { grants: grants.clone(), autoscalers: autoscalers.iter().map(|spec| spec.id.clone()).collect() }
}

/// Connected to, and nothing running yet.
pub(super) struct Controller {
    kube: Kube,
    settings: ClusterSettings,
    namespace: String,
    identity: String,
    elector: Option<Elector>,
    leadership: Leadership,
    secrets: Secrets,
    endpoints: Endpoints,
}

/// What the rest of the process lends it.
pub(super) struct Wires {
    pub(super) board: Arc<Board>,
    pub(super) grants: Arc<ArcSwap<Grants>>,
    pub(super) limits: Limits,
    /// To the runtime.
    pub(super) specs: mpsc::Sender<SpecsChange>,
    pub(super) mandates: mpsc::Sender<Mandate>,
    pub(super) reports: mpsc::Sender<TargetReport>,
    /// From the runtime.
    pub(super) requests: mpsc::Receiver<ScaleOrder>,
    /// Told when nothing more is to be decided.
    pub(super) stop: CancellationToken,
    /// Told when nothing more is written.
    pub(super) resign: CancellationToken,
}

impl Controller {
    /// Nothing is asked of the API server yet.
    ///
    /// # Errors
    /// There is no cluster's configuration, or settings that cannot work.
    pub(super) async fn connect(settings: ClusterSettings, clock: Clock) -> anyhow::Result<Self> {
        let kube = Kube::infer(clock, settings.scope.clone()).await?;
        let namespace = settings.namespace.clone().unwrap_or_else(|| kube.client.default_namespace().to_owned());
        let identity = settings.identity.clone().unwrap_or_else(host_name);
        let (elector, leadership) = match &settings.election {
            None => (None, Leadership::always()),
            Some(election) => {
                let settings = lease::Settings {
                    namespace: namespace.clone(),
                    name: election.name.clone(),
                    identity: identity.clone(),
                    lease_duration: election.lease_duration,
                    renew_deadline: election.renew_deadline,
                    retry_period: election.retry_period,
                };
                settings.check()?;
                let (elector, leadership) = Elector::new(&kube, settings);
                (Some(elector), leadership)
            }
        };
        Ok(Controller {
            kube,
            settings,
            namespace,
            identity,
            elector,
            leadership,
            secrets: Secrets::of_cluster(),
            endpoints: Endpoints::of_cluster(),
        })
    }

    /// Secrets of the cluster, for sources to read.
    pub(super) fn secrets(&self) -> Secrets {
        self.secrets.clone()
    }

    /// Pods of the cluster, for sources to ask.
    pub(super) fn endpoints(&self) -> Endpoints {
        self.endpoints.clone()
    }

    pub(super) fn leadership(&self) -> Leadership {
        self.leadership.clone()
    }

    pub(super) fn elects(&self) -> bool {
        self.elector.is_some()
    }

    /// Where checkpoints lie.
    pub(super) fn config_maps(&self) -> ConfigMaps {
        ConfigMaps::new(self.kube.clone(), &self.namespace)
    }

    /// Begins.
    pub(super) fn spawn(self, parts: &mut Tasks, files: &Files, wires: Wires) -> Listed {
        let Controller { kube, settings, identity, elector, leadership, secrets, endpoints, .. } = self;
        let Wires { board, grants, limits, specs, mandates, reports, requests, stop, resign } = wires;
        let clock = kube.clock;
        let (standings, resources) = (Arc::new(Standings::default()), Arc::new(Resources::default()));
        let discovery = Arc::new(Discovery::new(kube.clone()));

        // === who may act ===
        if let Some(elector) = elector {
            let resign = resign.clone();
            parts.spawn(async move { (super::ELECTION, elector.run(resign).await.map_err(anyhow::Error::from)) });
        }
        parts.spawn({
            let (leadership, mandates, standings) = (leadership.clone(), mandates.clone(), Arc::clone(&standings));
            until(&stop, "handing on of the leadership", hand_on(leadership, clock, mandates, standings))
        });
        let owners = owners::Parts {
            kube: kube.clone(),
            discovery: Arc::clone(&discovery),
            standings: Arc::clone(&standings),
            mandates,
        };
        let (owners, driver) = Owners::new(owners);
        parts.spawn(until(&stop, "watch of owners", driver.run()));

        // === what is there ===
        let workloads = workloads::Parts {
            kube: kube.clone(),
            discovery,
            standings: Arc::clone(&standings),
            reports: reports.clone(),
        };
        let (workloads, driver) = Workloads::new(workloads);
        parts.spawn(until(&stop, "watch of workloads", driver.run()));
        let (wanted, wants) = watch::channel(WantedSecrets::default());
        let (listing, listed) = watch::channel(Listing::Waiting(None));
        let output = resources::Output { resources: Arc::clone(&resources), specs, grants, secrets: wanted, listing };
        let base = files.base.subscribe();
        parts.spawn({
            let kube = kube.clone();
            until(&stop, "watch of custom resources", async move {
                resources::watch(kube, &limits, base, output).await;
            })
        });
        parts.spawn({
            let keep = move |namespace: &str, name: &str, content| secrets.set(namespace, name, content);
            until(&stop, "watch of Secrets", secrets::follow(kube.clone(), wants, keep))
        });
        if let Some(changes) = endpoints.changes() {
            let (wanted, keep) = (endpoints.clone(), move |pods: &Pods, found| endpoints.set(pods, found));
            let followed = endpoints::follow(kube.clone(), changes, move || wanted.wanted(), keep);
            parts.spawn(until(&stop, "watch of pods", followed));
        }
        parts.spawn({
            let (resources, autoscalers) = (Arc::clone(&resources), files.autoscalers.subscribe());
            until(&stop, "following of workloads", follow(resources, autoscalers, workloads.clone(), owners.clone()))
        });

        // === what is done about it ===
        let target = KubeTarget::new(
            kube.clone(),
            workloads.views(),
            Arc::clone(&standings),
            owners.verdicts(),
            leadership.clone(),
        );
        let target = Arc::new(target);
        let noting = Noting::new(Arc::clone(&target), kube.clone(), leadership.clone(), Arc::clone(&resources));
        let rate = Rate { per_second: f64::from(settings.patches_per_second), burst: settings.patches_at_once };
        let actuator = Actuator::new(Arc::new(noting), actuator::Config { rate, ..actuator::Config::default() });
        parts.spawn(async move {
            (super::ACTUATOR, {
                actuator.run(requests, reports).await;
                Ok(())
            })
        });
        let (events, sender): (Events, _) = events::channel(kube.clone(), leadership.clone(), identity);
        parts.spawn(until(&stop, "sending of Events", sender.run(stop.clone())));
        let restorer = Restorer::new(
            target,
            kube.clone(),
            leadership.clone(),
            Arc::clone(&resources),
            Arc::clone(&standings),
            events.clone(),
        );
        parts.spawn(until(&stop, "restoring", restorer.run(stop.clone())));
        let listed = Listed { listing: listed, resources: Arc::clone(&resources) };
        let status = StatusWriter::new(kube, leadership, board, resources, standings, events);
        parts.spawn(until(&stop, "writing of status", status.run(stop.clone())));
        listed
    }
}

/// The first list of custom resources, and what came of it.
pub(super) struct Listed {
    listing: watch::Receiver<Listing>,
    resources: Arc<Resources>,
}

impl Listed {
    /// Waits until all of it has arrived. Returns what is in force of it.
    pub(super) async fn complete(&mut self) -> Vec<AutoscalerId> {
        // The sender lives as long as the process.
        drop(self.listing.wait_for(|listing| *listing == Listing::Complete).await);
        let all = self.resources.all();
        all.values().filter_map(|resource| Some(resource.in_force()?.id.clone())).collect()
    }

    /// Whether it is still in force.
    pub(super) fn has(&self, id: &AutoscalerId) -> bool {
        self.resources.get(id).is_some_and(|resource| resource.in_force().is_some())
    }
}

/// A part that ends when told to; one that ends before is a defect, and the name says whose.
fn until(
    stop: &CancellationToken,
    name: &'static str,
    part: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = (&'static str, anyhow::Result<()>)> + Send + 'static {
    let stop = stop.clone();
    async move {
        stop.run_until_cancelled(part).await;
        (name, Ok(()))
    }
}

/// Tells the runtime whether this process leads, the end of a term that nobody announces included.
async fn hand_on(mut leadership: Leadership, clock: Clock, mandates: mpsc::Sender<Mandate>, standings: Arc<Standings>) {
    let mut told = None;
    loop {
        let term = leadership.term(clock.now());
        if told != Some(term.is_some()) {
            told = Some(term.is_some());
            if term.is_none() {
                // What failed in a term that is over may succeed with whoever leads, and nobody here would hear of it.
                standings.forget_failures();
            }
            if mandates.send(Mandate::Leading(term.is_some())).await.is_err() {
                return;
            }
        }
        let over = async {
            match term {
                Some(term) => tokio::time::sleep_until(clock.instant(term.until)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = leadership.changed() => {}
            () = over => {}
        }
    }
}

/// Whose workloads are to be watched, and who claims which: those of files, and of custom resources that no file stands
/// above. A deleted one that is being restored is followed until it is gone.
async fn follow(
    resources: Arc<Resources>,
    mut files: watch::Receiver<Vec<Arc<AutoscalerSpec>>>,
    workloads: Workloads,
    owners: Owners,
) {
    let mut changes = resources.changes();
    let mut before: Arc<BTreeMap<AutoscalerId, Arc<Resource>>> = Arc::default();
    let mut of_files: HashMap<AutoscalerId, Claim> = HashMap::new();
    loop {
        let now = resources.all();
        let mut set = Vec::new();
        let mut gone: Vec<AutoscalerId> = before.keys().filter(|id| !now.contains_key(*id)).cloned().collect();
        for (id, resource) in &*now {
            if before.get(id).is_some_and(|before| Arc::ptr_eq(before, resource)) {
                continue;
            }
            let claimed = resource.spec.as_ref().and_then(|spec| claim(spec, resource.created));
            let was = before.get(id).and_then(|before| claim(before.spec.as_ref()?, before.created));
            if was != claimed {
                match claimed {
                    Some(claim) => set.push(claim),
                    None => gone.push(id.clone()),
                }
            }
        }
        // Older than every object in the cluster.
        let claims = files.borrow_and_update().iter().filter_map(|spec| claim(spec, i64::MIN)).collect::<Vec<_>>();
        let in_files: HashMap<AutoscalerId, Claim> =
            claims.into_iter().map(|claim| (claim.id.clone(), claim)).collect();
        set.retain(|claim| !in_files.contains_key(&claim.id));
        gone.retain(|id| !in_files.contains_key(id));
        for id in of_files.keys().filter(|id| !in_files.contains_key(*id)) {
            // What the file stood above comes into force, if there is any.
            match now.get(id).and_then(|resource| claim(resource.spec.as_ref()?, resource.created)) {
                Some(claim) => set.push(claim),
                None => gone.push(id.clone()),
            }
        }
        set.extend(in_files.values().filter(|claim| of_files.get(&claim.id) != Some(*claim)).cloned());
        (before, of_files) = (now, in_files);
        if !(set.is_empty() && gone.is_empty()) {
            let targets = set.iter().map(|claim| (claim.id.clone(), claim.target.clone())).collect();
            workloads.follow(targets, gone.clone());
            owners.follow(set, gone);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            changed = files.changed() => if changed.is_err() { return },
        }
        tokio::time::sleep(SETTLE).await;
        changes.mark_unchanged();
    }
}

fn claim(spec: &AutoscalerSpec, created: i64) -> Option<Claim> {
    let target = spec.target.clone()?;
    Some(Claim { id: spec.id.clone(), target, created, dry_run: spec.dry_run })
}

/// Of the pod, in a cluster.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "tidegate".to_owned(),
        name => name.to_owned(),
    }
}
