//! What a server answers to the questions of several steps: right replies, nearly right ones, and any tree of values; and
//! what jobs are, which whoever enqueues them writes.
//!
//! The decoders run as in the backend, three rounds each, so that what one round leaves behind is the next one's.

use std::fmt::Write as _;

use redis::{Arg, Cmd, PushKind, Value, VerbatimFormat};
use tidegate::model::{Observation, ReadFailure, Tick};
use tidegate::source::redis::rehearse;
use tidegate::source::{Moment, Read, wanted_by};

use super::drive::{Target, drive};
use super::manifests;
use super::mutate::{self, Dictionary, Rng};

#[test]
fn replies() {
    drive("replies", || Replies::new(false), &["facts", "failed", "both"]);
}

#[test]
fn payloads() {
    drive("payloads", || Replies::new(true), &["facts", "aged"]);
}

/// The moment of all cases.
const NOW: u64 = 1_795_705_000_000;

/// Commands that one survey may have sent in three rounds, whatever it is answered: ten thousand keys of a pattern in
/// each, and some.
const ASKED: usize = 31_000;

/// Bytes of all of these: ten thousand keys of 4 KiB in a round would be more, but no case is as large.
const SENT: usize = 64 << 20;

/// A failure is a sentence or two.
const LONGEST_FAILURE: usize = 2_000;

/// Each source that has a question of several steps.
const SOURCES: &str = r#"
apiVersion: tidegate.dev/v1alpha1
kind: Connection
metadata: { name: c, namespace: n }
spec: { redis: { address: "redis:6379" } }
---
apiVersion: tidegate.dev/v1alpha1
kind: QueueAutoscaler
metadata: { name: a, namespace: n }
spec:
  scaleTargetRef: { name: a }
  triggers:
    - { connection: c, redisList: { keys: [q], keysMatching: ["q:*", "r:*"] }, policy: { backlogPerReplica: { target: 1 } } }
    - { connection: c, redisStream: { key: s, group: workers }, policy: { backlogPerReplica: { target: 1 } } }
    - { connection: c, redisStream: { key: s, group: workers, backlog: pending }, policy: { backlogPerReplica: { target: 1 } } }
    - { connection: c, celery: { queues: [default], boundTo: celery }, policy: { backlogPerReplica: { target: 1 } } }
    - { connection: c, celery: { queues: [default], inFlight: all }, policy: { backlogPerReplica: { target: 1 } } }
    - { connection: c, sidekiq: { queues: [default] }, policy: { backlogPerReplica: { target: 1 } } }
    - { connection: c, bullmq: { queues: [default] }, policy: { backlogPerReplica: { target: 1 } } }
    - { connection: c, rq: { queues: [default] }, policy: { backlogPerReplica: { target: 1 } } }
    - { connection: c, resque: { queues: [default] }, policy: { backlogPerReplica: { target: 1 } } }
    - { connection: c, dramatiq: { queues: [default] }, policy: { backlogPerReplica: { target: 1 } } }
    - { connection: c, arq: { queues: [default] }, policy: { backlogPerReplica: { target: 1 } } }
"#;

/// What frameworks write, and what stands where they write.
const PAYLOADS: [&str; 32] = [
    r#"{"class":"Hard","args":[1],"queue":"default","jid":"x","created_at":1795704000000,"enqueued_at":1795704000500}"#,
    r#"{"class":"Hard","args":[1],"queue":"default","jid":"x","created_at":1795704000.25,"enqueued_at":1795704000.5}"#,
    r#"{"queue":"default","payload":"{\"class\":\"Hard\"}","run_at":1795704000}"#,
    r#"{"queue":"others","payload":{"class":"Hard"},"run_at":"2026-11-26T12:00:00Z"}"#,
    r#"[{"body":"W10=","headers":{},"properties":{"delivery_info":{"exchange":"","routing_key":"default"},"delivery_tag":"x"}},"","default"]"#,
    r#"[{"body":"W10=","properties":{"delivery_info":{"exchange":"celery","routing_key":"x"}}},"celery",null]"#,
    r#"{"queue_name":"default","actor_name":"add","args":[],"options":{},"message_id":"m","message_timestamp":1795704000000}"#,
    r#"{"queue_name":"default.DQ","args":[],"options":{"eta":1795704000000},"message_id":"m","message_timestamp":1}"#,
    "2026-11-26T14:30:00.123456Z",
    "2026-11-26T14:30:00+00:00",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "1795704000000",
    "1795704000.5",
    "default\u{6}\u{16}\u{6}\u{16}default",
    "x\u{6}\u{16}y\u{6}\u{16}z",
    "host:1:aa",
    "0:marker",
    "1526919030474-55",
    "1795704000000-0",
    "0-0",
    "18446744073709551615-18446744073709551615",
    "q:1",
    "r:2",
    "0",
    "1",
    "workers",
    "inf",
    "-inf",
    "nan",
    "-1",
    "1e308",
];

/// Field names and the like, for mutations.
const TOKENS: [&str; 14] = [
    "\"enqueued_at\":",
    "\"created_at\":",
    "\"queue\":",
    "\"message_timestamp\":",
    "\"properties\":",
    "\"delivery_info\":",
    "\"routing_key\":",
    "null",
    "1e999",
    "-1",
    "9999999999999999",
    "\\ud800",
    "\\u0000",
    "\"default\"",
];

struct Replies {
    reads: Vec<Read>,
    payloads: bool,
    corpus: Vec<String>,
    dictionary: Dictionary,
}

impl Replies {
    fn new(payloads: bool) -> Self {
        let loaded = manifests::read(SOURCES).unwrap_or_else(|problems| panic!("{problems}"));
        let triggers = loaded.autoscalers[0].triggers.iter();
        let wanted = triggers.flat_map(|trigger| wanted_by(&trigger.source)).map(|wanted| wanted.read);
        let mut reads: Vec<Read> = wanted.filter(|read| matches!(read, Read::Survey(_))).collect();
        reads.dedup();
        assert!(reads.len() >= 18, "the surveys are there: {reads:?}");
        let corpus: Vec<String> = PAYLOADS.map(str::to_owned).to_vec();
        Replies { reads, payloads, dictionary: Dictionary::of(&TOKENS, &corpus), corpus }
    }

    fn run(&self, read: &Read, seed: u64, mut seen: impl FnMut(&Cmd, &Value)) -> Vec<Result<Observation, ReadFailure>> {
        let mut rng = Rng::new(seed, 0);
        let rounds = [0, 1_100, 12_000]
            .map(|later| Moment { tick: Tick::from_millis(1_000_000 + later), unix_millis: NOW + later });
        rehearse(read, &rounds, &mut |cmd| {
            let reply = self.reply(&mut rng, cmd);
            seen(cmd, &reply);
            reply
        })
    }

    fn reply(&self, rng: &mut Rng, cmd: &Cmd) -> Value {
        let words: Vec<String> =
            cmd.args_iter()
                .map(|arg| {
                    if let Arg::Simple(bytes) = arg {
                        String::from_utf8_lossy(bytes).into_owned()
                    } else {
                        String::new()
                    }
                })
                .collect();
        let right = self.right(rng, &words);
        match rng.below(10) {
            _ if self.payloads => right,
            0..=5 => right,
            6..=8 => {
                let mut nearly = right;
                for _ in 0..1 + rng.below(3) {
                    self.change(rng, &mut nearly);
                }
                nearly
            }
            _ => self.any(rng, 0),
        }
    }

    /// What a server of good will answers.
    fn right(&self, rng: &mut Rng, words: &[String]) -> Value {
        let word = |at: usize| words.get(at).map_or("", String::as_str);
        let has = |wanted: &str| words.iter().any(|word| word == wanted);
        let many = if rng.once_in(3_000) { 20_000 } else { 5 };
        match word(0) {
            "LLEN" | "SCARD" | "ZCARD" | "HLEN" | "XLEN" | "ZCOUNT" | "EXISTS" => self.number(rng),
            "SCAN" => {
                let cursor = if rng.once_in(3) { "0".to_owned() } else { rng.next().to_string() };
                Value::Array(vec![bulk(cursor), self.texts(rng, many)])
            }
            "XINFO" if word(1) == "STREAM" => {
                let pairs = vec![
                    ("length", self.number(rng)),
                    ("last-generated-id", self.text(rng)),
                    ("entries-added", self.number(rng)),
                    ("first-entry", self.entry(rng)),
                ];
                self.map(rng, pairs)
            }
            "XINFO" => {
                let groups = (0..rng.below(4)).map(|_| {
                    let pairs = vec![
                        ("name", bulk("workers".to_owned())),
                        ("pending", self.number(rng)),
                        ("last-delivered-id", self.text(rng)),
                        ("entries-read", self.number_or_nil(rng)),
                        ("lag", self.number_or_nil(rng)),
                    ];
                    self.map(rng, pairs)
                });
                Value::Array(groups.collect())
            }
            "XRANGE" => Value::Array((0..rng.below(many)).map(|_| self.entry(rng)).collect()),
            "ZRANGE" if has("WITHSCORES") => {
                let paired = rng.once_in(2);
                let mut items = Vec::new();
                for _ in 0..rng.below(many) {
                    let pair = [self.text(rng), Value::Double(self.float(rng))];
                    if paired { items.push(Value::Array(pair.to_vec())) } else { items.extend(pair) }
                }
                Value::Array(items)
            }
            "ZRANGE" | "LRANGE" | "SRANDMEMBER" | "SMEMBERS" | "HVALS" | "HMGET" => self.texts(rng, many),
            _ => self.text(rng),
        }
    }

    fn number(&self, rng: &mut Rng) -> Value {
        Value::Int(match rng.below(20) {
            0 => i64::MAX,
            1 => -1,
            2 => i64::MIN,
            _ => rng.below(3_000) as i64,
        })
    }

    fn number_or_nil(&self, rng: &mut Rng) -> Value {
        if rng.once_in(3) { Value::Nil } else { self.number(rng) }
    }

    fn float(&self, rng: &mut Rng) -> f64 {
        *rng.pick(&[
            0.0,
            1.795e12,
            1.7957e9,
            -1.0,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
            f64::MAX,
            f64::MIN_POSITIVE,
        ])
    }

    fn text(&self, rng: &mut Rng) -> Value {
        if rng.once_in(8) {
            return Value::Nil;
        }
        let mut text = rng.pick(&self.corpus).clone();
        if self.payloads || rng.once_in(4) {
            for _ in 0..rng.below(4) {
                let other = rng.pick(&self.corpus).clone();
                mutate::text(rng, &mut text, &other, &self.dictionary);
            }
        }
        let mut bytes = text.into_bytes();
        if rng.once_in(20) {
            mutate::bytes(rng, &mut bytes);
        }
        Value::BulkString(bytes)
    }

    fn texts(&self, rng: &mut Rng, many: usize) -> Value {
        let texts = (0..rng.below(many)).map(|_| self.text(rng)).collect();
        if rng.once_in(4) { Value::Set(texts) } else { Value::Array(texts) }
    }

    fn entry(&self, rng: &mut Rng) -> Value {
        Value::Array(vec![self.text(rng), Value::Array(vec![bulk("a".to_owned()), bulk("b".to_owned())])])
    }

    /// As RESP3 or as RESP2 has it.
    fn map(&self, rng: &mut Rng, pairs: Vec<(&str, Value)>) -> Value {
        let pairs = pairs.into_iter().map(|(name, value)| (bulk(name.to_owned()), value));
        if rng.once_in(2) {
            Value::Map(pairs.collect())
        } else {
            Value::Array(pairs.flat_map(|(name, value)| [name, value]).collect())
        }
    }

    /// Any tree of values.
    fn any(&self, rng: &mut Rng, depth: usize) -> Value {
        let few = if depth > 6 { 1 } else { 4 };
        let several = |rng: &mut Rng| -> Vec<Value> { (0..rng.below(few)).map(|_| self.any(rng, depth + 1)).collect() };
        let pairs = |rng: &mut Rng| -> Vec<(Value, Value)> {
            (0..rng.below(few)).map(|_| (self.any(rng, depth + 1), self.any(rng, depth + 1))).collect()
        };
        match rng.below(16) {
            0 => Value::Nil,
            1 => self.number(rng),
            2 => self.text(rng),
            3 | 4 => Value::Array(several(rng)),
            5 => Value::SimpleString(self.dictionary.word(rng)),
            6 => Value::Okay,
            7 => Value::Map(pairs(rng)),
            8 => Value::Set(several(rng)),
            9 => Value::Attribute { data: Box::new(self.any(rng, depth + 1)), attributes: pairs(rng) },
            10 => Value::Double(self.float(rng)),
            11 => Value::Boolean(rng.once_in(2)),
            12 => Value::VerbatimString { format: VerbatimFormat::Text, text: self.dictionary.word(rng) },
            13 => Value::Push { kind: PushKind::Invalidate, data: several(rng) },
            _ => self.error(rng),
        }
    }

    fn error(&self, rng: &mut Rng) -> Value {
        let code = *rng.pick(&[
            "ERR",
            "WRONGTYPE",
            "NOPERM",
            "LOADING",
            "BUSY",
            "MOVED",
            "ASK",
            "CLUSTERDOWN",
            "NOAUTH",
            "MASTERDOWN",
            "NOSCRIPT",
            "X",
        ]);
        let text = self.dictionary.word(rng).replace(['\r', '\n'], " ");
        let line = format!("-{code} no such key {text}\r\n");
        redis::parse_redis_value(line.as_bytes()).unwrap_or(Value::Nil)
    }

    /// Changes one thing somewhere in a value.
    fn change(&self, rng: &mut Rng, value: &mut Value) {
        match value {
            Value::Array(items) | Value::Set(items) if !items.is_empty() && !rng.once_in(4) => {
                let (one, two) = (rng.below(items.len()), rng.below(items.len()));
                match rng.below(8) {
                    0 => drop(items.remove(one)),
                    1 => items.swap(one, two),
                    2 => items.insert(two, items[one].clone()),
                    3 => items.truncate(one),
                    4 => items.push(self.any(rng, 4)),
                    _ => self.change(rng, &mut items[one]),
                }
            }
            Value::Map(pairs) if !pairs.is_empty() && !rng.once_in(4) => {
                let one = rng.below(pairs.len());
                match rng.below(6) {
                    0 => drop(pairs.remove(one)),
                    1 => self.change(rng, &mut pairs[one].0),
                    _ => self.change(rng, &mut pairs[one].1),
                }
            }
            Value::BulkString(bytes) if rng.once_in(2) => mutate::bytes(rng, bytes),
            other => *other = if rng.once_in(3) { Value::Array(vec![other.clone()]) } else { self.any(rng, 3) },
        }
    }
}

fn bulk(text: String) -> Value {
    Value::BulkString(text.into_bytes())
}

impl Target for Replies {
    type Input = (usize, u64);

    fn input(&self, rng: &mut Rng) -> (usize, u64) {
        (rng.below(self.reads.len()), rng.next())
    }

    fn check(&mut self, (read, seed): &(usize, u64)) -> Result<&'static str, String> {
        let (mut asked, mut sent) = (0, 0);
        let found = self.run(&self.reads[*read], *seed, |cmd, _| {
            asked += 1;
            sent += cmd.get_packed_command().len();
        });
        if asked > ASKED || sent > SENT {
            return Err(format!("{asked} commands of {sent} bytes in three rounds"));
        }
        let (mut facts, mut failed, mut aged) = (false, false, false);
        for outcome in &found {
            match outcome {
                Ok(observation) => {
                    facts = true;
                    aged |= observation.oldest_age.get().is_some();
                    sound(observation)?;
                }
                Err(failure) => {
                    failed = true;
                    let text = &failure.message;
                    if text.is_empty() || text.len() > LONGEST_FAILURE || text.contains(char::is_control) {
                        return Err(format!("a failure of {} bytes: {text:?}", text.len()));
                    }
                }
            }
        }
        if found.len() != 3 {
            return Err(format!("{} outcomes of three rounds", found.len()));
        }
        Ok(match (facts, failed, aged) {
            (true, _, true) if self.payloads => "aged",
            (true, true, _) => "both",
            (true, false, _) => "facts",
            _ => "failed",
        })
    }

    fn literal(&self, (read, seed): &(usize, u64)) -> String {
        let mut text = format!("{:?}\n", self.reads[*read]);
        self.run(&self.reads[*read], *seed, |cmd, reply| {
            let packed = String::from_utf8_lossy(&cmd.get_packed_command()).replace("\r\n", " ");
            let packed: String = packed.chars().take(200).collect();
            let _ = writeln!(text, "{packed} -> {reply:?}");
        });
        text
    }
}

/// Counts, ages and limits are numbers, and none is below zero.
fn sound(found: &Observation) -> Result<(), String> {
    let Observation {
        backlog,
        due,
        in_flight,
        oldest_age,
        limit,
        added,
        taken,
        age,
        partitions,
        unowned,
        rebalancing: _,
        paused: _,
    } = *found;
    let measures = [due, in_flight, oldest_age, limit, added, taken, age, partitions, unowned];
    let known = measures.iter().filter_map(|measure| measure.get());
    if std::iter::once(backlog).chain(known).all(|number| number.is_finite() && number >= 0.0) {
        return Ok(());
    }
    Err(format!("no such numbers: {found:?}"))
}
