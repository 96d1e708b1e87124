//! Back from what was understood to what a user could have written: `check`'s output, every default filled in.
//!
//! Secrets written in a file come out as `[redacted]`; everything else reads back as the same spec.

mod connection;
mod events;
mod series;
mod servers;
mod source;

use std::collections::BTreeMap;

use serde::Serialize;

pub use self::source::source;

use crate::spec::grants::Declared;
use crate::spec::load::Loaded;
use crate::spec::manifest::{
    self, API_VERSION, BacklogPerReplica, ClusterConnectionBody, ConnectionBody, DurationText, Fixed, GROUP, Load,
    MemoryConnection, QuantityText, QueueAutoscalerBody, ScaleTargetRef, Trigger,
};
use crate::spec::units::{Quantity, format_duration};
use crate::spec::{
    AutoscalerSpec, Behavior, FallbackBehavior, MilliValue, Policy, RateKind, ScalingRules, SelectPolicy, Server,
    Source, TriggerSpec,
};

/// One object in manifest form.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata,
    spec: Body,
}

#[derive(Clone, Debug, Serialize)]
struct Metadata {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
enum Body {
    // The largest variant by far, and there are few documents.
    Autoscaler(Box<QueueAutoscalerBody>),
    Connection(ConnectionBody),
    ClusterConnection(ClusterConnectionBody),
}

/// A body that somebody put together, with what stands around it.
pub(crate) fn autoscaler_document(
    namespace: Option<&str>,
    name: &str,
    annotations: BTreeMap<String, String>,
    body: QueueAutoscalerBody,
) -> Document {
    let mut document = document("QueueAutoscaler", namespace, name, Body::Autoscaler(Box::new(body)));
    document.metadata.annotations = annotations;
    document
}

/// The same for a Connection.
pub(crate) fn connection_document(namespace: Option<&str>, name: &str, body: ConnectionBody) -> Document {
    document("Connection", namespace, name, Body::Connection(body))
}

/// The same for a ClusterConnection.
pub(crate) fn cluster_connection_document(name: &str, body: ClusterConnectionBody) -> Document {
    document("ClusterConnection", None, name, Body::ClusterConnection(body))
}

/// Everything that was loaded: connections first, because autoscalers refer to them.
#[must_use]
pub fn documents(loaded: &Loaded) -> Vec<Document> {
    let connections = loaded.grants.declared().into_iter().map(declared);
    connections.chain(loaded.autoscalers.iter().map(|spec| autoscaler(spec))).collect()
}

/// JSON, which is YAML too, as YAML's readers take it: characters that they refuse are escaped.
#[must_use]
pub fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len() + 1);
    for c in json.chars() {
        if is_printable(c) {
            escaped.push(c);
        } else {
            // Such characters stand in strings only.
            let mut units = [0; 2];
            escaped.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    escaped
}

/// Whether YAML allows a character to stand for itself.
#[must_use]
pub fn is_printable(c: char) -> bool {
    match c {
        '\u{feff}' => false,
        '\t' | '\n' | '\r' | '\u{85}' => true,
        ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' => true,
        c => c >= '\u{10000}',
    }
}

fn document(kind: &'static str, namespace: Option<&str>, name: &str, spec: Body) -> Document {
    let namespace = namespace.map(str::to_owned);
    let metadata = Metadata { name: name.to_owned(), namespace, annotations: BTreeMap::new() };
    Document { api_version: API_VERSION, kind, metadata, spec }
}

pub(in crate::spec) fn declared(declared: Declared<'_>) -> Document {
    let own = declared.namespace;
    let mut body = ConnectionBody::default();
    match &declared.connection.server {
        Server::Redis(redis) => body.redis = Some(connection::redis(redis, own)),
        Server::Postgres(postgres) => body.postgres = Some(servers::postgres(postgres, own)),
        Server::Prometheus(http) => body.prometheus = Some(servers::prometheus(http, own)),
        Server::Scrape(scrape) => body.scrape = Some(servers::scrape(scrape, own)),
        Server::Memory => body.memory = Some(MemoryConnection {}),
    }
    match declared.namespace {
        Some(namespace) => document("Connection", Some(namespace), declared.name, Body::Connection(body)),
        None => {
            let allowed_namespaces = Some(declared.allowed_namespaces.to_vec());
            let ConnectionBody { redis, postgres, prometheus, scrape, memory } = body;
            let body = ClusterConnectionBody { allowed_namespaces, redis, postgres, prometheus, scrape, memory };
            document("ClusterConnection", None, declared.name, Body::ClusterConnection(body))
        }
    }
}

pub(in crate::spec) fn autoscaler(spec: &AutoscalerSpec) -> Document {
    let body = QueueAutoscalerBody {
        dry_run: spec.dry_run.then_some(true),
        restore_to_original_replica_count: spec.restore_on_delete.then_some(true),
        scale_target_ref: spec.target.as_ref().map(|target| ScaleTargetRef {
            api_version: Some(target.api_version.clone()),
            kind: Some(target.kind.clone()),
            name: Some(target.name.clone()),
        }),
        min_replicas: Some(spec.bounds.min),
        max_replicas: Some(spec.bounds.max),
        idle_replica_count: spec.bounds.idle,
        polling_interval: duration(spec.polling_interval),
        cooldown_period: duration(spec.cooldown),
        initial_cooldown_period: duration(spec.initial_cooldown),
        max_sample_age: duration(spec.max_sample_age),
        triggers: Some(spec.triggers.iter().map(trigger).collect()),
        behavior: match &spec.behavior {
            Behavior::Rules { up, down } => {
                Some(manifest::Behavior { scale_up: Some(rules(up)), scale_down: Some(rules(down)) })
            }
            // No manifest means this one; see its definition.
            Behavior::HpaWithoutBehavior { .. } => None,
        },
        fallback: Some(fallback(spec)),
    };
    let namespace = Some(&*spec.id.namespace);
    let mut document = document("QueueAutoscaler", namespace, &spec.id.name, Body::Autoscaler(Box::new(body)));
    document.metadata.annotations = annotations(spec);
    document
}

fn annotations(spec: &AutoscalerSpec) -> BTreeMap<String, String> {
    let flags = [
        ("paused", spec.pause.frozen),
        ("paused-scale-in", spec.pause.scale_in),
        ("paused-scale-out", spec.pause.scale_out),
        ("force-activation", spec.force_activation),
    ];
    let set = flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| (name, "true".to_owned()));
    let at = spec.pause.at_replicas.map(|replicas| ("paused-replicas", replicas.to_string()));
    set.chain(at).map(|(name, value)| (format!("{GROUP}/{name}"), value)).collect()
}

fn trigger(trigger: &TriggerSpec) -> Trigger {
    // The embedded queues need no declared connection, and have none to name.
    let name = trigger.connection.name.rsplit_once('/').map_or(&*trigger.connection.name, |(_, name)| name);
    let built_in = trigger.connection.server == Server::Memory && &*trigger.connection.name == "memory";
    Trigger {
        name: Some(trigger.name.to_string()),
        connection: (!built_in).then(|| name.to_owned()),
        in_flight: trigger.in_flight.as_ref().and_then(source::in_flight),
        policy: Some(policy(trigger.policy)),
        activation_threshold: Some(float(trigger.activation_threshold)),
        share: (trigger.share != TriggerSpec::WHOLE).then(|| quantity(trigger.share)),
        max_sample_age: trigger.max_sample_age.and_then(duration),
        ..with_partitioning(trigger)
    }
}

/// The source block, with what stands in it beside the source.
fn with_partitioning(trigger: &TriggerSpec) -> Trigger {
    let mut written = source(&trigger.source);
    if let Source::Postgres(postgres) = &trigger.source {
        written.postgres = Some(events::postgres(postgres, trigger.partitioning));
    }
    written
}

fn policy(policy: Policy) -> manifest::Policy {
    let mut written = manifest::Policy::default();
    match policy {
        Policy::BacklogPerReplica { target } => {
            written.backlog_per_replica = Some(BacklogPerReplica { target: Some(quantity(target)) });
        }
        Policy::Fixed { replicas } => written.fixed = Some(Fixed { replicas: Some(replicas) }),
        Policy::Load(load) => {
            written.load = Some(Load {
                slots_per_replica: Some(quantity(load.slots_per_replica)),
                job_duration: duration(load.job_duration),
                drain_within: duration(load.drain_within),
                utilization: Some(quantity(load.utilization)),
            });
        }
    }
    written
}

fn rules(rules: &ScalingRules) -> manifest::ScalingRules {
    let policies: Vec<manifest::RatePolicy> = rules
        .policies
        .iter()
        .map(|policy| manifest::RatePolicy {
            kind: Some(match policy.kind {
                RateKind::Pods => manifest::RateKind::Pods,
                RateKind::Percent => manifest::RateKind::Percent,
            }),
            value: Some(policy.value),
            period_seconds: seconds(policy.period),
        })
        .collect();
    manifest::ScalingRules {
        stabilization_window_seconds: seconds(rules.stabilization_window),
        select_policy: Some(match rules.select_policy {
            SelectPolicy::Max => manifest::SelectPolicy::Max,
            SelectPolicy::Min => manifest::SelectPolicy::Min,
            SelectPolicy::Disabled => manifest::SelectPolicy::Disabled,
        }),
        policies: (!policies.is_empty()).then_some(policies),
        tolerance: Some(float(rules.tolerance)),
    }
}

fn fallback(spec: &AutoscalerSpec) -> manifest::Fallback {
    let (behavior, replicas) = match spec.fallback.behavior {
        FallbackBehavior::Hold => (manifest::FallbackBehavior::Hold, None),
        FallbackBehavior::CurrentReplicas => (manifest::FallbackBehavior::CurrentReplicas, None),
        FallbackBehavior::Static { replicas } => (manifest::FallbackBehavior::Static, Some(replicas)),
        FallbackBehavior::CurrentReplicasIfHigher { replicas } => {
            (manifest::FallbackBehavior::CurrentReplicasIfHigher, Some(replicas))
        }
        FallbackBehavior::CurrentReplicasIfLower { replicas } => {
            (manifest::FallbackBehavior::CurrentReplicasIfLower, Some(replicas))
        }
    };
    manifest::Fallback { after: duration(spec.fallback.after), behavior: Some(behavior), replicas }
}

// Every field has its default filled in, hence the `Option`s.

#[expect(clippy::unnecessary_wraps, reason = "fields of a manifest are optional")]
fn duration(duration: std::time::Duration) -> Option<DurationText> {
    Some(DurationText(format_duration(duration)))
}

fn seconds(duration: std::time::Duration) -> Option<i32> {
    i32::try_from(duration.as_secs()).ok()
}

fn quantity(value: MilliValue) -> QuantityText {
    if value.0 % 1000 == 0 { QuantityText((value.0 / 1000).to_string()) } else { QuantityText(format!("{}m", value.0)) }
}

/// The shortest that reads back as the same number. Nine places are all that a quantity has; how many of them mean
/// anything depends on how large it is.
fn float(value: f64) -> QuantityText {
    let written = |places: usize| format!("{value:.places$}");
    let reads_back = |text: &String| text.parse::<Quantity>().is_ok_and(|read| read.to_f64() == value);
    QuantityText((0..=9).map(written).find(reads_back).unwrap_or_else(|| written(9)))
}
