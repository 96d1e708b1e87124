//! Many variants of one manifest in one world: what each costs and delivers, and which of them are worth a look.

use std::sync::Arc;

use rayon::prelude::*;

use crate::sim::contestant::{self, Contestant};
use crate::sim::experiment::Experiment;
use crate::sim::report::{Field, Point, Sweep};
use crate::sim::score::{Score, waits};
use crate::sim::stats::{estimate, mean};
use crate::sim::workload::Jobs;
use crate::sim::world::{Setup, World};
use crate::spec::AutoscalerSpec;

/// Which of the points are this process's: every `of`th from `index` on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Shard {
    pub index: usize,
    pub of: usize,
}

impl Shard {
    /// `0/4`, counted from 0 as an Indexed Job does.
    ///
    /// # Errors
    /// What to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let numbers = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((index, of)) if index < of => Ok(Shard { index, of }),
            _ => Err(format!("`{text}` is no shard; write INDEX/COUNT, the first is 0: 0/4, 1/4, 2/4, 3/4")),
        }
    }
}

/// Variants that are in memory at once: each has all its waits, a quarter of a MiB.
const AT_ONCE: usize = 1000;

/// A variant and what became of it with every seed, in a few numbers.
struct Tally {
    on_time: Vec<f64>,
    cost: Vec<f64>,
    over_work: Vec<f64>,
    actions: Vec<f64>,
    drained: bool,
    waits: hdrhistogram::Histogram<u64>,
}

impl Tally {
    fn new() -> Self {
        Tally {
            on_time: Vec::new(),
            cost: Vec::new(),
            over_work: Vec::new(),
            actions: Vec::new(),
            drained: true,
            waits: waits(),
        }
    }

    fn add(&mut self, score: &Score, slots: u32) {
        self.on_time.push(score.on_time() * 100.0);
        self.cost.push(score.replica_seconds());
        self.over_work.push(score.cost as f64 * f64::from(slots) / (score.work as f64).max(1.0));
        self.actions.push(score.actions as f64 / (score.end as f64 / 3.6e12).max(1e-9));
        self.drained &= score.drained;
        // They have the same bounds.
        let _ = self.waits.add(&score.waits);
    }

    fn point(&self, values: &[String], objective: f64) -> Point {
        let on_time = estimate(&self.on_time);
        Point {
            values: values.to_vec(),
            on_time_percent: on_time,
            meets_slo: self.drained && on_time.mean >= objective,
            cost: estimate(&self.cost),
            cost_over_work: estimate(&self.over_work),
            p99_wait_seconds: self.waits.value_at_quantile(0.99) as f64 / 1e6,
            actions_per_hour: mean(&self.actions),
            on_front: false,
        }
    }
}

/// Runs every variant of this shard with every seed. `variants`: values of the fields, and what they make.
///
/// # Errors
/// What cannot be simulated.
pub fn run(
    experiment: &Experiment,
    fields: &[Field],
    variants: &[(Vec<String>, Arc<AutoscalerSpec>)],
    tick: &(dyn Fn(usize) + Sync),
) -> Result<Sweep, String> {
    let scenario = &experiment.scenario;
    // Pods are what they are, whatever a variant takes them for.
    let slots = experiment.autoscalers.first().map_or(1, |spec| contestant::slots(scenario, spec));
    let objective = scenario.slo.share * 100.0;
    let mut points = Vec::with_capacity(variants.len());
    for variants in variants.chunks(AT_ONCE) {
        let contestants: Vec<Contestant> = variants
            .iter()
            .map(|(_, spec)| Contestant::ours(spec, scenario, String::new()))
            .collect::<Result<_, _>>()?;
        let mut tallies: Vec<Tally> = contestants.iter().map(|_| Tally::new()).collect();
        // A seed at a time: its jobs are made once, for all of these variants.
        for i in 0..u64::from(scenario.seeds) {
            let seed = experiment.first_seed.wrapping_add(i);
            let jobs = Jobs::make(scenario, seed, &experiment.recorded)?;
            tallies.par_iter_mut().zip(&contestants).for_each(|(tally, who)| {
                let setup = Setup::of(scenario, seed, slots, who.initial);
                tally.add(&World::new(&setup, &jobs).run(&mut who.scaler(scenario, seed)), slots);
                tick(1);
            });
        }
        points.extend(variants.iter().zip(tallies).map(|((values, _), tally)| tally.point(values, objective)));
    }
    mark_front(&mut points);
    Ok(Sweep { fields: fields.to_vec(), points })
}

/// Marks those that no other is better than in one respect without being worse in the other.
pub fn mark_front(points: &mut [Point]) {
    let figures: Vec<(f64, f64)> = points.iter().map(|point| (point.cost.mean, point.on_time_percent.mean)).collect();
    for (point, (cost, on_time)) in points.iter_mut().zip(&figures) {
        let beaten = |(other, punctual): &(f64, f64)| {
            other <= cost && punctual >= on_time && (other < cost || punctual > on_time)
        };
        point.on_front = !figures.iter().any(beaten);
    }
}
