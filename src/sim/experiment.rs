//! One scenario, everybody who could scale it, some seeds: from there to a [`Report`].
//!
//! Runs are independent, so they go side by side, and come back in the order in which they were asked for: the report does
//! not depend on how many threads there were.

use std::sync::Arc;

use hdrhistogram::Histogram;
use rayon::prelude::*;

use crate::model::Replicas;
use crate::sim::bound::{self, Problem, Refusal};
use crate::sim::contestant::{self, Contestant, Who};
use crate::sim::report::{About, Action, Input, Kind, Least, Policy, Regret, Report, SCHEMA, Step, Timeline, Waits};
use crate::sim::score::{Score, waits};
use crate::sim::stats::{estimate, mean};
use crate::sim::workload::{Jobs, Recorded};
use crate::sim::world::{Setup, World};
use crate::spec::AutoscalerSpec;
use crate::spec::scenario::Scenario;

const SECOND: f64 = 1e9;
/// Rows of a timeline.
const ROWS: u64 = 720;
/// Actions in a report.
const ACTIONS: usize = 1000;
/// The bound's step where nothing speaks for another: the HPA's own pace.
const STEP: u64 = 15_000_000_000;
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
        let first = Jobs::make(&self.scenario, self.first_seed, &self.recorded)?;
        if first.is_empty() {
            return Err("no job ever arrives; raise the rates, or simulate a longer time".to_owned());
        }
        let ours = self.ours()?;
        let empty = self.empty(spec, &first, slots);
        if !whole {
            return Ok(empty);
        }
        let with_load = ours.first().and_then(|ours| ours.with_load(&self.scenario, slots));
        let best = self.best_static(&first, slots, spec.bounds.max);
        let contestants: Vec<Contestant> = ours
            .into_iter()
            .chain(with_load)
            .chain(Contestant::baselines(spec, &self.scenario, slots))
            .chain(best.map(Contestant::fixed))
            .collect();
        let all = self.run_all(&contestants, slots, tick)?;

        let mut policies: Vec<Policy> =
            contestants.iter().zip(&all.runs).map(|(who, runs)| self.row(who, runs, slots)).collect();
        compare(&mut policies, &all.runs);
        let feasibility = self.feasibility(&contestants, &policies, &first, slots, best);
        order(&mut policies);
        let (frontier, hindsight) = self.hindsight(&first, slots, spec.bounds.max, contestants.first());
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
        let named = |spec: &Arc<AutoscalerSpec>| {
            let name = if several { format!("tidegate {}", spec.id.name) } else { "tidegate".to_owned() };
            Contestant::ours(spec, &self.scenario, name)
        };
        self.autoscalers.iter().map(named).collect()
    }

    fn setup(&self, who: &Contestant, seed: u64, slots: u32) -> Setup {
        Setup::of(&self.scenario, seed, slots, who.initial)
    }

    /// Every contestant with every seed; a seed's jobs are made once.
    fn run_all(&self, contestants: &[Contestant], slots: u32, tick: &(dyn Fn(usize) + Sync)) -> Result<All, String> {
        let seeds = self.seeds();
        let mut all = All { runs: contestants.iter().map(|_| Vec::new()).collect(), jobs: 0.0, work: 0.0 };
        let mut left = seeds.as_slice();
        let mut at_once = 1;
        while !left.is_empty() {
            let (now, later) = left.split_at(at_once.min(left.len()));
            left = later;
            let jobs: Vec<Jobs> = now
                .par_iter()
                .map(|seed| Jobs::make(&self.scenario, *seed, &self.recorded))
                .collect::<Result<_, _>>()?;
            let largest = jobs.iter().map(Jobs::len).max().unwrap_or(0).max(1);
            at_once = (JOBS_AT_ONCE / largest).clamp(1, 64);
            let pairs: Vec<(usize, usize)> =
                (0..now.len()).flat_map(|seed| (0..contestants.len()).map(move |who| (seed, who))).collect();
            let runs: Vec<(usize, Run)> = pairs
                .into_par_iter()
                .filter_map(|(at, who)| {
                    let (seed, jobs, contestant) = (*now.get(at)?, jobs.get(at)?, contestants.get(who)?);
                    let run = self.one(contestant, seed, jobs, slots, seed == self.first_seed);
                    tick(1);
                    Some((who, run))
                })
                .collect();
            for (who, run) in runs {
                if let Some(place) = all.runs.get_mut(who) {
                    place.push(run);
                }
            }
            for jobs in &jobs {
                all.jobs += jobs.len() as f64 / seeds.len() as f64;
                all.work += jobs.work() as f64 / seeds.len() as f64;
            }
        }
        Ok(all)
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

    // === hindsight ===

    fn regret(&self, setup: &Setup, jobs: &Jobs, score: &Score, slots: u32) -> Option<Regret> {
        let most = self.autoscalers.iter().map(|spec| spec.bounds.max).max().unwrap_or(0);
        // Hindsight may have as many as anybody, and as many as there were while some of them ended.
        let most = u32::try_from(most).unwrap_or(0);
        if !score.drained || score.lost > 0 || score.left > 0 {
            return None;
        }
        let wait = score.longest_detour;
        let problem = Problem {
            jobs: bound::Jobs { arrivals: &jobs.arrivals, services: &jobs.services },
            slots,
            start_up: rounded_down(score.shortest_start.unwrap_or(0)),
            wait,
            max: score.peak.max(most),
            initial: u32::try_from(setup.initial).unwrap_or(0),
            step: step(jobs.span),
        };
        let best = tried(problem, bound::cost).ok()?;
        if best == 0 {
            return None;
        }
        let percent = |cost: u128| (cost as f64 / best as f64 - 1.0) * 100.0;
        let total = percent(score.cost);
        // Who learns of a job only when it is seen, and starts a pod for it then, has so much less time for it.
        let blind = nanos(self.scenario.sampling.delay)
            .saturating_add(setup.actuation_delay)
            .saturating_add(rounded(setup.mean_start_up()));
        let unavoidable = tried(Problem { wait: wait.saturating_sub(blind), ..problem }, bound::cost)
            .map_or(total, |cost| percent(cost).clamp(0.0, total.max(0.0)));
        Some(Regret {
            wait_seconds: wait as f64 / SECOND,
            bound: best as f64 / SECOND,
            percent: total,
            unavoidable_percent: unavoidable,
            own_percent: total - unavoidable,
        })
    }

    /// The frontier, and what hindsight would have done.
    fn hindsight(&self, jobs: &Jobs, slots: u32, max: Replicas, first: Option<&Contestant>) -> (Vec<Least>, Vec<Step>) {
        let initial = first.map_or(0, |who| who.initial);
        let setup = Setup::of(&self.scenario, self.first_seed, slots, initial);
        let slo = nanos(self.scenario.slo.wait);
        let problem = Problem {
            jobs: bound::Jobs { arrivals: &jobs.arrivals, services: &jobs.services },
            slots,
            start_up: rounded_down(rounded(setup.mean_start_up())),
            wait: slo,
            max: u32::try_from(max).unwrap_or(0),
            initial: u32::try_from(initial).unwrap_or(0),
            step: step(jobs.span),
        };
        let shares = [0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 10.0, 30.0];
        let frontier = shares
            .into_par_iter()
            .map(|share| {
                let wait = rounded(slo as f64 * share);
                let cost = tried(Problem { wait, ..problem }, bound::cost).ok();
                Least { wait_seconds: wait as f64 / SECOND, cost: cost.map(|cost| cost as f64 / SECOND) }
            })
            .collect();
        let mut steps: Vec<Step> = Vec::new();
        let mut used = problem.step;
        let schedule = tried(problem, |problem| {
            used = problem.step;
            bound::schedule(problem)
        });
        if let Ok(found) = schedule {
            for (i, replicas) in found.schedule.iter().enumerate() {
                if steps.last().is_none_or(|step| step.replicas != *replicas) {
                    steps.push(Step { at: i as f64 * used as f64 / SECOND, replicas: *replicas });
                }
            }
        }
        (frontier, steps)
    }

    /// The smallest number of replicas that meets the objective from beginning to end.
    fn best_static(&self, jobs: &Jobs, slots: u32, max: Replicas) -> Option<Replicas> {
        let meets = |replicas: Replicas| {
            let mut setup = Setup::of(&self.scenario, self.first_seed, slots, replicas);
            setup.give_up_when_late = Some(allowed(self.scenario.slo.share, jobs.len()));
            let score = World::new(&setup, jobs).run(&mut Contestant::fixed(replicas).scaler(&self.scenario, 0));
            score.drained && score.on_time() >= self.scenario.slo.share
        };
        least(1, max, meets)
    }

    /// What it would take where nobody who only reacts can do it.
    fn feasibility(
        &self,
        contestants: &[Contestant],
        policies: &[Policy],
        jobs: &Jobs,
        slots: u32,
        best_static: Option<Replicas>,
    ) -> String {
        let slo = self.scenario.slo;
        let start_up = Setup::of(&self.scenario, 0, slots, 0).mean_start_up() / SECOND;
        let blind = start_up + self.scenario.sampling.delay.as_secs_f64() + self.scenario.actuation.delay.as_secs_f64();
        let wait = slo.wait.as_secs_f64();
        let percent = slo.share * 100.0;
        let ours = policies.iter().any(|policy| policy.kind == Kind::Tidegate && policy.meets_slo);
        let reactively = if blind > wait {
            format!(
                "A pod takes work {} after it is seen to be needed, and jobs may wait {}: what comes beyond the \
                 replicas that are ready is late, whoever reacts to it.",
                seconds(blind),
                seconds(wait)
            )
        } else {
            format!(
                "{} of the {} that jobs may wait pass until a pod that is seen to be needed takes work.",
                seconds(blind),
                seconds(wait)
            )
        };
        if ours {
            return reactively;
        }
        let Some(Contestant { who: Who::Ours { spec, streams }, .. }) = contestants.first() else { return reactively };
        let meets = |min: Replicas| {
            let mut raised = AutoscalerSpec::clone(spec);
            (raised.bounds.min, raised.bounds.idle) = (min, None);
            let who = Contestant {
                name: String::new(),
                kind: Kind::Tidegate,
                setting: String::new(),
                initial: min,
                who: Who::Ours { spec: Arc::new(raised), streams: streams.clone() },
            };
            let mut setup = self.setup(&who, self.first_seed, slots);
            setup.give_up_when_late = Some(allowed(slo.share, jobs.len()));
            let score = World::new(&setup, jobs).run(&mut who.scaler(&self.scenario, self.first_seed));
            score.drained && score.on_time() >= slo.share
        };
        let floor = least(spec.bounds.min + 1, spec.bounds.max, meets);
        let cure = match (floor, best_static) {
            (Some(floor), _) => format!("minReplicas: {floor} would meet {percent} % here (seed {}).", self.first_seed),
            (None, Some(size)) => format!("{size} replicas all the time would meet {percent} % here."),
            (None, None) => format!(
                "Not even {} replicas all the time (maxReplicas) meet {percent} % here: allow more of them, or longer waits.",
                spec.bounds.max
            ),
        };
        format!("{reactively} {cure}")
    }

    // === the table ===

    fn row(&self, who: &Contestant, runs: &[Run], slots: u32) -> Policy {
        let each = |of: &dyn Fn(&Score) -> f64| -> Vec<f64> { runs.iter().map(|run| of(&run.score)).collect() };
        let hours = |score: &Score| (score.end as f64 / SECOND / 3600.0).max(1e-9);
        let on_time = estimate(&each(&|score| score.on_time() * 100.0));
        let mut merged = waits();
        for run in runs {
            // They have the same bounds.
            let _ = merged.add(&run.score.waits);
        }
        let share = |of: &dyn Fn(&Score) -> u128| {
            let cost: u128 = runs.iter().map(|run| run.score.cost).sum();
            let part: u128 = runs.iter().map(|run| of(&run.score)).sum();
            if cost == 0 { 0.0 } else { part as f64 / cost as f64 * 100.0 }
        };
        let done: u64 = runs.iter().map(|run| run.score.done).sum();
        let waited: u128 = runs.iter().map(|run| run.score.waited).sum();
        Policy {
            name: who.name.clone(),
            kind: who.kind,
            setting: who.setting.clone(),
            on_time_percent: on_time,
            meets_slo: on_time.mean >= self.scenario.slo.share * 100.0 && runs.iter().all(|run| run.score.drained),
            cost: estimate(&each(&Score::replica_seconds)),
            cost_over_work: estimate(&each(&|score| {
                score.cost as f64 * f64::from(slots) / (score.work as f64).max(1.0)
            })),
            cost_difference_percent: None,
            waits: Waits {
                mean: if done == 0 { 0.0 } else { waited as f64 / done as f64 / SECOND },
                p50: quantile(&merged, 0.5),
                p95: quantile(&merged, 0.95),
                p99: quantile(&merged, 0.99),
                p999: quantile(&merged, 0.999),
                max: runs.iter().map(|run| run.score.longest_wait).max().unwrap_or(0) as f64 / SECOND,
            },
            late_job_seconds: estimate(&each(&|score| score.late_by as f64 / SECOND)),
            idle_percent: share(&|score| score.idle),
            start_up_percent: share(&|score| score.starting),
            actions_per_hour: estimate(&each(&|score| score.actions as f64 / hours(score))),
            reversals_per_hour: mean(&each(&|score| score.reversals as f64 / hours(score))),
            wasted_starts: mean(&each(&|score| score.wasted_starts as f64)),
            lost: mean(&each(&|score| score.lost as f64)),
            redelivered: mean(&each(&|score| score.redelivered as f64)),
            left: mean(&each(&|score| score.left as f64)),
            longest_breach_seconds: runs.iter().map(|run| run.score.longest_breach).max().unwrap_or(0) as f64 / SECOND,
            peak_replicas: runs.iter().map(|run| run.score.peak).max().unwrap_or(0),
            regret: mean_regret(runs),
            longer_than: tail(&merged),
            timeline: runs.first().map(|run| timeline(&run.score, slots)),
        }
    }
}

struct All {
    /// By contestant, then by seed.
    runs: Vec<Vec<Run>>,
    /// Of a seed, on average; work in nanoseconds.
    jobs: f64,
    work: f64,
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "`as` stops at the ends")]
fn rounded(nanos: f64) -> u64 {
    nanos as u64
}

/// A shorter start-up is a bound as well, and a round one has the bound's arithmetic fit into narrow integers.
fn rounded_down(start_up: u64) -> u64 {
    start_up / 100_000_000 * 100_000_000
}

/// Fine enough for short experiments: the bound leaves out what is less than a replica's step of work.
fn step(span: u64) -> u64 {
    let fine = (span / 2000).clamp(100_000_000, STEP);
    fine / 100_000_000 * 100_000_000
}

/// With a coarser step, where the finer one is more than anybody waits for.
fn tried<T>(mut problem: Problem<'_>, mut solve: impl FnMut(&Problem<'_>) -> Result<T, Refusal>) -> Result<T, Refusal> {
    for _ in 0..8 {
        match solve(&problem) {
            Err(Refusal::TooLarge { step, .. }) if step > problem.step => problem.step = step,
            answer => return answer,
        }
    }
    solve(&problem)
}

/// Jobs that may be late.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
fn allowed(share: f64, jobs: usize) -> u64 {
    ((1.0 - share) * jobs as f64) as u64
}

/// The least number in `from..=to` that does, where all above one that does, do.
fn least(from: Replicas, to: Replicas, does: impl Fn(Replicas) -> bool) -> Option<Replicas> {
    if from > to || !does(to) {
        return None;
    }
    let (mut low, mut high) = (from, to);
    while low < high {
        let middle = low + (high - low) / 2;
        if does(middle) { high = middle } else { low = middle + 1 }
    }
    Some(high)
}

fn assumptions(contestants: &[Contestant]) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(Contestant { who: Who::Ours { spec, .. }, .. }) = contestants.first()
        && spec.triggers.iter().any(|trigger| !trigger.shows_in_flight())
        && contestants.iter().any(|who| who.name.ends_with("with load"))
    {
        notes.push(format!(
            "\"with load\" supposes that work in flight can be seen, which {} does not show as it is written: add inFlight.",
            spec.id
        ));
    }
    if spec_rests_at_zero(contestants) {
        notes.push("An HPA alone keeps one replica where minReplicas is 0.".to_owned());
    }
    notes
}

fn spec_rests_at_zero(contestants: &[Contestant]) -> bool {
    contestants.iter().any(|who| matches!(&who.who, Who::Ours { spec, .. } if spec.bounds.min == 0))
}

fn quantile(waits: &Histogram<u64>, quantile: f64) -> f64 {
    waits.value_at_quantile(quantile) as f64 / 1e6
}

/// Seconds, and the share that waited longer; a point for each step of a tenth of a decade in which anything changes.
fn tail(waits: &Histogram<u64>) -> Vec<(f64, f64)> {
    let all = waits.len() as f64;
    let mut points: Vec<(f64, f64)> = Vec::new();
    if waits.is_empty() {
        return points;
    }
    let mut wait = 1_000.0_f64;
    while wait < waits.max() as f64 * 1.26 {
        let longer = 1.0 - waits.count_between(0, rounded(wait)) as f64 / all;
        let longer = if longer < 0.5 / all { 0.0 } else { longer };
        points.push((wait / 1e6, longer));
        wait *= 1.258_925_411_794_167_2;
    }
    points
}

fn mean_regret(runs: &[Run]) -> Option<Regret> {
    let all: Vec<Regret> = runs.iter().map(|run| run.regret).collect::<Option<_>>()?;
    let of = |field: fn(&Regret) -> f64| mean(&all.iter().map(field).collect::<Vec<_>>());
    Some(Regret {
        wait_seconds: of(|regret| regret.wait_seconds),
        bound: of(|regret| regret.bound),
        percent: of(|regret| regret.percent),
        unavoidable_percent: of(|regret| regret.unavoidable_percent),
        own_percent: of(|regret| regret.own_percent),
    })
}

fn timeline(score: &Score, slots: u32) -> Timeline {
    let rows = &score.timeline;
    let seconds = |nanos: u64| nanos as f64 / SECOND;
    Timeline {
        at: rows.iter().map(|row| seconds(row.at)).collect(),
        arrived: rows.iter().map(|row| row.arrived).collect(),
        waiting: rows.iter().map(|row| row.waiting).collect(),
        oldest: rows.iter().map(|row| seconds(row.oldest)).collect(),
        wanted: rows.iter().map(|row| row.wanted).collect(),
        asked: rows.iter().map(|row| row.asked).collect(),
        ready: rows.iter().map(|row| row.ready).collect(),
        busy: rows.iter().map(|row| row.busy as f64 / f64::from(slots)).collect(),
        actions: score
            .log
            .iter()
            .take(ACTIONS)
            .map(|action| Action {
                at: seconds(action.at),
                from: action.from,
                to: action.to,
                why: action.why.to_owned(),
            })
            .collect(),
    }
}

/// Pairs every policy with the first: the same seed, so the same luck.
fn compare(policies: &mut [Policy], runs: &[Vec<Run>]) {
    let Some(first) = runs.first() else { return };
    for (policy, runs) in policies.iter_mut().zip(runs).skip(1) {
        let differences: Vec<f64> = runs
            .iter()
            .zip(first)
            .map(|(run, first)| (run.score.cost as f64 / (first.score.cost as f64).max(1.0) - 1.0) * 100.0)
            .collect();
        policy.cost_difference_percent = Some(estimate(&differences));
    }
}

/// Those that meet the objective first, and the cheaper ones before the dearer; the others by what they miss it by.
fn order(policies: &mut [Policy]) {
    policies.sort_by(|one, other| {
        let by_cost = one.cost.mean.total_cmp(&other.cost.mean);
        let by_punctuality = other.on_time_percent.mean.total_cmp(&one.on_time_percent.mean);
        let within = if one.meets_slo { by_cost } else { by_punctuality.then(by_cost) };
        other.meets_slo.cmp(&one.meets_slo).then(within)
    });
}

fn verdict(policies: &[Policy], percent: f64, wait: std::time::Duration) -> String {
    let objective = format!("{percent} % within {}", seconds(wait.as_secs_f64()));
    let figures = |policy: &Policy| {
        format!("{:.2} % in time at {:.2} times the work", policy.on_time_percent.mean, policy.cost_over_work.mean)
    };
    let best = policies.iter().find(|policy| policy.kind == Kind::Tidegate && policy.meets_slo);
    let keda = policies.iter().find(|policy| policy.kind == Kind::Keda);
    let keda = keda.map_or(String::new(), |keda| format!("; {}: {}", keda.name, figures(keda)));
    match best {
        Some(best) => format!("{} meets {objective}: {}{keda}.", best.name, figures(best)),
        None => match policies.iter().find(|policy| policy.meets_slo) {
            Some(other) => {
                format!("No tidegate policy here meets {objective}; {} does: {}{keda}.", other.name, figures(other))
            }
            None => format!("Nobody here meets {objective}{keda}."),
        },
    }
}

/// As people write it.
fn seconds(seconds: f64) -> String {
    match std::time::Duration::try_from_secs_f64((seconds * 1000.0).round() / 1000.0) {
        Ok(duration) => crate::spec::units::format_duration(duration),
        Err(_) => format!("{seconds} s"),
    }
}
