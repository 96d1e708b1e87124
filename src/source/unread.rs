//! What no backend reads yet: fails, and says so. Goes when the last of them is there.

use std::future::Future;

use super::{Answers, Backend, Moment, Read, ReadId};
use crate::model::{FailureKind, ReadFailure};

/// Refuses every connection.
pub(crate) struct Unread;

impl Backend for Unread {
    type Link = ();
    type Batch = ();

    fn track(&mut self, _read: &Read) -> ReadId {
        ReadId(0)
    }

    fn untrack(&mut self, _id: ReadId) {}

    fn prepare(&mut self, _reads: &[ReadId]) {}

    fn connect(&self) -> impl Future<Output = Result<(), ReadFailure>> + Send + 'static {
        std::future::ready(Err(ReadFailure::new(FailureKind::Configuration, "this source is not read yet")))
    }

    async fn fetch(
        &mut self,
        _link: &mut (),
        _batch: &mut (),
        _at: Moment,
        _answers: &mut Answers,
    ) -> Result<(), ReadFailure> {
        Err(ReadFailure::new(FailureKind::Configuration, "this source is not read yet"))
    }
}
