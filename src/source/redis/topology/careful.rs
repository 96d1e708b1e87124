//! The way of surveys: to the one server, or to the node of each command's key.
//!
//! What a node cannot answer fails the surveys that need it, and no others. Redirections are followed as for numbers; and
//! a walk over all keys goes from node to node.

use std::collections::HashMap;
use std::sync::Arc;

use redis::{Cmd, Pipeline};

use super::Servers;
use super::cluster::Cluster;
use super::round::{Ask, HOPS, ask_some, in_circles, nobodys, redirect};
use super::scan::Step;
use super::slots::Redirect;
use crate::model::ReadFailure;
use crate::source::redis::survey::{Command, Replies, Sender};
use crate::source::redis::wire::Wire;
use crate::source::redis::{CHUNK, reply};

/// Sends what surveys ask.
pub(in crate::source::redis) struct Careful<'a> {
    pub(in crate::source::redis) address: &'a str,
    pub(in crate::source::redis) servers: &'a mut Servers,
}

impl Sender for Careful<'_> {
    async fn send(&mut self, commands: &[Command]) -> Result<Replies, ReadFailure> {
        match self.servers {
            Servers::One(one) => one_by_one(self.address, one.wire(), commands).await,
            Servers::Cluster(cluster) => Ok(from_nodes(cluster, commands).await),
        }
    }
}

async fn one_by_one(address: &str, wire: &Wire, commands: &[Command]) -> Result<Replies, ReadFailure> {
    let mut replies = Vec::with_capacity(commands.len());
    for part in commands.chunks(CHUNK) {
        let mut pipeline = Pipeline::with_capacity(part.len());
        for command in part {
            pipeline.add_command(command.cmd.clone());
        }
        for reply in wire.ask_all(&pipeline).await? {
            match reply::of_server(address, &reply) {
                Some(failure) => return Err(failure),
                None => replies.push(Ok(reply)),
            }
        }
    }
    Ok(replies)
}

async fn from_nodes(cluster: &mut Cluster, commands: &[Command]) -> Replies {
    let nodes = cluster.read_nodes();
    let mut results: Replies = Vec::with_capacity(commands.len());
    let mut steps: HashMap<usize, Step> = HashMap::new();
    // Which command each ask is about.
    let (mut places, mut asks) = (Vec::new(), Vec::new());
    for (place, command) in commands.iter().enumerate() {
        let (to, asked) = match (&command.key, Step::of(&command.cmd, &nodes)) {
            (Some(key), _) => (cluster.node_of(key).cloned(), command.cmd.clone()),
            (None, Some((step, to, asked))) => {
                steps.insert(place, step);
                (Some(to), asked)
            }
            (None, None) => (nodes.first().cloned(), command.cmd.clone()),
        };
        let key = command.key.as_deref().unwrap_or_default();
        results.push(Err(nobodys(key)));
        if let Some(to) = to {
            places.push(place);
            asks.push(Ask { to, asking: false, command: asked });
        }
    }
    for _ in 0..HOPS {
        if asks.is_empty() {
            break;
        }
        let sent: Vec<(Arc<str>, Cmd)> = asks.iter().map(|ask| (Arc::clone(&ask.to), ask.command.clone())).collect();
        let replies = ask_some(cluster, asks).await;
        let asked = std::mem::take(&mut places).into_iter().zip(sent);
        asks = Vec::new();
        for ((place, (from, command)), reply) in asked.zip(replies) {
            let result = match reply {
                Ok(reply) => match redirect(cluster, &from, &reply) {
                    Some(redirect) => match cluster.stranger(redirect.address()) {
                        Ok(to) => {
                            let asking = matches!(redirect, Redirect::Ask(_));
                            places.push(place);
                            asks.push(Ask { to, asking, command });
                            let key = commands.get(place).and_then(|command| command.key.as_deref());
                            Err(in_circles(key.unwrap_or_default()))
                        }
                        Err(failure) => Err(failure),
                    },
                    None => match reply::of_server(&from, &reply) {
                        Some(failure) => Err(failure),
                        None => Ok(steps.get(&place).map_or_else(|| reply.clone(), |step| step.taken(reply.clone()))),
                    },
                },
                Err(failure) => Err(failure),
            };
            if let Some(place) = results.get_mut(place) {
                *place = result;
            }
        }
    }
    results
}
