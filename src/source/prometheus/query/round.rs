//! The asking of one round: requests over a few connections at once, and what came of each.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;
use hyper::StatusCode;

use super::answer::{Answer, Found, Refusal};
use super::book::{Book, MARK, Number};
use super::requests::Request;
use super::verdict::{self, Outcome, Series};
use crate::model::{FailureKind, ReadFailure};
use crate::source::network::plain;
use crate::source::prometheus::http::{self, Buffers, Channel, Question};

const PATH: &str = "/api/v1/query";
const CURE: &str = "is `url` what stands before /api/v1, and is a Prometheus behind it?";

/// A connection that is asked over, and the memory for its answers.
pub(super) struct Lane {
    channel: Channel,
    buffers: Buffers,
}

/// What came of a request.
pub(super) enum Said {
    Found {
        outcomes: Vec<(Number, Outcome)>,
        warnings: Vec<String>,
    },
    /// Prometheus refused it, in its own words.
    Refused(ReadFailure),
    /// It took longer than it may.
    Late(ReadFailure),
    /// There is no answer of a Prometheus.
    Lost(ReadFailure),
}

impl Lane {
    pub(super) fn new(channel: Channel) -> Self {
        Lane { channel, buffers: Buffers::default() }
    }

    pub(super) async fn connect(&mut self) -> Result<(), ReadFailure> {
        self.channel.connect().await
    }

    async fn ask(&mut self, request: &Request, book: &Book) -> Said {
        let question =
            Question { path: PATH, form: Some(request.form.clone()), accept: "application/json", packed: false };
        let name = self.channel.place().name.clone();
        let answer = match self.channel.ask(&question, &mut self.buffers).await {
            Ok(answer) => answer,
            Err(failure) if failure.kind == FailureKind::Timeout => return Said::Late(failure),
            Err(failure) => return Said::Lost(failure),
        };
        let read = Answer::read(answer.body);
        // Refusals come with several statuses; what counts is that Prometheus wrote them.
        let refused = |refusal: &Refusal<'_>| {
            let text = match request.members.as_slice() {
                [one] => book.get(*one).map_or("", |question| &question.text),
                _ => "of several",
            };
            let failure = verdict::refusal(&name, text, refusal);
            if failure.kind == FailureKind::Timeout { Said::Late(failure) } else { Said::Refused(failure) }
        };
        if answer.status != StatusCode::OK {
            return match read.map(Answer::found) {
                Ok(Ok(Err(refusal))) => refused(&refusal),
                _ => Said::Lost(http::refused(&name, &answer, CURE)),
            };
        }
        let mut answer = match read {
            Ok(answer) => answer,
            Err(no) => return Said::Lost(no_prometheus(&name, answer.body, &no.0)),
        };
        let warnings = std::mem::take(&mut answer.warnings).into_iter().map(std::borrow::Cow::into_owned).collect();
        match answer.found() {
            Ok(Ok(found)) => match sort(found, request, book) {
                Some(outcomes) => Said::Found { outcomes, warnings },
                None => Said::Refused(ReadFailure::new(
                    FailureKind::Protocol,
                    format!("{name} answers to several queries at once in a way that cannot be told apart"),
                )),
            },
            Ok(Err(refusal)) => refused(&refusal),
            Err(no) => Said::Lost(no_prometheus(&name, &[], &no.0)),
        }
    }
}

/// Whose each series is. `None`: some series is nobody's.
fn sort(found: Found<'_>, request: &Request, book: &Book) -> Option<Vec<(Number, Outcome)>> {
    if let [one] = request.members.as_slice() {
        return Some(vec![(*one, Outcome::of(found))]);
    }
    let Found::Vector(all) = found else { return None };
    // Who has no series has an empty answer.
    let mut of: BTreeMap<Number, Vec<Series>> = request.members.iter().map(|number| (*number, Vec::new())).collect();
    for series in all {
        let mark = series.labels.iter().find(|(name, _)| name == MARK);
        let number = mark.and_then(|(_, mark)| book.marked(mark))?;
        of.get_mut(&number)?.push(Series::of(series, MARK));
    }
    let outcome = |(number, series)| (number, Outcome::of_marked(series, book.is_scalar(number)));
    Some(of.into_iter().map(outcome).collect())
}

pub(super) fn no_prometheus(name: &str, body: &[u8], detail: &str) -> ReadFailure {
    let what = if body.trim_ascii_start().first() == Some(&b'<') {
        "a web page (HTML)".to_owned()
    } else {
        format!("something that is no answer of a Prometheus ({})", plain(detail))
    };
    ReadFailure::new(FailureKind::Protocol, format!("{name} answered {what}; {CURE}"))
}

/// Asks all of `requests`, over all lanes at once; answers are in their order.
pub(super) async fn ask(lanes: &mut [Lane], requests: &[Request], book: &Book) -> Vec<Said> {
    let next = AtomicUsize::new(0);
    let work = lanes.iter_mut().take(requests.len()).map(|lane| {
        let next = &next;
        async move {
            let mut said = Vec::new();
            loop {
                let position = next.fetch_add(1, Ordering::Relaxed);
                let Some(request) = requests.get(position) else { return said };
                said.push((position, lane.ask(request, book).await));
            }
        }
    });
    let mut said: Vec<(usize, Said)> = join_all(work).await.into_iter().flatten().collect();
    said.sort_unstable_by_key(|(position, _)| *position);
    said.into_iter().map(|(_, said)| said).collect()
}

/// Why the server as a whole could not be asked, if it could not.
pub(super) fn all_lost(said: &[Said]) -> Option<ReadFailure> {
    let mut first = None;
    for said in said {
        match said {
            // One of the requests that took too long may be to blame for it; all of them are not.
            Said::Lost(failure) | Said::Late(failure) => first = first.or(Some(failure)),
            Said::Found { .. } | Said::Refused(_) => return None,
        }
    }
    first.cloned()
}
