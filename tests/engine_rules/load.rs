//! The policy `load`: its formula, what it never goes below, and a small world in which it must come to rest.

use std::collections::VecDeque;

use tidegate::engine::policy::{Tolerance, want};

use super::*;

const NO_TOLERANCE: Tolerance = Tolerance { up: 0.0, down: 0.0 };

/// Slots a replica, seconds a job, seconds to drain, utilization: the last in thousandths.
fn load(slots: i64, job: f64, drain: f64, utilization: i64) -> Load {
    Load {
        slots_per_replica: MilliValue(slots * 1000),
        job_duration: Duration::from_secs_f64(job),
        drain_within: Duration::from_secs_f64(drain),
        utilization: MilliValue(utilization),
    }
}

fn seen(backlog: f64, in_flight: f64) -> Observation {
    Observation { in_flight: in_flight.into(), ..Observation::of_backlog(backlog) }
}

fn by_load(load: Load) -> impl FnOnce(&mut AutoscalerSpec) {
    move |spec| {
        spec.bounds.max = 1_000;
        spec.triggers.iter_mut().for_each(|trigger| trigger.policy = Policy::Load(load));
    }
}

#[test]
fn the_formula() {
    // Rule, backlog, in flight, replicas.
    let table = [
        // Nothing to do.
        (load(1, 1.0, 30.0, 1000), 0.0, 0.0, 0),
        // One item is one replica, however soon it would be done.
        (load(10, 0.001, 3600.0, 1000), 1.0, 0.0, 1),
        // A slot each for what runs.
        (load(4, 2.0, 30.0, 1000), 0.0, 20.0, 5),
        (load(4, 2.0, 30.0, 1000), 0.0, 21.0, 6),
        // Four fifths of the slots busy.
        (load(4, 2.0, 30.0, 800), 0.0, 20.0, 7),
        // 300 jobs of 2 s in 30 s take 20 slots.
        (load(4, 2.0, 30.0, 1000), 300.0, 0.0, 5),
        // Both together: 5 and 5, and then a little more of each, rounded up once.
        (load(4, 2.0, 30.0, 1000), 300.0, 20.0, 10),
        (load(4, 2.0, 30.0, 1000), 301.0, 21.0, 11),
        // Utilization is for what runs, the drain has its own time.
        (load(4, 2.0, 30.0, 500), 300.0, 20.0, 15),
        // Whole on paper, a bit more in binary fractions: 3 x 0.1 / 0.1, and 0.7 + 0.3.
        (load(1, 0.1, 0.1, 1000), 3.0, 0.0, 3),
        (load(10, 0.3, 1.0, 1000), 10.0, 7.0, 1),
        // As many as fit into a count.
        (load(1, 3600.0, 0.01, 1000), 1e15, 0.0, i32::MAX),
    ];
    for (rule, backlog, in_flight, replicas) in table {
        let (wants, _) = want(&Policy::Load(rule), &seen(backlog, in_flight), in_flight.into(), 1, NO_TOLERANCE)
            .expect("it was seen");
        assert_eq!(wants, replicas, "{rule:?}, {backlog} waiting, {in_flight} in flight");
    }
}

#[test]
fn slots_may_be_a_fraction_of_a_job() {
    // Two replicas share one job.
    let rule = Load { slots_per_replica: MilliValue(500), ..load(1, 1.0, 30.0, 1000) };
    let wants = |in_flight| {
        want(&Policy::Load(rule), &seen(0.0, in_flight), in_flight.into(), 1, NO_TOLERANCE).map(|(wants, _)| wants)
    };
    assert_eq!((wants(1.0), wants(3.0)), (Some(2), Some(6)));
}

#[test]
fn never_fewer_slots_than_what_is_in_flight_for_any_rule() {
    for slots in [1, 2, 3, 7, 10, 64] {
        for utilization in [1, 333, 700, 999, 1000] {
            for in_flight in (0..400).map(f64::from) {
                for current in [0, 1, 5, 57, 400] {
                    for tolerance in [NO_TOLERANCE, Tolerance { up: 0.5, down: 0.5 }] {
                        let rule = load(slots, 0.3, 7.0, utilization);
                        let policy = Policy::Load(rule);
                        let (wants, _) = want(&policy, &seen(0.0, in_flight), in_flight.into(), current, tolerance)
                            .expect("it was seen");
                        assert!(
                            f64::from(wants) * slots as f64 >= in_flight,
                            "{wants} replicas of {slots} slots for {in_flight} ({rule:?}, {current} now)"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_tolerance_keeps_what_is_near_but_not_what_is_short_of_slots() {
    let tolerance = Tolerance { up: 0.1, down: 0.1 };
    let wants = |backlog, in_flight, current| {
        want(&Policy::Load(load(10, 1.0, 10.0, 1000)), &seen(backlog, in_flight), in_flight.into(), current, tolerance)
    };
    // 9.5 for 10.
    assert_eq!(wants(0.0, 95.0, 10), Some((10, Reason::WithinTolerance)));
    assert_eq!(wants(0.0, 80.0, 10), Some((8, Reason::WorkInFlight)));
    // 10.5 for 10: within the tolerance, but for the work that has no slot.
    assert_eq!(wants(50.0, 100.0, 10), Some((10, Reason::WithinTolerance)));
    assert_eq!(wants(0.0, 105.0, 10), Some((11, Reason::AboveTarget)));
    assert_eq!(wants(50.0, 0.0, 0), Some((1, Reason::AboveTarget)), "nothing is near to zero");
}

#[test]
fn a_queues_limit_counts_in_slots_and_takes_none_from_what_runs() {
    let policy = Policy::Load(load(4, 1.0, 1.0, 1000));
    let wants = |in_flight, limit: f64| {
        let seen = Observation { limit: limit.into(), ..seen(1_000.0, in_flight) };
        want(&policy, &seen, in_flight.into(), 1, NO_TOLERANCE)
    };
    assert_eq!(wants(0.0, 10.0), Some((3, Reason::ConcurrencyLimit)));
    assert_eq!(wants(17.0, 10.0), Some((5, Reason::ConcurrencyLimit)));
}

#[test]
fn without_sight_of_the_work_in_flight_it_holds() {
    let mut world = World::new(spec(by_load(load(1, 1.0, 1.0, 1000))), 0);
    world.observe(0, seen(4.0, 0.0));
    assert_eq!(world.obey(), 4);
    world.pass(seconds(1));
    for backlog in [0.0, 50.0] {
        world.observe(0, Observation::of_backlog(backlog));
        assert_eq!(world.obey(), 4, "{backlog} waiting");
        assert!(world.decision().degraded);
        assert_eq!(world.decision().triggers.first().map(|report| report.wants), Some(None));
    }
    world.observe(0, seen(0.0, 2.0));
    assert_eq!(world.obey(), 2, "known again, and no window to wait for");
}

#[test]
fn at_zero_in_flight_and_nothing_waiting_it_sleeps() {
    let mut world = World::new(spec(by_load(load(4, 1.0, 30.0, 800))), 0);
    world.observe(0, seen(1.0, 0.0));
    assert_eq!(world.obey(), 1);
    world.observe(0, seen(0.0, 1.0));
    assert_eq!(world.obey(), 1);
    world.observe(0, seen(0.0, 0.0));
    assert_eq!(world.obey(), 0);
}

// === a small world ===

/// Workers that take jobs of one length, and pods that need their time to start. A second is a step; the engine has no
/// window and no limit that could calm it.
struct Shop {
    world: World,
    rule: Load,
    arrivals: f64,
    starts_in: usize,
    /// Replicas that were asked for, of the last seconds: the oldest are those that work.
    asked: VecDeque<Replicas>,
    waiting: f64,
    arrived: f64,
    /// When each running job ends.
    running: VecDeque<u64>,
    second: u64,
}

impl Shop {
    fn new(rule: Load, arrivals: f64, starts_in: usize) -> Self {
        let mut spec = spec(by_load(rule));
        // A load of less than one replica would else put it to sleep and wake it: another rule's business.
        spec.bounds.min = i32::from(arrivals > 0.0);
        let replicas = spec.bounds.min;
        let world = World::new(spec, replicas);
        let asked = VecDeque::from(vec![0; starts_in]);
        Shop {
            world,
            rule,
            arrivals,
            starts_in,
            asked,
            waiting: 0.0,
            arrived: 0.0,
            running: VecDeque::new(),
            second: 0,
        }
    }

    /// One second, and how many replicas are asked for at its end.
    fn step(&mut self) -> Replicas {
        self.second += 1;
        self.running.retain(|ends| *ends > self.second);
        let before = self.arrived.floor();
        self.arrived += self.arrivals;
        self.waiting += self.arrived.floor() - before;
        // Pods that are told to go finish what they have and take nothing more.
        let now = self.world.decision().current;
        let ready = self.asked.iter().take(self.starts_in).copied().min().unwrap_or(now).min(now);
        let slots = f64::from(ready) * self.rule.slots_per_replica.as_f64();
        while self.waiting >= 1.0 && (self.running.len() as f64) < slots {
            self.waiting -= 1.0;
            self.running.push_back(self.second + self.rule.job_duration.as_secs());
        }
        self.world.pass(seconds(1));
        self.world.observe(0, seen(self.waiting, self.running.len() as f64));
        let replicas = self.world.obey();
        self.asked.push_back(replicas);
        if self.asked.len() > self.starts_in {
            self.asked.pop_front();
        }
        assert!(f64::from(replicas) * self.rule.slots_per_replica.as_f64() >= self.running.len() as f64);
        replicas
    }
}

#[test]
fn under_a_steady_load_it_comes_to_rest_at_what_the_load_takes() {
    for (slots, job, utilization) in [(1, 3.0, 1000), (4, 2.0, 1000), (4, 2.0, 800), (10, 5.0, 900), (3, 20.0, 700)] {
        for arrivals in [0.3, 1.0, 4.0, 9.7, 40.0] {
            for starts_in in [0, 5, 25] {
                let rule = load(slots, job, 30.0, utilization);
                let mut shop = Shop::new(rule, arrivals, starts_in);
                for _ in 0..600 {
                    shop.step();
                }
                let rest: Vec<Replicas> = (0..300).map(|_| shop.step()).collect();
                let (low, high) = (rest.iter().min().expect("300"), rest.iter().max().expect("300"));
                let busy = arrivals * job / slots as f64;
                let case = format!("{slots} slots, {job} s, {utilization}, {arrivals}/s, pods in {starts_in} s");
                // Jobs are whole, so that F is one more or one fewer than the load, now and then. A cycle would be larger:
                // these began with peaks of up to three times the load.
                assert!(high - low <= 2, "{case}: from {low} to {high}");
                assert!(f64::from(*low) >= busy.floor(), "{case}: {low} replicas for {busy}");
                assert!(
                    f64::from(*high) <= (busy * 1000.0 / utilization as f64).ceil() + 2.0,
                    "{case}: {high} for {busy}"
                );
                assert!(shop.waiting <= arrivals * (job + 2.0) + 1.0, "{case}: {} still waiting", shop.waiting);
            }
        }
    }
}

#[test]
fn a_burst_is_worked_off_and_leaves_nobody_behind() {
    let mut shop = Shop::new(load(4, 2.0, 30.0, 1000), 0.0, 10);
    shop.waiting = 2_000.0;
    let peak = (0..60).map(|_| shop.step()).max().expect("60");
    // 2000 jobs of 2 s in 30 s take 34 replicas of 4, and not many more for what has begun already.
    assert!((34..=40).contains(&peak), "{peak}");
    assert_eq!(shop.waiting, 0.0);
    let rest: Vec<Replicas> = (0..10).map(|_| shop.step()).collect();
    assert_eq!(rest.last(), Some(&0));
    assert!(rest.is_sorted_by(|one, next| one >= next), "never up again: {rest:?}");
}
