//! A backlog that is a number of Prometheus', after validation: asked of a server, or read where it is exposed.

use std::sync::Arc;

/// An instant query to a server that speaks Prometheus' HTTP API.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PrometheusQuery {
    /// PromQL.
    pub query: Arc<str>,
    /// Picks one series of the answer where it has several; empty: the answer must have one.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    pub freshness: Freshness,
    /// An empty answer, NaN and infinity count as zero instead of failing: KEDA's default, and not ours.
    pub ignore_null_values: bool,
}

/// How the age of an answer becomes known: a server goes on returning the last sample of what is gone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Freshness {
    /// The samples know their own time: `timestamp(query)`, of a query that is a plain selector.
    OfSamples,
    /// A query of the user's, whose answer is the time (seconds since the epoch) of what the main one rests on.
    Query(Arc<str>),
    /// Nobody can say: what is answered counts as new.
    Unknown,
}

/// A metric as exporters expose it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PrometheusScrape {
    pub metric: Arc<str>,
    /// All must match.
    pub matchers: Vec<LabelMatcher>,
    pub combine: Combine,
}

/// As in PromQL: a label that is not there is empty, and patterns match the whole value.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LabelMatcher {
    pub name: Arc<str>,
    pub op: MatchOp,
    pub value: Arc<str>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    /// As PromQL writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// How the series of all pods become one number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Combine {
    #[default]
    Sum,
    Max,
    Avg,
    Min,
}
