//! The Helm chart: the same objects as kustomize's, values that are what the schema and the README say.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::objects::{documents, kind, name, namespace};
use super::{rendered, tools};

fn template(helm: &std::path::Path, namespace: &str, settings: &[&str]) -> Result<Vec<Value>, String> {
    let mut command = Command::new(helm);
    command.args(["template", "tidegate"]).arg(tools::deploy().join("helm")).args(["--namespace", namespace]);
    for setting in settings {
        command.args(["--set", setting]);
    }
    let output = command.output().unwrap();
    if !output.status.success() {
        return Err(tools::text(&output));
    }
    Ok(documents(&String::from_utf8(output.stdout).unwrap()))
}

/// By kind and name, with what is meant to differ taken out.
fn comparable(objects: &[Value], namespaced: bool) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for object in objects {
        let mut object = object.clone();
        match kind(&object).to_owned().as_str() {
            // `helm install --create-namespace` makes it.
            "Namespace" => continue,
            // Kept when the release goes, because everything of their kinds would go with them.
            "CustomResourceDefinition" => {
                let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
                let emptied = annotations.is_some_and(|annotations| {
                    annotations.remove("helm.sh/resource-policy");
                    annotations.is_empty()
                });
                if emptied {
                    object["metadata"].as_object_mut().unwrap().remove("annotations");
                }
            }
            // Has none; kustomize does not know that.
            "ClusterTriggerAuthentication" => {
                object["metadata"].as_object_mut().unwrap().remove("namespace");
            }
            // Helm can say what kustomize's comment asks for.
            "ClusterRole" | "ClusterRoleBinding" if namespaced => {
                object["metadata"]["name"] = json!("tidegate");
                if object.get("roleRef").is_some() {
                    object["roleRef"]["name"] = json!("tidegate");
                }
            }
            _ => {}
        }
        all.insert(format!("{} {}/{}", kind(&object), namespace(&object), name(&object)), object);
    }
    all
}

#[test]
fn the_chart_yields_the_objects_of_the_overlays() {
    let Some(helm) = tools::helm() else { return };
    let variants: [(&str, &str, &[&str]); 5] = [
        ("overlays/standalone", "tidegate", &[]),
        ("overlays/keda", "tidegate", &["mode=keda"]),
        ("overlays/keda-mtls", "keda", &["mode=keda", "tls.certManager=true"]),
        ("overlays/namespaced", "tidegate", &["namespaced=true"]),
        ("overlays/standalone with components/high-availability", "tidegate", &["highAvailability=true"]),
    ];
    for (path, own, settings) in variants {
        let Some(kustomize) = rendered::one(path) else { return };
        let helms = template(&helm, own, settings).unwrap_or_else(|error| panic!("{settings:?}: {error}"));
        let namespaced = path.ends_with("namespaced");
        let (ours, theirs) = (comparable(kustomize, namespaced), comparable(&helms, namespaced));
        assert_eq!(ours.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{settings:?}");
        for (name, object) in &ours {
            assert_eq!(object, &theirs[name], "{name} with {settings:?}");
        }
    }
    let Some(kustomize) = rendered::one("overlays/standalone with components/prometheus-operator") else { return };
    let helms = template(&helm, "tidegate", &["monitoring.operator=true"]).unwrap();
    let monitors = |objects: &[Value]| -> Vec<Value> {
        objects.iter().filter(|object| super::objects::group(object) == "monitoring.coreos.com").cloned().collect()
    };
    let (mut ours, mut theirs) = (monitors(kustomize), monitors(&helms));
    for list in [&mut ours, &mut theirs] {
        list.sort_by_key(|object| kind(object).to_owned());
    }
    assert_eq!(ours.len(), 2);
    assert_eq!(ours, theirs);
}

#[test]
fn generated_files_of_the_chart_are_copies() {
    let copies = [
        ("files/crds/queueautoscalers.yaml", "crds/queueautoscalers.yaml"),
        ("files/crds/connections.yaml", "crds/connections.yaml"),
        ("files/crds/clusterconnections.yaml", "crds/clusterconnections.yaml"),
        ("files/rbac.yaml", "tidegate/rbac.yaml"),
        ("files/rbac-scaling.yaml", "components/standalone/rbac.yaml"),
        ("files/rbac-namespaced.yaml", "overlays/namespaced/rbac.yaml"),
        ("files/rules.yaml", "components/prometheus-operator/rules.yaml"),
    ];
    for (copy, original) in copies {
        let read = |path: &str| fs::read_to_string(tools::deploy().join(path)).unwrap_or_default();
        let (copied, original_text) = (read(&format!("helm/{copy}")), read(original));
        assert!(!original_text.is_empty() && copied == original_text, "cp deploy/{original} deploy/helm/{copy}");
    }
}

#[test]
fn settings_that_do_not_go_together_or_do_not_exist_are_refused() {
    let Some(helm) = tools::helm() else { return };
    let wrong: [(&[&str], &str); 5] = [
        (&["tls.certManager=true"], "mode"),
        (&["namespaced=true", "mode=keda"], "mode"),
        (&["mode=both"], "mode"),
        (&["replica=3"], "replica"),
        (&["replicas=0"], "replicas"),
    ];
    for (settings, place) in wrong {
        let error = template(&helm, "tidegate", settings).expect_err(&format!("{settings:?}"));
        assert!(error.contains("schema") && error.contains(place), "{settings:?}: {error}");
    }
}

#[test]
fn the_version_is_the_program_s() {
    let read = |path: &str| fs::read_to_string(tools::deploy().join(path)).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let chart: Value = serde_saphyr::from_str(&read("helm/Chart.yaml")).unwrap();
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
    assert!(read("tidegate/workload/kustomization.yaml").contains(&format!("newTag: {version}")));
}

/// Every value with the comment above it, as (path, comment, default).
fn values() -> Vec<(String, String, String)> {
    let text = fs::read_to_string(tools::deploy().join("helm/values.yaml")).unwrap();
    let (mut rows, mut comment, mut parent) = (Vec::new(), None::<String>, String::new());
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(words) = trimmed.strip_prefix("# -- ") {
            comment = Some(words.to_owned());
        } else if let Some(words) = trimmed.strip_prefix("# ") {
            if let Some(comment) = &mut comment {
                comment.push(' ');
                comment.push_str(words);
            }
        } else if let Some((name, value)) = trimmed.split_once(':') {
            let (top, value) = (line.len() == trimmed.len(), value.trim());
            match (comment.take(), top) {
                (Some(comment), true) if value.is_empty() => {
                    // A block that is one value.
                    parent = name.to_owned();
                    rows.push((name.to_owned(), comment, "see values.yaml".to_owned()));
                }
                (Some(comment), true) => rows.push((name.to_owned(), comment, value.to_owned())),
                (Some(comment), false) => rows.push((format!("{parent}.{name}"), comment, value.to_owned())),
                (None, true) => parent = name.to_owned(),
                (None, false) => {}
            }
        }
    }
    rows
}

#[test]
fn the_readme_has_every_value() {
    let readme = fs::read_to_string(tools::deploy().join("helm/README.md")).unwrap_or_default();
    let rows = values();
    assert!(rows.len() > 15, "{rows:?}");
    let table: String =
        rows.iter().map(|(path, comment, default)| format!("| `{path}` | `{default}` | {comment} |\n")).collect();
    let missing: Vec<&str> = table.lines().filter(|row| !readme.contains(row)).collect();
    assert!(missing.is_empty(), "deploy/helm/README.md lacks:\n{}", missing.join("\n"));
    let kept = readme.lines().filter(|line| line.starts_with("| `")).count();
    assert_eq!(kept, rows.len(), "rows of deploy/helm/README.md beside the values that there are");
}
