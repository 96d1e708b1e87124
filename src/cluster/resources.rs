//! Custom resources as they stand in the cluster, and the specs that were made of them.
//!
//! One watch for each of our kinds (for each namespace, where the scope is namespaces) feeds the
//! [`crate::spec::catalog::Catalog`], in bursts; what follows from a burst goes to the runtime, to the grants, to
//! whoever follows Secrets, and last into the snapshot [`Resources`].
//!
//! Nothing that the API server sends ends this: what is malformed is skipped and reported, what cannot be listed is
//! asked for again, and until then the last good state stays in force.

mod raw;
mod trouble;
mod watching;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::StreamExt;
use futures_util::stream::{BoxStream, SelectAll, select_all};
use kube::runtime::watcher::Event;
use tokio::sync::{mpsc, watch};

use self::raw::Raw;
use self::trouble::Trouble;
use super::client::{Kube, Scope};
use crate::model::AutoscalerId;
use crate::spec::SpecsChange;
use crate::spec::catalog::{Base, Catalog, Finding, Kind, Malformed, Settled, WantedSecrets};
use crate::spec::grants::Grants;
use crate::spec::limits::Limits;

pub(super) use self::raw::Raw as RawObject;
pub(super) use self::watching::{Watched, watched, watched_with};
pub use crate::spec::catalog::Resource;

/// All of them, as a snapshot that readers take without waiting.
#[derive(Default)]
pub struct Resources {
    all: ArcSwap<BTreeMap<AutoscalerId, Arc<Resource>>>,
    /// Counts snapshots.
    changes: watch::Sender<u64>,
}

impl Resources {
    #[must_use]
    pub fn all(&self) -> Arc<BTreeMap<AutoscalerId, Arc<Resource>>> {
        self.all.load_full()
    }

    #[must_use]
    pub fn get(&self, id: &AutoscalerId) -> Option<Arc<Resource>> {
        self.all.load().get(id).cloned()
    }

    /// Writer only.
    pub fn set(&self, all: BTreeMap<AutoscalerId, Arc<Resource>>) {
        self.all.store(Arc::new(all));
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Tells of new snapshots.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// How far the first list of custom resources is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Listing {
    /// Not all of it has arrived, and (where that is known) what it waits for.
    Waiting(Option<Arc<str>>),
    /// All of it has arrived and been handed on. Stays so, whatever happens later.
    Complete,
}

/// Who hears of custom resources.
pub struct Output {
    pub resources: Arc<Resources>,
    /// To the runtime.
    pub specs: mpsc::Sender<SpecsChange>,
    /// Those of the base and those of custom resources, replaced only where they differ.
    pub grants: Arc<ArcSwap<Grants>>,
    /// To whoever follows Secrets.
    pub secrets: watch::Sender<WantedSecrets>,
    pub listing: watch::Sender<Listing>,
}

/// A burst is over when nothing has come for this long: a `kubectl apply` of several objects is one burst, and nobody
/// notices the wait.
const QUIET: Duration = Duration::from_millis(20);
/// Or after this long, however much is still to come.
const LONGEST_BURST: Duration = Duration::from_millis(100);
/// Objects to validate for which a thread of their own is worth it: these take some milliseconds on the thread that
/// also serves.
const MANY: usize = 100;
/// Findings of one burst that are logged, an event each. Status and the API have all of them.
const LOGGED: usize = 20;

/// Follows custom resources until nobody takes specs any more.
pub async fn watch(kube: Kube, limits: &Limits, mut base: watch::Receiver<Base>, output: Output) {
    let mut catalog = Catalog::new(limits);
    catalog.set_base(base.borrow_and_update().clone());
    let mut sources = Sources::new(&kube);
    let mut events = sources.streams(&kube);
    // Connections in files may name Secrets as well, and do not wait for anybody's custom resources.
    hand_on_base(&catalog, &output);
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some((source, event)) => sources.take(source, event, &mut catalog, &output.listing),
                // There is always a stream, and none of them ends.
                None => return,
            },
            changed = base.changed() => match changed {
                Ok(()) => catalog.set_base(base.borrow_and_update().clone()),
                Err(_) => return,
            },
            () = output.specs.closed() => return,
        }
        let end = tokio::time::sleep(LONGEST_BURST);
        tokio::pin!(end);
        loop {
            tokio::select! {
                biased;
                () = &mut end => break,
                event = tokio::time::timeout(QUIET, events.next()) => match event {
                    Ok(Some((source, event))) => sources.take(source, event, &mut catalog, &output.listing),
                    Ok(None) => return,
                    Err(_) => break,
                },
            }
        }
        // Before everything is known, a Connection that has not arrived yet would be missed.
        if !sources.complete() {
            hand_on_base(&catalog, &output);
            continue;
        }
        let settled;
        (catalog, settled) = settle(catalog).await;
        if hand_on(settled, &catalog, &output).await.is_err() {
            return;
        }
        if *output.listing.borrow() != Listing::Complete {
            let autoscalers = output.resources.all().len();
            tracing::info!(autoscalers, "custom resources are listed");
            output.listing.send_replace(Listing::Complete);
        }
    }
}

async fn settle(mut catalog: Catalog) -> (Catalog, Settled) {
    if catalog.pending() < MANY {
        let settled = catalog.settle();
        return (catalog, settled);
    }
    let settling = tokio::task::spawn_blocking(move || {
        let settled = catalog.settle();
        (catalog, settled)
    });
    match settling.await {
        Ok(done) => done,
        // A defect of ours, or the end of the process.
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => std::future::pending().await,
    }
}

/// What files say, while custom resources are not known.
fn hand_on_base(catalog: &Catalog, output: &Output) {
    let (grants, secrets) = catalog.of_base();
    output.secrets.send_if_modified(|wanted| {
        let differs = *wanted != secrets;
        if differs {
            *wanted = secrets;
        }
        differs
    });
    if **output.grants.load() != *grants {
        output.grants.store(Arc::new(grants.clone()));
    }
}

/// `Err`: nobody takes specs any more.
async fn hand_on(settled: Settled, catalog: &Catalog, output: &Output) -> Result<(), ()> {
    let Settled { specs, grants, secrets, resources, findings } = settled;
    // Secrets take a round trip, and connects wait for them.
    if let Some(secrets) = secrets {
        output.secrets.send_replace(secrets);
    }
    if let Some(grants) = grants
        && **output.grants.load() != grants
    {
        output.grants.store(Arc::new(grants));
    }
    if !specs.set.is_empty() || !specs.gone.is_empty() {
        let (set, gone) = (specs.set.len(), specs.gone.len());
        output.specs.send(specs).await.map_err(drop)?;
        tracing::info!(set, gone, "custom resources changed");
    }
    if resources {
        output.resources.set(catalog.resources());
    }
    say(&findings);
    Ok(())
}

fn say(findings: &[Finding]) {
    for Finding { kind, name, in_force, problems, warnings } in findings.iter().take(LOGGED) {
        let kind = kind.as_str();
        match (&problems[..], &warnings[..]) {
            ([], []) => tracing::info!(kind, name, "in order again"),
            ([], [warning, ..]) => {
                tracing::warn!(kind, name, warnings = warnings.len(), %warning, "in force, with a warning");
            }
            ([problem, ..], _) if *in_force => {
                let message = "cannot be used as it is now, its last good state stays in force";
                tracing::warn!(kind, name, problems = problems.len(), %problem, "{message}");
            }
            ([problem, ..], _) => {
                tracing::warn!(kind, name, problems = problems.len(), %problem, "cannot be used");
            }
        }
    }
    if let Some(more) = findings.len().checked_sub(LOGGED).filter(|more| *more > 0) {
        tracing::warn!(more, "further objects have other problems or warnings than before; see their status");
    }
}

// === one watch for each kind and namespace ===

struct Source {
    kind: Kind,
    /// `None`: all of them, or a kind without.
    namespace: Option<String>,
    listed: bool,
    /// Namespaces and names of the list that is arriving.
    seen: HashSet<(String, String)>,
    trouble: Option<Trouble>,
}

struct Sources {
    all: Vec<Source>,
    /// Whether tidegate was installed for some namespaces, where nobody may owe it the cluster's objects.
    namespaced: bool,
    /// Malformed objects that have been reported.
    malformed: HashSet<String>,
}

type Events = SelectAll<BoxStream<'static, (usize, Watched)>>;

impl Sources {
    fn new(kube: &Kube) -> Self {
        let source = |kind, namespace: Option<&str>| Source {
            kind,
            namespace: namespace.map(str::to_owned),
            listed: false,
            seen: HashSet::new(),
            trouble: None,
        };
        let of_namespaces = [Kind::Connection, Kind::QueueAutoscaler];
        let namespaces = kube.scope.namespaces();
        let mut all: Vec<Source> = of_namespaces
            .into_iter()
            .flat_map(|kind| namespaces.iter().map(move |in_one| (kind, *in_one)))
            .map(|(kind, in_one)| source(kind, in_one))
            .collect();
        all.push(source(Kind::ClusterConnection, None));
        Sources { all, namespaced: matches!(kube.scope, Scope::Namespaces(_)), malformed: HashSet::new() }
    }

    fn streams(&self, kube: &Kube) -> Events {
        let streams = self.all.iter().enumerate().map(|(index, source)| {
            let api = raw::api(kube.client.clone(), source.kind, source.namespace.as_deref());
            watched(api, None, index).map(move |event| (index, event)).boxed()
        });
        select_all(streams)
    }

    fn complete(&self) -> bool {
        self.all.iter().all(|source| source.listed)
    }

    fn take(&mut self, index: usize, event: Watched, catalog: &mut Catalog, listing: &watch::Sender<Listing>) {
        let Some(source) = self.all.get_mut(index) else { return };
        let kind = source.kind;
        let event = match event {
            Ok(event) => event,
            Err(error) => {
                source.failed(&error, self.namespaced);
                self.tell(listing);
                return;
            }
        };
        if !matches!(event, Event::Init) {
            source.recovered();
        }
        match event {
            Event::Init => source.seen.clear(),
            Event::InitApply(object) => {
                source.seen.insert((object.namespace().to_owned(), object.name().to_owned()));
                let outcome = catalog.apply(kind, &object.object);
                self.report(outcome);
            }
            Event::InitDone => {
                catalog.keep_only(kind, source.namespace.as_deref(), &source.seen);
                source.seen = HashSet::new();
                source.listed = true;
                self.tell(listing);
            }
            Event::Apply(object) => {
                let outcome = catalog.apply(kind, &object.object);
                self.report(outcome);
            }
            Event::Delete(object) => catalog.delete(kind, object.namespace(), object.name()),
        }
    }

    /// Once each: a relist brings them again.
    fn report(&mut self, outcome: Result<(), Malformed>) {
        const REMEMBERED: usize = 1_000;
        let Err(malformed) = outcome else { return };
        if self.malformed.len() < REMEMBERED && self.malformed.insert(malformed.to_string()) {
            tracing::warn!(object = %malformed, "the API server sent what is no object of its kind; it is left out");
        }
    }

    /// What the first list waits for.
    fn tell(&self, listing: &watch::Sender<Listing>) {
        let waiting = self.all.iter().find(|source| !source.listed);
        let reason = waiting.and_then(|source| source.trouble.as_ref()).map(Trouble::sentence);
        listing.send_if_modified(|listing| {
            let news = Listing::Waiting(reason);
            let differs = *listing != Listing::Complete && *listing != news;
            if differs {
                *listing = news;
            }
            differs
        });
    }
}

impl Source {
    fn failed(&mut self, error: &kube::runtime::watcher::Error, namespaced: bool) {
        let Some(trouble) = Trouble::of(self.kind, self.namespace.as_deref(), error) else { return };
        let may_be_missing = namespaced && self.kind == Kind::ClusterConnection && trouble.is_refusal();
        let mut trouble = trouble.after(self.trouble.take());
        if !trouble.said && trouble.is_worth_a_word() {
            trouble.said = true;
            if may_be_missing {
                tracing::info!(reason = %trouble.sentence(), "ClusterConnections are not followed");
            } else {
                tracing::warn!(reason = %trouble.sentence(), "custom resources cannot be followed; tried again until they can");
            }
        }
        // An installation for some namespaces does without the cluster's objects.
        self.listed |= may_be_missing;
        self.trouble = Some(trouble);
    }

    fn recovered(&mut self) {
        if self.trouble.take().is_some_and(|trouble| trouble.said) {
            let within = self.namespace.as_deref().unwrap_or_default();
            tracing::info!(kind = self.kind.as_str(), namespace = within, "custom resources are followed again");
        }
    }
}

impl Raw {
    fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.metadata.namespace.as_deref().unwrap_or_default()
    }
}
