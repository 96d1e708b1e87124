//! A request, read.

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::request::Parts;
use hyper::body::Bytes;
use serde_json::Value;

use super::record::{Entry, Outcome};

/// What a path is about.
#[derive(Clone, Default, Debug)]
pub struct Target {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub subresource: String,
    /// Empty across all of them, and for what has none.
    pub namespace: String,
    pub name: String,
}

pub struct Call {
    pub method: String,
    pub path: String,
    /// None: discovery, health, or nothing at all.
    pub target: Option<Target>,
    query: Vec<(String, String)>,
    pub verb: &'static str,
    pub token: String,
    accept: String,
    pub content_type: String,
    agent: String,
    pub body: Bytes,
}

impl Call {
    pub fn read(parts: &Parts, body: Bytes) -> Self {
        let header =
            |name| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let path = parts.uri.path().to_owned();
        let pairs = parts.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        let query: Vec<(String, String)> = pairs
            .map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                (decoded(key), decoded(value))
            })
            .collect();
        let target = target(&path);
        let watched = query.iter().any(|(key, value)| key == "watch" && (value == "true" || value == "1"));
        let named = target.as_ref().is_some_and(|target| !target.name.is_empty());
        let verb = match parts.method.as_str() {
            _ if target.is_none() => "",
            "GET" if watched => "watch",
            "GET" if named => "get",
            "GET" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if named => "delete",
            "DELETE" => "deletecollection",
            _ => "",
        };
        let token = header(AUTHORIZATION).strip_prefix("Bearer ").unwrap_or_default().to_owned();
        let content_type = header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_owned();
        let (accept, agent) = (header(ACCEPT), header(USER_AGENT));
        let method = parts.method.to_string();
        Call { method, path, target, query, verb, token, accept, content_type, agent, body }
    }

    /// The parameter, or nothing.
    pub fn query(&self, name: &str) -> &str {
        self.query.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    pub fn flag(&self, name: &str) -> bool {
        matches!(self.query(name), "true" | "1")
    }

    pub fn is_dry(&self) -> bool {
        self.query("dryRun") == "All"
    }

    /// Who writes, as `managedFields` shall show it.
    pub fn manager(&self) -> String {
        let given = self.query("fieldManager");
        let manager = if given.is_empty() { self.agent.split('/').next().unwrap_or_default() } else { given };
        if manager.is_empty() { "unknown".to_owned() } else { manager.to_owned() }
    }

    pub fn wants_metadata(&self) -> bool {
        self.accept.contains("as=PartialObjectMetadata")
    }

    pub fn wants_aggregated_discovery(&self) -> bool {
        self.accept.contains("as=APIGroupDiscoveryList") && self.accept.contains("v=v2;")
    }

    pub fn entry(&self, client: &str) -> Entry {
        let target = self.target.clone().unwrap_or_default();
        let resource = if target.subresource.is_empty() {
            target.plural
        } else {
            format!("{}/{}", target.plural, target.subresource)
        };
        let query: Vec<String> = self.query.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let path = if query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, query.join("&")) };
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let given = body["metadata"]["resourceVersion"].as_str().unwrap_or_else(|| self.query("resourceVersion"));
        Entry {
            number: 0,
            at: std::time::Duration::ZERO,
            client: client.to_owned(),
            verb: self.verb,
            group: target.group,
            resource,
            namespace: target.namespace,
            name: target.name,
            method: self.method.clone(),
            path,
            manager: self.manager(),
            given_rv: given.parse().ok(),
            body,
            outcome: Outcome::Pending,
            applied: false,
            rv: None,
        }
    }
}

fn target(path: &str) -> Option<Target> {
    let mut steps =
        path.split('/').skip(1).filter(|step| !step.is_empty()).map(decoded).collect::<Vec<_>>().into_iter();
    let group = match steps.next()?.as_str() {
        "api" => String::new(),
        "apis" => steps.next()?,
        _ => return None,
    };
    let version = steps.next()?;
    let rest: Vec<String> = steps.collect();
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    // A namespace itself, or what is in it.
    let (namespace, rest) = match rest.as_slice() {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() && *rest != ["status"] => (*namespace, rest),
        rest => ("", rest),
    };
    let part = |index: usize| rest.get(index).copied().unwrap_or_default().to_owned();
    let (plural, name, subresource) = (part(0), part(1), part(2));
    if plural.is_empty() || rest.len() > 3 {
        return None;
    }
    Some(Target { group, version, plural, subresource, namespace: namespace.to_owned(), name })
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match (first, digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            (byte, _) => {
                bytes.push(if *byte == b'+' { b' ' } else { *byte });
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
