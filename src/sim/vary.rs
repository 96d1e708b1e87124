//! Variants of a manifest: the same documents with other values in some of their fields.
//!
//! A variant is written into the documents and read again as if a person had written it, so a field that does not exist or
//! a value that may not stand there is refused in the same words, with its cure.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::sim::report::Field;
use crate::spec::AutoscalerSpec;
use crate::spec::load::{SourceText, Terms, load};
use crate::spec::problem::{Problem, Problems};

/// More combinations than this are a mistake.
pub const MOST_POINTS: usize = 100_000;

/// `spec.behavior.scaleDown.stabilizationWindowSeconds=0,30,60`.
///
/// # Errors
/// What is wrong with it, and what to write.
pub fn field(text: &str) -> Result<Field, String> {
    let Some((path, values)) = text.split_once('=') else {
        return Err(format!("`{text}` has no values; write PATH=VALUE,VALUE, e.g. spec.minReplicas=0,1,2"));
    };
    let path = path.trim();
    if steps(path).is_none() || !path.starts_with("spec.") {
        return Err(format!(
            "`{path}` is no path of a field; write it as in messages, e.g. spec.triggers[0].policy.backlogPerReplica.target"
        ));
    }
    let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
    if values.iter().any(String::is_empty) {
        return Err(format!("an empty value among those of {path}; write e.g. {path}=1,2,3"));
    }
    Ok(Field { path: path.to_owned(), values })
}

/// A step on the way to a field.
enum PathStep<'p> {
    Key(&'p str),
    Index(usize),
}

fn steps(path: &str) -> Option<Vec<PathStep<'_>>> {
    let mut steps = Vec::new();
    for part in path.split('.') {
        let (key, mut rest) = part.split_at_checked(part.find('[').unwrap_or(part.len()))?;
        if key.is_empty() {
            return None;
        }
        steps.push(PathStep::Key(key));
        while !rest.is_empty() {
            let (index, more) = rest.strip_prefix('[')?.split_once(']')?;
            steps.push(PathStep::Index(index.parse().ok()?));
            rest = more;
        }
    }
    Some(steps)
}

/// Every combination, the last field changing first.
///
/// # Errors
/// More than [`MOST_POINTS`], or a field that is there twice.
pub fn combinations(fields: &[Field]) -> Result<Vec<Vec<String>>, String> {
    for (at, field) in fields.iter().enumerate() {
        if fields.iter().take(at).any(|earlier| earlier.path == field.path) {
            return Err(format!("{} is varied twice; write all of its values behind one --vary", field.path));
        }
    }
    let count = fields.iter().try_fold(1_usize, |count, field| count.checked_mul(field.values.len()));
    if count.is_none_or(|count| count > MOST_POINTS) {
        return Err(format!("more than {MOST_POINTS} combinations; leave values out"));
    }
    let mut all: Vec<Vec<String>> = vec![Vec::new()];
    for field in fields {
        let longer = |point: Vec<String>| {
            field.values.iter().map(move |value| {
                let mut point = point.clone();
                point.push(value.clone());
                point
            })
        };
        all = all.into_iter().flat_map(longer).collect();
    }
    Ok(all)
}

/// The documents of manifests, to be varied.
#[derive(Clone, Debug)]
pub struct Documents {
    documents: Vec<Value>,
}

impl Documents {
    /// # Errors
    /// What is no YAML.
    pub fn read(texts: &[SourceText]) -> Result<Self, String> {
        let mut documents = Vec::new();
        for text in texts {
            let read: Vec<Value> =
                serde_saphyr::from_multiple(&text.text).map_err(|error| format!("{}: {error}", text.file))?;
            documents.extend(read.into_iter().filter(|document| !document.is_null()));
        }
        Ok(Documents { documents })
    }

    /// The document of the autoscaler `name` with these values in these fields, as YAML.
    ///
    /// # Errors
    /// A path that leads nowhere, or what cannot be written.
    pub fn text(&self, name: &str, fields: &[Field], values: &[String]) -> Result<String, String> {
        let found = self.documents.iter().find(|document| is_autoscaler(document, name));
        let mut document = found.cloned().ok_or_else(|| format!("no QueueAutoscaler `{name}` in these files"))?;
        for (field, value) in fields.iter().zip(values) {
            set(&mut document, &field.path, parsed(value))?;
        }
        serde_saphyr::to_string(&document).map_err(|error| error.to_string())
    }

    /// The autoscaler `name` with these values in these fields.
    ///
    /// # Errors
    /// What the manifest's reader says of it.
    pub fn with(&self, name: &str, fields: &[Field], values: &[String]) -> Result<Arc<AutoscalerSpec>, String> {
        let mut documents = self.documents.clone();
        for document in &mut documents {
            if is_autoscaler(document, name) {
                for (field, value) in fields.iter().zip(values) {
                    set(document, &field.path, parsed(value))?;
                }
            }
        }
        let texts: Vec<String> = documents.iter().map(ToString::to_string).collect();
        let said: Vec<String> =
            fields.iter().zip(values).map(|(field, value)| format!("{}={value}", field.path)).collect();
        let file = format!("--vary {}", said.join(" "));
        let text = SourceText { file: file.clone(), text: texts.join("\n---\n") };
        let loaded =
            load(&[text], &Terms { alternatives: true, ..Terms::default() }).map_err(|Problems(problems)| {
                // Lines are of what was written out here, which nobody has seen.
                let said =
                    problems.into_iter().map(|problem| format!("{file}: {}", Problem { place: None, ..problem }));
                said.collect::<Vec<_>>().join("\n")
            })?;
        let found = loaded.autoscalers.into_iter().find(|spec| *spec.id.name == *name);
        found.ok_or_else(|| format!("no QueueAutoscaler `{name}` in these files"))
    }
}

fn is_autoscaler(document: &Value, name: &str) -> bool {
    let is = |pointer: &str, text: &str| document.pointer(pointer).and_then(Value::as_str) == Some(text);
    is("/kind", "QueueAutoscaler") && is("/metadata/name", name)
}

/// As YAML would read it.
fn parsed(value: &str) -> Value {
    serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()))
}

fn set(document: &mut Value, path: &str, value: Value) -> Result<(), String> {
    let mut place = document;
    for step in steps(path).unwrap_or_default() {
        place = match step {
            PathStep::Key(key) => {
                if !place.is_object() {
                    *place = Value::Object(Map::new());
                }
                let Value::Object(map) = place else { return Err(format!("{path}: not a block")) };
                map.entry(key).or_insert(Value::Null)
            }
            PathStep::Index(index) => {
                let count = place.as_array().map_or(0, Vec::len);
                place
                    .get_mut(index)
                    .ok_or_else(|| format!("{path}: there is no entry [{index}], the list has {count}; count from 0"))?
            }
        };
    }
    *place = value;
    Ok(())
}
