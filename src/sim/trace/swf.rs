//! Standard Workload Format: the archives of batch systems, with true run times. Eighteen numbers a line, of which three
//! matter here: when a job was submitted, how long it ran, and what became of it. -1 is what nobody knows.

use std::io::BufRead;

use super::events::{Events, UNKNOWN};
use super::series::{Setting, too_many};
use super::time::SECOND;
use super::wrong::{Wrong, quoted};
use super::{Format, Job, Stamp, Trace, lines};

/// Lines that have the status are taken; older logs end before it.
const LEAST_FIELDS: usize = 5;

/// 30 years, in seconds: no archive is longer, no job either.
const LONGEST: f64 = 1e9;

#[derive(Default)]
struct Tally {
    parallel: u64,
    failed: u64,
    cancelled: u64,
    never_ran: u64,
    partial: u64,
    no_submit: u64,
}

pub(super) fn import(job: &Job<'_>, input: &mut dyn BufRead, wrong: &mut Wrong) -> Option<Trace> {
    let (mut events, mut tally) = (Events::default(), Tally::default());
    let mut full = false;
    let read = lines(input, wrong, |number, line, wrong| {
        if line.is_empty() || line.first() == Some(&b';') {
            return true;
        }
        if let Some((submit, service)) = fields(number, line, &mut tally, wrong) {
            events.push(submit, Some(service));
        }
        full = u64::try_from(events.times.len()).unwrap_or(u64::MAX) > job.options.max_arrivals;
        !full
    });
    if full {
        too_many(job, wrong);
    }
    if !read || !wrong.is_empty() {
        return None;
    }
    let setting = Setting { origin: Format::Swf, absolute: false, patience: 0.0, stamp: Stamp::Start };
    let mut trace = events.finish(job, setting, wrong)?;
    tally.note(&mut trace.notes);
    Some(trace)
}

/// Submit and service in ns, of a job that is to be replayed.
fn fields(number: u64, line: &[u8], tally: &mut Tally, wrong: &mut Wrong) -> Option<(i64, u64)> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let mut count = 0;
    let mut values = [-1.0; 18];
    for (value, word) in values.iter_mut().zip(&mut words) {
        count += 1;
        let parsed = std::str::from_utf8(word).ok().and_then(|word| word.parse::<f64>().ok());
        let Some(parsed) = parsed.filter(|value| value.is_finite()) else {
            let words =
                || (format!("field {count} is {}, no number", quoted(word)), "-1 is what is unknown".to_owned());
            wrong.row("number", Some(number), "", words);
            return None;
        };
        *value = parsed;
    }
    if count < LEAST_FIELDS {
        let words =
            || (format!("{count} fields"), "a job has 18: number, submit, wait, run, processors, ...".to_owned());
        wrong.row("fields", Some(number), "", words);
        return None;
    }
    let [_, submit, _, run, processors, _, _, _, _, _, status, ..] = values;
    if submit > LONGEST || run > LONGEST {
        let words = || (format!("a submit of {submit} s or a run of {run} s"), "both are seconds".to_owned());
        wrong.row("range", Some(number), "", words);
        return None;
    }
    // 2, 3 and 4 are parts of a job that has a line of its own.
    if (2.0..=4.0).contains(&status) {
        tally.partial += 1;
        return None;
    }
    if submit < 0.0 {
        tally.no_submit += 1;
        return None;
    }
    if status == 5.0 && run <= 0.0 {
        tally.never_ran += 1;
        return None;
    }
    tally.failed += u64::from(status == 0.0);
    tally.cancelled += u64::from(status == 5.0);
    tally.parallel += u64::from(processors > 1.0);
    let service = if run < 0.0 { UNKNOWN } else { nanos(run) };
    Some((i64::try_from(nanos(submit)).unwrap_or(i64::MAX), service))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1e9 seconds, as checked")]
fn nanos(seconds: f64) -> u64 {
    (seconds * SECOND as f64) as u64
}

impl Tally {
    fn note(&self, notes: &mut Vec<String>) {
        for (count, what) in [
            (self.parallel, "ran on several processors: each is one item of its run time"),
            (self.failed, "failed: kept, with the time that they took"),
            (self.cancelled, "were cancelled while they ran: kept, with the time that they took"),
            (self.never_ran, "were cancelled before they ran: left out"),
            (self.partial, "are parts of a job that has a line of its own: left out"),
            (self.no_submit, "have no time of submission: left out"),
        ] {
            if count > 0 {
                notes.push(format!("{count} jobs {what}"));
            }
        }
    }
}
