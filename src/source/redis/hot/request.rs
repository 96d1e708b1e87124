//! What is sent, kept ready: a chunk of commands that is written once and sent round after round, and a group of idle
//! keys that one command asks about.
//!
//! The only thing that changes in a chunk from round to round is the time in some of its commands. It has a fixed width
//! and is written over in place.

use std::sync::Arc;

use super::reads::Reads;
use super::wire;
use crate::source::redis::length::{Counter, Question};
use crate::source::{Count, ReadId, Side, TimeUnit};

/// What goes out in one go, bytes and reads. Redis takes 16 KiB from a client in one turn and then serves the others;
/// a chunk that is one turn, sent when the one before it is answered, makes a bystander wait a third of what one long
/// burst does, for a third more of our own CPU. Below 400 reads the chunk's own cost shows.
pub(super) const CHUNK_BYTES: usize = 16 * 1024;
pub(super) const CHUNK: usize = 450;

/// Arms the keys of the next command.
pub(super) const CACHING: &[u8] = b"*3\r\n$6\r\nCLIENT\r\n$7\r\nCACHING\r\n$3\r\nYES\r\n";

/// Whether none means that the key does not exist: Redis keeps no empty list, set or hash. A stream may be empty, and a
/// sorted set may hold only what is not due yet.
pub(super) const fn none_is_missing(question: Question) -> bool {
    match question {
        Question::Any(Counter::Unsupported) | Question::Scored(..) | Question::Known(Count::Stream) => false,
        Question::Any(_) | Question::Known(_) => true,
    }
}

/// Digits that a time takes. Seconds have ten before the point until 2286, milliseconds thirteen as long; BullMQ's
/// numbers have sixteen until 2047, and then seventeen. Redis reads leading zeros as what they are.
const fn width(unit: TimeUnit) -> usize {
    match unit {
        TimeUnit::Seconds => 10 + 1 + 3,
        TimeUnit::Millis => 13,
        TimeUnit::BullMillis => 17,
    }
}

/// The same as `length::score`, over what stands there.
fn write_time(place: &mut [u8], unit: TimeUnit, unix_millis: u64) {
    match unit {
        TimeUnit::Seconds => {
            let (whole, rest) = place.split_at_mut(place.len().min(10));
            wire::overwrite(whole, unix_millis / 1000);
            if let Some((point, fraction)) = rest.split_first_mut() {
                *point = b'.';
                wire::overwrite(fraction, unix_millis % 1000);
            }
        }
        TimeUnit::Millis => wire::overwrite(place, unix_millis),
        TimeUnit::BullMillis => wire::overwrite(place, unix_millis.saturating_add(1).saturating_mul(4096) - 1),
    }
}

/// One read's place: where its answer belongs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    pub(super) position: u32,
    pub(super) read: ReadId,
}

impl Entry {
    /// The position of what is no answer.
    pub(super) const NOWHERE: u32 = u32::MAX;
}

/// Commands, ready to be sent.
#[derive(Default, Debug)]
pub(super) struct Chunk {
    /// In the order of the replies.
    pub(super) entries: Vec<Entry>,
    pub(super) bytes: Vec<u8>,
    /// Where times stand in it.
    times: Vec<(u32, TimeUnit)>,
    /// Some reply was no number: perhaps another command is right by now.
    pub(super) odd: bool,
}

impl Chunk {
    /// Whether one more read fits in.
    pub(super) fn has_room(&self, key: &str) -> bool {
        // `*4`, `ZCOUNT`, `-inf` and a time are some eighty bytes.
        self.entries.is_empty()
            || self.entries.len() < CHUNK && self.bytes.len() + wire::length_of_argument(key.len()) + 80 <= CHUNK_BYTES
    }

    /// Appends a read.
    pub(super) fn push(&mut self, entry: Entry, key: &str, question: Question) {
        self.entries.push(entry);
        self.write(key, question);
    }

    /// Appends the question whether the key of `read` exists. Its answer has no position.
    pub(super) fn push_exists(&mut self, read: ReadId, key: &str) {
        self.entries.push(Entry { position: Entry::NOWHERE, read });
        wire::command(&mut self.bytes, &[b"EXISTS", key.as_bytes()]);
    }

    fn write(&mut self, key: &str, question: Question) {
        let (name, key) = (question.command().as_bytes(), key.as_bytes());
        let Question::Scored(side, unit) = question else {
            wire::command(&mut self.bytes, &[name, key]);
            return;
        };
        wire::header(&mut self.bytes, 4);
        wire::argument(&mut self.bytes, name);
        wire::argument(&mut self.bytes, key);
        if side == Side::Due {
            wire::argument(&mut self.bytes, b"-inf");
        }
        let width = width(unit);
        wire::argument(&mut self.bytes, b"00000000000000000".get(..width).unwrap_or_default());
        let place = self.bytes.len().saturating_sub(width + 2);
        self.times.push((u32::try_from(place).unwrap_or(u32::MAX), unit));
        if side == Side::Ahead {
            wire::argument(&mut self.bytes, b"+inf");
        }
    }

    /// Writes all commands anew.
    pub(super) fn rebuild(&mut self, reads: &Reads) {
        self.bytes.clear();
        self.times.clear();
        self.odd = false;
        let entries = std::mem::take(&mut self.entries);
        for entry in &entries {
            if let Some((key, question)) = reads.get(entry.read) {
                self.write(key, question);
            }
        }
        self.entries = entries;
    }

    /// Writes the time into commands that have one.
    pub(super) fn set_time(&mut self, unix_millis: u64) {
        for (place, unit) in &self.times {
            let place = *place as usize;
            if let Some(place) = self.bytes.get_mut(place..place + width(*unit)) {
                write_time(place, *unit, unix_millis);
            }
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.times.clear();
    }
}

/// One in so many questions about what is armed arms it again. The server says when it forgets a key, so this is for a
/// server that does not: until then a change is seen when it is asked about.
pub(super) const REARM: u8 = 16;

/// What the server said about a group in this round.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Answer {
    #[default]
    NotAsked,
    /// None of its keys exists.
    Missing,
    SomeExist,
    /// It would not say.
    Refused,
}

/// Idle keys that one `EXISTS` asks about.
#[derive(Default, Debug)]
pub(super) struct Group {
    pub(super) entries: Vec<Entry>,
    /// `EXISTS`; empty when it has to be written anew.
    bytes: Vec<u8>,
    /// Bytes of the keys.
    keys: usize,
    pub(super) answer: Answer,
    /// Whether the next question arms the keys.
    pub(super) arms: bool,
    /// Times that armed keys were asked about since they were armed.
    asked: u8,
}

impl Group {
    pub(super) fn has_room(&self, key: &str, most: usize) -> bool {
        self.entries.is_empty()
            || self.entries.len() < most && self.keys + wire::length_of_argument(key.len()) + 80 <= CHUNK_BYTES
    }

    pub(super) fn push(&mut self, entry: Entry, key: &str) {
        self.entries.push(entry);
        self.keys += wire::length_of_argument(key.len());
        self.bytes.clear();
    }

    /// Whether another one could take its members as well.
    pub(super) fn is_small(&self, most: usize) -> bool {
        self.entries.len() < most / 2 && self.keys < CHUNK_BYTES / 2
    }

    /// Takes out whoever is not to `stay`, into `left`.
    pub(super) fn part_from(&mut self, reads: &Reads, left: &mut Vec<Entry>, stay: impl Fn(&Entry) -> bool) {
        let before = self.entries.len();
        self.entries.retain(|entry| {
            let stays = stay(entry);
            if !stays {
                left.push(*entry);
            }
            stays
        });
        if self.entries.len() < before {
            self.bytes.clear();
            let length =
                |entry: &Entry| reads.get(entry.read).map_or(0, |(key, _)| wire::length_of_argument(key.len()));
            self.keys = self.entries.iter().map(length).sum();
        }
    }

    /// Makes ready to be asked. What is armed already is asked about as it is: for the server that is a third less work.
    pub(super) fn ask(&mut self, reads: &Reads, tracked: bool, armed: bool) {
        self.asked = if armed { (self.asked + 1) % REARM } else { 0 };
        self.arms = tracked && self.asked == 0;
        self.write(reads);
    }

    fn write(&mut self, reads: &Reads) {
        if !self.bytes.is_empty() {
            return;
        }
        wire::header(&mut self.bytes, 1 + self.entries.len());
        wire::argument(&mut self.bytes, b"EXISTS");
        for entry in &self.entries {
            // A read that is gone takes its place all the same: its batch is not used again.
            let key = reads.get(entry.read).map_or("", |(key, _)| key);
            wire::argument(&mut self.bytes, key.as_bytes());
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// What one read asks of which key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ask {
    pub(super) key: Arc<str>,
    pub(super) question: Question,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::redis::length::score;

    #[test]
    fn times_are_written_in_place_as_they_would_be_elsewhere() {
        for unit in [TimeUnit::Seconds, TimeUnit::Millis, TimeUnit::BullMillis] {
            for unix_millis in [1_764_166_000_007, 1_999_999_999_999, 2_500_000_000_000] {
                let mut chunk = Chunk::default();
                let entry = Entry { position: 0, read: ReadId(0) };
                chunk.push(entry, "a", Question::Scored(Side::Due, unit));
                chunk.push(entry, "b", Question::Scored(Side::Ahead, unit));
                let length = chunk.bytes.len();
                chunk.set_time(unix_millis);
                assert_eq!(chunk.bytes.len(), length);
                let mut expected = Vec::new();
                let time = format!("{:0>width$}", score(unit, unix_millis), width = width(unit));
                wire::command(&mut expected, &[b"ZCOUNT", b"a", b"-inf", time.as_bytes()]);
                wire::command(&mut expected, &[b"ZCOUNT", b"b", time.as_bytes(), b"+inf"]);
                assert_eq!(String::from_utf8_lossy(&chunk.bytes), String::from_utf8_lossy(&expected));
            }
        }
    }

    #[test]
    fn a_chunk_is_what_a_server_takes_at_once() {
        let mut chunk = Chunk::default();
        let entry = Entry { position: 0, read: ReadId(0) };
        let question = Question::Scored(Side::Due, TimeUnit::BullMillis);
        let long = "x".repeat(2 * CHUNK_BYTES);
        assert!(chunk.has_room(&long), "alone, if need be");
        for key in ["q:tenant-007:jobs:000107".to_owned(), "x".repeat(300)] {
            while chunk.has_room(&key) {
                chunk.push(entry, &key, question);
            }
            assert!(chunk.bytes.len() <= CHUNK_BYTES && chunk.entries.len() <= CHUNK);
            assert!(chunk.entries.len() == CHUNK || chunk.bytes.len() > CHUNK_BYTES - 500);
            chunk.clear();
        }
    }
}
