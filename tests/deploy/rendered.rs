//! Every kustomization under `deploy/`, built once for all tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use super::objects::{called, documents};
use super::tools;

/// A kustomization and what it makes.
pub struct Rendered {
    /// Below `deploy/`; what was put together for a component names both.
    pub path: String,
    pub objects: Vec<Value>,
    /// Why it makes nothing.
    pub error: Option<String>,
}

/// Components that no kustomization of ours has, each with one that it can be added to.
const ALSO: [(&str, &str); 8] = [
    ("components/prometheus-operator", "overlays/standalone"),
    ("components/high-availability", "overlays/standalone"),
    ("components/keda-client-certificate", "stacks/pulse/overlays/keda"),
    ("components/keda-client-certificate", "stacks/jewelry-shop/overlays/keda"),
    ("components/keda-client-certificate", "stacks/projections/overlays/keda"),
    ("components/keda-client-certificate", "stacks/parkshare/overlays/keda-canary"),
    ("components/keda-client-certificate", "stacks/example-service/overlays/keda"),
    // One tidegate for both ways.
    ("components/standalone", "overlays/keda"),
];

/// All of them; `None` where there is no kubectl.
pub fn all() -> Option<&'static [Rendered]> {
    static ALL: OnceLock<Option<Vec<Rendered>>> = OnceLock::new();
    ALL.get_or_init(|| tools::kubectl().map(|kubectl| render(&kubectl))).as_deref()
}

/// What one of them makes.
pub fn one(path: &str) -> Option<&'static [Value]> {
    let all = all()?;
    let found = all.iter().find(|rendered| rendered.path == path);
    let found = found.unwrap_or_else(|| panic!("no kustomization in deploy/{path}"));
    assert_eq!(found.error, None);
    Some(&found.objects)
}

fn render(kubectl: &Path) -> Vec<Rendered> {
    let (folders, _) = kustomizations();
    let mut wanted: Vec<(String, PathBuf)> =
        folders.iter().map(|folder| (below(folder), tools::deploy().join(folder))).collect();
    let joined: Vec<(String, TempDir)> = also()
        .iter()
        .map(|(component, base)| (format!("{base} with {component}"), put_together(component, base)))
        .collect();
    wanted.extend(joined.iter().map(|(name, folder)| (name.clone(), folder.path().to_owned())));
    let (next, done) = (Mutex::new(wanted.into_iter()), Mutex::new(Vec::new()));
    // Each takes a fifth of a second of one core.
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some((name, folder)) = next.lock().unwrap().next() else { return };
                    let output = Command::new(kubectl).arg("kustomize").arg(&folder).output().unwrap();
                    done.lock().unwrap().push((name, output));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by(|(one, _), (other, _)| one.cmp(other));
    let built = |(path, output): (String, std::process::Output)| {
        // What is deprecated is said on standard error.
        if output.status.success() && output.stderr.is_empty() {
            let objects = documents(&String::from_utf8(output.stdout).unwrap());
            Rendered { path, objects, error: None }
        } else {
            let error = format!("kubectl kustomize deploy/{path}: {}", tools::text(&output));
            Rendered { path, objects: Vec::new(), error: Some(error) }
        }
    };
    done.into_iter().map(built).collect()
}

/// Folders with a kustomization, and those with a component, below `deploy/`.
fn kustomizations() -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut ours, mut components) = (Vec::new(), Vec::new());
    let mut folders = vec![tools::deploy()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("kustomization.yaml") {
                let text = fs::read_to_string(&path).unwrap();
                let kind = if text.contains("\nkind: Component\n") { &mut components } else { &mut ours };
                kind.push(folder.strip_prefix(tools::deploy()).unwrap().to_owned());
            }
        }
    }
    ours.sort();
    components.sort();
    (ours, components)
}

fn below(folder: &Path) -> String {
    folder.display().to_string()
}

/// [`ALSO`], and the components of stacks that stand in no overlay: with the one that what they patch is in.
fn also() -> Vec<(String, String)> {
    let mut also: Vec<(String, String)> =
        ALSO.iter().map(|(component, base)| ((*component).to_owned(), (*base).to_owned())).collect();
    let (folders, components) = kustomizations();
    let used: Vec<PathBuf> = folders.iter().chain(&components).flat_map(|folder| components_of(folder)).collect();
    for component in components {
        let component = below(&component);
        if used.contains(&PathBuf::from(&component)) || also.iter().any(|(known, _)| *known == component) {
            continue;
        }
        let stack = component.split("/components/").next().unwrap();
        assert!(component.starts_with("stacks/"), "deploy/{component} is in no kustomization");
        // The Secrets of managed stores are there only.
        let overlay = if component.ends_with("/without-secrets") { "external" } else { "standalone" };
        also.push((component.clone(), format!("{stack}/overlays/{overlay}")));
    }
    also
}

/// What stands under `components:` of a kustomization, below `deploy/`.
fn components_of(folder: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(tools::deploy().join(folder).join("kustomization.yaml")).unwrap();
    let written: Value = serde_saphyr::from_str(&text).unwrap();
    let list = written["components"].as_array().cloned().unwrap_or_default();
    list.iter().map(|path| resolved(&folder.join(path.as_str().unwrap()))).collect()
}

fn resolved(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

/// A kustomization of a base with a component. It may not name a folder by its absolute path.
fn put_together(component: &str, base: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    let inside = fs::canonicalize(folder.path()).unwrap();
    let up = "../".repeat(inside.components().count() - 1);
    let deploy = fs::canonicalize(tools::deploy()).unwrap();
    let deploy = format!("{up}{}", deploy.strip_prefix("/").unwrap().display());
    let text = format!(
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [{deploy}/{base}]\n\
         components: [{deploy}/{component}]\n"
    );
    fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    folder
}

#[test]
fn every_kustomization_is_built_and_makes_each_object_once() {
    let Some(all) = all() else { return };
    let errors: Vec<&str> = all.iter().filter_map(|rendered| rendered.error.as_deref()).collect();
    assert!(errors.is_empty(), "{}", errors.join("\n"));
    for rendered in all {
        assert!(!rendered.objects.is_empty(), "deploy/{} makes nothing", rendered.path);
        let mut names: Vec<String> =
            rendered.objects.iter().map(|object| format!("{} {}", object["apiVersion"], called(object))).collect();
        names.sort();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before, "deploy/{}", rendered.path);
    }
    let has = |path: &str| all.iter().any(|rendered| rendered.path == path);
    for stack in ["parkshare", "jewelry-shop", "example-service", "projections", "pulse"] {
        for overlay in ["standalone", "keda", "external"] {
            assert!(has(&format!("stacks/{stack}/overlays/{overlay}")), "stacks/{stack}/overlays/{overlay}");
        }
    }
    for overlay in ["standalone", "namespaced", "keda", "keda-mtls"] {
        assert!(has(&format!("overlays/{overlay}")), "overlays/{overlay}");
    }
}

/// What kubectl 1.21 knows of a kustomization (kustomize 4.0), as far as we use it. It refuses what it does not know, such as
/// `labels`, `replacements` and `helmCharts`.
const FIELDS: [&str; 10] = [
    "apiVersion",
    "kind",
    "commonAnnotations",
    "components",
    "images",
    "nameSuffix",
    "namespace",
    "patches",
    "resources",
    "transformers",
];

#[test]
fn no_kustomization_has_a_field_that_kubectl_1_21_does_not_know() {
    let (folders, components) = kustomizations();
    for folder in folders.iter().chain(&components) {
        let text = fs::read_to_string(tools::deploy().join(folder).join("kustomization.yaml")).unwrap();
        let written: Value = serde_saphyr::from_str(&text).unwrap();
        for field in written.as_object().unwrap().keys() {
            assert!(FIELDS.contains(&field.as_str()), "deploy/{}: {field}", below(folder));
        }
    }
}

#[test]
fn a_team_s_own_namespace_is_everywhere_where_the_overlay_says_to_write_it() {
    let Some(kubectl) = tools::kubectl() else { return };
    // As its comment says: copied, and the namespace written in three places.
    let folder = TempDir::new_in(tools::deploy().join("overlays")).unwrap();
    for file in ["kustomization.yaml", "rbac.yaml", "deployment.yaml"] {
        let text = fs::read_to_string(tools::deploy().join("overlays/namespaced").join(file)).unwrap();
        let text = if file == "kustomization.yaml" {
            text.replace("namespace: tidegate", "namespace: shop").replace("value: tidegate", "value: shop")
        } else {
            text
        };
        fs::write(folder.path().join(file), text).unwrap();
    }
    let output = Command::new(kubectl).arg("kustomize").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", tools::text(&output));
    for object in documents(&String::from_utf8(output.stdout).unwrap()) {
        let cluster = ["ClusterRole", "ClusterRoleBinding"].contains(&object["kind"].as_str().unwrap());
        let namespace = object.pointer("/metadata/namespace").and_then(Value::as_str);
        assert_eq!(namespace, (!cluster).then_some("shop"), "{}", called(&object));
        if let Some(subjects) = object["subjects"].as_array() {
            assert!(subjects.iter().all(|subject| subject["namespace"] == "shop"), "{}", called(&object));
        }
    }
}
