//! Source blocks: each field of each framework's block with what belongs there, what belongs elsewhere, and what belongs
//! nowhere.

use std::fmt::Write as _;

use tidegate::source::wanted_by;

use super::drive::{Target, drive};
use super::manifests::{read, reads_back};
use super::mutate::{self, Dictionary, Rng};
use super::promises;

#[test]
fn sources() {
    drive("sources", Sources::new, &["loads", "broken"]);
}

/// What a field takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Names,
    Name,
    Bool,
    Duration,
    Steps,
    One(&'static [&'static str]),
    Table,
    Metric,
    Labels,
    Store(&'static [(&'static str, Kind)]),
}

use Kind::{Bool, Duration, Labels, Metric, Name, Names, One, Steps, Store, Table};

const BLOCKS: [(&str, &[(&str, Kind)]); 12] = [
    ("redisList", &[("keys", Names), ("keysMatching", Names), ("processing", Names)]),
    ("redisSet", &[("keys", Names)]),
    ("redisHash", &[("keys", Names)]),
    ("redisSortedSet", &[("keys", Names), ("scoreUnit", One(&["seconds", "milliseconds"]))]),
    ("redisStream", &[("key", Name), ("group", Name), ("backlog", One(&["lag", "pending", "length"]))]),
    (
        "celery",
        &[
            ("queues", Names),
            ("boundTo", Name),
            ("prioritySteps", Steps),
            ("separator", Name),
            ("globalKeyprefix", Name),
            ("inFlight", One(&["byQueue", "all", "none"])),
            ("visibilityTimeout", Duration),
        ],
    ),
    ("sidekiq", &[("queues", Names), ("oldestAge", Bool)]),
    ("bullmq", &[("queues", Names), ("prefix", Name), ("oldestAge", Bool)]),
    ("rq", &[("queues", Names), ("oldestAge", Bool)]),
    ("resque", &[("queues", Names), ("namespace", Name)]),
    ("dramatiq", &[("queues", Names), ("namespace", Name), ("oldestAge", Bool)]),
    ("arq", &[("queues", Names), ("oldestAge", Bool)]),
];

/// A block's fields, and what each takes.
type Fields = &'static [(&'static str, Kind)];

/// What is not on a Redis: the connection that has it, the block, and its fields.
const ELSEWHERE: [(&str, &str, Fields); 3] = [
    (
        "p",
        "postgres",
        &[
            ("query", Name),
            ("pupsourcingOrchestrator", Store(&ORCHESTRATOR)),
            ("pupsourcing", Store(&PUPSOURCING)),
            ("marten", Store(&[("projections", Names), ("schema", Name)])),
            ("messageDb", Store(&[("category", Name), ("positionStreams", Names), ("schema", Name)])),
            ("eventuous", Store(&[("subscriptions", Names), ("schema", Name)])),
            ("checkpoint", Store(&CHECKPOINT)),
        ],
    ),
    (
        "q",
        "prometheusQuery",
        &[("query", Metric), ("labels", Labels), ("freshnessQuery", Metric), ("ignoreNullValues", Bool)],
    ),
    ("s", "prometheusScrape", &[("metric", Metric), ("combine", One(&["sum", "max", "avg", "min"]))]),
];

const ORCHESTRATOR: [(&str, Kind); 7] = [
    ("replicaSet", Name),
    ("projections", Names),
    ("eventsTable", Table),
    ("checkpointsTable", Table),
    ("generationsTable", Table),
    ("workersTable", Table),
    ("staleAfter", Duration),
];

const PUPSOURCING: [(&str, Kind); 6] = [
    ("consumers", Names),
    ("aggregateTypes", Names),
    ("eventsTable", Table),
    ("segmentsTable", Table),
    ("workersTable", Table),
    ("staleAfter", Duration),
];

const CHECKPOINT: [(&str, Kind); 7] = [
    ("eventsTable", Table),
    ("eventsPosition", Name),
    ("checkpointsTable", Table),
    ("checkpointsName", Name),
    ("checkpointsPosition", Name),
    ("names", Names),
    ("scope", Store(&[("column", Name), ("values", Names)])),
];

/// What may stand beside the store.
const BESIDE: [(&str, Kind); 3] = [("listen", Name), ("boundByPartitions", Bool), ("rebalanceTimeout", Duration)];

/// Names of keys and queues, as YAML has them.
const WORDS: [&str; 16] = [
    "jobs",
    "default",
    "celery",
    "\"arq:queue\"",
    "\"jobs:*\"",
    "\"{bull}\"",
    "\"\\x06\\x16\"",
    "\"ü 🚦\"",
    "high",
    "low",
    "\"a b\"",
    "\"*\"",
    "\"true\"",
    "\"0\"",
    "mail",
    "\"q[0-9]\"",
];

const WRONG: [&str; 14] = [
    "\"\"", "null", "~", "3", "-1", "true", "[]", "{}", "[\"\"]", "[a, a]", "[1, [2]]", "{ a: b }", "\"\\0\"", "1e400",
];

const POLICIES: [&str; 4] = [
    "backlogPerReplica: { target: 5 }",
    "fixed: { replicas: 3 }",
    "load: { slotsPerReplica: 4, jobDuration: 2s, drainWithin: 30s }",
    "load: { slotsPerReplica: 500m, jobDuration: 100ms, drainWithin: 1h, utilization: 0.5 }",
];

/// Reads that one trigger may be made of: a thousand queues of Celery with ten steps, and some.
const READS: usize = 10_010;

struct Sources {
    dictionary: Dictionary,
}

impl Sources {
    fn new() -> Self {
        let words: Vec<String> = WORDS.iter().chain(&WRONG).map(ToString::to_string).collect();
        Sources { dictionary: Dictionary::of(&["queues: ", "keys: ", "{", "}", "[", "]"], &words) }
    }

    /// A block, and the connection that has what it speaks of.
    fn any(&self, rng: &mut Rng) -> (&'static str, String) {
        if rng.once_in(3) { elsewhere(rng) } else { ("c", self.block(rng)) }
    }

    fn block(&self, rng: &mut Rng) -> String {
        let (name, fields) = rng.pick(&BLOCKS);
        let mut text = format!("{name}: {{ ");
        for (at, (field, kind)) in fields.iter().enumerate() {
            // The first is what it needs.
            if rng.once_in(if at == 0 { 30 } else { 2 }) {
                continue;
            }
            let kind = if rng.once_in(60) { rng.pick(fields).1 } else { *kind };
            let value = if rng.once_in(25) { (*rng.pick(&WRONG)).to_owned() } else { value(rng, kind) };
            let _ = write!(text, "{field}: {value}, ");
        }
        if rng.once_in(60) {
            let (_, others) = rng.pick(&BLOCKS);
            let _ = write!(text, "{}: {}, ", rng.pick(others).0, rng.pick(&WORDS));
        }
        text.push('}');
        text
    }
}

fn elsewhere(rng: &mut Rng) -> (&'static str, String) {
    let (connection, name, fields) = *rng.pick(&ELSEWHERE);
    if name != "postgres" {
        return (connection, format!("{name}: {}", of_fields(rng, fields)));
    }
    // One of them, and what may stand beside it.
    let (store, kind) = *rng.pick(fields);
    let mut text = format!("{name}: {{ {store}: {}, ", value(rng, kind));
    if rng.once_in(60) {
        let (other, kind) = *rng.pick(fields);
        let _ = write!(text, "{other}: {}, ", value(rng, kind));
    }
    for (field, kind) in BESIDE {
        if rng.once_in(4) {
            let _ = write!(text, "{field}: {}, ", value(rng, kind));
        }
    }
    text.push('}');
    (connection, text)
}

fn of_fields(rng: &mut Rng, fields: &[(&str, Kind)]) -> String {
    let mut text = "{ ".to_owned();
    for (field, kind) in fields {
        if rng.once_in(6) {
            continue;
        }
        let value = if rng.once_in(40) { (*rng.pick(&WRONG)).to_owned() } else { value(rng, *kind) };
        let _ = write!(text, "{field}: {value}, ");
    }
    text.push('}');
    text
}

fn value(rng: &mut Rng, kind: Kind) -> String {
    match kind {
        Store(fields) => of_fields(rng, fields),
        Table => (*rng.pick(&["events", "store.events", "\"Ü\"", "a.b.c", "\".\"", "\"a\\\"b\""])).to_owned(),
        Labels => (*rng.pick(&["{ queue: emails }", "{ a: b, c: \"\" }", "{}", "{ a: 3 }", "[a]"])).to_owned(),
        Metric => (*rng.pick(&[
            "jobs",
            "sum(jobs)",
            "'jobs{queue=\"a\",state=~\"b|c\"}'",
            "'{\"jobs.waiting\",q!~`\\d`}'",
            "'{a=~\"(\"}'",
            "'jobs{'",
            "\"ü\"",
        ]))
        .to_owned(),
        Names => {
            let count = match rng.below(400) {
                0 => 1_001,
                1 => 1_000,
                2..=6 => 17,
                _ => 1 + rng.below(3),
            };
            let name =
                |rng: &mut Rng, i: usize| if count > 3 { format!("q{i}") } else { (*rng.pick(&WORDS)).to_owned() };
            let names: Vec<String> = (0..count).map(|i| name(rng, i)).collect();
            format!("[{}]", names.join(", "))
        }
        Name => (*rng.pick(&WORDS)).to_owned(),
        Bool => (*rng.pick(&["true", "false"])).to_owned(),
        Duration => (*rng.pick(&["1h", "30m", "1s", "999ms", "0s", "43200s", "9000h", "1.5s"])).to_owned(),
        Steps => (*rng.pick(&[
            "[0, 3, 6, 9]",
            "[0]",
            "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]",
            "[3, 0]",
            "[]",
            "[10]",
            "[-1]",
            "[0, 0]",
        ]))
        .to_owned(),
        One(of) => (*rng.pick(of)).to_owned(),
    }
}

impl Target for Sources {
    type Input = String;

    fn input(&self, rng: &mut Rng) -> String {
        let mut text = "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: c, namespace: n }\n\
                        spec: { redis: { address: \"redis:6379\" } }\n---\n\
                        apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: p, namespace: n }\n\
                        spec: { postgres: { urlFrom: { env: URL } } }\n---\n\
                        apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: q, namespace: n }\n\
                        spec: { prometheus: { url: \"http://prometheus:9090\" } }\n---\n\
                        apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: s, namespace: n }\n\
                        spec: { scrape: { url: \"http://exporter:9121/metrics\" } }\n---\n\
                        apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: { name: a, namespace: n }\n\
                        spec:\n  scaleTargetRef: { name: a }\n  triggers:\n"
            .to_owned();
        for _ in 0..1 + rng.below(2) * rng.below(3) {
            let (connection, mut block) = self.any(rng);
            if rng.once_in(80) {
                let _ = write!(block, ", {}", self.block(rng));
            }
            if rng.once_in(4) {
                let (_, other) = self.any(rng);
                let _ = write!(block, ", inFlight: {{ {other} }}");
            }
            let policy = rng.pick(&POLICIES);
            let _ = writeln!(text, "    - {{ connection: {connection}, {block}, policy: {{ {policy} }} }}");
        }
        if rng.once_in(8) {
            let other = text.clone();
            mutate::text(rng, &mut text, &other, &self.dictionary);
        }
        text
    }

    fn check(&mut self, text: &String) -> Result<&'static str, String> {
        let loaded = match read(text) {
            Ok(loaded) => loaded,
            Err(problems) if problems.0.is_empty() => return Err("refused without a reason".to_owned()),
            Err(problems) => {
                problems.0.iter().try_for_each(promises::problem)?;
                return Ok("broken");
            }
        };
        for spec in &loaded.autoscalers {
            promises::spec(spec)?;
            for trigger in &spec.triggers {
                let wanted = wanted_by(&trigger.source);
                if wanted.is_empty() || wanted.len() > READS {
                    return Err(format!("{} reads of {trigger:?}", wanted.len()));
                }
                // Something must tell of work.
                if wanted.iter().all(|wanted| wanted.optional) {
                    return Err(format!("all reads are optional: {trigger:?}"));
                }
            }
        }
        loaded.warnings.iter().try_for_each(promises::problem)?;
        reads_back(&loaded)?;
        Ok("loads")
    }

    fn literal(&self, text: &String) -> String {
        format!("{text:?}")
    }
}
