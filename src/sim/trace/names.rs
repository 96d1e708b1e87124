//! Names that columns and series go by, so that most exports need no mapping.

use super::{Role, Unit};

/// What a name says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Guess {
    pub(super) role: Role,
    pub(super) unit: Option<Unit>,
    /// Gives way to any other column of the same role: `value` says little.
    pub(super) weak: bool,
}

const KNOWN: &[(Role, &[&str])] = &[
    (
        Role::Time,
        &[
            "timestamp",
            "time",
            "ts",
            "date",
            "datetime",
            "t",
            "at",
            "epoch",
            "unixtime",
            "when",
            "submittime",
            "submittedat",
            "arrivaltime",
            "arrivedat",
            "arrival",
            "createdat",
            "enqueuedat",
            "enqueuetime",
            "starttime",
            "requesttime",
            "eventtime",
        ],
    ),
    (
        Role::Service,
        &[
            "service",
            "servicetime",
            "duration",
            "runtime",
            "elapsed",
            "executiontime",
            "exectime",
            "processingtime",
            "processtime",
            "cost",
            "worktime",
        ],
    ),
    (Role::InputTokens, &["contexttokens", "inputtokens", "prompttokens", "inputlength", "tokensin", "prefilltokens"]),
    (
        Role::OutputTokens,
        &["generatedtokens", "outputtokens", "completiontokens", "outputlength", "tokensout", "decodetokens"],
    ),
    (
        Role::Arrivals,
        &[
            "arrivals",
            "count",
            "counts",
            "requests",
            "requestcount",
            "invocations",
            "hits",
            "numberofmessagessent",
            "messagessent",
            "sent",
        ],
    ),
    (Role::Rate, &["rate", "rps", "qps", "arrivalrate", "requestspersecond", "requestrate", "persecond"]),
    (Role::Enqueued, &["enqueued", "entriesadded", "added", "pushed", "submitted"]),
    (Role::Completed, &["completed", "processed", "done"]),
    (Role::Completions, &["completions", "numberofmessagesdeleted", "messagesdeleted", "deleted"]),
    (
        Role::Depth,
        &[
            "depth",
            "queue",
            "queuedepth",
            "queuelength",
            "queuesize",
            "backlog",
            "llen",
            "length",
            "len",
            "size",
            "pending",
            "waiting",
            "ready",
            "messages",
            "messagesready",
            "visible",
            "queued",
            "lag",
            "jobswaiting",
            "approximatenumberofmessagesvisible",
        ],
    ),
    (
        Role::InFlight,
        &[
            "inflight",
            "processing",
            "active",
            "unacked",
            "running",
            "busy",
            "messagesunacknowledged",
            "notvisible",
            "approximatenumberofmessagesnotvisible",
            "inprogress",
        ],
    ),
    (
        Role::Replicas,
        &["replicas", "readyreplicas", "pods", "workers", "instances", "consumers", "podcount", "workercount"],
    ),
    (Role::Age, &["age", "oldest", "ageofoldest", "approximateageofoldestmessage"]),
];

/// Words of counters. What was completed comes first: `requests_completed_total` has words of both.
const COMPLETED: &[&str] =
    &["completed", "processed", "done", "deleted", "acked", "acknowledged", "finished", "succeeded", "success"];
const ENQUEUED: &[&str] = &[
    "enqueued",
    "added",
    "arriv",
    "submitted",
    "received",
    "pushed",
    "published",
    "sent",
    "created",
    "request",
    "incoming",
    "produced",
];

/// Columns of numbers that are never what an export is about.
const BYSTANDERS: &[&str] = &[
    "id",
    "index",
    "row",
    "no",
    "class",
    "priority",
    "jobid",
    "taskid",
    "requestid",
    "userid",
    "user",
    "tenant",
    "queueid",
    "status",
    "code",
    "statuscode",
    "pid",
    "partition",
    "shard",
    "offset",
    "retries",
    "attempt",
    "bytes",
    "unnamed0",
    "",
];

const UNITS: &[(&str, Unit)] = &[
    ("milliseconds", Unit::Millis),
    ("millis", Unit::Millis),
    ("msec", Unit::Millis),
    ("ms", Unit::Millis),
    ("microseconds", Unit::Micros),
    ("micros", Unit::Micros),
    ("us", Unit::Micros),
    ("nanoseconds", Unit::Nanos),
    ("nanos", Unit::Nanos),
    ("ns", Unit::Nanos),
    ("seconds", Unit::Seconds),
    ("secs", Unit::Seconds),
    ("sec", Unit::Seconds),
    ("s", Unit::Seconds),
];

/// What a column of this name is.
pub(super) fn classify(name: &str) -> Option<Guess> {
    let plain = plain(name);
    let sure = |role| Some(Guess { role, unit: None, weak: false });
    if let Some(role) = known(&plain) {
        return sure(role);
    }
    if plain == "value" || plain == "values" {
        return Some(Guess { role: Role::Depth, unit: None, weak: true });
    }
    for (suffix, unit) in UNITS {
        let base = plain.strip_suffix(suffix).and_then(known);
        if let Some(role @ (Role::Time | Role::Service)) = base {
            return Some(Guess { role, unit: Some(*unit), weak: false });
        }
    }
    let counter = plain.strip_suffix("total")?;
    if COMPLETED.iter().any(|word| counter.contains(word)) {
        return sure(Role::Completed);
    }
    if ENQUEUED.iter().any(|word| counter.contains(word)) {
        return sure(Role::Enqueued);
    }
    None
}

/// Whether a column of numbers of this name can be left out without asking.
pub(super) fn bystander(name: &str) -> bool {
    BYSTANDERS.contains(&plain(name).as_str())
}

fn known(plain: &str) -> Option<Role> {
    KNOWN.iter().find(|(_, names)| names.contains(&plain)).map(|(role, _)| *role)
}

/// `Queue Depth`, `queue_depth` and `queueDepth` are one name.
pub(super) fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}
