//! Where the Lease is kept. Every write is compare-and-swap: a Lease goes out with the resourceVersion that it was read
//! with, and a server that has another by then refuses it.

use std::future::Future;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::{PostParams, WatchEvent, WatchParams};

use super::Settings;
use crate::cluster::client::{CallError, FIELD_MANAGER, Kube};

/// Why a call came to nothing: one variant for each thing to do about it.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// Somebody else has written since: read again.
    #[error("{0}")]
    Conflict(String),
    /// There is no such Lease, or no such namespace.
    #[error("{0}")]
    Missing(String),
    #[error("{0}")]
    Forbidden(String),
    /// Refused for another reason: nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// Whether anything was changed is not known: read again.
    #[error("{0}")]
    Unknown(String),
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        let message = error.to_string();
        match error.code() {
            Some(404) => StoreError::Missing(message),
            Some(409) => StoreError::Conflict(message),
            Some(401 | 403) => StoreError::Forbidden(message),
            Some(400..=499) => StoreError::Refused(message),
            // A server that fails, or one before it that gave up, may have written first.
            Some(_) | None => StoreError::Unknown(message),
        }
    }
}

/// What a watch tells.
#[derive(Debug)]
pub(super) enum News {
    Lease(Box<Lease>),
    Deleted,
    /// Nothing new, and the watch works.
    Alive,
    /// No more will come.
    Ended,
}

pub(super) trait Store: Send + Sync {
    /// The Lease, if there is one.
    fn read(&self) -> impl Future<Output = Result<Option<Lease>, StoreError>> + Send;

    /// Fails if there is one.
    fn create(&self, lease: &Lease) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Fails if it has another resourceVersion than `lease`.
    fn replace(&self, lease: &Lease) -> impl Future<Output = Result<Lease, StoreError>> + Send;

    /// Everything that happens to it after `version`.
    fn watch(&self, version: &str) -> impl Future<Output = Result<BoxStream<'static, News>, StoreError>> + Send;
}

/// In the API server.
pub(super) struct KubeStore {
    kube: Kube,
    leases: Api<Lease>,
    name: String,
    how: PostParams,
}

impl KubeStore {
    pub(super) fn new(kube: &Kube, settings: &Settings) -> Self {
        KubeStore {
            kube: kube.clone(),
            leases: Api::namespaced(kube.client.clone(), &settings.namespace),
            name: settings.name.clone(),
            how: PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() },
        }
    }
}

impl Store for KubeStore {
    async fn read(&self) -> Result<Option<Lease>, StoreError> {
        Ok(self.kube.bounded(self.leases.get_opt(&self.name)).await?)
    }

    async fn create(&self, lease: &Lease) -> Result<Lease, StoreError> {
        Ok(self.kube.bounded(self.leases.create(&self.how, lease)).await?)
    }

    async fn replace(&self, lease: &Lease) -> Result<Lease, StoreError> {
        Ok(self.kube.bounded(self.leases.replace(&self.name, &self.how, lease)).await?)
    }

    async fn watch(&self, version: &str) -> Result<BoxStream<'static, News>, StoreError> {
        // Of this one name: that is what a Role can be narrowed to by resourceNames.
        let which = WatchParams::default().fields(&format!("metadata.name={}", self.name));
        let events = self.kube.bounded(self.leases.watch(&which, version)).await?;
        let news = events.map(|event| match event {
            Ok(WatchEvent::Added(lease) | WatchEvent::Modified(lease)) => News::Lease(Box::new(lease)),
            Ok(WatchEvent::Deleted(_)) => News::Deleted,
            Ok(WatchEvent::Bookmark(_)) => News::Alive,
            Ok(WatchEvent::Error(_)) | Err(_) => News::Ended,
        });
        Ok(news.boxed())
    }
}
