//! One autoscaler as the writer of its status knows it: what the API server has, what is on its way, and when the next
//! write may go.

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;

use super::compose::{compose, written};
use super::difference::Urgency;
use crate::board::{Cell, Published};
use crate::clock::Clock;
use crate::cluster::conditions::{self, View};
use crate::cluster::resources::Resource;
use crate::cluster::standing::{Standing, Workload};
use crate::model::{Health, Tick};
use crate::spec::AutoscalerSpec;
use crate::spec::manifest::status::QueueAutoscalerStatus;

/// Changes that come together are written together: a decision, the patch that follows, and the workload that shows it
/// are some 50 ms apart.
const SETTLE: Duration = Duration::from_millis(250);

/// Between two writes to one object. People read it; programs that need more read the metrics.
const GAP: Duration = Duration::from_secs(2);

/// The same for conditions that go to and fro: doubled with each that follows within [`QUIET`], up to this.
const LONGEST_GAP: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(60);

/// The same while replicas become ready.
const ROLLOUT_GAP: Duration = Duration::from_secs(5);

/// The same for backlogs alone.
const VALUES_GAP: Duration = Duration::from_secs(30);

/// How long a leader that has read nothing yet leaves alone what an earlier one wrote. Otherwise each restart would
/// write twice to everything: that nothing is known, and then what was there before.
const GRACE: Duration = Duration::from_secs(20);

/// The same for an object without a status: its first reading is worth waiting for, so that it is written once and not
/// twice.
const FIRST_GRACE: Duration = Duration::from_secs(3);

/// How long the watch may take to show the version that a conflict spoke of. After this the version that is known is
/// tried again.
const UNSEEN: Duration = Duration::from_secs(10);

/// Versions of ours that the watch may still show. There is one more with each write, and the watch is rarely two behind.
const MOST_SUPERSEDED: usize = 16;

pub(super) struct Entry {
    pub(super) resource: Arc<Resource>,
    pub(super) cell: Option<Arc<Cell>>,
    spec: Option<Arc<AutoscalerSpec>>,
    print: u64,
    /// Something may have changed since the last look.
    pub(super) dirty: bool,
    pub(super) composed_at: Tick,
    created: Tick,
    /// Since when something waits that matters.
    since: Option<Tick>,
    pub(super) due: Option<(Tick, Urgency)>,
    written_at: Option<Tick>,
    flaps: u32,
    flapped_at: Tick,
    pub(super) in_flight: bool,
    /// After a failure.
    not_before: Tick,
    failures: u32,
    /// Versions that are known to be old, though the watch may still show them.
    superseded: VecDeque<Arc<str>>,
    /// Our own last write, until the watch has caught up with it.
    sent: Option<(Arc<str>, QueueAutoscalerStatus)>,
    blocked_since: Option<Tick>,
    /// The last scaling that was told in an Event, or needs none.
    announced: Option<Tick>,
}

static EMPTY: QueueAutoscalerStatus = QueueAutoscalerStatus {
    observed_generation: None,
    current_replicas: None,
    desired_replicas: None,
    ready_replicas: None,
    original_replica_count: None,
    last_scale_time: None,
    backlog: None,
    reason: None,
    triggers: Vec::new(),
    conditions: Vec::new(),
};

impl Entry {
    pub(super) fn new(now: Tick, resource: Arc<Resource>) -> Self {
        Entry {
            resource,
            cell: None,
            spec: None,
            print: 0,
            dirty: true,
            composed_at: Tick::ZERO,
            created: now,
            since: None,
            due: None,
            written_at: None,
            flaps: 0,
            flapped_at: Tick::ZERO,
            in_flight: false,
            not_before: Tick::ZERO,
            failures: 0,
            superseded: VecDeque::new(),
            sent: None,
            blocked_since: None,
            announced: None,
        }
    }

    // === what the API server has ===

    /// The watch shows another version.
    pub(super) fn renew(&mut self, resource: &Arc<Resource>) {
        if self.resource.uid != resource.uid {
            // Deleted and made anew under the same name.
            self.superseded.clear();
            self.not_before = Tick::ZERO;
            self.announced = None;
        }
        if !self.superseded.contains(&resource.resource_version) {
            self.superseded.clear();
            self.sent = None;
            self.blocked_since = None;
        }
        self.resource = Arc::clone(resource);
        self.dirty = true;
    }

    /// What the API server has, and its version; `None` while the watch has yet to show it.
    pub(super) fn stands(&self) -> Option<(&Arc<str>, &QueueAutoscalerStatus)> {
        match self.superseded.contains(&self.resource.resource_version) {
            true => self.sent.as_ref().map(|(version, status)| (version, status)),
            false => Some((&self.resource.resource_version, self.resource.status.as_ref().unwrap_or(&EMPTY))),
        }
    }

    /// `status` stands there now, under `version`.
    pub(super) fn wrote(&mut self, now: Tick, base: Arc<str>, version: Arc<str>, status: QueueAutoscalerStatus) {
        self.written_at = Some(now);
        self.failures = 0;
        if base != version {
            self.supersede(base);
        }
        if self.superseded.contains(&self.resource.resource_version) {
            self.sent = Some((version, status));
        }
        self.dirty = true;
    }

    /// Somebody else has written since `base`.
    pub(super) fn overtaken(&mut self, now: Tick, base: Arc<str>) {
        self.supersede(base);
        self.sent = None;
        self.blocked_since = Some(now);
        self.dirty = true;
    }

    fn supersede(&mut self, version: Arc<str>) {
        if self.superseded.len() == MOST_SUPERSEDED {
            self.superseded.pop_front();
        }
        self.superseded.push_back(version);
    }

    /// The watch does not bring what a conflict spoke of: asks again with what there is.
    pub(super) fn unblock(&mut self, now: Tick) {
        if self.blocked_since.is_some_and(|since| now >= since.after(UNSEEN)) {
            self.blocked_since = None;
            self.superseded.clear();
            self.dirty = true;
        }
    }

    // === what should stand ===

    /// Takes a look at the board's cell: cheap, and true if a second look may be worth while.
    pub(super) fn peek(&mut self) -> bool {
        let Some(cell) = &self.cell else { return false };
        let (print, spec) = (&mut self.print, &mut self.spec);
        cell.peek(|published| {
            let respec = spec.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &published.spec));
            if respec {
                *spec = Some(Arc::clone(&published.spec));
            }
            let found = fingerprint(published);
            std::mem::replace(print, found) != found || respec
        })
    }

    /// The status that should stand, if it is for us to say.
    pub(super) fn compose(&self, clock: &Clock, now: Tick, standing: &Standing) -> Option<QueueAutoscalerStatus> {
        let (_, before) = self.stands()?;
        self.view(standing, |view| {
            if self.resource.deleting && !conditions::restores(view) {
                return None;
            }
            let grace = if before.conditions.is_empty() { FIRST_GRACE } else { GRACE };
            let early = now < self.created.after(grace) && is_unread(view);
            (!early).then(|| compose(view, clock, now, before))
        })
    }

    fn view<T>(&self, standing: &Standing, read: impl FnOnce(View<'_>) -> T) -> T {
        let resource = &*self.resource;
        match &self.cell {
            Some(cell) => cell.peek(|published| read(View { published: Some(published), standing, resource })),
            None => read(View { published: None, standing, resource }),
        }
    }

    // === when ===

    /// Notes what a look has found.
    pub(super) fn plan(&mut self, now: Tick, urgency: Option<Urgency>, flaps: bool) {
        let Some(urgency) = urgency else {
            (self.since, self.due) = (None, None);
            return;
        };
        let at = if urgency == Urgency::Values {
            self.since = None;
            self.written_at.unwrap_or(self.created).after(VALUES_GAP)
        } else {
            let since = *self.since.get_or_insert(now);
            let gap = match urgency {
                Urgency::Rollout => ROLLOUT_GAP,
                _ if flaps => self.flap_gap(now),
                _ => GAP,
            };
            since.after(SETTLE).max(self.written_at.map_or(Tick::ZERO, |at| at.after(gap)))
        };
        self.due = Some((at.max(self.not_before), urgency));
    }

    fn flap_gap(&self, now: Tick) -> Duration {
        if now >= self.flapped_at.after(QUIET) {
            return GAP;
        }
        GAP.saturating_mul(1 << self.flaps.min(8)).min(LONGEST_GAP)
    }

    /// A write goes out.
    pub(super) fn sending(&mut self, now: Tick, flaps: bool) {
        self.in_flight = true;
        (self.since, self.due) = (None, None);
        if flaps {
            self.flaps = if now < self.flapped_at.after(QUIET) { self.flaps.saturating_add(1) } else { 0 };
            self.flapped_at = now;
        }
    }

    /// Leaves it alone for `first`, doubled with each failure since the last success, at most `longest`.
    pub(super) fn back_off(&mut self, now: Tick, first: Duration, longest: Duration) {
        self.not_before = now.after(first.saturating_mul(1 << self.failures.min(10)).min(longest));
        self.failures = self.failures.saturating_add(1);
        self.dirty = true;
    }

    /// Whether the last scaling is yet to be told: once, and not if the status on the server shows it already.
    pub(super) fn announces(&mut self, clock: &Clock, standing: &Standing) -> bool {
        let Some(scaled) = &standing.scaled else { return false };
        if self.announced == Some(scaled.at) {
            return false;
        }
        let first = self.announced.replace(scaled.at).is_none();
        let told = self.resource.status.as_ref().and_then(|status| status.last_scale_time.as_deref());
        // RFC 3339 in UTC and whole seconds sorts as text.
        !(first && told.is_some_and(|told| written(clock, scaled.at).as_str() <= told))
    }
}

/// A leader that has just begun, and has not read everything.
fn is_unread(view: View<'_>) -> bool {
    if !view.resource.problems.is_empty() || conditions::restores(view) {
        return false;
    }
    let pending = |published: &Published| {
        let triggers = published.decision.iter().flat_map(|decision| &decision.triggers);
        published.decision.is_none() || triggers.into_iter().any(|report| report.health == Health::Pending)
    };
    view.standing.workload == Workload::Unknown || view.published.is_none_or(pending)
}

/// Differs where a status may differ. Ten thousand of these are taken several times a second, so it reads what is there
/// and builds nothing.
fn fingerprint(published: &Published) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    let Some(decision) = &published.decision else { return 1 };
    (decision.current, decision.current_known, decision.desired, decision.reason, decision.winner).hash(&mut hasher);
    (decision.active, decision.degraded, decision.fallback, decision.paused).hash(&mut hasher);
    for step in decision.steps.iter() {
        step.reason.hash(&mut hasher);
    }
    for report in &decision.triggers {
        let failure = report.failure.as_ref().map(|failure| failure.kind);
        (report.health, report.active, failure, conditions::failing(published, report)).hash(&mut hasher);
        // The exponent and a bit of the mantissa: steps of a third to a half, as coarse as what is worth a write.
        report.value.map(|value| value.to_bits() >> 51).hash(&mut hasher);
    }
    hasher.finish()
}
