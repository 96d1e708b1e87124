//! Decisions of the real HPA controller (Kubernetes v1.36, recorded), step by step against ours.
//!
//! The vectors are every `*.jsonl` and `*.jsonl.gz` in the folder that `TIDEGATE_HPA_VECTORS` names, or else
//! `tests/fixtures/hpa/` (its README describes the format). Two subjects: the baseline in `engine/hpa`, which has to
//! agree in every field, and the live path in `engine/behavior.rs`, which has to agree in every decision.
//!
//! `cargo test --release --test hpa_conformance -- --nocapture` prints how many agreed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on should say so and stop"
)]

#[path = "hpa_conformance/vectors.rs"]
mod vectors;

use std::fmt::{Debug, Write as _};
use std::time::Duration;

use tidegate::engine::behavior::Governor;
use tidegate::engine::hpa::{ControllerOptions, Hpa, HpaSpec, Inputs, Memory, MetricReading, Outcome, ScaleEvent};
use tidegate::model::{Reason, Replicas, Tick};
use tidegate::spec::units::Quantity;
use tidegate::spec::{Behavior, ScalingRules};
use vectors::{Mode, Out, Scenario, State, Step};

/// More than this many disagreements are counted and not printed.
const PRINTED: usize = 40;

#[test]
fn the_baseline_agrees_with_every_recorded_sync() {
    let mut tally = Tally::new("baseline");
    vectors::for_each_scenario(|scenario| {
        tally.scenario(scenario, run_baseline);
    });
    tally.finish();
}

#[test]
fn the_live_path_agrees_with_every_recorded_decision() {
    let mut tally = Tally::new("live path (scenarios without spec changes)");
    vectors::for_each_scenario(|scenario| {
        if scenario.steps.iter().all(|step| step.spec.is_none() && step.resolved.is_none()) {
            tally.scenario(scenario, run_live_path);
        }
    });
    tally.finish();
}

#[test]
fn quantities_agree_with_kubernetes() {
    let mut cases = 0;
    let mut wrong = String::new();
    for case in vectors::quantity_cases() {
        cases += 1;
        let quantity: Quantity = case.text.parse().unwrap_or_else(|error| panic!("{}: {error}", case.text));
        let ours = (quantity.canonical(), quantity.wrapping_milli(), quantity.to_f64());
        let theirs = (case.canonical, case.milli, case.float);
        if ours != theirs {
            let _ = writeln!(wrong, "{}: ours {ours:?}, recorded {theirs:?}", case.text);
        }
        // What the API server stores has to mean the same again.
        let stored: Quantity = ours.0.parse().expect("a canonical form is a quantity");
        if (stored.wrapping_milli(), stored.to_f64()) != (ours.1, ours.2) {
            let _ = writeln!(wrong, "{}: its canonical form {} is another number", case.text, ours.0);
        }
    }
    println!("quantities: {cases} cases");
    assert!(cases > 0 && wrong.is_empty(), "\n{wrong}");
}

// === counting ===

/// What disagreed in one step, a line a field.
type Disagreements = String;
/// Takes the disagreements of one step, or (`None`) of what belongs to no step.
type Report<'a> = &'a mut dyn FnMut(Option<usize>, Disagreements);

struct Tally {
    subject: &'static str,
    scenarios: [usize; 2],
    steps: [usize; 2],
    printed: usize,
}

impl Tally {
    fn new(subject: &'static str) -> Self {
        Tally { subject, scenarios: [0; 2], steps: [0; 2], printed: 0 }
    }

    /// Runs one scenario.
    fn scenario(&mut self, scenario: &Scenario, run: fn(&Scenario, Report<'_>)) {
        let mut all_agreed = true;
        run(scenario, &mut |step, disagreements| {
            let agreed = disagreements.is_empty();
            if let Some(agreeing) = step.map(|_| usize::from(agreed)) {
                self.steps[0] += agreeing;
                self.steps[1] += 1;
            }
            all_agreed &= agreed;
            if !agreed {
                self.printed += 1;
                if self.printed <= PRINTED {
                    let place = step.map_or_else(|| "around the steps".to_owned(), |step| format!("step {step}"));
                    println!("{} {place}:\n{disagreements}", scenario.id);
                }
            }
        });
        self.scenarios[0] += usize::from(all_agreed);
        self.scenarios[1] += 1;
    }

    fn finish(&self) {
        let Tally { subject, scenarios: [agreed, all], steps: [agreed_steps, all_steps], .. } = self;
        println!("{subject}: {agreed} of {all} scenarios, {agreed_steps} of {all_steps} steps agree");
        assert!(*all > 0, "no scenario found");
        assert!(agreed == all, "{} of {all} scenarios disagree", all - agreed);
    }
}

fn check<T: PartialEq + Debug + ?Sized>(into: &mut Disagreements, field: &str, ours: &T, recorded: &T) {
    if ours != recorded {
        let _ = writeln!(into, "  {field}: ours {ours:?}, recorded {recorded:?}");
    }
}

// === the baseline ===

fn run_baseline(scenario: &Scenario, report: Report<'_>) {
    let options = ControllerOptions {
        tolerance: scenario.controller.tolerance.0,
        downscale_stabilization: Duration::from_millis(scenario.controller.downscale_stabilization_ms),
        scale_to_zero: scenario.controller.scale_to_zero,
        configurable_tolerance: scenario.controller.configurable_tolerance,
    };
    let mut around = Disagreements::new();
    let (mut names, spec) =
        resolve(scenario.spec.as_ref(), scenario.resolved.as_ref(), &mut around).expect("a scenario has a spec");
    let memory = if scenario.initial.recs_empty { Memory::without_seed() } else { Memory::default() };
    let mut hpa =
        Hpa::new(options, spec).with_memory(memory).with_scaled_to_zero(scenario.initial.scaled_to_zero.map(|s0| s0.0));
    let mut replicas = scenario.initial.replicas;
    for (index, step) in scenario.steps.iter().enumerate() {
        let mut disagreements = Disagreements::new();
        if step.recreate {
            hpa.recreate();
        }
        if step.restart {
            hpa.restart();
        }
        if let Some((new_names, spec)) = resolve(step.spec.as_ref(), step.resolved.as_ref(), &mut disagreements) {
            names = new_names;
            hpa.set_spec(spec);
        }
        replicas = step.replicas.unwrap_or(replicas);
        let metrics: Vec<MetricReading<'_>> = step
            .metrics
            .iter()
            .map(|series| series.as_deref().map_or(MetricReading::Failed, MetricReading::Series))
            .collect();
        let outcome = hpa.sync(
            Tick::from_millis(step.t),
            &Inputs {
                replicas,
                status_replicas: step.status_replicas.unwrap_or(replicas),
                metrics: &metrics,
                update_fails: step.update_fails,
            },
        );
        compare_outcome(&outcome, &names, &step.out, &mut disagreements);
        if let Some(state) = &step.out.state {
            compare_memory(hpa.memory(), state, &mut disagreements);
        }
        // After a disagreement the recorded count goes on, so that one mistake is not reported as many.
        replicas = step.out.d;
        report(Some(index), disagreements);
    }
    if let Some(state) = &scenario.r#final {
        compare_memory(hpa.memory(), state, &mut around);
    }
    report(None, around);
}

/// Names and spec of the metrics, from what the user wrote where that is recorded; both forms have to agree.
fn resolve(
    written: Option<&vectors::WrittenSpec>,
    resolved: Option<&vectors::ResolvedSpec>,
    disagreements: &mut Disagreements,
) -> Option<(Vec<String>, HpaSpec)> {
    let recorded = resolved.map(vectors::ResolvedSpec::to_hpa);
    let Some(written) = written else {
        return recorded.map(|spec| ((0..spec.targets.len()).map(|at| format!("m{at}")).collect(), spec));
    };
    let ours = written.to_hpa().resolve().unwrap_or_else(|error| panic!("{error}"));
    if let Some(recorded) = recorded {
        check(disagreements, "resolved", &ours, &recorded);
    }
    Some((written.names(), ours))
}

fn compare_outcome(ours: &Outcome, names: &[String], recorded: &Out, into: &mut Disagreements) {
    check(into, "d", &ours.desired, &recorded.d);
    check(into, "mode", ours.mode.as_str(), recorded.mode.as_str());
    check(into, "raw", &ours.raw, &recorded.raw);
    check(into, "st", &ours.stabilized, &recorded.st);
    check(into, "want", &ours.wanted, &recorded.want);
    check(into, "lim", &ours.limit.map(Reason::as_str), &recorded.lim.as_deref());
    if let Some(able) = &recorded.able {
        check(into, "able", ours.able.as_str(), able);
    }
    let name = |at: usize| names.get(at).cloned().unwrap_or_default();
    check(into, "why", &ours.why.map(|why| why.message(name)), &recorded.why);
    check(into, "err", &ours.failed, &recorded.err);
    check(into, "s0", &ours.scaled_to_zero, &recorded.s0.map(|s0| s0.0));
}

fn compare_memory(ours: &Memory, recorded: &State, into: &mut Disagreements) {
    let rec: Vec<_> = ours.recommendations().iter().map(|entry| (entry.replicas, millis(entry.at))).collect();
    let events = |events: &[ScaleEvent]| -> Vec<_> {
        events.iter().map(|event| (event.change, millis(event.at), u8::from(event.outdated))).collect()
    };
    check(into, "state.rec", &rec, &recorded.rec);
    check(into, "state.up", &events(ours.up()), &recorded.up);
    check(into, "state.down", &events(ours.down()), &recorded.down);
}

fn millis(at: Tick) -> u64 {
    at.as_nanos() / 1_000_000
}

// === the live path ===

fn run_live_path(scenario: &Scenario, report: Report<'_>) {
    let mut around = Disagreements::new();
    let (_, spec) =
        resolve(scenario.spec.as_ref(), scenario.resolved.as_ref(), &mut around).expect("a scenario has a spec");
    let behavior = live_behavior(&spec, Duration::from_millis(scenario.controller.downscale_stabilization_ms));
    let mut governor = Governor::new(&behavior);
    let mut replicas = scenario.initial.replicas;
    for (index, step) in scenario.steps.iter().enumerate() {
        if step.recreate || step.restart {
            governor = Governor::new(&behavior);
        }
        replicas = step.replicas.unwrap_or(replicas);
        let mut disagreements = Disagreements::new();
        live_step(&mut governor, &spec, replicas, step, &mut disagreements);
        replicas = step.out.d;
        report(Some(index), disagreements);
    }
    report(None, around);
}

/// One sync as the engine goes about it: look, decide where there is something to decide, remember what was done.
fn live_step(governor: &mut Governor, spec: &HpaSpec, current: Replicas, step: &Step, into: &mut Disagreements) {
    let now = Tick::from_millis(step.t);
    let out = &step.out;
    governor.seed(now, current);
    match out.mode {
        // The governor is not asked without a wish.
        Mode::MetricsError => check(into, "d", &current, &out.d),
        // Nor about a zero that is not ours: it was zero, and it stays zero.
        Mode::Disabled => check(into, "d", &(0, 0), &(current, out.d)),
        Mode::Metrics | Mode::AboveMax | Mode::BelowMin => {
            // Outside the bounds there is no wish, and it must not matter which one is given.
            let raw = out.raw.unwrap_or(current);
            let verdict = governor.decide(now, raw, current, spec.min, spec.max);
            check(into, if out.want.is_some() { "want" } else { "d" }, &verdict.desired, &out.want.unwrap_or(out.d));
            if let Some(stabilized) = out.st {
                check(into, "st", &verdict.stabilized, &stabilized);
            }
            if out.want.is_none() && out.d != current {
                governor.record(now, current, out.d);
            }
        }
    }
}

/// The HPA's resolved behavior in the words of our own spec.
fn live_behavior(spec: &HpaSpec, downscale_stabilization: Duration) -> Behavior {
    let Some(behavior) = &spec.behavior else {
        return Behavior::HpaWithoutBehavior { downscale_stabilization };
    };
    let rules = |rules: &tidegate::engine::hpa::HpaRules, window: Duration| ScalingRules {
        stabilization_window: rules.window.unwrap_or(window),
        select_policy: rules.select_policy,
        policies: rules.policies.clone(),
        // Tolerance has done its part: the recorded wish comes after it.
        tolerance: 0.0,
    };
    Behavior::Rules {
        up: rules(&behavior.up, Duration::ZERO),
        down: rules(&behavior.down, Duration::from_secs(downscale_stabilization.as_secs())),
    }
}
