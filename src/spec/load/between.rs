//! What is wrong between objects, and with none of them alone: names that are taken, workloads with two masters, one
//! namespace with everything.
//!
//! Remembers names and lines, not objects: ten thousand of those would be most of the memory that loading takes.

use std::collections::HashMap;
use std::sync::Arc;

use super::Findings;
use super::objects::{Kind, Object};
use crate::spec::AutoscalerSpec;
use crate::spec::problem::{Place, Problem};

/// Who is there.
#[derive(Default)]
pub(super) struct Names {
    /// Where each was first named.
    first: HashMap<(Kind, String, String), String>,
    namespaces: HashMap<String, Population>,
}

#[derive(Default)]
struct Population {
    autoscalers: usize,
    /// The first beyond the cap.
    beyond: Option<Place>,
}

impl Names {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// Counts `object` in; a second one of its name is a problem.
    pub(super) fn add(&mut self, object: &Object<'_>, most_autoscalers: usize, findings: &mut Findings) {
        const PATH: &str = "metadata.name";
        if object.kind == Kind::QueueAutoscaler {
            let population = self.namespaces.entry(object.namespace.to_owned()).or_default();
            population.autoscalers += 1;
            if population.autoscalers > most_autoscalers {
                population.beyond.get_or_insert_with(|| place(object, PATH));
            }
        }
        let key = (object.kind, object.namespace.to_owned(), object.name.to_owned());
        match self.first.get(&key) {
            Some(_) if object.name.is_empty() => {}
            Some(earlier) => {
                let mut report = object.report();
                let message =
                    format!("a second {} `{}`{}", object.kind.as_str(), object.name, within(object.namespace));
                report.problem(PATH, message, format!("the first is in {earlier}; rename one"));
                findings.take(report);
            }
            None => {
                self.first.insert(key, line_of(object, PATH));
            }
        }
    }

    /// One problem for each namespace that has too many, at the first beyond.
    pub(super) fn report_too_many(self, most: usize, findings: &mut Findings) {
        for (namespace, Population { autoscalers, beyond }) in self.namespaces {
            let Some(place) = beyond else { continue };
            let message = format!("namespace `{namespace}` has {autoscalers} QueueAutoscalers, and {most} are allowed");
            let cure = format!(
                "give several queues to one, or start tidegate with --max-autoscalers-per-namespace {autoscalers}"
            );
            findings.problems.push(Problem::new("metadata.name", message, cure).at(place));
        }
    }
}

/// Whose workload is whose: namespace, API group, kind and name, to the autoscaler and its line.
#[derive(Default)]
pub(super) struct Targets(HashMap<[String; 4], (Arc<str>, String)>);

impl Targets {
    /// Notes the workload of `spec`, which was read from `object`; that it has another master is a problem.
    pub(super) fn add(&mut self, object: &Object<'_>, spec: &AutoscalerSpec, findings: &mut Findings) {
        const PATH: &str = "spec.scaleTargetRef";
        let Some(target) = spec.target.as_ref().filter(|target| !target.name.is_empty()) else { return };
        // The version of an API group is only a spelling of the same object.
        let group = target.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let key = [object.namespace, group, &target.kind, &target.name].map(str::to_owned);
        match self.0.get(&key) {
            // The same autoscaler twice is one mistake, not two.
            Some((earlier, _)) if **earlier == *object.name => {}
            Some((earlier, line)) => {
                let mut report = object.report();
                let message = format!("{} `{}` is already scaled by `{earlier}`", target.kind, target.name);
                report.problem(PATH, message, format!("see {line}; put all triggers into one QueueAutoscaler"));
                findings.take(report);
            }
            None => {
                self.0.insert(key, (Arc::clone(&spec.id.name), line_of(object, PATH)));
            }
        }
    }
}

fn within(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!(" in namespace `{namespace}`") }
}

fn place(object: &Object<'_>, path: &str) -> Place {
    let (line, column) = object.document.place_of(path);
    Place { file: object.file.cloned().unwrap_or_default(), line, column }
}

fn line_of(object: &Object<'_>, path: &str) -> String {
    let place = place(object, path);
    format!("{}:{}", place.file, place.line)
}
