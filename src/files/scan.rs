//! One look at the files: every path of `-f`, with the text of every file behind it or the reason why there is none.
//!
//! Contents are the truth, but reading all of them four times a second would cost more than everything else here. So a
//! file is read when its fingerprint has changed, and for a while after it has: timestamps are coarse, and two writes
//! within one tick of the kernel's clock leave the same ones. No link is resolved by hand: what `stat` says of the file
//! at its end (inode, times) changes when any link on the way does.
//!
//! What is no regular file (standard input, a pipe such as a shell's `<(kustomize build)`) can be read once only. It
//! is not looked at again: a drained pipe reads as empty.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{FilesError, Set, is_stdin, list, text_of};
use crate::model::Tick;
use crate::spec::load::SourceText;
use crate::spec::problem::Problem;

/// How long a file is read at each look after its fingerprint changed. The coarsest timestamps in use are FAT's.
const COARSEST: Duration = Duration::from_secs(2);

/// What one look saw: for each path of `-f` its files, or why the path as a whole says nothing.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Look {
    pub given: Vec<Result<Vec<Seen>, Problem>>,
}

/// One file, as seen.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    pub file: PathBuf,
    pub text: Result<Arc<SourceText>, Problem>,
}

/// Remembers what was read, so that the next look is cheap.
#[derive(Debug, Default)]
pub struct Scanner {
    paths: Vec<PathBuf>,
    /// What can be read only once, as it was read.
    fixed: HashMap<PathBuf, Arc<SourceText>>,
    known: HashMap<PathBuf, Known>,
}

#[derive(Debug)]
struct Known {
    print: Fingerprint,
    /// When the fingerprint was first seen.
    since: Tick,
    text: Arc<SourceText>,
}

/// What differs when a file was written, replaced, or reached through another link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Scanner {
    /// For `paths`, which have just been read as `set`.
    #[must_use]
    pub fn new(paths: Vec<PathBuf>, set: &Set) -> Self {
        let once = |file: &Path| is_stdin(file) || fs::metadata(file).is_ok_and(|found| !found.is_file());
        let fixed = set.iter().filter(|(key, _)| once(&key.file));
        Scanner {
            paths,
            fixed: fixed.map(|(key, text)| (key.file.clone(), Arc::clone(text))).collect(),
            known: HashMap::new(),
        }
    }

    /// Whether there is anything that can change.
    #[must_use]
    pub fn watches(&self) -> bool {
        self.paths.iter().any(|path| !self.fixed.contains_key(path))
    }

    /// Looks at everything. `afresh`: whatever the fingerprints say.
    pub fn look(&mut self, now: Tick, afresh: bool) -> Look {
        let before = std::mem::take(&mut self.known);
        let mut given = Vec::with_capacity(self.paths.len());
        for (path, listed) in self.paths.iter().zip(list(&self.paths)) {
            let files = match listed {
                Ok(files) => files,
                Err(error) => {
                    given.push(Err(problem(&error)));
                    continue;
                }
            };
            let mut seen = Vec::with_capacity(files.len());
            for file in files {
                if let Some(text) = self.fixed.get(&file) {
                    seen.push(Seen { text: Ok(Arc::clone(text)), file });
                    continue;
                }
                let text = match known(&file, before.get(&file).filter(|_| !afresh), now) {
                    Ok(known) => {
                        let text = Arc::clone(&known.text);
                        self.known.insert(file.clone(), known);
                        Ok(text)
                    }
                    Err(error) => Err(problem(&error)),
                };
                seen.push(Seen { file, text });
            }
            // A path that is gone looks like a file that cannot be read; it may have been a folder.
            given.push(match seen.as_slice() {
                [Seen { file, text: Err(problem) }] if file == path => Err(problem.clone()),
                _ => Ok(seen),
            });
        }
        Look { given }
    }
}

/// The file as known before, or read anew.
fn known(file: &Path, before: Option<&Known>, now: Tick) -> Result<Known, FilesError> {
    // Before the text, so that what is written in between shows at the next look.
    let print = fingerprint(file)?;
    let since = before.filter(|before| before.print == print).map(|before| before.since);
    if let (Some(before), Some(since)) = (before, since)
        && now.since(since) > COARSEST
    {
        return Ok(Known { print, since, text: Arc::clone(&before.text) });
    }
    let text = text_of(file)?;
    // The same text again is the same memory: whoever compares it later is done at once.
    let text = match before {
        Some(before) if *before.text == text => Arc::clone(&before.text),
        _ => Arc::new(text),
    };
    Ok(Known { print, since: since.unwrap_or(now), text })
}

fn fingerprint(file: &Path) -> Result<Fingerprint, FilesError> {
    let failed = |cause| FilesError::Read { path: file.to_owned(), cause };
    let found = fs::metadata(file).map_err(failed)?;
    if !found.is_file() {
        return Err(failed(std::io::Error::other("no regular file any more")));
    }
    Ok(Fingerprint {
        device: found.dev(),
        inode: found.ino(),
        size: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

fn problem(error: &FilesError) -> Problem {
    Problem::new("", error.to_string(), "")
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, reason = "a test may break")]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn texts(look: &Look) -> Vec<String> {
        let seen = look.given.iter().flatten().flatten();
        seen.map(|seen| seen.text.as_ref().map_or_else(ToString::to_string, |text| text.text.clone())).collect()
    }

    fn watch(paths: &[&Path]) -> Scanner {
        let paths: Vec<PathBuf> = paths.iter().map(|path| (*path).to_owned()).collect();
        let set = crate::files::read(&paths).unwrap();
        Scanner::new(paths, &set)
    }

    #[test]
    fn a_file_that_rests_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "one").unwrap();
        let mut scanner = watch(&[folder.path()]);
        let first = scanner.look(Tick::ZERO, false);
        let resting = Tick::ZERO.after(COARSEST * 2);
        let second = scanner.look(resting, false);
        let [Ok(first), Ok(second)] = [&first.given[0], &second.given[0]] else { panic!("no files") };
        assert!(Arc::ptr_eq(first[0].text.as_ref().unwrap(), second[0].text.as_ref().unwrap()));
        // Proof that nothing was read: what `known` remembers is what comes back, whatever the file says.
        scanner.known.get_mut(&file).unwrap().text = Arc::new(SourceText { file: "a".into(), text: "kept".into() });
        assert_eq!(texts(&scanner.look(resting, false)), ["kept"]);
        assert_eq!(texts(&scanner.look(resting, true)), ["one"]);
    }

    #[test]
    fn a_fresh_change_is_read_at_each_look_because_timestamps_are_coarse() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "one").unwrap();
        let mut scanner = watch(&[&file]);
        scanner.look(Tick::ZERO, false);
        // As if a second write had left the same fingerprint.
        let print = fingerprint(&file).unwrap();
        fs::write(&file, "two").unwrap();
        let known = scanner.known.get_mut(&file).unwrap();
        known.print = Fingerprint { ..fingerprint(&file).unwrap() };
        assert_eq!((print.inode, print.size), (known.print.inode, known.print.size));
        assert_eq!(texts(&scanner.look(Tick::from_millis(250), false)), ["two"]);
    }

    #[test]
    fn a_swapped_link_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("a.yaml"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/a.yaml", at("a.yaml")).unwrap();
        let mut scanner = watch(&[folder.path()]);
        assert_eq!(texts(&scanner.look(Tick::ZERO, false)), ["one"]);
        symlink("..2", at("..tmp")).unwrap();
        fs::rename(at("..tmp"), at("..data")).unwrap();
        assert_eq!(texts(&scanner.look(Tick::ZERO.after(COARSEST * 2), false)), ["two"]);
    }

    #[test]
    fn what_cannot_be_read_is_told_apart_from_what_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("a.yaml"), "a").unwrap();
        fs::write(at("b.yaml"), "b").unwrap();
        let mut scanner = watch(&[folder.path()]);
        assert_eq!(texts(&scanner.look(Tick::ZERO, false)), ["a", "b"]);
        fs::remove_file(at("a.yaml")).unwrap();
        assert_eq!(texts(&scanner.look(Tick::ZERO, false)), ["b"]);
        symlink("nowhere", at("a.yaml")).unwrap();
        let look = scanner.look(Tick::ZERO, false);
        assert!(texts(&look)[0].contains("a.yaml: No such file"), "{look:?}");
        fs::remove_file(at("a.yaml")).unwrap();
        fs::remove_file(at("b.yaml")).unwrap();
        assert!(scanner.look(Tick::ZERO, false).given[0].is_err(), "an empty folder says nothing");
        fs::remove_dir(folder.path()).unwrap();
        assert!(scanner.look(Tick::ZERO, false).given[0].is_err(), "nor does one that is gone");
    }

    #[test]
    fn what_can_be_read_only_once_is_not_looked_at_again() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = Path::new("/dev/null");
        let file = folder.path().join("a.yaml");
        fs::write(&file, "a").unwrap();
        let mut scanner = watch(&[pipe, &file]);
        assert!(scanner.watches());
        scanner.fixed.insert(pipe.to_owned(), Arc::new(SourceText { file: "pipe".into(), text: "once".into() }));
        assert_eq!(texts(&scanner.look(Tick::ZERO, true)), ["once", "a"]);
        assert!(!watch(&[pipe]).watches());
    }
}
