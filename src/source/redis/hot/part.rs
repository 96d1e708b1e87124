//! The reads of one batch that one server answers, as they are asked: those at work in chunks of commands, the idle
//! ones in groups that one `EXISTS` asks about.
//!
//! A batch is sent many times and changes little in between. Who becomes idle stays where it is until its chunk is
//! looked at (all of them once a second, a few a round), and moves then; who wakes up is appended to the last chunk. No
//! round writes more requests than there is news.

use std::time::Duration;

use super::Oddity;
use super::reads::{Beat, ConnectionId, Reads};
use super::request::{Answer, CHUNK, Chunk, Entry, Group, none_is_missing};
use crate::source::ReadId;

/// Armed groups are asked again about this often, in turn, a few a round: not all that fills a queue is told as a
/// change of it (`SWAPDB`, a slot that moved away, a replica that loads another snapshot), and this bounds how long it
/// can go unseen. For ten thousand idle queues it costs the server 2 ms a second.
pub(super) const PROBE: Duration = Duration::from_secs(1);

/// Chunks are looked through for idle reads within this span.
const SWEEP: Duration = Duration::from_secs(1);

/// What a connection allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    pub(super) connection: ConnectionId,
    /// Whether the server tells of changes.
    pub(super) tracked: bool,
    /// Idle reads that one `EXISTS` may ask about; `None` where nothing may be idle.
    pub(super) group: Option<usize>,
}

impl Terms {
    /// How many idle reads a group has, where so many are possible. Asking about one key is no cheaper than asking it.
    pub(super) fn group(possible: usize, tracked: bool) -> Option<usize> {
        (possible > 1 || tracked && possible == 1).then_some(possible)
    }
}

/// Something to be sent and answered as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Segment {
    Chunk(usize),
    Group(usize),
    /// A chunk of the second trip.
    Again(usize),
}

/// The reads of a batch that one server answers.
#[derive(Debug, Default)]
pub(in crate::source::redis) struct Part {
    pub(super) chunks: Vec<Chunk>,
    pub(super) groups: Vec<Group>,
    /// Of the second trip: members of groups that are not all missing.
    pub(super) again: Vec<Chunk>,
    /// What is to be sent in this trip.
    pub(super) segments: Vec<Segment>,
    /// What was no number in this round.
    pub(super) oddities: Vec<Oddity>,
    /// The chunk and the group whose turn it is to be looked at.
    next_chunk: usize,
    next_group: usize,
    last: Option<Beat>,
    learnt: u64,
    /// Room for those who move.
    moving: Vec<Entry>,
}

impl Part {
    /// `members` are positions in the batch's answers with the reads that belong there.
    pub(in crate::source::redis) fn new(members: impl Iterator<Item = (usize, ReadId)>) -> Self {
        // A batch holds at most `u32::MAX` reads because their handles are `u32`.
        let entry = |(position, read)| Entry { position: u32::try_from(position).unwrap_or(u32::MAX), read };
        // They find their places in the first round: its terms are not known yet.
        Part { moving: members.map(entry).collect(), ..Part::default() }
    }

    /// Where its answers belong, and whose they are.
    pub(in crate::source::redis) fn members(&self) -> impl Iterator<Item = (usize, ReadId)> {
        let of_chunks = self.chunks.iter().flat_map(|chunk| &chunk.entries);
        let of_groups = self.groups.iter().flat_map(|group| &group.entries);
        of_chunks.chain(of_groups).chain(&self.moving).map(|entry| (entry.position as usize, entry.read))
    }

    /// How many commands a round takes, about: what is at work, and some for the groups.
    pub(in crate::source::redis) fn commands(&self) -> usize {
        let at_work: usize = self.chunks.iter().map(|chunk| chunk.entries.len()).sum();
        at_work + self.moving.len() + 2 * self.groups.len()
    }

    /// The replies of the last round that were no numbers.
    pub(in crate::source::redis) fn take_oddities(&mut self) -> Vec<Oddity> {
        std::mem::take(&mut self.oddities)
    }

    /// Makes ready for a round: who has to move has moved, and [`Part::segments`] is what to send.
    pub(super) fn begin(&mut self, reads: &Reads, terms: &Terms, now: Beat, unix_millis: u64) {
        self.oddities.clear();
        let elapsed = self.last.map_or(0, |last| now.since(last));
        self.last = Some(now);
        if self.learnt != reads.learnt() {
            self.learnt = reads.learnt();
            self.chunks.iter_mut().filter(|chunk| chunk.odd).for_each(|chunk| chunk.rebuild(reads));
        }
        self.sweep(reads, terms, elapsed);
        self.leave_groups(reads, terms);
        self.settle_down(reads, terms);

        self.segments.clear();
        for (position, chunk) in self.chunks.iter_mut().enumerate() {
            chunk.set_time(unix_millis);
            self.segments.push(Segment::Chunk(position));
        }
        self.choose_groups(reads, terms, now, elapsed);
    }

    /// Takes idle reads out of the chunks whose turn it is.
    fn sweep(&mut self, reads: &Reads, terms: &Terms, elapsed: u32) {
        if terms.group.is_none() {
            return;
        }
        for _ in 0..share(self.chunks.len(), elapsed, SWEEP) {
            if self.next_chunk >= self.chunks.len() {
                self.next_chunk = 0;
            }
            let Some(chunk) = self.chunks.get_mut(self.next_chunk) else { return };
            let before = chunk.entries.len();
            let moving = &mut self.moving;
            chunk.entries.retain(|entry| {
                let stays = !reads.is_idle(entry.read);
                if !stays {
                    moving.push(*entry);
                }
                stays
            });
            let left = chunk.entries.len();
            if left == before {
                self.next_chunk += 1;
            } else if left < CHUNK / 2 {
                // They go where there is room.
                moving.append(&mut chunk.entries);
                self.chunks.remove(self.next_chunk);
            } else {
                chunk.rebuild(reads);
                self.next_chunk += 1;
            }
        }
    }

    /// Takes those who are not idle any more out of their groups, and dissolves groups that have become small.
    fn leave_groups(&mut self, reads: &Reads, terms: &Terms) {
        let most = terms.group.unwrap_or(0);
        let mut position = 0;
        let mut has_small = false;
        while let Some(group) = self.groups.get_mut(position) {
            if most == 0 {
                self.moving.append(&mut group.entries);
            } else {
                group.part_from(reads, &mut self.moving, |entry| reads.is_idle(entry.read));
            }
            let is_small = group.is_small(most);
            if group.entries.is_empty() || is_small && has_small {
                self.moving.append(&mut group.entries);
                self.groups.swap_remove(position);
            } else {
                // One may be.
                has_small |= is_small;
                position += 1;
            }
        }
    }

    /// Gives everybody who moves a place: the first where there is room.
    fn settle_down(&mut self, reads: &Reads, terms: &Terms) {
        let (mut chunk, mut group) = (0, 0);
        for entry in self.moving.drain(..) {
            let Some((key, question)) = reads.get(entry.read) else { continue };
            match terms.group {
                Some(most) if reads.is_idle(entry.read) => {
                    while self.groups.get(group).is_some_and(|group| !group.has_room(key, most)) {
                        group += 1;
                    }
                    place(&mut self.groups, group, |group| group.push(entry, key));
                }
                _ => {
                    while self.chunks.get(chunk).is_some_and(|chunk| !chunk.has_room(key)) {
                        chunk += 1;
                    }
                    place(&mut self.chunks, chunk, |chunk| chunk.push(entry, key, question));
                }
            }
        }
    }

    /// Asks groups of which somebody has to be asked, and some whose turn it is; at least one, if nothing else is asked:
    /// that what is armed has not changed is known with the next reply, and not before.
    fn choose_groups(&mut self, reads: &Reads, terms: &Terms, now: Beat, elapsed: u32) {
        let count = self.groups.len();
        let mut allowed = share(count, elapsed, PROBE);
        let nothing_else = self.segments.is_empty();
        let mut chosen = 0;
        let begin = if self.next_group < count { self.next_group } else { 0 };
        for position in (begin..count).chain(0..begin) {
            let Some(group) = self.groups.get_mut(position) else { continue };
            let (mut oldest, mut armed) = (0, terms.tracked);
            for entry in &group.entries {
                oldest = oldest.max(reads.age(entry.read, now));
                armed &= reads.is_armed(entry.read, terms.connection);
            }
            let turn = armed && allowed > 0 && oldest >= Beat::span(PROBE);
            group.answer = Answer::NotAsked;
            if !armed || turn {
                chosen += 1;
                group.ask(reads, terms.tracked, armed);
                self.segments.push(Segment::Group(position));
            }
            if turn {
                allowed -= 1;
                self.next_group = position + 1;
            }
        }
        if nothing_else
            && chosen == 0
            && let Some(group) = self.groups.get_mut(begin)
        {
            group.ask(reads, terms.tracked, terms.tracked);
            self.segments.push(Segment::Group(begin));
            self.next_group = begin + 1;
        }
    }

    /// Answers for the idle ones, and prepares a second trip for those about whom nothing is known; [`Part::segments`]
    /// is that trip then.
    pub(super) fn settle(&mut self, reads: &Reads, terms: &Terms, unix_millis: u64, values: &mut [f64]) {
        self.segments.clear();
        self.again.iter_mut().for_each(Chunk::clear);
        let mut last = 0;
        for group in &self.groups {
            for entry in &group.entries {
                let known = match group.answer {
                    Answer::Missing => true,
                    Answer::NotAsked => reads.is_armed(entry.read, terms.connection),
                    Answer::SomeExist | Answer::Refused => false,
                };
                if known {
                    if let Some(value) = values.get_mut(entry.position as usize) {
                        *value = 0.0;
                    }
                    continue;
                }
                let Some((key, question)) = reads.get(entry.read) else { continue };
                while self.again.get(last).is_some_and(|chunk| !chunk.has_room(key)) {
                    last += 1;
                }
                place(&mut self.again, last, |chunk| {
                    chunk.push(*entry, key, question);
                    // None of them due does not mean that there are none.
                    if group.answer == Answer::SomeExist && !none_is_missing(question) && reads.is_idle(entry.read) {
                        chunk.push_exists(entry.read, key);
                    }
                });
            }
        }
        let asked = self.again.iter().take_while(|chunk| !chunk.entries.is_empty()).count();
        self.again.iter_mut().for_each(|chunk| chunk.set_time(unix_millis));
        self.segments.extend((0..asked).map(Segment::Again));
    }
}

/// Puts something into the item at `position`, or into a new one at the end.
fn place<T: Default>(items: &mut Vec<T>, position: usize, put: impl FnOnce(&mut T)) {
    if items.len() <= position {
        items.push(T::default());
    }
    if let Some(item) = items.get_mut(position) {
        put(item);
    }
}

/// How many of `all` it takes in each round so that everybody has had a turn after `span`.
fn share(all: usize, elapsed: u32, span: Duration) -> usize {
    let span = Beat::span(span).max(1) as usize;
    (all * (elapsed as usize).min(span)).div_ceil(span).max(1).min(all)
}
