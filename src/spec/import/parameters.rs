//! Where the parameters of a trigger are: its metadata, the TriggerAuthentication that it names, and the environment of
//! the workload's container where that is in the input.

use serde_json::Value;

use super::{Object, Work, text_at, text_of};

/// Where a parameter's value is.
#[derive(Clone)]
pub(super) enum Found {
    Text(String),
    Secret {
        name: String,
        key: String,
    },
    /// In a variable that the input does not show.
    Variable(String),
}

/// The parameters of one trigger.
pub(super) struct Parameters<'a> {
    pub(super) metadata: &'a Value,
    pub(super) authentication: Vec<(String, Found)>,
    pub(super) environment: Vec<(String, Found)>,
}

impl Parameters<'_> {
    /// A parameter under any of its names: metadata, then the authentication, then `FromEnv`.
    pub(super) fn find(&self, names: &[&str]) -> Option<Found> {
        let plain = names.iter().find_map(|name| self.text(name)).map(Found::Text);
        let authentication = || {
            names
                .iter()
                .find_map(|name| self.authentication.iter().find(|(known, _)| known == name))
                .map(|(_, found)| found.clone())
        };
        let from_env = || {
            let variable = names.iter().find_map(|name| self.text(&format!("{name}FromEnv")))?;
            let known = self.environment.iter().find(|(name, _)| *name == variable).map(|(_, found)| found.clone());
            Some(known.unwrap_or(Found::Variable(variable)))
        };
        plain.or_else(authentication).or_else(from_env)
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let text = self.metadata.get(name).and_then(text_of)?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    pub(super) fn flag(&self, name: &str) -> bool {
        self.text(name).is_some_and(|text| matches!(text.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
    }
}

/// What a TriggerAuthentication says, and what of it cannot be carried over.
pub(super) fn authentication(
    work: &Work,
    object: &Object,
    name: &str,
    cluster: bool,
    environment: &[(String, Found)],
) -> (Vec<(String, Found)>, Vec<String>) {
    let (kind, namespace) = if cluster {
        ("ClusterTriggerAuthentication", None)
    } else {
        ("TriggerAuthentication", object.namespace.as_deref())
    };
    let Some(written) = work.find(kind, namespace, name) else {
        return (Vec::new(), vec![format!("{kind} {name} is not in the input: what it says is missing here")]);
    };
    let list =
        |field: &str| written.get(&format!("/spec/{field}")).and_then(Value::as_array).cloned().unwrap_or_default();
    let text = |entry: &Value, field: &str| text_at(entry, field).unwrap_or_default().to_owned();
    let mut found = Vec::new();
    for entry in list("secretTargetRef") {
        found.push((text(&entry, "parameter"), Found::Secret { name: text(&entry, "name"), key: text(&entry, "key") }));
    }
    for entry in list("env") {
        let variable = text(&entry, "name");
        let known = environment.iter().find(|(name, _)| *name == variable).map(|(_, found)| found.clone());
        found.push((text(&entry, "parameter"), known.unwrap_or(Found::Variable(variable))));
    }
    for entry in list("configMapTargetRef") {
        let map = work.find("ConfigMap", namespace, &text(&entry, "name"));
        let value =
            map.and_then(|map| map.get("/data")).and_then(|data| data.get(text(&entry, "key"))).and_then(text_of);
        let missing =
            || Found::Variable(format!("ConfigMap {}, which is not in the input, and not", text(&entry, "name")));
        found.push((text(&entry, "parameter"), value.map_or_else(missing, Found::Text)));
    }
    let known = ["secretTargetRef", "env", "configMapTargetRef"];
    let others = written.get("/spec").and_then(Value::as_object).into_iter().flatten().map(|(field, _)| field);
    let complaints = others
        .filter(|field| !known.contains(&field.as_str()))
        .map(|field| format!("{kind} {name}: {field} has no counterpart; put the values into a Secret"))
        .collect();
    (found, complaints)
}

/// The variables of the container that KEDA resolves `FromEnv` in, where the workload is in the input.
pub(super) fn environment(work: &Work, object: &Object) -> Vec<(String, Found)> {
    let kind = object.text("/spec/scaleTargetRef/kind").unwrap_or_else(|| "Deployment".to_owned());
    let Some(name) = object.text("/spec/scaleTargetRef/name") else { return Vec::new() };
    let Some(workload) = work.find(&kind, object.namespace.as_deref(), &name) else { return Vec::new() };
    let containers = workload.get("/spec/template/spec/containers").and_then(Value::as_array);
    let wanted = object.text("/spec/scaleTargetRef/envSourceContainerName");
    let is_wanted =
        |container: &&Value| wanted.as_deref().is_none_or(|wanted| text_at(container, "name") == Some(wanted));
    let container = containers.and_then(|containers| containers.iter().find(is_wanted));
    let variables =
        container.and_then(|container| container.get("env").and_then(Value::as_array)).into_iter().flatten();
    let read = |variable: &Value| {
        let name = text_at(variable, "name")?.to_owned();
        let secret = variable.pointer("/valueFrom/secretKeyRef");
        let field = |field: &str| secret.and_then(|secret| text_at(secret, field)).map(str::to_owned);
        let found = match (variable.get("value").and_then(text_of), field("name"), field("key")) {
            (Some(value), ..) => Found::Text(value),
            (None, Some(name), Some(key)) => Found::Secret { name, key },
            _ => return None,
        };
        Some((name, found))
    };
    variables.filter_map(read).collect()
}
