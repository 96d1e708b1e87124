//! The optimum against every schedule there is, the bound against policies off the grid, and cases worked out by hand.
#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may break"
)]

mod world;

use self::world::{Luck, World};
use super::*;

#[test]
fn it_is_the_cheapest_of_all_schedules_on_the_grid() {
    let mut luck = Luck(1);
    let (mut feasible, mut infeasible, mut wide) = (0, 0, 0);
    while feasible < 5000 {
        let world = World::random(&mut luck, 5, 3, 3);
        if world.tube().len() > 8 {
            continue;
        }
        let optimum = world.brute();
        assert_eq!(optimum, world.plain());
        world.check(optimum);
        feasible += usize::from(optimum.is_some());
        infeasible += usize::from(optimum.is_none());
        wide += usize::from(matches!(Grid::new(&world.problem()), Ok(Grid { width: Width::Wide, .. })));
    }
    assert!(infeasible > 500 && wide > 250, "{infeasible} {wide}");
}

#[test]
fn it_is_the_cheapest_on_longer_grids_with_more_replicas_too() {
    let mut luck = Luck(2);
    for _ in 0..600 {
        let world = World::random(&mut luck, 30, 25, 8);
        world.check(world.plain());
    }
}

/// What a policy came to.
struct Run {
    cost: u128,
    /// The worst effective wait.
    wait: u64,
    /// The most that served and drained at once.
    peak: u32,
}

#[derive(Debug)]
struct Pod {
    begin: u64,
    ready: u64,
    /// From here on it takes no more jobs.
    drain: u64,
    slots: Vec<u64>,
}

/// Jobs go, in the order in which they came, to the slot that can begin the soonest.
fn run(world: &World, mut pods: Vec<Pod>) -> Run {
    let mut wait = 0;
    let mut last = 0;
    for (arrival, service) in world.jobs() {
        let free = pods.iter_mut().flat_map(|pod| {
            let (ready, drain) = (pod.ready, pod.drain);
            pod.slots.iter_mut().map(move |slot| ((*slot).max(ready).max(arrival), drain, slot))
        });
        let (begin, _, slot) = free.filter(|(at, drain, _)| at < drain).min_by_key(|(at, _, _)| *at).unwrap();
        *slot = begin + service;
        wait = wait.max(begin - arrival);
        last = last.max(*slot);
    }
    let mut cost = 0;
    let mut changes = Vec::new();
    for pod in pods.iter().filter(|pod| pod.begin < last) {
        let gone = pod.slots.iter().copied().max().unwrap_or(0).max(pod.drain.min(last));
        cost += u128::from(gone - pod.begin);
        if gone > pod.ready {
            changes.extend([(pod.ready, 1i64), (gone, -1)]);
        }
    }
    changes.sort_unstable();
    let mut now = 0;
    let peak = changes.iter().map(|(_, by)| {
        now += by;
        now
    });
    Run { cost, wait, peak: peak.max().unwrap_or(0) as u32 }
}

/// The pods of a policy that wishes for so many from these moments on: newcomers take at least `start_up`, and whoever
/// is too many, anybody, takes no more jobs.
fn pods(world: &World, wishes: &[(u64, u64)], slack: u64, luck: &mut Luck) -> Vec<Pod> {
    let pod = |begin, ready| Pod { begin, ready, drain: u64::MAX, slots: vec![0; world.slots as usize] };
    let mut pods: Vec<Pod> = (0..world.initial).map(|_| pod(0, 0)).collect();
    for (at, wish) in wishes {
        let mut staying: Vec<usize> = (0..pods.len()).filter(|i| pods[*i].drain == u64::MAX).collect();
        while staying.len() as u64 > *wish {
            let leaver = staying.swap_remove(luck.below(staying.len() as u64) as usize);
            pods[leaver].drain = *at;
        }
        for _ in staying.len() as u64..*wish {
            pods.push(pod(*at, at + world.start_up + luck.below(slack + 1)));
        }
    }
    pods
}

#[test]
fn no_policy_is_cheaper() {
    let mut luck = Luck(3);
    let mut ratios = Vec::new();
    for _ in 0..6000 {
        let end = luck.among(1..=2000);
        let jobs = luck.among(1..=60);
        let longest = luck.among(0..=200);
        let mut world = World {
            arrivals: (0..jobs).map(|_| luck.below(end)).collect(),
            services: (0..jobs).map(|_| luck.below(longest + 1)).collect(),
            slots: luck.among(1..=3) as u32,
            start_up: luck.below(200),
            initial: luck.below(4) as u32,
            step: luck.among(3..=150),
            ..World::default()
        };
        world.arrivals.sort_unstable();
        let mut wishes: Vec<(u64, u64)> =
            (0..luck.below(12)).map(|_| (luck.below(end + end / 4), luck.below(7))).collect();
        wishes.sort_unstable();
        wishes.push((end + end / 4, luck.among(1..=6)));
        let slack = luck.below(2) * 40;
        let pods = pods(&world, &wishes, slack, &mut luck);
        let done = run(&world, pods);
        (world.wait, world.max) = (done.wait, done.peak);
        let bound = world.cost().unwrap();
        assert!(bound <= done.cost, "{bound} > {}: {world:?} {wishes:?}", done.cost);
        ratios.push(bound as f64 / done.cost.max(1) as f64);
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!(mean > 0.3, "{mean}");
}

/// Work that flows as it does in the proof, so that nothing but the grid and its rounding lies between the policy and
/// the bound: any `n(t)`, all that it can do done, and the least `W` that this is in time for.
#[test]
fn no_policy_is_cheaper_even_if_work_flows() {
    let mut luck = Luck(6);
    let mut ratios = Vec::new();
    let mut exact = 0;
    while ratios.len() < 6000 {
        let jobs = luck.among(1..=8);
        let end = luck.among(1..=60);
        let most = luck.among(1..=4);
        let mut world = World {
            arrivals: (0..jobs).map(|_| luck.below(end)).collect(),
            services: (0..jobs).map(|_| luck.below(80)).collect(),
            slots: luck.among(1..=3) as u32,
            start_up: luck.below(40),
            max: most as u32,
            initial: luck.below(most + 2) as u32,
            step: luck.among(1..=8),
            ..World::default()
        };
        let change = luck.among(1..=40);
        let (mut n, mut cost, mut done) = (u64::from(world.initial), 0u128, vec![0u64]);
        let work = |world: &World, at: u64, shift: u64| -> u64 {
            world.jobs().map(|(a, s)| s.min(at.saturating_sub(a + shift))).sum()
        };
        let total: u64 = world.services.iter().sum();
        for at in 0..400 {
            let before = n;
            let so_far = *done.last().unwrap();
            if so_far == total {
                break;
            }
            if luck.below(change) == 0 || n > most {
                n = luck.among(0..=most);
            }
            cost += u128::from(n) + u128::from(n.saturating_sub(before) * world.start_up);
            done.push((so_far + n * u64::from(world.slots)).min(work(&world, at + 1, 0)));
        }
        if *done.last().unwrap() < total {
            continue;
        }
        let in_time = |wait: u64| (0u64..).zip(&done).all(|(at, done)| work(&world, at, wait) <= *done);
        world.wait = (0..).find(|wait| in_time(*wait)).unwrap();
        let bound = world.cost().unwrap();
        assert!(bound <= cost, "{bound} > {cost}: {world:?} {done:?}");
        exact += usize::from(cost > 0 && bound == cost);
        ratios.push(if cost == 0 { 1.0 } else { bound as f64 / cost as f64 });
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!(mean > 0.45 && exact > 20, "{mean} {exact}");
}

/// A policy that knows what comes, with a little to spare: the bound is near its bill, and not above it.
#[test]
fn a_good_policy_is_little_dearer() {
    let mut luck = Luck(4);
    let mut ratios = Vec::new();
    for _ in 0..300 {
        let mut world = World {
            slots: luck.among(1..=2) as u32,
            start_up: luck.among(20..=80),
            initial: 2,
            step: luck.among(2..=10),
            ..World::default()
        };
        let mut wishes = Vec::new();
        for phase in 0..4 {
            let from = phase * 800;
            let load = luck.among(1..=6) * u64::from(world.slots);
            let mut now = from;
            while now < from + 800 {
                let service = luck.among(50..=150);
                world.arrivals.push(now);
                world.services.push(service);
                now += luck.among(0..=2 * 100 / load);
            }
            let pods = load.div_ceil(u64::from(world.slots)) + 1;
            wishes.push((from.saturating_sub(world.start_up), pods));
        }
        let pods = pods(&world, &wishes, 0, &mut luck);
        let done = run(&world, pods);
        (world.wait, world.max) = (done.wait, done.peak);
        let bound = world.cost().unwrap();
        assert!(bound <= done.cost, "{bound} > {}: {world:?}", done.cost);
        ratios.push(bound as f64 / done.cost as f64);
    }
    let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
    assert!(mean > 0.7, "{mean}");
}

#[test]
fn patience_never_costs_and_slow_starts_never_save() {
    let mut luck = Luck(5);
    for _ in 0..1500 {
        let world = World::random(&mut luck, 20, 15, 8);
        let Ok(cost) = world.cost() else { continue };
        let patient = World { wait: world.wait + luck.below(3 * world.step), ..world.clone() };
        assert!(patient.cost().unwrap() <= cost, "{world:?} {patient:?}");
        let slow = World { start_up: world.start_up + luck.below(3 * world.step), ..world.clone() };
        assert!(slow.cost().unwrap() >= cost, "{world:?} {slow:?}");
        let roomy = World { max: world.max + 1, ..world.clone() };
        assert!(roomy.cost().unwrap() <= cost, "{world:?}");
        let begun = World { initial: world.initial + 1, ..world.clone() };
        assert!(begun.cost().unwrap() <= cost, "{world:?}");
    }
}

const SECOND: u64 = 1_000_000_000;

/// One slot, start-up 30 s, no wait, steps of 1 s.
fn world(jobs: &[(u64, u64)]) -> World {
    World {
        arrivals: jobs.iter().map(|(arrival, _)| arrival * SECOND).collect(),
        services: jobs.iter().map(|(_, service)| service * SECOND).collect(),
        slots: 1,
        start_up: 30 * SECOND,
        wait: 0,
        max: 10,
        initial: 0,
        step: SECOND,
    }
}

fn seconds(world: &World) -> Result<u64, Refusal> {
    world.cost().map(|cost| (cost / u128::from(SECOND)) as u64)
}

#[test]
fn one_job_is_its_service_and_a_start_up() {
    let one = world(&[(100, 7)]);
    assert_eq!(seconds(&one), Ok(37));
    let bound = schedule(&one.problem()).unwrap();
    assert_eq!(bound.schedule.len(), 107);
    assert_eq!(bound.schedule.iter().position(|n| *n > 0), Some(100));
    assert!(bound.schedule[100..].iter().all(|n| *n == 1));
    // A replica that is there anyway is kept for it if that is less than a start-up, and let go if not.
    assert_eq!(seconds(&World { initial: 1, ..one }), Ok(37));
    assert_eq!(seconds(&World { initial: 1, ..world(&[(20, 7)]) }), Ok(27));
}

#[test]
fn constant_load_takes_as_many_as_it_is() {
    let jobs: Vec<(u64, u64)> = (0..100).flat_map(|at| std::iter::repeat_n((at * 5, 5), 6)).collect();
    let steady = World { slots: 2, ..world(&jobs) };
    assert_eq!(seconds(&steady), Ok(3 * 500 + 3 * 30));
    assert_eq!(schedule(&steady.problem()).unwrap().schedule, vec![3; 500]);
    assert_eq!(seconds(&World { initial: 3, ..steady }), Ok(3 * 500));
}

#[test]
fn bursts_that_may_not_wait_take_a_replica_for_each_job() {
    let burst = |at: u64| std::iter::repeat_n((at, 10), 8);
    let far: Vec<(u64, u64)> = burst(50).chain(burst(200)).collect();
    assert_eq!(seconds(&world(&far)), Ok(2 * 8 * (10 + 30)));
    let near: Vec<(u64, u64)> = burst(50).chain(burst(80)).collect();
    assert_eq!(seconds(&world(&near)), Ok(8 * 30 + 8 * 30 + 8 * 10));
    // With patience one replica after the other: 160 s of work, all of it due 70 s after the second burst and spread
    // over two replicas from the first on, or one more for a while.
    let patient = World { wait: 1000 * SECOND, ..world(&far) };
    assert_eq!(seconds(&patient), Ok(30 + 160));
}

#[test]
fn too_few_replicas_are_refused_with_how_many_it_takes() {
    let jobs: Vec<(u64, u64)> = std::iter::repeat_n((50, 10), 8).collect();
    let few = World { max: 7, ..world(&jobs) };
    assert_eq!(few.cost(), Err(Refusal::Infeasible { at: 51 * SECOND, max: 7, needed: 8 }));
    let said = few.cost().unwrap_err().to_string();
    assert_eq!(said, "7 replicas cannot do by 51 s what is due by then, even from the start: it takes at least 8");
    assert!(World { max: 8, ..few.clone() }.cost().is_ok());
    // No limit is one too, and no more than can be used is held at the beginning either.
    let unlimited = World { max: u32::MAX, initial: u32::MAX, ..world(&[(0, 10), (0, 10)]) };
    assert_eq!(seconds(&unlimited), Ok(20));
}

#[test]
fn long_jobs_and_jobs_of_nothing() {
    // A month on a grid of 10 s, next to jobs that are no work.
    let month = 30 * 86_400;
    let mut long = World { step: 10 * SECOND, ..world(&[(0, 0), (100, month), (200, 0), (month * 2, 0)]) };
    assert_eq!(seconds(&long), Ok(month + 30));
    assert_eq!(schedule(&long.problem()).unwrap().schedule.len() as u64, (100 + month) / 10);
    long.services = vec![0; 4];
    assert_eq!(schedule(&long.problem()), Ok(Bound { cost: 0, schedule: Vec::new() }));
    long.max = 0;
    assert_eq!(long.cost(), Ok(0));
    assert_eq!(world(&[]).cost(), Ok(0));
    // Less than a unit of work never fills a step that must be held.
    assert_eq!(World { step: 10 * SECOND, ..world(&[(3, 4)]) }.cost(), Ok(0));
}

#[test]
fn what_would_take_hours_is_refused_with_a_step_that_would_not() {
    let jobs: Vec<(u64, u64)> = (0..2_000).map(|at| (at * 40, 5_000)).collect();
    let mut large = World { wait: 20_000 * SECOND, max: 5_000, ..world(&jobs) };
    let Err(Refusal::TooLarge { states, step }) = large.cost() else { panic!() };
    assert!(states > MOST_STATES && step > SECOND);
    assert_eq!(schedule(&large.problem()), Err(Refusal::TooLarge { states, step }));
    large.step = step;
    assert!(Grid::new(&large.problem()).is_ok());
    // Numbers at the end of the clock.
    let mut odd = world(&[(0, 1), (1, 1)]);
    odd.arrivals[1] = u64::MAX - 5;
    odd.services[1] = u64::MAX;
    assert!(matches!(odd.cost(), Err(Refusal::TooLarge { .. })));
    // What is never due, and steps that are too long for any work to fill one.
    (odd.wait, odd.arrivals[0]) = (u64::MAX, 1);
    assert_eq!(odd.cost(), Ok(0));
    (odd.wait, odd.step, odd.slots) = (0, u64::MAX, u32::MAX);
    assert_eq!(odd.cost(), Ok(0));
    (odd.max, odd.initial, odd.slots, odd.step) = (u32::MAX, u32::MAX, 0, u64::MAX / 2);
    assert!(matches!(odd.cost(), Err(Refusal::TooLarge { .. })));
    odd.step = 0;
    assert!(matches!(odd.cost(), Err(Refusal::TooLarge { .. })));
}

#[test]
fn levels_of_memory() {
    assert_eq!(fan(0, 1000), 2);
    assert_eq!(fan(10_000, 200), 100);
    assert_eq!(fan(10_000, 199), 22);
    assert_eq!(fan(10_000, 0), 2);
    assert_eq!(gcd(15, 0), 15);
    assert_eq!(gcd(12, 18), 6);
    assert_eq!(most_of_late([3, 1, 2, 0, 0, 5].into_iter(), 2), [3, 3, 3, 2, 2, 5]);
}
