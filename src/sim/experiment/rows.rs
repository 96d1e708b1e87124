//! Rows of the table, their order, and what is said above them.

use hdrhistogram::Histogram;

use super::{Experiment, Run, seconds};
use crate::sim::contestant::{Contestant, Who};
use crate::sim::report::{Action, Kind, Policy, Regret, Timeline, Waits};
use crate::sim::score::{Score, waits};
use crate::sim::stats::{estimate, mean};
use crate::sim::{SECOND, whole};

/// Actions in a report.
const ACTIONS: usize = 1000;

impl Experiment {
    pub(super) fn row(&self, who: &Contestant, runs: &[Run], slots: u32) -> Policy {
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
        // Quantiles are exact to three digits, and so may be a little above the longest.
        let longest = runs.iter().map(|run| run.score.longest_wait).max().unwrap_or(0) as f64 / SECOND;
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
                p50: quantile(&merged, 0.5).min(longest),
                p95: quantile(&merged, 0.95).min(longest),
                p99: quantile(&merged, 0.99).min(longest),
                p999: quantile(&merged, 0.999).min(longest),
                max: longest,
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
            longest_detour_seconds: runs.iter().map(|run| run.score.longest_detour).max().unwrap_or(0) as f64 / SECOND,
            peak_replicas: runs.iter().map(|run| run.score.peak).max().unwrap_or(0),
            regret: mean_regret(runs),
            longer_than: tail(&merged),
            timeline: runs.first().map(|run| timeline(&run.score, slots)),
        }
    }
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
        let longer = 1.0 - waits.count_between(0, whole(wait)) as f64 / all;
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
pub(super) fn compare(policies: &mut [Policy], runs: &[Vec<Run>]) {
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
pub(super) fn order(policies: &mut [Policy]) {
    policies.sort_by(|one, other| {
        let by_cost = one.cost.mean.total_cmp(&other.cost.mean);
        let by_punctuality = other.on_time_percent.mean.total_cmp(&one.on_time_percent.mean);
        let within = if one.meets_slo { by_cost } else { by_punctuality.then(by_cost) };
        other.meets_slo.cmp(&one.meets_slo).then(within)
    });
}

pub(super) fn verdict(policies: &[Policy], percent: f64, wait: std::time::Duration) -> String {
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
                let keda = if other.kind == Kind::Keda { "" } else { keda.as_str() };
                format!("No tidegate policy here meets {objective}; {} does: {}{keda}.", other.name, figures(other))
            }
            None => format!("Nobody here meets {objective}{keda}."),
        },
    }
}

pub(super) fn assumptions(contestants: &[Contestant]) -> Vec<String> {
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
