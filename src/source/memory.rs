//! Queues inside the process: the source of `demo` and of tests, where no Redis is wanted.
//!
//! [`MemoryQueues`] is what producers and workers push to and pop from; [`MemoryBackend`] is how the poller reads the
//! same queues. It can also be told to fail, so that an outage can be shown and tested without a server to kill.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::kept::Kept;
use super::{Answers, Backend, Moment, Read, ReadId};
use crate::model::ReadFailure;

/// A set of named queues; copies share it. Only the number of items is kept: nobody looks at an item.
#[derive(Clone, Default, Debug)]
pub struct MemoryQueues {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default, Debug)]
struct Shared {
    lengths: HashMap<Arc<str>, u64>,
    outage: Option<ReadFailure>,
}

impl MemoryQueues {
    #[must_use]
    pub fn new() -> Self {
        MemoryQueues::default()
    }

    /// Adds `items` to `queue`, which begins to exist if it did not.
    pub fn push(&self, queue: &str, items: u64) {
        let mut shared = self.lock();
        match shared.lengths.get_mut(queue) {
            Some(length) => *length = length.saturating_add(items),
            None => drop(shared.lengths.insert(queue.into(), items)),
        }
    }

    /// Takes up to `items` from `queue` and says how many there were to take.
    pub fn pop(&self, queue: &str, items: u64) -> u64 {
        let mut shared = self.lock();
        let Some(length) = shared.lengths.get_mut(queue) else { return 0 };
        let taken = items.min(*length);
        *length -= taken;
        taken
    }

    /// Items in `queue`; none if it does not exist, as with a Redis list.
    #[must_use]
    pub fn len(&self, queue: &str) -> u64 {
        self.lock().lengths.get(queue).copied().unwrap_or(0)
    }

    /// Whether `queue` holds nothing.
    #[must_use]
    pub fn is_empty(&self, queue: &str) -> bool {
        self.len(queue) == 0
    }

    /// Makes every read and every connect fail so, until told `None`. Pushing and popping go on.
    pub fn set_outage(&self, outage: Option<ReadFailure>) {
        self.lock().outage = outage;
    }

    fn outage(&self) -> Result<(), ReadFailure> {
        self.lock().outage.clone().map_or(Ok(()), Err)
    }

    /// A thread that panicked while holding the lock left whole numbers behind: nothing to repair.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The poller's view of [`MemoryQueues`].
#[derive(Debug)]
pub struct MemoryBackend {
    queues: MemoryQueues,
    tracked: Kept<Arc<str>>,
}

impl MemoryBackend {
    #[must_use]
    pub fn new(queues: MemoryQueues) -> Self {
        MemoryBackend { queues, tracked: Kept::default() }
    }
}

impl Backend for MemoryBackend {
    type Link = ();
    type Batch = Vec<Arc<str>>;

    fn track(&mut self, read: &Read) -> ReadId {
        // Anything else is on another kind of server: validation lets none of it through to here.
        let nameless: Arc<str> = Arc::default();
        let queue = if let Read::Queue(queue) | Read::Length(queue) = read { queue } else { &nameless };
        self.tracked.add(Arc::clone(queue))
    }

    fn untrack(&mut self, id: ReadId) {
        self.tracked.take(id);
    }

    fn prepare(&mut self, reads: &[ReadId]) -> Self::Batch {
        reads.iter().filter_map(|id| self.tracked.get(*id)).map(Arc::clone).collect()
    }

    fn connect(&self) -> impl Future<Output = Result<(), ReadFailure>> + Send + 'static {
        std::future::ready(self.queues.outage())
    }

    async fn fetch(
        &mut self,
        _link: &mut (),
        batch: &mut Self::Batch,
        _at: Moment,
        answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        self.queues.outage()?;
        answers.begin(batch.len());
        let shared = self.queues.lock();
        for (position, queue) in batch.iter().enumerate() {
            // A queue beyond 2^53 items loses its last digits; nothing here has that many.
            answers.set(position, shared.lengths.get(queue).copied().unwrap_or(0) as f64);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FailureKind, Tick};
    use crate::source::Answer;

    const NOW: Moment = Moment { tick: Tick::ZERO, unix_millis: 0 };

    #[test]
    fn copies_share_their_queues() {
        let queues = MemoryQueues::new();
        let other = queues.clone();
        queues.push("jobs", 5);
        assert_eq!(other.pop("jobs", 3), 3);
        assert_eq!(queues.len("jobs"), 2);
        assert_eq!(other.pop("jobs", 9), 2);
        assert_eq!(other.pop("nothing", 1), 0);
        assert!(queues.is_empty("jobs"));
    }

    #[test]
    fn an_outage_fails_the_whole_batch_and_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let queues = MemoryQueues::new();
        queues.push("jobs", 7);
        let mut backend = MemoryBackend::new(queues.clone());
        let id = backend.track(&Read::Queue("jobs".into()));
        let mut batch = backend.prepare(&[id]);
        let mut answers = Answers::default();

        queues.set_outage(Some(ReadFailure::new(FailureKind::Unreachable, "pulled the plug")));
        let failed = runtime.block_on(backend.fetch(&mut (), &mut batch, NOW, &mut answers));
        assert_eq!(failed.unwrap_err().kind, FailureKind::Unreachable);

        queues.set_outage(None);
        runtime.block_on(backend.fetch(&mut (), &mut batch, NOW, &mut answers)).unwrap();
        assert_eq!(answers.get(0), Some(Answer::Items(7.0)));
    }
}
