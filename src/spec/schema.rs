//! Compares what was written with the schema of the manifest types: unknown fields, wrong types, ranges, enumerations.
//!
//! One generic walk over the located tree and the JSON schema that the CRDs are made of. Whatever does not fit is
//! reported with its line and left out, so that the rest can still be read and checked: serde would stop at the first
//! mistake, and without a line.

use std::collections::HashSet;
use std::fmt::Write as _;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value as Json};

use crate::spec::report::{Report, closest, join};
use crate::spec::tree::{Entry, Node, Scalar, ScalarKind, Value};

/// KEDA's and other tools' words for fields that have another name here.
const SYNONYMS: [(&str, &str); 4] = [
    ("minReplicaCount", "minReplicas"),
    ("maxReplicaCount", "maxReplicas"),
    ("advanced", "behavior"),
    ("listName", "redisList"),
];

/// The schema of `T`, with everything inline.
pub(crate) fn of<T: JsonSchema>() -> Json {
    let settings = SchemaSettings::openapi3().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

/// What of `node` fits `schema`, as JSON; everything else is reported. `None`: nothing does, or nothing is written.
pub(crate) fn prune(schema: &Json, node: &Node, path: &str, report: &mut Report<'_>) -> Option<Json> {
    let schema = not_null(schema);
    let type_name = schema.get("type").and_then(type_of).unwrap_or_default();
    if node.is_null() {
        if matches!(type_name, "object" | "array") {
            report.explain(path, "nothing is written here", "indent its content below it, or take the line out");
        }
        return None;
    }
    match (type_name, &node.value) {
        ("object", Value::Map(entries)) => Some(object(schema, entries, path, report)),
        ("array", Value::List(items)) => Some(array(schema, items, path, report)),
        ("object" | "array", found) => {
            let (wanted, cure) = if type_name == "object" {
                ("fields", "write `name: value` lines below it".to_owned())
            } else {
                ("a list", "write `[a, b]`, or lines that begin with `- `".to_owned())
            };
            report.explain(path, format!("{wanted} expected, found {}", describe(found, path)), cure);
            None
        }
        (_, Value::Scalar(found)) => scalar(schema, type_name, found, path, report),
        (_, found) => {
            let message = format!("one value expected, found {}", describe(found, path));
            report.explain(path, message, example(schema, type_name));
            None
        }
    }
}

fn object(schema: &Json, entries: &[Entry], path: &str, report: &mut Report<'_>) -> Json {
    let mut out = Map::new();
    let empty = Map::new();
    let known = schema.get("properties").and_then(Json::as_object).unwrap_or(&empty);
    let mut seen = HashSet::new();
    for Entry { key, node, .. } in entries {
        let here = join(path, key);
        if !seen.insert(key.as_str()) {
            report.explain(&here, "written twice in the same block", "keep one of the two");
        } else if let Some(field) = known.get(key).or_else(|| schema.get("additionalProperties")) {
            if let Some(value) = prune(field, node, &here, report) {
                out.insert(key.clone(), value);
            }
        } else {
            unknown(known, key, path, report);
        }
    }
    Json::Object(out)
}

/// Reports a field that does not exist.
fn unknown(known: &Map<String, Json>, key: &str, path: &str, report: &mut Report<'_>) {
    let synonym = SYNONYMS.iter().find(|(word, ours)| *word == key && known.contains_key(*ours)).map(|(_, ours)| *ours);
    // Comparing takes its time, and nobody is told any more.
    let nearest = || if report.is_full() { None } else { closest(key, known.keys().map(String::as_str)) };
    let meant = synonym.or_else(nearest);
    let mut cure = String::new();
    if let Some(meant) = meant {
        let _ = write!(cure, "did you mean `{meant}`?");
    } else {
        let names: Vec<&str> = known.keys().map(String::as_str).collect();
        match names.as_slice() {
            [] => cure.push_str("nothing can be written here"),
            names => {
                let _ = write!(cure, "known here: {}", names.join(", "));
            }
        }
    }
    report.explain(&join(path, key), format!("unknown field `{key}`"), cure);
    report.stranger(path, meant);
}

fn array(schema: &Json, items: &[Node], path: &str, report: &mut Report<'_>) -> Json {
    let any = Json::Bool(true);
    let item_schema = schema.get("items").unwrap_or(&any);
    let least = schema.get("minItems").and_then(Json::as_u64).unwrap_or(0);
    if (items.len() as u64) < least {
        report.explain(path, "an empty list", "write at least one entry, or take the line out");
    }
    let values = items.iter().enumerate().map(|(i, item)| {
        let here = format!("{path}[{i}]");
        if item.is_null() && !matches!(not_null(item_schema).get("type").and_then(type_of), Some("object" | "array")) {
            report.explain(&here, "an empty entry", "write something after the `-`, or take the line out");
        }
        // A placeholder keeps the numbering of those that follow; its own faults are explained already.
        prune(item_schema, item, &here, report).unwrap_or_else(|| match item_schema.get("type").and_then(type_of) {
            Some("object") => Json::Object(Map::new()),
            _ => Json::String(String::new()),
        })
    });
    Json::Array(values.collect())
}

fn scalar(schema: &Json, type_name: &str, found: &Scalar, path: &str, report: &mut Report<'_>) -> Option<Json> {
    let text = found.text.as_str();
    let format = schema.get("format").and_then(Json::as_str).unwrap_or_default();
    match type_name {
        "string" if format == "duration" => Some(Json::from(text)),
        "string" if found.kind == ScalarKind::Text => match choices(schema) {
            Some(choices) if !choices.contains(&text) => {
                let meant = closest(text, choices.iter().copied());
                let cure = meant.map_or_else(|| format!("write one of {}", choices.join(", ")), did_you_mean);
                report.explain(path, format!("`{text}` is not one of {}", choices.join(", ")), cure);
                None
            }
            _ => Some(Json::from(text)),
        },
        "string" => {
            let message = format!("a text expected, found {}", describe_scalar(found, path));
            let cure = if format == "password" { "put it in quotes".to_owned() } else { format!("write \"{text}\"") };
            report.explain(path, message, cure);
            None
        }
        "integer" => match text.parse::<i64>() {
            Ok(number) if found.kind == ScalarKind::Number => in_range(schema, number, path, report),
            _ => {
                let message = format!("a whole number expected, found {}", describe_scalar(found, path));
                report.explain(path, message, number_meant(text).unwrap_or_else(|| example(schema, type_name)));
                None
            }
        },
        "boolean" => match (found.kind, text.to_ascii_lowercase().as_str()) {
            (ScalarKind::Bool, "true") => Some(Json::Bool(true)),
            (ScalarKind::Bool, _) => Some(Json::Bool(false)),
            _ => {
                let message = format!("true or false expected, found {}", describe_scalar(found, path));
                report.explain(path, message, "write true or false, without quotes");
                None
            }
        },
        // A quantity: numbers and texts alike, parsed by `validate`.
        _ => Some(Json::from(text)),
    }
}

fn in_range(schema: &Json, number: i64, path: &str, report: &mut Report<'_>) -> Option<Json> {
    let (low, high) = range(schema);
    if (low..=high).contains(&number) {
        return Some(Json::from(number));
    }
    let (message, cure) = if high == i64::from(i32::MAX) {
        (format!("must be at least {low}, found {number}"), format!("write {low} or more"))
    } else {
        (format!("must be {low} to {high}, found {number}"), format!("write a number from {low} to {high}"))
    };
    let (message, cure) = if number > i64::from(i32::MAX) && high == i64::from(i32::MAX) {
        (format!("must be at most {high}, found {number}"), format!("write {high} or less"))
    } else {
        (message, cure)
    };
    report.explain(path, message, cure);
    None
}

/// Bounds of an integer; all of ours are 32 bits wide.
fn range(schema: &Json) -> (i64, i64) {
    let bound = |name: &str| schema.get(name).and_then(Json::as_i64);
    (bound("minimum").unwrap_or(i64::from(i32::MIN)), bound("maximum").unwrap_or(i64::from(i32::MAX)))
}

fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

/// `"50"` and `60s` were meant as numbers.
fn number_meant(text: &str) -> Option<String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    digits.parse::<i64>().ok().map(|number| format!("write the plain number {number}, without quotes or a unit"))
}

/// What to write instead, where the type says enough.
fn example(schema: &Json, type_name: &str) -> String {
    match type_name {
        "integer" => format!("write a plain number, such as {}", range(schema).0.max(1)),
        "boolean" => "write true or false".to_owned(),
        _ => "write a single value".to_owned(),
    }
}

/// `Option<T>` of a type with a schema of its own: the half that is not null.
fn not_null(schema: &Json) -> &Json {
    let halves = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Json::as_array);
    let half = halves.and_then(|halves| {
        halves.iter().find(|half| {
            half.get("type").and_then(type_of).is_some_and(|name| name != "null") || half.get("properties").is_some()
        })
    });
    half.unwrap_or(schema)
}

fn type_of(value: &Json) -> Option<&str> {
    match value {
        Json::String(name) => Some(name),
        Json::Array(names) => names.iter().filter_map(Json::as_str).find(|name| *name != "null"),
        _ => None,
    }
}

fn choices(schema: &Json) -> Option<Vec<&str>> {
    Some(schema.get("enum")?.as_array()?.iter().filter_map(Json::as_str).collect())
}

fn describe(value: &Value, path: &str) -> String {
    match value {
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a block of fields".to_owned(),
        Value::Scalar(scalar) => describe_scalar(scalar, path),
    }
}

/// What was found, in the user's words; never the text of a field that may hold a secret, or was meant to, nor one with
/// an `@`: URLs have their passwords before it.
fn describe_scalar(scalar: &Scalar, path: &str) -> String {
    let secret = path.to_ascii_lowercase().contains("password") || scalar.text.contains('@');
    let text = if secret { "..." } else { &scalar.text };
    match scalar.kind {
        ScalarKind::Null => "nothing".to_owned(),
        ScalarKind::Bool => format!("the boolean `{text}`"),
        ScalarKind::Number => format!("the number `{text}`"),
        ScalarKind::Text => format!("the text `{text}`"),
    }
}
