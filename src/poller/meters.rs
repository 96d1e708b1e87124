//! The metrics of one connection: handles made once, so that a round counts without a lookup.

use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::model::{FailureKind, ReadFailure};
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

pub(super) struct Meters {
    rounds_ok: Counter,
    rounds_failed: Counter,
    skipped: Counter,
    duration: Histogram,
    lateness: Histogram,
    reads: Counter,
    /// By the position of the kind in [`FailureKind::ALL`].
    failures: [Counter; FailureKind::ALL.len()],
    up: Gauge,
    connects_ok: Counter,
    connects_failed: Counter,
}

impl Meters {
    pub(super) fn new(connection: &Arc<str>) -> Self {
        let name = || Arc::clone(connection);
        let meters = Meters {
            rounds_ok: counter!(names::POLL_ROUNDS, "connection" => name(), "outcome" => "ok"),
            rounds_failed: counter!(names::POLL_ROUNDS, "connection" => name(), "outcome" => "error"),
            skipped: counter!(names::POLL_ROUNDS_SKIPPED, "connection" => name()),
            duration: histogram!(names::POLL_ROUND_DURATION, "connection" => name()),
            lateness: histogram!(names::POLL_ROUND_LATENESS, "connection" => name()),
            reads: counter!(names::POLL_READS, "connection" => name()),
            failures: FailureKind::ALL
                .map(|kind| counter!(names::POLL_FAILURES, "connection" => name(), "kind" => kind.as_str())),
            up: gauge!(names::CONNECTION_UP, "connection" => name()),
            connects_ok: counter!(names::CONNECTS, "connection" => name(), "outcome" => "ok"),
            connects_failed: counter!(names::CONNECTS, "connection" => name(), "outcome" => "error"),
        };
        meters.up.set(0.0);
        meters
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
