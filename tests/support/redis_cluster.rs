//! A Redis Cluster of real processes, put together by hand: that is quicker than by `redis-cli`, and shows what there is.

use std::time::Duration;

use redis::{Connection, Value};

use super::redis::{RedisProcess, free_port};
use super::sentinels::until;

/// After this much silence the others take a node for failed.
pub const NODE_TIMEOUT: Duration = Duration::from_millis(1000);

pub const SLOTS: u16 = 16384;

pub struct RedisCluster {
    /// Primaries first, to begin with; then their replicas in the same order.
    pub nodes: Vec<RedisProcess>,
    primaries: usize,
    /// Primaries among which the slots were divided.
    divided: usize,
    /// Ports for TLS, of one that has them.
    pub tls_ports: Vec<u16>,
}

impl RedisCluster {
    /// Three primaries without replicas.
    pub fn start() -> Self {
        RedisCluster::with(3, 0, &[])
    }

    /// With so many replicas each, and with these lines in everybody's configuration.
    pub fn with(primaries: usize, replicas: usize, lines: &[&str]) -> Self {
        RedisCluster::build(primaries, replicas, lines, &[])
    }

    /// Whose nodes speak TLS to each other, and to whoever comes to their other ports.
    pub fn with_tls(primaries: usize, lines: &[&str]) -> Self {
        let ports: Vec<u16> = (0..primaries).map(|_| free_port()).collect();
        RedisCluster::build(primaries, 0, lines, &ports)
    }

    fn build(primaries: usize, replicas: usize, lines: &[&str], tls_ports: &[u16]) -> Self {
        let node = |i: usize| {
            let tls = tls_ports.get(i).map(|port| format!("tls-port {port}\ntls-cluster yes"));
            let lines = [lines, tls.as_deref().as_slice()].concat();
            let (bus, timeout) = (format!("cluster-port {}", free_port()), NODE_TIMEOUT.as_millis());
            let timeout = format!("cluster-node-timeout {timeout}");
            let own = [
                "cluster-enabled yes",
                &bus,
                &timeout,
                "cluster-replica-validity-factor 0",
                "cluster-allow-replica-migration no",
                "repl-diskless-sync-delay 0",
            ];
            RedisProcess::with(&[&own, lines.as_slice()].concat())
        };
        let nodes: Vec<RedisProcess> = (0..primaries * (replicas + 1)).map(node).collect();
        let cluster = RedisCluster { nodes, primaries, divided: primaries, tls_ports: tls_ports.to_vec() };
        for (i, node) in cluster.nodes.iter().take(primaries).enumerate() {
            let (from, to) = cluster.range(i);
            let _: Value = node.command(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
            // Different epochs from the beginning: agreeing on them takes the nodes longer than all the rest.
            let _: Value = node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(i + 1).to_string()]);
        }
        let first = &cluster.nodes[0];
        for other in &cluster.nodes[1..] {
            cluster.meet(first, other);
        }
        until("the nodes know each other", || {
            cluster.nodes.iter().all(|node| cluster.known(node) == cluster.nodes.len())
        });
        for (i, replica) in cluster.nodes.iter().skip(primaries).enumerate() {
            let id = cluster.id(&cluster.nodes[i % primaries]);
            let _: Value = replica.command(&["CLUSTER", "REPLICATE", &id]);
        }
        cluster.settle();
        cluster
    }

    fn meet(&self, node: &RedisProcess, other: &RedisProcess) {
        let config: Vec<String> = other.command(&["CONFIG", "GET", "cluster-port"]);
        let position = self.nodes.iter().position(|node| node.port() == other.port());
        let port = position.and_then(|i| self.tls_ports.get(i)).copied().unwrap_or(other.port()).to_string();
        let _: Value = node.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &config[1]]);
    }

    /// One more node, without slots.
    pub fn add(&mut self) -> usize {
        let bus = format!("cluster-port {}", free_port());
        let node = RedisProcess::with(&["cluster-enabled yes", &bus, "cluster-node-timeout 1000"]);
        self.meet(&self.nodes[0], &node);
        self.nodes.push(node);
        until("the nodes know the new one", || self.nodes.iter().all(|node| self.known(node) == self.nodes.len()));
        self.primaries += 1;
        self.settle();
        self.nodes.len() - 1
    }

    /// Waits until everybody says that all is well, and replicas are in step.
    pub fn settle(&self) {
        until("the cluster is up", || {
            self.nodes.iter().all(|node| {
                let info: String = node.command(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            })
        });
        until("the replicas are in step", || {
            let roles = self.nodes.iter().map(|node| super::sentinels::role(node).unwrap_or_default());
            roles.filter(|role| role == "slave connected").count() == self.nodes.len() - self.primaries
                || self.nodes.len() == self.primaries
        });
    }

    fn known(&self, node: &RedisProcess) -> usize {
        let nodes: String = node.command(&["CLUSTER", "NODES"]);
        nodes.lines().filter(|line| !line.contains("handshake") && !line.contains(":0@")).count()
    }

    pub fn id(&self, node: &RedisProcess) -> String {
        node.command(&["CLUSTER", "MYID"])
    }

    /// Slots of a primary as they were given out, both ends included.
    pub fn range(&self, primary: usize) -> (u16, u16) {
        let at = |i: usize| u16::try_from(usize::from(SLOTS) * i / self.divided).unwrap();
        (at(primary), at(primary + 1) - 1)
    }

    /// The primary that had a key's slot to begin with.
    pub fn home(&self, key: &str) -> usize {
        let slot = slot(key);
        (0..self.divided).find(|i| (self.range(*i).0..=self.range(*i).1).contains(&slot)).unwrap()
    }

    pub fn addresses(&self) -> Vec<String> {
        self.nodes.iter().map(RedisProcess::address).collect()
    }

    /// Gives each key `items(i)` items, by the nodes that had their slots to begin with.
    pub fn fill(&self, keys: &[String], items: impl Fn(usize) -> usize) {
        let mut pipes: Vec<redis::Pipeline> = (0..self.divided).map(|_| redis::pipe()).collect();
        for (i, key) in keys.iter().enumerate() {
            if items(i) > 0 {
                pipes[self.home(key)].cmd("RPUSH").arg(key).arg(vec!["x"; items(i)]).ignore();
            }
        }
        for (node, pipe) in self.nodes.iter().zip(pipes).filter(|(_, pipe)| pipe.cmd_iter().next().is_some()) {
            pipe.exec(&mut node.connect().unwrap()).unwrap();
        }
    }

    /// Moves a slot with its keys, as `redis-cli --cluster reshard` does. `between` is called when half of the keys have
    /// gone.
    pub fn move_slot(&self, slot: u16, from: usize, to: usize, mut between: impl FnMut()) {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let (from_id, to_id, slot) = (self.id(from), self.id(to), slot.to_string());
        let _: Value = to.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]);
        let _: Value = from.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]);
        let keys: Vec<String> = from.command(&["CLUSTER", "GETKEYSINSLOT", &slot, "10000"]);
        let mut connection = from.connect().unwrap();
        let half = keys.len() / 2;
        migrate(from, &mut connection, to, &keys[..half]);
        between();
        migrate(from, &mut connection, to, &keys[half..]);
        // The new owner first, or for a moment nobody would have it.
        let _: Value = to.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        let _: Value = from.command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]);
        for other in &self.nodes {
            if other.port() != from.port() && other.port() != to.port() {
                // Replicas do not take it.
                let _ = redis::cmd("CLUSTER")
                    .arg(&["SETSLOT", &slot, "NODE", &to_id])
                    .query::<Value>(&mut other.connect().unwrap());
            }
        }
    }
}

fn migrate(from: &RedisProcess, connection: &mut Connection, to: &RedisProcess, keys: &[String]) {
    if keys.is_empty() {
        return;
    }
    let port = to.port().to_string();
    let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
    words.extend(keys.iter().map(String::as_str));
    let _: Value = from.command_on(connection, &words);
}

/// The slot of a key, worked out bit by bit and so in another way than by the program.
pub fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    let mut crc = 0_u16;
    for byte in hashed.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 };
        }
    }
    crc % SLOTS
}
