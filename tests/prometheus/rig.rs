//! Connections and sources as the tests need them, and an exporter whose numbers they set.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidegate::model::{FailureKind, Key, Observation, ReadFailure};
use tidegate::spec::{
    Combine, ConnectionSpec, Freshness, HttpServer, HttpUrl, LabelMatcher, MatchOp, Pods, PrometheusQuery,
    PrometheusScrape, ScrapeServer, Server, Source, selector,
};

use crate::support::polling::{Polling, autoscaler};
use crate::support::web::{Reply, Web};

pub const FAST: Duration = Duration::from_millis(100);
/// Bound on one answer.
pub const BOUND: Duration = Duration::from_millis(1_000);

pub fn http(address: &str, path: &str) -> HttpServer {
    HttpServer {
        url: HttpUrl { encrypted: false, address: address.to_owned(), path: path.to_owned() },
        username: None,
        password: None,
        headers: Vec::new(),
        tls: None,
        connect_timeout: BOUND,
        response_timeout: BOUND,
    }
}

pub fn prometheus(address: &str) -> Arc<ConnectionSpec> {
    prometheus_at(http(address, ""))
}

pub fn prometheus_at(server: HttpServer) -> Arc<ConnectionSpec> {
    Arc::new(ConnectionSpec { name: server.url.address.as_str().into(), server: Server::Prometheus(server) })
}

pub fn page_at(address: &str) -> Arc<ConnectionSpec> {
    scrape(ScrapeServer { http: http(address, "/metrics"), pods: None })
}

pub fn scrape(server: ScrapeServer) -> Arc<ConnectionSpec> {
    Arc::new(ConnectionSpec {
        name: format!("page {}", server.http.url.address).into(),
        server: Server::Scrape(server),
    })
}

pub fn pages_of(pods: Pods) -> ScrapeServer {
    ScrapeServer { http: http("", "/metrics"), pods: Some(pods) }
}

/// A query as a manifest has it.
pub fn query(text: &str) -> PrometheusQuery {
    let freshness = if selector::parse(text).is_ok() { Freshness::OfSamples } else { Freshness::Unknown };
    PrometheusQuery { query: text.into(), labels: Vec::new(), freshness, ignore_null_values: false }
}

pub fn asking(text: &str) -> Source {
    Source::PrometheusQuery(query(text))
}

pub fn metric(name: &str, matchers: &[(&str, MatchOp, &str)], combine: Combine) -> PrometheusScrape {
    let matcher = |(name, op, value): &(&str, MatchOp, &str)| LabelMatcher {
        name: (*name).into(),
        op: *op,
        value: (*value).into(),
    };
    PrometheusScrape { metric: name.into(), matchers: matchers.iter().map(matcher).collect(), combine }
}

/// What each of these queries is found to be, in the first round and, asked together, in the sixth.
pub fn found(connection: &Arc<ConnectionSpec>, queries: &[PrometheusQuery]) -> Vec<Result<Observation, ReadFailure>> {
    let polling = Polling::start();
    for (key, query) in queries.iter().enumerate() {
        let source = Source::PrometheusQuery(query.clone());
        polling.set(key as u32, &autoscaler(&format!("a{key}"), FAST, &[(connection, source)]));
    }
    let mut rounds: Vec<Vec<Result<Observation, ReadFailure>>> = vec![Vec::new(); queries.len()];
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while rounds.iter().any(|round| round.len() < 6) {
        assert!(std::time::Instant::now() < end, "{rounds:?}");
        for sample in polling.batch(BOUND).unwrap_or_default() {
            rounds[sample.key.index()].push(sample.value);
        }
    }
    for (round, query) in rounds.iter().zip(queries) {
        let (first, later) = (&round[0], &round[5]);
        let alike = match (first, later) {
            (Ok(first), Ok(later)) => first.backlog == later.backlog,
            (Err(first), Err(later)) => first.kind == later.kind,
            _ => false,
        };
        assert!(alike, "{:?}: alone {first:?}, together {later:?}", query.query);
    }
    rounds.into_iter().map(|mut round| round.swap_remove(5)).collect()
}

/// Whether a sample of `key` is a failure of this kind whose sentence has all these words.
pub fn fails(polling: &Polling, key: u32, kind: FailureKind, words: &[&str]) -> String {
    let sample = polling.until(&format!("{key} failing as {kind:?} with {words:?}"), |sample| {
        sample.key == Key(key)
            && sample
                .value
                .as_ref()
                .is_err_and(|failure| failure.kind == kind && words.iter().all(|word| failure.message.contains(word)))
    });
    sample.value.unwrap_err().message.to_string()
}

/// An exporter: series and their values.
#[derive(Clone, Default)]
pub struct Exporter(Arc<Mutex<BTreeMap<String, String>>>);

impl Exporter {
    pub fn start(series: &[(&str, f64)]) -> (Self, Web) {
        let exporter = Exporter::default();
        for (series, value) in series {
            exporter.set(series, *value);
        }
        let own = exporter.clone();
        let web = Web::start(move |_| own.reply());
        (exporter, web)
    }

    pub fn set(&self, series: &str, value: f64) {
        self.write(series, &value.to_string());
    }

    /// A value, and its time perhaps.
    pub fn write(&self, series: &str, text: &str) {
        self.0.lock().unwrap().insert(series.to_owned(), text.to_owned());
    }

    pub fn reply(&self) -> Reply {
        let series = self.0.lock().unwrap();
        Reply::page(&series.iter().map(|(name, value)| format!("{name} {value}\n")).collect::<String>())
    }
}
