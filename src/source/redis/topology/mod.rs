//! From a connection as it is declared to the servers behind it, and to others when these move.
//!
//! One server is [`One`], a primary that sentinels watch over too: that it is still the primary (or a replica that is
//! in step) is looked at beside the rounds (`guard`), and a link whose server is no longer the right one goes over to
//! the right one between two rounds. A [`Cluster`] has a connection for each node and a map of slots; how it answers a
//! round is in `round`.
//!
//! Whatever a Sentinel or a Cluster says is an address that somebody else chose. It is connected to through the same
//! door as every other, which has the operator's fence before it (`connect`).

mod careful;
mod cluster;
mod guard;
mod node;
mod round;
mod scan;
mod sentinel;
mod slots;

use std::future::Future;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};

pub(super) use self::careful::Careful;
pub(super) use self::cluster::Cluster;
pub(super) use self::guard::One;
pub(super) use self::round::Spread;
use super::connect::{Connector, Logins};
use super::hot::Reads;
use crate::model::{FailureKind, ReadFailure};
use crate::source::{Load, Material, ReadId};
use crate::spec::{ReadFrom, Topology};

/// What a connection is while it is up.
pub struct Link {
    pub(super) servers: Servers,
    material: Option<Material>,
}

/// The servers behind a link.
pub(super) enum Servers {
    One(One),
    Cluster(Box<Cluster>),
}

impl Servers {
    /// See [`One::vouch`]. The nodes of a Cluster vouch for themselves, reply by reply.
    pub(super) async fn vouch(&mut self) -> Result<bool, ReadFailure> {
        match self {
            Servers::One(one) => one.vouch().await,
            Servers::Cluster(_) => Ok(true),
        }
    }

    /// Who answers now: another value once that may be somebody else, or the same server after a restart.
    pub(super) fn answering(&self) -> Answering {
        match self {
            Servers::One(one) => Answering(0, one.wire().number()),
            Servers::Cluster(cluster) => Answering(cluster.epoch(), cluster.newest()),
        }
    }
}

/// Who answers; to be compared, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Answering(u64, u64);

impl Link {
    /// What this link has cost its servers since the last call.
    pub(super) fn take_load(&mut self) -> Load {
        match &mut self.servers {
            Servers::One(one) => one.wire_mut().take_load(),
            Servers::Cluster(cluster) => cluster.take_load(),
        }
    }

    /// What a server does not grant.
    pub(super) fn grievance(&self) -> Option<String> {
        match &self.servers {
            Servers::One(one) => one.wire().grievance(),
            Servers::Cluster(cluster) => cluster.grievance(),
        }
    }

    /// See [`crate::source::Backend::woken`].
    pub(super) async fn woken(&mut self, reads: &mut Reads, woken: &mut Vec<ReadId>) -> Result<(), ReadFailure> {
        match &mut self.servers {
            Servers::One(one) => {
                let hot = one.wire_mut().hot()?;
                loop {
                    hot.hear(reads, woken)?;
                    if !woken.is_empty() {
                        return Ok(());
                    }
                    hot.wait().await?;
                }
            }
            Servers::Cluster(cluster) => {
                while woken.is_empty() {
                    cluster.hear(reads, woken).await;
                }
                Ok(())
            }
        }
    }

    pub(super) fn material(&self) -> Option<Material> {
        self.material
    }
}

/// Finds the servers of a connection. The caller bounds it.
pub(super) async fn open(connector: &Connector, logins: Logins) -> Result<Link, ReadFailure> {
    let material = logins.material();
    let server = connector.server();
    let servers = match &server.topology {
        Topology::Single => {
            let wire = connector.open(&server.address, &logins.own, false).await?;
            match server.read_from {
                // Whoever names one server means it, whatever it is.
                ReadFrom::Primary => Servers::One(One::unguarded(wire)),
                ReadFrom::Replica => Servers::One(guard::of_replica(connector, wire).await?),
            }
        }
        Topology::Sentinel(sentinel) => Servers::One(sentinel::open(connector, sentinel, &logins).await?),
        Topology::Cluster { addresses } => {
            Servers::Cluster(Box::new(Cluster::open(connector, addresses, &logins).await?))
        }
    };
    Ok(Link { servers, material })
}

/// Asks one address after the other until one has an answer. Who is silent is not waited for any longer than
/// `patience`: the next one is asked beside it.
///
/// # Errors
/// Nobody has an answer: why not, of the first that said so.
async fn first_of<T, F: Future<Output = Result<T, ReadFailure>>>(
    addresses: &[String],
    patience: Duration,
    ask: impl Fn(usize) -> F,
) -> Result<T, ReadFailure> {
    let mut waiting = 0..addresses.len();
    let mut asked = FuturesUnordered::new();
    let mut failure = None;
    loop {
        asked.extend(waiting.next().map(&ask));
        let late = tokio::time::sleep(patience);
        tokio::select! {
            biased;
            answer = asked.next() => match answer {
                Some(Ok(answer)) => return Ok(answer),
                Some(Err(reason)) => drop(failure.get_or_insert(reason)),
                None => return Err(failure.unwrap_or_else(nobody)),
            },
            () = late, if !waiting.is_empty() => {}
        }
    }
}

#[cold]
fn nobody() -> ReadFailure {
    ReadFailure::new(FailureKind::Configuration, "the connection names no server")
}

/// How long one of several addresses is waited for before the next is asked beside it: an eighth of what connecting may
/// take in all, so that some silent ones cost nothing but that.
fn patience(connector: &Connector) -> Duration {
    connector.server().connect_timeout / 8
}

/// Texts of servers and files in messages.
fn shown(address: &str) -> &str {
    super::classify::clipped(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block_on<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work)
    }

    fn failure(text: &str) -> ReadFailure {
        ReadFailure::new(FailureKind::Unreachable, text)
    }

    #[test]
    fn a_silent_one_is_not_waited_for_and_the_first_answer_counts() {
        let addresses = ["silent", "dead", "alive", "spare"].map(str::to_owned);
        let patience = Duration::from_millis(100);
        block_on(async {
            let answer = first_of(&addresses, patience, |i| async move {
                match i {
                    0 => std::future::pending().await,
                    1 => Err(failure("dead")),
                    other => Ok(other),
                }
            });
            assert_eq!(tokio::time::timeout(2 * patience, answer).await.unwrap().unwrap(), 2);

            let none = first_of(&addresses, patience, |i| async move { Err::<(), _>(failure(&i.to_string())) });
            assert_eq!(&*none.await.unwrap_err().message, "0");
            let empty: [String; 0] = [];
            assert!(first_of(&empty, patience, |_| async { Ok(()) }).await.is_err());
        });
    }
}
