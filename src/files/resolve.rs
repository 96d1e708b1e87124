//! What of a change is put in force when parts of it are broken: as much as can be, so that one team's broken file does
//! not hold up the others.
//!
//! First what can be blamed: a file in which problems were found gets its last good text back (a new one is left out),
//! until the rest loads. That is one more load, mostly. But a problem may show in a file that nobody touched: its
//! Connection was taken away by another file, or a new file before it has taken its name. Then the changes are tried
//! out on top of what is in force, by halves: the largest part of them that can be had is found without knowing what
//! depends on what. The set in force is always one that was loaded as a whole.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use super::scan::Look;
use super::{Key, Set, display, texts};
use crate::spec::load::{Loaded, SourceText};
use crate::spec::problem::{Problem, Problems};

/// Loads that one change may cost. A broken file or two among a thousand take some twenty, and ten thousand autoscalers
/// take some half a second each time. Beyond this, what has not been tried keeps its last good version.
const LOADS: usize = 64;

/// Reads a set of texts as manifests; to be shared between threads.
pub type Load = dyn Fn(&[Arc<SourceText>]) -> Result<Loaded, Problems> + Send + Sync;

type Loads<'a> = dyn Fn(&[Arc<SourceText>]) -> Result<Loaded, Problems> + 'a;

/// What came of a change.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// In force from now on.
    pub set: Set,
    /// What it means; `None`: nothing changed, the set is the one that was in force before.
    pub loaded: Option<Loaded>,
    /// Everything that is wrong. Empty: the set is what was seen.
    pub problems: Vec<Problem>,
    /// Files that are not in force as they were seen.
    pub held: Vec<Held>,
    /// Files that differ from those in force before.
    pub changed: usize,
}

/// A file that is not in force as it was seen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Held {
    pub file: String,
    /// Its last good version is in force; otherwise none of it.
    pub last_good: bool,
}

impl Resolution {
    /// Nothing of the change counts, and no file can be blamed.
    #[must_use]
    pub fn refused(good: &Set, problem: Problem) -> Self {
        Resolution { set: good.clone(), loaded: None, problems: vec![problem], held: Vec::new(), changed: 0 }
    }
}

/// Decides what is in force after `look`, given what was (`good`).
pub fn resolve(good: &Set, look: &Look, load: &Loads<'_>) -> Resolution {
    let (asked, mut problems) = asked(good, look);
    let mut attempt = Attempt { load, left: LOADS };
    let (set, loaded) = match attempt.load(&asked.set) {
        Ok(loaded) if is_nothing(&loaded) && asked.set != *good && !good.is_empty() => {
            let message = "no object is left in any of the files";
            problems.push(Problem::new("", message, "to stop scaling, end the process or pause the autoscalers"));
            (good.clone(), None)
        }
        Ok(loaded) => (asked.set.clone(), Some(loaded)),
        Err(found) => {
            add(&mut problems, found);
            let blamed = attempt.put_back_blamed(good, &asked.set, &mut problems);
            blamed.or_else(|suspects| attempt.by_halves(good, &asked.set, &suspects)).unwrap_or((good.clone(), None))
        }
    };
    let held = held(&asked, &set, &mut problems);
    let changed = differing(good, &set).len();
    Resolution { set, loaded, problems, held, changed }
}

/// What was seen, with last good texts where nothing could be read.
struct Asked {
    set: Set,
    /// Files that could not be read.
    unreadable: BTreeSet<Key>,
}

fn asked(good: &Set, look: &Look) -> (Asked, Vec<Problem>) {
    let mut asked = Asked { set: Set::new(), unreadable: BTreeSet::new() };
    let mut problems = Vec::new();
    for (given, seen) in look.given.iter().enumerate() {
        let seen = match seen {
            Ok(seen) => seen,
            // The path as a whole says nothing: its files stay.
            Err(problem) => {
                problems.push(problem.clone());
                for (key, text) in good.iter().filter(|(key, _)| key.given == given) {
                    asked.unreadable.insert(key.clone());
                    asked.set.insert(key.clone(), Arc::clone(text));
                }
                continue;
            }
        };
        for seen in seen {
            let key = Key { given, file: seen.file.clone() };
            let before = good.get(&key);
            let text = match &seen.text {
                // A full disk, or a writer that stopped after its first step. Whoever means it removes the file.
                Ok(text) if is_blank(text) && before.is_some_and(|before| !is_blank(before)) => {
                    let message = format!("{} is empty", text.file);
                    Err(Problem::new("", message, "remove the file if its objects are to go"))
                }
                other => other.clone(),
            };
            let text = text.map_err(|problem| {
                problems.push(problem);
                asked.unreadable.insert(key.clone());
                before
            });
            match text {
                Ok(text) => drop(asked.set.insert(key, text)),
                Err(Some(before)) => drop(asked.set.insert(key, Arc::clone(before))),
                Err(None) => {}
            }
        }
    }
    (asked, problems)
}

fn is_blank(text: &SourceText) -> bool {
    text.text.trim().is_empty()
}

fn is_nothing(loaded: &Loaded) -> bool {
    loaded.autoscalers.is_empty() && loaded.grants.declared().is_empty()
}

/// A set that loads, and what it means.
type Found = (Set, Option<Loaded>);

struct Attempt<'a> {
    load: &'a Loads<'a>,
    left: usize,
}

impl Attempt<'_> {
    fn load(&mut self, set: &Set) -> Result<Loaded, Problems> {
        self.left = self.left.saturating_sub(1);
        (self.load)(&texts(set))
    }

    /// Puts back the last good text of files with problems until the rest loads. If nothing that is blamed can be put
    /// back: the changes, the blamed ones last.
    fn put_back_blamed(&mut self, good: &Set, asked: &Set, problems: &mut Vec<Problem>) -> Result<Found, Vec<Key>> {
        let keys: HashMap<String, Key> = asked.keys().map(|key| (display(&key.file), key.clone())).collect();
        let mut trial = asked.clone();
        let mut blamed: BTreeSet<Key> = BTreeSet::new();
        let mut new: BTreeSet<Key> = blame(problems, &keys);
        loop {
            new.retain(|key| trial.get(key) != good.get(key));
            if new.is_empty() || self.left == 0 {
                let mut suspects = differing(good, asked);
                suspects.sort_by_key(|key| blamed.contains(key));
                return Err(suspects);
            }
            for key in &new {
                put_back(&mut trial, key, good);
            }
            blamed.append(&mut new);
            if trial == *good {
                return Ok((trial, None));
            }
            match self.load(&trial) {
                Ok(loaded) => return Ok((trial, Some(loaded))),
                Err(found) => {
                    new = blame(&found.0, &keys);
                    add(problems, found);
                }
            }
        }
    }

    /// Tries the changes on top of what is in force, until no more of them can be had.
    fn by_halves(&mut self, good: &Set, asked: &Set, suspects: &[Key]) -> Result<Found, ()> {
        let mut found = (good.clone(), None);
        let mut left = suspects.to_vec();
        loop {
            let before = left.len();
            // The whole is known not to load, the first time.
            left = self.halves(&mut found, asked, &left);
            // What was refused may do now that others are in: a new autoscaler after its Connection.
            if left.is_empty() || left.len() == before {
                return if found.1.is_some() { Ok(found) } else { Err(()) };
            }
        }
    }

    /// Adds as many of `changes` as can be had; returns the others.
    fn add(&mut self, found: &mut Found, asked: &Set, changes: &[Key]) -> Vec<Key> {
        if changes.is_empty() || self.left == 0 {
            return changes.to_vec();
        }
        let mut trial = found.0.clone();
        for key in changes {
            put_back(&mut trial, key, asked);
        }
        match self.load(&trial) {
            Ok(loaded) => {
                *found = (trial, Some(loaded));
                Vec::new()
            }
            Err(_) if changes.len() == 1 => changes.to_vec(),
            Err(_) => self.halves(found, asked, changes),
        }
    }

    fn halves(&mut self, found: &mut Found, asked: &Set, changes: &[Key]) -> Vec<Key> {
        let (first, second) = changes.split_at(changes.len() / 2);
        let mut refused = self.add(found, asked, first);
        refused.extend(self.add(found, asked, second));
        refused
    }
}

/// The files that `problems` are in.
fn blame(problems: &[Problem], keys: &HashMap<String, Key>) -> BTreeSet<Key> {
    let files = problems.iter().filter_map(|problem| problem.place.as_ref());
    files.filter_map(|place| keys.get(&*place.file).cloned()).collect()
}

/// Makes the file in `set` what it is in `other`: its text, or absent.
fn put_back(set: &mut Set, key: &Key, other: &Set) {
    match other.get(key) {
        Some(text) => drop(set.insert(key.clone(), Arc::clone(text))),
        None => drop(set.remove(key)),
    }
}

fn differing(a: &Set, b: &Set) -> Vec<Key> {
    let keys: BTreeSet<&Key> = a.keys().chain(b.keys()).collect();
    keys.into_iter().filter(|key| a.get(key) != b.get(key)).cloned().collect()
}

/// Each problem once: one that lasts over several loads is the same problem.
fn add(problems: &mut Vec<Problem>, found: Problems) {
    for problem in found.0 {
        if !problems.contains(&problem) {
            problems.push(problem);
        }
    }
}

/// Files that are not in force as they were seen. One that is held for the sake of others is a problem, too.
fn held(asked: &Asked, set: &Set, problems: &mut Vec<Problem>) -> Vec<Held> {
    let mut files: BTreeSet<PathBuf> = BTreeSet::new();
    let mut held = Vec::new();
    let mut keys: BTreeSet<Key> = differing(&asked.set, set).into_iter().collect();
    keys.extend(asked.unreadable.iter().cloned());
    for key in keys.into_iter().filter(|key| files.insert(key.file.clone())) {
        let file = display(&key.file);
        let blamed = problems.iter().filter_map(|problem| problem.place.as_ref()).any(|place| *place.file == file);
        if !blamed && !asked.unreadable.contains(&key) {
            let what = match (asked.set.get(&key), set.get(&key)) {
                (None, _) => "was removed, which",
                (_, None) => "is new, and",
                (_, Some(_)) => "was changed, which",
            };
            let message = format!("{file} {what} the other files cannot be used with: it is left as it was");
            problems.push(Problem::new("", message, "see the problems of the other files"));
        }
        held.push(Held { last_good: set.contains_key(&key), file });
    }
    held
}

#[cfg(test)]
mod tests;
