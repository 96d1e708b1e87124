//! One scenario, everybody who could scale it, some seeds: from there to a [`Report`].
//!
//! Runs are independent, so they go side by side, and come back in the order in which they were asked for: the report does
//! not depend on how many threads there were.

mod hindsight;
mod rows;

use std::sync::Arc;

use rayon::prelude::*;

use self::hindsight::what_others_show;
use self::rows::{assumptions, compare, order, verdict};
use crate::sim::SECOND;
use crate::sim::contestant::{self, Contestant};
use crate::sim::report::{About, Input, Policy, Regret, Report, SCHEMA};
use crate::sim::score::Score;
use crate::sim::workload::{Jobs, Recorded};
use crate::sim::world::{Setup, World};
use crate::spec::AutoscalerSpec;
use crate::spec::scenario::Scenario;

/// Rows of a timeline.
const ROWS: u64 = 720;
/// Jobs that may be in memory at once.
const JOBS_AT_ONCE: usize = 30_000_000;

/// What is to be compared, and how it is told apart from other experiments.
#[derive(Clone, Debug)]
pub struct Experiment {
    pub scenario: Scenario,
    /// What the scenario's traces had.
    pub recorded: Vec<Recorded>,
    /// At least one; the first gives the baselines their bounds.
    pub autoscalers: Vec<Arc<AutoscalerSpec>>,
    pub first_seed: u64,
    pub command: String,
    pub inputs: Vec<Input>,
    pub notes: Vec<String>,
}

/// One run's score, with its distance from the best.
struct Run {
    score: Score,
    regret: Option<Regret>,
}

impl Experiment {
    fn seeds(&self) -> Vec<u64> {
        (0..u64::from(self.scenario.seeds)).map(|i| self.first_seed.wrapping_add(i)).collect()
    }

    fn spec(&self) -> Result<&Arc<AutoscalerSpec>, String> {
        self.autoscalers.first().ok_or_else(|| "no QueueAutoscaler in these files; give a manifest with -f".to_owned())
    }

    /// Runs it; `whole`: with the table of policies, which only one of several shards has to make. `tick` is told of each
    /// run that is done.
    ///
    /// # Errors
    /// What cannot be simulated, in a sentence with its cure.
    pub fn run(&self, whole: bool, tick: &(dyn Fn(usize) + Sync)) -> Result<Report, String> {
        let spec = self.spec()?;
        let slots = contestant::slots(&self.scenario, spec);
        let first = Arc::new(Jobs::make(&self.scenario, self.first_seed, &self.recorded)?);
        if first.is_empty() {
            return Err("no job ever arrives; raise the rates, or simulate a longer time".to_owned());
        }
        let ours = self.ours()?;
        let empty = self.empty(spec, &first, slots);
        if !whole {
            return Ok(empty);
        }
        let services = first.mean_services(self.scenario.streams.len());
        let with_load = ours.first().and_then(|ours| ours.with_load(&self.scenario, &services, slots));
        let best = self.best_static(&first, slots, spec.bounds.max)?;
        let contestants: Vec<Contestant> = ours
            .into_iter()
            .chain(with_load)
            .chain(Contestant::baselines(spec, &self.scenario, &services, slots))
            .chain(best.map(Contestant::fixed))
            .collect();
        let mut all = self.run_all(&contestants, &first, slots, tick)?;
        what_others_show(&mut all.runs);

        let mut policies: Vec<Policy> =
            contestants.iter().zip(&all.runs).map(|(who, runs)| self.row(who, runs, slots)).collect();
        compare(&mut policies, &all.runs);
        let feasibility = self.feasibility(&contestants, &policies, &first, slots, best);
        order(&mut policies);
        let scores: Vec<&Score> = all.runs.iter().filter_map(|runs| runs.first()).map(|run| &run.score).collect();
        let (frontier, hindsight) = self.hindsight(&first, slots, spec.bounds.max, &contestants, &scores);
        let work = all.work / SECOND;
        let mut notes = self.notes.clone();
        notes.extend(assumptions(&contestants));
        let about = About { jobs: all.jobs, work_seconds: work, load: work / empty.scenario.seconds, ..empty.scenario };
        Ok(Report {
            verdict: verdict(&policies, self.scenario.slo.share * 100.0, self.scenario.slo.wait),
            feasibility,
            notes,
            scenario: about,
            policies,
            frontier,
            hindsight,
            ..empty
        })
    }

    /// A report of nothing yet; its counts are those of the first seed.
    fn empty(&self, spec: &AutoscalerSpec, first: &Jobs, slots: u32) -> Report {
        let (seconds, work) = (first.span as f64 / SECOND, first.work() as f64 / SECOND);
        Report {
            schema: SCHEMA.to_owned(),
            tidegate: env!("CARGO_PKG_VERSION").to_owned(),
            command: self.command.clone(),
            scenario: About {
                name: self.scenario.name.clone(),
                about: self.scenario.about.trim().to_owned(),
                autoscaler: spec.id.to_string(),
                seconds,
                jobs: first.len() as f64,
                work_seconds: work,
                load: work / seconds,
                slots_per_replica: slots,
                start_up_seconds: Setup::of(&self.scenario, 0, slots, 0).mean_start_up() / SECOND,
                slo_wait_seconds: self.scenario.slo.wait.as_secs_f64(),
                slo_percent: self.scenario.slo.share * 100.0,
                seeds: self.seeds(),
                inputs: self.inputs.clone(),
            },
            verdict: String::new(),
            feasibility: String::new(),
            notes: Vec::new(),
            policies: Vec::new(),
            frontier: Vec::new(),
            hindsight: Vec::new(),
            sweep: None,
            shard: None,
        }
    }

    fn ours(&self) -> Result<Vec<Contestant>, String> {
        let several = self.autoscalers.len() > 1;
        let named = |(at, spec): (usize, &Arc<AutoscalerSpec>)| {
            let namesakes = self.autoscalers.iter().filter(|other| other.id.name == spec.id.name).count();
            let name = match (several, namesakes > 1) {
                (false, _) => "tidegate".to_owned(),
                (true, false) => format!("tidegate {}", spec.id.name),
                // Versions of one manifest, in the order of the files.
                (true, true) => format!("tidegate {} #{}", spec.id.name, at + 1),
            };
            Contestant::ours(spec, &self.scenario, name)
        };
        self.autoscalers.iter().enumerate().map(named).collect()
    }

    fn setup(&self, who: &Contestant, seed: u64, slots: u32) -> Setup {
        Setup::of(&self.scenario, seed, slots, who.initial)
    }

    /// Every contestant with every seed; a seed's jobs are made once.
    fn run_all(
        &self,
        contestants: &[Contestant],
        first: &Arc<Jobs>,
        slots: u32,
        tick: &(dyn Fn(usize) + Sync),
    ) -> Result<All, String> {
        let seeds = f64::from(self.scenario.seeds.max(1));
        let mut all = All { runs: contestants.iter().map(|_| Vec::new()).collect(), jobs: 0.0, work: 0.0 };
        self.batches(first, |batch| {
            let pairs: Vec<(&(u64, Arc<Jobs>), usize)> =
                batch.iter().flat_map(|seed| (0..contestants.len()).map(move |who| (seed, who))).collect();
            let runs: Vec<(usize, Run)> = pairs
                .into_par_iter()
                .filter_map(|((seed, jobs), who)| {
                    let run = self.one(contestants.get(who)?, *seed, jobs, slots, *seed == self.first_seed);
                    tick(1);
                    Some((who, run))
                })
                .collect();
            for (who, run) in runs {
                if let Some(place) = all.runs.get_mut(who) {
                    place.push(run);
                }
            }
            for (_, jobs) in batch {
                all.jobs += jobs.len() as f64 / seeds;
                all.work += jobs.work() as f64 / seeds;
            }
        })?;
        Ok(all)
    }

    /// Every seed with its jobs, as many seeds at once as fit into memory, in order.
    fn batches(&self, first: &Arc<Jobs>, mut each: impl FnMut(&[(u64, Arc<Jobs>)])) -> Result<(), String> {
        let seeds = self.seeds();
        let mut left = seeds.as_slice();
        let mut at_once = 1;
        while !left.is_empty() {
            let (now, later) = left.split_at(at_once.min(left.len()));
            left = later;
            let made = |seed: &u64| match *seed {
                seed if seed == self.first_seed => Ok((seed, Arc::clone(first))),
                seed => Jobs::make(&self.scenario, seed, &self.recorded).map(|jobs| (seed, Arc::new(jobs))),
            };
            let batch: Vec<(u64, Arc<Jobs>)> = now.par_iter().map(made).collect::<Result<_, _>>()?;
            let largest = batch.iter().map(|(_, jobs)| jobs.len()).max().unwrap_or(0).max(1);
            at_once = (JOBS_AT_ONCE / largest).clamp(1, 64);
            each(&batch);
        }
        Ok(())
    }

    fn one(&self, who: &Contestant, seed: u64, jobs: &Jobs, slots: u32, shown: bool) -> Run {
        let mut setup = self.setup(who, seed, slots);
        if shown {
            setup.resolution = Some((jobs.span / ROWS).max(1_000_000));
        }
        let score = World::new(&setup, jobs).run(&mut who.scaler(&self.scenario, seed));
        let regret = self.regret(&setup, jobs, &score, slots);
        Run { score, regret }
    }
}

struct All {
    /// By contestant, then by seed.
    runs: Vec<Vec<Run>>,
    /// Of a seed, on average; work in nanoseconds.
    jobs: f64,
    work: f64,
}

/// As people write it.
fn seconds(seconds: f64) -> String {
    match std::time::Duration::try_from_secs_f64((seconds * 1000.0).round() / 1000.0) {
        Ok(duration) => crate::spec::units::format_duration(duration),
        Err(_) => format!("{seconds} s"),
    }
}
