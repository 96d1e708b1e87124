//! A document as an object of ours: what stands around its `spec`.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::model::AutoscalerId;
use crate::spec::grants::{Grant, Grants};
use crate::spec::manifest::{API_VERSION, ClusterConnectionBody, ConnectionBody, GROUP, QueueAutoscalerBody};
use crate::spec::report::{Report, closest, join};
use crate::spec::tree::{Node, ScalarKind, Value};
use crate::spec::{AutoscalerSpec, ConnectionSpec, Origin, Server, Topology, schema, validate};

/// Where an object without a namespace lives, as with kubectl.
const DEFAULT_NAMESPACE: &str = "default";

/// The kinds that are ours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    QueueAutoscaler,
    Connection,
    ClusterConnection,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::QueueAutoscaler, Kind::Connection, Kind::ClusterConnection];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::QueueAutoscaler => "QueueAutoscaler",
            Kind::Connection => "Connection",
            Kind::ClusterConnection => "ClusterConnection",
        }
    }
}

/// A document of one of our kinds, with what stands around its `spec`.
pub(in crate::spec) struct Object<'d> {
    /// `None`: a custom resource.
    pub(in crate::spec) file: Option<&'d Arc<str>>,
    pub(in crate::spec) document: &'d Node,
    pub(in crate::spec) kind: Kind,
    /// Empty for a ClusterConnection.
    pub(in crate::spec) namespace: &'d str,
    pub(in crate::spec) name: &'d str,
}

impl<'d> Object<'d> {
    /// `None`: not ours, or not to be recognised; either has been said.
    pub(in crate::spec) fn of(file: Option<&'d Arc<str>>, document: &'d Node) -> (Option<Self>, Report<'d>) {
        let mut report = Report::of_document(file.cloned(), document);
        let kind = kind(document, &mut report);
        let object = kind.map(|kind| {
            known_only(document, "", &["apiVersion", "kind", "metadata", "spec", "status"], &mut report);
            let (namespace, name) = names(document, kind, &mut report);
            Object { file, document, kind, namespace, name }
        });
        (object, report)
    }

    pub(in crate::spec) fn report(&self) -> Report<'d> {
        Report::of_document(self.file.cloned(), self.document)
    }

    /// `None`: the cluster's.
    pub(in crate::spec) fn scope(&self) -> Option<&'d str> {
        (self.kind != Kind::ClusterConnection).then_some(self.namespace)
    }

    /// The body as far as it fits its schema; everything else is reported.
    pub(in crate::spec) fn body<T: DeserializeOwned + Default>(&self, schema: &Json, report: &mut Report<'_>) -> T {
        let Some(spec) = self.document.get("spec") else {
            report.explain(
                "spec",
                "missing",
                format!("write spec: and, below it, what this {} is", self.kind.as_str()),
            );
            return T::default();
        };
        let Some(fitting) = schema::prune(schema, &spec.node, "spec", report) else { return T::default() };
        serde_json::from_value(fitting).unwrap_or_else(|error| {
            // The schema and serde's types are one; this is a mistake of ours, and no reason to accept half an object.
            report.problem("spec", format!("cannot be read: {error}"), "please report this");
            T::default()
        })
    }
}

// === what the objects mean ===

static AUTOSCALER: LazyLock<Json> = LazyLock::new(schema::of::<QueueAutoscalerBody>);
static CONNECTION: LazyLock<Json> = LazyLock::new(schema::of::<ConnectionBody>);
static CLUSTER_CONNECTION: LazyLock<Json> = LazyLock::new(schema::of::<ClusterConnectionBody>);

/// Reads a Connection or a ClusterConnection; `grants` has the fence. The result counts only if `report` has no problem.
pub(in crate::spec) fn connection(
    object: &Object<'_>,
    origin: Origin,
    grants: &Grants,
    report: &mut Report<'_>,
) -> Option<Grant> {
    let (namespace, name) = (object.namespace, object.name);
    let grant = if object.kind == Kind::ClusterConnection {
        let body: ClusterConnectionBody = object.body(&CLUSTER_CONNECTION, report);
        let (allowed, connection) = validate::cluster_connection(name, origin, &body, report)?;
        Grant { connection: Arc::new(connection), allowed }
    } else {
        let body: ConnectionBody = object.body(&CONNECTION, report);
        let connection = validate::connection(namespace, name, origin, &body, report)?;
        Grant { connection: Arc::new(connection), allowed: Vec::new() }
    };
    report_beyond_fence(&grant.connection, object, grants, report);
    Some(grant)
}

fn report_beyond_fence(connection: &ConnectionSpec, object: &Object<'_>, grants: &Grants, report: &mut Report<'_>) {
    // What is no address at all has been said.
    if !report.problems.is_empty() {
        return;
    }
    let written = |field: &str| {
        let spec = object.document.get("spec").and_then(|entry| entry.node.get(connection.server.block()));
        spec.is_some_and(|block| block.node.get(field).is_some())
    };
    let beyond: Vec<(usize, &str)> =
        connection.server.addresses().into_iter().enumerate().filter(|(_, address)| !grants.permits(address)).collect();
    for (i, address) in beyond {
        let path = match &connection.server {
            Server::Redis(redis) => match &redis.topology {
                Topology::Sentinel(_) => format!("spec.redis.sentinel.addresses[{i}]"),
                Topology::Cluster { .. } => format!("spec.redis.cluster.addresses[{i}]"),
                Topology::Single if written("host") => "spec.redis.host".to_owned(),
                Topology::Single if written("unixSocket") => "spec.redis.unixSocket".to_owned(),
                Topology::Single => "spec.redis.address".to_owned(),
            },
            other if written("url") => format!("spec.{}.url", other.block()),
            other => format!("spec.{}.address", other.block()),
        };
        report.problem(
            &path,
            format!("no connection may lead to {address}: it is not in --only-addresses"),
            format!("add {address} to --only-addresses, or take the Connection out"),
        );
    }
}

/// Reads a QueueAutoscaler. May be a stand-in: it counts only if `report` has no problem.
pub(in crate::spec) fn autoscaler(
    object: &Object<'_>,
    origin: Origin,
    grants: &Grants,
    report: &mut Report<'_>,
) -> AutoscalerSpec {
    let annotations = annotations(object.document, report);
    let body: QueueAutoscalerBody = object.body(&AUTOSCALER, report);
    let id = AutoscalerId::new(object.namespace, object.name);
    let head = validate::Head { id, origin, annotations, connection: validate::Given::ByName };
    validate::autoscaler(head, &body, grants, report)
}

fn kind(document: &Node, report: &mut Report<'_>) -> Option<Kind> {
    if !matches!(document.value, Value::Map(_)) {
        report.problem("", "an object expected", format!("begin with apiVersion: {API_VERSION}"));
        return None;
    }
    let text = |key: &str| document.get(key).and_then(|entry| entry.node.text());
    let (written, api_version) = (text("kind"), text("apiVersion"));
    let kind = written.and_then(|written| Kind::ALL.into_iter().find(|kind| kind.as_str() == written));
    let known = Kind::ALL.map(Kind::as_str);
    match (kind, written, api_version) {
        (Some(kind), _, Some(API_VERSION)) => Some(kind),
        (Some(kind), _, found) => {
            let message = found.map_or_else(|| "missing".to_owned(), |found| format!("`{found}` is not ours"));
            report.problem("apiVersion", message, format!("write apiVersion: {API_VERSION}"));
            Some(kind)
        }
        (None, None, _) => {
            report.problem("kind", "missing", format!("write one of {}", known.join(", ")));
            None
        }
        (None, Some(super::scenarios::KIND), Some(API_VERSION)) => {
            report.warn("kind", "a Scenario means nothing here and is left alone", "it is for tidegate simulate");
            None
        }
        (None, Some(written), found) => {
            let ours = found.is_none_or(|found| found.starts_with(GROUP));
            match closest(written, known) {
                Some(meant) if ours => {
                    report.problem("kind", format!("unknown kind `{written}`"), format!("did you mean `{meant}`?"));
                }
                _ if ours => {
                    let cure = format!("write one of {}", known.join(", "));
                    report.problem("kind", format!("unknown kind `{written}`"), cure);
                }
                _ => report.warn(
                    "kind",
                    format!("{written} of {} is not tidegate's and is left alone", found.unwrap_or_default()),
                    "",
                ),
            }
            None
        }
    }
}

/// Fields of Kubernetes' ObjectMeta that mean nothing here, but stand in every `kubectl get -o yaml`.
const METADATA: [&str; 14] = [
    "name",
    "namespace",
    "annotations",
    "labels",
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "uid",
];

fn names<'d>(document: &'d Node, kind: Kind, report: &mut Report<'_>) -> (&'d str, &'d str) {
    known_only(document, "metadata", &METADATA, report);
    let metadata = document.get("metadata").map(|entry| &entry.node);
    let field = |name: &str| metadata.and_then(|metadata| metadata.get(name)).map(|entry| &entry.node);
    let mut text = |node: Option<&'d Node>, path: &str| {
        let text = node.and_then(Node::text);
        if node.is_some_and(|node| {
            !node.is_null() && !matches!(&node.value, Value::Scalar(s) if s.kind == ScalarKind::Text)
        }) {
            report.explain(path, "a text expected", "put it in quotes");
        }
        text
    };
    let name = text(field("name"), "metadata.name");
    let namespace = text(field("namespace"), "metadata.namespace");
    match name {
        Some(name) => validate::check_name(name, "metadata.name", report),
        None => report.problem("metadata.name", "missing", "e.g. metadata: { name: celery-high, namespace: pulse }"),
    }
    match (kind, namespace) {
        (Kind::ClusterConnection, Some(_)) => {
            let cure = "take namespace out; spec.allowedNamespaces says who may use it";
            report.problem("metadata.namespace", "a ClusterConnection has no namespace", cure);
        }
        (_, Some(namespace)) => validate::check_namespace(namespace, "metadata.namespace", report),
        (_, None) => {}
    }
    let namespace = if kind == Kind::ClusterConnection { "" } else { namespace.unwrap_or(DEFAULT_NAMESPACE) };
    (namespace, name.unwrap_or_default())
}

/// Reports fields of the block at `path` (empty: the document) that are not `known`, or written twice.
fn known_only(document: &Node, path: &str, known: &[&str], report: &mut Report<'_>) {
    let block = if path.is_empty() { Some(document) } else { document.get(path).map(|entry| &entry.node) };
    let Some(Value::Map(entries)) = block.map(|block| &block.value) else { return };
    let mut seen = HashSet::new();
    for entry in entries {
        let here = join(path, &entry.key);
        if !seen.insert(entry.key.as_str()) {
            report.explain(&here, "written twice in the same block", "keep one of the two");
        } else if !known.contains(&entry.key.as_str()) {
            let meant = if report.is_full() { None } else { closest(&entry.key, known.iter().copied()) };
            let cure = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if path.is_empty() => format!("known here: {}; is it indented too little?", known.join(", ")),
                None => "known here: name, namespace, annotations, labels".to_owned(),
            };
            report.explain(&here, format!("unknown field `{}`", entry.key), cure);
            report.stranger(path, meant);
        }
    }
}

/// What the annotations of ours say.
fn annotations(document: &Node, report: &mut Report<'_>) -> validate::Annotations {
    const PATH: &str = "metadata.annotations";
    let written = document.get("metadata").and_then(|metadata| metadata.node.get("annotations"));
    let mut texts = Vec::new();
    for entry in written.into_iter().flat_map(|written| match &written.node.value {
        Value::Map(entries) => entries.as_slice(),
        _ => &[],
    }) {
        match &entry.node.value {
            Value::Scalar(scalar) if scalar.kind == ScalarKind::Text => {
                texts.push((entry.key.as_str(), scalar.text.as_str()));
            }
            _ if entry.key.starts_with(GROUP) => {
                let value = entry.node.text().unwrap_or("true");
                let cure = format!("put it in quotes, as Kubernetes wants every annotation: \"{value}\"");
                report.problem(&join(PATH, &entry.key), "a text expected", cure);
            }
            _ => {}
        }
    }
    validate::annotations(texts, report)
}

/// A JSON array of objects and Kubernetes' own `List` count as what they contain.
pub(in crate::spec) fn unpack(document: Node, documents: &mut Vec<Node>) {
    let is_list = document.get("kind").and_then(|entry| entry.node.text()) == Some("List");
    match document.value {
        Value::List(items) => items.into_iter().for_each(|item| unpack(item, documents)),
        Value::Map(entries) if is_list => {
            for entry in entries {
                if entry.key == "items" {
                    unpack(entry.node, documents);
                }
            }
        }
        _ => documents.push(document),
    }
}
