//! Reality -> samples: one backend a server, each of which answers a whole batch of reads at once.
//!
//! The poller owns the schedule, the connection's life (when to connect, how long to back off) and the samples; a
//! backend knows how to connect, how to ask cheapest, and what an answer means. A read that fails alone (wrong type,
//! no permission) is one failed answer; a server that fails as a whole makes `fetch` return `Err`, and every read of
//! the batch has failed with it.

pub mod memory;
pub mod redis;
pub mod secrets;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

use crate::model::{Observation, ReadFailure};

/// One thing to ask a server, the unit that autoscalers share: two triggers that name one key are one read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Read {
    /// Number of items under a Redis key.
    Length(Arc<str>),
    /// Number of items in an embedded queue.
    Queue(Arc<str>),
}

/// Handle of a read inside one backend: dense, given out by [`Backend::track`], reused after [`Backend::untrack`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ReadId(pub u32);

impl ReadId {
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// One server, owned by one poller task.
///
/// What is expensive to work out is worked out once: `prepare` turns a set of reads into a [`Backend::Batch`] that
/// `fetch` sends again and again.
pub trait Backend: Send + 'static {
    /// An open connection. Dropping it closes it.
    type Link: Send;
    /// What it takes to ask for one set of reads.
    type Batch: Send;

    /// Begins to know a read. The caller tracks a read once, however many triggers share it.
    fn track(&mut self, read: &Read) -> ReadId;

    /// Forgets a read. Batches that contain it must not be used again.
    fn untrack(&mut self, id: ReadId);

    /// Prepares to ask for `reads`, each of them tracked.
    fn prepare(&mut self, reads: &[ReadId]) -> Self::Batch;

    /// Opens a connection, ready to be asked; bounded by the connection's own timeout. The future borrows nothing, so
    /// that the poller stays responsive while a server takes its time.
    fn connect(&self) -> impl Future<Output = Result<Self::Link, ReadFailure>> + Send + 'static;

    /// What `link` was made of. `None` where none of it can change under a link, and nobody needs to look.
    fn made_of(_link: &Self::Link) -> Option<Material> {
        None
    }

    /// What a link opened now would be made of. May take as long as a hanging mount takes; borrows nothing.
    fn look(&self) -> impl Future<Output = Option<Material>> + Send + 'static {
        std::future::ready(None)
    }

    /// Says when a look is worth it before its time; `None` where nobody can say.
    fn changes(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// Answers the reads of `batch`, one answer each in the order of [`Backend::prepare`], pushed to `answers` (which
    /// arrives empty); bounded by the connection's own timeout.
    ///
    /// # Errors
    /// The server as a whole could not be asked; `answers` means nothing then, and `link` must not be used again.
    fn fetch(
        &mut self,
        link: &mut Self::Link,
        batch: &mut Self::Batch,
        answers: &mut Answers,
    ) -> impl Future<Output = Result<(), ReadFailure>> + Send;
}

/// What the secrets and certificates of a link were when it was opened, as far as files and the cluster's Secrets hold them: enough to tell
/// whether they are others now, and nothing else. A hash under a key that only this process has, kept in memory only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Material(u64);

impl Material {
    #[must_use]
    pub const fn from_hash(hash: u64) -> Self {
        Material(hash)
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The answers to one batch, in its order.
///
/// Numbers and failures lie apart: a round of ten thousand answers is then eight bytes each in one block that is
/// reused for ever, and failures, the rare case, cost only themselves.
#[derive(Default, Debug)]
pub struct Answers {
    /// Items; NaN where the read failed.
    values: Vec<f64>,
    /// Positions that failed, with the reason; ascending. One that was replaced by a number since stays, unseen.
    failures: Vec<(u32, ReadFailure)>,
}

impl Answers {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.values.clear();
        self.failures.clear();
    }

    /// The next read found `items`. Negative or unordered numbers, which no server should send, count as none.
    pub fn push(&mut self, items: f64) {
        // `max` of NaN and 0.0 is 0.0: NaN stays ours as the mark of a failure.
        self.values.push(items.max(0.0));
    }

    /// The next read failed.
    pub fn push_failure(&mut self, failure: ReadFailure) {
        // A batch holds at most `u32::MAX` reads because their handles are `u32`.
        self.failures.push((u32::try_from(self.values.len()).unwrap_or(u32::MAX), failure));
        self.values.push(f64::NAN);
    }

    /// Replaces the answer at `position` by a number.
    pub fn replace(&mut self, position: usize, items: f64) {
        if let Some(value) = self.values.get_mut(position) {
            *value = items.max(0.0);
        }
    }

    /// Replaces the failure at `position` by a better one.
    pub fn replace_failure(&mut self, position: usize, failure: ReadFailure) {
        if let Ok(found) = self.failures.binary_search_by_key(&position, |(failed, _)| *failed as usize)
            && let Some((_, old)) = self.failures.get_mut(found)
        {
            *old = failure;
        }
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Why reads failed, one for each that did.
    pub fn failures(&self) -> impl Iterator<Item = &ReadFailure> {
        let failed = |position: usize| self.values.get(position).is_some_and(|value| value.is_nan());
        self.failures.iter().filter(move |(position, _)| failed(*position as usize)).map(|(_, failure)| failure)
    }

    /// The answer at `position`; `None` if there is none.
    #[inline]
    #[must_use]
    pub fn get(&self, position: usize) -> Option<Result<Observation, &ReadFailure>> {
        let backlog = *self.values.get(position)?;
        if backlog.is_nan() { self.failure(position).map(Err) } else { Some(Ok(Observation { backlog })) }
    }

    #[cold]
    fn failure(&self, position: usize) -> Option<&ReadFailure> {
        let found = self.failures.binary_search_by_key(&position, |(failed, _)| *failed as usize).ok()?;
        self.failures.get(found).map(|(_, failure)| failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FailureKind;

    #[test]
    fn answers_keep_their_order_and_failures_their_place() {
        let mut answers = Answers::default();
        answers.push(3.0);
        answers.push_failure(ReadFailure::new(FailureKind::WrongType, "first"));
        answers.push(-1.0);
        answers.push(f64::NAN);
        answers.push_failure(ReadFailure::new(FailureKind::Timeout, "second"));

        assert_eq!(answers.get(0), Some(Ok(Observation { backlog: 3.0 })));
        assert_eq!(&*answers.get(1).unwrap().unwrap_err().message, "first");
        assert_eq!(answers.get(2), Some(Ok(Observation { backlog: 0.0 })));
        assert_eq!(answers.get(3), Some(Ok(Observation { backlog: 0.0 })));
        assert_eq!(&*answers.get(4).unwrap().unwrap_err().message, "second");
        assert_eq!(answers.get(5), None);
    }
}
