//! Every metric this process exports, each with its name, kind, unit and help text in one line, so that names and
//! descriptions cannot drift apart.
//!
//! Conventions: `tidegate_` prefix, base units, `_total` for counters; labels are bounded sets (connection names,
//! closed enums) except where the help says "of one autoscaler": those are read from the board when scraped.

/// A metric as it is described to whoever scrapes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub help: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    /// As the text exposition format writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Things counted; also what is 0 or 1.
    Count,
    Seconds,
}

macro_rules! metrics {
    ($($(#[$comment:meta])* $constant:ident = $name:literal, $kind:ident of $unit:ident: $help:literal;)+) => {
        $(
            $(#[$comment])*
            #[doc = $help]
            pub const $constant: &str = $name;
        )+

        /// All of them, in the order in which they are written here.
        pub const ALL: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, unit: Unit::$unit, help: $help },)+
        ];
    };
}

metrics! {
    // Polling
    POLL_ROUNDS = "tidegate_poll_rounds_total", Counter of Count:
        "Rounds sent to a server. Labels: connection, outcome (ok, error).";
    POLL_ROUNDS_SKIPPED = "tidegate_poll_rounds_skipped_total", Counter of Count:
        "Rounds skipped because the one before was late. Labels: connection.";
    POLL_ROUND_DURATION = "tidegate_poll_round_duration_seconds", Histogram of Seconds:
        "From sending a round to its last answer. Labels: connection.";
    POLL_ROUND_LATENESS = "tidegate_poll_round_lateness_seconds", Histogram of Seconds:
        "From when a round was due to when it began. Labels: connection.";
    POLL_READS = "tidegate_poll_reads_total", Counter of Count:
        "Reads answered. Labels: connection.";
    POLL_FAILURES = "tidegate_poll_failures_total", Counter of Count:
        "Reads failed. Labels: connection, kind (a failure kind).";
    CONNECTION_UP = "tidegate_connection_up", Gauge of Count:
        "1 while the last round succeeded. Labels: connection.";
    CONNECTS = "tidegate_connection_attempts_total", Counter of Count:
        "Attempts to connect. Labels: connection, outcome (ok, error).";
    CREDENTIAL_RENEWALS = "tidegate_credential_renewals_total", Counter of Count:
        "Attempts to open a second link because the files of secrets or certificates changed. Labels: connection, outcome (ok, error).";

    // Deciding
    AUTOSCALERS = "tidegate_autoscalers", Gauge of Count:
        "Autoscalers known. Labels: origin (manifest, keda).";
    EVALUATIONS = "tidegate_evaluations_total", Counter of Count:
        "Evaluations made.";
    DECISIONS = "tidegate_decisions_total", Counter of Count:
        "Decisions that changed the wanted replicas. Labels: reason.";
    SCALES = "tidegate_scale_requests_total", Counter of Count:
        "Requests to change a workload's scale. Labels: outcome (ok, or a failure kind).";

    // Per autoscaler
    BACKLOG = "tidegate_trigger_backlog", Gauge of Count:
        "Items waiting, last good value, of one autoscaler's trigger. Labels: namespace, autoscaler, trigger.";
    SAMPLE_AGE = "tidegate_trigger_sample_age_seconds", Gauge of Seconds:
        "Age of the last good value, of one autoscaler's trigger. Labels: namespace, autoscaler, trigger.";
    TRIGGER_FAILING = "tidegate_trigger_failing", Gauge of Count:
        "1 while a trigger of one autoscaler fails. Labels: namespace, autoscaler, trigger, kind (a failure kind).";
    CURRENT_REPLICAS = "tidegate_current_replicas", Gauge of Count:
        "Replicas as last seen, of one autoscaler; absent where the scale is not known. Labels: namespace, autoscaler.";
    DESIRED_REPLICAS = "tidegate_desired_replicas", Gauge of Count:
        "Replicas decided for one autoscaler. Labels: namespace, autoscaler.";
    ACTIVE = "tidegate_active", Gauge of Count:
        "1 while one autoscaler is active. Labels: namespace, autoscaler.";

    // Serving
    GRPC_REQUESTS = "tidegate_grpc_requests_total", Counter of Count:
        "RPCs answered; streams count when they open. Labels: method, code.";
    GRPC_DURATION = "tidegate_grpc_request_duration_seconds", Histogram of Seconds:
        "Time a unary RPC took. Labels: method.";
    GRPC_STREAMS = "tidegate_grpc_streams", Gauge of Count:
        "Streams open. Labels: method.";
    BUILD_INFO = "tidegate_build_info", Gauge of Count:
        "Always 1. Labels: version.";
}

/// The description of `name`, for what is rendered without the recorder.
#[must_use]
pub fn describe(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_keep_to_the_conventions() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            assert!(metric.name.starts_with("tidegate_"), "{}", metric.name);
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            assert_eq!(metric.kind == Kind::Counter, metric.name.ends_with("_total"), "{}", metric.name);
            assert_eq!(metric.unit == Unit::Seconds, metric.name.ends_with("_seconds"), "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
