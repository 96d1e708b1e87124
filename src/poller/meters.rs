//! The metrics of one connection: handles made once, so that a round counts without a lookup.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::model::{FailureKind, ReadFailure};
use crate::source::Load;
use crate::spec::{ConnectionSpec, Server};
use crate::telemetry::names;

/// Counted only where there is something to renew: other connections have no such series.
pub(super) struct RenewalMeters {
    connection: Arc<str>,
}

impl RenewalMeters {
    pub(super) fn new(connection: &Arc<str>) -> Self {
        RenewalMeters { connection: Arc::clone(connection) }
    }

    /// Both series, at zero: a rate needs to have seen where it began.
    pub(super) fn begin(&self) {
        self.counter(true).increment(0);
        self.counter(false).increment(0);
    }

    pub(super) fn renewed(&self, succeeded: bool) {
        self.counter(succeeded).increment(1);
    }

    fn counter(&self, succeeded: bool) -> Counter {
        let outcome = if succeeded { "ok" } else { "error" };
        counter!(names::CREDENTIAL_RENEWALS, "connection" => Arc::clone(&self.connection), "outcome" => outcome)
    }
}

/// Addresses that KEDA's metadata named without a Connection, as values of the label `connection`. A series lives as
/// long as the process, and an allow list with `*` covers endless many names: these are some 20,000 series, and nobody
/// reads as many. Declared Connections are the operator's own and not counted.
const ADDRESSES: usize = 1_000;

/// The label of addresses beyond.
const OTHER: &str = "other";

/// Which addresses have been labels.
#[derive(Default)]
pub(super) struct Labels {
    addresses: HashSet<Arc<str>>,
}

impl Labels {
    /// The meters of a connection, under its name as far as there is room for names.
    pub(super) fn meters(&mut self, connection: &ConnectionSpec) -> Meters {
        let name = &connection.name;
        // A declared one has its Connection's name, which has no port.
        let is_address = matches!(connection.server, Server::Redis(_)) && name.contains(':');
        if !is_address || self.addresses.contains(name) {
            return Meters::new(name);
        }
        if self.addresses.len() >= ADDRESSES {
            // Several share it: up or down would be only the last one's word.
            return Meters::with(&Arc::from(OTHER), Gauge::noop());
        }
        self.addresses.insert(Arc::clone(name));
        Meters::new(name)
    }
}

pub(super) struct Meters {
    rounds_ok: Counter,
    rounds_failed: Counter,
    skipped: Counter,
    duration: Histogram,
    lateness: Histogram,
    reads: Counter,
    commands: Counter,
    sent: Counter,
    received: Counter,
    wakes: Counter,
    /// By the position of the kind in [`FailureKind::ALL`].
    failures: [Counter; FailureKind::ALL.len()],
    up: Gauge,
    /// Of a connection with a cap; others have no such series.
    put_off: Counter,
    connects_ok: Counter,
    connects_failed: Counter,
}

impl Meters {
    fn new(connection: &Arc<str>) -> Self {
        let up = gauge!(names::CONNECTION_UP, "connection" => Arc::clone(connection));
        up.set(0.0);
        Meters::with(connection, up)
    }

    fn with(connection: &Arc<str>, up: Gauge) -> Self {
        let name = || Arc::clone(connection);
        Meters {
            rounds_ok: counter!(names::POLL_ROUNDS, "connection" => name(), "outcome" => "ok"),
            rounds_failed: counter!(names::POLL_ROUNDS, "connection" => name(), "outcome" => "error"),
            skipped: counter!(names::POLL_ROUNDS_SKIPPED, "connection" => name()),
            duration: histogram!(names::POLL_ROUND_DURATION, "connection" => name()),
            lateness: histogram!(names::POLL_ROUND_LATENESS, "connection" => name()),
            reads: counter!(names::POLL_READS, "connection" => name()),
            commands: counter!(names::POLL_COMMANDS, "connection" => name()),
            sent: counter!(names::POLL_SENT, "connection" => name()),
            received: counter!(names::POLL_RECEIVED, "connection" => name()),
            wakes: counter!(names::POLL_WAKES, "connection" => name()),
            failures: FailureKind::ALL
                .map(|kind| counter!(names::POLL_FAILURES, "connection" => name(), "kind" => kind.as_str())),
            up,
            put_off: Counter::noop(),
            connects_ok: counter!(names::CONNECTS, "connection" => name(), "outcome" => "ok"),
            connects_failed: counter!(names::CONNECTS, "connection" => name(), "outcome" => "error"),
        }
    }

    /// Of a connection whose commands are capped.
    pub(super) fn capped(self, connection: &Arc<str>) -> Self {
        let put_off = counter!(names::POLL_PUT_OFF, "connection" => Arc::clone(connection));
        put_off.increment(0);
        Meters { put_off, ..self }
    }

    /// So many autoscalers' reads wait for room.
    pub(super) fn put_off(&self, autoscalers: usize) {
        self.put_off.increment(autoscalers as u64);
    }

    pub(super) fn began(&self, lateness: Duration, skipped: u64) {
        self.lateness.record(lateness.as_secs_f64());
        self.skipped(skipped);
    }

    pub(super) fn skipped(&self, rounds: u64) {
        if rounds > 0 {
            self.skipped.increment(rounds);
        }
    }

    pub(super) fn answered(&self, took: Duration, reads: usize) {
        self.rounds_ok.increment(1);
        self.duration.record(took.as_secs_f64());
        self.reads.increment(reads as u64);
    }

    /// What reading has cost the server since the last time.
    pub(super) fn cost(&self, load: Load) {
        self.commands.increment(load.commands);
        self.sent.increment(load.sent);
        self.received.increment(load.received);
    }

    /// So many autoscalers are read before their time.
    pub(super) fn woken(&self, autoscalers: usize) {
        self.wakes.increment(autoscalers as u64);
    }

    pub(super) fn round_failed(&self) {
        self.rounds_failed.increment(1);
    }

    /// `reads` reads failed for this reason.
    pub(super) fn failed(&self, failure: &ReadFailure, reads: usize) {
        for (kind, failures) in FailureKind::ALL.iter().zip(&self.failures) {
            if *kind == failure.kind {
                failures.increment(reads as u64);
            }
        }
    }

    pub(super) fn connected(&self, succeeded: bool) {
        let connects = if succeeded { &self.connects_ok } else { &self.connects_failed };
        connects.increment(1);
    }

    /// Nobody needs this connection any more: neither up nor down, so that no alert takes it for either.
    pub(super) fn abandoned(&self) {
        self.up.set(f64::NAN);
    }

    pub(super) fn up(&self, up: bool) {
        self.up.set(if up { 1.0 } else { 0.0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RedisServer;
    use metrics_exporter_prometheus::PrometheusBuilder;

    fn connection(name: &str, address: &str) -> ConnectionSpec {
        let server = RedisServer::at(address, Duration::from_secs(1));
        ConnectionSpec { name: name.into(), server: Server::Redis(server) }
    }

    #[test]
    fn addresses_are_labels_as_long_as_there_is_room_and_declared_names_always() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let rendered = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let mut labels = Labels::default();
            for host in 0..3 * ADDRESSES {
                let address = format!("h{host}:6379");
                labels.meters(&connection(&address, &address)).answered(Duration::ZERO, 1);
            }
            labels.meters(&connection("h0:6379", "h0:6379")).answered(Duration::ZERO, 1);
            labels.meters(&connection("shop/redis", "h5000:6379")).answered(Duration::ZERO, 1);
        });
        let text = rendered.render();
        let reads: Vec<&str> = text.lines().filter(|line| line.starts_with(names::POLL_READS)).collect();
        assert_eq!(reads.len(), ADDRESSES + 2);
        let of = |name: &str| format!("{}{{connection=\"{name}\"}}", names::POLL_READS);
        assert!(reads.contains(&format!("{} 2", of("h0:6379")).as_str()));
        assert!(reads.contains(&format!("{} 1", of("shop/redis")).as_str()));
        assert!(reads.contains(&format!("{} {}", of(OTHER), 2 * ADDRESSES).as_str()));
        let up = format!("{}{{connection=\"{OTHER}\"}}", names::CONNECTION_UP);
        assert!(!text.contains(&up));
    }
}
