//! Waits against their formulas. A correct simulation is off by up to a third on one run of a hundred thousand jobs at a
//! high load, so a figure is compared with the confidence interval of many seeds, and the mean with a percentage.

use tidegate::sim::scaler::Scaler;
use tidegate::sim::score::Score;
use tidegate::sim::workload::Jobs;
use tidegate::sim::world::{Setup, World};
use tidegate::spec::load::{SourceText, scenarios};
use tidegate::spec::scenario::Scenario;

pub fn scenario(body: &str) -> Scenario {
    let text = format!("apiVersion: tidegate.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: test }}\nspec:\n{body}");
    let texts = [SourceText { file: "scenario.yaml".to_owned(), text }];
    scenarios(&texts).unwrap_or_else(|problems| panic!("{problems}")).remove(0)
}

/// One run with so many pods from beginning to end.
pub fn fixed(scenario: &Scenario, pods: i32, seed: u64) -> Score {
    let jobs = Jobs::make(scenario, seed, &[]).unwrap();
    let slots = scenario.workers.slots.unwrap_or(1);
    let setup = Setup::of(scenario, seed, slots, pods);
    let score = World::new(&setup, &jobs).run(&mut Scaler::Fixed);
    assert!(score.identities && score.drained, "{score:?}");
    assert_eq!((score.done, score.left), (jobs.len() as u64, 0));
    assert_eq!(score.work, jobs.work());
    score
}

/// Mean, and half the width of its 99.9 % confidence interval by Student's t with 19 degrees of freedom.
fn interval(values: &[f64]) -> (f64, f64) {
    assert_eq!(values.len(), 20);
    let mean = values.iter().sum::<f64>() / 20.0;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / 19.0;
    (mean, 3.883 * (variance / 20.0).sqrt())
}

/// Erlang's C: the probability that a job has to wait, with `load` jobs at work on average.
fn erlang_c(servers: u32, load: f64) -> f64 {
    let mut b = 1.0;
    for n in 1..=servers {
        b = load * b / (f64::from(n) + load * b);
    }
    let servers = f64::from(servers);
    servers * b / (servers - load * (1.0 - b))
}

fn waits(rate: f64, service: &str, pods: i32, slots: i32, hours: u32) -> Vec<f64> {
    let body = format!(
        "  duration: {hours}h\n  jobs: [{{ arrivals: [{{ constant: {{ perSecond: {rate} }} }}], service: {service} }}]\n  \
         workers: {{ slots: {slots} }}\n"
    );
    let scenario = scenario(&body);
    (0..20).map(|seed| fixed(&scenario, pods, seed).mean_wait()).collect()
}

fn agrees(name: &str, theory: f64, found: &[f64], within: f64) {
    let (mean, half) = interval(found);
    println!(
        "{name}: theory {theory:.4} s, 20 seeds {mean:.4} +- {half:.4} s ({:+.2} %)",
        (mean / theory - 1.0) * 100.0
    );
    assert!((mean - theory).abs() <= half, "{name}: {theory} is not within {mean} +- {half}");
    assert!((mean / theory - 1.0).abs() < within, "{name}: {mean} is more than {within} away from {theory}");
}

#[test]
fn mm1_waits_as_long_as_it_should() {
    // 288,000 jobs a seed.
    let found = waits(8.0, "{ exponential: 100ms }", 1, 1, 10);
    agrees("M/M/1, load 0.8", 0.1 * 0.8 / 0.2, &found, 0.02);
}

#[test]
fn mmc_waits_as_long_as_it_should() {
    let theory = erlang_c(10, 8.0) * 0.1 / 2.0;
    agrees("M/M/10, load 0.8, pods of one slot", theory, &waits(80.0, "{ exponential: 100ms }", 10, 1, 1), 0.02);
    agrees("M/M/10, load 0.8, two pods of five slots", theory, &waits(80.0, "{ exponential: 100ms }", 2, 5, 1), 0.02);
}

#[test]
fn md1_waits_half_as_long() {
    agrees("M/D/1, load 0.8", 0.1 * 0.8 / 0.2 / 2.0, &waits(8.0, "{ fixed: 100ms }", 1, 1, 10), 0.02);
}

#[test]
fn mg1_waits_by_pollaczek_and_khinchine() {
    for cv in [0.5, 1.0, 2.0] {
        let theory = 0.7 / 0.3 * 0.1 * (1.0 + cv * cv) / 2.0;
        let lognormal = waits(7.0, &format!("{{ lognormal: {{ mean: 100ms, cv: {cv} }} }}"), 1, 1, 12);
        agrees(&format!("M/G/1, load 0.7, lognormal cv {cv}"), theory, &lognormal, 0.04);
        let gamma = waits(7.0, &format!("{{ gamma: {{ mean: 100ms, cv: {cv} }} }}"), 1, 1, 12);
        agrees(&format!("M/G/1, load 0.7, gamma cv {cv}"), theory, &gamma, 0.04);
    }
}
