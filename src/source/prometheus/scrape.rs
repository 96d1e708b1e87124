//! Pages of metrics, read where they are exposed: of one URL, or of every ready pod behind a Service or a selector.
//!
//! A round asks every target once, [`AT_ONCE`] of them at a time, for all that anybody wants of it, and walks each page once
//! (`exposition`). What one read finds on all pages becomes one number (`tally`).
//!
//! **A pod that does not answer is missing, and not zero.** Left out of a sum it would make the backlog smaller than it is,
//! and the workload with it, just when something is wrong. So its last known part counts on, for [`REMEMBERED`] at most,
//! and makes the whole observation as old as that part is, for `maxSampleAge` to judge; after that, or where nothing is
//! known of it yet, the read fails and names the pod. The same for avg, max and min, which a missing pod may falsify
//! either way. A pod that is gone from the cluster counts for nothing at once: it is not missing. A pod that answers
//! without the metric has no series of it; where none has any, that is an error that says which names are like it.
//!
//! The parts: `target` asks one, `tally` adds up.

mod tally;
mod target;

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::watch;

use self::tally::Tally;
use self::target::{Heard, Target};
use super::exposition::{Pick, Picks};
use super::http::{Buffers, Caller, Identity, Place};
use crate::model::{FailureKind, FoundPods, Pod, ReadFailure};
use crate::source::endpoints::{Endpoints, Watching};
use crate::source::kept::Kept;
use crate::source::secrets::Secrets;
use crate::source::{Answers, Backend, Load, Material, Moment, Read, ReadId};
use crate::spec::grants::Fence;
use crate::spec::{Pods, PrometheusScrape, ScrapeServer, Which};

/// Targets that are asked at a time. Each has a connection that is kept anyhow; this many pages are in memory at most.
const AT_ONCE: usize = 64;

/// How long the last known part of a pod that does not answer counts. Three times the default `maxSampleAge`, which most
/// often says sooner that this is too old; for whoever allows more, half a minute is a restart of a pod or a lost node
/// that the cluster has not noticed yet.
const REMEMBERED: Duration = Duration::from_secs(30);

/// One page, or many.
pub struct ScrapeBackend {
    caller: Caller,
    pods: Option<Pods>,
    endpoints: Endpoints,
    /// That somebody needs to know these pods, for as long as this lives: links come and go.
    _need: Option<Watching>,
    tracked: Kept<Option<Tracked>>,
    /// Distinguishes what was tracked under an id from what was before.
    editions: u64,
}

/// What somebody wants to know.
struct Tracked {
    wanted: Arc<PrometheusScrape>,
    edition: u64,
}

/// Everybody who is asked.
pub struct Link {
    identity: Arc<Identity>,
    watching: Option<Watching>,
    /// What the targets were made of.
    known: Option<FoundPods>,
    targets: Vec<Target>,
    buffers: Vec<Buffers>,
}

/// One set of reads, prepared.
pub struct Batch {
    reads: Vec<ReadId>,
    picks: Picks,
    /// Of each pick, the read's edition: what pods remember is filed under it.
    editions: Vec<u64>,
    /// Of each pick, where it stands among the reads.
    positions: Vec<usize>,
    failed: Vec<(usize, ReadFailure)>,
}

impl ScrapeBackend {
    /// Pods are found in `endpoints`.
    #[must_use]
    pub fn new(server: ScrapeServer, secrets: Secrets, endpoints: Endpoints) -> Self {
        let ScrapeServer { http, pods } = server;
        let caller = Caller::new(http, secrets);
        let need = pods.as_ref().and_then(|pods| endpoints.watch(pods));
        ScrapeBackend { caller, pods, endpoints, _need: need, tracked: Kept::default(), editions: 0 }
    }

    /// Connects to nothing beyond `fence`, whoever is a pod.
    #[must_use]
    pub fn behind(self, fence: Fence) -> Self {
        ScrapeBackend { caller: self.caller.behind(fence), ..self }
    }

    /// Who is asked, in messages.
    fn asked(&self) -> String {
        match &self.pods {
            None => self.caller.server().url.text(),
            Some(pods) => behind(pods),
        }
    }

    /// Makes the targets those that there are now, and keeps what is known of who stays.
    fn meet(&self, link: &mut Link) -> Result<(), ReadFailure> {
        let Some(watching) = &link.watching else { return Ok(()) };
        let found = watching.found();
        if link.known.as_ref() == Some(&found) {
            return none_ready(&found, self.pods.as_ref());
        }
        if let FoundPods::Ready(pods) = &found {
            let mut before: HashMap<Pod, Target> =
                link.targets.drain(..).filter_map(|target| Some((target.pod()?.clone(), target))).collect();
            for pod in pods.iter() {
                link.targets.push(match before.remove(pod) {
                    Some(target) => target,
                    None => Target::of_pod(pod, &self.caller.server().url, &link.identity)?,
                });
            }
        }
        // An API server that does not answer any more takes nobody away: the pods that are known are asked on.
        link.known = Some(found.clone());
        none_ready(&found, self.pods.as_ref())
    }
}

fn behind(pods: &Pods) -> String {
    let namespace = &pods.namespace;
    match &pods.which {
        Which::Service(name) => format!("the Service {namespace}/{name}"),
        Which::Selector(text) => format!("the selector {text} in {namespace}"),
    }
}

fn none_ready(found: &FoundPods, pods: Option<&Pods>) -> Result<(), ReadFailure> {
    let behind = || pods.map(behind).unwrap_or_default();
    match found {
        FoundPods::Ready(ready) if ready.is_empty() => Err(ReadFailure::new(
            FailureKind::NotServing,
            format!(
                "there is no ready pod behind {}, and so nobody to ask, which is not zero; what pods expose cannot wake \
                 a workload at zero",
                behind()
            ),
        )),
        FoundPods::Ready(_) => Ok(()),
        FoundPods::NotRead => Err(ReadFailure::new(
            FailureKind::NotServing,
            format!("the API server has not yet said which pods there are behind {}", behind()),
        )),
        FoundPods::Missing(why) => Err(ReadFailure::new(FailureKind::Configuration, Arc::clone(why))),
    }
}

impl Backend for ScrapeBackend {
    type Link = Link;
    type Batch = Batch;

    fn track(&mut self, read: &Read) -> ReadId {
        self.editions += 1;
        let edition = self.editions;
        let tracked =
            if let Read::Scrape(wanted) = read { Some(Tracked { wanted: Arc::clone(wanted), edition }) } else { None };
        self.tracked.add(tracked)
    }

    fn untrack(&mut self, id: ReadId) {
        self.tracked.take(id);
    }

    fn prepare(&mut self, reads: &[ReadId]) -> Batch {
        let (mut picks, mut editions, mut positions, mut failed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (position, read) in reads.iter().enumerate() {
            let Some(tracked) = self.tracked.get(*read).and_then(Option::as_ref) else {
                failed
                    .push((position, configuration("what is asked for is on no page: name another Connection".into())));
                continue;
            };
            match Pick::new(&tracked.wanted.metric, &tracked.wanted.matchers) {
                Ok(pick) => {
                    picks.push(pick);
                    editions.push(tracked.edition);
                    positions.push(position);
                }
                Err(problem) => failed.push((position, configuration(problem))),
            }
        }
        Batch { reads: reads.to_vec(), picks: Picks::new(picks), editions, positions, failed }
    }

    fn connect(&self) -> impl Future<Output = Result<Link, ReadFailure>> + Send + 'static {
        let (caller, pods, endpoints) = (self.caller.clone(), self.pods.clone(), self.endpoints.clone());
        async move {
            let identity = caller.identify().await?;
            let mut link = Link { identity, watching: None, known: None, targets: Vec::new(), buffers: Vec::new() };
            let Some(pods) = pods else {
                let url = &caller.server().url;
                let mut target = Target::of_url(Place::at(url, &url.address)?.called(url.text()), &link.identity);
                target.connect().await?;
                link.targets.push(target);
                return Ok(link);
            };
            let Some(mut watching) = endpoints.watch(&pods) else {
                return Err(configuration(format!(
                    "the pods behind {} are known to a cluster only; run with --target kubernetes, or name a `url`",
                    behind(&pods)
                )));
            };
            // A new Connection's pods and its first connect are on their way at the same time.
            let _ = tokio::time::timeout(caller.server().connect_timeout, watching.found_soon()).await;
            link.watching = Some(watching);
            Ok(link)
        }
    }

    fn made_of(link: &Link) -> Option<Material> {
        link.identity.material()
    }

    fn look(&self) -> impl Future<Output = Option<Material>> + Send + 'static {
        self.caller.clone().look()
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        self.caller.changes()
    }

    fn take_load(link: &mut Link) -> Load {
        link.identity.take_load()
    }

    async fn fetch(
        &mut self,
        link: &mut Link,
        batch: &mut Batch,
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        answers.begin(batch.reads.len());
        // That there is no pod, or that none answers, is no reason to begin anew: each has a connection of its own.
        if let Err(failure) = self.meet(link) {
            (0..batch.reads.len()).for_each(|position| answers.fail(position, failure.clone()));
            return Ok(());
        }
        let heard = ask(link, &batch.picks, at).await;
        if let Some(failure) = nobody_answered(&heard, &self.asked()) {
            if self.pods.is_none() {
                return Err(failure);
            }
            (0..batch.reads.len()).for_each(|position| answers.fail(position, failure.clone()));
            return Ok(());
        }
        for (position, failure) in &batch.failed {
            answers.fail(*position, failure.clone());
        }
        for (target, heard) in link.targets.iter_mut().zip(&heard) {
            if let Heard::Page(page) = heard {
                target.remember(&batch.editions, page, at.tick);
            }
        }
        for (pick, position) in batch.positions.iter().enumerate() {
            let Some(tracked) = batch.reads.get(*position).and_then(|read| self.tracked.get(*read)?.as_ref()) else {
                continue;
            };
            let mut tally = Tally::default();
            let mut missing = None;
            for (target, heard) in link.targets.iter_mut().zip(&heard) {
                match heard {
                    Heard::Page(page) => {
                        if let Some(part) = page.parts.get(pick) {
                            tally.add(part, target.name());
                        }
                    }
                    Heard::Nothing(failure) => match target.remembered(tracked.edition, at.tick, REMEMBERED) {
                        Some((part, age)) => tally.add_old(part, age),
                        None => missing = missing.or(Some((target.name(), failure))),
                    },
                }
            }
            let observed = match missing {
                Some((name, failure)) => Err(without(name, failure)),
                None => tally.observe(&tracked.wanted, &self.asked()),
            };
            match observed {
                Ok(observation) => answers.set_facts(*position, observation),
                Err(failure) => answers.fail(*position, failure),
            }
        }
        Ok(())
    }
}

/// Asks every target once. In the order of the targets.
async fn ask(link: &mut Link, picks: &Picks, at: Moment) -> Vec<Heard> {
    // As many as there are at a time, and so at most [`AT_ONCE`].
    let buffers = Mutex::new(std::mem::take(&mut link.buffers));
    let lent = || buffers.lock().unwrap_or_else(PoisonError::into_inner);
    let lent = &lent;
    let asking = link.targets.iter_mut().enumerate().map(|(position, target)| async move {
        let mut own = lent().pop().unwrap_or_default();
        let heard = target.ask(&mut own, picks, at).await;
        lent().push(own);
        (position, heard)
    });
    let asking: Vec<_> = asking.collect();
    let mut heard: Vec<(usize, Heard)> = stream::iter(asking).buffer_unordered(AT_ONCE).collect().await;
    heard.sort_unstable_by_key(|(position, _)| *position);
    link.buffers = buffers.into_inner().unwrap_or_else(PoisonError::into_inner);
    heard.into_iter().map(|(_, heard)| heard).collect()
}

/// Why nobody could be asked, if nobody could.
fn nobody_answered(heard: &[Heard], asked: &str) -> Option<ReadFailure> {
    let mut failures = Vec::with_capacity(heard.len());
    for heard in heard {
        match heard {
            Heard::Page(_) => return None,
            Heard::Nothing(failure) => failures.push(failure),
        }
    }
    match failures.as_slice() {
        [] => None,
        [one] => Some((*one).clone()),
        [first, ..] => Some(ReadFailure::new(
            first.kind,
            format!("none of the {} pods behind {asked} answers; the first: {}", failures.len(), first.message),
        )),
    }
}

fn without(pod: &str, failure: &ReadFailure) -> ReadFailure {
    ReadFailure::new(
        failure.kind,
        format!("the part of {pod} is missing, without which the rest says too little: {}", failure.message),
    )
}

fn configuration(sentence: String) -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, sentence)
}
