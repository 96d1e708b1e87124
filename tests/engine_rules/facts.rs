//! What an observation says beyond the backlog, and what becomes of it: work in flight, delayed work that is due, a
//! paused queue, a queue's own limit of jobs at once, and the crossing into another process.

use super::*;

fn nothing() -> Observation {
    Observation::of_backlog(0.0)
}

fn in_flight(jobs: f64) -> Observation {
    Observation { in_flight: jobs.into(), ..nothing() }
}

fn paused(backlog: f64) -> Observation {
    Observation { paused: true, ..Observation::of_backlog(backlog) }
}

#[test]
fn work_in_flight_keeps_the_last_replica_and_its_end_begins_the_cooldown() {
    let mut world = World::new(spec(|s| s.cooldown = seconds(5)), 0);
    assert_eq!(world.settle(3.0), 3);
    world.observe(0, in_flight(2.0));
    assert_eq!(world.obey(), 1, "the backlog is gone, the work is not");
    assert!(world.decision().active);
    for _ in 0..20 {
        world.pass(seconds(1));
        world.observe(0, in_flight(1.0));
        assert_eq!(world.obey(), 1);
    }
    world.observe(0, in_flight(0.0));
    assert_eq!((world.obey(), world.reason()), (1, Reason::Cooldown));
    assert_eq!(world.pass(Duration::from_millis(4_999)), 1);
    assert_eq!(world.pass(Duration::from_millis(1)), 0);
}

#[test]
fn work_in_flight_wakes_a_workload_at_zero_whatever_the_activation_threshold() {
    // Somebody's worker died with it: the framework gives it back only while a worker runs.
    let mut world = World::new(spec(|s| s.triggers = vec![TriggerSpec { activation_threshold: 5.0, ..trigger(0) }]), 0);
    world.observe(0, Observation { in_flight: 1.0.into(), ..Observation::of_backlog(4.0) });
    assert_eq!(world.obey(), 4);
    assert!(world.decision().active);
}

#[test]
fn a_fixed_size_stays_until_the_last_job_has_ended() {
    let mut world =
        World::new(spec(|s| s.triggers.iter_mut().for_each(|t| t.policy = Policy::Fixed { replicas: 5 })), 0);
    assert_eq!(world.settle(1.0), 5);
    world.observe(0, in_flight(1.0));
    assert_eq!(world.obey(), 5);
    world.observe(0, in_flight(0.0));
    assert_eq!(world.obey(), 0);
}

#[test]
fn due_delayed_work_wakes_a_workload_at_zero() {
    let mut world = World::new(plain(), 0);
    // The ready list is empty: it is the workers who would fill it.
    world.observe(0, Observation { due: 2.0.into(), ..Observation::of_backlog(2.0) });
    assert_eq!(world.obey(), 2);
    assert_eq!(world.decision().triggers.first().map(|report| report.facts.due), Some(2.0.into()));
}

#[test]
fn a_paused_queue_neither_wakes_nor_scales_up_and_lets_the_workload_sleep() {
    let mut world = World::new(spec(|s| s.cooldown = seconds(5)), 0);
    world.observe(0, paused(100.0));
    assert_eq!((world.obey(), world.decision().active), (0, false));

    world.observe(0, Observation::of_backlog(3.0));
    assert_eq!(world.obey(), 3);
    world.observe(0, paused(100.0));
    assert_eq!(world.obey(), 3, "more would find nothing to take");
    assert_eq!(world.decision().triggers.first().map(|report| report.reason), Some(Reason::QueuePaused));
    world.observe(0, paused(2.0));
    assert_eq!(world.obey(), 2, "fewer are fewer");
    assert_eq!(world.pass(seconds(6)), 0, "nobody works, nobody will");

    world.observe(0, Observation::of_backlog(4.0));
    assert_eq!(world.obey(), 4, "resumed");
}

#[test]
fn work_in_flight_of_a_paused_queue_is_not_left_alone() {
    let mut world = World::new(plain(), 3);
    world.observe(0, Observation { in_flight: 2.0.into(), ..paused(0.0) });
    assert_eq!(world.obey(), 1);
    assert!(world.decision().active);
}

#[test]
fn one_paused_queue_of_two_holds_nobody_back() {
    let mut world = World::new(two(), 0);
    world.observe(0, paused(9.0));
    world.read(1, 4.0);
    assert_eq!(world.obey(), 4);
}

#[test]
fn replicas_beyond_a_queues_own_limit_are_not_asked_for() {
    let limited = |backlog, limit: f64| Observation { limit: limit.into(), ..Observation::of_backlog(backlog) };
    let mut world = World::new(plain(), 0);
    world.observe(0, limited(9.0, 4.0));
    assert_eq!(world.obey(), 4);
    assert_eq!(world.decision().triggers.first().map(|report| report.reason), Some(Reason::ConcurrencyLimit));
    world.observe(0, limited(9.0, 20.0));
    assert_eq!(world.obey(), 9);
    // Lowered while nine jobs run: what runs may end.
    world.observe(0, Observation { in_flight: 9.0.into(), ..limited(9.0, 2.0) });
    assert_eq!(world.obey(), 9);
    world.observe(0, Observation { in_flight: 1.0.into(), ..limited(9.0, 2.0) });
    assert_eq!(world.obey(), 2);
}

#[test]
fn a_hand_over_takes_the_facts_along() {
    let mut old = World::new(spec(|s| s.max_sample_age = seconds(100)), 0);
    old.settle(3.0);
    let seen =
        Observation { in_flight: 2.0.into(), limit: 7.0.into(), partitions: 4.0.into(), paused: true, ..nothing() };
    old.observe(0, seen);
    old.obey();
    let (mut new, memory) = old.reborn(spec(|s| s.max_sample_age = seconds(100)));
    new.engine.restore(new.now, KEY, &memory, seconds(2), true);
    new.see(1);
    let report = new.decision().triggers.first().expect("one trigger").clone();
    assert_eq!((report.value, report.facts, report.taken), (Some(0.0), seen, Some(new.now.before(seconds(2)))));
    assert!(new.decision().active, "what was in flight still is, as far as anybody knows");
    assert_eq!(new.obey(), 1);
}

#[test]
fn what_was_due_how_old_and_how_fast_does_not_cross_because_nothing_is_decided_by_it() {
    let mut old = World::new(plain(), 0);
    let seen =
        Observation { due: 2.0.into(), oldest_age: 9.0.into(), added: 40.0.into(), ..Observation::of_backlog(2.0) };
    old.observe(0, seen);
    let (mut new, memory) = old.reborn(plain());
    new.engine.restore(new.now, KEY, &memory, Duration::ZERO, true);
    let facts = new.decision().triggers.first().map(|report| report.facts);
    assert_eq!(facts, Some(Observation::of_backlog(2.0)));
}

#[test]
fn a_memory_of_the_second_version_is_still_read() {
    let mut old = World::new(plain(), 2);
    old.settle(2.0);
    let memory = old.engine.memory(old.now, KEY).expect("it exists");
    let mut bytes = memory.to_bytes();
    // What later versions added to the one value, which stands last: nothing known of work in flight, nor of a limit,
    // no flag, no partitions, and nothing that has been in flight for some time.
    assert_eq!(bytes.split_off(bytes.len() - 5), [0, 0, 0, 0, 0]);
    *bytes.first_mut().expect("a version") = 2;
    assert_eq!(Memory::from_bytes(&bytes), Ok(memory));
}

#[test]
fn a_memory_of_the_third_version_is_still_read() {
    let mut old = World::new(plain(), 2);
    old.observe(0, Observation { in_flight: 2.0.into(), paused: true, ..Observation::of_backlog(2.0) });
    let memory = old.engine.memory(old.now, KEY).expect("it exists");
    let mut bytes = memory.to_bytes();
    // What the fourth version added: partitions, before what has been in flight for some time, which stands last.
    assert_eq!(bytes.split_off(bytes.len() - 3), [1, 0, 0]);
    bytes.extend([1, 0]);
    *bytes.first_mut().expect("a version") = 3;
    assert_eq!(Memory::from_bytes(&bytes), Ok(memory));
}

#[test]
fn a_memory_with_a_flag_that_is_none_is_refused() {
    let mut old = World::new(plain(), 2);
    old.settle(2.0);
    let mut bytes = old.engine.memory(old.now, KEY).expect("it exists").to_bytes();
    *bytes.last_mut().expect("known or not") = 2;
    assert_eq!(Memory::from_bytes(&bytes), Err(MemoryError::Malformed));
}

#[test]
fn a_trigger_with_an_age_of_its_own_goes_stale_by_that() {
    let mut world = World::new(
        spec(|s| {
            *s = two();
            s.max_sample_age = seconds(100);
            s.triggers.iter_mut().skip(1).for_each(|second| second.max_sample_age = Some(seconds(3)));
        }),
        0,
    );
    world.read(0, 2.0);
    world.read(1, 2.0);
    assert_eq!(world.obey(), 2);
    world.pass(seconds(3));
    assert!(!world.decision().degraded, "as old as it may be");
    world.pass(Duration::from_millis(1));
    let healths: Vec<Health> = world.decision().triggers.iter().map(|report| report.health).collect();
    assert_eq!(healths, [Health::Fresh, Health::Stale]);
    assert!(world.decision().degraded);
    // Read more seldom, because its namespace is held back: three of those readings, as of everybody.
    world.tell(Event::Pace { interval: Some(seconds(2)) });
    assert!(!world.decision().degraded);
}

// === how the work is divided ===

/// A trigger whose source shows partitions, with this much patience for their being divided anew.
fn divided(bounds_replicas: bool, hold_for: u64) -> TriggerSpec {
    let partitioning = Partitioning { bounds_replicas, hold_for: seconds(hold_for) };
    TriggerSpec { partitioning, ..trigger(0) }
}

fn first(world: &World) -> &TriggerReport {
    world.decision().triggers.first().expect("one trigger")
}

#[test]
fn replicas_beyond_the_partitions_are_not_asked_for_where_that_is_written() {
    let seen = Observation { partitions: 4.0.into(), ..Observation::of_backlog(90.0) };
    let mut world = World::new(spec(|s| s.triggers = vec![divided(true, 0)]), 0);
    world.observe(0, seen);
    assert_eq!(first(&world).wants, Some(4));
    assert_eq!(first(&world).reason, Reason::PartitionLimit);
    let mut world = World::new(spec(|s| s.triggers = vec![divided(false, 0)]), 0);
    world.observe(0, seen);
    assert!(first(&world).wants > Some(4));
}

#[test]
fn nothing_changes_while_the_work_is_divided_anew_but_not_for_ever() {
    let seen = |backlog: f64| Observation { rebalancing: true, ..Observation::of_backlog(backlog) };
    let mut world = World::new(spec(|s| s.triggers = vec![divided(false, 30)]), 2);
    world.observe(0, seen(90.0));
    assert_eq!((world.decision().desired, world.decision().reason), (2, Reason::Rebalancing));
    world.pass(seconds(29));
    world.observe(0, seen(90.0));
    assert_eq!(world.decision().desired, 2);
    world.pass(seconds(2));
    world.observe(0, seen(90.0));
    assert!(world.decision().desired > 2, "it has taken too long: {:?}", world.decision());

    // Done in time, and begun again: the patience is new.
    let mut world = World::new(spec(|s| s.triggers = vec![divided(false, 30)]), 2);
    world.observe(0, seen(90.0));
    world.pass(seconds(20));
    world.observe(0, Observation::of_backlog(20.0));
    world.pass(seconds(20));
    world.observe(0, seen(90.0));
    assert_eq!(world.decision().reason, Reason::Rebalancing);
}

#[test]
fn a_workload_at_zero_does_not_wait_for_a_division_of_the_work() {
    let mut world = World::new(spec(|s| s.triggers = vec![divided(false, 30)]), 0);
    world.observe(0, Observation { rebalancing: true, ..Observation::of_backlog(5.0) });
    assert!(world.decision().desired >= 1);
}

#[test]
fn what_was_old_when_it_was_read_is_stale_when_its_source_says_so() {
    let seen = |age: f64| Observation { age: age.into(), ..Observation::of_backlog(0.0) };
    let mut world = World::new(spec(|s| s.max_sample_age = Duration::from_secs(10)), 5);
    world.observe(0, seen(9.0));
    assert_eq!(first(&world).health, Health::Fresh);
    world.pass(seconds(2));
    assert_eq!(first(&world).health, Health::Stale, "nine seconds, and two");
    world.observe(0, seen(300.0));
    assert_eq!(first(&world).health, Health::Stale);
    assert_eq!(world.decision().desired, 5, "and scales nothing down");
}

// === two workloads that drain one queue ===

#[test]
fn a_share_is_a_part_of_what_waits_and_of_what_is_in_flight() {
    let share = |milli| spec(|s| s.triggers = vec![TriggerSpec { share: MilliValue(milli), ..trigger(0) }]);
    let (mut stable, mut canary) = (World::new(share(900), 0), World::new(share(100), 0));
    for world in [&mut stable, &mut canary] {
        world.observe(0, Observation { in_flight: 2.0.into(), ..Observation::of_backlog(10.0) });
        world.obey();
    }
    assert_eq!((stable.decision().current, canary.decision().current), (9, 1), "together one for each item, as alone");
    let seen = |world: &World| {
        world.decision().triggers.iter().map(|t| (t.value, t.facts.in_flight.get())).collect::<Vec<_>>()
    };
    assert_eq!(seen(&canary), [(Some(1.0), Some(0.2))], "what is served to KEDA is the share, too");
    // The first item wakes both: nobody knows who will take it.
    let (mut stable, mut canary) = (World::new(share(900), 0), World::new(share(100), 0));
    assert_eq!((stable.settle(1.0), canary.settle(1.0)), (1, 1));
}

#[test]
fn an_answer_under_another_share_is_waited_for() {
    let share = |milli| spec(|s| s.triggers = vec![TriggerSpec { share: MilliValue(milli), ..trigger(0) }]);
    let mut world = World::new(share(500), 0);
    assert_eq!(world.settle(10.0), 5);
    world.respec(share(1000));
    assert_eq!(
        (world.obey(), world.reason()),
        (5, Reason::NoSampleYet),
        "half of ten is not to be taken for all of it"
    );
    assert_eq!(world.settle(10.0), 10);
}

#[test]
fn no_more_replicas_than_the_share_of_the_partitions() {
    let mut world = World::new(
        spec(|s| {
            let partitioning = Partitioning { bounds_replicas: true, ..Partitioning::default() };
            s.triggers = vec![TriggerSpec { share: MilliValue(250), partitioning, ..trigger(0) }];
        }),
        0,
    );
    world.observe(0, Observation { partitions: 8.0.into(), ..Observation::of_backlog(100.0) });
    assert_eq!(world.obey(), 2);
}
