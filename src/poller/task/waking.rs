//! What the task does when its server says by itself that an empty queue has been filled: its autoscalers are read at
//! once. That is a hint and no sample; what counts is what is read then, and at every moment of their own schedule.

use tracing::{debug, trace};

use super::{NEWCOMERS, State, Task};
use crate::model::ReadFailure;
use crate::source::Backend;

impl<B: Backend> Task<B> {
    /// Somebody's queues are not empty any more.
    pub(super) fn woken(&mut self) {
        trace!(connection = %self.name, reads = self.woken_reads.len(), "woken");
        for read in self.woken_reads.drain(..) {
            self.woken.extend(self.subscribers.woken_by(read));
        }
    }

    /// Reads who was woken, in a round of its own: whatever else is due has its prepared one.
    pub(super) async fn serve_woken(&mut self) -> Result<(), ()> {
        if self.woken.is_empty() {
            return Ok(());
        }
        let some = self.subscribers.some_of(&mut self.woken, NEWCOMERS);
        self.meters.woken(some.len());
        let mut plan = self.subscribers.plan(&[], &some, &mut self.backend);
        self.serve(&mut plan).await
    }

    /// The link has ended between two rounds.
    pub(super) fn ended(&mut self, failure: ReadFailure) {
        if self.fell_asleep(self.clock.now(), &failure) {
            debug!(connection = %self.name, "idle connection was closed, opening it again");
            self.renewal.stop();
            self.state = State::Connecting(Box::pin(self.backend.connect()));
        } else {
            self.lost(failure);
        }
    }
}
