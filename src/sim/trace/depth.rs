//! Arrivals from depths alone. They cannot be known: a queue of ten that stays at ten may see one item a minute or a
//! thousand a second come and go. With what is known of the workers they can be bounded, and that is what this does.
//!
//! Between two samples the depth changes by what came, less what was done: `came = change + done`.
//!
//! * **in_flight is recorded**: what is being worked on is done at `in_flight / service`, always. It is the mean of the
//!   interval's ends, and its own change is added to that of the depth.
//! * **saturated**, the depth is above zero at both ends: all workers were busy, `done = replicas * slots / service`.
//! * **not saturated**, one end is zero: `done` is anything from nothing to that. The estimate is the least that can
//!   have come, `max(change, 0)`; the most is what full use of the workers would allow.
//!
//! Replicas hold from their sample to the next one.
//!
//! The band has the same with a service that is wrong by `service_error`: slower workers for the least, faster ones
//! for the most, and in unsaturated intervals all between nothing and full use. Simulate both ends of it, not one
//! line (`band` in a Scenario). It does not have: a queue that ran empty and filled again between two samples, workers
//! that were not ready though they were counted, and prefetched items that are neither in the queue nor being worked on.

use super::flow::{Flow, add_gap, at, steps};
use super::series::{Recorded, Series, Setting};
use super::spread::Bin;
use super::time::length;
use super::wrong::Wrong;
use super::{Job, Role};

pub(super) fn reconstruct(
    job: &Job<'_>,
    recorded: &Recorded,
    setting: Setting,
    notes: &mut Vec<String>,
    wrong: &mut Wrong,
) -> Option<Flow> {
    let depth = recorded.get(&Role::Depth)?;
    let workers = workers(job, recorded, depth, wrong)?;
    let mut tally = Tally::default();
    let mut flow = Flow::default();
    let (mut low, mut high) = (Vec::new(), Vec::new());
    for ((from, before), (to, now), known) in steps(&depth.samples, setting.patience) {
        let interval = if known { workers.between(from, to) } else { None };
        let Some((done, change)) = interval else {
            add_gap(&mut flow.gaps, from..to);
            continue;
        };
        let change = change + now - before;
        let width = to.abs_diff(from);
        let saturated = workers.exact() || (before > 0.0 && now > 0.0);
        let (slow, fast) = (done / (1.0 + workers.error), done / (1.0 - workers.error));
        let counts = if saturated { [slow, done, fast] } else { [0.0, 0.0, fast] };
        if saturated && change + fast < 0.0 {
            tally.impossible += 1;
        }
        tally.all += width;
        tally.one_sided += if saturated { 0 } else { width };
        let [least, likely, most] = counts.map(|done| (change + done).max(0.0));
        let bin = |count| Bin { start: from, end: to, count };
        flow.bins.push(bin(likely));
        low.push(bin(least));
        high.push(bin(most));
    }
    if flow.bins.is_empty() {
        wrong.column(&depth.name, "no two samples are near enough to tell a change", "export at least two samples");
        return None;
    }
    flow.band = Some((low, high));
    tally.note(&workers, depth, notes);
    Some(flow)
}

/// What is known of the workers.
struct Workers<'a> {
    replicas: Option<f64>,
    recorded: Option<&'a Series>,
    in_flight: Option<&'a Series>,
    service: f64,
    error: f64,
    slots: f64,
}

impl Workers<'_> {
    /// Whether completions are known without knowing if the workers were busy.
    fn exact(&self) -> bool {
        self.in_flight.is_some()
    }

    /// What was done if all were busy (or, with `in_flight`, was done), and the change of what was being worked on.
    /// None where the workers are not known yet.
    fn between(&self, from: i64, to: i64) -> Option<(f64, f64)> {
        let seconds = to.abs_diff(from) as f64 / 1e9;
        if let Some(series) = self.in_flight {
            let (before, now) = (at(series, from)?, at(series, to)?);
            return Some(((before + now) / 2.0 * seconds / self.service, now - before));
        }
        let replicas = match (self.replicas, self.recorded) {
            (Some(replicas), _) => replicas,
            (None, Some(series)) => at(series, from)?,
            (None, None) => return None,
        };
        Some((replicas * self.slots * seconds / self.service, 0.0))
    }
}

fn workers<'a>(job: &Job<'_>, recorded: &'a Recorded, depth: &Series, wrong: &mut Wrong) -> Option<Workers<'a>> {
    let options = job.options;
    let in_flight = recorded.get(&Role::InFlight);
    let workers = Workers {
        replicas: options.replicas,
        recorded: recorded.get(&Role::Replicas),
        in_flight,
        service: options.service.unwrap_or_default(),
        error: options.service_error,
        slots: f64::from(options.slots),
    };
    let counted = workers.replicas.is_some() || workers.recorded.is_some() || in_flight.is_some();
    if !counted || options.service.is_none() {
        let missing = match (counted, options.service) {
            (false, None) => "--replicas and --service",
            (false, Some(_)) => "--replicas",
            (true, _) => "--service",
        };
        wrong.column(
            &depth.name,
            "it is taken for a depth, and a depth alone does not tell arrivals: a queue that stays at ten may see one item \
             a minute come and go, or a thousand a second",
            format!(
                "add a counter of what was enqueued or completed, or bound the arrivals with {missing}; if it counts \
                 arrivals per row, use --column: arrivals={}",
                depth.name
            ),
        );
        return None;
    }
    let fine = |number: f64, least: f64, most: f64| number.is_finite() && number >= least && number <= most;
    if !fine(workers.service, 1e-9, 1e9) {
        wrong.file(format!("--service is {} s", workers.service), "give the mean seconds of service");
    }
    if !fine(workers.error, 0.0, 0.95) {
        wrong.file(format!("the error of the service is {}", workers.error), "give a share from 0 to 0.95");
    }
    if !workers.replicas.is_none_or(|replicas| fine(replicas, 0.0, 1e6)) {
        wrong.file("--replicas is no number of replicas", "give the replicas that worked");
    }
    if options.slots == 0 {
        wrong.file("--slots is 0", "give how many items a replica works on at once");
    }
    wrong.is_empty().then_some(workers)
}

#[derive(Default)]
struct Tally {
    all: u64,
    one_sided: u64,
    impossible: u64,
}

impl Tally {
    fn note(&self, workers: &Workers<'_>, depth: &Series, notes: &mut Vec<String>) {
        let source = match (workers.in_flight, workers.replicas, workers.recorded) {
            (Some(in_flight), _, _) => format!("`{}`", in_flight.name),
            (None, Some(replicas), _) => format!("{replicas} replicas of {} slots", workers.slots),
            (None, None, recorded) => {
                format!("`{}` of {} slots", recorded.map_or("", |series| series.name.as_str()), workers.slots)
            }
        };
        notes.push(format!(
            "arrivals are reconstructed from changes of `{}`, {source} and a service of {} s, give or take {} %: \
             simulate both ends of the band, not one line",
            depth.name,
            workers.service,
            workers.error * 100.0
        ));
        if self.one_sided > 0 {
            notes.push(format!(
                "for {} of {} the queue was empty: there the least that can have come is taken, and the most is in the \
                 band",
                length(self.one_sided),
                length(self.all)
            ));
        }
        if self.impossible > 0 {
            notes.push(format!(
                "the depth fell faster than the workers can have worked in {} intervals: is the service shorter, or were \
                 there more workers?",
                self.impossible
            ));
        }
    }
}
