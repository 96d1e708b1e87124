//! What a server keeps: objects, one counter of revisions for all of them, and what happened, for those who watch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::errors::Refusal;
use super::fields::{self, Owner, Writer};
use super::kinds::Kind;
use super::select::Selector;

/// Changes kept for each resource. A real server keeps between a hundred and a hundred thousand.
const HISTORY: usize = 50_000;
/// Lists of which somebody has not read every page yet.
const SNAPSHOTS: usize = 64;

/// Namespace (empty for what has none) and name.
pub type Key = (String, String);
/// Group and plural.
pub type TableKey = (String, String);

/// An object at one revision.
#[derive(Debug)]
pub struct Stored {
    pub key: Key,
    pub rv: u64,
    pub value: Value,
    owners: Vec<Owner>,
    full: OnceLock<Bytes>,
    item: OnceLock<Bytes>,
    partial: OnceLock<Bytes>,
}

impl Stored {
    fn new(key: Key, rv: u64, mut value: Value, owners: Vec<Owner>) -> Arc<Self> {
        value["metadata"]["resourceVersion"] = rv.to_string().into();
        value["metadata"]["managedFields"] = fields::to_json(&owners);
        let (full, item, partial) = Default::default();
        Arc::new(Stored { key, rv, value, owners, full, item, partial })
    }

    /// The same at another revision.
    pub fn at(&self, rv: u64) -> Arc<Self> {
        Stored::new(self.key.clone(), rv, self.value.clone(), self.owners.clone())
    }

    pub fn full(&self) -> Bytes {
        self.full.get_or_init(|| self.value.to_string().into()).clone()
    }

    /// Within a list: built-in kinds leave out what the list says already.
    pub fn item(&self, kind: &Kind) -> Bytes {
        if kind.custom {
            return self.full();
        }
        let item = || {
            let mut value = self.value.clone();
            let map = value.as_object_mut().unwrap();
            map.remove("kind");
            map.remove("apiVersion");
            value.to_string().into()
        };
        self.item.get_or_init(item).clone()
    }

    /// Its metadata alone.
    pub fn partial(&self) -> Bytes {
        let partial = || {
            let metadata = &self.value["metadata"];
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
                .to_string()
                .into()
        };
        self.partial.get_or_init(partial).clone()
    }

    fn is_terminating(&self) -> bool {
        !self.value["metadata"]["deletionTimestamp"].is_null()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    Added,
    Modified,
    Deleted,
}

#[derive(Debug)]
pub struct Change {
    pub rv: u64,
    pub what: What,
    pub object: Arc<Stored>,
    pub before: Option<Arc<Stored>>,
}

pub struct Table {
    pub kind: Arc<Kind>,
    pub objects: BTreeMap<Key, Arc<Stored>>,
    pub history: VecDeque<Arc<Change>>,
    /// Changes up to this revision are forgotten.
    pub compacted: u64,
    pub changed: watch::Sender<u64>,
}

struct Snapshot {
    serial: u64,
    rv: u64,
    items: Arc<Vec<Arc<Stored>>>,
}

/// A page of a list.
pub struct Page {
    pub items: Vec<Arc<Stored>>,
    pub rv: u64,
    pub next: Option<String>,
    pub remaining: usize,
}

pub enum Deleted {
    Gone {
        uid: String,
    },
    /// Finalizers hold it.
    Terminating(Arc<Stored>),
}

pub struct Store {
    pub rv: u64,
    pub tables: BTreeMap<TableKey, Table>,
    serial: u64,
    snapshots: VecDeque<Snapshot>,
    /// Told of every change of a workload.
    pub workloads: Option<mpsc::UnboundedSender<(TableKey, Key)>>,
}

impl Store {
    pub fn new() -> Self {
        let (tables, snapshots) = Default::default();
        // Not zero and not one: both mean something else.
        let mut store = Store { rv: 100, tables, serial: 0, snapshots, workloads: None };
        for kind in Kind::builtins() {
            store.serve(kind);
        }
        for name in ["default", "kube-system"] {
            store.ensure_namespace(name);
        }
        store
    }

    /// Begins to serve a kind. Its objects stay where it is served already.
    pub fn serve(&mut self, kind: Kind) {
        let key = (kind.group.clone(), kind.plural.clone());
        let kind = Arc::new(kind);
        let (objects, history) = Default::default();
        let new = || Table { kind: Arc::clone(&kind), objects, history, compacted: 0, changed: watch::Sender::new(0) };
        self.tables.entry(key).or_insert_with(new).kind = Arc::clone(&kind);
    }

    pub fn kind(&self, group: &str, plural: &str) -> Option<Arc<Kind>> {
        Some(Arc::clone(&self.table(group, plural)?.kind))
    }

    pub fn table(&self, group: &str, plural: &str) -> Option<&Table> {
        self.tables.get(&(group.to_owned(), plural.to_owned()))
    }

    fn of(&mut self, kind: &Kind) -> &mut Table {
        self.tables.get_mut(&(kind.group.clone(), kind.plural.clone())).unwrap()
    }

    pub fn find(&self, kind: &Kind, key: &Key) -> Result<Arc<Stored>, Refusal> {
        let found = self.table(&kind.group, &kind.plural).and_then(|table| table.objects.get(key));
        found.cloned().ok_or_else(|| Refusal::not_found(&kind.plural, &kind.group, &key.1))
    }

    pub fn ensure_namespace(&mut self, name: &str) {
        let kind = self.kind("", "namespaces").unwrap();
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
            "status": {"phase": "Active"}});
        let writer = Writer {
            manager: "kube-apiserver".into(),
            operation: "Update",
            subresource: String::new(),
            api_version: "v1".into(),
            time: now(),
        };
        let _ = self.create(&kind, "", body, &writer, false);
    }

    /// Five characters for `generateName`, and the last part of a uid.
    fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    // === writing ===

    pub fn create(
        &mut self,
        kind: &Arc<Kind>,
        namespace: &str,
        mut value: Value,
        writer: &Writer,
        dry: bool,
    ) -> Result<Arc<Stored>, Refusal> {
        let serial = self.next_serial();
        let metadata = &mut value["metadata"];
        let given = |name: &str| metadata[name].as_str().unwrap_or_default().to_owned();
        let (mut name, prefix, place) = (given("name"), given("generateName"), given("namespace"));
        if name.is_empty() && !prefix.is_empty() {
            name = format!("{prefix}{serial:05x}");
        }
        if name.is_empty() {
            let what = "Required value: name or generateName is required";
            return Err(Refusal::invalid(&kind.kind, &kind.group, "", "FieldValueRequired", "metadata.name", what));
        }
        if !place.is_empty() && place != namespace {
            let message = "the namespace of the provided object does not match the namespace sent on the request";
            return Err(Refusal::bad_request(message));
        }
        if kind.namespaced {
            self.find(&self.kind("", "namespaces").unwrap(), &(String::new(), namespace.to_owned()))?;
        }
        let key = (namespace.to_owned(), name.clone());
        if self.find(kind, &key).is_ok() {
            return Err(Refusal::already_exists(&kind.plural, &kind.group, &name));
        }
        metadata["name"] = name.into();
        if kind.namespaced {
            metadata["namespace"] = namespace.into();
        }
        metadata["uid"] =
            format!("{:08x}-0000-4000-8000-{serial:012x}", serial.wrapping_mul(2_654_435_761) as u32).into();
        metadata["creationTimestamp"] = now().into();
        let map = metadata.as_object_mut().unwrap();
        for server_sets in ["resourceVersion", "managedFields", "deletionTimestamp", "deletionGracePeriodSeconds"] {
            map.remove(server_sets);
        }
        if kind.generation {
            map.insert("generation".into(), 1.into());
        }
        if kind.status && kind.plural != "namespaces" {
            value.as_object_mut().unwrap().remove("status");
            if !kind.custom {
                value["status"] = json!({});
            }
        }
        kind.set_defaults(&mut value);
        let owners = fields::after(&[], &Value::Null, &value, writer);
        Ok(self.commit(kind, None, key, value, owners, dry))
    }

    /// `proposed` is the whole object as it shall be; with `apply`, what a server-side apply asked for and whether it
    /// is forced.
    pub fn update(
        &mut self,
        kind: &Arc<Kind>,
        key: &Key,
        mut proposed: Value,
        writer: &Writer,
        apply: Option<(&Value, bool)>,
        dry: bool,
    ) -> Result<Arc<Stored>, Refusal> {
        let old = self.find(kind, key)?;
        check_preconditions(kind, &old, &proposed["metadata"])?;
        check_finalizers(kind, &old, &proposed)?;
        kind.set_defaults(&mut proposed);
        let before = &old.value;
        let mut new = if writer.subresource == "status" {
            let mut new = before.clone();
            new["status"] = proposed["status"].take();
            new
        } else {
            if kind.status {
                put_or_remove(&mut proposed, "status", &before["status"]);
            }
            for fixed in ["apiVersion", "kind"] {
                proposed[fixed] = before[fixed].clone();
            }
            let fixed = ["name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion"];
            let also = ["managedFields", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName"];
            for name in fixed.into_iter().chain(also) {
                put_or_remove(&mut proposed["metadata"], name, &before["metadata"][name]);
            }
            proposed
        };
        if new["metadata"]["finalizers"].as_array().is_some_and(Vec::is_empty) {
            new["metadata"].as_object_mut().unwrap().remove("finalizers");
        }
        let owners = match apply {
            None => fields::after(&old.owners, before, &new, writer),
            Some((wish, force)) => fields::after_apply(&old.owners, before, wish, writer, force)
                .map_err(|taken| Refusal::apply_conflict(&taken))?,
        };
        if new == *before && (apply.is_none() || owners == old.owners) {
            return Ok(old);
        }
        if kind.generation && spec_of(kind, &new) != spec_of(kind, before) {
            let generation = before["metadata"]["generation"].as_u64().unwrap_or(0) + 1;
            new["metadata"]["generation"] = generation.into();
        }
        if old.is_terminating() && new["metadata"]["finalizers"].is_null() {
            if dry {
                return Ok(old);
            }
            self.remove(kind, &old);
            return Ok(Stored::new(key.clone(), old.rv, new, owners));
        }
        Ok(self.commit(kind, Some(old), key.clone(), new, owners, dry))
    }

    pub fn delete(&mut self, kind: &Arc<Kind>, key: &Key, conditions: &Value, dry: bool) -> Result<Deleted, Refusal> {
        let old = self.find(kind, key)?;
        let uid = old.value["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        for (field, name, actual) in
            [("uid", "UID", uid.clone()), ("resourceVersion", "ResourceVersion", old.rv.to_string())]
        {
            if let Some(wanted) = conditions[field].as_str()
                && wanted != actual
            {
                let why = format!(
                    "the {name} in the precondition ({wanted}) does not match the {name} in record \
                    ({actual}). The object might have been modified"
                );
                return Err(Refusal::conflict(&kind.kind, &kind.group, &key.1, &why));
            }
        }
        if old.value["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            if !dry {
                self.remove(kind, &old);
            }
            return Ok(Deleted::Gone { uid });
        }
        if old.is_terminating() || dry {
            return Ok(Deleted::Terminating(old));
        }
        let mut value = old.value.clone();
        value["metadata"]["deletionTimestamp"] = now().into();
        value["metadata"]["deletionGracePeriodSeconds"] = 0.into();
        if let Some(generation) = value["metadata"]["generation"].as_u64() {
            value["metadata"]["generation"] = (generation + 1).into();
        }
        let owners = old.owners.clone();
        Ok(Deleted::Terminating(self.commit(kind, Some(old), key.clone(), value, owners, false)))
    }

    fn commit(
        &mut self,
        kind: &Arc<Kind>,
        before: Option<Arc<Stored>>,
        key: Key,
        value: Value,
        owners: Vec<Owner>,
        dry: bool,
    ) -> Arc<Stored> {
        if dry {
            return Stored::new(key, before.map_or(0, |before| before.rv), value, owners);
        }
        self.rv += 1;
        let object = Stored::new(key.clone(), self.rv, value, owners);
        let what = if before.is_some() { What::Modified } else { What::Added };
        self.of(kind).objects.insert(key, Arc::clone(&object));
        self.note(kind, Change { rv: object.rv, what, object: Arc::clone(&object), before });
        self.serve_definition(kind, &object);
        object
    }

    fn remove(&mut self, kind: &Arc<Kind>, old: &Arc<Stored>) {
        self.rv += 1;
        self.of(kind).objects.remove(&old.key);
        let object = Stored::new(old.key.clone(), self.rv, old.value.clone(), old.owners.clone());
        self.note(kind, Change { rv: self.rv, what: What::Deleted, object, before: Some(Arc::clone(old)) });
        if kind.plural == "customresourcedefinitions"
            && let Some(defined) = Kind::of_definition(&old.value)
        {
            self.tables.remove(&(defined.group, defined.plural));
        }
    }

    fn note(&mut self, kind: &Kind, change: Change) {
        if let Some(workloads) = &self.workloads
            && kind.scale.is_some()
            && change.what != What::Deleted
        {
            let _ = workloads.send(((kind.group.clone(), kind.plural.clone()), change.object.key.clone()));
        }
        let table = self.of(kind);
        let rv = change.rv;
        table.history.push_back(Arc::new(change));
        if table.history.len() > HISTORY
            && let Some(forgotten) = table.history.pop_front()
        {
            table.compacted = forgotten.rv;
        }
        table.changed.send_replace(rv);
    }

    /// A definition is in force, and says so, from the moment it is there. (A real server takes a few seconds.)
    fn serve_definition(&mut self, kind: &Arc<Kind>, object: &Stored) {
        if kind.plural != "customresourcedefinitions" {
            return;
        }
        let Some(defined) = Kind::of_definition(&object.value) else { return };
        self.serve(defined);
        if object.value["status"]["conditions"].is_null() {
            let mut value = object.value.clone();
            value["status"] = json!({"conditions": [
                {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts"},
                {"type": "Established", "status": "True", "reason": "InitialNamesAccepted"}]});
            let old = self.find(kind, &object.key).ok();
            self.commit(kind, old, object.key.clone(), value, object.owners.clone(), false);
        }
    }

    // === reading ===

    pub fn matching(&self, kind: &Kind, namespace: &str, selector: &Selector) -> Vec<Arc<Stored>> {
        let Some(table) = self.table(&kind.group, &kind.plural) else { return Vec::new() };
        let all = |object: &&Arc<Stored>| {
            (namespace.is_empty() || object.key.0 == namespace) && selector.matches(&object.key, &object.value)
        };
        if namespace.is_empty() {
            return table.objects.values().filter(all).cloned().collect();
        }
        let from = table.objects.range((namespace.to_owned(), String::new())..);
        let here = from.take_while(|(key, _)| key.0 == namespace);
        here.map(|(_, object)| object).filter(all).cloned().collect()
    }

    /// The first page of a list, or all of it.
    pub fn list(&mut self, kind: &Kind, namespace: &str, selector: &Selector, limit: usize) -> Page {
        let items = self.matching(kind, namespace, selector);
        self.pages(items, limit)
    }

    fn pages(&mut self, items: Vec<Arc<Stored>>, limit: usize) -> Page {
        let rv = self.rv;
        if limit == 0 || items.len() <= limit {
            return Page { items, rv, next: None, remaining: 0 };
        }
        let serial = self.next_serial();
        let items = Arc::new(items);
        self.snapshots.push_back(Snapshot { serial, rv, items: Arc::clone(&items) });
        if self.snapshots.len() > SNAPSHOTS {
            self.snapshots.pop_front();
        }
        page(&items, serial, rv, 0, limit)
    }

    /// The page behind a continue token: serial number of the list, items read, the last of them.
    pub fn proceed(
        &mut self,
        kind: &Kind,
        namespace: &str,
        selector: &Selector,
        limit: usize,
        token: &str,
    ) -> Result<Page, Refusal> {
        let garbage = || Refusal::bad_request("invalid continue token: continue key is not valid");
        let mut parts = token.splitn(3, '.');
        let mut number = || parts.next().and_then(|text| text.parse::<u64>().ok()).ok_or_else(garbage);
        let (serial, offset) = (number()?, number()? as usize);
        let last = parts.next().and_then(|last| last.split_once('/')).ok_or_else(garbage)?;
        if serial == 0 {
            // What a 410 offered: the rest, as it is by now.
            let mut items = self.matching(kind, namespace, selector);
            items.retain(|item| (item.key.0.as_str(), item.key.1.as_str()) > last);
            return Ok(self.pages(items, limit));
        }
        let Some(snapshot) = self.snapshots.iter().find(|snapshot| snapshot.serial == serial) else {
            return Err(Refusal::continue_expired(&format!("0.0.{}/{}", last.0, last.1)));
        };
        let (items, rv) = (Arc::clone(&snapshot.items), snapshot.rv);
        Ok(page(&items, serial, rv, offset, limit))
    }

    /// Forgets what happened so far: watches from an older revision, and lists half read, get 410.
    pub fn compact(&mut self) {
        self.rv += 1;
        let rv = self.rv;
        for table in self.tables.values_mut() {
            table.history.clear();
            table.compacted = rv;
        }
        self.snapshots.clear();
    }
}

fn page(items: &[Arc<Stored>], serial: u64, rv: u64, offset: usize, limit: usize) -> Page {
    let end = if limit == 0 { items.len() } else { items.len().min(offset + limit) };
    let these = items.get(offset..end).unwrap_or_default().to_vec();
    let remaining = items.len() - end;
    let last = these.last().filter(|_| remaining > 0);
    let next = last.map(|last| format!("{serial}.{end}.{}/{}", last.key.0, last.key.1));
    Page { items: these, rv, next, remaining }
}

fn put_or_remove(object: &mut Value, field: &str, value: &Value) {
    if !value.is_null() {
        object[field] = value.clone();
    } else if let Some(map) = object.as_object_mut() {
        map.remove(field);
    }
}

/// What the generation counts the changes of.
fn spec_of(kind: &Kind, value: &Value) -> Value {
    if !kind.custom {
        return value["spec"].clone();
    }
    let mut value = value.clone();
    let map = value.as_object_mut().unwrap();
    map.remove("metadata");
    if kind.status {
        map.remove("status");
    }
    value
}

fn check_preconditions(kind: &Kind, old: &Stored, metadata: &Value) -> Result<(), Refusal> {
    let name = &old.key.1;
    match metadata["resourceVersion"].as_str().unwrap_or_default() {
        "" | "0" if kind.unconditional => {}
        "" | "0" => {
            let what = "Invalid value: 0: must be specified for an update";
            let field = "metadata.resourceVersion";
            return Err(Refusal::invalid(&kind.plural, &kind.group, name, "FieldValueInvalid", field, what));
        }
        given => match given.parse::<u64>() {
            Err(_) => {
                let message = format!("strconv.ParseUint: parsing \"{given}\": invalid syntax");
                return Err(Refusal::no_number(&message));
            }
            Ok(given) if given != old.rv => return Err(Refusal::modified(&kind.plural, &kind.group, name)),
            Ok(_) => {}
        },
    }
    let (wanted, actual) = (&metadata["uid"], &old.value["metadata"]["uid"]);
    if let Some(wanted) = wanted.as_str()
        && Some(wanted) != actual.as_str()
    {
        let why = format!(
            "Precondition failed: UID in precondition: {wanted}, UID in object meta: {}",
            actual.as_str().unwrap_or_default()
        );
        return Err(Refusal::conflict(&kind.plural, &kind.group, name, &why));
    }
    Ok(())
}

/// What is being deleted takes no new finalizer.
fn check_finalizers(kind: &Kind, old: &Stored, proposed: &Value) -> Result<(), Refusal> {
    let list = |value: &Value| -> Vec<String> {
        let all = value["metadata"]["finalizers"].as_array();
        all.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let before = list(&old.value);
    let new: Vec<String> = list(proposed).into_iter().filter(|name| !before.contains(name)).collect();
    if !old.is_terminating() || new.is_empty() {
        return Ok(());
    }
    let names = new.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
    let what = format!(
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \
        []string{{{names}}}"
    );
    Err(Refusal::invalid(&kind.kind, &kind.group, &old.key.1, "FieldValueForbidden", "metadata.finalizers", &what))
}

/// The time as an API server writes it.
pub fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
