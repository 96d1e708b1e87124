//! Random manifests and histories, and a world in which an engine meets them: shared by what asserts the engine's
//! promises and what asserts those of a restart.
#![allow(
    clippy::expect_used,
    clippy::cast_possible_truncation,
    dead_code,
    unreachable_pub,
    reason = "a test may end on its own mistakes, and each uses a part of this"
)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tidegate::engine::{Effect, Engine, Event, Role};
use tidegate::model::*;
use tidegate::spec::*;

pub const KEY: Key = Key(0);

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
pub struct Shape {
    pub up_window: bool,
    pub rates: bool,
    pub tolerance: bool,
    pub fallback: bool,
}

pub const ANYTHING: Shape = Shape { up_window: true, rates: true, tolerance: true, fallback: true };

pub fn autoscaler(shape: Shape) -> impl Strategy<Value = AutoscalerSpec> {
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
    let policy = prop_oneof![
        2 => (1i64..8).prop_map(|target| Policy::BacklogPerReplica { target: MilliValue(target * 1000) }),
        1 => (1i64..6, 1u64..5, prop::sample::select(vec![500i64, 800, 1000])).prop_map(|(slots, job, utilization)| {
            Policy::Load(Load {
                slots_per_replica: MilliValue(slots * 1000),
                job_duration: Duration::from_secs(job),
                drain_within: Duration::from_secs(7),
                utilization: MilliValue(utilization),
            })
        }),
    ];
    // What a paused queue makes one wish for depends on what there is, as a dead band does.
    let queue = prop::sample::select(if shape.tolerance { vec!["plain", "pausing"] } else { vec!["plain"] });
    let triggers = prop::collection::vec((policy, prop::sample::select(vec![0.0, 0.0, 3.0]), queue), 1..=3);
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
                .map(|(i, (policy, activation_threshold, queue))| TriggerSpec {
                    name: format!("trigger-{i}").into(),
                    metric_name: format!("m{i}").into(),
                    connection: Arc::new(ConnectionSpec { name: "c".into(), server: Server::Memory }),
                    source: Source::Memory { queue: format!("{queue}-{i}").into() },
                    in_flight: None,
                    policy,
                    activation_threshold,
                    max_sample_age: None,
                    partitioning: Partitioning::default(),
                    share: TriggerSpec::WHOLE,
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
pub enum Happening {
    /// All triggers are read: `None` fails.
    Read(Vec<Option<u8>>),
    Nothing,
    /// The target refuses what is asked of it now.
    Refusal,
    /// Somebody's `kubectl scale`.
    Hand(u8),
}

pub fn reads() -> impl Strategy<Value = Happening> {
    let backlog = prop_oneof![1 => Just(None), 3 => Just(Some(0)), 6 => (0u8..40).prop_map(Some)];
    prop::collection::vec(backlog, 3).prop_map(Happening::Read)
}

/// Every trigger answers.
pub fn fresh() -> impl Strategy<Value = Happening> {
    prop::collection::vec((0u8..40).prop_map(Some), 3).prop_map(Happening::Read)
}

pub fn history(hands: bool, length: usize) -> impl Strategy<Value = Vec<(u16, Happening)>> {
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

/// An engine, and a workload that does what it asks.
pub struct World {
    pub engine: Engine,
    pub spec: Arc<AutoscalerSpec>,
    pub now: u64,
    pub replicas: Replicas,
    /// Who set them, as far as the engine is told.
    pub by: SetBy,
    /// Whether the target knows who did.
    pub tells_who: bool,
    pub refuse: bool,
    effects: Vec<Effect>,
    pub deadline: Tick,
}

impl World {
    pub fn new(spec: &AutoscalerSpec, now: u64, replicas: Replicas) -> Self {
        let mut world = World::unseen(spec, now, replicas);
        world.see();
        world
    }

    /// Of a target that tells who set the count. What stands at zero at first is our own doing.
    pub fn telling(spec: &AutoscalerSpec, now: u64, replicas: Replicas, role: Role) -> Self {
        let mut world = World::with_role(spec, now, replicas, role);
        world.tells_who = true;
        world.by = if replicas == 0 { SetBy::Tidegate } else { SetBy::Other };
        world
    }

    pub fn unseen(spec: &AutoscalerSpec, now: u64, replicas: Replicas) -> Self {
        World::with_role(spec, now, replicas, Role::Controls)
    }

    fn with_role(spec: &AutoscalerSpec, now: u64, replicas: Replicas, role: Role) -> Self {
        let spec = Arc::new(spec.clone());
        let mut world = World {
            engine: Engine::new(),
            spec: Arc::clone(&spec),
            now,
            replicas,
            by: SetBy::Unknown,
            tells_who: false,
            refuse: false,
            effects: Vec::new(),
            deadline: Tick::NEVER,
        };
        world.tell(Event::Spec { spec, role });
        world
    }

    pub fn see(&mut self) {
        self.tell(self.current());
    }

    pub fn current(&self) -> Event {
        let set_by = if self.tells_who { self.by } else { SetBy::Unknown };
        Event::Current { replicas: self.replicas, set_by, another: false }
    }

    pub fn tick(&self) -> Tick {
        Tick::from_millis(self.now)
    }

    pub fn decision(&self) -> &Decision {
        self.engine.decision(KEY).expect("it exists")
    }

    /// Tells the engine and does what it asks.
    pub fn tell(&mut self, event: Event) {
        self.deadline = self.engine.handle(self.tick(), KEY, event, &mut self.effects);
        while let Some(effect) = self.effects.pop() {
            if let Effect::Scale { from, to, .. } = effect {
                assert_eq!(from, self.replicas, "asked from what is there");
                let succeeded = !std::mem::take(&mut self.refuse);
                if succeeded {
                    (self.replicas, self.by) = (to, SetBy::Tidegate);
                }
                self.effects.clear();
                self.deadline =
                    self.engine.handle(self.tick(), KEY, Event::Applied { from, to, succeeded }, &mut self.effects);
                self.see_quietly();
            }
        }
    }

    fn see_quietly(&mut self) {
        let current = self.current();
        self.deadline = self.engine.handle(self.tick(), KEY, current, &mut self.effects);
    }

    /// Runs to `then`, keeping the engine's deadlines on the way.
    pub fn pass(&mut self, pause: u64) {
        let then = self.now + pause;
        while self.deadline.as_nanos().div_ceil(1_000_000) < then && self.deadline > self.tick() {
            self.now = self.deadline.as_nanos().div_ceil(1_000_000).max(self.now + 1);
            self.tell(Event::Evaluate);
        }
        self.now = then;
    }

    pub fn happen(&mut self, happening: &Happening) {
        match happening {
            Happening::Read(backlogs) => {
                for sample in samples(&self.spec, backlogs, self.tick()) {
                    self.tell(sample);
                }
            }
            Happening::Nothing => self.tell(Event::Evaluate),
            Happening::Refusal => self.refuse = true,
            Happening::Hand(replicas) => {
                // Nobody is noted down for a change that is none.
                if self.replicas != i32::from(*replicas) {
                    (self.replicas, self.by) = (i32::from(*replicas), SetBy::Other);
                }
                self.see();
            }
        }
    }

    pub fn down_window(&self) -> u64 {
        let Behavior::Rules { down, .. } = &self.spec.behavior else { unreachable!() };
        down.stabilization_window.as_millis() as u64
    }

    /// The longest that anything is remembered, in ms.
    pub fn horizon(&self) -> u64 {
        let Behavior::Rules { up, down } = &self.spec.behavior else { unreachable!() };
        let periods = up.policies.iter().chain(&down.policies).map(|p| p.period);
        let all = [up.stabilization_window, down.stabilization_window, self.spec.cooldown, self.spec.initial_cooldown];
        periods.chain(all).max().unwrap_or_default().as_millis() as u64
    }
}

/// What the Want stage said.
pub fn wanted(decision: &Decision) -> Option<Replicas> {
    decision.steps.iter().find(|step| step.stage == Stage::Want).map(|step| step.after)
}

pub fn all_fresh(spec: &AutoscalerSpec, happening: &Happening) -> bool {
    matches!(happening, Happening::Read(b) if b.iter().take(spec.triggers.len()).all(Option::is_some))
}

/// What is seen beside a backlog: made of it, so that the same backlog always means the same. An empty queue has no work
/// in flight either.
fn seen(trigger: &TriggerSpec, backlog: u8) -> Observation {
    let pausing = matches!(&trigger.source, Source::Memory { queue } if queue.starts_with("pausing"));
    Observation {
        in_flight: f64::from(u32::from(backlog) * 5 % 17).into(),
        limit: if backlog % 4 == 3 { 6.0.into() } else { Measure::UNKNOWN },
        paused: pausing && backlog % 7 == 6,
        ..Observation::of_backlog(f64::from(backlog))
    }
}

/// What reading every trigger says.
pub fn samples(spec: &AutoscalerSpec, backlogs: &[Option<u8>], taken: Tick) -> Vec<Event> {
    let read = |(trigger, backlog): (u16, &Option<u8>)| {
        let asked = spec.triggers.get(usize::from(trigger));
        let value = backlog
            .and_then(|backlog| Some(seen(asked?, backlog)))
            .ok_or_else(|| ReadFailure::new(FailureKind::Timeout, "scripted"));
        Event::Sample { trigger, round: Round(1), taken, value }
    };
    (0..spec.triggers.len() as u16).zip(backlogs).map(read).collect()
}
