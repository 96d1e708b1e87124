//! One evaluation, over ten thousand cold autoscalers: nanoseconds and allocations.
//!
//! Every autoscaler is sampled in turn, so that by the time one comes round again its memory has left the caches, as
//! it is in production. The input is a sawtooth, which keeps the windows at work: each tooth pushes and expires
//! recommendations. Publishing a decision on the board is measured apart. `cargo bench --bench engine` (`-- --quick` for a short run).

#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    reason = "a benchmark prints, and may end on its own mistakes"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tidegate::board::{Cell, Published};
use tidegate::engine::{Effect, Engine, Event, Role};
use tidegate::model::*;
use tidegate::spec::*;

#[global_allocator]
static GLOBAL: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const AUTOSCALERS: u32 = 10_000;
/// 10 Hz.
const INTERVAL: u64 = 100;
/// Rounds from the foot of a tooth to the next.
const TOOTH: u64 = 64;

fn spec(name: u32, window: u64) -> Arc<AutoscalerSpec> {
    let rules = |window| ScalingRules {
        stabilization_window: Duration::from_secs(window),
        select_policy: SelectPolicy::Max,
        policies: Vec::new(),
        tolerance: 0.0,
    };
    Arc::new(AutoscalerSpec {
        id: AutoscalerId::new("bench", name.to_string()),
        origin: Origin::Manifest,
        target: Some(TargetRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: name.to_string() }),
        bounds: Bounds { min: 0, max: 50, idle: None },
        polling_interval: Duration::from_millis(INTERVAL),
        max_sample_age: Duration::from_secs(10),
        cooldown: Duration::from_secs(300),
        initial_cooldown: Duration::ZERO,
        triggers: vec![TriggerSpec {
            name: "trigger-0".into(),
            metric_name: "m".into(),
            connection: Arc::new(ConnectionSpec { name: "c".into(), server: Server::Memory }),
            source: Source::Memory { queue: "q".into() },
            in_flight: None,
            policy: Policy::BacklogPerReplica { target: MilliValue(10_000) },
            activation_threshold: 0.0,
            max_sample_age: None,
            partitioning: Partitioning::default(),
            share: TriggerSpec::WHOLE,
        }],
        behavior: Behavior::Rules { up: rules(0), down: rules(window) },
        fallback: Fallback { after: Duration::from_secs(30), behavior: FallbackBehavior::Hold },
        pause: Pause::default(),
        dry_run: false,
        restore_on_delete: false,
        force_activation: false,
    })
}

struct Fleet {
    engine: Engine,
    effects: Vec<Effect>,
    round: u64,
}

impl Fleet {
    fn new(window: u64) -> Self {
        let mut fleet = Fleet { engine: Engine::new(), effects: Vec::with_capacity(64), round: 0 };
        let now = Tick::from_millis(1_000_000_000);
        for index in 0..AUTOSCALERS {
            let event = Event::Spec { spec: spec(index, window), role: Role::Controls };
            fleet.engine.handle(now, Key(index), event, &mut fleet.effects);
            fleet.engine.handle(
                now,
                Key(index),
                Event::Current { replicas: 1, set_by: SetBy::Unknown, another: false },
                &mut fleet.effects,
            );
            fleet.effects.clear();
        }
        fleet
    }

    /// Everybody once. Teeth of different heights and phases, so that branches do not all go the same way.
    fn round(&mut self) {
        self.round += 1;
        let now = Tick::from_millis(1_000_000_000 + self.round * INTERVAL);
        for index in 0..AUTOSCALERS {
            let phase = (self.round + u64::from(index) * 7) % TOOTH;
            let backlog = (phase * u64::from(index % 11)) as f64;
            let value = Ok(Observation::of_backlog(backlog));
            let event = Event::Sample { trigger: 0, round: Round(1), taken: now, value };
            self.engine.handle(now, Key(index), event, &mut self.effects);
            // The outside carries out at once, as the in-memory target does.
            while let Some(effect) = self.effects.pop() {
                if let Effect::Scale { key, from, to } = effect {
                    self.effects.clear();
                    let applied = Event::Applied { from, to, succeeded: true };
                    self.engine.handle(now, key, applied, &mut self.effects);
                    self.effects.clear();
                }
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let (warm, rounds, repetitions) = if quick { (70, 40, 3) } else { (200, 200, 9) };
    let mut medians = Vec::new();
    let mut fleets: Vec<(u64, Fleet, Vec<f64>, usize)> =
        [300, 3600].map(|window| (window, Fleet::new(window), Vec::new(), 0)).into();
    for (_, fleet, ..) in &mut fleets {
        (0..warm).for_each(|_| fleet.round());
    }
    // In turn, so that a slow moment of the machine meets both.
    for _ in 0..repetitions {
        for (_, fleet, nanos, allocations) in &mut fleets {
            let region = Region::new(GLOBAL);
            let started = Instant::now();
            (0..rounds).for_each(|_| fleet.round());
            let spent = started.elapsed();
            *allocations += region.change().allocations + region.change().reallocations;
            nanos.push(spent.as_nanos() as f64 / (f64::from(AUTOSCALERS) * f64::from(rounds)));
        }
    }
    println!(
        "one evaluation over {AUTOSCALERS} cold autoscalers, sawtooth, 10 Hz ({repetitions} repetitions of {rounds} rounds)"
    );
    for (window, _, nanos, allocations) in &mut fleets {
        nanos.sort_by(f64::total_cmp);
        let median = nanos[nanos.len() / 2];
        medians.push(median);
        println!(
            "  scale-down window {window:>4} s   median {median:6.1} ns   min {:6.1}   max {:6.1}   allocations {allocations}",
            nanos[0],
            nanos[nanos.len() - 1]
        );
    }
    println!(
        "  3600 s beside 300 s: {:.2} times (goal: at most 1.5; and below 300 ns, no allocation)",
        medians[1] / medians[0]
    );

    let (_, fleet, ..) = &fleets[0];
    let now = Tick::from_millis(1_000_000_000);
    let mut cells: Vec<(Cell, Option<Arc<Published>>)> =
        (0..AUTOSCALERS).map(|index| (Cell::new(spec(index, 300), now), None)).collect();
    let mut nanos = Vec::new();
    let mut allocations = 0;
    // The first rounds make the snapshots that all later ones write over (one stays in the history).
    for repetition in 0..repetitions + 4 {
        let region = Region::new(GLOBAL);
        let started = Instant::now();
        for (index, (cell, spare)) in (0..).zip(&mut cells) {
            if let Some(decision) = fleet.engine.decision(Key(index)) {
                cell.publish(decision, spare);
            }
        }
        if repetition >= 4 {
            nanos.push(started.elapsed().as_nanos() as f64 / f64::from(AUTOSCALERS));
            allocations += region.change().allocations;
        }
    }
    nanos.sort_by(f64::total_cmp);
    println!("board: publishing a decision   median {:6.1} ns   allocations {allocations}", nanos[nanos.len() / 2]);
}
