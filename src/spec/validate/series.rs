//! The blocks `prometheusQuery` and `prometheusScrape` of a trigger.

use std::sync::Arc;

use regex::Regex;

use super::values;
use crate::spec::manifest;
use crate::spec::report::{Report, join};
use crate::spec::{Combine, Freshness, MatchOp, PrometheusQuery, PrometheusScrape, selector};

pub(super) fn query(written: &manifest::PrometheusQuery, path: &str, report: &mut Report<'_>) -> PrometheusQuery {
    let example = "query: sum(jobs_waiting)";
    let query = values::text(written.query.as_deref(), &join(path, "query"), example, report);
    let freshness = match &written.freshness_query {
        Some(text) => {
            let example = "freshnessQuery: min(timestamp(jobs_waiting))";
            Freshness::Query(values::text(Some(text), &join(path, "freshnessQuery"), example, report).into())
        }
        None if selector::parse(&query).is_ok() => Freshness::OfSamples,
        None => Freshness::Unknown,
    };
    let labels = written.labels.iter().flatten().map(|(name, value)| (Arc::from(&**name), Arc::from(&**value)));
    PrometheusQuery {
        query: query.trim().into(),
        labels: labels.collect(),
        freshness,
        ignore_null_values: written.ignore_null_values.unwrap_or(false),
    }
}

pub(super) fn scrape(written: &manifest::PrometheusScrape, path: &str, report: &mut Report<'_>) -> PrometheusScrape {
    let path = join(path, "metric");
    let text = values::text(written.metric.as_deref(), &path, "metric: jobs_waiting{queue=\"emails\"}", report);
    let mut metric = Arc::from("");
    let mut matchers = Vec::new();
    match selector::parse(&text) {
        _ if text.is_empty() => {}
        Err(wrong) => {
            let cure = "write a name, and labels if need be: jobs_waiting{queue=\"emails\"}";
            report.problem(&path, format!("not a metric: the text {wrong}"), cure);
        }
        Ok(selector) => {
            for matcher in &selector.matchers {
                let pattern = matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex);
                if pattern && Regex::new(&format!("^(?:{})$", matcher.value)).is_err() {
                    let message = format!("`{}`, of label {}, is no regular expression", matcher.value, matcher.name);
                    report.problem(&path, message, "write it as PromQL has it (RE2)");
                }
            }
            match selector.name {
                Some(name) => metric = name,
                None => report.problem(&path, "no metric is named", "e.g. jobs_waiting{queue=\"emails\"}"),
            }
            matchers = selector.matchers;
        }
    }
    let combine = match written.combine {
        None | Some(manifest::Combine::Sum) => Combine::Sum,
        Some(manifest::Combine::Max) => Combine::Max,
        Some(manifest::Combine::Avg) => Combine::Avg,
        Some(manifest::Combine::Min) => Combine::Min,
    };
    PrometheusScrape { metric, matchers, combine }
}
