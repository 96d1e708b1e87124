//! Whole rounds: against a Redis inside the test that changes as we look (`world`), and against real ones (`real`).

#![allow(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::disallowed_methods,
    clippy::expect_used,
    reason = "tests may break, and wait by the clock"
)]

mod real;
mod world;

use std::collections::HashMap;

use futures_util::FutureExt as _;
use proptest::prelude::*;

use self::world::{Fake, Held, Luck};
use super::*;
use crate::source::redis::length::{Counter, Question};
use crate::source::{Side, TimeUnit};

const LLEN: Question = Question::Any(Counter::List);
const DUE: Question = Question::Scored(Side::Due, TimeUnit::Millis);
const BOUND: Duration = Duration::from_millis(300);

/// A node, its reads and one batch of them.
struct Rig {
    node: Node,
    reads: Reads,
    part: Part,
    names: Vec<String>,
    values: Vec<f64>,
    oddities: Vec<Oddity>,
    tick: Tick,
}

fn login(address: &str) -> Login<'_> {
    Login { address, username: None, password: None, database: 0, readonly: false }
}

impl Rig {
    async fn new(socket: Box<dyn Socket>, login: &Login<'_>, group: usize, names: &[String]) -> Self {
        let node = Node::open(socket, login, group, BOUND).await.unwrap();
        let mut reads = Reads::default();
        for (read, name) in (0..).map(ReadId).zip(names) {
            let question = if name.starts_with('z') { DUE } else { LLEN };
            reads.insert(read, name.as_str().into(), question);
        }
        let part = Part::new(all(names.len()));
        let values = vec![f64::NAN; names.len()];
        let tick = Tick::from_millis(1_000_000_000);
        Rig { node, reads, part, names: names.to_vec(), values, oddities: Vec::new(), tick }
    }

    fn at(&self) -> Moment {
        Moment { tick: self.tick, unix_millis: self.tick.as_nanos() / 1_000_000 }
    }

    /// One round, so long after the one before.
    async fn round(&mut self, after: Duration) -> Result<(), ReadFailure> {
        self.tick = self.tick.after(after);
        self.values.fill(f64::NAN);
        let at = self.at();
        let round = Shared::new(Round { reads: &mut self.reads, values: &mut self.values });
        let done = self.node.round(&mut self.part, at, &round).await;
        self.oddities = self.part.take_oddities();
        done
    }

    /// Rounds until everything that finds nothing is idle, and armed where that is possible.
    async fn rest(&mut self) {
        for _ in 0..40 {
            self.round(Duration::from_millis(100)).await.unwrap();
        }
    }

    /// What the server has told since the last time, by name.
    fn told(&mut self) -> Vec<&str> {
        let mut woken = Vec::new();
        self.node.hear(&mut self.reads, &mut woken).unwrap();
        while let Some(more) = self.node.wait().now_or_never() {
            more.unwrap();
            self.node.hear(&mut self.reads, &mut woken).unwrap();
        }
        woken.iter().map(|read| self.names[read.index()].as_str()).collect()
    }
}

fn all(count: usize) -> impl Iterator<Item = (usize, ReadId)> {
    (0..count).zip((0..).map(ReadId))
}

fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|at| format!("{prefix}{at:05}")).collect()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(work)
}

fn counted(held: &Held, now: f64) -> f64 {
    match held {
        Held::Nothing => 0.0,
        Held::List(items) => *items as f64,
        Held::Due(scores) => scores.iter().filter(|score| **score <= now).count() as f64,
        Held::Text => f64::NAN,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Whatever changes while we look, and whatever is idle, armed or refused: each number was true at some moment of
    /// its round, and whoever was armed and filled is told of.
    #[test]
    fn every_number_was_true_during_its_round(seed in any::<u64>(), group in 1_usize..12, refuses in 0_u8..6) {
        let fake = Fake::new(seed);
        let mut luck = Luck::new(seed.rotate_left(17));
        match refuses {
            0 => fake.world().denied.push("TRACKING"),
            1 => fake.world().denied.push("EXISTS"),
            _ => {}
        }
        block_on(async {
            let names = [names("list", 25), names("z", 10)].concat();
            for name in &names {
                fake.world().set(name, Held::Nothing);
            }
            let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), group, &names).await;
            for _ in 0..150 {
                let (busy, restless) = (luck.once_in(3), [0, 0, 40, 5][luck.below(4) as usize]);
                fake.world().restless = restless;
                if busy {
                    let name = &names[luck.below(names.len() as u64) as usize];
                    let mut world = fake.world();
                    let items = luck.below(3);
                    let now = rig.at().unix_millis as f64;
                    world.set(name, match items {
                        0 => Held::Nothing,
                        items if name.starts_with('z') => Held::Due(vec![now + 3_000.0; items as usize]),
                        items => Held::List(items),
                    });
                }
                match luck.below(60) {
                    0 => fake.world().flush(),
                    1 => fake.world().evict(&names[luck.below(25) as usize]),
                    2 => fake.world().denied.retain(|name| *name != "EXISTS"),
                    3 if refuses == 3 => fake.world().denied.push("CACHING"),
                    _ => {}
                }
                if luck.once_in(4) {
                    rig.told();
                }
                let began = fake.world().step;
                rig.round(Duration::from_millis(20 + luck.below(3_000))).await.unwrap();
                prop_assert!(rig.oddities.is_empty(), "{:?}", rig.oddities);
                let now = rig.at().unix_millis as f64;
                for (name, value) in names.iter().zip(&rig.values) {
                    let held = fake.world().held_since(name, began);
                    let possible = held.iter().any(|held| counted(held, now) == *value);
                    prop_assert!(possible, "{name}: {value} was never true of {held:?}");
                }
            }
            Ok(())
        })?;
    }
}

#[test]
fn what_is_idle_and_armed_costs_its_turn_in_the_probes_and_is_told_of() {
    let fake = Fake::default();
    let names = names("list", 1_000);
    block_on(async {
        let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), 100, &names).await;
        fake.world().set("list00007", Held::List(3));
        rig.rest().await;
        let before = fake.world().calls.clone();
        for _ in 0..100 {
            rig.round(Duration::from_millis(100)).await.unwrap();
            assert_eq!(rig.values.iter().sum::<f64>(), 3.0);
        }
        let calls = fake.world().calls.clone();
        assert_eq!(calls["LLEN"] - before["LLEN"], 100, "the one that is at work");
        let probes = calls["EXISTS"] - before["EXISTS"];
        assert!((45..=120).contains(&probes), "{probes} probes of ten groups in ten seconds");
        // What is armed is asked about without being armed again, but for once in a while.
        let armings = |calls: &std::collections::BTreeMap<String, u64>| calls.get("CLIENT").copied().unwrap_or(0);
        assert_eq!(armings(&calls), armings(&before));
        for _ in 0..200 {
            rig.round(Duration::from_millis(100)).await.unwrap();
        }
        let again = armings(&fake.world().calls) - armings(&calls);
        assert!((10..=20).contains(&again), "ten groups were armed {again} times in twenty seconds");

        assert_eq!(rig.told(), Vec::<&str>::new());
        fake.world().set("list00500", Held::List(1));
        fake.world().set("list00501", Held::List(2));
        fake.world().set("list00501", Held::List(4));
        assert_eq!(rig.told(), ["list00500", "list00501"]);
        rig.round(Duration::from_millis(1)).await.unwrap();
        assert_eq!((rig.values[500], rig.values[501]), (1.0, 4.0));
        assert_eq!(rig.told(), Vec::<&str>::new());
    });
}

#[test]
fn a_chunk_is_on_its_way_at_a_time_and_two_in_a_long_round() {
    // What is measured: ":1\r\n" is the reply to each.
    const REPLY: usize = 4;
    let unread = |count: usize| -> usize {
        let fake = Fake::default();
        block_on(async {
            let names = names("list", count);
            for name in &names {
                fake.world().set(name, Held::List(1));
            }
            let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), 100, &names).await;
            rig.round(Duration::from_millis(100)).await.unwrap();
            fake.world().unread = 0;
            rig.round(Duration::from_millis(100)).await.unwrap();
            assert!(rig.values.iter().all(|value| *value == 1.0));
            fake.world().unread
        })
    };
    assert_eq!(unread(300), 300 * REPLY);
    assert_eq!(unread(10 * request::CHUNK), request::CHUNK * REPLY);
    assert_eq!(unread(70 * request::CHUNK), 2 * request::CHUNK * REPLY);
}

#[test]
fn an_eager_round_of_one_read_asks_nothing_about_the_others() {
    let fake = Fake::default();
    let names = names("list", 300);
    block_on(async {
        let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), 100, &names).await;
        rig.rest().await;
        fake.world().set("list00123", Held::List(1));
        assert_eq!(rig.told(), ["list00123"]);
        let before = fake.world().step;
        let mut part = Part::new([(0, ReadId(123)), (1, ReadId(7)), (2, ReadId(8))].into_iter());
        let (mut values, at) = ([f64::NAN; 3], rig.at());
        let round = Shared::new(Round { reads: &mut rig.reads, values: &mut values });
        rig.node.round(&mut part, at, &round).await.unwrap();
        assert_eq!(values, [1.0, 0.0, 0.0]);
        assert_eq!(fake.world().step - before, 1, "one command");
    });
}

#[test]
fn without_tracking_groups_are_asked_every_round_and_said_why() {
    let fake = Fake::default();
    fake.world().denied.push("TRACKING");
    let names = names("list", 300);
    block_on(async {
        let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), 100, &names).await;
        assert!(rig.node.ear.complaints.tracking.as_ref().unwrap().contains("NOPERM"));
        rig.rest().await;
        let before = fake.world().calls.clone();
        for _ in 0..10 {
            rig.round(Duration::from_millis(100)).await.unwrap();
        }
        assert_eq!(fake.world().calls["EXISTS"] - before["EXISTS"], 30);
        assert_eq!(fake.world().calls["LLEN"], before["LLEN"]);
        fake.world().set("list00123", Held::List(1));
        rig.round(Duration::from_millis(100)).await.unwrap();
        assert_eq!(rig.values[123], 1.0, "in the second trip of the same round");
        assert_eq!(fake.world().calls["LLEN"] - before["LLEN"], 100);
    });
}

#[test]
fn who_refuses_exists_is_asked_one_by_one_and_said_why() {
    let fake = Fake::default();
    fake.world().denied.push("EXISTS");
    let names = names("list", 300);
    block_on(async {
        let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), 100, &names).await;
        rig.rest().await;
        let words = rig.node.ear.complaints.exists.clone().unwrap();
        assert!(words.contains("'EXISTS'"), "{words}");
        let before = fake.world().calls.clone();
        rig.rest().await;
        assert_eq!(fake.world().calls["EXISTS"], before["EXISTS"]);
        assert_eq!(fake.world().calls["LLEN"] - before["LLEN"], 40 * 300);
    });
}

#[test]
fn a_set_whose_members_are_not_due_is_never_idle() {
    let fake = Fake::default();
    let names = names("z", 2);
    block_on(async {
        let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), 100, &names).await;
        let due = rig.at().unix_millis as f64 + 500_000.0;
        fake.world().set("z00000", Held::Due(vec![due]));
        for _ in 0..499 {
            rig.round(Duration::from_secs(1)).await.unwrap();
            assert_eq!(rig.values, [0.0, 0.0]);
        }
        assert!(rig.reads.is_idle(ReadId(1)), "one that is missing is");
        for _ in 0..3 {
            rig.round(Duration::from_secs(1)).await.unwrap();
        }
        assert_eq!(rig.values, [1.0, 0.0]);
    });
}

#[test]
fn other_replies_are_handed_back_with_their_place() {
    let fake = Fake::default();
    let names = names("list", 1_200);
    block_on(async {
        let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), 100, &names).await;
        for (at, name) in names.iter().enumerate() {
            fake.world().set(name, if at % 400 == 7 { Held::Text } else { Held::List(at as u64) });
        }
        rig.round(Duration::ZERO).await.unwrap();
        let odd: HashMap<usize, String> =
            rig.oddities.iter().map(|odd| (odd.position, format!("{:?}", odd.reply))).collect();
        let mut positions: Vec<usize> = odd.keys().copied().collect();
        positions.sort_unstable();
        assert_eq!(positions, [7, 407, 807]);
        assert!(odd[&7].contains("WRONGTYPE"), "{odd:?}");
        assert!(rig.values[7].is_nan() && rig.values[8] == 8.0 && rig.values[1_199] == 1_199.0);
        // What is learnt holds from the next round on.
        rig.reads.learn(ReadId(407), Question::Any(Counter::Unsupported));
        rig.round(Duration::from_millis(100)).await.unwrap();
        let texts: Vec<_> =
            rig.oddities.iter().filter(|odd| odd.reply == Value::SimpleString("string".into())).collect();
        assert!(matches!(texts.as_slice(), [Oddity { position: 407, read: ReadId(407), .. }]), "{texts:?}");
    });
}

#[test]
fn what_nobody_asked_for_and_what_is_given_up_ends_the_connection() {
    let names = names("list", 3);
    block_on(async {
        let fake = Fake::default();
        let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), 100, &names).await;
        fake.world().say("+surprise\r\n");
        rig.node.wait().await.unwrap();
        let failure = rig.node.hear(&mut rig.reads, &mut Vec::new()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Protocol);
        assert!(rig.round(Duration::ZERO).await.is_err());

        let fake = Fake::default();
        let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), 100, &names).await;
        fake.world().frozen = true;
        assert!(rig.round(Duration::ZERO).now_or_never().is_none());
        fake.world().frozen = false;
        let failure = rig.round(Duration::ZERO).await.unwrap_err();
        assert!(failure.message.contains("given up"), "{failure}");

        let fake = Fake::default();
        let mut rig = Rig::new(Box::new(fake.clone()), &login("fake"), 100, &names).await;
        fake.world().frozen = true;
        let failure = rig.round(Duration::ZERO).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Timeout);
        assert!(failure.message.contains("responseTimeout"), "{failure}");
    });
}
