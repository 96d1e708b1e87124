//! A connection whose commands are capped: whether a round may go now, and the rounds of those who were put off.

use tracing::warn;

use super::{State, Task};
use crate::poller::plan::Plan;
use crate::source::Backend;
use crate::spec::limits::interval_under;

impl<B: Backend> Task<B> {
    /// Whether there is room for this round now. If not, those that it would have served wait for their turn.
    pub(super) fn has_room(&mut self, plan: &Plan<B>) -> bool {
        // Nobody who cannot be asked is spared anything.
        let (Some(throttle), State::Up(_)) = (&mut self.throttle, &self.state) else { return true };
        let now = self.clock.now();
        let commands = self.backend.commands(&plan.batch, plan.reads(), now);
        if throttle.admits(commands, now) {
            throttle.spend(commands);
            return true;
        }
        self.meters.put_off(throttle.put_off(plan.keys()));
        let interval = interval_under(throttle.cap(), &self.subscribers.asks());
        if throttle.is_news(interval) {
            warn!(
                connection = %self.name,
                cap = throttle.cap(),
                every_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
                "maxCommandsPerSecond lets nobody on this connection be read more often than this",
            );
        }
        false
    }

    /// The round of those whose turn it is, if there is room for it.
    pub(super) async fn serve_put_off(&mut self) -> Result<(), ()> {
        let Some(throttle) = &mut self.throttle else { return Ok(()) };
        let now = self.clock.now();
        let subscribers = &self.subscribers;
        let some = throttle.take(now, |key| subscribers.reads(key));
        if some.is_empty() {
            return Ok(());
        }
        let mut plan = self.subscribers.plan(&[], &some, &mut self.backend);
        throttle.spend(self.backend.commands(&plan.batch, plan.reads(), now));
        self.serve_now(&mut plan).await
    }
}
