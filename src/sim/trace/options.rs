//! What an engineer may say about an export that the export does not say itself.

use super::Format;

/// What a column or a series is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// When the row was true.
    Time,
    /// How long one worker was busy with the item (events).
    Service,
    /// Tokens read for the item (events); worth seconds by [`Options::seconds_per_token`].
    InputTokens,
    /// Tokens written for the item (events).
    OutputTokens,
    /// How many came in the bin of the row.
    Arrivals,
    /// How many came per second, as `rate()` says.
    Rate,
    /// A counter of what came: only goes up, but for resets.
    Enqueued,
    /// A counter of what was done.
    Completed,
    /// How many were done in the bin of the row.
    Completions,
    /// How many wait (a gauge).
    Depth,
    /// How many are being worked on (a gauge).
    InFlight,
    /// How many workers there are (a gauge).
    Replicas,
    /// Age of the oldest item: recognized so that nobody takes it for something else; not used.
    Age,
}

impl Role {
    pub const ALL: [Role; 13] = [
        Role::Time,
        Role::Service,
        Role::InputTokens,
        Role::OutputTokens,
        Role::Arrivals,
        Role::Rate,
        Role::Enqueued,
        Role::Completed,
        Role::Completions,
        Role::Depth,
        Role::InFlight,
        Role::Replicas,
        Role::Age,
    ];

    /// As users write it, and as problems print it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Time => "time",
            Role::Service => "service",
            Role::InputTokens => "input_tokens",
            Role::OutputTokens => "output_tokens",
            Role::Arrivals => "arrivals",
            Role::Rate => "rate",
            Role::Enqueued => "enqueued",
            Role::Completed => "completed",
            Role::Completions => "completions",
            Role::Depth => "depth",
            Role::InFlight => "in_flight",
            Role::Replicas => "replicas",
            Role::Age => "age",
        }
    }

    pub fn named(name: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.name() == name)
    }

    /// Rows of one time add up where each is a count of its own; of gauges and counters only one can be true.
    pub(super) fn adds_up(self) -> bool {
        matches!(self, Role::Arrivals | Role::Completions | Role::Rate)
    }
}

/// What a number of a time or of a service is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

impl Unit {
    pub(super) fn nanos(self) -> u32 {
        match self {
            Unit::Seconds => 1_000_000_000,
            Unit::Millis => 1_000_000,
            Unit::Micros => 1_000,
            Unit::Nanos => 1,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Unit::Seconds => "seconds",
            Unit::Millis => "milliseconds",
            Unit::Micros => "microseconds",
            Unit::Nanos => "nanoseconds",
        }
    }
}

/// Where in its bin each arrival of a count is put. Both are the same at every import.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Spread {
    /// In the middles of equal parts of the bin: the smoothest load that has these counts.
    #[default]
    Even,
    /// Anywhere, as Poisson arrivals are once their number is known.
    Random { seed: u64 },
}

/// Which end of its bin a timestamp marks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamp {
    Start,
    End,
}

/// What a row of a table is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rows {
    /// One item that came.
    Events,
    /// What was measured at a time.
    Series,
}

/// Reading a token and writing one cost differently; who does not know better gives both the same.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct SecondsPerToken {
    pub input: f64,
    pub output: f64,
}

impl SecondsPerToken {
    pub fn same(seconds: f64) -> Self {
        SecondsPerToken { input: seconds, output: seconds }
    }
}

/// Everything that may be said about an export. The default says nothing and lets the content speak.
#[derive(Clone, PartialEq, Debug)]
pub struct Options {
    /// Not detected, but this.
    pub format: Option<Format>,
    /// Which column (CSV, NDJSON) or series (Prometheus: `name`, `name{label="value"}`, `{label="value"}` or `#2`;
    /// CloudWatch: the id or the label) is what. Said here, a counter is one whatever its name.
    pub map: Vec<(Role, String)>,
    /// Not told by the magnitude, but this.
    pub time_unit: Option<Unit>,
    /// Unless the name of the column says it (`duration_ms`): seconds.
    pub service_unit: Option<Unit>,
    /// Not told by the columns, but this.
    pub rows: Option<Rows>,
    /// Makes a service of the tokens of an item.
    pub seconds_per_token: Option<SecondsPerToken>,
    /// Width of a bin, ns. Plain counts: 1 s unless said; elsewhere the usual interval of the rows.
    pub bin: Option<u64>,
    /// Which end of its bin a timestamp marks: the end for Prometheus, the start for all others, unless said.
    pub stamp: Option<Stamp>,
    pub spread: Spread,
    /// Replicas that worked, for depths without a flow; needless where the trace has them.
    pub replicas: Option<f64>,
    /// Mean seconds of service, for depths without a flow.
    pub service: Option<f64>,
    /// How wrong `service` may be, as a share of it: 0.2 is 20 % either way.
    pub service_error: f64,
    /// Items a replica works on at once.
    pub slots: u32,
    /// More arrivals (or rows) than this are refused: 200 million are 1.6 GB of times.
    pub max_arrivals: u64,
    /// Larger files are refused.
    pub max_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            format: None,
            map: Vec::new(),
            time_unit: None,
            service_unit: None,
            rows: None,
            seconds_per_token: None,
            bin: None,
            stamp: None,
            spread: Spread::Even,
            replicas: None,
            service: None,
            service_error: 0.2,
            slots: 1,
            max_arrivals: 200_000_000,
            max_bytes: 2 << 30,
        }
    }
}

impl Options {
    pub(super) fn mapped(&self, role: Role) -> Option<&str> {
        self.map.iter().find(|(of, _)| *of == role).map(|(_, to)| to.as_str())
    }
}
