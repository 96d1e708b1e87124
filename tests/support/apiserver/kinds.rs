//! Which kinds are served, and how each differs: scope, subresources, defaults. Custom ones come with their
//! CustomResourceDefinition.

use serde_json::{Value, json};

use super::errors::qualified;

/// One resource.
#[derive(Clone, Debug)]
pub struct Kind {
    pub group: String,
    /// The first is the preferred one.
    pub versions: Vec<String>,
    pub plural: String,
    pub kind: String,
    pub namespaced: bool,
    /// Whether `/status` is a subresource: then no other write changes the status, and that one changes nothing else.
    pub status: bool,
    pub scale: Option<Scale>,
    /// From a definition: items of lists carry their kind, and there is no strategic merge patch.
    pub custom: bool,
    pub generation: bool,
    /// Whether a PUT may leave out the resourceVersion.
    pub unconditional: bool,
    pub short_names: Vec<String>,
}

/// Where `/scale` finds its fields; JSON pointers.
#[derive(Clone, Debug)]
pub struct Scale {
    pub spec: String,
    pub status: String,
    /// A string, in custom resources; for the built-in kinds `spec.selector.matchLabels` is written out.
    pub selector: Option<String>,
}

impl Kind {
    fn builtin(group: &str, version: &str, plural: &str, kind: &str) -> Self {
        Kind {
            group: group.to_owned(),
            versions: vec![version.to_owned()],
            plural: plural.to_owned(),
            kind: kind.to_owned(),
            namespaced: true,
            status: false,
            scale: None,
            custom: false,
            generation: false,
            unconditional: true,
            short_names: Vec::new(),
        }
    }

    fn workload(plural: &str, kind: &str, short: &str) -> Self {
        let scale = Scale { spec: "/spec/replicas".into(), status: "/status/replicas".into(), selector: None };
        Kind {
            status: true,
            scale: Some(scale),
            generation: true,
            short_names: vec![short.to_owned()],
            ..Kind::builtin("apps", "v1", plural, kind)
        }
    }

    /// What every server has, as far as it matters here.
    pub fn builtins() -> Vec<Kind> {
        let core = |plural, kind| Kind::builtin("", "v1", plural, kind);
        vec![
            core("configmaps", "ConfigMap"),
            core("secrets", "Secret"),
            core("pods", "Pod"),
            Kind { namespaced: false, status: true, ..core("namespaces", "Namespace") },
            Kind::workload("deployments", "Deployment", "deploy"),
            Kind::workload("statefulsets", "StatefulSet", "sts"),
            Kind::workload("replicasets", "ReplicaSet", "rs"),
            Kind { status: true, generation: true, ..Kind::builtin("apps", "v1", "daemonsets", "DaemonSet") },
            Kind {
                status: true,
                ..Kind::builtin("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
            },
            Kind { unconditional: false, ..Kind::builtin("coordination.k8s.io", "v1", "leases", "Lease") },
            Kind::builtin("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
            Kind::builtin("events.k8s.io", "v1", "events", "Event"),
            Kind {
                namespaced: false,
                unconditional: false,
                status: true,
                generation: true,
                ..Kind::builtin("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition")
            },
            Kind::builtin("rbac.authorization.k8s.io", "v1", "roles", "Role"),
            Kind::builtin("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
            Kind {
                namespaced: false,
                ..Kind::builtin("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole")
            },
            Kind {
                namespaced: false,
                ..Kind::builtin("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding")
            },
        ]
    }

    /// The kind that a CustomResourceDefinition defines.
    pub fn of_definition(definition: &Value) -> Option<Kind> {
        let spec = &definition["spec"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let served = |version: &&Value| version["served"] == true;
        let versions: Vec<&Value> = spec["versions"].as_array()?.iter().filter(served).collect();
        let subresources = &versions.first()?["subresources"];
        let pointer = |path: &str| path.replace('.', "/");
        let scale = subresources["scale"].as_object().map(|scale| {
            let path = |name: &str| scale.get(name).and_then(Value::as_str).map(pointer);
            Scale {
                spec: path("specReplicasPath").unwrap_or_default(),
                status: path("statusReplicasPath").unwrap_or_default(),
                selector: path("labelSelectorPath"),
            }
        });
        Some(Kind {
            group: text(&spec["group"])?,
            versions: versions.iter().filter_map(|version| text(&version["name"])).collect(),
            plural: text(&spec["names"]["plural"])?,
            kind: text(&spec["names"]["kind"])?,
            namespaced: spec["scope"] == "Namespaced",
            status: subresources["status"].is_object(),
            scale,
            custom: true,
            generation: true,
            unconditional: false,
            short_names: spec["names"]["shortNames"].as_array().into_iter().flatten().filter_map(text).collect(),
        })
    }

    /// `deployments.apps`.
    pub fn qualified(&self) -> String {
        qualified(&self.plural, &self.group)
    }

    pub fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }

    /// What a server fills in where the manifest says nothing.
    pub fn set_defaults(&self, object: &mut Value) {
        if self.group == "apps" && self.scale.is_some() && object["spec"]["replicas"].is_null() {
            object["spec"]["replicas"] = 1.into();
        }
    }

    // === discovery ===

    fn verbs() -> Value {
        json!(["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"])
    }

    fn singular(&self) -> String {
        self.kind.to_ascii_lowercase()
    }

    /// Its lines in an APIResourceList.
    pub fn resources(&self) -> Vec<Value> {
        let part = |sub: &str, kind: &str| {
            json!({"name": format!("{}/{sub}", self.plural), "singularName": "", "namespaced": self.namespaced,
                "kind": kind, "verbs": ["get", "patch", "update"]})
        };
        let mut all = vec![json!({"name": self.plural, "singularName": self.singular(), "kind": self.kind,
            "namespaced": self.namespaced, "verbs": Kind::verbs(), "shortNames": self.short_names})];
        if self.scale.is_some() {
            let mut scale = part("scale", "Scale");
            scale["group"] = "autoscaling".into();
            scale["version"] = "v1".into();
            all.push(scale);
        }
        if self.status {
            all.push(part("status", &self.kind));
        }
        all
    }

    /// Its entry in an APIGroupDiscoveryList.
    pub fn discovery(&self, version: &str) -> Value {
        let response =
            |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
        let part = |name: &str, kind: Value| json!({"subresource": name, "responseKind": kind, "verbs": ["get", "patch", "update"]});
        let mut parts = Vec::new();
        if self.scale.is_some() {
            parts.push(part("scale", response("autoscaling", "v1", "Scale")));
        }
        if self.status {
            parts.push(part("status", response(&self.group, version, &self.kind)));
        }
        let scope = if self.namespaced { "Namespaced" } else { "Cluster" };
        json!({"resource": self.plural, "responseKind": response(&self.group, version, &self.kind), "scope": scope,
            "singularResource": self.singular(), "verbs": Kind::verbs(), "shortNames": self.short_names,
            "subresources": parts})
    }
}
