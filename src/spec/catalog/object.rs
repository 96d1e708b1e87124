//! An object as the API server sends it, and what is kept of it: who it is, and the text that is validated.
//!
//! The text is JSON, as short as it gets, of `spec` and of our own annotations. It is a tenth of what the object is as a
//! tree, and two of them are equal exactly if there is nothing to validate anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize as _, Serialize};
use serde_json::Value as Json;

use super::{Kind, Malformed};
use crate::spec::manifest::status::QueueAutoscalerStatus;
use crate::spec::manifest::{API_VERSION, GROUP};
use crate::spec::tree::{Entry, Node, Scalar, ScalarKind, Value};

/// What is kept of an object.
pub(super) struct Sent {
    /// `None`: it has none, and needs none.
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) uid: Arc<str>,
    pub(super) resource_version: Arc<str>,
    pub(super) generation: i64,
    pub(super) created: i64,
    pub(super) deleting: bool,
    pub(super) finalizers: Vec<String>,
    pub(super) status: Option<QueueAutoscalerStatus>,
    pub(super) text: Box<str>,
    /// Names of the connections of all triggers.
    pub(super) connections: BTreeSet<Arc<str>>,
}

#[derive(Serialize)]
struct Text<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'a str, &'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<&'a Json>,
}

impl Sent {
    pub(super) fn of(kind: Kind, object: &Json) -> Result<Self, Malformed> {
        let metadata = object.get("metadata");
        let field = |name: &str| metadata.and_then(|metadata| metadata.get(name));
        let text = |name: &str| field(name).and_then(Json::as_str);
        let malformed = |message| {
            let name = [text("namespace"), text("name")].into_iter().flatten().collect::<Vec<_>>().join("/");
            Malformed { kind, name, message }
        };
        let name = text("name").filter(|name| !name.is_empty()).ok_or_else(|| malformed("it has no name"))?;
        let namespace = match kind {
            Kind::ClusterConnection => None,
            Kind::QueueAutoscaler | Kind::Connection => {
                Some(text("namespace").ok_or_else(|| malformed("it has no namespace"))?.to_owned())
            }
        };
        let spec = object.get("spec").filter(|spec| !spec.is_null());
        let annotations = field("annotations").and_then(Json::as_object).into_iter().flatten();
        let kept = Text {
            annotations: annotations
                .map(|(key, value)| (key.as_str(), value))
                .filter(|(key, _)| key.starts_with(GROUP))
                .collect(),
            spec,
        };
        let kept = serde_json::to_string(&kept).map_err(|_| malformed("it cannot be written as JSON"))?;
        let triggers = spec.and_then(|spec| spec.get("triggers")).and_then(Json::as_array).into_iter().flatten();
        let connections = triggers.filter_map(|trigger| trigger.get("connection")?.as_str().map(Arc::from));
        let finalizers = field("finalizers").and_then(Json::as_array).into_iter().flatten();
        Ok(Sent {
            namespace,
            name: name.to_owned(),
            uid: text("uid").unwrap_or_default().into(),
            resource_version: text("resourceVersion").unwrap_or_default().into(),
            generation: field("generation").and_then(Json::as_i64).unwrap_or(0),
            created: text("creationTimestamp").and_then(seconds).unwrap_or(0),
            deleting: field("deletionTimestamp").is_some_and(|at| !at.is_null()),
            finalizers: finalizers.filter_map(|finalizer| finalizer.as_str().map(str::to_owned)).collect(),
            // Ours to write; what cannot be read of it is written anew.
            status: object.get("status").and_then(|status| QueueAutoscalerStatus::deserialize(status).ok()),
            text: kept.into(),
            connections: connections.collect(),
        })
    }
}

/// Seconds since the epoch of `2026-11-21T08:30:00Z`, the one form in which Kubernetes writes its times.
fn seconds(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, separator: char| -> Option<[i64; 3]> {
        let numbers: Vec<i64> = text.split(separator).map(str::parse).collect::<Result<_, _>>().ok()?;
        numbers.try_into().ok()
    };
    let [year, month, day] = numbers(date, '-')?;
    let time = time.split_once('.').map_or(time, |(whole, _)| whole);
    let [hour, minute, second] = numbers(time, ':')?;
    if !(1..=9999).contains(&year) || !(1..=12).contains(&month) {
        return None;
    }
    // Years begin in March, so that the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some(((days * 24 + hour) * 60 + minute) * 60 + second)
}

/// The text of an object as the document that it would be in a file; it has no lines.
pub(super) fn document(kind: Kind, namespace: Option<&str>, name: &str, text: &str) -> Node {
    let kept: Json = serde_json::from_str(text).unwrap_or_default();
    let part = |name: &str| kept.get(name).map(node);
    let mut metadata = vec![entry("name", plain(name, ScalarKind::Text))];
    metadata.extend(namespace.map(|namespace| entry("namespace", plain(namespace, ScalarKind::Text))));
    metadata.extend(part("annotations").map(|annotations| entry("annotations", annotations)));
    let mut document = vec![
        entry("apiVersion", plain(API_VERSION, ScalarKind::Text)),
        entry("kind", plain(kind.as_str(), ScalarKind::Text)),
        entry("metadata", nowhere(Value::Map(metadata))),
    ];
    document.extend(part("spec").map(|spec| entry("spec", spec)));
    nowhere(Value::Map(document))
}

/// The connection of each trigger that names one, with the trigger's position.
pub(super) fn connections_of(document: &Node) -> impl Iterator<Item = (usize, &str)> {
    let triggers = document.get("spec").and_then(|spec| spec.node.get("triggers"));
    let triggers = triggers.map_or(&[][..], |triggers| match &triggers.node.value {
        Value::List(triggers) => triggers,
        _ => &[],
    });
    triggers.iter().enumerate().filter_map(|(i, trigger)| Some((i, trigger.get("connection")?.node.text()?)))
}

fn node(value: &Json) -> Node {
    match value {
        Json::Null => plain("", ScalarKind::Null),
        Json::Bool(value) => plain(if *value { "true" } else { "false" }, ScalarKind::Bool),
        Json::Number(number) => plain(&number.to_string(), ScalarKind::Number),
        Json::String(text) => plain(text, ScalarKind::Text),
        Json::Array(items) => nowhere(Value::List(items.iter().map(node).collect())),
        Json::Object(fields) => {
            nowhere(Value::Map(fields.iter().map(|(key, value)| entry(key, node(value))).collect()))
        }
    }
}

fn plain(text: &str, kind: ScalarKind) -> Node {
    nowhere(Value::Scalar(Scalar { text: text.to_owned(), kind }))
}

fn entry(key: &str, node: Node) -> Entry {
    Entry { key: key.to_owned(), line: 0, column: 0, node }
}

fn nowhere(value: Value) -> Node {
    Node { value, line: 0, column: 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_kubernetes_writes_them() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2026-11-21T08:30:01Z", Some(1_795_249_801)),
            ("2026-11-21T08:30:01.123456Z", Some(1_795_249_801)),
            ("2026-13-21T08:30:01Z", None),
            ("yesterday", None),
            ("99999999999-01-01T00:00:00Z", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_others_write_changes_nothing_that_is_validated() {
        let object = |status: &str, annotation: &str| -> Json {
            serde_json::from_str(&format!(
                r#"{{"apiVersion": "tidegate.dev/v1alpha1", "kind": "QueueAutoscaler",
                "metadata": {{"name": "a", "namespace": "b", "resourceVersion": "1", "managedFields": [{{}}],
                  "annotations": {{"kubectl.kubernetes.io/last-applied-configuration": "{annotation}", "tidegate.dev/paused": "true"}}}},
                "spec": {{"triggers": [{{"connection": "main"}}, {{"connection": 7}}]}}, "status": {{"reason": "{status}"}}}}"#
            ))
            .unwrap()
        };
        let first = Sent::of(Kind::QueueAutoscaler, &object("Stable", "x")).unwrap();
        let second = Sent::of(Kind::QueueAutoscaler, &object("Cooldown", "y")).unwrap();
        assert_eq!(first.text, second.text);
        assert_eq!(second.status.unwrap().reason.as_deref(), Some("Cooldown"));
        assert_eq!(first.connections, BTreeSet::from(["main".into()]));
        assert!(first.text.contains("tidegate.dev/paused") && !first.text.contains("kubectl"));
    }
}
