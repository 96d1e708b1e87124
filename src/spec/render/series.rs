//! The blocks `prometheusQuery` and `prometheusScrape`, written back.

use std::fmt::Write as _;

use crate::spec::manifest::{self, PrometheusQuery, PrometheusScrape};
use crate::spec::{self, Combine, Freshness};

pub(super) fn query(written: &spec::PrometheusQuery) -> PrometheusQuery {
    let labels = written.labels.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    PrometheusQuery {
        query: Some(written.query.to_string()),
        labels: (!written.labels.is_empty()).then(|| labels.collect()),
        freshness_query: match &written.freshness {
            Freshness::Query(query) => Some(query.to_string()),
            Freshness::OfSamples | Freshness::Unknown => None,
        },
        ignore_null_values: Some(written.ignore_null_values),
    }
}

pub(super) fn scrape(written: &spec::PrometheusScrape) -> PrometheusScrape {
    PrometheusScrape {
        metric: Some(selector(written)),
        combine: Some(match written.combine {
            Combine::Sum => manifest::Combine::Sum,
            Combine::Max => manifest::Combine::Max,
            Combine::Avg => manifest::Combine::Avg,
            Combine::Min => manifest::Combine::Min,
        }),
    }
}

fn selector(written: &spec::PrometheusScrape) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let is_plain = written.metric.chars().all(plain) && !written.metric.starts_with(|c: char| c.is_ascii_digit());
    let mut parts: Vec<String> = Vec::new();
    if !is_plain {
        parts.push(quoted(&written.metric));
    }
    for matcher in &written.matchers {
        let name = &matcher.name;
        let is_label = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !name.is_empty();
        let name = if is_label { name.to_string() } else { quoted(name) };
        parts.push(format!("{name}{}{}", matcher.op.as_str(), quoted(&matcher.value)));
    }
    let mut text = if is_plain { written.metric.to_string() } else { String::new() };
    if !parts.is_empty() {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{{{}}}", parts.join(","));
    }
    text
}

fn quoted(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("\"{escaped}\"")
}
