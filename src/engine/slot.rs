//! One autoscaler's state, and its evaluation from the first stage to the last.

mod deciding;
mod restart;
mod snapshot;
mod zero;

use std::sync::Arc;
use std::time::Duration;

use self::zero::Zero;
use super::activation::Wakefulness;
use super::behavior::Governor;
use super::observe::{self, Chorus, Circumstances, Rule};
use super::policy::{self, Tolerance};
use super::trail::Trail;
use super::{Effect, Role, invariants};
use crate::model::{
    Decision, FailureKind, Key, Measure, Observation, ReadFailure, Reason, Replicas, Round, SetBy, Stage, Steps, Tick,
    TriggerReport,
};
use crate::spec::{AutoscalerSpec, Behavior, Bounds, Fallback, Pause};

/// The HPA's own dead band, which a behavior block of ours never has unless written.
const HPA_TOLERANCE: f64 = 0.1;

pub(super) struct Slot {
    // What every evaluation reads of the spec, next to what it writes: ten thousand of these are cold memory.
    bounds: Bounds,
    tolerance: Tolerance,
    /// How often it is read, where that is more seldom than the spec says.
    pace: Option<Duration>,
    cooldown: Duration,
    fallback: Fallback,
    pause: Pause,
    force_activation: bool,
    role: Role,
    rules: Vec<Rule>,
    /// When this spec came: a read that was on its way then answers a question that is no longer asked.
    asking_since: Tick,

    /// As last reported; `None` until then.
    current: Option<Replicas>,
    /// What the outside was asked for and has not answered yet.
    requested: Option<Replicas>,
    /// What was asked for is not wished any more, and may still wait for its turn.
    withdraws: bool,
    /// Nothing was asked for since this role began: what tidegate is seen to have done is a former leader's doing.
    inherits: bool,
    /// A change of ours that was seen before its answer came, from and to: the rate limits know of it already.
    counted: Option<(Replicas, Replicas)>,
    zero: Zero,
    /// A trigger was read with success since the last evaluation: what it makes us want is a recommendation.
    /// Evaluations for other reasons recommend nothing, so that the windows depend on the samples alone and not on
    /// when somebody looked.
    sampled: bool,
    /// A trigger was read in vain since the last evaluation.
    failed: bool,
    /// At the last evaluation some trigger had no value to go by.
    blind: bool,
    /// Since the workload was first seen, some trigger had no value to go by: it may be active for all that is known.
    unheard: bool,
    /// Nothing goes down before: the window before a restart may have held more than anybody wrote down, which shows
    /// where somebody else raises the workload meanwhile.
    settles: Tick,
    wakefulness: Wakefulness,
    governor: Governor,
    decision: Decision,
    spec: Arc<AutoscalerSpec>,
}

impl Slot {
    pub(super) fn new(now: Tick, spec: Arc<AutoscalerSpec>, role: Role) -> Self {
        let mut slot = Slot {
            bounds: spec.bounds,
            tolerance: Tolerance { up: 0.0, down: 0.0 },
            pace: None,
            cooldown: spec.cooldown,
            fallback: spec.fallback,
            pause: spec.pause,
            force_activation: spec.force_activation,
            role,
            rules: Vec::new(),
            asking_since: now,
            current: None,
            requested: None,
            withdraws: false,
            inherits: true,
            counted: None,
            zero: Zero::new(),
            sampled: false,
            failed: false,
            blind: true,
            unheard: false,
            settles: Tick::ZERO,
            wakefulness: Wakefulness::new(now, spec.initial_cooldown),
            governor: Governor::new(&spec.behavior),
            decision: Decision {
                at: now,
                round: None,
                current: spec.bounds.min,
                current_known: false,
                desired: spec.bounds.min,
                active: false,
                degraded: true,
                fallback: false,
                paused: false,
                winner: None,
                reason: Reason::NoSampleYet,
                steps: Steps::default(),
                triggers: Vec::new(),
            },
            spec: Arc::clone(&spec),
        };
        slot.adopt(now, spec, role);
        slot
    }

    /// A new spec under the same name: what was learnt stays as far as it still fits.
    pub(super) fn respec(&mut self, now: Tick, spec: Arc<AutoscalerSpec>, role: Role) {
        if self.spec.behavior != spec.behavior {
            self.governor = self.governor.under(now, &spec.behavior);
        }
        self.adopt(now, spec, role);
    }

    fn adopt(&mut self, now: Tick, spec: Arc<AutoscalerSpec>, role: Role) {
        self.bounds = spec.bounds;
        self.tolerance = match &spec.behavior {
            Behavior::Rules { up, down } => Tolerance { up: up.tolerance, down: down.tolerance },
            Behavior::HpaWithoutBehavior { .. } => Tolerance { up: HPA_TOLERANCE, down: HPA_TOLERANCE },
        };
        self.cooldown = spec.cooldown;
        self.fallback = spec.fallback;
        self.pause = spec.pause;
        self.force_activation = spec.force_activation;
        self.takes(role);
        self.asking_since = now;
        // A trigger that asks the same question keeps its answer.
        let old = std::mem::take(&mut self.decision.triggers);
        let mut rules = Vec::with_capacity(spec.triggers.len());
        let mut reports = Vec::with_capacity(spec.triggers.len());
        for trigger in &spec.triggers {
            let known = self.spec.triggers.iter().position(|t| {
                t.name == trigger.name
                    && t.source == trigger.source
                    && t.in_flight == trigger.in_flight
                    && t.connection == trigger.connection
                    && t.share == trigger.share
            });
            let before = known.and_then(|i| self.rules.get(i));
            rules.push(Rule {
                policy: trigger.policy,
                activation_threshold: trigger.activation_threshold,
                share: trigger.share.as_f64(),
                max_sample_age: spec.max_sample_age_of(trigger, self.pace),
                since: before.map_or(now, |rule| rule.since),
                failing_since: before.and_then(|rule| rule.failing_since),
                usual: before.map_or(Measure::UNKNOWN, |rule| rule.usual),
                partitioning: trigger.partitioning,
                rebalancing_since: before.and_then(|rule| rule.rebalancing_since),
            });
            reports.push(known.and_then(|i| old.get(i)).cloned().unwrap_or_else(TriggerReport::pending));
        }
        self.rules = rules;
        self.decision.triggers = reports;
        self.spec = spec;
    }

    pub(super) fn decision(&self) -> &Decision {
        &self.decision
    }

    pub(super) fn spec(&self) -> &Arc<AutoscalerSpec> {
        &self.spec
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    // === events ===

    pub(super) fn sampled(&mut self, trigger: u16, round: Round, taken: Tick, value: Result<Observation, ReadFailure>) {
        if taken < self.asking_since {
            return;
        }
        let index = usize::from(trigger);
        let (Some(report), Some(rule)) = (self.decision.triggers.get_mut(index), self.rules.get_mut(index)) else {
            return;
        };
        report.round = Some(round);
        self.decision.round = self.decision.round.max(Some(round));
        let value = value.and_then(|observation| match observation.backlog {
            backlog if backlog >= 0.0 => Ok(observation),
            odd => Err(ReadFailure::new(FailureKind::Protocol, format!("a backlog of {odd} is none"))),
        });
        match value {
            Ok(observation) => {
                let observation = observation.part(rule.share);
                // What was old when it was read is as old as that.
                let taken = taken.before(age(&observation));
                let since = report.taken.map_or(Duration::ZERO, |before| taken.since(before));
                rule.usual = policy::follow(&rule.policy, rule.usual, observation.in_flight, since);
                report.value = Some(observation.backlog);
                report.facts = observation;
                report.taken = Some(taken);
                report.failure = None;
                rule.failing_since = None;
                rule.rebalancing_since = observation.rebalancing.then(|| rule.rebalancing_since.unwrap_or(taken));
                self.sampled = true;
            }
            Err(failure) => {
                report.failure = Some(failure);
                rule.failing_since.get_or_insert(taken);
                self.failed = true;
            }
        }
    }

    pub(super) fn paced(&mut self, pace: Option<Duration>) {
        self.pace = pace;
        for (rule, trigger) in self.rules.iter_mut().zip(&self.spec.triggers) {
            rule.max_sample_age = self.spec.max_sample_age_of(trigger, pace);
        }
    }

    pub(super) fn takes(&mut self, role: Role) {
        self.zero.takes(self.role, role, self.current, self.rests_at_zero());
        if self.role != role {
            // Whoever acts from now on asks by itself; whoever begins to act has asked for nothing yet.
            self.withdraws |= self.requested.take().is_some();
            self.inherits = true;
            self.counted = None;
        }
        self.role = role;
    }

    /// Zero is where it may be without anybody's having stopped it.
    fn rests_at_zero(&self) -> bool {
        self.bounds.idle.unwrap_or(self.bounds.min) == 0 || self.pause.at_replicas == Some(0)
    }

    /// The workload that was seen is no more this one's: what comes next is seen for the first time. What was made of
    /// the queues stays.
    pub(super) fn leaves(&mut self) {
        self.current = None;
        self.withdraws |= self.requested.take().is_some();
        self.inherits = true;
        self.counted = None;
        self.zero = Zero::new();
    }

    pub(super) fn seen(&mut self, now: Tick, replicas: Replicas, set_by: SetBy) {
        match self.current.replace(replicas) {
            None => {
                self.zero.found(replicas, set_by, self.rests_at_zero());
                self.governor.hold_down(now, replicas);
                // Until a moment ago another process may have seen it active.
                self.stay_awake(now);
                self.unheard = true;
            }
            Some(before) => {
                self.zero.seen(before, replicas, set_by, self.role);
                let overtakes = before != replicas
                    && match (self.requested, set_by) {
                        (Some(_), SetBy::Tidegate) => true,
                        (Some(to), SetBy::Unknown) => to == replicas,
                        _ => false,
                    };
                if overtakes {
                    self.counted = Some((before, replicas));
                }
                // What another process does on decisions like ours counts as ours: after a take-over the rate limits
                // know of it. What this one does is told by `applied`, but the news may be there before, and the answer
                // may be lost.
                let for_us = match self.role {
                    Role::Controls => overtakes || (self.inherits && set_by == SetBy::Tidegate),
                    Role::Follows => set_by != SetBy::Other,
                    Role::Advises => true,
                };
                if for_us {
                    self.governor.record(now, before, replicas);
                }
            }
        }
        self.zero.stopped &= self.role != Role::Advises;
    }

    /// Nobody sleeps before a whole cooldown has passed.
    fn stay_awake(&mut self, now: Tick) {
        self.wakefulness.hold_until = self.wakefulness.hold_until.max(now.after(self.cooldown));
    }

    pub(super) fn applied(&mut self, now: Tick, from: Replicas, to: Replicas, succeeded: bool) {
        // The late answer to what an earlier role (or an autoscaler of the same name) asked for: what became of it is
        // seen on the workload, and recorded then.
        if self.role != Role::Controls || self.requested.is_none() {
            return;
        }
        if self.requested == Some(to) {
            self.requested = None;
        }
        // One request after the other: whatever this answers, what was counted before is settled.
        let counted = self.counted.take();
        if !succeeded {
            self.zero.refused(to);
            return;
        }
        if counted != Some((from, to)) {
            self.governor.record(now, from, to);
        }
        self.zero.done(to);
        // A wish that was taken back changes nothing, and news of a later count may have come before this.
        let newest = self.current.is_none_or(|current| current == from || current == to);
        if from != to && newest {
            self.zero.stands(to, self.current == Some(to));
            self.current = Some(to);
        }
    }

    // === the evaluation ===

    /// One evaluation. Returns when the answer may change without another event.
    pub(super) fn evaluate(&mut self, now: Tick, key: Key, effects: &mut Vec<Effect>) -> Tick {
        let current = self.current.unwrap_or(self.decision.desired.min(self.bounds.max));
        // Who acts, or may have to at any time, decides nothing before it has seen the workload.
        let unseen = self.role != Role::Advises && self.current.is_none();
        if !unseen {
            self.governor.seed(now, current);
        }
        let at = Circumstances { now, current, fallback: self.fallback, tolerance: self.tolerance };
        let spoken_for = self.decision.fallback;
        let chorus = observe::listen(&self.rules, &mut self.decision.triggers, at);
        let mut steps = Trail::new(current);
        steps.to(Stage::Observe, current, observed(&chorus));

        let stopped = self.zero.stopped && !self.force_activation;
        let active = chorus.active || self.force_activation;
        let mut until = chorus.until;
        let desired = if unseen {
            current
        } else if stopped {
            steps.to(Stage::Activation, 0, Reason::ManuallyStopped);
            0
        } else {
            if spoken_for && !chorus.fallback {
                // As after a blind time: going down takes a whole window of evidence.
                self.governor.hold_down(now, current);
            }
            self.decide(now, current, active, &chorus, &mut steps, &mut until)
        };
        let desired = self.paused(current, desired, &mut steps);

        let decision = &mut self.decision;
        decision.at = now;
        decision.current = current;
        decision.current_known = self.current.is_some();
        decision.desired = desired;
        decision.active = active;
        decision.degraded = chorus.blocked;
        decision.fallback = chorus.fallback;
        decision.paused = self.pause != Pause::default();
        decision.winner = chorus.wants.map(|(_, winner)| winner);
        decision.reason = steps.last_word();
        decision.steps = steps.steps;
        debug_assert_eq!(invariants::check(decision, self.bounds, self.pause), Ok(()), "{decision:?}");
        debug_assert_eq!(
            invariants::check_load(decision, self.rules.iter().map(|rule| rule.policy), self.bounds, self.pause),
            Ok(()),
            "{decision:?}"
        );

        effects.push(Effect::Publish { key });
        // First: what is asked for below stands.
        if std::mem::take(&mut self.withdraws) {
            effects.push(Effect::Withdraw { key });
        }
        if self.role == Role::Controls
            && let Some(from) = self.current
        {
            if desired != from && self.requested != Some(desired) {
                self.ask(key, from, desired, effects);
            } else if desired == from && self.requested.is_some_and(|requested| requested != desired) {
                // The outside still works on a wish that no longer holds: the latest wins.
                self.ask(key, from, desired, effects);
            }
        }
        until
    }

    /// It is gone. What it asked for is not wished any more.
    pub(super) fn gone(&self, key: Key, effects: &mut Vec<Effect>) {
        if self.requested.is_some() || self.withdraws {
            effects.push(Effect::Withdraw { key });
        }
    }

    fn ask(&mut self, key: Key, from: Replicas, to: Replicas, effects: &mut Vec<Effect>) {
        self.requested = Some(to);
        self.inherits = false;
        if to == 0 && from != 0 {
            self.zero.asked();
        }
        effects.push(Effect::Scale { key, from, to });
    }

    fn paused(&self, current: Replicas, desired: Replicas, steps: &mut Trail) -> Replicas {
        let (paused, reason) = match self.pause {
            Pause { at_replicas: Some(replicas), .. } => (replicas, Reason::PausedReplicas),
            Pause { frozen: true, .. } => (current, Reason::Paused),
            Pause { scale_in: true, .. } if desired < current => (current, Reason::PausedScaleIn),
            Pause { scale_out: true, .. } if desired > current => (current, Reason::PausedScaleOut),
            _ => return desired,
        };
        steps.to(Stage::Pause, paused, reason);
        paused
    }
}

/// How old something was already when it was read.
fn age(seen: &Observation) -> Duration {
    // Beyond what a duration holds: older than anything that counts.
    seen.age.get().map_or(Duration::ZERO, |age| Duration::try_from_secs_f64(age).unwrap_or(Duration::MAX))
}

fn observed(chorus: &Chorus) -> Reason {
    if chorus.pending {
        Reason::NoSampleYet
    } else if chorus.blocked {
        Reason::SourceFailing
    } else if chorus.fallback {
        Reason::Fallback
    } else {
        Reason::Fresh
    }
}
