//! Follows the pods that connections to pages of metrics name, and no others: one watch for each Service or selector, of
//! its namespace alone.
//!
//! Of a Service the EndpointSlices are watched, not the pods: they say by themselves which addresses are ready and what
//! its named ports are in each pod. Of a selector the pods are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod as KubePod;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::discovery::ApiResource;
use kube::runtime::watcher::{self, Event};
use serde_json::Value as Json;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::client::Kube;
use super::resources::{RawObject, Watched, watched_with};
use crate::model::{FoundPods, Pod};
use crate::spec::{PodPort, Pods, Which};

/// The label by which the slices of a Service are found.
const SERVICE: &str = "kubernetes.io/service-name";

/// Follows what is `wanted`, which is asked for anew at each of `changes`; `keep` is told of everything that is found.
pub async fn follow(
    kube: Kube,
    mut changes: watch::Receiver<u64>,
    wanted: impl Fn() -> Vec<(Pods, u64)>,
    keep: impl Fn(&Pods, FoundPods) + Clone + Send + Sync + 'static,
) {
    let mut followed: HashMap<(Pods, u64), AbortOnDropHandle<()>> = HashMap::new();
    let mut numbers = 0;
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        changes.mark_unchanged();
        let wanted = wanted();
        followed.retain(|need, _| wanted.contains(need));
        for need in wanted {
            let pods = need.0.clone();
            followed.entry(need).or_insert_with(|| {
                numbers += 1;
                let task = one(watch_of(&kube, &pods, numbers), pods, keep.clone());
                AbortOnDropHandle::new(tokio::spawn(task))
            });
        }
    }
}

fn watch_of(kube: &Kube, pods: &Pods, number: usize) -> impl Stream<Item = Watched> + Send + 'static {
    let (resource, selector) = match &pods.which {
        Which::Service(name) => (ApiResource::erase::<EndpointSlice>(&()), format!("{SERVICE}={name}")),
        Which::Selector(selector) => (ApiResource::erase::<KubePod>(&()), selector.clone()),
    };
    let config = watcher::Config::default().labels(&selector);
    watched_with(Api::namespaced_with(kube.client.clone(), &pods.namespace, &resource), config, number)
}

/// Follows the pods of one Connection until it is aborted.
async fn one(events: impl Stream<Item = Watched> + Send, pods: Pods, keep: impl Fn(&Pods, FoundPods) + Send + Sync) {
    let mut events = std::pin::pin!(events);
    // By the name of the slice or of the pod: what is known, and what the list that is arriving has.
    let mut known: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
    let mut arriving = BTreeMap::new();
    let mut complete = false;
    let mut refused: Option<u16> = None;
    while let Some(event) = events.next().await {
        match event {
            Ok(Event::Init) => arriving.clear(),
            Ok(Event::InitApply(object)) => drop(arriving.insert(name(&object), ready(&object, &pods))),
            Ok(Event::InitDone) => {
                known = std::mem::take(&mut arriving);
                complete = true;
            }
            Ok(Event::Apply(object)) => drop(known.insert(name(&object), ready(&object, &pods))),
            Ok(Event::Delete(object)) => drop(known.remove(&name(&object))),
            Err(error) => {
                let Some((code, sentence)) = refusal(&error, &pods) else { continue };
                if refused.replace(code) != Some(code) {
                    tracing::warn!(
                        namespace = %pods.namespace,
                        reason = %sentence,
                        "pods cannot be followed; tried again until they can"
                    );
                }
                // Who was there a moment ago is asked on.
                if !complete {
                    keep(&pods, FoundPods::Missing(sentence));
                }
                continue;
            }
        }
        if complete {
            refused = None;
            keep(&pods, FoundPods::Ready(all(&known)));
        }
    }
}

/// Each pod once, though it may be in two slices while it moves from one to the other.
fn all(known: &BTreeMap<String, Vec<Pod>>) -> Arc<[Pod]> {
    let mut all: Vec<Pod> = known.values().flatten().cloned().collect();
    all.sort_by(|one, other| (&one.name, &one.address).cmp(&(&other.name, &other.address)));
    all.dedup();
    all.into()
}

fn name(object: &RawObject) -> String {
    object.object.pointer("/metadata/name").and_then(Json::as_str).unwrap_or_default().to_owned()
}

/// The ready pods that an object tells of.
fn ready(object: &RawObject, pods: &Pods) -> Vec<Pod> {
    match pods.which {
        Which::Service(_) => of_slice(&object.object, &pods.port),
        Which::Selector(_) => of_pod(&object.object, &pods.port).into_iter().collect(),
    }
}

fn of_slice(slice: &Json, port: &PodPort) -> Vec<Pod> {
    let port = match port {
        PodPort::Number(number) => Some(*number),
        PodPort::Name(name) => entries(slice, "/ports").find(|port| port["name"] == **name).and_then(|port| {
            let number = port.get("port")?.as_u64()?;
            u16::try_from(number).ok()
        }),
    };
    let Some(port) = port else { return Vec::new() };
    let pod = |endpoint: &Json| {
        // What is not said is ready, by the API's own words.
        if endpoint.pointer("/conditions/ready").is_some_and(|ready| ready == &Json::Bool(false)) {
            return None;
        }
        let address = entries(endpoint, "/addresses").next()?.as_str()?;
        let name = endpoint.pointer("/targetRef/name").and_then(Json::as_str).unwrap_or(address);
        Some(Pod { name: name.into(), address: joined(address, port) })
    };
    entries(slice, "/endpoints").filter_map(pod).collect()
}

fn of_pod(pod: &Json, port: &PodPort) -> Option<Pod> {
    let is_ready = entries(pod, "/status/conditions")
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    if !is_ready || pod.pointer("/metadata/deletionTimestamp").is_some_and(|at| !at.is_null()) {
        return None;
    }
    let port = match port {
        PodPort::Number(number) => *number,
        PodPort::Name(name) => {
            let ports = entries(pod, "/spec/containers").flat_map(|container| entries(container, "/ports"));
            let number =
                ports.filter(|port| port["name"] == **name).find_map(|port| port.get("containerPort")?.as_u64());
            u16::try_from(number?).ok()?
        }
    };
    let address = pod.pointer("/status/podIP")?.as_str()?;
    let name = pod.pointer("/metadata/name")?.as_str()?;
    Some(Pod { name: name.into(), address: joined(address, port) })
}

fn entries<'a>(of: &'a Json, path: &str) -> impl Iterator<Item = &'a Json> {
    of.pointer(path).and_then(Json::as_array).into_iter().flatten()
}

fn joined(host: &str, port: u16) -> Arc<str> {
    if host.contains(':') { format!("[{host}]:{port}").into() } else { format!("{host}:{port}").into() }
}

/// What the server will not have. That it cannot be reached, or has to be asked anew, is no news about pods.
fn refusal(error: &watcher::Error, pods: &Pods) -> Option<(u16, Arc<str>)> {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchError(status)) = error
    else {
        return None;
    };
    let namespace = &pods.namespace;
    let sentence = match status.code {
        403 => {
            let resource = match pods.which {
                Which::Service(_) => "endpointslices (discovery.k8s.io)",
                Which::Selector(_) => "pods",
            };
            format!(
                "tidegate may not list and watch {resource} in namespace {namespace}; grant that (tidegate crd --rbac \
                 prints the whole of it)"
            )
        }
        400..=499 if status.code != 410 && status.code != 429 => {
            let said: String = status.message.chars().take(200).collect();
            format!("pods of namespace {namespace}: the API server says {} {said}", status.code)
        }
        _ => return None,
    };
    Some((status.code, sentence.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(name: &str, address: &str) -> Pod {
        Pod { name: name.into(), address: address.into() }
    }

    #[test]
    fn ready_endpoints_of_a_slice_are_pods_with_the_ports_of_its_own() {
        let slice = json!({
            "ports": [{ "name": "web", "port": 80 }, { "name": "metrics", "port": 9102 }],
            "endpoints": [
                { "addresses": ["10.0.0.1"], "conditions": { "ready": true }, "targetRef": { "name": "w-1" } },
                { "addresses": ["10.0.0.2"], "conditions": { "ready": false }, "targetRef": { "name": "w-2" } },
                { "addresses": ["fd00::3"], "conditions": {} },
                { "addresses": [] },
            ],
        });
        let named = of_slice(&slice, &PodPort::Name("metrics".into()));
        assert_eq!(named, [pod("w-1", "10.0.0.1:9102"), pod("fd00::3", "[fd00::3]:9102")]);
        assert_eq!(of_slice(&slice, &PodPort::Number(7)).len(), 2);
        assert_eq!(of_slice(&slice, &PodPort::Name("other".into())), []);
        assert_eq!(of_slice(&json!({ "endpoints": null }), &PodPort::Number(7)), []);
    }

    #[test]
    fn a_pod_counts_while_it_is_ready_and_stays() {
        let ready = json!({
            "metadata": { "name": "w-1" },
            "spec": { "containers": [{ "ports": [{ "name": "web", "containerPort": 80 }] },
                                     { "ports": [{ "name": "metrics", "containerPort": 9102 }] }] },
            "status": { "podIP": "10.0.0.1", "conditions": [{ "type": "Ready", "status": "True" }] },
        });
        let metrics = PodPort::Name("metrics".into());
        assert_eq!(of_pod(&ready, &metrics), Some(pod("w-1", "10.0.0.1:9102")));
        assert_eq!(of_pod(&ready, &PodPort::Number(7)), Some(pod("w-1", "10.0.0.1:7")));
        for (path, value) in [
            ("/status/conditions/0/status", json!("False")),
            ("/status/podIP", Json::Null),
            ("/spec/containers/1/ports/0/name", json!("other")),
        ] {
            let mut odd = ready.clone();
            *odd.pointer_mut(path).unwrap() = value;
            assert_eq!(of_pod(&odd, &metrics), None, "{path}");
        }
        let mut leaving = ready;
        *leaving.pointer_mut("/metadata").unwrap() =
            json!({ "name": "w-1", "deletionTimestamp": "2026-01-01T00:00:00Z" });
        assert_eq!(of_pod(&leaving, &metrics), None);
    }
}
