//! Memory over the end of all processes: never below the process that was not killed, and equal after one window.
//!
//! A thousand random runs, the same ones each time (`PROPTEST_CASES` asks for another number of other ones). In each, an
//! engine decides and what it remembers is written into a folder every 15 to 30 seconds, as in `run`; at some moment
//! between two checkpoints it is killed, and another starts from what lies in the folder, beside one that goes on as if
//! nothing had happened.

#![expect(clippy::expect_used, clippy::cast_possible_truncation, reason = "a test may end on its own mistakes")]

#[path = "restart/stores.rs"]
mod stores;
#[path = "engine_properties/world.rs"]
mod world;

use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use tidegate::checkpoint::folder::Folder;
use tidegate::checkpoint::{self, Ask, Checkpointer, Note, Told};
use tidegate::clock::Clock;
use tidegate::engine::{Event, Role};
use tidegate::model::*;
use tidegate::spec::*;
use tokio::sync::mpsc;
use world::{Happening, KEY, Shape, World, all_fresh, autoscaler, fresh, history};

fn config() -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: asked.unwrap_or(1_000),
        rng_seed: if asked.is_some() { RngSeed::Random } else { RngSeed::Fixed(4) },
        failure_persistence: None,
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    }
}

/// One life and what follows it.
#[derive(Clone, Debug)]
struct Run {
    spec: AutoscalerSpec,
    start: Replicas,
    before: Vec<(u16, Happening)>,
    /// Pauses between checkpoints, in ms.
    checkpoints: Vec<u64>,
    /// From the kill to the start of the next.
    down: u64,
    /// From its start to its first samples.
    unheard: u64,
    next: Happening,
    after: Vec<(u16, Happening)>,
    /// Nothing limits the rate, so that it is equal after a window whatever the samples say.
    exact: bool,
}

fn runs(limits: bool) -> impl Strategy<Value = Run> {
    let shape = Shape { up_window: limits, rates: limits, tolerance: false, fallback: false };
    let times = (prop::collection::vec(15_000u64..30_000, 8), 0u64..20_000, 0u64..400);
    (autoscaler(shape), 0i32..12, history(true, 60), times, fresh(), history(!limits, 30)).prop_map(
        move |(mut spec, start, before, (checkpoints, down, unheard), next, after)| {
            if let Behavior::Rules { up, down } = &mut spec.behavior {
                // Where the two directions' periods differ, which changes count depends on how many there ever were; see
                // `engine_properties.rs`.
                let policies = up.policies.iter_mut().chain(&mut down.policies);
                policies.for_each(|policy| policy.period = Duration::from_secs(15));
            }
            let start = start.clamp(spec.bounds.idle.unwrap_or(spec.bounds.min), spec.bounds.max);
            Run { spec, start, before, checkpoints, down, unheard, next, after, exact: !limits }
        },
    )
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn without_limits_a_restart_is_never_below_and_equal_after_one_window(run in runs(false)) {
        killed_and_started_again(run)?;
    }

    #[test]
    fn with_limits_a_restart_is_never_below_and_equal_once_the_input_is_steady(run in runs(true)) {
        killed_and_started_again(run)?;
    }
}

/// The steady world, and what is written of it.
struct Kept {
    world: World,
    clock: Clock,
    checkpointer: Checkpointer<Folder>,
    asks: mpsc::Receiver<Ask>,
    told: Told,
    writes: usize,
}

impl Kept {
    /// Makes the clock show the world's time.
    async fn catch_up(&self) {
        let behind = self.world.tick().since(self.clock.now());
        tokio::time::advance(behind).await;
    }

    /// One checkpoint: what `runtime` and `checkpoint` do between them.
    async fn checkpoint(&mut self) {
        self.catch_up().await;
        let (world, told) = (&self.world, &mut self.told);
        let answering = async {
            let Ask { everything, reply } = self.asks.recv().await.expect("it asks");
            if everything {
                told.forget_all();
            }
            let envelope = world.engine.envelope(world.tick(), KEY);
            let note = envelope.and_then(|envelope| told.note(KEY, &world.spec.id, envelope, world.tick()));
            reply.send(note.into_iter().collect::<Vec<Note>>()).expect("it waits");
        };
        let (written, ()) = tokio::join!(self.checkpointer.checkpoint(), answering);
        self.writes += written.expect("the runtime is there");
    }
}

fn killed_and_started_again(run: Run) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(live(run))
}

async fn live(run: Run) -> Result<(), TestCaseError> {
    let Run { spec, start, before, checkpoints, down, unheard, next, mut after, exact } = run;
    let folder = tempfile::tempdir().expect("a folder");
    let clock = Clock::start();
    let begin = clock.now().as_nanos().div_ceil(1_000_000);
    let (sender, asks) = mpsc::channel(1);
    let store = Folder::open(folder.path()).expect("it can be written to");
    let mut kept = Kept {
        world: World::telling(&spec, begin, start, Role::Controls),
        clock,
        checkpointer: Checkpointer::new(clock, store.clone(), sender, checkpoint::Memories::new()),
        asks,
        told: Told::default(),
        writes: 0,
    };
    kept.world.see();

    // === a life, which ends somewhere between two checkpoints ===
    let mut due = checkpoints.into_iter().scan(begin, |at, pause| {
        *at += pause;
        Some(*at)
    });
    let mut next_due = due.next();
    for (pause, happening) in &before {
        let mut left = u64::from(*pause);
        while let Some(at) = next_due.filter(|at| *at <= kept.world.now + left) {
            let part = at - kept.world.now;
            kept.world.pass(part);
            left -= part;
            kept.checkpoint().await;
            next_due = due.next();
        }
        kept.world.pass(left);
        kept.world.happen(happening);
    }
    let wrote = kept.told.is_told(KEY);
    let mut steady = kept.world;
    steady.refuse = false;

    // === another begins ===
    steady.pass(down);
    steady.tell(Event::Evaluate);
    tokio::time::advance(steady.tick().since(clock.now())).await;
    let mut memories = checkpoint::load(&mut store.clone(), clock).await;
    prop_assert_eq!(memories.len(), usize::from(wrote));
    let mut reborn = World::telling(&spec, steady.now, steady.replicas, Role::Controls);
    reborn.by = steady.by;
    if let Some(restored) = memories.remove(&spec.id) {
        reborn.engine.restore(reborn.tick(), KEY, &restored.memory, restored.age(reborn.tick()), false);
    } else {
        // Killed before its first checkpoint: nothing was promised, but for never scaling down at once.
        return Ok(());
    }
    reborn.see();
    let (born, horizon) = (steady.now, steady.horizon());
    after.insert(0, (unheard as u16, next));
    let both = |steady: &mut World, reborn: &mut World, pause: u64, happening: &Happening| {
        for world in [&mut *steady, &mut *reborn] {
            world.pass(pause);
            world.happen(happening);
            world.refuse = false;
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
    let mut seeing_since = None;
    for (pause, happening) in &after {
        both(&mut steady, &mut reborn, u64::from(*pause), happening)?;
        let in_time = Duration::from_millis(u64::from(*pause)) <= spec.max_sample_age;
        let was_read = matches!(happening, Happening::Read(_));
        let sees = all_fresh(&spec, happening) || !was_read;
        seeing_since = seeing_since.filter(|_| in_time).or(Some(steady.now).filter(|_| was_read)).filter(|_| sees);
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
