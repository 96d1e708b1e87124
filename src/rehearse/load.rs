//! Something to do and somebody to do it: producers that come in bursts, workers that are the ready replicas.
//!
//! Deterministic: the same seed gives the same bursts, so that a demo can be shown twice. The queue is whatever the
//! caller has; this room does not know where items are kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::model::Replicas;

/// Where items wait.
pub trait Queue: Send + Sync {
    /// Adds `items`.
    fn push(&self, items: u64);
    /// Takes at most `items` and says how many there were to take.
    fn pop(&self, items: u64) -> u64;
}

/// How often a worker without work looks for some: what a blocking pop would do, near enough for people to watch.
const LOOK: Duration = Duration::from_millis(20);

/// Bursts: how many items, and how long after the burst before. Both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bursts {
    pub seed: u64,
    pub smallest: u64,
    pub largest: u64,
    pub shortest_pause: Duration,
    pub longest_pause: Duration,
}

/// Made for people who watch for a minute or two: bursts that want several replicas, and pauses long enough for a
/// scaler with short windows to come back down.
impl Default for Bursts {
    fn default() -> Self {
        Bursts {
            seed: 1,
            smallest: 20,
            largest: 400,
            shortest_pause: Duration::from_secs(5),
            longest_pause: Duration::from_secs(20),
        }
    }
}

/// One burst: `items` arrive at once, `pause` after the burst before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Burst {
    pub pause: Duration,
    pub items: u64,
}

impl Bursts {
    /// The burst at position `index`, without those before it.
    #[must_use]
    pub fn at(&self, index: u64) -> Burst {
        let pause =
            between(draw(self.seed, index.wrapping_mul(2)), millis(self.shortest_pause), millis(self.longest_pause));
        let items = between(draw(self.seed, index.wrapping_mul(2).wrapping_add(1)), self.smallest, self.largest);
        Burst { pause: Duration::from_millis(pause), items }
    }

    /// Pushes burst after burst, until dropped.
    pub async fn produce(&self, queue: &impl Queue) {
        for index in 0.. {
            let Burst { pause, items } = self.at(index);
            tokio::time::sleep(pause).await;
            tracing::info!(items, "burst");
            queue.push(items);
        }
    }
}

/// Workers of one workload: as many as it has ready replicas, each busy with one item for `service_time`.
#[derive(Debug)]
pub struct Workers {
    service_time: Duration,
    done: AtomicU64,
    busy: AtomicU64,
}

impl Workers {
    #[must_use]
    pub fn new(service_time: Duration) -> Self {
        Workers { service_time, done: AtomicU64::new(0), busy: AtomicU64::new(0) }
    }

    /// Items finished so far.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Items being worked on now.
    #[must_use]
    pub fn busy(&self) -> u64 {
        self.busy.load(Ordering::Relaxed)
    }

    /// Works until dropped. `ready` is asked again and again. A replica that goes away finishes the item at hand, as
    /// a worker with a grace period does, and takes no other. One run at a time.
    pub async fn work(&self, queue: &impl Queue, ready: impl Fn() -> Replicas) {
        let mut at_work = FuturesUnordered::new();
        let mut look = tokio::time::interval(LOOK);
        // After a stall there is nothing to catch up with.
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let hands = usize::try_from(ready()).unwrap_or(0).saturating_sub(at_work.len());
            for _ in 0..queue.pop(hands as u64) {
                at_work.push(tokio::time::sleep(self.service_time));
            }
            self.busy.store(at_work.len() as u64, Ordering::Relaxed);
            tokio::select! {
                Some(()) = at_work.next(), if !at_work.is_empty() => {
                    self.done.fetch_add(1, Ordering::Relaxed);
                }
                _ = look.tick() => {}
            }
        }
    }
}

/// `SplitMix64` over a counter: draw number `index` needs none of those before it, and neighbours share no pattern.
fn draw(seed: u64, index: u64) -> u64 {
    let mut z = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A draw as a whole number of `lowest..=highest` (of just `lowest`, if they are the wrong way round). The bias of the
/// remainder is one part in 2^64 over the width: nobody's demo is long enough.
fn between(draw: u64, lowest: u64, highest: u64) -> u64 {
    match highest.saturating_sub(lowest).checked_add(1) {
        Some(width) => lowest + draw % width,
        None => draw,
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicI32;

    use super::*;

    #[derive(Default)]
    struct Counter(AtomicU64);

    impl Queue for Counter {
        fn push(&self, items: u64) {
            self.0.fetch_add(items, Ordering::Relaxed);
        }

        fn pop(&self, items: u64) -> u64 {
            let there = self.0.load(Ordering::Relaxed);
            let taken = items.min(there);
            self.0.fetch_sub(taken, Ordering::Relaxed);
            taken
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_bursts_within_their_bounds() {
        let bursts = Bursts::default();
        let list = |bursts: &Bursts| (0..1000).map(|index| bursts.at(index)).collect::<Vec<_>>();
        assert_eq!(list(&bursts), list(&bursts));
        assert_ne!(list(&bursts), list(&Bursts { seed: 2, ..bursts }));
        for burst in list(&bursts) {
            assert!((20..=400).contains(&burst.items));
            assert!((5_000..=20_000).contains(&burst.pause.as_millis()));
        }
        let mean = list(&bursts).iter().map(|burst| burst.items).sum::<u64>() / 1000;
        assert!((195..=225).contains(&mean), "{mean}");
    }

    #[tokio::test(start_paused = true)]
    async fn producers_follow_the_schedule() {
        let (queue, bursts) = (Counter::default(), Bursts::default());
        let (first, second) = (bursts.at(0), bursts.at(1));
        let until = first.pause + second.pause + Duration::from_millis(1);
        let _ = tokio::time::timeout(until, bursts.produce(&queue)).await;
        assert_eq!(queue.0.load(Ordering::Relaxed), first.items + second.items);
    }

    #[tokio::test(start_paused = true)]
    async fn each_ready_replica_finishes_one_item_per_service_time() {
        let queue = Counter::default();
        queue.push(100);
        let workers = Workers::new(Duration::from_secs(1));
        let _ = tokio::time::timeout(Duration::from_millis(5_500), workers.work(&queue, || 4)).await;
        assert_eq!((workers.done(), workers.busy(), queue.0.load(Ordering::Relaxed)), (20, 4, 76));
    }

    #[tokio::test(start_paused = true)]
    async fn a_replica_that_goes_away_finishes_what_it_has_and_takes_nothing_more() {
        let queue = Counter::default();
        queue.push(100);
        let ready = AtomicI32::new(3);
        let workers = Workers::new(Duration::from_secs(1));
        let at_work = workers.work(&queue, || ready.load(Ordering::Relaxed));
        let gone = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ready.store(0, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(10)).await;
        };
        tokio::select! { () = at_work => {}, () = gone => {} }
        assert_eq!((workers.done(), workers.busy(), queue.0.load(Ordering::Relaxed)), (3, 0, 97));
    }
}
