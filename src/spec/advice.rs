//! What is worth knowing of manifests in which nothing is wrong: whether work in flight can be seen, which policy makes
//! use of it, and what a cap on commands makes of polling intervals. `check` says it; nobody is told while running.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::limits::interval_under;
use super::units::format_duration;
use super::{AutoscalerSpec, CeleryInFlight, ConnectionSpec, Policy, Server, Source, TriggerSpec};

/// Places that are named; more are counted.
const NAMED: usize = 3;

/// One thing to say, and of which triggers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advice {
    pub says: String,
    /// `namespace/autoscaler trigger`.
    pub of: Vec<String>,
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = self.of.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        write!(f, "{named}")?;
        match self.of.len().saturating_sub(NAMED) {
            0 => {}
            others => write!(f, " and {others} more")?,
        }
        write!(f, ": {}", self.says)
    }
}

/// What a policy could make of work in flight, or why there is none to see. What holds of many is said once.
#[must_use]
pub fn hints(autoscalers: &[Arc<AutoscalerSpec>]) -> Vec<Advice> {
    let mut hints: Vec<(&'static str, Vec<String>)> = Vec::new();
    for (spec, trigger) in each_trigger(autoscalers) {
        let Some(says) = hint(trigger) else { continue };
        let of = place(spec, trigger);
        match hints.iter_mut().find(|(known, _)| *known == says) {
            Some((_, places)) => places.push(of),
            None => hints.push((says, vec![of])),
        }
    }
    hints.into_iter().map(|(says, of)| Advice { says: says.to_owned(), of }).collect()
}

const USE_LOAD: &str = "work in flight is visible here, and backlogPerReplica does not go by it: with the policy load, \
    running jobs keep their replicas, e.g. load: { slotsPerReplica: 4, jobDuration: 2s }";
const USE_LOAD_OF_SIDEKIQ: &str = "work in flight is visible here (up to 10 s late, which is Sidekiq's heartbeat), and \
    backlogPerReplica does not go by it: with the policy load, running jobs keep their replicas, e.g. load: { \
    slotsPerReplica: 5, jobDuration: 2s }";
const CELERY_SHOWS: &str = "of Celery's work only what is not acknowledged shows in flight, which by default is what \
    workers have prefetched and not what they run: set task_acks_late = True and worker_prefetch_multiplier = 1, and \
    it is what they run; then the policy load fits, e.g. load: { slotsPerReplica: 4, jobDuration: 2s }";
const CELERY_RUNS: &str = "load goes by what Celery's workers have not acknowledged, which by default is what they have \
    prefetched and not what they run: set task_acks_late = True and worker_prefetch_multiplier = 1";
const CELERY_HIDES: &str = "work in flight is not visible here, because inFlight is none: write inFlight: byQueue, and \
    set task_acks_late = True and worker_prefetch_multiplier = 1 (by default a running task is acknowledged, and \
    only prefetched ones show)";
const TAKEN_FOR_GOOD: &str = "work in flight is not visible here, because BRPOP and its like take an item out of Redis \
    for good: nothing but cooldownPeriod keeps a worker that runs the last one. Where workers take items with LMOVE, \
    name the lists that they move them to under processing";
const STREAM_HIDES: &str = "work in flight is not visible here, because it is counted as backlog: write backlog: lag \
    to tell entries that wait from entries that were taken and are not acknowledged";
const NOT_IN_THE_KEY: &str = "work in flight is not visible here: the key holds what waits, and nothing of what was \
    taken. If workers note down elsewhere what they do, say where with inFlight";

fn hint(trigger: &TriggerSpec) -> Option<&'static str> {
    if trigger.shows_in_flight() {
        let celery = matches!(trigger.source, Source::Celery(_)) && trigger.in_flight.is_none();
        return match (trigger.policy, &trigger.source) {
            (Policy::BacklogPerReplica { .. }, _) if celery => Some(CELERY_SHOWS),
            (Policy::BacklogPerReplica { .. }, Source::Sidekiq(_)) => Some(USE_LOAD_OF_SIDEKIQ),
            (Policy::BacklogPerReplica { .. }, _) => Some(USE_LOAD),
            (Policy::Load(_), _) if celery => Some(CELERY_RUNS),
            (Policy::Load(_) | Policy::Fixed { .. }, _) => None,
        };
    }
    match &trigger.source {
        Source::RedisList(_) => Some(TAKEN_FOR_GOOD),
        Source::Celery(celery) if celery.in_flight == CeleryInFlight::None => Some(CELERY_HIDES),
        Source::RedisStream(_) => Some(STREAM_HIDES),
        Source::RedisSet { .. } | Source::RedisHash { .. } | Source::RedisSortedSet { .. } => Some(NOT_IN_THE_KEY),
        _ => None,
    }
}

/// Triggers that a cap on their connection's commands lets be read so seldom that one reading that is late makes them
/// stale.
#[must_use]
pub fn warnings(autoscalers: &[Arc<AutoscalerSpec>]) -> Vec<Advice> {
    let mut connections: BTreeMap<&str, (&ConnectionSpec, Vec<(&AutoscalerSpec, &TriggerSpec)>)> = BTreeMap::new();
    for (spec, trigger) in each_trigger(autoscalers) {
        let known = connections.entry(&trigger.connection.name).or_insert((&trigger.connection, Vec::new()));
        known.1.push((spec, trigger));
    }
    let mut warnings = Vec::new();
    for (name, (connection, triggers)) in connections {
        let Server::Redis(redis) = &connection.server else { continue };
        let Some(cap) = redis.max_commands_per_second else { continue };
        let asks: Vec<(usize, Duration)> =
            triggers.iter().map(|(spec, trigger)| (trigger.reads(), spec.polling_interval)).collect();
        let interval = interval_under(cap, &asks);
        let suffers = |(spec, trigger): &&(&AutoscalerSpec, &TriggerSpec)| {
            interval > spec.polling_interval && interval > spec.max_sample_age_of(trigger, None) / 3
        };
        let of: Vec<String> = triggers.iter().filter(suffers).map(|(spec, trigger)| place(spec, trigger)).collect();
        if !of.is_empty() {
            let demand: f64 = asks.iter().map(|(reads, every)| *reads as f64 / every.as_secs_f64().max(1e-3)).sum();
            let says = format!(
                "maxCommandsPerSecond {cap} of Connection {name} lets this be read every {} only, and that is more than a \
                 third of its maxSampleAge: raise the cap (all its triggers ask for {:.0} commands a second), \
                 pollingInterval or maxSampleAge",
                format_duration(Duration::from_millis(u64::try_from(interval.as_millis()).unwrap_or(u64::MAX))),
                demand.ceil(),
            );
            warnings.push(Advice { says, of });
        }
    }
    warnings
}

fn each_trigger(autoscalers: &[Arc<AutoscalerSpec>]) -> impl Iterator<Item = (&AutoscalerSpec, &TriggerSpec)> {
    autoscalers.iter().flat_map(|spec| spec.triggers.iter().map(|trigger| (&**spec, trigger)))
}

fn place(spec: &AutoscalerSpec, trigger: &TriggerSpec) -> String {
    format!("{} {}", spec.id, trigger.name)
}
