//! The custom resource definitions: what `tidegate crd` prints, and what the API server refuses before we see it.
//!
//! The types of [`crate::spec::manifest`] say what can be written, and kube's derive turns them into a schema. Here the
//! schema is finished: what the API server wants of it (structural, bounded, no nulls), defaults, and rules that say in
//! our own words what the types cannot (`rules.rs`). Validation stays the judge, as it is for files: whatever an older
//! or another server lets through is found there.
//!
//! The finishing works on JSON, not on the typed schema, because it is one walk over paths that a reader can compare
//! with a manifest.

mod rules;
mod schema;

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use crate::spec::manifest::{ClusterConnection, Connection, GROUP, QueueAutoscaler};

/// A kind of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    QueueAutoscaler,
    Connection,
    ClusterConnection,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::QueueAutoscaler, Kind::Connection, Kind::ClusterConnection];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::QueueAutoscaler => "QueueAutoscaler",
            Kind::Connection => "Connection",
            Kind::ClusterConnection => "ClusterConnection",
        }
    }

    /// The resource, as paths and RBAC name it.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Kind::QueueAutoscaler => "queueautoscalers",
            Kind::Connection => "connections",
            Kind::ClusterConnection => "clusterconnections",
        }
    }

    /// `qas`, `queueautoscaler`, `queueautoscalers` and `QueueAutoscaler` are all the same to kubectl, and to us.
    #[must_use]
    pub fn named(name: &str) -> Option<Kind> {
        let lower = name.to_ascii_lowercase();
        Kind::ALL.into_iter().find(|kind| {
            lower == kind.plural() || lower == kind.as_str().to_ascii_lowercase() || lower == kind.short_name()
        })
    }

    const fn short_name(self) -> &'static str {
        match self {
            Kind::QueueAutoscaler => "qas",
            Kind::Connection => "qconn",
            Kind::ClusterConnection => "cqconn",
        }
    }

    fn derived(self) -> Value {
        let definition = match self {
            Kind::QueueAutoscaler => QueueAutoscaler::crd(),
            Kind::Connection => Connection::crd(),
            Kind::ClusterConnection => ClusterConnection::crd(),
        };
        // A definition is plain data; should that ever change, the tests of what is printed say so.
        serde_json::to_value(definition).unwrap_or_default()
    }
}

/// The definition of `kind`, ready for `kubectl apply`.
#[must_use]
pub fn definition(kind: Kind) -> Value {
    let mut definition = kind.derived();
    put(
        &mut definition,
        "/metadata",
        json!({
            "name": format!("{}.{GROUP}", kind.plural()),
            "labels": { "app.kubernetes.io/name": "tidegate" },
        }),
    );
    put(&mut definition, "/spec/names", {
        json!({
            "kind": kind.as_str(),
            "plural": kind.plural(),
            "singular": kind.as_str().to_ascii_lowercase(),
            "shortNames": [kind.short_name()],
            "categories": ["tidegate"],
        })
    });
    let versions = definition.pointer_mut("/spec/versions").and_then(Value::as_array_mut);
    for version in versions.into_iter().flatten() {
        put(version, "/additionalPrinterColumns", columns(kind));
        if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
            schema::finish(kind, schema);
        }
    }
    definition
}

/// Puts `value` where the derive has, or could have, put something.
fn put(object: &mut Value, pointer: &str, value: Value) {
    if let Some(there) = object.pointer_mut(pointer) {
        *there = value;
    } else if let (Some(object), Some(name)) = (object.as_object_mut(), pointer.strip_prefix('/')) {
        object.insert(name.to_owned(), value);
    }
}

/// The schema of the first version of `kind`: `spec`, and `status` where there is one.
#[must_use]
pub fn schema_of(kind: Kind) -> Value {
    definition(kind).pointer_mut("/spec/versions/0/schema/openAPIV3Schema").map(Value::take).unwrap_or_default()
}

/// Definitions as YAML documents, each with a line that says where it comes from.
///
/// # Errors
/// What the serializer says; it has no reason to.
pub fn yaml(kinds: &[Kind]) -> Result<String, serde_saphyr::ser::Error> {
    let mut out = String::new();
    for (i, kind) in kinds.iter().enumerate() {
        if i > 0 {
            out.push_str("---\n");
        }
        let name = kind.as_str();
        out.push_str(&format!("# Printed by `tidegate crd {name}`. Not written by hand: a test compares the two.\n"));
        out.push_str(&serde_saphyr::to_string(&definition(*kind))?);
    }
    Ok(out)
}

/// What `kubectl get` shows. Priority 1: only with `-o wide`.
fn columns(kind: Kind) -> Value {
    let column = |name: &str, kind: &str, path: &str| json!({ "name": name, "type": kind, "jsonPath": path });
    let wide =
        |name: &str, kind: &str, path: &str| json!({ "name": name, "type": kind, "jsonPath": path, "priority": 1 });
    let condition = |kind: &str, field: &str| format!(".status.conditions[?(@.type==\"{kind}\")].{field}");
    let age = column("Age", "date", ".metadata.creationTimestamp");
    match kind {
        Kind::QueueAutoscaler => json!([
            column("Target", "string", ".spec.scaleTargetRef.name"),
            column("Min", "integer", ".spec.minReplicas"),
            column("Max", "integer", ".spec.maxReplicas"),
            column("Current", "integer", ".status.currentReplicas"),
            column("Desired", "integer", ".status.desiredReplicas"),
            column("Backlog", "integer", ".status.backlog"),
            column("Active", "string", &condition("Active", "status")),
            column("Ready", "string", &condition("Ready", "status")),
            column("Reason", "string", ".status.reason"),
            wide("Kind", "string", ".spec.scaleTargetRef.kind"),
            wide("Idle", "integer", ".spec.idleReplicaCount"),
            wide("DryRun", "boolean", ".spec.dryRun"),
            wide("Paused", "string", &condition("Paused", "status")),
            wide("LastScale", "date", ".status.lastScaleTime"),
            wide("Message", "string", &condition("Ready", "message")),
            age,
        ]),
        // Whichever of the two is written.
        Kind::Connection => json!([column("Server", "string", ".spec.redis['address','host']"), age]),
        Kind::ClusterConnection => json!([
            column("Server", "string", ".spec.redis['address','host']"),
            column("Namespaces", "string", ".spec.allowedNamespaces"),
            age,
        ]),
    }
}
