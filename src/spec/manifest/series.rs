//! The blocks `prometheusQuery` and `prometheusScrape` of a trigger as users type them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a query finds at a server that speaks Prometheus' HTTP API.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusQuery {
    /// PromQL that returns a scalar or one series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Picks one series by these labels where the query returns several. Triggers that share a query share the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// PromQL that returns the time (seconds since the epoch) of what the query rests on, for the reading's age; for
    /// example min(timestamp(jobs)). A query that is a plain selector needs none. Without one, whatever the server
    /// returns counts as new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freshness_query: Option<String>,
    /// Whether an empty answer and NaN count as zero. Default false: they are errors, and nothing is scaled down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_null_values: Option<bool>,
}

/// A metric, read where it is exposed.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusScrape {
    /// A selector as in PromQL, such as jobs_waiting{queue="emails",state!="done"}.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// How several series, of one pod or of several, become one number: sum (the default), max, avg or min.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub combine: Option<Combine>,
}

/// How several series become one number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Combine {
    Sum,
    Max,
    Avg,
    Min,
}
