//! What follows from what has changed: connections first, because autoscalers refer to them; then who is within the cap;
//! then every autoscaler that is touched, each once.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::object::{connections_of, document};
use super::{Autoscaler, Catalog, Connection, Finding, Kind, Scoped, Settled, WantedSecrets};
use crate::model::AutoscalerId;
use crate::spec::grants::{Grant, Grants};
use crate::spec::load::objects::{self, Object};
use crate::spec::problem::Problem;
use crate::spec::{AutoscalerSpec, ConnectionSpec, Origin};

/// What an object means, or what is wrong with it.
struct Reading<T> {
    /// `None`: it has problems.
    usable: Option<T>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl<T> Reading<T> {
    fn refused(problem: Problem) -> Self {
        Reading { usable: None, problems: vec![problem], warnings: Vec::new() }
    }
}

impl Catalog {
    /// Works out what follows from everything that was said since the last time.
    pub fn settle(&mut self) -> Settled {
        let mut settled = Settled::default();
        for scoped in std::mem::take(&mut self.changed_connections) {
            self.settle_connection(&scoped, &mut settled.findings);
        }
        for namespace in std::mem::take(&mut self.changed_populations) {
            self.settle_population(&namespace);
        }
        let dirty = std::mem::take(&mut self.dirty);
        let (mut orphans, mut restated) = (!self.gone.is_empty(), std::mem::take(&mut self.restated));
        for id in &dirty {
            orphans |= self.settle_autoscaler(id, &mut settled.findings);
        }
        restated.extend(dirty);
        for id in restated {
            let Some(autoscaler) = self.autoscalers.get_mut(&id) else { continue };
            settled.resources = true;
            let now = autoscaler.resource.in_force().cloned();
            match (&autoscaler.told, &now) {
                (Some(told), Some(now)) if Arc::ptr_eq(told, now) || told == now => continue,
                (_, Some(now)) => settled.specs.set.push(Arc::clone(now)),
                (Some(_), None) => settled.specs.gone.push(id),
                (None, None) => {}
            }
            autoscaler.told = now;
        }
        for (id, told) in std::mem::take(&mut self.gone) {
            settled.resources = true;
            if told.is_some() {
                settled.specs.gone.push(id);
            }
        }
        if self.grants_changed || orphans {
            let secrets = self.wanted_secrets();
            if secrets != self.secrets {
                self.secrets = secrets.clone();
                settled.secrets = Some(secrets);
            }
        }
        if std::mem::take(&mut self.grants_changed) {
            settled.grants = Some(self.grants.clone());
        }
        settled
    }

    // === connections ===

    fn settle_connection(&mut self, scoped: &Scoped, findings: &mut Vec<Finding>) {
        let (namespace, name) = (scoped.0.as_deref(), &scoped.1);
        let of_base = self.base.grants.declares(namespace, name);
        let Some(connection) = self.connections.get_mut(scoped) else {
            if !of_base && self.grants.declares(namespace, name) {
                self.grants.withdraw(namespace, name);
                self.grants_changed = true;
            }
            self.mark_users(scoped);
            return;
        };
        let kind = if namespace.is_some() { Kind::Connection } else { Kind::ClusterConnection };
        let before = (connection.grant.clone(), connection.problems.is_empty());
        let reading = if of_base {
            connection.grant = None;
            Reading::refused(taken_by_a_file(kind))
        } else {
            read_connection(kind, scoped, &connection.text, &self.base.grants)
        };
        if let Some(grant) = reading.usable {
            connection.grant = Some(grant);
        }
        if !of_base {
            declare(&mut self.grants, scoped, connection.grant.as_ref());
        }
        let (problems, warnings) = (reading.problems, reading.warnings);
        if *problems != *connection.problems || *warnings != *connection.warnings {
            connection.problems = problems.into();
            connection.warnings = warnings.into();
            findings.push(Finding {
                kind,
                name: namespace.map_or_else(|| name.to_string(), |namespace| format!("{namespace}/{name}")),
                in_force: connection.grant.is_some(),
                problems: Arc::clone(&connection.problems),
                warnings: Arc::clone(&connection.warnings),
            });
        }
        if before != (connection.grant.clone(), connection.problems.is_empty()) {
            self.grants_changed = true;
            self.mark_users(scoped);
        }
    }

    /// The custom resource that `name` means to `namespace`, if it is one.
    fn connection_of(&self, namespace: &str, name: &str) -> Option<(Kind, &Connection)> {
        let name: Arc<str> = Arc::from(name);
        let own = (Some(Arc::from(namespace)), Arc::clone(&name));
        if self.base.grants.declares(Some(namespace), &name) {
            return None;
        }
        if let Some(own) = self.connections.get(&own) {
            return Some((Kind::Connection, own));
        }
        if self.base.grants.declares(None, &name) {
            return None;
        }
        self.connections.get(&(None, name)).map(|shared| (Kind::ClusterConnection, shared))
    }

    // === autoscalers ===

    fn settle_population(&mut self, namespace: &Arc<str>) {
        let of_base = self.base_population.get(namespace).copied().unwrap_or(0);
        let most = self.most_autoscalers.saturating_sub(of_base);
        let Some(population) = self.populations.get_mut(namespace) else { return };
        let beyond = population.members.len().saturating_sub(most);
        if beyond == 0 && population.beyond == 0 {
            return;
        }
        population.beyond = beyond;
        for (position, (_, name)) in population.members.iter().enumerate() {
            let id = AutoscalerId::new(Arc::clone(namespace), Arc::clone(name));
            let Some(autoscaler) = self.autoscalers.get_mut(&id) else { continue };
            let is_beyond = position >= most;
            if autoscaler.beyond != is_beyond {
                autoscaler.beyond = is_beyond;
                self.dirty.insert(id);
            }
        }
    }

    /// Whether what is in force by a last good state may have changed.
    fn settle_autoscaler(&mut self, id: &AutoscalerId, findings: &mut Vec<Finding>) -> bool {
        let Some(autoscaler) = self.autoscalers.get(id) else { return false };
        let reading = if self.base.autoscalers.contains(id) {
            Reading::refused(taken_by_a_file(Kind::QueueAutoscaler))
        } else if autoscaler.beyond {
            Reading::refused(beyond_the_cap(&id.namespace, self.most_autoscalers))
        } else {
            let mut reading = self.read_autoscaler(id, &autoscaler.text);
            if reading.usable.is_none() {
                reading.usable = self.last_good(id, autoscaler);
            }
            reading
        };
        let Reading { usable, problems, warnings } = reading;
        let by_last_good = usable.is_some() && !problems.is_empty();
        let known = if by_last_good { !self.by_last_good.insert(id.clone()) } else { self.by_last_good.remove(id) };

        let Some(autoscaler) = self.autoscalers.get_mut(id) else { return false };
        if !by_last_good {
            autoscaler.good = None;
        }
        let resource = Arc::make_mut(&mut autoscaler.resource);
        // The one that is there stays where nothing has changed, so that there is one of each.
        let same = usable.as_ref().zip(resource.spec.as_ref()).is_some_and(|(new, old)| **new == **old);
        if !same {
            resource.spec = usable;
        }
        if *problems != *resource.problems || *warnings != *resource.warnings {
            resource.problems = problems.into();
            resource.warnings = warnings.into();
            findings.push(Finding {
                kind: Kind::QueueAutoscaler,
                name: id.to_string(),
                in_force: resource.spec.is_some(),
                problems: Arc::clone(&resource.problems),
                warnings: Arc::clone(&resource.warnings),
            });
        }
        known || by_last_good
    }

    /// What `autoscaler` last said that could be used, under the connections of now where that is possible.
    fn last_good(&self, id: &AutoscalerId, autoscaler: &Autoscaler) -> Option<Arc<AutoscalerSpec>> {
        let before = autoscaler.resource.spec.as_ref()?;
        let anew = autoscaler.good.as_deref().and_then(|text| self.read_autoscaler(id, text).usable);
        let spec = anew.unwrap_or_else(|| Arc::clone(before));
        // Unlike a deletion, which may be a mishap, this is somebody's word.
        let is_forbidden = |connection: &ConnectionSpec| self.grants.forbids(&id.namespace, &connection.name);
        let forbidden = spec.triggers.iter().any(|trigger| is_forbidden(&trigger.connection));
        (!forbidden).then_some(spec)
    }

    fn read_autoscaler(&self, id: &AutoscalerId, text: &str) -> Reading<Arc<AutoscalerSpec>> {
        let document = document(Kind::QueueAutoscaler, Some(&id.namespace), &id.name, text);
        let (object, mut report) = Object::of(None, &document);
        let spec = object.map(|object| objects::autoscaler(&object, Origin::Resource, &self.grants, &mut report));
        for (position, name) in connections_of(&document) {
            let Some((kind, connection)) = self.connection_of(&id.namespace, name) else { continue };
            let Some(first) = connection.problems.first() else { continue };
            let path = format!("spec.triggers[{position}].connection");
            let (kind, of_own) = (kind.as_str(), kind == Kind::Connection);
            // What stands in an object of the cluster's is not for everybody to read.
            let why = if of_own { format!("{}: {}", first.path, first.message) } else { "it has problems".to_owned() };
            let cure = if of_own { first.cure.as_str() } else { "who looks after it finds them in tidegate's log" };
            if connection.grant.is_none() {
                report.problem(&path, format!("{kind} `{name}` cannot be used: {why}"), cure);
            } else {
                report.warn(&path, format!("of {kind} `{name}` the last good state is in force: {why}"), cure);
            }
        }
        let (problems, warnings) = report.into_findings();
        let usable = spec.filter(|_| problems.is_empty()).map(|spec| {
            // The names are here already.
            Arc::new(AutoscalerSpec { id: id.clone(), ..spec })
        });
        Reading { usable, problems, warnings }
    }

    // === secrets ===

    fn wanted_secrets(&self) -> WantedSecrets {
        let declared = self.grants.declared();
        let declared = declared.iter().map(|declared| &**declared.connection);
        let by_last_good = self.by_last_good.iter().filter_map(|id| self.autoscalers.get(id)?.resource.spec.as_deref());
        let orphaned = by_last_good.flat_map(|spec| spec.triggers.iter().map(|trigger| &*trigger.connection));
        keys_of(declared.chain(orphaned))
    }
}

/// What connecting to all of these takes.
pub(super) fn keys_of<'a>(connections: impl Iterator<Item = &'a ConnectionSpec>) -> WantedSecrets {
    let mut wanted: WantedSecrets = BTreeMap::new();
    for key in connections.flat_map(ConnectionSpec::secret_keys) {
        let of_secret = wanted.entry((key.namespace.clone(), key.name.clone())).or_default();
        of_secret.insert(key.key.clone());
    }
    wanted
}

fn read_connection(kind: Kind, (namespace, name): &Scoped, text: &str, fence: &Grants) -> Reading<Grant> {
    let document = document(kind, namespace.as_deref(), name, text);
    let (object, mut report) = Object::of(None, &document);
    let read = object.and_then(|object| objects::connection(&object, Origin::Resource, fence, &mut report));
    let (problems, warnings) = report.into_findings();
    Reading { usable: read.filter(|_| problems.is_empty()), problems, warnings }
}

/// Declares what of a custom resource is in force.
pub(super) fn declare(grants: &mut Grants, (namespace, name): &Scoped, grant: Option<&Grant>) {
    match grant {
        Some(grant) => grants.declare(namespace.as_deref(), name, grant.clone()),
        None => grants.declare_broken(namespace.as_deref(), name),
    }
}

fn taken_by_a_file(kind: Kind) -> Problem {
    let message = format!("a {} of this name stands in a file of tidegate's, which counts instead", kind.as_str());
    Problem::new("metadata.name", message, "give this one another name, or take the other out of the file")
}

fn beyond_the_cap(namespace: &str, most: usize) -> Problem {
    Problem::new(
        "metadata.name",
        format!("{most} QueueAutoscalers are allowed in namespace `{namespace}`, and so many are there and older"),
        "give several queues to one, or start tidegate with a higher --max-autoscalers-per-namespace",
    )
}
