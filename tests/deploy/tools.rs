//! Programs that judge manifests: where `tests/run` put them, or on the PATH.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::support::frameworks::installed;

/// The folder that everything here is about.
pub fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// A program that runs, or `None` after a line that says which one there is not.
pub fn found(what: &str, candidates: &[PathBuf], argument: &str) -> Option<PathBuf> {
    let runs = |path: &&PathBuf| {
        let quiet = Command::new(path).arg(argument).stdin(Stdio::null()).output();
        quiet.is_ok_and(|output| output.status.success())
    };
    let program = candidates.iter().find(runs).cloned();
    if program.is_none() {
        missing(what);
    }
    program
}

/// Says so; a failure where it is required.
pub fn missing(what: &str) {
    let required = std::env::var("TIDEGATE_FRAMEWORKS").is_ok_and(|word| word == "required");
    assert!(!required, "cannot run {what}; tests/run installs it");
    // Past the capture of what passing tests print.
    let _ = writeln!(std::io::stderr(), "cannot run: {what}; tests/run installs it");
}

fn of_kubernetes(name: &str) -> Vec<PathBuf> {
    let ours = installed("kubernetes").map(|home| home.join("bin").join(name));
    ours.into_iter().chain([PathBuf::from(name)]).collect()
}

pub fn kubectl() -> Option<PathBuf> {
    // `kustomize` without an argument prints nothing but ends well with -h.
    let candidates = of_kubernetes("kubectl");
    let help = |path: &PathBuf| Command::new(path).args(["kustomize", "-h"]).output();
    let runs = |path: &&PathBuf| help(path).is_ok_and(|output| output.status.success());
    let program = candidates.iter().find(runs).cloned();
    if program.is_none() {
        missing("kubectl");
    }
    program
}

pub fn helm() -> Option<PathBuf> {
    found("helm", &of_kubernetes("helm"), "version")
}

/// A Python with `kubernetes_validate`.
pub fn validator() -> Option<PathBuf> {
    match installed("kubernetes") {
        Ok(home) => Some(home.join("bin/kubernetes-validate")),
        Err(reason) => {
            missing(&format!("kubernetes-validate: {reason}"));
            None
        }
    }
}

/// The folder with the models of KEDA's kinds and others.
pub fn models() -> Option<PathBuf> {
    match installed("node-kubernetes") {
        Ok(home) => Some(home),
        Err(reason) => {
            missing(&format!("@kubernetes-models: {reason}"));
            None
        }
    }
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
