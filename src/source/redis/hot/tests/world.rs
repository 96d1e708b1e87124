//! A Redis of a few commands inside the test, that changes between any two of them and remembers what was true when.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Small numbers in no order, the same for the same seed.
pub(super) struct Luck(u64);

impl Luck {
    pub(super) fn new(seed: u64) -> Self {
        Luck(seed | 1)
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// What a key holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum Held {
    #[default]
    Nothing,
    List(u64),
    /// Scores, in milliseconds.
    Due(Vec<f64>),
    Text,
}

#[derive(Default)]
pub(super) struct World {
    keys: BTreeMap<String, Held>,
    /// What each key held from which step on.
    history: BTreeMap<String, Vec<(u64, Held)>>,
    pub(super) step: u64,
    tracking: bool,
    caching: bool,
    tracked: HashSet<String>,
    input: Vec<u8>,
    output: VecDeque<u8>,
    luck: Option<Luck>,
    /// One key in so many commands changes just before one; never if zero.
    pub(super) restless: u64,
    /// Names of commands that are denied.
    pub(super) denied: Vec<&'static str>,
    /// It says nothing.
    pub(super) frozen: bool,
    pub(super) calls: BTreeMap<String, u64>,
    /// Bytes of replies that nobody had read yet, at most.
    pub(super) unread: usize,
}

/// One end of it.
#[derive(Clone, Default)]
pub(super) struct Fake(Arc<Mutex<World>>);

impl Fake {
    pub(super) fn new(seed: u64) -> Self {
        let fake = Fake::default();
        fake.world().luck = Some(Luck::new(seed));
        fake
    }

    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }
}

impl World {
    pub(super) fn set(&mut self, key: &str, held: Held) {
        self.step += 1;
        self.history.entry(key.to_owned()).or_default().push((self.step, held.clone()));
        self.keys.insert(key.to_owned(), held);
        if self.tracked.remove(key) {
            self.say(&format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len()));
        }
    }

    pub(super) fn get(&self, key: &str) -> Held {
        self.keys.get(key).cloned().unwrap_or_default()
    }

    /// Everything that `key` held from `step` until now.
    pub(super) fn held_since(&self, key: &str, step: u64) -> Vec<Held> {
        let Some(history) = self.history.get(key) else { return vec![Held::Nothing] };
        let before = history.iter().rev().find(|(at, _)| *at <= step).map_or(Held::Nothing, |(_, held)| held.clone());
        let since = history.iter().filter(|(at, _)| *at > step).map(|(_, held)| held.clone());
        std::iter::once(before).chain(since).collect()
    }

    pub(super) fn flush(&mut self) {
        let keys: Vec<String> = self.keys.keys().cloned().collect();
        self.tracked.clear();
        for key in keys {
            self.set(&key, Held::Nothing);
        }
        if self.tracking {
            self.say(">2\r\n$10\r\ninvalidate\r\n_\r\n");
        }
    }

    /// Forgets that somebody is to be told of a key, as a full table does: with the news that it has changed.
    pub(super) fn evict(&mut self, key: &str) {
        if self.tracked.remove(key) {
            self.say(&format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n{key}\r\n", key.len()));
        }
    }

    pub(super) fn say(&mut self, text: &str) {
        self.output.extend(text.as_bytes());
    }

    fn disturb(&mut self) {
        let Some(mut luck) = self.luck.take() else { return };
        if self.restless > 0 && luck.once_in(self.restless) && !self.keys.is_empty() {
            let position = luck.below(self.keys.len() as u64) as usize;
            let (key, held) = self.keys.iter().nth(position).map(|(key, held)| (key.clone(), held.clone())).unwrap();
            let other = match held {
                Held::Nothing if key.starts_with('z') => Held::Due(vec![1e9 + luck.below(2_000_000) as f64]),
                Held::Nothing => Held::List(1 + luck.below(5)),
                _ => Held::Nothing,
            };
            self.set(&key, other);
        }
        self.luck = Some(luck);
    }

    fn run(&mut self, words: &[String]) {
        self.disturb();
        self.step += 1;
        let word = |at: usize| words.get(at).map_or("", String::as_str);
        let name = word(0).to_owned();
        *self.calls.entry(name.clone()).or_default() += 1;
        let caching = std::mem::take(&mut self.caching);
        if self.denied.contains(&name.as_str()) || self.denied.contains(&word(1)) {
            let text = format!("-NOPERM this user has no permissions to run the '{name}' command\r\n");
            self.say(&text);
            return;
        }
        match name.as_str() {
            "HELLO" => self.say("%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"),
            "CLIENT" => {
                self.tracking |= word(1) == "TRACKING" && word(2) == "ON";
                self.caching = word(1) == "CACHING";
                self.say("+OK\r\n");
            }
            "EXISTS" => {
                let keys = words.get(1..).unwrap_or_default();
                if self.tracking && caching {
                    self.tracked.extend(keys.iter().cloned());
                }
                let count = keys.iter().filter(|key| self.get(key) != Held::Nothing).count();
                self.say(&format!(":{count}\r\n"));
            }
            "LLEN" => match self.get(word(1)) {
                Held::Nothing => self.say(":0\r\n"),
                Held::List(items) => self.say(&format!(":{items}\r\n")),
                Held::Due(_) | Held::Text => self.say("-WRONGTYPE not a list\r\n"),
            },
            "ZCOUNT" => {
                let bound = |text: &str| text.parse::<f64>().unwrap();
                match self.get(word(1)) {
                    Held::Nothing => self.say(":0\r\n"),
                    Held::Due(scores) => {
                        let range = bound(word(2))..=bound(word(3));
                        let count = scores.iter().filter(|score| range.contains(score)).count();
                        self.say(&format!(":{count}\r\n"));
                    }
                    Held::List(_) | Held::Text => self.say("-WRONGTYPE not a sorted set\r\n"),
                }
            }
            "TYPE" => self.say("+string\r\n"),
            other => panic!("{other} is not known here"),
        }
    }

    fn take_commands(&mut self) {
        while let Some((words, length)) = parse(&self.input) {
            self.input.drain(..length);
            self.run(&words);
        }
    }
}

/// The first command of `bytes`, if it is all there.
fn parse(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let line = |from: usize| {
        let end = from + bytes.get(from..)?.iter().position(|byte| *byte == b'\n')?;
        Some((String::from_utf8(bytes[from + 1..end - 1].to_vec()).unwrap().parse::<usize>().unwrap(), end + 1))
    };
    let (count, mut at) = line(0)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (length, begin) = line(at)?;
        words.push(String::from_utf8(bytes.get(begin..begin + length)?.to_vec()).unwrap());
        at = begin + length + 2;
    }
    (at <= bytes.len()).then_some((words, at))
}

impl AsyncRead for Fake {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut world = self.world();
        if world.output.is_empty() || world.frozen {
            return Poll::Pending;
        }
        let most = world.output.len().min(into.remaining()) as u64;
        let count = world.luck.as_mut().map_or(most, |luck| 1 + luck.below(most)) as usize;
        let bytes: Vec<u8> = world.output.drain(..count).collect();
        into.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Fake {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut world = self.world();
        let most = bytes.len() as u64;
        let count = world.luck.as_mut().map_or(most, |luck| 1 + luck.below(most)) as usize;
        world.input.extend_from_slice(&bytes[..count]);
        world.take_commands();
        world.unread = world.unread.max(world.output.len());
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
