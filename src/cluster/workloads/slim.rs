//! A workload as far as it matters here, and nothing else of it: ten thousand Deployments must not be ten thousand pod
//! templates in memory.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::Resource;
use kube::core::{ApiResource, DynamicResourceScope};
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::cluster::client::FIELD_MANAGER;
use crate::model::{Replicas, SetBy};

/// One object of a watch. Of its metadata only what is read here is there. With `META` the server is asked for
/// metadata alone, which is all that is known in advance of an object of a kind of somebody else's.
#[derive(Clone, Debug)]
pub(super) struct Slim<const META: bool> {
    meta: ObjectMeta,
    /// Asked for and ready; `None` with `META`.
    pub(super) counts: Option<(Replicas, Replicas)>,
    pub(super) set_by: SetBy,
}

#[derive(Deserialize)]
struct Raw {
    metadata: RawMeta,
    #[serde(default)]
    spec: Option<RawSpec>,
    #[serde(default)]
    status: Option<RawStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawMeta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    deletion_timestamp: Option<Time>,
    #[serde(default)]
    managed_fields: Vec<RawManager>,
}

#[derive(Deserialize)]
struct RawSpec {
    replicas: Option<Replicas>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawStatus {
    ready_replicas: Option<Replicas>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManager {
    manager: Option<String>,
    subresource: Option<String>,
    fields_v1: Option<RawFields>,
}

#[derive(Deserialize)]
struct RawFields {
    #[serde(rename = "f:spec")]
    spec: Option<RawSpecFields>,
}

#[derive(Deserialize)]
struct RawSpecFields {
    #[serde(rename = "f:replicas")]
    replicas: Option<IgnoredAny>,
}

impl RawManager {
    /// Through /scale nothing but the count can be written, under whatever name a kind of somebody else's keeps it;
    /// and the entry of a manager loses what another one changes.
    fn owns_the_count(&self) -> bool {
        let Some(fields) = &self.fields_v1 else { return false };
        let counts = fields.spec.as_ref().is_some_and(|spec| spec.replicas.is_some());
        counts || self.subresource.as_deref() == Some("scale") && fields.spec.is_some()
    }

    fn is_ours(&self) -> bool {
        self.manager.as_deref() == Some(FIELD_MANAGER)
    }
}

impl<'de, const META: bool> Deserialize<'de> for Slim<META> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw { metadata, spec, status } = Raw::deserialize(deserializer)?;
        let mut owners = metadata.managed_fields.iter().filter(|entry| entry.owns_the_count()).peekable();
        // Nobody is somebody else: `kubectl scale --replicas=0` leaves no owner of the count behind, and we always do.
        // Except in a custom resource, which forgets whoever set a zero, and may keep its count under another name.
        let nobody = owners.peek().is_none();
        let set_by = if META && nobody {
            SetBy::Unknown
        } else if owners.any(RawManager::is_ours) {
            SetBy::Tidegate
        } else {
            SetBy::Other
        };
        // Absent is one here (in a Scale it is none).
        let replicas = spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let ready = status.and_then(|status| status.ready_replicas).unwrap_or(0);
        Ok(Slim {
            meta: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                generation: metadata.generation,
                deletion_timestamp: metadata.deletion_timestamp,
                ..ObjectMeta::default()
            },
            counts: (!META).then_some((replicas, ready)),
            set_by,
        })
    }
}

impl<const META: bool> Resource for Slim<META> {
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

    fn api_version(api: &ApiResource) -> Cow<'_, str> {
        api.api_version.as_str().into()
    }

    fn plural(api: &ApiResource) -> Cow<'_, str> {
        api.plural.as_str().into()
    }

    fn metadata_api() -> bool {
        META
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(entries: &str) -> SetBy {
        let text = format!(r#"{{"metadata": {{"name": "a", "managedFields": [{entries}]}}, "spec": {{}}}}"#);
        serde_json::from_str::<Slim<false>>(&text).unwrap().set_by
    }

    fn entry(manager: &str, operation: &str, subresource: &str, fields: &str) -> String {
        let subresource =
            if subresource.is_empty() { String::new() } else { format!(r#","subresource":"{subresource}""#) };
        format!(
            r#"{{"manager":"{manager}","operation":"{operation}","apiVersion":"apps/v1","fieldsType":"FieldsV1",
            "fieldsV1":{fields}{subresource}}}"#
        )
    }

    #[test]
    fn whose_count_it_is() {
        let count = r#"{"f:spec":{"f:replicas":{}}}"#;
        let template = r#"{"f:spec":{"f:template":{"f:spec":{"f:replicas":{}}}}}"#;
        assert_eq!(owner(&entry("tidegate", "Apply", "scale", count)), SetBy::Tidegate);
        assert_eq!(owner(&entry("tidegate", "Update", "scale", count)), SetBy::Tidegate);
        assert_eq!(owner(&entry("kubectl", "Update", "scale", count)), SetBy::Other);
        assert_eq!(owner(""), SetBy::Other, "kubectl scale to zero leaves no owner");
        let both = [entry("kubectl", "Update", "", template), entry("tidegate", "Apply", "scale", count)].join(",");
        assert_eq!(owner(&both), SetBy::Tidegate);
        // A custom resource that keeps its count elsewhere, and what else of it may be ours.
        assert_eq!(owner(&entry("tidegate", "Update", "scale", r#"{"f:spec":{"f:max":{}}}"#)), SetBy::Tidegate);
        assert_eq!(owner(&entry("tidegate", "Update", "status", r#"{"f:status":{"f:n":{}}}"#)), SetBy::Other);
        assert_eq!(owner(&entry("tidegate", "Update", "", r#"{"f:metadata":{"f:labels":{}}}"#)), SetBy::Other);
    }

    #[test]
    fn only_what_matters_is_kept() {
        let text = r#"{"apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 3,
                "labels": {"x": "y"}, "annotations": {"big": "text"}},
            "spec": {"replicas": 4, "template": {"spec": {"containers": []}}}, "status": {"replicas": 4, "readyReplicas": 2}}"#;
        let object: Slim<false> = serde_json::from_str(text).unwrap();
        assert_eq!((object.counts, object.meta.generation), (Some((4, 2)), Some(3)));
        assert_eq!((object.meta.labels, object.meta.annotations), (None, None));
        let object: Slim<true> = serde_json::from_str(r#"{"metadata": {"name": "a"}}"#).unwrap();
        assert_eq!((object.counts, object.set_by), (None, SetBy::Unknown));
        let object: Slim<false> = serde_json::from_str(r#"{"metadata": {"name": "a"}, "spec": {}}"#).unwrap();
        assert_eq!(object.counts, Some((1, 0)), "absent is one");
    }
}
