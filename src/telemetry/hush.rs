//! Log lines that somebody else's behaviour causes: one a minute about each, however often it happens.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Tick;

/// After this long it is news again.
const QUIET: Duration = Duration::from_secs(60);

/// Names remembered. More within a minute than anybody reads: beyond, nothing is said (metrics still count).
const NAMES: usize = 1_000;

/// Who was spoken of, and when.
#[derive(Default, Debug)]
pub struct Hush {
    spoken: HashMap<Arc<str>, Tick>,
}

impl Hush {
    /// Whether to say something about `name` now; then not again for a minute.
    pub fn may_speak(&mut self, name: &Arc<str>, now: Tick) -> bool {
        if self.spoken.get(name).is_some_and(|last| now.since(*last) < QUIET) {
            return false;
        }
        if self.spoken.len() >= NAMES {
            self.spoken.retain(|_, last| now.since(*last) < QUIET);
        }
        if self.spoken.len() >= NAMES && !self.spoken.contains_key(name) {
            return false;
        }
        self.spoken.insert(Arc::clone(name), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_spoken_of_once_a_minute_and_the_memory_is_bounded() {
        let mut hush = Hush::default();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        assert!(hush.may_speak(&a, Tick::from_millis(0)));
        assert!(!hush.may_speak(&a, Tick::from_millis(59_999)));
        assert!(hush.may_speak(&b, Tick::from_millis(59_999)));
        assert!(hush.may_speak(&a, Tick::from_millis(60_000)));
        let said = (0..10_000).filter(|n| hush.may_speak(&format!("n{n}").into(), Tick::from_millis(60_001))).count();
        assert_eq!(said, NAMES - 2);
        assert!(hush.spoken.len() <= NAMES);
        assert!(hush.may_speak(&"n9999".into(), Tick::from_millis(130_000)));
    }
}
