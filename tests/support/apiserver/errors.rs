//! How a kube-apiserver refuses. Every body, header and sentence was read off a real one (v1.36).

use serde_json::{Value, json};

/// An answer other than the one asked for.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub code: u16,
    pub body: Words,
    /// Seconds.
    pub retry_after: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum Words {
    Status(Value),
    /// Some refusals are older than `Status`.
    Plain(&'static str),
}

/// A resource as messages have it: `deployments.apps`, `secrets`.
pub fn qualified(plural: &str, group: &str) -> String {
    if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") }
}

fn status(code: u16, reason: &str, message: &str, details: Value) -> Refusal {
    let mut body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code});
    body["message"] = message.into();
    if !reason.is_empty() {
        body["reason"] = reason.into();
    }
    if !details.is_null() {
        body["details"] = details;
    }
    Refusal { code, body: Words::Status(body), retry_after: None }
}

fn details(name: &str, group: &str, kind: &str) -> Value {
    let mut details = json!({"kind": kind});
    if !name.is_empty() {
        details["name"] = name.into();
    }
    if !group.is_empty() {
        details["group"] = group.into();
    }
    details
}

impl Refusal {
    /// The `Status`, or null for a plain text.
    pub fn status(&self) -> &Value {
        match &self.body {
            Words::Status(status) => status,
            Words::Plain(_) => &Value::Null,
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        match &self.body {
            Words::Status(status) => status.to_string().into_bytes(),
            Words::Plain(text) => text.as_bytes().to_vec(),
        }
    }

    // === 400, 401, 403, 404, 405, 406, 415 ===

    pub fn bad_request(message: &str) -> Self {
        status(400, "BadRequest", message, Value::Null)
    }

    pub fn unauthorized() -> Self {
        status(401, "Unauthorized", "Unauthorized", Value::Null)
    }

    /// `place` is "in the namespace …" or "at the cluster scope".
    pub fn forbidden(user: &str, verb: &str, plural: &str, sub: &str, group: &str, name: &str, place: &str) -> Self {
        let full = if sub.is_empty() { plural.to_owned() } else { format!("{plural}/{sub}") };
        let what = qualified(plural, group);
        let named = if name.is_empty() { what } else { format!("{what} \"{name}\"") };
        let cannot = format!("User \"{user}\" cannot {verb} resource \"{full}\" in API group \"{group}\" {place}");
        status(403, "Forbidden", &format!("{named} is forbidden: {cannot}"), details(name, group, plural))
    }

    pub fn not_found(plural: &str, group: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(plural, group));
        status(404, "NotFound", &message, details(name, group, plural))
    }

    /// The group is served, the resource in it is not.
    pub fn no_such_resource() -> Self {
        status(404, "NotFound", "the server could not find the requested resource", json!({}))
    }

    /// Nothing at all is served there: also the resources of a definition that is not installed.
    pub fn no_such_path() -> Self {
        Refusal { code: 404, body: Words::Plain("404 page not found\n"), retry_after: None }
    }

    pub fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        status(405, "MethodNotAllowed", message, json!({}))
    }

    pub fn unsupported_media_type() -> Self {
        status(415, "UnsupportedMediaType", "415: Unsupported Media Type", json!({}))
    }

    pub fn too_large(limit: usize) -> Self {
        let message = format!("Request entity too large: limit is {limit}");
        status(413, "RequestEntityTooLarge", &message, json!({}))
    }

    // === 409 ===

    /// The resourceVersion given is not the current one.
    pub fn modified(plural: &str, group: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Refusal::conflict(plural, group, name, why)
    }

    pub fn conflict(plural: &str, group: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", qualified(plural, group));
        status(409, "Conflict", &message, details(name, group, plural))
    }

    pub fn already_exists(plural: &str, group: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(plural, group));
        status(409, "AlreadyExists", &message, details(name, group, plural))
    }

    /// Server-side apply without force; `owned` holds (manager, apiVersion, field).
    pub fn apply_conflict(owned: &[(String, String, String)]) -> Self {
        let causes: Vec<Value> = owned
            .iter()
            .map(|(manager, version, field)| {
                let message = format!("conflict with \"{manager}\" using {version}");
                json!({"reason": "FieldManagerConflict", "message": message, "field": field})
            })
            .collect();
        let (manager, version, field) = &owned[0];
        let count = owned.len();
        let s = if count == 1 { "" } else { "s" };
        let message =
            format!("Apply failed with {count} conflict{s}: conflict with \"{manager}\" using {version}: {field}");
        status(409, "Conflict", &message, json!({"causes": causes}))
    }

    // === 410 ===

    /// Within a watch.
    pub fn watch_expired(asked: u64, oldest: u64) -> Self {
        status(410, "Expired", &format!("too old resource version: {asked} ({oldest})"), Value::Null)
    }

    pub fn list_expired() -> Self {
        status(410, "Expired", "The resourceVersion for the provided list is too old.", Value::Null)
    }

    pub fn continue_expired(token: &str) -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can start a \
            new list without the continue parameter, or use the continue token in this response to retrieve the \
            remainder of the results. Continuing with the provided token results in an inconsistent list - objects \
            that were created, modified, or deleted between the time the first chunk was returned and now may show up \
            in the list.";
        let mut refusal = status(410, "Expired", message, Value::Null);
        if let Words::Status(body) = &mut refusal.body {
            body["metadata"]["continue"] = token.into();
        }
        refusal
    }

    // === 422 ===

    /// `field`, and the sentence behind it ("Invalid value: -1: must be …"), with the cause's reason.
    pub fn invalid(kind: &str, group: &str, name: &str, reason: &str, field: &str, what: &str) -> Self {
        let message = format!("{} \"{name}\" is invalid: {field}: {what}", qualified(kind, group));
        let mut details = details(name, group, kind);
        details["causes"] = json!([{"reason": reason, "message": what, "field": field}]);
        status(422, "Invalid", &message, details)
    }

    /// A patch that does not fit the type.
    pub fn unfit_patch(patched: &Value, why: &str) -> Self {
        let what = format!("Invalid value: {}: {why}", Value::from(patched.to_string()));
        let causes = json!({"causes": [{"reason": "FieldValueInvalid", "message": what, "field": "patch"}]});
        status(422, "Invalid", &format!(" \"\" is invalid: patch: {what}"), causes)
    }

    /// A JSON patch whose test failed or whose path is not there.
    pub fn failed_json_patch() -> Self {
        status(422, "Invalid", "the server rejected our request due to an error in our request", json!({}))
    }

    // === 429 ===

    /// Too many requests in flight.
    pub fn too_many_requests(seconds: u64) -> Self {
        let text = "Too many requests, please try again later.\n";
        Refusal { code: 429, body: Words::Plain(text), retry_after: Some(seconds) }
    }

    /// A definition that was installed a moment ago.
    pub fn initializing() -> Self {
        let details = json!({"retryAfterSeconds": 1});
        let mut refusal = status(429, "TooManyRequests", "storage is (re)initializing", details);
        refusal.retry_after = Some(1);
        refusal
    }

    // === 5xx ===

    pub fn internal(why: &str) -> Self {
        let message = format!("Internal error occurred: {why}");
        status(500, "InternalError", &message, json!({"causes": [{"message": why}]}))
    }

    /// What is no number where a resourceVersion belongs.
    pub fn no_number(message: &str) -> Self {
        status(500, "", message, Value::Null)
    }

    pub fn unavailable() -> Self {
        let message = "the request has been made before all known HTTP paths have been installed, please try again";
        let mut refusal = status(503, "ServiceUnavailable", message, json!({"retryAfterSeconds": 5}));
        refusal.retry_after = Some(5);
        refusal
    }

    /// The storage did not answer a read: a Status without its kind, labelled as text.
    pub fn read_timeout() -> Self {
        let text = concat!(
            r#"{"metadata":{},"status":"Failure","message":"Timeout: request did not complete within the allotted "#,
            r#"timeout","reason":"Timeout","details":{},"code":504}"#
        );
        Refusal { code: 504, body: Words::Plain(text), retry_after: None }
    }

    /// The storage did not answer a write. (A real server says so after 34 seconds; see [`super::Effect::Delay`].)
    pub fn timeout() -> Self {
        let message = "Timeout: request did not complete within requested timeout - context deadline exceeded";
        status(504, "Timeout", message, json!({}))
    }

    /// A resourceVersion that is yet to come.
    pub fn from_the_future(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let causes = json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
        let mut refusal = status(504, "Timeout", &message, json!({"causes": causes, "retryAfterSeconds": 1}));
        refusal.retry_after = Some(1);
        refusal
    }
}
