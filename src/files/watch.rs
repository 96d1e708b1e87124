//! The task that watches manifests while the process runs: look, wait for calm, decide what is put in force, say so.
//!
//! It looks, and does not listen: a kernel's notifications are lost over networks and overlays, and say nothing of a
//! link that was swapped two folders up. All of it happens on threads that may block, because a mount may hang; then
//! this task hangs with it, says so, and nobody else does.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};

use super::Set;
use super::calm::Calm;
use super::resolve::{Load, Resolution, resolve};
use super::scan::{Look, Scanner, Seen};
use crate::clock::Clock;
use crate::model::Tick;
use crate::spec::problem::Problem;

/// From one look to the next. A person who saves a file expects to see something within a second; a change must be seen
/// twice. A look at a thousand files takes some milliseconds.
const PERIOD: Duration = Duration::from_millis(250);

/// Looking may take one part in this many of the time: tens of thousands of files, or a slow mount, are looked at less
/// often, and not on a core of their own.
const SHARE: u32 = 20;

/// A look that takes longer is worth a word. Slow disks take a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to watch, and what was read of it at the start.
#[derive(Clone)]
pub struct Watched {
    /// As given with `-f`.
    pub paths: Vec<PathBuf>,
    pub set: Set,
    pub load: Arc<Load>,
}

/// What the watcher has to say.
#[derive(Debug)]
pub enum News {
    /// A change had settled by then, and was read.
    Changed { settled: Tick, resolution: Box<Resolution> },
    /// A look does not come to its end.
    Hangs(Problem),
    /// It did, after all.
    HangsNoMore,
}

/// The task, to be run by [`Watcher::run`].
pub struct Watcher {
    clock: Clock,
    /// Told by whoever wants a look at once.
    now: Arc<Notify>,
    news: mpsc::Sender<News>,
    scanner: Scanner,
    calm: Calm<Look>,
    good: Set,
    load: Arc<Load>,
}

impl Watcher {
    #[must_use]
    pub fn new(clock: Clock, watched: Watched, now: Arc<Notify>, news: mpsc::Sender<News>) -> Self {
        let Watched { paths, set, load } = watched;
        Watcher {
            clock,
            now,
            news,
            calm: Calm::new(as_seen(paths.len(), &set)),
            scanner: Scanner::new(paths, &set),
            good: set,
            load,
        }
    }

    /// Runs until nobody hears the news any more.
    pub async fn run(mut self) {
        let mut pause = PERIOD;
        while !self.news.is_closed() {
            let told = tokio::select! {
                () = self.now.notified() => true,
                () = tokio::time::sleep(pause), if self.scanner.watches() => false,
                () = self.news.closed() => return,
            };
            let began = self.clock.now();
            let Some(look) = self.look(began, told).await else { return };
            let ended = self.clock.now();
            pause = PERIOD.max(ended.since(began) * (SHARE - 1));
            match self.calm.looked(ended, look, told) {
                Some(look) => {
                    let resolution = Box::new(self.resolve(look).await);
                    if self.news.send(News::Changed { settled: ended, resolution }).await.is_err() {
                        return;
                    }
                }
                None if told => tracing::info!("told to look at the manifests: nothing has changed"),
                None => {}
            }
        }
    }

    /// `None`: nobody hears us any more.
    async fn look(&mut self, now: Tick, afresh: bool) -> Option<Look> {
        let mut scanner = std::mem::take(&mut self.scanner);
        let mut looking = tokio::task::spawn_blocking(move || {
            let look = scanner.look(now, afresh);
            (scanner, look)
        });
        let looked = match tokio::time::timeout(PATIENCE, &mut looking).await {
            Ok(looked) => looked,
            Err(_) => {
                let message = "looking at the manifests takes long";
                let problem = Problem::new("", message, "is a mount hanging? the last good ones stay in force");
                self.news.send(News::Hangs(problem)).await.ok()?;
                let looked = looking.await;
                self.news.send(News::HangsNoMore).await.ok()?;
                looked
            }
        };
        match looked {
            Ok((scanner, look)) => {
                self.scanner = scanner;
                Some(look)
            }
            Err(reason) => {
                tracing::error!(%reason, "looking at the manifests broke down");
                None
            }
        }
    }

    async fn resolve(&mut self, look: Look) -> Resolution {
        let (good, load) = (self.good.clone(), Arc::clone(&self.load));
        match tokio::task::spawn_blocking(move || resolve(&good, &look, &*load)).await {
            Ok(resolution) => {
                self.good.clone_from(&resolution.set);
                resolution
            }
            // A defect of ours that some text has found. It must not take the process with it.
            Err(reason) => {
                let problem =
                    Problem::new("", format!("reading the manifests broke down: {reason}"), "please report this");
                Resolution::refused(&self.good, problem)
            }
        }
    }
}

/// What a look would have seen at the start.
fn as_seen(paths: usize, set: &Set) -> Look {
    let mut given: Vec<Vec<Seen>> = vec![Vec::new(); paths];
    for (key, text) in set {
        if let Some(files) = given.get_mut(key.given) {
            files.push(Seen { file: key.file.clone(), text: Ok(Arc::clone(text)) });
        }
    }
    Look { given: given.into_iter().map(Ok).collect() }
}
