//! Decisions and what stands around them -> `status` of the custom resources.
//!
//! The leader writes, and only what differs: a look at everybody four times a second compares fingerprints, and a
//! status is composed where one has changed. Edges (conditions, replicas, a new generation) are written within a second,
//! at most one in flight and one in two seconds for an object; conditions that flap become rarer; backlogs go along, or
//! are written now and then where they changed a lot. A steady autoscaler costs no request at all.
//!
//! Every patch carries the version that it was computed from. Where somebody was faster the watch brings the new one,
//! and what should stand is computed anew. Edges that a write has brought about become Events (see
//! [`events`](mod@super::events)), so whoever comes after does not repeat them: they stand in the status.

mod compose;
pub(in crate::cluster) mod difference;
mod entry;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use kube::api::{Api, DynamicObject, Patch, PatchParams};
use kube::core::ApiResource;
use metrics::{counter, gauge};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::difference::Urgency;
use self::entry::Entry;
use super::client::{CallError, FIELD_MANAGER, Kube};
use super::events::{self, Events, Notice};
use super::lease::{Leadership, Term};
use super::resources::{Resource, Resources};
use super::standing::{Scaled, Standings};
use crate::board::{Board, Cell};
use crate::model::{AutoscalerId, Tick};
use crate::spec::manifest::QueueAutoscaler;
use crate::spec::manifest::status::QueueAutoscalerStatus;
use crate::target::bucket::{Bucket, Rate};
use crate::telemetry::names;

/// How often everybody is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// Between two closer looks at one object whose fingerprint keeps changing.
const CLOSER_LOOK: Duration = Duration::from_millis(500);

/// How much may be written.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Config {
    pub rate: Rate,
    /// Writes in flight.
    pub concurrency: usize,
}

impl Default for Config {
    fn default() -> Self {
        // 50 a second are a tenth of what a default API server takes of one client, and are apart from what scales. A
        // write costs it some 4 ms of a core, so that the burst is two seconds of one core after a rest: a thousand new
        // ones are all told after some 10 s, the most important first. With a burst of 100 that took 18.
        Config { rate: Rate { per_second: 50.0, burst: 500 }, concurrency: 16 }
    }
}

/// A namespace in which status must not be written is tried again after this.
const FORBIDDEN: Duration = Duration::from_secs(60);

/// After a failure that may pass: doubled from the first up to the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// After one that does not pass by itself (the schema refuses it, say).
const REFUSED: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

/// Writes every status. See the module.
pub struct StatusWriter {
    kube: Kube,
    leadership: Leadership,
    board: Arc<Board>,
    resources: Arc<Resources>,
    standings: Arc<Standings>,
    events: Events,
    config: Config,
    kind: ApiResource,
    bucket: Bucket,
    term: Option<Term>,
    /// As last aligned with: compared by address.
    seen: Option<(Everybody<Resource>, Everybody<Cell>)>,
    entries: BTreeMap<AutoscalerId, Entry>,
    /// What was due at the last look, the most important first.
    due: VecDeque<(Urgency, Tick, AutoscalerId)>,
    in_flight: FuturesUnordered<Pin<Box<dyn Future<Output = Written> + Send>>>,
    /// Namespaces in which writing is forbidden, and until when that is believed.
    forbidden: HashMap<Arc<str>, Tick>,
}

/// A snapshot of everybody.
type Everybody<T> = Arc<BTreeMap<AutoscalerId, Arc<T>>>;

/// What became of a write.
struct Written {
    id: AutoscalerId,
    base: Arc<str>,
    status: QueueAutoscalerStatus,
    notices: Vec<Notice>,
    outcome: Result<DynamicObject, CallError>,
}

impl StatusWriter {
    #[must_use]
    pub fn new(
        kube: Kube,
        leadership: Leadership,
        board: Arc<Board>,
        resources: Arc<Resources>,
        standings: Arc<Standings>,
        events: Events,
    ) -> Self {
        StatusWriter {
            kube,
            leadership,
            board,
            resources,
            standings,
            events,
            config: Config::default(),
            kind: ApiResource::erase::<QueueAutoscaler>(&()),
            bucket: Bucket::default(),
            term: None,
            seen: None,
            entries: BTreeMap::new(),
            due: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            forbidden: HashMap::new(),
        }
    }

    #[must_use]
    pub fn with(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Writes until `shutdown`. What was not written by then is for the next leader.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let standings = Arc::clone(&self.standings);
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = looks.tick() => self.look(self.kube.clock.now()),
                changed = standings.changed() => {
                    for id in changed {
                        if let Some(entry) = self.entries.get_mut(&id) {
                            entry.dirty = true;
                        }
                    }
                }
                Some(written) = self.in_flight.next() => {
                    let now = self.kube.clock.now();
                    self.done(now, written);
                    self.send(now);
                }
            }
        }
    }

    // === looking ===

    fn look(&mut self, now: Tick) {
        let term = self.leadership.term(now);
        if term.map(|term| term.number) != self.term.map(|term| term.number) {
            // Others may have written since.
            self.entries.clear();
            self.due.clear();
            self.in_flight.clear();
            self.seen = None;
        }
        self.term = term;
        if term.is_none() {
            return;
        }
        self.align(now);
        for (id, entry) in &mut self.entries {
            entry.dirty |= entry.peek();
            entry.unblock(now);
            let soon = entry.due.is_some_and(|(at, _)| at <= now);
            if !entry.dirty || entry.in_flight || !soon && now < entry.composed_at.after(CLOSER_LOOK) {
                continue;
            }
            let standing = self.standings.get(id);
            let clock = &self.kube.clock;
            if entry.announces(clock, &standing)
                && let Some(scaled) = &standing.scaled
            {
                self.events.offer(&entry.resource, scaled_notice(scaled, entry.cell.as_deref()));
            }
            entry.composed_at = now;
            let found = entry.compose(clock, now, &standing);
            let (urgency, flaps) = match found.as_ref().zip(entry.stands()) {
                Some((status, (_, before))) => {
                    let urgency = difference::urgency(before, status);
                    (urgency, urgency.is_some_and(|urgency| difference::flaps(urgency, before, status)))
                }
                None => (None, false),
            };
            // What cannot be said yet is looked at again.
            entry.dirty = found.is_none() && !entry.resource.deleting;
            entry.plan(now, urgency, flaps);
        }
        self.line_up(now);
        self.send(now);
    }

    /// Brings the entries in line with the resources and the board. Both maps and ours have the same order, so this is
    /// one walk along each.
    fn align(&mut self, now: Tick) {
        let (resources, cells) = (self.resources.all(), self.board.all());
        let same = |seen: &(Arc<_>, Arc<_>)| Arc::ptr_eq(&seen.0, &resources) && Arc::ptr_eq(&seen.1, &cells);
        if self.seen.as_ref().is_some_and(same) {
            return;
        }
        let mut standing = resources.iter().peekable();
        let mut new = Vec::new();
        self.entries.retain(|id, entry| {
            while let Some((other, resource)) = standing.next_if(|(other, _)| *other < id) {
                new.push((other.clone(), Arc::clone(resource)));
            }
            let Some((_, resource)) = standing.next_if(|(other, _)| *other == id) else { return false };
            if !Arc::ptr_eq(&entry.resource, resource) {
                entry.renew(resource);
            }
            true
        });
        new.extend(standing.map(|(id, resource)| (id.clone(), Arc::clone(resource))));
        self.entries.extend(new.into_iter().map(|(id, resource)| (id, Entry::new(now, resource))));

        let mut published = cells.iter().peekable();
        for (id, entry) in &mut self.entries {
            while published.next_if(|(other, _)| *other < id).is_some() {}
            let cell = published.next_if(|(other, _)| *other == id).map(|(_, cell)| cell);
            if entry.cell.as_ref().map(Arc::as_ptr) != cell.map(Arc::as_ptr) {
                entry.cell = cell.cloned();
                entry.dirty = true;
            }
        }
        self.seen = Some((resources, cells));
    }

    // === writing ===

    /// Puts what is due in order.
    fn line_up(&mut self, now: Tick) {
        self.forbidden.retain(|_, until| now < *until);
        let mut due: Vec<(Urgency, Tick, AutoscalerId)> = Vec::new();
        for (id, entry) in &self.entries {
            if let Some((at, urgency)) = entry.due
                && at <= now
                && !entry.in_flight
                && !self.forbidden.contains_key(&id.namespace)
            {
                due.push((urgency, at, id.clone()));
            }
        }
        gauge!(names::STATUS_WAITING).set(due.len() as f64);
        due.sort_unstable();
        self.due = due.into();
    }

    /// Sends what is due as far as there is room.
    fn send(&mut self, now: Tick) {
        while !self.due.is_empty()
            && self.in_flight.len() < self.config.concurrency
            && now >= self.kube.throttled_until()
            && self.leadership.term(now).is_some()
            && self.bucket.take(self.config.rate, now)
        {
            let Some((_, _, id)) = self.due.pop_front() else { return };
            if !self.forbidden.contains_key(&id.namespace) {
                self.write(now, id);
            }
        }
    }

    fn write(&mut self, now: Tick, id: AutoscalerId) {
        let Some(entry) = self.entries.get_mut(&id).filter(|entry| !entry.in_flight) else { return };
        let composed = entry.compose(&self.kube.clock, now, &self.standings.get(&id));
        let Some((status, (base, before))) = composed.zip(entry.stands()) else { return };
        // It may be well again by now.
        let Some(urgency) = difference::urgency(before, &status) else { return };
        let base = Arc::clone(base);
        let body = difference::patch(before, &status, &base);
        let notices = events::edges(before, &status);
        let flaps = difference::flaps(urgency, before, &status);
        entry.sending(now, flaps);
        let kube = self.kube.clone();
        let api: Api<DynamicObject> = Api::namespaced_with(kube.client.clone(), &id.namespace, &self.kind);
        self.in_flight.push(Box::pin(async move {
            let params = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let outcome = kube.bounded(api.patch_status(&id.name, &params, &Patch::Merge(&body))).await;
            Written { id, base, status, notices, outcome }
        }));
    }

    fn done(&mut self, now: Tick, written: Written) {
        let Written { id, base, status, notices, outcome } = written;
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.in_flight = false;
        let error = match outcome {
            Ok(object) => {
                counter!(names::STATUS_WRITES, "outcome" => "ok").increment(1);
                let version = object.metadata.resource_version.map_or_else(|| Arc::clone(&base), Arc::from);
                let resource = Arc::clone(&entry.resource);
                entry.wrote(now, base, version, status);
                for notice in notices {
                    self.events.offer(&resource, notice);
                }
                return;
            }
            Err(error) => error,
        };
        let label = match error.code() {
            Some(409) => {
                entry.overtaken(now, base);
                "conflict"
            }
            Some(404) => {
                // The watch will say so, too; if it was made anew, the watch shows that.
                entry.overtaken(now, base);
                "gone"
            }
            Some(403) => {
                entry.dirty = true;
                if self.forbidden.insert(Arc::clone(&id.namespace), now.after(FORBIDDEN)).is_none() {
                    tracing::error!(
                        namespace = %id.namespace,
                        error = %error,
                        "status cannot be written; grant patch on queueautoscalers/status (see `tidegate crd --rbac`)"
                    );
                }
                "forbidden"
            }
            Some(429) => {
                entry.dirty = true;
                "throttled"
            }
            Some(400 | 422) => {
                tracing::warn!(autoscaler = %id, error = %error, "status refused by the API server; is its CRD of this release?");
                entry.back_off(now, REFUSED.0, REFUSED.1);
                "refused"
            }
            _ => {
                tracing::debug!(autoscaler = %id, error = %error, "status not written; tried again");
                entry.back_off(now, PAUSE.0, PAUSE.1);
                "error"
            }
        };
        counter!(names::STATUS_WRITES, "outcome" => label).increment(1);
    }
}

/// `Scaled from 0 to 4 replicas (AboveTarget).` The reason is of the decision that led there; by now there is a later one.
fn scaled_notice(scaled: &Scaled, cell: Option<&Cell>) -> Notice {
    let history = cell.map(Cell::history).unwrap_or_default();
    let decided = history.iter().rev().find(|past| past.desired == scaled.to && past.current == scaled.from);
    let reason = decided.map(|past| format!(" ({})", past.reason.as_str())).unwrap_or_default();
    Notice::scaled(format!("Scaled from {} to {} replicas{reason}.", scaled.from, scaled.to))
}
