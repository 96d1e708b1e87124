//! Every metric this process exports, each with its name, kind, unit, labels, help text and use in one place, so that
//! names, descriptions and the reference (`tidegate metrics`) cannot drift apart.
//!
//! Conventions: `tidegate_` prefix, base units, `_total` for counters; labels are bounded sets (closed enums, names
//! from manifests). What grows with the autoscalers is read from the board when scraped, and [`Detail`] turns it down.

mod labels;

use self::labels::{
    ABANDONED, AUTOSCALER, CHECKPOINT_STORE, CONNECTION, DOOR, EVENT_OUTCOME, FAILURE_KIND, FLOOD, GRPC_CODE,
    HANDSHAKE_OUTCOME, KUBE_CODE, KUBE_RESOURCE, KUBE_VERB, LEADERSHIP_CHANGE, METHOD, NAMESPACE, ORIGIN, OUTCOME,
    REASON, REFUSED_CALL, REFUSED_CONNECTION, REFUSED_REGISTRATION, RELOAD_OUTCOME, RESTORE_OUTCOME, SCALE_OUTCOME,
    STATUS_OUTCOME, STREAM_METHOD, TRIGGER, UNARY_METHOD, VERSION,
};
pub use self::labels::{Label, Values};

/// A metric as it is described to whoever scrapes it, and to whoever wonders what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub labels: &'static [Label],
    /// What the value says.
    pub help: &'static str,
    /// When to look at it, or what to alert on.
    pub usage: &'static str,
}

impl Metric {
    /// The one setting of [`Detail`] under which it is exported; `None` where that makes no difference.
    #[must_use]
    pub fn only_at(&self) -> Option<Detail> {
        match self.name {
            name if OF_AUTOSCALERS.contains(&name) => Some(Detail::Autoscaler),
            name if OF_NAMESPACES.contains(&name) => Some(Detail::Namespace),
            _ => None,
        }
    }
}

/// Read from the board at [`Detail::Autoscaler`], in the order in which they are written.
pub const OF_AUTOSCALERS: [&str; 14] = [
    BACKLOG,
    DUE,
    IN_FLIGHT,
    OLDEST_ITEM_AGE,
    PARTITIONS,
    UNOWNED,
    REBALANCING,
    SAMPLE_AGE,
    TRIGGER_FAILING,
    CURRENT_REPLICAS,
    DESIRED_REPLICAS,
    MIN_REPLICAS,
    MAX_REPLICAS,
    ACTIVE,
];
/// Read from the board at [`Detail::Namespace`]. Names of their own, so that no query adds them to what they were added
/// up from.
pub const OF_NAMESPACES: [&str; 7] = [
    NAMESPACE_AUTOSCALERS,
    NAMESPACE_BACKLOG,
    NAMESPACE_CURRENT_REPLICAS,
    NAMESPACE_DESIRED_REPLICAS,
    NAMESPACE_ACTIVE,
    NAMESPACE_FAILING,
    NAMESPACE_SAMPLE_AGE,
];

/// How finely the metrics that are read from the board tell autoscalers apart: the number of time series.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Detail {
    /// Eight and more series for each autoscaler, up to three more for each trigger whose source shows more.
    #[default]
    Autoscaler,
    /// Seven series for each namespace.
    Namespace,
    /// None of either: their number depends on the connections alone.
    Process,
}

impl Detail {
    pub const ALL: [Detail; 3] = [Detail::Autoscaler, Detail::Namespace, Detail::Process];

    /// As `--metrics-detail` has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Detail::Autoscaler => "autoscaler",
            Detail::Namespace => "namespace",
            Detail::Process => "process",
        }
    }
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
    /// A time span, or with `_timestamp_seconds` a moment since 1970.
    Seconds,
    Bytes,
}

impl Unit {
    /// As a person would write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Count => "count",
            Unit::Seconds => "seconds",
            Unit::Bytes => "bytes",
        }
    }

    /// How a name of it ends, `_total` aside.
    #[must_use]
    pub const fn suffix(self) -> &'static str {
        match self {
            Unit::Count => "",
            Unit::Seconds => "_seconds",
            Unit::Bytes => "_bytes",
        }
    }
}

/// `NAME = "name", Kind of Unit by [labels]: "what it says", "its use";` without `by` where it has no labels.
macro_rules! metrics {
    ($(
        $(#[$comment:meta])*
        $constant:ident = $name:literal, $kind:ident of $unit:ident $(by [$($label:expr),+ $(,)?])?:
            $help:literal $(, $usage:literal)?;
    )+) => {
        $(
            $(#[$comment])*
            #[doc = $help]
            pub const $constant: &str = $name;
        )+

        /// All of them, in the order in which they are written here.
        pub const ALL: &[Metric] = &[
            $(Metric {
                name: $name,
                kind: Kind::$kind,
                unit: Unit::$unit,
                labels: &[$($($label),+)?],
                help: $help,
                // Left out is found by the test of the conventions, which can say what is missing.
                usage: concat!($($usage)?),
            },)+
        ];
    };
}

/// Values of `about` in [`LOG_LINES_LEFT_OUT`].
pub const FLOOD_KEDA_METADATA: &str = "keda_metadata";
pub const FLOOD_REGISTRATIONS: &str = "registrations";

metrics! {
    // Polling
    POLL_ROUNDS = "tidegate_poll_rounds_total", Counter of Count by [CONNECTION, OUTCOME]:
        "Rounds sent to a server.",
        "Alert when most rounds of a connection have outcome=\"error\" for longer than the autoscalers' fallback.after.";
    POLL_ROUNDS_SKIPPED = "tidegate_poll_rounds_skipped_total", Counter of Count by [CONNECTION]:
        "Rounds skipped because the one before was late.",
        "A rate that stays above zero means that the server, or the way to it, is slower than the pollingInterval asks.";
    POLL_PUT_OFF = "tidegate_poll_put_off_total", Counter of Count by [CONNECTION]:
        "Readings of an autoscaler that waited for room under the connection's maxCommandsPerSecond; absent without one.",
        "A rate above zero means that values are older than pollingInterval says; the log says how often they are read.";
    POLL_ROUND_DURATION = "tidegate_poll_round_duration_seconds", Histogram of Seconds by [CONNECTION]:
        "From sending a round to its last answer.",
        "Look at its p99 when values are old: it is the server's share of their age.";
    POLL_ROUND_LATENESS = "tidegate_poll_round_lateness_seconds", Histogram of Seconds by [CONNECTION]:
        "From when a round was due to when it began.",
        "Look at its p99 when values are old: it is this process's share; alert at half the shortest pollingInterval.";
    POLL_READS = "tidegate_poll_reads_total", Counter of Count by [CONNECTION]:
        "Reads answered.",
        "Its rate is what autoscalers are told, in keys a second; what it costs the server is in the next ones.";
    POLL_COMMANDS = "tidegate_poll_commands_total", Counter of Count by [CONNECTION]:
        "Commands sent to a server for reads.",
        "Its rate is the load that this process puts on a server; below the reads' as far as queues are idle.";
    POLL_SENT = "tidegate_poll_sent_bytes_total", Counter of Bytes by [CONNECTION]:
        "Bytes sent to a server for reads.",
        "With what is received, the traffic to a server in another zone.";
    POLL_RECEIVED = "tidegate_poll_received_bytes_total", Counter of Bytes by [CONNECTION]:
        "Bytes received from a server for reads.",
        "With what is sent, the traffic to a server in another zone.";
    POLL_WAKES = "tidegate_poll_wakes_total", Counter of Count by [CONNECTION]:
        "Autoscalers read before their time because the server said that an empty queue of theirs was filled.",
        "Zero for a server with idle queues: it does not tell of changes; the log says why.";
    POLL_FAILURES = "tidegate_poll_failures_total", Counter of Count by [CONNECTION, FAILURE_KIND]:
        "Reads failed.",
        "Its kind says whom to call: unreachable and timeout the network's owner, permission_denied the server's.";
    CONNECTION_UP = "tidegate_connection_up", Gauge of Count by [CONNECTION]:
        "1 while the last round succeeded, NaN once nobody needs the connection.",
        "Alert on 0 for some minutes: every autoscaler that reads this server is held or falls back.";
    CONNECTS = "tidegate_connection_attempts_total", Counter of Count by [CONNECTION, OUTCOME]:
        "Attempts to connect.",
        "A steady rate with outcome=\"ok\" is a server, or something before it, that keeps closing connections.";
    CREDENTIAL_RENEWALS = "tidegate_credential_renewals_total", Counter of Count by [CONNECTION, OUTCOME]:
        "Attempts to open a second link because the files of secrets or certificates changed.",
        "After a rotation, wait for outcome=\"ok\" before the old secret goes; alert on outcome=\"error\".";

    // Tenants
    REGISTRATIONS_REFUSED = "tidegate_registrations_refused_total", Counter of Count by [REFUSED_REGISTRATION]:
        "Triggers of KEDA's calls that were not registered because a cap is reached; what was registered before goes on.",
        "A rate above zero is a namespace with too many triggers, or a flood; the log says whose and which flag.";
    POLL_DEMAND = "tidegate_poll_demand_reads_per_second", Gauge of Count by [NAMESPACE]:
        "Reads a second that the autoscalers of a namespace ask for; only of namespaces that are held back.",
        "Alert on its being there: this namespace's polling intervals are stretched by demand over allowance.";
    POLL_ALLOWED = "tidegate_poll_allowed_reads_per_second", Gauge of Count by [NAMESPACE]:
        "Reads a second that a namespace gets; only of namespaces that are held back.",
        "Beside the demand it says by how much intervals are stretched.";

    // Deciding
    AUTOSCALERS = "tidegate_autoscalers", Gauge of Count by [ORIGIN]:
        "Autoscalers known.",
        "Compare with what you deployed; a jump of origin=\"keda\" is somebody's new ScaledObjects.";
    EVALUATIONS = "tidegate_evaluations_total", Counter of Count:
        "Evaluations made.",
        "Alert when its rate is zero while there are autoscalers: nothing is decided any more.";
    DECISIONS = "tidegate_decisions_total", Counter of Count by [REASON]:
        "Decisions that changed the wanted replicas.",
        "A high rate is flapping; the reasons say which rule swings.";
    SCALES = "tidegate_scale_requests_total", Counter of Count by [SCALE_OUTCOME]:
        "Requests to change a workload's scale.",
        "Alert on outcomes other than ok and superseded: what was decided is not what stands.";
    SCALES_WAITING = "tidegate_scale_requests_waiting", Gauge of Count:
        "Workloads whose scaling waits for its turn, or waits out a pause after a failure.",
        "Alert when it stays above zero: a rate limit, a slow API server, or requests that fail again and again.";

    // Memory
    CHECKPOINT_WRITES = "tidegate_checkpoint_writes_total", Counter of Count by [CHECKPOINT_STORE, OUTCOME]:
        "Shards of checkpoints written, or not.",
        "Alert on a rate of outcome=\"error\": a restart would begin with an old memory, or with none.";
    CHECKPOINT_BYTES = "tidegate_checkpoint_written_bytes_total", Counter of Bytes by [CHECKPOINT_STORE]:
        "Bytes of checkpoints written.",
        "What memory costs the API server or the disk; steady autoscalers cost nothing.";

    // Recordings
    RECORDING = "tidegate_recording", Gauge of Count:
        "1 while what the engine is given is recorded (--record), 0 once that has stopped.",
        "Alert on 0 where you asked for a recording: the log says why it stopped, and so does the recording.";
    RECORDED_BYTES = "tidegate_recorded_bytes_total", Counter of Bytes:
        "Bytes of recordings written.",
        "Its rate says how long --record-max-bytes lasts.";

    // Kubernetes
    KUBE_REQUESTS = "tidegate_kubernetes_requests_total", Counter of Count by [KUBE_VERB, KUBE_RESOURCE, KUBE_CODE]:
        "Requests to the Kubernetes API server, by what became of them; code=\"none\" had no answer.",
        "What this process costs the API server. 403 is a missing permission: compare with `tidegate crd --rbac`.";
    KUBE_REQUEST_DURATION = "tidegate_kubernetes_request_duration_seconds", Histogram of Seconds by [KUBE_VERB]:
        "From sending a request to the head of its answer; watches are left out.",
        "Its p99 is a lower bound of how late a scaling can be.";
    LEADER = "tidegate_leader", Gauge of Count:
        "1 while this process holds the Lease, and so scales and writes status.",
        "The sum over all replicas is 1; alert when it is 0 for longer than --lease-duration.";
    LEADERSHIP_CHANGES = "tidegate_leadership_changes_total", Counter of Count by [LEADERSHIP_CHANGE]:
        "How often this process became the leader, lost the Lease, or gave it back at its end.",
        "Any change=\"lost\" is a renewal that failed for --renew-deadline: look at the API server, and at CPU throttling.";
    LEASE_RENEWAL_GAP = "tidegate_lease_renewal_gap_seconds", Histogram of Seconds:
        "From sending one renewal of the Lease to the answer to the next.",
        "About --retry-period; alert when its p99 comes near --renew-deadline, where the leadership ends.";
    STATUS_WRITES = "tidegate_status_writes_total", Counter of Count by [STATUS_OUTCOME]:
        "Writes to the status of custom resources, by what became of them.",
        "Its rate is what telling costs the API server; a steady autoscaler adds nothing. Alert on forbidden and refused.";
    STATUS_WAITING = "tidegate_status_writes_waiting", Gauge of Count:
        "Statuses that could be written now and wait for the rate limit, at the last look.",
        "While it stays high, kubectl shows what was true some seconds ago; scaling does not wait for it.";
    EVENTS = "tidegate_kubernetes_events_total", Counter of Count by [EVENT_OUTCOME]:
        "Kubernetes Events, by what became of them; left_out had no room, or was said minutes ago.",
        "Much left_out is flapping: look for conditions that change often.";
    RESTORES = "tidegate_restores_total", Counter of Count by [RESTORE_OUTCOME]:
        "Deleted autoscalers whose workload was to be scaled back, by what became of it; errors are tried again.",
        "Alert on error: such an object cannot go before its workload is scaled back, or its finalizer taken away.";

    // Manifests
    MANIFEST_RELOADS = "tidegate_manifest_reloads_total", Counter of Count by [RELOAD_OUTCOME]:
        "Changes of manifest files that were read.",
        "A rate above a few an hour is somebody's script that writes files again and again.";
    MANIFEST_RELOAD_FAILING = "tidegate_manifest_reload_failing", Gauge of Count:
        "1 while the last change of the manifest files is not in force, or not all of it.",
        "Alert on 1 for some minutes; /api/v1/manifests has the problems, with file, line and cure.";
    MANIFEST_RELOAD_SUCCESS = "tidegate_manifest_last_reload_success_timestamp_seconds", Gauge of Seconds:
        "When manifests last came into force without any problem, in seconds since the epoch.",
        "Compare it with the time of a deployment, to see whether that has arrived.";

    // Per autoscaler
    BACKLOG = "tidegate_trigger_backlog", Gauge of Count by [NAMESPACE, AUTOSCALER, TRIGGER]:
        "Items waiting, last good value.",
        "The queue itself: plot it beside the replicas.";
    DUE = "tidegate_trigger_due", Gauge of Count by [NAMESPACE, AUTOSCALER, TRIGGER]:
        "Of the backlog, delayed items that are due; absent where the source does not tell.",
        "Alert when it stays above zero with replicas there: workers promote due items, and these do not.";
    IN_FLIGHT = "tidegate_trigger_in_flight", Gauge of Count by [NAMESPACE, AUTOSCALER, TRIGGER]:
        "Items that are being worked on, last good value; absent where the source does not show them.",
        "Divide it by the replicas to see how busy they are; what stays with no replicas was left by workers that died.";
    OLDEST_ITEM_AGE = "tidegate_trigger_oldest_item_age_seconds", Gauge of Seconds by [NAMESPACE, AUTOSCALER, TRIGGER]:
        "Age of the oldest waiting item, as of the last good value; absent where none waits or the source does not tell.",
        "What a user of the queue waits: alert where that is too long, whatever the backlog.";
    PARTITIONS = "tidegate_trigger_partitions", Gauge of Count by [NAMESPACE, AUTOSCALER, TRIGGER]:
        "Partitions, segments or shards that the work is divided into; absent where the source does not tell.",
        "More replicas than that find nothing to do: bound maxReplicas by it, or write boundByPartitions.";
    UNOWNED = "tidegate_trigger_unowned_partitions", Gauge of Count by [NAMESPACE, AUTOSCALER, TRIGGER]:
        "Partitions that no living worker works on although some live; absent where the source does not tell.",
        "Alert when it stays above zero: their lag grows, and more replicas may not help; restart the workers.";
    REBALANCING = "tidegate_trigger_rebalancing", Gauge of Count by [NAMESPACE, AUTOSCALER, TRIGGER]:
        "1 while the workers divide the work anew, 0 while they do not; absent where the source does not tell.",
        "How often and how long nobody works because of a change; alert when it stays 1 beyond rebalanceTimeout.";
    SAMPLE_AGE = "tidegate_trigger_sample_age_seconds", Gauge of Seconds by [NAMESPACE, AUTOSCALER, TRIGGER]:
        "Age of the last good value.",
        "Alert when it is beyond the autoscaler's maxSampleAge: its decisions rest on nothing fresh.";
    TRIGGER_FAILING = "tidegate_trigger_failing", Gauge of Count by [NAMESPACE, AUTOSCALER, TRIGGER, FAILURE_KIND]:
        "1 while the trigger's reads fail; absent while they succeed.",
        "Alert the team that owns the namespace; the API has the failure in words, with its cure.";
    CURRENT_REPLICAS = "tidegate_current_replicas", Gauge of Count by [NAMESPACE, AUTOSCALER]:
        "Replicas as last seen; absent where the scale is not known.",
        "Alert when it differs from the desired replicas for longer than your pods need to start.";
    DESIRED_REPLICAS = "tidegate_desired_replicas", Gauge of Count by [NAMESPACE, AUTOSCALER]:
        "Replicas decided.",
        "Alert when it stands at tidegate_max_replicas while the backlog grows.";
    MIN_REPLICAS = "tidegate_min_replicas", Gauge of Count by [NAMESPACE, AUTOSCALER]:
        "The autoscaler's minReplicas.",
        "Beside the desired ones: who stands here could perhaps do with fewer.";
    MAX_REPLICAS = "tidegate_max_replicas", Gauge of Count by [NAMESPACE, AUTOSCALER]:
        "The autoscaler's maxReplicas.",
        "The bound that a growing backlog runs into.";
    ACTIVE = "tidegate_active", Gauge of Count by [NAMESPACE, AUTOSCALER]:
        "1 while the autoscaler is active.",
        "Shows what is asleep: 0 is where scaling to zero, or to idleReplicaCount, is allowed.";

    // Per namespace
    NAMESPACE_AUTOSCALERS = "tidegate_namespace_autoscalers", Gauge of Count by [NAMESPACE]:
        "Autoscalers known in the namespace.",
        "Shows who uses this process, and how much of it.";
    NAMESPACE_BACKLOG = "tidegate_namespace_backlog", Gauge of Count by [NAMESPACE]:
        "Items waiting, last good values of all triggers added up; a queue that two triggers read counts twice.",
        "A team's queues in one line; look into the API for which one it is.";
    NAMESPACE_CURRENT_REPLICAS = "tidegate_namespace_current_replicas", Gauge of Count by [NAMESPACE]:
        "Replicas as last seen, added up over the autoscalers whose scale is known.",
        "A team's share of the cluster, as far as it is scaled from here.";
    NAMESPACE_DESIRED_REPLICAS = "tidegate_namespace_desired_replicas", Gauge of Count by [NAMESPACE]:
        "Replicas decided, added up.",
        "What a team will need: compare with its quota.";
    NAMESPACE_ACTIVE = "tidegate_namespace_active_autoscalers", Gauge of Count by [NAMESPACE]:
        "Autoscalers that are active.",
        "Shows how much of a namespace is asleep.";
    NAMESPACE_FAILING = "tidegate_namespace_failing_triggers", Gauge of Count by [NAMESPACE]:
        "Triggers whose reads fail.",
        "Alert the team above 0; the API says which trigger, why, and the cure.";
    NAMESPACE_SAMPLE_AGE = "tidegate_namespace_oldest_sample_age_seconds", Gauge of Seconds by [NAMESPACE]:
        "Age of the oldest of the triggers' last good values; absent where none was read.",
        "Alert when it is beyond the longest maxSampleAge of the namespace.";

    // Serving
    GRPC_REQUESTS = "tidegate_grpc_requests_total", Counter of Count by [METHOD, GRPC_CODE]:
        "RPCs answered; streams count when they open.",
        "Alert on a share of codes other than OK: KEDA counts them as failures and falls back.";
    GRPC_DURATION = "tidegate_grpc_request_duration_seconds", Histogram of Seconds by [UNARY_METHOD]:
        "Time a unary RPC took.",
        "Look at its p99 when KEDA is slow: answers come from memory, so milliseconds mean a starved process.";
    GRPC_STREAMS = "tidegate_grpc_streams", Gauge of Count by [STREAM_METHOD]:
        "Streams open.",
        "Zero with external-push triggers in the cluster means that KEDA does not reach this process.";

    // The doors
    CONNECTIONS = "tidegate_connections", Gauge of Count by [DOOR]:
        "Connections open to us, TLS handshakes included.",
        "A number that only grows is a caller that opens a connection for each call.";
    CONNECTIONS_REFUSED = "tidegate_connections_refused_total", Counter of Count by [DOOR, REFUSED_CONNECTION]:
        "Connections closed at once because too many were open, in total or of one peer.",
        "A rate above zero is a flood, or a proxy before us that stands for many.";
    CONNECTIONS_ABANDONED = "tidegate_connections_abandoned_total", Counter of Count by [DOOR, ABANDONED]:
        "Connections closed because the peer said nothing, or did not read.",
        "A few are port scans and plain TCP probes; many are somebody who holds connections open.";
    ACCEPT_ERRORS = "tidegate_accept_errors_total", Counter of Count by [DOOR]:
        "Connections that could not be accepted, for want of file descriptors, say.",
        "Alert on any: raise the limit on open files, or look at who holds them.";
    TLS_HANDSHAKES = "tidegate_tls_handshakes_total", Counter of Count by [DOOR, HANDSHAKE_OUTCOME]:
        "TLS handshakes with callers.",
        "After a rotation, outcome=\"error\" is callers that do not trust the new certificate, or whose own we do not.";
    TLS_RELOADS = "tidegate_tls_reloads_total", Counter of Count by [DOOR, OUTCOME]:
        "Changes of a door's TLS files, taken or refused.",
        "Wait for outcome=\"ok\" after a rotation.";
    TLS_RELOAD_FAILING = "tidegate_tls_reload_failing", Gauge of Count by [DOOR]:
        "1 while a door's TLS files cannot be used and the last good ones serve on.",
        "Alert on 1 for some minutes: the certificate that serves will run out.";
    GRPC_IN_FLIGHT = "tidegate_grpc_calls_in_flight", Gauge of Count:
        "RPCs and streams open, of all services.",
        "Thousands without thousands of external-push triggers are somebody who opens streams for their own sake.";
    GRPC_REFUSED = "tidegate_grpc_calls_refused_total", Counter of Count by [REFUSED_CALL]:
        "RPCs ended to protect the process: too many open, too many bytes being received, or a request that came too slowly.",
        "A rate above zero is a flood, or slow callers; KEDA's own calls are small and come at once.";

    // The process
    BUILD_INFO = "tidegate_build_info", Gauge of Count by [VERSION]:
        "Always 1.",
        "Shows which versions run, during an upgrade say; absent means down.";
    LOG_LINES_LEFT_OUT = "tidegate_log_lines_left_out_total", Counter of Count by [FLOOD]:
        "Log lines that callers could cause at will and that were left out: beyond a hundred at once, and one a second.",
        "A rate above zero means that somebody floods; the lines that were written name some of them.";
}

/// The description of `name`, for what is rendered without the recorder.
#[must_use]
pub fn describe(name: &str) -> Option<&'static Metric> {
    ALL.iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests;
