//! Scenarios out of the same files as manifests, for `simulate`.

use std::borrow::Borrow;
use std::sync::{Arc, LazyLock};

use serde_json::Value as Json;

use super::{Findings, SourceText, each_document};
use crate::spec::manifest::{API_VERSION, ScenarioBody};
use crate::spec::problem::Problems;
use crate::spec::report::Report;
use crate::spec::scenario::Scenario;
use crate::spec::tree::Node;
use crate::spec::{schema, validate};

/// The kind of their documents.
pub(super) const KIND: &str = "Scenario";

static SCHEMA: LazyLock<Json> = LazyLock::new(schema::of::<ScenarioBody>);

/// Every Scenario of the files, in their order; what else is in them is for [`super::load`].
///
/// # Errors
///
/// Everything that is wrong with any of them. What is no YAML is left for [`super::load`] to say.
pub fn scenarios<T: Borrow<SourceText>>(texts: &[T]) -> Result<Vec<Scenario>, Problems> {
    let mut findings = Findings::default();
    let mut scenarios = Vec::new();
    for text in texts {
        each_document(text.borrow(), &mut findings, false, |file, document, findings| {
            if document.get("kind").and_then(|entry| entry.node.text()) == Some(KIND) {
                let mut report = Report::of_document(Some(Arc::clone(file)), document);
                scenarios.push(one(file, document, &mut report));
                findings.take(report);
            }
        });
    }
    findings.sort(texts);
    if findings.problems.is_empty() { Ok(scenarios) } else { Err(Problems(findings.problems)) }
}

fn one(file: &str, document: &Node, report: &mut Report<'_>) -> Scenario {
    let text = |node: &Node, key: &str| node.get(key).and_then(|entry| entry.node.text().map(str::to_owned));
    match text(document, "apiVersion") {
        Some(version) if version == API_VERSION => {}
        found => {
            let message = found.map_or_else(|| "missing".to_owned(), |found| format!("`{found}` is not ours"));
            report.problem("apiVersion", message, format!("write apiVersion: {API_VERSION}"));
        }
    }
    let name = document.get("metadata").and_then(|metadata| text(&metadata.node, "name"));
    match &name {
        Some(name) => validate::check_name(name, "metadata.name", report),
        None => report.problem("metadata.name", "missing", "e.g. metadata: { name: black-friday }"),
    }
    let body = match document.get("spec") {
        Some(spec) => schema::prune(&SCHEMA, &spec.node, "spec", report),
        None => {
            report.explain("spec", "missing", "write spec: and, below it, jobs and workers");
            None
        }
    };
    let body: ScenarioBody = body.map_or_else(ScenarioBody::default, |body| {
        serde_json::from_value(body).unwrap_or_else(|error| {
            // The schema and serde's types are one; this is a mistake of ours, and no reason to accept half of it.
            report.problem("spec", format!("cannot be read: {error}"), "please report this");
            ScenarioBody::default()
        })
    });
    validate::scenario(file, name.as_deref().unwrap_or_default(), &body, report)
}
