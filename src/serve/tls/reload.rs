//! Certificates that change while the process runs.
//!
//! A task looks at the contents of a door's files twice a second: contents, because a Secret's mount swaps links and a
//! time of change says nothing there. What has changed counts when two looks in a row see the same, so that a file
//! caught half-written, or a new certificate beside the old key, is not taken for the new state. Then it must make
//! sense as a whole (the key is that of the certificate, the CA is one); what does not is said once, counted, shown in a
//! gauge, and the last good state serves on. New handshakes use the new state; open connections never notice.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::{Counter, Gauge, counter, gauge};
use rustls::ServerConfig;
use tokio::time::sleep;

use super::{Contents, Files, TlsError, build, read};
use crate::serve::listen::{Door, Secured};
use crate::telemetry::names;

/// Between looks. A certificate's rotation has hours; a test of ours, and somebody who waits for it, a second.
const LOOK: Duration = Duration::from_millis(500);
/// Between the two looks that must agree: writers need microseconds for what we read.
const SETTLE: Duration = Duration::from_millis(100);

/// A door's TLS, loaded, and what it takes to keep it current.
pub struct Tls {
    door: Door,
    files: Files,
    config: Arc<ArcSwap<ServerConfig>>,
    contents: Arc<Contents>,
    meter: Meter,
}

struct Meter {
    ok: Counter,
    error: Counter,
    failing: Gauge,
}

/// What one look has seen: contents, or why there are none.
type Seen = Result<Arc<Contents>, String>;

impl Tls {
    /// Reads the files; at the start there is no last good state to fall back to.
    ///
    /// # Errors
    /// A file cannot be used, or they do not belong together.
    pub fn load(door: Door, files: Files) -> Result<Self, TlsError> {
        let contents = read(&files)?;
        let config = build(door, &files, &contents)?;
        let count = |outcome: &'static str| counter!(names::TLS_RELOADS, "door" => door.as_str(), "outcome" => outcome);
        let failing = gauge!(names::TLS_RELOAD_FAILING, "door" => door.as_str());
        failing.set(0.0);
        Ok(Tls {
            door,
            files,
            config: Arc::new(ArcSwap::from_pointee(config)),
            contents: Arc::new(contents),
            meter: Meter { ok: count("ok"), error: count("error"), failing },
        })
    }

    /// For the listener.
    #[must_use]
    pub fn secured(&self) -> Secured {
        Secured { config: Arc::clone(&self.config), client_certificates: self.files.client_ca.is_some() }
    }

    /// Follows the files. Never returns; drop it to stop.
    pub async fn keep_current(self) {
        // The state that serves or was refused last: neither is looked into again.
        let mut known: Seen = Ok(Arc::clone(&self.contents));
        let mut serving = Arc::clone(&self.contents);
        loop {
            sleep(LOOK).await;
            let Some(seen) = self.settled(&known).await else { continue };
            match self.apply(&seen).await {
                Ok(None) => {}
                Ok(Some(config)) if seen.as_ref() != Ok(&serving) => {
                    self.config.store(config);
                    self.meter.ok.increment(1);
                    tracing::info!(door = self.door.as_str(), "TLS files have changed: new connections use them");
                    if let Ok(contents) = &seen {
                        serving = Arc::clone(contents);
                    }
                    self.meter.failing.set(0.0);
                }
                Ok(Some(_)) => {
                    tracing::info!(door = self.door.as_str(), "TLS files are as they were");
                    self.meter.failing.set(0.0);
                }
                Err(error) => {
                    self.meter.error.increment(1);
                    self.meter.failing.set(1.0);
                    tracing::warn!(
                        door = self.door.as_str(),
                        error,
                        "changed TLS files cannot be used: the last good ones serve on"
                    );
                }
            }
            known = seen;
        }
    }

    /// What the files say, if that is something else than `known` and two looks agree.
    async fn settled(&self, known: &Seen) -> Option<Seen> {
        let first = self.look().await?;
        if first == *known {
            return None;
        }
        sleep(SETTLE).await;
        self.look().await.filter(|second| *second == first)
    }

    async fn look(&self) -> Option<Seen> {
        let files = self.files.clone();
        // It fails only when the process ends.
        tokio::task::spawn_blocking(move || read(&files).map(Arc::new).map_err(|error| explain(&error))).await.ok()
    }

    async fn apply(&self, seen: &Seen) -> Result<Option<Arc<ServerConfig>>, String> {
        let contents = Arc::clone(seen.as_ref().map_err(Clone::clone)?);
        let (door, files) = (self.door, self.files.clone());
        // Checking an RSA key takes milliseconds, which others would wait for.
        let built =
            tokio::task::spawn_blocking(move || build(door, &files, &contents).map_err(|error| explain(&error)));
        built.await.map_or(Ok(None), |config| config.map(|config| Some(Arc::new(config))))
    }
}

/// With its causes.
pub(super) fn explain(error: &TlsError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
