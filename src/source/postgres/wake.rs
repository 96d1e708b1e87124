//! Wake-ups: what the database tells by itself (`NOTIFY`), so that new work is read at once and not at the next moment of
//! a schedule.
//!
//! A notification is a hint and no number: its payload is not looked at. A store that notifies for every event would have
//! its projections read as often as it writes, so a channel is heard at most so often ([`REST`]): the first word at once,
//! whatever follows as one when it has rested. Whoever drives the connection only notes which channels have spoken,
//! so a flood costs no memory.

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Sleep, sleep};

use crate::model::ReadFailure;

/// Between two wake-ups by one channel. Twenty readings a second cost a database some two thousandths of a core, and a
/// word that waits this long is still no later than fast polling would have been.
pub(super) const REST: Duration = Duration::from_millis(50);

/// What whoever drives a connection has heard.
#[derive(Default)]
pub(super) struct Told {
    heard: Mutex<Heard>,
    news: Notify,
}

#[derive(Default)]
struct Heard {
    channels: BTreeSet<Box<str>>,
    ended: Option<ReadFailure>,
}

impl Told {
    pub(super) fn spoke(&self, channel: &str) {
        let mut heard = self.lock();
        if !heard.channels.contains(channel) {
            heard.channels.insert(channel.into());
            self.news.notify_one();
        }
    }

    /// The connection is over, and why.
    pub(super) fn end(&self, why: ReadFailure) {
        self.lock().ended = Some(why);
        self.news.notify_one();
    }

    pub(super) fn ended(&self) -> Option<ReadFailure> {
        self.lock().ended.clone()
    }

    /// Whoever panicked while holding the lock left whole values behind.
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The channels that a connection listens on.
#[derive(Default)]
pub(super) struct Channels(BTreeMap<Arc<str>, Option<Pin<Box<Sleep>>>>);

impl Channels {
    pub(super) fn contains(&self, channel: &str) -> bool {
        self.0.contains_key(channel)
    }

    pub(super) fn insert(&mut self, channel: &Arc<str>) {
        self.0.insert(Arc::clone(channel), None);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(AsRef::as_ref)
    }

    /// Takes out one that is not among `wanted`, if there is any.
    pub(super) fn take_other_than(&mut self, wanted: impl Fn(&str) -> bool) -> Option<Arc<str>> {
        let unwanted = self.0.keys().find(|channel| !wanted(channel)).cloned()?;
        self.0.remove(&unwanted);
        Some(unwanted)
    }

    /// Waits for channels to speak that have rested, or for the end of the connection. May be dropped and called again:
    /// what was heard stays heard until it is returned.
    pub(super) async fn woken(&mut self, told: &Told) -> Result<Vec<Arc<str>>, ReadFailure> {
        let mut news = pin!(told.news.notified());
        poll_fn(|cx| {
            while news.as_mut().poll(cx).is_ready() {
                news.set(told.news.notified());
            }
            if let Some(failure) = told.ended() {
                return Poll::Ready(Err(failure));
            }
            let woken = self.take_rested(told, cx);
            if woken.is_empty() { Poll::Pending } else { Poll::Ready(Ok(woken)) }
        })
        .await
    }

    fn take_rested(&mut self, told: &Told, cx: &mut Context<'_>) -> Vec<Arc<str>> {
        let mut woken = Vec::new();
        told.lock().channels.retain(|channel| {
            // One that was given up while its last words were on their way.
            let name = self.0.get_key_value(&**channel).map(|(name, _)| Arc::clone(name));
            let Some((name, rest)) = name.and_then(|name| Some((Arc::clone(&name), self.0.get_mut(&name)?))) else {
                return false;
            };
            if rest.as_mut().is_some_and(|rest| rest.as_mut().poll(cx).is_pending()) {
                return true;
            }
            *rest = Some(Box::pin(sleep(REST)));
            woken.push(name);
            false
        });
        woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FailureKind;

    async fn soon(channels: &mut Channels, told: &Told) -> Option<Vec<Arc<str>>> {
        let woken = tokio::time::timeout(Duration::from_millis(1), channels.woken(told)).await;
        woken.ok().map(Result::unwrap)
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_word_wakes_at_once_and_a_flood_once_a_rest() {
        let (told, mut channels) = (Told::default(), Channels::default());
        channels.insert(&"a".into());
        channels.insert(&"b".into());
        assert_eq!(soon(&mut channels, &told).await, None);
        told.spoke("a");
        told.spoke("nobody's");
        assert_eq!(soon(&mut channels, &told).await, Some(vec!["a".into()]));
        for _ in 0..1000 {
            told.spoke("a");
        }
        assert_eq!(soon(&mut channels, &told).await, None, "it rests");
        told.spoke("b");
        assert_eq!(soon(&mut channels, &told).await, Some(vec!["b".into()]), "and the other does not");
        let woken = tokio::time::timeout(REST, channels.woken(&told)).await.unwrap().unwrap();
        assert_eq!(woken, [Arc::from("a")]);
        assert_eq!(soon(&mut channels, &told).await, None, "a thousand words, once");
        sleep(REST).await;
        told.spoke("a");
        assert_eq!(soon(&mut channels, &told).await, Some(vec!["a".into()]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_is_told_however_often_one_asks() {
        let (told, mut channels) = (Told::default(), Channels::default());
        told.end(ReadFailure::new(FailureKind::NotServing, "gone"));
        for _ in 0..2 {
            assert_eq!(channels.woken(&told).await.unwrap_err().kind, FailureKind::NotServing);
        }
    }
}
