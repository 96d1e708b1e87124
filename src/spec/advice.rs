//! What is worth knowing of manifests in which nothing is wrong: whether work in flight can be seen, which policy makes
//! use of it, whether an answer's age is known, what a cap on commands makes of polling intervals, and whether the shares
//! of who drains one queue together make a whole. `check` says it; nobody is told while running.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::limits::interval_under;
use super::units::format_duration;
use super::{
    AutoscalerSpec, CeleryInFlight, ConnectionSpec, Freshness, MilliValue, Policy, Server, Source, TriggerSpec,
};

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
const AGE_UNKNOWN: &str = "how old the answer is cannot be known: a Prometheus returns the last sample of what is gone for \
    five minutes, and here it counts as new. Write freshnessQuery, e.g. min(timestamp(jobs_waiting)), or a plain selector";
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
        Source::PrometheusQuery(query) if query.freshness == Freshness::Unknown => Some(AGE_UNKNOWN),
        Source::RedisSet { .. } | Source::RedisHash { .. } | Source::RedisSortedSet { .. } => Some(NOT_IN_THE_KEY),
        _ => None,
    }
}

/// A trigger, and whose it is.
type Reader<'a> = (&'a AutoscalerSpec, &'a TriggerSpec);

/// Triggers that a cap on their connection's commands lets be read so seldom that one reading that is late makes them
/// stale.
#[must_use]
pub fn warnings(autoscalers: &[Arc<AutoscalerSpec>]) -> Vec<Advice> {
    let mut connections: BTreeMap<&str, (&ConnectionSpec, Vec<Reader<'_>>)> = BTreeMap::new();
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
        let suffers = |(spec, trigger): &&Reader<'_>| {
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

/// Queues whose shares do not add up: some of the work is counted twice, or by nobody. Only where a share is written;
/// several readers of one queue may have their reasons.
#[must_use]
pub fn shares(autoscalers: &[Arc<AutoscalerSpec>]) -> Vec<Advice> {
    let mut positions: HashMap<(&ConnectionSpec, &Source), usize> = HashMap::new();
    let mut queues: Vec<Vec<Reader<'_>>> = Vec::new();
    for (spec, trigger) in each_trigger(autoscalers) {
        let position = *positions.entry((&trigger.connection, &trigger.source)).or_insert(queues.len());
        match queues.get_mut(position) {
            Some(readers) => readers.push((spec, trigger)),
            None => queues.push(vec![(spec, trigger)]),
        }
    }
    let mut warnings = Vec::new();
    for readers in queues {
        let whole: i64 = readers.iter().map(|(_, trigger)| trigger.share.0).sum();
        let written = readers.iter().any(|(_, trigger)| trigger.share != TriggerSpec::WHOLE);
        if !written || whole == TriggerSpec::WHOLE.0 {
            continue;
        }
        let sum = MilliValue(whole).as_f64();
        let what = if whole > TriggerSpec::WHOLE.0 { "some work is counted twice" } else { "some work is nobody's" };
        warnings.push(Advice {
            says: format!(
                "the shares of those that read this queue add up to {sum}, so {what}: let them add up to 1, and declare \
                 all of them in the files that are checked together"
            ),
            of: readers.iter().map(|(spec, trigger)| place(spec, trigger)).collect(),
        });
    }
    warnings
}

fn each_trigger(autoscalers: &[Arc<AutoscalerSpec>]) -> impl Iterator<Item = Reader<'_>> {
    autoscalers.iter().flat_map(|spec| spec.triggers.iter().map(|trigger| (&**spec, trigger)))
}

fn place(spec: &AutoscalerSpec, trigger: &TriggerSpec) -> String {
    format!("{} {}", spec.id, trigger.name)
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may break")]
mod tests {
    use super::*;
    use crate::spec::load::{SourceText, Terms, load};

    /// The autoscalers of a manifest whose triggers these are, at a Redis with this much more to its block.
    fn loaded(redis: &str, triggers: &[&str]) -> Vec<Arc<AutoscalerSpec>> {
        let mut text = format!(
            "apiVersion: tidegate.dev/v1alpha1\nkind: Connection\nmetadata: {{ name: redis, namespace: shop }}\n\
             spec: {{ redis: {{ address: \"redis:6379\"{redis} }} }}\n---\n\
             apiVersion: tidegate.dev/v1alpha1\nkind: QueueAutoscaler\nmetadata: {{ name: a, namespace: shop }}\n\
             spec:\n  scaleTargetRef: {{ name: a }}\n  triggers:\n"
        );
        for trigger in triggers {
            text += &format!("  - {{ connection: redis, {trigger} }}\n");
        }
        load(&[SourceText { file: "m.yaml".to_owned(), text }], &Terms::default()).unwrap().autoscalers
    }

    #[test]
    fn each_source_says_whether_work_in_flight_shows_and_what_would_go_by_it() {
        let by_backlog = "policy: { backlogPerReplica: { target: 10 } }";
        let by_load = "policy: { load: { jobDuration: 1s } }";
        let table = [
            ("redisList: { keys: [jobs] }", by_backlog, Some(TAKEN_FOR_GOOD)),
            ("redisList: { keys: [jobs] }", "policy: { fixed: { replicas: 3 } }", Some(TAKEN_FOR_GOOD)),
            ("redisList: { keys: [jobs], processing: [busy] }", by_backlog, Some(USE_LOAD)),
            ("redisList: { keys: [jobs], processing: [busy] }", by_load, None),
            ("redisSet: { keys: [ids] }", by_backlog, Some(NOT_IN_THE_KEY)),
            ("redisSet: { keys: [ids] }, inFlight: { redisList: { keys: [busy] } }", by_backlog, Some(USE_LOAD)),
            ("redisStream: { key: s, group: g }", by_backlog, Some(USE_LOAD)),
            ("redisStream: { key: s, group: g, backlog: pending }", by_backlog, Some(STREAM_HIDES)),
            ("celery: { queues: [q] }", by_backlog, Some(CELERY_SHOWS)),
            ("celery: { queues: [q] }", by_load, Some(CELERY_RUNS)),
            ("celery: { queues: [q], inFlight: none }", by_backlog, Some(CELERY_HIDES)),
            ("sidekiq: { queues: [q] }", by_backlog, Some(USE_LOAD_OF_SIDEKIQ)),
            ("bullmq: { queues: [q] }", by_backlog, Some(USE_LOAD)),
            ("rq: { queues: [q] }", "policy: { fixed: { replicas: 3 } }", None),
        ];
        for (source, policy, expected) in table {
            let found = hints(&loaded("", &[&format!("{source}, {policy}")]));
            let says: Vec<&str> = found.iter().map(|hint| hint.says.as_str()).collect();
            assert_eq!(says, expected.into_iter().collect::<Vec<_>>(), "{source}, {policy}");
        }
    }

    #[test]
    fn what_holds_of_many_is_said_once() {
        let same = "redisList: { keys: [jobs] }, policy: { backlogPerReplica: { target: 10 } }";
        let found = hints(&loaded("", &[same; 5]));
        assert_eq!(found.len(), 1);
        let text = found[0].to_string();
        assert!(text.starts_with("shop/a trigger-0, shop/a trigger-1, shop/a trigger-2 and 2 more: work in"), "{text}");
    }

    #[test]
    fn shares_of_one_queue_that_do_not_make_a_whole_are_a_warning() {
        let trigger = |queue: &str, share: &str| {
            format!("celery: {{ queues: [{queue}] }}, policy: {{ fixed: {{ replicas: 1 }} }}{share}")
        };
        let found = |written: &[(&str, &str)]| {
            let triggers: Vec<String> = written.iter().map(|(queue, share)| trigger(queue, share)).collect();
            shares(&loaded("", &triggers.iter().map(String::as_str).collect::<Vec<_>>()))
        };
        assert_eq!(found(&[("q", ""), ("q", "")]), [], "nobody wrote any");
        assert_eq!(found(&[("q", ", share: 0.9"), ("q", ", share: 100m")]), []);
        let twice = found(&[("q", ", share: 0.9"), ("other", ""), ("q", "")]);
        assert_eq!(twice.len(), 1);
        assert_eq!(twice[0].of, ["shop/a trigger-0", "shop/a trigger-2"]);
        assert!(twice[0].says.contains("add up to 1.9, so some work is counted twice"), "{}", twice[0].says);
        let lost = found(&[("q", ", share: 0.5"), ("other", ", share: 0.5")]);
        assert_eq!(lost.len(), 2);
        assert!(lost[1].says.contains("some work is nobody's"), "{}", lost[1].says);
    }

    #[test]
    fn a_cap_that_makes_readings_rarer_than_their_age_allows_is_a_warning() {
        let fifty: Vec<String> = (0..50).map(|queue| format!("\"jobs{queue}\"")).collect();
        let lists = format!("redisList: {{ keys: [{}] }}, policy: {{ fixed: {{ replicas: 1 }} }}", fifty.join(", "));
        let short = "redisSet: { keys: [ids] }, policy: { fixed: { replicas: 1 } }, maxSampleAge: 3s";
        // Fifty-one reads a second.
        let found = |cap: &str| warnings(&loaded(cap, &[&lists, short]));
        assert_eq!(found(""), []);
        assert_eq!(found(", maxCommandsPerSecond: 51"), []);
        let tight = found(", maxCommandsPerSecond: 30");
        assert_eq!(tight.len(), 1);
        assert_eq!(tight[0].of, ["shop/a trigger-1"], "1.7 s is more than a third of 3 s, and not of 10 s");
        assert!(tight[0].says.contains("every 1.7s only"), "{}", tight[0].says);
        assert!(tight[0].says.contains("ask for 51 commands a second"), "{}", tight[0].says);
        assert_eq!(found(", maxCommandsPerSecond: 5")[0].of.len(), 2);
    }
}
