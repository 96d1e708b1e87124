//! A master, its replicas and the sentinels that watch over them, all of them real processes.

use std::time::{Duration, Instant};

use super::redis::RedisProcess;

/// What the sentinels call the master.
pub const MASTER: &str = "mymaster";

/// After this much silence a server counts as down. Below half a second sentinels of a busy machine are wrong too often.
pub const DOWN_AFTER: Duration = Duration::from_millis(700);

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Sentinels {
    /// The first is the master to begin with.
    pub servers: Vec<RedisProcess>,
    pub sentinels: Vec<RedisProcess>,
}

impl Sentinels {
    /// One master, two replicas, three sentinels.
    pub fn start() -> Self {
        Sentinels::with(2, &[], &[])
    }

    /// With these lines in the servers' and in the sentinels' configuration. A `requirepass` of the servers is theirs
    /// among each other, too.
    pub fn with(replicas: usize, of_servers: &[&str], of_sentinels: &[&str]) -> Self {
        let master = RedisProcess::with(of_servers);
        let port = master.port();
        let following = format!("replicaof 127.0.0.1 {port}");
        let lines = [of_servers, &[&following, "repl-diskless-sync-delay 0", "repl-diskless-load disabled"]].concat();
        let mut servers = vec![master];
        servers.extend((0..replicas).map(|_| RedisProcess::with(&lines)));
        let watching = [
            format!("sentinel monitor {MASTER} 127.0.0.1 {port} 2"),
            format!("sentinel down-after-milliseconds {MASTER} {}", DOWN_AFTER.as_millis()),
            format!("sentinel failover-timeout {MASTER} 3000"),
        ];
        let lines: Vec<&str> = watching.iter().map(String::as_str).chain(of_sentinels.iter().copied()).collect();
        let sentinels = (0..3).map(|_| RedisProcess::sentinel(&lines)).collect();
        Sentinels { servers, sentinels }
    }

    /// Waits until the sentinels know each other and the replicas, so that they can agree on a failover.
    pub fn settle(&self) {
        until("the sentinels know everybody", || {
            self.sentinels.iter().all(|sentinel| {
                let info: String = sentinel.command(&["INFO", "sentinel"]);
                let wanted = format!("slaves={},sentinels={}", self.servers.len() - 1, self.sentinels.len());
                info.contains(&wanted) && info.contains("status=ok")
            })
        });
        until("the replicas are in step", || {
            let roles = self.servers.iter().map(|server| role(server).unwrap_or_default());
            roles.filter(|role| role == "slave connected").count() + 1 == self.servers.len()
        });
    }

    /// `host:port` of the sentinels.
    pub fn addresses(&self) -> Vec<String> {
        self.sentinels.iter().map(RedisProcess::address).collect()
    }

    /// `host:port` of the master as the first sentinel that answers has it.
    pub fn master(&self) -> String {
        let sentinel = self.sentinels.iter().find(|sentinel| sentinel.connect().is_ok()).expect("a sentinel");
        let (host, port): (String, String) = sentinel.command(&["SENTINEL", "get-master-addr-by-name", MASTER]);
        format!("{host}:{port}")
    }

    pub fn server(&self, address: &str) -> &RedisProcess {
        self.servers.iter().find(|server| server.address() == address).expect("one of ours")
    }

    /// Waits until another server than `old` is the master, and says so itself.
    pub fn await_master_other_than(&self, old: &str) -> String {
        let mut new = String::new();
        until("there is another master", || {
            new = self.master();
            new != old && role(self.server(&new)).is_some_and(|role| role == "master")
        });
        new
    }
}

/// What a server says it is; of a replica with the state of its link.
pub fn role(server: &RedisProcess) -> Option<String> {
    let mut connection = server.connect().ok()?;
    let parts: Vec<redis::Value> = redis::cmd("ROLE").query(&mut connection).ok()?;
    let text = |at: usize| match parts.get(at) {
        Some(redis::Value::BulkString(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    };
    Some(if text(0) == "slave" { format!("slave {}", text(3)) } else { text(0) })
}

pub fn until(what: &str, mut done: impl FnMut() -> bool) {
    let give_up = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < give_up, "after {PATIENCE:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
