//! A request's way: recorded, admitted or refused, struck by a fault or not, carried out, answered.

use std::io;
use std::sync::Arc;

use http::{Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use serde_json::{Value, json};

use super::call::{Call, Target};
use super::errors::{Refusal, Words};
use super::faults::Effect;
use super::fields::Writer;
use super::kinds::Kind;
use super::rbac::Wish;
use super::record::Outcome;
use super::select::Selector;
use super::store::{Deleted, Key, Page, Store, Stored, now};
use super::watch::{Body, Watch};
use super::{Shared, admission, discovery, patch, scale};

/// An answer before it is one of HTTP.
pub struct Reply {
    code: u16,
    bytes: Bytes,
    content_type: &'static str,
    /// The object's revision, or the list's.
    rv: Option<u64>,
}

impl Reply {
    fn json(code: u16, bytes: impl Into<Bytes>, rv: Option<u64>) -> Self {
        Reply { code, bytes: bytes.into(), content_type: "application/json", rv }
    }
}

/// Bytes, as a real server has it.
const LARGEST_BODY: usize = 3 * 1024 * 1024;

pub async fn serve(shared: Arc<Shared>, client: Arc<str>, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let too_large = body.len() > LARGEST_BODY;
    let call = Call::read(&parts, if too_large { Bytes::new() } else { body });
    let number = shared.record.begin(call.entry(&client));
    if too_large {
        shared.record.change(number, |entry| entry.outcome = Outcome::Answered(413));
        return Ok(refused(&Refusal::too_large(LARGEST_BODY)));
    }
    // On a task of its own: what has arrived is carried out, whether its client still waits or not.
    tokio::spawn(answer(shared, client, call, number)).await.map_err(io::Error::other)?
}

async fn answer(shared: Arc<Shared>, client: Arc<str>, call: Call, number: usize) -> io::Result<Response<Body>> {
    let cut = || Err(io::Error::other("cut"));
    let outcome = |outcome| shared.record.change(number, |entry| entry.outcome = outcome);
    let (delay, effect) = shared.strike(number);
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match &effect {
        Some(Effect::Hang) => {
            outcome(Outcome::Hung);
            std::future::pending::<()>().await;
        }
        Some(Effect::Drop) => {
            outcome(Outcome::Dropped);
            return cut();
        }
        _ => {}
    }
    let result = match (admit(&shared, &call), effect.as_ref()) {
        (Err(refusal), _) => Err(refusal),
        (Ok(_), Some(Effect::Answer(refusal))) => Err(refusal.clone()),
        (Ok(_), Some(Effect::Modified)) => {
            let target = call.target.clone().unwrap_or_default();
            Err(Refusal::modified(&target.plural, &target.group, &target.name))
        }
        (Ok(()), _) if call.verb == "watch" => {
            let opened = open_watch(&shared, &client, &call);
            if let Ok((first, watch)) = opened {
                outcome(Outcome::Answered(200));
                return Ok(head(200, "application/json", None).body(watch.run(first)).unwrap());
            }
            Err(opened.err().unwrap())
        }
        (Ok(()), _) => {
            let mut store = shared.store();
            let before = store.rv;
            let reply = dispatch(&mut store, &call);
            let applied = store.rv != before;
            drop(store);
            let rv = reply.as_ref().ok().and_then(|reply| reply.rv);
            shared.record.change(number, |entry| (entry.applied, entry.rv) = (applied, rv));
            reply
        }
    };
    match effect {
        Some(Effect::DropAfter) => {
            outcome(Outcome::Dropped);
            return cut();
        }
        Some(Effect::HangAfter) => {
            outcome(Outcome::Hung);
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let response = match result {
        Ok(reply) => head(reply.code, reply.content_type, None).body(whole(reply.bytes)).unwrap(),
        Err(refusal) => refused(&refusal),
    };
    outcome(Outcome::Answered(response.status().as_u16()));
    Ok(response)
}

fn refused(refusal: &Refusal) -> Response<Body> {
    let content_type = match refusal.body {
        Words::Status(_) => "application/json",
        Words::Plain(_) => "text/plain; charset=utf-8",
    };
    head(refusal.code, content_type, refusal.retry_after).body(whole(refusal.bytes().into())).unwrap()
}

fn whole(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn head(code: u16, content_type: &str, retry_after: Option<u64>) -> http::response::Builder {
    let mut builder = Response::builder().status(StatusCode::from_u16(code).unwrap());
    builder = builder.header("Cache-Control", "no-cache, private").header("Content-Type", content_type);
    match retry_after {
        Some(seconds) => builder.header("Retry-After", seconds),
        None => builder,
    }
}

/// Who it is, and whether they may.
fn admit(shared: &Shared, call: &Call) -> Result<(), Refusal> {
    let (user, grants) = shared.user(&call.token).ok_or_else(Refusal::unauthorized)?;
    let (Some(grants), Some(target)) = (grants, &call.target) else { return Ok(()) };
    let resource = if target.subresource.is_empty() {
        target.plural.clone()
    } else {
        format!("{}/{}", target.plural, target.subresource)
    };
    // A list or a watch of one name counts as being about that name.
    let selector = Selector::parse("", call.query("fieldSelector")).unwrap_or_default();
    let name = if target.name.is_empty() { selector.name().unwrap_or_default() } else { &target.name };
    let (group, namespace) = (target.group.as_str(), target.namespace.as_str());
    let wish = Wish { verb: call.verb, group, resource: &resource, namespace, name };
    if grants.allow(&wish) {
        return Ok(());
    }
    let place =
        if namespace.is_empty() { "at the cluster scope".into() } else { format!("in the namespace \"{namespace}\"") };
    let Target { plural, subresource, name, .. } = target;
    Err(Refusal::forbidden(&user, call.verb, plural, subresource, group, name, &place))
}

/// The kind, or why there is none.
fn kind_of(store: &Store, target: &Target) -> Result<Arc<Kind>, Refusal> {
    let served = |kind: &Kind| kind.group == target.group && kind.versions.contains(&target.version);
    if let Some(kind) = store.kind(&target.group, &target.plural)
        && served(&kind)
    {
        return Ok(kind);
    }
    // A group that is served knows itself what it lacks; elsewhere nobody answers.
    let known = store.tables.values().any(|table| served(&table.kind));
    Err(if known { Refusal::no_such_resource() } else { Refusal::no_such_path() })
}

fn open_watch(shared: &Arc<Shared>, client: &str, call: &Call) -> Result<(Vec<Bytes>, Watch), Refusal> {
    let store = shared.store();
    let kind = kind_of(&store, call.target.as_ref().ok_or_else(Refusal::no_such_path)?)?;
    Watch::open(shared, &store, client, &kind, call)
}

fn dispatch(store: &mut Store, call: &Call) -> Result<Reply, Refusal> {
    let Some(target) = &call.target else {
        if matches!(call.path.as_str(), "/healthz" | "/livez" | "/readyz") {
            return Ok(Reply { code: 200, bytes: "ok".into(), content_type: "text/plain; charset=utf-8", rv: None });
        }
        return discovered(store, call);
    };
    let kind = kind_of(store, target)?;
    let key = (if kind.namespaced { target.namespace.clone() } else { String::new() }, target.name.clone());
    let writer = Writer {
        manager: call.manager(),
        operation: if call.content_type == APPLY { "Apply" } else { "Update" },
        subresource: target.subresource.clone(),
        api_version: kind.api_version(&target.version),
        time: now(),
    };
    match (target.subresource.as_str(), &kind.scale) {
        ("", _) => {}
        ("status", _) if kind.status => {}
        ("scale", Some(scale)) => return scaled(store, &kind, scale, &key, call, &writer),
        _ => return Err(Refusal::no_such_resource()),
    }
    let dry = call.is_dry();
    match call.verb {
        "get" => {
            let found = store.find(&kind, &key)?;
            check_not_ahead(store, call)?;
            Ok(object(200, call, &found))
        }
        "list" => list(store, &kind, call, target),
        "create" if target.name.is_empty() => {
            let body = admission::read(&kind, call, target)?;
            let made = store.create(&kind, &target.namespace, body, &writer, dry)?;
            Ok(object(201, call, &made))
        }
        "update" => {
            let body = admission::read(&kind, call, target)?;
            // Leases are created by a PUT, too.
            if kind.plural == "leases" && store.find(&kind, &key).is_err() {
                let made = store.create(&kind, &target.namespace, body, &writer, dry)?;
                return Ok(object(201, call, &made));
            }
            let made = store.update(&kind, &key, body, &writer, None, dry)?;
            Ok(object(200, call, &made))
        }
        "patch" => patched(store, &kind, &key, call, &writer),
        "delete" if target.subresource.is_empty() => {
            let options: Value = serde_json::from_slice(&call.body).unwrap_or_default();
            match store.delete(&kind, &key, &options["preconditions"], dry)? {
                Deleted::Terminating(held) => Ok(object(200, call, &held)),
                Deleted::Gone { uid } => {
                    let mut details = json!({"name": target.name, "kind": kind.plural, "uid": uid});
                    if !kind.group.is_empty() {
                        details["group"] = kind.group.clone().into();
                    }
                    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                        "details": details});
                    Ok(Reply::json(200, status.to_string(), Some(store.rv)))
                }
            }
        }
        _ => Err(Refusal::method_not_allowed()),
    }
}

fn discovered(store: &Store, call: &Call) -> Result<Reply, Refusal> {
    let (value, aggregated) = discovery::answer(store, call)?;
    let content_type = if aggregated { discovery::AGGREGATED } else { "application/json" };
    Ok(Reply { code: 200, bytes: value.to_string().into(), content_type, rv: None })
}

fn object(code: u16, call: &Call, stored: &Stored) -> Reply {
    let bytes = if call.wants_metadata() { stored.partial() } else { stored.full() };
    Reply::json(code, bytes, Some(stored.rv))
}

/// A resourceVersion that no write has had yet is waited for in vain.
fn check_not_ahead(store: &Store, call: &Call) -> Result<(), Refusal> {
    match call.query("resourceVersion").parse::<u64>() {
        Ok(asked) if asked > store.rv => Err(Refusal::from_the_future(asked, store.rv)),
        _ => Ok(()),
    }
}

fn list(store: &mut Store, kind: &Kind, call: &Call, target: &Target) -> Result<Reply, Refusal> {
    check_not_ahead(store, call)?;
    let selector = Selector::parse(call.query("labelSelector"), call.query("fieldSelector"))?;
    let limit = call.query("limit").parse().unwrap_or(0);
    let exact =
        call.query("resourceVersion").parse::<u64>().ok().filter(|_| call.query("resourceVersionMatch") == "Exact");
    if exact.is_some_and(|exact| exact != store.rv) {
        return Err(Refusal::list_expired());
    }
    let Page { items, rv, next, remaining } = match call.query("continue") {
        "" => store.list(kind, &target.namespace, &selector, limit),
        token => store.proceed(kind, &target.namespace, &selector, limit, token)?,
    };
    let mut metadata = json!({"resourceVersion": rv.to_string()});
    if let Some(next) = next {
        metadata["continue"] = next.into();
        metadata["remainingItemCount"] = remaining.into();
    }
    let partial = call.wants_metadata();
    let (api_version, name) = if partial {
        ("meta.k8s.io/v1".to_owned(), "PartialObjectMetadataList".to_owned())
    } else {
        (kind.api_version(&target.version), format!("{}List", kind.kind))
    };
    let start = format!(r#"{{"kind":"{name}","apiVersion":"{api_version}","metadata":{metadata},"items":["#);
    let mut bytes = start.into_bytes();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(&if partial { item.partial() } else { item.item(kind) });
    }
    bytes.extend_from_slice(b"]}");
    Ok(Reply::json(200, bytes, Some(rv)))
}

const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// The patch, and how to apply it to an object.
fn read_patch(kind: &Kind, call: &Call) -> Result<Value, Refusal> {
    let known = match call.content_type.as_str() {
        MERGE | JSON_PATCH | APPLY => true,
        STRATEGIC => !kind.custom,
        _ => false,
    };
    if !known {
        return Err(Refusal::unsupported_media_type());
    }
    let manager = call.manager();
    if manager.len() > 128 {
        let what = "Too long: may not be more than 128 bytes";
        let (reason, field) = ("FieldValueTooLong", "fieldManager");
        return Err(Refusal::invalid("PatchOptions", "meta.k8s.io", "", reason, field, what));
    }
    let wrong = |why: &str| Refusal::bad_request(&format!("error decoding patch: {why}"));
    let patch: Value = serde_json::from_slice(&call.body)
        .map_err(|error| wrong(if error.is_eof() { "unexpected end of JSON input" } else { "invalid character" }))?;
    if call.content_type != JSON_PATCH && !patch.is_object() {
        return Err(wrong("json: cannot unmarshal array into Go value of type map[string]interface {}"));
    }
    Ok(patch)
}

fn apply_to(target: &mut Value, patch: &Value, call: &Call) -> Result<(), Refusal> {
    if call.content_type == JSON_PATCH {
        return patch::json_patch(target, patch);
    }
    patch::merge(target, patch);
    Ok(())
}

fn patched(store: &mut Store, kind: &Arc<Kind>, key: &Key, call: &Call, writer: &Writer) -> Result<Reply, Refusal> {
    let patch = read_patch(kind, call)?;
    let applies = call.content_type == APPLY;
    let old = match store.find(kind, key) {
        Ok(old) => old,
        Err(_) if applies && writer.subresource.is_empty() => {
            let made = store.create(kind, &key.0, patch, writer, call.is_dry())?;
            return Ok(object(201, call, &made));
        }
        Err(refusal) => return Err(refusal),
    };
    let mut proposed = old.value.clone();
    apply_to(&mut proposed, &patch, call)?;
    admission::check(kind, &key.1, &proposed)?;
    let wish = applies.then(|| {
        let mut wish = patch.clone();
        if let Some(map) = wish.as_object_mut() {
            map.retain(
                |field, _| {
                    if kind.status { (field == "status") == (writer.subresource == "status") } else { true }
                },
            );
        }
        wish
    });
    let apply = wish.as_ref().map(|wish| (wish, call.flag("force")));
    let made = store.update(kind, key, proposed, writer, apply, call.is_dry())?;
    Ok(object(200, call, &made))
}

fn scaled(
    store: &mut Store,
    kind: &Arc<Kind>,
    paths: &super::kinds::Scale,
    key: &Key,
    call: &Call,
    writer: &Writer,
) -> Result<Reply, Refusal> {
    let parent = store.find(kind, key)?;
    let proposed = match call.verb {
        "get" => {
            let answer = scale::of(kind, paths, &parent)?;
            return Ok(Reply::json(200, answer.to_string(), Some(parent.rv)));
        }
        "update" => serde_json::from_slice(&call.body).map_err(|error| Refusal::bad_request(&error.to_string()))?,
        "patch" => {
            let patch = read_patch(kind, call)?;
            let mut proposed = scale::of(kind, paths, &parent)?;
            apply_to(&mut proposed, &patch, call)?;
            proposed
        }
        _ => return Err(Refusal::method_not_allowed()),
    };
    let apply = (call.content_type == APPLY).then(|| call.flag("force"));
    let made = scale::put(store, kind, paths, key, &proposed, writer, apply, call.is_dry())?;
    Ok(Reply::json(200, scale::of(kind, paths, &made)?.to_string(), Some(made.rv)))
}
