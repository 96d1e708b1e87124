//! Which autoscalers a read belongs to: the way back from what a server tells of to who wants to know.
//!
//! Nearly every read has one reader. These are kept where they are looked up; only several take a list.

use crate::model::Key;
use crate::source::ReadId;

#[derive(Debug, Default)]
pub(super) struct Readers {
    /// By the read's handle.
    of: Vec<Who>,
}

#[derive(Debug, Default)]
enum Who {
    #[default]
    Nobody,
    One(Key),
    /// One that names a read twice is there twice.
    Several(Vec<Key>),
}

impl Readers {
    /// `key` wants `read`, once more perhaps.
    pub(super) fn add(&mut self, read: ReadId, key: Key) {
        if self.of.len() <= read.index() {
            self.of.resize_with(read.index() + 1, Who::default);
        }
        if let Some(who) = self.of.get_mut(read.index()) {
            match who {
                Who::Nobody => *who = Who::One(key),
                Who::One(other) => *who = Who::Several(vec![*other, key]),
                Who::Several(keys) => keys.push(key),
            }
        }
    }

    /// `key` wants `read` once less. Whether anybody still does.
    pub(super) fn remove(&mut self, read: ReadId, key: Key) -> bool {
        let Some(who) = self.of.get_mut(read.index()) else { return false };
        match who {
            Who::Several(keys) => {
                if let Some(place) = keys.iter().position(|other| *other == key) {
                    keys.swap_remove(place);
                }
                if let [only] = keys.as_slice() {
                    *who = Who::One(*only);
                }
            }
            Who::One(only) if *only == key => *who = Who::Nobody,
            Who::One(_) | Who::Nobody => {}
        }
        !matches!(who, Who::Nobody)
    }

    /// Who wants `read`.
    pub(super) fn of(&self, read: ReadId) -> &[Key] {
        match self.of.get(read.index()) {
            Some(Who::One(key)) => std::slice::from_ref(key),
            Some(Who::Several(keys)) => keys,
            Some(Who::Nobody) | None => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_come_and_go() {
        let mut readers = Readers::default();
        let (a, b) = (ReadId(3), ReadId(0));
        assert!(!readers.remove(a, Key(1)));
        for key in [1, 2, 1] {
            readers.add(a, Key(key));
        }
        readers.add(b, Key(7));
        assert_eq!((readers.of(a), readers.of(b)), ([Key(1), Key(2), Key(1)].as_slice(), [Key(7)].as_slice()));
        assert!(readers.remove(a, Key(1)) && readers.remove(a, Key(9)) && readers.remove(a, Key(1)));
        assert_eq!(readers.of(a), [Key(2)]);
        assert!(readers.remove(a, Key(9)) && !readers.remove(a, Key(2)));
        assert_eq!((readers.of(a), readers.of(ReadId(9))), ([].as_slice(), [].as_slice()));
    }
}
