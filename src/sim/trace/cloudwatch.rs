//! Answers of `aws cloudwatch get-metric-data`: SQS says what was sent, what was deleted and what waits, per period. A
//! queue that nobody used for six hours says nothing at all, so what is missing is a gap and no zero.

use std::io::BufRead;

use serde::Deserialize;

use super::names::{classify, plain};
use super::roles::{Found, choose};
use super::series::{Setting, assemble};
use super::time::{Moments, nanos_of_seconds};
use super::wrong::Wrong;
use super::{Format, Job, Role, Stamp, Trace, whole};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    metric_data_results: Vec<Metric>,
    next_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metric {
    #[serde(default)]
    id: String,
    #[serde(default)]
    label: String,
    #[serde(default)]
    timestamps: Vec<Time>,
    #[serde(default)]
    values: Vec<f64>,
    status_code: Option<String>,
}

/// The command line prints texts; programs print seconds.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Seconds(f64),
    Text(String),
}

pub(super) fn import(job: &Job<'_>, input: &mut dyn BufRead, wrong: &mut Wrong) -> Option<Trace> {
    let text = whole(input, wrong)?;
    let mut notes = Vec::new();
    let mut metrics: Vec<Metric> = Vec::new();
    // Pages of one answer are often saved one after the other; the same metric of two pages is one.
    for answer in serde_json::Deserializer::from_slice(&text).into_iter::<Answer>() {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let cure = "save what aws cloudwatch get-metric-data prints, with --output json";
                wrong.file(format!("it is no answer of get-metric-data: {error}"), cure);
                return None;
            }
        };
        if answer.next_token.is_some() {
            notes.push("the answer says that there is more (NextToken): the pages after it may be missing".to_owned());
        }
        for metric in answer.metric_data_results {
            add(metric, &mut metrics, wrong);
        }
    }
    let partial = |metric: &&Metric| metric.status_code.as_deref().is_some_and(|code| code != "Complete");
    for metric in metrics.iter().filter(partial) {
        let code = metric.status_code.as_deref().unwrap_or_default();
        notes.push(format!("`{}` is not complete (StatusCode {code})", metric.shown()));
    }
    if metrics.is_empty() {
        wrong.file("the answer has no metrics", "name metrics of the queue in --metric-data-queries");
        return None;
    }
    let ids: Vec<(String, String)> = metrics.iter().map(|metric| (metric.id.clone(), metric.label.clone())).collect();
    let found = metrics.into_iter().map(|metric| found(metric, wrong)).collect();
    let matches = |selector: &str, at: usize, _: &Found| {
        ids.get(at).is_some_and(|(id, label)| id == selector || label == selector || last_word(label) == selector)
    };
    let recorded = choose(found, job.options, matches, &mut notes, wrong);
    if !wrong.is_empty() {
        return None;
    }
    let setting = Setting { origin: Format::CloudWatch, absolute: true, patience: 3.0, stamp: Stamp::Start };
    let mut trace = assemble(job, recorded, setting, wrong)?;
    notes.append(&mut trace.notes);
    trace.notes = notes;
    Some(trace)
}

impl Metric {
    fn shown(&self) -> &str {
        if self.label.is_empty() { &self.id } else { &self.label }
    }
}

fn add(mut metric: Metric, metrics: &mut Vec<Metric>, wrong: &mut Wrong) {
    if metric.timestamps.len() != metric.values.len() {
        wrong.column(
            metric.shown(),
            format!("it has {} timestamps and {} values", metric.timestamps.len(), metric.values.len()),
            "export it again",
        );
    }
    let same = |other: &&mut Metric| other.id == metric.id && other.label == metric.label;
    match metrics.iter_mut().find(same) {
        Some(before) => {
            before.timestamps.append(&mut metric.timestamps);
            before.values.append(&mut metric.values);
            before.status_code = metric.status_code;
        }
        None => metrics.push(metric),
    }
}

fn found(metric: Metric, wrong: &mut Wrong) -> Found {
    let name = metric.shown().to_owned();
    let guess = guess(&metric.label).or_else(|| guess(&metric.id));
    let mut moments = Moments::new(None);
    let mut samples = Vec::with_capacity(metric.values.len());
    for (time, value) in metric.timestamps.iter().zip(metric.values) {
        let at = match time {
            Time::Seconds(seconds) => nanos_of_seconds(*seconds),
            Time::Text(text) => moments.read(text.as_bytes(), None).ok(),
        };
        match at {
            Some(at) => samples.push((at, value)),
            None => wrong.row("time", None, &name, || {
                let time = match time {
                    Time::Seconds(seconds) => seconds.to_string(),
                    Time::Text(text) => text.clone(),
                };
                (format!("`{time}` is no time from 1990 to 2100"), "export it again".to_owned())
            }),
        }
    }
    // Newest first is the default of the command.
    samples.sort_by_key(|sample| sample.0);
    Found { name, guess, samples }
}

/// Labels are the name of the metric unless told; with several queues its last word: `my-queue NumberOfMessagesSent`.
fn guess(label: &str) -> Option<(Role, u8)> {
    let guess = classify(last_word(label)).filter(|guess| !guess.weak)?;
    let of_sqs = plain(label).contains("numberofmessages") || plain(label).contains("ageofoldestmessage");
    let taken = !matches!(guess.role, Role::Time | Role::Service | Role::InputTokens | Role::OutputTokens);
    taken.then_some((guess.role, if of_sqs { 0 } else { 1 }))
}

fn last_word(label: &str) -> &str {
    label.rsplit(char::is_whitespace).next().unwrap_or(label)
}
