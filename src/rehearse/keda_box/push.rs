//! The `external-push` half of a trigger: one StreamIsActive, opened again and again, with KEDA's way of waiting.

use std::future::Future;
use std::time::Duration;

use tonic::Status;

use crate::rehearse::keda_box::scaler::Scaler;

/// How long to wait before a stream is opened again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Backoff {
    pub first: Duration,
    pub longest: Duration,
}

/// KEDA's. The wait doubles with every reopening, however long the stream before it lived, and only a stream that the
/// server ended with OK sets it back: a scaler whose pods are killed often enough is reopened after a minute each time.
impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(60) }
    }
}

/// Keeps one stream open for as long as the future lives; `activate` is awaited for each `true`, which keeps the next
/// message waiting. `false` means nothing to KEDA.
pub(super) async fn follow<F, A>(scaler: &Scaler, backoff: Backoff, mut activate: A)
where
    A: FnMut() -> F,
    F: Future<Output = ()>,
{
    let mut wait = backoff.first;
    loop {
        match listen(scaler, &mut activate).await {
            Ok(()) => {
                tracing::debug!(object = %scaler.object(), "activity stream ended cleanly");
                wait = backoff.first;
            }
            Err(status) => tracing::warn!(object = %scaler.object(), %status, ?wait, "activity stream broke"),
        }
        let pause = tokio::time::sleep(wait);
        wait = wait.saturating_mul(2).min(backoff.longest);
        pause.await;
    }
}

async fn listen<F, A>(scaler: &Scaler, activate: &mut A) -> Result<(), Status>
where
    A: FnMut() -> F,
    F: Future<Output = ()>,
{
    let mut stream = scaler.client.clone().stream_is_active(scaler.reference()).await?.into_inner();
    while let Some(message) = stream.message().await? {
        if message.result {
            activate().await;
        }
    }
    Ok(())
}
