//! What leads to one server while it is up: the library's connection for whatever is asked with care, and the hot one
//! for numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value};
use tokio_util::task::AbortOnDropHandle;

use super::classify;
use super::hot::Node;
use crate::model::{FailureKind, ReadFailure};
use crate::source::Load;

/// No two wires share a number.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// Connections to one server that are logged in and have its database selected.
pub(super) struct Wire {
    address: Arc<str>,
    number: u64,
    connection: MultiplexedConnection,
    /// What moves its bytes, where that is ours to keep. The library's own end waits for answers that are still due,
    /// which a frozen server never sends.
    _driver: Option<AbortOnDropHandle<()>>,
    /// `None` for whoever asks about other things than keys.
    hot: Option<Box<Node>>,
    /// Commands sent over the library's connection, by all twins.
    asked: Arc<AtomicU64>,
}

impl Wire {
    pub(super) fn new(address: &str, connection: MultiplexedConnection, driver: Option<AbortOnDropHandle<()>>) -> Self {
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        Wire { address: address.into(), number, connection, _driver: driver, hot: None, asked: Arc::default() }
    }

    /// With the way of numbers.
    pub(super) fn with(self, hot: Node) -> Self {
        Wire { hot: Some(Box::new(hot)), ..self }
    }

    pub(super) fn address(&self) -> &Arc<str> {
        &self.address
    }

    /// Tells this wire from all others: what a server was asked over another one, this one's need not know of.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The library's connection once more, for whoever looks after it; it ends when this one does.
    pub(super) fn twin(&self) -> Wire {
        let (address, connection, asked) =
            (Arc::clone(&self.address), self.connection.clone(), Arc::clone(&self.asked));
        Wire { address, number: self.number, connection, _driver: None, hot: None, asked }
    }

    /// The way of numbers.
    ///
    /// # Errors
    /// This wire is for other things: a defect of whoever asks.
    pub(super) fn hot(&mut self) -> Result<&mut Node, ReadFailure> {
        let address = &self.address;
        let none = || ReadFailure::new(FailureKind::Unreachable, format!("{address}: not connected for numbers"));
        self.hot.as_deref_mut().ok_or_else(none)
    }

    /// What the server does not grant on the way of numbers.
    pub(super) fn grievance(&self) -> Option<String> {
        self.hot.as_ref()?.grievance()
    }

    /// The answer to one command, errors among them.
    pub(super) async fn ask(&self, command: &Cmd) -> Result<Value, ReadFailure> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let answer = self.connection.clone().send_packed_command(command).await;
        answer.map_err(|error| classify::connection_failure(&self.address, &error))
    }

    /// The answers to all commands of `pipeline`, errors among them.
    pub(super) async fn ask_all(&self, pipeline: &Pipeline) -> Result<Vec<Value>, ReadFailure> {
        let count = pipeline.cmd_iter().count();
        self.asked.fetch_add(count as u64, Ordering::Relaxed);
        // Unlike `query_async` this gives every reply as it came.
        let answers = self.connection.clone().send_packed_commands(pipeline, 0, count).await;
        answers.map_err(|error| classify::connection_failure(&self.address, &error))
    }

    /// What all this has cost the server since the last call.
    pub(super) fn take_load(&mut self) -> Load {
        let mut load = self.hot.as_deref_mut().map(Node::take_load).unwrap_or_default();
        load.commands += self.asked.swap(0, Ordering::Relaxed);
        load
    }
}
