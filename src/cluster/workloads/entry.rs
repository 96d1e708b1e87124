//! What is known of one workload, from two sides that run apart: what the watch shows, in order but late, and what our
//! own calls were answered, at once but anywhere between.
//!
//! A resourceVersion says only "the same" or "not the same". What keeps the view from going backwards is the order of
//! the watch: it shows every version once, none twice. So after an answer that the watch has not shown yet (the view is
//! **ahead**), everything it shows is older until it shows that very version; and an answer whose version it showed
//! while the call was under way is no news, but a place in what was heard since, from which the rest is told again.
//! Only a new list may jump over versions: one that was asked for after the answer came is newer than it. And should
//! the version never appear, a read some seconds later begins anew.

use std::sync::Arc;

use super::{Problem, View};
use crate::model::{AutoscalerId, Replicas, SetBy, Tick};

/// Versions remembered while a call is under way. A call takes some 10 ms; at 200 changes a second for all of the 5 s
/// that it may take, a thousand.
const HEARD: usize = 1024;

/// What the watch showed.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Heard {
    pub(crate) resource_version: Arc<str>,
    pub(crate) uid: Arc<str>,
    pub(crate) generation: Option<i64>,
    /// Asked for and ready; `None` where only metadata is watched.
    pub(crate) counts: Option<(Replicas, Replicas)>,
    pub(crate) set_by: SetBy,
}

/// What a GET or PATCH of /scale was answered.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Answer {
    pub(crate) resource_version: Arc<str>,
    pub(crate) uid: Arc<str>,
    pub(crate) replicas: Replicas,
    /// `status.replicas`: there, ready or not.
    pub(crate) there: Replicas,
    /// It is what we wrote.
    pub(crate) ours: bool,
    /// When the call was made.
    pub(crate) sent: Tick,
}

/// What to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    Nothing,
    /// Tell whoever follows it.
    Tell,
    /// Only a read of /scale can say what it means.
    Read,
    /// The count is the same; when there is time, a read may say more.
    ReadLater,
}

#[derive(Default, Debug)]
pub(crate) struct Entry {
    pub(crate) followers: Vec<AutoscalerId>,
    pub(crate) view: Option<View>,
    /// Why there is no view.
    pub(crate) problem: Option<Problem>,
    /// Since when the view is an answer that the watch has not shown.
    pub(crate) ahead: Option<Tick>,
    /// The last that the watch showed, where the view does not follow from it.
    unapplied: Option<Box<Heard>>,
    /// What the watch showed since a call was made, what it had shown before as the first.
    log: Option<Vec<Heard>>,
    /// Calls under way.
    calls: u32,
    /// A patch was sent and nobody knows what became of it.
    pub(crate) uncertain: bool,
    /// A read is asked for.
    pub(crate) wanted: bool,
    pub(crate) wanted_later: bool,
    /// Of the list that showed it last.
    pub(crate) round: u64,
    /// Read last.
    pub(crate) read_at: Tick,
}

impl Entry {
    pub(crate) fn begin_call(&mut self) {
        self.calls += 1;
        let last = self.last_heard();
        self.log.get_or_insert_with(|| last.into_iter().collect());
    }

    pub(crate) fn end_call(&mut self) {
        self.calls = self.calls.saturating_sub(1);
        if self.calls == 0 {
            self.log = None;
        }
    }

    fn last_heard(&self) -> Option<Heard> {
        if let Some(heard) = &self.unapplied {
            return Some(Heard::clone(heard));
        }
        let view = self.view.as_ref().filter(|_| self.ahead.is_none())?;
        Some(Heard {
            resource_version: Arc::clone(&view.resource_version),
            uid: Arc::clone(&view.uid),
            generation: view.generation,
            counts: view.watched.then_some((view.replicas, view.ready)),
            set_by: view.set_by,
        })
    }

    /// The watch showed it; `listed` where a list did, asked for at that moment.
    pub(crate) fn hear(&mut self, heard: Heard, now: Tick, listed: Option<Tick>) -> News {
        if let Some(log) = &mut self.log
            && log.len() < HEARD
        {
            log.push(heard.clone());
        }
        if let (Some(ahead), Some(listed)) = (self.ahead, listed)
            && ahead <= listed
        {
            self.ahead = None;
        }
        self.apply(heard, now)
    }

    fn apply(&mut self, heard: Heard, now: Tick) -> News {
        let same = self.view.as_ref().is_some_and(|view| view.resource_version == heard.resource_version);
        if self.ahead.is_some() && !same {
            self.unapplied = Some(Box::new(heard));
            return News::Nothing;
        }
        self.ahead = None;
        let before = self.view.as_ref().map(View::told).filter(|_| self.problem.is_none());
        let Some((replicas, ready)) = heard.counts else {
            // Of another kind: the count is known to be the same only if nothing of the specification changed, and a
            // server that counts generations says so.
            let same_spec = |view: &View| {
                view.uid == heard.uid
                    && heard.generation.is_some_and(|generation| generation > 0)
                    && heard.generation == view.generation
            };
            let Some(view) = self.view.as_mut().filter(|view| same || same_spec(view)) else {
                self.unapplied = Some(Box::new(heard));
                return News::Read;
            };
            view.resource_version = heard.resource_version;
            view.generation = heard.generation;
            // The count is the one that is known to be ours, where its object does not say whose it is.
            if !(heard.set_by == SetBy::Unknown && view.set_by == SetBy::Tidegate) {
                view.set_by = heard.set_by;
            }
            view.seen = now;
            let told = Some(view.told()) != before;
            self.unapplied = None;
            self.problem = None;
            return if told {
                News::Tell
            } else if same {
                News::Nothing
            } else {
                News::ReadLater
            };
        };
        let view = View {
            resource_version: heard.resource_version,
            uid: heard.uid,
            generation: heard.generation,
            replicas,
            ready,
            set_by: heard.set_by,
            seen: now,
            watched: true,
        };
        let told = Some(view.told()) != before;
        self.view = Some(view);
        self.unapplied = None;
        self.problem = None;
        if told { News::Tell } else { News::Nothing }
    }

    /// A call was answered; `watched` where a watch will show it too.
    pub(crate) fn answered(&mut self, answer: &Answer, now: Tick, watched: bool) -> News {
        if self.ahead.is_some_and(|ahead| answer.sent < ahead) {
            // Another call was answered after this one was made, and which of them is newer nobody can say: the watch
            // will.
            return News::Nothing;
        }
        let healed = self.problem.take().is_some();
        let before = self.view.as_ref().map(View::told);
        let log = self.log.clone().unwrap_or_default();
        let place = log.iter().rposition(|heard| heard.resource_version == answer.resource_version);
        if place.is_none()
            && let Some(view) = &mut self.view
            && view.resource_version == answer.resource_version
        {
            view.seen = view.seen.max(answer.sent);
            return if healed { News::Tell } else { News::Nothing };
        }
        let shown = place.and_then(|place| log.get(place));
        let (set_by, ready) = match (shown, &self.view) {
            (Some(Heard { set_by, counts: Some((_, ready)), .. }), _) => (*set_by, *ready),
            (Some(Heard { set_by: SetBy::Unknown, .. }), _) => (self.author(answer), answer.there),
            (Some(Heard { set_by, .. }), _) => (*set_by, answer.there),
            (None, Some(view)) if view.watched => (self.author(answer), view.ready.min(answer.replicas)),
            (None, _) => (self.author(answer), answer.there),
        };
        self.view = Some(View {
            resource_version: Arc::clone(&answer.resource_version),
            uid: Arc::clone(&answer.uid),
            generation: shown.and_then(|heard| heard.generation),
            replicas: answer.replicas,
            ready,
            set_by,
            seen: answer.sent,
            watched: self.view.as_ref().is_some_and(|view| view.watched),
        });
        let mut news = News::Nothing;
        match place {
            Some(place) => {
                self.ahead = None;
                self.unapplied = None;
                for heard in log.into_iter().skip(place + 1) {
                    // Whether there is something to tell is seen at the end.
                    let more = self.apply(heard, now);
                    if matches!(more, News::Read | News::ReadLater) {
                        news = more;
                    }
                }
            }
            None => self.ahead = watched.then_some(now),
        }
        let told = healed || self.view.as_ref().map(View::told) != before;
        match news {
            News::Read => News::Read,
            // Who set it is not known before the watch shows it, which it will in a moment.
            _ if self.ahead.is_some() && !answer.ours => News::Nothing,
            _ if told => News::Tell,
            news => news,
        }
    }

    fn author(&self, answer: &Answer) -> SetBy {
        match &self.view {
            _ if answer.ours => SetBy::Tidegate,
            Some(view) if view.uid == answer.uid && view.replicas == answer.replicas => view.set_by,
            _ => SetBy::Unknown,
        }
    }

    /// The watch showed its end, or a list left it out. Returns whether it is gone.
    pub(crate) fn gone(&mut self, uid: Option<&str>) -> bool {
        let other = |view: &View| uid.is_some_and(|uid| uid != &*view.uid);
        if self.ahead.is_some() && self.view.as_ref().is_some_and(other) {
            // An earlier object of this name.
            return false;
        }
        self.view = None;
        self.ahead = None;
        self.unapplied = None;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_millis(millis)
    }

    fn heard(version: &str, replicas: Replicas) -> Heard {
        Heard {
            resource_version: version.into(),
            uid: "u".into(),
            generation: Some(1),
            counts: Some((replicas, 0)),
            set_by: SetBy::Other,
        }
    }

    fn answer(version: &str, replicas: Replicas, ours: bool, sent: u64) -> Answer {
        Answer { resource_version: version.into(), uid: "u".into(), replicas, there: 0, ours, sent: at(sent) }
    }

    fn stands(entry: &Entry) -> (&str, Replicas) {
        entry.view.as_ref().map(|view| (&*view.resource_version, view.replicas)).unwrap()
    }

    #[test]
    fn what_the_watch_shows_after_our_answer_is_old_until_it_shows_the_answer() {
        let mut entry = Entry::default();
        assert_eq!(entry.hear(heard("1", 3), at(0), None), News::Tell);
        entry.begin_call();
        assert_eq!(entry.hear(heard("2", 3), at(1), None), News::Nothing);
        assert_eq!(entry.answered(&answer("5", 9, true, 1), at(2), true), News::Tell);
        entry.end_call();
        for late in ["3", "4"] {
            assert_eq!(entry.hear(heard(late, 3), at(3), None), News::Nothing);
            assert_eq!(stands(&entry), ("5", 9));
        }
        entry.hear(heard("5", 9), at(4), None);
        assert_eq!((stands(&entry), entry.ahead), (("5", 9), None));
        assert_eq!(entry.hear(heard("6", 2), at(5), None), News::Tell);
        assert_eq!(stands(&entry), ("6", 2));
    }

    #[test]
    fn an_answer_that_the_watch_overtook_is_no_news() {
        let mut entry = Entry::default();
        entry.hear(heard("1", 3), at(0), None);
        entry.begin_call();
        entry.hear(heard("2", 9), at(1), None);
        entry.hear(heard("3", 4), at(2), None);
        assert_eq!(entry.answered(&answer("2", 9, true, 0), at(3), true), News::Nothing);
        entry.end_call();
        assert_eq!((stands(&entry), entry.ahead), (("3", 4), None));
        // A read of before the change, answered after the watch showed it.
        entry.begin_call();
        entry.hear(heard("4", 5), at(4), None);
        assert_eq!(entry.answered(&answer("3", 4, false, 3), at(5), true), News::Nothing);
        assert_eq!(stands(&entry), ("4", 5));
    }

    #[test]
    fn a_list_asked_for_after_the_answer_is_newer_and_one_before_may_be_older() {
        for (listed, stood) in [(1, "5"), (9, "7")] {
            let mut entry = Entry::default();
            entry.hear(heard("1", 3), at(0), None);
            entry.begin_call();
            entry.answered(&answer("5", 9, true, 1), at(2), true);
            entry.end_call();
            entry.hear(heard("7", 4), at(10), Some(at(listed)));
            assert_eq!(stands(&entry).0, stood);
        }
    }

    #[test]
    fn a_read_finds_its_place_even_where_the_watch_jumped_over_our_version() {
        let mut entry = Entry::default();
        entry.hear(heard("1", 3), at(0), None);
        entry.begin_call();
        entry.answered(&answer("5", 9, true, 1), at(2), true);
        entry.end_call();
        entry.hear(heard("7", 4), at(3), None);
        assert_eq!(stands(&entry).0, "5", "it cannot know");
        entry.begin_call();
        entry.hear(heard("8", 4), at(9), None);
        assert_eq!(entry.answered(&answer("7", 4, false, 8), at(10), true), News::Tell);
        entry.end_call();
        assert_eq!((stands(&entry), entry.ahead), (("8", 4), None));
    }

    #[test]
    fn of_other_kinds_only_a_change_of_the_specification_costs_a_read() {
        let meta = |version: &str, generation, set_by| Heard {
            counts: None,
            generation: Some(generation),
            set_by,
            ..heard(version, 0)
        };
        let mut entry = Entry::default();
        assert_eq!(entry.hear(meta("1", 1, SetBy::Other), at(0), None), News::Read);
        entry.begin_call();
        assert_eq!(entry.answered(&answer("1", 4, false, 0), at(1), true), News::Tell);
        entry.end_call();
        let view = entry.view.clone().unwrap();
        assert_eq!((view.generation, view.set_by, entry.ahead), (Some(1), SetBy::Other, None));
        assert_eq!(entry.hear(meta("2", 1, SetBy::Other), at(2), None), News::ReadLater, "its status");
        assert_eq!(stands(&entry), ("2", 4));
        assert_eq!(entry.hear(meta("3", 2, SetBy::Other), at(3), None), News::Read);
        assert_eq!(stands(&entry), ("2", 4));
        entry.begin_call();
        assert_eq!(entry.answered(&answer("4", 0, false, 4), at(5), true), News::Nothing, "who set it comes next");
        entry.end_call();
        assert_eq!(entry.hear(meta("4", 3, SetBy::Tidegate), at(6), None), News::Tell);
        let view = entry.view.clone().unwrap();
        assert_eq!((view.replicas, view.set_by, view.generation), (0, SetBy::Tidegate, Some(3)));
    }

    #[test]
    fn the_end_of_an_earlier_object_is_not_the_end_of_this_one() {
        let mut entry = Entry::default();
        entry.begin_call();
        entry.answered(&answer("5", 9, false, 1), at(2), true);
        entry.end_call();
        assert!(!entry.gone(Some("old")));
        assert!(entry.gone(Some("u")));
        assert_eq!(entry.view, None);
    }
}
