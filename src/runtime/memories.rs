//! What autoscalers remember, on its way into checkpoints and out of them.
//!
//! Whoever writes checkpoints asks, and is told what changed since the last time. Looking is done some hundred
//! autoscalers at a time, between two sweeps of deadlines, so that nobody's sample waits for it.

use std::mem;

use tokio::sync::oneshot;

use super::Runtime;
use crate::checkpoint::{Ask, CLAIMED_WITHIN, Memories, Note, Told};
use crate::engine::Event;
use crate::model::{AutoscalerId, Key, Tick};

/// Looked at in one go: some hundred microseconds. Ten thousand take twenty sweeps, which is less than half a second.
const AT_ONCE: usize = 512;

#[derive(Default)]
pub(super) struct Remembering {
    /// Of before this process, until their autoscaler comes.
    before: Memories,
    /// To whoever asked last.
    told: Told,
    /// Told of, and gone since.
    gone: Vec<AutoscalerId>,
    answering: Option<Answering>,
}

/// An answer on its way.
struct Answering {
    reply: oneshot::Sender<Vec<Note>>,
    notes: Vec<Note>,
    /// The next to look at.
    next: usize,
}

impl Remembering {
    pub(super) fn of(before: Memories) -> Self {
        Remembering { before, ..Remembering::default() }
    }

    pub(super) fn asked(&mut self, ask: Ask) {
        let Ask { everything, reply } = ask;
        // An answer that was on its way is lost with whoever asked for it.
        if everything || self.answering.is_some() {
            self.told.forget_all();
        }
        let gone = mem::take(&mut self.gone).into_iter().map(Note::Forget);
        let notes = if everything { Vec::new() } else { gone.collect() };
        self.answering = Some(Answering { reply, notes, next: 0 });
    }

    pub(super) fn gone(&mut self, key: Key, id: &AutoscalerId) {
        if self.told.forget(key) {
            self.gone.push(id.clone());
        }
    }

    /// Memories that nobody claims are of autoscalers that are no more.
    pub(super) fn expire(&mut self, now: Tick) {
        if self.before.is_empty() {
            return;
        }
        let count = self.before.len();
        self.before.retain(|_, restored| now.since(restored.read) < CLAIMED_WITHIN);
        if self.before.len() < count {
            tracing::info!(
                memories = count - self.before.len(),
                "memories of autoscalers that never came are forgotten"
            );
        }
    }
}

impl Runtime {
    /// Gives a new autoscaler the memory of before, before it has seen its workload.
    pub(super) fn restore(&mut self, now: Tick, key: Key, id: &AutoscalerId) {
        let Some(restored) = self.remembering.before.remove(id) else { return };
        if let Some(recorder) = &mut self.recorder {
            recorder.restoring(&self.engine, now, key, &restored.memory, restored.age(now), false);
        }
        self.engine.restore(now, key, &restored.memory, restored.age(now), false);
        self.handle(now, key, Event::Evaluate);
    }

    /// A piece of the answer, if one is asked for.
    pub(super) fn remember_some(&mut self, now: Tick) {
        let Some(mut answering) = self.remembering.answering.take() else { return };
        for (index, entry) in self.entries.iter().enumerate().skip(answering.next).take(AT_ONCE) {
            let (Some(entry), Ok(index)) = (entry, u32::try_from(index)) else { continue };
            let Some(envelope) = self.engine.envelope(now, Key(index)) else { continue };
            answering.notes.extend(self.remembering.told.note(Key(index), &entry.cell.id, envelope, now));
        }
        answering.next += AT_ONCE;
        if answering.next < self.entries.len() {
            self.remembering.answering = Some(answering);
        } else if answering.reply.send(answering.notes).is_err() {
            // Whoever asks next is told everything.
            self.remembering.told.forget_all();
        }
    }
}
