//! A spec as it stands in a recording: the manifests that mean it, and what no manifest says.
//!
//! The first line says through which door it came and what it is called; the manifests follow, as JSON, which is YAML.
//! They are read by the same door as everybody's, so that what was recorded is a spec that could be written, and a person
//! can read it. Nothing secret is in them: a password that stood in a manifest, and the value of a header, is written as
//! a number, the same one each time, so that a spec in which nothing but a password changed is still another spec.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::AutoscalerId;
use crate::spec::grants::Declared;
use crate::spec::load::{SourceText, Terms, load};
use crate::spec::{
    AutoscalerSpec, Behavior, ConnectionSpec, HttpServer, Origin, RedisServer, Secret, SecretRef, Server, TargetRef,
    Topology, TriggerSpec, render,
};

/// What stands in place of a secret, with its number.
const MASK: &str = "TIDEGATE_RECORDED_SECRET_";
/// The name of what has none that a manifest could have.
const NAMELESS: &str = "recorded";

/// What no manifest says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Facts {
    origin: Door,
    namespace: String,
    name: String,
    /// It has no workload: KEDA never says which.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    no_target: bool,
    /// Nanoseconds of [`Behavior::HpaWithoutBehavior`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    without_behavior: Option<u64>,
    /// Of each trigger: its metric's name and its connection's.
    triggers: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Door {
    Manifest,
    Resource,
    Keda,
}

/// Secrets by number. One for each recording: the numbers mean nothing anywhere else.
#[derive(Default)]
pub struct Masks(HashMap<Secret, usize>);

impl Masks {
    fn name(&mut self, secret: &Secret) -> String {
        let next = self.0.len();
        format!("{MASK}{}", self.0.entry(secret.clone()).or_insert(next))
    }

    /// The same spec with nothing secret in it.
    #[must_use]
    pub fn hide(&mut self, spec: &AutoscalerSpec) -> AutoscalerSpec {
        let mut spec = spec.clone();
        for trigger in &mut spec.triggers {
            let ConnectionSpec { name, server } = &*trigger.connection;
            let (name, mut server) = (Arc::clone(name), server.clone());
            self.hide_in(&mut server);
            trigger.connection = Arc::new(ConnectionSpec { name, server });
        }
        spec
    }

    fn hide_in(&mut self, server: &mut Server) {
        match server {
            Server::Redis(RedisServer { password, topology, .. }) => {
                self.replace(password);
                if let Topology::Sentinel(sentinel) = topology {
                    self.replace(&mut sentinel.password);
                }
            }
            Server::Postgres(postgres) => {
                self.replace(&mut postgres.password);
                self.replace(&mut postgres.url);
            }
            Server::Prometheus(http) => self.hide_in_http(http),
            Server::Scrape(scrape) => self.hide_in_http(&mut scrape.http),
            Server::Memory => {}
        }
    }

    fn hide_in_http(&mut self, http: &mut HttpServer) {
        self.replace(&mut http.password);
        for (_, value) in &mut http.headers {
            *value = self.name(&Secret::new(value.as_str()));
        }
    }

    fn replace(&mut self, place: &mut Option<SecretRef>) {
        if let Some(SecretRef::Inline(secret)) = place {
            *place = Some(SecretRef::Env(self.name(secret)));
        }
    }
}

/// Writes a spec that has nothing secret in it any more ([`Masks::hide`]).
///
/// # Errors
/// What the serializer says; it has no reason to.
pub fn write(spec: &AutoscalerSpec) -> Result<String, String> {
    let facts = Facts {
        origin: match spec.origin {
            Origin::Manifest => Door::Manifest,
            Origin::Resource => Door::Resource,
            Origin::KedaMetadata => Door::Keda,
        },
        namespace: spec.id.namespace.to_string(),
        name: spec.id.name.to_string(),
        no_target: spec.target.is_none(),
        without_behavior: match spec.behavior {
            Behavior::HpaWithoutBehavior { downscale_stabilization } => {
                Some(u64::try_from(downscale_stabilization.as_nanos()).unwrap_or(u64::MAX))
            }
            Behavior::Rules { .. } => None,
        },
        triggers: spec.triggers.iter().map(|t| (t.metric_name.to_string(), t.connection.name.to_string())).collect(),
    };
    let mut spec = spec.clone();
    // Names that KEDA's calls make are not all names that a manifest may have.
    let nameless = spec.origin == Origin::KedaMetadata;
    if nameless {
        spec.id.name = NAMELESS.into();
    }
    spec.target.get_or_insert_with(|| TargetRef {
        api_version: "apps/v1".into(),
        kind: "Deployment".into(),
        name: NAMELESS.into(),
    });
    let mut documents = Vec::new();
    let mut declared: Vec<Arc<ConnectionSpec>> = Vec::new();
    for trigger in &mut spec.triggers {
        if nameless {
            let server = trigger.connection.server.clone();
            trigger.connection = Arc::new(ConnectionSpec { name: NAMELESS.into(), server });
        }
        if is_built_in(trigger) || declared.contains(&trigger.connection) {
            continue;
        }
        declared.push(Arc::clone(&trigger.connection));
        let (namespace, name) = match trigger.connection.name.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, &*trigger.connection.name),
        };
        let allowed_namespaces = [spec.id.namespace.to_string()];
        documents.push(render::declared(Declared {
            namespace,
            name,
            allowed_namespaces: &allowed_namespaces,
            connection: &trigger.connection,
        }));
    }
    documents.push(render::autoscaler(&spec));
    let mut text = serde_json::to_string(&facts).map_err(|error| error.to_string())?;
    for document in &documents {
        text.push_str("\n---\n");
        text.push_str(&render::escaped(&serde_json::to_string(document).map_err(|error| error.to_string())?));
    }
    Ok(text)
}

/// The queues of the process itself need no declared connection.
fn is_built_in(trigger: &TriggerSpec) -> bool {
    trigger.connection.server == Server::Memory && &*trigger.connection.name == "memory"
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// Why it is no such thing.
pub fn read(text: &str) -> Result<AutoscalerSpec, String> {
    let (facts, manifests) = text.split_once('\n').ok_or("it has no manifests")?;
    let facts: Facts = serde_json::from_str(facts).map_err(|error| error.to_string())?;
    let file = SourceText { file: "the recording".to_owned(), text: manifests.to_owned() };
    let loaded = load(&[file], &Terms::default()).map_err(|problems| problems.to_string())?;
    let [spec] = loaded.autoscalers.as_slice() else { return Err("it is not one autoscaler".to_owned()) };
    let mut spec = AutoscalerSpec::clone(spec);
    spec.id = AutoscalerId::new(facts.namespace, facts.name);
    spec.origin = match facts.origin {
        Door::Manifest => Origin::Manifest,
        Door::Resource => Origin::Resource,
        Door::Keda => Origin::KedaMetadata,
    };
    if facts.no_target {
        spec.target = None;
    }
    if let Some(nanos) = facts.without_behavior {
        spec.behavior = Behavior::HpaWithoutBehavior { downscale_stabilization: Duration::from_nanos(nanos) };
    }
    if facts.triggers.len() != spec.triggers.len() {
        return Err("it has another number of triggers than it says".to_owned());
    }
    for (trigger, (metric, connection)) in spec.triggers.iter_mut().zip(facts.triggers) {
        trigger.metric_name = metric.into();
        if *trigger.connection.name != *connection {
            let server = trigger.connection.server.clone();
            trigger.connection = Arc::new(ConnectionSpec { name: connection.into(), server });
        }
    }
    Ok(spec)
}
