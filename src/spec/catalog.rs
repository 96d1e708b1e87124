//! The second door: custom resources, one at a time as they come and go, to specs and grants, or to every problem in
//! them.
//!
//! [`Catalog`] is told what stands in the cluster now; [`Catalog::settle`] says what follows from it since the last
//! time. Between the two nothing is validated, so that a burst of changes costs each object one validation, and a
//! Connection that changes under a thousand autoscalers costs each of them one as well. A change of anything but
//! `spec` and our own annotations (our own writes of `status` above all) costs none.
//!
//! What is validated is the same as in files, with the same sentences. These are the rules of this door:
//!
//! * **The last good state stays in force.** An object that is edited into something that cannot be used goes on as it
//!   was and has problems. So does one whose Connection is deleted, as with files. But it ends at once where somebody
//!   with more authority says no: where a ClusterConnection no longer allows its namespace.
//! * **Files stand above.** An object whose name one in a file has is reported and not used.
//! * **A host without a dot is a Service of the object's own namespace**, wherever tidegate runs.
//! * **No variable and no file of tidegate's** is named by a custom resource, and no password stands in it.
//! * **The cap on autoscalers of a namespace** lets the older ones in.

mod object;
mod settle;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value as Json;

use self::object::Sent;
use super::grants::{Grant, Grants};
use super::limits::Limits;
use super::manifest::status::QueueAutoscalerStatus;
use super::problem::Problem;
use super::{AutoscalerSpec, SpecsChange};
use crate::model::AutoscalerId;

pub use super::load::objects::Kind;

/// One QueueAutoscaler of the cluster.
#[derive(Clone, PartialEq, Debug)]
pub struct Resource {
    pub id: AutoscalerId,
    pub uid: Arc<str>,
    /// For optimistic concurrency of what is written to it.
    pub resource_version: Arc<str>,
    pub generation: i64,
    /// Seconds since the epoch.
    pub created: i64,
    /// Somebody deleted it, and a finalizer still holds it. Its spec is decided and carried out until it is gone, but
    /// for one that wants its workload back as it was (`restore_on_delete`): that one ends at once, or it would undo
    /// the restoring.
    pub deleting: bool,
    pub finalizers: Vec<String>,
    /// As the API server has it.
    pub status: Option<QueueAutoscalerStatus>,
    /// What it says, or what it last said that could be used.
    pub spec: Option<Arc<AutoscalerSpec>>,
    /// What is wrong with what it says now.
    pub problems: Arc<[Problem]>,
    pub warnings: Arc<[Problem]>,
}

impl Resource {
    /// What is decided on and carried out.
    #[must_use]
    pub fn in_force(&self) -> Option<&Arc<AutoscalerSpec>> {
        self.spec.as_ref().filter(|spec| !(self.deleting && spec.restore_on_delete))
    }
}

/// What stands in files, above every custom resource.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Base {
    /// With the operator's allow list and fence.
    pub grants: Grants,
    pub autoscalers: HashSet<AutoscalerId>,
}

/// An object that is not even an object of its kind.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind} {name}: {message}", kind = .kind.as_str())]
pub struct Malformed {
    pub kind: Kind,
    /// As far as it has one.
    pub name: String,
    pub message: &'static str,
}

/// What is now said of an object that was said otherwise, or not at all, before.
#[derive(Clone, PartialEq, Debug)]
pub struct Finding {
    pub kind: Kind,
    /// `namespace/name`, or the name.
    pub name: String,
    /// Whether anything of it is in force: what it says, or what it said before.
    pub in_force: bool,
    pub problems: Arc<[Problem]>,
    pub warnings: Arc<[Problem]>,
}

/// The keys that are needed of each Secret, by namespace and name.
pub type WantedSecrets = BTreeMap<(String, String), BTreeSet<String>>;

/// What follows from the changes since the last time.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Settled {
    pub specs: SpecsChange,
    /// Where they differ.
    pub grants: Option<Grants>,
    /// Where they differ.
    pub secrets: Option<WantedSecrets>,
    /// Whether [`Catalog::resources`] is another.
    pub resources: bool,
    pub findings: Vec<Finding>,
}

/// Namespace (`None`: a ClusterConnection) and name.
type Scoped = (Option<Arc<str>>, Arc<str>);

/// Everything that stands in the cluster, and what was made of it.
pub struct Catalog {
    most_autoscalers: usize,
    base: Base,
    /// How many autoscalers of each namespace are in files.
    base_population: HashMap<Arc<str>, usize>,
    /// The base's, and ours that are in force.
    grants: Grants,
    autoscalers: BTreeMap<AutoscalerId, Autoscaler>,
    connections: BTreeMap<Scoped, Connection>,
    /// Who names a connection.
    users: HashMap<Arc<str>, BTreeSet<AutoscalerId>>,
    populations: HashMap<Arc<str>, Population>,
    /// In force by a state that is not the present one: their connections may be declared nowhere.
    by_last_good: BTreeSet<AutoscalerId>,
    secrets: WantedSecrets,
    // === what the next `settle` has to look at ===
    changed_connections: BTreeSet<Scoped>,
    changed_populations: HashSet<Arc<str>>,
    /// To be validated.
    dirty: BTreeSet<AutoscalerId>,
    /// Changed in what is not validated.
    restated: BTreeSet<AutoscalerId>,
    /// Deleted, and what of theirs was in force.
    gone: BTreeMap<AutoscalerId, Option<Arc<AutoscalerSpec>>>,
    grants_changed: bool,
}

struct Autoscaler {
    resource: Arc<Resource>,
    /// What is validated of it.
    text: Box<str>,
    /// The last text that could be used, if it is not `text`.
    good: Option<Box<str>>,
    /// Connections that either names, or some state between them did.
    names: Box<[Arc<str>]>,
    /// Others of its namespace are older, and as many as are allowed.
    beyond: bool,
    /// What the runtime was told.
    told: Option<Arc<AutoscalerSpec>>,
}

struct Connection {
    uid: Arc<str>,
    text: Box<str>,
    /// In force.
    grant: Option<Grant>,
    problems: Arc<[Problem]>,
    warnings: Arc<[Problem]>,
}

#[derive(Default)]
struct Population {
    /// When each was created, and its name: the oldest first.
    members: BTreeSet<(i64, Arc<str>)>,
    beyond: usize,
}

impl Catalog {
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Catalog {
            most_autoscalers: limits.autoscalers_per_namespace,
            base: Base::default(),
            base_population: HashMap::new(),
            grants: Grants::default(),
            autoscalers: BTreeMap::new(),
            connections: BTreeMap::new(),
            users: HashMap::new(),
            populations: HashMap::new(),
            by_last_good: BTreeSet::new(),
            secrets: BTreeMap::new(),
            changed_connections: BTreeSet::new(),
            changed_populations: HashSet::new(),
            dirty: BTreeSet::new(),
            restated: BTreeSet::new(),
            gone: BTreeMap::new(),
            grants_changed: false,
        }
    }

    /// What stands in files from now on.
    pub fn set_base(&mut self, base: Base) {
        if base == self.base {
            return;
        }
        let names = |grants: &Grants| -> HashMap<Scoped, Grant> {
            let declared = grants.declared().into_iter();
            declared
                .map(|declared| {
                    let scoped = (declared.namespace.map(Arc::from), Arc::from(declared.name));
                    let (connection, allowed) = (Arc::clone(declared.connection), declared.allowed_namespaces.to_vec());
                    (scoped, Grant { connection, allowed })
                })
                .collect()
        };
        let (before, after) = (names(&self.base.grants), names(&base.grants));
        for scoped in before.keys().chain(after.keys()) {
            if before.get(scoped) != after.get(scoped) {
                self.mark_users(scoped);
            }
        }
        for id in self.base.autoscalers.symmetric_difference(&base.autoscalers) {
            self.changed_populations.insert(Arc::clone(&id.namespace));
            if self.autoscalers.contains_key(id) {
                self.dirty.insert(id.clone());
            }
        }
        self.base_population.clear();
        for id in &base.autoscalers {
            *self.base_population.entry(Arc::clone(&id.namespace)).or_default() += 1;
        }
        // Names come and go above ours, and so may the fence.
        self.grants = base.grants.clone();
        for (scoped, connection) in &self.connections {
            if !base.grants.declares(scoped.0.as_deref(), &scoped.1) {
                settle::declare(&mut self.grants, scoped, connection.grant.as_ref());
            }
            self.changed_connections.insert(scoped.clone());
        }
        self.grants_changed = true;
        self.base = base;
    }

    /// Takes an object as the API server sends it, new or changed.
    ///
    /// # Errors
    /// It is no object of its kind. One that was known under its name stays as it was.
    pub fn apply(&mut self, kind: Kind, object: &Json) -> Result<(), Malformed> {
        let sent = Sent::of(kind, object)?;
        match kind {
            Kind::QueueAutoscaler => self.apply_autoscaler(sent),
            Kind::Connection | Kind::ClusterConnection => self.apply_connection(sent),
        }
        Ok(())
    }

    fn apply_connection(&mut self, sent: Sent) {
        let scoped: Scoped = (sent.namespace.as_deref().map(Arc::from), Arc::from(&*sent.name));
        let before = self.connections.remove(&scoped);
        let known = before.filter(|before| before.uid == sent.uid);
        if known.as_ref().is_none_or(|known| known.text != sent.text) {
            self.changed_connections.insert(scoped.clone());
        }
        let connection = match known {
            Some(known) => Connection { text: sent.text, ..known },
            None => Connection {
                uid: sent.uid,
                text: sent.text,
                grant: None,
                problems: Arc::default(),
                warnings: Arc::default(),
            },
        };
        self.connections.insert(scoped, connection);
    }

    fn apply_autoscaler(&mut self, sent: Sent) {
        let id = AutoscalerId::new(sent.namespace.unwrap_or_default(), sent.name);
        if self.autoscalers.get(&id).is_some_and(|known| known.resource.uid != sent.uid) {
            // Deleted and created anew: what the former said is no state of this one.
            self.delete_autoscaler(&id);
        }
        if let Some(known) = self.autoscalers.get_mut(&id) {
            let resource = Arc::make_mut(&mut known.resource);
            resource.resource_version = sent.resource_version;
            resource.generation = sent.generation;
            resource.deleting = sent.deleting;
            resource.finalizers = sent.finalizers;
            resource.status = sent.status;
            if known.text == sent.text {
                self.restated.insert(id);
                return;
            }
            let was = std::mem::replace(&mut known.text, sent.text);
            let mut names = sent.connections;
            if known.resource.spec.is_some() {
                known.good.get_or_insert(was);
                names.extend(known.names.iter().cloned());
            }
            self.index(&id, names);
            self.dirty.insert(id);
            return;
        }
        let population = self.populations.entry(Arc::clone(&id.namespace)).or_default();
        population.members.insert((sent.created, Arc::clone(&id.name)));
        self.changed_populations.insert(Arc::clone(&id.namespace));
        let resource = Resource {
            id: id.clone(),
            uid: sent.uid,
            resource_version: sent.resource_version,
            generation: sent.generation,
            created: sent.created,
            deleting: sent.deleting,
            finalizers: sent.finalizers,
            status: sent.status,
            spec: None,
            problems: Arc::default(),
            warnings: Arc::default(),
        };
        let autoscaler = Autoscaler {
            resource: Arc::new(resource),
            text: sent.text,
            good: None,
            names: Box::default(),
            beyond: false,
            told: self.gone.remove(&id).flatten(),
        };
        self.autoscalers.insert(id.clone(), autoscaler);
        self.index(&id, sent.connections);
        self.dirty.insert(id);
    }

    /// Notes that `id` uses connections of these names, and no others.
    fn index(&mut self, id: &AutoscalerId, names: BTreeSet<Arc<str>>) {
        let Some(autoscaler) = self.autoscalers.get_mut(id) else { return };
        for name in autoscaler.names.iter().filter(|name| !names.contains(*name)) {
            forget_user(&mut self.users, name, id);
        }
        let shared = names.into_iter().map(|name| {
            let name = self.users.get_key_value(&name).map_or(name, |(known, _)| Arc::clone(known));
            self.users.entry(Arc::clone(&name)).or_default().insert(id.clone());
            name
        });
        autoscaler.names = shared.collect();
    }

    /// Whoever names this connection is looked at again.
    fn mark_users(&mut self, (namespace, name): &Scoped) {
        let Some(users) = self.users.get(name) else { return };
        match namespace {
            None => self.dirty.extend(users.iter().cloned()),
            Some(namespace) => {
                let first = AutoscalerId::new(Arc::clone(namespace), "");
                let here = users.range(first..).take_while(|id| id.namespace == *namespace);
                self.dirty.extend(here.cloned());
            }
        }
    }

    /// An object is gone. `namespace` means nothing for a ClusterConnection.
    pub fn delete(&mut self, kind: Kind, namespace: &str, name: &str) {
        if kind == Kind::QueueAutoscaler {
            self.delete_autoscaler(&AutoscalerId::new(namespace, name));
        } else {
            let namespace = (kind == Kind::Connection).then(|| Arc::from(namespace));
            let scoped = (namespace, Arc::from(name));
            if self.connections.remove(&scoped).is_some() {
                self.changed_connections.insert(scoped);
            }
        }
    }

    fn delete_autoscaler(&mut self, id: &AutoscalerId) {
        let Some(known) = self.autoscalers.remove(id) else { return };
        for name in &known.names {
            forget_user(&mut self.users, name, id);
        }
        if let Some(population) = self.populations.get_mut(&id.namespace) {
            population.members.remove(&(known.resource.created, Arc::clone(&id.name)));
            if population.members.is_empty() {
                self.populations.remove(&id.namespace);
            }
        }
        self.changed_populations.insert(Arc::clone(&id.namespace));
        self.by_last_good.remove(id);
        self.dirty.remove(id);
        self.restated.remove(id);
        self.gone.insert(id.clone(), known.told);
    }

    /// After a new list: whatever is not in `listed` (namespace and name) is gone. `within`: the namespace of the list,
    /// or all.
    pub fn keep_only(&mut self, kind: Kind, within: Option<&str>, listed: &HashSet<(String, String)>) {
        let is_gone = |namespace: &str, name: &str| {
            within.is_none_or(|within| within == namespace)
                && !listed.contains(&(namespace.to_owned(), name.to_owned()))
        };
        let gone: Vec<(Arc<str>, Arc<str>)> = if kind == Kind::QueueAutoscaler {
            let ids = self.autoscalers.keys().filter(|id| is_gone(&id.namespace, &id.name));
            ids.map(|id| (Arc::clone(&id.namespace), Arc::clone(&id.name))).collect()
        } else {
            let of_kind = |scoped: &&Scoped| scoped.0.is_some() == (kind == Kind::Connection);
            let gone = self.connections.keys().filter(of_kind).filter_map(|(namespace, name)| {
                let namespace = namespace.clone().unwrap_or_default();
                is_gone(&namespace, name).then(|| (namespace, Arc::clone(name)))
            });
            gone.collect()
        };
        for (namespace, name) in gone {
            self.delete(kind, &namespace, &name);
        }
    }

    /// What files alone grant and need: in force before the first list of custom resources is complete.
    #[must_use]
    pub fn of_base(&self) -> (&Grants, WantedSecrets) {
        (&self.base.grants, settle::keys_of(self.base.grants.declared().iter().map(|declared| &**declared.connection)))
    }

    /// How many objects the next [`Catalog::settle`] has to validate, at least.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.dirty.len() + self.changed_connections.len()
    }

    /// All QueueAutoscalers, for a snapshot.
    #[must_use]
    pub fn resources(&self) -> BTreeMap<AutoscalerId, Arc<Resource>> {
        self.autoscalers.iter().map(|(id, autoscaler)| (id.clone(), Arc::clone(&autoscaler.resource))).collect()
    }

    /// QueueAutoscalers and Connections with problems.
    #[must_use]
    pub fn troubled(&self) -> (usize, usize) {
        let autoscalers = self.autoscalers.values().filter(|autoscaler| !autoscaler.resource.problems.is_empty());
        let connections = self.connections.values().filter(|connection| !connection.problems.is_empty());
        (autoscalers.count(), connections.count())
    }
}

fn forget_user(users: &mut HashMap<Arc<str>, BTreeSet<AutoscalerId>>, name: &Arc<str>, id: &AutoscalerId) {
    if let Some(of_name) = users.get_mut(name) {
        of_name.remove(id);
        if of_name.is_empty() {
            users.remove(name);
        }
    }
}
