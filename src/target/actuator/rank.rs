//! Who goes first where not everybody can: whose queue waits with nobody working at it, then who lacks most, and last
//! who has too many.

use std::cmp::Reverse;

use crate::model::ScaleRequest;

/// Less is more urgent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Rank {
    class: Class,
    /// `to` over `from` in 1024ths; the same for all of a class where it does not matter.
    lack: Reverse<u64>,
    /// Who came first.
    arrival: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Class {
    /// From zero: until it is done nothing is worked off at all.
    Waking,
    Up,
    /// Costs money, and nobody waits for it. So is a wish that was taken back.
    Down,
}

impl Rank {
    pub(super) fn of(request: &ScaleRequest, arrival: u64) -> Self {
        let (class, lack) = match (u64::try_from(request.from).unwrap_or(0), u64::try_from(request.to).unwrap_or(0)) {
            (0, 1..) => (Class::Waking, 0),
            (from, to) if to > from => (Class::Up, (to << 10) / from.max(1)),
            _ => (Class::Down, 0),
        };
        Rank { class, lack: Reverse(lack), arrival }
    }

    pub(super) fn arrival(self) -> u64 {
        self.arrival
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AutoscalerId, Key};

    #[test]
    fn waking_first_then_who_lacks_most_and_down_last_and_first_come_among_equals() {
        let of = |from, to, arrival| {
            Rank::of(&ScaleRequest { key: Key(0), id: AutoscalerId::new("a", "b"), from, to }, arrival)
        };
        let order = [of(0, 1, 7), of(0, 500, 8), of(1, 10, 9), of(10, 30, 4), of(100, 200, 5), of(7, 14, 6)];
        assert!(order.is_sorted(), "{order:?}");
        let last = [of(7, 8, 9), of(5, 5, 1), of(100, 0, 2), of(100, 99, 3)];
        assert!(order.iter().chain(&last).is_sorted(), "{last:?}");
    }
}
