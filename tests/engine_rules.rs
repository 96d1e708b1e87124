//! The engine's rules, one scenario each: what a user reads in the manual is asserted here in a sentence.
//!
//! The property tests (`engine_properties.rs`) say what holds of everything; these say which number comes out. Time is
//! in whole seconds, a replica is due for every item waiting, and down windows are zero unless a scenario is about them.

#![expect(clippy::expect_used, reason = "a test may end on its own mistakes")]

#[path = "engine_rules/facts.rs"]
mod facts;
#[path = "engine_rules/load.rs"]
mod load;
#[path = "engine_rules/overtaken.rs"]
mod overtaken;

use std::sync::Arc;
use std::time::Duration;

use tidegate::engine::{Effect, Engine, Event, Memory, MemoryError, Role};
use tidegate::model::*;
use tidegate::spec::*;

const KEY: Key = Key(0);
/// "Now" begins here, so that ages reach back.
const START: Duration = Duration::from_secs(100_000);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// === specs ===

fn rules() -> ScalingRules {
    ScalingRules {
        stabilization_window: Duration::ZERO,
        select_policy: SelectPolicy::Max,
        policies: Vec::new(),
        tolerance: 0.0,
    }
}

fn policy(kind: RateKind, value: i32, period: u64) -> RatePolicy {
    RatePolicy { kind, value, period: seconds(period) }
}

fn trigger(position: usize) -> TriggerSpec {
    TriggerSpec {
        name: format!("trigger-{position}").into(),
        metric_name: format!("metric-{position}").into(),
        connection: Arc::new(ConnectionSpec { name: "embedded".into(), server: Server::Memory }),
        source: Source::Memory { queue: format!("queue-{position}").into() },
        in_flight: None,
        policy: Policy::BacklogPerReplica { target: MilliValue(1000) },
        activation_threshold: 0.0,
        max_sample_age: None,
        partitioning: Partitioning::default(),
        share: TriggerSpec::WHOLE,
    }
}

/// 0 to 10 replicas, one for each item, no windows, no limits, no cooldown, one trigger.
fn plain() -> AutoscalerSpec {
    AutoscalerSpec {
        id: AutoscalerId::new("ns", "name"),
        origin: Origin::Manifest,
        target: Some(TargetRef { api_version: "apps/v1".into(), kind: "Deployment".into(), name: "w".into() }),
        bounds: Bounds { min: 0, max: 10, idle: None },
        polling_interval: seconds(1),
        max_sample_age: seconds(10),
        cooldown: Duration::ZERO,
        initial_cooldown: Duration::ZERO,
        triggers: vec![trigger(0)],
        behavior: Behavior::Rules { up: rules(), down: rules() },
        fallback: Fallback { after: seconds(30), behavior: FallbackBehavior::Hold },
        pause: Pause::default(),
        dry_run: false,
        restore_on_delete: false,
        force_activation: false,
    }
}

fn spec(edit: impl FnOnce(&mut AutoscalerSpec)) -> AutoscalerSpec {
    let mut spec = plain();
    edit(&mut spec);
    spec
}

fn up(edit: impl FnOnce(&mut ScalingRules)) -> Behavior {
    let mut up = rules();
    edit(&mut up);
    Behavior::Rules { up, down: rules() }
}

fn down(edit: impl FnOnce(&mut ScalingRules)) -> Behavior {
    let mut down = rules();
    edit(&mut down);
    Behavior::Rules { up: rules(), down }
}

fn bounds(min: Replicas, max: Replicas, idle: Option<Replicas>) -> impl FnOnce(&mut AutoscalerSpec) {
    move |spec| spec.bounds = Bounds { min, max, idle }
}

// === the world: an engine, and a target that the scenario speaks for ===

/// In place of a count.
const WITHDRAWN: (Replicas, Replicas) = (-1, -1);

struct World {
    engine: Engine,
    now: Tick,
    deadline: Tick,
    /// Asked of the target and not taken by [`World::asked`] yet.
    asked: Vec<(Replicas, Replicas)>,
}

impl World {
    /// Nobody has seen the workload yet.
    fn unseen(spec: AutoscalerSpec) -> Self {
        World::with_role(spec, Role::Controls)
    }

    fn with_role(spec: AutoscalerSpec, role: Role) -> Self {
        let mut world =
            World { engine: Engine::new(), now: Tick::ZERO.after(START), deadline: Tick::NEVER, asked: Vec::new() };
        world.tell(Event::Spec { spec: Arc::new(spec), role });
        world
    }

    fn new(spec: AutoscalerSpec, replicas: Replicas) -> Self {
        let mut world = World::unseen(spec);
        world.see(replicas);
        world
    }

    fn tell(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.deadline = self.engine.handle(self.now, KEY, event, &mut effects);
        assert!(self.deadline > self.now, "a deadline that has passed would be kept again at once");
        for effect in effects {
            match effect {
                Effect::Scale { from, to, .. } => self.asked.push((from, to)),
                Effect::Withdraw { .. } => self.asked.push(WITHDRAWN),
                Effect::Publish { .. } => {}
            }
        }
    }

    fn respec(&mut self, spec: AutoscalerSpec) {
        self.tell(Event::Spec { spec: Arc::new(spec), role: Role::Controls });
    }

    fn see(&mut self, replicas: Replicas) {
        self.see_set(replicas, SetBy::Unknown);
    }

    fn see_set(&mut self, replicas: Replicas, set_by: SetBy) {
        self.tell(Event::Current { replicas, set_by, another: false });
    }

    fn takes(&mut self, role: Role) {
        self.tell(Event::Role { role });
    }

    fn read(&mut self, trigger: u16, backlog: f64) {
        self.read_late(trigger, backlog, self.now);
    }

    fn read_late(&mut self, trigger: u16, backlog: f64, taken: Tick) {
        self.observe_late(trigger, Observation::of_backlog(backlog), taken);
    }

    /// Reads more than a backlog.
    fn observe(&mut self, trigger: u16, seen: Observation) {
        self.observe_late(trigger, seen, self.now);
    }

    fn observe_late(&mut self, trigger: u16, seen: Observation, taken: Tick) {
        self.tell(Event::Sample { trigger, round: Round(1), taken, value: Ok(seen) });
    }

    fn fail(&mut self, trigger: u16) {
        let value = Err(ReadFailure::new(FailureKind::Timeout, "scripted"));
        self.tell(Event::Sample { trigger, round: Round(1), taken: self.now, value });
    }

    fn applied(&mut self, from: Replicas, to: Replicas, succeeded: bool) {
        self.tell(Event::Applied { from, to, succeeded });
    }

    /// What was asked of the target since the last time.
    fn asked(&mut self) -> Vec<(Replicas, Replicas)> {
        std::mem::take(&mut self.asked)
    }

    /// The target does the last thing it was asked, until nothing more is asked; returns where it stands.
    fn obey(&mut self) -> Replicas {
        while let Some((from, to)) = self.asked().pop() {
            self.applied(from, to, true);
        }
        self.decision().current
    }

    /// Reads, obeys, and says where the workload stands.
    fn settle(&mut self, backlog: f64) -> Replicas {
        self.read(0, backlog);
        self.obey()
    }

    /// Lets time pass, keeping every deadline on the way and obeying.
    fn pass(&mut self, pause: Duration) -> Replicas {
        let then = self.now.after(pause);
        while self.deadline <= then {
            self.now = self.deadline;
            self.tell(Event::Evaluate);
            self.obey();
        }
        self.now = then;
        self.decision().current
    }

    fn decision(&self) -> &Decision {
        self.engine.decision(KEY).expect("it exists")
    }

    fn reason(&self) -> Reason {
        self.decision().reason
    }

    fn steps(&self) -> Vec<(Stage, Replicas, Replicas, Reason)> {
        self.decision().steps.iter().map(|s| (s.stage, s.before, s.after, s.reason)).collect()
    }

    /// A memory that crosses into a new process, which has a spec and has seen nothing.
    fn reborn(&self, spec: AutoscalerSpec) -> (World, Memory) {
        let bytes = self.engine.memory(self.now, KEY).expect("it exists").to_bytes();
        let mut reborn = World::unseen(spec);
        reborn.now = self.now;
        (reborn, Memory::from_bytes(&bytes).expect("what was just written"))
    }
}

// === activation, cooldown, idle ===

#[test]
fn active_means_strictly_above_the_activation_threshold() {
    let mut world = World::new(spec(|s| s.triggers = vec![TriggerSpec { activation_threshold: 5.0, ..trigger(0) }]), 0);
    assert_eq!(world.settle(5.0), 0);
    assert_eq!((world.decision().active, world.reason()), (false, Reason::Idle));
    assert_eq!(world.settle(6.0), 6);
    assert!(world.decision().active);
}

#[test]
fn awake_a_backlog_below_the_threshold_still_counts_until_the_cooldown_ends() {
    let mut world = World::new(
        spec(|s| {
            s.triggers = vec![TriggerSpec { activation_threshold: 5.0, ..trigger(0) }];
            s.cooldown = seconds(4);
        }),
        0,
    );
    assert_eq!(world.settle(8.0), 8);
    assert_eq!(world.settle(3.0), 3);
    assert_eq!(world.pass(seconds(5)), 0);
}

#[test]
fn the_last_step_to_zero_waits_for_the_cooldown_and_keeps_its_moment() {
    let mut world = World::new(spec(|s| s.cooldown = seconds(5)), 0);
    assert_eq!(world.settle(4.0), 4);
    world.pass(seconds(1));
    assert_eq!(world.settle(0.0), 1, "down to one at once, the last one waits");
    assert_eq!(world.reason(), Reason::Cooldown);
    assert_eq!(world.deadline, world.now.after(seconds(5)), "from when activity was seen to end");
    assert_eq!(world.pass(Duration::from_millis(4_999)), 1);
    assert_eq!(world.pass(Duration::from_millis(1)), 0);
}

#[test]
fn activity_starts_the_cooldown_anew() {
    let mut world = World::new(spec(|s| s.cooldown = seconds(5)), 0);
    world.settle(1.0);
    world.settle(0.0);
    world.pass(seconds(4));
    world.settle(1.0);
    assert_eq!(world.settle(0.0), 1);
    assert_eq!(world.pass(seconds(4)), 1);
    assert_eq!(world.pass(seconds(1)), 0);
}

#[test]
fn the_window_and_the_cooldown_run_at_the_same_time() {
    for (window, cooldown, zero_after) in [(8, 3, 8), (3, 8, 8)] {
        let mut world = World::new(
            spec(|s| {
                s.cooldown = seconds(cooldown);
                s.behavior = down(|d| d.stabilization_window = seconds(window));
            }),
            0,
        );
        world.settle(2.0);
        for second in 0..zero_after {
            assert!(world.settle(0.0) > 0, "window {window}, cooldown {cooldown}, after {second} s");
            world.pass(seconds(1));
        }
        assert_eq!(world.settle(0.0), 0, "window {window}, cooldown {cooldown}");
    }
}

#[test]
fn what_was_never_active_sleeps_only_after_the_initial_cooldown() {
    let mut world = World::new(spec(|s| s.initial_cooldown = seconds(9)), 3);
    assert_eq!(world.settle(0.0), 1);
    assert_eq!(world.reason(), Reason::InitialCooldown);
    assert_eq!(world.pass(Duration::from_millis(8_999)), 1);
    assert_eq!(world.pass(Duration::from_millis(1)), 0);
}

#[test]
fn once_active_the_initial_cooldown_is_over() {
    let mut world = World::new(spec(|s| s.initial_cooldown = seconds(1000)), 0);
    assert_eq!(world.settle(2.0), 2);
    assert_eq!(world.settle(0.0), 0);
}

#[test]
fn idle_is_where_nothing_active_rests_and_min_is_where_work_begins() {
    let mut world = World::new(spec(bounds(4, 10, Some(1))), 4);
    assert_eq!(world.settle(0.0), 1);
    assert_eq!(world.reason(), Reason::Idle);
    assert_eq!(world.settle(1.0), 4, "active: never between idle and min");
    assert_eq!(world.settle(7.0), 7);
    assert_eq!(world.settle(1.0), 4);
}

#[test]
fn with_a_minimum_and_no_idle_an_empty_queue_rests_at_the_minimum() {
    let mut world = World::new(spec(bounds(2, 10, None)), 7);
    assert_eq!(world.settle(0.0), 2);
    assert_eq!(world.reason(), Reason::TooFewReplicas);
}

// === the way up from zero ===

#[test]
fn from_zero_to_any_number_in_one_step() {
    let mut world = World::new(plain(), 0);
    world.read(0, 9.0);
    assert_eq!(world.asked(), [(0, 9)]);
}

#[test]
fn no_written_policy_holds_a_workload_at_zero() {
    let percent = up(|u| u.policies = vec![policy(RateKind::Percent, 100, 15)]);
    let disabled = up(|u| u.select_policy = SelectPolicy::Disabled);
    let window = up(|u| u.stabilization_window = seconds(60));
    for behavior in [percent, disabled, window] {
        for (min, idle, wakes_to) in [(0, None, 1), (3, Some(0), 3)] {
            let mut world = World::new(
                spec(|s| {
                    s.bounds = Bounds { min, max: 10, idle };
                    s.behavior = behavior.clone();
                }),
                0,
            );
            world.read(0, 9.0);
            assert_eq!(world.asked(), [(0, wakes_to)], "{behavior:?}");
        }
    }
}

#[test]
fn a_pods_policy_limits_the_step_from_zero() {
    let behavior = up(|u| u.policies = vec![policy(RateKind::Pods, 4, 15)]);
    let mut world = World::new(spec(|s| s.behavior = behavior), 0);
    assert_eq!(world.settle(9.0), 4);
    assert_eq!(world.reason(), Reason::ScaleUpLimit);
    world.pass(seconds(8));
    assert_eq!(world.settle(9.0), 4);
    assert_eq!(world.pass(seconds(7)), 8, "the period of the first four is over, and nobody had to ask");
}

// === behavior ===

#[test]
fn a_scale_down_waits_until_nothing_in_the_window_wanted_more() {
    let mut world = World::new(spec(|s| s.behavior = down(|d| d.stabilization_window = seconds(10))), 0);
    world.settle(8.0);
    world.pass(seconds(4));
    assert_eq!(world.settle(5.0), 8);
    assert_eq!(world.reason(), Reason::ScaleDownStabilized);
    world.pass(seconds(5));
    assert_eq!(world.settle(2.0), 8);
    assert_eq!(world.pass(seconds(1)), 5, "the 8 has left the window, the 5 has not");
    world.settle(2.0);
    assert_eq!(world.pass(seconds(4)), 2);
}

#[test]
fn a_disabled_direction_is_not_taken() {
    let mut world = World::new(spec(|s| s.behavior = down(|d| d.select_policy = SelectPolicy::Disabled)), 0);
    assert_eq!(world.settle(8.0), 8);
    assert_eq!(world.settle(0.0), 8);
    assert_eq!(world.reason(), Reason::ScaleDownLimit);
    let mut world = World::new(spec(|s| s.behavior = up(|u| u.select_policy = SelectPolicy::Disabled)), 3);
    assert_eq!(world.settle(8.0), 3);
    assert_eq!(world.settle(2.0), 2);
}

#[test]
fn the_way_to_zero_keeps_the_rate_limits() {
    let mut world =
        World::new(spec(|s| s.behavior = down(|d| d.policies = vec![policy(RateKind::Percent, 50, 15)])), 0);
    world.settle(8.0);
    // Until then our own way up counts: the HPA's rules would allow it to be undone.
    world.pass(seconds(15));
    let path: Vec<Replicas> = (0..6)
        .map(|_| {
            world.settle(0.0);
            world.pass(seconds(15))
        })
        .collect();
    assert!(path.is_sorted_by(|a, b| a >= b) && path.last() == Some(&0), "{path:?}");
    assert!(path.first() >= Some(&2), "not past the policy: {path:?}");
}

#[test]
fn inside_the_tolerance_nothing_moves_and_its_edges_belong_to_it() {
    let behavior = Behavior::Rules {
        up: ScalingRules { tolerance: 0.5, ..rules() },
        down: ScalingRules { tolerance: 0.25, ..rules() },
    };
    let mut world = World::new(spec(|s| s.behavior = behavior), 4);
    for (backlog, replicas) in [(6.0, 4), (3.0, 4), (7.0, 7), (5.25, 7), (5.0, 5)] {
        assert_eq!(world.settle(backlog), replicas, "{backlog}");
    }
    world.settle(7.0);
    assert_eq!(world.reason(), Reason::WithinTolerance);
}

#[test]
fn out_of_bounds_goes_straight_to_the_bound_past_every_policy() {
    let frozen = Behavior::Rules {
        up: ScalingRules { select_policy: SelectPolicy::Disabled, stabilization_window: seconds(60), ..rules() },
        down: ScalingRules { select_policy: SelectPolicy::Disabled, stabilization_window: seconds(60), ..rules() },
    };
    let outside = |s: &mut AutoscalerSpec| {
        s.bounds = Bounds { min: 2, max: 5, idle: None };
        s.behavior = frozen.clone();
    };
    for (current, to) in [(9, 5), (1, 2)] {
        let mut world = World::new(spec(outside), current);
        assert_eq!(world.asked(), [(current, to)], "even before the first sample");
        assert_eq!(world.reason(), Reason::OutOfBounds);
    }
}

// === several triggers ===

fn two() -> AutoscalerSpec {
    spec(|s| s.triggers = vec![trigger(0), trigger(1)])
}

#[test]
fn the_highest_of_several_triggers_wins() {
    let mut world = World::new(two(), 0);
    world.read(0, 3.0);
    world.read(1, 7.0);
    assert_eq!(world.obey(), 7);
    assert_eq!(world.decision().winner, Some(1));
    world.read(1, 2.0);
    assert_eq!(world.obey(), 3);
    assert_eq!(world.decision().winner, Some(0));
}

#[test]
fn one_active_trigger_keeps_everybody_awake() {
    let mut world = World::new(two(), 0);
    world.read(0, 0.0);
    world.read(1, 1.0);
    assert_eq!(world.obey(), 1);
    world.read(1, 0.0);
    assert_eq!(world.obey(), 0);
}

#[test]
fn a_failing_trigger_blocks_the_way_down_and_never_the_way_up() {
    let mut world = World::new(two(), 0);
    world.read(0, 6.0);
    world.read(1, 1.0);
    assert_eq!(world.obey(), 6);
    world.fail(1);
    world.read(0, 1.0);
    assert_eq!(world.obey(), 6);
    assert_eq!((world.decision().degraded, world.reason()), (true, Reason::SourceFailing));
    world.read(0, 9.0);
    assert_eq!(world.obey(), 9);
    world.read(0, 1.0);
    world.read(1, 1.0);
    assert_eq!(world.obey(), 1, "seen again, and it was never unknown: the last value was young all along");
}

#[test]
fn a_trigger_that_was_never_read_blocks_the_way_down_too() {
    let mut world = World::new(two(), 5);
    world.read(0, 1.0);
    assert_eq!(world.obey(), 5);
    assert_eq!(world.decision().triggers.get(1).map(|t| t.health), Some(Health::Pending));
    world.read(0, 8.0);
    assert_eq!(world.obey(), 8);
}

#[test]
fn a_value_goes_stale_at_its_own_moment_without_an_event() {
    let mut world = World::new(plain(), 0);
    world.settle(4.0);
    world.pass(seconds(10));
    assert_eq!(world.decision().triggers.first().map(|t| t.health), Some(Health::Fresh));
    world.pass(Duration::from_nanos(1));
    assert_eq!(world.decision().triggers.first().map(|t| t.health), Some(Health::Stale));
    assert_eq!(world.decision().current, 4);
}

#[test]
fn a_value_of_who_is_held_back_counts_for_three_of_the_longer_intervals_and_engages_no_fallback() {
    let emergency = Fallback { after: seconds(5), behavior: FallbackBehavior::Static { replicas: 1 } };
    let mut world = World::new(spec(|s| s.fallback = emergency), 0);
    world.settle(4.0);
    let pace = |interval| Event::Pace { interval };
    let health = |world: &World| world.decision().triggers.first().map(|t| t.health);
    world.tell(pace(Some(seconds(20))));
    world.pass(seconds(59));
    // A new spec does not change the pace.
    world.respec(spec(|s| (s.fallback, s.bounds.max) = (emergency, 9)));
    world.pass(seconds(1));
    assert_eq!((health(&world), world.decision().desired), (Some(Health::Fresh), 4));
    world.pass(seconds(1));
    assert_eq!(health(&world), Some(Health::Stale));
    // Back to every second: ten seconds, as the spec says.
    world.settle(4.0);
    world.tell(pace(None));
    world.pass(seconds(11));
    assert_eq!(health(&world), Some(Health::Stale));
}

#[test]
fn after_a_blind_time_a_scale_down_takes_a_whole_window_of_evidence() {
    let mut world = World::new(spec(|s| s.behavior = down(|d| d.stabilization_window = seconds(20))), 0);
    world.settle(8.0);
    world.pass(seconds(500));
    assert_eq!(world.settle(0.0), 8);
    for _ in 0..19 {
        world.pass(seconds(1));
        assert_eq!(world.settle(0.0), 8);
    }
    world.pass(seconds(1));
    assert_eq!(world.settle(0.0), 0);
}

// === fallback ===

/// Where `behavior` leads from `replicas` once `fallback.after` has passed since the first failure.
fn silent(behavior: FallbackBehavior, replicas: Replicas) -> (Replicas, Decision) {
    let mut world = World::new(spec(|s| s.fallback.behavior = behavior), replicas);
    world.settle(f64::from(replicas));
    for _ in 0..30 {
        world.fail(0);
        assert_eq!(world.obey(), replicas, "nothing before `after` has passed");
        assert!(!world.decision().fallback);
        world.pass(seconds(1));
    }
    (world.decision().current, world.decision().clone())
}

#[test]
fn each_fallback_does_what_its_name_says_and_not_before_its_time() {
    use FallbackBehavior::{CurrentReplicas, CurrentReplicasIfHigher, CurrentReplicasIfLower, Hold, Static};
    for (behavior, from, to) in [
        (Hold, 6, 6),
        (CurrentReplicas, 6, 6),
        (Static { replicas: 3 }, 6, 3),
        (Static { replicas: 9 }, 6, 9),
        (Static { replicas: 99 }, 6, 10),
        (Static { replicas: 3 }, 0, 3),
        (CurrentReplicasIfHigher { replicas: 3 }, 6, 6),
        (CurrentReplicasIfHigher { replicas: 8 }, 6, 8),
        (CurrentReplicasIfLower { replicas: 3 }, 6, 3),
        (CurrentReplicasIfLower { replicas: 8 }, 6, 6),
        (CurrentReplicas, 0, 0),
    ] {
        let (replicas, decision) = silent(behavior, from);
        assert_eq!(replicas, to, "{behavior:?} from {from}: {decision:?}");
        assert_eq!(decision.fallback, behavior != Hold, "{behavior:?}");
        let may = matches!(behavior, Static { .. } | CurrentReplicasIfLower { .. });
        assert_eq!(decision.degraded, !may, "{behavior:?}");
    }
}

#[test]
fn a_fallback_speaks_for_its_own_trigger_only() {
    let mut world = World::new(
        spec(|s| {
            s.triggers = vec![trigger(0), trigger(1)];
            s.fallback.behavior = FallbackBehavior::Static { replicas: 3 };
        }),
        0,
    );
    for _ in 0..40 {
        world.read(0, 7.0);
        world.fail(1);
        world.pass(seconds(1));
    }
    assert_eq!((world.decision().current, world.decision().fallback), (7, true));
    world.read(0, 1.0);
    assert_eq!(world.obey(), 3);
    world.read(1, 0.0);
    assert_eq!((world.obey(), world.decision().fallback), (1, false));
}

#[test]
fn after_a_fallback_a_scale_down_takes_a_whole_window_of_evidence() {
    let mut world = World::new(
        spec(|s| {
            s.fallback.behavior = FallbackBehavior::CurrentReplicas;
            s.behavior = down(|d| d.stabilization_window = seconds(20));
        }),
        0,
    );
    world.settle(8.0);
    world.pass(seconds(500));
    assert_eq!((world.decision().fallback, world.decision().current), (true, 8));
    assert_eq!(world.settle(0.0), 8, "one sample is no window of evidence");
    for _ in 0..20 {
        world.pass(seconds(1));
        world.read(0, 0.0);
    }
    assert_eq!(world.obey(), 0);
}

// === pauses ===

#[test]
fn each_pause_stops_what_its_name_says() {
    let pause = |edit: fn(&mut Pause)| {
        let mut pause = Pause::default();
        edit(&mut pause);
        pause
    };
    let frozen = pause(|p| p.frozen = true);
    let scale_in = pause(|p| p.scale_in = true);
    let scale_out = pause(|p| p.scale_out = true);
    let both = pause(|p| (p.scale_in, p.scale_out) = (true, true));
    let at = pause(|p| p.at_replicas = Some(7));
    let beyond = pause(|p| (p.at_replicas, p.frozen) = (Some(25), true));
    let zero = pause(|p| p.at_replicas = Some(0));
    for (pause, backlog, to, reason) in [
        (frozen, 9.0, 4, Reason::Paused),
        (frozen, 0.0, 4, Reason::Paused),
        (scale_in, 0.0, 4, Reason::PausedScaleIn),
        (scale_in, 9.0, 9, Reason::AboveTarget),
        (scale_out, 9.0, 4, Reason::PausedScaleOut),
        (scale_out, 2.0, 2, Reason::BelowTarget),
        (both, 9.0, 4, Reason::PausedScaleOut),
        (both, 1.0, 4, Reason::PausedScaleIn),
        (at, 1.0, 7, Reason::PausedReplicas),
        (beyond, 1.0, 25, Reason::PausedReplicas),
        (zero, 9.0, 0, Reason::PausedReplicas),
    ] {
        let mut world = World::new(plain(), 4);
        world.settle(4.0);
        world.respec(spec(|s| s.pause = pause));
        world.obey();
        world.read(0, backlog);
        assert_eq!(world.decision().desired, to, "{pause:?} with {backlog}: {:?}", world.decision());
        if to != world.decision().current
            || matches!(reason, Reason::Paused | Reason::PausedScaleIn | Reason::PausedScaleOut)
        {
            assert_eq!(world.reason(), reason, "{pause:?} with {backlog}");
        }
        assert!(world.decision().paused);
        world.obey();
        world.respec(plain());
        world.settle(3.0);
        assert_eq!(world.decision().current, 3, "unpaused: back to work, from zero and from beyond max too");
    }
}

#[test]
fn a_zero_made_by_paused_replicas_is_ours_also_in_a_new_process() {
    let paused = || spec(|s| (s.bounds.min, s.pause.at_replicas) = (2, Some(0)));
    let mut world = World::new(paused(), 0);
    world.respec(spec(|s| s.bounds.min = 2));
    assert_eq!(world.settle(5.0), 5);
}

#[test]
fn a_pause_takes_back_what_was_asked_and_not_answered() {
    let mut world = World::new(plain(), 2);
    world.read(0, 8.0);
    assert_eq!(world.asked(), [(2, 8)]);
    world.respec(spec(|s| s.pause.frozen = true));
    assert_eq!(world.asked(), [(2, 2)]);
}

// === somebody else's zero ===

#[test]
fn a_zero_that_we_did_not_make_is_respected_until_somebody_else_ends_it() {
    let mut world = World::new(plain(), 4);
    world.settle(4.0);
    world.see(0);
    assert_eq!(world.settle(9.0), 0);
    assert_eq!(world.reason(), Reason::ManuallyStopped);
    world.pass(seconds(5));
    world.see(1);
    assert_eq!(world.settle(9.0), 9);
}

#[test]
fn force_activation_raises_what_somebody_stopped() {
    let mut world = World::new(spec(|s| s.bounds.min = 2), 4);
    world.settle(4.0);
    world.see(0);
    world.respec(spec(|s| (s.bounds.min, s.force_activation) = (2, true)));
    assert_eq!(world.obey(), 4);
    assert_eq!(world.settle(0.0), 2);
    world.respec(spec(|s| s.bounds.min = 2));
    assert_eq!(world.settle(3.0), 3, "and it stays raised");
}

#[test]
fn force_activation_keeps_one_awake_without_any_work() {
    let mut world = World::new(spec(|s| s.force_activation = true), 0);
    assert_eq!(world.settle(0.0), 1);
    assert!(world.decision().active);
}

#[test]
fn a_workload_first_seen_at_zero_sleeps_where_it_may_and_was_stopped_where_it_may_not() {
    for (min, idle, wakes) in [(0, None, true), (3, Some(0), true), (3, Some(1), false), (3, None, false)] {
        let mut world = World::new(spec(bounds(min, 10, idle)), 0);
        assert_eq!(world.settle(9.0) > 0, wakes, "min {min}, idle {idle:?}");
    }
}

#[test]
fn a_zero_that_we_made_is_ours_whichever_news_comes_first() {
    for report_first in [true, false] {
        let mut world = World::new(plain(), 4);
        world.settle(4.0);
        world.read(0, 0.0);
        assert_eq!(world.asked(), [(4, 0)]);
        if report_first {
            world.see(0);
            world.applied(4, 0, true);
        } else {
            world.applied(4, 0, true);
            // What had been seen before comes late.
            world.see(4);
            world.see(0);
        }
        assert_eq!(world.settle(9.0), 9, "report first: {report_first}");
    }
}

#[test]
fn what_is_advised_is_never_stopped_by_hand() {
    let mut world = World::with_role(plain(), Role::Advises);
    world.see(4);
    world.read(0, 4.0);
    world.see(0);
    world.read(0, 6.0);
    assert_eq!((world.decision().desired, world.asked()), (6, vec![]));
}

#[test]
fn somebody_stopping_it_in_the_middle_of_a_step_is_respected() {
    for step_succeeded in [false, true] {
        let mut world = World::new(plain(), 3);
        world.read(0, 8.0);
        assert_eq!(world.asked(), [(3, 8)]);
        world.see(0);
        let taken_back = world.asked();
        world.applied(3, 8, step_succeeded);
        for (from, to) in taken_back {
            world.applied(from, to, true);
        }
        assert_eq!(world.settle(8.0), 0, "the step succeeded before: {step_succeeded}");
        assert_eq!(world.reason(), Reason::ManuallyStopped);
    }
}

#[test]
fn a_zero_that_was_refused_us_is_somebody_elses_when_it_comes() {
    let mut world = World::new(plain(), 4);
    world.settle(4.0);
    world.read(0, 0.0);
    assert_eq!(world.asked(), [(4, 0)]);
    world.read(0, 4.0);
    assert_eq!(world.asked(), [(4, 4)]);
    world.applied(4, 0, false);
    world.see(0);
    world.applied(4, 4, false);
    assert_eq!(world.settle(9.0), 0);
    assert_eq!(world.reason(), Reason::ManuallyStopped);
}

// === whose zero, where the target knows ===

fn stopped(world: &mut World) -> bool {
    world.settle(9.0) == 0 && world.reason() == Reason::ManuallyStopped
}

#[test]
fn a_zero_that_tidegate_set_is_sleep_whoever_of_us_it_was_and_whenever() {
    for (min, idle) in [(0, None), (3, None), (3, Some(1))] {
        // At first sight: an earlier run's, or a pause's.
        let mut world = World::unseen(spec(bounds(min, 10, idle)));
        world.see_set(0, SetBy::Tidegate);
        assert_eq!(world.settle(9.0), 9, "min {min}, idle {idle:?}");
        // And while it is watched: a former leader's last patch.
        let mut world = World::unseen(spec(bounds(min, 10, idle)));
        world.see_set(4, SetBy::Tidegate);
        world.see_set(0, SetBy::Tidegate);
        assert_eq!(world.settle(9.0), 9, "min {min}, idle {idle:?}");
    }
}

#[test]
fn a_zero_that_somebody_else_set_while_it_was_watched_is_a_stop_until_it_is_raised() {
    for role in [Role::Controls, Role::Follows] {
        let mut world = World::with_role(plain(), role);
        world.see_set(4, SetBy::Other);
        world.read(0, 4.0);
        world.see_set(0, SetBy::Other);
        assert!(stopped(&mut world), "{role:?}");
        world.see_set(0, SetBy::Other);
        assert!(stopped(&mut world), "{role:?}: told again");
        world.takes(Role::Controls);
        assert!(stopped(&mut world), "{role:?}: also for who takes over");
        world.see_set(1, SetBy::Other);
        assert_eq!(world.settle(9.0), 9, "{role:?}");
    }
}

#[test]
fn a_workload_created_without_replicas_sleeps_where_it_may_rest_at_zero() {
    for (min, idle, wakes) in [(0, None, true), (3, Some(0), true), (3, Some(1), false), (3, None, false)] {
        let mut world = World::unseen(spec(bounds(min, 10, idle)));
        world.see_set(0, SetBy::Other);
        world.see_set(0, SetBy::Other);
        assert_eq!(!stopped(&mut world), wakes, "min {min}, idle {idle:?}");
    }
}

#[test]
fn a_hand_that_was_faster_than_our_own_zero_is_a_stop_whichever_news_comes_first() {
    for report_first in [true, false] {
        let mut world = World::unseen(plain());
        world.see_set(4, SetBy::Tidegate);
        world.settle(4.0);
        world.read(0, 0.0);
        assert_eq!(world.asked(), [(4, 0)]);
        // The target found zero replicas there already and says that all is well.
        if report_first {
            world.see_set(0, SetBy::Other);
            world.applied(4, 0, true);
        } else {
            world.applied(4, 0, true);
            world.see_set(0, SetBy::Other);
        }
        assert!(stopped(&mut world), "report first: {report_first}");
    }
}

#[test]
fn our_own_zero_is_ours_when_somebodys_count_before_it_is_told_late() {
    let mut world = World::unseen(plain());
    world.see_set(4, SetBy::Tidegate);
    world.settle(4.0);
    world.read(0, 0.0);
    world.obey();
    world.see_set(4, SetBy::Other);
    world.asked();
    world.see_set(0, SetBy::Tidegate);
    assert_eq!(world.settle(9.0), 9);
}

#[test]
fn raised_and_stopped_again_between_two_looks_is_a_stop() {
    let mut world = World::unseen(plain());
    world.see_set(0, SetBy::Tidegate);
    world.settle(0.0);
    world.see_set(0, SetBy::Other);
    assert!(stopped(&mut world));
}

#[test]
fn force_activation_raises_what_is_known_to_be_stopped_and_late_news_does_not_stop_it_again() {
    let mut world = World::unseen(spec(|s| s.bounds.min = 2));
    world.see_set(4, SetBy::Other);
    world.settle(4.0);
    world.see_set(0, SetBy::Other);
    assert!(stopped(&mut world));
    world.respec(spec(|s| (s.bounds.min, s.force_activation) = (2, true)));
    assert_eq!(world.obey(), 9);
    world.see_set(0, SetBy::Other);
    world.asked();
    world.see_set(9, SetBy::Tidegate);
    world.respec(spec(|s| s.bounds.min = 2));
    assert_eq!(world.settle(3.0), 3, "and it stays raised");
}

#[test]
fn a_memory_tells_a_stop_of_the_meantime_from_a_workload_that_slept() {
    let history = |stands: Replicas, by: SetBy| {
        let mut old = World::unseen(plain());
        old.see_set(stands, by);
        old.settle(f64::from(stands));
        old
    };
    // Stood at four; slept at a zero of ours; slept at somebody's.
    for (stands, by, then, is_stopped) in [
        (4, SetBy::Tidegate, SetBy::Other, true),
        (4, SetBy::Tidegate, SetBy::Tidegate, false),
        (4, SetBy::Tidegate, SetBy::Unknown, false),
        (0, SetBy::Tidegate, SetBy::Other, true),
        (0, SetBy::Tidegate, SetBy::Tidegate, false),
        (0, SetBy::Other, SetBy::Other, false),
    ] {
        for seen_first in [true, false] {
            let (mut new, memory) = history(stands, by).reborn(plain());
            if seen_first {
                new.see_set(0, then);
            }
            new.engine.restore(new.now, KEY, &memory, seconds(5), false);
            if !seen_first {
                new.see_set(0, then);
            }
            let case = format!("stood at {stands} by {by:?}, found at zero by {then:?}, seen first {seen_first}");
            assert_eq!(stopped(&mut new), is_stopped, "{case}");
        }
    }
}

#[test]
fn a_stop_survives_a_restart_also_where_it_may_rest_at_zero() {
    for by in [SetBy::Other, SetBy::Unknown] {
        let mut old = World::unseen(plain());
        old.see_set(4, by);
        old.settle(4.0);
        old.see_set(0, by);
        assert!(stopped(&mut old));
        let (mut new, memory) = old.reborn(plain());
        new.engine.restore(new.now, KEY, &memory, seconds(5), false);
        new.see_set(0, by);
        assert!(stopped(&mut new), "{by:?}");
    }
}

#[test]
fn an_owners_zero_is_judged_as_at_first_sight_by_who_only_advised_and_is_to_act() {
    for (min, wakes) in [(0, true), (2, false)] {
        let mut world = World::with_role(spec(bounds(min, 10, None)), Role::Advises);
        world.see_set(4, SetBy::Other);
        world.read(0, 4.0);
        world.see_set(0, SetBy::Other);
        assert_eq!(world.reason(), Reason::AboveTarget, "advice is about the queue");
        world.takes(Role::Controls);
        assert_eq!(!stopped(&mut world), wakes, "min {min}");
    }
}

// === roles ===

#[test]
fn whoever_takes_over_asks_at_once_for_what_is_wanted() {
    let mut world = World::with_role(plain(), Role::Follows);
    world.read(0, 5.0);
    assert!(!world.decision().current_known, "it decides nothing before it has seen the workload");
    world.see_set(2, SetBy::Tidegate);
    assert_eq!((world.decision().desired, world.asked()), (5, vec![]));
    world.takes(Role::Controls);
    assert_eq!(world.asked(), [(2, 5)]);
}

#[test]
fn whoever_leads_no_more_has_asked_for_nothing_and_late_answers_change_nothing() {
    for role in [Role::Follows, Role::Advises] {
        let limited = up(|u| u.policies = vec![policy(RateKind::Pods, 3, 60)]);
        let mut world = World::unseen(spec(|s| (s.behavior, s.max_sample_age) = (limited, seconds(100))));
        world.see_set(2, SetBy::Tidegate);
        world.read(0, 9.0);
        assert_eq!(world.asked(), [(2, 5)]);
        world.takes(role);
        assert_eq!(world.asked(), [WITHDRAWN]);
        // Its patch arrives after all, and is seen before its answer comes.
        world.see_set(5, SetBy::Tidegate);
        world.applied(2, 5, true);
        assert_eq!(world.asked(), [], "{role:?}");
        world.takes(Role::Controls);
        assert_eq!(world.asked(), [], "{role:?}: it counts once, and uses the limit up");
        assert_eq!(world.reason(), Reason::ScaleUpLimit);
        assert_eq!(world.pass(seconds(60)), 8, "{role:?}: and is over after its period");
    }
}

#[test]
fn a_take_over_does_not_scale_faster_than_one_controller_would() {
    let limited = || spec(|s| s.behavior = up(|u| u.policies = vec![policy(RateKind::Pods, 3, 60)]));
    for (by, next) in [(SetBy::Tidegate, vec![]), (SetBy::Unknown, vec![]), (SetBy::Other, vec![(4, 7)])] {
        let mut world = World::with_role(limited(), Role::Follows);
        world.see_set(1, SetBy::Other);
        world.read(0, 9.0);
        world.see_set(4, by);
        world.takes(Role::Controls);
        assert_eq!(world.asked(), next, "{by:?}");
    }
}

#[test]
fn the_former_leaders_last_patch_counts_although_it_is_seen_after_the_take_over() {
    let behavior = up(|u| u.policies = vec![policy(RateKind::Pods, 3, 60)]);
    let mut world = World::with_role(spec(|s| s.behavior = behavior), Role::Follows);
    world.see_set(1, SetBy::Other);
    world.read(0, 1.0);
    world.takes(Role::Controls);
    assert_eq!(world.asked(), []);
    // The former leader knew of more work, and this one hears of both at once.
    let value = Ok(Observation::of_backlog(9.0));
    world.engine.observe(Sample { key: KEY, trigger: 0, asked: world.now, round: Round(1), taken: world.now, value });
    world.see_set(4, SetBy::Tidegate);
    assert_eq!((world.asked(), world.reason()), (vec![], Reason::ScaleUpLimit));
}

#[test]
fn who_is_refused_follows_what_the_owner_does_and_asks_for_nothing() {
    let mut world = World::with_role(plain(), Role::Controls);
    world.see_set(4, SetBy::Tidegate);
    world.read(0, 6.0);
    assert_eq!(world.asked(), [(4, 6)]);
    world.takes(Role::Advises);
    assert_eq!(world.asked(), [WITHDRAWN]);
    for (stands, backlog) in [(9, 1.0), (0, 3.0), (2, 0.0)] {
        world.see_set(stands, SetBy::Other);
        world.read(0, backlog);
        assert_eq!((world.decision().current, world.asked()), (stands, vec![]));
        assert_ne!(world.reason(), Reason::ManuallyStopped);
    }
}

// === effects ===

#[test]
fn what_was_asked_is_not_asked_again_until_it_is_answered() {
    let mut world = World::new(plain(), 0);
    world.read(0, 5.0);
    world.read(0, 5.0);
    world.tell(Event::Evaluate);
    assert_eq!(world.asked(), [(0, 5)]);
    world.applied(0, 5, false);
    assert_eq!(world.asked(), [(0, 5)], "refused: once more");
    world.applied(0, 5, true);
    assert_eq!(world.asked(), []);
}

#[test]
fn a_newer_wish_replaces_an_older_one_and_a_wish_for_what_is_there_takes_it_back() {
    let mut world = World::new(plain(), 2);
    world.read(0, 5.0);
    world.read(0, 7.0);
    world.read(0, 2.0);
    assert_eq!(world.asked(), [(2, 5), (2, 7), (2, 2)]);
}

#[test]
fn news_of_a_success_does_not_undo_newer_news_of_the_count() {
    let mut world = World::new(plain(), 2);
    world.read(0, 8.0);
    assert_eq!(world.asked(), [(2, 8)]);
    // Applied, then somebody set it to 5; the second report overtakes the first.
    world.see(5);
    world.asked();
    world.applied(2, 8, true);
    assert_eq!(world.decision().current, 5);
    assert_eq!(world.asked(), [(5, 8)]);
}

#[test]
fn nothing_is_asked_before_the_workload_was_seen() {
    let mut world = World::unseen(plain());
    world.read(0, 9.0);
    assert_eq!(world.asked(), []);
    assert!(!world.decision().current_known);
    world.see(0);
    assert_eq!(world.asked(), [(0, 9)]);
}

/// Deleted and made anew, or `scaleTargetRef` names another one.
#[test]
fn another_workload_is_seen_for_the_first_time_and_not_for_a_change_of_the_one_before() {
    let another = |world: &mut World, replicas, set_by| {
        world.tell(Event::Current { replicas, set_by, another: true });
    };
    // A zero that came with it has no history: where it may rest it sleeps, and work wakes it.
    let mut world = World::new(plain(), 4);
    world.read(0, 4.0);
    another(&mut world, 0, SetBy::Other);
    assert_ne!(world.reason(), Reason::ManuallyStopped);
    world.read(0, 4.0);
    assert_eq!(world.asked().last(), Some(&(0, 4)));
    // While the very same on the one before is a stop.
    let mut world = World::new(plain(), 4);
    world.read(0, 4.0);
    world.see_set(0, SetBy::Other);
    assert_eq!(world.reason(), Reason::ManuallyStopped);

    // What is on its way to the one before says nothing of this one.
    let mut world = World::new(plain(), 2);
    world.read(0, 8.0);
    assert_eq!(world.asked(), [(2, 8)]);
    another(&mut world, 2, SetBy::Other);
    assert_eq!(world.asked(), [WITHDRAWN, (2, 8)], "asked anew");
    // And what waits for the one before is taken back where nothing is asked for.
    let mut world = World::new(plain(), 2);
    world.read(0, 8.0);
    assert_eq!(world.asked(), [(2, 8)]);
    another(&mut world, 8, SetBy::Other);
    assert_eq!(world.asked(), [WITHDRAWN]);
}

// === a new spec ===

#[test]
fn a_sample_of_before_a_new_spec_does_not_speak_for_the_new_question() {
    let mut world = World::new(plain(), 1);
    world.settle(1.0);
    let taken = world.now;
    world.pass(seconds(1));
    world.respec(spec(|s| s.triggers = vec![trigger(1)]));
    world.read_late(0, 10.0, taken);
    assert_eq!(world.obey(), 1);
    assert_eq!(world.decision().triggers.first().map(|t| t.health), Some(Health::Pending));
}

#[test]
fn triggers_keep_their_answers_when_their_order_changes() {
    let mut world = World::new(two(), 0);
    world.read(0, 2.0);
    world.read(1, 7.0);
    world.obey();
    world.respec(spec(|s| s.triggers = vec![trigger(1), trigger(0)]));
    let values: Vec<Option<f64>> = world.decision().triggers.iter().map(|t| t.value).collect();
    assert_eq!((values, world.decision().winner), (vec![Some(7.0), Some(2.0)], Some(0)));
}

#[test]
fn a_new_behavior_does_not_forget_what_the_window_saw() {
    let window = |length| {
        spec(|s| {
            s.max_sample_age = seconds(100);
            s.behavior = down(|d| d.stabilization_window = seconds(length));
        })
    };
    let mut world = World::new(window(30), 0);
    world.settle(8.0);
    world.pass(seconds(5));
    world.respec(window(20));
    assert_eq!(world.settle(1.0), 8);
    assert_eq!(world.pass(Duration::from_millis(14_999)), 8);
    assert_eq!(world.pass(seconds(1)), 1);
}

#[test]
fn a_new_behavior_before_the_first_sight_does_not_cost_the_first_recommendation() {
    let window = |length| spec(|s| s.behavior = up(|u| u.stabilization_window = seconds(length)));
    let mut world = World::unseen(window(30));
    world.respec(window(20));
    world.see(3);
    assert_eq!(world.settle(9.0), 3, "held at what was there at first, for one scale-up window");
    world.pass(seconds(20));
    assert_eq!(world.settle(9.0), 9);
}

#[test]
fn a_new_maximum_below_the_present_count_is_reached_at_once() {
    let mut world = World::new(plain(), 0);
    world.settle(9.0);
    world.respec(spec(|s| s.bounds.max = 4));
    assert_eq!(world.asked(), [(9, 4)]);
}

// === explanation ===

#[test]
fn a_decision_explains_itself_stage_by_stage() {
    use Stage::{Activation, Bounds, Observe, Pause, RateLimit, Stabilization, Want};
    let behavior = up(|u| u.policies = vec![policy(RateKind::Pods, 2, 15)]);
    let mut world = World::new(spec(|s| s.behavior = behavior.clone()), 3);
    world.read(0, 9.0);
    assert_eq!(
        world.steps(),
        [
            (Observe, 3, 3, Reason::Fresh),
            (Want, 3, 9, Reason::AboveTarget),
            (Activation, 9, 9, Reason::Active),
            (Stabilization, 9, 9, Reason::Unchanged),
            (RateLimit, 9, 5, Reason::ScaleUpLimit),
        ]
    );
    assert_eq!(world.reason(), Reason::ScaleUpLimit);

    world.respec(spec(|s| (s.behavior, s.pause.frozen) = (behavior, true)));
    assert_eq!(world.steps().last(), Some(&(Pause, 5, 3, Reason::Paused)));
    assert_eq!(world.reason(), Reason::Paused);

    let mut world = World::new(plain(), 3);
    world.read(0, 99.0);
    assert_eq!(world.steps().last(), Some(&(Bounds, 99, 10, Reason::TooManyReplicas)));
    world.obey();
    world.fail(0);
    let first = world.steps().first().copied();
    assert_eq!(first, Some((Observe, 10, 10, Reason::SourceFailing)));
}

#[test]
fn every_step_begins_where_the_one_before_ended() {
    let mut world = World::new(two(), 4);
    for backlog in [0.0, 9.0, 2.0, 30.0] {
        world.read(0, backlog);
        world.fail(1);
        let steps = world.steps();
        assert!(steps.windows(2).all(|pair| matches!(pair, [a, b] if a.2 == b.1)), "{steps:?}");
        assert_eq!(steps.last().map(|step| step.2), Some(world.decision().desired));
        world.obey();
    }
}

// === memory ===

#[test]
fn a_memory_of_another_version_is_an_error_and_not_a_guess() {
    let world = World::new(plain(), 3);
    let mut bytes = world.engine.memory(world.now, KEY).expect("it exists").to_bytes();
    assert!(Memory::from_bytes(&bytes).is_ok());
    bytes.push(0);
    assert_eq!(Memory::from_bytes(&bytes), Err(MemoryError::Malformed));
    if let Some(version) = bytes.first_mut() {
        *version = 250;
    }
    assert_eq!(Memory::from_bytes(&bytes), Err(MemoryError::Version(250)));
    assert_eq!(Memory::from_bytes(&[]), Err(MemoryError::Malformed));
}

#[test]
fn a_memory_of_the_first_version_is_still_read() {
    let mut old = World::new(spec(|s| s.behavior = down(|d| d.stabilization_window = seconds(10))), 8);
    old.settle(8.0);
    let memory = old.engine.memory(old.now, KEY).expect("it exists");
    let mut bytes = memory.to_bytes();
    // The one thing that the second version added, and that no complete memory has: after four lists, of which only the
    // second has an entry (an age of nothing, eight replicas).
    let first_lists = [4, 0, 1, 0, 16, 0, 0];
    assert_eq!(bytes.get(..7), Some(first_lists.as_slice()));
    assert_eq!(bytes.remove(7), 0);
    // And what later ones added to the one value, which stands last.
    assert_eq!(bytes.split_off(bytes.len() - 5), [0, 0, 0, 0, 0]);
    *bytes.first_mut().expect("a version") = 1;
    assert_eq!(Memory::from_bytes(&bytes), Ok(memory));
}

#[test]
fn a_checkpoint_of_a_steady_autoscaler_says_the_same_for_ever() {
    let steady = || {
        spec(|s| {
            s.cooldown = seconds(30);
            s.behavior = down(|d| d.stabilization_window = seconds(300));
        })
    };
    let mut world = World::new(steady(), 0);
    world.settle(40.0);
    world.now = world.now.after(seconds(60));
    world.settle(20.0);
    world.settle(6.0);
    let written = world.engine.envelope(world.now, KEY).expect("it was seen");
    assert!(written.memory(world.now).to_bytes().len() < 24, "a few bytes");
    let mut writes = 0;
    let mut last = written.clone();
    for second in 0..3_600 {
        world.now = world.now.after(seconds(1));
        // The same few wishes again and again.
        world.settle(if second % 7 == 0 { 6.0 } else { 3.0 });
        let present = world.engine.envelope(world.now, KEY).expect("it was seen");
        if second % 20 == 0 && !last.still_says(&present, world.now) {
            writes += 1;
            last = present;
        }
    }
    // What was wished before turns old, and then the count falls.
    assert!(writes <= 3, "{writes} writes in an hour");
    assert_eq!(world.decision().current, 6);
}

#[test]
fn a_restart_lets_nobody_sleep_before_a_cooldown_after_the_first_samples() {
    let cooling = || spec(|s| (s.cooldown, s.max_sample_age) = (seconds(30), seconds(100)));
    let mut old = World::new(cooling(), 0);
    old.settle(1.0);
    let (mut new, _) = old.reborn(cooling());
    let memory = old.engine.envelope(old.now, KEY).expect("it was seen").memory(old.now);
    new.engine.restore(new.now, KEY, &memory, seconds(0), false);
    new.see(1);
    // Until then it may have been active for all that is known.
    for world in [&mut old, &mut new] {
        world.pass(seconds(5));
        world.settle(0.0);
        assert_eq!(world.pass(Duration::from_millis(29_999)), 1);
        assert_eq!(world.pass(Duration::from_millis(1)), 0);
    }
}

#[test]
fn a_checkpoint_remembers_what_was_wished_long_ago_as_long_as_its_window_does() {
    let windowed = || {
        spec(|s| {
            s.max_sample_age = seconds(1_000);
            s.behavior = down(|d| d.stabilization_window = seconds(320));
        })
    };
    let mut old = World::new(windowed(), 9);
    old.now = old.now.after(seconds(5));
    old.settle(9.0);
    old.now = old.now.after(seconds(100));
    old.settle(4.0);
    old.now = old.now.after(seconds(100));
    // Somebody takes replicas away, and gives some back after the restart.
    old.see(2);
    old.settle(2.0);
    let memory = old.engine.envelope(old.now, KEY).expect("it was seen").memory(old.now);
    let memory = Memory::from_bytes(&memory.to_bytes()).expect("what was just written");
    let mut new = World::unseen(windowed());
    new.now = old.now.after(seconds(20));
    new.engine.restore(new.now, KEY, &memory, seconds(20), false);
    new.see(2);
    old.now = new.now;
    for world in [&mut old, &mut new] {
        world.read(0, 2.0);
        world.obey();
        world.see(9);
        assert_eq!(world.obey(), 9, "nine were wished for 220 s ago");
    }
    // Nine may have been wished for once more in the twenty seconds that nobody wrote down: it stays for a whole window.
    assert_eq!((old.pass(seconds(110)), new.pass(seconds(110))), (4, 9));
    assert_eq!((old.pass(seconds(100)), new.pass(seconds(100))), (2, 9));
    assert_eq!((old.pass(seconds(109)), new.pass(seconds(109))), (2, 9));
    assert_eq!((old.pass(seconds(1)), new.pass(seconds(1))), (2, 2));
}

#[test]
fn a_checkpoint_of_a_long_window_is_bounded_however_often_it_is_fed() {
    let mut world = World::new(
        spec(|s| {
            (s.bounds.max, s.max_sample_age) = (1_000_000, seconds(10));
            s.behavior = down(|d| d.stabilization_window = seconds(3_600));
        }),
        80_000,
    );
    for step in 0..72_000_u32 {
        world.now = world.now.after(Duration::from_millis(50));
        world.read(0, f64::from(100_000 - step));
    }
    let exact = world.engine.memory(world.now, KEY).expect("it exists").to_bytes().len();
    let envelope = world.engine.envelope(world.now, KEY).expect("it was seen");
    let bytes = envelope.memory(world.now).to_bytes().len();
    assert!(exact > 300_000 && bytes < 33 * 12 + 40, "{exact} bytes became {bytes}");
}

#[test]
fn a_restart_keeps_the_window_and_the_cooldown() {
    let lasting = || {
        spec(|s| {
            s.max_sample_age = seconds(100);
            s.cooldown = seconds(30);
            s.behavior = down(|d| d.stabilization_window = seconds(10));
        })
    };
    let mut old = World::new(lasting(), 0);
    old.settle(8.0);
    let (mut new, memory) = old.reborn(lasting());
    new.now = new.now.after(seconds(4));
    new.engine.restore(new.now, KEY, &memory, seconds(4), false);
    new.see(8);
    assert_eq!(new.settle(0.0), 8);
    new.pass(seconds(10));
    assert_eq!(new.settle(0.0), 1, "the cooldown still holds the last one");
    assert_eq!(new.pass(seconds(20)), 0);
}

#[test]
fn a_memory_of_a_stop_by_hand_does_not_stop_what_was_started_since() {
    let mut old = World::new(plain(), 4);
    old.settle(4.0);
    old.see(0);
    assert_eq!(old.reason(), Reason::ManuallyStopped);
    for complete in [true, false] {
        for seen_first in [true, false] {
            let (mut new, memory) = old.reborn(plain());
            if seen_first {
                new.see(5);
            }
            new.engine.restore(new.now, KEY, &memory, seconds(0), complete);
            if !seen_first {
                new.see(5);
            }
            assert_eq!(new.settle(5.0), 5, "complete {complete}, seen first {seen_first}");
        }
    }
}

#[test]
fn a_new_process_without_a_memory_lets_nobody_sleep_before_a_cooldown() {
    let mut world = World::new(spec(|s| (s.cooldown, s.max_sample_age) = (seconds(60), seconds(100))), 5);
    assert!(world.settle(0.0) > 0, "it may have been active until a moment ago");
    assert!(world.pass(seconds(59)) > 0);
    assert_eq!(world.pass(seconds(1)), 0);
}

#[test]
fn one_failed_read_of_a_slow_poll_engages_no_fallback() {
    let slow = spec(|s| {
        s.polling_interval = seconds(60);
        s.max_sample_age = seconds(180);
        s.fallback.behavior = FallbackBehavior::Static { replicas: 1 };
    });
    let mut world = World::new(slow, 0);
    world.settle(8.0);
    world.pass(seconds(60));
    world.fail(0);
    assert_eq!(world.obey(), 8);
    assert!(!world.decision().fallback);
}

#[test]
fn a_fixed_trigger_without_work_asks_for_nothing() {
    let mut world = World::new(
        spec(|s| {
            s.triggers = vec![trigger(0), trigger(1)];
            s.triggers.iter_mut().take(1).for_each(|first| first.policy = Policy::Fixed { replicas: 5 });
        }),
        0,
    );
    world.read(0, 0.0);
    world.read(1, 2.0);
    assert_eq!(world.obey(), 2);
    world.read(0, 1.0);
    assert_eq!(world.obey(), 5);
}

#[test]
fn what_is_not_a_count_is_a_failed_read() {
    for odd in [f64::NAN, -1.0] {
        let mut world = World::new(spec(|_| {}), 0);
        world.settle(8.0);
        world.read(0, odd);
        assert_eq!(world.obey(), 8);
        assert!(world.decision().degraded);
    }
}

#[test]
fn triggers_that_were_read_together_are_decided_on_together() {
    let mut world = World::new(spec(|s| s.triggers = vec![trigger(0), trigger(1)]), 0);
    world.read(0, 8.0);
    world.read(1, 0.0);
    assert_eq!(world.obey(), 8);
    world.pass(seconds(1));
    // The work moved from one queue to the other: at no moment was there none.
    let value = Ok(Observation::of_backlog(0.0));
    world.engine.observe(Sample { key: KEY, trigger: 0, asked: world.now, round: Round(1), taken: world.now, value });
    world.read(1, 8.0);
    assert_eq!(world.asked(), []);
}

#[test]
fn a_decision_names_the_latest_round_and_a_trigger_the_round_that_spoke_of_it() {
    let mut world = World::new(spec(|s| s.triggers = vec![trigger(0), trigger(1)]), 0);
    assert_eq!(world.decision().round, None);
    let value = || Ok(Observation::of_backlog(1.0));
    world.tell(Event::Sample { trigger: 0, round: Round(41), taken: world.now, value: value() });
    let failed = Err(ReadFailure::new(FailureKind::Timeout, "no answer"));
    world.tell(Event::Sample { trigger: 1, round: Round(42), taken: world.now, value: failed });
    world.tell(Event::Evaluate);
    let rounds: Vec<_> = world.decision().triggers.iter().map(|report| report.round).collect();
    assert_eq!(rounds, [Some(Round(41)), Some(Round(42))]);
    assert_eq!(world.decision().round, Some(Round(42)));
}
