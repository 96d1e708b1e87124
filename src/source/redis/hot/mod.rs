//! The hot path: the numbers of ten thousand keys of one server in one round, at what the server itself costs.
//!
//! The `redis` crate packs and parses well, but every reply is a value of its own, handed through a channel: four times
//! the CPU of a socket that is sent a prepared request and read into a slice of numbers, and this is that socket. What
//! it does not understand (errors, texts) it hands back reply by reply, as an [`Oddity`], to whoever has the patience.
//!
//! A [`Node`] is one connection to one server and knows nothing of clusters: who asks where is for its owner to say,
//! who gives each node a [`Part`] of the batch. What is known about the reads themselves is in [`Reads`], whichever
//! node is asked.
//!
//! ```text
//!                    chunks of commands (450, 16 KiB)      first trip ──► numbers ──► values
//!  Reads ──► Part ──►                                                └──► oddities ──► the owner
//!                    groups of idle keys (EXISTS)     0: all are empty
//!                                                    >0: second trip, one by one
//!  pushes (keys that changed) ──► Reads ──► woken ──► the poller
//! ```
//!
//! # What a round costs
//!
//! A chunk is sent when the one before it has been answered, so that other clients are served in between. Where that
//! takes too long (a server far away) more of them are on their way at a time, and in rounds of tens of thousands two
//! (`round`).
//! Nothing is allocated for a sample; a handful of things may be for a round.
//!
//! Idle queues are not asked one by one (`reads`). An armed one costs nothing at all but its turn in the probes.
//! **Why the answer "empty" of an armed read is as good as any**: the server puts the news that a key has changed into
//! our connection before it answers any later command of ours. A round sends at least one command and waits for its
//! reply; had an armed key been touched before that, we would have read so by now. Who is found out to have changed is
//! asked in the second trip of the same round.
//!
//! # What the server may do to us
//!
//! It may refuse `EXISTS` (then nobody rests), or `CLIENT TRACKING` (then groups are asked every round); the owner says
//! so once, see [`Node::grievance`]. It may send what it likes: `wire` has the bounds. A connection that was left in
//! the middle of a round is not used again.

mod hello;
mod line;
mod part;
mod reads;
mod request;
mod round;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

pub(super) use self::hello::Login;
pub(super) use self::line::Socket;
use self::line::{Broken, Line};
pub(super) use self::part::Part;
use self::part::Terms;
pub(super) use self::reads::Reads;
use self::reads::{Beat, ConnectionId};
use self::round::lock;
pub(super) use self::round::{Round, Shared};
use self::wire::{Malformed, Push};
use crate::model::{FailureKind, ReadFailure, Tick};
use crate::source::{Load, Moment, ReadId};

/// Idle keys in one `EXISTS`. The server needs 20 microseconds for them, and other clients wait no longer than that; of
/// larger groups too many would have to be asked one by one for the one that has woken up.
pub(super) const GROUP: usize = 100;

/// A reply that is no number, and whose it is.
#[derive(Debug)]
pub(super) struct Oddity {
    pub(super) position: usize,
    pub(super) read: ReadId,
    pub(super) reply: Value,
}

/// What a server does not grant, in its own words.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Complaints {
    /// Why it does not tell of changes.
    tracking: Option<String>,
    /// Why idle keys cannot be asked about together.
    exists: Option<String>,
}

/// One connection to one server.
pub(super) struct Node {
    line: Line,
    address: Arc<str>,
    /// How long one answer may take.
    bound: Duration,
    ear: Ear,
    /// Replies may be due that nobody would expect.
    midway: bool,
    /// Chunks on their way at a time.
    window: usize,
    commands: u64,
    /// Room for what is sent together.
    out: Vec<u8>,
}

/// What a server has said besides its answers.
struct Ear {
    terms: Terms,
    complaints: Complaints,
    /// Reads whose keys have changed, not yet handed to the poller.
    woken: Vec<ReadId>,
    /// When the last round began: near enough for telling short rests from long ones.
    now: Beat,
}

impl Node {
    /// Logs in over `socket`. `group`: so many idle keys may be asked about with one command; one where keys of a
    /// command have to be of one slot.
    ///
    /// # Errors
    /// The server does not let us in, or is none.
    pub(super) async fn open(
        socket: Box<dyn Socket>,
        login: &Login<'_>,
        group: usize,
        bound: Duration,
    ) -> Result<Node, ReadFailure> {
        let mut line = Line::new(socket);
        let agreed = hello::shake_hands(&mut line, login).await?;
        let tracked = agreed.tracking.is_ok();
        let terms = Terms { connection: ConnectionId::default(), tracked, group: Terms::group(group, tracked) };
        let complaints = Complaints { tracking: agreed.tracking.err(), exists: None };
        let ear = Ear { terms, complaints, woken: Vec::new(), now: Beat::at(Tick::ZERO) };
        let address = login.address.into();
        Ok(Node { line, address, bound, ear, midway: false, window: 1, commands: 0, out: Vec::new() })
    }

    /// What this connection has cost its server since the last call.
    pub(super) fn take_load(&mut self) -> Load {
        let (sent, received) = self.line.take_traffic();
        Load { commands: std::mem::take(&mut self.commands), sent, received }
    }

    /// What the server does not grant, what that costs, and the cure.
    pub(super) fn grievance(&self) -> Option<String> {
        let address = &self.address;
        let Complaints { tracking, exists } = &self.ear.complaints;
        if let Some(words) = exists {
            return Some(format!(
                "{address} does not let idle queues be asked about together ({words}): each is asked in every round, and \
                 none is told of; grant `+exists`"
            ));
        }
        let words = tracking.as_ref()?;
        Some(format!(
            "{address} does not tell of changes ({words}): idle queues are asked about in every round, and the first item \
             is seen at its next moment; it takes Redis 6, and `+client|tracking +client|caching`"
        ))
    }

    /// Asks for all reads of `part`: numbers go to their positions, and what is no number stays in the part, see
    /// [`Part::take_oddities`].
    ///
    /// # Errors
    /// The server as a whole could not be asked, and this connection must not be used again.
    pub(super) async fn round(&mut self, part: &mut Part, at: Moment, round: &Shared<'_>) -> Result<(), ReadFailure> {
        self.enter(lock(round).reads)?;
        self.ear.now = Beat::at(at.tick);
        part.begin(lock(round).reads, &self.ear.terms, self.ear.now, at.unix_millis);
        let done = self.trips(part, at.unix_millis, round).await;
        self.leave(done)
    }

    async fn trips(&mut self, part: &mut Part, unix_millis: u64, round: &Shared<'_>) -> Result<(), Broken> {
        self.trip(part, round).await?;
        {
            let Round { reads, values } = &mut *lock(round);
            part.settle(reads, &self.ear.terms, unix_millis, values);
        }
        if part.segments.is_empty() { Ok(()) } else { self.trip(part, round).await }
    }

    /// Waits until something has come between two rounds, for [`Node::hear`]. Nothing is lost when it is dropped while
    /// it waits.
    ///
    /// # Errors
    /// The connection has ended.
    pub(super) async fn wait(&mut self) -> Result<(), ReadFailure> {
        let filled = self.line.fill().await;
        filled.map_err(|broken| broken.failure(&self.address))
    }

    /// Appends the idle reads of which the server has said by itself that they have changed.
    ///
    /// # Errors
    /// Something has come that nobody had asked for: this connection must not be used again.
    pub(super) fn hear(&mut self, reads: &mut Reads, woken: &mut Vec<ReadId>) -> Result<(), ReadFailure> {
        self.enter(reads)?;
        let heard = self.listen(reads);
        woken.append(&mut self.ear.woken);
        self.leave(heard)
    }

    /// Takes the pushes that have come.
    fn listen(&mut self, reads: &mut Reads) -> Result<(), Broken> {
        while let Some(frame) = self.line.frame()? {
            match frame.first() {
                Some(b'>') => self.ear.hear(frame, reads),
                _ => return Err(Malformed("a reply that nothing had asked for").into()),
            }
        }
        Ok(())
    }

    fn enter(&mut self, reads: &mut Reads) -> Result<(), ReadFailure> {
        if self.ear.terms.connection == ConnectionId::default() {
            self.ear.terms.connection = reads.new_connection();
        }
        if std::mem::replace(&mut self.midway, true) {
            let sentence = format!("{}: a round was given up, and its connection with it", self.address);
            return Err(ReadFailure::new(FailureKind::Unreachable, sentence));
        }
        Ok(())
    }

    fn leave<T>(&mut self, done: Result<T, Broken>) -> Result<T, ReadFailure> {
        self.midway = done.is_err();
        done.map_err(|broken| broken.failure(&self.address))
    }
}

impl Ear {
    /// Takes a push.
    fn hear(&mut self, push: &[u8], reads: &mut Reads) {
        let Ear { terms, woken, now, .. } = self;
        let push = wire::push(push, |key| reads.changed(key, terms.connection, *now, woken));
        if push == Push::Everything {
            self.disarm(reads);
        }
    }

    /// Nothing is known any more but what is asked from now on.
    fn disarm(&mut self, reads: &mut Reads) {
        reads.disarm_all(self.terms.connection, &mut self.woken);
        self.terms.connection = reads.new_connection();
    }

    /// The server takes back that it tells of changes.
    fn untracked(&mut self, reads: &mut Reads, words: String) {
        self.complaints.tracking = Some(words);
        self.terms.tracked = false;
        self.terms.group = self.terms.group.and_then(|group| Terms::group(group, false));
        let before = self.woken.len();
        self.disarm(reads);
        // They are none that have changed.
        self.woken.truncate(before);
    }
}
