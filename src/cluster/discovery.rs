//! Which kinds the API server serves: from `apiVersion` and `kind`, as people write them, to a path, and whether it has
//! /scale.
//!
//! Asked for one group and version at a time, because that is all that is needed and every user may; what was found is
//! kept until somebody says that it is no longer true.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::core::{ApiResource, GroupVersionKind};
use kube::discovery::{self, Scope};

use crate::cluster::client::{CallError, Kube};

/// A kind that can be scaled, or watched at least.
#[derive(Clone, PartialEq, Debug)]
pub struct Kind {
    pub api: ApiResource,
    /// It has a /scale.
    pub scalable: bool,
    pub watchable: bool,
    /// Its replicas are where every built-in kind has them, so that a watch tells all there is to know.
    pub built_in: bool,
}

/// Why a kind cannot be used. Each with a sentence that says what helps.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    #[error(
        "the API server serves no {kind} in {api_version}; correct apiVersion and kind of spec.scaleTargetRef, or install \
         the CustomResourceDefinition"
    )]
    Unknown { api_version: String, kind: String },
    #[error("{api_version} {kind} lives in no namespace; only namespaced kinds can be scaled")]
    ClusterScoped { api_version: String, kind: String },
    #[error("the API server cannot be asked for kinds of {api_version}")]
    Failed {
        api_version: String,
        #[source]
        error: CallError,
    },
}

/// What was found so far.
pub struct Discovery {
    kube: Kube,
    known: Mutex<HashMap<(String, String), Arc<Kind>>>,
}

/// Served by every API server since 1.9: nobody need be asked.
const BUILT_IN: [(&str, &str); 3] =
    [("Deployment", "deployments"), ("StatefulSet", "statefulsets"), ("ReplicaSet", "replicasets")];

impl Discovery {
    #[must_use]
    pub fn new(kube: Kube) -> Self {
        let api = |kind: &str, plural: &str| ApiResource {
            group: "apps".into(),
            version: "v1".into(),
            api_version: "apps/v1".into(),
            kind: kind.into(),
            plural: plural.into(),
        };
        let known = BUILT_IN.map(|(kind, plural)| {
            let found = Kind { api: api(kind, plural), scalable: true, watchable: true, built_in: true };
            (("apps/v1".to_owned(), kind.to_owned()), Arc::new(found))
        });
        Discovery { kube, known: Mutex::new(known.into()) }
    }

    /// What is known already.
    #[must_use]
    pub fn known(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        self.lock().get(&(api_version.to_owned(), kind.to_owned())).cloned()
    }

    /// Asks the API server unless it is known.
    ///
    /// # Errors
    /// It is not served, or nobody answered.
    pub async fn kind(&self, api_version: &str, kind: &str) -> Result<Arc<Kind>, NotServed> {
        if let Some(known) = self.known(api_version, kind) {
            return Ok(known);
        }
        let unknown = || NotServed::Unknown { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        // Both end up in a path.
        let odd = |text: &str| !text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
        if version.is_empty() || odd(group) || odd(version) {
            return Err(unknown());
        }
        let wanted = GroupVersionKind::gvk(group, version, kind);
        let found = self.kube.bounded(discovery::pinned_kind(&self.kube.client, &wanted)).await;
        let (api, capabilities) = match found {
            Ok(found) => found,
            Err(CallError::Refused(status)) if status.code == 404 => return Err(unknown()),
            Err(CallError::Unreachable(error)) if matches!(*error, kube::Error::Discovery(_)) => return Err(unknown()),
            Err(error) => return Err(NotServed::Failed { api_version: api_version.to_owned(), error }),
        };
        if capabilities.scope == Scope::Cluster {
            return Err(NotServed::ClusterScoped { api_version: api_version.to_owned(), kind: kind.to_owned() });
        }
        let found = Arc::new(Kind {
            api,
            scalable: capabilities.subresources.iter().any(|(sub, _)| sub.plural == "scale"),
            watchable: capabilities.supports_operation("list") && capabilities.supports_operation("watch"),
            built_in: false,
        });
        self.lock().insert((api_version.to_owned(), kind.to_owned()), Arc::clone(&found));
        Ok(found)
    }

    /// It does not seem to be served any more, or not so.
    pub fn forget(&self, api_version: &str, kind: &str) {
        self.lock().retain(|(version, name), known| known.built_in || version != api_version || name != kind);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Arc<Kind>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
