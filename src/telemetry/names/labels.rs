//! The labels that metrics carry, and what bounds their values: a label with values of a stranger's choice would be a
//! time series for each call.

use crate::model::{FailureKind, Reason};

/// A label of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    pub name: &'static str,
    pub values: Values,
}

/// What a label may say.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// These and no others.
    Closed(fn() -> Vec<&'static str>),
    /// Names that somebody gave; the sentence says which, and so how many there can be.
    Named(&'static str),
}

impl Label {
    pub const fn closed(name: &'static str, values: fn() -> Vec<&'static str>) -> Self {
        Label { name, values: Values::Closed(values) }
    }

    pub const fn named(name: &'static str, what: &'static str) -> Self {
        Label { name, values: Values::Named(what) }
    }

    /// Every value there can be, where that is known.
    #[must_use]
    pub fn closed_values(&self) -> Option<Vec<&'static str>> {
        match self.values {
            Values::Closed(values) => Some(values()),
            Values::Named(_) => None,
        }
    }
}

pub(super) const CONNECTION: Label =
    Label::named("connection", "a Connection's namespace and name, or the server that a KEDA trigger names by itself");
pub(super) const NAMESPACE: Label = Label::named("namespace", "of the autoscaler");
pub(super) const AUTOSCALER: Label = Label::named("autoscaler", "the autoscaler's name");
pub(super) const TRIGGER: Label = Label::named("trigger", "the trigger's name in its autoscaler");
pub(super) const VERSION: Label = Label::named("version", "this binary's, so one value a process");

pub(super) const OUTCOME: Label = Label::closed("outcome", || vec!["ok", "error"]);
pub(super) const CHECKPOINT_STORE: Label = Label::closed("store", || vec!["folder", "configmaps"]);
/// All of a change is in force, part of it, or nothing.
pub(super) const RELOAD_OUTCOME: Label = Label::closed("outcome", || vec!["ok", "partly", "broken"]);
pub(super) const ORIGIN: Label = Label::closed("origin", || vec!["manifest", "resource", "keda"]);
pub(super) const FAILURE_KIND: Label = Label::closed("kind", failure_kinds);
pub(super) const REASON: Label = Label::closed("reason", || Reason::ALL.map(Reason::as_str).to_vec());
/// A scale request ends well, is replaced, is refused for a reason of its own, or fails as a read does.
pub(super) const SCALE_OUTCOME: Label = Label::closed("outcome", || {
    let own = ["ok", "superseded", "conflict", "unknown_workload", "out_of_range"];
    let cluster = ["forbidden", "invalid", "throttled", "not_leading", "owned"];
    own.into_iter().chain(cluster).chain(failure_kinds()).collect()
});
pub(super) const KUBE_VERB: Label =
    Label::closed("verb", || vec!["get", "watch", "create", "update", "patch", "delete", "other"]);
/// What a request is about; `get` of it may be a list.
pub(super) const KUBE_RESOURCE: Label = Label::closed("resource", || {
    vec![
        "queueautoscalers",
        "connections",
        "clusterconnections",
        "deployments",
        "statefulsets",
        "replicasets",
        "scale",
        "status",
        "horizontalpodautoscalers",
        "scaledobjects",
        "leases",
        "secrets",
        "configmaps",
        "endpointslices",
        "pods",
        "events",
        "other",
    ]
});
pub(super) const KUBE_CODE: Label =
    Label::closed("code", || vec!["2xx", "401", "403", "404", "409", "410", "422", "429", "4xx", "5xx", "none"]);
pub(super) const LEADERSHIP_CHANGE: Label = Label::closed("change", || vec!["acquired", "lost", "released"]);
/// `gone`: the object was deleted in between. `refused`: what was written does not fit the schema.
pub(super) const STATUS_OUTCOME: Label =
    Label::closed("outcome", || vec!["ok", "conflict", "gone", "forbidden", "throttled", "refused", "error"]);
pub(super) const EVENT_OUTCOME: Label = Label::closed("outcome", || vec!["ok", "error", "left_out"]);
/// `gone`: there is no workload any more. `left`: on purpose, as it is.
pub(super) const RESTORE_OUTCOME: Label = Label::closed("outcome", || vec!["ok", "gone", "left", "error"]);
pub(super) const DOOR: Label = Label::closed("door", || vec!["grpc", "http"]);
pub(super) const REFUSED_CONNECTION: Label = Label::closed("reason", || vec!["total", "peer"]);
pub(super) const REFUSED_REGISTRATION: Label =
    Label::closed("reason", || vec!["namespace_registrations", "registrations", "namespace_connections"]);
pub(super) const ABANDONED: Label = Label::closed("reason", || vec!["silent", "stalled"]);
pub(super) const HANDSHAKE_OUTCOME: Label = Label::closed("outcome", || vec!["ok", "error", "timeout"]);
pub(super) const REFUSED_CALL: Label = Label::closed("reason", || vec!["calls", "bytes", "slow"]);
pub(super) const METHOD: Label = Label::closed("method", || [unary(), streams()].concat());
pub(super) const UNARY_METHOD: Label = Label::closed("method", unary);
pub(super) const STREAM_METHOD: Label = Label::closed("method", streams);
/// What gRPC defines.
pub(super) const GRPC_CODE: Label = Label::closed("code", || {
    vec![
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ]
});
pub(super) const FLOOD: Label = Label::closed("about", || vec![super::FLOOD_KEDA_METADATA, super::FLOOD_REGISTRATIONS]);

fn failure_kinds() -> Vec<&'static str> {
    FailureKind::ALL.map(FailureKind::as_str).to_vec()
}

fn unary() -> Vec<&'static str> {
    vec!["IsActive", "GetMetricSpec", "GetMetrics"]
}

fn streams() -> Vec<&'static str> {
    vec!["StreamIsActive", "StreamMetricSpec"]
}
