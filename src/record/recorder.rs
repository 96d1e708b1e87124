//! The engine's side: what it is given becomes bytes, which are handed over.
//!
//! On the engine's thread, so that it does no more than append a few bytes for each event, and never waits. What happened
//! in one turn of the runtime is handed over as one piece, and becomes one record.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::codec::Encoder;
use super::writer::{Piece, Shared};
use crate::engine::bytes::Writer;
use crate::engine::{Engine, Event, Memory};
use crate::model::{Key, Sample, Tick};

/// Handed over at once: what several rounds make. A record may not be longer than sixteen MiB.
const PIECE: usize = 64 << 10;
/// Bytes of a spec that the writer has not written yet. What it has written counts as it is, where that is more.
const ABOUT_A_SPEC: u64 = 1 << 10;

/// Writes down what an engine is given. Call [`Recorder::before`] and [`Recorder::after`] around [`Engine::handle`].
pub struct Recorder {
    /// `None`: it has stopped.
    pieces: Option<Sender<Piece>>,
    shared: Arc<Shared>,
    encoder: Encoder,
    /// A segment ends when it is as long as this.
    segment: u64,
    /// The most that may wait for the disk.
    most_waiting: u64,
    /// Bytes of events in this segment.
    events: u64,
    /// [`Shared::specs`] when the segment began.
    specs_before: u64,
    /// Number of the next spec.
    next_spec: u64,
    /// Who has a snapshot in this segment, or came into being in it.
    known: Vec<bool>,
    /// Room for a snapshot.
    state: Writer,
}

impl Recorder {
    pub(super) fn new(pieces: Sender<Piece>, shared: Arc<Shared>, segment: u64, most_waiting: u64) -> Self {
        Recorder {
            pieces: Some(pieces),
            shared,
            encoder: Encoder::default(),
            segment,
            most_waiting,
            events: 0,
            specs_before: 0,
            next_spec: 0,
            known: Vec::new(),
            state: Writer::default(),
        }
    }

    /// The engine is about to be given `event`.
    pub fn before(&mut self, engine: &Engine, now: Tick, key: Key, event: &Event) {
        if self.pieces.is_none() {
            return;
        }
        self.meet(engine, now, key);
        let mut number = 0;
        if let Event::Spec { spec, .. } = event {
            number = self.number(spec);
            self.remember(key);
        }
        self.encoder.event(now, key, event, number);
    }

    /// It was; this is what stands now.
    pub fn after(&mut self, engine: &Engine, key: Key) {
        if self.pieces.is_none() {
            return;
        }
        let decision = engine.decision(key);
        self.encoder.outcome(key, decision);
        if decision.is_none() {
            self.forget(key);
        }
    }

    /// The engine is about to be told `sample` by [`Engine::observe`].
    pub fn observing(&mut self, engine: &Engine, now: Tick, sample: &Sample) {
        if self.pieces.is_some() {
            self.meet(engine, now, sample.key);
            self.encoder.observed(now, sample);
        }
    }

    /// The engine is about to be given a memory by [`Engine::restore`].
    pub fn restoring(
        &mut self,
        engine: &Engine,
        now: Tick,
        key: Key,
        memory: &Memory,
        elapsed: Duration,
        complete: bool,
    ) {
        if self.pieces.is_some() {
            self.meet(engine, now, key);
            self.encoder.restored(now, key, memory, elapsed, complete);
        }
    }

    /// A turn of the runtime is over: hands over what happened in it. Here, and only here, a segment ends.
    pub fn hand_over(&mut self, now: Tick) {
        if self.pieces.is_none() || self.encoder.is_empty() {
            return;
        }
        self.hand_over_events();
        let specs = self.shared.specs.load(Ordering::Acquire);
        let in_specs = specs.saturating_sub(self.specs_before).max(self.next_spec * ABOUT_A_SPEC);
        if self.events + in_specs >= self.segment {
            self.send(Piece::Segment { began: now });
            self.encoder = Encoder::default();
            self.known.fill(false);
            (self.events, self.specs_before, self.next_spec) = (0, specs, 0);
        }
    }

    /// A snapshot of whoever has none in this segment yet, and is there.
    fn meet(&mut self, engine: &Engine, now: Tick, key: Key) {
        if self.encoder.len() >= PIECE {
            self.hand_over_events();
        }
        if self.known.get(key.index()).copied().unwrap_or_default() {
            return;
        }
        let Some(spec) = engine.spec(key) else { return };
        let number = self.number(spec);
        self.state.0.clear();
        engine.snapshot(key, &mut self.state);
        self.encoder.snapshot(now, key, number, &self.state.0);
        self.remember(key);
    }

    fn number(&mut self, spec: &Arc<crate::spec::AutoscalerSpec>) -> u64 {
        let number = self.next_spec;
        self.next_spec += 1;
        self.send(Piece::Spec { number, spec: Arc::clone(spec) });
        number
    }

    fn remember(&mut self, key: Key) {
        if self.known.len() <= key.index() {
            self.known.resize(key.index() + 1, false);
        }
        if let Some(known) = self.known.get_mut(key.index()) {
            *known = true;
        }
    }

    fn forget(&mut self, key: Key) {
        if let Some(known) = self.known.get_mut(key.index()) {
            *known = false;
        }
    }

    fn hand_over_events(&mut self) {
        let bytes = self.encoder.take();
        let length = bytes.len() as u64;
        self.events += length;
        let waiting = self.shared.waiting.fetch_add(length, Ordering::AcqRel);
        if waiting > 0 && waiting + length > self.most_waiting {
            let reason = format!("the disk could not keep up: {} KiB were waiting for it", waiting >> 10);
            self.send(Piece::Stopped(reason));
            self.pieces = None;
            return;
        }
        self.send(Piece::Events(bytes));
    }

    fn send(&mut self, piece: Piece) {
        let sent = self.pieces.as_ref().is_some_and(|pieces| pieces.send(piece).is_ok());
        // The writer has ended, and said why.
        if !sent || self.shared.ended.load(Ordering::Acquire) {
            self.pieces = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::model::{Observation, Round};

    #[test]
    fn a_disk_that_cannot_keep_up_ends_the_recording_and_nothing_is_left_out_before_that() {
        let (sender, pieces) = mpsc::channel();
        let mut recorder = Recorder::new(sender, Arc::new(Shared::default()), 1 << 20, 1_000);
        let engine = Engine::new();
        for round in 0..10_000 {
            let value = Ok(Observation::of_backlog(1.0));
            let event = Event::Sample { trigger: 0, round: Round(round), taken: Tick::ZERO, value };
            recorder.before(&engine, Tick::from_millis(round), Key(0), &event);
            recorder.after(&engine, Key(0));
            recorder.hand_over(Tick::from_millis(round));
        }
        let mut bytes = 0;
        let mut stopped = Vec::new();
        // Nobody sends any more, so that this ends though the recorder is there.
        for piece in pieces {
            match piece {
                Piece::Events(events) => {
                    assert!(stopped.is_empty(), "events after the end");
                    bytes += events.len();
                }
                Piece::Stopped(reason) => stopped.push(reason),
                Piece::Spec { .. } | Piece::Segment { .. } => panic!("nobody has a spec"),
            }
        }
        assert!((900..=1_000).contains(&bytes), "{bytes}");
        assert_eq!(stopped.len(), 1);
        assert!(stopped.iter().all(|why| why.contains("the disk could not keep up")), "{stopped:?}");
    }
}
