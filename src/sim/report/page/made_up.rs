//! A made-up report: a crude queue under a day's wave with bursts, and a few ways to scale it. For tests and to look at.
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "only made up, and a test may break"
)]

mod queue;

use self::queue::{Luck, Outcome, PERCENT, Rule, SECONDS, SERVICE, SLO, SLOTS, START_UP, arrivals, run};
use super::model::{
    About, Estimate, Field, Input, Kind, Least, Point, Policy, Regret, Report, SCHEMA, Step, Sweep, Waits,
};

fn estimate(values: &[f64]) -> Estimate {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let spread =
        (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0).max(1.0) / count).sqrt();
    let half = if values.len() > 1 { 2.78 * spread } else { 0.0 };
    Estimate { mean, low: mean - half, high: mean + half }
}

fn quantile(waits: &[(f64, u64)], share: f64) -> f64 {
    let all: u64 = waits.iter().map(|(_, count)| count).sum();
    let mut left = share * all as f64;
    for (wait, count) in waits {
        left -= *count as f64;
        if left <= 0.0 {
            return *wait;
        }
    }
    waits.last().map_or(0.0, |(wait, _)| *wait)
}

fn on_time(outcome: &Outcome) -> f64 {
    let all: u64 = outcome.waits.iter().map(|(_, count)| count).sum();
    let good: u64 = outcome.waits.iter().filter(|(wait, _)| *wait <= SLO).map(|(_, count)| count).sum();
    100.0 * good as f64 / all.max(1) as f64
}

fn tail(waits: &[(f64, u64)]) -> Vec<(f64, f64)> {
    let all: u64 = waits.iter().map(|(_, count)| count).sum();
    let mut out = Vec::new();
    let mut at = 0.01;
    let mut rest = waits.iter().peekable();
    let mut seen = 0;
    loop {
        while let Some((_, count)) = rest.next_if(|(wait, _)| *wait <= at) {
            seen += count;
        }
        out.push((at, (all - seen) as f64 / all.max(1) as f64));
        if seen == all {
            return out;
        }
        at *= 1.12;
    }
}

/// Eight policies and one that recorded less, five seeds, a sweep of two fields.
pub(super) fn report() -> Report {
    let rules: [(&str, Kind, &str, Rule); 9] = [
        (
            "tidegate",
            Kind::Tidegate,
            "load, drain within 3 s, every 1 s",
            Rule::Load { drain: 3.0, every: 1, spare: 1.35, down: 120 },
        ),
        (
            "tidegate-calm",
            Kind::Tidegate,
            "load, drain within 10 s, every 5 s",
            Rule::Load { drain: 10.0, every: 5, spare: 1.2, down: 300 },
        ),
        (
            "tidegate-lean",
            Kind::Tidegate,
            "load, drain within 20 s, every 1 s, down after 30 s",
            Rule::Load { drain: 20.0, every: 1, spare: 1.05, down: 30 },
        ),
        (
            "hpa-cpu",
            Kind::Hpa,
            "CPU at 70 %, every 15 s",
            Rule::Load { drain: 200.0, every: 15, spare: 1.43, down: 300 },
        ),
        (
            "keda-list-length-10",
            Kind::Keda,
            "10 a replica, polled every 30 s",
            Rule::Backlog { target: 10.0, every: 30, down: 300 },
        ),
        (
            "keda-list-length-5",
            Kind::Keda,
            "5 a replica, polled every 15 s",
            Rule::Backlog { target: 5.0, every: 15, down: 300 },
        ),
        ("keda-eager", Kind::Keda, "3 a replica, polled every 5 s", Rule::Backlog { target: 3.0, every: 5, down: 300 }),
        ("static-peak", Kind::Static, "always 30", Rule::Always(30)),
        ("static-mean", Kind::Static, "always 9", Rule::Always(9)),
    ];
    let seeds: Vec<u64> = (1..=5).collect();
    let loads: Vec<Vec<u64>> = seeds.iter().map(|seed| arrivals(*seed)).collect();
    let totals: Vec<f64> = loads.iter().map(|jobs| jobs.iter().sum::<u64>() as f64).collect();
    let ideal: Vec<f64> = totals.iter().map(|jobs| jobs * SERVICE / SLOTS).collect();
    let mean_ideal = estimate(&ideal).mean;
    let mut seed_costs: Vec<(String, Vec<f64>)> = Vec::new();
    let mut policies: Vec<Policy> = rules
        .iter()
        .map(|(name, kind, setting, rule)| {
            let outcomes: Vec<Outcome> = loads.iter().map(|jobs| run(*rule, jobs, false)).collect();
            let costs: Vec<f64> = outcomes.iter().map(|outcome| outcome.cost).collect();
            seed_costs.push(((*name).to_owned(), costs.clone()));
            let over: Vec<f64> = costs.iter().zip(&ideal).map(|(cost, ideal)| cost / ideal).collect();
            let punctual: Vec<f64> = outcomes.iter().map(on_time).collect();
            let mut waits: Vec<(f64, u64)> =
                outcomes.iter().flat_map(|outcome| outcome.waits.iter().copied()).collect();
            waits.sort_by(|(one, _), (other, _)| one.total_cmp(other));
            let cost = estimate(&costs);
            let max = quantile(&waits, 1.0);
            let bound = mean_ideal * least(max);
            let percent = 100.0 * (cost.mean / bound - 1.0);
            let hours = SECONDS as f64 / 3600.0;
            let part = |value: fn(&Outcome) -> f64| {
                100.0 * outcomes.iter().map(value).sum::<f64>()
                    / outcomes.iter().map(|outcome| outcome.cost).sum::<f64>()
            };
            let on_time = estimate(&punctual);
            let mut policy = Policy {
                name: (*name).to_owned(),
                kind: *kind,
                setting: (*setting).to_owned(),
                on_time_percent: on_time,
                meets_slo: on_time.mean >= PERCENT,
                cost,
                cost_over_work: estimate(&over),
                cost_difference_percent: None,
                waits: Waits {
                    mean: waits.iter().map(|(wait, count)| wait * *count as f64).sum::<f64>()
                        / totals.iter().sum::<f64>(),
                    p50: quantile(&waits, 0.5),
                    p95: quantile(&waits, 0.95),
                    p99: quantile(&waits, 0.99),
                    p999: quantile(&waits, 0.999),
                    max,
                },
                late_job_seconds: estimate(&outcomes.iter().map(|outcome| outcome.late_by).collect::<Vec<_>>()),
                idle_percent: part(|outcome| outcome.idle),
                start_up_percent: part(|outcome| outcome.starting),
                actions_per_hour: estimate(&outcomes.iter().map(|o| f64::from(o.actions) / hours).collect::<Vec<_>>()),
                reversals_per_hour: outcomes.iter().map(|o| f64::from(o.reversals)).sum::<f64>() / hours / 5.0,
                wasted_starts: outcomes.iter().map(|o| f64::from(o.reversals)).sum::<f64>() / 20.0,
                lost: 0.0,
                redelivered: outcomes.iter().map(|o| f64::from(o.actions)).sum::<f64>() / 9.0,
                left: 0.0,
                longest_breach_seconds: outcomes.iter().map(|outcome| outcome.breach).fold(0.0, f64::max),
                longest_detour_seconds: max,
                peak_replicas: outcomes.iter().map(|outcome| outcome.peak.max(0) as u32).max().unwrap_or(0),
                regret: Some(Regret {
                    wait_seconds: max,
                    bound,
                    percent,
                    unavoidable_percent: percent * 0.35,
                    own_percent: percent * 0.65,
                }),
                longer_than: tail(&waits),
                timeline: outcomes.into_iter().next().map(|outcome| outcome.timeline),
            };
            if *name == "static-mean" {
                (policy.timeline, policy.regret) = (None, None);
                policy.left = 212.0;
            }
            policy
        })
        .collect();
    policies.sort_by(|one, other| other.meets_slo.cmp(&one.meets_slo).then(one.cost.mean.total_cmp(&other.cost.mean)));
    let costs = |name: &str| {
        seed_costs.iter().find(|(other, _)| other == name).map(|(_, costs)| costs.clone()).unwrap_or_default()
    };
    // Not the first of the table: that is the cheapest.
    let base = rules.map(|(name, ..)| name)[1];
    for policy in policies.iter_mut().filter(|policy| policy.name != base) {
        let own = costs(&policy.name);
        let differences: Vec<f64> =
            own.iter().zip(costs(base)).map(|(cost, base)| 100.0 * (cost / base - 1.0)).collect();
        policy.cost_difference_percent = Some(estimate(&differences));
    }
    let waits = [0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 35.0, 60.0, 120.0, 300.0, 900.0, 1800.0];
    Report {
        schema: SCHEMA.to_owned(),
        tidegate: "0.1.0".to_owned(),
        command: "tidegate simulate -f deploy/thumbnails.yaml --scenario evening-rush.yaml --seeds 5 \
                  --vary spec.triggers[0].policy.load.drainWithin=1s,2s,5s,10s,20s --vary spec.behavior.scaleDown.stabilizationWindowSeconds=30,60,120,300 --html report.html"
            .to_owned(),
        scenario: About {
            name: "evening rush".to_owned(),
            about: "Thumbnails of uploads between 17:00 and 21:00, with five bursts of an importer.".to_owned(),
            autoscaler: "media/thumbnails".to_owned(),
            seconds: SECONDS as f64,
            jobs: estimate(&totals).mean,
            work_seconds: mean_ideal * SLOTS,
            load: mean_ideal * SLOTS / SECONDS as f64,
            slots_per_replica: SLOTS as u32,
            start_up_seconds: START_UP as f64,
            slo_wait_seconds: SLO,
            slo_percent: PERCENT,
            seeds,
            inputs: vec![
                Input { name: "deploy/thumbnails.yaml".to_owned(), bytes: 1834, hash: "9f2c51b04b7a3d11".to_owned() },
                Input { name: "evening-rush.yaml".to_owned(), bytes: 912, hash: "03ab94f1de55c780".to_owned() },
                Input { name: "traces/uploads-2025-11-03.csv".to_owned(), bytes: 18_340_221, hash: "e1d05c9a3b60f24e".to_owned() },
            ],
        },
        verdict: format!(
            "{} is the cheapest that starts 98 % of the jobs within 20 s: it costs 21 % less than keda-eager, the cheapest \
             of the others that do.",
            policies.first().map(|policy| policy.name.clone()).unwrap_or_default()
        ),
        feasibility: "Who only reacts can start 99.2 % in time at best, because pods take 20 s to start and bursts come \
                      without warning: for 99.9 %, 6 replicas would have to stand by."
            .to_owned(),
        notes: vec![
            "Pods are assumed to start after 20 s on average, as measured in the trace.".to_owned(),
            "KEDA is simulated with its default polling; its cooldown to zero is left out.".to_owned(),
        ],
        policies,
        frontier: waits
            .iter()
            .map(|wait| {
                let over = (*wait > 0.0).then(|| least(*wait));
                Least { wait_seconds: *wait, cost: over.map(|over| mean_ideal * over), cost_over_work: over }
            })
            .collect(),
        hindsight: hindsight(loads.first().map(Vec::as_slice).unwrap_or_default()),
        sweep: Some(sweep(2)),
        shard: None,
    }
}

fn least(wait: f64) -> f64 {
    1.0 + 0.35 / (1.0 + wait / 25.0)
}

fn hindsight(jobs: &[u64]) -> Vec<Step> {
    let mut out: Vec<Step> = Vec::new();
    for (place, chunk) in jobs.chunks(90).enumerate() {
        let need = chunk.iter().sum::<u64>() as f64 * SERVICE / SLOTS / chunk.len() as f64;
        let replicas = (need * 1.02).ceil() as u32;
        if out.last().is_none_or(|step| step.replicas != replicas) {
            out.push(Step { at: place as f64 * 90.0, replicas });
        }
    }
    out
}

/// With so many fields, from one to three.
pub(super) fn sweep(count: usize) -> Sweep {
    let field = |path: &str, values: &[&str]| Field {
        path: path.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    };
    let mut fields = vec![
        field("spec.triggers[0].load.drainWithin", &["1s", "2s", "5s", "10s", "20s"]),
        field("spec.behavior.scaleDown.stabilizationWindow", &["30s", "1m", "2m", "5m"]),
        field("spec.minReplicas", &["1", "4"]),
    ];
    fields.truncate(count);
    let mut combinations: Vec<Vec<usize>> = vec![vec![]];
    for field in &fields {
        combinations = combinations
            .into_iter()
            .flat_map(|before| (0..field.values.len()).map(move |place| [before.clone(), vec![place]].concat()))
            .collect();
    }
    let mut luck = Luck(5);
    let mut points: Vec<Point> = combinations
        .iter()
        .map(|places| {
            let at = |field: usize| places.get(field).copied().unwrap_or(0) as f64;
            let generous = (4.0 - at(0)) * 0.7 + at(1) * 0.9 + at(2) * 0.8 + luck.next() * 0.3;
            let cost = 1.15 + generous * 0.11 + generous * generous * 0.012;
            let late = 12.0 * (-(generous + luck.next() * 1.2) * 0.75).exp();
            Point {
                values: fields
                    .iter()
                    .zip(places)
                    .filter_map(|(field, place)| field.values.get(*place).cloned())
                    .collect(),
                on_time_percent: estimate(&[100.0 - late, 100.0 - late * 1.3]),
                meets_slo: late <= 2.0,
                cost: estimate(&[cost * 30_000.0]),
                cost_over_work: estimate(&[cost, cost * 1.04]),
                p99_wait_seconds: 1.2 + late * 4.0,
                actions_per_hour: 80.0 - at(1) * 20.0,
                on_front: false,
            }
        })
        .collect();
    let all = points.clone();
    for point in &mut points {
        point.on_front = !all.iter().any(|other| {
            other.cost_over_work.mean < point.cost_over_work.mean
                && other.on_time_percent.mean >= point.on_time_percent.mean
        });
    }
    Sweep { fields, points }
}

/// As heavy as it gets: ten policies with long timelines and a thousand changes each.
pub(super) fn heavy() -> Report {
    let mut report = report();
    let jobs = arrivals(1);
    let rule = Rule::Load { drain: 3.0, every: 1, spare: 1.35, down: 5 };
    let mut busy = run(rule, &jobs, true).timeline;
    // Nothing stays as it was for a single row.
    let mut luck = Luck(11);
    for place in 0..busy.at.len() {
        let mut up_to = |most: f64| luck.next() * most;
        let noise = (up_to(5000.0), up_to(300.0), up_to(60.0), up_to(60.0), up_to(60.0), up_to(60.0));
        busy.waiting[place] = noise.0 as u64;
        busy.oldest[place] = noise.1;
        busy.wanted[place] = Some(noise.2 as i32);
        (busy.asked[place], busy.ready[place], busy.busy[place]) = (noise.3 as i32, noise.4 as i32, noise.5);
    }
    while report.policies.len() < 10 {
        let Some(policy) = report.policies.first().cloned() else { break };
        report.policies.push(policy);
    }
    for (place, policy) in report.policies.iter_mut().enumerate() {
        policy.name = format!("a policy with quite a long name, number {place}");
        policy.timeline = Some(busy.clone());
    }
    report
}
