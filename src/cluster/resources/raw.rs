//! An object as it came, whatever it is: decoding one can never fail, because a list with one odd object in it would
//! fail as a whole.

use std::borrow::Cow;
use std::fmt;

use kube::api::ObjectMeta;
use kube::core::DynamicResourceScope;
use kube::discovery::ApiResource;
use kube::{Api, Client};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use crate::spec::catalog::Kind;
use crate::spec::manifest::{ClusterConnection, Connection, QueueAutoscaler};

/// What it is, and of its metadata what watching takes.
#[derive(Clone)]
pub(in crate::cluster) struct Raw {
    pub(in crate::cluster) object: Json,
    pub(super) metadata: ObjectMeta,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Json::deserialize(deserializer)?;
        let text = |name: &str| object.get("metadata")?.get(name)?.as_str().map(str::to_owned);
        let metadata = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Raw { object, metadata })
    }
}

/// Without what it holds: that may be a secret.
impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Raw").field("namespace", &self.metadata.namespace).field("name", &self.metadata.name).finish()
    }
}

impl kube::Resource for Raw {
    type DynamicType = ApiResource;
    type Scope = DynamicResourceScope;

    fn kind(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.kind)
    }

    fn group(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.group)
    }

    fn version(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.version)
    }

    fn api_version(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.api_version)
    }

    fn plural(of: &ApiResource) -> Cow<'_, str> {
        Cow::Borrowed(&of.plural)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

pub(super) fn resource(kind: Kind) -> ApiResource {
    match kind {
        Kind::QueueAutoscaler => ApiResource::erase::<QueueAutoscaler>(&()),
        Kind::Connection => ApiResource::erase::<Connection>(&()),
        Kind::ClusterConnection => ApiResource::erase::<ClusterConnection>(&()),
    }
}

pub(super) fn api(client: Client, kind: Kind, namespace: Option<&str>) -> Api<Raw> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &resource(kind)),
        None => Api::all_with(client, &resource(kind)),
    }
}
