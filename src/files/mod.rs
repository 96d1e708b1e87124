//! What `-f` names (files, folders of manifests, standard input): read once by `check`, read and then watched by `run`.
//!
//! [`scan`] looks at files, cheaply when nothing has changed; [`calm`] says when what was seen has settled; [`resolve`]
//! says what of a settled change is put in force when parts of it are broken; [`watch`] is the task that goes through
//! the three in that order. The middle two do no I/O. What becomes of the outcome is for `app` to say.

pub mod calm;
pub mod resolve;
pub mod scan;
pub mod watch;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::spec::load::SourceText;

/// Endings of manifests in a folder. A file that is named itself may end as it likes.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Standard input, as everywhere.
const STDIN: &str = "-";

/// The longest file that is read: two hundred thousand autoscalers. Without a bound, whoever can write one file of a
/// watched folder could fill the memory.
const LONGEST: u64 = 64 * 1024 * 1024;

/// Why a path could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot read {path}: {cause}", path = path.display())]
    Read { path: PathBuf, cause: io::Error },
    #[error("{path} holds no .yaml, .yml or .json file", path = path.display())]
    EmptyFolder { path: PathBuf },
    #[error("{path} is longer than {} MiB; split it into several files", LONGEST >> 20, path = path.display())]
    TooLong { path: PathBuf },
    #[error("cannot read standard input: {0}")]
    Stdin(io::Error),
    #[error("standard input can be read only once; name `-` once")]
    StdinTwice,
}

/// Which file: the position of the `-f` that led to it, and its path. Ordered as files are read.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Key {
    pub given: usize,
    pub file: PathBuf,
}

/// Files that belong together, with their texts, in the order in which they are read.
pub type Set = BTreeMap<Key, Arc<SourceText>>;

/// Reads everything that `paths` name: a folder's manifests in the order of their names (not those of folders within
/// it), a file that is named twice only once.
///
/// # Errors
///
/// Every path that could not be read.
pub fn read(paths: &[PathBuf]) -> Result<Set, Vec<FilesError>> {
    let mut set = Set::new();
    let mut errors = Vec::new();
    for (given, listed) in list(paths).into_iter().enumerate() {
        match listed {
            Ok(files) => {
                for file in files {
                    match text_of(&file) {
                        Ok(text) => drop(set.insert(Key { given, file }, Arc::new(text))),
                        Err(error) => errors.push(error),
                    }
                }
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(set) } else { Err(errors) }
}

/// The texts alone, as [`crate::spec::load::load`] takes them.
#[must_use]
pub fn texts(set: &Set) -> Vec<Arc<SourceText>> {
    set.values().cloned().collect()
}

/// The files behind each of `paths`; one that an earlier path has led to is left out.
fn list(paths: &[PathBuf]) -> Vec<Result<Vec<PathBuf>, FilesError>> {
    let mut known: HashSet<PathBuf> = HashSet::new();
    let mut all = Vec::with_capacity(paths.len());
    for path in paths {
        all.push(match files_of(path) {
            Ok(_) if is_stdin(path) && !known.insert(path.clone()) => Err(FilesError::StdinTwice),
            Ok(files) if is_stdin(path) => Ok(files),
            Ok(files) => Ok(files.into_iter().filter(|file| known.insert(file.clone())).collect()),
            Err(error) => Err(error),
        });
    }
    all
}

/// The file itself, or the manifests of a folder.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, FilesError> {
    if is_stdin(path) || !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |cause| FilesError::Read { path: path.to_owned(), cause };
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        // Through links, because a mounted ConfigMap is nothing but links into a hidden folder, `..data`, which is
        // itself left out like everything hidden: its files would count twice. A link that leads nowhere is a file
        // that cannot be read, and not one that was taken away.
        if !is_hidden(&file) && has_manifest_ending(&file) && fs::metadata(&file).map_or(true, |found| found.is_file())
        {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(FilesError::EmptyFolder { path: path.to_owned() });
    }
    files.sort();
    Ok(files)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == STDIN
}

fn is_hidden(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn has_manifest_ending(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ENDINGS.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

fn text_of(file: &Path) -> Result<SourceText, FilesError> {
    let failed = |cause| match is_stdin(file) {
        true => FilesError::Stdin(cause),
        false => FilesError::Read { path: file.to_owned(), cause },
    };
    let mut text = String::new();
    // One byte more than may be, to tell a file that is too long from one that just fits.
    let length = match is_stdin(file) {
        true => io::stdin().lock().take(LONGEST + 1).read_to_string(&mut text).map_err(failed)?,
        false => fs::File::open(file).and_then(|f| f.take(LONGEST + 1).read_to_string(&mut text)).map_err(failed)?,
    };
    if length as u64 > LONGEST {
        return Err(FilesError::TooLong { path: file.to_owned() });
    }
    // What pushing grew beyond the text would be kept as long as the text is.
    text.shrink_to_fit();
    Ok(SourceText { file: display(file), text })
}

/// A file's name in messages.
fn display(file: &Path) -> String {
    if is_stdin(file) { "stdin".to_owned() } else { file.display().to_string() }
}
