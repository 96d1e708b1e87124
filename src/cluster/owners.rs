//! Whose a workload is: two scalers on one workload undo each other's work for ever, so that only one may act.
//!
//! HorizontalPodAutoscalers and, where KEDA is installed, ScaledObjects come first, whether they are paused or not:
//! whoever put them there has not taken them away. Among QueueAutoscalers the oldest has it. One that only advises
//! (`dryRun`) owns nothing, and to run beside another scaler is what it is for. The verdict on it is as on anybody else:
//! it shows beside whom it runs, and it is known already when `dryRun` is taken away.
//!
//! Until it is known who is there, nothing is acted on; but somebody who may not list them must not wait for ever, and
//! neither must anybody where the API server answers everything but this. Both are said, once.

mod verdicts;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

pub use self::verdicts::{Verdict, Verdicts};
use self::watch::{HPA, Master, Said};
use crate::cluster::client::Kube;
use crate::cluster::discovery::{Discovery, NotServed};
use crate::cluster::standing::{Refused, Standings};
use crate::cluster::workloads::WorkloadRef;
use crate::model::{AutoscalerId, Mandate, Tick};
use crate::spec::TargetRef;

/// What an autoscaler lays claim to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    pub id: AutoscalerId,
    pub target: TargetRef,
    /// Seconds since the epoch.
    pub created: i64,
    pub dry_run: bool,
}

/// What the task needs, and whom it tells.
pub struct Parts {
    pub kube: Kube,
    pub discovery: Arc<Discovery>,
    pub standings: Arc<Standings>,
    /// The runtime's.
    pub mandates: mpsc::Sender<Mandate>,
}

/// The front: who claims what. Cheap to clone.
#[derive(Clone)]
pub struct Owners {
    orders: mpsc::UnboundedSender<Order>,
    verdicts: Arc<Verdicts>,
}

struct Order {
    set: Vec<Claim>,
    gone: Vec<AutoscalerId>,
}

impl Owners {
    /// Nothing is known unless somebody runs the [`Driver`].
    #[must_use]
    pub fn new(parts: Parts) -> (Self, Driver) {
        let (orders, taken) = mpsc::unbounded_channel();
        let verdicts = Verdicts::pending();
        let began = parts.kube.clock.now();
        let driver = Driver {
            parts,
            orders: taken,
            verdicts: Arc::clone(&verdicts),
            claims: HashMap::new(),
            claimants: HashMap::new(),
            advisers: HashMap::new(),
            masters: HashMap::new(),
            objects: HashMap::new(),
            sources: HashMap::new(),
            began,
            known: false,
            told: HashMap::new(),
            untold: BTreeSet::new(),
            forgotten: Vec::new(),
        };
        (Owners { orders, verdicts }, driver)
    }

    /// Takes note of the claims of `set` (new or changed), and no longer of those of `gone`. Never waits.
    pub fn follow(&self, set: Vec<Claim>, gone: Vec<AutoscalerId>) {
        // The driver is gone only when the process ends.
        drop(self.orders.send(Order { set, gone }));
    }

    #[must_use]
    pub fn verdicts(&self) -> Arc<Verdicts> {
        Arc::clone(&self.verdicts)
    }
}

/// How long nothing is acted on because owners cannot be listed although nobody says that they must not be. A list
/// takes less than a second; a minute is late enough for an API server that comes up, and a queue that nobody works
/// off hurts more than two scalers for once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether KEDA has been installed meanwhile: one small request each time.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// The kind of KEDA's objects.
const KEDA: (&str, &str) = ("keda.sh/v1alpha1", "ScaledObject");

/// Kind, namespace and name of a scaler that is not ours.
type ScalerName = (&'static str, Arc<str>, Arc<str>);

/// The task behind [`Owners`].
pub struct Driver {
    parts: Parts,
    orders: mpsc::UnboundedReceiver<Order>,
    verdicts: Arc<Verdicts>,
    claims: HashMap<AutoscalerId, (WorkloadRef, Claim)>,
    /// Of each workload those who would act on it, the oldest first.
    claimants: HashMap<WorkloadRef, BTreeSet<(i64, AutoscalerId)>>,
    /// Of each workload those who only advise.
    advisers: HashMap<WorkloadRef, BTreeSet<AutoscalerId>>,
    /// With the number of objects that say so: KEDA's ScaledObject and its HPA are one master.
    masters: HashMap<WorkloadRef, BTreeMap<Master, usize>>,
    /// What each object says, by kind, namespace and name.
    objects: HashMap<ScalerName, (WorkloadRef, Master, u64)>,
    /// What is listened to, by kind and namespace.
    sources: HashMap<(&'static str, Arc<str>), Source>,
    began: Tick,
    /// Everything is complete, or given up.
    known: bool,
    /// What the runtime believes.
    told: HashMap<AutoscalerId, Told>,
    untold: BTreeSet<AutoscalerId>,
    /// Who is gone and was refused: to be told first, for there may be another of the name by now.
    forgotten: Vec<AutoscalerId>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    Free,
    Refused,
    Waits,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Waiting,
    Complete,
    /// We may not, or it is not served. Said already.
    GivenUp,
}

impl Driver {
    /// Runs until every [`Owners`] is dropped.
    pub async fn run(mut self) {
        let (heard, mut hear) = mpsc::channel(1024);
        let mut watches = JoinSet::new();
        for namespace in self.namespaces() {
            self.sources.insert((HPA, Arc::clone(&namespace)), Source::Waiting);
            watches.spawn(watch::watch_hpas(self.parts.kube.clone(), namespace, heard.clone()));
        }
        self.sources.insert((KEDA.1, "".into()), Source::Waiting);
        let mut keda = Box::pin(find_keda(Arc::clone(&self.parts.discovery), Duration::ZERO));
        let mut found = false;
        let mut look = tokio::time::interval(Duration::from_secs(1));
        look.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mandates = self.parts.mandates.clone();
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(order) => self.take(order),
                    None => return,
                },
                Some(said) = hear.recv() => self.said(said),
                permit = mandates.reserve(), if !(self.untold.is_empty() && self.forgotten.is_empty()) => match permit {
                    Ok(permit) => if let Some(mandate) = self.next_mandate() { permit.send(mandate) },
                    // The runtime is gone: the process is ending.
                    Err(_) => return,
                },
                outcome = &mut keda, if !found => match outcome {
                    Ok(kind) => {
                        found = true;
                        self.sources.remove(&(KEDA.1, Arc::from("")));
                        for namespace in self.namespaces() {
                            // Installed after we began to act: it is known as soon as it is known.
                            let first = if self.known { Source::GivenUp } else { Source::Waiting };
                            self.sources.insert((KEDA.1, Arc::clone(&namespace)), first);
                            let kube = self.parts.kube.clone();
                            watches.spawn(watch::watch_scaled_objects(kube, Arc::clone(&kind), namespace, heard.clone()));
                        }
                    }
                    Err(error) => {
                        // That KEDA is not installed is known; that nobody answered is not.
                        let unknown = matches!(error, NotServed::Failed { .. });
                        if !unknown {
                            self.sources.insert((KEDA.1, "".into()), Source::GivenUp);
                            self.settle();
                        }
                        let pause = if unknown { Duration::from_secs(1) } else { ASK_AGAIN };
                        keda = Box::pin(find_keda(Arc::clone(&self.parts.discovery), pause));
                    }
                },
                _ = look.tick() => self.lose_patience(),
            }
        }
    }

    fn namespaces(&self) -> Vec<Arc<str>> {
        self.parts.kube.scope.namespaces().into_iter().map(|namespace| namespace.unwrap_or("").into()).collect()
    }

    // === claims ===

    fn take(&mut self, Order { set, gone }: Order) {
        for id in gone {
            self.withdraw(&id);
            self.verdicts.set(&id, None);
            self.untold.remove(&id);
            self.parts.standings.clear(&id, |standing| standing.refused = None);
            if self.told.remove(&id).is_some_and(|told| told != Told::Free) {
                self.forgotten.push(id);
            }
        }
        for claim in set {
            if self.claims.get(&claim.id).is_some_and(|(_, known)| *known == claim) {
                continue;
            }
            self.withdraw(&claim.id);
            let workload = WorkloadRef::new(&claim.id.namespace, &claim.target);
            let (id, created, dry_run) = (claim.id.clone(), claim.created, claim.dry_run);
            self.claims.insert(id.clone(), (workload.clone(), claim));
            if dry_run {
                self.advisers.entry(workload).or_default().insert(id.clone());
                self.judge(&id);
            } else {
                self.claimants.entry(workload.clone()).or_default().insert((created, id));
                self.judge_all(&workload);
            }
        }
    }

    fn withdraw(&mut self, id: &AutoscalerId) {
        let Some((workload, claim)) = self.claims.remove(id) else { return };
        if let Some(advisers) = self.advisers.get_mut(&workload) {
            advisers.remove(id);
            if advisers.is_empty() {
                self.advisers.remove(&workload);
            }
        }
        let Some(claimants) = self.claimants.get_mut(&workload) else { return };
        claimants.remove(&(claim.created, id.clone()));
        if claimants.is_empty() {
            self.claimants.remove(&workload);
        }
        self.judge_all(&workload);
    }

    fn judge_all(&mut self, workload: &WorkloadRef) {
        let claimants = self.claimants.get(workload).into_iter().flatten().map(|(_, id)| id);
        let advisers = self.advisers.get(workload).into_iter().flatten();
        let everybody: Vec<AutoscalerId> = claimants.chain(advisers).cloned().collect();
        for id in everybody {
            self.judge(&id);
        }
    }

    fn judge(&mut self, id: &AutoscalerId) {
        let Some((workload, _)) = self.claims.get(id) else { return };
        let verdict = match self.owner(id) {
            Some(by) => Verdict::Owned(by),
            None if self.known => Verdict::Free,
            None => Verdict::Pending,
        };
        if self.verdicts.of(id) != verdict || !self.told.contains_key(id) {
            self.untold.insert(id.clone());
        }
        self.verdicts.set(id, Some((workload.clone(), verdict)));
    }

    /// Who else has its workload, by name.
    fn owner(&self, id: &AutoscalerId) -> Option<Arc<str>> {
        let (workload, _) = self.claims.get(id)?;
        if let Some(master) = self.masters.get(workload).and_then(|masters| masters.keys().next()) {
            return Some(Arc::clone(&master.name));
        }
        let oldest = self.claimants.get(workload).and_then(BTreeSet::first).map(|(_, id)| id)?;
        (oldest != id).then(|| format!("QueueAutoscaler {oldest}").into())
    }

    fn next_mandate(&mut self) -> Option<Mandate> {
        if let Some(id) = self.forgotten.pop() {
            return Some(Mandate::Refused { id, refused: false });
        }
        let id = self.untold.pop_first()?;
        let told = match self.verdicts.of(&id) {
            Verdict::Owned(_) => Told::Refused,
            Verdict::Free => Told::Free,
            Verdict::Pending => Told::Waits,
        };
        let by = self.owner(&id);
        self.parts.standings.update(&id, |standing| standing.refused = by.map(|by| Refused { by }));
        let news = self.told.insert(id.clone(), told) != Some(told);
        news.then_some(match told {
            Told::Waits => Mandate::Waits { id },
            Told::Free | Told::Refused => Mandate::Refused { id, refused: told == Told::Refused },
        })
    }

    // === what is heard ===

    fn said(&mut self, said: Said) {
        match said {
            Said::Stands { kind, namespace, name, workload, master, round } => {
                let key = (kind, namespace, name);
                if let Some((known, by, seen)) = self.objects.get_mut(&key)
                    && workload.as_ref() == Some(known)
                    && *by == master
                {
                    *seen = round;
                    return;
                }
                let before = self.objects.remove(&key);
                if let Some(workload) = workload {
                    *self.masters.entry(workload.clone()).or_default().entry(master.clone()).or_default() += 1;
                    self.objects.insert(key, (workload.clone(), master, round));
                    self.judge_all(&workload);
                }
                self.lift(before);
            }
            Said::Gone { kind, namespace, name } => {
                let before = self.objects.remove(&(kind, namespace, name));
                self.lift(before);
            }
            Said::Listed { kind, namespace, round } => {
                self.lift_all(kind, &namespace, round);
                self.sources.insert((kind, namespace), Source::Complete);
                self.settle();
            }
            Said::Fails { kind, namespace, why, for_good, not_served } => {
                if not_served {
                    self.lift_all(kind, &namespace, u64::MAX);
                }
                let source = self.sources.entry((kind, namespace)).or_insert(Source::Waiting);
                if for_good && *source == Source::Waiting {
                    *source = Source::GivenUp;
                    tracing::warn!(
                        kind,
                        reason = %why,
                        "other scalers cannot be listed: acting without regard to them; `tidegate crd --rbac` grants it"
                    );
                    self.settle();
                }
            }
        }
    }

    /// Those that no list since `round` has shown.
    fn lift_all(&mut self, kind: &'static str, namespace: &Arc<str>, round: u64) {
        let is_left = |(of, at, _): &(&str, Arc<str>, Arc<str>), seen: u64| {
            *of == kind && (namespace.is_empty() || at == namespace) && seen < round
        };
        let left = self.objects.iter().filter(|(key, (_, _, seen))| is_left(key, *seen)).map(|(key, _)| key.clone());
        let left: Vec<_> = left.collect();
        for key in left {
            let before = self.objects.remove(&key);
            self.lift(before);
        }
    }

    /// An object no longer says so.
    fn lift(&mut self, object: Option<(WorkloadRef, Master, u64)>) {
        let Some((workload, master, _)) = object else { return };
        if let Some(masters) = self.masters.get_mut(&workload) {
            if let Some(count) = masters.get_mut(&master) {
                *count -= 1;
                if *count == 0 {
                    masters.remove(&master);
                }
            }
            if masters.is_empty() {
                self.masters.remove(&workload);
            }
        }
        self.judge_all(&workload);
    }

    /// From when on everything is known there is no way back: a watch that breaks later leaves what was known.
    fn settle(&mut self) {
        if self.known || self.sources.values().any(|source| *source == Source::Waiting) {
            return;
        }
        self.known = true;
        tracing::info!(owned = self.masters.len(), "it is known which workloads other scalers own");
        self.judge_everybody();
    }

    fn lose_patience(&mut self) {
        if self.known || self.parts.kube.clock.now().since(self.began) < PATIENCE {
            return;
        }
        tracing::warn!(within = ?PATIENCE, "other scalers could not be listed: acting without regard to those not seen");
        self.known = true;
        self.judge_everybody();
    }

    fn judge_everybody(&mut self) {
        let everybody: Vec<AutoscalerId> = self.claims.keys().cloned().collect();
        for id in everybody {
            self.judge(&id);
        }
    }
}

async fn find_keda(
    discovery: Arc<Discovery>,
    pause: Duration,
) -> Result<Arc<crate::cluster::discovery::Kind>, NotServed> {
    tokio::time::sleep(pause).await;
    discovery.kind(KEDA.0, KEDA.1).await
}
