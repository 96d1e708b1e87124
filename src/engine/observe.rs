//! What each trigger's last word is worth now: fresh, failing, stale, or spoken for by its fallback.
//!
//! A trigger that failed a moment ago still has its last value, and that is as good as the age the manifest allows
//! (`maxSampleAge`). Whatever is not fresh blocks scale-down, unless the manifest chose a fallback that may scale
//! down; nothing here ever blocks a scale-up that a healthy trigger asks for.

use std::time::Duration;

use super::policy::{self, Tolerance};
use crate::model::{Health, Measure, Observation, Reason, Replicas, Tick, TriggerReport};
use crate::spec::{Fallback, FallbackBehavior, Partitioning, Policy};

/// The part of a trigger's spec that every evaluation needs, next to each other in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) policy: Policy,
    pub(super) activation_threshold: f64,
    /// Which part of what is read counts: above 0, at most 1.
    pub(super) share: f64,
    /// How old its value may be.
    pub(super) max_sample_age: Duration,
    /// When this trigger began to be watched: an age for what was never read.
    pub(super) since: Tick,
    /// The first of the failures since the last good value.
    pub(super) failing_since: Option<Tick>,
    /// How much has been in flight for some time, where the policy goes by that.
    pub(super) usual: Measure,
    pub(super) partitioning: Partitioning,
    /// Since when its workers have been seen dividing the work anew.
    pub(super) rebalancing_since: Option<Tick>,
}

impl Rule {
    /// When what is not fresh began to count as failing: with the first failure, or, where nobody read at all, when
    /// the last value (or the beginning) grew too old.
    fn failing_from(&self, taken: Option<Tick>) -> Tick {
        self.failing_since.unwrap_or_else(|| taken.unwrap_or(self.since).after(self.max_sample_age))
    }
}

/// What all triggers together say.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chorus {
    /// The highest wish, and whose it is.
    pub(super) wants: Option<(Replicas, u16)>,
    pub(super) active: bool,
    /// Something is not fresh, and no fallback that may scale down speaks for it.
    pub(super) blocked: bool,
    /// Something has no value young enough to be served: what is wanted now is not known.
    pub(super) blind: bool,
    /// Something was never read.
    pub(super) pending: bool,
    pub(super) fallback: bool,
    /// Workers divide the work anew, and have not taken too long over it.
    pub(super) rebalancing: bool,
    /// When this would change without another event.
    pub(super) until: Tick,
}

/// The circumstances of one evaluation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) now: Tick,
    pub(super) current: Replicas,
    pub(super) fallback: Fallback,
    pub(super) tolerance: Tolerance,
}

/// Brings every report up to date and adds them up: the highest wins.
pub(super) fn listen(rules: &[Rule], reports: &mut [TriggerReport], at: Circumstances) -> Chorus {
    let mut chorus = Chorus { until: Tick::NEVER, ..Chorus::default() };
    for (index, (rule, report)) in (0u16..).zip(rules.iter().zip(reports)) {
        judge(rule, report, at, &mut chorus);
        if let Some(wants) = report.wants
            && chorus.wants.is_none_or(|(highest, _)| wants > highest)
        {
            chorus.wants = Some((wants, index));
        }
        chorus.active |= report.active;
    }
    chorus
}

fn judge(rule: &Rule, report: &mut TriggerReport, at: Circumstances, chorus: &mut Chorus) {
    let young_until = report.taken.map(|taken| taken.after(rule.max_sample_age));
    let young = young_until.is_some_and(|until| at.now <= until);
    report.health = match (&report.failure, young) {
        (None, true) => Health::Fresh,
        (Some(_), true) => Health::Failing,
        (None, false) if report.taken.is_none() => Health::Pending,
        _ => Health::Stale,
    };
    if let (Some(until), true) = (young_until, young) {
        chorus.until = chorus.until.min(until.after(Duration::from_nanos(1)));
    }

    if report.health != Health::Fresh {
        let engages = rule.failing_from(report.taken).after(at.fallback.after);
        if at.now >= engages {
            if let Some(wants) = fall_back(at.fallback.behavior, at.current) {
                chorus.fallback = true;
                chorus.blocked |= !may_scale_down(at.fallback.behavior);
                report.wants = Some(wants);
                report.active = wants > 0;
                report.reason = Reason::Fallback;
                return;
            }
        } else {
            chorus.until = chorus.until.min(engages);
        }
        chorus.blocked = true;
    }
    let seen = report.value.filter(|_| young).map(|_| report.facts);
    let wish = seen.and_then(|seen| Some((seen, wish(rule, &seen, at)?)));
    match wish {
        Some((seen, (wants, reason))) => {
            if let Some(settled) = rule.rebalancing_since.map(|since| since.after(rule.partitioning.hold_for))
                && at.now < settled
            {
                chorus.rebalancing = true;
                chorus.until = chorus.until.min(settled);
            }
            report.active = is_active(rule, &seen);
            report.wants = Some(wants);
            report.reason = reason;
        }
        None => {
            chorus.blind = true;
            chorus.blocked = true;
            chorus.pending |= report.health == Health::Pending;
            report.wants = None;
            report.active = false;
            report.reason = if report.health == Health::Pending { Reason::NoSampleYet } else { Reason::SourceFailing };
        }
    }
}

/// Whether there is something to do. What is in flight must not be left alone; what waits in a paused queue will not be
/// taken.
fn is_active(rule: &Rule, seen: &Observation) -> bool {
    let waits = !seen.paused && seen.backlog > rule.activation_threshold;
    waits || seen.in_flight.get().is_some_and(|jobs| jobs > 0.0)
}

/// `None`: the policy goes by what was not seen.
fn wish(rule: &Rule, seen: &Observation, at: Circumstances) -> Option<(Replicas, Reason)> {
    let (wants, reason) = match rule.policy {
        // A fixed size is for when there is work.
        Policy::Fixed { .. } if !is_active(rule, seen) => (0, Reason::Idle),
        policy => policy::want(&policy, seen, rule.usual, at.current, at.tolerance)?,
    };
    let partitions = seen.partitions.get().filter(|_| rule.partitioning.bounds_replicas);
    let (wants, reason) = match partitions.map(policy::rounded_up) {
        // Replicas beyond that would idle.
        Some(most) if wants > most => (most, Reason::PartitionLimit),
        _ => (wants, reason),
    };
    // More replicas would find nothing to take.
    Some(if seen.paused && wants > at.current { (at.current, Reason::QueuePaused) } else { (wants, reason) })
}

/// What the fallback asks for; `None` where it only holds.
fn fall_back(behavior: FallbackBehavior, current: Replicas) -> Option<Replicas> {
    match behavior {
        FallbackBehavior::Hold => None,
        FallbackBehavior::Static { replicas } => Some(replicas),
        FallbackBehavior::CurrentReplicas => Some(current),
        FallbackBehavior::CurrentReplicasIfHigher { replicas } => Some(current.max(replicas)),
        FallbackBehavior::CurrentReplicasIfLower { replicas } => Some(current.min(replicas)),
    }
}

fn may_scale_down(behavior: FallbackBehavior) -> bool {
    match behavior {
        FallbackBehavior::Static { .. } | FallbackBehavior::CurrentReplicasIfLower { .. } => true,
        FallbackBehavior::Hold
        | FallbackBehavior::CurrentReplicas
        | FallbackBehavior::CurrentReplicasIfHigher { .. } => false,
    }
}
