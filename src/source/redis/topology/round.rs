//! A round over the nodes of a Cluster: every node is asked for its share at the same time, and what comes back as a
//! redirection is followed, read by read.
//!
//! A node that is down, silent or full of errors fails its own reads and nobody else's. Rounds wait for the slowest node
//! that is not known to be down, as long as the connection's timeouts say, and for no other.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use redis::{Cmd, Pipeline, ServerError, Value};

use super::cluster::Cluster;
use super::slots::{Redirect, slot_of};
use crate::model::{FailureKind, ReadFailure};
use crate::source::redis::hot::{Oddity, Part, Round, Shared};
use crate::source::redis::length::{self, Verdict};
use crate::source::redis::survey::Replies;
use crate::source::redis::wire::Wire;
use crate::source::redis::{CHUNK, RedisBackend, Tracked, classify, reply};
use crate::source::{Answers, Moment, ReadId};

/// How often one read is sent on within a round. A slot that moves as we look takes two, and a key of another type two
/// more; whoever is sent around in a circle is given up.
pub(super) const HOPS: usize = 6;

/// How the numbers of a batch are shared out among nodes.
#[derive(Default)]
pub(in crate::source::redis) struct Spread {
    epoch: u64,
    shares: HashMap<Arc<str>, Part>,
    /// Reads of slots that nobody holds.
    nobodys: Vec<(usize, ReadId)>,
}

impl Spread {
    /// How many commands a round takes, about; `None` before the first.
    pub(in crate::source::redis) fn commands(&self) -> Option<usize> {
        (self.epoch > 0).then(|| self.shares.values().map(Part::commands).sum())
    }
}

/// One number, or the type of one key, to be asked of a node that is not the one it was asked of first.
struct Errand {
    position: usize,
    read: ReadId,
    what: What,
    to: Arc<str>,
    /// For this once: the slot is still on its way there.
    asking: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Count,
    Type,
}

/// One command for one node.
pub(super) struct Ask {
    pub(super) to: Arc<str>,
    pub(super) asking: bool,
    pub(super) command: Cmd,
}

impl RedisBackend {
    /// Shares out `numbers` as the slots lie now.
    fn share_out(&self, cluster: &Cluster, numbers: &[(usize, ReadId)]) -> Spread {
        let mut shares: HashMap<Arc<str>, Vec<(usize, ReadId)>> = HashMap::new();
        let mut nobodys = Vec::new();
        for (position, read) in numbers {
            let node = self.number(*read).and_then(|slot| cluster.node_of(&slot.key));
            match node {
                Some(node) => shares.entry(Arc::clone(node)).or_default().push((*position, *read)),
                None => nobodys.push((*position, *read)),
            }
        }
        let shares = shares.into_iter().map(|(node, reads)| (node, Part::new(reads.into_iter()))).collect();
        Spread { epoch: cluster.epoch(), shares, nobodys }
    }

    /// Asks for the numbers of a batch.
    ///
    /// # Errors
    /// Not one node that was asked could be.
    pub(in crate::source::redis) async fn ask_cluster(
        &mut self,
        cluster: &mut Cluster,
        numbers: &[(usize, ReadId)],
        spread: &mut Spread,
        at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        cluster.settle();
        if spread.epoch != cluster.epoch() {
            *spread = self.share_out(cluster, numbers);
        }
        for (position, read) in &spread.nobodys {
            let key = self.number(*read).map_or("", |slot| &slot.key);
            answers.fail(*position, nobodys(key));
        }
        let mut errands = Vec::new();
        let mut lost = None;
        let mut answered = spread.shares.is_empty();
        let round = Shared::new(Round { reads: &mut self.reads, values: answers.values_mut() });
        let outcomes = ask_all(cluster, &mut spread.shares, at, &round).await;
        for (node, outcome) in outcomes {
            let Some(part) = spread.shares.get_mut(&node) else { continue };
            match outcome {
                Ok(()) => {
                    answered = true;
                    for Oddity { position, read, reply } in part.take_oddities() {
                        let to = Arc::clone(&node);
                        let asked = Errand { position, read, what: What::Count, to, asking: false };
                        errands.extend(self.take_odd(cluster, asked, &reply, answers));
                    }
                }
                Err(failure) => {
                    for (position, _) in part.members() {
                        answers.fail(position, failure.clone());
                    }
                    lost = Some(failure);
                }
            }
        }
        match lost {
            Some(failure) if !answered => return Err(failure),
            Some(_) => cluster.troubled(),
            None => {}
        }
        self.run(cluster, errands, at, answers).await;
        Ok(())
    }

    /// Runs errands, and those that they lead to.
    async fn run(&mut self, cluster: &mut Cluster, mut errands: Vec<Errand>, at: Moment, answers: &mut Answers) {
        for _ in 0..HOPS {
            if errands.is_empty() {
                return;
            }
            let asks = errands.iter().map(|errand| {
                let mut one = Pipeline::with_capacity(1);
                if let Some(slot) = self.number(errand.read) {
                    match errand.what {
                        What::Count => slot.ask(at.unix_millis, &mut one),
                        What::Type => slot.ask_type(&mut one),
                    }
                }
                let command = one.cmd_iter().next().cloned().unwrap_or_default();
                Ask { to: Arc::clone(&errand.to), asking: errand.asking, command }
            });
            let replies = ask_some(cluster, asks.collect()).await;
            let mut next = Vec::new();
            for (errand, reply) in errands.into_iter().zip(replies) {
                match reply {
                    Ok(reply) => next.extend(self.take_odd(cluster, errand, &reply, answers)),
                    Err(failure) => answers.fail(errand.position, failure),
                }
            }
            errands = next;
        }
        for errand in errands {
            let key = self.number(errand.read).map_or("", |slot| &slot.key);
            answers.fail(errand.position, in_circles(key));
        }
    }

    /// Takes a reply that may be no number; what is to be asked next because of it, if anything is.
    fn take_odd(
        &mut self,
        cluster: &mut Cluster,
        asked: Errand,
        reply: &Value,
        answers: &mut Answers,
    ) -> Option<Errand> {
        if let Some(redirect) = redirect(cluster, &asked.to, reply) {
            let asking = matches!(redirect, Redirect::Ask(_));
            return match cluster.stranger(redirect.address()) {
                Ok(to) => Some(Errand { to, asking, ..asked }),
                Err(failure) => {
                    answers.fail(asked.position, failure);
                    None
                }
            };
        }
        let Some(Tracked::Number(slot)) = self.tracked.get_mut(asked.read) else { return None };
        match asked.what {
            What::Count => match length::take(&asked.to, slot, asked.position, reply, answers) {
                Verdict::Settled => None,
                Verdict::Relearn => Some(Errand { what: What::Type, ..asked }),
                Verdict::Server(failure) => {
                    answers.fail(asked.position, failure);
                    cluster.outdated(&asked.to);
                    None
                }
            },
            What::Type => match self.learn(asked.read, reply)? {
                Ok(()) => Some(Errand { what: What::Count, ..asked }),
                Err(failure) => {
                    answers.fail(asked.position, failure);
                    None
                }
            },
        }
    }
}

pub(super) fn redirect(cluster: &Cluster, asked: &Arc<str>, reply: &Value) -> Option<Redirect> {
    let Value::ServerError(error) = reply else { return None };
    let redirect = Redirect::of(error, asked)?;
    if matches!(redirect, Redirect::Moved(_)) {
        cluster.outdated(asked);
    }
    Some(redirect)
}

/// Asks each node for its share, all at the same time; in the order in which they are done.
async fn ask_all(
    cluster: &mut Cluster,
    shares: &mut HashMap<Arc<str>, Part>,
    at: Moment,
    round: &Shared<'_>,
) -> Vec<(Arc<str>, Result<(), ReadFailure>)> {
    let (connector, nodes) = cluster.nodes();
    let mut shares: HashMap<&Arc<str>, &mut Part> = shares.iter_mut().collect();
    let asking = nodes.iter_mut().filter_map(|(address, node)| {
        let part = shares.remove(address)?;
        Some(async move {
            let outcome = async { node.ready(connector).await?.hot()?.round(part, at, round).await }.await;
            match &outcome {
                Ok(()) => node.answered(),
                Err(failure) => node.lost(connector, failure.clone()),
            }
            (Arc::clone(address), outcome)
        })
    });
    let asking: FuturesUnordered<_> = asking.collect();
    asking.collect().await
}

/// Asks single things of several nodes at the same time. One result each, in order.
pub(super) async fn ask_some(cluster: &mut Cluster, asks: Vec<Ask>) -> Vec<Result<Value, ReadFailure>> {
    let mut results: Vec<Option<Result<Value, ReadFailure>>> = Vec::new();
    results.resize_with(asks.len(), || None);
    let mut shares: BTreeMap<Arc<str>, Vec<(usize, bool, Cmd)>> = BTreeMap::new();
    for (place, ask) in asks.into_iter().enumerate() {
        shares.entry(ask.to).or_default().push((place, ask.asking, ask.command));
    }
    let mut any_lost = false;
    {
        let shares = &shares;
        let (connector, nodes) = cluster.nodes();
        let asking = nodes.iter_mut().filter_map(|(address, node)| {
            let share = shares.get(address)?;
            Some(async move {
                let outcome = match node.ready(connector).await {
                    Ok(wire) => ask_share(wire, share).await,
                    Err(failure) => Err(failure),
                };
                if let Err(failure) = &outcome {
                    node.lost(connector, failure.clone());
                }
                (share, outcome)
            })
        });
        let mut asking: FuturesUnordered<_> = asking.collect();
        while let Some((share, outcome)) = asking.next().await {
            any_lost |= outcome.is_err();
            let mut replies = outcome.map(Vec::into_iter);
            for (place, ..) in share {
                let result = match &mut replies {
                    Ok(replies) => replies.next(),
                    Err(failure) => Some(Err(failure.clone())),
                };
                if let Some(free) = results.get_mut(*place) {
                    *free = result;
                }
            }
        }
    }
    if any_lost {
        cluster.troubled();
    }
    let address = &cluster.connector().server().address;
    results.into_iter().map(|result| result.unwrap_or_else(|| Err(reply::missing(address)))).collect()
}

async fn ask_share(wire: &Wire, share: &[(usize, bool, Cmd)]) -> Result<Replies, ReadFailure> {
    let mut all = Vec::with_capacity(share.len());
    for part in share.chunks(CHUNK) {
        let mut pipeline = Pipeline::with_capacity(part.len());
        for (_, asking, command) in part {
            if *asking {
                pipeline.add_command(redis::cmd("ASKING"));
            }
            pipeline.add_command(command.clone());
        }
        let mut replies = wire.ask_all(&pipeline).await?.into_iter();
        for (_, asking, _) in part {
            let refused = match asking.then(|| replies.next()).flatten() {
                Some(Value::ServerError(error)) => Some(not_asking(wire.address(), &error)),
                _ => None,
            };
            let reply = replies.next().ok_or_else(|| reply::missing(wire.address()));
            all.push(refused.map_or(reply, Err));
        }
    }
    Ok(all)
}

/// A node that does not let us ask for what is on its way to it.
fn not_asking(address: &str, error: &ServerError) -> ReadFailure {
    match error.code() {
        "NOPERM" => ReadFailure::new(
            FailureKind::PermissionDenied,
            format!("{address}: this user may not ask for keys whose slot is on its way there; grant `+asking`"),
        ),
        _ => classify::server_failure(address, error),
    }
}

pub(super) fn nobodys(key: &str) -> ReadFailure {
    ReadFailure::new(
        FailureKind::NotServing,
        format!(
            "key {key:?}: no node of the Cluster holds its slot, {}; look at `CLUSTER INFO`",
            slot_of(key.as_bytes())
        ),
    )
}

pub(super) fn in_circles(key: &str) -> ReadFailure {
    let sentence = format!("key {key:?}: the Cluster's nodes send us from one to the other; look at `CLUSTER NODES`");
    ReadFailure::new(FailureKind::Protocol, sentence)
}
