//! How fast the offline world turns: jobs a second and core, a day of five and a half million jobs, a sweep.
//!
//! `cargo bench --bench simulator` measures in full (about two minutes on two cores); without `--bench` (as `cargo test
//! --bench '*'` calls it) a small part of it, to see that it runs. Beside each figure stands what was aimed at.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a benchmark prints and reads the clock"
)]

use std::sync::Arc;
use std::time::Instant;

use tidegate::sim::bound::{self, Problem};
use tidegate::sim::contestant::Contestant;
use tidegate::sim::experiment::Experiment;
use tidegate::sim::sweep;
use tidegate::sim::vary::{Documents, combinations, field};
use tidegate::sim::workload::Jobs;
use tidegate::sim::world::{Setup, World};
use tidegate::spec::AutoscalerSpec;
use tidegate::spec::load::{SourceText, Terms, load, scenarios};
use tidegate::spec::scenario::Scenario;

const MANIFESTS: &str = r"
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: redis, namespace: bench }
spec: { redis: { address: redis:6379 } }
---
apiVersion: tidegate.dev/v1alpha1
kind: QueueAutoscaler
metadata: { name: worker, namespace: bench }
spec:
  scaleTargetRef: { name: worker }
  minReplicas: 2
  maxReplicas: 206
  pollingInterval: 1s
  triggers:
    - connection: redis
      celery: { queues: [jobs] }
      policy: { load: { jobDuration: 500ms, drainWithin: 30s } }
  behavior: { scaleDown: { stabilizationWindowSeconds: 60 } }
";

/// A day of so many jobs a second, with everything on that a world has.
fn day(rate: f64, hours: u32, seeds: u32) -> Scenario {
    let text = format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Scenario\nmetadata: {{ name: day }}\nspec:\n  duration: {hours}h\n  seeds: {seeds}\n  \
         jobs:\n    - arrivals: [{{ sine: {{ mean: {rate}, amplitude: {}, period: 24h }} }}]\n      service: {{ lognormal: {{ mean: 500ms, cv: 1 }} }}\n  \
         workers:\n    warmUp: {{ lasts: 30s, slowdown: 1.5 }}\n    startUp: {{ schedule: {{ fixed: 1s }}, init: {{ lognormal: {{ mean: 29s, cv: 0.2 }} }}, failingPercent: 1 }}\n    \
         termination: {{ grace: 30s }}\n  sampling: {{ lossPercent: 0.1 }}\n  actuation: {{ conflictPercent: 1 }}\n",
        rate * 0.6
    );
    scenarios(&[SourceText { file: "day.yaml".to_owned(), text }]).unwrap().remove(0)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn timed<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let begun = Instant::now();
    let result = work();
    (begun.elapsed().as_secs_f64(), result)
}

/// Kilobytes that the process had at most, where the system tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn main() {
    let full = std::env::args().any(|arg| arg == "--bench");
    let (rate, hours, rounds) = if full { (64.0, 24, 5) } else { (64.0, 1, 1) };
    let texts = [SourceText { file: "worker.yaml".to_owned(), text: MANIFESTS.to_owned() }];
    let spec: Arc<AutoscalerSpec> = load(&texts, &Terms::default()).unwrap().autoscalers.remove(0);

    // One day, one policy, and its bound.
    let scenario = day(rate, hours, 1);
    let (making, jobs) = timed(|| Jobs::make(&scenario, 1, &[]).unwrap());
    let who = Contestant::ours(&spec, &scenario, "tidegate".to_owned()).unwrap();
    let setup = Setup::of(&scenario, 1, 1, who.initial);
    let (mut runs, mut bounds, mut cost) = (Vec::new(), Vec::new(), (0.0, 0.0));
    for _ in 0..rounds {
        let (took, score) = timed(|| World::new(&setup, &jobs).run(&mut who.scaler(&scenario, 1)));
        assert!(score.identities && score.drained);
        let problem = Problem {
            jobs: bound::Jobs { arrivals: &jobs.arrivals, services: &jobs.services },
            slots: 1,
            start_up: score.shortest_start.unwrap_or(0) / 100_000_000 * 100_000_000,
            wait: score.longest_detour,
            max: score.peak,
            initial: 2,
            step: 15_000_000_000,
        };
        let (bounding, best) = timed(|| bound::cost(&problem).unwrap());
        runs.push(took);
        bounds.push(bounding);
        cost = (score.replica_seconds(), best as f64 / 1e9);
    }
    let (run, bounding) = (median(runs), median(bounds));
    println!("{} jobs in {hours} h, made in {making:.2} s", jobs.len());
    println!(
        "  one policy: {run:.2} s, {:.1} M jobs a second and core (goal 5), polled every second",
        jobs.len() as f64 / run / 1e6
    );
    println!(
        "  with its bound at 15 s steps: {:.2} s (goal below 3); cost {:.0}, bound {:.0} replica-seconds",
        run + bounding,
        cost.0,
        cost.1
    );
    drop(jobs);

    // The table of everybody, with frontier and hindsight's schedule.
    let experiment = Experiment {
        scenario,
        recorded: Vec::new(),
        autoscalers: vec![Arc::clone(&spec)],
        first_seed: 1,
        command: String::new(),
        inputs: Vec::new(),
        notes: Vec::new(),
    };
    let (took, report) = timed(|| experiment.run(true, &|_| {}).unwrap());
    println!(
        "  the whole table, {} rows: {took:.1} s on {} threads (goal below 30 on two)",
        report.policies.len(),
        rayon::current_num_threads()
    );

    // A sweep.
    let (points, seeds) = if full { (200, 5) } else { (4, 1) };
    let scenario = day(100_000.0 / 3600.0, 1, seeds);
    let targets: Vec<String> = (0..points).map(|i| format!("{}ms", 10_000 + i * 200)).collect();
    let fields = [field(&format!("spec.triggers[0].policy.load.drainWithin={}", targets.join(","))).unwrap()];
    let documents = Documents::read(&texts).unwrap();
    let variants: Vec<_> = combinations(&fields)
        .unwrap()
        .into_iter()
        .map(|values| (values.clone(), documents.with("worker", &fields, &values).unwrap()))
        .collect();
    let experiment = Experiment { scenario, ..experiment };
    let before = peak_memory();
    let (took, swept) = timed(|| sweep::run(&experiment, &fields, &variants, &|_| {}).unwrap());
    println!(
        "a sweep of {} runs of about 100,000 jobs: {took:.1} s on {} threads (goal below 60 for 1,000 on two)",
        swept.points.len() * seeds as usize,
        rayon::current_num_threads()
    );
    if let (Some(before), Some(after)) = (before, peak_memory()) {
        println!("memory at most: {} MiB for the day's table, {} MiB after the sweep", before / 1024, after / 1024);
    }
}
