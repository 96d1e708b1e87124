//! All reads of a backend: what each asks, and whether its queue is at work or idle.
//!
//! **Idle** is a read that has found nothing for a while. It is not asked by itself any more; one `EXISTS` asks about a
//! hundred of its kind. Where the server tells us of changes (client tracking) that `EXISTS` also **arms** the keys,
//! and as long as a key is armed it is known to be missing: the server sends the news of a change before any later
//! reply on the same connection, so whatever reply comes next without such news proves that there was none. (This is
//! so for a `ZCOUNT` up to now as well: that something becomes due changes no key, but a set that is missing holds
//! nothing that could. A set that is there is never idle, whatever it counts.)
//!
//! Being woken costs some hundred times a plain read. How long a read must have found nothing before it is idle
//! therefore doubles with every rest that was short, up to [`LEVELS`] times, and halves with every one that was long.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::Arc;
use std::time::Duration;

use super::request::Ask;
use crate::model::Tick;
use crate::source::ReadId;
use crate::source::redis::length::Question;

/// Being woken costs server and client 50 to 150 microseconds each, a plain read at ten a second half a microsecond ten
/// times: whoever rests a second before it is idle, and then again sixteen times as long (`SHORT`), costs less so.
const REST: Duration = Duration::from_secs(1);

/// A rest shorter than so many times what it was waited for did not pay.
const SHORT: u32 = 16;

/// After so many doublings it takes a minute to be idle: a queue that is woken that seldom costs nothing worth saving.
const LEVELS: u8 = 6;

/// Time as reads keep it: in units of 16.8 ms, of which 32 bits are two years. Only differences mean anything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Beat(u32);

impl Beat {
    /// A beat in nanoseconds, as a power of two.
    const SHIFT: u32 = 24;

    #[expect(clippy::cast_possible_truncation, reason = "it wraps, and only differences mean anything")]
    pub(super) fn at(tick: Tick) -> Self {
        // Zero is [`State::since`] for "not idle".
        Beat(((tick.as_nanos() >> Self::SHIFT) as u32).max(1))
    }

    /// Beats from `earlier` to this.
    pub(super) fn since(self, earlier: Beat) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    #[expect(clippy::cast_possible_truncation, reason = "two years of beats fit; longer spans are cut to that")]
    pub(super) const fn span(duration: Duration) -> u32 {
        let beats = duration.as_nanos() >> Self::SHIFT;
        if beats > u32::MAX as u128 { u32::MAX } else { beats as u32 }
    }
}

/// Which of all connections there have been; zero is none.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct ConnectionId(u32);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Since when it has found nothing; zero while it finds something.
    since: u32,
    /// When the server last told something about it.
    seen: u32,
    /// The connection on which it is armed.
    armed_by: ConnectionId,
    idle: bool,
    level: u8,
}

impl State {
    fn patience(&self) -> u32 {
        Beat::span(REST) << self.level.min(LEVELS)
    }

    /// It is at work, or has to be taken for it.
    fn wake(&mut self, now: Beat) {
        if self.idle {
            let rested = now.since(Beat(self.since)).saturating_sub(self.patience());
            let short = rested < SHORT * self.patience();
            self.level = if short { (self.level + 1).min(LEVELS) } else { self.level.saturating_sub(1) };
        }
        *self = State { since: 0, seen: now.0, armed_by: ConnectionId::default(), idle: false, level: self.level };
    }
}

/// Reads of one key, nearly always one.
#[derive(Debug)]
enum Named {
    One(ReadId),
    Several(Vec<ReadId>),
}

impl Named {
    fn as_slice(&self) -> &[ReadId] {
        match self {
            Named::One(read) => std::slice::from_ref(read),
            Named::Several(reads) => reads,
        }
    }
}

/// The reads of one backend, by the handles that it gave them. Some handles may belong to reads of another kind.
#[derive(Default, Debug)]
pub(in crate::source::redis) struct Reads {
    asks: Vec<Option<Ask>>,
    states: Vec<State>,
    named: HashMap<Arc<str>, Named, foldhash::fast::RandomState>,
    /// Grows with whatever is learnt about keys.
    learnt: u64,
    connections: u32,
}

impl Reads {
    /// Begins to know a read.
    pub(in crate::source::redis) fn insert(&mut self, read: ReadId, key: Arc<str>, question: Question) {
        let needed = read.index() + 1;
        if self.asks.len() < needed {
            self.asks.resize_with(needed, || None);
            self.states.resize(needed, State::default());
        }
        match self.named.entry(Arc::clone(&key)) {
            Slot::Vacant(vacant) => drop(vacant.insert(Named::One(read))),
            Slot::Occupied(mut there) => {
                let mut reads = there.get().as_slice().to_vec();
                reads.push(read);
                there.insert(Named::Several(reads));
            }
        }
        if let (Some(ask), Some(state)) = (self.asks.get_mut(read.index()), self.states.get_mut(read.index())) {
            *ask = Some(Ask { key, question });
            *state = State::default();
        }
    }

    /// Forgets a read.
    pub(in crate::source::redis) fn remove(&mut self, read: ReadId) {
        let Some(ask) = self.asks.get_mut(read.index()).and_then(Option::take) else { return };
        let Slot::Occupied(mut named) = self.named.entry(ask.key) else { return };
        let left: Vec<ReadId> = named.get().as_slice().iter().copied().filter(|other| *other != read).collect();
        match left.as_slice() {
            [] => drop(named.remove()),
            [only] => drop(named.insert(Named::One(*only))),
            _ => drop(named.insert(Named::Several(left))),
        }
    }

    /// Another question is right for the key of `read`, or the same one after all.
    pub(in crate::source::redis) fn learn(&mut self, read: ReadId, question: Question) {
        if let Some(Some(ask)) = self.asks.get_mut(read.index()) {
            ask.question = question;
        }
        self.learnt += 1;
    }

    /// The key of `read`, and how it is asked.
    pub(in crate::source::redis) fn get(&self, read: ReadId) -> Option<(&str, Question)> {
        let ask = self.asks.get(read.index())?.as_ref()?;
        Some((&ask.key, ask.question))
    }

    pub(super) fn learnt(&self) -> u64 {
        self.learnt
    }

    pub(super) fn new_connection(&mut self) -> ConnectionId {
        self.connections = self.connections.checked_add(1).unwrap_or(1);
        ConnectionId(self.connections)
    }

    // === what rounds find ===

    /// `read` found so many items. `may_rest`: it may become idle.
    #[inline]
    pub(super) fn found(&mut self, read: ReadId, items: u64, now: Beat, may_rest: bool) {
        let Some(state) = self.states.get_mut(read.index()) else { return };
        if items == 0 {
            nothing(state, now, may_rest);
        } else if state.since != 0 {
            state.wake(now);
        } else {
            state.seen = now.0;
        }
    }

    /// One `EXISTS` has asked about the key of `read` and others like it, and armed it on that connection, if on any;
    /// otherwise it stays armed as it was.
    pub(super) fn asked_about(&mut self, read: ReadId, now: Beat, armed_by: Option<ConnectionId>) {
        if let Some(state) = self.states.get_mut(read.index())
            && state.idle
        {
            state.seen = now.0;
            state.armed_by = armed_by.unwrap_or(state.armed_by);
        }
    }

    /// The key of `read` is there and yet counts nothing: for a long time it need not be tried again whether it rests.
    pub(super) fn exists(&mut self, read: ReadId, now: Beat) {
        if let Some(state) = self.states.get_mut(read.index()) {
            state.wake(now);
            state.level = LEVELS;
        }
    }

    /// `read` is at work, or has to be taken for it.
    pub(super) fn wake(&mut self, read: ReadId, now: Beat) {
        if let Some(state) = self.states.get_mut(read.index()) {
            state.wake(now);
        }
    }

    pub(super) fn is_idle(&self, read: ReadId) -> bool {
        self.states.get(read.index()).is_some_and(|state| state.idle)
    }

    /// Whether it is idle and armed on that connection: then it is known to hold nothing.
    pub(super) fn is_armed(&self, read: ReadId, connection: ConnectionId) -> bool {
        self.states.get(read.index()).is_some_and(|state| state.idle && state.armed_by == connection)
    }

    /// Beats since the server last told something about it.
    pub(super) fn age(&self, read: ReadId, now: Beat) -> u32 {
        self.states.get(read.index()).map_or(u32::MAX, |state| now.since(Beat(state.seen)))
    }

    /// As if nobody had ever rested too short.
    #[cfg(test)]
    pub(super) fn forgetful(mut self) -> Self {
        self.states.iter_mut().for_each(|state| state.level = 0);
        self
    }

    // === what the server tells by itself ===

    /// The key has changed: its reads that were armed are woken, and pushed to `woken`.
    pub(super) fn changed(&mut self, key: &[u8], connection: ConnectionId, now: Beat, woken: &mut Vec<ReadId>) {
        let Some(reads) = std::str::from_utf8(key).ok().and_then(|key| self.named.get(key)) else { return };
        for read in reads.as_slice() {
            if let Some(state) = self.states.get_mut(read.index())
                && state.idle
                && state.armed_by == connection
            {
                state.wake(now);
                woken.push(*read);
            }
        }
    }

    /// Nothing is armed on that connection any more: everything that was is pushed to `woken`, idle as before.
    pub(super) fn disarm_all(&mut self, connection: ConnectionId, woken: &mut Vec<ReadId>) {
        for (index, state) in self.states.iter_mut().enumerate() {
            if state.idle && state.armed_by == connection {
                state.armed_by = ConnectionId::default();
                woken.push(ReadId(u32::try_from(index).unwrap_or(u32::MAX)));
            }
        }
    }
}

fn nothing(state: &mut State, now: Beat, may_rest: bool) {
    let unheard = now.since(Beat(state.seen));
    // Whoever is asked more seldom than its patience is idle the first time that it finds nothing after something.
    let heard = state.seen != 0;
    state.seen = now.0;
    if state.since == 0 {
        state.since = now.0;
        state.idle = may_rest && heard && unheard >= state.patience();
    } else if !state.idle {
        state.idle = may_rest && now.since(Beat(state.since)) >= state.patience();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Count;

    const LLEN: Question = Question::Known(Count::List);
    const HLEN: Question = Question::Known(Count::Hash);
    const SCARD: Question = Question::Known(Count::Set);

    const READ: ReadId = ReadId(0);

    fn reads() -> Reads {
        let mut reads = Reads::default();
        reads.insert(READ, "jobs".into(), LLEN);
        reads
    }

    fn at(seconds: f64) -> Beat {
        Beat::at(Tick::from_millis(1_000_000).after(Duration::from_secs_f64(seconds)))
    }

    #[test]
    fn who_finds_nothing_for_a_while_is_idle() {
        let mut reads = reads();
        for tenth in 0..10 {
            reads.found(READ, 0, at(f64::from(tenth) / 10.0), true);
            assert!(!reads.is_idle(READ));
        }
        reads.found(READ, 1, at(1.0), true);
        reads.found(READ, 0, at(1.1), true);
        reads.found(READ, 0, at(2.0), true);
        assert!(!reads.is_idle(READ));
        reads.found(READ, 0, at(2.2), false);
        assert!(!reads.is_idle(READ), "where resting is not possible");
        reads.found(READ, 0, at(2.3), true);
        assert!(reads.is_idle(READ));
        reads.found(READ, 3, at(2.4), true);
        assert!(!reads.is_idle(READ));
    }

    #[test]
    fn who_is_asked_seldom_is_idle_at_once() {
        let mut reads = reads();
        reads.found(READ, 0, at(0.0), true);
        assert!(!reads.is_idle(READ), "nobody knows for how long");
        reads.found(READ, 1, at(5.0), true);
        reads.found(READ, 0, at(10.0), true);
        assert!(reads.is_idle(READ));
    }

    #[test]
    fn short_rests_make_the_next_one_harder_and_long_ones_easier() {
        let mut reads = reads();
        let mut now = 0.0;
        let until_idle = |reads: &mut Reads, now: &mut f64| {
            let began = *now;
            while !reads.is_idle(READ) {
                reads.found(READ, 0, at(*now), true);
                *now += 0.1;
            }
            *now - began
        };
        let mut waits = Vec::new();
        for _ in 0..9 {
            // A beat is not a sixtieth of a second.
            waits.push((until_idle(&mut reads, &mut now) * 1.01).round());
            reads.found(READ, 1, at(now), true);
            now += 0.1;
        }
        assert_eq!(waits, [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 64.0, 64.0]);
        let wait = until_idle(&mut reads, &mut now);
        now += 17.0 * wait;
        reads.found(READ, 1, at(now), true);
        assert_eq!((until_idle(&mut reads, &mut now) * 1.01).round(), 32.0);
    }

    #[test]
    fn a_change_wakes_what_is_armed_on_its_connection() {
        let mut reads = reads();
        reads.insert(ReadId(1), "jobs".into(), LLEN);
        reads.insert(ReadId(2), "other".into(), LLEN);
        let (one, another) = (reads.new_connection(), reads.new_connection());
        for read in [READ, ReadId(1), ReadId(2)] {
            reads.found(read, 0, at(0.0), true);
            reads.found(read, 0, at(2.0), true);
            reads.asked_about(read, at(2.0), Some(one));
            assert!(reads.is_armed(read, one) && !reads.is_armed(read, another));
        }
        let mut woken = Vec::new();
        reads.changed(b"jobs", another, at(3.0), &mut woken);
        reads.changed(b"nobody's", one, at(3.0), &mut woken);
        reads.changed(b"\xff", one, at(3.0), &mut woken);
        assert_eq!(woken, []);
        reads.changed(b"jobs", one, at(3.0), &mut woken);
        assert_eq!(woken, [READ, ReadId(1)]);
        assert!(!reads.is_idle(READ) && reads.is_idle(ReadId(2)));
        reads.changed(b"jobs", one, at(3.0), &mut woken);
        assert_eq!(woken.len(), 2);
        reads.disarm_all(one, &mut woken);
        assert_eq!(woken, [READ, ReadId(1), ReadId(2)]);
        assert!(reads.is_idle(ReadId(2)) && !reads.is_armed(ReadId(2), one));
    }

    #[test]
    fn reads_of_one_key_come_and_go() {
        let mut reads = reads();
        reads.insert(ReadId(4), "jobs".into(), HLEN);
        reads.insert(ReadId(2), "jobs".into(), LLEN);
        reads.remove(READ);
        assert_eq!(reads.get(READ), None);
        assert_eq!(reads.get(ReadId(4)), Some(("jobs", HLEN)));
        reads.remove(ReadId(4));
        reads.remove(ReadId(4));
        assert_eq!(reads.named.get("jobs").unwrap().as_slice(), [ReadId(2)]);
        reads.learn(ReadId(2), SCARD);
        assert_eq!(reads.get(ReadId(2)), Some(("jobs", SCARD)));
        reads.remove(ReadId(2));
        assert!(reads.named.is_empty());
    }

    #[test]
    fn beats_wrap_around() {
        assert_eq!(Beat(2).since(Beat(u32::MAX)), 3);
        assert_eq!(Beat::span(Duration::MAX), u32::MAX);
        assert_eq!(Beat::at(Tick::ZERO).0, 1);
    }
}
