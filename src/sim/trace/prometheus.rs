//! Answers of Prometheus' `query_range`, as `curl` or `promtool query range -o json` save them; several after each other
//! in one file are one export. Its step is promised, so a step that is missing is a gap already.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io::BufRead;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};

use super::names::{classify, plain};
use super::roles::{Found, choose};
use super::series::{Setting, assemble};
use super::time::nanos_of_seconds;
use super::wrong::Wrong;
use super::{Format, Job, Role, Stamp, Trace, whole};

/// What is looked at before the samples are read: an answer of an error has none.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    status: Option<String>,
    error: Option<String>,
    error_type: Option<String>,
    data: Option<HeadData>,
    result_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadData {
    result_type: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
    result: Option<Vec<Matrix>>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Matrix>,
}

#[derive(Deserialize)]
struct Matrix {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<Sample>,
    histograms: Option<IgnoredAny>,
}

/// Seconds since 1970, and the value, which is a text because JSON has no NaN.
struct Sample(f64, f64);

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Sample;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a sample: [seconds, \"value\"]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sample, A::Error> {
                let missing = || A::Error::custom("a sample has a time and a value");
                let at = seq.next_element::<f64>()?.ok_or_else(missing)?;
                let value = seq.next_element::<Cow<'de, str>>()?.ok_or_else(missing)?;
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                let value = value.parse().map_err(|_| A::Error::custom(format!("`{value}` is no number")))?;
                Ok(Sample(at, value))
            }
        }
        deserializer.deserialize_seq(Pair)
    }
}

pub(super) fn import(job: &Job<'_>, input: &mut dyn BufRead, wrong: &mut Wrong) -> Option<Trace> {
    let text = whole(input, wrong)?;
    let mut series = Vec::new();
    let mut rest = text.trim_ascii();
    while !rest.is_empty() {
        rest = document(rest, &mut series, wrong)?;
    }
    if series.is_empty() {
        wrong.file("the answer has no series", "does the query find anything in this time range?");
        return None;
    }
    let mut notes = Vec::new();
    if series.iter().any(|series| series.values.is_empty() && series.histograms.is_some()) {
        notes.push("native histograms are left out".to_owned());
    }
    let labels: Vec<BTreeMap<String, String>> = series.iter().map(|series| series.metric.clone()).collect();
    let found = series.into_iter().map(|series| found(series, wrong)).collect();
    let matches = |selector: &str, at: usize, _: &Found| {
        let number = selector.strip_prefix('#').and_then(|number| number.parse::<usize>().ok());
        number.is_some_and(|number| number == at + 1) || labels.get(at).is_some_and(|labels| selects(selector, labels))
    };
    let recorded = choose(found, job.options, matches, &mut notes, wrong);
    if !wrong.is_empty() {
        return None;
    }
    let setting = Setting { origin: Format::Prometheus, absolute: true, patience: 1.5, stamp: Stamp::End };
    let mut trace = assemble(job, recorded, setting, wrong)?;
    notes.append(&mut trace.notes);
    trace.notes = notes;
    Some(trace)
}

/// Reads one JSON value; what follows it.
fn document<'t>(text: &'t [u8], series: &mut Vec<Matrix>, wrong: &mut Wrong) -> Option<&'t [u8]> {
    let cure = "save the answer of /api/v1/query_range as it is";
    let broken = |error: &serde_json::Error, wrong: &mut Wrong| {
        wrong.file(format!("it is no answer of query_range: {error}"), cure);
    };
    if text.first() == Some(&b'[') {
        let (mut bare, rest) = value::<Vec<Matrix>>(text).map_err(|error| broken(&error, wrong)).ok()?;
        series.append(&mut bare);
        return Some(rest);
    }
    let (head, _) = value::<Head>(text).map_err(|error| broken(&error, wrong)).ok()?;
    if head.status.as_deref() == Some("error") || head.error_type.is_some() {
        let kind = head.error_type.unwrap_or_else(|| "no type".to_owned());
        let error = head.error.unwrap_or_else(|| "without words".to_owned());
        wrong.file(format!("the answer is an error ({kind}): {error}"), "correct the query and export again");
        return None;
    }
    let result_type = head.data.and_then(|data| data.result_type).or(head.result_type);
    match result_type.as_deref() {
        Some("matrix") | None => {}
        Some(other) => {
            wrong.file(
                format!("its resultType is `{other}`, one moment and no time range"),
                "ask /api/v1/query_range with start, end and step; it answers with a matrix",
            );
            return None;
        }
    }
    let (answer, rest) = value::<Answer>(text).map_err(|error| broken(&error, wrong)).ok()?;
    let Some(mut result) = answer.data.map(|data| data.result).or(answer.result) else {
        wrong.file("the answer has no data.result", cure);
        return None;
    };
    series.append(&mut result);
    Some(rest)
}

fn value<'t, T: Deserialize<'t>>(text: &'t [u8]) -> Result<(T, &'t [u8]), serde_json::Error> {
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<T>();
    let value = values.next().unwrap_or_else(|| Err(serde_json::Error::custom("nothing is there")))?;
    let rest = text.get(values.byte_offset()..).unwrap_or_default();
    Ok((value, rest.trim_ascii_start()))
}

fn found(series: Matrix, wrong: &mut Wrong) -> Found {
    let name = shown(&series.metric);
    let mut samples = Vec::with_capacity(series.values.len());
    for Sample(at, value) in series.values {
        match nanos_of_seconds(at) {
            Some(at) => samples.push((at, value)),
            None => wrong.row("range", None, &name, || {
                let message = format!("the time {at} is outside of the years 1990 to 2100");
                (message, "Prometheus answers in seconds since 1970".to_owned())
            }),
        }
    }
    Found { guess: guess(series.metric.get("__name__").map_or("", String::as_str)), name, samples }
}

/// As Prometheus writes a series.
fn shown(metric: &BTreeMap<String, String>) -> String {
    let labels = metric.iter().filter(|(name, _)| *name != "__name__");
    let labels: Vec<String> = labels.map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    let name = metric.get("__name__").map_or("", String::as_str);
    if labels.is_empty() && !name.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
}

/// Ready replicas are those that work; what is only desired is the least that is worth having.
fn guess(name: &str) -> Option<(Role, u8)> {
    let known = match name {
        "keda_scaler_metrics_value" | "keda_metrics_adapter_scaler_metrics_value" => (Role::Depth, 0),
        "kube_deployment_status_replicas_ready" | "kube_statefulset_status_replicas_ready" => (Role::Replicas, 0),
        "kube_deployment_status_replicas_available" | "kube_statefulset_status_replicas_available" => {
            (Role::Replicas, 1)
        }
        "kube_deployment_status_replicas" | "kube_statefulset_status_replicas" => (Role::Replicas, 2),
        "kube_horizontalpodautoscaler_status_current_replicas" => (Role::Replicas, 3),
        "kube_horizontalpodautoscaler_status_desired_replicas" => (Role::Replicas, 4),
        // Everything else of kube-state-metrics tells something else.
        name if name.starts_with("kube_") => return None,
        name => match classify(name) {
            // A depth that only a bare `value` suggests is none.
            Some(guess) if guess.weak || matches!(guess.role, Role::Time | Role::Age) => return None,
            Some(guess) => (guess.role, 0),
            None => by_part(name)?,
        },
    };
    Some(known)
}

/// Exporters put their own name before: `celery_queue_length`, `rabbitmq_queue_messages_ready`.
fn by_part(name: &str) -> Option<(Role, u8)> {
    let plain = plain(name);
    let ends = |words: &[&str]| words.iter().any(|word| plain.ends_with(word));
    if ends(&["queuelength", "queuesize", "queuedepth", "queuemessagesready", "backlog", "llen", "jobswaiting"]) {
        Some((Role::Depth, 0))
    } else if ends(&["messagesunacked", "messagesunacknowledged", "inflight", "tasksactive", "jobsactive"]) {
        Some((Role::InFlight, 0))
    } else {
        None
    }
}

/// `name`, `name{label="value",...}` or `{label="value",...}`; only `=`, and no commas in values.
fn selects(selector: &str, metric: &BTreeMap<String, String>) -> bool {
    let (name, labels) = match selector.trim().split_once('{') {
        Some((name, labels)) => (name.trim(), labels.trim_end().strip_suffix('}').unwrap_or(labels)),
        None => (selector.trim(), ""),
    };
    let named = name.is_empty() || metric.get("__name__").is_some_and(|own| own == name);
    let parts = || labels.split(',').map(str::trim).filter(|part| !part.is_empty());
    let fits = |part: &str| {
        let Some((label, value)) = part.split_once('=') else { return false };
        let value = value.trim().trim_matches('"');
        metric.get(label.trim()).is_some_and(|own| own == value)
    };
    // Nothing selects nothing, `{}` what has no labels.
    let empty = name.is_empty() && parts().next().is_none();
    if empty { selector.contains('{') && metric.is_empty() } else { named && parts().all(fits) }
}
