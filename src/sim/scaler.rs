//! Who scales in a run: the engine as it is shipped, the HPA, KEDA with the HPA behind it, or nobody.

mod cluster;
mod ours;

pub use self::cluster::{Baseline, Cluster, KedaPace};
pub use self::ours::Ours;
use crate::model::Replicas;
use crate::sim::luck::{Luck, Stream};
use crate::sim::nanos;
use crate::sim::world::{NEVER, Queue};
use crate::spec::scenario::Sampling;

/// What everybody can see besides the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    pub now: u64,
    /// `spec.replicas`.
    pub replicas: Replicas,
    pub ready: Replicas,
    /// Nobody takes work: it is divided anew.
    pub rebalancing: bool,
}

/// A wish to change the scale.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Order {
    pub to: Replicas,
    pub why: &'static str,
}

/// Somebody who scales.
pub enum Scaler {
    Ours(Box<Ours>),
    Cluster(Box<Cluster>),
    /// As many as there are.
    Fixed,
}

impl Scaler {
    /// When it wants to look next.
    #[must_use]
    pub fn next(&self) -> u64 {
        match self {
            Scaler::Ours(ours) => ours.next(),
            Scaler::Cluster(cluster) => cluster.next(),
            Scaler::Fixed => NEVER,
        }
    }

    /// It looks.
    pub fn wake(&mut self, view: &View, queue: &Queue, orders: &mut Vec<Order>) {
        match self {
            Scaler::Ours(ours) => ours.wake(view, queue, orders),
            Scaler::Cluster(cluster) => cluster.wake(view, queue, orders),
            Scaler::Fixed => {}
        }
    }

    /// Its order was carried out.
    pub fn applied(&mut self, view: &View, from: Replicas, to: Replicas, orders: &mut Vec<Order>) {
        if let Scaler::Ours(ours) = self {
            ours.applied(view, from, to, orders);
        }
    }

    /// What it would like, before anything holds it back.
    #[must_use]
    pub fn wanted(&self) -> Option<Replicas> {
        match self {
            Scaler::Ours(ours) => ours.wanted(),
            Scaler::Cluster(cluster) => cluster.wanted(),
            Scaler::Fixed => None,
        }
    }
}

/// Whether readings come through, by the scenario and by luck.
#[derive(Clone, Debug)]
pub struct Sight {
    luck: Luck,
    loss: f64,
    outages: Vec<(u64, u64)>,
    readings: u64,
    /// From the truth to whoever decides.
    pub delay: u64,
}

impl Sight {
    #[must_use]
    pub fn of(sampling: &Sampling, seed: u64) -> Self {
        let until = |(at, lasts): &(std::time::Duration, std::time::Duration)| {
            (nanos(*at), nanos(*at).saturating_add(nanos(*lasts)))
        };
        Sight {
            luck: Luck::new(seed, Stream::Reading),
            loss: sampling.loss,
            outages: sampling.outages.iter().map(until).collect(),
            readings: 0,
            delay: nanos(sampling.delay),
        }
    }

    fn fails(&mut self, now: u64) -> bool {
        self.readings += 1;
        self.luck.happens(self.readings, self.loss) || self.outages.iter().any(|(from, to)| (*from..*to).contains(&now))
    }
}

/// When something periodic begins: anywhere in its first period.
#[must_use]
pub fn phase(seed: u64, what: u64, period: u64) -> u64 {
    // Of 2^64 equal chances; the product's upper half.
    let share = u128::from(Luck::new(seed, Stream::Phase).bits(what)) * u128::from(period.max(1));
    u64::try_from(share >> 64).unwrap_or(0)
}
