//! `metadata.managedFields`: who set what. As a real server keeps it, but for two things that no client of ours looks
//! at: a list is one field, and the markers `.` of maps are left out.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// Between the steps of a path; no key of a manifest holds it.
const STEP: char = '\u{1f}';

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    pub manager: String,
    /// `Update` or `Apply`.
    pub operation: &'static str,
    pub subresource: String,
    pub api_version: String,
    /// Entries of `/scale` have none.
    pub time: Option<String>,
    fields: BTreeSet<String>,
}

/// Who writes, and how.
#[derive(Clone, Debug)]
pub struct Writer {
    pub manager: String,
    pub operation: &'static str,
    pub subresource: String,
    pub api_version: String,
    pub time: String,
}

impl Writer {
    fn is(&self, owner: &Owner) -> bool {
        owner.manager == self.manager
            && owner.operation == self.operation
            && owner.subresource == self.subresource
            && owner.api_version == self.api_version
    }

    fn time(&self) -> Option<String> {
        (self.subresource != "scale").then(|| self.time.clone())
    }

    fn entry(&self, fields: BTreeSet<String>) -> Owner {
        Owner {
            manager: self.manager.clone(),
            operation: self.operation,
            subresource: self.subresource.clone(),
            api_version: self.api_version.clone(),
            time: self.time(),
            fields,
        }
    }
}

/// What has no owner.
fn exempt(path: &str) -> bool {
    let mut steps = path.split(STEP);
    match steps.next() {
        Some("apiVersion" | "kind") => true,
        Some("metadata") => !matches!(steps.next(), Some("labels" | "annotations" | "finalizers" | "ownerReferences")),
        _ => false,
    }
}

fn below(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}{STEP}{key}") }
}

/// Every field of `value`.
fn leaves(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                leaves(value, &below(path, key), into);
            }
        }
        _ => {
            if !exempt(path) && !path.is_empty() {
                into.insert(path.to_owned());
            }
        }
    }
}

/// What of `new` is not so in `old`, and what of `old` is gone.
fn changes(old: &Value, new: &Value, path: &str, set: &mut BTreeSet<String>, gone: &mut BTreeSet<String>) {
    if old == new {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                match old.get(key) {
                    Some(before) => changes(before, value, &below(path, key), set, gone),
                    None => leaves(value, &below(path, key), set),
                }
            }
            for (key, value) in old {
                if !new.contains_key(key) {
                    leaves(value, &below(path, key), gone);
                }
            }
        }
        _ => {
            leaves(old, path, gone);
            leaves(new, path, set);
        }
    }
}

/// The owners after `writer` made `new` of `old` (null for a creation).
pub fn after(owners: &[Owner], old: &Value, new: &Value, writer: &Writer) -> Vec<Owner> {
    let (mut set, mut gone) = (BTreeSet::new(), BTreeSet::new());
    changes(old, new, "", &mut set, &mut gone);
    if writer.subresource == "scale" {
        return after_scale(owners, &set, new, writer);
    }
    hand_over(owners, &set, &gone, writer)
}

/// `/scale` is peculiar: what has no owner gets none by it, and a count of zero, which a Scale leaves out, loses the
/// one it had. So whatever went through zero by `/scale` has no owner until something else than `/scale` sets it, or
/// a server-side apply does.
fn after_scale(owners: &[Owner], set: &BTreeSet<String>, new: &Value, writer: &Writer) -> Vec<Owner> {
    let owned = |field: &String| owners.iter().any(|owner| owner.fields.contains(field));
    let zero = |field: &String| at(new, field).and_then(Value::as_i64) == Some(0);
    let tracked: BTreeSet<String> = set.iter().filter(|field| owned(field)).cloned().collect();
    let (lost, kept) = tracked.into_iter().partition(zero);
    hand_over(owners, &kept, &lost, writer)
}

/// The owners after `writer` applied `wish` (the whole of what it wants to own) with server-side apply.
///
/// # Errors
/// Without `force`: the fields that others own and that would change, as (manager, apiVersion, field).
pub fn after_apply(
    owners: &[Owner],
    old: &Value,
    wish: &Value,
    writer: &Writer,
    force: bool,
) -> Result<Vec<Owner>, Vec<(String, String, String)>> {
    let mut wished = BTreeSet::new();
    leaves(wish, "", &mut wished);
    let differs = |field: &String| at(old, field) != at(wish, field);
    let taken = owners.iter().filter(|owner| !writer.is(owner)).flat_map(|owner| {
        let fields = owner.fields.iter().filter(|field| wished.contains(*field) && differs(field));
        fields.map(|field| {
            let name = format!(".{}", field.replace(STEP, "."));
            (owner.manager.clone(), owner.api_version.clone(), name)
        })
    });
    let taken: Vec<_> = taken.collect();
    if !taken.is_empty() && !force {
        return Err(taken);
    }
    // Equal fields are shared; what differs changes hands; what is no longer wished is given up.
    let changed: BTreeSet<String> = wished.iter().filter(|field| differs(field)).cloned().collect();
    let mut all: Vec<Owner> = owners.iter().filter(|owner| !writer.is(owner)).cloned().collect();
    for owner in &mut all {
        owner.fields.retain(|field| !changed.contains(field));
    }
    all.push(writer.entry(wished));
    Ok(sorted(all))
}

fn at<'a>(value: &'a Value, field: &str) -> Option<&'a Value> {
    field.split(STEP).try_fold(value, |value, key| value.get(key))
}

fn hand_over(owners: &[Owner], set: &BTreeSet<String>, gone: &BTreeSet<String>, writer: &Writer) -> Vec<Owner> {
    if set.is_empty() && gone.is_empty() {
        return owners.to_vec();
    }
    let mut all = owners.to_vec();
    let mut mine = None;
    for owner in &mut all {
        if writer.is(owner) {
            owner.fields.retain(|field| !gone.contains(field));
            owner.fields.extend(set.iter().cloned());
            owner.time = writer.time();
            mine = Some(());
        } else {
            owner.fields.retain(|field| !gone.contains(field) && !set.contains(field));
        }
    }
    if mine.is_none() {
        all.push(writer.entry(set.clone()));
    }
    sorted(all)
}

/// Apply before Update, then by time; entries of `/scale`, which have none, come first.
fn sorted(mut owners: Vec<Owner>) -> Vec<Owner> {
    owners.retain(|owner| !owner.fields.is_empty());
    owners.sort_by(|one, other| (one.operation, &one.time).cmp(&(other.operation, &other.time)));
    owners
}

/// As `metadata.managedFields` has them.
pub fn to_json(owners: &[Owner]) -> Value {
    let entry = |owner: &Owner| {
        let mut fields = Map::new();
        for field in &owner.fields {
            let mut place = &mut fields;
            for step in field.split(STEP) {
                let inner = place.entry(format!("f:{step}")).or_insert_with(|| json!({}));
                place = inner.as_object_mut().unwrap();
            }
        }
        let mut entry = json!({
            "manager": owner.manager, "operation": owner.operation, "apiVersion": owner.api_version,
            "fieldsType": "FieldsV1", "fieldsV1": fields,
        });
        if !owner.subresource.is_empty() {
            entry["subresource"] = owner.subresource.clone().into();
        }
        if let Some(time) = &owner.time {
            entry["time"] = time.clone().into();
        }
        entry
    };
    owners.iter().map(entry).collect()
}
