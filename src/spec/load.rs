//! The first door: manifest files, all of them at once, to autoscalers and grants, or to every problem in them.
//!
//! Read in three rounds, because each needs the whole of the one before: documents, then connections, then the
//! autoscalers that refer to them, in whatever file either may stand.

mod objects;

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value as Json;

use objects::{Kind, Object, annotations, unpack};

use crate::model::AutoscalerId;
use crate::spec::grants::Grants;
use crate::spec::limits::Limits;
use crate::spec::manifest::{API_VERSION, ClusterConnectionBody, ConnectionBody, QueueAutoscalerBody};
use crate::spec::problem::{Place, Problem, Problems};
use crate::spec::report::Report;
use crate::spec::tree::{self, Node};
use crate::spec::{AutoscalerSpec, ConnectionSpec, Origin, Server, schema, validate};

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
    let mut documents = Vec::new();
    for text in texts {
        read_file(text.borrow(), &mut documents, &mut findings);
    }
    let mut objects = Vec::new();
    for (file, document) in &documents {
        let (object, report) = Object::of(file, document);
        findings.take(report);
        objects.extend(object);
    }
    report_duplicates(&objects, &mut findings);

    report_too_many(&objects, terms.limits.autoscalers_per_namespace, &mut findings);

    let mut grants = Grants::new(&terms.allow_addresses).fenced(terms.only_addresses.as_deref());
    for object in &objects {
        declare_connection(object, &mut grants, &mut findings);
    }
    let mut autoscalers = Vec::new();
    for object in objects.iter().filter(|object| object.kind == Kind::QueueAutoscaler) {
        autoscalers.push((object, autoscaler(object, &grants, &mut findings)));
    }
    report_shared_targets(&autoscalers, &mut findings);
    // Without any file there is none to be surprised at: KEDA's metadata may be all that is wanted.
    if objects.is_empty() && findings.problems.is_empty() && !texts.is_empty() {
        let cure = format!("expected objects of apiVersion {API_VERSION}");
        findings.warnings.push(Problem::new("", "nothing to scale and no connection in these files", cure));
    }

    findings.sort(texts);
    if findings.problems.is_empty() {
        let autoscalers = autoscalers.into_iter().map(|(_, spec)| Arc::new(spec)).collect();
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

fn read_file(text: &SourceText, documents: &mut Vec<(Arc<str>, Node)>, findings: &mut Findings) {
    let file: Arc<str> = Arc::from(text.file.as_str());
    for document in tree::parse(&text.text) {
        match document {
            Ok(node) => unpack(&file, node, documents),
            Err(error) => {
                let place = Place { file: Arc::clone(&file), line: error.line, column: error.column };
                let message = format!("cannot be read from here on: {}", error.message);
                findings.problems.push(Problem::new("", message, error.cure).at(place));
            }
        }
    }
}

// === what the objects mean ===

static AUTOSCALER: LazyLock<Json> = LazyLock::new(schema::of::<QueueAutoscalerBody>);
static CONNECTION: LazyLock<Json> = LazyLock::new(schema::of::<ConnectionBody>);
static CLUSTER_CONNECTION: LazyLock<Json> = LazyLock::new(schema::of::<ClusterConnectionBody>);

fn declare_connection(object: &Object<'_>, grants: &mut Grants, findings: &mut Findings) {
    let mut report = object.report();
    let (namespace, name) = (object.namespace, object.name);
    match object.kind {
        Kind::QueueAutoscaler => {}
        Kind::Connection => {
            let body: ConnectionBody = object.body(&CONNECTION, &mut report);
            let connection = validate::connection(namespace, name, &body, &mut report);
            report_beyond_fence(connection.as_ref(), object, grants, &mut report);
            let usable = findings.take(report);
            match connection {
                Some(connection) if usable => grants.declare(namespace, name, Arc::new(connection)),
                _ => grants.declare_broken(Some(namespace), name),
            }
        }
        Kind::ClusterConnection => {
            let body: ClusterConnectionBody = object.body(&CLUSTER_CONNECTION, &mut report);
            let read = validate::cluster_connection(name, &body, &mut report);
            report_beyond_fence(read.as_ref().map(|(_, connection)| connection), object, grants, &mut report);
            let usable = findings.take(report);
            match read {
                Some((allowed, connection)) if usable => {
                    grants.declare_for_cluster(name, allowed, Arc::new(connection));
                }
                _ => grants.declare_broken(None, name),
            }
        }
    }
}

fn report_beyond_fence(
    connection: Option<&ConnectionSpec>,
    object: &Object<'_>,
    grants: &Grants,
    report: &mut Report<'_>,
) {
    let Some(Server::Redis(redis)) = connection.map(|connection| &connection.server) else { return };
    // What is no address at all has been said.
    if !report.problems.is_empty() || grants.permits(&redis.address) {
        return;
    }
    let written = |field: &str| {
        let spec = object.document.get("spec").and_then(|entry| entry.node.get("redis"));
        spec.is_some_and(|redis| redis.node.get(field).is_some())
    };
    let path = if written("host") { "spec.redis.host" } else { "spec.redis.address" };
    report.problem(
        path,
        format!("no connection may lead to {}: it is not in --only-addresses", redis.address),
        format!("add {} to --only-addresses, or take the Connection out", redis.address),
    );
}

/// May be a stand-in: it counts only if nothing was found in any file.
fn autoscaler(object: &Object<'_>, grants: &Grants, findings: &mut Findings) -> AutoscalerSpec {
    let mut report = object.report();
    let annotations = annotations(object.document, &mut report);
    let body: QueueAutoscalerBody = object.body(&AUTOSCALER, &mut report);
    let head = validate::Head {
        id: AutoscalerId::new(object.namespace, object.name),
        origin: Origin::Manifest,
        annotations,
        connection: None,
    };
    let spec = validate::autoscaler(head, &body, grants, &mut report);
    findings.take(report);
    spec
}

// === between objects ===

fn report_duplicates(objects: &[Object<'_>], findings: &mut Findings) {
    let mut first: HashMap<(Kind, &str, &str), &Object<'_>> = HashMap::new();
    for object in objects.iter().filter(|object| !object.name.is_empty()) {
        match first.get(&(object.kind, object.namespace, object.name)) {
            Some(earlier) => {
                let mut report = object.report();
                let message =
                    format!("a second {} `{}`{}", object.kind.as_str(), object.name, within(object.namespace));
                report.problem(
                    "metadata.name",
                    message,
                    format!("the first is in {}; rename one", line_of(earlier, "metadata.name")),
                );
                findings.take(report);
            }
            None => {
                first.insert((object.kind, object.namespace, object.name), object);
            }
        }
    }
}

/// One problem for each namespace that has too many, at the first beyond.
fn report_too_many(objects: &[Object<'_>], most: usize, findings: &mut Findings) {
    let mut counts: HashMap<&str, (usize, Option<&Object<'_>>)> = HashMap::new();
    for object in objects.iter().filter(|object| object.kind == Kind::QueueAutoscaler) {
        let (count, beyond) = counts.entry(object.namespace).or_default();
        *count += 1;
        if *count > most {
            beyond.get_or_insert(object);
        }
    }
    for (namespace, (count, beyond)) in counts {
        let Some(object) = beyond else { continue };
        let mut report = object.report();
        let message = format!("namespace `{namespace}` has {count} QueueAutoscalers, and {most} are allowed");
        let cure =
            format!("give several queues to one, or start tidegate with --max-autoscalers-per-namespace {count}");
        report.problem("metadata.name", message, cure);
        findings.take(report);
    }
}

fn report_shared_targets(autoscalers: &[(&Object<'_>, AutoscalerSpec)], findings: &mut Findings) {
    const PATH: &str = "spec.scaleTargetRef";
    let mut first: HashMap<(&str, &str, &str, &str), &Object<'_>> = HashMap::new();
    for (object, spec) in autoscalers {
        let Some(target) = spec.target.as_ref().filter(|target| !target.name.is_empty()) else { continue };
        // The version of an API group is only a spelling of the same object.
        let group = target.api_version.rsplit_once('/').map_or("", |(group, _)| group);
        let key = (object.namespace, group, target.kind.as_str(), target.name.as_str());
        match first.get(&key) {
            // The same autoscaler twice is one mistake, not two.
            Some(earlier) if earlier.name == object.name => {}
            Some(earlier) => {
                let mut report = object.report();
                let message = format!("{} `{}` is already scaled by `{}`", target.kind, target.name, earlier.name);
                let cure = format!("see {}; put all triggers into one QueueAutoscaler", line_of(earlier, PATH));
                report.problem(PATH, message, cure);
                findings.take(report);
            }
            None => {
                first.insert(key, object);
            }
        }
    }
}

fn within(namespace: &str) -> String {
    if namespace.is_empty() { String::new() } else { format!(" in namespace `{namespace}`") }
}

fn line_of(object: &Object<'_>, path: &str) -> String {
    format!("{}:{}", object.file, object.document.place_of(path).0)
}
