//! The engine's promises over random inputs: random manifests, backlogs, failures, pauses between events, failed and
//! delayed scaling, other people's hands on the workload, restarts.
//!
//! Every property runs 100,000 cases when optimised (a tenth of that with debug assertions on, where each costs more),
//! the same ones each time; `PROPTEST_CASES` asks for another number of other ones
//! (`PROPTEST_CASES=1000000 cargo test --release --test engine_properties`). The world here applies what the engine asks
//! for to a count of replicas, so that what is asserted is what would have happened.

#![expect(clippy::expect_used, clippy::cast_possible_truncation, reason = "a test may end on its own mistakes")]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidegate::engine::{Effect, Engine, Event, Memory, Role, invariants};
use tidegate::model::*;
use tidegate::spec::*;

const CASES: u32 = if cfg!(debug_assertions) { 10_000 } else { 100_000 };
const KEY: Key = Key(0);
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

// === random manifests ===

fn rules(
    windows: BoxedStrategy<u64>,
    rates: bool,
    tolerance: BoxedStrategy<f64>,
) -> impl Strategy<Value = ScalingRules> {
    let policy =
        (any::<bool>(), 1i32..120, prop::sample::select(vec![1u64, 5, 15, 60])).prop_map(|(pods, value, period)| {
            RatePolicy {
                kind: if pods { RateKind::Pods } else { RateKind::Percent },
                value: if pods { value % 7 + 1 } else { value },
                period: Duration::from_secs(period),
            }
        });
    let policies = prop::collection::vec(policy, 0..=if rates { 2 } else { 0 });
    let select = prop::sample::select(vec![SelectPolicy::Max, SelectPolicy::Max, SelectPolicy::Min]);
    (windows, policies, select, tolerance).prop_map(|(window, policies, select_policy, tolerance)| ScalingRules {
        stabilization_window: Duration::from_secs(window),
        select_policy,
        policies,
        tolerance,
    })
}

#[derive(Clone, Copy)]
struct Shape {
    up_window: bool,
    rates: bool,
    tolerance: bool,
    fallback: bool,
}

const ANYTHING: Shape = Shape { up_window: true, rates: true, tolerance: true, fallback: true };

fn autoscaler(shape: Shape) -> impl Strategy<Value = AutoscalerSpec> {
    let pick = |on: bool, from: Vec<u64>| if on { prop::sample::select(from).boxed() } else { Just(0).boxed() };
    let tolerance =
        || if shape.tolerance { prop::sample::select(vec![0.0, 0.1, 0.5]).boxed() } else { Just(0.0).boxed() };
    let up = rules(pick(shape.up_window, vec![0, 0, 3, 20]), shape.rates, tolerance());
    let down = rules(pick(true, vec![0, 5, 20, 60]), shape.rates, tolerance());
    let bounds = (0i32..4, 0i32..12, any::<bool>()).prop_map(|(min, more, idle)| Bounds {
        min,
        max: (min + more).max(1),
        idle: (idle && min > 0).then_some(min - 1),
    });
    let behavior = prop::sample::select(if shape.fallback {
        vec![
            FallbackBehavior::Hold,
            FallbackBehavior::Static { replicas: 3 },
            FallbackBehavior::CurrentReplicas,
            FallbackBehavior::CurrentReplicasIfHigher { replicas: 3 },
            FallbackBehavior::CurrentReplicasIfLower { replicas: 2 },
        ]
    } else {
        vec![FallbackBehavior::Hold]
    });
    let triggers = prop::collection::vec((1i64..8, prop::sample::select(vec![0.0, 0.0, 3.0])), 1..=3);
    (bounds, up, down, behavior, triggers, prop::sample::select(vec![0u64, 4, 30]), prop::sample::select(vec![0u64, 9]))
        .prop_map(|(bounds, up, down, behavior, triggers, cooldown, initial)| AutoscalerSpec {
            id: AutoscalerId::new("ns", "name"),
            origin: Origin::Manifest,
            target: Some(TargetRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "w".into() }),
            bounds,
            polling_interval: Duration::from_secs(1),
            max_sample_age: Duration::from_secs(3),
            cooldown: Duration::from_secs(cooldown),
            initial_cooldown: Duration::from_secs(initial),
            triggers: triggers
                .into_iter()
                .enumerate()
                .map(|(i, (target, activation_threshold))| TriggerSpec {
                    name: format!("trigger-{i}").into(),
                    metric_name: format!("m{i}").into(),
                    connection: Arc::new(ConnectionSpec { name: "c".into(), server: Server::Memory }),
                    source: Source::Memory { queue: format!("q{i}").into() },
                    policy: Policy::BacklogPerReplica { target: MilliValue(target * 1000) },
                    activation_threshold,
                })
                .collect(),
            behavior: Behavior::Rules { up, down },
            fallback: Fallback { after: Duration::from_secs(5), behavior },
            pause: Pause::default(),
            dry_run: false,
            restore_on_delete: false,
            force_activation: false,
        })
}

// === random histories ===

#[derive(Clone, Debug)]
enum Happening {
    /// All triggers are read: `None` fails.
    Read(Vec<Option<u8>>),
    Nothing,
    /// The target refuses what is asked of it now.
    Refusal,
    /// Somebody's `kubectl scale`.
    Hand(u8),
}

fn reads() -> impl Strategy<Value = Happening> {
    let backlog = prop_oneof![1 => Just(None), 3 => Just(Some(0)), 6 => (0u8..40).prop_map(Some)];
    prop::collection::vec(backlog, 3).prop_map(Happening::Read)
}

/// Every trigger answers.
fn fresh() -> impl Strategy<Value = Happening> {
    prop::collection::vec((0u8..40).prop_map(Some), 3).prop_map(Happening::Read)
}

fn history(hands: bool, length: usize) -> impl Strategy<Value = Vec<(u16, Happening)>> {
    let happening = prop_oneof![
        8 => reads().boxed(),
        1 => Just(Happening::Nothing).boxed(),
        1 => if hands { Just(Happening::Refusal).boxed() } else { Just(Happening::Nothing).boxed() },
        1 => if hands { (0u8..14).prop_map(Happening::Hand).boxed() } else { reads().boxed() },
    ];
    let pause = prop_oneof![4 => 0u16..1500, 1 => 1500u16..9000];
    prop::collection::vec((pause, happening), 1..length)
}

// === the world ===

struct World {
    engine: Engine,
    spec: Arc<AutoscalerSpec>,
    now: u64,
    replicas: Replicas,
    refuse: bool,
    effects: Vec<Effect>,
    deadline: Tick,
}

impl World {
    fn new(spec: &AutoscalerSpec, now: u64, replicas: Replicas) -> Self {
        let mut world = World::unseen(spec, now, replicas);
        world.see();
        world
    }

    fn unseen(spec: &AutoscalerSpec, now: u64, replicas: Replicas) -> Self {
        let spec = Arc::new(spec.clone());
        let mut world = World {
            engine: Engine::new(),
            spec: Arc::clone(&spec),
            now,
            replicas,
            refuse: false,
            effects: Vec::new(),
            deadline: Tick::NEVER,
        };
        world.tell(Event::Spec { spec, role: Role::Controls });
        world
    }

    fn see(&mut self) {
        self.tell(Event::Current { replicas: self.replicas, set_by: SetBy::Unknown });
    }

    fn tick(&self) -> Tick {
        Tick::from_millis(self.now)
    }

    fn decision(&self) -> &Decision {
        self.engine.decision(KEY).expect("it exists")
    }

    /// Tells the engine and does what it asks.
    fn tell(&mut self, event: Event) {
        self.deadline = self.engine.handle(self.tick(), KEY, event, &mut self.effects);
        while let Some(effect) = self.effects.pop() {
            if let Effect::Scale { from, to, .. } = effect {
                assert_eq!(from, self.replicas, "asked from what is there");
                let succeeded = !std::mem::take(&mut self.refuse);
                if succeeded {
                    self.replicas = to;
                }
                self.effects.clear();
                self.deadline =
                    self.engine.handle(self.tick(), KEY, Event::Applied { from, to, succeeded }, &mut self.effects);
                self.see_quietly();
            }
        }
    }

    fn see_quietly(&mut self) {
        let current = Event::Current { replicas: self.replicas, set_by: SetBy::Unknown };
        self.deadline = self.engine.handle(self.tick(), KEY, current, &mut self.effects);
    }

    /// Runs to `then`, keeping the engine's deadlines on the way.
    fn pass(&mut self, pause: u64) {
        let then = self.now + pause;
        while self.deadline.as_nanos().div_ceil(1_000_000) < then && self.deadline > self.tick() {
            self.now = self.deadline.as_nanos().div_ceil(1_000_000).max(self.now + 1);
            self.tell(Event::Evaluate);
        }
        self.now = then;
    }

    fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Read(backlogs) => {
                for (trigger, backlog) in (0..self.spec.triggers.len() as u16).zip(backlogs) {
                    let value = backlog
                        .map(|b| Observation { backlog: f64::from(b) })
                        .ok_or_else(|| ReadFailure::new(FailureKind::Timeout, "scripted"));
                    self.tell(Event::Sample { trigger, round: Round(1), taken: self.tick(), value });
                }
            }
            Happening::Nothing => self.tell(Event::Evaluate),
            Happening::Refusal => self.refuse = true,
            Happening::Hand(replicas) => {
                self.replicas = i32::from(*replicas);
                self.see();
            }
        }
    }

    fn down_window(&self) -> u64 {
        let Behavior::Rules { down, .. } = &self.spec.behavior else { unreachable!() };
        down.stabilization_window.as_millis() as u64
    }

    /// The longest that anything is remembered, in ms.
    fn horizon(&self) -> u64 {
        let Behavior::Rules { up, down } = &self.spec.behavior else { unreachable!() };
        let periods = up.policies.iter().chain(&down.policies).map(|p| p.period);
        let all = [up.stabilization_window, down.stabilization_window, self.spec.cooldown, self.spec.initial_cooldown];
        periods.chain(all).max().unwrap_or_default().as_millis() as u64
    }
}

/// What the Want stage said.
fn wanted(decision: &Decision) -> Option<Replicas> {
    decision.steps.iter().find(|step| step.stage == Stage::Want).map(|step| step.after)
}

fn all_fresh(spec: &AutoscalerSpec, happening: &Happening) -> bool {
    matches!(happening, Happening::Read(b) if b.iter().take(spec.triggers.len()).all(Option::is_some))
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
        // One replica a minute from twelve to none, and every window.
        let rest = world.horizon() * 13 + 10_000;
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

    /// Killed between checkpoints: never below the process that was not killed; without rate limits equal after one
    /// window of samples, whatever they say.
    #[test]
    fn a_restart_is_never_below(
        spec in autoscaler(Shape { up_window: false, rates: false, tolerance: false, fallback: false }),
        start in 0i32..12, before in history(false, 12), lost in history(false, 12), next in fresh(), after in history(false, 25),
        down in 0u64..8000,
    ) {
        restart(&spec, start, &before, &lost, next, after, down, true)?;
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
