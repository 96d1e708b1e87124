//! Keys of a trigger's metadata: which there are, in which order they are looked up, how their texts are read.
//!
//! The rules are those of KEDA's typed configuration: values are trimmed and an empty one counts as absent; the plain
//! spelling goes before the one that ends in `FromEnv`, whose value KEDA has resolved already; booleans are Go's, and
//! whole numbers are JSON's.

use std::collections::{BTreeMap, HashMap};

use super::{postgresql, prometheus};
use crate::model::fnv1a;
use crate::spec::limits::METADATA_VALUE_BYTES;
use crate::spec::problem::Problem;
use crate::spec::report::closest;

/// KEDA's redis triggers, their connections included.
pub(super) const OF_REDIS: [&str; 20] = [
    "listName",
    "listLength",
    "activationListLength",
    "stream",
    "consumerGroup",
    "pendingEntriesCount",
    "streamLength",
    "lagCount",
    "activationLagCount",
    "address",
    "addresses",
    "host",
    "hosts",
    "port",
    "ports",
    "username",
    "databaseIndex",
    "sentinelMaster",
    "enableTLS",
    "unsafeSsl",
];

/// Our own.
const OURS: [&str; 6] = ["autoscaler", "serve", "triggerType", "connection", "pollingInterval", "share"];

/// Read by KEDA itself on the way to us.
const FOR_KEDA: [&str; 1] = ["scalerAddress"];

/// What a metric can hold, in thousandths as the HPA counts.
const TARGETS: std::ops::RangeInclusive<f64> = 0.001..=9e15;

/// What a key is called in messages.
pub(super) fn path(key: &str) -> String {
    format!("metadata.{key}")
}

/// A value, and the key that it was found under.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// The map, by KEDA's rules, with what is wrong in it.
pub(super) struct Keys<'a> {
    /// Trimmed, and not empty.
    present: BTreeMap<&'a str, &'a str>,
    /// The key of a connection string, which is not kept: there is a password in it.
    connection_string: Option<&'a str>,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(metadata: &'a HashMap<String, String>) -> Self {
        let trimmed = metadata.iter().map(|(key, value)| (key.as_str(), value.trim()));
        let mut present: BTreeMap<&str, &str> = trimmed.filter(|(_, value)| !value.is_empty()).collect();
        let connection_string = ["connection", "connectionFromEnv"].into_iter().find_map(|key| {
            // No name of a Connection has any of these.
            let (key, _) = present.get_key_value(key).filter(|(_, value)| value.contains(['=', ':', ' ']))?;
            Some(*key)
        });
        if let Some(key) = connection_string {
            present.remove(key);
        }
        Keys { present, connection_string, problems: Vec::new() }
    }

    /// The value of the first of `names` that is there: all plain spellings before all `FromEnv` ones.
    pub(super) fn find(&self, names: &[&str]) -> Option<Found<'a>> {
        let plain = names.iter().find_map(|name| self.present.get_key_value(*name));
        let (key, value) = plain
            .or_else(|| names.iter().find_map(|name| self.present.get_key_value(format!("{name}FromEnv").as_str())))?;
        Some(Found { key, value })
    }

    /// The key that is there for `name`, or `name` itself: for messages.
    pub(super) fn spelling(&self, name: &'a str) -> &'a str {
        self.find(&[name]).map_or(name, |found| found.key)
    }

    pub(super) fn text(&self, name: &str) -> Option<&'a str> {
        self.find(&[name]).map(|found| found.value)
    }

    /// A list, split at commas.
    pub(super) fn list(&self, names: &[&str]) -> Vec<&'a str> {
        let found = self.find(names);
        found
            .into_iter()
            .flat_map(|found| found.value.split(','))
            .map(str::trim)
            .filter(|item| !item.is_empty())
            .collect()
    }

    /// A whole number as JSON has it: `5`, not `5.0`, `05` or `+5`. What is no such number is reported and `None`.
    pub(super) fn integer(&mut self, name: &str, default: i64) -> Option<i64> {
        let Some(Found { key, value }) = self.find(&[name]) else { return Some(default) };
        let digits = value.strip_prefix('-').unwrap_or(value);
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        let number = value.parse::<i64>().ok().filter(|_| plain);
        if number.is_none() {
            self.problem(key, format!("`{value}` is not a whole number"), format!("e.g. {name}: \"{default}\""));
        }
        number
    }

    /// A number as JSON and Go have it, not negative: `5`, `2.5`, `1e3`. What is no such number is reported and `None`.
    pub(super) fn number(&mut self, name: &str) -> Option<f64> {
        let Found { key, value } = self.find(&[name])?;
        let number = value.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
        if number.is_none() {
            self.problem(key, format!("`{value}` is not a number of zero or more"), format!("e.g. {name}: \"5\""));
        }
        number
    }

    /// What a replica may have of something, within what a metric can hold. What is missing or is no such number is
    /// reported and `None`.
    pub(super) fn target(&mut self, name: &str, of: &str) -> Option<f64> {
        let cure = format!("e.g. {name}: \"100\"");
        let Some(Found { key, .. }) = self.find(&[name]) else {
            self.problem(name, format!("missing: how much of {of} a replica may have"), cure);
            return None;
        };
        let target = self.number(name)?;
        if !TARGETS.contains(&target) {
            self.problem(key, format!("must be from 0.001 to 9e15, found {target}"), cure);
            return None;
        }
        Some(target)
    }

    /// Go's spellings of true and false. What is neither is reported and false.
    pub(super) fn boolean(&mut self, name: &str) -> bool {
        let Some(Found { key, value }) = self.find(&[name]) else { return false };
        match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => true,
            "0" | "f" | "F" | "false" | "FALSE" | "False" => false,
            _ => {
                self.problem(key, format!("`{value}` is neither true nor false"), format!("write {name}: \"true\""));
                false
            }
        }
    }

    /// One problem for each value that is too long to be kept. What has no effect may be as long as it likes.
    pub(super) fn too_long(&self) -> Vec<Problem> {
        let is_kept = |key: &str| {
            let name = key.strip_suffix("FromEnv").unwrap_or(key);
            let of_keda = OF_REDIS.iter().chain(&prometheus::KEYS).chain(&postgresql::KEYS);
            of_keda.chain(&OURS).any(|known| *known == name)
        };
        let long = self.present.iter().filter(|(key, value)| value.len() > METADATA_VALUE_BYTES && is_kept(key));
        long.map(|(key, value)| {
            let message = format!("{} bytes long, and at most {METADATA_VALUE_BYTES} are taken", value.len());
            Problem::new(path(key), message, "declare a QueueAutoscaler and write autoscaler: with its name")
        })
        .collect()
    }

    pub(super) fn problem(&mut self, key: &str, message: impl Into<String>, cure: impl Into<String>) {
        self.problems.push(Problem::new(path(key), message, cure));
    }

    /// One warning for each key that has no effect, the first `most` of them; then one for all others.
    pub(super) fn without_effect(&self, of_keda: &[&str], most: usize) -> Vec<Problem> {
        let string = self.connection_string.map(|key| {
            let message = "a connection string in metadata is ignored: it has a password in it";
            let cure =
                "take it out, and write connection: with the name of a Connection that is declared for this server";
            Problem::new(path(key), message, cure)
        });
        let mut all = string.into_iter().chain(self.present.keys().filter_map(|key| without_effect(key, of_keda)));
        let mut warnings: Vec<Problem> = all.by_ref().take(most).collect();
        let others = all.count();
        if others > 0 {
            let message = format!("{others} more keys have no effect");
            warnings.push(Problem::new("metadata", message, "take out what is not a key of the trigger"));
        }
        warnings
    }

    /// What tells two triggers of one ScaledObject apart, as eight hexadecimal digits: 64-bit FNV-1a over the sorted
    /// pairs, folded. It must be the same on every replica and in every release: it is part of an autoscaler's name.
    /// Where tidegate listens and what a password is do not
    /// count.
    pub(super) fn fingerprint(&self) -> String {
        let counted = self.present.iter().filter(|(key, _)| !FOR_KEDA.contains(key) && !is_credential(key));
        // 0xff occurs in no UTF-8 text, so no two different maps give the same bytes.
        let bytes = counted.flat_map(|(key, value)| key.bytes().chain([0xff]).chain(value.bytes()).chain([0xff]));
        let hash = fnv1a(bytes);
        format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff))
    }
}

fn without_effect(key: &str, of_keda: &[&str]) -> Option<Problem> {
    let name = key.strip_suffix("FromEnv").unwrap_or(key);
    let known = of_keda.iter().chain(&OURS).chain(&FOR_KEDA);
    if known.clone().any(|known| *known == name) {
        return None;
    }
    let (message, cure) = if is_credential(key) {
        (
            "credentials in metadata are ignored".to_owned(),
            "take it out, and declare a Connection with passwordFrom or tls for this server".to_owned(),
        )
    } else if name == "metricType" {
        ("has no effect inside metadata".to_owned(), "write metricType beside metadata, where KEDA reads it".to_owned())
    } else {
        let cure = match closest(name, known.copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "take it out".to_owned(),
        };
        (format!("unknown key `{key}` has no effect"), cure)
    };
    Some(Problem::new(path(key), message, cure))
}

/// Whether a key's value could be a secret, or is one of KEDA's authentication parameters.
fn is_credential(key: &str) -> bool {
    let lower = key.strip_suffix("FromEnv").unwrap_or(key).to_ascii_lowercase();
    let exact =
        ["tls", "ca", "cert", "key", "cacert", "tlsclientcert", "tlsclientkey", "tlscertfile", "sentinelusername"];
    ["password", "passwd", "secret", "token", "credential"].iter().any(|part| lower.contains(part))
        || exact.contains(&lower.as_str())
}
