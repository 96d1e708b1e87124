//! Each object that is applied, against the schema of its kind.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate::cluster::crd::{self, Kind};

use super::objects::{called, documents, group, kind};
use super::{rendered, tools};
use crate::support::cluster::Cluster;
use crate::walker;

/// The oldest Kubernetes that `deploy/README.md` promises, and the newest that the validator knows.
const VERSIONS: [&str; 2] = ["1.25.0", "1.37.0"];

/// Groups whose kinds Kubernetes brings along.
const BUILT_IN: [&str; 8] = [
    "",
    "apps",
    "autoscaling",
    "batch",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
];

/// Kinds that stand in no namespace.
const OF_THE_CLUSTER: [&str; 7] = [
    "ClusterConnection",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
    "PriorityClass",
    "StorageClass",
];

/// Everything that anything under `deploy/` makes, each once, with the kustomization it was met in first; examples
/// included.
fn everything() -> Option<Vec<(String, Value)>> {
    let mut seen = BTreeMap::new();
    let all = rendered::all()?;
    let rendered =
        all.iter().flat_map(|rendered| rendered.objects.iter().map(|object| (&rendered.path, object.clone())));
    let mut examples = Vec::new();
    for folder in ["examples", "examples/simulate"] {
        for entry in fs::read_dir(tools::deploy().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let text = fs::read_to_string(&path).unwrap();
                examples.extend(documents(&text).into_iter().map(|object| (format!("{folder}/{name}"), object)));
            }
        }
    }
    for (path, object) in rendered.map(|(path, object)| (path.clone(), object)).chain(examples) {
        seen.entry(object.to_string()).or_insert((path, object));
    }
    Some(seen.into_values().collect())
}

#[test]
fn objects_of_kubernetes_own_kinds_fit_its_schemas() {
    let (Some(everything), Some(validator)) = (everything(), tools::validator()) else { return };
    let folder = TempDir::new().unwrap();
    let mut files = Vec::new();
    let built_in = |object: &Value| BUILT_IN.contains(&group(object));
    for (i, (_, object)) in everything.iter().filter(|(_, object)| built_in(object)).enumerate() {
        // The name is what the validator says of it.
        let name = called(object).replace(['/', ' '], "_");
        let file = folder.path().join(format!("{i}-{name}.yaml"));
        fs::write(&file, object.to_string()).unwrap();
        files.push(file);
    }
    assert!(files.len() > 200, "{}", files.len());
    let planted = folder.path().join("planted.yaml");
    fs::write(&planted, r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"x"},"spec":{"prots":[]}}"#).unwrap();
    for version in VERSIONS {
        let validate = |files: &[std::path::PathBuf]| {
            let output = Command::new(&validator).args(["-k", version, "--strict"]).args(files).output().unwrap();
            (output.status.success(), tools::text(&output))
        };
        let (fits, text) = validate(&files);
        let misfits: Vec<&str> = text.lines().filter(|line| !line.contains("passed")).collect();
        assert!(fits, "under Kubernetes {version}:\n{}", misfits.join("\n"));
        assert!(!validate(std::slice::from_ref(&planted)).0, "the validator refuses what does not fit");
    }
}

#[test]
fn objects_of_other_projects_kinds_fit_their_models() {
    let (Some(everything), Some(models)) = (everything(), tools::models()) else { return };
    let theirs: Vec<&Value> = everything
        .iter()
        .map(|(_, object)| object)
        .filter(|object| !BUILT_IN.contains(&group(object)) && known(object).is_none())
        .filter(|object| {
            group(object) != "apiextensions.k8s.io" && group(object) != "argoproj.io" && group(object) != "tidegate.dev"
        })
        .collect();
    assert!(theirs.len() > 20, "{}", theirs.len());
    let misfits = |objects: &[&Value]| {
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/validate.mjs");
        let mut command = Command::new("node");
        command.arg(script).arg(&models).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(serde_json::to_string(objects).unwrap().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", tools::text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(misfits(&theirs), "");
    // What a slip looks like.
    let mut slip = (*theirs.iter().find(|object| kind(object) == "ScaledObject").unwrap()).clone();
    slip["spec"]["minReplicasCount"] = 1.into();
    slip["spec"]["maxReplicaCount"] = "ten".into();
    let found = misfits(&[&slip]);
    assert!(found.contains("maxReplicaCount"), "{found}");
    slip["spec"]["maxReplicaCount"] = 10.into();
    let found = misfits(&[&slip]);
    assert!(found.contains("no field minReplicasCount"), "{found}");
}

/// Which of our kinds it is.
fn known(object: &Value) -> Option<Kind> {
    Kind::ALL.into_iter().find(|known| group(object) == "tidegate.dev" && kind(object) == known.as_str())
}

#[test]
fn objects_of_our_kinds_are_taken_by_the_api_server() {
    let Some(everything) = everything() else { return };
    let mut met = 0;
    for (path, object) in &everything {
        let Some(kind) = known(object) else { continue };
        let (schema, mut object) = (crd::schema_of(kind), object.clone());
        walker::fill_defaults(&schema, &mut object);
        assert_eq!(walker::misfits(&schema, &object, ""), [""; 0], "deploy/{path}: {}", called(&object));
        met += 1;
    }
    assert!(met > 30, "{met}");
}

/// Where a disposable API server can be started (`KUBEBUILDER_ASSETS`): a dry run there of everything whose kind it knows.
#[test]
fn a_real_api_server_takes_everything() {
    let Some(everything) = everything() else { return };
    if std::env::var_os("KUBEBUILDER_ASSETS").is_none() {
        let line = "cannot run: a dry run of deploy/ by a real API server; KUBEBUILDER_ASSETS names none";
        let _ = writeln!(std::io::stderr(), "{line}");
        return;
    }
    let cluster = Cluster::start();
    let apply = |object: &Value, dry: bool| {
        let scope = match super::objects::namespace(object) {
            _ if OF_THE_CLUSTER.contains(&kind(object)) => String::new(),
            // Where kubectl puts what says nothing of it.
            "" => "/namespaces/default".to_owned(),
            namespace => format!("/namespaces/{namespace}"),
        };
        let root = if group(object).is_empty() { "/api" } else { "/apis" };
        let version = object["apiVersion"].as_str().unwrap();
        let (plural, name) = (plural(kind(object)), super::objects::name(object));
        let dry = if dry { "&dryRun=All" } else { "" };
        let path = format!(
            "{root}/{version}{scope}/{plural}/{name}?fieldManager=deploy-test&force=true&fieldValidation=Strict{dry}"
        );
        cluster.request("PATCH", &path, "application/apply-patch+yaml", object)
    };
    let first = |object: &&Value| ["Namespace", "CustomResourceDefinition"].contains(&kind(object));
    let objects = || everything.iter().map(|(_, object)| object);
    // Nothing can be tried in a namespace that is not there, nor of a kind that is not known.
    let mut namespaces: Vec<&str> = objects().map(super::objects::namespace).filter(|name| !name.is_empty()).collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    for name in namespaces {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
        assert!(apply(&namespace, false).code < 300);
    }
    for object in objects().filter(first) {
        let answer = apply(object, false);
        assert!(answer.code < 300, "{}: {}", called(object), answer.json);
    }
    let mut refused = Vec::new();
    let mut tried = 0;
    for (path, object) in &everything {
        if first(&object) || !(BUILT_IN.contains(&group(object)) || known(object).is_some()) {
            continue;
        }
        tried += 1;
        // A definition is in force a moment after it was made.
        let mut answer = apply(object, true);
        for _ in 0..50 {
            if answer.code != 404 {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
            answer = apply(object, true);
        }
        if answer.code >= 300 {
            refused.push(format!("deploy/{path}: {}: {}", called(object), answer.json["message"]));
        }
    }
    assert!(tried > 200, "{tried}");
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

fn plural(kind: &str) -> String {
    let lower = kind.to_ascii_lowercase();
    match lower.strip_suffix('y') {
        Some(stem) if !lower.ends_with("ay") => format!("{stem}ies"),
        _ if lower.ends_with('s') => format!("{lower}es"),
        _ => format!("{lower}s"),
    }
}
