//! How many connections a door has open, in all and from each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::Semaphore;

use super::{Door, Limits};
use crate::telemetry::names;

/// Large answers under way to one address at a time; more wait for their turn. Enough for everybody behind one proxy
/// or one `kubectl port-forward`; one who does not read keeps a quarter of all turns, for a minute.
const TURNS: usize = 32;

/// Why there is no slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Full {
    Door,
    Peer,
}

impl Full {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Full::Door => "total",
            Full::Peer => "peer",
        }
    }
}

pub(super) struct Slots {
    total: usize,
    per_peer: usize,
    taken: Mutex<Taken>,
    open: Gauge,
    door_full: Counter,
    peer_full: Counter,
}

#[derive(Default)]
struct Taken {
    total: usize,
    /// Only addresses with something open are in it, so that it is no longer than `total`.
    peers: HashMap<IpAddr, Held>,
}

struct Held {
    connections: usize,
    shared: Arc<Shared>,
}

/// What all connections of one address have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    /// At large answers over HTTP.
    pub(crate) turns: Arc<Semaphore>,
    /// One of them, which does not wait for other addresses'.
    pub(crate) first_turn: Arc<Semaphore>,
    /// Calls in flight over gRPC.
    pub(crate) calls: AtomicUsize,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Shared {
            turns: Arc::new(Semaphore::new(TURNS)),
            first_turn: Arc::new(Semaphore::new(1)),
            calls: AtomicUsize::new(0),
        }
    }
}

impl Slots {
    pub(super) fn new(door: Door, limits: &Limits) -> Arc<Self> {
        let refused =
            |full: Full| counter!(names::CONNECTIONS_REFUSED, "door" => door.as_str(), "reason" => full.as_str());
        Arc::new(Slots {
            total: limits.connections,
            per_peer: limits.per_peer,
            taken: Mutex::default(),
            open: gauge!(names::CONNECTIONS, "door" => door.as_str()),
            door_full: refused(Full::Door),
            peer_full: refused(Full::Peer),
        })
    }

    /// One connection's place, given back when dropped.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<Slot, Full> {
        // One peer is one peer, whichever way the kernel writes it.
        let address = address.to_canonical();
        let mut taken = self.taken();
        if taken.total >= self.total {
            self.door_full.increment(1);
            return Err(Full::Door);
        }
        let held =
            taken.peers.entry(address).or_insert_with(|| Held { connections: 0, shared: Arc::new(Shared::new()) });
        if held.connections >= self.per_peer {
            self.peer_full.increment(1);
            return Err(Full::Peer);
        }
        held.connections += 1;
        let shared = Arc::clone(&held.shared);
        taken.total += 1;
        self.open.increment(1.0);
        drop(taken);
        Ok(Slot { slots: Arc::clone(self), address, shared })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) struct Slot {
    slots: Arc<Slots>,
    address: IpAddr,
    shared: Arc<Shared>,
}

impl Slot {
    pub(super) fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.shared)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken();
        taken.total = taken.total.saturating_sub(1);
        if let Some(held) = taken.peers.get_mut(&self.address) {
            held.connections = held.connections.saturating_sub(1);
            if held.connections == 0 {
                taken.peers.remove(&self.address);
            }
        }
        self.slots.open.decrement(1.0);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn caps_hold_and_slots_come_back() {
        let limits = Limits { connections: 3, per_peer: 2, ..Limits::of(Door::Grpc) };
        let slots = Slots::new(Door::Grpc, &limits);
        let (one, two) = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)));
        let first = slots.take(one).unwrap_or_else(|full| panic!("{full:?}"));
        let mapped: Ipv6Addr = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped();
        let second = slots.take(IpAddr::V6(mapped)).unwrap_or_else(|full| panic!("{full:?}"));
        assert_eq!(slots.take(one).err(), Some(Full::Peer));
        let _third = slots.take(two).unwrap_or_else(|full| panic!("{full:?}"));
        assert_eq!(slots.take(two).err(), Some(Full::Door));
        drop(first);
        assert!(slots.take(two).is_ok(), "given back");
        drop(second);
        assert_eq!(slots.taken().peers.len(), 1, "an address without connections is forgotten");
    }
}
