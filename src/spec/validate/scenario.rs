//! From a Scenario as written to one with every default filled in.

use std::time::Duration;

use super::values::{self, ANY, Limits};
use crate::spec::manifest::{self, ArrivalsBody, DrawBody, DurationText, QuantityText, ScenarioBody};
use crate::spec::report::Report;
use crate::spec::scenario::{
    Actuation, Arrivals, Draw, Sampling, Scenario, Slo, Stream, TraceFile, Unfinished, Victim, Workers,
};

/// Jobs a second; with a day of it, already more than fits into memory.
const MOST_PER_SECOND: f64 = 1e6;
const SOME: Limits = Limits { min: Duration::from_nanos(1), max: Duration::from_secs(365 * 24 * 3600) };
/// A year of anything is no workload that anybody waits for.
const SPAN: Limits = Limits { min: Duration::from_secs(1), max: Duration::from_secs(366 * 24 * 3600) };

const DRAWS: &str = "fixed: 500ms";

/// The result counts only if `report` has no problem.
pub(crate) fn scenario(file: &str, name: &str, body: &ScenarioBody, report: &mut Report<'_>) -> Scenario {
    let r = &mut Reader { report };
    let slo = body.slo.clone().unwrap_or_default();
    let slo = Slo {
        wait: r.duration(slo.wait.as_ref(), "spec.slo.wait", SOME, Duration::from_secs(30)),
        share: r.percent(slo.percent.as_ref(), "spec.slo.percent", 99.0, 100.0) / 100.0,
    };
    if slo.share <= 0.0 {
        r.report.problem("spec.slo.percent", "must be above 0", "e.g. percent: 99");
    }
    let written = body.jobs.as_deref().unwrap_or_default();
    if written.is_empty() {
        let cure = "e.g. jobs: [{ arrivals: [{ constant: { perSecond: 5 } }], service: { fixed: 500ms } }]";
        r.report.problem("spec.jobs", "missing: what arrives", cure);
    }
    let streams = written.iter().enumerate().map(|(i, jobs)| r.stream(jobs, &format!("spec.jobs[{i}]"))).collect();
    Scenario {
        name: name.to_owned(),
        file: file.to_owned(),
        about: body.about.clone().unwrap_or_default(),
        autoscaler: body.autoscaler.clone(),
        duration: body
            .duration
            .as_ref()
            .map(|duration| r.duration(Some(duration), "spec.duration", SPAN, Duration::from_secs(3600))),
        slo,
        streams,
        workers: r.workers(&body.workers.clone().unwrap_or_default()),
        sampling: r.sampling(&body.sampling.clone().unwrap_or_default()),
        actuation: r.actuation(&body.actuation.clone().unwrap_or_default()),
        initial_replicas: body.initial_replicas,
        seeds: body.seeds.and_then(|seeds| u32::try_from(seeds).ok()).unwrap_or(5).max(1),
    }
}

struct Reader<'r, 'd> {
    report: &'r mut Report<'d>,
}

impl Reader<'_, '_> {
    fn duration(&mut self, written: Option<&DurationText>, path: &str, limits: Limits, default: Duration) -> Duration {
        values::duration(written, path, limits, default, self.report)
    }

    /// One that must be written.
    fn needed(&mut self, written: Option<&DurationText>, path: &str, limits: Limits) -> Duration {
        if written.is_none() {
            self.report.problem(path, "missing: a duration", "e.g. 30s");
        }
        self.duration(written, path, limits, Duration::from_secs(1))
    }

    /// A number from 0 to `most`.
    fn number(&mut self, written: Option<&QuantityText>, path: &str, default: f64, most: f64) -> f64 {
        let Some(text) = written else { return default };
        match values::parse_quantity(text).map(|quantity| quantity.to_f64()) {
            Ok(number) if (0.0..=most).contains(&number) => number,
            Ok(number) => {
                self.report.problem(path, format!("must be 0 to {most}, found {number}"), "write a number in between");
                default
            }
            Err(error) => {
                let (message, cure) = values::halves(&error);
                self.report.problem(path, message, cure);
                default
            }
        }
    }

    fn percent(&mut self, written: Option<&QuantityText>, path: &str, default: f64, most: f64) -> f64 {
        self.number(written, path, default, most)
    }

    /// A rate that must be written.
    fn rate(&mut self, written: Option<&QuantityText>, path: &str) -> f64 {
        if written.is_none() {
            self.report.problem(path, "missing: jobs a second", "e.g. 5");
        }
        self.number(written, path, 1.0, MOST_PER_SECOND)
    }

    fn stream(&mut self, jobs: &manifest::JobStream, path: &str) -> Stream {
        let written = jobs.arrivals.as_deref().unwrap_or_default();
        if written.is_empty() {
            let cure = "e.g. arrivals: [{ constant: { perSecond: 5 } }]";
            self.report.problem(&format!("{path}.arrivals"), "missing: when they come", cure);
        }
        let arrivals: Vec<Arrivals> = written
            .iter()
            .enumerate()
            .filter_map(|(i, body)| self.arrivals(body, &format!("{path}.arrivals[{i}]")))
            .collect();
        let service_path = format!("{path}.service");
        let service = jobs.service.as_ref().and_then(|draw| self.draw(draw, &service_path, SOME));
        // A trace may say how long its jobs take; whether it does is known when it is read.
        let drawn = arrivals.is_empty() || arrivals.iter().any(|arrivals| !matches!(arrivals, Arrivals::Trace(_)));
        if jobs.service.is_none() && drawn {
            self.report.problem(&service_path, "missing: how long a job takes", format!("e.g. service: {{ {DRAWS} }}"));
        }
        Stream { trigger: jobs.trigger.clone(), arrivals, service }
    }

    fn arrivals(&mut self, body: &ArrivalsBody, path: &str) -> Option<Arrivals> {
        let written = [
            ("constant", body.constant.is_some()),
            ("sine", body.sine.is_some()),
            ("weekly", body.weekly.is_some()),
            ("steps", body.steps.is_some()),
            ("ramp", body.ramp.is_some()),
            ("spike", body.spike.is_some()),
            ("mmpp", body.mmpp.is_some()),
            ("batches", body.batches.is_some()),
            ("cron", body.cron.is_some()),
            ("retryStorm", body.retry_storm.is_some()),
            ("outage", body.outage.is_some()),
            ("trace", body.trace.is_some()),
        ];
        self.report.exactly_one(path, "block", &written, "constant: { perSecond: 5 }");
        let (name, _) = written.into_iter().find(|(_, is)| *is)?;
        let at = |field: &str| format!("{path}.{name}.{field}");
        Some(match body {
            ArrivalsBody { constant: Some(it), .. } => Arrivals::Constant {
                rate: self.rate(it.per_second.as_ref(), &at("perSecond")),
                even: it.even.unwrap_or(false),
            },
            ArrivalsBody { sine: Some(it), .. } => {
                let mean = self.rate(it.mean.as_ref(), &at("mean"));
                let amplitude = self.number(it.amplitude.as_ref(), &at("amplitude"), mean / 2.0, MOST_PER_SECOND);
                if amplitude > mean {
                    let message = format!("an amplitude of {amplitude} around {mean} would go below zero");
                    self.report.problem(&at("amplitude"), message, format!("write {mean} or less"));
                }
                Arrivals::Sine { mean, amplitude, period: self.needed(it.period.as_ref(), &at("period"), SPAN) }
            }
            ArrivalsBody { weekly: Some(it), .. } => Arrivals::Weekly {
                peak: self.rate(it.peak.as_ref(), &at("peak")),
                night: self.rate(it.night.as_ref(), &at("night")),
                weekend: self.percent(it.weekend_percent.as_ref(), &at("weekendPercent"), 30.0, 1000.0) / 100.0,
            },
            ArrivalsBody { steps: Some(it), .. } => Arrivals::Steps {
                rates: self.rates(it.per_second.as_deref(), &at("perSecond")),
                every: self.needed(it.every.as_ref(), &at("every"), SPAN),
            },
            ArrivalsBody { ramp: Some(it), .. } => Arrivals::Ramp {
                from: self.rate(it.from.as_ref(), &at("from")),
                to: self.rate(it.to.as_ref(), &at("to")),
            },
            ArrivalsBody { spike: Some(it), .. } => Arrivals::Spike {
                rate: self.rate(it.per_second.as_ref(), &at("perSecond")),
                at: self.needed(it.at.as_ref(), &at("at"), ANY),
                lasts: self.needed(it.lasts.as_ref(), &at("lasts"), SOME),
            },
            ArrivalsBody { mmpp: Some(it), .. } => {
                let rates = self.rates(it.per_second.as_deref(), &at("perSecond"));
                let texts = it.dwell.as_deref().unwrap_or_default();
                let dwell: Vec<Duration> = texts
                    .iter()
                    .enumerate()
                    .map(|(i, text)| self.needed(Some(text), &format!("{}[{i}]", at("dwell")), SPAN))
                    .collect();
                if dwell.len() != rates.len() {
                    let message = format!("{} rates and {} durations", rates.len(), dwell.len());
                    self.report.problem(&at("dwell"), message, "write one duration for each rate");
                }
                Arrivals::Mmpp { rates, dwell }
            }
            ArrivalsBody { batches: Some(it), .. } => Arrivals::Batches {
                size: self.count(it.size, &at("size")),
                every: self.needed(it.every.as_ref(), &at("every"), SOME),
            },
            ArrivalsBody { cron: Some(it), .. } => Arrivals::Cron {
                size: self.count(it.size, &at("size")),
                every: self.duration(it.every.as_ref(), &at("every"), SPAN, Duration::from_secs(60)),
                at: self.duration(it.at.as_ref(), &at("at"), ANY, Duration::ZERO),
                within: self.duration(it.within.as_ref(), &at("within"), ANY, Duration::ZERO),
            },
            ArrivalsBody { retry_storm: Some(it), .. } => Arrivals::RetryStorm {
                rate: self.rate(it.per_second.as_ref(), &at("perSecond")),
                at: self.needed(it.at.as_ref(), &at("at"), ANY),
                lasts: self.needed(it.lasts.as_ref(), &at("lasts"), SOME),
                backoff: self.duration(it.backoff.as_ref(), &at("backoff"), SOME, Duration::from_secs(10)),
                retries: it.retries.and_then(|retries| u32::try_from(retries).ok()).unwrap_or(5),
            },
            ArrivalsBody { outage: Some(it), .. } => Arrivals::Outage {
                rate: self.rate(it.per_second.as_ref(), &at("perSecond")),
                at: self.needed(it.at.as_ref(), &at("at"), ANY),
                lasts: self.needed(it.lasts.as_ref(), &at("lasts"), SOME),
                flood: self.duration(it.flood.as_ref(), &at("flood"), ANY, Duration::from_secs(10)),
            },
            ArrivalsBody { trace: Some(it), .. } => {
                let read = it.seconds_per_token.as_ref();
                let read = read.map(|text| self.number(Some(text), &at("secondsPerToken"), 0.01, 1e6));
                let written = it.seconds_per_output_token.as_ref();
                let written = written.map(|text| self.number(Some(text), &at("secondsPerOutputToken"), 0.01, 1e6));
                let bin = it.bin.as_ref();
                let replicas = it.replicas.as_ref();
                Arrivals::Trace(TraceFile {
                    file: values::text(it.file.as_deref(), &at("file"), "file: requests.csv", self.report),
                    format: it.format.clone(),
                    columns: it.columns.clone().unwrap_or_default().into_iter().collect(),
                    seconds_per_token: read.or(written).map(|same| (read.unwrap_or(same), written.unwrap_or(same))),
                    bin: bin.map(|bin| self.duration(Some(bin), &at("bin"), SOME, Duration::from_secs(1))),
                    replicas: replicas.map(|text| self.number(Some(text), &at("replicas"), 1.0, 1e6)),
                    band: it.band.unwrap_or_default(),
                    scale: self.number(it.scale.as_ref(), &at("scale"), 1.0, 1e6),
                })
            }
            _ => return None,
        })
    }

    fn rates(&mut self, written: Option<&[QuantityText]>, path: &str) -> Vec<f64> {
        let written = written.unwrap_or_default();
        if written.is_empty() {
            self.report.problem(path, "missing: jobs a second, one after another", "e.g. perSecond: [1, 10]");
        }
        written.iter().enumerate().map(|(i, text)| self.rate(Some(text), &format!("{path}[{i}]"))).collect()
    }

    fn count(&mut self, written: Option<i32>, path: &str) -> u32 {
        let count = written.and_then(|count| u32::try_from(count).ok());
        count.unwrap_or_else(|| {
            self.report.problem(path, "missing: how many jobs", "e.g. size: 100");
            1
        })
    }

    fn draw(&mut self, body: &DrawBody, path: &str, limits: Limits) -> Option<Draw> {
        let written = [
            ("fixed", body.fixed.is_some()),
            ("exponential", body.exponential.is_some()),
            ("lognormal", body.lognormal.is_some()),
            ("gamma", body.gamma.is_some()),
            ("pareto", body.pareto.is_some()),
            ("empirical", body.empirical.is_some()),
        ];
        self.report.exactly_one(path, "block", &written, DRAWS);
        let (name, _) = written.into_iter().find(|(_, is)| *is)?;
        let here = format!("{path}.{name}");
        Some(match body {
            DrawBody { fixed: Some(it), .. } => Draw::Fixed(self.needed(Some(it), &here, limits)),
            DrawBody { exponential: Some(it), .. } => Draw::Exponential(self.needed(Some(it), &here, SOME)),
            DrawBody { lognormal: Some(it), .. } => Draw::Lognormal {
                mean: self.needed(it.mean.as_ref(), &format!("{here}.mean"), SOME),
                cv: self.number(it.cv.as_ref(), &format!("{here}.cv"), 1.0, 100.0),
            },
            DrawBody { gamma: Some(it), .. } => {
                let cv = self.number(it.cv.as_ref(), &format!("{here}.cv"), 1.0, 100.0);
                Draw::Gamma { mean: self.needed(it.mean.as_ref(), &format!("{here}.mean"), SOME), cv }
            }
            DrawBody { pareto: Some(it), .. } => {
                let min = self.needed(it.min.as_ref(), &format!("{here}.min"), SOME);
                let max = self.needed(it.max.as_ref(), &format!("{here}.max"), SOME);
                if max < min {
                    self.report.problem(&format!("{here}.max"), "below min", "write the longest of all");
                }
                let alpha = self.number(it.alpha.as_ref(), &format!("{here}.alpha"), 1.5, 100.0);
                if alpha <= 0.0 {
                    self.report.problem(&format!("{here}.alpha"), "must be above 0", "e.g. alpha: 1.5");
                }
                Draw::Pareto { min, max, alpha }
            }
            DrawBody { empirical: Some(it), .. } => {
                if it.is_empty() {
                    self.report.problem(&here, "an empty list", "write at least one duration");
                }
                let each = it.iter().enumerate();
                let drawn = each.map(|(i, text)| self.needed(Some(text), &format!("{here}[{i}]"), limits)).collect();
                Draw::Empirical(drawn)
            }
            _ => return None,
        })
    }

    fn workers(&mut self, body: &manifest::Workers) -> Workers {
        let count = |number: Option<i32>| number.and_then(|number| u32::try_from(number).ok());
        let start_up = body.start_up.clone().unwrap_or_default();
        let parts = [("schedule", &start_up.schedule), ("pull", &start_up.pull), ("init", &start_up.init)];
        let written = parts.iter().any(|(_, part)| part.is_some());
        let mut draws = parts.map(|(name, part)| {
            let path = format!("spec.workers.startUp.{name}");
            part.as_ref().and_then(|part| self.draw(part, &path, ANY)).unwrap_or(Draw::Fixed(Duration::ZERO))
        });
        if let ([_, _, init], false) = (&mut draws, written) {
            // About what a scheduled pod with its image at hand takes.
            *init = Draw::Fixed(Duration::from_secs(30));
        }
        let ends = body.termination.clone().unwrap_or_default();
        let path = |field: &str| format!("spec.workers.termination.{field}");
        let warm_up = body.warm_up.as_ref().map(|warm_up| {
            let lasts = self.needed(warm_up.lasts.as_ref(), "spec.workers.warmUp.lasts", ANY);
            let slowdown = self.number(warm_up.slowdown.as_ref(), "spec.workers.warmUp.slowdown", 2.0, 1000.0);
            if slowdown < 1.0 {
                self.report.problem("spec.workers.warmUp.slowdown", "must be at least 1", "e.g. slowdown: 2");
            }
            (lasts, slowdown)
        });
        Workers {
            slots: count(body.slots),
            prefetch: count(body.prefetch).unwrap_or(0),
            warm_up,
            start_up: draws,
            failing: self.percent(start_up.failing_percent.as_ref(), "spec.workers.startUp.failingPercent", 0.0, 99.0)
                / 100.0,
            grace: self.duration(ends.grace.as_ref(), &path("grace"), ANY, Duration::from_secs(30)),
            unfinished: ends.unfinished.unwrap_or(Unfinished::Redelivered),
            visibility_timeout: self.duration(
                ends.visibility_timeout.as_ref(),
                &path("visibilityTimeout"),
                ANY,
                Duration::from_secs(60),
            ),
            victim: ends.victim.unwrap_or(Victim::Newest),
            rebalance_pause: self.duration(
                body.rebalance_pause.as_ref(),
                "spec.workers.rebalancePause",
                ANY,
                Duration::ZERO,
            ),
            capacity: count(body.capacity),
        }
    }

    fn sampling(&mut self, body: &manifest::Sampling) -> Sampling {
        let outages = body.outages.iter().flatten().enumerate().map(|(i, outage)| {
            let path = format!("spec.sampling.outages[{i}]");
            let at = self.needed(outage.at.as_ref(), &format!("{path}.at"), ANY);
            (at, self.needed(outage.lasts.as_ref(), &format!("{path}.lasts"), SOME))
        });
        let outages = outages.collect();
        Sampling {
            delay: self.duration(body.delay.as_ref(), "spec.sampling.delay", ANY, Duration::from_millis(1)),
            loss: self.percent(body.loss_percent.as_ref(), "spec.sampling.lossPercent", 0.0, 100.0) / 100.0,
            outages,
        }
    }

    fn actuation(&mut self, body: &manifest::Actuation) -> Actuation {
        Actuation {
            delay: self.duration(body.delay.as_ref(), "spec.actuation.delay", ANY, Duration::from_millis(20)),
            conflicts: self.percent(body.conflict_percent.as_ref(), "spec.actuation.conflictPercent", 0.0, 99.0)
                / 100.0,
        }
    }
}
