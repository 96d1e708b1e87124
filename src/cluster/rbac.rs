//! What tidegate may do in a cluster: every call that it makes, and nothing more.
//!
//! The rows are data, and the only copy: `tidegate crd --rbac` prints them as Roles, and a test compares them with the
//! calls that were really made, both ways. Whoever adds a call adds its row. Discovery (`GET /apis` and below) is every
//! authenticated account's by `system:discovery`, and needs none.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::checkpoint::SHARDS;
use crate::spec::manifest::GROUP;

/// Name of the Lease, unless `--lease-name` says otherwise.
pub const LEASE: &str = "tidegate";
/// Name of everything that is printed, and of the ServiceAccount unless somebody says otherwise.
const NAME: &str = "tidegate";
/// The same of [`Scaling::Only`], which stands beside the others.
const SCALING_NAME: &str = "tidegate-scaling";
/// Where tidegate itself runs, unless somebody says otherwise.
pub const OWN_NAMESPACE: &str = "tidegate";

/// One kind of call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The API group; empty for the core.
    pub group: &'static str,
    /// The resource, with its subresource.
    pub resource: &'static str,
    pub verbs: &'static [&'static str],
    pub place: Place,
    pub names: Names,
    /// The part of [`crate::cluster`] that makes the call.
    pub part: &'static str,
    pub why: &'static str,
}

/// Where a call goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// The whole cluster, or the namespaces that tidegate is confined to.
    Watched,
    /// An object without a namespace.
    Cluster,
    /// The namespace that tidegate runs in.
    Own,
}

/// Which objects a call may be about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Names {
    /// Nobody knows their names beforehand, or the verb has none (`create`).
    All,
    /// The one Lease.
    Lease,
    /// The ConfigMaps of checkpoints.
    Checkpoints,
    /// The Secrets of `--secret`; all of them without one.
    Secrets,
}

const LOOK: &[&str] = &["list", "watch"];
const SCALE: &[&str] = &["get", "patch"];

const fn row(group: &'static str, resource: &'static str, verbs: &'static [&'static str], part: &'static str) -> Row {
    Row { group, resource, verbs, place: Place::Watched, names: Names::All, part, why: "" }
}

impl Row {
    const fn at(self, place: Place) -> Row {
        Row { place, ..self }
    }

    const fn named(self, names: Names) -> Row {
        Row { names, ..self }
    }

    const fn because(self, why: &'static str) -> Row {
        Row { why, ..self }
    }
}

/// Every call of a process that scales the built-in kinds.
pub const ROWS: [Row; 21] = [
    row(GROUP, "queueautoscalers", LOOK, "resources").because("what is to be scaled"),
    row(GROUP, "connections", LOOK, "resources").because("which servers may be read"),
    row(GROUP, "clusterconnections", LOOK, "resources").at(Place::Cluster).because("shared servers"),
    row(GROUP, "queueautoscalers/status", &["patch"], "status").because("what became of it"),
    row(GROUP, "queueautoscalers", &["get", "patch"], "restore")
        .because("the finalizer of restoreToOriginalReplicaCount"),
    row("apps", "deployments", LOOK, "workloads").because("how many replicas there are"),
    row("apps", "replicasets", LOOK, "workloads").because("how many replicas there are"),
    row("apps", "statefulsets", LOOK, "workloads").because("how many replicas there are"),
    row("apps", "deployments/scale", SCALE, "scale").because("how many replicas there shall be"),
    row("apps", "replicasets/scale", SCALE, "scale").because("how many replicas there shall be"),
    row("apps", "statefulsets/scale", SCALE, "scale").because("how many replicas there shall be"),
    row("autoscaling", "horizontalpodautoscalers", LOOK, "owners").because("who else scales a workload"),
    row("keda.sh", "scaledobjects", LOOK, "owners").because("who else scales a workload"),
    row("", "secrets", LOOK, "secrets").named(Names::Secrets).because("passwords and certificates of Connections"),
    row("discovery.k8s.io", "endpointslices", LOOK, "endpoints")
        .because("pods behind a Service, whose metrics are read"),
    row("", "pods", LOOK, "endpoints").because("pods that a selector selects, whose metrics are read"),
    row("events.k8s.io", "events", &["create"], "events").because("what happened, for kubectl describe"),
    row("coordination.k8s.io", "leases", &["create"], "lease").at(Place::Own).because("which process leads"),
    row("coordination.k8s.io", "leases", &["get", "update", "watch"], "lease")
        .at(Place::Own)
        .named(Names::Lease)
        .because("which process leads"),
    row("", "configmaps", &["create"], "checkpoints").at(Place::Own).because("what is remembered over a restart"),
    row("", "configmaps", &["get", "update"], "checkpoints")
        .at(Place::Own)
        .named(Names::Checkpoints)
        .because("what is remembered over a restart"),
];

/// A kind that is not built in: `--scale-kind argoproj.io/rollouts`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct ScaleKind {
    pub group: String,
    pub resource: String,
}

/// A Secret of `--secret`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SecretName {
    /// `None`: of any namespace that is watched.
    pub namespace: Option<String>,
    pub name: String,
}

/// Whether to change workloads is among the permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scaling {
    #[default]
    With,
    /// It is not: KEDA scales them all, and each QueueAutoscaler has `dryRun`.
    Without,
    /// It is all that is: what [`Scaling::Without`] lacks.
    Only,
}

/// What is wanted of the permissions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Empty: the whole cluster.
    pub namespaces: Vec<String>,
    /// Where tidegate runs.
    pub own_namespace: String,
    pub service_account: String,
    pub lease: String,
    pub scale_kinds: Vec<ScaleKind>,
    /// Empty: all.
    pub secrets: Vec<SecretName>,
    pub scaling: Scaling,
}

impl Default for Request {
    fn default() -> Self {
        Request {
            namespaces: Vec::new(),
            own_namespace: OWN_NAMESPACE.to_owned(),
            service_account: NAME.to_owned(),
            lease: LEASE.to_owned(),
            scale_kinds: Vec::new(),
            secrets: Vec::new(),
            scaling: Scaling::With,
        }
    }
}

/// Parts of [`crate::cluster`] that do nothing for an autoscaler with `dryRun`.
const SCALING: [&str; 2] = ["scale", "restore"];

/// Some calls, allowed in one place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    /// `None`: in the whole cluster.
    pub namespace: Option<String>,
    pub group: String,
    pub resources: Vec<String>,
    pub verbs: Vec<String>,
    /// Empty: any.
    pub names: Vec<String>,
    pub part: String,
    pub why: String,
}

impl Grant {
    /// Whether it covers a call. `namespace` is `None` for a list of the whole cluster, and for an object that has
    /// none; `name` is `None` where the call names no object.
    #[must_use]
    pub fn allows(&self, namespace: Option<&str>, group: &str, resource: &str, verb: &str, name: Option<&str>) -> bool {
        let here = self.namespace.as_deref().is_none_or(|granted| Some(granted) == namespace);
        let named = self.names.is_empty() || name.is_some_and(|name| self.names.iter().any(|known| known == name));
        here && named
            && self.group == group
            && self.resources.iter().any(|known| known == resource)
            && self.verbs.iter().any(|known| known == verb)
    }
}

/// Everything that a process so started may do.
#[must_use]
pub fn grants(request: &Request) -> Vec<Grant> {
    let mut grants: Vec<Grant> = Vec::new();
    let wanted = |row: &Row| match request.scaling {
        Scaling::With => true,
        Scaling::Without => !SCALING.contains(&row.part),
        Scaling::Only => SCALING.contains(&row.part),
    };
    for row in ROWS.iter().filter(|row| wanted(row)) {
        for (namespace, names) in places(row, request) {
            push(&mut grants, grant(row, row.group, row.resource, namespace, names));
        }
    }
    let like = |resource: &str| ROWS.iter().find(|row| row.resource == resource);
    for kind in &request.scale_kinds {
        let scale = format!("{}/scale", kind.resource);
        let models = [(like("deployments"), kind.resource.as_str()), (like("deployments/scale"), scale.as_str())];
        for (row, resource) in models {
            let Some(row) = row.filter(|row| wanted(row)) else { continue };
            for (namespace, names) in places(row, request) {
                push(&mut grants, grant(row, &kind.group, resource, namespace, names));
            }
        }
    }
    grants
}

fn grant(row: &Row, group: &str, resource: &str, namespace: Option<String>, names: Vec<String>) -> Grant {
    Grant {
        namespace,
        group: group.to_owned(),
        resources: vec![resource.to_owned()],
        verbs: row.verbs.iter().map(ToString::to_string).collect(),
        names,
        part: row.part.to_owned(),
        why: row.why.to_owned(),
    }
}

/// Adds one, to the last where they differ in nothing but the resource.
fn push(grants: &mut Vec<Grant>, new: Grant) {
    let alike = |other: &&mut Grant| {
        other.namespace == new.namespace
            && other.group == new.group
            && other.verbs == new.verbs
            && other.names == new.names
            && other.part == new.part
            && other.why == new.why
    };
    match grants.iter_mut().find(alike) {
        Some(other) => other.resources.extend(new.resources),
        None => grants.push(new),
    }
}

/// Where a row is granted, and for which names there.
fn places(row: &Row, request: &Request) -> Vec<(Option<String>, Vec<String>)> {
    let own = || Some(request.own_namespace.clone());
    let watched: Vec<Option<String>> = match (row.place, request.namespaces.as_slice()) {
        (Place::Own, _) => vec![own()],
        (Place::Cluster, _) | (Place::Watched, []) => vec![None],
        (Place::Watched, namespaces) => namespaces.iter().cloned().map(Some).collect(),
    };
    let names = match row.names {
        Names::All => Vec::new(),
        Names::Lease => vec![request.lease.clone()],
        Names::Checkpoints => (0..SHARDS).map(super::checkpoints::name).collect(),
        Names::Secrets if request.secrets.is_empty() => Vec::new(),
        Names::Secrets => return secrets(&watched, &request.secrets),
    };
    watched.into_iter().map(|namespace| (namespace, names.clone())).collect()
}

fn secrets(watched: &[Option<String>], wanted: &[SecretName]) -> Vec<(Option<String>, Vec<String>)> {
    let mut places: BTreeMap<Option<String>, BTreeSet<String>> = BTreeMap::new();
    for SecretName { namespace, name } in wanted {
        let named = namespace.clone().map(|namespace| vec![Some(namespace)]);
        for place in named.unwrap_or_else(|| watched.to_vec()) {
            places.entry(place).or_default().insert(name.clone());
        }
    }
    places.into_iter().map(|(namespace, names)| (namespace, names.into_iter().collect())).collect()
}

/// The grants as Roles with their bindings, each rule with the reason for it.
#[must_use]
pub fn yaml(request: &Request) -> String {
    let mut by_place: BTreeMap<Option<String>, Vec<Grant>> = BTreeMap::new();
    for grant in grants(request) {
        by_place.entry(grant.namespace.clone()).or_default().push(grant);
    }
    let (flag, calls) = match request.scaling {
        Scaling::With => ("", "Every call that tidegate makes, and nothing more."),
        Scaling::Without => {
            (" --scaling without", "Every call that tidegate makes where KEDA scales all workloads, and nothing more.")
        }
        Scaling::Only => (" --scaling only", "The calls that change workloads, to be added to `--scaling without`."),
    };
    let mut out = format!(
        "# Printed by `tidegate crd --rbac{flag}`. {calls}\n\
         # The ServiceAccount itself comes with whatever runs tidegate.\n",
    );
    for (i, (namespace, grants)) in by_place.into_iter().enumerate() {
        if i > 0 {
            out.push_str("---\n");
        }
        role(&mut out, namespace.as_deref(), &grants, request);
    }
    out
}

fn role(out: &mut String, namespace: Option<&str>, grants: &[Grant], request: &Request) {
    let name = if request.scaling == Scaling::Only { SCALING_NAME } else { NAME };
    let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
    let place = namespace.map_or(String::new(), |namespace| format!(", namespace: {}", quoted(namespace)));
    let metadata = format!("metadata: {{ name: {name}{place}, labels: {{ app.kubernetes.io/name: tidegate }} }}\n");
    let header = "apiVersion: rbac.authorization.k8s.io/v1\n";
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{header}kind: {kind}\n{metadata}rules:\n");
    for grant in grants {
        let list = |items: &[String]| items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "  # {}: {}", grant.part, grant.why);
        let _ = writeln!(out, "  - apiGroups: [{}]", list(std::slice::from_ref(&grant.group)));
        let _ = writeln!(out, "    resources: [{}]", list(&grant.resources));
        if !grant.names.is_empty() {
            let _ = writeln!(out, "    resourceNames: [{}]", list(&grant.names));
        }
        let _ = writeln!(out, "    verbs: [{}]", list(&grant.verbs));
    }
    let (account, home) = (quoted(&request.service_account), quoted(&request.own_namespace));
    let _ = write!(
        out,
        "---\n{header}kind: {kind}Binding\n{metadata}\
         roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: {kind}, name: {name} }}\n\
         subjects: [{{ kind: ServiceAccount, name: {account}, namespace: {home} }}]\n"
    );
}

/// A name as a text of YAML: `123` and `no` are names, too.
fn quoted(name: &str) -> String {
    const WORDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase()) && !WORDS.contains(&name);
    if plain { name.to_owned() } else { format!("\"{name}\"") }
}
