//! One item per row or line: arrivals as they were, the best an export can be.

use super::series::Setting;
use super::time::{SECOND, length, shown};
use super::wrong::Wrong;
use super::{Job, Trace};

/// The service of an item that does not say it.
pub(super) const UNKNOWN: u64 = u64::MAX;

/// A silence worth a note: a day, in which a queue has nothing to do or an exporter was down. It is not a gap, because
/// a list of events cannot say that it knows nothing.
const SILENCE: u64 = 86_400 * SECOND;

/// Items as they are read.
#[derive(Default)]
pub(super) struct Events {
    pub(super) times: Vec<i64>,
    /// Empty, or one for each time.
    pub(super) services: Vec<u64>,
}

impl Events {
    pub(super) fn push(&mut self, at: i64, service: Option<u64>) {
        self.times.push(at);
        if let Some(service) = service {
            self.services.push(service);
        }
    }

    pub(super) fn finish(self, job: &Job<'_>, setting: Setting, wrong: &mut Wrong) -> Option<Trace> {
        let mut trace = Trace::new(job.name, setting.origin);
        let Events { mut times, mut services } = self;
        let disorder = times.windows(2).filter(|pair| matches!(pair, [a, b] if a > b)).count();
        if disorder > 0 {
            trace
                .notes
                .push(format!("rows were not in order of time ({disorder} earlier than the row before): sorted"));
            if services.is_empty() {
                times.sort_unstable();
            } else {
                let mut rows: Vec<(i64, u64)> = times.into_iter().zip(services).collect();
                rows.sort_by_key(|row| row.0);
                (times, services) = rows.into_iter().unzip();
            }
        }
        let (Some(first), Some(last)) = (times.first().copied(), times.last().copied()) else {
            wrong.file("there are no events in it", "export a time in which work came");
            return None;
        };
        note_silences(&times, setting.absolute, &mut trace.notes);
        trace.services = known_services(services, &mut trace.notes);
        trace.span = last.abs_diff(first);
        trace.arrivals = times.into_iter().map(|at| at.abs_diff(first)).collect();
        Some(trace)
    }
}

fn note_silences(times: &[i64], absolute: bool, notes: &mut Vec<String>) {
    let silent = |pair: &[i64]| match pair {
        [a, b] if a.abs_diff(*b) >= SILENCE => Some((b.abs_diff(*a), *a, *b)),
        _ => None,
    };
    let silences: Vec<_> = times.windows(2).filter_map(silent).collect();
    let Some((longest, from, to)) = silences.iter().max_by_key(|silence| silence.0) else { return };
    let more =
        if silences.len() > 1 { format!("; {} more of a day or longer", silences.len() - 1) } else { String::new() };
    notes.push(format!(
        "nothing came from {} to {} ({}){more}: whether there was no work or no recording, events do not tell; the \
         time is kept",
        shown(*from, absolute),
        shown(*to, absolute),
        length(*longest)
    ));
}

/// Where some are unknown, the median of those that are known stands in: it moves the load least.
fn known_services(mut services: Vec<u64>, notes: &mut Vec<String>) -> Option<Vec<u64>> {
    let unknown = services.iter().filter(|service| **service == UNKNOWN).count();
    if unknown == services.len() {
        return None;
    }
    if unknown > 0 {
        let mut known: Vec<u64> = services.iter().copied().filter(|service| *service != UNKNOWN).collect();
        let middle = known.len() / 2;
        let median = *known.select_nth_unstable(middle).1;
        services.iter_mut().filter(|service| **service == UNKNOWN).for_each(|service| *service = median);
        notes.push(format!(
            "the service of {unknown} of {} items is unknown: the median of the others, {}, stands in",
            services.len(),
            length(median)
        ));
    }
    Some(services)
}
