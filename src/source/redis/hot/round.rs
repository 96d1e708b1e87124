//! One trip of a round: what is prepared goes out, and what comes back finds its place.

use std::ops::Range;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::{ServerError, Value};

use super::line::{Broken, Line};
use super::part::{Part, Segment};
use super::reads::Reads;
use super::request::{Answer, CACHING, CHUNK, CHUNK_BYTES, Chunk, Entry, Group};
use super::{Ear, Node, Oddity, hello, wire};

/// What a chunk may take, on average, from being sent to its last reply. A server nearby that is not busy takes some 100
/// to 200 microseconds, which has to count as quick, or one slow trip would have more chunks on their way for ever. One
/// that is far away, or flooded, takes more: then more chunks are on their way at a time (see [`Pace`]).
const CHUNK_TIME: Duration = Duration::from_micros(300);

/// The timers' grain: trips that are shorter say nothing.
const GRAIN: Duration = Duration::from_millis(2);

/// Chunks on their way at a time, at most: with a millisecond each they bridge sixteen milliseconds.
const FLYING: usize = 16;

/// From so many chunks on, two of them are on their way at a time at least. While we take one's replies and send the next,
/// the server is at rest: some 20 microseconds, which nobody misses in a round of a few milliseconds, and which are a
/// twentieth of one that keeps the server busy for most of its interval. Others pay for it: beside a hundred thousand keys
/// at 10 Hz their median wait is 0.8 ms instead of 0.2. A round that ends late would cost them as much, and us the next one.
const LONG: usize = 64;

/// Where a round's answers go. Several nodes may be asked at the same time, on one thread: each of them has it between
/// two waits, and none holds it while it waits.
pub(in crate::source::redis) struct Round<'a> {
    pub(in crate::source::redis) reads: &'a mut Reads,
    /// Numbers go to their positions; NaN where there is none.
    pub(in crate::source::redis) values: &'a mut [f64],
}

/// A [`Round`] that several nodes have a part in.
pub(in crate::source::redis) type Shared<'a> = Mutex<Round<'a>>;

pub(super) fn lock<'a, 'b>(shared: &'b Shared<'a>) -> MutexGuard<'b, Round<'a>> {
    // Whoever panicked while it had it left numbers behind, and is gone with the task.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How far the replies of a trip have come.
struct Reading {
    segment: usize,
    /// Replies of the segment that have been taken.
    taken: usize,
}

/// How a trip goes, by what it may take: from trip to trip one chunk more or less is on its way at a time, so that there
/// are as few of them as will do; but a trip that crawls has one more for each that is answered.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Pace {
    /// Up to three quarters of it.
    #[default]
    Quick,
    /// All of it.
    Fair,
    /// Up to four times as much.
    Slow,
    Crawling,
}

impl Pace {
    fn slower(self) -> Self {
        match self {
            Pace::Quick => Pace::Fair,
            Pace::Fair => Pace::Slow,
            Pace::Slow | Pace::Crawling => Pace::Crawling,
        }
    }

    /// How long it lasts.
    fn length(self, allowed: Duration) -> Duration {
        match self {
            Pace::Quick => allowed * 3 / 4,
            Pace::Fair => allowed / 4,
            Pace::Slow => allowed * 3,
            Pace::Crawling => Duration::MAX,
        }
    }
}

impl Node {
    /// Sends all segments of `part` and takes their replies.
    pub(super) async fn trip(&mut self, part: &mut Part, round: &Shared<'_>) -> Result<(), Broken> {
        let mut reading = Reading { segment: 0, taken: 0 };
        let (mut sent, mut flying) = (0, 0);
        let least = if part.segments.len() < LONG { 1 } else { 2 };
        let mut pace = Pace::default();
        // A lone chunk is on its way alone however long it takes. (A timer that nobody waits for costs nothing; one that is
        // set wakes the thread's driver once more: most rounds are that short.)
        let paced = part.segments.len() > 1;
        let allowed = GRAIN.max(CHUNK_TIME * u32::try_from(part.segments.len()).unwrap_or(u32::MAX));
        let mut bell = pin!(tokio::time::sleep(pace.length(allowed)));
        let mut late = pin!(tokio::time::sleep(self.bound));
        loop {
            while flying < self.window.max(least) && sent < part.segments.len() {
                let until = together(part, sent);
                self.send(part, sent..until).await?;
                (sent, flying) = (until, flying + 1);
            }
            if flying == 0 {
                break;
            }
            let until = together(part, reading.segment);
            while !self.read(part, &mut lock(round), &mut reading, until)? {
                tokio::select! {
                    biased;
                    filled = self.line.fill() => filled?,
                    () = &mut bell, if paced && pace != Pace::Crawling => {
                        pace = pace.slower();
                        bell.set(tokio::time::sleep(pace.length(allowed)));
                    }
                    () = &mut late => return Err(Broken::Late(self.bound)),
                }
            }
            flying -= 1;
            if pace == Pace::Crawling {
                self.window = (self.window + 1).min(FLYING);
            }
            late.set(tokio::time::sleep(self.bound));
        }
        match pace {
            // However many there are on their way, a short trip is over before that matters.
            Pace::Quick if allowed > GRAIN => self.window = self.window.saturating_sub(1).max(1),
            Pace::Slow => self.window = (self.window + 1).min(FLYING),
            Pace::Quick | Pace::Fair | Pace::Crawling => {}
        }
        Ok(())
    }

    async fn send(&mut self, part: &Part, range: Range<usize>) -> Result<(), Broken> {
        let segments = part.segments.get(range).unwrap_or_default();
        self.commands += segments.iter().map(|segment| replies(part, *segment) as u64).sum::<u64>();
        // A chunk that goes alone, as nearly all do, goes without being copied.
        let bytes = match segments {
            [only @ (Segment::Chunk(_) | Segment::Again(_))] => bytes(part, *only),
            several => {
                self.out.clear();
                for segment in several {
                    if arms(part, *segment) {
                        self.out.extend_from_slice(CACHING);
                    }
                    self.out.extend_from_slice(bytes(part, *segment));
                }
                &self.out
            }
        };
        let sending = tokio::time::timeout(self.bound, self.line.send(bytes));
        sending.await.unwrap_or(Err(Broken::Late(self.bound)))
    }

    /// Takes what has come of the replies to the segments before `until`; whether that was all of them.
    fn read(
        &mut self,
        part: &mut Part,
        round: &mut Round<'_>,
        reading: &mut Reading,
        until: usize,
    ) -> Result<bool, Broken> {
        while reading.segment < until
            && let Some(segment) = part.segments.get(reading.segment).copied()
        {
            if let Segment::Chunk(at) = segment
                && let Some(chunk) = part.chunks.get(at)
            {
                let left = chunk.entries.get(reading.taken..).unwrap_or_default();
                reading.taken += numbers(&mut self.line, left, round, &self.ear);
            }
            if reading.taken >= replies(part, segment) {
                reading.segment += 1;
                reading.taken = 0;
                continue;
            }
            let Some(frame) = self.line.frame()? else { return Ok(false) };
            match frame.first() {
                Some(b'>') => self.ear.hear(frame, round.reads),
                Some(b'|') => {}
                _ => {
                    match segment {
                        Segment::Chunk(at) => {
                            part.oddities.extend(round.any(part.chunks.get_mut(at), reading.taken, frame, &self.ear));
                        }
                        Segment::Again(at) => {
                            part.oddities.extend(round.any(part.again.get_mut(at), reading.taken, frame, &self.ear));
                        }
                        Segment::Group(at) => {
                            let is_caching = reading.taken == 0 && arms(part, segment);
                            round.group(part.groups.get_mut(at), is_caching, frame, &mut self.ear);
                        }
                    }
                    reading.taken += 1;
                }
            }
        }
        Ok(true)
    }
}

/// The segments that go out in one go, from `from` to before what is returned: as many as one turn of the server takes.
fn together(part: &Part, from: usize) -> usize {
    let (mut until, mut length, mut count) = (from, 0, 0);
    while let Some(segment) = part.segments.get(until) {
        length += bytes(part, *segment).len() + if arms(part, *segment) { CACHING.len() } else { 0 };
        count += replies(part, *segment);
        if until > from && (length > CHUNK_BYTES || count > CHUNK) {
            break;
        }
        until += 1;
    }
    until
}

fn bytes(part: &Part, segment: Segment) -> &[u8] {
    let bytes = match segment {
        Segment::Chunk(at) => part.chunks.get(at).map(|chunk| chunk.bytes.as_slice()),
        Segment::Again(at) => part.again.get(at).map(|chunk| chunk.bytes.as_slice()),
        Segment::Group(at) => part.groups.get(at).map(Group::bytes),
    };
    bytes.unwrap_or_default()
}

/// Whether a segment is sent with the command that arms its keys.
fn arms(part: &Part, segment: Segment) -> bool {
    matches!(segment, Segment::Group(at) if part.groups.get(at).is_some_and(|group| group.arms))
}

/// How many commands a segment is, and so how many replies it gets.
fn replies(part: &Part, segment: Segment) -> usize {
    match segment {
        Segment::Chunk(at) => part.chunks.get(at).map_or(0, |chunk| chunk.entries.len()),
        Segment::Again(at) => part.again.get(at).map_or(0, |chunk| chunk.entries.len()),
        Segment::Group(_) => 1 + usize::from(arms(part, segment)),
    }
}

/// Takes as many numbers as there are for `entries`, up to the first reply that is none, or is not all there.
fn numbers(line: &mut Line, entries: &[Entry], round: &mut Round<'_>, ear: &Ear) -> usize {
    let unread = line.unread();
    let mut rest = unread;
    let mut taken = 0;
    let may_rest = ear.terms.group.is_some();
    for entry in entries {
        let Some((items, after)) = wire::integer(rest) else { break };
        rest = after;
        taken += 1;
        if let Some(value) = round.values.get_mut(entry.position as usize) {
            // Exact up to 2^53 items, which is beyond any Redis' memory.
            *value = items as f64;
        }
        round.reads.found(entry.read, items, ear.now, may_rest);
    }
    let length = unread.len() - rest.len();
    line.take(length);
    taken
}

impl Round<'_> {
    /// Takes whatever was said to one command of a chunk, and gives it back if it is no number.
    fn any(&mut self, chunk: Option<&mut Chunk>, taken: usize, frame: &[u8], ear: &Ear) -> Option<Oddity> {
        let chunk = chunk?;
        let Entry { position, read } = chunk.entries.get(taken).copied()?;
        let number = wire::any_integer(frame).map(|number| u64::try_from(number).unwrap_or(0));
        if position == Entry::NOWHERE {
            // Whether a key exists that counts nothing. If nobody says, it does.
            if number != Some(0) {
                self.reads.exists(read, ear.now);
            }
            return None;
        }
        let value = number.map_or(f64::NAN, |items| items as f64);
        if let Some(place) = self.values.get_mut(position as usize) {
            *place = value;
        }
        if let Some(items) = number {
            self.reads.found(read, items, ear.now, ear.terms.group.is_some());
            return None;
        }
        self.reads.wake(read, ear.now);
        chunk.odd = true;
        Some(Oddity { position: position as usize, read, reply: hello::value(frame) })
    }

    /// Takes one of the replies to a group.
    fn group(&mut self, group: Option<&mut Group>, is_caching: bool, frame: &[u8], ear: &mut Ear) {
        let Some(group) = group else { return };
        if is_caching {
            // (Reading what it says takes room that a round does not need otherwise.)
            if frame.first() != Some(&b'+')
                && let Value::ServerError(error) = hello::value(frame)
                && ear.terms.tracked
            {
                ear.untracked(self.reads, hello::words(&error));
            }
            return;
        }
        group.answer = match wire::any_integer(frame) {
            Some(0) => Answer::Missing,
            Some(_) => Answer::SomeExist,
            None => Answer::Refused,
        };
        if group.answer != Answer::Refused {
            // Those that exist are asked one by one next, and whoever is found at work is woken. The others are armed
            // since now, so that what happens to them in between is not missed.
            let armed_by = (group.arms && ear.terms.tracked).then_some(ear.terms.connection);
            for entry in &group.entries {
                self.reads.asked_about(entry.read, ear.now, armed_by);
            }
        } else if let Value::ServerError(error) = hello::value(frame)
            && is_final(&error)
        {
            ear.terms.group = None;
            ear.complaints.exists = Some(hello::words(&error));
        }
    }
}

/// Whether it will be the same in the next round: not permitted, not known, or not for keys of several slots.
fn is_final(error: &ServerError) -> bool {
    matches!(error.code(), "NOPERM" | "CROSSSLOT" | "ERR")
}
