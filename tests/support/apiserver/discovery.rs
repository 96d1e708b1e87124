//! What is served, for those who ask: both the old way, a request for each group, and the aggregated one.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::call::Call;
use super::errors::Refusal;
use super::kinds::Kind;
use super::store::Store;

pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// The answer, and whether it is aggregated.
pub fn answer(store: &Store, call: &Call) -> Result<(Value, bool), Refusal> {
    if call.method != "GET" {
        return Err(Refusal::no_such_path());
    }
    let kinds: Vec<&Kind> = store.tables.values().map(|table| &*table.kind).collect();
    let steps: Vec<&str> = call.path.split('/').filter(|step| !step.is_empty()).collect();
    let aggregated = call.wants_aggregated_discovery();
    let plain = |value: Value| Ok((value, false));
    match steps.as_slice() {
        ["version"] => plain(json!({"major": "1", "minor": "36", "gitVersion": "v1.36.2", "gitCommit": "scripted",
            "gitTreeState": "clean", "buildDate": "2026-08-21T00:00:00Z", "goVersion": "go1.26.6", "compiler": "gc",
            "platform": "linux/amd64"})),
        ["api"] if aggregated => Ok((aggregate(&kinds, true), true)),
        ["apis"] if aggregated => Ok((aggregate(&kinds, false), true)),
        ["api"] => plain(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let groups: Vec<Value> =
                groups(&kinds).into_iter().map(|(name, versions)| group(&name, &versions)).collect();
            plain(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["api", version] => plain(resources(&kinds, "", version)?),
        ["apis", name] => {
            let groups = groups(&kinds);
            let versions = groups.get(*name).ok_or_else(Refusal::no_such_path)?;
            let mut answer = group(name, versions);
            answer["kind"] = "APIGroup".into();
            answer["apiVersion"] = "v1".into();
            plain(answer)
        }
        ["apis", name, version] => plain(resources(&kinds, name, version)?),
        _ => Err(Refusal::no_such_path()),
    }
}

fn groups(kinds: &[&Kind]) -> BTreeMap<String, Vec<String>> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for kind in kinds.iter().filter(|kind| !kind.group.is_empty()) {
        let versions = groups.entry(kind.group.clone()).or_default();
        for version in &kind.versions {
            if !versions.contains(version) {
                versions.push(version.clone());
            }
        }
    }
    groups
}

fn group(name: &str, versions: &[String]) -> Value {
    let version = |version: &String| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": name, "versions": all, "preferredVersion": all[0]})
}

fn resources(kinds: &[&Kind], group: &str, version: &str) -> Result<Value, Refusal> {
    let here = kinds.iter().filter(|kind| kind.group == group && kind.versions.iter().any(|each| each == version));
    let all: Vec<Value> = here.flat_map(|kind| kind.resources()).collect();
    if all.is_empty() {
        return Err(Refusal::no_such_path());
    }
    let name = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    Ok(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": name, "resources": all}))
}

fn aggregate(kinds: &[&Kind], core: bool) -> Value {
    let groups = if core { BTreeMap::from([(String::new(), vec!["v1".to_owned()])]) } else { groups(kinds) };
    let item = |(name, versions): (String, Vec<String>)| {
        let version = |version: &String| {
            let here = kinds.iter().filter(|kind| kind.group == name && kind.versions.contains(version));
            let resources: Vec<Value> = here.map(|kind| kind.discovery(version)).collect();
            json!({"version": version, "resources": resources, "freshness": "Current"})
        };
        let metadata = if core { json!({}) } else { json!({"name": name}) };
        json!({"metadata": metadata, "versions": versions.iter().map(version).collect::<Vec<_>>()})
    };
    let items: Vec<Value> = groups.into_iter().map(item).collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}
