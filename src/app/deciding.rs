//! The engine's thread, and the memory that it begins with and leaves behind.

use std::hash::{BuildHasher as _, RandomState};
use std::thread;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::cluster::Controller;
use super::{CHECKPOINTS, RecordTo, Tasks};
use crate::checkpoint::{self, Ask, Checkpointer, Memories, Store};
use crate::clock::Clock;
use crate::model::Tick;
use crate::poller::Poller;
use crate::record::{Recorder, Writing};
use crate::runtime::{Inputs, Runtime};
use crate::spec::Change;

/// The engine with what it needs to run on its own thread.
pub(super) struct Deciding {
    pub(super) runtime: Runtime,
    pub(super) inputs: Inputs,
    pub(super) stop: CancellationToken,
}

impl Deciding {
    pub(super) fn spawn(
        self,
        poller: Poller,
        changes: mpsc::UnboundedReceiver<Change>,
    ) -> anyhow::Result<oneshot::Receiver<anyhow::Result<()>>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (ended, wait) = oneshot::channel();
        thread::Builder::new().name("engine".into()).spawn(move || {
            let outcome = runtime.block_on(async move {
                let Deciding { runtime, inputs, stop } = self;
                let polling = tokio::spawn(poller.run(changes));
                // A task like the poller's: on its way to whoever runs in the thread's root a sample would wait until
                // the sockets have been looked at once more.
                let deciding = tokio::spawn(runtime.run(inputs, stop.clone()));
                tokio::select! {
                    ended = deciding => ended.context("the engine ended")?,
                    // Only a defect ends it first: it runs as long as anybody takes its samples.
                    ended = polling => if !stop.is_cancelled() {
                        bail!("the poller ended: {ended:?}");
                    },
                }
                Ok(())
            });
            // Nobody waits any more: the process is ending.
            drop(ended.send(outcome));
        })?;
        Ok(wait)
    }
}

/// Reads the checkpoint of before and begins to write new ones, until the doors close.
pub(super) async fn remember<S: Store + 'static>(
    mut store: S,
    clock: Clock,
    asks: mpsc::Sender<Ask>,
    may_write: impl Fn() -> bool + Send + 'static,
    stop: &CancellationToken,
    parts: &mut Tasks,
) -> Memories {
    let before = checkpoint::load(&mut store, clock).await;
    let checkpointer = Checkpointer::new(clock, store, asks, before.clone());
    let stop = stop.clone();
    parts.spawn(async move {
        checkpointer.run(may_write, stop).await;
        (CHECKPOINTS, Ok(()))
    });
    before
}

/// Begins to write down what the engine is given.
pub(super) fn record(to: &RecordTo, clock: Clock) -> anyhow::Result<(Recorder, Writing)> {
    let epoch = clock.wall(Tick::ZERO).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    // Seeded anew in every process: no two recordings have the same number, but by chance.
    let recording = RandomState::new().hash_one(());
    Recorder::start(&to.path, to.most, recording, epoch, clock.now()).context("--record cannot be used")
}

/// Whether this process may write what all processes share.
pub(super) fn may_write(clock: Clock, cluster: Option<&Controller>) -> impl Fn() -> bool + Send + 'static {
    let leadership = cluster.map(Controller::leadership);
    move || leadership.as_ref().is_none_or(|leadership| leadership.term(clock.now()).is_some())
}
