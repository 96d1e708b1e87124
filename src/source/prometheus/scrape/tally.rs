//! From the series of many pages to one number.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::model::{FailureKind, Measure, Observation, ReadFailure, Tick};
use crate::source::Moment;
use crate::source::network::plain;
use crate::source::prometheus::exposition::Series;
use crate::source::prometheus::items;
use crate::spec::{Combine, PrometheusScrape};

/// What one page has of what one read wants.
#[derive(Clone, Debug, Default)]
pub(super) struct Part {
    sum: f64,
    max: f64,
    min: f64,
    /// Series that match, and series of the name that do not.
    series: u32,
    others: u32,
    /// How old the oldest was by its own time, when it was read.
    age: Option<Duration>,
    /// A value that is no count.
    pub(super) wrong: Option<ReadFailure>,
    /// When it was read.
    pub(super) taken: Tick,
    /// Names of the page that are like the one that it has not.
    pub(super) near: Vec<String>,
}

impl Part {
    /// A series of the metric; `None`: one that does not match.
    pub(super) fn take(&mut self, series: Option<Series<'_, '_>>, at: Moment) {
        self.taken = at.tick;
        let Some(series) = series else {
            self.others += 1;
            return;
        };
        let value = match items(series.value, || shown(&series)) {
            Ok(value) => value,
            Err(failure) => {
                self.wrong.get_or_insert(failure);
                return;
            }
        };
        if let Some(time) = series.time {
            let now = Duration::from_millis(at.unix_millis).as_secs_f64();
            // Clocks differ a little, and what is of the next second is new.
            let age = Duration::try_from_secs_f64(now - time).unwrap_or_default();
            self.age = Some(self.age.map_or(age, |known| known.max(age)));
        }
        if self.series == 0 {
            (self.max, self.min) = (value, value);
        }
        self.sum += value;
        self.max = self.max.max(value);
        self.min = self.min.min(value);
        self.series += 1;
    }

    /// Whether the page has no series of the name, matching or not.
    pub(super) fn is_unknown(&self) -> bool {
        self.series == 0 && self.others == 0 && self.wrong.is_none()
    }
}

fn shown(series: &Series<'_, '_>) -> String {
    let labels = series.labels.iter().map(|(name, value)| format!("{}={:?}", name.text(), value.text()));
    plain(&format!("{}{{{}}}", series.name, labels.collect::<Vec<_>>().join(",")))
}

/// What all pages have.
#[derive(Default)]
pub(super) struct Tally {
    all: Part,
    near: BTreeSet<String>,
    wrong: Option<ReadFailure>,
}

impl Tally {
    /// A page of this round.
    pub(super) fn add(&mut self, part: &Part, target: &str) {
        if let Some(wrong) = &part.wrong {
            let named = || ReadFailure::new(wrong.kind, format!("{target}: {}", wrong.message));
            self.wrong.get_or_insert_with(named);
        }
        self.near.extend(part.near.iter().cloned());
        self.join(part, part.age);
    }

    /// What was known of one that does not answer, `age` ago.
    pub(super) fn add_old(&mut self, part: &Part, age: Duration) {
        self.join(part, Some(part.age.unwrap_or_default() + age));
    }

    fn join(&mut self, part: &Part, age: Option<Duration>) {
        let all = &mut self.all;
        if part.series > 0 {
            all.max = if all.series == 0 { part.max } else { all.max.max(part.max) };
            all.min = if all.series == 0 { part.min } else { all.min.min(part.min) };
        }
        all.sum += part.sum;
        all.series += part.series;
        all.others += part.others;
        all.age = all.age.max(age);
    }

    /// What the trigger observes; `asked`: who was.
    pub(super) fn observe(self, wanted: &PrometheusScrape, asked: &str) -> Result<Observation, ReadFailure> {
        let Tally { all, near, wrong } = self;
        if let Some(wrong) = wrong {
            return Err(wrong);
        }
        if all.series == 0 {
            return Err(nothing(wanted, &all, &near, asked));
        }
        let number = match wanted.combine {
            Combine::Sum => all.sum,
            Combine::Max => all.max,
            Combine::Min => all.min,
            Combine::Avg => all.sum / f64::from(all.series),
        };
        // A sum of numbers that are all right may be too large.
        let backlog = items(number, || format!("{asked}: what {} adds up to", wanted.metric))?;
        let age = all.age.map_or(Measure::UNKNOWN, |age| Measure::new(age.as_secs_f64()));
        Ok(Observation { age, ..Observation::of_backlog(backlog) })
    }
}

fn nothing(wanted: &PrometheusScrape, all: &Part, near: &BTreeSet<String>, asked: &str) -> ReadFailure {
    let metric = plain(&wanted.metric);
    let sentence = if all.others > 0 {
        format!(
            "{asked}: {metric} is there with {} series, and none of them matches; check the labels of `metric`",
            all.others
        )
    } else if near.is_empty() {
        format!("{asked}: there is no metric {metric}, nor one that is called something like it")
    } else {
        let near: Vec<&str> = near.iter().take(SHOWN).map(String::as_str).collect();
        format!("{asked}: there is no metric {metric}; did you mean {}?", plain(&near.join(", ")))
    };
    ReadFailure::new(FailureKind::Protocol, sentence)
}

/// Names that a message shows.
const SHOWN: usize = 3;
