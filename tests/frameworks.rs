//! Real queue libraries enqueue, take and finish jobs while we watch: what each says of its own queue stands beside what
//! is read from its keys, stage by stage, in a table.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "a test may break, and reads the clock that it tests against"
)]

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::frameworks::{Driver, Library, Report};
use support::polling::{self, PATIENCE, Polling, autoscaler};
use support::redis::RedisProcess;
use tidegate::model::{Key, Observation};
use tidegate::spec::{Arq, BullMq, Celery, CeleryInFlight, Dramatiq, Rq, Sidekiq, Source};

const KEY: Key = Key(0);
const QUEUE: &str = "orders";
/// Two looks at an age are some time apart, on a busy machine.
const AGE_TOLERANCE: f64 = 1.0;

/// What a stage must show: items that can be taken, are in progress, are delayed and due.
type Expected = [f64; 3];

/// One library, watched.
struct Story {
    driver: Driver,
    polling: Polling,
    /// Whether what waits has an age.
    ages: bool,
    table: String,
    /// Whether depth, in flight, due and oldest age were ever said, and ever seen.
    said: [bool; 4],
    seen: [bool; 4],
    _server: RedisProcess,
}

impl Story {
    /// `None` where the library is not installed.
    fn begin(library: Library, options: &Value, source: Source) -> Option<Self> {
        let server = RedisProcess::start();
        let driver = Driver::start(library, &server, QUEUE, options)?;
        let polling = Polling::start();
        let ages = !matches!(source, Source::Celery(_));
        let trigger = (&polling::redis(server.address()), source);
        polling.set(KEY.0, &autoscaler("watcher", Duration::from_millis(50), &[trigger]));
        let told = if *options == json!({}) { String::new() } else { format!(", {options}") };
        let table = format!(
            "\n{}{told}: what it says | what we see\n{:38}{:>14}{:>14}{:>14}{:>18}\n",
            driver.name, "", "depth", "in flight", "due delayed", "oldest age, s"
        );
        Some(Story { driver, polling, ages, table, said: [false; 4], seen: [false; 4], _server: server })
    }

    /// What both see, as of now.
    fn look(&mut self) -> (Report, Observation) {
        let said = self.driver.report();
        self.polling.drain();
        let sample = self.polling.until("of the watcher", |sample| sample.key == KEY);
        (said, sample.value.unwrap_or_else(|failure| panic!("{}: {failure:?}", self.driver.name)))
    }

    /// The library and we see this, as soon as the library has written it down and we have looked.
    fn both(&mut self, stage: &str, expected: Expected) {
        self.apart(stage, expected, expected);
    }

    /// The library sees the one and we see the other, for a reason that the test tells.
    fn apart(&mut self, stage: &str, theirs: Expected, ours: Expected) {
        let ages = self.ages;
        self.until(stage, &format!("{theirs:?} | {ours:?}"), |said, seen| {
            agrees(said_of(said), theirs) && agrees(seen_of(seen), ours) && ages_agree(said, seen, ages)
        });
    }

    fn until(&mut self, stage: &str, what: &str, good: impl Fn(&Report, &Observation) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (said, seen) = self.look();
            let good = good(&said, &seen);
            if good || Instant::now() > end {
                self.note(stage, &said, &seen);
                assert!(good, "at {stage}: not {what}\n{}{said:?}\n{seen:?}", self.table);
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A queue that is paused says so, and keeps what it has.
    fn paused_and_resumed(&mut self, expected: Expected) {
        let ages = self.ages;
        for (word, paused) in [("pause", true), ("resume", false)] {
            self.driver.tell(&json!({ "do": word }));
            self.until(&format!("told to {word}"), &format!("paused: {paused}, {expected:?}"), |said, seen| {
                assert_eq!(said.answer["paused"], paused, "{said:?}");
                let kept = agrees(said_of(said), expected) && agrees(seen_of(seen), expected);
                kept && ages_agree(said, seen, ages) && seen.paused == paused
            });
        }
    }

    fn note(&mut self, stage: &str, said: &Report, seen: &Observation) {
        let pair = |theirs: Option<f64>, ours: Option<f64>, digits: usize| {
            let show = |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.digits$}"));
            format!("{} | {}", show(theirs), show(ours))
        };
        let [ready, in_flight, due] = seen_of(seen);
        let oldest_age = seen.oldest_age.get();
        writeln!(
            self.table,
            "  {stage:36}{:>14}{:>14}{:>14}{:>18}",
            pair(said.depth, ready, 0),
            pair(said.in_flight, in_flight, 0),
            pair(said.due, due, 0),
            pair(said.oldest_age, oldest_age, 2),
        )
        .unwrap();
        let said = [said.depth, said.in_flight, said.due, said.oldest_age];
        let seen = [ready, in_flight, due, oldest_age];
        for (ever, now) in self.said.iter_mut().zip(said).chain(self.seen.iter_mut().zip(seen)) {
            *ever |= now.is_some();
        }
    }

    /// Shows the table, and that the library had a word on these things and that we saw those, so that nothing was
    /// compared with silence.
    fn end(self, said: &str, seen: &str) {
        // Past the capture of what passing tests print.
        std::io::stdout().lock().write_all(self.table.as_bytes()).unwrap();
        let names = |ever: [bool; 4]| {
            let names = ["depth", "in flight", "due", "oldest age"].into_iter().zip(ever);
            names.filter_map(|(name, ever)| ever.then_some(name)).collect::<Vec<_>>().join(", ")
        };
        assert_eq!(names(self.said), said, "what {} has a word for", self.driver.name);
        assert_eq!(names(self.seen), seen, "what we see of {}", self.driver.name);
    }
}

fn said_of(said: &Report) -> [Option<f64>; 3] {
    [said.depth, said.in_flight, said.due]
}

fn seen_of(seen: &Observation) -> [Option<f64>; 3] {
    let due = seen.due.get();
    [Some(seen.backlog - due.unwrap_or(0.0)), seen.in_flight.get(), due]
}

/// No word contradicts nothing.
fn agrees(found: [Option<f64>; 3], expected: Expected) -> bool {
    found.into_iter().zip(expected).all(|(found, expected)| found.is_none_or(|found| found == expected))
}

/// With `ages`, we know one wherever something waits. The library need not.
fn ages_agree(said: &Report, seen: &Observation, ages: bool) -> bool {
    let [ready, ..] = seen_of(seen);
    let ours = seen.oldest_age.get();
    let close = said.oldest_age.zip(ours).is_none_or(|(theirs, ours)| (theirs - ours).abs() < AGE_TOLERANCE);
    close && ours.is_some() == (ages && ready > Some(0.0))
}

// === the sources under test ===

fn queues() -> Vec<Arc<str>> {
    vec![QUEUE.into()]
}

fn celery() -> Celery {
    Celery {
        queues: queues(),
        bound_to: None,
        priority_steps: vec![0, 3, 6, 9],
        separator: "\u{6}\u{16}".into(),
        global_keyprefix: "".into(),
        in_flight: CeleryInFlight::ByQueue,
        visibility_timeout: Duration::from_secs(3600),
    }
}

fn rq() -> Source {
    Source::Rq(Rq { queues: queues(), oldest_age: true })
}

fn dramatiq() -> Source {
    Source::Dramatiq(Dramatiq { queues: queues(), namespace: "dramatiq".into(), oldest_age: true })
}

fn arq() -> Source {
    Source::Arq(Arq { queues: queues(), oldest_age: true })
}

fn bullmq() -> Source {
    Source::BullMq(BullMq { queues: queues(), prefix: "bull".into(), oldest_age: true })
}

fn sidekiq() -> Source {
    Source::Sidekiq(Sidekiq { queues: queues(), oldest_age: true })
}

// === the stories ===

#[test]
fn celery_with_late_acknowledgement() {
    let Some(mut story) = Story::begin(Library::Celery, &json!({ "acks_late": true }), Source::Celery(celery())) else {
        return;
    };
    story.driver.enqueue(3);
    story.both("3 sent", [3.0, 0.0, 0.0]);
    for priority in [1, 3, 5, 6, 8, 9] {
        story.driver.enqueue_prioritized(1, priority);
    }
    story.both("6 more, of all priorities", [9.0, 0.0, 0.0]);
    story.driver.take(2);
    story.both("2 taken", [7.0, 2.0, 0.0]);
    story.driver.finish(1);
    story.both("1 of them finished", [7.0, 1.0, 0.0]);
    story.driver.take(4);
    story.both("4 more taken", [3.0, 5.0, 0.0]);
    story.driver.finish(5);
    story.both("all of them finished", [3.0, 0.0, 0.0]);
    story.end("depth, in flight", "depth, in flight");
}

/// A task is acknowledged as it begins, and a next one fetched: what runs is not seen, and what is seen does not run.
#[test]
fn celery_with_its_early_acknowledgement_hides_what_runs() {
    let Some(mut story) = Story::begin(Library::Celery, &json!({}), Source::Celery(celery())) else { return };
    story.driver.enqueue(5);
    story.both("5 sent", [5.0, 0.0, 0.0]);
    story.driver.take(1);
    story.apart("1 taken, and 1 kept ready", [3.0, 1.0, 0.0], [3.0, 1.0, 0.0]);
    story.driver.finish(1);
    story.apart("it finished, the other began", [3.0, 1.0, 0.0], [3.0, 0.0, 0.0]);
    story.end("depth, in flight", "depth, in flight");
}

#[test]
fn celery_with_a_prefix_and_steps_and_separator_of_its_own() {
    let steps: Vec<u32> = (0..10).collect();
    let transport = json!({ "global_keyprefix": "shop:", "sep": ":", "priority_steps": steps });
    let options = json!({ "acks_late": true, "transport": transport });
    let priority_steps = (0..10).collect();
    let celery = Celery { global_keyprefix: "shop:".into(), separator: ":".into(), priority_steps, ..celery() };
    let Some(mut story) = Story::begin(Library::Celery, &options, Source::Celery(celery)) else { return };
    story.driver.enqueue(3);
    story.driver.enqueue_prioritized(2, 5);
    story.both("5 sent", [5.0, 0.0, 0.0]);
    story.driver.take(2);
    story.both("2 taken", [3.0, 2.0, 0.0]);
    story.driver.finish(2);
    story.both("both finished", [3.0, 0.0, 0.0]);
    story.end("depth, in flight", "depth, in flight");
}

/// Queues found by the exchange that they are bound to.
#[test]
fn celery_bindings() {
    for transport in [json!({}), json!({ "global_keyprefix": "shop:", "sep": ":" })] {
        let option = |name: &str, default: &str| transport[name].as_str().unwrap_or(default).into();
        let source = Celery {
            queues: Vec::new(),
            bound_to: Some(QUEUE.into()),
            global_keyprefix: option("global_keyprefix", ""),
            separator: option("sep", "\u{6}\u{16}"),
            ..celery()
        };
        let options = json!({ "acks_late": true, "transport": transport });
        let Some(mut story) = Story::begin(Library::Celery, &options, Source::Celery(source)) else { return };
        story.driver.enqueue(3);
        story.driver.enqueue_prioritized(1, 9);
        story.both("4 sent", [4.0, 0.0, 0.0]);
        story.driver.take(2);
        story.both("2 taken", [2.0, 2.0, 0.0]);
        story.end("depth, in flight", "depth, in flight");
    }
}

/// A worker takes a task with an eta at once, and keeps it: not running, and yet lost with the worker.
#[test]
fn celery_keeps_a_task_for_later_in_a_workers_memory() {
    let Some(mut story) = Story::begin(Library::Celery, &json!({}), Source::Celery(celery())) else { return };
    story.driver.enqueue_delayed(2, 60.0);
    story.both("2 sent for in a minute", [2.0, 0.0, 0.0]);
    story.driver.tell(&json!({ "do": "take", "count": 1, "expect": 0 }));
    story.apart("a worker came", [0.0, 0.0, 0.0], [0.0, 2.0, 0.0]);
    story.end("depth, in flight", "depth, in flight");
}

fn rq_story(library: Library) {
    let Some(mut story) = Story::begin(library, &json!({}), rq()) else { return };
    story.driver.enqueue(3);
    story.driver.enqueue_delayed(1, 60.0);
    story.both("3 enqueued, 1 for in a minute", [3.0, 0.0, 0.0]);
    story.driver.enqueue_delayed(2, 1.0);
    story.both("2 more, due after a second", [3.0, 0.0, 2.0]);
    story.driver.take(2);
    story.both("2 taken", [1.0, 2.0, 2.0]);
    story.driver.tell(&json!({ "do": "promote" }));
    story.both("a scheduler came by", [3.0, 2.0, 0.0]);
    story.driver.finish(1);
    story.both("1 finished", [3.0, 1.0, 0.0]);
    story.paused_and_resumed([3.0, 1.0, 0.0]);
    story.driver.finish(1);
    story.both("the other finished", [3.0, 0.0, 0.0]);
    story.end("depth, in flight, due, oldest age", "depth, in flight, due, oldest age");
}

#[test]
fn rq_3() {
    rq_story(Library::Rq3);
}

#[test]
fn rq_2() {
    rq_story(Library::Rq2);
}

#[test]
fn dramatiq_and_what_its_workers_fetch_ahead() {
    let Some(mut story) = Story::begin(Library::Dramatiq, &json!({}), dramatiq()) else { return };
    story.driver.enqueue(9);
    story.both("9 sent", [9.0, 0.0, 0.0]);
    story.driver.take(2);
    story.both("2 taken", [7.0, 2.0, 0.0]);
    story.driver.tell(&json!({ "do": "take", "count": 1, "prefetch": 3 }));
    story.both("1 taken by one who fetches 3", [4.0, 5.0, 0.0]);
    story.driver.finish(1);
    story.both("1 of them finished", [4.0, 4.0, 0.0]);
    story.end("depth, in flight", "depth, in flight, due, oldest age");
}

/// Its own count takes what is delayed for waiting. We count what of it is due, while no worker is there to keep it in its
/// memory until then.
#[test]
fn dramatiq_delays_until_a_worker_comes() {
    let Some(mut story) = Story::begin(Library::Dramatiq, &json!({}), dramatiq()) else { return };
    story.driver.enqueue(2);
    story.driver.enqueue_delayed(3, 60.0);
    story.apart("2 sent, 3 for in a minute", [5.0, 0.0, 0.0], [2.0, 0.0, 0.0]);
    story.driver.take(1);
    story.apart("1 taken, with all that is delayed", [1.0, 4.0, 0.0], [1.0, 1.0, 0.0]);
    story.end("depth, in flight", "depth, in flight, due, oldest age");
}

#[test]
fn dramatiq_wakes_for_what_is_due() {
    let Some(mut story) = Story::begin(Library::Dramatiq, &json!({}), dramatiq()) else { return };
    story.driver.enqueue_delayed(3, 60.0);
    story.driver.enqueue_delayed(2, 1.0);
    story.apart("3 for in a minute, 2 due after a second", [5.0, 0.0, 0.0], [0.0, 0.0, 2.0]);
    story.end("depth, in flight", "depth, in flight, due");
}

#[test]
fn arq_whose_queue_keeps_what_runs() {
    let Some(mut story) = Story::begin(Library::Arq, &json!({}), arq()) else { return };
    story.driver.enqueue(3);
    story.driver.enqueue_delayed(1, 60.0);
    story.both("3 enqueued, 1 for in a minute", [3.0, 0.0, 0.0]);
    story.driver.enqueue_delayed(2, 1.0);
    story.both("2 more, due after a second", [5.0, 0.0, 0.0]);
    story.driver.take(2);
    story.both("2 taken", [3.0, 2.0, 0.0]);
    story.driver.finish(1);
    story.both("1 finished", [3.0, 1.0, 0.0]);
    story.driver.finish(1);
    story.both("the other finished", [3.0, 0.0, 0.0]);
    story.end("depth, in flight, oldest age", "depth, in flight, oldest age");
}

fn bullmq_story(library: Library) {
    let Some(mut story) = Story::begin(library, &json!({}), bullmq()) else { return };
    story.driver.enqueue(3);
    story.driver.enqueue_prioritized(2, 5);
    story.driver.enqueue_delayed(1, 60.0);
    story.both("3 added, 2 prioritized, 1 for later", [5.0, 0.0, 0.0]);
    story.driver.enqueue_delayed(2, 1.0);
    story.both("2 more, due after a second", [5.0, 0.0, 2.0]);
    story.paused_and_resumed([5.0, 0.0, 2.0]);
    story.driver.tell(&json!({ "do": "limit", "concurrency": 3 }));
    story.driver.tell(&json!({ "do": "take", "count": 4, "expect": 3 }));
    story.both("3 taken, where 3 may run at once", [4.0, 3.0, 0.0]);
    story.until("at most 3 run at once", "a limit of 3", |said, seen| {
        said.answer["limit"] == 3 && seen.limit.get() == Some(3.0)
    });
    story.end("depth, in flight, due, oldest age", "depth, in flight, due, oldest age");
}

#[test]
fn bullmq_5() {
    bullmq_story(Library::BullMq5);
}

#[test]
fn bullmq_6() {
    bullmq_story(Library::BullMq6);
}

#[test]
fn sidekiq_as_its_heartbeats_tell() {
    let Some(mut story) = Story::begin(Library::Sidekiq, &json!({}), sidekiq()) else { return };
    story.driver.enqueue(3);
    story.driver.enqueue_delayed(1, 60.0);
    story.both("3 pushed, 1 for in a minute", [3.0, 0.0, 0.0]);
    story.driver.enqueue_delayed(2, 1.0);
    story.both("2 more, due after a second", [3.0, 0.0, 2.0]);
    story.driver.take(2);
    story.both("2 taken", [1.0, 2.0, 2.0]);
    story.driver.finish(1);
    story.both("1 finished", [1.0, 1.0, 2.0]);
    story.end("depth, in flight, due, oldest age", "depth, in flight, due, oldest age");
}
