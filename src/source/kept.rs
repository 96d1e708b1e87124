//! What a backend keeps of each read that it tracks, under the read's handle.

use slab::Slab;

use super::ReadId;

/// By handle; those of what was taken out are given out again.
#[derive(Debug)]
pub(super) struct Kept<T>(Slab<T>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Kept(Slab::new())
    }
}

impl<T> Kept<T> {
    pub(super) fn add(&mut self, what: T) -> ReadId {
        handle(self.0.insert(what))
    }

    pub(super) fn take(&mut self, id: ReadId) -> Option<T> {
        self.0.try_remove(id.index())
    }

    pub(super) fn get(&self, id: ReadId) -> Option<&T> {
        self.0.get(id.index())
    }

    pub(super) fn get_mut(&mut self, id: ReadId) -> Option<&mut T> {
        self.0.get_mut(id.index())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ReadId, &T)> {
        self.0.iter().map(|(key, what)| (handle(key), what))
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, what)| what)
    }
}

/// There are at most `u32::MAX` reads.
fn handle(key: usize) -> ReadId {
    ReadId(u32::try_from(key).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_that_is_free_is_given_out_again() {
        let mut kept = Kept::default();
        let (a, b) = (kept.add("a"), kept.add("b"));
        assert_eq!((kept.take(a), kept.take(a), kept.get(a)), (Some("a"), None, None));
        assert_eq!((kept.add("c"), kept.get(b)), (a, Some(&"b")));
        assert_eq!(kept.iter().map(|(id, what)| (id.0, *what)).collect::<Vec<_>>(), [(0, "c"), (1, "b")]);
    }
}
