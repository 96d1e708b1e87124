//! The world of a simulation after validation, every default filled in. Plain data: `sim` makes it happen.

use std::time::Duration;

use crate::model::Replicas;
pub use crate::spec::manifest::{Guess, Unfinished, Victim};

/// A workload and the place it runs in.
#[derive(Clone, PartialEq, Debug)]
pub struct Scenario {
    pub name: String,
    /// File that it stands in.
    pub file: String,
    /// One paragraph on what it is for; empty if nobody wrote one.
    pub about: String,
    /// Name of the autoscaler that it is for, where it says so.
    pub autoscaler: Option<String>,
    /// How long jobs arrive; `None`: as long as the traces are.
    pub duration: Option<Duration>,
    pub slo: Slo,
    /// At least one.
    pub streams: Vec<Stream>,
    pub workers: Workers,
    pub sampling: Sampling,
    pub actuation: Actuation,
    pub initial_replicas: Option<Replicas>,
    /// At least one.
    pub seeds: u32,
}

/// How soon jobs should be started.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Slo {
    /// From arrival to start.
    pub wait: Duration,
    /// Of all jobs, 0 to 1.
    pub share: f64,
}

/// The jobs behind one trigger.
#[derive(Clone, PartialEq, Debug)]
pub struct Stream {
    /// `None`: the trigger at the same place.
    pub trigger: Option<String>,
    pub arrivals: Vec<Arrivals>,
    /// `None`: the trace says.
    pub service: Option<Draw>,
}

/// One way of arriving. Rates are jobs a second.
#[derive(Clone, PartialEq, Debug)]
pub enum Arrivals {
    Constant { rate: f64, even: bool },
    Sine { mean: f64, amplitude: f64, period: Duration },
    Weekly { peak: f64, night: f64, weekend: f64 },
    Steps { rates: Vec<f64>, every: Duration },
    Ramp { from: f64, to: f64 },
    Spike { rate: f64, at: Duration, lasts: Duration },
    Mmpp { rates: Vec<f64>, dwell: Vec<Duration> },
    Batches { size: u32, every: Duration },
    Cron { size: u32, every: Duration, at: Duration, within: Duration },
    RetryStorm { rate: f64, at: Duration, lasts: Duration, backoff: Duration, retries: u32 },
    Outage { rate: f64, at: Duration, lasts: Duration, flood: Duration },
    Trace(TraceFile),
}

/// A recorded trace, and what its file does not say itself.
#[derive(Clone, PartialEq, Debug)]
pub struct TraceFile {
    /// As written; a relative path begins at the scenario's folder.
    pub file: String,
    pub format: Option<String>,
    /// Role and column.
    pub columns: Vec<(String, String)>,
    /// For a token that is read, and for one that is written.
    pub seconds_per_token: Option<(f64, f64)>,
    pub bin: Option<Duration>,
    pub replicas: Option<f64>,
    /// Of depths: which of the arrivals that they allow for.
    pub band: Guess,
    /// This many times as many jobs.
    pub scale: f64,
}

/// A random duration.
#[derive(Clone, PartialEq, Debug)]
pub enum Draw {
    Fixed(Duration),
    Exponential(Duration),
    Lognormal {
        mean: Duration,
        cv: f64,
    },
    Gamma {
        mean: Duration,
        cv: f64,
    },
    Pareto {
        min: Duration,
        max: Duration,
        alpha: f64,
    },
    /// Each is as likely. At least one.
    Empirical(Vec<Duration>),
}

/// The pods that do the work.
#[derive(Clone, PartialEq, Debug)]
pub struct Workers {
    /// `None`: what the policy says, else 1.
    pub slots: Option<u32>,
    pub prefetch: u32,
    /// How long a pod is slow, and how many times as long its jobs take meanwhile.
    pub warm_up: Option<(Duration, f64)>,
    /// One after another: schedule, pull, init.
    pub start_up: [Draw; 3],
    /// Share of the starts that fail, 0 to 1, exclusive.
    pub failing: f64,
    pub grace: Duration,
    pub unfinished: Unfinished,
    pub visibility_timeout: Duration,
    pub victim: Victim,
    pub rebalance_pause: Duration,
    pub capacity: Option<u32>,
}

/// How the queue is seen.
#[derive(Clone, PartialEq, Debug)]
pub struct Sampling {
    pub delay: Duration,
    /// Share of the readings that fail, 0 to 1.
    pub loss: f64,
    /// Beginning and length.
    pub outages: Vec<(Duration, Duration)>,
}

/// How a wish becomes a change.
#[derive(Clone, PartialEq, Debug)]
pub struct Actuation {
    pub delay: Duration,
    /// Share of the attempts that fail, 0 to 1, exclusive.
    pub conflicts: f64,
}
