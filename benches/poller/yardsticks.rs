//! What others would do: a bare socket, a pipeline of the library's, redis-benchmark, and one script a key over one
//! connection a key.

use std::process::Command;
use std::time::Instant;

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::MissedTickBehavior;

use super::turn::{Load, Measure, Turn, on_own_runtime};
use crate::support::redis::RedisProcess;

/// Rounds before measuring begins.
const WARM: usize = 3;

/// Commands in one pipeline of the library's.
const CHUNK: usize = 500;

/// The type of a key, and then its length by the command of that type: what KEDA asks, as a script, for each key.
const SCRIPT: &str = "local kind = redis.call('type', KEYS[1]).ok \
                      local counts = { zset = 'zcard', set = 'scard', list = 'llen', hash = 'hlen', none = 'llen' } \
                      return redis.call(counts[kind], KEYS[1])";

/// Rounds on a grid of their own, the first of them not measured.
async fn rounds(load: Load<'_>, measure: &mut Measure<'_>, mut round: impl AsyncFnMut()) {
    let mut timer = tokio::time::interval(load.interval);
    timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut first = None;
    for number in 0.. {
        timer.tick().await;
        if number == WARM {
            measure.begin();
        } else if number > WARM && !measure.running() {
            break;
        }
        let sent = Instant::now();
        round().await;
        if number >= WARM {
            let first = *first.get_or_insert(sent);
            measure.round(load.names.len(), sent - first, sent.elapsed());
        }
    }
    measure.end();
}

/// A socket that speaks the protocol from a request that was prepared once, in chunks of so many commands, each sent
/// when the one before is answered; numbers go into a vector.
pub fn bare(load: Load<'_>, chunk: usize) -> Turn {
    on_own_runtime(load, async move |measure: &mut Measure<'_>| {
        let mut stream = TcpStream::connect(load.server.address()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let request = |names: &[String]| {
            let command = |name: &String| format!("*2\r\n$4\r\nLLEN\r\n${}\r\n{name}\r\n", name.len());
            (names.len(), names.iter().map(command).collect::<String>())
        };
        let requests: Vec<(usize, String)> = load.names.chunks(chunk).map(request).collect();
        let mut store = vec![0_i64; load.names.len()];
        let mut buffer = vec![0_u8; 256 * 1024];
        rounds(load, measure, async || {
            let mut slots = store.iter_mut();
            let mut number = 0;
            for (count, request) in &requests {
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut missing = *count;
                while missing > 0 {
                    let length = stream.read(&mut buffer).await.unwrap();
                    assert!(length > 0, "the server closed");
                    for byte in &buffer[..length] {
                        match byte {
                            b':' => number = 0,
                            b'\r' => {}
                            b'\n' => {
                                *slots.next().unwrap() = number;
                                missing -= 1;
                            }
                            digit => number = number * 10 + i64::from(digit - b'0'),
                        }
                    }
                }
            }
        })
        .await;
        for (key, value) in store.iter().enumerate() {
            assert_eq!(*value, (load.expected)(key) as i64, "key {key}");
        }
    })
}

/// Pipelines that are built once, all on their way at once, decoded into integers: what a careful user of the library
/// would write.
pub fn pipelines(load: Load<'_>) -> Turn {
    let client = redis::Client::open(format!("redis://{}", load.server.address())).unwrap();
    let pipeline = |names: &[String]| {
        let mut pipeline = redis::pipe();
        for name in names {
            pipeline.cmd("LLEN").arg(name);
        }
        pipeline
    };
    let pipelines: Vec<redis::Pipeline> = load.names.chunks(CHUNK).map(pipeline).collect();
    on_own_runtime(load, async move |measure: &mut Measure<'_>| {
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut store = vec![0_i64; load.names.len()];
        rounds(load, measure, async || {
            let asking = pipelines.iter().map(|pipeline| {
                let mut connection = connection.clone();
                async move { pipeline.query_async::<Vec<i64>>(&mut connection).await }
            });
            let replies = try_join_all(asking).await.unwrap();
            for (slot, value) in store.iter_mut().zip(replies.iter().flatten()) {
                *slot = *value;
            }
        })
        .await;
        for (key, value) in store.iter().enumerate() {
            assert_eq!(*value, (load.expected)(key) as i64, "key {key}");
        }
    })
}

/// One script a key, each over a connection of its own, all at once.
pub fn scripts(load: Load<'_>) -> Turn {
    let client = redis::Client::open(format!("redis://{}", load.server.address())).unwrap();
    on_own_runtime(load, async move |measure: &mut Measure<'_>| {
        let mut connections = Vec::new();
        for name in load.names {
            let mut command = redis::cmd("EVAL");
            command.arg(SCRIPT).arg(1).arg(name);
            connections.push((client.get_multiplexed_async_connection().await.unwrap(), command));
        }
        rounds(load, measure, async || {
            let asking = connections.iter().map(|(connection, command)| {
                let mut connection = connection.clone();
                async move { command.query_async::<i64>(&mut connection).await }
            });
            let replies = try_join_all(asking).await.unwrap();
            for (key, value) in replies.iter().enumerate() {
                assert_eq!(*value, (load.expected)(key) as i64, "key {key}");
            }
        })
        .await;
    })
}

/// What redis-benchmark says, who asks in deep pipelines for any of so many keys: commands a second, and the server's CPU
/// for each, microseconds.
pub fn redis_benchmark(server: &RedisProcess, keys: usize, connections: usize, commands: usize) -> (f64, f64) {
    let address = server.address();
    let (host, port) = address.rsplit_once(':').unwrap();
    let before = server.cpu_seconds();
    let began = Instant::now();
    let output = Command::new("redis-benchmark")
        .args(["-h", host, "-p", port, "-P", "1024", "-r", &keys.to_string(), "-q"])
        .args(["-c", &connections.to_string(), "-n", &commands.to_string()])
        .args(["LLEN", "q:jobs:__rand_int__"])
        .output()
        .unwrap_or_else(|error| panic!("redis-benchmark not found ({error}); tests/run installs it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cpu = server.cpu_seconds() - before;
    (commands as f64 / began.elapsed().as_secs_f64(), cpu * 1e6 / commands as f64)
}
