//! What a server checks of an object before it keeps it, for the kinds that are written by programs: what a client
//! could get wrong, and would not notice with a server that takes everything.

use serde_json::Value;

use super::call::{Call, Target};
use super::errors::Refusal;
use super::kinds::Kind;

/// The object in a request's body.
pub fn read(kind: &Kind, call: &Call, target: &Target) -> Result<Value, Refusal> {
    if call.content_type != "application/json" && !call.content_type.is_empty() {
        return Err(Refusal::unsupported_media_type());
    }
    let unfit = |why: &str| {
        let Target { version, .. } = target;
        Refusal::bad_request(&format!(
            "{} in version \"{version}\" cannot be handled as a {}: {why}",
            kind.kind, kind.kind
        ))
    };
    let mut body: Value = serde_json::from_slice(&call.body).map_err(|error| unfit(&error.to_string()))?;
    if !body.is_object() {
        return Err(unfit("json: cannot unmarshal into Go value"));
    }
    // Typed clients leave them out.
    if body["kind"].is_null() {
        body["kind"] = kind.kind.clone().into();
    }
    if body["apiVersion"].is_null() {
        body["apiVersion"] = kind.api_version(&target.version).into();
    }
    let name = body["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    if !target.name.is_empty() && name != target.name {
        let message = "the name of the object does not match the name on the URL";
        return Err(Refusal::bad_request(&format!("{message} ({name} vs. {})", target.name)));
    }
    if kind.plural == "leases" {
        for field in ["renewTime", "acquireTime"] {
            let text = body["spec"][field].as_str().unwrap_or_default();
            if !text.is_empty() && !text.contains('.') {
                let layout = "2006-01-02T15:04:05.000000Z07:00";
                let why = format!("parsing time \"{text}\" as \"{layout}\": cannot parse \"Z\" as \".000000\"");
                return Err(unfit(&why));
            }
        }
    }
    check(kind, &name, &body)?;
    Ok(body)
}

pub fn check(kind: &Kind, name: &str, object: &Value) -> Result<(), Refusal> {
    let group = if kind.group == "events.k8s.io" { "" } else { kind.group.as_str() };
    let invalid =
        |reason: &str, field: &str, what: &str| Err(Refusal::invalid(&kind.kind, group, name, reason, field, what));
    if kind.scale.is_some()
        && !kind.custom
        && let Some(replicas) = object["spec"]["replicas"].as_i64()
        && replicas < 0
    {
        let what = format!("Invalid value: {replicas}: must be greater than or equal to 0");
        return invalid("FieldValueInvalid", "spec.replicas", &what);
    }
    if kind.group != "events.k8s.io" {
        return Ok(());
    }
    for field in ["eventTime", "reportingController", "reportingInstance", "action", "reason"] {
        if object[field].as_str().unwrap_or_default().is_empty() {
            return invalid("FieldValueRequired", field, "Required value");
        }
    }
    for (field, named, longest) in [("note", "message", 1024), ("reason", "reason", 128), ("action", "action", 128)] {
        if object[field].as_str().unwrap_or_default().len() > longest {
            let what = format!("Invalid value: \"\": can have at most {longest} characters");
            return invalid("FieldValueInvalid", named, &what);
        }
    }
    Ok(())
}
