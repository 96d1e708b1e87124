//! From KEDA's and the HPA's objects to ours: what they say, as far as it means the same here, and a note for everything
//! that does not.
//!
//! Nothing is guessed silently. What has no counterpart is named; what is left to our defaults although theirs differ
//! (an HPA's ramp, above all) is named, too; and where something must be known that the objects do not say, the result
//! holds a name that leads nowhere and a note that says what to write.

mod behavior;
mod hpa;
mod parameters;
mod scaled_object;
mod server;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::spec::load::{SourceText, Terms, load};
use crate::spec::problem::{Place, Problem};
use crate::spec::render::Document;
use crate::spec::tree::{self, Node, Scalar, ScalarKind};

/// How to read them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// Write out the ramp and the dead band that an HPA has by itself, instead of leaving ours.
    pub hpa_ramp: bool,
}

/// What became of a set of objects.
#[derive(Debug, Default)]
pub struct Imported {
    /// Connections first. Each with the notes that belong to it.
    pub drafts: Vec<Draft>,
    /// Everything that could not be carried over, or means something else here, in the order of the input.
    pub notes: Vec<Note>,
}

/// An object of ours.
#[derive(Debug)]
pub struct Draft {
    pub document: Document,
    pub notes: Vec<String>,
}

/// Something that its author should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Note {
    pub place: Option<Place>,
    /// `ScaledObject shop/orders`.
    pub object: String,
    pub message: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A problem knows how to be one short line, whatever was written.
        let problem = Problem::new(self.object.as_str(), self.message.as_str(), "");
        match &self.place {
            Some(place) => problem.at(place.clone()).fmt(f),
            None => problem.fmt(f),
        }
    }
}

/// One object of the input.
struct Object {
    place: Place,
    kind: String,
    /// `None` where none is written.
    namespace: Option<String>,
    name: String,
    value: Value,
}

impl Object {
    fn title(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} {namespace}/{}", self.kind, self.name),
            None => format!("{} {}", self.kind, self.name),
        }
    }

    /// The field at a JSON pointer, unless it is null.
    fn get(&self, pointer: &str) -> Option<&Value> {
        self.value.pointer(pointer).filter(|value| !value.is_null())
    }

    fn text(&self, pointer: &str) -> Option<String> {
        self.get(pointer).and_then(text_of)
    }

    fn number(&self, pointer: &str) -> Option<i32> {
        self.get(pointer).and_then(Value::as_i64).and_then(|number| i32::try_from(number).ok())
    }

    fn annotations(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.get("/metadata/annotations").and_then(Value::as_object).into_iter().flatten()
    }
}

/// A scalar as text, as metadata has all its values.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

fn text_at<'v>(value: &'v Value, field: &str) -> Option<&'v str> {
    value.get(field).and_then(Value::as_str)
}

/// Everything that was read, and what comes of it.
struct Work {
    objects: Vec<Arc<Object>>,
    options: Options,
    notes: Vec<Note>,
    autoscalers: Vec<Draft>,
    servers: server::Servers,
}

impl Work {
    fn note(&mut self, object: &Object, message: impl Into<String>) -> String {
        let message = message.into();
        self.notes.push(Note { place: Some(object.place.clone()), object: object.title(), message: message.clone() });
        message
    }

    /// Another object of the input.
    fn find(&self, kind: &str, namespace: Option<&str>, name: &str) -> Option<&Object> {
        let wanted = |o: &&Arc<Object>| o.kind == kind && o.namespace.as_deref() == namespace && o.name == name;
        self.objects.iter().find(wanted).map(AsRef::as_ref)
    }
}

/// Reads ScaledObjects, TriggerAuthentications and HPAs of `texts`.
#[must_use]
pub fn import<T: std::borrow::Borrow<SourceText>>(texts: &[T], options: Options) -> Imported {
    let mut work = Work {
        objects: Vec::new(),
        options,
        notes: Vec::new(),
        autoscalers: Vec::new(),
        servers: server::Servers::default(),
    };
    for text in texts {
        read(text.borrow(), &mut work);
    }
    for object in work.objects.clone() {
        match object.kind.as_str() {
            "ScaledObject" => scaled_object::import(&mut work, &object),
            "HorizontalPodAutoscaler" => hpa::import(&mut work, &object),
            "ScaledJob" => {
                work.note(&object, "not carried over: tidegate scales workloads and creates no Jobs");
            }
            _ => {}
        }
    }
    let Work { notes, autoscalers, servers, .. } = work;
    let mut drafts = servers.into_drafts();
    drafts.extend(autoscalers);
    let mut imported = Imported { drafts, notes };
    imported.check();
    imported
}

impl Imported {
    /// The result as YAML documents, each with its notes above it.
    ///
    /// # Errors
    /// What the serializer says; it has no reason to.
    pub fn yaml(&self) -> Result<String, serde_saphyr::ser::Error> {
        let mut out = String::new();
        for (i, draft) in self.drafts.iter().enumerate() {
            if i > 0 {
                out.push_str("---\n");
            }
            for note in &draft.notes {
                // What is repeated of the input must not end the comment.
                out.push_str(&format!(
                    "# {}\n",
                    Problem::new("", note.as_str(), "").to_string().trim_end_matches("; ")
                ));
            }
            out.push_str(&serde_saphyr::to_string(&draft.document)?);
        }
        Ok(out)
    }

    /// What the result itself would be refused for goes to the notes: an object that was wrong before is wrong now.
    fn check(&mut self) {
        let Ok(text) = self.yaml() else { return };
        let source = SourceText { file: "result".to_owned(), text };
        if let Err(problems) = load(&[source], &Terms::default()) {
            self.notes.extend(problems.0.into_iter().map(|problem| Note {
                place: None,
                object: "the result".to_owned(),
                message: problem.to_string(),
            }));
        }
    }
}

// === reading ===

fn read(text: &SourceText, work: &mut Work) {
    let file: Arc<str> = Arc::from(text.file.as_str());
    for document in tree::documents(&text.text) {
        match document {
            Ok(node) => unpack(&file, &node, work),
            Err(error) => work.notes.push(Note {
                place: Some(Place { file: Arc::clone(&file), line: error.line, column: error.column }),
                object: String::new(),
                message: format!("cannot be read from here on: {}; {}", error.message, error.cure),
            }),
        }
    }
}

fn unpack(file: &Arc<str>, node: &Node, work: &mut Work) {
    if let tree::Value::List(items) = &node.value {
        return items.iter().for_each(|item| unpack(file, item, work));
    }
    let text = |key: &str| node.get(key).and_then(|entry| entry.node.text());
    if text("kind").is_some_and(|kind| kind.ends_with("List"))
        && let Some(items) = node.get("items")
    {
        return unpack(file, &items.node, work);
    }
    let Some(kind) = text("kind") else { return };
    let metadata = |key: &str| {
        let metadata = node.get("metadata").map(|entry| &entry.node);
        metadata.and_then(|metadata| metadata.get(key)).and_then(|entry| entry.node.text()).map(str::to_owned)
    };
    work.objects.push(Arc::new(Object {
        place: Place { file: Arc::clone(file), line: node.line, column: node.column },
        kind: kind.to_owned(),
        namespace: metadata("namespace"),
        name: metadata("name").unwrap_or_default(),
        value: json(node),
    }));
}

fn json(node: &Node) -> Value {
    match &node.value {
        tree::Value::Scalar(Scalar { text, kind }) => match kind {
            ScalarKind::Null => Value::Null,
            ScalarKind::Bool => Value::Bool(text.eq_ignore_ascii_case("true")),
            ScalarKind::Number => serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone())),
            ScalarKind::Text => Value::String(text.clone()),
        },
        tree::Value::List(items) => Value::Array(items.iter().map(json).collect()),
        tree::Value::Map(entries) => {
            let fields = entries.iter().map(|entry| (entry.key.clone(), json(&entry.node)));
            Value::Object(fields.collect::<Map<String, Value>>())
        }
    }
}

/// Annotations that pause or force, in our words; what is KEDA's and has no counterpart is noted.
fn annotations(work: &mut Work, object: &Object, notes: &mut Vec<String>) -> BTreeMap<String, String> {
    const KEDA: &str = "autoscaling.keda.sh/";
    const SAME: [&str; 5] = ["paused", "paused-replicas", "paused-scale-in", "paused-scale-out", "force-activation"];
    let mut ours = BTreeMap::new();
    let mut others = Vec::new();
    for (key, value) in object.annotations() {
        match key.strip_prefix(KEDA) {
            Some(name) if SAME.contains(&name) => {
                ours.insert(format!("{}/{name}", crate::spec::manifest::GROUP), text_of(value).unwrap_or_default());
            }
            _ if key.contains("keda.sh/") => others.push(key.clone()),
            _ => {}
        }
    }
    for key in others {
        notes.push(work.note(object, format!("annotation {key} has no counterpart and is left out")));
    }
    ours
}
