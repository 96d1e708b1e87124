//! Connections to servers other than Redis, as users type them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationText, Login, PasswordFrom};

/// A database of a PostgreSQL.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PostgresConnection {
    /// host:port. Default port 5432.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Name of the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Instead of address, database, user and password: where a whole URL is, such as
    /// postgres://user:password@host:5432/database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_from: Option<PasswordFrom>,
    #[serde(flatten)]
    pub login: Login,
    /// Bound on connecting and authenticating. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<DurationText>,
    /// Bound on one statement, which the server keeps too (statement_timeout). Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<DurationText>,
}

/// A server that speaks Prometheus' HTTP API: Prometheus itself, Thanos, Mimir, VictoriaMetrics.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusConnection {
    /// Such as http://prometheus:9090; what stands before /api/v1 belongs to it. https takes tls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(flatten)]
    pub login: Login,
    /// Where a bearer token is, instead of user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_from: Option<PasswordFrom>,
    /// Further headers of every request, such as X-Scope-OrgID. Nothing secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// Bound on connecting. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<DurationText>,
    /// Bound on the whole of one answer. Default 3s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<DurationText>,
}

/// Pages of metrics: of one URL, or of every ready pod behind a Service or that a selector selects.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScrapeConnection {
    /// The page's own URL, such as http://exporter:9121/metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Instead of url: the ready pods behind a Service or that a selector selects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<ScrapePods>,
    #[serde(flatten)]
    pub login: Login,
    /// Where a bearer token is, instead of user and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token_from: Option<PasswordFrom>,
    /// Bound on connecting. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_timeout: Option<DurationText>,
    /// Bound on the whole of one page. Default 1s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_timeout: Option<DurationText>,
}

/// Ready pods: exactly one of service and selector, and exactly one of port and portName.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScrapePods {
    /// Only for a ClusterConnection, which has no namespace of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Name of a Service of this object's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Labels of pods of this object's namespace, as kubectl has them: app=worker,tier!=web.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Number of the port on which the pods expose metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// Name of that port: of the Service, or of the pods' containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_name: Option<String>,
    /// Default /metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}
