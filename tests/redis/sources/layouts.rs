//! The table: for each source block a database as its framework leaves it, what is in there, and what each key is for.

use tidegate::model::{Measure, Observation};

use super::rig::now;

/// What is lost with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// The trigger fails.
    Trigger,
    /// Only how old the oldest item is.
    Age,
}

/// One database.
pub struct Layout {
    pub name: &'static str,
    /// As it stands in a manifest.
    pub block: &'static str,
    /// Commands that make it.
    pub made_by: Vec<Vec<String>>,
    pub holds: Observation,
    /// What is there when nothing is.
    pub empty: Observation,
    pub keys: Vec<(&'static str, Loss)>,
}

/// How long ago the oldest item of each layout was enqueued, seconds.
const AGE: u64 = 90;

/// A command of words that are parted by spaces.
fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).collect()
}

fn several(commands: &[&str]) -> Vec<Vec<String>> {
    commands.iter().map(|command| words(command)).collect()
}

/// A command whose last word is a text of its own.
fn with(command: &str, last: impl Into<String>) -> Vec<String> {
    let mut words = words(command);
    words.push(last.into());
    words
}

fn facts(backlog: f64) -> Observation {
    Observation::of_backlog(backlog)
}

fn in_flight(backlog: f64, in_flight: f64) -> Observation {
    Observation { in_flight: in_flight.into(), ..facts(backlog) }
}

fn due(backlog: f64, due: f64, in_flight: f64) -> Observation {
    Observation { due: due.into(), in_flight: in_flight.into(), ..facts(backlog) }
}

fn aged(observation: Observation) -> Observation {
    Observation { oldest_age: (AGE as f64).into(), ..observation }
}

pub fn all() -> Vec<Layout> {
    let mut layouts = plain();
    layouts.extend([celery(), celery_of_its_own()]);
    layouts.extend([sidekiq_6(), sidekiq_8(), resque(), rq(), dramatiq(), arq()]);
    layouts.extend(bullmq());
    layouts
}

fn plain() -> Vec<Layout> {
    use Loss::Trigger;
    let (past, future) = (now() - 5_000, now() + 600_000);
    vec![
        Layout {
            name: "redisList",
            block: "redisList: { keys: [jobs, jobs:set], keysMatching: [\"more:*\", \"*:1\", \"jobs:*\"], processing: [jobs:processing] }",
            made_by: several(&[
                "RPUSH jobs a b c",
                "SADD jobs:set a b",
                "RPUSH more:1 a",
                "RPUSH more:2 a b c d",
                "SET more:text a",
                "HSET more:hash a b",
                "RPUSH jobs:processing a b",
            ]),
            holds: in_flight(10.0, 2.0),
            empty: in_flight(0.0, 0.0),
            keys: vec![("jobs", Trigger), ("jobs:set", Trigger), ("jobs:processing", Trigger)],
        },
        Layout {
            name: "redisSet",
            block: "redisSet: { keys: [one, two] }",
            made_by: several(&["SADD one a b c", "SADD two a"]),
            holds: facts(4.0),
            empty: facts(0.0),
            keys: vec![("one", Trigger), ("two", Trigger)],
        },
        Layout {
            name: "redisHash",
            block: "redisHash: { keys: [one, two] }",
            made_by: several(&["HSET one a 1 b 2", "HSET two a 1 b 2 c 3"]),
            holds: facts(5.0),
            empty: facts(0.0),
            keys: vec![("one", Trigger), ("two", Trigger)],
        },
        Layout {
            name: "redisSortedSet, seconds",
            block: "redisSortedSet: { keys: [one, two] }",
            made_by: vec![
                words(&format!("ZADD one {}.5 a {} b", past / 1000, future / 1000)),
                words(&format!("ZADD two 0 a {} b", past / 1000)),
            ],
            holds: Observation { due: 3.0.into(), ..facts(3.0) },
            empty: Observation { due: 0.0.into(), ..facts(0.0) },
            keys: vec![("one", Trigger), ("two", Trigger)],
        },
        Layout {
            name: "redisSortedSet, milliseconds",
            block: "redisSortedSet: { keys: [one], scoreUnit: milliseconds }",
            made_by: vec![words(&format!("ZADD one {past} a {future} b {past} c"))],
            holds: Observation { due: 2.0.into(), ..facts(2.0) },
            empty: Observation { due: 0.0.into(), ..facts(0.0) },
            keys: vec![("one", Trigger)],
        },
        Layout {
            name: "redisStream, length",
            block: "redisStream: { key: orders, backlog: length }",
            made_by: several(&["XADD orders * a b", "XADD orders * a b"]),
            holds: facts(2.0),
            empty: facts(0.0),
            keys: vec![("orders", Trigger)],
        },
    ]
}

/// A task as Kombu writes it; a delivery holds one.
fn message(routing_key: &str) -> String {
    format!(
        "{{\"body\": \"W1tdLCB7fSwge31d\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \
         \"headers\": {{\"lang\": \"py\", \"task\": \"t.add\", \"id\": \"x\", \"retries\": 0}}, \"properties\": \
         {{\"delivery_mode\": 2, \"delivery_info\": {{\"exchange\": \"\", \"routing_key\": \"{routing_key}\"}}, \
         \"priority\": 0, \"body_encoding\": \"base64\", \"delivery_tag\": \"x\"}}}}"
    )
}

/// Queues' default exchange, priorities, deliveries of ours and of others, and one of somebody who died two hours ago.
fn celery() -> Layout {
    use Loss::Trigger;
    let (seconds, expired) = (now() / 1000, now() / 1000 - 7200);
    let delivery = |queue: &str| format!("[{}, \"\", \"{queue}\"]", message(queue));
    let mut made_by = several(&[
        "LPUSH celery a b c",
        "LPUSH celery\u{6}\u{16}3 a",
        "LPUSH celery\u{6}\u{16}9 a b",
        "LPUSH mail a",
        "LPUSH mail\u{6}\u{16}6 a",
        "LPUSH others a b c d",
    ]);
    for (tag, queue, when) in
        [("1", "celery", seconds), ("2", "mail", seconds), ("3", "others", seconds), ("4", "celery", expired)]
    {
        made_by.push(with(&format!("HSET unacked {tag}"), delivery(queue)));
        made_by.push(words(&format!("ZADD unacked_index {when}.25 {tag}")));
    }
    Layout {
        name: "celery",
        block: "celery: { queues: [celery, mail] }",
        made_by,
        holds: in_flight(8.0, 2.0),
        empty: in_flight(0.0, 0.0),
        keys: vec![
            ("celery", Trigger),
            ("celery\u{6}\u{16}3", Trigger),
            ("mail\u{6}\u{16}9", Trigger),
            ("unacked", Trigger),
            ("unacked_index", Trigger),
        ],
    }
}

/// Every transport option another than the default: prefix, separator, steps, timeout; a queue that only its binding
/// names; and all deliveries.
fn celery_of_its_own() -> Layout {
    use Loss::Trigger;
    let seconds = now() / 1000;
    let mut made_by = several(&[
        "LPUSH app:celery a",
        "LPUSH app:celery:5 a b",
        "LPUSH app:bound a b c",
        "LPUSH app:bound:5 a",
        "LPUSH celery a b c d e f",
        "SADD app:_kombu.binding.tasks bound.key::bound celery::celery",
    ]);
    for (tag, ago) in [("1", 5), ("2", 20), ("3", 90)] {
        made_by.push(words(&format!("ZADD app:unacked_index {} {tag}", seconds - ago)));
    }
    Layout {
        name: "celery, with its options",
        block: "celery: { queues: [celery], boundTo: tasks, globalKeyprefix: \"app:\", separator: \":\", \
                prioritySteps: [0, 5], visibilityTimeout: 60s, inFlight: all }",
        made_by,
        holds: in_flight(7.0, 2.0),
        empty: in_flight(0.0, 0.0),
        keys: vec![
            ("app:celery", Trigger),
            ("app:celery:5", Trigger),
            ("app:_kombu.binding.tasks", Trigger),
            ("app:bound", Trigger),
            ("app:unacked_index", Trigger),
        ],
    }
}

/// `oldest`: the times of the oldest job; `hash`: where a process says what it does.
fn sidekiq(name: &'static str, oldest: &str, hash: &'static str, run_at: &str) -> Layout {
    use Loss::Trigger;
    let (past, future) = (now() / 1000 - 3, now() / 1000 + 600);
    let job = |queue: &str, times: &str| {
        format!("{{\"class\":\"Hard\",\"args\":[1],\"queue\":\"{queue}\",\"jid\":\"x\",\"retry\":true{times}}}")
    };
    let work = |queue: &str| {
        let payload = job(queue, "").replace('"', "\\\"");
        format!("{{\"queue\":\"{queue}\",\"payload\":\"{payload}\",\"run_at\":{run_at}}}")
    };
    let scheduled = |set: &str, score: u64, n: u64, queue: &str| {
        with(&format!("ZADD {set} {score}.{n}"), job(queue, &format!(",\"n\":{n}")))
    };
    let made_by = vec![
        with("LPUSH queue:default", job("default", oldest)),
        with("LPUSH queue:default", job("default", "")),
        with("LPUSH queue:low", job("low", "")),
        scheduled("schedule", past, 1, "default"),
        scheduled("schedule", past, 2, "others"),
        scheduled("schedule", future, 3, "default"),
        scheduled("retry", past, 4, "low"),
        words("SADD processes host:1:aa host:2:bb"),
        words("HSET host:1:aa info {} busy 2"),
        with(&format!("HSET host:1:aa:{hash} tid1"), work("default")),
        with(&format!("HSET host:1:aa:{hash} tid2"), work("others")),
        with(&format!("HSET host:2:bb:{hash} tid1"), work("low")),
    ];
    Layout {
        name,
        block: "sidekiq: { queues: [default, low] }",
        made_by,
        holds: aged(due(5.0, 2.0, 2.0)),
        empty: due(0.0, 0.0, 0.0),
        keys: vec![
            ("queue:default", Trigger),
            ("queue:low", Trigger),
            ("schedule", Trigger),
            ("retry", Trigger),
            ("processes", Trigger),
            (if hash == "work" { "host:1:aa:work" } else { "host:1:aa:workers" }, Trigger),
        ],
    }
}

fn sidekiq_6() -> Layout {
    let then = now() / 1000 - AGE;
    let oldest = format!(",\"created_at\":{then}.0,\"enqueued_at\":{then}.0625");
    sidekiq("sidekiq 6.4", &oldest, "workers", &format!("{then}"))
}

fn sidekiq_8() -> Layout {
    let then = now() - AGE * 1000;
    sidekiq("sidekiq 8", &format!(",\"created_at\":{then},\"enqueued_at\":{then}"), "work", &format!("{then}"))
}

/// Versions 5 and 6, paused and not.
fn bullmq() -> Vec<Layout> {
    use Loss::{Age, Trigger};
    let (then, future) = (now() - AGE * 1000, now() + 600_000);
    let score = |millis: u64, sequence: u64| millis * 4096 + sequence;
    let common = || {
        let mut made_by = several(&["LPUSH bull:mail:active 90 91", "ZADD bull:mail:prioritized 4294967297 80"]);
        made_by.push(words(&format!(
            "ZADD bull:mail:delayed {} 70 {} 71 {} 72",
            score(then, 0),
            score(then, 1),
            score(future, 0)
        )));
        made_by.push(words(&format!("HSET bull:mail:1 name send data {{}} timestamp {then} delay 0 priority 0")));
        made_by
    };
    let of = |more: &[&str]| {
        let mut made_by = common();
        made_by.extend(several(more));
        made_by
    };
    let held = aged(due(6.0, 2.0, 2.0));
    let keys = |waiting: &'static str| {
        vec![
            (waiting, Trigger),
            ("bull:mail:prioritized", Trigger),
            ("bull:mail:delayed", Trigger),
            ("bull:mail:active", Trigger),
            ("bull:mail:meta", Trigger),
            ("bull:mail:1", Age),
        ]
    };
    let layout = |name, made_by, holds, waiting| Layout {
        name,
        block: "bullmq: { queues: [mail] }",
        made_by,
        holds,
        empty: due(0.0, 0.0, 0.0),
        keys: keys(waiting),
    };
    let two = Layout {
        name: "bullmq, two queues and a prefix",
        block: "bullmq: { queues: [mail, fax], prefix: \"{b}\", oldestAge: false }",
        made_by: several(&["LPUSH {b}:mail:wait 1 2", "LPUSH {b}:fax:wait 1", "LPUSH {b}:fax:active 1"]),
        holds: due(3.0, 0.0, 1.0),
        empty: due(0.0, 0.0, 0.0),
        keys: vec![("{b}:mail:wait", Trigger), ("{b}:fax:active", Trigger)],
    };
    vec![
        layout(
            "bullmq, with a global concurrency",
            of(&["LPUSH bull:mail:wait 1 2 3", "HSET bull:mail:meta concurrency 4 version bullmq:6.2.0"]),
            Observation { limit: Measure::new(4.0), ..held },
            "bull:mail:wait",
        ),
        layout(
            "bullmq 5, paused",
            of(&["LPUSH bull:mail:paused 1 2 3", "HSET bull:mail:meta paused 1 opts.maxLenEvents 10000"]),
            Observation { paused: true, ..held },
            "bull:mail:paused",
        ),
        layout(
            "bullmq 6, paused",
            of(&["LPUSH bull:mail:wait 1 2 3", "HSET bull:mail:meta paused 1"]),
            Observation { paused: true, ..held },
            "bull:mail:wait",
        ),
        two,
    ]
}

fn rq() -> Layout {
    use Loss::{Age, Trigger};
    let seconds = now() / 1000;
    let then = jiff::Timestamp::from_millisecond((now() - AGE * 1000) as i64).unwrap();
    let made_by = vec![
        words("RPUSH rq:queue:default 1 2 3"),
        words(&format!("HSET rq:job:1 created_at {then} enqueued_at {then} status queued origin default")),
        words(&format!("ZADD rq:scheduled:default {} 7 {} 8", seconds - 2, seconds + 600)),
        words(&format!("ZADD rq:wip:default {} 5:a {} 6:b {} 4:c", seconds + 100, seconds + 200, seconds - 10)),
        words("SADD rq:queues rq:queue:default"),
    ];
    Layout {
        name: "rq",
        block: "rq: { queues: [default] }",
        made_by,
        holds: aged(due(4.0, 1.0, 2.0)),
        empty: due(0.0, 0.0, 0.0),
        keys: vec![
            ("rq:queue:default", Trigger),
            ("rq:scheduled:default", Trigger),
            ("rq:wip:default", Trigger),
            ("rq:job:1", Age),
        ],
    }
}

fn resque() -> Layout {
    use Loss::Trigger;
    let work = |queue: &str| format!("{{\"queue\":\"{queue}\",\"run_at\":\"2026-11-26T12:00:00Z\",\"payload\":{{}}}}");
    let made_by = vec![
        words("RPUSH app:queue:mail {\"class\":\"Mail\",\"args\":[]} {\"class\":\"Mail\",\"args\":[1]}"),
        words("RPUSH app:queue:fax {\"class\":\"Fax\",\"args\":[]}"),
        words("SADD app:workers host:1:* host:2:mail host:3:others host:4:idle"),
        with("SET app:worker:host:1:*", work("fax")),
        with("SET app:worker:host:2:mail", work("mail")),
        with("SET app:worker:host:3:others", work("others")),
    ];
    Layout {
        name: "resque",
        block: "resque: { queues: [mail, fax], namespace: app }",
        made_by,
        holds: in_flight(3.0, 2.0),
        empty: in_flight(0.0, 0.0),
        keys: vec![
            ("app:queue:mail", Trigger),
            ("app:queue:fax", Trigger),
            ("app:workers", Trigger),
            ("app:worker:host:2:mail", Trigger),
        ],
    }
}

fn dramatiq() -> Layout {
    use Loss::Trigger;
    let then = now() - AGE * 1000;
    let body = |id: &str, more: &str| {
        format!(
            "{{\"queue_name\":\"default\",\"actor_name\":\"add\",\"args\":[1],\"kwargs\":{{}},\"options\":\
             {{\"redis_message_id\":\"{id}\"{more}}},\"message_id\":\"m\",\"message_timestamp\":{then}}}"
        )
    };
    let mut made_by = several(&["RPUSH dramatiq:default 1 2", "RPUSH dramatiq:default.DQ 8 9"]);
    for id in ["1", "2", "3", "4", "5"] {
        made_by.push(with(&format!("HSET dramatiq:default.msgs {id}"), body(id, "")));
    }
    for (id, eta) in [("8", now() + 600_000), ("9", now() - 1_000)] {
        let body = body(id, &format!(",\"eta\":{eta}"));
        made_by.push(with(&format!("HSET dramatiq:default.DQ.msgs {id}"), body));
    }
    made_by.push(words("SADD dramatiq:__acks__.broker.default 3 4 5"));
    Layout {
        name: "dramatiq",
        block: "dramatiq: { queues: [default] }",
        made_by,
        holds: aged(due(3.0, 1.0, 3.0)),
        empty: due(0.0, 0.0, 0.0),
        keys: vec![("dramatiq:default", Trigger), ("dramatiq:default.DQ", Trigger), ("dramatiq:default.msgs", Trigger)],
    }
}

/// Two that run, as the oldest; two that wait; and one that is not due.
fn arq() -> Layout {
    use Loss::Trigger;
    let (then, future) = (now() - AGE * 1000, now() + 600_000);
    let made_by = vec![
        words(&format!(
            "ZADD arq:queue {} run1 {} run2 {then} wait1 {} wait2 {future} later",
            then - 2000,
            then - 1000,
            then + 1000
        )),
        words("SET arq:in-progress:run1 1"),
        words("SET arq:in-progress:run2 1"),
        words("SET arq:in-progress:gone 1"),
    ];
    Layout {
        name: "arq",
        block: "arq: { queues: [\"arq:queue\"] }",
        made_by,
        holds: aged(in_flight(2.0, 2.0)),
        empty: in_flight(0.0, 0.0),
        keys: vec![("arq:queue", Trigger)],
    }
}
