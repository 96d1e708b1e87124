//! One target: how it is asked, and what is known of it from before.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;

use super::tally::Part;
use crate::model::{FailureKind, Pod, ReadFailure, Tick};
use crate::source::Moment;
use crate::source::prometheus::exposition::{self, Broken, Format, Picks};
use crate::source::prometheus::http::{self, Buffers, Channel, Identity, Place, Question};
use crate::spec::HttpUrl;

/// OpenMetrics by preference, as Prometheus itself has it: it says where it ends.
const ACCEPT: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const CURE: &str = "is the path that of the metrics?";

/// What is read before others have their turn on this thread: a millisecond's work, about.
const TURN: usize = 1 << 20;

/// How often names that are like a missing one are looked for.
const LOOK_AROUND: Duration = Duration::from_secs(30);

/// Whoever exposes a page.
pub(super) struct Target {
    channel: Channel,
    pod: Option<Pod>,
    /// What was found last, of each read by its edition.
    last: HashMap<u64, Part>,
    /// Not asked again before, and why; and how often in a row it failed.
    rests: Option<(Tick, ReadFailure)>,
    failures: u32,
    /// Names that are like a metric that was not there, and until when they stand.
    near: HashMap<String, (Tick, Vec<String>)>,
}

/// What came of asking.
pub(super) enum Heard {
    Page(Page),
    Nothing(ReadFailure),
}

/// What a page has, of each pick.
pub(super) struct Page {
    pub(super) parts: Vec<Part>,
}

impl Target {
    pub(super) fn of_url(place: Place, identity: &Arc<Identity>) -> Self {
        Target::new(place, identity, None)
    }

    /// # Errors
    /// The address is none.
    pub(super) fn of_pod(pod: &Pod, url: &HttpUrl, identity: &Arc<Identity>) -> Result<Self, ReadFailure> {
        let place = Place::at(url, &pod.address)?.called(format!("pod {} ({})", pod.name, pod.address));
        Ok(Target::new(place, identity, Some(pod.clone())))
    }

    fn new(place: Place, identity: &Arc<Identity>, pod: Option<Pod>) -> Self {
        let channel = Channel::new(Arc::new(place), Arc::clone(identity));
        Target { channel, pod, last: HashMap::new(), rests: None, failures: 0, near: HashMap::new() }
    }

    pub(super) fn pod(&self) -> Option<&Pod> {
        self.pod.as_ref()
    }

    pub(super) fn name(&self) -> &str {
        &self.channel.place().name
    }

    pub(super) async fn connect(&mut self) -> Result<(), ReadFailure> {
        self.channel.connect().await
    }

    pub(super) async fn ask(&mut self, buffers: &mut Buffers, picks: &Picks, at: Moment) -> Heard {
        if let Some((until, failure)) = &self.rests
            && at.tick < *until
        {
            return Heard::Nothing(failure.clone());
        }
        match self.page(buffers, picks, at).await {
            Ok(page) => {
                self.rests = None;
                self.failures = 0;
                Heard::Page(page)
            }
            Err(failure) => {
                self.rest(&failure, at.tick);
                Heard::Nothing(failure)
            }
        }
    }

    /// Others shall not wait for it in every round, nor shall it be called upon at the pace of who answers.
    fn rest(&mut self, failure: &ReadFailure, now: Tick) {
        // A connection that is refused costs nobody anything; one that times out keeps a whole round waiting.
        let (first, longest) = if failure.kind == FailureKind::Timeout { (2_000, 10_000) } else { (100, 2_000) };
        let rest = (first << self.failures.min(8)).min(longest);
        self.failures = self.failures.saturating_add(1);
        // A page has but one target: there it is for the poller to say when to try again.
        if self.pod.is_some() {
            self.rests = Some((now.after(Duration::from_millis(rest)), failure.clone()));
        }
    }

    async fn page(&mut self, buffers: &mut Buffers, picks: &Picks, at: Moment) -> Result<Page, ReadFailure> {
        let question = Question { path: "", form: None, accept: ACCEPT, packed: true };
        let answer = self.channel.ask(&question, buffers).await?;
        let name = &self.channel.place().name;
        if answer.status != StatusCode::OK {
            return Err(http::refused(name, &answer, CURE));
        }
        let broken = |broken: Broken| ReadFailure::new(FailureKind::Protocol, format!("{name}: {broken}"));
        let format = Format::of(answer.content_type.as_deref()).map_err(broken)?;
        let page = exposition::Page { body: answer.body, format, whole: answer.whole };
        let mut parts: Vec<Part> = vec![Part::default(); picks.len()];
        let mut walk = exposition::Walk::new(page);
        let mut take = |pick: usize, series: Option<exposition::Series<'_, '_>>| {
            if let Some(part) = parts.get_mut(pick) {
                part.take(series, at);
            }
        };
        while !walk.read(TURN, picks, &mut take).map_err(broken)? {
            tokio::task::yield_now().await;
        }
        for (pick, part) in parts.iter_mut().enumerate().filter(|(_, part)| part.is_unknown()) {
            part.near = near(&mut self.near, picks.wanted(pick), page, at.tick);
        }
        Ok(Page { parts })
    }

    /// Keeps what was found, for when it does not answer.
    pub(super) fn remember(&mut self, editions: &[u64], page: &Page, now: Tick) {
        for (edition, part) in editions.iter().zip(&page.parts) {
            match self.last.get_mut(edition) {
                Some(last) => last.clone_from(part),
                None => drop(self.last.insert(*edition, part.clone())),
            }
        }
        // Reads come and go, and what they left is found out now and then.
        if self.last.len() > 2 * editions.len() + FORGOTTEN {
            self.last.retain(|edition, part| editions.contains(edition) || now.since(part.taken) < FORGOTTEN_AFTER);
        }
    }

    /// The last part of a read, while it is younger than `bound`, and how old it is.
    pub(super) fn remembered(&self, edition: u64, now: Tick, bound: Duration) -> Option<(&Part, Duration)> {
        // What was wrong then would be left out now.
        let part = self.last.get(&edition).filter(|part| part.wrong.is_none())?;
        let age = now.since(part.taken);
        (age < bound).then_some((part, age))
    }
}

/// Parts that nobody may want any more are kept up to this many.
const FORGOTTEN: usize = 64;
/// Longer than anything counts that is remembered.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// Names on a page that are like `wanted`; looked for now and then only, because it takes a walk of its own.
fn near(
    known: &mut HashMap<String, (Tick, Vec<String>)>,
    wanted: &str,
    page: exposition::Page<'_>,
    now: Tick,
) -> Vec<String> {
    if let Some((until, names)) = known.get(wanted)
        && now < *until
    {
        return names.clone();
    }
    if known.len() > FORGOTTEN {
        known.clear();
    }
    let names: Vec<String> = exposition::near(page, wanted).into_iter().map(str::to_owned).collect();
    known.insert(wanted.to_owned(), (now.after(LOOK_AROUND), names.clone()));
    names
}
