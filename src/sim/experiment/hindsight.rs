//! What hindsight could have done, and what those who only react would need.

use std::sync::Arc;

use rayon::prelude::*;

use super::{Experiment, Run, seconds};
use crate::model::Replicas;
use crate::sim::bound::{self, Problem, Refusal};
use crate::sim::contestant::{Contestant, Who};
use crate::sim::report::{Kind, Least, Policy, Regret, Step};
use crate::sim::score::Score;
use crate::sim::stats::mean;
use crate::sim::workload::Jobs;
use crate::sim::world::{Setup, World};
use crate::sim::{SECOND, nanos, whole};
use crate::spec::AutoscalerSpec;

/// The bound's step where nothing speaks for another: the HPA's own pace.
const STEP: u64 = 15_000_000_000;

impl Experiment {
    pub(super) fn regret(&self, setup: &Setup, jobs: &Jobs, score: &Score, slots: u32) -> Option<Regret> {
        let most = self.autoscalers.iter().map(|spec| spec.bounds.max).max().unwrap_or(0);
        // Hindsight may have as many as anybody, and as many as there were while some of them ended.
        let most = u32::try_from(most).unwrap_or(0);
        if !whole_work(score) {
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
        // Who learns of a job only when it is seen, and starts a pod for it then, has so much less time for it. Where not
        // even hindsight could do with so little, nothing is known against its being unavoidable.
        let blind = nanos(self.scenario.sampling.delay)
            .saturating_add(setup.actuation_delay)
            .saturating_add(whole(setup.mean_start_up()));
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
    pub(super) fn hindsight(
        &self,
        jobs: &Jobs,
        slots: u32,
        max: Replicas,
        contestants: &[Contestant],
        scores: &[&Score],
    ) -> (Vec<Least>, Vec<Step>) {
        let initial = contestants.first().map_or(0, |who| who.initial);
        let setup = Setup::of(&self.scenario, self.first_seed, slots, initial);
        // A bound for everybody who ran: the shortest start that anybody had, the most pods, and the most of them that were
        // there at the beginning, without a start.
        let shortest = scores.iter().filter_map(|score| score.shortest_start).min();
        let start_up = shortest.unwrap_or_else(|| whole(setup.mean_start_up()));
        let most = scores.iter().map(|score| score.peak).max().unwrap_or(0).max(u32::try_from(max).unwrap_or(0));
        let slo = nanos(self.scenario.slo.wait);
        let problem = Problem {
            jobs: bound::Jobs { arrivals: &jobs.arrivals, services: &jobs.services },
            slots,
            start_up: rounded_down(start_up),
            wait: slo,
            max: most,
            initial: u32::try_from(initial).unwrap_or(0),
            step: step(jobs.span),
        };
        let count = |replicas: Replicas| u32::try_from(replicas).unwrap_or(0);
        let most_initial = contestants.iter().map(|who| count(who.initial)).max().unwrap_or(0);
        let ideal = jobs.work() as f64 / f64::from(slots.max(1));
        let shares = [0.05, 0.2, 0.5, 1.0, 2.0, 4.0, 10.0, 30.0];
        let frontier = shares
            .into_par_iter()
            .map(|share| {
                let wait = whole(slo as f64 * share);
                let cost = tried(Problem { wait, initial: most_initial, ..problem }, bound::cost).ok();
                Least {
                    wait_seconds: wait as f64 / SECOND,
                    cost: cost.map(|cost| cost as f64 / SECOND),
                    cost_over_work: cost.filter(|_| ideal > 0.0).map(|cost| cost as f64 / ideal),
                }
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

    /// The smallest number of replicas that meets the objective from beginning to end, with all seeds as the table has it.
    /// Looked for with the first seed, which is near; from there with all of them.
    pub(super) fn best_static(&self, first: &Arc<Jobs>, slots: u32, max: Replicas) -> Result<Option<Replicas>, String> {
        let share = self.scenario.slo.share;
        let fixed = |seed: u64, jobs: &Jobs, replicas: Replicas, give_up_when_late: Option<u64>| {
            let setup = Setup { give_up_when_late, ..Setup::of(&self.scenario, seed, slots, replicas) };
            World::new(&setup, jobs).run(&mut Contestant::fixed(replicas).scaler(&self.scenario, 0))
        };
        let with_first = |replicas: Replicas| {
            meets(&fixed(self.first_seed, first, replicas, Some(allowed(share, first.len()))), share)
        };
        let near = least(1, max, with_first);
        if self.scenario.seeds == 1 || max < 1 {
            return Ok(near);
        }
        let with_all = |replicas: Replicas| -> Result<bool, String> {
            let (mut on_time, mut drained) = (Vec::new(), true);
            self.batches(first, |batch| {
                let scores: Vec<Score> =
                    batch.par_iter().map(|(seed, jobs)| fixed(*seed, jobs, replicas, None)).collect();
                drained &= scores.iter().all(|score| score.drained);
                on_time.extend(scores.iter().map(Score::on_time));
            })?;
            Ok(drained && mean(&on_time) * 100.0 >= share * 100.0)
        };
        let mut size = near.unwrap_or(max);
        if with_all(size)? {
            while size > 1 && with_all(size - 1)? {
                size -= 1;
            }
            return Ok(Some(size));
        }
        while size < max {
            size += 1;
            if with_all(size)? {
                return Ok(Some(size));
            }
        }
        Ok(None)
    }

    /// What it would take where nobody who only reacts can do it.
    pub(super) fn feasibility(
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
        let does = |min: Replicas| {
            let mut raised = AutoscalerSpec::clone(spec);
            (raised.bounds.min, raised.bounds.idle) = (min, None);
            let who = Contestant {
                name: String::new(),
                kind: Kind::Tidegate,
                setting: String::new(),
                initial: self.scenario.initial_replicas.unwrap_or(min),
                who: Who::Ours { spec: Arc::new(raised), streams: streams.clone() },
            };
            let mut setup = self.setup(&who, self.first_seed, slots);
            setup.give_up_when_late = Some(allowed(slo.share, jobs.len()));
            let score = World::new(&setup, jobs).run(&mut who.scaler(&self.scenario, self.first_seed));
            meets(&score, slo.share)
        };
        let floor = least(spec.bounds.min + 1, spec.bounds.max, does);
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
}

/// What of a regret is called unavoidable is an estimate, and others may show that it is none: whoever let nobody wait for
/// longer with the same luck, and paid less.
pub(super) fn what_others_show(runs: &mut [Vec<Run>]) {
    let seeds = runs.iter().map(Vec::len).max().unwrap_or(0);
    for seed in 0..seeds {
        let all = runs.iter().filter_map(|runs| runs.get(seed)).map(|run| &run.score);
        let shown: Vec<(f64, f64)> = all
            .filter(|score| whole_work(score))
            .map(|score| (score.longest_detour as f64 / SECOND, score.replica_seconds()))
            .collect();
        for regret in runs.iter_mut().filter_map(|runs| runs.get_mut(seed)).filter_map(|run| run.regret.as_mut()) {
            let as_prompt = shown.iter().filter(|(wait, _)| *wait <= regret.wait_seconds).map(|(_, cost)| *cost);
            let most = (as_prompt.fold(f64::INFINITY, f64::min) / regret.bound - 1.0) * 100.0;
            regret.unavoidable_percent = regret.unavoidable_percent.min(most.max(0.0));
            regret.own_percent = regret.percent - regret.unavoidable_percent;
        }
    }
}

/// Nobody's job was lost or left: only then costs may be compared.
fn whole_work(score: &Score) -> bool {
    score.drained && score.lost == 0 && score.left == 0
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

/// As the table has it.
pub(super) fn meets(score: &Score, share: f64) -> bool {
    score.drained && score.on_time() * 100.0 >= share * 100.0 - 1e-9
}

/// Jobs that may be late.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a count")]
fn allowed(share: f64, jobs: usize) -> u64 {
    // A share such as 0.999 is a little off, and a job is a job.
    ((1.0 - share) * jobs as f64 + 1e-6) as u64
}

/// The least number in `from..=to` that does, where all above one that does, do. Three are tried at once, however many
/// threads there are: the answer is the same.
fn least(from: Replicas, to: Replicas, does: impl Fn(Replicas) -> bool + Sync) -> Option<Replicas> {
    if from > to || !does(to) {
        return None;
    }
    let (mut low, mut high) = (from, to);
    while low < high {
        let quarter = (high - low) / 4;
        let tried = [low + quarter, low + (high - low) / 2, high - 1 - quarter];
        let found: Vec<bool> = tried.par_iter().map(|replicas| does(*replicas)).collect();
        for (replicas, does) in tried.into_iter().zip(found) {
            if does && replicas < high {
                high = replicas;
            } else if !does && replicas < high {
                low = low.max(replicas + 1);
            }
        }
    }
    Some(high)
}
