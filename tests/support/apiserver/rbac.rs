//! What a client may do, where a test says it: roles and bindings as the manifests have them. Subjects are not looked
//! at: whatever is bound is granted to the client that it was given to.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use super::errors::qualified;

/// Everything that is granted to one client.
#[derive(Clone, Default, Debug)]
pub struct Grants {
    rules: Vec<Rule>,
    /// What was made use of: rule, verb, resource.
    used: Arc<Mutex<BTreeSet<(usize, String, String)>>>,
}

#[derive(Clone, Debug)]
struct Rule {
    groups: Vec<String>,
    resources: Vec<String>,
    /// None are all.
    names: Vec<String>,
    verbs: Vec<String>,
    /// Across all of them without one.
    namespace: Option<String>,
}

/// What somebody wants to do.
pub struct Wish<'a> {
    pub verb: &'a str,
    pub group: &'a str,
    /// With the subresource.
    pub resource: &'a str,
    /// Empty across all of them.
    pub namespace: &'a str,
    /// For lists and watches, the one that their field selector lets through.
    pub name: &'a str,
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

impl Grants {
    /// From (Cluster)Roles and (Cluster)RoleBindings; other documents are passed over.
    pub fn of(documents: &[Value]) -> Self {
        let mut grants = Grants::default();
        let bindings = documents
            .iter()
            .filter(|document| matches!(document["kind"].as_str(), Some("RoleBinding" | "ClusterRoleBinding")));
        for binding in bindings {
            let reference = &binding["roleRef"];
            let local = binding["kind"] == "RoleBinding";
            let place = binding["metadata"]["namespace"].as_str().filter(|_| local).map(str::to_owned);
            let role = documents.iter().find(|document| {
                document["kind"] == reference["kind"]
                    && document["metadata"]["name"] == reference["name"]
                    && (reference["kind"] == "ClusterRole"
                        || document["metadata"]["namespace"] == binding["metadata"]["namespace"])
            });
            for rule in role.and_then(|role| role["rules"].as_array()).into_iter().flatten() {
                grants.rules.push(Rule {
                    groups: texts(&rule["apiGroups"]),
                    resources: texts(&rule["resources"]),
                    names: texts(&rule["resourceNames"]),
                    verbs: texts(&rule["verbs"]),
                    namespace: place.clone(),
                });
            }
        }
        grants
    }

    pub fn allow(&self, wish: &Wish<'_>) -> bool {
        let has = |all: &[String], one: &str| all.iter().any(|each| each == "*" || each == one);
        let allows = |rule: &Rule| {
            has(&rule.groups, wish.group)
                && has(&rule.resources, wish.resource)
                && has(&rule.verbs, wish.verb)
                && (rule.names.is_empty() || rule.names.iter().any(|name| name == wish.name))
                && rule.namespace.as_ref().is_none_or(|namespace| namespace == wish.namespace)
        };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut allowed = false;
        for (index, _) in self.rules.iter().enumerate().filter(|(_, rule)| allows(rule)) {
            used.insert((index, wish.verb.to_owned(), wish.resource.to_owned()));
            allowed = true;
        }
        allowed
    }

    /// What no request was allowed by, as `verb resource.group`. What says `*` counts as used.
    pub fn unused(&self) -> Vec<String> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut unused = BTreeSet::new();
        for (index, rule) in self.rules.iter().enumerate() {
            for (verb, resource) in rule.verbs.iter().flat_map(|verb| rule.resources.iter().map(move |one| (verb, one)))
            {
                if verb != "*" && resource != "*" && !used.contains(&(index, verb.clone(), resource.clone())) {
                    let group = rule.groups.first().map_or("", String::as_str);
                    unused.insert(format!("{verb} {}", qualified(resource, group)));
                }
            }
        }
        unused.into_iter().collect()
    }
}
