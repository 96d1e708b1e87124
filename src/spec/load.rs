//! The first door: manifest files, all of them at once, to autoscalers and grants, or to every problem in them.
//!
//! Read twice, because an autoscaler may refer to a connection in whatever file either stands: first the connections,
//! then the autoscalers. One document at a time is kept as a tree: those of ten thousand autoscalers together would be
//! more than everything that the process holds of them afterwards, and it would never get smaller again.

mod between;
pub(super) mod objects;
mod scenarios;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

use between::{Names, Targets};
use objects::{Kind, Object, unpack};

pub use scenarios::scenarios;

use crate::spec::grants::Grants;
use crate::spec::limits::Limits;
use crate::spec::manifest::API_VERSION;
use crate::spec::problem::{Place, Problem, Problems};
use crate::spec::report::Report;
use crate::spec::tree::{self, Node};
use crate::spec::{AutoscalerSpec, Origin};

/// One file as read: its name for messages, and its text (one or more YAML or JSON documents).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceText {
    pub file: String,
    pub text: String,
}

/// What the operator lets manifests and KEDA's metadata do.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// Addresses that metadata may name without a Connection.
    pub allow_addresses: Vec<String>,
    /// Where anything may lead at all; `None` for everywhere.
    pub only_addresses: Option<Vec<String>>,
    pub limits: Limits,
    /// The autoscalers are to be compared, not run: several may have one name, and scale one workload.
    pub alternatives: bool,
}

/// What a set of files means.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// In the order of the files.
    pub autoscalers: Vec<Arc<AutoscalerSpec>>,
    pub grants: Grants,
    /// What will work, but perhaps not as its author thinks.
    pub warnings: Vec<Problem>,
}

/// Reads a set of files that belong together.
///
/// # Errors
///
/// Everything that is wrong in any of them, in the order of the files and their lines.
pub fn load<T: Borrow<SourceText>>(texts: &[T], terms: &Terms) -> Result<Loaded, Problems> {
    let mut findings = Findings::default();
    let most = terms.limits.autoscalers_per_namespace;
    let mut grants = Grants::new(&terms.allow_addresses).fenced(terms.only_addresses.as_deref());
    let mut names = Names::default();
    for text in texts {
        each_document(text.borrow(), &mut findings, true, |file, document, findings| {
            let (object, report) = Object::of(Some(file), document);
            findings.take(report);
            if let Some(object) = object.filter(|object| !(terms.alternatives && object.kind == Kind::QueueAutoscaler))
            {
                names.add(&object, most, findings);
                declare_connection(&object, &mut grants, findings);
            }
        });
    }
    let nothing_is_ours = names.is_empty();
    names.report_too_many(most, &mut findings);

    let mut autoscalers = Vec::new();
    let mut targets = Targets::default();
    for text in texts {
        each_document(text.borrow(), &mut findings, false, |file, document, findings| {
            // What is wrong with the object as such was said at the first reading.
            let (Some(object), _) = Object::of(Some(file), document) else { return };
            if object.kind == Kind::QueueAutoscaler {
                let spec = autoscaler(&object, &grants, findings);
                if !terms.alternatives {
                    targets.add(&object, &spec, findings);
                }
                autoscalers.push(Arc::new(spec));
            }
        });
    }
    // Without any file there is none to be surprised at: KEDA's metadata may be all that is wanted.
    if nothing_is_ours && findings.problems.is_empty() && !texts.is_empty() {
        let cure = format!("expected objects of apiVersion {API_VERSION}");
        findings.warnings.push(Problem::new("", "nothing to scale and no connection in these files", cure));
    }

    findings.sort(texts);
    if findings.problems.is_empty() {
        Ok(Loaded { autoscalers, grants, warnings: findings.warnings })
    } else {
        let others = findings.problems.len().saturating_sub(MOST_PROBLEMS);
        if others > 0 {
            let first = findings.problems.get(MOST_PROBLEMS).and_then(|problem| problem.place.clone());
            findings.problems.truncate(MOST_PROBLEMS);
            let cure = "correct those that are named; many have one cause";
            let more = Problem::new("", format!("{others} more problems from here on"), cure);
            findings.problems.push(Problem { place: first, ..more });
        }
        Err(Problems(findings.problems))
    }
}

/// More than anybody reads at once. In the order of the files, the first ones are the best to begin with.
const MOST_PROBLEMS: usize = 1000;

#[derive(Default)]
struct Findings {
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
}

impl Findings {
    /// Takes over what was found in one object; `true` if it may be used.
    fn take(&mut self, report: Report<'_>) -> bool {
        let (problems, warnings) = report.into_findings();
        let usable = problems.is_empty();
        self.problems.extend(problems);
        self.warnings.extend(warnings);
        usable
    }

    fn sort<T: Borrow<SourceText>>(&mut self, texts: &[T]) {
        let order: HashMap<&str, usize> =
            texts.iter().enumerate().rev().map(|(i, text)| (text.borrow().file.as_str(), i)).collect();
        let key = |problem: &Problem| {
            problem.place.as_ref().map(|place| (order.get(&*place.file).copied(), place.line, place.column))
        };
        self.problems.sort_by_key(key);
        self.warnings.sort_by_key(key);
    }
}

/// Reads a file's documents, one after another; errors of the format go to `findings`, if they are wanted.
fn each_document(
    text: &SourceText,
    findings: &mut Findings,
    saying: bool,
    mut take: impl FnMut(&Arc<str>, &Node, &mut Findings),
) {
    let file: Arc<str> = Arc::from(text.file.as_str());
    let mut unpacked = Vec::new();
    for document in tree::documents(&text.text) {
        match document {
            Ok(node) => unpack(node, &mut unpacked),
            Err(error) if saying => {
                let place = Place { file: Arc::clone(&file), line: error.line, column: error.column };
                let message = format!("cannot be read from here on: {}", error.message);
                findings.problems.push(Problem::new("", message, error.cure).at(place));
            }
            Err(_) => {}
        }
        for document in unpacked.drain(..) {
            take(&file, &document, findings);
        }
    }
}

fn declare_connection(object: &Object<'_>, grants: &mut Grants, findings: &mut Findings) {
    if object.kind == Kind::QueueAutoscaler {
        return;
    }
    let mut report = object.report();
    let read = objects::connection(object, Origin::Manifest, grants, &mut report);
    let usable = findings.take(report);
    match read {
        Some(read) if usable => grants.declare(object.scope(), object.name, read),
        _ => grants.declare_broken(object.scope(), object.name),
    }
}

/// May be a stand-in: it counts only if nothing was found in any file.
fn autoscaler(object: &Object<'_>, grants: &Grants, findings: &mut Findings) -> AutoscalerSpec {
    let mut report = object.report();
    let spec = objects::autoscaler(object, Origin::Manifest, grants, &mut report);
    findings.take(report);
    spec
}
