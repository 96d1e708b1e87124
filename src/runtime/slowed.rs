//! Who is read more seldom than the spec says, because its namespace is held back, and from when on no more.
//!
//! A value may be older as soon as reads become rarer. When they become frequent again, it may be as old until it has
//! been replaced, one of the old intervals later: whoever was held back must not look stale for having been released.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::model::{Key, Shares, Tick, stretched};

#[derive(Default)]
pub(super) struct Slowed {
    /// As last looked at.
    shares: Arc<Shares>,
    keys: HashMap<Key, Slow>,
    /// Those that wait for being quicker again.
    waiting: BTreeSet<(Tick, Key)>,
}

struct Slow {
    /// At which values may come.
    interval: Duration,
    /// It is less by now; what was read before is replaced by then.
    until: Option<Tick>,
}

impl Slowed {
    /// Takes over the shares of now; `true` if these are others than before.
    pub(super) fn follow(&mut self, shares: Arc<Shares>) -> bool {
        let changed = !Arc::ptr_eq(&self.shares, &shares);
        self.shares = shares;
        changed
    }

    /// The pace of `key` from now on, if it is another than before; within, `None` is that of its spec.
    pub(super) fn pace(
        &mut self,
        key: Key,
        namespace: &str,
        interval: Duration,
        now: Tick,
    ) -> Option<Option<Duration>> {
        let share = self.shares.get(namespace).filter(|share| share.is_held_back());
        let wanted = share.map(|share| stretched(interval, share.stretch));
        let Some(slow) = self.keys.get_mut(&key) else {
            let interval = wanted?;
            self.keys.insert(key, Slow { interval, until: None });
            return Some(wanted);
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted >= slow.interval) {
            if let Some(until) = slow.until.take() {
                self.waiting.remove(&(until, key));
            }
            let before = std::mem::replace(&mut slow.interval, wanted);
            return (before != wanted).then_some(Some(wanted));
        }
        let until = *slow.until.get_or_insert_with(|| now.after(slow.interval));
        if now < until {
            self.waiting.insert((until, key));
            return None;
        }
        self.waiting.remove(&(until, key));
        match wanted {
            Some(interval) => *slow = Slow { interval, until: None },
            None => drop(self.keys.remove(&key)),
        }
        Some(wanted)
    }

    /// Whose pace is to be looked at again now.
    pub(super) fn due(&self, now: Tick) -> Vec<Key> {
        self.waiting.iter().take_while(|(until, _)| *until <= now).map(|(_, key)| *key).collect()
    }

    pub(super) fn forget(&mut self, key: Key) {
        if let Some(Slow { until: Some(until), .. }) = self.keys.remove(&key) {
            self.waiting.remove(&(until, key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Share;

    const SECOND: Duration = Duration::from_secs(1);

    fn shares(stretch: f64) -> Arc<Shares> {
        Arc::new([("hog".into(), Share { demand: stretch, allowed: 1.0, stretch })].into())
    }

    #[test]
    fn slower_at_once_and_quicker_when_the_old_values_are_replaced() {
        let mut slowed = Slowed::default();
        let key = Key(3);
        let at = |seconds: u64| Tick::from_millis(1_000 * seconds);
        assert_eq!(slowed.pace(key, "hog", SECOND, at(0)), None);
        assert!(slowed.follow(shares(4.0)));
        assert_eq!(slowed.pace(key, "hog", SECOND, at(0)), Some(Some(4 * SECOND)));
        assert_eq!(slowed.pace(key, "hog", SECOND, at(0)), None);
        slowed.follow(shares(8.0));
        assert_eq!(slowed.pace(key, "hog", SECOND, at(10)), Some(Some(8 * SECOND)));

        slowed.follow(shares(1.0));
        assert_eq!(slowed.pace(key, "hog", SECOND, at(20)), None);
        assert_eq!(slowed.due(at(27)), []);
        assert_eq!(slowed.due(at(28)), [key]);
        assert_eq!(slowed.pace(key, "hog", SECOND, at(28)), Some(None));
        assert_eq!((slowed.due(at(100)), slowed.keys.len()), (vec![], 0));
    }

    #[test]
    fn held_back_again_before_it_was_released() {
        let mut slowed = Slowed::default();
        let key = Key(0);
        slowed.follow(shares(4.0));
        slowed.pace(key, "hog", SECOND, Tick::ZERO);
        slowed.follow(shares(1.0));
        slowed.pace(key, "hog", SECOND, Tick::ZERO);
        slowed.follow(shares(4.0));
        assert_eq!(slowed.pace(key, "hog", SECOND, Tick::from_millis(1)), None);
        assert_eq!(slowed.due(Tick::NEVER), []);
        slowed.forget(key);
        assert_eq!(slowed.pace(key, "hog", SECOND, Tick::from_millis(2)), Some(Some(4 * SECOND)));
    }
}
