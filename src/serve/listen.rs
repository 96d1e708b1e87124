//! The accepting of connections, for both doors: what stands before HTTP/2 and HTTP/1 and is the same for both.
//!
//! A stranger who reaches a door may open connections and say nothing, or ask and never read. So each door has a cap on
//! open connections, in all and from one address; a connection must say something soon ([`Limits::opening`]) and must
//! go on taking what it asked for ([`Limits::stall`]); the TLS handshake has a time limit and a task of its own, so that
//! a slow one holds up nobody. A failing `accept` (no file descriptors left) is waited out and never ends the process.
//!
//! Connections that are open live through a change of certificates: a new configuration is for new handshakes.

mod connection;
mod slots;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::{Counter, counter};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;

pub use self::connection::{Connection, Peer};
pub(crate) use self::slots::Shared;
use self::slots::{Slot, Slots};
use crate::clock::Clock;
use crate::model::Tick;
use crate::telemetry::names;

/// Connections accepted and not yet taken by the protocol. It takes them as they come; more would wait in the kernel.
const WAITING: usize = 64;
/// After a failed `accept`: long enough for something to be closed, short enough that nobody's connect times out.
const PAUSE: Duration = Duration::from_millis(50);
/// What goes wrong at the request of strangers is logged at most this often, with how often it happened.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// HTTP/2's preface, which a client sends before anything else.
const PREFACE: usize = 24;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Door {
    Grpc,
    Http,
}

impl Door {
    /// As labels and logs have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Door::Grpc => "grpc",
            Door::Http => "http",
        }
    }
}

/// What a door puts up with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Open at a time, handshakes included.
    pub connections: usize,
    /// Open at a time from one address.
    pub per_peer: usize,
    /// From being accepted to the end of the TLS handshake.
    pub handshake: Duration,
    /// From there to the first [`Limits::opening_bytes`].
    pub opening: Duration,
    pub opening_bytes: usize,
    /// For how long a peer may leave unread what it was sent.
    pub stall: Duration,
}

impl Limits {
    /// * KEDA has one connection for each of its processes, and other callers have few: 4096 are a hundred times what
    ///   a large cluster opens, and idle ones cost some 20 KiB each. 512 from one address leave room for callers behind
    ///   a node's NAT, and eight addresses are needed to fill the door.
    /// * Ten seconds is three retransmissions of a lost segment; an honest client needs milliseconds.
    /// * Thirty seconds is what TCP needs to notice little and a person to give up.
    #[must_use]
    pub const fn of(door: Door) -> Self {
        let (connections, per_peer, opening_bytes) = match door {
            Door::Grpc => (4096, 512, PREFACE),
            // Probes, a few Prometheus servers, browsers with six connections each.
            Door::Http => (1024, 128, 1),
        };
        let ten = Duration::from_secs(10);
        Limits { connections, per_peer, handshake: ten, opening: ten, opening_bytes, stall: Duration::from_secs(30) }
    }

    /// At most this many connections: where the process may open few files, Redis must not go without. One address
    /// has half of them at most, so that it can never fill the door by itself.
    #[must_use]
    pub fn at_most(self, connections: usize) -> Self {
        let connections = self.connections.min(connections.max(1));
        Limits { connections, per_peer: self.per_peer.min((connections / 2).max(1)), ..self }
    }
}

/// How many of the files that this process may have open are for a door: half for gRPC, an eighth for HTTP. The rest is
/// Redis', and whoever is short of files there polls nothing any more. (A container usually may open a million; a shell,
/// 1024.)
#[must_use]
pub fn share_of_files(door: Door) -> usize {
    // Linux only; elsewhere the caps stand.
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let files = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(usize::MAX);
    match door {
        Door::Grpc => files / 2,
        Door::Http => files / 8,
    }
}

/// The configuration that new handshakes use, and whether callers must show a certificate.
#[derive(Clone, Debug)]
pub struct Secured {
    pub config: Arc<ArcSwap<ServerConfig>>,
    /// There is a client CA.
    pub client_certificates: bool,
}

/// A bound socket of a door.
pub struct Listener {
    tcp: TcpListener,
    door: Door,
    limits: Limits,
    tls: Option<Secured>,
}

impl Listener {
    /// In plain text, with the limits of the door.
    #[must_use]
    pub fn new(door: Door, tcp: TcpListener) -> Self {
        Listener { tcp, door, limits: Limits::of(door), tls: None }
    }

    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Listener { limits, ..self }
    }

    #[must_use]
    pub fn with_tls(self, tls: Option<Secured>) -> Self {
        Listener { tls, ..self }
    }

    /// Whether callers must show a certificate.
    #[must_use]
    pub fn wants_certificates(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.client_certificates)
    }

    /// # Errors
    /// The socket is gone.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Begins to accept. The socket is closed when the receiver is.
    #[must_use]
    pub fn open(self) -> mpsc::Receiver<Connection> {
        let Listener { tcp, door, limits, tls } = self;
        let (out, connections) = mpsc::channel(WAITING);
        let entrance = Arc::new(Entrance {
            door,
            limits,
            slots: Slots::new(door, &limits),
            tls,
            clock: Clock::start(),
            refusals: Sparse::default(),
            handshakes: Sparse::default(),
            accepts: Sparse::default(),
            accept_errors: counter!(names::ACCEPT_ERRORS, "door" => door.as_str()),
        });
        tokio::spawn(entrance.accept(tcp, out));
        connections
    }

    /// As [`Listener::open`], for tonic.
    pub fn incoming(self) -> impl Stream<Item = io::Result<Connection>> {
        use futures_util::StreamExt as _;
        ReceiverStream::new(self.open()).map(Ok)
    }
}

/// What the accepting task and the handshakes share.
struct Entrance {
    door: Door,
    limits: Limits,
    slots: Arc<Slots>,
    tls: Option<Secured>,
    clock: Clock,
    refusals: Sparse,
    handshakes: Sparse,
    accepts: Sparse,
    accept_errors: Counter,
}

impl Entrance {
    async fn accept(self: Arc<Self>, tcp: TcpListener, out: mpsc::Sender<Connection>) {
        loop {
            let accepted = tokio::select! {
                accepted = tcp.accept() => accepted,
                () = out.closed() => return,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                // Of one connection, which its peer gave up while it waited.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) =>
                {
                    continue;
                }
                Err(error) => {
                    self.accept_errors.increment(1);
                    if let Some(times) = self.accepts.say(self.clock) {
                        let door = self.door.as_str();
                        tracing::warn!(door, times, %error, "cannot accept connections; trying again each 50 ms");
                    }
                    sleep(PAUSE).await;
                    continue;
                }
            };
            let slot = match self.slots.take(address.ip()) {
                Ok(slot) => slot,
                Err(full) => {
                    if let Some(times) = self.refusals.say(self.clock) {
                        let (door, reason) = (self.door.as_str(), full.as_str());
                        tracing::warn!(door, peer = %address.ip(), reason, times, "too many connections: closed at once");
                    }
                    continue;
                }
            };
            // Answers are smaller than a segment and somebody waits for each. A socket that is gone says so when read.
            drop(stream.set_nodelay(true));
            match &self.tls {
                Some(tls) => {
                    let acceptor = TlsAcceptor::from(tls.config.load_full());
                    tokio::spawn(Arc::clone(&self).shake_hands(acceptor, stream, address, slot, out.clone()));
                }
                None => {
                    let peer = Peer::new(address, slot.shared());
                    if out.send(Connection::plain(stream, peer, slot, self.door, &self.limits)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn shake_hands(
        self: Arc<Self>,
        acceptor: TlsAcceptor,
        stream: TcpStream,
        address: SocketAddr,
        slot: Slot,
        out: mpsc::Sender<Connection>,
    ) {
        let (outcome, error) = match timeout(self.limits.handshake, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => {
                counter!(names::TLS_HANDSHAKES, "door" => self.door.as_str(), "outcome" => "ok").increment(1);
                let certified = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
                let peer = Peer { tls: true, certified, ..Peer::new(address, slot.shared()) };
                // Nobody takes it: the door is closing.
                drop(out.send(Connection::tls(stream, peer, slot, self.door, &self.limits)).await);
                return;
            }
            Ok(Err(error)) => ("error", error.to_string()),
            Err(_) => ("timeout", format!("no handshake within {:?}", self.limits.handshake)),
        };
        counter!(names::TLS_HANDSHAKES, "door" => self.door.as_str(), "outcome" => outcome).increment(1);
        if let Some(times) = self.handshakes.say(self.clock) {
            tracing::warn!(door = self.door.as_str(), peer = %address, times, error, "TLS handshake failed");
        }
    }
}

/// Keeps strangers from filling the log.
#[derive(Debug, Default)]
struct Sparse(Mutex<(Tick, u64)>);

impl Sparse {
    /// How often it has happened since it was last said; `None` if that was just now.
    fn say(&self, clock: Clock) -> Option<u64> {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, times) = &mut *inner;
        *times += 1;
        let now = clock.now();
        if now < *next {
            return None;
        }
        *next = now.after(SAY_AGAIN);
        Some(std::mem::take(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_never_fills_a_door() {
        for door in [Door::Grpc, Door::Http] {
            assert_eq!(Limits::of(door).at_most(usize::MAX), Limits::of(door));
            for files in [2, 128, 512, 1024] {
                let limits = Limits::of(door).at_most(files);
                assert!(limits.per_peer >= 1 && limits.per_peer < limits.connections, "{limits:?}");
            }
        }
    }
}
