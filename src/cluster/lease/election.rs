//! One process in the race for the Lease: reads it, takes it, renews it, loses it, gives it back.

mod ending;
mod news;

use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use futures_util::stream::BoxStream;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use metrics::{counter, gauge, histogram};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::record::{Claim, Seen, as_transitions, duration, micro_time, transitions, whole_seconds};
use super::store::{News, Store, StoreError};
use super::{Leadership, LeaseError, Settings, Term};
use crate::clock::Clock;
use crate::model::Tick;
use crate::telemetry::names;

/// Waits are longer than asked for by up to this part, so that processes that began together do not ask together.
/// client-go's factor.
const JITTER: f64 = 0.2;

/// Who watches needs to look for himself only if nothing was heard for so many retry periods: the holder renews once in
/// each, so a watch that is silent for two is broken, or the holder is gone.
const SILENT_PERIODS: f64 = 2.0;

/// Conflicts in a row after which even a conflict is answered with a pause. One or two are a race; more is somebody who
/// writes into the Lease all the time.
const CONFLICTS_AT_ONCE: u32 = 3;

pub(super) struct Election<S> {
    store: S,
    clock: Clock,
    settings: Settings,
    identity: String,
    terms: watch::Sender<Option<Term>>,

    /// Nothing was ever heard of a Lease: `None`.
    seen: Option<Seen>,
    /// `seen` may not be what stands: read before anything else.
    in_doubt: bool,
    /// A write that may or may not have been carried out.
    unanswered: Option<Claim>,
    held: Option<Held>,
    /// The greatest number of a term that was ever heard of.
    highest: u64,

    /// When anything was last heard of the Lease.
    heard: Tick,
    /// A pause after a failure.
    not_before: Tick,
    conflicts: u32,
    /// What was last complained about. Complaints are for edges.
    trouble: Option<Trouble>,

    /// Only while another holds the Lease.
    news: Option<BoxStream<'static, News>>,
    no_watch_before: Tick,

    random: RandomState,
    draws: u64,
}

/// The term of ours.
#[derive(Clone, Copy)]
struct Held {
    term: Term,
    /// Before its last renewal was sent.
    sent: Tick,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    Missing,
    Forbidden,
    Refused,
    Unreachable,
}

impl<S: Store> Election<S> {
    pub(super) fn new(store: S, clock: Clock, settings: Settings) -> (Self, Leadership) {
        let (terms, leadership) = watch::channel(None);
        let random = RandomState::new();
        // A container that is started again has the name of the one before, and must not be taken for it.
        let identity = format!("{}_{:016x}", settings.identity, random.hash_one(std::process::id()));
        let election = Election {
            store,
            clock,
            settings,
            identity,
            terms,
            seen: None,
            in_doubt: true,
            unanswered: None,
            held: None,
            highest: 0,
            heard: Tick::ZERO,
            not_before: Tick::ZERO,
            conflicts: 0,
            trouble: None,
            news: None,
            no_watch_before: Tick::ZERO,
            random,
            draws: 0,
        };
        (election, Leadership::new(leadership))
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<(), LeaseError> {
        self.settings.check()?;
        gauge!(names::LEADER).set(0.0);
        let mut wait = Duration::ZERO;
        loop {
            let due = self.due(wait);
            if due <= self.clock.now() {
                tokio::select! {
                    () = shutdown.cancelled() => break,
                    () = self.step() => wait = self.jittered(),
                }
                continue;
            }
            let until = tokio::time::sleep_until(self.clock.instant(due));
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = until => {}
                news = self.next_news() => self.learn(news),
            }
        }
        self.release().await;
        Ok(())
    }

    /// When to do something, if nothing is heard until then. `period` is the retry period with its jitter.
    pub(super) fn due(&self, period: Duration) -> Tick {
        if let Some(held) = &self.held {
            let next = if self.in_doubt { Tick::ZERO } else { held.sent.after(period) };
            return next.max(self.not_before).min(held.term.until);
        }
        if self.in_doubt {
            return self.not_before;
        }
        let silence = if self.news.is_some() { period.mul_f64(SILENT_PERIODS) } else { period };
        self.heard.after(silence).min(self.free_at()).max(self.not_before)
    }

    /// From when the Lease may be taken, as far as is known.
    fn free_at(&self) -> Tick {
        match &self.seen {
            Some(seen) if seen.holder().is_some_and(|holder| holder != self.identity) => {
                seen.since.after(duration(&seen.spec(), self.settings.lease_duration))
            }
            // Nobody's; or our own from a term that is over.
            _ => Tick::ZERO,
        }
    }

    /// One thing done: a look, a taking, a renewal.
    pub(super) async fn step(&mut self) {
        let began = self.clock.now();
        if let Some(held) = &self.held
            && began >= held.term.until
        {
            self.step_down("it could not be renewed in time");
        }
        match self.attempt().await {
            Ok(()) => {
                self.conflicts = 0;
                if self.trouble.take().is_some() {
                    tracing::info!(lease = self.lease(), "the Lease can be read and written again");
                }
            }
            Err(error) => self.failed(began, &error),
        }
    }

    async fn attempt(&mut self) -> Result<(), StoreError> {
        let waits = self.held.is_none() && self.clock.now() < self.free_at();
        if self.in_doubt || waits {
            let lease = bounded(self.limit(), self.store.read()).await?;
            // What a watch should have told, it did not: it is not to be relied upon.
            let version = |lease: &Lease| lease.metadata.resource_version.clone();
            let known = self.seen.as_ref().filter(|seen| !seen.deleted).and_then(|seen| version(&seen.lease));
            if lease.as_ref().and_then(version) != known {
                self.news = None;
            }
            self.observe(lease);
        }
        let now = self.clock.now();
        match self.held {
            Some(held) if now < held.term.until => self.claim(held.term.number).await,
            Some(_) => Ok(()),
            None if now >= self.free_at() => self.claim(self.highest + 1).await,
            None => Ok(()),
        }
    }

    /// Writes that we are the holder, and are so from then on if it is answered.
    async fn claim(&mut self, number: u64) -> Result<(), StoreError> {
        let before = self.seen.as_ref().filter(|seen| !seen.deleted);
        let (exists, mut lease) = match before {
            Some(seen) => (true, seen.lease.clone()),
            None => (false, self.fresh_lease()),
        };
        let old = lease.spec.take().unwrap_or_default();
        let sent = self.clock.now();
        let now = micro_time(&self.clock, sent);
        let renewal = self.held.is_some_and(|held| held.term.number == number);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: Some(whole_seconds(self.settings.lease_duration)),
            lease_transitions: Some(as_transitions(number)),
            acquire_time: if renewal { old.acquire_time.clone() } else { now.clone() },
            renew_time: now,
            ..old
        };
        lease.spec = Some(spec.clone());
        let claim = Claim { number, sent, spec };
        // Until there is an answer; also if this is dropped before there is one.
        self.in_doubt = true;
        let outcome = if exists {
            bounded(self.limit(), self.store.replace(&lease)).await.map_err(|error| match error {
                // Gone since it was read. (Where one is created, it is the namespace that is missing.)
                StoreError::Missing(message) => StoreError::Conflict(message),
                other => other,
            })
        } else {
            bounded(self.limit(), self.store.create(&lease)).await
        };
        match outcome {
            Ok(lease) => {
                let now = self.clock.now();
                self.in_doubt = false;
                self.heard = now;
                self.highest = self.highest.max(number);
                self.seen = Some(Seen { lease, since: now, deleted: false });
                self.hold(&claim);
                Ok(())
            }
            Err(error) => {
                if matches!(error, StoreError::Unknown(_)) {
                    self.unanswered = Some(claim);
                }
                Err(error)
            }
        }
    }

    /// What a call may take. None outlasts the term in which it is made: whoever waits for an answer steps down no later
    /// for that.
    fn limit(&self) -> Duration {
        let left = self.held.map(|held| held.term.until.since(self.clock.now()));
        left.map_or(self.settings.call(), |left| left.min(self.settings.call()))
    }

    /// Takes in what stands.
    fn observe(&mut self, lease: Option<Lease>) {
        let now = self.clock.now();
        self.heard = now;
        self.in_doubt = false;
        let unanswered = self.unanswered.take();
        let Some(lease) = lease else {
            if let Some(seen) = &mut self.seen {
                seen.deleted = true;
            }
            if self.held.is_some() {
                self.step_down("somebody deleted the Lease");
            }
            return;
        };
        let spec = lease.spec.clone().unwrap_or_default();
        self.highest = self.highest.max(transitions(&spec));
        let before = self.seen.take();
        // The whole spec, and not the resourceVersion: a label put on the Lease is no sign of its holder's life.
        let since = match &before {
            Some(before) if !before.deleted && before.spec() == spec => before.since,
            _ => now,
        };
        let seen = Seen { lease, since, deleted: false };
        let theirs = seen.holder().filter(|holder| *holder != self.identity).map(str::to_owned);
        let changed = theirs.as_deref() != before.as_ref().and_then(Seen::holder);
        self.seen = Some(seen);
        if let Some(claim) = unanswered.filter(|claim| claim.made(&spec)) {
            self.hold(&claim);
            return;
        }
        let ours = |held: &Held| {
            spec.holder_identity.as_deref() == Some(&self.identity)
                && spec.lease_transitions == Some(as_transitions(held.term.number))
        };
        if self.held.is_some_and(|held| !ours(&held)) {
            self.step_down("somebody else has taken the Lease");
        }
        if let Some(holder) = theirs.filter(|_| changed) {
            tracing::info!(lease = self.lease(), holder, term = transitions(&spec), "another process leads");
        }
    }

    /// The Lease is ours by `claim`.
    fn hold(&mut self, claim: &Claim) {
        let now = self.clock.now();
        let until = claim.sent.after(self.settings.renew_deadline);
        if now >= until {
            // Answered too late, or we were stopped in between.
            self.in_doubt = true;
            if self.held.is_some() {
                self.step_down("its renewal was answered too late");
            }
            return;
        }
        let term = Term { number: claim.number, until };
        match self.held.replace(Held { term, sent: claim.sent }) {
            Some(before) if before.term.number == term.number => {
                histogram!(names::LEASE_RENEWAL_GAP).record(now.since(before.sent).as_secs_f64());
            }
            _ => {
                counter!(names::LEADERSHIP_CHANGES, "change" => "acquired").increment(1);
                gauge!(names::LEADER).set(1.0);
                tracing::info!(
                    lease = self.lease(),
                    identity = self.identity,
                    term = term.number,
                    "this process leads"
                );
            }
        }
        self.terms.send_replace(Some(term));
        self.news = None;
    }

    fn step_down(&mut self, why: &'static str) {
        let Some(held) = self.held.take() else { return };
        self.terms.send_replace(None);
        self.in_doubt = true;
        counter!(names::LEADERSHIP_CHANGES, "change" => "lost").increment(1);
        gauge!(names::LEADER).set(0.0);
        tracing::warn!(lease = self.lease(), term = held.term.number, why, "this process leads no more");
    }

    fn failed(&mut self, began: Tick, error: &StoreError) {
        let period = self.jittered();
        let trouble = match error {
            StoreError::Conflict(message) => {
                self.conflicts += 1;
                if self.conflicts > CONFLICTS_AT_ONCE {
                    self.not_before = self.clock.now().after(period);
                }
                tracing::debug!(lease = self.lease(), message, "somebody else wrote first");
                return;
            }
            StoreError::Missing(_) => Trouble::Missing,
            StoreError::Forbidden(_) => Trouble::Forbidden,
            StoreError::Refused(_) => Trouble::Refused,
            StoreError::Unknown(_) => Trouble::Unreachable,
        };
        // A server's wish to be left alone (429) is not waited for beyond that: two small requests in a retry period
        // are not what it suffers from, and a leader lost adds to its load.
        self.not_before = began.after(period);
        if self.trouble.replace(trouble) == Some(trouble) {
            return;
        }
        let cure = match trouble {
            Trouble::Missing => "create its namespace, or name another with --lease-namespace",
            Trouble::Forbidden => {
                "this service account needs get, create, update and watch on leases there: tidegate crd --rbac prints \
                 the rules"
            }
            Trouble::Refused => "the API server says why",
            Trouble::Unreachable => "it is tried again; without a Lease nothing is scaled",
        };
        tracing::warn!(lease = self.lease(), %error, cure, leads = self.held.is_some(), "the Lease cannot be had");
    }

    fn fresh_lease(&self) -> Lease {
        let metadata = ObjectMeta {
            namespace: Some(self.settings.namespace.clone()),
            name: Some(self.settings.name.clone()),
            ..ObjectMeta::default()
        };
        Lease { metadata, spec: None }
    }

    fn jittered(&mut self) -> Duration {
        self.draws += 1;
        let fraction = (self.random.hash_one(self.draws) >> 11) as f64 / (1u64 << 53) as f64;
        self.settings.retry_period.mul_f64(1.0 + JITTER * fraction)
    }

    /// For the log.
    fn lease(&self) -> String {
        format!("{}/{}", self.settings.namespace, self.settings.name)
    }
}

async fn bounded<T>(limit: Duration, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    match tokio::time::timeout(limit, call).await {
        Ok(outcome) => outcome,
        Err(_) => Err(StoreError::Unknown(format!("no answer in {limit:?}"))),
    }
}
