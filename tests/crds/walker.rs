//! A JSON value against a structural schema, as far as the API server's own validation goes: defaults filled in, unknown
//! fields and everything else that does not fit reported, rules in CEL evaluated.

use serde_json::Value;

/// Fills in every default below `value`, as the server does before it validates.
pub(crate) fn fill_defaults(schema: &Value, value: &mut Value) {
    if let (Some(properties), Some(object)) = (schema["properties"].as_object(), value.as_object_mut()) {
        for (name, property) in properties {
            if let Some(default) = property.get("default").filter(|_| !object.contains_key(name)) {
                object.insert(name.clone(), default.clone());
            }
            if let Some(child) = object.get_mut(name) {
                fill_defaults(property, child);
            }
        }
    }
    for item in value.as_array_mut().into_iter().flatten() {
        fill_defaults(&schema["items"], item);
    }
}

/// Everything about `value` that `schema` refuses, one sentence each.
pub(crate) fn misfits(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(schema, value, path, &mut found);
    found
}

/// Whether a rule of ours holds of `value`.
fn holds(rule: &str, value: &Value) -> bool {
    let program = cel::Program::compile(rule).unwrap_or_else(|error| panic!("{rule}: {error}"));
    let mut context = cel::Context::default();
    context.add_variable("self", value).expect("a value");
    match program.execute(&context) {
        Ok(cel::Value::Bool(holds)) => holds,
        other => panic!("{rule} of {value}: {other:?}"),
    }
}

fn walk(schema: &Value, value: &Value, path: &str, found: &mut Vec<String>) {
    let mut say = |what: String| found.push(format!("{path}: {what}"));
    let fits = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        None => schema["x-kubernetes-preserve-unknown-fields"] == true,
        Some(other) => panic!("{path}: type {other} in a schema of ours"),
    };
    if !fits {
        return say(format!("must be of type {}", schema["type"]));
    }
    if schema.pointer("/not/enum").and_then(Value::as_array).is_some_and(|not| not.contains(value)) {
        say("must not be this".to_owned());
    }
    if schema["enum"].as_array().is_some_and(|choices| !choices.contains(value)) {
        say(format!("{value} is none of {}", schema["enum"]));
    }
    if let Some(text) = value.as_str() {
        let length = text.chars().count() as u64;
        if schema["minLength"].as_u64().is_some_and(|least| length < least) {
            say("too short".to_owned());
        }
        if schema["maxLength"].as_u64().is_some_and(|most| length > most) {
            say("too long".to_owned());
        }
        if let Some(pattern) = schema["pattern"].as_str()
            && !holds(&format!("self.matches('{pattern}')"), value)
        {
            say(format!("{text:?} does not match {pattern}"));
        }
    }
    if let Some(number) = value.as_f64() {
        let exclusive = schema["exclusiveMinimum"] == true;
        if schema["minimum"].as_f64().is_some_and(|least| number < least || (exclusive && number == least)) {
            say(format!("{number} is too small"));
        }
        let most = if schema["format"] == "int32" { f64::from(i32::MAX) } else { f64::MAX };
        if number > schema["maximum"].as_f64().unwrap_or(most) {
            say(format!("{number} is too large"));
        }
    }
    for validation in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let (rule, message) = (validation["rule"].as_str().expect("a rule"), &validation["message"]);
        if !holds(rule, value) {
            let field = validation["fieldPath"].as_str().unwrap_or_default();
            found.push(format!("{path}{field}: {}", message.as_str().expect("a message")));
        }
    }
    let mut say = |what: String| found.push(format!("{path}: {what}"));
    if let Some(items) = value.as_array() {
        let length = items.len() as u64;
        if schema["minItems"].as_u64().is_some_and(|least| length < least) {
            say("too few items".to_owned());
        }
        if schema["maxItems"].as_u64().is_some_and(|most| length > most) {
            say("too many items".to_owned());
        }
        let keys: Vec<&str> =
            schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let alike = |a: &Value, b: &Value| match schema["x-kubernetes-list-type"].as_str() {
            Some("set") => a == b,
            Some("map") => keys.iter().all(|key| a[*key] == b[*key]),
            _ => false,
        };
        for (i, item) in items.iter().enumerate() {
            if items[..i].iter().any(|other| alike(other, item)) {
                say(format!("{item} stands there twice"));
            }
        }
        for (i, item) in items.iter().enumerate() {
            walk(&schema["items"], item, &format!("{path}[{i}]"), found);
        }
    } else if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                say(format!("{name} is required"));
            }
        }
        if schema["maxProperties"].as_u64().is_some_and(|most| object.len() as u64 > most) {
            say("too many fields".to_owned());
        }
        for (name, child) in object {
            match schema["properties"].get(name).or_else(|| schema.get("additionalProperties")) {
                Some(property) => walk(property, child, &format!("{path}.{name}"), found),
                // The server itself knows these.
                None if path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&name.as_str()) => {}
                None => found.push(format!("{path}.{name}: unknown field")),
            }
        }
    }
}
