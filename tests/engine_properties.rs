//! The engine's promises over random inputs: random manifests, backlogs, failures, pauses between events, failed and
//! delayed scaling, other people's hands on the workload, restarts.
//!
//! Every property runs 100,000 cases when optimised (a tenth of that with debug assertions on, where each costs more),
//! the same ones each time; `PROPTEST_CASES` asks for another number of other ones
//! (`PROPTEST_CASES=1000000 cargo test --release --test engine_properties`). The world here applies what the engine asks
//! for to a count of replicas, so that what is asserted is what would have happened.

#![expect(clippy::expect_used, reason = "a test may end on its own mistakes")]

#[path = "engine_properties/world.rs"]
mod world;

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidegate::engine::{Event, Memory, Role, invariants};
use tidegate::model::*;
use tidegate::spec::*;
use world::{ANYTHING, Happening, KEY, Shape, World, all_fresh, autoscaler, fresh, history, reads, samples, wanted};

const CASES: u32 = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
/// The tests' "now" begins here, so that ages reach back.
const START: u64 = 100_000_000;

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(CASES),
        rng_seed: if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(1) },
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    /// Bounds hold; a stale or failed source never scales down, on the replicas themselves; what is active is awake.
    #[test]
    fn every_decision_keeps_the_invariants(spec in autoscaler(ANYTHING), start in 0i32..12, history in history(true, 25)) {
        let mut world = World::new(&spec, START, start);
        for (pause, happening) in &history {
            world.pass(u64::from(*pause));
            let before = world.replicas;
            world.happen(happening);
            let decision = world.decision();
            prop_assert_eq!(invariants::check(decision, spec.bounds, spec.pause), Ok(()), "{:?}", decision);
            let policies = spec.triggers.iter().map(|trigger| trigger.policy);
            prop_assert_eq!(invariants::check_load(decision, policies, spec.bounds, spec.pause), Ok(()), "{:?}", decision);
            let failed = matches!(happening, Happening::Read(b) if b.iter().take(spec.triggers.len()).all(Option::is_none));
            if failed && spec.fallback.behavior == FallbackBehavior::Hold && before <= spec.bounds.max {
                prop_assert!(world.replicas >= before, "scaled down on a failed source: {:?}", world.decision());
            }
        }
    }

    /// No step down while anything in the scale-down window wanted more. (Without a dead band: inside one, what is
    /// wanted is what is there, and that changes with every step.)
    #[test]
    fn no_scale_down_while_the_window_wanted_more(spec in autoscaler(Shape { tolerance: false, ..ANYTHING }), start in 0i32..12, history in history(false, 25)) {
        let mut world = World::new(&spec, START, start);
        let mut wants: Vec<(u64, Replicas)> = Vec::new();
        for (pause, happening) in &history {
            world.pass(u64::from(*pause));
            let before = world.replicas;
            world.happen(happening);
            let live = wants.iter().filter(|(at, _)| world.now - at < world.down_window()).map(|(_, want)| *want);
            if let Some(highest) = live.max() && before <= spec.bounds.max {
                prop_assert!(
                    world.replicas >= before.min(highest).min(spec.bounds.max),
                    "from {} to {} though {} was wanted: {:?}", before, world.replicas, highest, world.decision()
                );
            }
            // While asleep a backlog under the activation threshold is not a wish.
            if let Some(want) = wanted(world.decision()) && all_fresh(&spec, happening) && world.decision().active {
                wants.push((world.now, want));
            }
        }
    }

    /// Constant input changes nothing once the windows have passed and no rate limit binds.
    #[test]
    fn constant_input_comes_to_rest(spec in autoscaler(ANYTHING), start in 0i32..12, history in history(true, 15), last in reads()) {
        let mut world = World::new(&spec, START, start);
        for (pause, happening) in &history {
            world.pass(u64::from(*pause));
            world.happen(happening);
        }
        world.refuse = false;
        // One replica a minute from twelve to none, and every window; and `load` follows what is in flight for many times
        // as long as it takes to drain (7 s here).
        let rest = world.horizon() * 13 + 150_000;
        let mut waited = 0;
        while waited < rest {
            world.pass(2_500);
            world.happen(&last);
            waited += 2_500;
        }
        let Behavior::Rules { up, down } = &spec.behavior else { unreachable!() };
        let creeps = [up, down].iter().any(|rules| rules.policies.iter().any(|p| p.kind == RateKind::Percent));
        let settled = world.replicas;
        for _ in 0..6 {
            world.pass(2_500);
            world.happen(&last);
            let bound = world.decision().steps.iter().any(|s| matches!(s.reason, Reason::ScaleUpLimit | Reason::ScaleDownLimit));
            prop_assert!(world.replicas == settled || (creeps && bound), "{:?}", world.decision());
        }
    }

    /// The same events give the same decisions, to the last byte.
    #[test]
    fn replaying_gives_the_same_decisions(spec in autoscaler(ANYTHING), start in 0i32..12, history in history(true, 15)) {
        let run = || {
            let mut world = World::new(&spec, START, start);
            let mut log = String::new();
            for (pause, happening) in &history {
                world.pass(u64::from(*pause));
                world.happen(happening);
                use std::fmt::Write;
                write!(log, "{:?}", world.decision()).expect("a string");
            }
            log
        };
        prop_assert_eq!(run(), run());
    }

    /// A complete memory, through its bytes into a fresh engine: the same decisions from then on.
    #[test]
    fn a_hand_over_changes_nothing(spec in autoscaler(ANYTHING), start in 0i32..12, before in history(false, 15), after in history(false, 12), gap in 0u64..8000) {
        let mut old = World::new(&spec, START, start);
        for (pause, happening) in &before {
            old.pass(u64::from(*pause));
            old.happen(happening);
        }
        // A trigger that fails right now is told again by the next read.
        old.happen(&Happening::Read(vec![Some(1); 3]));
        let bytes = old.engine.memory(old.tick(), KEY).expect("it exists").to_bytes();
        let written = old.now;
        let memory = Memory::from_bytes(&bytes).expect("what was just written");
        let mut new = World::unseen(&spec, written + gap, old.replicas);
        new.engine.restore(new.tick(), KEY, &memory, Duration::from_millis(gap), true);
        old.now = new.now;
        new.see();
        old.see();
        for (pause, happening) in &after {
            for world in [&mut old, &mut new] {
                world.now += u64::from(*pause);
                world.happen(happening);
            }
            prop_assert_eq!(old.replicas, new.replicas, "old {:?}\nnew {:?}", old.decision(), new.decision());
        }
    }

    /// Whoever follows decides what the leader decides, stage by stage, and does nothing; and whoever takes over goes on
    /// as the leader would have gone on.
    ///
    /// All policies have one period here, as in the restart below: two steps of the leader between two looks are one
    /// change for who follows, and where the directions' periods differ the HPA's habit of overwriting outdated changes
    /// depends on how many there were.
    #[test]
    fn a_follower_decides_as_the_leader_and_goes_on_as_it_would(
        spec in autoscaler(ANYTHING), start in 0i32..12, before in history(true, 20), after in history(true, 20),
    ) {
        let mut spec = spec;
        if let Behavior::Rules { up, down } = &mut spec.behavior {
            up.policies.iter_mut().chain(&mut down.policies).for_each(|policy| policy.period = Duration::from_secs(15));
        }
        let mut leader = World::telling(&spec, START, start, Role::Controls);
        let mut follower = World::telling(&spec, START, start, Role::Follows);
        leader.see();
        follower.see();
        follow(&mut leader, &mut follower, None);
        for (pause, happening) in &before {
            let then = leader.now + u64::from(*pause);
            loop {
                let due = leader.deadline.min(follower.deadline).as_nanos().div_ceil(1_000_000).max(leader.now + 1);
                if due >= then {
                    break;
                }
                (leader.now, follower.now) = (due, due);
                follow(&mut leader, &mut follower, Some(Event::Evaluate));
            }
            (leader.now, follower.now) = (then, then);
            match happening {
                Happening::Read(backlogs) => {
                    for sample in samples(&spec, backlogs, leader.tick()) {
                        follow(&mut leader, &mut follower, Some(sample));
                    }
                }
                Happening::Nothing => follow(&mut leader, &mut follower, Some(Event::Evaluate)),
                Happening::Refusal => leader.refuse = true,
                Happening::Hand(_) => {
                    // The one who only looks is told first, so that it sees what the leader makes of it apart.
                    follower.happen(happening);
                    leader.happen(happening);
                    follow(&mut leader, &mut follower, None);
                }
            }
            let (l, f) = (leader.decision(), follower.decision());
            prop_assert!(l.desired == f.desired && l.reason == f.reason && l.active == f.active, "leader {:?}\nfollower {:?}", l, f);
            prop_assert_eq!(leader.replicas, follower.replicas);
        }
        leader.refuse = false;
        follower.tell(Event::Role { role: Role::Controls });
        prop_assert_eq!(leader.replicas, follower.replicas, "nothing was left to do: {:?}", follower.decision());
        for (pause, happening) in &after {
            for world in [&mut leader, &mut follower] {
                world.pass(u64::from(*pause));
                world.happen(happening);
            }
            prop_assert_eq!(leader.replicas, follower.replicas, "leader {:?}\nnew {:?}", leader.decision(), follower.decision());
        }
    }

    /// Killed between checkpoints: never below the process that was not killed; without rate limits equal after one
    /// window of samples, whatever they say. What has been in flight for some time is in no checkpoint: there it takes
    /// `load` as long as it takes to drain.
    #[test]
    fn a_restart_is_never_below(
        spec in autoscaler(Shape { up_window: false, rates: false, tolerance: false, fallback: false }),
        start in 0i32..12, before in history(false, 12), lost in history(false, 12), next in fresh(), after in history(false, 25),
        down in 0u64..8000,
    ) {
        let by_load = spec.triggers.iter().any(|trigger| matches!(trigger.policy, Policy::Load(_)));
        restart(&spec, start, &before, &lost, next, after, down, !by_load)?;
    }

    /// The same with rate limits and a scale-up window: never below, and equal once the input has been steady.
    ///
    /// All policies have one period here. Where the two directions' periods differ, the HPA overwrites changes that
    /// the other direction still counts, and which ones depends on how many it ever made at once: that much of the
    /// past no checkpoint can restore, and we follow the HPA.
    #[test]
    fn a_restart_with_limits_is_never_below(
        spec in autoscaler(Shape { up_window: true, rates: true, tolerance: false, fallback: false }),
        start in 0i32..12, before in history(false, 12), lost in history(false, 12), next in fresh(), after in history(false, 20),
        down in 0u64..8000,
    ) {
        let mut spec = spec;
        if let Behavior::Rules { up, down } = &mut spec.behavior {
            up.policies.iter_mut().chain(&mut down.policies).for_each(|policy| policy.period = Duration::from_secs(15));
        }
        restart(&spec, start, &before, &lost, next, after, down, false)?;
    }

    /// Whatever bytes come, reading a memory neither panics nor asks for all memory.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(memory) = Memory::from_bytes(&bytes) {
            prop_assert_eq!(Memory::from_bytes(&memory.to_bytes()).map(|m| m.to_bytes()), Ok(memory.to_bytes()));
        }
    }
}

/// Both hear it, and the follower sees what the leader did.
fn follow(leader: &mut World, follower: &mut World, event: Option<Event>) {
    if let Some(event) = event {
        leader.tell(event.clone());
        follower.tell(event);
    }
    let changed = (leader.replicas, leader.by) != (follower.replicas, follower.by);
    (follower.replicas, follower.by) = (leader.replicas, leader.by);
    if changed {
        follower.see();
        assert_eq!(follower.replicas, leader.replicas, "whoever follows changes nothing");
    }
}

/// Two worlds that part when one is killed. The promise is about what follows the next sample, so that one comes first.
#[expect(clippy::too_many_arguments, reason = "a history in its parts")]
fn restart(
    spec: &AutoscalerSpec,
    start: Replicas,
    before: &[(u16, Happening)],
    lost: &[(u16, Happening)],
    next: Happening,
    mut after: Vec<(u16, Happening)>,
    down: u64,
    exact: bool,
) -> Result<(), TestCaseError> {
    let mut steady = World::new(spec, START, start.clamp(spec.bounds.idle.unwrap_or(spec.bounds.min), spec.bounds.max));
    for (pause, happening) in before {
        steady.pass(u64::from(*pause));
        steady.happen(happening);
    }
    let written = steady.now;
    let bytes = steady.engine.memory(steady.tick(), KEY).expect("it exists").to_bytes();
    for (pause, happening) in lost {
        steady.pass(u64::from(*pause));
        steady.happen(happening);
    }
    // Killed here; the other process starts later, and reads memory and scale.
    steady.pass(down);
    steady.tell(Event::Evaluate);
    let memory = Memory::from_bytes(&bytes).expect("what was just written");
    let mut reborn = World::unseen(spec, steady.now, steady.replicas);
    reborn.engine.restore(reborn.tick(), KEY, &memory, Duration::from_millis(steady.now - written), false);
    reborn.see();
    let (born, horizon) = (steady.now, steady.horizon());
    after.insert(0, (0, next));
    let both = |steady: &mut World, reborn: &mut World, pause: u64, happening: &Happening| {
        for world in [&mut *steady, &mut *reborn] {
            world.pass(pause);
            world.happen(happening);
        }
        prop_assert!(
            reborn.replicas >= steady.replicas,
            "reborn at {} below {}: {:?}\nsteady {:?}",
            reborn.replicas,
            steady.replicas,
            reborn.decision(),
            steady.decision()
        );
        Ok(())
    };
    // Since when every read has succeeded and came in time.
    let mut seeing_since = None;
    for (pause, happening) in &after {
        both(&mut steady, &mut reborn, u64::from(*pause), happening)?;
        let in_time = Duration::from_millis(u64::from(*pause)) <= spec.max_sample_age;
        seeing_since = seeing_since.filter(|_| in_time).or(Some(steady.now)).filter(|_| all_fresh(spec, happening));
        if exact && seeing_since.is_some_and(|at| steady.now > at + horizon) {
            prop_assert_eq!(
                reborn.replicas,
                steady.replicas,
                "one window later: {:?}\nsteady {:?}",
                reborn.decision(),
                steady.decision()
            );
        }
    }
    // Steady input: whatever the limits, both arrive at the same place.
    let input = Happening::Read(vec![Some(12); 3]);
    while steady.now < born + horizon * 13 + 60_000 {
        both(&mut steady, &mut reborn, 2_500, &input)?;
    }
    let Behavior::Rules { down, .. } = &spec.behavior else { unreachable!() };
    let creeps = down.policies.iter().any(|p| p.kind == RateKind::Percent);
    prop_assert!(
        reborn.replicas == steady.replicas || creeps,
        "{:?}\nsteady {:?}",
        reborn.decision(),
        steady.decision()
    );
    Ok(())
}
