//! From what a Prometheus found to what a trigger observes, or to why it observes nothing.

use crate::model::{FailureKind, Measure, Observation, ReadFailure};
use crate::source::network::{plain, shown};
use crate::spec::{Freshness, PrometheusQuery};

use super::answer::{Found, Point, Refusal};
use crate::source::prometheus::items;

/// What one query found.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Vector(Vec<Series>),
    Scalar(Point),
    /// Something that is neither, by its name.
    Other(String),
}

#[derive(Clone, Debug)]
pub(super) struct Series {
    labels: Vec<(Box<str>, Box<str>)>,
    point: Option<Point>,
}

/// The label of a metric's name.
const NAME: &str = "__name__";

/// A time this far ahead of the server's own is none, or in milliseconds.
const AHEAD: f64 = 3600.0;

/// Series that a message shows.
const SHOWN: usize = 3;

impl Series {
    /// Without the label `mark`.
    pub(super) fn of(found: super::answer::Series<'_>, mark: &str) -> Self {
        let labels = found.labels.into_iter().filter(|(name, _)| name != mark);
        Series { labels: labels.map(|(name, value)| (name.into(), value.into())).collect(), point: found.point }
    }

    fn has(&self, name: &str, value: &str) -> bool {
        let found = self.labels.iter().find(|(own, _)| **own == *name);
        // As in PromQL: a label that is not there is empty.
        found.map_or("", |(_, value)| value) == value
    }

    /// Of one series, whatever the metric is called: what `timestamp` gives has lost its name.
    fn is_of(&self, other: &Series) -> bool {
        let rest = |series: &Series| -> Vec<(Box<str>, Box<str>)> {
            let mut rest: Vec<_> = series.labels.iter().filter(|(name, _)| **name != *NAME).cloned().collect();
            rest.sort_unstable();
            rest
        };
        rest(self) == rest(other)
    }

    fn text(&self) -> String {
        let labels: Vec<String> = self.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        plain(&format!("{{{}}}", labels.join(",")))
    }
}

impl Outcome {
    /// Of a query that was asked alone.
    pub(super) fn of(found: Found<'_>) -> Self {
        match found {
            Found::Vector(series) => {
                Outcome::Vector(series.into_iter().map(|series| Series::of(series, super::book::MARK)).collect())
            }
            Found::Scalar(point) => Outcome::Scalar(point),
            Found::Other(kind) => Outcome::Other(kind.into_owned()),
        }
    }

    /// The same of one that stood among others, where a scalar became a series without labels.
    pub(super) fn of_marked(series: Vec<Series>, scalar: bool) -> Self {
        match series.as_slice() {
            [Series { point: Some(point), .. }] if scalar => Outcome::Scalar(*point),
            _ => Outcome::Vector(series),
        }
    }
}

/// What a trigger observes. `value` is what its query found, `time` what is found about its age.
pub(super) fn observe(
    server: &str,
    wanted: &PrometheusQuery,
    value: &Outcome,
    time: Option<&Result<&Outcome, ReadFailure>>,
) -> Result<Observation, ReadFailure> {
    let query = || format!("{server}: the query {}", shown(&wanted.query));
    let (series, point) = match pick(value, &wanted.labels, "aggregate them, or pick one with `labels`", query)? {
        Picked::Nothing if wanted.ignore_null_values => return Ok(Observation::of_backlog(0.0)),
        Picked::Nothing => {
            let cure = if wanted.labels.is_empty() {
                "is the metric there, and does it have samples of the last minutes?"
            } else {
                "does `labels` say what the series has?"
            };
            return Err(ReadFailure::new(
                FailureKind::Protocol,
                format!("{} found nothing, which is not zero; {cure} (or write `or vector(0)`)", query()),
            ));
        }
        Picked::One(series, point) => (series, point),
    };
    let age = match (&wanted.freshness, time) {
        (Freshness::Unknown, _) | (_, None) => Measure::UNKNOWN,
        (Freshness::OfSamples, Some(time)) => age_of_series(server, wanted, series, time)?,
        (Freshness::Query(text), Some(time)) => {
            let what = || format!("{server}: the freshnessQuery {}", shown(text));
            let time = time.as_ref().map_err(Clone::clone)?;
            // One time may be the time of all.
            let labels = if matches!(time, Outcome::Vector(one) if one.len() == 1) { &[] } else { &*wanted.labels };
            match pick(time, labels, "aggregate them with min", what)? {
                Picked::Nothing => {
                    return Err(ReadFailure::new(FailureKind::Protocol, format!("{} found nothing", what())));
                }
                Picked::One(_, point) => age(point, what)?,
            }
        }
    };
    let number = if wanted.ignore_null_values && !point.value.is_finite() { 0.0 } else { point.value };
    let backlog = items(number, || format!("{} found a value that", query()))?;
    Ok(Observation { age, ..Observation::of_backlog(backlog) })
}

enum Picked<'o> {
    Nothing,
    One(Option<&'o Series>, Point),
}

/// The one value, or the one series that `labels` pick.
fn pick<'o>(
    outcome: &'o Outcome,
    labels: &[(std::sync::Arc<str>, std::sync::Arc<str>)],
    cure: &str,
    query: impl Fn() -> String,
) -> Result<Picked<'o>, ReadFailure> {
    let wrong = |sentence: String| ReadFailure::new(FailureKind::WrongType, format!("{} {sentence}", query()));
    let all = match outcome {
        Outcome::Scalar(point) => return Ok(Picked::One(None, *point)),
        Outcome::Other(kind) => {
            let cure = match kind.as_str() {
                "matrix" => {
                    "take the range (`[5m]`) out, or put a function such as `rate` or `max_over_time` around it"
                }
                _ => "write a query whose value is a number",
            };
            return Err(wrong(format!("answers with a {}, which is no number; {cure}", plain(kind))));
        }
        Outcome::Vector(series) => series,
    };
    let fits = |series: &&Series| labels.iter().all(|(name, value)| series.has(name, value));
    let mut fitting = all.iter().filter(fits);
    let series = match (fitting.next(), fitting.next()) {
        (None, _) => return Ok(Picked::Nothing),
        (Some(series), None) => series,
        (Some(_), Some(_)) => {
            let fitting: Vec<&Series> = all.iter().filter(fits).collect();
            let some: Vec<String> = fitting.iter().take(SHOWN).map(|series| series.text()).collect();
            let and = if fitting.len() > SHOWN { " ..." } else { "" };
            return Err(wrong(format!(
                "answers with {} series where one is wanted ({}{and}); {cure}",
                fitting.len(),
                some.join(", ")
            )));
        }
    };
    let Some(point) = series.point else {
        return Err(wrong(
            "answers with a native histogram; put `histogram_count` or `histogram_quantile` around it".to_owned(),
        ));
    };
    Ok(Picked::One(Some(series), point))
}

fn age_of_series(
    server: &str,
    wanted: &PrometheusQuery,
    series: Option<&Series>,
    time: &Result<&Outcome, ReadFailure>,
) -> Result<Measure, ReadFailure> {
    let what = || format!("{server}: timestamp({})", plain(&wanted.query));
    let unknown = |why: &str| {
        ReadFailure::new(
            FailureKind::Protocol,
            format!("{} {why}, so that nobody knows how old the value is; write a `freshnessQuery`", what()),
        )
    };
    match time {
        Err(failure) => Err(ReadFailure::new(failure.kind, format!("how old the value is: {}", failure.message))),
        Ok(Outcome::Vector(times)) => {
            let mut own = times.iter().filter(|time| series.is_some_and(|series| series.is_of(time)));
            match (own.next().and_then(|time| time.point), own.next()) {
                (Some(point), None) => age(point, what),
                (None, _) => Err(unknown("found nothing")),
                (Some(_), Some(_)) => Err(unknown("found several series")),
            }
        }
        Ok(_) => Err(unknown("found no series")),
    }
}

/// How old something of the time `point.value` was at `point.at`.
fn age(point: Point, what: impl Fn() -> String) -> Result<Measure, ReadFailure> {
    let Point { at, value } = point;
    if !(0.0..=at + AHEAD).contains(&value) {
        let sentence = format!("{} found {value}, which is no time in seconds since the epoch up to now", what());
        return Err(ReadFailure::new(FailureKind::WrongType, sentence));
    }
    // Clocks differ a little: what is of the next second is new.
    Ok(Measure::new((at - value).max(0.0)))
}

/// Why `query` was refused, in words.
pub(super) fn refusal(server: &str, query: &str, refusal: &Refusal<'_>) -> ReadFailure {
    let Refusal { kind, words } = refusal;
    let (query, words) = (shown(query), plain(words));
    let (kind, sentence) = match kind.as_ref() {
        "bad_data" => (FailureKind::Configuration, format!("{server} does not understand the query {query}: {words}")),
        "timeout" | "canceled" => (
            FailureKind::Timeout,
            format!(
                "{server} could not work the query {query} out within responseTimeout ({words}); raise it, or have a \
                 recording rule do the work"
            ),
        ),
        "execution" | "execution_error" | "422" => {
            (FailureKind::Protocol, format!("{server} could not work the query {query} out: {words}"))
        }
        "unavailable" | "internal" | "too_many_requests" => {
            (FailureKind::NotServing, format!("{server} did not answer the query {query}: {words}"))
        }
        other => (FailureKind::Protocol, format!("{server} refused the query {query} ({}): {words}", plain(other))),
    };
    ReadFailure::new(kind, sentence)
}
