//! How the process gets ready, and in which order it ends: doors, the last checkpoint, decisions, the last patch, the
//! Lease.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use super::cluster::Listed;
use super::{ACTUATOR, CHECKPOINTS, ELECTION, ENGINE, GRPC_SERVER, HTTP_SERVER, Tasks};
use crate::board::{Activity, Board};
use crate::model::AutoscalerId;
use crate::record::Writing;
use crate::serve::ready::Readiness;
use crate::spec::AutoscalerSpec;

/// From the end of deciding to the end of the process: one timeout of the actuator, and a little; the same for giving
/// the Lease back.
const LAST_REQUESTS: Duration = Duration::from_secs(6);

/// Ready once every autoscaler of the manifests, and of the first list of custom resources, is on the board and each of
/// its triggers has been asked once, successfully or not: a dead Redis must not keep the other teams' answers from KEDA.
pub(super) async fn announce_readiness(
    board: Arc<Board>,
    autoscalers: Vec<Arc<AutoscalerSpec>>,
    listed: Option<Listed>,
    readiness: Arc<Readiness>,
) {
    const LOOK: Duration = Duration::from_millis(5);
    let mut ids: Vec<AutoscalerId> = autoscalers.iter().map(|spec| spec.id.clone()).collect();
    for id in &ids {
        while board.get(id).is_none() {
            tokio::time::sleep(LOOK).await;
        }
    }
    if let Some(mut listed) = listed {
        let of_the_list = listed.complete().await;
        for id in &of_the_list {
            // Who was deleted meanwhile may have been on the board between two looks, and never comes again.
            while board.get(id).is_none() && listed.has(id) {
                tokio::time::sleep(LOOK).await;
            }
        }
        ids.extend(of_the_list);
    }
    readiness.specs_loaded();
    for id in &ids {
        if let Some(cell) = board.get(id) {
            // Gone from the board again: nothing to wait for.
            drop(cell.activity().wait_for(|activity| *activity != Activity::Pending).await);
        }
    }
    readiness.first_round_done();
    tracing::info!(autoscalers = ids.len(), "ready: everything was asked once");
}

/// Waits until all of `these` have ended, `ended` counting those that others waited for.
async fn wait_for(
    these: HashSet<&'static str>,
    parts: &mut Tasks,
    ended: &mut HashSet<&'static str>,
) -> anyhow::Result<()> {
    while !these.is_subset(ended) {
        let Some(joined) = parts.join_next().await else { break };
        let (name, outcome) = joined.context("a part of the process broke down while stopping")?;
        outcome.with_context(|| format!("the {name} failed while stopping"))?;
        ended.insert(name);
    }
    Ok(())
}

/// Waits for the last bytes of a recording, as long as the disk takes them.
pub(super) async fn finish(writing: Writing) {
    let finished = tokio::task::spawn_blocking(|| writing.finish());
    if tokio::time::timeout(LAST_REQUESTS, finished).await.is_err() {
        tracing::warn!("the disk does not take the end of the recording; ending without");
    }
}

/// Lets the doors close in their own time, then ends the rest, the Lease last.
pub(super) async fn drain(
    parts: &mut Tasks,
    running: HashSet<&'static str>,
    stop_deciding: &CancellationToken,
    resign: &CancellationToken,
) -> anyhow::Result<()> {
    let mut ended = HashSet::new();
    let among = |names: &[&'static str]| names.iter().copied().filter(|name| running.contains(name)).collect();
    // The last checkpoint is written while there is still somebody to remember.
    wait_for(among(&[GRPC_SERVER, HTTP_SERVER, CHECKPOINTS]), parts, &mut ended).await?;
    stop_deciding.cancel();
    // The engine ends at once, and with it the actuator's requests: what was asked last is still carried out. The
    // rehearsal's other parts never end by themselves.
    match tokio::time::timeout(LAST_REQUESTS, wait_for(among(&[ENGINE, ACTUATOR]), parts, &mut ended)).await {
        Ok(outcome) => outcome?,
        Err(_) => tracing::warn!("scale requests are still under way; ending without their answers"),
    }
    resign.cancel();
    if let Ok(outcome) = tokio::time::timeout(LAST_REQUESTS, wait_for(among(&[ELECTION]), parts, &mut ended)).await {
        outcome?;
    }
    parts.shutdown().await;
    tracing::info!("stopped");
    Ok(())
}
