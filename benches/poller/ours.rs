//! The whole way of ours: poller, schedule, backend, decode, channel, a store of the last value.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidegate::clock::Clock;
use tidegate::model::{AutoscalerId, Key, Sample, Tick};
use tidegate::poller::Poller;
use tidegate::source::memory::MemoryQueues;
use tidegate::spec::{AutoscalerSpec, Change};
use tokio::sync::mpsc;

use super::turn::{Load, Measure, Turn, on_own_runtime};
use crate::support::polling::{autoscaler, list, redis as redis_connection};

/// Full rounds before measuring begins.
const WARM: usize = 3;

/// So many teams share the queues, as in a company: who asks for ten thousand alone is served in small rounds apart.
const TEAMS: usize = 97;

/// Rounds that have begun and have not ended yet.
#[derive(Default)]
struct Rounds {
    open: BTreeMap<Tick, usize>,
}

impl Rounds {
    /// Takes in a portion; the moment of a round that is whole with it.
    fn take(&mut self, portion: &[Sample], whole: usize) -> Option<Tick> {
        let taken = portion.first()?.taken;
        let samples = self.open.entry(taken).or_default();
        *samples += portion.len();
        if *samples < whole {
            return None;
        }
        // What came before it will not be whole any more: rounds of those who came first.
        self.open = self.open.split_off(&taken);
        self.open.remove(&taken);
        Some(taken)
    }
}

/// `settle`: how long to wait before measuring, for queues to be found idle.
pub fn run(load: Load<'_>, settle: Duration) -> Turn {
    let specs = specs(&load);
    let clock = Clock::start();
    on_own_runtime(load, async move |measure: &mut Measure<'_>| {
        let (changes, inbox) = mpsc::unbounded_channel();
        let (samples, mut outbox) = mpsc::channel::<Vec<Sample>>(4);
        let poller = tokio::spawn(Poller::new(clock, samples, MemoryQueues::new()).run(inbox));
        for (key, spec) in (0..).zip(&specs) {
            changes.send(Change::Set(Key(key), Arc::clone(spec))).unwrap();
        }
        let mut store = vec![f64::NAN; specs.len()];
        let mut rounds = Rounds::default();
        let settled = clock.now().after(settle);
        let (mut warm, mut first) = (0, None);
        while first.is_none() || measure.running() {
            let portion = outbox.recv().await.unwrap();
            keep(&mut store, &portion);
            let Some(taken) = rounds.take(&portion, specs.len()) else { continue };
            match first {
                None => {
                    warm += 1;
                    if warm >= WARM && clock.now() >= settled {
                        measure.begin();
                        first = Some(taken);
                    }
                }
                Some(first) => measure.round(specs.len(), taken.since(first), clock.now().since(taken)),
            }
        }
        measure.end();
        for (key, value) in store.iter().enumerate() {
            assert_eq!(*value, (load.expected)(key) as f64, "key {key}");
        }
        drop(changes);
        poller.await.unwrap();
    })
}

fn keep(store: &mut [f64], portion: &[Sample]) {
    for sample in portion {
        if let (Some(slot), Ok(observation)) = (store.get_mut(sample.key.index()), &sample.value) {
            *slot = observation.backlog;
        }
    }
}

fn specs(load: &Load<'_>) -> Vec<Arc<AutoscalerSpec>> {
    let connection = redis_connection(load.server.address());
    let spec = |(number, name): (usize, &String)| {
        let mut spec = autoscaler(name, load.interval, &[(&connection, list(&[name]))]);
        let team = format!("team-{:02}", number % TEAMS);
        Arc::make_mut(&mut spec).id = AutoscalerId::new(team, name.as_str());
        spec
    };
    load.names.iter().enumerate().map(spec).collect()
}
