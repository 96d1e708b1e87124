//! `tidegate check --acl`: a user made by exactly the printed line reads all that the source reads, and writes nothing.

use std::io::Write as _;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tidegate::files;
use tidegate::model::{Observation, ReadFailure};
use tidegate::source::redis::RedisBackend;
use tidegate::source::secrets::Secrets;
use tidegate::source::{Answer, Answers, Backend, Moment, Wanted, wanted_by};
use tidegate::spec::load::{Terms, load};
use tidegate::spec::{AutoscalerSpec, UserRef};

use super::*;
use crate::support::tidegate::command;

/// One source: its block, and its keys as the framework lays them out, with `NOW` and `LATER` for times in milliseconds
/// (`NOWS`, `LATERS` in seconds). Words are parted by spaces.
struct Case {
    block: &'static str,
    keys: &'static [&'static str],
    /// What must have been seen: backlog, in flight, whether an age.
    seen: (f64, Option<f64>, bool),
    /// More of the trigger.
    more: &'static str,
}

const JOB: &str = r#"{"queue":"q","enqueued_at":1}"#;

const CASES: &[Case] = &[
    Case {
        block: "redisList: { keys: [jobs, a*b, \"two words\"], processing: [busy] }",
        keys: &["RPUSH jobs 1 2", "SADD a*b 1", "ZADD busy 1 1"],
        seen: (3.0, Some(1.0), false),
        more: "",
    },
    Case {
        block: "redisList: { keysMatching: [\"jobs:*\", \"[xy]?\"] }",
        keys: &["RPUSH jobs:1 1 2", "RPUSH jobs:2 1", "RPUSH x1 1", "RPUSH z1 1"],
        seen: (4.0, None, false),
        more: "",
    },
    Case {
        block: "redisSet: { keys: [ids] }",
        keys: &["SADD ids 1 2", "HSET taken 1 1"],
        seen: (2.0, Some(1.0), false),
        more: "inFlight: { redisHash: { keys: [taken] } }",
    },
    Case {
        block: "redisSortedSet: { keys: [later] }",
        keys: &["ZADD later NOWS a LATERS b"],
        seen: (1.0, None, false),
        more: "",
    },
    Case {
        block: "redisStream: { key: events, group: workers }",
        keys: &["XGROUP CREATE events workers 0 MKSTREAM", "XADD events 1-1 a 1", "XADD events 2-1 a 1"],
        seen: (2.0, Some(0.0), true),
        more: "",
    },
    Case {
        block: "redisStream: { key: events, group: workers, backlog: pending }",
        keys: &[
            "XGROUP CREATE events workers 0 MKSTREAM",
            "XADD events 1-1 a 1",
            "XREADGROUP GROUP workers me STREAMS events >",
        ],
        seen: (1.0, None, false),
        more: "",
    },
    Case {
        block: "redisStream: { key: events, backlog: length }",
        keys: &["XADD events 1-1 a 1"],
        seen: (1.0, None, false),
        more: "",
    },
    Case {
        block: "celery: { queues: [q] }",
        keys: &[
            "LPUSH q 1",
            "LPUSH q\u{6}\u{16}3 1 2",
            r#"HSET unacked tag [{},"","q"]"#,
            "ZADD unacked_index NOWS tag",
        ],
        seen: (3.0, Some(1.0), false),
        more: "",
    },
    Case {
        block: "celery: { queues: [q], boundTo: shop, globalKeyprefix: \"app.\", inFlight: all }",
        keys: &[
            "LPUSH app.q 1",
            "LPUSH app.other 1 2",
            "SADD app._kombu.binding.shop \u{6}\u{16}\u{6}\u{16}other",
            "ZADD app.unacked_index NOWS tag",
        ],
        seen: (3.0, Some(1.0), false),
        more: "",
    },
    Case {
        block: "sidekiq: { queues: [q] }",
        keys: &[
            "LPUSH queue:q JOB",
            "ZADD schedule NOWS JOB",
            "SADD processes host:1:abc",
            "HSET host:1:abc:work 1 JOB",
        ],
        seen: (2.0, Some(1.0), true),
        more: "",
    },
    Case {
        block: "bullmq: { queues: [q] }",
        keys: &[
            "LPUSH bull:q:wait 1",
            "HSET bull:q:1 timestamp 1",
            "ZADD bull:q:prioritized 1 2",
            "LPUSH bull:q:active 3",
            "HSET bull:q:meta concurrency 4",
        ],
        seen: (2.0, Some(1.0), true),
        more: "",
    },
    Case {
        block: "bullmq: { queues: [q], oldestAge: false, prefix: \"{b}\" }",
        keys: &["LPUSH {b}:q:wait 1", "LPUSH {b}:q:active 3"],
        seen: (1.0, Some(1.0), false),
        more: "",
    },
    Case {
        block: "rq: { queues: [q] }",
        keys: &[
            "RPUSH rq:queue:q id",
            "HSET rq:job:id enqueued_at 2026-01-01T00:00:00.000001Z",
            "ZADD rq:wip:q LATERS other",
            "ZADD rq:scheduled:q NOWS third",
        ],
        seen: (2.0, Some(1.0), true),
        more: "",
    },
    Case {
        block: "resque: { queues: [q] }",
        keys: &["RPUSH resque:queue:q 1", "SADD resque:workers host:1:q", "SET resque:worker:host:1:q JOB"],
        seen: (1.0, Some(1.0), false),
        more: "",
    },
    Case {
        block: "dramatiq: { queues: [q] }",
        keys: &[
            "RPUSH dramatiq:q 1",
            "RPUSH dramatiq:q.DQ 3",
            r#"HSET dramatiq:q.DQ.msgs 3 {"options":{"eta":1}}"#,
            r#"HSET dramatiq:q.msgs 1 {"message_timestamp":1} 2 {}"#,
        ],
        seen: (2.0, Some(1.0), true),
        more: "",
    },
    Case {
        block: "arq: { queues: [\"arq:queue\"] }",
        keys: &["ZADD arq:queue 1 a 2 b", "SET arq:in-progress:a 1"],
        seen: (1.0, Some(1.0), true),
        more: "",
    },
];

/// What no reader may do; `KEY` stands for a key that it may read.
const FORBIDDEN: &[&str] = &[
    "SET KEY x",
    "DEL KEY",
    "UNLINK KEY",
    "EXPIRE KEY 1",
    "RENAME KEY other",
    "LPUSH KEY x",
    "RPUSH KEY x",
    "LPOP KEY",
    "BRPOP KEY 1",
    "LMOVE KEY KEY LEFT LEFT",
    "SADD KEY x",
    "SPOP KEY",
    "ZADD KEY 1 x",
    "ZREM KEY x",
    "HSET KEY a b",
    "HDEL KEY a",
    "XADD KEY * a b",
    "XACK KEY workers 1-1",
    "XGROUP CREATE KEY g 0",
    "XTRIM KEY MAXLEN 0",
    "FLUSHDB",
    "FLUSHALL",
    "KEYS *",
    "CONFIG GET *",
    "ACL LIST",
    "CLIENT LIST",
    "CLIENT KILL ID 1",
    "SHUTDOWN",
    "EVAL return(1) 0",
    "PUBLISH c x",
    "SUBSCRIBE c",
    "DUMP KEY",
    "SWAPDB 0 1",
];

#[test]
fn a_user_made_by_the_printed_line_reads_all_of_its_source_and_writes_nothing() {
    for case in CASES {
        let server = RedisProcess::start();
        let (printed, spec) = checked(&server, 0, case);
        lay_out(&server, 0, case);
        let line = printed.lines().find(|line| line.starts_with("ACL SETUSER ")).expect("a line");
        assert_eq!(run(&server, &[], &line.replace(">PASSWORD", ">secret")), "OK\n", "{line}");

        let (whole, failures) = read(&server, &spec);
        let seen = (whole.backlog, whole.in_flight.get(), whole.oldest_age.get().is_some());
        assert_eq!((seen, failures), (case.seen, Vec::new()), "{}\n{line}", case.block);

        let key = case.keys[0].split(' ').find(|word| word.chars().any(char::is_lowercase)).expect("a key");
        for forbidden in FORBIDDEN {
            let words: Vec<&str> = forbidden.split(' ').map(|word| if word == "KEY" { key } else { word }).collect();
            let said = as_user(&server, &words.join(" "));
            assert!(said.contains("NOPERM"), "{}: {forbidden}: {said}\n{line}", case.block);
        }
        let said = as_user(&server, "GET somebodys:else");
        assert!(said.contains("NOPERM"), "{}: {said}\n{line}", case.block);
        // What it takes to be woken, and to ask for many at once.
        for allowed in ["CLIENT TRACKING ON OPTIN", "CLIENT CACHING YES", "CLIENT SETNAME me", "PING"] {
            let said = as_user(&server, &format!("CLIENT TRACKING ON OPTIN\n{allowed}"));
            assert!(!said.contains("NOPERM"), "{}: {allowed}: {said}", case.block);
        }
    }
}

#[test]
fn another_database_takes_the_right_to_select_it() {
    let server = RedisProcess::start();
    let case = &CASES[2];
    let (printed, spec) = checked(&server, 3, case);
    lay_out(&server, 3, case);
    let line = printed.lines().find(|line| line.starts_with("ACL SETUSER ")).expect("a line");
    assert!(line.contains(" +select"), "{line}");
    run(&server, &[], &line.replace(">PASSWORD", ">secret"));
    let (whole, failures) = read(&server, &spec);
    assert_eq!((whole.backlog, failures), (2.0, Vec::new()));
}

#[test]
fn there_is_a_line_for_each_connection_with_the_rights_of_all_that_read_it() {
    let (_folder, path) = manifest(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: one, namespace: shop }\n\
         spec: { redis: { address: \"one:6379\", username: reader } }\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: { name: two, namespace: shop }\n\
         spec: { redis: { address: \"two:6379\" } }\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: { name: a, namespace: shop }\nspec:\n  \
           scaleTargetRef: { name: a }\n  triggers:\n    \
             - { connection: one, redisSet: { keys: [ids] }, policy: { fixed: { replicas: 1 } } }\n    \
             - { connection: one, redisHash: { keys: [fields] }, policy: { fixed: { replicas: 1 } } }\n",
    );
    let output = command(&["check", "--acl", "-f", &path]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{printed}");
    let line = "ACL SETUSER reader reset on >PASSWORD resetchannels -@all %R~fields %R~ids +client|caching \
                +client|setname +client|tracking +exists +hello +hlen +ping +scard";
    let expected = format!(
        "# Connection shop/one (one:6379)\n# for shop/a trigger-0 (redisSet), shop/a trigger-1 (redisHash)\n{line}\n\n\
         # Connection shop/two (two:6379)\n# Nothing here reads it.\n"
    );
    assert!(printed.ends_with(&expected), "{printed}");
    let refused = command(&["check", "--acl", "-o", "json", "-f", &path]);
    assert_eq!(refused.status.code(), Some(2), "there is only one way to print it");
}

fn manifest(text: &str) -> (TempDir, String) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("manifest.yaml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (folder, path)
}

/// What is printed of a manifest with this source, and what it means.
fn checked(server: &RedisProcess, database: u32, case: &Case) -> (String, Arc<AutoscalerSpec>) {
    let (_folder, path) = manifest(&format!(
        "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: redis, namespace: shop }}\n\
         spec: {{ redis: {{ address: \"{}\", database: {database} }} }}\n---\n\
         apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: a, namespace: shop }}\nspec:\n  \
           scaleTargetRef: {{ name: a }}\n  triggers:\n    - connection: redis\n      {}\n      {}\n      \
           policy: {{ backlogPerReplica: {{ target: 1 }} }}\n",
        server.address(),
        case.block,
        case.more,
    ));
    let output = command(&["check", "--acl", "-f", &path]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let loaded = load(&files::texts(&files::read(&[path.into()]).unwrap()), &Terms::default()).unwrap();
    (String::from_utf8(output.stdout).unwrap(), Arc::clone(&loaded.autoscalers[0]))
}

fn lay_out(server: &RedisProcess, database: u32, case: &Case) {
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let mut connection = server.connect().unwrap();
    let _: redis::Value = server.command_on(&mut connection, &["SELECT", &database.to_string()]);
    for line in case.keys {
        let words: Vec<String> = line
            .split(' ')
            .map(|word| match word {
                "NOWS" => (seconds - 1).to_string(),
                "LATERS" => (seconds + 3_600).to_string(),
                "JOB" => JOB.to_owned(),
                word => word.to_owned(),
            })
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let _: redis::Value = server.command_on(&mut connection, &words);
    }
}

/// Reads what the trigger reads, as the user of the printed line: the whole, and whatever failed, optional or not.
fn read(server: &RedisProcess, spec: &AutoscalerSpec) -> (Observation, Vec<ReadFailure>) {
    let trigger = &spec.triggers[0];
    let tidegate::spec::Server::Redis(declared) = &trigger.connection.server else { unreachable!() };
    assert_eq!(declared.address, server.address());
    let login = RedisServer {
        username: Some(UserRef::from("tidegate")),
        password: Some(SecretRef::Inline(Secret::new("secret"))),
        connect_timeout: Duration::from_secs(10),
        response_timeout: Duration::from_secs(10),
        ..declared.clone()
    };
    let mut wanted = wanted_by(&trigger.source);
    let in_flight = trigger.in_flight.iter().flat_map(wanted_by);
    wanted.extend(in_flight.map(|wanted| Wanted { role: tidegate::source::Role::InFlight, ..wanted }));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut backend = RedisBackend::new(login, Secrets::default());
        let reads: Vec<_> = wanted.iter().map(|wanted| backend.track(&wanted.read)).collect();
        let mut batch = backend.prepare(&reads);
        let mut link = backend.connect().await.unwrap();
        let mut answers = Answers::default();
        // Keys of patterns are found first, and counted then.
        for round in 1..=3 {
            let unix_millis = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
            let at = Moment { tick: Tick::from_millis(round * 2_000), unix_millis: unix_millis as u64 };
            backend.fetch(&mut link, &mut batch, at, &mut answers).await.unwrap();
        }
        let mut whole = Observation::default();
        for (position, wanted) in wanted.iter().enumerate() {
            use tidegate::source::Role;
            let part = match (answers.get(position), wanted.role) {
                (Some(Answer::Facts(facts)), _) => *facts,
                (Some(Answer::Items(items)), Role::InFlight) => {
                    Observation { in_flight: items.into(), ..Observation::default() }
                }
                (Some(Answer::Items(items)), _) => Observation::of_backlog(items),
                _ => continue,
            };
            whole.add(&part);
        }
        (whole, answers.failures().cloned().collect())
    })
}

/// What `redis-cli` prints for these lines.
fn run(server: &RedisProcess, login: &[&str], lines: &str) -> String {
    let (_, port) = server.address().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    let mut child = Command::new("redis-cli")
        .args(["-p", &port, "--no-auth-warning"])
        .args(login)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("redis-cli not found ({error}); tests/run installs it"));
    child.stdin.take().unwrap().write_all(format!("{lines}\n").as_bytes()).unwrap();
    String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
}

fn as_user(server: &RedisProcess, line: &str) -> String {
    run(server, &["-3", "--user", "tidegate", "--pass", "secret"], line)
}
