//! The hot path and real redis-servers.

use redis::Value;
use tokio::net::TcpStream;

use super::*;
use crate::source::Count;

#[path = "../../../../../tests/support/redis.rs"]
#[expect(dead_code, unreachable_pub, reason = "made for others, too")]
pub(super) mod support;

use self::support::RedisProcess;

const SOON: Duration = Duration::from_secs(5);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn socket(server: &RedisProcess) -> Box<dyn Socket> {
    let stream = TcpStream::connect(server.address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    Box::new(stream)
}

async fn rig(server: &RedisProcess, names: &[&str]) -> Rig {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    Rig::new(socket(server).await, &login(&server.address()), GROUP, &names).await
}

fn tell(server: &RedisProcess, words: &str) {
    let words: Vec<&str> = words.split(' ').collect();
    let _: Value = server.command(&words);
}

impl Rig {
    /// Waits until the server tells of something.
    async fn until_told(&mut self, what: &str) -> Vec<String> {
        let mut woken = Vec::new();
        self.node.hear(&mut self.reads, &mut woken).unwrap();
        while woken.is_empty() {
            let told = tokio::time::timeout(SOON, self.node.wait()).await;
            told.unwrap_or_else(|_| panic!("the server does not tell of {what}")).unwrap();
            self.node.hear(&mut self.reads, &mut woken).unwrap();
        }
        woken.iter().map(|read| self.names[read.index()].clone()).collect()
    }
}

#[test]
fn every_command_is_understood_and_times_are_times() {
    let server = RedisProcess::start();
    for words in [
        "RPUSH list a b c",
        "SADD set a b",
        "ZADD zset 1 a 2 b 3 c 4 d",
        "HSET hash a 1 b 2 c 3 d 4 e 5",
        "XADD stream * a 1",
        "SET text hello",
        // A job that was due in the last second of 2025, and one a second and a half later; in three units.
        "ZADD seconds 1767225599.5 a 1767225601 b",
        "ZADD millis 1767225599500 a 1767225601000 b",
        "ZADD bull 7238556055552000 a 7238556058624007 b 7238556058628096 c",
    ] {
        tell(&server, words);
    }
    let due = |unit| Question::Scored(Side::Due, unit);
    let coming = |unit| Question::Scored(Side::Ahead, unit);
    let asks = [
        ("list", Question::Known(Count::List), Some(3.0)),
        ("set", Question::Known(Count::Set), Some(2.0)),
        ("zset", Question::Known(Count::SortedSet), Some(4.0)),
        ("hash", Question::Known(Count::Hash), Some(5.0)),
        ("stream", Question::Known(Count::Stream), Some(1.0)),
        ("none", Question::Known(Count::List), Some(0.0)),
        ("text", Question::Known(Count::List), None),
        ("text", Question::Any(Counter::Unsupported), None),
        ("seconds", due(TimeUnit::Seconds), Some(1.0)),
        ("seconds", coming(TimeUnit::Seconds), Some(1.0)),
        ("millis", due(TimeUnit::Millis), Some(1.0)),
        ("millis", coming(TimeUnit::Millis), Some(1.0)),
        ("bull", due(TimeUnit::BullMillis), Some(2.0)),
        ("bull", coming(TimeUnit::BullMillis), Some(1.0)),
    ];
    runtime().block_on(async {
        let mut rig = rig(&server, &[]).await;
        for (read, (key, command, _)) in (0..).map(ReadId).zip(asks) {
            rig.reads.insert(read, key.into(), command);
        }
        rig.part = Part::new(all(asks.len()));
        rig.values = vec![f64::NAN; asks.len()];
        // 1767225600.250, in the middle of the two.
        rig.tick = Tick::from_millis(1_767_225_600_250);
        for _ in 0..2 {
            rig.round(Duration::ZERO).await.unwrap();
            for ((key, command, expected), value) in asks.iter().zip(&rig.values) {
                assert_eq!(Some(*value).filter(|value| !value.is_nan()), *expected, "{command:?} {key}");
            }
            let odd: Vec<usize> = rig.oddities.iter().map(|odd| odd.position).collect();
            assert_eq!(odd, [6, 7]);
            assert_eq!(rig.oddities[1].reply, Value::SimpleString("string".into()));
        }
    });
}

#[test]
fn whatever_fills_an_idle_queue_is_told_of() {
    let server = RedisProcess::start();
    let names = ["a", "b", "c", "d", "z1"];
    let cases: [(&str, &[&str]); 8] = [
        ("RPUSH a x", &["a"]),
        ("EVAL redis.call('LPUSH','b','x') 0", &["b"]),
        ("RENAME a c", &["c"]),
        ("COPY c a", &["a"]),
        ("ZADD z1 5 x", &["z1"]),
        ("SET d text", &["d"]),
        ("DEL a b c d z1", &[]),
        ("LMOVE source a LEFT LEFT", &["a"]),
    ];
    runtime().block_on(async {
        let mut rig = rig(&server, &names).await;
        assert_eq!(rig.node.ear.complaints, Complaints::default());
        tell(&server, "RPUSH source x");
        for (words, filled) in cases {
            // However short its rests were.
            rig.reads = std::mem::take(&mut rig.reads).forgetful();
            rig.rest().await;
            tell(&server, words);
            if filled.is_empty() {
                continue;
            }
            assert_eq!(rig.until_told(words).await, filled, "{words}");
            rig.round(Duration::from_millis(1)).await.unwrap();
            for (name, value) in names.iter().zip(&rig.values) {
                let there: i64 = server.command(&["EXISTS", name]);
                assert_eq!(*value == 0.0, there == 0, "{words}: {name} is {value}");
            }
        }
        // All at once.
        tell(&server, "DEL a b c d z1");
        rig.reads = std::mem::take(&mut rig.reads).forgetful();
        rig.rest().await;
        tell(&server, "FLUSHALL");
        let mut told = rig.until_told("a flush").await;
        told.sort();
        assert_eq!(told, names);
        rig.round(Duration::from_millis(1)).await.unwrap();
        tell(&server, "RPUSH b x");
        assert_eq!(rig.until_told("what is armed anew").await, ["b"]);
    });
}

#[test]
fn a_full_table_of_the_server_costs_wakes_and_no_truth() {
    let server = RedisProcess::with(&["tracking-table-max-keys 50"]);
    let names: Vec<String> = names("idle", 500);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    runtime().block_on(async {
        let mut rig = rig(&server, &names).await;
        for round in 0..60 {
            let at = round * 7 % 500;
            tell(&server, &format!("RPUSH {} x", names[at]));
            rig.round(Duration::from_millis(400)).await.unwrap();
            assert_eq!(rig.values[at], 1.0, "round {round}");
            assert_eq!(rig.values.iter().sum::<f64>(), 1.0, "round {round}");
            tell(&server, &format!("DEL {}", names[at]));
        }
    });
}

#[test]
fn servers_that_grant_less_are_read_all_the_same() {
    let cases: [(&[&str], &str, &str); 4] = [
        (&["rename-command HELLO \"\""], "does not speak RESP3", ""),
        (&["user reader on nopass ~* -@all +llen +client|setname +exists"], "NOPERM", ""),
        (&["user reader on nopass ~* -@all +llen +client|tracking +exists"], "NOPERM", ""),
        (&["user reader on nopass ~* -@all +llen"], "NOPERM", "NOPERM"),
    ];
    for (lines, tracking, exists) in cases {
        let server = RedisProcess::with(lines);
        tell(&server, "RPUSH b x y");
        runtime().block_on(async {
            let address = server.address();
            let username = lines[0].contains("reader").then_some("reader");
            let login = Login { username, ..login(&address) };
            let mut rig = Rig::new(socket(&server).await, &login, GROUP, &["a".into(), "b".into()]).await;
            rig.rest().await;
            assert_eq!(rig.values, [0.0, 2.0], "{lines:?}");
            tell(&server, "RPUSH a x");
            rig.round(Duration::from_millis(100)).await.unwrap();
            assert_eq!(rig.values, [1.0, 2.0], "{lines:?}");
            let said = &rig.node.ear.complaints;
            assert!(said.tracking.as_ref().is_some_and(|words| words.contains(tracking)), "{lines:?}: {said:?}");
            assert_eq!(said.exists.as_ref().map_or("", |words| &words[..6]), exists, "{lines:?}: {said:?}");
        });
    }
}

#[test]
fn the_first_words_are_refused_in_our_words() {
    let secret = crate::spec::Secret::new("open-sesame");
    let refused = |lines: &[&str], username, password, database| {
        let server = RedisProcess::with(lines);
        runtime().block_on(async {
            let address = server.address();
            let login = Login { address: &address, username, password, database, readonly: false };
            let opened = Node::open(socket(&server).await, &login, GROUP, BOUND).await;
            let failure = opened.map(|_| ()).unwrap_err();
            assert!(!failure.message.contains("sesame") && !failure.message.contains("ali-baba"), "{failure}");
            failure
        })
    };
    let wrong = &["requirepass other"];
    assert_eq!(refused(wrong, None, Some(&secret), 0).kind, FailureKind::Authentication);
    assert!(refused(wrong, None, None, 0).message.contains("passwordFrom"));
    assert!(refused(&[], None, Some(&secret), 0).message.contains("has no password"));
    let renamed = refused(&["rename-command AUTH \"\""], Some("ali-baba"), Some(&secret), 0);
    assert_eq!(renamed.kind, FailureKind::Authentication);
    assert!(renamed.message.contains("rename-command"), "{renamed}");
    assert!(refused(&[], None, None, 99).message.contains("`database`"));
}

#[test]
fn whoever_closes_is_noticed_between_rounds() {
    let mut server = RedisProcess::start();
    runtime().block_on(async {
        let mut rig = rig(&server, &["a"]).await;
        rig.round(Duration::ZERO).await.unwrap();
        server.kill();
        let told = tokio::time::timeout(SOON, rig.node.wait());
        assert_eq!(told.await.unwrap().unwrap_err().kind, FailureKind::Unreachable);
        assert!(rig.round(Duration::ZERO).await.is_err());
    });
}
