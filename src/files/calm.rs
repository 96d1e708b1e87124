//! When is a change over? Whoever writes manifests writes several files, and some of them in pieces.
//!
//! A change counts once two looks in a row saw the same: a storm of changes costs one reload, at its end. A storm that
//! does not end must not put reloads off for good, so that after [`UNREST`] what is there counts as it is.

use std::time::Duration;

use crate::model::Tick;

/// How long changes may follow each other before one of the states in between is taken. Longer than a deployment
/// takes to write its files, and short enough that nobody waits for a good change because another team's script writes
/// without end.
const UNREST: Duration = Duration::from_secs(10);

/// Tells changes that are over from those under way. `L` is what one look saw.
#[derive(Debug)]
pub struct Calm<L> {
    /// What was acted on last.
    settled: L,
    /// The last look, where it differed from that.
    unsettled: Option<L>,
    /// When it began to differ.
    since: Option<Tick>,
}

impl<L: Clone + PartialEq> Calm<L> {
    pub fn new(settled: L) -> Self {
        Calm { settled, unsettled: None, since: None }
    }

    /// Takes in a look, and returns it if it is to be acted on. `at_once`: whoever asked for this look says that the
    /// change is complete.
    pub fn looked(&mut self, now: Tick, look: L, at_once: bool) -> Option<L> {
        if look == self.settled {
            self.unsettled = None;
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert(now);
        let over = self.unsettled.as_ref() == Some(&look) || now.since(since) >= UNREST || at_once;
        if !over {
            self.unsettled = Some(look);
            return None;
        }
        self.unsettled = None;
        self.since = None;
        self.settled = look.clone();
        Some(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every 250 ms; the moments and values that were acted on.
    fn acted(looks: impl IntoIterator<Item = u32>) -> Vec<(u64, u32)> {
        let mut calm = Calm::new(0);
        let timed = (1..).map(|turn: u64| turn * 250).zip(looks);
        timed.filter_map(|(ms, look)| Some((ms, calm.looked(Tick::from_millis(ms), look, false)?))).collect()
    }

    #[test]
    fn a_change_counts_when_it_was_seen_twice_and_only_once() {
        assert_eq!(acted([0, 0, 1, 1, 1, 1]), [(1000, 1)]);
    }

    #[test]
    fn what_goes_back_is_no_change() {
        assert_eq!(acted([0, 1, 0, 1, 0, 0]), []);
        assert_eq!(acted([1, 1, 0, 0]), [(500, 1), (1000, 0)]);
    }

    #[test]
    fn a_storm_costs_one_reload_at_its_end() {
        assert_eq!(acted((1..=30).chain([30, 30])), [(7750, 30)]);
    }

    #[test]
    fn a_storm_without_end_is_read_every_ten_seconds() {
        let acted = acted(1..=120);
        assert_eq!(acted, [(10_250, 41), (20_500, 82)]);
    }

    #[test]
    fn whoever_says_that_it_is_complete_need_not_wait() {
        let mut calm = Calm::new(0);
        assert_eq!(calm.looked(Tick::ZERO, 0, true), None);
        assert_eq!(calm.looked(Tick::ZERO, 1, true), Some(1));
        assert_eq!(calm.looked(Tick::ZERO, 1, true), None);
    }
}
