//! KEDA and the HPA, simulated, beside what the real ones were measured to do: KEDA v2.20.0, Kubernetes v1.36, fifty items
//! at once into an empty list with listLength 5, a workload at zero with at most ten replicas, at random phases.

use std::time::Duration;

use tidegate::sim::luck::{Luck, Stream};
use tidegate::sim::scaler::{Baseline, Cluster, KedaPace, Scaler, Sight};
use tidegate::sim::workload::Jobs;
use tidegate::sim::world::{Setup, World};

use super::theory::scenario;

/// When the items come: after KEDA and the HPA have found their pace.
const AT: u64 = 300;

/// Seconds from the items to one replica, to the HPA's first step, and to ten.
fn reaction(polling_interval: Duration, seed: u64) -> [f64; 3] {
    // Nothing is done of it before it is over: there were no pods.
    let scenario = scenario(&format!(
        "  duration: 10m\n  jobs: [{{ arrivals: [{{ cron: {{ size: 50, every: 100h, at: {AT}s }} }}], service: {{ fixed: 1s }} }}]\n  \
         workers: {{ startUp: {{ init: {{ fixed: 10m }} }} }}\n  actuation: {{ delay: 0s }}\n  sampling: {{ delay: 0s }}\n"
    ));
    let jobs = Jobs::make(&scenario, seed, &[]).unwrap();
    let baseline = Baseline {
        targets: vec![5.0],
        activation: vec![0.0],
        in_flight: false,
        min: 0,
        max: 10,
        idle: None,
        behavior: None,
        fallback: None,
        keda: Some(KedaPace { polling_interval, cooldown: Duration::from_secs(300) }),
    };
    let mut setup = Setup::of(&scenario, seed, 1, 0);
    setup.resolution = Some(60_000_000_000);
    let cluster = Cluster::new(&baseline, Sight::of(&scenario.sampling, seed), seed);
    let score = World::new(&setup, &jobs).run(&mut Scaler::Cluster(Box::new(cluster)));
    let when = |reached: i32| {
        let action = score.log.iter().find(|action| action.to >= reached);
        action.unwrap_or_else(|| panic!("never {reached}: {:?}", score.log)).at as f64 / 1e9 - AT as f64
    };
    let steps: Vec<i32> = score.log.iter().take(4).map(|action| action.to).collect();
    assert_eq!(steps, [1, 4, 8, 10], "seed {seed}");
    let [one, first, ten] = [when(1), when(2), when(10)];
    assert!((ten - first - 30.0).abs() < 1e-6, "seed {seed}: {} s from the first step to ten", ten - first);
    [one, first, ten]
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

/// The middle 95 % of the medians of samples of `size`, drawn from `values`.
fn medians(values: &[f64], size: usize) -> (f64, f64) {
    let luck = Luck::new(1, Stream::Phase);
    let one = |sample: u64| {
        let drawn = (0..size as u64).map(|i| values[(luck.at(sample).bits(i) % values.len() as u64) as usize]);
        median(drawn.collect())
    };
    let mut all: Vec<f64> = (0..4000).map(one).collect();
    all.sort_by(f64::total_cmp);
    (all[100], all[3900])
}

#[test]
fn reactions_are_those_of_the_real_ones() {
    // At one second measured twice, and which medians ours have to be near to: two of twenty trials lie a fifth away from
    // those of a hundred and sixty, which is the real ones' own luck.
    let measured = [
        (Duration::from_secs(30), 18, [16.0, 21.5, 51.6], [true; 3]),
        (Duration::from_secs(1), 20, [0.41, 9.5, 39.6], [false, false, true]),
        (Duration::from_secs(1), 160, [0.49, 7.95, 37.99], [true; 3]),
    ];
    for (interval, trials, real, near) in measured {
        let all: Vec<[f64; 3]> = (0..1000).map(|seed| reaction(interval, seed)).collect();
        for (i, (what, real)) in ["0 -> 1", "first step", "ten replicas"].iter().zip(real).enumerate() {
            let ours: Vec<f64> = all.iter().map(|times| times[i]).collect();
            let (low, high) = medians(&ours, trials);
            let found = median(ours);
            println!(
                "poll {interval:?}, {what}: measured {real} s (median of {trials}), simulated {found:.2} s ({:+.0} %); \
                 medians of {trials} simulated trials are {low:.2} to {high:.2} s",
                (found / real - 1.0) * 100.0
            );
            assert!((low..=high).contains(&real), "{what}: a median of {real} s is none of ours: {low} to {high}");
            let far = (found / real - 1.0).abs();
            assert!(far < 0.1 || !near[i], "{what}: {found} s and {real} s");
        }
    }
}

#[test]
fn old_readings_delay_an_hpa_once_and_not_between_its_steps() {
    // A hundred jobs at once, a target of one: from one replica to a hundred, four more or the double every 15 s, as long
    // as it sees the same depth.
    let scenario = scenario(&format!(
        "  duration: 10m\n  jobs: [{{ arrivals: [{{ cron: {{ size: 100, every: 100h, at: {AT}s }} }}], service: {{ fixed: 1s }} }}]\n  \
         workers: {{ startUp: {{ init: {{ fixed: 10m }} }} }}\n  actuation: {{ delay: 0s }}\n  sampling: {{ delay: 30s }}\n  \
         initialReplicas: 0\n"
    ));
    let jobs = Jobs::make(&scenario, 1, &[]).unwrap();
    let baseline = Baseline {
        targets: vec![1.0],
        activation: vec![0.0],
        in_flight: false,
        min: 1,
        max: 100,
        idle: None,
        behavior: None,
        fallback: None,
        keda: None,
    };
    let mut setup = Setup::of(&scenario, 1, 1, 1);
    setup.initial = 1;
    setup.resolution = Some(60_000_000_000);
    // The one that is there takes work at once, hence 99.
    let cluster = Cluster::new(&baseline, Sight::of(&scenario.sampling, 1), 1);
    let score = World::new(&setup, &jobs).run(&mut Scaler::Cluster(Box::new(cluster)));
    let up: Vec<(i32, f64)> = score.log.iter().map(|action| (action.to, action.at as f64 / 1e9 - AT as f64)).collect();
    let up = up.get(..5).unwrap_or(&up);
    println!("{up:?}");
    assert!((30.0..45.0).contains(&up[0].1), "{up:?}");
    assert!(up.windows(2).all(|pair| (pair[1].1 - pair[0].1 - 15.0).abs() < 1e-6 && pair[1].0 > pair[0].0), "{up:?}");
}
