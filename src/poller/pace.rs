//! The pace of each namespace: what the budget allows, who is told of it, and when it is worked out anew.
//!
//! Changes come in bursts (a reload of ten thousand, KEDA's calls at a start). The budget is worked out once for each
//! burst, and not more often than every [`SETTLE`]; whoever comes in between has the pace of its namespace as it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::budget::{Budget, Rate, rate};
use crate::model::{Key, Share, Shares, Tick};
use crate::spec::AutoscalerSpec;
use crate::spec::limits::Limits;
use crate::telemetry::hush::Hush;

/// Working the budget out for ten thousand namespaces, and moving ten thousand autoscalers, are some milliseconds: a
/// tenant who changes something all the time shall not cost more than a few percent of the thread.
const SETTLE: Duration = Duration::from_millis(200);

pub(super) struct Paces {
    budget: Budget,
    /// What each autoscaler adds to the demand of its namespace.
    members: HashMap<Key, (Arc<str>, Rate)>,
    /// Where others see it.
    published: Arc<ArcSwap<Shares>>,
    shares: Arc<Shares>,
    settled: Tick,
    /// Something has changed since.
    dirty: bool,
    hush: Hush,
}

impl Paces {
    pub(super) fn new(limits: &Limits, published: Arc<ArcSwap<Shares>>) -> Self {
        Paces {
            budget: Budget::new(limits),
            members: HashMap::new(),
            published,
            shares: Arc::default(),
            settled: Tick::ZERO,
            dirty: false,
            hush: Hush::default(),
        }
    }

    /// `key` is this autoscaler from now on, with so many reads in each of its polling intervals.
    pub(super) fn set(&mut self, key: Key, spec: &AutoscalerSpec, reads: usize) {
        self.removed(key);
        let rate = rate(reads, spec.polling_interval);
        self.budget.add(&spec.id.namespace, rate);
        self.members.insert(key, (Arc::clone(&spec.id.namespace), rate));
    }

    pub(super) fn removed(&mut self, key: Key) {
        self.dirty = true;
        if let Some((namespace, rate)) = self.members.remove(&key) {
            self.budget.remove(&namespace, rate);
        }
    }

    /// The autoscalers of these namespaces.
    pub(super) fn of(&self, changed: &BTreeMap<Arc<str>, f64>) -> impl Iterator<Item = (Key, f64)> {
        self.members.iter().filter_map(|(key, (namespace, _))| Some((*key, *changed.get(namespace)?)))
    }

    /// By how much this namespace's polling intervals are stretched.
    pub(super) fn stretch(&self, namespace: &str) -> f64 {
        self.shares.get(namespace).map_or(1.0, |share| share.stretch)
    }

    /// When [`Paces::settle`] has something to do; [`Tick::NEVER`] if nothing changed.
    pub(super) fn next(&self) -> Tick {
        if self.dirty { self.settled.after(SETTLE) } else { Tick::NEVER }
    }

    /// Works the budget out if it is time to; returns the namespaces whose stretch is another now.
    pub(super) fn settle(&mut self, now: Tick) -> BTreeMap<Arc<str>, f64> {
        if !self.dirty || now < self.next() {
            return BTreeMap::new();
        }
        self.dirty = false;
        self.settled = now;
        let before = std::mem::replace(&mut self.shares, Arc::new(self.budget.shares()));
        // Before anybody is read more seldom it is known that values may be older.
        self.published.store(Arc::clone(&self.shares));
        let mut changed = BTreeMap::new();
        for (namespace, share) in &*Arc::clone(&self.shares) {
            let stretch = before.get(namespace).map_or(1.0, |share| share.stretch);
            if stretch != share.stretch {
                changed.insert(Arc::clone(namespace), share.stretch);
                self.tell(namespace, stretch > 1.0, *share, now);
            }
        }
        changed
    }

    /// Says who begins or ceases to be held back.
    fn tell(&mut self, namespace: &Arc<str>, was_held_back: bool, share: Share, now: Tick) {
        let Share { demand, allowed, stretch } = share;
        match (was_held_back, share.is_held_back()) {
            // Once a minute about each, for one that comes and goes all the time.
            (false, true) if self.hush.may_speak(namespace, now) => warn!(
                %namespace,
                demand,
                allowed,
                stretch,
                "held back: it asks for more reads a second than its share; its polling intervals are stretched \
                 (longer intervals, fewer keys, --max-reads-per-second-per-namespace, --max-reads-per-second)",
            ),
            (true, false) => info!(%namespace, demand, allowed, "not held back any more"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AutoscalerId;

    #[test]
    fn a_burst_is_settled_once_and_the_next_one_a_moment_later() {
        let limits = Limits { reads_per_second_per_namespace: 100, ..Limits::default() };
        let published = Arc::new(ArcSwap::default());
        let mut paces = Paces::new(&limits, Arc::clone(&published));
        let hog: Arc<str> = "hog".into();
        let spec = |namespace: &str| AutoscalerSpec {
            id: AutoscalerId::new(namespace, "jobs"),
            polling_interval: Duration::from_secs(1),
            ..crate::poller::tests::spec()
        };
        assert_eq!(paces.next(), Tick::NEVER);
        (0..50).for_each(|key| paces.set(Key(key), &spec("hog"), 10));
        paces.set(Key(50), &spec("other"), 10);
        // A key that is given to somebody else is counted once.
        paces.set(Key(51), &spec("hog"), 1_000);
        paces.set(Key(51), &spec("other"), 1);
        let start = Tick::from_millis(1_000);
        let changed = paces.settle(start);
        assert_eq!(paces.of(&changed).count(), 50);
        assert_eq!(changed.into_iter().collect::<Vec<_>>(), [(Arc::clone(&hog), 5.0)]);
        assert!(published.load().get(&hog).unwrap().is_held_back());
        assert_eq!(paces.next(), Tick::NEVER);

        (0..45).for_each(|key| paces.removed(Key(key)));
        assert!(paces.settle(start.after(SETTLE / 2)).is_empty());
        assert_eq!(paces.stretch(&hog), 5.0);
        assert_eq!(paces.next(), start.after(SETTLE));
        assert_eq!(paces.settle(paces.next()).len(), 1);
        assert_eq!((paces.stretch(&hog), paces.stretch("nobody")), (1.0, 1.0));
    }
}
