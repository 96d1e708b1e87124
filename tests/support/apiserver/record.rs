//! Every request, in the order of arrival, and what became of it: the proof of what was said to the API server, and
//! the count of what it cost.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// One request.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its place in the record.
    pub number: usize,
    /// Since the server's start.
    pub at: Duration,
    /// Whose kubeconfig it came by.
    pub client: String,
    /// As RBAC has it: `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`; empty for discovery.
    pub verb: &'static str,
    pub group: String,
    /// As RBAC has it: `deployments/scale`.
    pub resource: String,
    /// Empty across all of them.
    pub namespace: String,
    pub name: String,
    pub method: String,
    /// With the query.
    pub path: String,
    pub manager: String,
    /// What was sent; null for reads.
    pub body: Value,
    /// `metadata.resourceVersion` of a write, or the parameter of a list or watch.
    pub given_rv: Option<u64>,
    pub outcome: Outcome,
    /// Whether it changed anything. One that changed nothing, because everything was so already, did not.
    pub applied: bool,
    /// The object's revision after a write, or that of the list.
    pub rv: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Not answered yet; or the connection ended before it was.
    Pending,
    Answered(u16),
    /// A fault cut the connection.
    Dropped,
    /// A fault left it without an answer.
    Hung,
}

impl Entry {
    pub fn is_write(&self) -> bool {
        matches!(self.verb, "create" | "update" | "patch" | "delete" | "deletecollection")
    }

    /// `spec.replicas` of what was sent.
    pub fn replicas(&self) -> Option<i64> {
        self.body["spec"]["replicas"].as_i64()
    }

    pub fn code(&self) -> Option<u16> {
        match self.outcome {
            Outcome::Answered(code) => Some(code),
            _ => None,
        }
    }
}

pub struct Record {
    started: Instant,
    entries: Mutex<Vec<Entry>>,
}

impl Record {
    pub fn new() -> Self {
        Record { started: Instant::now(), entries: Mutex::default() }
    }

    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the entry its number and its time.
    pub fn begin(&self, mut entry: Entry) -> usize {
        let mut entries = self.entries();
        entry.number = entries.len();
        entry.at = self.now();
        entries.push(entry);
        entries.len() - 1
    }

    pub fn change(&self, number: usize, change: impl FnOnce(&mut Entry)) {
        change(&mut self.entries()[number]);
    }

    pub fn get(&self, number: usize) -> Entry {
        self.entries()[number].clone()
    }

    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// From the given time on.
    pub fn from(&self, at: Duration) -> Requests {
        let number = self.entries().partition_point(|entry| entry.at < at);
        self.since(number)
    }

    /// From the given number on.
    pub fn since(&self, number: usize) -> Requests {
        Requests(self.entries().get(number..).unwrap_or_default().to_vec())
    }
}

/// A selection of the record. Each question narrows it.
#[derive(Clone, Debug)]
pub struct Requests(pub Vec<Entry>);

impl Requests {
    pub fn that(mut self, holds: impl Fn(&Entry) -> bool) -> Self {
        self.0.retain(|entry| holds(entry));
        self
    }

    pub fn verb(self, verb: &str) -> Self {
        self.that(|entry| entry.verb == verb)
    }

    /// As RBAC has it: `deployments/scale`.
    pub fn resource(self, resource: &str) -> Self {
        self.that(|entry| entry.resource == resource)
    }

    pub fn named(self, namespace: &str, name: &str) -> Self {
        self.that(|entry| entry.namespace == namespace && entry.name == name)
    }

    pub fn client(self, client: &str) -> Self {
        self.that(|entry| entry.client == client)
    }

    pub fn writes(self) -> Self {
        self.that(Entry::is_write)
    }

    /// Those that changed something.
    pub fn applied(self) -> Self {
        self.that(|entry| entry.applied)
    }

    pub fn code(self, code: u16) -> Self {
        self.that(|entry| entry.code() == Some(code))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many by verb and resource.
    pub fn counts(&self) -> BTreeMap<(&'static str, String), usize> {
        let mut counts = BTreeMap::new();
        for entry in &self.0 {
            *counts.entry((entry.verb, entry.resource.clone())).or_default() += 1;
        }
        counts
    }

    /// How many in each second since the server's start that saw any.
    pub fn per_second(&self) -> BTreeMap<u64, usize> {
        let mut counts = BTreeMap::new();
        for entry in &self.0 {
            *counts.entry(entry.at.as_secs()).or_default() += 1;
        }
        counts
    }

    /// One line each, for whoever reads why a test failed.
    pub fn lines(&self) -> String {
        let line = |entry: &Entry| {
            let at = entry.at.as_secs_f64();
            let Entry { number, client, method, path, outcome, applied, given_rv, rv, body, .. } = entry;
            let body = if body.is_null() { String::new() } else { format!(" {body}") };
            format!(
                "{number:5} {at:9.3} {client} {method} {path}{body} rv={given_rv:?} -> {outcome:?} applied={applied} rv={rv:?}"
            )
        };
        self.0.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}
