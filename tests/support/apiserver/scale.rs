//! The subresource `/scale`: an `autoscaling/v1` Scale made of its parent, and its parent changed through it.

use std::sync::Arc;

use serde_json::{Value, json};

use super::errors::Refusal;
use super::fields::Writer;
use super::kinds::{Kind, Scale};
use super::store::{Key, Store, Stored};

pub fn of(kind: &Kind, scale: &Scale, parent: &Stored) -> Result<Value, Refusal> {
    let value = &parent.value;
    let missing = || {
        let path = scale.spec.replace('/', ".");
        Refusal::internal(&format!("the spec replicas field \"{path}\" does not exist"))
    };
    let replicas = value.pointer(&scale.spec).and_then(Value::as_i64);
    let replicas = if kind.custom { replicas.ok_or_else(missing)? } else { replicas.unwrap_or(1) };
    let metadata = &value["metadata"];
    let mut answer = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {},
        "status": {"replicas": value.pointer(&scale.status).and_then(Value::as_i64).unwrap_or(0)},
    });
    // Zero is left out, as Go does.
    if replicas != 0 {
        answer["spec"]["replicas"] = replicas.into();
    }
    let selector = match &scale.selector {
        Some(path) => value.pointer(path).and_then(Value::as_str).map(str::to_owned),
        None if kind.custom => None,
        None => value["spec"]["selector"]["matchLabels"].as_object().map(|labels| {
            let pairs = labels.iter().map(|(label, value)| format!("{label}={}", value.as_str().unwrap_or_default()));
            pairs.collect::<Vec<_>>().join(",")
        }),
    };
    if let Some(selector) = selector {
        answer["status"]["selector"] = selector.into();
    }
    Ok(answer)
}

/// Carries out what `proposed`, a whole Scale, says; `apply` of a server-side apply says whether it is forced.
#[expect(clippy::too_many_arguments, reason = "one caller")]
pub fn put(
    store: &mut Store,
    kind: &Arc<Kind>,
    scale: &Scale,
    key: &Key,
    proposed: &Value,
    writer: &Writer,
    apply: Option<bool>,
    dry: bool,
) -> Result<Arc<Stored>, Refusal> {
    let parent = store.find(kind, key)?;
    let replicas = match &proposed["spec"]["replicas"] {
        Value::Null => 0,
        value => match value.as_i64() {
            Some(number) if i32::try_from(number).is_ok() => number,
            Some(_) => {
                let why = format!(
                    "json: cannot unmarshal number {value} into Go struct field ScaleSpec.spec.replicas of type int32"
                );
                return Err(Refusal::unfit_patch(proposed, &why));
            }
            None => {
                let what = if value.is_string() { "string" } else { "value" };
                let why =
                    format!("json: cannot unmarshal {what} into Go struct field ScaleSpec.spec.replicas of type int32");
                return Err(Refusal::unfit_patch(proposed, &why));
            }
        },
    };
    if replicas < 0 {
        let what = format!("Invalid value: {replicas}: must be greater than or equal to 0");
        let (group, field) = ("autoscaling", "spec.replicas");
        return Err(Refusal::invalid("Scale", group, &key.1, "FieldValueInvalid", field, &what));
    }
    let (wanted, actual) = (proposed["metadata"]["uid"].as_str(), parent.value["metadata"]["uid"].as_str());
    if let (Some(wanted), Some(actual)) = (wanted, actual)
        && wanted != actual
    {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {actual}");
        return Err(Refusal::conflict(&format!("{}/scale", kind.plural), &kind.group, &key.1, &why));
    }
    let mut value = parent.value.clone();
    if let Some(given) = proposed["metadata"]["resourceVersion"].as_str().filter(|given| !given.is_empty()) {
        value["metadata"]["resourceVersion"] = given.into();
    }
    set(&mut value, &scale.spec, replicas.into());
    let mut wish = json!({});
    set(&mut wish, &scale.spec, replicas.into());
    store.update(kind, key, value, writer, apply.map(|force| (&wish, force)), dry)
}

fn set(value: &mut Value, pointer: &str, to: Value) {
    let mut place = value;
    for step in pointer.split('/').skip(1) {
        place = &mut place[step];
    }
    *place = to;
}
