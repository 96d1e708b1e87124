//! The third door: the string map of a KEDA trigger, read as KEDA's own redis scalers read it, and its prometheus and
//! postgresql scalers (`prometheus`, `postgresql`).
//!
//! Moving over from `type: redis`, `redis-cluster`, `redis-sentinel`, one of the three `redis*-streams`, `prometheus` or
//! `postgresql` means changing the type and adding `scalerAddress`; every other key may stay. The type itself is the one
//! thing that KEDA does not forward. What it says can nearly always be told from the keys: `stream` makes it a stream's,
//! `sentinelMaster` a sentinel's, several addresses a Cluster's, and a declared Connection knows what it is. What cannot
//! be told (a Cluster by one address that only the allow list has) is said with a key of ours, `triggerType:
//! redis-cluster`, which always has the last word. Two things differ, both because the map is all that KEDA forwards:
//! passwords never come from here (they are ignored and warned of), and an address is only connected to if a declared
//! Connection or the operator's allow list has it.
//!
//! `enableTLS` has two readers: KEDA, for its own connection to us, and whoever moved a TLS trigger over, for the one
//! to Redis. A declared Connection settles it, and is needed anyway where Redis' certificate is to be checked; only
//! for an address that the allow list covers does `enableTLS` mean Redis here.

mod counts;
mod keys;
mod postgresql;
mod prometheus;
mod server;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use counts::Counts;
use keys::{Found, Keys, path};

use crate::model::AutoscalerId;
use crate::spec::grants::Grants;
use crate::spec::manifest::{BacklogPerReplica, DurationText, Policy, QuantityText, QueueAutoscalerBody, Trigger};
use crate::spec::problem::{Problem, Problems};
use crate::spec::report::Report;
use crate::spec::units;
use crate::spec::validate;
use crate::spec::{AutoscalerSpec, Origin};

/// What KEDA sends with every call. Its `Debug` leaves the metadata's values out: some are passwords.
#[derive(Clone, Copy)]
pub struct ScaledObject<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub metadata: &'a HashMap<String, String>,
}

impl fmt::Debug for ScaledObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut keys: Vec<&String> = self.metadata.keys().collect();
        keys.sort();
        write!(f, "{}/{} {keys:?}", self.namespace, self.name)
    }
}

/// What the caller wants to be told of a named autoscaler.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Serve {
    /// The raw value and its target per replica.
    Backlog,
    /// Our decision, target 1.
    Replicas,
}

/// What one ScaledObject trigger asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Ask {
    /// An autoscaler that a manifest declares (or not: that is for whoever holds them to find out).
    Named { id: AutoscalerId, serve: Serve },
    /// A trigger written out in metadata.
    Trigger(TriggerAsk),
}

/// A trigger written out in metadata. Name and target are there even where nothing may be registered, so that
/// GetMetricSpec always has an answer.
#[derive(Clone, PartialEq, Debug)]
pub struct TriggerAsk {
    /// As KEDA's own scaler names it, without the `sN-` prefix; see [`validate::metric_name`] for what may collide.
    pub metric_name: Arc<str>,
    /// Items per replica.
    pub target: f64,
    /// What to poll, or every reason why not.
    pub registration: Result<Arc<AutoscalerSpec>, Problems>,
    /// Keys without effect, ignored credentials.
    pub warnings: Vec<Problem>,
}

/// Keys and bytes of a map, keys included: several times what any trigger of KEDA's can have. Beyond is nobody's
/// trigger, and every key of it would have its warning, and the list's name its place in a command many times a second.
const MOST_KEYS: usize = 256;
const MOST_BYTES: usize = 32 * 1024;

/// Warnings of keys without effect, one line of the log each; the rest of them are counted in one.
const MOST_WARNINGS: usize = 16;

/// Reads a trigger's metadata.
///
/// # Errors
///
/// Only when not even metric name and target (or the autoscaler's name) can be read; everything else that is wrong is
/// in [`TriggerAsk::registration`].
pub fn read(object: &ScaledObject<'_>, grants: &Grants) -> Result<Ask, Problems> {
    check_object(object)?;
    let mut keys = Keys::new(object.metadata);
    let mut too_long = keys.too_long();
    match keys.find(&["autoscaler"]) {
        Some(_) if !too_long.is_empty() => Err(Problems(too_long)),
        Some(found) => named(object, found, &mut keys),
        None => {
            let mut ask = trigger(object, grants, &mut keys)?;
            if !too_long.is_empty() {
                if let Err(Problems(others)) = ask.registration {
                    too_long.extend(others);
                }
                ask.registration = Err(Problems(too_long));
            }
            Ok(Ask::Trigger(ask))
        }
    }
}

/// Namespace and name become parts of an autoscaler's name and of a Service's address; nobody but the API server has
/// checked them, and nobody says that the caller is KEDA.
fn check_object(object: &ScaledObject<'_>) -> Result<(), Problems> {
    // The first that is a prefix counts.
    let renamed = [("namespace", "scaledObjectRef.namespace".to_owned()), ("name", "scaledObjectRef.name".to_owned())];
    let mut report = Report::of_metadata(&renamed);
    validate::check_namespace(object.namespace, "namespace", &mut report);
    validate::check_name(object.name, "name", &mut report);
    let bytes: usize = object.metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    let keys = object.metadata.len();
    if keys > MOST_KEYS || bytes > MOST_BYTES {
        report.problems.push(Problem::new(
            "metadata",
            format!("{keys} keys and {bytes} bytes are more than a trigger can mean"),
            format!(
                "at most {MOST_KEYS} keys and {MOST_BYTES} bytes are read; take out what is not a key of the trigger"
            ),
        ));
    }
    if report.problems.is_empty() { Ok(()) } else { Err(Problems(report.problems)) }
}

// === a known autoscaler, by name ===

fn named(object: &ScaledObject<'_>, found: Found<'_>, keys: &mut Keys<'_>) -> Result<Ask, Problems> {
    let serve = match keys.text("serve") {
        None | Some("backlog") => Some(Serve::Backlog),
        Some("replicas") => Some(Serve::Replicas),
        Some(other) => {
            keys.problem("serve", format!("`{other}` cannot be served"), "write serve: backlog or serve: replicas");
            None
        }
    };
    let renamed = [("", path(found.key))];
    let mut report = Report::of_metadata(&renamed);
    validate::check_name(found.value, "", &mut report);
    keys.problems.append(&mut report.problems);
    for name in [
        "listName",
        "listLength",
        "activationListLength",
        "stream",
        "streamLength",
        "pendingEntriesCount",
        "lagCount",
        "activationLagCount",
        "query",
        "targetQueryValue",
        "activationTargetQueryValue",
        "address",
        "addresses",
        "host",
        "hosts",
        "connection",
        "share",
    ] {
        if let Some(other) = keys.find(&[name]) {
            let message = format!("`autoscaler` names a QueueAutoscaler, which has its own {}", meaning(name));
            keys.problem(other.key, message, format!("take out {} or autoscaler", other.key));
        }
    }
    match serve {
        Some(serve) if keys.problems.is_empty() => {
            Ok(Ask::Named { id: AutoscalerId::new(object.namespace, found.value), serve })
        }
        _ => Err(Problems(std::mem::take(&mut keys.problems))),
    }
}

fn meaning(key: &str) -> &'static str {
    match key {
        "listName" | "stream" | "query" => "source",
        "listLength" | "streamLength" | "pendingEntriesCount" | "lagCount" | "targetQueryValue" => "target",
        "activationListLength" | "activationLagCount" | "activationTargetQueryValue" => "activationThreshold",
        "share" => "share",
        _ => "connection",
    }
}

// === a trigger, written out ===

/// Which of KEDA's scalers a trigger is written for.
#[derive(Clone, Copy)]
enum Scaler {
    /// One of the six that read lists and streams.
    Redis,
    Prometheus,
    Postgresql,
}

impl Scaler {
    /// What `triggerType` says, or what the keys do.
    fn of(keys: &Keys<'_>) -> Self {
        if prometheus::is_meant(keys) {
            Scaler::Prometheus
        } else if postgresql::is_meant(keys) {
            Scaler::Postgresql
        } else {
            Scaler::Redis
        }
    }

    /// What it reads, in KEDA's spelling.
    fn keys(self) -> &'static [&'static str] {
        match self {
            Scaler::Redis => &keys::OF_REDIS,
            Scaler::Prometheus => &prometheus::KEYS,
            Scaler::Postgresql => &postgresql::KEYS,
        }
    }
}

fn trigger(object: &ScaledObject<'_>, grants: &Grants, keys: &mut Keys<'_>) -> Result<TriggerAsk, Problems> {
    let scaler = Scaler::of(keys);
    let counts = match scaler {
        Scaler::Redis => counts::counts(keys),
        Scaler::Prometheus => prometheus::counts(keys),
        Scaler::Postgresql => postgresql::counts(keys),
    };
    server::check_serve(keys);
    let connection = match scaler {
        Scaler::Redis => server::connection(object, grants, keys),
        Scaler::Prometheus => prometheus::connection(object, grants, keys),
        Scaler::Postgresql => postgresql::connection(object, grants, keys),
    };
    let polling_interval = polling_interval(keys);
    let share = keys.text("share").map(|share| QuantityText(share.to_owned()));
    let mut warnings = keys.without_effect(scaler.keys(), MOST_WARNINGS);
    warnings.extend(match scaler {
        Scaler::Redis => server::warnings(object, keys, connection.as_deref()),
        Scaler::Prometheus => prometheus::warnings(keys, connection.as_deref()),
        Scaler::Postgresql => postgresql::warnings(object, keys, connection.as_deref()),
    });
    let Some(counts) = counts else {
        return Err(Problems(std::mem::take(&mut keys.problems)));
    };

    let body = QueueAutoscalerBody {
        polling_interval,
        triggers: Some(vec![Trigger {
            policy: Some(Policy {
                backlog_per_replica: Some(BacklogPerReplica { target: Some(QuantityText(counts.target.to_string())) }),
                ..Policy::default()
            }),
            activation_threshold: Some(QuantityText(counts.activation.to_string())),
            share,
            ..counts.block()
        }]),
        ..QueueAutoscalerBody::default()
    };
    let renamed = renamed(keys, &counts);
    let mut report = Report::of_metadata(&renamed);
    let head = validate::Head {
        id: AutoscalerId::new(object.namespace, format!("{}-{}", object.name, keys.fingerprint())),
        origin: Origin::KedaMetadata,
        annotations: validate::Annotations::default(),
        connection: connection.map_or(validate::Given::Missing, validate::Given::Found),
    };
    let spec = validate::autoscaler(head, &body, grants, &mut report);
    warnings.append(&mut report.warnings);
    let mut problems = std::mem::take(&mut keys.problems);
    problems.append(&mut report.problems);
    Ok(TriggerAsk {
        metric_name: validate::metric_name(&counts.source).into(),
        target: counts.target,
        registration: if problems.is_empty() { Ok(Arc::new(spec)) } else { Err(Problems(problems)) },
        warnings,
    })
}

/// Which key a part of the manifest came from, so that `validate` speaks of what the user wrote.
fn renamed(keys: &Keys<'_>, counts: &Counts) -> [(&'static str, String); 10] {
    [
        ("spec.triggers[0].prometheusQuery", path(keys.spelling("query"))),
        ("spec.triggers[0].postgres", path(keys.spelling("query"))),
        ("spec.triggers[0].redisList", path(keys.spelling(counts.name_key))),
        ("spec.triggers[0].redisStream.group", path(keys.spelling("consumerGroup"))),
        ("spec.triggers[0].redisStream", path(keys.spelling(counts.name_key))),
        ("spec.triggers[0].policy", path(keys.spelling(counts.target_key))),
        ("spec.triggers[0].activationThreshold", path(keys.spelling(counts.activation_key))),
        ("spec.triggers[0].share", path(keys.spelling("share"))),
        ("spec.triggers[0].connection", path(keys.spelling("connection"))),
        ("spec.pollingInterval", path(keys.spelling("pollingInterval"))),
    ]
}

/// Our own key. A bare number is seconds, as it is everywhere in KEDA.
fn polling_interval(keys: &mut Keys<'_>) -> Option<DurationText> {
    let text = keys.text("pollingInterval")?;
    let seconds = units::parse_seconds_or_duration(text).ok();
    Some(DurationText(seconds.map_or_else(|| text.to_owned(), units::format_duration)))
}
