//! Why custom resources cannot be followed, and what helps.

use std::sync::Arc;

use kube::runtime::watcher;

use super::raw;
use crate::spec::catalog::Kind;

/// What keeps one watch from going on.
pub(super) struct Trouble {
    class: Class,
    sentence: Arc<str>,
    pub(super) said: bool,
    /// In a row.
    failures: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// The kind is not installed.
    NoSuchKind,
    Forbidden,
    Refused(u16),
    Unreachable,
}

impl Trouble {
    /// `None`: part of every watch's life.
    pub(super) fn of(kind: Kind, namespace: Option<&str>, error: &watcher::Error) -> Option<Self> {
        let resource = raw::resource(kind);
        let resource = format!("{}.{}", resource.plural, resource.group);
        let within = namespace
            .map_or_else(|| " in the whole cluster".to_owned(), |namespace| format!(" in namespace {namespace}"));
        let status = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status))
            | watcher::Error::WatchFailed(kube::Error::Api(status))
            | watcher::Error::WatchError(status) => Some(status),
            _ => None,
        };
        let (class, sentence) = match status.map(|status| status.code) {
            // It lists anew, at once.
            Some(410) => return None,
            Some(404) => {
                let cure = "tidegate crd | kubectl apply -f -";
                (Class::NoSuchKind, format!("the API server does not know {resource}; install the kinds: {cure}"))
            }
            Some(403) => {
                let cure = "tidegate crd --rbac | kubectl apply -f -";
                (Class::Forbidden, format!("tidegate may not list and watch {resource}{within}; grant it: {cure}"))
            }
            Some(code) => {
                let said: String = status.map(|status| status.message.chars().take(200).collect()).unwrap_or_default();
                (Class::Refused(code), format!("{resource}{within} cannot be followed: {code} {said}"))
            }
            None => (Class::Unreachable, format!("{resource}{within} cannot be followed: {error}")),
        };
        Some(Trouble { class, sentence: sentence.into(), said: false, failures: 0 })
    }

    pub(super) fn sentence(&self) -> Arc<str> {
        Arc::clone(&self.sentence)
    }

    /// This one, `before` considered.
    pub(super) fn after(self, before: Option<Trouble>) -> Self {
        let before = before.filter(|before| before.class == self.class);
        let (said, failures) = before.map_or((false, 0), |before| (before.said, before.failures));
        Trouble { said, failures: failures + 1, ..self }
    }

    /// Whether the server will not have it, rather than cannot.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self.class, Class::Forbidden | Class::NoSuchKind)
    }

    /// A connection that breaks once is none.
    pub(super) fn is_worth_a_word(&self) -> bool {
        self.is_refusal() || self.failures > 1
    }
}
