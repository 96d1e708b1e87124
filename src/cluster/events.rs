//! Kubernetes Events: what happened to an autoscaler, where `kubectl describe` shows it.
//!
//! On edges only, and few: a burst for each object and then one a minute, a limit over all of them, and nothing that
//! was said in the last minutes is said again. What finds no room is counted and dropped, because an Event is news: it
//! is worth nothing late, and the status and the metrics hold what matters.
//!
//! The library's recorder is not used: it keeps the first sentence of a series for all that follow ("scaled from 0 to
//! 4" for every scaling), walks over everything it remembers at each Event, reads the clock itself, and wants a
//! permission to patch. This one creates Events and nothing else.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use metrics::{Counter, counter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::client::{FIELD_MANAGER, Kube};
use super::conditions::{FALLBACK, FALSE, PAUSED, READY, TRUE, reason};
use super::lease::Leadership;
use super::resources::Resource;
use super::status::difference::find;
use crate::clock::Clock;
use crate::model::{AutoscalerId, Tick};
use crate::spec::manifest::API_VERSION;
use crate::spec::manifest::status::QueueAutoscalerStatus;
use crate::spec::problem::shortened;
use crate::target::bucket::{Bucket, Rate};
use crate::telemetry::names;

/// For one object, of scalings and of everything else apart, so that a busy workload does not hide its troubles: enough
/// for a bad quarter of an hour, and no more than `kubectl describe` shows on a screen.
const OF_OBJECT: Rate = Rate { per_second: 1.0 / 60.0, burst: 10 };

/// Over all objects: a thousand workloads that wake at once may not cost the API server as many writes as waking them.
const OF_ALL: Rate = Rate { per_second: 10.0, burst: 100 };

/// What was said is not said again for this long. Shorter than the hour for which a cluster keeps Events.
const SAID: Duration = Duration::from_secs(300);

/// Sentences remembered for each object.
const MOST_SAID: usize = 8;

/// Events that wait for the API server. At [`OF_ALL`] this is a minute's.
const QUEUE: usize = 512;

/// Bytes of a note; the API allows 1,024.
const LONGEST: usize = 1_000;

/// Characters of a name that an Event's name begins with: 253 are allowed, and 17 of them tell Events apart.
const LONGEST_NAME: usize = 220;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    pub reason: Cow<'static, str>,
    pub note: String,
    pub warning: bool,
    /// Of replicas, and so never the same twice.
    scaling: bool,
}

impl Notice {
    #[must_use]
    pub fn scaled(note: String) -> Self {
        Notice { reason: Cow::Borrowed("Scaled"), note, warning: false, scaling: true }
    }

    #[must_use]
    pub fn normal(reason: impl Into<Cow<'static, str>>, note: impl Into<String>) -> Self {
        Notice { reason: reason.into(), note: note.into(), warning: false, scaling: false }
    }

    #[must_use]
    pub fn warning(reason: impl Into<Cow<'static, str>>, note: impl Into<String>) -> Self {
        Notice { warning: true, ..Notice::normal(reason, note) }
    }
}

/// What there is to say when `before`, as the API server had it, has become `after`.
#[must_use]
pub fn edges(before: &QueueAutoscalerStatus, after: &QueueAutoscalerStatus) -> Vec<Notice> {
    let mut notices = Vec::new();
    let was = |kind, status| find(before, kind).is_some_and(|condition| condition.status == status);
    if let Some(ready) = find(after, READY) {
        let told = find(before, READY).is_some_and(|was| was.status == FALSE && was.reason == ready.reason);
        if ready.status == FALSE && !told {
            let wished = [reason::MANUALLY_STOPPED, reason::RESTORING].contains(&ready.reason.as_str());
            let notice = Notice::normal(ready.reason.clone(), ready.message.clone());
            notices.push(Notice { warning: !wished, ..notice });
        } else if ready.status == TRUE && was(READY, FALSE) {
            notices.push(Notice::normal(ready.reason.clone(), ready.message.clone()));
        }
    }
    if let Some(fallback) = find(after, FALLBACK) {
        if fallback.status == TRUE && !was(FALLBACK, TRUE) {
            notices.push(Notice::warning("FallbackEngaged", fallback.message.clone()));
        } else if fallback.status == FALSE && was(FALLBACK, TRUE) {
            notices.push(Notice::normal("FallbackEnded", "The sources speak for themselves again."));
        }
    }
    if let Some(paused) = find(after, PAUSED) {
        let told = find(before, PAUSED).is_some_and(|was| was.status == TRUE && was.reason == paused.reason);
        if paused.status == TRUE && !told {
            notices.push(Notice::normal(paused.reason.clone(), paused.message.clone()));
        } else if paused.status == FALSE && was(PAUSED, TRUE) {
            notices.push(Notice::normal("Resumed", "No annotation pauses it any more."));
        }
    }
    notices
}

/// Where Events are handed in. Never waits.
#[derive(Clone)]
pub struct Events {
    desk: Arc<Mutex<Desk>>,
    clock: Clock,
    queue: mpsc::Sender<Pending>,
    left_out: Counter,
}

/// Who has said how much.
#[derive(Default)]
struct Desk {
    all: Bucket,
    objects: HashMap<AutoscalerId, Said>,
    swept: Tick,
    number: u64,
}

#[derive(Default)]
struct Said {
    scalings: Bucket,
    others: Bucket,
    last: VecDeque<(u64, Tick)>,
}

/// Sends what was handed in.
pub struct Sender {
    kube: Kube,
    leadership: Leadership,
    instance: String,
    queue: mpsc::Receiver<Pending>,
    forbidden_said: bool,
}

struct Pending {
    at: Tick,
    number: u64,
    regarding: Arc<Resource>,
    notice: Notice,
}

/// Both ends. `instance` names this process: the pod's name. Makes a metric handle: install the recorder first.
#[must_use]
pub fn channel(kube: Kube, leadership: Leadership, instance: impl Into<String>) -> (Events, Sender) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let desk = Desk::default();
    let events = Events {
        desk: Arc::new(Mutex::new(desk)),
        clock: kube.clock,
        queue: sender,
        left_out: counter!(names::EVENTS, "outcome" => "left_out"),
    };
    // The API allows 128.
    let instance = instance.into().chars().take(128).collect();
    (events, Sender { kube, leadership, instance, queue: receiver, forbidden_said: false })
}

impl Events {
    /// Says it, if there is room.
    pub fn offer(&self, regarding: &Arc<Resource>, notice: Notice) {
        let now = self.clock.now();
        let admitted = self.desk.lock().unwrap_or_else(PoisonError::into_inner).admit(now, &regarding.id, &notice);
        let sent = admitted.is_some_and(|number| {
            let pending = Pending { at: now, number, regarding: Arc::clone(regarding), notice };
            self.queue.try_send(pending).is_ok()
        });
        if !sent {
            self.left_out.increment(1);
        }
    }
}

impl Desk {
    /// A number of its own for what may be said.
    fn admit(&mut self, now: Tick, id: &AutoscalerId, notice: &Notice) -> Option<u64> {
        self.sweep(now);
        let said = self.objects.entry(id.clone()).or_default();
        said.last.retain(|(_, at)| now < at.after(SAID));
        let words = (!notice.scaling).then(|| words(notice));
        if words.is_some_and(|words| said.last.iter().any(|(said, _)| *said == words)) {
            return None;
        }
        let bucket = if notice.scaling { &mut said.scalings } else { &mut said.others };
        if !(bucket.take(OF_OBJECT, now) && self.all.take(OF_ALL, now)) {
            return None;
        }
        if let Some(words) = words {
            if said.last.len() == MOST_SAID {
                said.last.pop_front();
            }
            said.last.push_back((words, now));
        }
        self.number += 1;
        Some(self.number)
    }

    /// Forgets who has been silent.
    fn sweep(&mut self, now: Tick) {
        if now < self.swept.after(SAID) {
            return;
        }
        self.swept = now;
        self.objects.retain(|_, said| {
            let silent = said.scalings.is_full(now) && said.others.is_full(now);
            !silent || said.last.iter().any(|(_, at)| now < at.after(SAID))
        });
    }
}

fn words(notice: &Notice) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    hasher.write(notice.reason.as_bytes());
    hasher.write(notice.note.as_bytes());
    hasher.finish()
}

impl Sender {
    /// Sends until `shutdown`, while this process leads.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let pending = tokio::select! {
                () = shutdown.cancelled() => return,
                pending = self.queue.recv() => pending,
            };
            let Some(pending) = pending else { return };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.send(pending) => {}
            }
        }
    }

    async fn send(&mut self, pending: Pending) {
        tokio::time::sleep_until(self.kube.clock.instant(self.kube.throttled_until())).await;
        if self.leadership.term(self.kube.clock.now()).is_none() {
            counter!(names::EVENTS, "outcome" => "left_out").increment(1);
            return;
        }
        let event = self.event(&pending);
        let api: Api<Event> = Api::namespaced(self.kube.client.clone(), &pending.regarding.id.namespace);
        let params = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let outcome = self.kube.bounded(api.create(&params, &event)).await;
        counter!(names::EVENTS, "outcome" => if outcome.is_ok() { "ok" } else { "error" }).increment(1);
        let Err(error) = outcome else { return };
        if error.code() == Some(403) && !std::mem::replace(&mut self.forbidden_said, true) {
            tracing::warn!(
                namespace = %pending.regarding.id.namespace,
                error = %error,
                "events cannot be written; grant create on events.k8s.io/events (see `tidegate crd --rbac`)"
            );
        } else {
            tracing::debug!(autoscaler = %pending.regarding.id, error = %error, "event not written");
        }
    }

    fn event(&self, pending: &Pending) -> Event {
        let Pending { at, number, regarding, notice } = pending;
        let id = &regarding.id;
        let target = regarding.spec.as_ref().and_then(|spec| spec.target.as_ref());
        let related = target.map(|target| ObjectReference {
            api_version: Some(target.api_version.clone()),
            kind: Some(target.kind.clone()),
            name: Some(target.name.clone()),
            namespace: Some(id.namespace.to_string()),
            ..ObjectReference::default()
        });
        let time = jiff::Timestamp::try_from(self.kube.clock.wall(*at)).unwrap_or_default();
        // Names are ASCII: as many bytes as characters.
        let base: String = id.name.chars().take(LONGEST_NAME).collect();
        // Two processes never lead at one moment, and one counts.
        let unique = (time.as_microsecond().unsigned_abs() << 8) | (number & 0xff);
        Event {
            metadata: ObjectMeta {
                name: Some(format!("{base}.{unique:016x}")),
                namespace: Some(id.namespace.to_string()),
                ..ObjectMeta::default()
            },
            event_time: Some(MicroTime(time)),
            action: Some(if notice.scaling { "Scale" } else { "Decide" }.to_owned()),
            reason: Some(shortened(notice.reason.to_string(), 128)),
            note: Some(shortened(notice.note.clone(), LONGEST)),
            type_: Some(if notice.warning { "Warning" } else { "Normal" }.to_owned()),
            regarding: Some(ObjectReference {
                api_version: Some(API_VERSION.to_owned()),
                kind: Some("QueueAutoscaler".to_owned()),
                name: Some(id.name.to_string()),
                namespace: Some(id.namespace.to_string()),
                uid: Some(regarding.uid.to_string()),
                resource_version: Some(regarding.resource_version.to_string()),
                ..ObjectReference::default()
            }),
            related,
            reporting_controller: Some("tidegate.dev/tidegate".to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Event::default()
        }
    }
}
