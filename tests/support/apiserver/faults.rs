//! What goes wrong, as a test scripts it: which requests, how many of them, and what happens to them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::errors::Refusal;
use super::record::Entry;

/// ```ignore
/// let fault = server.fault(Fault::on("patch", "deployments/scale").named("web").times(3).answer(Refusal::timeout()));
/// until("three were refused", || fault.hits() == 3);
/// fault.lift();
/// ```
#[derive(Clone)]
pub struct Fault {
    verb: String,
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    client: Option<String>,
    skip: u64,
    times: u64,
    until: Option<Instant>,
    pub effect: Effect,
}

#[derive(Clone)]
pub enum Effect {
    /// Refused with this.
    Answer(Refusal),
    /// As a write that somebody else's came before: 409 with the object's own words.
    Modified,
    /// Answered, and carried out, so much later; also where the client does not wait for it.
    Delay(Duration),
    /// Never answered, never carried out.
    Hang,
    /// Carried out, never answered.
    HangAfter,
    /// The connection ends; nothing was carried out.
    Drop,
    /// The connection ends; the request was carried out.
    DropAfter,
}

impl Fault {
    /// A verb of RBAC, `write` for all that write, `*` for any; a resource as RBAC has it (`deployments/scale`), `*`
    /// for any. Until told otherwise it does nothing.
    pub fn on(verb: &str, resource: &str) -> Self {
        Fault {
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            namespace: None,
            name: None,
            client: None,
            skip: 0,
            times: u64::MAX,
            until: None,
            effect: Effect::Delay(Duration::ZERO),
        }
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    pub fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Of this client only.
    pub fn of(mut self, client: &str) -> Self {
        self.client = Some(client.to_owned());
        self
    }

    /// Leaves the first ones alone.
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// As many, and no more.
    pub fn times(mut self, times: u64) -> Self {
        self.times = times;
        self
    }

    /// From now on.
    pub fn lasting(mut self, time: Duration) -> Self {
        self.until = Some(Instant::now() + time);
        self
    }

    pub fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    pub fn answer(self, refusal: Refusal) -> Self {
        self.effect(Effect::Answer(refusal))
    }

    pub fn delay(self, time: Duration) -> Self {
        self.effect(Effect::Delay(time))
    }

    fn concerns(&self, entry: &Entry) -> bool {
        let verb = match self.verb.as_str() {
            "*" => true,
            "write" => entry.is_write(),
            verb => verb == entry.verb,
        };
        let same = |wanted: &Option<String>, actual: &str| wanted.as_ref().is_none_or(|wanted| wanted == actual);
        verb && (self.resource == "*" || self.resource == entry.resource)
            && same(&self.namespace, &entry.namespace)
            && same(&self.name, &entry.name)
            && same(&self.client, &entry.client)
            && self.until.is_none_or(|until| Instant::now() < until)
    }
}

/// A fault in force.
pub struct Armed {
    fault: Fault,
    seen: AtomicU64,
    hits: AtomicU64,
    lifted: AtomicU64,
}

impl Armed {
    pub fn new(fault: Fault) -> Arc<Self> {
        let (seen, hits, lifted) = Default::default();
        Arc::new(Armed { fault, seen, hits, lifted })
    }

    /// How many requests it has hit.
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::SeqCst)
    }

    pub fn lift(&self) {
        self.lifted.store(1, Ordering::SeqCst);
    }

    /// Whether it hits this request; counted if so. The server asks for one request at a time.
    pub fn strikes(&self, entry: &Entry) -> Option<Effect> {
        if self.lifted.load(Ordering::SeqCst) != 0 || !self.fault.concerns(entry) {
            return None;
        }
        if self.seen.fetch_add(1, Ordering::SeqCst) < self.fault.skip || self.hits() >= self.fault.times {
            return None;
        }
        self.hits.fetch_add(1, Ordering::SeqCst);
        Some(self.fault.effect.clone())
    }
}
