//! Rows of cells with named columns, wherever they come from, made into events or series. Each row is looked at once.

use super::columns::{Column, Plan, Sample, missing, number, plan};
use super::events::{Events, UNKNOWN};
use super::series::{Recorded, Series, Setting, assemble, too_many};
use super::time::{Kind, Moments};
use super::wrong::{Wrong, quoted};
use super::{Format, Job, Role, Rows, SecondsPerToken, Stamp, Trace, Unit};

/// Longest service: three years. What is longer is in another unit.
const LONGEST_SERVICE: f64 = 1e8;

/// Counts and depths above this are none: 2^53, where an f64 begins to miss integers.
const LARGEST: f64 = 9_007_199_254_740_992.0;

pub(super) struct Table<'a> {
    job: &'a Job<'a>,
    origin: Format,
    time: Column,
    moments: Moments,
    columns: Vec<Column>,
    shape: Shape,
    notes: Vec<String>,
    rows: u64,
}

enum Shape {
    Events(Events),
    /// Times, and a row of values for each column.
    Series(Vec<i64>, Vec<Vec<f64>>),
}

impl<'a> Table<'a> {
    pub(super) fn plan(
        job: &'a Job<'a>,
        origin: Format,
        names: &[String],
        rows: &[Vec<&[u8]>],
        wrong: &mut Wrong,
    ) -> Option<Self> {
        let Plan { time, rows, mut columns, notes } = plan(&Sample { names, rows }, job.options, wrong)?;
        let shape = match rows {
            Rows::Events => {
                // Where the service itself is told, its tokens are not needed.
                let told = columns.iter().any(|column| column.role == Role::Service);
                columns.retain(|column| !told || column.role == Role::Service);
                Shape::Events(Events::default())
            }
            Rows::Series => Shape::Series(Vec::new(), vec![Vec::new(); columns.len()]),
        };
        let moments = Moments::new(job.options.time_unit.or(time.unit));
        Some(Table { job, origin, time, moments, columns, shape, notes, rows: 0 })
    }

    /// Takes a row; false if no more are wanted.
    pub(super) fn row<'r>(
        &mut self,
        line: Option<u64>,
        cell: impl Fn(usize) -> Option<&'r [u8]>,
        wrong: &mut Wrong,
    ) -> bool {
        self.rows += 1;
        if self.rows > self.job.options.max_arrivals {
            too_many(self.job, wrong);
            return false;
        }
        let at = match cell(self.time.index).filter(|cell| !cell.trim_ascii().is_empty()) {
            Some(text) => self.moments.read(text, line),
            None => Err(("missing", "the row has no time".to_owned(), "each row needs one".to_owned())),
        };
        let at = match at {
            Ok(at) => Some(at),
            Err((kind, message, cure)) => {
                wrong.row(kind, line, &self.time.name, || (message, cure));
                None
            }
        };
        match &mut self.shape {
            Shape::Events(events) => {
                let service = service(&self.columns, self.job, line, &cell, wrong);
                if let (Some(at), Ok(service)) = (at, service) {
                    events.push(at, service);
                }
            }
            Shape::Series(times, values) => {
                for (column, values) in self.columns.iter().zip(values) {
                    let value = value(cell(column.index), column, line, wrong);
                    if at.is_some() {
                        values.push(value);
                    }
                }
                times.extend(at);
            }
        }
        true
    }

    pub(super) fn finish(self, wrong: &mut Wrong) -> Option<Trace> {
        if !wrong.is_empty() {
            return None;
        }
        let Table { job, origin, moments, columns, shape, mut notes, .. } = self;
        if moments.zoneless {
            notes.push("times have no zone: taken for UTC".to_owned());
        }
        if let Some(Kind::Relative(unit)) = moments.kind() {
            notes.push(format!("times are taken for {} since the beginning", unit_name(unit)));
        }
        let setting = Setting { origin, absolute: moments.absolute(), patience: 3.0, stamp: Stamp::Start };
        let mut trace = match shape {
            Shape::Events(events) => {
                if columns.iter().any(|column| column.role != Role::Service) {
                    notes.push(match job.options.seconds_per_token {
                        None => "it has tokens; services come of them with --seconds-per-token".to_owned(),
                        Some(SecondsPerToken { input, output }) => {
                            // As it was written: a quantity has nine places, and its float some more.
                            let [input, output] = [input, output].map(|seconds| (seconds * 1e9).round() / 1e9);
                            format!("services are {input} s for each token read and {output} s for each written")
                        }
                    });
                }
                events.finish(job, setting, wrong)?
            }
            Shape::Series(times, values) => {
                let recorded: Recorded = columns
                    .into_iter()
                    .zip(values)
                    .map(|(column, values)| {
                        let samples = times.iter().copied().zip(values).collect();
                        (column.role, Series { name: column.name, samples })
                    })
                    .collect();
                assemble(job, recorded, setting, wrong)?
            }
        };
        notes.append(&mut trace.notes);
        trace.notes = notes;
        Some(trace)
    }
}

fn unit_name(unit: Unit) -> &'static str {
    unit.name()
}

/// A measured value; NaN if there is none, or if it is wrong, which is told.
fn value(cell: Option<&[u8]>, column: &Column, line: Option<u64>, wrong: &mut Wrong) -> f64 {
    let Some(cell) = cell.filter(|cell| !missing(cell)) else { return f64::NAN };
    match number(cell) {
        Some(value) if (0.0..=LARGEST).contains(&value) => value,
        Some(value) if value < 0.0 => {
            wrong.row("negative", line, &column.name, || {
                (
                    format!("{} is negative, and {} never is", quoted(cell), column.role.name()),
                    "leave the cell empty where nothing is known".to_owned(),
                )
            });
            f64::NAN
        }
        Some(_) => {
            wrong.row("size", line, &column.name, || {
                (
                    format!("{} is too large for {}", quoted(cell), column.role.name()),
                    "is this the right column?".to_owned(),
                )
            });
            f64::NAN
        }
        None => {
            wrong.row("number", line, &column.name, || {
                (
                    format!("{} is no number", quoted(cell)),
                    "write a number with a point, or leave the cell empty where nothing is known".to_owned(),
                )
            });
            f64::NAN
        }
    }
}

/// The service of an item in ns, if the table tells services at all. Err is a row to leave out, and told.
fn service<'r>(
    columns: &[Column],
    job: &Job<'_>,
    line: Option<u64>,
    cell: impl Fn(usize) -> Option<&'r [u8]>,
    wrong: &mut Wrong,
) -> Result<Option<u64>, ()> {
    let mut seconds = 0.0;
    let mut known = true;
    for column in columns {
        let worth = match (column.role, job.options.seconds_per_token) {
            (Role::InputTokens, Some(tokens)) => tokens.input,
            (Role::OutputTokens, Some(tokens)) => tokens.output,
            (Role::InputTokens | Role::OutputTokens, None) => return Ok(None),
            _ => f64::from(column.unit.or(job.options.service_unit).unwrap_or(Unit::Seconds).nanos()) / 1e9,
        };
        let text = cell(column.index).filter(|cell| !missing(cell));
        let value = text.and_then(number).map(|number| number * worth);
        match (text, value) {
            (None, _) => known = false,
            (Some(_), Some(value)) if (0.0..=LONGEST_SERVICE).contains(&value) => seconds += value,
            (Some(text), value) => {
                let negative = value.is_some_and(|value| value < 0.0);
                let kind = if negative { "negative" } else { "service" };
                wrong.row(kind, line, &column.name, || {
                    let message = match value {
                        None => format!("{} is no number", quoted(text)),
                        Some(_) if negative => format!("{} is negative", quoted(text)),
                        Some(value) => format!("{} is a service of {value} s", quoted(text)),
                    };
                    (message, "write seconds, or the unit into the column's name: duration_ms".to_owned())
                });
                return Err(());
            }
        }
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 3e8 seconds, as checked")]
    let nanos = (seconds * 1e9).round() as u64;
    Ok((!columns.is_empty()).then_some(if known { nanos } else { UNKNOWN }))
}
