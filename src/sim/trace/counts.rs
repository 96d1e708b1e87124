//! Counts per bin and nothing else: what load generators read, and the least that anybody can write by hand.

use std::io::BufRead;

use super::series::too_many;
use super::spread::fill;
use super::time::{SECOND, length};
use super::wrong::{Wrong, quoted};
use super::{Format, Job, Trace, lines};

/// Arrivals are made as counts are read: a bin costs no memory, so a day of milliseconds is no more than its arrivals.
pub(super) fn import(job: &Job<'_>, input: &mut dyn BufRead, wrong: &mut Wrong) -> Option<Trace> {
    let options = job.options;
    let width = options.bin.unwrap_or(SECOND);
    if width == 0 || width > 1 << 60 {
        wrong.file("--bin is no width of a bin", "e.g. --bin 1s");
        return None;
    }
    let mut trace = Trace::new(job.name, Format::Counts);
    let (mut bins, mut end, mut total) = (0u64, 0u64, 0u64);
    let mut full = None;
    let read = lines(input, wrong, |number, line, wrong| {
        if line.first() == Some(&b'#') {
            return true;
        }
        for word in line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
            let count = match count(word) {
                Ok(count) => count,
                Err((message, cure)) => {
                    wrong
                        .row(message, Some(number), "", || (format!("{} is {message}", quoted(word)), cure.to_owned()));
                    continue;
                }
            };
            total = total.saturating_add(count);
            let Some(next) = end.checked_add(width).filter(|next| *next < 1 << 62) else {
                full = Some("its bins are longer than a century together");
                return false;
            };
            if total > options.max_arrivals || bins >= options.max_arrivals {
                full = Some("");
                return false;
            }
            // After a mistake, only mistakes are looked for.
            if wrong.is_empty() {
                fill(&mut trace.arrivals, bins, end..next, count, options.spread);
            }
            (bins, end) = (bins + 1, next);
        }
        true
    });
    match full {
        Some("") => too_many(job, wrong),
        Some(message) => wrong.file(message, "is --bin right?"),
        None if read && bins == 0 && wrong.is_empty() => wrong.file("there are no counts in it", "write one per bin"),
        None => {}
    }
    trace.span = end;
    trace.notes.push(format!("{bins} counts of bins of {} each", length(width)));
    Some(trace)
}

fn count(word: &[u8]) -> Result<u64, (&'static str, &'static str)> {
    let text = std::str::from_utf8(word).unwrap_or_default();
    // Averages and spreadsheets write integers with a fraction of zero.
    let whole = text.split_once('.').map_or(
        text,
        |(whole, part)| {
            if part.bytes().all(|digit| digit == b'0') { whole } else { text }
        },
    );
    match whole.parse::<u64>() {
        Ok(count) => Ok(count),
        Err(_) if whole.starts_with('-') => Err(("a negative count", "nothing that came is 0")),
        Err(_) => Err(("no whole number", "write the number of arrivals in each bin, between blanks or line ends")),
    }
}
