//! What is asked of a Kubernetes object over and over.

use serde_json::Value;

/// `Kind/name` with its namespace, for messages.
pub fn called(object: &Value) -> String {
    let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or("-");
    format!("{} {namespace}/{}", kind(object), name(object))
}

pub fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap_or_default()
}

pub fn name(object: &Value) -> &str {
    object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default()
}

pub fn namespace(object: &Value) -> &str {
    object.pointer("/metadata/namespace").and_then(Value::as_str).unwrap_or_default()
}

/// The group of its apiVersion; empty for the core's.
pub fn group(object: &Value) -> &str {
    object["apiVersion"].as_str().unwrap_or_default().rsplit_once('/').map_or("", |(group, _)| group)
}

/// What its pods are made from, where it makes pods.
pub fn pod_template(object: &Value) -> Option<&Value> {
    match kind(object) {
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => object.pointer("/spec/template"),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
        _ => None,
    }
}

/// Containers and init containers of a pod's template.
pub fn containers(template: &Value) -> Vec<(&Value, bool)> {
    let list = |field: &str| template.pointer(&format!("/spec/{field}")).and_then(Value::as_array);
    let main = list("containers").into_iter().flatten().map(|container| (container, false));
    let first = list("initContainers").into_iter().flatten().map(|container| (container, true));
    main.chain(first).collect()
}

/// Whether every label of a selector is among these.
pub fn selects(selector: &Value, labels: &Value) -> bool {
    selector.as_object().is_some_and(|wanted| wanted.iter().all(|(name, value)| labels.get(name) == Some(value)))
}

/// YAML documents as values; those that are empty are left out.
pub fn documents(text: &str) -> Vec<Value> {
    let all: Vec<Value> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| panic!("{error}"));
    all.into_iter().filter(|value| !value.is_null()).collect()
}
