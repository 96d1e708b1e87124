//! Memory of what KEDA asks for: metadata is parsed once, not on each of three calls every poll.
//!
//! The key is the whole of (namespace, name, metadata) written into one buffer, sorted, so that a look-up is one hash and
//! one comparison of adjacent memory; with a map of strings to compare, and SipHash, it was a third of the call. What
//! was read under other grants than today's is read again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use tracing::warn;

use crate::model::Tick;
use crate::proto::externalscaler::ScaledObjectRef;
use crate::spec::grants::Grants;
use crate::spec::keda_metadata::{self, Ask, ScaledObject};
use crate::spec::problem::{Problems, presentable};
use crate::telemetry::flood::{Flood, clipped};
use crate::telemetry::names;

/// Triggers remembered: several times the largest installation that KEDA itself is tested with (1000 objects).
const CAPACITY: usize = 32_768;

/// Bytes of metadata remembered, all together. A trigger that a person wrote has some two hundred, so that
/// [`CAPACITY`] is what counts in a cluster that is well, and this where somebody sends long ones at will. What was
/// read out of them, and what it takes to keep it, is a small multiple.
const CAPACITY_BYTES: usize = 16 * 1024 * 1024;

/// Metadata longer than this is read anew each time: no trigger that a person wrote is.
const LONGEST_REMEMBERED: usize = 8 * 1024;

/// Longest name that is quoted in the log; Kubernetes takes 253 bytes.
pub(super) const LONGEST_NAME: usize = 253;

/// One trigger's metadata as read.
pub(super) struct Known {
    /// Under which it means this; `None`: under any, because a named autoscaler needs nobody's leave. Weak, so that what
    /// nobody asks for any more does not keep the connections of a year of manifests.
    grants: Option<Weak<Grants>>,
    used: AtomicU64,
    /// Bytes of the texts about it.
    texts: usize,
    /// `Err` holds the text of every problem.
    pub(super) ask: Result<Ask, String>,
}

pub(super) struct Asks {
    grants: Arc<ArcSwap<Grants>>,
    memory: RwLock<Memory>,
    flood: Flood,
}

/// What was read, by all of its metadata.
struct Memory {
    known: HashMap<Vec<u8>, Arc<Known>, RandomState>,
    /// Of the keys and of what is known to be wrong with them.
    bytes: usize,
    capacity: usize,
    capacity_bytes: usize,
}

impl Asks {
    pub(super) fn new(grants: Arc<ArcSwap<Grants>>) -> Self {
        let memory = Memory { known: HashMap::default(), bytes: 0, capacity: CAPACITY, capacity_bytes: CAPACITY_BYTES };
        Asks { grants, memory: RwLock::new(memory), flood: Flood::new(names::FLOOD_KEDA_METADATA) }
    }

    /// What `object` asks for, under today's grants.
    pub(super) fn read(&self, object: &ScaledObjectRef, now: Tick) -> Arc<Known> {
        let key = key(object);
        let grants = self.grants.load();
        {
            let memory = self.memory.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(hit) = memory.known.get(&key)
                && hit.holds_under(&grants)
            {
                hit.used.store(now.as_nanos(), Ordering::Relaxed);
                return Arc::clone(hit);
            }
        }
        let read = Arc::new(parse(object, &grants, now));
        self.tell(object, &read.ask, now);
        if size(&key, &read) <= LONGEST_REMEMBERED {
            self.memory.write().unwrap_or_else(PoisonError::into_inner).remember(key, &read);
        }
        read
    }

    /// Whether `known` means the same under the grants of today.
    pub(super) fn is_current(&self, known: &Known) -> bool {
        known.holds_under(&self.grants.load())
    }

    /// Said when metadata is read, because that is once a trigger and change, not once a call; and not without end,
    /// because whoever can call can change it for each. The texts never quote a secret.
    fn tell(&self, object: &ScaledObjectRef, ask: &Result<Ask, String>, now: Tick) {
        // The names are whatever the caller made of them.
        let quoted = |name: &String| presentable(name.clone(), LONGEST_NAME);
        let (namespace, name) = (quoted(&object.namespace), quoted(&object.name));
        match ask {
            Ok(Ask::Named { .. }) => {}
            Ok(Ask::Trigger(trigger)) => {
                for warning in &trigger.warnings {
                    let Some(left_out) = self.flood.admit(now) else { continue };
                    let warning = warning.to_string();
                    warn!(namespace, name, warning = &*clipped(&warning), left_out, "trigger metadata");
                }
                if let Err(problems) = &trigger.registration
                    && let Some(left_out) = self.flood.admit(now)
                {
                    let problems = one_line(problems);
                    warn!(namespace, name, problems = &*clipped(&problems), left_out, "trigger refused");
                }
            }
            Err(problems) => {
                if let Some(left_out) = self.flood.admit(now) {
                    let problems = &*clipped(problems);
                    warn!(namespace, name, problems, left_out, "trigger metadata cannot be used");
                }
            }
        }
    }
}

impl Known {
    fn holds_under(&self, grants: &Arc<Grants>) -> bool {
        self.grants.as_ref().is_none_or(|read_under| std::ptr::eq(read_under.as_ptr(), Arc::as_ptr(grants)))
    }
}

// === impl Memory ===

impl Memory {
    fn remember(&mut self, key: Vec<u8>, read: &Arc<Known>) {
        let new = size(&key, read);
        while !self.known.is_empty() && (self.known.len() >= self.capacity || self.bytes + new > self.capacity_bytes) {
            self.forget_a_quarter();
        }
        self.bytes += new;
        if let Some((key, old)) = self.known.remove_entry(&key) {
            self.bytes -= size(&key, &old);
        }
        self.known.insert(key, Arc::clone(read));
    }

    /// A quarter at a time, the longest unused: rare enough to be cheap, and nobody who is asked about goes.
    fn forget_a_quarter(&mut self) {
        let mut ages: Vec<u64> = self.known.values().map(|entry| entry.used.load(Ordering::Relaxed)).collect();
        let quarter = ages.len() / 4;
        let (_, &mut oldest_kept, _) = ages.select_nth_unstable(quarter);
        self.known.retain(|_, entry| entry.used.load(Ordering::Relaxed) > oldest_kept);
        self.bytes = self.known.iter().map(|(key, entry)| size(key, entry)).sum();
    }
}

/// What remembering this costs, roughly.
fn size(key: &[u8], read: &Known) -> usize {
    key.len() + read.texts
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

fn parse(object: &ScaledObjectRef, grants: &Arc<Grants>, now: Tick) -> Known {
    let ask = keda_metadata::read(
        &ScaledObject { namespace: &object.namespace, name: &object.name, metadata: &object.scaler_metadata },
        grants,
    )
    .map_err(|problems| one_line(&problems));
    let texts = match &ask {
        Ok(Ask::Named { .. }) => 0,
        Ok(Ask::Trigger(trigger)) => {
            let warnings: usize = trigger.warnings.iter().map(|warning| warning.to_string().len()).sum();
            warnings + trigger.registration.as_ref().err().map_or(0, |problems| one_line(problems).len())
        }
        Err(problems) => problems.len(),
    };
    let grants = (!matches!(ask, Ok(Ask::Named { .. }))).then(|| Arc::downgrade(grants));
    Known { grants, used: AtomicU64::new(now.as_nanos()), texts, ask }
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
        let trigger = object("a", &[("listName", "jobs"), ("address", "redis:6379")]);
        let first = asks.read(&trigger, Tick::ZERO);
        assert!(asks.is_current(&first));
        let before = Arc::downgrade(&asks.grants.load());
        asks.grants.store(Arc::new(Grants::default()));
        assert!(!asks.is_current(&first));
        assert!(before.upgrade().is_none(), "what was read under them does not keep them");
        let second = asks.read(&trigger, Tick::ZERO);
        assert!(!Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn a_named_autoscaler_means_the_same_under_any_grants() {
        let asks = asks();
        let named = object("a", &[("autoscaler", "x")]);
        let first = asks.read(&named, Tick::ZERO);
        asks.grants.store(Arc::new(Grants::default()));
        assert!(asks.is_current(&first) && Arc::ptr_eq(&first, &asks.read(&named, Tick::ZERO)));
    }

    #[test]
    fn the_longest_unused_go_first_and_the_size_is_bounded() {
        let asks = asks();
        asks.memory.write().unwrap().capacity = 100;
        for turn in 0..1_000_u64 {
            asks.read(&object("kept", &[("autoscaler", "x")]), Tick::from_millis(turn));
            asks.read(&object(&format!("n{turn}"), &[("autoscaler", "x")]), Tick::from_millis(turn));
        }
        let memory = asks.memory.read().unwrap();
        assert!(memory.known.len() <= 100);
        assert!(memory.known.contains_key(&key(&object("kept", &[("autoscaler", "x")]))));
    }

    #[test]
    fn huge_metadata_is_answered_but_not_kept() {
        let asks = asks();
        asks.read(&object("a", &[("autoscaler", &"x".repeat(LONGEST_REMEMBERED))]), Tick::ZERO);
        assert!(asks.memory.read().unwrap().known.is_empty());
    }

    #[test]
    fn the_bytes_are_bounded_and_counted_exactly() {
        let asks = asks();
        asks.memory.write().unwrap().capacity_bytes = 100_000;
        for (turn, length) in (0..2_000_u64).zip((0..LONGEST_REMEMBERED).step_by(37).cycle()) {
            let long = "x".repeat(length);
            // Some of them cannot be used: what is wrong with them counts, too.
            let key = if turn % 3 == 0 { "colour" } else { "listName" };
            let object = object(&format!("n{}", turn % 500), &[(key, &long)]);
            asks.read(&object, Tick::from_millis(turn));
            if turn % 10 == 0 {
                // The same metadata under other grants takes the old one's place.
                asks.grants.store(Arc::new(Grants::default()));
                asks.read(&object, Tick::from_millis(turn));
            }
            let memory = asks.memory.read().unwrap();
            assert!(memory.bytes <= 100_000, "{}", memory.bytes);
            assert_eq!(memory.bytes, memory.known.iter().map(|(key, entry)| size(key, entry)).sum::<usize>());
        }
        assert!(!asks.memory.read().unwrap().known.is_empty());
    }
}
