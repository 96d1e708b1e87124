//! Watches of whoever may own workloads, decoded as far as that matters.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::Api;
use kube::core::{ApiResource, DynamicResourceScope};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde::{Deserialize, Deserializer};
use tokio::sync::mpsc;

use super::KEDA;
use crate::cluster::client::Kube;
use crate::cluster::discovery::Kind;
use crate::cluster::workloads::{WorkloadRef, watch as reading};
use crate::spec::TargetRef;

pub(super) const HPA: &str = "HorizontalPodAutoscaler";

/// Who owns a workload. KEDA's own HPA is its ScaledObject.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Master {
    /// The less, the more to the point: a ScaledObject before an HPA.
    rank: u8,
    /// As a person would name it: `HorizontalPodAutoscaler shop/orders`.
    pub(super) name: Arc<str>,
}

/// What a watch says.
pub(super) enum Said {
    Stands {
        kind: &'static str,
        namespace: Arc<str>,
        name: Arc<str>,
        /// `None` where it names none.
        workload: Option<WorkloadRef>,
        master: Master,
        /// Of the list that showed it; later ones are greater.
        round: u64,
    },
    Gone {
        kind: &'static str,
        namespace: Arc<str>,
        name: Arc<str>,
    },
    /// Complete: what was shown in an earlier round only is gone.
    Listed {
        kind: &'static str,
        namespace: Arc<str>,
        round: u64,
    },
    Fails {
        kind: &'static str,
        namespace: Arc<str>,
        why: String,
        /// Nothing changes that but a person.
        for_good: bool,
        /// There is no such kind, so there are no objects of it.
        not_served: bool,
    },
}

/// An HPA or a ScaledObject, as far as it matters.
#[derive(Clone, Debug)]
struct Slim {
    meta: ObjectMeta,
    target: Option<TargetRef>,
    /// The ScaledObject that an HPA belongs to.
    scaled_object: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    metadata: RawMeta,
    #[serde(default)]
    spec: RawSpec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta {
    name: Option<String>,
    namespace: Option<String>,
    resource_version: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    owner_references: Vec<RawOwner>,
}

#[derive(Deserialize)]
struct RawOwner {
    kind: String,
    name: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct RawSpec {
    scale_target_ref: Option<RawTarget>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTarget {
    api_version: Option<String>,
    kind: Option<String>,
    name: String,
}

impl<'de> Deserialize<'de> for Slim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw { metadata, spec } = Raw::deserialize(deserializer)?;
        let owner = metadata.owner_references.into_iter().find(|owner| owner.kind == KEDA.1).map(|owner| owner.name);
        let label = || metadata.labels.get("scaledobject.keda.sh/name").cloned();
        Ok(Slim {
            scaled_object: owner.or_else(label),
            meta: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                resource_version: metadata.resource_version,
                ..ObjectMeta::default()
            },
            // A ScaledObject may leave out what is a Deployment.
            target: spec.scale_target_ref.map(|target| TargetRef {
                api_version: target.api_version.filter(|v| !v.is_empty()).unwrap_or_else(|| "apps/v1".into()),
                kind: target.kind.filter(|kind| !kind.is_empty()).unwrap_or_else(|| "Deployment".into()),
                name: target.name,
            }),
        })
    }
}

impl Resource for Slim {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(api: &ApiResource) -> Cow<'_, str> {
        api.kind.as_str().into()
    }

    fn group(api: &ApiResource) -> Cow<'_, str> {
        api.group.as_str().into()
    }

    fn version(api: &ApiResource) -> Cow<'_, str> {
        api.version.as_str().into()
    }

    fn plural(api: &ApiResource) -> Cow<'_, str> {
        api.plural.as_str().into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

pub(super) async fn watch_hpas(kube: Kube, namespace: Arc<str>, heard: mpsc::Sender<Said>) {
    let api = ApiResource {
        group: "autoscaling".into(),
        version: "v2".into(),
        api_version: "autoscaling/v2".into(),
        kind: HPA.into(),
        plural: "horizontalpodautoscalers".into(),
    };
    listen(kube, &api, HPA, namespace, heard).await;
}

pub(super) async fn watch_scaled_objects(kube: Kube, kind: Arc<Kind>, namespace: Arc<str>, heard: mpsc::Sender<Said>) {
    listen(kube, &kind.api, KEDA.1, namespace, heard).await;
}

async fn listen(kube: Kube, api: &ApiResource, kind: &'static str, namespace: Arc<str>, heard: mpsc::Sender<Said>) {
    let api: Api<Slim> = if namespace.is_empty() {
        Api::all_with(kube.client, api)
    } else {
        Api::namespaced_with(kube.client, &namespace, api)
    };
    let mut events = pin!(watcher(api, watcher::Config::default()).default_backoff());
    let mut round = 0;
    while let Some(event) = events.next().await {
        let said = match event {
            Ok(Event::Init) => {
                round += 1;
                continue;
            }
            Ok(Event::InitApply(object) | Event::Apply(object)) => stands(kind, &object, round),
            Ok(Event::InitDone) => Some(Said::Listed { kind, namespace: Arc::clone(&namespace), round }),
            Ok(Event::Delete(object)) => named(&object).map(|(namespace, name)| Said::Gone { kind, namespace, name }),
            Err(error) => Some(Said::Fails {
                kind,
                namespace: Arc::clone(&namespace),
                why: reading::said(&error),
                for_good: reading::is_forbidden(&error) || reading::is_not_served(&error),
                not_served: reading::is_not_served(&error),
            }),
        };
        if let Some(said) = said
            && heard.send(said).await.is_err()
        {
            return;
        }
    }
}

fn named(object: &Slim) -> Option<(Arc<str>, Arc<str>)> {
    Some((object.meta.namespace.as_deref()?.into(), object.meta.name.as_deref()?.into()))
}

fn stands(kind: &'static str, object: &Slim, round: u64) -> Option<Said> {
    let (namespace, name) = named(object)?;
    let workload = object.target.as_ref().map(|target| WorkloadRef::new(&namespace, target));
    let scaled_object = if kind == HPA { object.scaled_object.as_deref() } else { Some(&*name) };
    let master = match scaled_object {
        Some(name) => Master { rank: 0, name: format!("{} {namespace}/{name}", KEDA.1).into() },
        None => Master { rank: 1, name: format!("{kind} {namespace}/{name}").into() },
    };
    Some(Said::Stands { kind, namespace, name, workload, master, round })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(kind: &'static str, text: &str) -> (String, String) {
        match stands(kind, &serde_json::from_str(text).unwrap(), 1) {
            Some(Said::Stands { workload: Some(workload), master, .. }) => {
                (format!("{} {workload}", workload.group), master.name.to_string())
            }
            _ => panic!("{text}"),
        }
    }

    #[test]
    fn who_owns_what() {
        let target = r#""spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "w"}}"#;
        let meta = |more: &str| format!(r#"{{"metadata": {{"name": "h", "namespace": "shop"{more}}}, {target}}}"#);
        let workload = "apps StatefulSet shop/w".to_owned();
        assert_eq!(says(HPA, &meta("")), (workload.clone(), "HorizontalPodAutoscaler shop/h".into()));
        let keda = r#", "ownerReferences": [{"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "name": "so"}]"#;
        assert_eq!(says(HPA, &meta(keda)), (workload.clone(), "ScaledObject shop/so".into()));
        let label = r#", "labels": {"scaledobject.keda.sh/name": "so"}"#;
        assert_eq!(says(HPA, &meta(label)), (workload, "ScaledObject shop/so".into()));
        let bare = r#"{"metadata": {"name": "so", "namespace": "shop"}, "spec": {"scaleTargetRef": {"name": "w"}}}"#;
        assert_eq!(says(KEDA.1, bare), ("apps Deployment shop/w".into(), "ScaledObject shop/so".into()));
    }
}
