//! The shipped engine, fed by a queue that does not exist. Nothing of it is different from production: the same specs,
//! the same events in, the same effects out.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Order, Sight, View, phase};
use crate::engine::{Effect, Engine, Event, Role};
use crate::model::{FailureKind, Key, Observation, ReadFailure, Reason, Replicas, Round, Sample, SetBy, Stage, Tick};
use crate::sim::nanos;
use crate::sim::world::Queue;
use crate::spec::AutoscalerSpec;

const KEY: Key = Key(0);
/// Which of the phases is its own.
const PHASE: u64 = 2;

/// Readings on their way.
struct Coming {
    /// When they arrive.
    at: u64,
    /// When they were true.
    taken: u64,
    /// One for each trigger.
    values: Vec<Result<Observation, ReadFailure>>,
}

/// One autoscaler's engine.
pub struct Ours {
    engine: Engine,
    spec: Arc<AutoscalerSpec>,
    /// Which stream each trigger reads.
    streams: Vec<Option<usize>>,
    sight: Sight,
    next_poll: u64,
    round: u64,
    coming: VecDeque<Coming>,
    deadline: Tick,
    effects: Vec<Effect>,
    failure: ReadFailure,
}

impl Ours {
    /// `streams`: for each trigger the stream that it reads.
    #[must_use]
    pub fn new(
        spec: Arc<AutoscalerSpec>,
        streams: Vec<Option<usize>>,
        sight: Sight,
        initial: Replicas,
        seed: u64,
    ) -> Self {
        let mut engine = Engine::new();
        let mut effects = Vec::new();
        engine.handle(Tick::ZERO, KEY, Event::Spec { spec: Arc::clone(&spec), role: Role::Controls }, &mut effects);
        let seen = Event::Current { replicas: initial, set_by: SetBy::Tidegate, another: false };
        let deadline = engine.handle(Tick::ZERO, KEY, seen, &mut effects);
        let next_poll = phase(seed, PHASE, nanos(spec.polling_interval));
        Ours {
            engine,
            spec,
            streams,
            sight,
            next_poll,
            round: 0,
            coming: VecDeque::new(),
            deadline,
            effects,
            failure: ReadFailure::new(FailureKind::Timeout, "no answer in time"),
        }
    }

    pub(super) fn next(&self) -> u64 {
        let coming = self.coming.front().map_or(u64::MAX, |coming| coming.at);
        self.next_poll.min(coming).min(self.deadline.as_nanos())
    }

    pub(super) fn wanted(&self) -> Option<Replicas> {
        let decision = self.engine.decision(KEY)?;
        decision.steps.iter().find(|step| step.stage == Stage::Want).map(|step| step.after)
    }

    pub(super) fn wake(&mut self, view: &View, queue: &Queue, orders: &mut Vec<Order>) {
        let now = view.now;
        if now >= self.next_poll {
            let mut values = Vec::with_capacity(self.streams.len());
            self.read(view, queue, &mut values);
            self.coming.push_back(Coming { at: now.saturating_add(self.sight.delay), taken: now, values });
            self.next_poll = self.next_poll.saturating_add(nanos(self.spec.polling_interval));
        }
        while let Some(Coming { taken, values, .. }) = self.coming.pop_front_if(|coming| coming.at <= now) {
            self.hear(now, taken, values);
        }
        if now >= self.deadline.as_nanos() {
            self.deadline = self.engine.handle(Tick::from_nanos(now), KEY, Event::Evaluate, &mut self.effects);
        }
        self.carry_out(orders);
    }

    fn read(&mut self, view: &View, queue: &Queue, values: &mut Vec<Result<Observation, ReadFailure>>) {
        for (trigger, stream) in self.spec.triggers.iter().zip(&self.streams) {
            let value = if self.sight.fails(view.now) {
                Err(self.failure.clone())
            } else {
                let backlog = stream.map_or(0, |stream| queue.depth(stream)) as f64;
                let in_flight =
                    stream.filter(|_| trigger.shows_in_flight()).map(|stream| queue.in_flight(stream) as f64);
                Ok(Observation {
                    in_flight: in_flight.map(Into::into).unwrap_or_default(),
                    rebalancing: view.rebalancing,
                    ..Observation::of_backlog(backlog)
                })
            };
            values.push(value);
        }
    }

    /// A round's readings, the last of which decides.
    fn hear(&mut self, now: u64, taken: u64, values: Vec<Result<Observation, ReadFailure>>) {
        let (now, taken) = (Tick::from_nanos(now), Tick::from_nanos(taken));
        self.round += 1;
        let round = Round(self.round);
        let last = values.len().saturating_sub(1);
        for (at, value) in values.into_iter().enumerate() {
            let Ok(trigger) = u16::try_from(at) else { return };
            if at < last {
                self.engine.observe(Sample { key: KEY, trigger, asked: Tick::ZERO, round, taken, value });
            } else {
                let event = Event::Sample { trigger, round, taken, value };
                self.deadline = self.engine.handle(now, KEY, event, &mut self.effects);
            }
        }
    }

    pub(super) fn applied(&mut self, view: &View, from: Replicas, to: Replicas, orders: &mut Vec<Order>) {
        let event = Event::Applied { from, to, succeeded: true };
        self.deadline = self.engine.handle(Tick::from_nanos(view.now), KEY, event, &mut self.effects);
        self.carry_out(orders);
    }

    fn carry_out(&mut self, orders: &mut Vec<Order>) {
        for effect in self.effects.drain(..) {
            if let Effect::Scale { to, .. } = effect {
                let why = self.engine.decision(KEY).map_or(Reason::Unchanged, |decision| decision.reason);
                orders.push(Order { to, why: why.as_str() });
            }
        }
    }
}
