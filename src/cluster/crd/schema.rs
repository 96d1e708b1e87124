//! One walk over a derived schema: what the API server wants of it, and what the tables of `rules.rs` add.

use serde_json::{Map, Value, json};

use super::Kind;
use super::rules::{self, Refused, Rule};

/// Entries of a map: labels or headers.
const MOST_LABELS: usize = 64;

/// Longest text of a spec where nothing else is said: as long as the longest value of KEDA's metadata, for the same
/// reason. The server's estimate of what a rule costs needs a bound for every text.
const LONGEST_TEXT: usize = crate::spec::limits::METADATA_VALUE_BYTES;
/// Longest duration or quantity: each is a number or three.
const LONGEST_SCALAR: usize = 32;
/// Entries of a list where nothing else is said.
const LONGEST_LIST: usize = 100;

/// A number with its unit, one or several: the grammar of [`crate::spec::units::parse_duration`].
pub(super) const DURATION: &str = "^(([0-9]+([.][0-9]*)?|[.][0-9]+)(ns|us|µs|ms|s|m|h))+$";

/// Finishes the schema of a whole object of `kind`.
pub(super) fn finish(kind: Kind, schema: &mut Value) {
    if let Some(root) = schema.as_object_mut() {
        root.remove("title");
        walk(kind, "", root);
    }
}

fn walk(kind: Kind, path: &str, node: &mut Map<String, Value>) {
    plain(node);
    if let Some(properties) = node.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, child) in properties {
            let here = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if let Some(child) = child.as_object_mut() {
                walk(kind, &here, child);
            }
        }
    }
    if let Some(items) = node.get_mut("items").and_then(Value::as_object_mut) {
        walk(kind, &format!("{path}[]"), items);
    }
    if let Some(values) = node.get_mut("additionalProperties").and_then(Value::as_object_mut) {
        walk(kind, &format!("{path}{{}}"), values);
    }
    if path == "spec" || path.starts_with("spec.") {
        bounded(path, node);
        scalar(path, node);
        written(kind, path, node);
    } else if path.starts_with("status") {
        reported(path, node);
    }
}

/// What the derive leaves behind and the API server has no use for. Nothing of ours is null: what is not written is
/// left out, and a null that somebody writes counts as that.
fn plain(node: &mut Map<String, Value>) {
    node.remove("nullable");
    // Of Rust's types, where a field may be left out; ours are in `rules.rs`.
    node.remove("default");
    if let Some(choices) = node.get_mut("enum").and_then(Value::as_array_mut) {
        choices.retain(|choice| !choice.is_null());
    }
    if let Some(Value::String(text)) = node.get_mut("description") {
        *text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    }
    for bound in ["minimum", "maximum"] {
        if let Some(number) = node.get_mut(bound)
            && let Some(whole) = number.as_f64().filter(|value| value.fract() == 0.0 && value.abs() < 1e15)
        {
            #[expect(clippy::cast_possible_truncation, reason = "whole, and far below 2^53")]
            let whole = whole as i64;
            *number = json!(whole);
        }
    }
}

/// Everything has an end: texts and lists of a spec.
fn bounded(path: &str, node: &mut Map<String, Value>) {
    match node.get("type").and_then(Value::as_str) {
        Some("object") if node.contains_key("additionalProperties") => {
            node.entry("minProperties").or_insert(json!(1));
            node.entry("maxProperties").or_insert(json!(MOST_LABELS));
        }
        Some("string") if !node.contains_key("enum") => {
            node.entry("minLength").or_insert(json!(1));
            node.entry("maxLength").or_insert(json!(LONGEST_TEXT));
        }
        Some("array") => {
            let most = rules::LISTS.iter().find(|(list, _)| *list == path).map_or(LONGEST_LIST, |(_, most)| *most);
            node.entry("maxItems").or_insert(json!(most));
            node.entry("minItems").or_insert(json!(1));
            // Order means nothing in these, and an entry that stands twice is a mistake.
            if node.get("items").and_then(|items| items.get("type")) == Some(&json!("string")) {
                node.insert("x-kubernetes-list-type".to_owned(), json!("set"));
            }
        }
        _ => {}
    }
}

/// Durations and quantities.
fn scalar(path: &str, node: &mut Map<String, Value>) {
    let limits = rules::DURATIONS.iter().find(|(field, ..)| *field == path);
    if node.get("format") == Some(&json!("duration")) {
        // Kubernetes' own format of this name takes days and weeks, which are no durations to us.
        node.remove("format");
        node.insert("pattern".to_owned(), json!(DURATION));
        node.insert("maxLength".to_owned(), json!(LONGEST_SCALAR));
        if let Some((_, min, max)) = limits {
            let within = format!("duration(self) >= duration('{min}') && duration(self) <= duration('{max}')");
            let rule = format!("!self.matches('{DURATION}') || ({within})");
            push(node, json!({ "rule": rule, "message": format!("must be {min} to {max}") }));
        }
    }
    if node.remove("x-kubernetes-int-or-string").is_some() {
        // Files take 0.1 as well as "0.1", and so does the HPA's own tolerance; int-or-string does not. A schema cannot
        // say "number or text" in any other way than by saying what it is not.
        node.insert("x-kubernetes-preserve-unknown-fields".to_owned(), json!(true));
        node.insert("not".to_owned(), json!({ "enum": [true, false, {}, []] }));
        node.insert("maxProperties".to_owned(), json!(0));
        node.insert("maxItems".to_owned(), json!(0));
        node.insert("maxLength".to_owned(), json!(LONGEST_SCALAR));
        let sign = rules::QUANTITIES.iter().find(|(field, _)| *field == path).map(|(_, sign)| *sign);
        let (pattern, minimum) = match sign.unwrap_or(rules::Sign::Any) {
            rules::Sign::Any => (rules::QUANTITY, None),
            rules::Sign::NotNegative => (rules::QUANTITY_NOT_NEGATIVE, Some(false)),
            rules::Sign::Positive => (rules::QUANTITY_POSITIVE, Some(true)),
        };
        node.insert("pattern".to_owned(), json!(pattern));
        if let Some(exclusive) = minimum {
            node.insert("minimum".to_owned(), json!(0));
            if exclusive {
                node.insert("exclusiveMinimum".to_owned(), json!(true));
            }
        }
    }
}

/// What users write: defaults, what must be there, rules.
fn written(kind: Kind, path: &str, node: &mut Map<String, Value>) {
    if let Some((_, default)) = rules::DEFAULTS.iter().find(|(field, _)| *field == path) {
        node.insert("default".to_owned(), default.json());
    }
    let properties: Vec<String> =
        node.get("properties").and_then(Value::as_object).into_iter().flat_map(Map::keys).cloned().collect();
    let has = |name: &str| properties.iter().any(|property| property == name);
    let mut required: Vec<&str> =
        rules::REQUIRED.iter().filter(|(block, _)| *block == path).flat_map(|(_, names)| *names).copied().collect();
    if path == "spec" {
        let of_kind = rules::REQUIRED_OF_KIND.iter().filter(|(of, _)| *of == kind);
        required.extend(of_kind.flat_map(|(_, names)| *names).copied());
    }
    // A key of a Secret, wherever it stands.
    if has("name") && has("key") {
        required.extend(["key", "name"]);
        if kind == Kind::ClusterConnection && has("namespace") {
            required.push("namespace");
        }
    }
    required.sort_unstable();
    if !required.is_empty() {
        node.insert("required".to_owned(), json!(required));
    }
    for one in rules::EXACTLY_ONE.iter().filter(|one| one.at == path) {
        let blocks: Vec<&str> = if one.blocks.is_empty() {
            properties.iter().map(String::as_str).collect()
        } else {
            one.blocks.iter().copied().filter(|name| has(name)).collect()
        };
        if !blocks.is_empty() {
            exactly_one(node, one.what, &blocks, one.example);
        }
    }
    // On the block, not on the field: a refused field's own value is repeated in the server's answer.
    for Refused { field, message, .. } in rules::REFUSED.iter().filter(|refused| path.ends_with(refused.block)) {
        if has(field) {
            let rule = format!("!has(self.{field})");
            push(node, json!({ "rule": rule, "message": message, "fieldPath": format!(".{field}") }));
        }
    }
    let ours = |rule: &&Rule| rule.at == path && rule.kind.is_none_or(|of| of == kind);
    for Rule { rule, message, field, .. } in rules::RULES.iter().filter(ours) {
        let rule = rule.replace("DURATION", DURATION);
        let mut one = json!({ "rule": rule, "message": message, "fieldPath": field });
        if let Some(one) = one.as_object_mut().filter(|_| field.is_empty()) {
            one.remove("fieldPath");
        }
        push(node, one);
    }
}

fn exactly_one(node: &mut Map<String, Value>, what: &str, blocks: &[&str], example: &str) {
    let any: Vec<String> = blocks.iter().map(|block| format!("has(self.{block})")).collect();
    push(
        node,
        json!({
            "rule": any.join(" || "),
            "message": format!("exactly one {what} is needed, found none; e.g. {example}"),
        }),
    );
    if blocks.len() < 2 {
        return;
    }
    let count: Vec<String> = any.iter().map(|has| format!("({has} ? 1 : 0)")).collect();
    let found = match blocks {
        [one, other] => format!("{one} and {other}"),
        several => format!("more than one of {}", several.join(", ")),
    };
    push(
        node,
        json!({
            "rule": format!("{} <= 1", count.join(" + ")),
            "message": format!("exactly one {what} is needed, found {found}; keep one and take the others out"),
        }),
    );
}

fn push(node: &mut Map<String, Value>, validation: Value) {
    let rules = node.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
    if let Some(rules) = rules.as_array_mut() {
        rules.push(validation);
    }
}

/// What we write: Kubernetes' own conventions for conditions, times that are times, lists with keys.
fn reported(path: &str, node: &mut Map<String, Value>) {
    if rules::TIMES.contains(&path) {
        node.insert("format".to_owned(), json!("date-time"));
    }
    if let Some((_, key, required)) = rules::KEYED.iter().find(|(list, ..)| *list == path) {
        node.insert("x-kubernetes-list-type".to_owned(), json!("map"));
        node.insert("x-kubernetes-list-map-keys".to_owned(), json!([key]));
        if let Some(items) = node.get_mut("items").and_then(Value::as_object_mut) {
            items.insert("required".to_owned(), json!(required));
        }
    }
    match path {
        "status.conditions[].status" => {
            node.insert("enum".to_owned(), json!(["True", "False", "Unknown"]));
        }
        "status.conditions[].reason" => {
            node.insert("minLength".to_owned(), json!(1));
            node.insert("maxLength".to_owned(), json!(1024));
            node.insert("pattern".to_owned(), json!("^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"));
        }
        "status.conditions[].message" => {
            node.insert("maxLength".to_owned(), json!(32768));
        }
        _ => {}
    }
}
