//! What arrives when, and how long it takes: made once for a seed, and the same for every policy.
//!
//! Rates become arrivals by thinning (Lewis and Shedler, 1979): candidates come as a Poisson process of the highest
//! rate, and each stays with the share that the rate of its moment has of that.

use std::time::Duration;

use crate::sim::draw::Distribution;
use crate::sim::luck::{Luck, Stream as Streams};
use crate::sim::{SECOND, nanos, whole};
use crate::spec::scenario::{Arrivals, Scenario, Stream};

/// Jobs of one run that are more than a machine holds.
pub const MOST_JOBS: usize = 100_000_000;

/// Candidates of one generator, of which most may be thinned out.
const MOST_CANDIDATES: f64 = 2e9;

/// Every job of a run, by arrival.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Jobs {
    /// Nanoseconds since the beginning, ascending.
    pub arrivals: Vec<u64>,
    /// Nanoseconds of work.
    pub services: Vec<u64>,
    /// Which stream each belongs to; empty if there is only one.
    pub streams: Vec<u16>,
    /// How long they may arrive.
    pub span: u64,
}

/// What was recorded, for the streams that replay it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Recorded {
    /// Ascending.
    pub arrivals: Vec<u64>,
    pub services: Option<Vec<u64>>,
    pub span: u64,
}

impl Jobs {
    #[must_use]
    pub fn len(&self) -> usize {
        self.arrivals.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }

    /// All of it, in nanoseconds.
    #[must_use]
    pub fn work(&self) -> u128 {
        self.services.iter().map(|service| u128::from(*service)).sum()
    }

    /// How long a job of each stream takes on average.
    #[must_use]
    pub fn mean_services(&self, streams: usize) -> Vec<Duration> {
        let mut sums = vec![(0_u128, 0_u128); streams];
        for (at, service) in self.services.iter().enumerate() {
            let stream = self.streams.get(at).map_or(0, |stream| usize::from(*stream));
            if let Some((sum, count)) = sums.get_mut(stream) {
                (*sum, *count) = (*sum + u128::from(*service), *count + 1);
            }
        }
        let mean = |(sum, count): (u128, u128)| u64::try_from(sum / count.max(1)).unwrap_or(u64::MAX);
        sums.into_iter().map(|sums| Duration::from_nanos(mean(sums))).collect()
    }

    /// Makes the jobs of a scenario. `recorded` has what its traces had, in the order in which they are written.
    ///
    /// # Errors
    /// More than [`MOST_JOBS`], or a trace that leaves open how long its jobs take.
    pub fn make(scenario: &Scenario, seed: u64, recorded: &[Recorded]) -> Result<Jobs, String> {
        let traces = recorded.iter().map(|trace| trace.span).max();
        let span = scenario.duration.map(nanos).or(traces).unwrap_or(3600 * 1_000_000_000);
        let mut recorded = recorded.iter();
        let mut parts = Vec::new();
        for (at, stream) in scenario.streams.iter().enumerate() {
            let at = u16::try_from(at).unwrap_or(u16::MAX);
            parts.push(made(stream, at, seed, span, &mut recorded)?);
        }
        let count: usize = parts.iter().map(Vec::len).sum();
        if count >= MOST_JOBS {
            return Err(too_many());
        }
        let mut all: Vec<(u64, u16, u64)> = Vec::with_capacity(count);
        for (at, part) in parts.into_iter().enumerate() {
            let at = u16::try_from(at).unwrap_or(u16::MAX);
            all.extend(part.into_iter().map(|(arrival, service)| (arrival, at, service)));
        }
        // Those that come together stay in the order of their streams.
        all.sort_by_key(|(arrival, at, _)| (*arrival, *at));
        let several = scenario.streams.len() > 1;
        // What comes again or late may come after the end; a trace of one moment has no length.
        let last = all.last().map_or(0, |(arrival, ..)| *arrival);
        let mut jobs = Jobs { span: span.max(last).max(1_000_000_000), ..Jobs::default() };
        jobs.arrivals.reserve_exact(count);
        jobs.services.reserve_exact(count);
        for (arrival, at, service) in all {
            jobs.arrivals.push(arrival);
            jobs.services.push(service);
            if several {
                jobs.streams.push(at);
            }
        }
        Ok(jobs)
    }
}

#[cold]
fn too_many() -> String {
    format!(
        "more than {MOST_JOBS} jobs; in the Scenario, set a shorter `duration`, or lower rates (of a trace: `scale`)"
    )
}

/// Arrivals and services of one stream, by arrival.
fn made<'r>(
    stream: &Stream,
    at: u16,
    seed: u64,
    span: u64,
    recorded: &mut impl Iterator<Item = &'r Recorded>,
) -> Result<Vec<(u64, u64)>, String> {
    let luck = Luck::new(seed, Streams::Arrivals(at));
    let mut arrivals: Vec<(u64, Option<u64>)> = Vec::new();
    for (i, block) in stream.arrivals.iter().enumerate() {
        let own = luck.at(i as u64);
        if let Arrivals::Trace(file) = block {
            let Some(trace) = recorded.next() else { continue };
            let services = trace.services.as_deref();
            for (j, arrival) in trace.arrivals.iter().enumerate().take_while(|(_, arrival)| **arrival <= span) {
                let service = services.and_then(|services| services.get(j)).copied();
                // A part of a copy is one with that probability.
                let copies = (file.scale + own.unit(j as u64)).floor();
                let mut copy = 1.0;
                while copy <= copies && arrivals.len() < MOST_JOBS {
                    arrivals.push((*arrival, service));
                    copy += 1.0;
                }
            }
        } else {
            generate(block, own, span, &mut |arrival| {
                arrivals.push((arrival, None));
                arrivals.len() < MOST_JOBS
            });
        }
        if arrivals.len() >= MOST_JOBS {
            return Err(too_many());
        }
    }
    // The order among those that come together is the order in which they were made.
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    let service = stream.service.as_ref().map(Distribution::of);
    let luck = Luck::new(seed, Streams::Service(at));
    let mut jobs = Vec::with_capacity(arrivals.len());
    for (i, (arrival, own)) in arrivals.into_iter().enumerate() {
        // What was recorded goes before what is supposed.
        let Some(service) = own.or_else(|| service.as_ref().map(|service| service.draw(luck, i as u64))) else {
            return Err("the trace does not say how long its jobs take; write service: { fixed: 500ms } beside \
                        arrivals, or --service 500ms"
                .to_owned());
        };
        jobs.push((arrival, service));
    }
    Ok(jobs)
}

/// A Poisson process of a rate that changes, never above `highest`; both in jobs a second.
fn thinned(
    highest: f64,
    from: u64,
    until: u64,
    luck: Luck,
    rate: impl Fn(f64) -> f64,
    emit: &mut impl FnMut(u64) -> bool,
) {
    let candidates = highest * until.saturating_sub(from) as f64 / SECOND;
    if highest <= 0.0 {
        return;
    }
    if candidates > MOST_CANDIDATES {
        // Too many jobs by far, or nearly all of this would be in vain: as many as are refused.
        (0..MOST_JOBS).all(|_| emit(from));
        return;
    }
    let mut at = from as f64 / SECOND;
    let until_s = until as f64 / SECOND;
    for i in 0.. {
        at -= libm::log(luck.unit(2 * i)) / highest;
        if at >= until_s {
            return;
        }
        if luck.unit(2 * i + 1) * highest < rate(at) && !emit(rounded(at)) {
            return;
        }
    }
}

fn rounded(seconds: f64) -> u64 {
    whole(seconds * SECOND)
}

/// Until `emit` has enough.
fn generate(block: &Arrivals, luck: Luck, span: u64, emit: &mut impl FnMut(u64) -> bool) {
    let seconds = |duration: &Duration| duration.as_secs_f64();
    let length = span as f64 / SECOND;
    match block {
        Arrivals::Constant { rate, even: true } => {
            let gap = 1.0 / rate;
            let mut i = 0.0;
            while *rate > 0.0 && i * gap < length && emit(rounded(i * gap)) {
                i += 1.0;
            }
        }
        Arrivals::Constant { rate, even: false } => thinned(*rate, 0, span, luck, |_| *rate, emit),
        Arrivals::Sine { mean, amplitude, period } => {
            let turn = std::f64::consts::TAU / seconds(period);
            thinned(mean + amplitude, 0, span, luck, |at| mean + amplitude * libm::sin(turn * at), emit);
        }
        Arrivals::Weekly { peak, night, weekend } => {
            let rate = |at: f64| {
                let day = (at / 86_400.0).floor() % 7.0;
                let wave = (1.0 - libm::cos(std::f64::consts::TAU * at / 86_400.0)) / 2.0;
                (night + (peak - night) * wave) * if day >= 5.0 { *weekend } else { 1.0 }
            };
            thinned(peak.max(*night) * weekend.max(1.0), 0, span, luck, rate, emit);
        }
        Arrivals::Steps { rates, every } => {
            let highest = rates.iter().copied().fold(0.0, f64::max);
            let every = seconds(every);
            let rate = |at: f64| {
                let step = (at / every).floor() % rates.len().max(1) as f64;
                rates.iter().copied().enumerate().find(|(i, _)| *i as f64 == step).map_or(0.0, |(_, rate)| rate)
            };
            thinned(highest, 0, span, luck, rate, emit);
        }
        Arrivals::Ramp { from, to } => {
            thinned(from.max(*to), 0, span, luck, |at| from + (to - from) * at / length, emit);
        }
        Arrivals::Spike { rate, at, lasts } => {
            let (from, until) = (nanos(*at), nanos(*at).saturating_add(nanos(*lasts)).min(span));
            thinned(*rate, from, until, luck, |_| *rate, emit);
        }
        Arrivals::Mmpp { rates, dwell } => {
            let (mut at, mut turn) = (0_u64, 0_u64);
            while at < span {
                let state = usize::try_from(turn).unwrap_or(0) % rates.len().max(1);
                let (Some(rate), Some(dwell)) = (rates.get(state), dwell.get(state)) else { return };
                let own = luck.at(turn);
                let lasts = -libm::log(own.unit(u64::MAX)) * seconds(dwell);
                let until = at.saturating_add(rounded(lasts).max(1)).min(span);
                thinned(*rate, at, until, own, |_| *rate, emit);
                (at, turn) = (until, turn + 1);
            }
        }
        Arrivals::Batches { size, every } => {
            let mut at = 0.0;
            for i in 0.. {
                at -= libm::log(luck.unit(i)) * seconds(every);
                if at >= length || !(0..*size).all(|_| emit(rounded(at))) {
                    return;
                }
            }
        }
        Arrivals::Cron { size, every, at, within } => {
            let (mut at, every, within) = (nanos(*at), nanos(*every).max(1), nanos(*within));
            while at < span {
                let each = within.min(span - at) / u64::from(*size).max(1);
                if !(0..u64::from(*size)).all(|i| emit(at.saturating_add(each * i))) {
                    return;
                }
                at = at.saturating_add(every);
            }
        }
        Arrivals::RetryStorm { rate, at, lasts, backoff, retries } => {
            let (down, up) = (nanos(*at), nanos(*at).saturating_add(nanos(*lasts)));
            thinned(*rate, 0, span, luck, |_| *rate, &mut |arrival| {
                let (mut arrival, mut wait) = (arrival, nanos(*backoff));
                let mut more = emit(arrival);
                for _ in 0..*retries {
                    if !(down..up).contains(&arrival) {
                        break;
                    }
                    arrival = arrival.saturating_add(wait);
                    wait = wait.saturating_mul(2);
                    more &= emit(arrival);
                }
                more
            });
        }
        Arrivals::Outage { rate, at, lasts, flood } => {
            let (cut, back) = (nanos(*at), nanos(*at).saturating_add(nanos(*lasts)));
            let share = nanos(*flood) as f64 / nanos(*lasts).max(1) as f64;
            thinned(*rate, 0, span, luck, |_| *rate, &mut |arrival| {
                if (cut..back).contains(&arrival) {
                    // In the order in which they were kept, within the time that delivering takes.
                    emit(back.saturating_add(rounded((arrival - cut) as f64 * share / SECOND)))
                } else {
                    emit(arrival)
                }
            });
        }
        Arrivals::Trace(_) => {}
    }
}
