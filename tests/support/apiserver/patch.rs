//! Patches: merge (RFC 7396) and JSON patch (RFC 6902) as far as clients of ours go (add, remove, replace, test).
//! A strategic merge patch is taken for a merge patch, which it is wherever it names no list.

use serde_json::{Map, Value};

use super::errors::Refusal;

pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

pub fn json_patch(target: &mut Value, operations: &Value) -> Result<(), Refusal> {
    let operations = operations.as_array().ok_or_else(|| Refusal::bad_request("a JSON patch is an array"))?;
    for operation in operations {
        let text = |name: &str| operation[name].as_str().unwrap_or_default();
        let done = match text("op") {
            "add" => put(target, text("path"), operation["value"].clone(), true),
            "replace" => put(target, text("path"), operation["value"].clone(), false),
            "remove" => take(target, text("path")),
            "test" => (target.pointer(text("path")) == Some(&operation["value"])).then_some(()),
            other => return Err(Refusal::bad_request(&format!("unexpected kind of operation: {other}"))),
        };
        done.ok_or_else(Refusal::failed_json_patch)?;
    }
    Ok(())
}

fn parent<'a>(target: &'a mut Value, path: &str) -> Option<(&'a mut Value, String)> {
    let (parent, last) = path.rsplit_once('/')?;
    Some((target.pointer_mut(parent)?, last.replace("~1", "/").replace("~0", "~")))
}

fn put(target: &mut Value, path: &str, value: Value, new: bool) -> Option<()> {
    let (parent, last) = parent(target, path)?;
    match parent {
        Value::Object(map) if new || map.contains_key(&last) => {
            map.insert(last, value);
        }
        Value::Array(list) if new && last == "-" => list.push(value),
        Value::Array(list) => {
            let index: usize = last.parse().ok()?;
            if new && index <= list.len() {
                list.insert(index, value);
            } else {
                *list.get_mut(index)? = value;
            }
        }
        _ => return None,
    }
    Some(())
}

fn take(target: &mut Value, path: &str) -> Option<()> {
    let (parent, last) = parent(target, path)?;
    match parent {
        Value::Object(map) => map.remove(&last).map(drop),
        Value::Array(list) => {
            let index: usize = last.parse().ok()?;
            (index < list.len()).then(|| drop(list.remove(index)))
        }
        _ => None,
    }
}
