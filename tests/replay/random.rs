//! Whatever happens, in whatever order, is decided again alike: from the first segment on, and from every other.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidegate::engine::{Engine, Event, Memory, Role};
use tidegate::model::*;
use tidegate::spec::{AutoscalerSpec, Policy, TriggerSpec};

use super::rig::{Recorded, Rig, manifest, replay, specs};
use super::world::{ANYTHING, autoscaler};

const KEYS: u32 = 3;

#[derive(Clone, Debug)]
enum Step {
    Spec(Box<AutoscalerSpec>, Role),
    Event(Event),
    Observe(u16, u64, Result<Observation, ReadFailure>),
    /// With the memory that another engine has of this autoscaler, or this one has.
    Restore(u64, bool),
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Controls, Role::Advises, Role::Follows])
}

fn measure() -> impl Strategy<Value = Measure> {
    prop_oneof![
        3 => Just(Measure::UNKNOWN),
        2 => (0u32..30).prop_map(|n| Measure::new(f64::from(n))),
        1 => (0.0..1e12f64).prop_map(Measure::new),
        1 => Just(Measure::new(-0.0)),
    ]
}

fn observation() -> impl Strategy<Value = Observation> {
    let backlog = prop_oneof![
        8 => (0u32..60).prop_map(f64::from),
        1 => 0.0..1e9f64,
        1 => prop::sample::select(vec![-0.0, -1.0, f64::NAN, f64::INFINITY, 9_007_199_254_740_992.0, 0.1]),
    ];
    (backlog, prop::collection::vec(measure(), 9), any::<bool>(), any::<bool>()).prop_map(|(backlog, m, a, b)| {
        Observation {
            backlog,
            due: m[0],
            in_flight: m[1],
            oldest_age: m[2],
            limit: m[3],
            added: m[4],
            taken: m[5],
            age: m[6],
            partitions: m[7],
            unowned: m[8],
            rebalancing: a && b,
            paused: a,
        }
    })
}

fn value() -> impl Strategy<Value = Result<Observation, ReadFailure>> {
    let failure =
        (prop::sample::select(FailureKind::ALL.to_vec()), prop::sample::select(vec!["refused", "", "schön: \"x\"\n"]));
    prop_oneof![
        5 => observation().prop_map(Ok),
        1 => failure.prop_map(|(kind, message)| Err(ReadFailure::new(kind, message))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let replicas = || prop_oneof![8 => 0i32..15, 1 => any::<i32>().prop_map(|n| n.max(0))];
    let pace = prop::option::of(prop_oneof![Just(Duration::MAX), (0u64..9000).prop_map(Duration::from_millis)]);
    let set_by = prop::sample::select(vec![SetBy::Unknown, SetBy::Tidegate, SetBy::Other]);
    prop_oneof![
        1 => (autoscaler(ANYTHING), role()).prop_map(|(spec, role)| Step::Spec(Box::new(spec), role)),
        12 => (0u16..4, 0u64..9, value()).prop_map(|(trigger, round, value)| {
            Step::Event(Event::Sample { trigger, round: Round(round), taken: Tick::ZERO, value })
        }),
        3 => (0u16..4, 0u64..9, value()).prop_map(|(trigger, round, value)| Step::Observe(trigger, round, value)),
        3 => (replicas(), set_by, prop::bool::weighted(0.1)).prop_map(|(replicas, set_by, another)| {
            Step::Event(Event::Current { replicas, set_by, another })
        }),
        3 => (replicas(), replicas(), any::<bool>()).prop_map(|(from, to, succeeded)| {
            Step::Event(Event::Applied { from, to, succeeded })
        }),
        1 => role().prop_map(|role| Step::Event(Event::Role { role })),
        1 => pace.prop_map(|interval| Step::Event(Event::Pace { interval })),
        1 => Just(Step::Event(Event::Gone)),
        3 => Just(Step::Event(Event::Evaluate)),
        1 => (0u64..50_000, any::<bool>()).prop_map(|(elapsed, complete)| Step::Restore(elapsed, complete)),
    ]
}

/// Whose, how long after the one before, in ms, and what; and whether a turn of the runtime ends there.
fn life() -> impl Strategy<Value = Vec<(u32, u64, Step, bool)>> {
    let pause = prop_oneof![4 => Just(0u64), 4 => 1u64..2_000, 1 => 2_000u64..100_000];
    prop::collection::vec((0..KEYS, pause, step(), prop::bool::weighted(0.5)), 1..250)
}

fn record(life: Vec<(u32, u64, Step, bool)>, begin: &[AutoscalerSpec], most: u64) -> Recorded {
    let mut rig = Rig::start(most);
    for (key, spec) in (0..KEYS).zip(begin) {
        rig.spec(Key(key), &named(spec.clone(), key));
    }
    for (key, pause, step, turn) in life {
        rig.pass(pause);
        let key = Key(key);
        match step {
            Step::Spec(spec, role) => rig.handle(key, Event::Spec { spec: named(*spec, key.0), role }),
            Step::Event(Event::Sample { trigger, round, value, .. }) => {
                // A little earlier than it is heard of.
                let taken = rig.now.before(Duration::from_millis(round.0));
                rig.handle(key, Event::Sample { trigger, round, taken, value });
            }
            Step::Event(event) => rig.handle(key, event),
            Step::Observe(trigger, round, value) => {
                let (asked, taken) = (Tick::ZERO, rig.now);
                rig.observe(Sample { key, trigger, asked, round: Round(round), taken, value });
            }
            Step::Restore(elapsed, complete) => {
                // As it comes from a checkpoint: bytes, which hold no infinite backlog.
                let memory = rig.engine.memory(rig.now, key).map(|memory| Memory::from_bytes(&memory.to_bytes()));
                if let Some(Ok(memory)) = memory {
                    rig.restore(key, &memory, Duration::from_millis(elapsed), complete);
                }
            }
        }
        if turn {
            rig.turn();
        }
    }
    rig.finish()
}

/// As a manifest could mean it: going by the load takes a source that shows it.
fn named(mut spec: AutoscalerSpec, key: u32) -> Arc<AutoscalerSpec> {
    static SHOWS: LazyLock<TriggerSpec> = LazyLock::new(|| {
        let connection = "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: main, namespace: ns }\n\
                          spec: { redis: { address: \"redis:6379\" } }\n---\n";
        let text = manifest("shows", "").replace("namespace: shop", "namespace: ns");
        let text = text.replace("memory: { queue: shows }", "connection: main\n    bullmq: { queues: [jobs] }");
        specs(&format!("{connection}{text}"))[0].triggers[0].clone()
    });
    for trigger in spec.triggers.iter_mut().filter(|trigger| matches!(trigger.policy, Policy::Load(_))) {
        (trigger.connection, trigger.source) = (Arc::clone(&SHOWS.connection), SHOWS.source.clone());
    }
    Arc::new(AutoscalerSpec { id: AutoscalerId::new("ns", format!("name-{key}")), ..spec })
}

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(150),
        rng_seed: if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(9) },
        failure_persistence: None,
        max_shrink_iters: 500,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_is_decided_again_alike(life in life(), begin in prop::collection::vec(autoscaler(ANYTHING), 3)) {
        let recorded = record(life, &begin, 256 << 20);
        let replayed = replay(&recorded.files);
        let found = replayed.found();
        prop_assert!(found.is_identical(), "{:?}", found.first_difference);
        prop_assert_eq!(found.decisions, recorded.decisions);
    }

    #[test]
    fn every_segment_alone_and_all_in_order_decide_alike(life in life(), begin in prop::collection::vec(autoscaler(ANYTHING), 3)) {
        let recorded = record(life, &begin, 48 << 10);
        let together = replay(&recorded.files);
        let found = together.found();
        prop_assert!(found.is_identical(), "{:?}", found.first_difference);
        let mut alone = 0;
        for file in &recorded.files {
            let replayed = replay(std::slice::from_ref(file));
            prop_assert!(replayed.found().is_identical(), "{}: {:?}", file.display(), replayed.found().first_difference);
            alone += replayed.found().decisions;
        }
        prop_assert_eq!(alone, found.decisions);
    }

    #[test]
    fn a_snapshot_is_the_state_exactly(life in life(), begin in prop::collection::vec(autoscaler(ANYTHING), 3)) {
        let mut rig = Rig::start(256 << 20);
        for (key, spec) in (0..KEYS).zip(&begin) {
            rig.spec(Key(key), &named(spec.clone(), key));
        }
        // Another engine that was put there at every moment goes on like the one that was there all the time.
        for (key, pause, step, _) in life {
            rig.pass(pause);
            let key = Key(key);
            let mut other = Engine::new();
            if let Some(spec) = rig.engine.spec(key) {
                let mut state = tidegate::engine::bytes::Writer::default();
                rig.engine.snapshot(key, &mut state);
                prop_assert!(other.reinstate(key, spec, &state.0).is_ok());
                let mut again = tidegate::engine::bytes::Writer::default();
                other.snapshot(key, &mut again);
                prop_assert_eq!(&state.0, &again.0);
                prop_assert_eq!(other.decision(key), rig.engine.decision(key));
                // Cut short, or with a byte too much, it is none.
                prop_assert!(other.reinstate(key, spec, &state.0[..state.0.len() - 1]).is_err());
                prop_assert!(other.reinstate(key, spec, &[state.0.as_slice(), &[0]].concat()).is_err());
            }
            let Step::Event(event) = step else { continue };
            let event = match event {
                Event::Sample { trigger, round, value, .. } => Event::Sample { trigger, round, taken: rig.now, value },
                event => event,
            };
            let (mut here, mut there) = (Vec::new(), Vec::new());
            let deadlines = (
                rig.engine.handle(rig.now, key, event.clone(), &mut here),
                other.handle(rig.now, key, event, &mut there),
            );
            prop_assert_eq!(deadlines.0, deadlines.1);
            prop_assert_eq!(here, there);
            prop_assert_eq!(other.decision(key), rig.engine.decision(key));
        }
    }
}

#[test]
fn small_segments_are_really_several() {
    // Otherwise the property above would say nothing.
    let spec = specs(&manifest("worker", ""));
    let mut rig = Rig::start(48 << 10);
    rig.spec(Key(0), &spec[0]);
    for round in 0..3_000 {
        rig.pass(100);
        rig.backlog(Key(0), round, (round % 90) as f64);
        rig.turn();
        if round % 100 == 0 {
            // Five minutes in no time at all would be more than a disk takes.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let recorded = rig.finish();
    assert!(recorded.files.len() > 4, "{:?}", recorded.files);
    let bytes: u64 = recorded.files.iter().map(|file| file.metadata().unwrap().len()).sum();
    assert!(bytes <= 48 << 10, "{bytes} bytes in all");
    let replayed = replay(&recorded.files);
    let found = replayed.found();
    assert!(found.is_identical(), "{:?}", found.first_difference);
    assert_eq!(found.snapshots, recorded.files.len() as u64 - 1, "each segment but the first was compared");
    // And a gap in the middle is begun anew, not a difference.
    let without: Vec<_> = recorded.files.iter().filter(|file| !file.ends_with("rec.2")).cloned().collect();
    assert!(replay(&without).found().is_identical());
}
