//! Others who use the same Redis: a bystander who wants its answers soon, and producers who want all of the server.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::redis::RedisProcess;

/// Between two commands of the bystander.
const EVERY: Duration = Duration::from_micros(300);

/// Runs `work` beside a bystander that pushes and pops an item every [`EVERY`]; what its commands waited for, counted
/// from when each should have been sent, microseconds.
pub fn with_bystander<T>(server: &RedisProcess, work: impl FnOnce() -> T) -> (T, Vec<f64>) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let bystander = scope.spawn(|| {
            let mut socket = TcpStream::connect(server.address()).unwrap();
            socket.set_nodelay(true).unwrap();
            let commands: [&[u8]; 2] =
                [b"*3\r\n$5\r\nLPUSH\r\n$4\r\nmine\r\n$1\r\nx\r\n", b"*2\r\n$4\r\nRPOP\r\n$4\r\nmine\r\n"];
            let mut answer = [0; 64];
            let mut waited = Vec::new();
            let mut due = Instant::now();
            for command in commands.iter().cycle() {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                due += EVERY;
                if let Some(left) = due.checked_duration_since(Instant::now()) {
                    std::thread::sleep(left);
                }
                socket.write_all(command).unwrap();
                let length = socket.read(&mut answer).unwrap();
                assert!(answer[..length].ends_with(b"\r\n"));
                waited.push(due.elapsed().as_secs_f64() * 1e6);
            }
            waited
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        (result, bystander.join().unwrap())
    })
}

/// redis-benchmark, pushing and popping in pipelines as fast as the server lets it. Ends with the value.
pub struct Producers(Vec<Child>);

impl Producers {
    pub fn start(server: &RedisProcess) -> Self {
        let address = server.address();
        let (host, port) = address.rsplit_once(':').unwrap();
        let start = |command: &[&str]| {
            Command::new("redis-benchmark")
                .args(["-h", host, "-p", port, "-P", "32", "-c", "4", "-n", "1000000000", "-q"])
                .args(command)
                .stdout(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("redis-benchmark not found ({error}); tests/run installs it"))
        };
        Producers(vec![start(&["LPUSH", "theirs", "x"]), start(&["RPOP", "theirs"])])
    }
}

impl Drop for Producers {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Pushes a second while `work` runs.
pub fn pushes<T>(server: &RedisProcess, work: impl FnOnce() -> T) -> (T, f64) {
    let (before, began) = (server.calls("lpush"), Instant::now());
    let result = work();
    (result, (server.calls("lpush") - before) as f64 / began.elapsed().as_secs_f64())
}
