//! Memory of what KEDA asks for: metadata is parsed once, not on each of three calls every poll.
//!
//! The key is the whole of (namespace, name, metadata) written into one buffer, sorted, so that a look-up is one hash and
//! one comparison of adjacent memory; with a map of strings to compare, and SipHash, it was a third of the call. What
//! was read under other grants than today's is read again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tracing::warn;

use crate::model::Tick;
use crate::proto::externalscaler::ScaledObjectRef;
use crate::spec::grants::Grants;
use crate::spec::keda_metadata::{self, Ask, ScaledObject};
use crate::spec::problem::Problems;

/// Triggers remembered: several times the largest installation that KEDA itself is tested with (1000 objects).
const CAPACITY: usize = 32_768;

/// Metadata longer than this is read anew each time: no trigger that a person wrote is, and 32 768 of them must not
/// fill the memory.
const LONGEST_REMEMBERED: usize = 8 * 1024;

/// One trigger's metadata as read.
pub(super) struct Known {
    grants: Arc<Grants>,
    used: AtomicU64,
    /// `Err` holds the text of every problem.
    pub(super) ask: Result<Ask, String>,
}

pub(super) struct Asks {
    grants: Arc<ArcSwap<Grants>>,
    known: RwLock<HashMap<Vec<u8>, Arc<Known>, RandomState>>,
    capacity: usize,
}

impl Asks {
    pub(super) fn new(grants: Arc<ArcSwap<Grants>>) -> Self {
        Asks { grants, known: RwLock::default(), capacity: CAPACITY }
    }

    /// What `object` asks for, under today's grants.
    pub(super) fn read(&self, object: &ScaledObjectRef, now: Tick) -> Arc<Known> {
        let key = key(object);
        let grants = self.grants.load();
        {
            let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(hit) = known.get(&key)
                && Arc::ptr_eq(&hit.grants, &grants)
            {
                hit.used.store(now.as_nanos(), Ordering::Relaxed);
                return Arc::clone(hit);
            }
        }
        let read = Arc::new(parse(object, Arc::clone(&grants), now));
        if key.len() <= LONGEST_REMEMBERED {
            self.remember(key, &read);
        }
        read
    }

    /// Whether `known` was read under the grants of today.
    pub(super) fn is_current(&self, known: &Known) -> bool {
        Arc::ptr_eq(&known.grants, &self.grants.load())
    }

    fn remember(&self, key: Vec<u8>, read: &Arc<Known>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= self.capacity {
            // A quarter at a time, the longest unused: rare enough to be cheap, and nobody who is asked about goes.
            let mut ages: Vec<u64> = known.values().map(|entry| entry.used.load(Ordering::Relaxed)).collect();
            let quarter = ages.len() / 4;
            let (_, &mut oldest_kept, _) = ages.select_nth_unstable(quarter);
            known.retain(|_, entry| entry.used.load(Ordering::Relaxed) > oldest_kept);
        }
        known.insert(key, Arc::clone(read));
    }
}

/// Equal for equal objects and for no others: every text is preceded by its length, and the metadata is sorted.
fn key(object: &ScaledObjectRef) -> Vec<u8> {
    let mut entries: Vec<(&String, &String)> = object.scaler_metadata.iter().collect();
    entries.sort_unstable();
    let texts = || [&object.namespace, &object.name].into_iter().chain(entries.iter().flat_map(|(k, v)| [*k, *v]));
    let mut key = Vec::with_capacity(texts().map(|text| size_of::<usize>() + text.len()).sum());
    for text in texts() {
        key.extend_from_slice(&text.len().to_ne_bytes());
        key.extend_from_slice(text.as_bytes());
    }
    key
}

fn parse(object: &ScaledObjectRef, grants: Arc<Grants>, now: Tick) -> Known {
    let ask = keda_metadata::read(
        &ScaledObject { namespace: &object.namespace, name: &object.name, metadata: &object.scaler_metadata },
        &grants,
    )
    .map_err(|problems| one_line(&problems));
    // Said here because it is once a trigger and change, not once a call. The texts never quote a secret.
    let (namespace, name) = (&object.namespace, &object.name);
    match &ask {
        Ok(Ask::Named { .. }) => {}
        Ok(Ask::Trigger(trigger)) => {
            for warning in &trigger.warnings {
                warn!(namespace, name, %warning, "trigger metadata");
            }
            if let Err(problems) = &trigger.registration {
                warn!(namespace, name, problems = one_line(problems), "trigger refused");
            }
        }
        Err(problems) => warn!(namespace, name, problems, "trigger metadata cannot be used"),
    }
    Known { grants, used: AtomicU64::new(now.as_nanos()), ask }
}

/// Every problem, as fits an error message and a log line.
pub(super) fn one_line(problems: &Problems) -> String {
    let texts: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(name: &str, metadata: &[(&str, &str)]) -> ScaledObjectRef {
        ScaledObjectRef {
            name: name.into(),
            namespace: "shop".into(),
            scaler_metadata: metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
        }
    }

    fn asks() -> Asks {
        Asks::new(Arc::new(ArcSwap::from_pointee(Grants::default())))
    }

    #[test]
    fn equal_metadata_is_parsed_once_whatever_its_order() {
        let asks = asks();
        let first = asks.read(&object("a", &[("autoscaler", "x"), ("serve", "replicas")]), Tick::from_millis(1));
        let second = asks.read(&object("a", &[("serve", "replicas"), ("autoscaler", "x")]), Tick::from_millis(2));
        assert!(Arc::ptr_eq(&first, &second));
        let other = asks.read(&object("b", &[("serve", "replicas"), ("autoscaler", "x")]), Tick::from_millis(3));
        assert!(!Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn keys_and_values_that_trade_places_are_not_mistaken_for_each_other() {
        let asks = asks();
        let one = asks.read(&object("a", &[("p", "q"), ("r", "s")]), Tick::ZERO);
        let two = asks.read(&object("a", &[("p", "s"), ("r", "q")]), Tick::ZERO);
        assert!(!Arc::ptr_eq(&one, &two));
    }

    #[test]
    fn texts_that_run_together_are_told_apart() {
        assert_ne!(key(&object("a", &[("bc", "d")])), key(&object("a", &[("b", "cd")])));
        assert_ne!(key(&object("a", &[])), key(&object("", &[("a", "")])));
    }

    #[test]
    fn changed_grants_mean_reading_again() {
        let asks = asks();
        let first = asks.read(&object("a", &[("autoscaler", "x")]), Tick::ZERO);
        assert!(asks.is_current(&first));
        asks.grants.store(Arc::new(Grants::default()));
        assert!(!asks.is_current(&first));
        let second = asks.read(&object("a", &[("autoscaler", "x")]), Tick::ZERO);
        assert!(!Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn the_longest_unused_go_first_and_the_size_is_bounded() {
        let mut asks = asks();
        asks.capacity = 100;
        for turn in 0..1_000_u64 {
            asks.read(&object("kept", &[("autoscaler", "x")]), Tick::from_millis(turn));
            asks.read(&object(&format!("n{turn}"), &[("autoscaler", "x")]), Tick::from_millis(turn));
        }
        let known = asks.known.read().unwrap();
        assert!(known.len() <= 100);
        assert!(known.contains_key(&key(&object("kept", &[("autoscaler", "x")]))));
    }

    #[test]
    fn huge_metadata_is_answered_but_not_kept() {
        let asks = asks();
        asks.read(&object("a", &[("autoscaler", &"x".repeat(LONGEST_REMEMBERED))]), Tick::ZERO);
        assert!(asks.known.read().unwrap().is_empty());
    }
}
