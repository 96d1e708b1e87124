//! A Redis Cluster: who holds which slots, and a connection to each node that is to be read.
//!
//! The map of slots is asked for beside the rounds: every few seconds, and at once when a node is lost or a reply says
//! that the map is old. Which nodes are read follows from it: the primaries, or of each a replica that is in step. No
//! round waits for a map.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::Value;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::node::Node;
use super::slots::{Shard, SlotMap, slot_of};
use super::{first_of, patience};
use crate::model::{FailureKind, ReadFailure};
use crate::source::redis::classify;
use crate::source::redis::connect::{Connector, Logins};
use crate::source::redis::hot::Reads;
use crate::source::redis::wire::Wire;
use crate::source::{Load, ReadId};
use crate::spec::ReadFrom;

/// Between two looks at the map while all is well. Slots that move say so themselves, in reply to the first read; only a
/// replica that comes or goes does not.
const CALM: Duration = Duration::from_secs(10);

/// While a node is down: its replica takes over within the cluster's node timeout, and is to be read soon after.
const TROUBLED: Duration = Duration::from_millis(250);

/// While a primary is read for want of a replica.
const WISHING: Duration = Duration::from_secs(1);

/// Between two looks, at least, however many replies say that the map is old.
const SOONEST: Duration = Duration::from_millis(50);

/// Nodes of one cluster: as many as Redis' own documents take for the most that works.
const MOST_NODES: usize = 1_000;

/// Nodes that are in no map but to which others have sent us. More than a few at a time are sent by somebody who lies.
const MOST_STRANGERS: usize = 16;

pub(in crate::source::redis) struct Cluster {
    connector: Connector,
    nodes: HashMap<Arc<str>, Node>,
    map: Arc<SlotMap>,
    /// The node that is read, by shard.
    read: Vec<Arc<str>>,
    /// Changes with whatever reads are shared out by.
    epoch: u64,
    news: watch::Receiver<Arc<SlotMap>>,
    shared: Arc<Shared>,
    /// Connections that were told of as working.
    told: usize,
    _watching: AbortOnDropHandle<()>,
}

/// What rounds tell those who look at the map.
#[derive(Default)]
struct Shared {
    /// Connections that work, to ask for the map.
    up: Mutex<Vec<Wire>>,
    /// Who knows better, should somebody have said so.
    ask: Mutex<Option<Arc<str>>>,
    troubled: AtomicBool,
    wishing: AtomicBool,
    hurry: Notify,
}

/// No two links, and no two maps, share a number.
static EPOCHS: AtomicU64 = AtomicU64::new(1);

impl Cluster {
    /// Asks the nodes at `addresses` in turn for the map.
    pub(super) async fn open(
        connector: &Connector,
        addresses: &[String],
        logins: &Logins,
    ) -> Result<Cluster, ReadFailure> {
        let ask = |i: usize| async move {
            let address = addresses.get(i).map_or("", String::as_str);
            let wire = connector.open_to_ask(address, &logins.own).await?;
            map(&wire, connector.server().tls.is_some()).await
        };
        let map = Arc::new(first_of(addresses, patience(connector), ask).await?);
        let shared = Arc::new(Shared::default());
        let (say, news) = watch::channel(Arc::clone(&map));
        let watching = watch_map(connector.clone(), addresses.to_vec(), Arc::clone(&shared), say);
        let mut cluster = Cluster {
            connector: connector.clone(),
            nodes: HashMap::new(),
            map: Arc::new(SlotMap::none()),
            read: Vec::new(),
            epoch: 0,
            news,
            shared,
            told: 0,
            _watching: AbortOnDropHandle::new(tokio::spawn(watching)),
        };
        cluster.adopt(map);
        Ok(cluster)
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The number of the newest wire: another one with each connection that is made or lost last.
    pub(super) fn newest(&self) -> u64 {
        self.nodes.values().filter_map(Node::wire).map(Wire::number).max().unwrap_or(0)
    }

    /// The node to ask about `key`; `None` where nobody holds its slot.
    pub(super) fn node_of(&self, key: &str) -> Option<&Arc<str>> {
        self.read.get(self.map.owner(slot_of(key.as_bytes()))?)
    }

    /// All nodes that are read, in an order of their own.
    pub(super) fn read_nodes(&self) -> Vec<Arc<str>> {
        let mut nodes = self.read.clone();
        nodes.sort_unstable();
        nodes
    }

    pub(super) fn nodes(&mut self) -> (&Connector, &mut HashMap<Arc<str>, Node>) {
        (&self.connector, &mut self.nodes)
    }

    /// The node to which another has sent us.
    pub(super) fn stranger(&mut self, address: &str) -> Result<Arc<str>, ReadFailure> {
        if let Some((known, _)) = self.nodes.get_key_value(address) {
            return Ok(Arc::clone(known));
        }
        if self.nodes.len() >= 2 * self.map.shards().len() + MOST_STRANGERS {
            let sentence = format!(
                "{}: its nodes send us to more nodes than there are ({} is the last)",
                self.connector.server().address,
                super::shown(address)
            );
            return Err(ReadFailure::new(FailureKind::Protocol, sentence));
        }
        let address: Arc<str> = address.into();
        self.nodes.insert(Arc::clone(&address), Node::new(&self.connector, &address, false));
        Ok(address)
    }

    /// Between two rounds: takes in what has changed since the last one.
    pub(super) fn settle(&mut self) {
        let mut changed = false;
        for node in self.nodes.values_mut() {
            changed |= node.settle(&self.connector);
        }
        if self.news.has_changed().unwrap_or(false) {
            let map = Arc::clone(&self.news.borrow_and_update());
            self.adopt(map);
        } else if changed {
            self.choose();
        }
        // Those whose first connection was waited for in the last round, too.
        if changed || self.told != self.nodes.values().filter(|node| node.wire().is_some()).count() {
            self.tell();
        }
    }

    /// A node was lost, or says that something is wrong: the map may be old.
    pub(super) fn troubled(&mut self) {
        self.choose();
        self.tell();
        self.shared.hurry.notify_one();
    }

    /// A reply of `node` says that the map is old.
    pub(super) fn outdated(&self, node: &Arc<str>) {
        *self.shared.ask.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(node));
        self.shared.hurry.notify_one();
    }

    /// What all nodes were asked since the last call.
    pub(super) fn take_load(&mut self) -> Load {
        let loads = self.nodes.values_mut().filter_map(Node::wire_mut).map(Wire::take_load);
        loads.fold(Load::default(), Load::and)
    }

    /// What a node does not grant; they are all configured alike.
    pub(super) fn grievance(&self) -> Option<String> {
        self.nodes.values().filter_map(Node::wire).find_map(Wire::grievance)
    }

    /// Appends the reads that nodes have told of, or waits until some node says something; for ever while none is up.
    pub(super) async fn hear(&mut self, reads: &mut Reads, woken: &mut Vec<ReadId>) {
        let mut lost = Vec::new();
        for (address, node) in &mut self.nodes {
            if let Some(Err(failure)) = node.hot().map(|hot| hot.hear(reads, woken)) {
                lost.push((Arc::clone(address), failure));
            }
        }
        if woken.is_empty() && lost.is_empty() {
            let waiting = self.nodes.iter_mut().filter_map(|(address, node)| {
                let hot = node.hot()?;
                Some(async move { (Arc::clone(address), hot.wait().await) })
            });
            let mut waiting: FuturesUnordered<_> = waiting.collect();
            match waiting.next().await {
                Some((address, Err(failure))) => lost.push((address, failure)),
                Some((_, Ok(()))) => {}
                None => std::future::pending().await,
            }
        }
        // Whoever closes between two rounds is not asked in the next.
        let any_lost = !lost.is_empty();
        for (address, failure) in lost {
            if let Some(node) = self.nodes.get_mut(&address) {
                node.lost(&self.connector, failure);
            }
        }
        if any_lost {
            self.troubled();
        }
    }

    fn tell(&mut self) {
        let up: Vec<Wire> = self.nodes.values().filter_map(Node::wire).map(Wire::twin).collect();
        self.told = up.len();
        *self.shared.up.lock().unwrap_or_else(PoisonError::into_inner) = up;
        let any_down = self.read.iter().any(|node| self.nodes.get(node).is_none_or(Node::is_down));
        self.shared.troubled.store(any_down, Ordering::Relaxed);
        let is_replica = |node: &Arc<str>| self.nodes.get(node).is_some_and(Node::is_replica);
        let wishing = self.connector.server().read_from == ReadFrom::Replica && !self.read.iter().all(is_replica);
        self.shared.wishing.store(wishing, Ordering::Relaxed);
    }

    fn adopt(&mut self, map: Arc<SlotMap>) {
        // What has become something else, or is not there any more, is let go; and strangers, who have had their turn.
        self.nodes.retain(|address, node| {
            map.shards().iter().any(|shard| {
                if node.is_replica() {
                    shard.replicas.iter().any(|r| **r == **address)
                } else {
                    *shard.primary == **address
                }
            })
        });
        self.map = map;
        self.read.clear();
        self.epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
        self.choose();
        self.tell();
    }

    /// Which node of each shard is read.
    fn choose(&mut self) {
        let map = Arc::clone(&self.map);
        let read_from = self.connector.server().read_from;
        let chosen: Vec<Arc<str>> = map.shards().iter().map(|shard| self.choice(shard, read_from)).collect();
        if chosen != self.read {
            self.read = chosen;
            self.epoch = EPOCHS.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The first that is not known to be down, replicas first where they are wanted; if all are, the first.
    fn choice(&mut self, shard: &Shard, read_from: ReadFrom) -> Arc<str> {
        let replicas = match read_from {
            ReadFrom::Primary => &[][..],
            ReadFrom::Replica => shard.replicas.as_slice(),
        };
        let candidates = || {
            let primary = std::iter::once((shard.primary.as_str(), false));
            replicas.iter().map(|replica| (replica.as_str(), true)).chain(primary)
        };
        let usable = candidates().find(|(address, replica)| {
            let node = self.nodes.get(*address);
            node.is_none_or(|node| !node.is_down() && node.is_replica() == *replica)
        });
        let (address, replica) = usable.or_else(|| candidates().next()).unwrap_or((&shard.primary, false));
        if let Some((known, node)) = self.nodes.get_key_value(address)
            && node.is_replica() == replica
        {
            return Arc::clone(known);
        }
        // Not known yet, or known as what it no longer is.
        let address: Arc<str> = address.into();
        self.nodes.insert(Arc::clone(&address), Node::new(&self.connector, &address, replica));
        address
    }
}

/// Looks at the map for as long as it is let.
async fn watch_map(connector: Connector, seeds: Vec<String>, shared: Arc<Shared>, say: watch::Sender<Arc<SlotMap>>) {
    let tls = connector.server().tls.is_some();
    loop {
        let pause = match (shared.troubled.load(Ordering::Relaxed), shared.wishing.load(Ordering::Relaxed)) {
            (true, _) => TROUBLED,
            (false, true) => WISHING,
            (false, false) => CALM,
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shared.hurry.notified() => {}
        }
        let known = Arc::clone(&say.borrow());
        if let Some(found) = find_map(&connector, &seeds, &shared, &known, tls).await {
            say.send_if_modified(|known| {
                let other = **known != found;
                if other {
                    *known = Arc::new(found);
                }
                other
            });
        }
        tokio::time::sleep(SOONEST).await;
    }
}

/// The map of somebody who answers: of whom a reply pointed to, of others that are up, of anybody.
async fn find_map(
    connector: &Connector,
    seeds: &[String],
    shared: &Shared,
    known: &SlotMap,
    tls: bool,
) -> Option<SlotMap> {
    let knows = shared.ask.lock().unwrap_or_else(PoisonError::into_inner).take();
    let mut up: Vec<Wire> = shared.up.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Wire::twin).collect();
    up.sort_by_key(|wire| knows.as_ref() != Some(wire.address()));
    for wire in up {
        if let Ok(found) = map(&wire, tls).await {
            return Some(found);
        }
    }
    let mut addresses = seeds.to_vec();
    for shard in known.shards() {
        addresses.extend(std::iter::once(&shard.primary).chain(&shard.replicas).cloned());
    }
    addresses.dedup();
    let addresses = addresses.as_slice();
    let ask = |i: usize| async move {
        let address = addresses.get(i).map_or("", String::as_str);
        let wire = connector.connect_to_ask(address).await?;
        map(&wire, tls).await
    };
    first_of(addresses, patience(connector), ask).await.ok()
}

/// Asks a node for the map.
async fn map(wire: &Wire, tls: bool) -> Result<SlotMap, ReadFailure> {
    let address = wire.address();
    let question = |what: &str| {
        let mut command = redis::cmd("CLUSTER");
        command.arg(what);
        command
    };
    let reply = wire.ask(&question("SLOTS")).await?;
    let found = match &reply {
        // Some may ask for the shards only; and some day that will be all there is to ask for.
        Value::ServerError(error) => match wire.ask(&question("SHARDS")).await? {
            Value::ServerError(_) => return Err(no_map(address, error)),
            shards => SlotMap::of_shards(&shards, address, tls)?,
        },
        slots => SlotMap::of_slots(slots, address)?,
    };
    if found.shards().len() > MOST_NODES {
        let sentence =
            format!("{address} names {} primaries; more than {MOST_NODES} are not read", found.shards().len());
        return Err(ReadFailure::new(FailureKind::Protocol, sentence));
    }
    Ok(found)
}

fn no_map(address: &str, error: &redis::ServerError) -> ReadFailure {
    match error.code() {
        "NOPERM" => ReadFailure::new(
            FailureKind::PermissionDenied,
            format!("{address}: this user may not ask where the slots are; grant `+cluster|slots`"),
        ),
        "ERR" if error.details().is_some_and(|text| text.contains("cluster support disabled")) => ReadFailure::new(
            FailureKind::Configuration,
            format!("{address} is no node of a Redis Cluster; write `address` in place of `cluster`"),
        ),
        _ => classify::server_failure(address, error),
    }
}
