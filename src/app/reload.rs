//! What becomes of changed manifests: grants, then specs, then (in a rehearsal) workloads; and who is told.
//!
//! Grants are replaced as one, and specs by name, so that there is no moment at which something is refused that both
//! the old and the new manifests allow. Grants that are equal are not replaced: all that KEDA's calls mean would be
//! read anew, and their streams would end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc};

use super::cluster::Files;
use super::rehearsal::Workloads;
use crate::board::Board;
use crate::clock::Clock;
use crate::files::Set;
use crate::files::resolve::Resolution;
use crate::files::watch::News;
use crate::model::{AutoscalerId, Tick};
use crate::serve::manifests::{File, FileState, Listed, Manifests, Standing};
use crate::serve::ready::Readiness;
use crate::spec::grants::Grants;
use crate::spec::load::Loaded;
use crate::spec::problem::Problem;
use crate::spec::{AutoscalerSpec, Origin};
use crate::telemetry::names;

/// Problems of one change that are logged, an event each. The API has more of them, and the log must not drown in one
/// team's broken generator.
const LOGGED: usize = 20;

/// From handing specs to the engine to seeing them on the board. Ten thousand take a fraction of a second; whoever
/// takes longer than this has another problem, and only what is said here depends on it.
const IN_FORCE: Duration = Duration::from_secs(10);

/// How often the board is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(5);

/// Whoever hears of changed manifests.
pub(super) struct Reload {
    clock: Clock,
    board: Arc<Board>,
    specs: mpsc::Sender<Vec<Arc<AutoscalerSpec>>>,
    grants: Arc<ArcSwap<Grants>>,
    manifests: Arc<Manifests>,
    workloads: Option<Workloads>,
    cluster: Option<Files>,
    /// In force.
    autoscalers: Vec<Arc<AutoscalerSpec>>,
    /// Warnings that have been logged and still hold.
    warned: HashSet<String>,
}

/// What is in force at the start.
pub(super) struct Start {
    pub(super) clock: Clock,
    pub(super) board: Arc<Board>,
    pub(super) specs: mpsc::Sender<Vec<Arc<AutoscalerSpec>>>,
    pub(super) grants: Arc<ArcSwap<Grants>>,
    pub(super) autoscalers: Vec<Arc<AutoscalerSpec>>,
    /// They have been logged.
    pub(super) warnings: Vec<Problem>,
    pub(super) set: Set,
    pub(super) workloads: Option<Workloads>,
    /// Who merges grants with those of custom resources, and follows workloads, in a cluster.
    pub(super) cluster: Option<Files>,
}

impl Reload {
    pub(super) fn new(start: Start) -> Self {
        let Start { clock, board, specs, grants, autoscalers, warnings, set, workloads, cluster } = start;
        let now = clock.now();
        let manifests = Manifests::new(Standing {
            files: files(&set, &[]),
            autoscalers: autoscalers.len(),
            connections: grants.load().declared().len(),
            loaded: Some(now),
            read: Some(now),
            problems: Listed::default(),
            warnings: Listed::new(warnings.clone()),
        });
        for outcome in Outcome::ALL {
            metrics::counter!(names::MANIFEST_RELOADS, "outcome" => outcome.as_str()).increment(0);
        }
        metrics::gauge!(names::MANIFEST_RELOAD_FAILING).set(0.0);
        metrics::gauge!(names::MANIFEST_RELOAD_SUCCESS).set(clock.unix_seconds(now));
        let warned = warnings.iter().map(ToString::to_string).collect();
        Reload { clock, board, specs, grants, manifests: Arc::new(manifests), workloads, cluster, autoscalers, warned }
    }

    pub(super) fn manifests(&self) -> Arc<Manifests> {
        Arc::clone(&self.manifests)
    }

    /// Follows the news for as long as the process runs.
    ///
    /// # Errors
    /// A part of the rehearsal ended.
    pub(super) async fn run(mut self, mut news: mpsc::Receiver<News>, readiness: Arc<Readiness>) -> anyhow::Result<()> {
        // Whoever waits for the autoscalers of the start waits for these very ones.
        readiness.watch().wait_for(|checks| checks.specs).await.context("readiness is gone")?;
        let mut hears = true;
        loop {
            tokio::select! {
                heard = news.recv(), if hears => match heard {
                    Some(News::Changed { settled, resolution }) => self.changed(settled, *resolution).await,
                    Some(News::Hangs(problem)) => self.hangs(problem),
                    Some(News::HangsNoMore) => self.hangs_no_more(),
                    None => hears = false,
                },
                ended = Workloads::ended(self.workloads.as_mut()) => return ended,
            }
        }
    }

    async fn changed(&mut self, settled: Tick, resolution: Resolution) {
        let Resolution { set, loaded, problems, held, changed } = resolution;
        let outcome = match (problems.is_empty(), changed) {
            (true, _) => Outcome::Ok,
            (false, 0) => Outcome::Broken,
            (false, _) => Outcome::Partly,
        };
        let before = self.manifests.get();
        let mut standing = Standing {
            files: files(&set, &held),
            read: Some(settled),
            problems: Listed::new(problems.clone()),
            ..Standing::clone(&before)
        };
        if let Some(Loaded { autoscalers, grants, warnings }) = loaded {
            standing.autoscalers = autoscalers.len();
            standing.connections = grants.declared().len();
            standing.loaded = Some(settled);
            self.put_in_force(autoscalers, grants).await;
            self.warn(&warnings);
            standing.warnings = Listed::new(warnings);
        }
        self.say(outcome, settled, &problems, &standing, changed);
        self.manifests.set(standing);
        metrics::counter!(names::MANIFEST_RELOADS, "outcome" => outcome.as_str()).increment(1);
        metrics::gauge!(names::MANIFEST_RELOAD_FAILING).set(f64::from(u8::from(outcome != Outcome::Ok)));
        if outcome == Outcome::Ok {
            metrics::gauge!(names::MANIFEST_RELOAD_SUCCESS).set(self.clock.unix_seconds(self.clock.now()));
        }
    }

    async fn put_in_force(&mut self, mut autoscalers: Vec<Arc<AutoscalerSpec>>, grants: Grants) {
        keep_what_is_equal(&self.autoscalers, &mut autoscalers);
        if let Some(files) = &self.cluster {
            files.grant(&autoscalers, &grants);
        } else if **self.grants.load() != grants {
            self.grants.store(Arc::new(grants));
        }
        if self.specs.send(autoscalers.clone()).await.is_err() {
            // The engine is gone: told to, or its end is what ends the process.
            return std::future::pending().await;
        }
        let before = std::mem::replace(&mut self.autoscalers, autoscalers);
        if tokio::time::timeout(IN_FORCE, in_force(&self.board, &before, &self.autoscalers)).await.is_err() {
            tracing::warn!("the engine is slow to take over the changed manifests");
        }
        // After the engine knows them: it does not listen to reports about strangers.
        if let Some(workloads) = &mut self.workloads {
            workloads.follow(&self.autoscalers);
        }
        if let Some(files) = &self.cluster {
            files.follow(&self.autoscalers);
        }
    }

    fn warn(&mut self, warnings: &[Problem]) {
        let texts: HashSet<String> = warnings.iter().map(ToString::to_string).collect();
        let new: Vec<&String> = texts.difference(&self.warned).collect();
        for warning in new.iter().take(LOGGED) {
            tracing::warn!("{warning}");
        }
        if let Some(more) = new.len().checked_sub(LOGGED).filter(|more| *more > 0) {
            tracing::warn!(more, "further warnings; see /api/v1/manifests");
        }
        self.warned = texts;
    }

    fn say(&self, outcome: Outcome, settled: Tick, problems: &[Problem], standing: &Standing, changed: usize) {
        let count = problems.len();
        let Standing { files, autoscalers, connections, .. } = standing;
        let (files, took) = (files.len(), self.clock.now().since(settled));
        match outcome {
            Outcome::Ok => {
                tracing::info!(files, changed, autoscalers, connections, ?took, "manifests reloaded");
            }
            Outcome::Partly => {
                let message = "manifests reloaded in part: of files with problems, the last good ones stay";
                tracing::warn!(files, changed, autoscalers, connections, problems = count, ?took, "{message}");
            }
            Outcome::Broken => {
                tracing::error!(files, problems = count, ?took, "manifests cannot be used, the last good ones stay");
            }
        }
        for problem in problems.iter().take(LOGGED) {
            tracing::error!(%problem, "manifest problem");
        }
        if count > LOGGED {
            tracing::error!(more = count - LOGGED, "further manifest problems; see /api/v1/manifests");
        }
    }

    /// Nobody knows what the files say now. That is a problem of its own, beside those that are known.
    fn hangs(&self, problem: Problem) {
        tracing::error!(%problem, "manifests cannot be looked at");
        metrics::gauge!(names::MANIFEST_RELOAD_FAILING).set(1.0);
        let mut standing = Standing::clone(&self.manifests.get());
        standing.problems.count += 1;
        standing.problems.first.insert(0, problem);
        self.manifests.set(standing);
    }

    fn hangs_no_more(&self) {
        tracing::info!("manifests can be looked at again");
        let mut standing = Standing::clone(&self.manifests.get());
        if !standing.problems.first.is_empty() {
            standing.problems.first.remove(0);
            standing.problems.count -= 1;
        }
        metrics::gauge!(names::MANIFEST_RELOAD_FAILING).set(f64::from(u8::from(standing.problems.count > 0)));
        self.manifests.set(standing);
    }
}

/// What came of a change, as the metric has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Ok,
    /// Some of it is in force.
    Partly,
    Broken,
}

impl Outcome {
    const ALL: [Outcome; 3] = [Outcome::Ok, Outcome::Partly, Outcome::Broken];

    const fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Partly => "partly",
            Outcome::Broken => "broken",
        }
    }
}

/// The runtime keeps its own where nothing has changed: so that there is one of each, and not two.
fn keep_what_is_equal(before: &[Arc<AutoscalerSpec>], after: &mut [Arc<AutoscalerSpec>]) {
    let known: HashMap<&AutoscalerId, &Arc<AutoscalerSpec>> = before.iter().map(|spec| (&spec.id, spec)).collect();
    for spec in after {
        if let Some(known) = known.get(&spec.id).filter(|known| ***known == *spec) {
            *spec = Arc::clone(known);
        }
    }
}

/// Waits until the board shows `after` instead of `before`.
async fn in_force(board: &Board, before: &[Arc<AutoscalerSpec>], after: &[Arc<AutoscalerSpec>]) {
    for spec in after {
        while board.get(&spec.id).is_none_or(|cell| !cell.peek(|published| same(&published.spec, spec))) {
            tokio::time::sleep(LOOK).await;
        }
    }
    let stays: HashSet<&AutoscalerId> = after.iter().map(|spec| &spec.id).collect();
    for spec in before.iter().filter(|spec| !stays.contains(&spec.id)) {
        let is_there = || {
            let cell = board.get(&spec.id);
            cell.is_some_and(|cell| cell.peek(|published| published.spec.origin == Origin::Manifest))
        };
        while is_there() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// As the runtime compares them.
fn same(a: &Arc<AutoscalerSpec>, b: &Arc<AutoscalerSpec>) -> bool {
    Arc::ptr_eq(a, b) || a == b
}

/// Files in force and files that should be, each once.
fn files(set: &Set, held: &[crate::files::resolve::Held]) -> Vec<File> {
    let mut state: BTreeMap<&str, FileState> =
        set.values().map(|text| (text.file.as_str(), FileState::InForce)).collect();
    for held in held {
        let kept = if held.last_good { FileState::LastGood } else { FileState::LeftOut };
        state.insert(held.file.as_str(), kept);
    }
    state.into_iter().map(|(name, state)| File { name: name.to_owned(), state }).collect()
}

/// SIGHUP asks for a look at the manifests, as it does with most servers.
pub(super) async fn on_hangup(look: Arc<Notify>) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangups = signal(SignalKind::hangup())?;
    while hangups.recv().await.is_some() {
        look.notify_one();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::load::{SourceText, Terms, load};

    fn autoscalers(greatest: u32) -> Vec<Arc<AutoscalerSpec>> {
        let text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: main, namespace: a }}\n\
             spec: {{ redis: {{ address: \"redis:6379\" }} }}\n---\n{}---\n{}",
            autoscaler("same", 10),
            autoscaler("other", greatest),
        );
        load(&[SourceText { file: "a.yaml".into(), text }], &Terms::default()).unwrap().autoscalers
    }

    fn autoscaler(name: &str, greatest: u32) -> String {
        format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: {name}, namespace: a }}\n\
             spec:\n  scaleTargetRef: {{ name: {name} }}\n  maxReplicas: {greatest}\n  triggers:\n    - connection: main\n      \
             redisList: {{ keys: [{name}] }}\n      policy: {{ backlogPerReplica: {{ target: 5 }} }}\n"
        )
    }

    #[test]
    fn what_has_not_changed_stays_where_it_is() {
        let (before, mut after) = (autoscalers(10), autoscalers(20));
        keep_what_is_equal(&before, &mut after);
        let kept: Vec<bool> = before.iter().zip(&after).map(|(before, after)| Arc::ptr_eq(before, after)).collect();
        assert_eq!(kept, [true, false]);
        assert_eq!(after, autoscalers(20));
    }
}
