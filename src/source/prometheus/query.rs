//! Instant queries to a server that speaks Prometheus' HTTP API: Prometheus, Thanos, Mimir, VictoriaMetrics.
//!
//! All that is due is asked in one go: equal queries once, and different ones together (`requests`) over a few kept
//! connections. Who asks for freshness has a second query, of the times that the first rests on, in the same request.
//! One query's failure is its own: a query is asked alone until it is known what it answers with, and again whenever a
//! request that it was part of was refused; one that took too long rests for a while, longer each time, so that it
//! costs the others little.
//!
//! The parts: `book` knows the queries, `requests` writes them, `round` asks, `answer` reads, `verdict` judges.

mod answer;
mod book;
mod requests;
mod round;
mod verdict;

use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::book::{Book, Number};
use self::requests::Request;
use self::round::{Lane, Said};
use self::verdict::Outcome;
use super::http::{Caller, Channel, Identity, Place};
use crate::model::{FailureKind, ReadFailure, Tick};
use crate::source::kept::Kept;
use crate::source::network::plain;
use crate::source::secrets::Secrets;
use crate::source::{Answers, Backend, Load, Material, Moment, Read, ReadId};
use crate::spec::grants::Fence;
use crate::spec::{Freshness, HttpServer, PrometheusQuery};

/// Connections that are asked over at once. A Prometheus works twenty queries out at a time by default: some remain for
/// others.
const LANES: usize = 4;

/// The longest rest of a query that took too long.
const LONGEST_REST: Duration = Duration::from_secs(60);

/// Warnings of one server that are remembered, so that each is said once. What comes after these is not said.
const WARNINGS: usize = 100;

/// One server.
pub struct QueryBackend {
    caller: Caller,
    /// What messages call it.
    name: Arc<str>,
    tracked: Kept<Option<Tracked>>,
    book: Book,
    warned: HashSet<String>,
    warnings: VecDeque<String>,
}

/// What somebody wants to know.
struct Tracked {
    wanted: Arc<PrometheusQuery>,
    value: Number,
    /// Of the query for the times.
    time: Option<Number>,
}

/// Connections to it.
pub struct Link {
    identity: Arc<Identity>,
    lanes: Vec<Lane>,
}

/// One set of reads, prepared.
pub struct Batch {
    reads: Vec<ReadId>,
    wanted: Vec<Number>,
    requests: Vec<Request>,
    /// The edition of the book that the requests were made from.
    edition: Option<u64>,
}

impl QueryBackend {
    #[must_use]
    pub fn new(server: HttpServer, secrets: Secrets) -> Self {
        let name = server.url.address.as_str().into();
        QueryBackend {
            caller: Caller::new(server, secrets),
            name,
            tracked: Kept::default(),
            book: Book::new(),
            warned: HashSet::new(),
            warnings: VecDeque::new(),
        }
    }

    /// Connects to nothing beyond `fence`.
    #[must_use]
    pub fn behind(self, fence: Fence) -> Self {
        QueryBackend { caller: self.caller.behind(fence), ..self }
    }

    fn tracked(&self, read: ReadId) -> Option<&Tracked> {
        self.tracked.get(read)?.as_ref()
    }

    fn bound(&self) -> Duration {
        self.caller.server().response_timeout
    }

    /// Makes the requests of `batch` anew, if any query is to be asked another way than when they were made.
    fn renew(&self, batch: &mut Batch, now: Tick) {
        let awake = requests::awake(&self.book, &batch.wanted, now);
        let all = awake.len() == batch.wanted.len();
        if batch.edition != Some(self.book.edition()) || !all {
            batch.requests = requests::requests(&self.book, &awake, self.bound());
            // Who rests now does not rest for ever.
            batch.edition = all.then(|| self.book.edition());
        }
    }

    /// Takes in what came of a request; returns whom to ask alone in the same round.
    fn hear(&mut self, request: &Request, said: Said, now: Tick) -> Vec<Number> {
        match said {
            Said::Found { outcomes, warnings } => {
                for warning in warnings {
                    self.warn(&warning);
                }
                for (number, outcome) in outcomes {
                    if request.is_alone() {
                        match &outcome {
                            Outcome::Other(_) => self.book.refused_alone(number),
                            outcome => self.book.answered_alone(number, matches!(outcome, Outcome::Scalar(_))),
                        }
                    }
                    self.settle(number, Ok(outcome));
                }
                Vec::new()
            }
            Said::Late(failure) => {
                for number in &request.members {
                    if request.is_alone() {
                        self.late(*number, &failure, now);
                    }
                    self.book.delayed(*number);
                    self.fail(*number, failure.clone());
                }
                Vec::new()
            }
            Said::Refused(failure) if request.is_alone() => {
                for number in &request.members {
                    self.book.refused_alone(*number);
                    self.settle(*number, Err(failure.clone()));
                }
                Vec::new()
            }
            Said::Refused(_) => request.members.clone(),
            Said::Lost(failure) => {
                for number in &request.members {
                    self.fail(*number, failure.clone());
                }
                Vec::new()
            }
        }
    }

    fn settle(&mut self, number: Number, outcome: Result<Outcome, ReadFailure>) {
        if let Some(question) = self.book.get_mut(number) {
            question.rests = None;
            question.late = 0;
            question.outcome = Some(outcome);
        }
    }

    fn fail(&mut self, number: Number, failure: ReadFailure) {
        if let Some(question) = self.book.get_mut(number) {
            question.outcome = Some(Err(failure));
        }
    }

    /// It took too long: others shall not wait for it at once again.
    fn late(&mut self, number: Number, failure: &ReadFailure, now: Tick) {
        let bound = self.bound();
        if let Some(question) = self.book.get_mut(number) {
            let rest = bound.saturating_mul(2 << question.late.min(5)).min(LONGEST_REST);
            question.late += 1;
            let sentence = format!("{} (not asked again for {:.0} s)", failure.message, rest.as_secs_f64());
            question.rests = Some((now.after(rest), ReadFailure::new(failure.kind, sentence)));
        }
    }

    fn warn(&mut self, warning: &str) {
        if self.warned.len() < WARNINGS && !self.warned.contains(warning) {
            self.warned.insert(warning.to_owned());
            self.warnings.push_back(format!("{} warns: {}", self.name, plain(warning)));
        }
    }

    /// Asks for everything that `batch` wants; leaves the outcomes in the book.
    async fn ask(&mut self, link: &mut Link, batch: &Batch, now: Tick) -> Result<(), ReadFailure> {
        let said = round::ask(&mut link.lanes, &batch.requests, &self.book).await;
        // As long as anything was answered, the server is there, and each failure is a query's own.
        if let Some(failure) = round::all_lost(&said) {
            return Err(failure);
        }
        let mut again = Vec::new();
        for (request, said) in batch.requests.iter().zip(said) {
            again.extend(self.hear(request, said, now));
        }
        if again.is_empty() {
            return Ok(());
        }
        let bound = self.bound();
        let requests: Vec<Request> = again.iter().map(|number| Request::alone(&self.book, *number, bound)).collect();
        let said = round::ask(&mut link.lanes, &requests, &self.book).await;
        for (request, said) in requests.iter().zip(said) {
            let innocent = matches!(said, Said::Found { .. });
            self.hear(request, said, now);
            for number in request.members.iter().filter(|_| innocent) {
                self.book.suspected(*number);
            }
        }
        Ok(())
    }

    fn outcome(&self, number: Number, now: Tick) -> Result<&Outcome, ReadFailure> {
        let question = self.book.get(number);
        if let Some((until, failure)) = question.and_then(|question| question.rests.as_ref())
            && now < *until
        {
            return Err(failure.clone());
        }
        match question.and_then(|question| question.outcome.as_ref()) {
            Some(outcome) => outcome.as_ref().map_err(Clone::clone),
            None => Err(ReadFailure::new(FailureKind::Protocol, format!("{} was not asked", self.name))),
        }
    }
}

impl Backend for QueryBackend {
    type Link = Link;
    type Batch = Batch;

    fn track(&mut self, read: &Read) -> ReadId {
        let tracked = if let Read::Query(wanted) = read {
            let time = match &wanted.freshness {
                Freshness::OfSamples => Some(self.book.enter(&format!("timestamp(\n{}\n)", wanted.query).into())),
                Freshness::Query(text) => Some(self.book.enter(text)),
                Freshness::Unknown => None,
            };
            Some(Tracked { wanted: Arc::clone(wanted), value: self.book.enter(&wanted.query), time })
        } else {
            None
        };
        self.tracked.add(tracked)
    }

    fn untrack(&mut self, id: ReadId) {
        if let Some(tracked) = self.tracked.take(id).flatten() {
            self.book.leave(tracked.value);
            if let Some(time) = tracked.time {
                self.book.leave(time);
            }
        }
    }

    fn prepare(&mut self, reads: &[ReadId]) -> Batch {
        let mut seen = HashSet::new();
        let mut wanted = Vec::new();
        for tracked in reads.iter().filter_map(|read| self.tracked(*read)) {
            // The time first: should a new sample come between two requests, the value is thought older than it is.
            wanted.extend(tracked.time.into_iter().chain([tracked.value]).filter(|number| seen.insert(*number)));
        }
        let requests = requests::requests(&self.book, &wanted, self.bound());
        Batch { reads: reads.to_vec(), wanted, requests, edition: Some(self.book.edition()) }
    }

    fn commands(&self, batch: &Batch, _reads: usize, _now: Tick) -> usize {
        batch.requests.len()
    }

    fn connect(&self) -> impl Future<Output = Result<Link, ReadFailure>> + Send + 'static {
        let caller = self.caller.clone();
        async move {
            let identity = caller.identify().await?;
            let url = &caller.server().url;
            let place = Arc::new(Place::at(url, &url.address)?);
            let lane = |_| Lane::new(Channel::new(Arc::clone(&place), Arc::clone(&identity)));
            let mut lanes: Vec<Lane> = (0..LANES).map(lane).collect();
            // The others are opened when there is use for them.
            if let Some(first) = lanes.first_mut() {
                first.connect().await?;
            }
            Ok(Link { identity, lanes })
        }
    }

    fn made_of(link: &Link) -> Option<Material> {
        link.identity.material()
    }

    fn look(&self) -> impl Future<Output = Option<Material>> + Send + 'static {
        self.caller.clone().look()
    }

    fn changes(&self) -> Option<watch::Receiver<u64>> {
        self.caller.changes()
    }

    fn take_load(link: &mut Link) -> Load {
        link.identity.take_load()
    }

    fn grievance(&mut self, _link: &Link) -> Option<String> {
        self.warnings.pop_front()
    }

    async fn fetch(
        &mut self,
        link: &mut Link,
        batch: &mut Batch,
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        answers.begin(batch.reads.len());
        self.renew(batch, at.tick);
        self.ask(link, batch, at.tick).await?;
        for (position, read) in batch.reads.iter().enumerate() {
            let Some(tracked) = self.tracked(*read) else {
                answers.fail(position, on_no_prometheus());
                continue;
            };
            let observed = self.outcome(tracked.value, at.tick).and_then(|value| {
                let time = tracked.time.map(|time| self.outcome(time, at.tick));
                verdict::observe(&self.name, &tracked.wanted, value, time.as_ref())
            });
            match observed {
                Ok(observation) => answers.set_facts(position, observation),
                Err(failure) => answers.fail(position, failure),
            }
        }
        Ok(())
    }
}

#[cold]
fn on_no_prometheus() -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, "what is asked for is on no Prometheus: name another Connection")
}

/// What a trigger would observe of this body, answered to its query and, if it has one, to that of its freshness. For
/// fuzzers.
///
/// # Errors
/// It observes nothing.
#[doc(hidden)]
pub fn judge(wanted: &PrometheusQuery, body: &[u8]) -> Result<crate::model::Observation, ReadFailure> {
    let read = || {
        let found = answer::Answer::read(body).and_then(answer::Answer::found);
        let found = found.map_err(|no| round::no_prometheus("fuzzed:9090", body, &no.0))?;
        found.map(Outcome::of).map_err(|refusal| verdict::refusal("fuzzed:9090", &wanted.query, &refusal))
    };
    let (value, time) = (read()?, read());
    let time = (wanted.freshness != Freshness::Unknown).then(|| time.as_ref().map_err(Clone::clone));
    verdict::observe("fuzzed:9090", wanted, &value, time.as_ref())
}

/// The requests that these queries take once it is known that each answers with a vector. For benchmarks.
#[doc(hidden)]
#[must_use]
pub fn forms(wanted: &[PrometheusQuery], bound: Duration) -> Vec<hyper::body::Bytes> {
    let mut book = Book::new();
    let mut numbers = Vec::new();
    for query in wanted {
        let time = (query.freshness == Freshness::OfSamples)
            .then(|| book.enter(&format!("timestamp(\n{}\n)", query.query).into()));
        numbers.extend(time.into_iter().chain([book.enter(&query.query)]));
    }
    for number in &numbers {
        book.answered_alone(*number, false);
    }
    requests::requests(&book, &numbers, bound).into_iter().map(|request| request.form).collect()
}
